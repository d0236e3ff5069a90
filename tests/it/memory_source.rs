//! A source in memory that remembers what was asked of it.

use millibar::Result;
use millibar::source::{Bytes, Memory, Source, Stamp};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Bytes with a record of the ranges that were read, and of the hints that were given.
#[derive(Debug)]
pub(crate) struct MemorySource {
    memory: Memory,
    asked: Mutex<Vec<Asked>>,
}

/// What a source is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    WillNeed(Range<u64>),
    Read(Range<u64>),
    DoneWith(Range<u64>),
}

impl MemorySource {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Arc<Self> {
        Arc::new(Self { memory: Memory::new("memory.tgm", bytes), asked: Mutex::default() })
    }

    /// The ranges read since the last call, in order.
    pub(crate) fn take_reads(&self) -> Vec<Range<u64>> {
        let read = |asked| if let Asked::Read(range) = asked { Some(range) } else { None };
        self.take_asked().into_iter().filter_map(read).collect()
    }

    /// Reads and hints since the last call, in order.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[deny(clippy::missing_trait_methods)]
impl Source for MemorySource {
    fn name(&self) -> &Arc<str> {
        self.memory.name()
    }

    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    fn stamp(&self) -> &Stamp {
        self.memory.stamp()
    }

    fn unchanged(&self) -> Result<()> {
        self.memory.unchanged()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.memory.read(range.clone())?;
        self.asked.lock().unwrap().push(Asked::Read(range));
        Ok(bytes)
    }

    fn copy(&self, at: u64, out: &mut [u8]) -> Result<bool> {
        self.memory.copy(at, out)
    }

    fn copied(&self, range: Range<u64>) {
        self.memory.copied(range);
    }

    fn lends(&self) -> bool {
        self.memory.lends()
    }

    fn round_trip(&self) -> u64 {
        self.memory.round_trip()
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }

    fn will_need(&self, range: Range<u64>) {
        self.asked.lock().unwrap().push(Asked::WillNeed(range));
    }

    fn will_need_all(&self, ranges: &[Range<u64>]) {
        ranges.iter().for_each(|range| self.will_need(range.clone()));
    }

    fn done_with(&self, range: Range<u64>) {
        self.asked.lock().unwrap().push(Asked::DoneWith(range));
    }
}
