//! The metadata of a message as it is written, and what the library adds to it.

use crate::tgm::descriptor::strides;
use crate::tgm::metadata::{BASE, EXTRA, RESERVED};
use crate::tgm::{DType, Map, Metadata, Value, canonical};
use crate::{Error, Place, Result};
use chrono::DateTime;
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a message says of the library that wrote it: the map `_reserved_`. With it, `base` repeats dtype, shape and
/// strides of each object, for readers that look only there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Provenance {
    /// This library, the time of writing, and a random uuid.
    #[default]
    Fresh,
    /// This library, a time in seconds since 1970 and a uuid, which is one more for each further message.
    Fixed {
        /// Seconds since the Unix epoch.
        time: u64,
        /// Of the first message; the bits that say that it is random are set.
        uuid: u128,
    },
    /// What [`Metadata::reserved`] says; where that is empty, nothing.
    Given,
}

impl Provenance {
    /// The `_reserved_` of the next message.
    pub(super) fn reserved(&mut self, metadata: &Metadata) -> Map {
        match self {
            Self::Given => metadata.reserved.clone(),
            Self::Fresh => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                provenance(now, random())
            }
            Self::Fixed { time, uuid } => {
                let map = provenance(*time, *uuid);
                *uuid = uuid.wrapping_add(1);
                map
            }
        }
    }
}

/// The map `_reserved_` that names this library, a time in seconds since 1970 and a uuid (its bits that say that it
/// is a random one are set).
pub fn provenance(time: u64, uuid: u128) -> Map {
    let time = i64::try_from(time).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let time = time.unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let uuid = uuid & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{uuid:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    let pair = |key: &str, text: &str| (Value::Text(key.into()), Value::Text(text.into()));
    let encoder = vec![pair("name", env!("CARGO_PKG_NAME")), pair("version", env!("CARGO_PKG_VERSION"))];
    Map::from([
        ("time".into(), Value::Text(time)),
        ("uuid".into(), Value::Text(parts.join("-"))),
        ("encoder".into(), Value::Map(encoder)),
    ])
}

/// 128 bits that no other message has: the standard library seeds these hashers from the system's randomness.
fn random() -> u128 {
    let half = |salt: u8| u128::from(RandomState::new().hash_one((salt, SystemTime::now())));
    half(0) << 64 | half(1)
}

/// The body of a metadata frame that describes all of a message: `base` has an entry for each of `objects`, given by
/// dtype and shape, and what `reserved` says is there.
///
/// # Errors
/// [`Error::Metadata`] if `base` has more entries than there are objects, an entry has the key `_reserved_`, or
/// CBOR can't hold a value.
pub(super) fn whole(
    base: &[Map],
    extra: &Map,
    reserved: &Map,
    objects: &[(DType, &[u64])],
    at: &Place,
) -> Result<Vec<u8>> {
    if base.len() > objects.len() {
        let what = format!("`{BASE}` has {} entries for {} objects", base.len(), objects.len());
        return Err(Error::metadata(at, what));
    }
    check_free(base, at)?;
    let mut entries = base.to_vec();
    entries.resize(objects.len(), Map::new());
    if !reserved.is_empty() {
        for (entry, (dtype, shape)) in entries.iter_mut().zip(objects) {
            entry.insert(RESERVED.into(), tensor(*dtype, shape));
        }
    }
    body(entries, extra, reserved, at)
}

/// The body of a frame that says only what is known beforehand.
///
/// # Errors
/// [`Error::Metadata`] if an entry of `base` has the key `_reserved_`, or CBOR can't hold a value.
pub(super) fn partial(base: &[Map], extra: &Map, at: &Place) -> Result<Vec<u8>> {
    check_free(base, at)?;
    body(base.to_vec(), extra, &Map::new(), at)
}

/// Refuses entries with the library's key.
fn check_free(base: &[Map], at: &Place) -> Result<()> {
    match base.iter().position(|entry| entry.contains_key(RESERVED)) {
        None => Ok(()),
        Some(i) => Err(Error::metadata(at, format!("`{BASE}[{i}].{RESERVED}` is the library's to write"))),
    }
}

/// `_reserved_` of an object.
fn tensor(dtype: DType, shape: &[u64]) -> Value {
    let numbers = |numbers: &[u64]| Value::Array(numbers.iter().map(|&number| number.into()).collect());
    let entries = [
        ("ndim", (shape.len() as u64).into()),
        ("dtype", Value::Text(dtype.name().into())),
        ("shape", numbers(shape)),
        ("strides", numbers(&strides(shape))),
    ];
    let tensor = entries.into_iter().map(|(key, value)| (Value::Text(key.into()), value)).collect();
    Value::Map(vec![(Value::Text("tensor".into()), Value::Map(tensor))])
}

/// The three maps, each left out where it is empty.
fn body(base: Vec<Map>, extra: &Map, reserved: &Map, at: &Place) -> Result<Vec<u8>> {
    let map = |map: Map| Value::Map(map.into_iter().map(|(key, value)| (Value::Text(key), value)).collect());
    let mut top = Map::new();
    if !base.is_empty() {
        top.insert(BASE.into(), Value::Array(base.into_iter().map(map).collect()));
    }
    for (key, entries) in [(EXTRA, extra), (RESERVED, reserved)] {
        if !entries.is_empty() {
            top.insert(key.into(), map(entries.clone()));
        }
    }
    canonical::encode_map(&top).map_err(|what| Error::metadata(at, format!("metadata: {what}")))
}
