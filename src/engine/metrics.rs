//! What a scan or a grid aggregate did, as `EXPLAIN ANALYZE` shows it.

use crate::dataset::read::ReadStats;
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricCategory, Time,
};
use std::time::Duration;

/// Counters of one partition. Registered once a partition: each registration adds counters to the node.
#[derive(Debug, Clone)]
pub struct ScanMetrics {
    /// Chunks of the variables that the query reads, pruned ones included.
    pub chunks_total: Count,
    /// Chunks that the selection rules out; nothing of them is read.
    pub chunks_pruned: Count,
    /// Chunks of which nothing is read because their statistics say that they don't matter.
    pub chunks_pruned_by_statistics: Count,
    /// Chunks, or parts of chunks, that their statistics answered for.
    pub chunks_from_statistics: Count,
    /// Chunks of which it was known that predicates on values keep every cell: these weren't evaluated.
    pub chunks_unmasked: Count,
    /// Chunks of which at least one element was decoded.
    pub chunks_decoded: Count,
    /// Chunks that the codec knows to be one value, or a few: reduced without being decoded.
    pub chunks_constant: Count,
    /// Chunks reduced as packed integers, before scaling.
    pub chunks_packed: Count,
    /// Objects whose bytes were asked for.
    pub objects_opened: Count,
    /// Encoded bytes touched, masks included.
    pub bytes_read: Count,
    /// Bytes that came out of the last decoding stage, wanted or not: beside the cells reduced, it shows what
    /// was decoded in vain.
    pub bytes_decoded: Count,
    /// Element ranges served by range decoding.
    pub ranges_decoded: Count,
    /// Objects decoded whole.
    pub full_decodes: Count,
    /// Cells that went into aggregates (or into rows, for a scan), missing ones included.
    pub cells_reduced: Count,
    /// Cells of the selection that a scan dropped before it made rows of them: by predicates on values, and by
    /// filters that joins and sorts above it found while the query ran.
    pub cells_pruned: Count,
    /// Encoded bytes that files were told of before they were read.
    pub bytes_ahead: Count,
    /// Groups whose states went to the final aggregate part by part: there was no room for all of them, or no use in
    /// keeping them.
    pub groups_handed_on: Count,
    /// Most bytes of decode buffers and states that were reserved in the memory pool at a time.
    pub peak_memory: Gauge,
    /// Time in reading bytes.
    pub time_read: Time,
    /// Time in decoding, without what consumes the values.
    pub time_decode: Time,
    /// Time in reducing, or in building rows.
    pub time_reduce: Time,
}

impl ScanMetrics {
    /// Registers the counters of `partition`.
    pub fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name: &'static str, category| {
            MetricBuilder::new(set).with_category(category).counter(name, partition)
        };
        let time = |name: &'static str| MetricBuilder::new(set).subset_time(name, partition);
        Self {
            chunks_total: count("chunks_total", MetricCategory::Rows),
            chunks_pruned: count("chunks_pruned", MetricCategory::Rows),
            chunks_pruned_by_statistics: count("chunks_pruned_by_statistics", MetricCategory::Rows),
            chunks_from_statistics: count("chunks_from_statistics", MetricCategory::Rows),
            chunks_unmasked: count("chunks_unmasked", MetricCategory::Rows),
            chunks_decoded: count("chunks_decoded", MetricCategory::Rows),
            chunks_constant: count("chunks_constant", MetricCategory::Rows),
            chunks_packed: count("chunks_packed", MetricCategory::Rows),
            objects_opened: count("objects_opened", MetricCategory::Rows),
            bytes_read: count("bytes_read", MetricCategory::Bytes),
            bytes_decoded: count("bytes_decoded", MetricCategory::Bytes),
            ranges_decoded: count("ranges_decoded", MetricCategory::Rows),
            full_decodes: count("full_decodes", MetricCategory::Rows),
            cells_reduced: count("cells_reduced", MetricCategory::Rows),
            cells_pruned: count("cells_pruned", MetricCategory::Rows),
            bytes_ahead: count("bytes_ahead", MetricCategory::Bytes),
            groups_handed_on: count("groups_handed_on", MetricCategory::Rows),
            peak_memory: MetricBuilder::new(set)
                .with_category(MetricCategory::Bytes)
                .gauge("peak_memory", partition),
            time_read: time("time_read"),
            time_decode: time("time_decode"),
            time_reduce: time("time_reduce"),
        }
    }

    /// Adds what a reader did since the last call; `stats` starts anew. `elapsed` is the wall time of the same
    /// work: what was neither reading nor decoding was reducing.
    pub fn take(&self, stats: &mut ReadStats, elapsed: Duration) {
        let stats = std::mem::take(stats);
        self.chunks_decoded.add(stats.chunks_decoded as usize);
        self.chunks_constant.add(stats.chunks_constant as usize);
        self.chunks_packed.add(stats.chunks_packed as usize);
        self.objects_opened.add(stats.objects_opened as usize);
        self.bytes_read.add(stats.decode.bytes_read as usize);
        self.bytes_decoded.add(stats.decode.bytes_decoded as usize);
        self.ranges_decoded.add(stats.decode.ranges_decoded as usize);
        self.full_decodes.add(stats.decode.full_decodes as usize);
        self.time_read.add_duration(stats.decode.read_time);
        self.time_decode.add_duration(stats.decode.decode_time);
        self.time_reduce
            .add_duration(elapsed.saturating_sub(stats.decode.read_time + stats.decode.decode_time));
    }
}
