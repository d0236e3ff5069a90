//! Integer geometry: selections on a grid, the chunk grid, and the flat element runs they make of a chunk.
//!
//! ```text
//! Selection (positions per dim) x ChunkGrid -> Parts, one for each touched chunk -> runs of flat elements -> range decode
//! ```
//! Nothing here knows of bytes or names.

mod count;
mod grid;
mod part;
mod parts;
mod runs;
mod selection;
#[cfg(test)]
mod tests;

pub use grid::ChunkGrid;
pub use part::Part;
pub use parts::{Parts, Place};
pub use runs::Runs;
pub use selection::{DimMask, DimSelection, Selection};

pub(crate) use grid::step;
pub(crate) use selection::extents_of;
