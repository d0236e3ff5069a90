//! The bytes of a payload region: all at hand, or in a file from which only what a visit needs is fetched.

use super::stats::DecodeStats;
use super::windows::{Fault, Window, Windows};
use crate::Result;
use crate::source::{Bytes, Source};
use std::iter;
use std::ops::Range;
use std::time::Instant;

/// Where the payload region of an object is.
#[derive(Debug, Clone, Copy)]
pub struct Region<'a>(Place<'a>);

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Bytes(&'a [u8]),
    File { source: &'a dyn Source, start: u64, len: u64 },
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
        *lent = source.read(span)?;
        Ok(Self::from(&*lent))
    }

    fn in_file(source: &'a dyn Source, span: Range<u64>) -> Self {
        Self(Place::File { source, start: span.start, len: span.end.saturating_sub(span.start) })
    }

    /// Bytes of it.
    pub(super) fn len(self) -> u64 {
        match self.0 {
            Place::Bytes(bytes) => bytes.len() as u64,
            Place::File { len, .. } => len,
        }
    }

    /// Makes sure that the bytes of `spans` (of all, if `None`) are there. Spans may be in any order and overlap.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(super) fn fetch(
        self,
        spans: impl FnOnce() -> Option<Vec<Range<u64>>>,
        stats: &mut DecodeStats,
    ) -> Result<Held<'a>> {
        let (source, start, len) = match self.0 {
            Place::Bytes(bytes) => return Ok(Held::All(bytes)),
            Place::File { source, start, len } => (source, start, len),
        };
        let began = Instant::now();
        // What leaves the region is found by whoever looks at it.
        let spans = spans().map_or_else(|| iter::once(0..len).collect(), |spans| merged(spans, len));
        let in_file: Vec<_> = spans.iter().map(|span| start + span.start..start + span.end).collect();
        let read = source.read_ranges(&in_file);
        stats.read_time += began.elapsed();
        Ok(Held::Parts(spans.iter().map(|span| span.start).zip(read?).collect()))
    }
}

impl<'a> From<&'a Bytes> for Region<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self(Place::Bytes(bytes))
    }
}

/// `spans` within `len`, ascending, those that touch joined.
fn merged(mut spans: Vec<Range<u64>>, len: u64) -> Vec<Range<u64>> {
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

/// The bytes of a region that are there.
#[derive(Debug)]
pub(super) enum Held<'a> {
    All(&'a [u8]),
    /// Parts and where they start, ascending.
    Parts(Vec<(u64, Bytes)>),
}

impl Held<'_> {
    /// The bytes of `span`.
    ///
    /// # Errors
    /// A [`Fault`] if it wasn't asked for, or leaves the region.
    pub(super) fn get(&self, span: Range<u64>) -> Result<&[u8], Fault> {
        let (start, bytes) = match self {
            Self::All(bytes) => (0, *bytes),
            Self::Parts(parts) => {
                let after = parts.partition_point(|(start, _)| *start <= span.start);
                match after.checked_sub(1).map(|at| &parts[at]) {
                    Some((start, bytes)) => (*start, &bytes[..]),
                    None => (span.start, &[][..]),
                }
            }
        };
        let (from, to) = ((span.start - start) as usize, span.end.saturating_sub(start) as usize);
        bytes.get(from..to).ok_or_else(|| {
            Fault::new("pipeline", format!("bytes {}..{} of the payload aren't there", span.start, span.end))
        })
    }
}

/// Stored bytes, from the start of the region on.
#[derive(Debug)]
pub(super) struct Stored<'a>(pub(super) &'a Held<'a>);

impl Windows for Stored<'_> {
    fn window(&mut self, span: Range<u64>, _: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        self.0.get(span).map(Window::Lent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Memory;

    #[test]
    fn only_what_was_asked_for_is_there() {
        let file = Memory::new("x", (0..100).collect::<Vec<u8>>());
        let mut stats = DecodeStats::default();
        let held =
            Region::in_file(&file, 10..90).fetch(|| Some(vec![20..30, 0..4, 25..40, 79..99]), &mut stats);
        let held = held.unwrap();
        assert_eq!(held.get(0..4).unwrap(), [10, 11, 12, 13]);
        assert_eq!(held.get(22..40).unwrap().len(), 18);
        assert_eq!(held.get(79..80).unwrap(), [89]);
        assert!(held.get(4..4).unwrap().is_empty());
        for missing in [3..5, 4..20, 19..21, 40..41, 79..81, 500..501] {
            assert!(held.get(missing.clone()).is_err(), "{missing:?}");
        }
        let all = Region::in_file(&file, 10..90).fetch(|| None, &mut stats).unwrap();
        assert_eq!(all.get(0..80).unwrap().len(), 80);
    }
}
