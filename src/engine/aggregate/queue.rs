//! Tasks on their way to workers.
//!
//! The tasks of a partition lie together, so that a worker reads on where it has read. Objects differ in what they
//! cost to decode, whatever their size, so workers that are at work side by side help each other out:
//! ```text
//! worker 0   | t0 t1 t2 . . . |     takes its own from the front,
//! worker 1   | t6 t7 . . . t9 |     then the last of whoever has most left
//! ```
//! A partition that is executed on its own (it may run in another process than the others) has nobody to help, and
//! where the order of cells matters nobody does.

use super::work::{Task, Work};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is left of the tasks of each partition.
#[derive(Debug)]
pub(super) struct Queue {
    left: Vec<Mutex<Range<usize>>>,
    /// Whether workers help each other out.
    helping: bool,
}

impl Queue {
    /// All tasks of `work`, for one worker a partition; `helping` says whether they take from each other.
    pub(super) fn new(work: &Work, helping: bool) -> Self {
        Self::of(work.partitions.iter().map(Vec::len), helping)
    }

    fn of(tasks: impl Iterator<Item = usize>, helping: bool) -> Self {
        Self { left: tasks.map(|tasks| Mutex::new(0..tasks)).collect(), helping }
    }

    /// The next task for `worker`; `None` when there are none left.
    pub(super) fn next<'w>(&self, worker: usize, work: &'w Work) -> Option<&'w Task> {
        let (partition, index) = self.take(worker)?;
        work.partitions.get(partition)?.get(index)
    }

    /// What `worker` does next if nobody helps it: tasks of its own that wait.
    pub(super) fn upcoming(&self, worker: usize) -> Range<usize> {
        self.lock(worker).clone()
    }

    /// Partition and place of the next task for `worker`.
    fn take(&self, worker: usize) -> Option<(usize, usize)> {
        if let Some(index) = self.lock(worker).next() {
            return Some((worker, index));
        }
        if !self.helping {
            return None;
        }
        loop {
            let left = (0..self.left.len()).map(|partition| (self.lock(partition).len(), partition));
            let (most, partition) = left.max()?;
            if most == 0 {
                return None;
            }
            // Others may have been faster.
            if let Some(index) = self.lock(partition).next_back() {
                return Some((partition, index));
            }
        }
    }

    fn lock(&self, partition: usize) -> MutexGuard<'_, Range<usize>> {
        self.left[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn own_tasks_come_first_in_order_and_others_from_the_back() {
        let queue = Queue::of([2, 0, 3].into_iter(), true);
        assert_eq!(queue.upcoming(2), 0..3);
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(0)).collect();
        assert_eq!(taken, [(0, 0), (0, 1), (2, 2), (2, 1), (2, 0)]);
        assert_eq!((queue.take(1), queue.take(2)), (None, None));
        let alone = Queue::of([2, 0, 3].into_iter(), false);
        assert_eq!(std::iter::from_fn(|| alone.take(2)).collect::<Vec<_>>(), [(2, 0), (2, 1), (2, 2)]);
        assert_eq!((alone.take(1), alone.take(0)), (None, Some((0, 0))));
    }

    #[test]
    fn every_task_is_taken_once() {
        let (workers, each) = (4, 5000);
        let queue = Queue::of(std::iter::repeat_n(each, workers), true);
        let start = Barrier::new(workers);
        let mut taken: Vec<(usize, usize)> = std::thread::scope(|scope| {
            let work = |worker| {
                let (queue, start) = (&queue, &start);
                scope.spawn(move || {
                    start.wait();
                    // Worker 3 does nothing: the others have to.
                    let take = || if worker == 3 { None } else { queue.take(worker) };
                    std::iter::from_fn(take).collect::<Vec<_>>()
                })
            };
            let running: Vec<_> = (0..workers).map(work).collect();
            running.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        taken.sort_unstable();
        let all: Vec<_> = (0..workers).flat_map(|p| (0..each).map(move |task| (p, task))).collect();
        assert_eq!(taken, all);
    }
}
