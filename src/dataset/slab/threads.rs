//! A slab on several threads.
//!
//! ```text
//! parts of the plan -> a reader for each thread -> pieces -> moved to where they belong, one at a time
//! ```

use super::Cells;
use super::plan::{Plan, without};
use crate::codec::Values;
use crate::dataset::read::{ReadStats, Reader};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Reads the parts of `plan` on `threads` threads, this one among them; `None` if `stop` says so.
///
/// # Errors
/// As [`Reader::visit_part`], of the first part that has one.
pub(super) fn read(
    plan: &Plan<'_>,
    reader: &mut Reader,
    threads: usize,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Cells>> {
    plan.announce(reader);
    let options = *reader.options();
    let work = Work { plan, next: AtomicUsize::new(0), done: Mutex::new(Done::new(plan)) };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| {
                let mut reader = Reader::new(options);
                work.run(&mut reader, stop);
                work.lock().stats.add(reader.stats_mut());
            });
        }
        work.run(reader, stop);
    });
    let Done { values, holes, stats, failed } =
        work.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    reader.stats_mut().add(&stats);
    match failed {
        Some((_, e)) => Err(e),
        None if stop() => Ok(None),
        None => {
            let valid = without(values.len(), &holes);
            Ok(Some(Cells { values, valid }))
        }
    }
}

/// Parts that threads take one after the other.
struct Work<'a> {
    plan: &'a Plan<'a>,
    next: AtomicUsize,
    done: Mutex<Done>,
}

struct Done {
    values: Values,
    holes: Vec<Range<usize>>,
    stats: ReadStats,
    /// The first part that failed.
    failed: Option<(usize, Error)>,
}

impl Done {
    fn new(plan: &Plan<'_>) -> Self {
        Self { values: plan.room(), holes: Vec::new(), stats: ReadStats::default(), failed: None }
    }
}

impl Work<'_> {
    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, reader: &mut Reader, stop: &(dyn Fn() -> bool + Sync)) {
        let mut piece = self.plan.buffer(reader);
        while !stop() {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= self.plan.parts() {
                break;
            }
            let read = self.plan.read_part(number, reader, &mut piece);
            let mut done = self.lock();
            let Done { values, holes, .. } = &mut *done;
            let placed = read.and_then(|placed| self.plan.place(&placed, &piece, values, holes));
            if let Err(e) = placed {
                if done.failed.as_ref().is_none_or(|(before, _)| number < *before) {
                    done.failed = Some((number, e));
                }
                // what was taken before is finished: an error of an earlier part goes first
                self.next.store(self.plan.parts(), Relaxed);
            }
        }
    }
}
