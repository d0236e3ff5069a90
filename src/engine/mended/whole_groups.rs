//! Aggregates that DataFusion would keep only the first groups of, and loses some where there are NaN.
//!
//! Below `ORDER BY key LIMIT k` and `ORDER BY max(x) DESC LIMIT k`, DataFusion keeps `k` groups in a heap beside a
//! hash table. Both compare floats by `<` and `==`: a NaN key isn't found again where it was put (the query panics),
//! and a NaN value pushes others out that come before it. Which floats are NaN isn't known before they are there, so
//! such aggregates keep all groups, and the sort above takes the first.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use std::sync::Arc;

/// Takes the limit, with its order, from aggregates whose keys or values are floats.
#[derive(Debug, Default)]
pub(super) struct WholeGroups {}

impl PhysicalOptimizerRule for WholeGroups {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = plan.transform_up(|node| match node.downcast_ref::<AggregateExec>() {
            Some(aggregate) if is_limited(aggregate) && compares_floats(aggregate) => {
                Ok(Transformed::yes(Arc::new(aggregate.with_new_limit_options(None)) as _))
            }
            _ => Ok(Transformed::no(node)),
        });
        Ok(whole?.data)
    }

    fn name(&self) -> &str {
        "whole_groups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether it keeps the first groups in some order; the first to come are no matter of comparing.
fn is_limited(aggregate: &AggregateExec) -> bool {
    aggregate.limit_options().is_some_and(|limit| limit.descending().is_some())
}

/// Whether a key, or the value that groups are ordered by, is a float.
fn compares_floats(aggregate: &AggregateExec) -> bool {
    let keys = aggregate.group_expr().expr().len();
    let schema = aggregate.schema();
    let value = aggregate.get_minmax_desc().map(|(field, _)| field);
    schema.fields().iter().take(keys).chain(&value).any(|field| field.data_type().is_floating())
}
