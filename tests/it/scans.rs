//! What a scan reads, decodes and holds, and what sessions and names make of it.

use super::corpus;
use super::support::{field, labels, tensor, write_tgm};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::engine::{register, session_context};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

fn session(runtime: RuntimeEnv) -> SessionContext {
    session_context(SessionConfig::new().with_target_partitions(2), Arc::new(runtime)).unwrap()
}

/// Sums of the metrics of every node of a plan, after it ran.
struct Ran {
    rows: usize,
    metrics: HashMap<String, usize>,
}

impl Ran {
    fn metric(&self, name: &str) -> usize {
        *self.metrics.get(name).unwrap_or_else(|| panic!("no metric {name} in {:?}", self.metrics))
    }
}

async fn run(ctx: &SessionContext, sql: &str) -> Result<Ran> {
    let plan = ctx.sql(sql).await?.create_physical_plan().await?;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await?;
    let mut metrics = HashMap::new();
    add_metrics(plan.as_ref(), &mut metrics);
    Ok(Ran { rows: batches.iter().map(|batch| batch.num_rows()).sum(), metrics })
}

fn add_metrics(plan: &dyn ExecutionPlan, sums: &mut HashMap<String, usize>) {
    for metric in plan.metrics().iter().flat_map(|set| set.iter()) {
        *sums.entry(metric.value().name().to_string()).or_default() += metric.value().as_usize();
    }
    for child in plan.children() {
        add_metrics(child.as_ref(), sums);
    }
}

async fn forecast(ctx: &SessionContext) -> Option<()> {
    let location = corpus::dir()?.join("forecast/temperature_{time:%Y%m%d}.tgm");
    let options = HashMap::from([("variables".to_string(), "temperature_{level}hPa".to_string())]);
    let names = register(ctx, "forecast", &location.to_string_lossy(), &options).await.unwrap();
    assert_eq!(names, ["forecast"]);
    Some(())
}

#[tokio::test]
async fn a_point_reads_one_cell_of_one_chunk() -> Result<()> {
    let ctx = session(RuntimeEnv::default());
    if forecast(&ctx).await.is_none() {
        return Ok(());
    }
    let point = "time = TIMESTAMP '2026-04-02' AND level = 500 AND latitude = 2.5 AND longitude = 5";
    let ran = run(&ctx, &format!("SELECT temperature FROM forecast WHERE {point}")).await?;
    assert_eq!(ran.rows, 1);
    assert_eq!((ran.metric("chunks_total"), ran.metric("chunks_pruned")), (40, 39));
    assert_eq!((ran.metric("chunks_decoded"), ran.metric("objects_opened")), (1, 1));
    assert_eq!(ran.metric("cells_reduced"), 1);
    Ok(())
}

#[tokio::test]
async fn a_limit_reads_its_first_chunk_only() -> Result<()> {
    let ctx = session(RuntimeEnv::default());
    if forecast(&ctx).await.is_none() {
        return Ok(());
    }
    let ran = run(&ctx, "SELECT * FROM forecast LIMIT 5").await?;
    assert_eq!((ran.rows, ran.metric("chunks_decoded"), ran.metric("cells_reduced")), (5, 1, 5));
    Ok(())
}

#[tokio::test]
async fn dims_alone_touch_no_payload() -> Result<()> {
    let ctx = session(RuntimeEnv::default());
    if forecast(&ctx).await.is_none() {
        return Ok(());
    }
    let ran = run(&ctx, "SELECT latitude, level FROM forecast").await?;
    assert_eq!((ran.rows, ran.metric("objects_opened"), ran.metric("bytes_read")), (103_680, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_scan_reserves_what_it_holds() -> Result<()> {
    let pool = Arc::new(GreedyMemoryPool::new(1 << 12));
    let ctx = session(RuntimeEnvBuilder::new().with_memory_pool(pool).build()?);
    if forecast(&ctx).await.is_none() {
        return Ok(());
    }
    let error = run(&ctx, "SELECT * FROM forecast").await.err().expect("4 KiB don't hold a chunk");
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    Ok(())
}

/// A temperature over float32 latitudes -1.0, -0.9, ..., 1.0, and a second variable on a grid of its own.
fn tenths(dir: &tempfile::TempDir) -> String {
    let latitudes: Vec<f32> = (0..21).map(|i| ((f64::from(i) - 10.0) / 10.0) as f32).collect();
    let bytes = latitudes.iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = dir.path().join("tenths.tgm");
    let coords = tensor(json!({ "name": "latitude" }), "float32", &[21], bytes);
    let longitudes = labels("longitude", &[0.0, 0.5]);
    let t = field(json!({ "name": "t", "units": "K" }), &[21, 2], 0.0);
    let other = field(json!({ "name": "other" }), &[7], 0.0);
    write_tgm(&path, &[vec![coords, longitudes, t, other]]);
    path.to_string_lossy().into_owned()
}

async fn count(ctx: &SessionContext, condition: &str) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM x_latitude_longitude WHERE {condition}");
    let batches = ctx.sql(&sql).await?.collect().await?;
    let counts = batches[0].column(0).as_any().downcast_ref::<datafusion::arrow::array::Int64Array>();
    Ok(counts.unwrap().value(0))
}

#[tokio::test]
async fn a_float32_label_is_found_as_it_is_shown() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let ctx = session(RuntimeEnv::default());
    let names = register(&ctx, "x", &tenths(&dir), &HashMap::new()).await?;
    assert_eq!(names, ["x_latitude_longitude", "x_dim_0"]);
    for grid_aggregate in [true, false] {
        ctx.sql(&format!("SET millibar.grid_aggregate = {grid_aggregate}")).await?;
        assert_eq!(count(&ctx, "latitude = 0.1").await?, 2);
        assert_eq!(count(&ctx, "latitude IN (0.1, -0.7, 0.55)").await?, 4);
        assert_eq!(count(&ctx, "latitude BETWEEN -0.3 AND 0.1").await?, 10);
        assert_eq!(count(&ctx, "latitude < 0.1 AND latitude > -0.3").await?, 6);
        // beside a variable, where the scan can't decide it, it means the same
        assert_eq!(count(&ctx, "latitude = 0.1 OR t = 0").await?, 3);
        // more digits than the label has: plain SQL, the widened value is 0.10000000149...
        assert_eq!(count(&ctx, "latitude = 0.1000000001").await?, 0);
        assert_eq!(count(&ctx, "latitude = 0.10000000149011612").await?, 2);
    }
    Ok(())
}

#[tokio::test]
async fn attributes_are_field_metadata() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let ctx = session(RuntimeEnv::default());
    register(&ctx, "x", &tenths(&dir), &HashMap::new()).await?;
    let frame = ctx.sql("SELECT latitude, t FROM x_latitude_longitude").await?;
    let role = |name: &str, key: &str| {
        frame.schema().field_with_unqualified_name(name).unwrap().metadata().get(key).cloned()
    };
    assert_eq!(role("latitude", "millibar.role").as_deref(), Some("dim"));
    assert_eq!(role("t", "millibar.role").as_deref(), Some("variable"));
    assert_eq!(role("t", "units").as_deref(), Some("K"));
    Ok(())
}

#[tokio::test]
async fn names_are_not_taken_twice() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let ctx = session(RuntimeEnv::default());
    let path = tenths(&dir);
    register(&ctx, "x", &path, &HashMap::new()).await?;
    let error = register(&ctx, "x", &path, &HashMap::new()).await.unwrap_err();
    assert!(error.to_string().contains("already a table `x_latitude_longitude`"), "{error}");
    Ok(())
}

#[test]
fn the_docs_name_every_session_option_and_metric() {
    use datafusion::config::ExtensionOptions;
    use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
    let docs = include_str!("../../docs/sql.md");
    let options = millibar::engine::MillibarConfig::default().entries();
    let set = ExecutionPlanMetricsSet::new();
    millibar::engine::metrics::ScanMetrics::new(&set, 0);
    let metrics = set.clone_inner();
    let metrics = metrics.iter().map(|metric| metric.value().name().to_string());
    for name in options.into_iter().map(|option| option.key).chain(metrics) {
        assert!(docs.contains(&format!("`{name}`")), "docs/sql.md doesn't mention {name}");
    }
}
