//! `min(x)` and `max(x)` of floats by group, right for infinities and NaN.
//!
//! DataFusion's accumulators by group start from the largest finite number, so the smallest of nothing but
//! infinities is finite; and where NaN is a value, their answer depends on the order of rows. These start from
//! nothing and follow the total order of IEEE 754, as DataFusion does without `GROUP BY`: a (positive) NaN is
//! above infinity. Everything else is DataFusion's own.

use super::keeps;
use datafusion::arrow::array::*;
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::*;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature, StatisticsArgs,
};
use std::cmp::Ordering;
use std::sync::Arc;

/// The smallest (or largest) value of a group.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Extreme<F> {
    inner: F,
}

/// `min`.
pub(crate) type TotalMin = Extreme<Min>;
/// `max`.
pub(crate) type TotalMax = Extreme<Max>;

impl<F: AggregateUDFImpl + PartialEq + Eq + std::hash::Hash> AggregateUDFImpl for Extreme<F> {
    inherit! {
        name signature return_type coerce_types state_fields accumulator create_sliding_accumulator
        groups_accumulator_supported is_descending order_sensitivity value_from_stats set_monotonicity documentation
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let descending = self.inner.is_descending() == Some(true);
        let better = if descending { Ordering::Greater } else { Ordering::Less };
        match args.return_field.data_type() {
            DataType::Float16 => Ok(Box::new(Extremes::<Float16Type>::new(better))),
            DataType::Float32 => Ok(Box::new(Extremes::<Float32Type>::new(better))),
            DataType::Float64 => Ok(Box::new(Extremes::<Float64Type>::new(better))),
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The best value of each group so far.
#[derive(Debug)]
struct Extremes<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    seen: Vec<bool>,
    /// How a value compares with those that it replaces.
    better: Ordering,
}

impl<T: ArrowPrimitiveType> Extremes<T> {
    fn new(better: Ordering) -> Self {
        Self { values: Vec::new(), seen: Vec::new(), better }
    }

    fn add(&mut self, group: usize, value: T::Native) {
        if !self.seen[group] || value.compare(self.values[group]) == self.better {
            self.seen[group] = true;
            self.values[group] = value;
        }
    }
}

impl<T: ArrowPrimitiveType + Send> GroupsAccumulator for Extremes<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        self.values.resize(total_num_groups, T::default_value());
        self.seen.resize(total_num_groups, false);
        let kept = |row: usize| keeps(opt_filter, row);
        for (row, &group) in group_indices.iter().enumerate() {
            if values.is_valid(row) && kept(row) {
                self.add(group, values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let values = emit_to.take_needed(&mut self.values);
        let seen = NullBuffer::from(emit_to.take_needed(&mut self.seen));
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), Some(seen))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>();
        let kept = |row: usize| keeps(opt_filter, row);
        let state =
            (0..values.len()).map(|row| (values.is_valid(row) && kept(row)).then(|| values.value(row)));
        Ok(vec![Arc::new(state.collect::<PrimitiveArray<T>>())])
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduce(
        better: Ordering,
        values: Vec<Option<f64>>,
        groups: &[usize],
        total: usize,
    ) -> Vec<Option<f64>> {
        let mut extremes = Extremes::<Float64Type>::new(better);
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        extremes.update_batch(&[values], groups, None, total).unwrap();
        let state = extremes.state(EmitTo::All).unwrap();
        let mut merged = Extremes::<Float64Type>::new(better);
        merged.merge_batch(&state, &(0..total).collect::<Vec<_>>(), total).unwrap();
        merged.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn infinities_are_values() {
        let (up, down) = (f64::INFINITY, f64::NEG_INFINITY);
        let values = vec![Some(up), Some(down), Some(up), None];
        let groups = [0, 1, 0, 2];
        assert_eq!(reduce(Ordering::Less, values.clone(), &groups, 3), [Some(up), Some(down), None]);
        assert_eq!(reduce(Ordering::Greater, values, &groups, 3), [Some(up), Some(down), None]);
    }

    #[test]
    fn nan_is_above_infinity_in_any_order() {
        for values in [[f64::NAN, 1.0, f64::INFINITY], [1.0, f64::INFINITY, f64::NAN]] {
            let values: Vec<_> = values.into_iter().map(Some).collect();
            assert_eq!(reduce(Ordering::Less, values.clone(), &[0, 0, 0], 1), [Some(1.0)]);
            assert!(reduce(Ordering::Greater, values, &[0, 0, 0], 1)[0].unwrap().is_nan());
        }
    }
}
