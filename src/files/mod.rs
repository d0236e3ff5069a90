//! Whole files: written from values, converted to other pipelines, validated; on all cores, with bounded memory.
//!
//! ```text
//! values -> encode (each core) -> in order -> tgm::Writer                     FileWriter
//! file -> objects -> decode, encode (each core) -> in order -> tgm::Writer    convert
//! file -> tgm::check -> decode (each core) -> in order -> Report              validate
//! ```
//! All three run on `ordered`: jobs come from one thread, are worked on by all, and leave in the order in
//! which they came, with a bound on the bytes that are under way.

mod convert;
mod ordered;
mod validate;
mod write;

pub use convert::{Choice, ConvertOptions, Converted, Layout, convert};
pub use validate::{Level, Report, ValidateOptions, validate};
pub use write::{FileWriter, Tensor};

use crate::tgm::Descriptor;
use std::num::NonZero;
use std::thread;

/// Bytes of values and encoded objects that are under way at a time; a single object may be larger.
const UNDER_WAY: u64 = 256 << 20;

/// Told how many more bytes of a file are through.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// Threads to work with: one for each core.
fn cores() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Bytes of the decoded values of an object; those of a bitmask take one each.
fn decoded_bytes(descriptor: &Descriptor) -> u64 {
    descriptor.len().saturating_mul(descriptor.dtype.width().unwrap_or(1) as u64)
}
