//! What the statistics of chunks, and the labels, say of a box of cells before any of it is read.

use super::order;
use crate::dataset::stats::Number;
use crate::dataset::{GridTable, Variable};
use crate::tensor::Selection;
use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningPredicate;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

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
    /// Whether `predicate` is true of none of these cells, as far as that is known.
    ///
    /// # Errors
    /// Those of evaluating it on bounds.
    pub(crate) fn exclude(&self, predicate: &PruningPredicate) -> Result<bool> {
        Ok(predicate.prune(self)? == [false])
    }

    /// What is known of a variable here; `None` if a chunk that has some of the cells has no statistics.
    pub(crate) fn known(&self, variable: &Variable) -> Option<Known> {
        if variable.stats.known() == 0 {
            return None;
        }
        let (mut valid, mut missing) = (false, false);
        let mut bounds: Option<(Number, Number)> = None;
        for part in variable.grid.parts(&Selection::product(self.selection.dims.clone())).iter() {
            if variable.chunks.facts(part.chunk).is_none() {
                missing = true;
                continue;
            }
            let stats = variable.stats.get(part.chunk)?;
            if stats.nan > 0 && !self.nan_as_missing {
                return None;
            }
            valid |= stats.valid > 0;
            missing |= stats.nan > 0;
            bounds = match (bounds, stats.bounds) {
                (Some((min, max)), Some((low, high))) => Some((least(min, low), greatest(max, high))),
                (one, other) => one.or(other),
            };
        }
        let nulls = match (valid, missing) {
            (true, false) => Nulls::None,
            (true, true) => Nulls::Some,
            (false, _) => Nulls::All,
        };
        Some(Known { bounds, nulls })
    }

    fn variable(&self, name: &str) -> Option<(&Variable, Known)> {
        let variable = self.grid.variables.iter().find(|variable| variable.name == name)?;
        Some((variable, self.known(variable)?))
    }

    /// The bounds of a column as values.
    fn column(&self, column: &Column) -> Option<(ScalarValue, ScalarValue)> {
        let at = self.grid.dims.iter().position(|dim| dim.name == column.name);
        if let Some(at) = at {
            return order::bounds(&self.grid.dims[at].coord, &self.selection.dims[at]);
        }
        let (variable, known) = self.variable(&column.name)?;
        let (min, max) = known.bounds?;
        let data_type = variable.arrow_type();
        Some((scalar(min, &data_type)?, scalar(max, &data_type)?))
    }
}

/// One container: the box.
impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column)?.0.to_array().ok()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column)?.1.to_array().ok()
    }

    fn num_containers(&self) -> usize {
        1
    }

    /// Of two rows, which stand for all: how many are NULL is known of chunks, which may reach beyond the box.
    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from(vec![2])))
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let nulls = if self.grid.dims.iter().any(|dim| dim.name == column.name) {
            Nulls::None
        } else {
            self.variable(&column.name)?.1.nulls
        };
        let count = match nulls {
            Nulls::None => 0,
            Nulls::Some => 1,
            Nulls::All => 2,
        };
        Some(Arc::new(UInt64Array::from(vec![count])))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
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

fn least(one: Number, other: Number) -> Number {
    if other.order(&one) == Ordering::Less { other } else { one }
}

fn greatest(one: Number, other: Number) -> Number {
    if other.order(&one) == Ordering::Greater { other } else { one }
}

fn scalar(number: Number, data_type: &DataType) -> Option<ScalarValue> {
    let value = match number {
        Number::Float(value) => ScalarValue::from(value),
        Number::Int(value) => ScalarValue::from(value),
        Number::UInt(value) => ScalarValue::from(value),
    };
    value.cast_to(data_type).ok()
}
