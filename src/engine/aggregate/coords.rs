//! Expressions over dims, evaluated on the selected coords instead of on cells.

use crate::engine::scan::{ColumnSource, TensorScanExec};
use crate::tensor::{DimMask, DimSelection, Selection};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, UInt64Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// The selected positions of each dim of a scan and their labels.
#[derive(Debug, Clone)]
pub(super) struct Coords {
    schema: SchemaRef,
    sources: Vec<ColumnSource>,
    /// Of the whole grid.
    shape: Vec<u64>,
    selected: Vec<DimSelection>,
    /// By dim: labels of the selected positions. `None` for dims that the scan doesn't project.
    labels: Vec<Option<ArrayRef>>,
}

impl Coords {
    /// Those of `scan`, with labels in the types of its columns.
    ///
    /// # Errors
    /// Those of arrow's `take` and `cast`.
    pub(super) fn try_new(scan: &TensorScanExec) -> Result<Self> {
        let schema = scan.schema();
        let sources: Vec<_> = (0..schema.fields().len()).map(|i| scan.column(i)).collect();
        let selected = scan.selection().dims.clone();
        let mut labels = vec![None; selected.len()];
        for (source, field) in sources.iter().zip(schema.fields()) {
            if let ColumnSource::Dim(dim) = *source {
                let kept = take_positions(&scan.grid().dims[dim].coord, &selected[dim])?;
                labels[dim] = Some(cast(&kept, field.data_type())?);
            }
        }
        Ok(Self { schema, sources, shape: scan.grid().shape(), selected, labels })
    }

    /// What a column of the scan is.
    pub(super) fn source(&self, column: usize) -> ColumnSource {
        self.sources[column]
    }

    /// Schema of the scan.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Positions of each dim, selected or not.
    pub(super) fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Labels of the selected positions of `dim`.
    ///
    /// # Errors
    /// If the scan doesn't have them as a column.
    pub(super) fn labels(&self, dim: usize) -> Result<ArrayRef> {
        self.labels[dim]
            .as_ref()
            .map_or_else(|| exec_err!("the labels of dim {dim} aren't read"), |labels| Ok(Arc::clone(labels)))
    }

    /// Number of selected positions of `dim`.
    pub(super) fn selected(&self, dim: usize) -> u64 {
        self.selected[dim].len()
    }

    /// Values of `exprs` for each combination of selected positions of `dims`, C order. `exprs` mention no
    /// column beside those dims.
    ///
    /// # Errors
    /// Those of the expressions.
    pub(super) fn evaluate(&self, exprs: &[Arc<dyn PhysicalExpr>], dims: &[usize]) -> Result<Vec<ArrayRef>> {
        let shape: Vec<usize> = dims.iter().map(|&dim| self.selected[dim].len() as usize).collect();
        let rows: usize = shape.iter().product();
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        let mut at = vec![None; self.sources.len()];
        for (column, source) in self.sources.iter().enumerate() {
            let ColumnSource::Dim(dim) = *source else { continue };
            let (Some(axis), Some(labels)) = (dims.iter().position(|&d| d == dim), &self.labels[dim]) else {
                continue;
            };
            at[column] = Some(fields.len());
            fields.push(Arc::clone(&self.schema.fields()[column]));
            arrays.push(take(labels, &axis_indices(&shape, axis, rows), None)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        exprs.iter().map(|expr| reindex(expr, &at)?.evaluate(&batch)?.into_array(rows)).collect()
    }
}

impl Coords {
    /// `values`, one for each combination of selected positions of `dims`, spread over all positions of those
    /// dims; `other` where a position isn't selected. C order both.
    pub(super) fn scatter<T: Copy>(&self, dims: &[usize], values: &[T], other: T) -> Vec<T> {
        let all: u64 = dims.iter().map(|&dim| self.shape[dim]).product();
        if all == values.len() as u64 {
            return values.to_vec();
        }
        let kept: Vec<Vec<u64>> = dims.iter().map(|&dim| self.selected[dim].iter().collect()).collect();
        let mut spread = vec![other; all as usize];
        let mut at = vec![0; dims.len()];
        for &value in values {
            let place = kept.iter().zip(&at).map(|(kept, &at)| kept[at]);
            let flat = place.zip(dims).fold(0, |flat, (place, &dim)| flat * self.shape[dim] + place);
            spread[flat as usize] = value;
            crate::tensor::step(&mut at, |dim| kept[dim].len());
        }
        spread
    }

    /// The cells of `from` for which `predicate`, over dims alone, is true.
    ///
    /// # Errors
    /// Those of the predicate.
    pub(super) fn select(
        &self,
        from: &Selection,
        predicate: &Arc<dyn PhysicalExpr>,
        dims: &[usize],
    ) -> Result<Selection> {
        let truth = self.evaluate(std::slice::from_ref(predicate), dims)?;
        let truth = as_boolean_array(&truth[0])?;
        let keep: Vec<bool> = (0..truth.len()).map(|i| truth.is_valid(i) && truth.value(i)).collect();
        let mut selection = from.clone();
        match *dims {
            [] if keep == [true] => {}
            [] => selection.dims.iter_mut().for_each(|dim| *dim = DimSelection::none()),
            [dim] => {
                let positions =
                    self.selected[dim].iter().zip(keep).filter_map(|(at, keep)| keep.then_some(at));
                selection.dims[dim] = DimSelection::from_indices(positions.collect());
            }
            _ => {
                let mask = DimMask::try_new(&self.shape, dims.to_vec(), self.scatter(dims, &keep, false));
                selection.masks.push(mask.map_err(crate::engine::external)?);
            }
        }
        Ok(selection)
    }
}

/// Dims that `expr` mentions, ascending; `None` if it mentions a variable.
pub(super) fn dims_of(expr: &Arc<dyn PhysicalExpr>, coords: &Coords) -> Option<Vec<usize>> {
    let mut dims = Vec::new();
    for column in collect_columns(expr) {
        match coords.source(column.index()) {
            ColumnSource::Dim(dim) => dims.push(dim),
            ColumnSource::Variable(_) => return None,
        }
    }
    dims.sort_unstable();
    dims.dedup();
    Some(dims)
}

/// `expr` with column `i` replaced by column `at[i]`.
///
/// # Errors
/// If it mentions a column that has no place.
pub(super) fn reindex(expr: &Arc<dyn PhysicalExpr>, at: &[Option<usize>]) -> Result<Arc<dyn PhysicalExpr>> {
    let replace = |node: Arc<dyn PhysicalExpr>| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        match at.get(column.index()).copied().flatten() {
            Some(index) => Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as _)),
            None => exec_err!("column `{}` isn't read", column.name()),
        }
    };
    Ok(Arc::clone(expr).transform_up(replace)?.data)
}

/// The labels at `positions`.
fn take_positions(labels: &ArrayRef, positions: &DimSelection) -> Result<ArrayRef> {
    Ok(match positions {
        DimSelection::Range(range) if range.start <= range.end && range.end <= labels.len() as u64 => {
            labels.slice(range.start as usize, (range.end - range.start) as usize)
        }
        positions => take(labels, &UInt64Array::from_iter_values(positions.iter()), None)?,
    })
}

/// Position along `axis` of each element of an array of `shape`, C order.
fn axis_indices(shape: &[usize], axis: usize, rows: usize) -> UInt32Array {
    let inner: usize = shape[axis + 1..].iter().product::<usize>().max(1);
    let len = shape[axis].max(1);
    (0..rows).map(|row| (row / inner % len) as u32).collect::<Vec<_>>().into()
}
