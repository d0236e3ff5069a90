//! The rules of framing that the corpus doesn't reach, each on a message made for it.

use crate::build::{
    FOOTER_INDEX, FOOTER_METADATA, HEADER_METADATA, PRECEDER, bytes_object, cbor, frame, message, named,
    object, padded, plain, preamble,
};
use crate::memory_source::{Asked, MemorySource};
use millibar::source::Source;
use millibar::tgm::{self, ByteOrder, DType, File, Limits, Message};
use millibar::{Error, Result};
use serde_json::json;
use std::sync::Arc;

fn open(bytes: &[u8]) -> Result<File> {
    File::open(MemorySource::new(bytes.to_vec()), &Limits::default())
}

/// The only message of a file.
fn only(bytes: &[u8]) -> Result<Arc<Message>> {
    let file = open(bytes)?;
    assert_eq!(file.messages.len(), 1);
    file.messages[0].clone()
}

/// `name` of each message's first object; the error text of broken ones.
fn names(bytes: &[u8]) -> Vec<String> {
    let name = |message: &Result<Arc<Message>>| match message {
        Ok(message) => tgm::value_text(&message.metadata.base[0]["name"]).unwrap(),
        Err(error) => error.to_string(),
    };
    open(bytes).unwrap().messages.iter().map(name).collect()
}

fn metadata(kind: u16, value: serde_json::Value) -> Vec<u8> {
    frame(kind, &cbor(&value))
}

fn error_of(inside: &[Vec<u8>]) -> String {
    only(&message(&padded(inside), true)).unwrap_err().to_string()
}

/// The whole message of the format reference's test vectors.
const VECTOR: &str = "54454e534f47524d 0003 0081 00000000 00000000000000f0
    4652 0001 0001 0002 000000000000001d a0 2b98bb92609bd6f8 454e4446 000000
    4652 0009 0001 0003 000000000000009d 0000803f00000040
    a9 646e64696d01 6474797065676e74656e736f72 65647479706567666c6f61743332 657368617065 8102
    6666696c746572646e6f6e65 67737472696465738101 68656e636f64696e67646e6f6e65
    6a627974655f6f72646572666c6974746c65 6b636f6d7072657373696f6e646e6f6e65
    0000000000000018 7ac298352de27800 454e4446 000000
    00000000000000d8 00000000000000f0 3339323737373737";

#[test]
fn test_vector_of_one_small_message() {
    let digits: Vec<_> = VECTOR.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let bytes: Vec<_> = digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    assert_eq!(bytes.len(), 240);
    let source = MemorySource::new(bytes);
    let file = File::open(source.clone(), &Limits::default()).unwrap();
    let message = file.message(0).unwrap();
    assert_eq!((message.span.clone(), message.flags), (0..240, 0x81));
    assert_eq!(message.metadata.base, [tgm::Map::new()]);
    let object = message.object(0).unwrap();
    assert_eq!((object.frame.clone(), object.payload()), (56..213, 72..80));
    assert_eq!(object.hash, Some(0x7ac2_9835_2de2_7800));
    let descriptor = &object.descriptor;
    assert_eq!((descriptor.dtype, &*descriptor.shape), (DType::Float32, &[2][..]));
    assert_eq!((descriptor.byte_order, descriptor.pipeline()), (ByteOrder::Little, "none".into()));
    tgm::verify(object, &*source).unwrap();
    assert!(matches!(file.message(1), Err(Error::NoSuch { what: "message", count: 1, .. })));
    assert!(matches!(message.object(1), Err(Error::NoSuch { what: "object", count: 1, .. })));
}

#[test]
fn end_magic_in_a_payload_doesnt_end_a_stream() {
    // At every alignment, and with what looks like a postamble around it.
    for shift in 0..8 {
        let mut payload = vec![0; shift];
        payload.extend([&[0; 16], &b"39277777"[..], b"TENSOGRM", b"FR", &[0; 40]].concat());
        let bytes =
            [named("a", &payload, false), named("b", b"12345", false), named("c", b"", true)].concat();
        assert_eq!(names(&bytes), ["a", "b", "c"]);
    }
}

#[test]
fn stream_that_lost_its_end_hides_nothing_after_it() {
    let whole = named("a", &[7; 100], false);
    for lost in [8, 24, 30, 60] {
        let bytes =
            [&whole[..whole.len() - lost], &named("b", b"x", false), &named("c", b"y", true)].concat();
        let names = names(&bytes);
        assert!(names.len() == 3 && names[1..] == ["b", "c"], "{lost}: {names:?}");
        assert!(names[0].starts_with("memory.tgm, message 0: broken framing"), "{}", names[0]);
    }
}

#[test]
fn broken_messages_keep_their_place() {
    let (a, b, c) = (named("a", b"1", true), named("b", b"2", true), named("c", b"3", true));
    let mut old = b.clone();
    old[9] = 2;
    let of_version_2 = names(&[&a, &old, &c].map(|m| &**m).concat());
    assert_eq!([&of_version_2[0], &of_version_2[2]], ["a", "c"]);
    assert!(of_version_2[1].ends_with("is of version 2, expected 3"), "{}", of_version_2[1]);
    let cut = names(&[&a[..], &b[..b.len() - 9], &c].concat());
    assert_eq!([&cut[0], &cut[2]], ["a", "c"]);
    assert!(cut[1].starts_with("memory.tgm, message 1: broken framing: message at byte"), "{}", cut[1]);
    let last = names(&[&a[..], &b[..12]].concat());
    assert!(last.len() == 2 && last[1].contains("preamble"), "{last:?}");
}

#[test]
fn files_without_a_message_are_refused() {
    for bytes in [&b""[..], b"T", b"TENSOGR", b"GRIB....7777", b"TENSOGRM, they said", &[0; 100_000]] {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, Error::Framing { .. }), "{error}");
        let said = format!("memory.tgm: broken framing: no Tensogram message in its {} bytes", bytes.len());
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn magic_across_a_piece_of_the_search_is_found() {
    for before in [60, 64, 64 + (64 << 10) - 4, 64 + (64 << 10)] {
        assert_eq!(names(&[vec![0; before], named("a", b"1", true)].concat()), ["a"]);
    }
}

#[test]
fn footer_metadata_replaces_that_of_the_header() {
    let of = |name: &str| json!({ "base": [{ "name": name }], "_extra_": { name: 1 } });
    let frames = [
        metadata(HEADER_METADATA, of("header")),
        metadata(PRECEDER, json!({ "base": [{ "step": 6, "_reserved_": { "x": 1 } }] })),
        bytes_object(b"abc"),
        metadata(FOOTER_METADATA, of("footer")),
        metadata(FOOTER_INDEX, json!({ "offsets": [u64::MAX], "lengths": [1] })),
    ];
    let metadata = only(&message(&padded(&frames), false)).unwrap().metadata.clone();
    assert_eq!(tgm::map_to_json(&metadata.base[0]), json!({ "name": "footer", "step": 6 }));
    assert_eq!(tgm::map_to_json(&metadata.extra), json!({ "footer": 1 }));
}

#[test]
fn frames_without_padding_arent_lost() {
    let frames = [metadata(HEADER_METADATA, json!({})), bytes_object(b"abc"), bytes_object(b"defgh")];
    assert_ne!(frames[1].len() % 8, 0);
    for length_known in [true, false] {
        let message = only(&message(&frames.concat(), length_known)).unwrap();
        assert_eq!(message.objects.iter().map(|o| o.descriptor.len()).collect::<Vec<_>>(), [3, 5]);
    }
}

#[test]
fn frames_stay_within_their_message() {
    // The object's length takes in the postamble and ends with an ENDF in the next message.
    let mut bytes = named("a", b"1", true);
    let at = bytes.windows(4).position(|w| w == [b'F', b'R', 0, 9]).unwrap();
    let next = named("b", b"2", true);
    let endf = next.windows(4).position(|w| w == b"ENDF").unwrap() + 4;
    let length = (bytes.len() - at + endf) as u64;
    bytes[at + 8..at + 16].copy_from_slice(&length.to_be_bytes());
    let names = names(&[bytes, next].concat());
    assert!(names[0].contains(&format!("object frame of {length} bytes, only")), "{}", names[0]);
    assert_eq!(names[1], "b");
}

#[test]
fn order_of_frames() {
    let header = || metadata(HEADER_METADATA, json!({}));
    let preceder = || metadata(PRECEDER, json!({ "base": [{}] }));
    let footer = || metadata(FOOTER_METADATA, json!({}));
    let object = || bytes_object(b"1");
    for (frames, said) in [
        (vec![object(), header()], "Header frame after Body frames"),
        (vec![header(), footer(), object()], "Body frame after Footer frames"),
        (vec![header(), preceder(), preceder(), object()], "a preceder stands before it"),
        (vec![header(), preceder(), footer()], "a preceder stands before it"),
        (vec![header(), preceder()], "a preceder has no object frame after it"),
        (vec![object()], "there is no metadata frame"),
        (
            vec![metadata(HEADER_METADATA, json!({ "base": [{}, {}] })), object()],
            "`base` has 2 entries for 1 objects",
        ),
        (vec![header(), frame(10, b"")], "unknown frame type 10"),
        (vec![header(), frame(4, b"")], "frame type 4 is that of version 2"),
    ] {
        let error = error_of(&frames);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn masks_stay_within_the_payload_region() {
    let with = |offset: u64, length: u64| {
        let mut descriptor = plain(4);
        descriptor["masks"] = json!({ "nan": { "offset": offset, "length": length, "method": "none" } });
        let frames = [metadata(HEADER_METADATA, json!({})), object(&[0; 5], &cbor(&descriptor))];
        only(&message(&padded(&frames), true))
    };
    let object = with(4, 1).unwrap().objects[0].clone();
    assert_eq!((object.payload().end, object.region.end), (object.region.start + 4, object.region.start + 5));
    for (offset, length) in [(4, 2), (6, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let error = with(offset, length).unwrap_err();
        assert!(matches!(error, Error::Framing { .. }), "{error}");
        assert!(error.to_string().contains("leaves a payload region of 5"), "{error}");
    }
}

#[test]
fn payloads_arent_read_when_a_file_is_opened() {
    let payload = vec![1; 1 << 20];
    let bytes = [named("a", &payload, true), named("b", &payload, false)].concat();
    let source = MemorySource::new(bytes);
    let file = File::open(source.clone(), &Limits::default()).unwrap();
    let (mut read, mut held) = (0, vec![false; source.len() as usize]);
    for asked in source.take_asked() {
        let (Asked::Read(range) | Asked::DoneWith(range) | Asked::WillNeed(range)) = &asked;
        let bytes = &mut held[range.start as usize..range.end as usize];
        match asked {
            Asked::Read(_) => {
                read += bytes.len();
                bytes.fill(true);
            }
            Asked::DoneWith(_) => bytes.fill(false),
            Asked::WillNeed(_) => {}
        }
    }
    assert!(read < 4096, "{read} bytes");
    let held = held.into_iter().filter(|held| *held).count();
    assert!(held < 100, "{held} bytes are held on to");
    tgm::verify(file.message(1).unwrap().object(0).unwrap(), &*source).unwrap();
    assert!(source.take_reads().iter().map(|range| range.end - range.start).sum::<u64>() > 1 << 20);
}

#[test]
fn nested_unfinished_streams_take_linear_time() {
    // Each preamble is followed by a frame that reaches to a common tail of small frames: walking the tail again
    // for each would take a number of reads that grows with the product of both.
    let (streams, tail) = (2000, frame(FOOTER_INDEX, &[0; 4]).repeat(2000));
    let inner = 24 + 16;
    let mut bytes = Vec::new();
    for i in 0..streams {
        let rest = (streams - 1 - i) * inner;
        bytes.extend(preamble(0));
        bytes.extend(&frame(FOOTER_INDEX, &vec![0; rest])[..16]);
    }
    bytes.extend([&[0; 8], &b"ENDF"[..]].concat());
    bytes.extend(tail);
    let source = MemorySource::new(bytes);
    let file = File::open(source.clone(), &Limits::default()).unwrap();
    assert!(file.messages.iter().all(|message| message.is_err()));
    let reads = source.take_reads().len();
    assert!(reads < 20_000, "{reads} reads");
}

#[test]
fn number_of_broken_messages_is_limited() {
    let limits = Limits { broken_messages: 10, ..Limits::default() };
    let open = |count: usize| File::open(MemorySource::new(preamble(7).repeat(count)), &limits);
    assert_eq!(open(10).unwrap().messages.len(), 10);
    assert!(matches!(open(11), Err(Error::Limit { got: 11, limit: 10, .. })));
}

#[test]
fn metadata_beyond_the_limit_isnt_read() {
    let limits = Limits { cbor_bytes: 100, ..Limits::default() };
    let long = json!({ "base": [{ "name": "x".repeat(100) }] });
    let bytes = message(&padded(&[metadata(HEADER_METADATA, long), bytes_object(b"1")]), true);
    let source = MemorySource::new(bytes);
    let file = File::open(source.clone(), &limits).unwrap();
    assert!(matches!(file.message(0), Err(Error::Limit { limit: 100, .. })));
    assert!(source.take_reads().iter().all(|range| range.end - range.start <= 100));
}
