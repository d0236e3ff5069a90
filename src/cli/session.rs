//! From the command line to a session with tables.

use super::args::TableArgs;
use super::error::CliError;
use crate::engine;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::{HashMap, HashSet};

/// A session with the tables and settings of `args`.
///
/// # Errors
/// [`CliError::Usage`] for settings that don't exist and tables of the same name, [`CliError::Query`] for files
/// that can't be opened.
pub(super) async fn open(args: &TableArgs) -> Result<SessionContext, CliError> {
    let mut config = SessionConfig::from_env()?.with_information_schema(true);
    if std::env::var_os("DATAFUSION_FORMAT_NULL").is_none() {
        config.options_mut().format.null = "NULL".into(); // an empty cell could be an empty string
    }
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = args.memory_limit {
        runtime = runtime.with_memory_pool(engine::memory_pool(bytes));
    }
    let session = engine::session_context(config, runtime.build_arc()?)?;
    for (key, value) in &args.settings {
        let state = session.state_ref();
        let set = state.write().config_mut().options_mut().set(key, value);
        set.map_err(|e| CliError::Usage(format!("--set {key}={value}: {}", crate::flight::describe(&e))))?;
    }
    register(&session, args).await?;
    Ok(session)
}

async fn register(session: &SessionContext, args: &TableArgs) -> Result<(), CliError> {
    let options: HashMap<_, _> = args.options.pairs().collect();
    let mut names = HashSet::new();
    for table in &args.tables {
        if !names.insert(&table.name) {
            let what = format!("two tables would be named `{}`: write NAME={}", table.name, table.location);
            return Err(CliError::Usage(what));
        }
        engine::register(session, &table.name, &table.location, &options).await?;
    }
    Ok(())
}
