//! Any bytes as a file whose objects are decoded, whole and in ranges, from bytes at hand and from a file far away.

use super::{Far, limits};
use millibar::codec::{DecodeStats, ElementRange, Pipeline, Region, Scratch, Values};
use millibar::source::{Bytes, Memory, Source};
use millibar::tgm::{File, Limits, Object};
use std::sync::Arc;

pub fn pipeline(bytes: &[u8]) {
    let limits = limits();
    let source = Arc::new(Memory::new("fuzz.tgm", bytes.to_vec()));
    let Ok(file) = File::open(source.clone(), &limits) else { return };
    for object in file.messages.iter().flatten().flat_map(|message| &message.objects) {
        decode(object, &source, &limits);
    }
}

/// Decodes `object` in every way: what decodes whole is the same in ranges, and bytes that have to be fetched give the
/// same values, or the same error, as those at hand.
pub(super) fn decode(object: &Object, source: &Memory, limits: &Limits) {
    let Ok(pipeline) = Pipeline::try_new(object, limits) else { return };
    let region = source.read(object.region.clone()).expect("a region within the file");
    let far = Far::new(source.read(0..source.len()).expect("all bytes"));
    let mut lent = Bytes::new();
    let far = Region::of(&far, object.region.clone(), &mut lent).expect("nothing is read yet");
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let whole = pipeline.decode(&region, &mut scratch, &mut stats);
    let len = pipeline.len();
    if let Ok(whole) = &whole {
        assert_eq!(whole.len() as u64, len);
    }
    for (start, count) in [(0, 1), (len / 3, 70), (len.saturating_sub(3), 3), (len / 2, len / 2)] {
        let range = ElementRange { start, count: count.min(len - start) };
        for threshold in [0.0, 1.0] {
            let mut part = |region: Region<'_>| {
                pipeline.decode_ranges(region, &[range], threshold, &mut scratch, &mut stats)
            };
            let near = part(Region::from(&region));
            let fetched = part(far);
            // Written out: NaN is the same as NaN.
            let near_text = format!("{near:?}");
            assert_eq!(format!("{fetched:?}"), near_text);
            let Ok(whole) = &whole else { continue };
            let near = near.expect("what decodes whole decodes in ranges");
            let (start, end) = (range.start as usize, (range.start + range.count) as usize);
            let mut expected = Values::with_capacity(pipeline.dtype(), near.len());
            assert!(expected.extend(whole.as_block().slice(start, end)));
            assert_eq!(near_text, format!("Ok({expected:?})"));
        }
    }
}
