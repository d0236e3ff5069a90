//! Rows of a grid: what is kept of a unit is found, read, and given its labels.
//!
//! ```text
//! selection of a unit -> masks -> conditions on cells, one after the other -> the other variables, labels
//!                                 (each reads only its own columns, of the cells that are left)
//! ```
//! A batch owns its cells: slices of a unit would count as the whole unit wherever DataFusion sums up memory.
//! Labels are made by fills and copies, a batch at a time, and shared by all batches that have the same.

use super::bounds::Bounds;
use super::columns::Labels;
use super::layout::Layout;
use super::metrics::ScanMetrics;
use super::scan::ColumnSource;
use super::sieve::Condition;
use super::stream::Stop;
use super::verdict::Verdict;
use super::{ahead, external, types};
use crate::dataset::GridTable;
use crate::dataset::read::{ReadOptions, Reader};
use crate::tensor::{DimMask, DimSelection, Selection, step};
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBufferBuilder, MutableArrayData, RecordBatch, RecordBatchOptions,
    make_array, new_empty_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::filter;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_err};
use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Makes rows of units: the columns that a query asks for, of the cells that it keeps.
pub(crate) struct Rows {
    grid: Arc<GridTable>,
    columns: Arc<[ColumnSource]>,
    schema: SchemaRef,
    layout: Arc<Layout>,
    reader: Reader,
    /// How many threads may read the chunks of a unit.
    threads: NonZero<usize>,
    metrics: ScanMetrics,
    labels: Labels,
    masks: MaskCache,
}

/// The cells of a unit that are kept, and their values.
pub(crate) struct Found {
    /// Kept positions along each dim.
    pub dims: Vec<DimSelection>,
    /// Which cells of the product of `dims` are kept; `None` if the first `rows` are.
    pub keep: Option<BooleanBuffer>,
    /// Number of kept cells.
    pub rows: usize,
    /// How many cells passed, before all but the first of them were dropped.
    pub passed: usize,
    /// The projected variables: a value for each kept cell, or for more.
    variables: Vec<ArrayRef>,
}

/// A unit while conditions thin it.
struct Sifting {
    /// The product of its dims.
    cells: Selection,
    /// Which of them are left; `None` if all are.
    keep: Option<BooleanBuffer>,
    rows: usize,
    /// By variable: the values of the cells that are left, if they have been read.
    read: Vec<Option<ArrayRef>>,
}

impl Rows {
    /// Of `columns` of the grid, whose fields are `schema`'s, in units of `layout`; `labels` makes those of dims.
    pub(crate) fn new(
        grid: Arc<GridTable>,
        columns: impl Into<Arc<[ColumnSource]>>,
        schema: SchemaRef,
        layout: Arc<Layout>,
        options: ReadOptions,
        metrics: ScanMetrics,
        labels: Labels,
    ) -> Self {
        let (reader, masks, threads) = (Reader::new(options), MaskCache::default(), NonZero::<usize>::MIN);
        Self { grid, columns: columns.into(), schema, layout, reader, threads, metrics, labels, masks }
    }

    /// The same, whose chunks up to `threads` threads read where a unit takes long to decode.
    pub(crate) fn with_threads(self, threads: NonZero<usize>) -> Self {
        Self { threads, ..self }
    }

    /// How the grid is cut.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The schema of batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Those of `conditions` that have to be evaluated on cells of `selection`; `None` if it is known that none of
    /// these meets them all.
    pub(crate) fn open_conditions(
        &self,
        selection: &Selection,
        conditions: &[Arc<Condition>],
    ) -> Option<Vec<Arc<Condition>>> {
        if selection.dims.iter().any(DimSelection::is_empty) {
            return None;
        }
        let nan_as_missing = self.reader.options().nan_as_missing;
        let bounds = Bounds { grid: &self.grid, selection, nan_as_missing };
        let mut open = Vec::new();
        for condition in conditions {
            match condition.verdict(&bounds) {
                Verdict::Never => return None,
                Verdict::Always => {}
                Verdict::Unknown => open.push(Arc::clone(condition)),
            }
        }
        Some(open)
    }

    /// Tells files what will be read of `selection`, of whose cells some have to meet `conditions`: the variables that
    /// these look at, or else all. Returns what it counts for.
    pub(crate) fn tell(&self, selection: &Selection, conditions: &[Arc<Condition>]) -> u64 {
        let variables = |columns: &[ColumnSource]| {
            let index = |column: &ColumnSource| match *column {
                ColumnSource::Variable(index) => Some(index),
                ColumnSource::Dim(_) => None,
            };
            columns.iter().filter_map(index).collect::<BTreeSet<_>>()
        };
        let asked: BTreeSet<usize> =
            conditions.iter().flat_map(|condition| variables(condition.columns())).collect();
        let first = if asked.is_empty() { variables(&self.columns) } else { asked };
        let mut told = 0;
        for variable in first.into_iter().map(|index| &self.grid.variables[index]) {
            let parts = variable.grid.parts(selection);
            let threshold = self.reader.options().range_threshold;
            told += (0..parts.len()).map(|at| ahead::tell(variable, &parts, at, threshold)).sum::<u64>();
        }
        self.metrics.bytes_ahead.add(told as usize);
        told
    }

    /// Reads the cells of `selection` that meet all `conditions`, or the first `most` of them; `None` if `stop` is set
    /// before they are all there.
    ///
    /// # Errors
    /// Those of reading, with file, message and object, and of the conditions.
    pub(crate) fn find(
        &mut self,
        selection: Selection,
        conditions: &[Arc<Condition>],
        most: u64,
        stop: &Stop,
    ) -> Result<Option<Found>> {
        let start = Instant::now();
        let cells: u64 = selection.dims.iter().map(DimSelection::len).product();
        let keep = self.masks.kept(&selection);
        let rows = keep.as_ref().map_or(cells as usize, BooleanBuffer::count_set_bits);
        let read = vec![None; self.grid.variables.len()];
        let mut sifting = Sifting { cells: Selection::product(selection.dims), keep, rows, read };
        for condition in conditions {
            if sifting.rows == 0 {
                break;
            }
            if !self.sift(&mut sifting, condition, stop)? {
                return Ok(None);
            }
        }
        let passed = sifting.rows;
        sifting.truncate(usize::try_from(most).unwrap_or(usize::MAX))?;
        let mut variables = Vec::new();
        for column in Arc::clone(&self.columns).iter() {
            if let (ColumnSource::Variable(index), true) = (*column, sifting.rows > 0) {
                let Some(values) = self.variable(index, &mut sifting, stop)? else { return Ok(None) };
                variables.push(values);
            }
        }
        self.metrics.cells_reduced.add(sifting.rows);
        self.metrics.take(self.reader.stats_mut(), start.elapsed());
        let Sifting { cells, keep, rows, .. } = sifting;
        Ok(Some(Found { dims: cells.dims, keep, rows, passed, variables }))
    }

    /// Drops the cells that don't meet `condition`; `false` if `stop` is set.
    fn sift(&mut self, sifting: &mut Sifting, condition: &Condition, stop: &Stop) -> Result<bool> {
        let mut columns = Vec::with_capacity(condition.columns().len());
        for column in condition.columns() {
            columns.push(match *column {
                ColumnSource::Variable(index) => match self.variable(index, sifting, stop)? {
                    Some(values) => values,
                    None => return Ok(false),
                },
                ColumnSource::Dim(dim) => {
                    let coord = &self.grid.dims[dim].coord;
                    let keep = sifting.keep.as_ref();
                    self.labels.column(coord, dim, &sifting.cells.dims, keep, 0..sifting.rows)?
                }
            });
        }
        let truth = condition.evaluate(columns, sifting.rows)?;
        let left = truth.count_set_bits();
        if left < sifting.rows {
            let kept = BooleanArray::new(truth.clone(), None);
            for values in sifting.read.iter_mut().flatten() {
                *values = if left == 0 { values.slice(0, 0) } else { filter(values, &kept)? };
            }
            sifting.rows = left;
            sifting.keep = Some(refine(sifting.keep.take(), truth));
        }
        Ok(true)
    }

    /// The values of a variable in the cells that are left; `None` if `stop` is set before they are all there.
    fn variable(&mut self, index: usize, sifting: &mut Sifting, stop: &Stop) -> Result<Option<ArrayRef>> {
        if let Some(values) = &sifting.read[index] {
            return Ok(Some(Arc::clone(values)));
        }
        let variable = &self.grid.variables[index];
        let (keep, stop) = (sifting.keep.as_ref(), || stop.is_set());
        let cells = self.reader.share_slab(variable, &sifting.cells, keep, self.threads, &stop);
        let Some(cells) = cells.map_err(external)? else { return Ok(None) };
        let valid = cells.valid.map(BooleanBuffer::from);
        let values = types::column(cells.values, valid, self.reader.options().nan_as_missing)?;
        sifting.read[index] = Some(Arc::clone(&values));
        Ok(Some(values))
    }

    /// Rows `range` of what was found; all of them if they are scattered.
    pub(crate) fn batch(&mut self, found: &Found, range: Range<usize>) -> Result<RecordBatch> {
        let start = Instant::now();
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut variables = found.variables.iter();
        for column in self.columns.iter() {
            columns.push(match *column {
                ColumnSource::Dim(dim) => {
                    let coord = &self.grid.dims[dim].coord;
                    self.labels.column(coord, dim, &found.dims, found.keep.as_ref(), range.clone())?
                }
                ColumnSource::Variable(index) => match variables.next() {
                    Some(cells) => part(cells, range.clone())?,
                    None if range.is_empty() => new_empty_array(&self.grid.variables[index].arrow_type()),
                    None => return internal_err!("a unit lacks a variable"),
                },
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(range.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.metrics.time_reduce.add_duration(start.elapsed());
        Ok(batch)
    }
}

impl Sifting {
    /// Drops all but the first `most` cells.
    fn truncate(&mut self, most: usize) -> Result<()> {
        if self.rows <= most {
            return Ok(());
        }
        if let Some(keep) = &self.keep {
            let mut bits = BooleanBufferBuilder::new(keep.len());
            bits.append_n(keep.len(), false);
            keep.set_indices().take(most).for_each(|cell| bits.set_bit(cell, true));
            self.keep = Some(bits.finish());
        }
        self.read.iter_mut().flatten().for_each(|values| *values = values.slice(0, most));
        self.rows = most;
        Ok(())
    }
}

/// The cells of `keep` (of all, if `None`) for which `truth`, a bit for each of them, is true.
fn refine(keep: Option<BooleanBuffer>, truth: BooleanBuffer) -> BooleanBuffer {
    let Some(keep) = keep else { return truth };
    let mut bits = BooleanBufferBuilder::new(keep.len());
    bits.append_n(keep.len(), false);
    for (row, cell) in keep.set_indices().enumerate() {
        if truth.value(row) {
            bits.set_bit(cell, true);
        }
    }
    bits.finish()
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

/// What masks keep of a unit; units that differ only where masks don't look share it.
#[derive(Default)]
struct MaskCache {
    masks: Vec<DimMask>,
    /// By dim: what is kept of it where a mask looks; elsewhere, how much.
    dims: Vec<(u64, Option<DimSelection>)>,
    kept: Option<BooleanBuffer>,
}

impl MaskCache {
    /// Which cells of the product of `selection`'s dims its masks keep; `None` if they keep all.
    fn kept(&mut self, selection: &Selection) -> Option<BooleanBuffer> {
        if selection.masks.is_empty() {
            return None;
        }
        let looks = |dim: usize| selection.masks.iter().any(|mask| mask.dims().contains(&dim));
        let seen = |(dim, kept): (usize, &DimSelection)| (kept.len(), looks(dim).then(|| kept.clone()));
        let dims: Vec<_> = selection.dims.iter().enumerate().map(seen).collect();
        if self.masks != selection.masks || self.dims != dims {
            let bits = kept(selection);
            self.kept = (bits.count_set_bits() < bits.len()).then_some(bits);
            self.masks.clone_from(&selection.masks);
            self.dims = dims;
        }
        self.kept.clone()
    }
}

/// Which cells of the product of `selection`'s dims its masks keep, C order.
fn kept(selection: &Selection) -> BooleanBuffer {
    let last = selection.masks.iter().filter_map(|mask| mask.dims().last()).max();
    let outer = last.map_or(0, |&dim| dim + 1);
    let dims: Vec<Vec<u64>> = selection.dims[..outer].iter().map(|dim| dim.iter().collect()).collect();
    let inner: u64 = selection.dims[outer..].iter().map(DimSelection::len).product();
    let rows: usize = dims.iter().map(Vec::len).product();
    let mut bits = BooleanBufferBuilder::new(rows * inner as usize);
    let mut at = vec![0; dims.len()];
    let mut position: Vec<u64> = dims.iter().map(|dim| dim.first().copied().unwrap_or(0)).collect();
    for _ in 0..rows {
        bits.append_n(inner as usize, selection.masks.iter().all(|mask| mask.keeps(&position)));
        step(&mut at, |dim| dims[dim].len());
        for dim in (0..dims.len()).rev() {
            position[dim] = dims[dim][at[dim]];
            if at[dim] != 0 {
                break;
            }
        }
    }
    bits.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;

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
        let mask = DimMask::try_new(&[2, 2, 3], vec![0, 1], vec![true, false, false, true]).unwrap();
        let all = |len| DimSelection::all(len);
        let mut selection = Selection { dims: vec![all(2), all(2), all(3)], masks: vec![mask] };
        let bits = |buffer: &BooleanBuffer| buffer.iter().map(u8::from).collect::<Vec<_>>();
        assert_eq!(bits(&kept(&selection)), [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
        let mut cache = MaskCache::default();
        assert_eq!(bits(&cache.kept(&selection).unwrap()), bits(&kept(&selection)));
        selection.dims[0] = DimSelection::Range(1..2);
        assert_eq!(bits(&cache.kept(&selection).unwrap()), [0, 0, 0, 1, 1, 1]);
        selection.dims[1] = DimSelection::Range(1..2);
        assert_eq!(cache.kept(&selection), None);
    }

    #[test]
    fn truth_refines_what_is_kept() {
        let bits = |bits: &[u8]| BooleanBuffer::from_iter(bits.iter().map(|&bit| bit == 1));
        assert_eq!(refine(None, bits(&[0, 1])), bits(&[0, 1]));
        assert_eq!(refine(Some(bits(&[1, 0, 1, 1])), bits(&[1, 0, 1])), bits(&[1, 0, 0, 1]));
    }
}
