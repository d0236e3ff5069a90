//! Counting selected cells by group, without their values.

use super::GroupMap;
use super::kernels::{Stretch, Target};
use crate::tensor::{DimSelection, Part, step};
use std::collections::BTreeMap;

/// Adds the number of selected cells of `part` (which has no masks and no window) to each group of `map`.
///
/// Arithmetic: a group's cells are the product, over factors, of the positions with its code.
pub(super) fn product(part: &Part, map: &GroupMap, rows: &mut [u64]) {
    let mut free = vec![true; part.shape.len()];
    let mut tallies: Vec<Vec<(usize, u64)>> = Vec::new();
    for (factor, &stride) in map.factors().iter().zip(&map.strides) {
        factor.dims.iter().for_each(|&dim| free[dim] = false);
        let codes = map.chunk_codes(factor, &part.origin, &part.shape);
        let kept: Vec<Vec<u64>> = factor.dims.iter().map(|&dim| part.within[dim].iter().collect()).collect();
        let mut tally = BTreeMap::new();
        let mut at = vec![0; kept.len()];
        for _ in 0..kept.iter().map(Vec::len).product() {
            let flat = factor.dims.iter().zip(kept.iter().zip(&at));
            let flat = flat.fold(0, |flat, (&dim, (kept, &at))| flat * part.shape[dim] + kept[at]);
            *tally.entry(codes[flat as usize] as usize * stride).or_insert(0) += 1;
            step(&mut at, |dim| kept[dim].len());
        }
        tallies.push(tally.into_iter().collect());
    }
    let others = part.within.iter().zip(free).filter(|(_, free)| *free);
    let others: u64 = others.map(|(dim, _): (&DimSelection, _)| dim.len()).product();
    let mut at = vec![0; tallies.len()];
    for _ in 0..tallies.iter().map(Vec::len).product() {
        let chosen = tallies.iter().zip(&at).map(|(tally, &at)| tally[at]);
        let (group, cells) = chosen.fold((0, others), |(group, cells), (code, n)| (group + code, cells * n));
        rows[group] += cells;
        step(&mut at, |factor| tallies[factor].len());
    }
}

/// Adds the cells of `stretches`, those that `keep` keeps, to their groups.
pub(super) fn tally(stretches: &[Stretch], codes: &[u32], keep: Option<&[bool]>, rows: &mut [u64]) {
    for &Stretch { start, len, to } in stretches {
        let kept = |i: usize| keep.is_none_or(|keep| keep[start + i]);
        match to {
            Target::Run(group) => {
                let cells =
                    keep.map_or(len, |keep| keep[start..start + len].iter().filter(|&&kept| kept).count());
                rows[group] += cells as u64;
            }
            Target::Each(first) => {
                let rows = rows[first..first + len].iter_mut().enumerate();
                rows.for_each(|(i, rows)| *rows += u64::from(kept(i)));
            }
            Target::Codes { base, at } => {
                let codes = codes[at..at + len].iter().enumerate();
                codes.for_each(|(i, &code)| rows[base + code as usize] += u64::from(kept(i)));
            }
        }
    }
}
