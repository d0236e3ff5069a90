//! Aggregates on the grid.

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Replaces partial aggregates over a tensor scan by reductions on the grid.
#[derive(Debug, Default)]
pub struct GridAggregateRule {}

impl PhysicalOptimizerRule for GridAggregateRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(plan)
    }

    fn name(&self) -> &str {
        "grid_aggregate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
