//! The threads of the engine: one runtime for each process.
//!
//! Threads don't survive a fork. A child that was forked with a runtime in it makes its own at the first query; the
//! one it inherited is left alone, as joining threads that aren't there would hang.

use super::{error, logging};
use pyo3::prelude::*;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// How often a waiting thread asks whether Ctrl-C was pressed.
const LISTEN: Duration = Duration::from_millis(50);

/// How long stopped work may take to notice that before others get new threads.
const GRACE: Duration = Duration::from_millis(100);

/// The engine of this process, once it is made. Only touched by threads that hold the interpreter and keep it meanwhile,
/// so no fork of Python's finds the mutex taken.
static ENGINE: Mutex<Option<Arc<Engine>>> = Mutex::new(None);

/// A runtime, and the process that has its threads.
pub(crate) struct Engine {
    process: u32,
    /// There until dropped.
    runtime: Option<Runtime>,
}

impl Engine {
    /// That of this process, made at the first call.
    ///
    /// # Errors
    /// `InternalError` if the system has no more threads.
    pub(crate) fn get(py: Python<'_>) -> PyResult<Arc<Self>> {
        let mut slot = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = slot.as_ref().filter(|engine| engine.is_here()) {
            return Ok(Arc::clone(engine));
        }
        millibar::engine::heap::keep_freed_memory();
        let made = Builder::new_multi_thread().thread_name("millibar").enable_all().build();
        let made = made.map_err(|e| error::internal(py, &format!("starting threads: {e}")))?;
        let made = Arc::new(Self { process: std::process::id(), runtime: Some(made) });
        *slot = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Whether its threads are in this process.
    pub(crate) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Runs `work` on its threads.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let runtime = self.runtime.as_ref().filter(|_| self.is_here())?;
        Some(runtime.spawn(work).abort_handle())
    }

    /// Stops `task`.
    pub(crate) fn stop(&self, task: &AbortHandle) {
        if self.is_here() {
            task.abort();
        }
    }

    /// Gives what comes next threads of its own if those here are still busy in a moment: operators that compute for
    /// long between two batches notice late that they were stopped. What else runs here goes on.
    pub(crate) fn leave(self: &Arc<Self>, py: Python<'_>) {
        py.detach(|| thread::sleep(GRACE));
        let busy = self.runtime.as_ref().is_some_and(|runtime| runtime.metrics().num_alive_tasks() > 0);
        let mut slot = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        if busy && slot.as_ref().is_some_and(|engine| Arc::ptr_eq(engine, self)) {
            *slot = None;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        match self.runtime.take() {
            Some(runtime) if self.is_here() => runtime.shutdown_background(),
            inherited => std::mem::forget(inherited),
        }
    }
}

/// Unparks the thread that waits.
struct Waiter(Thread);

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, as long as [`LISTEN`]; `None` if `work` takes longer. No thread of the engine is needed for the
/// time to pass: they may all be computing.
pub(crate) fn wait_a_little<T>(work: impl Future<Output = T>) -> Option<T> {
    let end = Instant::now() + LISTEN;
    let waker = Waker::from(Arc::new(Waiter(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return Some(done);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Runs `work` on the engine's threads and waits for it without holding the interpreter. Ctrl-C stops the work and
/// raises `KeyboardInterrupt`, where it is the main thread that waits.
///
/// # Errors
/// What a signal handler raised; `InternalError` if the work panicked.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = T> + Send + 'static,
) -> PyResult<T> {
    logging::relay(py)?;
    let engine = Engine::get(py)?;
    let (done, mut outcome) = oneshot::channel();
    let task = engine.spawn(async move {
        // Nobody waits any more where the receiver is gone.
        let _ = done.send(work.await);
    });
    loop {
        let waited = py.detach(|| wait_a_little(&mut outcome));
        let listened = py.check_signals().and_then(|()| logging::relay(py));
        match waited {
            Some(Ok(value)) => return listened.map(|()| value),
            Some(Err(_)) => return Err(error::internal(py, "the engine failed in an unexpected way")),
            None => {
                if let Err(signal) = listened {
                    task.inspect(|task| engine.stop(task));
                    engine.leave(py);
                    return Err(signal);
                }
            }
        }
    }
}
