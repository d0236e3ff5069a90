//! What steps compute. Each function is the one that DataFusion's of the same name calls.

use super::lane::Value;

/// Functions of one float, whose result is of its type. None fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Math {
    Negate,
    Abs,
    Sqrt,
    Cbrt,
    Exp,
    Ln,
    Log2,
    Log10,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Radians,
    Degrees,
    Floor,
    Ceil,
    /// Half away from zero.
    Round,
    /// -1, 0 (for zeros of both signs) or 1.
    Signum,
}

/// Functions of two numbers of one type, whose result is of that type. Those of integers wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Arith {
    Add,
    Subtract,
    Multiply,
    /// Of integers: by a constant that is neither 0 nor -1.
    Divide,
    /// Of integers: by a constant that is neither 0 nor -1.
    Remainder,
    /// Of floats.
    Power,
    /// Of floats.
    Atan2,
}

/// Comparisons. Zeros of both signs are equal; NaN follows the total order of IEEE 754.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
}

/// A type with arithmetic.
pub(super) trait Number: Value {
    /// An integer that orders and equals like the number does.
    type Key: Copy + Ord + TryFrom<i128>;
    /// The least key that there can be, and the greatest.
    const KEYS: (i128, i128);

    fn key(self) -> Self::Key;
    fn add(self, other: Self) -> Self;
    fn subtract(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    fn divide(self, other: Self) -> Self;
    fn remainder(self, other: Self) -> Self;
}

macro_rules! integer {
    ($($int:ty)*) => {$(
        impl Number for $int {
            type Key = Self;
            const KEYS: (i128, i128) = (Self::MIN as i128, Self::MAX as i128);

            #[inline(always)]
            fn key(self) -> Self {
                self
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn subtract(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn multiply(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn divide(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
        }
    )*};
}
integer!(i32 i64 u64);

macro_rules! float {
    ($float:ident $int:ident $uint:ident) => {
        impl Number for $float {
            type Key = $int;
            const KEYS: (i128, i128) = ($int::MIN as i128, $int::MAX as i128);

            #[inline(always)]
            fn key(self) -> $int {
                let bits = (if self == 0.0 { 0.0 } else { self }).to_bits() as $int;
                bits ^ (((bits >> ($int::BITS - 1)) as $uint) >> 1) as $int
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn subtract(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn multiply(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn divide(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                self % other
            }
        }
    };
}
float!(f32 i32 u32);
float!(f64 i64 u64);

/// Expands `$run!(|x| ...)` with the function that `$math` is, for floats of type `$float`. Those that vector units
/// don't have are of one type, so that they share a loop.
macro_rules! each_math {
    ($math:expr, $float:ident, $run:ident) => {
        match $math {
            Math::Negate => $run!(|x: $float| -x),
            Math::Abs => $run!($float::abs),
            Math::Sqrt => $run!($float::sqrt),
            Math::Cbrt => $run!($float::cbrt as fn($float) -> $float),
            Math::Exp => $run!($float::exp as fn($float) -> $float),
            Math::Ln => $run!($float::ln as fn($float) -> $float),
            Math::Log2 => $run!($float::log2 as fn($float) -> $float),
            Math::Log10 => $run!($float::log10 as fn($float) -> $float),
            Math::Sin => $run!($float::sin as fn($float) -> $float),
            Math::Cos => $run!($float::cos as fn($float) -> $float),
            Math::Tan => $run!($float::tan as fn($float) -> $float),
            Math::Asin => $run!($float::asin as fn($float) -> $float),
            Math::Acos => $run!($float::acos as fn($float) -> $float),
            Math::Atan => $run!($float::atan as fn($float) -> $float),
            Math::Sinh => $run!($float::sinh as fn($float) -> $float),
            Math::Cosh => $run!($float::cosh as fn($float) -> $float),
            Math::Tanh => $run!($float::tanh as fn($float) -> $float),
            Math::Asinh => $run!($float::asinh as fn($float) -> $float),
            Math::Acosh => $run!($float::acosh as fn($float) -> $float),
            Math::Atanh => $run!($float::atanh as fn($float) -> $float),
            Math::Radians => $run!($float::to_radians),
            Math::Degrees => $run!($float::to_degrees),
            Math::Floor => $run!($float::floor),
            Math::Ceil => $run!($float::ceil),
            Math::Round => $run!($float::round as fn($float) -> $float),
            Math::Signum => $run!(|x: $float| if x == 0.0 { 0.0 } else { x.signum() }),
        }
    };
}
pub(super) use each_math;
