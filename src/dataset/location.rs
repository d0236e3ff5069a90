//! Where the files are: paths, lists, globs and patterns.
use crate::Result;
use std::fmt;

/// A path, a comma-separated list of them, a glob (`data/*.tgm`), or a pattern with dims from the file names
/// (`data/temperature_{time:%Y%m%d}.tgm`).
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    items: Vec<String>,
}

impl Location {
    /// Parses a location text; a text that names an existing file is that file, whatever characters it has.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a malformed pattern.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { items: vec![text.into()] })
    }

    /// Several locations as one dataset, in this order.
    ///
    /// # Errors
    /// As [`Location::parse`].
    pub fn from_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self { items: items.into_iter().map(|s| s.as_ref().to_string()).collect() })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.items.join(","))
    }
}
