//! What a worker will read, told to the files beforehand, so that reading overlaps decoding.
//!
//! ```text
//! tasks of a partition   | done | at work | told | told | not yet ...
//!                                         <- BUDGET ->
//! ```
//! Those whose statistics are known aren't told. Of files at hand only objects that are decoded whole are: uncompressed
//! ones are reduced as fast as they come, and of ranges it isn't known beforehand where in the object they are. Files that
//! have to be fetched are told whatever will be.

use super::queue::Queue;
use super::reduction::Reduction;
use super::work::{DirectPass, Task, Work};
use crate::tensor::Place;

/// Encoded bytes that are told beyond those that were read.
const BUDGET: u64 = 8 << 20;
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
                    let at = places.start + at;
                    let place = pass.parts.numbers(at..at + 1).next();
                    self.told += place.map_or(0, |place| weight(tell(reduction, pass, at, place)));
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

/// Tells the file of the chunk at `place`, the one with number `at`. Returns how many bytes that are.
fn tell(reduction: &Reduction, pass: &DirectPass, at: u64, place: Place) -> u64 {
    let variable = &reduction.grid.variables[pass.variable];
    let Some(facts) = variable.chunks.facts(place.chunk).filter(|_| place.kept > 0) else { return 0 };
    let known = place.kept == facts.elements && variable.stats.get(place.chunk).is_some();
    let threshold = reduction.scan.options().range_threshold;
    if !known && !variable.chunks.is_at_hand(place.chunk) {
        return pass.parts.get(at).map_or(0, |part| variable.announce(&part, threshold));
    }
    let few = place.kept as f64 <= threshold * facts.elements as f64;
    let decoded = facts.elements.saturating_mul(variable.dtype.width().unwrap_or(1) as u64);
    if known || (facts.seeks && few) || facts.bytes >= decoded {
        return 0;
    }
    variable.chunks.will_need(place.chunk);
    facts.bytes
}
