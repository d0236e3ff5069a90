//! Random queries on random grids: reduced on the grid, through rows, by a model on plain vectors, and by plain
//! DataFusion on the same data in memory. All must agree: counts, smallest and largest values and exact sums
//! identically; sums of floats, means and deviations within 1e-12 of their scale of what compensated sums yield. (The
//! scale of a sum is that of its terms' magnitudes, that of a deviation the deviation and the mean.)
//!
//! `MILLIBAR_CASES` sets the number of grids (each with many queries), `MILLIBAR_SEED` the first seed. Long runs
//! print where they are every ten seconds, and each failure as it happens; a run that was cut short goes on from the
//! last seed printed.

use crate::random::exact;
use crate::random::grammar::Grammar;
use crate::random::grid::{Kind, Model, ModelDim, ModelVar, TEXTS, random};
use crate::random::model::{Answer, answer};
use crate::random::plain::{self, Agreement};
use crate::random::query::{Generator, Query, Sql};
use crate::random::rng::Rng;
use crate::random::side::Side;
use crate::random::value::Value;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::{Dataset, GridTable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::reduce::chunk_stats;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const QUERIES: usize = 8;

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What came of the queries on some grids.
#[derive(Debug, Default)]
struct Outcome {
    queries: usize,
    /// Reduced on the grid.
    on_grid: usize,
    /// Why plain DataFusion refused some.
    refused: Vec<String>,
    wrong: Vec<String>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.queries += other.queries;
        self.on_grid += other.on_grid;
        self.refused.extend(other.refused);
        self.wrong.extend(other.wrong);
    }
}

/// Runs `case` for `cases` seeds on two threads, each with a runtime of its own.
fn over_seeds<F: Future<Output = Outcome>>(cases: u64, case: impl Fn(u64) -> F + Sync) -> Outcome {
    let first = setting("MILLIBAR_SEED", 1);
    let (next, total) = (AtomicU64::new(first), Mutex::new(Outcome::default()));
    let shown = Mutex::new(Instant::now());
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + cases {
                return;
            }
            let caught = catch_unwind(AssertUnwindSafe(|| runtime.block_on(case(seed))));
            let mut outcome =
                caught.unwrap_or_else(|_| Outcome { wrong: vec!["a panic".into()], ..Outcome::default() });
            for why in &mut outcome.wrong {
                *why = format!("seed {seed}: {why}");
                eprintln!("{why}\n");
            }
            let mut total = total.lock().unwrap();
            total.add(outcome);
            let mut shown = shown.lock().unwrap();
            if shown.elapsed() > Duration::from_secs(10) {
                *shown = Instant::now();
                eprintln!("seed {seed}: {} queries, {} wrong", total.queries, total.wrong.len());
            }
        }
    };
    std::thread::scope(|scope| [0, 1].map(|_| scope.spawn(work)).map(|thread| thread.join().unwrap()));
    total.into_inner().unwrap()
}

/// How a session answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) partitions: usize,
    pub(crate) batch_size: usize,
    pub(crate) grid_aggregate: bool,
    pub(crate) grid_final: bool,
    pub(crate) collect_statistics: &'static str,
}

impl Setup {
    pub(crate) fn random(rng: &mut Rng, grid_aggregate: bool) -> Self {
        Self {
            partitions: rng.below(4) + 1,
            batch_size: *rng.pick(&[7, 97, 8192]),
            grid_aggregate,
            grid_final: !rng.one_in(3),
            collect_statistics: ["off", "auto", "on"][rng.below(3)],
        }
    }

    /// Rows, one partition.
    const PLAIN: Self = Self {
        partitions: 1,
        batch_size: 8192,
        grid_aggregate: false,
        grid_final: false,
        collect_statistics: "off",
    };

    /// A session without any table.
    fn session(self) -> SessionContext {
        let config =
            SessionConfig::new().with_target_partitions(self.partitions).with_batch_size(self.batch_size);
        let ctx = session_context(config, Arc::new(RuntimeEnv::default())).unwrap();
        let state = ctx.state_ref();
        let settings = [
            ("grid_aggregate", self.grid_aggregate.to_string()),
            ("grid_final", self.grid_final.to_string()),
            ("collect_statistics", self.collect_statistics.to_string()),
        ];
        for (option, value) in settings {
            state.write().config_mut().options_mut().set(&format!("millibar.{option}"), &value).unwrap();
        }
        ctx
    }
}

/// A session with the grid as table `t`.
pub(crate) fn session(setup: Setup, grid: &Arc<GridTable>, nan_as_null: bool) -> SessionContext {
    let ctx = setup.session();
    let overrides = TableOverrides { nan_as_null: Some(nan_as_null), ..Default::default() };
    let table = TensorTable::new("t", Arc::clone(grid), overrides);
    ctx.register_table("t", Arc::new(table)).unwrap();
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
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            let label = |text: &str| TEXTS.into_iter().find(|known| *known == text).unwrap();
            rows.map(|i| pick(i, &|i| Value::Text(label(array.value(i))))).collect()
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
            if variable.stats.get(chunk).is_none()
                && let Some(stats) = chunk_stats(&mut reader, variable, chunk).unwrap()
            {
                assert!(variable.stats.put(chunk, &stats));
            }
        }
    }
}

/// Runs random queries of the small grammar on a grid.
async fn run_queries(grid: &Arc<GridTable>, model: &Model, rng: &mut Rng, queries: usize) -> Outcome {
    analyze(grid, rng);
    let [on, off] = [true, false].map(|on| session(Setup::random(rng, on), grid, !model.nan_is_value));
    let contexts = Contexts { on, off };
    let mut outcome = Outcome { queries, ..Outcome::default() };
    for _ in 0..queries {
        let query = Generator { model, rng }.query();
        match check(&contexts, model, &query).await {
            Ok(reduced) => outcome.on_grid += usize::from(reduced),
            Err(why) => outcome.wrong.push(why),
        }
    }
    outcome
}

#[test]
fn grid_rows_and_model_agree() {
    let outcome = over_seeds(setting("MILLIBAR_CASES", 40), |seed| async move {
        let mut rng = Rng::new(seed);
        let (grid, model) = random(&mut rng);
        run_queries(&grid, &model, &mut rng, QUERIES).await
    });
    let (wrong, queries) = (outcome.wrong, outcome.queries);
    assert!(wrong.is_empty(), "{} of {queries} queries:\n{}", wrong.len(), wrong.join("\n\n"));
    // Nearly all of the grammar is reduced on the grid; were it not, the test would compare rows with rows.
    let on_grid = outcome.on_grid;
    assert!(on_grid * 10 >= queries * 9, "only {on_grid} of {queries} queries were reduced on the grid");
}

/// Statements for each grid, of the large grammar.
const STATEMENTS: usize = 30;

/// Puts random statements to a grid and to the same data as a plain table.
async fn run_statements(grid: &Arc<GridTable>, model: &Model, rng: &mut Rng, statements: usize) -> Outcome {
    analyze(grid, rng);
    let side = Side::random(rng, model, grid);
    let ours = [true, false].map(|on| session(Setup::random(rng, on), grid, !model.nan_is_value));
    let plain = Setup::PLAIN.session();
    exact::register(&plain);
    let schema = TensorTable::new("t", Arc::clone(grid), TableOverrides::default()).arrow_schema().clone();
    let data = plain::batch(model, &schema);
    let table = MemTable::try_new(data.schema(), vec![vec![data]]).unwrap();
    plain.register_table("t", Arc::new(table)).unwrap();
    ours.iter().chain([&plain]).for_each(|ctx| side.register(ctx));
    let mut outcome = Outcome { queries: statements, ..Outcome::default() };
    for _ in 0..statements {
        let statement = Grammar::new(model, rng, side.beside()).statement();
        // Rows are what the plain table is most like; they need fewer cases.
        let contexts: Vec<_> = ours.iter().take(1 + usize::from(rng.one_in(4))).collect();
        match plain::agree(&contexts, &plain, &statement).await {
            Ok(Agreement::Answers) => {}
            Ok(Agreement::Refused(why)) => outcome.refused.push(why),
            Err(why) => outcome.wrong.push(why),
        }
    }
    outcome
}

#[test]
fn tensors_and_plain_tables_agree() {
    let outcome = over_seeds(setting("MILLIBAR_CASES", 100), |seed| async move {
        let mut rng = Rng::new(seed ^ 0x7ab1e);
        let (grid, model) = random(&mut rng);
        run_statements(&grid, &model, &mut rng, STATEMENTS).await
    });
    let (wrong, queries) = (outcome.wrong, outcome.queries);
    assert!(wrong.is_empty(), "{} of {queries} statements:\n{}", wrong.len(), wrong.join("\n\n"));
    let refused = outcome.refused;
    let few = refused.len() * 30 < queries;
    assert!(few, "{} of {queries} statements are refused:\n{}", refused.len(), refused.join("\n"));
}

/// The vectors of a table, from its rows (whose cells other tests compare with the manifest).
pub(crate) async fn model_of(grid: &Arc<GridTable>) -> Model {
    let ctx = session(Setup::PLAIN, grid, true);
    let batches = ctx.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap();
    let dims = grid.dims.iter().map(|dim| ModelDim {
        name: dim.name.clone(),
        kind: match dim.coord.data_type() {
            DataType::Timestamp(..) => Kind::Time,
            DataType::Float32 | DataType::Float64 => Kind::Float,
            DataType::Utf8 => Kind::Text,
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
            let outcome = run_queries(table, &model, &mut Rng::new(7), 3 * QUERIES).await;
            assert!(outcome.wrong.is_empty(), "{name}: {}", outcome.wrong.join("\n\n"));
            let reduced = outcome.on_grid;
            assert!(reduced > 2 * QUERIES, "{name}: only {reduced} queries were reduced on the grid");
            let outcome = run_statements(table, &model, &mut Rng::new(7), STATEMENTS).await;
            assert!(outcome.wrong.is_empty(), "{name}: {}", outcome.wrong.join("\n\n"));
        }
    }
}
