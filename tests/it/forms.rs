//! Cells that are reduced without being decoded: constants and packed integers.

use crate::memory;
use crate::random::encode::Coding;
use crate::random::grid::chunked;
use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::codec::Piece;
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::{Dim, GridTable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::reduce::{Accumulators, ChunkReducer, Factor, GroupMap, NanPolicy, Wants};
use millibar::tensor::Selection;
use millibar::tgm::DType;
use std::sync::Arc;

const SHAPE: [u64; 3] = [4, 30, 60];

/// One packed chunk for each `time`; that of the last but one is constant.
fn session() -> SessionContext {
    let cells: u64 = SHAPE.iter().product();
    let values = (0..cells).map(|i| match i / 1800 {
        2 => 273.5,
        time => 240.0 + 10.0 * time as f64 + (i * i % 257) as f64 / 8.0,
    });
    let values: Vec<f64> = values.collect();
    let dim = |name: &str, len: u64| Dim::new(name, Arc::new(Int64Array::from_iter_values(0..len as i64)));
    let chunk = [1, SHAPE[1], SHAPE[2]];
    let grid = GridTable {
        dims: vec![dim("time", SHAPE[0]), dim("y", SHAPE[1]), dim("x", SHAPE[2])],
        variables: vec![chunked("t", DType::Float64, &SHAPE, &chunk, Coding::Packed, &values, &[])],
    };
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = session_context(config, Arc::new(RuntimeEnv::default())).unwrap();
    let table = TensorTable::new("grid", Arc::new(grid), TableOverrides::default());
    ctx.register_table("grid", Arc::new(table)).unwrap();
    ctx
}

fn metric(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let below: usize = plan.children().into_iter().map(|child| metric(child, name)).sum();
    below + plan.metrics().and_then(|all| all.sum_by_name(name)).map_or(0, |value| value.as_usize())
}

async fn run(ctx: &SessionContext, sql: &str) -> (Vec<RecordBatch>, Arc<dyn ExecutionPlan>) {
    let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    (collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap(), plan)
}

#[tokio::test]
async fn packed_and_constant_chunks_are_told_apart() {
    let ctx = session();
    let sql = "SELECT mean(t), std(t), min(t), max(t), sum(t), count(t) FROM grid";
    let (got, plan) = run(&ctx, sql).await;
    assert_eq!(metric(&plan, "chunks_packed"), 3);
    assert_eq!(metric(&plan, "chunks_constant"), 1);
    assert_eq!(metric(&plan, "chunks_decoded"), 3);
    run(&ctx, "SET millibar.grid_aggregate = false").await;
    let (want, plan) = run(&ctx, sql).await;
    assert_eq!(metric(&plan, "chunks_packed"), 0, "rows need values");
    let value = |batches: &[RecordBatch], column: usize| {
        batches[0].column(column).as_any().downcast_ref::<Float64Array>().map(|values| values.value(0))
    };
    for column in 0..5 {
        let (got, want) = (value(&got, column).unwrap(), value(&want, column).unwrap());
        assert!((got - want).abs() <= 1e-12 * want.abs(), "column {column}: {got} for {want}");
        assert!(!matches!(column, 2 | 3) || got == want, "extremes to the bit");
    }
    assert_eq!(got[0].column(5), want[0].column(5));
}

#[tokio::test]
async fn groups_and_selections_of_packed_cells() {
    let ctx = session();
    for sql in [
        "SELECT time, avg(t), min(t), max(t), stddev(t) FROM grid GROUP BY time ORDER BY time",
        "SELECT x, sum(t), min(t) FROM grid WHERE y > 3 GROUP BY x ORDER BY x",
        "SELECT x % 7 AS k, max(t), count(*) FROM grid WHERE x BETWEEN 5 AND 50 GROUP BY k ORDER BY k",
        "SELECT y, x, round(avg(t), 6) FROM grid WHERE time <> 1 GROUP BY y, x ORDER BY y, x",
    ] {
        run(&ctx, "SET millibar.grid_aggregate = true").await;
        let (got, plan) = run(&ctx, sql).await;
        assert!(metric(&plan, "chunks_packed") > 0, "{sql}");
        run(&ctx, "SET millibar.grid_aggregate = false").await;
        let (want, _) = run(&ctx, sql).await;
        assert_eq!(rounded(&got), rounded(&want), "{sql}");
    }
}

#[tokio::test]
async fn predicates_are_compared_with_packed_integers() {
    let ctx = session();
    for (sql, packed, opened) in [
        ("SELECT count(*), avg(t), stddev(t), min(t), max(t), sum(t) FROM grid WHERE t > 262.125", 3, 4),
        // The constant is within, and how many cells it has is known.
        ("SELECT count(*) FROM grid WHERE t BETWEEN 255 AND 280.5", 3, 3),
        (
            "SELECT x % 7 AS k, count(t), sum(t) FROM grid WHERE t >= 255.5 AND 280 > t GROUP BY k ORDER BY k",
            3,
            4,
        ),
        ("SELECT time, max(t), avg(t) FROM grid WHERE t < 262 AND y > 3 GROUP BY time ORDER BY time", 2, 2),
        ("SELECT y, x, count(*) FROM grid WHERE t > 265.3 AND time < 2 GROUP BY y, x ORDER BY y, x", 2, 2),
        ("SELECT count(*), max(t) FROM grid WHERE t = 273.5", 3, 4),
        // What packings can't stand for isn't opened.
        ("SELECT count(*), sum(t) FROM grid WHERE t < 240 OR t > 400", 0, 0),
        ("SELECT avg(t) FROM grid WHERE t * 2 + 1 < 480", 0, 0),
        ("SELECT max(t) FROM grid WHERE CAST(t AS BIGINT) < 240", 0, 0),
    ] {
        run(&ctx, "SET millibar.grid_aggregate = true").await;
        let (got, plan) = run(&ctx, sql).await;
        assert_eq!(
            (metric(&plan, "chunks_packed"), metric(&plan, "objects_opened")),
            (packed, opened),
            "{sql}"
        );
        run(&ctx, "SET millibar.grid_aggregate = false").await;
        let (want, _) = run(&ctx, sql).await;
        assert_eq!(rounded(&got), rounded(&want), "{sql}");
    }
}

#[tokio::test]
async fn forms_are_told() {
    let ctx = session();
    let sql = "SELECT avg(t) FROM grid WHERE t > 262.125";
    let (plan, _) = run(&ctx, &format!("EXPLAIN ANALYZE {sql}")).await;
    let shown = pretty_format_batches(&plan).unwrap().to_string();
    for word in ["predicates on packed values", "chunks_packed=3", "chunks_constant=1", "chunks_unmasked=2"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

/// As text, numbers cut to what rounding leaves alone.
fn rounded(batches: &[RecordBatch]) -> Vec<String> {
    let shown = pretty_format_batches(batches).unwrap().to_string();
    let cell =
        |cell: &str| cell.trim().parse::<f64>().map_or(cell.trim().into(), |value| format!("{value:.9}"));
    shown
        .lines()
        .map(|line| line.split('|').map(cell).collect::<Vec<_>>().join("|"))
        .filter(|line| !line.starts_with('+'))
        .collect()
}

/// Allocations of reducing a variable of these chunks by `x % 7`, with warm buffers.
fn allocations(coding: Coding, dtype: DType, shape: [u64; 2], chunk: [u64; 2]) -> usize {
    let cells = shape.iter().product::<u64>();
    let values: Vec<f64> = (0..cells).map(|i| 250.0 + (i % 511) as f64 / 8.0).collect();
    let variable = chunked("t", dtype, &shape, &chunk, coding, &values, &[]);
    let codes = (0..shape[1] as u32).map(|x| x % 7).collect();
    let map = GroupMap::try_new(&shape, vec![Factor { dims: vec![1], codes, cardinality: 7 }]).unwrap();
    let mut states = Accumulators::try_new(dtype, 7, Wants::ALL, NanPolicy::Null).unwrap();
    let mut reader = Reader::new(ReadOptions::default());
    let parts: Vec<_> = variable.grid.parts(&Selection::all(&shape)).iter().collect();
    let mut pass = || {
        for part in &parts {
            let mut reducer = ChunkReducer::new(part, &map);
            let mut feed = |first, cells: Piece<'_>| reducer.feed(first, cells, None, &mut states);
            assert!(reader.visit_pieces(&variable, part, &mut feed).unwrap());
        }
    };
    pass();
    memory::allocations(pass)
}

#[test]
fn allocations_do_not_grow_with_blocks() {
    for (coding, dtype) in [
        (Coding::Plain, DType::Float32),
        (Coding::Zstd, DType::Float32),
        (Coding::ShuffleZstd, DType::Float64),
        (Coding::Packed, DType::Float64),
    ] {
        let small = allocations(coding, dtype, [64, 700], [64, 700]);
        let large = allocations(coding, dtype, [64 * 32, 700], [64 * 32, 700]);
        assert_eq!(small, large, "{coding:?}");
        let many = allocations(coding, dtype, [64 * 32, 700], [64, 700]);
        assert!(many <= 32 * small, "{coding:?}: {many} for 32 chunks, {small} for one");
        assert!(small <= 40, "{coding:?}: {small}");
    }
}
