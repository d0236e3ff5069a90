//! Any bytes as the payload of an object of one codec, whose descriptor is sound as far as a few bytes decide.
//!
//! ```text
//! 0      dtype                               8   bits of packed values
//! 1      encoding, filter and byte order     9   binary scale factor
//! 2, 3   elements                            10  element size of the shuffle
//! 4..7   parameters of the codec             11  reference value of packed values
//! 7      mask: method, and its share
//! ```

use super::limits;
use super::pipeline::decode;
use millibar::Place;
use millibar::source::Memory;
use millibar::tgm::{ByteOrder, DType, Descriptor, Map, MaskEntry, MaskKind, Object, Value};
use std::sync::Arc;

const HEAD: usize = 12;
const DTYPES: [DType; 15] = [
    DType::Float64,
    DType::Float32,
    DType::UInt16,
    DType::Bitmask,
    DType::Float16,
    DType::BFloat16,
    DType::Int8,
    DType::Int16,
    DType::Int32,
    DType::Int64,
    DType::UInt8,
    DType::UInt32,
    DType::UInt64,
    DType::Complex64,
    DType::Complex128,
];
const BLOCKS: [u32; 6] = [8, 16, 32, 64, 2, 10];
const ZFP: [&str; 3] = ["fixed_rate", "fixed_precision", "fixed_accuracy"];
const SZ3: [&str; 3] = ["abs", "rel", "psnr"];
const METHODS: [&str; 6] = ["none", "rle", "roaring", "lz4", "zstd", "blosc2"];

/// Decodes `bytes` as an object compressed by `name`, one of [`super::CODECS`].
pub fn codec(name: &str, bytes: &[u8]) {
    let Some((head, region)) = bytes.split_first_chunk::<HEAD>() else { return };
    let &[dtype, stages, high, low, first, second, third, mask, bits, scale, size, reference] = head;
    let len = u64::from(high) << 8 | u64::from(low);
    let mut params = Map::new();
    let mut set = |key: &str, value: Value| drop(params.insert(key.into(), value));
    if stages & 1 != 0 {
        set("sp_bits_per_value", (bits % 66).into());
        set("sp_reference_value", Value::Float(f64::from(reference)));
        set("sp_binary_scale_factor", (i32::from(scale) - 128).into());
        set("sp_decimal_scale_factor", (i32::from(reference) % 5 - 2).into());
    }
    if stages & 2 != 0 {
        set("shuffle_element_size", (size % 17).into());
    }
    match name {
        "szip" => {
            set("szip_rsi", (u32::from(first) + 1).into());
            set("szip_block_size", BLOCKS[usize::from(second) % BLOCKS.len()].into());
            set("szip_flags", third.into());
            let offset = |i: u64| Value::from(i * u64::from(mask));
            set("szip_block_offsets", Value::Array((0..len.min(64)).map(offset).collect()));
        }
        "zfp" => {
            set("zfp_mode", ZFP[usize::from(first) % ZFP.len()].into());
            set("zfp_rate", Value::Float(f64::from(second) / 4.0));
            set("zfp_precision", (second % 70).into());
            set("zfp_tolerance", Value::Float(2f64.powi(i32::from(third) - 128)));
        }
        "sz3" => {
            set("sz3_error_bound_mode", SZ3[usize::from(first) % SZ3.len()].into());
            set("sz3_error_bound", Value::Float(f64::from(second) / 16.0));
        }
        _ => {}
    }
    // A third of the region at most is a mask, the rest the payload; sound files have none where the byte is 0.
    let masked = mask >= 128 || name == "masks";
    let at = region.len() - region.len() * usize::from(mask % 128) / 384;
    let mask = MaskEntry {
        kind: [MaskKind::NaN, MaskKind::PosInf, MaskKind::NegInf][usize::from(third) % 3],
        method: METHODS[usize::from(mask) % METHODS.len()].into(),
        offset: at as u64,
        length: (region.len() - at) as u64,
        params: Map::new(),
    };
    let descriptor = Descriptor {
        dtype: DTYPES[usize::from(dtype) % DTYPES.len()],
        shape: vec![len],
        byte_order: if stages & 4 == 0 { ByteOrder::Little } else { ByteOrder::Big },
        encoding: if stages & 1 == 0 { "none" } else { "simple_packing" }.into(),
        filter: if stages & 2 == 0 { "none" } else { "shuffle" }.into(),
        compression: if name == "masks" { "none" } else { name }.into(),
        masks: if masked { vec![mask] } else { Vec::new() },
        params,
    };
    let object = Object {
        place: Place::file("fuzz.tgm").message(0).object(0),
        frame: 0..region.len() as u64,
        region: 0..region.len() as u64,
        hash: None,
        descriptor: Arc::new(descriptor),
    };
    decode(&object, &Memory::new("fuzz.tgm", region.to_vec()), &limits());
}

/// What [`codec`] makes `object` of, as near as its bytes can say; its compression, too.
pub fn seed(object: &Object, region: &[u8]) -> Option<(String, Vec<u8>)> {
    let descriptor = &object.descriptor;
    let number = |key: &str| {
        let value = descriptor.params.get(key)?;
        value.as_float().or_else(|| Some(i128::from(value.as_integer()?) as f64))
    };
    let byte = |key: &str| number(key).map_or(0, |value| value as u8);
    let listed = |key: &str, list: &[&str]| {
        let text = descriptor.params.get(key).and_then(Value::as_text);
        list.iter().position(|item| Some(*item) == text).unwrap_or(0) as u8
    };
    let len = u16::try_from(descriptor.len()).ok()?;
    let dtype = DTYPES.iter().position(|dtype| *dtype == descriptor.dtype)? as u8;
    let stages = u8::from(descriptor.encoding != "none")
        | u8::from(descriptor.filter != "none") << 1
        | u8::from(descriptor.byte_order == ByteOrder::Big) << 2;
    let block = number("szip_block_size").and_then(|size| BLOCKS.iter().position(|&b| f64::from(b) == size));
    let [first, second, third] = match descriptor.compression.as_str() {
        "szip" => [byte("szip_rsi").wrapping_sub(1), block.unwrap_or(0) as u8, byte("szip_flags")],
        "zfp" => {
            let mode = listed("zfp_mode", &ZFP);
            let rate = number("zfp_rate").map_or(0.0, |rate| 4.0 * rate);
            let second = if mode == 0 { rate as u8 } else { byte("zfp_precision") };
            let tolerance = number("zfp_tolerance").map_or(0.0, |tolerance| tolerance.log2() + 128.0);
            [mode, second, tolerance as u8]
        }
        "sz3" => [listed("sz3_error_bound_mode", &SZ3), 16, 0],
        _ => [0; 3],
    };
    let masked = descriptor.masks.first().map(|mask| {
        let share = (mask.length * 384 / region.len().max(1) as u64).min(127) as u8;
        let method = METHODS.iter().position(|method| *method == mask.method).unwrap_or(0) as u8;
        share / METHODS.len() as u8 * METHODS.len() as u8 + method
    });
    let plain_mask = masked.is_some() && descriptor.compression == "none" && stages == 0;
    let name = if plain_mask { "masks" } else { &descriptor.compression };
    if !super::CODECS.contains(&name) {
        return None;
    }
    let [high, low] = len.to_be_bytes();
    let scale = number("sp_binary_scale_factor").map_or(0.0, |scale| scale + 128.0) as u8;
    let mask = masked.map_or(0, |mask| if plain_mask { mask } else { mask | 128 });
    let (bits, size) = (byte("sp_bits_per_value"), byte("shuffle_element_size"));
    let head: [u8; HEAD] = [dtype, stages, high, low, first, second, third, mask, bits, scale, size, 1];
    Some((name.to_string(), [&head[..], region].concat()))
}
