//! A source in memory that remembers what was read from it.

use millibar::source::{Bytes, Source, Stamp};
use millibar::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Bytes with a record of the ranges read.
#[derive(Debug)]
pub(crate) struct MemorySource {
    name: Arc<str>,
    stamp: Stamp,
    bytes: Bytes,
    reads: Mutex<Vec<Range<u64>>>,
}

impl MemorySource {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Arc<Self> {
        let bytes = bytes.into();
        let stamp = Stamp { len: bytes.len() as u64, modified_ns: 0 };
        Arc::new(Self { name: "memory.tgm".into(), stamp, bytes, reads: Mutex::default() })
    }

    /// The ranges read since the last call, in order.
    pub(crate) fn take_reads(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl Source for MemorySource {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn len(&self) -> u64 {
        self.stamp.len
    }

    fn is_empty(&self) -> bool {
        self.stamp.len == 0
    }

    fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.stamp.len {
            let what = format!("{range:?} of {} bytes", self.stamp.len);
            let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what);
            return Err(Error::io(Arc::clone(&self.name), error));
        }
        self.reads.lock().unwrap().push(range.clone());
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}
