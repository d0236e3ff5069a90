//! The element types that kernels compute in.

/// An element type that kernels compute in; narrower dtypes are widened to one of these, losslessly.
pub(super) trait Cell: Copy + PartialOrd + PartialEq + Default + 'static {
    /// See [`Cell::key`].
    type Key: Copy + PartialOrd;
    /// Whether values can be NaN.
    const FLOAT: bool;
    /// Whether 2^31 of them can be summed in an `i64`.
    const NARROW: bool;
    /// No value is above.
    const HIGHEST: Self;
    /// No value is below.
    const LOWEST: Self;
    /// As `HIGHEST`, in the total order of floats.
    const TOP: Self;
    /// As `LOWEST`, in the total order of floats.
    const BOTTOM: Self;

    /// As a float; rounded for large 64-bit integers.
    fn to_f64(self) -> f64;
    /// As an integer; 0 for floats.
    fn to_i128(self) -> i128;
    /// As an integer; the low 64 bits of those that don't fit, 0 for floats.
    fn to_i64(self) -> i64;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
    /// Whether it is smaller than `than`, where -0.0 is smaller than 0.0; with `TOTAL`, in the total order,
    /// else false if either is NaN. Equal but indistinguishable values may or may not be "below".
    fn below<const TOTAL: bool>(self, than: Self) -> bool;
    /// The counterpart of `below`.
    fn above<const TOTAL: bool>(self, than: Self) -> bool;
    /// The exact sum of a tile; 0 for floats.
    fn sum_exact(tile: &[Self]) -> i128;
    /// An integer that orders like the cell does; floats in their total order.
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
            const HIGHEST: Self = $float::INFINITY;
            const LOWEST: Self = $float::NEG_INFINITY;
            const TOP: Self = $float::from_bits($uint::MAX >> 1);
            const BOTTOM: Self = $float::from_bits($uint::MAX);

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
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
            #[inline(always)]
            fn below<const TOTAL: bool>(self, than: Self) -> bool {
                if TOTAL {
                    return self.key() < than.key();
                }
                (self < than) | ((self == than) & ((self.to_bits() as $int) < 0))
            }
            #[inline(always)]
            fn above<const TOTAL: bool>(self, than: Self) -> bool {
                if TOTAL {
                    return self.key() > than.key();
                }
                (self > than) | ((self == than) & ((self.to_bits() as $int) >= 0))
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
            const HIGHEST: Self = $int::MAX;
            const LOWEST: Self = $int::MIN;
            const TOP: Self = $int::MAX;
            const BOTTOM: Self = $int::MIN;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
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
            #[inline(always)]
            fn below<const TOTAL: bool>(self, than: Self) -> bool {
                self < than
            }
            #[inline(always)]
            fn above<const TOTAL: bool>(self, than: Self) -> bool {
                self > than
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
