//! Frames: header and footer of one, and the walk from one to the next.
//!
//! ```text
//! "FR" type version flags length(8) | body | [cbor_offset(8)] hash(8) "ENDF" | padding to 8
//! ```

use super::window::{Window, be_u64};
use crate::{Error, Result};
use std::ops::Range;

/// Starts a message.
pub(super) const MAGIC: &[u8; 8] = b"TENSOGRM";
/// Ends a message.
pub(super) const END_MAGIC: &[u8; 8] = b"39277777";
/// Bytes of the preamble, and of the postamble.
pub(super) const AMBLE: u64 = 24;
/// Bytes of a frame header.
pub(super) const HEADER: u64 = 16;

/// Starts a frame.
pub(super) const FRAME_MAGIC: &[u8; 2] = b"FR";
/// Ends a frame.
pub(super) const FRAME_END: &[u8; 4] = b"ENDF";
/// Frames, and the postamble, start at multiples of this from the start of the message.
pub(super) const ALIGN: u64 = 8;
/// Frame flag: the descriptor stands after the payload.
pub(super) const CBOR_AFTER_PAYLOAD: u16 = 1;
/// Frame flag: the hash slot holds a digest.
pub(super) const HASH_PRESENT: u16 = 2;

/// Preamble flags, by what they announce.
pub(super) mod flags {
    pub(in crate::tgm) const HEADER_METADATA: u16 = 1;
    pub(in crate::tgm) const FOOTER_METADATA: u16 = 1 << 1;
    pub(in crate::tgm) const HEADER_INDEX: u16 = 1 << 2;
    pub(in crate::tgm) const FOOTER_INDEX: u16 = 1 << 3;
    pub(in crate::tgm) const HEADER_HASH: u16 = 1 << 4;
    pub(in crate::tgm) const FOOTER_HASH: u16 = 1 << 5;
    /// Preceders may be there.
    pub(in crate::tgm) const PRECEDERS: u16 = 1 << 6;
    /// Every frame has a hash.
    pub(in crate::tgm) const HASHES: u16 = 1 << 7;
}

/// Type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    HeaderMetadata,
    HeaderIndex,
    HeaderHash,
    FooterHash,
    FooterIndex,
    FooterMetadata,
    Preceder,
    Object,
}

/// Part of a message that a frame may stand in; they follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Header,
    Body,
    Footer,
}

impl Kind {
    /// The kind of a wire number; unknown frames can't be skipped.
    fn of(number: u16) -> std::result::Result<Self, String> {
        Ok(match number {
            1 => Self::HeaderMetadata,
            2 => Self::HeaderIndex,
            3 => Self::HeaderHash,
            4 => return Err("frame type 4 is that of version 2 objects; version 3 has 9".into()),
            5 => Self::FooterHash,
            6 => Self::FooterIndex,
            7 => Self::FooterMetadata,
            8 => Self::Preceder,
            9 => Self::Object,
            other => return Err(format!("unknown frame type {other}")),
        })
    }

    /// The wire number.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::HeaderMetadata => 1,
            Self::HeaderIndex => 2,
            Self::HeaderHash => 3,
            Self::FooterHash => 5,
            Self::FooterIndex => 6,
            Self::FooterMetadata => 7,
            Self::Preceder => 8,
            Self::Object => 9,
        }
    }

    /// For errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HeaderMetadata => "header metadata frame",
            Self::HeaderIndex => "header index frame",
            Self::HeaderHash => "header hash frame",
            Self::FooterHash => "footer hash frame",
            Self::FooterIndex => "footer index frame",
            Self::FooterMetadata => "footer metadata frame",
            Self::Preceder => "preceder frame",
            Self::Object => "object frame",
        }
    }

    pub(super) fn phase(self) -> Phase {
        match self {
            Self::HeaderMetadata | Self::HeaderIndex | Self::HeaderHash => Phase::Header,
            Self::Preceder | Self::Object => Phase::Body,
            Self::FooterHash | Self::FooterIndex | Self::FooterMetadata => Phase::Footer,
        }
    }

    /// Bytes of the footer, `ENDF` included.
    pub(super) fn footer(self) -> u64 {
        match self {
            Self::Object => 20,
            _ => 12,
        }
    }
}

/// One frame, its header and footer checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Bytes of the frame in the file, padding excluded.
    pub(super) span: Range<u64>,
    /// Stored digest of the body, where the frame says that it has one.
    pub(super) hash: Option<u64>,
    /// Whether the descriptor stands after the payload (objects only).
    pub(super) cbor_after_payload: bool,
    /// Start of the descriptor, counted from the frame (objects only; unchecked).
    pub(super) cbor_offset: u64,
}

impl Frame {
    /// The frame whose header starts at `pos`.
    ///
    /// # Errors
    /// [`Error::Framing`] for an unknown type, a length below the minimum or beyond the window, a missing `ENDF`.
    pub(super) fn parse(window: Window<'_>, pos: u64) -> Result<Self> {
        let header: [u8; HEADER as usize] = window.array(pos, "frame header")?;
        let bad = |what: String| Error::framing(window.at, format!("frame at byte {pos}: {what}"));
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if &header[..2] != FRAME_MAGIC {
            return Err(bad("no frame magic".into()));
        }
        let (kind, flags) = (Kind::of(word(2)).map_err(bad)?, word(6));
        let length = be_u64(&header, 8);
        let minimum = HEADER + kind.footer();
        if length < minimum {
            return Err(bad(format!("{} of {length} bytes, the minimum is {minimum}", kind.name())));
        }
        let end = pos.checked_add(length).filter(|end| *end <= window.end).ok_or_else(|| {
            bad(format!("{} of {length} bytes, only {} are left", kind.name(), window.end - pos))
        })?;
        let tail: [u8; 20] = window.array(end - 20, "frame footer")?;
        if &tail[16..] != FRAME_END {
            return Err(bad(format!("{} of {length} bytes doesn't end with ENDF", kind.name())));
        }
        Ok(Self {
            kind,
            span: pos..end,
            hash: (flags & HASH_PRESENT != 0).then_some(be_u64(&tail, 8)),
            cbor_after_payload: flags & CBOR_AFTER_PAYLOAD != 0,
            cbor_offset: be_u64(&tail, 0),
        })
    }

    /// Bytes between header and footer, in the file: what the hash covers.
    pub(super) fn body(&self) -> Range<u64> {
        self.span.start + HEADER..self.span.end - self.kind.footer()
    }
}

/// What comes next in a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// A frame.
    Frame(Frame),
    /// The postamble of a message of unknown length starts here.
    Postamble(u64),
    /// Another message starts here: this one has lost its end.
    Message,
    /// The window ends.
    End,
}

/// The next thing from `pos` on in a message whose end is known: `window` ends where the postamble starts.
///
/// Bytes that aren't a frame are passed over one by one, as padding is.
///
/// # Errors
/// As [`Frame::parse`].
pub(super) fn next_frame(window: Window<'_>, pos: u64) -> Result<Next> {
    match window.find(pos, FRAME_MAGIC.len(), |ahead| ahead.starts_with(FRAME_MAGIC).then_some(()))? {
        Some((pos, ())) => Frame::parse(window, pos).map(Next::Frame),
        None => Ok(Next::End),
    }
}

/// The next thing from `pos` on in a message of unknown length.
///
/// The end magic counts only where a frame could start: never inside a frame.
///
/// # Errors
/// As [`Frame::parse`].
pub(super) fn next_in_stream(window: Window<'_>, pos: u64) -> Result<Next> {
    #[derive(PartialEq)]
    enum Mark {
        Frame,
        Postamble,
        Message,
    }
    let hit = |ahead: &[u8]| {
        if ahead.starts_with(FRAME_MAGIC) {
            Some(Mark::Frame)
        } else if ahead.get(16..24) == Some(END_MAGIC) {
            Some(Mark::Postamble)
        } else {
            ahead.starts_with(MAGIC).then_some(Mark::Message)
        }
    };
    match window.find(pos, AMBLE as usize, hit)? {
        Some((pos, Mark::Frame)) => Frame::parse(window, pos).map(Next::Frame),
        Some((pos, Mark::Postamble)) => Ok(Next::Postamble(pos)),
        Some((_, Mark::Message)) => Ok(Next::Message),
        None => Ok(Next::End),
    }
}
