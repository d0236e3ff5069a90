//! Stream codecs, which can only be decoded from the start: zstd and lz4.

use std::fmt;
use zstd::zstd_safe::{self, DCtx};

/// A zstd context of one worker, made at its first use.
#[derive(Default)]
pub(super) struct ZstdContext(Option<DCtx<'static>>);

impl fmt::Debug for ZstdContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZstdContext").field(&self.0.is_some()).finish()
    }
}

impl ZstdContext {
    /// Decodes one or more concatenated frames, which must fill `out` exactly. Frames need no content size; one
    /// that is larger than `out` is refused when its first byte too many would be written.
    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [u8]) -> Result<(), String> {
        let want = out.len();
        let context = match &mut self.0 {
            Some(context) => context,
            none => none.insert(DCtx::try_create().ok_or("no memory for a context")?),
        };
        if payload.is_empty() {
            return Err("no payload".into()); // even nothing has a frame
        }
        match context.decompress(out, payload) {
            Ok(got) if got == want => Ok(()),
            Ok(got) => Err(format!("{got} bytes came out, wanted {want}")),
            Err(code) => Err(format!("{} (wanted {want} bytes)", zstd_safe::get_error_name(code))),
        }
    }
}

/// Decodes one LZ4 block behind its size (u32, little-endian), which must fill `out` exactly. The size in front
/// is the writer's capacity: it may be larger than what comes out.
pub(super) fn lz4(payload: &[u8], out: &mut [u8]) -> Result<(), String> {
    let Some((size, block)) = payload.split_first_chunk::<4>() else {
        return Err(format!("{} bytes are too few for a size", payload.len()));
    };
    let capacity = u32::from_le_bytes(*size) as usize;
    if capacity < out.len() {
        return Err(format!("the payload says {capacity} bytes, wanted {}", out.len()));
    }
    match lz4_flex::block::decompress_into(block, out) {
        Ok(got) if got == out.len() => Ok(()),
        Ok(got) => Err(format!("{got} bytes came out, wanted {}", out.len())),
        Err(error) => Err(format!("{error} (wanted {} bytes)", out.len())),
    }
}
