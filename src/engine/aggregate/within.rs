//! Predicates that leave a range of the values of one variable.
//!
//! ```text
//! t > 290 AND t <= 310  ->  Within { low: Excluded(290), high: Included(310) }  ->  integers q0..=q1 of a packing
//! ```
//! Packed integers rise with the values that they stand for, so such predicates are compared with the integers as
//! they are, and what they keep is reduced without being scaled.

use super::reduction::Reduction;
use crate::engine::scan::ColumnSource;
use crate::tgm::DType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use std::ops::Bound;
use std::sync::Arc;

type Expr = Arc<dyn PhysicalExpr>;

/// A range of the values of one float64 variable, in the total order of floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Within {
    pub variable: usize,
    pub low: Bound<f64>,
    pub high: Bound<f64>,
}

impl Within {
    /// What the predicates of `reduction` leave, if they are nothing but comparisons of one float64 variable with
    /// constants.
    pub(super) fn of(reduction: &Reduction) -> Option<Self> {
        let mut all: Option<Self> = None;
        for predicate in reduction.predicates.iter().flat_map(split_conjunction) {
            let one = Self::of_comparison(reduction, predicate)?;
            all = Some(match all {
                Some(all) if all.variable != one.variable => return None,
                Some(all) => Self { low: higher(all.low, one.low), high: lower(all.high, one.high), ..all },
                None => one,
            });
        }
        all
    }

    fn of_comparison(reduction: &Reduction, predicate: &Expr) -> Option<Self> {
        let (column, op, value) = comparison(predicate)?;
        let ColumnSource::Variable(variable) = reduction.coords.source(column.index()) else { return None };
        let ScalarValue::Float64(Some(bound)) = *value else { return None };
        if reduction.grid.variables[variable].dtype != DType::Float64 {
            return None;
        }
        use Bound::{Excluded, Included, Unbounded};
        let (low, high) = match op {
            Operator::Gt => (Excluded(bound), Unbounded),
            Operator::GtEq => (Included(bound), Unbounded),
            Operator::Lt => (Unbounded, Excluded(bound)),
            Operator::LtEq => (Unbounded, Included(bound)),
            Operator::Eq => (Included(bound), Included(bound)),
            _ => return None,
        };
        Some(Self { variable, low, high })
    }

    /// Whether `value` is in it.
    pub(super) fn holds(&self, value: f64) -> bool {
        let above = match self.low {
            Bound::Unbounded => true,
            Bound::Included(low) => value.total_cmp(&low).is_ge(),
            Bound::Excluded(low) => value.total_cmp(&low).is_gt(),
        };
        let below = match self.high {
            Bound::Unbounded => true,
            Bound::Included(high) => value.total_cmp(&high).is_le(),
            Bound::Excluded(high) => value.total_cmp(&high).is_lt(),
        };
        above && below
    }
}

/// Whether one of `predicates` compares `arg`, a column, with a constant: where it holds, `arg` isn't NULL.
pub(super) fn excludes_null(predicates: &[Expr], arg: &Expr) -> bool {
    let Some(arg) = arg.downcast_ref::<Column>() else { return false };
    let mut conjuncts = predicates.iter().flat_map(split_conjunction);
    conjuncts.any(|conjunct| comparison(conjunct).is_some_and(|(column, ..)| column.index() == arg.index()))
}

/// `column op constant`, either way round, where `op` is one of `=`, `<>`, `<`, `<=`, `>` and `>=`.
fn comparison(expr: &Expr) -> Option<(&Column, Operator, &ScalarValue)> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let op = *binary.op();
    if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
        return None;
    }
    let (left, right) = (binary.left(), binary.right());
    match (left.downcast_ref::<Column>(), right.downcast_ref::<Column>()) {
        (Some(column), None) => Some((column, op, right.downcast_ref::<Literal>()?.value())),
        (None, Some(column)) => Some((column, op.swap()?, left.downcast_ref::<Literal>()?.value())),
        _ => None,
    }
}

/// The stricter of two lower bounds.
fn higher(one: Bound<f64>, other: Bound<f64>) -> Bound<f64> {
    stricter(one, other, |one, other| one.total_cmp(&other).is_gt())
}

/// The stricter of two upper bounds.
fn lower(one: Bound<f64>, other: Bound<f64>) -> Bound<f64> {
    stricter(one, other, |one, other| one.total_cmp(&other).is_lt())
}

fn stricter(one: Bound<f64>, other: Bound<f64>, beats: impl Fn(f64, f64) -> bool) -> Bound<f64> {
    use Bound::{Excluded, Included, Unbounded};
    match (one, other) {
        (Unbounded, bound) | (bound, Unbounded) => bound,
        (Included(a) | Excluded(a), Included(b) | Excluded(b)) if beats(a, b) => one,
        (Included(a) | Excluded(a), Included(b) | Excluded(b)) if beats(b, a) => other,
        (Excluded(_), _) => one,
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Bound::{Excluded, Included, Unbounded};

    #[test]
    fn the_stricter_bound_wins() {
        assert_eq!(higher(Unbounded, Included(2.0)), Included(2.0));
        assert_eq!(higher(Included(1.0), Excluded(2.0)), Excluded(2.0));
        assert_eq!(higher(Excluded(2.0), Included(2.0)), Excluded(2.0));
        assert_eq!(higher(Included(2.0), Excluded(2.0)), Excluded(2.0));
        assert_eq!(lower(Included(1.0), Excluded(2.0)), Included(1.0));
        assert_eq!(lower(Included(0.0), Included(-0.0)), Included(-0.0));
    }

    #[test]
    fn values_are_held_in_the_total_order() {
        let within = Within { variable: 0, low: Excluded(-0.0), high: Included(2.5) };
        let held = [-1.0, -0.0, 0.0, 2.5, 2.6, f64::NAN, f64::NEG_INFINITY].map(|value| within.holds(value));
        assert_eq!(held, [false, false, true, true, false, false, false]);
        let above = Within { variable: 0, low: Included(1.0), high: Unbounded };
        assert!(above.holds(f64::NAN) && above.holds(f64::INFINITY) && !above.holds(-f64::NAN));
    }
}
