//! Which aggregates are reduced on the grid, and that they read no more than they must.

use crate::random::encode::Coding;
use crate::random::grid::chunked;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::dataset::{Dim, GridTable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::tgm::DType;
use std::sync::Arc;

const TIMES: i64 = 4;
const LEVELS: i64 = 10;
const LATS: i64 = 19;
const LONS: i64 = 36;

/// Plain bytes, or a stream codec.
pub(crate) const PLAIN: Coding = Coding::Plain;
pub(crate) const ZSTD: Coding = Coding::Zstd;

fn dim(name: &str, coord: ArrayRef) -> Dim {
    Dim::new(name, coord)
}

/// 4 times x 10 levels x 19 x 36; one chunk for each time and level.
fn grid(coding: Coding) -> Arc<GridTable> {
    let shape = [TIMES, LEVELS, LATS, LONS].map(|len| len as u64);
    let chunk = [1, 1, shape[2], shape[3]];
    let cells: u64 = shape.iter().product();
    let temperature: Vec<f64> = (0..cells).map(|i| 200.0 + (i % 997) as f64 / 8.0).collect();
    let wind: Vec<f64> =
        (0..cells).map(|i| if i % 7 == 0 { f64::NAN } else { (i % 41) as f64 - 20.0 }).collect();
    let hour = 3_600_000_000_000_i64;
    let times: Vec<i64> = (0..TIMES).map(|i| 1_775_001_600_000_000_000 + i * 24 * hour).collect();
    let lats: Vec<f64> = (0..LATS).map(|i| 90.0 - 10.0 * i as f64).collect();
    let lons: Vec<f64> = (0..LONS).map(|i| 10.0 * i as f64).collect();
    Arc::new(GridTable {
        dims: vec![
            dim("time", Arc::new(TimestampNanosecondArray::from(times))),
            dim("level", Arc::new(Int64Array::from_iter_values((1..=LEVELS).map(|i| i * 100)))),
            dim("latitude", Arc::new(Float64Array::from(lats))),
            dim("longitude", Arc::new(Float64Array::from(lons))),
        ],
        variables: vec![
            chunked("temperature", DType::Float32, &shape, &chunk, coding, &temperature, &[]),
            chunked("wind", DType::Float64, &shape, &chunk, coding, &wind, &[]),
            chunked("mask", DType::Bitmask, &shape, &chunk, PLAIN, &vec![1.0; cells as usize], &[]),
        ],
    })
}

fn session_with(coding: Coding, runtime: RuntimeEnv) -> SessionContext {
    let ctx = session_context(SessionConfig::new().with_target_partitions(2), Arc::new(runtime)).unwrap();
    let table = TensorTable::new("era", grid(coding), TableOverrides::default());
    ctx.register_table("era", Arc::new(table)).unwrap();
    ctx
}

pub(crate) fn session(coding: Coding) -> SessionContext {
    session_with(coding, RuntimeEnv::default())
}

async fn plan(ctx: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

fn grid_nodes(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let below = plan.children().into_iter().flat_map(grid_nodes);
    let own = (plan.name() == "GridAggregateExec").then(|| Arc::clone(plan));
    own.into_iter().chain(below).collect()
}

pub(crate) async fn text(ctx: &SessionContext, sql: &str) -> String {
    let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// Runs `sql`, which is to be reduced on the grid; its answer and the metrics of the reduction.
pub(crate) async fn reduce(ctx: &SessionContext, sql: &str) -> (Vec<RecordBatch>, impl Fn(&str) -> usize) {
    let plan = plan(ctx, sql).await;
    let [node] = &grid_nodes(&plan)[..] else { panic!("not reduced on the grid: {sql}") };
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
    let metrics = node.metrics().unwrap();
    (batches, move |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize()))
}

/// What is said of a variable in its field's metadata is lost on the way through a logical `NOT`.
#[tokio::test]
async fn keys_made_of_flags() {
    let ctx = session(PLAIN);
    let sql = "SELECT NOT mask AS m, level > 200 AS l, count(DISTINCT time) AS n FROM era \
               GROUP BY NOT mask, level > 200 ORDER BY l";
    let got = text(&ctx, sql).await;
    let rows: Vec<&str> = got.lines().filter(|line| line.contains("false")).collect();
    assert_eq!(rows, [format!("| false | false | {TIMES} |"), format!("| false | true  | {TIMES} |"),]);
}

#[tokio::test]
async fn accepted_shapes() {
    let ctx = session(PLAIN);
    for sql in [
        "SELECT mean(temperature), std(temperature), min(temperature), max(temperature) FROM era",
        "SELECT count(*), count(1), count(wind), count(level), count(mask) FROM era",
        "SELECT sum(wind), avg(wind), var(wind), var_samp(wind), var_pop(wind) FROM era",
        "SELECT stddev(wind), stddev_samp(wind), stddev_pop(wind) FROM era WHERE level = 500",
        "SELECT time, mean(temperature) FROM era GROUP BY time",
        "SELECT latitude, longitude, max(wind) FROM era GROUP BY latitude, longitude",
        "SELECT date_part('day', time), level / 300, avg(wind) FROM era GROUP BY 1, 2",
        "SELECT latitude + longitude, count(*) FROM era GROUP BY 1",
        "SELECT latitude > 0, level, level % 200 = 0, avg(wind) FROM era GROUP BY 1, 2, 3",
        "SELECT avg(wind * wind + temperature * temperature) FROM era WHERE level IN (100, 500)",
        "SELECT avg(temperature) FROM era WHERE temperature > 250 AND wind IS NOT NULL",
        "SELECT level, avg(temperature) FROM era WHERE wind > temperature - 220 GROUP BY level",
        "SELECT avg(wind) FILTER (WHERE level = 500), avg(wind) FILTER (WHERE wind > 0), count(*) FROM era",
        "SELECT DISTINCT level FROM era",
        "SELECT level FROM era WHERE wind > 19 GROUP BY level",
        "SELECT level, avg(wind) FROM era GROUP BY level HAVING count(*) > 3 ORDER BY 2 DESC LIMIT 3",
        "SELECT max(time), min(level), max(mask) FROM era",
        "SELECT avg(x) FROM (SELECT temperature - 273.15 AS x, level FROM era) WHERE level < 300 AND x > -10",
        "SELECT e.level, a - b FROM (SELECT level, avg(wind) a FROM era GROUP BY level) e \
         JOIN (SELECT level, min(wind) b FROM era GROUP BY level) f ON e.level = f.level",
        "SELECT sum(CAST(temperature AS DOUBLE)), max(CAST(temperature AS DOUBLE)) FROM era",
        "SELECT avg(wind) FROM era WHERE level = 500 OR latitude > 45",
        "SELECT avg(wind) FROM era GROUP BY 1 + 1",
        "SELECT count(DISTINCT level) AS n FROM era WHERE wind > 0",
        "SELECT median(level), approx_distinct(level), corr(wind, temperature) FROM era WHERE level < 400",
        "SELECT level, time, count(*) FROM era GROUP BY GROUPING SETS ((level), (time))",
        "SELECT latitude > 0, level, max(wind) FROM era GROUP BY ROLLUP (latitude > 0, level)",
        "SELECT first_value(level ORDER BY level DESC), last_value(wind ORDER BY time) FROM era",
        "SELECT level, nth_value(wind, 2 ORDER BY time DESC) FROM era GROUP BY level",
        "SELECT count(DISTINCT level), count(DISTINCT time), sum(DISTINCT level) FROM era",
        "SELECT arg_min(time, wind), arg_max(latitude, temperature) FROM era",
        "SELECT bool_or(wind > 19), bool_and(mask), bit_xor(level) FROM era",
    ] {
        let plan = plan(&ctx, sql).await;
        let shown = displayable(plan.as_ref()).indent(false).to_string();
        assert!(shown.contains("GridAggregateExec"), "{sql}\n{shown}");
        assert!(!shown.contains("TensorScanExec"), "{sql}\n{shown}");
        let on_grid = text(&ctx, sql).await;
        ctx.sql("SET millibar.grid_aggregate = false").await.unwrap().collect().await.unwrap();
        assert!(grid_nodes(&self::plan(&ctx, sql).await).is_empty(), "{sql}");
        let rows = text(&ctx, sql).await;
        ctx.sql("SET millibar.grid_aggregate = true").await.unwrap().collect().await.unwrap();
        assert_eq!(rows.lines().count(), on_grid.lines().count(), "{sql}\n{rows}\n{on_grid}");
    }
}

#[tokio::test]
async fn refused_shapes_give_the_answer_of_rows() {
    let ctx = session(PLAIN);
    for (sql, rows) in [
        ("SELECT wind > 0, count(*) FROM era GROUP BY 1 ORDER BY 1", "false"),
        ("SELECT count(*) FROM (SELECT * FROM era LIMIT 5)", "5"),
        ("SELECT count(*) FROM era WHERE random() < 2", "27360"),
        ("SELECT nth_value(level, 2 ORDER BY wind) FROM era WHERE time = '2026-04-01'", "100"),
    ] {
        let plan = plan(&ctx, sql).await;
        let aggregates_cells = grid_nodes(&plan).iter().any(|node| {
            let shown = displayable(node.as_ref()).one_line().to_string();
            !shown.contains("aggr=[]")
        });
        assert!(!aggregates_cells, "{sql}\n{}", displayable(plan.as_ref()).indent(false));
        let shown = text(&ctx, sql).await;
        assert!(shown.contains(rows), "{sql}\n{shown}");
    }
}

#[tokio::test]
async fn a_point_reads_one_element() {
    let ctx = session(PLAIN);
    let sql = "SELECT mean(temperature) FROM era \
               WHERE time = '2026-04-03' AND level = 500 AND latitude = 0 AND longitude = 180";
    let (batches, metric) = reduce(&ctx, sql).await;
    let cell = ((2 * LEVELS + 4) * LATS + 9) * LONS + 18;
    let want = 200.0 + (cell % 997) as f64 / 8.0;
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    assert!(shown.contains(&want.to_string()), "{shown}");
    assert_eq!(metric("chunks_total"), 40);
    assert_eq!(metric("chunks_pruned"), 39);
    assert_eq!((metric("objects_opened"), metric("chunks_decoded")), (1, 1));
    assert_eq!((metric("bytes_read"), metric("bytes_decoded")), (4, 4));
    assert_eq!((metric("ranges_decoded"), metric("full_decodes")), (1, 0));
    assert_eq!(metric("cells_reduced"), 1);
}

#[tokio::test]
async fn the_last_along_a_dim_reads_one_cell_for_each_group() {
    let ctx = session(PLAIN);
    let sql = "SELECT level, latitude, last_value(temperature ORDER BY time) FROM era \
               WHERE longitude = 10 GROUP BY level, latitude";
    let (_, metric) = reduce(&ctx, sql).await;
    assert_eq!(metric("cells_reduced"), (LEVELS * LATS) as usize);
    assert_eq!(metric("objects_opened"), LEVELS as usize);
    let (_, metric) = reduce(&ctx, "SELECT first_value(wind), last_value(wind) FROM era").await;
    assert_eq!(metric("cells_reduced"), 2);
}

#[tokio::test]
async fn a_stream_codec_is_decoded_once_a_chunk() {
    let ctx = session(ZSTD);
    let sql = "SELECT latitude, avg(wind), max(wind) FROM era WHERE level = 300 AND longitude < 50 GROUP BY latitude";
    let (_, metric) = reduce(&ctx, sql).await;
    let cells = (LATS * LONS) as usize;
    assert_eq!((metric("objects_opened"), metric("full_decodes"), metric("ranges_decoded")), (4, 4, 0));
    assert_eq!(metric("bytes_decoded"), 4 * cells * 8);
    assert_eq!(metric("cells_reduced"), 4 * LATS as usize * 5);
}

#[tokio::test]
async fn two_aggregates_of_a_variable_share_a_pass() {
    let ctx = session(PLAIN);
    let sql =
        "SELECT avg(wind), min(wind), std(wind), count(wind), avg(temperature) FROM era WHERE level = 100";
    let (_, metric) = reduce(&ctx, sql).await;
    let cells = (TIMES * LATS * LONS) as usize;
    assert_eq!(metric("objects_opened"), 2 * TIMES as usize);
    assert_eq!(metric("bytes_decoded"), cells * (8 + 4));
    assert_eq!(metric("cells_reduced"), 2 * cells);
}

#[tokio::test]
async fn dims_alone_decode_nothing() {
    let ctx = session(PLAIN);
    for sql in [
        "SELECT DISTINCT level FROM era",
        "SELECT time, count(*) FROM era WHERE latitude > 30 GROUP BY time",
        "SELECT count(mask), count(level), count(*) FILTER (WHERE level > 500) FROM era WHERE level > 300",
        "SELECT count(*) FROM era WHERE level = 500 OR latitude > 45",
    ] {
        let (_, metric) = reduce(&ctx, sql).await;
        assert_eq!(
            (metric("objects_opened"), metric("bytes_read"), metric("bytes_decoded")),
            (0, 0, 0),
            "{sql}"
        );
    }
    let (batches, _) = reduce(&ctx, "SELECT count(*) AS n FROM era WHERE level = 500 OR latitude > 45").await;
    let want = TIMES * (LATS * LONS + (LEVELS - 1) * 5 * LONS);
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains(&want.to_string()));
}

#[tokio::test]
async fn nothing_selected() {
    let ctx = session(PLAIN);
    let (batches, metric) = reduce(
        &ctx,
        "SELECT count(*) c, count(wind) d, sum(wind) s, avg(wind) a, min(wind) m, std(wind) v \
         FROM era WHERE level = 1",
    )
    .await;
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    assert!(shown.contains("| 0 | 0 |   |   |   |   |"), "{shown}");
    assert_eq!(metric("objects_opened"), 0);
    let sql = "SELECT level, avg(wind) FROM era WHERE level = 1 GROUP BY level";
    let (batches, _) = reduce(&ctx, sql).await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn explain_names_what_is_pushed_down() {
    let ctx = session(PLAIN);
    let sql = "SELECT time, avg(temperature) FROM era WHERE level = 500 GROUP BY time";
    let plan = plan(&ctx, sql).await;
    let node = displayable(grid_nodes(&plan)[0].as_ref()).one_line().to_string();
    assert_eq!(
        node.trim(),
        "GridAggregateExec: table=era, aggr=[avg(era.temperature)], path=[decode], gby=[time], \
         selection=[level=[500] (1 of 10)], chunks=4/40"
    );
}

#[tokio::test]
async fn many_groups_are_emitted_chunk_by_chunk() {
    // Room for the final aggregate's groups, but states of all groups at once would be far more than a chunk's.
    let ctx = session(PLAIN);
    let sql = "SELECT count(*), sum(n), sum(s) FROM \
               (SELECT time, level, latitude, longitude, count(*) n, sum(wind) s FROM era GROUP BY 1, 2, 3, 4)";
    let on_grid = text(&ctx, sql).await;
    ctx.sql("SET millibar.grid_aggregate = false").await.unwrap().collect().await.unwrap();
    assert_eq!(on_grid, text(&ctx, sql).await);
}

#[tokio::test]
async fn more_groups_than_are_kept_at_once() {
    let shape = [6, 10, 200, 150];
    let cells: u64 = shape.iter().product();
    let values: Vec<f64> =
        (0..cells).map(|i| if i % 5 == 0 { f64::NAN } else { (i % 1013) as f64 }).collect();
    let names = ["a", "b", "c", "d"].iter().zip(shape);
    let dims = names.map(|(name, len)| dim(name, Arc::new(Int64Array::from_iter_values(0..len as i64))));
    let variable = chunked("v", DType::Float32, &shape, &[1, 1, 200, 150], PLAIN, &values, &[]);
    let grid = GridTable { dims: dims.collect(), variables: vec![variable] };
    let ctx = session(PLAIN);
    let table = TensorTable::new("big", Arc::new(grid), TableOverrides::default());
    ctx.register_table("big", Arc::new(table)).unwrap();
    for inner in [
        "SELECT a, b, c, d, count(*) n, count(v) m, sum(v) s, count(*) FILTER (WHERE b > 4) f, 1 g, 1 h \
         FROM big GROUP BY 1, 2, 3, 4",
        "SELECT a, b, c, d, count(*) n, 1 m, 1 s, count(*) FILTER (WHERE b > 4) f, \
         count(*) FILTER (WHERE c > 4) g, count(*) FILTER (WHERE d > 4) h FROM big WHERE d < 149 \
         GROUP BY 1, 2, 3, 4",
    ] {
        let sql =
            format!("SELECT count(*), sum(n), sum(m), sum(s), sum(f), sum(g), sum(h), max(n) FROM ({inner})");
        let node = Arc::clone(&grid_nodes(&plan(&ctx, &sql).await)[0]);
        let shown = displayable(node.as_ref()).indent(true).to_string();
        assert!(shown.contains("dense=false"), "{shown}");
        let on_grid = text(&ctx, &sql).await;
        ctx.sql("SET millibar.grid_aggregate = false").await.unwrap().collect().await.unwrap();
        assert_eq!(on_grid, text(&ctx, &sql).await, "{sql}");
        ctx.sql("SET millibar.grid_aggregate = true").await.unwrap().collect().await.unwrap();
    }
    // Chunks that share their groups are gathered instead.
    let sql = "SELECT c, d, avg(v), std(v) FROM big GROUP BY c, d";
    let shown = displayable(grid_nodes(&plan(&ctx, sql).await)[0].as_ref()).indent(true).to_string();
    assert!(shown.contains("dense=true"), "{shown}");
}

#[tokio::test]
async fn extremes_of_dims_look_at_labels() {
    let ctx = session(PLAIN);
    let sql = "SELECT max(time), min(level), max(latitude - longitude), max(level) FILTER (WHERE level < 400) \
               FROM era";
    let (batches, metric) = reduce(&ctx, sql).await;
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    assert!(shown.contains("| 2026-04-04T00:00:00 | 100 "), "{shown}");
    assert!(shown.contains("| 90.0 ") && shown.contains("| 300 "), "{shown}");
    assert_eq!(metric("bytes_read"), 0);
    let (_, metric) = reduce(&ctx, "SELECT level, max(time) FROM era GROUP BY level").await;
    assert_eq!(metric("cells_reduced"), (TIMES * LEVELS) as usize);
}

#[tokio::test]
async fn explain_says_why_not() {
    let ctx = session(PLAIN);
    let sql = "SELECT nth_value(wind, 2 ORDER BY wind), avg(wind) FROM era";
    let shown = displayable(plan(&ctx, sql).await.as_ref()).indent(false).to_string();
    assert!(shown.contains("wants another order than the grid's"), "{shown}");
    let sql = "SELECT median(wind), avg(wind), avg(temperature), count(*), max(level), avg(temperature + 1), \
               count(DISTINCT wind) FROM era";
    let plan = plan(&ctx, sql).await;
    let shown = displayable(grid_nodes(&plan)[0].as_ref()).one_line().to_string();
    let paths = "path=[accumulator of cells (median has no kernel), cells (its variable is decoded for others), \
                 cells (its variable is decoded for others), geometry, labels (its argument is an expression), \
                 cells (its argument is an expression), accumulator of cells (distinct)]";
    assert!(shown.contains(paths), "{shown}");
}

#[tokio::test]
async fn infinities_are_the_extremes_of_a_group() {
    let values = [f64::INFINITY, f64::INFINITY, 1.0, f64::NEG_INFINITY, f64::NAN, f64::NAN];
    let dims = vec![
        dim("g", Arc::new(Int64Array::from(vec![0, 1, 2]))),
        dim("i", Arc::new(Int64Array::from(vec![0, 1]))),
    ];
    let variable = chunked("v", DType::Float64, &[3, 2], &[1, 2], PLAIN, &values, &[]);
    let grid = Arc::new(GridTable { dims, variables: vec![variable] });
    let ctx = session(PLAIN);
    ctx.register_table("t", Arc::new(TensorTable::new("t", grid, TableOverrides::default()))).unwrap();
    for on_grid in [true, false] {
        ctx.sql(&format!("SET millibar.grid_aggregate = {on_grid}")).await.unwrap().collect().await.unwrap();
        let shown = text(&ctx, "SELECT g, min(v), max(v), sum(v) FROM t GROUP BY g ORDER BY g").await;
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[3], ["|", "0", "|", "inf", "|", "inf", "|", "inf", "|"], "{shown}");
        assert_eq!(rows[4], ["|", "1", "|", "-inf", "|", "1.0", "|", "-inf", "|"], "{shown}");
        assert_eq!(rows[5], ["|", "2", "|", "|", "|", "|"], "{shown}");
    }
}

#[tokio::test]
async fn states_are_reserved_in_the_pool() {
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(20_000, 1.0).build().unwrap();
    let ctx = session_with(PLAIN, runtime);
    let sql = "SELECT level, latitude, longitude, std(wind) FROM era GROUP BY 1, 2, 3";
    let error = ctx.sql(sql).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(error.contains("GridAggregateExec"), "{error}");
}
