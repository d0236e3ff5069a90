//! The checks of the fuzz targets on their seeds, and on a few quick mutations of each. (`fuzz/README.md` says how to
//! run them for longer.)

#[path = "../../fuzz/checks/mod.rs"]
#[allow(unreachable_pub)] // of a crate of its own, there
mod checks;

use crate::corpus;
pub(crate) use checks::Far;
use checks::{CODECS, TARGETS};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// Seeds of one target at most, and mutations of each unless `MILLIBAR_MUTATIONS` says how many.
const SEEDS: usize = 24;
const MUTATIONS: u64 = 24;

/// Seeds by target, of the small files here and of the corpus where it is there; spread over all files.
fn seeds(target: &str) -> Vec<&'static [u8]> {
    static SEEDS_OF: OnceLock<BTreeMap<String, Vec<Vec<u8>>>> = OnceLock::new();
    let all = SEEDS_OF.get_or_init(|| {
        let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/two_fields.tgm")];
        let folders = corpus::dir().into_iter().flat_map(|dir| std::fs::read_dir(dir).unwrap().flatten());
        for folder in folders.filter(|entry| entry.path().is_dir()) {
            let inside = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
            files.extend(inside.filter(|path| path.extension().is_some_and(|end| end == "tgm")));
        }
        files.sort();
        let mut all: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let made = files.iter().flat_map(|path| checks::of_file(&std::fs::read(path).unwrap()));
        for (target, seed) in checks::own().into_iter().chain(made) {
            all.entry(target).or_default().push(seed);
        }
        all
    });
    let found = all.get(target).map_or(&[][..], Vec::as_slice);
    found.iter().step_by(found.len().div_ceil(SEEDS).max(1)).map(Vec::as_slice).collect()
}

/// Numbers without pattern.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// One or a few changes: flipped bits, small and large numbers, bytes left out, repeated, or of another seed.
fn mutate(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let count = random.below(9).min(bytes.len() - at);
        match random.below(6) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (count % 8)),
            1 => bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte = [0, 1, 0x7f, 0xff][count % 4]),
            2 => drop(bytes.drain(at..at + count)),
            3 => bytes.truncate(at),
            4 => {
                let copy = bytes[at..at + count].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let from = random.below(other.len());
                let piece = other[from..other.len().min(from + 16 * count)].to_vec();
                bytes.splice(at..bytes.len().min(at + piece.len()), piece);
            }
        }
    }
    bytes
}

fn smoke(target: &str, check: impl Fn(&[u8])) {
    let seeds = seeds(target);
    let mutations = std::env::var("MILLIBAR_MUTATIONS").map_or(MUTATIONS, |number| number.parse().unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ target.len() as u64);
    for seed in &seeds {
        check(seed);
        for _ in 0..mutations {
            let other = seeds[random.below(seeds.len())];
            check(&mutate(seed, other, &mut random));
        }
    }
}

#[test]
fn every_target_survives_its_seeds_and_their_mutations() {
    for (name, check) in TARGETS.into_iter().chain([("query", checks::query as _)]) {
        assert!(!seeds(name).is_empty(), "{name} has no seeds");
        smoke(name, check);
    }
}

#[test]
fn every_codec_survives_its_seeds_and_their_mutations() {
    for name in CODECS {
        let target = format!("codec_{name}");
        assert!(corpus::dir().is_none() || !seeds(&target).is_empty(), "{target} has no seeds");
        smoke(&target, |bytes| checks::codec(name, bytes));
    }
}
