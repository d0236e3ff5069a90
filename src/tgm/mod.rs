//! The Tensogram v3 message format: framing, CBOR metadata, scanning.
//!
//! ```text
//! Source -> scan -> spans of messages -> frames -> Metadata + one Object per tensor
//! ```
//! A [`File`] owns the list of its messages; nothing of a payload is read or decoded here.

mod ahead;
mod cbor;
mod descriptor;
mod dtype;
mod frame;
mod hash;
mod message;
mod metadata;
pub mod params;
mod scan;
mod types;
mod values;
mod window;

pub use dtype::{ByteOrder, DType};
pub use hash::verify;
pub use types::{Descriptor, File, Limits, Map, MaskEntry, MaskKind, Message, Metadata, Object, Value};
pub use values::{lookup, map_to_json, to_json, value_text};
