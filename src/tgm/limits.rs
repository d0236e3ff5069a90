//! What is accepted of a file, whatever it claims.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Bounds on what is accepted, so that hostile bytes can't make us allocate or spin.
///
/// As text it is a list such as `objects=1000,decoded_bytes=4G`; bounds that aren't named keep their defaults, and
/// numbers may have a unit in powers of 1024.
///
/// ```
/// let limits: millibar::tgm::Limits = "cbor_bytes=1M, axes=8".parse()?;
/// assert_eq!((limits.cbor_bytes, limits.axes, limits.cbor_depth), (1 << 20, 8, 256));
/// # Ok::<(), millibar::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: u64,
    /// Frames of one message.
    pub frames: u64,
    /// Bytes of one CBOR body.
    pub cbor_bytes: u64,
    /// Nesting of CBOR values.
    pub cbor_depth: u64,
    /// Objects in one message.
    pub objects: u64,
    /// Axes of one object.
    pub axes: u64,
    /// Broken messages in one file.
    pub broken_messages: u64,
    /// Decoded bytes of one object.
    pub decoded_bytes: u64,
    /// Decoded bytes for each encoded byte of a compressed payload, beyond a first MiB.
    pub expansion: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 1 << 44,
            frames: 1 << 25,
            cbor_bytes: 64 << 20,
            cbor_depth: 256,
            objects: 1 << 24,
            axes: 256,
            broken_messages: 1 << 12,
            decoded_bytes: 1 << 40,
            expansion: 1 << 16,
        }
    }
}

impl Limits {
    /// Each with its name.
    fn entries(&mut self) -> [(&'static str, &mut u64); 9] {
        [
            ("message_bytes", &mut self.message_bytes),
            ("frames", &mut self.frames),
            ("cbor_bytes", &mut self.cbor_bytes),
            ("cbor_depth", &mut self.cbor_depth),
            ("objects", &mut self.objects),
            ("axes", &mut self.axes),
            ("broken_messages", &mut self.broken_messages),
            ("decoded_bytes", &mut self.decoded_bytes),
            ("expansion", &mut self.expansion),
        ]
    }
}

/// Deepest nesting that may be asked for: the parser of CBOR is recursive.
const DEEPEST: u64 = 1024;

impl FromStr for Limits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut limits = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let bad =
                |expected: String| Error::Option { option: "limits".into(), value: item.into(), expected };
            let (name, value) = item.split_once('=').ok_or_else(|| bad("expected name=number".into()))?;
            let value = parse_size(value.trim()).map_err(|why| bad(format!("expected a number: {why}")))?;
            let mut entries = limits.entries();
            match entries.iter_mut().find(|(known, _)| *known == name.trim()) {
                Some(("cbor_depth", _)) if value > DEEPEST => {
                    return Err(bad(format!("expected {DEEPEST} levels at most")));
                }
                Some((_, limit)) => **limit = value,
                None => {
                    let names = entries.map(|(name, _)| name).join(", ");
                    return Err(bad(format!("no such limit; there are {names}")));
                }
            }
        }
        Ok(limits)
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.clone().entries().map(|(name, limit)| format!("{name}={limit}"));
        f.write_str(&texts.join(","))
    }
}

/// A number with an optional unit of bytes, in powers of 1024: `1000`, `64K`, `512MB`, `4GiB`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "wanted a size such as 512M or 4G".to_string())?;
    let unit = unit.to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("`{unit}` is no unit of size: B, K, M, G or T")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "more than 64 bits hold".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text_and_back() {
        let limits = Limits { objects: 5, expansion: 7, ..Limits::default() };
        assert_eq!(limits.to_string().parse::<Limits>().unwrap(), limits);
        assert_eq!("".parse::<Limits>().unwrap(), Limits::default());
        assert_eq!("frames=2K , axes=3,".parse::<Limits>().unwrap().frames, 2048);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("frames", "expected name=number"),
            ("frames=x", "wanted a size"),
            ("frames=1Q", "no unit of size"),
            ("frame=1", "there are message_bytes, frames, "),
            ("cbor_depth=4000", "1024 levels at most"),
            ("frames=99999999999T", "more than 64 bits"),
        ] {
            let error = text.parse::<Limits>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("option `limits` = `{text}`")) && error.contains(said),
                "{error}"
            );
        }
    }
}
