//! The one error type of the layers left of the engine: what failed, where in the data, what was wanted.

use std::fmt;
use std::sync::Arc;

/// Result of the layers left of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where in the data; shown as `t2m.tgm, message 3, object 0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Path or URL of the file.
    pub file: Arc<str>,
    /// Position of the message in the file, from 0, in file order.
    pub message: Option<u64>,
    /// Position of the object in its message, from 0.
    pub object: Option<u64>,
}

impl Place {
    /// A whole file.
    pub fn file(file: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), message: None, object: None }
    }

    /// Message `message` of the same file.
    pub fn message(&self, message: u64) -> Self {
        Self { file: Arc::clone(&self.file), message: Some(message), object: None }
    }

    /// Object `object` of the same message.
    pub fn object(&self, object: u64) -> Self {
        Self { file: Arc::clone(&self.file), message: self.message, object: Some(object) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(message) = self.message {
            write!(f, ", message {message}")?;
        }
        if let Some(object) = self.object {
            write!(f, ", object {object}")?;
        }
        Ok(())
    }
}

/// What can go wrong between the bytes of a file and a value on a grid.
///
/// Cloneable, so that one broken message can be reported by every query that meets it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be opened or read.
    #[error("{file}: {source}")]
    Io {
        /// Path or URL.
        file: Arc<str>,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The framing of a message is broken (preamble, frames, postamble).
    #[error("{at}: broken framing: {what}")]
    Framing {
        /// Where.
        at: Place,
        /// What came and what was expected.
        what: String,
    },
    /// CBOR metadata, or an object's descriptor, is malformed.
    #[error("{at}: bad metadata: {what}")]
    Metadata {
        /// Where.
        at: Place,
        /// Which key, what came and what was expected.
        what: String,
    },
    /// A codec can't decode an object's payload.
    #[error("{at}: {codec}: {what}")]
    Codec {
        /// Where.
        at: Place,
        /// `zstd`, `szip`, `simple_packing`, `shuffle`, `mask`, ...
        codec: &'static str,
        /// What came and what was expected.
        what: String,
    },
    /// Sound, but this version doesn't read it.
    #[error("{at}: {what} is not supported yet")]
    Unsupported {
        /// Where.
        at: Place,
        /// The codec, dtype or feature.
        what: String,
    },
    /// A range of elements leaves the object.
    #[error("{at}: elements {offset}..{offset}+{count} leave an object of {len} elements")]
    OutOfBounds {
        /// Where.
        at: Place,
        /// First element, in C order of the flattened object.
        offset: u64,
        /// How many elements.
        count: u64,
        /// Elements in the object.
        len: u64,
    },
    /// No such message or object.
    #[error("{at}: no such {what}: there are {count}")]
    NoSuch {
        /// Where, with the index asked for.
        at: Place,
        /// `message` or `object`.
        what: &'static str,
        /// How many there are.
        count: u64,
    },
    /// The stored hash of a frame differs from that of its bytes.
    #[error("{at}: hash mismatch: stored {expected}, computed {actual}")]
    HashMismatch {
        /// Where.
        at: Place,
        /// Stored, 16 hex digits.
        expected: String,
        /// Computed, 16 hex digits.
        actual: String,
    },
    /// Verification was asked for and the frame carries no hash.
    #[error("{at}: no hash to verify")]
    MissingHash {
        /// Where.
        at: Place,
    },
    /// Something is larger than the limits allow, or than the bytes that are there make plausible.
    #[error("{at}: {what} of {got} exceeds the limit of {limit}")]
    Limit {
        /// Where.
        at: Place,
        /// What was measured.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Objects don't make up the grid that was asked for.
    #[error("{name}: {what}")]
    Grid {
        /// Table, variable or file.
        name: String,
        /// What doesn't fit.
        what: String,
    },
    /// An index is damaged, stale, or of something else.
    #[error("{file}: {what}")]
    Index {
        /// Path of the index.
        file: Arc<str>,
        /// What is wrong with it.
        what: String,
    },
    /// An option, pattern or location is malformed.
    #[error("option `{option}` = `{value}`: {expected}")]
    Option {
        /// Its name.
        option: String,
        /// What was given.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// An integer sum leaves its type.
    #[error("sum of {what} overflows {dtype}")]
    Overflow {
        /// The summed expression.
        what: String,
        /// Result type.
        dtype: &'static str,
    },
}

impl Error {
    /// An I/O error of `file`.
    pub fn io(file: impl Into<Arc<str>>, source: std::io::Error) -> Self {
        Self::Io { file: file.into(), source: Arc::new(source) }
    }

    /// A framing error.
    pub fn framing(at: &Place, what: impl Into<String>) -> Self {
        Self::Framing { at: at.clone(), what: what.into() }
    }

    /// A metadata error.
    pub fn metadata(at: &Place, what: impl Into<String>) -> Self {
        Self::Metadata { at: at.clone(), what: what.into() }
    }

    /// A codec error.
    pub fn codec(at: &Place, codec: &'static str, what: impl Into<String>) -> Self {
        Self::Codec { at: at.clone(), codec, what: what.into() }
    }

    /// Something this version doesn't read.
    pub fn unsupported(at: &Place, what: impl Into<String>) -> Self {
        Self::Unsupported { at: at.clone(), what: what.into() }
    }
}
