//! Runs `tests/slt/*.slt`, each with aggregates on the grid and with aggregates over rows: the answers are the same.
//!
//! `$CORPUS` in a query is the folder of the conformance corpus; in errors its path is shown as `$CORPUS` again.
//! Columns are typed by a letter: B(oolean), D(ate), I(nteger), P(oint in time), R(eal), T(ext), ? (other). Values are
//! shown as Arrow shows them, but floats to 12 significant digits, so that they don't depend on the order of additions.

use super::corpus;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::engine::session_context;
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Runner};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Type(char);

impl ColumnType for Type {
    fn from_char(value: char) -> Option<Self> {
        "BDIPRT?".contains(value).then_some(Self(value))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// How aggregates over tensors are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Reduced on the grid to the end.
    Grid,
    /// Reduced on the grid to partial states.
    States,
    /// From rows.
    Rows,
}

struct Session {
    ctx: SessionContext,
    corpus: PathBuf,
}

impl Session {
    fn new(corpus: PathBuf, way: Way) -> Result<Self> {
        let config = SessionConfig::new().with_target_partitions(3).with_batch_size(1000);
        let ctx = session_context(config, Arc::new(RuntimeEnv::default()))?;
        let state = ctx.state_ref();
        let settings = [("grid_aggregate", way != Way::Rows), ("grid_final", way == Way::Grid)];
        for (option, value) in settings {
            let key = format!("millibar.{option}");
            state.write().config_mut().options_mut().set(&key, &value.to_string())?;
        }
        drop(state);
        Ok(Self { ctx, corpus })
    }

    async fn query(&self, sql: &str) -> Result<DBOutput<Type>> {
        let sql = sql.replace("$CORPUS", &self.corpus.to_string_lossy());
        let frame = self.ctx.sql(&sql).await?;
        let types: Vec<_> = frame.schema().fields().iter().map(|field| letter(field.data_type())).collect();
        let batches = frame.collect().await?;
        if types.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let shown = batch.columns().iter().map(|column| self.show(column, row));
                rows.extend(unfold(shown.collect::<Result<Vec<_>>>()?));
            }
        }
        Ok(DBOutput::Rows { types, rows })
    }

    fn show(&self, column: &ArrayRef, row: usize) -> Result<String> {
        if column.is_null(row) {
            return Ok("NULL".into());
        }
        let shown = match column.data_type() {
            DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
            _ => array_value_to_string(column, row)?,
        };
        let shown = shown.replace(&*self.corpus.to_string_lossy(), "$CORPUS");
        Ok(if shown.is_empty() { "(empty)".into() } else { shown })
    }
}

/// A row whose last value has several lines, as plans have: a row for each, numbered, its indentation as dashes.
fn unfold(mut row: Vec<String>) -> Vec<Vec<String>> {
    let Some(last) = row.pop_if(|last| last.contains('\n')) else { return vec![row] };
    let lines = last.trim_end().lines().enumerate().map(|(number, line)| {
        let text = line.trim_start();
        vec![format!("{:02}){}{text}", number + 1, "-".repeat(line.len() - text.len()))]
    });
    std::iter::once(row).chain(lines).collect()
}

/// 12 significant digits, and no exponent where the number is a handy one.
fn float(value: f64) -> String {
    let rounded: f64 = format!("{value:.11e}").parse().unwrap_or(value);
    rounded.to_string()
}

fn letter(data_type: &DataType) -> Type {
    Type(match data_type {
        DataType::Boolean => 'B',
        DataType::Date32 | DataType::Date64 => 'D',
        DataType::Timestamp(..) => 'P',
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => 'T',
        t if t.is_integer() => 'I',
        t if t.is_floating() || t.is_decimal() => 'R',
        _ => '?',
    })
}

#[async_trait::async_trait]
impl AsyncDB for Session {
    type Error = Failure;
    type ColumnType = Type;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Type>, Failure> {
        let corpus = self.corpus.to_string_lossy().into_owned();
        let shown = |e: DataFusionError| Failure(e.to_string().replace(&corpus, "$CORPUS"));
        self.query(sql).await.map_err(shown)
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "millibar"
    }
}

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "slt")).collect();
    files.sort();
    files
}

fn run_all(way: Way) {
    let Some(corpus) = corpus::dir() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let files = files();
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    for file in files {
        let corpus = corpus.canonicalize().unwrap();
        let make = move || {
            let session = Session::new(corpus.clone(), way);
            async move { session.map_err(|e| Failure(e.to_string())) }
        };
        let mut runner = Runner::new(make);
        runner.with_column_validator(sqllogictest::strict_column_validator);
        runner.add_label(if way == Way::Rows { "rows" } else { "grid" });
        if let Err(e) = runtime.block_on(runner.run_file_async(&file)) {
            failures.push(format!("{}\n{}", file.display(), e.display(false)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn on_the_grid() {
    run_all(Way::Grid);
}

#[test]
fn on_the_grid_in_two_stages() {
    run_all(Way::States);
}

#[test]
fn over_rows() {
    run_all(Way::Rows);
}
