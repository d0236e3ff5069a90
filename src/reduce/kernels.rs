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
    /// As `Codes`, beginning again with the first code after the last.
    Table { base: usize, at: usize },
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
/// entry is true.
///
/// `columns` is room for a [`Target::Table`], kept from call to call. Stretches must lie inside `cells`, and lead to
/// groups and codes that exist.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
pub(super) fn add<T: Cell>(
    state: &mut State<T>,
    columns: &mut Option<State<T>>,
    cells: &[T],
    stretches: &[Stretch],
    codes: &[u32],
    keep: Option<&[bool]>,
) {
    for &Stretch { start, len, to } in stretches {
        let cells = &cells[start..start + len];
        let keep = keep.map(|keep| &keep[start..start + len]);
        match to {
            Target::Run(group) => run::add(state, group, cells, keep),
            Target::Each(first) => each::add(state, first, cells, keep),
            Target::Codes { base, at } => each::scatter(state, base, &codes[at..at + len], cells, keep),
            Target::Table { base, at } => table(state, columns, base, (codes, at), cells, keep),
        }
    }
}

/// As [`each::table`].
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2+fma",
    "x86_64+avx2+bmi2+fma",
    "aarch64+neon"
))]
fn table<T: Cell>(
    state: &mut State<T>,
    columns: &mut Option<State<T>>,
    base: usize,
    codes: (&[u32], usize),
    cells: &[T],
    keep: Option<&[bool]>,
) {
    each::table(state, columns, base, codes, cells, keep);
}

/// Adds the cells whose entry in `keep` is true to the counts of their groups, stretch by stretch. Stretches must
/// lie inside `keep`, and lead to groups and codes that exist.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2",
    "x86_64+avx2+bmi2",
    "aarch64+neon"
))]
pub(super) fn count(counts: &mut [u64], keep: &[bool], stretches: &[Stretch], codes: &[u32]) {
    for &Stretch { start, len, to } in stretches {
        let keep = &keep[start..start + len];
        match to {
            Target::Run(group) => counts[group] += count_true(keep),
            Target::Each(first) => {
                let counts = counts[first..first + len].iter_mut();
                counts.zip(keep).for_each(|(count, &keep)| *count += u64::from(keep));
            }
            Target::Codes { base, at } => {
                let counts = &mut counts[base..];
                let codes = codes[at..at + len].iter();
                codes.zip(keep).for_each(|(&code, &keep)| counts[code as usize] += u64::from(keep));
            }
            Target::Table { base, at } => {
                let counts = &mut counts[base..];
                let codes = codes.iter().cycle().skip(at);
                codes.zip(keep).for_each(|(&code, &keep)| counts[code as usize] += u64::from(keep));
            }
        }
    }
}

/// How many of `mask` are true.
#[inline(always)]
pub(super) fn count_true(mask: &[bool]) -> u64 {
    let mut total = 0;
    // Summed as bytes: no lane can have more than 255 of them.
    for piece in mask.chunks(64 * 255) {
        let mut lanes = [0u8; 64];
        let mut rows = piece.chunks_exact(64);
        for row in &mut rows {
            lanes.iter_mut().zip(row).for_each(|(lane, &kept)| *lane += u8::from(kept));
        }
        total += lanes.iter().map(|&lane| u64::from(lane)).sum::<u64>();
        total += rows.remainder().iter().map(|&kept| u64::from(kept)).sum::<u64>();
    }
    total
}
