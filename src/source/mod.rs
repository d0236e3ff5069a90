//! Bytes of files: byte ranges in, [`Bytes`] out.

mod local;
mod memory;

pub use bytes::Bytes;
pub use local::LocalFile;
pub use memory::Memory;

use crate::Result;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What identifies the state of a file; a table or index built from another state is stale.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Size in bytes.
    pub len: u64,
    /// Modification time in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
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
    /// The bytes of `range`; a mapped file lends them without a copy.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the range is reversed, leaves the file, or can't be read.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
}
