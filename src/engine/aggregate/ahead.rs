//! What a worker will read, told to the files beforehand, so that reading overlaps decoding.
//!
//! ```text
//! tasks of a partition   | done | at work | told | told | not yet ...
//!                                         <- BUDGET ->
//! ```
//! Only objects that statistics don't spare are told.

use super::cells::Cut;
use super::queue::Queue;
use super::reduction::Reduction;
use super::work::{CellsOf, Task, Work};
use crate::dataset::Variable;
use crate::engine::ahead::{BUDGET, nth, tell, weight};
use crate::tensor::Place;

/// How far the files of one worker know what it will read.
#[derive(Debug)]
pub(super) struct ReadAhead {
    partition: usize,
    /// The task, and how many of its places were told.
    next: (usize, u64),
    /// Bytes that were told and not read yet.
    told: u64,
}

impl ReadAhead {
    /// Nothing is known of what the worker of `partition` will read.
    pub(super) fn new(partition: usize) -> Self {
        Self { partition, next: (0, 0), told: 0 }
    }

    /// Notes that so many encoded bytes were read.
    pub(super) fn was_read(&mut self, bytes: u64) {
        self.told = self.told.saturating_sub(weight(bytes));
    }

    /// Tells what comes next; how many bytes that are.
    pub(super) fn tell(&mut self, reduction: &Reduction, work: &Work, queue: &Queue) -> u64 {
        let before = self.told;
        if self.told >= BUDGET {
            return 0;
        }
        let threshold = reduction.scan.options().range_threshold;
        let upcoming = queue.upcoming(self.partition);
        // The task before those that wait is the one at work.
        self.next = self.next.max((upcoming.start.saturating_sub(1), 0));
        while self.told < BUDGET && self.next.0 < upcoming.end {
            let (task, at) = self.next;
            match &work.partitions[self.partition][task] {
                Task::Direct { pass, places } if at < places.end - places.start => {
                    let pass = &work.passes[*pass];
                    let variable = &reduction.grid.variables[pass.variable];
                    let at = places.start + at;
                    // What is known of a whole chunk answers for it.
                    if !nth(&pass.parts, at).is_some_and(|place| answers(variable, place)) {
                        self.told += tell(variable, &pass.parts, at, threshold);
                    }
                    self.next.1 += 1;
                }
                Task::Cells { side, cells: CellsOf::Parts(places) } if at < places.end - places.start => {
                    let at = places.start + at;
                    let plan = work.cells[*side as usize].as_ref();
                    if let Some((plan, Cut::Chunks(parts))) = plan.map(|plan| (plan, &plan.cut))
                        && !plan.spares(reduction, parts, at)
                    {
                        let told =
                            plan.variables(reduction).map(|variable| tell(variable, parts, at, threshold));
                        self.told += told.sum::<u64>();
                    }
                    self.next.1 += 1;
                }
                _ => self.next = (task + 1, 0),
            }
        }
        self.told - before
    }
}

/// Whether statistics of a chunk of which all cells are kept are known.
fn answers(variable: &Variable, place: Place) -> bool {
    let whole = variable.chunks.facts(place.chunk).is_some_and(|facts| facts.elements == place.kept);
    whole && variable.stats.get(place.chunk).is_some()
}
