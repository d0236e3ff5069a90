//! The pipeline of one object.

use super::{Block, Values};
use crate::source::Bytes;
use crate::tgm::{DType, Limits, Object};
use crate::{Error, Result};
use std::time::Duration;

/// Elements `start..start + count` of a flattened object, C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementRange {
    /// First element.
    pub start: u64,
    /// How many.
    pub count: u64,
}

/// What decoding did, summed over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeStats {
    /// Encoded bytes touched, masks included.
    pub bytes_read: u64,
    /// Bytes that came out of the last decoding stage, wanted or not.
    pub bytes_decoded: u64,
    /// Element ranges served by range decoding (after merging neighbours).
    pub ranges_decoded: u64,
    /// Objects decoded whole.
    pub full_decodes: u64,
    /// Codec blocks (szip RSIs, blosc2 blocks) decoded.
    pub blocks_decoded: u64,
    /// Range decodes that met a wrong szip offset and fell back to sequential decoding.
    pub fallbacks: u64,
    /// Time spent in decoding, without the sink.
    pub decode_time: Duration,
}

impl DecodeStats {
    /// Adds `other` to these.
    pub fn add(&mut self, other: &DecodeStats) {
        self.bytes_read += other.bytes_read;
        self.bytes_decoded += other.bytes_decoded;
        self.ranges_decoded += other.ranges_decoded;
        self.full_decodes += other.full_decodes;
        self.blocks_decoded += other.blocks_decoded;
        self.fallbacks += other.fallbacks;
        self.decode_time += other.decode_time;
    }
}

/// When the stored hash of an object's frame is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Never.
    #[default]
    Off,
    /// When the object is decoded whole.
    FullDecodes,
}

/// Buffers and decompression contexts that one worker reuses from object to object.
#[derive(Debug, Default)]
pub struct Scratch {}

/// The codec pipeline of one object, with its parameters checked.
#[derive(Debug, Clone)]
pub struct Pipeline {
    len: u64,
    dtype: DType,
}

impl Pipeline {
    /// Checks the descriptor of `object` and the size of its payload.
    ///
    /// # Errors
    /// [`Error::Codec`] for unknown stages and impossible combinations, [`Error::Metadata`] for missing or
    /// mistyped parameters, [`Error::Unsupported`] for codecs and dtypes that aren't read yet,
    /// [`Error::Limit`] for a decoded size that the limits, or the bytes that are there, don't allow.
    pub fn try_new(object: &Object, limits: &Limits) -> Result<Self> {
        let _ = limits;
        Err(Error::unsupported(&object.place, "decoding"))
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Dtype of the decoded elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether a range can be decoded without decoding everything before it.
    pub fn seeks(&self) -> bool {
        false
    }

    /// Decodes the elements of `ranges` (ascending, disjoint) and hands them to `sink` in that order, in
    /// blocks that don't cross range ends: `sink(first_element, block)`.
    ///
    /// `region` is the payload region of the object ([`Object::region`]). Where the pipeline can seek and the
    /// share of elements asked for is at most `range_threshold`, only the parts that the ranges need are
    /// decoded; else the object is decoded once, as a whole (piecewise where the codec allows).
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::Codec`], or whatever `sink` returns.
    pub fn visit(
        &self,
        region: &Bytes,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
        sink: &mut dyn FnMut(u64, Block<'_>) -> Result<()>,
    ) -> Result<()> {
        let _ = (region, ranges, range_threshold, scratch, stats, sink);
        Ok(())
    }

    /// Decodes `ranges`, in any order and overlapping as they like, one after the other.
    ///
    /// # Errors
    /// As [`Pipeline::visit`].
    pub fn decode_ranges(
        &self,
        region: &Bytes,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
    ) -> Result<Values> {
        let _ = (region, ranges, range_threshold, scratch, stats);
        Ok(Values::UInt8(Vec::new()))
    }

    /// Decodes the whole object.
    ///
    /// # Errors
    /// As [`Pipeline::visit`].
    pub fn decode(&self, region: &Bytes, scratch: &mut Scratch, stats: &mut DecodeStats) -> Result<Values> {
        self.decode_ranges(region, &[ElementRange { start: 0, count: self.len }], 0.0, scratch, stats)
    }
}
