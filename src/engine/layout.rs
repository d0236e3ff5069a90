//! How the rows of a scan are cut into units of work.
//!
//! A unit is a run of rows in C order: one position for each of the outer dims, a few positions of the next
//! dim, and everything that is kept of the dims inside. Units follow each other in C order, so a partition is
//! a range of units. A unit never cuts through a chunk that has to be decoded whole, and is otherwise of
//! about [`TARGET_CELLS`], so that a small chunk doesn't make a batch of its own and a large one isn't held
//! as a whole.
//! ```text
//! dims    time   level      latitude  longitude
//! kept    48     13         181       360          chunks of 1 x 1 x 181 x 360
//! unit    1      2          181       360          outer = 1, blocks of level: 0..2, 2..4, ...
//! ```

use crate::tensor::{DimSelection, Selection};
use std::ops::Range;

/// Rows of a unit, where chunks leave the choice.
pub(crate) const TARGET_CELLS: u64 = 1 << 17;

/// The units of a selection.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    selection: Selection,
    /// Kept positions along each dim.
    lens: Vec<u64>,
    /// Dims of which a unit has one position; the next one is cut into `blocks`.
    outer: usize,
    /// Ranges of kept positions (counted among the kept ones) of dim `outer`.
    blocks: Vec<Range<u64>>,
}

/// One unit: the outer positions, and how much of the dim inside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// For each outer dim, which of the kept positions.
    pub outer: Vec<u64>,
    /// Which of the kept positions of the next dim.
    pub block: Range<u64>,
}

impl Layout {
    /// Cuts `selection`. `grains` are chunk shapes through which no unit may cut; `target` is the number of
    /// cells that a unit should have.
    pub(crate) fn new(selection: Selection, grains: &[Vec<u64>], target: u64) -> Self {
        let lens: Vec<u64> = selection.dims.iter().map(DimSelection::len).collect();
        let inner = |dim: usize| lens[dim + 1..].iter().product::<u64>();
        let last = lens.len().saturating_sub(1);
        let by_size = (0..last).find(|&dim| inner(dim) <= target).unwrap_or(last);
        let by_chunks = (0..last).find(|&dim| grains.iter().any(|grain| grain[dim] > 1)).unwrap_or(last);
        let outer = by_size.min(by_chunks);
        let blocks = match selection.dims.get(outer) {
            _ if lens.contains(&0) => Vec::new(),
            Some(dim) => blocks(dim, grain_of(grains, outer), target / inner(outer).max(1)),
            None => std::iter::once(0..1).collect(),
        };
        Self { selection, lens, outer, blocks }
    }

    /// Number of units.
    pub(crate) fn units(&self) -> u64 {
        self.lens[..self.outer].iter().product::<u64>() * self.blocks.len() as u64
    }

    /// Unit number `index`.
    pub(crate) fn unit(&self, index: u64) -> Unit {
        let blocks = self.blocks.len() as u64;
        let mut rest = index / blocks;
        let mut outer = vec![0; self.outer];
        for dim in (0..self.outer).rev() {
            outer[dim] = rest % self.lens[dim];
            rest /= self.lens[dim];
        }
        Unit { outer, block: self.blocks[(index % blocks) as usize].clone() }
    }

    /// What `unit` keeps of the grid, masks included.
    pub(crate) fn selection(&self, unit: &Unit) -> Selection {
        let mut selection = self.selection.clone();
        for (dim, &at) in unit.outer.iter().enumerate() {
            selection.dims[dim] = selection.dims[dim].slice(at..at + 1);
        }
        if let Some(dim) = selection.dims.get_mut(self.outer) {
            *dim = dim.slice(unit.block.clone());
        }
        selection
    }

    /// Cells of the first `units` units, before masks.
    pub(crate) fn cells(&self, units: u64) -> u64 {
        let Some(last) = self.blocks.last() else { return 0 };
        let blocks = self.blocks.len() as u64;
        let inner: u64 = self.lens.get(self.outer + 1..).map_or(1, |inner| inner.iter().product());
        (units / blocks * last.end + self.blocks[(units % blocks) as usize].start) * inner
    }

    /// Cells of the largest unit, before masks.
    pub(crate) fn largest(&self) -> u64 {
        let block = self.blocks.iter().map(|block| block.end - block.start).max().unwrap_or(0);
        block * self.lens.get(self.outer + 1..).map_or(1, |inner| inner.iter().product())
    }
}

/// The extent along `dim` that no unit may cut; 0 stands for the whole dim, where grains don't agree.
fn grain_of(grains: &[Vec<u64>], dim: usize) -> u64 {
    let mut extents: Vec<u64> = grains.iter().map(|grain| grain[dim]).filter(|&extent| extent > 1).collect();
    extents.sort_unstable();
    extents.dedup();
    match extents.as_slice() {
        [] => 1,
        [extent] => *extent,
        _ => 0,
    }
}

/// Cuts the kept positions of a dim into ranges of about `target`, at multiples of `grain` only.
fn blocks(dim: &DimSelection, grain: u64, target: u64) -> Vec<Range<u64>> {
    if grain == 0 {
        return std::iter::once(0..dim.len()).collect();
    }
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut end = 0;
    while end < dim.len() {
        let chunk = dim.get(end).map_or(0, |position| position / grain);
        let in_chunk = dim.within(chunk * grain..(chunk + 1) * grain).len().max(1);
        if end > start && end + in_chunk - start > target {
            blocks.push(start..end);
            start = end;
        }
        end += in_chunk;
    }
    if end > start {
        blocks.push(start..end);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(len: u64) -> DimSelection {
        DimSelection::all(len)
    }

    #[test]
    fn small_chunks_share_a_unit_and_large_ones_stand_alone() {
        let cube = || Selection::product(vec![range(4), range(10), range(20), range(30)]);
        let layout = Layout::new(cube(), &[vec![1, 1, 20, 30]], 1300);
        assert_eq!((layout.outer, layout.units(), layout.largest()), (1, 20, 1200));
        assert_eq!(layout.unit(6), Unit { outer: vec![1], block: 2..4 });
        let layout = Layout::new(cube(), &[vec![1, 10, 20, 30]], 1300);
        assert_eq!((layout.outer, layout.units(), layout.largest()), (1, 4, 6000));
        let layout = Layout::new(cube(), &[], 1300);
        assert_eq!((layout.outer, layout.units()), (1, 20));
        let layout = Layout::new(cube(), &[], 1 << 20);
        assert_eq!((layout.outer, layout.units()), (0, 1));
    }

    #[test]
    fn a_scalar_is_one_unit_and_nothing_is_none() {
        assert_eq!(Layout::new(Selection::product(vec![]), &[], 8).units(), 1);
        assert_eq!(Layout::new(Selection::product(vec![range(3), DimSelection::none()]), &[], 8).units(), 0);
    }

    proptest! {
        #[test] // every kept cell once, in C order, and no grain is cut
        fn units_tile_the_selection(
            dims in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..7), 1..4),
            grain in prop::collection::vec(1u64..5, 3),
            target in 1u64..20,
        ) {
            let selection = Selection::product(dims.iter().map(|keep| DimSelection::from_keep(keep)).collect());
            let grains = [grain[..dims.len()].to_vec()];
            let layout = Layout::new(selection.clone(), &grains, target);
            let (mut cells, mut counted) = (Vec::new(), vec![0]);
            for unit in (0..layout.units()).map(|index| layout.unit(index)) {
                let unit = layout.selection(&unit);
                prop_assert!(unit.len() <= layout.largest());
                cells.extend(list(&unit));
                counted.push(cells.len() as u64);
            }
            prop_assert_eq!((0..=layout.units()).map(|units| layout.cells(units)).collect::<Vec<_>>(), counted);
            prop_assert_eq!(cells, list(&selection));
            let mut chunks: Vec<Vec<Vec<u64>>> = Vec::new();
            for unit in (0..layout.units()).map(|index| layout.unit(index)) {
                let mut touched: Vec<Vec<u64>> = list(&layout.selection(&unit)).iter()
                    .map(|cell| cell.iter().zip(&grains[0]).map(|(at, grain)| at / grain).collect()).collect();
                touched.sort();
                touched.dedup();
                chunks.push(touched);
            }
            let mut all = chunks.concat();
            all.sort();
            let before = all.len();
            all.dedup();
            prop_assert_eq!(before, all.len(), "a chunk is in two units");
        }
    }

    fn list(selection: &Selection) -> Vec<Vec<u64>> {
        selection.dims.iter().fold(vec![vec![]], |cells, dim| {
            cells.iter().flat_map(|cell| dim.iter().map(|at| [cell.clone(), vec![at]].concat())).collect()
        })
    }
}
