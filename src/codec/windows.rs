//! Windows on the encoded elements: the bytes between decompression (and unshuffling) and values.

use super::ElementRange;
use super::plan::Plan;
use super::scratch::AlignedBuf;
use super::shuffle::Shuffle;
use super::stats::DecodeStats;
use crate::Error;
use std::ops::Range;

/// What went wrong, and in which stage; the place is added by the pipeline.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) codec: &'static str,
    pub(super) what: String,
    /// Of the file: it says where by itself.
    pub(super) read: Option<Box<Error>>,
}

impl Fault {
    pub(super) fn new(codec: &'static str, what: impl ToString) -> Self {
        Self { codec, what: what.to_string(), read: None }
    }

    /// The file couldn't be read.
    pub(super) fn read(error: Error) -> Self {
        Self { read: Some(error.into()), ..Self::new("pipeline", "") }
    }
}

/// The bytes of one window.
#[derive(Debug)]
pub(super) enum Window<'a> {
    /// Bytes that must not be changed: of the mapped file, or of a decoded buffer.
    Lent(&'a [u8]),
    /// Bytes in an aligned buffer that nobody reads again.
    Owned(&'a mut [u8]),
    /// Packed samples that come as numbers, one for each element.
    Samples(&'a [u32]),
}

/// Access to the encoded elements, window by window, ascending within a range.
pub(super) trait Windows {
    /// The next windows lie in element range `index` of the visit.
    fn enter(&mut self, index: usize) {
        let _ = index;
    }

    /// Where a window that starts at byte `at` and should reach `want` best ends: at the end of a codec block.
    /// More than `at`; any end up to `want` may still be used.
    fn natural_end(&mut self, at: u64, want: u64) -> u64 {
        let _ = at;
        want
    }

    /// The bytes of the one value that all elements of `width` bytes (at most 8) in `span` have, where that shows
    /// without decoding them.
    fn repeated(&mut self, span: Range<u64>, width: usize, stats: &mut DecodeStats) -> Option<[u8; 8]> {
        let _ = (span, width, stats);
        None
    }

    /// The bytes of `span`.
    fn window(&mut self, span: Range<u64>, stats: &mut DecodeStats) -> Result<Window<'_>, Fault>;
}

/// All bytes are there.
#[derive(Debug)]
pub(super) struct Flat<'a>(pub(super) &'a [u8]);

impl Windows for Flat<'_> {
    fn window(&mut self, span: Range<u64>, _: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let bytes = self.0.get(span.start as usize..span.end as usize);
        bytes.map(Window::Lent).ok_or_else(|| outside(&span, self.0.len() as u64))
    }
}

/// All samples are there, as numbers of `width` bytes each in the encoded form.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    pub(super) samples: &'a [u32],
    pub(super) width: u64,
}

impl Windows for Numbers<'_> {
    fn window(&mut self, span: Range<u64>, _: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let samples = self.samples.get((span.start / self.width) as usize..(span.end / self.width) as usize);
        samples.map(Window::Samples).ok_or_else(|| outside(&span, self.samples.len() as u64 * self.width))
    }
}

/// Shuffled bytes, all of them or those of the ranges of a visit.
#[derive(Debug)]
pub(super) struct Planes<'a> {
    /// Plane after plane.
    pub(super) bytes: &'a [u8],
    /// The shuffle of the whole object.
    pub(super) whole: Shuffle,
    /// The shuffle of `bytes`: that of the whole, or one of fewer groups.
    pub(super) held: Shuffle,
    /// For each range of the visit, its first group in the object and in `bytes`; empty if `bytes` is all.
    pub(super) starts: Vec<(u64, u64)>,
    /// The entry of `starts` for the current range; (0, 0) if `bytes` is all.
    pub(super) start: (u64, u64),
    pub(super) out: &'a mut AlignedBuf,
}

impl Windows for Planes<'_> {
    fn enter(&mut self, index: usize) {
        self.start = self.starts.get(index).copied().unwrap_or_default();
    }

    fn window(&mut self, span: Range<u64>, _: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let groups = self.whole.covering(span.clone());
        let size = self.whole.size();
        let lead = (span.start - groups.start * size) as usize;
        let len = (span.end - span.start) as usize;
        let out = self.out.take(((groups.end - groups.start) * size) as usize)?;
        let (object, held) = self.start;
        let held = groups.start - object + held..groups.end - object + held;
        self.held.unshuffle(self.bytes, held, out).map_err(|e| Fault::new("shuffle", e))?;
        if lead > 0 {
            out.copy_within(lead..lead + len, 0); // so that the values are aligned
        }
        Ok(Window::Owned(&mut out[..len]))
    }
}

/// Collects the plane bytes that `ranges` need from a codec that can seek, and nothing else. Returns for each
/// range its first group in the object and in the collected planes, and the number of groups collected.
pub(super) fn collect_planes<W: Windows>(
    plan: &Plan,
    shuffle: &Shuffle,
    ranges: &[ElementRange],
    source: &mut W,
    out: &mut AlignedBuf,
    stats: &mut DecodeStats,
) -> Result<(Vec<(u64, u64)>, u64), Fault> {
    let groups: Vec<Range<u64>> =
        ranges.iter().map(|r| shuffle.covering(plan.bytes_of(r.start, r.start + r.count))).collect();
    let mut total = 0;
    let starts = groups.iter().map(|g| {
        let start = (g.start, total);
        total += g.end - g.start;
        start
    });
    let starts: Vec<_> = starts.collect();
    let out = out.take((total * shuffle.size()) as usize)?;
    let mut at = 0;
    for plane in 0..shuffle.size() {
        let base = plane * shuffle.elements();
        for group in &groups {
            let len = (group.end - group.start) as usize;
            copy_span(source, base + group.start..base + group.end, &mut out[at..at + len], stats)?;
            at += len;
        }
    }
    Ok((starts, total))
}

/// Copies the bytes of `span` into `out`, codec block by codec block.
pub(super) fn copy_span<W: Windows>(
    source: &mut W,
    span: Range<u64>,
    out: &mut [u8],
    stats: &mut DecodeStats,
) -> Result<(), Fault> {
    let mut at = span.start;
    while at < span.end {
        let end = source.natural_end(at, span.end).clamp(at + 1, span.end);
        let out = &mut out[(at - span.start) as usize..(end - span.start) as usize];
        match source.window(at..end, stats)? {
            Window::Lent(bytes) => out.copy_from_slice(bytes),
            Window::Owned(bytes) => out.copy_from_slice(bytes),
            Window::Samples(_) => return Err(Fault::new("shuffle", "samples came as numbers")),
        }
        at = end;
    }
    Ok(())
}

/// An error that means a mistake in this module, told rather than panicked about.
pub(super) fn outside(span: &Range<u64>, len: u64) -> Fault {
    Fault::new("pipeline", format!("bytes {}..{} leave {len} decoded bytes", span.start, span.end))
}
