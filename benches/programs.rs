//! What expressions and predicates cost beside reducing their cells as they are: nothing here decodes.
//!
//! The fields are 24 x 13 x 181 x 360 `f32`, one chunk for each of the 24 times, larger than any cache.

use divan::Bencher;
use divan::counter::BytesCount;
use millibar::codec::Block;
use millibar::reduce::expr::{
    Arith, Builder, Compare, Data, Input, Kept, Machine, Math, Node, Segment, TILE, Table, Type,
};
use millibar::reduce::{Accumulators, ChunkReducer, Factor, GroupMap, NanPolicy, Wants};
use millibar::tensor::{ChunkGrid, Part, Selection};
use millibar::tgm::DType;
use std::sync::{Arc, LazyLock};

fn main() {
    divan::main();
}

const SHAPE: [u64; 4] = [24, 13, 181, 360];

fn field(seed: u64) -> Vec<f32> {
    let mut bits = seed;
    let mut next = || {
        bits = bits.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        250.0 + (bits >> 40) as f32 / (1 << 24) as f32 * 50.0
    };
    (0..SHAPE.iter().product()).map(|_| next()).collect()
}

static FIELDS: LazyLock<[Vec<f32>; 2]> = LazyLock::new(|| [field(1), field(2)]);

fn parts() -> Vec<Part> {
    let shape = vec![1, SHAPE[1], SHAPE[2], SHAPE[3]];
    let grid = ChunkGrid::try_new(SHAPE.to_vec(), shape).expect("a sound grid");
    grid.parts(&Selection::all(&SHAPE)).iter().collect()
}

/// Runs a program over all tiles of the first `inputs` fields; `sink` takes what comes out.
fn run(
    bencher: Bencher,
    inputs: usize,
    map: &GroupMap,
    builder: Builder,
    mut sink: impl FnMut(&Machine, Segment, &mut ChunkReducer<'_>),
) {
    let (parts, mut machine) = (parts(), Machine::new(Arc::new(builder.build(true))));
    let fields = &FIELDS[..inputs];
    let chunk = fields[0].len() / parts.len();
    bencher.counter(BytesCount::new(inputs * size_of_val(&fields[0][..]))).bench_local(|| {
        for (nth, part) in parts.iter().enumerate() {
            let mut reducer = ChunkReducer::new(part, map);
            machine.enter(&part.origin, &part.shape);
            for first in (0..chunk).step_by(TILE) {
                let segment = Segment { first: first as u64, len: TILE.min(chunk - first) };
                let start = nth * chunk + first;
                let input = |field: &'static Vec<f32>| Input {
                    block: Some(Block::Float32(&field[start..start + segment.len])),
                    valid: None,
                };
                let inputs = fields.iter().map(input).collect::<Vec<_>>();
                if machine.run(&[segment], &inputs).expect("steps that can't fail") {
                    sink(&machine, segment, &mut reducer);
                }
            }
        }
    });
}

fn constant(builder: &mut Builder, data: Data) -> Node {
    let table = Table::try_new(&[], Vec::new(), data, None).expect("one value");
    builder.table(table)
}

/// The mean of `node`, doubles, in the groups of `map`.
fn mean(bencher: Bencher, inputs: usize, map: &GroupMap, mut builder: Builder, node: Node) {
    builder.output(node);
    let wants = Wants { sum: true, ..Wants::default() };
    let mut states =
        Accumulators::try_new(DType::Float64, map.groups(), wants, NanPolicy::Value).expect("f64");
    run(bencher, inputs, map, builder, |machine, segment, reducer| {
        let block = machine.values(node).as_block().expect("numbers");
        reducer.feed(segment.first, block, None, &mut states).expect("a block of the chunk");
    });
}

#[divan::bench]
fn count_above(bencher: Bencher) {
    let mut builder = Builder::new();
    let cells = builder.load(0, Type::F32);
    let bound = constant(&mut builder, Data::F32(vec![290.0]));
    let above = builder.compare(Compare::Less, bound, cells).expect("singles");
    let gate = builder.truth(above).expect("a boolean");
    builder.gate(gate).expect("a mask");
    let mut counts = vec![0];
    run(bencher, 1, &GroupMap::single(&SHAPE), builder, |machine, segment, reducer| {
        if let Kept::Some(mask) = machine.kept(gate) {
            reducer.count_kept(segment.first, mask, &mut counts).expect("cells of the chunk");
        }
    });
}

#[divan::bench]
fn mean_above(bencher: Bencher) {
    let mut builder = Builder::new();
    let cells = builder.load(0, Type::F32);
    let bound = constant(&mut builder, Data::F32(vec![290.0]));
    let above = builder.compare(Compare::Less, bound, cells).expect("singles");
    let gate = builder.truth(above).expect("a boolean");
    builder.gate(gate).expect("a mask");
    builder.output(cells);
    let wants = Wants { sum: true, ..Wants::default() };
    let mut states = Accumulators::try_new(DType::Float32, 1, wants, NanPolicy::Null).expect("f32");
    run(bencher, 1, &GroupMap::single(&SHAPE), builder, |machine, segment, reducer| {
        if let (Kept::Some(mask), Some(block)) = (machine.kept(gate), machine.values(cells).as_block()) {
            reducer.feed(segment.first, block, Some(mask), &mut states).expect("cells of the chunk");
        }
    });
}

#[divan::bench]
fn mean_of_difference_by_level(bencher: Bencher) {
    let codes = (0..SHAPE[1] as u32).collect();
    let levels = Factor { dims: vec![1], codes, cardinality: SHAPE[1] as u32 };
    let map = GroupMap::try_new(&SHAPE, vec![levels]).expect("sound groups");
    let mut builder = Builder::new();
    let cells = builder.load(0, Type::F64);
    let zero = constant(&mut builder, Data::F64(vec![273.15]));
    let celsius = builder.arith(Arith::Subtract, cells, zero).expect("doubles");
    mean(bencher, 1, &map, builder, celsius);
}

#[divan::bench]
fn sum_by_weight(bencher: Bencher) {
    let mut builder = Builder::new();
    let weights = (0..SHAPE[2]).map(|at| (90.0 - at as f64).to_radians().cos()).collect();
    let weights = Table::try_new(&SHAPE, vec![2], Data::F64(weights), None).expect("a weight by latitude");
    let (cells, weights) = (builder.load(0, Type::F64), builder.table(weights));
    let weighted = builder.arith(Arith::Multiply, cells, weights).expect("doubles");
    mean(bencher, 1, &GroupMap::single(&SHAPE), builder, weighted);
}

#[divan::bench]
fn mean_of_speed(bencher: Bencher) {
    let mut builder = Builder::new();
    let squares = [0, 1].map(|input| {
        let cells = builder.load(input, Type::F64);
        builder.arith(Arith::Multiply, cells, cells).expect("doubles")
    });
    let sum = builder.arith(Arith::Add, squares[0], squares[1]).expect("doubles");
    let speed = builder.math(Math::Sqrt, sum).expect("doubles");
    mean(bencher, 2, &GroupMap::single(&SHAPE), builder, speed);
}
