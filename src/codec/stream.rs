//! Zstd payloads, which can only be decoded from the start, up to what is wanted last.

use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::windows::{Fault, Window, Windows, outside};
use std::fmt;
use std::ops::Range;
use zstd::zstd_safe::{self, DCtx, InBuffer, OutBuffer, ResetDirective};

/// A zstd context of one worker, made at its first use.
#[derive(Default)]
pub(super) struct ZstdContext(Option<DCtx<'static>>);

impl fmt::Debug for ZstdContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZstdContext").field(&self.0.is_some()).finish()
    }
}

impl ZstdContext {
    fn context(&mut self) -> Result<&mut DCtx<'static>, String> {
        Ok(match &mut self.0 {
            Some(context) => context,
            none => none.insert(DCtx::try_create().ok_or("no memory for a context")?),
        })
    }

    /// Decodes one or more concatenated frames, which must fill `out` exactly. Frames need no content size; one
    /// that is larger than `out` is refused when its first byte too many would be written.
    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [u8]) -> Result<(), String> {
        let want = out.len();
        let context = self.context()?;
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

/// Windows on a zstd payload, decoded as they are asked for, front to back: a large object needs no room for all
/// of it, and its values are in cache when the sink sees them.
#[derive(Debug)]
pub(super) struct ZstdReader<'a> {
    context: &'a mut ZstdContext,
    payload: InBuffer<'a>,
    /// Decoded bytes so far, and those that there must be.
    at: u64,
    want: u64,
    /// The byte before `at`, which packed elements on both sides of a window's end may share.
    last: u8,
    /// Whether a frame has begun and not ended.
    open: bool,
    out: &'a mut AlignedBuf,
}

/// Bytes decoded at a time where nobody wants them.
const SKIPPED: u64 = 64 << 10;

impl<'a> ZstdReader<'a> {
    /// A payload that must decode to `want` bytes.
    pub(super) fn open(
        payload: &'a [u8],
        want: u64,
        context: &'a mut ZstdContext,
        out: &'a mut AlignedBuf,
    ) -> Result<Self, Fault> {
        let reset = context.context().map_err(fault)?.reset(ResetDirective::SessionOnly);
        reset.map_err(|code| fault(zstd_safe::get_error_name(code)))?;
        // Of a frame that says how much it holds, too much is seen without decoding it.
        if let Ok(Some(size)) = zstd_safe::get_frame_content_size(payload)
            && size > want
        {
            return Err(fault(format!("a frame of {size} bytes, wanted {want}")));
        }
        Ok(Self { context, payload: InBuffer::around(payload), at: 0, want, last: 0, open: true, out })
    }

    /// Decodes the next `len` bytes to the end of `out`, which has them after `kept` bytes from before.
    fn decode(&mut self, kept: usize, len: u64) -> Result<(), Fault> {
        let out = self.out.take(kept + len as usize)?;
        if kept > 0 {
            out[0] = self.last;
        }
        let mut done = kept;
        while done < out.len() {
            let got = step(self.context, &mut self.payload, &mut self.open, &mut out[done..])?;
            if got == 0 && self.payload.pos == self.payload.src.len() {
                let had = self.at + (done - kept) as u64;
                return Err(fault(format!("{had} bytes came out, wanted {}", self.want)));
            }
            done += got;
        }
        self.at += len;
        self.last = out.last().copied().unwrap_or(self.last);
        Ok(())
    }

    fn skip_to(&mut self, at: u64) -> Result<(), Fault> {
        while self.at < at {
            self.decode(0, SKIPPED.min(at - self.at))?;
        }
        Ok(())
    }

    /// Bytes of the payload and decoded ones so far.
    pub(super) fn passed(&self) -> (u64, u64) {
        (self.payload.pos as u64, self.at)
    }

    /// Decodes what is left, of which nothing was asked for but that the size of the whole is right.
    pub(super) fn finish(mut self, stats: &mut DecodeStats) -> Result<(), Fault> {
        stats.timed(|_| {
            self.skip_to(self.want)?;
            // What is left may be empty blocks, a checksum or empty frames, but no byte that comes out.
            while self.open || self.payload.pos < self.payload.src.len() {
                let before = self.payload.pos;
                if step(self.context, &mut self.payload, &mut self.open, &mut [0])? > 0 {
                    return Err(fault(format!("more than {} bytes come out", self.want)));
                }
                if self.open && self.payload.pos == before {
                    return Err(fault("the last frame is cut off"));
                }
            }
            Ok(())
        })
    }
}

/// Lets the library decode some of `payload` into `out`; returns the bytes that came out.
fn step(
    context: &mut ZstdContext,
    payload: &mut InBuffer<'_>,
    open: &mut bool,
    out: &mut [u8],
) -> Result<usize, Fault> {
    let mut piece = OutBuffer::around(out);
    let hint = context.context().map_err(fault)?.decompress_stream(&mut piece, payload);
    let got = piece.pos();
    // A frame that is complete asks for nothing more.
    *open = hint.map_err(|code| fault(zstd_safe::get_error_name(code)))? != 0;
    Ok(got)
}

impl Windows for ZstdReader<'_> {
    fn window(&mut self, span: Range<u64>, stats: &mut DecodeStats) -> Result<Window<'_>, Fault> {
        let kept = self.at.saturating_sub(span.start);
        if span.end > self.want || kept > 1 || (kept == 1 && span.end < self.at) {
            return Err(outside(&span, self.want));
        }
        stats.timed(|_| {
            self.skip_to(span.start)?;
            self.decode(kept as usize, span.end - self.at)
        })?;
        Ok(Window::Owned(self.out.bytes_mut()))
    }
}

fn fault(what: impl ToString) -> Fault {
    Fault::new("zstd", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 % 251) as u8 ^ (i % 3) as u8).collect()
    }

    /// `data` in `frames` concatenated frames.
    fn compressed(data: &[u8], frames: usize) -> Vec<u8> {
        let size = data.len().div_ceil(frames).max(1);
        let mut out = Vec::new();
        for part in data.chunks(size) {
            out.extend(zstd::encode_all(part, 1).unwrap());
        }
        out
    }

    fn read(payload: &[u8], want: u64, spans: &[Range<u64>]) -> Result<Vec<u8>, Fault> {
        let (mut context, mut out, mut stats) = Default::default();
        let mut reader = ZstdReader::open(payload, want, &mut context, &mut out)?;
        let mut got = Vec::new();
        for span in spans {
            if let Window::Owned(bytes) = reader.window(span.clone(), &mut stats)? {
                got.extend_from_slice(bytes);
            }
        }
        reader.finish(&mut stats)?;
        Ok(got)
    }

    proptest! {
        #[test] // windows that skip, touch, or share one byte
        fn windows_of_a_stream((len, frames) in (1..300_000_usize, 1..4_usize),
                               steps in prop::collection::vec((0..40_000_u64, 1..90_000_u64, any::<bool>()), 0..8)) {
            let data = bytes(len);
            let (mut spans, mut end) = (Vec::new(), 0_u64);
            for (skip, count, share) in steps {
                let start = if share && skip < 20_000 { end.saturating_sub(1) } else { end + skip };
                let span = start..(start + count).max(end);
                if span.end <= len as u64 {
                    end = span.end;
                    spans.push(span);
                }
            }
            let want: Vec<u8> =
                spans.iter().flat_map(|span| data[span.start as usize..span.end as usize].to_vec()).collect();
            prop_assert!(read(&compressed(&data, frames), len as u64, &spans).unwrap() == want);
        }
    }

    #[test]
    fn a_stream_of_another_size_is_refused() {
        let payload = compressed(&bytes(200_000), 2);
        assert!(read(&payload, 200_000, &[0..10, 15..20]).is_ok());
        let cut = &payload[..payload.len() - 5];
        let tail = [&payload[..], &[0; 9]].concat();
        for (payload, want) in
            [(&payload[..], 199_999), (&payload, 200_001), (cut, 200_000), (&tail, 200_000)]
        {
            assert!(read(payload, want, &[0..10, 15..20]).is_err(), "{} {want}", payload.len());
            let mut out = vec![0; want as usize];
            assert!(ZstdContext::default().decode(payload, &mut out).is_err(), "{} {want}", payload.len());
        }
    }

    #[test]
    fn an_error_does_not_stick_to_the_context() {
        let data = bytes(100_000);
        let payload = compressed(&data, 1);
        let broken = &payload[..payload.len() / 2];
        let (mut context, mut out) = (ZstdContext::default(), AlignedBuf::default());
        let mut decoded = vec![0; data.len()];
        let mut stats = DecodeStats::default();
        for _ in 0..2 {
            assert!(context.decode(broken, &mut decoded).is_err());
            context.decode(&payload, &mut decoded).unwrap();
            assert!(decoded == data);
            let mut reader = ZstdReader::open(broken, 100_000, &mut context, &mut out).unwrap();
            let failed = reader.window(0..100_000, &mut stats).is_err() || reader.finish(&mut stats).is_err();
            assert!(failed);
            let mut reader = ZstdReader::open(&payload, 100_000, &mut context, &mut out).unwrap();
            assert!(matches!(reader.window(0..100_000, &mut stats), Ok(Window::Owned(b)) if *b == data[..]));
        }
    }
}
