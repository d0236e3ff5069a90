//! Sums, means, variances and deviations of floats as exact as the small grammar's model has them, for the session with
//! the plain table: DataFusion's own round at each row.

use super::model::{m2, sums};
use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Statistic {
    Sum,
    Mean,
    /// Of the sample, or of the population.
    Variance {
        sample: bool,
    },
    Deviation {
        sample: bool,
    },
}

impl Statistic {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Mean,
            "var" => Self::Variance { sample: true },
            "var_pop" => Self::Variance { sample: false },
            "stddev" => Self::Deviation { sample: true },
            "stddev_pop" | "std" => Self::Deviation { sample: false },
            _ => return None,
        })
    }

    fn value(self, values: &[f64]) -> Option<f64> {
        let count = values.len();
        let (rounded, n) = (values.iter().sum::<f64>(), count as f64);
        // Infinite if a term or the sum is.
        let sum = if rounded.is_finite() { sums(values).0 } else { rounded };
        let variance = |sample| m2(values, sum / n) / (n - f64::from(u8::from(sample)));
        match self {
            _ if count == 0 => None,
            Self::Sum => Some(sum),
            Self::Mean => Some(sum / n),
            Self::Variance { sample } | Self::Deviation { sample } if sample && count == 1 => None,
            Self::Variance { sample } => Some(variance(sample)),
            Self::Deviation { sample } => Some(variance(sample).sqrt()),
        }
    }
}

/// Puts exact functions in the place of those that `ctx` has.
pub(crate) fn register(ctx: &SessionContext) {
    let known = ctx.state().aggregate_functions().clone();
    for (name, inner) in known {
        if let Some(statistic) = Statistic::of(&name).filter(|_| inner.name() == name) {
            ctx.register_udaf(AggregateUDF::from(Exact { inner, statistic }));
        }
    }
}

/// A function that is exact for floats, and what it was for anything else.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    inner: Arc<AggregateUDF>,
    statistic: Statistic,
}

impl Exact {
    fn counts(result: &DataType, distinct: bool) -> bool {
        *result == DataType::Float64 && !distinct
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !Self::counts(args.return_field.data_type(), args.is_distinct) {
            return self.inner.state_fields(args);
        }
        let values = DataType::new_list(DataType::Float64, true);
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "values"), values, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !Self::counts(args.return_field.data_type(), args.is_distinct) {
            return self.inner.accumulator(args);
        }
        Ok(Box::new(Values { statistic: self.statistic, values: Vec::new() }))
    }
}

/// All values.
#[derive(Debug)]
struct Values {
    statistic: Statistic,
    values: Vec<f64>,
}

impl Values {
    fn add(&mut self, values: &Float64Array) {
        self.values.extend(values.iter().flatten());
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(cast(&values[0], &DataType::Float64)?.as_primitive());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.statistic.value(&self.values)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().map(|&value| ScalarValue::from(value)).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.add(values.as_primitive::<Float64Type>());
        }
        Ok(())
    }
}
