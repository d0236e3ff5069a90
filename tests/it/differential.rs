//! Random queries on random grids: reduced on the grid, through rows, and by a model on plain vectors. All
//! three must agree: counts, smallest and largest values and exact sums identically, sums of floats, means and
//! deviations within 1e-12 of their scale.
//!
//! `MILLIBAR_CASES` sets the number of grids (each with several queries), `MILLIBAR_SEED` the first seed.

use crate::random::grid::{Kind, Model, ModelDim, ModelVar, random};
use crate::random::model::{Answer, answer};
use crate::random::query::{Generator, Query, Sql};
use crate::random::rng::Rng;
use crate::random::value::Value;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::{Dataset, GridTable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::reduce::chunk_stats;
use std::collections::BTreeMap;
use std::sync::Arc;

const QUERIES: usize = 8;

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

pub(crate) fn session(
    grid: &Arc<GridTable>,
    nan_as_null: bool,
    partitions: usize,
    on_grid: bool,
    stages: usize,
) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(97);
    let ctx = session_context(config, Arc::new(RuntimeEnv::default())).unwrap();
    let overrides = TableOverrides { nan_as_null: Some(nan_as_null), ..Default::default() };
    let table = TensorTable::new("t", Arc::clone(grid), overrides);
    ctx.register_table("t", Arc::new(table)).unwrap();
    let state = ctx.state_ref();
    for (option, value) in [("grid_aggregate", on_grid), ("grid_final", stages == 1)] {
        let key = format!("millibar.{option}");
        state.write().config_mut().options_mut().set(&key, &value.to_string()).unwrap();
    }
    drop(state);
    ctx
}

fn values(array: &ArrayRef) -> Vec<Value> {
    let pick =
        |i: usize, value: &dyn Fn(usize) -> Value| if array.is_null(i) { Value::Null } else { value(i) };
    let rows = 0..array.len();
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            rows.map(|i| pick(i, &|i| Value::Bool(array.value(i)))).collect()
        }
        DataType::UInt64 => {
            let array = array.as_primitive::<UInt64Type>();
            rows.map(|i| pick(i, &|i| Value::Int(i128::from(array.value(i))))).collect()
        }
        DataType::Decimal128(_, 0) => {
            let array = array.as_primitive::<Decimal128Type>();
            rows.map(|i| pick(i, &|i| Value::Int(array.value(i)))).collect()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let wide = cast(array, &DataType::Float64).unwrap();
            let wide = wide.as_primitive::<Float64Type>();
            rows.map(|i| pick(i, &|i| Value::Float(wide.value(i)))).collect()
        }
        _ => {
            let wide = cast(array, &DataType::Int64).unwrap();
            let wide = wide.as_primitive::<Int64Type>();
            rows.map(|i| pick(i, &|i| Value::Int(i128::from(wide.value(i))))).collect()
        }
    }
}

type Got = BTreeMap<Vec<String>, Vec<Value>>;

pub(crate) async fn run(ctx: &SessionContext, sql: &str, keys: usize) -> Result<Got, String> {
    let batches =
        ctx.sql(sql).await.map_err(|e| e.to_string())?.collect().await.map_err(|e| e.to_string())?;
    let mut got = Got::new();
    for batch in &batches {
        let columns: Vec<Vec<Value>> = batch.columns().iter().map(values).collect();
        for row in 0..batch.num_rows() {
            let key = columns[..keys].iter().map(|column| column[row].key()).collect::<Vec<_>>();
            let answer = columns[keys..].iter().map(|column| column[row]).collect();
            if got.insert(key.clone(), answer).is_some() {
                return Err(format!("group {key:?} comes twice"));
            }
        }
    }
    Ok(got)
}

fn compare(want: &Answer, got: &Got) -> Result<(), String> {
    let (wanted, came): (Vec<_>, Vec<_>) = (want.keys().collect(), got.keys().collect());
    if wanted != came {
        return Err(format!("groups {came:?}, wanted {wanted:?}"));
    }
    for (key, want) in want {
        for (i, (want, got)) in want.iter().zip(&got[key]).enumerate() {
            if !want.admits(*got) {
                return Err(format!("group {key:?}, aggregate {i}: {got:?}, wanted {want:?}"));
            }
        }
    }
    Ok(())
}

/// Whether the plan reduces on the grid.
pub(crate) async fn is_on_grid(ctx: &SessionContext, sql: &str) -> bool {
    let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    text.contains("GridAggregateExec")
}

struct Contexts {
    on: SessionContext,
    off: SessionContext,
}

/// Runs one query all three ways; whether it was reduced on the grid, or what was wrong.
async fn check(contexts: &Contexts, model: &Model, query: &Query) -> Result<bool, String> {
    let sql = query.sql(model);
    let want = answer(model, query);
    let keys = query.keys.len();
    let (on, off) = (run(&contexts.on, &sql, keys).await, run(&contexts.off, &sql, keys).await);
    let wrong = |which: &str, why: String| format!("{sql}\n{which}: {why}");
    let off = off.map_err(|why| wrong("through rows", why))?;
    let on = on.map_err(|why| wrong("on the grid", why))?;
    compare(&want, &off).map_err(|why| wrong("through rows", why))?;
    compare(&want, &on).map_err(|why| wrong("on the grid", why))?;
    Ok(is_on_grid(&contexts.on, &sql).await)
}

/// Makes the statistics of no, some or all chunks known.
fn analyze(grid: &GridTable, rng: &mut Rng) {
    let share = rng.below(3);
    let mut reader = Reader::new(ReadOptions::default());
    for variable in &grid.variables {
        for chunk in (0..variable.grid.chunks()).filter(|_| share == 2 || (share == 1 && rng.one_in(2))) {
            if let Some(stats) = chunk_stats(&mut reader, variable, chunk).unwrap() {
                assert!(variable.stats.put(chunk, &stats));
            }
        }
    }
}

/// Runs random queries on a grid; how many were reduced on the grid, and what was wrong.
async fn run_queries(
    grid: &Arc<GridTable>,
    model: &Model,
    rng: &mut Rng,
    queries: usize,
) -> (usize, Vec<String>) {
    analyze(grid, rng);
    let partitions = rng.below(4) + 1;
    let stages = rng.below(2) + 1;
    let context = |on| session(grid, !model.nan_is_value, partitions, on, stages);
    let contexts = Contexts { on: context(true), off: context(false) };
    let (mut on_grid, mut wrong) = (0, Vec::new());
    for _ in 0..queries {
        let query = Generator { model, rng }.query();
        match check(&contexts, model, &query).await {
            Ok(reduced) => on_grid += usize::from(reduced),
            Err(why) => wrong.push(why),
        }
    }
    (on_grid, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grid_rows_and_model_agree() {
    let (cases, first) = (setting("MILLIBAR_CASES", 40), setting("MILLIBAR_SEED", 1));
    let (mut on_grid, mut wrong) = (0, Vec::new());
    for seed in first..first + cases {
        let mut rng = Rng::new(seed);
        let (grid, model) = random(&mut rng);
        let (reduced, why) = run_queries(&grid, &model, &mut rng, QUERIES).await;
        on_grid += reduced;
        wrong.extend(why.into_iter().map(|why| format!("seed {seed}: {why}")));
    }
    let queries = cases as usize * QUERIES;
    assert!(wrong.is_empty(), "{} of {queries} queries:\n{}", wrong.len(), wrong.join("\n\n"));
    // Nearly all of the grammar is reduced on the grid; were it not, the test would compare rows with rows.
    assert!(on_grid * 10 >= queries * 9, "only {on_grid} of {queries} queries were reduced on the grid");
}

/// The vectors of a table, from its rows (whose cells other tests compare with the manifest).
pub(crate) async fn model_of(grid: &Arc<GridTable>) -> Model {
    let ctx = session(grid, true, 1, false, 1);
    let batches = ctx.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap();
    let dims = grid.dims.iter().map(|dim| ModelDim {
        name: dim.name.clone(),
        kind: match dim.coord.data_type() {
            DataType::Timestamp(..) => Kind::Time,
            DataType::Float32 | DataType::Float64 => Kind::Float,
            _ => Kind::Int,
        },
        labels: values(&dim.coord),
    });
    let vars = grid.variables.iter().map(|variable| ModelVar {
        name: variable.name.clone(),
        dtype: variable.dtype,
        cells: batches
            .iter()
            .flat_map(|batch| values(batch.column_by_name(&variable.name).unwrap()))
            .collect(),
    });
    Model { dims: dims.collect(), vars: vars.collect(), nan_is_value: false, special: false }
}

/// The same queries on files that the reference wrote, packed and compressed by block codecs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus_grids_agree() {
    let Some(dir) = crate::corpus::dir() else { return };
    for name in ["mars/sp16_szip.tgm", "mars/f32_blosc2.tgm", "forecast/*.tgm"] {
        let dataset = Dataset::open_file(dir.join(name).to_str().unwrap()).unwrap();
        for table in &dataset.tables {
            let model = model_of(table).await;
            let (reduced, wrong) = run_queries(table, &model, &mut Rng::new(7), 3 * QUERIES).await;
            assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n\n"));
            assert!(reduced > 2 * QUERIES, "{name}: only {reduced} queries were reduced on the grid");
        }
    }
}
