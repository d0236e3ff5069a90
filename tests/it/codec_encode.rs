//! Encoding: what goes in comes out (or as near as the codec promises), whole and by ranges, in every pipeline that can
//! be written; the corpus is written anew as the reference wrote it; what can't be written soundly is refused.

use crate::corpus;
use millibar::codec::encode::{Encoded, Encoder, Scratch as EncodeScratch};
use millibar::codec::{
    Block, Blosc2Codec, Complex, Compression, DecodeStats, ElementRange, Encoding, Filter, MaskMethod,
    MaskOptions, Packing, Pipeline, Scratch, Spec, Sz3Mode, Values, ZfpMode,
};
use millibar::source::{Bytes, LocalFile};
use millibar::tgm::{ByteOrder, DType, File, Limits, Object, Value};
use millibar::{Error, Place, Result, each_dtype};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::num::NonZeroUsize;
use std::sync::Arc;

pub(crate) fn le_bytes(values: &Values) -> Vec<u8> {
    each_dtype!(Values, values, v => v.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// An encoded object as one of a file, with its payload.
fn object(encoded: &Encoded) -> (Object, Bytes) {
    let end = encoded.region.len() as u64;
    let descriptor = Arc::new(encoded.descriptor.clone());
    let object = Object { place: Place::file("made"), frame: 0..end, region: 0..end, hash: None, descriptor };
    (object, Bytes::from(encoded.region.clone()))
}

pub(crate) fn encode(spec: &Spec, shape: &[u64], values: &Values) -> Result<Encoded> {
    let encoder = Encoder::try_new(Place::file("new"), spec, shape)?;
    encoder.encode(values.as_block(), &mut EncodeScratch::default())
}

fn decode_ranges(encoded: &Encoded, ranges: &[ElementRange], threshold: f64) -> Result<Values> {
    let (object, region) = object(encoded);
    let pipeline = Pipeline::try_new(&object, &Limits::default())?;
    let mut stats = DecodeStats::default();
    pipeline.decode_ranges(&region, ranges, threshold, &mut Scratch::default(), &mut stats)
}

pub(crate) fn decode(encoded: &Encoded, len: usize) -> Values {
    decode_ranges(encoded, &[ElementRange { start: 0, count: len as u64 }], 0.0).unwrap()
}

/// Small random numbers, smooth or not.
pub(crate) fn numbers(seed: u64, len: usize, kind: u8) -> Vec<f64> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len)
        .map(|i| match kind {
            0 => (i / 7) as f64 - 20.0,
            1 => (i as f64 / 40.0).sin() * 50.0,
            2 => (next() % 251) as f64 - 125.0,
            3 => 0.0,
            _ => {
                if next() % 5 == 0 {
                    (next() % 90) as f64
                } else {
                    0.0
                }
            }
        })
        .collect()
}

/// `numbers` as values of a dtype; with `special`, some are NaN or infinite where the dtype has these.
pub(crate) fn values(dtype: DType, numbers: &[f64], special: bool) -> Values {
    let float = |(i, &x): (usize, &f64)| match i % 29 {
        3 if special => f64::NAN,
        11 if special => f64::INFINITY,
        17 if special => f64::NEG_INFINITY,
        _ => x,
    };
    let floats = || numbers.iter().enumerate().map(float);
    match dtype {
        DType::Float16 => Values::Float16(floats().map(half::f16::from_f64).collect()),
        DType::BFloat16 => Values::BFloat16(floats().map(half::bf16::from_f64).collect()),
        DType::Float32 => Values::Float32(floats().map(|x| x as f32).collect()),
        DType::Float64 => Values::Float64(floats().collect()),
        // One kind in both parts: the format keeps one kind a value.
        DType::Complex64 => {
            let part = |x: f64| if x.is_finite() { -x as f32 / 2.0 } else { x as f32 };
            Values::Complex64(floats().map(|x| Complex { re: x as f32, im: part(x) }).collect())
        }
        DType::Complex128 => {
            let part = |x: f64| if x.is_finite() { -x / 2.0 } else { x };
            Values::Complex128(floats().map(|x| Complex { re: x, im: part(x) }).collect())
        }
        DType::Int8 => Values::Int8(numbers.iter().map(|&x| x as i8).collect()),
        DType::Int16 => Values::Int16(numbers.iter().map(|&x| x as i16).collect()),
        DType::Int32 => Values::Int32(numbers.iter().map(|&x| x as i32).collect()),
        DType::Int64 => Values::Int64(numbers.iter().map(|&x| x as i64).collect()),
        DType::UInt8 => Values::UInt8(numbers.iter().map(|&x| x as i64 as u8).collect()),
        DType::UInt16 => Values::UInt16(numbers.iter().map(|&x| x as i64 as u16).collect()),
        DType::UInt32 => Values::UInt32(numbers.iter().map(|&x| x as i64 as u32).collect()),
        DType::UInt64 => Values::UInt64(numbers.iter().map(|&x| x as i64 as u64).collect()),
        DType::Bitmask => Values::Bitmask(numbers.iter().map(|&x| u8::from(x > 0.0)).collect()),
    }
}

pub(crate) const CODECS: [Compression; 16] = [
    Compression::None,
    Compression::Zstd { level: None },
    Compression::Zstd { level: Some(-3) },
    Compression::Lz4,
    Compression::Blosc2 { codec: None, level: None },
    Compression::Blosc2 { codec: Some(Blosc2Codec::BloscLz), level: Some(9) },
    Compression::Blosc2 { codec: Some(Blosc2Codec::Lz4Hc), level: Some(1) },
    Compression::Blosc2 { codec: Some(Blosc2Codec::Zlib), level: Some(5) },
    Compression::Blosc2 { codec: Some(Blosc2Codec::Zstd), level: Some(0) },
    Compression::Szip { rsi: 128, block_size: 16, flags: 8 },
    Compression::Szip { rsi: 3, block_size: 8, flags: 0 },
    Compression::Szip { rsi: 5, block_size: 10, flags: 72 },
    Compression::Rle,
    Compression::Roaring,
    Compression::Zfp(ZfpMode::FixedRate(64.0)),
    Compression::Zfp(ZfpMode::FixedAccuracy(1e-6)),
];

pub(crate) const MASKS: [MaskMethod; 6] = [
    MaskMethod::None,
    MaskMethod::Rle,
    MaskMethod::Roaring,
    MaskMethod::Lz4,
    MaskMethod::Zstd { level: Some(5) },
    MaskMethod::Blosc2 { codec: Blosc2Codec::Lz4, level: 5 },
];

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config { cases: asked.unwrap_or(cases), failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&strategy, test).unwrap();
}

/// Why a pipeline of the test's choice may not be written.
fn unwritable(spec: &Spec, len: usize) -> bool {
    let width = spec.dtype.width().unwrap_or(0);
    let shuffled = spec.filter != Filter::None;
    let ragged = match spec.filter {
        Filter::Shuffle(size) => !(len * width.max(1)).is_multiple_of(size as usize),
        Filter::None => false,
    };
    let compression = match spec.compression {
        Compression::Szip { .. } => !shuffled && !(1..=4).contains(&width),
        Compression::Blosc2 { .. } => len == 0 || width == 0 && !shuffled,
        Compression::Rle | Compression::Roaring => spec.dtype != DType::Bitmask,
        Compression::Zfp(_) => {
            spec.dtype != DType::Float64 || shuffled || spec.byte_order != ByteOrder::NATIVE
        }
        _ => false,
    };
    ragged || compression
}

#[test]
fn everything_comes_back() {
    let pipeline = (0..DType::ALL.len(), 0..CODECS.len(), any::<bool>(), any::<bool>(), 0..MASKS.len());
    let data =
        (prop_oneof![Just(0_usize), 1..40_usize, 900..3000_usize], 0..5_u8, any::<u64>(), any::<bool>());
    let ranges = prop::collection::vec((0..=1000_usize, 0..=300_usize), 0..5);
    run(
        1200,
        (pipeline, data, ranges),
        |((dtype, codec, big, shuffle, mask), (len, kind, seed, special), ranges)| {
            let dtype = DType::ALL[dtype];
            let lossy = matches!(CODECS[codec], Compression::Zfp(_));
            let spec = Spec {
                byte_order: if big && !lossy { ByteOrder::Big } else { ByteOrder::NATIVE },
                filter: if shuffle && dtype != DType::Bitmask && !lossy {
                    Filter::Shuffle(dtype.width().unwrap_or(1) as u64)
                } else {
                    Filter::None
                },
                compression: CODECS[codec],
                masks: MaskOptions {
                    methods: [MASKS[mask]; 3],
                    small_mask_bytes: if seed % 3 == 0 { 128 } else { 0 },
                    ..MaskOptions::allow_all()
                },
                ..Spec::new(dtype)
            };
            let values = values(dtype, &numbers(seed, len, kind), special);
            let encoded = match encode(&spec, &[len as u64], &values) {
                Ok(encoded) => encoded,
                Err(error) => {
                    prop_assert!(unwritable(&spec, len), "{spec:?} of {len}: {error}");
                    return Ok(());
                }
            };
            prop_assert!(!unwritable(&spec, len), "{spec:?} of {len}");
            prop_assert_eq!(&encode(&spec, &[len as u64], &values).unwrap(), &encoded, "the same once more");
            let read = Spec::from_descriptor(&encoded.descriptor, &Place::file("made")).unwrap();
            prop_assert_eq!(
                (read.encoding, read.filter, read.compression),
                (spec.encoding, spec.filter, spec.compression)
            );
            let all = decode(&encoded, len);
            if lossy && let (Values::Float64(all), Values::Float64(values)) = (&all, &values) {
                let near = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-6;
                prop_assert!(all.iter().zip(values).all(|(a, b)| near(*a, *b)), "{spec:?}");
            } else {
                prop_assert_eq!(le_bytes(&all), le_bytes(&values), "{:?} of {}", spec, len);
            }
            let range = |&(start, count): &(usize, usize)| {
                let start = len * start / 1000;
                ElementRange { start: start as u64, count: (len * count / 1000).min(len - start) as u64 }
            };
            let ranges: Vec<_> = ranges.iter().map(range).collect();
            let (all, width) = (le_bytes(&all), dtype.width().unwrap_or(1));
            let slice =
                |r: &ElementRange| all[r.start as usize * width..][..r.count as usize * width].to_vec();
            let want: Vec<u8> = ranges.iter().flat_map(slice).collect();
            for threshold in [1.0, 0.0] {
                let got = decode_ranges(&encoded, &ranges, threshold).unwrap();
                prop_assert_eq!(le_bytes(&got), &want[..], "{:?} {:?}", spec, ranges);
            }
            Ok(())
        },
    );
}

#[test]
fn packed_values_are_within_half_a_step() {
    let codecs = [
        Compression::None,
        Compression::Zstd { level: None },
        Compression::Lz4,
        Compression::Blosc2 { codec: None, level: None },
        Compression::Szip { rsi: 4, block_size: 8, flags: 8 },
    ];
    let cases = (0..=64_u64, -2..4_i32, 0..codecs.len(), any::<bool>(), 0..2000_usize, 0..5_u8, any::<u64>());
    run(700, cases, |(bits, decimal, codec, shuffle, len, kind, seed)| {
        let packing = Packing { bits, decimal, scales: None };
        let spec = Spec {
            encoding: Encoding::SimplePacking(packing),
            filter: if shuffle && bits > 0 { Filter::Shuffle(bits.div_ceil(8)) } else { Filter::None },
            compression: codecs[codec],
            ..Spec::new(DType::Float64)
        };
        let numbers: Vec<f64> = numbers(seed, len, kind).iter().map(|x| x * 1.37 + 250.0).collect();
        let encoded = match encode(&spec, &[len as u64], &Values::Float64(numbers.clone())) {
            Ok(encoded) => encoded,
            Err(error) => {
                let flat = len as u64 * bits;
                let fits = match (spec.compression, spec.filter) {
                    (Compression::Szip { .. }, _) => matches!(bits, 8 | 16 | 24 | 32),
                    (Compression::Blosc2 { .. }, _) => flat > 0,
                    _ => true,
                };
                let whole = spec.filter == Filter::None || flat.div_ceil(8).is_multiple_of(bits.div_ceil(8));
                prop_assert!(!fits || !whole, "{spec:?}: {error}");
                return Ok(());
            }
        };
        let Values::Float64(got) = decode(&encoded, len) else { unreachable!() };
        let binary = encoded.descriptor.params["sp_binary_scale_factor"].as_integer().unwrap();
        let step = 2f64.powi(i128::from(binary) as i32) * 10f64.powi(-decimal);
        let range = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max) - 250.0 + 200.0;
        for (got, value) in got.iter().zip(&numbers) {
            let bound = if bits == 0 { range * 2.0 } else { step / 2.0 * (1.0 + 1e-9) + 1e-12 };
            prop_assert!((got - value).abs() <= bound, "{got} {value} {step} {bits}");
        }
        Ok(())
    });
}

#[test]
fn sz3_keeps_its_bound() {
    let modes = [
        (Sz3Mode::Abs, 0.01),
        (Sz3Mode::Abs, 1.0),
        (Sz3Mode::Rel, 1e-3),
        (Sz3Mode::Psnr, 60.0),
        (Sz3Mode::Abs, 1e-12),
    ];
    run(80, (0..modes.len(), 1..30_000_usize, 0..5_u8, any::<u64>()), |(mode, len, kind, seed)| {
        let (mode, bound) = modes[mode];
        let spec = Spec { compression: Compression::Sz3 { mode, bound }, ..Spec::new(DType::Float64) };
        let numbers = numbers(seed, len, kind);
        let encoded = encode(&spec, &[len as u64], &Values::Float64(numbers.clone())).unwrap();
        let Values::Float64(got) = decode(&encoded, len) else { unreachable!() };
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let errors = got.iter().zip(&numbers).map(|(a, b)| a - b);
        match mode {
            Sz3Mode::Abs | Sz3Mode::Rel => {
                let bound = if mode == Sz3Mode::Abs { bound } else { bound * (most - least) };
                prop_assert!(
                    errors.clone().all(|e| e.abs() <= bound),
                    "{:?}",
                    errors.fold(0.0, |a: f64, b| a.max(b.abs()))
                );
            }
            Sz3Mode::Psnr => {
                let square = errors.map(|e| e * e).sum::<f64>() / len as f64;
                prop_assert!(
                    square == 0.0 || 20.0 * (most - least).log10() - 10.0 * square.log10() >= bound - 1.0
                );
            }
        }
        Ok(())
    });
}

#[test] // a missing value far outside is stored as it is
fn sz3_keeps_outliers() {
    let spec = Spec {
        compression: Compression::Sz3 { mode: Sz3Mode::Abs, bound: 0.01 },
        ..Spec::new(DType::Float64)
    };
    for far in [1e20, 9.969_209_968_386_869e36, -1e300] {
        let mut numbers = numbers(5, 5000, 1);
        numbers.iter_mut().step_by(997).for_each(|x| *x = far);
        let encoded = encode(&spec, &[5000], &Values::Float64(numbers.clone())).unwrap();
        let Values::Float64(got) = decode(&encoded, 5000) else { unreachable!() };
        assert!(got.iter().zip(&numbers).all(|(a, b)| (a - b).abs() <= 0.01), "{far}");
    }
}

#[test]
fn threads_change_no_byte() {
    let numbers: Vec<f64> = (0..700_001).map(|i| (i as f64 / 500.0).sin() * 30.0 + (i % 13) as f64).collect();
    let values = Values::Float64(numbers);
    for bits in [0_u64, 7, 16, 24, 33, 64] {
        let packing = Packing { bits, decimal: 0, scales: None };
        for filter in [Filter::None, Filter::Shuffle(1), Filter::Shuffle(7)] {
            let spec =
                Spec { encoding: Encoding::SimplePacking(packing), filter, ..Spec::new(DType::Float64) };
            let Ok(encoder) = Encoder::try_new(Place::file("new"), &spec, &[700_001]) else { continue };
            let mut scratch = EncodeScratch::default();
            let one = encoder.encode(values.as_block(), &mut scratch).unwrap();
            let many = encoder.with_threads(NonZeroUsize::new(3).unwrap());
            assert!(many.encode(values.as_block(), &mut scratch).unwrap() == one, "{bits} {filter:?}");
        }
    }
    let spec = Spec { filter: Filter::Shuffle(8), ..Spec::new(DType::Float64) };
    let encoder = Encoder::try_new(Place::file("new"), &spec, &[700_001]).unwrap();
    let one = encoder.encode(values.as_block(), &mut EncodeScratch::default()).unwrap();
    let many = encoder.with_threads(NonZeroUsize::new(3).unwrap());
    assert!(many.encode(values.as_block(), &mut EncodeScratch::default()).unwrap() == one);
    assert_eq!(le_bytes(&decode(&one, 700_001)), le_bytes(&values));
}

/// Codecs of which we write the bytes that the reference writes.
fn same_bytes(compression: &str) -> bool {
    matches!(compression, "none" | "szip" | "rle" | "roaring")
}

#[test]
fn the_corpus_is_written_anew() {
    let Some(dir) = corpus::dir() else { return };
    let (mut same, mut failures) = (0, Vec::new());
    for folder in ["codecs", "dtypes", "packing", "shuffle", "masks", "shapes"] {
        for entry in std::fs::read_dir(dir.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(file) = File::open(Arc::new(LocalFile::open(&path).unwrap()), &Limits::default()) else {
                continue;
            };
            for object in file.messages.iter().flatten().flat_map(|message| &message.objects) {
                match again(&file, object) {
                    Ok(bytes) => same += usize::from(bytes),
                    Err(what) => failures.push(format!("{}: {what}", object.place)),
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(same > 150, "only {same} objects were the same bytes");
}

/// Decodes an object, encodes it with its own pipeline, and compares; whether it is the same to the byte.
fn again(file: &File, object: &Object) -> Result<bool, String> {
    let region = file.source.read(object.region.clone()).map_err(|e| e.to_string())?;
    let pipeline = Pipeline::try_new(object, &Limits::default()).map_err(|e| e.to_string())?;
    let values = pipeline.decode(&region, &mut Scratch::default(), &mut DecodeStats::default());
    let values = values.map_err(|e| e.to_string())?;
    let descriptor = &object.descriptor;
    let mut spec = Spec::from_descriptor(descriptor, &object.place).map_err(|e| e.to_string())?;
    spec.masks.small_mask_bytes = 0;
    let lossy = matches!(spec.compression, Compression::Sz3 { .. } | Compression::Zfp(_));
    let encoded = match encode(&spec, &descriptor.shape, &values) {
        Ok(encoded) => encoded,
        Err(error) if refused(&spec, &error) => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    if lossy {
        return Ok(encoded.region == region[..]); // coding once more may lose once more
    }
    if le_bytes(&decode(&encoded, values.len())) != le_bytes(&values) {
        return Err("other values".into());
    }
    let masked = !descriptor.masks.is_empty();
    let same = encoded.region == region[..];
    let comparable = same_bytes(&descriptor.compression) && !masked && descriptor.encoding == "none";
    if comparable && !same && descriptor.dtype != DType::Bitmask {
        return Err(format!("other bytes: {} for {}", encoded.region.len(), region.len()));
    }
    // The reference's offsets are wrong after runs of zero blocks; those of other streams are ours.
    let offsets = |params: &millibar::tgm::Map| params.get("szip_block_offsets").cloned();
    if comparable && !object.place.file.contains("zero_runs") && offsets(&descriptor.params).is_some() {
        let [ours, theirs] = [&encoded.descriptor.params, &descriptor.params].map(offsets);
        if ours != theirs {
            return Err(format!("offsets {ours:?} for {theirs:?}"));
        }
    }
    Ok(same)
}

/// What the reference writes and we don't: numbers in another order of bytes than the machine's, and NaN that some other
/// writer left where no mask is.
fn refused(spec: &Spec, error: &Error) -> bool {
    let numbers = matches!(spec.compression, Compression::Zfp(_) | Compression::Sz3 { .. });
    let foreign = numbers && spec.byte_order != ByteOrder::NATIVE;
    matches!(error, Error::Codec { .. }) && (foreign || error.to_string().contains("which isn't allowed"))
}

#[test]
fn packing_is_the_references() {
    let values = Values::Float64(vec![250.0, 251.3, 252.7, 250.0, 260.0]);
    let vectors: [(u64, i32, i64, &[u8]); 5] = [
        (12, 0, -8, &[0, 0x01, 0x4d, 0x2b, 0x30, 0, 0xa0, 0]),
        (16, 0, -12, &[0, 0, 0x14, 0xcd, 0x2b, 0x33, 0, 0, 0xa0, 0]),
        (16, 2, -6, &[0, 0, 0x20, 0x80, 0x43, 0x80, 0, 0, 0xfa, 0]),
        (1, 0, 4, &[8]),
        (
            64,
            0,
            -60,
            &[
                0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xcc, 0xcc, 0xcc, 0xcc, 0xcd, 0, 0, 0x2b, 0x33, 0x33, 0x33,
                0x33, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ),
    ];
    for (bits, decimal, binary, payload) in vectors {
        let packing = Packing { bits, decimal, scales: None };
        let spec = Spec { encoding: Encoding::SimplePacking(packing), ..Spec::new(DType::Float64) };
        let encoded = encode(&spec, &[5], &values).unwrap();
        assert_eq!(encoded.region, payload, "{bits} bits");
        assert_eq!(encoded.descriptor.params["sp_binary_scale_factor"], Value::from(binary));
        assert_eq!(encoded.descriptor.params["sp_reference_value"], Value::from(250.0));
    }
}

#[test]
fn what_cannot_be_written_soundly_is_refused() {
    let place = || Place::file("new");
    let pack = |bits| Encoding::SimplePacking(Packing { bits, decimal: 0, scales: None });
    let szip = Compression::Szip { rsi: 128, block_size: 16, flags: 8 };
    let zfp = Compression::Zfp(ZfpMode::FixedRate(16.0));
    let sz3 = Compression::Sz3 { mode: Sz3Mode::Abs, bound: 0.1 };
    let plain = Spec::new(DType::Float64);
    let refused = |spec: Spec, word: &str| {
        let error = Encoder::try_new(place(), &spec, &[8]).unwrap_err();
        assert!(matches!(error, Error::Codec { .. }) && error.to_string().contains(word), "{error}");
    };
    refused(Spec { encoding: pack(65), ..plain.clone() }, "65 bits");
    refused(Spec { encoding: pack(8), ..Spec::new(DType::Float32) }, "float32");
    refused(Spec { encoding: pack(12), compression: szip, ..plain.clone() }, "12 bits and szip");
    refused(Spec { compression: szip, ..plain.clone() }, "bits per sample");
    refused(Spec { compression: szip, ..Spec::new(DType::Bitmask) }, "bits per sample");
    let padded = Compression::Szip { rsi: 128, block_size: 16, flags: 40 };
    refused(Spec { compression: padded, ..Spec::new(DType::Int16) }, "padding");
    for lossy in [zfp, sz3] {
        refused(Spec { compression: lossy, ..Spec::new(DType::Float32) }, "convert them first");
        refused(Spec { compression: lossy, byte_order: ByteOrder::Big, ..plain.clone() }, "byte order");
        refused(Spec { compression: lossy, filter: Filter::Shuffle(8), ..plain.clone() }, "another stage");
        refused(Spec { compression: lossy, encoding: pack(16), ..plain.clone() }, "another stage");
    }
    let bound = |mode, bound| Compression::Sz3 { mode, bound };
    refused(Spec { compression: bound(Sz3Mode::Abs, 0.0), ..plain.clone() }, "error bound");
    refused(Spec { compression: bound(Sz3Mode::Rel, f64::NAN), ..plain.clone() }, "error bound");
    refused(
        Spec { compression: Compression::Zfp(ZfpMode::FixedAccuracy(0.0)), ..plain.clone() },
        "zfp_tolerance",
    );
    refused(Spec { compression: Compression::Zfp(ZfpMode::FixedRate(-1.0)), ..plain.clone() }, "zfp_rate");
    refused(Spec { compression: Compression::Rle, ..plain.clone() }, "bitmasks");
    refused(Spec { compression: Compression::Zstd { level: Some(99) }, ..plain.clone() }, "level 99");
    refused(
        Spec { compression: Compression::Blosc2 { codec: None, level: Some(10) }, ..plain.clone() },
        "level 10",
    );
    refused(Spec { filter: Filter::Shuffle(0), ..plain.clone() }, "element size 0");
    refused(Spec { filter: Filter::Shuffle(7), ..plain.clone() }, "multiple");
    assert!(Encoder::try_new(place(), &Spec { compression: sz3, ..plain.clone() }, &[0]).is_err());
    assert!(Encoder::try_new(place(), &plain, &[1 << 40, 1 << 40]).is_err());

    let encode = |spec: &Spec, values: &[f64]| {
        let encoder = Encoder::try_new(place(), spec, &[values.len() as u64]).unwrap();
        encoder.encode(Block::Float64(values), &mut EncodeScratch::default()).unwrap_err().to_string()
    };
    assert!(encode(&plain, &[1.0, f64::NAN]).contains("element 1 is NaN"));
    assert!(encode(&plain, &[f64::NEG_INFINITY]).contains("element 0 is -Inf"));
    let allowed = Spec { encoding: pack(16), masks: MaskOptions::allow_all(), ..plain.clone() };
    assert!(encode(&allowed, &[1.0, f64::NAN]).contains("reference value and scale"));
    let packed = Spec { encoding: pack(16), ..plain.clone() };
    assert!(encode(&packed, &[0.0, 1e-90]).contains("binary exponent"));
    let encoder = Encoder::try_new(place(), &plain, &[3]).unwrap();
    assert!(encoder.encode(Block::Float64(&[1.0]), &mut EncodeScratch::default()).is_err());
    assert!(encoder.encode(Block::Float32(&[1.0; 3]), &mut EncodeScratch::default()).is_err());
}

#[test]
fn masked_cells_of_packed_values_come_back() {
    let scales = Some((0.0, -4));
    let spec = Spec {
        encoding: Encoding::SimplePacking(Packing { bits: 12, decimal: 0, scales }),
        masks: MaskOptions::allow_all(),
        ..Spec::new(DType::Float64)
    };
    let values = vec![1.5, f64::NAN, 3.25, f64::INFINITY, f64::NEG_INFINITY, 0.0];
    let encoded = encode(&spec, &[6], &Values::Float64(values.clone())).unwrap();
    assert_eq!(encoded.descriptor.masks.len(), 3);
    assert_eq!(le_bytes(&decode(&encoded, 6)), le_bytes(&Values::Float64(values)));
}
