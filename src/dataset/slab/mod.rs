//! Cells of a slab, put together from the chunks that it touches: all of them, or those that a mask keeps.
//!
//! ```text
//! slab 2 x 5     mask           chunks of 2 x 3      read               cells
//! a b c d e      . x . . x      a b c | d e          b, g | e           b e g
//! f g h i j      . x . . .      f g h | i j
//! ```
//! A chunk of which the mask keeps little is asked for just those elements; one of which it keeps much is read
//! as far as the slab goes, and thinned afterwards, for a run of elements costs about as much as reading
//! [`RUN_CELLS`] more of the run before.

mod threads;

pub use threads::{Slab, read};

use super::Variable;
use super::read::{Reader, bad_chunk, empty};
use crate::codec::{ElementRange, Values};
use crate::tensor::{DimSelection, Part, Selection};
use crate::{Result, each_dtype};
use arrow::buffer::BooleanBuffer;
use arrow::util::bit_chunk_iterator::UnalignedBitChunk;
use arrow::util::bit_iterator::BitSliceIterator;
use std::ops::Range;

/// Cells that are decoded in about the time that it takes to begin a run.
const RUN_CELLS: usize = 32;

/// Cells of a slab, C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// One value for each cell; of a missing one it means nothing.
    pub values: Values,
    /// Which cells aren't in holes; `None` if none is.
    pub valid: Option<Vec<bool>>,
}

/// Cells that go from one place to another: `count` of them, from `from` on, to `to` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move {
    from: usize,
    to: usize,
    count: usize,
}

/// A part of a chunk, as a box in a slab.
#[derive(Debug)]
struct Place {
    /// Cells of the slab along each dim.
    shape: Vec<usize>,
    /// Where in the slab it begins.
    offset: Vec<usize>,
    /// Its cells along each dim.
    extent: Vec<usize>,
}

impl Reader {
    /// The cells of the product of `selection`'s dims in C order, from every chunk that they touch. Masks don't thin
    /// the result: where they leave nothing of a chunk, it isn't read, and its cells count as missing. With `keep`, a
    /// bit for each cell of the product, only the cells whose bit is set; a chunk of which nothing is kept isn't read.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_slab(
        &mut self,
        variable: &Variable,
        selection: &Selection,
        keep: Option<&BooleanBuffer>,
    ) -> Result<Cells> {
        let dims = &selection.dims;
        let product = variable.grid.parts(&Selection::product(dims.clone()));
        let shape: Vec<usize> = dims.iter().map(|dim| dim.len() as usize).collect();
        let Some(keep) = keep else {
            // the same slots, so the same places
            let masked = variable.grid.parts(selection);
            let kept: Vec<bool> = masked.numbers(0..u64::MAX).map(|place| place.kept > 0).collect();
            let parts: Vec<Part> = product.iter().collect();
            self.announce(variable, parts.iter().zip(&kept).filter_map(|(part, kept)| kept.then_some(part)));
            return self.read_all(variable, dims, &shape, &parts, &kept);
        };
        self.read_kept(variable, dims, &shape, &product.iter().collect::<Vec<_>>(), keep)
    }

    /// Has parts fetched together that have to be fetched.
    fn announce<'p>(&self, variable: &Variable, parts: impl Iterator<Item = &'p Part>) {
        let threshold = self.options().range_threshold;
        parts.for_each(|part| {
            variable.announce(part, threshold);
        });
    }

    fn read_all(
        &mut self,
        variable: &Variable,
        dims: &[DimSelection],
        shape: &[usize],
        parts: &[Part],
        wanted: &[bool],
    ) -> Result<Cells> {
        let cells: usize = shape.iter().product();
        let places: Vec<Place> = parts.iter().map(|part| Place::new(part, dims, shape)).collect();
        let mut values = empty(variable, cells as u64);
        let mut holes = Vec::new();
        if places.iter().all(Place::is_run) {
            for (part, &wanted) in parts.iter().zip(wanted) {
                let from = values.len();
                if !wanted || !self.append_part(variable, part, &mut values)? {
                    let end = from + part.len() as usize;
                    each_dtype!(Values, &mut values, v => v.resize(end, Default::default()));
                    holes.push(from..end);
                }
            }
        } else {
            each_dtype!(Values, &mut values, v => v.resize(cells, Default::default()));
            for ((part, place), &wanted) in parts.iter().zip(&places).zip(wanted) {
                let moves: Vec<Move> = place.rows().collect();
                match if wanted { self.read_part(variable, part)? } else { None } {
                    Some(piece) => move_cells(variable, &piece, &mut values, &moves)?,
                    None => holes.extend(moves.iter().map(Move::target)),
                }
            }
        }
        Ok(Cells { values, valid: without(cells, &holes) })
    }

    fn read_kept(
        &mut self,
        variable: &Variable,
        dims: &[DimSelection],
        shape: &[usize],
        parts: &[Part],
        keep: &BooleanBuffer,
    ) -> Result<Cells> {
        let ranks = Ranks::new(keep, shape.last().copied().unwrap_or(1));
        let mut values = empty(variable, ranks.kept as u64);
        each_dtype!(Values, &mut values, v => v.resize(ranks.kept, Default::default()));
        let mut holes = Vec::new();
        for part in parts {
            let place = Place::new(part, dims, shape);
            let mut moves = ranks.moves(&place);
            if moves.is_empty() {
                continue;
            }
            let piece = if is_sparse(&moves, part) {
                let piece = self.read_elements(variable, part.chunk, &elements(&moves, &place, part))?;
                let mut next = 0;
                for step in &mut moves {
                    step.from = next;
                    next += step.count;
                }
                piece
            } else {
                self.read_part(variable, part)?
            };
            match piece {
                Some(piece) => move_cells(variable, &piece, &mut values, &moves)?,
                None => holes.extend(moves.iter().map(Move::target)),
            }
        }
        Ok(Cells { values, valid: without(ranks.kept, &holes) })
    }
}

impl Move {
    fn target(&self) -> Range<usize> {
        self.to..self.to + self.count
    }
}

impl Place {
    fn new(part: &Part, dims: &[DimSelection], shape: &[usize]) -> Self {
        let before = |(dim, &origin): (&DimSelection, &u64)| dim.within(0..origin).len() as usize;
        Self {
            shape: shape.to_vec(),
            offset: dims.iter().zip(&part.origin).map(before).collect(),
            extent: part.within.iter().map(|dim| dim.len() as usize).collect(),
        }
    }

    /// Whether its cells follow each other in the slab: one position, up to some dim, and from there on everything.
    fn is_run(&self) -> bool {
        let cut = (0..self.shape.len()).rev().find(|&dim| self.extent[dim] != self.shape[dim]);
        cut.is_none_or(|cut| self.extent[..cut].iter().all(|&extent| extent == 1))
    }

    /// Its innermost rows, from the box to the slab.
    fn rows(&self) -> impl Iterator<Item = Move> + '_ {
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
struct Ranks<'a> {
    keep: &'a BooleanBuffer,
    row: usize,
    before: Vec<usize>,
    kept: usize,
}

impl<'a> Ranks<'a> {
    fn new(keep: &'a BooleanBuffer, row: usize) -> Self {
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
    fn moves(&self, place: &Place) -> Vec<Move> {
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
fn is_sparse(moves: &[Move], part: &Part) -> bool {
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
fn elements(moves: &[Move], place: &Place, part: &Part) -> Vec<ElementRange> {
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

/// Which of `cells` are in none of the `holes`; `None` if there are no holes.
fn without(cells: usize, holes: &[Range<usize>]) -> Option<Vec<bool>> {
    if holes.is_empty() {
        return None;
    }
    let mut valid = vec![true; cells];
    holes.iter().for_each(|hole| valid[hole.clone()].fill(false));
    Some(valid)
}

fn move_cells(variable: &Variable, from: &Values, to: &mut Values, moves: &[Move]) -> Result<()> {
    macro_rules! copy {
        ($($dtype:ident)*) => {
            match (from, to) {
                $((Values::$dtype(from), Values::$dtype(to)) => {
                    for step in moves {
                        to[step.target()].copy_from_slice(&from[step.from..step.from + step.count]);
                    }
                })*
                _ => return Err(bad_chunk(variable, "chunks of different dtypes")),
            }
        };
    }
    copy!(Float16 BFloat16 Float32 Float64 Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Complex64 Complex128 Bitmask);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ChunkGrid;
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
