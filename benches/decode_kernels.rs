//! Throughput of the decoding kernels, in bytes of decoded samples (or values), on one thread.
//!
//! `szip` against the decoder of `tensogram-szip`, in the same run on the same streams.

use divan::{Bencher, counter::BytesCount};
use millibar::codec::packing::SimplePacking;
use millibar::codec::shuffle::Shuffle;
use millibar::codec::szip::{self, Aec, Samples};
use tensogram_szip::{AecParams, aec_compress, aec_decompress};

fn main() {
    divan::main();
}

/// Twelve fields of half a degree.
const LEN: usize = 12 * 361 * 720;

/// Temperature-like values in K: a meridional gradient, a wave and smoothed noise; fixed seed.
fn temperature() -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = 0.0;
    (0..LEN)
        .map(|i| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let white = (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5;
            noise = 0.8 * noise + white;
            let lat = (90.0 - (i / 720 % 361) as f64 / 2.0).to_radians();
            let lon = ((i % 720) as f64 / 2.0).to_radians();
            288.0 - 40.0 * lat.sin().abs() + 8.0 * (2.0 * lon).cos() * lat.cos() + noise
        })
        .collect()
}

fn quantised(values: &[f64], bits: u32) -> Vec<u32> {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let top = f64::from(u32::MAX >> (32 - bits));
    values.iter().map(|v| ((v - min) / (max - min) * top) as u32).collect()
}

/// An encoded stream and what it decodes to.
struct Stream {
    name: &'static str,
    params: AecParams,
    payload: Vec<u8>,
    offsets: Vec<u64>,
    samples: usize,
}

impl Stream {
    fn new(name: &'static str, bits: u32, msb: bool, numbers: &[u32]) -> Self {
        let width = bits.div_ceil(8) as usize;
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|n| {
                let mut bytes = n.to_le_bytes()[..width].to_vec();
                if msb {
                    bytes.reverse();
                }
                bytes
            })
            .collect();
        let flags = szip::PREPROCESS | if msb { szip::MSB } else { 0 };
        let params = AecParams { bits_per_sample: bits, block_size: 16, rsi: 128, flags };
        let (payload, offsets) = aec_compress(&bytes, &params).expect("encodes");
        Self { name, params, payload, offsets, samples: numbers.len() }
    }

    fn aec(&self) -> Aec {
        let p = &self.params;
        Aec::try_new(p.bits_per_sample, p.block_size, p.rsi, p.flags).expect("sound parameters")
    }

    fn bytes(&self) -> usize {
        self.samples * self.aec().sample_bytes()
    }
}

fn streams() -> Vec<Stream> {
    let field = temperature();
    // Rain: mostly none.
    let rain: Vec<f64> = field.iter().map(|v| (v - 289.0).max(0.0)).collect();
    let floats: Vec<u32> = field.iter().map(|&v| (v as f32).to_bits()).collect();
    vec![
        Stream::new("packed 8", 8, true, &quantised(&field, 8)),
        Stream::new("packed 16", 16, true, &quantised(&field, 16)),
        Stream::new("packed 16, rain", 16, true, &quantised(&rain, 16)),
        Stream::new("packed 24", 24, true, &quantised(&field, 24)),
        Stream::new("float32", 32, false, &floats),
    ]
}

fn stream(name: &str) -> &'static Stream {
    static STREAMS: std::sync::OnceLock<Vec<Stream>> = std::sync::OnceLock::new();
    STREAMS.get_or_init(streams).iter().find(|s| s.name == name).expect("a stream of that name")
}

const STREAMS: [&str; 5] = ["packed 8", "packed 16", "packed 16, rain", "packed 24", "float32"];

/// The whole stream into bytes.
#[divan::bench(args = STREAMS)]
fn szip_decode(bencher: Bencher, name: &str) {
    let stream = stream(name);
    let mut out = vec![0; stream.bytes()];
    bencher
        .counter(BytesCount::new(stream.bytes()))
        .bench_local(|| stream.aec().decode_all(&stream.payload, Samples::Bytes(&mut out)).expect("decodes"));
}

/// The peer: it allocates its output.
#[divan::bench(args = STREAMS)]
fn szip_decode_peer(bencher: Bencher, name: &str) {
    let stream = stream(name);
    bencher
        .counter(BytesCount::new(stream.bytes()))
        .bench_local(|| aec_decompress(&stream.payload, stream.bytes(), &stream.params).expect("decodes"));
}

/// Finding the RSIs with right offsets for hints: what certainty about a range costs, once an object.
#[divan::bench(args = STREAMS)]
fn szip_index(bencher: Bencher, name: &str) {
    let stream = stream(name);
    bencher.counter(BytesCount::new(stream.bytes())).bench_local(|| {
        let index = stream.aec().index(&stream.payload, stream.samples as u64, Some(&stream.offsets));
        assert!(index.stored_agree());
    });
}

/// The same without hints.
#[divan::bench(args = STREAMS)]
fn szip_index_alone(bencher: Bencher, name: &str) {
    let stream = stream(name);
    bencher
        .counter(BytesCount::new(stream.bytes()))
        .bench_local(|| stream.aec().index(&stream.payload, stream.samples as u64, None));
}

/// The whole stream into numbers, and those into values: simple packing over szip.
#[divan::bench]
fn szip_packed_16_to_values(bencher: Bencher) {
    let stream = stream("packed 16");
    let packing = SimplePacking::try_new(16, 250.0, -10, 0).expect("sound parameters");
    let mut numbers = vec![0; stream.samples];
    let mut values = vec![0.0; stream.samples];
    bencher.counter(BytesCount::of_slice(&values)).bench_local(|| {
        stream.aec().decode_all(&stream.payload, Samples::U32(&mut numbers)).expect("decodes");
        packing.scale(&numbers, &mut values);
    });
}

/// Values out of packed bits that aren't compressed.
#[divan::bench(args = [1, 8, 12, 16, 20, 24, 32, 64])]
fn unpack(bencher: Bencher, bits: u32) {
    let packing = SimplePacking::try_new(bits, 250.0, -10, 0).expect("sound parameters");
    let packed: Vec<u8> = (0..LEN * bits as usize / 8).map(|i| ((i * i) >> 3) as u8).collect();
    let mut values = vec![0.0; LEN];
    bencher
        .counter(BytesCount::of_slice(&values))
        .bench_local(|| packing.unpack(&packed, 0, &mut values).expect("enough bytes"));
}

/// The shuffle undone, by element size.
#[divan::bench(args = [2, 3, 4, 8, 12, 16])]
fn unshuffle(bencher: Bencher, size: u64) {
    let planes: Vec<u8> = (0..8 * LEN).map(|i| ((i * i) >> 3) as u8).collect();
    let shuffle = Shuffle::try_new(size, planes.len() as u64).expect("whole elements");
    let mut out = vec![0; planes.len()];
    bencher
        .counter(BytesCount::of_slice(&out))
        .bench_local(|| shuffle.unshuffle(&planes, 0..shuffle.elements(), &mut out).expect("unshuffles"));
}
