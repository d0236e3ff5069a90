//! Memory limits hold, workers help each other out, and files are told what will be read.

use super::memory;
use crate::random::encode::Coding;
use crate::random::grid::chunked;
use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{Chunk, Dim, GridTable, Variable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, memory_pool, session_context};
use millibar::source::{Bytes, Source, Stamp};
use millibar::tgm::DType;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

fn dim(name: &str, len: u64) -> Dim {
    let coord: ArrayRef = Arc::new(Int64Array::from_iter_values(0..len as i64));
    Dim::new(name, coord)
}

pub(crate) fn session(partitions: usize, runtime: RuntimeEnv, grid: GridTable) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(1024);
    config.options_mut().execution.sort_spill_reservation_bytes = 64 << 10;
    let ctx = session_context(config, Arc::new(runtime)).unwrap();
    let table = TensorTable::new("t", Arc::new(grid), TableOverrides::default());
    ctx.register_table("t", Arc::new(table)).unwrap();
    ctx
}

/// 12 x 10 x 64 x 64 cells of two variables, 4 MB, in chunks of 32 KB.
fn cube() -> GridTable {
    let shape = [12, 10, 64, 64];
    let chunk = [1, 2, 64, 64];
    let cells: u64 = shape.iter().product();
    let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 1024.0;
    let values: Vec<f64> = (0..cells).map(value).collect();
    let few: Vec<f64> = (0..cells).map(|i| if i % 7 == 0 { f64::NAN } else { (i % 41) as f64 }).collect();
    let dims = ["time", "level", "y", "x"].iter().zip(shape).map(|(name, len)| dim(name, len));
    GridTable {
        dims: dims.collect(),
        variables: vec![
            chunked("v", DType::Float32, &shape, &chunk, Coding::Zstd, &values, &[]),
            chunked("w", DType::Float32, &shape, &chunk, Coding::Plain, &few, &[]),
        ],
    }
}

/// The same cells, of which nothing is known yet.
fn forgotten(grid: &GridTable) -> GridTable {
    let mut grid = grid.clone();
    for variable in &mut grid.variables {
        variable.stats = Arc::new(VariableStats::new(variable.dtype, variable.grid.chunks()));
    }
    grid
}

/// Queries of many shapes that keep to the grid; each has a small result.
const ON_GRID: [&str; 7] = [
    "SELECT avg(v), stddev(v), min(w), max(w), count(*) FROM t",
    "SELECT time, avg(v) FROM t GROUP BY time ORDER BY time",
    "SELECT max(m) FROM (SELECT y, x, avg(v) AS m FROM t GROUP BY y, x)",
    "SELECT avg(v * w + time) FROM t WHERE w > 3",
    "SELECT level, count(*) FILTER (WHERE v > 5) FROM t GROUP BY level ORDER BY level",
    "SELECT median(w), approx_distinct(x) FROM t WHERE time < 2",
    "SELECT time, level, avg(w) FROM t GROUP BY ROLLUP (time, level) ORDER BY 1, 2, 3 LIMIT 5",
];

/// Queries that DataFusion spills for, or joins.
const SPILLED: [&str; 8] = [
    "SELECT max(m), count(*) FROM (SELECT time, level, y, x, max(v) AS m FROM t GROUP BY time, level, y, x)",
    "SELECT avg(v), time, max(w) FROM t GROUP BY time, level, y, x ORDER BY time, level, y, x LIMIT 9 OFFSET 77777",
    "SELECT max(v), max(level + y + x), count(*) FROM (SELECT * FROM t ORDER BY v, time OFFSET 1000)",
    "SELECT count(DISTINCT v) FROM t",
    "SELECT * FROM t ORDER BY v DESC, time, level, y, x LIMIT 3",
    "SELECT count(*), max(n) FROM (SELECT round(v) AS r, count(*) AS n FROM t GROUP BY round(v))",
    "SELECT count(*) FROM t a JOIN t b ON a.v = b.w AND a.x = b.x",
    "SELECT count(*), avg(a.w) FROM t a JOIN (SELECT DISTINCT y FROM t WHERE y < 9) b ON a.y = b.y",
];

async fn answer(ctx: &SessionContext, sql: &str) -> Result<String> {
    let batches = ctx.sql(sql).await?.collect().await?;
    let shown = pretty_format_batches(&batches)?.to_string();
    // Who took which task decides the last digits of means.
    let cell =
        |cell: &str| cell.trim().parse::<f64>().map_or(cell.trim().into(), |value| format!("{value:.9e}"));
    Ok(shown.lines().map(|line| line.split('|').map(cell).collect::<Vec<_>>().join("|") + "\n").collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_or_the_error_says_who_wanted_what() {
    /// Plans, and the batches that two workers hand on.
    const BESIDES: usize = 1 << 20;
    /// What DataFusion holds of joins and of the runs that it has spilled, at most eight at a time, and doesn't count.
    const READ_BACK: usize = 12 << 20;
    let cube = cube();
    let unlimited = session(2, RuntimeEnv::default(), forgotten(&cube));
    let mut wanted = Vec::new();
    let queries = || ON_GRID.map(|sql| (sql, BESIDES)).into_iter().chain(SPILLED.map(|sql| (sql, READ_BACK)));
    for (sql, _) in queries() {
        wanted.push(answer(&unlimited, sql).await.unwrap());
    }
    let (mut succeeded, mut beyond) = (BTreeMap::new(), Vec::new());
    for limit in [100 << 10, 400 << 10, 2 << 20, 8 << 20, 24 << 20, 200 << 20] {
        for ((sql, besides), want) in queries().zip(&wanted) {
            let runtime = RuntimeEnvBuilder::new().with_memory_pool(memory_pool(limit)).build().unwrap();
            let ctx = session(2, runtime, forgotten(&cube));
            let whole = memory::Whole::start();
            let got = answer(&ctx, sql).await;
            if let Some(peak) = whole.peak().filter(|peak| *peak > limit + besides) {
                beyond.push(format!("{peak} bytes with a limit of {limit}: {sql}"));
            }
            match got {
                Ok(got) => {
                    assert_eq!(got, *want, "{sql} with {limit}");
                    succeeded.entry(sql).or_insert(limit);
                }
                Err(error) => {
                    let root = error.find_root();
                    assert!(matches!(root, DataFusionError::ResourcesExhausted(_)), "{sql}: {error}");
                    let error = error.to_string();
                    assert!(error.contains("top memory consumers"), "{sql}: {error}");
                    assert!(error.contains("Failed to allocate additional"), "{sql}: {error}");
                }
            }
            // What a worker still held when its query had failed goes soon.
            let pool = Arc::clone(&ctx.runtime_env().memory_pool);
            for _ in 0..1000 {
                if pool.reserved() > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            assert_eq!(pool.reserved(), 0, "{sql} keeps memory");
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
    assert_eq!(succeeded.len(), queries().count(), "{succeeded:?}");
    assert!(succeeded[ON_GRID[0]] <= 2 << 20, "{succeeded:?}");
    assert!(succeeded[SPILLED[0]] <= 8 << 20, "half a million groups are spilled: {succeeded:?}");
    assert!(succeeded[SPILLED[1]] <= 24 << 20, "their order holds without their keys: {succeeded:?}");
    assert!(succeeded[SPILLED[2]] <= 8 << 20, "20 MB of rows are sorted by spilling: {succeeded:?}");
    assert!(succeeded.values().any(|&least| least > 100 << 10), "{succeeded:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_tell_of_groups_that_are_handed_on() {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(memory_pool(4 << 20)).build().unwrap();
    let ctx = session(2, runtime, cube());
    let plan = answer(&ctx, &format!("EXPLAIN ANALYZE {}", SPILLED[0])).await.unwrap();
    assert!(plan.contains("groups_handed_on=491."), "{plan}");
}

/// What the sources of a table were asked, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    WillNeed(usize),
    Read(usize, ThreadId),
}

/// The bytes of one chunk, which take their time if it is a slow one.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Source>,
    chunk: usize,
    slow: bool,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Source for Watched {
    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn stamp(&self) -> &Stamp {
        self.inner.stamp()
    }

    fn read(&self, range: Range<u64>) -> millibar::Result<Bytes> {
        self.asked.lock().unwrap().push(Asked::Read(self.chunk, std::thread::current().id()));
        if self.slow {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.inner.read(range)
    }

    fn will_need(&self, range: Range<u64>) {
        assert!(range.end <= self.len());
        self.asked.lock().unwrap().push(Asked::WillNeed(self.chunk));
    }
}

/// `variable` with sources that note what they are asked; the chunks below `slow` are slow.
fn watched(variable: Variable, slow: usize) -> (Variable, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::default();
    let chunks = variable.chunks.iter().enumerate().map(|(number, chunk)| {
        let Chunk { source, object, pipeline } = &*chunk.unwrap();
        let (inner, slow) = (Arc::clone(source), number < slow);
        let source = Arc::new(Watched { inner, chunk: number, slow, asked: Arc::clone(&asked) });
        Some(Arc::new(Chunk { source, object: Arc::clone(object), pipeline: pipeline.clone() }))
    });
    (Variable { chunks: chunks.collect(), ..variable }, asked)
}

/// A table of `chunks` chunks of `len` float64 in 1 partition or more; half of their bits are random.
pub(crate) fn line(
    chunks: u64,
    len: u64,
    coding: Coding,
    slow: usize,
) -> (GridTable, Arc<Mutex<Vec<Asked>>>) {
    let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as f64;
    let values: Vec<f64> = (0..chunks * len).map(value).collect();
    let variable = chunked("v", DType::Float64, &[chunks, len], &[1, len], coding, &values, &[]);
    let (variable, asked) = watched(variable, slow);
    (GridTable { dims: vec![dim("a", chunks), dim("b", len)], variables: vec![variable] }, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_told_what_will_be_read() {
    let (chunks, len) = (30, 96 << 10);
    let (grid, asked) = line(chunks, len, Coding::Zstd, 0);
    let encoded: Vec<u64> =
        grid.variables[0].chunks.iter().map(|chunk| chunk.unwrap().source.len()).collect();
    assert!(encoded.iter().sum::<u64>() > 9 << 20, "the budget isn't reached: {encoded:?}");
    let ctx = session(1, RuntimeEnv::default(), grid);
    // Reduced, and as rows.
    for sql in ["SELECT avg(v) FROM t", "SELECT v FROM t"] {
        ctx.sql(sql).await.unwrap().collect().await.unwrap();
        let (mut told, mut ahead) = (vec![false; chunks as usize], 0);
        for asked in asked.lock().unwrap().drain(..) {
            match asked {
                Asked::WillNeed(chunk) => {
                    assert!(!told[chunk], "chunk {chunk} is told twice");
                    told[chunk] = true;
                    assert!(ahead < 8 << 20, "{ahead} bytes are told before {chunk}");
                    ahead += encoded[chunk];
                }
                Asked::Read(chunk, _) => {
                    assert!(told[chunk], "chunk {chunk} isn't told");
                    ahead -= encoded[chunk];
                }
            }
        }
        assert_eq!(told, vec![true; chunks as usize]);
    }
    // Of two variables that go through a program, too.
    let (mut grid, asked) = line(4, 1024, Coding::Zstd, 0);
    let (other, also) = line(4, 1024, Coding::Zstd, 0);
    grid.variables.push(Variable { name: "w".into(), ..other.variables[0].clone() });
    answer(&session(1, RuntimeEnv::default(), grid), "SELECT avg(v * w) FROM t WHERE v > w - 1")
        .await
        .unwrap();
    for asked in [asked, also] {
        let asked = asked.lock().unwrap();
        let told: Vec<_> = asked.iter().filter(|asked| matches!(asked, Asked::WillNeed(_))).collect();
        assert_eq!(told.len(), 4);
        assert_eq!(asked[0], Asked::WillNeed(0), "before anything is read");
    }
    // Plain objects are reduced as fast as they come.
    let (grid, asked) = line(8, 1024, Coding::Plain, 0);
    answer(&session(1, RuntimeEnv::default(), grid), "SELECT avg(v) FROM t").await.unwrap();
    assert!(asked.lock().unwrap().iter().all(|asked| matches!(asked, Asked::Read(..))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_help_each_other_out() {
    // The slow chunks are the first worker's.
    let (grid, asked) = line(400, 1024, Coding::Zstd, 120);
    let ctx = session(2, RuntimeEnv::default(), grid);
    let sql = "SELECT count(v), min(v), max(v), avg(v) FROM t";
    let got = answer(&ctx, sql).await.unwrap();
    let readers: HashSet<ThreadId> = asked
        .lock()
        .unwrap()
        .drain(..)
        .filter_map(|asked| match asked {
            Asked::Read(chunk, thread) if chunk < 120 => Some(thread),
            _ => None,
        })
        .collect();
    assert_eq!(readers.len(), 2, "nobody helped");
    let (grid, _) = line(400, 1024, Coding::Zstd, 0);
    let alone = answer(&session(1, RuntimeEnv::default(), grid), sql).await.unwrap();
    let exact = |table: &str| table.lines().nth(3).unwrap().split('|').take(4).collect::<String>();
    assert_eq!(exact(&got), exact(&alone), "count, min and max don't depend on who does what");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_query_stops_reading() {
    let (grid, asked) = line(600, 1024, Coding::Plain, 600);
    let ctx = session(2, RuntimeEnv::default(), grid);
    let mut stream = ctx.sql("SELECT avg(v) FROM t").await.unwrap().execute_stream().await.unwrap();
    let quick = tokio::time::timeout(Duration::from_millis(60), stream.next()).await;
    assert!(quick.is_err(), "it was too quick");
    drop(stream);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let seen = asked.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(asked.lock().unwrap().len(), seen, "it went on reading");
    assert!((1..600).contains(&seen), "{seen} reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_one_large_object_if_it_can_be_decoded_in_pieces() {
    let sql = "SELECT count(v), min(v), max(v), avg(v * 2) FROM t";
    for (coding, shared) in [(Coding::Plain, true), (Coding::Blosc2, true), (Coding::Zstd, false)] {
        let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as f64;
        let values: Vec<f64> = (0..40 * 20_000).map(value).collect();
        let variable = chunked("v", DType::Float64, &[40, 20_000], &[40, 20_000], coding, &values, &[]);
        let (variable, asked) = watched(variable, 1);
        let grid = GridTable { dims: vec![dim("a", 40), dim("b", 20_000)], variables: vec![variable] };
        let ctx = session(2, RuntimeEnv::default(), grid);
        let plan = answer(&ctx, &format!("EXPLAIN {sql}")).await.unwrap();
        assert_eq!(plan.contains("one object can't be shared by workers"), !shared, "{coding:?}: {plan}");
        answer(&ctx, sql).await.unwrap();
        let asked = asked.lock().unwrap();
        let reads = asked.iter().filter_map(|asked| match asked {
            Asked::Read(_, thread) => Some(thread),
            Asked::WillNeed(_) => None,
        });
        let readers: HashSet<_> = reads.collect();
        assert_eq!(readers.len(), if shared { 2 } else { 1 }, "{coding:?}");
    }
}
