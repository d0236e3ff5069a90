//! Windows on a zfp payload: the blocks that a window needs; in streams without a fixed rate, also those before.

use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::windows::{Fault, Window, Windows};
use super::zfp::{BLOCK, Decoder, Zfp};
use std::ops::Range;

/// Bytes of a value.
const WIDTH: u64 = 8;

/// Reads windows of one payload, ascending.
#[derive(Debug)]
pub(super) struct ZfpReader<'a> {
    decoder: Decoder<'a>,
    /// Bits of every block, if they have a fixed rate.
    block_bits: Option<u64>,
    values: u64,
    blocks: u64,
    out: &'a mut AlignedBuf,
}

impl<'a> ZfpReader<'a> {
    pub(super) fn new(zfp: &Zfp, payload: &'a [u8], len: u64, out: &'a mut AlignedBuf) -> Self {
        let (decoder, block_bits) = (zfp.decoder(payload, len), zfp.block_bits());
        Self { decoder, block_bits, values: 0, blocks: 0, out }
    }

    /// Adds what was read by ranges of a fixed rate.
    pub(super) fn count(&self, stats: &mut DecodeStats) {
        stats.bytes_read += (self.blocks * self.block_bits.unwrap_or(0)).div_ceil(8);
        stats.bytes_decoded += self.values * WIDTH;
        stats.blocks_decoded += self.blocks;
    }
}

impl Windows for ZfpReader<'_> {
    fn natural_end(&mut self, at: u64, want: u64) -> u64 {
        // The end of a block, so that none is decoded for two windows.
        let step = BLOCK as u64 * WIDTH;
        let end = want / step * step;
        if end > at { end } else { want }
    }

    fn window(&mut self, span: Range<u64>, stats: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let values = span.start / WIDTH..span.end / WIDTH;
        self.values += values.end - values.start;
        self.blocks += values.end.div_ceil(BLOCK as u64) - values.start / BLOCK as u64;
        let out = self.out.take_doubles((values.end - values.start) as usize)?;
        let decoded = stats.timed(|_| self.decoder.decode(values, out));
        decoded.map_err(|e| Fault::new("zfp", e))?;
        Ok(Window::Owned(self.out.bytes_mut()))
    }
}
