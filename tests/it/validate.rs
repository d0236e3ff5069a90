//! What `files::validate` finds: nothing in sound files, what is wrong in broken ones.

use crate::corpus;
use crate::memory_source::MemorySource;
use millibar::files::{Level, Report, ValidateOptions, validate};
use millibar::source::{LocalFile, Source};
use millibar::tgm::{Limits, Problem, Severity};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn at(source: &dyn Source, level: Level) -> Report {
    let limits = Limits::default();
    validate(source, &ValidateOptions { level, limits: &limits, threads: None, progress: &|_| {} }).unwrap()
}

fn file(path: &Path, level: Level) -> Report {
    at(&LocalFile::open(path).unwrap(), level)
}

fn errors(report: &Report) -> Vec<Problem> {
    report.issues.iter().filter(|i| i.severity == Severity::Error).map(|i| i.problem).collect()
}

fn manifest(path: &Path) -> Vec<Value> {
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(manifest["files"].take()).unwrap()
}

#[test]
fn sound_files_have_no_errors() {
    let Some(dir) = corpus::dir() else { return };
    let mut found = BTreeMap::new();
    for entry in manifest(&dir.join("manifest.json")) {
        let path = entry["path"].as_str().unwrap();
        let report = file(&dir.join(path), Level::Full);
        if entry["strict"] == true && !errors(&report).is_empty() {
            found.insert(path.to_owned(), report.issues.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        let objects: usize = entry["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["objects"].as_array().unwrap().len())
            .sum();
        assert_eq!((report.objects, report.decoded), (objects as u64, objects as u64), "{path}");
    }
    let known: Vec<_> = KNOWN.iter().map(|(path, _)| *path).collect();
    let paths: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(paths, known, "{found:#?}");
    for (path, said) in KNOWN {
        assert!(found[path].iter().any(|issue| issue.contains(said)), "{:?}", found[path]);
    }
}

/// Files of the corpus that every reader reads, and that aren't as they should be all the same.
const KNOWN: [(&str, &str); 1] = [("masks/unmasked_nan_payloads.tgm", "error[non_finite]")];

/// What an error of the reference may be called here.
fn named(class: &str) -> &'static [Problem] {
    match class {
        "FramingError" => &[Problem::Framing],
        "MetadataError" => &[Problem::Metadata],
        _ => &[Problem::Codec, Problem::Limit, Problem::Metadata, Problem::Framing, Problem::Unsupported],
    }
}

/// Files that are broken in two ways, or refused by a codec where the reference speaks of metadata.
const DIFFERENT: [&str; 4] = [
    "truncated_stream_0024.tgm",
    "packing_bits_4g.tgm",
    "packing_reference_nan.tgm",
    "packing_reference_inf.tgm",
];

#[test]
fn broken_files_have_errors_of_their_kind() {
    let Some(dir) = corpus::dir() else { return };
    let (mut checked, mut strays) = (0, Vec::new());
    for entry in manifest(&dir.join("bad/manifest.json")) {
        let text = |key: &str| entry[key].as_str().unwrap();
        let (path, kind, expect) = (text("path"), text("kind"), text("expect"));
        let report = file(&dir.join("bad").join(path), Level::Full);
        let found = errors(&report);
        let class = entry["reference"]["buffer"]["decode"]["error_class"].as_str();
        let as_wanted = match (expect, kind) {
            ("accept" | "either", "metadata_hash_mismatch") => found == [Problem::HashMismatch],
            ("accept" | "either", "bad_index") => found.contains(&Problem::Index),
            ("accept" | "either", _) => true,
            (_, "hash_mismatch") => found.contains(&Problem::HashMismatch) || !found.is_empty(),
            // Some frames of sound messages have none, either.
            (_, "hash_missing") => report.issues.iter().any(|issue| issue.problem == Problem::MissingHash),
            _ if DIFFERENT.contains(&path) => !found.is_empty(),
            _ => match class {
                Some(class) => found.iter().any(|p| named(class).contains(p)),
                None => !found.is_empty(),
            },
        };
        if !as_wanted {
            strays.push(format!("{path} ({kind}, {expect}): {class:?} {found:?}"));
        }
        checked += 1;
    }
    assert!(checked > 350, "{checked}");
    assert!(strays.is_empty(), "{} strays: {strays:#?}", strays.len());
}

/// A message with a metadata frame that isn't what was hashed: the reference says that it is verified.
#[test]
fn the_hash_of_every_frame_counts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/temperature_20260401.tgm");
    let bytes = std::fs::read(path).unwrap();
    let sound = at(&*MemorySource::new(bytes.clone()), Level::Full);
    assert_eq!((errors(&sound), sound.decoded), (vec![], sound.objects));
    assert!(sound.verified > sound.objects);
    let name = bytes.windows(11).position(|w| w == b"temperature").unwrap();
    let mut changed = bytes.clone();
    changed[name] = b'T';
    assert!(errors(&at(&*MemorySource::new(changed.clone()), Level::Structure)).is_empty());
    assert_eq!(errors(&at(&*MemorySource::new(changed), Level::Checksum)), [Problem::HashMismatch]);
}
