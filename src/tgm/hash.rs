//! Integrity: the xxh3-64 of a frame's body.

use super::Object;
use super::frame::{HEADER, Kind};
use crate::source::Source;
use crate::{Error, Place, Result};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// What hash frames call the hash.
pub(super) const ALGORITHM: &str = "xxh3";

/// Bytes hashed at a time, so that a source that copies needs no room for the whole frame.
const PIECE: u64 = 4 << 20;

/// The digest of `pieces`, one after the other.
pub(super) fn digest_of(pieces: &[&[u8]]) -> u64 {
    let mut hasher = Xxh3::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.digest()
}

/// Checks the bytes of `body` against the hash that the frame at `at` stores.
///
/// # Errors
/// [`Error::HashMismatch`] if they have another; [`Error::Io`].
pub(super) fn verify_body(source: &dyn Source, body: Range<u64>, expected: u64, at: &Place) -> Result<()> {
    let mut pos = body.start;
    let mut hasher = Xxh3::new();
    while pos < body.end {
        let stop = body.end.min(pos + PIECE);
        source.will_need(stop..body.end.min(stop + PIECE));
        hasher.update(&source.read(pos..stop)?);
        pos = stop;
    }
    let actual = hasher.digest();
    if actual != expected {
        let (expected, actual) = (format!("{expected:016x}"), format!("{actual:016x}"));
        return Err(Error::HashMismatch { at: at.clone(), expected, actual });
    }
    Ok(())
}

/// Checks the bytes of `object` (payload region and descriptor) against the hash that its frame stores.
///
/// # Errors
/// [`Error::MissingHash`] if it stores none; [`Error::HashMismatch`] if the bytes have another; [`Error::Io`].
pub fn verify(object: &Object, source: &dyn Source) -> Result<()> {
    let expected = object.hash.ok_or_else(|| Error::MissingHash { at: object.place.clone() })?;
    let body = object.frame.start + HEADER..object.frame.end - Kind::Object.footer();
    verify_body(source, body, expected, &object.place)
}
