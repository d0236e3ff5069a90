//! Borders of messages that differ in length, in a file far away.
//!
//! A border is only known from the preamble before it: followed from the start, each costs a round trip. So they are
//! followed from several places side by side:
//! ```text
//! range    |m|  m  |m| m |  m  |m| m  |  m   |m|
//! parts    0           1           2                  0 starts at a border, the others search for the next magic
//! round    one request of each part: its next border, with what a reader looks at around it
//! ```
//! What looks like a preamble may be payload. That costs a request or two: what is found is a hint, and stays with the
//! source for whoever reads the file by its preambles.

use super::frame::{AMBLE, MAGIC};
use super::scan::VERSION;
use super::window::be_u64;
use crate::source::Source;
use std::ops::Range;

/// Parts at most.
const PARTS: u64 = 16;
/// Messages of a part at least, as far as can be guessed.
const WORTH: u64 = 4;
/// Rounds at most: messages may be shorter than they looked, or none at all.
const ROUNDS: usize = 512;
/// Bytes that are searched in a round.
const PIECE: u64 = 256 << 10;

/// Whether `bytes` with messages of about `length` each are worth it.
pub(super) fn worth(bytes: u64, length: u64) -> bool {
    bytes / length.max(1) >= 2 * WORTH
}

/// One that follows the borders of its part.
struct Scout {
    /// The next border, or where to search for it.
    at: u64,
    searching: bool,
    end: u64,
}

/// Has `source` fetch what is `before` and `after` each border in `range`, which starts at one; messages are of about
/// `length` bytes.
pub(super) fn follow(source: &dyn Source, range: Range<u64>, length: u64, (before, after): (u64, u64)) {
    let bytes = range.end - range.start;
    let parts = (bytes / length.max(1) / WORTH).clamp(1, PARTS);
    let place = |part: u64| range.start + (u128::from(bytes) * u128::from(part) / u128::from(parts)) as u64;
    let mut scouts: Vec<Scout> =
        (0..parts).map(|part| Scout { at: place(part), searching: part > 0, end: place(part + 1) }).collect();
    for _ in 0..ROUNDS {
        let wanted: Vec<Range<u64>> =
            scouts.iter().map(|scout| scout.wants(before, after, source.len())).collect();
        let Ok(read) = source.read_ranges(&wanted) else { return };
        let mut next = Vec::with_capacity(scouts.len());
        for ((mut scout, span), bytes) in scouts.into_iter().zip(wanted).zip(read) {
            scout.look(span.start, &bytes, source.len());
            next.extend((scout.at < scout.end).then_some(scout));
        }
        scouts = next;
        if scouts.is_empty() {
            return;
        }
    }
}

impl Scout {
    fn wants(&self, before: u64, after: u64, len: u64) -> Range<u64> {
        match self.searching {
            // A magic at the end of the piece is found with its preamble.
            true => self.at..self.at.saturating_add(PIECE + AMBLE).min(len),
            false => self.at.saturating_sub(before)..self.at.saturating_add(after.max(AMBLE)).min(len),
        }
    }

    /// Goes on by what the `bytes` from `start` on say.
    fn look(&mut self, start: u64, bytes: &[u8], len: u64) {
        let from = (self.at - start) as usize;
        let here = bytes.get(from..).unwrap_or_default();
        if self.searching {
            let room = len - self.at;
            let found = here.windows(AMBLE as usize).enumerate().take(PIECE as usize);
            let found = found.filter(|(at, head)| message_length(head, room - *at as u64).is_some());
            match found.map(|(at, _)| at).next() {
                Some(at) => (self.at, self.searching) = (self.at + at as u64, false),
                None => self.at = self.at.saturating_add(PIECE),
            }
        } else {
            self.at = message_length(here, len - self.at).map_or(self.end, |length| self.at + length);
        }
    }
}

/// The length of the message that `head` is the preamble of, if it says it and `room` bytes have room for it.
fn message_length(head: &[u8], room: u64) -> Option<u64> {
    let sound =
        head.len() >= AMBLE as usize && head.starts_with(MAGIC) && head[8..10] == VERSION.to_be_bytes();
    Some(be_u64(head, 16)).filter(|length| sound && (2 * AMBLE..=room).contains(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::far::Far;

    /// Messages as far as their preambles go.
    fn file(lengths: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in lengths {
            let end = bytes.len() + *length as usize;
            bytes.extend(MAGIC);
            bytes.extend(VERSION.to_be_bytes());
            bytes.extend([0; 6]);
            bytes.extend(length.to_be_bytes());
            bytes.resize(end, b'T');
        }
        bytes
    }

    #[test]
    fn every_border_is_asked_for_in_few_rounds() {
        let lengths: Vec<u64> = (0..200).map(|i| 70_000 + i * 7919 % 30_011).collect();
        let bytes = file(&lengths);
        let len = bytes.len() as u64;
        let far = Far::new(bytes);
        follow(&far, 0..len, 85_000, (100, 200));
        let asked = far.take_rounds();
        assert!(asked.len() <= 20, "{} rounds", asked.len());
        let mut border = 0;
        for length in &lengths {
            let near = border..border + 200;
            assert!(
                asked.iter().flatten().any(|span| span.start <= near.start && near.end <= span.end),
                "{near:?}"
            );
            border += length;
        }
        let all: u64 = asked.iter().flatten().map(|span| span.end - span.start).sum();
        assert!(all < 200 * 300 + 16 * (PIECE + 300), "{all} bytes");
    }

    #[test]
    fn what_is_no_preamble_ends_it() {
        for bytes in [vec![b'T'; 1 << 20], file(&[48; 100_000]), file(&[1 << 20, 0])] {
            let len = bytes.len() as u64;
            let far = Far::new(bytes);
            follow(&far, 0..len, 1000, (100, 200));
            assert!(far.take_rounds().len() <= ROUNDS);
        }
        let preamble = |length: u64| [MAGIC, &[0, 3, 0, 0, 0, 0, 0, 0][..], &length.to_be_bytes()].concat();
        assert_eq!(message_length(&preamble(100), 100), Some(100));
        assert_eq!(message_length(&preamble(101), 100), None);
        assert_eq!(message_length(&preamble(0), 100), None);
        assert_eq!(message_length(&preamble(100)[..23], 100), None);
    }
}
