//! What tables and slabs are, as JSON in the metadata of schemas, and the labels of dims as batches.

use super::{Slab, SlabMissing, identity_text};
use crate::dataset::{Dim, GridTable, Variable};
use crate::tgm::{Map, map_to_json};
use datafusion::arrow::array::{Array, ArrayRef, ListArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Key of the schema metadata that holds the JSON.
pub(super) const KEY: &str = "millibar";

/// Labels of a dim in one row of [`coords`].
const LABELS: usize = 1 << 13;

/// What a slab of `table` is.
pub(super) fn slab(slab: &Slab, table: &str) -> Value {
    let (variable, shape) = (slab.variable(), slab.shape());
    let dims: Vec<Value> =
        slab.grid.dims.iter().zip(&shape).map(|(dim, &size)| dim_json(dim, size)).collect();
    let mut about = json!({
        "table": table, "variable": variable.name, "dims": dims, "shape": shape, "missing": missing_text(slab.missing),
    });
    merge(&mut about, variable_json(variable));
    about
}

/// What a stream of a slab says of itself.
pub(super) fn stream(slab: &Slab) -> Value {
    let dims: Vec<&str> = slab.grid.dims.iter().map(|dim| dim.name.as_str()).collect();
    let variable = slab.variable();
    json!({
        "variable": variable.name, "dtype": variable.dtype.to_string(), "dims": dims, "shape": slab.shape(),
        "missing": missing_text(slab.missing),
    })
}

/// What a table is.
fn table(grid: &GridTable, name: &str, attributes: &Map, nan_as_null: bool) -> Value {
    let variable = |variable: &Variable| {
        let missing = if nan_as_null { SlabMissing::Null } else { SlabMissing::Nan };
        let mut about = json!({ "name": variable.name, "missing": missing_text(missing) });
        merge(&mut about, variable_json(variable));
        about
    };
    json!({
        "table": name,
        "attributes": map_to_json(attributes),
        "identity": identity_text(identity(grid)),
        "dims": grid.dims.iter().map(|dim| dim_json(dim, dim.len() as u64)).collect::<Vec<_>>(),
        "variables": grid.variables.iter().map(variable).collect::<Vec<_>>(),
    })
}

fn missing_text(missing: SlabMissing) -> &'static str {
    match missing {
        SlabMissing::Nan => "nan",
        SlabMissing::Null => "null",
    }
}

fn dim_json(dim: &Dim, size: u64) -> Value {
    let data_type = type_name(dim.coord.data_type());
    json!({ "name": dim.name, "size": size, "type": data_type, "attributes": map_to_json(&dim.attributes) })
}

fn variable_json(variable: &Variable) -> Value {
    json!({
        "dtype": variable.dtype.to_string(),
        "chunks": variable.grid.chunk_shape(),
        "holes": variable.chunks.holes(),
        "identity": identity_text(variable.chunks.identity()),
        "attributes": map_to_json(&variable.attributes),
    })
}

/// Adds the entries of `more` to those of `to`.
fn merge(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}

/// What pyarrow calls the type of a coord.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "timestamp[ns]".into(),
        DataType::Float16 => "float16".into(),
        DataType::Utf8 => "string".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// A number for the state of the data of a table, labels included.
pub(super) fn identity(grid: &GridTable) -> u64 {
    let mut hasher = Xxh3::new();
    for dim in &grid.dims {
        hasher.update(dim.name.as_bytes());
        hasher.update(&(dim.len() as u64).to_le_bytes());
        dim.coord.to_data().buffers().iter().for_each(|buffer| hasher.update(buffer));
    }
    for variable in &grid.variables {
        hasher.update(variable.name.as_bytes());
        hasher.update(&variable.chunks.identity().to_le_bytes());
    }
    hasher.digest()
}

/// The schema of the labels of `grid`: a list for each dim. Its metadata describes the table and its variables.
pub(in crate::flight) fn coords_schema(
    grid: &GridTable,
    name: &str,
    attributes: &Map,
    nan_as_null: bool,
) -> SchemaRef {
    let list = |dim: &Dim| Field::new(&dim.name, DataType::List(item(dim)), false);
    let about = table(grid, name, attributes, nan_as_null).to_string();
    let fields = grid.dims.iter().map(list).collect::<Vec<_>>();
    Arc::new(Schema::new_with_metadata(fields, HashMap::from([(KEY.to_string(), about)])))
}

fn item(dim: &Dim) -> Arc<Field> {
    Arc::new(Field::new_list_field(dim.coord.data_type().clone(), false))
}

/// The labels of `grid` in rows of a few thousand: the items of a column, one row after the other, are the labels of
/// its dim. `schema` is that of [`coords_schema`].
///
/// # Errors
/// Those of Arrow, for a schema of another grid.
pub(in crate::flight) fn coords(grid: &GridTable, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let longest = grid.dims.iter().map(Dim::len).max().unwrap_or(0);
    let rows = longest.div_ceil(LABELS).max(1);
    let list = |dim: &Dim| {
        let len = |row: usize| dim.len().saturating_sub(row * LABELS).min(LABELS);
        let offsets = OffsetBuffer::from_lengths((0..rows).map(len));
        Ok(Arc::new(ListArray::try_new(item(dim), offsets, Arc::clone(&dim.coord), None)?) as ArrayRef)
    };
    let columns = grid.dims.iter().map(list).collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}
