//! How much memory a piece of code takes at most: a global allocator that counts for each thread on its own, and
//! for all of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

thread_local! {
    /// Bytes held, and the most that were held, since the thread's count was last reset.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
    /// Allocations, growing ones included.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that the process holds, and the most that it held since [`Whole::start`].
static ALL: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    MOST.fetch_max(ALL.fetch_add(change, Relaxed) + change, Relaxed);
    // A thread that is going away has no count any more, and needs none.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now.saturating_add(change);
        held.set((now, most.max(now)));
    });
    if change > 0 {
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be held while the bytes move.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The result of `work` and the most bytes that it held at once on this thread. What C libraries allocate isn't
/// counted.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    HELD.with(|held| held.set((0, 0)));
    let result = work();
    (result, HELD.with(|held| held.get().1) as usize)
}

/// How often `work` allocates on this thread.
pub(crate) fn allocations(work: impl FnOnce()) -> usize {
    let before = CALLS.with(Cell::get);
    work();
    CALLS.with(Cell::get) - before
}

/// As [`peak`], over all threads of the process.
#[cfg(feature = "engine")]
pub(crate) struct Whole {
    before: isize,
}

#[cfg(feature = "engine")]
impl Whole {
    /// Counts from now on.
    pub(crate) fn start() -> Self {
        let before = ALL.load(Relaxed);
        MOST.store(before, Relaxed);
        Self { before }
    }

    /// The most bytes that were held at once, beyond those that were held at the start; `None` where other tests run
    /// in the same process.
    pub(crate) fn peak(&self) -> Option<usize> {
        let alone = std::env::var_os("NEXTEST").is_some();
        alone.then(|| usize::try_from(MOST.load(Relaxed) - self.before).unwrap_or(0))
    }
}

#[test]
fn peak_counts_what_is_held_at_once() {
    let (kept, most) = peak(|| {
        drop(vec![1u8; 3000]);
        vec![1u8; 1000]
    });
    assert_eq!(kept.len(), 1000);
    assert!((3000..4000).contains(&most), "{most}");
}
