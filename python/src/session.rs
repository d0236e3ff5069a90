//! Sessions: tables, settings, and statements about them.

use super::engine::wait;
use super::error::raise;
use super::query::Query;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::engine;
use pyo3::prelude::*;

/// A session in this process; see `millibar.Session`.
#[pyclass(module = "millibar._millibar", frozen)]
pub(crate) struct Session {
    context: SessionContext,
}

fn context() -> Result<SessionContext> {
    engine::session_context(SessionConfig::from_env()?, RuntimeEnvBuilder::new().build_arc()?)
}

impl Session {
    /// What its statements are planned in.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }
}

#[pymethods]
impl Session {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let context = context().map_err(|e| raise(py, &e))?;
        Ok(Self { context })
    }

    /// Plans `text`.
    fn sql(&self, py: Python<'_>, text: String) -> PyResult<Query> {
        let context = self.context.clone();
        let frame = wait(py, async move { context.sql(&text).await })?;
        frame.map(Query::new).map_err(|e| raise(py, &e))
    }
}
