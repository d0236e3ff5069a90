//! A file whose bytes aren't at hand. Also part of the library's own unit tests (`src/lib.rs`).

use millibar::Result;
use millibar::source::{Bytes, Memory, Source, Stamp};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Bytes that are fetched, and notes of which.
#[derive(Debug)]
pub struct Far {
    file: Memory,
    rounds: Mutex<Vec<Vec<Range<u64>>>>,
}

impl Far {
    /// A file of `bytes`.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { file: Memory::new("far.tgm", bytes), rounds: Mutex::default() }
    }

    /// What was fetched since this was asked last: what was asked for at a time, round by round.
    pub fn take_rounds(&self) -> Vec<Vec<Range<u64>>> {
        std::mem::take(&mut self.rounds.lock().unwrap())
    }
}

impl Source for Far {
    fn name(&self) -> &Arc<str> {
        self.file.name()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn stamp(&self) -> &Stamp {
        self.file.stamp()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.read_ranges(&[range])?.pop().unwrap_or_default())
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.rounds.lock().unwrap().push(ranges.to_vec());
        self.file.read_ranges(ranges)
    }

    fn lends(&self) -> bool {
        false
    }
}
