//! Functions beside DataFusion's.

/// Methods of an [`AggregateUDFImpl`](datafusion::logical_expr::AggregateUDFImpl) that are those of its field
/// `inner`.
macro_rules! inherit {
    ($($method:ident)*) => { $( inherit!(@ $method); )* };
    (@ name) => { inherit!(@ name() -> &str); };
    (@ signature) => { inherit!(@ signature() -> &Signature); };
    (@ return_type) => { inherit!(@ return_type(types: &[DataType]) -> Result<DataType>); };
    (@ coerce_types) => { inherit!(@ coerce_types(types: &[DataType]) -> Result<Vec<DataType>>); };
    (@ state_fields) => { inherit!(@ state_fields(args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>>); };
    (@ accumulator) => { inherit!(@ accumulator(args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>>); };
    (@ create_sliding_accumulator) => {
        inherit!(@ create_sliding_accumulator(args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>>);
    };
    (@ groups_accumulator_supported) => {
        inherit!(@ groups_accumulator_supported(args: AccumulatorArgs<'_>) -> bool);
    };
    (@ create_groups_accumulator) => {
        inherit!(@ create_groups_accumulator(args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>>);
    };
    (@ is_descending) => { inherit!(@ is_descending() -> Option<bool>); };
    (@ order_sensitivity) => { inherit!(@ order_sensitivity() -> AggregateOrderSensitivity); };
    (@ value_from_stats) => {
        inherit!(@ value_from_stats(args: &StatisticsArgs<'_>) -> Option<ScalarValue>);
    };
    (@ set_monotonicity) => { inherit!(@ set_monotonicity(data_type: &DataType) -> SetMonotonicity); };
    (@ documentation) => { inherit!(@ documentation() -> Option<&Documentation>); };
    (@ $method:ident($($arg:ident: $type:ty),*) -> $result:ty) => {
        fn $method(&self, $($arg: $type),*) -> $result {
            self.inner.$method($($arg),*)
        }
    };
}

mod arg_extremes;
mod extremes;
mod std;
mod sum;

use super::labels;
use super::nearest::Nearest;
use datafusion::arrow::array::{Array, BooleanArray};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

pub(crate) use arg_extremes::ArgExtreme;
pub(crate) use extremes::{TotalMax, TotalMin};
pub(crate) use std::Std;
pub(crate) use sum::Sum;

/// Whether the `FILTER` of an aggregate keeps row `row`.
fn keeps(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// Adds `std`, `arg_min`, `arg_max` and `nearest`, and puts the `sum` whose integers don't wrap, and the `min` and `max`
/// that are right for infinities by group, in place of DataFusion's.
pub(crate) fn register(ctx: &SessionContext) {
    ctx.register_udaf(AggregateUDF::from(std::Std::default()));
    ctx.register_udaf(AggregateUDF::from(ArgExtreme::smallest()));
    ctx.register_udaf(AggregateUDF::from(ArgExtreme::largest()));
    ctx.register_udaf(AggregateUDF::from(sum::Sum::default()));
    ctx.register_udaf(AggregateUDF::from(TotalMin::default()));
    ctx.register_udaf(AggregateUDF::from(TotalMax::default()));
    ctx.register_udf(ScalarUDF::from(Nearest::default()));
    for function in labels::functions() {
        ctx.register_udf(ScalarUDF::clone(&function));
    }
}
