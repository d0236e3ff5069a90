//! Any bytes as a file whose objects are decoded, whole and in ranges: masks, blosc2 and all other codecs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millibar::codec::{DecodeStats, ElementRange, Pipeline, Scratch, Values};
use millibar::source::{Memory, Source};
use millibar::tgm::{File, Limits, Object};
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { decoded_bytes: 16 << 20, ..Limits::default() };
    let source = Arc::new(Memory::new("fuzz.tgm", bytes.to_vec()));
    let Ok(file) = File::open(source.clone(), &limits) else { return };
    for object in file.messages.iter().flatten().flat_map(|message| &message.objects) {
        decode(object, &*source, &limits);
    }
});

fn decode(object: &Object, source: &dyn Source, limits: &Limits) {
    let Ok(pipeline) = Pipeline::try_new(object, limits) else { return };
    let region = source.read(object.region.clone()).expect("a region within the file");
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let whole = pipeline.decode(&region, &mut scratch, &mut stats);
    let len = pipeline.len();
    if let Ok(whole) = &whole {
        assert_eq!(whole.len() as u64, len);
    }
    for (start, count) in [(0, 1), (len / 3, 70), (len.saturating_sub(3), 3), (len / 2, len / 2)] {
        let range = ElementRange { start, count: count.min(len - start) };
        for threshold in [0.0, 1.0] {
            let part = pipeline.decode_ranges(&region, &[range], threshold, &mut scratch, &mut stats);
            if let Ok(whole) = &whole {
                let part = part.expect("what decodes whole decodes in ranges");
                let (start, end) = (range.start as usize, (range.start + range.count) as usize);
                let mut expected = Values::with_capacity(pipeline.dtype(), part.len()).expect("a read dtype");
                assert!(expected.extend(whole.as_block().slice(start, end)));
                // Written out: NaN is the same as NaN.
                assert_eq!(format!("{part:?}"), format!("{expected:?}"));
            }
        }
    }
}
