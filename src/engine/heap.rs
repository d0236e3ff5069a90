//! How much freed memory a process keeps that runs queries: the command, and a Python with an engine in it.
//!
//! Tables of groups and columns of a result are as long as half a megabyte or more. The allocator of glibc gives such
//! blocks back to the system when they are freed, and the next query faults every page of them in again: for 65,160
//! groups that took half of the time. Here it keeps what a query or two of that size need, which is about what it keeps by
//! itself once a block of 32 MB was freed.

/// Blocks of more bytes are given back at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 32 << 20;

/// Free bytes that are kept at the end of each heap, at most.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: i32 = 64 << 20;

/// Bytes that a heap grows by.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const STEP: i32 = 16 << 20;

/// Has freed memory kept. Best said before there are other threads; where it can't be said, the allocator does as it likes.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in
        [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, KEPT), (libc::M_TOP_PAD, STEP)]
    {
        // SAFETY: sets a number of the allocator, which takes its own lock; one that it refuses stays as it was.
        unsafe { libc::mallopt(parameter, bytes) };
    }
}
