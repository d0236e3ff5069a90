//! The Tensogram v3 message format: framing, CBOR metadata, scanning, writing.
//!
//! ```text
//! Source -> scan -> spans of messages -> frames -> Metadata + one Object per tensor
//! Metadata + encoded objects -> Writer -> frames -> Write
//! ```
//! A [`File`] owns the list of its messages, a [`Writer`] the sink of its own; nothing of a payload is decoded or
//! encoded here.

mod ahead;
mod canonical;
mod cbor;
mod check;
mod descriptor;
mod dtype;
mod frame;
mod hash;
mod limits;
mod message;
mod metadata;
pub mod params;
mod scan;
mod scout;
mod types;
mod values;
mod window;
mod write;

pub use check::{Checked, Checks, Issue, Problem, Severity, check};
pub use dtype::{ByteOrder, DType};
pub use hash::verify;
pub use limits::{Limits, parse_size};
pub use types::{Descriptor, File, Map, MaskEntry, MaskKind, Message, Metadata, Object, Value};
pub use values::{lookup, map_to_json, to_json, value_text};
pub use write::{EncodedObject, Placement, Provenance, StreamMessage, WriteOptions, Writer, provenance};
