//! Slabs as `arrow.fixed_shape_tensor`: types, and messages around values that are there already.
//!
//! A row of the column is as much of the block as fits in a message: the block itself, or what its innermost dims
//! span. A message holds whole rows; the rows, one after the other, are the block in C order.
//! ```text
//! block 4 x 10 x 181 x 360 of float32    row 10 x 181 x 360    a message for each row
//! block 2 x 721 x 1440 of float64        row 1440              362 rows in a message
//! ```

use super::{Slab, SlabMissing};
use crate::tgm::DType;
use arrow_flight::FlightData;
use bytes::Bytes;
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::ipc;
use flatbuffers::FlatBufferBuilder;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of values in one message: gRPC clients accept 4 MiB unless told otherwise, headers included.
pub(super) const MESSAGE_BYTES: u64 = (4 << 20) - (4 << 10);

/// Buffers of a message begin at multiples of this.
const ALIGN: usize = 8;

/// How the cells of a block are laid out in rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Dims that are counted off by rows; the others are the shape of a row.
    outer: usize,
    /// Shape of the block.
    shape: Vec<u64>,
    dtype: DType,
    /// Bytes of values in one message at most.
    most: u64,
}

impl Layout {
    /// For a block of `shape` of a slab.
    pub(super) fn new(slab: &Slab, shape: &[u64]) -> Self {
        let dtype = slab.variable().dtype;
        let most = match slab.missing {
            SlabMissing::Nan => MESSAGE_BYTES,
            // a bit for each value
            SlabMissing::Null => MESSAGE_BYTES / (8 * width(dtype) + parts(dtype)) * 8 * width(dtype),
        };
        let fits = |outer: usize| {
            let cells = shape[outer..].iter().fold(1, |cells: u64, &len| cells.saturating_mul(len));
            cells.saturating_mul(width(dtype)) <= most
        };
        // Rows have to have a size: of nothing, there are no rows of single cells.
        let outer = if shape.contains(&0) {
            shape.len()
        } else {
            (0..shape.len()).find(|&dim| fits(dim)).unwrap_or(shape.len())
        };
        Self { outer, shape: shape.to_vec(), dtype, most }
    }

    /// Cells of one message at most.
    pub(super) fn most_cells(&self) -> u64 {
        self.most / width(self.dtype)
    }

    /// Cells of one row.
    pub(super) fn row(&self) -> u64 {
        self.shape[self.outer..].iter().product()
    }

    /// Rows of one message.
    pub(super) fn rows_of_message(&self) -> u64 {
        (self.most / (self.row() * width(self.dtype))).max(1)
    }

    /// The schema of a block, which says `about` itself.
    pub(super) fn schema(&self, slab: &Slab, about: Value) -> Schema {
        let (value_type, parts) = value_type(self.dtype);
        let mut shape = self.shape[self.outer..].to_vec();
        let mut names: Vec<&str> = slab.grid.dims[self.outer..].iter().map(|dim| dim.name.as_str()).collect();
        if parts > 1 {
            shape.push(parts);
            names.push("part");
        }
        let size = shape.iter().product::<u64>() as i32; // a row fits in a message
        let item = Field::new_list_field(value_type, slab.missing == SlabMissing::Null);
        let tensor = json!({ "shape": shape, "dim_names": names }).to_string();
        let extension = HashMap::from([
            ("ARROW:extension:name".to_string(), "arrow.fixed_shape_tensor".to_string()),
            ("ARROW:extension:metadata".to_string(), tensor),
        ]);
        let values = Field::new("values", DataType::FixedSizeList(Arc::new(item), size), false);
        let metadata = HashMap::from([(super::describe::KEY.to_string(), about.to_string())]);
        Schema::new_with_metadata(vec![values.with_metadata(extension)], metadata)
    }

    /// Bytes of the values of `rows` rows.
    pub(super) fn bytes(&self, rows: u64) -> usize {
        (rows * self.row() * width(self.dtype)) as usize
    }

    /// The header of a message of `rows` rows, none of whose cells is missing: its body is their values, filled up to
    /// [`padded`].
    pub(super) fn header(&self, rows: u64) -> Bytes {
        let bytes = self.bytes(rows);
        self.header_of(rows, (0, 0), padded(bytes))
    }

    /// The same where validity takes so many bytes, and so many values are missing.
    fn header_of(&self, rows: u64, (bits, nulls): (usize, usize), body: usize) -> Bytes {
        let node = |len: usize, nulls: usize| ipc::FieldNode::new(len as i64, nulls as i64);
        let buffer = |start: usize, len: usize| ipc::Buffer::new(start as i64, len as i64);
        let values = (rows * self.row() * parts(self.dtype)) as usize;
        let nodes = [node(rows as usize, 0), node(values, nulls)];
        let buffers = [buffer(0, 0), buffer(0, bits), buffer(padded(bits), self.bytes(rows))];
        header(rows, &nodes, &buffers, body as i64)
    }

    /// A message of `rows` rows with these `values`; `valid` has a bit for each cell.
    pub(super) fn message(&self, rows: u64, values: &[u8], valid: &BooleanBuffer) -> FlightData {
        let parts = parts(self.dtype) as usize;
        let cells = (rows * self.row()) as usize;
        let bits = BooleanBuffer::collect_bool(cells * parts, |at| valid.value(at / parts));
        let nulls = bits.len() - bits.count_set_bits();
        let bits = bits.values();
        let first = padded(bits.len());
        let mut body = Vec::with_capacity(first + padded(values.len()));
        body.extend_from_slice(bits);
        body.resize(first, 0);
        body.extend_from_slice(values);
        body.resize(padded(body.len()), 0);
        FlightData::new()
            .with_data_header(self.header_of(rows, (bits.len(), nulls), body.len()))
            .with_data_body(body)
    }
}

/// An encapsulated record batch without its body.
fn header(rows: u64, nodes: &[ipc::FieldNode], buffers: &[ipc::Buffer], body: i64) -> Bytes {
    let mut builder = FlatBufferBuilder::with_capacity(256);
    let nodes = builder.create_vector(nodes);
    let buffers = builder.create_vector(buffers);
    let mut batch = ipc::RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows as i64);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    let batch = batch.finish().as_union_value();
    let mut message = ipc::MessageBuilder::new(&mut builder);
    message.add_version(ipc::MetadataVersion::V5);
    message.add_header_type(ipc::MessageHeader::RecordBatch);
    message.add_bodyLength(body);
    message.add_header(batch);
    let message = message.finish();
    builder.finish(message, None);
    Bytes::copy_from_slice(builder.finished_data())
}

/// The length of a buffer with what follows it.
pub(super) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

/// Type of the values of a dtype as they travel, and how many make one cell: bfloat16 as its bits, complex numbers as
/// their parts, a bitmask as bytes.
fn value_type(dtype: DType) -> (DataType, u64) {
    match dtype {
        DType::BFloat16 => (DataType::UInt16, 1),
        DType::Complex64 => (DataType::Float32, 2),
        DType::Complex128 => (DataType::Float64, 2),
        DType::Bitmask => (DataType::UInt8, 1),
        other => (crate::dataset::arrow_type(other), 1),
    }
}

/// Bytes of a cell.
pub(super) fn width(dtype: DType) -> u64 {
    dtype.width().unwrap_or(1) as u64
}

/// Values of one cell.
fn parts(dtype: DType) -> u64 {
    value_type(dtype).1
}
