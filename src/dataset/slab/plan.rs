//! What is read of each chunk of a slab, and where it goes.

use super::places::{Move, Place, Ranks, elements, is_sparse};
use super::{Cells, THREAD_BYTES};
use crate::codec::Values;
use crate::dataset::Variable;
use crate::dataset::read::{Reader, bad_chunk, empty};
use crate::tensor::{DimSelection, Part, Selection};
use crate::{Result, each_dtype};
use arrow::buffer::BooleanBuffer;
use std::num::NonZero;
use std::ops::Range;

/// The parts of a slab.
pub(super) struct Plan<'a> {
    variable: &'a Variable,
    dims: &'a [DimSelection],
    /// Cells along each dim.
    shape: Vec<usize>,
    parts: Vec<Part>,
    wanted: Wanted<'a>,
}

/// What of the parts is wanted.
enum Wanted<'a> {
    /// For each part, whether it is read.
    Parts(Vec<bool>),
    /// The cells that are kept.
    Kept(Ranks<'a>),
}

/// What became of a part.
pub(super) struct Placed {
    /// From the values that were read to the cells.
    moves: Vec<Move>,
    /// Whether there are values; else the cells are missing.
    read: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        variable: &'a Variable,
        selection: &'a Selection,
        keep: Option<&'a BooleanBuffer>,
    ) -> Self {
        let dims = &selection.dims;
        let shape: Vec<usize> = dims.iter().map(|dim| dim.len() as usize).collect();
        let product = variable.grid.parts(&Selection::product(dims.clone()));
        let parts: Vec<Part> = product.iter().collect();
        let wanted = match keep {
            Some(keep) => Wanted::Kept(Ranks::new(keep, shape.last().copied().unwrap_or(1))),
            None => {
                // the same slots, so the same places
                let masked = variable.grid.parts(selection);
                Wanted::Parts(masked.numbers(0..u64::MAX).map(|place| place.kept > 0).collect())
            }
        };
        Self { variable, dims, shape, parts, wanted }
    }

    /// Number of parts.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Number of cells.
    pub(super) fn cells(&self) -> usize {
        match &self.wanted {
            Wanted::Parts(_) => self.shape.iter().product(),
            Wanted::Kept(ranks) => ranks.kept,
        }
    }

    /// Room for the cells.
    pub(super) fn room(&self) -> Values {
        let mut values = empty(self.variable, 0);
        each_dtype!(Values, &mut values, v => v.resize(self.cells(), Default::default()));
        values
    }

    /// An empty piece.
    pub(super) fn buffer(&self, reader: &Reader) -> Values {
        reader.buffer(self.variable)
    }

    /// How many of `threads` it gives enough to do, at least one.
    pub(super) fn worth(&self, threads: NonZero<usize>) -> usize {
        let most = threads.get().min(self.parts.len()).max(1);
        if most == 1 {
            return 1;
        }
        let bytes = self.parts.iter().enumerate().map(|(number, part)| match &self.wanted {
            Wanted::Parts(wanted) if !wanted[number] => 0,
            Wanted::Parts(_) => self.variable.decoding(part.chunk, part.len()),
            Wanted::Kept(ranks) => self.variable.decoding(part.chunk, part.len().min(ranks.kept as u64)),
        });
        let bytes = bytes.fold(0, u64::saturating_add);
        most.min((bytes / THREAD_BYTES) as usize).max(1)
    }

    /// Has parts fetched together that have to be fetched.
    pub(super) fn announce(&self, reader: &Reader) {
        let Wanted::Parts(wanted) = &self.wanted else { return };
        let threshold = reader.options().range_threshold;
        for (part, _) in self.parts.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
            self.variable.announce(part, threshold);
        }
    }

    /// Reads one part into `piece`.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub(super) fn read_part(&self, number: usize, reader: &mut Reader, piece: &mut Values) -> Result<Placed> {
        let part = &self.parts[number];
        let place = Place::new(part, self.dims, &self.shape);
        let ranks = match &self.wanted {
            Wanted::Parts(wanted) => {
                let read = wanted[number] && reader.read_part_into(self.variable, part, piece)?;
                return Ok(Placed { moves: place.rows().collect(), read });
            }
            Wanted::Kept(ranks) => ranks,
        };
        let mut moves = ranks.moves(&place);
        let read = if moves.is_empty() {
            false
        } else if is_sparse(&moves, part) {
            let wanted = elements(&moves, &place, part);
            let mut next = 0;
            for step in &mut moves {
                step.from = next;
                next += step.count;
            }
            reader.read_elements_into(self.variable, part.chunk, &wanted, piece)?
        } else {
            reader.read_part_into(self.variable, part, piece)?
        };
        Ok(Placed { moves, read })
    }

    /// Puts what was read of a part where it belongs.
    ///
    /// # Errors
    /// [`Error::Grid`](crate::Error::Grid) if it isn't of the variable.
    pub(super) fn place(
        &self,
        placed: &Placed,
        piece: &Values,
        cells: &mut Values,
        holes: &mut Vec<Range<usize>>,
    ) -> Result<()> {
        if placed.read {
            return self.move_cells(piece, cells, &placed.moves);
        }
        holes.extend(placed.moves.iter().map(Move::target));
        Ok(())
    }

    /// Reads one part after the other; `None` if `stop` says so.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub(super) fn read(&self, reader: &mut Reader, stop: &dyn Fn() -> bool) -> Result<Option<Cells>> {
        self.announce(reader);
        let mut holes = Vec::new();
        if let Wanted::Parts(wanted) = &self.wanted
            && self.parts.iter().all(|part| Place::new(part, self.dims, &self.shape).is_run())
        {
            return self.append(reader, wanted, stop);
        }
        let mut values = self.room();
        let mut piece = reader.buffer(self.variable);
        for number in 0..self.parts.len() {
            if stop() {
                return Ok(None);
            }
            let placed = self.read_part(number, reader, &mut piece)?;
            self.place(&placed, &piece, &mut values, &mut holes)?;
        }
        Ok(Some(Cells { values, valid: without(self.cells(), &holes) }))
    }

    /// Decodes one part after the other straight to where it belongs: behind the one before.
    fn append(&self, reader: &mut Reader, wanted: &[bool], stop: &dyn Fn() -> bool) -> Result<Option<Cells>> {
        let mut values = empty(self.variable, self.cells() as u64);
        let mut holes = Vec::new();
        for (part, &wanted) in self.parts.iter().zip(wanted) {
            if stop() {
                return Ok(None);
            }
            let from = values.len();
            if !wanted || !reader.append_part(self.variable, part, &mut values)? {
                let end = from + part.len() as usize;
                each_dtype!(Values, &mut values, v => v.resize(end, Default::default()));
                holes.push(from..end);
            }
        }
        Ok(Some(Cells { values, valid: without(self.cells(), &holes) }))
    }

    fn move_cells(&self, from: &Values, to: &mut Values, moves: &[Move]) -> Result<()> {
        macro_rules! copy {
            ($($dtype:ident)*) => {
                match (from, to) {
                    $((Values::$dtype(from), Values::$dtype(to)) => {
                        for step in moves {
                            to[step.target()].copy_from_slice(&from[step.from..step.from + step.count]);
                        }
                    })*
                    _ => return Err(bad_chunk(self.variable, "chunks of different dtypes")),
                }
            };
        }
        copy!(Float16 BFloat16 Float32 Float64 Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Complex64 Complex128 Bitmask);
        Ok(())
    }
}

/// Which of `cells` are in none of the `holes`; `None` if there are no holes.
pub(super) fn without(cells: usize, holes: &[Range<usize>]) -> Option<Vec<bool>> {
    if holes.is_empty() {
        return None;
    }
    let mut valid = vec![true; cells];
    holes.iter().for_each(|hole| valid[hole.clone()].fill(false));
    Some(valid)
}
