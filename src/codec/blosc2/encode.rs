//! Encoding: bytes to a contiguous frame, by the library.

use super::context::init;
use crate::codec::spec::Blosc2Codec;
use blosc2_sys as ffi;
use std::ptr::{self, NonNull};

/// Bytes of one chunk at most.
const CHUNK: usize = 256 << 20;
/// Filter slots of a pipeline.
const FILTERS: usize = 6;

/// How bytes are reordered inside blocks.
#[derive(Debug, Clone, Copy)]
pub(in crate::codec) enum Shuffle {
    /// By bytes of items: the library's default, for values.
    Bytes,
    /// By bits: for masks.
    Bits,
}

/// Appends a frame of `bytes`, at least one, in items of `type_size` bytes (of one, if these aren't whole), to `out`.
/// One thread does it: with more, the order of blocks in a frame would be that in which threads end.
///
/// # Errors
/// What the library says.
pub(in crate::codec) fn encode(
    bytes: &[u8],
    type_size: usize,
    shuffle: Shuffle,
    codec: Blosc2Codec,
    level: u8,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    init();
    let code = match codec {
        Blosc2Codec::BloscLz => ffi::BLOSC_BLOSCLZ,
        Blosc2Codec::Lz4 => ffi::BLOSC_LZ4,
        Blosc2Codec::Lz4Hc => ffi::BLOSC_LZ4HC,
        Blosc2Codec::Zlib => ffi::BLOSC_ZLIB,
        Blosc2Codec::Zstd => ffi::BLOSC_ZSTD,
    };
    // Of a chunk of zeros that isn't whole items the reference's library makes a crash.
    let whole = bytes.len().is_multiple_of(type_size.max(1));
    let type_size = if whole { type_size.clamp(1, 255) } else { 1 };
    // SAFETY: a constant of the library, returned by value.
    let mut params = unsafe { ffi::blosc2_get_blosc2_cparams_defaults() };
    params.compcode = code as u8;
    params.clevel = level;
    params.typesize = type_size as i32;
    params.nthreads = 1;
    params.filters = [0; FILTERS];
    match shuffle {
        Shuffle::Bytes => params.filters[FILTERS - 1] = ffi::BLOSC_SHUFFLE as u8,
        Shuffle::Bits => params.filters[0] = ffi::BLOSC_BITSHUFFLE as u8,
    }
    let frame = Frame::new(&mut params)?;
    for chunk in bytes.chunks(CHUNK / type_size * type_size) {
        frame.append(chunk)?;
    }
    out.extend_from_slice(frame.bytes()?);
    Ok(())
}

/// Owns a frame in the making; freed on drop.
struct Frame(NonNull<ffi::blosc2_schunk>);

impl Frame {
    fn new(params: &mut ffi::blosc2_cparams) -> Result<Self, String> {
        let mut storage = ffi::blosc2_storage {
            contiguous: true,
            urlpath: ptr::null_mut(),
            cparams: params,
            dparams: ptr::null_mut(),
            io: ptr::null_mut(),
        };
        // SAFETY: storage and the parameters in it are initialised, live, and copied by the call; null pointers stand
        // for memory and defaults.
        let frame = unsafe { ffi::blosc2_schunk_new(&mut storage) };
        NonNull::new(frame).map(Self).ok_or_else(|| "no memory for a frame".into())
    }

    fn append(&self, chunk: &[u8]) -> Result<(), String> {
        // At most `CHUNK`.
        let len = chunk.len() as i32;
        // SAFETY: the frame is live, and `chunk` is valid for the length given; the library copies from it.
        let chunks = unsafe { ffi::blosc2_schunk_append_buffer(self.0.as_ptr(), chunk.as_ptr().cast(), len) };
        if chunks > 0 {
            Ok(())
        } else {
            Err(format!("a chunk can't be compressed (error {chunks} of the library)"))
        }
    }

    fn bytes(&self) -> Result<&[u8], String> {
        let (mut bytes, mut owned) = (ptr::null_mut(), false);
        // SAFETY: the frame is live; the pointers are to locals.
        let len = unsafe { ffi::blosc2_schunk_to_buffer(self.0.as_ptr(), &mut bytes, &mut owned) };
        match usize::try_from(len) {
            // A contiguous frame in memory lends its own bytes.
            Ok(len) if !bytes.is_null() && !owned => {
                // SAFETY: so many bytes of the frame, which lives as long as `self` and isn't changed meanwhile.
                Ok(unsafe { std::slice::from_raw_parts(bytes, len) })
            }
            _ => Err(format!("no frame came out (error {len} of the library)")),
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: made by `blosc2_schunk_new`, freed once.
        unsafe { ffi::blosc2_schunk_free(self.0.as_ptr()) };
    }
}
