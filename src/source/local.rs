//! Local files, memory-mapped.

use super::{Bytes, Source, Stamp};
use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// A local file, mapped once; [`Source::read`] lends slices of the map.
#[derive(Debug)]
pub struct LocalFile {
    name: Arc<str>,
    stamp: Stamp,
    bytes: Bytes,
}

impl LocalFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it is missing, a directory, or can't be mapped.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name: Arc<str> = path.to_string_lossy().into();
        let map = |e: io::Error| Error::io(Arc::clone(&name), e);
        let file = File::open(path).map_err(map)?;
        let meta = file.metadata().map_err(map)?;
        if meta.is_dir() {
            return Err(map(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")));
        }
        let modified_ns = match meta.modified().map_err(map)?.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let bytes = if meta.len() == 0 {
            Bytes::new() // an empty file can't be mapped
        } else {
            // SAFETY: the map is read-only and private to us. A file that another process truncates while
            // it is mapped faults on access; that is the contract of every mapped reader, and documented.
            Bytes::from_owner(unsafe { memmap2::Mmap::map(&file) }.map_err(map)?)
        };
        let stamp = Stamp { len: bytes.len() as u64, modified_ns };
        Ok(Self { name, stamp, bytes })
    }
}

impl Source for LocalFile {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn len(&self) -> u64 {
        self.stamp.len
    }

    fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.stamp.len {
            let what = format!("bytes {}..{} leave a file of {}", range.start, range.end, self.stamp.len);
            return Err(Error::io(
                Arc::clone(&self.name),
                io::Error::new(io::ErrorKind::UnexpectedEof, what),
            ));
        }
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}
