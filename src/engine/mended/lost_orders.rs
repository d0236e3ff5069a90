//! Sorts that are found to be missing above joins.
//!
//! DataFusion moves a sort below a join where the join keeps the order of that side, and leaves out of it what is
//! constant there, such as a dim of which one position is kept. The join has forgotten that it is (it takes over which
//! columns of its right side are equal to each other, not which are constant), so that its rows no longer count as
//! being in order, and the check of the plan refuses it.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use std::sync::Arc;

/// Sorts what isn't known to come in the order that the node above it needs.
#[derive(Debug, Default)]
pub(super) struct LostOrders {}

impl PhysicalOptimizerRule for LostOrders {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(plan.transform_up(sorted)?.data)
    }

    fn name(&self) -> &str {
        "lost_orders"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `node` with inputs in the order that it needs, partition by partition.
fn sorted(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let mut lost = false;
    let mut inputs = Vec::new();
    for (input, needed) in node.children().into_iter().zip(node.required_input_ordering()) {
        let known = input.properties().equivalence_properties();
        inputs.push(match needed.map(|needed| needed.into_single()) {
            Some(needed) if !known.ordering_satisfy_requirement(needed.clone())? => {
                lost = true;
                let sort = SortExec::new(LexOrdering::from(needed), Arc::clone(input));
                Arc::new(sort.with_preserve_partitioning(true)) as _
            }
            _ => Arc::clone(input),
        });
    }
    if !lost {
        return Ok(Transformed::no(node));
    }
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    node.replace_children(inputs, recompute).map(Transformed::yes)
}
