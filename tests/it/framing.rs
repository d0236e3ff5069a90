//! Framing, metadata and descriptors of the whole corpus: sound files as the manifest lists them, broken files as
//! typed errors.

use crate::corpus;
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
        &object.descriptor;
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
