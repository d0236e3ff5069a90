//! Random queries: trees that render as SQL.

use super::grid::{Kind, Model};
use super::rng::Rng;
use super::value::Value;
use std::fmt::{self, Display};

/// A comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A column as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Dim(usize),
    Var(usize),
}

/// A DOUBLE.
#[derive(Debug, Clone)]
pub(crate) enum Num {
    Column(Column),
    Literal(f64),
    Add(Box<Num>, Box<Num>),
    Sub(Box<Num>, Box<Num>),
    Mul(Box<Num>, Box<Num>),
    Abs(Box<Num>),
}

/// A function of dims.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    Dim(usize),
    /// `dim % n`, integers.
    Mod(usize, i64),
    /// `nullif(dim % n, 1)`, integers.
    NullIf(usize, i64),
    /// `floor(dim / 10)`.
    Tens(usize),
    /// `dim > 0`.
    Positive(usize),
    /// `date_part('day', dim)`.
    Day(usize),
    /// `dim + dim`, as DOUBLE.
    Sum(usize, usize),
}

/// A condition.
#[derive(Debug, Clone)]
pub(crate) enum Pred {
    Compare(Column, Op, Value),
    Between(Column, Value, Value),
    In(Column, Vec<Value>, bool),
    KeyIs(Key, Value),
    Num(Num, Op, f64),
    IsNull(usize, bool),
    Bool(usize),
    And(Box<Pred>, Box<Pred>),
    Or(Box<Pred>, Box<Pred>),
    Not(Box<Pred>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Func {
    Count,
    Sum,
    Avg,
    Mean,
    Min,
    Max,
    Var,
    VarPop,
    Stddev,
    StddevPop,
    Std,
}

#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Star,
    Column(Column),
    Num(Num),
}

/// An aggregate with its filter.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub func: Func,
    pub arg: Arg,
    pub filter: Option<Pred>,
}

/// `SELECT keys, calls FROM t WHERE filter GROUP BY keys HAVING count(*) > having`.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub keys: Vec<Key>,
    pub calls: Vec<Call>,
    pub filter: Option<Pred>,
    pub having: Option<i64>,
}

/// Makes queries for one grid.
pub(crate) struct Generator<'a> {
    pub model: &'a Model,
    pub rng: &'a mut Rng,
}

impl Generator<'_> {
    pub(crate) fn query(&mut self) -> Query {
        let keys = match self.rng.below(4) {
            0 => Vec::new(),
            1 | 2 => vec![self.key()],
            _ => (0..self.rng.below(3) + 1).map(|_| self.key()).collect(),
        };
        let mut calls: Vec<Call> = (0..self.rng.below(4) + 1).map(|_| self.call()).collect();
        if !keys.is_empty() && self.rng.one_in(12) {
            calls.clear();
        }
        let filter = match self.rng.below(8) {
            0 | 1 => None,
            2..=5 => Some(self.pred(2, false)),
            _ => Some(self.pred(2, true)),
        };
        let having = (!keys.is_empty() && self.rng.one_in(6)).then(|| self.rng.between(0, 40));
        Query { keys, calls, filter, having }
    }

    fn dim(&mut self) -> usize {
        self.rng.below(self.model.dims.len())
    }

    fn var(&mut self) -> usize {
        self.rng.below(self.model.vars.len())
    }

    fn key(&mut self) -> Key {
        let dim = self.dim();
        let n = self.rng.between(2, 4);
        match (self.model.dims[dim].kind, self.rng.below(4)) {
            (_, 0 | 1) | (Kind::Text, _) => Key::Dim(dim),
            (Kind::Time, _) => Key::Day(dim),
            (Kind::Int, 2) => Key::Mod(dim, n),
            (Kind::Int, _) => Key::NullIf(dim, n),
            (Kind::Float, 2) if self.rng.one_in(2) => Key::Positive(dim),
            (Kind::Float, 2) => Key::Tens(dim),
            (Kind::Float, _) => {
                let other = self.dim();
                if self.model.dims[other].is_numeric() { Key::Sum(dim, other) } else { Key::Dim(dim) }
            }
        }
    }

    fn call(&mut self) -> Call {
        use Func::*;
        let func =
            *self.rng.pick(&[Count, Count, Sum, Avg, Mean, Min, Max, Var, VarPop, Stddev, StddevPop, Std]);
        let arg = match self.rng.below(8) {
            0 | 1 if func == Count => Arg::Star,
            0 => match self.num(2) {
                // A bare cast may be of a DOUBLE, and then have the name of the column itself.
                column @ Num::Column(_) => Arg::Num(Num::Abs(Box::new(column))),
                num => Arg::Num(num),
            },
            1 => Arg::Column(Column::Dim(self.dim())),
            _ => Arg::Column(Column::Var(self.var())),
        };
        let numeric = match arg {
            Arg::Column(Column::Dim(dim)) => self.model.dims[dim].is_numeric(),
            Arg::Column(Column::Var(var)) => !self.model.vars[var].is_bool(),
            _ => true,
        };
        let func = if numeric || matches!(func, Count | Min | Max) { func } else { Count };
        let filter = self.rng.one_in(6).then(|| {
            let values = self.rng.one_in(2);
            self.pred(1, values)
        });
        Call { func, arg, filter }
    }

    fn num(&mut self, depth: usize) -> Num {
        let pick = if depth == 0 { self.rng.below(3) } else { self.rng.below(7) };
        let mut inner = || Box::new(self.num(depth - 1));
        match pick {
            3 => Num::Add(inner(), inner()),
            4 => Num::Sub(inner(), inner()),
            5 => Num::Mul(inner(), inner()),
            6 => Num::Abs(inner()),
            0 => Num::Literal(self.rng.between(-40, 40) as f64 / 4.0),
            1 => match self.dim() {
                dim if !self.model.dims[dim].is_numeric() => Num::Literal(2.5),
                dim => Num::Column(Column::Dim(dim)),
            },
            _ => match self.var() {
                var if self.model.vars[var].is_bool() || self.model.special => Num::Literal(-1.5),
                var => Num::Column(Column::Var(var)),
            },
        }
    }

    fn op(&mut self) -> Op {
        *self.rng.pick(&[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge])
    }

    /// A predicate over dims, and over values too if `values`.
    fn pred(&mut self, depth: usize, values: bool) -> Pred {
        if depth > 0 && self.rng.one_in(2) {
            let (a, b) = (Box::new(self.pred(depth - 1, values)), Box::new(self.pred(depth - 1, values)));
            return match self.rng.below(5) {
                0 | 1 => Pred::And(a, b),
                2 | 3 => Pred::Or(a, b),
                _ => Pred::Not(a),
            };
        }
        if values && self.rng.one_in(2) {
            return self.value_pred();
        }
        let column = Column::Dim(self.dim());
        match self.rng.below(6) {
            0 | 1 => Pred::Compare(column, self.op(), near(self.model, self.rng, column)),
            2 => {
                Pred::Between(column, near(self.model, self.rng, column), near(self.model, self.rng, column))
            }
            3 => {
                let list = (0..self.rng.below(3) + 1).map(|_| near(self.model, self.rng, column)).collect();
                Pred::In(column, list, self.rng.one_in(3))
            }
            4 => match self.key() {
                Key::Mod(dim, n) => Pred::KeyIs(Key::Mod(dim, n), Value::Int(1)),
                Key::Day(dim) => Pred::KeyIs(Key::Day(dim), Value::Int(i128::from(self.rng.between(1, 4)))),
                Key::Tens(dim) => Pred::KeyIs(Key::Tens(dim), Value::Float(self.rng.between(-3, 3) as f64)),
                _ => Pred::Compare(column, self.op(), near(self.model, self.rng, column)),
            },
            _ => match (self.dim(), self.dim()) {
                (a, b) if [a, b].iter().all(|&d| self.model.dims[d].is_numeric()) => {
                    let column = |dim| Box::new(Num::Column(Column::Dim(dim)));
                    Pred::Num(Num::Add(column(a), column(b)), self.op(), self.rng.between(-20, 40) as f64)
                }
                _ => Pred::Compare(column, self.op(), near(self.model, self.rng, column)),
            },
        }
    }

    fn value_pred(&mut self) -> Pred {
        let var = self.var();
        if self.model.vars[var].is_bool() {
            return if self.rng.one_in(2) { Pred::Bool(var) } else { Pred::IsNull(var, self.rng.one_in(2)) };
        }
        match self.rng.below(4) {
            0 => Pred::IsNull(var, self.rng.one_in(2)),
            1 => Pred::Num(self.num(1), self.op(), self.rng.between(-30, 30) as f64),
            _ => Pred::Compare(Column::Var(var), self.op(), near(self.model, self.rng, Column::Var(var))),
        }
    }
}

/// A value that occurs in the column, mostly.
pub(crate) fn near(model: &Model, rng: &mut Rng, column: Column) -> Value {
    match column {
        Column::Dim(dim) => *rng.pick(&model.dims[dim].labels),
        Column::Var(var) => match *rng.pick(&model.vars[var].cells) {
            Value::Null if model.vars[var].is_bool() => Value::Bool(true),
            Value::Null => Value::Int(3),
            Value::Float(f) if !f.is_finite() => Value::Float(200.5),
            value => value,
        },
    }
}

/// Something that reads as SQL once the names of columns are known.
pub(crate) trait Sql {
    fn sql(&self, model: &Model) -> String;
}

impl Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Eq => "=",
            Op::Ne => "<>",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
        })
    }
}

/// A name as it is, capitals included.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

impl Sql for Column {
    fn sql(&self, model: &Model) -> String {
        match *self {
            Column::Dim(dim) => quoted(&model.dims[dim].name),
            Column::Var(var) => quoted(&model.vars[var].name),
        }
    }
}

/// A literal of the column's own type, as far as SQL text has one.
pub(crate) fn literal(column: Column, value: Value, model: &Model) -> String {
    match (column, value) {
        (Column::Dim(dim), Value::Int(ns)) if model.dims[dim].kind == Kind::Time => {
            let time = chrono::DateTime::from_timestamp_nanos(ns as i64);
            format!("TIMESTAMP '{}'", time.format("%Y-%m-%dT%H:%M:%S%.9f"))
        }
        (_, Value::Float(f)) => format!("{f:?}"),
        (_, Value::Int(i)) => i.to_string(),
        (_, Value::Bool(b)) => b.to_string(),
        (_, Value::Text(text)) => format!("'{text}'"),
        (_, Value::Null) => "NULL".into(),
    }
}

impl Sql for Num {
    fn sql(&self, model: &Model) -> String {
        match self {
            Num::Column(column) => format!("CAST({} AS DOUBLE)", column.sql(model)),
            Num::Literal(f) => format!("CAST({f:?} AS DOUBLE)"),
            Num::Add(a, b) => format!("({} + {})", a.sql(model), b.sql(model)),
            Num::Sub(a, b) => format!("({} - {})", a.sql(model), b.sql(model)),
            Num::Mul(a, b) => format!("({} * {})", a.sql(model), b.sql(model)),
            Num::Abs(a) => format!("abs({})", a.sql(model)),
        }
    }
}

impl Sql for Key {
    fn sql(&self, model: &Model) -> String {
        let name = |dim: usize| quoted(&model.dims[dim].name);
        match *self {
            Key::Dim(dim) => name(dim),
            Key::Mod(dim, n) => format!("{} % {n}", name(dim)),
            Key::NullIf(dim, n) => format!("nullif({} % {n}, 1)", name(dim)),
            Key::Tens(dim) => format!("floor({} / 10.0)", name(dim)),
            Key::Positive(dim) => format!("{} > 0.0", name(dim)),
            Key::Day(dim) => format!("date_part('day', {})", name(dim)),
            Key::Sum(a, b) => format!("CAST({} AS DOUBLE) + CAST({} AS DOUBLE)", name(a), name(b)),
        }
    }
}

impl Sql for Pred {
    fn sql(&self, model: &Model) -> String {
        match self {
            Pred::Compare(column, op, value) => {
                format!("{} {op} {}", column.sql(model), literal(*column, *value, model))
            }
            Pred::Between(column, low, high) => {
                let (low, high) = (literal(*column, *low, model), literal(*column, *high, model));
                format!("{} BETWEEN {low} AND {high}", column.sql(model))
            }
            Pred::In(column, values, negated) => {
                let values: Vec<_> = values.iter().map(|&value| literal(*column, value, model)).collect();
                let not = if *negated { "NOT " } else { "" };
                format!("{} {not}IN ({})", column.sql(model), values.join(", "))
            }
            Pred::KeyIs(key, value) => {
                let value = match value {
                    Value::Float(f) => format!("{f:?}"),
                    other => other.key(),
                };
                format!("{} = {value}", key.sql(model))
            }
            Pred::Num(num, op, value) => format!("{} {op} {value:?}", num.sql(model)),
            Pred::IsNull(var, negated) => {
                format!("{} IS {}NULL", quoted(&model.vars[*var].name), if *negated { "NOT " } else { "" })
            }
            Pred::Bool(var) => quoted(&model.vars[*var].name),
            Pred::And(a, b) => format!("({} AND {})", a.sql(model), b.sql(model)),
            Pred::Or(a, b) => format!("({} OR {})", a.sql(model), b.sql(model)),
            Pred::Not(a) => format!("NOT ({})", a.sql(model)),
        }
    }
}

impl Sql for Call {
    fn sql(&self, model: &Model) -> String {
        let func = match self.func {
            Func::Count => "count",
            Func::Sum => "sum",
            Func::Avg => "avg",
            Func::Mean => "mean",
            Func::Min => "min",
            Func::Max => "max",
            Func::Var => "var",
            Func::VarPop => "var_pop",
            Func::Stddev => "stddev",
            Func::StddevPop => "stddev_pop",
            Func::Std => "std",
        };
        let arg = match &self.arg {
            Arg::Star => "*".into(),
            Arg::Column(column) => column.sql(model),
            Arg::Num(num) => num.sql(model),
        };
        let filter = self.filter.as_ref().map(|filter| format!(" FILTER (WHERE {})", filter.sql(model)));
        format!("{func}({arg}){}", filter.unwrap_or_default())
    }
}

impl Sql for Query {
    fn sql(&self, model: &Model) -> String {
        let keys: Vec<_> =
            self.keys.iter().enumerate().map(|(i, k)| format!("{} AS k{i}", k.sql(model))).collect();
        let calls = self.calls.iter().enumerate().map(|(i, call)| format!("{} AS a{i}", call.sql(model)));
        let select: Vec<_> = keys.into_iter().chain(calls).collect();
        let mut sql = format!("SELECT {} FROM t", select.join(", "));
        if let Some(filter) = &self.filter {
            sql += &format!(" WHERE {}", filter.sql(model));
        }
        if !self.keys.is_empty() {
            let positions: Vec<_> = (1..=self.keys.len()).map(|i| i.to_string()).collect();
            sql += &format!(" GROUP BY {}", positions.join(", "));
        }
        if let Some(having) = self.having {
            sql += &format!(" HAVING count(*) > {having}");
        }
        sql
    }
}
