//! Runs of one value.

use super::cell::Cell;
use super::kernels::{Stretch, Target};
use super::state::{Partial, State, two_product};

/// Adds cells that all are `value`, stretch by stretch; only runs are added.
pub(super) fn add<T: Cell>(state: &mut State<T>, value: T, stretches: &[Stretch]) {
    if !state.total && value.is_nan() {
        return;
    }
    for stretch in stretches {
        if let Target::Run(group) = stretch.to {
            state.fold(group, &repeated(value, stretch.len as u64));
        }
    }
}

/// The state of `count` cells that all are `value`.
fn repeated<T: Cell>(value: T, count: u64) -> Partial<T> {
    let (sum, rest) = two_product(value.to_f64(), count as f64);
    // The deviations of infinities, and of NaN, aren't numbers.
    let m2 = 0.0 * (value.to_f64() - value.to_f64());
    let exact = value.to_i128() * i128::from(count);
    Partial { count, sum, rest, exact, min: value.key(), max: value.key(), m2 }
}
