//! What of a frame has to be fetched for some of its decoded bytes, found step by step.
//!
//! ```text
//! nothing is there             the frame's header, with the head of a first chunk, and its end: the index
//! header and index             the heads of the chunks: what they hold, and where their blocks begin
//! heads                        the blocks
//! ```
//! Heads are kept with the object, so that its next visit fetches blocks and nothing else. Blocks that lie otherwise than
//! the format's writers lay them, one after the other, cost another step; a frame with something wrong in it is
//! fetched whole, so that the same is told of it as if it were at hand.

use super::context::Decompressor;
use super::frame::{Chunk, Content, Flaw, Frame, Payload};
use super::read_index;
use crate::codec::region::Needs;
use crate::codec::stats::DecodeStats;
use std::ops::Range;

/// The end of a frame that is fetched before anything is known of it: the index of some hundred chunks and the trailer.
/// No more than what comes along with a small read after it, such as that of a descriptor.
const TAIL: u64 = 1 << 10;
/// Bytes of a chunk's beginning that are fetched for its header and block starts, at least and at most.
const HEAD: (u64, u64) = (4 << 10, 64 << 10);
/// Decoded bytes that a block is taken to have at least, where it isn't known.
const BLOCK: u64 = 32 << 10;

/// What the decoded bytes `spans` (ascending, disjoint) of a frame that decodes to `want` need besides what is there;
/// `None` if all of the frame is better fetched.
pub(in crate::codec) fn needs(
    payload: Payload<'_>,
    want: u64,
    spans: &[Range<u64>],
    decompressor: &mut Decompressor,
) -> Option<Needs> {
    let mut needs = Needs::default();
    match of_frame(&mut needs, payload, want, spans, decompressor) {
        Ok(()) => Some(needs),
        Err(Flaw::Missing(span)) => {
            needs.spans.push(span);
            Some(needs)
        }
        Err(Flaw::Broken(_)) => None,
    }
}

/// Notes what is needed; what hides the rest is the error.
fn of_frame(
    needs: &mut Needs,
    payload: Payload<'_>,
    want: u64,
    spans: &[Range<u64>],
    decompressor: &mut Decompressor,
) -> Result<(), Flaw> {
    let frame = match Frame::parse(payload, want) {
        Err(Flaw::Missing(_)) => {
            needs.spans.push(payload.len.saturating_sub(TAIL)..payload.len);
            return Err(Flaw::Missing(0..head_len(want)));
        }
        frame => frame?,
    };
    let index = read_index(&frame, decompressor, &mut DecodeStats::default());
    let offsets = index.map_err(|flaw| match flaw {
        Flaw::Missing(_) => Flaw::Missing(frame.index_at..payload.len),
        broken => broken,
    })?;
    needs.heads.push(frame.head_span());
    if frame.chunks > 0 {
        needs.heads.push(frame.index()?.span());
    }
    let mut at = 0; // looked at up to here
    for span in spans {
        at = at.max(span.start);
        while at < span.end.min(frame.nbytes) {
            let n = at / frame.chunk_size;
            let within = frame.span(n);
            let wanted = at - within.start..span.end.min(within.end) - within.start;
            at = match frame.chunk(n, offsets[n as usize]) {
                Ok(chunk) => within.start + of_chunk(needs, &chunk, wanted)?,
                Err(Flaw::Missing(head)) => {
                    let guess = head.start + head_len(within.end - within.start);
                    needs.spans.push(head.start..head.end.max(guess.min(frame.index_at)));
                    within.end
                }
                Err(broken) => return Err(broken),
            };
        }
    }
    Ok(())
}

/// Notes what the decoded bytes `wanted` of `chunk` need. Returns up to where in the chunk that serves.
fn of_chunk(needs: &mut Needs, chunk: &Chunk<'_>, wanted: Range<u64>) -> Result<u64, Flaw> {
    needs.heads.push(chunk.head_span());
    match chunk.content {
        Content::Repeated(_) => return Ok(chunk.nbytes as u64),
        Content::Stored(at) => {
            needs.spans.push(at + wanted.start..at + wanted.end);
            return Ok(wanted.end);
        }
        Content::Blocks => {}
    }
    let size = chunk.block_size as u64;
    let blocks = wanted.start / size..wanted.end.div_ceil(size);
    let mut starts = None;
    for n in blocks.clone() {
        match chunk.streams(n as usize) {
            Ok(_) => {}
            Err(Flaw::Missing(room)) => {
                let starts: &Vec<u64> = starts.get_or_insert_with(|| chunk.starts());
                let next = starts.get(starts.partition_point(|start| *start <= room.start));
                let block = room.start..next.copied().unwrap_or(room.end);
                needs.spans.push(if chunk.is_there(&block) { room } else { block });
            }
            Err(broken) => return Err(broken),
        }
    }
    Ok((blocks.end * size).min(chunk.nbytes as u64))
}

/// What to fetch of the beginning of a chunk of `nbytes` decoded bytes.
fn head_len(nbytes: u64) -> u64 {
    (nbytes / BLOCK * 4 + 512).clamp(HEAD.0, HEAD.1)
}
