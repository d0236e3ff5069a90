//! How a variable is cut into rectangular chunks.

use super::DimSelection;

/// A regular chunk grid; chunks at the far edges are cut to the shape. Outermost dim first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkGrid {
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
}

/// What a selection takes of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Position of the chunk in the grid, C order.
    pub chunk: u64,
    /// Grid position of the chunk's first cell.
    pub origin: Vec<u64>,
    /// Elements per dim of this chunk.
    pub shape: Vec<u64>,
    /// Kept positions per dim, relative to `origin`.
    pub within: Vec<DimSelection>,
}

impl ChunkGrid {
    /// Elements per dim.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Elements per dim of an inner chunk.
    pub fn chunk_shape(&self) -> &[u64] {
        &self.chunk_shape
    }
}
