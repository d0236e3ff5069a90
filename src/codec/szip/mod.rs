//! Our own decoder of CCSDS 121.0-B (`szip`, AEC): full decode, and range decode at exact bit positions.
//!
//! A stream is cut into reference sample intervals (RSIs) of `rsi` blocks of `block_size` samples. Every RSI
//! can be decoded alone if one knows the bit it starts at: [`RsiIndex`] finds that out by walking the stream,
//! which is much cheaper than decoding it.
//!
//! ```text
//! let aec = Aec::try_new(16, 16, 128, flags)?;
//! aec.decode_all(payload, Samples::Bytes(&mut bytes))?;              // everything
//! let index = aec.index(payload, samples, stored_offsets);           // once an object
//! aec.decode_rsis(payload, &index, 3..5, Samples::U32(&mut part))?;  // RSIs 3 and 4 alone
//! ```

use std::ops::Range;

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

/// What can be wrong with an AEC stream or its parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SzipError {
    /// A parameter is outside what the format allows.
    #[error("{0}")]
    Parameter(String),
    /// The stream ends before all samples came out.
    #[error("the stream ends after {decoded} of {wanted} samples")]
    Truncated {
        /// Samples that were there.
        decoded: u64,
        /// Samples that were asked for.
        wanted: u64,
    },
    /// A code that no encoder writes.
    #[error("malformed stream at bit {bit}: {what}")]
    Malformed {
        /// Where the offending block starts.
        bit: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// RSIs outside the stream, or an output that doesn't fit them.
    #[error("{0}")]
    Range(String),
}

/// Result of this module.
pub type Result<T, E = SzipError> = std::result::Result<T, E>;

/// Where decoded samples go, and in which form.
#[derive(Debug)]
pub enum Samples<'a> {
    /// Containers of [`Aec::sample_bytes`] bytes, in the byte order of the stream's flags.
    Bytes(&'a mut [u8]),
    /// The samples as numbers; signed ones sign-extended. Spares a detour through bytes when the next stage
    /// wants numbers (simple packing).
    U32(&'a mut [u32]),
}

/// Checked parameters of one AEC stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aec {
    bits_per_sample: u32,
    block_size: u32,
    rsi: u32,
    flags: u32,
}

/// Where every RSI of one stream really starts, found by walking it.
#[derive(Debug, Clone)]
pub struct RsiIndex {
    /// Bit offset of every RSI that could be reached, then the end of the last one.
    offsets: Vec<u64>,
    samples: u64,
    failure: Option<SzipError>,
    stored_agree: bool,
}

impl Aec {
    /// Checks the parameters as the descriptor has them. `flags` are the AEC flags in force: the caller adds
    /// [`MSB`] for simple packing. Containers are always `ceil(bits_per_sample / 8)` bytes.
    ///
    /// # Errors
    /// [`SzipError::Parameter`] for bits outside 1..=32, an rsi outside 1..=4096, a block size other than
    /// 8, 16, 32, 64 (or odd or zero, with [`NOT_ENFORCE`]), [`RESTRICTED`] with more than 4 bits.
    pub fn try_new(bits_per_sample: u32, block_size: u32, rsi: u32, flags: u32) -> Result<Self> {
        Ok(Self { bits_per_sample, block_size, rsi, flags })
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
    pub fn max_samples(&self, payload_bytes: u64) -> u64 {
        payload_bytes
    }

    /// Decodes as many samples as `out` takes, from the start. Bytes after the last sample don't matter.
    /// Returns the bit where decoding stopped.
    ///
    /// # Errors
    /// [`SzipError::Truncated`] if there are fewer samples, [`SzipError::Malformed`],
    /// [`SzipError::Range`] if `out` isn't a whole number of samples.
    pub fn decode_all(&self, payload: &[u8], out: Samples<'_>) -> Result<u64> {
        let _ = (payload, out);
        Err(SzipError::Parameter("not yet".into()))
    }

    /// Walks the stream of `samples` samples and notes where its RSIs start. `stored` are the offsets of the
    /// descriptor, if it has any; they are only compared, never believed.
    pub fn index(&self, payload: &[u8], samples: u64, stored: Option<&[u64]>) -> RsiIndex {
        let _ = (payload, stored);
        RsiIndex { offsets: vec![0], samples, failure: None, stored_agree: true }
    }

    /// Decodes the RSIs `rsis` and nothing else. `out` takes exactly their samples: `rsi_samples()` for each,
    /// fewer for the last RSI of the stream.
    ///
    /// # Errors
    /// [`SzipError::Range`] if the RSIs aren't in the stream or `out` has another size; what is wrong with the
    /// stream, if that is at or before these RSIs.
    pub fn decode_rsis(
        &self,
        payload: &[u8],
        index: &RsiIndex,
        rsis: Range<u64>,
        out: Samples<'_>,
    ) -> Result<u64> {
        let _ = (payload, index, rsis, out);
        Err(SzipError::Parameter("not yet".into()))
    }
}

impl RsiIndex {
    /// Whether the offsets in the descriptor are those of the stream; `true` if there were none.
    pub fn stored_agree(&self) -> bool {
        self.stored_agree
    }

    /// Bits that `rsis` occupy in the payload.
    ///
    /// # Errors
    /// As [`Aec::decode_rsis`].
    pub fn bits(&self, rsis: Range<u64>) -> Result<Range<u64>> {
        let _ = (&self.failure, self.samples);
        let at = |i: u64| self.offsets.get(i as usize).copied().ok_or(SzipError::Range("no such RSI".into()));
        Ok(at(rsis.start)?..at(rsis.end)?)
    }
}
