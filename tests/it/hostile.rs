//! Damaged and made-up bytes: never a panic or a hang, and memory within a factor of the bytes that are there.

use crate::build::{
    HEADER_METADATA, PRECEDER, bytes_object, cbor, frame, message, named, object, padded, plain,
};
use crate::memory_source::MemorySource;
use crate::{corpus, memory};
use millibar::tgm::{self, File, Limits};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use std::sync::OnceLock;

/// Opens `bytes`, and goes through all that the reader gives. What it gives has to lie within the bytes.
fn survive(bytes: &[u8]) {
    let source = MemorySource::new(bytes.to_vec());
    let len = bytes.len() as u64;
    let (file, peak) = memory::peak(|| File::open(source.clone(), &Limits::default()));
    let bound = (64 << 10) + 256 * bytes.len();
    assert!(peak <= bound, "{peak} bytes of memory for a file of {len}");
    let Ok(file) = file else { return };
    for message in file.messages.iter().flatten() {
        assert!(message.span.end <= len && message.metadata.base.len() == message.objects.len());
        for object in &message.objects {
            let (frame, region, payload) = (&object.frame, &object.region, object.payload());
            assert!(frame.start >= message.span.start && frame.end <= message.span.end);
            assert!(frame.start <= region.start && region.start <= region.end && region.end <= frame.end);
            assert!(
                region.start == payload.start && payload.start <= payload.end && payload.end <= region.end
            );
            assert!(object.descriptor.dtype.byte_len(object.descriptor.len()).is_some());
            let _ = (object.descriptor.pipeline(), tgm::map_to_json(&object.descriptor.params));
            let _ = tgm::verify(object, &*source);
        }
    }
}

/// Small sound files to damage: some made here, others of the corpus where it is there.
fn seeds() -> &'static Vec<Vec<u8>> {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let preceded = [
            frame(HEADER_METADATA, &cbor(&json!({ "_extra_": { "a": [1, 2.5, null] } }))),
            frame(PRECEDER, &cbor(&json!({ "base": [{ "name": "p" }] }))),
            bytes_object(b"abc"),
        ];
        let mut seeds = vec![
            named("a", b"12345", true),
            [named("a", b"1", false), named("b", b"23", false), named("c", b"4", true)].concat(),
            message(&padded(&preceded), true),
        ];
        let names = [
            "framing/stream_six_messages.tgm",
            "framing/index_in_both.tgm",
            "framing/preceders_streaming.tgm",
            "framing/cbor_before_payload.tgm",
            "framing/indefinite_cbor.tgm",
            "masks/two_objects_one_masked.tgm",
            "metadata/nested.tgm",
            "metadata/value_types.tgm",
            "framing/messages_of_0_to_3_objects.tgm",
        ];
        if let Some(dir) = corpus::dir() {
            seeds.extend(names.iter().map(|name| std::fs::read(dir.join(name)).unwrap()));
        }
        seeds
    })
}

/// One way to damage a file.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Flip(Index, u8),
    Word(Index, u64),
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize),
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let words = prop::sample::select(vec![
        0,
        1,
        15,
        28,
        47,
        1 << 31,
        1 << 32,
        1 << 63,
        u64::MAX,
        u64::MAX - 7,
        u64::from_be_bytes(*b"TENSOGRM"),
        u64::from_be_bytes(*b"39277777"),
    ]);
    prop_oneof![
        4 => (any::<Index>(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        4 => (any::<Index>(), words).prop_map(|(at, word)| Damage::Word(at, word)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), 1..64usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        1 => (any::<Index>(), 1..512usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
    ]
}

pub(crate) fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let span = |at: &Index, len: usize| {
        let start = at.index(bytes.len());
        start..bytes.len().min(start + len)
    };
    match damage {
        Damage::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Damage::Word(at, word) => {
            // Fields of the framing are aligned more often than not.
            let start = at.index(bytes.len()) / 8 * 8;
            let end = bytes.len().min(start + 8);
            bytes[start..end].copy_from_slice(&word.to_be_bytes()[..end - start]);
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Remove(at, len) => drop(bytes.drain(span(at, *len))),
        Damage::Repeat(at, len) => {
            let span = span(at, *len);
            let copy = bytes[span.clone()].to_vec();
            bytes.splice(span.end..span.end, copy);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_files(seed in any::<Index>(), damages in prop::collection::vec(damage(), 1..4)) {
        let mut bytes = seeds()[seed.index(seeds().len())].clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        survive(&bytes);
    }

    #[test]
    fn made_up_cbor(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let header = frame(HEADER_METADATA, &cbor(&json!({})));
        survive(&message(&padded(&[frame(HEADER_METADATA, &body), bytes_object(b"1")]), true));
        survive(&message(&padded(&[header.clone(), object(b"1", &body)]), true));
        survive(&message(&padded(&[header, frame(PRECEDER, &body), bytes_object(b"1")]), true));
    }

    #[test]
    fn damaged_descriptors(damages in prop::collection::vec(damage(), 1..3)) {
        let mut descriptor = plain(8);
        descriptor["masks"] = json!({ "nan": { "offset": 8, "length": 1, "method": "none", "params": {} } });
        descriptor["szip_block_offsets"] = json!([0, 98, 197]);
        let mut body = cbor(&descriptor);
        damages.iter().for_each(|damage| apply(&mut body, damage));
        let header = frame(HEADER_METADATA, &cbor(&json!({})));
        survive(&message(&padded(&[header, object(&[0; 9], &body)]), true));
    }
}

#[test]
fn every_truncation_of_a_small_file() {
    for seed in &seeds()[..3] {
        (0..seed.len()).for_each(|len| survive(&seed[..len]));
    }
}

#[test]
fn densest_metadata_stays_within_the_bound() {
    // One-byte items take the most memory for their bytes.
    for item in [&[0x01][..], &[0x60], &[0x80], &[0xa0], &[0xf6], &[0x81, 0x01], &[0xa1, 0x60, 0x01]] {
        let mut body = vec![0xa1, 0x61, b'k', 0x9f];
        body.extend(item.repeat(100_000 / item.len()));
        body.push(0xff);
        survive(&message(&padded(&[frame(HEADER_METADATA, &body), bytes_object(b"1")]), true));
    }
}
