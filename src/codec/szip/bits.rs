//! Reading bits, most significant first, from bytes that nobody vouches for.

use super::{Result, SzipError};

/// A cursor over a payload. Bits past the end read as zeros; whoever consumes them finds out with
/// [`Bits::check`], once a block rather than once a read.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Next bit.
    pub(super) at: usize,
    end: usize,
}

/// Bytes of the window that [`Bits::window`] lends: enough for eight fields of 29 bits at any bit of a byte,
/// each read as eight bytes.
pub(super) const WINDOW: usize = 40;

impl<'a> Bits<'a> {
    /// From bit `at` of `data`.
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        // A slice is at most isize::MAX bytes, but eight times that may be more than usize holds.
        let data = &data[..data.len().min(usize::MAX / 16)];
        Self { data, at, end: data.len() * 8 }
    }

    /// Fails if bits past the end were consumed.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<()> {
        if self.at <= self.end { Ok(()) } else { Err(SzipError::Truncated) }
    }

    /// Whether bit `at` is in the payload, or just after it.
    pub(super) fn reaches(&self, at: usize) -> bool {
        at <= self.end
    }

    /// Whether `bits` more bits are there.
    #[inline(always)]
    pub(super) fn has(&self, bits: usize) -> bool {
        self.end.saturating_sub(self.at) >= bits
    }

    /// The next 64 bits, left-aligned; only the first [`Bits::valid`] of them are real, zeros follow.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        let byte = self.at / 8;
        let word = match self.data.get(byte..byte.wrapping_add(8)) {
            Some(b) => u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            None => self.tail(byte),
        };
        word << (self.at % 8)
    }

    /// How many bits of [`Bits::peek`] count: 57 to 64.
    #[inline(always)]
    pub(super) fn valid(&self) -> usize {
        64 - self.at % 8
    }

    #[cold]
    #[inline(never)]
    fn tail(&self, byte: usize) -> u64 {
        let mut word = [0; 8];
        let rest = self.data.get(byte..).unwrap_or_default();
        let n = rest.len().min(8);
        word[..n].copy_from_slice(&rest[..n]);
        u64::from_be_bytes(word)
    }

    /// `WINDOW` bytes from the byte that holds the next bit, and that bit's place in its byte; `None` near the
    /// end.
    #[inline(always)]
    pub(super) fn window(&self) -> Option<(&'a [u8; WINDOW], usize)> {
        let rest = self.data.get(self.at / 8..)?;
        Some((rest.first_chunk()?, self.at % 8))
    }

    /// A field of 1 to 32 bits.
    #[inline(always)]
    pub(super) fn field(&mut self, bits: u32) -> u32 {
        let value = self.peek() >> (64 - bits);
        self.at += bits as usize;
        value as u32
    }

    /// A unary code: the number of zeros before the next one.
    #[inline(always)]
    pub(super) fn unary(&mut self) -> Result<u32> {
        let word = self.peek();
        if word != 0 {
            let zeros = word.leading_zeros();
            self.at += zeros as usize + 1;
            return Ok(zeros);
        }
        self.long_unary()
    }

    #[cold]
    #[inline(never)]
    fn long_unary(&mut self) -> Result<u32> {
        let start = self.at;
        while self.at < self.end {
            let word = self.peek();
            if word != 0 {
                self.at += word.leading_zeros() as usize + 1;
                // Longer than 2^32 zeros is no sample of 32 bits; the value saturates.
                return Ok(u32::try_from(self.at - start - 1).unwrap_or(u32::MAX));
            }
            self.at += self.valid();
        }
        Err(SzipError::Truncated)
    }

    /// Passes over `count` unary codes without looking at their values: over `count` ones.
    #[inline(always)]
    pub(super) fn skip_unary(&mut self, mut count: u32) -> Result<()> {
        while count > 0 {
            let word = self.peek();
            let ones = word.count_ones();
            if ones >= count {
                self.at += 64 - nth_lowest_one(word, ones - count) as usize;
                return Ok(());
            }
            count -= ones;
            self.at += self.valid();
            if self.at >= self.end {
                return Err(SzipError::Truncated);
            }
        }
        Ok(())
    }

    /// Moves to the next byte border.
    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

/// Place of the `n`th lowest one (from 0) of `word`, which has more than `n`: the byte by the running count of
/// ones in all bytes at once, the bit by a table. (The instruction made for this takes hundreds of cycles on
/// some processors.)
#[inline(always)]
fn nth_lowest_one(word: u64, n: u32) -> u32 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    let pairs = word - ((word >> 1) & (0x55 * EACH));
    let nibbles = (pairs & (0x33 * EACH)) + ((pairs >> 2) & (0x33 * EACH));
    let counts = ((nibbles + (nibbles >> 4)) & (0x0f * EACH)).wrapping_mul(EACH);
    // The top bit of each byte that has no more than `n` ones in itself and below.
    let below = (((u64::from(n) * EACH) | TOP) - counts) & TOP;
    let place = 8 * below.count_ones();
    let rest = n - ((counts << 8 >> place) & 0xff) as u32;
    place + u32::from(ONES[((rest as usize & 7) << 8) | ((word >> place) & 0xff) as usize])
}

/// Place of the `n`th lowest one of `byte`, at `n << 8 | byte`.
static ONES: [u8; 8 * 256] = {
    let mut places = [0; 8 * 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut n, mut place) = (0, 0);
        while place < 8 {
            if (byte >> place) & 1 == 1 {
                places[(n << 8) | byte] = place;
                n += 1;
            }
            place += 1;
        }
        byte += 1;
    }
    places
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cross_bytes_and_the_end_is_noticed() {
        let data = [0b1010_0101, 0xff, 0x00, 0x81];
        let mut bits = Bits::new(&data, 0);
        assert_eq!((bits.field(1), bits.field(4), bits.field(8)), (1, 0b0100, 0b1011_1111));
        assert_eq!(bits.field(19), 0b111_0000_0000_1000_0001);
        assert!(bits.check().is_ok() && !bits.has(1));
        assert_eq!(bits.field(32), 0);
        assert_eq!(bits.check(), Err(SzipError::Truncated));
    }

    #[test]
    fn unary_codes_longer_than_a_word() {
        let mut data = vec![0; 40];
        data[0] = 0b0010_0000;
        data[30] = 0b0000_0001;
        let mut bits = Bits::new(&data, 0);
        assert_eq!(bits.unary(), Ok(2));
        assert_eq!(bits.unary(), Ok(30 * 8 + 7 - 3));
        assert_eq!(bits.at, 31 * 8);
        assert_eq!(bits.unary(), Err(SzipError::Truncated));
        let mut skip = Bits::new(&data, 0);
        assert!(skip.skip_unary(2).is_ok());
        assert_eq!(skip.at, 31 * 8);
        assert_eq!(skip.skip_unary(1), Err(SzipError::Truncated));
    }

    #[test]
    fn the_nth_one() {
        let word = 0x8000_0401_0000_8003;
        let places: Vec<_> = (0..6).map(|n| nth_lowest_one(word, n)).collect();
        assert_eq!(places, [0, 1, 15, 32, 42, 63]);
        assert!((0..64).all(|n| nth_lowest_one(u64::MAX, n) == n));
    }
}
