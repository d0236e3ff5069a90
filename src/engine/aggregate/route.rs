//! Who accumulates the cells of an aggregate.

use super::function::{Aggregate, Function, direct, follows_total_order};
use super::reduction::Reduction;
use datafusion::arrow::datatypes::DataType;

/// Who accumulates the cells of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// A count of cells.
    Count,
    /// The kernels, for cells of this variable as they are decoded.
    Variable(usize),
    /// The kernels, for values of its argument.
    Kernel,
    /// DataFusion's accumulator.
    Native,
}

impl Route {
    /// That of `aggregate`.
    pub(super) fn of(aggregate: &Aggregate, reduction: &Reduction) -> Self {
        if aggregate.function == Function::Count {
            return Self::Count;
        }
        let [arg] = &aggregate.args[..] else { return Self::Native };
        let settled = follows_total_order(&aggregate.expr, reduction.grouped());
        let (grid, coords) = (&reduction.grid, &reduction.coords);
        if let Some(variable) = direct(aggregate.function, &aggregate.args, &aggregate.states, grid, coords) {
            let no_nan =
                !grid.variables[variable].dtype.is_float() || reduction.scan.options().nan_as_missing;
            return if settled || no_nan { Self::Variable(variable) } else { Self::Native };
        }
        let fits = arg
            .data_type(coords.schema())
            .is_ok_and(|values| kernel_fits(aggregate, &values) && (settled || !values.is_floating()));
        if fits { Self::Kernel } else { Self::Native }
    }
}

/// Whether the kernels' states for `values` are those of `aggregate`.
fn kernel_fits(aggregate: &Aggregate, values: &DataType) -> bool {
    use DataType::{Boolean, Decimal128, Float32, Float64, Int32, Int64, UInt64};
    let held = matches!(values, Float32 | Float64 | Int32 | Int64 | UInt64);
    let ordered = matches!(aggregate.function, Function::Min | Function::Max);
    (held || (ordered && *values == Boolean))
        && match aggregate.function {
            Function::Count => true,
            Function::Sum if values.is_floating() => aggregate.states == [Float64],
            Function::Sum => matches!(&aggregate.states[..], [Int64 | UInt64 | Decimal128(_, 0)]),
            Function::Avg => *values == Float64 && aggregate.states == [UInt64, Float64],
            Function::Min | Function::Max => aggregate.states == std::slice::from_ref(values),
            Function::Moments => *values == Float64 && aggregate.states == [UInt64, Float64, Float64],
            Function::Edge | Function::Other => false,
        }
}
