//! Bit planes of a block of four, as codes.
//!
//! `n` is the number of leading values that have had a one in some plane above.

use super::BLOCK;

/// States: 0 to 4 values have had a one.
const STATES: usize = BLOCK + 1;
/// Bits of the longest code.
pub(super) const LONGEST: u32 = 7;
/// Positions of a plane's bits in [`Decoded::spread`]: one for each sixteen.
pub(super) const SPREAD: u64 = 0x0001_0001_0001_0001;

/// The code of a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    /// Bits, the first one least significant.
    pub(super) bits: u8,
    pub(super) len: u8,
    /// The next plane's state.
    pub(super) next: u8,
}

/// By state and the plane's four bits, that of the first value least significant.
pub(super) static ENCODE: [[Code; 16]; STATES] = {
    let mut table = [[Code { bits: 0, len: 0, next: 0 }; 16]; STATES];
    let mut state = 0;
    while state < STATES {
        let mut plane = 0;
        while plane < 16 {
            table[state][plane] = encode(state, plane as u8);
            plane += 1;
        }
        state += 1;
    }
    table
};

const fn encode(state: usize, plane: u8) -> Code {
    let mut n = state;
    let mut bits = plane & ((1 << n) - 1) as u8;
    let mut len = n as u8;
    while n < BLOCK {
        let rest = plane >> n;
        if rest == 0 {
            len += 1; // no more ones
            break;
        }
        bits |= 1 << len;
        len += 1;
        // Up to the first one. Where only the last value is left, it must be that.
        while n < BLOCK - 1 {
            let one = (plane >> n) & 1;
            bits |= one << len;
            len += 1;
            if one == 1 {
                break;
            }
            n += 1;
        }
        n += 1;
    }
    Code { bits, len, next: n as u8 }
}

/// What the next bits of a stream say: the plane's bits at [`SPREAD`], the length of the code at bit 1, the next state
/// at bit 4.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoded(u64);

impl Decoded {
    #[inline(always)]
    pub(super) fn spread(self) -> u64 {
        self.0 & SPREAD
    }
    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        (self.0 >> 1) as u32 & 7
    }
    #[inline(always)]
    pub(super) fn next(self) -> usize {
        (self.0 >> 4) as usize & 7
    }
}

/// By state and the next [`LONGEST`] bits.
pub(super) static DECODE: [[Decoded; 1 << LONGEST]; STATES] = {
    let mut table = [[Decoded(0); 1 << LONGEST]; STATES];
    let mut state = 0;
    while state < STATES {
        let mut plane = 0;
        while plane < 16 {
            let code = ENCODE[state][plane];
            let plane_bits = plane as u64;
            let spread = plane_bits & 1
                | (plane_bits >> 1 & 1) << 16
                | (plane_bits >> 2 & 1) << 32
                | (plane_bits >> 3 & 1) << 48;
            let entry = Decoded(spread | (code.len as u64) << 1 | (code.next as u64) << 4);
            let mut tail = 0;
            while tail < 1 << (LONGEST - code.len as u32) {
                table[state][code.bits as usize | tail << code.len] = entry;
                tail += 1;
            }
            plane += 1;
        }
        state += 1;
    }
    table
};
