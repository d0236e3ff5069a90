//! What decoding costs: each pipeline on one field of 181 x 360, whole and at one element, with a sink that sums.
//!
//! The fields come from `benches/make_codec_fields.py` (the reference package writes them) and are kept in
//! `target/`; without them only the uncompressed pipelines run.

use divan::counter::BytesCount;
use millibar::Place;
use millibar::codec::{Block, DecodeStats, ElementRange, Piece, Pipeline, Scratch};
use millibar::reduce::{Accumulators, ChunkReducer, GroupMap, NanPolicy, Wants};
use millibar::source::{Bytes, LocalFile};
use millibar::tensor::{ChunkGrid, Selection};
use millibar::tgm::{ByteOrder, DType, Descriptor, File, Limits, Map, Object};
use std::sync::Arc;

const PIPELINES: [&str; 11] = [
    "none",
    "none_big",
    "shuffle",
    "zstd",
    "shuffle_zstd",
    "lz4",
    "blosc2_zstd",
    "blosc2_lz4",
    "masked",
    "packing16",
    "packing16_szip",
];

struct Field {
    pipeline: Pipeline,
    region: Bytes,
}

fn field(name: &str) -> Option<Field> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/codec-fields");
    let file =
        File::open(Arc::new(LocalFile::open(dir.join(format!("{name}.tgm"))).ok()?), &Limits::default())
            .ok()?;
    let object: &Arc<Object> = file.message(0).ok()?.object(0).ok()?;
    let region = file.source.read(object.region.clone()).ok()?;
    Some(Field { pipeline: Pipeline::try_new(object, &Limits::default()).ok()?, region })
}

fn sum(block: &Block<'_>) -> f64 {
    match block {
        Block::Float32(values) => lanes(values, |v| f64::from(*v)),
        Block::Float64(values) => lanes(values, |v| *v),
        _ => 0.0,
    }
}

/// Eight sums side by side, so that the sink isn't what is measured.
fn lanes<T>(values: &[T], number: impl Fn(&T) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += number(value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(number).sum::<f64>()
}

fn visit(bencher: divan::Bencher, name: &str, range: impl Fn(u64) -> ElementRange) {
    let Some(field) = field(name) else {
        eprintln!("no field {name}: run benches/make_codec_fields.py");
        return;
    };
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let range = [range(field.pipeline.len())];
    let width = field.pipeline.dtype().width().unwrap_or(1) as u64;
    bencher.counter(BytesCount::new(range[0].count * width)).bench_local(|| {
        let mut total = 0.0;
        let visited =
            field.pipeline.visit(&field.region, &range, 0.5, &mut scratch, &mut stats, &mut |_, block| {
                total += sum(&block);
                Ok(())
            });
        visited.map(|()| total)
    });
}

/// A whole object.
#[divan::bench(args = PIPELINES)]
fn whole(bencher: divan::Bencher, name: &str) {
    visit(bencher, name, |len| ElementRange { start: 0, count: len });
}

/// A whole object decoded for nobody: what the next one can't be faster than.
#[divan::bench(args = PIPELINES)]
fn whole_unused(bencher: divan::Bencher, name: &str) {
    let Some(field) = field(name) else { return };
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let range = [ElementRange { start: 0, count: field.pipeline.len() }];
    bencher.bench_local(|| {
        let mut blocks = 0;
        let mut sink = |_, _: Block<'_>| {
            blocks += 1;
            Ok(())
        };
        field.pipeline.visit(&field.region, &range, 0.5, &mut scratch, &mut stats, &mut sink).map(|()| blocks)
    });
}

/// Mean, standard deviation, minimum and maximum of a whole object, in whichever form its cells come.
#[divan::bench(args = PIPELINES)]
fn whole_reduced(bencher: divan::Bencher, name: &str) {
    let Some(field) = field(name) else { return };
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let shape = [field.pipeline.len()];
    let range = [ElementRange { start: 0, count: shape[0] }];
    let (map, grid) = (GroupMap::single(&shape), ChunkGrid::whole(shape.to_vec()).expect("a sound grid"));
    let part = grid.parts(&Selection::all(&shape)).get(0).expect("one part");
    let states = Accumulators::try_new(field.pipeline.dtype(), 1, Wants::ALL, NanPolicy::Null);
    let mut states = states.expect("floats");
    bencher.bench_local(|| {
        states.clear();
        let mut reducer = ChunkReducer::new(&part, &map);
        let mut sink = |first, cells: Piece<'_>| reducer.feed(first, cells, None, &mut states);
        field.pipeline.visit_pieces(&field.region, &range, 0.5, &mut scratch, &mut stats, &mut sink)
    });
}

/// One element in the middle.
#[divan::bench(args = PIPELINES)]
fn one_element(bencher: divan::Bencher, name: &str) {
    visit(bencher, name, |len| ElementRange { start: len / 2, count: 1 });
}

/// Where decoding a zstd payload window by window begins to pay: below 8 MiB it is decoded in one call.
#[divan::bench(args = [1, 4, 7, 9, 16, 64])]
fn zstd_by_mib(bencher: divan::Bencher, mib: u64) {
    let len = mib << 18;
    let bytes: Vec<u8> =
        (0..len).flat_map(|i| ((i * 7 % 1009) as f32 + (i / 4096) as f32).to_le_bytes()).collect();
    let Ok(region) = zstd::encode_all(&bytes[..], 3) else { return };
    let descriptor = Descriptor {
        dtype: DType::Float32,
        shape: vec![len],
        byte_order: ByteOrder::NATIVE,
        encoding: "none".into(),
        filter: "none".into(),
        compression: "zstd".into(),
        masks: Vec::new(),
        params: Map::new(),
    };
    let end = region.len() as u64;
    let place = Place::file("made");
    let object = Object { place, frame: 0..end, region: 0..end, hash: None, descriptor: descriptor.into() };
    let Ok(pipeline) = Pipeline::try_new(&object, &Limits::default()) else { return };
    let region = Bytes::from(region);
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let range = [ElementRange { start: 0, count: len }];
    bencher.counter(BytesCount::new(len * 4)).bench_local(|| {
        let mut total = 0.0;
        let visited = pipeline.visit(&region, &range, 0.5, &mut scratch, &mut stats, &mut |_, block| {
            total += sum(&block);
            Ok(())
        });
        visited.map(|()| total)
    });
}

fn main() {
    divan::main();
}
