//! The kernels, compiled for several vector units and chosen at run time.

use super::cell::Cell;
use super::state::State;
use super::{each, run};
use multiversion::multiversion;

/// Where consecutive cells of a block go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// All to one group.
    Run(usize),
    /// Cell `i` to this group plus `i`.
    Each(usize),
    /// Cell `i` to group `base + codes[at + i]`.
    Codes { base: usize, at: usize },
}

/// Consecutive cells of a block, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// First cell, in the block.
    pub(super) start: usize,
    /// Number of cells.
    pub(super) len: usize,
    pub(super) to: Target,
}

/// Adds `cells` to `state`, stretch by stretch; where `keep` (as long as `cells`) is given, only the cells whose
/// entry is true. With `TOTAL`, NaN is a value in the total order; else it is skipped.
///
/// Stretches must lie inside `cells`, and lead to groups and codes that exist.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2", "x86_64+avx2+bmi2"))]
pub(super) fn add<T: Cell, const TOTAL: bool>(
    state: &mut State<T>,
    cells: &[T],
    stretches: &[Stretch],
    codes: &[u32],
    keep: Option<&[bool]>,
) {
    for &Stretch { start, len, to } in stretches {
        let cells = &cells[start..start + len];
        let keep = keep.map(|keep| &keep[start..start + len]);
        match to {
            Target::Run(group) => run::add::<T, TOTAL>(state, group, cells, keep),
            Target::Each(first) => each::add::<T, TOTAL>(state, first, cells, keep),
            Target::Codes { base, at } => {
                each::scatter::<T, TOTAL>(state, base, &codes[at..at + len], cells, keep);
            }
        }
    }
}
