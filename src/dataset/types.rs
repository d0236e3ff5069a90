//! Arrow types of columns, and decoded values as arrays.

use crate::codec::Values;
use crate::tgm::DType;
use arrow::array::{
    ArrayRef, BooleanArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, PrimitiveArray, StructArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Fields};
use std::sync::Arc;

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
    DataType::Struct(complex_fields(part))
}

fn complex_fields(part: DataType) -> Fields {
    Fields::from(vec![Field::new("re", part.clone(), true), Field::new("im", part, true)])
}

fn complex_array<T: ArrowPrimitiveType>(re: PrimitiveArray<T>, im: PrimitiveArray<T>) -> ArrayRef {
    Arc::new(StructArray::new(complex_fields(T::DATA_TYPE), vec![Arc::new(re), Arc::new(im)], None))
}

/// Decoded values as an array of [`arrow_type`], without nulls: NaN stays a value.
pub fn values_array(values: Values) -> ArrayRef {
    match values {
        Values::Float16(v) => Arc::new(Float16Array::from(v)),
        Values::BFloat16(v) => Arc::new(Float32Array::from_iter_values(v.iter().map(|x| x.to_f32()))),
        Values::Float32(v) => Arc::new(Float32Array::from(v)),
        Values::Float64(v) => Arc::new(Float64Array::from(v)),
        Values::Int8(v) => Arc::new(Int8Array::from(v)),
        Values::Int16(v) => Arc::new(Int16Array::from(v)),
        Values::Int32(v) => Arc::new(Int32Array::from(v)),
        Values::Int64(v) => Arc::new(Int64Array::from(v)),
        Values::UInt8(v) => Arc::new(UInt8Array::from(v)),
        Values::UInt16(v) => Arc::new(UInt16Array::from(v)),
        Values::UInt32(v) => Arc::new(UInt32Array::from(v)),
        Values::UInt64(v) => Arc::new(UInt64Array::from(v)),
        Values::Complex64(v) => complex_array(
            Float32Array::from_iter_values(v.iter().map(|x| x.re)),
            Float32Array::from_iter_values(v.iter().map(|x| x.im)),
        ),
        Values::Complex128(v) => complex_array(
            Float64Array::from_iter_values(v.iter().map(|x| x.re)),
            Float64Array::from_iter_values(v.iter().map(|x| x.im)),
        ),
        Values::Bitmask(v) => Arc::new(BooleanArray::from_iter(v.iter().map(|bit| Some(*bit != 0)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_have_the_type_that_columns_declare() {
        for dtype in DType::ALL {
            assert_eq!(
                values_array(Values::with_capacity(dtype, 0)).data_type(),
                &arrow_type(dtype),
                "{dtype}"
            );
        }
        let bits = values_array(Values::Bitmask(vec![1, 0]));
        assert_eq!(bits.as_ref(), &BooleanArray::from(vec![true, false]) as &dyn arrow::array::Array);
    }
}
