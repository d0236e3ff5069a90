//! Which side of a join a cube is on.
//!
//! A join reads its left side first and hands what it found there to the scans on the right. DataFusion puts the
//! smaller side left where it knows both; of many files (CSV) it doesn't know how large they are, and leaves the
//! order of the query, in which `FROM cube JOIN stations` has the cube left, to be read as a whole.

use super::scan::TensorScanExec;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use std::sync::Arc;

/// Puts a cube on the right of an inner join whose other side is of unknown size, and no cube.
#[derive(Debug, Default)]
pub(crate) struct JoinSides {}

impl PhysicalOptimizerRule for JoinSides {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !config.optimizer.join_reordering {
            return Ok(plan);
        }
        let single = config.execution.target_partitions == 1 || !config.optimizer.repartition_joins;
        let mode = if single { PartitionMode::CollectLeft } else { PartitionMode::Partitioned };
        let swapped = plan.transform_up(|node| match node.downcast_ref::<HashJoinExec>() {
            Some(join) if belongs_right(join)? => Ok(Transformed::yes(join.swap_inputs(mode)?)),
            _ => Ok(Transformed::no(node)),
        });
        Ok(swapped?.data)
    }

    fn name(&self) -> &str {
        "join_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the left side of `join` had better be its right side.
fn belongs_right(join: &HashJoinExec) -> Result<bool> {
    let cube = scans_tensor(join.left()) && !scans_tensor(join.right());
    if !cube || *join.join_type() != JoinType::Inner {
        return Ok(false);
    }
    let other = StatisticsContext::new().compute(join.right().as_ref(), &StatisticsArgs::new())?;
    Ok(other.num_rows.get_value().is_none() && other.total_byte_size.get_value().is_none())
}

fn scans_tensor(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<TensorScanExec>() || plan.children().into_iter().any(scans_tensor)
}
