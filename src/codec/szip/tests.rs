//! Against an independent encoder (`tensogram-szip`). Streams that no encoder would choose are made in `made`.

mod made;

use super::*;
use proptest::prelude::*;
use tensogram_szip::{AecParams, aec_compress};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn decode(aec: &Aec, payload: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0xaa; len];
    aec.decode_all(payload, Samples::Bytes(&mut out)).map(|_| out)
}

#[test]
fn vectors_of_the_format() {
    let ramp: Vec<u8> = (0..40).flat_map(|i: u16| (7 * i).to_le_bytes()).collect();
    let payload = bytes("40000aaafdb6d9155576db6d9001c1555db6db22aaaedb6db200702aabb6db60");
    let aec = Aec::try_new(16, 8, 2, PREPROCESS).unwrap();
    assert_eq!(decode(&aec, &payload, 80).unwrap(), ramp);
    assert!(aec.index(&payload, 40, Some(&[0, 98, 197])).stored_agree());

    let packed = bytes("000014cd2b330000a000");
    let payload = bytes("e0000a41f4cd599d9940000000000000");
    let aec = Aec::try_new(16, 8, 2, PREPROCESS | MSB).unwrap();
    assert_eq!(decode(&aec, &payload, 10).unwrap(), packed);
    let mut numbers = [0; 5];
    aec.decode_all(&payload, Samples::U32(&mut numbers)).unwrap();
    assert_eq!(numbers, [0, 0x14cd, 0x2b33, 0, 0xa000]);
}

#[test]
fn parameters_are_checked() {
    for (bits, block, rsi, flags, ok) in [
        (0, 8, 1, 0, false),
        (33, 8, 1, 0, false),
        (32, 64, 4096, 0, true),
        (8, 7, 1, 0, false),
        (8, 0, 1, 0, false),
        (8, 10, 1, 0, false),
        (8, 10, 1, NOT_ENFORCE, true),
        (8, 9, 1, NOT_ENFORCE, false),
        (8, 0, 1, NOT_ENFORCE, false),
        (8, 8, 0, 0, false),
        (8, 8, 4097, 0, false),
        (4, 8, 1, RESTRICTED, true),
        (5, 8, 1, RESTRICTED, false),
        (16, 8, 1, u32::MAX, false),
    ] {
        assert_eq!(Aec::try_new(bits, block, rsi, flags).is_ok(), ok, "{bits} {block} {rsi} {flags}");
    }
}

#[test]
fn empty_streams() {
    let aec = Aec::try_new(16, 8, 2, PREPROCESS).unwrap();
    assert_eq!(decode(&aec, &[], 0), Ok(vec![]));
    assert_eq!(decode(&aec, &[], 2), Err(SzipError::Truncated));
    assert!(matches!(decode(&aec, &[0; 9], 3), Err(SzipError::Range { .. })));
    let index = aec.index(&[], 0, Some(&[]));
    assert!(index.stored_agree() && index.count() == 0 && index.bits(0..0) == Ok(0..0));
    aec.decode_rsis(&[], &index, 0..0, Samples::U32(&mut [])).unwrap();
}

/// Reading `01` of the module's picture: an offset that is wrong and looks right at its end.
#[test]
fn an_offset_that_looks_right_and_is_wrong() {
    let rsi = "0000000000000000".to_owned() + "1";
    let stream: String = rsi.repeat(3) + "0000000";
    let payload: Vec<u8> = stream
        .as_bytes()
        .chunks(8)
        .filter(|c| c.len() == 8)
        .map(|c| binary(std::str::from_utf8(c).unwrap()))
        .collect();
    let aec = Aec::try_new(8, 8, 9, PREPROCESS).unwrap();
    let index = aec.index(&payload, 3 * 72, Some(&[0, 12, 34]));
    assert!(!index.stored_agree());
    assert_eq!(index.bits(1..2), Ok(17..34));
    let mut out = [1; 72];
    assert_eq!(aec.decode_rsis(&payload, &index, 1..2, Samples::Bytes(&mut out)), Ok(34));
    assert_eq!(out, [0; 72]);
    // From the wrong offset: another reference, the same end.
    let wrong = decode_at(&aec, &payload, 12, 72).unwrap();
    assert_eq!(wrong, (vec![128; 72], 34));
}

fn binary(text: &str) -> u8 {
    u8::from_str_radix(text, 2).unwrap()
}

/// Decodes from any bit, as a reader would that believes offsets.
fn decode_at(aec: &Aec, payload: &[u8], bit: usize, len: usize) -> Result<(Vec<u8>, usize)> {
    let shifted: Vec<u8> = (bit..payload.len() * 8)
        .map(|i| payload[i / 8] >> (7 - i % 8) & 1)
        .collect::<Vec<_>>()
        .chunks(8)
        .map(|bits| bits.iter().enumerate().fold(0, |byte, (i, bit)| byte | bit << (7 - i)))
        .collect();
    let mut out = vec![0; len];
    let end = aec.decode_all(&shifted, Samples::Bytes(&mut out))?;
    Ok((out, end as usize + bit))
}

#[test]
fn a_giant_block_size_takes_no_memory() {
    let block = u32::MAX - 1;
    let aec = Aec::try_new(8, block, 4096, NOT_ENFORCE).unwrap();
    // A zero run to the end of the segment: plenty of zeros.
    assert_eq!(decode(&aec, &[0b0000_0000, 0b1000_0000], 5000), Ok(vec![0; 5000]));
    // A split block: no bits for it.
    assert_eq!(decode(&aec, &[0b0011_1111, 0xff], 5), Err(SzipError::Truncated));
    let index = aec.index(&[0b0000_0000, 0b1000_0000], 5000, None);
    assert_eq!(index.bits(0..1), Ok(0..9));
}

#[test]
fn the_bound_on_samples_is_reached_but_not_passed() {
    for (bits, flags) in [(8, 0), (16, 0), (32, 0), (2, RESTRICTED)] {
        let aec = Aec::try_new(bits, 8, 4096, flags).unwrap();
        let id = aec.id_bits as usize;
        let runs = 4 * 8;
        let code = "0".repeat(id + 1) + "00001";
        let payload: Vec<u8> =
            code.repeat(runs).as_bytes().chunks(8).map(|c| binary(std::str::from_utf8(c).unwrap())).collect();
        let samples = runs * 64 * 8;
        assert!(decode(&aec, &payload, samples * aec.sample_bytes()).is_ok());
        let bound = aec.max_samples(payload.len() as u64) as usize;
        assert!(bound >= samples && bound <= samples + 64 * 8, "{bound} {samples}");
    }
}

/// Numbers of `bits` bits: smooth, noisy, sparse, constant, or with jumps.
fn numbers(bits: u32, len: usize) -> impl Strategy<Value = Vec<u32>> {
    let max = u32::MAX >> (32 - bits);
    let steps = prop::collection::vec(any::<u32>(), len);
    (0..7u32, any::<u32>(), 0..bits, steps).prop_map(move |(kind, start, scale, steps)| {
        let mut last = start & max;
        let noise = max >> scale;
        steps
            .iter()
            .enumerate()
            .map(|(i, &step)| {
                last = match kind {
                    0 => step & max,
                    1 => last.wrapping_add(step & noise).wrapping_sub(noise / 2) & max,
                    2 if step % 64 == 0 => step >> 8 & noise,
                    2 => 0,
                    3 => start & max,
                    4 => step & noise,
                    5 if (i / 300) % 2 == 0 => 0,
                    5 => last.wrapping_add(step % 3) & max,
                    _ => max - (step & noise),
                };
                last
            })
            .collect()
    })
}

#[derive(Debug, Clone)]
struct Case {
    bits: u32,
    block: u32,
    rsi: u32,
    flags: u32,
    numbers: Vec<u32>,
}

impl Case {
    fn aec(&self) -> Aec {
        Aec::try_new(self.bits, self.block, self.rsi, self.flags).unwrap()
    }

    /// The numbers in their containers: sign-extended if signed, but as they are where nothing was predicted,
    /// like the reference's library.
    fn bytes(&self) -> Vec<u8> {
        let width = self.aec().sample_bytes();
        let extend = |n: u32| {
            if self.flags & (SIGNED | PREPROCESS) != SIGNED | PREPROCESS {
                n
            } else {
                ((n << (32 - self.bits)) as i32 >> (32 - self.bits)) as u32
            }
        };
        let put = |n: u32| {
            let mut bytes = extend(n).to_le_bytes()[..width].to_vec();
            if self.flags & MSB != 0 {
                bytes.reverse();
            }
            bytes
        };
        self.numbers.iter().flat_map(|&n| put(n)).collect()
    }

    fn encode(&self) -> (Vec<u8>, Vec<u64>) {
        // That crate has another bit for the restricted set than the format.
        let restricted = if self.flags & RESTRICTED != 0 { 128 } else { 0 };
        let flags = self.flags & !RESTRICTED | restricted;
        let params = AecParams { bits_per_sample: self.bits, block_size: self.block, rsi: self.rsi, flags };
        aec_compress(&self.bytes(), &params).unwrap()
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![
        Just((8, 0)),
        Just((16, 0)),
        Just((32, 0)),
        Just((64, 0)),
        (1..40u32).prop_map(|n| (2 * n, NOT_ENFORCE))
    ];
    let flags = prop::sample::subsequence(vec![SIGNED, MSB, PREPROCESS], 0..=3);
    // Beyond 28 bits that encoder shifts values out of their words.
    (1..=28u32, sizes, 1..140u32, flags, any::<bool>(), 0..3000usize).prop_flat_map(
        |(bits, (block, enforce), rsi, flags, restricted, len)| {
            let restricted = if restricted && bits <= 4 { RESTRICTED } else { 0 };
            let flags = flags.iter().sum::<u32>() | enforce | restricted;
            numbers(bits, len).prop_map(move |numbers| Case { bits, block, rsi, flags, numbers })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 5000 }))]

    #[test] // what another encoder wrote, whole and in ranges, in both forms
    fn decodes_what_was_encoded(case in cases(), from in 0.0..1.0, to in 0.0..1.0) {
        let (aec, plain) = (case.aec(), case.bytes());
        let (payload, stored) = case.encode();
        let samples = case.numbers.len() as u64;
        prop_assert_eq!(&decode(&aec, &payload, plain.len()).unwrap(), &plain);
        let mut longer = payload.clone();
        longer.extend([0xff; 50]);
        prop_assert_eq!(&decode(&aec, &longer, plain.len()).unwrap(), &plain);

        let index = aec.index(&payload, samples, None);
        prop_assert!(samples <= aec.max_samples(payload.len() as u64));
        prop_assert_eq!(index.count(), stored.len() as u64);
        let at = |share: f64| (share * (index.count() + 1) as f64) as u64;
        let rsis = at(from).min(at(to))..at(from).max(at(to));
        let part = index.samples_in(&aec, rsis.clone()) as usize;
        let first = (rsis.start * aec.rsi_samples()).min(samples) as usize;
        let mut bytes = vec![0; part * aec.sample_bytes()];
        let end = aec.decode_rsis(&payload, &index, rsis.clone(), Samples::Bytes(&mut bytes)).unwrap();
        prop_assert_eq!(&bytes, &plain[first * aec.sample_bytes()..][..bytes.len()]);
        if part > 0 {
            prop_assert_eq!(end, index.bits(rsis.clone()).unwrap().end);
        }
        let mut numbers = vec![0; part];
        aec.decode_rsis(&payload, &index, rsis, Samples::U32(&mut numbers)).unwrap();
        for (number, bytes) in numbers.iter().zip(bytes.chunks(aec.sample_bytes())) {
            let mut expected = [0; 4];
            bytes.iter().rev().zip(&mut expected).for_each(|(b, e)| *e = *b);
            if !aec.msb() { expected[..bytes.len()].reverse(); }
            prop_assert_eq!(*number, u32::from_le_bytes(expected));
        }
    }

    #[test] // damaged or arbitrary bytes: an answer or an error, and the walk agrees with the decoding
    fn survives_damage(case in cases(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let aec = case.aec();
        let (mut payload, stored) = case.encode();
        if !payload.is_empty() {
            for (at, value) in flips {
                let at = at.index(payload.len());
                payload[at] = value;
            }
            payload.truncate(cut.index(payload.len() + 1));
        }
        let whole = decode(&aec, &payload, case.bytes().len());
        let index = aec.index(&payload, case.numbers.len() as u64, Some(&stored));
        if let Ok(whole) = whole {
            let mut out = vec![0; whole.len()];
            aec.decode_rsis(&payload, &index, 0..index.count(), Samples::Bytes(&mut out)).unwrap();
            prop_assert_eq!(&out, &whole);
        }
        for rsi in 0..index.count() {
            let mut out = vec![0; index.samples_in(&aec, rsi..rsi + 1) as usize];
            let _ = aec.decode_rsis(&payload, &index, rsi..rsi + 1, Samples::U32(&mut out));
        }
    }
}
