//! Sessions: tables, settings, and statements about them.

use super::engine::wait;
use super::error::raise;
use super::query::Query;
use super::tables;
use datafusion::common::{Result, TableReference, plan_datafusion_err, plan_err};
use datafusion::datasource::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::engine::{self, provider, session::register_opened, statements};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// A session in this process; see `millibar.Session`.
#[pyclass(module = "millibar._millibar", frozen)]
pub(crate) struct Session {
    context: SessionContext,
}

fn context(
    memory_limit: Option<usize>,
    threads: Option<usize>,
    settings: &HashMap<String, String>,
) -> Result<SessionContext> {
    let mut config = SessionConfig::from_env()?;
    if let Some(threads) = threads {
        config = config.with_target_partitions(threads);
    }
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory_limit {
        runtime = runtime.with_memory_pool(engine::memory_pool(bytes));
    }
    let context = engine::session_context(config, runtime.build_arc()?)?;
    for (key, value) in settings {
        engine::configure(&context, key, value)?;
    }
    Ok(context)
}

/// Puts `table` where queries find it; `replace` lets it take the place of another.
fn add(context: &SessionContext, name: &str, table: Arc<dyn TableProvider>, replace: bool) -> Result<()> {
    let name = TableReference::bare(name);
    if context.table_exist(name.clone())? {
        if !replace {
            return plan_err!("there is already a table `{}`", name.table());
        }
        context.deregister_table(name.clone())?;
    }
    context.register_table(name, table).map(drop)
}

impl Session {
    /// What its statements are planned in.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }
}

#[pymethods]
impl Session {
    /// A session of its own tables and settings. `threads` is how many partitions its queries have.
    #[new]
    #[pyo3(signature = (memory_limit=None, threads=None, settings=HashMap::new()))]
    fn new(
        py: Python<'_>,
        memory_limit: Option<usize>,
        threads: Option<usize>,
        settings: HashMap<String, String>,
    ) -> PyResult<Self> {
        let context = context(memory_limit, threads, &settings).map_err(|e| raise(py, &e))?;
        Ok(Self { context })
    }

    /// Runs a script up to its last statement, which is planned, and done if it does something.
    fn sql(&self, py: Python<'_>, text: String) -> PyResult<Query> {
        let context = self.context.clone();
        let frame = wait(py, async move { statements::run_script(&context, &text).await })?;
        frame.map(Query::new).map_err(|e| raise(py, &e))
    }

    /// Opens `locations` as one dataset of tensors and registers its tables; returns their names.
    fn register_tensors(
        &self,
        py: Python<'_>,
        name: String,
        locations: Vec<String>,
        options: HashMap<String, String>,
        replace: bool,
    ) -> PyResult<Vec<String>> {
        let context = self.context.clone();
        let names = wait(py, async move {
            let opened = provider::open(locations, options).await?;
            if replace {
                for table in opened.named(&name) {
                    context.deregister_table(TableReference::bare(table.name().to_string()))?;
                }
            }
            register_opened(&context, &name, &opened)
        })?;
        names.map_err(|e| raise(py, &e))
    }

    /// Registers files of another format (`PARQUET`, `CSV`, ...), with DataFusion's options of it.
    fn register_files(
        &self,
        py: Python<'_>,
        name: String,
        format: String,
        locations: Vec<String>,
        options: HashMap<String, String>,
        replace: bool,
    ) -> PyResult<()> {
        let context = self.context.clone();
        let added = wait(py, async move {
            let table = tables::files(&context, &name, &format, locations, options).await?;
            add(&context, &name, table, replace)
        })?;
        added.map_err(|e| raise(py, &e))
    }

    /// Registers the batches of an object with `__arrow_c_stream__`, which are taken now and shared.
    fn register_stream(
        &self,
        py: Python<'_>,
        name: &str,
        object: &Bound<'_, PyAny>,
        replace: bool,
    ) -> PyResult<()> {
        let table = tables::memory(py, object)?;
        add(&self.context, name, table, replace).map_err(|e| raise(py, &e))
    }

    /// Registers `scan(columns)`, which gives an object with `__arrow_c_stream__` for each scan of the table.
    fn register_scan(
        &self,
        py: Python<'_>,
        name: &str,
        schema: &Bound<'_, PyAny>,
        scan: Py<PyAny>,
        replace: bool,
    ) -> PyResult<()> {
        let table = tables::scanned(schema, scan)?;
        add(&self.context, name, table, replace).map_err(|e| raise(py, &e))
    }

    /// Forgets the table `name`.
    fn deregister(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let gone = self.context.deregister_table(TableReference::bare(name)).and_then(|table| {
            table.map(drop).ok_or_else(|| plan_datafusion_err!("there is no table `{name}`"))
        });
        gone.map_err(|e| raise(py, &e))
    }
}
