//! DataFusion's own accumulators, fed with the groups that the grid knows.

use super::function::Aggregate;
use datafusion::arrow::array::{ArrayRef, BooleanArray, new_empty_array};
use datafusion::common::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use std::sync::Arc;

/// The states of one aggregate in DataFusion's keeping: those of all groups or, without `GROUP BY`, the single
/// one that DataFusion itself would use there; the two may differ (on NaN, on no rows).
pub(super) enum Native {
    Groups(Box<dyn GroupsAccumulator>),
    Single(Box<dyn Accumulator>),
}

impl Native {
    /// Empty states of `groups` groups.
    ///
    /// # Errors
    /// Those of making the accumulator.
    pub(super) fn try_new(aggregate: &Aggregate, groups: usize, grouped: bool) -> Result<Self> {
        let expr = Arc::clone(&aggregate.expr);
        if !grouped {
            return Ok(Self::Single(expr.create_accumulator()?));
        }
        let mut accumulator = if expr.groups_accumulator_supported() {
            expr.create_groups_accumulator()?
        } else {
            Box::new(GroupsAccumulatorAdapter::new(move || expr.create_accumulator()))
        };
        let none: Vec<ArrayRef> = aggregate.inputs.iter().map(new_empty_array).collect();
        // The filter keeps it from taking for granted that every group has a row.
        accumulator.update_batch(&none, &[], Some(&BooleanArray::new_null(0)), groups)?;
        Ok(Self::Groups(accumulator))
    }

    /// Adds rows; `groups` tells the group, below `total`, of each, and isn't looked at without `GROUP BY`.
    ///
    /// # Errors
    /// Those of the accumulator, as of all that follow.
    pub(super) fn update(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        match self {
            Self::Groups(accumulator) => accumulator.update_batch(values, groups, None, total),
            Self::Single(accumulator) => accumulator.update_batch(values),
        }
    }

    /// Adds state columns, whose row `i` is of group `groups[i]`, below `total`.
    pub(super) fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        match self {
            Self::Groups(accumulator) => accumulator.merge_batch(states, groups, total),
            Self::Single(accumulator) => accumulator.merge_batch(states),
        }
    }

    /// The states, which are empty after it.
    pub(super) fn states(&mut self) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Groups(accumulator) => accumulator.state(EmitTo::All),
            Self::Single(accumulator) => {
                accumulator.state()?.into_iter().map(|state| state.to_array()).collect()
            }
        }
    }

    /// The final values; the states are empty after it.
    pub(super) fn values(&mut self) -> Result<ArrayRef> {
        match self {
            Self::Groups(accumulator) => accumulator.evaluate(EmitTo::All),
            Self::Single(accumulator) => accumulator.evaluate()?.to_array(),
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Groups(accumulator) => accumulator.size(),
            Self::Single(accumulator) => accumulator.size(),
        }
    }
}
