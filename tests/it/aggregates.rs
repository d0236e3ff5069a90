//! Aggregates that DataFusion accumulates, grouping sets and first and last cells, on random grids: reduced on the
//! grid and through rows they must agree, NULL for NULL; floats within 1e-9 of their scale, all else identically.
//!
//! `MILLIBAR_CASES` and `MILLIBAR_SEED` as for the differential tests.

use crate::differential::{Setup, session, setting};
use crate::random::grid::{Model, random};
use crate::random::rng::Rng;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use std::collections::HashSet;

const QUERIES: usize = 8;

/// A value of an answer.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Shown {
    Text(String),
    Float(f64),
}

impl Shown {
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => {
                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
            }
            _ => self == other,
        }
    }
}

/// The rows of the answer, those of keys first, in the order of their keys.
async fn rows(ctx: &SessionContext, sql: &str, keys: usize) -> Result<Vec<Vec<Shown>>, String> {
    let batches =
        ctx.sql(sql).await.map_err(|e| e.to_string())?.collect().await.map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let shown = batch.columns().iter().enumerate().map(|(at, column)| match column.data_type() {
                DataType::Float16 | DataType::Float32 | DataType::Float64
                    if at >= keys && column.is_valid(row) =>
                {
                    let wide = cast(&column.slice(row, 1), &DataType::Float64).unwrap();
                    Shown::Float(wide.as_primitive::<Float64Type>().value(0))
                }
                _ if column.is_null(row) => Shown::Text("NULL".into()),
                _ => Shown::Text(array_value_to_string(column, row).unwrap()),
            });
            rows.push(shown.collect::<Vec<_>>());
        }
    }
    rows.sort_by(|a, b| a[..keys].partial_cmp(&b[..keys]).unwrap());
    Ok(rows)
}

/// Writes queries on a table.
struct Writer<'a> {
    model: &'a Model,
    rng: &'a mut Rng,
    /// `ORDER BY` that puts every cell in its place, if labels do.
    order: Option<String>,
}

impl Writer<'_> {
    fn dim(&mut self) -> String {
        self.rng.pick(&self.model.dims).name.clone()
    }

    fn aggregate(&mut self) -> String {
        let dim = self.dim();
        let var = self.rng.pick(&self.model.vars);
        let (v, float) = (var.name.clone(), var.dtype.is_float());
        if var.is_bool() {
            let function = *self.rng.pick(&["bool_and", "bool_or", "count", "max"]);
            return format!("{function}({v})");
        }
        let ordered = self.order.clone().filter(|_| self.rng.one_in(2));
        if let Some(order) = ordered {
            let function = *self.rng.pick(&[
                "first_value(X ORDER BY O)",
                "last_value(X ORDER BY O)",
                "nth_value(X, 2 ORDER BY O)",
                "array_to_string(array_agg(X ORDER BY O), ',')",
                "string_agg(CAST(X AS VARCHAR), ',' ORDER BY O)",
            ]);
            return function.replace("(X", &format!("({v}")).replace(" O)", &format!(" {order})"));
        }
        let some: &[&str] = match float {
            true => &["median(X)", "count(DISTINCT X)", "bool_or(X > 0)", "arg_min(D, X)", "arg_max(X, D)"],
            false => {
                &["bit_xor(X)", "count(DISTINCT X)", "min(DISTINCT X)", "bool_and(X > 3)", "arg_max(D, X)"]
            }
        };
        let function = match self.rng.below(4) {
            0 => *self.rng.pick(&[
                "count(*)",
                "count(DISTINCT D)",
                "max(X)",
                "min(D)",
                "approx_distinct(CAST(D AS VARCHAR)) > 0",
            ]),
            _ => *self.rng.pick(some),
        };
        let filter = match self.rng.below(5) {
            0 => format!(" FILTER (WHERE {v} IS NOT NULL)"),
            1 => format!(" FILTER (WHERE {dim} IS NULL)"),
            _ => String::new(),
        };
        let filter = if function.contains('>') { String::new() } else { filter };
        let named = |text: &str| {
            let dim = [("D)", format!("{dim})")), ("(D,", format!("({dim},")), ("(D ", format!("({dim} "))];
            dim.iter().fold(text.replace('X', &v), |text, (from, to)| text.replace(from, to))
        };
        format!("{}{filter}", named(function))
    }

    /// A query and how many of its columns are keys.
    fn query(&mut self) -> (String, usize) {
        let a = self.dim();
        let others: Vec<_> = self.model.dims.iter().map(|dim| &dim.name).filter(|name| **name != a).collect();
        // DataFusion plans no dim that comes twice.
        let (b, keyed) = if others.is_empty() {
            (a.clone(), self.rng.below(2))
        } else {
            (self.rng.pick(&others).to_string(), self.rng.below(6))
        };
        let group = match keyed {
            0 => String::new(),
            1 => format!("GROUP BY {a}"),
            2 => format!("GROUP BY ROLLUP ({a}, {b})"),
            3 => format!("GROUP BY CUBE ({a}, {b})"),
            4 => format!("GROUP BY GROUPING SETS (({a}, {b}), ({b}), (), ({b}))"),
            _ => format!("GROUP BY {a}, {b}"),
        };
        let keys: Vec<String> = match keyed {
            0 => vec![],
            1 => vec![a],
            5 => vec![a, b],
            _ => vec![format!("grouping({a}, {b}) AS g"), a, b],
        };
        let aggregates: Vec<String> =
            (0..self.rng.below(3) + 1).map(|i| format!("{} AS x{i}", self.aggregate())).collect();
        let dim = self.dim();
        let condition = match self.rng.below(5) {
            0 => format!("WHERE {} IS NOT NULL", self.rng.pick(&self.model.vars).name),
            1 => format!("WHERE {dim} > (SELECT min({dim}) FROM t)"),
            2 if self.rng.one_in(4) => format!("WHERE {dim} IS NULL"),
            _ => String::new(),
        };
        let columns: Vec<&str> = keys.iter().chain(&aggregates).map(String::as_str).collect();
        (format!("SELECT {} FROM t {condition} {group}", columns.join(", ")), keys.len())
    }
}

/// The dims in order, if all their labels differ.
fn order(model: &Model) -> Option<String> {
    let differ = model.dims.iter().all(|dim| {
        let labels: HashSet<_> = dim.labels.iter().map(|label| label.key()).collect();
        labels.len() == dim.labels.len()
    });
    let dims: Vec<&str> = model.dims.iter().map(|dim| dim.name.as_str()).collect();
    differ.then(|| dims.join(", "))
}

/// Whether the plan reduces on the grid; `None` if it scans nothing, or asks for an order that isn't the grid's.
async fn reduced(ctx: &SessionContext, sql: &str) -> Option<bool> {
    let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let on_grid = text.contains("GridAggregateExec");
    let scanned = on_grid || text.contains("TensorScanExec");
    (scanned && !text.contains("wants another order")).then_some(on_grid)
}

/// Whether both came to the same: the same answer, or an error each.
fn compare(
    sql: &str,
    grid: &Result<Vec<Vec<Shown>>, String>,
    rows: &Result<Vec<Vec<Shown>>, String>,
) -> Result<(), String> {
    let same = match (grid, rows) {
        (Ok(grid), Ok(rows)) => {
            let mut pairs = grid.iter().flatten().zip(rows.iter().flatten());
            grid.len() == rows.len() && pairs.all(|(grid, row)| grid.agrees(row))
        }
        (Err(_), Err(_)) => true,
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("{sql}\non the grid  {grid:?}\nthrough rows {rows:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grid_and_rows_agree() {
    let (cases, first) = (setting("MILLIBAR_CASES", 40), setting("MILLIBAR_SEED", 1));
    let (mut tried, mut answered, mut fitting, mut on_grid, mut wrong) = (0, 0, 0, 0, Vec::new());
    for seed in first..first + cases {
        let mut rng = Rng::new(seed ^ 0x5e_75e7);
        let (grid, model) = random(&mut rng);
        if model.special || model.nan_is_value {
            continue;
        }
        let (partitions, grid_final) = (rng.below(3) + 1, rng.one_in(2));
        let setup = |grid_aggregate| Setup {
            partitions,
            batch_size: 97,
            grid_aggregate,
            grid_final,
            collect_statistics: "off",
        };
        let context = |on| session(setup(on), &grid, true);
        let (on, off) = (context(true), context(false));
        let order = order(&model);
        for _ in 0..QUERIES {
            let mut writer = Writer { model: &model, rng: &mut rng, order: order.clone() };
            let (sql, keys) = writer.query();
            let answers = (rows(&on, &sql, keys).await, rows(&off, &sql, keys).await);
            tried += 1;
            match compare(&sql, &answers.0, &answers.1) {
                Ok(()) if answers.0.is_ok() => {
                    answered += 1;
                    if let Some(reduced) = reduced(&on, &sql).await {
                        fitting += 1;
                        on_grid += usize::from(reduced);
                    }
                }
                Ok(()) => {}
                Err(why) => wrong.push(format!("seed {seed}: {why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried} queries:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(answered * 10 > tried * 8, "only {answered} of {tried} queries have an answer");
    assert!(fitting * 10 > answered * 7, "only {fitting} of {answered} queries fit the grid");
    assert!(on_grid * 10 > fitting * 9, "only {on_grid} of {fitting} queries were reduced on the grid");
}
