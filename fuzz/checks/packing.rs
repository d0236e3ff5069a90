//! Any bytes as packed values: the fast ways agree with reading bit by bit.

use millibar::codec::packing::SimplePacking;

pub fn packing(bytes: &[u8]) {
    let Some((&[bits, first, scale, count], packed)) = bytes.split_first_chunk::<4>() else { return };
    let Ok(packing) = SimplePacking::try_new(u32::from(bits), 1.5, i32::from(scale) - 128, 0) else { return };
    let (bits, first, count) = (usize::from(bits), usize::from(first), usize::from(count));
    let mut out = vec![0.0; count];
    let fits = bits == 0 || first + bits * count <= 8 * packed.len();
    assert_eq!(packing.unpack(packed, first as u64, &mut out).is_ok(), fits);
    if !fits {
        return;
    }
    for (i, out) in out.iter().enumerate() {
        let start = first + i * bits;
        let bit = |at: usize| u64::from(packed[at / 8] >> (7 - at % 8) & 1);
        let q = (start..start + bits).fold(0, |q, at| q << 1 | bit(at));
        assert_eq!(*out, 1.5 + 2f64.powi(i32::from(scale) - 128) * q as f64);
    }
}
