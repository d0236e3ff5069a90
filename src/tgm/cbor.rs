//! CBOR items, within the limits.

use super::params::describe;
use super::{Limits, Map, Value};
use crate::{Error, Place, Result};
use ciborium::de;

/// Parses the one item that `bytes` start with; also says how many bytes it takes. What follows is ignored.
///
/// `what` names it in errors. Memory stays within a constant factor of the bytes that are there, whatever lengths
/// they claim, and nesting within [`Limits::cbor_depth`].
///
/// # Errors
/// [`Error::Metadata`] if it isn't well-formed or too deep.
pub(super) fn item(bytes: &[u8], at: &Place, what: &str, limits: &Limits) -> Result<(Value, u64)> {
    let mut rest = bytes;
    let value =
        de::from_reader_with_recursion_limit(&mut rest, limits.cbor_depth as usize).map_err(|error| {
            let why = match error {
                de::Error::Io(_) => format!("the CBOR goes on beyond its {} bytes", bytes.len()),
                de::Error::Syntax(offset) => format!("the CBOR is malformed at byte {offset}"),
                de::Error::Semantic(Some(offset), why) => {
                    format!("the CBOR is wrong at byte {offset}: {why}")
                }
                de::Error::Semantic(None, why) => format!("the CBOR is wrong: {why}"),
                de::Error::RecursionLimitExceeded => {
                    format!("the CBOR is nested deeper than {} levels", limits.cbor_depth)
                }
            };
            Error::metadata(at, format!("{what}: {why}"))
        })?;
    Ok((value, (bytes.len() - rest.len()) as u64))
}

/// Refuses bodies beyond [`Limits::cbor_bytes`] before they are read.
///
/// # Errors
/// [`Error::Limit`] if there are more.
pub(super) fn check_size(bytes: u64, at: &Place, limits: &Limits) -> Result<()> {
    if bytes > limits.cbor_bytes {
        let what = "number of metadata bytes";
        return Err(Error::Limit { at: at.clone(), what, got: bytes, limit: limits.cbor_bytes });
    }
    Ok(())
}

/// The entries of a map, all keys text; also duplicates, in the order written.
///
/// # Errors
/// [`Error::Metadata`] if it is no map or has another key.
pub(super) fn entries(value: Value, at: &Place, what: &str) -> Result<Vec<(String, Value)>> {
    let pairs = match value {
        Value::Map(pairs) => pairs,
        other => {
            let came = describe(&other);
            return Err(Error::metadata(at, format!("{what} is {came}, expected a map with text keys")));
        }
    };
    let text_keyed = |(key, value)| match key {
        Value::Text(key) => Ok((key, value)),
        other => {
            let came = describe(&other);
            Err(Error::metadata(at, format!("{what} has {came} for a key, expected a text")))
        }
    };
    pairs.into_iter().map(text_keyed).collect()
}

/// A text-keyed map; of duplicate keys the last counts.
///
/// # Errors
/// As [`entries`].
pub(super) fn map(value: Value, at: &Place, what: &str) -> Result<Map> {
    Ok(entries(value, at, what)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<(Value, u64)> {
        item(bytes, &Place::file("x"), "test", &Limits::default())
    }

    #[test]
    fn consumed_bytes_are_those_of_the_item() {
        assert_eq!(parse(&[0x82, 1, 2, 0xff, 0xff]).unwrap(), (Value::Array(vec![1.into(), 2.into()]), 3));
        // Not the shortest form of 1: what is there counts, not what would be written.
        assert_eq!(parse(&[0x1b, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap(), (1.into(), 9));
    }

    #[test]
    fn claimed_lengths_dont_allocate() {
        for claim in [0x9b, 0xbb, 0x7b, 0x5b] {
            let bytes = [claim, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains("beyond its 10 bytes") || error.contains("malformed"), "{error}");
        }
    }

    #[test]
    fn depth_is_bounded_for_arrays_maps_and_tags() {
        for (open, close) in [(&[0x81][..], &[0][..]), (&[0xa1, 0x60], &[0]), (&[0xc1], &[0]), (&[0x9f], &[])]
        {
            for levels in [255, 100_000] {
                let mut bytes = open.repeat(levels);
                bytes.extend(close);
                let answer = parse(&bytes);
                if levels > 256 {
                    assert!(answer.unwrap_err().to_string().contains("deeper than 256"), "{open:x?}");
                } else if !close.is_empty() {
                    assert!(answer.is_ok(), "{open:x?}: {answer:?}");
                }
            }
        }
    }
}
