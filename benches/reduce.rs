//! What reducing decoded cells costs, beside a plain loop and ndarray's mean: nothing here decodes.
//!
//! The field is 24 x 13 x 181 x 360 `f32`, one chunk for each of the 24 times, larger than any cache.

use divan::Bencher;
use divan::counter::BytesCount;
use millibar::codec::Block;
use millibar::reduce::{Accumulators, ChunkReducer, Factor, GroupMap, NanPolicy, Wants};
use millibar::tensor::{ChunkGrid, Part, Selection};
use millibar::tgm::DType;
use std::sync::LazyLock;

fn main() {
    divan::main();
}

const SHAPE: [u64; 4] = [24, 13, 181, 360];
const MEAN: Wants = Wants { sum: true, min: false, max: false, moments: false };
const ALL: Wants = Wants { sum: true, min: true, max: true, moments: true };

/// Temperatures, from a fixed seed; in `HOLED`, one in seven is NaN.
static FIELD: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut bits = 1u64;
    let mut next = || {
        bits = bits.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        250.0 + (bits >> 40) as f32 / (1 << 24) as f32 * 50.0
    };
    (0..SHAPE.iter().product()).map(|_| next()).collect()
});
static HOLED: LazyLock<Vec<f32>> =
    LazyLock::new(|| FIELD.iter().enumerate().map(|(i, &x)| if i % 7 == 3 { f32::NAN } else { x }).collect());

fn parts() -> Vec<Part> {
    let grid =
        ChunkGrid::try_new(SHAPE.to_vec(), vec![1, SHAPE[1], SHAPE[2], SHAPE[3]]).expect("a sound grid");
    grid.parts(&Selection::all(&SHAPE)).iter().collect()
}

/// Groups by dims: their positions, divided by the number given with each.
fn by(dims: &[(usize, u32)]) -> GroupMap {
    let factor = |&(dim, divisor): &(usize, u32)| {
        let codes = (0..SHAPE[dim] as u32).map(|at| at / divisor).collect();
        Factor { dims: vec![dim], codes, cardinality: (SHAPE[dim] as u32).div_ceil(divisor) }
    };
    GroupMap::try_new(&SHAPE, dims.iter().map(factor).collect()).expect("sound groups")
}

fn reduce(bencher: Bencher, field: &[f32], map: &GroupMap, wants: Wants) {
    let parts = parts();
    let mut states =
        Accumulators::try_new(DType::Float32, map.groups(), wants, NanPolicy::Null).expect("f32");
    bencher.counter(BytesCount::of_slice(field)).bench_local(|| {
        states.clear();
        for (part, chunk) in parts.iter().zip(field.chunks(field.len() / parts.len())) {
            let mut reducer = ChunkReducer::new(part, map);
            reducer.feed(0, Block::Float32(chunk), None, &mut states).expect("a block of the chunk");
        }
        states.read().counts[0]
    });
}

#[divan::bench]
fn mean_plain_loop(bencher: Bencher) {
    let sum = || FIELD.iter().map(|&x| f64::from(x)).sum::<f64>() / FIELD.len() as f64;
    bencher.counter(BytesCount::of_slice(&FIELD[..])).bench(sum);
}

#[divan::bench]
fn mean_ndarray_in_f32(bencher: Bencher) {
    let array = ndarray::ArrayView1::from(&FIELD[..]);
    bencher.counter(BytesCount::of_slice(&FIELD[..])).bench(|| array.mean());
}

#[divan::bench]
fn mean(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[]), MEAN);
}

#[divan::bench]
fn mean_with_holes(bencher: Bencher) {
    reduce(bencher, &HOLED, &by(&[]), MEAN);
}

#[divan::bench]
fn mean_std_min_max(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[]), ALL);
}

#[divan::bench]
fn mean_std_min_max_with_holes(bencher: Bencher) {
    reduce(bencher, &HOLED, &by(&[]), ALL);
}

#[divan::bench]
fn mean_by_time(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[(0, 1)]), MEAN);
}

#[divan::bench]
fn mean_by_latitude(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[(2, 1)]), MEAN);
}

#[divan::bench]
fn mean_by_longitude(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[(3, 1)]), MEAN);
}

#[divan::bench]
fn mean_by_ten_longitudes(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[(3, 10)]), MEAN);
}

#[divan::bench]
fn time_mean_map(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[(2, 1), (3, 1)]), MEAN);
}

#[divan::bench]
fn time_mean_std_min_max_map(bencher: Bencher) {
    reduce(bencher, &FIELD, &by(&[(2, 1), (3, 1)]), ALL);
}
