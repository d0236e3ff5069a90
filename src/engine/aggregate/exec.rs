//! `GridAggregateExec`: partial states of aggregates, reduced on the grid.

use super::reduction::Reduction;
use super::work::Work;
use super::worker::Worker;
use crate::dataset::read::Reader;
use crate::engine::metrics::ScanMetrics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, apply_expression_roots,
};
use std::fmt;
use std::sync::Arc;

/// Batches that a partition may be ahead of its consumer.
const BATCHES_AHEAD: usize = 2;

/// Reduces the kept cells of a tensor table and yields the states that the partial aggregate, whose place it
/// takes, would yield.
///
/// Each partition works on a blocking thread of the runtime, task after task, and sends its batches over a
/// channel: decoding a chunk takes too long for a poll, and the runtime's own threads stay free for I/O. A
/// dropped stream closes the channel, which is noticed at the next decoded block.
#[derive(Debug)]
pub struct GridAggregateExec {
    reduction: Arc<Reduction>,
    work: Arc<Work>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl GridAggregateExec {
    pub(super) fn new(reduction: Reduction, work: Work) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&reduction.schema)),
            Partitioning::UnknownPartitioning(work.partitions.len()),
            if work.dense { EmissionType::Final } else { EmissionType::Incremental },
            Boundedness::Bounded,
        );
        Self {
            reduction: Arc::new(reduction),
            work: Arc::new(work),
            properties: Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn metrics_of(&self, partition: usize) -> ScanMetrics {
        let metrics = ScanMetrics::new(&self.metrics, partition);
        if partition == 0 {
            let (touched, total) = self.work.chunks;
            metrics.chunks_total.add(total as usize);
            metrics.chunks_pruned.add((total - touched) as usize);
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
        let lists = [
            ("aggr", &aggregates),
            ("gby", &reduction.keys),
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
        if matches!(format, DisplayFormatType::Verbose) {
            write!(f, ", groups={}, dense={}", reduction.groups.map.groups(), self.work.dense)?;
        }
        Ok(())
    }
}

impl ExecutionPlan for GridAggregateExec {
    fn name(&self) -> &str {
        "GridAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let reduction = &self.reduction;
        let aggregates = reduction.aggregates.iter();
        let arguments = aggregates.flat_map(|aggregate| aggregate.args.iter().chain(&aggregate.filter));
        apply_expression_roots(reduction.predicates.iter().chain(arguments), f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("GridAggregateExec has no children") }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition >= self.work.partitions.len() {
            return internal_err!("there are {} partitions, not {partition}", self.work.partitions.len());
        }
        let consumer = MemoryConsumer::new(format!("GridAggregateExec[{partition}]"));
        let buffers = consumer.clone_with_new_id().register(context.memory_pool());
        buffers.try_grow(self.work.buffers)?;
        let states = consumer.register(context.memory_pool());
        let (reduction, work) = (Arc::clone(&self.reduction), Arc::clone(&self.work));
        let (metrics, baseline) =
            (self.metrics_of(partition), BaselineMetrics::new(&self.metrics, partition));
        let batch_size = context.session_config().batch_size();
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema(), BATCHES_AHEAD);
        let send = stream.tx();
        stream.spawn_blocking(move || {
            let _held = &buffers;
            let cancelled = || send.is_closed();
            let worker = Worker {
                reduction: &reduction,
                work: &work,
                reader: Reader::new(*reduction.scan.options()),
                metrics,
                states,
                batch_size,
                cancelled: &cancelled,
            };
            let timer = baseline.elapsed_compute().timer();
            let done = worker.run(&work.partitions[partition], &mut |batch| {
                baseline.record_output(batch.num_rows());
                send.blocking_send(Ok(batch)).map_err(|_| exec_datafusion_err!("the query was cancelled"))
            });
            timer.done();
            if cancelled() { Ok(()) } else { done }
        });
        Ok(stream.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
