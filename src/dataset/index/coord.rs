//! Labels of a dim as numbers or texts, and back.

use super::file::{Column, Columns, Sound};
use crate::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use half::f16;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

/// The labels of one dim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Labels {
    /// `0, 1, ...`, as Int64.
    Positions(u64),
    /// Numbers of a type, as 64 bits each.
    Numbers(Type, Column),
    /// Texts.
    Texts(Vec<String>),
}

/// The types that coords have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Type {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float16,
    Float32,
    Float64,
    /// Nanoseconds since the epoch, without a zone.
    Time,
}

/// A number of a coord in 64 bits.
trait Word: ArrowPrimitiveType {
    fn word(value: Self::Native) -> u64;
    fn value(word: u64) -> Self::Native;
}

macro_rules! words {
    ($($of:ident: $value:ident => $word:expr, $bits:ident => $back:expr;)*) => {
        $(impl Word for $of {
            fn word($value: Self::Native) -> u64 {
                $word
            }
            fn value($bits: u64) -> Self::Native {
                $back
            }
        })*
    };
}

words! {
    Int8Type: v => v as u64, w => w as i8;
    Int16Type: v => v as u64, w => w as i16;
    Int32Type: v => v as u64, w => w as i32;
    Int64Type: v => v as u64, w => w as i64;
    UInt8Type: v => u64::from(v), w => w as u8;
    UInt16Type: v => u64::from(v), w => w as u16;
    UInt32Type: v => u64::from(v), w => w as u32;
    UInt64Type: v => v, w => w;
    Float16Type: v => u64::from(v.to_bits()), w => f16::from_bits(w as u16);
    Float32Type: v => u64::from(v.to_bits()), w => f32::from_bits(w as u32);
    Float64Type: v => v.to_bits(), w => f64::from_bits(w);
}

fn words<T: Word>(coord: &ArrayRef) -> Vec<u64> {
    coord.as_primitive::<T>().values().iter().map(|&value| T::word(value)).collect()
}

fn array<T: Word>(words: &[u64]) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(words.iter().map(|&word| T::value(word))))
}

impl Labels {
    /// The labels of `coord`, which has no nulls.
    pub(super) fn of(coord: &ArrayRef, columns: &mut Columns) -> io::Result<Self> {
        let (of, words) = match coord.data_type() {
            DataType::Boolean => {
                let words = coord.as_boolean().values().iter().map(u64::from).collect();
                (Type::Boolean, words)
            }
            DataType::Int8 => (Type::Int8, words::<Int8Type>(coord)),
            DataType::Int16 => (Type::Int16, words::<Int16Type>(coord)),
            DataType::Int32 => (Type::Int32, words::<Int32Type>(coord)),
            DataType::Int64 => {
                let words = words::<Int64Type>(coord);
                if words.iter().zip(0..).all(|(&label, position)| label == position) {
                    return Ok(Self::Positions(words.len() as u64));
                }
                (Type::Int64, words)
            }
            DataType::UInt8 => (Type::UInt8, words::<UInt8Type>(coord)),
            DataType::UInt16 => (Type::UInt16, words::<UInt16Type>(coord)),
            DataType::UInt32 => (Type::UInt32, words::<UInt32Type>(coord)),
            DataType::UInt64 => (Type::UInt64, words::<UInt64Type>(coord)),
            DataType::Float16 => (Type::Float16, words::<Float16Type>(coord)),
            DataType::Float32 => (Type::Float32, words::<Float32Type>(coord)),
            DataType::Float64 => (Type::Float64, words::<Float64Type>(coord)),
            DataType::Timestamp(TimeUnit::Nanosecond, None) => {
                let times = coord.as_any().downcast_ref::<TimestampNanosecondArray>();
                let words = times.iter().flat_map(|times| times.values()).map(|&time| time as u64).collect();
                (Type::Time, words)
            }
            DataType::Utf8 => {
                let texts = coord.as_string::<i32>().iter().flatten().map(Into::into).collect();
                return Ok(Self::Texts(texts));
            }
            other => {
                let what = format!("labels of type {other} have no place in an index");
                return Err(io::Error::new(io::ErrorKind::Unsupported, what));
            }
        };
        Ok(Self::Numbers(of, columns.put(&words)?))
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Positions(len) | Self::Numbers(_, Column { len, .. }) => *len,
            Self::Texts(texts) => texts.len() as u64,
        }
    }

    /// The coord, which the caller knows to be of a sound length.
    pub(super) fn coord<H>(&self, index: &Sound<H>) -> Result<ArrayRef> {
        let (of, words) = match self {
            Self::Positions(len) => return Ok(Arc::new(Int64Array::from_iter_values(0..*len as i64))),
            Self::Texts(texts) => return Ok(Arc::new(StringArray::from_iter_values(texts))),
            Self::Numbers(of, column) => (of, index.column(*column, column.len as usize)?),
        };
        Ok(match of {
            Type::Boolean => Arc::new(BooleanArray::from_iter(words.iter().map(|&word| Some(word != 0)))),
            Type::Int8 => array::<Int8Type>(&words),
            Type::Int16 => array::<Int16Type>(&words),
            Type::Int32 => array::<Int32Type>(&words),
            Type::Int64 => array::<Int64Type>(&words),
            Type::UInt8 => array::<UInt8Type>(&words),
            Type::UInt16 => array::<UInt16Type>(&words),
            Type::UInt32 => array::<UInt32Type>(&words),
            Type::UInt64 => array::<UInt64Type>(&words),
            Type::Float16 => array::<Float16Type>(&words),
            Type::Float32 => array::<Float32Type>(&words),
            Type::Float64 => array::<Float64Type>(&words),
            Type::Time => {
                let times = words.iter().map(|&word| word as i64);
                Arc::new(TimestampNanosecondArray::from_iter_values(times))
            }
        })
    }
}
