//! Counting selected cells by group, without their values.

use super::{Factor, GroupMap};
use crate::tensor::{DimMask, Part, step};
use std::collections::BTreeMap;

/// Factors and masks that share dims, directly or through each other; independent of all others.
#[derive(Default)]
struct Knot<'a> {
    dims: Vec<usize>,
    factors: Vec<(&'a Factor, usize)>,
    masks: Vec<&'a DimMask>,
}

/// Adds the number of selected cells of `part` to each group of `map`.
pub(super) fn add(part: &Part, map: &GroupMap, rows: &mut [u64]) {
    tally(part, map, |group, cells| rows[group] += cells);
}

/// Hands over each group of `map` that has selected cells of `part`, with their number; a group may come again.
///
/// Arithmetic where it can be: dims are walked together only where factors and masks tie them to each other;
/// a group's cells are the product over such knots, and over the dims that are in none.
pub(super) fn tally(part: &Part, map: &GroupMap, mut found: impl FnMut(usize, u64)) {
    let knots = knots(part, map);
    let free = (0..part.shape.len()).filter(|dim| knots.iter().all(|knot| !knot.dims.contains(dim)));
    let others: u64 = free.map(|dim| part.within[dim].len()).product();
    let tallies: Vec<Vec<(usize, u64)>> = knots.iter().map(|knot| knot.tally(part, map)).collect();
    let Some((inner, outer)) = tallies.split_last() else { return found(0, others) };
    let mut at = vec![0; outer.len()];
    for _ in 0..outer.iter().map(Vec::len).product() {
        let chosen = outer.iter().zip(&at).map(|(tally, &at)| tally[at]);
        let (group, cells) = chosen.fold((0, others), |(group, cells), (code, n)| (group + code, cells * n));
        inner.iter().for_each(|&(code, n)| found(group + code, cells * n));
        step(&mut at, |knot| outer[knot].len());
    }
}

fn knots<'a>(part: &'a Part, map: &'a GroupMap) -> Vec<Knot<'a>> {
    let factors = map.factors().iter().zip(&map.strides).map(|(factor, &stride)| Knot {
        dims: factor.dims.clone(),
        factors: vec![(factor, stride)],
        masks: Vec::new(),
    });
    let masks = part.masks.iter().map(|mask| Knot {
        dims: mask.dims().to_vec(),
        masks: vec![mask],
        ..Knot::default()
    });
    let mut knots: Vec<Knot<'a>> = Vec::new();
    for mut knot in factors.chain(masks) {
        let ties = |other: &mut Knot<'_>| other.dims.iter().any(|dim| knot.dims.contains(dim));
        let tied: Vec<Knot<'a>> = knots.extract_if(.., ties).collect();
        for tied in tied {
            knot.dims.extend(tied.dims);
            knot.factors.extend(tied.factors);
            knot.masks.extend(tied.masks);
        }
        knot.dims.sort_unstable();
        knot.dims.dedup();
        knots.push(knot);
    }
    knots
}

impl Knot<'_> {
    /// What its factors contribute to the group, and how many combinations of its dims' positions there are.
    fn tally(&self, part: &Part, map: &GroupMap) -> Vec<(usize, u64)> {
        let kept: Vec<Vec<u64>> = self.dims.iter().map(|&dim| part.within[dim].iter().collect()).collect();
        let mut tally = BTreeMap::new();
        let mut run = (0, 0);
        let mut position = part.origin.clone();
        let mut at = vec![0; kept.len()];
        for _ in 0..kept.iter().map(Vec::len).product() {
            for (&dim, (kept, &at)) in self.dims.iter().zip(kept.iter().zip(&at)) {
                position[dim] = part.origin[dim] + kept[at];
            }
            if self.masks.iter().all(|mask| mask.keeps(&position)) {
                let group =
                    self.factors.iter().map(|&(factor, stride)| map.code_at(factor, &position) * stride);
                let group = group.sum();
                if run.0 != group {
                    let (before, cells) = std::mem::replace(&mut run, (group, 0));
                    *tally.entry(before).or_insert(0) += cells;
                }
                run.1 += 1;
            }
            step(&mut at, |dim| kept[dim].len());
        }
        *tally.entry(run.0).or_insert(0) += run.1;
        tally.into_iter().filter(|&(_, cells)| cells > 0).collect()
    }
}
