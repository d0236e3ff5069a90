//! Millibar: SQL over stored tensors, at the speed of the array libraries, served over Arrow Flight.
//!
//! The path of a query runs through the modules from left to right, each knowing only those before it:
//!
//! ```text
//! source   bytes of a file: ranges in, `Bytes` out
//! tgm      framing, CBOR metadata, scan, check and writing of Tensogram v3 messages
//! codec    codec pipeline of one object: full decode and range decode, block by block
//! files    whole files: written from values, converted, validated
//! tensor   slabs, selections, chunk grids: integer geometry
//! dataset  names, coords and cubes over many objects and files
//! reduce   grid kernels and the states of aggregates
//! engine   DataFusion: table providers, scans, pushdown rules, functions, DDL
//! flight   the Arrow Flight and Flight SQL server
//! cli      the `millibar` command
//! ```
//!
//! The left half (up to `reduce`) knows nothing of DataFusion and builds without it
//! (`--no-default-features`); the right half knows nothing of bytes.

pub mod codec;
pub mod dataset;
mod error;
pub mod files;
pub mod reduce;
pub mod source;
pub mod tensor;
pub mod tgm;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "flight")]
pub mod flight;

// A file for tests that the fuzz checks use, too; for them the library is another crate.
#[cfg(test)]
extern crate self as millibar;
#[cfg(test)]
#[path = "../fuzz/checks/far.rs"]
#[allow(unreachable_pub)] // of that crate, there
mod far;

pub use error::{Error, Place, Result};
