//! Passes over the cells of a tile, compiled for several vector units and chosen at run time.
//!
//! Sums are taken by columns: each column is a sum of its own, so that any vector unit is kept busy, and the order of
//! additions is the same on all machines. Columns are joined pairwise.

use super::cell::Cell;
use multiversion::multiversion;

/// Cells of a tile, at most: few enough to stay in the first-level cache from pass to pass.
pub(super) const TILE: usize = 2048;

/// Columns of sums alone.
const MANY: usize = 64;

/// Columns with squares beside them: as many as registers can hold.
const SOME: usize = 32;

/// The sum of floats.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn sum<T: Cell>(cells: &[T]) -> f64 {
    Pass::of::<T, MANY, false, false>(cells, 0.0).sum
}

/// The sum of the deviations from `near`, and of their squares; with `EXTREMES`, those too.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn squares<T: Cell, const EXTREMES: bool>(cells: &[T], near: f64) -> Pass<T::Key> {
    Pass::of::<T, SOME, true, EXTREMES>(cells, near)
}

/// Keys of the smallest and the largest cell.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn extremes<T: Cell>(cells: &[T]) -> (T::Key, T::Key) {
    cells.iter().fold((T::TOP, T::BOTTOM), |(min, max), cell| (min.min(cell.key()), max.max(cell.key())))
}

/// The exact sum of integers.
#[multiversion(targets("x86_64+avx2+bmi2+fma", "aarch64+neon"))]
pub(super) fn exact<T: Cell>(cells: &[T]) -> i128 {
    T::sum_exact(cells)
}

/// Copies `cells` to the front of `filled`, with `filler` in the place of those that `keep` (as long as `cells`) leaves
/// out or, with `skip`, that are NaN. How many are left.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn fill<T: Cell>(
    cells: &[T],
    keep: Option<&[bool]>,
    skip: bool,
    filler: T,
    filled: &mut [T],
) -> u64 {
    let mut count = 0u32;
    match keep {
        None => {
            for (out, &cell) in filled.iter_mut().zip(cells) {
                let counts = !(skip & cell.is_nan());
                *out = if counts { cell } else { filler };
                count += u32::from(counts);
            }
        }
        Some(keep) => {
            for ((out, &cell), &keep) in filled.iter_mut().zip(cells).zip(keep) {
                let counts = keep & !(skip & cell.is_nan());
                *out = if counts { cell } else { filler };
                count += u32::from(counts);
            }
        }
    }
    count.into()
}

/// What one pass finds.
pub(super) struct Pass<K> {
    /// Sum of floats; with squares, the sum of the deviations of any cells from what they are taken from.
    pub(super) sum: f64,
    /// Sum of the squared deviations.
    pub(super) squares: f64,
    /// Keys of the smallest and the largest cell.
    pub(super) extremes: (K, K),
}

impl<K: Copy + Ord> Pass<K> {
    /// Goes over `cells` once, by columns; deviations are from `near`.
    #[inline(always)]
    pub(super) fn of<T: Cell<Key = K>, const COLUMNS: usize, const SQUARES: bool, const EXTREMES: bool>(
        cells: &[T],
        near: f64,
    ) -> Self {
        let mut columns = Columns::<K, COLUMNS> {
            sums: [0.0; COLUMNS],
            squares: [0.0; COLUMNS],
            mins: [T::TOP; COLUMNS],
            maxs: [T::BOTTOM; COLUMNS],
        };
        let mut rows = cells.chunks_exact(COLUMNS);
        for row in &mut rows {
            columns.add::<T, SQUARES, EXTREMES>(row, near);
        }
        // Rows of a grid are rarely a multiple of so many.
        let mut rows = rows.remainder().chunks_exact(8);
        for row in &mut rows {
            columns.add::<T, SQUARES, EXTREMES>(row, near);
        }
        columns.add::<T, SQUARES, EXTREMES>(rows.remainder(), near);
        let Columns { sums, squares, mins, maxs } = columns;
        let min = mins.into_iter().fold(T::TOP, K::min);
        let max = maxs.into_iter().fold(T::BOTTOM, K::max);
        Self { sum: join(sums), squares: join(squares), extremes: (min, max) }
    }
}

struct Columns<K, const COLUMNS: usize> {
    sums: [f64; COLUMNS],
    squares: [f64; COLUMNS],
    mins: [K; COLUMNS],
    maxs: [K; COLUMNS],
}

impl<K: Copy + Ord, const COLUMNS: usize> Columns<K, COLUMNS> {
    /// Adds a row of up to `COLUMNS` cells.
    #[inline(always)]
    fn add<T: Cell<Key = K>, const SQUARES: bool, const EXTREMES: bool>(&mut self, row: &[T], near: f64) {
        for (column, &cell) in row.iter().enumerate().take(COLUMNS) {
            if SQUARES {
                let deviation = cell.to_f64() - near;
                self.sums[column] += deviation;
                self.squares[column] += deviation * deviation;
            } else if T::FLOAT {
                self.sums[column] += cell.to_f64();
            }
            if EXTREMES {
                self.mins[column] = self.mins[column].min(cell.key());
                self.maxs[column] = self.maxs[column].max(cell.key());
            }
        }
    }
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
