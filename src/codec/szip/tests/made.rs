//! Streams put together block by block from random code options, whether or not an encoder would choose them,
//! and what they mean by the text of the standard.

use super::super::*;
use proptest::prelude::*;
use proptest::test_runner::TestRng;

/// A stream and its samples.
struct Made {
    aec: Aec,
    payload: Vec<u8>,
    /// In the range of the sample type.
    samples: Vec<i64>,
    offsets: Vec<u64>,
}

#[derive(Default)]
struct Writer(Vec<bool>);

impl Writer {
    fn put(&mut self, value: u64, bits: u32) {
        self.0.extend((0..bits).rev().map(|i| value >> i & 1 == 1));
    }

    fn unary(&mut self, zeros: u64) {
        self.0.extend((0..zeros).map(|_| false));
        self.0.push(true);
    }

    fn bytes(&self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|c| c.iter().enumerate().fold(0, |b, (i, &bit)| b | u8::from(bit) << (7 - i)))
            .collect()
    }
}

/// Sample after `last` by the inverse of the standard's residual mapper.
fn unmap(last: i64, residual: i64, min: i64, max: i64) -> i64 {
    let theta = (last - min).min(max - last);
    if residual > 2 * theta {
        let far = residual - theta;
        if last - min <= max - last { last + far } else { last - far }
    } else if residual % 2 == 0 {
        last + residual / 2
    } else {
        last - (residual + 1) / 2
    }
}

fn make(rng: &mut TestRng) -> Made {
    let restricted = rng.random_bool(0.1);
    let bits = if restricted { rng.random_range(1..=4) } else { rng.random_range(1..=32) };
    let odd_size = rng.random_bool(0.2);
    let block = if odd_size { 2 * rng.random_range(1..30) } else { [8, 16, 32, 64][rng.random_range(0..4)] };
    let rsi = if rng.random_bool(0.2) { rng.random_range(60..200) } else { rng.random_range(1..20) };
    let mut flags = if odd_size { NOT_ENFORCE } else { 0 } | if restricted { RESTRICTED } else { 0 };
    for flag in [SIGNED, MSB, PREPROCESS, PAD_RSI] {
        flags |= if rng.random_bool(0.5) { flag } else { 0 };
    }
    let aec = Aec::try_new(bits, block, rsi, flags).unwrap();
    let (mut writer, mut residuals, mut offsets) = (Writer::default(), Vec::new(), Vec::new());
    for _ in 0..rng.random_range(1..15) {
        offsets.push(writer.0.len() as u64);
        let mut number = 0;
        while number < rsi {
            number += make_block(rng, &aec, number, &mut writer, &mut residuals);
        }
        while flags & PAD_RSI != 0 && writer.0.len() % 8 != 0 {
            writer.0.push(rng.random_bool(0.5));
        }
    }
    Made { aec, payload: writer.bytes(), samples: samples(&aec, &residuals), offsets }
}

/// One block, or one run of zero blocks; returns how many blocks.
fn make_block(
    rng: &mut TestRng,
    aec: &Aec,
    number: u32,
    writer: &mut Writer,
    residuals: &mut Vec<i64>,
) -> u32 {
    let max = (1u64 << aec.bits_per_sample) - 1;
    let reference = (number == 0 && aec.preprocess()).then(|| rng.random_range(0..=max));
    let start = residuals.len();
    residuals.extend(reference.map(|r| r as i64));
    let size = aec.block_size as usize;
    let codes = 1u64 << aec.id_bits;
    match rng.random_range(0..4) {
        0 => {
            writer.put(0, aec.id_bits + 1);
            reference.iter().for_each(|&r| writer.put(r, aec.bits_per_sample));
            let rest = aec.rsi - number;
            let segment = rest.min(64 - number % 64);
            let run = match rng.random_range(0..3) {
                0 if rest > 4 => rng.random_range(5..=rest),
                1 => segment,
                _ => rng.random_range(1..=rest.min(4)),
            };
            let code = if run == segment && rng.random_bool(0.7) { 4 } else { run - u32::from(run < 5) };
            writer.unary(u64::from(code));
            residuals.resize(start + run as usize * size, 0);
            return run;
        }
        1 if max >= 12 => {
            writer.put(1, aec.id_bits + 1);
            reference.iter().for_each(|&r| writer.put(r, aec.bits_per_sample));
            for pair in 0..size / 2 {
                let sum: u64 = rng.random_range(0..=12);
                let second = rng.random_range(0..=sum);
                // Beside a reference sample the first number of the pair is not a sample.
                if pair > 0 || reference.is_none() {
                    residuals.push((sum - second) as i64);
                }
                residuals.push(second as i64);
                writer.unary(sum * (sum + 1) / 2 + second);
            }
        }
        2 if codes > 2 => {
            let k = rng.random_range(0..codes as u32 - 2).min(aec.bits_per_sample - 1);
            writer.put(u64::from(k) + 1, aec.id_bits);
            reference.iter().for_each(|&r| writer.put(r, aec.bits_per_sample));
            let longest = [3, 9, 70, 200][rng.random_range(0..4)];
            while residuals.len() < start + size {
                residuals.push(rng.random_range(0..=max.min(longest << k)) as i64);
            }
            let coded = &residuals[start + usize::from(reference.is_some())..];
            coded.iter().for_each(|&r| writer.unary(r as u64 >> k));
            coded.iter().for_each(|&r| writer.put(r as u64, k));
        }
        _ => {
            writer.put(codes - 1, aec.id_bits);
            while residuals.len() < start + size {
                residuals.push(rng.random_range(0..=max) as i64);
            }
            residuals[start..].iter().for_each(|&r| writer.put(r as u64, aec.bits_per_sample));
        }
    }
    1
}

fn samples(aec: &Aec, residuals: &[i64]) -> Vec<i64> {
    if !aec.preprocess() {
        return residuals.to_vec();
    }
    let max = (1i64 << aec.bits_per_sample) - 1;
    let (min, max) = if aec.signed() { (-max / 2 - 1, max / 2) } else { (0, max) };
    let mut samples = Vec::new();
    for rsi in residuals.chunks(aec.rsi_samples() as usize) {
        let mut last = if rsi[0] > max { rsi[0] - 2 * (max + 1) } else { rsi[0] };
        samples.push(last);
        for &residual in &rsi[1..] {
            last = unmap(last, residual, min, max);
            samples.push(last);
        }
    }
    samples
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let width = self.aec.sample_bytes();
        let put = |sample: &i64| {
            let mut bytes = sample.to_le_bytes()[..width].to_vec();
            if self.aec.msb() {
                bytes.reverse();
            }
            bytes
        };
        self.samples.iter().flat_map(put).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 100 } else { 20_000 }))]

    #[test]
    fn decodes_by_the_standard(made in Just(()).prop_perturb(|(), mut rng| Wrapped(make(&mut rng))), share in 0.0..1.0) {
        let made = made.0;
        let plain = made.bytes();
        let samples = made.samples.len();
        let mut out = vec![0; plain.len()];
        let end = made.aec.decode_all(&made.payload, Samples::Bytes(&mut out)).unwrap();
        prop_assert_eq!(&out, &plain);
        prop_assert_eq!(end.div_ceil(8), made.payload.len() as u64);

        let fewer = (share * samples as f64) as usize;
        let mut out = vec![0; fewer * made.aec.sample_bytes()];
        made.aec.decode_all(&made.payload, Samples::Bytes(&mut out)).unwrap();
        prop_assert_eq!(&out, &plain[..out.len()]);

        let index = made.aec.index(&made.payload, samples as u64, Some(&made.offsets));
        prop_assert!(index.stored_agree());

        // Wrong hints change nothing but the verdict.
        let mut hints = made.offsets.clone();
        let wrong = (share * hints.len() as f64) as usize;
        hints[wrong] = hints[wrong].wrapping_add_signed((share * 1000.0) as i64 - 500);
        let hinted = made.aec.index(&made.payload, samples as u64, Some(&hints));
        prop_assert_eq!(hinted.stored_agree(), hints == made.offsets);
        for rsi in 0..index.count() {
            prop_assert_eq!(hinted.bits(rsi..rsi + 1), index.bits(rsi..rsi + 1));
        }

        for rsi in 0..index.count() {
            let mut out = vec![0; index.samples_in(&made.aec, rsi..rsi + 1) as usize * made.aec.sample_bytes()];
            made.aec.decode_rsis(&made.payload, &index, rsi..rsi + 1, Samples::Bytes(&mut out)).unwrap();
            let first = (rsi * made.aec.rsi_samples()) as usize * made.aec.sample_bytes();
            prop_assert_eq!(&out, &plain[first..first + out.len()]);
        }

        // Cut anywhere before the last block it is an error.
        let cut = (share * made.payload.len() as f64) as usize;
        let mut out = vec![0; plain.len()];
        prop_assert!(made.aec.decode_all(&made.payload[..cut], Samples::Bytes(&mut out)).is_err());
    }
}

struct Wrapped(Made);

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} samples, RSIs at {:?}", self.0.aec, self.0.samples.len(), self.0.offsets)
    }
}
