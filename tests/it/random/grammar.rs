//! Random statements: everything that SQL can ask of a grid, as text.
//!
//! Answers have to be determined by the data: what depends on the order of rows is ordered by all dims, and floats
//! whose last bits depend on the order of additions come with a scale for their error.

use super::aggregates;
use super::grid::{Kind, Model};
use super::query::{self, Column, Sql};
use super::rng::Rng;
use super::statement::{Check, Output, Statement};
use super::value::Value;
use millibar::tgm::DType;
use std::collections::BTreeSet;

/// What a statement may speak of beside the grid itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside<'a> {
    /// The dims that the table `d` has labels of, as columns `j0` and `j1`; it also has a `name` and a `weight`.
    pub side: &'a [usize],
    /// Whether `d` has no labels twice.
    pub side_unique: bool,
}

/// Makes statements for one grid.
pub(crate) struct Grammar<'a> {
    pub model: &'a Model,
    pub rng: &'a mut Rng,
    pub beside: Beside<'a>,
    /// Whether the statement at hand joins `d`.
    joined: bool,
    /// Whether it groups in several ways at once.
    sets: bool,
    /// Whether a row is told from all others by its dims.
    unique: bool,
    /// Whether predicates may ask other tables: in `WHERE` alone.
    subqueries: bool,
    /// Whether expressions may make NaN.
    nan: bool,
    /// See [`Statement::rewrites`].
    rewrites: Vec<(String, String)>,
}

const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

impl<'a> Grammar<'a> {
    pub(crate) fn new(model: &'a Model, rng: &'a mut Rng, beside: Beside<'a>) -> Self {
        Self {
            model,
            rng,
            beside,
            joined: false,
            sets: false,
            unique: false,
            subqueries: false,
            nan: true,
            rewrites: Vec::new(),
        }
    }

    pub(crate) fn statement(&mut self) -> Statement {
        (self.joined, self.sets) = (false, false);
        self.unique = self.model.dims.iter().all(|dim| dim.is_unique());
        let statement = match self.rng.below(20) {
            0..=12 => self.aggregate(),
            13..=16 => self.rows(),
            17 => self.distinct(),
            18 => self.nested(),
            _ => self.union(),
        };
        Statement { rewrites: std::mem::take(&mut self.rewrites), ..statement }
    }

    /// `FROM`: the grid, alone or joined.
    fn from(&mut self) -> String {
        if !self.rng.one_in(7) {
            return "t".into();
        }
        self.joined = true;
        self.unique &= self.beside.side_unique;
        let on: Vec<String> = self
            .beside
            .side
            .iter()
            .enumerate()
            .map(|(i, &dim)| format!("t.{} = d.j{i}", self.dim_name(dim)))
            .collect();
        let mut on = on.join(" AND ");
        if self.rng.one_in(6) {
            on += &format!(" AND {}", self.pred(0, true));
        }
        match self.rng.below(5) {
            0 => format!("t LEFT JOIN d ON {on}"),
            1 => format!("d JOIN t ON {on}"),
            _ => format!("t JOIN d ON {on}"),
        }
    }

    fn filter(&mut self) -> Option<String> {
        self.subqueries = true;
        let filter = match self.rng.below(8) {
            0 | 1 => None,
            2..=4 => Some(self.pred(2, false)),
            _ => Some(self.pred(2, true)),
        };
        self.subqueries = false;
        filter
    }

    fn aggregate(&mut self) -> Statement {
        let from = self.from();
        let mut keys: Vec<String> = match self.rng.below(6) {
            0 | 1 => Vec::new(),
            2 | 3 => vec![self.key()],
            _ => (0..self.rng.below(3) + 1).map(|_| self.key()).collect(),
        };
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        let mut outputs: Vec<Output> = keys.iter().map(Output::same).collect();
        let group = (!keys.is_empty()).then(|| self.grouping(&keys, &mut outputs));
        let few = self.rng.below(4) + 1;
        outputs.extend((0..few).map(|_| self.call()));
        let having = (group.is_some() && self.rng.one_in(6)).then(|| self.having());
        let mut statement =
            Statement { from, outputs, filter: self.filter(), group, having, ..Statement::default() };
        if statement.group.is_some() && self.rng.one_in(3) {
            self.order(&mut statement);
        }
        statement
    }

    /// `GROUP BY`: plain, or several groupings at once, told apart by `grouping(key)`.
    fn grouping(&mut self, keys: &[String], outputs: &mut Vec<Output>) -> String {
        let list = keys.join(", ");
        let (sets, grouped) = match self.rng.below(10) {
            0 => (true, format!("ROLLUP ({list})")),
            1 => (true, format!("CUBE ({list})")),
            2 => {
                let last = keys.last().map_or("", String::as_str);
                (true, format!("GROUPING SETS (({list}), ({last}), ())"))
            }
            _ => (false, list),
        };
        self.sets = sets;
        if sets {
            // DataFusion doesn't sort by a key that a filter makes constant, although it is NULL in some sets.
            outputs.iter_mut().for_each(|key| key.nulled = true);
            outputs.extend(keys.iter().map(|key| Output::same(format!("grouping({key})"))));
        }
        grouped
    }

    fn call(&mut self) -> Output {
        let filter = if self.rng.one_in(6) {
            let values = self.rng.one_in(2);
            format!(" FILTER (WHERE {})", self.pred(1, values))
        } else {
            String::new()
        };
        aggregates::call(self, &filter)
    }

    fn having(&mut self) -> String {
        let least = self.rng.between(0, 30);
        match self.rng.below(3) {
            0 => format!("count(*) > {least}"),
            1 => format!("count({}) <= {least}", self.var_name(0)),
            _ => {
                let column = self.any_column();
                format!("max({}) >= {}", column.sql(self.model), self.near(column))
            }
        }
    }

    /// Orders a statement by some of its exact columns, and takes a part.
    fn order(&mut self, statement: &mut Statement) {
        let exact: Vec<usize> = (0..statement.outputs.len())
            .filter(|&i| statement.outputs[i].check == Check::Same && !statement.outputs[i].nulled)
            .collect();
        if exact.is_empty() {
            return;
        }
        for _ in 0..self.rng.below(3) + 1 {
            let output = *self.rng.pick(&exact);
            let direction = *self.rng.pick(&["ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST", ""]);
            if statement.order.iter().all(|&(other, _)| other != output) {
                statement.order.push((output, direction));
            }
        }
        // The first few of lists with NULLs in them depend on how they come in batches: the filter that DataFusion's
        // TopK puts before its heap has NULLs first, the heap itself has them where they are asked for.
        let lists = statement.order.iter().any(|&(at, _)| statement.outputs[at].sql.starts_with("array_agg"));
        if self.rng.one_in(2) && !lists {
            statement.limit = Some(self.limit());
        }
    }

    fn limit(&mut self) -> (usize, usize) {
        let offset = if self.rng.one_in(4) { self.rng.below(6) } else { 0 };
        (offset, self.rng.below(12))
    }

    fn rows(&mut self) -> Statement {
        let from = self.from();
        let mut outputs: Vec<Output> = Vec::new();
        for _ in 0..self.rng.below(4) + 1 {
            let sql = match self.rng.below(8) {
                0 => self.ordered(2, true),
                1 => self.key(),
                2 if self.joined => "name".into(),
                _ => self.any_column().sql(self.model),
            };
            outputs.push(Output::same(sql));
        }
        let mut statement = Statement { from, outputs, filter: self.filter(), ..Statement::default() };
        match self.rng.below(4) {
            0 => self.order(&mut statement),
            1 => statement.limit = Some(self.limit()),
            _ => {}
        }
        statement
    }

    fn distinct(&mut self) -> Statement {
        let from = self.from();
        let outputs = (0..self.rng.below(3) + 1)
            .map(|_| {
                let value = self.rng.one_in(5);
                Output::same(if value { self.any_column().sql(self.model) } else { self.key() })
            })
            .collect();
        let mut statement =
            Statement { distinct: true, from, outputs, filter: self.filter(), ..Statement::default() };
        if self.rng.one_in(3) {
            self.order(&mut statement);
        }
        statement
    }

    /// Aggregates of aggregates.
    fn nested(&mut self) -> Statement {
        let (a, b) = (self.key(), format!("concat({}, '')", self.key()));
        let inner = *self.rng.pick(&["min", "max", "count"]);
        let arg = self.any_column().sql(self.model);
        let filter = self.filter().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let from =
            format!("(SELECT {a} AS a, {b} AS b, {inner}({arg}) AS x FROM t{filter} GROUP BY {a}, {b}) AS q");
        let outer: Vec<&str> =
            vec!["a", "count(*)", "count(x)", "min(x)", "max(x)", "count(DISTINCT x)", "count(DISTINCT b)"];
        let outputs = outer.into_iter().map(Output::same).collect();
        Statement { from, outputs, group: Some("a".into()), ..Statement::default() }
    }

    /// Two answers as one.
    fn union(&mut self) -> Statement {
        let key = self.key();
        let arg = self.any_column().sql(self.model);
        let part = |grammar: &mut Self, n: usize| {
            let filter = grammar.filter().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
            format!(
                "SELECT {n} AS part, {key} AS k, count({arg}) AS n, max({arg}) AS m FROM t{filter} GROUP BY {key}"
            )
        };
        let from = format!("({} UNION ALL {}) AS q", part(self, 1), part(self, 2));
        let outputs = ["part", "k", "n", "m"].into_iter().map(Output::same).collect();
        Statement { from, outputs, ..Statement::default() }
    }

    // ---- columns

    pub(crate) fn dim_name(&self, dim: usize) -> String {
        query::quoted(&self.model.dims[dim].name)
    }

    pub(crate) fn var_name(&self, var: usize) -> String {
        query::quoted(&self.model.vars[var].name)
    }

    pub(crate) fn dim(&mut self) -> usize {
        self.rng.below(self.model.dims.len())
    }

    pub(crate) fn any_column(&mut self) -> Column {
        if self.rng.one_in(3) {
            Column::Dim(self.dim())
        } else {
            Column::Var(self.rng.below(self.model.vars.len()))
        }
    }

    /// A literal like those of a column.
    fn near(&mut self, column: Column) -> String {
        let value = query::near(self.model, self.rng, column);
        query::literal(column, value, self.model)
    }

    /// All dims, in any order: what rows of a group are ordered by. `None` where that leaves their order open.
    pub(crate) fn total_order(&mut self) -> Option<String> {
        if !self.unique {
            return None;
        }
        let mut dims: Vec<usize> = (0..self.model.dims.len()).collect();
        (1..dims.len()).rev().for_each(|i| dims.swap(i, self.rng.below(i + 1)));
        let order: Vec<String> = dims
            .into_iter()
            .map(|dim| format!("{} {}", self.dim_name(dim), self.rng.pick(&["ASC", "DESC"])))
            .collect();
        Some(order.join(", "))
    }

    // ---- group keys

    fn key(&mut self) -> String {
        if self.joined && self.rng.one_in(3) {
            return (*self.rng.pick(&["name", "weight", "weight % 2", "j0"])).into();
        }
        let dim = self.dim();
        let name = self.dim_name(dim);
        match self.rng.below(16) {
            0..=5 => name,
            6 | 7 => self.key_of_several(),
            8 if !self.model.special => self.key_of_values(),
            _ => self.key_of_one(dim, &name),
        }
    }

    fn key_of_one(&mut self, dim: usize, name: &str) -> String {
        let n = self.rng.between(2, 4);
        let label = self.near(Column::Dim(dim));
        let choices: &[String] = &match self.model.dims[dim].kind {
            Kind::Time => vec![
                format!("date_part('day', {name})"),
                format!("date_part('doy', {name})"),
                format!("extract(hour FROM {name})"),
                format!("date_trunc('day', {name})"),
                format!("date_trunc('month', {name})"),
                format!("to_char({name}, '%Y-%m')"),
                format!("{name} + INTERVAL '1 day'"),
            ],
            Kind::Int => vec![
                format!("{name} % {n}"),
                format!("nullif({name} % {n}, 1)"),
                format!("{name} / {n}"),
                format!("CAST({name} AS DOUBLE)"),
                format!("CAST({name} AS VARCHAR)"),
            ],
            Kind::Float => vec![
                format!("floor({name} / 10)"),
                format!("{name} > 0"),
                format!("round({name})"),
                format!("CAST({name} AS BIGINT)"),
                format!("abs({name})"),
            ],
            Kind::Text => vec![
                format!("upper({name})"),
                format!("substr({name}, 1, 1)"),
                format!("length({name})"),
                format!("{name} || '!'"),
            ],
        };
        match self.rng.below(4) {
            0 => format!(
                "CASE WHEN {name} < {label} THEN 'low' WHEN {name} = {label} THEN 'at' ELSE 'high' END"
            ),
            _ => self.rng.pick(choices).clone(),
        }
    }

    fn key_of_several(&mut self) -> String {
        let (a, b) = (Column::Dim(self.dim()), Column::Dim(self.dim()));
        let (x, y) = (self.near(a), self.near(b));
        let (a, b) = (a.sql(self.model), b.sql(self.model));
        match self.rng.below(4) {
            0 => self.num_with_column(false),
            1 => format!("{a} > {x} OR {b} <= {y}"),
            2 => format!("CASE WHEN {a} >= {x} AND {b} < {y} THEN 'both' WHEN {b} < {y} THEN 'one' END"),
            _ => format!("concat({a}, '/', {b})"),
        }
    }

    fn key_of_values(&mut self) -> String {
        let var = self.rng.below(self.model.vars.len());
        let name = self.var_name(var);
        match self.rng.below(3) {
            0 => name,
            1 => format!("{name} IS NULL"),
            _ if self.model.vars[var].is_bool() => format!("NOT {name}"),
            _ => format!("floor({name} / 20)"),
        }
    }

    // ---- numbers

    /// A numeric expression that has a column in it, as far as there is a numeric one.
    fn num_with_column(&mut self, vars: bool) -> String {
        let vars = vars && !self.model.special;
        let column = match self.numeric_column(vars) {
            Some(column) => column,
            None => format!("length(CAST({} AS VARCHAR))", self.dim_name(0)),
        };
        match self.rng.below(3) {
            0 => column,
            1 => format!("{column} + {}", self.ordered(1, vars)),
            _ => format!("{column} * {}", self.ordered(1, vars)),
        }
    }

    /// A numeric expression that is never NaN, as far as its columns aren't. NaN from arithmetic has a sign that nobody
    /// specifies, which comparisons, extremes and groups tell apart.
    pub(crate) fn ordered(&mut self, depth: usize, vars: bool) -> String {
        let before = std::mem::replace(&mut self.nan, false);
        let num = self.num(depth, vars && !self.model.special);
        self.nan = before;
        num
    }

    fn numeric_column(&mut self, vars: bool) -> Option<String> {
        let dims = (0..self.model.dims.len())
            .filter(|&dim| matches!(self.model.dims[dim].kind, Kind::Int | Kind::Float))
            .map(Column::Dim);
        let mut columns: Vec<Column> = dims.collect();
        if vars && (columns.is_empty() || !self.rng.one_in(3)) {
            let numeric = (0..self.model.vars.len()).filter(|&var| !self.model.vars[var].is_bool());
            let numeric: Vec<Column> = numeric.map(Column::Var).collect();
            columns = if numeric.is_empty() { columns } else { numeric };
        }
        let column = (!columns.is_empty()).then(|| *self.rng.pick(&columns))?;
        Some(column.sql(self.model))
    }

    /// A numeric expression over dims, and over variables too if `vars`.
    pub(crate) fn num(&mut self, depth: usize, vars: bool) -> String {
        if depth == 0 || self.rng.one_in(4) {
            let literal = self.rng.one_in(3);
            return match (!literal).then(|| self.numeric_column(vars)).flatten() {
                Some(column) => column,
                None if self.joined && self.rng.one_in(2) => "weight".into(),
                None if self.rng.one_in(2) => self.rng.between(-9, 40).to_string(),
                None => format!("{:?}", self.rng.between(-160, 160) as f64 / 4.0),
            };
        }
        let a = self.num(depth - 1, vars);
        match self.rng.below(22) {
            0..=2 => format!("({a} + {})", self.num(depth - 1, vars)),
            3 | 4 => format!("({a} - {})", self.num(depth - 1, vars)),
            5..=7 => format!("({a} * {})", self.num(depth - 1, vars)),
            8 => format!("({a} / {})", *self.rng.pick(&["2", "8.0", "3", "-0.5"])),
            9 => format!("abs({a})"),
            10 => format!("sqrt(abs({a}))"),
            11 if self.nan => format!("power({a}, 0.5)"),
            12 => format!("(-({a}))"),
            13 => format!("cos(radians({a}))"),
            14 => format!("CAST({a} AS DOUBLE)"),
            15 => format!("coalesce({a}, {})", self.num(depth - 1, vars)),
            16 => format!("nullif({a}, {})", self.rng.between(-2, 3)),
            17 => format!("floor({a})"),
            18 => format!("power({a}, 2)"),
            19 if !self.nan => format!("greatest({a}, {})", self.num(depth - 1, vars)),
            20 => {
                let b = self.num(depth - 1, vars);
                format!("CASE WHEN {} THEN {a} ELSE {b} END", self.pred(0, vars))
            }
            _ => format!("CASE WHEN {} THEN {a} END", self.pred(0, vars)),
        }
    }

    // ---- predicates

    /// A predicate over dims, and over values too if `values`.
    pub(crate) fn pred(&mut self, depth: usize, values: bool) -> String {
        if depth > 0 && self.rng.one_in(2) {
            let (a, b) = (self.pred(depth - 1, values), self.pred(depth - 1, values));
            return match self.rng.below(6) {
                0..=2 => format!("({a} AND {b})"),
                3 | 4 => format!("({a} OR {b})"),
                _ => format!("NOT ({a})"),
            };
        }
        let column = if values && self.rng.one_in(2) {
            Column::Var(self.rng.below(self.model.vars.len()))
        } else {
            Column::Dim(self.dim())
        };
        let name = column.sql(self.model);
        let comparison = *self.rng.pick(&COMPARISONS);
        if let Column::Var(var) = column
            && self.model.vars[var].dtype == DType::Bitmask
        {
            return (*self.rng.pick(&[name.clone(), format!("NOT {name}"), format!("{name} IS NULL")]))
                .clone();
        }
        match self.rng.below(15) {
            0..=3 => format!("{name} {comparison} {}", self.near(column)),
            4 => format!("{name} BETWEEN {} AND {}", self.near(column), self.near(column)),
            5 | 6 => {
                let list: Vec<_> = (0..self.rng.below(4) + 1).map(|_| self.near(column)).collect();
                let not = if self.rng.one_in(3) { "NOT " } else { "" };
                format!("{name} {not}IN ({})", list.join(", "))
            }
            7 => format!("{name} IS {}NULL", self.rng.pick(&["", "NOT "])),
            8 | 9 => {
                let bound = self.rng.between(-60, 300);
                format!("{} {comparison} {bound}", self.num_with_column(values))
            }
            10 => format!("({name} IS DISTINCT FROM {})", self.near(column)),
            11 if self.subqueries => {
                let not = if self.rng.one_in(4) { "NOT " } else { "" };
                format!("{} {not}IN (SELECT j0 FROM d)", self.dim_name(self.beside.side[0]))
            }
            12 if self.subqueries => {
                let of = *self.rng.pick(&["min", "max"]);
                format!("{name} {comparison} (SELECT {of}({name}) FROM t)")
            }
            13 => self.nearest(),
            _ => self.dim_pred(),
        }
    }

    /// `nearest(dim, value)`, which plain DataFusion reads as a comparison with the label meant.
    fn nearest(&mut self) -> String {
        let dim = self.dim();
        let labels = &self.model.dims[dim].labels;
        let label = *self.rng.pick(labels);
        let (value, meant) = match (self.model.dims[dim].kind, label) {
            // Labels are whole numbers apart: the larger of two as near.
            (Kind::Int, Value::Int(i)) => {
                let above = labels.contains(&Value::Int(i + 1));
                (format!("{:?}", i as f64 + 0.5), if above { Value::Int(i + 1) } else { label })
            }
            // At least 0.7 apart.
            (Kind::Float, Value::Float(f)) => {
                (format!("{:?}", f + self.rng.between(-3, 3) as f64 / 10.0), label)
            }
            // Hours apart.
            (Kind::Time, Value::Int(ns)) => {
                let near = Value::Int(ns + i128::from(self.rng.between(-3600, 3600)) * 1_000_000_000);
                (query::literal(Column::Dim(dim), near, self.model), label)
            }
            _ => return self.dim_pred(),
        };
        let name = self.dim_name(dim);
        let ours = format!("nearest({name}, {value})");
        let plain = format!("({name} = {})", query::literal(Column::Dim(dim), meant, self.model));
        self.rewrites.push((ours.clone(), plain));
        ours
    }

    /// A predicate on a function of one dim.
    fn dim_pred(&mut self) -> String {
        let dim = self.dim();
        let name = self.dim_name(dim);
        let n = self.rng.between(1, 6);
        match self.model.dims[dim].kind {
            Kind::Time => format!("date_part('day', {name}) <> {n}"),
            Kind::Int => format!("{name} % 3 = {}", n % 3),
            Kind::Float => format!("floor({name} / 10) <= {}", n - 3),
            Kind::Text => format!("{name} LIKE '%{}%'", *self.rng.pick(&["a", "o", "et", "z"])),
        }
    }
}
