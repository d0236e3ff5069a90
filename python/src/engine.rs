//! The threads of the engine: one runtime for each process.
//!
//! Threads don't survive a fork. A child that was forked with a runtime in it makes its own at the first query; the
//! one it inherited is left alone, as joining threads that aren't there would hang.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How often a waiting thread asks whether Ctrl-C was pressed.
pub(crate) const LISTEN: Duration = Duration::from_millis(50);

/// The runtime, and the process that made it. Only touched by threads that hold the interpreter's lock and keep it
/// meanwhile, so no fork of Python's finds the mutex taken.
static RUNTIME: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);

/// The runtime of this process, made at the first call.
///
/// # Errors
/// `RuntimeError` if the system has no more threads.
pub(crate) fn runtime(_py: Python<'_>) -> PyResult<Arc<Runtime>> {
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, runtime)) = slot.as_ref()
        && *owner == process
    {
        return Ok(Arc::clone(runtime));
    }
    let made = Builder::new_multi_thread().thread_name("millibar").enable_all().build();
    let made = made.map_err(|e| PyRuntimeError::new_err(format!("starting threads: {e}")))?;
    let made = Arc::new(made);
    if let Some(inherited) = slot.replace((process, Arc::clone(&made))) {
        std::mem::forget(inherited);
    }
    Ok(made)
}

/// Runs `work` on the engine's threads and waits for it without holding the interpreter. Ctrl-C stops the work and
/// raises `KeyboardInterrupt`, where it is the main thread that waits.
///
/// # Errors
/// What a signal handler raised; `RuntimeError` if the work panicked.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = T> + Send + 'static,
) -> PyResult<T> {
    let runtime = runtime(py)?;
    let (done, mut outcome) = oneshot::channel();
    let task = runtime.spawn(async move {
        // Nobody waits any more where the receiver is gone.
        let _ = done.send(work.await);
    });
    loop {
        let waited =
            py.detach(|| runtime.block_on(async { tokio::time::timeout(LISTEN, &mut outcome).await }));
        match waited {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(_)) => return Err(PyRuntimeError::new_err("the engine failed in an unexpected way")),
            Err(_) => {
                if let Err(signal) = py.check_signals() {
                    task.abort();
                    return Err(signal);
                }
            }
        }
    }
}
