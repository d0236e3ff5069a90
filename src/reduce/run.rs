//! Cells that all go to one group.

use super::Wants;
use super::cell::Cell;
use super::state::{Partial, State, two_product, two_sum};

/// Columns in which a tile is summed: each column is a sum of its own, so that any vector unit is kept busy, and
/// the order of additions is the same on all machines. Columns are joined pairwise. Sums alone take many; with
/// squares beside them, as many as registers can hold; a few cells take few.
const MANY: usize = 64;
const SOME: usize = 32;
const FEW: usize = 8;

/// Tiles of fewer cells take [`FEW`] columns.
const SHORT: usize = 128;

/// The same, where there are squares.
const SHORT_SQUARES: usize = 48;

/// Cells that are reduced at once: few enough to stay in the first-level cache, should they be needed again.
const TILE: usize = 2048;

/// Squared deviations from a value near the mean are moved to the mean if that takes no more than this share of
/// them, which costs three bits at most; else they are computed again, from the mean as it was rounded.
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
    if keep.is_none() && cells.len() <= TILE {
        let Some(first) = cells.first() else { return };
        return state.fold::<TOTAL>(group, &reduce::<T, TOTAL>(cells, wants, first.to_f64()));
    }
    let mut sum = Partial::<T>::empty::<TOTAL>();
    match keep {
        None => {
            for tile in cells.chunks(TILE) {
                sum.append::<TOTAL>(&reduce::<T, TOTAL>(tile, wants, near(&sum, tile)), wants);
            }
        }
        Some(keep) => {
            let mut kept = [T::default(); TILE];
            for (tile, keep) in cells.chunks(TILE).zip(keep.chunks(TILE)) {
                let len = compact(tile, keep, &mut kept);
                let tile = &kept[..len];
                sum.append::<TOTAL>(&reduce::<T, TOTAL>(tile, wants, near(&sum, tile)), wants);
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

/// A value near the mean of `tile`, to take squared deviations from: the mean of what came before it, or its
/// first cell.
#[inline(always)]
fn near<T: Cell>(before: &Partial<T>, tile: &[T]) -> f64 {
    match tile.first() {
        Some(first) if before.count == 0 => first.to_f64(),
        _ => before.sum / before.count as f64,
    }
}

/// The state of one tile, whose mean may be somewhere `near`.
#[inline(always)]
pub(super) fn reduce<T: Cell, const TOTAL: bool>(tile: &[T], wants: Wants, near: f64) -> Partial<T> {
    let extremes = wants.min || wants.max;
    let few = tile.len() < if wants.moments { SHORT_SQUARES } else { SHORT };
    match (few, wants.moments, extremes) {
        (true, true, _) => of_tile::<T, TOTAL, FEW, true, true>(tile, wants, near),
        (true, false, false) => of_tile::<T, TOTAL, FEW, false, false>(tile, wants, near),
        (true, false, true) => of_tile::<T, TOTAL, FEW, false, true>(tile, wants, near),
        (false, true, _) => of_tile::<T, TOTAL, SOME, true, false>(tile, wants, near),
        (false, false, _) => of_tile::<T, TOTAL, MANY, false, false>(tile, wants, near),
    }
}

/// With `EXTREMES` those are found in the same pass as sums, which suits a few cells.
#[inline(always)]
fn of_tile<T: Cell, const TOTAL: bool, const COLUMNS: usize, const SQUARES: bool, const EXTREMES: bool>(
    tile: &[T],
    wants: Wants,
    near: f64,
) -> Partial<T> {
    let mut partial = Partial::<T>::empty::<TOTAL>();
    let none = (partial.min.key(), partial.max.key());
    let mut near = if SQUARES && near.is_finite() { near } else { 0.0 };
    let mut pass = Pass::of::<T, COLUMNS, SQUARES, EXTREMES, false>(tile, near, none);
    // A NaN shows in the sum, so a tile without any pays nothing for looking.
    let skip = T::FLOAT && !TOTAL && pass.sum.is_nan();
    if skip {
        pass = Pass::of::<T, COLUMNS, SQUARES, EXTREMES, true>(tile, near, none);
    }
    if SQUARES && !pass.sum.is_finite() && near != 0.0 {
        // There are infinities, or deviations that leave the range of floats: sums are of the values then.
        near = 0.0;
        pass = match skip {
            true => Pass::of::<T, COLUMNS, SQUARES, EXTREMES, true>(tile, near, none),
            false => Pass::of::<T, COLUMNS, SQUARES, EXTREMES, false>(tile, near, none),
        };
    }
    let n = pass.count as f64;
    partial.count = pass.count;
    partial.sum = pass.sum;
    if SQUARES && near != 0.0 {
        let (base, rest) = two_product(n, near);
        let (sum, lost) = two_sum(base, pass.sum);
        (partial.sum, partial.rest) = (sum, rest + lost);
    }
    if wants.min || wants.max {
        let (min, max) = match (EXTREMES, skip) {
            (true, _) => pass.extremes,
            (false, true) => extremes::<T, true>(tile, none),
            (false, false) => extremes::<T, false>(tile, none),
        };
        (partial.min, partial.max) = (T::of_key(min), T::of_key(max));
    }
    if !T::FLOAT && (wants.sum || wants.moments) {
        partial.exact = T::sum_exact(tile);
        (partial.sum, partial.rest) = (partial.exact as f64, 0.0);
    }
    if SQUARES && pass.count > 0 {
        if pass.sum * (pass.sum / n) > NEAR * pass.squares {
            let mean = partial.sum / n;
            pass = match skip {
                true => Pass::of::<T, COLUMNS, true, false, true>(tile, mean, none),
                false => Pass::of::<T, COLUMNS, true, false, false>(tile, mean, none),
            };
        }
        partial.m2 = pass.squares - pass.sum * (pass.sum / n);
    }
    partial
}

/// What one pass over a tile finds.
struct Pass<K> {
    /// Cells; those that aren't NaN, if NaN was skipped.
    count: u64,
    /// Sum of floats; with squares, the sum of the deviations of any cells from `near`.
    sum: f64,
    /// Sum of the squared deviations from `near`.
    squares: f64,
    extremes: (K, K),
}

impl<K: Copy + PartialOrd> Pass<K> {
    /// Goes over `tile` once, by columns. With `SKIP`, NaN doesn't count.
    #[inline(always)]
    fn of<
        T: Cell<Key = K>,
        const COLUMNS: usize,
        const SQUARES: bool,
        const EXTREMES: bool,
        const SKIP: bool,
    >(
        tile: &[T],
        near: f64,
        none: (K, K),
    ) -> Self {
        let mut columns = Columns::<K, COLUMNS> {
            counts: [0; COLUMNS],
            sums: [0.0; COLUMNS],
            squares: [0.0; COLUMNS],
            mins: [none.0; COLUMNS],
            maxs: [none.1; COLUMNS],
        };
        let mut rows = tile.chunks_exact(COLUMNS);
        for row in &mut rows {
            columns.add::<T, SQUARES, EXTREMES, SKIP>(row, near, none);
        }
        columns.add::<T, SQUARES, EXTREMES, SKIP>(rows.remainder(), near, none);
        let Columns { counts, sums, squares, mins, maxs } = columns;
        let min = mins.iter().fold(none.0, |min, &key| if key < min { key } else { min });
        let max = maxs.iter().fold(none.1, |max, &key| if key > max { key } else { max });
        let count = if SKIP { counts.iter().sum::<u32>().into() } else { tile.len() as u64 };
        Self { count, sum: join(sums), squares: join(squares), extremes: (min, max) }
    }
}

struct Columns<K, const COLUMNS: usize> {
    counts: [u32; COLUMNS],
    sums: [f64; COLUMNS],
    squares: [f64; COLUMNS],
    mins: [K; COLUMNS],
    maxs: [K; COLUMNS],
}

impl<K: Copy + PartialOrd, const COLUMNS: usize> Columns<K, COLUMNS> {
    /// Adds a row of up to `COLUMNS` cells.
    #[inline(always)]
    fn add<T: Cell<Key = K>, const SQUARES: bool, const EXTREMES: bool, const SKIP: bool>(
        &mut self,
        row: &[T],
        near: f64,
        none: (K, K),
    ) {
        for (column, &cell) in row.iter().enumerate().take(COLUMNS) {
            let skip = SKIP && cell.is_nan();
            if SKIP {
                self.counts[column] += u32::from(!skip);
            }
            let value = if skip { 0.0 } else { cell.to_f64() };
            if SQUARES {
                let deviation = if skip { 0.0 } else { value - near };
                self.sums[column] += deviation;
                self.squares[column] += deviation * deviation;
            } else if T::FLOAT {
                self.sums[column] += value;
            }
            if EXTREMES {
                let (low, high) = if skip { none } else { (cell.key(), cell.key()) };
                self.mins[column] = if low < self.mins[column] { low } else { self.mins[column] };
                self.maxs[column] = if high > self.maxs[column] { high } else { self.maxs[column] };
            }
        }
    }
}

/// Keys of the smallest and the largest cell; with `SKIP`, of those that aren't NaN.
#[inline(always)]
fn extremes<T: Cell, const SKIP: bool>(tile: &[T], none: (T::Key, T::Key)) -> (T::Key, T::Key) {
    tile.iter().fold(none, |(min, max), cell| {
        let (low, high) = if SKIP && cell.is_nan() { none } else { (cell.key(), cell.key()) };
        (if low < min { low } else { min }, if high > max { high } else { max })
    })
}

/// The sum of columns, pairwise.
#[inline(always)]
fn join<const COLUMNS: usize>(mut columns: [f64; COLUMNS]) -> f64 {
    let mut width = COLUMNS / 2;
    while width > 0 {
        let (sums, more) = columns.split_at_mut(width);
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += *more);
        width /= 2;
    }
    columns[0]
}
