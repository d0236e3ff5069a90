//! `nearest(dim, value)`: keeps the label nearest to a value, as xarray's `sel(method="nearest")` does.
//!
//! ```text
//! WHERE nearest(latitude, 47.37)   ->   WHERE latitude = 47.5
//! ```
//! The rewrite is done once on the analysed plan, for every clause alike, so it means the same wherever it stands
//! and whatever decides it: a scan, a grid aggregate or a filter on rows. Nearest is meant among all labels of the
//! table's dim, not among those that other predicates leave. A value halfway between two labels gets the larger
//! label, as pandas' `get_indexer` has it; labels needn't be sorted.

use super::named::rewrite_expressions;
use super::provider::TensorTable;
use crate::dataset::Dim;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use std::cmp::Ordering;
use std::sync::Arc;

/// What SQL calls it.
const NAME: &str = "nearest";

/// `nearest(dim, value)`; stands in plans until [`NearestLabels`] has found the label.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nearest {
    signature: Signature,
}

impl Default for Nearest {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Nearest {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("nearest(dim, value) is known in a session of Millibar only")
    }
}

/// Puts the comparison with the nearest label in place of each `nearest(dim, value)`.
#[derive(Debug, Default)]
pub(crate) struct NearestLabels {}

impl AnalyzerRule for NearestLabels {
    fn name(&self) -> &str {
        "nearest_labels"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(analyze_node)?.data)
    }
}

fn analyze_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= expr.exists(|expr| Ok(is_nearest(expr)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(Transformed::no(plan));
    }
    let inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    rewrite_expressions(plan, |expr| rewrite(expr, &inputs))
}

fn is_nearest(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.name() == NAME)
}

fn rewrite(expr: Expr, inputs: &[LogicalPlan]) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, mut args }) = expr else {
        return Ok(Transformed::no(expr));
    };
    if func.name() != NAME {
        return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
    }
    let (Some(value), Some(Expr::Column(column))) = (args.pop(), args.pop()) else {
        return plan_err!("nearest(dim, value) takes a dim of a tensor table and a constant");
    };
    let Some((table, dim)) = inputs.iter().find_map(|plan| dim_of(plan, &column)) else {
        return plan_err!("nearest: `{column}` is not a dim of a tensor table");
    };
    let dim = &table.grid().dims[dim];
    let Expr::Literal(value, _) = constant(value)? else {
        return plan_err!("nearest({column}, ...): the value must be a constant");
    };
    Ok(Transformed::yes(match label(dim, &value)? {
        Some(label) => Expr::Column(column).eq(lit(label)),
        None => lit(ScalarValue::Boolean(if value.is_null() { None } else { Some(false) })),
    }))
}

/// `value` folded to a literal, if it is one.
fn constant(value: Expr) -> Result<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(DFSchema::empty())).with_current_time();
    ExprSimplifier::new(context.build()).simplify(value)
}

/// The dim, by its place in the grid of its table, that `column` of the output of `plan` is.
fn dim_of(plan: &LogicalPlan, column: &Column) -> Option<(TensorTable, usize)> {
    let index = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<TensorTable>()?;
            let name = plan.schema().field(index).name();
            let dim = table.grid().dims.iter().position(|dim| dim.name == *name)?;
            Some((table.clone(), dim))
        }
        LogicalPlan::Projection(projection) => match projection.expr[index].clone().unalias_nested().data {
            Expr::Column(column) => dim_of(&projection.input, &column),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = Column::from(alias.input.schema().qualified_field(index));
            dim_of(&alias.input, &inner)
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Join(_) => plan.inputs().into_iter().find_map(|input| dim_of(input, column)),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index)? {
            Expr::Column(column) => dim_of(&aggregate.input, column),
            _ => None,
        },
        _ => None,
    }
}

/// The label of `dim` nearest to `value`, in the type of the labels; `None` if there is no label, or no value.
fn label(dim: &Dim, value: &ScalarValue) -> Result<Option<ScalarValue>> {
    let (name, coord) = (&dim.name, &dim.coord);
    if value.is_null() {
        return Ok(None);
    }
    let position = match coord.data_type() {
        t if t.is_numeric() => {
            let value = number(name, value)?;
            match (t.is_integer(), value) {
                (true, Number::Integer(value)) => {
                    let labels = cast(coord, &DataType::Decimal128(38, 0))?;
                    let labels = labels.as_primitive::<datafusion::arrow::datatypes::Decimal128Type>();
                    closest(labels.values(), |label| label.abs_diff(value))
                }
                (_, value) => {
                    let (labels, value) = (cast(coord, &DataType::Float64)?, value.as_f64());
                    let labels = labels.as_primitive::<Float64Type>().values();
                    closest_number(labels, |label| (label - value).abs())
                }
            }
        }
        t @ DataType::Timestamp(..) => {
            let value = value.cast_to(t).and_then(|value| value.cast_to(&DataType::Int64));
            let Ok(ScalarValue::Int64(Some(value))) = value else {
                return plan_err!("nearest({name}, ...): the value is no point in time");
            };
            let labels = cast(coord, &DataType::Int64)?;
            closest(labels.as_primitive::<Int64Type>().values(), |label| label.abs_diff(value))
        }
        other => return plan_err!("nearest: labels of `{name}` are {other}, neither numbers nor times"),
    };
    position.map(|at| ScalarValue::try_from_array(coord, at)).transpose()
}

/// A finite number.
#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

fn number(dim: &str, value: &ScalarValue) -> Result<Number> {
    if value.data_type().is_integer()
        && let ScalarValue::Decimal128(Some(value), ..) = value.cast_to(&DataType::Decimal128(38, 0))?
    {
        return Ok(Number::Integer(value));
    }
    if !value.data_type().is_numeric() {
        return plan_err!("nearest({dim}, ...): the value is {}, not a number", value.data_type());
    }
    match value.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(value)) if value.is_finite() => Ok(Number::Float(value)),
        other => plan_err!("nearest({dim}, ...): {other} is nowhere near a label"),
    }
}

/// Where the label with the smallest distance is; of two at the same distance, the larger one.
fn closest<L: Copy + Ord, D: Ord>(labels: &[L], distance: impl Fn(L) -> D) -> Option<usize> {
    let better = |&a: &usize, &b: &usize| {
        distance(labels[a]).cmp(&distance(labels[b])).then(labels[b].cmp(&labels[a]))
    };
    (0..labels.len()).min_by(better)
}

/// As [`closest`], of the labels that are numbers.
fn closest_number(labels: &[f64], distance: impl Fn(f64) -> f64) -> Option<usize> {
    let better = |&a: &usize, &b: &usize| -> Ordering {
        distance(labels[a]).total_cmp(&distance(labels[b])).then(labels[b].total_cmp(&labels[a]))
    };
    (0..labels.len()).filter(|&at| !labels[at].is_nan()).min_by(better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{
        ArrayRef, Float32Array, Int64Array, TimestampNanosecondArray, UInt64Array,
    };

    fn found(coord: ArrayRef, value: ScalarValue) -> Result<Option<ScalarValue>> {
        label(&Dim { name: "d".into(), coord, attributes: Default::default() }, &value)
    }

    fn of_floats(labels: Vec<f32>, value: f64) -> Option<f32> {
        match found(Arc::new(Float32Array::from(labels)), value.into()).unwrap() {
            Some(ScalarValue::Float32(label)) => label,
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nearest_and_of_two_the_larger() {
        for labels in [vec![-1.0, 0.0, 2.0], vec![2.0, 0.0, -1.0], vec![0.0, 2.0, -1.0]] {
            let of = |value| of_floats(labels.clone(), value);
            assert_eq!((of(0.9), of(1.0), of(1.1)), (Some(0.0), Some(2.0), Some(2.0)));
            assert_eq!((of(-100.0), of(-0.5), of(1e300)), (Some(-1.0), Some(0.0), Some(2.0)));
        }
        assert_eq!(of_floats(vec![f32::NAN, 3.0], 1.0), Some(3.0));
        assert_eq!(of_floats(vec![f32::NAN], 1.0), None);
        assert_eq!(of_floats(vec![], 1.0), None);
    }

    #[test]
    fn large_integers_are_told_apart() -> Result<()> {
        let labels: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX - 1, i64::MAX - 4, i64::MIN]));
        assert_eq!(found(Arc::clone(&labels), (i64::MAX - 3).into())?, Some((i64::MAX - 4).into()));
        assert_eq!(found(Arc::clone(&labels), (i64::MAX - 2).into())?, Some((i64::MAX - 1).into()));
        assert_eq!(found(labels, (-1e18).into())?, Some(i64::MIN.into()));
        let labels: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 7]));
        assert_eq!(found(labels, ScalarValue::Int64(Some(-1)))?, Some(ScalarValue::UInt64(Some(7))));
        Ok(())
    }

    #[test]
    fn times_by_any_name() -> Result<()> {
        let hour = 3_600_000_000_000;
        let labels: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![0, 6 * hour, 12 * hour]));
        let at = |hours: i64| Some(ScalarValue::TimestampNanosecond(Some(hours * hour), None));
        assert_eq!(found(Arc::clone(&labels), "1970-01-01T02:59:00".into())?, at(0));
        assert_eq!(found(Arc::clone(&labels), "1970-01-01T03:00:00".into())?, at(6));
        assert_eq!(found(Arc::clone(&labels), ScalarValue::Date32(Some(1)))?, at(12));
        assert!(found(labels, "soon".into()).is_err());
        Ok(())
    }

    #[test]
    fn what_is_near_nothing() {
        let labels = || Arc::new(Float32Array::from(vec![1.0])) as ArrayRef;
        for value in [ScalarValue::from(f64::NAN), f64::INFINITY.into(), "1".into(), true.into()] {
            assert!(found(labels(), value).is_err());
        }
        assert_eq!(found(labels(), ScalarValue::Float64(None)).unwrap(), None);
    }
}
