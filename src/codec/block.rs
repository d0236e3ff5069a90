//! Typed runs of decoded values.

use super::packing::SimplePacking;
use crate::tgm::DType;
use half::{bf16, f16};

/// A complex number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct Complex<T> {
    /// Real part.
    pub re: T,
    /// Imaginary part.
    pub im: T,
}

impl Complex<f32> {
    /// The bytes of the real part, then those of the imaginary one, little-endian.
    pub fn to_le_bytes(self) -> [u8; 8] {
        (u64::from(self.im.to_bits()) << 32 | u64::from(self.re.to_bits())).to_le_bytes()
    }
}

impl Complex<f64> {
    /// The bytes of the real part, then those of the imaginary one, little-endian.
    pub fn to_le_bytes(self) -> [u8; 16] {
        (u128::from(self.im.to_bits()) << 64 | u128::from(self.re.to_bits())).to_le_bytes()
    }
}

/// Consecutive decoded elements of one object, in native order.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Block<'a> {
    Float16(&'a [f16]),
    BFloat16(&'a [bf16]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Complex64(&'a [Complex<f32>]),
    Complex128(&'a [Complex<f64>]),
    /// A bitmask, one byte an element: 0 or 1.
    Bitmask(&'a [u8]),
}

/// Consecutive elements of one object in the form in which they are cheapest to reduce.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// Decoded values.
    Values(Block<'a>),
    /// One value so many times over: nothing was decoded.
    Constant(Block<'a>, usize),
    /// Packed integers, not scaled yet: float64 values are [`SimplePacking::value`] of them.
    Packed(&'a [u32], SimplePacking),
}

impl<'a> From<Block<'a>> for Piece<'a> {
    fn from(block: Block<'a>) -> Self {
        Self::Values(block)
    }
}

impl Piece<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Values(block) => block.len(),
            Self::Constant(_, len) => *len,
            Self::Packed(samples, _) => samples.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Dtype of the values.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Values(block) | Self::Constant(block, _) => block.dtype(),
            Self::Packed(..) => DType::Float64,
        }
    }

    /// Elements `start..end` of it.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        match *self {
            Self::Values(block) => Self::Values(block.slice(start, end)),
            Self::Constant(value, _) => Self::Constant(value, end - start),
            Self::Packed(samples, packing) => Self::Packed(&samples[start..end], packing),
        }
    }
}

/// Owned values of one dtype.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Values {
    Float16(Vec<f16>),
    BFloat16(Vec<bf16>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Complex64(Vec<Complex<f32>>),
    Complex128(Vec<Complex<f64>>),
    /// A bitmask, one byte an element: 0 or 1.
    Bitmask(Vec<u8>),
}

/// Runs the same expression for whichever slice or vector a [`Block`] or [`Values`] holds.
///
/// ```
/// use millibar::{codec::Block, each_dtype};
/// let block = Block::Int16(&[1, 2, 3]);
/// assert_eq!(each_dtype!(Block, block, values => values.len()), 3);
/// ```
#[macro_export]
macro_rules! each_dtype {
    ($enum:ident, $it:expr, $values:ident => $body:expr) => {
        match $it {
            $enum::Float16($values) => $body,
            $enum::BFloat16($values) => $body,
            $enum::Float32($values) => $body,
            $enum::Float64($values) => $body,
            $enum::Int8($values) => $body,
            $enum::Int16($values) => $body,
            $enum::Int32($values) => $body,
            $enum::Int64($values) => $body,
            $enum::UInt8($values) => $body,
            $enum::UInt16($values) => $body,
            $enum::UInt32($values) => $body,
            $enum::UInt64($values) => $body,
            $enum::Complex64($values) => $body,
            $enum::Complex128($values) => $body,
            $enum::Bitmask($values) => $body,
        }
    };
}

impl<'a> Block<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each_dtype!(Block, self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Dtype of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Float16(_) => DType::Float16,
            Self::BFloat16(_) => DType::BFloat16,
            Self::Float32(_) => DType::Float32,
            Self::Float64(_) => DType::Float64,
            Self::Int8(_) => DType::Int8,
            Self::Int16(_) => DType::Int16,
            Self::Int32(_) => DType::Int32,
            Self::Int64(_) => DType::Int64,
            Self::UInt8(_) => DType::UInt8,
            Self::UInt16(_) => DType::UInt16,
            Self::UInt32(_) => DType::UInt32,
            Self::UInt64(_) => DType::UInt64,
            Self::Complex64(_) => DType::Complex64,
            Self::Complex128(_) => DType::Complex128,
            Self::Bitmask(_) => DType::Bitmask,
        }
    }

    /// The elements' native bytes.
    pub fn bytes(&self) -> &'a [u8] {
        fn of<T: Number>(values: &[T]) -> &[u8] {
            // SAFETY: only types without padding implement `Number`, and any byte is a valid u8.
            unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
        }
        each_dtype!(Block, *self, values => of(values))
    }

    /// `bytes` as native values of `dtype`; `None` if they aren't aligned for them, or no whole number of them.
    /// Bitmasks have a byte an element.
    pub fn from_bytes(dtype: DType, bytes: &'a [u8]) -> Option<Self> {
        Some(match dtype {
            DType::Float16 => Self::Float16(cast(bytes)?),
            DType::BFloat16 => Self::BFloat16(cast(bytes)?),
            DType::Float32 => Self::Float32(cast(bytes)?),
            DType::Float64 => Self::Float64(cast(bytes)?),
            DType::Complex64 => Self::Complex64(cast(bytes)?),
            DType::Complex128 => Self::Complex128(cast(bytes)?),
            DType::Int8 => Self::Int8(cast(bytes)?),
            DType::Int16 => Self::Int16(cast(bytes)?),
            DType::Int32 => Self::Int32(cast(bytes)?),
            DType::Int64 => Self::Int64(cast(bytes)?),
            DType::UInt8 => Self::UInt8(bytes),
            DType::UInt16 => Self::UInt16(cast(bytes)?),
            DType::UInt32 => Self::UInt32(cast(bytes)?),
            DType::UInt64 => Self::UInt64(cast(bytes)?),
            DType::Bitmask => Self::Bitmask(bytes),
        })
    }

    /// Elements `start..end` of this block.
    pub fn slice(&self, start: usize, end: usize) -> Block<'a> {
        match *self {
            Block::Float16(v) => Block::Float16(&v[start..end]),
            Block::BFloat16(v) => Block::BFloat16(&v[start..end]),
            Block::Float32(v) => Block::Float32(&v[start..end]),
            Block::Float64(v) => Block::Float64(&v[start..end]),
            Block::Int8(v) => Block::Int8(&v[start..end]),
            Block::Int16(v) => Block::Int16(&v[start..end]),
            Block::Int32(v) => Block::Int32(&v[start..end]),
            Block::Int64(v) => Block::Int64(&v[start..end]),
            Block::UInt8(v) => Block::UInt8(&v[start..end]),
            Block::UInt16(v) => Block::UInt16(&v[start..end]),
            Block::UInt32(v) => Block::UInt32(&v[start..end]),
            Block::UInt64(v) => Block::UInt64(&v[start..end]),
            Block::Complex64(v) => Block::Complex64(&v[start..end]),
            Block::Complex128(v) => Block::Complex128(&v[start..end]),
            Block::Bitmask(v) => Block::Bitmask(&v[start..end]),
        }
    }
}

impl Values {
    /// No values, room for `capacity`.
    pub fn with_capacity(dtype: DType, capacity: usize) -> Self {
        match dtype {
            DType::Float16 => Self::Float16(Vec::with_capacity(capacity)),
            DType::BFloat16 => Self::BFloat16(Vec::with_capacity(capacity)),
            DType::Float32 => Self::Float32(Vec::with_capacity(capacity)),
            DType::Float64 => Self::Float64(Vec::with_capacity(capacity)),
            DType::Int8 => Self::Int8(Vec::with_capacity(capacity)),
            DType::Int16 => Self::Int16(Vec::with_capacity(capacity)),
            DType::Int32 => Self::Int32(Vec::with_capacity(capacity)),
            DType::Int64 => Self::Int64(Vec::with_capacity(capacity)),
            DType::UInt8 => Self::UInt8(Vec::with_capacity(capacity)),
            DType::UInt16 => Self::UInt16(Vec::with_capacity(capacity)),
            DType::UInt32 => Self::UInt32(Vec::with_capacity(capacity)),
            DType::UInt64 => Self::UInt64(Vec::with_capacity(capacity)),
            DType::Complex64 => Self::Complex64(Vec::with_capacity(capacity)),
            DType::Complex128 => Self::Complex128(Vec::with_capacity(capacity)),
            DType::Bitmask => Self::Bitmask(Vec::with_capacity(capacity)),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each_dtype!(Values, self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it as a block.
    pub fn as_block(&self) -> Block<'_> {
        match self {
            Self::Float16(v) => Block::Float16(v),
            Self::BFloat16(v) => Block::BFloat16(v),
            Self::Float32(v) => Block::Float32(v),
            Self::Float64(v) => Block::Float64(v),
            Self::Int8(v) => Block::Int8(v),
            Self::Int16(v) => Block::Int16(v),
            Self::Int32(v) => Block::Int32(v),
            Self::Int64(v) => Block::Int64(v),
            Self::UInt8(v) => Block::UInt8(v),
            Self::UInt16(v) => Block::UInt16(v),
            Self::UInt32(v) => Block::UInt32(v),
            Self::UInt64(v) => Block::UInt64(v),
            Self::Complex64(v) => Block::Complex64(v),
            Self::Complex128(v) => Block::Complex128(v),
            Self::Bitmask(v) => Block::Bitmask(v),
        }
    }

    /// Appends a block of the same dtype; `false` (and nothing appended) if it is of another.
    #[must_use]
    pub fn extend(&mut self, block: Block<'_>) -> bool {
        match (self, block) {
            (Self::Float16(v), Block::Float16(b)) => v.extend_from_slice(b),
            (Self::BFloat16(v), Block::BFloat16(b)) => v.extend_from_slice(b),
            (Self::Float32(v), Block::Float32(b)) => v.extend_from_slice(b),
            (Self::Float64(v), Block::Float64(b)) => v.extend_from_slice(b),
            (Self::Int8(v), Block::Int8(b)) => v.extend_from_slice(b),
            (Self::Int16(v), Block::Int16(b)) => v.extend_from_slice(b),
            (Self::Int32(v), Block::Int32(b)) => v.extend_from_slice(b),
            (Self::Int64(v), Block::Int64(b)) => v.extend_from_slice(b),
            (Self::UInt8(v), Block::UInt8(b)) => v.extend_from_slice(b),
            (Self::UInt16(v), Block::UInt16(b)) => v.extend_from_slice(b),
            (Self::UInt32(v), Block::UInt32(b)) => v.extend_from_slice(b),
            (Self::UInt64(v), Block::UInt64(b)) => v.extend_from_slice(b),
            (Self::Complex64(v), Block::Complex64(b)) => v.extend_from_slice(b),
            (Self::Complex128(v), Block::Complex128(b)) => v.extend_from_slice(b),
            (Self::Bitmask(v), Block::Bitmask(b)) => v.extend_from_slice(b),
            _ => return false,
        }
        true
    }
}

/// Plain numbers: any bits are a value, and there is no padding.
pub(super) trait Number: Copy {}
impl Number for f16 {}
impl Number for bf16 {}
impl Number for f32 {}
impl Number for f64 {}
impl Number for Complex<f32> {}
impl Number for Complex<f64> {}
impl Number for i8 {}
impl Number for i16 {}
impl Number for i32 {}
impl Number for i64 {}
impl Number for u8 {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}

/// `bytes` as native numbers; `None` if they aren't aligned for them, or no whole number of them.
pub(super) fn cast<T: Number>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: only numbers implement `Number` (f16 and bf16 are transparent wrappers of u16, complex numbers are two
    // floats as in C); every bit pattern of them is valid, and `align_to` takes care of alignment and length.
    let (before, values, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}
