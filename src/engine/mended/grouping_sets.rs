//! Aggregates of grouping sets over rows in some order.
//!
//! Where rows come in order by a key, DataFusion takes the groups to be in order by it, too, also those of sets that
//! leave the key out, where it is NULL; and within a group the key to be always the same, so that rows in any order by
//! it will do for `last_value(x ORDER BY key)`. Neither is so. Nor is a key the same in all groups where a predicate
//! (`WHERE c = 0 GROUP BY ROLLUP (a, b, c)`) makes it the same in all rows: a final stage that takes it for in order yields
//! groups before they are complete, and again. Scans below such aggregates declare no order
//! ([`GridAggregateRule`](crate::engine::aggregate::GridAggregateRule)); here it is what filters, joins and sorts say.

use super::unassuming::UnassumingExec;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Lets aggregates of grouping sets compare what they are ordered by, and makes no secret of their groups' disorder.
#[derive(Debug, Default)]
pub(super) struct GroupingSets {}

impl PhysicalOptimizerRule for GroupingSets {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = plan.transform_up(|node| match node.downcast_ref::<AggregateExec>() {
            Some(aggregate) if of_rows_in_sets(aggregate) => unassuming(aggregate).map(Transformed::yes),
            _ => Ok(Transformed::no(node)),
        });
        Ok(rewritten?.data)
    }

    fn name(&self) -> &str {
        "grouping_sets"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether it is the stage that meets rows, and puts them into grouping sets.
fn of_rows_in_sets(aggregate: &AggregateExec) -> bool {
    aggregate.group_expr().has_grouping_set() && aggregate.mode().input_mode() == AggregateInputMode::Raw
}

/// The same aggregate, which compares; below a node that says nothing of the order of groups, nor of constants.
fn unassuming(aggregate: &AggregateExec) -> Result<Arc<dyn ExecutionPlan>> {
    let comparing = |expr: &Arc<AggregateFunctionExpr>| {
        let assumes = expr.order_sensitivity() == AggregateOrderSensitivity::Beneficial;
        let compares = if assumes { Arc::clone(expr).with_beneficial_ordering(false)? } else { None };
        Ok(compares.map_or_else(|| Arc::clone(expr), Arc::new))
    };
    let exprs = aggregate.aggr_expr().iter().map(comparing).collect::<Result<Vec<_>>>()?;
    let unassuming: Arc<dyn ExecutionPlan> = Arc::new(aggregate.with_new_aggr_exprs(exprs));
    let said = unassuming.equivalence_properties();
    let assumes = !said.constants().is_empty() || !said.oeq_class().is_empty();
    Ok(if assumes { Arc::new(UnassumingExec::new(unassuming)) } else { unassuming })
}
