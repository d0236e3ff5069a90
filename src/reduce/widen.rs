//! From stored dtypes to the types that kernels compute in, and back.

use super::cell::Cell;
use crate::codec::{Block, Values};
use crate::tgm::DType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A type to compute in, for the dtypes that widen to it losslessly.
pub(super) trait Widen: Cell {
    /// The cells of `block`: its own, or widened into `wide`. `None` if its dtype doesn't widen to this type.
    fn widen<'a>(block: Block<'a>, wide: &'a mut Vec<Self>) -> Option<&'a [Self]>;
    /// Values of `dtype` again; those that don't fit, which no block can have brought, wrap.
    fn narrow(values: Vec<Self>, dtype: DType) -> Option<Values>;
}

/// Fills `wide` with `values`, each widened by `From`.
fn fill<'a, S: Copy, T: From<S>>(values: &[S], wide: &'a mut Vec<T>) -> &'a [T] {
    wide.clear();
    wide.extend(values.iter().map(|&value| T::from(value)));
    wide
}

impl Widen for f32 {
    fn widen<'a>(block: Block<'a>, wide: &'a mut Vec<Self>) -> Option<&'a [Self]> {
        match block {
            Block::Float32(values) => return Some(values),
            Block::Float16(values) => {
                wide.resize(values.len(), 0.0);
                values.convert_to_f32_slice(wide);
            }
            Block::BFloat16(values) => {
                wide.clear();
                wide.extend(values.iter().map(|value| f32::from_bits(u32::from(value.to_bits()) << 16)));
            }
            _ => return None,
        }
        Some(wide)
    }

    fn narrow(values: Vec<Self>, dtype: DType) -> Option<Values> {
        Some(match dtype {
            DType::Float32 => Values::Float32(values),
            DType::Float16 => Values::Float16(values.iter().map(|&value| f16::from_f32(value)).collect()),
            DType::BFloat16 => Values::BFloat16(values.iter().map(|&value| bf16::from_f32(value)).collect()),
            _ => return None,
        })
    }
}

impl Widen for f64 {
    fn widen<'a>(block: Block<'a>, _: &'a mut Vec<Self>) -> Option<&'a [Self]> {
        if let Block::Float64(values) = block { Some(values) } else { None }
    }

    fn narrow(values: Vec<Self>, _: DType) -> Option<Values> {
        Some(Values::Float64(values))
    }
}

impl Widen for i32 {
    fn widen<'a>(block: Block<'a>, wide: &'a mut Vec<Self>) -> Option<&'a [Self]> {
        Some(match block {
            Block::Int32(values) => values,
            Block::Int8(values) => fill(values, wide),
            Block::Int16(values) => fill(values, wide),
            Block::UInt8(values) | Block::Bitmask(values) => fill(values, wide),
            Block::UInt16(values) => fill(values, wide),
            _ => return None,
        })
    }

    fn narrow(values: Vec<Self>, dtype: DType) -> Option<Values> {
        Some(match dtype {
            DType::Int32 => Values::Int32(values),
            DType::Int8 => Values::Int8(values.iter().map(|&value| value as i8).collect()),
            DType::Int16 => Values::Int16(values.iter().map(|&value| value as i16).collect()),
            DType::UInt8 => Values::UInt8(values.iter().map(|&value| value as u8).collect()),
            DType::UInt16 => Values::UInt16(values.iter().map(|&value| value as u16).collect()),
            DType::Bitmask => Values::Bitmask(values.iter().map(|&value| value as u8).collect()),
            _ => return None,
        })
    }
}

impl Widen for i64 {
    fn widen<'a>(block: Block<'a>, wide: &'a mut Vec<Self>) -> Option<&'a [Self]> {
        Some(match block {
            Block::Int64(values) => values,
            Block::UInt32(values) => fill(values, wide),
            _ => return None,
        })
    }

    fn narrow(values: Vec<Self>, dtype: DType) -> Option<Values> {
        Some(match dtype {
            DType::Int64 => Values::Int64(values),
            DType::UInt32 => Values::UInt32(values.iter().map(|&value| value as u32).collect()),
            _ => return None,
        })
    }
}

impl Widen for u64 {
    fn widen<'a>(block: Block<'a>, _: &'a mut Vec<Self>) -> Option<&'a [Self]> {
        if let Block::UInt64(values) = block { Some(values) } else { None }
    }

    fn narrow(values: Vec<Self>, _: DType) -> Option<Values> {
        Some(Values::UInt64(values))
    }
}
