//! One run of a query.
//!
//! ```text
//! engine's threads: stream -> channel of one batch -> reader: next() from Python, or get_next() of Arrow's C stream
//! ```
//! Whoever reads waits without holding the interpreter. Dropping the reader stops the run.

use super::engine::{Engine, wait_a_little};
use super::error::{internal, raise};
use super::{capsule, logging};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatchReader;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use pyo3::exceptions::{PyStopIteration, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

type Item = Result<RecordBatch, DataFusionError>;

/// The receiving end of a run. Dropping it stops the run.
struct Running {
    schema: SchemaRef,
    items: mpsc::Receiver<Item>,
    task: AbortHandle,
    engine: Arc<Engine>,
    /// The thread that hears of Ctrl-C, if it is the one that started the run.
    main: Option<ThreadId>,
}

impl Running {
    fn start(py: Python<'_>, mut stream: SendableRecordBatchStream) -> PyResult<Self> {
        let engine = Engine::get(py)?;
        let schema = stream.schema();
        let (send, items) = mpsc::channel(1);
        let task = engine.spawn(async move {
            while let Some(item) = stream.next().await {
                if send.send(item).await.is_err() {
                    break;
                }
            }
        });
        let task = task.ok_or_else(|| internal(py, "the engine is in another process"))?;
        let threading = py.import(intern!(py, "threading"))?;
        let current = threading.call_method0(intern!(py, "current_thread"))?;
        let main =
            current.is(threading.call_method0(intern!(py, "main_thread"))?).then(|| thread::current().id());
        Ok(Self { schema, items, task, engine, main })
    }

    /// The next item, or `None` at the end; an error of `listen`, asked now and then, ends the run.
    fn next<E>(&mut self, mut listen: impl FnMut() -> Result<(), E>) -> Result<Option<Item>, E> {
        if !self.engine.is_here() {
            let what = "this run was started before the process was forked: start it anew";
            return Ok(Some(Err(DataFusionError::Execution(what.into()))));
        }
        loop {
            if let Some(item) = wait_a_little(self.items.recv()) {
                return Ok(item);
            }
            if let Err(signal) = listen() {
                self.engine.stop(&self.task);
                self.items.close();
                return Err(signal);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.stop(&self.task);
    }
}

/// Arrow's C stream over a run, for readers who know nothing of Python.
impl Iterator for Running {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let listens = self.main == Some(thread::current().id());
        let listen = || if listens { Python::attach(interrupted) } else { Ok(()) };
        let item = Running::next(self, listen);
        if listens {
            Python::attach(|py| match item {
                Err(_) => self.engine.leave(py),
                // The batch is there; a signal is raised when the reader returns.
                Ok(_) => raise_later(logging::relay(py)),
            });
        }
        match item {
            Ok(item) => item.map(|item| item.map_err(|e| ArrowError::ExternalError(Box::new(e)))),
            Err(signal) => Some(Err(signal)),
        }
    }
}

/// Ends a C stream where Ctrl-C was pressed. Such a stream carries words alone, not an exception: its reader raises what
/// it has for streams that broke off. (A signal given again would be found too late, while that is on its way.)
fn interrupted(py: Python<'_>) -> Result<(), ArrowError> {
    py.check_signals().map_err(|_| ArrowError::ExternalError("interrupted by Ctrl-C".into()))
}

/// Gives a signal again: the interpreter finds it when the reader returns.
fn raise_later(done: PyResult<()>) {
    if done.is_err() {
        // SAFETY: takes no arguments and marks SIGINT as arrived; callers are attached to the interpreter.
        unsafe { pyo3::ffi::PyErr_SetInterrupt() };
    }
}

impl RecordBatchReader for Running {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Batches of one run, in order, once.
#[pyclass(module = "millibar._millibar", frozen)]
pub(crate) struct Batches {
    schema: SchemaRef,
    /// `None` once closed, or given away as a C stream.
    running: Mutex<Option<Running>>,
}

impl Batches {
    pub(crate) fn new(py: Python<'_>, stream: SendableRecordBatchStream) -> PyResult<Self> {
        let running = Running::start(py, stream)?;
        Ok(Self { schema: Arc::clone(&running.schema), running: Mutex::new(Some(running)) })
    }

    /// Takes the run, so that no other thread can while this one waits.
    fn take(&self) -> PyResult<Running> {
        let taken = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| {
            PyValueError::new_err("these batches were read, closed, or are being read elsewhere")
        })
    }
}

#[pymethods]
impl Batches {
    /// Columns, as a `pyarrow.Schema`.
    #[getter]
    fn schema<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        py.import(intern!(py, "pyarrow"))?.call_method1(intern!(py, "schema"), (slf,))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema(py, &self.schema)
    }

    /// Hands the rest of the run over.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema; // a wish that producers need not fulfil
        capsule::stream(py, Box::new(self.take()?))
    }

    /// The next batch, as a `pyarrow.RecordBatch`; `StopIteration` at the end.
    fn read_next_batch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut running = self.take()?;
        let listen = |py: Python<'_>| py.check_signals().and_then(|()| logging::relay(py));
        let item = py.detach(|| running.next(|| Python::attach(listen)));
        let item = item.and_then(|item| logging::relay(py).map(|()| item));
        let item = item.inspect_err(|_| running.engine.leave(py))?;
        let put_back = || *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        match item {
            None => {
                put_back();
                Err(PyStopIteration::new_err(()))
            }
            Some(Err(e)) => Err(raise(py, &e)),
            Some(Ok(batch)) => {
                put_back();
                let (schema, array) = capsule::batch(py, batch)?;
                let class = py.import(intern!(py, "pyarrow"))?.getattr(intern!(py, "RecordBatch"))?;
                class.call_method1(intern!(py, "_import_from_c_capsule"), (schema, array))
            }
        }
    }

    /// Stops the run.
    fn close(&self) {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
