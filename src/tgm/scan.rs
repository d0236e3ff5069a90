//! Where the messages of a file are: a forward hop from one to the next.
//!
//! Nothing but preambles and postambles is looked at, and of messages of unknown length the frame headers. What
//! lies between messages is passed over up to the next magic. A message that is recognisably there but broken
//! is reported as its error; the search goes on after the part of it that is sound.

use super::frame::{AMBLE, END_MAGIC, MAGIC, Next, next_in_stream};
use super::window::{Window, be_u64};
use crate::source::Source;
use crate::{Error, Place, Result};
use std::ops::Range;

/// The version of the format that is read and written.
pub(super) const VERSION: u16 = 3;

/// A message whose ends are known; its frames aren't looked at yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Envelope {
    /// Bytes of the message in the file.
    pub(super) span: Range<u64>,
    /// Preamble flags.
    pub(super) flags: u16,
}

/// One step of the scan: the envelope or what is wrong with it, and where to go on.
struct Hop {
    found: Result<Envelope>,
    resume: u64,
}

/// What a preamble says.
struct Preamble {
    flags: u16,
    /// Bytes of the whole message; 0 for unknown.
    total_length: u64,
}

/// The messages of a file, found one after the other.
pub(super) struct Scan<'a> {
    source: &'a dyn Source,
    /// Named in errors.
    file: Place,
    pos: u64,
    /// Messages found so far, and those of them that are broken.
    found: u64,
    broken: u64,
    broken_limit: u64,
}

impl<'a> Scan<'a> {
    /// All messages of `source`, of which at most `broken_limit` may have a broken envelope.
    pub(super) fn new(source: &'a dyn Source, broken_limit: u64) -> Self {
        let file = Place::file(source.name().clone());
        Self { source, file, pos: 0, found: 0, broken: 0, broken_limit }
    }

    /// The next message, or what is wrong with it; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read; [`Error::Limit`] for too many broken messages.
    pub(super) fn next(&mut self) -> Result<Option<Result<Envelope>>> {
        let window = Window { source: self.source, at: &self.file, end: self.source.len() };
        let Some(start) = find_magic(window, self.pos)? else { return Ok(None) };
        let at = self.file.message(self.found);
        let hop = hop(Window { at: &at, ..window }, start)?;
        self.source.done_with(self.pos..hop.resume);
        self.pos = hop.resume;
        if let Err(error) = &hop.found {
            if let Error::Io { .. } = error {
                return Err(error.clone());
            }
            self.broken += 1;
            if self.broken > self.broken_limit {
                let (what, limit) = ("number of broken messages", self.broken_limit);
                return Err(Error::Limit { at: self.file.clone(), what, got: self.broken, limit });
            }
        }
        self.found += 1;
        Ok(Some(hop.found))
    }
}

/// The next position from `pos` on that looks like a message: the magic and a version below 256, so that a stray
/// magic in text isn't taken for one. The end of the file right after a magic is a message cut short.
fn find_magic(window: Window<'_>, pos: u64) -> Result<Option<u64>> {
    let hit =
        |ahead: &[u8]| (ahead.starts_with(MAGIC) && matches!(ahead.get(8), None | Some(0))).then_some(());
    Ok(window.find(pos, MAGIC.len() + 1, hit)?.map(|(pos, ())| pos))
}

/// The message at `start`, where the magic is.
fn hop(window: Window<'_>, start: u64) -> Result<Hop> {
    let preamble = match preamble(window, start) {
        Ok(preamble) => preamble,
        Err(error) => return Ok(Hop { found: Err(error), resume: start + MAGIC.len() as u64 }),
    };
    if preamble.total_length == 0 {
        return Ok(stream(window, start, preamble.flags));
    }
    match length_checked(window, start, preamble.total_length) {
        Ok(end) => {
            let found = postamble(window, start..end, preamble.total_length)
                .map(|()| Envelope { span: start..end, flags: preamble.flags });
            Ok(Hop { found, resume: end })
        }
        Err(error) => Ok(Hop { found: Err(error), resume: start + MAGIC.len() as u64 }),
    }
}

/// Reads the preamble at `start`; the magic is known to be right.
fn preamble(window: Window<'_>, start: u64) -> Result<Preamble> {
    let bytes: [u8; AMBLE as usize] = window.array(start, "preamble")?;
    let version = u16::from_be_bytes([bytes[8], bytes[9]]);
    if version != VERSION {
        let what = format!("message at byte {start} is of version {version}, expected {VERSION}");
        return Err(Error::framing(window.at, what));
    }
    Ok(Preamble { flags: u16::from_be_bytes([bytes[10], bytes[11]]), total_length: be_u64(&bytes, 16) })
}

/// The end of a message of known length, if the end magic is there.
fn length_checked(window: Window<'_>, start: u64, length: u64) -> Result<u64> {
    let bad = |what: String| Error::framing(window.at, format!("message at byte {start}: {what}"));
    if length < 2 * AMBLE {
        return Err(bad(format!("total length {length}, the minimum is {}", 2 * AMBLE)));
    }
    let end = start.checked_add(length).filter(|end| *end <= window.end).ok_or_else(|| {
        bad(format!("total length {length}, but the file ends after {} bytes of it", window.end - start))
    })?;
    let magic: [u8; 8] = window.array(end - END_MAGIC.len() as u64, "end magic")?;
    if &magic != END_MAGIC {
        return Err(bad(format!("no end magic after its {length} bytes")));
    }
    Ok(end)
}

/// Checks the length that the postamble of the message at `span` gives; 0 stands for unknown.
fn postamble(window: Window<'_>, span: Range<u64>, length: u64) -> Result<()> {
    let bytes: [u8; AMBLE as usize] = window.array(span.end - AMBLE, "postamble")?;
    let said = be_u64(&bytes, 8);
    if said != 0 && said != length {
        let what = format!("message at byte {} has {length} bytes, its postamble says {said}", span.start);
        return Err(Error::framing(window.at, what));
    }
    Ok(())
}

/// A message of unknown length: its frames are walked until the postamble.
///
/// A broken one resumes after its last sound frame, so that no byte is walked twice.
fn stream(window: Window<'_>, start: u64, flags: u16) -> Hop {
    let mut pos = start + AMBLE;
    let found = loop {
        match next_in_stream(window, pos) {
            Ok(Next::Frame(frame)) => pos = frame.span.end,
            Ok(Next::Postamble(postamble_at)) => {
                let end = postamble_at + AMBLE;
                pos = end;
                break postamble(window, start..end, end - start)
                    .map(|()| Envelope { span: start..end, flags });
            }
            Ok(Next::Message | Next::End) => {
                let what = format!(
                    "message at byte {start} of unknown length has no postamble after its last frame, which ends at byte {pos}"
                );
                break Err(Error::framing(window.at, what));
            }
            Err(error) => break Err(error),
        }
    };
    Hop { found, resume: pos }
}
