//! `sum(x)` of integers, exact or an error.
//!
//! DataFusion's `sum` of integers wraps around silently. This one adds in 128 bits, keeps its partial state as
//! `Decimal128(38, 0)`, and checks the range once, at the end: the order of rows and the number of partitions
//! can't turn a sum that fits into an error. Floats, decimals, durations and intervals are DataFusion's own.

use super::keeps;
use crate::Error;
use crate::engine::external;
use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::*;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::sum::Sum as DataFusionSum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator, Operator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use std::mem::size_of_val;
use std::sync::Arc;

/// Type of the partial state: a 128-bit integer.
const STATE: DataType = DataType::Decimal128(38, 0);

/// The sum of a group of values; of integers exact, or an error if it leaves the 64 bits of its type.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sum {
    inner: DataFusionSum,
}

fn is_exact(result: &DataType) -> bool {
    matches!(result, DataType::Int64 | DataType::UInt64)
}

impl AggregateUDFImpl for Sum {
    inherit! {
        name signature return_type groups_accumulator_supported documentation set_monotonicity value_from_stats
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if is_exact(args.return_field.data_type()) && !args.is_distinct {
            return Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))]);
        }
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type().clone();
        let name = summed(args.name).to_string();
        match (is_exact(&result), args.is_distinct) {
            (false, _) => self.inner.accumulator(args),
            (true, false) => Ok(Box::new(ExactSum { name, result, sum: 0, seen: 0 })),
            (true, true) => Ok(Box::new(DistinctSum { name, result, inner: self.inner.accumulator(args)? })),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_exact(args.return_field.data_type()) && !args.is_distinct {
            return self.accumulator(args);
        }
        self.inner.create_sliding_accumulator(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let result = args.return_field.data_type().clone();
        if is_exact(&result) {
            let name = summed(args.name).to_string();
            return Ok(Box::new(ExactSums { name, result, sums: Vec::new(), seen: Vec::new() }));
        }
        self.inner.create_groups_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn simplify_expr_op_literal(
        &self,
        agg_function: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        lit: &Expr,
        arg_is_left: bool,
    ) -> Result<Option<Expr>> {
        self.inner.simplify_expr_op_literal(agg_function, arg, op, lit, arg_is_left)
    }
}

/// `x` of `sum(x)`.
fn summed(name: &str) -> &str {
    name.strip_prefix("sum(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(name)
}

/// The sum in its result type; NULL of no values.
///
/// # Errors
/// [`Error::Overflow`] if it doesn't fit.
fn checked(sum: Option<i128>, result: &DataType, name: &str) -> Result<ScalarValue> {
    let overflow = |dtype| external(Error::Overflow { what: name.to_string(), dtype });
    Ok(match result {
        DataType::UInt64 => {
            let sum = sum.map(u64::try_from).transpose().map_err(|_| overflow("UInt64"))?;
            ScalarValue::UInt64(sum)
        }
        _ => ScalarValue::Int64(sum.map(i64::try_from).transpose().map_err(|_| overflow("Int64"))?),
    })
}

/// Calls `add(row, value)` for each value of an integer or state column that isn't NULL.
fn each(values: &ArrayRef, mut add: impl FnMut(usize, i128)) -> Result<()> {
    macro_rules! walk {
        ($type:ty) => {{
            let values = values.as_primitive::<$type>();
            match values.nulls() {
                None => values.values().iter().enumerate().for_each(|(row, &v)| add(row, v as i128)),
                Some(nulls) => nulls.valid_indices().for_each(|row| add(row, values.value(row) as i128)),
            }
        }};
    }
    match values.data_type() {
        DataType::Int64 => walk!(Int64Type),
        DataType::UInt64 => walk!(UInt64Type),
        DataType::Decimal128(_, 0) => walk!(Decimal128Type),
        other => return exec_err!("sum of integers got a column of {other}"),
    }
    Ok(())
}

/// One sum.
#[derive(Debug)]
struct ExactSum {
    name: String,
    result: DataType,
    sum: i128,
    /// Values and states in it.
    seen: u64,
}

impl ExactSum {
    fn current(&self) -> Option<i128> {
        (self.seen > 0).then_some(self.sum)
    }

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let (sum, seen) = (&mut self.sum, &mut self.seen);
        each(values, |_, value| {
            *sum += value;
            *seen += 1;
        })
    }
}

impl Accumulator for ExactSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0])
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, seen) = (&mut self.sum, &mut self.seen);
        each(&values[0], |_, value| {
            *sum -= value;
            *seen -= 1;
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        checked(self.current(), &self.result, &self.name)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.name.capacity()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.current(), 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(&states[0])
    }
}

/// A sum of distinct values: DataFusion's set of them, added up here.
#[derive(Debug)]
struct DistinctSum {
    name: String,
    result: DataType,
    inner: Box<dyn Accumulator>,
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = None;
        for state in self.inner.state()? {
            let ScalarValue::List(list) = state else { return exec_err!("sum of distinct values: no list") };
            each(list.values(), |_, value| sum = Some(sum.unwrap_or(0) + value))?;
        }
        checked(sum, &self.result, &self.name)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}

/// A sum for each group.
struct ExactSums {
    name: String,
    result: DataType,
    sums: Vec<i128>,
    /// Whether a group has a value.
    seen: Vec<bool>,
}

impl ExactSums {
    fn add(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, 0);
        self.seen.resize(total, false);
        let kept = |row: usize| keeps(filter, row);
        let (sums, seen) = (&mut self.sums, &mut self.seen);
        each(values, |row, value| {
            if kept(row) {
                sums[groups[row]] += value;
                seen[groups[row]] = true;
            }
        })
    }

    fn take(&mut self, emit_to: EmitTo) -> impl Iterator<Item = Option<i128>> + use<> {
        let sums = emit_to.take_needed(&mut self.sums);
        let seen = emit_to.take_needed(&mut self.seen);
        sums.into_iter().zip(seen).map(|(sum, seen)| seen.then_some(sum))
    }
}

fn state_array(sums: impl Iterator<Item = Option<i128>>) -> Result<ArrayRef> {
    Ok(Arc::new(sums.collect::<Decimal128Array>().with_precision_and_scale(38, 0)?))
}

impl GroupsAccumulator for ExactSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.add(&values[0], group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit_to).map(|sum| checked(sum, &self.result, &self.name));
        let sums = sums.collect::<Result<Vec<_>>>()?;
        if sums.is_empty() {
            return Ok(new_empty_array(&self.result));
        }
        ScalarValue::iter_to_array(sums)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![state_array(self.take(emit_to))?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        self.add(&values[0], group_indices, None, total)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut sums = vec![None; values[0].len()];
        let kept = |row: usize| keeps(opt_filter, row);
        each(&values[0], |row, value| sums[row] = kept(row).then_some(value))?;
        Ok(vec![state_array(sums.into_iter())?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.seen.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: Vec<i64>) -> ArrayRef {
        Arc::new(Int64Array::from(values))
    }

    fn exact() -> ExactSum {
        ExactSum { name: "x".into(), result: DataType::Int64, sum: 0, seen: 0 }
    }

    #[test]
    fn a_sum_may_leave_its_type_on_the_way_but_not_at_the_end() -> Result<()> {
        let mut sum = exact();
        sum.update_batch(&[ints(vec![i64::MAX, 1])])?;
        assert_eq!(sum.evaluate().unwrap_err().find_root().to_string(), external_text());
        sum.update_batch(&[ints(vec![-2])])?;
        assert_eq!(sum.evaluate()?, ScalarValue::Int64(Some(i64::MAX - 1)));
        Ok(())
    }

    fn external_text() -> String {
        external(Error::Overflow { what: "x".into(), dtype: "Int64" }).to_string()
    }

    #[test]
    fn states_merge_and_windows_retract() -> Result<()> {
        let (mut left, mut right) = (exact(), exact());
        left.update_batch(&[ints(vec![i64::MIN])])?;
        right.update_batch(&[ints(vec![i64::MIN, 7])])?;
        left.merge_batch(&[right.state()?[0].to_array()?])?;
        left.update_batch(&[ints(vec![i64::MAX])])?;
        assert_eq!(left.evaluate()?, ScalarValue::Int64(Some(i64::MIN + 6)));
        let mut window = exact();
        window.update_batch(&[ints(vec![i64::MAX, 7])])?;
        window.retract_batch(&[ints(vec![i64::MAX])])?;
        assert_eq!(window.evaluate()?, ScalarValue::Int64(Some(7)));
        window.retract_batch(&[ints(vec![7])])?;
        assert_eq!(window.evaluate()?, ScalarValue::Int64(None));
        Ok(())
    }

    #[test]
    fn groups_without_values_are_null() -> Result<()> {
        let new = || ExactSums { name: "x".into(), result: DataType::UInt64, sums: vec![], seen: vec![] };
        let mut sums = new();
        let values: ArrayRef = Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]));
        sums.update_batch(&[Arc::clone(&values)], &[0, 1, 0], None, 3)?;
        let state = sums.state(EmitTo::All)?;
        let mut merged = new();
        merged.merge_batch(&state, &[0, 1, 2], 3)?;
        let result = merged.evaluate(EmitTo::All)?;
        assert_eq!(result.as_primitive::<UInt64Type>(), &UInt64Array::from(vec![Some(u64::MAX), None, None]));
        let state = new().convert_to_state(&[values], Some(&BooleanArray::from(vec![true, true, false])))?;
        assert_eq!(state[0].null_count(), 2);
        Ok(())
    }
}
