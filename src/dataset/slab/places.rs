//! Where the cells of a chunk's part belong in a slab.

use super::RUN_CELLS;
use crate::codec::ElementRange;
use crate::tensor::{DimSelection, Part};
use arrow::buffer::BooleanBuffer;
use arrow::util::bit_chunk_iterator::UnalignedBitChunk;
use arrow::util::bit_iterator::BitSliceIterator;
use std::ops::Range;

/// Cells that go from one place to another: `count` of them, from `from` on, to `to` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) count: usize,
}

/// A part of a chunk, as a box in a slab.
#[derive(Debug)]
pub(super) struct Place {
    /// Cells of the slab along each dim.
    shape: Vec<usize>,
    /// Where in the slab it begins.
    offset: Vec<usize>,
    /// Its cells along each dim.
    extent: Vec<usize>,
}

impl Move {
    pub(super) fn target(&self) -> Range<usize> {
        self.to..self.to + self.count
    }
}

impl Place {
    pub(super) fn new(part: &Part, dims: &[DimSelection], shape: &[usize]) -> Self {
        let before = |(dim, &origin): (&DimSelection, &u64)| dim.within(0..origin).len() as usize;
        Self {
            shape: shape.to_vec(),
            offset: dims.iter().zip(&part.origin).map(before).collect(),
            extent: part.within.iter().map(|dim| dim.len() as usize).collect(),
        }
    }

    /// Whether its cells follow each other in the slab: one position, up to some dim, and from there on everything.
    pub(super) fn is_run(&self) -> bool {
        let cut = (0..self.shape.len()).rev().find(|&dim| self.extent[dim] != self.shape[dim]);
        cut.is_none_or(|cut| self.extent[..cut].iter().all(|&extent| extent == 1))
    }

    /// Its innermost rows, from the box to the slab.
    pub(super) fn rows(&self) -> impl Iterator<Item = Move> + '_ {
        let count = self.extent.last().copied().unwrap_or(1);
        let rows = if count == 0 { 0 } else { self.extent.iter().rev().skip(1).product() };
        (0..rows).map(move |number| {
            let mut rest = number;
            let mut to = self.offset.last().copied().unwrap_or(0);
            let mut stride = self.shape.last().copied().unwrap_or(1);
            for dim in (0..self.extent.len().saturating_sub(1)).rev() {
                to += (self.offset[dim] + rest % self.extent[dim]) * stride;
                rest /= self.extent[dim];
                stride *= self.shape[dim];
            }
            Move { from: number * count, to, count }
        })
    }
}

/// How many cells of a slab are kept before each of its innermost rows.
pub(super) struct Ranks<'a> {
    keep: &'a BooleanBuffer,
    row: usize,
    before: Vec<usize>,
    pub(super) kept: usize,
}

impl<'a> Ranks<'a> {
    pub(super) fn new(keep: &'a BooleanBuffer, row: usize) -> Self {
        let mut ranks = Self { keep, row, before: Vec::new(), kept: 0 };
        if row > 0 {
            for start in (0..keep.len()).step_by(row) {
                ranks.before.push(ranks.kept);
                ranks.kept += ranks.count(start, row);
            }
        }
        ranks
    }

    /// Kept cells among `len` from `start` on.
    fn count(&self, start: usize, len: usize) -> usize {
        UnalignedBitChunk::new(self.keep.values(), self.keep.offset() + start, len).count_ones()
    }

    /// The kept cells of `place`, from the box to where they are among the kept cells.
    pub(super) fn moves(&self, place: &Place) -> Vec<Move> {
        let mut moves = Vec::new();
        for row in place.rows() {
            let bits = BitSliceIterator::new(self.keep.values(), self.keep.offset() + row.to, row.count);
            let mut to = None;
            for (start, end) in bits {
                let number = row.to / self.row;
                let to = to.get_or_insert_with(|| {
                    let first = number * self.row;
                    self.before[number] + self.count(first, row.to - first)
                });
                moves.push(Move { from: row.from + start, to: *to, count: end - start });
                *to += end - start;
            }
        }
        moves
    }
}

/// Whether it is cheaper to ask for just the moved cells than for the whole part.
pub(super) fn is_sparse(moves: &[Move], part: &Part) -> bool {
    let last = part.within.last().map_or(1, |dim| dim.runs().len());
    let rows: u64 = part.within.iter().rev().skip(1).map(DimSelection::len).product();
    let innermost = part.within.last().zip(part.shape.last());
    let runs = match innermost {
        Some((dim, &len)) if dim.is_full(len) => 1,
        _ => rows as usize * last,
    };
    let kept: usize = moves.iter().map(|step| step.count).sum();
    kept + RUN_CELLS * moves.len() < part.len() as usize + RUN_CELLS * runs
}

/// The elements of the chunk that are moved, ascending.
pub(super) fn elements(moves: &[Move], place: &Place, part: &Part) -> Vec<ElementRange> {
    let mut ranges: Vec<ElementRange> = Vec::with_capacity(moves.len());
    let row = place.extent.last().copied().unwrap_or(1);
    for step in moves {
        let mut rest = step.from / row;
        let mut stride = part.shape.last().copied().unwrap_or(1);
        let mut start = 0;
        for dim in (0..place.extent.len().saturating_sub(1)).rev() {
            start += part.within[dim].get((rest % place.extent[dim]) as u64).unwrap_or(0) * stride;
            rest /= place.extent[dim];
            stride *= part.shape[dim];
        }
        let within = (step.from % row) as u64;
        let positions = match part.within.last() {
            Some(last) => last.slice(within..within + step.count as u64).runs(),
            None => std::iter::once(0..1).collect(),
        };
        for run in positions {
            let (first, count) = (start + run.start, run.end - run.start);
            match ranges.last_mut() {
                Some(last) if last.start + last.count == first => last.count += count,
                _ => ranges.push(ElementRange { start: first, count }),
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{ChunkGrid, Selection};
    use proptest::prelude::*;

    fn place(shape: &[usize], offset: &[usize], extent: &[usize]) -> Place {
        Place { shape: shape.to_vec(), offset: offset.to_vec(), extent: extent.to_vec() }
    }

    #[test]
    fn rows_of_a_box() {
        let rows = |shape: &[usize], offset: &[usize], extent: &[usize]| {
            place(shape, offset, extent).rows().map(|row| (row.to, row.from, row.count)).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[3, 4], &[1, 1], &[2, 3]), [(5, 0, 3), (9, 3, 3)]);
        assert_eq!(rows(&[], &[], &[]), [(0, 0, 1)]);
        assert!(rows(&[2, 0], &[0, 0], &[2, 0]).is_empty());
    }

    #[test]
    fn boxes_that_are_runs() {
        assert!(place(&[3, 4], &[1, 0], &[2, 4]).is_run());
        assert!(place(&[3, 4], &[1, 1], &[1, 2]).is_run());
        assert!(!place(&[3, 4], &[1, 1], &[2, 2]).is_run());
        assert!(place(&[], &[], &[]).is_run());
    }

    proptest! {
        #[test] // the kept cells of every chunk, asked for one by one, are the kept cells of the slab
        fn elements_are_those_that_are_kept(
            dims in prop::collection::vec((prop::collection::vec(any::<bool>(), 1..7), 1u64..4), 0..4),
            bits in prop::collection::vec(any::<bool>(), 216),
        ) {
            let kept: Vec<_> = dims.iter().map(|(keep, _)| DimSelection::from_keep(keep)).collect();
            let shape: Vec<u64> = dims.iter().map(|(keep, _)| keep.len() as u64).collect();
            let chunks = dims.iter().map(|&(_, chunk)| chunk).collect();
            let grid = ChunkGrid::try_new(shape.clone(), chunks).unwrap();
            let lens: Vec<usize> = kept.iter().map(|dim| dim.len() as usize).collect();
            let cells: usize = lens.iter().product();
            let keep: BooleanBuffer = bits[..cells].to_vec().into();
            let ranks = Ranks::new(&keep, lens.last().copied().unwrap_or(1));
            let mut found = vec![None; ranks.kept];
            for part in grid.parts(&Selection::product(kept.clone())).iter() {
                let place = Place::new(&part, &kept, &lens);
                let moves = ranks.moves(&place);
                let elements = elements(&moves, &place, &part);
                prop_assert!(elements.windows(2).all(|pair| pair[0].start + pair[0].count < pair[1].start));
                let elements = elements.iter().flat_map(|range| range.start..range.start + range.count);
                for (to, element) in moves.iter().flat_map(Move::target).zip(elements) {
                    let mut rest = element;
                    let mut position = vec![0; shape.len()];
                    for dim in (0..shape.len()).rev() {
                        position[dim] = part.origin[dim] + rest % part.shape[dim];
                        rest /= part.shape[dim];
                    }
                    prop_assert_eq!(found[to].replace(position), None);
                }
            }
            let all = kept.iter().fold(vec![vec![]], |cells, dim| {
                cells.iter().flat_map(|cell| dim.iter().map(|at| [cell.clone(), vec![at]].concat())).collect()
            });
            let want: Vec<_> = all.into_iter().zip(&bits).filter(|(_, keep)| **keep).map(|(cell, _)| Some(cell)).collect();
            prop_assert_eq!(found, want);
        }
    }
}
