//! The codec pipeline of one object: full decode and range decode, delivered block by block.
//!
//! ```text
//! encoded bytes -> decompress -> unshuffle -> unpack -> swap -> restore NaN/Inf -> Block -> sink
//! ```
//! [`Pipeline`] is built once from a descriptor (all parameters checked) and is immutable; each worker owns a
//! [`Scratch`] whose buffers it reuses. A [`Block`] is a typed, native-order run of consecutive elements, small
//! enough to be in cache when the sink sees it, or, for stored values that need no decoding, a borrowed slice
//! of the mapped file.

mod block;
pub mod packing;
mod pipeline;
pub mod shuffle;
pub mod szip;

pub use block::{Block, Values};
pub use pipeline::{DecodeStats, ElementRange, Pipeline, Scratch, Verify};
