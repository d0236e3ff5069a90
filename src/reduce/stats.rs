//! Statistics of chunks and the states of aggregates: each made from the other.
//!
//! ```text
//! decoded blocks -> Accumulators of one group -> summary() -> ChunkStats -> dataset::VariableStats
//! VariableStats -> Answer::find(part, groups) -> Answer::add() -> Accumulators, with nothing decoded
//! ```

use super::accumulators::misfit;
use super::cell::Cell;
use super::state::{Partial, State};
use super::{Accumulators, GroupMap, NanPolicy, Wants, rows};
use crate::Result;
use crate::dataset::read::Reader;
use crate::dataset::stats::{ChunkStats, Number, Sum};
use crate::dataset::{GridTable, Variable};
use crate::tensor::{DimSelection, Part};
use crate::tgm::DType;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl Wants {
    /// Everything that statistics consist of.
    pub const ALL: Self = Self { sum: true, min: true, max: true, moments: true };
}

/// Decodes all of `chunk` (its position in the grid, C order) and says what is in it; `None` for a hole.
///
/// # Errors
/// As [`Reader::visit_pieces`]; [`crate::Error::Grid`] if there is no such chunk, or its dtype can't be reduced.
pub fn chunk_stats(reader: &mut Reader, variable: &Variable, chunk: u64) -> Result<Option<ChunkStats>> {
    let Some((origin, shape)) = variable.grid.chunk_extent(chunk) else {
        return Err(misfit(format!("no chunk {chunk} of `{}`", variable.name)));
    };
    let within = shape.iter().map(|&len| DimSelection::all(len)).collect();
    let part = Part { chunk, origin, shape, within, masks: Vec::new() };
    let mut states = Accumulators::try_new(variable.dtype, 1, Wants::ALL, NanPolicy::Null)?;
    let read = reader.visit_pieces(variable, &part, &mut |_, cells| states.add_run(0, cells, None))?;
    Ok(states.summary(part.len()).filter(|_| read))
}

/// The statistics of all cells of several chunks of `dtype`; `None` if it can't be reduced, or theirs are of
/// another.
pub fn joined(dtype: DType, chunks: impl Iterator<Item = ChunkStats>) -> Option<ChunkStats> {
    let mut states = Accumulators::try_new(dtype, 1, Wants::ALL, NanPolicy::Null).ok()?;
    let mut cells = 0u64;
    for chunk in chunks {
        cells = cells.checked_add(chunk.cells())?;
        states.fold_stats(0, &chunk).ok()?;
    }
    states.summary(cells)
}

/// Computes the statistics of chunks that aren't known yet. Any number of threads work on one survey, each with a
/// reader of its own, and take chunks from each other's way.
#[derive(Debug)]
pub struct Survey {
    table: Arc<GridTable>,
    variables: Vec<usize>,
    next: AtomicU64,
}

impl Survey {
    /// Of some variables of `table`, by their index; those that don't exist or can't be reduced are left out.
    pub fn new(table: Arc<GridTable>, mut variables: Vec<usize>) -> Self {
        let reducible =
            |index: &usize| table.variables.get(*index).is_some_and(|variable| !variable.dtype.is_complex());
        variables.retain(reducible);
        Self { table, variables, next: AtomicU64::new(0) }
    }

    /// The variables.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter().map(|&index| &self.table.variables[index])
    }

    /// Decodes chunk after chunk until none is left, or `stop` says so; the number of chunks decoded.
    ///
    /// # Errors
    /// As [`chunk_stats`]; what was found before is noted.
    pub fn work(&self, reader: &mut Reader, stop: &dyn Fn() -> bool) -> Result<u64> {
        let mut decoded = 0;
        while !stop() {
            let Some((variable, chunk)) = self.chunk(self.next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            if variable.stats.get(chunk).is_some() {
                continue;
            }
            if let Some(stats) = chunk_stats(reader, variable, chunk)? {
                variable.stats.put(chunk, &stats);
                decoded += 1;
            }
        }
        Ok(decoded)
    }

    /// Number `index` of all chunks of the variables, one after the other.
    fn chunk(&self, mut index: u64) -> Option<(&Variable, u64)> {
        for variable in self.variables() {
            let chunks = variable.grid.chunks();
            if index < chunks {
                return Some((variable, index));
            }
            index -= chunks;
        }
        None
    }
}

/// How the statistics of a chunk stand in for the kept cells of a part of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// All its cells are missing.
    Missing,
    /// All its cells are kept and in this group.
    Whole(usize),
    /// Only the number of valid cells is asked for, and all cells are valid.
    Counted,
    /// Every cell has this value.
    Constant(Number),
}

impl Answer {
    /// How `stats`, of the chunk that `part` is of, answer for what is kept of it in the groups of `map`; `None`
    /// if its cells have to be decoded.
    pub fn find(
        part: &Part,
        map: &GroupMap,
        stats: &ChunkStats,
        wants: Wants,
        nan: NanPolicy,
    ) -> Option<Self> {
        let cells: u64 = part.shape.iter().product();
        if stats.cells() != cells || (nan == NanPolicy::Value && stats.nan > 0) {
            return None;
        }
        if stats.valid == 0 {
            return Some(Self::Missing);
        }
        if wants == Wants::default() && stats.nan == 0 {
            return Some(Self::Counted);
        }
        if let Some(value) = stats.constant() {
            return Some(Self::Constant(value));
        }
        map.group_of_all(part).filter(|_| part.is_whole()).map(Self::Whole)
    }

    /// Adds the kept cells of `part`, of whose chunk `stats` are, to `states`, one for each group of `map`.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if states, groups and statistics don't fit each other.
    pub fn add(
        self,
        part: &Part,
        map: &GroupMap,
        stats: &ChunkStats,
        states: &mut Accumulators,
    ) -> Result<()> {
        match self {
            Self::Missing => Ok(()),
            Self::Whole(group) => states.fold_stats(group, stats),
            Self::Counted => {
                let counted = |valid| ChunkStats { valid, ..*stats };
                fold_each(part, map, states, counted)
            }
            Self::Constant(value) => fold_each(part, map, states, |cells| repeated(value, cells)),
        }
    }
}

/// Folds what `stats` says of so many cells into each group that kept cells of `part` are in.
fn fold_each(
    part: &Part,
    map: &GroupMap,
    states: &mut Accumulators,
    stats: impl Fn(u64) -> ChunkStats,
) -> Result<()> {
    let mut done = Ok(());
    rows::tally(part, map, |group, cells| {
        if done.is_ok() {
            done = states.fold_stats(group, &stats(cells));
        }
    });
    done
}

/// Whether the kept cells of `part`, of whose chunk `stats` are, change nothing in `states`, one for each group
/// of `map`, of which only the extremes matter (and whether there are any).
pub fn brings_nothing(part: &Part, map: &GroupMap, stats: &ChunkStats, states: &mut Accumulators) -> bool {
    let Some((min, max)) = stats.bounds else { return false };
    let mut nothing = true;
    rows::tally(part, map, |group, _| nothing = nothing && states.encloses(group, stats.nan, min, max));
    nothing
}

/// The statistics of `cells` cells that all are `value`.
fn repeated(value: Number, cells: u64) -> ChunkStats {
    let (sum, m2) = match value {
        Number::Float(value) => {
            let near = value * cells as f64;
            // Exact: the product of two doubles is the sum of two. The deviations of infinities aren't numbers.
            let m2 = if value.is_finite() { 0.0 } else { f64::NAN };
            (Sum::Float { near, rest: value.mul_add(cells as f64, -near) }, m2)
        }
        Number::Int(value) => (Sum::Int(i128::from(value) * i128::from(cells)), 0.0),
        Number::UInt(value) => (Sum::Int(i128::from(value) * i128::from(cells)), 0.0),
    };
    ChunkStats { valid: cells, nan: 0, sum, m2, bounds: Some((value, value)) }
}

/// Cells that statistics speak of.
pub(super) trait Stated: Cell {
    /// The cell that `number` is; `None` if it is none of this type.
    fn of_number(number: Number) -> Option<Self>;
    /// What it is.
    fn number(self) -> Number;
}

macro_rules! stated {
    ($($cell:ident $kind:ident $of:expr;)*) => {$(
        impl Stated for $cell {
            fn of_number(number: Number) -> Option<Self> {
                if let Number::$kind(value) = number { $of(value) } else { None }
            }
            fn number(self) -> Number {
                Number::$kind(self.into())
            }
        }
    )*};
}

stated! {
    f32 Float |value: f64| Some(value as f32);
    f64 Float Some;
    i32 Int |value: i64| i32::try_from(value).ok();
    i64 Int Some;
    u64 UInt Some;
}

/// `stats` as the state of cells of type `T`; `None` if they aren't of such cells.
pub(super) fn partial<T: Stated>(stats: &ChunkStats) -> Option<Partial<T>> {
    let mut partial = Partial::empty();
    let Some((min, max)) = stats.bounds else { return (stats.valid == 0).then_some(partial) };
    (partial.min, partial.max) = (T::of_number(min)?.key(), T::of_number(max)?.key());
    (partial.sum, partial.rest, partial.exact) = match stats.sum {
        Sum::Float { near, rest } if T::FLOAT => (near, rest, 0),
        Sum::Int(sum) if !T::FLOAT => (sum as f64, 0.0, sum),
        _ => return None,
    };
    (partial.count, partial.m2) = (stats.valid, stats.m2);
    Some(partial)
}

/// Whether cells between `min` and `max` can't move the extremes of `group`, which has some; its count must be
/// settled.
pub(super) fn encloses<T: Stated>(state: &State<T>, group: usize, min: Number, max: Number) -> bool {
    let (Some(min), Some(max)) = (T::of_number(min), T::of_number(max)) else { return false };
    state.counts[group] > 0
        && state.mins.as_ref().is_none_or(|mins| min.key() >= mins[group])
        && state.maxs.as_ref().is_none_or(|maxs| max.key() <= maxs[group])
}

/// What the only group of `state` says of so many cells; `None` if it doesn't keep everything.
pub(super) fn summary<T: Stated>(state: &mut State<T>, cells: u64) -> Option<ChunkStats> {
    state.settle();
    let [valid] = state.counts[..] else { return None };
    let float = state.float.as_ref()?;
    let sum = match &state.int {
        Some(int) => Sum::Int(int.sum(0)),
        None if T::FLOAT => Sum::Float { near: float.near[0], rest: float.rest(0) },
        None => return None,
    };
    let number = |keys: &Option<Vec<T::Key>>| Some(T::of_key(keys.as_ref()?[0]).number());
    let (min, max) = (number(&state.mins)?, number(&state.maxs)?);
    let bounds = (valid > 0).then_some((min, max));
    Some(ChunkStats { valid, nan: cells.checked_sub(valid)?, sum, m2: state.m2.as_ref()?[0], bounds })
}
