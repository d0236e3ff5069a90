//! Frames on their way out.

use super::EncodedObject;
use crate::tgm::frame::{ALIGN, CBOR_AFTER_PAYLOAD, FRAME_END, FRAME_MAGIC, HASH_PRESENT, HEADER, Kind};
use crate::tgm::{Map, Value};
use crate::tgm::{canonical, hash};
use crate::{Error, Place, Result};

/// Version of the frames that are written.
const FRAME_VERSION: u16 = 1;

/// One frame, ready to be written.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    kind: Kind,
    /// The body: one piece, or payload region and descriptor.
    body: [&'a [u8]; 2],
    /// Digest of the body.
    pub(super) hash: Option<u64>,
}

impl<'a> Outgoing<'a> {
    /// A frame of one CBOR item.
    pub(super) fn new(kind: Kind, body: &'a [u8], hashed: bool) -> Self {
        Self { kind, body: [body, &[]], hash: hashed.then(|| hash::digest_of(&[body])) }
    }

    /// The frame of an object, its descriptor after the payload.
    pub(super) fn object(region: &'a [u8], descriptor: &'a [u8], hashed: bool) -> Self {
        let body = [region, descriptor];
        Self { kind: Kind::Object, body, hash: hashed.then(|| hash::digest_of(&body)) }
    }

    /// Bytes from the frame's magic to its end.
    pub(super) fn len(&self) -> u64 {
        HEADER + self.body.iter().map(|piece| piece.len() as u64).sum::<u64>() + self.kind.footer()
    }

    /// The same, with the padding that follows.
    pub(super) fn padded(&self) -> u64 {
        self.len().next_multiple_of(ALIGN)
    }

    /// Hands over its bytes in order, padding included.
    pub(super) fn pieces(&self, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let object = self.kind == Kind::Object;
        let flags = if object { CBOR_AFTER_PAYLOAD } else { 0 };
        let flags = flags | if self.hash.is_some() { HASH_PRESENT } else { 0 };
        let mut header = FRAME_MAGIC.to_vec();
        [self.kind.number(), FRAME_VERSION, flags].iter().for_each(|word| header.extend(word.to_be_bytes()));
        header.extend(self.len().to_be_bytes());
        put(&header)?;
        self.body.iter().try_for_each(|piece| put(piece))?;
        let mut footer = Vec::new();
        if object {
            footer.extend((HEADER + self.body[0].len() as u64).to_be_bytes());
        }
        footer.extend(self.hash.unwrap_or(0).to_be_bytes());
        footer.extend(FRAME_END);
        footer.resize(footer.len() + (self.padded() - self.len()) as usize, 0);
        put(&footer)
    }
}

/// The descriptor of an object as CBOR.
///
/// # Errors
/// [`Error::Metadata`] for parameters named like the format's own keys or that CBOR can't hold; [`Error::Framing`]
/// for masks outside of the region.
pub(super) fn descriptor(object: &EncodedObject<'_>, at: &Place) -> Result<Vec<u8>> {
    let EncodedObject { descriptor, region } = object;
    if let Some(key) = descriptor.misplaced() {
        return Err(Error::metadata(at, format!("`{key}` is a key of the format, not a parameter")));
    }
    for mask in &descriptor.masks {
        let fits = mask.offset.checked_add(mask.length).is_some_and(|end| end <= region.len() as u64);
        if !fits {
            let what = format!(
                "{:?} mask of {} bytes at offset {} leaves a payload region of {}",
                mask.kind,
                mask.length,
                mask.offset,
                region.len()
            );
            return Err(Error::framing(at, what));
        }
    }
    canonical::encode(&descriptor.to_value())
        .map_err(|what| Error::metadata(at, format!("descriptor: {what}")))
}

/// The body of an index frame: offset from the message's start, and length, of each object frame.
pub(super) fn index_body(places: &[(u64, u64)]) -> Vec<u8> {
    let numbers =
        |of: fn(&(u64, u64)) -> u64| Value::Array(places.iter().map(|place| of(place).into()).collect());
    body([("offsets", numbers(|place| place.0)), ("lengths", numbers(|place| place.1))])
}

/// The body of a hash frame: the hash of each object frame.
pub(super) fn hash_body(hashes: impl Iterator<Item = u64>) -> Vec<u8> {
    let texts = hashes.map(|hash| Value::Text(format!("{hash:016x}"))).collect();
    body([("algorithm", Value::Text(hash::ALGORITHM.into())), ("hashes", Value::Array(texts))])
}

fn body(entries: [(&str, Value); 2]) -> Vec<u8> {
    let map: Map = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    // Texts and numbers in lists: nothing that can't be written.
    canonical::encode_map(&map).unwrap_or_default()
}
