//! The byte shuffle (section 4.3 of the format): byte `b` of element `e` lies at `b * elements + e`.

use multiversion::multiversion;
use std::num::NonZeroUsize;
use std::ops::Range;

/// What can be wrong with shuffled bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShuffleError {
    /// Element size 0.
    #[error("element size 0")]
    ZeroSize,
    /// The bytes aren't whole elements.
    #[error("{bytes} bytes are not a multiple of the element size {size}")]
    Ragged {
        /// Shuffled bytes.
        bytes: u64,
        /// Bytes of one element.
        size: u64,
    },
    /// Elements or pieces outside the buffer, or an output of another size.
    #[error("{what}: {got}, expected {expected}")]
    Range {
        /// What doesn't fit.
        what: &'static str,
        /// What came.
        got: u64,
        /// What would fit, or the most that would.
        expected: u64,
    },
}

/// Result of this module.
pub type Result<T, E = ShuffleError> = std::result::Result<T, E>;

/// Checked geometry of one shuffled buffer. An *element* here is a group of `size` bytes, which need not be as
/// wide as the dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    size: u64,
    elements: u64,
}

impl Shuffle {
    /// A buffer of `bytes` bytes in elements of `size`.
    ///
    /// # Errors
    /// [`ShuffleError::ZeroSize`], [`ShuffleError::Ragged`].
    pub fn try_new(size: u64, bytes: u64) -> Result<Self> {
        if size == 0 {
            return Err(ShuffleError::ZeroSize);
        }
        if !bytes.is_multiple_of(size) {
            return Err(ShuffleError::Ragged { bytes, size });
        }
        Ok(Self { size, elements: bytes / size })
    }

    /// Bytes of one element: the number of planes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Elements: the bytes of one plane.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// The elements that cover `bytes` of the unshuffled data.
    pub fn covering(&self, bytes: Range<u64>) -> Range<u64> {
        bytes.start / self.size..bytes.end.div_ceil(self.size)
    }

    /// Which bytes of the shuffled data hold `elements`: one range for each plane, in plane order.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if the elements leave the buffer.
    pub fn plane_ranges(&self, elements: Range<u64>) -> Result<impl Iterator<Item = Range<u64>> + use<>> {
        self.check(&elements)?;
        let plane = self.elements;
        Ok((0..self.size).map(move |b| b * plane + elements.start..b * plane + elements.end))
    }

    /// Undoes the shuffle for `elements` of the whole shuffled buffer `planes`.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if the elements leave the buffer, `planes` isn't all of it, or `out` isn't `size`
    /// bytes for each element.
    pub fn unshuffle(&self, planes: &[u8], elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        self.check(&elements)?;
        expect("shuffled bytes", planes.len() as u64, self.size * self.elements)?;
        let count = elements.end - elements.start;
        expect("bytes of output", out.len() as u64, self.size * count)?;
        // All of these are at most the length of a slice.
        let (size, plane, start) = (self.size as usize, self.elements as usize, elements.start as usize);
        if count == 0 {
            return Ok(());
        }
        let piece = |b: usize| &planes[b * plane + start..][..count as usize];
        match size {
            1 => out.copy_from_slice(piece(0)),
            2 => interleave::<2>(std::array::from_fn(piece), out),
            3 => interleave::<3>(std::array::from_fn(piece), out),
            4 => interleave::<4>(std::array::from_fn(piece), out),
            8 => interleave::<8>(std::array::from_fn(piece), out),
            16 => interleave::<16>(std::array::from_fn(piece), out),
            _ => interleave_any(size, piece, out),
        }
        Ok(())
    }

    /// Interleaves pieces fetched one for each plane ([`Shuffle::plane_ranges`]), all of one length.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if the pieces aren't `size` in number, differ in length, or don't fill `out`.
    pub fn assemble(&self, pieces: &[&[u8]], out: &mut [u8]) -> Result<()> {
        expect("pieces", pieces.len() as u64, self.size)?;
        let count = out.len() / pieces.len();
        expect("bytes of output", out.len() as u64, (count * pieces.len()) as u64)?;
        for piece in pieces {
            expect("bytes of a piece", piece.len() as u64, count as u64)?;
        }
        if count == 0 {
            return Ok(());
        }
        match pieces.len() {
            1 => out.copy_from_slice(pieces[0]),
            2 => interleave::<2>(std::array::from_fn(|b| pieces[b]), out),
            3 => interleave::<3>(std::array::from_fn(|b| pieces[b]), out),
            4 => interleave::<4>(std::array::from_fn(|b| pieces[b]), out),
            8 => interleave::<8>(std::array::from_fn(|b| pieces[b]), out),
            16 => interleave::<16>(std::array::from_fn(|b| pieces[b]), out),
            size => interleave_any(size, |b| pieces[b], out),
        }
        Ok(())
    }

    /// Shuffles all of `plain` into `out`, on up to `threads` threads.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if either isn't of the buffer's size.
    pub fn shuffle(&self, plain: &[u8], threads: NonZeroUsize, out: &mut [u8]) -> Result<()> {
        let bytes = self.size * self.elements;
        expect("bytes to shuffle", plain.len() as u64, bytes)?;
        expect("bytes of output", out.len() as u64, bytes)?;
        // Both are at most the length of a slice.
        let (size, elements) = (self.size as usize, self.elements as usize);
        if elements == 0 {
            return Ok(());
        }
        let parts = (plain.len() / PER_THREAD).clamp(1, threads.get());
        let count = elements.div_ceil(parts).next_multiple_of(64);
        let mut planes: Vec<_> = out.chunks_mut(elements).map(|plane| plane.chunks_mut(count)).collect();
        let parts = plain.chunks(count * size).map(|plain| {
            let planes: Vec<_> = planes.iter_mut().filter_map(Iterator::next).collect();
            move || split(size, plain, planes)
        });
        let mut parts: Vec<_> = parts.collect();
        let last = parts.pop();
        std::thread::scope(|scope| {
            parts.into_iter().for_each(|part| {
                scope.spawn(part);
            });
            if let Some(part) = last {
                part();
            }
        });
        Ok(())
    }

    fn check(&self, elements: &Range<u64>) -> Result<()> {
        if elements.start > elements.end {
            return Err(ShuffleError::Range {
                what: "start of elements",
                got: elements.start,
                expected: elements.end,
            });
        }
        if elements.end > self.elements {
            return Err(ShuffleError::Range {
                what: "end of elements",
                got: elements.end,
                expected: self.elements,
            });
        }
        Ok(())
    }
}

fn expect(what: &'static str, got: u64, expected: u64) -> Result<()> {
    if got == expected { Ok(()) } else { Err(ShuffleError::Range { what, got, expected }) }
}

/// `N` pieces, each as long as `out` has elements.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn interleave<const N: usize>(pieces: [&[u8]; N], out: &mut [u8]) {
    let out = out.as_chunks_mut::<N>().0;
    let pieces = pieces.map(|piece| &piece[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        for (out, piece) in out.iter_mut().zip(&pieces) {
            *out = piece[i];
        }
    }
}

/// Writes byte `b` of each element to plane `b`.
fn split(size: usize, plain: &[u8], mut planes: Vec<&mut [u8]>) {
    match size {
        2 => deinterleave::<2>(plain, &mut planes),
        4 => deinterleave::<4>(plain, &mut planes),
        8 => deinterleave::<8>(plain, &mut planes),
        16 => deinterleave::<16>(plain, &mut planes),
        size => {
            let tile = (TILE / size).max(1);
            for (i, plain) in plain.chunks(tile * size).enumerate() {
                for (b, plane) in planes.iter_mut().enumerate() {
                    let bytes = plain[b..].iter().step_by(size);
                    plane[i * tile..].iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
                }
            }
        }
    }
}

/// Elements of `N` bytes, all planes of a tile at a time.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn deinterleave<const N: usize>(plain: &[u8], planes: &mut [&mut [u8]]) {
    const GROUP: usize = 32;
    let tile = TILE / N;
    for (t, elements) in plain.as_chunks::<N>().0.chunks(tile).enumerate() {
        let (groups, rest) = elements.as_chunks::<GROUP>();
        for (b, plane) in planes.iter_mut().enumerate() {
            let (out, last) = plane[t * tile..][..elements.len()].as_chunks_mut::<GROUP>();
            for (out, group) in out.iter_mut().zip(groups) {
                *out = std::array::from_fn(|i| group[i][b]);
            }
            last.iter_mut().zip(rest).for_each(|(out, element)| *out = element[b]);
        }
    }
}

/// Bytes that one thread shuffles at least.
const PER_THREAD: usize = 1 << 20;

/// Any element size: a plane at a time within tiles that stay in the first-level cache.
fn interleave_any<'a>(size: usize, piece: impl Fn(usize) -> &'a [u8], out: &mut [u8]) {
    let tile = (TILE / size).max(1);
    for (i, out) in out.chunks_mut(tile * size).enumerate() {
        for b in 0..size {
            let bytes = &piece(b)[i * tile..];
            for (out, byte) in out[b..].iter_mut().step_by(size).zip(bytes) {
                *out = *byte;
            }
        }
    }
}

/// Bytes of output written plane by plane.
const TILE: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shuffled(plain: &[u8], size: usize) -> Vec<u8> {
        (0..size).flat_map(|b| plain.iter().skip(b).step_by(size).copied()).collect()
    }

    #[test]
    fn vector_of_the_format() {
        let plain: Vec<u8> = (0..4).flat_map(|i| (0x0102_0300u32 + i).to_le_bytes()).collect();
        let planes = [0, 1, 2, 3, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1];
        let mut out = [0; 16];
        Shuffle::try_new(4, 16).unwrap().unshuffle(&planes, 0..4, &mut out).unwrap();
        assert_eq!(out, plain[..]);
    }

    #[test]
    fn geometry_is_checked() {
        assert_eq!(Shuffle::try_new(0, 8), Err(ShuffleError::ZeroSize));
        assert_eq!(Shuffle::try_new(7, 256), Err(ShuffleError::Ragged { bytes: 256, size: 7 }));
        assert!(Shuffle::try_new(u64::MAX, 256).is_err());
        let shuffle = Shuffle::try_new(4, 16).unwrap();
        let mut out = [0; 8];
        assert!(shuffle.unshuffle(&[0; 15], 0..2, &mut out).is_err());
        assert!(shuffle.unshuffle(&[0; 16], 0..3, &mut out).is_err());
        assert!(shuffle.unshuffle(&[0; 16], 3..5, &mut out).is_err());
        assert!(shuffle.unshuffle(&[0; 16], Range { start: 3, end: 1 }, &mut out).is_err());
        assert!(shuffle.plane_ranges(0..5).is_err());
        assert!(shuffle.assemble(&[&[0; 2][..]; 3], &mut out).is_err());
        assert!(shuffle.assemble(&[&[0; 3][..]; 4], &mut out).is_err());
        assert!(shuffle.assemble(&[&[0; 2][..]; 4], &mut out[..7]).is_err());
        assert!(shuffle.assemble(&[&[][..]; 4], &mut []).is_ok());
        let empty = Shuffle::try_new(4, 0).unwrap();
        assert!(empty.unshuffle(&[], 0..0, &mut []).is_ok());
        // One element as large as the buffer.
        let one = Shuffle::try_new(9, 9).unwrap();
        let mut out = [0; 9];
        one.unshuffle(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 0..1, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    proptest! {
        #[test]
        fn every_part_by_every_way(
            size in prop_oneof![Just(1usize), Just(2), Just(3), Just(4), Just(8), Just(16), 1..20usize],
            plain in prop::collection::vec(any::<u8>(), 0..12_000),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let count = plain.len() / size;
            let plain = &plain[..count * size];
            let planes = shuffled(plain, size);
            let shuffle = Shuffle::try_new(size as u64, plain.len() as u64).unwrap();
            let (from, to) = (from.index(count + 1), to.index(count + 1));
            let elements = from.min(to)..from.max(to);
            let expected = &plain[elements.start * size..elements.end * size];
            let elements = elements.start as u64..elements.end as u64;

            let mut out = vec![0; expected.len()];
            shuffle.unshuffle(&planes, elements.clone(), &mut out).unwrap();
            prop_assert_eq!(&out, expected);

            let ranges = shuffle.plane_ranges(elements).unwrap();
            let pieces: Vec<_> = ranges.map(|r| &planes[r.start as usize..r.end as usize]).collect();
            let mut out = vec![0; expected.len()];
            shuffle.assemble(&pieces, &mut out).unwrap();
            prop_assert_eq!(&out, expected);
        }

        #[test] // the elements that cover a byte range hold it, and none too many
        fn covering_is_tight(size in 1..20u64, start in 0..500u64, len in 1..50u64) {
            let shuffle = Shuffle::try_new(size, size * 1000).unwrap();
            let elements = shuffle.covering(start..start + len);
            prop_assert!(elements.start * size <= start && start + len <= elements.end * size);
            prop_assert!((elements.start + 1) * size > start && (elements.end - 1) * size < start + len);
        }
    }
}
