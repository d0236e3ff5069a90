//! What the statistics of chunks, and how they are packed, say of a box of cells before any of it is read.

use crate::dataset::stats::Number;
use crate::dataset::{Chunk, GridTable, Variable};
use crate::tensor::Selection;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use std::cmp::Ordering;

/// Some cells of a table: the product of a selection's dims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub grid: &'a GridTable,
    pub selection: &'a Selection,
    /// Whether NaN is NULL; if not, nothing is known of chunks that have some.
    pub nan_as_missing: bool,
}

/// What is known of a variable in a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Known {
    /// No valid cell is below the first or above the second; `None` if there is no valid cell.
    pub bounds: Option<(Number, Number)>,
    /// How many cells may be NULL.
    pub nulls: Nulls,
}

/// How many cells may be NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    None,
    Some,
    All,
}

impl Bounds<'_> {
    /// Whether anything may be known of a variable before its cells are read.
    pub(crate) fn knows(variable: &Variable) -> bool {
        variable.stats.known() > 0 || Self::is_packed(variable)
    }

    /// Whether the cells of a variable are packed, as far as its first chunk says.
    pub(crate) fn is_packed(variable: &Variable) -> bool {
        let first = variable.chunks.iter().flatten().next();
        first.is_some_and(|chunk| value_bounds(&chunk).is_some())
    }

    /// What is known of a variable here, by statistics or by how its chunks are packed; `None` if that is nothing for
    /// a chunk that has some of the cells.
    pub(crate) fn known(&self, variable: &Variable) -> Option<Known> {
        let (mut valid, mut missing) = (false, false);
        let mut bounds: Option<(Number, Number)> = None;
        for part in variable.grid.parts(&Selection::product(self.selection.dims.clone())).iter() {
            if variable.chunks.facts(part.chunk).is_none() {
                missing = true;
                continue;
            }
            let Some(stats) = variable.stats.get(part.chunk) else {
                let (low, high) = value_bounds(&*variable.chunks.get(part.chunk)?)?;
                let (low, high) = (Number::Float(low), Number::Float(high));
                bounds = joined(bounds, Some((low, high)));
                valid = true;
                continue;
            };
            if stats.nan > 0 && !self.nan_as_missing {
                return None;
            }
            valid |= stats.valid > 0;
            missing |= stats.nan > 0;
            bounds = joined(bounds, stats.bounds);
        }
        let nulls = match (valid, missing) {
            (true, false) => Nulls::None,
            (true, true) => Nulls::Some,
            (false, _) => Nulls::All,
        };
        Some(Known { bounds, nulls })
    }
}

/// The order in which units are worth visiting where the first rows by a variable are wanted: those first that may
/// have the most extreme cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The variable that rows are sorted by.
    pub variable: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

impl Visit {
    /// How units compare of which this is known.
    pub(crate) fn compare(&self, one: Option<Known>, other: Option<Known>) -> Ordering {
        self.class(one).cmp(&self.class(other)).then_with(|| match (self.extreme(one), self.extreme(other)) {
            (Some(one), Some(other)) if self.descending => other.order(&one),
            (Some(one), Some(other)) => one.order(&other),
            _ => Ordering::Equal,
        })
    }

    /// NULL where it comes first; then cells that are known; what isn't known; what can't matter.
    fn class(&self, known: Option<Known>) -> u8 {
        match known {
            Some(known) if known.nulls != Nulls::None && self.nulls_first => 0,
            Some(Known { bounds: Some(_), .. }) => 1,
            None => 2,
            Some(_) => 3,
        }
    }

    fn extreme(&self, known: Option<Known>) -> Option<Number> {
        let (min, max) = known?.bounds?;
        Some(if self.descending { max } else { min })
    }
}

/// What the cells of `chunk`, of which none is missing, lie between by how they are packed, if they are.
fn value_bounds(chunk: &Chunk) -> Option<(f64, f64)> {
    chunk.pipeline().ok()?.value_bounds()
}

/// The bounds of what has either.
fn joined(one: Option<(Number, Number)>, other: Option<(Number, Number)>) -> Option<(Number, Number)> {
    match (one, other) {
        (Some((min, max)), Some((low, high))) => Some((least(min, low), greatest(max, high))),
        (one, other) => one.or(other),
    }
}

fn least(one: Number, other: Number) -> Number {
    if other.order(&one) == Ordering::Less { other } else { one }
}

fn greatest(one: Number, other: Number) -> Number {
    if other.order(&one) == Ordering::Greater { other } else { one }
}

/// `number` as a value of a column of `data_type`.
pub(crate) fn scalar(number: Number, data_type: &DataType) -> Option<ScalarValue> {
    let value = match number {
        Number::Float(value) => ScalarValue::from(value),
        Number::Int(value) => ScalarValue::from(value),
        Number::UInt(value) => ScalarValue::from(value),
    };
    value.cast_to(data_type).ok()
}
