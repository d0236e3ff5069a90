//! Cells that lie in mapped files as the values that they are: lent, for those who pass them on without looking.
//!
//! ```text
//! slab, C order    a b c d e f g h
//! chunks           [a b c d] [e f g h]     each one run of the slab, stored without a codec, in native order
//! lent             file 1, 4 values; file 2, 4 values
//! ```

use super::places::Place;
use crate::Result;
use crate::codec::ElementRange;
use crate::dataset::read::{ReadOptions, ReadStats, verify};
use crate::dataset::{Chunk, Variable};
use crate::source::{Bytes, Source};
use crate::tensor::{DimSelection, Part, Selection};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a run, on average, below which copying runs into one buffer is cheaper than handing them on one by one.
const RUN_BYTES: u64 = 64 << 10;

/// Cells of a slab where they are stored.
#[derive(Debug, Clone)]
pub struct Lent {
    /// The bytes of their values in C order, native byte order, in pieces. Their files are told when a piece isn't held
    /// any more.
    pub values: Vec<Bytes>,
    /// What reading them takes whoever looks at them.
    pub stats: ReadStats,
}

/// The cells of the product of `dims` in C order, if they lie in mapped files as they are asked for, in runs that are
/// worth it; no cell of such a slab is in a hole or masked.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if a file isn't what it was when the dataset was opened;
/// [`Error::HashMismatch`](crate::Error::HashMismatch) and [`Error::MissingHash`](crate::Error::MissingHash) where hashes
/// are checked.
pub fn lend(variable: &Variable, dims: &[DimSelection], options: &ReadOptions) -> Result<Option<Lent>> {
    let Some(runs) = runs(variable, dims) else { return Ok(None) };
    variable.chunks.unchanged(runs.iter().map(|run| run.index))?;
    let mut lent = Lent { values: Vec::with_capacity(runs.len()), stats: ReadStats::default() };
    for Run { index, chunk, elements, stored } in runs {
        let whole = elements.count == chunk.pipeline()?.len();
        verify(variable, index, &chunk, whole, options.verify)?;
        let bytes = chunk.source.read(stored.clone())?;
        let decode = &mut lent.stats.decode;
        decode.bytes_read += bytes.len() as u64;
        decode.bytes_decoded += bytes.len() as u64;
        *(if whole { &mut decode.full_decodes } else { &mut decode.ranges_decoded }) += 1;
        lent.stats.objects_opened += 1;
        lent.stats.chunks_decoded += 1;
        let passing = Passing { bytes, source: Arc::clone(&chunk.source), stored };
        lent.values.push(Bytes::from_owner(passing));
    }
    Ok(Some(lent))
}

/// Whether [`lend`] lends these cells.
pub fn lends(variable: &Variable, dims: &[DimSelection]) -> bool {
    runs(variable, dims).is_some()
}

/// Cells of a chunk that follow each other, in the chunk and in the slab.
struct Run {
    index: u64,
    chunk: Arc<Chunk>,
    elements: ElementRange,
    /// Where they are in the file.
    stored: Range<u64>,
}

/// What the slab is made of; `None` if something has to be done to its cells.
fn runs(variable: &Variable, dims: &[DimSelection]) -> Option<Vec<Run>> {
    if !variable.is_flat() {
        return None;
    }
    let shape: Vec<usize> = dims.iter().map(|dim| dim.len() as usize).collect();
    let selection = Selection::product(dims.to_vec());
    let parts = variable.grid.parts(&selection);
    let cells = dims.iter().map(DimSelection::len).product::<u64>();
    let bytes = cells.saturating_mul(variable.dtype.width()? as u64);
    if bytes.checked_div(parts.places()).is_none_or(|run| run < RUN_BYTES) {
        return None;
    }
    let run = |part: Part| {
        let mut runs = part.runs();
        let elements = runs.next().filter(|_| runs.next().is_none())?;
        if !Place::new(&part, dims, &shape).is_run() {
            return None;
        }
        let chunk = variable.chunks.get(part.chunk)?;
        let pipeline = chunk.pipeline.as_ref().ok()?;
        let at = pipeline.values_at(elements.start..elements.start + elements.count)?;
        let start = chunk.object.region.start;
        let stored = start + at.start..start + at.end;
        let lent = chunk.source.lends() && pipeline.dtype() == variable.dtype;
        lent.then_some(Run { index: part.chunk, elements, stored, chunk })
    };
    parts.iter().map(run).collect()
}

/// What is lent of a file, which is told when it was let go.
struct Passing {
    bytes: Bytes,
    source: Arc<dyn Source>,
    stored: Range<u64>,
}

impl AsRef<[u8]> for Passing {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.source.done_with(self.stored.clone());
    }
}
