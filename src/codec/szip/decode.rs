//! Decoding RSIs, one after the other, a stage of samples at a time.

use super::bits::Bits;
use super::block::Block;
use super::index::RsiIndex;
use super::post::Predictor;
use super::{Aec, Result, SzipError};
use multiversion::multiversion;
use std::ops::Range;

/// Where decoded samples go, and in which form.
#[derive(Debug)]
pub enum Samples<'a> {
    /// Containers of [`Aec::sample_bytes`] bytes, in the byte order of the stream's flags.
    Bytes(&'a mut [u8]),
    /// The numbers in those containers, as unsigned. Spares a detour through bytes when the next stage wants
    /// numbers (simple packing).
    U32(&'a mut [u32]),
}

/// Samples that are decoded before they are post-processed and written: they stay in the first-level cache.
const STAGE: usize = 1024;

impl Aec {
    /// Decodes as many samples as `out` takes, from the start. Bytes after the last sample don't matter.
    /// Returns the bit where decoding stopped.
    ///
    /// Numbers out of the range of `bits_per_sample`, which only a damaged stream has, wrap as they do in the
    /// reference's library.
    ///
    /// # Errors
    /// [`SzipError::Truncated`] if there are fewer samples, [`SzipError::Malformed`],
    /// [`SzipError::Range`] if `out` isn't a whole number of samples.
    pub fn decode_all(&self, payload: &[u8], out: Samples<'_>) -> Result<u64> {
        let wanted = self.room(&out)?;
        run(self, &mut Bits::new(payload, 0), wanted, out)
    }

    /// Decodes the RSIs `rsis` and nothing else. `out` takes exactly their samples: [`Aec::rsi_samples`] for
    /// each, fewer for the last RSI of the stream. `index` is that of the same payload.
    ///
    /// # Errors
    /// [`SzipError::Range`] if the RSIs aren't in the stream or `out` has another size; what is wrong with the
    /// stream, if that is before the end of these RSIs.
    pub fn decode_rsis(
        &self,
        payload: &[u8],
        index: &RsiIndex,
        rsis: Range<u64>,
        out: Samples<'_>,
    ) -> Result<u64> {
        let start = usize::try_from(index.bits(rsis.clone())?.start / 8).map_err(|_| SzipError::Truncated)?;
        let read = self.decode_part(payload.get(start..).unwrap_or_default(), index, rsis, out)?;
        Ok(read + start as u64 * 8)
    }

    /// As [`Aec::decode_rsis`], of the part of the payload that starts with the byte in which `rsis` begin
    /// ([`Aec::bytes_of_rsis`]). Returns the bit of the part where decoding stopped.
    ///
    /// # Errors
    /// As [`Aec::decode_rsis`].
    pub(in crate::codec) fn decode_part(
        &self,
        part: &[u8],
        index: &RsiIndex,
        rsis: Range<u64>,
        out: Samples<'_>,
    ) -> Result<u64> {
        let bits = index.bits(rsis.clone())?;
        let wanted = self.room(&out)?;
        let expected = index.samples_in(self, rsis);
        if wanted as u64 != expected {
            return Err(SzipError::Range { what: "samples of output", got: wanted as u64, expected });
        }
        run(self, &mut Bits::new(part, (bits.start % 8) as usize), wanted, out)
    }

    /// Bytes of the payload in which `rsis` lie.
    ///
    /// # Errors
    /// As [`RsiIndex::bits`].
    pub(in crate::codec) fn bytes_of_rsis(&self, index: &RsiIndex, rsis: Range<u64>) -> Result<Range<u64>> {
        let bits = index.bits(rsis)?;
        Ok(bits.start / 8..bits.end.div_ceil(8))
    }

    /// Bytes of the payload that the decompressed bytes of `span` are made of.
    ///
    /// # Errors
    /// As [`RsiIndex::bits`].
    pub(in crate::codec) fn bytes_of(&self, index: &RsiIndex, span: Range<u64>) -> Result<Range<u64>> {
        let step = self.rsi_samples() * self.sample_bytes() as u64;
        self.bytes_of_rsis(index, span.start / step..span.end.div_ceil(step))
    }

    /// Samples that fit into `out`.
    fn room(&self, out: &Samples<'_>) -> Result<usize> {
        match out {
            Samples::U32(out) => Ok(out.len()),
            Samples::Bytes(out) => {
                let width = self.sample_bytes();
                if out.len() % width != 0 {
                    return Err(SzipError::Range {
                        what: "bytes of output",
                        got: out.len() as u64,
                        expected: (out.len() / width * width) as u64,
                    });
                }
                Ok(out.len() / width)
            }
        }
    }
}

/// Decodes `wanted` samples from an RSI's start on; returns the bit after them (after the padding, if an RSI
/// was completed and RSIs are padded).
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt", "aarch64+neon"))]
fn run<'a>(aec: &'a Aec, bits: &mut Bits<'a>, wanted: usize, out: Samples<'a>) -> Result<u64> {
    let mut stage = Stage::new(aec, bits, out);
    let mut done = 0;
    while done < wanted {
        let rsi = usize::try_from(aec.rsi_samples()).unwrap_or(usize::MAX);
        let count = rsi.min(wanted - done);
        let blocks = decode_rsi(aec, bits, count, &mut stage)?;
        done += count;
        if aec.pads() && blocks == aec.rsi {
            bits.align();
        }
    }
    Ok(bits.at as u64)
}

/// Decodes the first `count` samples of the RSI at `bits`; returns the number of blocks passed.
#[inline(always)]
fn decode_rsi(aec: &Aec, bits: &mut Bits<'_>, count: usize, stage: &mut Stage<'_>) -> Result<u32> {
    let block_size = aec.block_size as usize;
    let mut number = 0;
    stage.start_rsi(count);
    while !stage.complete() {
        match aec.block(bits, number, stage.block(block_size))? {
            Block::Samples => {
                stage.filled += block_size;
                number += 1;
            }
            Block::Zeros(run) => {
                let references = usize::from(number == 0 && aec.preprocess());
                stage.filled += references;
                stage.zeros(run as usize * block_size - references);
                number += run;
            }
        }
    }
    stage.flush();
    Ok(number)
}

/// Residuals on their way to the output.
struct Stage<'a> {
    aec: &'a Aec,
    predictor: Predictor,
    buffer: Vec<u32>,
    /// Residuals in the buffer.
    filled: usize,
    out: Samples<'a>,
    /// Samples written.
    written: usize,
    /// Samples of this RSI still to be written, and whether its first one is among them.
    left: usize,
    first: bool,
}

impl<'a> Stage<'a> {
    fn new(aec: &'a Aec, bits: &Bits<'_>, out: Samples<'a>) -> Self {
        let block = aec.block_size as usize;
        // A block has at most two samples a bit, or is all zeros and needs no room: a giant block size costs
        // no memory unless there are bytes for it.
        let room = if bits.has(block / 2) { block } else { 1 };
        let buffer = vec![0; room * (STAGE / room).max(1)];
        Self { aec, predictor: Predictor::new(aec), buffer, filled: 0, out, written: 0, left: 0, first: true }
    }

    #[inline(always)]
    fn start_rsi(&mut self, count: usize) {
        (self.filled, self.left, self.first) = (0, count, true);
    }

    #[inline(always)]
    fn complete(&self) -> bool {
        self.filled >= self.left
    }

    /// Room for the next block; less than a block if the stream can't hold one with samples in it.
    #[inline(always)]
    fn block(&mut self, size: usize) -> &mut [u32] {
        if self.buffer.len() - self.filled < size.min(self.buffer.len()) {
            self.flush();
        }
        let end = self.buffer.len().min(self.filled + size);
        &mut self.buffer[self.filled..end]
    }

    /// Appends zero residuals, as many of `count` as are wanted.
    fn zeros(&mut self, count: usize) {
        let mut count = count.min(self.left - self.filled);
        while count > 0 {
            if self.filled == self.buffer.len() {
                self.flush();
            }
            let part = count.min(self.buffer.len() - self.filled);
            self.buffer[self.filled..self.filled + part].fill(0);
            self.filled += part;
            count -= part;
        }
    }

    /// Turns what is in the buffer into samples and writes those that are wanted.
    #[inline(always)]
    fn flush(&mut self) {
        let count = self.filled.min(self.left);
        let samples = &mut self.buffer[..count];
        if self.aec.preprocess() {
            let references = usize::from(self.first && count > 0);
            if references == 1 {
                samples[0] = self.predictor.start(samples[0]);
            }
            self.predictor.undo(&mut samples[references..]);
        }
        self.out.write(self.aec, self.written, samples);
        self.written += count;
        self.left -= count;
        self.first &= count == 0;
        self.filled = 0;
    }
}
