//! Windows on a zfp payload: the blocks that a window needs; in streams without a fixed rate, also those before.

use super::region::Held;
use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::windows::{Fault, Window, Windows};
use super::zfp::{BLOCK, Decoder, Zfp};
use std::ops::Range;

/// Bytes of a value.
const WIDTH: u64 = 8;
/// Blocks of a fixed rate that end at a byte, whatever the rate is.
const WHOLE: u64 = 8;

/// Reads windows of one payload, ascending.
#[derive(Debug)]
pub(super) struct ZfpReader<'a> {
    stream: Stream<'a>,
    values: u64,
    blocks: u64,
    out: &'a mut AlignedBuf,
}

#[derive(Debug)]
enum Stream<'a> {
    /// Blocks of so many bits: each window has a decoder of its own, of the bytes that it needs.
    Fixed { zfp: Zfp, bits: u64, payload: &'a Held<'a> },
    /// All bytes.
    Free(Decoder<'a>),
}

impl<'a> ZfpReader<'a> {
    /// A reader of the `len` values in the first `payload_len` bytes of `held`.
    ///
    /// # Errors
    /// A [`Fault`] if the rate isn't fixed and some of them aren't there.
    pub(super) fn new(
        zfp: &Zfp,
        held: &'a Held<'a>,
        payload_len: u64,
        len: u64,
        out: &'a mut AlignedBuf,
    ) -> Result<Self, Fault> {
        let stream = match zfp.block_bits() {
            Some(bits) => Stream::Fixed { zfp: *zfp, bits, payload: held },
            None => Stream::Free(zfp.decoder(held.get(0..payload_len)?, len)),
        };
        Ok(Self { stream, values: 0, blocks: 0, out })
    }

    /// Adds what was read by ranges of a fixed rate.
    pub(super) fn count(&self, stats: &mut DecodeStats) {
        let bits = if let Stream::Fixed { bits, .. } = self.stream { bits } else { 0 };
        stats.bytes_read += (self.blocks * bits).div_ceil(8);
        stats.bytes_decoded += self.values * WIDTH;
        stats.blocks_decoded += self.blocks;
    }
}

/// The blocks that hold `values`, from one on that starts at a byte.
fn blocks_of(values: &Range<u64>) -> Range<u64> {
    let block = BLOCK as u64;
    values.start / block / WHOLE * WHOLE..values.end.div_ceil(block)
}

/// The bytes of a payload that hold the values at `flat`, bytes of decoded values, in blocks of so many bits.
pub(super) fn bytes_of(flat: &Range<u64>, bits: u64) -> Range<u64> {
    let blocks = blocks_of(&(flat.start / WIDTH..flat.end / WIDTH));
    blocks.start / WHOLE * bits..(blocks.end * bits).div_ceil(8)
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
        let stream = &mut self.stream;
        let decoded = stats.timed(|_| match stream {
            Stream::Free(decoder) => Ok::<_, Fault>(decoder.decode(values, out)),
            Stream::Fixed { zfp, bits, payload } => {
                let first = blocks_of(&values).start * BLOCK as u64;
                let mut decoder = zfp.decoder(payload.get(bytes_of(&span, *bits))?, values.end - first);
                Ok(decoder.decode(values.start - first..values.end - first, out))
            }
        });
        decoded?.map_err(|e| Fault::new("zfp", e))?;
        Ok(Window::Owned(self.out.bytes_mut()))
    }
}
