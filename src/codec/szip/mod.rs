//! Our own codec for CCSDS 121.0-B (`szip`, AEC): encoding, full decode, and range decode at exact bit positions.
//!
//! A stream is cut into reference sample intervals (RSIs) of `rsi` blocks of `block_size` samples. Every RSI
//! can be decoded alone by one who knows the bit it starts at. Descriptors list these bits, but the list can't
//! be believed: the reference's encoder gets it wrong after runs of zero blocks. Nor does decoding an RSI show
//! that its offset was right. Take `uint8` zeros in RSIs of nine blocks: the zero run that ends one RSI and the
//! whole next RSI are
//!
//! ```text
//! 00001 | 000 0 00000000 00001        right: low entropy, zero run, reference 0, rest of the segment
//! 000 0 10000000 0000000001           from 5 bits too early: reference 128, nine zero blocks
//! ```
//!
//! Both readings end at the same bit with all samples in range. A chain of RSIs is as good as its first link,
//! and the only link beyond doubt is bit 0. So [`Aec::index`] walks the stream from there, once an object.
//! The walk doesn't decode: the end of a block's unary codes is found by counting ones a word at a time, and the
//! rest has a known length. Stored offsets are hints that let it walk several RSIs side by side; every link of the
//! chain is still checked. It costs about a fifth of decoding everything, a third without hints
//! (`benches/decode_kernels.rs`).
//!
//! ```
//! # fn main() -> Result<(), millibar::codec::szip::SzipError> {
//! use millibar::codec::szip::{Aec, PREPROCESS, Samples};
//!
//! // 40 little-endian uint16: 0, 7, 14, ...; in RSIs of 2 blocks of 8
//! let payload = [
//!     0x40, 0x00, 0x0a, 0xaa, 0xfd, 0xb6, 0xd9, 0x15, 0x55, 0x76, 0xdb, 0x6d, 0x90, 0x01, 0xc1, 0x55,
//!     0x5d, 0xb6, 0xdb, 0x22, 0xaa, 0xae, 0xdb, 0x6d, 0xb2, 0x00, 0x70, 0x2a, 0xab, 0xb6, 0xdb, 0x60,
//! ];
//! let aec = Aec::try_new(16, 8, 2, PREPROCESS)?;
//! let index = aec.index(&payload, 40, Some(&[0, 98, 197]));
//! assert!(index.stored_agree());
//!
//! let mut last = [0; 8];
//! aec.decode_rsis(&payload, &index, 2..3, Samples::U32(&mut last))?;
//! assert_eq!(last, [224, 231, 238, 245, 252, 259, 266, 273]);
//!
//! let samples: Vec<u8> = (0..40_u16).flat_map(|i| (7 * i).to_le_bytes()).collect();
//! let mut encoded = Vec::new();
//! assert_eq!(aec.encode(&samples, &mut encoded)?, [0, 98, 197]);
//! assert_eq!(encoded, payload);
//! # Ok(())
//! # }
//! ```

mod bits;
mod block;
mod decode;
mod encode;
mod index;
mod post;
#[cfg(test)]
mod tests;

pub use decode::Samples;
pub use index::RsiIndex;

/// Samples are signed, two's complement.
pub const SIGNED: u32 = 1;
/// Samples lie big-endian in their containers.
pub const MSB: u32 = 4;
/// Samples went through the unit-delay predictor.
pub const PREPROCESS: u32 = 8;
/// The restricted set of code options, for at most 4 bits a sample.
pub const RESTRICTED: u32 = 16;
/// Every RSI starts at a byte.
pub const PAD_RSI: u32 = 32;
/// Any even block size is allowed.
pub const NOT_ENFORCE: u32 = 64;

/// What can be wrong with an AEC stream, its parameters, or what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SzipError {
    /// A parameter is outside what the format allows.
    #[error("{what} of {got}, expected {expected}")]
    Parameter {
        /// Which one.
        what: &'static str,
        /// What came.
        got: u64,
        /// What is allowed.
        expected: &'static str,
    },
    /// The stream ends before all samples came out.
    #[error("the stream ends before the last sample")]
    Truncated,
    /// A code that no encoder writes.
    #[error("malformed stream: {0}")]
    Malformed(Malformed),
    /// RSIs outside the stream, or an output that doesn't fit them.
    #[error("{what}: {got}, expected {expected}")]
    Range {
        /// What doesn't fit.
        what: &'static str,
        /// What came.
        got: u64,
        /// What would fit.
        expected: u64,
    },
}

/// Codes that no encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A run of zero blocks leaves its RSI.
    #[error("a run of zero blocks leaves its interval")]
    ZeroRun,
    /// A second-extension code beyond the table.
    #[error("a pair code beyond the table")]
    Pair,
}

/// Result of this module.
pub type Result<T, E = SzipError> = std::result::Result<T, E>;

/// Checked parameters of one AEC stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aec {
    bits_per_sample: u32,
    block_size: u32,
    /// Blocks in an RSI.
    rsi: u32,
    flags: u32,
    /// Bits of the code option at the head of a block.
    id_bits: u32,
}

impl Aec {
    /// Checks the parameters as the descriptor has them. `flags` are the AEC flags in force: the caller adds
    /// [`MSB`] for simple packing. Containers are always `ceil(bits_per_sample / 8)` bytes, so flag 2
    /// (three-byte containers) is implied for 17 to 24 bits; unknown flags mean nothing.
    ///
    /// # Errors
    /// [`SzipError::Parameter`] for bits outside 1..=32, an rsi outside 1..=4096, a block size other than
    /// 8, 16, 32, 64 (or odd or zero, with [`NOT_ENFORCE`]), [`RESTRICTED`] with more than 4 bits.
    pub fn try_new(bits_per_sample: u32, block_size: u32, rsi: u32, flags: u32) -> Result<Self> {
        let refuse = |what, got, expected| Err(SzipError::Parameter { what, got: u64::from(got), expected });
        if !(1..=32).contains(&bits_per_sample) {
            return refuse("bits per sample", bits_per_sample, "1 to 32");
        }
        if !(1..=4096).contains(&rsi) {
            return refuse("szip_rsi", rsi, "1 to 4096");
        }
        if flags & NOT_ENFORCE != 0 {
            if block_size == 0 || !block_size.is_multiple_of(2) {
                return refuse("szip_block_size", block_size, "an even number");
            }
        } else if ![8, 16, 32, 64].contains(&block_size) {
            return refuse("szip_block_size", block_size, "8, 16, 32 or 64");
        }
        let restricted = flags & RESTRICTED != 0;
        if restricted && bits_per_sample > 4 {
            return refuse("bits per sample, restricted", bits_per_sample, "1 to 4");
        }
        let id_bits = match bits_per_sample {
            1..=2 if restricted => 1,
            3..=4 if restricted => 2,
            1..=8 => 3,
            9..=16 => 4,
            _ => 5,
        };
        Ok(Self { bits_per_sample, block_size, rsi, flags, id_bits })
    }

    /// Bytes of one sample's container: 1, 2, 3 or 4.
    pub fn sample_bytes(&self) -> usize {
        self.bits_per_sample.div_ceil(8) as usize
    }

    /// Samples in one RSI (the last one may be shorter).
    pub fn rsi_samples(&self) -> u64 {
        u64::from(self.rsi) * u64::from(self.block_size)
    }

    /// RSIs that hold `samples` samples.
    pub fn rsi_count(&self, samples: u64) -> u64 {
        samples.div_ceil(self.rsi_samples())
    }

    /// The most samples that a payload of so many bytes can hold: a bound for allocations.
    ///
    /// The densest code is a zero run to the end of a segment: a block head, one bit for the kind of low
    /// entropy, five bits for the run, 64 blocks.
    pub fn max_samples(&self, payload_bytes: u64) -> u64 {
        let runs = payload_bytes.saturating_mul(8) / u64::from(self.id_bits + 6) + 1;
        runs.saturating_mul(64 * u64::from(self.block_size))
    }

    #[inline(always)]
    fn signed(&self) -> bool {
        self.flags & SIGNED != 0
    }

    #[inline(always)]
    fn msb(&self) -> bool {
        self.flags & MSB != 0
    }

    #[inline(always)]
    fn preprocess(&self) -> bool {
        self.flags & PREPROCESS != 0
    }

    #[inline(always)]
    fn pads(&self) -> bool {
        self.flags & PAD_RSI != 0
    }
}
