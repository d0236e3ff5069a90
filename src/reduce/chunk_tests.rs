//! Chunk reducers against a plain list of cells.

use super::tests::{ALL, Model, Num, check, nums};
use super::*;
use crate::codec::{Block, Values};
use crate::tensor::{ChunkGrid, DimMask, DimSelection, Part, Selection};
use crate::tgm::DType;
use proptest::prelude::*;

/// A small generator: cases are made from one seed, so that dims, codes and masks can depend on each other.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn bits(&mut self) -> u64 {
        self.roll(1 << 31) << 33 | self.roll(1 << 31) << 2 | self.roll(4)
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }

    fn keep(&mut self, len: u64) -> Vec<bool> {
        let (from, to, kind) = (self.roll(len), self.roll(len), self.roll(5));
        (0..len)
            .map(|at| match kind {
                0 => (from..=to).contains(&at),
                1 => self.roll(10) > 0,
                2 => self.roll(3) == 0,
                _ => true,
            })
            .collect()
    }

    fn codes(&mut self, cells: u64) -> (Vec<u32>, u32) {
        let by = self.roll(20) + 1;
        match self.roll(5) {
            0 | 1 => ((0..cells as u32).collect(), cells as u32),
            2 => ((0..cells).map(|at| (at / by) as u32).collect(), cells.div_ceil(by) as u32),
            3 => (vec![2; cells as usize], 3),
            _ => ((0..cells).map(|_| self.roll(by) as u32).collect(), by as u32 + 1),
        }
    }

    /// A random set of dims, ascending.
    fn dims(&mut self, dims: &[usize]) -> Vec<usize> {
        dims.iter().copied().filter(|_| self.roll(2) == 0).collect()
    }
}

/// Grid, selection and groups; the last dims are long often enough for every kind of stretch.
pub(super) fn case(seed: u64) -> (ChunkGrid, Selection, GroupMap) {
    let mut dice = Dice(seed);
    let extents = [1, 2, 3, 5, 16, 17, 40, 70];
    let mut shape: Vec<u64> = Vec::new();
    for _ in 0..dice.roll(5) {
        let extent = extents[dice.roll(8) as usize];
        if shape.iter().product::<u64>() * extent <= 6000 {
            shape.push(extent);
        }
    }
    let chunks = shape.iter().map(|&len| if dice.roll(2) == 0 { len } else { dice.roll(len) + 1 }).collect();
    let mut selection =
        Selection::product(shape.iter().map(|&len| DimSelection::from_keep(&dice.keep(len))).collect());
    let all: Vec<usize> = (0..shape.len()).collect();
    for _ in 0..dice.roll(4).saturating_sub(1) {
        let dims = dice.dims(&all);
        let keep = dice.keep(dims.iter().map(|&dim| shape[dim]).product());
        selection.masks.push(DimMask::try_new(&shape, dims, keep).unwrap());
    }
    let mut left = all;
    let mut factors = Vec::new();
    for _ in 0..dice.roll(4) {
        let one = dice.roll(left.len().max(1) as u64) as usize;
        let dims =
            if dice.roll(3) == 0 { dice.dims(&left) } else { left.get(one).copied().into_iter().collect() };
        left.retain(|dim| !dims.contains(dim));
        let (codes, cardinality) = dice.codes(dims.iter().map(|&dim| shape[dim]).product());
        factors.push(Factor { dims, codes: codes.into(), cardinality });
    }
    let map = GroupMap::try_new(&shape, factors).unwrap();
    (ChunkGrid::try_new(shape, chunks).unwrap(), selection, map)
}

/// Grid position of element `flat` of a part's chunk.
pub(super) fn position(part: &Part, mut flat: u64) -> Vec<u64> {
    let mut position = part.origin.clone();
    for dim in (0..part.shape.len()).rev() {
        position[dim] += flat % part.shape[dim];
        flat /= part.shape[dim];
    }
    position
}

/// Values of a whole chunk: small integers, exact in any order of addition, and some NaN.
fn data(part: &Part, dice: &mut Dice) -> Vec<f32> {
    let cells = part.shape.iter().product::<u64>();
    let nan = dice.roll(2) == 0;
    let value = |dice: &mut Dice| dice.roll(1000) as f32 - 300.0;
    (0..cells).map(|_| if nan && dice.roll(6) == 0 { f32::NAN } else { value(dice) }).collect()
}

/// Feeds the runs of `part` in blocks of random length; `valid` has an entry for each element of the chunk.
fn feed_all(
    part: &Part,
    map: &GroupMap,
    data: &[f32],
    valid: Option<&[bool]>,
    dice: &mut Dice,
    states: &mut Accumulators,
) {
    let mut reducer = ChunkReducer::new(part, map);
    for run in part.runs() {
        let end = (run.start + run.count) as usize;
        let mut at = run.start as usize;
        while at < end {
            let stop = end.min(at + dice.roll(200) as usize + 1);
            let valid = valid.map(|valid| &valid[at..stop]);
            reducer.feed(at as u64, Block::Float32(&data[at..stop]), valid, states).unwrap();
            at = stop;
        }
    }
}

/// Notes what of `all`, the values of a chunk, goes to which group.
pub(super) fn note(part: &Part, map: &GroupMap, all: &Values, keep: Option<&[bool]>, model: &mut Model) {
    let all = nums(all);
    for flat in part.runs().flat_map(|run| run.start..run.start + run.count) {
        if keep.is_none_or(|keep| keep[flat as usize]) {
            model[map.group_at(&position(part, flat))].push(all[flat as usize]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_kept_cell_reaches_its_group(seed in any::<u64>()) {
        let (grid, selection, map) = case(seed);
        let mut dice = Dice(seed ^ 0x5bd1e995);
        let mut states = Accumulators::try_new(DType::Float32, map.groups(), ALL, NanPolicy::Null).unwrap();
        let mut model: Model = vec![Vec::new(); map.groups()];
        let (mut rows, mut want_rows) = (vec![0; map.groups()], vec![0; map.groups()]);
        for part in grid.parts(&selection).iter() {
            let data = data(&part, &mut dice);
            let valid: Vec<bool> = data.iter().map(|_| dice.roll(4) > 0).collect();
            let valid = (dice.roll(2) == 0).then_some(&valid[..]);
            for run in part.runs() {
                for flat in run.start..run.start + run.count {
                    let group = map.group_at(&position(&part, flat));
                    want_rows[group] += 1;
                    if valid.is_none_or(|valid| valid[flat as usize]) {
                        model[group].push(Num::Float(data[flat as usize].into()));
                    }
                }
            }
            ChunkReducer::new(&part, &map).count_rows(&mut rows).unwrap();
            feed_all(&part, &map, &data, valid, &mut dice, &mut states);
        }
        prop_assert_eq!(rows, want_rows);
        check(&mut states, &model, NanPolicy::Null, ALL)?;
    }

    #[test]
    fn localised_groups_are_the_same_groups(seed in any::<u64>()) {
        let (grid, selection, map) = case(seed);
        let mut dice = Dice(seed ^ 0x5bd1e995);
        let mut states = Accumulators::try_new(DType::Float32, map.groups(), ALL, NanPolicy::Null).unwrap();
        let mut direct = states.clone();
        let mut rows = vec![0; map.groups()];
        for part in grid.parts(&selection).iter() {
            let local = map.localise(&part);
            let codes = |group| (0..map.factors().len()).map(|f| local.global_code(group, f)).collect::<Vec<_>>();
            let global = |group| map.group(&codes(group));
            prop_assert!(local.map.groups() <= map.groups());
            prop_assert!(local.map.groups() as u64 <= part.within.iter().map(DimSelection::len).product());
            let mut inside = Accumulators::try_new(DType::Float32, local.map.groups(), ALL, NanPolicy::Null).unwrap();
            let data = data(&part, &mut dice);
            for piece in part.split(3) {
                feed_all(&piece, &local.map, &data, None, &mut dice, &mut inside);
                let mut inside_rows = vec![0; local.map.groups()];
                ChunkReducer::new(&piece, &local.map).count_rows(&mut inside_rows).unwrap();
                inside_rows.iter().enumerate().for_each(|(group, n)| rows[global(group)] += n);
            }
            feed_all(&part, &map, &data, None, &mut dice, &mut direct);
            states.merge(&mut inside, global).unwrap();
            for group in 0..local.map.groups() {
                let codes = codes(group);
                prop_assert!((0..codes.len()).all(|f| map.code(global(group), f) == codes[f]));
            }
        }
        prop_assert_eq!(rows.iter().sum::<u64>(), selection.len());
        let (a, b) = (states.read(), direct.read());
        prop_assert_eq!(a.counts, b.counts);
        prop_assert_eq!(a.sums, b.sums);
        let valid = |values: Option<crate::codec::Values>| {
            let values = super::tests::nums(&values.unwrap());
            values.into_iter().zip(a.counts).filter(|(_, n)| **n > 0).map(|(x, _)| x).collect::<Vec<_>>()
        };
        prop_assert_eq!(valid(a.mins), valid(b.mins));
        prop_assert_eq!(valid(a.maxs), valid(b.maxs));
    }
}

#[test]
fn blocks_and_counts_that_do_not_fit_are_refused() {
    let grid = ChunkGrid::whole(vec![4, 5]).unwrap();
    let part = grid.parts(&Selection::all(grid.shape())).get(0).unwrap();
    let map = GroupMap::single(grid.shape());
    let mut reducer = ChunkReducer::new(&part, &map);
    let mut states = Accumulators::try_new(DType::Float32, 1, ALL, NanPolicy::Null).unwrap();
    let block = Block::Float32(&[1.0; 6]);
    assert!(reducer.feed(15, block, None, &mut states).is_err());
    assert!(reducer.feed(u64::MAX, block, None, &mut states).is_err());
    assert!(reducer.feed(0, block, Some(&[true]), &mut states).is_err());
    assert!(reducer.count_rows(&mut [0, 0]).is_err());
    let mut two = Accumulators::try_new(DType::Float32, 2, ALL, NanPolicy::Null).unwrap();
    assert!(reducer.feed(0, block, None, &mut two).is_err());
    assert_eq!(states.read().counts, [0]);
}

#[test]
fn impossible_groups_are_refused() {
    let factor = |dims: &[usize], codes: &[u32], cardinality| Factor {
        dims: dims.to_vec(),
        codes: codes.into(),
        cardinality,
    };
    let shape = [2, 3];
    assert!(GroupMap::try_new(&shape, vec![factor(&[0], &[0, 1], 1)]).is_err());
    assert!(GroupMap::try_new(&shape, vec![factor(&[0], &[0, 1, 0], 2)]).is_err());
    assert!(GroupMap::try_new(&shape, vec![factor(&[2], &[0, 1], 2)]).is_err());
    assert!(GroupMap::try_new(&shape, vec![factor(&[1, 0], &[0; 6], 1)]).is_err());
    assert!(GroupMap::try_new(&shape, vec![factor(&[0], &[0, 1], 2), factor(&[0, 1], &[0; 6], 1)]).is_err());
    let huge = vec![factor(&[0], &[0, 1], u32::MAX), factor(&[1], &[0, 1, 2], u32::MAX)];
    let map = GroupMap::try_new(&shape, huge).unwrap();
    let grid = ChunkGrid::whole(shape.to_vec()).unwrap();
    let part = grid.parts(&Selection::all(&shape)).get(0).unwrap();
    // Too many to reduce into, but not where a part touches few of them.
    let local = map.localise(&part);
    assert_eq!(local.map.groups(), 6);
    let mut rows = vec![0; 6];
    ChunkReducer::new(&part, &local.map).count_rows(&mut rows).unwrap();
    assert_eq!(rows, [1; 6]);
    let mut states = Accumulators::try_new(DType::Float32, 6, ALL, NanPolicy::Null).unwrap();
    assert!(ChunkReducer::new(&part, &map).feed(0, Block::Float32(&[1.0]), None, &mut states).is_err());
}
