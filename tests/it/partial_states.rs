//! The states that a grid aggregate emits are those that DataFusion's partial aggregate emits for the same
//! rows: the same columns, the same groups, NULL where it has NULL.

use crate::random::encode::Coding;
use crate::random::grid::{chunked, random};
use crate::random::rng::Rng;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::dataset::{Dim, GridTable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::tgm::DType;
use std::sync::Arc;

/// One partition, and keys that a hash aggregate doesn't drop early.
fn session(grid: &Arc<GridTable>, on_grid: bool) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1);
    let ctx = session_context(config, Arc::new(RuntimeEnv::default())).unwrap();
    let table = TensorTable::new("t", Arc::clone(grid), TableOverrides::default());
    ctx.register_table("t", Arc::new(table)).unwrap();
    let state = ctx.state_ref();
    for (option, value) in [("grid_aggregate", on_grid), ("grid_final", false)] {
        let (key, value) = (format!("millibar.{option}"), value.to_string());
        state.write().config_mut().options_mut().set(&key, &value).unwrap();
    }
    drop(state);
    ctx
}

/// The input of the final aggregate; through rows, DataFusion may have merged the two stages into one, which is
/// cut in two again.
fn partial(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    if plan.name() == "GridAggregateExec" {
        return Some(Arc::clone(plan));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let group_by = aggregate.group_expr().clone();
        let (exprs, filters) = (aggregate.aggr_expr().to_vec(), aggregate.filter_expr().to_vec());
        match aggregate.mode() {
            AggregateMode::Partial => return Some(Arc::clone(plan)),
            AggregateMode::Single | AggregateMode::SinglePartitioned => {
                let (input, schema) = (Arc::clone(aggregate.input()), aggregate.input_schema());
                let partial = AggregateMode::Partial;
                return Some(Arc::new(
                    AggregateExec::try_new(partial, group_by, exprs, filters, input, schema).unwrap(),
                ));
            }
            _ => {}
        }
    }
    plan.children().into_iter().find_map(partial)
}

/// All partial states, in the order of their keys.
async fn states(grid: &Arc<GridTable>, sql: &str, keys: usize, on_grid: bool) -> RecordBatch {
    let ctx = session(grid, on_grid);
    let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let partial = partial(&plan).unwrap();
    assert_eq!(partial.name() == "GridAggregateExec", on_grid, "{sql}");
    let batches = collect(Arc::clone(&partial), ctx.task_ctx()).await.unwrap();
    let all = concat_batches(&partial.schema(), &batches).unwrap();
    if keys == 0 {
        return all;
    }
    let by: Vec<_> = all.columns()[..keys]
        .iter()
        .map(|values| SortColumn { values: Arc::clone(values), options: None })
        .collect();
    take_record_batch(&all, &lexsort_to_indices(&by, None).unwrap()).unwrap()
}

fn close(a: &ArrayRef, b: &ArrayRef) -> bool {
    if a.data_type() != &DataType::Float64 {
        return a == b;
    }
    let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
    let near = |x: f64, y: f64| (x - y).abs() <= 1e-9 * (1.0 + x.abs().max(y.abs()));
    a.nulls() == b.nulls() && (0..a.len()).all(|i| a.is_null(i) || near(a.value(i), b.value(i)))
}

#[tokio::test]
async fn as_datafusion_has_them() {
    for seed in 0..16 {
        let (grid, model) = random(&mut Rng::new(1000 + seed));
        if model.special {
            continue;
        }
        let key = &model.dims[0].name;
        let mut functions = vec!["count(*)".to_string()];
        for var in &model.vars {
            let name = &var.name;
            let all = ["count", "sum", "avg", "min", "max", "var", "var_pop", "stddev", "stddev_pop", "std"];
            let some = if var.is_bool() { &all[..1] } else { &all[..] };
            functions.extend(some.iter().map(|function| format!("{function}({name})")));
            functions.push(format!("count({name}) FILTER (WHERE {name} IS NULL)"));
            functions.push(format!("max({name}) FILTER (WHERE {name} IS NULL)"));
        }
        let functions = functions.join(", ");
        for (sql, keys) in [
            (format!("SELECT {functions} FROM t"), 0),
            (format!("SELECT {functions} FROM t WHERE date_part('day', time) = 99"), 0),
            (format!("SELECT {key}, {functions} FROM t GROUP BY {key}"), 1),
            (
                format!(
                    "SELECT {key}, {functions} FROM t WHERE {} IS NOT NULL GROUP BY {key}",
                    model.vars[0].name
                ),
                1,
            ),
        ] {
            let (rows, reduced) =
                (states(&grid, &sql, keys, false).await, states(&grid, &sql, keys, true).await);
            assert_eq!(rows.schema(), reduced.schema(), "{sql}");
            assert_eq!(rows.num_rows(), reduced.num_rows(), "seed {seed}: {sql}");
            for (i, field) in rows.schema().fields().iter().enumerate() {
                let (want, got) = (rows.column(i), reduced.column(i));
                assert!(close(want, got), "seed {seed}: {sql}\n{}: {got:?}, wanted {want:?}", field.name());
            }
        }
    }
}

/// A worker counts the cells of the selection, another may have states of groups that no cell of a variable of its own is in:
/// they belong to what it hands on.
#[tokio::test]
async fn states_of_groups_that_another_worker_counts_are_kept() {
    let (times, lats) = (700, 3);
    let dim = |name: &str, len: u64| {
        Dim::new(name, Arc::new(Int64Array::from_iter_values(0..len as i64)) as ArrayRef)
    };
    let values: Vec<f64> = (0..times * lats).map(|cell| cell as f64).collect();
    let grid = Arc::new(GridTable {
        dims: vec![dim("time", times), dim("lat", lats)],
        variables: vec![chunked("v", DType::Float32, &[times, lats], &[1, 1], Coding::Plain, &values, &[])],
    });
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = session_context(config, Arc::new(RuntimeEnv::default())).unwrap();
    ctx.sql("SET millibar.grid_final = false").await.unwrap();
    let table = TensorTable::new("t", grid, TableOverrides::default());
    ctx.register_table("t", Arc::new(table)).unwrap();
    let sql =
        "SELECT time / 100 AS g, avg(v), last_value(time ORDER BY time, lat) FROM t GROUP BY 1 ORDER BY 1";
    let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(shown.contains("GridAggregateExec") && shown.contains("input_partitions=2"), "{shown}");
    let batches = collect(plan, ctx.task_ctx()).await.unwrap();
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    let last = all.column(2).as_primitive::<Int64Type>();
    let want: Vec<_> = (0..7).map(|group| Some(100 * group + 99)).collect();
    assert_eq!(last.iter().collect::<Vec<_>>(), want);
}
