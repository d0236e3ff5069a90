//! The szip streams of the corpus: RSIs found by walking, against the whole decode and the stored offsets.

use crate::corpus;
use millibar::codec::szip::{Aec, MSB, Samples};
use millibar::source::LocalFile;
use millibar::tgm::{File, Limits, Object};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn files(dir: &Path) -> Vec<PathBuf> {
    ["codecs", "packing", "mars", "shuffle"]
        .iter()
        .flat_map(|part| std::fs::read_dir(dir.join(part)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tgm"))
        .collect()
}

/// The stream's parameters and the number of its samples.
fn stream(object: &Object) -> (Aec, u64) {
    let d = &object.descriptor;
    let uint = |key: &str| d.uint(&object.place, key).unwrap().unwrap();
    let (bits, msb) = match (d.encoding.as_str(), d.filter.as_str()) {
        ("simple_packing", _) => (uint("sp_bits_per_value") as u32, MSB),
        (_, "shuffle") => (8, 0),
        _ => (8 * d.dtype.width().unwrap() as u32, 0),
    };
    let (block, rsi, flags) = (uint("szip_block_size"), uint("szip_rsi"), uint("szip_flags"));
    let aec = Aec::try_new(bits, block as u32, rsi as u32, flags as u32 | msb).unwrap();
    let bytes = match d.encoding.as_str() {
        "simple_packing" => d.len() * u64::from(bits) / 8,
        _ => d.dtype.byte_len(d.len()).unwrap(),
    };
    (aec, bytes / aec.sample_bytes() as u64)
}

/// Every RSI decoded alone is its slice of the whole; returns whether the stored offsets are right.
fn every_rsi_alone(object: &Object, payload: &[u8]) -> bool {
    let (aec, samples) = stream(object);
    let width = aec.sample_bytes();
    let mut whole = vec![0; samples as usize * width];
    aec.decode_all(payload, Samples::Bytes(&mut whole)).unwrap();
    let stored = object.descriptor.uints(&object.place, "szip_block_offsets").unwrap();
    let index = aec.index(payload, samples, stored.as_deref());
    for (rsi, slice) in whole.chunks(aec.rsi_samples() as usize * width).enumerate() {
        let rsis = rsi as u64..rsi as u64 + 1;
        let mut part = vec![0; slice.len()];
        let end = aec.decode_rsis(payload, &index, rsis.clone(), Samples::Bytes(&mut part)).unwrap();
        assert_eq!((part.as_slice(), end), (slice, index.bits(rsis).unwrap().end));
    }
    assert_eq!(index.count(), stored.as_ref().map_or(0, |stored| stored.len() as u64));
    index.stored_agree()
}

#[test]
fn rsis_are_found_whatever_the_descriptor_says() {
    let Some(dir) = corpus::dir() else { return };
    let (mut right, mut wrong) = (0, Vec::new());
    for path in files(&dir) {
        let file = File::open(Arc::new(LocalFile::open(&path).unwrap()), &Limits::default()).unwrap();
        for object in file.messages.iter().flatten().flat_map(|message| &message.objects) {
            if object.descriptor.compression != "szip" {
                continue;
            }
            let payload = file.source.read(object.payload()).unwrap();
            match every_rsi_alone(object, &payload) {
                true => right += 1,
                false => wrong.push(path.file_stem().unwrap().to_string_lossy().into_owned()),
            }
        }
    }
    wrong.sort();
    assert_eq!(wrong, ["szip_zero_runs_int16", "szip_zero_runs_uint32", "szip_zero_runs_uint8"]);
    assert!(right >= 50, "{right} streams with right offsets");
}
