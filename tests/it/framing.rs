//! Framing, metadata and descriptors of the whole corpus: sound files as the manifest lists them, broken files as
//! typed errors.

use crate::{corpus, memory};
use millibar::source::LocalFile;
use millibar::tgm::{self, ByteOrder, Descriptor, File, Limits, MaskKind, Message, Object};
use millibar::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> Result<File> {
    File::open(Arc::new(LocalFile::open(path)?), &Limits::default())
}

fn manifest(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The rows of a manifest array.
fn rows(value: &Value) -> impl ExactSizeIterator<Item = &Map<String, Value>> {
    value.as_array().unwrap().iter().map(|row| row.as_object().unwrap())
}

/// `value` written and read again: serde_json's reader is an ulp off for some floats, so both sides go through it.
fn reread(value: Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn object_json(object: &Object) -> Value {
    let Descriptor { dtype, shape, byte_order, encoding, filter, compression, masks, params } =
        &*object.descriptor;
    let name = |kind| match kind {
        MaskKind::NaN => "nan",
        MaskKind::PosInf => "inf+",
        MaskKind::NegInf => "inf-",
    };
    let mask = |m: &tgm::MaskEntry| {
        let mut entry = json!({ "offset": m.offset, "length": m.length, "method": m.method });
        if !m.params.is_empty() {
            entry["params"] = tgm::map_to_json(&m.params);
        }
        (name(m.kind).to_owned(), entry)
    };
    let masks: Map<_, _> = masks.iter().map(mask).collect();
    json!({
        "dtype": dtype.name(), "shape": shape, "byte_order": byte_order.name(), "encoding": encoding,
        "filter": filter, "compression": compression, "params": tgm::map_to_json(params),
        "hash": object.hash.map(|hash| format!("{hash:016x}")), "masks": masks,
    })
}

/// What the manifest says of an object, in the form of [`object_json`].
fn expected_object(row: &Map<String, Value>) -> Value {
    let keys =
        ["dtype", "shape", "byte_order", "encoding", "filter", "compression", "params", "hash", "masks"];
    let mut expected: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), row.get(*key).cloned().unwrap_or_default())).collect();
    if expected["byte_order"].is_null() {
        expected["byte_order"] = json!(ByteOrder::NATIVE.name());
    }
    if expected["masks"].is_null() {
        expected["masks"] = json!({});
    }
    Value::Object(expected)
}

fn metadata_json(message: &Message, with_reserved: bool) -> Value {
    let metadata = &message.metadata;
    let base: Vec<_> = metadata.base.iter().map(tgm::map_to_json).collect();
    let mut all = json!({ "base": base, "extra": tgm::map_to_json(&metadata.extra) });
    if with_reserved {
        all["reserved"] = tgm::map_to_json(&metadata.reserved);
    }
    all
}

/// The manifest's metadata, without `_reserved_` in `base`: it isn't kept there.
fn expected_metadata(row: &Map<String, Value>) -> Value {
    let mut metadata = row["metadata"].clone();
    for entry in metadata["base"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("_reserved_");
    }
    metadata
}

fn check_message(message: &Message, row: &Map<String, Value>, strict: bool) {
    let at = &message.place;
    let span = (&json!(message.span.start), &json!(message.span.end - message.span.start));
    assert_eq!(span, (&row["offset"], &row["length"]), "{at}");
    assert_eq!(json!(message.flags), row["preamble_flags"], "{at}");
    let expected = expected_metadata(row);
    let metadata = metadata_json(message, expected.get("reserved").is_some());
    if strict || !metadata.to_string().contains("$tag") {
        assert_eq!(reread(metadata), expected, "{at}");
    }
    let objects = rows(&row["objects"]);
    assert_eq!(message.objects.len(), objects.len(), "{at}");
    for (object, row) in message.objects.iter().zip(objects) {
        assert_eq!(reread(object_json(object)), expected_object(row), "{}", object.place);
    }
    let frames = row["frames"].as_array().unwrap().iter().filter(|frame| frame[0] == 9);
    let came = message
        .objects
        .iter()
        .map(|o| json!([9, o.frame.start - message.span.start, o.frame.end - o.frame.start]));
    assert!(came.eq(frames.cloned()), "{at}: object frames");
}

/// What verifying all objects of a message says, in the manifest's words; `null` without objects.
fn verify_all(message: &Message, file: &File) -> Value {
    let mut said = Value::Null;
    for object in &message.objects {
        match tgm::verify(object, &*file.source) {
            Ok(()) => said = json!("ok"),
            Err(Error::MissingHash { .. }) => return json!("MissingHash"),
            Err(Error::HashMismatch { .. }) => return json!("HashMismatch"),
            Err(other) => panic!("{other}"),
        }
    }
    said
}

#[test]
fn sound_files_are_as_the_manifest_lists_them() {
    let Some(dir) = corpus::dir() else { return };
    let (mut files, mut messages, mut objects) = (0, 0, 0);
    for entry in manifest(&dir.join("manifest.json"))["files"].as_array().unwrap() {
        let path = entry["path"].as_str().unwrap();
        let strict = entry["strict"] == true;
        let file = open(&dir.join(path)).unwrap();
        let rows = rows(&entry["messages"]);
        assert_eq!(json!(file.messages.len()), entry["message_count"], "{path}");
        assert_eq!(file.messages.len(), rows.len(), "{path}");
        for (message, row) in file.messages.iter().zip(rows) {
            let message = message.as_ref().unwrap();
            check_message(message, row, strict);
            if let (Some(said), false) = (row.get("verify_hash"), message.objects.is_empty()) {
                assert_eq!(&verify_all(message, &file), said, "{}", message.place);
            }
            messages += 1;
            objects += message.objects.len();
        }
        files += 1;
    }
    assert!(
        files >= 370 && messages >= 516 && objects >= 734,
        "{files} files, {messages} messages, {objects} objects"
    );
}

/// Kinds of defect that framing, metadata and descriptors show by themselves; the others take a decode.
const FRAMING_KINDS: [&str; 20] = [
    "truncated",
    "bad_magic",
    "bad_version",
    "bad_length",
    "bad_frame",
    "reserved_frame_type",
    "unknown_frame_type",
    "bad_frame_order",
    "bad_preceder",
    "bad_cbor",
    "bad_metadata",
    "deep_nesting",
    "bad_index",
    "bad_hash_frame",
    "bad_cbor_offset",
    "bad_descriptor",
    "unknown_dtype",
    "shape_overflow",
    "metadata_hash_mismatch",
    "ambiguous_stream",
];

/// The reference's class of an error of ours.
fn class(error: &Error) -> &'static str {
    match error {
        Error::Framing { .. } => "FramingError",
        Error::Metadata { .. } => "MetadataError",
        _ => "other",
    }
}

/// Messages of the file that parse, and the errors of those that don't.
fn outcome(path: &Path) -> (Option<File>, Vec<Error>) {
    match open(path) {
        Ok(file) => {
            let errors = file.messages.iter().filter_map(|message| message.as_ref().err().cloned()).collect();
            (Some(file), errors)
        }
        Err(error) => (None, vec![error]),
    }
}

fn sound_messages(file: Option<&File>) -> usize {
    file.map_or(0, |file| file.messages.iter().filter(|message| message.is_ok()).count())
}

#[test]
fn broken_files_give_typed_errors() {
    let Some(dir) = corpus::dir() else { return };
    let (mut seen, mut differing) = (std::collections::BTreeMap::new(), Vec::new());
    for entry in manifest(&dir.join("bad/manifest.json"))["files"].as_array().unwrap() {
        let text = |key: &str| entry[key].as_str().unwrap();
        let (path, kind, expect) = (text("path"), text("kind"), text("expect"));
        let ((file, errors), peak) = memory::peak(|| outcome(&dir.join("bad").join(path)));
        let bound = (1 << 16) + 64 * entry["size"].as_u64().unwrap() as usize;
        assert!(peak <= bound, "{path}: {peak} bytes of memory");
        let sound = sound_messages(file.as_ref());
        let hashes: Vec<_> =
            file.iter().flat_map(|f| f.messages.iter().flatten().map(|m| verify_all(m, f))).collect();
        let said = entry["reference"]["buffer"]["decode"]["error_class"].as_str();
        match expect {
            "reject" if FRAMING_KINDS.contains(&kind) => {
                assert_eq!(sound, 0, "{path}");
                let ours = errors.iter().map(class).next().unwrap();
                if said.is_some_and(|said| said != ours) {
                    differing.push((path.to_owned(), errors[0].to_string()));
                }
            }
            "reject" => {}
            "partial" => {
                let found = entry["messages_found"].as_u64().unwrap() as usize;
                assert_eq!((sound, errors.len()), (found, 1), "{path}");
            }
            "reject_when_verifying" => {
                assert!(errors.is_empty(), "{path}: {errors:?}");
                let wrong = if kind == "hash_missing" { "MissingHash" } else { "HashMismatch" };
                assert_eq!(hashes.iter().filter(|hash| **hash == wrong).count(), 1, "{path}");
            }
            "accept" | "either" => assert!(errors.is_empty(), "{path}: {errors:?}"),
            other => panic!("{path}: unknown expectation {other}"),
        }
        *seen.entry(expect.to_owned()).or_insert(0) += 1;
    }
    assert!(seen["reject"] > 250 && seen["reject_when_verifying"] >= 6 && seen["partial"] >= 3, "{seen:?}");
    let differing: Vec<_> = differing.iter().map(|(path, error)| (path.as_str(), error.as_str())).collect();
    let listed = differing
        .iter()
        .zip(DIFFERENT_CLASS)
        .all(|((path, error), (listed, why))| *path == listed && error.contains(why));
    assert!(listed && differing.len() == DIFFERENT_CLASS.len(), "{differing:?}");
}

/// Files that we refuse earlier than the reference, with another class of error, and why.
const DIFFERENT_CLASS: [(&str, &str); 2] = [
    ("truncated_stream_0024.tgm", "broken framing: message at byte 0 of unknown length has no postamble"),
    ("shape_bytes_overflow.tgm", "bad metadata: `shape` [4611686018427387904] of float64 leaves 64 bits"),
];
