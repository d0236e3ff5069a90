//! What is known of a predicate on some cells before any of them is read: interval arithmetic over its expression.
//!
//! ```text
//! statistics of chunks, labels -> Bounds::known -> Values of columns -> Values of expressions
//!                                                                          | compared
//!                                                                          v
//!                                        Verdict  <-  Truths: which of true, false and NULL it may be
//! ```
//! An expression lies between two values, and may be NULL for some cells. Comparisons follow the order that DataFusion
//! compares by, in which -0.0 is below 0.0 and NaN above all numbers. Arithmetic is DataFusion's own on intervals, which
//! rounds outwards; where it reaches infinity, or an integer could leave its type (SQL wraps), nothing is said, so that
//! no NaN comes about unseen. Functions of one float that rise throughout, and `abs`, are DataFusion's own at both ends.
//! What isn't known to be otherwise may be anything.

use super::aggregate::functions::{Known, known};
use super::bounds::{Bounds, Nulls, scalar};
use super::order;
use super::scan::ColumnSource;
use crate::reduce::expr::Math;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::interval_arithmetic::{Interval, apply_operator};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NegativeExpr, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::cmp::Ordering;
use std::sync::Arc;

type Expr = Arc<dyn PhysicalExpr>;

/// Of how many of some cells a predicate is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Of none: they needn't be read.
    Never,
    /// Of each: it needn't be evaluated.
    Always,
    /// That depends on the cells.
    Unknown,
}

impl Verdict {
    /// That of `predicates` together; none are true of each cell.
    pub(crate) fn of_all<'e>(
        cells: &Bounds<'_>,
        predicates: impl IntoIterator<Item = &'e Expr>,
        column: &dyn Fn(usize) -> ColumnSource,
    ) -> Self {
        let mut all = Self::Always;
        for predicate in predicates {
            match Self::of(cells, predicate, column) {
                Self::Never => return Self::Never,
                Self::Unknown => all = Self::Unknown,
                Self::Always => {}
            }
        }
        all
    }

    /// That of `predicate` on `cells`; `column` says what its columns are.
    pub(crate) fn of(cells: &Bounds<'_>, predicate: &Expr, column: &dyn Fn(usize) -> ColumnSource) -> Self {
        let Truths { yes, no, null } = Scope { cells, column }.truths(predicate);
        match (yes, no || null) {
            (false, _) => Self::Never,
            (true, false) => Self::Always,
            (true, true) => Self::Unknown,
        }
    }
}

/// What a boolean expression may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Truths {
    yes: bool,
    no: bool,
    null: bool,
}

impl Truths {
    const ANY: Self = Self { yes: true, no: true, null: true };
    const NULL: Self = Self { yes: false, no: false, null: true };

    fn and(self, other: Self) -> Self {
        Self {
            yes: self.yes && other.yes,
            no: self.no || other.no,
            null: (self.null && (other.null || other.yes)) || (other.null && self.yes),
        }
    }

    fn not(self) -> Self {
        Self { yes: self.no, no: self.yes, ..self }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// What an expression may be.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// NULL.
    Null,
    /// From `low` to `high`, or NULL for some cells if `nulls`.
    Between { low: ScalarValue, high: ScalarValue, nulls: bool },
}

impl Values {
    fn nulls(&self) -> bool {
        matches!(self, Self::Null | Self::Between { nulls: true, .. })
    }

    /// As an interval of finite numbers, if it is one.
    fn interval(self) -> Option<(Interval, bool)> {
        match self {
            Self::Between { low, high, nulls } if is_finite(&low) && is_finite(&high) => {
                Some((Interval::try_new(low, high).ok()?, nulls))
            }
            _ => None,
        }
    }

    /// What arithmetic made: nothing is known of it unless it is finite. A zero may have either sign.
    fn made(interval: Interval, nulls: bool) -> Option<Self> {
        let (low, high) = interval.into_bounds();
        let (low, high) = (signed(low, -0.0), signed(high, 0.0));
        (is_finite(&low) && is_finite(&high)).then_some(Self::Between { low, high, nulls })
    }
}

fn is_finite(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float16(value) => value.is_some_and(|value| value.is_finite()),
        ScalarValue::Float32(value) => value.is_some_and(f32::is_finite),
        ScalarValue::Float64(value) => value.is_some_and(f64::is_finite),
        value => !value.is_null(),
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float16(value) => value.is_some_and(|value| value.to_f32() == 0.0),
        ScalarValue::Float32(value) => *value == Some(0.0),
        ScalarValue::Float64(value) => *value == Some(0.0),
        _ => false,
    }
}

/// `value`, or `zero` if it is a zero.
fn signed(value: ScalarValue, zero: f32) -> ScalarValue {
    match value {
        ScalarValue::Float16(Some(value)) if value.to_f32() == 0.0 => {
            ScalarValue::Float16(Some(half::f16::from_f32(zero)))
        }
        ScalarValue::Float32(Some(0.0)) => ScalarValue::Float32(Some(zero)),
        ScalarValue::Float64(Some(0.0)) => ScalarValue::Float64(Some(zero.into())),
        value => value,
    }
}

/// Some cells, and what the columns of expressions over them are.
struct Scope<'a> {
    cells: &'a Bounds<'a>,
    column: &'a dyn Fn(usize) -> ColumnSource,
}

impl Scope<'_> {
    /// What `expr`, a boolean, may be.
    fn truths(&self, expr: &Expr) -> Truths {
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return match binary.op() {
                Operator::And => self.truths(binary.left()).and(self.truths(binary.right())),
                Operator::Or => self.truths(binary.left()).or(self.truths(binary.right())),
                op => match (self.values(binary.left()), self.values(binary.right())) {
                    (Some(left), Some(right)) => compared(op, &left, &right),
                    _ => Truths::ANY,
                },
            };
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return self.truths(not.arg()).not();
        }
        if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
            return self.is_null(null.arg());
        }
        if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
            return self.is_null(null.arg()).not();
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            return self.in_list(list);
        }
        let truth = ScalarValue::Boolean(Some(true));
        let truth = Values::Between { low: truth.clone(), high: truth, nulls: false };
        self.values(expr).map_or(Truths::ANY, |values| compared(&Operator::Eq, &values, &truth))
    }

    fn is_null(&self, expr: &Expr) -> Truths {
        let (yes, no) = match self.values(expr) {
            Some(Values::Null) => (true, false),
            Some(Values::Between { nulls, .. }) => (nulls, true),
            None => (true, true),
        };
        Truths { yes, no, null: false }
    }

    /// `x IN (a, b, ...)` is `x = a OR x = b OR ...`, but that some lists take zeros of both signs for the same.
    fn in_list(&self, list: &InListExpr) -> Truths {
        let values = self.values(list.expr());
        let items = list.list().iter().map(|item| match (&values, self.values(item)) {
            (Some(_), Some(Values::Between { low, .. })) if is_zero(&low) => Truths::ANY,
            (Some(values), Some(item)) => compared(&Operator::Eq, values, &item),
            _ => Truths::ANY,
        });
        let none = Truths { yes: false, no: true, null: false };
        let found = items.fold(none, Truths::or);
        if list.negated() { found.not() } else { found }
    }

    /// What `expr` may be; `None` if nothing is known of it.
    fn values(&self, expr: &Expr) -> Option<Values> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.column(column.index());
        }
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            let value = literal.value();
            let between = || Values::Between { low: value.clone(), high: value.clone(), nulls: false };
            return Some(if value.is_null() { Values::Null } else { between() });
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            return cast_values(self.values(cast.expr())?, cast.cast_type());
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            let (interval, nulls) = match self.values(negative.arg())? {
                Values::Null => return Some(Values::Null),
                values => values.interval()?,
            };
            return Values::made(interval.arithmetic_negate().ok()?, nulls);
        }
        if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
            let [arg] = function.args() else { return None };
            let (interval, nulls) = match self.values(arg)? {
                Values::Null => return Some(Values::Null),
                values => values.interval()?,
            };
            return Values::made(image(function, expr, &interval)?, nulls);
        }
        let binary = expr.downcast_ref::<BinaryExpr>()?;
        self.arithmetic(binary)
    }

    fn column(&self, index: usize) -> Option<Values> {
        match (self.column)(index) {
            ColumnSource::Dim(dim) => {
                let coord = &self.cells.grid.dims[dim].coord;
                let (low, high) = order::bounds(coord, &self.cells.selection.dims[dim])?;
                (!low.is_null() && !high.is_null()).then_some(Values::Between { low, high, nulls: false })
            }
            ColumnSource::Variable(variable) => {
                let variable = &self.cells.grid.variables[variable];
                let known = self.cells.known(variable)?;
                let Some((low, high)) = known.bounds else { return Some(Values::Null) };
                let of = variable.arrow_type();
                let (low, high) = (scalar(low, &of)?, scalar(high, &of)?);
                Some(Values::Between { low, high, nulls: known.nulls != Nulls::None })
            }
        }
    }

    fn arithmetic(&self, binary: &BinaryExpr) -> Option<Values> {
        let op = binary.op();
        if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide) {
            return None;
        }
        let (left, right) = (self.values(binary.left())?, self.values(binary.right())?);
        if left == Values::Null || right == Values::Null {
            return Some(Values::Null);
        }
        let ((left, left_nulls), (right, right_nulls)) = (left.interval()?, right.interval()?);
        if left.data_type() != right.data_type() {
            return None;
        }
        if *op == Operator::Divide {
            let zero = ScalarValue::new_zero(&right.data_type()).ok()?;
            let around_zero = right.lower() <= &zero && is_zero_or_above(right.upper(), &zero);
            if !right.data_type().is_floating() || around_zero {
                return None;
            }
        }
        Values::made(apply_operator(op, &left, &right).ok()?, left_nulls || right_nulls)
    }
}

/// How a function of one float runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Rises, or stays, in what is computed, too.
    Rises,
    /// Rises; what is computed may be off in the last digits.
    AboutRises,
    /// Falls below zero and rises above it.
    Abs,
}

/// How `math` runs, if that is known, for numbers from `low` on.
fn course(math: Math, low: f64) -> Option<Course> {
    Some(match math {
        Math::Abs => Course::Abs,
        Math::Floor | Math::Ceil | Math::Round | Math::Signum | Math::Radians | Math::Degrees => {
            Course::Rises
        }
        Math::Sqrt if low >= 0.0 => Course::Rises,
        Math::Ln | Math::Log2 | Math::Log10 if low > 0.0 => Course::AboutRises,
        Math::Cbrt | Math::Exp | Math::Sinh | Math::Tanh | Math::Asinh | Math::Atan => Course::AboutRises,
        _ => return None,
    })
}

/// What `function`, which is `expr`, makes of the numbers of `interval`; `None` if that isn't known.
fn image(function: &ScalarFunctionExpr, expr: &Expr, interval: &Interval) -> Option<Interval> {
    let Some(Known::Math(math)) = known(function.fun()) else { return None };
    // Far more than the digits in which implementations of functions are off.
    let slack = match interval.data_type() {
        DataType::Float32 => 1e-5,
        DataType::Float64 => 1e-12,
        _ => return None,
    };
    let course = course(math, double(interval.lower())?)?;
    let at = |end: &ScalarValue| double(&value_at(expr, end)?);
    let (low, high) = (at(interval.lower())?, at(interval.upper())?);
    let (low, high) = match course {
        Course::Rises => (low, high),
        Course::AboutRises => (low - slack * low.abs(), high + slack * high.abs()),
        Course::Abs => {
            let crosses = double(interval.lower())? < 0.0 && double(interval.upper())? > 0.0;
            (if crosses { 0.0 } else { low.min(high) }, low.max(high))
        }
    };
    let typed = |value: f64| ScalarValue::from(value).cast_to(&interval.data_type()).ok();
    Interval::try_new(typed(low)?, typed(high)?).ok()
}

fn double(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Float32(value) => value.map(f64::from),
        ScalarValue::Float64(value) => *value,
        _ => None,
    }
}

/// What `expr`, a function of one argument, is of `arg`.
fn value_at(expr: &Expr, arg: &ScalarValue) -> Option<ScalarValue> {
    let of_arg = Arc::clone(expr).with_new_children(vec![Arc::new(Literal::new(arg.clone()))]).ok()?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).ok()?;
    match of_arg.evaluate(&row).ok()? {
        ColumnarValue::Scalar(value) => Some(value),
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0).ok(),
    }
}

/// Whether `value` is `zero`, of either sign, or above.
fn is_zero_or_above(value: &ScalarValue, zero: &ScalarValue) -> bool {
    is_zero(value) || value >= zero
}

/// Values cast from one type of numbers to another, which keeps their order.
fn cast_values(values: Values, to: &DataType) -> Option<Values> {
    let Values::Between { low, high, nulls } = values else { return Some(Values::Null) };
    if !low.data_type().is_numeric() || !to.is_numeric() {
        return None;
    }
    let (low, high) = (low.cast_to(to).ok()?, high.cast_to(to).ok()?);
    (!low.is_null() && !high.is_null()).then_some(Values::Between { low, high, nulls })
}

/// What `left op right` may be.
fn compared(op: &Operator, left: &Values, right: &Values) -> Truths {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
        return Truths::ANY;
    }
    let (
        Values::Between { low: left_low, high: left_high, .. },
        Values::Between { low: right_low, high: right_high, .. },
    ) = (left, right)
    else {
        return Truths::NULL;
    };
    // How the smallest left compares with the largest right, and the other way round.
    let orders = (left_low.partial_cmp(right_high), left_high.partial_cmp(right_low));
    let (Some(least), Some(most)) = orders else { return Truths::ANY };
    let single = left_low == left_high && right_low == right_high;
    let same = (least.is_le() && most.is_ge(), !(single && least == Ordering::Equal));
    let (yes, no) = match op {
        Lt => (least.is_lt(), most.is_ge()),
        LtEq => (least.is_le(), most.is_gt()),
        Gt => (most.is_gt(), least.is_le()),
        GtEq => (most.is_ge(), least.is_lt()),
        Eq => same,
        _ => (same.1, same.0),
    };
    Truths { yes, no, null: left.nulls() || right.nulls() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: u8 = 8;

    fn truths(bits: u8) -> Truths {
        Truths { yes: bits & 1 > 0, no: bits & 2 > 0, null: bits & 4 > 0 }
    }

    fn members(truths: Truths) -> Vec<Option<bool>> {
        let all = [(truths.yes, Some(true)), (truths.no, Some(false)), (truths.null, None)];
        all.into_iter().filter(|(may, _)| *may).map(|(_, truth)| truth).collect()
    }

    fn set(members: impl Iterator<Item = Option<bool>>) -> Truths {
        members.fold(truths(0), |mut set, member| {
            match member {
                Some(true) => set.yes = true,
                Some(false) => set.no = true,
                None => set.null = true,
            }
            set
        })
    }

    #[test]
    fn logic_is_that_of_sql() {
        let and = |a: Option<bool>, b: Option<bool>| match (a, b) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        let not = |a: Option<bool>| a.map(|a| !a);
        for a in (1..SETS).map(truths) {
            assert_eq!(a.not(), set(members(a).into_iter().map(not)));
            for b in (1..SETS).map(truths) {
                let pairs =
                    || members(a).into_iter().flat_map(|a| members(b).into_iter().map(move |b| (a, b)));
                assert_eq!(a.and(b), set(pairs().map(|(a, b)| and(a, b))), "{a:?} AND {b:?}");
                assert_eq!(a.or(b), set(pairs().map(|(a, b)| not(and(not(a), not(b))))), "{a:?} OR {b:?}");
            }
        }
    }

    #[test]
    fn functions_stay_within_what_is_said_of_them() {
        use datafusion::arrow::datatypes::Field;
        use datafusion::config::ConfigOptions;
        use datafusion::functions::math;
        let all = [
            (math::abs(), -9.0),
            (math::floor(), -9.0),
            (math::ceil(), -9.0),
            (math::round(), -9.0),
            (math::signum(), -9.0),
            (math::radians(), -9.0),
            (math::degrees(), -9.0),
            (math::sqrt(), 0.0),
            (math::ln(), 1e-3),
            (math::log2(), 1e-3),
            (math::log10(), 1e-3),
            (math::cbrt(), -9.0),
            (math::exp(), -9.0),
            (math::sinh(), -9.0),
            (math::tanh(), -9.0),
            (math::asinh(), -9.0),
            (math::atan(), -9.0),
        ];
        for of in [DataType::Float32, DataType::Float64] {
            let schema = Schema::new(vec![Field::new("x", of.clone(), true)]);
            let typed = |value: f64| ScalarValue::from(value).cast_to(&of).unwrap();
            for (function, from) in &all {
                let arg: Expr = Arc::new(Column::new("x", 0));
                let options = Arc::new(ConfigOptions::default());
                let call =
                    ScalarFunctionExpr::try_new(Arc::clone(function), vec![arg], &schema, options).unwrap();
                let expr: Expr = Arc::new(call);
                let call = expr.downcast_ref::<ScalarFunctionExpr>().unwrap();
                let points: Vec<f64> = (0..60).map(|i| from + 0.307 * f64::from(i)).collect();
                for (low, high) in [(0, 59), (0, 20), (25, 40), (29, 30), (7, 7)] {
                    let interval = Interval::try_new(typed(points[low]), typed(points[high])).unwrap();
                    let image = image(call, &expr, &interval).unwrap();
                    for &point in &points[low..=high] {
                        let value = value_at(&expr, &typed(point)).unwrap();
                        assert!(
                            image.lower() <= &value && &value <= image.upper(),
                            "{} of {point} is {value}, not in {image}",
                            function.name()
                        );
                    }
                }
            }
        }
        assert_eq!(
            (course(Math::Sqrt, -1.0), course(Math::Ln, 0.0), course(Math::Sin, 0.0)),
            (None, None, None)
        );
    }

    #[test]
    fn comparisons_are_true_and_false_of_what_they_can_be() {
        let ranges = || (0..4_i64).flat_map(|low| (low..4).map(move |high| low..=high));
        let between = |range: &std::ops::RangeInclusive<i64>, nulls| Values::Between {
            low: ScalarValue::from(*range.start()),
            high: ScalarValue::from(*range.end()),
            nulls,
        };
        type Holds = fn(&i64, &i64) -> bool;
        let ops: [(Operator, Holds); 6] = [
            (Operator::Lt, i64::lt),
            (Operator::LtEq, i64::le),
            (Operator::Gt, i64::gt),
            (Operator::GtEq, i64::ge),
            (Operator::Eq, i64::eq),
            (Operator::NotEq, i64::ne),
        ];
        for (op, holds) in ops {
            for (a, b) in ranges().flat_map(|a| ranges().map(move |b| (a.clone(), b))) {
                let pairs = || a.clone().flat_map(|a| b.clone().map(move |b| (a, b)));
                let want = set(pairs().map(|(a, b)| Some(holds(&a, &b))));
                assert_eq!(compared(&op, &between(&a, false), &between(&b, false)), want, "{a:?} {op} {b:?}");
                let some = compared(&op, &between(&a, false), &between(&b, true));
                assert_eq!(some, Truths { null: true, ..want });
            }
        }
        assert_eq!(compared(&Operator::Eq, &Values::Null, &between(&(0..=1), false)), Truths::NULL);
        let distinct = compared(&Operator::IsDistinctFrom, &Values::Null, &between(&(0..=1), false));
        assert_eq!(distinct, Truths::ANY);
    }

    #[test]
    fn arithmetic_says_nothing_where_it_could_lose_its_way() {
        let interval =
            |low: f64, high: f64| Interval::try_new(ScalarValue::from(low), ScalarValue::from(high)).unwrap();
        assert_eq!(
            Values::made(interval(f64::MIN, f64::MAX).add(interval(1.0, f64::MAX)).unwrap(), false),
            None
        );
        let zero = Values::made(interval(0.0, 2.0), false).unwrap();
        let Values::Between { low, .. } = zero else { panic!("not a range") };
        assert!(low < ScalarValue::from(0.0), "a zero may be negative");
        let infinite = Values::Between {
            low: ScalarValue::from(1.0),
            high: ScalarValue::from(f64::INFINITY),
            nulls: false,
        };
        assert_eq!(infinite.interval(), None);
        let wide = Interval::try_new(ScalarValue::from(1_i64), ScalarValue::from(i64::MAX)).unwrap();
        assert_eq!(Values::made(wide.add(&wide).unwrap(), false), None, "integers wrap");
    }
}
