//! What holds for every pipeline: ranges equal slices of the full decode, a visit hands out what was asked for and
//! no more, ranges decode a small part of a large object, and damaged payloads never panic.

use crate::fuzzed::Far;
use crate::{corpus, memory};
use millibar::codec::{Block, DecodeStats, ElementRange, Piece, Pipeline, Region, Scratch, Values};
use millibar::source::{Bytes, LocalFile};
use millibar::tgm::{File, Limits, Object};
use millibar::{Error, each_dtype};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One decodable object of the corpus.
#[derive(Debug, Clone)]
struct Sample {
    object: Arc<Object>,
    pipeline: Pipeline,
    region: Bytes,
    /// The little-endian bytes of all its values.
    all: Arc<Vec<u8>>,
}

fn le_bytes(values: &Values) -> Vec<u8> {
    each_dtype!(Values, values, v => v.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let folders = ["codecs", "dtypes", "masks", "packing", "shuffle", "mars", "shapes"];
    let list = |folder| std::fs::read_dir(dir.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = folders.into_iter().flat_map(list).filter(|p| p.extension().is_some()).collect();
    files.sort();
    files
}

/// Every object of the corpus that this version reads, of the first few messages of each file.
fn samples() -> Vec<Sample> {
    let Some(dir) = corpus::dir() else { return Vec::new() };
    let mut samples = Vec::new();
    for path in files(&dir) {
        let file = File::open(Arc::new(LocalFile::open(&path).unwrap()), &Limits::default()).unwrap();
        for object in file.messages.iter().flatten().take(3).flat_map(|message| &message.objects) {
            let Ok(pipeline) = Pipeline::try_new(object, &Limits::default()) else { continue };
            let region = file.source.read(object.region.clone()).unwrap();
            let all = pipeline.decode(&region, &mut Scratch::default(), &mut DecodeStats::default()).unwrap();
            samples.push(Sample { object: Arc::clone(object), pipeline, region, all: le_bytes(&all).into() });
        }
    }
    assert!(samples.len() > 200, "{}", samples.len());
    samples
}

fn sample(file: &str) -> Option<Sample> {
    Some(sample_at(&corpus::dir()?.join(file)))
}

fn sample_at(path: &Path) -> Sample {
    let file = File::open(Arc::new(LocalFile::open(path).unwrap()), &Limits::default()).unwrap();
    let object = Arc::clone(file.message(0).unwrap().object(0).unwrap());
    let region = file.source.read(object.region.clone()).unwrap();
    let pipeline = Pipeline::try_new(&object, &Limits::default()).unwrap();
    Sample { object, pipeline, region, all: Arc::default() }
}

impl Sample {
    fn width(&self) -> usize {
        self.object.descriptor.dtype.width().unwrap_or(1)
    }

    fn slice(&self, range: &ElementRange) -> &[u8] {
        let (start, count) = (range.start as usize, range.count as usize);
        &self.all[start * self.width()..(start + count) * self.width()]
    }
}

/// An object, and ranges in it as permilles of its length.
fn case(samples: usize) -> impl Strategy<Value = (usize, Vec<(u16, u16)>, f64)> {
    let range = (0..=1000_u16, prop_oneof![Just(0_u16), 0..=30_u16, 0..=1000_u16]);
    (0..samples, prop::collection::vec(range, 0..6), prop::sample::select(vec![0.0, 0.3, 1.0]))
}

fn ranges_of(sample: &Sample, parts: &[(u16, u16)]) -> Vec<ElementRange> {
    let len = sample.pipeline.len();
    let range = |&(start, count): &(u16, u16)| {
        let start = len * u64::from(start) / 1000;
        let count = (len * u64::from(count)).div_ceil(1000).min(len - start);
        ElementRange { start, count }
    };
    parts.iter().map(range).collect()
}

/// Runs a property; `PROPTEST_CASES` in the environment asks for more or fewer cases.
fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&strategy, test).unwrap();
}

#[test]
fn ranges_are_slices_of_the_full_decode() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    let scratch = std::cell::RefCell::new(Scratch::default()); // reused, as a worker does
    run(4000, case(samples.len()), |(index, parts, threshold)| {
        let sample = &samples[index];
        let ranges = ranges_of(sample, &parts);
        let want: Vec<u8> = ranges.iter().flat_map(|range| sample.slice(range)).copied().collect();
        let got = sample.pipeline.decode_ranges(
            &sample.region,
            &ranges,
            threshold,
            &mut scratch.borrow_mut(),
            &mut DecodeStats::default(),
        );
        let got = got.map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(le_bytes(&got) == want, "{}: {ranges:?}", sample.object.place);
        Ok(())
    });
}

#[test]
fn ranges_that_are_fetched_are_slices_of_the_full_decode() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    let visits = prop::collection::vec(case(samples.len()), 1..3);
    let scratch = std::cell::RefCell::new(Scratch::default());
    run(1500, visits, |visits| {
        // One object, visited several times, for what a visit learns is kept.
        let sample = &samples[visits[0].0];
        let far = Far::new(sample.region.clone());
        let pipeline = Pipeline::try_new(&sample.object, &Limits::default()).unwrap();
        for (_, parts, threshold) in &visits {
            let ranges = ranges_of(sample, parts);
            let want: Vec<u8> = ranges.iter().flat_map(|range| sample.slice(range)).copied().collect();
            let mut lent = Bytes::new();
            let region = Region::of(&far, 0..sample.region.len() as u64, &mut lent).unwrap();
            let (scratch, stats) = (&mut scratch.borrow_mut(), &mut DecodeStats::default());
            let got = pipeline.decode_ranges(region, &ranges, *threshold, scratch, stats);
            let got = got.map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert!(le_bytes(&got) == want, "{}: {ranges:?}", sample.object.place);
        }
        Ok(())
    });
}

/// The little-endian bytes of a piece, spelt out.
fn spelt_out(piece: Piece<'_>) -> Vec<u8> {
    match piece {
        Piece::Values(block) => {
            each_dtype!(Block, block, v => v.iter().flat_map(|x| x.to_le_bytes()).collect())
        }
        Piece::Constant(value, len) => spelt_out(Piece::Values(value)).repeat(len),
        Piece::Packed(samples, packing) => {
            samples.iter().flat_map(|&sample| packing.value(sample).to_le_bytes()).collect()
        }
    }
}

#[test]
fn pieces_spelt_out_are_the_values() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    let scratch = std::cell::RefCell::new(Scratch::default());
    let seen = std::cell::RefCell::new(DecodeStats::default());
    run(4000, case(samples.len()), |(index, parts, threshold)| {
        let sample = &samples[index];
        let mut ranges = ranges_of(sample, &parts);
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| next.start < last.start + last.count);
        let mut got = Vec::new();
        let mut stats = DecodeStats::default();
        let visited = sample.pipeline.visit_pieces(
            &sample.region,
            &ranges,
            threshold,
            &mut scratch.borrow_mut(),
            &mut stats,
            &mut |_, piece| {
                got.extend(spelt_out(piece));
                Ok(())
            },
        );
        visited.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let want: Vec<u8> = ranges.iter().flat_map(|range| sample.slice(range)).copied().collect();
        prop_assert!(got == want, "{}: {ranges:?}", sample.object.place);
        seen.borrow_mut().add(&stats);
        Ok(())
    });
    let seen = seen.into_inner();
    assert!(seen.elements_constant > 1000 && seen.elements_packed > 1000, "{seen:?}");
}

#[test]
fn a_visit_hands_out_its_ranges_and_nothing_else() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    run(1500, case(samples.len()), |(index, parts, threshold)| {
        let sample = &samples[index];
        let mut ranges = ranges_of(sample, &parts);
        ranges.sort_by_key(|range| (range.start, range.count));
        ranges.dedup_by(|next, last| next.start < last.start + last.count);
        let mut got: Vec<ElementRange> = Vec::new();
        let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
        let mut sink = |start, block: millibar::codec::Block<'_>| {
            got.push(ElementRange { start, count: block.len() as u64 });
            Ok(())
        };
        let visited =
            sample.pipeline.visit(&sample.region, &ranges, threshold, &mut scratch, &mut stats, &mut sink);
        visited.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut blocks = got.into_iter();
        for range in &ranges {
            let (mut at, end) = (range.start, range.start + range.count);
            while at < end {
                let Some(block) = blocks.next() else { return Err(TestCaseError::fail("too few blocks")) };
                prop_assert!(block.start == at && block.count > 0 && at + block.count <= end, "{block:?}");
                at += block.count;
            }
        }
        prop_assert!(blocks.next().is_none(), "too many blocks");
        let wanted: u64 = ranges.iter().map(|range| range.count).sum();
        prop_assert!(stats.full_decodes + stats.ranges_decoded.min(1) == u64::from(wanted > 0));
        Ok(())
    });
}

/// Counters of decoding `ranges`.
fn count(sample: &Sample, ranges: &[(u64, u64)], threshold: f64) -> DecodeStats {
    let mut stats = DecodeStats::default();
    let ranges: Vec<_> = ranges.iter().map(|&(start, count)| ElementRange { start, count }).collect();
    let pipeline = Pipeline::try_new(&sample.object, &Limits::default()).unwrap();
    pipeline.decode_ranges(&sample.region, &ranges, threshold, &mut Scratch::default(), &mut stats).unwrap();
    stats
}

#[test]
fn one_element_of_many_szip_rsis_decodes_one_rsi() {
    let files = ["codecs/szip_uint16_n777_rsi8_b8_f0.tgm", "packing/szip16_rsi8_b8.tgm"];
    for file in files {
        let Some(sample) = sample(file) else { return };
        let len = sample.pipeline.len();
        let full = count(&sample, &[(0, len)], 0.0);
        assert!(full.blocks_decoded >= 12, "{full:?}");
        for at in [0, len / 2, len - 1] {
            let one = count(&sample, &[(at, 1)], 0.5);
            assert_eq!((one.blocks_decoded, one.ranges_decoded, one.full_decodes), (1, 1, 0), "{file}");
            assert!(one.bytes_decoded * 8 <= full.bytes_decoded, "{file}: {one:?} of {full:?}");
            assert_eq!(one.fallbacks, 0);
        }
    }
}

#[test]
fn wrong_szip_offsets_are_noticed_and_done_without() {
    for dtype in ["uint8", "int16", "uint32"] {
        let Some(sample) = sample(&format!("codecs/szip_zero_runs_{dtype}.tgm")) else { return };
        let one = count(&sample, &[(sample.pipeline.len() / 2, 1)], 0.5);
        assert_eq!((one.fallbacks, one.blocks_decoded), (1, 1));
    }
}

#[test]
fn stored_values_are_read_by_the_byte() {
    let Some(sample) = sample("dtypes/float64_little.tgm") else { return };
    let one = count(&sample, &[(3, 1)], 0.0);
    assert_eq!((one.bytes_read, one.bytes_decoded, one.ranges_decoded), (8, 8, 1));
    let apart = count(&sample, &[(3, 1), (7, 2)], 0.0);
    assert_eq!((apart.bytes_read, apart.ranges_decoded, apart.full_decodes), (24, 2, 0));
}

#[test]
fn shuffled_ranges_read_only_their_plane_bytes() {
    let Some(sample) = sample("shuffle/float32_none.tgm") else { return };
    let some = count(&sample, &[(3, 1), (100, 10)], 0.5);
    assert_eq!((some.bytes_read, some.ranges_decoded, some.full_decodes), (44, 2, 0));
}

#[test]
fn stream_codecs_decode_once_for_all_ranges() {
    for file in ["codecs/zstd_l3_int16.tgm", "codecs/lz4_uint8_n5000.tgm", "shuffle/float32_zstd.tgm"] {
        let Some(sample) = sample(file) else { return };
        assert!(!sample.pipeline.seeks());
        let some = count(&sample, &[(3, 1), (100, 10), (50, 2)], 1.0);
        assert_eq!((some.full_decodes, some.ranges_decoded), (1, 0), "{file}");
        let width = sample.width() as u64;
        // of zstd no more than up to the last one
        let end = if file.contains("zstd_l3") { 110 } else { sample.pipeline.len() };
        assert_eq!(some.bytes_decoded, end * width, "{file}");
    }
}

#[test]
fn ranges_outside_are_refused_before_anything() {
    for sample in samples() {
        let len = sample.pipeline.len();
        for (start, count) in [(len, 1), (len + 1, 0), (0, len + 1), (u64::MAX, 1), (1, u64::MAX)] {
            let mut stats = DecodeStats::default();
            let range = [ElementRange { start, count }];
            let got = sample.pipeline.decode_ranges(
                &sample.region,
                &range,
                1.0,
                &mut Scratch::default(),
                &mut stats,
            );
            assert!(matches!(got, Err(Error::OutOfBounds { .. })), "{}: {got:?}", sample.object.place);
            assert_eq!(stats, DecodeStats::default());
        }
    }
}

#[test]
fn damaged_payloads_give_values_or_errors() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    let damage = prop_oneof![
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4).prop_map(Ok),
        any::<prop::sample::Index>().prop_map(Err), // cut here, keeping the length
    ];
    let scratch = std::cell::RefCell::new(Scratch::default());
    run(20_000, (0..samples.len(), damage, 0..2000_u64), |(index, damage, at)| {
        let sample = &samples[index];
        let mut bytes = sample.region.to_vec();
        if bytes.is_empty() {
            return Ok(());
        }
        match damage {
            Ok(changes) => changes.iter().for_each(|(at, byte)| *at.get_mut(&mut bytes) = *byte),
            Err(cut) => {
                let at = cut.index(bytes.len());
                bytes[at..].fill(0);
            }
        }
        let (len, size) = (sample.pipeline.len(), bytes.len());
        let region = Bytes::from(bytes);
        let pipeline = Pipeline::try_new(&sample.object, &Limits::default()).unwrap();
        let mut scratch = scratch.borrow_mut();
        let (_, peak) = memory::peak(|| {
            let _ = pipeline.decode(&region, &mut scratch, &mut DecodeStats::default());
            let range = [ElementRange { start: at.min(len), count: u64::from(at < len) }];
            pipeline.decode_ranges(&region, &range, 1.0, &mut scratch, &mut DecodeStats::default()).map(drop)
        });
        prop_assert!(peak <= (1 << 20) + 64 * (size + sample.all.len()), "{peak} bytes held");
        Ok(())
    });
}
