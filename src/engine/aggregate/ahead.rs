//! What a worker will read, told to the files beforehand, so that reading overlaps decoding.
//!
//! ```text
//! tasks of a partition   | done | at work | told | told | not yet ...
//!                                         <- BUDGET ->
//! ```
//! Only objects that statistics don't spare are told. Of files at hand only those that are decoded whole are: uncompressed
//! ones are reduced as fast as they come, and of ranges it isn't known beforehand where in the object they are. Files that
//! have to be fetched are told whatever will be.

use super::cells::Cut;
use super::queue::Queue;
use super::reduction::Reduction;
use super::work::{CellsOf, Task, Work};
use crate::dataset::Variable;
use crate::tensor::{Parts, Place};

/// Encoded bytes that are told beyond those that were read.
pub(super) const BUDGET: u64 = 8 << 20;
/// What telling of a chunk counts for at least, so that there is a bound on the number, too.
const LEAST: u64 = 16 << 10;

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

    /// Tells what comes next.
    pub(super) fn tell(&mut self, reduction: &Reduction, work: &Work, queue: &Queue) {
        if self.told >= BUDGET {
            return;
        }
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
                        self.told += tell(reduction, variable, &pass.parts, at);
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
                            plan.variables(reduction).map(|variable| tell(reduction, variable, parts, at));
                        self.told += told.sum::<u64>();
                    }
                    self.next.1 += 1;
                }
                _ => self.next = (task + 1, 0),
            }
        }
    }
}

/// What so many bytes of one chunk count for.
fn weight(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { bytes.max(LEAST) }
}

/// The place that is number `at`.
fn nth(parts: &Parts, at: u64) -> Option<Place> {
    parts.numbers(at..at + 1).next()
}

/// Whether statistics of a chunk of which all cells are kept are known.
fn answers(variable: &Variable, place: Place) -> bool {
    let whole = variable.chunks.facts(place.chunk).is_some_and(|facts| facts.elements == place.kept);
    whole && variable.stats.get(place.chunk).is_some()
}

/// Tells the file of the chunk of the part with number `at` what will be read of it, if that is known. Returns what
/// it counts for.
fn tell(reduction: &Reduction, variable: &Variable, parts: &Parts, at: u64) -> u64 {
    let Some(place) = nth(parts, at).filter(|place| place.kept > 0) else { return 0 };
    let Some(facts) = variable.chunks.facts(place.chunk) else { return 0 };
    let threshold = reduction.scan.options().range_threshold;
    if !variable.chunks.is_at_hand(place.chunk) {
        return weight(parts.get(at).map_or(0, |part| variable.announce(&part, threshold)));
    }
    let few = place.kept as f64 <= threshold * facts.elements as f64;
    let decoded = facts.elements.saturating_mul(variable.dtype.width().unwrap_or(1) as u64);
    if (facts.seeks && few) || facts.bytes >= decoded {
        return 0;
    }
    variable.chunks.will_need(place.chunk);
    weight(facts.bytes)
}
