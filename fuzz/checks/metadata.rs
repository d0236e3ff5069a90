//! Any bytes as the CBOR of a frame: metadata, descriptor, index, hashes or preceder. A fuzzer that mutates whole files
//! breaks their framing before it gets there.

use super::framing::opened;

/// Frame types, by the first byte.
const KINDS: [u16; 5] = [1, 9, 2, 3, 8];

/// The first byte that stands for a frame type.
pub(super) fn kind_of(frame_type: u16) -> Option<u8> {
    KINDS.iter().position(|kind| *kind == frame_type).map(|at| at as u8)
}

pub fn metadata(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let descriptor = b"\xa9\x64ndim\x01\x64type\x67ntensor\x65dtype\x65uint8\x65shape\x81\x02\x66filter\x64none\x67strides\x81\x01\x68encoding\x64none\x6abyte_order\x66little\x6bcompression\x64none";
    let empty = frame(1, 1, b"\xa0");
    let object = |descriptor: &[u8]| object_frame(&[7, 8], descriptor);
    let frames = match kind {
        1 => vec![frame(1, 1, body), object(descriptor)],
        9 => vec![empty, object(body)],
        8 => vec![empty, frame(8, 1, body), object(descriptor)],
        kind => vec![empty, frame(kind, 1, body), object(descriptor)],
    };
    assert!(opened(&message(&frames)), "the framing is sound");
}

/// A frame of `kind`, whose footer is its body's end.
fn frame(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(kind, flags, 16 + body.len() + 12);
    bytes.extend(body);
    bytes.extend([0; 8]);
    bytes.extend(b"ENDF");
    bytes
}

fn object_frame(payload: &[u8], descriptor: &[u8]) -> Vec<u8> {
    let mut bytes = head(9, 1, 16 + payload.len() + descriptor.len() + 20);
    bytes.extend(payload);
    bytes.extend(descriptor);
    bytes.extend((16 + payload.len() as u64).to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(b"ENDF");
    bytes
}

fn head(kind: u16, flags: u16, length: usize) -> Vec<u8> {
    let mut bytes = b"FR".to_vec();
    [kind, 1, flags].iter().for_each(|word| bytes.extend(word.to_be_bytes()));
    bytes.extend((length as u64).to_be_bytes());
    bytes
}

fn message(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut inside = Vec::new();
    for frame in frames {
        inside.extend(frame);
        inside.resize(inside.len().next_multiple_of(8), 0);
    }
    let length = inside.len() as u64 + 48;
    let mut bytes = b"TENSOGRM\0\x03\0\0\0\0\0\0".to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(&inside);
    bytes.extend((length - 24).to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(b"39277777");
    bytes
}
