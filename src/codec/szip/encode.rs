//! Encoding: from samples to a stream, and where its RSIs start.
//!
//! Code options are chosen as libaec chooses them, so that its streams and ours are the same bytes.

use super::{Aec, Result, SzipError};
use multiversion::multiversion;

/// Zero runs of more blocks than this are coded as "to the end of the segment".
const LONGEST_RUN: u32 = 4;
/// The code of such a run.
const REST_OF_SEGMENT: u32 = 4;
/// Blocks of a segment.
const SEGMENT: u32 = 64;
/// Largest block that is written; larger ones are only read.
const MAX_BLOCK: u32 = 1 << 16;

impl Aec {
    /// Whether streams with these parameters can be written.
    ///
    /// # Errors
    /// [`SzipError::Parameter`] for [`super::PAD_RSI`], which the reference writes but doesn't read back, and for blocks
    /// of more than 65,536 samples.
    pub fn check_encode(&self) -> Result<()> {
        if self.pads() {
            let expected = "no padding of RSIs (32): other readers don't decode it";
            return Err(SzipError::Parameter { what: "szip_flags", got: self.flags.into(), expected });
        }
        if self.block_size > MAX_BLOCK {
            let expected = "at most 65536 to write";
            return Err(SzipError::Parameter {
                what: "szip_block_size",
                got: self.block_size.into(),
                expected,
            });
        }
        Ok(())
    }

    /// Appends the stream of `samples`, in containers as for [`super::Samples::Bytes`], to `out`. Returns the bit where
    /// each RSI starts, counted from what was in `out` before.
    ///
    /// # Errors
    /// [`SzipError::Range`] if `samples` aren't whole containers; those of [`Aec::check_encode`].
    pub fn encode(&self, samples: &[u8], out: &mut Vec<u8>) -> Result<Vec<u64>> {
        self.check_encode()?;
        let width = self.sample_bytes();
        if !samples.len().is_multiple_of(width) {
            let expected = (samples.len() / width * width) as u64;
            return Err(SzipError::Range { what: "bytes of samples", got: samples.len() as u64, expected });
        }
        let count = samples.len() / width;
        let mut offsets = Vec::with_capacity(self.rsi_count(count as u64) as usize);
        let mut writer = Writer { start: out.len(), out, word: 0, filled: 0 };
        run(self, samples, &mut writer, &mut offsets);
        writer.finish();
        Ok(offsets)
    }
}

#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt", "aarch64+neon"))]
fn run<'w, 'o>(aec: &Aec, samples: &[u8], writer: &'w mut Writer<'o>, offsets: &mut Vec<u64>) {
    let width = aec.sample_bytes();
    let rsi = usize::try_from(aec.rsi_samples()).unwrap_or(usize::MAX);
    let mut encoder = Encoder { aec, k: 0, residuals: Vec::new() };
    for samples in samples.chunks(rsi.saturating_mul(width)) {
        offsets.push(writer.bit());
        encoder.rsi(samples, writer);
    }
}

/// What goes on from block to block.
struct Encoder<'a> {
    aec: &'a Aec,
    /// The split position of the last block that was tried with one: the next one's is near.
    k: u32,
    /// Samples of one RSI, or what the predictor made of them.
    residuals: Vec<u32>,
}

/// Zero blocks that were seen and not yet written.
#[derive(Default)]
struct Zeros {
    blocks: u32,
    /// The reference sample in front of them.
    reference: Option<u32>,
}

impl Encoder<'_> {
    #[inline(always)]
    fn rsi(&mut self, samples: &[u8], out: &mut Writer<'_>) {
        let aec = self.aec;
        let mut residuals = std::mem::take(&mut self.residuals);
        read(aec, samples, &mut residuals);
        // The last block repeats the last sample.
        let block_size = aec.block_size as usize;
        let last = residuals.last().copied().unwrap_or(0);
        residuals.resize(residuals.len().next_multiple_of(block_size), last);
        let reference = aec.preprocess().then(|| predict(aec, &mut residuals));

        let blocks = (residuals.len() / block_size) as u32;
        let mut zeros = Zeros::default();
        for (number, block) in (0..).zip(residuals.chunks_exact(block_size)) {
            let reference = reference.filter(|_| number == 0);
            if block.iter().fold(0, |any, residual| any | residual) == 0 {
                if zeros.blocks == 0 {
                    zeros.reference = reference;
                }
                zeros.blocks += 1;
                if number + 1 == blocks || (number + 1) % SEGMENT == 0 {
                    let code = if zeros.blocks > LONGEST_RUN { REST_OF_SEGMENT } else { zeros.blocks - 1 };
                    self.zeros(&mut zeros, code, out);
                }
                continue;
            }
            if zeros.blocks > 0 {
                // The code of five and more skips the one that means the rest of a segment.
                let code = if zeros.blocks > LONGEST_RUN { zeros.blocks } else { zeros.blocks - 1 };
                self.zeros(&mut zeros, code, out);
            }
            self.block(block, reference, out);
        }
        self.residuals = residuals;
    }

    fn zeros(&self, zeros: &mut Zeros, code: u32, out: &mut Writer<'_>) {
        out.put(0, self.aec.id_bits + 1);
        self.reference(zeros.reference, out);
        out.unary(code);
        *zeros = Zeros::default();
    }

    #[inline(always)]
    fn reference(&self, reference: Option<u32>, out: &mut Writer<'_>) {
        if let Some(reference) = reference {
            out.put(u64::from(reference), self.aec.bits_per_sample);
        }
    }

    /// Writes a block in the shortest way. With a reference sample, the first residual is 0 and stands for it.
    #[inline(always)]
    fn block(&mut self, block: &[u32], reference: Option<u32>, out: &mut Writer<'_>) {
        let aec = self.aec;
        let coded = &block[usize::from(reference.is_some())..];
        let plain = coded.len() as u64 * u64::from(aec.bits_per_sample);
        let split = if aec.id_bits > 1 { self.split_len(coded) } else { u64::MAX };
        let pairs = pairs_len(block, plain);
        if split < plain && split < pairs {
            out.put(u64::from(self.k + 1), aec.id_bits);
            self.reference(reference, out);
            coded.iter().for_each(|residual| out.unary(residual >> self.k));
            if self.k > 0 {
                let mask = (1_u64 << self.k) - 1;
                coded.iter().for_each(|residual| out.put(u64::from(*residual) & mask, self.k));
            }
        } else if split >= plain && plain <= pairs {
            out.put((1 << aec.id_bits) - 1, aec.id_bits);
            self.reference(reference, out);
            coded.iter().for_each(|residual| out.put(u64::from(*residual), aec.bits_per_sample));
        } else {
            out.put(1, aec.id_bits + 1);
            self.reference(reference, out);
            for pair in block.as_chunks::<2>().0 {
                let sum = pair[0] + pair[1];
                out.unary(sum * (sum + 1) / 2 + pair[1]);
            }
        }
    }

    /// Bits of a block that is split at the best position, which is noted. The length has one minimum, and that lies
    /// near the last block's.
    #[inline(always)]
    fn split_len(&mut self, coded: &[u32]) -> u64 {
        let (count, most) = (coded.len() as u64, (1 << self.aec.id_bits) - 3);
        let high = |k: u32| coded.iter().map(|residual| u64::from(residual >> k)).sum::<u64>();
        let len = |k: u32, high: u64| high + count * u64::from(k + 1);
        let (mut k, mut up) = (self.k, true);
        let (mut best, mut best_len, mut turned) = (k, u64::MAX, k == 0);
        loop {
            let high = high(k);
            let len = len(k, high);
            let turn = if len < best_len {
                turned |= best_len < u64::MAX;
                (best, best_len) = (k, len);
                // A position further on costs a bit a sample, and saves half of the high parts at most.
                match up {
                    true if high >= count && k < most => {
                        k += 1;
                        false
                    }
                    true => true,
                    false if high >= count || k == 0 => break,
                    false => {
                        k -= 1;
                        false
                    }
                }
            } else {
                true
            };
            if turn {
                if turned {
                    break;
                }
                (k, up, turned) = (self.k - 1, false, true);
            }
        }
        self.k = best;
        best_len
    }
}

/// Bits of a block as pairs; more than anything if that is longer than `plain`.
#[inline(always)]
fn pairs_len(block: &[u32], plain: u64) -> u64 {
    let mut len = 1_u64;
    for pair in block.as_chunks::<2>().0 {
        let sum = u64::from(pair[0]) + u64::from(pair[1]);
        if sum > plain {
            return u64::MAX;
        }
        len += sum * (sum + 1) / 2 + u64::from(pair[1]) + 1;
    }
    len
}

/// The numbers in the containers of `samples`, without bits beyond those of a sample.
#[inline(always)]
fn read(aec: &Aec, samples: &[u8], out: &mut Vec<u32>) {
    #[inline(always)]
    fn each<const N: usize>(samples: &[u8], out: &mut Vec<u32>, number: impl Fn([u8; N]) -> u32) {
        out.extend(samples.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)));
    }
    out.clear();
    match (aec.sample_bytes(), aec.msb()) {
        (1, _) => out.extend(samples.iter().map(|byte| u32::from(*byte))),
        (2, false) => each::<2>(samples, out, |b| u16::from_le_bytes(b).into()),
        (2, true) => each::<2>(samples, out, |b| u16::from_be_bytes(b).into()),
        (3, false) => each::<3>(samples, out, |[a, b, c]| u32::from_le_bytes([a, b, c, 0])),
        (3, true) => each::<3>(samples, out, |[a, b, c]| u32::from_be_bytes([0, a, b, c])),
        (_, false) => each::<4>(samples, out, u32::from_le_bytes),
        (_, true) => each::<4>(samples, out, u32::from_be_bytes),
    }
    let mask = u32::MAX >> (32 - aec.bits_per_sample);
    if !aec.bits_per_sample.is_multiple_of(8) {
        out.iter_mut().for_each(|number| *number &= mask);
    }
}

/// Turns the samples of an RSI into mapped differences from the sample before; the first one becomes 0 and is returned.
#[inline(always)]
fn predict(aec: &Aec, samples: &mut [u32]) -> u32 {
    let Some(&first) = samples.first() else { return 0 };
    // In unsigned terms: signed samples are moved up by half of the range.
    let max = u32::MAX >> (32 - aec.bits_per_sample);
    let bias = if aec.signed() { 1 << (aec.bits_per_sample - 1) } else { 0 };
    for i in (1..samples.len()).rev() {
        let (sample, last) = (samples[i] ^ bias, samples[i - 1] ^ bias);
        let up = sample >= last;
        let (difference, room) = if up { (sample - last, last) } else { (last - sample, max - last) };
        // What only one sign can be isn't mapped to every other number.
        let folded = if up { sample } else { max - sample };
        samples[i] = if difference <= room { (difference << 1) - u32::from(!up) } else { folded };
    }
    samples[0] = 0;
    first
}

/// Bits that fill bytes from the most significant on.
struct Writer<'o> {
    /// Bytes of `out` before the stream.
    start: usize,
    out: &'o mut Vec<u8>,
    /// The last bits, at the low end.
    word: u64,
    /// How many, fewer than 32.
    filled: u32,
}

impl Writer<'_> {
    /// Bits so far.
    fn bit(&self) -> u64 {
        (self.out.len() - self.start) as u64 * 8 + u64::from(self.filled)
    }

    /// Appends the `len` low bits of `bits`, at most 32; the others are zero.
    #[inline(always)]
    fn put(&mut self, bits: u64, len: u32) {
        self.word = self.word << len | bits;
        self.filled += len;
        if self.filled >= 32 {
            self.filled -= 32;
            self.out.extend_from_slice(&((self.word >> self.filled) as u32).to_be_bytes());
        }
    }

    /// Appends so many zeros and a one.
    #[inline(always)]
    fn unary(&mut self, mut zeros: u32) {
        while zeros >= 32 {
            self.put(0, 32);
            zeros -= 32;
        }
        self.put(1, zeros + 1);
    }

    fn finish(self) {
        let rest = ((self.word << (32 - self.filled)) as u32).to_be_bytes();
        self.out.extend_from_slice(&rest[..self.filled.div_ceil(8) as usize]);
    }
}
