//! Integer geometry: selections on a grid, the chunk grid, and the flat element runs they make of a chunk.
//!
//! ```text
//! Selection (positions per dim) x ChunkGrid -> Part per touched chunk -> runs of flat elements -> range decode
//! ```
//! Nothing here knows of bytes, codecs or names.

mod grid;
mod selection;

pub use grid::{ChunkGrid, Part};
pub use selection::{DimSelection, Selection};
