//! The pipeline of one object.

use super::blosc2::{self, Decompressor, Payload};
use super::deliver::Sink;
use super::job::Job;
use super::masks::{MaskPlan, Masks};
use super::plan::{Compression, Encoding, Plan, value_width};
use super::region::{Held, Needs, Parts, Region, merged};
use super::scratch::Scratch;
use super::stats::DecodeStats;
use super::szip::RsiIndex;
use super::{Block, Piece, Values, bits, lz4, sz3, zfp, zfp_reader};
use crate::source::Bytes;
#[cfg(doc)]
use crate::source::Source;
use crate::tgm::{DType, Limits, Object};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Elements `start..start + count` of a flattened object, C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementRange {
    /// First element.
    pub start: u64,
    /// How many.
    pub count: u64,
}

/// The codec pipeline of one object, with its parameters checked.
///
/// Cheap to clone. What a first range decode learns of a payload is kept for the next ones, so one pipeline goes
/// with one object's bytes.
#[derive(Debug, Clone)]
pub struct Pipeline {
    plan: Arc<Plan>,
    learnt: Arc<Learnt>,
}

/// What range decodes learnt of a payload.
#[derive(Debug, Default)]
struct Learnt {
    /// Where the RSIs of a szip payload are; found by the first one.
    szip: OnceLock<RsiIndex>,
    /// The parts of a fetched blosc2 frame that tell where its blocks are.
    blosc2: Mutex<Parts>,
}

/// Decompressed zstd bytes from which on the payload is decoded window by window: below, one call into a buffer
/// that stays in cache is faster.
const STREAMED: u64 = 8 << 20;

/// Bytes of a blosc2 block, about: only the frame says, and it isn't looked at before it is decoded.
const BLOSC2_BLOCK: u64 = 128 << 10;

/// How a visit reads its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Ranges,
    Full,
}

impl Pipeline {
    /// Checks the descriptor of `object` and the size of its payload.
    ///
    /// # Errors
    /// [`Error::Codec`] for unknown stages and impossible combinations, [`Error::Metadata`] for missing or
    /// mistyped parameters, [`Error::Limit`] for a decoded size that the limits, or the bytes that are there, don't allow.
    pub fn try_new(object: &Object, limits: &Limits) -> Result<Self> {
        Ok(Self { plan: Plan::try_new(object, limits)?.into(), learnt: Arc::default() })
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
            Compression::Zfp(zfp) => zfp.block_bits().is_some(),
            Compression::Zstd | Compression::Lz4 | Compression::Sz3 { .. } => false,
            Compression::Rle | Compression::Roaring => false,
        }
    }

    /// Elements that come out together, about, where one of them is decoded: a block of the codec, or all of them.
    pub fn grain(&self) -> u64 {
        let width = value_width(self.plan.dtype);
        let grain = match &self.plan.compression {
            Compression::None => 1,
            Compression::Blosc2 => BLOSC2_BLOCK / width,
            Compression::Szip { aec, .. } => aec.rsi_samples(),
            Compression::Zfp(_) if self.seeks() => zfp::BLOCK as u64,
            _ => self.plan.len,
        };
        grain.clamp(1, self.plan.len.max(1))
    }

    /// What all elements lie between by how they are packed, whatever the payload says; `None` if they aren't packed,
    /// or some of them are masked.
    pub fn value_bounds(&self) -> Option<(f64, f64)> {
        match &self.plan.encoding {
            Encoding::Packed(packing) if self.plan.masks.is_empty() => packing.bounds(),
            _ => None,
        }
    }

    /// Whether a visit of so many elements decodes (or, uncompressed, reads) the object as a whole; what
    /// [`Verify::FullDecodes`](super::Verify::FullDecodes) asks before the first block is handed out.
    pub fn decodes_whole(&self, elements: u64, range_threshold: f64) -> bool {
        elements > 0 && (elements == self.plan.len || !self.by_ranges(elements, range_threshold))
    }

    /// What a visit of `ranges` looks at of a payload region, in any order; `None` for all of it. Of szip this is known
    /// once a range was decoded: stored offsets aren't followed, and the first visit walks the stream. Of a blosc2 frame
    /// it is what is known to be needed besides what earlier visits kept: at first what tells where the rest is.
    ///
    /// Payloads of up to `round_trip` bytes are looked at as a whole rather than by steps ([`Source::round_trip`]).
    pub(crate) fn spans(
        &self,
        ranges: &[ElementRange],
        range_threshold: f64,
        round_trip: u64,
    ) -> Option<Vec<Range<u64>>> {
        let known = Held::Parts(self.known());
        self.needs(ranges, range_threshold, round_trip, &known, &mut Decompressor::default())
            .map(|needs| needs.spans)
    }

    /// As [`Pipeline::spans`], given what was fetched.
    fn needs(
        &self,
        ranges: &[ElementRange],
        range_threshold: f64,
        round_trip: u64,
        held: &Held<'_>,
        decompressor: &mut Decompressor,
    ) -> Option<Needs> {
        let plan = &*self.plan;
        if !self.by_ranges(ranges.iter().map(|range| range.count).sum(), range_threshold) {
            return None;
        }
        let flat = ranges.iter().filter(|range| range.count > 0);
        let flat = flat.flat_map(|range| plan.flat_spans(range.start, range.start + range.count));
        let mut needs = match &plan.compression {
            Compression::None => Needs::of(flat.collect()),
            Compression::Zfp(zfp) => {
                let bits = zfp.block_bits()?;
                Needs::of(flat.map(|span| zfp_reader::bytes_of(&span, bits)).collect())
            }
            Compression::Szip { aec, .. } => {
                let index = self.learnt.szip.get()?;
                Needs::of(flat.map(|span| aec.bytes_of(index, span).ok()).collect::<Option<_>>()?)
            }
            Compression::Blosc2 if plan.payload_len <= round_trip => return None,
            Compression::Blosc2 => {
                let payload = Payload { held, len: plan.payload_len };
                let flat = merged(flat.collect(), plan.flat_len);
                blosc2::needs(payload, plan.flat_len, &flat, decompressor)?
            }
            _ => return None,
        };
        needs.spans.extend(plan.masks.iter().map(MaskPlan::span));
        Some(needs)
    }

    /// What earlier visits kept of a payload that has to be fetched.
    fn known(&self) -> Parts {
        self.learnt.blosc2.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps copies of `spans` of the payload, for what was fetched is let go some time.
    fn keep(&self, spans: Vec<Range<u64>>, held: &Held<'_>) {
        let mut known = self.learnt.blosc2.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = spans.into_iter().filter(|span| !known.has(span));
        let copied = spans
            .filter_map(|span| held.find(&span).map(|bytes| (span.start, Bytes::copy_from_slice(bytes))));
        let copied: Vec<_> = copied.collect();
        if !copied.is_empty() {
            known.add(copied);
        }
    }

    /// Where in the payload region the elements of a range are, if they can be looked at without the others: the
    /// object is uncompressed, unshuffled and unmasked.
    pub(crate) fn stored_at(&self, elements: Range<u64>) -> Option<Range<u64>> {
        let plan = &*self.plan;
        let plain = plan.compression == Compression::None && plan.shuffle.is_none() && plan.masks.is_empty();
        plain.then(|| plan.bytes_of(elements.start, elements.end))
    }

    /// As [`Pipeline::stored_at`], of elements that are stored as the values that they decode to.
    pub(crate) fn values_at(&self, elements: Range<u64>) -> Option<Range<u64>> {
        let plain = matches!(self.plan.encoding, Encoding::Plain { swap: false });
        plain.then(|| self.stored_at(elements)).flatten()
    }

    /// Whether a zstd payload is decoded window by window: one that is large, or of which enough at the end isn't wanted.
    fn streams(&self, ranges: &[ElementRange]) -> bool {
        let plan = &*self.plan;
        let saved = plan.flat_len - plan.flat_end(ranges);
        plan.shuffle.is_none() && (plan.flat_len >= STREAMED || saved >= plan.flat_len / 4)
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
    /// `region` is the payload region of the object ([`Object::region`]): its bytes, or where to fetch them. Where the pipeline can seek and the
    /// share of elements asked for is at most `range_threshold`, only the parts that the ranges need are
    /// decoded; else the object is decoded once, as a whole (piecewise where the codec allows). Uncompressed
    /// objects are always read by ranges.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::Codec`], [`Error::Io`] of a region in a file, or whatever `sink` returns.
    pub fn visit<'r>(
        &self,
        region: impl Into<Region<'r>>,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
        sink: &mut dyn FnMut(u64, Block<'_>) -> Result<()>,
    ) -> Result<()> {
        let sink = &mut |first, piece: Piece<'_>| match piece {
            Piece::Values(block) => sink(first, block),
            _ => Err(self.plan.fault("pipeline", "values came in another form")),
        };
        self.visit_as(region.into(), ranges, range_threshold, scratch, stats, false, sink)
    }

    /// As [`Pipeline::visit`], for a sink that takes elements in whichever form costs least: constants aren't
    /// spelt out, and packed integers not scaled, where no mask says otherwise.
    ///
    /// # Errors
    /// As [`Pipeline::visit`].
    pub fn visit_pieces<'r>(
        &self,
        region: impl Into<Region<'r>>,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
        sink: &mut dyn FnMut(u64, Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        self.visit_as(region.into(), ranges, range_threshold, scratch, stats, true, sink)
    }

    #[expect(clippy::too_many_arguments, reason = "those of a visit, and its form")]
    fn visit_as(
        &self,
        region: Region<'_>,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
        raw: bool,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let summary = self.check_ranges(ranges)?;
        if region.len() != self.plan.region_len {
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
        let plan = &*self.plan;
        let Scratch { whole, staging, values, masks, zstd, blosc2, block, numbers } = scratch;
        let mut heads = Vec::new();
        let spans = |held: &Held<'_>| {
            let needs = self.needs(ranges, range_threshold, region.round_trip(), held, blosc2)?;
            heads = needs.heads;
            Some(needs.spans)
        };
        let held = region.fetch(|| self.known(), spans, stats)?;
        if !heads.is_empty() {
            self.keep(heads, &held);
        }
        let loaded =
            stats.timed(|stats| Masks::load(&plan.masks, &held, plan.len, masks, zstd, blosc2, stats));
        let masks = loaded.map_err(|f| plan.failed(f))?;
        let mut job = Job { plan, ranges, masks, values, staging, whole, raw, sink, stats };
        // What was fetched is part of the payload only where no codec below asks for all of it.
        let payload = || held.get(0..plan.payload_len).map_err(|f| plan.failed(f));
        match &plan.compression {
            Compression::None => job.stored(region, &held, block),
            Compression::Zstd if self.streams(ranges) => job.zstd_windows(payload()?, zstd, block),
            Compression::Zstd => job.stream(payload()?, |payload, out| zstd.decode(payload, out)),
            Compression::Lz4 => job.stream(payload()?, lz4::decode),
            Compression::Zfp(zfp) => job.zfp(&held, zfp, mode, block),
            Compression::Sz3 { exact } => {
                job.stream(payload()?, |payload, out| sz3::decode(payload, *exact, zstd, block, out))
            }
            Compression::Rle => {
                job.stream(payload()?, |payload, out| bits::decode_counted(payload, out, bits::decode_rle))
            }
            Compression::Roaring => job
                .stream(payload()?, |payload, out| bits::decode_counted(payload, out, bits::decode_roaring)),
            Compression::Blosc2 => job.blosc2(&held, mode, blosc2, block),
            Compression::Szip { aec, .. } if mode == Mode::Full => job.szip_whole(payload()?, aec, numbers),
            Compression::Szip { aec, stored_offsets } => {
                let index = match self.learnt.szip.get() {
                    Some(index) => index,
                    None => {
                        let payload = payload()?;
                        let walk = || job.szip_index(payload, aec, stored_offsets.as_deref());
                        self.learnt.szip.get_or_init(walk)
                    }
                };
                job.szip_ranges(&held, aec, index, block, numbers)
            }
        }
    }

    /// Decodes `ranges`, in any order and overlapping as they like, one after the other.
    ///
    /// # Errors
    /// As [`Pipeline::visit`].
    pub fn decode_ranges<'r>(
        &self,
        region: impl Into<Region<'r>>,
        ranges: &[ElementRange],
        range_threshold: f64,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
    ) -> Result<Values> {
        for range in ranges {
            self.check_bounds(range)?;
        }
        let region = region.into();
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
    pub fn decode<'r>(
        &self,
        region: impl Into<Region<'r>>,
        scratch: &mut Scratch,
        stats: &mut DecodeStats,
    ) -> Result<Values> {
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
        region: Region<'_>,
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
        let mut values = Values::with_capacity(self.plan.dtype, room as usize);
        self.visit(region, ranges, range_threshold, scratch, stats, &mut |_, block| {
            if values.extend(block) {
                Ok(())
            } else {
                Err(self.plan.fault("pipeline", "blocks differ in dtype"))
            }
        })?;
        Ok(values)
    }

    /// `ranges` one after the other, out of `all`, the values of their `union`.
    fn pick(&self, ranges: &[ElementRange], union: &[ElementRange], all: &Values) -> Result<Values> {
        let mut first = Vec::with_capacity(union.len()); // of each union range, in `all`
        let mut sum = 0;
        for range in union {
            first.push(sum);
            sum += range.count;
        }
        let mut picked = Values::with_capacity(self.plan.dtype, sum as usize);
        for range in ranges.iter().filter(|range| range.count > 0) {
            let held = union.partition_point(|held| held.start <= range.start) - 1;
            let start = (first[held] + range.start - union[held].start) as usize;
            if !picked.extend(all.as_block().slice(start, start + range.count as usize)) {
                return Err(self.plan.fault("pipeline", "blocks differ in dtype"));
            }
        }
        Ok(picked)
    }
}

/// What a list of ranges adds up to.
#[derive(Debug, Default)]
struct Summary {
    elements: u64,
    /// Ranges that are left when those that touch are merged.
    merged: u64,
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
