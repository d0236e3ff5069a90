//! DataFusion's physical expressions as steps of a program over cells.
//!
//! An expression becomes steps of the program's own where these compute the very same, bit for bit, and can't
//! fail. What mentions dims alone is evaluated on the coords, once, and becomes a table. Anything else becomes
//! one foreign step: DataFusion's own evaluation of that subtree, on the cells of a tile. Such a step may fail,
//! so it sees only the cells that its surroundings would let it see: those that predicates and filters before
//! it keep; and where an operator decides cell by cell which operand counts (AND, OR, CASE), the operator as a
//! whole becomes the foreign step.

use super::coords::{Coords, dims_of, reindex};
use super::functions::{Known, known};
use super::kinds::{
    arrow_of, columns_of, constant, converts, double, is_exact, is_number, kind_of, scattered,
};
use super::opaque::{Column as OpaqueColumn, Opaque};
use crate::dataset::GridTable;
use crate::engine::external;
use crate::engine::scan::ColumnSource;
use crate::reduce::expr::{Arith, Builder, Check, Compare, Data, Math, Node, Table, Type};
use datafusion::arrow::datatypes::*;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NegativeExpr,
    NotExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::collections::HashMap;
use std::sync::Arc;

/// Most combinations of positions of several dims that a table is made for: they stay in cache.
const TABLE: u64 = 1 << 16;

/// Longest list of values that is compared one by one.
const LIST: usize = 16;

type Expr = Arc<dyn PhysicalExpr>;

/// Makes steps of expressions over the columns of a scan.
pub(super) struct Compiler<'a> {
    pub builder: Builder,
    /// Variables that are inputs of the program, in the order of their numbers.
    pub inputs: Vec<usize>,
    /// The mask of the cells that steps which may fail are wanted for.
    pub guard: Option<Node>,
    grid: &'a GridTable,
    coords: &'a Coords,
    /// Whether NaN of float cells is NULL.
    nan_as_missing: bool,
    /// What has been made of expressions over dims.
    tables: HashMap<Expr, Option<Node>>,
    /// For each dim: the places of its positions among the selected ones.
    places: HashMap<usize, Node>,
    opaque: HashMap<(Expr, Option<Node>), Node>,
}

impl<'a> Compiler<'a> {
    /// No steps yet.
    pub(super) fn new(grid: &'a GridTable, coords: &'a Coords, nan_as_missing: bool) -> Self {
        Self {
            builder: Builder::new(),
            inputs: Vec::new(),
            guard: None,
            grid,
            coords,
            nan_as_missing,
            tables: HashMap::new(),
            places: HashMap::new(),
            opaque: HashMap::new(),
        }
    }

    /// The values of `expr`: of its own type if programs have it, else as an array of the guarded cells.
    ///
    /// # Errors
    /// If `expr` has no type; likewise below.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<Node> {
        let data_type = self.type_of(expr)?;
        if is_exact(&data_type)
            && let Some(node) = self.node(expr, false)?
        {
            return Ok(node);
        }
        self.opaque(expr, Type::Array)
    }

    /// The mask of the cells for which `expr`, a boolean, is true.
    pub(super) fn mask(&mut self, expr: &Expr) -> Result<Node> {
        let node = match self.node(expr, false)? {
            Some(node) => node,
            // A bare NULL is a condition, too.
            None => self.builder.table(constant(&ScalarValue::Boolean(None), Type::Bool)?),
        };
        self.builder.truth(node).map_err(external)
    }

    /// Leaves less to steps that may fail: the cells that `mask` keeps, too.
    pub(super) fn also(&mut self, mask: Node) -> Result<()> {
        let builder = &mut self.builder;
        let both = match self.guard {
            Some(guard) => builder.and(guard, mask).map_err(external)?,
            None => mask,
        };
        self.guard = Some(builder.truth(both).map_err(external)?);
        Ok(())
    }

    /// The number of `variable` among the inputs.
    pub(super) fn input(&mut self, variable: usize) -> usize {
        let known = self.inputs.iter().position(|&input| input == variable);
        known.unwrap_or_else(|| {
            self.inputs.push(variable);
            self.inputs.len() - 1
        })
    }

    fn type_of(&self, expr: &Expr) -> Result<DataType> {
        expr.data_type(self.coords.schema())
    }

    /// The step that computes `expr`, for all cells; `None` if there is none, or if `strict` and it could fail.
    fn node(&mut self, expr: &Expr, strict: bool) -> Result<Option<Node>> {
        let data_type = self.type_of(expr)?;
        let Some(kind) = kind_of(&data_type) else { return Ok(None) };
        if let Some(dims) = dims_of(expr, self.coords)
            && let Some(node) = self.table(expr, &dims, kind)?
        {
            return Ok(Some(node));
        }
        if let Some(node) = self.native(expr, &data_type, strict)? {
            return Ok(Some(node));
        }
        if strict { Ok(None) } else { self.opaque(expr, kind).map(Some) }
    }

    fn native(&mut self, expr: &Expr, data_type: &DataType, strict: bool) -> Result<Option<Node>> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.column(column, data_type);
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            return self.cast(cast, data_type, strict);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return self.binary(binary, data_type, strict);
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return self.with(not.arg(), strict, |builder, arg| builder.not(arg));
        }
        if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
            return self.with(null.arg(), strict, |builder, arg| builder.is_null(arg));
        }
        if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
            return self.with(null.arg(), strict, |builder, arg| {
                let null = builder.is_null(arg)?;
                builder.not(null)
            });
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            return self.negative(negative, data_type, strict);
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            return self.in_list(list, strict);
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            return self.case(case, data_type);
        }
        if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
            return self.function(function, data_type, strict);
        }
        Ok(None)
    }

    /// A step over the step of `arg`.
    fn with(
        &mut self,
        arg: &Expr,
        strict: bool,
        step: impl FnOnce(&mut Builder, Node) -> crate::Result<Node>,
    ) -> Result<Option<Node>> {
        let Some(arg) = self.node(arg, strict)? else { return Ok(None) };
        step(&mut self.builder, arg).map(Some).map_err(external)
    }

    fn column(&mut self, column: &Column, data_type: &DataType) -> Result<Option<Node>> {
        match (self.coords.source(column.index()), kind_of(data_type)) {
            (ColumnSource::Variable(variable), Some(kind)) => {
                let input = self.input(variable);
                Ok(Some(self.builder.load(input, kind)))
            }
            _ => Ok(None),
        }
    }

    fn cast(&mut self, cast: &CastExpr, to: &DataType, strict: bool) -> Result<Option<Node>> {
        let from = self.type_of(cast.expr())?;
        let Some(kind) = kind_of(to).filter(|_| converts(&from, to)) else { return Ok(None) };
        // Cells are loaded as what they are cast to.
        if let Some(column) = cast.expr().downcast_ref::<Column>()
            && from != DataType::Boolean
            && let ColumnSource::Variable(variable) = self.coords.source(column.index())
        {
            let input = self.input(variable);
            return Ok(Some(self.builder.load(input, kind)));
        }
        self.with(cast.expr(), strict, |builder, arg| builder.cast(arg, kind))
    }

    fn binary(&mut self, binary: &BinaryExpr, data_type: &DataType, strict: bool) -> Result<Option<Node>> {
        let (left, right) = (binary.left(), binary.right());
        let (of, other) = (self.type_of(left)?, self.type_of(right)?);
        if of != other || kind_of(&of).is_none() {
            return Ok(None);
        }
        let (compare, swapped) = match binary.op() {
            Operator::And | Operator::Or => return self.logic(binary),
            Operator::Plus => return self.arith(Arith::Add, binary, data_type, strict),
            Operator::Minus => return self.arith(Arith::Subtract, binary, data_type, strict),
            Operator::Multiply => return self.arith(Arith::Multiply, binary, data_type, strict),
            Operator::Divide => return self.arith(Arith::Divide, binary, data_type, strict),
            Operator::Modulo => return self.arith(Arith::Remainder, binary, data_type, strict),
            Operator::Eq => (Compare::Equal, false),
            Operator::NotEq => (Compare::NotEqual, false),
            Operator::Lt => (Compare::Less, false),
            Operator::LtEq => (Compare::LessOrEqual, false),
            Operator::Gt => (Compare::Less, true),
            Operator::GtEq => (Compare::LessOrEqual, true),
            _ => return Ok(None),
        };
        let (left, right) = if swapped { (right, left) } else { (left, right) };
        if let Some(node) = self.narrowed(compare, left, right, strict)? {
            return Ok(Some(node));
        }
        let (Some(a), Some(b)) = (self.node(left, strict)?, self.node(right, strict)?) else {
            return Ok(None);
        };
        self.builder.compare(compare, a, b).map(Some).map_err(external)
    }

    /// `left < right` where one is a constant double and the other a single cast to double: compared as singles,
    /// to the next single below the constant if that isn't one itself.
    fn narrowed(
        &mut self,
        compare: Compare,
        left: &Expr,
        right: &Expr,
        strict: bool,
    ) -> Result<Option<Node>> {
        let single = |expr: &Expr| {
            let cast = expr.downcast_ref::<CastExpr>()?;
            let from = cast.expr().data_type(self.coords.schema()).ok()?;
            (from == DataType::Float32 && *cast.cast_type() == DataType::Float64)
                .then(|| Arc::clone(cast.expr()))
        };
        let (single, bound, above) = match (single(left), double(left), single(right), double(right)) {
            (Some(single), _, _, Some(bound)) => (single, bound, false),
            (_, Some(bound), Some(single), _) => (single, bound, true),
            _ => return Ok(None),
        };
        let near = bound as f32;
        let (compare, bound) = match compare {
            _ if bound.is_nan() => return Ok(None),
            compare if f64::from(near) == bound => (compare, near),
            Compare::Equal | Compare::NotEqual => return Ok(None),
            // Nothing lies between: above the bound is above the single below it, and so on.
            _ => {
                let below = if f64::from(near) < bound { near } else { near.next_down() };
                (if above { Compare::Less } else { Compare::LessOrEqual }, below)
            }
        };
        let Some(cells) = self.node(&single, strict)? else { return Ok(None) };
        let bound = self.builder.table(constant(&ScalarValue::Float32(Some(bound)), Type::F32)?);
        let (a, b) = if above { (bound, cells) } else { (cells, bound) };
        self.builder.compare(compare, a, b).map(Some).map_err(external)
    }

    /// Which operand counts is decided cell by cell, so neither may fail.
    fn logic(&mut self, binary: &BinaryExpr) -> Result<Option<Node>> {
        let Some(a) = self.node(binary.left(), true)? else { return Ok(None) };
        let Some(b) = self.node(binary.right(), true)? else { return Ok(None) };
        let logic = if *binary.op() == Operator::And { Builder::and } else { Builder::or };
        logic(&mut self.builder, a, b).map(Some).map_err(external)
    }

    fn arith(
        &mut self,
        arith: Arith,
        binary: &BinaryExpr,
        data_type: &DataType,
        strict: bool,
    ) -> Result<Option<Node>> {
        let (left, right) = (binary.left(), binary.right());
        let plain = BinaryExpr::new(Arc::clone(left), *binary.op(), Arc::clone(right));
        // An expression that isn't like a plain one fails on overflow.
        if !is_number(data_type) || self.type_of(left)? != *data_type || plain != *binary {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (self.node(left, strict)?, self.node(right, strict)?) else {
            return Ok(None);
        };
        // Integers can't be divided by everything.
        Ok(self.builder.arith(arith, a, b).ok())
    }

    fn negative(&mut self, negative: &NegativeExpr, of: &DataType, strict: bool) -> Result<Option<Node>> {
        if of.is_floating() {
            return self.with(negative.arg(), strict, |builder, arg| builder.math(Math::Negate, arg));
        }
        if !is_number(of) {
            return Ok(None);
        }
        let zero = constant(&ScalarValue::new_zero(of)?, kind_of(of).unwrap_or(Type::I64))?;
        self.with(negative.arg(), strict, |builder, arg| {
            let zero = builder.table(zero);
            builder.arith(Arith::Subtract, zero, arg)
        })
    }

    fn in_list(&mut self, list: &InListExpr, strict: bool) -> Result<Option<Node>> {
        let of = self.type_of(list.expr())?;
        let values = list.list().iter().map(|value| value.downcast_ref::<Literal>().map(Literal::value));
        let Some(values) = values.collect::<Option<Vec<_>>>() else { return Ok(None) };
        // Zeros of both signs and NaN are told apart by some lists and not by others.
        let delicate = |value: &&ScalarValue| match value {
            ScalarValue::Float16(value) => value.is_some_and(|value| value.is_nan() || value.to_f32() == 0.0),
            ScalarValue::Float32(value) => value.is_some_and(|value| value.is_nan() || value == 0.0),
            ScalarValue::Float64(value) => value.is_some_and(|value| value.is_nan() || value == 0.0),
            value => value.data_type() != of,
        };
        let Some(kind) = kind_of(&of) else { return Ok(None) };
        if values.is_empty() || values.len() > LIST || values.iter().any(delicate) {
            return Ok(None);
        }
        let tables = values.iter().map(|value| constant(value, kind)).collect::<Result<Vec<_>>>()?;
        self.with(list.expr(), strict, |builder, cells| {
            let mut any = None;
            for table in tables {
                let value = builder.table(table);
                let equal = builder.compare(Compare::Equal, cells, value)?;
                any = Some(any.map_or(Ok(equal), |any| builder.or(any, equal))?);
            }
            let any = any.unwrap_or(cells);
            if list.negated() { builder.not(any) } else { Ok(any) }
        })
    }

    /// `CASE`: the last branch whose condition holds is chosen first, so that earlier ones overrule it.
    fn case(&mut self, case: &CaseExpr, data_type: &DataType) -> Result<Option<Node>> {
        let Some(kind) = kind_of(data_type) else { return Ok(None) };
        let mut chosen = match case.else_expr() {
            Some(other) if self.type_of(other)? == *data_type => match self.node(other, true)? {
                Some(node) => node,
                None => return Ok(None),
            },
            Some(_) => return Ok(None),
            None => self.builder.table(constant(&ScalarValue::try_from(data_type)?, kind)?),
        };
        for (when, then) in case.when_then_expr().iter().rev() {
            let condition = match case.expr() {
                None => self.node(when, true)?,
                Some(base) if self.type_of(base)? == self.type_of(when)? => {
                    let equal: Expr =
                        Arc::new(BinaryExpr::new(Arc::clone(base), Operator::Eq, Arc::clone(when)));
                    // CASE x WHEN compares as nothing else does where zeros have signs.
                    if self.type_of(base)?.is_floating() { None } else { self.node(&equal, true)? }
                }
                Some(_) => None,
            };
            let then = if self.type_of(then)? == *data_type { self.node(then, true)? } else { None };
            let (Some(condition), Some(then)) = (condition, then) else { return Ok(None) };
            let when = self.builder.truth(condition).map_err(external)?;
            chosen = self.builder.select(when, then, chosen).map_err(external)?;
        }
        Ok(Some(chosen))
    }

    fn function(
        &mut self,
        function: &ScalarFunctionExpr,
        data_type: &DataType,
        strict: bool,
    ) -> Result<Option<Node>> {
        let args = function.args();
        let Some(known) = known(function.fun()) else { return Ok(None) };
        let of = match args {
            [first, ..] => self.type_of(first)?,
            [] => return Ok(None),
        };
        let float = matches!(of, DataType::Float32 | DataType::Float64);
        let single = args.len() == 1;
        match known {
            Known::IsNan if single && float => self.with(&args[0], strict, Builder::is_nan),
            _ if !float || of != *data_type => Ok(None),
            Known::Math(Math::Sqrt) if strict || !single => Ok(None),
            Known::Math(Math::Sqrt) => {
                let guard = self.guard;
                self.with(&args[0], strict, |builder, arg| {
                    builder.check(Check::Negative, arg, guard)?;
                    builder.math(Math::Sqrt, arg)
                })
            }
            Known::Math(Math::Round) => self.round(args, &of, strict),
            Known::Math(math) if single => {
                self.with(&args[0], strict, |builder, arg| builder.math(math, arg))
            }
            Known::Power => self.power(args, strict),
            Known::Atan2 if args.len() == 2 && self.type_of(&args[1])? == of => {
                let (a, b) = (self.node(&args[0], strict)?, self.node(&args[1], strict)?);
                let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
                self.builder.arith(Arith::Atan2, a, b).map(Some).map_err(external)
            }
            Known::Math(_) | Known::IsNan | Known::Atan2 => Ok(None),
        }
    }

    /// `round(x)` and `round(x, places)`, whose factor of 10^places is of the type of `x`.
    fn round(&mut self, args: &[Expr], of: &DataType, strict: bool) -> Result<Option<Node>> {
        let places = match args {
            [_] => 0,
            [_, places] => match places.downcast_ref::<Literal>().map(Literal::value) {
                Some(ScalarValue::Int32(Some(places))) => *places,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let factor = 10_f64.powi(places);
        if !factor.is_finite() || !(factor as f32).is_normal() {
            return Ok(None);
        }
        let factor = match of {
            DataType::Float32 => constant(&ScalarValue::Float32(Some(factor as f32)), Type::F32)?,
            _ => constant(&ScalarValue::Float64(Some(factor)), Type::F64)?,
        };
        self.with(&args[0], strict, |builder, arg| {
            if places == 0 {
                return builder.math(Math::Round, arg);
            }
            let factor = builder.table(factor);
            let scaled = builder.arith(Arith::Multiply, arg, factor)?;
            let rounded = builder.math(Math::Round, scaled)?;
            builder.arith(Arith::Divide, rounded, factor)
        })
    }

    /// `power(x, constant)`: only zero to a negative power fails.
    fn power(&mut self, args: &[Expr], strict: bool) -> Result<Option<Node>> {
        let [base, exponent] = args else { return Ok(None) };
        let Some(value) = double(exponent) else { return Ok(None) };
        if self.type_of(base)? != DataType::Float64 || (strict && value < 0.0) {
            return Ok(None);
        }
        let exponent = constant(&ScalarValue::Float64(Some(value)), Type::F64)?;
        let guard = self.guard;
        self.with(base, strict, |builder, base| {
            if value == 2.0 {
                return builder.arith(Arith::Multiply, base, base);
            }
            if value < 0.0 {
                builder.check(Check::Zero, base, guard)?;
            }
            let exponent = builder.table(exponent);
            builder.arith(Arith::Power, base, exponent)
        })
    }

    /// `expr`, over `dims` alone, evaluated on the coords; `None` if it has too many values for that, or none
    /// for some of the labels.
    fn table(&mut self, expr: &Expr, dims: &[usize], kind: Type) -> Result<Option<Node>> {
        if let Some(known) = self.tables.get(expr) {
            return Ok(*known);
        }
        let positions = dims.iter().try_fold(1_u64, |n, &dim| n.checked_mul(self.coords.shape()[dim]));
        let fits = dims.len() < 2 || positions.is_some_and(|positions| positions <= TABLE);
        let values = if fits { self.coords.evaluate(std::slice::from_ref(expr), dims).ok() } else { None };
        let node = match values {
            Some(values) => {
                let (data, valid) = columns_of(&values[0], kind)?;
                let data = scattered(self.coords, dims, data);
                let valid = valid.map(|valid| self.coords.scatter(dims, &valid, true));
                let table = Table::try_new(self.coords.shape(), dims.to_vec(), data, valid);
                Some(self.builder.table(table.map_err(external)?))
            }
            None => None,
        };
        self.tables.insert(Arc::clone(expr), node);
        Ok(node)
    }

    /// `expr` as one foreign step, for the guarded cells.
    fn opaque(&mut self, expr: &Expr, kind: Type) -> Result<Node> {
        let key = (Arc::clone(expr), self.guard);
        if let Some(&node) = self.opaque.get(&key)
            && self.builder.kind(node) == kind
        {
            return Ok(node);
        }
        let schema = Arc::clone(self.coords.schema());
        let mut columns: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        columns.sort_unstable();
        let mut at = vec![None; schema.fields().len()];
        let (mut fields, mut sources, mut args) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns {
            at[column] = Some(fields.len());
            fields.push(Arc::clone(&schema.fields()[column]));
            sources.push(match self.coords.source(column) {
                ColumnSource::Variable(variable) => {
                    let dtype = self.grid.variables[variable].dtype;
                    OpaqueColumn::Variable { input: self.input(variable), dtype }
                }
                ColumnSource::Dim(dim) => {
                    args.push(self.place(dim)?);
                    OpaqueColumn::Dim { arg: args.len() - 1, labels: self.coords.labels(dim)? }
                }
            });
        }
        let opaque = Opaque {
            expr: reindex(expr, &at)?,
            schema: Arc::new(Schema::new(fields)),
            columns: sources,
            result: arrow_of(kind),
            nan_as_missing: self.nan_as_missing,
        };
        let node = self.builder.foreign(Arc::new(opaque), args, self.guard, kind).map_err(external)?;
        self.opaque.insert(key, node);
        Ok(node)
    }

    /// For each cell, the place of its position among the selected ones of `dim`.
    fn place(&mut self, dim: usize) -> Result<Node> {
        if let Some(&node) = self.places.get(&dim) {
            return Ok(node);
        }
        let places: Vec<i32> = (0..self.coords.selected(dim) as i32).collect();
        let places = Data::I32(self.coords.scatter(&[dim], &places, 0));
        let table = Table::try_new(self.coords.shape(), vec![dim], places, None).map_err(external)?;
        let node = self.builder.table(table);
        self.places.insert(dim, node);
        Ok(node)
    }
}
