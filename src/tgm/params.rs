//! Typed access to the free keys of a descriptor (codec parameters) and of other text-keyed maps.
//!
//! Types are strict, as in the format: an integer key given as a float or as text is an error, also where the key
//! is optional. Float keys accept integers that a float64 holds exactly. `null` is a value of the wrong type, not
//! an absent key.

use super::{Descriptor, Map, Value};
use crate::{Error, Place, Result};

/// Whether a key of a descriptor belongs to a codec, and so says nothing of the data.
pub fn is_codec_key(key: &str) -> bool {
    const PREFIXES: [&str; 9] =
        ["sp_", "szip_", "zstd_", "lz4_", "blosc2_", "zfp_", "sz3_", "shuffle_", "roaring_"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Largest magnitude up to which every integer is a float64.
const EXACT_IN_F64: i128 = 1 << 53;

/// What a value is, in words, for errors: `text "abc"`, `float 1.5`, `an array`.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Integer(i) => format!("integer {}", i128::from(*i)),
        Value::Float(f) => format!("float {f:?}"),
        Value::Bool(b) => format!("bool {b}"),
        Value::Null => "null".into(),
        Value::Text(t) if t.chars().count() <= 40 => format!("text {t:?}"),
        Value::Text(t) => format!("text {:?}...", t.chars().take(40).collect::<String>()),
        Value::Bytes(b) => format!("{} raw bytes", b.len()),
        Value::Array(a) => format!("an array of {}", a.len()),
        Value::Map(m) => format!("a map of {}", m.len()),
        Value::Tag(tag, _) => format!("a value tagged {tag}"),
        _ => "a value of unknown type".into(),
    }
}

/// The error of a key that holds a value of the wrong type.
pub(super) fn mistyped(at: &Place, key: &str, got: &Value, expected: &str) -> Error {
    Error::metadata(at, format!("`{key}` is {}, expected {expected}", describe(got)))
}

/// `value` as u64, if it is an integer in range.
pub(super) fn as_u64(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|i| u64::try_from(i).ok())
}

/// An unsigned integer; `None` where the key is absent.
///
/// # Errors
/// [`Error::Metadata`] for any other type, and for integers outside u64.
pub fn uint(map: &Map, at: &Place, key: &str) -> Result<Option<u64>> {
    const EXPECTED: &str = "an unsigned integer";
    map.get(key).map(|v| as_u64(v).ok_or_else(|| mistyped(at, key, v, EXPECTED))).transpose()
}

/// A signed integer; `None` where the key is absent.
///
/// # Errors
/// [`Error::Metadata`] for any other type, and for integers outside i64.
pub fn int(map: &Map, at: &Place, key: &str) -> Result<Option<i64>> {
    let parse = |v: &Value| v.as_integer().and_then(|i| i64::try_from(i).ok());
    map.get(key).map(|v| parse(v).ok_or_else(|| mistyped(at, key, v, "an integer"))).transpose()
}

/// A float, or an integer of magnitude up to 2^53; `None` where the key is absent. May be NaN or infinite.
///
/// # Errors
/// [`Error::Metadata`] for any other type, and for larger integers.
pub fn float(map: &Map, at: &Place, key: &str) -> Result<Option<f64>> {
    let parse = |v: &Value| match v {
        Value::Float(f) => Some(*f),
        Value::Integer(i) => Some(i128::from(*i)).filter(|i| i.abs() <= EXACT_IN_F64).map(|i| i as f64),
        _ => None,
    };
    const EXPECTED: &str = "a float, or an integer of magnitude up to 2^53";
    map.get(key).map(|v| parse(v).ok_or_else(|| mistyped(at, key, v, EXPECTED))).transpose()
}

/// A text; `None` where the key is absent.
///
/// # Errors
/// [`Error::Metadata`] for any other type.
pub fn text<'a>(map: &'a Map, at: &Place, key: &str) -> Result<Option<&'a str>> {
    map.get(key).map(|v| v.as_text().ok_or_else(|| mistyped(at, key, v, "a text"))).transpose()
}

/// An array of unsigned integers; `None` where the key is absent.
///
/// # Errors
/// [`Error::Metadata`] for any other type, also of one entry; the error names that entry.
pub fn uints(map: &Map, at: &Place, key: &str) -> Result<Option<Vec<u64>>> {
    map.get(key).map(|v| uint_array(v, at, key)).transpose()
}

/// `value` of `key` as an array of unsigned integers.
pub(super) fn uint_array(value: &Value, at: &Place, key: &str) -> Result<Vec<u64>> {
    const EXPECTED: &str = "an array of unsigned integers";
    let entries = value.as_array().ok_or_else(|| mistyped(at, key, value, EXPECTED))?;
    let entry =
        |(i, v)| as_u64(v).ok_or_else(|| mistyped(at, &format!("{key}[{i}]"), v, "an unsigned integer"));
    entries.iter().enumerate().map(entry).collect()
}

/// The codec parameters of an object. `at` is the object's place, for errors.
impl Descriptor {
    /// [`params::uint`](uint) of this object's parameters.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is there and no unsigned integer.
    pub fn uint(&self, at: &Place, key: &str) -> Result<Option<u64>> {
        uint(&self.params, at, key)
    }

    /// [`params::int`](int) of this object's parameters.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is there and no integer of 64 bits.
    pub fn int(&self, at: &Place, key: &str) -> Result<Option<i64>> {
        int(&self.params, at, key)
    }

    /// [`params::float`](float) of this object's parameters.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is there and neither a float nor an integer that a float64 holds.
    pub fn float(&self, at: &Place, key: &str) -> Result<Option<f64>> {
        float(&self.params, at, key)
    }

    /// [`params::text`](text) of this object's parameters.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is there and no text.
    pub fn text(&self, at: &Place, key: &str) -> Result<Option<&str>> {
        text(&self.params, at, key)
    }

    /// [`params::uints`](uints) of this object's parameters.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is there and no array of unsigned integers.
    pub fn uints(&self, at: &Place, key: &str) -> Result<Option<Vec<u64>>> {
        uints(&self.params, at, key)
    }

    /// A parameter that the pipeline can't do without: `require(at, "szip_rsi", descriptor.uint(at, "szip_rsi"))`.
    ///
    /// # Errors
    /// That of `found`; [`Error::Metadata`] if it is `None`.
    pub fn require<T>(&self, at: &Place, key: &str, found: Result<Option<T>>) -> Result<T> {
        found?.ok_or_else(|| {
            Error::metadata(at, format!("`{key}` is missing; pipeline {} needs it", self.pipeline()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::file("x.tgm").message(1).object(2)
    }

    fn map(key: &str, value: impl Into<Value>) -> Map {
        Map::from([(key.to_owned(), value.into())])
    }

    #[test]
    fn absent_keys_are_none() {
        let (map, at) = (Map::new(), place());
        assert_eq!(uint(&map, &at, "a").unwrap(), None);
        assert_eq!(int(&map, &at, "a").unwrap(), None);
        assert_eq!(float(&map, &at, "a").unwrap(), None);
        assert_eq!(text(&map, &at, "a").unwrap(), None);
        assert_eq!(uints(&map, &at, "a").unwrap(), None);
    }

    #[test]
    fn integers_are_strict() {
        let at = place();
        assert_eq!(uint(&map("a", u64::MAX), &at, "a").unwrap(), Some(u64::MAX));
        assert_eq!(int(&map("a", -7), &at, "a").unwrap(), Some(-7));
        for wrong in [Value::Float(16.0), Value::Text("16".into()), Value::Null, Value::Bool(true)] {
            assert!(uint(&map("a", wrong.clone()), &at, "a").is_err(), "{wrong:?}");
            assert!(int(&map("a", wrong.clone()), &at, "a").is_err(), "{wrong:?}");
        }
        let error = uint(&map("szip_rsi", -1), &at, "szip_rsi").unwrap_err();
        let said = "x.tgm, message 1, object 2: bad metadata: `szip_rsi` is integer -1, expected an unsigned integer";
        assert_eq!(error.to_string(), said);
        assert!(int(&map("a", u64::MAX), &at, "a").is_err());
    }

    #[test]
    fn floats_accept_exact_integers_only() {
        let at = place();
        let exact = 1i64 << 53;
        assert_eq!(float(&map("a", exact), &at, "a").unwrap(), Some(9007199254740992.0));
        assert_eq!(float(&map("a", -exact), &at, "a").unwrap(), Some(-9007199254740992.0));
        assert!(float(&map("a", exact + 1), &at, "a").is_err());
        assert!(float(&map("a", "1.5"), &at, "a").is_err());
        assert!(float(&map("a", f64::NAN), &at, "a").unwrap().is_some_and(f64::is_nan));
    }

    #[test]
    fn arrays_name_the_wrong_entry() {
        let (at, mixed) = (place(), Value::Array(vec![0.into(), Value::Text("9".into())]));
        let error = uints(&map("offsets", mixed), &at, "offsets").unwrap_err().to_string();
        assert!(error.contains("`offsets[1]` is text \"9\", expected an unsigned integer"), "{error}");
        let fine = Value::Array(vec![0.into(), 9.into()]);
        assert_eq!(uints(&map("offsets", fine), &at, "offsets").unwrap(), Some(vec![0, 9]));
    }
}
