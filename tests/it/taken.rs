//! What scans take from the plan above them: predicates on values, what joins and sorts find out, limits. Each answer
//! is that of the same query with predicates on rows, and no more is read than the answer needs.

use crate::random::encode::Coding;
use crate::random::grid::chunked;
use datafusion::arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::{Dim, GridTable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::reduce::chunk_stats;
use millibar::tgm::DType;
use std::io::Write;
use std::sync::Arc;

const SHAPE: [u64; 4] = [4, 5, 19, 36];
const HOUR: i64 = 3_600_000_000_000;
/// Plain bytes, or a stream codec.
const PLAIN: Coding = Coding::Plain;
const ZSTD: Coding = Coding::Zstd;

fn dim(name: &str, coord: ArrayRef) -> Dim {
    Dim::new(name, coord)
}

/// 4 times x 5 levels x 19 x 36; latitudes are float32 and end in .1; a chunk of `wind` is a hole.
fn grid(coding: Coding) -> Arc<GridTable> {
    let cells: u64 = SHAPE.iter().product();
    let chunk = [1, 1, SHAPE[2], SHAPE[3]];
    // each chunk has a range of its own
    let temperature = |i: u64| 200.0 + (i / 684 * 37 % 20 * 8) as f64 + (i * 7919 % 9973) as f64 / 1250.0;
    let temperature: Vec<f64> = (0..cells).map(temperature).collect();
    let wind: Vec<f64> =
        (0..cells).map(|i| if i % 7 == 0 { f64::NAN } else { (i % 41) as f64 - 20.0 }).collect();
    let lats = (0..19).map(|i| (90.1 - 10.0 * f64::from(i)) as f32);
    Arc::new(GridTable {
        dims: vec![
            dim("time", Arc::new(TimestampNanosecondArray::from_iter_values((0..4).map(|i| i * 6 * HOUR)))),
            dim("level", Arc::new(Int64Array::from(vec![1000, 850, 500, 300, 100]))),
            dim("latitude", Arc::new(Float32Array::from_iter_values(lats))),
            dim("longitude", Arc::new(Float64Array::from_iter_values((0..36).map(|i| f64::from(i) * 10.0)))),
        ],
        variables: vec![
            chunked("temperature", DType::Float32, &SHAPE, &chunk, coding, &temperature, &[]),
            chunked(
                "wind",
                DType::Float64,
                &SHAPE,
                &[2, 1, 10, 36],
                coding,
                &wind,
                &[false, false, false, true],
            ),
        ],
    })
}

fn session(coding: Coding, partitions: usize, batch_size: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_size);
    let ctx = session_context(config, Arc::new(RuntimeEnv::default())).unwrap();
    let table = TensorTable::new("era", grid(coding), TableOverrides::default());
    ctx.register_table("era", Arc::new(table)).unwrap();
    ctx.register_table("stations", stations()).unwrap();
    ctx
}

/// Four stations, of which two are on the grid.
fn stations() -> Arc<MemTable> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringArray::from(vec!["north", "south", "sea", "nowhere"]))),
        ("lat", Arc::new(Float64Array::from(vec![50.1, -39.9, 47.37, 50.1]))),
        ("lon", Arc::new(Float64Array::from(vec![10.0, 170.0, 10.0, 11.0]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap())
}

async fn set(ctx: &SessionContext, option: &str, value: impl ToString) {
    ctx.sql(&format!("SET {option} = {}", value.to_string())).await.unwrap();
}

async fn rows(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

async fn plan(ctx: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let below = plan.children().into_iter().flat_map(scans);
    let own = (plan.name() == "TensorScanExec").then(|| Arc::clone(plan));
    own.into_iter().chain(below).collect()
}

/// Runs `sql`, which scans one tensor table; its plan before that, its rows, and the metrics of the scan.
async fn run(ctx: &SessionContext, sql: &str) -> (String, usize, impl Fn(&str) -> usize + use<>) {
    let plan = plan(ctx, sql).await;
    let [scan] = &scans(&plan)[..] else { panic!("not one scan: {sql}") };
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
    let metrics = scan.metrics().unwrap();
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    (text, rows, move |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize()))
}

const STATION_MEANS: &str = "SELECT s.name, mean(t.temperature) FROM era t \
     JOIN stations s ON t.latitude = s.lat AND t.longitude = s.lon GROUP BY s.name";

#[tokio::test]
async fn a_join_with_stations_reads_their_columns_only() {
    for single in [true, false] {
        let ctx = session(PLAIN, 2, 8192);
        if !single {
            set(&ctx, "datafusion.optimizer.hash_join_single_partition_threshold", 0).await;
            set(&ctx, "datafusion.optimizer.hash_join_single_partition_threshold_rows", 0).await;
        }
        let (text, rows, metric) = run(&ctx, STATION_MEANS).await;
        assert_eq!(text.contains("mode=Partitioned"), !single, "{text}");
        assert!(text.contains("predicate=DynamicFilter"), "{text}");
        assert_eq!(rows, 2);
        let cells = 2 * SHAPE[0] as usize * SHAPE[1] as usize;
        assert_eq!(metric("cells_reduced"), cells);
        assert_eq!(metric("bytes_decoded"), cells * 4);
        assert_eq!(metric("cells_pruned"), SHAPE.iter().product::<u64>() as usize - cells);
    }
}

#[tokio::test]
async fn stations_from_anywhere() {
    let ctx = session(ZSTD, 2, 100);
    let want = rows(&ctx, STATION_MEANS).await;
    let values =
        "(VALUES ('north', 50.1, 10), ('south', -39.9, 170), ('sea', 47.37, 10)) AS s(name, lat, lon)";
    assert_eq!(rows(&ctx, &STATION_MEANS.replace("stations s", values)).await, want);
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(file, "name,lat,lon\nnorth,50.1,10\nsouth,-39.9,170\nsea,47.37,10").unwrap();
    ctx.register_csv("csv", file.path().to_str().unwrap(), CsvReadOptions::new()).await.unwrap();
    let (_, found, metric) = run(&ctx, &STATION_MEANS.replace("stations s", "csv s")).await;
    assert_eq!((found, metric("cells_reduced")), (2, 40));
    assert_eq!(rows(&ctx, &STATION_MEANS.replace("stations s", "csv s")).await, want);
}

#[tokio::test]
async fn a_predicate_reads_its_own_variable_first() {
    let ctx = session(PLAIN, 2, 8192);
    let all = SHAPE.iter().product::<u64>() as usize;
    let (text, rows, metric) = run(&ctx, "SELECT longitude, wind FROM era WHERE temperature > 359.875").await;
    assert!(!text.contains("FilterExec"), "{text}");
    assert!(text.contains("projection=[longitude, wind], predicate="), "{text}");
    assert!((1..200).contains(&rows), "{rows}");
    assert_eq!((metric("cells_reduced"), metric("cells_pruned")), (rows, all - rows));
    let decoded = metric("bytes_decoded") - 4 * all;
    assert!(decoded > 0 && decoded <= 8 * rows, "{decoded} bytes of wind for {rows} cells");
}

#[tokio::test]
async fn a_limit_stops_a_scan_that_filters() {
    let ctx = session(ZSTD, 1, 100);
    let (text, rows, metric) =
        run(&ctx, "SELECT time, temperature FROM era WHERE temperature > 201 LIMIT 3").await;
    assert!(text.contains("predicate=temperature@4 > 201, limit=3"), "{text}");
    assert_eq!((rows, metric("cells_reduced")), (3, 3));
    assert!(metric("chunks_decoded") < 3, "{}", metric("chunks_decoded"));
    let sql = "SELECT count(*) FROM (SELECT temperature FROM era WHERE temperature > 300 LIMIT 700)";
    assert!(self::rows(&ctx, sql).await.iter().any(|line| line.contains(" 700 ")));
}

#[tokio::test]
async fn a_top_few_tells_the_scan_what_is_too_low() {
    let ctx = session(PLAIN, 1, 300);
    let (text, rows, metric) =
        run(&ctx, "SELECT level, temperature FROM era ORDER BY temperature DESC LIMIT 5").await;
    assert!(text.contains("predicate=DynamicFilter [ empty ]"), "{text}");
    assert_eq!(rows, 5);
    let all = SHAPE.iter().product::<u64>() as usize;
    assert!(metric("cells_reduced") < all / 2, "{} of {all}", metric("cells_reduced"));
}

#[tokio::test]
async fn statistics_lead_to_the_top_few() {
    let ctx = session(PLAIN, 1, 300);
    let grid = grid(PLAIN);
    let mut reader = Reader::new(ReadOptions::default());
    for variable in &grid.variables {
        for chunk in 0..variable.grid.chunks() {
            if let Some(stats) = chunk_stats(&mut reader, variable, chunk).unwrap() {
                assert!(variable.stats.put(chunk, &stats));
            }
        }
    }
    ctx.register_table("known", Arc::new(TensorTable::new("known", grid, TableOverrides::default())))
        .unwrap();
    let everything = "time, level, latitude, longitude, temperature, wind";
    for by in
        ["wind DESC NULLS LAST", "wind", "temperature", "temperature DESC", "wind NULLS FIRST", "wind DESC"]
    {
        let sql = format!("SELECT * FROM era ORDER BY {by}, {everything} LIMIT 8");
        let known = sql.replace("FROM era", "FROM known");
        assert_eq!(rows(&ctx, &known).await, rows(&ctx, &sql).await, "{by}");
    }
    let narrow = "SELECT level, temperature + 1000 FROM known WHERE temperature > 359 ORDER BY temperature";
    let (_, found, metric) = run(&ctx, narrow).await;
    assert_eq!(found, rows(&ctx, &narrow.replace("FROM known", "FROM era")).await.len() - 4);
    assert!(metric("chunks_decoded") < 3, "{}", metric("chunks_decoded"));
    let (text, _, metric) =
        run(&ctx, "SELECT time, temperature FROM known ORDER BY temperature DESC NULLS LAST LIMIT 1").await;
    assert!(text.contains("largest temperature first"), "{text}");
    assert!(metric("chunks_decoded") < 10, "{}", metric("chunks_decoded"));
}

#[tokio::test]
async fn answers_are_those_of_rows() {
    for (coding, partitions, batch_size) in [(PLAIN, 3, 64), (ZSTD, 2, 8192)] {
        let ctx = session(coding, partitions, batch_size);
        for sql in [
            "SELECT * FROM era WHERE temperature > 340 AND wind > 0",
            "SELECT time, wind FROM era WHERE temperature < 210 OR wind IS NULL AND level = 500",
            "SELECT latitude FROM era WHERE wind > level / 100 AND latitude > longitude",
            "SELECT count(*) FROM era WHERE wind IS NOT NULL",
            "SELECT level, count(*), sum(wind) FROM era WHERE temperature > 300 GROUP BY level",
            "SELECT temperature FROM era WHERE wind > 100",
            "SELECT * FROM era WHERE CASE WHEN wind > 0 THEN temperature > 340 ELSE level = 100 AND wind < -19 END",
            "SELECT * FROM era ORDER BY temperature DESC, time LIMIT 7",
            "SELECT * FROM era ORDER BY wind, level, time, latitude, longitude LIMIT 9",
            "SELECT * FROM era ORDER BY wind DESC NULLS LAST, time, level, latitude, longitude LIMIT 9",
            "SELECT * FROM era WHERE wind > 5 ORDER BY time, level DESC, latitude DESC, longitude LIMIT 11",
            "SELECT * FROM (SELECT * FROM era WHERE level = 850 LIMIT 10) ORDER BY temperature LIMIT 3",
            "SELECT * FROM (SELECT * FROM era LIMIT 10) WHERE temperature > 250",
            "SELECT * FROM era t JOIN stations s ON t.latitude = s.lat AND t.longitude = s.lon WHERE wind > 3",
            "SELECT s.name, count(*) FROM era t RIGHT JOIN stations s ON t.latitude = s.lat GROUP BY s.name",
            "SELECT s.name, count(t.wind) FROM stations s LEFT JOIN era t ON t.longitude = s.lon GROUP BY s.name",
            "SELECT count(*), avg(temperature) FROM era WHERE latitude IN (SELECT lat FROM stations)",
            "SELECT count(*), avg(temperature) FROM era WHERE latitude NOT IN (SELECT lat FROM stations)",
            "SELECT count(*) FROM era a JOIN era b ON a.time = b.time AND a.temperature = b.temperature WHERE b.level = 500",
            "SELECT count(*) FROM era t JOIN stations s ON t.latitude > s.lat WHERE t.level = 100",
            "SELECT count(*) FROM era t JOIN stations s ON t.latitude = s.lat WHERE s.name = 'nobody'",
            "SELECT max(temperature), min(wind) FROM era WHERE temperature > (SELECT avg(lat) FROM stations)",
            "WITH RECURSIVE walk(lev, n) AS (SELECT CAST(1000 AS BIGINT), 1 UNION ALL
                SELECT CASE w.lev WHEN 1000 THEN 500 ELSE 100 END, n + 1 FROM walk w
                JOIN era t ON t.level = w.lev WHERE t.longitude = 0 AND t.latitude > 85 AND t.time < '1970-01-01T01:00:00' AND n < 4)
                SELECT * FROM walk",
        ] {
            let with = rows(&ctx, sql).await;
            set(&ctx, "millibar.scan_predicates", false).await;
            set(&ctx, "datafusion.optimizer.enable_dynamic_filter_pushdown", false).await;
            assert_eq!(with, rows(&ctx, sql).await, "{sql}");
            set(&ctx, "millibar.scan_predicates", true).await;
            set(&ctx, "datafusion.optimizer.enable_dynamic_filter_pushdown", true).await;
        }
    }
}

#[tokio::test]
async fn a_number_that_prints_like_a_label_joins_with_it() {
    let ctx = session(PLAIN, 2, 8192);
    for on in ["t.latitude = s.lat", "s.lat = t.latitude", "t.latitude <= s.lat AND t.latitude >= s.lat"] {
        let sql = format!("SELECT DISTINCT s.name FROM era t, stations s WHERE {on} AND t.level = 100");
        let names = rows(&ctx, &sql).await.concat();
        assert!(["north", "south", "nowhere"].iter().all(|name| names.contains(name)), "{on}: {names}");
        assert!(!names.contains("sea"), "{on}: {names}");
    }
    let using = "SELECT count(*) FROM era JOIN (SELECT lat AS latitude FROM stations) s USING (latitude)";
    assert!(rows(&ctx, using).await.iter().any(|line| line.contains(&format!(" {} ", 3 * 4 * 5 * 36))));
}
