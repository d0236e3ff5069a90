//! From dims and variables to Arrow fields and arrays.

use crate::codec::Values;
use crate::dataset::{Dim, GridTable, Variable, arrow_type, values_array};
use crate::tgm::{Map, Value};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_array};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::datatypes::*;
use datafusion::common::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// Field metadata key that says what a column is: `dim` or `variable`.
pub const ROLE: &str = "millibar.role";

/// Whether a column holds the labels of a dim.
pub(crate) fn is_dim(field: &Field) -> bool {
    field.metadata().get(ROLE).is_some_and(|role| role == "dim")
}

/// Whether a column holds the cells of a variable.
pub(crate) fn is_variable(field: &Field) -> bool {
    field.metadata().get(ROLE).is_some_and(|role| role == "variable")
}

/// Dims, outermost first, then variables; their attributes as field metadata.
pub(crate) fn schema_of(grid: &GridTable) -> SchemaRef {
    let dims = grid.dims.iter().map(dim_field);
    let variables = grid.variables.iter().map(variable_field);
    Arc::new(Schema::new(dims.chain(variables).collect::<Vec<_>>()))
}

fn dim_field(dim: &Dim) -> Field {
    Field::new(&dim.name, dim.coord.data_type().clone(), false).with_metadata(texts(&dim.attributes, "dim"))
}

fn variable_field(variable: &Variable) -> Field {
    Field::new(&variable.name, arrow_type(variable.dtype), true)
        .with_metadata(texts(&variable.attributes, "variable"))
}

/// Scalar attributes as texts; a map one level down as `outer.inner`.
fn texts(attributes: &Map, role: &str) -> HashMap<String, String> {
    let mut texts = HashMap::from([(ROLE.to_string(), role.to_string())]);
    for (key, value) in attributes {
        match value {
            Value::Map(entries) => {
                for (inner, value) in entries {
                    if let (Some(inner), Some(text)) = (inner.as_text(), text(value)) {
                        texts.insert(format!("{key}.{inner}"), text);
                    }
                }
            }
            value => {
                if let Some(text) = text(value) {
                    texts.insert(key.clone(), text);
                }
            }
        }
    }
    texts
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(i128::from(*number).to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Decoded cells as a column, without a copy where Arrow has the type; `valid` is false for holes, and NaN is
/// missing too if `nan_as_missing`.
pub(crate) fn column(values: Values, valid: Option<BooleanBuffer>, nan_as_missing: bool) -> Result<ArrayRef> {
    let cells = values_array(values);
    let numbers = if nan_as_missing { numbers(&cells) } else { None };
    let valid = match (valid, numbers) {
        (Some(valid), Some(numbers)) => &valid & &numbers,
        (Some(valid), None) | (None, Some(valid)) => valid,
        (None, None) => return Ok(cells),
    };
    let data = cells.to_data().into_builder().nulls(Some(NullBuffer::new(valid)));
    Ok(make_array(data.build()?))
}

/// Which cells aren't NaN; `None` if none is.
fn numbers(cells: &ArrayRef) -> Option<BooleanBuffer> {
    fn of<T: ArrowPrimitiveType>(
        cells: &ArrayRef,
        is_nan: impl Fn(T::Native) -> bool,
    ) -> Option<BooleanBuffer> {
        let values = cells.as_primitive::<T>().values();
        // a stretch at a time, without a way out between, so that it is done with wide registers
        let any = values.chunks(1024).any(|some| some.iter().fold(false, |any, &value| any | is_nan(value)));
        any.then(|| BooleanBuffer::collect_bool(values.len(), |at| !is_nan(values[at])))
    }
    match cells.data_type() {
        DataType::Float16 => of::<Float16Type>(cells, |value| value.is_nan()),
        DataType::Float32 => of::<Float32Type>(cells, |value| value.is_nan()),
        DataType::Float64 => of::<Float64Type>(cells, |value| value.is_nan()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn nan_is_missing_on_demand() -> Result<()> {
        let values = || Values::Float32(vec![1.0, f32::NAN, f32::INFINITY]);
        assert_eq!(column(values(), None, true)?.null_count(), 1);
        assert_eq!(column(values(), None, false)?.null_count(), 0);
        let holes = BooleanBuffer::from(vec![false, true, true]);
        assert_eq!(column(values(), Some(holes), true)?.null_count(), 2);
        Ok(())
    }

    #[test]
    fn narrow_types_map_to_arrow() -> Result<()> {
        let half = column(Values::Float16(vec![f16::from_f32(1.5)]), None, true)?;
        assert_eq!(half.data_type(), &DataType::Float16);
        let brain = column(Values::BFloat16(vec![bf16::from_f32(1.5), bf16::NAN]), None, true)?;
        assert_eq!((brain.data_type(), brain.null_count()), (&DataType::Float32, 1));
        let bits = column(Values::Bitmask(vec![0, 1, 1]), None, true)?;
        assert_eq!(bits.data_type(), &DataType::Boolean);
        Ok(())
    }
}
