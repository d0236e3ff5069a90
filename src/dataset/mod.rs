//! Names on grids: dims, coords and variables made from the objects of one or many files.
//!
//! ```text
//! location (file, list, glob, {pattern}) -> tgm::File each -> names, dims, hypercubes -> Dataset of GridTables
//! ```
//! Opening reads framing, metadata and coordinate objects only; no other payload is decoded.

mod model;
pub mod read;

pub use model::{Chunk, Dataset, Dim, GridTable, Variable};
