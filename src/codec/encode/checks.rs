//! What can be written, and what can't: before any value is seen.

use super::super::packing::check_exponent;
use super::super::plan::value_width;
use super::super::shuffle::Shuffle;
use super::super::spec::{Compression, Encoding, Filter, MaskMethod, Spec};
use super::super::szip::Aec;
use super::super::windows::Fault;
use super::super::zfp::Zfp;
use super::compress::{BLOSC2_LEVEL, ZSTD_LEVEL};
use crate::tgm::{ByteOrder, DType};
use zstd::zstd_safe;

/// Checks a pipeline for `len` elements; returns what szip takes for samples.
pub(super) fn check(spec: &Spec, len: u64) -> Result<Option<Aec>, Fault> {
    let flat = flat_len(spec, len)?;
    if let Filter::Shuffle(size) = spec.filter {
        Shuffle::try_new(size, flat).map_err(|e| Fault::new("shuffle", e))?;
    }
    for method in &spec.masks.methods {
        match *method {
            MaskMethod::Zstd { level } => check_zstd("mask", level)?,
            MaskMethod::Blosc2 { level, .. } => check_blosc2("mask", level)?,
            _ => {}
        }
    }
    compression(spec, len, flat)
}

/// Bytes between encoding and compression.
fn flat_len(spec: &Spec, len: u64) -> Result<u64, Fault> {
    match spec.encoding {
        Encoding::None => Ok(match spec.dtype {
            DType::Bitmask => len.div_ceil(8),
            dtype => len * value_width(dtype), // below 2^60
        }),
        Encoding::SimplePacking(packing) => {
            let fault = |what: String| Err(Fault::new("simple_packing", what));
            if spec.dtype != DType::Float64 {
                return fault(format!("packs float64, and these values are {}", spec.dtype));
            }
            if packing.bits > 64 {
                return fault(format!("{} bits per value, expected 0 to 64", packing.bits));
            }
            if let Some((reference, binary)) = packing.scales {
                if !reference.is_finite() {
                    return fault(format!("reference value {reference}, expected a finite number"));
                }
                check_exponent(binary).map_err(|e| Fault::new("simple_packing", e))?;
            }
            Ok((len * packing.bits).div_ceil(8)) // below 2^63: 2^57 values of 64 bits
        }
    }
}

fn compression(spec: &Spec, len: u64, flat: u64) -> Result<Option<Aec>, Fault> {
    let name = spec.compression.name();
    let refuse = |what: String| Err(Fault::new(name, what));
    let plain = spec.encoding == Encoding::None && spec.filter == Filter::None;
    match spec.compression {
        Compression::None => {}
        Compression::Zstd { level } => check_zstd(name, level)?,
        Compression::Lz4 => {
            if u32::try_from(flat).is_err() {
                return refuse(format!("{flat} bytes are more than its 32 bits of size can say"));
            }
        }
        Compression::Blosc2 { level, .. } => {
            check_blosc2(name, level.unwrap_or(BLOSC2_LEVEL))?;
            if flat == 0 {
                return refuse("no bytes to compress".into());
            }
            if spec.dtype == DType::Bitmask && spec.filter == Filter::None {
                return refuse("a bitmask has no items; shuffle it, or take rle or roaring".into());
            }
        }
        Compression::Szip { rsi, block_size, flags } => {
            let aec = szip_samples(spec, rsi, block_size, flags).map_err(|what| Fault::new(name, what))?;
            aec.check_encode().map_err(|e| Fault::new(name, e))?;
            if !flat.is_multiple_of(aec.sample_bytes() as u64) {
                return refuse(format!("{flat} bytes aren't whole samples of {} bytes", aec.sample_bytes()));
            }
            return Ok(Some(aec));
        }
        Compression::Zfp(_) | Compression::Sz3 { .. } if spec.dtype != DType::Float64 => {
            return refuse(format!("codes float64, and these values are {}: convert them first", spec.dtype));
        }
        Compression::Zfp(_) | Compression::Sz3 { .. } if !plain => {
            return refuse("loses bits of the values: it can't come after another stage".into());
        }
        Compression::Zfp(_) | Compression::Sz3 { .. } if spec.byte_order != ByteOrder::NATIVE => {
            return refuse("codes numbers, not bytes: only the machine's byte order can be declared".into());
        }
        Compression::Zfp(mode) => {
            Zfp::try_new(mode).map_err(|e| Fault::new(name, e))?;
        }
        Compression::Sz3 { bound, .. } => {
            if !(bound > 0.0 && bound.is_finite()) {
                return refuse(format!("an error bound of {bound}, expected a positive number"));
            }
            if len == 0 {
                return refuse("no values to code".into());
            }
        }
        Compression::Rle | Compression::Roaring => {
            if spec.dtype != DType::Bitmask {
                return refuse(format!("codes bitmasks, and these values are {}", spec.dtype));
            }
            if u32::try_from(8 * flat).is_err() {
                return refuse(format!("{flat} bytes are more bits than 32 bits can count"));
            }
        }
    }
    Ok(None)
}

fn check_zstd(codec: &'static str, level: Option<i64>) -> Result<(), Fault> {
    let levels = i64::from(zstd_safe::min_c_level())..=i64::from(zstd_safe::max_c_level());
    let level = level.unwrap_or(ZSTD_LEVEL);
    if levels.contains(&level) {
        return Ok(());
    }
    Err(Fault::new(codec, format!("zstd level {level}, expected {} to {}", levels.start(), levels.end())))
}

fn check_blosc2(codec: &'static str, level: i64) -> Result<(), Fault> {
    if (0..=9).contains(&level) {
        return Ok(());
    }
    Err(Fault::new(codec, format!("blosc2 level {level}, expected 0 to 9")))
}

/// What szip takes for samples (section 4.4 of the format), for both directions.
pub(in crate::codec) fn szip_samples(
    spec: &Spec,
    rsi: u64,
    block_size: u64,
    flags: u64,
) -> Result<Aec, String> {
    use super::super::szip::MSB;
    let parameter = |key: &str, value: u64| {
        u32::try_from(value).map_err(|_| format!("`{key}` is {value}, beyond 32 bits"))
    };
    let (rsi, block) = (parameter("szip_rsi", rsi)?, parameter("szip_block_size", block_size)?);
    let mut flags = parameter("szip_flags", flags)?;
    let bits = match (spec.encoding, spec.filter, spec.dtype.width()) {
        (Encoding::SimplePacking(packing), ..) => {
            flags |= MSB; // implied by packed samples, whatever the descriptor says
            if !matches!(packing.bits, 8 | 16 | 24 | 32) {
                // Such files hold the dense bit stream cut into whole bytes: what comes out isn't what went in.
                return Err(format!(
                    "simple_packing of {} bits and szip don't go together: only 8, 16, 24 and 32 bits do",
                    packing.bits
                ));
            }
            packing.bits as u32
        }
        (_, Filter::Shuffle(_), _) => 8,
        (_, Filter::None, Some(width)) => 8 * width as u32,
        (_, Filter::None, None) => 0, // a bitmask has no samples
    };
    Aec::try_new(bits, block, rsi, flags).map_err(|e| e.to_string())
}
