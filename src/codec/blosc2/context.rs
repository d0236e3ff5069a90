//! The seam to the C library: one block in, one block out.

use super::frame::{BlockStreams, Chunk};
use crate::codec::scratch::AlignedBuf;
use blosc2_sys as ffi;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Once;

/// A decompression context of one worker, made when the first block needs it.
///
/// The library is never given a frame, nor a chunk as stored. Each block is wrapped in a chunk of its own, with
/// a header that [`Chunk`] has checked, so that the library sees one block, knows its exact size, and has
/// no offset left to follow.
#[derive(Default)]
pub(crate) struct Decompressor {
    context: Option<Context>,
    input: AlignedBuf,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("made", &self.context.is_some()).finish()
    }
}

impl Decompressor {
    /// Decompresses one block of `chunk` into `out`, which must have the block's size.
    pub(super) fn block(
        &mut self,
        chunk: &Chunk<'_>,
        streams: &BlockStreams<'_>,
        out: &mut [u8],
    ) -> Result<(), String> {
        if out.len() != streams.decoded_len {
            return Err(format!("a block of {} bytes for a buffer of {}", streams.decoded_len, out.len()));
        }
        let len = chunk.wrapped_len(streams);
        let input = self.input.take(len).map_err(|fault| fault.what)?;
        chunk.wrap(streams, input)?;
        let context = match &mut self.context {
            Some(context) => context,
            none => none.insert(Context::new()?),
        };
        let got = context.decompress(input, out)?;
        if got == out.len() {
            return Ok(());
        }
        Err(format!("a block gave {got} bytes, wanted {}", out.len()))
    }

    /// Bytes held for input.
    pub(crate) fn capacity(&self) -> usize {
        self.input.capacity()
    }
}

/// Makes the library ready; every other call comes after this one.
pub(super) fn init() {
    static INIT: Once = Once::new();
    // SAFETY: the library may be initialised once from any thread; `Once` orders it before all other calls.
    INIT.call_once(|| unsafe { ffi::blosc2_init() });
}

/// Owns one context of the library; freed on drop.
struct Context(NonNull<ffi::blosc2_context>);

// SAFETY: a context is plain memory without ties to the thread that made it (one thread, no callbacks), and is
// only ever used through `&mut self`.
unsafe impl Send for Context {}

impl Context {
    fn new() -> Result<Self, String> {
        init();
        let params = ffi::blosc2_dparams {
            nthreads: 1, // the partitions of a query are the parallelism
            schunk: ptr::null_mut(),
            postfilter: None,
            postparams: ptr::null_mut(),
        };
        // SAFETY: `params` is fully initialised and copied by the call.
        let context = unsafe { ffi::blosc2_create_dctx(params) };
        NonNull::new(context).map(Self).ok_or_else(|| "no memory for a context".into())
    }

    fn decompress(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, String> {
        let too_large = |_| "a block of more than 2 GiB".to_string();
        let input_len = i32::try_from(input.len()).map_err(too_large)?;
        let out_len = i32::try_from(out.len()).map_err(too_large)?;
        // SAFETY: the context is live; input and output are valid for the lengths given and don't overlap; the
        // chunk in `input` was built by `Chunk::wrap`, so sizes and offsets in it are true.
        let got = unsafe {
            ffi::blosc2_decompress_ctx(
                self.0.as_ptr(),
                input.as_ptr().cast(),
                input_len,
                out.as_mut_ptr().cast(),
                out_len,
            )
        };
        usize::try_from(got).map_err(|_| format!("corrupt block (error {got} of the library)"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `blosc2_create_dctx`, freed once.
        unsafe { ffi::blosc2_free_ctx(self.0.as_ptr()) }
    }
}
