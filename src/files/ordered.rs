//! Work on many threads whose results come in the order of the jobs.

use crate::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runs `work` on `threads` threads over the jobs that `produce` hands out, each with what it costs; `consume` gets the
/// results in the order of the jobs.
///
/// What is produced and not yet consumed costs `budget` at most, but for a single job that costs more. Each worker has
/// a state of its own, made by `state`. The first error, in the order of the jobs, ends everything: those of `work`
/// and of `produce` come out of [`Results::next`].
///
/// # Errors
/// What `consume` returns.
pub(super) fn ordered<J: Send, R: Send, S>(
    threads: NonZero<usize>,
    budget: u64,
    produce: impl FnOnce(&mut dyn FnMut(J, u64) -> Result<()>) -> Result<()> + Send,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> Result<R> + Sync,
    consume: impl FnOnce(&mut Results<'_, J, R>) -> Result<()>,
) -> Result<()> {
    let shared = Shared { state: Mutex::new(State::new()), changed: Condvar::new() };
    thread::scope(|scope| {
        // Whoever leaves, by an error or a panic, lets all others go.
        let _over = Over(&shared);
        scope.spawn(|| {
            let _over = OnPanic(&shared);
            let produced = produce(&mut |job, cost| shared.put(job, cost, budget));
            shared.change(|state| state.produced = Some(produced));
        });
        for _ in 0..threads.get() {
            scope.spawn(|| {
                let _over = OnPanic(&shared);
                let mut own = state();
                while let Some((number, job)) = shared.job() {
                    let result = work(&mut own, job);
                    shared.change(|state| state.done.insert(number, result));
                }
            });
        }
        consume(&mut Results { shared: &shared, next: 0 })
    })
}

/// The results, in the order of the jobs.
pub(super) struct Results<'s, J, R> {
    shared: &'s Shared<J, R>,
    /// Number of the next result.
    next: u64,
}

impl<J, R> Results<'_, J, R> {
    /// The next result; `None` after the last. Its job counts as consumed when the one after it is asked for.
    ///
    /// # Errors
    /// That of the job; after the last result, that of who produced the jobs.
    pub(super) fn next(&mut self) -> Result<Option<R>> {
        let (shared, next) = (self.shared, self.next);
        shared.change(|state| {
            let consumed = next.checked_sub(1).and_then(|last| state.costs.remove(&last));
            state.under_way -= consumed.unwrap_or(0);
        });
        let mut state = shared.until(|state| {
            state.over || state.done.contains_key(&next) || (state.begun == next && state.produced.is_some())
        });
        match state.done.remove(&next) {
            Some(result) => {
                self.next += 1;
                result.map(Some)
            }
            // Also where a thread panicked, which the end of the scope tells.
            None => state.produced.clone().unwrap_or(Ok(())).map(|()| None),
        }
    }
}

struct Shared<J, R> {
    state: Mutex<State<J, R>>,
    changed: Condvar,
}

struct State<J, R> {
    /// Jobs that nobody works on yet, with their numbers.
    jobs: VecDeque<(u64, J)>,
    /// Results that aren't consumed.
    done: BTreeMap<u64, Result<R>>,
    /// What each job costs that isn't consumed.
    costs: BTreeMap<u64, u64>,
    /// Their sum.
    under_way: u64,
    /// Jobs produced so far.
    begun: u64,
    /// How producing ended.
    produced: Option<Result<()>>,
    /// Nobody is to begin anything.
    over: bool,
}

impl<J, R> State<J, R> {
    fn new() -> Self {
        Self {
            jobs: VecDeque::new(),
            done: BTreeMap::new(),
            costs: BTreeMap::new(),
            under_way: 0,
            begun: 0,
            produced: None,
            over: false,
        }
    }
}

impl<J, R> Shared<J, R> {
    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State<J, R>) -> T) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The state, as soon as `ready` says so.
    fn until(&self, ready: impl Fn(&State<J, R>) -> bool) -> MutexGuard<'_, State<J, R>> {
        let state = self.lock();
        self.changed.wait_while(state, |state| !ready(state)).unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job as soon as it fits.
    ///
    /// # Errors
    /// If nobody wants it any more. Nobody reads this error: it stops whoever produces.
    fn put(&self, job: J, cost: u64, budget: u64) -> Result<()> {
        let fits = |state: &State<J, R>| {
            state.over || state.under_way == 0 || state.under_way.saturating_add(cost) <= budget
        };
        let mut state = self.until(fits);
        if state.over {
            return Err(Error::io("jobs", io::ErrorKind::Interrupted.into()));
        }
        let number = state.begun;
        state.begun += 1;
        state.under_way += cost;
        state.costs.insert(number, cost);
        state.jobs.push_back((number, job));
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next job; `None` if there will be none.
    fn job(&self) -> Option<(u64, J)> {
        let mut state = self.until(|state| state.over || !state.jobs.is_empty() || state.produced.is_some());
        if state.over { None } else { state.jobs.pop_front() }
    }
}

/// Ends all work when it is dropped.
struct Over<'s, J, R>(&'s Shared<J, R>);

impl<J, R> Drop for Over<'_, J, R> {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
    }
}

/// Ends all work when its thread panics.
struct OnPanic<'s, J, R>(&'s Shared<J, R>);

impl<J, R> Drop for OnPanic<'_, J, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.change(|state| state.over = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    const THREADS: NonZero<usize> = NonZero::new(4).unwrap();

    fn run(
        jobs: u64,
        budget: u64,
        work: impl Fn(&mut (), u64) -> Result<u64> + Sync,
        produce_end: Result<()>,
    ) -> (Vec<u64>, Result<()>) {
        let mut seen = Vec::new();
        let ended = ordered(
            THREADS,
            budget,
            |put| (0..jobs).try_for_each(|job| put(job, 10)).and(produce_end),
            || (),
            work,
            |results| {
                while let Some(result) = results.next()? {
                    seen.push(result);
                }
                Ok(())
            },
        );
        (seen, ended)
    }

    fn error(what: &str) -> Error {
        Error::io(what, io::ErrorKind::Other.into())
    }

    #[test]
    fn results_come_in_order_and_within_the_budget() {
        let (under_way, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |(): &mut (), job: u64| {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(job * 37 % 300));
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(job)
        };
        for (budget, at_once) in [(1000, 4), (20, 2), (5, 1)] {
            most.store(0, Ordering::SeqCst);
            let (seen, ended) = run(100, budget, work, Ok(()));
            assert!(ended.is_ok() && seen.iter().copied().eq(0..100), "{seen:?}");
            assert!(most.load(Ordering::SeqCst) <= at_once, "{budget}");
        }
    }

    #[test]
    fn the_first_error_in_order_ends_it() {
        let work = |(): &mut (), job: u64| if job >= 7 { Err(error(&job.to_string())) } else { Ok(job) };
        let (seen, ended) = run(1_000_000, 100, work, Ok(()));
        assert_eq!(seen.len(), 7);
        assert!(ended.unwrap_err().to_string().starts_with("7: "));
        let (seen, ended) = run(5, 100, |(), job| Ok(job), Err(error("source")));
        assert_eq!(seen.len(), 5);
        assert!(ended.unwrap_err().to_string().starts_with("source: "));
        assert!(run(0, 0, |(), job| Ok(job), Ok(())).1.is_ok());
    }

    #[test]
    fn a_consumer_may_leave_early_and_a_panic_is_no_hang() {
        let left = ordered(
            THREADS,
            10,
            |put| (0..).try_for_each(|job: u64| put(job, 1)),
            || (),
            |(), job| Ok(job),
            |results| {
                results.next()?;
                Err(error("enough"))
            },
        );
        assert!(left.unwrap_err().to_string().starts_with("enough: "));
        let panicked = std::panic::catch_unwind(|| {
            run(50, 100, |(), job| if job == 9 { panic!("job 9") } else { Ok(job) }, Ok(()))
        });
        assert!(panicked.is_err());
    }
}
