//! Buffers that one worker reuses from object to object.

use super::blosc2::Decompressor;
use super::stream::ZstdContext;

/// Buffers and decompression contexts that one worker reuses from object to object.
///
/// Every buffer grows to the largest size that was needed and stays there until the scratch is dropped.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A whole decompressed payload, where a codec can't be left or entered in the middle.
    pub(super) whole: AlignedBuf,
    /// Decompressed bytes around one window, where they don't lie together.
    pub(super) staging: AlignedBuf,
    /// Values of one block, where they can't be lent.
    pub(super) values: AlignedBuf,
    /// One decoded bit set for each kind of mask.
    pub(super) masks: [AlignedBuf; 3],
    pub(super) zstd: ZstdContext,
    pub(super) blosc2: Decompressor,
    /// The codec block decoded last (blosc2 block, run of szip RSIs).
    pub(super) block: AlignedBuf,
    /// Samples that come as numbers.
    pub(super) numbers: Vec<u32>,
}

impl Scratch {
    /// Bytes held by the buffers (without the contexts of the C libraries).
    pub fn capacity(&self) -> usize {
        let masks: usize = self.masks.iter().map(AlignedBuf::capacity).sum();
        let buffers = [&self.whole, &self.staging, &self.values, &self.block];
        masks
            + buffers.iter().map(|buffer| buffer.capacity()).sum::<usize>()
            + self.blosc2.capacity()
            + 4 * self.numbers.capacity()
    }
}

/// Bytes aligned for every element type.
#[derive(Debug, Default)]
pub(super) struct AlignedBuf {
    words: Vec<u64>,
    len: usize,
}

impl AlignedBuf {
    /// Makes the buffer `len` bytes long and lends them; what they hold is unspecified.
    pub(super) fn take(&mut self, len: usize) -> &mut [u8] {
        let words = len.div_ceil(8);
        if words > self.words.len() {
            // A fresh zeroed allocation, not a resized one: the system hands out zero pages, and those that
            // nothing is written to never become resident.
            self.words = Vec::new();
            self.words = vec![0; words];
        }
        self.len = len;
        self.bytes_mut()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `words` owns at least `len.div_ceil(8)` initialised words, and any byte is a valid u8.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and `self` is borrowed mutably; any bytes make a valid u64.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.len) }
    }

    /// The first `n` values as f64, which must have been taken as `8 * n` bytes or more.
    pub(super) fn doubles_mut(&mut self, n: usize) -> &mut [f64] {
        let words = &mut self.words[..n];
        // SAFETY: u64 and f64 have the same size and alignment, and any bits make a valid f64.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), n) }
    }

    pub(super) fn capacity(&self) -> usize {
        self.words.len() * 8
    }
}
