//! Bytes that are in memory already.

use super::{Bytes, Source, Stamp, lend};
use crate::Result;
use std::ops::Range;
use std::sync::Arc;

/// A file that is held in memory: one that came over a wire, or was made up.
#[derive(Debug)]
pub struct Memory {
    name: Arc<str>,
    stamp: Stamp,
    bytes: Bytes,
}

impl Memory {
    /// `bytes` under a name for errors. The stamp has no time.
    pub fn new(name: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let stamp = Stamp { len: bytes.len() as u64, modified_ns: 0, tag: None };
        Self { name: name.into(), stamp, bytes }
    }
}

impl Source for Memory {
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
        lend(&self.name, &self.bytes, range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn lends_ranges_within_the_bytes() {
        let memory = Memory::new("m.tgm", vec![1, 2, 3]);
        assert_eq!(&memory.read(1..3).unwrap()[..], [2, 3]);
        assert!(memory.read(3..3).unwrap().is_empty());
        let error = memory.read(2..4).unwrap_err();
        assert!(matches!(error, Error::Io { .. }));
        assert_eq!(error.to_string(), "m.tgm: bytes 2..4 leave a file of 3");
        assert!(memory.read(Range { start: 2, end: 1 }).is_err());
    }
}
