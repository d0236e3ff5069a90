//! `arg_min(x, y)` and `arg_max(x, y)`: what `x` is where `y` is smallest or largest.
//!
//! Rows in which either is NULL don't count. Of several rows with the extreme `y`, the one with the smallest `x`
//! is taken: the answer doesn't depend on the order of rows, nor on how they are cut into partitions. Floats are
//! in the total order of IEEE 754, in which a (positive) NaN is above infinity.
//!
//! A pair is kept as a row of arrow's row format, whose bytes compare as `(y, x)` do, whatever their types.

use super::keeps;
use datafusion::arrow::array::*;
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{SortOptions, cast, nullif, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::sync::Arc;

/// What the first argument is where the second is smallest (or largest).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ArgExtreme {
    largest: bool,
    signature: Signature,
}

impl ArgExtreme {
    /// `arg_min`.
    pub(crate) fn smallest() -> Self {
        Self { largest: false, signature: Signature::any(2, Volatility::Immutable) }
    }

    /// `arg_max`.
    pub(crate) fn largest() -> Self {
        Self { largest: true, ..Self::smallest() }
    }

    fn pairs(&self, args: &AccumulatorArgs<'_>) -> Result<Pairs> {
        Pairs::try_new(self.largest, [args.expr_fields[0].data_type(), args.expr_fields[1].data_type()])
    }
}

impl AggregateUDFImpl for ArgExtreme {
    fn name(&self) -> &str {
        if self.largest { "arg_max" } else { "arg_min" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [arg, value] = arg_types else { return plan_err!("{} takes two arguments", self.name()) };
        for data_type in [arg, value] {
            if !RowConverter::supports_fields(&[SortField::new(data_type.clone())]) {
                return plan_err!("{} can't compare values of {data_type}", self.name());
            }
        }
        Ok(arg.clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name, of: &FieldRef| {
            Arc::new(Field::new(format_state_name(args.name, name), of.data_type().clone(), true))
        };
        Ok(vec![field("arg", &args.input_fields[0]), field("value", &args.input_fields[1])])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Pair(self.pairs(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.pairs(&args)?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The best pair of each group so far.
#[derive(Debug)]
struct Pairs {
    largest: bool,
    types: [DataType; 2],
    /// Of (value, argument), the better first.
    converter: RowConverter,
    none: OwnedRow,
    best: Vec<Option<OwnedRow>>,
    /// For each group a number that no better value is above, of numeric values (negated for the largest): most
    /// rows are turned away by it. Infinity as long as there is none.
    bounds: Vec<f64>,
    /// Bytes of the rows in `best`.
    bytes: usize,
}

impl Pairs {
    fn try_new(largest: bool, [arg, value]: [&DataType; 2]) -> Result<Self> {
        let better = SortOptions { descending: largest, nulls_first: false };
        let smallest = SortOptions { descending: false, nulls_first: false };
        let converter = RowConverter::new(vec![
            SortField::new_with_options(value.clone(), better),
            SortField::new_with_options(arg.clone(), smallest),
        ])?;
        let none = converter.convert_columns(&[new_null_array(value, 1), new_null_array(arg, 1)])?;
        let none = none.row(0).owned();
        let types = [arg.clone(), value.clone()];
        Ok(Self { largest, types, converter, none, best: Vec::new(), bounds: Vec::new(), bytes: 0 })
    }

    fn resize(&mut self, total: usize) {
        self.best.resize(total, None);
        self.bounds.resize(total, f64::INFINITY);
    }

    /// Adds rows; `group` tells that of each.
    fn add(
        &mut self,
        columns: &[ArrayRef],
        group: impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = self.candidates(columns, &group, filter)?;
        if rows.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from(rows);
        let pick = |column: &ArrayRef| take(column, &rows, None);
        let pairs = self.converter.convert_columns(&[pick(&columns[1])?, pick(&columns[0])?])?;
        for (&row, pair) in rows.values().iter().zip(&pairs) {
            let best = &mut self.best[group(row as usize)];
            if best.as_ref().is_none_or(|best| pair < best.row()) {
                self.bytes += pair.as_ref().len();
                self.bytes -= best.as_ref().map_or(0, |best| best.as_ref().len());
                *best = Some(pair.owned());
            }
        }
        Ok(())
    }

    /// The rows that may be the best of their group.
    fn candidates(
        &mut self,
        columns: &[ArrayRef],
        group: &impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<u32>> {
        let nulls = columns.iter().fold(None, |nulls: Option<NullBuffer>, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        });
        let counts =
            |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && keeps(filter, row);
        let rows = 0..columns[1].len();
        if !columns[1].data_type().is_numeric() || columns[1].data_type().is_decimal() {
            return Ok(rows.filter(|&row| counts(row)).map(|row| row as u32).collect());
        }
        // Rounding to a double may make numbers equal, but never swaps them.
        let values = cast(&columns[1], &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>().values();
        let sign = if self.largest { -1.0 } else { 1.0 };
        let mut candidates = Vec::new();
        for row in rows {
            let (value, bound) = (sign * values[row], &mut self.bounds[group(row)]);
            if value > *bound || !counts(row) {
                continue;
            }
            if value < *bound {
                *bound = value;
            }
            candidates.push(row as u32);
        }
        Ok(candidates)
    }

    /// Arguments and values, NULL of groups without a pair; forgets them.
    fn take(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let best = emit_to.take_needed(&mut self.best);
        emit_to.take_needed(&mut self.bounds);
        self.bytes -= best.iter().flatten().map(|row| row.as_ref().len()).sum::<usize>();
        let rows = best.iter().map(|best| best.as_ref().unwrap_or(&self.none).row());
        let mut columns = self.converter.convert_rows(rows)?;
        columns.reverse();
        // Dictionaries come back as their values.
        columns.iter().zip(&self.types).map(|(column, data_type)| Ok(cast(column, data_type)?)).collect()
    }
}

impl GroupsAccumulator for Pairs {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        self.add(values, |row| group_indices[row], opt_filter)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.take(emit_to)?.swap_remove(0))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.take(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let Some(filter) = opt_filter else { return Ok(values.to_vec()) };
        let dropped = (0..filter.len()).map(|row| Some(!keeps(opt_filter, row)));
        let dropped: BooleanArray = dropped.collect();
        values.iter().map(|column| Ok(nullif(column, &dropped)?)).collect()
    }

    fn size(&self) -> usize {
        let group = size_of::<Option<OwnedRow>>() + size_of::<f64>();
        self.best.capacity() * group + self.bytes + self.converter.size()
    }
}

/// The best pair of all rows.
#[derive(Debug)]
struct Pair(Pairs);

impl Accumulator for Pair {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.add(values, |_| 0, None)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.state()?.swap_remove(0))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.resize(1);
        let columns = self.0.take(EmitTo::All)?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Int64Type;

    fn pairs(largest: bool) -> Pairs {
        Pairs::try_new(largest, [&DataType::Int64, &DataType::Float64]).unwrap()
    }

    fn columns(args: Vec<Option<i64>>, values: Vec<Option<f64>>) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(args)), Arc::new(Float64Array::from(values))]
    }

    fn answers(pairs: &mut Pairs) -> Vec<Option<i64>> {
        pairs.evaluate(EmitTo::All).unwrap().as_primitive::<Int64Type>().iter().collect()
    }

    #[test]
    fn ties_go_to_the_smallest_argument_in_any_order_and_partition() {
        let args = vec![Some(7), Some(3), Some(5), None, Some(1), Some(9)];
        let values = vec![Some(2.0), Some(2.0), Some(2.0), Some(0.0), None, Some(f64::NAN)];
        for (largest, want) in [(false, Some(3)), (true, Some(9))] {
            for cut in 0..=6 {
                let all = columns(args.clone(), values.clone());
                let mut merged = pairs(largest);
                for range in [cut..6, 0..cut] {
                    let part: Vec<ArrayRef> =
                        all.iter().map(|column| column.slice(range.start, range.len())).collect();
                    let mut one = pairs(largest);
                    one.update_batch(&part, &vec![1; range.len()], None, 2).unwrap();
                    merged.merge_batch(&one.state(EmitTo::All).unwrap(), &[0, 1], 2).unwrap();
                }
                assert_eq!(answers(&mut merged), [None, want], "cut at {cut}");
            }
        }
    }

    #[test]
    fn infinities_are_values_and_large_integers_are_told_apart() {
        let mut some = pairs(false);
        let rows = columns(vec![Some(1), Some(2)], vec![Some(f64::INFINITY); 2]);
        some.update_batch(&rows, &[0, 0], Some(&BooleanArray::from(vec![false, true])), 1).unwrap();
        assert_eq!(answers(&mut some), [Some(2)]);
        let mut large = Pairs::try_new(true, [&DataType::Int64, &DataType::Int64]).unwrap();
        let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX - 1, i64::MAX, i64::MAX - 2]));
        let args: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        large.update_batch(&[args, values], &[0, 0, 0], None, 1).unwrap();
        assert_eq!(answers(&mut large), [Some(2)]);
        assert_eq!(
            large.size(),
            large.converter.size() + large.best.capacity() * (size_of::<Option<OwnedRow>>() + 8)
        );
    }
}
