//! Encoding and decoding, each pipeline on one large field, best of several runs: the half of `benches/codecs.py` that
//! times us. Prints a line a pipeline: name, seconds to encode, seconds to decode, encoded bytes.
//!
//! Arguments: threads, then names of pipelines (all of them without).

use millibar::Place;
use millibar::codec::encode::{Encoder, Scratch as EncodeScratch};
use millibar::codec::{
    Blosc2Codec, Compression, DecodeStats, Encoding, Filter, Packing, Pipeline, Scratch, Spec, Sz3Mode,
    Values, ZfpMode,
};
use millibar::source::Bytes;
use millibar::tgm::{ByteOrder, DType, Limits, Object};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Values of the field.
const LEN: usize = 4 << 20;
/// Runs of which the best counts.
const RUNS: usize = 5;

/// A smooth field with noise of 0.01, as `benches/codecs.py` makes it.
fn field() -> Vec<f64> {
    let noise = |i: usize| ((i as u64).wrapping_mul(2_654_435_761) >> 7) % 61;
    let value = |i: usize| 250.0 + 40.0 * (i as f64 / 60_000.0).cos() + 5.0 * (i as f64 / 115.0).sin();
    (0..LEN).map(|i| ((value(i) * 100.0).round() + noise(i) as f64) / 100.0).collect()
}

fn pipelines() -> Vec<(&'static str, Spec)> {
    let (single, double) = (Spec::new(DType::Float32), Spec::new(DType::Float64));
    let pack = |bits| Encoding::SimplePacking(Packing { bits, decimal: 0, scales: None });
    let szip = Compression::Szip { rsi: 128, block_size: 16, flags: 8 };
    let blosc2 = |codec| Compression::Blosc2 { codec: Some(codec), level: Some(5) };
    let shuffle = Filter::Shuffle(4);
    let zstd = Compression::Zstd { level: None };
    vec![
        ("none", single.clone()),
        ("none_big", Spec { byte_order: ByteOrder::Big, ..single.clone() }),
        ("shuffle", Spec { filter: shuffle, ..single.clone() }),
        ("zstd", Spec { compression: zstd, ..single.clone() }),
        ("shuffle_zstd", Spec { filter: shuffle, compression: zstd, ..single.clone() }),
        ("lz4", Spec { compression: Compression::Lz4, ..single.clone() }),
        ("blosc2_lz4", Spec { compression: blosc2(Blosc2Codec::Lz4), ..single.clone() }),
        ("blosc2_zstd", Spec { compression: blosc2(Blosc2Codec::Zstd), ..single }),
        ("packing12", Spec { encoding: pack(12), ..double.clone() }),
        ("packing16", Spec { encoding: pack(16), ..double.clone() }),
        ("packing16_szip", Spec { encoding: pack(16), compression: szip, ..double.clone() }),
        ("packing24_szip", Spec { encoding: pack(24), compression: szip, ..double.clone() }),
        ("zfp_rate16", Spec { compression: Compression::Zfp(ZfpMode::FixedRate(16.0)), ..double.clone() }),
        (
            "zfp_accuracy",
            Spec { compression: Compression::Zfp(ZfpMode::FixedAccuracy(0.01)), ..double.clone() },
        ),
        ("sz3_abs", Spec { compression: Compression::Sz3 { mode: Sz3Mode::Abs, bound: 0.01 }, ..double }),
        ("bitmask_rle", Spec { compression: Compression::Rle, ..Spec::new(DType::Bitmask) }),
        ("bitmask_roaring", Spec { compression: Compression::Roaring, ..Spec::new(DType::Bitmask) }),
    ]
}

fn best(mut work: impl FnMut()) -> Duration {
    (0..RUNS).fold(Duration::MAX, |best, _| {
        let start = Instant::now();
        work();
        best.min(start.elapsed())
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cargo adds `--bench`
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let threads = args.first().and_then(|threads| threads.parse().ok()).unwrap_or(NonZeroUsize::MIN);
    let wanted = |name: &str| args.len() < 2 || args[1..].iter().any(|arg| arg == name);
    let doubles = field();
    for (name, spec) in pipelines().into_iter().filter(|(name, _)| wanted(name)) {
        let values = match spec.dtype {
            DType::Float32 => Values::Float32(doubles.iter().map(|x| *x as f32).collect()),
            DType::Bitmask => Values::Bitmask(doubles.iter().map(|x| u8::from(*x > 251.5)).collect()),
            _ => Values::Float64(doubles.clone()),
        };
        let encoder = Encoder::try_new(Place::file(name), &spec, &[LEN as u64])?.with_threads(threads);
        let mut scratch = EncodeScratch::default();
        let encoded = encoder.encode(values.as_block(), &mut scratch)?;
        let encode = best(|| drop(black_box(encoder.encode(values.as_block(), &mut scratch))));

        let (end, descriptor) = (encoded.region.len() as u64, encoded.descriptor.into());
        let object =
            Object { place: Place::file(name), frame: 0..end, region: 0..end, hash: None, descriptor };
        let (pipeline, region) =
            (Pipeline::try_new(&object, &Limits::default())?, Bytes::from(encoded.region));
        let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
        let decode = best(|| drop(black_box(pipeline.decode(&region, &mut scratch, &mut stats))));
        println!("{name} {:.6} {:.6} {end}", encode.as_secs_f64(), decode.as_secs_f64());
    }
    Ok(())
}
