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
mod blosc2;
mod deliver;
mod job;
mod masks;
pub mod packing;
mod pipeline;
mod plan;
mod scratch;
pub mod shuffle;
mod stats;
mod stream;
mod swap;
pub mod szip;
mod szip_reader;
mod verify;
mod windows;

pub use block::{Block, Piece, Values};
pub use pipeline::{ElementRange, Pipeline};
pub use scratch::Scratch;
pub use stats::DecodeStats;
pub use verify::Verify;
