//! Reading the cells of one variable: a part at a time, holes included.
//!
//! Rows and grid aggregates read through the same [`Reader`], so what is missing, what is verified and what
//! an error says is decided here once: [`Reader::visit_part`] streams blocks as they are decoded,
//! [`Reader::read_part`] gathers them, [`Reader::read_slab`] puts the parts of several chunks together.

use super::{Chunk, Variable};
use crate::codec::{Block, DecodeStats, ElementRange, Scratch, Values, Verify};
use crate::tensor::{DimSelection, Part, Selection};
use crate::tgm;
use crate::{Error, Result, each_dtype};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How cells are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadOptions {
    /// Largest share of an object's elements that is read by range decoding, 0 to 1.
    pub range_threshold: f64,
    /// Whether NaN of float data counts as missing. The reader hands NaN over as it is: whoever makes cells of
    /// values, or reduces them, applies this.
    pub nan_as_missing: bool,
    /// When stored hashes are checked.
    pub verify: Verify,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { range_threshold: 0.5, nan_as_missing: true, verify: Verify::Off }
    }
}

/// What reading did, summed over parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Chunks of which at least one element was decoded.
    pub chunks_decoded: u64,
    /// Objects whose bytes were asked for.
    pub objects_opened: u64,
    /// Time spent in reading bytes.
    pub read_time: Duration,
    /// What the codecs did.
    pub decode: DecodeStats,
}

/// Cells of a slab in C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// One value for each cell; of a missing one it means nothing.
    pub values: Values,
    /// Which cells aren't in holes; `None` if none is.
    pub valid: Option<Vec<bool>>,
}

/// Reads parts of variables, one worker's worth: buffers are reused from part to part.
#[derive(Debug, Default)]
pub struct Reader {
    scratch: Scratch,
    stats: ReadStats,
    options: ReadOptions,
    ranges: Vec<ElementRange>,
}

impl Reader {
    /// A reader with empty buffers.
    pub fn new(options: ReadOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// How it reads.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// What was done since it was last taken.
    pub fn stats_mut(&mut self) -> &mut ReadStats {
        &mut self.stats
    }

    /// Decodes the kept cells of `part` and hands them to `sink` in C order, block by block, each with the
    /// flat position of its first element in the chunk. Returns `false`, with nothing handed over, if the
    /// chunk is a hole: all its cells are missing.
    ///
    /// # Errors
    /// Those of the source and the codecs, with file, message and object; [`Error::HashMismatch`] and
    /// [`Error::MissingHash`] where hashes are checked; [`Error::Grid`] if the chunk isn't of the variable;
    /// or whatever `sink` returns.
    pub fn visit_part(
        &mut self,
        variable: &Variable,
        part: &Part,
        sink: &mut dyn FnMut(u64, Block<'_>) -> Result<()>,
    ) -> Result<bool> {
        let Some(chunk) = chunk_of(variable, part)? else { return Ok(false) };
        let pipeline = chunk.pipeline()?;
        if pipeline.dtype() != variable.dtype {
            return Err(bad_chunk(variable, format!("{} in a grid of {}", pipeline.dtype(), variable.dtype)));
        }
        self.ranges.clear();
        self.ranges.extend(part.runs());
        if self.ranges.is_empty() {
            return Ok(true);
        }
        let wanted = self.ranges.iter().map(|range| range.count).sum();
        let whole = pipeline.decodes_whole(wanted, self.options.range_threshold);
        if self.options.verify == Verify::FullDecodes && whole {
            tgm::verify(&chunk.object, chunk.source.as_ref())?;
        }
        let start = Instant::now();
        let region = chunk.source.read(chunk.object.region.clone())?;
        self.stats.read_time += start.elapsed();
        self.stats.objects_opened += 1;
        self.stats.chunks_decoded += 1;
        let threshold = self.options.range_threshold;
        let (scratch, stats) = (&mut self.scratch, &mut self.stats.decode);
        pipeline.visit(&region, &self.ranges, threshold, scratch, stats, sink)?;
        if let [first, .., last] | [first @ last] = self.ranges.as_slice() {
            chunk.source.done_with(chunk.bytes_of(first.start..last.start + last.count));
        }
        Ok(true)
    }

    /// The kept cells of `part` in C order, densely; `None` if the chunk is a hole.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_part(&mut self, variable: &Variable, part: &Part) -> Result<Option<Values>> {
        let mut values = empty(variable, part.len())?;
        Ok(self.read_part_into(variable, part, &mut values)?.then_some(values))
    }

    /// As [`Reader::read_part`], in place of what is in `values`, of the variable's dtype; `false`, with nothing
    /// in it, if the chunk is a hole.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_part_into(&mut self, variable: &Variable, part: &Part, values: &mut Values) -> Result<bool> {
        each_dtype!(Values, &mut *values, values => values.clear());
        let read = self.visit_part(variable, part, &mut |_, block| {
            if values.extend(block) { Ok(()) } else { Err(bad_chunk(variable, "blocks of another dtype")) }
        })?;
        if read && values.len() as u64 != part.len() {
            let what = format!("{} elements decoded where {} were asked for", values.len(), part.len());
            return Err(bad_chunk(variable, what));
        }
        Ok(read)
    }

    /// No values of `variable` yet, for [`Reader::read_part_into`].
    ///
    /// # Errors
    /// If cells of its dtype can't be read.
    pub fn buffer(&self, variable: &Variable) -> Result<Values> {
        empty(variable, 0)
    }

    /// The cells of the product of `selection`'s dims in C order, put together from every chunk that they
    /// touch. Masks don't thin the result: where they leave nothing of a chunk, it isn't read, and its cells
    /// count as missing.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_slab(&mut self, variable: &Variable, selection: &Selection) -> Result<Cells> {
        let product = Selection::product(selection.dims.clone());
        let whole = variable.grid.parts(&product);
        // The same slots, so the same places.
        let masked = variable.grid.parts(selection);
        let kept = masked.numbers(0..u64::MAX).map(|place| place.kept > 0);
        let parts = whole.iter().zip(kept).filter_map(|(part, kept)| kept.then_some(part));
        let parts: Vec<Part> = parts.collect();
        let cells = product.len();
        if let [part] = parts.as_slice()
            && part.len() == cells
            && let Some(values) = self.read_part(variable, part)?
        {
            return Ok(Cells { values, valid: None });
        }
        self.assemble(variable, &selection.dims, &parts, cells)
    }

    /// Puts `parts` together in a slab of `dims`.
    fn assemble(
        &mut self,
        variable: &Variable,
        dims: &[DimSelection],
        parts: &[Part],
        cells: u64,
    ) -> Result<Cells> {
        let shape: Vec<usize> = dims.iter().map(|dim| dim.len() as usize).collect();
        let mut values = empty(variable, cells)?;
        each_dtype!(Values, &mut values, v => v.resize(cells as usize, Default::default()));
        let mut valid = vec![false; cells as usize];
        for part in parts {
            let from: Vec<usize> = dims
                .iter()
                .zip(&part.origin)
                .map(|(dim, &origin)| dim.within(0..origin).len() as usize)
                .collect();
            let extent: Vec<usize> = part.within.iter().map(|dim| dim.len() as usize).collect();
            if let Some(piece) = self.read_part(variable, part)? {
                if !place(&mut values, &piece, &shape, &from, &extent) {
                    return Err(bad_chunk(variable, "chunks of different dtypes"));
                }
                for_rows(&shape, &from, &extent, |at, _, count| valid[at..at + count].fill(true));
            }
        }
        let whole = valid.iter().all(|&valid| valid);
        Ok(Cells { values, valid: (!whole).then_some(valid) })
    }
}

fn chunk_of(variable: &Variable, part: &Part) -> Result<Option<Arc<Chunk>>> {
    if part.chunk >= variable.chunks.len() as u64 {
        return Err(bad_chunk(variable, format!("no chunk {}", part.chunk)));
    }
    Ok(variable.chunks.get(part.chunk))
}

fn bad_chunk(variable: &Variable, what: impl Into<String>) -> Error {
    Error::Grid { name: variable.name.clone(), what: what.into() }
}

/// No values yet, room for `cells` (but for no more than a first 64 MiB: what comes decides the rest).
fn empty(variable: &Variable, cells: u64) -> Result<Values> {
    let room = (64 << 20) / variable.dtype.width().unwrap_or(1).max(1) as u64;
    Values::with_capacity(variable.dtype, room.min(cells) as usize).ok_or_else(|| unreadable(variable))
}

fn unreadable(variable: &Variable) -> Error {
    let first = variable.chunks.iter().flatten().next();
    match first {
        Some(chunk) => Error::unsupported(&chunk.object.place, format!("dtype {}", variable.dtype)),
        None => bad_chunk(variable, format!("dtype {} is not supported yet", variable.dtype)),
    }
}

/// Calls `row(at, from, count)` for each innermost row of a box of `extent` at `offset` in a slab of `shape`:
/// `at` is its first cell in the slab, `from` in the box, both flat.
fn for_rows(shape: &[usize], offset: &[usize], extent: &[usize], mut row: impl FnMut(usize, usize, usize)) {
    let count = extent.last().copied().unwrap_or(1);
    let rows: usize = extent.iter().rev().skip(1).product();
    if count == 0 {
        return;
    }
    for number in 0..rows {
        let mut rest = number;
        let mut at = offset.last().copied().unwrap_or(0);
        let mut stride = shape.last().copied().unwrap_or(1);
        for dim in (0..extent.len().saturating_sub(1)).rev() {
            at += (offset[dim] + rest % extent[dim]) * stride;
            rest /= extent[dim];
            stride *= shape[dim];
        }
        row(at, number * count, count);
    }
}

/// Copies the box `piece` into a slab; `false` if the dtypes differ.
fn place(slab: &mut Values, piece: &Values, shape: &[usize], offset: &[usize], extent: &[usize]) -> bool {
    macro_rules! copy {
        ($($dtype:ident)*) => {
            match (slab, piece) {
                $((Values::$dtype(slab), Values::$dtype(piece)) => {
                    for_rows(shape, offset, extent, |at, from, count| {
                        slab[at..at + count].copy_from_slice(&piece[from..from + count]);
                    });
                })*
                _ => return false,
            }
        };
    }
    copy!(Float16 BFloat16 Float32 Float64 Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Bitmask);
    true
}

impl Variable {
    /// Whether all its chunks can be read a range at a time, and `cells` of one are so few of it that this pays.
    pub fn seeks(&self, cells: u64, range_threshold: f64) -> bool {
        self.chunks.kinds().all(|(len, seeks)| seeks && cells as f64 <= range_threshold * len as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_box() {
        let mut seen = Vec::new();
        for_rows(&[3, 4], &[1, 1], &[2, 3], |at, from, count| seen.push((at, from, count)));
        assert_eq!(seen, [(5, 0, 3), (9, 3, 3)]);
        seen.clear();
        for_rows(&[], &[], &[], |at, from, count| seen.push((at, from, count)));
        assert_eq!(seen, [(0, 0, 1)]);
        seen.clear();
        for_rows(&[2, 0], &[0, 0], &[2, 0], |at, from, count| seen.push((at, from, count)));
        assert_eq!(seen, []);
    }

    #[test]
    fn boxes_are_placed_by_dtype() {
        let mut slab = Values::Int16(vec![0; 6]);
        assert!(place(&mut slab, &Values::Int16(vec![1, 2]), &[2, 3], &[0, 2], &[2, 1]));
        assert_eq!(slab, Values::Int16(vec![0, 0, 1, 0, 0, 2]));
        assert!(!place(&mut slab, &Values::Int32(vec![1, 2]), &[2, 3], &[0, 2], &[2, 1]));
    }
}
