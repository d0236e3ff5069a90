//! One partition at work: task after task, into states.

use super::ahead::ReadAhead;
use super::cells::{CellsPlan, CellsSource, Course, Piece};
use super::found::Found;
use super::partial::Partial;
use super::queue::Queue;
use super::reduction::Reduction;
use super::work::{Task, Work};
use crate::dataset::read::Reader;
use crate::engine::external;
use crate::engine::metrics::ScanMetrics;
use crate::engine::verdict::Verdict;
use crate::reduce::{ChunkReducer, GroupMap};
use crate::tensor::Part;
use crate::{Error, Place};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one partition needs.
pub(super) struct Worker<'a> {
    pub reduction: Arc<Reduction>,
    pub work: Arc<Work>,
    pub reader: Reader,
    pub metrics: ScanMetrics,
    /// Where its tasks come from.
    pub queue: Arc<Queue>,
    /// What workers know of each other's extremes.
    pub found: Arc<Found>,
    /// What the files know of what it will read.
    pub ahead: ReadAhead,
    /// Holds the bytes of decode buffers.
    pub buffers: MemoryReservation,
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
            let partial = self.dense(partition, true)?;
            self.states.try_resize(partial.memory() + partial.outcome_memory(&self.reduction.schema))?;
            if (self.cancelled)() {
                return Ok(());
            }
            return partial.finish(None, &mut |batch| sliced(&batch, self.batch_size, emit));
        }
        self.run_local(&work, partition, emit)
    }

    /// Does the tasks of `partition` with all groups at once; `work.dense` says that there is room. `apart` says that the
    /// states are handed on by themselves. Incomplete where the query was cancelled.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub(super) fn dense(&mut self, partition: usize, apart: bool) -> Result<Partial> {
        let (work, map) = (Arc::clone(&self.work), Arc::clone(&self.reduction.groups.map));
        self.states.try_resize(work.states)?;
        let mut partial = Partial::new(&self.reduction, &self.work, &map, apart);
        let mut sources = [None, None];
        let queue = Arc::clone(&self.queue);
        while let Some(task) = queue.next(partition, &work) {
            if let Task::Cells { side, cells } = task {
                let Some(plan) = &work.cells[*side as usize] else {
                    return internal_err!("there is no program");
                };
                let sources = match &mut sources[*side as usize] {
                    Some(sources) => sources,
                    none => {
                        partial.expect(plan)?;
                        none.insert([None, None])
                    }
                };
                for piece in plan.pieces(cells) {
                    if (self.cancelled)() {
                        return Ok(partial);
                    }
                    self.cells(plan, &piece, sources, &map, &mut partial)?;
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
        let queue = Arc::clone(&self.queue);
        let tasks = std::iter::from_fn(|| queue.next(partition, work));
        for (pass, part) in tasks.flat_map(|task| work.parts(task)) {
            if (self.cancelled)() {
                return Ok(());
            }
            let local = self.reduction.groups.map.localise(&part);
            self.states
                .try_resize(work.states / self.reduction.groups.map.groups().max(1) * local.map.groups())?;
            let mut partial = Partial::new(&self.reduction, &self.work, &local.map, true);
            if pass.is_none() || self.work.counting == pass {
                partial.count(&part)?;
            }
            if let Some(pass) = pass {
                self.direct(pass, &part, &local.map, &mut partial)?;
            }
            self.states.try_resize(partial.memory() + partial.outcome_memory(&self.reduction.schema))?;
            partial.finish(Some(&local), &mut |batch| {
                self.metrics.groups_handed_on.add(batch.num_rows());
                sliced(&batch, self.batch_size, emit)
            })?;
        }
        Ok(())
    }

    /// Decodes a part of a pass's variable into its states.
    fn direct(&mut self, pass: usize, part: &Part, map: &GroupMap, partial: &mut Partial) -> Result<()> {
        let start = Instant::now();
        let states = partial.states(pass)?;
        let planned = &self.work.passes[pass];
        // Parts that are reduced on their own have groups of their own.
        let shared = self.work.dense && planned.extremes;
        if shared && self.reduction.grid.variables[planned.variable].stats.known() > 0 {
            self.found.exchange(pass, states).map_err(external)?;
        }
        if self.answered(pass, part, states, map)? {
            return Ok(());
        }
        self.metrics.bytes_ahead.add(self.ahead.tell(&self.reduction, &self.work, &self.queue) as usize);
        let variable = &self.reduction.grid.variables[self.work.passes[pass].variable];
        let mut gathering = self.gather(pass, part, map).map_err(external)?;
        let mut reducer = ChunkReducer::new(part, map);
        let cancelled = self.cancelled;
        let visited = self.reader.visit_pieces(variable, part, &mut |first, cells| {
            if cancelled() {
                return Err(Error::unsupported(&Place::file("cancelled query"), "reading on"));
            }
            match &mut gathering {
                None => reducer.feed(first, cells, None, states),
                Some(gathering) => gathering.add(first, cells, &mut reducer, states),
            }
        });
        let read = match visited {
            Err(_) if cancelled() => return Ok(()),
            other => other.map_err(external)?,
        };
        if let Some(gathering) = gathering.filter(|_| read) {
            gathering.note(variable, part, states).map_err(external)?;
        }
        self.was_read(part.len(), start.elapsed())
    }

    /// Notes that so many cells were read and reduced, and accounts for the buffers.
    fn was_read(&mut self, cells: u64, elapsed: Duration) -> Result<()> {
        self.ahead.was_read(self.reader.stats_mut().decode.bytes_read);
        self.metrics.cells_reduced.add(cells as usize);
        self.metrics.take(self.reader.stats_mut(), elapsed);
        if self.reader.memory() > self.buffers.size() {
            self.buffers.try_resize(self.reader.memory())?;
        }
        self.metrics.peak_memory.set_max(self.buffers.size() + self.states.size());
        Ok(())
    }

    /// Reads a piece of `plan`, as far as it must be read, and reduces it; `sources` are those of the plan's gated
    /// and open flow, once they are needed.
    fn cells(
        &mut self,
        plan: &CellsPlan,
        piece: &Piece,
        sources: &mut [Option<CellsSource>; 2],
        map: &GroupMap,
        partial: &mut Partial,
    ) -> Result<()> {
        let start = Instant::now();
        let reduction = Arc::clone(&self.reduction);
        let verdict = plan.verdict(&reduction, piece);
        if verdict == Verdict::Never {
            self.metrics.chunks_pruned_by_statistics.add(1);
            return Ok(());
        }
        let ([gated, open], mut flow) = (sources, &plan.gated);
        let mut source = gated;
        if let (Verdict::Always, Some(without)) = (verdict, &plan.open) {
            if let Piece::Part(part) = piece
                && partial.answer(plan, part)?
            {
                self.metrics.chunks_from_statistics.add(1);
                return Ok(());
            }
            self.metrics.chunks_unmasked.add(1);
            (source, flow) = (open, without);
        }
        let source = match source {
            Some(source) => source,
            none => none.insert(CellsSource::new(flow, &reduction, &self.reader)),
        };
        self.metrics.bytes_ahead.add(self.ahead.tell(&self.reduction, &self.work, &self.queue) as usize);
        let course = Course { plan, flow, reduction: &reduction, map };
        let cells = match piece {
            Piece::Part(part) => {
                source.part(&course, part, (&mut self.reader, self.cancelled), partial)?;
                part.len()
            }
            Piece::Unit(unit) => source.unit(&course, unit, &mut self.reader, partial)?,
        };
        self.was_read(cells, start.elapsed())
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
