//! `TensorScanExec`: the kept cells of a grid as rows, in the grid's C order.

use super::batches::Batches;
use super::bounds::Visit;
use super::columns::Labels;
use super::config::MillibarConfig;
use super::layout::Layout;
use super::leaf::leaf_plan;
use super::metrics::ScanMetrics;
use super::order;
use super::provider::TensorTable;
use super::request::Request;
use super::rows::Rows;
use super::sieve::{Shares, Sieve, Taken};
use super::stream;
use crate::dataset::GridTable;
use crate::dataset::read::ReadOptions;
use crate::tensor::Selection;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterPushdownResult, ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
    PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SortOrderPushdownResult,
    apply_expression_roots,
};
use std::fmt;
use std::num::NonZero;
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
///
/// It takes predicates from the plan above it (DataFusion's filter pushdown): those of filters on values, and those
/// that joins and sorts find while the query runs. A partition begins to read when it is first polled, which a join
/// does once it knows what to ask for, and looks at the predicates again before each unit.
#[derive(Debug, Clone)]
pub struct TensorScanExec {
    request: Request,
    schema: SchemaRef,
    layout: Arc<Layout>,
    /// A range of units for each partition.
    partitions: Vec<Range<u64>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// What predicates leave, as far as the partitions have found out.
    shares: Arc<Shares>,
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
        let columns = table.arrow_schema().fields().len();
        let millibar = MillibarConfig::of(config);
        let options = millibar.read_options(table.overrides());
        let selection = match limit {
            Some(limit) => selection.take_first(limit as u64),
            None => selection,
        };
        let request = Request {
            table,
            selection,
            projection: projection.cloned().unwrap_or_else(|| (0..columns).collect()),
            taken: Taken::default(),
            visit: None,
            unordered: false,
            limit,
            options,
            target_partitions: config.execution.target_partitions.max(1),
            batch_size: config.execution.batch_size.get(),
            takes_predicates: millibar.scan_predicates,
        };
        let most = if limit.is_some() { 1 } else { request.target_partitions };
        Self::of(request, most)
    }

    /// A scan for `request` in at most `most` partitions.
    fn of(request: Request, most: usize) -> Result<Self> {
        let schema = request.schema()?;
        let layout = request.layout();
        let rows = request.selection.len();
        let worth = rows / (PARTITION_BATCHES * request.batch_size as u64);
        let partitions = partition(layout.units(), worth, most);
        let mut equivalences =
            order::properties(&request.table, &request.projection, &schema, &request.selection)?;
        if request.visit.is_some() {
            equivalences.clear_orderings();
        }
        if request.unordered {
            equivalences = EquivalenceProperties::new(Arc::clone(&schema));
        }
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            schema,
            layout: Arc::new(layout),
            partitions,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            shares: Arc::default(),
            note: None,
            request,
        })
    }

    /// How many threads may read for one partition: those that no other partition has.
    fn threads(&self) -> NonZero<usize> {
        NonZero::new(self.request.target_partitions / self.partitions.len()).unwrap_or(NonZero::<usize>::MIN)
    }

    /// As this scan, for another request, in as many partitions.
    fn with_request(&self, request: Request) -> Result<Self> {
        Ok(Self { note: self.note.clone(), ..Self::of(request, self.partitions.len())? })
    }

    /// The same scan, whose plan says why its rows aren't reduced on the grid.
    pub(crate) fn with_note(&self, why: &str) -> Self {
        Self { note: Some(why.into()), ..self.clone() }
    }

    /// The same rows, of whose order, and which of their columns are constant, nothing is declared.
    ///
    /// # Errors
    /// Those of DataFusion for a projection that leaves the schema.
    pub(crate) fn unordered(&self) -> Result<Self> {
        self.with_request(Request { unordered: true, ..self.request.clone() })
    }

    /// The provider that made it.
    pub fn table(&self) -> &TensorTable {
        &self.request.table
    }

    /// Dims and variables.
    pub fn grid(&self) -> &Arc<GridTable> {
        self.request.table.grid()
    }

    /// The cells that are kept.
    pub fn selection(&self) -> &Selection {
        &self.request.selection
    }

    /// Columns of the table (dims, then variables) that are asked for, in output order.
    pub fn projection(&self) -> &[usize] {
        &self.request.projection
    }

    /// What output column `index` is.
    pub fn column(&self, index: usize) -> ColumnSource {
        self.request.table.column(self.request.projection[index])
    }

    /// Rows after which it stops.
    pub fn limit(&self) -> Option<usize> {
        self.request.limit
    }

    /// How cells are read.
    pub fn options(&self) -> &ReadOptions {
        &self.request.options
    }

    /// Partitions that the session asks for.
    pub fn target_partitions(&self) -> usize {
        self.request.target_partitions
    }

    /// Whether it yields fewer rows than the selection and the limit say, by predicates that it has taken.
    pub fn filters_rows(&self) -> bool {
        !self.request.taken.is_empty()
    }

    /// Predicates in words: what is kept of each dim that isn't kept whole, such as
    /// `level=[500] (1 of 13), latitude=[5..-5] (11 of 181)`, and over which dims there are masks.
    pub fn describe_selection(&self) -> Vec<String> {
        let dims = self.grid().dims.iter().zip(&self.request.selection.dims);
        let cut = dims.filter(|(dim, kept)| !kept.is_full(dim.len() as u64));
        let mut words: Vec<String> = cut.map(|(dim, kept)| order::describe(dim, kept)).collect();
        for mask in &self.request.selection.masks {
            let names: Vec<_> = mask.dims().iter().map(|&dim| self.grid().dims[dim].name.as_str()).collect();
            words.push(format!("mask({})", names.join(", ")));
        }
        words
    }

    fn batches(&self, partition: usize, pool: &Arc<dyn MemoryPool>) -> Batches {
        let request = &self.request;
        let metrics = ScanMetrics::new(&self.metrics, partition);
        if partition == 0 {
            let (touched, total) = request.chunks();
            metrics.chunks_total.add(total as usize);
            metrics.chunks_pruned.add((total - touched) as usize);
        }
        let columns: Vec<_> = (0..request.projection.len()).map(|index| self.column(index)).collect();
        let (grid, schema, layout) = (self.grid().clone(), self.schema.clone(), self.layout.clone());
        let (options, labels) = (request.options, Labels::new(pool));
        let rows = Rows::new(grid, columns, schema, layout, options, metrics.clone(), labels)
            .with_threads(self.threads());
        let sieve = || {
            let (taken, shares) = (request.taken.clone(), Arc::clone(&self.shares));
            Sieve::new(request.table.clone(), request.selection.clone(), taken, shares)
        };
        let sieve = self.filters_rows().then(sieve);
        let units = request.visited(&self.layout, self.partitions[partition].clone());
        Batches::new(rows, sieve, units, request.limit(), request.batch_size, metrics)
    }

    fn statistics(&self, partition: Option<usize>) -> Statistics {
        let units = match partition {
            Some(partition) if self.partitions.len() > 1 => self.partitions[partition].clone(),
            _ => return self.request.statistics(self.partitions.len()),
        };
        let rows = (self.layout.cells(units.end) - self.layout.cells(units.start)).min(self.request.limit());
        let exact = self.selection().masks.is_empty() && !self.filters_rows();
        let rows = if exact { Precision::Exact(rows as usize) } else { Precision::Inexact(rows as usize) };
        Statistics { num_rows: rows, ..Statistics::new_unknown(&self.schema) }
    }
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
        let (touched, total) = self.request.chunks();
        let taken = &self.request.taken;
        if matches!(format, DisplayFormatType::TreeRender) {
            writeln!(f, "table={}", self.table().name())?;
            if !kept.is_empty() {
                writeln!(f, "kept={kept}")?;
            }
            if !taken.is_empty() {
                writeln!(f, "predicate={taken}")?;
            }
            return writeln!(f, "chunks={touched}/{total}");
        }
        write!(f, "TensorScanExec: table={}", self.table().name())?;
        if !kept.is_empty() {
            write!(f, ", {kept}")?;
        }
        if total > 0 {
            write!(f, ", chunks={touched}/{total}")?;
        }
        write!(f, ", projection=[{}]", columns.join(", "))?;
        if !taken.is_empty() {
            write!(f, ", predicate={taken}")?;
        }
        if let Some(visit) = self.request.visit {
            let name = &self.grid().variables[visit.variable].name;
            let end = if visit.descending { "largest" } else { "smallest" };
            write!(f, ", {end} {name} first")?;
        }
        if let Some(limit) = self.request.limit {
            write!(f, ", limit={limit}")?;
        }
        if let Some(why) = self.table().index_note() {
            write!(f, ", index ignored: {why}")?;
        }
        match &self.note {
            Some(why) => write!(f, ", rows because {why}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for TensorScanExec {
    leaf_plan!("TensorScanExec");

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.request.taken.predicates(), f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition >= self.partitions.len() {
            return internal_err!("TensorScanExec has {} partitions, not {partition}", self.partitions.len());
        }
        let memory =
            MemoryConsumer::new(format!("TensorScanExec[{partition}]")).register(context.memory_pool());
        memory.try_grow(self.request.memory(&self.layout, self.threads()))?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        Ok(stream::stream(
            Arc::clone(&self.schema),
            self.batches(partition, context.memory_pool()),
            memory,
            baseline,
        ))
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::new(self.statistics(args.partition())))
    }

    fn fetch(&self) -> Option<usize> {
        self.request.limit
    }

    /// The limit holds for each partition.
    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let request = Request { limit, ..self.request.clone() };
        Some(Arc::new(self.with_request(request).ok()?))
    }

    /// Predicates are taken unless there is a limit, which would come after them.
    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let takes = self.request.takes_predicates && self.request.limit.is_none();
        let mut taken = self.request.taken.clone();
        let mut answers = Vec::with_capacity(result.parent_filters.len());
        for ChildFilterPushdownResult { filter, .. } in result.parent_filters {
            let takes = takes && Taken::accepts(&filter);
            if takes {
                taken = taken.with(filter, &self.request.projection)?;
            }
            answers.push(if takes { PushedDown::Yes } else { PushedDown::No });
        }
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        if taken.predicates().len() == self.request.taken.predicates().len() {
            return Ok(answer);
        }
        let scan = self.with_request(Request { taken, ..self.request.clone() })?;
        Ok(answer.with_updated_node(Arc::new(scan)))
    }

    /// Below a sort by a variable of which statistics are known, units that may have its first rows are read first:
    /// a sort of which only the first rows are wanted then soon rules out the others.
    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let column = order.first().and_then(|first| first.expr.downcast_ref::<Column>());
        let (Some(column), Some(first)) = (column, order.first()) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let ColumnSource::Variable(variable) = self.column(column.index()) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        if self.request.limit.is_some() || self.grid().variables[variable].stats.known() == 0 {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let SortOptions { descending, nulls_first } = first.options;
        let visit = Some(Visit { variable, descending, nulls_first });
        let scan = self.with_request(Request { visit, ..self.request.clone() })?;
        Ok(SortOrderPushdownResult::Inexact { inner: Arc::new(scan) })
    }

    /// A projection to some of the columns, by their names, is one of the scan's own.
    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let column = |column: &ProjectionExpr| {
            let source = column.expr.downcast_ref::<Column>()?;
            (source.name() == column.alias).then(|| self.request.projection[source.index()])
        };
        let Some(columns) = projection.expr().iter().map(column).collect() else { return Ok(None) };
        let request = Request { projection: columns, ..self.request.clone() };
        Ok(Some(Arc::new(self.with_request(request)?)))
    }

    /// Forgets the predicates that other operators settled in an earlier run.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let request = Request { taken: self.request.taken.fixed(), ..self.request.clone() };
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Arc::new(Self { request, metrics, shares: Arc::default(), ..Self::clone(&self) }))
    }
}
