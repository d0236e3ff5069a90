//! Answers from plain vectors, cell by cell.

use super::grid::Model;
use super::query::{Arg, Call, Column, Func, Key, Num, Op, Pred, Query};
use super::value::{Value, and, or};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a column of an answer must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    Exact(Value),
    /// Within `error` of `value`.
    Near {
        value: f64,
        error: f64,
    },
    /// Anything: deviations from an infinite or undefined mean have no one answer.
    Undefined,
}

impl Expected {
    pub(crate) fn admits(&self, got: Value) -> bool {
        match *self {
            Expected::Exact(want) => {
                (want.is_null() && got.is_null()) || want.compare(got) == Some(Ordering::Equal)
            }
            Expected::Undefined => true,
            Expected::Near { value, error } => got.float().is_some_and(|got| (got - value).abs() <= error),
        }
    }
}

/// One cell of the grid as a row.
struct Row<'a> {
    model: &'a Model,
    position: Vec<usize>,
    cell: usize,
}

impl Row<'_> {
    fn column(&self, column: Column) -> Value {
        match column {
            Column::Dim(dim) => self.model.dims[dim].labels[self.position[dim]],
            Column::Var(var) => self.model.vars[var].cells[self.cell],
        }
    }

    fn num(&self, num: &Num) -> Option<f64> {
        Some(match num {
            Num::Column(column) => self.column(*column).float()?,
            Num::Literal(f) => *f,
            Num::Add(a, b) => self.num(a)? + self.num(b)?,
            Num::Sub(a, b) => self.num(a)? - self.num(b)?,
            Num::Mul(a, b) => self.num(a)? * self.num(b)?,
            Num::Abs(a) => self.num(a)?.abs(),
        })
    }

    fn key(&self, key: Key) -> Value {
        let int = |dim: usize| match self.column(Column::Dim(dim)) {
            Value::Int(i) => i,
            other => panic!("{other:?} is no integer"),
        };
        let float = |dim: usize| self.column(Column::Dim(dim)).float().unwrap();
        match key {
            Key::Dim(dim) => self.column(Column::Dim(dim)),
            Key::Mod(dim, n) => Value::Int(int(dim) % i128::from(n)),
            Key::NullIf(dim, n) => match int(dim) % i128::from(n) {
                1 => Value::Null,
                other => Value::Int(other),
            },
            Key::Tens(dim) => Value::Float((float(dim) / 10.0).floor()),
            Key::Positive(dim) => Value::Bool(float(dim) > 0.0),
            Key::Day(dim) => {
                let time = chrono::DateTime::from_timestamp_nanos(int(dim) as i64);
                Value::Int(time.format("%d").to_string().parse().unwrap())
            }
            Key::Sum(a, b) => Value::Float(float(a) + float(b)),
        }
    }

    fn pred(&self, pred: &Pred) -> Option<bool> {
        match pred {
            Pred::Compare(column, op, value) => Some(holds(*op, self.column(*column).compare(*value)?)),
            Pred::Between(column, low, high) => {
                let value = self.column(*column);
                and(value.compare(*low).map(Ordering::is_ge), value.compare(*high).map(Ordering::is_le))
            }
            Pred::In(column, values, negated) => {
                let value = self.column(*column);
                let found =
                    values.iter().map(|&v| value.compare(v).map(Ordering::is_eq)).fold(Some(false), or)?;
                Some(found != *negated)
            }
            Pred::KeyIs(key, value) => self.key(*key).compare(*value).map(Ordering::is_eq),
            Pred::Num(num, op, value) => {
                Some(holds(*op, Value::Float(self.num(num)?).compare(Value::Float(*value))?))
            }
            Pred::IsNull(var, negated) => Some(self.column(Column::Var(*var)).is_null() != *negated),
            Pred::Bool(var) => match self.column(Column::Var(*var)) {
                Value::Bool(b) => Some(b),
                _ => None,
            },
            Pred::And(a, b) => and(self.pred(a), self.pred(b)),
            Pred::Or(a, b) => or(self.pred(a), self.pred(b)),
            Pred::Not(a) => self.pred(a).map(|b| !b),
        }
    }

    fn arg(&self, arg: &Arg) -> Value {
        match arg {
            Arg::Star => Value::Int(1),
            Arg::Column(column) => self.column(*column),
            Arg::Num(num) => self.num(num).map_or(Value::Null, Value::Float),
        }
    }
}

fn holds(op: Op, ordering: Ordering) -> bool {
    match op {
        Op::Eq => ordering.is_eq(),
        Op::Ne => ordering.is_ne(),
        Op::Lt => ordering.is_lt(),
        Op::Le => ordering.is_le(),
        Op::Gt => ordering.is_gt(),
        Op::Ge => ordering.is_ge(),
    }
}

/// Rows of the answer by the text of their keys.
pub(crate) type Answer = BTreeMap<Vec<String>, Vec<Expected>>;

/// The answer to `query`.
pub(crate) fn answer(model: &Model, query: &Query) -> Answer {
    let mut groups: BTreeMap<Vec<String>, (usize, Vec<Vec<Value>>)> = BTreeMap::new();
    if query.keys.is_empty() {
        groups.insert(Vec::new(), (0, vec![Vec::new(); query.calls.len()]));
    }
    for cell in 0..model.cells() {
        let row = Row { model, position: model.position(cell), cell };
        if query.filter.as_ref().is_some_and(|filter| row.pred(filter) != Some(true)) {
            continue;
        }
        let keys = query.keys.iter().map(|&key| row.key(key).key()).collect();
        let group = groups.entry(keys).or_insert_with(|| (0, vec![Vec::new(); query.calls.len()]));
        group.0 += 1;
        for (call, values) in query.calls.iter().zip(&mut group.1) {
            let value = row.arg(&call.arg);
            let kept = call.filter.as_ref().is_none_or(|filter| row.pred(filter) == Some(true));
            if kept && !value.is_null() {
                values.push(value);
            }
        }
    }
    let having = query.having.unwrap_or(-1);
    let kept = groups.into_iter().filter(|(_, (rows, _))| *rows as i64 > having);
    kept.map(|(keys, (_, values))| {
        (keys, query.calls.iter().zip(values).map(|(call, values)| reduce(call, &values)).collect())
    })
    .collect()
}

/// Sum and sum of magnitudes, compensated.
pub(crate) fn sums(values: &[f64]) -> (f64, f64) {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for &value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    (sum + lost, values.iter().map(|value| value.abs()).sum())
}

fn reduce(call: &Call, values: &[Value]) -> Expected {
    let n = values.len();
    if call.func == Func::Count {
        return Expected::Exact(Value::Int(n as i128));
    }
    let sample = matches!(call.func, Func::Var | Func::Stddev);
    if n == 0 || (sample && n == 1) {
        return Expected::Exact(Value::Null);
    }
    let extreme = |keep: Ordering| {
        values.iter().copied().reduce(|a, b| if b.compare(a) == Some(keep) { b } else { a }).unwrap()
    };
    match call.func {
        Func::Min => return Expected::Exact(extreme(Ordering::Less)),
        Func::Max => return Expected::Exact(extreme(Ordering::Greater)),
        Func::Sum if values.iter().all(|value| matches!(value, Value::Int(_))) => {
            let ints = values.iter().map(|value| if let Value::Int(i) = value { *i } else { 0 });
            return Expected::Exact(Value::Int(ints.sum()));
        }
        _ => {}
    }
    let floats: Vec<f64> = values.iter().filter_map(|value| value.float()).collect();
    if floats.iter().any(|value| !value.is_finite()) {
        let sum: f64 = floats.iter().sum();
        return match call.func {
            Func::Sum | Func::Avg | Func::Mean => Expected::Exact(Value::Float(sum)),
            _ => Expected::Undefined,
        };
    }
    let (sum, magnitude) = sums(&floats);
    let mean = sum / n as f64;
    match call.func {
        Func::Sum => Expected::Near { value: sum, error: 1e-12 * magnitude },
        Func::Avg | Func::Mean => Expected::Near { value: mean, error: 1e-12 * magnitude / n as f64 },
        _ => spread(call.func, &floats, mean),
    }
}

/// Sum of the squared deviations from the mean.
pub(crate) fn m2(values: &[f64], mean: f64) -> f64 {
    let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let squares: Vec<f64> = deviations.iter().map(|d| d * d).collect();
    // The correction takes out what rounding of the mean left in.
    let m2 = sums(&squares).0 - sums(&deviations).0.powi(2) / values.len() as f64;
    if m2 < 0.0 { 0.0 } else { m2 }
}

fn spread(func: Func, values: &[f64], mean: f64) -> Expected {
    let n = values.len() as f64;
    let divisor = if matches!(func, Func::Var | Func::Stddev) { n - 1.0 } else { n };
    let variance = m2(values, mean) / divisor;
    let error = 1e-12 * variance + 1e-13 * mean.abs() * variance.sqrt() + 1e-25 * mean * mean;
    if matches!(func, Func::Var | Func::VarPop) {
        return Expected::Near { value: variance, error };
    }
    let value = variance.sqrt();
    Expected::Near {
        value,
        error: if value > 0.0 { (error / value).min(error.sqrt()) } else { error.sqrt() },
    }
}
