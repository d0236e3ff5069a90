//! Arrow types of columns.

use crate::tgm::DType;
use arrow::datatypes::{DataType, Field, Fields};

/// The Arrow type of a column whose cells have this dtype: Arrow's own, with `bfloat16` widened to `Float32`,
/// `bitmask` as `Boolean`, and complex numbers as a struct `{re, im}`.
pub fn arrow_type(dtype: DType) -> DataType {
    match dtype {
        DType::Float16 => DataType::Float16,
        DType::BFloat16 | DType::Float32 => DataType::Float32,
        DType::Float64 => DataType::Float64,
        DType::Complex64 => complex(DataType::Float32),
        DType::Complex128 => complex(DataType::Float64),
        DType::Int8 => DataType::Int8,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 => DataType::Int64,
        DType::UInt8 => DataType::UInt8,
        DType::UInt16 => DataType::UInt16,
        DType::UInt32 => DataType::UInt32,
        DType::UInt64 => DataType::UInt64,
        DType::Bitmask => DataType::Boolean,
    }
}

fn complex(part: DataType) -> DataType {
    DataType::Struct(Fields::from(vec![Field::new("re", part.clone(), true), Field::new("im", part, true)]))
}
