//! What a dataset is made of.

use super::index::Origin;
use super::stats::VariableStats;
use super::{Chunks, IndexState, Location, OpenOptions, arrow_type};
use crate::codec::Pipeline;
use crate::source::Source;
use crate::tensor::ChunkGrid;
use crate::tgm::{DType, Map, Object};
use crate::{Error, Result};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Coords and variables of one location; one [`GridTable`] for each grid (set of dims) that occurs.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Tables, in order of first appearance.
    pub tables: Vec<Arc<GridTable>>,
    /// Coordinates of the files that label no dim of any table.
    pub coords: Vec<Dim>,
    /// Message-wide attributes that are the same in all messages.
    pub attributes: Map,
    /// Whether it was read from an index.
    pub index: IndexState,
    /// What it was made of.
    pub(super) origin: Arc<Origin>,
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
    /// Whether the labels are of the data: those of a coordinate, or of what objects are stacked along. Else they
    /// are positions.
    pub labelled: bool,
    /// Attributes of the coord object.
    pub attributes: Map,
    /// Codec parameters of the coord object.
    pub params: Map,
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
    /// One entry for each chunk, C order; some may be holes, whose cells are missing.
    pub chunks: Chunks,
    /// What is known of the cells of each chunk, shared by all clones.
    pub stats: Arc<VariableStats>,
}

/// One chunk, backed by one object whose flattened elements are the chunk's in C order.
#[derive(Debug)]
pub struct Chunk {
    /// The file.
    pub source: Arc<dyn Source>,
    /// Where in it.
    pub object: Arc<Object>,
    /// How it is decoded, or why it can't be: one unreadable object doesn't keep others from being queried.
    pub pipeline: Result<Pipeline>,
}

impl Chunk {
    /// How it is decoded.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Codec`] or [`Error::Limit`] of this object.
    pub fn pipeline(&self) -> Result<&Pipeline> {
        self.pipeline.as_ref().map_err(Clone::clone)
    }

    /// The bytes of the file that a visit of `elements` (a range of flat ones) looks at, at most.
    pub(super) fn bytes_of(&self, elements: Range<u64>) -> Range<u64> {
        let region = &self.object.region;
        match self.pipeline.as_ref().ok().and_then(|pipeline| pipeline.stored_at(elements)) {
            Some(stored) => region.start + stored.start..region.start + stored.end,
            None => region.clone(),
        }
    }
}

impl Dim {
    /// A dim with labels and no attributes.
    pub fn new(name: impl Into<String>, coord: ArrayRef) -> Self {
        Self { name: name.into(), coord, labelled: true, attributes: Map::new(), params: Map::new() }
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.coord.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.coord.is_empty()
    }
}

impl Variable {
    /// Arrow type of the column.
    pub fn arrow_type(&self) -> DataType {
        arrow_type(self.dtype)
    }
}

impl GridTable {
    /// Name of the grid: its dims joined by commas, such as `time,latitude,longitude`; empty for scalars.
    pub fn grid_name(&self) -> String {
        self.dims.iter().map(|dim| dim.name.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Elements per dim, outermost first.
    pub fn shape(&self) -> Vec<u64> {
        self.dims.iter().map(|dim| dim.len() as u64).collect()
    }

    /// The variable called `name`.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }
}

impl Dataset {
    /// Opens `text` (see [`Location::parse`]) with default options.
    ///
    /// # Errors
    /// As [`open`](super::open).
    pub fn open_file(text: &str) -> Result<Self> {
        super::open(&Location::parse(text)?, &OpenOptions::default())
    }

    /// One name for each table, all different: [`GridTable::grid_name`], with sizes (`y=3,x=4`) where several
    /// grids have the same dims, and a number from 2 (`y=3,x=4#2`) where they have the same sizes, too.
    pub fn grid_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.tables.iter().map(|table| table.grid_name()).collect();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for name in &names {
            *counts.entry(name.clone()).or_default() += 1;
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (name, table) in names.iter_mut().zip(&self.tables) {
            if counts[name] > 1 {
                let sized = table.dims.iter().map(|dim| format!("{}={}", dim.name, dim.len()));
                *name = sized.collect::<Vec<_>>().join(",");
                let number = seen.entry(name.clone()).or_default();
                *number += 1;
                if *number > 1 {
                    name.push_str(&format!("#{number}"));
                }
            }
        }
        names
    }

    /// The first grids, by name, for errors.
    pub(super) fn list_grids(&self) -> String {
        const LISTED: usize = 20;
        let names = self.grid_names();
        let more = if names.len() > LISTED { "; ..." } else { "" };
        format!("{}{more}", names[..names.len().min(LISTED)].join("; "))
    }

    /// The only table.
    ///
    /// # Errors
    /// [`Error::Grid`] if there are several; it lists them.
    pub fn single_table(&self) -> Result<&Arc<GridTable>> {
        match self.tables.as_slice() {
            [table] => Ok(table),
            _ => Err(Error::Grid {
                name: "grid".into(),
                what: format!(
                    "there are {} grids, choose one by the option `grid`: {}",
                    self.tables.len(),
                    self.list_grids()
                ),
            }),
        }
    }
}
