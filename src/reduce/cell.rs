//! The element types that kernels compute in.

use super::passes::{self, Pass};
use std::fmt::Debug;

/// An element type that kernels compute in; narrower dtypes are widened to one of these, losslessly.
pub(super) trait Cell: Copy + PartialEq + Default + 'static {
    /// See [`Cell::key`].
    type Key: Copy + Ord + Debug + 'static;
    /// Whether values can be NaN.
    const FLOAT: bool;
    /// Whether 2^31 of them can be summed in an `i64`.
    const NARROW: bool;
    /// No key is above.
    const TOP: Self::Key;
    /// No key is below.
    const BOTTOM: Self::Key;

    /// As a float; rounded for large 64-bit integers.
    fn to_f64(self) -> f64;
    /// The cell nearest to a float, or to the one of both ends that it is beyond.
    fn of_f64(value: f64) -> Self;
    /// As an integer; 0 for floats.
    fn to_i128(self) -> i128;
    /// As an integer; the low 64 bits of those that don't fit, 0 for floats.
    fn to_i64(self) -> i64;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
    /// The sum of a tile of floats; 0 for integers.
    fn sum(tile: &[Self]) -> f64;
    /// The sum of the deviations of the cells of a tile ([`passes::TILE`]) from `near`, and that of their squares; with
    /// `EXTREMES`, those too.
    fn squares<const EXTREMES: bool>(tile: &[Self], near: f64) -> Pass<Self::Key>;
    /// The exact sum of a tile; 0 for floats.
    fn sum_exact(tile: &[Self]) -> i128;
    /// An integer that orders like the cell does; floats in their total order, in which -0.0 is below 0.0 and NaN
    /// at the ends.
    fn key(self) -> Self::Key;
    /// The cell of a key.
    fn of_key(key: Self::Key) -> Self;
}

macro_rules! float_cell {
    ($float:ident, $int:ident, $uint:ident) => {
        impl Cell for $float {
            type Key = $int;
            const FLOAT: bool = true;
            const NARROW: bool = false;
            const TOP: $int = $int::MAX;
            const BOTTOM: $int = $int::MIN;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn of_f64(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn to_i128(self) -> i128 {
                0
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                0
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
            fn sum(tile: &[Self]) -> f64 {
                passes::sum(tile)
            }
            fn squares<const EXTREMES: bool>(tile: &[Self], near: f64) -> Pass<Self::Key> {
                passes::squares::<Self, EXTREMES>(tile, near)
            }
            #[inline(always)]
            fn sum_exact(_: &[Self]) -> i128 {
                0
            }
            #[inline(always)]
            fn key(self) -> $int {
                let bits = self.to_bits() as $int;
                bits ^ (((bits >> ($int::BITS - 1)) as $uint) >> 1) as $int
            }
            #[inline(always)]
            fn of_key(key: $int) -> Self {
                // The map is its own inverse: it flips all but the sign bit of negative numbers.
                Self::from_bits((key ^ (((key >> ($int::BITS - 1)) as $uint) >> 1) as $int) as $uint)
            }
        }
    };
}

float_cell!(f32, i32, u32);
float_cell!(f64, i64, u64);

macro_rules! int_cell {
    ($int:ident, $narrow:expr, $sum:expr) => {
        impl Cell for $int {
            type Key = $int;
            const FLOAT: bool = false;
            const NARROW: bool = $narrow;
            const TOP: Self = $int::MAX;
            const BOTTOM: Self = $int::MIN;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn of_f64(value: f64) -> Self {
                value.round() as Self
            }
            #[inline(always)]
            fn to_i128(self) -> i128 {
                i128::from(self)
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
            fn sum(_: &[Self]) -> f64 {
                0.0
            }
            fn squares<const EXTREMES: bool>(tile: &[Self], near: f64) -> Pass<Self::Key> {
                let mut values = [0.0; passes::TILE];
                values.iter_mut().zip(tile).for_each(|(value, cell)| *value = cell.to_f64());
                let Pass { sum, squares, .. } = passes::squares::<f64, false>(&values[..tile.len()], near);
                let extremes = if EXTREMES { passes::extremes(tile) } else { (Self::TOP, Self::BOTTOM) };
                Pass { sum, squares, extremes }
            }
            #[inline(always)]
            fn sum_exact(tile: &[Self]) -> i128 {
                $sum(tile)
            }
            #[inline(always)]
            fn key(self) -> Self {
                self
            }
            #[inline(always)]
            fn of_key(key: Self) -> Self {
                key
            }
        }
    };
}

int_cell!(i32, true, |tile: &[i32]| i128::from(tile.iter().fold(0i64, |sum, &x| sum + i64::from(x))));
// Halves are summed apart: a tile has far fewer than 2^31 elements, so neither sum overflows.
int_cell!(i64, false, |tile: &[i64]| {
    let (high, low) =
        tile.iter().fold((0i64, 0u64), |(high, low), &x| (high + (x >> 32), low + (x as u64 & 0xffff_ffff)));
    (i128::from(high) << 32) + i128::from(low)
});
int_cell!(u64, false, |tile: &[u64]| {
    let (high, low) =
        tile.iter().fold((0u64, 0u64), |(high, low), &x| (high + (x >> 32), low + (x & 0xffff_ffff)));
    (i128::from(high) << 32) + i128::from(low)
});
