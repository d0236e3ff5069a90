//! A slab on several threads.
//!
//! ```text
//! parts of chunks -> a reader for each thread -> pieces -> moved to where they belong in the slab
//! ```
//! Parts are decoded apart and moved one at a time: decoding is what takes long. A single thread, or a single part,
//! decodes straight into the slab.

use super::{Cells, Move, Place, move_cells, without};
use crate::dataset::Variable;
use crate::dataset::read::{ReadOptions, ReadStats, Reader, empty};
use crate::tensor::{DimSelection, Part, Selection};
use crate::{Error, Result, each_dtype};
use arrow::buffer::BooleanBuffer;
use half::{bf16, f16};
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::codec::{Complex, Values};

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
/// As [`Reader::visit_part`], of the first chunk that has one; [`Error::Io`] if a file isn't what it was when the
/// dataset was opened.
pub fn read(
    variable: &Variable,
    dims: &[DimSelection],
    options: &ReadOptions,
    threads: NonZero<usize>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Slab>> {
    let selection = Selection::product(dims.to_vec());
    let parts: Vec<Part> = variable.grid.parts(&selection).iter().collect();
    variable.chunks.unchanged(parts.iter().map(|part| part.chunk))?;
    if stop() {
        return Ok(None);
    }
    if parts.len() < 2 || threads.get() < 2 {
        let mut reader = Reader::new(*options);
        let cells = reader.read_slab(variable, &selection, None)?;
        return Ok(Some(Slab { cells, stats: std::mem::take(reader.stats_mut()) }));
    }
    Reader::new(*options).announce(variable, parts.iter());
    let work = Work::new(variable, dims, &parts);
    thread::scope(|scope| {
        for _ in 0..threads.get().min(parts.len()) {
            scope.spawn(|| work.run(*options, stop));
        }
    });
    work.finish(stop)
}

/// Parts that threads take one after the other.
struct Work<'a> {
    variable: &'a Variable,
    dims: &'a [DimSelection],
    shape: Vec<usize>,
    parts: &'a [Part],
    next: AtomicUsize,
    done: Mutex<Done>,
}

struct Done {
    values: Values,
    holes: Vec<Range<usize>>,
    stats: ReadStats,
    /// The first part that failed.
    failed: Option<(usize, Error)>,
}

impl<'a> Work<'a> {
    fn new(variable: &'a Variable, dims: &'a [DimSelection], parts: &'a [Part]) -> Self {
        let shape: Vec<usize> = dims.iter().map(|dim| dim.len() as usize).collect();
        let mut values = empty(variable, 0);
        let cells = shape.iter().product();
        each_dtype!(Values, &mut values, v => v.resize(cells, Default::default()));
        let done = Done { values, holes: Vec::new(), stats: ReadStats::default(), failed: None };
        Self { variable, dims, shape, parts, next: AtomicUsize::new(0), done: Mutex::new(done) }
    }

    fn run(&self, options: ReadOptions, stop: &(dyn Fn() -> bool + Sync)) {
        let mut reader = Reader::new(options);
        let mut piece = reader.buffer(self.variable);
        while !stop() {
            let number = self.next.fetch_add(1, Relaxed);
            let Some(part) = self.parts.get(number) else { break };
            let moves: Vec<Move> = Place::new(part, self.dims, &self.shape).rows().collect();
            let read = reader.read_part_into(self.variable, part, &mut piece);
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            let placed = match read {
                Ok(true) => move_cells(self.variable, &piece, &mut done.values, &moves),
                Ok(false) => {
                    done.holes.extend(moves.iter().map(Move::target));
                    Ok(())
                }
                Err(e) => Err(e),
            };
            if let Err(e) = placed {
                if done.failed.as_ref().is_none_or(|(before, _)| number < *before) {
                    done.failed = Some((number, e));
                }
                // what was taken before is finished: an error of an earlier part goes first
                self.next.store(self.parts.len(), Relaxed);
            }
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.stats.add(reader.stats_mut());
    }

    fn finish(self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Option<Slab>> {
        let Done { values, holes, stats, failed } =
            self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failed {
            Some((_, e)) => Err(e),
            None if stop() => Ok(None),
            None => {
                let valid = without(values.len(), &holes);
                Ok(Some(Slab { cells: Cells { values, valid }, stats }))
            }
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
