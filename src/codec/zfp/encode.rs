//! Encoding blocks.

use super::tables::ENCODE;
use super::{BLOCK, EXPONENT_BIAS, HEAD, NEGABINARY, PLANES, Zfp, exponent, power};

impl Zfp {
    /// Appends the stream of `values` to `out`: whole words of eight bytes.
    pub fn encode(&self, values: &[f64], out: &mut Vec<u8>) {
        let mut bits = Writer { out, word: 0, filled: 0 };
        let (blocks, rest) = values.as_chunks::<BLOCK>();
        for block in blocks {
            self.encode_block(block, &mut bits);
        }
        if let [first, ..] = *rest {
            // What is missing repeats the last value, but a fourth one the first.
            let mut block = [first; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            if rest.len() < BLOCK - 1 {
                block[rest.len()..BLOCK - 1].fill(rest[rest.len() - 1]);
            }
            self.encode_block(&block, &mut bits);
        }
        bits.finish();
    }

    #[inline(always)]
    fn encode_block(&self, block: &[f64; BLOCK], bits: &mut Writer<'_>) {
        let largest = block.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        // Subnormal numbers have the exponent of the smallest normal one.
        let exponent = if largest > 0.0 { exponent(largest).max(1 - EXPONENT_BIAS) } else { -EXPONENT_BIAS };
        let planes = self.planes(exponent);
        if planes == 0 || exponent == -EXPONENT_BIAS {
            return bits.pad(self.min_bits);
        }
        bits.put(((exponent + EXPONENT_BIAS) as u64) << 1 | 1, HEAD);
        let scale = power(PLANES as i32 - 2 - exponent);
        let cells = transform(block.map(|value| (scale * value) as i64));
        let cells = cells.map(|cell| (cell as u64).wrapping_add(NEGABINARY) ^ NEGABINARY);
        let used = HEAD + integers(cells, planes, self.max_bits - HEAD, bits);
        if used < self.min_bits {
            bits.pad(self.min_bits - used);
        }
    }
}

/// Writes `count` bit planes of `values`, but no more than `budget` bits; returns how many bits there were.
#[inline(always)]
fn integers(values: [u64; BLOCK], count: u32, budget: u32, bits: &mut Writer<'_>) -> u32 {
    // Above the first one there is a bit for each plane: no ones.
    let empty = (values[0] | values[1] | values[2] | values[3]).leading_zeros().min(count).min(budget);
    bits.put(0, empty);
    let mut used = empty;
    let mut state = 0_usize;
    for plane in (PLANES - count..PLANES - empty).rev() {
        let bit = |i: usize| (values[i] >> plane & 1) << i;
        let code = ENCODE[state][(bit(0) | bit(1) | bit(2) | bit(3)) as usize];
        let len = u32::from(code.len).min(budget - used);
        bits.put(u64::from(code.bits) & ((1 << len) - 1), len);
        used += len;
        if used == budget {
            break;
        }
        state = usize::from(code.next);
    }
    used
}

/// The decorrelating transform, by lifting.
#[inline(always)]
fn transform([mut x, mut y, mut z, mut w]: [i64; BLOCK]) -> [i64; BLOCK] {
    x = x.wrapping_add(w) >> 1;
    w = w.wrapping_sub(x);
    z = z.wrapping_add(y) >> 1;
    y = y.wrapping_sub(z);
    x = x.wrapping_add(z) >> 1;
    z = z.wrapping_sub(x);
    w = w.wrapping_add(y) >> 1;
    y = y.wrapping_sub(w);
    w = w.wrapping_add(y >> 1);
    y = y.wrapping_sub(w >> 1);
    [x, y, z, w]
}

/// Bits that fill words from the least significant on.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    word: u64,
    /// Bits in `word`, fewer than 64.
    filled: u32,
}

impl Writer<'_> {
    /// Appends the `len` low bits of `bits`, at most 64; the others are zero.
    #[inline(always)]
    fn put(&mut self, bits: u64, len: u32) {
        self.word |= bits.checked_shl(self.filled).unwrap_or(0);
        self.filled += len;
        if self.filled >= 64 {
            self.out.extend_from_slice(&self.word.to_le_bytes());
            self.filled -= 64;
            self.word = bits.checked_shr(len - self.filled).unwrap_or(0);
        }
    }

    fn pad(&mut self, mut len: u32) {
        while len > 0 {
            let part = len.min(64);
            self.put(0, part);
            len -= part;
        }
    }

    fn finish(self) {
        if self.filled > 0 {
            self.out.extend_from_slice(&self.word.to_le_bytes());
        }
    }
}
