//! The pipeline of one object.

use super::blosc2::Reader;
use super::deliver::{Delivery, Sink};
use super::masks::Masks;
use super::plan::{Compression, Encoding, Plan};
use super::scratch::Scratch;
use super::shuffle::Shuffle;
use super::stats::DecodeStats;
use super::stream;
use super::szip_reader::{SzipReader, decode_numbers};
use super::windows::{Fault, Flat, Numbers, Planes, Windows, collect_planes};
use super::{Block, Values};
use crate::source::Bytes;
use crate::tgm::{DType, Limits, Object};
use crate::{Error, Result};
use std::sync::{Arc, OnceLock};

/// Elements `start..start + count` of a flattened object, C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementRange {
    /// First element.
    pub start: u64,
    /// How many.
    pub count: u64,
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

/// The codec pipeline of one object, with its parameters checked.
#[derive(Debug, Clone)]
pub struct Pipeline {
    plan: Plan,
    /// Where the RSIs of a szip payload are; found by the first range decode.
    szip_index: Arc<OnceLock<super::szip::RsiIndex>>,
}

/// How a visit reads its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ranges,
    Full,
}

impl Pipeline {
    /// Checks the descriptor of `object` and the size of its payload.
    ///
    /// # Errors
    /// [`Error::Codec`] for unknown stages and impossible combinations, [`Error::Metadata`] for missing or
    /// mistyped parameters, [`Error::Unsupported`] for codecs and dtypes that aren't read yet,
    /// [`Error::Limit`] for a decoded size that the limits, or the bytes that are there, don't allow.
    pub fn try_new(object: &Object, limits: &Limits) -> Result<Self> {
        Ok(Self { plan: Plan::try_new(object, limits)?, szip_index: Arc::default() })
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.plan.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.plan.len == 0
    }

    /// Dtype of the decoded elements.
    pub fn dtype(&self) -> DType {
        self.plan.dtype
    }

    /// Whether a range can be decoded without decoding everything before it.
    pub fn seeks(&self) -> bool {
        match self.plan.compression {
            Compression::None | Compression::Blosc2 | Compression::Szip { .. } => true,
            Compression::Zstd | Compression::Lz4 => false,
        }
    }

    /// Whether a visit of so many elements decodes (or, uncompressed, reads) the object as a whole; what
    /// [`Verify::FullDecodes`] asks before the first block is handed out.
    pub fn decodes_whole(&self, elements: u64, range_threshold: f64) -> bool {
        elements > 0 && (elements == self.plan.len || !self.by_ranges(elements, range_threshold))
    }

    /// The cost rule. Uncompressed values cost what is read of them, so ranges never cost more than the whole.
    fn by_ranges(&self, elements: u64, range_threshold: f64) -> bool {
        match self.plan.compression {
            Compression::None => true,
            _ => self.seeks() && elements as f64 / self.plan.len as f64 <= range_threshold,
        }
    }

    /// Decodes the elements of `ranges` (ascending, disjoint) and hands them to `sink` in that order, in
    /// blocks that don't cross range ends: `sink(first_element, block)`.
    ///
    /// `region` is the payload region of the object ([`Object::region`]). Where the pipeline can seek and the
    /// share of elements asked for is at most `range_threshold`, only the parts that the ranges need are
    /// decoded; else the object is decoded once, as a whole (piecewise where the codec allows). Uncompressed
    /// objects are always read by ranges.
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
        let summary = self.check_ranges(ranges)?;
        if region.len() as u64 != self.plan.region_len {
            let what = format!("a payload region of {} bytes, wanted {}", region.len(), self.plan.region_len);
            return Err(self.plan.fault("pipeline", what));
        }
        if summary.elements == 0 {
            return Ok(());
        }
        let ranged = self.by_ranges(summary.elements, range_threshold);
        if self.decodes_whole(summary.elements, range_threshold) {
            stats.full_decodes += 1;
        } else {
            stats.ranges_decoded += summary.merged;
        }
        let mode = if ranged { Mode::Ranges } else { Mode::Full };
        self.deliver(region, ranges, mode, scratch, stats, sink)
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
        for range in ranges {
            self.check_bounds(range)?;
        }
        let ascending = ranges.windows(2).all(|pair| pair[0].start + pair[0].count <= pair[1].start);
        if ascending {
            return self.collect(region, ranges, range_threshold, scratch, stats);
        }
        let union = union(ranges);
        let all = self.collect(region, &union, range_threshold, scratch, stats)?;
        self.pick(ranges, &union, &all)
    }

    /// Decodes the whole object.
    ///
    /// # Errors
    /// As [`Pipeline::visit`].
    pub fn decode(&self, region: &Bytes, scratch: &mut Scratch, stats: &mut DecodeStats) -> Result<Values> {
        self.decode_ranges(region, &[ElementRange { start: 0, count: self.plan.len }], 0.0, scratch, stats)
    }

    fn check_bounds(&self, range: &ElementRange) -> Result<()> {
        let len = self.plan.len;
        match range.start.checked_add(range.count) {
            Some(end) if end <= len => Ok(()),
            _ => Err(Error::OutOfBounds {
                at: self.plan.at.clone(),
                offset: range.start,
                count: range.count,
                len,
            }),
        }
    }

    fn check_ranges(&self, ranges: &[ElementRange]) -> Result<Summary> {
        let mut summary = Summary::default();
        let mut last = None;
        for range in ranges {
            self.check_bounds(range)?;
            if last.is_some_and(|end| range.start < end) {
                let what = format!("the range at {} isn't after the one before it", range.start);
                return Err(self.plan.fault("ranges", what));
            }
            if range.count > 0 && last != Some(range.start) {
                summary.merged += 1;
            }
            summary.elements += range.count;
            last = Some(range.start + range.count).filter(|_| range.count > 0).or(last);
        }
        Ok(summary)
    }

    /// The values of ascending, disjoint ranges.
    fn collect(
        &self,
        region: &Bytes,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
    ) -> Result<Values> {
        /// Elements that room is made for at once; more only as they come, for compressed sizes are claims.
        const ROOM: u64 = 1 << 20;
        let wanted: u64 = ranges.iter().map(|range| range.count).sum();
        let certain = self.plan.compression == Compression::None && self.plan.flat_len > 0;
        let room = if certain { wanted } else { wanted.min(ROOM) };
        let mut values = self.values(room)?;
        self.visit(region, ranges, range_threshold, scratch, stats, &mut |_, block| {
            if values.extend(block) {
                Ok(())
            } else {
                Err(self.plan.fault("pipeline", "blocks differ in dtype"))
            }
        })?;
        Ok(values)
    }

    fn values(&self, room: u64) -> Result<Values> {
        let unsupported = || Error::unsupported(&self.plan.at, format!("dtype {}", self.plan.dtype));
        Values::with_capacity(self.plan.dtype, room as usize).ok_or_else(unsupported)
    }

    /// `ranges` one after the other, out of `all`, the values of their `union`.
    fn pick(&self, ranges: &[ElementRange], union: &[ElementRange], all: &Values) -> Result<Values> {
        let mut first = Vec::with_capacity(union.len()); // of each union range, in `all`
        let mut sum = 0;
        for range in union {
            first.push(sum);
            sum += range.count;
        }
        let mut picked = self.values(sum)?;
        for range in ranges.iter().filter(|range| range.count > 0) {
            let held = union.partition_point(|held| held.start <= range.start) - 1;
            let start = (first[held] + range.start - union[held].start) as usize;
            if !picked.extend(all.as_block().slice(start, start + range.count as usize)) {
                return Err(self.plan.fault("pipeline", "blocks differ in dtype"));
            }
        }
        Ok(picked)
    }

    fn deliver(
        &self,
        region: &Bytes,
        ranges: &[ElementRange],
        mode: Mode,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let plan = &self.plan;
        let fault = |f: Fault| plan.fault(f.codec, f.what);
        let Scratch { whole, staging, values, masks, zstd, blosc2, block, numbers } = scratch;
        let payload = &region[..plan.payload_len as usize];
        let masks = stats
            .timed(|stats| Masks::load(&plan.masks, region, plan.len, masks, zstd, blosc2, stats))
            .map_err(fault)?;
        let flat_len = plan.flat_len as usize;
        let mut job = Job { plan, ranges, masks, values, sink, staging };
        match (&plan.compression, mode) {
            (Compression::None, _) => {
                count_stored(plan, ranges, stats);
                job.flat(payload, stats)
            }
            (Compression::Zstd | Compression::Lz4, _) => {
                let out = whole.take(flat_len);
                stats.bytes_read += payload.len() as u64;
                stats.bytes_decoded += plan.flat_len;
                let decoded = stats.timed(|_| match plan.compression {
                    Compression::Zstd => zstd.decode(payload, out),
                    _ => stream::lz4(payload, out),
                });
                decoded.map_err(|what| plan.fault(plan.compression.name(), what))?;
                job.flat(whole.bytes(), stats)
            }
            (Compression::Blosc2, mode) => {
                let mut pieces = Default::default();
                let mut reader = Reader::open(payload, plan.flat_len, blosc2, block, &mut pieces, stats)
                    .map_err(|what| plan.fault("blosc2", what))?;
                match (&plan.shuffle, mode) {
                    (None, _) => job.windows(&mut reader, stats),
                    (Some(shuffle), Mode::Ranges) => job.gathered(shuffle, &mut reader, whole, stats),
                    (Some(_), Mode::Full) => {
                        reader.read_all(whole.take(flat_len), stats).map_err(fault)?;
                        job.flat(whole.bytes(), stats)
                    }
                }
            }
            (Compression::Szip { aec, stored_offsets }, Mode::Ranges) => {
                let samples = plan.flat_len / aec.sample_bytes() as u64;
                let index = self.szip_index.get_or_init(|| {
                    stats.bytes_read += payload.len() as u64;
                    let index = stats.timed(|_| aec.index(payload, samples, stored_offsets.as_deref()));
                    stats.fallbacks += u64::from(!index.stored_agree());
                    index
                });
                let as_numbers = matches!(plan.encoding, Encoding::Packed(_)) && plan.shuffle.is_none();
                let mut reader = SzipReader::new(aec, payload, index, samples, as_numbers, block, numbers);
                match &plan.shuffle {
                    None => job.windows(&mut reader, stats),
                    Some(shuffle) => job.gathered(shuffle, &mut reader, whole, stats),
                }
            }
            (Compression::Szip { aec, .. }, Mode::Full) => {
                stats.bytes_read += payload.len() as u64;
                stats.bytes_decoded += plan.flat_len;
                stats.blocks_decoded += aec.rsi_count(plan.flat_len / aec.sample_bytes() as u64);
                if matches!(plan.encoding, Encoding::Packed(_)) && plan.shuffle.is_none() {
                    let samples =
                        decode_numbers(aec, payload, plan.flat_len, numbers, stats).map_err(fault)?;
                    return job.windows(&mut Numbers { samples, width: aec.sample_bytes() as u64 }, stats);
                }
                let out = super::szip::Samples::Bytes(whole.take(flat_len));
                stats
                    .timed(|_| aec.decode_all(payload, out))
                    .map_err(|e| plan.fault("szip", e.to_string()))?;
                job.flat(whole.bytes(), stats)
            }
        }
    }
}

/// What a list of ranges adds up to.
#[derive(Debug, Default)]
struct Summary {
    elements: u64,
    /// Ranges that are left when those that touch are merged.
    merged: u64,
}

/// What is left to do once the codec's access to the bytes is clear.
struct Job<'a, 's> {
    plan: &'a Plan,
    ranges: &'a [ElementRange],
    masks: Masks<'a>,
    values: &'a mut super::scratch::AlignedBuf,
    staging: &'a mut super::scratch::AlignedBuf,
    sink: &'a mut Sink<'s>,
}

impl<'s> Job<'_, 's> {
    fn windows<W: Windows>(&mut self, windows: &mut W, stats: &mut DecodeStats) -> Result<()> {
        let masks = std::mem::take(&mut self.masks);
        Delivery { plan: self.plan, masks, values: self.values, stats, sink: self.sink }
            .run(windows, self.ranges)
    }

    /// All decompressed bytes are there, shuffled or not.
    fn flat(&mut self, bytes: &[u8], stats: &mut DecodeStats) -> Result<()> {
        match self.plan.shuffle {
            None => self.windows(&mut Flat(bytes), stats),
            Some(shuffle) => self.planes(bytes, shuffle, shuffle, Vec::new(), stats),
        }
    }

    /// Shuffled bytes of a codec that seeks: only the plane bytes that the ranges need.
    fn gathered<W: Windows>(
        &mut self,
        shuffle: &Shuffle,
        source: &mut W,
        buffer: &mut super::scratch::AlignedBuf,
        stats: &mut DecodeStats,
    ) -> Result<()> {
        let fault = |f: Fault| self.plan.fault(f.codec, f.what);
        let collected = collect_planes(self.plan, shuffle, self.ranges, source, buffer, stats);
        let (starts, groups) = collected.map_err(fault)?;
        let held = Shuffle::try_new(shuffle.size(), groups * shuffle.size());
        let held = held.map_err(|e| self.plan.fault("shuffle", e.to_string()))?;
        self.planes(buffer.bytes(), *shuffle, held, starts, stats)
    }

    fn planes(
        &mut self,
        bytes: &[u8],
        whole: Shuffle,
        held: Shuffle,
        starts: Vec<(u64, u64)>,
        stats: &mut DecodeStats,
    ) -> Result<()> {
        let mut staging = std::mem::take(self.staging);
        let mut planes = Planes { bytes, whole, held, starts, shift: 0, out: &mut staging };
        let result = self.windows(&mut planes, stats);
        *self.staging = staging;
        result
    }
}

/// Counters of values that are stored as they are.
fn count_stored(plan: &Plan, ranges: &[ElementRange], stats: &mut DecodeStats) {
    for range in ranges {
        let span = plan.bytes_of(range.start, range.start + range.count);
        stats.bytes_read += span.end - span.start;
        stats.bytes_decoded += range.count * super::plan::value_width(plan.dtype);
    }
}

/// The elements of `ranges`, as ascending ranges that don't touch.
fn union(ranges: &[ElementRange]) -> Vec<ElementRange> {
    let mut sorted: Vec<_> = ranges.iter().copied().filter(|range| range.count > 0).collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut union: Vec<ElementRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match union.last_mut() {
            Some(last) if range.start <= last.start + last.count => {
                last.count = last.count.max(range.start + range.count - last.start);
            }
            _ => union.push(range),
        }
    }
    union
}
