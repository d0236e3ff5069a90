//! How values of Arrow types are held in programs.

use super::coords::Coords;
use crate::engine::external;
use crate::reduce::expr::{Data, Table, Type};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::*;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use std::sync::Arc;

/// The type in which values of an Arrow type are held: without loss, and in their order.
pub(super) fn kind_of(data_type: &DataType) -> Option<Type> {
    use DataType::*;
    Some(match data_type {
        Float16 | Float32 => Type::F32,
        Float64 => Type::F64,
        Int8 | Int16 | Int32 | UInt8 | UInt16 => Type::I32,
        Int64 | UInt32 => Type::I64,
        UInt64 => Type::U64,
        Boolean => Type::Bool,
        _ => return None,
    })
}

/// The Arrow type of values held as `kind`; none of its own for arrays.
pub(super) fn arrow_of(kind: Type) -> Option<DataType> {
    Some(match kind {
        Type::F32 => DataType::Float32,
        Type::F64 => DataType::Float64,
        Type::I32 => DataType::Int32,
        Type::I64 => DataType::Int64,
        Type::U64 => DataType::UInt64,
        Type::Bool => DataType::Boolean,
        Type::Array => return None,
    })
}

/// Whether values are held as what they are.
pub(super) fn is_exact(data_type: &DataType) -> bool {
    kind_of(data_type).and_then(arrow_of).as_ref() == Some(data_type)
}

/// Whether the arithmetic of the held values is that of the type.
pub(super) fn is_number(data_type: &DataType) -> bool {
    is_exact(data_type) && *data_type != DataType::Boolean
}

/// Whether a cast can't fail, and is what Rust's `as` does to the values as they are held.
pub(super) fn converts(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let small = |of: &DataType| matches!(of, Int8 | Int16 | UInt8 | UInt16);
    let unsigned = |of: &DataType| matches!(of, UInt8 | UInt16 | UInt32);
    match to {
        _ if from == to => true,
        Float64 => from.is_floating() || from.is_integer(),
        Float32 => *from == Float16 || from.is_integer(),
        Int64 => small(from) || matches!(from, Int32 | UInt32),
        Int32 => small(from),
        UInt64 => unsigned(from),
        _ => false,
    }
}

/// The constant double that `expr` is.
pub(super) fn double(expr: &Arc<dyn PhysicalExpr>) -> Option<f64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Float64(value) => *value,
        _ => None,
    }
}

/// `value` as a table of a single one, held as `kind`.
///
/// # Errors
/// Those of casting it.
pub(super) fn constant(value: &ScalarValue, kind: Type) -> Result<Table> {
    let (data, valid) = columns_of(&value.to_array()?, kind)?;
    Table::try_new(&[], Vec::new(), data, valid).map_err(external)
}

/// The values of `array`, held as `kind`, and which aren't NULL.
///
/// # Errors
/// Those of casting them.
pub(super) fn columns_of(array: &ArrayRef, kind: Type) -> Result<(Data, Option<Vec<bool>>)> {
    let Some(data_type) = arrow_of(kind) else { return Ok((Data::empty(kind), None)) };
    let array = if array.data_type() == &DataType::Null && array.is_empty() {
        new_empty_array(&data_type)
    } else {
        cast(array, &data_type)?
    };
    let data = match kind {
        Type::F32 => Data::F32(array.as_primitive::<Float32Type>().values().to_vec()),
        Type::F64 => Data::F64(array.as_primitive::<Float64Type>().values().to_vec()),
        Type::I32 => Data::I32(array.as_primitive::<Int32Type>().values().to_vec()),
        Type::I64 => Data::I64(array.as_primitive::<Int64Type>().values().to_vec()),
        Type::U64 => Data::U64(array.as_primitive::<UInt64Type>().values().to_vec()),
        Type::Bool | Type::Array => Data::Bool(array.as_boolean().values().iter().collect()),
    };
    let valid = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.iter().collect());
    Ok((data, valid))
}

/// Values for selected positions of `dims`, spread over all of them.
pub(super) fn scattered(coords: &Coords, dims: &[usize], data: Data) -> Data {
    match data {
        Data::F32(values) => Data::F32(coords.scatter(dims, &values, 0.0)),
        Data::F64(values) => Data::F64(coords.scatter(dims, &values, 0.0)),
        Data::I32(values) => Data::I32(coords.scatter(dims, &values, 0)),
        Data::I64(values) => Data::I64(coords.scatter(dims, &values, 0)),
        Data::U64(values) => Data::U64(coords.scatter(dims, &values, 0)),
        Data::Bool(values) => Data::Bool(coords.scatter(dims, &values, false)),
        Data::Array(array) => Data::Array(array),
    }
}
