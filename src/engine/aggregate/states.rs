//! States of aggregates as the columns that DataFusion's final aggregate merges.
//!
//! Where a group has no valid cell, the columns hold what DataFusion's own accumulators would: a count of 0
//! and no sum, no smallest value; `avg` by group has no count either.

use super::function::{Aggregate, Function};
use super::native::Native;
use super::partial::Outcome;
use crate::codec::Values;
use crate::engine::types;
use crate::reduce::{Moments, Reading, Sums};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, UInt64Array,
};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, UInt64Type};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::functions_aggregate::stddev::Stddev;
use datafusion::functions_aggregate::variance::{VariancePopulation, VarianceSample};
use std::sync::Arc;

/// Counts as the state of `count`.
pub(super) fn count_column(counts: &[u64]) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(counts.iter().map(|&count| count as i64)))
}

/// State columns of `aggregate` for each group of `reading`.
///
/// # Errors
/// If an integer sum leaves the state's type.
pub(super) fn columns(aggregate: &Aggregate, reading: &Reading<'_>, grouped: bool) -> Result<Vec<ArrayRef>> {
    let counts = reading.counts;
    match (aggregate.function, &aggregate.states[..]) {
        (Function::Count, [_]) => Ok(vec![count_column(counts)]),
        (Function::Sum, [state]) => Ok(vec![sum_column(aggregate, sums(reading)?, counts, state)?]),
        (Function::Avg, [_, _]) => {
            let sums = floats(sums(reading)?);
            let seen = seen(counts);
            let counts = UInt64Array::new(counts.to_vec().into(), seen.clone().filter(|_| grouped));
            Ok(vec![Arc::new(counts), Arc::new(Float64Array::new(sums, seen))])
        }
        (Function::Min, [state]) => Ok(vec![extreme_column(&reading.mins, counts, state)?]),
        (Function::Max, [state]) => Ok(vec![extreme_column(&reading.maxs, counts, state)?]),
        (Function::Edge, [state, orders @ ..]) => {
            let mut columns = vec![extreme_column(&reading.mins, counts, state)?];
            for (label, data_type) in aggregate.labels.iter().zip(orders) {
                columns.push(label.cast_to(data_type)?.to_array_of_size(counts.len())?);
            }
            let seen = BooleanBuffer::collect_bool(counts.len(), |group| counts[group] > 0);
            columns.push(Arc::new(BooleanArray::new(seen, None)));
            Ok(columns)
        }
        (Function::Moments, [_, _, _]) => {
            let Some(Moments { means, m2 }) = &reading.moments else { return missing("moments") };
            let counts = UInt64Array::from_iter_values(counts.iter().copied());
            let (means, m2) = (Float64Array::from(means.clone()), Float64Array::from(m2.clone()));
            Ok(vec![Arc::new(counts), Arc::new(means), Arc::new(m2)])
        }
        (function, states) => internal_err!("{function:?} has {} state columns", states.len()),
    }
}

/// What `aggregate` has come to in each group of `reading`: values where these are at hand, else its state columns.
///
/// # Errors
/// As [`columns`].
pub(super) fn read(aggregate: &Aggregate, reading: &Reading<'_>, grouped: bool) -> Result<Outcome> {
    let doubles = grouped && *aggregate.expr.field().data_type() == DataType::Float64;
    let value = match (aggregate.function, &reading.sums, &reading.moments) {
        (Function::Avg, Some(Sums::Float(sums)), _) if doubles => means(sums.iter().copied(), reading.counts),
        (Function::Avg, Some(Sums::Int(sums)), _) if doubles => {
            means(sums.iter().map(|&sum| sum as f64), reading.counts)
        }
        (Function::Moments, _, Some(moments)) if doubles => {
            deviations(aggregate, &moments.m2, reading.counts)
        }
        _ => return columns(aggregate, reading, grouped).map(Outcome::States),
    };
    Ok(Outcome::Value(value))
}

/// State columns of `aggregate` for groups of which no cell was seen: as an accumulator of DataFusion's has them
/// that was never fed.
///
/// # Errors
/// Those of the accumulator.
pub(super) fn empty(aggregate: &Aggregate, groups: usize, grouped: bool) -> Result<Vec<ArrayRef>> {
    Native::try_new(aggregate, groups, grouped)?.states()
}

/// Final values of `aggregate` from its state columns: as DataFusion's accumulators make them by group.
///
/// # Errors
/// If an integer sum leaves its type; those of DataFusion's accumulators.
pub(super) fn value(aggregate: &Aggregate, states: Vec<ArrayRef>, grouped: bool) -> Result<ArrayRef> {
    let same = |state: &ArrayRef| state.data_type() == aggregate.expr.field().data_type();
    // The single accumulators of no GROUP BY have their own ideas of one value; means of times are no doubles.
    let doubles = |state: &ArrayRef| grouped && *state.data_type() == DataType::Float64 && same(state);
    match (aggregate.function, &states[..]) {
        (Function::Count | Function::Sum | Function::Min | Function::Max, [state]) if same(state) => {
            return Ok(Arc::clone(state));
        }
        (Function::Edge, [state, ..]) if same(state) => return Ok(Arc::clone(state)),
        (Function::Avg, [counts, sums]) if doubles(sums) => {
            let (counts, sums) = (counts.as_primitive::<UInt64Type>(), sums.as_primitive::<Float64Type>());
            return Ok(means(sums.values().iter().copied(), counts.values()));
        }
        (Function::Moments, [counts, _, m2]) if doubles(m2) => {
            let (counts, m2) = (counts.as_primitive::<UInt64Type>(), m2.as_primitive::<Float64Type>());
            return Ok(deviations(aggregate, m2.values(), counts.values()));
        }
        _ => {}
    }
    let groups = states.first().map_or(0, |state| state.len());
    let mut native = Native::try_new(aggregate, groups, grouped)?;
    native.merge(&states, &(0..groups).collect::<Vec<_>>(), groups)?;
    native.values()
}

/// Means; NULL for groups without cells.
fn means(sums: impl Iterator<Item = f64>, counts: &[u64]) -> ArrayRef {
    let means = sums.zip(counts).map(|(sum, &count)| sum / count as f64);
    Arc::new(Float64Array::new(means.collect(), seen(counts)))
}

/// Variances or standard deviations, as `aggregate` wants them; NULL for groups of too few cells.
fn deviations(aggregate: &Aggregate, m2: &[f64], counts: &[u64]) -> ArrayRef {
    let (unseen, root) = deviation(aggregate);
    let seen = BooleanBuffer::collect_bool(counts.len(), |group| counts[group] > unseen);
    let variances = m2.iter().zip(counts).map(|(m2, &count)| m2 / count.saturating_sub(unseen) as f64);
    let values = variances.map(|variance| if root { variance.sqrt() } else { variance });
    Arc::new(Float64Array::new(values.collect(), Some(NullBuffer::new(seen))))
}

/// The degrees of freedom that a variance takes off (ddof), and whether its root is wanted.
fn deviation(aggregate: &Aggregate) -> (u64, bool) {
    let inner = aggregate.expr.fun().inner();
    let sample = inner.is::<VarianceSample>() || inner.is::<Stddev>();
    let variance = inner.is::<VarianceSample>() || inner.is::<VariancePopulation>();
    (u64::from(sample), !variance)
}

fn missing<T>(what: &str) -> Result<T> {
    internal_err!("{what} weren't accumulated")
}

fn sums<'a, 'r>(reading: &'a Reading<'r>) -> Result<&'a Sums<'r>> {
    reading.sums.as_ref().map_or_else(|| missing("sums"), Ok)
}

/// Which groups have a valid cell; `None` if all.
fn seen(counts: &[u64]) -> Option<NullBuffer> {
    let seen = NullBuffer::new(BooleanBuffer::collect_bool(counts.len(), |i| counts[i] > 0));
    (seen.null_count() > 0).then_some(seen)
}

fn floats(sums: &Sums<'_>) -> ScalarBuffer<f64> {
    match sums {
        Sums::Float(sums) => sums.to_vec().into(),
        Sums::Int(sums) => sums.iter().map(|&sum| sum as f64).collect(),
    }
}

fn sum_column(aggregate: &Aggregate, sums: &Sums<'_>, counts: &[u64], state: &DataType) -> Result<ArrayRef> {
    let seen = seen(counts);
    Ok(match (state, sums) {
        (DataType::Float64, sums) => Arc::new(Float64Array::new(floats(sums), seen)),
        (DataType::Decimal128(precision, 0), Sums::Int(sums)) => {
            let sums = Decimal128Array::new(sums.clone().into(), seen);
            Arc::new(sums.with_precision_and_scale(*precision, 0)?)
        }
        // DataFusion's own sum wraps around here; an error is better than another number.
        (DataType::Int64, Sums::Int(sums)) => {
            let sums = sums.iter().map(|&sum| i64::try_from(sum)).collect::<Result<Vec<_>, _>>();
            let Ok(sums) = sums else { return overflow(aggregate, state) };
            Arc::new(Int64Array::new(sums.into(), seen))
        }
        (DataType::UInt64, Sums::Int(sums)) => {
            let sums = sums.iter().map(|&sum| u64::try_from(sum)).collect::<Result<Vec<_>, _>>();
            let Ok(sums) = sums else { return overflow(aggregate, state) };
            Arc::new(UInt64Array::new(sums.into(), seen))
        }
        _ => return internal_err!("a sum has a state of {state}"),
    })
}

fn overflow<T>(aggregate: &Aggregate, state: &DataType) -> Result<T> {
    exec_err!("{} overflows {state}", aggregate.expr.name())
}

fn extreme_column(values: &Option<Values>, counts: &[u64], state: &DataType) -> Result<ArrayRef> {
    let Some(values) = values else { return missing("extremes") };
    let seen = seen(counts).map(NullBuffer::into_inner);
    let column = types::column(values.clone(), seen, false)?;
    Ok(if column.data_type() == state { column } else { cast(&column, state)? })
}
