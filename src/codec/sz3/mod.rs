//! SZ3 streams of one-dimensional float64 (section 4.9 of the format).
//!
//! ```text
//! stream   magic u32 | version u32 | size u64 | body | trailer           (all little-endian)
//! body     raw size u64 | zstd frame of: predictor | quantiser | Huffman tree | count u64 | codes
//! trailer  size u8 | dims | number of values u64 | algorithm u8 | error bound | flags | ...
//! ```
//! Decoding is our own, for the library trusts every length and index in a stream. It covers what the library's encoder
//! makes of one dimension: interpolation, Lorenzo prediction of both orders, and values as they are. Predictions are the
//! library's to the bit. Encoding is the library's, for it decides by trial what a stream is made of.

mod encode;
mod huffman;
mod predict;
mod reader;
#[cfg(test)]
mod tests;

pub(super) use encode::encode;

use super::scratch::AlignedBuf;
use super::stream::ZstdContext;
use huffman::Codes;
use predict::{Interpolation, Lorenzo, Quantizer};
use reader::Reader;
use zstd::zstd_safe;

const MAGIC: u32 = 0xf342_f310;
/// Data version 3.3.2.
const VERSION: u32 = 0x0303_0200;
/// Magic, version and size.
const HEADER: usize = 16;
/// `float64` among the library's types.
const DOUBLE: u8 = 1;

/// Result of decoding: what is wrong, in words.
type Result<T, E = String> = std::result::Result<T, E>;

/// What made a body.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Algorithm {
    Lorenzo {
        orders: [bool; 2],
        block: u64,
    },
    Interpolation,
    /// A zstd frame of the values.
    Lossless,
}

/// The parts of a stream.
#[derive(Debug)]
struct Stream<'a> {
    body: &'a [u8],
    algorithm: Algorithm,
    /// The largest error of a value.
    bound: f64,
    values: u64,
}

impl<'a> Stream<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self> {
        let mut header = Reader::new(payload);
        let (magic, version, size) = (header.u32()?, header.u32()?, header.u64()?);
        if magic != MAGIC || version != VERSION {
            return Err(format!(
                "magic {magic:#x} and version {version:#x}, wanted {MAGIC:#x} and {VERSION:#x}"
            ));
        }
        let body = header.bytes(size)?;
        let mut trailer = Reader::new(&payload[HEADER + body.len()..]);
        let _size = trailer.u8()?;
        let (dims, width) = (trailer.u8()?, trailer.u8()?);
        if dims != 1 || width > 64 {
            return Err(format!("{dims} dims in {width} bits each, wanted one"));
        }
        let dim = trailer.bytes(u64::from(width.div_ceil(8)))?;
        let dim = dim.iter().rev().fold(0, |dim, byte| dim << 8 | u64::from(*byte));
        let values = trailer.u64()?;
        if dim != values {
            return Err(format!("{values} values in a dim of {dim}"));
        }
        let algorithm = trailer.u8()?;
        let mode = trailer.u8()?;
        if mode != 0 {
            return Err(format!("error bound mode {mode}, wanted an absolute bound (0)"));
        }
        let bound = trailer.f64()?;
        let (flags, kind, _bins, block) = (trailer.u8()?, trailer.u8()?, trailer.u32()?, trailer.u32()?);
        if kind != DOUBLE {
            return Err(format!("values of type {kind}, wanted float64 ({DOUBLE})"));
        }
        let algorithm = match algorithm {
            0 if flags & 0x30 != 0 => {
                return Err("regression isn't read: no encoder of the format makes it".into());
            }
            0 if flags & 0xc0 == 0 || block == 0 => {
                return Err(format!("predictors {flags:#04x} in blocks of {block}"));
            }
            0 => {
                Algorithm::Lorenzo { orders: [flags & 0x80 != 0, flags & 0x40 != 0], block: u64::from(block) }
            }
            2 => Algorithm::Interpolation,
            4 => Algorithm::Lossless,
            other => return Err(format!("algorithm {other}, wanted 0, 2 or 4")),
        };
        Ok(Self { body, algorithm, bound, values })
    }
}

/// Why a stream that loses something isn't decoded where its values aren't the tensor's.
pub(super) const LOSES: &str = "loses bits of values: what another stage made of them can't be read back";

/// Decodes a stream whose values must fill `out` exactly, and, if `exact`, must have lost nothing. `raw` takes what zstd
/// makes of the body.
pub(super) fn decode(
    payload: &[u8],
    exact: bool,
    zstd: &mut ZstdContext,
    raw: &mut AlignedBuf,
    out: &mut [u8],
) -> Result<()> {
    let stream = Stream::parse(payload)?;
    if stream.values.checked_mul(8) != Some(out.len() as u64) {
        return Err(format!("{} values, wanted {}", stream.values, out.len() / 8));
    }
    if exact && stream.algorithm != Algorithm::Lossless {
        return Err(LOSES.into());
    }
    let mut body = Reader::new(stream.body);
    let size = body.u64()?;
    let frame = body.rest();
    if stream.algorithm == Algorithm::Lossless {
        if size != out.len() as u64 {
            return Err(format!("{size} bytes of values, wanted {}", out.len()));
        }
        zstd.decode(frame, out)?;
        to_native(out);
        return Ok(());
    }
    // The library writes the size into the frame too; buffers aren't made for one claim alone.
    let claimed = zstd_safe::get_frame_content_size(frame).ok().flatten();
    let most = 65_536_u64.saturating_mul(frame.len() as u64);
    if claimed != Some(size) || size > most {
        return Err(format!("{size} bytes out of a frame of {} that says {claimed:?}", frame.len()));
    }
    let raw = raw.take(usize::try_from(size).map_err(|_| "no memory")?).map_err(|f| f.what)?;
    zstd.decode(frame, raw)?;
    decode_raw(&stream, raw, out)
}

fn decode_raw(stream: &Stream<'_>, raw: &[u8], out: &mut [u8]) -> Result<()> {
    let mut raw = Reader::new(raw);
    let (values, rest) = out.as_chunks_mut::<8>();
    debug_assert!(rest.is_empty());
    let mut cells = predict::Cells::new(values);
    match stream.algorithm {
        Algorithm::Lossless => {}
        Algorithm::Interpolation => {
            let interpolation = Interpolation::read(&mut raw, stream.values)?;
            let mut quantizer = Quantizer::read(&mut raw)?;
            let mut codes = counted(&mut raw, stream.values)?;
            interpolation.decode(&mut quantizer, &mut codes, &mut cells)?;
        }
        Algorithm::Lorenzo { orders, block } => {
            let lorenzo = Lorenzo::read(&mut raw, stream.values, orders, block)?;
            let mut quantizer = Quantizer::read(&mut raw)?;
            let mut codes = counted(&mut raw, stream.values)?;
            lorenzo.decode(&mut quantizer, &mut codes, &mut cells)?;
        }
    }
    Ok(())
}

/// The Huffman codes of `values` values, behind their tree and number.
fn counted<'a>(raw: &mut Reader<'a>, values: u64) -> Result<Codes<'a>> {
    let tree = huffman::Tree::read(raw)?;
    let count = raw.u64()?;
    if count != values {
        return Err(format!("{count} codes for {values} values"));
    }
    tree.codes(raw)
}

/// Little-endian float64 to those of this machine.
fn to_native(values: &mut [u8]) {
    for value in values.as_chunks_mut::<8>().0 {
        *value = u64::from_le_bytes(*value).to_ne_bytes();
    }
}
