//! The CBOR bodies of metadata, index, hash and preceder frames.

use super::params::{describe, uint_array};
use super::{Limits, Map, Metadata, Value, cbor};
use crate::{Error, Place, Result};

/// Key of the list of maps, one for each object.
pub(super) const BASE: &str = "base";
/// Key of the annotations of a message.
pub(super) const EXTRA: &str = "_extra_";
/// Key of what the library says, of a message and of each object.
pub(super) const RESERVED: &str = "_reserved_";

/// Parses the body of a metadata frame.
///
/// Unknown top-level keys join `_extra_`. `_reserved_` is dropped from the entries of `base`: it repeats the
/// descriptor.
///
/// # Errors
/// [`Error::Metadata`] for malformed CBOR and wrong types, and for a key both at the top level and in `_extra_`.
pub(super) fn parse(body: &[u8], at: &Place, limits: &Limits) -> Result<Metadata> {
    let (value, _) = cbor::item(body, at, "metadata", limits)?;
    let mut top = cbor::map(value, at, "metadata")?;
    let mut take = |key: &str| match top.remove(key) {
        Some(value) => cbor::map(value, at, &format!("`{key}`")),
        None => Ok(Map::new()),
    };
    let (mut extra, reserved) = (take(EXTRA)?, take(RESERVED)?);
    let base = match top.remove(BASE) {
        Some(Value::Array(entries)) => base(entries, at)?,
        Some(other) => {
            let what = format!("`{BASE}` is {}, expected an array of maps", describe(&other));
            return Err(Error::metadata(at, what));
        }
        None => Vec::new(),
    };
    for (key, value) in top {
        if extra.contains_key(&key) {
            return Err(Error::metadata(at, format!("`{key}` is both at the top level and in `{EXTRA}`")));
        }
        extra.insert(key, value);
    }
    Ok(Metadata { base, extra, reserved })
}

/// The entries of `base`.
fn base(entries: Vec<Value>, at: &Place) -> Result<Vec<Map>> {
    let entry = |(i, value)| {
        let mut map = cbor::map(value, at, &format!("`{BASE}[{i}]`"))?;
        map.remove(RESERVED);
        Ok(map)
    };
    entries.into_iter().enumerate().map(entry).collect()
}

/// Parses the body of a preceder: the keys for the object that follows.
///
/// # Errors
/// As [`parse`]; [`Error::Metadata`] unless `base` has exactly one entry.
pub(super) fn preceder(body: &[u8], at: &Place, limits: &Limits) -> Result<Map> {
    let mut base = parse(body, at, limits)?.base;
    match (base.pop(), base.len()) {
        (Some(map), 0) => Ok(map),
        (last, others) => {
            let count = others + usize::from(last.is_some());
            let what = format!("`{BASE}` of a preceder has {count} entries, expected 1");
            Err(Error::metadata(at, what))
        }
    }
}

/// Parses the body of an index frame: offsets and lengths of objects. Frames are found by walking them all the same.
///
/// # Errors
/// [`Error::Metadata`] if `offsets` and `lengths` aren't arrays of unsigned integers of the same length.
pub(super) fn index(body: &[u8], at: &Place, limits: &Limits) -> Result<(Vec<u64>, Vec<u64>)> {
    let (value, _) = cbor::item(body, at, "index", limits)?;
    let map = cbor::map(value, at, "index")?;
    let numbers = |key: &str| map.get(key).map_or(Ok(Vec::new()), |value| uint_array(value, at, key));
    let (offsets, lengths) = (numbers("offsets")?, numbers("lengths")?);
    if offsets.len() != lengths.len() {
        let what = format!("index has {} offsets and {} lengths", offsets.len(), lengths.len());
        return Err(Error::metadata(at, what));
    }
    Ok((offsets, lengths))
}

/// Checks the body of a hash frame. Its content isn't used: each frame carries its own hash.
///
/// # Errors
/// [`Error::Metadata`] if `algorithm` is no text or `hashes` no array of texts.
pub(super) fn check_hashes(body: &[u8], at: &Place, limits: &Limits) -> Result<()> {
    let (value, _) = cbor::item(body, at, "hash frame", limits)?;
    let map = cbor::map(value, at, "hash frame")?;
    super::params::text(&map, at, "algorithm")?;
    let wrong = |key: &str, value: &Value, expected: &str| {
        Err(Error::metadata(at, format!("`{key}` is {}, expected {expected}", describe(value))))
    };
    match map.get("hashes") {
        None => Ok(()),
        Some(Value::Array(hashes)) => match hashes.iter().enumerate().find(|(_, hash)| !hash.is_text()) {
            Some((i, hash)) => wrong(&format!("hashes[{i}]"), hash, "a text"),
            None => Ok(()),
        },
        Some(other) => wrong("hashes", other, "an array of texts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: &serde_json::Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    fn parsed(value: serde_json::Value) -> Result<Metadata> {
        parse(&body(&value), &Place::file("x"), &Limits::default())
    }

    #[test]
    fn free_keys_join_extra_and_reserved_is_taken_out() {
        let metadata = parsed(serde_json::json!({
            "base": [{"name": "t", "_reserved_": {"tensor": {}}}, {}],
            "_extra_": {"a": 1}, "_reserved_": {"uuid": "u"}, "version": 2,
        }))
        .unwrap();
        assert_eq!(metadata.base, [Map::from([("name".into(), "t".into())]), Map::new()]);
        assert_eq!(metadata.extra, Map::from([("a".into(), 1.into()), ("version".into(), 2.into())]));
        assert_eq!(metadata.reserved, Map::from([("uuid".into(), "u".into())]));
    }

    #[test]
    fn wrong_types_name_the_key() {
        for (wrong, said) in [
            (serde_json::json!([]), "metadata is an array of 0, expected a map with text keys"),
            (serde_json::json!({"base": {}}), "`base` is a map of 0, expected an array of maps"),
            (serde_json::json!({"base": [1]}), "`base[0]` is integer 1, expected a map with text keys"),
            (serde_json::json!({"_extra_": 1.5}), "`_extra_` is float 1.5, expected a map with text keys"),
            (
                serde_json::json!({"_extra_": {"k": 1}, "k": 1}),
                "`k` is both at the top level and in `_extra_`",
            ),
        ] {
            let error = parsed(wrong).unwrap_err().to_string();
            assert!(error.ends_with(said), "{error}");
        }
    }

    #[test]
    fn preceder_has_one_entry() {
        let of = |value| preceder(&body(&value), &Place::file("x"), &Limits::default());
        assert_eq!(of(serde_json::json!({"base": [{"k": 1}]})).unwrap(), Map::from([("k".into(), 1.into())]));
        for (wrong, count) in [(serde_json::json!({}), 0), (serde_json::json!({"base": [{}, {}]}), 2)] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.ends_with(&format!("has {count} entries, expected 1")), "{error}");
        }
    }

    #[test]
    fn index_and_hash_frames_are_typed() {
        let (at, limits) = (Place::file("x"), Limits::default());
        let index = |value| index(&body(&value), &at, &limits);
        assert!(index(serde_json::json!({"offsets": [1], "lengths": [2], "object_count": 1})).is_ok());
        assert!(index(serde_json::json!({"offsets": [1], "lengths": []})).is_err());
        assert!(index(serde_json::json!({"offsets": [-1], "lengths": [1]})).is_err());
        let hashes = |value| check_hashes(&body(&value), &at, &limits);
        assert!(hashes(serde_json::json!({"hashes": ["00"], "algorithm": "other"})).is_ok());
        assert!(hashes(serde_json::json!({"hashes": [0]})).is_err());
        assert!(hashes(serde_json::json!({"algorithm": 0})).is_err());
    }
}
