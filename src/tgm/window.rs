//! A bounded view of a file: every read of the framing goes through here and is checked against its end.

use crate::source::{Bytes, Source};
use crate::{Error, Place, Result};
use std::ops::Range;

/// Bytes read at a time where there is something to search through.
const SEARCH_CHUNK: u64 = 64 << 10;

/// Part of a file, from its start up to `end`, with the place that errors name. Positions are those of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    /// Where the bytes are.
    pub(super) source: &'a dyn Source,
    /// Named in errors.
    pub(super) at: &'a Place,
    /// Nothing at or beyond this position is read.
    pub(super) end: u64,
}

impl Window<'_> {
    /// The bytes of `range`.
    ///
    /// # Errors
    /// [`Error::Framing`] if it is reversed or leaves the window; [`Error::Io`] if it can't be read.
    pub(super) fn read(self, range: Range<u64>, what: &str) -> Result<Bytes> {
        if range.start > range.end || range.end > self.end {
            let Range { start, end } = range;
            let what = format!("{what} at bytes {start}..{end} leaves the {} bytes that are there", self.end);
            return Err(Error::framing(self.at, what));
        }
        self.source.read(range)
    }

    /// The `N` bytes at `pos`.
    ///
    /// # Errors
    /// As [`Window::read`].
    pub(super) fn array<const N: usize>(self, pos: u64, what: &str) -> Result<[u8; N]> {
        let end = pos.saturating_add(N as u64);
        let bytes = self.read(pos..end, what)?;
        bytes.first_chunk().copied().ok_or_else(|| Error::framing(self.at, format!("{what} is cut short")))
    }

    /// The first position from `pos` on at which `hit` says so; it is handed the bytes from that position on,
    /// `lookahead` of them except near the end of the window. Reads piece by piece.
    ///
    /// # Errors
    /// [`Error::Io`] if the bytes can't be read.
    pub(super) fn find<T>(
        self,
        mut pos: u64,
        lookahead: usize,
        hit: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<(u64, T)>> {
        // The first piece is short: nearly always the answer is within a few bytes of padding.
        let mut piece = 64;
        while pos < self.end {
            let stop = pos.saturating_add(piece).min(self.end);
            let with_lookahead = stop.saturating_add(lookahead as u64).min(self.end);
            let bytes = self.source.read(pos..with_lookahead)?;
            for i in 0..(stop - pos) as usize {
                let ahead = &bytes[i..bytes.len().min(i + lookahead)];
                if let Some(found) = hit(ahead) {
                    return Ok(Some((pos + i as u64, found)));
                }
            }
            (pos, piece) = (stop, SEARCH_CHUNK);
        }
        Ok(None)
    }
}

/// The big-endian u64 at `at` of `bytes`; 0 where they end before it, which callers rule out by their types.
pub(super) fn be_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).copied().map_or(0, u64::from_be_bytes)
}
