//! Cells that all go to one group.

use super::Wants;
use super::cell::Cell;
use super::state::{Partial, State};

/// Independent partial sums of a tile: enough to fill the vector units of any machine, and the same everywhere,
/// so that results don't depend on it.
const LANES: usize = 32;

/// Cells that are reduced at once: few enough to stay in the first-level cache between passes.
const TILE: usize = 2048;

/// Adds `cells` to `group`; where `keep` is given, only those whose entry is true.
#[inline(always)]
pub(super) fn add<T: Cell, const TOTAL: bool>(
    state: &mut State<T>,
    group: usize,
    cells: &[T],
    keep: Option<&[bool]>,
) {
    let wants = state.wants;
    let mut sum = Partial::<T>::empty::<TOTAL>();
    match keep {
        None => {
            for tile in cells.chunks(TILE) {
                sum.merge::<TOTAL>(&reduce::<T, TOTAL>(tile, wants));
            }
        }
        Some(keep) => {
            let mut kept = [T::default(); TILE];
            for (tile, keep) in cells.chunks(TILE).zip(keep.chunks(TILE)) {
                let len = compact(tile, keep, &mut kept);
                sum.merge::<TOTAL>(&reduce::<T, TOTAL>(&kept[..len], wants));
            }
        }
    }
    state.fold::<TOTAL>(group, &sum);
}

/// Moves the kept cells to the front of `kept`; their number.
#[inline(always)]
pub(super) fn compact<T: Cell, const N: usize>(cells: &[T], keep: &[bool], kept: &mut [T; N]) -> usize {
    let mut len = 0;
    for (&cell, &keep) in cells.iter().zip(keep) {
        if let Some(slot) = kept.get_mut(len) {
            *slot = cell;
        }
        len += usize::from(keep);
    }
    len.min(N)
}

/// The state of one tile.
#[inline(always)]
fn reduce<T: Cell, const TOTAL: bool>(tile: &[T], wants: Wants) -> Partial<T> {
    let mut partial = Partial::empty::<TOTAL>();
    partial.count = tile.len() as u64;
    if T::FLOAT {
        // A NaN shows in the sum, so a tile without any pays nothing for looking.
        partial.sum = sum(tile);
        if !TOTAL && partial.sum.is_nan() {
            (partial.sum, partial.count) = sum_valid(tile);
        }
    } else if wants.sum || wants.moments {
        partial.exact = T::sum_exact(tile);
        partial.sum = partial.exact as f64;
    }
    if wants.min || wants.max {
        (partial.min, partial.max) = extremes::<T, TOTAL>(tile);
    }
    if wants.moments && partial.count > 0 {
        let mean = partial.sum / partial.count as f64;
        partial.m2 = if partial.count == tile.len() as u64 {
            squares::<T, false>(tile, mean)
        } else {
            squares::<T, true>(tile, mean)
        };
    }
    partial
}

/// Applies `step` to the lanes, one tile row of cells at a time.
#[inline(always)]
fn by_lanes<T: Cell, L: Copy>(tile: &[T], mut lanes: [L; LANES], step: impl Fn(L, T) -> L) -> [L; LANES] {
    let mut rows = tile.chunks_exact(LANES);
    for row in &mut rows {
        for (lane, &cell) in lanes.iter_mut().zip(row) {
            *lane = step(*lane, cell);
        }
    }
    for (lane, &cell) in lanes.iter_mut().zip(rows.remainder()) {
        *lane = step(*lane, cell);
    }
    lanes
}

/// Joins the lanes pairwise.
#[inline(always)]
fn join<L: Copy>(mut lanes: [L; LANES], step: impl Fn(L, L) -> L) -> L {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = step(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn sum<T: Cell>(tile: &[T]) -> f64 {
    join(by_lanes(tile, [0.0; LANES], |sum, cell| sum + cell.to_f64()), |a, b| a + b)
}

/// Sum and number of the cells that aren't NaN.
#[inline(always)]
fn sum_valid<T: Cell>(tile: &[T]) -> (f64, u64) {
    let sum = by_lanes(tile, [0.0; LANES], |sum, cell| sum + if cell.is_nan() { 0.0 } else { cell.to_f64() });
    let count = tile.iter().fold(0u32, |count, cell| count + u32::from(!cell.is_nan()));
    (join(sum, |a, b| a + b), u64::from(count))
}

/// Smallest and largest cell; without `TOTAL`, of those that aren't NaN.
#[inline(always)]
fn extremes<T: Cell, const TOTAL: bool>(tile: &[T]) -> (T, T) {
    let start = Partial::<T>::empty::<TOTAL>();
    if TOTAL {
        let min =
            by_lanes(tile, [start.min; LANES], |min, cell| if cell.below::<true>(min) { cell } else { min });
        let max =
            by_lanes(tile, [start.max; LANES], |max, cell| if cell.above::<true>(max) { cell } else { max });
        let min = join(min, |a, b| if a.below::<true>(b) { a } else { b });
        return (min, join(max, |a, b| if a.above::<true>(b) { a } else { b }));
    }
    // A comparison with NaN is false, so NaN never gets into a lane.
    let min = by_lanes(tile, [start.min; LANES], |min, cell| if cell < min { cell } else { min });
    let max = by_lanes(tile, [start.max; LANES], |max, cell| if cell > max { cell } else { max });
    let min = join(min, |a, b| if a < b { a } else { b });
    let max = join(max, |a, b| if a > b { a } else { b });
    (T::settle_min(min, tile), T::settle_max(max, tile))
}

/// Sum of squared deviations from `mean`; with `SKIP`, of the cells that aren't NaN.
#[inline(always)]
fn squares<T: Cell, const SKIP: bool>(tile: &[T], mean: f64) -> f64 {
    let step = |sum: f64, cell: T| {
        let deviation = if SKIP && cell.is_nan() { 0.0 } else { cell.to_f64() - mean };
        sum + deviation * deviation
    };
    join(by_lanes(tile, [0.0; LANES], step), |a, b| a + b)
}
