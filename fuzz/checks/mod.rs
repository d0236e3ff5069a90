//! What fuzzing checks of any bytes, one function a target. `fuzz_targets` feeds them what a fuzzer makes up, the
//! project's own tests (`tests/it/fuzzed.rs`) what a quick mutation of the seeds gives.

mod codecs;
mod dataset;
mod far;
mod framing;
mod index;
mod metadata;
mod packing;
mod pipeline;
#[cfg(feature = "engine")]
mod query;
mod seeds;
mod szip;

pub use codecs::codec;
pub use dataset::dataset;
pub use far::Far;
pub use framing::framing;
pub use index::index;
pub use metadata::metadata;
pub use packing::packing;
pub use pipeline::pipeline;
#[cfg(feature = "engine")]
pub use query::query;
pub use seeds::{of_file, own};
pub use szip::szip;

use millibar::tgm::Limits;

/// Every compression, and masks without any; each is a target `codec_<name>`.
pub const CODECS: [&str; 10] =
    ["none", "szip", "zstd", "lz4", "blosc2", "zfp", "sz3", "rle", "roaring", "masks"];

/// What is checked of some bytes.
pub type Check = fn(&[u8]);

/// Every target but those of [`CODECS`], and `query`, which needs the engine.
pub const TARGETS: [(&str, Check); 7] = [
    ("framing", framing),
    ("metadata", metadata),
    ("szip", szip),
    ("packing", packing),
    ("pipeline", pipeline),
    ("dataset", dataset),
    ("index", index),
];

/// Limits under which no sound seed is refused and no made-up one takes long.
fn limits() -> Limits {
    Limits { decoded_bytes: 4 << 20, ..Limits::default() }
}
