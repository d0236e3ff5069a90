//! Pipelines on bytes that have to be fetched: what they give is what bytes at hand give, and they ask for little.

use crate::codec_encode::{encode, le_bytes, numbers};
use crate::fuzzed::Far;
use millibar::Place;
use millibar::codec::{
    Compression, DecodeStats, ElementRange, Filter, MaskMethod, MaskOptions, Pipeline, Region, Scratch, Spec,
    Values,
};
use millibar::source::Bytes;
use millibar::tgm::{DType, Limits, Object};
use proptest::prelude::*;
use std::sync::Arc;

/// An object in a file of its own, and where it is decoded from bytes at hand.
struct Fetched {
    far: Far,
    bytes: Bytes,
    pipeline: Pipeline,
    at_hand: Pipeline,
}

impl Fetched {
    /// `values` in a blosc2 frame.
    fn blosc2(dtype: DType, values: &Values, shuffled: bool, masked: bool) -> Self {
        let mut spec = Spec::new(dtype);
        spec.compression = Compression::Blosc2 { codec: None, level: Some(1) };
        if shuffled {
            spec.filter = Filter::Shuffle(dtype.width().unwrap() as u64);
        }
        if masked {
            spec.masks = MaskOptions { allow_nan: true, methods: [MaskMethod::Lz4; 3], ..spec.masks };
        }
        let encoded = encode(&spec, &[values.len() as u64], values).unwrap();
        let end = encoded.region.len() as u64;
        let object = Object {
            place: Place::file("made"),
            frame: 0..end,
            region: 0..end,
            hash: None,
            descriptor: Arc::new(encoded.descriptor.clone()),
        };
        let pipeline = || Pipeline::try_new(&object, &Limits::default()).unwrap();
        let bytes = Bytes::from(encoded.region.clone());
        Self { far: Far::new(bytes.clone()), bytes, pipeline: pipeline(), at_hand: pipeline() }
    }

    /// The bytes of the values in `ranges`, both ways; how many rounds of fetching they took, and bytes.
    fn read(&self, ranges: &[ElementRange]) -> (usize, u64) {
        let (mut scratch, mut near_stats, mut stats) = Default::default();
        let near = self.at_hand.decode_ranges(&self.bytes, ranges, 0.9, &mut scratch, &mut near_stats);
        let mut lent = Bytes::new();
        let region = Region::of(&self.far, 0..self.bytes.len() as u64, &mut lent).unwrap();
        let far = self.pipeline.decode_ranges(region, ranges, 0.9, &mut Scratch::default(), &mut stats);
        assert!(le_bytes(&near.unwrap()) == le_bytes(&far.unwrap()), "{ranges:?}");
        let DecodeStats { bytes_read, blocks_decoded, .. } = near_stats;
        assert_eq!((stats.bytes_read, stats.blocks_decoded), (bytes_read, blocks_decoded));
        let rounds = self.far.take_rounds();
        (rounds.len(), rounds.iter().flatten().map(|span| span.end - span.start).sum())
    }
}

fn range(start: u64, count: u64) -> ElementRange {
    ElementRange { start, count }
}

fn values(dtype: DType, seed: u64, len: usize, nan: bool) -> Values {
    let mut numbers = numbers(seed, len, 2);
    if nan {
        numbers.iter_mut().step_by(977).for_each(|value| *value = f64::NAN);
    }
    match dtype {
        DType::Float64 => Values::Float64(numbers),
        DType::Float32 => Values::Float32(numbers.into_iter().map(|v| v as f32).collect()),
        _ => Values::Int16(numbers.into_iter().map(|v| v as i16).collect()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_that_are_fetched_give_what_frames_at_hand_give(
        dtype in prop::sample::select(vec![DType::Float64, DType::Float32, DType::Int16]),
        (seed, len) in (any::<u64>(), 1..400_000_usize),
        (shuffled, masked) in any::<(bool, bool)>(),
        visits in prop::collection::vec(prop::collection::vec((0..=1000_u64, 0..=60_u64), 1..5), 1..4),
    ) {
        let masked = masked && dtype != DType::Int16;
        let fetched = Fetched::blosc2(dtype, &values(dtype, seed, len, masked), shuffled, masked);
        let len = len as u64;
        for parts in visits {
            let ranges: Vec<_> = parts.iter().map(|&(start, count)| {
                let start = len * start / 1000;
                range(start, (len * count).div_ceil(1000).min(len - start))
            }).collect();
            let (rounds, _) = fetched.read(&ranges);
            prop_assert!(rounds <= 3, "{rounds} rounds");
        }
    }
}

#[test]
fn a_point_of_a_frame_is_fetched_by_its_block() {
    for shuffled in [false, true] {
        let fetched =
            Fetched::blosc2(DType::Float32, &values(DType::Float32, 7, 2_000_000, true), shuffled, true);
        let all = fetched.bytes.len() as u64;
        assert!(all > 2_000_000, "{all} bytes");
        let planes = if shuffled { 4 } else { 1 };
        // At first what tells where the blocks are, with the masks; after that the block.
        let (rounds, bytes) = fetched.read(&[range(1_234_567, 1)]);
        assert!(rounds == 2 && bytes < all / 4 * planes, "{rounds} rounds, {bytes} of {all} bytes");
        let (rounds, bytes) = fetched.read(&[range(234_567, 1)]);
        assert!(rounds == 1 && bytes < all / 4 * planes, "{rounds} rounds, {bytes} of {all} bytes");
        // All of it comes at once.
        assert_eq!(fetched.read(&[range(0, 2_000_000)]), (1, all));
    }
}
