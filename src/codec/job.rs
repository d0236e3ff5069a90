//! One visit: from a payload, by way of its codec, to windows that are delivered.

use super::ElementRange;
use super::blosc2::{Decompressor, Payload, Reader};
use super::deliver::{Delivery, Sink};
use super::masks::Masks;
use super::pipeline::Mode;
use super::plan::{Encoding, Plan, value_width};
use super::region::{Held, Region, Stored};
use super::scratch::AlignedBuf;
use super::shuffle::Shuffle;
use super::stats::DecodeStats;
use super::stream::{ZstdContext, ZstdReader};
use super::szip::{Aec, RsiIndex, Samples};
use super::szip_reader::{SzipReader, decode_numbers};
use super::windows::{Flat, Numbers, Planes, Windows, collect_planes};
use super::zfp::Zfp;
use super::zfp_reader::ZfpReader;
use crate::Result;

/// What a visit works with, besides the codec's own contexts.
pub(super) struct Job<'a, 's> {
    pub(super) plan: &'a Plan,
    pub(super) ranges: &'a [ElementRange],
    pub(super) masks: Masks<'a>,
    pub(super) values: &'a mut AlignedBuf,
    pub(super) staging: &'a mut AlignedBuf,
    pub(super) whole: &'a mut AlignedBuf,
    /// Whether constants and packed integers are handed over as such.
    pub(super) raw: bool,
    pub(super) sink: &'a mut Sink<'s>,
    pub(super) stats: &'a mut DecodeStats,
}

impl Job<'_, '_> {
    /// Nothing is compressed: only the bytes of the ranges are looked at.
    pub(super) fn stored(
        &mut self,
        region: Region<'_>,
        held: &Held<'_>,
        block: &mut AlignedBuf,
    ) -> Result<()> {
        for range in self.ranges {
            let span = self.plan.bytes_of(range.start, range.start + range.count);
            self.stats.bytes_read += span.end - span.start;
            self.stats.bytes_decoded += range.count * value_width(self.plan.dtype);
        }
        let mut stored = Stored { region, held, out: block };
        match (&self.plan.shuffle, held) {
            (None, _) => self.windows(&mut stored),
            (Some(_), Held::All(bytes)) => self.flat(&bytes[..self.plan.payload_len as usize]),
            (Some(shuffle), _) => self.gathered(shuffle, &mut stored),
        }
    }

    /// A codec that decodes everything in one call.
    pub(super) fn stream(
        &mut self,
        payload: &[u8],
        decode: impl FnOnce(&[u8], &mut [u8]) -> Result<(), String>,
    ) -> Result<()> {
        self.count_whole(payload.len() as u64);
        let mut whole = std::mem::take(self.whole);
        let out = whole.take(self.plan.flat_len as usize).map_err(|f| self.plan.failed(f))?;
        let decoded = self.stats.timed(|_| decode(payload, out));
        let decoded = decoded.map_err(|what| self.plan.fault(self.plan.compression.name(), what));
        let delivered = decoded.and_then(|()| self.flat(whole.bytes()));
        *self.whole = whole;
        delivered
    }

    /// Up to the last element asked for; if that is the last one there is, all of the payload is looked at.
    pub(super) fn zstd_windows(
        &mut self,
        payload: &[u8],
        zstd: &mut ZstdContext,
        block: &mut AlignedBuf,
    ) -> Result<()> {
        let whole = self.plan.flat_end(self.ranges) == self.plan.flat_len;
        let reader = ZstdReader::open(payload, self.plan.flat_len, zstd, block);
        let mut reader = reader.map_err(|f| self.plan.failed(f))?;
        self.windows(&mut reader)?;
        let (read, decoded) = reader.passed();
        self.stats.bytes_read += if whole { payload.len() as u64 } else { read };
        self.stats.bytes_decoded += decoded;
        if whole {
            reader.finish(self.stats).map_err(|f| self.plan.failed(f))?;
        }
        Ok(())
    }

    pub(super) fn blosc2(
        &mut self,
        held: &Held<'_>,
        mode: Mode,
        decompressor: &mut Decompressor,
        block: &mut AlignedBuf,
    ) -> Result<()> {
        let mut pieces = AlignedBuf::default();
        let payload = Payload { held, len: self.plan.payload_len };
        let reader = Reader::open(payload, self.plan.flat_len, decompressor, block, &mut pieces, self.stats);
        let mut reader = reader.map_err(|f| self.plan.failed(f))?;
        match (&self.plan.shuffle, mode) {
            (None, _) => self.windows(&mut reader),
            (Some(shuffle), Mode::Ranges) => self.gathered(shuffle, &mut reader),
            (Some(_), Mode::Full) => {
                let mut whole = std::mem::take(self.whole);
                let out = whole.take(self.plan.flat_len as usize);
                let read =
                    out.and_then(|out| reader.read_all(out, self.stats)).map_err(|f| self.plan.failed(f));
                let delivered = read.and_then(|()| self.flat(whole.bytes()));
                *self.whole = whole;
                delivered
            }
        }
    }

    /// Zfp gives values block by block. Streams of another mode than a fixed rate are decoded up to the last value asked
    /// for.
    pub(super) fn zfp(
        &mut self,
        held: &Held<'_>,
        zfp: &Zfp,
        mode: Mode,
        block: &mut AlignedBuf,
    ) -> Result<()> {
        let Plan { payload_len, len, .. } = *self.plan;
        let reader = ZfpReader::new(zfp, held, payload_len, len, block);
        let mut reader = reader.map_err(|f| self.plan.failed(f))?;
        if mode == Mode::Full {
            self.count_whole(payload_len);
        }
        self.windows(&mut reader)?;
        if mode == Mode::Ranges {
            reader.count(self.stats);
        }
        Ok(())
    }

    pub(super) fn szip_whole(&mut self, payload: &[u8], aec: &Aec, numbers: &mut AlignedBuf) -> Result<()> {
        let flat_len = self.plan.flat_len;
        self.stats.blocks_decoded += aec.rsi_count(flat_len / aec.sample_bytes() as u64);
        if self.as_numbers() {
            self.count_whole(payload.len() as u64);
            let samples = decode_numbers(aec, payload, flat_len, numbers, self.stats);
            let samples = samples.map_err(|f| self.plan.failed(f))?;
            return self.windows(&mut Numbers { samples, width: aec.sample_bytes() as u64 });
        }
        let decode = |payload: &[u8], out: &mut [u8]| aec.decode_all(payload, Samples::Bytes(out)).map(drop);
        self.stream(payload, |payload, out| decode(payload, out).map_err(|e| e.to_string()))
    }

    /// Finds where the RSIs are, and whether the stored offsets say the same.
    pub(super) fn szip_index(&mut self, payload: &[u8], aec: &Aec, stored: Option<&[u64]>) -> RsiIndex {
        self.stats.bytes_read += payload.len() as u64;
        let samples = self.plan.flat_len / aec.sample_bytes() as u64;
        let index = self.stats.timed(|_| aec.index(payload, samples, stored));
        self.stats.fallbacks += u64::from(!index.stored_agree());
        index
    }

    pub(super) fn szip_ranges(
        &mut self,
        held: &Held<'_>,
        aec: &Aec,
        index: &RsiIndex,
        block: &mut AlignedBuf,
        numbers: &mut AlignedBuf,
    ) -> Result<()> {
        let samples = self.plan.flat_len / aec.sample_bytes() as u64;
        let mut reader = SzipReader::new(aec, held, index, samples, self.as_numbers(), block, numbers);
        match &self.plan.shuffle {
            None => self.windows(&mut reader),
            Some(shuffle) => self.gathered(shuffle, &mut reader),
        }
    }

    /// Whether samples go to the next stage as numbers, without a detour through bytes.
    fn as_numbers(&self) -> bool {
        matches!(self.plan.encoding, Encoding::Packed(_)) && self.plan.shuffle.is_none()
    }

    fn count_whole(&mut self, payload_len: u64) {
        self.stats.bytes_read += payload_len;
        self.stats.bytes_decoded += self.plan.flat_len;
    }

    fn windows<W: Windows>(&mut self, windows: &mut W) -> Result<()> {
        let masks = std::mem::take(&mut self.masks);
        let Self { plan, raw, .. } = *self;
        Delivery { plan, masks, values: self.values, stats: self.stats, raw, sink: self.sink }
            .run(windows, self.ranges)
    }

    /// All decompressed bytes are there, shuffled or not.
    fn flat(&mut self, bytes: &[u8]) -> Result<()> {
        match self.plan.shuffle {
            None => self.windows(&mut Flat(bytes)),
            Some(shuffle) => self.planes(bytes, shuffle, shuffle, Vec::new()),
        }
    }

    /// Shuffled bytes of a codec that seeks: only the plane bytes that the ranges need.
    fn gathered<W: Windows>(&mut self, shuffle: &Shuffle, source: &mut W) -> Result<()> {
        let mut collected = std::mem::take(self.whole);
        let starts = collect_planes(self.plan, shuffle, self.ranges, source, &mut collected, self.stats);
        let delivered = starts.map_err(|f| self.plan.failed(f)).and_then(|(starts, groups)| {
            let held = Shuffle::try_new(shuffle.size(), groups * shuffle.size());
            let held = held.map_err(|e| self.plan.fault("shuffle", e.to_string()))?;
            self.planes(collected.bytes(), *shuffle, held, starts)
        });
        *self.whole = collected;
        delivered
    }

    fn planes(&mut self, bytes: &[u8], whole: Shuffle, held: Shuffle, starts: Vec<(u64, u64)>) -> Result<()> {
        let mut staging = std::mem::take(self.staging);
        let result =
            self.windows(&mut Planes { bytes, whole, held, starts, start: (0, 0), out: &mut staging });
        *self.staging = staging;
        result
    }
}
