//! Aggregates reduced on the grid, without rows.
//!
//! ```text
//! AggregateExec(Final)                      GridAggregateExec
//!   AggregateExec(Partial)        ->          (the same values, group for group)
//!     [ProjectionExec] [FilterExec]         or AggregateExec(Final)
//!       TensorScanExec                           GridAggregateExec (the same partial states)
//! ```
//! [`GridAggregateRule`] looks from the aggregate down to its scan ([`chain`]) and decides for each aggregate
//! how it is computed ([`function`]): a count of cells from the geometry alone, a reduction of one variable's
//! decoded blocks in its own chunk grid, or a program over the cells of several variables ([`cells`]), made of
//! the predicates, filters and arguments ([`compile`]), whose values go into the same kernels or, for what
//! these don't compute, into DataFusion's own accumulators ([`sink`]). Nothing is hashed: the group of a cell is
//! known from its position ([`groups`]). Where all groups can be kept at once, [`GridAggregateExec`] merges the
//! states of its threads by the number of the group and yields final values; else, and with
//! `SET millibar.grid_final = false`, it emits DataFusion's own partial state columns, and the final aggregate
//! above it stays as it is.
//!
//! Anything that isn't provably the same is refused, and the plan is left alone.

mod ahead;
mod answers;
mod cells;
mod chain;
mod compile;
mod coords;
mod edge;
mod exec;
mod found;
mod function;
pub(in crate::engine) mod functions;
mod groups;
mod kinds;
mod native;
mod opaque;
mod partial;
mod queue;
mod reduction;
mod route;
mod rule;
mod sink;
mod states;
mod within;
mod work;
mod worker;

pub use exec::GridAggregateExec;
pub use rule::GridAggregateRule;

/// Why an aggregate isn't reduced on the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub String);

impl Refusal {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}
