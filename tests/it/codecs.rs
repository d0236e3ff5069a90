//! Decoded values of the whole corpus, full and by ranges, and what broken payloads give.

use crate::corpus;
use crate::memory;
use crate::npy::{Npy, sha256};
use millibar::codec::{DecodeStats, ElementRange, Pipeline, Scratch, Values};
use millibar::source::{Bytes, LocalFile};
use millibar::tgm::{self, File, Limits, Object};
use millibar::{Error, Result, each_dtype};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> Result<File> {
    File::open(Arc::new(LocalFile::open(path)?), &Limits::default())
}

fn manifest(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn region(file: &File, object: &Object) -> Bytes {
    file.source.read(object.region.clone()).unwrap()
}

fn decode(file: &File, object: &Object) -> Result<(Values, DecodeStats)> {
    let mut stats = DecodeStats::default();
    let pipeline = Pipeline::try_new(object, &Limits::default())?;
    let values = pipeline.decode(&region(file, object), &mut Scratch::default(), &mut stats)?;
    assert_eq!(values.len() as u64, pipeline.len());
    Ok((values, stats))
}

fn le_bytes(values: &Values) -> Vec<u8> {
    each_dtype!(Values, values, v => v.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// The expected bytes of an object, in the form of [`le_bytes`]; `None` where only a sample is stored.
fn expected(dir: &Path, row: &Value) -> Option<Vec<u8>> {
    let expected = &row["expected"];
    let npy = Npy::read(&dir.join(expected["npy"].as_str()?));
    let bytes = match expected["index"].as_u64() {
        Some(index) => npy.row(index as usize).to_vec(),
        None => npy.bytes,
    };
    if row["dtype"] != "bitmask" {
        return Some(bytes);
    }
    let len: u64 = rows(&row["shape"]).iter().map(|n| n.as_u64().unwrap()).product();
    Some((0..len as usize).map(|i| (bytes[i / 8] >> (7 - i % 8)) & 1).collect())
}

/// Checks decoded bytes of which only every `stride`-th element and a digest are stored.
fn check_sample(dir: &Path, row: &Value, got: &[u8]) {
    let sample = &row["expected"]["npy_sample"];
    let npy = Npy::read(&dir.join(sample["npy"].as_str().unwrap()));
    let step = npy.width() * sample["stride"].as_u64().unwrap() as usize;
    let taken: Vec<u8> = got.chunks(step).flat_map(|c| c[..npy.width()].to_vec()).collect();
    assert_eq!(taken, npy.bytes);
    assert_eq!(sha256(got), row["expected"]["sha256"].as_str().unwrap());
}

/// Runs `check` for each object of the manifest: (file's row, opened file, object's row, object).
fn for_each_object(mut check: impl FnMut(&Path, &Value, &File, &Value, &Object)) -> usize {
    let Some(dir) = corpus::dir() else { return 0 };
    let mut count = 0;
    for row in rows(&manifest(&dir.join("manifest.json"))["files"]) {
        let Ok(file) = open(&dir.join(row["path"].as_str().unwrap())) else {
            assert_eq!(row["strict"], false, "{row}");
            continue;
        };
        for (m, message_row) in rows(&row["messages"]).iter().enumerate() {
            let Ok(message) = file.message(m as u64) else {
                assert_eq!(row["strict"], false, "{}", row["path"]);
                continue;
            };
            for (o, object_row) in rows(&message_row["objects"]).iter().enumerate() {
                check(&dir, row, &file, object_row, message.object(o as u64).unwrap());
                count += 1;
            }
        }
    }
    count
}

#[test]
fn every_object_decodes_to_its_expected_bytes() {
    let mut failures = Vec::new();
    for_each_object(|dir, file_row, file, row, object| {
        let (values, stats) = match decode(file, object) {
            Ok(decoded) => decoded,
            Err(error) => {
                if file_row["strict"] == true {
                    failures.push(error.to_string());
                }
                return;
            }
        };
        let got = le_bytes(&values);
        match expected(dir, row) {
            Some(want) if got != want => failures.push(format!("{}: other values", object.place)),
            Some(_) => {}
            None => check_sample(dir, row, &got),
        }
        if !values.is_empty() {
            assert_eq!((stats.full_decodes, stats.ranges_decoded), (1, 0), "{}", object.place);
        }
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_range_case() {
    let Some(dir) = corpus::dir() else { return };
    let (mut cases, mut failures) = (0, Vec::new());
    for row in rows(&manifest(&dir.join("manifest.json"))["files"]) {
        for case in rows(&row["range_cases"]) {
            let file = open(&dir.join(row["path"].as_str().unwrap())).unwrap();
            let at = |key: &str| case[key].as_u64().unwrap();
            let object_row = &row["messages"][at("message") as usize]["objects"][at("object") as usize];
            let object = file.message(at("message")).unwrap().object(at("object")).unwrap();
            // Twice: as ranges, and as parts of a full decode.
            for threshold in [1.0, 0.0] {
                cases += 1;
                if let Err(what) = check_case(&dir, &file, object, object_row, case, threshold) {
                    failures.push(format!("{}: {} at {threshold}: {what}", object.place, case["ranges"]));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {cases}:\n{}", failures.len(), failures.join("\n"));
}

fn check_case(
    dir: &Path,
    file: &File,
    object: &Object,
    row: &Value,
    case: &Value,
    threshold: f64,
) -> Result<(), String> {
    let pair = |r: &Value| ElementRange { start: r[0].as_u64().unwrap(), count: r[1].as_u64().unwrap() };
    let ranges: Vec<_> = rows(&case["ranges"]).iter().map(pair).collect();
    let pipeline = Pipeline::try_new(object, &Limits::default()).map_err(|e| e.to_string())?;
    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
    let got = pipeline.decode_ranges(&region(file, object), &ranges, threshold, &mut scratch, &mut stats);
    if case["expect"] == "error" {
        return match got {
            Err(Error::OutOfBounds { .. }) => Ok(()),
            other => Err(format!("wanted OutOfBounds, got {other:?}")),
        };
    }
    let got = le_bytes(&got.map_err(|e| e.to_string())?);
    // The reference stores wrong szip offsets after runs of zero blocks. Nothing but a full decode, or an object
    // that is known to have them, may do without those that are stored.
    let known = file.source.name().contains("szip_zero_runs");
    if stats.fallbacks > 0 && (!known || threshold == 0.0) {
        return Err(format!("{} fallbacks", stats.fallbacks));
    }
    let Some(all) = expected(dir, row) else {
        let same = case["expected"]["sha256"] == sha256(&got);
        return if same { Ok(()) } else { Err("other digest".into()) };
    };
    let width = all.len() / pipeline.len().max(1) as usize;
    let slice =
        |r: &ElementRange| all[r.start as usize * width..(r.start + r.count) as usize * width].to_vec();
    let want: Vec<u8> = ranges.iter().flat_map(slice).collect();
    if got == want { Ok(()) } else { Err("other values".into()) }
}

#[test]
fn broken_payloads_are_typed_errors_within_bounds() {
    let Some(dir) = corpus::dir() else { return };
    let mut failures = Vec::new();
    for row in rows(&manifest(&dir.join("bad/manifest.json"))["files"]) {
        let name = row["path"].as_str().unwrap();
        let path = dir.join("bad").join(name);
        let size = std::fs::metadata(&path).unwrap().len();
        let (outcome, peak) = memory::peak(|| decode_every_message(&path));
        let decoded = outcome.iter().filter(|message| message.is_ok()).count();
        if row["expect"] == "reject" && decoded > 0 {
            failures.push(format!("{name}: decoded {decoded} messages of {}", row["what"]));
        }
        if row["expect"] == "reject_when_verifying" && !verification_fails(&path) {
            failures.push(format!("{name}: verified, though {}", row["what"]));
        }
        let limit = (1 << 20) + 64 * size as usize;
        if peak > limit {
            failures.push(format!("{name}: {size} bytes made us allocate {peak}"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// One result for each message: whether all its objects decode.
fn decode_every_message(path: &Path) -> Vec<Result<()>> {
    let Ok(file) = open(path) else { return Vec::new() };
    let message = |message: &Result<Arc<tgm::Message>>| {
        let message = message.as_ref().map_err(Clone::clone)?;
        message.objects.iter().try_for_each(|object| decode(&file, object).map(drop))
    };
    file.messages.iter().map(message).collect()
}

fn verification_fails(path: &Path) -> bool {
    let Ok(file) = open(path) else { return true };
    let mut messages = file.messages.iter().flatten();
    messages.any(|message| message.objects.iter().any(|object| tgm::verify(object, &*file.source).is_err()))
}
