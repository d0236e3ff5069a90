//! What a scan is asked for, and what follows from it before anything is read.

use super::ahead::BUDGET;
use super::bounds::{Bounds, Visit};
use super::layout::{Layout, TARGET_CELLS};
use super::order;
use super::provider::TensorTable;
use super::scan::ColumnSource;
use super::sieve::Taken;
use crate::dataset::Variable;
use crate::dataset::read::ReadOptions;
use crate::tensor::Selection;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, Statistics};
use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

/// Cells of a unit at least, where a limit would make it smaller.
const LEAST_CELLS: u64 = 1 << 10;

/// Units of a partition at least, where there are predicates on cells and enough cells for that.
const TAKEN_UNITS: u64 = 8;

/// What a scan is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub table: TensorTable,
    /// The cells that are kept, by predicates that the coords decide.
    pub selection: Selection,
    /// Columns of the table, in output order.
    pub projection: Vec<usize>,
    /// Predicates on top of the selection; the limit comes after them.
    pub taken: Taken,
    /// The order in which units are visited, if it isn't that of the grid.
    pub visit: Option<Visit>,
    /// Whether the order of its rows, and which columns are constant, is kept to itself, for a node above that would
    /// make too much of it.
    pub unordered: bool,
    /// Rows after which a partition stops.
    pub limit: Option<usize>,
    pub options: ReadOptions,
    /// Partitions that the session asks for.
    pub target_partitions: usize,
    pub batch_size: usize,
    /// Whether predicates may be taken.
    pub takes_predicates: bool,
}

impl Request {
    /// The output columns.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(Arc::new(self.table.arrow_schema().project(&self.projection)?))
    }

    /// What output column `index` is.
    pub(crate) fn column(&self, index: usize) -> ColumnSource {
        self.table.column(self.projection[index])
    }

    /// Rows that one partition yields, at most.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit as u64)
    }

    /// The variables that are read, for output or for predicates.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        let columns: BTreeSet<usize> = self.projection.iter().copied().chain(self.taken.columns()).collect();
        columns.into_iter().filter_map(|column| match self.table.column(column) {
            ColumnSource::Variable(index) => self.table.grid().variables.get(index),
            ColumnSource::Dim(_) => None,
        })
    }

    /// Chunks of these variables: how many the selection touches, and how many there are.
    pub(crate) fn chunks(&self) -> (u64, u64) {
        let touched = |variable: &Variable| variable.grid.parts(&self.selection).len();
        self.variables().fold((0, 0), |(some, all), v| (some + touched(v), all + v.chunks.len() as u64))
    }

    /// How the selection is cut into units: small ones where few rows are wanted, and several for each partition where
    /// predicates may become stricter from one to the next.
    pub(crate) fn layout(&self) -> Layout {
        let batch = self.batch_size as u64;
        let cells = match self.limit {
            Some(limit) if self.taken.is_empty() => limit as u64,
            _ => self.selection.len(),
        };
        let units = if self.taken.is_empty() { 1 } else { TAKEN_UNITS };
        let least = if self.limit.is_some() { LEAST_CELLS.min(batch) } else { batch };
        let target = (cells / (units * self.target_partitions as u64)).clamp(least, TARGET_CELLS.max(batch));
        let whole = self.variables().filter(|v| !v.seeks(target, self.options.range_threshold));
        let grains: Vec<Vec<u64>> = whole.map(|variable| variable.grid.chunk_shape().to_vec()).collect();
        Layout::new(self.selection.clone(), &grains, target)
    }

    /// `units` of `layout` in the order in which they are visited.
    pub(crate) fn visited(&self, layout: &Layout, units: Range<u64>) -> Vec<u64> {
        let mut units: Vec<u64> = units.collect();
        if let Some(visit) = self.visit {
            let (grid, nan_as_missing) = (self.table.grid(), self.options.nan_as_missing);
            let known = |&unit: &u64| {
                let selection = layout.selection(&layout.unit(unit));
                let bounds = Bounds { grid, selection: &selection, nan_as_missing };
                bounds.known(&grid.variables[visit.variable])
            };
            let known: HashMap<u64, _> = units.iter().map(|unit| (*unit, known(unit))).collect();
            units.sort_by(|one, other| visit.compare(known[one], known[other]));
        }
        units
    }

    /// Bytes that one partition holds at a time: a unit's variables, the bits of what is kept of it, the chunks that
    /// `threads` decode (where they have to be fetched, encoded bytes, too), and two batches, one that was handed on and one
    /// that is being made.
    pub(crate) fn memory(&self, layout: &Layout, threads: NonZero<usize>) -> usize {
        let cell = |variable: &Variable| variable.dtype.width().unwrap_or(1) as u64;
        let row = self.variables().map(cell).sum::<u64>();
        let batches = (2 * self.projection.len() * 8 * self.batch_size) as u64;
        let cells =
            |v: &Variable| v.grid.chunk_shape().iter().fold(1, |cells: u64, &len| cells.saturating_mul(len));
        let whole = |v: &&Variable| !v.seeks(layout.largest(), self.options.range_threshold);
        let chunk =
            self.variables().filter(whole).map(|v| cells(v).saturating_mul(cell(v))).max().unwrap_or(0);
        // What masks keep, what a condition found, and both together.
        let bits = if self.taken.is_empty() && self.selection.masks.is_empty() { 0 } else { 3 };
        let kept = layout.largest().div_ceil(8).saturating_mul(bits);
        let unit = layout.largest().saturating_mul(row).saturating_add(kept);
        let fetched = self.variables().map(|variable| variable.fetched(BUDGET)).max().unwrap_or(0);
        let chunks = chunk.saturating_mul(threads.get() as u64);
        let bytes = unit.saturating_add(chunks).saturating_add(fetched).saturating_add(batches);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// What is known of the rows of `partitions` partitions.
    pub(crate) fn statistics(&self, partitions: usize) -> Statistics {
        let most = self.limit().saturating_mul(partitions as u64);
        let rows = self.selection.len().min(most);
        let exact = self.taken.is_empty() && (self.limit.is_none() || partitions == 1);
        // several masks, or a limit, may leave nothing of a position
        let every_label = self.limit.is_none() && self.selection.masks.len() < 2 && rows > 0;
        let dims = &self.selection.dims;
        let column = |index: usize| match self.column(index) {
            ColumnSource::Dim(dim) if every_label => order::dim_statistics(&dims[dim]),
            ColumnSource::Dim(_) => {
                ColumnStatistics { null_count: Precision::Exact(0), ..ColumnStatistics::new_unknown() }
            }
            ColumnSource::Variable(variable) if self.limit.is_none() => {
                let variable = &self.table.grid().variables[variable];
                order::variable_statistics(variable, &self.selection, self.options.nan_as_missing)
            }
            ColumnSource::Variable(_) => ColumnStatistics::new_unknown(),
        };
        let types = self.projection.iter().map(|&column| self.table.arrow_schema().field(column));
        let width = types.map(|field| field.data_type().primitive_width()).sum::<Option<usize>>();
        let bytes = |width: usize| Precision::Inexact((rows as usize).saturating_mul(width));
        let statistics = Statistics {
            num_rows: Precision::Exact(rows as usize),
            // what joins go by when they choose their sides
            total_byte_size: width.map_or(Precision::Absent, bytes),
            column_statistics: (0..self.projection.len()).map(column).collect(),
        };
        if exact { statistics } else { statistics.to_inexact() }
    }
}
