//! Where the next messages and objects will be, told to files that have to be fetched.
//!
//! ```text
//! message k                                            | message k + 1
//! preamble, metadata, index | payload ... | descriptor | preamble, metadata, index | payload ...
//!                                         <- tail -> <- head ->
//! ```
//! What opening reads of a file lies around the borders of its messages and objects. The borders of objects are in
//! the index of a message. Those of messages to come are a guess: fields of one kind often have one size, and a file
//! whose messages all had the same length so far is told of the next ones, more of them each time that this was right.
//! Where lengths differ, [`scout`] looks for them. Guesses are hints; what is read is what the preambles say.

use super::Message;
use super::frame::{AMBLE, HEADER};
use super::scout;
use crate::source::Source;
use std::ops::Range;

/// Most messages that are told ahead.
const MOST: u64 = 64;
/// Objects up to this many bytes are fetched along with what is around them.
const SMALL: u64 = 64 << 10;
/// Bytes from the start of a file on that are told first, and from where on the end of it is told.
const FIRST: u64 = 64 << 10;
/// Bytes before the end of an object that are likely to have its descriptor, and those of a border within a message.
const TAIL: u64 = 2 << 10;

/// Most objects of one message that are told.
const TOLD: usize = 4096;
/// Most bytes of small messages that are told at a time; also what is told of a file that is read as a whole.
const WINDOW: u64 = 8 << 20;
/// Messages of different lengths whose borders are looked for at a time.
const SCOUTED: u64 = 1024;

/// What a file was told.
pub(super) struct Ahead<'a> {
    /// `None` for a file that is at hand.
    source: Option<&'a dyn Source>,
    /// Whether all of it is read.
    whole: bool,
    /// Length of the last message, and how many had it in a row.
    length: u64,
    alike: u32,
    /// Borders before this were told.
    told: u64,
    /// Borders before this were looked for, in messages of different lengths.
    scouted: u64,
    /// Bytes of small messages to tell next.
    window: u64,
}

/// Tells `source`, which will be opened, of its first and last bytes.
pub(super) fn tell_ends(source: &dyn Source) {
    if !source.lends() {
        source.will_need_all(&[0..FIRST, source.len().saturating_sub(TAIL)..source.len()]);
    }
}

impl<'a> Ahead<'a> {
    /// Tells `source` of its first and last bytes.
    pub(super) fn new(source: &'a dyn Source) -> Self {
        tell_ends(source);
        let source = (!source.lends()).then_some(source);
        Self { source, whole: false, length: 0, alike: 0, told: FIRST, scouted: 0, window: FIRST }
    }

    /// As [`Ahead::new`], for a reader of all bytes: payloads, too.
    pub(super) fn of_all(source: &'a dyn Source) -> Self {
        let mut ahead = Self { whole: true, window: WINDOW, ..Self::new(source) };
        ahead.pour(0);
        ahead
    }

    /// Tells where the messages after `message` are likely to begin.
    pub(super) fn passed(&mut self, message: &Message) {
        let Some(source) = self.source else { return };
        let (end, length) = (message.span.end, message.span.end - message.span.start);
        let other = self.length > 0 && length != self.length;
        self.alike = if length == self.length { self.alike + 1 } else { 0 };
        self.length = length;
        if length <= SMALL || self.whole {
            // What is read of small ones is so near each other that all is fetched.
            return self.pour(end);
        }
        let (head, tail) = margins(message);
        if other {
            let left = source.len().saturating_sub(end);
            if self.scouted <= end && scout::worth(left, length) {
                self.scouted = end + left.min(length.saturating_mul(SCOUTED));
                self.told = self.told.max(self.scouted);
                scout::follow(source, end..self.scouted, length, (tail, head));
            }
            return;
        }
        let most = (4 << self.alike.min(4)).min(MOST);
        let borders = (1..=most).map_while(|next| end.checked_add(next * length));
        let borders: Vec<u64> = borders
            .filter(|border| *border > self.told)
            .take_while(|border| *border <= source.len())
            .collect();
        let near = |border: &u64| border.saturating_sub(tail)..border.saturating_add(head);
        source.will_need_all(&borders.iter().map(near).collect::<Vec<_>>());
        self.told = borders.last().copied().unwrap_or(self.told);
    }
}

impl Ahead<'_> {
    /// Tells of all bytes from `at` on, a window at a time.
    fn pour(&mut self, at: u64) {
        if let Some(source) = self.source
            && self.told < at.saturating_add(self.window / 2)
        {
            self.window = (2 * self.window).min(WINDOW);
            let start = self.told.max(at);
            self.told = start.saturating_add(self.window);
            source.will_need(start..self.told);
        }
    }
}

/// How much of a message like this one is read at its start and at its end.
fn margins(message: &Message) -> (u64, u64) {
    let large = |frame: &Range<u64>| frame.end - frame.start > SMALL;
    let mut frames = message.objects.iter().filter(|object| large(&object.frame));
    let first = frames.clone().next();
    let head = first.map_or(AMBLE, |object| object.frame.start + HEADER - message.span.start);
    let tail = frames.next_back().map_or(TAIL, |object| message.span.end - object.region.end);
    (head, tail.min(SMALL))
}

/// Tells `source` where the objects of an index end, of a message that starts at `start`. An index isn't believed:
/// what is told is a hint.
pub(super) fn tell_objects(source: &dyn Source, start: u64, offsets: &[u64], lengths: &[u64]) {
    if source.lends() {
        return;
    }
    let ends = offsets.iter().zip(lengths).take(TOLD).filter_map(|(offset, length)| {
        let end = start.checked_add(*offset)?.checked_add(*length)?;
        Some(end.saturating_sub(TAIL)..end.saturating_add(HEADER))
    });
    source.will_need_all(&ends.collect::<Vec<_>>());
}
