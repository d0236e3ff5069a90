//! When stored hashes are checked.

use std::fmt;
use std::str::FromStr;

/// When the stored hash of an object's frame is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Never.
    #[default]
    Off,
    /// When the object is decoded whole, each time.
    FullDecodes,
    /// Before anything of the object is used: the whole frame is hashed once, and that is remembered.
    Always,
}

impl Verify {
    /// What may be written for it.
    pub const NAMES: &str = "off, full or always";
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::FullDecodes => "full",
            Self::Always => "always",
        })
    }
}

impl FromStr for Verify {
    /// What is accepted.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Off, Self::FullDecodes, Self::Always];
        let named = all.into_iter().find(|verify| verify.to_string().eq_ignore_ascii_case(text.trim()));
        named.ok_or(Self::NAMES)
    }
}
