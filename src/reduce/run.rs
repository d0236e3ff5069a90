//! Cells that all go to one group.

use super::Wants;
use super::cell::Cell;
use super::state::{Partial, State};

/// Columns in which a tile is summed: each column is a sum of its own, so that any vector unit is kept busy, and
/// the order of additions is the same on all machines. Columns are joined pairwise.
const COLUMNS: usize = 64;

/// Cells that are reduced at once: few enough to stay in the first-level cache between passes.
const TILE: usize = 2048;

/// Squared deviations are moved from a value near the mean to the mean if that takes no more than this share of
/// them, which costs three bits at most; else they are computed again.
const NEAR: f64 = 0.875;

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
                sum.merge::<TOTAL>(&reduce::<T, TOTAL>(tile, wants, near(&sum, tile)));
            }
        }
        Some(keep) => {
            let mut kept = [T::default(); TILE];
            for (tile, keep) in cells.chunks(TILE).zip(keep.chunks(TILE)) {
                let len = compact(tile, keep, &mut kept);
                let tile = &kept[..len];
                sum.merge::<TOTAL>(&reduce::<T, TOTAL>(tile, wants, near(&sum, tile)));
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

/// A value near the mean of `tile`, for [`sum_and_squares`]: the mean of what came before it, or its first cell.
#[inline(always)]
fn near<T: Cell>(before: &Partial<T>, tile: &[T]) -> f64 {
    match tile.first() {
        Some(first) if before.count == 0 => first.to_f64(),
        _ => before.sum / before.count as f64,
    }
}

/// The state of one tile, whose mean may be somewhere `near`.
#[inline(always)]
fn reduce<T: Cell, const TOTAL: bool>(tile: &[T], wants: Wants, near: f64) -> Partial<T> {
    let mut partial = Partial::empty::<TOTAL>();
    partial.count = tile.len() as u64;
    let mut squares_near = f64::NAN;
    if T::FLOAT {
        // A NaN shows in the sum, so a tile without any pays nothing for looking.
        if wants.moments {
            (partial.sum, squares_near) = sum_and_squares(tile, near);
        } else {
            partial.sum = sum(tile);
        }
        if !TOTAL && partial.sum.is_nan() {
            (partial.sum, partial.count) = sum_valid(tile);
        }
    } else if wants.sum || wants.moments {
        partial.exact = T::sum_exact(tile);
        partial.sum = partial.exact as f64;
    }
    let all_valid = partial.count == tile.len() as u64;
    if wants.min || wants.max {
        let (min, max) = (partial.min, partial.max);
        (partial.min, partial.max) = if all_valid {
            extremes::<T, false>(tile, min, max)
        } else {
            extremes::<T, true>(tile, min, max)
        };
    }
    if wants.moments && partial.count > 0 {
        let mean = partial.sum / partial.count as f64;
        let moved = partial.count as f64 * (mean - near) * (mean - near);
        partial.m2 = if moved <= NEAR * squares_near {
            squares_near - moved
        } else if all_valid {
            squares::<T, false>(tile, mean)
        } else {
            squares::<T, true>(tile, mean)
        };
    }
    partial
}

/// Sum over `tile` of `value`, by columns.
#[inline(always)]
fn total_of<T: Cell>(tile: &[T], value: impl Fn(T) -> f64) -> f64 {
    let mut columns = [0.0; COLUMNS];
    let mut pairs = tile.chunks_exact(2 * COLUMNS);
    for pair in &mut pairs {
        let (a, b) = pair.split_at(COLUMNS);
        for (sum, (&a, &b)) in columns.iter_mut().zip(a.iter().zip(b)) {
            *sum += value(a) + value(b);
        }
    }
    for row in pairs.remainder().chunks(COLUMNS) {
        for (sum, &cell) in columns.iter_mut().zip(row) {
            *sum += value(cell);
        }
    }
    join(columns)
}

/// The sum of columns, pairwise.
#[inline(always)]
fn join(mut columns: [f64; COLUMNS]) -> f64 {
    let mut width = COLUMNS / 2;
    while width > 0 {
        let (sums, more) = columns.split_at_mut(width);
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += *more);
        width /= 2;
    }
    columns[0]
}

/// Sum, and sum of the squared deviations from `near`, in one pass.
#[inline(always)]
fn sum_and_squares<T: Cell>(tile: &[T], near: f64) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0; COLUMNS], [0.0; COLUMNS]);
    let mut rows = tile.chunks_exact(COLUMNS);
    for row in &mut rows {
        for ((sum, square), &cell) in sums.iter_mut().zip(&mut squares).zip(row) {
            let value = cell.to_f64();
            *sum += value;
            *square += (value - near) * (value - near);
        }
    }
    for ((sum, square), &cell) in sums.iter_mut().zip(&mut squares).zip(rows.remainder()) {
        let value = cell.to_f64();
        *sum += value;
        *square += (value - near) * (value - near);
    }
    (join(sums), join(squares))
}

#[inline(always)]
fn sum<T: Cell>(tile: &[T]) -> f64 {
    total_of(tile, T::to_f64)
}

/// Sum and number of the cells that aren't NaN.
#[inline(always)]
fn sum_valid<T: Cell>(tile: &[T]) -> (f64, u64) {
    let sum = total_of(tile, |cell| if cell.is_nan() { 0.0 } else { cell.to_f64() });
    (sum, tile.iter().fold(0u32, |count, cell| count + u32::from(!cell.is_nan())).into())
}

/// Smallest and largest cell; with `SKIP`, of those that aren't NaN.
#[inline(always)]
fn extremes<T: Cell, const SKIP: bool>(tile: &[T], min: T, max: T) -> (T, T) {
    let none = (min.key(), max.key());
    let (min, max) = tile.iter().fold(none, |(min, max), cell| {
        let skip = SKIP && cell.is_nan();
        let (low, high) = if skip { none } else { (cell.key(), cell.key()) };
        (if low < min { low } else { min }, if high > max { high } else { max })
    });
    (T::of_key(min), T::of_key(max))
}

/// Sum of squared deviations from `mean`; with `SKIP`, of the cells that aren't NaN.
#[inline(always)]
fn squares<T: Cell, const SKIP: bool>(tile: &[T], mean: f64) -> f64 {
    total_of(tile, |cell| {
        let deviation = if SKIP && cell.is_nan() { 0.0 } else { cell.to_f64() - mean };
        deviation * deviation
    })
}
