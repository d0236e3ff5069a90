//! The last stage: bytes to a payload.

use super::super::spec::{Blosc2Codec, Compression};
use super::super::windows::Fault;
use super::super::{bits, block, blosc2, lz4, sz3, zfp};
use std::fmt;
use zstd::zstd_safe::{self, CCtx, CParameter};

/// Level of zstd where none is given.
pub(super) const ZSTD_LEVEL: i64 = 3;
/// Level of Blosc2 where none is given.
pub(super) const BLOSC2_LEVEL: i64 = 5;

/// A zstd context of one worker, made at its first use.
#[derive(Default)]
pub(super) struct ZstdEncoder(Option<CCtx<'static>>);

impl fmt::Debug for ZstdEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZstdEncoder").field(&self.0.is_some()).finish()
    }
}

impl ZstdEncoder {
    /// Appends one frame of `bytes`, with their number in its head.
    pub(super) fn encode(
        &mut self,
        bytes: &[u8],
        level: Option<i64>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let fault = |code| Fault::new("zstd", zstd_safe::get_error_name(code));
        let context = match &mut self.0 {
            Some(context) => context,
            none => {
                none.insert(CCtx::try_create().ok_or_else(|| Fault::new("zstd", "no memory for a context"))?)
            }
        };
        let level = level.unwrap_or(ZSTD_LEVEL) as i32; // as checked
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(fault)?;
        let start = out.len();
        out.resize(start + zstd_safe::compress_bound(bytes.len()), 0);
        let len = context.compress2(&mut out[start..], bytes).map_err(fault)?;
        out.truncate(start + len);
        Ok(())
    }
}

/// Appends the payload of `bytes`, the items of which have `type_size` bytes. Szip is the caller's.
pub(super) fn compress(
    compression: &Compression,
    type_size: usize,
    bytes: &[u8],
    zstd: &mut ZstdEncoder,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let fault = |what: String| Fault::new(compression.name(), what);
    let doubles = || block::cast::<f64>(bytes).ok_or_else(|| fault("values came unaligned".into()));
    match *compression {
        Compression::None | Compression::Szip { .. } => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        Compression::Zstd { level } => zstd.encode(bytes, level, out),
        Compression::Lz4 => lz4::encode(bytes, out).map_err(fault),
        Compression::Blosc2 { codec, level } => {
            let codec = codec.unwrap_or(Blosc2Codec::Lz4);
            let level = level.unwrap_or(BLOSC2_LEVEL) as u8; // as checked
            blosc2::encode(bytes, type_size, blosc2::Shuffle::Bytes, codec, level, out).map_err(fault)
        }
        Compression::Zfp(mode) => {
            let zfp = zfp::Zfp::try_new(mode).map_err(|e| fault(e.to_string()))?;
            zfp.encode(doubles()?, out);
            Ok(())
        }
        Compression::Sz3 { mode, bound } => sz3::encode(doubles()?, mode, bound, out).map_err(fault),
        Compression::Rle => {
            out.extend_from_slice(&counted(bytes)?.to_be_bytes());
            bits::encode_rle(bytes, 8 * bytes.len() as u64, out);
            Ok(())
        }
        Compression::Roaring => {
            out.extend_from_slice(&counted(bytes)?.to_be_bytes());
            bits::encode_roaring(bytes, 8 * bytes.len() as u64, out).map_err(fault)
        }
    }
}

/// The number of bits in front of the codecs of bit sets.
fn counted(bytes: &[u8]) -> Result<u32, Fault> {
    let bits = u32::try_from(8 * bytes.len() as u64);
    bits.map_err(|_| Fault::new("bitmask", format!("{} bytes are more than 32 bits can count", bytes.len())))
}
