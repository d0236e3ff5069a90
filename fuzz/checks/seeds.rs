//! Seeds of the targets, made of sound files.

use super::codecs;
use super::dataset::file;
use super::metadata::kind_of;
use millibar::codec::{
    Blosc2Codec, Compression, Encoding, Filter, MaskMethod, MaskOptions, Packing, Spec, Sz3Mode, Values,
    ZfpMode,
};
use millibar::dataset::{Location, OpenOptions, open};
use millibar::files::{FileWriter, Tensor};
use millibar::source::Memory;
use millibar::tgm::{ByteOrder, DType, File, Limits, Map, Provenance, WriteOptions};
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
        for target in ["dataset", "query"] {
            seeds.push((target.into(), [&[2], bytes].concat()));
        }
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
/// and the index of a small file; and what our encoder makes.
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
    let mut seeds = of_file(&encoded());
    seeds.extend([
        bytes("szip", "1004 0208 0028 40000aaafdb6d9155576db6d9001c1555db6db22aaaedb6db200702aabb6db60"),
        bytes("szip", "1004 020c 0005 e0000a41f4cd599d9940000000000000"),
        bytes("szip", "0804 0908 00d8 0000800040002000 00"),
        bytes("packing", "0c00 7805 00014d2b3000a000"),
        bytes("packing", "1000 7405 000014cd2b330000a000"),
        ("index".into(), index),
    ]);
    seeds
}

/// A file with an object of every pipeline, as our encoder makes it.
fn encoded() -> Vec<u8> {
    let doubles: Vec<f64> = (0..300).map(|i| (f64::from(i) / 9.0).sin() * 30.0 + 270.0).collect();
    let singles = Values::Float32(doubles.iter().map(|v| *v as f32).collect());
    let holes = doubles.iter().enumerate().map(|(i, v)| match i % 13 {
        3 => f64::NAN,
        7 if i > 100 => f64::INFINITY,
        _ => *v,
    });
    let holes = Values::Float64(holes.collect());
    let bits = Values::Bitmask(doubles.iter().map(|v| u8::from(*v > 275.0)).collect());
    let doubles = Values::Float64(doubles);
    let szip = Compression::Szip { rsi: 8, block_size: 16, flags: 8 };
    let zstd = Compression::Zstd { level: None };
    let blosc2 = |codec| Compression::Blosc2 { codec: Some(codec), level: Some(5) };
    let sz3 = |mode| Compression::Sz3 { mode, bound: 0.01 };
    let packing = |bits| Encoding::SimplePacking(Packing { bits, decimal: 0, scales: None });
    let (single, double, mask) =
        (Spec::new(DType::Float32), Spec::new(DType::Float64), Spec::new(DType::Bitmask));
    let shuffled = Spec { filter: Filter::Shuffle(4), ..single.clone() };
    let mut made: Vec<(Spec, &Values)> = Vec::new();
    let codecs =
        [Blosc2Codec::BloscLz, Blosc2Codec::Lz4, Blosc2Codec::Lz4Hc, Blosc2Codec::Zlib, Blosc2Codec::Zstd];
    let lossless = codecs.map(blosc2).into_iter().chain([Compression::Lz4, zstd, Compression::None]);
    for compression in lossless {
        made.push((Spec { compression, ..single.clone() }, &singles));
        made.push((Spec { compression, ..shuffled.clone() }, &singles));
        // Blosc2 has no items to put bits into.
        if !matches!(compression, Compression::Blosc2 { .. }) {
            made.push((Spec { compression, ..mask.clone() }, &bits));
        }
    }
    // Szip takes packed values of whole bytes alone.
    let packed = [(Compression::None, [0, 5, 16, 27]), (zstd, [0, 5, 16, 27]), (szip, [8, 16, 24, 32])];
    for (compression, widths) in packed {
        let spec = |bits| Spec { compression, encoding: packing(bits), ..double.clone() };
        made.extend(widths.map(|bits| (spec(bits), &doubles)));
    }
    made.push((Spec { byte_order: ByteOrder::Big, ..single.clone() }, &singles));
    let zfp = [ZfpMode::FixedRate(11.5), ZfpMode::FixedPrecision(20), ZfpMode::FixedAccuracy(0.01)];
    let lossy =
        zfp.map(Compression::Zfp).into_iter().chain([Sz3Mode::Abs, Sz3Mode::Rel, Sz3Mode::Psnr].map(sz3));
    made.extend(lossy.map(|compression| (Spec { compression, ..double.clone() }, &doubles)));
    made.extend(
        [Compression::Rle, Compression::Roaring].map(|c| (Spec { compression: c, ..mask.clone() }, &bits)),
    );
    for method in [
        MaskMethod::None,
        MaskMethod::Rle,
        MaskMethod::Roaring,
        MaskMethod::Lz4,
        MaskMethod::Zstd { level: None },
        MaskMethod::Blosc2 { codec: Blosc2Codec::Lz4, level: 5 },
    ] {
        let masks =
            MaskOptions { allow_nan: true, allow_inf: true, methods: [method; 3], small_mask_bytes: 0 };
        made.push((Spec { masks: masks.clone(), ..double.clone() }, &holes));
        let known = Packing { bits: 16, decimal: 0, scales: Some((240.0, -10)) };
        let encoding = Encoding::SimplePacking(known);
        made.push((Spec { masks, compression: szip, encoding, ..double.clone() }, &holes));
    }
    let provenance = Provenance::Fixed { time: 0, uuid: 1 };
    let options = WriteOptions { provenance, ..WriteOptions::default() };
    let mut writer = FileWriter::new("seed.tgm", Vec::new(), options);
    for (spec, values) in made {
        let tensor =
            Tensor { base: Map::new(), spec, shape: vec![values.len() as u64], values: values.clone() };
        writer.message(&Map::new(), vec![tensor]).expect("values that can be encoded");
    }
    writer.finish().expect("bytes in memory")
}
