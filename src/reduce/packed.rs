//! Runs of packed integers, reduced before they are scaled.
//!
//! A decoder makes `v = fl(r + fl(f * q))` of each integer `q`. Sums of `q` and of `q * q` are exact in integers, so
//! the sum and the squared deviations of a tile cost one scaling, not one a cell:
//! ```text
//! sum v = n * r + f * sum q          m2 = f * f * (n * sum q*q - (sum q)^2) / n
//! ```
//! What this leaves out is the rounding of each `v`, at most `u * (|v| + f * q)` with `u = 2^-53`. Where that could
//! be more than [`SHARE`] of a result (a sum of cells that cancel, deviations small beside the values), the tile is
//! scaled cell by cell. Extremes are those of `q`, scaled as the decoder does it, which never reverses an order.

use super::Wants;
use super::cell::Cell;
use super::kernels::{Stretch, Target, count_true};
use super::run;
use super::state::{Partial, State, two_product, two_sum};
use crate::codec::packing::SimplePacking;
use multiversion::multiversion;

/// Most bits of the integers: the squares of a tile then fit 64 bits, and its sums by column 32.
pub(super) const BITS: u32 = 24;

/// Cells that are reduced at once.
const TILE: usize = 2048;

/// Columns in which a tile is summed.
const COLUMNS: usize = 32;

/// The largest share of a result that the rounding of values may make.
const SHARE: f64 = 5e-13;

/// Half the distance from 1 to the next float.
const ROUNDING: f64 = f64::EPSILON / 2.0;

/// Adds `samples`, of at most [`BITS`] bits, to `state`, stretch by stretch; only runs are added. Where `keep` (as
/// long as `samples`) is given, only the samples whose entry is true.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn add(
    state: &mut State<f64>,
    samples: &[u32],
    packing: SimplePacking,
    stretches: &[Stretch],
    keep: Option<&[bool]>,
) {
    let wants = state.wants;
    let mut values = [0.0; TILE];
    for &Stretch { start, len, to } in stretches {
        let Target::Run(group) = to else { continue };
        let mut sum = Partial::empty();
        for at in (start..start + len).step_by(TILE) {
            let range = at..(start + len).min(at + TILE);
            let (tile, keep) = (&samples[range.clone()], keep.map(|keep| &keep[range]));
            let partial = reduce(tile, keep, packing, wants).unwrap_or_else(|| {
                let values = scaled(tile, keep, packing, &mut values);
                run::many(state, values, None)
            });
            sum.append(&partial, wants);
        }
        state.fold(group, &sum);
    }
}

/// Which of `samples` are among the `count` integers from `first` on; how many.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2",
    "x86_64+avx2+bmi2",
    "aarch64+neon"
))]
pub fn keep_within(samples: &[u32], (first, count): (u32, u64), keep: &mut Vec<bool>) -> u64 {
    keep.clear();
    // All 2^32 of them are one more than a last one of 32 bits can say.
    let Some(last) = count.checked_sub(1).map(|last| u32::try_from(last).unwrap_or(u32::MAX)) else {
        keep.resize(samples.len(), false);
        return 0;
    };
    keep.extend(samples.iter().map(|q| q.wrapping_sub(first) <= last));
    count_true(keep)
}

/// The values of the kept samples of a tile, in `values`.
#[inline(always)]
fn scaled<'v>(
    tile: &[u32],
    keep: Option<&[bool]>,
    packing: SimplePacking,
    values: &'v mut [f64; TILE],
) -> &'v [f64] {
    let Some(keep) = keep else {
        values.iter_mut().zip(tile).for_each(|(value, &q)| *value = packing.value(q));
        return &values[..tile.len()];
    };
    let mut len = 0;
    for (&q, &keep) in tile.iter().zip(keep) {
        values[len.min(TILE - 1)] = packing.value(q);
        len += usize::from(keep);
    }
    &values[..len]
}

/// The state of the kept samples of a tile; `None` if their values must be known one by one.
#[inline(always)]
fn reduce(tile: &[u32], keep: Option<&[bool]>, packing: SimplePacking, wants: Wants) -> Option<Partial<f64>> {
    let mut partial = Partial::empty();
    let extremes = wants.min || wants.max;
    let pass = match (keep, wants.moments, extremes) {
        (None, true, true) => Pass::of::<true, true>(tile),
        (None, true, false) => Pass::of::<true, false>(tile),
        (None, false, true) => Pass::of::<false, true>(tile),
        (None, false, false) => Pass::of::<false, false>(tile),
        (Some(keep), true, _) => Pass::of_kept::<true>(tile, keep),
        (Some(keep), false, _) => Pass::of_kept::<false>(tile, keep),
    };
    if pass.count == 0 {
        return Some(partial);
    }
    let (n, sum) = (pass.count as f64, pass.sum as f64);
    let (reference, factor) = (packing.reference(), packing.factor());
    let (base, base_rest) = two_product(n, reference);
    let (rise, rise_rest) = two_product(factor, sum);
    let (total, lost) = two_sum(base, rise);
    (partial.count, partial.sum, partial.rest) = (pass.count, total, lost + base_rest + rise_rest);
    if extremes {
        (partial.min, partial.max) = (packing.value(pass.min).key(), packing.value(pass.max).key());
    }
    let rounded = ROUNDING * (n * reference.abs() + 2.0 * rise);
    if (wants.sum || wants.moments) && rounded > SHARE * total.abs() {
        return None;
    }
    if wants.moments {
        // Exact: below 2^11 * 2^59.
        let spread = u128::from(pass.squares) * u128::from(pass.count) - u128::from(pass.sum).pow(2);
        partial.m2 = spread as f64 / n * factor * factor;
        let squares = pass.squares as f64 * factor * factor;
        // The sum of the squares of what the values are rounded by, at most (Cauchy and Schwarz: their products
        // with the deviations are no more than the root of this times the root of m2, twice).
        let rounded = 2.0 * ROUNDING * ROUNDING * (n * reference * reference + 4.0 * squares);
        if spread > 0 && 4.0 * rounded > SHARE * SHARE * partial.m2 {
            return None;
        }
    }
    Some(partial)
}

/// What one pass over a tile finds.
struct Pass {
    count: u64,
    sum: u64,
    squares: u64,
    min: u32,
    max: u32,
}

impl Pass {
    #[inline(always)]
    fn of<const SQUARES: bool, const EXTREMES: bool>(tile: &[u32]) -> Self {
        if !SQUARES && !EXTREMES {
            // Sums alone by columns are compiled to gathers for AVX-512, eight times as slow.
            let sum = tile.iter().map(|&q| u64::from(q)).sum();
            return Self { count: tile.len() as u64, sum, squares: 0, min: u32::MAX, max: 0 };
        }
        let mut columns = Columns::new();
        let mut rows = tile.chunks_exact(COLUMNS);
        for row in &mut rows {
            columns.add::<SQUARES, EXTREMES>(row);
        }
        columns.add::<SQUARES, EXTREMES>(rows.remainder());
        columns.joined(tile.len() as u64)
    }

    /// Of the kept samples.
    #[inline(always)]
    fn of_kept<const SQUARES: bool>(tile: &[u32], keep: &[bool]) -> Self {
        let mut columns = Columns::new();
        let (mut rows, mut keeps) = (tile.chunks_exact(COLUMNS), keep.chunks_exact(COLUMNS));
        for (row, keep) in (&mut rows).zip(&mut keeps) {
            columns.add_kept::<SQUARES>(row, keep);
        }
        columns.add_kept::<SQUARES>(rows.remainder(), keeps.remainder());
        columns.joined(count_true(keep))
    }
}

struct Columns {
    sums: [u32; COLUMNS],
    squares: [u64; COLUMNS],
    mins: [u32; COLUMNS],
    maxs: [u32; COLUMNS],
}

impl Columns {
    #[inline(always)]
    fn new() -> Self {
        let (sums, squares) = ([0; COLUMNS], [0; COLUMNS]);
        Self { sums, squares, mins: [u32::MAX; COLUMNS], maxs: [0; COLUMNS] }
    }

    /// All columns together, of `count` samples.
    #[inline(always)]
    fn joined(&self, count: u64) -> Pass {
        Pass {
            count,
            sum: self.sums.iter().map(|&sum| u64::from(sum)).sum(),
            squares: self.squares.iter().sum(),
            min: self.mins.iter().fold(u32::MAX, |min, &q| min.min(q)),
            max: self.maxs.iter().fold(0, |max, &q| max.max(q)),
        }
    }

    /// Adds those of a row of up to `COLUMNS` integers whose entry in `keep` is true.
    #[inline(always)]
    fn add_kept<const SQUARES: bool>(&mut self, row: &[u32], keep: &[bool]) {
        for (column, (&q, &keep)) in row.iter().zip(keep).enumerate().take(COLUMNS) {
            let mask = 0_u32.wrapping_sub(u32::from(keep));
            let kept = q & mask;
            self.sums[column] += kept;
            if SQUARES {
                self.squares[column] += u64::from(kept) * u64::from(kept);
            }
            self.mins[column] = self.mins[column].min(q | !mask);
            self.maxs[column] = self.maxs[column].max(kept);
        }
    }

    /// Adds a row of up to `COLUMNS` integers.
    #[inline(always)]
    fn add<const SQUARES: bool, const EXTREMES: bool>(&mut self, row: &[u32]) {
        for (column, &q) in row.iter().enumerate().take(COLUMNS) {
            self.sums[column] += q;
            if SQUARES {
                self.squares[column] += u64::from(q) * u64::from(q);
            }
            if EXTREMES {
                self.mins[column] = self.mins[column].min(q);
                self.maxs[column] = self.maxs[column].max(q);
            }
        }
    }
}
