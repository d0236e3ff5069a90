//! Simple packing (section 4.2 of the format): `v = R + 2^E * 10^-D * q`, `q` of 0 to 64 bits, MSB first.
//!
//! Values come out bit-identical to the reference's: the factor is one product of two integer powers, then one
//! multiplication and one addition a value, never fused.

mod pack;

pub use pack::{check_exponent, scales};

use multiversion::multiversion;
use std::ops::Bound;

/// What can be wrong with packed values or their parameters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PackingError {
    /// More than 64 bits.
    #[error("{0} bits per value, expected 0 to 64")]
    Bits(u32),
    /// A reference value that is no number.
    #[error("reference value {0}, expected a finite number")]
    Reference(f64),
    /// A value to pack that is no number.
    #[error("value {value} at {index}, expected finite numbers")]
    NotFinite {
        /// Where.
        index: usize,
        /// What came.
        value: f64,
    },
    /// A binary exponent that isn't written: the values' range is too small or too large.
    #[error("binary exponent {0}, expected -256 to 256")]
    Exponent(i32),
    /// The packed bytes are too few (or, uncompressed, too many).
    #[error("{got} packed bytes, {wanted} wanted")]
    Size {
        /// Bytes that are there.
        got: u64,
        /// Bytes that the values need.
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
    /// From the descriptor's `sp_*` values. Exponents are `i32` there, and not limited further: with extreme ones
    /// the factor is 0 or infinite, as it is for the reference.
    ///
    /// # Errors
    /// [`PackingError::Bits`] for more than 64 bits, [`PackingError::Reference`] for a reference value that isn't
    /// finite.
    pub fn try_new(bits: u32, reference: f64, binary_scale: i32, decimal_scale: i32) -> Result<Self> {
        if bits > 64 {
            return Err(PackingError::Bits(bits));
        }
        if !reference.is_finite() {
            return Err(PackingError::Reference(reference));
        }
        let factor = power(2.0, i64::from(binary_scale)) * power(10.0, -i64::from(decimal_scale));
        Ok(Self { bits, reference, factor })
    }

    /// Bits of one packed value, 0 to 64.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes that `count` values occupy; `None` beyond 2^64.
    pub fn packed_bytes(&self, count: u64) -> Option<u64> {
        (u128::from(count) * u128::from(self.bits)).div_ceil(8).try_into().ok()
    }

    /// The rule for uncompressed payloads: exactly as many bytes as `count` values need.
    ///
    /// # Errors
    /// [`PackingError::Size`].
    pub fn check_exact(&self, bytes: u64, count: u64) -> Result<()> {
        let wanted = self.packed_bytes(count).unwrap_or(u64::MAX);
        if bytes == wanted { Ok(()) } else { Err(PackingError::Size { got: bytes, wanted }) }
    }

    /// Unpacks `out.len()` values that start at bit `first_bit` (MSB first) of `packed`. Bytes beyond the last
    /// value are tolerated here: whether they may be there depends on what came before, see
    /// [`SimplePacking::check_exact`].
    ///
    /// # Errors
    /// [`PackingError::Size`] if `packed` is too short.
    pub fn unpack(&self, packed: &[u8], first_bit: u64, out: &mut [f64]) -> Result<()> {
        self.unpack_as(self.scales(), packed, first_bit, out)
    }

    fn unpack_as<M: Make>(&self, make: M, packed: &[u8], first_bit: u64, out: &mut [M::Out]) -> Result<()> {
        let bits = self.bits;
        let end = u128::from(first_bit) + out.len() as u128 * u128::from(bits);
        let got = packed.len() as u64;
        let wanted = u64::try_from(end.div_ceil(8)).unwrap_or(u64::MAX);
        if bits == 0 {
            out.fill(make.of_none());
            return Ok(());
        }
        if wanted > got {
            return Err(PackingError::Size { got, wanted });
        }
        // The first byte exists unless there is nothing to unpack.
        let packed = packed.get((first_bit / 8) as usize..).unwrap_or_default();
        let shift = (first_bit % 8) as u32;
        match (bits, shift) {
            (8, 0) => bytes::<1, M>(make, packed, out),
            (16, 0) => bytes::<2, M>(make, packed, out),
            (24, 0) => bytes::<3, M>(make, packed, out),
            (32, 0) => bytes::<4, M>(make, packed, out),
            (64, 0) => bytes::<8, M>(make, packed, out),
            _ => fields(make, packed, shift, bits, out),
        }
        Ok(())
    }

    /// What packed integer `q` stands for.
    pub fn value(&self, q: u32) -> f64 {
        self.scales().value(f64::from(q))
    }

    /// What stands for 0.
    pub fn reference(&self) -> f64 {
        self.reference
    }

    /// The distance between the values of neighbouring integers, 0 or more.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether integers are as good as values to reducers: they fit a `u32`, and every value is a finite number,
    /// with room for squares.
    pub(super) fn reducible(&self) -> bool {
        let top = u32::MAX.checked_shr(32 - self.bits.min(32)).unwrap_or(0);
        (1..=32).contains(&self.bits)
            && (1e-100..=1e100).contains(&self.factor)
            && self.reference.abs() <= 1e100
            && self.value(top).is_finite()
    }

    /// The values of the smallest and the largest integer: no value is beyond them. `None` where they aren't finite.
    pub fn bounds(&self) -> Option<(f64, f64)> {
        let top = u64::MAX.checked_shr(64 - self.bits).unwrap_or(0) as f64;
        let (low, high) = match self.bits {
            0 => (self.reference, self.reference),
            _ => (self.scales().value(0.0), self.scales().value(top)),
        };
        (low.is_finite() && high.is_finite()).then_some((low, high))
    }

    /// The integers whose values meet both `low` and `high`, as a first one and how many there are; the order of values
    /// is the total one of floats. Exact: values never fall as integers rise, so the first that meets a bound is found
    /// by halving, with the values themselves. Of packings of at most 32 bits.
    pub fn numbers_within(&self, low: Bound<f64>, high: Bound<f64>) -> (u32, u64) {
        let above = |q: u64, bound: f64| self.scales().value(q as f64).total_cmp(&bound);
        // The first integer of which `meets` is true, as it is of all that follow.
        let first = |meets: &dyn Fn(u64) -> bool| {
            let (mut from, mut to) = (0, 1u64 << self.bits.min(32));
            while from < to {
                let middle = from.midpoint(to);
                if meets(middle) { to = middle } else { from = middle + 1 }
            }
            from
        };
        let start = match low {
            Bound::Unbounded => 0,
            Bound::Included(low) => first(&|q| above(q, low).is_ge()),
            Bound::Excluded(low) => first(&|q| above(q, low).is_gt()),
        };
        let end = match high {
            Bound::Unbounded => first(&|_| false),
            Bound::Included(high) => first(&|q| above(q, high).is_gt()),
            Bound::Excluded(high) => first(&|q| above(q, high).is_ge()),
        };
        (u32::try_from(start).unwrap_or(u32::MAX), end.saturating_sub(start))
    }

    fn scales(&self) -> Scale {
        Scale { reference: self.reference, factor: self.factor }
    }

    /// As [`SimplePacking::unpack`], without scaling; of at most 32 bits.
    ///
    /// # Errors
    /// As there; [`PackingError::Bits`] for more than 32 bits.
    pub fn unpack_numbers(&self, packed: &[u8], first_bit: u64, out: &mut [u32]) -> Result<()> {
        if self.bits > 32 {
            return Err(PackingError::Bits(self.bits));
        }
        self.unpack_as(Raw, packed, first_bit, out)
    }

    /// Scales packed values that come as numbers already ([`super::szip::Samples::U32`]).
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn scale(&self, samples: &[u32], out: &mut [f64]) {
        assert_eq!(samples.len(), out.len(), "samples and values differ in number");
        numbers(self.scales(), samples, out);
    }
}

/// `base` to an integer power by repeated squaring, the reciprocal last: what `powi` does at run time. Written
/// out because `powi` doesn't promise how it rounds.
fn power(base: f64, exponent: i64) -> f64 {
    let (mut square, mut left, mut power) = (base, exponent.unsigned_abs(), 1.0);
    while left > 0 {
        if left & 1 == 1 {
            power *= square;
        }
        square *= square;
        left >>= 1;
    }
    if exponent < 0 { 1.0 / power } else { power }
}

#[derive(Clone, Copy)]
struct Scale {
    reference: f64,
    factor: f64,
}

impl Scale {
    #[inline(always)]
    fn value(self, q: f64) -> f64 {
        self.reference + self.factor * q
    }
}

/// What becomes of packed integers.
trait Make: Copy {
    type Out: Copy;
    /// Of an integer below 2^52.
    fn of_small(self, q: u64) -> Self::Out;
    /// Of any integer.
    fn of_any(self, q: u64) -> Self::Out;
    /// Of one of no bits.
    fn of_none(self) -> Self::Out;
}

impl Make for Scale {
    type Out = f64;
    #[inline(always)]
    fn of_small(self, q: u64) -> f64 {
        self.value(small(q))
    }
    #[inline(always)]
    fn of_any(self, q: u64) -> f64 {
        self.value(q as f64)
    }
    #[inline(always)]
    fn of_none(self) -> f64 {
        self.reference
    }
}

/// Integers as they are, of at most 32 bits.
#[derive(Clone, Copy)]
struct Raw;

impl Make for Raw {
    type Out = u32;
    #[inline(always)]
    fn of_small(self, q: u64) -> u32 {
        q as u32
    }
    #[inline(always)]
    fn of_any(self, q: u64) -> u32 {
        q as u32
    }
    #[inline(always)]
    fn of_none(self) -> u32 {
        0
    }
}

/// A number below 2^52 as `f64`, by way of its bits: vectorises on every target.
#[inline(always)]
fn small(q: u64) -> f64 {
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    f64::from_bits(q | TWO_52.to_bits()) - TWO_52
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn numbers(scale: Scale, samples: &[u32], out: &mut [f64]) {
    for (out, &q) in out.iter_mut().zip(samples) {
        *out = scale.value(small(u64::from(q)));
    }
}

/// Values of `N` whole bytes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn bytes<const N: usize, M: Make>(make: M, packed: &[u8], out: &mut [M::Out]) {
    for (out, bytes) in out.iter_mut().zip(packed.as_chunks::<N>().0) {
        let q = bytes.iter().fold(0, |q, &byte| q << 8 | u64::from(byte));
        *out = if N < 7 { make.of_small(q) } else { make.of_any(q) };
    }
}

/// Values of any width. Eight of them are `bits` bytes, so each group of eight lies alike in its bytes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn fields<M: Make>(make: M, packed: &[u8], shift: u32, bits: u32, out: &mut [M::Out]) {
    let mut place = [(0, 0); 8];
    for (i, place) in place.iter_mut().enumerate() {
        let bit = shift as usize + i * bits as usize;
        *place = (bit / 8, (bit % 8) as u32);
    }
    let (groups, rest) = out.as_chunks_mut::<8>();
    let mut packed = packed;
    for group in groups {
        let mut q = [0; 8];
        if bits <= 57 && packed.len() >= place[7].0 + 8 {
            for (q, (byte, shift)) in q.iter_mut().zip(place) {
                let word = packed[byte..].first_chunk().map_or(0, |word| u64::from_be_bytes(*word));
                *q = word << shift >> (64 - bits);
            }
        } else {
            for (q, (byte, shift)) in q.iter_mut().zip(place) {
                *q = field(packed, byte, shift, bits);
            }
        }
        for (out, q) in group.iter_mut().zip(q) {
            *out = if bits <= 52 { make.of_small(q) } else { make.of_any(q) };
        }
        packed = &packed[bits as usize..];
    }
    for (out, (byte, shift)) in rest.iter_mut().zip(place) {
        *out = make.of_any(field(packed, byte, shift, bits));
    }
}

/// One value, wherever it lies: up to 71 bits from its first byte on. Bytes past the end count as zeros.
fn field(packed: &[u8], byte: usize, shift: u32, bits: u32) -> u64 {
    let mut word = [0; 16];
    let rest = packed.get(byte..).unwrap_or_default();
    let count = rest.len().min(9);
    word[..count].copy_from_slice(&rest[..count]);
    (u128::from_be_bytes(word) << shift >> (128 - bits)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(bits: u32, scales: (f64, i32, i32), packed: &[u8], count: usize) -> Vec<f64> {
        let mut out = vec![f64::NAN; count];
        let packing = SimplePacking::try_new(bits, scales.0, scales.1, scales.2).unwrap();
        packing.check_exact(packed.len() as u64, count as u64).unwrap();
        packing.unpack(packed, 0, &mut out).unwrap();
        out
    }

    #[test]
    fn vectors_of_the_format() {
        let near = |out: Vec<f64>, step: f64| {
            assert_eq!(out.len(), 5);
            for (out, v) in out.iter().zip([250.0, 251.3, 252.7, 250.0, 260.0]) {
                assert!((out - v).abs() <= step / 2.0, "{out} {v}");
            }
        };
        let twelve = [0, 0x01, 0x4d, 0x2b, 0x30, 0, 0xa0, 0];
        near(unpacked(12, (250.0, -8, 0), &twelve, 5), 1.0 / 256.0);
        let sixteen = [0, 0, 0x14, 0xcd, 0x2b, 0x33, 0, 0, 0xa0, 0];
        near(unpacked(16, (250.0, -12, 0), &sixteen, 5), 1.0 / 4096.0);
        let decimal = [0, 0, 0x20, 0x80, 0x43, 0x80, 0, 0, 0xfa, 0];
        near(unpacked(16, (250.0, -6, 2), &decimal, 5), 1.0 / 6400.0);
        assert_eq!(unpacked(1, (250.0, 4, 0), &[8], 5), [250.0, 250.0, 250.0, 250.0, 266.0]);
        assert!(unpacked(0, (-0.0, 3, 0), &[], 2).iter().all(|v| v.to_bits() == (-0.0f64).to_bits()));
        let mut wide = vec![0; 8];
        wide.extend(0x14cc_cccc_cccd_0000u64.to_be_bytes());
        wide.extend(0x2b33_3333_3333_0000u64.to_be_bytes());
        wide.extend([0; 8]);
        wide.extend(0xa000_0000_0000_0000u64.to_be_bytes());
        near(unpacked(64, (250.0, -60, 0), &wide, 5), 1e-12);
    }

    #[test]
    fn parameters_and_sizes() {
        assert_eq!(SimplePacking::try_new(65, 0.0, 0, 0), Err(PackingError::Bits(65)));
        assert!(SimplePacking::try_new(8, f64::NAN, 0, 0).is_err());
        assert!(SimplePacking::try_new(8, f64::INFINITY, 0, 0).is_err());
        assert!(SimplePacking::try_new(8, 0.0, i32::MIN, i32::MIN).is_ok());
        let packing = SimplePacking::try_new(12, 1.0, 0, 0).unwrap();
        assert_eq!(packing.packed_bytes(3), Some(5));
        assert_eq!(packing.packed_bytes(u64::MAX), None);
        assert!(packing.check_exact(5, 3).is_ok() && packing.check_exact(6, 3).is_err());
        let mut out = [0.0; 3];
        assert_eq!(packing.unpack(&[0; 4], 0, &mut out), Err(PackingError::Size { got: 4, wanted: 5 }));
        assert!(packing.unpack(&[0; 5], 5, &mut out).is_err());
        assert!(packing.unpack(&[0; 5], u64::MAX, &mut out).is_err());
        assert!(packing.unpack(&[0; 5], 41, &mut []).is_err());
        assert!(packing.unpack(&[0; 6], 5, &mut out).is_ok());
    }

    #[test]
    fn powers_are_those_of_the_reference() {
        // Ten to the 23rd is where repeated squaring and the nearest double part.
        for n in -300..=300 {
            assert_eq!(power(2.0, n), 2f64.powi(n as i32), "2^{n}");
            assert_eq!(power(10.0, n), std::hint::black_box(10f64).powi(n as i32), "10^{n}");
        }
        assert_eq!((power(2.0, 2000), power(2.0, -2000)), (f64::INFINITY, 0.0));
    }

    /// Bit by bit.
    fn naive(packed: &[u8], first: u64, bits: u32, i: usize) -> u64 {
        let start = first as usize + i * bits as usize;
        (start..start + bits as usize)
            .fold(0, |q, bit| q << 1 | u64::from(packed[bit / 8] >> (7 - bit % 8) & 1))
    }

    proptest! {
        #[test]
        fn unpacks_like_the_naive_model(
            bits in 0..=64u32,
            packed in prop::collection::vec(any::<u8>(), 0..700),
            first in prop_oneof![(0..20u64).prop_map(|n| 8 * n), 0..200u64],
            reference in -1e6..1e6,
            binary in -60..60,
            decimal in -5..5,
        ) {
            let packing = SimplePacking::try_new(bits, reference, binary, decimal).unwrap();
            let first = first.min(packed.len() as u64 * 8);
            let room = packed.len() as u64 * 8 - first;
            let count = if bits == 0 { 100 } else { room / u64::from(bits) } as usize;
            let mut out = vec![f64::NAN; count];
            packing.unpack(&packed, first, &mut out).unwrap();
            let factor = 2f64.powi(binary) * std::hint::black_box(10f64).powi(-decimal);
            for (i, out) in out.iter().enumerate() {
                let q = naive(&packed, first, bits, i) as f64;
                let expected = if bits == 0 { reference } else { reference + factor * q };
                prop_assert_eq!(out.to_bits(), expected.to_bits());
            }
            if bits > 0 {
                prop_assert!(packing.unpack(&packed, first, &mut vec![0.0; count + 1]).is_err());
            }
        }

        #[test]
        fn scales_numbers(samples in prop::collection::vec(any::<u32>(), 0..100), binary in -60..60) {
            let packing = SimplePacking::try_new(32, 3.25, binary, 0).unwrap();
            let packed: Vec<u8> = samples.iter().flat_map(|q| q.to_be_bytes()).collect();
            let (mut scaled, mut unpacked) = (vec![0.0; samples.len()], vec![0.0; samples.len()]);
            packing.scale(&samples, &mut scaled);
            packing.unpack(&packed, 0, &mut unpacked).unwrap();
            prop_assert_eq!(scaled, unpacked);
        }
    }

    proptest! {
        #[test]
        fn thresholds_are_those_of_the_values(
            bits in 0_u32..=12,
            reference in prop_oneof![Just(0.0), Just(-0.0), -400.0..400.0],
            (binary, decimal) in (-12_i32..4, -2_i32..3),
            at in 0_u32..5000,
            off in prop_oneof![Just(0.0), Just(f64::EPSILON), Just(-f64::EPSILON), -2.0..2.0],
            (lower, included) in any::<(bool, bool)>(),
        ) {
            let packing = SimplePacking::try_new(bits, reference, binary, decimal).unwrap();
            let bound = packing.value(at) * (1.0 + off);
            let bound_of = if included { Bound::Included(bound) } else { Bound::Excluded(bound) };
            let (low, high) = if lower { (bound_of, Bound::Unbounded) } else { (Bound::Unbounded, bound_of) };
            let (first, count) = packing.numbers_within(low, high);
            for q in 0..1_u32 << bits {
                let order = packing.value(q).total_cmp(&bound);
                let meets = if lower { order.is_gt() } else { order.is_lt() } || (included && order.is_eq());
                prop_assert_eq!(meets, u64::from(q.wrapping_sub(first)) < count, "{}", q);
            }
            let (low, high) = packing.bounds().unwrap();
            prop_assert!((0..1_u32 << bits).all(|q| (low..=high).contains(&packing.value(q))));
        }
    }
}
