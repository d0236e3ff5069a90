//! What the labels of a scan say about its rows: order, constants, bounds, words.

use super::provider::TensorTable;
use super::scan::ColumnSource;
use crate::dataset::{Dim, Variable};
use crate::tensor::{DimSelection, Selection};
use datafusion::arrow::array::{ArrayRef, make_comparator};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr,
};
use std::cmp::Ordering;
use std::sync::Arc;

/// Orderings and constants of the projected columns.
///
/// Rows come in C order, so they are ordered by the dims from the outermost on, as long as each is strictly
/// monotonic (the last one may repeat a label) and in the output. A dim of which one position is kept is a
/// constant and doesn't interrupt the chain.
pub(crate) fn properties(
    table: &TensorTable,
    projection: &[usize],
    schema: &SchemaRef,
    selection: &Selection,
) -> Result<EquivalenceProperties> {
    let column = |dim: usize| {
        let at = projection.iter().position(|&column| table.column(column) == ColumnSource::Dim(dim))?;
        Some(Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>)
    };
    let mut ordering = Vec::new();
    let mut constants = Vec::new();
    let mut unbroken = true;
    for (index, (dim, kept)) in table.grid().dims.iter().zip(&selection.dims).enumerate() {
        let expr = column(index);
        if let (1, Some(position)) = (kept.len(), kept.get(0)) {
            let label = ScalarValue::try_from_array(&dim.coord, position as usize)?;
            constants.extend(expr.map(|expr| ConstExpr::new(expr, AcrossPartitions::Uniform(Some(label)))));
            continue;
        }
        let order = if unbroken { monotonic(&dim.coord, kept)? } else { None };
        match (order, expr) {
            (Some(order), Some(expr)) => {
                let options = SortOptions { descending: order.descending, nulls_first: order.descending };
                ordering.push(PhysicalSortExpr::new(expr, options));
                unbroken = order.strict;
            }
            _ => unbroken = false,
        }
    }
    let mut properties = EquivalenceProperties::new_with_orderings(
        Arc::clone(schema),
        (!ordering.is_empty()).then_some(ordering),
    );
    properties.add_constants(constants)?;
    Ok(properties)
}

/// How labels are ordered.
pub(crate) struct Monotonic {
    /// From large to small.
    pub descending: bool,
    /// No label twice.
    pub strict: bool,
}

/// How the kept labels are ordered, if they are. Floats order as in `ORDER BY`: NaN above all numbers.
pub(crate) fn monotonic(coord: &ArrayRef, kept: &DimSelection) -> Result<Option<Monotonic>> {
    let compare = make_comparator(coord, coord, SortOptions::default())?;
    let mut previous: Option<u64> = None;
    let mut found = Monotonic { descending: false, strict: true };
    let mut direction = Ordering::Equal;
    for position in kept.iter() {
        if let Some(previous) = previous.replace(position) {
            match compare(previous as usize, position as usize) {
                Ordering::Equal => found.strict = false,
                step if direction == Ordering::Equal => direction = step,
                step if step != direction => return Ok(None),
                _ => {}
            }
        }
    }
    found.descending = direction == Ordering::Greater;
    Ok(Some(found))
}

/// What is known of a variable's column: missing cells, if all cells are kept and the statistics of all chunks are
/// known. No bounds: DataFusion's arithmetic on those of floats errs (it finds more values in an interval than in one
/// around it), and then the plan fails.
pub(crate) fn variable_statistics(
    variable: &Variable,
    kept: &Selection,
    nan_as_missing: bool,
) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    let stats = &variable.stats;
    let whole = || kept.len() == variable.grid.cells();
    if stats.known() == 0 || !whole() || stats.known() + (variable.chunks.holes() as u64) < stats.chunks() {
        return statistics;
    }
    if let Some(all) = stats.overview().filter(|all| all.nan == 0 || nan_as_missing) {
        statistics.null_count = Precision::Exact((variable.grid.cells() - all.valid) as usize);
    }
    statistics
}

/// What is known of a dim's column: that no label is missing, and how many there are (some may be the same). No bounds,
/// as for variables; DataFusion also casts those of numbers to text, and is lost where '6' comes after '18'.
pub(crate) fn dim_statistics(kept: &DimSelection) -> ColumnStatistics {
    ColumnStatistics {
        null_count: Precision::Exact(0),
        distinct_count: Precision::Inexact(kept.len() as usize),
        ..ColumnStatistics::new_unknown()
    }
}

/// The first kept positions of the smallest and the largest label; `None` if nothing is kept. NaN is above all
/// numbers.
pub(crate) fn extremes(coord: &ArrayRef, kept: &DimSelection) -> Option<(u64, u64)> {
    let compare = make_comparator(coord, coord, SortOptions::default()).ok()?;
    let first = kept.get(0)?;
    let better = |position: u64, best: u64, order| compare(position as usize, best as usize) == order;
    Some(kept.iter().fold((first, first), |(min, max), position| {
        (
            if better(position, min, Ordering::Less) { position } else { min },
            if better(position, max, Ordering::Greater) { position } else { max },
        )
    }))
}

/// The smallest and the largest of the kept labels; `None` if there is none, or one is NaN.
pub(crate) fn bounds(coord: &ArrayRef, kept: &DimSelection) -> Option<(ScalarValue, ScalarValue)> {
    let (min, max) = extremes(coord, kept)?;
    let (min, max) = (min as usize, max as usize);
    let label = |position| ScalarValue::try_from_array(coord, position).ok();
    let (min, max) = (label(min)?, label(max)?);
    let nan = |value: &ScalarValue| match value {
        ScalarValue::Float16(Some(v)) => v.is_nan(),
        ScalarValue::Float32(Some(v)) => v.is_nan(),
        ScalarValue::Float64(Some(v)) => v.is_nan(),
        _ => false,
    };
    (!nan(&min) && !nan(&max)).then_some((min, max))
}

/// What is kept of a dim, such as `level=[500] (1 of 13)` or `time=[2026-04-01T00:00:00..2026-04-03T00:00:00]
/// (3 of 4)`; scattered positions are shown by their first and last, with `,..,` between.
pub(crate) fn describe(dim: &Dim, kept: &DimSelection) -> String {
    let label = |nth: u64| {
        let position = kept.get(nth)? as usize;
        array_value_to_string(&dim.coord, position).ok()
    };
    let len = kept.len();
    let shown = match (label(0), label(len.saturating_sub(1))) {
        _ if len <= 3 => (0..len).filter_map(label).collect::<Vec<_>>().join(","),
        (Some(first), Some(last)) if kept.runs().len() == 1 => format!("{first}..{last}"),
        (Some(first), Some(last)) => format!("{first},..,{last}"),
        _ => String::new(),
    };
    format!("{}=[{shown}] ({len} of {})", dim.name, dim.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Int64Array};

    fn order(labels: Vec<i64>) -> Option<(bool, bool)> {
        let len = labels.len() as u64;
        let coord: ArrayRef = Arc::new(Int64Array::from(labels));
        monotonic(&coord, &DimSelection::all(len)).unwrap().map(|order| (order.descending, order.strict))
    }

    #[test]
    fn monotonic_either_way() {
        assert_eq!(order(vec![1, 2, 5]), Some((false, true)));
        assert_eq!(order(vec![5, 2, 1]), Some((true, true)));
        assert_eq!(order(vec![1, 1, 2]), Some((false, false)));
        assert_eq!(order(vec![2, 2, 1]), Some((true, false)));
        assert_eq!(order(vec![1, 3, 2]), None);
        assert_eq!(order(vec![3, 3]), Some((false, false)));
    }

    #[test]
    fn bounds_of_what_is_kept() {
        let coord: ArrayRef = Arc::new(Float64Array::from(vec![3.0, f64::NAN, -1.0, 2.0]));
        let kept = DimSelection::from_indices(vec![0, 2, 3]);
        assert_eq!(bounds(&coord, &kept), Some((ScalarValue::from(-1.0), ScalarValue::from(3.0))));
        assert_eq!(bounds(&coord, &DimSelection::all(4)), None);
    }

    #[test]
    fn nothing_is_said_of_bounds_to_datafusion() {
        let said = dim_statistics(&DimSelection::all(4));
        assert_eq!((&said.min_value, &said.max_value), (&Precision::Absent, &Precision::Absent));
        assert_eq!((said.null_count, said.distinct_count), (Precision::Exact(0), Precision::Inexact(4)));
    }

    #[test]
    fn dims_in_words() {
        let coord: ArrayRef = Arc::new(Int64Array::from(vec![1000, 850, 500, 250, 100]));
        let dim = Dim { name: "level".into(), coord, attributes: Default::default() };
        let say = |positions: Vec<u64>| describe(&dim, &DimSelection::from_indices(positions));
        assert_eq!(say(vec![2]), "level=[500] (1 of 5)");
        assert_eq!(say(vec![0, 4]), "level=[1000,100] (2 of 5)");
        assert_eq!(say(vec![0, 1, 2, 3]), "level=[1000..250] (4 of 5)");
        assert_eq!(say(vec![0, 1, 2, 4]), "level=[1000,..,100] (4 of 5)");
        assert_eq!(say(vec![]), "level=[] (0 of 5)");
    }
}
