//! Random expressions over cells and labels, as arguments, filters and predicates: by the programs of the grid
//! and through rows, where DataFusion evaluates them. Counts and extremes agree to the bit, sums within 1e-12 of
//! the sum of magnitudes.
//!
//! `MILLIBAR_CASES` sets the number of grids (each with several queries), `MILLIBAR_SEED` the first seed.

use crate::differential::{Setup, is_on_grid, model_of, run, session, setting};
use crate::random::encode::Coding;
use crate::random::grid::{Kind, Model, chunked, random};
use crate::random::rng::Rng;
use crate::random::value::Value;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array};
use datafusion::prelude::SessionContext;
use millibar::dataset::{Dim, GridTable};
use millibar::tgm::DType;
use std::fmt::Write;
use std::sync::Arc;

const QUERIES: usize = 12;

/// Writes expressions over the columns of a table.
struct Writer<'a> {
    model: &'a Model,
    rng: &'a mut Rng,
}

impl Writer<'_> {
    /// A column of numbers: a variable more often than a dim.
    fn column(&mut self) -> String {
        let vars = self.model.vars.iter().filter(|var| var.dtype != DType::Bitmask).map(|var| &var.name);
        let dims = self.model.dims.iter().filter(|dim| matches!(dim.kind, Kind::Int | Kind::Float));
        let (vars, dims): (Vec<_>, Vec<_>) = (vars.collect(), dims.map(|dim| &dim.name).collect());
        if vars.is_empty() || (!dims.is_empty() && self.rng.one_in(4)) {
            return dims.first().map_or_else(|| "1".into(), |_| (*self.rng.pick(&dims)).clone());
        }
        (*self.rng.pick(&vars)).clone()
    }

    /// A number.
    fn number(&mut self, depth: usize) -> String {
        if depth == 0 || self.rng.one_in(6) {
            return match self.rng.below(8) {
                0 => ["0", "3", "-2", "7"][self.rng.below(4)].into(),
                1 => ["0.0", "2.5", "-0.5", "1e3", "0.1"][self.rng.below(5)].into(),
                _ => self.column(),
            };
        }
        let a = self.number(depth - 1);
        match self.rng.below(22) {
            0..=2 => format!("({a} + {})", self.number(depth - 1)),
            3 | 4 => format!("({a} - {})", self.number(depth - 1)),
            5 | 6 => format!("({a} * {})", self.number(depth - 1)),
            7 => format!("({a} / {})", ["2.0", "3", "-7", "0.25"][self.rng.below(4)]),
            8 => format!("({a} % {})", ["3", "2.5"][self.rng.below(2)]),
            9 => format!("(-{a})"),
            10 => format!("sqrt(abs({a} * 1.0))"),
            11 => {
                let f = ["cos", "sin", "exp", "ln", "atan", "radians", "tanh", "cbrt"][self.rng.below(8)];
                format!("{f}(CAST({a} AS DOUBLE))")
            }
            12 => format!(
                "{}(CAST({a} AS REAL))",
                ["floor", "ceil", "round", "signum", "abs"][self.rng.below(5)]
            ),
            13 => format!("CAST({a} AS {})", ["DOUBLE", "REAL"][self.rng.below(2)]),
            14 | 15 => {
                format!("CASE WHEN {} THEN {a} ELSE {} END", self.truth(depth - 1), self.number(depth - 1))
            }
            16 => format!("CASE WHEN {} THEN {a} END", self.truth(depth - 1)),
            17 => format!("coalesce({a}, {})", self.number(depth - 1)),
            18 => format!("nullif({a}, {})", self.number(depth - 1)),
            19 => format!("power(CAST({a} AS DOUBLE), {})", ["2", "3", "0.5"][self.rng.below(3)]),
            20 => format!("round(CAST({a} AS DOUBLE), {})", ["1", "-1", "2"][self.rng.below(3)]),
            _ => format!("greatest({a}, {})", self.number(depth - 1)),
        }
    }

    /// A condition.
    fn truth(&mut self, depth: usize) -> String {
        let compare = ["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM"];
        if depth > 0 && self.rng.one_in(2) {
            let a = self.truth(depth - 1);
            return match self.rng.below(5) {
                0 | 1 => format!("({a} AND {})", self.truth(depth - 1)),
                2 | 3 => format!("({a} OR {})", self.truth(depth - 1)),
                _ => format!("(NOT {a})"),
            };
        }
        let a = self.number(depth);
        match self.rng.below(8) {
            0 => format!("({a} IS NULL)"),
            1 => format!("({a} IS NOT NULL)"),
            2 => format!("({a} IN (1, 3, {}))", self.rng.between(-20, 20)),
            3 => format!("({a} BETWEEN {} AND {})", self.rng.between(-20, 0), self.rng.between(0, 40)),
            4 => format!("isnan(CAST({a} AS DOUBLE))"),
            _ => format!("({a} {} {})", self.rng.pick(&compare), self.number(depth)),
        }
    }

    fn query(&mut self) -> Query {
        let dims = self.model.dims.len();
        let count = if dims == 0 { 0 } else { self.rng.below(3).min(dims) };
        let mut keys: Vec<usize> = (0..count).map(|_| self.rng.below(dims)).collect();
        keys.sort_unstable();
        keys.dedup();
        let keys: Vec<String> = keys.into_iter().map(|dim| self.model.dims[dim].name.clone()).collect();
        let (mut list, mut columns) = (keys.clone(), Vec::new());
        for _ in 0..1 + self.rng.below(4) {
            let arg = self.number(3);
            let filter = match self.rng.one_in(3) {
                true => format!(" FILTER (WHERE {})", self.truth(2)),
                false => String::new(),
            };
            match self.rng.below(6) {
                0 => list.push(format!("count(*){filter}")),
                1 => list.push(format!("count({arg}){filter}")),
                2 => list.push(format!("min({arg}){filter}")),
                3 => list.push(format!("max({arg}){filter}")),
                function => {
                    let function = ["sum", "avg"][function - 4];
                    list.push(format!("{function}(abs(CAST({arg} AS DOUBLE))){filter}"));
                    list.push(format!("{function}(CAST({arg} AS DOUBLE)){filter}"));
                    columns.push(Column::Scale);
                }
            }
            columns.push(if columns.last() == Some(&Column::Scale) { Column::Sum } else { Column::Exact });
        }
        let mut sql = format!("SELECT {} FROM t", list.join(", "));
        if self.rng.one_in(2) {
            let _ = write!(sql, " WHERE {}", self.truth(2));
        }
        if !keys.is_empty() {
            let _ = write!(sql, " GROUP BY {}", keys.join(", "));
        }
        Query { sql, keys: keys.len(), columns }
    }
}

struct Query {
    sql: String,
    keys: usize,
    columns: Vec<Column>,
}

/// How a column of aggregates is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    /// To the bit, but for the sign of zero.
    Exact,
    /// A sum of magnitudes.
    Scale,
    /// A sum; the column before it is that of its magnitudes.
    Sum,
}

fn agree(columns: &[Column], a: &[Value], b: &[Value]) -> bool {
    columns.iter().enumerate().all(|(i, column)| {
        let scale = match column {
            Column::Exact => 0.0,
            Column::Scale => a[i].float().unwrap_or(0.0),
            Column::Sum => a[i - 1].float().unwrap_or(0.0),
        };
        match (a[i], b[i]) {
            (Value::Float(x), Value::Float(y)) => {
                x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-12 * scale || !scale.is_finite()
            }
            (a, b) => a == b,
        }
    })
}

/// Whether the answer of the grid is that of rows; where rows fail, the grid may.
async fn check(on: &SessionContext, off: &SessionContext, query: &Query) -> Result<bool, String> {
    let sql = &query.sql;
    match (run(on, sql, query.keys).await, run(off, sql, query.keys).await) {
        (_, Err(_)) => Ok(false),
        (Err(why), Ok(_)) => Err(format!("{sql}\non the grid: {why}")),
        (Ok(grid), Ok(rows)) => {
            let same = grid.len() == rows.len()
                && grid.iter().all(|(key, a)| rows.get(key).is_some_and(|b| agree(&query.columns, a, b)));
            if same { Ok(is_on_grid(on, sql).await) } else { Err(format!("{sql}\n{grid:?}\n{rows:?}")) }
        }
    }
}

/// Random queries on `grid`: how many of them were reduced on the grid, and what was wrong.
async fn run_queries(
    grid: &Arc<GridTable>,
    model: &Model,
    rng: &mut Rng,
    queries: usize,
) -> (usize, Vec<String>) {
    let [on, off] = [true, false].map(|on| session(Setup::random(rng, on), grid, !model.nan_is_value));
    let (mut on_grid, mut wrong) = (0, Vec::new());
    for _ in 0..queries {
        let query = Writer { model, rng }.query();
        match check(&on, &off, &query).await {
            Ok(reduced) => on_grid += usize::from(reduced),
            Err(why) => wrong.push(why),
        }
    }
    (on_grid, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_compute_what_rows_do() {
    let (cases, first) = (setting("MILLIBAR_CASES", 16), setting("MILLIBAR_SEED", 1));
    let (mut on_grid, mut wrong) = (0, Vec::new());
    for seed in first..first + cases {
        let mut rng = Rng::new(seed ^ 0x00ce_115e);
        let (grid, model) = random(&mut rng);
        let (reduced, why) = run_queries(&grid, &model, &mut rng, QUERIES).await;
        on_grid += reduced;
        wrong.extend(why.into_iter().map(|why| format!("seed {seed}: {why}")));
    }
    let queries = cases as usize * QUERIES;
    assert!(wrong.is_empty(), "{} of {queries} queries:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(on_grid * 2 >= queries, "only {on_grid} of {queries} queries were reduced on the grid");
}

/// Chunks of more than one tile, some of them missing; the third variable has other chunks than the first two.
fn large(others: bool) -> Arc<GridTable> {
    let shape = [3, 70, 90];
    let cells = |scale: f64, offset: f64| -> Vec<f64> {
        (0..3 * 70 * 90).map(|i| f64::from(i * 37 % 1009 - 300) * scale + offset).collect()
    };
    let dim = |name: &str, coord: ArrayRef| Dim::new(name, coord);
    let by_time = [1, 70, 90];
    let mut a = cells(0.125, 0.0);
    a.iter_mut().step_by(11).for_each(|cell| *cell = f64::NAN);
    let mut variables = vec![
        chunked("a", DType::Float32, &shape, &by_time, Coding::Plain, &a, &[]),
        chunked("b", DType::Float64, &shape, &by_time, Coding::ShuffleZstd, &cells(1.0, 0.5), &[false, true]),
    ];
    if others {
        variables.push(chunked("c", DType::Int16, &shape, &[3, 35, 64], Coding::Zstd, &cells(1.0, 7.0), &[]));
    }
    let along =
        |n: i64, step: f64| Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64 * step - 40.0)));
    let dims = vec![
        dim("time", Arc::new(Int64Array::from(vec![0, 6, 12]))),
        dim("lat", along(70, 1.25)),
        dim("lon", along(90, 4.0)),
    ];
    Arc::new(GridTable { dims, variables })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_several_tiles() {
    for others in [false, true] {
        let grid = large(others);
        let model = model_of(&grid).await;
        let (on_grid, wrong) = run_queries(&grid, &model, &mut Rng::new(7), 24).await;
        assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n\n"));
        assert!(on_grid > 12, "{on_grid}");
    }
}
