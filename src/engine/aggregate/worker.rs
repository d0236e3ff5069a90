//! One partition at work: task after task, into states.

use super::coords::reindex;
use super::function::Side;
use super::partial::{Partial, RowSide, group_ids};
use super::reduction::Reduction;
use super::sink::Sink;
use super::work::{Task, Work};
use crate::dataset::read::Reader;
use crate::engine::external;
use crate::engine::layout::Layout;
use crate::engine::metrics::ScanMetrics;
use crate::engine::rows::{LabelCache, Rows, kept};
use crate::reduce::{ChunkReducer, GroupMap};
use crate::tensor::Part;
use crate::{Error, Place};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;
use std::sync::Arc;
use std::time::Instant;

/// What one partition needs.
pub(super) struct Worker<'a> {
    pub reduction: Arc<Reduction>,
    pub work: Arc<Work>,
    pub reader: Reader,
    pub metrics: ScanMetrics,
    /// Holds the bytes of states.
    pub states: MemoryReservation,
    pub batch_size: usize,
    /// Whether nobody waits for the result any more.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Worker<'_> {
    /// Does the tasks of `partition` and hands over batches of partial states.
    ///
    /// # Errors
    /// Those of reading, decoding and evaluating, with file, message and object; a memory pool that is
    /// exhausted; whatever `emit` returns.
    pub(super) fn run(
        mut self,
        partition: usize,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let work = Arc::clone(&self.work);
        if work.dense {
            let partial = self.dense(partition)?;
            return if (self.cancelled)() {
                Ok(())
            } else {
                sliced(&partial.finish(None)?, self.batch_size, emit)
            };
        }
        self.run_local(&work, partition, emit)
    }

    /// Does the tasks of `partition` with all groups at once; `work.dense` says that there is room. Incomplete
    /// where the query was cancelled.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub(super) fn dense(&mut self, partition: usize) -> Result<Partial> {
        let (work, map) = (Arc::clone(&self.work), Arc::clone(&self.reduction.groups.map));
        let mut partial = Partial::new(&self.reduction, &self.work, &map);
        let mut sources = [None, None];
        for task in &work.partitions[partition] {
            if let Task::Rows { side, units } = task {
                let source = match &mut sources[*side as usize] {
                    Some(source) => source,
                    none => none.insert(self.row_source(*side, &mut partial)?),
                };
                for unit in units.clone() {
                    if (self.cancelled)() {
                        return Ok(partial);
                    }
                    self.rows(unit, source, &map, &mut partial)?;
                    self.states.try_resize(partial.memory())?;
                }
                continue;
            }
            for (pass, part) in work.parts(task) {
                if (self.cancelled)() {
                    return Ok(partial);
                }
                match pass {
                    None => partial.count(&part)?,
                    Some(pass) => self.direct(pass, &part, &map, &mut partial)?,
                }
            }
            self.states.try_resize(partial.memory())?;
        }
        Ok(partial)
    }

    /// Each part's groups on their own: there are too many to keep them all.
    fn run_local(
        &mut self,
        work: &Work,
        partition: usize,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        for (pass, part) in work.partitions[partition].iter().flat_map(|task| work.parts(task)) {
            if (self.cancelled)() {
                return Ok(());
            }
            let local = self.reduction.groups.map.localise(&part);
            let mut partial = Partial::new(&self.reduction, &self.work, &local.map);
            if pass.is_none() || self.work.counting == pass {
                partial.count(&part)?;
            }
            if let Some(pass) = pass {
                self.direct(pass, &part, &local.map, &mut partial)?;
            }
            self.states.try_resize(partial.memory())?;
            sliced(&partial.finish(Some(&local))?, self.batch_size, emit)?;
        }
        Ok(())
    }

    /// Decodes a part of a pass's variable into its states.
    fn direct(&mut self, pass: usize, part: &Part, map: &GroupMap, partial: &mut Partial) -> Result<()> {
        let start = Instant::now();
        let variable = &self.reduction.grid.variables[self.work.passes[pass].variable];
        let states = partial.states(pass)?;
        let mut reducer = ChunkReducer::new(part, map);
        let cancelled = self.cancelled;
        let visited = self.reader.visit_part(variable, part, &mut |first, block| {
            if cancelled() {
                return Err(Error::unsupported(&Place::file("cancelled query"), "reading on"));
            }
            reducer.feed(first, block, None, states)
        });
        match visited {
            Err(_) if cancelled() => return Ok(()),
            other => other.map_err(external)?,
        };
        self.metrics.cells_reduced.add(part.len() as usize);
        self.metrics.take(self.reader.stats_mut(), start.elapsed());
        Ok(())
    }

    /// Reads a unit of rows and adds it.
    fn rows(
        &mut self,
        unit: u64,
        source: &mut RowSource,
        map: &GroupMap,
        partial: &mut Partial,
    ) -> Result<()> {
        let unit = source.layout.unit(unit);
        let batch = source.rows.read(&unit)?;
        let start = Instant::now();
        let selection = source.layout.selection(&unit);
        let mut groups = group_ids(map, &selection);
        if !selection.masks.is_empty() && !groups.is_empty() {
            groups = super::sink::keep_groups(&groups, &kept(&selection));
        }
        partial.add_rows(source.side, &batch, &groups)?;
        self.metrics.time_reduce.add_elapsed(start);
        Ok(())
    }

    /// A reader of the columns that rows need, and sinks for the aggregates.
    fn row_source(&self, side: Side, partial: &mut Partial) -> Result<RowSource> {
        let Some(layout) = &self.work.layouts[side as usize] else {
            return internal_err!("there is no layout of rows");
        };
        let reduction = &*self.reduction;
        let columns = reduction.row_columns(side);
        let mut at = vec![None; reduction.coords.schema().fields().len()];
        columns.iter().enumerate().for_each(|(index, &column)| at[column] = Some(index));
        let fields: Vec<_> =
            columns.iter().map(|&c| Arc::clone(&reduction.coords.schema().fields()[c])).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let predicates = reduction.predicates(side).iter().map(|predicate| reindex(predicate, &at));
        let predicates = predicates.collect::<Result<_>>()?;
        partial.expect_rows(side, RowSide { sinks: sinks(reduction, side, &at, &schema)?, predicates });
        let rows = Rows {
            grid: Arc::clone(&reduction.grid),
            columns: columns.iter().map(|&column| reduction.coords.source(column)).collect(),
            schema,
            layout: Arc::clone(layout),
            units: 0..0,
            remaining: u64::MAX,
            batch_size: usize::MAX,
            reader: Reader::new(*reduction.scan.options()),
            metrics: self.metrics.clone(),
            labels: LabelCache::default(),
            current: None,
        };
        Ok(RowSource { side, layout: Arc::clone(layout), rows })
    }
}

/// Hands over `batch` in slices of at most `rows`.
///
/// # Errors
/// Whatever `emit` returns.
pub(super) fn sliced(
    batch: &RecordBatch,
    rows: usize,
    emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let rows = rows.max(1);
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).try_for_each(emit)
}

/// Where rows come from.
struct RowSource {
    side: Side,
    layout: Arc<Layout>,
    rows: Rows,
}

/// One sink for each distinct input of the aggregates that go through rows.
fn sinks(reduction: &Reduction, side: Side, at: &[Option<usize>], schema: &Schema) -> Result<Vec<Sink>> {
    let mut left: Vec<_> = reduction.through_rows(side).collect();
    let mut sinks = Vec::new();
    while let Some(&(_, first)) = left.first() {
        let members: Vec<_> = left.extract_if(.., |(_, other)| other.same_input(first)).collect();
        let args = first.args.iter().map(|arg| reindex(arg, at)).collect::<Result<_>>()?;
        let filter = first.filter.as_ref().map(|filter| reindex(filter, at)).transpose()?;
        let groups = reduction.groups.map.groups();
        sinks.push(Sink::try_new(args, filter, &members, schema, groups, reduction.grouped())?);
    }
    Ok(sinks)
}
