//! Integrity: the xxh3-64 of an object frame's body.

use super::Object;
use super::frame::HEADER;
use crate::source::Source;
use crate::{Error, Result};
use xxhash_rust::xxh3::Xxh3;

/// Bytes hashed at a time, so that a source that copies needs no room for the whole frame.
const PIECE: u64 = 4 << 20;

/// Bytes of an object frame's footer; the hash covers what lies before it.
const FOOTER: u64 = 20;

/// Checks the bytes of `object` (payload region and descriptor) against the hash that its frame stores.
///
/// # Errors
/// [`Error::MissingHash`] if it stores none; [`Error::HashMismatch`] if the bytes have another; [`Error::Io`].
pub fn verify(object: &Object, source: &dyn Source) -> Result<()> {
    let expected = object.hash.ok_or_else(|| Error::MissingHash { at: object.place.clone() })?;
    let (mut pos, end) = (object.frame.start + HEADER, object.frame.end - FOOTER);
    let mut hasher = Xxh3::new();
    while pos < end {
        let stop = end.min(pos + PIECE);
        hasher.update(&source.read(pos..stop)?);
        pos = stop;
    }
    let actual = hasher.digest();
    if actual != expected {
        let (expected, actual) = (format!("{expected:016x}"), format!("{actual:016x}"));
        return Err(Error::HashMismatch { at: object.place.clone(), expected, actual });
    }
    Ok(())
}
