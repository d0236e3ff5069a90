//! Objects of many codec blocks, and of sizes that are decoded piecewise.

use crate::corpus;
use millibar::codec::{DecodeStats, ElementRange, Pipeline, Scratch, Values};
use millibar::source::{Bytes, LocalFile};
use millibar::tgm::{ByteOrder, DType, Descriptor, File, Limits, Map, Object, Value};
use millibar::{Place, Result, each_dtype};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Sample {
    pipeline: Pipeline,
    region: Bytes,
}

/// The first object of a file.
fn sample(path: &Path) -> Sample {
    let file = File::open(Arc::new(LocalFile::open(path).unwrap()), &Limits::default()).unwrap();
    let object = file.message(0).unwrap().object(0).unwrap();
    let region = file.source.read(object.region.clone()).unwrap();
    Sample { pipeline: Pipeline::try_new(object, &Limits::default()).unwrap(), region }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// An object that no file holds.
fn made(
    dtype: DType,
    shape: &[u64],
    stages: [&str; 3],
    params: &[(&str, Value)],
    region: Vec<u8>,
) -> Result<Sample> {
    let [encoding, filter, compression] = stages.map(str::to_owned);
    let params: Map = params.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let object = Object {
        place: Place::file("made").message(0).object(0),
        frame: 0..region.len() as u64 + 36,
        region: 16..region.len() as u64 + 16,
        hash: None,
        descriptor: Arc::new(Descriptor {
            dtype,
            shape: shape.to_vec(),
            byte_order: ByteOrder::Little,
            encoding,
            filter,
            compression,
            masks: Vec::new(),
            params,
        }),
    };
    Ok(Sample { pipeline: Pipeline::try_new(&object, &Limits::default())?, region: region.into() })
}

impl Sample {
    fn ranges(&self, ranges: &[(u64, u64)], threshold: f64) -> Result<(Values, DecodeStats)> {
        let ranges: Vec<_> = ranges.iter().map(|&(start, count)| ElementRange { start, count }).collect();
        let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
        let values =
            self.pipeline.decode_ranges(&self.region, &ranges, threshold, &mut scratch, &mut stats)?;
        Ok((values, stats))
    }

    /// Counters of decoding `ranges` with a threshold of one half.
    fn count(&self, ranges: &[(u64, u64)]) -> DecodeStats {
        self.ranges(ranges, 0.5).unwrap().1
    }
}

fn floats(values: &Values) -> &[f32] {
    match values {
        Values::Float32(values) => values,
        other => panic!("{} values of another dtype", other.len()),
    }
}

/// Element `i` of the files in `tests/data`.
fn step(i: u64) -> f32 {
    (i / 500 % 97) as f32
}

#[test]
fn one_element_of_many_blosc2_blocks_decodes_one_block() {
    // 13 blocks in one chunk, and 30 chunks of one block.
    let many_chunks = corpus::dir().map(|dir| dir.join("codecs/blosc2_foreign_many_chunks_f32.tgm"));
    for path in [Some(data("blosc2_blocks.tgm")), many_chunks].into_iter().flatten() {
        let (sample, file) = (sample(&path), path.display());
        let len = sample.pipeline.len();
        let full = sample.count(&[(0, len)]);
        assert!(full.blocks_decoded >= 8, "{full:?}");
        assert_eq!((full.full_decodes, full.ranges_decoded), (1, 0));
        assert_eq!(full.bytes_decoded, len * 4);
        for at in [0, len / 3, len - 1] {
            let one = sample.count(&[(at, 1)]);
            assert_eq!((one.blocks_decoded, one.ranges_decoded, one.full_decodes), (1, 1, 0), "{file}");
            assert!(one.bytes_decoded * 8 <= full.bytes_decoded, "{file}: {one:?} of {full:?}");
            assert!(one.bytes_read * 2 <= full.bytes_read, "{file}: {one:?} of {full:?}");
        }
        // Two elements at both ends: two blocks, whatever lies between.
        assert_eq!(sample.count(&[(0, 1), (len - 1, 1)]).blocks_decoded, 2);
        // Neighbours merge, and each block is decoded once.
        let parts: Vec<_> = (0..100).map(|i| (i, 1)).collect();
        let merged = sample.count(&parts);
        assert_eq!((merged.ranges_decoded, merged.blocks_decoded), (1, 1));
    }
}

/// Objects that the reference wrote: sz3 after shuffle, after packing, of float32, of int16.
#[test]
fn sz3_of_other_bytes_is_read_where_it_lost_none() {
    let file = LocalFile::open(data("sz3_after_stages.tgm")).unwrap();
    let file = File::open(Arc::new(file), &Limits::default()).unwrap();
    let decoded = |object: u64| -> Result<Values> {
        let object = file.message(0).unwrap().object(object).unwrap();
        let region = file.source.read(object.region.clone()).unwrap();
        let pipeline = Pipeline::try_new(object, &Limits::default())?;
        pipeline.decode(&region, &mut Scratch::default(), &mut DecodeStats::default())
    };
    let eighths = (0..64).map(|i| i as f32 / 8.0);
    assert_eq!(decoded(0).unwrap(), Values::Float64(eighths.clone().map(f64::from).collect()));
    assert_eq!(decoded(2).unwrap(), Values::Float32(eighths.collect()));
    for lost in [1, 3] {
        let error = decoded(lost).unwrap_err().to_string();
        assert!(error.contains("sz3") && error.contains("can't be read back"), "{error}");
    }
}

#[test]
fn a_shuffled_element_decodes_one_blosc2_block_of_each_byte_plane() {
    for size in [4, 6] {
        let sample = sample(&data(&format!("blosc2_shuffle{size}_blocks.tgm")));
        let len = sample.pipeline.len();
        let full = sample.count(&[(0, len)]);
        assert_eq!(full.blocks_decoded, 49);
        for at in [0, 12_345, len - 1] {
            let (values, one) = sample.ranges(&[(at, 1)], 0.5).unwrap();
            assert_eq!(floats(&values), [step(at)]);
            assert!((1..=2 * size).contains(&one.blocks_decoded), "{one:?}");
            assert!(one.bytes_decoded * 4 <= full.bytes_decoded, "{one:?} of {full:?}");
            assert_eq!((one.ranges_decoded, one.full_decodes), (1, 0));
        }
    }
}

#[test]
fn shuffled_ranges_are_slices_whatever_the_group() {
    for size in [4, 6] {
        let sample = sample(&data(&format!("blosc2_shuffle{size}_blocks.tgm")));
        let len = sample.pipeline.len();
        let ranges = [(1, 1), (2, 2), (4, 1), (499, 3), (8190, 5), (20_000, 70_001), (len - 2, 2)];
        let want: Vec<f32> =
            ranges.iter().flat_map(|&(start, count)| (start..start + count).map(step)).collect();
        for threshold in [0.0, 1.0] {
            let (values, _) = sample.ranges(&ranges, threshold).unwrap();
            assert!(floats(&values) == want, "{size} at {threshold}");
        }
        assert!(
            floats(&sample.ranges(&[(0, len)], 0.0).unwrap().0).iter().zip(0..).all(|(v, i)| *v == step(i))
        );
    }
}

/// 3 million values, 12 MB: more than is decoded in one call.
#[test]
fn a_large_zstd_object_is_decoded_piecewise() {
    const LEN: u64 = 3_000_000;
    let bytes: Vec<u8> = (0..LEN).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (first, second) = bytes.split_at(7_000_001);
    let frames = [first, second].map(|part| zstd::encode_all(part, 1).unwrap()).concat();
    let stages = ["none", "none", "zstd"];
    let sample = made(DType::Float32, &[1000, 3000], stages, &[], frames.clone()).unwrap();
    let ranges = [(0, 5), (5, 1), (1_750_000, 3), (2_000_000, 100_000), (LEN - 1, 1)];
    let (values, stats) = sample.ranges(&ranges, 1.0).unwrap();
    let want = ranges.iter().flat_map(|&(start, count)| start..start + count);
    assert!(floats(&values).iter().copied().eq(want.map(|i| i as f32)));
    assert_eq!((stats.full_decodes, stats.ranges_decoded, stats.bytes_decoded), (1, 0, 4 * LEN));
    let (all, _) = sample.ranges(&[(0, LEN)], 1.0).unwrap();
    assert!(floats(&all).iter().zip(0..).all(|(value, i)| *value == i as f32));

    // What lies behind the last element isn't decoded.
    let (near, stats) = sample.ranges(&[(5, 1), (99_000, 1000)], 1.0).unwrap();
    assert!(floats(&near)[1..].iter().zip(99_000..).all(|(value, i)| *value == i as f32));
    assert!(stats.bytes_decoded == 400_000 && stats.bytes_read < frames.len() as u64 / 8, "{stats:?}");

    // Whoever reads the last one looks at all there is.
    let cut = frames[..frames.len() - 4].to_vec();
    let tail = [&frames[..], b"tail of no frame"].concat();
    for (shape, region) in
        [([1000, 2999], &frames), ([1000, 3001], &frames), ([1000, 3000], &cut), ([1000, 3000], &tail)]
    {
        let sample = made(DType::Float32, &shape, stages, &[], region.clone()).unwrap();
        let last = shape[0] * shape[1] - 1;
        let error = sample.ranges(&[(0, 5), (last, 1)], 1.0).unwrap_err().to_string();
        assert!(error.starts_with("made, message 0, object 0: zstd: "), "{error}");
    }
    // A frame that says what it holds can't hold more than that.
    let one = zstd::bulk::compress(&bytes, 1).unwrap();
    let sample = made(DType::Float32, &[1000, 2999], stages, &[], one).unwrap();
    let error = sample.ranges(&[(0, 5)], 1.0).unwrap_err().to_string();
    assert!(error.contains("zstd: a frame of 12000000 bytes, wanted 11996000"), "{error}");
}

/// Windows of packed elements that begin inside a byte, on a stream that can't go back.
#[test]
fn a_large_packed_zstd_object_is_decoded_piecewise() {
    const LEN: u64 = 7_000_000;
    let packed: Vec<u8> = (0..LEN / 2)
        .flat_map(|i| {
            let pair = ((2 * i % 4096) << 12) | ((2 * i + 1) % 4096);
            [(pair >> 16) as u8, (pair >> 8) as u8, pair as u8]
        })
        .collect();
    let params = [
        ("sp_bits_per_value", 12.into()),
        ("sp_reference_value", Value::Float(0.5)),
        ("sp_binary_scale_factor", 0.into()),
        ("sp_decimal_scale_factor", 0.into()),
    ];
    let payload = zstd::encode_all(&packed[..], 1).unwrap();
    let sample = made(DType::Float64, &[LEN], ["simple_packing", "none", "zstd"], &params, payload).unwrap();
    let ranges = [(1, 2), (3, 1), (5, 10_001), (10_007, 8), (6_999_998, 2)];
    for ranges in [&ranges[..], &ranges[..4]] {
        let (values, _) = sample.ranges(ranges, 1.0).unwrap();
        let want = ranges.iter().flat_map(|&(start, count)| start..start + count);
        assert!(values == Values::Float64(want.map(|i| 0.5 + (i % 4096) as f64).collect()));
    }
}

/// A constant field needs no payload at all, and is no bomb.
#[test]
fn a_constant_field_of_a_million_values() {
    let params = [
        ("sp_bits_per_value", 0.into()),
        ("sp_reference_value", Value::Float(273.5)),
        ("sp_binary_scale_factor", 0.into()),
        ("sp_decimal_scale_factor", 0.into()),
    ];
    let stages = ["simple_packing", "none", "none"];
    let sample = made(DType::Float64, &[1_000_000], stages, &params, Vec::new()).unwrap();
    let (values, stats) = sample.ranges(&[(7, 3), (999_990, 10)], 1.0).unwrap();
    assert_eq!(values, Values::Float64(vec![273.5; 13]));
    assert_eq!((stats.bytes_read, stats.ranges_decoded), (0, 2));
    assert!(made(DType::Float64, &[1 << 40], stages, &params, Vec::new()).is_err());
}

/// Every dtype and both byte orders through every way of getting at stored values: aligned in the region or not.
#[test]
fn unaligned_regions_are_copied() {
    for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_complex()) {
        let bytes: Vec<u8> = (0..dtype.byte_len(64).unwrap()).map(|i| (i * 7) as u8).collect();
        let padded = [&[0], &bytes[..]].concat();
        let mut aligned = made(dtype, &[64], ["none"; 3], &[], bytes).unwrap();
        let (want, _) = aligned.ranges(&[(0, 64)], 1.0).unwrap();
        for offset in 0..8_usize {
            let shifted = [vec![0; offset], padded[1..].to_vec()].concat();
            aligned.region = Bytes::from(shifted).slice(offset..);
            let (got, _) = aligned.ranges(&[(0, 64)], 1.0).unwrap();
            let same = each_dtype!(Values, &got, v => v.len() == 64) && got.as_block().len() == want.len();
            assert!(same && format!("{got:?}") == format!("{want:?}"), "{dtype} at {offset}");
        }
    }
}
