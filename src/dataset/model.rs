//! What a dataset is made of.

use crate::codec::Pipeline;
use crate::source::Source;
use crate::tensor::ChunkGrid;
use crate::tgm::{DType, Map, Object};
use arrow::array::ArrayRef;
use std::sync::Arc;

/// Coords and variables of one location; one [`GridTable`] for each grid (set of dims) that occurs.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Tables, in order of first appearance.
    pub tables: Vec<Arc<GridTable>>,
    /// Message-wide attributes that are the same in all messages.
    pub attributes: Map,
}

/// The variables of a dataset that share a grid, beside their dims.
#[derive(Debug, Clone)]
pub struct GridTable {
    /// Dims, outermost first.
    pub dims: Vec<Dim>,
    /// Variables, in order of first appearance. All have the dims' shape.
    pub variables: Vec<Variable>,
}

/// A named axis and its labels.
#[derive(Debug, Clone)]
pub struct Dim {
    /// Column name.
    pub name: String,
    /// One label for each position, without nulls: as stored (`Float32`, `Float64`, ints), `Timestamp(ns)` for
    /// times, `Utf8`, or `Int64` positions where there are no labels.
    pub coord: ArrayRef,
    /// Attributes of the coord object.
    pub attributes: Map,
}

/// A named tensor over the dims of its table.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Column name.
    pub name: String,
    /// Dtype of decoded elements.
    pub dtype: DType,
    /// Metadata that is the same for all its objects.
    pub attributes: Map,
    /// How it is cut.
    pub grid: ChunkGrid,
    /// One entry for each chunk, C order; `None` is a hole, whose cells are missing.
    pub chunks: Arc<[Option<Arc<Chunk>>]>,
}

/// One chunk, backed by one object whose flattened elements are the chunk's in C order.
#[derive(Debug)]
pub struct Chunk {
    /// The file.
    pub source: Arc<dyn Source>,
    /// Where in it.
    pub object: Arc<Object>,
    /// How it is decoded.
    pub pipeline: Pipeline,
}
