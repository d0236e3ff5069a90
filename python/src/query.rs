//! Queries: plans that can be run.

use super::batches::Batches;
use super::{capsule, engine, error::raise};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
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

    /// The plan in words; with `analyze` it is run, and says what each step took.
    fn explain(&self, py: Python<'_>, analyze: bool) -> PyResult<String> {
        let frame = self.frame.clone();
        let said = engine::wait(py, async move {
            let batches = frame.explain(false, analyze)?.collect().await?;
            batches.iter().map(said).collect::<Result<String, DataFusionError>>()
        })?;
        said.map_err(|e| raise(py, &e))
    }
}

/// Names and texts of the plans in a batch of `EXPLAIN`.
fn said(batch: &RecordBatch) -> Result<String, DataFusionError> {
    let options = FormatOptions::default();
    let texts = |column| ArrayFormatter::try_new(batch.column(column), &options);
    let (names, plans) = (texts(0)?, texts(1)?);
    let lines = (0..batch.num_rows()).map(|row| format!("{}:\n{}\n", names.value(row), plans.value(row)));
    Ok(lines.collect())
}
