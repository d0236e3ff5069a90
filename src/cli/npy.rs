//! The `.npy` format, version 1.0: a header, then the elements in C order.

use crate::codec::Block;
use crate::tgm::DType;
use std::io::{self, Write};

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// The data starts at a multiple of this, so that it can be mapped.
const ALIGN: usize = 64;
/// Elements that are converted and written together.
const BATCH: usize = 1 << 13;

/// How numpy spells a dtype; bfloat16, which it doesn't know, becomes float32.
pub(super) fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::Float16 => "<f2",
        DType::BFloat16 | DType::Float32 => "<f4",
        DType::Float64 => "<f8",
        DType::Int8 => "|i1",
        DType::Int16 => "<i2",
        DType::Int32 => "<i4",
        DType::Int64 => "<i8",
        DType::UInt8 => "|u1",
        DType::UInt16 => "<u2",
        DType::UInt32 => "<u4",
        DType::UInt64 => "<u8",
        DType::Bitmask => "|b1",
        DType::Complex64 => "<c8",
        DType::Complex128 => "<c16",
    }
}

/// Magic, version and header of an array of `shape`, outermost first.
///
/// # Errors
/// `InvalidInput` if there are so many axes that version 1.0 can't hold the header.
pub(super) fn header(descr: &str, shape: &[u64]) -> io::Result<Vec<u8>> {
    let mut axes = shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    if shape.len() == 1 {
        axes.push(',');
    }
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({axes}), }}");
    let start = MAGIC.len() + 2;
    let padded = (start + text.len() + 1).next_multiple_of(ALIGN);
    text.extend(std::iter::repeat_n(' ', padded - start - text.len() - 1));
    text.push('\n');
    let len = u16::try_from(text.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many axes for .npy version 1.0"))?;
    Ok([MAGIC, &len.to_le_bytes(), text.as_bytes()].concat())
}

/// Writes the elements of `block`, little-endian.
pub(super) fn write_block(out: &mut impl Write, block: Block<'_>) -> io::Result<()> {
    match block {
        Block::Float16(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::BFloat16(v) => write_each(out, v, |x| x.to_f32().to_le_bytes()),
        Block::Float32(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Float64(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Int8(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Int16(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Int32(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Int64(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::UInt8(v) => out.write_all(v),
        Block::UInt16(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::UInt32(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::UInt64(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Complex64(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Complex128(v) => write_each(out, v, |x| x.to_le_bytes()),
        Block::Bitmask(v) => out.write_all(v),
    }
}

fn write_each<T: Copy, const N: usize>(
    out: &mut impl Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(values.len().min(BATCH) * N);
    for batch in values.chunks(BATCH) {
        buffer.clear();
        batch.iter().for_each(|value| buffer.extend_from_slice(&bytes(*value)));
        out.write_all(&buffer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn headers_are_aligned_and_as_numpy_writes_them() {
        for (shape, axes) in [(vec![], "()"), (vec![5], "(5,)"), (vec![2, 3], "(2, 3)")] {
            let header = header("<f4", &shape).unwrap();
            assert_eq!(header.len() % 64, 0);
            let text = std::str::from_utf8(&header[10..]).unwrap();
            assert_eq!(
                text.trim_end_matches([' ', '\n']),
                format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {axes}, }}")
            );
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), text.len());
            assert!(text.ends_with('\n'));
        }
        assert!(header("<f4", &[1; 100_000]).is_err());
    }

    #[test]
    fn elements_are_little_endian() {
        let mut out = Vec::new();
        write_block(&mut out, Block::Int16(&[1, -2])).unwrap();
        write_block(&mut out, Block::BFloat16(&[bf16::from_f32(-1.5)])).unwrap();
        assert_eq!(out, [1, 0, 0xfe, 0xff, 0, 0, 0xc0, 0xbf]);
    }
}
