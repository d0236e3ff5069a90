//! Canonical CBOR: one sequence of bytes for each value.
//!
//! Definite lengths, the shortest form of each integer, each float in the shortest of 16, 32 and 64 bits that gives
//! the same bits back, and the entries of maps in the order of their encoded keys (RFC 8949, section 4.2.1).

use super::{Map, Value};
use half::f16;

/// Levels that a value may be nested: what every reader of the format accepts.
const DEPTH: usize = 256;

/// The canonical bytes of `value`. Of duplicate keys of a map the last counts.
///
/// # Errors
/// In words, if it is nested deeper than 256 levels, or of a type that CBOR lacks.
pub(super) fn encode(value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    put(value, &mut out, DEPTH)?;
    Ok(out)
}

/// As [`encode`], of a text-keyed map.
///
/// # Errors
/// As [`encode`].
pub(super) fn encode_map(map: &Map) -> Result<Vec<u8>, String> {
    let entries = map.iter().map(|(key, value)| (Value::Text(key.clone()), value.clone()));
    encode(&Value::Map(entries.collect()))
}

fn put(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("nested deeper than {DEPTH} levels"))?;
    match value {
        Value::Integer(number) => integer((*number).into(), out),
        Value::Bytes(bytes) => {
            head(2, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::Text(text) => {
            head(3, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(values) => {
            head(4, values.len() as u64, out);
            values.iter().try_for_each(|value| put(value, out, depth))?;
        }
        Value::Map(pairs) => {
            let mut entries = Vec::with_capacity(pairs.len());
            for (at, (key, value)) in pairs.iter().enumerate() {
                let mut bytes = Vec::new();
                put(key, &mut bytes, depth)?;
                entries.push((bytes, at, value));
            }
            entries.sort_unstable_by(|(a, i, _), (b, j, _)| a.cmp(b).then(j.cmp(i)));
            entries.dedup_by(|later, first| later.0 == first.0); // the last of a key comes first here
            head(5, entries.len() as u64, out);
            for (key, _, value) in entries {
                out.extend_from_slice(&key);
                put(value, out, depth)?;
            }
        }
        Value::Tag(tag, value) => {
            head(6, *tag, out);
            put(value, out, depth)?;
        }
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Null => out.push(0xf6),
        Value::Float(number) => float(*number, out),
        _ => return Err("a value of unknown type".into()),
    }
    Ok(())
}

fn integer(number: i128, out: &mut Vec<u8>) {
    // CBOR's integers reach from -2^64 to 2^64 - 1, and so does the type of the value.
    if number < 0 { head(1, (-1 - number) as u64, out) } else { head(0, number as u64, out) }
}

/// Major type and argument.
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    if argument < 24 {
        out.push(major | argument as u8);
    } else if let Ok(short) = u8::try_from(argument) {
        out.extend([major | 24, short]);
    } else if let Ok(short) = u16::try_from(argument) {
        out.push(major | 25);
        out.extend(short.to_be_bytes());
    } else if let Ok(short) = u32::try_from(argument) {
        out.push(major | 26);
        out.extend(short.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend(argument.to_be_bytes());
    }
}

fn float(number: f64, out: &mut Vec<u8>) {
    let (half, single) = (f16::from_f64(number), number as f32);
    if half.to_f64().to_bits() == number.to_bits() {
        out.push(0xf9);
        out.extend(half.to_be_bytes());
    } else if f64::from(single).to_bits() == number.to_bits() {
        out.push(0xfa);
        out.extend(single.to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, cbor};
    use super::*;
    use crate::Place;
    use proptest::prelude::*;

    fn hex(value: impl Into<Value>) -> String {
        encode(&value.into()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn floats_are_as_short_as_their_bits_allow() {
        for (number, bytes) in [
            (1.5, "f93e00"),
            (65536.0, "fa47800000"),
            (0.1, "fb3fb999999999999a"),
            (f64::NAN, "f97e00"),
            (-0.0, "f98000"),
            (f64::INFINITY, "f97c00"),
            (6e-8, "fb3e701b2b29a4692b"),
            (2f64.powi(-24), "f90001"),
        ] {
            assert_eq!(hex(number), bytes, "{number}");
        }
    }

    #[test]
    fn integers_are_as_short_as_can_be() {
        for (number, bytes) in [
            (23i128, "17"),
            (24, "1818"),
            (-1, "20"),
            (-25, "3818"),
            (256, "190100"),
            (65_536, "1a00010000"),
            (1 << 32, "1b0000000100000000"),
            (u64::MAX.into(), "1bffffffffffffffff"),
            (-1 - i128::from(u64::MAX), "3bffffffffffffffff"),
        ] {
            assert_eq!(hex(Value::Integer(number.try_into().unwrap())), bytes, "{number}");
        }
    }

    #[test]
    fn keys_are_sorted_by_their_bytes_and_the_last_duplicate_counts() {
        let map =
            |pairs: &[(&str, u8)]| Value::Map(pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect());
        assert_eq!(hex(map(&[("inf-", 1), ("nan", 2), ("inf+", 3)])), "a3636e616e0264696e662b0364696e662d01");
        assert_eq!(hex(map(&[("a", 1), ("b", 2), ("a", 3)])), "a2616103616202");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels| (0..levels).fold(Value::Null, |value, _| Value::Array(vec![value]));
        assert!(encode(&nested(255)).is_ok());
        assert!(encode(&nested(256)).unwrap_err().contains("deeper than 256"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            ".{0,30}".prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..30).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner.clone()), 0..6).prop_map(Value::Map),
                (any::<u64>().prop_filter("bignums", |tag| !(2..=3).contains(tag)), inner)
                    .prop_map(|(tag, value)| Value::Tag(tag, Box::new(value))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_written_the_same(value in value()) {
            let bytes = encode(&value).unwrap();
            let (read, consumed) = cbor::item(&bytes, &Place::file("x"), "value", &Limits::default()).unwrap();
            prop_assert_eq!(consumed, bytes.len() as u64);
            prop_assert_eq!(encode(&read).unwrap(), bytes);
        }
    }
}
