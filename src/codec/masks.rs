//! NaN and Inf masks: which elements get a canonical value back.

use super::blosc2::{self, Decompressor};
use super::plan::value_width;
use super::region::Held;
use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::stream::{self, ZstdContext};
use super::windows::Fault;
use crate::tgm::{DType, Descriptor, MaskEntry, MaskKind};
use crate::{Error, Place, Result};
use roaring::RoaringBitmap;
use std::ops::Range;

/// How the bits of a mask are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    None,
    Rle,
    Roaring,
    Lz4,
    Zstd,
    Blosc2,
}

/// Where one mask lies and how to read it; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MaskPlan {
    kind: MaskKind,
    method: Method,
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
            (masks, dtype) if dtype.is_float() => Ok(masks),
            _ => Ok(Vec::new()), // integers have neither; the format lets such masks be
        }
    }

    fn try_new(at: &Place, entry: &MaskEntry, region_len: u64) -> Result<Self> {
        let method = match entry.method.as_str() {
            "none" => Method::None,
            "rle" => Method::Rle,
            "roaring" => Method::Roaring,
            "lz4" => Method::Lz4,
            "zstd" => Method::Zstd,
            "blosc2" => Method::Blosc2,
            other => return Err(Error::codec(at, "mask", format!("unknown method `{other}`"))),
        };
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
            if plan.method == Method::None {
                if blob.len() != bytes {
                    return Err(fault(format!("{} bytes for {len} elements, wanted {bytes}", blob.len())));
                }
                sets.push((plan.kind, blob));
                continue;
            }
            let out = buffer.take(bytes)?;
            match plan.method {
                Method::None => {}
                Method::Rle => decode_rle(blob, len, out)?,
                Method::Roaring => decode_roaring(blob, len, out)?,
                Method::Lz4 => stream::lz4(blob, out).map_err(fault)?,
                Method::Zstd => zstd.decode(blob, out).map_err(fault)?,
                Method::Blosc2 => blosc2::decode_all(blob, blosc2, out, &mut DecodeStats::default())
                    .map_err(|f| fault(f.what))?,
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
        DType::Float32 => [0x7fc0_0000, 0x7f80_0000, 0xff80_0000],
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

/// The byte at `index`, without the bits outside `span`.
fn masked_byte(bits: &[u8], index: usize, span: &Range<u64>) -> u8 {
    let first = index as u64 * 8;
    let mut byte = bits[index];
    if span.start > first {
        byte &= 0xff >> (span.start - first);
    }
    if span.end < first + 8 {
        byte &= !(0xff >> (span.end - first));
    }
    byte
}

fn any_set(bits: &[u8], span: &Range<u64>) -> bool {
    if span.is_empty() {
        return false;
    }
    let (first, last) = ((span.start / 8) as usize, ((span.end - 1) / 8) as usize);
    if masked_byte(bits, first, span) != 0 || masked_byte(bits, last, span) != 0 {
        return true;
    }
    first + 1 < last && bits[first + 1..last].iter().any(|byte| *byte != 0)
}

fn for_each_set(bits: &[u8], span: &Range<u64>, mut visit: impl FnMut(u64)) {
    if span.is_empty() {
        return;
    }
    for index in (span.start / 8) as usize..=((span.end - 1) / 8) as usize {
        if bits[index] == 0 {
            continue;
        }
        let mut byte = masked_byte(bits, index, span);
        while byte != 0 {
            let bit = byte.leading_zeros();
            visit(index as u64 * 8 + u64::from(bit));
            byte &= !(0x80 >> bit);
        }
    }
}

/// Sets bits `start..end`.
fn set_bits(bits: &mut [u8], start: u64, end: u64) {
    if start >= end {
        return;
    }
    let (first, last) = ((start / 8) as usize, ((end - 1) / 8) as usize);
    let head = 0xff_u8 >> (start % 8);
    let tail = 0xff_u8 << (7 - (end - 1) % 8);
    if first == last {
        bits[first] |= head & tail;
        return;
    }
    bits[first] |= head;
    bits[first + 1..last].fill(0xff);
    bits[last] |= tail;
}

/// A start bit, then the lengths of alternating runs as ULEB128, which add up to `len`.
fn decode_rle(blob: &[u8], len: u64, out: &mut [u8]) -> Result<(), Fault> {
    out.fill(0);
    let Some((&start, mut rest)) = blob.split_first() else {
        return if len == 0 { Ok(()) } else { Err(fault("empty run lengths")) };
    };
    let mut value = match start {
        0 => false,
        1 => true,
        other => return Err(fault(format!("run lengths start with bit {other}"))),
    };
    let mut at = 0_u64;
    while !rest.is_empty() {
        let (run, tail) = uleb128(rest)?;
        let end = at.checked_add(run).filter(|end| run > 0 && *end <= len);
        let end = end.ok_or_else(|| fault(format!("a run of {run} at bit {at} of {len}")))?;
        if value {
            set_bits(out, at, end);
        }
        (at, rest, value) = (end, tail, !value);
    }
    if at == len { Ok(()) } else { Err(fault(format!("runs of {at} bits in all, wanted {len}"))) }
}

fn uleb128(bytes: &[u8]) -> Result<(u64, &[u8]), Fault> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if i == 9 && part > 1 {
            break; // beyond 64 bits
        }
        value |= part << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(fault("a run length without end"))
}

/// Portable serialisation of the set positions. What a hostile blob makes the library allocate is bounded by
/// one container (8 KiB) more than the blob holds.
fn decode_roaring(blob: &[u8], len: u64, out: &mut [u8]) -> Result<(), Fault> {
    let bitmap =
        RoaringBitmap::deserialize_from(blob).map_err(|e| fault(format!("malformed roaring set: {e}")))?;
    if let Some(max) = bitmap.max().filter(|max| u64::from(*max) >= len) {
        return Err(fault(format!("bit {max} is set of {len}")));
    }
    out.fill(0);
    let mut bits = bitmap.iter();
    while let Some(run) = bits.next_range() {
        set_bits(out, u64::from(*run.start()), u64::from(*run.end()) + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(bits: &[bool]) -> Vec<u8> {
        let byte = |eight: &[bool]| eight.iter().zip(0..).map(|(bit, i)| u8::from(*bit) << (7 - i)).sum();
        bits.chunks(8).map(byte).collect()
    }

    fn runs() -> impl Strategy<Value = Vec<bool>> {
        let run = (any::<bool>(), 1..40_usize);
        let flat = |runs: Vec<(bool, usize)>| runs.iter().flat_map(|(bit, n)| vec![*bit; *n]).collect();
        prop::collection::vec(run, 1..30).prop_map(flat)
    }

    fn rle(bits: &[bool]) -> Vec<u8> {
        let mut blob = vec![u8::from(bits[0])];
        for run in bits.chunk_by(|a, b| a == b) {
            let mut n = run.len();
            while n >= 0x80 {
                blob.push(n as u8 | 0x80);
                n >>= 7;
            }
            blob.push(n as u8);
        }
        blob
    }

    proptest! {
        #[test]
        fn sets_come_back_from_runs_and_roaring(bits in runs()) {
            let want = packed(&bits);
            let mut out = vec![0xaa; want.len()];
            decode_rle(&rle(&bits), bits.len() as u64, &mut out).unwrap();
            prop_assert_eq!(&out, &want);
            let set: RoaringBitmap = (0..).zip(&bits).filter(|(_, bit)| **bit).map(|(i, _)| i).collect();
            let mut blob = Vec::new();
            set.serialize_into(&mut blob).unwrap();
            out.fill(0xaa);
            decode_roaring(&blob, bits.len() as u64, &mut out).unwrap();
            prop_assert_eq!(&out, &want);
            // One bit fewer doesn't fit, unless it was no set bit of a roaring set.
            prop_assert!(decode_rle(&rle(&bits), bits.len() as u64 - 1, &mut out).is_err());
            prop_assert_eq!(decode_roaring(&blob, bits.len() as u64 - 1, &mut out).is_err(), bits[bits.len() - 1]);
        }

        #[test] // any part of a set, begun and ended inside bytes
        fn parts_of_a_set(bits in runs(), ends in any::<(prop::sample::Index, prop::sample::Index)>()) {
            let ends = [ends.0.index(bits.len() + 1), ends.1.index(bits.len() + 1)];
            let (start, end) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            let span = start as u64..end as u64;
            let set = packed(&bits);
            let want: Vec<u64> = (span.clone()).filter(|i| bits[*i as usize]).collect();
            let mut got = Vec::new();
            for_each_set(&set, &span, |i| got.push(i));
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(any_set(&set, &span), !want.is_empty());
            let masks = Masks { sets: vec![(MaskKind::NegInf, &set)] };
            let mut values = vec![1.5_f32; end - start];
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
            let mut restored = bytes.clone();
            masks.restore(DType::Float32, &span, &mut restored);
            for i in want {
                values[(i - span.start) as usize] = f32::NEG_INFINITY;
            }
            prop_assert_eq!(restored, values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn malformed_runs() {
        let mut out = [0; 1];
        for blob in [&[2, 8][..], &[0, 0, 8], &[0, 3], &[0, 9], &[1, 0x80], &[], &[0, 4, 4, 1]] {
            assert!(decode_rle(blob, 8, &mut out).is_err(), "{blob:?}");
        }
        let endless = [[0].as_slice(), &[0xff; 12]].concat();
        assert!(decode_rle(&endless, 8, &mut out).is_err());
        assert!(decode_rle(&[1, 3, 5], 8, &mut out).is_ok() && out == [0b1110_0000]);
        assert!(decode_rle(&[], 0, &mut []).is_ok());
    }
}
