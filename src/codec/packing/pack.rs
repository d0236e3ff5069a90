//! Packing: scales of values, and values as integers of some bits.

use super::{PackingError, Result, SimplePacking, power};
use multiversion::multiversion;
use std::num::NonZeroUsize;

/// Values that one thread packs at least: less isn't worth a thread.
const PER_THREAD: usize = 1 << 17;
/// The largest magnitude of the binary exponent that is written.
const MAX_EXPONENT: i32 = 256;

/// Reference value and binary exponent for `values` in `bits` bits, as the reference computes them: the least value, and
/// the least power of two with which the range fits.
///
/// # Errors
/// [`PackingError::NotFinite`] for a value that is no number, [`PackingError::Exponent`] for a range that is too small or
/// too large.
pub fn scales(values: &[f64], bits: u32, decimal: i32) -> Result<(f64, i32)> {
    if bits > 64 {
        return Err(PackingError::Bits(bits));
    }
    let (least, most) = extremes(values);
    if !(least.is_finite() && most.is_finite()) {
        if values.is_empty() {
            return Ok((0.0, 0));
        }
        let index = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
        return Err(PackingError::NotFinite { index, value: values[index] });
    }
    if bits == 0 {
        return Ok((values[0], 0));
    }
    // Which zero the least value is depends on the order of comparisons: it is the first one.
    let least = if least == 0.0 {
        values.iter().copied().find(|value| *value == 0.0).unwrap_or(least)
    } else {
        least
    };
    let range = (most - least) * power(10.0, i64::from(decimal));
    if range == 0.0 {
        return Ok((least, 0));
    }
    let top = if bits == 64 { power(2.0, 64) } else { ((1_u64 << bits) - 1) as f64 };
    let exponent = (range / top).log2().ceil() as i32;
    check_exponent(exponent)?;
    Ok((least, exponent))
}

/// Whether a binary exponent may be written.
///
/// # Errors
/// [`PackingError::Exponent`] beyond 256.
pub fn check_exponent(exponent: i32) -> Result<()> {
    if exponent.unsigned_abs() > MAX_EXPONENT as u32 { Err(PackingError::Exponent(exponent)) } else { Ok(()) }
}

/// The least and the largest value; infinite or NaN if there is none or one of them is no number.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn extremes(values: &[f64]) -> (f64, f64) {
    const LANES: usize = 16;
    let (mut least, mut most) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    // A number times zero is zero; anything else sticks as NaN.
    let mut sound = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            least[i] = if chunk[i] < least[i] { chunk[i] } else { least[i] };
            most[i] = if chunk[i] > most[i] { chunk[i] } else { most[i] };
            sound[i] += chunk[i] * 0.0;
        }
    }
    for (i, &value) in rest.iter().enumerate() {
        least[i] = if value < least[i] { value } else { least[i] };
        most[i] = if value > most[i] { value } else { most[i] };
        sound[i] += value * 0.0;
    }
    if sound.iter().sum::<f64>() != 0.0 {
        return (f64::NAN, f64::NAN);
    }
    (
        least.iter().copied().fold(f64::INFINITY, f64::min),
        most.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    )
}

impl SimplePacking {
    /// Packs `values` into `out`, of [`SimplePacking::packed_bytes`] bytes, on up to `threads` threads. The exponents
    /// are those that this was made of. What is below the reference value packs as 0, what is beyond the largest integer
    /// as that.
    ///
    /// # Panics
    /// If `out` has another size.
    pub fn pack(&self, values: &[f64], binary: i32, decimal: i32, threads: NonZeroUsize, out: &mut [u8]) {
        assert_eq!(self.packed_bytes(values.len() as u64), Some(out.len() as u64), "packed bytes");
        if self.bits == 0 {
            return;
        }
        let scale = power(10.0, i64::from(decimal)) * power(2.0, -i64::from(binary));
        let quantizer = Quantizer { reference: self.reference, scale, bits: self.bits };
        let parts = (values.len() / PER_THREAD).clamp(1, threads.get());
        // Eight values are whole bytes.
        let count = values.len().div_ceil(parts).next_multiple_of(8);
        let bytes = count / 8 * self.bits as usize;
        if parts == 1 {
            return pack_part(quantizer, values, out);
        }
        std::thread::scope(|scope| {
            for (values, out) in values.chunks(count).zip(out.chunks_mut(bytes)) {
                scope.spawn(move || pack_part(quantizer, values, out));
            }
        });
    }
}

#[derive(Debug, Clone, Copy)]
struct Quantizer {
    reference: f64,
    scale: f64,
    bits: u32,
}

impl Quantizer {
    /// The integer of a value, of up to 51 bits: rounded half up, within the range.
    #[inline(always)]
    fn small(self, value: f64, top: f64) -> u64 {
        const TWO_52: f64 = 4_503_599_627_370_496.0;
        let scaled = (value - self.reference) * self.scale;
        let scaled = if scaled > 0.0 { scaled } else { 0.0 };
        let scaled = if scaled < top { scaled } else { top };
        // To the nearest integer, halves to even; then halves that went down go up.
        let nearest = scaled + TWO_52 - TWO_52;
        let up = if scaled - nearest == 0.5 { 1.0 } else { 0.0 };
        (nearest + up + TWO_52).to_bits() & ((1 << 52) - 1)
    }

    /// The integer of a value, of any bits.
    fn any(self, value: f64) -> u64 {
        let top = u64::MAX >> (64 - self.bits);
        (((value - self.reference) * self.scale).round() as u64).min(top)
    }
}

fn pack_part(quantizer: Quantizer, values: &[f64], out: &mut [u8]) {
    match quantizer.bits {
        8 => pack_bytes::<1>(quantizer, values, out),
        16 => pack_bytes::<2>(quantizer, values, out),
        24 => pack_bytes::<3>(quantizer, values, out),
        32 => pack_bytes::<4>(quantizer, values, out),
        ..=32 => pack_fields(quantizer, values, out),
        _ => pack_wide(quantizer, values, out),
    }
}

/// Integers of `N` whole bytes, at most 4.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn pack_bytes<const N: usize>(quantizer: Quantizer, values: &[f64], out: &mut [u8]) {
    let top = ((1_u64 << (8 * N)) - 1) as f64;
    for (out, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        let bytes = (quantizer.small(*value, top) as u32).to_be_bytes();
        out.copy_from_slice(&bytes[4 - N..]);
    }
}

/// Integers of up to 32 bits, quantised a stretch at a time and then laid end to end.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn pack_fields(quantizer: Quantizer, values: &[f64], out: &mut [u8]) {
    const STRETCH: usize = 512;
    let bits = quantizer.bits;
    let top = ((1_u64 << bits) - 1) as f64;
    let mut integers = [0_u32; STRETCH];
    for (values, out) in values.chunks(STRETCH).zip(out.chunks_mut(STRETCH / 8 * bits as usize)) {
        for (integer, value) in integers.iter_mut().zip(values) {
            *integer = quantizer.small(*value, top) as u32;
        }
        let mut words = out.chunks_mut(4);
        let (mut word, mut filled) = (0_u64, 0);
        for &integer in &integers[..values.len()] {
            word = word << bits | u64::from(integer);
            filled += bits;
            if filled >= 32 {
                filled -= 32;
                let bytes = ((word >> filled) as u32).to_be_bytes();
                if let Some(out) = words.next() {
                    out.copy_from_slice(&bytes[..out.len()]);
                }
            }
        }
        if let Some(out) = words.next() {
            let bytes = ((word << (32 - filled)) as u32).to_be_bytes();
            out.copy_from_slice(&bytes[..out.len()]);
        }
    }
}

/// Integers of 33 to 64 bits.
fn pack_wide(quantizer: Quantizer, values: &[f64], out: &mut [u8]) {
    let bits = quantizer.bits;
    let mut words = out.chunks_mut(8);
    let (mut word, mut filled) = (0_u128, 0);
    for value in values {
        word = word << bits | u128::from(quantizer.any(*value));
        filled += bits;
        if filled >= 64 {
            filled -= 64;
            let bytes = ((word >> filled) as u64).to_be_bytes();
            if let Some(out) = words.next() {
                out.copy_from_slice(&bytes[..out.len()]);
            }
        }
    }
    if let Some(out) = words.next() {
        let bytes = ((word << (64 - filled)) as u64).to_be_bytes();
        out.copy_from_slice(&bytes[..out.len()]);
    }
}
