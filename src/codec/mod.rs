//! The codec pipeline of one object: full decode and range decode, delivered block by block.
//!
//! ```text
//! encoded bytes -> decompress -> unshuffle -> unpack -> swap -> restore NaN/Inf -> Block -> sink
//! ```
//! [`Pipeline`] is built once from a descriptor (all parameters checked) and is immutable; each worker owns a
//! [`Scratch`] whose buffers it reuses. A [`Block`] is a typed, native-order run of consecutive elements, small
//! enough to be in cache when the sink sees it, or, for stored values that need no decoding, a borrowed slice
//! of the mapped file.

mod bits;
mod block;
mod blosc2;
mod deliver;
pub mod encode;
mod job;
mod lz4;
mod masks;
pub mod packing;
mod pipeline;
mod plan;
mod region;
mod scratch;
pub mod shuffle;
mod spec;
mod stats;
mod stream;
mod swap;
mod sz3;
pub mod szip;
mod szip_reader;
mod verify;
mod windows;
pub mod zfp;
mod zfp_reader;

pub use block::{Block, Complex, Piece, Values};
pub use pipeline::{ElementRange, Pipeline};
pub use region::Region;
pub use scratch::Scratch;
pub use spec::{
    Blosc2Codec, Compression, Encoding, Filter, MaskMethod, MaskOptions, Packing, Spec, Sz3Mode, ZfpMode,
};
pub use stats::DecodeStats;
pub use verify::Verify;
