//! Functions beside DataFusion's.

mod arg_extremes;
mod extremes;
mod std;
mod sum;

use super::labels;
use super::nearest::Nearest;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

pub(crate) use arg_extremes::ArgExtreme;
pub(crate) use extremes::{TotalMax, TotalMin};
pub(crate) use std::Std;
pub(crate) use sum::Sum;

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
