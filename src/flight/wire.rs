//! From record batches to messages of a size that every gRPC client accepts.

use datafusion::arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use std::sync::Arc;

use super::status::status_of;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use tonic::Status;

/// Bytes of array data in one message. Clients refuse messages over 4 MiB unless told otherwise; padding and
/// headers come on top of this.
const MESSAGE_BYTES: usize = 2 << 20;

/// The schema in which `schema` travels: dictionaries as their values and views as plain strings and bytes, at
/// any depth but within unions, so that every client reads it and every message stands for itself.
pub(super) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(wire_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn wire_field(field: &FieldRef) -> FieldRef {
    let wire = wire_type(field.data_type());
    if wire == *field.data_type() {
        Arc::clone(field)
    } else {
        let plain = Field::new(field.name(), wire, field.is_nullable());
        Arc::new(plain.with_metadata(field.metadata().clone()))
    }
}

fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(wire_field(item)),
        DataType::LargeList(item) => DataType::LargeList(wire_field(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(wire_field(item), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(wire_field(entries), *sorted),
        other => other.clone(),
    }
}

/// Messages for `batches`, the schema first even if no batch follows. `schema` is a [`wire_schema`].
pub(super) fn flight_data(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let wire = Arc::clone(&schema);
    let pieces = batches
        .map(move |batch| {
            let batch = to_wire(&batch?, &wire).map_err(|e| status_of(&DataFusionError::from(e)))?;
            Ok::<_, Status>(stream::iter(split(batch, MESSAGE_BYTES)).map(Ok))
        })
        .try_flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX) // `split` measures, the encoder would guess
        .build(pieces.map_err(|status| FlightError::Tonic(Box::new(status))))
        .map_err(Status::from)
        .boxed()
}

/// `batch` with its columns cast to the types of `wire`.
fn to_wire(batch: &RecordBatch, wire: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(wire.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(wire), columns, &options)
}

/// Pieces of `batch`, in order, of at most `limit` bytes each, or of one row. Halving follows rows of unequal
/// length, which equal shares of rows would not. An empty batch has no pieces.
fn split(batch: RecordBatch, limit: usize) -> Vec<RecordBatch> {
    let (mut todo, mut done) = (vec![batch], Vec::new());
    while let Some(piece) = todo.pop() {
        let rows = piece.num_rows();
        if rows > 1 && piece.columns().iter().map(|c| slice_bytes(c)).sum::<usize>() > limit {
            todo.push(piece.slice(rows / 2, rows - rows / 2));
            todo.push(piece.slice(0, rows / 2));
        } else if rows > 0 {
            done.push(piece);
        }
    }
    done
}

/// Bytes that the elements of `array` take in a message, whatever larger buffers they lie in.
fn slice_bytes(array: &dyn Array) -> usize {
    let items =
        |values: &dyn Array, first: usize, last: usize| slice_bytes(&values.slice(first, last - first));
    let offsets = |width: usize| (array.len() + 1) * width + array.len().div_ceil(8);
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.value_offsets();
            offsets(4) + items(list.values(), ends[0] as usize, ends[list.len()] as usize)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends = list.value_offsets();
            offsets(8) + items(list.values(), ends[0] as usize, ends[list.len()] as usize)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let ends = map.value_offsets();
            offsets(4) + items(map.entries(), ends[0] as usize, ends[map.len()] as usize)
        }
        DataType::FixedSizeList(..) => offsets(0) + slice_bytes(array.as_fixed_size_list().values()),
        DataType::Struct(_) => {
            offsets(0) + array.as_struct().columns().iter().map(|c| slice_bytes(c)).sum::<usize>()
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{
        ArrayRef, DictionaryArray, Float64Array, Int32Array, ListArray, StringArray, StringViewArray,
    };
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::compute::concat_batches;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn a_small_slice_of_a_large_buffer_is_small() {
        let large = batch(vec![("x", Arc::new(Float64Array::from(vec![0.5; 1 << 20])))]);
        assert_eq!(split(large.slice(1000, 8192), MESSAGE_BYTES).len(), 1);
        assert_eq!(split(large, MESSAGE_BYTES).len(), 4);
    }

    #[test]
    fn rows_of_unequal_length_are_split_where_they_are_long() {
        let rows: Vec<_> = (0..64).map(|i| "x".repeat(if i < 4 { 1000 } else { 1 })).collect();
        let whole = batch(vec![("s", Arc::new(StringArray::from(rows)))]);
        let pieces = split(whole.clone(), 1200);
        assert!(pieces.iter().all(|p| p.num_rows() == 1 || slice_bytes(p.column(0)) <= 1200));
        assert!(pieces.len() < 10, "{} pieces", pieces.len());
        assert_eq!(concat_batches(&whole.schema(), &pieces).unwrap(), whole);
    }

    #[test]
    fn the_items_of_a_sliced_list_are_counted_alone() {
        let items = Arc::new(Float64Array::from(vec![0.5; 1 << 16]));
        let field = Arc::new(Field::new_list_field(DataType::Float64, true));
        let lists = ListArray::new(field, OffsetBuffer::from_lengths([16; 1 << 12]), items, None);
        assert!(slice_bytes(&lists.slice(100, 2)) < 2 * 16 * 8 + 64);
    }

    #[test]
    fn dictionaries_and_views_travel_as_plain_values() {
        let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
        let words = DictionaryArray::new(keys, Arc::new(StringArray::from(vec!["a", "b"])));
        let views = StringViewArray::from(vec![Some("short"), None, Some("longer than twelve bytes")]);
        let batch = batch(vec![("d", Arc::new(words)), ("v", Arc::new(views))]);
        let wire = wire_schema(&batch.schema());
        let sent = to_wire(&batch, &wire).unwrap();
        assert_eq!(sent.column(0).as_string::<i32>(), &StringArray::from(vec![Some("b"), None, Some("a")]));
        assert_eq!(sent.column(1).as_string::<i32>().value(2), "longer than twelve bytes");
    }
}
