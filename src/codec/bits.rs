//! Bit sets, MSB first, and the two codecs made for them (section 4.10 of the format): run lengths and Roaring sets.
//!
//! Masks are coded so, one bit an element, and the payloads of bitmasks, there behind a u32 with the number of bits.

use roaring::RoaringBitmap;
use std::ops::Range;

/// Result of decoding: what is wrong, in words.
type Result<T, E = String> = std::result::Result<T, E>;

/// Packs bytes of 0 and 1, one an element.
pub(super) fn pack(elements: &[u8], out: &mut [u8]) {
    let byte = |eight: &[u8]| eight.iter().enumerate().fold(0, |byte, (i, bit)| byte | (bit & 1) << (7 - i));
    let (whole, rest) = elements.as_chunks::<8>();
    for (out, eight) in out.iter_mut().zip(whole) {
        // Multiplying gathers the lowest bit of each byte in the top one, the first byte's above the others.
        let word = u64::from_le_bytes(*eight) & 0x0101_0101_0101_0101;
        *out = (word.wrapping_mul(0x8040_2010_0804_0201) >> 56) as u8;
    }
    if let Some(last) = out.get_mut(whole.len()) {
        *last = byte(rest);
    }
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

/// Whether any bit of `span` is set.
pub(super) fn any_set(bits: &[u8], span: &Range<u64>) -> bool {
    if span.is_empty() {
        return false;
    }
    let (first, last) = ((span.start / 8) as usize, ((span.end - 1) / 8) as usize);
    if masked_byte(bits, first, span) != 0 || masked_byte(bits, last, span) != 0 {
        return true;
    }
    first + 1 < last && bits[first + 1..last].iter().any(|byte| *byte != 0)
}

/// Visits the set bits of `span`.
pub(super) fn for_each_set(bits: &[u8], span: &Range<u64>, mut visit: impl FnMut(u64)) {
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

/// The end of the run of bits `value` that starts at `at`, at most `len`.
fn run_end(bits: &[u8], at: u64, len: u64, value: bool) -> u64 {
    let flip = if value { !0 } else { 0 };
    let mut at = at;
    while at < len {
        let rest = &bits[(at / 8) as usize..];
        let word = match rest.first_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => u64::from(rest[0]) << 56 | (flip & (u64::MAX >> 8)), // one byte at a time at the end
        };
        let valid = if rest.len() >= 8 { 64 } else { 8 } - (at % 8);
        let same = u64::from(((word ^ flip) << (at % 8)).leading_zeros()).min(valid);
        at += same;
        if same < valid {
            break;
        }
    }
    at.min(len)
}

/// Appends the first `len` bits as a start bit and the lengths of alternating runs in ULEB128.
pub(super) fn encode_rle(bits: &[u8], len: u64, out: &mut Vec<u8>) {
    if len == 0 {
        return;
    }
    let mut value = bits[0] & 0x80 != 0;
    out.push(u8::from(value));
    let mut at = 0;
    while at < len {
        let end = run_end(bits, at, len, value);
        let mut run = end - at;
        while run >= 0x80 {
            out.push(run as u8 | 0x80);
            run >>= 7;
        }
        out.push(run as u8);
        (at, value) = (end, !value);
    }
}

/// A start bit, then the lengths of alternating runs as ULEB128, which add up to `len`.
pub(super) fn decode_rle(blob: &[u8], len: u64, out: &mut [u8]) -> Result<()> {
    out.fill(0);
    let Some((&start, mut rest)) = blob.split_first() else {
        return if len == 0 { Ok(()) } else { Err("empty run lengths".into()) };
    };
    let mut value = match start {
        0 => false,
        1 => true,
        other => return Err(format!("run lengths start with bit {other}")),
    };
    let mut at = 0_u64;
    while !rest.is_empty() {
        let (run, tail) = uleb128(rest)?;
        let end = at.checked_add(run).filter(|end| run > 0 && *end <= len);
        let end = end.ok_or_else(|| format!("a run of {run} at bit {at} of {len}"))?;
        if value {
            set_bits(out, at, end);
        }
        (at, rest, value) = (end, tail, !value);
    }
    if at == len { Ok(()) } else { Err(format!("runs of {at} bits in all, wanted {len}")) }
}

fn uleb128(bytes: &[u8]) -> Result<(u64, &[u8])> {
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
    Err("a run length without end".into())
}

/// Appends the portable serialisation of the positions of the set bits among the first `len`.
///
/// # Errors
/// Positions beyond 32 bits.
pub(super) fn encode_roaring(bits: &[u8], len: u64, out: &mut Vec<u8>) -> Result<()> {
    if len > 1 << 32 {
        return Err(format!("{len} bits are more than a roaring set can hold"));
    }
    let mut mirrored: Vec<u8> = bits.iter().map(|byte| byte.reverse_bits()).collect();
    if let (Some(last), 1..) = (mirrored.last_mut(), len % 8) {
        *last &= !(0xff << (len % 8));
    }
    let mut set = RoaringBitmap::from_lsb0_bytes(0, &mirrored);
    set.optimize();
    set.serialize_into(out).map_err(|e| e.to_string())
}

/// Portable serialisation of the set positions. What a hostile blob makes the library allocate is bounded by
/// one container (8 KiB) more than the blob holds.
pub(super) fn decode_roaring(blob: &[u8], len: u64, out: &mut [u8]) -> Result<()> {
    let bitmap = RoaringBitmap::deserialize_from(blob).map_err(|e| format!("malformed roaring set: {e}"))?;
    if let Some(max) = bitmap.max().filter(|max| u64::from(*max) >= len) {
        return Err(format!("bit {max} is set of {len}"));
    }
    out.fill(0);
    let mut bits = bitmap.iter();
    while let Some(run) = bits.next_range() {
        set_bits(out, u64::from(*run.start()), u64::from(*run.end()) + 1);
    }
    Ok(())
}

/// A codec for the payloads of bitmasks: the bits of `out.len()` bytes behind their number.
pub(super) fn decode_counted(
    payload: &[u8],
    out: &mut [u8],
    decode: fn(&[u8], u64, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let (count, blob) = payload.split_first_chunk().ok_or("no number of bits")?;
    let (count, want) = (u64::from(u32::from_be_bytes(*count)), 8 * out.len() as u64);
    if count != want {
        return Err(format!("{count} bits, wanted {want}"));
    }
    decode(blob, want, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(bits: &[bool]) -> Vec<u8> {
        let elements: Vec<u8> = bits.iter().map(|bit| u8::from(*bit)).collect();
        let mut out = vec![0xaa; bits.len().div_ceil(8)];
        pack(&elements, &mut out);
        out
    }

    fn runs() -> impl Strategy<Value = Vec<bool>> {
        let run = (any::<bool>(), prop_oneof![1..40_usize, 100..400_usize]);
        let flat = |runs: Vec<(bool, usize)>| runs.iter().flat_map(|(bit, n)| vec![*bit; *n]).collect();
        prop::collection::vec(run, 1..30).prop_map(flat)
    }

    proptest! {
        #[test]
        fn sets_come_back_from_runs_and_roaring(bits in runs()) {
            let want = packed(&bits);
            let len = bits.len() as u64;
            prop_assert!(bits.iter().enumerate().all(|(i, bit)| (want[i / 8] >> (7 - i % 8) & 1 == 1) == *bit));
            let (mut out, mut blob) = (vec![0xaa; want.len()], Vec::new());
            encode_rle(&want, len, &mut blob);
            prop_assert_eq!(blob.len(), 1 + bits.chunk_by(|a, b| a == b).map(|run| 1 + (run.len() > 127) as usize).sum::<usize>());
            decode_rle(&blob, len, &mut out).unwrap();
            prop_assert_eq!(&out, &want);
            prop_assert!(decode_rle(&blob, len - 1, &mut out).is_err());
            let mut blob = Vec::new();
            encode_roaring(&want, len, &mut blob).unwrap();
            out.fill(0xaa);
            decode_roaring(&blob, len, &mut out).unwrap();
            prop_assert_eq!(&out, &want);
            // One bit fewer doesn't fit, unless it was no set bit.
            prop_assert_eq!(decode_roaring(&blob, len - 1, &mut out).is_err(), bits[bits.len() - 1]);
        }

        #[test] // any part of a set, begun and ended inside bytes
        fn parts_of_a_set(bits in runs(), ends in any::<(prop::sample::Index, prop::sample::Index)>()) {
            let ends = [ends.0.index(bits.len() + 1), ends.1.index(bits.len() + 1)];
            let span = ends[0].min(ends[1]) as u64..ends[0].max(ends[1]) as u64;
            let set = packed(&bits);
            let want: Vec<u64> = span.clone().filter(|i| bits[*i as usize]).collect();
            let mut got = Vec::new();
            for_each_set(&set, &span, |i| got.push(i));
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(any_set(&set, &span), !want.is_empty());
        }
    }

    #[test]
    fn vectors_of_the_format() {
        let bits = [0b1110_0101, 0b1010_0000];
        let (mut rle, mut roaring) = (Vec::new(), Vec::new());
        encode_rle(&bits, 16, &mut rle);
        encode_roaring(&bits, 16, &mut roaring).unwrap();
        assert_eq!(rle, [1, 3, 2, 1, 1, 2, 1, 1, 5]);
        let want = [
            0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 6, 0, 0x10, 0, 0, 0, 0, 0, 1, 0, 2, 0, 5, 0, 7, 0, 8, 0, 10,
            0,
        ];
        assert_eq!(roaring, want);
        let mut out = [0; 2];
        let payload = |count: u32, blob: &[u8]| [&count.to_be_bytes()[..], blob].concat();
        decode_counted(&payload(16, &rle), &mut out, decode_rle).unwrap();
        assert_eq!(out, bits);
        decode_counted(&payload(16, &roaring), &mut out, decode_roaring).unwrap();
        assert_eq!(out, bits);
        assert!(decode_counted(&payload(8, &rle), &mut out, decode_rle).is_err());
        assert!(decode_counted(&[0, 0, 16], &mut out, decode_rle).is_err());
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
