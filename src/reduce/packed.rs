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
use super::kernels::{Stretch, Target};
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

/// Adds `samples`, of at most [`BITS`] bits, to `state`, stretch by stretch; only runs are added.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn add<const TOTAL: bool>(
    state: &mut State<f64>,
    samples: &[u32],
    packing: SimplePacking,
    stretches: &[Stretch],
) {
    let wants = state.wants;
    let mut values = [0.0; TILE];
    for &Stretch { start, len, to } in stretches {
        let Target::Run(group) = to else { continue };
        let mut sum = Partial::empty::<TOTAL>();
        for tile in samples[start..start + len].chunks(TILE) {
            let partial = reduce::<TOTAL>(tile, packing, wants).unwrap_or_else(|| {
                let values = &mut values[..tile.len()];
                values.iter_mut().zip(tile).for_each(|(value, &q)| *value = packing.value(q));
                run::reduce::<f64, TOTAL>(values, wants, values[0])
            });
            sum.append::<TOTAL>(&partial, wants);
        }
        state.fold::<TOTAL>(group, &sum);
    }
}

/// The state of a tile that isn't empty; `None` if its values must be known one by one.
#[inline(always)]
fn reduce<const TOTAL: bool>(tile: &[u32], packing: SimplePacking, wants: Wants) -> Option<Partial<f64>> {
    let mut partial = Partial::empty::<TOTAL>();
    let pass = match (wants.moments, wants.min || wants.max) {
        (true, true) => Pass::of::<true, true>(tile),
        (true, false) => Pass::of::<true, false>(tile),
        (false, true) => Pass::of::<false, true>(tile),
        (false, false) => Pass::of::<false, false>(tile),
    };
    let (n, sum) = (tile.len() as f64, pass.sum as f64);
    let (reference, factor) = (packing.reference(), packing.factor());
    let (base, base_rest) = two_product(n, reference);
    let (rise, rise_rest) = two_product(factor, sum);
    let (total, lost) = two_sum(base, rise);
    (partial.count, partial.sum, partial.rest) = (tile.len() as u64, total, lost + base_rest + rise_rest);
    if wants.min || wants.max {
        (partial.min, partial.max) = (packing.value(pass.min), packing.value(pass.max));
    }
    let rounded = ROUNDING * (n * reference.abs() + 2.0 * rise);
    if (wants.sum || wants.moments) && rounded > SHARE * total.abs() {
        return None;
    }
    if wants.moments {
        // Exact: below 2^11 * 2^59.
        let spread = u128::from(pass.squares) * tile.len() as u128 - u128::from(pass.sum).pow(2);
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
    sum: u64,
    squares: u64,
    min: u32,
    max: u32,
}

impl Pass {
    #[inline(always)]
    fn of<const SQUARES: bool, const EXTREMES: bool>(tile: &[u32]) -> Self {
        let mut columns = Columns {
            sums: [0; COLUMNS],
            squares: [0; COLUMNS],
            mins: [u32::MAX; COLUMNS],
            maxs: [0; COLUMNS],
        };
        let mut rows = tile.chunks_exact(COLUMNS);
        for row in &mut rows {
            columns.add::<SQUARES, EXTREMES>(row);
        }
        columns.add::<SQUARES, EXTREMES>(rows.remainder());
        let Columns { sums, squares, mins, maxs } = columns;
        Self {
            sum: sums.iter().map(|&sum| u64::from(sum)).sum(),
            squares: squares.iter().sum(),
            min: mins.iter().fold(u32::MAX, |min, &q| min.min(q)),
            max: maxs.iter().fold(0, |max, &q| max.max(q)),
        }
    }
}

struct Columns {
    sums: [u32; COLUMNS],
    squares: [u64; COLUMNS],
    mins: [u32; COLUMNS],
    maxs: [u32; COLUMNS],
}

impl Columns {
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
