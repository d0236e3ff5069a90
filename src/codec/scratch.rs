//! Buffers that one worker reuses from object to object.

use super::blosc2::Decompressor;
use super::stream::ZstdContext;
use super::windows::Fault;
use std::alloc::{Layout, alloc_zeroed};

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
    pub(super) numbers: AlignedBuf,
}

impl Scratch {
    /// Bytes held by the buffers (without the contexts of the C libraries).
    pub fn capacity(&self) -> usize {
        let masks: usize = self.masks.iter().map(AlignedBuf::capacity).sum();
        let buffers = [&self.whole, &self.staging, &self.values, &self.block, &self.numbers];
        masks + buffers.iter().map(|buffer| buffer.capacity()).sum::<usize>() + self.blosc2.capacity()
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
    pub(super) fn take(&mut self, len: usize) -> Result<&mut [u8], Fault> {
        let words = len.div_ceil(8);
        if words > self.words.len() {
            self.words = Vec::new(); // first, so that the two never exist together
            let no_memory = || Fault::new("pipeline", format!("no memory for {len} decoded bytes"));
            self.words = zeroed(words).ok_or_else(no_memory)?;
        }
        self.len = len;
        Ok(self.bytes_mut())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `words` owns at least `len.div_ceil(8)` initialised words, and any byte is a valid u8.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and `self` is borrowed mutably; any bytes make a valid u64.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.len) }
    }

    /// Room for `n` float64, which become the content.
    pub(super) fn take_doubles(&mut self, n: usize) -> Result<&mut [f64], Fault> {
        self.take(8 * n)?;
        let words = &mut self.words[..n];
        // SAFETY: u64 and f64 have the same size and alignment, and any bits make a valid f64.
        Ok(unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), n) })
    }

    /// Room for `n` u32, which become the content.
    pub(super) fn take_numbers(&mut self, n: usize) -> Result<&mut [u32], Fault> {
        self.take(4 * n)?;
        // SAFETY: the words own `4 * n` initialised bytes with a larger alignment, and any bits make a valid u32.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), n) })
    }

    /// The content as u32, if [`AlignedBuf::take_numbers`] made it.
    pub(super) fn numbers(&self) -> &[u32] {
        // SAFETY: `words` owns `len` initialised bytes with a larger alignment, and any bits make a valid u32.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len / 4) }
    }

    pub(super) fn capacity(&self) -> usize {
        self.words.len() * 8
    }
}

/// Zero pages of the system: those that nothing is written to never become resident. `None` where there is no
/// memory, for sizes come from files and must not end the process.
fn zeroed(words: usize) -> Option<Vec<u64>> {
    let layout = Layout::array::<u64>(words).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc_zeroed(layout) };
    // SAFETY: the memory was allocated by the global allocator with the layout of `words` u64, and zero bits are
    // u64.
    (!memory.is_null()).then(|| unsafe { Vec::from_raw_parts(memory.cast(), words, words) })
}

#[cfg(test)]
mod tests {
    use super::AlignedBuf;

    #[test]
    fn buffers_grow_and_stay() {
        let mut buffer = AlignedBuf::default();
        buffer.take(20).unwrap().fill(7);
        assert_eq!((buffer.bytes().len(), buffer.capacity()), (20, 24));
        assert_eq!(buffer.take(0).unwrap().len(), 0);
        assert_eq!(buffer.take_doubles(2).unwrap().len(), 2);
        buffer.take_numbers(3).unwrap().copy_from_slice(&[1, 2, 3]);
        assert_eq!(buffer.numbers(), [1, 2, 3]);
        assert_eq!(buffer.capacity(), 24);
    }

    #[test]
    fn no_memory_is_an_error() {
        assert!(AlignedBuf::default().take(1 << 60).is_err());
    }
}
