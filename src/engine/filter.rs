//! Predicates on dims, evaluated on the coords: they become the selection of a scan.
//!
//! A conjunct whose columns are all dims says nothing about cells: it is true or not for a position (one dim)
//! or a combination of positions (several). It is evaluated there with DataFusion's own expression, so its
//! meaning is that of the same text in any other query, errors and three-valued logic included: only TRUE
//! keeps. A cube of a billion cells has a few hundred labels.

use crate::dataset::GridTable;
use crate::tensor::{DimMask, DimSelection, Selection};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// The most combinations of positions on which a predicate over several dims is evaluated; one over more is
/// left to a filter on rows.
pub(crate) const MASK_CELLS: u64 = 16 << 20;

/// Combinations evaluated at a time.
const BATCH: usize = 1 << 16;

/// The dims that `filter` looks at, ascending, if the coords alone decide it.
pub(crate) fn decided_by(grid: &GridTable, filter: &Expr) -> Option<Vec<usize>> {
    if filter.is_volatile() || has_foreign_parts(filter) {
        return None;
    }
    let mut dims = Vec::new();
    for column in filter.column_refs() {
        dims.push(grid.dims.iter().position(|dim| dim.name == column.name)?);
    }
    dims.sort_unstable();
    dims.dedup();
    let cells = dims.iter().try_fold(1u64, |cells, &dim| cells.checked_mul(grid.dims[dim].len() as u64));
    let fits = dims.len() == 1 || cells.is_some_and(|cells| cells <= MASK_CELLS);
    (!dims.is_empty() && fits).then_some(dims)
}

/// Whether `filter` holds parts that have no value for a label alone.
fn has_foreign_parts(filter: &Expr) -> bool {
    let foreign = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
        )
    };
    filter.exists(|expr| Ok(foreign(expr))).unwrap_or(true)
}

/// What `filters`, each of them decided by coords, keep of the grid. A filter is evaluated only where those
/// before it keep something.
///
/// # Errors
/// Whatever evaluating a filter gives, such as a failing cast.
pub(crate) fn select(grid: &GridTable, filters: &[Expr], session: &dyn Session) -> Result<Selection> {
    let mut selection = Selection::all(&grid.shape());
    let mut over_several = Vec::new();
    for filter in filters {
        match decided_by(grid, filter).as_deref() {
            Some(&[dim]) => {
                let predicate = Predicate::of_filter(grid, &[dim], filter, session)?;
                selection.dims[dim] = keep_positions(&predicate, &selection.dims[dim])?;
            }
            Some(dims) => over_several.push((dims.to_vec(), filter)),
            // what a filter that was taken has become since
            None if filter.column_refs().is_empty() && !has_foreign_parts(filter) => {
                let constant = session.create_physical_expr(filter.clone(), &DFSchema::empty())?;
                if !always(&constant)? {
                    selection.dims.iter_mut().for_each(|dim| *dim = DimSelection::none());
                }
            }
            None => return plan_err!("the coords of the grid can't decide {filter}"),
        }
    }
    for (dims, filter) in over_several {
        let predicate = Predicate::of_filter(grid, &dims, filter, session)?;
        keep_combinations(&predicate, &grid.shape(), &mut selection)?;
    }
    drop_idle_masks(&mut selection);
    Ok(selection)
}

/// A predicate over dims, made ready for batches of labels.
pub(crate) struct Predicate {
    dims: Vec<usize>,
    coords: Vec<ArrayRef>,
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
}

impl Predicate {
    /// `expr` over `dims` (ascending), whose columns it counts from 0.
    pub(crate) fn new(grid: &GridTable, dims: &[usize], expr: Arc<dyn PhysicalExpr>) -> Self {
        let coords = dims.iter().map(|&dim| Arc::clone(&grid.dims[dim].coord)).collect();
        Self { dims: dims.to_vec(), coords, schema: schema_of(grid, dims), expr }
    }

    fn of_filter(grid: &GridTable, dims: &[usize], filter: &Expr, session: &dyn Session) -> Result<Self> {
        let schema = DFSchema::try_from(schema_of(grid, dims))?;
        let expr = session.create_physical_expr(unqualified(filter.clone())?, &schema)?;
        Ok(Self::new(grid, dims, expr))
    }

    /// Whether each combination of labels is kept; `positions` has a list for each dim.
    fn evaluate(&self, positions: &[UInt64Array]) -> Result<BooleanBuffer> {
        let rows = positions.first().map_or(0, Array::len);
        let columns =
            self.coords.iter().zip(positions).map(|(coord, positions)| take(coord, positions, None));
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns.collect::<Result<_, _>>()?,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )?;
        truth(&self.expr, &batch)
    }
}

/// The columns of `dims` alone.
fn schema_of(grid: &GridTable, dims: &[usize]) -> SchemaRef {
    let field = |&dim: &usize| {
        let dim = &grid.dims[dim];
        Field::new(&dim.name, dim.coord.data_type().clone(), false)
    };
    Arc::new(Schema::new(dims.iter().map(field).collect::<Vec<_>>()))
}

/// Whether a predicate without columns is true.
pub(crate) fn always(predicate: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    Ok(truth(predicate, &batch)?.value(0))
}

/// For which rows `predicate` is true: neither false nor NULL.
pub(crate) fn truth(predicate: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanBuffer> {
    let rows = batch.num_rows();
    let truth = predicate.evaluate(batch)?.into_array(rows)?;
    match truth.data_type() {
        DataType::Boolean => {
            let truth = truth.as_boolean();
            Ok(truth.nulls().map_or_else(|| truth.values().clone(), |valid| truth.values() & valid.inner()))
        }
        DataType::Null => Ok(BooleanBuffer::new_unset(rows)),
        other => plan_err!("a filter must be boolean, `{predicate}` is {other}"),
    }
}

/// `filter` with bare column names: a provider doesn't know what its table is called in a query.
fn unqualified(filter: Expr) -> Result<Expr> {
    Ok(datafusion::logical_expr::expr_rewriter::unnormalize_col(filter))
}

/// The positions of `from` whose labels the predicate keeps.
pub(crate) fn keep_positions(predicate: &Predicate, from: &DimSelection) -> Result<DimSelection> {
    let positions: Vec<u64> = from.iter().collect();
    let kept = predicate.evaluate(&[positions.clone().into()])?;
    let kept = positions.into_iter().zip(&kept).filter_map(|(position, keep)| keep.then_some(position));
    Ok(DimSelection::from_indices(kept.collect()))
}

/// Narrows `selection` to the combinations that the predicate keeps: positions that appear in none of them
/// go, and what is no product after that becomes a mask.
pub(crate) fn keep_combinations(
    predicate: &Predicate,
    shape: &[u64],
    selection: &mut Selection,
) -> Result<()> {
    let dims = &predicate.dims;
    let within: Vec<Vec<u64>> = dims.iter().map(|&dim| selection.dims[dim].iter().collect()).collect();
    let extents: Vec<u64> = dims.iter().map(|&dim| shape[dim]).collect();
    let mut keep = vec![false; extents.iter().product::<u64>() as usize];
    let mut seen: Vec<Vec<bool>> = extents.iter().map(|&extent| vec![false; extent as usize]).collect();
    let total: usize = within.iter().map(Vec::len).product();
    let mut kept = 0u64;
    for start in (0..total).step_by(BATCH) {
        let positions = combinations(&within, start, BATCH.min(total - start));
        for row in predicate.evaluate(&positions)?.set_indices() {
            let at = positions.iter().zip(&extents);
            keep[at.fold(0, |flat, (list, extent)| flat * extent + list.value(row)) as usize] = true;
            seen.iter_mut().zip(&positions).for_each(|(seen, list)| seen[list.value(row) as usize] = true);
            kept += 1;
        }
    }
    for (&dim, seen) in dims.iter().zip(&seen) {
        selection.dims[dim] = DimSelection::from_keep(seen);
    }
    if kept < dims.iter().map(|&dim| selection.dims[dim].len()).product() {
        let mask = DimMask::try_new(shape, dims.clone(), keep).map_err(super::external)?;
        selection.masks.push(mask);
    }
    Ok(())
}

/// Combinations number `start..start + count` of the cross product of `within`, C order: a list of positions
/// for each dim.
fn combinations(within: &[Vec<u64>], start: usize, count: usize) -> Vec<UInt64Array> {
    let mut inner = 1;
    let mut lists = Vec::with_capacity(within.len());
    for positions in within.iter().rev() {
        let at = |row: usize| positions[(row / inner) % positions.len()];
        lists.push(UInt64Array::from_iter_values((start..start + count).map(at)));
        inner *= positions.len();
    }
    lists.reverse();
    lists
}

/// Drops masks that keep all of what the others leave.
pub(crate) fn drop_idle_masks(selection: &mut Selection) {
    let all = Selection::product(selection.dims.clone()).len();
    let dims = selection.dims.clone();
    let drops = |mask: &DimMask| Selection { dims: dims.clone(), masks: vec![mask.clone()] }.len() < all;
    selection.masks.retain(drops);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dim;
    use datafusion::arrow::array::{Float32Array, Float64Array, Int64Array, TimestampNanosecondArray};
    use datafusion::prelude::*;
    use datafusion::scalar::ScalarValue;

    fn dim(name: &str, coord: ArrayRef) -> Dim {
        Dim::new(name, coord)
    }

    /// time (24 months), level, latitude (descending).
    fn grid() -> GridTable {
        let month = 30 * 86_400_000_000_000i64;
        let times = TimestampNanosecondArray::from_iter_values((0..24).map(|m| m * month));
        let levels = Int64Array::from(vec![1000, 850, 500, 250]);
        let latitudes = Float64Array::from_iter_values((0..19).map(|i| 90.0 - 10.0 * f64::from(i)));
        GridTable {
            dims: vec![
                dim("time", Arc::new(times)),
                dim("level", Arc::new(levels)),
                dim("latitude", Arc::new(latitudes)),
            ],
            variables: Vec::new(),
        }
    }

    fn select_all(filters: &[Expr]) -> Result<Selection> {
        select(&grid(), filters, &SessionContext::new().state())
    }

    fn positions(selection: &Selection, dim: usize) -> Vec<u64> {
        selection.dims[dim].iter().collect()
    }

    #[test]
    fn one_dim_becomes_positions() -> Result<()> {
        let kept = select_all(&[col("level").eq(lit(500i64)), col("latitude").gt(lit(65.0))])?;
        assert_eq!(positions(&kept, 1), [2]);
        assert_eq!(positions(&kept, 2), [0, 1, 2]);
        assert_eq!(kept.len(), 24 * 3);
        let kept = select_all(&[col("level").in_list(vec![lit(250i64), lit(1000i64)], false)])?;
        assert_eq!(positions(&kept, 1), [0, 3]);
        Ok(())
    }

    #[test]
    fn any_function_of_a_dim() -> Result<()> {
        let month = datafusion::functions::datetime::expr_fn::date_part(lit("month"), col("time"));
        let kept = select_all(&[month.eq(lit(1i32))])?;
        assert_eq!(positions(&kept, 0), [0, 1, 13]); // Jan 1, Jan 31 1970, Jan 26 1971
        Ok(())
    }

    #[test]
    fn only_true_keeps() -> Result<()> {
        let null = lit(ScalarValue::Int64(None));
        assert_eq!(select_all(&[col("level").eq(null.clone())])?.len(), 0);
        assert_eq!(select_all(&[not(col("level").eq(null))])?.len(), 0);
        Ok(())
    }

    #[test]
    fn a_product_in_disguise_needs_no_mask() -> Result<()> {
        // one conjunct over two dims that keeps exactly one level and the north
        let both = col("level").eq(lit(500i64)).and(col("latitude").gt(lit(0.0)));
        let kept = select_all(&[both.or(lit(false))])?;
        assert!(kept.masks.is_empty());
        assert_eq!((kept.dims[1].len(), kept.dims[2].len()), (1, 9));
        Ok(())
    }

    #[test]
    fn what_is_no_product_becomes_a_mask() -> Result<()> {
        let either = col("level").eq(lit(500i64)).or(col("latitude").gt(lit(75.0)));
        let kept = select_all(&[either, col("latitude").gt(lit(0.0))])?;
        assert_eq!(kept.masks.len(), 1);
        assert_eq!(kept.len(), 24 * (9 + 3 * 2));
        Ok(())
    }

    #[test]
    fn undecided_filters_are_left_alone() {
        let grid = grid();
        assert_eq!(decided_by(&grid, &col("temperature").gt(lit(1))), None);
        assert_eq!(decided_by(&grid, &col("latitude").gt(random())), None);
        assert_eq!(decided_by(&grid, &lit(true)), None);
        assert_eq!(decided_by(&grid, &col("t.level").eq(col("latitude"))), Some(vec![1, 2]));
    }

    #[test]
    fn errors_of_evaluation_are_errors() {
        let ratio = (lit(1i64) / (col("level") - lit(500i64))).gt(lit(0i64));
        assert!(select_all(std::slice::from_ref(&ratio)).is_err());
        // a filter before it keeps it from the label that fails
        assert!(select_all(&[col("level").not_eq(lit(500i64)), ratio]).is_ok());
    }

    #[test]
    fn what_has_become_a_constant_keeps_all_or_nothing() -> Result<()> {
        let some = col("level").eq(lit(500i64));
        assert_eq!(select_all(&[some.clone(), lit(true)])?, select_all(std::slice::from_ref(&some))?);
        for never in [lit(false), lit(ScalarValue::Boolean(None)), lit(2).lt(lit(1))] {
            assert_eq!(select_all(&[never, some.clone()])?.len(), 0);
        }
        Ok(())
    }

    #[test]
    fn float32_coords_compare_as_stored() -> Result<()> {
        let coord: ArrayRef = Arc::new(Float32Array::from(vec![0.1, 0.2, 0.3]));
        let grid = GridTable { dims: vec![dim("x", coord)], variables: Vec::new() };
        let kept = select(&grid, &[col("x").eq(lit(0.2f32))], &SessionContext::new().state())?;
        assert_eq!(positions(&kept, 0), [1]);
        Ok(())
    }
}
