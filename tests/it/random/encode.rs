//! Objects of every pipeline that is written in a few lines.

use blosc2::schunk::{SChunk, Storage};
use half::{bf16, f16};
use millibar::Place;
use millibar::codec::Pipeline;
use millibar::dataset::Chunk;
use millibar::source::Memory;
use millibar::tgm::{ByteOrder, DType, Descriptor, Limits, Map, MaskEntry, MaskKind, Object, Value as Cbor};
use std::sync::{Arc, Once};
use tensogram_szip::{AEC_DATA_MSB, AEC_DATA_PREPROCESS, AecParams, aec_compress};

/// How an object is stored; what doesn't fit its values is stored plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    BigEndian,
    Zstd,
    Lz4,
    Shuffle,
    ShuffleZstd,
    Blosc2,
    Szip,
    Packed,
    PackedSzip,
    /// Values that aren't finite in masks, as they are.
    Masked,
    /// In compressed masks, beside compressed values.
    MaskedZstd,
}

impl Coding {
    pub(crate) const ALL: [Self; 12] = [
        Self::Plain,
        Self::BigEndian,
        Self::Zstd,
        Self::Lz4,
        Self::Shuffle,
        Self::ShuffleZstd,
        Self::Blosc2,
        Self::Szip,
        Self::Packed,
        Self::PackedSzip,
        Self::Masked,
        Self::MaskedZstd,
    ];

    fn shuffles(self) -> bool {
        matches!(self, Self::Shuffle | Self::ShuffleZstd)
    }

    fn packs(self) -> bool {
        matches!(self, Self::Packed | Self::PackedSzip)
    }

    fn masks(self) -> bool {
        self.packs() || matches!(self, Self::Masked | Self::MaskedZstd)
    }

    /// Itself, where it can hold values of `dtype`.
    fn fitting(self, dtype: DType, values: &[f64]) -> Self {
        let fits = match self {
            Self::Packed | Self::PackedSzip => dtype == DType::Float64 && Packing::of(values).is_some(),
            Self::Masked | Self::MaskedZstd => dtype.is_float(),
            // The encoder isn't right for some streams of 32 bits a sample.
            Self::Szip => dtype.width().is_some_and(|width| width <= 2),
            _ => dtype != DType::Bitmask || !self.shuffles(),
        };
        if fits { self } else { Self::Plain }
    }
}

/// Bits after the point of values that are packed.
const EIGHTHS: i32 = -3;

/// Values as multiples of 1/8 above the smallest.
struct Packing {
    reference: f64,
    numbers: Vec<u16>,
}

impl Packing {
    fn of(values: &[f64]) -> Option<Self> {
        let finite = values.iter().copied().filter(|value| value.is_finite());
        let reference = finite.reduce(f64::min).unwrap_or(0.0);
        let number = |value: f64| {
            let number = if value.is_finite() { (value - reference) * 8.0 } else { 0.0 };
            let exact = reference + number / 8.0 == value || !value.is_finite();
            (exact && number.fract() == 0.0 && number < 65_536.0).then_some(number as u16)
        };
        let numbers: Option<Vec<u16>> = values.iter().map(|&value| number(value)).collect();
        Some(Self { reference, numbers: numbers? })
    }

    /// As few bits a value as there need be; whole bytes for szip.
    fn bits(&self, whole_bytes: bool) -> u32 {
        let largest = self.numbers.iter().max().copied().unwrap_or(0);
        let bits = 16 - largest.leading_zeros();
        if whole_bytes { bits.clamp(1, 16).next_multiple_of(8) } else { bits }
    }

    /// The numbers, MSB first.
    fn bytes(&self, bits: u32) -> Vec<u8> {
        let all =
            self.numbers.iter().flat_map(|number| (0..bits).rev().map(move |bit| number >> bit & 1 == 1));
        pack_bits(all)
    }
}

/// Bits as bytes, MSB first.
fn pack_bits(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, bit) in bits.enumerate() {
        if i % 8 == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= u8::from(bit) << (7 - i % 8);
        }
    }
    bytes
}

/// One object of `values`, as a chunk.
pub(crate) fn encode(dtype: DType, shape: &[u64], values: &[f64], coding: Coding) -> Chunk {
    let coding = coding.fitting(dtype, values);
    let byte_order = if coding == Coding::BigEndian { ByteOrder::Big } else { ByteOrder::Little };
    let mut params = Map::new();
    let mut bytes = if coding.packs() {
        packed(values, coding, &mut params)
    } else if coding.masks() {
        let finite: Vec<f64> = values.iter().map(|&v| if v.is_finite() { v } else { 0.0 }).collect();
        to_bytes(dtype, &finite, byte_order)
    } else {
        to_bytes(dtype, values, byte_order)
    };
    let width = dtype.width().unwrap_or(1);
    if coding.shuffles() {
        params.insert("shuffle_element_size".into(), Cbor::Integer((width as u64).into()));
        let elements = bytes.len() / width;
        bytes = (0..bytes.len()).map(|i| bytes[i % elements * width + i / elements]).collect();
    }
    let compression = compress(&mut bytes, coding, width, &mut params);
    let masks = if coding.masks() { masks(values, coding, &mut bytes) } else { Vec::new() };
    let descriptor = Descriptor {
        dtype,
        shape: shape.to_vec(),
        byte_order,
        encoding: if coding.packs() { "simple_packing" } else { "none" }.into(),
        filter: if coding.shuffles() { "shuffle" } else { "none" }.into(),
        compression: compression.into(),
        masks,
        params,
    };
    let len = bytes.len() as u64;
    let place = Place::file("memory").message(0).object(0);
    let object = Object { place, frame: 0..len, region: 0..len, hash: None, descriptor: descriptor.into() };
    let pipeline = Pipeline::try_new(&object, &Limits::default());
    Chunk { source: Arc::new(Memory::new("memory", bytes)), object: Arc::new(object), pipeline }
}

fn packed(values: &[f64], coding: Coding, params: &mut Map) -> Vec<u8> {
    let packing = Packing::of(values).unwrap();
    let bits = packing.bits(coding == Coding::PackedSzip);
    params.insert("sp_reference_value".into(), Cbor::Float(packing.reference));
    for (key, value) in [
        ("sp_bits_per_value", bits as i32),
        ("sp_binary_scale_factor", EIGHTHS),
        ("sp_decimal_scale_factor", 0),
    ] {
        params.insert(key.into(), Cbor::Integer(value.into()));
    }
    packing.bytes(bits)
}

/// Compresses in place; the name of the compression.
fn compress(bytes: &mut Vec<u8>, coding: Coding, width: usize, params: &mut Map) -> &'static str {
    match coding {
        Coding::Zstd | Coding::ShuffleZstd | Coding::MaskedZstd => {
            *bytes = zstd::bulk::compress(bytes, 3).unwrap();
            "zstd"
        }
        Coding::Lz4 => {
            *bytes = lz4_flex::compress_prepend_size(bytes);
            "lz4"
        }
        Coding::Blosc2 => {
            *bytes = blosc2_frame(bytes, width);
            params.insert("blosc2_codec".into(), Cbor::Text("zstd".into()));
            "blosc2"
        }
        Coding::Szip | Coding::PackedSzip => {
            let packed = coding == Coding::PackedSzip;
            let bits = if packed {
                params["sp_bits_per_value"].as_integer().unwrap().try_into().unwrap()
            } else {
                8 * width as u32
            };
            let flags = AEC_DATA_PREPROCESS | if packed { AEC_DATA_MSB } else { 0 };
            let aec = AecParams { bits_per_sample: bits, block_size: 8, rsi: 2, flags };
            let (stream, offsets) = aec_compress(bytes, &aec).unwrap();
            *bytes = stream;
            let offsets = offsets.into_iter().map(|offset| Cbor::Integer(offset.into())).collect();
            params.insert("szip_block_offsets".into(), Cbor::Array(offsets));
            for (key, value) in [("szip_rsi", 2), ("szip_block_size", 8), ("szip_flags", flags)] {
                params.insert(key.into(), Cbor::Integer(value.into()));
            }
            "szip"
        }
        _ => "none",
    }
}

/// A frame of several chunks.
fn blosc2_frame(bytes: &[u8], width: usize) -> Vec<u8> {
    static INIT: Once = Once::new();
    INIT.call_once(blosc2::init);
    let params = blosc2::CParams::from_typesize(width).set_codec(blosc2::Codec::ZSTD);
    let storage = Storage::default().set_contiguous(true).set_cparams(params);
    let mut frame = SChunk::new(storage);
    let chunk = (bytes.len() / width).div_ceil(3).max(1) * width;
    for part in bytes.chunks(chunk) {
        frame.append_buffer(part).unwrap();
    }
    frame.into_vec().unwrap()
}

/// Appends the masks of what isn't finite.
fn masks(values: &[f64], coding: Coding, bytes: &mut Vec<u8>) -> Vec<MaskEntry> {
    let mut masks = Vec::new();
    for kind in [MaskKind::NaN, MaskKind::PosInf, MaskKind::NegInf] {
        let is = |value: f64| match kind {
            MaskKind::NaN => value.is_nan(),
            MaskKind::PosInf => value == f64::INFINITY,
            MaskKind::NegInf => value == f64::NEG_INFINITY,
        };
        if !values.iter().any(|&value| is(value)) {
            continue;
        }
        let bits = pack_bits(values.iter().map(|&value| is(value)));
        let (method, blob) = match coding {
            Coding::MaskedZstd => ("zstd", zstd::bulk::compress(&bits, 3).unwrap()),
            Coding::PackedSzip => ("lz4", lz4_flex::compress_prepend_size(&bits)),
            _ => ("none", bits),
        };
        let (offset, length) = (bytes.len() as u64, blob.len() as u64);
        bytes.extend(blob);
        masks.push(MaskEntry { kind, method: method.into(), offset, length, params: Map::new() });
    }
    masks
}

fn to_bytes(dtype: DType, values: &[f64], order: ByteOrder) -> Vec<u8> {
    if dtype == DType::Bitmask {
        return pack_bits(values.iter().map(|&value| value != 0.0));
    }
    let element = |&value: &f64| -> Vec<u8> {
        let mut bytes = match dtype {
            DType::Float16 => f16::from_f64(value).to_le_bytes().to_vec(),
            DType::BFloat16 => bf16::from_f64(value).to_le_bytes().to_vec(),
            DType::Float32 => (value as f32).to_le_bytes().to_vec(),
            DType::Float64 => value.to_le_bytes().to_vec(),
            DType::Int8 => (value as i8).to_le_bytes().to_vec(),
            DType::Int16 => (value as i16).to_le_bytes().to_vec(),
            DType::Int32 => (value as i32).to_le_bytes().to_vec(),
            DType::Int64 => (value as i64).to_le_bytes().to_vec(),
            DType::UInt8 => (value as u8).to_le_bytes().to_vec(),
            DType::UInt16 => (value as u16).to_le_bytes().to_vec(),
            DType::UInt32 => (value as u32).to_le_bytes().to_vec(),
            _ => (value as u64).to_le_bytes().to_vec(),
        };
        if order == ByteOrder::Big {
            bytes.reverse();
        }
        bytes
    };
    values.iter().flat_map(element).collect()
}
