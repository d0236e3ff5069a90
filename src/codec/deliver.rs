//! From encoded elements to typed blocks for the sink.

use super::masks::Masks;
use super::packing::SimplePacking;
use super::plan::{Encoding, Plan, value_width};
use super::scratch::AlignedBuf;
use super::stats::DecodeStats;
use super::swap::swap_in_place;
use super::windows::{Fault, Window, Windows};
use super::{Block, ElementRange, Piece};
use crate::Result;
use crate::tgm::DType;
use std::ops::Range;

/// Decoded bytes of one block at most: half of a usual L1 + L2 share, so that a sink that reads a block more than
/// once finds it in cache, and large enough that a call of the sink costs nothing.
const BLOCK_BYTES: u64 = 64 << 10;
/// Conversions of less are not timed.
const TIMED_BYTES: u64 = 4 << 10;

/// Receives what a visit delivers.
pub(super) type Sink<'s> = dyn FnMut(u64, Piece<'_>) -> Result<()> + 's;

/// One visit: everything that turning windows into blocks needs.
pub(super) struct Delivery<'a, 's> {
    pub(super) plan: &'a Plan,
    pub(super) masks: Masks<'a>,
    pub(super) values: &'a mut AlignedBuf,
    pub(super) stats: &'a mut DecodeStats,
    /// Whether constants and packed integers are handed over as such.
    pub(super) raw: bool,
    pub(super) sink: &'a mut Sink<'s>,
}

impl Delivery<'_, '_> {
    /// Hands the elements of `ranges` to the sink.
    pub(super) fn run<W: Windows>(&mut self, windows: &mut W, ranges: &[ElementRange]) -> Result<()> {
        let most = BLOCK_BYTES / value_width(self.plan.dtype);
        for (index, range) in ranges.iter().enumerate() {
            windows.enter(index);
            let (mut at, end) = (range.start, range.start + range.count);
            while at < end {
                let stop = self.cut(windows, at, end.min(at + most));
                self.block(windows, at, stop)?;
                at = stop;
            }
        }
        Ok(())
    }

    /// The end of the block that starts at element `at`: `want`, or less if a codec block ends before.
    fn cut<W: Windows>(&self, windows: &mut W, at: u64, want: u64) -> u64 {
        let bits = self.plan.element_bits();
        let span = self.plan.bytes_of(at, want);
        if span.is_empty() {
            return want;
        }
        let natural = windows.natural_end(span.start, span.end);
        // An element that lies across two codec blocks makes a block of its own.
        if natural >= span.end { want } else { (natural * 8 / bits).clamp(at + 1, want) }
    }

    fn block<W: Windows>(&mut self, windows: &mut W, at: u64, end: u64) -> Result<()> {
        let (plan, span) = (self.plan, at..end);
        let raw = self.raw && !self.masks.touch(&span);
        if raw && let Some(value) = self.constant(windows, &span)? {
            return value;
        }
        let Self { masks, values, stats, sink, .. } = self;
        let fault = |f: Fault| plan.failed(f);
        let window = windows.window(plan.bytes_of(at, end), stats).map_err(fault)?;
        let convert = |_: &mut DecodeStats| match &plan.encoding {
            Encoding::Packed(packing) if raw && packing.reducible() => {
                Ok(Piece::Packed(samples(packing, values, &span, window)?, *packing))
            }
            _ => convert(plan, masks, values, span, window).map(Piece::Values),
        };
        let piece = match (end - at) * value_width(plan.dtype) < TIMED_BYTES {
            true => convert(stats),
            false => stats.timed(convert),
        };
        let piece = piece.map_err(fault)?;
        if let Piece::Packed(samples, _) = piece {
            stats.elements_packed += samples.len() as u64;
        }
        sink(at, piece)
    }

    /// Hands over the elements of `span` as one value, if they are known to be: then what the sink says.
    fn constant<W: Windows>(&mut self, windows: &mut W, span: &Range<u64>) -> Result<Option<Result<()>>> {
        let Self { plan, values, stats, sink, .. } = self;
        let width = value_width(plan.dtype) as usize;
        let value = match &plan.encoding {
            Encoding::Packed(packing) if packing.bits() == 0 => packing.reference().to_ne_bytes(),
            Encoding::Plain { swap } if width <= 8 => {
                let bytes = plan.bytes_of(span.start, span.end);
                let Some(mut value) = windows.repeated(bytes, width, stats) else { return Ok(None) };
                swap_if(*swap, &mut value[..width], plan.dtype);
                value
            }
            _ => return Ok(None),
        };
        let out = values.take(width).map_err(|f| plan.failed(f))?;
        out.copy_from_slice(&value[..width]);
        let Some(value) = Block::from_bytes(plan.dtype, out) else { return Ok(None) };
        stats.elements_constant += span.end - span.start;
        Ok(Some(sink(span.start, Piece::Constant(value, (span.end - span.start) as usize))))
    }
}

/// The packed integers of the elements `span`.
fn samples<'v>(
    packing: &SimplePacking,
    values: &'v mut AlignedBuf,
    span: &Range<u64>,
    window: Window<'v>,
) -> Result<&'v [u32], Fault> {
    let bytes = match window {
        Window::Samples(samples) => return Ok(samples),
        Window::Lent(bytes) => bytes,
        Window::Owned(bytes) => bytes,
    };
    let out = values.take_numbers((span.end - span.start) as usize)?;
    let first_bit = span.start * u64::from(packing.bits()) % 8;
    packing.unpack_numbers(bytes, first_bit, out).map_err(|e| Fault::new("simple_packing", e))?;
    Ok(out)
}

/// Makes values of the encoded elements `span`.
fn convert<'v>(
    plan: &Plan,
    masks: &Masks<'_>,
    values: &'v mut AlignedBuf,
    span: Range<u64>,
    window: Window<'v>,
) -> Result<Block<'v>, Fault> {
    let n = (span.end - span.start) as usize;
    let bytes = match (&plan.encoding, window) {
        (Encoding::Plain { swap: false }, Window::Lent(bytes)) if !masks.touch(&span) => {
            if let Some(block) = Block::from_bytes(plan.dtype, bytes) {
                return Ok(block);
            }
            let out = values.take(bytes.len())?;
            out.copy_from_slice(bytes);
            out
        }
        (Encoding::Plain { swap }, Window::Lent(bytes)) => {
            let out = values.take(bytes.len())?;
            out.copy_from_slice(bytes);
            swap_if(*swap, out, plan.dtype);
            out
        }
        (Encoding::Plain { swap }, Window::Owned(bytes)) => {
            swap_if(*swap, bytes, plan.dtype);
            bytes
        }
        (Encoding::Bits, Window::Lent(bits)) => expand_bits(bits, span.start % 8, values.take(n)?),
        (Encoding::Bits, Window::Owned(bits)) => expand_bits(bits, span.start % 8, values.take(n)?),
        (Encoding::Packed(packing), window) => {
            let out = values.take_doubles(n)?;
            let first_bit = span.start * u64::from(packing.bits()) % 8;
            let unpacked = match window {
                Window::Lent(bytes) => packing.unpack(bytes, first_bit, out),
                Window::Owned(bytes) => packing.unpack(bytes, first_bit, out),
                Window::Samples(samples) => {
                    packing.scale(samples, out);
                    Ok(())
                }
            };
            unpacked.map_err(|e| Fault::new("simple_packing", e))?;
            values.bytes_mut()
        }
        (_, Window::Samples(_)) => return Err(Fault::new("pipeline", "samples came as numbers")),
    };
    masks.restore(plan.dtype, &span, bytes);
    Block::from_bytes(plan.dtype, bytes).ok_or_else(|| Fault::new("pipeline", "values came unaligned"))
}

fn swap_if(swap: bool, bytes: &mut [u8], dtype: DType) {
    if swap {
        swap_in_place(bytes, dtype.swap_unit());
    }
}

/// One byte (0 or 1) for each bit, from bit `first` (0 is the most significant) on.
fn expand_bits<'o>(bits: &[u8], first: u64, out: &'o mut [u8]) -> &'o mut [u8] {
    let lead = ((8 - first as usize) % 8).min(out.len());
    let (head, rest) = out.split_at_mut(lead);
    for (i, value) in (first as usize..).zip(head) {
        *value = (bits[0] >> (7 - i)) & 1;
    }
    let bits = &bits[usize::from(lead > 0)..];
    for (byte, values) in bits.iter().zip(rest.chunks_mut(8)) {
        values.copy_from_slice(&EXPANDED[usize::from(*byte)][..values.len()]);
    }
    out
}

/// The bits of every byte, one a byte.
const EXPANDED: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte][bit] = (byte >> (7 - bit)) as u8 & 1;
            bit += 1;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::expand_bits;

    #[test]
    fn bits_from_anywhere() {
        let bits = [0b1011_0010, 0b0110_1111, 0b1000_0001];
        let all: Vec<u8> = (0..24).map(|i| (bits[i / 8] >> (7 - i % 8)) & 1).collect();
        for start in 0..24 {
            for end in start..24 {
                let mut out = vec![9; end - start];
                expand_bits(&bits[start / 8..end.div_ceil(8)], start as u64 % 8, &mut out);
                assert_eq!(out, all[start..end], "{start}..{end}");
            }
        }
    }
}
