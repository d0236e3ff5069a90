//! The bytes of an index: a header in CBOR and columns of numbers, under one checksum.
//!
//! ```text
//! 0..8     `MBXINDEX`
//! 8..12    version, u32 little-endian
//! 12..16   zero
//! 16..24   xxh3-64 of all that follows, u64 little-endian
//! 24..32   length of the header, u64 little-endian
//! header   CBOR
//! columns  one after the other, where the header says
//! ```
//! A column is a list of u64. It is stored as differences of neighbours (wrapping), transposed into eight planes of
//! bytes (lowest first), compressed by zstd.

use crate::source::{Address, Bytes, remote};
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"MBXINDEX";
const VERSION: u32 = 2;
/// Bytes before the header.
const FIXED: usize = 32;
/// Where the bytes start that the checksum covers.
const SUMMED: usize = 24;
/// Nesting of CBOR values.
const DEPTH: usize = 256;
const LEVEL: i32 = 3;

/// Where a column lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    /// First byte, from the first column on.
    at: u64,
    /// Bytes.
    bytes: u64,
    /// Numbers.
    pub(super) len: u64,
}

/// Columns to be written.
#[derive(Debug, Default)]
pub(super) struct Columns {
    bytes: Vec<u8>,
}

impl Columns {
    /// Adds a column.
    pub(super) fn put(&mut self, numbers: &[u64]) -> io::Result<Column> {
        let len = numbers.len();
        let mut planes = vec![0; len * 8];
        let mut last = 0;
        for (i, &number) in numbers.iter().enumerate() {
            let difference = number.wrapping_sub(last).to_le_bytes();
            difference.iter().enumerate().for_each(|(plane, &byte)| planes[plane * len + i] = byte);
            last = number;
        }
        let at = self.bytes.len() as u64;
        zstd::stream::copy_encode(&planes[..], &mut self.bytes, LEVEL)?;
        Ok(Column { at, bytes: self.bytes.len() as u64 - at, len: len as u64 })
    }

    /// The bytes of an index with these columns.
    pub(super) fn finish(self, header: &impl Serialize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        ciborium::into_writer(header, &mut body).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(FIXED + body.len() + self.bytes.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(body);
        bytes.extend(self.bytes);
        let sum = xxh3_64(&bytes[SUMMED..]);
        bytes[16..SUMMED].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }
}

/// An index as read: sound as a whole, its content not looked at yet.
#[derive(Debug)]
pub(super) struct Sound<H> {
    at: Address,
    pub(super) header: H,
    bytes: Bytes,
    columns: usize,
}

/// The error of an index that can't be used.
pub(super) fn broken(at: &Address, what: impl Into<String>) -> Error {
    Error::Index { file: at.to_string().into(), what: what.into() }
}

/// The bytes of the file at `at`; `None` if there is none. A store that keeps to itself what it has says that it may
/// not be read: it counts as not there.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn read(at: &Address) -> Result<Option<Bytes>> {
    let path = match at {
        Address::Url(url) => {
            return match remote::read_whole(url) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(None),
                answer => answer,
            };
        }
        Address::Path(path) => path,
    };
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path.to_string_lossy(), error)),
    }
}

impl<H: DeserializeOwned> Sound<H> {
    /// Checks the `bytes` of the index at `at`.
    ///
    /// # Errors
    /// [`Error::Index`] for anything but an index of this version whose checksum is right.
    pub(super) fn read(at: &Address, bytes: Bytes) -> Result<Self> {
        let fail = |what: &str| Err(broken(at, what));
        if bytes.len() < FIXED || !bytes.starts_with(MAGIC) {
            return fail("it isn't an index");
        }
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if word(8) != u64::from(VERSION) {
            return fail("it is of another version");
        }
        if word(16) != xxh3_64(&bytes[SUMMED..]) {
            return fail("it is damaged: its checksum is wrong");
        }
        let columns = usize::try_from(word(24)).ok().and_then(|len| len.checked_add(FIXED));
        let Some(columns) = columns.filter(|&columns| columns <= bytes.len()) else {
            return fail("its header is longer than the file");
        };
        let header = ciborium::de::from_reader_with_recursion_limit(&bytes[FIXED..columns], DEPTH);
        let header = header.map_err(|e| broken(at, format!("its header can't be read: {e}")))?;
        Ok(Self { at: at.clone(), header, bytes, columns })
    }
}

impl<H> Sound<H> {
    /// The numbers of `column`, of which there must be `len`.
    ///
    /// # Errors
    /// [`Error::Index`] if it isn't there, or has another length.
    pub(super) fn column(&self, column: Column, len: usize) -> Result<Vec<u64>> {
        let start = usize::try_from(column.at).ok().and_then(|at| at.checked_add(self.columns));
        let end = start.and_then(|start| start.checked_add(usize::try_from(column.bytes).ok()?));
        let stored = start.zip(end).and_then(|(start, end)| self.bytes.get(start..end));
        let wanted = len.checked_mul(8).filter(|_| column.len == len as u64);
        let (Some(stored), Some(wanted)) = (stored, wanted) else {
            return Err(self.broken("a column isn't where the header says, or of another length"));
        };
        let mut planes = Vec::new(); // grows as bytes come: lengths are claims
        let decoder = zstd::stream::read::Decoder::new(stored).map(|decoder| decoder.take(wanted as u64 + 1));
        let read = decoder.and_then(|mut decoder| decoder.read_to_end(&mut planes));
        if read.is_err() || planes.len() != wanted {
            return Err(self.broken("a column can't be decompressed"));
        }
        let mut last = 0u64;
        let numbers = (0..len).map(|i| {
            let difference = u64::from_le_bytes(std::array::from_fn(|plane| planes[plane * len + i]));
            last = last.wrapping_add(difference);
            last
        });
        Ok(numbers.collect())
    }

    /// The error of a content that makes no sense.
    pub(super) fn broken(&self, what: impl Into<String>) -> Error {
        broken(&self.at, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sound(bytes: &[u8]) -> Result<Sound<Vec<Column>>> {
        Sound::read(&Address::from(std::path::Path::new("a.mbx")), Bytes::copy_from_slice(bytes))
    }

    fn index(columns: &[Vec<u64>]) -> Vec<u8> {
        let mut out = Columns::default();
        let places: Vec<Column> = columns.iter().map(|column| out.put(column).unwrap()).collect();
        out.finish(&places).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn columns_come_back_and_damage_shows(
            columns in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..40), 1..4),
            bit in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = index(&columns);
            let read = sound(&bytes).unwrap();
            for (place, column) in read.header.iter().zip(&columns) {
                prop_assert_eq!(&read.column(*place, column.len()).unwrap(), column);
                prop_assert!(read.column(*place, column.len() + 1).is_err());
            }
            let mut flipped = bytes.clone();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = matches!(sound(&flipped), Err(Error::Index { .. }));
            prop_assert!(refused);
            let refused = matches!(sound(&bytes[..cut.index(bytes.len())]), Err(Error::Index { .. }));
            prop_assert!(refused);
        }
    }

    #[test]
    fn claims_are_checked() {
        let mut out = Columns::default();
        let place = out.put(&[1, 2, 3]).unwrap();
        let bytes = out
            .finish(&[
                Column { len: u64::MAX, ..place },
                Column { bytes: u64::MAX, ..place },
                Column { bytes: place.bytes - 1, ..place },
                Column { at: u64::MAX, ..place },
            ])
            .unwrap();
        let read = sound(&bytes).unwrap();
        for place in read.header.clone() {
            assert!(matches!(read.column(place, place.len as usize), Err(Error::Index { .. })), "{place:?}");
        }
    }

    #[test]
    fn runs_and_steps_take_little_room() {
        let steps: Vec<u64> = (0..100_000).map(|i| 7 + 128 * i).collect();
        assert!(index(&[steps]).len() < 1000);
    }
}
