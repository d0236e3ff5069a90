//! Every layout of kept and reduced axes, over cells in memory: `layout <tab> milliseconds of the mean <tab> of mean,
//! std, min and max together`, one line each, on one thread. `benches/layouts.py` sets numpy's times beside them.
//!
//! The field is 24 x 13 x 181 x 360 `f32` (81 MB); each of the 24 times is a chunk.

use millibar::codec::Block;
use millibar::reduce::{Accumulators, ChunkReducer, Factor, GroupMap, NanPolicy, Wants};
use millibar::tensor::{ChunkGrid, Part, Selection};
use millibar::tgm::DType;
use std::time::Instant;

const SHAPE: [u64; 4] = [24, 13, 181, 360];
const MEAN: Wants = Wants { sum: true, min: false, max: false, moments: false };
/// Elements of a block as codecs hand them over.
const BLOCK: usize = 16 << 10;
const REPEAT: usize = 7;

/// The axes that groups are made of: `(dim, what its positions are mapped to)`.
type Layout = Vec<(usize, fn(u32) -> u32)>;

fn layouts() -> Vec<(String, Layout)> {
    let mut layouts: Vec<(String, Layout)> = (0..(1 << SHAPE.len()) - 1)
        .map(|kept: usize| {
            let dims: Vec<usize> = (0..SHAPE.len()).filter(|dim| kept >> dim & 1 == 1).collect();
            let name = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            (format!("[{name}]"), dims.into_iter().map(|dim| (dim, (|at| at) as fn(u32) -> u32)).collect())
        })
        .collect();
    layouts.push(("[3 // 10]".into(), vec![(3, |at| at / 10)]));
    layouts.push(("[2 // 10, 3 // 10]".into(), vec![(2, |at| at / 10), (3, |at| at / 10)]));
    layouts.push(("[2, 3 // 10]".into(), vec![(2, |at| at), (3, |at| at / 10)]));
    layouts.push(("[3 % 10]".into(), vec![(3, |at| at % 10)]));
    layouts
}

fn map(layout: &Layout) -> GroupMap {
    let factor = |&(dim, code): &(usize, fn(u32) -> u32)| {
        let codes: Vec<u32> = (0..SHAPE[dim] as u32).map(code).collect();
        let cardinality = codes.iter().max().map_or(0, |&most| most + 1);
        Factor { dims: vec![dim], codes: codes.into(), cardinality }
    };
    GroupMap::try_new(&SHAPE, layout.iter().map(factor).collect()).expect("sound groups")
}

/// The best of some runs, in milliseconds.
fn time(parts: &[Part], map: &GroupMap, field: &[f32], wants: Wants) -> f64 {
    let mut states =
        Accumulators::try_new(DType::Float32, map.groups(), wants, NanPolicy::Null).expect("f32");
    let mut best = f64::INFINITY;
    for _ in 0..REPEAT {
        let start = Instant::now();
        states.clear();
        for (part, chunk) in parts.iter().zip(field.chunks(field.len() / parts.len())) {
            let mut reducer = ChunkReducer::new(part, map);
            for (index, block) in chunk.chunks(BLOCK).enumerate() {
                let first = (index * BLOCK) as u64;
                reducer.feed(first, Block::Float32(block), None, &mut states).expect("a block of the chunk");
            }
        }
        std::hint::black_box(states.read());
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

fn main() {
    let mut bits = 1u64;
    let mut next = || {
        bits = bits.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        250.0 + (bits >> 40) as f32 / (1 << 24) as f32 * 50.0
    };
    let field: Vec<f32> = (0..SHAPE.iter().product()).map(|_| next()).collect();
    let chunk = vec![1, SHAPE[1], SHAPE[2], SHAPE[3]];
    let grid = ChunkGrid::try_new(SHAPE.to_vec(), chunk).expect("a sound grid");
    let parts: Vec<Part> = grid.parts(&Selection::all(&SHAPE)).iter().collect();
    for (name, layout) in layouts() {
        let map = map(&layout);
        let (mean, all) = (time(&parts, &map, &field, MEAN), time(&parts, &map, &field, Wants::ALL));
        println!("{name}\t{mean:.3}\t{all:.3}");
    }
}
