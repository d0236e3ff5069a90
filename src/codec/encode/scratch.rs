//! Buffers that one worker reuses from object to object.

use super::super::scratch::AlignedBuf;
use super::compress::ZstdEncoder;

/// Buffers and compression contexts that one worker reuses from object to object.
///
/// Every buffer grows to the largest size that was needed and stays there until the scratch is dropped.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Values with zeros where NaN and infinities were.
    pub(super) values: AlignedBuf,
    /// Packed or swapped elements.
    pub(super) encoded: AlignedBuf,
    pub(super) shuffled: AlignedBuf,
    pub(super) zstd: ZstdEncoder,
}

impl Scratch {
    /// Bytes held by the buffers (without the contexts of the C libraries).
    pub fn capacity(&self) -> usize {
        self.values.capacity() + self.encoded.capacity() + self.shuffled.capacity()
    }
}
