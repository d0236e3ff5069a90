//! Walking a stream to find where its RSIs start.

use super::bits::Bits;
use super::{Aec, Result, SzipError};
use multiversion::multiversion;
use std::ops::Range;

/// Where every RSI of one stream really starts, found by walking it from bit 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsiIndex {
    /// The bit where each RSI starts that could be walked over, then the one after the last of them.
    offsets: Vec<u64>,
    samples: u64,
    /// RSIs that the stream should have.
    count: u64,
    /// Why the walk ended early.
    failure: Option<SzipError>,
    stored_agree: bool,
}

impl Aec {
    /// Walks the stream of `samples` samples and notes where its RSIs start. `stored` are the offsets of the
    /// descriptor, if it has any: hints that let several RSIs be walked at once, each link of the chain checked.
    ///
    /// A stream that is broken somewhere still has an index of the RSIs before.
    pub fn index(&self, payload: &[u8], samples: u64, stored: Option<&[u64]>) -> RsiIndex {
        let mut offsets = Vec::new();
        let mut bits = Bits::new(payload, 0);
        let blocks = samples.div_ceil(u64::from(self.block_size));
        let failure = walk(self, &mut bits, blocks, stored.unwrap_or_default(), &mut offsets).err();
        let count = self.rsi_count(samples);
        if failure.is_none() {
            offsets.push(bits.at as u64);
        }
        let starts = &offsets[..offsets.len().min(usize::try_from(count).unwrap_or(usize::MAX))];
        let stored_agree =
            stored.is_none_or(|stored| stored.len() as u64 == count && stored.starts_with(starts));
        RsiIndex { offsets, samples, count, failure, stored_agree }
    }
}

/// RSIs that are walked side by side: where one ends depends on all its bits in turn, so that a single walk leaves
/// most of the processor idle.
const LANES: usize = 4;

/// Passes over `blocks` blocks, and notes where each RSI starts. `hints` are where RSIs may start.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn walk<'a>(
    aec: &Aec,
    bits: &mut Bits<'a>,
    mut blocks: u64,
    hints: &[u64],
    offsets: &mut Vec<u64>,
) -> Result<()> {
    let rsi = u64::from(aec.rsi);
    for starts in hints.windows(LANES + 1).step_by(LANES) {
        if blocks < LANES as u64 * rsi || !walk_lanes(aec, bits, starts) {
            break;
        }
        offsets.extend(&starts[..LANES]);
        blocks -= LANES as u64 * rsi;
    }
    while blocks > 0 {
        offsets.push(bits.at as u64);
        let count = blocks.min(rsi) as u32;
        let mut number = 0;
        while number < count {
            number += aec.skip_block(bits, number)?;
        }
        if aec.pads() && number == aec.rsi {
            bits.align();
        }
        blocks -= u64::from(count);
    }
    Ok(())
}

/// Walks over [`LANES`] whole RSIs from all of `starts` but the last. If the first one starts at `bits` and each
/// ends where the next one starts, moves `bits` to the end; else leaves it.
#[inline(always)]
fn walk_lanes(aec: &Aec, bits: &mut Bits<'_>, starts: &[u64]) -> bool {
    if starts[0] != bits.at as u64 {
        return false;
    }
    let mut lanes = [(); LANES].map(|()| (bits.clone(), 0));
    for ((lane, _), &start) in lanes.iter_mut().zip(starts) {
        let Some(start) = usize::try_from(start).ok().filter(|&start| bits.reaches(start)) else {
            return false;
        };
        lane.at = start;
    }
    while lanes.iter().any(|&(_, number)| number < aec.rsi) {
        for (lane, number) in &mut lanes {
            if *number < aec.rsi {
                match aec.skip_block(lane, *number) {
                    Ok(blocks) => *number += blocks,
                    Err(_) => return false,
                }
            }
        }
    }
    for ((lane, _), &end) in lanes.iter_mut().zip(&starts[1..]) {
        if aec.pads() {
            lane.align();
        }
        if lane.at as u64 != end {
            return false;
        }
    }
    bits.at = lanes[LANES - 1].0.at;
    true
}

impl RsiIndex {
    /// Whether the offsets in the descriptor are those of the stream (as far as it could be walked); `true` if
    /// there are none.
    pub fn stored_agree(&self) -> bool {
        self.stored_agree
    }

    /// RSIs of the stream, readable or not.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bits that `rsis` occupy in the payload.
    ///
    /// # Errors
    /// [`SzipError::Range`] if there are no such RSIs, or what stopped the walk before their end.
    pub fn bits(&self, rsis: Range<u64>) -> Result<Range<u64>> {
        if rsis.start > rsis.end || rsis.end > self.count {
            return Err(SzipError::Range { what: "end of RSIs", got: rsis.end, expected: self.count });
        }
        let at = |i: u64| usize::try_from(i).ok().and_then(|i| self.offsets.get(i)).copied();
        match (at(rsis.start), at(rsis.end), &self.failure) {
            (Some(start), Some(end), _) => Ok(start..end),
            (_, _, Some(failure)) => Err(failure.clone()),
            // An empty stream has no offsets at all.
            (_, _, None) => Ok(0..0),
        }
    }

    /// Samples in `rsis`.
    pub(super) fn samples_in(&self, aec: &Aec, rsis: Range<u64>) -> u64 {
        let at = |rsi: u64| rsi.saturating_mul(aec.rsi_samples()).min(self.samples);
        at(rsis.end) - at(rsis.start)
    }
}
