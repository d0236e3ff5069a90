//! Queries: plans that can be run.

use super::batches::Batches;
use super::{capsule, engine, error::raise};
use datafusion::dataframe::DataFrame;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// A planned statement; each run of it starts anew.
#[pyclass(module = "millibar._millibar", frozen)]
pub(crate) struct Query {
    frame: DataFrame,
}

impl Query {
    pub(crate) fn new(frame: DataFrame) -> Self {
        Self { frame }
    }
}

#[pymethods]
impl Query {
    /// Columns of the answer, as a `pyarrow.Schema`.
    #[getter]
    fn schema<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        py.import(intern!(py, "pyarrow"))?.call_method1(intern!(py, "schema"), (slf,))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema(py, self.frame.schema().as_arrow())
    }

    /// Starts a run; at most `limit` rows of it.
    #[pyo3(signature = (limit=None))]
    fn run(&self, py: Python<'_>, limit: Option<usize>) -> PyResult<Batches> {
        let frame = self.frame.clone();
        let started = engine::wait(py, async move {
            let limited = if limit.is_some() { frame.limit(0, limit)? } else { frame };
            limited.execute_stream().await
        })?;
        Batches::new(py, started.map_err(|e| raise(py, &e))?)
    }
}
