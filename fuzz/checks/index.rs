//! Any bytes as the index of a small sound file: what its checksum covers is anything, and what is believed of it
//! can be read.

use super::dataset::{file, read_all};
use super::limits;
use millibar::dataset::{Location, OpenOptions, open};
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_64;

/// Head of an index: magic, version, checksum.
const SUMMED: usize = 24;

pub fn index(bytes: &[u8]) {
    let path = file("index.tgm");
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::write(&path, include_bytes!("../seeds/two_fields.tgm")).expect("a file");
    std::fs::File::options().append(true).open(&path).and_then(|f| f.set_modified(modified)).expect("a time");
    let mut index = b"MBXINDEX\x01\0\0\0\0\0\0\0".to_vec();
    index.extend(xxh3_64(bytes).to_le_bytes());
    assert_eq!(index.len(), SUMMED);
    index.extend(bytes);
    let beside = path.with_extension("tgm.mbx");
    std::fs::write(&beside, index).expect("a file");
    let location = Location::parse(path.to_str().expect("a path in Unicode")).expect("a path");
    let opened =
        open(&location, &OpenOptions { limits: limits(), ..OpenOptions::default() }).expect("a sound file");
    read_all(&opened);
    let _ = (std::fs::remove_file(path), std::fs::remove_file(beside));
}
