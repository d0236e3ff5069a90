//! From an aggregate down to its scan: what the nodes between them compute, in terms of the scan's columns.

use super::Refusal;
use crate::engine::scan::TensorScanExec;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::DynamicFilterTracking;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, LambdaVariable};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// `scan -> predicates -> columns`: the same rows as the plan that it was made from, partitioning aside.
pub(super) struct Chain<'a> {
    /// The scan.
    pub scan: &'a TensorScanExec,
    /// What rows must satisfy, innermost first; a later one sees only rows that the earlier ones keep.
    pub predicates: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of the plan, over the scan's columns.
    pub columns: Vec<Arc<dyn PhysicalExpr>>,
}

impl<'a> Chain<'a> {
    /// Looks through projections, filters and changes of partitioning; anything else is refused.
    pub(super) fn try_new(plan: &'a dyn ExecutionPlan) -> Result<Self, Refusal> {
        if let Some(scan) = plan.downcast_ref::<TensorScanExec>() {
            return Self::of_scan(scan);
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let mut chain = Self::try_new(projection.input().as_ref())?;
            let columns = projection.expr().iter().map(|column| chain.over_scan(&column.expr));
            chain.columns = columns.collect::<Result<_, _>>()?;
            return Ok(chain);
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            return Self::of_filter(filter);
        }
        if is_transparent(plan)
            && let [input] = plan.children()[..]
        {
            return Self::try_new(input.as_ref());
        }
        Err(Refusal::new(format!("its input goes through {}", plan.name())))
    }

    fn of_scan(scan: &'a TensorScanExec) -> Result<Self, Refusal> {
        if scan.fetch().is_some() {
            return Err(Refusal::new("the scan has a limit"));
        }
        if scan.filters_rows() {
            return Err(Refusal::new("the scan has taken predicates"));
        }
        let schema = scan.schema();
        let column = |(i, name): (usize, &String)| Arc::new(Column::new(name, i)) as Arc<dyn PhysicalExpr>;
        let columns = schema.fields().iter().map(|field| field.name()).enumerate().map(column).collect();
        Ok(Self { scan, predicates: Vec::new(), columns })
    }

    fn of_filter(filter: &'a FilterExec) -> Result<Self, Refusal> {
        if filter.fetch().is_some() {
            return Err(Refusal::new("a filter below it has a limit"));
        }
        let mut chain = Self::try_new(filter.input().as_ref())?;
        let predicate = chain.over_scan(filter.predicate())?;
        chain.predicates.push(predicate);
        if let Some(projection) = filter.projection() {
            chain.columns = projection.iter().map(|&i| Arc::clone(&chain.columns[i])).collect();
        }
        Ok(chain)
    }

    /// `expr`, an expression over the plan's columns, over the scan's columns.
    pub(super) fn over_scan(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>, Refusal> {
        refuse_unstable(expr)?;
        let substitute = |node: Arc<dyn PhysicalExpr>| {
            let column =
                node.downcast_ref::<Column>().map(|column| Arc::clone(&self.columns[column.index()]));
            Ok(column.map_or_else(|| Transformed::no(node), Transformed::yes))
        };
        let expr = Arc::clone(expr).transform_up(substitute);
        Ok(expr.map_err(|e| Refusal::new(e.to_string()))?.data)
    }
}

/// Whether `plan` yields its input's rows, in whatever partitions and batches.
fn is_transparent(plan: &dyn ExecutionPlan) -> bool {
    let batches = plan.name() == "CoalesceBatchesExec";
    let known = batches
        || plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>();
    known && plan.fetch().is_none() && !plan.boundedness().is_unbounded()
}

/// Refuses expressions whose value isn't settled by the row alone, and lambdas, whose variables look like
/// columns but aren't.
fn refuse_unstable(expr: &Arc<dyn PhysicalExpr>) -> Result<(), Refusal> {
    if is_volatile(expr) {
        return Err(Refusal::new(format!("`{expr}` is volatile")));
    }
    if DynamicFilterTracking::classify(expr).contains_dynamic_filter() {
        return Err(Refusal::new(format!("`{expr}` changes while the query runs")));
    }
    let mut lambda = false;
    let visit = expr.apply(|node| {
        lambda |= node.is::<LambdaVariable>();
        Ok(if lambda { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if lambda || visit.is_err() {
        return Err(Refusal::new(format!("`{expr}` has lambdas")));
    }
    Ok(())
}
