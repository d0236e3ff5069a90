//! Float32 labels and decimal literals.
//!
//! A coordinate stored as `float32` shows `0.1` where it holds 0.100000001490116...; SQL reads the literal `0.1`
//! as a `Float64` and widens the column, so `latitude = 0.1` would find nothing, though it is what the table
//! prints. The rule: where a `Float32` (or `Float16`) dim is compared with a `Float64` literal, and the literal
//! is exactly what the nearest value of the dim's type prints as, it stands for that value. Any other literal,
//! such as one with more digits, is compared as SQL says. No stored value lies between a literal and the
//! nearest value of the narrow type, so the order of other labels relative to it never changes.
//!
//! This is done once on the analysed plan, for every clause alike, so an answer doesn't depend on which
//! predicates a scan decides. Computed values and the cells of variables keep plain SQL semantics. A cast to
//! `DOUBLE` written by hand is the same expression as the one that SQL adds, and is read the same way; compare with
//! more digits to go by the widened value.

use super::types::is_dim;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;
use half::f16;

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
    let narrow = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| {
        is_dim(field) && matches!(field.data_type(), DataType::Float32 | DataType::Float16)
    };
    if !schema.fields().iter().any(narrow) {
        return Ok(Transformed::no(plan));
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| rewrite(expr, &schema))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })
}

/// Replaces the literals of one comparison.
fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) if compares(op) => {
            let changed = match (narrow_dim(&left, schema), narrow_dim(&right, schema)) {
                (Some(narrow), None) => snap(&mut right, &narrow),
                (None, Some(narrow)) => snap(&mut left, &narrow),
                _ => false,
            };
            Ok(marked(Expr::BinaryExpr(BinaryExpr { left, op, right }), changed))
        }
        Expr::InList(InList { expr, mut list, negated }) => {
            let changed = match narrow_dim(&expr, schema) {
                Some(narrow) => list.iter_mut().fold(false, |changed, item| snap(item, &narrow) | changed),
                None => false,
            };
            Ok(marked(Expr::InList(InList { expr, list, negated }), changed))
        }
        Expr::Between(Between { expr, negated, mut low, mut high }) => {
            let changed = match narrow_dim(&expr, schema) {
                Some(narrow) => snap(&mut low, &narrow) | snap(&mut high, &narrow),
                None => false,
            };
            Ok(marked(Expr::Between(Between { expr, negated, low, high }), changed))
        }
        other => Ok(Transformed::no(other)),
    }
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
    let (value, printed) = match narrow {
        DataType::Float16 => {
            let value = f16::from_f64(*literal);
            (value.to_f64(), value.to_string())
        }
        _ => {
            let value = *literal as f32;
            (f64::from(value), value.to_string())
        }
    };
    let is_label = value != *literal && printed.parse() == Ok(*literal);
    if is_label {
        *literal = value;
    }
    is_label
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
