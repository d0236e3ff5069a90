//! `first_value` and `last_value` along dims: one known cell for each group.
//!
//! ```text
//! last_value(t ORDER BY time) GROUP BY latitude, longitude     time: its largest kept label; level: its last
//! ```
//! Where groups depend on some dims alone, and tell all of their kept positions apart, the other dims need no more
//! than one position: that of the wanted label where the order is by the dim, the first (or last) in C order
//! where it isn't, since any cell would do there. What is left is one cell for each group, and nothing else is read.

use super::coords::Coords;
use crate::engine::order::extremes;
use crate::engine::scan::ColumnSource;
use crate::reduce::Factor;
use crate::tensor::{DimSelection, Selection};
use datafusion::arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::first_last::{FirstValue, LastValue};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;

/// The cells that a `first_value` or `last_value` takes its values from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edge {
    /// One cell for each group.
    pub selection: Selection,
    /// The labels of these cells that its `ORDER BY` compares.
    pub labels: Vec<ScalarValue>,
}

/// Those of `expr` with `ORDER BY order`, of the cells that `selection` keeps, in groups by `factors`; `labels` are
/// those of each dim. `None` if there isn't one known cell for each group.
pub(super) fn edge(
    expr: &AggregateFunctionExpr,
    order: &[PhysicalSortExpr],
    selection: &Selection,
    factors: &[Factor],
    coords: &Coords,
    labels: impl Fn(usize) -> Option<ArrayRef>,
) -> Option<Edge> {
    let inner = expr.fun().inner();
    let first = inner.is::<FirstValue>();
    if !(first || inner.is::<LastValue>()) || expr.ignore_nulls() || !selection.masks.is_empty() {
        return None;
    }
    let told_apart = factors.iter().all(|factor| {
        let kept = factor.dims.iter().map(|&dim| selection.dims[dim].len());
        kept.fold(1, u64::saturating_mul) == u64::from(factor.cardinality)
    });
    if !told_apart {
        return None;
    }
    let grouped = |dim: usize| factors.iter().any(|factor| factor.dims.contains(&dim));
    let mut edge = Edge { selection: selection.clone(), labels: Vec::new() };
    let mut settled = vec![false; selection.dims.len()];
    for sort in order {
        let column = sort.expr.downcast_ref::<Column>()?;
        let ColumnSource::Dim(dim) = coords.source(column.index()) else { return None };
        if grouped(dim) {
            return None;
        }
        let (coord, kept) = (labels(dim)?, &selection.dims[dim]);
        let (least, most) = extremes(&coord, kept)?;
        let position = if first == sort.options.descending { most } else { least };
        edge.labels.push(ScalarValue::try_from_array(&coord, position as usize).ok()?);
        if !std::mem::replace(&mut settled[dim], true) {
            edge.selection.dims[dim] = DimSelection::from_indices(vec![position]);
        }
    }
    let open = (0..settled.len()).filter(|&dim| !settled[dim] && !grouped(dim));
    for dim in open.collect::<Vec<_>>() {
        let len = selection.dims[dim].len();
        let at = if first { 0 } else { len.saturating_sub(1) };
        edge.selection.dims[dim] = selection.dims[dim].slice(at..len.min(at + 1));
    }
    Some(edge)
}
