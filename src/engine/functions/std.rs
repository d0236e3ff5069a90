//! `std(x)`: the standard deviation that numpy, xarray and dask call by this name.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions_aggregate::stddev::StddevPop;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature};

/// Standard deviation of the population (ddof = 0): `stddev_pop` under a shorter name. DataFusion's `stddev` is
/// that of the sample.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Std {
    inner: StddevPop,
}

impl AggregateUDFImpl for Std {
    inherit! {
        signature return_type state_fields accumulator groups_accumulator_supported create_groups_accumulator
    }

    fn name(&self) -> &str {
        "std"
    }
}
