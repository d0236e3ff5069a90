//! Bytes of files: byte ranges in, [`Bytes`] out.
//!
//! A reader says what it will read soon ([`Source::will_need`]) and what it is through with
//! ([`Source::done_with`]), so that reading overlaps decoding and a file that is larger than memory passes
//! through a small part of it. Both are hints: they never fail, and nothing depends on them but time and
//! memory.

mod address;
mod local;
mod memory;
mod new_file;
#[cfg(not(feature = "remote"))]
#[path = "no_remote.rs"]
pub(crate) mod remote;
#[cfg(feature = "remote")]
pub(crate) mod remote;
mod resident;
mod storage;

pub(crate) use address::open_all;
pub use address::{Address, Scheme, Url};
pub use bytes::Bytes;
pub use local::LocalFile;
pub use memory::Memory;
pub use new_file::NewFile;
#[cfg(feature = "remote")]
pub use remote::{RemoteFile, RemoteOptions};
pub(crate) use storage::OPTION as STORAGE_OPTION;
pub use storage::StorageOptions;

use crate::{Error, Result};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What identifies the state of a file; a table or index built from another state is stale.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Size in bytes.
    pub len: u64,
    /// Modification time in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// What a server calls this state (the `ETag` of HTTP), if it does.
    pub tag: Option<Arc<str>>,
}

/// A file that a store listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub url: Url,
    /// Its state.
    pub stamp: Stamp,
}

/// Random access to the bytes of one file.
pub trait Source: Send + Sync + fmt::Debug {
    /// Path or URL, as shown in errors.
    fn name(&self) -> &Arc<str>;
    /// Size in bytes.
    fn len(&self) -> u64;
    /// `true` for a file of no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What identifies the state that is read.
    fn stamp(&self) -> &Stamp;
    /// Whether the file still is in the state that is read. Files that are fetched find that out whenever they are.
    ///
    /// # Errors
    /// [`Error::Io`] of [`io::ErrorKind::StaleNetworkFileHandle`] if it was changed, replaced or removed since it was
    /// opened; whatever else keeps it from being looked at.
    fn unchanged(&self) -> Result<()> {
        Ok(())
    }
    /// The bytes of `range`; a mapped file lends them without a copy.
    ///
    /// # Errors
    /// [`Error::Io`] if the range is reversed, leaves the file, or can't be read.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
    /// Copies the bytes from `at` on to `out`, where that costs less than looking at them where they are lent, once; else
    /// `false`, and what `out` holds is unspecified. [`Source::copied`] says what was.
    ///
    /// # Errors
    /// [`Error::Io`] if they leave the file, or can't be read.
    fn copy(&self, _at: u64, _out: &mut [u8]) -> Result<bool> {
        Ok(false)
    }
    /// `range` was copied, all of it or most. What leaves the file is ignored.
    fn copied(&self, _range: Range<u64>) {}
    /// Whether [`Source::read`] lends bytes that are at hand, so that reading more than is looked at costs nothing.
    /// What has to be fetched is better asked for as it is needed, and together.
    fn lends(&self) -> bool {
        true
    }
    /// About how many bytes come in the time that one more round trip takes: where no more can be saved, fetching all at
    /// once is as good as asking first where it is.
    fn round_trip(&self) -> u64 {
        0
    }
    /// The bytes of several ranges, in their order; a file that has to be fetched asks for them together.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }
    /// `range` will be read soon: fetch what of it isn't at hand, without waiting for it; a file far away may leave that
    /// to the next read, to fetch more at a time. What leaves the file is ignored.
    fn will_need(&self, _range: Range<u64>) {}
    /// All of `ranges` will be read soon, and no more is known of for now: as [`Source::will_need`], at once.
    fn will_need_all(&self, ranges: &[Range<u64>]) {
        ranges.iter().for_each(|range| self.will_need(range.clone()));
    }
    /// `range` was read and won't be for a while: what is held of it beside what was lent may go. What leaves
    /// the file is ignored.
    fn done_with(&self, _range: Range<u64>) {}
}

/// The bytes of `range` out of all `bytes` of the file `name`, lent.
///
/// # Errors
/// [`Error::Io`] if the range is reversed or leaves the file.
fn lend(name: &Arc<str>, bytes: &Bytes, range: Range<u64>) -> Result<Bytes> {
    within(name, &range, bytes.len() as u64)?;
    Ok(bytes.slice(range.start as usize..range.end as usize))
}

/// Checks that `range` lies in the file `name` of `len` bytes.
///
/// # Errors
/// [`Error::Io`] if it is reversed or leaves the file.
fn within(name: &Arc<str>, range: &Range<u64>, len: u64) -> Result<()> {
    if range.start > range.end || range.end > len {
        let what = format!("bytes {}..{} leave a file of {len}", range.start, range.end);
        return Err(Error::io(Arc::clone(name), io::Error::new(io::ErrorKind::UnexpectedEof, what)));
    }
    Ok(())
}
