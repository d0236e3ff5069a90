//! Which pages of mapped files stay resident.
//!
//! The pages of a map count as memory of the process from the first touch on. Those of a file that is read
//! from end to end are let go behind the reader: what was read lately, over all files, stays up to a budget,
//! so that a query over a part of a file finds it mapped when it is asked again.
//! ```text
//! file      | segment 0 | segment 1 | segment 2 | ...      a segment is 1 MiB
//! done_with     first in the queue ............. last      let go at the front, beyond the budget
//! ```
//! Letting go of a page that another thread reads just then does no harm: it is mapped again from the cache
//! of the system, with the same bytes.

use memmap2::Mmap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes that are let go at a time.
const SEGMENT: usize = 1 << 20;

/// Bytes of all files that stay mapped in.
const BUDGET: usize = 32 << 20;

/// The segments of all files that were read, the one that was marked first in front.
static QUEUE: Mutex<Queue> = Mutex::new(Queue { segments: VecDeque::new(), bytes: 0 });

/// A mapped file that knows which of its segments were read.
#[derive(Debug)]
pub(super) struct Resident {
    map: Mmap,
    /// For each segment, whether it is in the queue.
    queued: Box<[AtomicBool]>,
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
        Self { map, queued: (0..segments).map(|_| AtomicBool::new(false)).collect() }
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

    /// Notes that `range` was read, and lets go of what was read long ago.
    pub(super) fn done_with(self: &Arc<Self>, range: Range<u64>) {
        let range = self.within(range);
        if range.is_empty() {
            return;
        }
        for index in range.start / SEGMENT..range.end.div_ceil(SEGMENT) {
            if !self.queued[index].swap(true, Relaxed) {
                self.enqueue(index);
            }
        }
    }

    /// What of `range` is in the file.
    fn within(&self, range: Range<u64>) -> Range<usize> {
        let at = |position: u64| position.min(self.map.len() as u64) as usize;
        at(range.start)..at(range.end)
    }

    fn enqueue(self: &Arc<Self>, index: usize) {
        let mut old = Vec::new();
        {
            let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
            let len = self.extent(index).len();
            queue.segments.push_back(Segment { file: Arc::downgrade(self), index, len });
            queue.bytes += len;
            while queue.bytes > BUDGET
                && let Some(first) = queue.segments.pop_front()
            {
                queue.bytes -= first.len;
                old.extend(first.file.upgrade().map(|file| (file, first.index)));
            }
        }
        // Not under the lock: it takes a while.
        old.into_iter().for_each(|(file, index)| file.let_go(index));
    }

    /// The bytes of segment `index`.
    fn extent(&self, index: usize) -> Range<usize> {
        index * SEGMENT..((index + 1) * SEGMENT).min(self.map.len())
    }

    fn let_go(&self, index: usize) {
        self.queued[index].store(false, Relaxed);
        advise::let_go(&self.map, self.extent(index));
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_passes_through_the_budget() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(80 << 20).unwrap();
        // SAFETY: nothing else knows the file.
        let resident = Arc::new(Resident::new(unsafe { Mmap::map(file.as_file()) }.unwrap()));
        let (len, step) = (resident.bytes().len(), 300 << 10);
        let mut most = 0;
        for start in (0..len).step_by(step) {
            let end = (start + step).min(len);
            resident.will_need(start as u64..end as u64 + 5);
            assert!(resident.bytes()[start..end].iter().step_by(4096).all(|byte| *byte == 0));
            resident.done_with(start as u64..end as u64 + 5);
            most = most.max(mapped_in(&resident.map));
        }
        assert!(most <= BUDGET + 4 * SEGMENT, "{most} bytes are mapped in");
        assert!(most > BUDGET / 2, "only {most} bytes stayed");
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
