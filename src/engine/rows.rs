//! Rows of one partition: unit after unit is read, given its labels, and handed out in batches.
//!
//! A batch owns its cells: slices of a unit would count as the whole unit wherever DataFusion sums up memory.
//! Labels are made a batch at a time; those that are constant over a batch are made once for many.

use super::layout::{Layout, Unit};
use super::metrics::ScanMetrics;
use super::scan::ColumnSource;
use super::stream::{Producer, Stop};
use super::{external, types};
use crate::dataset::GridTable;
use crate::dataset::read::Reader;
use crate::tensor::Selection;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, MutableArrayData, RecordBatch, RecordBatchOptions, UInt64Array, make_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{filter, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, ScalarValue, internal_err};
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
    pub current: Option<Current>,
}

/// The unit at hand.
pub(crate) struct Current {
    /// Kept positions along each dim.
    dims: Vec<Vec<u64>>,
    /// Of the rows, which cell of the product of `dims` each is; `None` if they are the first cells.
    cells: Option<Vec<usize>>,
    /// The projected variables: a value for each row, or for more of the unit's cells.
    variables: Vec<ArrayRef>,
    rows: usize,
    done: usize,
}

impl Producer for Rows {
    fn next(&mut self, _: &Stop) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(unit) = &mut self.current {
                let left = unit.rows - unit.done;
                if left > 0 {
                    let rows = if self.columns.is_empty() { left } else { left.min(self.batch_size) };
                    let range = unit.done..unit.done + rows;
                    unit.done += rows;
                    return self.batch(range).map(Some);
                }
                self.current = None;
            }
            if self.units.is_empty() || self.remaining == 0 {
                return Ok(None);
            }
            let unit = self.layout.unit(self.units.start);
            self.units.start += 1;
            let unit = self.open(&unit)?;
            self.remaining -= unit.rows as u64;
            self.current = Some(unit);
        }
    }
}

impl Rows {
    /// Reads the variables of `unit`, or as much of them as is still wanted.
    fn open(&mut self, unit: &Unit) -> Result<Current> {
        let start = Instant::now();
        let mut selection = self.layout.selection(unit);
        let mut rows = selection.len();
        if rows > self.remaining {
            selection = selection.take_first(self.remaining);
            rows = self.remaining;
        }
        let mut variables = Vec::new();
        let kept = (!selection.masks.is_empty() && !self.columns.is_empty()).then(|| kept(&selection));
        for column in Arc::clone(&self.columns).iter() {
            if let (ColumnSource::Variable(index), true) = (*column, rows > 0) {
                let cells = self.cells(index, &selection)?;
                variables.push(match &kept {
                    Some(kept) => filter(&cells, kept)?,
                    None => cells,
                });
            }
        }
        self.metrics.cells_reduced.add(rows as usize);
        self.metrics.take(self.reader.stats_mut(), start.elapsed());
        Ok(Current {
            dims: selection.dims.iter().map(|dim| dim.iter().collect()).collect(),
            cells: kept.map(|kept| kept.values().set_indices().collect()),
            variables,
            rows: rows as usize,
            done: 0,
        })
    }

    fn cells(&mut self, index: usize, selection: &Selection) -> Result<ArrayRef> {
        let variable = &self.grid.variables[index];
        let cells = self.reader.read_slab(variable, selection).map_err(external)?;
        let valid = cells.valid.map(BooleanBuffer::from);
        types::column(cells.values, valid, self.reader.options().nan_as_missing)
    }

    /// Rows `range` of the unit at hand.
    fn batch(&mut self, range: Range<usize>) -> Result<RecordBatch> {
        let start = Instant::now();
        let mut columns = Vec::with_capacity(self.columns.len());
        if let Some(unit) = &self.current {
            let mut variables = unit.variables.iter();
            for column in self.columns.iter() {
                columns.push(match (*column, variables.as_slice()) {
                    (ColumnSource::Dim(dim), _) => {
                        self.labels.column(&self.grid.dims[dim].coord, dim, unit, range.clone())?
                    }
                    (ColumnSource::Variable(_), []) => return internal_err!("a unit lacks a variable"),
                    (ColumnSource::Variable(_), [cells, ..]) => {
                        variables.next();
                        part(cells, range.clone())?
                    }
                });
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(range.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.metrics.time_reduce.add_duration(start.elapsed());
        Ok(batch)
    }
}

/// Rows `range` of `cells`, as an array of their own unless that is all of them.
fn part(cells: &ArrayRef, range: Range<usize>) -> Result<ArrayRef> {
    if range == (0..cells.len()) {
        return Ok(Arc::clone(cells));
    }
    let data = cells.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, range.len());
    copy.try_extend(0, range.start, range.end)?;
    Ok(make_array(copy.freeze()))
}

/// Which cells of the product of `selection`'s dims its masks keep, C order.
fn kept(selection: &Selection) -> BooleanArray {
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

/// Columns of one label, shared by the batches that have the same.
#[derive(Default)]
pub(crate) struct LabelCache {
    /// For each dim: the position, and a column of its label.
    last: Vec<Option<(u64, ArrayRef)>>,
}

impl LabelCache {
    /// The labels of `dim` for rows `range` of `unit`.
    fn column(
        &mut self,
        coord: &ArrayRef,
        dim: usize,
        unit: &Current,
        range: Range<usize>,
    ) -> Result<ArrayRef> {
        let [position] = unit.dims[dim].as_slice() else {
            let inner = unit.dims[dim + 1..].iter().map(Vec::len).product();
            let positions = match &unit.cells {
                None => positions(&unit.dims[dim], inner, range),
                Some(cells) => {
                    let kept = &unit.dims[dim];
                    cells[range].iter().map(|cell| kept[cell / inner % kept.len()]).collect()
                }
            };
            return Ok(take(coord, &UInt64Array::from(positions), None)?);
        };
        if self.last.len() <= dim {
            self.last.resize(dim + 1, None);
        }
        if let Some((last, labels)) = &self.last[dim]
            && last == position
            && labels.len() == range.len()
        {
            return Ok(Arc::clone(labels));
        }
        let labels = ScalarValue::try_from_array(coord, *position as usize)?.to_array_of_size(range.len())?;
        self.last[dim] = Some((*position, Arc::clone(&labels)));
        Ok(labels)
    }
}

/// The position of cells `range`, where each of `kept` stands for `inner` cells and they repeat over and over.
fn positions(kept: &[u64], inner: usize, range: Range<usize>) -> Vec<u64> {
    let mut positions = Vec::with_capacity(range.len());
    let mut cell = range.start;
    while cell < range.end {
        let at = cell / inner % kept.len();
        if inner == 1 {
            let count = (kept.len() - at).min(range.end - cell);
            positions.extend_from_slice(&kept[at..at + count]);
            cell += count;
        } else {
            let count = (inner - cell % inner).min(range.end - cell);
            positions.resize(positions.len() + count, kept[at]);
            cell += count;
        }
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DimMask, DimSelection};
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;

    #[test]
    fn positions_repeat_in_c_order() {
        assert_eq!(positions(&[4, 7], 2, 0..8), [4, 4, 7, 7, 4, 4, 7, 7]);
        assert_eq!(positions(&[4, 7], 2, 3..6), [7, 4, 4]);
        assert_eq!(positions(&[1, 2, 5], 1, 2..7), [5, 1, 2, 5, 1]);
        assert_eq!(positions(&[1, 2], 3, 1..2), [1]);
    }

    #[test]
    fn a_part_owns_its_cells() -> Result<()> {
        let cells: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
        let some = part(&cells, 1..3)?;
        assert_eq!(some.as_primitive::<Int64Type>(), &Int64Array::from(vec![None, Some(3)]));
        assert_eq!(some.offset(), 0);
        assert!(Arc::ptr_eq(&part(&cells, 0..4)?, &cells));
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
