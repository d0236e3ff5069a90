//! NaN and infinities among the values: found, and replaced by zeros.

use super::super::scratch::AlignedBuf;
use super::super::spec::Spec;
use super::super::windows::Fault;
use crate::tgm::{DType, MaskKind};
use multiversion::multiversion;

/// The values that are no numbers, as bit sets by [`MaskKind`]; those of kinds that don't occur are empty.
#[derive(Debug, Default)]
pub(super) struct Found([Vec<u8>; 3]);

impl Found {
    /// The kinds that occur, with their sets, one bit an element.
    pub(super) fn sets(&self) -> impl Iterator<Item = (MaskKind, &[u8])> {
        let kinds = [MaskKind::NaN, MaskKind::PosInf, MaskKind::NegInf];
        kinds.into_iter().zip(&self.0).filter(|(_, set)| !set.is_empty()).map(|(kind, set)| (kind, &set[..]))
    }

    fn insert(&mut self, kind: MaskKind, element: usize, len: usize) {
        let set = &mut self.0[kind as usize];
        if set.is_empty() {
            set.resize(len.div_ceil(8), 0);
        }
        set[element / 8] |= 0x80 >> (element % 8);
    }
}

/// How the parts of a value (two, if it is complex) are laid out.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bytes of a part.
    width: usize,
    parts: usize,
    /// The bits of infinity: all exponent bits.
    infinity: u64,
}

impl Layout {
    /// `None` for dtypes whose values are all numbers.
    fn of(dtype: DType) -> Option<Self> {
        let (width, parts, infinity) = match dtype {
            DType::Float16 => (2, 1, 0x7c00),
            DType::BFloat16 => (2, 1, 0x7f80),
            DType::Float32 => (4, 1, 0x7f80_0000),
            DType::Float64 => (8, 1, 0x7ff0 << 48),
            DType::Complex64 => (4, 2, 0x7f80_0000),
            DType::Complex128 => (8, 2, 0x7ff0 << 48),
            _ => return None,
        };
        Some(Self { width, parts, infinity })
    }

    /// What a part is, if it is no number.
    fn kind(self, bits: u64) -> Option<MaskKind> {
        if bits & self.infinity != self.infinity {
            return None;
        }
        let sign = 1 << (8 * self.width - 1);
        Some(match bits & !sign {
            magnitude if magnitude != self.infinity => MaskKind::NaN,
            _ if bits & sign != 0 => MaskKind::NegInf,
            _ => MaskKind::PosInf,
        })
    }
}

/// Looks for NaN and infinities among native values; `None` if all are numbers.
///
/// # Errors
/// The first one of a kind that isn't allowed, by its index.
pub(super) fn scan(spec: &Spec, native: &[u8]) -> Result<Option<Found>, Fault> {
    let Some(layout) = Layout::of(spec.dtype) else { return Ok(None) };
    let any = match layout.width {
        2 => any_16(native, layout.infinity as u16),
        4 => any_32(native, layout.infinity as u32),
        _ => any_64(native, layout.infinity),
    };
    if !any {
        return Ok(None);
    }
    let mut found = Found::default();
    let size = layout.width * layout.parts;
    for (element, value) in native.chunks_exact(size).enumerate() {
        // Of several kinds in the parts of a value, the first in the order of masks counts.
        let parts = value.chunks_exact(layout.width).filter_map(|part| layout.kind(number(part)));
        let Some(kind) = parts.min() else { continue };
        let (allowed, what) = match kind {
            MaskKind::NaN => (spec.masks.allow_nan, "NaN"),
            MaskKind::PosInf => (spec.masks.allow_inf, "+Inf"),
            MaskKind::NegInf => (spec.masks.allow_inf, "-Inf"),
        };
        if !allowed {
            return Err(Fault::new("mask", format!("element {element} is {what}, which isn't allowed")));
        }
        found.insert(kind, element, native.len() / size);
    }
    Ok(Some(found))
}

/// A native number of 2, 4 or 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let at = if cfg!(target_endian = "big") { 8 - bytes.len() } else { 0 };
    word[at..at + bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// The values with zeros where masks are.
pub(super) fn without<'o>(
    found: &Option<Found>,
    dtype: DType,
    native: &[u8],
    out: &'o mut AlignedBuf,
) -> Result<&'o [u8], Fault> {
    let size = dtype.width().unwrap_or(1);
    let out = out.take(native.len())?;
    out.copy_from_slice(native);
    for (_, set) in found.iter().flat_map(Found::sets) {
        super::super::bits::for_each_set(set, &(0..(native.len() / size) as u64), |element| {
            out[element as usize * size..][..size].fill(0);
        });
    }
    Ok(out)
}

macro_rules! any {
    ($name:ident, $bits:ty, $width:literal) => {
        /// Whether all bits of `infinity` are set in any number.
        #[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
        fn $name(native: &[u8], infinity: $bits) -> bool {
            // A stretch at a time, without a way out between, so that it is done with wide registers.
            native.as_chunks::<$width>().0.chunks(1024).any(|stretch| {
                stretch
                    .iter()
                    .fold(false, |any, bytes| any | (<$bits>::from_ne_bytes(*bytes) & infinity == infinity))
            })
        }
    };
}
any!(any_16, u16, 2);
any!(any_32, u32, 4);
any!(any_64, u64, 8);
