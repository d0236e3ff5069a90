//! `GridAggregateExec`: aggregates reduced on the grid.

use super::ahead::ReadAhead;
use super::found::Found;
use super::partial::Partial;
use super::queue::Queue;
use super::reduction::Reduction;
use super::work::{Keep, Work};
use super::worker::{Worker, sliced};
use crate::dataset::read::Reader;
use crate::engine::leaf::leaf_plan;
use crate::engine::metrics::ScanMetrics;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, apply_expression_roots,
};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinError;

/// Batches that a partition may be ahead of its consumer.
const BATCHES_AHEAD: usize = 2;

/// Reduces the kept cells of a tensor table, in the place of a partial aggregate or of both stages.
///
/// Each part of the work is done on a blocking thread of the runtime, task after task: decoding a chunk takes
/// too long for a poll, and the runtime's own threads stay free for I/O. Batches go over a channel. A dropped
/// stream closes it, which is noticed at the next decoded block.
///
/// ```text
/// stage      output partitions     a partition
/// Partial    those of the work     states of its own groups, as the partial aggregate would yield them
/// Complete   one                   states of all parts, merged by the number of the group, then final values
/// ```
/// Where the memory pool turns out not to have room for all groups at once, the complete stage runs as two: states
/// are handed on part by part, as far as they can be, and DataFusion's final aggregate, which can spill, merges them.
#[derive(Debug)]
pub struct GridAggregateExec {
    reduction: Arc<Reduction>,
    work: Arc<Work>,
    stage: Stage,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What comes out.
#[derive(Debug, Clone)]
enum Stage {
    /// Partial states.
    Partial,
    /// Final values.
    Complete(Box<Complete>),
}

/// Final values, as an aggregate would yield them.
#[derive(Debug, Clone)]
struct Complete {
    aggregate: AggregateExec,
    /// The order of its rows, in which they come, where somebody may rely on it.
    order: Option<LexOrdering>,
    /// Which of its columns come out, and their names; `None` if all as they are.
    projection: Option<Vec<(usize, ProjectionExpr)>>,
}

impl Complete {
    /// The columns of the aggregate that come out.
    fn columns(&self) -> Vec<usize> {
        match &self.projection {
            Some(projection) => projection.iter().map(|(column, _)| *column).collect(),
            None => (0..self.aggregate.schema().fields().len()).collect(),
        }
    }
}

impl GridAggregateExec {
    /// In the place of the partial aggregate that `reduction` was made from.
    pub(super) fn partial(reduction: Arc<Reduction>, work: Work) -> Self {
        let work = Arc::new(work);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&reduction.schema)),
            Partitioning::UnknownPartitioning(work.partitions.len()),
            if work.dense { EmissionType::Final } else { EmissionType::Incremental },
            Boundedness::Bounded,
        );
        let schema = Arc::clone(&reduction.schema);
        Self::new(reduction, work, Stage::Partial, schema, properties)
    }

    /// In the place of `aggregate` above it, too, if that is the final stage of the same aggregates, and if all
    /// groups are kept at once.
    ///
    /// # Errors
    /// Those of comparing labels.
    pub(super) fn completed(&self, aggregate: &AggregateExec) -> Result<Option<Self>> {
        let keys = aggregate.group_expr().expr().iter().enumerate();
        let same_keys = keys.filter(|(at, (expr, _))| {
            expr.downcast_ref::<Column>().is_some_and(|column| column.index() == *at)
        });
        // The number of the grouping set is one more key.
        let keys = self.reduction.keys.len() + usize::from(!self.reduction.sets.is_empty());
        let same_keys = same_keys.count() == keys && aggregate.group_expr().expr().len() == keys;
        let exprs = aggregate.aggr_expr().iter().zip(&self.reduction.aggregates);
        let same = aggregate.aggr_expr().len() == self.reduction.aggregates.len()
            && exprs.into_iter().all(|(expr, own)| *expr == own.expr);
        if !matches!(self.stage, Stage::Partial) || !self.work.dense || !same_keys || !same {
            return Ok(None);
        }
        let schema = aggregate.schema();
        let properties = PlanProperties::new(
            if self.reduction.sets.is_empty() {
                self.reduction.groups.order(&schema)?
            } else {
                EquivalenceProperties::new(Arc::clone(&schema))
            },
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let (reduction, work) = (Arc::clone(&self.reduction), Arc::clone(&self.work));
        let order = properties.output_ordering().cloned();
        let complete = Complete { aggregate: aggregate.clone(), order, projection: None };
        Ok(Some(Self::new(reduction, work, Stage::Complete(Box::new(complete)), schema, properties)))
    }

    /// The same with the columns of `projection`, which has to leave keys out (their columns aren't made then), but no
    /// values.
    fn projected(&self, projection: &ProjectionExec) -> Option<Self> {
        let Stage::Complete(complete) = &self.stage else { return None };
        let column =
            |expr: &ProjectionExpr| Some((expr.expr.downcast_ref::<Column>()?.index(), expr.clone()));
        let columns = projection.expr().iter().map(column).collect::<Option<Vec<_>>>()?;
        let (all, values) = (self.schema.fields().len(), self.reduction.aggregates.len());
        let kept = |at: usize| columns.iter().any(|(column, _)| *column == at);
        if complete.projection.is_some() || (0..all).all(kept) || !(all - values..all).all(kept) {
            return None;
        }
        let complete = Complete { projection: Some(columns), ..Complete::clone(complete) };
        let properties = PlanProperties::clone(projection.properties());
        let (reduction, work) = (Arc::clone(&self.reduction), Arc::clone(&self.work));
        let stage = Stage::Complete(Box::new(complete));
        Some(Self::new(reduction, work, stage, projection.schema(), properties))
    }

    /// The same as `complete` in two stages, the second of which can spill, where the pool has no room for the states
    /// and values of all groups; `None` where it has, or where states can't be handed on part by part.
    fn spilling(&self, complete: &Complete, context: &TaskContext) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if !self.reduction.grouped() {
            return Ok(None);
        }
        let width = |field: &FieldRef| field.data_type().primitive_width().unwrap_or(16) + 1;
        let row = self.schema.fields().iter().map(width).sum::<usize>();
        let values = self.reduction.groups.map.groups().saturating_mul(row);
        let worker = self.work.states.saturating_add(self.work.buffers);
        let wanted = worker.saturating_mul(self.work.partitions.len()).saturating_add(values);
        let room = MemoryConsumer::new("GridAggregateExec").register(context.memory_pool());
        if room.try_grow(wanted).is_ok() {
            return Ok(None);
        }
        let Ok(work) = Work::plan(&self.reduction, Keep::Parts) else { return Ok(None) };
        let mut partial = Self::partial(Arc::clone(&self.reduction), work);
        partial.metrics = self.metrics.clone();
        let gathered = Arc::new(CoalescePartitionsExec::new(Arc::new(partial)));
        let aggregate: Arc<dyn ExecutionPlan> = Arc::new(complete.aggregate.clone());
        let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let mut stages = aggregate.replace_children(vec![gathered], recompute)?;
        if let Some(order) = &complete.order {
            stages = Arc::new(SortExec::new(order.clone(), stages));
        }
        if let Some(projection) = &complete.projection {
            let exprs = projection.iter().map(|(_, expr)| expr.clone());
            stages = Arc::new(ProjectionExec::try_new(exprs, stages)?);
        }
        Ok(Some(stages))
    }

    /// The same groups, of whose order nothing is declared.
    pub(super) fn unordered(&self) -> Self {
        let unknown = EquivalenceProperties::new(Arc::clone(&self.schema));
        let properties = PlanProperties::clone(&self.properties).with_eq_properties(unknown);
        let (reduction, work) = (Arc::clone(&self.reduction), Arc::clone(&self.work));
        let stage = match &self.stage {
            Stage::Partial => Stage::Partial,
            Stage::Complete(complete) => {
                Stage::Complete(Box::new(Complete { order: None, ..Complete::clone(complete) }))
            }
        };
        Self::new(reduction, work, stage, Arc::clone(&self.schema), properties)
    }

    fn new(
        reduction: Arc<Reduction>,
        work: Arc<Work>,
        stage: Stage,
        schema: SchemaRef,
        properties: PlanProperties,
    ) -> Self {
        let properties = Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative));
        Self { reduction, work, stage, schema, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// What partition `partition` of the work needs; it reserves memory in the pool.
    fn job(&self, partition: usize, together: &Together, context: &TaskContext) -> Result<Job> {
        let consumer = MemoryConsumer::new(format!("GridAggregateExec[{partition}]"));
        let buffers = consumer.clone_with_new_id().register(context.memory_pool());
        buffers.try_grow(self.work.buffers)?;
        let plan = consumer.clone_with_new_id().register(context.memory_pool());
        plan.try_grow(if partition == 0 { self.reduction.memory() } else { 0 })?;
        Ok(Job {
            partition,
            reduction: Arc::clone(&self.reduction),
            work: Arc::clone(&self.work),
            metrics: self.metrics_of(partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            together: together.clone(),
            buffers,
            _plan: plan,
            states: consumer.register(context.memory_pool()),
            batch_size: context.session_config().batch_size(),
        })
    }

    fn metrics_of(&self, partition: usize) -> ScanMetrics {
        let metrics = ScanMetrics::new(&self.metrics, partition);
        if partition == 0 {
            let (touched, total) = self.work.chunks;
            metrics.chunks_total.add(total as usize);
            metrics.chunks_pruned.add((total - touched) as usize);
            metrics.chunks_from_statistics.add(self.work.spared.answered as usize);
            metrics.chunks_pruned_by_statistics.add(self.work.spared.pruned as usize);
        }
        metrics
    }
}

impl DisplayAs for GridAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reduction = &self.reduction;
        let aggregates: Vec<_> = reduction.aggregates.iter().map(|aggregate| aggregate.describe()).collect();
        let selection = reduction.scan.describe_selection();
        let predicates: Vec<_> = reduction.predicates.iter().map(|predicate| predicate.to_string()).collect();
        let (touched, total) = self.work.chunks;
        let packed = self.work.cells.iter().flatten().any(|plan| plan.compares_packed(reduction));
        let paths = reduction.paths(packed);
        let left = match &self.stage {
            Stage::Complete(complete) if complete.projection.is_some() => &self.schema.fields()[..],
            _ => &[],
        };
        let columns: Vec<_> = left.iter().map(|field| field.name().clone()).collect();
        let lists = [
            ("aggr", &aggregates),
            ("path", &paths),
            ("gby", &reduction.keys),
            ("columns", &columns),
            ("selection", &selection),
            ("filter", &predicates),
        ];
        if matches!(format, DisplayFormatType::TreeRender) {
            writeln!(f, "table={}", reduction.scan.table().name())?;
            for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
                writeln!(f, "{name}={}", list.join(", "))?;
            }
            return writeln!(f, "chunks={touched}/{total}");
        }
        write!(f, "GridAggregateExec: table={}", reduction.scan.table().name())?;
        for (name, list) in lists.into_iter().filter(|(name, list)| *name == "aggr" || !list.is_empty()) {
            write!(f, ", {name}=[{}]", list.join(", "))?;
        }
        write!(f, ", chunks={touched}/{total}")?;
        if let Some(why) = reduction.scan.table().index_note() {
            write!(f, ", index ignored: {why}")?;
        }
        match self.work.known_chunks(reduction) {
            0 => {}
            known => write!(f, ", statistics={known}/{total}")?,
        }
        match self.work.unsplit {
            0 => {}
            1 => write!(f, ", one object can't be shared by workers")?,
            many => write!(f, ", {many} objects can't be shared by workers")?,
        }
        if matches!(format, DisplayFormatType::Verbose) {
            write!(f, ", groups={}, dense={}", reduction.groups.map.groups(), self.work.dense)?;
        }
        Ok(())
    }
}

impl ExecutionPlan for GridAggregateExec {
    leaf_plan!("GridAggregateExec");

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let reduction = &self.reduction;
        let aggregates = reduction.aggregates.iter();
        let arguments = aggregates.flat_map(|aggregate| aggregate.args.iter().chain(&aggregate.filter));
        apply_expression_roots(reduction.predicates.iter().chain(arguments), f)
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(self.projected(projection).map(|projected| Arc::new(projected) as _))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.properties.output_partitioning().partition_count();
        if partition >= partitions {
            return internal_err!("there are {partitions} partitions, not {partition}");
        }
        if let Stage::Complete(complete) = &self.stage
            && let Some(stages) = self.spilling(complete, &context)?
        {
            return stages.execute(partition, context);
        }
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_AHEAD);
        let send = stream.tx();
        match &self.stage {
            Stage::Partial => {
                let job = self.job(partition, &Together::new(&self.work, false), &context)?;
                stream.spawn_blocking(move || job.emit_states(&send));
            }
            Stage::Complete(outcome) => {
                let parts = 0..self.work.partitions.len();
                let helping = self.reduction.aggregates.iter().all(|aggregate| aggregate.function.commutes());
                let together = Together::new(&self.work, helping);
                let jobs = parts.map(|part| self.job(part, &together, &context));
                let jobs = jobs.collect::<Result<Vec<_>>>()?;
                let schema = Arc::clone(&self.schema);
                stream.spawn(complete(jobs, schema, outcome.columns(), send));
            }
        }
        Ok(stream.build())
    }
}

/// What the workers of one run share.
#[derive(Debug, Clone)]
struct Together {
    queue: Arc<Queue>,
    found: Arc<Found>,
}

impl Together {
    /// For the workers of `work`; `helping` says whether they take tasks from each other.
    fn new(work: &Work, helping: bool) -> Self {
        Self { queue: Arc::new(Queue::new(work, helping)), found: Arc::new(Found::new(work)) }
    }
}

/// Where batches go.
type Batches = Sender<Result<RecordBatch>>;

/// One partition of the work, on a thread of its own.
struct Job {
    partition: usize,
    reduction: Arc<Reduction>,
    work: Arc<Work>,
    metrics: ScanMetrics,
    baseline: BaselineMetrics,
    together: Together,
    /// Holds the bytes of the plan, which all partitions share, in the first of them.
    _plan: MemoryReservation,
    /// Holds the bytes of decode buffers.
    buffers: MemoryReservation,
    /// Holds the bytes of states.
    states: MemoryReservation,
    batch_size: usize,
}

/// What a partition of the work has come to, with the bytes that it holds.
struct Reduced {
    partial: Partial,
    states: MemoryReservation,
}

impl Job {
    fn worker<'a>(&mut self, cancelled: &'a dyn Fn() -> bool) -> Worker<'a> {
        Worker {
            reduction: Arc::clone(&self.reduction),
            work: Arc::clone(&self.work),
            reader: Reader::new(*self.reduction.scan.options()),
            metrics: self.metrics.clone(),
            queue: Arc::clone(&self.together.queue),
            found: Arc::clone(&self.together.found),
            ahead: ReadAhead::new(self.partition),
            buffers: self.buffers.take(),
            states: self.states.take(),
            batch_size: self.batch_size,
            cancelled,
        }
    }

    /// Sends the partial states.
    fn emit_states(mut self, send: &Batches) -> Result<()> {
        let cancelled = || send.is_closed();
        let worker = self.worker(&cancelled);
        let timer = self.baseline.elapsed_compute().timer();
        let done = worker.run(self.partition, &mut |batch| emit(&self.baseline, send, batch));
        timer.done();
        if cancelled() { Ok(()) } else { done }
    }

    /// Reduces, and keeps the states; incomplete if the query was cancelled.
    fn reduce(mut self, send: &Batches) -> Result<Reduced> {
        let cancelled = || send.is_closed();
        let mut worker = self.worker(&cancelled);
        let _timer = self.baseline.elapsed_compute().timer();
        let partial = worker.dense(self.partition, false)?;
        Ok(Reduced { partial, states: worker.states })
    }
}

fn emit(baseline: &BaselineMetrics, send: &Batches, batch: RecordBatch) -> Result<()> {
    baseline.record_output(batch.num_rows());
    send.blocking_send(Ok(batch)).map_err(|_| exec_datafusion_err!("the query was cancelled"))
}

/// Does `jobs` side by side, merges their states in order, and sends the final values.
async fn complete(jobs: Vec<Job>, schema: SchemaRef, columns: Vec<usize>, send: Batches) -> Result<()> {
    let last = jobs.first().map(|job| (job.baseline.clone(), job.batch_size));
    let Some((baseline, batch_size)) = last else { return internal_err!("there is no work") };
    let running = jobs.into_iter().map(|job| {
        let send = send.clone();
        SpawnedTask::spawn_blocking(move || job.reduce(&send))
    });
    let mut reduced = Vec::new();
    for job in running.collect::<Vec<_>>() {
        reduced.push(job.join_unwind().await.map_err(joining)??);
    }
    let finish = move || {
        if send.is_closed() {
            return Ok(());
        }
        let _timer = baseline.elapsed_compute().timer();
        let mut reduced = reduced.into_iter();
        let Some(Reduced { mut partial, states }) = reduced.next() else { return Ok(()) };
        for other in reduced {
            partial.merge(other.partial)?;
            drop(other.states);
        }
        states.try_resize(partial.memory() + partial.outcome_memory(&schema))?;
        partial.complete(&schema, &columns, &mut |batch| {
            sliced(&batch, batch_size, &mut |batch| emit(&baseline, &send, batch))
        })
    };
    SpawnedTask::spawn_blocking(finish).join_unwind().await.map_err(joining)?
}

fn joining(error: JoinError) -> DataFusionError {
    DataFusionError::ExecutionJoin(Box::new(error))
}
