//! The same data as plain tables in memory, and answers compared with those of plain DataFusion.

use super::grid::Model;
use super::statement::{Check, Statement};
use super::value::Value;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, SchemaRef, UInt64Type,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use futures::FutureExt;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Floats may differ by this much of their scale.
const SHARE: f64 = 1e-12;

/// An array of `values`, each of which `to` holds exactly.
pub(crate) fn array(values: &[Value], to: &DataType) -> ArrayRef {
    let ints = || {
        values.iter().map(|value| match value {
            Value::Int(i) => Some(*i),
            _ => None,
        })
    };
    let wide: ArrayRef = match to {
        DataType::Boolean => {
            let bools = values.iter().map(|value| if let Value::Bool(b) = value { Some(*b) } else { None });
            Arc::new(bools.collect::<BooleanArray>())
        }
        DataType::Utf8 => {
            let texts = values.iter().map(|value| if let Value::Text(t) = value { Some(*t) } else { None });
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            Arc::new(values.iter().map(|value| value.float()).collect::<Float64Array>())
        }
        DataType::UInt64 => Arc::new(ints().map(|i| i.map(|i| i as u64)).collect::<UInt64Array>()),
        _ => Arc::new(ints().map(|i| i.map(|i| i as i64)).collect::<Int64Array>()),
    };
    cast(&wide, to).unwrap()
}

/// The rows of a model, in C order, as a batch of the table's columns without their metadata.
pub(crate) fn batch(model: &Model, schema: &SchemaRef) -> RecordBatch {
    let positions: Vec<Vec<usize>> = (0..model.cells()).map(|cell| model.position(cell)).collect();
    let dims = model
        .dims
        .iter()
        .enumerate()
        .map(|(i, dim)| positions.iter().map(|position| dim.labels[position[i]]).collect::<Vec<_>>());
    let columns = dims.chain(model.vars.iter().map(|var| var.cells.clone()));
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
        .collect();
    let arrays = columns.zip(&fields).map(|(values, field)| array(&values, field.data_type())).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// A value of an answer.
#[derive(Debug, Clone)]
enum Cell {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

impl Cell {
    fn float(&self) -> Option<f64> {
        match self {
            Cell::Int(i) => Some(*i as f64),
            Cell::Float(f) => Some(*f),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Cell::Null => 0,
            Cell::Bool(_) => 1,
            Cell::Int(_) => 2,
            Cell::Float(_) => 3,
            Cell::Text(_) => 4,
        }
    }
}

impl Ord for Cell {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
            (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
            (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cell {}

/// The cells of a column: one zero, one NaN; nested values as text.
fn cells(array: &ArrayRef) -> Vec<Cell> {
    fn pick(array: &dyn Array, cell: impl Fn(usize) -> Cell) -> Vec<Cell> {
        (0..array.len()).map(|i| if array.is_null(i) { Cell::Null } else { cell(i) }).collect()
    }
    match array.data_type() {
        DataType::Null => vec![Cell::Null; array.len()],
        DataType::Boolean => pick(array, |i| Cell::Bool(array.as_boolean().value(i))),
        DataType::UInt64 => pick(array, |i| Cell::Int(array.as_primitive::<UInt64Type>().value(i).into())),
        DataType::Decimal128(_, 0) => {
            pick(array, |i| Cell::Int(array.as_primitive::<Decimal128Type>().value(i)))
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
            let wide = cast(array, &DataType::Float64).unwrap();
            let wide = wide.as_primitive::<Float64Type>();
            pick(array, |i| {
                let value = wide.value(i);
                Cell::Float(if value.is_nan() { f64::NAN } else { value + 0.0 })
            })
        }
        to if to.is_integer() || matches!(to, DataType::Timestamp(..) | DataType::Date32) => {
            let wide = cast(array, &DataType::Int64).unwrap();
            let wide = wide.as_primitive::<Int64Type>();
            pick(array, |i| Cell::Int(wide.value(i).into()))
        }
        _ => {
            let options = FormatOptions::default();
            let text = ArrayFormatter::try_new(array.as_ref(), &options).unwrap();
            pick(array, |i| Cell::Text(text.value(i).to_string()))
        }
    }
}

/// The rows of an answer, and the types of its columns.
#[derive(Debug)]
struct Rows {
    types: Vec<DataType>,
    rows: Vec<Vec<Cell>>,
}

/// Runs a query; a panic is an error, too.
async fn run(ctx: &SessionContext, sql: &str) -> Result<Rows, String> {
    let caught = AssertUnwindSafe(answer(ctx, sql)).catch_unwind().await;
    caught.unwrap_or_else(|_| Err("a panic".into()))
}

async fn answer(ctx: &SessionContext, sql: &str) -> Result<Rows, String> {
    let frame = ctx.sql(sql).await.map_err(|e| e.to_string())?;
    let types = frame.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let batches = frame.collect().await.map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<Vec<Cell>> = batch.columns().iter().map(cells).collect();
        rows.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()),
        );
    }
    Ok(Rows { types, rows })
}

/// How two answers came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Agreement {
    Answers,
    /// Plain DataFusion fails, for this reason; so does Millibar, or the reason is no fault of the statement.
    Refused(String),
}

/// Puts a statement to a session with the tensor table and to one with plain tables; what differs, if anything.
pub(crate) async fn agree(
    ours: &[&SessionContext],
    plain: &SessionContext,
    statement: &Statement,
) -> Result<Agreement, String> {
    let want = run(plain, &statement.plain_sql()).await;
    let mut agreement = Agreement::Answers;
    for (n, ctx) in ours.iter().enumerate() {
        let got = run(ctx, &statement.sql()).await;
        let checked = match (&want, got) {
            // A limit may spare Millibar the row that plain DataFusion fails on.
            (Err(why), got) if got.is_err() || statement.limit.is_some() || is_bug(why) => {
                agreement = Agreement::Refused(why.clone());
                Ok(())
            }
            (Err(why), _) => Err(format!("an answer, wanted the error `{why}`")),
            (Ok(_), Err(why)) if why.contains(CONFLICT) => {
                agreement = Agreement::Refused(why);
                Ok(())
            }
            (Ok(_), Err(why)) => Err(why),
            (Ok(want), Ok(got)) => compare(statement, want, got),
        };
        checked.map_err(|why| {
            let path = if n == 0 { "on the grid" } else { "through rows" };
            format!("{}\nplain: {}\n{path}: {why}", statement.sql(), statement.plain_sql())
        })?;
    }
    Ok(agreement)
}

/// What DataFusion says of aggregates of different orders, one of which it needn't sort for (a percentile `WITHIN GROUP`
/// of labels that the scan has in order): of a plain table it overlooks that the two conflict.
const CONFLICT: &str = "Conflicting ordering requirements in aggregate functions is not supported";

/// Whether plain DataFusion fails by a fault of its own (seen in planning common expressions, and in names of casts
/// that change nothing), or can't do what the grid can (aggregates of different orders).
fn is_bug(why: &str) -> bool {
    ["a panic", "Internal error", "duplicate unqualified field name", "not implemented"]
        .iter()
        .any(|bug| why.contains(bug))
}

fn compare(statement: &Statement, want: &Rows, got: Rows) -> Result<(), String> {
    let width = statement.outputs.len();
    if got.types != want.types[..width] {
        return Err(format!("types {:?}, wanted {:?}", got.types, &want.types[..width]));
    }
    let (offset, limit) = statement.limit.unwrap_or((0, usize::MAX));
    let rows = want.rows.len().saturating_sub(offset).min(limit);
    if got.rows.len() != rows {
        return Err(format!("{} rows, wanted {rows}", got.rows.len()));
    }
    for (n, (got, want)) in got.rows.iter().zip(&want.rows[offset.min(want.rows.len())..]).enumerate() {
        if let Some((output, _)) = statement.order.iter().find(|&&(output, _)| got[output] != want[output]) {
            return Err(format!(
                "row {n} in order: column {output} is {:?}, wanted {:?}",
                got[*output], want[*output]
            ));
        }
    }
    matching(statement, want, got)
}

/// Each row that came has one that was wanted.
fn matching(statement: &Statement, want: &Rows, got: Rows) -> Result<(), String> {
    let exact: Vec<usize> =
        (0..statement.outputs.len()).filter(|&i| statement.outputs[i].check == Check::Same).collect();
    let key = |row: &[Cell]| exact.iter().map(|&i| row[i].clone()).collect::<Vec<_>>();
    let mut wanted: BTreeMap<Vec<Cell>, Vec<&[Cell]>> = BTreeMap::new();
    for row in &want.rows {
        wanted.entry(key(row)).or_default().push(row);
    }
    for row in got.rows {
        let Some(candidates) = wanted.get_mut(&key(&row)) else {
            let near: Vec<_> = want.rows.iter().filter(|other| other[0] == row[0]).take(3).collect();
            return Err(format!("row {row:?} isn't wanted; there is {near:?}"));
        };
        let differs = |want: &&[Cell]| difference(statement, want, &row);
        match candidates.iter().position(|want| differs(want).is_none()) {
            Some(found) => drop(candidates.swap_remove(found)),
            None => {
                let why = candidates.first().and_then(differs).unwrap_or_else(|| "comes too often".into());
                return Err(format!("row {row:?}: {why}"));
            }
        }
    }
    Ok(())
}

/// The first inexact column in which a row differs by too much.
fn difference(statement: &Statement, want: &[Cell], got: &[Cell]) -> Option<String> {
    let mut scales = want[statement.outputs.len()..].iter();
    for (i, output) in statement.outputs.iter().enumerate() {
        let loose = match &output.check {
            Check::Same => continue,
            Check::Near(_) => false,
            Check::Loose(_) => true,
        };
        let scale = scales.next().and_then(Cell::float);
        if !near(&want[i], &got[i], scale, loose) {
            return Some(format!("column {i} is {:?}, wanted {:?} (scale {scale:?})", got[i], want[i]));
        }
    }
    None
}

fn near(want: &Cell, got: &Cell, scale: Option<f64>, loose: bool) -> bool {
    let finite = |number: Option<f64>| number.is_some_and(f64::is_finite);
    if loose && (scale.is_some() || want != &Cell::Null) && !(finite(want.float()) && finite(scale)) {
        return true;
    }
    match (want, got) {
        (Cell::Float(w), Cell::Float(g)) if w.is_finite() && g.is_finite() => {
            w == g || (w - g).abs() <= SHARE * scale.unwrap_or(0.0).abs()
        }
        _ => want == got,
    }
}
