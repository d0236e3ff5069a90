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
//!
//! ```text
//! plan: parts of chunks, what of each is wanted -> read in turn, or by threads -> moved to where they belong
//! ```
//! Cells that lie in mapped files just as they are asked for needn't be read at all: they are lent ([`lend`]).
//!
//! Decoding is what takes long, so threads decode parts apart and move them one at a time. How many threads there are is
//! a matter of how much there is to decode ([`Variable::decoding`]).

mod lend;
mod places;
mod plan;
mod threads;

pub use lend::{Lent, lend, lends};

use super::Variable;
use super::read::{ReadOptions, ReadStats, Reader, bad_chunk};
use crate::Result;
use crate::codec::{Complex, Values};
use crate::tensor::{DimSelection, Selection};
use arrow::buffer::BooleanBuffer;
use half::{bf16, f16};
use plan::Plan;
use std::num::NonZero;

/// Cells that are decoded in about the time that it takes to begin a run.
const RUN_CELLS: usize = 32;

/// Bytes of decoding below which another thread isn't worth its start, for slabs and for whoever else shares out chunks.
pub const THREAD_BYTES: u64 = 1 << 20;

/// Cells of a slab, C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// One value for each cell; of a missing one it means nothing.
    pub values: Values,
    /// Which cells aren't in holes; `None` if none is.
    pub valid: Option<Vec<bool>>,
}

/// A slab that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Slab {
    /// Its cells.
    pub cells: Cells,
    /// What reading them took.
    pub stats: ReadStats,
}

/// Reads the cells of the product of `dims` in C order, on up to `threads` threads; `None` if `stop` says that nobody
/// wants them any more, which is asked before each chunk.
///
/// # Errors
/// As [`Reader::visit_part`], of the first chunk that has one; [`Error::Io`](crate::Error::Io) if a file isn't what it was
/// when the dataset was opened.
pub fn read(
    variable: &Variable,
    dims: &[DimSelection],
    options: &ReadOptions,
    threads: NonZero<usize>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Slab>> {
    let selection = Selection::product(dims.to_vec());
    let touched = variable.grid.parts(&selection);
    variable.chunks.unchanged(touched.numbers(0..u64::MAX).map(|place| place.chunk))?;
    let mut reader = Reader::new(*options);
    let cells = reader.share_slab(variable, &selection, None, threads, stop)?;
    Ok(cells.map(|cells| Slab { cells, stats: std::mem::take(reader.stats_mut()) }))
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
        let cells = Plan::new(variable, selection, keep).read(self, &|| false)?;
        cells.ok_or_else(|| bad_chunk(variable, "a slab was given up that nobody stopped"))
    }

    /// As [`Reader::read_slab`], on up to `threads` threads, this one among them, if there is enough to decode for so
    /// many; `None` if `stop` says that nobody wants the cells any more, which is asked before each chunk.
    ///
    /// # Errors
    /// As [`Reader::visit_part`], of the first chunk that has one.
    pub fn share_slab(
        &mut self,
        variable: &Variable,
        selection: &Selection,
        keep: Option<&BooleanBuffer>,
        threads: NonZero<usize>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Cells>> {
        if stop() {
            return Ok(None);
        }
        let plan = Plan::new(variable, selection, keep);
        match plan.worth(threads) {
            1 => plan.read(self, stop),
            threads => threads::read(&plan, self, threads, stop),
        }
    }
}

impl Cells {
    /// The values, with NaN where cells are missing.
    ///
    /// # Errors
    /// The cells as they were, where some are missing and the dtype has no NaN.
    pub fn with_nan(self) -> Result<Values, Self> {
        let Self { mut values, valid: Some(valid) } = self else { return Ok(self.values) };
        fn fill<T: Copy>(values: &mut [T], valid: &[bool], nan: T) {
            values.iter_mut().zip(valid).filter(|(_, valid)| !**valid).for_each(|(value, _)| *value = nan);
        }
        match &mut values {
            Values::Float16(v) => fill(v, &valid, f16::NAN),
            Values::BFloat16(v) => fill(v, &valid, bf16::NAN),
            Values::Float32(v) => fill(v, &valid, f32::NAN),
            Values::Float64(v) => fill(v, &valid, f64::NAN),
            Values::Complex64(v) => fill(v, &valid, Complex { re: f32::NAN, im: f32::NAN }),
            Values::Complex128(v) => fill(v, &valid, Complex { re: f64::NAN, im: f64::NAN }),
            _ => return Err(Self { values, valid: Some(valid) }),
        }
        Ok(values)
    }

    /// Which cells aren't missing, and aren't NaN if that counts as missing; `None` if that is all of them.
    pub fn validity(&self, nan_as_missing: bool) -> Option<BooleanBuffer> {
        let valid = |at: usize| self.valid.as_ref().is_none_or(|valid| valid[at]);
        macro_rules! numbers {
            ($values:expr) => {{
                let none = self.valid.is_none() && !$values.iter().any(|value| value.is_nan());
                (!none).then(|| {
                    BooleanBuffer::collect_bool($values.len(), |at| valid(at) && !$values[at].is_nan())
                })
            }};
        }
        match &self.values {
            Values::Float16(v) if nan_as_missing => numbers!(v),
            Values::BFloat16(v) if nan_as_missing => numbers!(v),
            Values::Float32(v) if nan_as_missing => numbers!(v),
            Values::Float64(v) if nan_as_missing => numbers!(v),
            _ => self.valid.as_ref().map(|valid| BooleanBuffer::from(valid.as_slice())),
        }
    }
}
