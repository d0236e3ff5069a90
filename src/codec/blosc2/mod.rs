//! Blosc2 frames: encoding, full decode block by block, and range decode of the touched blocks only.
//!
//! The frame is parsed here ([`frame`]); the C library decompresses single blocks ([`context`]). Of a frame that isn't
//! at hand, the parts that its blocks need are fetched ([`fetch`]).

mod context;
mod encode;
mod fetch;
mod frame;

pub(super) use context::Decompressor;
pub(super) use encode::{Shuffle, encode};
pub(super) use fetch::needs;
pub(super) use frame::Payload;

use super::region::Held;
use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::windows::{Fault, Window, Windows, outside};
use frame::{Chunk, Content, Flaw, Frame};
use std::ops::Range;

/// Reads windows of one frame, holding the block decoded last.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    frame: Frame<'a>,
    /// Where each chunk is, as stored in the frame's index.
    offsets: Vec<i64>,
    chunk: Option<(u64, Chunk<'a>)>,
    decompressor: &'a mut Decompressor,
    block: &'a mut AlignedBuf,
    /// What `block` holds, as positions in the decoded bytes of the frame.
    held: Range<u64>,
    staging: &'a mut AlignedBuf,
}

/// A run of decoded bytes that come out together.
struct Unit<'a> {
    span: Range<u64>,
    chunk: Chunk<'a>,
    /// Number of the block, where the chunk has any.
    block: usize,
}

impl<'a> Reader<'a> {
    /// Opens a frame that must decode to `want` bytes.
    pub(super) fn open(
        payload: Payload<'a>,
        want: u64,
        decompressor: &'a mut Decompressor,
        block: &'a mut AlignedBuf,
        staging: &'a mut AlignedBuf,
        stats: &mut DecodeStats,
    ) -> Result<Self, Fault> {
        let frame = Frame::parse(payload, want)?;
        let offsets = read_index(&frame, decompressor, stats)?;
        Ok(Self { frame, offsets, chunk: None, decompressor, block, held: 0..0, staging })
    }

    /// The unit that holds decoded byte `at`.
    fn unit(&mut self, at: u64, stats: &mut DecodeStats) -> Result<Unit<'a>, Fault> {
        if at >= self.frame.nbytes {
            return Err(outside(&(at..at + 1), self.frame.nbytes));
        }
        let n = at / self.frame.chunk_size;
        let chunk = match &self.chunk {
            Some((held, chunk)) if *held == n => *chunk,
            _ => {
                let chunk = self.frame.chunk(n, self.offsets[n as usize])?;
                stats.bytes_read += chunk.header_len() as u64;
                self.chunk = Some((n, chunk));
                chunk
            }
        };
        let span = self.frame.span(n);
        if chunk.content != Content::Blocks {
            return Ok(Unit { span, chunk, block: 0 });
        }
        let block = (at - span.start) as usize / chunk.block_size;
        let within = chunk.block_span(block);
        let span = span.start + within.start as u64..span.start + within.end as u64;
        Ok(Unit { span, chunk, block })
    }

    /// Writes the bytes of `span`, which lie in one unit, into `out`.
    fn copy(
        &mut self,
        unit: &Unit<'a>,
        span: &Range<u64>,
        out: &mut [u8],
        stats: &mut DecodeStats,
    ) -> Result<(), Fault> {
        let within = (span.start - unit.span.start) as usize..(span.end - unit.span.start) as usize;
        match unit.chunk.content {
            Content::Stored(at) => {
                stats.bytes_read += out.len() as u64;
                stats.bytes_decoded += out.len() as u64;
                out.copy_from_slice(self.frame.stored(at, within)?);
            }
            Content::Repeated(value) => {
                stats.bytes_decoded += out.len() as u64;
                repeat(value, within.start, out);
            }
            Content::Blocks if self.held != unit.span && *span == unit.span => {
                decode_block(self.decompressor, unit, out, stats)?;
            }
            Content::Blocks => out.copy_from_slice(&self.hold(unit, stats)?[within]),
        }
        Ok(())
    }

    /// The bytes of a compressed block, decoded if they aren't held already.
    fn hold(&mut self, unit: &Unit<'a>, stats: &mut DecodeStats) -> Result<&[u8], Fault> {
        if self.held != unit.span {
            self.held = 0..0;
            let out = self.block.take((unit.span.end - unit.span.start) as usize)?;
            decode_block(self.decompressor, unit, out, stats)?;
            self.held = unit.span.clone();
        }
        Ok(self.block.bytes())
    }
}

impl Windows for Reader<'_> {
    fn natural_end(&mut self, at: u64, want: u64) -> u64 {
        // An error here comes back when the window is read.
        self.unit(at, &mut DecodeStats::default()).map_or(want, |unit| unit.span.end)
    }

    fn repeated(&mut self, span: Range<u64>, width: usize, stats: &mut DecodeStats) -> Option<[u8; 8]> {
        let unit = self.unit(span.start, stats).ok().filter(|unit| span.end <= unit.span.end)?;
        let run;
        let value = match unit.chunk.content {
            Content::Repeated(value) => value,
            Content::Stored(_) => return None,
            Content::Blocks => {
                run = unit.chunk.run_of(unit.block)?;
                &run.0[..run.1]
            }
        };
        let mut bytes = [0; 8];
        match value {
            [byte] => bytes[..width].fill(*byte),
            value if value.len() == width && (span.start - unit.span.start).is_multiple_of(width as u64) => {
                bytes[..width].copy_from_slice(value);
            }
            _ => return None,
        }
        Some(bytes)
    }

    fn window(&mut self, span: Range<u64>, stats: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        if span.is_empty() {
            return Ok(Window::Lent(&[]));
        }
        let unit = self.unit(span.start, stats)?;
        if span.end <= unit.span.end {
            let within = (span.start - unit.span.start) as usize..(span.end - unit.span.start) as usize;
            match unit.chunk.content {
                Content::Blocks => return Ok(Window::Lent(&self.hold(&unit, stats)?[within])),
                Content::Stored(at) => {
                    stats.bytes_read += within.len() as u64;
                    stats.bytes_decoded += within.len() as u64;
                    return Ok(Window::Lent(self.frame.stored(at, within)?));
                }
                Content::Repeated(_) => {}
            }
        }
        // The staging buffer is taken out meanwhile, because its pieces come from the rest of `self`.
        let mut staging = std::mem::take(self.staging);
        let out = staging.take((span.end - span.start) as usize);
        let filled = out.and_then(|out| self.fill(&span, out, stats));
        *self.staging = staging;
        filled?;
        Ok(Window::Owned(self.staging.bytes_mut()))
    }
}

impl Reader<'_> {
    /// Writes the bytes of `span`, which may reach over many units, into `out`.
    fn fill(&mut self, span: &Range<u64>, out: &mut [u8], stats: &mut DecodeStats) -> Result<(), Fault> {
        let mut at = span.start;
        while at < span.end {
            let unit = self.unit(at, stats)?;
            let piece = at..unit.span.end.min(span.end);
            let out = &mut out[(piece.start - span.start) as usize..(piece.end - span.start) as usize];
            self.copy(&unit, &piece, out, stats)?;
            at = piece.end;
        }
        Ok(())
    }

    /// Decodes the whole frame into `out`, of the frame's decoded size.
    pub(super) fn read_all(&mut self, out: &mut [u8], stats: &mut DecodeStats) -> Result<(), Fault> {
        self.fill(&(0..self.frame.nbytes), out, stats)
    }
}

/// Decodes a frame that must fill `out` exactly.
pub(super) fn decode_all(
    payload: &[u8],
    decompressor: &mut Decompressor,
    out: &mut [u8],
    stats: &mut DecodeStats,
) -> Result<(), Fault> {
    let (mut block, mut staging) = (AlignedBuf::default(), AlignedBuf::default());
    let held = Held::All(payload);
    let payload = Payload { held: &held, len: payload.len() as u64 };
    let want = out.len() as u64;
    Reader::open(payload, want, decompressor, &mut block, &mut staging, stats)?.read_all(out, stats)
}

/// The offsets of all chunks.
fn read_index(
    frame: &Frame<'_>,
    decompressor: &mut Decompressor,
    stats: &mut DecodeStats,
) -> Result<Vec<i64>, Flaw> {
    stats.bytes_read += frame.header_len();
    if frame.chunks == 0 {
        return Ok(Vec::new());
    }
    let index = frame.index()?;
    stats.bytes_read += index.span().end - index.span().start;
    let mut bytes = vec![0; index.nbytes];
    match index.content {
        Content::Stored(at) => bytes.copy_from_slice(frame.stored(at, 0..index.nbytes)?),
        Content::Repeated(value) => repeat(value, 0, &mut bytes),
        Content::Blocks => {
            for n in 0..index.blocks() {
                decompressor.block(&index, &index.streams(n)?, &mut bytes[index.block_span(n)])?;
            }
        }
    }
    Ok(bytes.as_chunks().0.iter().map(|offset| i64::from_le_bytes(*offset)).collect())
}

fn decode_block(
    decompressor: &mut Decompressor,
    unit: &Unit<'_>,
    out: &mut [u8],
    stats: &mut DecodeStats,
) -> Result<(), Fault> {
    let streams = unit.chunk.streams(unit.block)?;
    stats.bytes_read += 4 + streams.bytes.len() as u64;
    stats.bytes_decoded += out.len() as u64;
    stats.blocks_decoded += 1;
    let decoded = stats.timed(|_| decompressor.block(&unit.chunk, &streams, out));
    decoded.map_err(|what| Fault::new("blosc2", what))
}

/// Fills `out` with `value` over and over, beginning `phase` bytes into the repetition.
fn repeat(value: &[u8], phase: usize, out: &mut [u8]) {
    if let [byte] = value {
        return out.fill(*byte);
    }
    for (out, byte) in out.iter_mut().zip(value.iter().cycle().skip(phase % value.len())) {
        *out = *byte;
    }
}
