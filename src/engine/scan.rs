//! `TensorScanExec`: the kept cells of a grid as rows, in the grid's C order.

use super::config::MillibarConfig;
use super::layout::{Layout, TARGET_CELLS};
use super::metrics::ScanMetrics;
use super::order;
use super::provider::TensorTable;
use super::rows::{LabelCache, Rows};
use super::stream;
use crate::dataset::read::{ReadOptions, Reader};
use crate::dataset::{GridTable, Variable};
use crate::tensor::Selection;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Fewer batches than this aren't worth another partition.
const PARTITION_BATCHES: u64 = 4;

/// What a column of a tensor table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnSource {
    /// The labels of the dim of this index.
    Dim(usize),
    /// The cells of the variable of this index.
    Variable(usize),
}

/// Yields the kept cells of a grid as rows, in C order: a partition is a run of them.
#[derive(Debug, Clone)]
pub struct TensorScanExec {
    table: TensorTable,
    selection: Selection,
    projection: Vec<usize>,
    schema: SchemaRef,
    limit: Option<usize>,
    options: ReadOptions,
    target_partitions: usize,
    batch_size: usize,
    layout: Arc<Layout>,
    /// A range of units for each partition.
    partitions: Vec<Range<u64>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// Why an aggregate above it isn't reduced on the grid.
    note: Option<Arc<str>>,
}

impl TensorScanExec {
    /// A scan of the columns `projection` of `table` (all of them if `None`) where `selection` keeps cells.
    /// With a `limit` it yields the first rows of the grid's C order, in one partition: which rows come doesn't
    /// depend on who is faster.
    ///
    /// # Errors
    /// Those of DataFusion for a projection that leaves the schema.
    pub fn try_new(
        table: TensorTable,
        selection: Selection,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        config: &ConfigOptions,
    ) -> Result<Self> {
        let all = || (0..table.arrow_schema().fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(table.arrow_schema().project(&projection)?);
        let options = MillibarConfig::of(config).read_options(table.overrides());
        let selection = match limit {
            Some(limit) => selection.take_first(limit as u64),
            None => selection,
        };
        let target_partitions = config.execution.target_partitions.max(1);
        let batch_size = config.execution.batch_size.get();
        let rows = selection.len().min(limit.map_or(u64::MAX, |limit| limit as u64));
        let smallest = batch_size as u64;
        let target = (rows / target_partitions as u64).clamp(smallest, TARGET_CELLS.max(smallest));
        let grains = grains(&table, &projection, target, &options);
        let layout = Arc::new(Layout::new(selection.clone(), &grains, target));
        let most = if limit.is_some() { 1 } else { rows / (PARTITION_BATCHES * smallest) };
        let partitions = partition(layout.units(), most, target_partitions);
        let properties = PlanProperties::new(
            order::properties(&table, &projection, &schema, &selection)?,
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            table,
            selection,
            projection,
            schema,
            limit,
            options,
            target_partitions,
            batch_size,
            layout,
            partitions,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            note: None,
        })
    }

    /// The same scan, whose plan says why its rows aren't reduced on the grid.
    pub(crate) fn with_note(&self, why: &str) -> Self {
        Self { note: Some(why.into()), ..self.clone() }
    }

    /// The provider that made it.
    pub fn table(&self) -> &TensorTable {
        &self.table
    }

    /// Dims and variables.
    pub fn grid(&self) -> &Arc<GridTable> {
        self.table.grid()
    }

    /// The cells that are kept.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Columns of the table (dims, then variables) that are asked for, in output order.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// What output column `index` is.
    pub fn column(&self, index: usize) -> ColumnSource {
        self.table.column(self.projection[index])
    }

    /// Rows after which it stops.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// How cells are read.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// Partitions that the session asks for.
    pub fn target_partitions(&self) -> usize {
        self.target_partitions
    }

    /// Rows that it yields.
    pub fn rows(&self) -> u64 {
        self.selection.len().min(self.limit.map_or(u64::MAX, |limit| limit as u64))
    }

    /// Predicates in words: what is kept of each dim that isn't kept whole, such as
    /// `level=[500] (1 of 13), latitude=[5..-5] (11 of 181)`, and over which dims there are masks.
    pub fn describe_selection(&self) -> Vec<String> {
        let dims = self.grid().dims.iter().zip(&self.selection.dims);
        let cut = dims.filter(|(dim, kept)| !kept.is_full(dim.len() as u64));
        let mut words: Vec<String> = cut.map(|(dim, kept)| order::describe(dim, kept)).collect();
        for mask in &self.selection.masks {
            let names: Vec<_> = mask.dims().iter().map(|&dim| self.grid().dims[dim].name.as_str()).collect();
            words.push(format!("mask({})", names.join(", ")));
        }
        words
    }

    /// The variables among the projected columns.
    fn variables(&self) -> impl Iterator<Item = &Variable> {
        projected(&self.table, &self.projection)
    }

    /// Chunks of the projected variables: how many the selection touches, and how many there are.
    fn chunks(&self) -> (u64, u64) {
        let touched = |variable: &Variable| variable.grid.parts(&self.selection).len();
        self.variables().fold((0, 0), |(some, all), v| (some + touched(v), all + v.chunks.len() as u64))
    }

    /// Bytes that one partition holds at a time: a unit's variables, the chunk that is being decoded, a batch.
    fn memory(&self) -> usize {
        let cell = |variable: &Variable| variable.dtype.width().unwrap_or(1) as u64;
        let row = self.variables().map(cell).sum::<u64>();
        let batch = (self.projection.len() * 8 * self.batch_size) as u64;
        let cells =
            |v: &Variable| v.grid.chunk_shape().iter().fold(1, |cells: u64, &len| cells.saturating_mul(len));
        let whole = |v: &&Variable| !v.seeks(self.layout.largest(), self.options.range_threshold);
        let chunk =
            self.variables().filter(whole).map(|v| cells(v).saturating_mul(cell(v))).max().unwrap_or(0);
        let bytes = self.layout.largest().saturating_mul(row).saturating_add(chunk).saturating_add(batch);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn rows_of(&self, partition: usize) -> Rows {
        let metrics = ScanMetrics::new(&self.metrics, partition);
        if partition == 0 {
            let (touched, total) = self.chunks();
            metrics.chunks_total.add(total as usize);
            metrics.chunks_pruned.add((total - touched) as usize);
        }
        Rows {
            grid: Arc::clone(self.grid()),
            columns: (0..self.projection.len()).map(|index| self.column(index)).collect(),
            schema: Arc::clone(&self.schema),
            layout: Arc::clone(&self.layout),
            units: self.partitions[partition].clone(),
            remaining: self.rows(),
            batch_size: self.batch_size,
            reader: Reader::new(self.options),
            metrics,
            labels: LabelCache::default(),
            current: None,
        }
    }

    fn statistics(&self, partition: Option<usize>) -> Statistics {
        let units = match partition {
            Some(partition) if self.partitions.len() > 1 => self.partitions[partition].clone(),
            _ => return self.total_statistics(),
        };
        let rows = (self.layout.cells(units.end) - self.layout.cells(units.start)) as usize;
        let rows =
            if self.selection.masks.is_empty() { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        Statistics { num_rows: rows, ..Statistics::new_unknown(&self.schema) }
    }

    fn total_statistics(&self) -> Statistics {
        let rows = self.rows() as usize;
        let column = |index: usize| match self.column(index) {
            // several masks, or a limit, may leave nothing of a position
            ColumnSource::Dim(dim) if self.limit.is_none() && self.selection.masks.len() < 2 && rows > 0 => {
                order::dim_statistics(&self.grid().dims[dim], &self.selection.dims[dim])
            }
            ColumnSource::Dim(_) => {
                ColumnStatistics { null_count: Precision::Exact(0), ..ColumnStatistics::new_unknown() }
            }
            ColumnSource::Variable(_) => ColumnStatistics::new_unknown(),
        };
        Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Absent,
            column_statistics: (0..self.projection.len()).map(column).collect(),
        }
    }
}

fn projected<'a>(table: &'a TensorTable, projection: &'a [usize]) -> impl Iterator<Item = &'a Variable> {
    projection.iter().filter_map(|&column| match table.column(column) {
        ColumnSource::Variable(index) => table.grid().variables.get(index),
        ColumnSource::Dim(_) => None,
    })
}

/// Chunk shapes that a unit of `target` cells mustn't cut.
fn grains(table: &TensorTable, projection: &[usize], target: u64, options: &ReadOptions) -> Vec<Vec<u64>> {
    projected(table, projection)
        .filter(|variable| !variable.seeks(target, options.range_threshold))
        .map(|variable| variable.grid.chunk_shape().to_vec())
        .collect()
}

/// Splits `units` into at most `most` and `target` runs of similar length, but at least one.
fn partition(units: u64, most: u64, target: usize) -> Vec<Range<u64>> {
    let count = (target as u64).min(units).min(most).max(1);
    (0..count).map(|p| units * p / count..units * (p + 1) / count).collect()
}

impl DisplayAs for TensorScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.describe_selection().join(", ");
        let columns: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (touched, total) = self.chunks();
        if matches!(format, DisplayFormatType::TreeRender) {
            writeln!(f, "table={}", self.table.name())?;
            if !kept.is_empty() {
                writeln!(f, "kept={kept}")?;
            }
            return writeln!(f, "chunks={touched}/{total}");
        }
        write!(f, "TensorScanExec: table={}", self.table.name())?;
        if !kept.is_empty() {
            write!(f, ", {kept}")?;
        }
        if total > 0 {
            write!(f, ", chunks={touched}/{total}")?;
        }
        write!(f, ", projection=[{}]", columns.join(", "))?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        match &self.note {
            Some(why) => write!(f, ", rows because {why}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for TensorScanExec {
    fn name(&self) -> &str {
        "TensorScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("TensorScanExec has no children") }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition >= self.partitions.len() {
            return internal_err!("TensorScanExec has {} partitions, not {partition}", self.partitions.len());
        }
        let memory =
            MemoryConsumer::new(format!("TensorScanExec[{partition}]")).register(context.memory_pool());
        memory.try_grow(self.memory())?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        Ok(stream::stream(Arc::clone(&self.schema), self.rows_of(partition), memory, baseline))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::new(self.statistics(args.partition())))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }
}
