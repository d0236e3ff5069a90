//! Our own codec for zfp streams of one-dimensional float64 without a header (section 4.8 of the format).
//!
//! Values go by blocks of four. A block is a bit that says whether it holds anything but zeros, 11 bits of a common
//! exponent, and the transformed values as negabinary integers, bit plane by bit plane from the top. In each plane the
//! bits of values that have had a one before come as they are; for the others a group bit says whether there is one
//! among them, and then the bits up to the first of them. Bits fill bytes from the least significant on.
//!
//! A plane of four bits is at most seven bits long, so that it is one look into a table, both ways ([`tables`]).
//!
//! In streams of a fixed rate every block starts at a known bit. In others a block starts where the one before ends.
//!
//! ```
//! use millibar::codec::{ZfpMode, zfp::Zfp};
//!
//! # fn main() -> Result<(), millibar::codec::zfp::ZfpError> {
//! let zfp = Zfp::try_new(ZfpMode::FixedRate(16.0))?;
//! let mut payload = Vec::new();
//! zfp.encode(&[0.0, 0.25, 0.5, 0.75, 1.0], &mut payload);
//! assert_eq!(payload, [0xff, 0x67, 0xa7, 0, 0, 0, 0, 0, 1, 0x68, 1, 0, 0, 0, 0, 0]);
//!
//! let mut last = [0.0];
//! zfp.decoder(&payload, 5).decode(4..5, &mut last)?;
//! assert_eq!(last, [1.0]);
//! # Ok(())
//! # }
//! ```

mod decode;
mod encode;
mod tables;
#[cfg(test)]
mod tests;

pub use decode::Decoder;

use super::spec::ZfpMode;

/// Values of a block.
pub const BLOCK: usize = 4;
/// Bits of the common exponent.
const EXPONENT_BITS: u32 = 11;
const EXPONENT_BIAS: i32 = 1023;
/// Bits of a block's head: not all zeros, exponent.
const HEAD: u32 = 1 + EXPONENT_BITS;
/// Bit planes of an integer.
const PLANES: u32 = 64;
/// The most bits of a block that the format's library knows of.
const MAX_BITS: u32 = 16_658;
/// The smallest exponent of a float64's last bit.
const MIN_EXPONENT: i32 = -1074;
/// Alternating bits, by which two's complement and negabinary differ.
const NEGABINARY: u64 = 0xaaaa_aaaa_aaaa_aaaa;
/// Bits of a header that the format never has and that a payload's size allows for all the same.
const HEADER_ALLOWANCE: u64 = 148;

/// What can be wrong with a zfp stream or its parameters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ZfpError {
    /// A parameter is outside what the format allows.
    #[error("{what} of {got}, expected {expected}")]
    Parameter {
        /// Which one.
        what: &'static str,
        /// What came.
        got: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// The stream ends before the last value.
    #[error("the stream of {0} bytes ends before the last value")]
    Truncated(usize),
}

/// Result of this module.
pub type Result<T, E = ZfpError> = std::result::Result<T, E>;

/// Checked parameters of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zfp {
    /// Bits that a block has at least and at most: equal for a fixed rate.
    min_bits: u32,
    max_bits: u32,
    /// Bit planes of a block at most.
    max_planes: u32,
    /// Exponent of the last bit that counts.
    min_exponent: i32,
}

impl Zfp {
    /// # Errors
    /// [`ZfpError::Parameter`] for rates and tolerances that aren't positive numbers, and rates beyond 4164 bits.
    pub fn try_new(mode: ZfpMode) -> Result<Self> {
        let free = Self { min_bits: 1, max_bits: MAX_BITS, max_planes: PLANES, min_exponent: MIN_EXPONENT };
        match mode {
            ZfpMode::FixedRate(rate) => {
                let bits = (rate * BLOCK as f64 + 0.5).floor();
                if !(rate > 0.0 && bits <= f64::from(MAX_BITS)) {
                    let expected = "a positive number of bits up to 4164";
                    return Err(ZfpError::Parameter { what: "zfp_rate", got: rate, expected });
                }
                let bits = (bits as u32).max(HEAD);
                Ok(Self { min_bits: bits, max_bits: bits, ..free })
            }
            ZfpMode::FixedPrecision(0) => Ok(free),
            ZfpMode::FixedPrecision(planes) => {
                let planes = u32::try_from(planes).unwrap_or(PLANES).min(PLANES);
                Ok(Self { max_planes: planes, ..free })
            }
            ZfpMode::FixedAccuracy(tolerance) => {
                if !(tolerance > 0.0 && tolerance.is_finite()) {
                    let expected = "a positive number";
                    return Err(ZfpError::Parameter { what: "zfp_tolerance", got: tolerance, expected });
                }
                Ok(Self { min_exponent: exponent(tolerance) - 1, ..free })
            }
        }
    }

    /// Bits of every block, if they have a fixed rate.
    pub fn block_bits(&self) -> Option<u64> {
        (self.min_bits == self.max_bits).then_some(u64::from(self.max_bits))
    }

    /// Bytes of the smallest payload that can hold `len` values, and of the largest one that a reader takes.
    pub fn payload_bytes(&self, len: u64) -> (u64, u64) {
        let blocks = len.div_ceil(BLOCK as u64);
        let full = HEAD + BLOCK as u32 - 1 + BLOCK as u32 * self.max_planes;
        let most = u64::from(full.min(self.max_bits).max(self.min_bits));
        if blocks == 0 {
            return (0, 0);
        }
        let words = |bits: u64| bits.div_ceil(64).saturating_mul(8);
        let least = words(blocks.saturating_mul(u64::from(self.min_bits)));
        (least, words(blocks.saturating_mul(most).saturating_add(HEADER_ALLOWANCE)))
    }

    /// Bit planes of a block with values below `2^exponent`.
    fn planes(&self, exponent: i32) -> u32 {
        let wanted = exponent - self.min_exponent + 4; // two guard bits for each level of the transform
        self.max_planes.min(u32::try_from(wanted).unwrap_or(0))
    }
}

/// `e` of `|x| = m * 2^e`, `m` from a half to one, for a number other than zero.
fn exponent(x: f64) -> i32 {
    let raw = (x.to_bits() >> 52) as i32 & 0x7ff;
    match raw {
        0 => {
            let mantissa = x.to_bits() & ((1 << 52) - 1);
            MIN_EXPONENT + 64 - mantissa.leading_zeros() as i32
        }
        raw => raw - (EXPONENT_BIAS - 1),
    }
}

/// `2^n`, zero or infinite where a float64 can't hold it.
fn power(n: i32) -> f64 {
    match n {
        ..MIN_EXPONENT => 0.0,
        MIN_EXPONENT..=-1023 => f64::from_bits(1 << (n - MIN_EXPONENT)),
        -1022..=1023 => f64::from_bits(((n + EXPONENT_BIAS) as u64) << 52),
        _ => f64::INFINITY,
    }
}
