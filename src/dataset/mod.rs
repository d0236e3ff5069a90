//! Names on grids: dims, coords and variables made from the objects of one or many files.
//!
//! ```text
//! location (file, list, glob, {pattern}) -> tgm::File each -> names, dims, hypercubes -> Dataset of GridTables
//! ```
//! `arrays` puts the variables of all tables side by side, for libraries of arrays.
//!
//! Opening reads framing, metadata and coordinate objects only; no other payload is decoded.

mod arrays;
mod axes;
mod choose;
mod collect;
mod coords;
mod facts;
mod index;
mod keys;
mod labels;
mod layout;
mod location;
mod model;
mod objects;
mod open;
mod options;
mod pattern;
pub mod read;
mod said;
pub mod slab;
pub mod stats;
mod tables;
mod times;
mod types;

pub use arrays::{Array, ArraySet};
pub use index::{IndexState, IndexUse};
pub use location::Location;
pub use model::{Chunk, Dataset, Dim, GridTable, Variable};
pub use objects::{ChunkFacts, Chunks};
pub use open::{open, open_or_empty};
pub use options::{GridChoice, Missing, OPTIONS, OpenOptions, OptionDoc};
pub use pattern::NamePattern;
pub use said::ObjectName;
pub use types::{arrow_type, values_array};
