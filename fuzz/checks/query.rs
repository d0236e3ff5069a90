//! Any bytes as a file that is opened and queried: what is reduced on the grid is what DataFusion makes of the rows.

use super::dataset::{file, options};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{GridTable, Location, open};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use std::sync::{Arc, LazyLock};
use tokio::runtime::{Builder, Runtime};

/// Cells of a table whose rows are made; larger ones are only reduced.
const MOST: u64 = 1 << 14;

/// Two sessions: one that reduces on the grid and prunes, one that hands rows to DataFusion.
struct Engine {
    runtime: Runtime,
    grid: SessionContext,
    rows: SessionContext,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let session = || {
        let config = SessionConfig::new().with_target_partitions(2).with_batch_size(512);
        session_context(config, Arc::new(RuntimeEnv::default())).expect("a session")
    };
    let (grid, rows) = (session(), session());
    for key in ["grid_aggregate", "scan_predicates"] {
        let set = runtime.block_on(rows.sql(&format!("SET millibar.{key} = false")));
        set.expect("an option");
    }
    Engine { runtime, grid, rows }
});

pub fn query(bytes: &[u8]) {
    let Some((said, bytes)) = bytes.split_first() else { return };
    let path = file("query.tgm");
    std::fs::write(&path, bytes).expect("a file");
    let location = Location::parse(path.to_str().expect("a path in Unicode")).expect("a path");
    if let Ok(opened) = open(&location, &options(*said)) {
        for table in opened.tables.iter().take(2) {
            ENGINE.runtime.block_on(ask(table));
        }
    }
    let _ = std::fs::remove_file(path);
}

/// Asks both sessions; where both have an answer, it is one.
async fn ask(grid: &Arc<GridTable>) {
    let Engine { grid: reduced, rows, .. } = &*ENGINE;
    let cells = grid.shape().iter().fold(1u64, |cells, &len| cells.saturating_mul(len));
    for session in [reduced, rows] {
        // Another table each time: nothing is known of its chunks.
        let table = TensorTable::new("t", Arc::new(forgotten(grid)), TableOverrides::default());
        session.deregister_table("t").expect("no other catalog");
        session.register_table("t", Arc::new(table)).expect("a table");
    }
    for sql in statements(grid) {
        let got = answer(reduced, &sql).await;
        if cells <= MOST
            && let (Ok(got), Ok(want)) = (got, answer(rows, &sql).await)
        {
            assert_eq!(got, want, "{sql}");
        }
    }
}

/// The grid without what earlier statements found out.
fn forgotten(grid: &GridTable) -> GridTable {
    let mut grid = grid.clone();
    for variable in &mut grid.variables {
        variable.stats = Arc::new(VariableStats::new(variable.dtype, variable.grid.chunks()));
    }
    grid
}

/// Statements whose answers don't depend on the order in which cells are added.
fn statements(grid: &GridTable) -> Vec<String> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut statements = vec!["SELECT count(*) FROM t".to_string()];
    let dim = grid.dims.first().map(|dim| quoted(&dim.name));
    let numeric = grid.variables.iter().filter(|variable| variable.arrow_type().is_numeric());
    for variable in numeric.take(2).map(|variable| quoted(&variable.name)) {
        let reduced = format!("count({variable}), min({variable}), max({variable})");
        statements.push(format!("SELECT {reduced} FROM t"));
        statements.push(format!("SELECT count(*) FROM t WHERE {variable} > 1"));
        if let Some(dim) = &dim {
            statements.push(format!("SELECT {dim}, {reduced} FROM t GROUP BY {dim}"));
            let some = format!("SELECT {variable} FROM t WHERE {dim} = (SELECT max({dim}) FROM t)");
            statements.push(format!("SELECT count(*) FROM ({some} LIMIT 5)"));
        }
    }
    statements
}

async fn answer(session: &SessionContext, sql: &str) -> Result<Vec<String>> {
    let batches = session.sql(sql).await?.collect().await?;
    let shown = pretty_format_batches(&batches)?.to_string();
    let mut lines: Vec<String> = shown.lines().map(String::from).collect();
    lines.sort_unstable();
    Ok(lines)
}
