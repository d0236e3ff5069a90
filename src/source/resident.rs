//! Which pages of mapped files stay resident.
//!
//! The pages of a map count as memory of the process from the first touch on, and a touch costs: where the system
//! caches a file in small pages, mapping them in takes several times as long as reducing what they hold. A file that
//! fits the budget stays mapped in. Of a larger one that is read from end to end, time and again, a part stays, the
//! same one each time; the rest passes through. (If what was read first were let go first, nothing would be there any
//! more when it is asked for again.)
//!
//! What can be copied ([`Source::copy`](super::Source::copy)) isn't mapped in to be read once, for the system copies pages
//! faster than it maps them. From the second time on what is kept is lent.
//! ```text
//! file      | segment 0 | segment 1 | segment 2 | ...      a segment is 1 MiB
//! kept      what was read first, over all files, for as long as it is in use       up to KEPT
//! passing   everything else, let go behind the reader                              up to PASSING
//! ```
//! Letting go of a page that another thread reads just then does no harm: it is mapped again from the cache
//! of the system, with the same bytes.

use memmap2::Mmap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes that are let go at a time.
const SEGMENT: usize = 1 << 20;

/// Bytes of all files that stay mapped in while they are in use.
const KEPT: usize = 56 << 20;

/// Bytes of all files that stay mapped in for a moment.
const PASSING: usize = 4 << 20;

/// A segment isn't in use any more when so many bytes were read since it was.
const UNUSED: u64 = 8 * KEPT as u64;

/// The segments of all files that were read.
static QUEUES: Mutex<Queues> = Mutex::new(Queues { kept: Queue::new(), passing: Queue::new() });

/// Bytes of all files that were read, plus one: what the time is in [`Resident::used`].
static CLOCK: AtomicU64 = AtomicU64::new(1);

/// A mapped file that knows which of its segments were read.
#[derive(Debug)]
pub(super) struct Resident {
    map: Mmap,
    /// For each segment, when it was read last; 0 if it is in no queue.
    used: Box<[AtomicU64]>,
    /// For each segment, whether it is kept.
    kept: Box<[AtomicBool]>,
}

#[derive(Debug)]
struct Queues {
    /// In the order in which they were looked at last.
    kept: Queue,
    /// The one that was read first in front.
    passing: Queue,
}

#[derive(Debug)]
struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes of the segments.
    bytes: usize,
}

#[derive(Debug)]
struct Segment {
    file: Weak<Resident>,
    index: usize,
    len: usize,
}

impl Resident {
    /// Nothing of `map` was read yet.
    pub(super) fn new(map: Mmap) -> Self {
        let segments = map.len().div_ceil(SEGMENT);
        let used = (0..segments).map(|_| AtomicU64::new(0)).collect();
        Self { map, used, kept: (0..segments).map(|_| AtomicBool::new(false)).collect() }
    }

    /// All bytes of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Has the system read `range` ahead.
    pub(super) fn will_need(&self, range: Range<u64>) {
        let range = self.within(range);
        if !range.is_empty() {
            advise::will_need(&self.map, range);
        }
    }

    /// Whether all of `range` is kept, so that looking at it costs nothing but that.
    pub(super) fn keeps(&self, range: Range<u64>) -> bool {
        segments(&self.within(range)).all(|index| self.kept[index].load(Relaxed))
    }

    /// Notes that `range` was looked at, and lets go of what has passed.
    pub(super) fn done_with(self: &Arc<Self>, range: Range<u64>) {
        self.note(range, |queues, segment, now| queues.take(segment, now));
    }

    /// Notes that `range` was copied: what there is room for is kept from the next time on.
    pub(super) fn copied(self: &Arc<Self>, range: Range<u64>) {
        self.note(range, |queues, segment, now| {
            let (gone, _) = queues.offer(segment, now);
            gone.into_iter().collect()
        });
    }

    fn note(self: &Arc<Self>, range: Range<u64>, queue: impl Fn(&mut Queues, Segment, u64) -> Vec<Segment>) {
        let range = self.within(range);
        if range.is_empty() {
            return;
        }
        let now = CLOCK.fetch_add(range.len() as u64, Relaxed);
        for index in segments(&range) {
            if self.used[index].swap(now, Relaxed) == 0 {
                let segment = Segment { file: Arc::downgrade(self), index, len: self.extent(index).len() };
                let gone = queue(&mut QUEUES.lock().unwrap_or_else(PoisonError::into_inner), segment, now);
                // Not under the lock: it takes a while.
                gone.iter().for_each(Segment::let_go);
            }
        }
    }

    /// What of `range` is in the file.
    fn within(&self, range: Range<u64>) -> Range<usize> {
        let at = |position: u64| position.min(self.map.len() as u64) as usize;
        at(range.start)..at(range.end)
    }

    /// The bytes of segment `index`.
    fn extent(&self, index: usize) -> Range<usize> {
        index * SEGMENT..((index + 1) * SEGMENT).min(self.map.len())
    }
}

/// Numbers of the segments that `range` touches.
fn segments(range: &Range<usize>) -> Range<usize> {
    range.start / SEGMENT..range.end.div_ceil(SEGMENT)
}

impl Queues {
    /// Keeps a segment that was read just now, if there is room or room can be made: what is let go for it, and the
    /// segment if it isn't kept.
    fn offer(&mut self, segment: Segment, now: u64) -> (Option<Segment>, Option<Segment>) {
        let mut gone = None;
        if self.kept.bytes + segment.len > KEPT
            && let Some(oldest) = self.kept.pop()
        {
            match oldest.in_use(now) {
                true => self.kept.push(oldest),
                false => gone = Some(oldest),
            }
        }
        if self.kept.bytes + segment.len > KEPT {
            segment.mark(|file, index| file.used[index].store(0, Relaxed));
            return (gone, Some(segment));
        }
        segment.mark(|file, index| file.kept[index].store(true, Relaxed));
        self.kept.push(segment);
        (gone, None)
    }

    /// Takes in a segment that was looked at just now; those that are let go for it.
    fn take(&mut self, segment: Segment, now: u64) -> Vec<Segment> {
        let (gone, passing) = self.offer(segment, now);
        let mut gone: Vec<_> = gone.into_iter().collect();
        if let Some(segment) = passing {
            segment.mark(|file, index| file.used[index].store(now, Relaxed));
            self.passing.push(segment);
        }
        while self.passing.bytes > PASSING {
            gone.extend(self.passing.pop());
        }
        gone
    }
}

impl Queue {
    const fn new() -> Self {
        Self { segments: VecDeque::new(), bytes: 0 }
    }

    fn push(&mut self, segment: Segment) {
        self.bytes += segment.len;
        self.segments.push_back(segment);
    }

    fn pop(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.bytes -= segment.len;
        Some(segment)
    }
}

impl Segment {
    /// Whether it was read lately; of a file that was closed, nothing is.
    fn in_use(&self, now: u64) -> bool {
        let used = self.file.upgrade().map(|file| file.used[self.index].load(Relaxed));
        used.is_some_and(|used| now.saturating_sub(used) < UNUSED)
    }

    fn let_go(&self) {
        self.mark(|file, index| {
            file.used[index].store(0, Relaxed);
            file.kept[index].store(false, Relaxed);
            advise::let_go(&file.map, file.extent(index));
        });
    }

    /// Notes something at its file, if that is still there.
    fn mark(&self, note: impl FnOnce(&Resident, usize)) {
        if let Some(file) = self.file.upgrade() {
            note(&file, self.index);
        }
    }
}

/// Advice is a hint: what the system refuses is left as it is.
#[cfg(unix)]
mod advise {
    use memmap2::{Advice, Mmap, UncheckedAdvice};
    use std::ops::Range;

    pub(super) fn will_need(map: &Mmap, range: Range<usize>) {
        let _ = map.advise_range(Advice::WillNeed, range.start, range.len());
    }

    pub(super) fn let_go(map: &Mmap, range: Range<usize>) {
        // SAFETY: the map is of a file and is never written to: pages that are dropped come back from the file,
        // with the bytes that they held.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
}

/// Systems without advice.
#[cfg(not(unix))]
mod advise {
    use memmap2::Mmap;
    use std::ops::Range;

    pub(super) fn will_need(_: &Mmap, _: Range<usize>) {}

    pub(super) fn let_go(_: &Mmap, _: Range<usize>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of `map` that are mapped in, as the system has it.
    #[cfg(target_os = "linux")]
    fn mapped_in(map: &Mmap) -> usize {
        let start = format!("{:x}-", map.as_ptr() as usize);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let rss = own.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Reads `range` of `resident`, which is zeros.
    #[cfg(target_os = "linux")]
    fn read(resident: &Arc<Resident>, range: Range<usize>) {
        resident.will_need(range.start as u64..range.end as u64 + 5);
        assert!(resident.bytes()[range.clone()].iter().step_by(4096).all(|byte| *byte == 0));
        resident.done_with(range.start as u64..range.end as u64 + 5);
    }

    // One test, for the queues are the process's.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_part_stays_and_the_rest_passes_through() {
        let open = || {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(2 * KEPT as u64).unwrap();
            // SAFETY: nothing else knows the file.
            Arc::new(Resident::new(unsafe { Mmap::map(file.as_file()) }.unwrap()))
        };
        let (first, second) = (open(), open());
        let held = || mapped_in(&first.map) + mapped_in(&second.map);
        let sweep = |resident: &Arc<Resident>| {
            let len = resident.bytes().len();
            let mut most = 0;
            for start in (0..len).step_by(300 << 10) {
                read(resident, start..(start + (300 << 10)).min(len));
                most = most.max(if start % (SEGMENT * 3) == 0 { held() } else { 0 });
            }
            most.max(held())
        };
        let stays = |resident: &Arc<Resident>| {
            resident.used.iter().map(|used| used.load(Relaxed) > 0).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            let most = sweep(&first);
            assert!(most <= KEPT + PASSING + 4 * SEGMENT, "{most} bytes are mapped in");
            assert!(most > KEPT / 2, "only {most} bytes stayed");
        }
        let kept = stays(&first);
        sweep(&first);
        assert_eq!(stays(&first), kept, "the same part stays");
        // Another file gets the room when the first isn't in use any more.
        for _ in 0..UNUSED as usize / second.bytes().len() + 2 {
            assert!(sweep(&second) <= KEPT + PASSING + 4 * SEGMENT);
        }
        assert!(mapped_in(&first.map) < KEPT / 8 && mapped_in(&second.map) > KEPT / 2);
    }

    #[test]
    fn what_was_copied_is_kept_where_there_is_room() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 * SEGMENT as u64 + 10).unwrap();
        // SAFETY: nothing else knows the file.
        let resident = Arc::new(Resident::new(unsafe { Mmap::map(file.as_file()) }.unwrap()));
        let segment = SEGMENT as u64;
        assert!(!resident.keeps(5..6));
        resident.copied(segment - 1..segment + 1);
        // Unless the other test fills all the room just now.
        if resident.kept[0].load(Relaxed) && resident.kept[1].load(Relaxed) {
            assert!(resident.keeps(0..2 * segment) && !resident.keeps(0..2 * segment + 1));
        }
        let mut queues = Queues { kept: Queue::new(), passing: Queue::new() };
        let part = |index: usize| Segment { file: Arc::downgrade(&resident), index, len: KEPT / 2 };
        for index in 0..2 {
            assert!(matches!(queues.offer(part(index), 1), (None, None)));
        }
        resident.used[0].store(1, Relaxed);
        resident.used[2].store(9, Relaxed);
        let (gone, refused) = queues.offer(part(2), 2);
        assert!(gone.is_none() && refused.is_some(), "all that is kept is in use");
        assert_eq!(resident.used[2].load(Relaxed), 0, "not noted");
        resident.used[1].store(1, Relaxed);
        let (gone, refused) = queues.offer(part(2), UNUSED + 1);
        assert!(gone.is_some_and(|segment| segment.index == 1) && refused.is_none());
    }

    #[test]
    fn hints_outside_the_file_are_ignored() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        // SAFETY: nothing else knows the file.
        let resident = Arc::new(Resident::new(unsafe { Mmap::map(file.as_file()) }.unwrap()));
        for range in [0..0, 10..10, 11..20, 5..u64::MAX, u64::MAX..u64::MAX] {
            resident.will_need(range.clone());
            resident.done_with(range);
        }
        assert_eq!(resident.bytes(), b"0123456789");
    }
}
