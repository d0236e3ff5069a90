//! Counters of what decoding did.

use std::time::{Duration, Instant};

/// What decoding did, summed over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeStats {
    /// Encoded bytes touched, masks included.
    pub bytes_read: u64,
    /// Bytes that came out of decompression, wanted or not; where nothing is compressed, bytes of the values
    /// delivered.
    pub bytes_decoded: u64,
    /// Encoded bytes that were copied from files, because that is cheaper than to look at them where they are mapped.
    pub bytes_copied: u64,
    /// Element ranges served by range decoding (after merging neighbours).
    pub ranges_decoded: u64,
    /// Objects decoded whole.
    pub full_decodes: u64,
    /// Elements handed over as one value, not decoded.
    pub elements_constant: u64,
    /// Elements handed over as packed integers, not scaled.
    pub elements_packed: u64,
    /// Codec blocks (szip RSIs, blosc2 blocks) decoded.
    pub blocks_decoded: u64,
    /// Objects whose stored szip offsets are wrong, noticed at their first range decode: offsets found by walking
    /// the stream stand in for them.
    pub fallbacks: u64,
    /// Time spent in fetching bytes that weren't at hand.
    pub read_time: Duration,
    /// Time spent in decoding, without the sink. Pieces of less than 4 KiB that need no decompression aren't
    /// timed: reading the clock would cost more than they do.
    pub decode_time: Duration,
}

impl DecodeStats {
    /// Adds `other` to these.
    pub fn add(&mut self, other: &DecodeStats) {
        self.bytes_read += other.bytes_read;
        self.bytes_decoded += other.bytes_decoded;
        self.bytes_copied += other.bytes_copied;
        self.ranges_decoded += other.ranges_decoded;
        self.full_decodes += other.full_decodes;
        self.elements_constant += other.elements_constant;
        self.elements_packed += other.elements_packed;
        self.blocks_decoded += other.blocks_decoded;
        self.fallbacks += other.fallbacks;
        self.read_time += other.read_time;
        self.decode_time += other.decode_time;
    }

    /// Runs `work`, adding its time to `decode_time`.
    pub(super) fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let result = work(self);
        self.decode_time += start.elapsed();
        result
    }
}
