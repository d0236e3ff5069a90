//! Windows on a szip payload: the RSIs that a window needs, and no others.

use super::region::Held;
use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::szip::{Aec, RsiIndex, Samples};
use super::windows::{Fault, Window, Windows};
use std::ops::Range;

/// Reads windows of one payload, holding the RSIs decoded last.
#[derive(Debug)]
pub(super) struct SzipReader<'a> {
    aec: &'a Aec,
    payload: &'a Held<'a>,
    index: &'a RsiIndex,
    /// Samples in the payload.
    samples: u64,
    as_numbers: bool,
    bytes: &'a mut AlignedBuf,
    numbers: &'a mut AlignedBuf,
    /// Samples held in `bytes` or `numbers`.
    held: Range<u64>,
}

impl<'a> SzipReader<'a> {
    /// `as_numbers`: hand out samples as numbers, not as bytes.
    pub(super) fn new(
        aec: &'a Aec,
        payload: &'a Held<'a>,
        index: &'a RsiIndex,
        samples: u64,
        as_numbers: bool,
        bytes: &'a mut AlignedBuf,
        numbers: &'a mut AlignedBuf,
    ) -> Self {
        Self { aec, payload, index, samples, as_numbers, bytes, numbers, held: 0..0 }
    }

    fn sample_bytes(&self) -> u64 {
        self.aec.sample_bytes() as u64
    }

    /// Decodes the RSIs that hold `samples`, if they aren't held.
    fn hold(&mut self, samples: &Range<u64>, stats: &mut DecodeStats) -> Result<(), Fault> {
        if self.held.start <= samples.start && samples.end <= self.held.end {
            return Ok(());
        }
        let step = self.aec.rsi_samples();
        let rsis = samples.start / step..samples.end.div_ceil(step);
        let covered = rsis.start * step..(rsis.end * step).min(self.samples);
        let count = (covered.end - covered.start) as usize;
        let bytes = self.aec.bytes_of_rsis(self.index, rsis.clone()).map_err(fault)?;
        stats.bytes_read += bytes.end - bytes.start;
        let payload = self.payload.get(bytes)?;
        stats.bytes_decoded += count as u64 * self.sample_bytes();
        stats.blocks_decoded += rsis.end - rsis.start;
        self.held = 0..0;
        let out = match self.as_numbers {
            true => Samples::U32(self.numbers.take_numbers(count)?),
            false => Samples::Bytes(self.bytes.take(count * self.aec.sample_bytes())?),
        };
        stats.timed(|_| self.aec.decode_part(payload, self.index, rsis, out)).map_err(fault)?;
        self.held = covered;
        Ok(())
    }
}

impl Windows for SzipReader<'_> {
    fn natural_end(&mut self, at: u64, want: u64) -> u64 {
        // The last whole RSI, so that none is decoded for two windows.
        let step = self.aec.rsi_samples() * self.sample_bytes();
        let end = want / step * step;
        if end > at { end } else { want }
    }

    fn window(&mut self, span: Range<u64>, stats: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let width = self.sample_bytes();
        let samples = span.start / width..span.end.div_ceil(width);
        self.hold(&samples, stats)?;
        if self.as_numbers {
            let first = (samples.start - self.held.start) as usize;
            let count = (samples.end - samples.start) as usize;
            return Ok(Window::Samples(&self.numbers.numbers()[first..first + count]));
        }
        let first = (span.start - self.held.start * width) as usize;
        Ok(Window::Lent(&self.bytes.bytes()[first..first + (span.end - span.start) as usize]))
    }
}

/// Decodes a whole payload as numbers; `flat_len` is what it would be in bytes.
pub(super) fn decode_numbers<'n>(
    aec: &Aec,
    payload: &[u8],
    flat_len: u64,
    numbers: &'n mut AlignedBuf,
    stats: &mut DecodeStats,
) -> Result<&'n [u32], Fault> {
    let out = numbers.take_numbers(flat_len as usize / aec.sample_bytes())?;
    stats.timed(|_| aec.decode_all(payload, Samples::U32(&mut *out))).map_err(fault)?;
    Ok(out)
}

fn fault(what: impl ToString) -> Fault {
    Fault::new("szip", what)
}
