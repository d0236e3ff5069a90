//! Rules that put right what DataFusion's own rules get wrong, each after the rule that it looks at.
//!
//! ```text
//! LimitAggregation        whole_groups   aggregates of floats keep all groups below a limit
//! OptimizeAggregateOrder  grouping_sets  orders and constants that hold in some of the sets only are forgotten
//!                         lost_orders    what a join no longer knows to be in order is sorted
//! ```

mod grouping_sets;
mod lost_orders;
mod unassuming;
mod whole_groups;

use datafusion::physical_optimizer::PhysicalOptimizerRule;
use grouping_sets::GroupingSets;
use lost_orders::LostOrders;
use std::sync::Arc;
use whole_groups::WholeGroups;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// `rules` with those of this module among them.
pub(crate) fn mended(mut rules: Vec<Rule>) -> Vec<Rule> {
    let mut insert = |after: &str, mending: Vec<Rule>| {
        let place = rules.iter().position(|rule| rule.name() == after).map_or(rules.len(), |at| at + 1);
        rules.splice(place..place, mending);
    };
    insert("LimitAggregation", vec![Arc::new(WholeGroups::default())]);
    insert(
        "OptimizeAggregateOrder",
        vec![Arc::new(GroupingSets::default()), Arc::new(LostOrders::default())],
    );
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

    #[test]
    fn each_comes_after_the_rule_that_it_looks_at() {
        let rules = mended(PhysicalOptimizer::new().rules);
        let names: Vec<_> = rules.iter().map(|rule| rule.name()).collect();
        for pair in [
            ["LimitAggregation", "whole_groups"],
            ["OptimizeAggregateOrder", "grouping_sets"],
            ["grouping_sets", "lost_orders"],
        ] {
            assert!(names.windows(2).any(|names| names == pair), "{pair:?} in {names:?}");
        }
    }
}
