//! Seeds of the targets, made of sound files.

use super::codecs;
use super::dataset::file;
use super::metadata::kind_of;
use millibar::dataset::{Location, OpenOptions, open};
use millibar::source::Memory;
use millibar::tgm::{File, Limits};
use std::sync::Arc;

/// Files up to this are seeds as a whole.
const SMALL: usize = 8 << 10;

/// A target's name, and what it is fed.
pub type Seed = (String, Vec<u8>);

/// What a sound file gives.
pub fn of_file(bytes: &[u8]) -> Vec<Seed> {
    let mut seeds = Vec::new();
    if bytes.len() <= SMALL {
        for target in ["framing", "pipeline"] {
            seeds.push((target.into(), bytes.to_vec()));
        }
        seeds.push(("dataset".into(), [&[2], bytes].concat()));
    }
    seeds.extend(frames(bytes).map(|body| ("metadata".into(), body)));
    let source = Arc::new(Memory::new("seed.tgm", bytes.to_vec()));
    let Ok(opened) = File::open(source, &Limits::default()) else { return seeds };
    for object in opened.messages.iter().flatten().flat_map(|message| &message.objects) {
        let region = &bytes[object.region.start as usize..object.region.end as usize];
        let seed = codecs::seed(object, region).filter(|(_, seed)| seed.len() <= SMALL);
        seeds.extend(seed.map(|(name, seed)| (format!("codec_{name}"), seed)));
    }
    seeds
}

/// The CBOR of each frame that stands where frames do.
fn frames(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).step_by(8).filter_map(|at| {
        let head: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
        let frame_type = u16::from_be_bytes([head[2], head[3]]);
        let kind = kind_of(frame_type).filter(|_| head.starts_with(b"FR"))?;
        let len = usize::try_from(u64::from_be_bytes(*head[8..].first_chunk()?)).ok()?;
        let frame = bytes.get(at..at.checked_add(len)?).filter(|frame| frame.ends_with(b"ENDF"))?;
        let body = match frame_type {
            9 => {
                let offset = frame.get(len.checked_sub(20)?..)?.first_chunk()?;
                frame.get(usize::try_from(u64::from_be_bytes(*offset)).ok()?..len - 20)?
            }
            _ => frame.get(16..len.checked_sub(12)?)?,
        };
        Some([&[kind], body].concat())
    })
}

/// Those that no file gives: streams and packed values with their parameters in front (test vectors of the format),
/// and the index of a small file.
pub fn own() -> Vec<Seed> {
    let bytes = |target: &str, hex: &str| {
        let digits: Vec<u8> = hex.bytes().filter_map(|c| (c as char).to_digit(16)).map(|d| d as u8).collect();
        (target.to_string(), digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    };
    let path = file("seed.tgm");
    std::fs::write(&path, include_bytes!("../seeds/two_fields.tgm")).expect("a file");
    let location = Location::parse(path.to_str().expect("a path in Unicode")).expect("a path");
    let opened = open(&location, &OpenOptions::default()).expect("a sound file");
    opened.write_index(None).expect("an index");
    let at = opened.index_path().path().expect("a path").to_path_buf();
    let index = std::fs::read(&at).expect("an index")[24..].to_vec();
    let _ = (std::fs::remove_file(path), std::fs::remove_file(at));
    vec![
        bytes("szip", "1004 0208 0028 40000aaafdb6d9155576db6d9001c1555db6db22aaaedb6db200702aabb6db60"),
        bytes("szip", "1004 020c 0005 e0000a41f4cd599d9940000000000000"),
        bytes("szip", "0804 0908 00d8 0000800040002000 00"),
        bytes("packing", "0c00 7805 00014d2b3000a000"),
        bytes("packing", "1000 7405 000014cd2b330000a000"),
        ("index".into(), index),
    ]
}
