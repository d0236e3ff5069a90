//! Just enough of `.npy` and SHA-256 for the expected values of the corpus.

use std::path::Path;

/// A little-endian, C-order `.npy` array: its raw bytes.
#[derive(Debug)]
pub(crate) struct Npy {
    /// numpy's name of the dtype, such as `<f4`.
    pub(crate) descr: String,
    /// Elements per axis.
    pub(crate) shape: Vec<usize>,
    /// The values.
    pub(crate) bytes: Vec<u8>,
}

impl Npy {
    pub(crate) fn read(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(&file[..6], b"\x93NUMPY", "{}", path.display());
        let (len, start) = match file[6] {
            1 => (usize::from(u16::from_le_bytes([file[8], file[9]])), 10),
            _ => (u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize, 12),
        };
        let header = std::str::from_utf8(&file[start..start + len]).unwrap();
        assert!(header.contains("'fortran_order': False"), "{header}");
        let after =
            |key: &str| header.split(key).nth(1).unwrap_or_else(|| panic!("{key} in {header}")).trim_start();
        let descr = after("'descr':").trim_start_matches('\'').split('\'').next().unwrap().to_owned();
        let shape = after("'shape':").trim_start_matches('(').split(')').next().unwrap();
        let shape =
            shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
        Self { descr, shape, bytes: file[start + len..].to_vec() }
    }

    /// Bytes of one element.
    pub(crate) fn width(&self) -> usize {
        self.descr[2..].parse().unwrap()
    }

    /// Bytes of row `index` of the first axis.
    pub(crate) fn row(&self, index: usize) -> &[u8] {
        let row = self.bytes.len() / self.shape[0];
        &self.bytes[index * row..(index + 1) * row]
    }
}

/// SHA-256 as lowercase hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let primes: Vec<u32> = (2..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
    let fraction = |x: f64| ((x - x.floor()) * 4294967296.0) as u32;
    let k: Vec<u32> = primes.iter().map(|p| fraction_of_cbrt(*p)).collect();
    let mut h: Vec<u32> = primes[..8].iter().map(|p| fraction(f64::from(*p).sqrt())).collect();
    let mut message = bytes.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend((bytes.len() as u64 * 8).to_be_bytes());
    for block in message.chunks(64) {
        let mut w: Vec<u32> = block.chunks(4).map(|c| u32::from_be_bytes(c.try_into().unwrap())).collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
        }
        let mut v = h.clone();
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 = v[7].wrapping_add(s1).wrapping_add(choice).wrapping_add(k[i]).wrapping_add(w[i]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[0] = t1.wrapping_add(s0.wrapping_add(majority));
            v[4] = v[4].wrapping_add(t1);
        }
        for (h, v) in h.iter_mut().zip(v) {
            *h = h.wrapping_add(v);
        }
    }
    h.iter().map(|word| format!("{word:08x}")).collect()
}

/// The first 32 bits of the fraction of the cube root of `n`: the largest `r` with `r^3 <= n * 2^96`.
fn fraction_of_cbrt(n: u32) -> u32 {
    let floor = (1_u64..).take_while(|i| i * i * i <= u64::from(n)).last().unwrap_or(0);
    let (mut low, mut high) = (floor << 32, (floor + 1) << 32);
    while high - low > 1 {
        let middle = (low + high) / 2;
        // middle^3 <= n * 2^96, compared without overflow: middle < 2^35, so the square fits in 70 bits.
        let square = u128::from(middle) * u128::from(middle);
        let (top, rest) = (square >> 64, square & u128::from(u64::MAX));
        let cube_top = top * u128::from(middle) + ((rest * u128::from(middle)) >> 64);
        if cube_top < u128::from(n) << 32 { low = middle } else { high = middle }
    }
    low as u32
}

#[test]
fn sha256_of_known_texts() {
    assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
