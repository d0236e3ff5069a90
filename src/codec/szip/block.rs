//! One coded block (CDS) at a time: its code option, and the samples or mapped residuals in it.

use super::bits::{Bits, WINDOW};
use super::{Aec, Malformed, Result, SzipError};

/// What a block turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// `block_size` samples were written.
    Samples,
    /// This block and the following, so many in all, are zeros (but for the reference sample, if there is one,
    /// which was written).
    Zeros(u32),
}

/// The code options as the bits of a block's head name them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head {
    Zeros { run: u32 },
    SecondExtension,
    Split { k: u32 },
    Uncompressed,
}

/// Zero runs have a code of their own for "to the end of the segment".
const REST_OF_SEGMENT: u32 = 4;
/// Blocks of a segment.
const SEGMENT: u32 = 64;
/// Codes of the second extension: pairs whose sum is at most 12.
const PAIRS: usize = 91;

/// The pair behind each code of the second extension: sums ascending, the second number ascending.
static PAIR: [[u8; 2]; PAIRS] = {
    let mut pairs = [[0; 2]; PAIRS];
    let (mut code, mut sum) = (0, 0);
    while code < PAIRS {
        let mut second = 0;
        while second <= sum {
            pairs[code] = [sum - second, second];
            code += 1;
            second += 1;
        }
        sum += 1;
    }
    pairs
};

impl Aec {
    /// Reads the head of block `number` of an RSI, and the reference sample where there is one.
    #[inline(always)]
    pub(super) fn head(&self, bits: &mut Bits<'_>, number: u32) -> Result<(Head, Option<u32>)> {
        let id = bits.field(self.id_bits);
        let reference = number == 0 && self.preprocess();
        if id == 0 {
            let second = bits.field(1) == 1;
            let sample = reference.then(|| bits.field(self.bits_per_sample));
            if second {
                return Ok((Head::SecondExtension, sample));
            }
            let code = bits.unary()?;
            let run = match code {
                0..REST_OF_SEGMENT => code + 1,
                REST_OF_SEGMENT => (self.rsi - number).min(SEGMENT - number % SEGMENT),
                more => more,
            };
            if run > self.rsi - number {
                return Err(SzipError::Malformed(Malformed::ZeroRun));
            }
            return Ok((Head::Zeros { run }, sample));
        }
        if id == (1 << self.id_bits) - 1 {
            // The reference sample is one of the block's own.
            return Ok((Head::Uncompressed, None));
        }
        let sample = reference.then(|| bits.field(self.bits_per_sample));
        Ok((Head::Split { k: id - 1 }, sample))
    }

    /// Decodes block `number` of an RSI. `out` takes one block; if it is shorter, then because the stream has
    /// no bits for more than zeros.
    #[inline(always)]
    pub(super) fn block(&self, bits: &mut Bits<'_>, number: u32, out: &mut [u32]) -> Result<Block> {
        let (head, reference) = self.head(bits, number)?;
        if let Some(reference) = reference {
            out[0] = reference;
        }
        if let Head::Zeros { run } = head {
            bits.check()?;
            return Ok(Block::Zeros(run));
        }
        if out.len() < self.block_size as usize {
            return Err(SzipError::Truncated);
        }
        let rest = &mut out[usize::from(reference.is_some())..];
        match head {
            Head::Zeros { .. } => {}
            Head::Split { k } => split(bits, k, rest)?,
            Head::SecondExtension => pairs(bits, rest, reference.is_some())?,
            Head::Uncompressed => fields(bits, self.bits_per_sample, rest, |_, field| field),
        }
        bits.check()?;
        Ok(Block::Samples)
    }

    /// Passes over block `number` of an RSI; returns how many blocks that was.
    #[inline(always)]
    pub(super) fn skip_block(&self, bits: &mut Bits<'_>, number: u32) -> Result<u32> {
        let (head, reference) = self.head(bits, number)?;
        let mut blocks = 1;
        match head {
            Head::Zeros { run } => blocks = run,
            Head::Split { k } => {
                let coded = self.block_size - u32::from(reference.is_some());
                bits.skip_unary(coded)?;
                bits.at += coded as usize * k as usize;
            }
            Head::SecondExtension => bits.skip_unary(self.block_size / 2)?,
            Head::Uncompressed => bits.at += self.block_size as usize * self.bits_per_sample as usize,
        }
        bits.check()?;
        Ok(blocks)
    }
}

/// Split samples: all high parts in unary, then all low parts of `k` bits.
#[inline(always)]
fn split(bits: &mut Bits<'_>, k: u32, out: &mut [u32]) -> Result<()> {
    let (pairs, rest) = out.as_chunks_mut::<16>();
    for pair in pairs {
        unary_codes(bits, pair)?;
    }
    let (groups, rest) = rest.as_chunks_mut::<8>();
    for group in groups {
        unary_codes(bits, group)?;
    }
    for high in rest {
        *high = bits.unary()?;
    }
    match k {
        0 => {}
        1..=7 => low::<8>(bits, k, out),
        8..=14 => low::<4>(bits, k, out),
        15..=28 => low::<2>(bits, k, out),
        k => fields(bits, k, out, |high, field| high << k | field),
    }
    Ok(())
}

/// `N` unary codes, `N` a multiple of 8. Where they all lie in one word, their ends are its ones: clearing the
/// lowest one of the mirrored word is a chain of one cycle a code, shifting the word on after each code one of
/// five.
#[inline(always)]
fn unary_codes<const N: usize>(bits: &mut Bits<'_>, out: &mut [u32; N]) -> Result<()> {
    let word = bits.peek();
    if (word.count_ones() as usize) < N {
        for high in out {
            *high = bits.unary()?;
        }
        return Ok(());
    }
    let mut ones = word.reverse_bits();
    let mut last = 0;
    for group in out.as_chunks_mut::<8>().0 {
        // The places of eight ones as bytes, and the places after the ones before them: no byte of the
        // difference borrows from the next.
        let mut ends = 0;
        for i in 0..8 {
            ends |= u64::from(ones.trailing_zeros()) << (8 * i);
            ones &= ones.wrapping_sub(1);
        }
        let starts = (ends + 0x0101_0101_0101_0101) << 8 | last;
        last = (ends >> 56) + 1;
        for (high, zeros) in group.iter_mut().zip(ends.wrapping_sub(starts).to_le_bytes()) {
            *high = u32::from(zeros);
        }
    }
    bits.at += last as usize;
    Ok(())
}

/// Adds the low parts of `k` bits, `PER_WORD` of them out of each word that is read.
#[inline(always)]
fn low<const PER_WORD: usize>(bits: &mut Bits<'_>, k: u32, out: &mut [u32]) {
    let (groups, rest) = out.as_chunks_mut::<8>();
    let mut shifts = [0; PER_WORD];
    for (i, shift) in shifts.iter_mut().enumerate() {
        *shift = 64 - (i as u32 + 1) * k;
    }
    for group in groups {
        match bits.window() {
            Some((window, first)) => low_group(window, first, k, &shifts, group),
            None => {
                let mut ahead = bits.clone();
                group.iter_mut().for_each(|high| *high = *high << k | ahead.field(k));
            }
        }
        bits.at += 8 * k as usize;
    }
    for high in rest {
        *high = *high << k | bits.field(k);
    }
}

#[inline(always)]
fn low_group<const PER_WORD: usize>(
    window: &[u8; WINDOW],
    first: usize,
    k: u32,
    shifts: &[u32; PER_WORD],
    group: &mut [u32; 8],
) {
    let mask = (1u32 << k) - 1;
    let mut bit = first;
    for part in group.as_chunks_mut::<PER_WORD>().0 {
        let mut word = [0; 8];
        word.copy_from_slice(&window[bit / 8..bit / 8 + 8]);
        let word = u64::from_be_bytes(word) << (bit % 8);
        for (high, shift) in part.iter_mut().zip(shifts) {
            *high = *high << k | (word >> (shift & 63)) as u32 & mask;
        }
        bit += PER_WORD * k as usize;
    }
}

/// Fields of any width, one word each.
#[inline(always)]
fn fields(bits: &mut Bits<'_>, width: u32, out: &mut [u32], join: impl Fn(u32, u32) -> u32) {
    for sample in out {
        *sample = join(*sample, bits.field(width));
    }
}

/// The second extension: each code stands for two samples. With a reference sample in front, the first number
/// of the first pair has no place.
#[inline(always)]
fn pairs(bits: &mut Bits<'_>, out: &mut [u32], reference: bool) -> Result<()> {
    let mut next = || -> Result<[u32; 2]> {
        let code = bits.unary()?;
        let pair = PAIR.get(code as usize).ok_or(SzipError::Malformed(Malformed::Pair))?;
        Ok(pair.map(u32::from))
    };
    let odd = usize::from(reference && !out.is_empty());
    if odd == 1 {
        out[0] = next()?[1];
    }
    for pair in out[odd..].as_chunks_mut::<2>().0 {
        *pair = next()?;
    }
    Ok(())
}
