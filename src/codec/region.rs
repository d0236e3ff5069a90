//! The bytes of a payload region: all at hand, or in a file from which only what a visit needs is fetched.

use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::windows::{Fault, Window, Windows};
use crate::Result;
use crate::source::{Bytes, Source};
use std::cmp::Reverse;
use std::iter;
use std::ops::Range;
use std::time::Instant;

/// Where the payload region of an object is.
#[derive(Debug, Clone, Copy)]
pub struct Region<'a>(Place<'a>);

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Bytes(&'a [u8]),
    /// Bytes of a file, which may rather copy some of them.
    Lent {
        bytes: &'a [u8],
        source: &'a dyn Source,
        start: u64,
    },
    File {
        source: &'a dyn Source,
        start: u64,
        len: u64,
    },
}

impl<'a> Region<'a> {
    /// The region at `span` of a file: its bytes, in `lent`, where the file lends them ([`Source::lends`]); of any other
    /// a visit reads what it needs.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn of(source: &'a dyn Source, span: Range<u64>, lent: &'a mut Bytes) -> Result<Self> {
        if !source.lends() {
            return Ok(Self::in_file(source, span));
        }
        let start = span.start;
        *lent = source.read(span)?;
        Ok(Self(Place::Lent { bytes: lent, source, start }))
    }

    fn in_file(source: &'a dyn Source, span: Range<u64>) -> Self {
        Self(Place::File { source, start: span.start, len: span.end.saturating_sub(span.start) })
    }

    /// Bytes of it.
    pub(super) fn len(self) -> u64 {
        match self.0 {
            Place::Bytes(bytes) | Place::Lent { bytes, .. } => bytes.len() as u64,
            Place::File { len, .. } => len,
        }
    }

    /// The file that lent its bytes, and where in it they start.
    fn lender(self) -> Option<(&'a dyn Source, u64)> {
        match self.0 {
            Place::Lent { source, start, .. } => Some((source, start)),
            Place::Bytes(_) | Place::File { .. } => None,
        }
    }

    /// [`Source::round_trip`] of the file that it is in.
    pub(super) fn round_trip(self) -> u64 {
        match self.0 {
            Place::Bytes(_) | Place::Lent { .. } => 0,
            Place::File { source, .. } => source.round_trip(),
        }
    }

    /// Has the bytes that a visit looks at: `spans` says of which it knows, given those that are there (at first those of
    /// `known`), until they all are; `None` is all bytes. Spans may be in any order and overlap.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(super) fn fetch(
        self,
        known: impl FnOnce() -> Parts,
        mut spans: impl FnMut(&Held<'_>) -> Option<Vec<Range<u64>>>,
        stats: &mut DecodeStats,
    ) -> Result<Held<'a>> {
        let (source, start, len) = match self.0 {
            Place::Bytes(bytes) | Place::Lent { bytes, .. } => return Ok(Held::All(bytes)),
            Place::File { source, start, len } => (source, start, len),
        };
        let mut held = Held::Parts(known());
        loop {
            let whole = || iter::once(0..len).collect();
            // What leaves the region is found by whoever looks at it.
            let mut wanted = spans(&held).map_or_else(whole, |spans| merged(spans, len));
            wanted.retain(|span| held.find(span).is_none());
            if wanted.is_empty() {
                return Ok(held);
            }
            let began = Instant::now();
            let in_file: Vec<_> = wanted.iter().map(|span| start + span.start..start + span.end).collect();
            let read = source.read_ranges(&in_file);
            stats.read_time += began.elapsed();
            if let Held::Parts(parts) = &mut held {
                parts.add(wanted.iter().map(|span| span.start).zip(read?));
            }
        }
    }
}

impl<'a> From<&'a Bytes> for Region<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self(Place::Bytes(bytes))
    }
}

/// `spans` within `len`, ascending, those that touch joined.
pub(super) fn merged(mut spans: Vec<Range<u64>>, len: u64) -> Vec<Range<u64>> {
    spans.iter_mut().for_each(|span| span.end = span.end.min(len));
    spans.retain(|span| span.start < span.end);
    spans.sort_unstable_by_key(|span| span.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// What a visit looks at of a region.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// As far as it is known; in any order, and they may overlap.
    pub(super) spans: Vec<Range<u64>>,
    /// What tells where the rest is, as far as it is there.
    pub(super) heads: Vec<Range<u64>>,
}

impl Needs {
    /// These spans and nothing else.
    pub(super) fn of(spans: Vec<Range<u64>>) -> Self {
        Self { spans, heads: Vec::new() }
    }
}

/// Parts of a region.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts(
    /// With where they start; starts ascend, and so do ends.
    Vec<(u64, Bytes)>,
);

impl Parts {
    /// Adds `parts`, with where they start.
    pub(super) fn add(&mut self, parts: impl IntoIterator<Item = (u64, Bytes)>) {
        self.0.extend(parts);
        self.0.sort_by_key(|(start, bytes)| (*start, Reverse(bytes.len())));
        let mut end = 0;
        self.0.retain(|(start, bytes)| {
            let reach = start + bytes.len() as u64;
            let more = reach > end;
            end = end.max(reach);
            more
        });
    }

    /// Whether all of `span` is in one part.
    pub(super) fn has(&self, span: &Range<u64>) -> bool {
        self.from(span.start).len() as u64 >= span.end - span.start
    }

    /// The bytes from `at` on that one part has.
    fn from(&self, at: u64) -> &[u8] {
        let after = self.0.partition_point(|(start, _)| *start <= at);
        let part = after.checked_sub(1).map(|part| &self.0[part]);
        part.and_then(|(start, bytes)| bytes.get((at - start) as usize..)).unwrap_or_default()
    }
}

/// The bytes of a region that are there.
#[derive(Debug)]
pub(super) enum Held<'a> {
    All(&'a [u8]),
    Parts(Parts),
}

impl Held<'_> {
    /// The bytes of `span`.
    ///
    /// # Errors
    /// A [`Fault`] if it wasn't asked for, or leaves the region.
    pub(super) fn get(&self, span: Range<u64>) -> Result<&[u8], Fault> {
        self.find(&span).ok_or_else(|| Self::not_there(&span))
    }

    /// The bytes of `span`, if they are all there.
    pub(super) fn find(&self, span: &Range<u64>) -> Option<&[u8]> {
        let bytes = self.longest(span);
        (bytes.len() as u64 == span.end.checked_sub(span.start)?).then_some(bytes)
    }

    /// The bytes of `span` as far as they are there, from its start on.
    pub(super) fn longest(&self, span: &Range<u64>) -> &[u8] {
        let bytes = match self {
            Self::All(bytes) => bytes.get(span.start as usize..).unwrap_or_default(),
            Self::Parts(parts) => parts.from(span.start),
        };
        let len = span.end.saturating_sub(span.start).min(bytes.len() as u64);
        &bytes[..len as usize]
    }

    /// That bytes of the payload are looked at that nobody asked for.
    pub(super) fn not_there(span: &Range<u64>) -> Fault {
        Fault::new("pipeline", format!("bytes {}..{} of the payload aren't there", span.start, span.end))
    }
}

/// Bytes of a window from which on it is copied where a file offers that: below, a call costs more than a page or two.
const COPIED: u64 = 16 << 10;

/// Stored bytes, from the start of the region on.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) region: Region<'a>,
    pub(super) held: &'a Held<'a>,
    /// What was copied last.
    pub(super) out: &'a mut AlignedBuf,
}

impl Windows for Stored<'_> {
    fn window(&mut self, span: Range<u64>, stats: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let lent = self.held.get(span.clone())?;
        let large = span.end - span.start >= COPIED;
        let Some((source, start)) = self.region.lender().filter(|_| large) else {
            return Ok(Window::Lent(lent));
        };
        let out = self.out.take(lent.len())?;
        match source.copy(start + span.start, out) {
            Ok(true) => {
                stats.bytes_copied += span.end - span.start;
                Ok(Window::Owned(out))
            }
            Ok(false) => Ok(Window::Lent(lent)),
            Err(e) => Err(Fault::read(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::source::{Memory, Stamp};
    use std::io;
    use std::sync::Arc;

    #[test]
    fn only_what_was_asked_for_is_there() {
        let file = Memory::new("x", (0..100).collect::<Vec<u8>>());
        let mut stats = DecodeStats::default();
        let region = Region::in_file(&file, 10..90);
        let spans = |_: &Held<'_>| Some(vec![20..30, 0..4, 25..40, 79..99]);
        let held = region.fetch(Parts::default, spans, &mut stats).unwrap();
        assert_eq!(held.get(0..4).unwrap(), [10, 11, 12, 13]);
        assert_eq!(held.get(22..40).unwrap().len(), 18);
        assert_eq!(held.get(79..80).unwrap(), [89]);
        assert!(held.get(4..4).unwrap().is_empty());
        for missing in [3..5, 4..20, 19..21, 40..41, 79..81, 500..501] {
            assert!(held.get(missing.clone()).is_err(), "{missing:?}");
        }
        let all = region.fetch(Parts::default, |_| None, &mut stats).unwrap();
        assert_eq!(all.get(0..80).unwrap().len(), 80);
    }

    /// A file that copies what is far enough in, and can't be read at its end.
    #[derive(Debug)]
    struct Copying(Memory);

    impl Source for Copying {
        fn name(&self) -> &Arc<str> {
            self.0.name()
        }
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn stamp(&self) -> &Stamp {
            self.0.stamp()
        }
        fn read(&self, range: Range<u64>) -> Result<Bytes> {
            self.0.read(range)
        }
        fn copy(&self, at: u64, out: &mut [u8]) -> Result<bool> {
            if at + out.len() as u64 > 5 * COPIED {
                return Err(Error::io(self.0.name().clone(), io::ErrorKind::UnexpectedEof.into()));
            }
            out.copy_from_slice(&self.0.read(at..at + out.len() as u64)?);
            Ok(at >= 2 * COPIED)
        }
    }

    #[test]
    fn stored_bytes_are_copied_where_that_is_offered() {
        let bytes: Vec<u8> = (0..6 * COPIED).map(|i| (i % 251) as u8).collect();
        let file = Copying(Memory::new("x", bytes.clone()));
        let (mut lent, mut out, mut stats) = (Bytes::new(), AlignedBuf::default(), DecodeStats::default());
        let region = Region::of(&file, 10..6 * COPIED, &mut lent).unwrap();
        let held = region.fetch(Parts::default, |_| None, &mut stats).unwrap();
        let mut stored = Stored { region, held: &held, out: &mut out };
        for (span, copied) in [
            (0..COPIED, false),
            (2 * COPIED..3 * COPIED - 1, false),
            (2 * COPIED..3 * COPIED, true),
            (3 * COPIED..5 * COPIED - 10, true),
        ] {
            let before = stats.bytes_copied;
            let want = &bytes[span.start as usize + 10..span.end as usize + 10];
            match stored.window(span.clone(), &mut stats).unwrap() {
                Window::Owned(bytes) => assert!(copied && *bytes == *want, "{span:?}"),
                Window::Lent(bytes) => assert!(!copied && *bytes == *want, "{span:?}"),
                Window::Samples(_) => panic!("bytes are no samples"),
            }
            assert_eq!(stats.bytes_copied - before, if copied { span.end - span.start } else { 0 });
        }
        let fault = stored.window(4 * COPIED..5 * COPIED, &mut stats).unwrap_err();
        assert!(matches!(fault.read.as_deref(), Some(Error::Io { .. })), "{fault:?}");
        assert!(stored.window(5 * COPIED..6 * COPIED, &mut stats).is_err_and(|fault| fault.read.is_none()));
    }

    #[test]
    fn what_is_known_shows_what_else_is_needed() {
        let file = Memory::new("x", (0..100).collect::<Vec<u8>>());
        let mut rounds = Vec::new();
        // A list: each entry says where the next is.
        let next = |held: &Held<'_>| {
            let mut at = 3;
            while let Some(&[next]) = held.find(&(at..at + 1)) {
                if next > 60 {
                    return Some(Vec::new());
                }
                at = u64::from(next);
            }
            rounds.push(at);
            Some(iter::once(at..at + 1).collect())
        };
        let mut known = Parts::default();
        known.add([(2, Bytes::from_static(&[0, 17, 0])), (3, Bytes::from_static(&[0]))]);
        let held = Region::in_file(&file, 10..90).fetch(|| known, next, &mut DecodeStats::default()).unwrap();
        assert_eq!(rounds, [17, 27, 37, 47, 57]);
        assert_eq!(held.longest(&(3..9)), [17, 0]);
        assert_eq!(held.longest(&(47..60)), [57]);
        assert!(held.longest(&(48..60)).is_empty() && held.find(&(3..6)).is_none());
    }
}
