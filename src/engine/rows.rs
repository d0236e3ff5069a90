//! Rows of one partition: unit after unit is read, given its labels, and handed out in batches.
//!
//! Decoding happens inside the poll of the partition's stream, one unit at a time: a unit is bounded (see
//! [`super::layout`]), the stream returns to its caller after each batch, and DataFusion already gives every
//! partition its own task. Another thread per scan would add a copy of the unit's size and a queue, and take
//! the core away from the operators above.

use super::layout::{Layout, Unit};
use super::metrics::ScanMetrics;
use super::scan::ColumnSource;
use super::{external, types};
use crate::dataset::GridTable;
use crate::dataset::read::Reader;
use crate::tensor::{DimSelection, Selection};
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{filter_record_batch, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, ScalarValue};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// The rows of some units of a scan.
pub(crate) struct Rows {
    pub grid: Arc<GridTable>,
    pub columns: Arc<[ColumnSource]>,
    pub schema: SchemaRef,
    pub layout: Arc<Layout>,
    /// Units still to read.
    pub units: Range<u64>,
    /// Rows still to yield.
    pub remaining: u64,
    pub batch_size: usize,
    pub reader: Reader,
    pub metrics: ScanMetrics,
    pub labels: LabelCache,
    /// The unit at hand and how many of its rows are out.
    pub current: Option<(RecordBatch, usize)>,
}

impl Rows {
    /// The next batch; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((unit, done)) = &mut self.current {
                let left = unit.num_rows() - *done;
                if left > 0 {
                    let rows = if self.columns.is_empty() { left } else { left.min(self.batch_size) };
                    let batch = unit.slice(*done, rows);
                    *done += rows;
                    return Ok(Some(batch));
                }
                self.current = None;
            }
            if self.units.is_empty() || self.remaining == 0 {
                return Ok(None);
            }
            let unit = self.layout.unit(self.units.start);
            self.units.start += 1;
            let batch = self.read(&unit)?;
            self.remaining -= batch.num_rows() as u64;
            self.current = Some((batch, 0));
        }
    }

    /// All rows of `unit`, or the first that are still wanted.
    pub(crate) fn read(&mut self, unit: &Unit) -> Result<RecordBatch> {
        let start = Instant::now();
        let mut selection = self.layout.selection(unit);
        let mut rows = selection.len();
        if rows > self.remaining {
            selection = selection.take_first(self.remaining);
            rows = self.remaining;
        }
        let batch = if self.columns.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), Vec::new(), &options)?
        } else if rows == 0 {
            RecordBatch::new_empty(Arc::clone(&self.schema))
        } else {
            self.read_columns(&selection)?.slice(0, rows as usize)
        };
        self.metrics.cells_reduced.add(rows as usize);
        self.metrics.take(self.reader.stats_mut(), start.elapsed());
        Ok(batch)
    }

    fn read_columns(&mut self, selection: &Selection) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in Arc::clone(&self.columns).iter() {
            columns.push(match *column {
                ColumnSource::Dim(dim) => self.labels.column(&self.grid, dim, selection)?,
                ColumnSource::Variable(index) => self.cells(index, selection)?,
            });
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if selection.masks.is_empty() {
            return Ok(batch);
        }
        Ok(filter_record_batch(&batch, &kept(selection))?)
    }

    fn cells(&mut self, index: usize, selection: &Selection) -> Result<ArrayRef> {
        let variable = &self.grid.variables[index];
        let cells = self.reader.read_slab(variable, selection).map_err(external)?;
        let valid = cells.valid.map(BooleanBuffer::from);
        types::column(cells.values, valid, self.reader.options().nan_as_missing)
    }
}

/// Which cells of the product of `selection`'s dims its masks keep, C order.
pub(crate) fn kept(selection: &Selection) -> BooleanArray {
    let dims: Vec<Vec<u64>> = selection.dims.iter().map(|dim| dim.iter().collect()).collect();
    let cells = dims.iter().map(Vec::len).product();
    let mut at = vec![0; dims.len()];
    let mut position: Vec<u64> = dims.iter().map(|dim| dim.first().copied().unwrap_or(0)).collect();
    let keep = BooleanBuffer::collect_bool(cells, |_| {
        let keeps = selection.masks.iter().all(|mask| mask.keeps(&position));
        for dim in (0..dims.len()).rev() {
            at[dim] += 1;
            if at[dim] == dims[dim].len() {
                at[dim] = 0;
            }
            position[dim] = dims[dim][at[dim]];
            if at[dim] != 0 {
                break;
            }
        }
        keeps
    });
    BooleanArray::new(keep, None)
}

/// Columns of labels. Those of the inner dims are the same from unit to unit and are shared.
#[derive(Default)]
pub(crate) struct LabelCache {
    last: Vec<Option<CachedLabels>>,
}

struct CachedLabels {
    kept: DimSelection,
    inner: u64,
    cells: u64,
    labels: ArrayRef,
}

impl LabelCache {
    /// The labels of `dim` for each cell of the product of `selection`'s dims, C order.
    fn column(&mut self, grid: &GridTable, dim: usize, selection: &Selection) -> Result<ArrayRef> {
        let kept = &selection.dims[dim];
        let inner: u64 = selection.dims[dim + 1..].iter().map(DimSelection::len).product();
        let cells: u64 = selection.dims.iter().map(DimSelection::len).product();
        if self.last.len() <= dim {
            self.last.resize_with(dim + 1, || None);
        }
        if let Some(last) = &self.last[dim]
            && (last.inner, last.cells) == (inner, cells)
            && last.kept == *kept
        {
            return Ok(Arc::clone(&last.labels));
        }
        let labels = repeat(&grid.dims[dim].coord, kept, inner as usize, cells as usize)?;
        self.last[dim] = Some(CachedLabels { kept: kept.clone(), inner, cells, labels: Arc::clone(&labels) });
        Ok(labels)
    }
}

/// The kept labels, each `inner` times, over and over until there are `cells`.
fn repeat(coord: &ArrayRef, kept: &DimSelection, inner: usize, cells: usize) -> Result<ArrayRef> {
    if let (1, Some(position)) = (kept.len(), kept.get(0)) {
        return ScalarValue::try_from_array(coord, position as usize)?.to_array_of_size(cells);
    }
    let mut positions = Vec::with_capacity(cells);
    for position in kept.iter() {
        positions.resize(positions.len() + inner, position);
    }
    let period = positions.len();
    while positions.len() < cells && period > 0 {
        let more = period.min(cells - positions.len());
        positions.extend_from_within(..more);
    }
    Ok(take(coord, &UInt64Array::from(positions), None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DimMask;
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;

    #[test]
    fn labels_repeat_in_c_order() -> Result<()> {
        let coord: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30]));
        let two = DimSelection::from_indices(vec![0, 2]);
        let labels = repeat(&coord, &two, 2, 8)?;
        assert_eq!(labels.as_primitive::<Int64Type>().values(), &[10, 10, 30, 30, 10, 10, 30, 30]);
        let one = DimSelection::from_indices(vec![1]);
        assert_eq!(repeat(&coord, &one, 4, 3)?.as_primitive::<Int64Type>().values(), &[20, 20, 20]);
        Ok(())
    }

    #[test]
    fn masks_thin_rows() {
        let mask = DimMask::try_new(&[2, 2], vec![0, 1], vec![true, false, false, true]).unwrap();
        let dims = vec![DimSelection::all(2), DimSelection::all(2)];
        let keep = kept(&Selection { dims, masks: vec![mask] });
        assert_eq!(keep.iter().flatten().collect::<Vec<_>>(), [true, false, false, true]);
    }
}
