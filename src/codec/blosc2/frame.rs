//! The contiguous frame and the chunks in it, parsed and checked before the C library sees a byte.
//!
//! ```text
//! frame   header | chunk 0 | chunk 1 | ... | index chunk (an i64 offset for each chunk) | trailer
//! chunk   header (16 or 32) | block starts (i32 each) | streams of the blocks, in any order
//! block   one stream, or one for each byte of an element: i32 size | bytes
//! ```
//! All chunks but the last have the same decoded size, and all blocks of a chunk but its last, so the place of
//! an element follows from divisions.

use crate::codec::region::Held;
use crate::codec::windows::Fault;
use std::ops::Range;

/// Smallest header of a frame.
const FRAME_HEADER: usize = 87;
/// Header of a chunk in the old format, and the part that all chunks have.
const SHORT_HEADER: usize = 16;
/// Header of a chunk with a filter pipeline.
const LONG_HEADER: usize = 32;
/// Entries that an index may have, besides one for each byte of the frame.
const FREE_CHUNKS: u64 = 4096;

/// Why something of a frame can't be read.
#[derive(Debug)]
pub(super) enum Flaw {
    /// The frame says what can't be.
    Broken(String),
    /// Some of these bytes of the payload weren't fetched.
    Missing(Range<u64>),
}

impl From<String> for Flaw {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

impl From<&str> for Flaw {
    fn from(what: &str) -> Self {
        Self::Broken(what.into())
    }
}

impl From<Flaw> for Fault {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Broken(what) => Fault::new("blosc2", what),
            Flaw::Missing(span) => Held::not_there(&span),
        }
    }
}

/// The bytes of a frame: all of them, or those that were fetched.
#[derive(Debug, Clone, Copy)]
pub(in crate::codec) struct Payload<'a> {
    pub(in crate::codec) held: &'a Held<'a>,
    /// Bytes of the frame, which begins where `held` does.
    pub(in crate::codec) len: u64,
}

impl<'a> Payload<'a> {
    /// The bytes of `span`, which lies within the frame.
    pub(super) fn get(&self, span: Range<u64>) -> Result<&'a [u8], Flaw> {
        self.held.find(&span).ok_or(Flaw::Missing(span))
    }
}

/// Header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) payload: Payload<'a>,
    header_len: u64,
    /// Where the chunks end and the index begins.
    pub(super) index_at: u64,
    /// Decoded bytes.
    pub(super) nbytes: u64,
    /// Decoded bytes of every chunk but the last.
    pub(super) chunk_size: u64,
    /// Number of chunks.
    pub(super) chunks: u64,
    type_size: usize,
}

/// What a chunk's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Compressed blocks.
    Blocks,
    /// The decoded bytes themselves, from here on in the payload.
    Stored(u64),
    /// One value over and over.
    Repeated(&'a [u8]),
}

/// A checked chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    payload: Payload<'a>,
    /// Where it is in the payload.
    at: u64,
    /// Its header and, of compressed blocks, the block starts.
    head: &'a [u8],
    header_len: usize,
    /// Encoded bytes.
    encoded: usize,
    type_size: usize,
    /// Decoded bytes.
    pub(super) nbytes: usize,
    /// Decoded bytes of every block but the last.
    pub(super) block_size: usize,
    pub(super) content: Content<'a>,
}

/// The compressed streams of one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockStreams<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) decoded_len: usize,
    /// A last, shorter block: always one stream.
    short: bool,
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Frame<'a> {
    /// Checks the header of a frame that should decode to `want` bytes.
    pub(super) fn parse(payload: Payload<'a>, want: u64) -> Result<Self, Flaw> {
        let len = payload.len;
        let short = || format!("a frame of {len} bytes is too short for its header");
        if len < FRAME_HEADER as u64 {
            return Err(short().into());
        }
        let bytes = payload.get(0..FRAME_HEADER as u64)?;
        if bytes[0] & 0xf0 != 0x90 || &bytes[2..10] != b"b2frame\0" {
            return Err("not a contiguous frame: no `b2frame` magic".into());
        }
        let header_len = u64::from(be32(bytes, 11).ok_or_else(short)?);
        let frame_len = be64(bytes, 16).ok_or_else(short)?;
        if frame_len != len {
            return Err(format!("the frame says {frame_len} bytes, there are {len}").into());
        }
        if header_len < FRAME_HEADER as u64 || header_len > len {
            return Err(format!("a header of {header_len} bytes in a frame of {frame_len}").into());
        }
        let (flags, kind) = (bytes[25], bytes[26] & 0x0f);
        if kind != 0 || flags & 0x70 != 0x10 {
            return Err(format!(
                "frame type {kind} with flags {flags:#04x}: only contiguous frames of fixed chunks with 64-bit offsets are read"
            )
            .into());
        }
        let nbytes = be64(bytes, 30).ok_or_else(short)?;
        let chunks_len = be64(bytes, 39).ok_or_else(short)?;
        let type_size = be32(bytes, 48).ok_or_else(short)? as usize;
        let chunk_size = u64::from(be32(bytes, 58).ok_or_else(short)?);
        if nbytes != want {
            return Err(format!("the frame holds {nbytes} bytes, wanted {want}").into());
        }
        if nbytes > 0 && (chunk_size == 0 || chunk_size > i32::MAX as u64) {
            return Err(format!("a chunk size of {chunk_size}").into());
        }
        let index_at = header_len.checked_add(chunks_len).filter(|at| *at <= len);
        let index_at =
            index_at.ok_or_else(|| format!("{chunks_len} bytes of chunks in a frame of {frame_len}"))?;
        let chunks = if nbytes == 0 { 0 } else { nbytes.div_ceil(chunk_size) };
        if chunks > FREE_CHUNKS + frame_len {
            return Err(format!("{chunks} chunks in a frame of {frame_len} bytes").into());
        }
        Ok(Self { payload, header_len, index_at, nbytes, chunk_size, chunks, type_size })
    }

    /// Encoded bytes that opening the frame reads, without the index.
    pub(super) fn header_len(&self) -> u64 {
        self.header_len
    }

    /// Where what of the header is looked at is.
    pub(super) fn head_span(&self) -> Range<u64> {
        0..FRAME_HEADER as u64
    }

    /// The chunk that holds the offsets of all others.
    pub(super) fn index(&self) -> Result<Chunk<'a>, Flaw> {
        Chunk::parse(self.payload, self.index_at..self.payload.len, self.chunks as usize * 8)
    }

    /// The decoded bytes `within` a chunk whose stored bytes begin at `at`.
    pub(super) fn stored(&self, at: u64, within: Range<usize>) -> Result<&'a [u8], Flaw> {
        self.payload.get(at + within.start as u64..at + within.end as u64)
    }

    /// Decoded bytes of chunk `n`, as positions in the frame's bytes.
    pub(super) fn span(&self, n: u64) -> Range<u64> {
        let start = n * self.chunk_size;
        start..(start + self.chunk_size).min(self.nbytes)
    }

    /// Chunk `n`, whose entry in the index is `offset`.
    pub(super) fn chunk(&self, n: u64, offset: i64) -> Result<Chunk<'a>, Flaw> {
        let span = self.span(n);
        let nbytes = (span.end - span.start) as usize;
        let Ok(offset) = u64::try_from(offset) else {
            return Ok(self.special(offset, nbytes)?);
        };
        let area = self.index_at - self.header_len;
        if offset > area {
            return Err(format!("chunk {n} at {offset} leaves the {area} bytes of chunks").into());
        }
        Chunk::parse(self.payload, self.header_len + offset..self.index_at, nbytes)
    }

    /// A chunk without bytes: its offset says what all its values are.
    fn special(&self, offset: i64, nbytes: usize) -> Result<Chunk<'a>, String> {
        let value = special_value((offset >> 56) as u8 & 0x07, self.type_size)?;
        Ok(Chunk {
            payload: self.payload,
            at: 0,
            head: &[],
            header_len: 0,
            encoded: 0,
            type_size: self.type_size,
            nbytes,
            block_size: nbytes,
            content: value,
        })
    }
}

/// What special values 1 (zeros) and 2 (NaN) repeat. Value 4 stands for memory that was never written.
fn special_value<'a>(kind: u8, type_size: usize) -> Result<Content<'a>, String> {
    const NAN32: [u8; 4] = f32::NAN.to_le_bytes();
    const NAN64: [u8; 8] = f64::NAN.to_le_bytes();
    match (kind, type_size) {
        (1, _) => Ok(Content::Repeated(&[0])),
        (2, 4) => Ok(Content::Repeated(&NAN32)),
        (2, 8) => Ok(Content::Repeated(&NAN64)),
        (2, _) => Err(format!("a chunk of NaN in elements of {type_size} bytes")),
        (4, _) => Err("a chunk that was never written".into()),
        _ => Err(format!("a chunk of unknown special values ({kind})")),
    }
}

impl<'a> Chunk<'a> {
    /// Checks the chunk at the beginning of `room` in the payload, which must decode to `want` bytes.
    fn parse(payload: Payload<'a>, room: Range<u64>, want: usize) -> Result<Self, Flaw> {
        let (at, left) = (room.start, room.end - room.start);
        let short = || format!("{left} bytes are too few for a chunk");
        if left < SHORT_HEADER as u64 {
            return Err(short().into());
        }
        let header = payload.get(at..at + SHORT_HEADER as u64)?;
        let (flags, type_size) = (header[2], usize::from(header[3]));
        let size = |at| le32(header, at).and_then(|v| usize::try_from(v).ok());
        let nbytes = size(4).ok_or_else(short)?;
        let block_size = size(8).ok_or_else(short)?;
        let encoded = size(12).ok_or_else(short)?;
        let header_len = if flags & 0x05 == 0x05 { LONG_HEADER } else { SHORT_HEADER };
        if encoded < header_len || encoded as u64 > left {
            return Err(format!("a chunk of {encoded} bytes where {left} are left").into());
        }
        if nbytes != want {
            return Err(format!("a chunk gives {nbytes} bytes, wanted {want}").into());
        }
        if type_size == 0 || (nbytes > 0 && (block_size == 0 || block_size > nbytes)) {
            return Err(format!(
                "blocks of {block_size} bytes and elements of {type_size} in a chunk of {nbytes}"
            )
            .into());
        }
        let content = Content::Blocks;
        let head = payload.get(at..at + header_len as u64)?;
        let mut chunk =
            Self { payload, at, head, header_len, encoded, type_size, nbytes, block_size, content };
        chunk.content = chunk.find_content(flags)?;
        if chunk.content == Content::Blocks {
            chunk.head = payload.get(chunk.head_span())?;
        }
        Ok(chunk)
    }

    fn find_content(&self, flags: u8) -> Result<Content<'a>, Flaw> {
        let body = self.encoded - self.header_len;
        let body_at = self.at + self.header_len as u64;
        let long = self.header_len == LONG_HEADER;
        let (filters, blosc2_flags) = if long { (&self.head[16..22], self.head[31]) } else { (&[][..], 0) };
        match (blosc2_flags >> 4) & 0x07 {
            0 => {}
            3 if body < self.type_size => return Err("a repeated value is cut off".into()),
            3 => {
                let value = self.payload.get(body_at..body_at + self.type_size as u64)?;
                return Ok(Content::Repeated(value));
            }
            kind => return Ok(special_value(kind, self.type_size)?),
        }
        if flags & 0x02 != 0 {
            if body != self.nbytes {
                return Err(format!("a stored chunk of {body} bytes, wanted {}", self.nbytes).into());
            }
            return Ok(Content::Stored(body_at));
        }
        // Dictionaries, lazy chunks and instrumented codecs are never part of a frame that a writer of the
        // format makes; the library's plugins would be looked up and loaded at run time.
        if blosc2_flags & 0x8f != 0 {
            return Err(format!("chunk flags {blosc2_flags:#04x} aren't read").into());
        }
        if let Some(filter) = filters.iter().find(|filter| !matches!(filter, 0 | 1 | 2 | 4)) {
            return Err(format!(
                "filter {filter} isn't read: only byte shuffle, bit shuffle and truncation are"
            )
            .into());
        }
        if !long && flags & 0x08 != 0 {
            return Err("the delta filter isn't read".into());
        }
        if !matches!(flags >> 5, 0 | 1 | 3 | 4) {
            return Err(format!(
                "codec format {} isn't read: only blosclz, lz4, zlib and zstd are",
                flags >> 5
            )
            .into());
        }
        if self.nbytes > 0 && body / 4 < self.blocks() {
            return Err("the block starts are cut off".into());
        }
        Ok(Content::Blocks)
    }

    /// Where what tells how the chunk is read is in the payload: nowhere, for a chunk without bytes.
    pub(super) fn head_span(&self) -> Range<u64> {
        let len = match self.content {
            Content::Blocks => self.header_len + 4 * self.blocks(),
            Content::Stored(_) => self.header_len,
            Content::Repeated(_) => self.encoded.min(self.header_len + self.type_size),
        };
        self.at..self.at + len as u64
    }

    /// Where all of it is in the payload.
    pub(super) fn span(&self) -> Range<u64> {
        self.at..self.at + self.encoded as u64
    }

    /// Where block `n` begins in the payload.
    fn start(&self, n: usize) -> Result<u64, Flaw> {
        let start = le32(self.head, self.header_len + 4 * n).and_then(|at| usize::try_from(at).ok());
        let start = start.filter(|at| (self.header_len..=self.encoded).contains(at));
        Ok(self.at + start.ok_or_else(|| format!("block {n} begins outside its chunk"))? as u64)
    }

    /// Whether the bytes of `span` are there.
    pub(super) fn is_there(&self, span: &Range<u64>) -> bool {
        self.payload.held.find(span).is_some()
    }

    /// Where blocks begin in the payload, ascending.
    pub(super) fn starts(&self) -> Vec<u64> {
        let mut starts: Vec<_> = (0..self.blocks()).filter_map(|n| self.start(n).ok()).collect();
        starts.sort_unstable();
        starts
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> usize {
        if self.nbytes == 0 { 0 } else { self.nbytes.div_ceil(self.block_size) }
    }

    /// Encoded bytes of the header.
    pub(super) fn header_len(&self) -> usize {
        self.header_len
    }

    /// Bytes of block `n` within the chunk's decoded bytes.
    pub(super) fn block_span(&self, n: usize) -> Range<usize> {
        let start = n * self.block_size;
        start..(start + self.block_size).min(self.nbytes)
    }

    /// The streams of block `n`: walks their sizes to find where they end.
    pub(super) fn streams(&self, n: usize) -> Result<BlockStreams<'a>, Flaw> {
        let decoded_len = self.block_span(n).len();
        let short = decoded_len < self.block_size;
        let room = self.start(n)?..self.span().end;
        let rest = self.payload.held.longest(&room);
        let split = !short && self.head[2] & 0x10 == 0;
        let count = if split { self.type_size } else { 1 };
        if decoded_len == 0 || !decoded_len.is_multiple_of(count) {
            return Err(format!("a block of {decoded_len} bytes in {count} streams").into());
        }
        let leaves = || match (rest.len() as u64) < room.end - room.start {
            true => Flaw::Missing(room.clone()),
            false => format!("block {n} leaves its chunk").into(),
        };
        let mut at = 0;
        for _ in 0..count {
            let size = le32(rest, at).ok_or_else(leaves)?;
            at += 4;
            at += usize::try_from(size).unwrap_or(1); // negative for a run of one byte: a token follows
            if at > rest.len() {
                return Err(leaves());
            }
        }
        Ok(BlockStreams { bytes: &rest[..at], decoded_len, short })
    }

    /// What block `n` repeats if all its streams are runs of one byte: 1 to 8 bytes, with their number. `None`
    /// also where something is wrong with the block.
    pub(super) fn run_of(&self, n: usize) -> Option<([u8; 8], usize)> {
        let streams = self.streams(n).ok()?;
        let mut rest = streams.bytes;
        let (mut planes, mut count, mut alike) = ([0; 8], 0, true);
        while !rest.is_empty() {
            // A run is stored as the negated byte and a token; one of zeros as 0 alone.
            let (byte, len) = match le32(rest, 0)? {
                0 => (0, 4),
                size @ -255..0 if rest.get(4)? & 1 == 1 => (size.unsigned_abs() as u8, 5),
                _ => return None,
            };
            planes.get_mut(count).into_iter().for_each(|plane| *plane = byte);
            alike &= byte == planes[0];
            count += 1;
            rest = &rest[len..];
        }
        let long = self.header_len == LONG_HEADER;
        let filtered = |filter, flag| match long {
            true => self.head[16..22].contains(&filter),
            false => self.head[2] & flag != 0,
        };
        let (shuffled, bits_shuffled) = (filtered(1, 0x01), filtered(2, 0x04));
        if alike {
            // Bits that differ within a byte go to different places of an element.
            return (!bits_shuffled || matches!(planes[0], 0 | 0xff)).then_some((planes, 1));
        }
        // The streams of a block are its planes, one for each byte of an element.
        let planar = shuffled && !bits_shuffled && count == self.type_size && count <= planes.len();
        planar.then_some((planes, count))
    }

    /// Length of `streams` as a chunk of their own.
    pub(super) fn wrapped_len(&self, streams: &BlockStreams<'_>) -> usize {
        self.header_len + 4 + streams.bytes.len()
    }

    /// Writes `streams` as a chunk of one block into `out`, of length [`Chunk::wrapped_len`].
    pub(super) fn wrap(&self, streams: &BlockStreams<'_>, out: &mut [u8]) -> Result<(), String> {
        let too_large = |_| "a block of more than 2 GiB".to_string();
        let decoded = i32::try_from(streams.decoded_len).map_err(too_large)?.to_le_bytes();
        let encoded = i32::try_from(out.len()).map_err(too_large)?.to_le_bytes();
        let start = self.header_len + 4;
        out[..self.header_len].copy_from_slice(&self.head[..self.header_len]);
        if streams.short {
            out[2] |= 0x10; // as a chunk's last block it has one stream, and here it isn't seen to be short
        }
        out[4..8].copy_from_slice(&decoded);
        out[8..12].copy_from_slice(&decoded);
        out[12..16].copy_from_slice(&encoded);
        out[self.header_len..start].copy_from_slice(&(start as i32).to_le_bytes());
        out[start..].copy_from_slice(streams.bytes);
        Ok(())
    }
}
