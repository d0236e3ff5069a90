//! Metadata and labels as Python objects.

use super::buffer::Buffer;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use millibar::codec::{Complex, Values};
use millibar::tgm::{Map, Value};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyNone};

/// A text-keyed map as a `dict`.
pub(crate) fn map<'py>(py: Python<'py>, map: &Map) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(key, to_object(py, value)?)?;
    }
    Ok(dict)
}

/// A CBOR value as what Python has for it. Tags are left out; keys of maps that can't be hashed become text.
pub(crate) fn to_object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::Integer(value) => i128::from(*value).into_pyobject(py)?.into_any(),
        Value::Float(value) => value.into_pyobject(py)?.into_any(),
        Value::Text(text) => text.into_pyobject(py)?.into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Array(values) => {
            let values = values.iter().map(|value| to_object(py, value)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, values)?.into_any()
        }
        Value::Map(pairs) => {
            let dict = PyDict::new(py);
            for (key, value) in pairs {
                let key = match key {
                    Value::Array(_) | Value::Map(_) => to_object(py, key)?.str()?.into_any(),
                    key => to_object(py, key)?,
                };
                dict.set_item(key, to_object(py, value)?)?;
            }
            dict.into_any()
        }
        Value::Tag(_, value) => to_object(py, value)?,
        _ => PyNone::get(py).to_owned().into_any(),
    })
}

/// The labels of a dim: a list of texts, or what numpy makes an array of. Times count nanoseconds, as `int64`, and
/// come with the type that they have.
pub(crate) fn labels<'py>(py: Python<'py>, coord: &ArrayRef) -> PyResult<(Bound<'py, PyAny>, &'static str)> {
    fn own<T: ArrowPrimitiveType>(coord: &ArrayRef) -> Vec<T::Native> {
        coord.as_primitive::<T>().values().to_vec()
    }
    macro_rules! complex {
        ($of:ident) => {{
            let parts = coord.as_struct();
            let (re, im) = (own::<$of>(parts.column(0)), own::<$of>(parts.column(1)));
            re.into_iter().zip(im).map(|(re, im)| Complex { re, im }).collect()
        }};
    }
    let values = match coord.data_type() {
        DataType::Utf8 => {
            let texts = coord.as_any().downcast_ref::<StringArray>();
            let texts: Vec<_> = texts.into_iter().flatten().flatten().collect();
            return Ok((PyList::new(py, texts)?.into_any(), "str"));
        }
        DataType::Boolean => Values::Bitmask(coord.as_boolean().values().iter().map(u8::from).collect()),
        DataType::Int8 => Values::Int8(own::<Int8Type>(coord)),
        DataType::Int16 => Values::Int16(own::<Int16Type>(coord)),
        DataType::Int32 => Values::Int32(own::<Int32Type>(coord)),
        DataType::Int64 => Values::Int64(own::<Int64Type>(coord)),
        DataType::UInt8 => Values::UInt8(own::<UInt8Type>(coord)),
        DataType::UInt16 => Values::UInt16(own::<UInt16Type>(coord)),
        DataType::UInt32 => Values::UInt32(own::<UInt32Type>(coord)),
        DataType::UInt64 => Values::UInt64(own::<UInt64Type>(coord)),
        DataType::Float16 => Values::Float16(own::<Float16Type>(coord)),
        DataType::Float32 => Values::Float32(own::<Float32Type>(coord)),
        DataType::Float64 => Values::Float64(own::<Float64Type>(coord)),
        DataType::Struct(parts) if parts[0].data_type() == &DataType::Float32 => {
            Values::Complex64(complex!(Float32Type))
        }
        DataType::Struct(_) => Values::Complex128(complex!(Float64Type)),
        DataType::Timestamp(..) => {
            let buffer = Buffer::of_values(
                Values::Int64(own::<TimestampNanosecondType>(coord)),
                &[coord.len() as u64],
            );
            return Ok((buffer.into_pyobject(py)?.into_any(), "datetime64[ns]"));
        }
        other => return Err(PyTypeError::new_err(format!("labels of type {other}"))),
    };
    Ok((Buffer::of_values(values, &[coord.len() as u64]).into_pyobject(py)?.into_any(), ""))
}
