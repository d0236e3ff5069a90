//! Decoding blocks.

use super::tables::{DECODE, LONGEST};
use super::{BLOCK, EXPONENT_BIAS, EXPONENT_BITS, HEAD, NEGABINARY, PLANES, Result, Zfp, ZfpError, power};
use std::ops::Range;

/// Decodes values of one stream, best front to back.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    zfp: Zfp,
    payload: &'a [u8],
    len: u64,
    /// The next block, and the bit where it starts.
    block: u64,
    bit: u64,
}

impl Zfp {
    /// A decoder of `len` values.
    pub fn decoder<'a>(&self, payload: &'a [u8], len: u64) -> Decoder<'a> {
        Decoder { zfp: *self, payload, len, block: 0, bit: 0 }
    }
}

impl Decoder<'_> {
    /// Decodes `values` into `out`. Streams of a fixed rate are entered at the right block; others are read from where
    /// the last call ended, or from their start.
    ///
    /// # Errors
    /// [`ZfpError::Truncated`] if the payload ends before.
    ///
    /// # Panics
    /// If `out` isn't as long as `values`, or these leave the stream.
    pub fn decode(&mut self, values: Range<u64>, out: &mut [f64]) -> Result<()> {
        assert!(
            values.end <= self.len && values.end - values.start == out.len() as u64,
            "values of the stream"
        );
        let mut cells = [0.0; BLOCK];
        self.enter(values.start / BLOCK as u64, &mut cells)?;
        let lead = (values.start % BLOCK as u64) as usize;
        let mut rest = out;
        if lead > 0 && !rest.is_empty() {
            let (head, tail) = rest.split_at_mut(rest.len().min(BLOCK - lead));
            self.part(lead, head)?;
            rest = tail;
        }
        let (blocks, tail) = rest.as_chunks_mut::<BLOCK>();
        for block in blocks {
            self.next(block)?;
        }
        if !tail.is_empty() {
            self.part(0, tail)?;
        }
        Ok(())
    }

    /// Decodes the values of a block from `lead` on; stays where it is if they aren't its last.
    fn part(&mut self, lead: usize, out: &mut [f64]) -> Result<()> {
        let before = (self.block, self.bit);
        let mut cells = [0.0; BLOCK];
        self.next(&mut cells)?;
        out.copy_from_slice(&cells[lead..lead + out.len()]);
        if lead + out.len() < BLOCK {
            (self.block, self.bit) = before;
        }
        Ok(())
    }

    /// Moves to the start of block `block`.
    fn enter(&mut self, block: u64, cells: &mut [f64; BLOCK]) -> Result<()> {
        if let Some(bits) = self.zfp.block_bits() {
            (self.block, self.bit) = (block, block.saturating_mul(bits));
            return Ok(());
        }
        if block < self.block {
            (self.block, self.bit) = (0, 0);
        }
        while self.block < block {
            self.next(cells)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn next(&mut self, out: &mut [f64; BLOCK]) -> Result<()> {
        let used = block(&self.zfp, self.payload, self.bit, out);
        self.bit += u64::from(used);
        self.block += 1;
        if self.bit > self.payload.len() as u64 * 8 {
            return Err(ZfpError::Truncated(self.payload.len()));
        }
        Ok(())
    }
}

/// At least 57 bits from bit `at` on, the first one least significant; zeros beyond the end.
#[inline(always)]
fn peek(payload: &[u8], at: u64) -> u64 {
    let byte = (at / 8) as usize;
    let word = match payload.get(byte..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => end(payload, byte),
    };
    word >> (at % 8)
}

#[cold]
fn end(payload: &[u8], byte: usize) -> u64 {
    let mut word = [0; 8];
    let rest = payload.get(byte..).unwrap_or_default();
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}

/// Decodes the block at bit `at`; returns its length.
#[inline(always)]
fn block(zfp: &Zfp, payload: &[u8], at: u64, out: &mut [f64; BLOCK]) -> u32 {
    let head = peek(payload, at);
    if head & 1 == 0 {
        *out = [0.0; BLOCK];
        return zfp.min_bits;
    }
    let exponent = (head >> 1 & ((1 << EXPONENT_BITS) - 1)) as i32 - EXPONENT_BIAS;
    let budget = zfp.max_bits - HEAD; // a block has room for its head, see `Zfp::try_new`
    let (planes, used) = integers(payload, at + u64::from(HEAD), zfp.planes(exponent), budget);
    let scale = power(exponent - (PLANES as i32 - 2));
    let cells = untransform(planes.map(|bits| (bits ^ NEGABINARY).wrapping_sub(NEGABINARY) as i64));
    *out = cells.map(|cell| scale * cell as f64);
    (HEAD + used).max(zfp.min_bits)
}

/// Decodes `count` bit planes from bit `at` on, but no more than `budget` bits; returns them at the top of integers, and
/// how many bits there were.
#[inline(always)]
fn integers(payload: &[u8], at: u64, count: u32, budget: u32) -> ([u64; BLOCK], u32) {
    let mut values = [0_u64; BLOCK];
    let (mut used, mut done, mut state) = (0, 0, 0_usize);
    // Eight codes fit into what a look at the stream gives, and sixteen planes into the sixteens of a word.
    while done < count && budget - used >= 8 * LONGEST {
        let planes = (count - done).min(16);
        let mut spread = 0_u64;
        let mut plane = 0;
        while plane < planes && budget - used >= 8 * LONGEST {
            let mut word = peek(payload, at + u64::from(used));
            let stop = planes.min(plane + 8);
            let mut bits = 0;
            while plane < stop {
                let code = DECODE[state][(word & ((1 << LONGEST) - 1)) as usize];
                spread = spread << 1 | code.spread();
                word >>= code.len();
                bits += code.len();
                state = code.next();
                plane += 1;
            }
            used += bits;
        }
        append(&mut values, spread, plane);
        done += plane;
    }
    while done < count && used < budget {
        let (bits, len) = careful(peek(payload, at + u64::from(used)), &mut state, budget - used);
        for (i, value) in values.iter_mut().enumerate() {
            *value = *value << 1 | u64::from(bits >> i & 1);
        }
        used += len;
        done += 1;
    }
    let rest = PLANES - done;
    (values.map(|value| value.checked_shl(rest).unwrap_or(0)), used)
}

/// Appends `planes` planes, at most 16, to the values.
#[inline(always)]
fn append(values: &mut [u64; BLOCK], spread: u64, planes: u32) {
    for (i, value) in values.iter_mut().enumerate() {
        *value = *value << planes | (spread >> (16 * i) & 0xffff);
    }
}

/// Decodes one plane bit by bit, of which only `budget` bits are there; returns it, and how many bits it took.
#[cold]
fn careful(word: u64, state: &mut usize, budget: u32) -> (u8, u32) {
    let mut used = (*state as u32).min(budget);
    let mut plane = (word & ((1 << used) - 1)) as u8;
    let bit = |used: &mut u32| {
        let bit = word >> *used & 1;
        *used += 1;
        bit == 1
    };
    while used < budget && *state < BLOCK {
        if !bit(&mut used) {
            break;
        }
        while used < budget && *state < BLOCK - 1 && !bit(&mut used) {
            *state += 1;
        }
        plane |= 1 << *state;
        *state += 1;
    }
    (plane, used)
}

/// Undoes the lifting of `encode::transform`.
#[inline(always)]
fn untransform([mut x, mut y, mut z, mut w]: [i64; BLOCK]) -> [i64; BLOCK] {
    y = y.wrapping_add(w >> 1);
    w = w.wrapping_sub(y >> 1);
    y = y.wrapping_add(w);
    w = (w << 1).wrapping_sub(y);
    z = z.wrapping_add(x);
    x = (x << 1).wrapping_sub(z);
    y = y.wrapping_add(z);
    z = (z << 1).wrapping_sub(y);
    w = w.wrapping_add(x);
    x = (x << 1).wrapping_sub(w);
    [x, y, z, w]
}
