//! Metadata values for people: dotted lookup, plain text, JSON.

use super::{Map, Value};
use serde_json::json;

/// The value at a dotted path such as `mars.param`.
///
/// At each level a key that holds the whole rest of the path, dots included, goes before the split at the first dot.
/// `None` where a key is absent or a value on the way isn't a map. A `null` at the end is found as such.
pub fn lookup<'a>(map: &'a Map, path: &str) -> Option<&'a Value> {
    walk(path, &|key| map.get(key))
}

fn walk<'a>(path: &str, get: &dyn Fn(&str) -> Option<&'a Value>) -> Option<&'a Value> {
    if let Some(found) = get(path) {
        return Some(found);
    }
    let mut split = path.split_once('.');
    let mut value = None;
    while let Some((head, rest)) = split {
        value = match value {
            None => get(head),
            Some(map) => entry(map, head),
        };
        let map = value?;
        if let Some(found) = entry(map, rest) {
            return Some(found);
        }
        split = rest.split_once('.');
    }
    None
}

/// The entry of a map value; of duplicate keys the last counts.
fn entry<'a>(map: &'a Value, key: &str) -> Option<&'a Value> {
    let mut pairs = map.as_map()?.iter().rev();
    pairs.find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value)
}

/// A scalar as plain text: a text as it is, numbers in their shortest form (floats with a point or an exponent),
/// `true` and `false`. `None` for null, raw bytes, arrays, maps and tagged values.
pub fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(i) => Some(i128::from(*i).to_string()),
        Value::Float(f) => Some(format!("{f:?}")),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

/// A value as JSON. What JSON lacks is spelt as a map of one `$` key: raw bytes as `{"$bytes": hex}`, NaN and
/// infinities as `{"$float": "nan" | "inf" | "-inf"}`, integers beyond 64 bits as `{"$integer": text}`, tags as
/// `{"$tag": number, "value": ...}`. Keys that aren't text are spelt as text; of duplicate keys the last counts.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => json!(b),
        Value::Text(text) => json!(text),
        Value::Integer(i) => integer(i128::from(*i)),
        Value::Float(f) if f.is_finite() => json!(f),
        Value::Float(f) if f.is_nan() => json!({ "$float": "nan" }),
        Value::Float(f) => json!({ "$float": if *f > 0.0 { "inf" } else { "-inf" } }),
        Value::Bytes(bytes) => json!({ "$bytes": hex(bytes) }),
        Value::Array(values) => values.iter().map(to_json).collect(),
        Value::Map(pairs) => pairs.iter().map(|(key, value)| (key_text(key), to_json(value))).collect(),
        Value::Tag(tag, value) => json!({ "$tag": tag, "value": to_json(value) }),
        other => json!(format!("{other:?}")),
    }
}

/// A text-keyed map as JSON, its values as in [`to_json`].
pub fn map_to_json(map: &Map) -> serde_json::Value {
    map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
}

fn integer(i: i128) -> serde_json::Value {
    match (u64::try_from(i), i64::try_from(i)) {
        (Ok(unsigned), _) => json!(unsigned),
        (_, Ok(signed)) => json!(signed),
        _ => json!({ "$integer": i.to_string() }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key of an inner map as text. Compound keys are spelt as Rust writes them: JSON in the text of JSON would double its
/// escapes at each level, and a small file could ask for all memory there is.
fn key_text(key: &Value) -> String {
    match key {
        Value::Array(_) | Value::Map(_) | Value::Tag(..) => format!("{key:?}"),
        key => value_text(key).unwrap_or_else(|| to_json(key).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: serde_json::Value) -> Map {
        let Value::Map(pairs) = Value::serialized(&value).unwrap() else { panic!("no map") };
        pairs.into_iter().map(|(key, value)| (key.into_text().unwrap(), value)).collect()
    }

    #[test]
    fn maps_as_keys_of_maps_stay_small() {
        let key = |inner| Value::Map(vec![(inner, Value::Text("\"".into()))]);
        let deep = (0..60).fold(Value::Text("\"".into()), |inner, _| key(inner));
        assert!(to_json(&deep).to_string().len() < 10_000);
    }

    #[test]
    fn dotted_paths() {
        let map = map(json!({
            "name": "t", "mars": {"param": "2t", "time.of": {"day": 6}, "deep": {"er": {"est": 1}}},
            "mars.step": 12, "none": null, "a": {"b.c": 2},
        }));
        let text = |path| lookup(&map, path).and_then(value_text);
        assert_eq!(text("name").as_deref(), Some("t"));
        assert_eq!(text("mars.param").as_deref(), Some("2t"));
        assert_eq!(text("mars.step").as_deref(), Some("12"));
        assert_eq!(text("mars.deep.er.est").as_deref(), Some("1"));
        assert_eq!(text("a.b.c").as_deref(), Some("2"));
        for absent in ["mars.nope", "name.param", "nope", "", ".", "mars.", "mars.deep.er.est.x"] {
            assert_eq!(lookup(&map, absent), None, "{absent}");
        }
        assert_eq!(lookup(&map, "none"), Some(&Value::Null));
    }

    #[test]
    fn scalars_as_text() {
        let texts = [
            (Value::from(-5), Some("-5")),
            (Value::from(1.0), Some("1.0")),
            (Value::from(1e300), Some("1e300")),
            (Value::from(true), Some("true")),
            (Value::Null, None),
            (Value::Array(vec![]), None),
            (Value::Bytes(vec![1]), None),
        ];
        for (value, text) in texts {
            assert_eq!(value_text(&value).as_deref(), text, "{value:?}");
        }
    }

    #[test]
    fn json_loses_nothing() {
        let value = Value::Map(vec![
            (1.into(), f64::NAN.into()),
            ("b".into(), Value::Bytes(vec![0, 255])),
            ("i".into(), f64::NEG_INFINITY.into()),
            ("t".into(), Value::Tag(0, Box::new("2026".into()))),
            ("u".into(), u64::MAX.into()),
            ("d".into(), 1.into()),
            ("d".into(), 2.into()),
        ]);
        let expected = json!({
            "1": {"$float": "nan"}, "b": {"$bytes": "00ff"}, "i": {"$float": "-inf"},
            "t": {"$tag": 0, "value": "2026"}, "u": u64::MAX, "d": 2,
        });
        assert_eq!(to_json(&value), expected);
    }
}
