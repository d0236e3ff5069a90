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

/// Has freed memory kept, as far as the environment of the process doesn't say otherwise (workers of dask are started with a
/// small `MALLOC_TRIM_THRESHOLD_`). Best said before there are other threads; where it can't be said, the allocator does as
/// it likes.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, said, bytes) in [
        (libc::M_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_", LARGE),
        (libc::M_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_", KEPT),
        (libc::M_TOP_PAD, "MALLOC_TOP_PAD_", STEP),
    ] {
        if std::env::var_os(said).is_none() {
            // SAFETY: sets a number of the allocator, which takes its own lock; one that it refuses stays as it was.
            unsafe { libc::mallopt(parameter, bytes) };
        }
    }
}
