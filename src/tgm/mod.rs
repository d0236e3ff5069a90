//! The Tensogram v3 message format: framing, CBOR metadata, scanning.
//!
//! ```text
//! Source -> scan -> spans of messages -> frames -> Metadata + one Object per tensor
//! ```
//! A [`File`] owns the list of its messages; nothing of a payload is read or decoded here.

mod dtype;
pub mod params;
mod types;

pub use dtype::{ByteOrder, DType};
pub use types::{Descriptor, File, Limits, Map, MaskEntry, MaskKind, Message, Metadata, Object, Value};
