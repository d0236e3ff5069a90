//! Float32 labels beside decimal numbers: literals, and the columns of other tables.
//!
//! A coordinate stored as `float32` shows `0.1` where it holds 0.100000001490116...; SQL reads the literal `0.1`
//! as a `Float64` and widens the column, so `latitude = 0.1` would find nothing, though it is what the table
//! prints. The rule: where a `Float32` (or `Float16`) dim is compared with a `Float64` literal, and the literal
//! is exactly what the nearest value of the dim's type prints as, it stands for that value. Any other literal,
//! such as one with more digits, is compared as SQL says. No stored value lies between a literal and the
//! nearest value of the narrow type, so the order of other labels relative to it never changes.
//!
//! A `Float64` column of another table (stations in a CSV file) is read like a column of literals: where a dim is
//! compared or joined with it, each of its numbers that prints like a label stands for the label ([`AsLabel`]).
//!
//! This is done once on the analysed plan, for every clause alike, so an answer doesn't depend on which
//! predicates a scan decides. Computed values and the cells of variables keep plain SQL semantics. A cast to
//! `DOUBLE` written by hand is the same expression as the one that SQL adds, and is read the same way; compare with
//! more digits to go by the widened value.

use super::named::rewrite_expressions;
use super::types::{is_dim, is_variable};
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, InList};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use half::f16;
use std::sync::{Arc, LazyLock};

/// Reads decimal literals beside `Float32` and `Float16` dims as labels; runs after type coercion.
#[derive(Debug, Default)]
pub(crate) struct LabelLiterals {}

impl AnalyzerRule for LabelLiterals {
    fn name(&self) -> &str {
        "label_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(analyze_node)?.data)
    }
}

fn analyze_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        let own = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
        schema.merge(&own);
    }
    let narrow = |field: &Arc<datafusion::arrow::datatypes::Field>| {
        is_dim(field) && matches!(field.data_type(), DataType::Float32 | DataType::Float16)
    };
    if !schema.fields().iter().any(narrow) {
        return Ok(Transformed::no(plan));
    }
    let rewritten = rewrite_expressions(plan, |expr| rewrite(expr, &schema))?;
    rewritten.transform_data(|plan| Ok(join_keys(plan, &schema)))
}

/// Reads the keys of a join, which are equal pairs without a comparison between them, likewise.
fn join_keys(plan: LogicalPlan, schema: &DFSchema) -> Transformed<LogicalPlan> {
    let LogicalPlan::Join(mut join) = plan else { return Transformed::no(plan) };
    let changed =
        join.on.iter_mut().fold(false, |changed, (left, right)| beside(left, right, schema) | changed);
    Transformed::new_transformed(LogicalPlan::Join(join), changed)
}

/// Replaces the literals of one comparison.
fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) if compares(op) => {
            let changed = beside(&mut left, &mut right, schema);
            Ok(marked(Expr::BinaryExpr(BinaryExpr { left, op, right }), changed))
        }
        Expr::InList(InList { expr, mut list, negated }) => {
            let changed = match narrow_dim(&expr, schema) {
                Some(narrow) => list
                    .iter_mut()
                    .fold(false, |changed, item| read_as_label(item, &narrow, schema) | changed),
                None => false,
            };
            Ok(marked(Expr::InList(InList { expr, list, negated }), changed))
        }
        Expr::Between(Between { expr, negated, mut low, mut high }) => {
            let changed = match narrow_dim(&expr, schema) {
                Some(narrow) => {
                    read_as_label(&mut low, &narrow, schema) | read_as_label(&mut high, &narrow, schema)
                }
                None => false,
            };
            Ok(marked(Expr::Between(Between { expr, negated, low, high }), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Reads the side that isn't a narrow dim as labels of the one that is; returns whether that changes anything.
fn beside(left: &mut Expr, right: &mut Expr, schema: &DFSchema) -> bool {
    match (narrow_dim(left, schema), narrow_dim(right, schema)) {
        (Some(narrow), None) => read_as_label(right, &narrow, schema),
        (None, Some(narrow)) => read_as_label(left, &narrow, schema),
        _ => false,
    }
}

/// Reads a literal, or a column of numbers that aren't cells, as labels of a narrow dim.
fn read_as_label(expr: &mut Expr, narrow: &DataType, schema: &DFSchema) -> bool {
    if !matches!(expr, Expr::Column(_)) {
        return snap(expr, narrow);
    }
    if !is_number(expr, schema) {
        return false;
    }
    let function = if *narrow == DataType::Float16 { &FLOAT16_LABEL } else { &FLOAT32_LABEL };
    *expr = function.call(vec![expr.clone()]);
    true
}

/// Whether `expr` is a `Float64` column, but not the cells of a variable.
fn is_number(expr: &Expr, schema: &DFSchema) -> bool {
    let Expr::Column(column) = expr else { return false };
    let field = schema.qualified_field_from_column(column);
    field.is_ok_and(|(_, field)| field.data_type() == &DataType::Float64 && !is_variable(field))
}

fn marked(expr: Expr, changed: bool) -> Transformed<Expr> {
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn compares(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// The stored type of a dim that coercion widened to `Float64`.
fn narrow_dim(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let Expr::Cast(cast) = expr else { return None };
    let Expr::Column(column) = cast.expr.as_ref() else { return None };
    if cast.field.data_type() != &DataType::Float64 {
        return None;
    }
    let (_, field) = schema.qualified_field_from_column(column).ok()?;
    let narrow = matches!(field.data_type(), DataType::Float32 | DataType::Float16);
    (is_dim(field) && narrow).then(|| field.data_type().clone())
}

/// Puts the narrow value in place of the literal that prints like it.
fn snap(expr: &mut Expr, narrow: &DataType) -> bool {
    let Expr::Literal(ScalarValue::Float64(Some(literal)), _) = expr else { return false };
    let label = if *narrow == DataType::Float16 { half_label(*literal) } else { float_label(*literal) };
    let changed = label.is_some();
    *literal = label.unwrap_or(*literal);
    changed
}

/// The widened `Float32` that prints like `number`, if that is another number.
fn float_label(number: f64) -> Option<f64> {
    let value = number as f32;
    let widened = f64::from(value);
    (widened != number && value.to_string().parse() == Ok(number)).then_some(widened)
}

/// As [`float_label`], of `Float16`.
fn half_label(number: f64) -> Option<f64> {
    let value = f16::from_f64(number);
    (value.to_f64() != number && value.to_string().parse() == Ok(number)).then_some(value.to_f64())
}

static FLOAT32_LABEL: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(AsLabel::new("float32_label", float_label).into()));
static FLOAT16_LABEL: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(AsLabel::new("float16_label", half_label).into()));

/// The functions that read a number as a label of a narrow dim.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [Arc::clone(&FLOAT32_LABEL), Arc::clone(&FLOAT16_LABEL)]
}

/// `float32_label(x)`, `float16_label(x)`: x as a label of a dim of that type, widened again, if it prints like one;
/// else x itself.
#[derive(Debug)]
pub(crate) struct AsLabel {
    name: &'static str,
    label: fn(f64) -> Option<f64>,
    signature: Signature,
}

impl AsLabel {
    fn new(name: &'static str, label: fn(f64) -> Option<f64>) -> Self {
        Self { name, label, signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable) }
    }
}

impl PartialEq for AsLabel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for AsLabel {}

impl std::hash::Hash for AsLabel {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for AsLabel {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let numbers = args.args[0].to_array(args.number_rows)?;
        let label = |number| (self.label)(number).unwrap_or(number);
        let labels = numbers.as_primitive::<Float64Type>().unary::<_, Float64Type>(label);
        Ok(ColumnarValue::Array(Arc::new(labels) as ArrayRef))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::lit;

    fn snapped(literal: f64, narrow: DataType) -> f64 {
        let mut expr = lit(literal);
        snap(&mut expr, &narrow);
        match expr {
            Expr::Literal(ScalarValue::Float64(Some(value)), _) => value,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn labels_snap_and_other_literals_stay() {
        assert_eq!(snapped(0.1, DataType::Float32), f64::from(0.1f32));
        assert_eq!(snapped(-89.95, DataType::Float32), f64::from(-89.95f32));
        assert_eq!(snapped(0.5, DataType::Float32), 0.5);
        assert_eq!(snapped(0.100000001, DataType::Float32), 0.100000001);
        assert_eq!(snapped(f64::from(0.1f32), DataType::Float32), f64::from(0.1f32));
        assert_eq!(snapped(1e300, DataType::Float32), 1e300);
        assert!(snapped(f64::NAN, DataType::Float32).is_nan());
        let half = f16::from_f64(0.1);
        assert_eq!(snapped(half.to_string().parse().unwrap(), DataType::Float16), half.to_f64());
    }
}
