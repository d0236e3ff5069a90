//! From decoded residuals to samples in the form that is asked for.

use super::{Aec, Samples};

/// Undoes the unit-delay predictor over one RSI, a piece at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Predictor {
    /// Largest sample as if unsigned: `2^bits - 1`.
    max: u32,
    /// What to add to a sample to make it unsigned: `2^(bits-1)` if signed, else 0.
    bias: u32,
    last: u32,
}

/// Residuals that are tried together without folding.
const GROUP: usize = 16;

impl Predictor {
    pub(super) fn new(aec: &Aec) -> Self {
        let bias = if aec.signed() { 1 << (aec.bits_per_sample - 1) } else { 0 };
        Self { max: u32::MAX >> (32 - aec.bits_per_sample), bias, last: 0 }
    }

    /// Takes the reference sample that an RSI starts with; returns it, sign-extended if signed.
    pub(super) fn start(&mut self, reference: u32) -> u32 {
        self.last = (reference ^ self.bias).wrapping_sub(self.bias);
        self.last
    }

    /// Turns mapped residuals into samples, in place.
    ///
    /// Near the ends of the range residuals are folded, which makes each sample depend on its predecessor by
    /// a comparison. Far from the ends a sample is the sum of the residuals before it: that is tried first, for
    /// a group at a time, and checked.
    #[inline(always)]
    pub(super) fn undo(&mut self, residuals: &mut [u32]) {
        let (groups, rest) = residuals.as_chunks_mut::<GROUP>();
        for group in groups {
            if !self.undo_unfolded(group) {
                self.undo_folded(group);
            }
        }
        self.undo_folded(rest);
    }

    #[inline(always)]
    fn undo_unfolded(&mut self, group: &mut [u32; GROUP]) -> bool {
        // In unsigned terms: 0..=max, whatever the sign.
        let start = self.last.wrapping_add(self.bias);
        let mut sums = *group;
        for sum in &mut sums {
            *sum = difference(*sum);
        }
        running_sums(&mut sums);
        let mut before = [start; GROUP];
        for (before, sum) in before[1..].iter_mut().zip(&sums) {
            *before = start.wrapping_add(*sum);
        }
        let mut folded = start > self.max;
        for (&before, &residual) in before.iter().zip(group.iter()) {
            let room = before.min(self.max.wrapping_sub(before));
            folded |= magnitude(residual) > room;
        }
        if folded {
            return false;
        }
        for (sample, sum) in group.iter_mut().zip(sums) {
            *sample = self.last.wrapping_add(sum);
        }
        self.last = group[GROUP - 1];
        true
    }

    #[inline(always)]
    fn undo_folded(&mut self, residuals: &mut [u32]) {
        if self.bias == 0 {
            let middle = self.max / 2 + 1;
            for sample in residuals {
                // All ones in the upper half, where `last ^ ends` is the distance to the upper end.
                let ends = if self.last & middle == 0 { 0 } else { self.max };
                let folded = ends ^ *sample;
                let plain = self.last.wrapping_add(difference(*sample));
                self.last = if magnitude(*sample) <= ends ^ self.last { plain } else { folded };
                *sample = self.last;
            }
        } else {
            let max = self.max >> 1;
            for sample in residuals {
                let negative = (self.last as i32) < 0;
                let room =
                    if negative { self.last.wrapping_add(max + 1) } else { max.wrapping_sub(self.last) };
                let folded = if negative { sample.wrapping_sub(max + 1) } else { max.wrapping_sub(*sample) };
                let plain = self.last.wrapping_add(difference(*sample));
                self.last = if magnitude(*sample) <= room { plain } else { folded };
                *sample = self.last;
            }
        }
    }
}

/// Turns numbers into the sums of all up to each, in four steps of sixteen independent additions.
#[inline(always)]
fn running_sums(numbers: &mut [u32; GROUP]) {
    let mut step = 1;
    while step < GROUP {
        let before = *numbers;
        for i in step..GROUP {
            numbers[i] = before[i].wrapping_add(before[i - step]);
        }
        step *= 2;
    }
}

/// The signed difference that a mapped residual stands for: 0, -1, 1, -2, 2, ...
#[inline(always)]
fn difference(residual: u32) -> u32 {
    residual >> 1 ^ (residual & 1).wrapping_neg()
}

/// Its magnitude.
#[inline(always)]
fn magnitude(residual: u32) -> u32 {
    (residual >> 1) + (residual & 1)
}

impl Samples<'_> {
    /// Writes `samples` from sample `at` on, as containers of `aec`.
    #[inline(always)]
    pub(super) fn write(&mut self, aec: &Aec, at: usize, samples: &[u32]) {
        let width = aec.sample_bytes();
        match self {
            Samples::U32(out) => {
                let mask = u32::MAX >> (32 - 8 * width);
                for (out, sample) in out[at..at + samples.len()].iter_mut().zip(samples) {
                    *out = sample & mask;
                }
            }
            Samples::Bytes(out) => {
                let out = &mut out[at * width..(at + samples.len()) * width];
                match (width, aec.msb()) {
                    (1, _) => out.iter_mut().zip(samples).for_each(|(out, sample)| *out = *sample as u8),
                    (2, false) => put::<2>(out, samples, |sample| (sample as u16).to_le_bytes()),
                    (2, true) => put::<2>(out, samples, |sample| (sample as u16).to_be_bytes()),
                    (3, false) => put::<3>(out, samples, |s| [s as u8, (s >> 8) as u8, (s >> 16) as u8]),
                    (3, true) => put::<3>(out, samples, |s| [(s >> 16) as u8, (s >> 8) as u8, s as u8]),
                    (_, false) => put::<4>(out, samples, u32::to_le_bytes),
                    (_, true) => put::<4>(out, samples, u32::to_be_bytes),
                }
            }
        }
    }
}

#[inline(always)]
fn put<const N: usize>(out: &mut [u8], samples: &[u32], bytes: impl Fn(u32) -> [u8; N]) {
    for (out, &sample) in out.as_chunks_mut::<N>().0.iter_mut().zip(samples) {
        *out = bytes(sample);
    }
}
