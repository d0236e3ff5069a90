//! What decoding alone costs: every object of the benchmark's compressed files by its codec's library, into a buffer
//! that is reused, on one thread and on two. Nothing is unshuffled by us, scaled or reduced.
//!
//! The files are those of `benches/make_field.py`, in `$MILLIBAR_BENCH` or `target/bench`. One line for each result:
//! `bare <file> <threads> <all or level> <seconds>`, the best of several; `benches/peers.py` reads them.

use blosc2_sys as ffi;
use millibar::codec::szip::{Aec, MSB, Samples};
use millibar::source::{Bytes, LocalFile};
use millibar::tgm::{File, Limits, Object};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const FILES: [&str; 3] = ["blosc2", "shuffle_zstd", "packed_szip"];
const REPEATS: usize = 7;
/// Levels of a message, and the one whose objects are decoded alone.
const LEVELS: usize = 13;
const LEVEL: usize = 5;

struct Encoded {
    object: Arc<Object>,
    payload: Bytes,
}

fn folder() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::env::var_os("MILLIBAR_BENCH").map_or_else(default, PathBuf::from)
}

/// The fields of a file, without the coordinates.
fn fields(name: &str) -> Option<Vec<Encoded>> {
    let source = Arc::new(LocalFile::open(folder().join(format!("{name}.tgm"))).ok()?);
    let file = File::open(source, &Limits::default()).ok()?;
    let objects = file.messages.iter().flatten().flat_map(|message| &message.objects);
    let fields = objects.filter(|object| object.descriptor.shape.len() == 2).map(|object| {
        let payload = file.source.read(object.payload())?;
        Ok(Encoded { object: Arc::clone(object), payload })
    });
    fields.collect::<millibar::Result<_>>().ok()
}

/// Buffers and contexts of one thread.
struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    bytes: Vec<u8>,
    numbers: Vec<u32>,
}

impl Decoder {
    fn new() -> Self {
        let zstd = zstd::bulk::Decompressor::new().expect("a context of zstd");
        Self { zstd, bytes: Vec::new(), numbers: Vec::new() }
    }

    fn decode(&mut self, field: &Encoded) {
        let descriptor = &field.object.descriptor;
        let elements = descriptor.len() as usize;
        self.bytes.resize(elements * 4, 0);
        match descriptor.compression.as_str() {
            "zstd" => {
                self.zstd
                    .decompress_to_buffer(&field.payload[..], &mut self.bytes[..])
                    .expect("a zstd stream");
            }
            "blosc2" => blosc2(&field.payload, &mut self.bytes),
            _ => {
                self.numbers.resize(elements, 0);
                szip(&field.object, &field.payload, &mut self.numbers);
            }
        }
        std::hint::black_box((&self.bytes, &self.numbers));
    }
}

/// Decompresses a frame of one or more chunks by the C library.
fn blosc2(frame: &[u8], out: &mut [u8]) {
    // SAFETY: the library reads `frame` only, which outlives the super-chunk; it is told not to free it. `out` is
    // valid for the length given, and a chunk that doesn't fit there is refused. Frames are those of make_field.py.
    unsafe {
        let chunks = ffi::blosc2_schunk_from_buffer(frame.as_ptr().cast_mut(), frame.len() as i64, false);
        assert!(!chunks.is_null(), "a frame");
        ffi::blosc2_schunk_avoid_cframe_free(chunks, true);
        let mut at = 0;
        for chunk in 0..(*chunks).nchunks {
            let room = (out.len() - at) as i32;
            let got = ffi::blosc2_schunk_decompress_chunk(chunks, chunk, out[at..].as_mut_ptr().cast(), room);
            at += usize::try_from(got).expect("a sound chunk");
        }
        assert_eq!(at, out.len());
        ffi::blosc2_schunk_free(chunks);
    }
}

fn szip(object: &Object, payload: &[u8], out: &mut [u32]) {
    let parameter =
        |key| object.descriptor.uint(&object.place, key).ok().flatten().expect("szip's parameters") as u32;
    let aec = Aec::try_new(
        parameter("sp_bits_per_value"),
        parameter("szip_block_size"),
        parameter("szip_rsi"),
        parameter("szip_flags") | MSB,
    );
    aec.expect("sound parameters").decode_all(payload, Samples::U32(out)).expect("a sound stream");
}

/// Decodes all fields, every `threads`-th by one thread; seconds.
fn time(fields: &[&Encoded], threads: usize) -> f64 {
    let mut decoders: Vec<Decoder> = (0..threads).map(|_| Decoder::new()).collect();
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for (first, decoder) in decoders.iter_mut().enumerate() {
                scope.spawn(move || {
                    fields.iter().skip(first).step_by(threads).for_each(|field| decoder.decode(field))
                });
            }
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    // SAFETY: called once, before any other call of the library.
    unsafe { ffi::blosc2_init() };
    for name in FILES {
        let Some(fields) = fields(name) else {
            println!("{name}: there is no such file in {}", folder().display());
            continue;
        };
        let all: Vec<&Encoded> = fields.iter().collect();
        let level: Vec<&Encoded> = fields.iter().skip(LEVEL).step_by(LEVELS).collect();
        for threads in [1, 2] {
            println!("bare {name} {threads} all {:.6}", time(&all, threads));
            println!("bare {name} {threads} level {:.6}", time(&level, threads));
        }
    }
}
