//! Reading the cells of one variable: a part at a time, holes included.
//!
//! Rows and grid aggregates read through the same [`Reader`], so what is missing, what is verified and what
//! an error says is decided here once: [`Reader::visit_part`] streams blocks as they are decoded,
//! [`Reader::read_part`] gathers them, [`Reader::read_slab`] (in [`super::slab`]) puts the parts of several chunks together.

use super::{Chunk, Variable};
use crate::codec::{Block, DecodeStats, ElementRange, Piece, Region, Scratch, Values, Verify};
use crate::source::Bytes;
use crate::tensor::Part;
use crate::tgm;
use crate::{Error, Result, each_dtype};
use std::sync::Arc;

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
    /// When reductions of whole chunks note their statistics.
    pub collect: Collect,
}

/// When a reduction of a whole chunk notes the chunk's statistics in [`Variable::stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Collect {
    /// Never.
    Off,
    /// Where the reduction computes all of them anyway.
    #[default]
    Auto,
    /// Always.
    On,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { range_threshold: 0.5, nan_as_missing: true, verify: Verify::Off, collect: Collect::Auto }
    }
}

/// What reading did, summed over parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Chunks of which at least one element was decoded.
    pub chunks_decoded: u64,
    /// Chunks handed over as one value each, or a few: nothing of them was decoded.
    pub chunks_constant: u64,
    /// Chunks of which elements were handed over as packed integers.
    pub chunks_packed: u64,
    /// Objects whose bytes were asked for.
    pub objects_opened: u64,
    /// What the codecs did.
    pub decode: DecodeStats,
}

impl ReadStats {
    /// Adds what `other` did.
    pub fn add(&mut self, other: &Self) {
        self.chunks_decoded += other.chunks_decoded;
        self.chunks_constant += other.chunks_constant;
        self.chunks_packed += other.chunks_packed;
        self.objects_opened += other.objects_opened;
        self.decode.add(&other.decode);
    }
}

/// Reads parts of variables, one worker's worth: buffers are reused from part to part.
#[derive(Debug, Default)]
pub struct Reader {
    scratch: Scratch,
    stats: ReadStats,
    options: ReadOptions,
    ranges: Vec<ElementRange>,
}

/// What receives the cells of a part.
enum Sink<'s> {
    Blocks(&'s mut dyn FnMut(u64, Block<'_>) -> Result<()>),
    Pieces(&'s mut dyn FnMut(u64, Piece<'_>) -> Result<()>),
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

    /// Bytes of the buffers that it holds.
    pub fn memory(&self) -> usize {
        self.scratch.capacity() + self.ranges.capacity() * size_of::<ElementRange>()
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
        self.ranges.clear();
        self.ranges.extend(part.runs());
        self.visit_ranges(variable, part.chunk, Sink::Blocks(sink))
    }

    /// As [`Reader::visit_part`], for a sink that takes cells in whichever form costs least.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn visit_pieces(
        &mut self,
        variable: &Variable,
        part: &Part,
        sink: &mut dyn FnMut(u64, Piece<'_>) -> Result<()>,
    ) -> Result<bool> {
        self.ranges.clear();
        self.ranges.extend(part.runs());
        self.visit_ranges(variable, part.chunk, Sink::Pieces(sink))
    }

    /// As [`Reader::visit_part`], of the elements of `chunk` in `self.ranges`.
    fn visit_ranges(&mut self, variable: &Variable, chunk: u64, sink: Sink<'_>) -> Result<bool> {
        let index = chunk;
        let Some(chunk) = chunk_of(variable, index)? else { return Ok(false) };
        let pipeline = chunk.pipeline()?;
        if pipeline.dtype() != variable.dtype {
            return Err(bad_chunk(variable, format!("{} in a grid of {}", pipeline.dtype(), variable.dtype)));
        }
        if self.ranges.is_empty() {
            return Ok(true);
        }
        let wanted: u64 = self.ranges.iter().map(|range| range.count).sum();
        let whole = pipeline.decodes_whole(wanted, self.options.range_threshold);
        verify(variable, index, &chunk, whole, self.options.verify)?;
        let mut lent = Bytes::new();
        let region = Region::of(chunk.source.as_ref(), chunk.object.region.clone(), &mut lent)?;
        self.stats.objects_opened += 1;
        let mut stats = DecodeStats::default();
        let threshold = self.options.range_threshold;
        let (ranges, scratch) = (&self.ranges, &mut self.scratch);
        let decoded = match sink {
            Sink::Blocks(sink) => pipeline.visit(region, ranges, threshold, scratch, &mut stats, sink),
            Sink::Pieces(sink) => pipeline.visit_pieces(region, ranges, threshold, scratch, &mut stats, sink),
        };
        match stats.elements_constant == wanted {
            true => self.stats.chunks_constant += 1,
            false => self.stats.chunks_decoded += 1,
        }
        self.stats.chunks_packed += u64::from(stats.elements_packed > 0);
        self.stats.decode.add(&stats);
        decoded?;
        let (what, bytes) = (if whole { "full" } else { "partial" }, stats.bytes_read);
        let len = pipeline.len();
        tracing::debug!("{}: {what} read: {wanted} of {len} elements, {bytes} bytes", chunk.object.place);
        if let [first, .., last] | [first @ last] = self.ranges.as_slice() {
            let bytes = chunk.bytes_of(first.start..last.start + last.count);
            match 2 * stats.bytes_copied > stats.bytes_read {
                true => chunk.source.copied(bytes),
                false => chunk.source.done_with(bytes),
            }
        }
        Ok(true)
    }

    /// The kept cells of `part` in C order, densely; `None` if the chunk is a hole.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_part(&mut self, variable: &Variable, part: &Part) -> Result<Option<Values>> {
        let mut values = empty(variable, part.len());
        Ok(self.append_part(variable, part, &mut values)?.then_some(values))
    }

    /// As [`Reader::read_part`], in place of what is in `values`, of the variable's dtype; `false`, with nothing
    /// in it, if the chunk is a hole.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_part_into(&mut self, variable: &Variable, part: &Part, values: &mut Values) -> Result<bool> {
        each_dtype!(Values, &mut *values, values => values.clear());
        self.append_part(variable, part, values)
    }

    /// No values of `variable` yet, for [`Reader::read_part_into`].
    pub fn buffer(&self, variable: &Variable) -> Values {
        empty(variable, 0)
    }

    /// Appends the kept cells of `part` to `values`; `false` if the chunk is a hole.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub(super) fn append_part(
        &mut self,
        variable: &Variable,
        part: &Part,
        values: &mut Values,
    ) -> Result<bool> {
        self.ranges.clear();
        self.ranges.extend(part.runs());
        self.append_ranges(variable, part.chunk, values)
    }

    /// As [`Reader::read_part_into`], of the elements of `chunk` in `ranges`, which ascend.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub(super) fn read_elements_into(
        &mut self,
        variable: &Variable,
        chunk: u64,
        ranges: &[ElementRange],
        values: &mut Values,
    ) -> Result<bool> {
        each_dtype!(Values, &mut *values, values => values.clear());
        self.ranges.clear();
        self.ranges.extend_from_slice(ranges);
        self.append_ranges(variable, chunk, values)
    }

    /// Appends the elements of `chunk` in `self.ranges`.
    fn append_ranges(&mut self, variable: &Variable, chunk: u64, values: &mut Values) -> Result<bool> {
        let wanted = self.ranges.iter().map(|range| range.count).sum::<u64>();
        let before = values.len();
        let read = self.visit_ranges(
            variable,
            chunk,
            Sink::Blocks(&mut |_, block| {
                if values.extend(block) {
                    Ok(())
                } else {
                    Err(bad_chunk(variable, "blocks of another dtype"))
                }
            }),
        )?;
        let got = (values.len() - before) as u64;
        if read && got != wanted {
            return Err(bad_chunk(variable, format!("{got} elements decoded where {wanted} were asked for")));
        }
        Ok(read)
    }
}

/// Checks the hash of `chunk`, if `verify` asks for it where the chunk is read as a `whole`, or isn't.
///
/// # Errors
/// [`Error::HashMismatch`], [`Error::MissingHash`], [`Error::Io`].
pub(super) fn verify(
    variable: &Variable,
    index: u64,
    chunk: &Chunk,
    whole: bool,
    verify: Verify,
) -> Result<()> {
    match verify {
        Verify::Off => Ok(()),
        Verify::FullDecodes if !whole => Ok(()),
        Verify::FullDecodes => tgm::verify(&chunk.object, chunk.source.as_ref()),
        Verify::Always => variable.chunks.verify_once(index, chunk),
    }
}

fn chunk_of(variable: &Variable, chunk: u64) -> Result<Option<Arc<Chunk>>> {
    if chunk >= variable.chunks.len() as u64 {
        return Err(bad_chunk(variable, format!("no chunk {chunk}")));
    }
    Ok(variable.chunks.get(chunk))
}

pub(super) fn bad_chunk(variable: &Variable, what: impl Into<String>) -> Error {
    Error::Grid { name: variable.name.clone(), what: what.into() }
}

/// No values yet, room for `cells` (but for no more than a first 64 MiB: what comes decides the rest).
pub(super) fn empty(variable: &Variable, cells: u64) -> Values {
    let room = (64 << 20) / variable.dtype.width().unwrap_or(1).max(1) as u64;
    Values::with_capacity(variable.dtype, room.min(cells) as usize)
}

impl Variable {
    /// Says to the file of `part`'s chunk what reading the part looks at, if that has to be fetched. Returns how many
    /// bytes that are at most; 0 for a hole, and for files that are at hand.
    pub fn announce(&self, part: &Part, range_threshold: f64) -> u64 {
        if self.chunks.is_at_hand(part.chunk) {
            return 0;
        }
        let Some(chunk) = self.chunks.get(part.chunk) else { return 0 };
        let Ok(pipeline) = &chunk.pipeline else { return 0 };
        let ranges: Vec<ElementRange> = part.runs().collect();
        let region = &chunk.object.region;
        let whole = || std::iter::once(0..region.end - region.start).collect();
        let spans = pipeline.spans(&ranges, range_threshold, chunk.source.round_trip());
        let spans = spans.unwrap_or_else(whole);
        spans.iter().for_each(|span| {
            chunk.source.will_need(region.start + span.start..region.start + span.end);
        });
        spans.iter().map(|span| span.end - span.start).sum()
    }

    /// Bytes that are held of files that have to be fetched, by one who reads chunk after chunk and announces `ahead`
    /// bytes: about, for encoded chunks are taken to be as large as decoded ones.
    pub fn fetched(&self, ahead: u64) -> u64 {
        if self.chunks.all_at_hand() {
            return 0;
        }
        let width = self.dtype.width().unwrap_or(1) as u64;
        let bytes = |shape: &[u64]| shape.iter().fold(width, |bytes, &len| bytes.saturating_mul(len));
        bytes(self.grid.shape()).min(bytes(self.grid.chunk_shape()).saturating_add(ahead))
    }

    /// Bytes that reading `wanted` elements of `chunk` decodes, about; 0 for a hole.
    pub fn decoding(&self, chunk: u64, wanted: u64) -> u64 {
        let elements = match self.chunks.facts(chunk) {
            Some(facts) if wanted > 0 => wanted.max(facts.grain),
            _ => 0,
        };
        elements.saturating_mul(self.dtype.width().unwrap_or(1) as u64)
    }

    /// Whether all its chunks can be read a range at a time, and `cells` of one are so few of it that this pays.
    pub fn seeks(&self, cells: u64, range_threshold: f64) -> bool {
        self.chunks.kinds().all(|(len, kind)| kind.seeks && cells as f64 <= range_threshold * len as f64)
    }

    /// Whether its cells lie in files at hand, each by itself, so that reading some of a chunk costs nothing but these.
    pub fn is_flat(&self) -> bool {
        self.chunks.all_at_hand() && self.chunks.kinds().all(|(_, kind)| kind.seeks && kind.grain == 1)
    }
}
