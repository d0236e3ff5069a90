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
use crate::dataset::Variable;
use crate::dataset::read::Reader;
use crate::dataset::stats::{ChunkStats, Number, Sum};
use crate::tensor::{DimSelection, Part};
use crate::tgm::DType;

impl Wants {
    /// Everything that statistics consist of.
    pub const ALL: Self = Self { sum: true, min: true, max: true, moments: true };
}

/// Decodes all of `chunk` (its position in the grid, C order) and says what is in it; `None` for a hole.
///
/// # Errors
/// As [`Reader::visit_part`]; [`crate::Error::Grid`] if there is no such chunk, or its dtype can't be reduced.
pub fn chunk_stats(reader: &mut Reader, variable: &Variable, chunk: u64) -> Result<Option<ChunkStats>> {
    let Some((origin, shape)) = variable.grid.chunk_extent(chunk) else {
        return Err(misfit(format!("no chunk {chunk} of `{}`", variable.name)));
    };
    let within = shape.iter().map(|&len| DimSelection::all(len)).collect();
    let part = Part { chunk, origin, shape, within, masks: Vec::new() };
    let mut states = Accumulators::try_new(variable.dtype, 1, Wants::ALL, NanPolicy::Null)?;
    let read = reader.visit_part(variable, &part, &mut |_, block| states.add_run(0, block, None))?;
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
        let whole =
            part.masks.is_empty() && part.within.iter().zip(&part.shape).all(|(dim, &len)| dim.is_full(len));
        map.group_of_all(part).filter(|_| whole).map(Self::Whole)
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
pub(super) fn partial<T: Stated, const TOTAL: bool>(stats: &ChunkStats) -> Option<Partial<T>> {
    let mut partial = Partial::empty::<TOTAL>();
    let Some((min, max)) = stats.bounds else { return (stats.valid == 0).then_some(partial) };
    (partial.min, partial.max) = (T::of_number(min)?, T::of_number(max)?);
    (partial.sum, partial.rest, partial.exact) = match stats.sum {
        Sum::Float { near, rest } if T::FLOAT => (near, rest, 0),
        Sum::Int(sum) if !T::FLOAT => (sum as f64, 0.0, sum),
        _ => return None,
    };
    (partial.count, partial.m2) = (stats.valid, stats.m2);
    Some(partial)
}

/// What the only group of `state` says of so many cells; `None` if it doesn't keep everything.
pub(super) fn summary<T: Stated>(state: &mut State<T>, cells: u64) -> Option<ChunkStats> {
    state.settle();
    let [valid] = state.counts[..] else { return None };
    let float = state.float.as_ref()?;
    let sum = match &state.int {
        Some(int) => Sum::Int(int.sum(0)),
        None if T::FLOAT => Sum::Float { near: float.near[0], rest: float.rest[0] },
        None => return None,
    };
    let (min, max) = (state.mins.as_ref()?[0].number(), state.maxs.as_ref()?[0].number());
    let bounds = (valid > 0).then_some((min, max));
    Some(ChunkStats { valid, nan: cells.checked_sub(valid)?, sum, m2: state.m2.as_ref()?[0], bounds })
}
