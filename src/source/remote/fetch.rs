//! Pieces of remote files: asked for once, waited for by whoever needs them, let go by age.

use super::store::Remote;
use crate::source::Stamp;
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};
use tokio::runtime::{Builder, Runtime};

/// Gaps up to this are fetched along: a request costs more than so many bytes.
const GAP: u64 = 64 << 10;
/// Small reads fetch this much before and after them, too: what is read next is mostly there.
const SLACK: u64 = 4 << 10;
/// Reads up to this are small.
const SMALL: u64 = 16 << 10;
/// Most bytes of one request; more are fetched by several, side by side.
const PIECE: u64 = 8 << 20;
/// What is read at a time is asked for by one request if it lies within so many bytes: as much comes in the time that
/// a few requests take.
const ALONE: u64 = 4 << 20;
/// Bytes that are announced before they are asked for together, and ranges.
const TOGETHER: u64 = 1 << 20;
const MANY: usize = 1024;

/// Bytes of all files that are held: what readers on all cores read ahead (8 MiB each), twice, and some more.
static BUDGET: LazyLock<usize> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    (32 << 20) + cores * (16 << 20)
});

/// Pieces of all files that are held, the oldest first.
static HELD: Mutex<Held> = Mutex::new(Held { pieces: VecDeque::new(), bytes: 0 });

/// The threads that talk to servers: none but these runs requests, so that whoever waits for an answer, on whatever
/// thread, never keeps it from coming.
pub(super) static FETCHERS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).thread_name("millibar-fetch").enable_all().build()
});

#[derive(Debug)]
struct Held {
    pieces: VecDeque<(Weak<Pieces>, u64, usize)>,
    bytes: usize,
}

/// What is there of one file, and what is on its way.
#[derive(Debug)]
pub(super) struct Pieces {
    remote: Remote,
    stamp: Stamp,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By their first byte; disjoint.
    pieces: BTreeMap<u64, Piece>,
    /// Announced, not asked for yet.
    announced: Vec<Range<u64>>,
    announced_bytes: u64,
}

/// A range that was asked for, and what comes of it.
#[derive(Debug, Clone)]
struct Piece {
    range: Range<u64>,
    answer: Answer,
}

type Answer = Arc<OnceLock<Result<Bytes>>>;

/// Gives an answer in any case: one who waits for a piece must not wait forever.
struct Promise {
    answer: Answer,
    name: Arc<str>,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let lost = io::Error::other("a request was given up");
        let _ = self.answer.set(Err(Error::io(Arc::clone(&self.name), lost))); // unless it has come
    }
}

impl Pieces {
    /// The file `remote` in the state `stamp`, of which the `first` bytes are there.
    pub(super) fn new(remote: Remote, stamp: Stamp, first: Bytes) -> Arc<Self> {
        let mut state = State::default();
        let len = first.len();
        if len > 0 {
            let piece = Piece { range: 0..len as u64, answer: Arc::new(OnceLock::from(Ok(first))) };
            state.pieces.insert(0, piece);
        }
        let pieces = Arc::new(Self { remote, stamp, state: Mutex::new(state) });
        if len > 0 {
            pieces.hold(&[(0, len)]);
        }
        pieces
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Notes that `ranges`, which lie in the file, will be read. They are asked for together: `now`, with the next
    /// read, or when they are many.
    pub(super) fn announce(self: &Arc<Self>, ranges: impl Iterator<Item = Range<u64>>, now: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for range in ranges {
            state.announced_bytes += range.end - range.start;
            state.announced.push(range);
        }
        if now || state.announced_bytes >= TOGETHER || state.announced.len() >= MANY {
            let made = self.ask(&mut state, &[], GAP);
            drop(state);
            self.hold(&made);
        }
    }

    /// The bytes of `ranges`, all in the file and not empty: missing ones are asked for together.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn read(self: &Arc<Self>, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.ask(&mut state, ranges, ALONE);
        let found: Vec<Vec<Piece>> = ranges.iter().map(|range| state.covering(range)).collect();
        drop(state);
        self.hold(&made);
        found.into_iter().zip(ranges).map(|(pieces, range)| self.join(&pieces, range)).collect()
    }

    /// The bytes of `range`, which `pieces` cover, when all have come.
    fn join(&self, pieces: &[Piece], range: &Range<u64>) -> Result<Bytes> {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let bytes = piece.answer.wait().clone().inspect_err(|_| self.forget(piece))?;
            let start = range.start.max(piece.range.start) - piece.range.start;
            let end = range.end.min(piece.range.end) - piece.range.start;
            parts.push(bytes.slice(start as usize..end as usize));
        }
        match parts.as_mut_slice() {
            [one] => Ok(std::mem::take(one)),
            _ => Ok(parts.concat().into()),
        }
    }

    /// Takes a piece out that failed, so that the next read asks anew.
    fn forget(&self, failed: &Piece) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = failed.range.start;
        if state.pieces.get(&at).is_some_and(|piece| Arc::ptr_eq(&piece.answer, &failed.answer)) {
            state.pieces.remove(&at);
        }
    }

    /// Asks for what isn't there of `ranges` and of what was announced: all within `alone` bytes by one request. Returns
    /// where the new pieces are and how long.
    fn ask(self: &Arc<Self>, state: &mut State, ranges: &[Range<u64>], alone: u64) -> Vec<(u64, usize)> {
        let wanted = std::mem::take(&mut state.announced);
        state.announced_bytes = 0;
        let missing = state.missing(wanted.iter().chain(ranges), self.stamp.len, alone);
        let mut made = Vec::with_capacity(missing.len());
        for range in missing {
            made.push((range.start, (range.end - range.start) as usize));
            let answer = Answer::default();
            let promise = Promise { answer: Arc::clone(&answer), name: Arc::clone(self.remote.url.as_str()) };
            state.pieces.insert(range.start, Piece { range: range.clone(), answer });
            // Without threads the promise is dropped, and so broken, at once.
            if let Ok(fetchers) = FETCHERS.as_ref() {
                let (remote, stamp) = (self.remote.clone(), self.stamp.clone());
                fetchers.spawn(async move {
                    let bytes = remote.fetch(range, &stamp).await;
                    let _ = promise.answer.set(bytes); // only this task sets it
                });
            }
        }
        made
    }

    /// Counts new pieces, and lets go of the oldest of all files beyond the budget.
    fn hold(self: &Arc<Self>, made: &[(u64, usize)]) {
        if made.is_empty() {
            return;
        }
        let mut old = Vec::new();
        {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            for &(start, len) in made {
                held.pieces.push_back((Arc::downgrade(self), start, len));
                held.bytes += len;
            }
            while held.bytes > *BUDGET
                && let Some((file, start, len)) = held.pieces.pop_front()
            {
                held.bytes -= len;
                old.extend(file.upgrade().map(|file| (file, start)));
            }
        }
        // Not under the lock: a file's own is taken. Who waits for a piece has it in hand.
        for (file, start) in old {
            file.state.lock().unwrap_or_else(PoisonError::into_inner).pieces.remove(&start);
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { pieces, bytes } = &mut *held;
        pieces.retain(|(file, _, len)| {
            let there = file.strong_count() > 0;
            *bytes -= if there { 0 } else { *len };
            there
        });
    }
}

impl State {
    /// The pieces that `range` touches, in order.
    fn covering(&self, range: &Range<u64>) -> Vec<Piece> {
        let first = self.pieces.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
        let touching = self.pieces.range(first..range.end).map(|(_, piece)| piece);
        touching.filter(|piece| piece.range.end > range.start).cloned().collect()
    }

    /// What no piece has of `wanted`, with slack, near ranges joined (all, if they lie within `alone` bytes) and long
    /// ones cut.
    fn missing<'r>(
        &self,
        wanted: impl Iterator<Item = &'r Range<u64>>,
        len: u64,
        alone: u64,
    ) -> Vec<Range<u64>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for range in wanted {
            if self.gaps(range.clone()).is_empty() {
                continue; // slack alone is no reason to ask
            }
            let slack = if range.end - range.start <= SMALL { SLACK } else { 0 };
            gaps.extend(
                self.gaps(range.start.saturating_sub(slack)..range.end.saturating_add(slack).min(len)),
            );
        }
        gaps.sort_unstable_by_key(|gap| gap.start);
        let extent =
            gaps.iter().map(|gap| gap.end).max().unwrap_or(0) - gaps.first().map_or(0, |gap| gap.start);
        let near = if extent <= alone { alone } else { GAP };
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(gaps.len());
        for gap in gaps {
            match joined.last_mut() {
                Some(last)
                    if gap.start <= last.end.saturating_add(near)
                        && self.covering(&(last.end..gap.start.max(last.end))).is_empty() =>
                {
                    last.end = last.end.max(gap.end);
                }
                _ => joined.push(gap),
            }
        }
        let cut = |range: Range<u64>| {
            let pieces = (range.end - range.start).div_ceil(PIECE);
            (0..pieces).map(move |n| {
                let start = range.start + n * PIECE;
                start..(start + PIECE).min(range.end)
            })
        };
        joined.into_iter().flat_map(cut).collect()
    }

    /// The parts of `range` that no piece has.
    fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let (mut at, mut gaps) = (range.start, Vec::new());
        for piece in self.covering(&range) {
            if piece.range.start > at {
                gaps.push(at..piece.range.start);
            }
            at = at.max(piece.range.end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges")]
mod tests {
    use super::*;

    fn state(pieces: &[Range<u64>]) -> State {
        let piece =
            |range: &Range<u64>| (range.start, Piece { range: range.clone(), answer: Answer::default() });
        State { pieces: pieces.iter().map(piece).collect(), ..State::default() }
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn near_ranges_are_one_request_and_far_ones_several() {
        let none = state(&[]);
        let missing = |wanted: &[Range<u64>]| none.missing(wanted.iter(), 100 * MIB, GAP);
        assert_eq!(missing(&[0..8, 1000..1008]), [0..1008 + SLACK]);
        assert_eq!(missing(&[MIB..MIB + 8, 0..8]), [0..8 + SLACK, MIB - SLACK..MIB + 8 + SLACK]);
        assert_eq!(missing(&[0..MIB, MIB + GAP..2 * MIB]), [0..2 * MIB]);
        assert_eq!(missing(&[0..MIB, MIB + GAP + 1..2 * MIB]).len(), 2);
        assert_eq!(missing(&[0..20 * MIB]), [0..PIECE, PIECE..2 * PIECE, 2 * PIECE..20 * MIB]);
        let end = 100 * MIB;
        assert_eq!(missing(&[end - 24..end]), [end - 24 - SLACK..end]);
        assert_eq!(missing(&[]), []);
        let read = |wanted: &[Range<u64>]| none.missing(wanted.iter(), 100 * MIB, ALONE);
        assert_eq!(read(&[0..8, MIB..MIB + 8, 3 * MIB..3 * MIB + 8]), [0..3 * MIB + 8 + SLACK]);
        assert_eq!(read(&[0..8, MIB..MIB + 8, 4 * MIB..4 * MIB + 8]).len(), 3);
    }

    #[test]
    fn what_is_there_is_not_asked_for_again() {
        let some = state(&[0..64, 100..200]);
        let missing = |wanted: &[Range<u64>]| some.missing(wanted.iter(), 100 * MIB, GAP);
        assert_eq!(missing(&[0..64, 120..200]), []);
        assert_eq!(missing(&[10..150]), [64..100, 200..150 + SLACK]);
        assert_eq!(missing(&[50..300]), [64..100, 200..300 + SLACK]);
        let covering =
            |range: Range<u64>| some.covering(&range).iter().map(|p| p.range.start).collect::<Vec<_>>();
        assert_eq!(covering(10..150), [0, 100]);
        assert_eq!(covering(64..100), Vec::<u64>::new());
        assert_eq!(covering(63..101), [0, 100]);
        assert_eq!(covering(199..300), [100]);
    }
}
