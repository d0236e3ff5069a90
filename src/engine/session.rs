//! A session context with everything of Millibar in it.

use super::aggregate::GridAggregateRule;
use super::config::MillibarConfig;
use super::ddl::{TensogramFactory, TensogramUrls};
use super::labels::LabelLiterals;
use super::mended::mended;
use super::nearest::NearestLabels;
use super::provider::{self, Opened};
use super::sides::JoinSides;
use super::{analyze, functions};
use datafusion::catalog::{DynamicFileCatalog, MemoryCatalogProviderList};
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// The word after `STORED AS`.
pub const FORMAT: &str = "TENSOGRAM";

/// Runs that an operator has spilled and merges at a time, where the caller hasn't chosen: DataFusion doesn't count all
/// that it holds of each while it reads it back.
const MERGED_RUNS: usize = 8;

/// A session that knows tensor tables: `CREATE EXTERNAL TABLE ... STORED AS TENSOGRAM`, `FROM 'path.tgm'`,
/// `SET millibar.x`, `std`, sums of integers that don't wrap, and reductions on the grid.
///
/// `FROM 'path'` opens local files, and URLs, with the rights of this process; of other formats of
/// DataFusion local ones, too.
///
/// # Errors
/// Those of DataFusion.
pub fn session_context(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionContext> {
    let mut config = config.with_information_schema(true);
    if config.options().extensions.get::<MillibarConfig>().is_none() {
        config = config.with_option_extension(MillibarConfig::default());
    }
    // What it finds of `min(x)` would drop rows that `min(x + y)` beside it needs.
    config.options_mut().optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Fields of variables say so in their metadata. Logical and physical `NOT flag` don't agree on whether it has that of
    // `flag`, and the check takes any difference for a mistake.
    config.options_mut().execution.skip_physical_aggregate_schema_check = true;
    if runtime.disk_manager.max_spill_merge_fan_in() == 0 {
        runtime.disk_manager.set_max_spill_merge_fan_in(MERGED_RUNS);
    }
    let urls = Arc::new(TensogramUrls::default());
    let catalogs = DynamicFileCatalog::new(Arc::new(MemoryCatalogProviderList::new()), urls);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_catalog_list(Arc::new(catalogs))
        .with_default_features()
        .with_analyzer_rule(Arc::new(LabelLiterals::default()))
        .with_analyzer_rule(Arc::new(NearestLabels::default()))
        .with_physical_optimizer_rules(physical_rules())
        .with_table_factory(FORMAT.into(), Arc::new(TensogramFactory::default()))
        .build();
    let ctx = SessionContext::new_with_state(state).enable_url_table();
    functions::register(&ctx);
    analyze::register(&ctx);
    Ok(ctx)
}

/// Sets `key` to `value`, as `SET` does.
///
/// # Errors
/// Those of DataFusion for keys that don't exist and values that aren't accepted.
pub fn configure(ctx: &SessionContext, key: &str, value: &str) -> Result<()> {
    ctx.state_ref().write().config_mut().options_mut().set(key, value)
}

/// A pool of `bytes` for queries. Operators that can spill share what the others leave, each alike, so that none is
/// left without the little that it needs to spill; errors name who holds most.
pub fn memory_pool(bytes: usize) -> Arc<dyn MemoryPool> {
    /// Consumers that an error names.
    const NAMED: NonZeroUsize = NonZeroUsize::new(5).unwrap();
    Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), NAMED))
}

/// DataFusion's rules, after the one that reduces on the grid (it looks for an aggregate right above a scan, before
/// the others put repartitioning between the two) and the one that puts cubes on the right side of joins; among them
/// those that put some of them right.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> =
        vec![Arc::new(GridAggregateRule::default()), Arc::new(JoinSides::default())];
    rules.extend(mended(PhysicalOptimizer::new().rules));
    rules
}

/// Opens `location` (a file, a glob, a `{pattern}`) and registers its grids: a single one as `name`, several as
/// `name_<dims joined by _>`. Returns the names of the tables, in order.
///
/// # Errors
/// Those of opening the location, with file and message; a table of the same name.
pub async fn register(
    ctx: &SessionContext,
    name: &str,
    location: &str,
    options: &HashMap<String, String>,
) -> Result<Vec<String>> {
    let opened = provider::open(vec![location.to_string()], options.clone()).await?;
    register_opened(ctx, name, &opened)
}

/// Registers the grids of an opened location; see [`register`].
///
/// # Errors
/// A plan error if a table of the same name exists.
pub fn register_opened(ctx: &SessionContext, name: &str, opened: &Opened) -> Result<Vec<String>> {
    let tables = opened.named(name);
    let bare = |name: &str| TableReference::bare(name.to_string());
    for table in &tables {
        if ctx.table_exist(bare(table.name()))? {
            return plan_err!("there is already a table `{}`", table.name());
        }
    }
    let mut names = Vec::with_capacity(tables.len());
    for table in tables {
        names.push(table.name().to_string());
        ctx.register_table(bare(table.name()), Arc::new(table.clone()))?;
    }
    Ok(names)
}
