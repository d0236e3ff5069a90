//! The physical optimizer rule: aggregates over a tensor scan become reductions on the grid.

use super::Refusal;
use super::exec::GridAggregateExec;
use super::reduction::Reduction;
use super::work::{Keep, Work};
use crate::engine::config::MillibarConfig;
use crate::engine::scan::TensorScanExec;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use std::sync::Arc;

/// Replaces aggregates over a tensor scan by [`GridAggregateExec`]: both stages of one where all of its groups can
/// be kept at once, else the partial stage, whose states it yields, and the final aggregate stays as it is.
///
/// It runs before DataFusion's own physical rules: they would put repartitioning between the aggregate and the
/// scan, and could merge the partial and the final aggregate into one. `SET millibar.grid_aggregate = false`
/// turns it off, `SET millibar.grid_final = false` leaves every final aggregate to DataFusion. What it doesn't take over it leaves alone, with the reason in a debug event.
#[derive(Debug, Default)]
pub struct GridAggregateRule {}

impl GridAggregateRule {
    /// The rule.
    pub fn new() -> Self {
        Self::default()
    }
}

impl PhysicalOptimizerRule for GridAggregateRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = MillibarConfig::of(config);
        if !options.grid_aggregate {
            return without_misleading_orders(plan);
        }
        let rewritten = plan.transform_up(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            let stages = match on_grid(aggregate) {
                None => None,
                Some(Ok(plan)) => Some(plan),
                Some(Err(Refusal(why))) => {
                    tracing::debug!(%why, "an aggregate goes through rows");
                    return noted(node, &why).map(Transformed::yes);
                }
            };
            let complete =
                if options.grid_final { completed(stages.as_ref().unwrap_or(&node))? } else { None };
            Ok(complete.or(stages).map_or_else(|| Transformed::no(node), Transformed::yes))
        });
        without_misleading_orders(rewritten?.data)
    }

    fn name(&self) -> &str {
        "grid_aggregate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What takes the place of `aggregate`; `None` if it isn't over a tensor scan, or has been dealt with below.
fn on_grid(aggregate: &AggregateExec) -> Option<Result<Arc<dyn ExecutionPlan>, Refusal>> {
    let single = match aggregate.mode() {
        AggregateMode::Partial => false,
        AggregateMode::Single | AggregateMode::SinglePartitioned => true,
        AggregateMode::Final | AggregateMode::FinalPartitioned | AggregateMode::PartialReduce => return None,
    };
    if !scans_tensor(aggregate.input()) {
        return None;
    }
    Some(if single { single_on_grid(aggregate) } else { partial_on_grid(aggregate) })
}

/// Whether the only leaf below `plan` is a tensor scan, with no other aggregate between.
fn scans_tensor(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children()[..] {
        [] => plan.is::<TensorScanExec>(),
        [input] => !plan.is::<AggregateExec>() && scans_tensor(input),
        _ => false,
    }
}

/// `plan` without the orders of scans and reductions below aggregates that DataFusion plans wrongly over them.
fn without_misleading_orders(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let unordered = |node: Arc<dyn ExecutionPlan>| {
        let scan =
            node.downcast_ref::<TensorScanExec>().map(|scan| scan.unordered().map(|it| Arc::new(it) as _));
        let reduction = || node.downcast_ref::<GridAggregateExec>().map(|it| Arc::new(it.unordered()) as _);
        let found: Option<Arc<dyn ExecutionPlan>> = scan.transpose()?.or_else(reduction);
        Ok(found.map_or_else(|| Transformed::no(node), Transformed::yes))
    };
    let rewritten = plan.transform_up(|node| match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) if is_misled(aggregate) => node.transform_down(unordered),
        _ => Ok(Transformed::no(node)),
    });
    Ok(rewritten?.data)
}

/// Whether DataFusion makes too much of the order of `aggregate`'s input.
///
/// - Grouping sets: it thinks that rows in order by a key make groups in order by it, also in sets that leave the key
///   out, where it is NULL; and that within a group the key is always the same.
/// - Ordered aggregates over joins: when a join swaps its sides its output may gain an order that is the reverse of
///   what an aggregate wants. The partial aggregate then turns to the reversed function; the final one doesn't.
fn is_misled(aggregate: &AggregateExec) -> bool {
    let ordered = |expr: &Arc<AggregateFunctionExpr>| !expr.order_sensitivity().is_insensitive();
    aggregate.group_expr().has_grouping_set()
        || (aggregate.aggr_expr().iter().any(ordered) && joins(aggregate.input()))
}

fn joins(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    children.len() > 1 || children.into_iter().any(joins)
}

/// `plan` with the reason noted in its scan, where `EXPLAIN` shows it.
fn noted(plan: Arc<dyn ExecutionPlan>, why: &str) -> Result<Arc<dyn ExecutionPlan>> {
    let noted = plan.transform_down(|node| {
        let scan = node.downcast_ref::<TensorScanExec>().map(|scan| scan.with_note(why));
        Ok(scan.map_or_else(|| Transformed::no(node), |scan| Transformed::yes(Arc::new(scan))))
    });
    Ok(noted?.data)
}

fn partial_on_grid(aggregate: &AggregateExec) -> Result<Arc<dyn ExecutionPlan>, Refusal> {
    let reduction = Reduction::try_new(aggregate, aggregate.schema())?;
    let work = Work::plan(&reduction, Keep::Fitting)?;
    Ok(Arc::new(GridAggregateExec::partial(Arc::new(reduction), work)))
}

/// What takes the place of `plan` if it is a final aggregate right above a reduction that can yield its values.
fn completed(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    if !matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned) {
        return Ok(None);
    }
    let gathered = aggregate.input().downcast_ref::<CoalescePartitionsExec>();
    let below = gathered.map_or(aggregate.input(), |gathered| gathered.input());
    let Some(reduction) = below.downcast_ref::<GridAggregateExec>() else { return Ok(None) };
    Ok(reduction.completed(aggregate)?.map(|complete| Arc::new(complete) as _))
}

/// A single-stage aggregate: partial states on the grid, gathered, below the final stage.
fn single_on_grid(aggregate: &AggregateExec) -> Result<Arc<dyn ExecutionPlan>, Refusal> {
    let refuse = |e: datafusion::common::DataFusionError| Refusal::new(e.to_string());
    let stage = |mode, group_by, input| {
        let (exprs, filters) = (aggregate.aggr_expr().to_vec(), aggregate.filter_expr().to_vec());
        AggregateExec::try_new(mode, group_by, exprs, filters, input, aggregate.input_schema())
            .map_err(refuse)
    };
    let group_by = aggregate.group_expr().clone();
    let as_final = group_by.as_final();
    let partial = stage(AggregateMode::Partial, group_by, Arc::clone(aggregate.input()))?;
    let gathered = Arc::new(CoalescePartitionsExec::new(partial_on_grid(&partial)?));
    let complete = stage(AggregateMode::Final, as_final, gathered)?;
    if complete.schema() != aggregate.schema() {
        return Err(Refusal::new("its two stages would have another schema than the single one"));
    }
    Ok(Arc::new(complete))
}
