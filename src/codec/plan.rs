//! From a descriptor to checked stages and sizes; no payload byte is touched.

use super::ElementRange;
use super::encode::checks::szip_samples;
use super::masks::MaskPlan;
use super::packing::SimplePacking;
use super::shuffle::Shuffle;
use super::spec::{self, Filter, Spec};
use super::sz3;
use super::szip::Aec;
use super::windows::Fault;
use super::zfp::Zfp;
use crate::tgm::{ByteOrder, DType, Descriptor, Limits, Object};
use crate::{Error, Place, Result};
use std::ops::Range;

/// Decoded bytes that are always plausible, whatever the size of the payload.
const FREE_BYTES: u64 = 1 << 20;
/// The same for values that need no payload at all (simple packing with 0 bits: a constant field).
const FREE_CONSTANT_BYTES: u64 = 256 << 20;
/// A zstd block has a header of 3 bytes and gives at most 128 KiB.
const ZSTD_BLOCK: (u64, u64) = (3, 128 << 10);
/// One byte of an LZ4 block stands for at most 255 bytes, besides a few at its ends.
const LZ4_RATIO: u64 = 255;

/// What the elements look like between encoding and compression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Encoding {
    /// Values themselves; `swap` if they are in the other byte order.
    Plain { swap: bool },
    /// One bit an element, MSB first.
    Bits,
    /// Scaled integers of some bits.
    Packed(SimplePacking),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Compression {
    None,
    Zstd,
    Lz4,
    Blosc2,
    Szip {
        aec: Aec,
        stored_offsets: Option<Vec<u64>>,
    },
    Zfp(Zfp),
    /// `exact`: what is in it isn't float64 values, so that only a stream that loses nothing has it.
    Sz3 {
        exact: bool,
    },
    Rle,
    Roaring,
}

impl Compression {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Blosc2 => "blosc2",
            Self::Szip { .. } => "szip",
            Self::Zfp(_) => "zfp",
            Self::Sz3 { .. } => "sz3",
            Self::Rle => "rle",
            Self::Roaring => "roaring",
        }
    }
}

/// The checked stages of one object.
///
/// ```text
/// payload (payload_len) -> decompress -> flat bytes (flat_len) -> unshuffle -> encoded elements -> values
/// ```
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) at: Place,
    /// Number of elements.
    pub(super) len: u64,
    pub(super) dtype: DType,
    pub(super) encoding: Encoding,
    /// `None` also for a shuffle of single bytes, which changes nothing.
    pub(super) shuffle: Option<Shuffle>,
    pub(super) compression: Compression,
    /// Bytes that decompression must give.
    pub(super) flat_len: u64,
    /// Bytes of the payload region: payload and masks.
    pub(super) region_len: u64,
    /// Bytes of the encoded tensor alone.
    pub(super) payload_len: u64,
    pub(super) masks: Vec<MaskPlan>,
}

impl Plan {
    pub(super) fn try_new(object: &Object, limits: &Limits) -> Result<Self> {
        let (at, descriptor) = (&object.place, &object.descriptor);
        let (dtype, len) = (descriptor.dtype, descriptor.len());
        let spec = Spec::from_descriptor(descriptor, at)?;
        let encoding = encoding(at, descriptor, &spec)?;
        let compression = compression(at, descriptor, &spec)?;
        let payload = object.payload();
        let region_len = object.region.end.saturating_sub(object.region.start);
        let payload_len = payload.end.saturating_sub(payload.start).min(region_len);
        let masks = MaskPlan::all(at, descriptor, region_len)?;

        // Sizes stay below 2^60, so that bits of an element range can be counted in u64.
        let too_many =
            || Error::Limit { at: at.clone(), what: "shape", got: len, limit: limits.decoded_bytes };
        let value_bytes =
            len.checked_mul(value_width(dtype)).filter(|n| *n < 1 << 60).ok_or_else(too_many)?;
        let flat_len = match &encoding {
            Encoding::Plain { .. } => value_bytes,
            Encoding::Bits => len.div_ceil(8),
            Encoding::Packed(packing) => packing.packed_bytes(len).ok_or_else(too_many)?,
        };
        let plan = Self {
            at: at.clone(),
            len,
            dtype,
            shuffle: shuffle(at, spec.filter, flat_len)?,
            encoding,
            compression,
            flat_len,
            region_len,
            payload_len,
            masks,
        };
        plan.check_limits(value_bytes, object, limits)?;
        plan.check_payload()?;
        Ok(plan)
    }

    /// The decoded size against the limits and against the bytes that are there.
    fn check_limits(&self, value_bytes: u64, object: &Object, limits: &Limits) -> Result<()> {
        let check = |what, got, limit| {
            if got <= limit { Ok(()) } else { Err(Error::Limit { at: self.at.clone(), what, got, limit }) }
        };
        check("decoded size", value_bytes, limits.decoded_bytes)?;
        if self.compression == Compression::None && self.flat_len > 0 {
            return Ok(()); // must match exactly, checked next
        }
        let frame = object.frame.end.saturating_sub(object.frame.start).max(self.region_len);
        let free = if self.flat_len == 0 { FREE_CONSTANT_BYTES } else { FREE_BYTES };
        check("decoded size", value_bytes, free.saturating_add(limits.expansion.saturating_mul(frame)))
    }

    /// The size of the payload against what the codec could make of it.
    fn check_payload(&self) -> Result<()> {
        let (have, want) = (self.payload_len, self.flat_len);
        let most = match &self.compression {
            Compression::None if have == want => return Ok(()),
            Compression::None => {
                let codec =
                    if matches!(self.encoding, Encoding::Packed(_)) { "simple_packing" } else { "none" };
                return Err(self.fault(codec, format!("a payload of {have} bytes, wanted {want}")));
            }
            Compression::Zstd => (have / ZSTD_BLOCK.0).saturating_mul(ZSTD_BLOCK.1),
            Compression::Lz4 => have.saturating_mul(LZ4_RATIO),
            Compression::Blosc2 => u64::MAX, // runs of one value take no room; sizes in the frame are checked
            Compression::Zfp(zfp) => {
                let (least, most) = zfp.payload_bytes(self.len);
                if !(least..=most).contains(&have) {
                    let what = format!(
                        "a payload of {have} bytes for {} values, wanted {least} to {most}",
                        self.len
                    );
                    return Err(self.fault("zfp", what));
                }
                return Ok(());
            }
            // A step of twice the bound for each value may take no bits at all.
            Compression::Sz3 { .. } | Compression::Rle | Compression::Roaring => u64::MAX,
            Compression::Szip { aec, .. } => {
                let sample = aec.sample_bytes() as u64;
                if !want.is_multiple_of(sample) {
                    return Err(
                        self.fault("szip", format!("{want} bytes aren't whole samples of {sample} bytes"))
                    );
                }
                aec.max_samples(have).saturating_mul(sample)
            }
        };
        if want <= most {
            return Ok(());
        }
        Err(Error::Limit { at: self.at.clone(), what: "decompressed size", got: want, limit: most })
    }

    /// Bits of one element between encoding and compression; 0 for simple packing with 0 bits.
    pub(super) fn element_bits(&self) -> u64 {
        match &self.encoding {
            Encoding::Plain { .. } => value_width(self.dtype) * 8,
            Encoding::Bits => 1,
            Encoding::Packed(packing) => u64::from(packing.bits()),
        }
    }

    /// The encoded bytes that hold elements `start..end`.
    pub(super) fn bytes_of(&self, start: u64, end: u64) -> Range<u64> {
        let bits = self.element_bits();
        start * bits / 8..(end * bits).div_ceil(8)
    }

    /// The end of the encoded bytes that hold the elements of `ranges`, which ascend.
    pub(super) fn flat_end(&self, ranges: &[ElementRange]) -> u64 {
        let last = ranges.iter().rfind(|range| range.count > 0);
        last.map_or(0, |range| self.bytes_of(range.start, range.start + range.count).end)
    }

    /// The decompressed bytes that elements `start..end` are made of: one span, or one for each shuffled plane.
    pub(super) fn flat_spans(&self, start: u64, end: u64) -> Vec<Range<u64>> {
        let bytes = self.bytes_of(start, end);
        let Some(shuffle) = &self.shuffle else { return vec![bytes] };
        let groups = shuffle.covering(bytes);
        let plane = |plane| {
            let base = plane * shuffle.elements();
            base + groups.start..base + groups.end
        };
        (0..shuffle.size()).map(plane).collect()
    }

    /// What a stage reported, at this object.
    pub(super) fn failed(&self, fault: Fault) -> Error {
        match fault.read {
            Some(error) => *error,
            None => self.fault(fault.codec, fault.what),
        }
    }

    /// A codec error at this object.
    pub(super) fn fault(&self, codec: &'static str, what: impl Into<String>) -> Error {
        Error::codec(&self.at, codec, what)
    }
}

/// Bytes of one decoded value; a bitmask decodes to a byte an element.
pub(super) fn value_width(dtype: DType) -> u64 {
    dtype.width().unwrap_or(1) as u64
}

fn encoding(at: &Place, descriptor: &Descriptor, spec: &Spec) -> Result<Encoding> {
    match spec.encoding {
        spec::Encoding::None if spec.dtype == DType::Bitmask => Ok(Encoding::Bits),
        spec::Encoding::None => {
            // These give numbers of this machine, whatever order the bytes are said to have.
            let numbers =
                matches!(spec.compression, spec::Compression::Zfp(_) | spec::Compression::Sz3 { .. });
            let swap = spec.byte_order != ByteOrder::NATIVE && spec.dtype.swap_unit() > 1 && !numbers;
            Ok(Encoding::Plain { swap })
        }
        spec::Encoding::SimplePacking(packing) => {
            if spec.dtype != DType::Float64 {
                let what = format!("packs float64, and this object is {}", spec.dtype);
                return Err(Error::codec(at, "simple_packing", what));
            }
            for key in ["sp_reference_value", "sp_binary_scale_factor", "sp_decimal_scale_factor"] {
                descriptor.require(at, key, Ok(descriptor.params.get(key)))?;
            }
            let (reference, binary) = packing.scales.unwrap_or_default();
            let bits = u32::try_from(packing.bits).unwrap_or(u32::MAX); // refused like any width above 64
            let packing = SimplePacking::try_new(bits, reference, binary, packing.decimal);
            packing.map(Encoding::Packed).map_err(|e| Error::codec(at, "simple_packing", e.to_string()))
        }
    }
}

fn shuffle(at: &Place, filter: Filter, flat_len: u64) -> Result<Option<Shuffle>> {
    let Filter::Shuffle(size) = filter else { return Ok(None) };
    let shuffle = Shuffle::try_new(size, flat_len).map_err(|e| Error::codec(at, "shuffle", e.to_string()))?;
    Ok((size > 1 && flat_len > 0).then_some(shuffle))
}

fn compression(at: &Place, descriptor: &Descriptor, spec: &Spec) -> Result<Compression> {
    let name = spec.compression.name();
    let fault = |what: String| Error::codec(at, name, what);
    let refuse = |what: String| Err(fault(what));
    let staged = spec.encoding != spec::Encoding::None || spec.filter != Filter::None;
    Ok(match spec.compression {
        spec::Compression::None => Compression::None,
        spec::Compression::Zstd { .. } => Compression::Zstd,
        spec::Compression::Lz4 => Compression::Lz4,
        spec::Compression::Blosc2 { .. } => Compression::Blosc2,
        spec::Compression::Szip { rsi, block_size, flags } => {
            let aec = szip_samples(spec, rsi, block_size, flags).map_err(fault)?;
            // Offsets are a hint that is checked against the stream; of a wrong type they are no hint.
            let stored_offsets = descriptor.uints(at, "szip_block_offsets").unwrap_or_default();
            Compression::Szip { aec, stored_offsets }
        }
        spec::Compression::Zfp(_) if spec.dtype != DType::Float64 => {
            // The reference writes such files, and takes the bytes for float64.
            return refuse(format!("holds float64, and this object is {}", spec.dtype));
        }
        spec::Compression::Zfp(_) if staged => return refuse(sz3::LOSES.into()),
        spec::Compression::Zfp(mode) => {
            Compression::Zfp(Zfp::try_new(mode).map_err(|e| fault(e.to_string()))?)
        }
        spec::Compression::Sz3 { .. } => {
            let exact = staged || spec.dtype != DType::Float64;
            if exact && spec.byte_order != ByteOrder::NATIVE {
                return refuse("of bytes in another order than this machine's are taken for float64".into());
            }
            Compression::Sz3 { exact }
        }
        spec::Compression::Rle | spec::Compression::Roaring if spec.dtype != DType::Bitmask => {
            return refuse(format!("holds bitmasks, and this object is {}", spec.dtype));
        }
        spec::Compression::Rle => Compression::Rle,
        spec::Compression::Roaring => Compression::Roaring,
    })
}
