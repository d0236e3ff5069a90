//! NaN and Inf masks: which elements get a canonical value back.

use super::bits::{self, any_set, for_each_set};
use super::blosc2::{self, Decompressor};
use super::lz4;
use super::plan::value_width;
use super::region::Held;
use super::scratch::AlignedBuf;
use super::spec::MaskMethod;
use super::stats::DecodeStats;
use super::stream::ZstdContext;
use super::windows::Fault;
use crate::tgm::{DType, Descriptor, MaskEntry, MaskKind};
use crate::{Error, Place, Result};
use std::ops::Range;

/// Where one mask lies and how to read it; checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MaskPlan {
    kind: MaskKind,
    method: MaskMethod,
    /// Within the payload region.
    span: Range<u64>,
}

impl MaskPlan {
    /// The masks of an object that say something about its values.
    pub(super) fn all(at: &Place, descriptor: &Descriptor, region_len: u64) -> Result<Vec<Self>> {
        let masks: Result<Vec<_>> =
            descriptor.masks.iter().map(|entry| Self::try_new(at, entry, region_len)).collect();
        match (masks?, descriptor.dtype) {
            (masks, DType::Bitmask) if !masks.is_empty() => {
                Err(Error::codec(at, "mask", "a bitmask has no NaN or Inf to restore"))
            }
            (masks, dtype) if dtype.is_float() || dtype.is_complex() => Ok(masks),
            _ => Ok(Vec::new()), // integers have neither; the format lets such masks be
        }
    }

    fn try_new(at: &Place, entry: &MaskEntry, region_len: u64) -> Result<Self> {
        let method = MaskMethod::parse(&entry.method, &entry.params, at)?;
        let end = entry.offset.checked_add(entry.length).filter(|end| *end <= region_len);
        let end = end.ok_or_else(|| {
            let what = format!(
                "a mask of {} bytes at {} leaves a region of {region_len}",
                entry.length, entry.offset
            );
            Error::framing(at, what)
        })?;
        Ok(Self { kind: entry.kind, method, span: entry.offset..end })
    }

    /// Where it lies in the payload region.
    pub(super) fn span(&self) -> Range<u64> {
        self.span.clone()
    }
}

/// The bit sets of one visit, MSB first, one bit an element.
#[derive(Debug, Default)]
pub(super) struct Masks<'a> {
    sets: Vec<(MaskKind, &'a [u8])>,
}

impl<'a> Masks<'a> {
    /// Decodes all masks of an object of `len` elements.
    pub(super) fn load(
        plans: &[MaskPlan],
        region: &'a Held<'_>,
        len: u64,
        buffers: &'a mut [AlignedBuf; 3],
        zstd: &mut ZstdContext,
        blosc2: &mut Decompressor,
        stats: &mut DecodeStats,
    ) -> Result<Self, Fault> {
        let bytes = len.div_ceil(8) as usize;
        let mut sets = Vec::with_capacity(plans.len());
        // There are three kinds, each at most once.
        for (plan, buffer) in plans.iter().zip(buffers) {
            let blob = region.get(plan.span())?;
            stats.bytes_read += blob.len() as u64;
            if plan.method == MaskMethod::None {
                if blob.len() != bytes {
                    return Err(fault(format!("{} bytes for {len} elements, wanted {bytes}", blob.len())));
                }
                sets.push((plan.kind, blob));
                continue;
            }
            let out = buffer.take(bytes)?;
            match plan.method {
                MaskMethod::None => {}
                MaskMethod::Rle => bits::decode_rle(blob, len, out).map_err(fault)?,
                MaskMethod::Roaring => bits::decode_roaring(blob, len, out).map_err(fault)?,
                MaskMethod::Lz4 => lz4::decode(blob, out).map_err(fault)?,
                MaskMethod::Zstd { .. } => zstd.decode(blob, out).map_err(fault)?,
                MaskMethod::Blosc2 { .. } => {
                    blosc2::decode_all(blob, blosc2, out, &mut DecodeStats::default())
                        .map_err(|f| fault(f.what))?
                }
            }
            sets.push((plan.kind, buffer.bytes()));
        }
        Ok(Self { sets })
    }

    /// Whether any element of `span` is masked.
    pub(super) fn touch(&self, span: &Range<u64>) -> bool {
        self.sets.iter().any(|(_, bits)| any_set(bits, span))
    }

    /// Writes the canonical NaN, +Inf or -Inf of `dtype` over the masked values of `span`, whose native bytes
    /// are `values`.
    pub(super) fn restore(&self, dtype: DType, span: &Range<u64>, values: &mut [u8]) {
        for (kind, bits) in &self.sets {
            let pattern = pattern(dtype, *kind);
            match value_width(dtype) {
                // Both parts of a complex number get it.
                8 if dtype == DType::Complex64 => {
                    fill::<8>(bits, span, (pattern << 32 | pattern).to_ne_bytes(), values);
                }
                16 => {
                    let pattern = u128::from(pattern) << 64 | u128::from(pattern);
                    fill::<16>(bits, span, pattern.to_ne_bytes(), values);
                }
                2 => fill::<2>(bits, span, (pattern as u16).to_ne_bytes(), values),
                4 => fill::<4>(bits, span, (pattern as u32).to_ne_bytes(), values),
                _ => fill::<8>(bits, span, pattern.to_ne_bytes(), values),
            }
        }
    }
}

/// Writes `pattern` over every value of `span` whose bit is set.
fn fill<const WIDTH: usize>(bits: &[u8], span: &Range<u64>, pattern: [u8; WIDTH], values: &mut [u8]) {
    let values = values.as_chunks_mut::<WIDTH>().0;
    for_each_set(bits, span, |element| {
        if let Some(value) = values.get_mut((element - span.start) as usize) {
            *value = pattern;
        }
    });
}

/// Canonical bits of a kind (section 3 of the format). Masks of other dtypes are dropped when they are planned.
fn pattern(dtype: DType, kind: MaskKind) -> u64 {
    let [nan, inf, minus_inf] = match dtype {
        DType::Float16 => [0x7e00, 0x7c00, 0xfc00],
        DType::BFloat16 => [0x7fc0, 0x7f80, 0xff80],
        DType::Float32 | DType::Complex64 => [0x7fc0_0000, 0x7f80_0000, 0xff80_0000],
        _ => [0x7ff8 << 48, 0x7ff0 << 48, 0xfff0 << 48],
    };
    match kind {
        MaskKind::NaN => nan,
        MaskKind::PosInf => inf,
        MaskKind::NegInf => minus_inf,
    }
}

fn fault(what: impl ToString) -> Fault {
    Fault::new("mask", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_values() {
        let set = [0b0100_1001, 0b1000_0000];
        let restored = |dtype: DType, span: Range<u64>, width: usize| {
            let masks = Masks { sets: vec![(MaskKind::NegInf, &set)] };
            let mut values = vec![7; (span.end - span.start) as usize * width];
            masks.restore(dtype, &span, &mut values);
            values
        };
        for span in [0..9, 1..9, 2..8, 3..4, 4..5, 5..5] {
            let inf = f32::NEG_INFINITY.to_ne_bytes();
            let want = |parts: usize| -> Vec<u8> {
                let value = |i: u64| if [1, 4, 7, 8].contains(&i) { inf } else { [7; 4] };
                span.clone().flat_map(|i| value(i).repeat(parts)).collect()
            };
            assert_eq!(restored(DType::Float32, span.clone(), 4), want(1));
            assert_eq!(restored(DType::Complex64, span.clone(), 8), want(2));
        }
        let wide = restored(DType::Complex128, 8..9, 16);
        assert_eq!(wide, f64::NEG_INFINITY.to_ne_bytes().repeat(2));
    }
}
