//! Messages put together byte by byte, also such as no sound writer would write.

use serde_json::{Value, json};

pub(crate) const HEADER_METADATA: u16 = 1;
pub(crate) const FOOTER_METADATA: u16 = 7;
pub(crate) const FOOTER_INDEX: u16 = 6;
pub(crate) const PRECEDER: u16 = 8;
pub(crate) const OBJECT: u16 = 9;

pub(crate) fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

/// A frame with a 12-byte footer and no hash, without padding.
pub(crate) fn frame(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, 0, 16 + body.len() + 12);
    bytes.extend(body);
    bytes.extend([0; 8]);
    bytes.extend(b"ENDF");
    bytes
}

/// An object frame, the descriptor after the payload region, without padding. Its hash is that of its body.
pub(crate) fn object(region: &[u8], descriptor: &[u8]) -> Vec<u8> {
    let body = [region, descriptor].concat();
    let mut bytes = header(OBJECT, 3, 16 + body.len() + 20);
    bytes.extend(&body);
    bytes.extend((16 + region.len() as u64).to_be_bytes());
    bytes.extend(xxhash_rust::xxh3::xxh3_64(&body).to_be_bytes());
    bytes.extend(b"ENDF");
    bytes
}

fn header(kind: u16, flags: u16, length: usize) -> Vec<u8> {
    let mut bytes = b"FR".to_vec();
    for word in [kind, 1, flags] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend((length as u64).to_be_bytes());
    bytes
}

/// The descriptor of `len` plain bytes, as uint8.
pub(crate) fn plain(len: usize) -> Value {
    json!({
        "type": "ntensor", "ndim": 1, "shape": [len], "strides": [1], "dtype": "uint8",
        "encoding": "none", "filter": "none", "compression": "none",
    })
}

/// An object of plain bytes.
pub(crate) fn bytes_object(payload: &[u8]) -> Vec<u8> {
    object(payload, &cbor(&plain(payload.len())))
}

/// Frames one after the other, each padded to a multiple of 8.
pub(crate) fn padded(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend(frame);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// A message around `inside`, its length known or not.
pub(crate) fn message(inside: &[u8], length_known: bool) -> Vec<u8> {
    let length = if length_known { inside.len() as u64 + 48 } else { 0 };
    let mut bytes = preamble(length);
    bytes.extend(inside);
    bytes.extend((bytes.len() as u64).to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(b"39277777");
    bytes
}

pub(crate) fn preamble(length: u64) -> Vec<u8> {
    let mut bytes = b"TENSOGRM".to_vec();
    bytes.extend([0, 3, 0, 0, 0, 0, 0, 0]);
    bytes.extend(length.to_be_bytes());
    bytes
}

/// A message of one object of plain bytes with metadata `base: [{"name": name}]`.
pub(crate) fn named(name: &str, payload: &[u8], length_known: bool) -> Vec<u8> {
    let metadata = frame(HEADER_METADATA, &cbor(&json!({ "base": [{ "name": name }] })));
    message(&padded(&[metadata, bytes_object(payload)]), length_known)
}
