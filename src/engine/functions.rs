//! Aggregate functions beside DataFusion's.

mod extremes;
mod std;
mod sum;

use datafusion::logical_expr::AggregateUDF;
use datafusion::prelude::SessionContext;

pub(crate) use extremes::{TotalMax, TotalMin};
pub(crate) use std::Std;
pub(crate) use sum::Sum;

/// Adds `std`, and puts the `sum` whose integers don't wrap, and the `min` and `max` that are right for
/// infinities by group, in place of DataFusion's.
pub(crate) fn register(ctx: &SessionContext) {
    ctx.register_udaf(AggregateUDF::from(std::Std::default()));
    ctx.register_udaf(AggregateUDF::from(sum::Sum::default()));
    ctx.register_udaf(AggregateUDF::from(TotalMin::default()));
    ctx.register_udaf(AggregateUDF::from(TotalMax::default()));
}
