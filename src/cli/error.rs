//! What can go wrong on the command line, and the exit status that says so.

use crate::Error;
use crate::flight::describe;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use std::fmt;
use std::io;

/// An error of a command. Shown as one sentence.
#[derive(Debug)]
pub(super) enum CliError {
    /// A statement, or the opening of a table, failed.
    Query(DataFusionError),
    /// A file can't be read.
    Data(Error),
    /// Doing something with the system failed.
    Io { what: String, source: io::Error },
    /// A `\` command failed, or a statement was stopped.
    Command(String),
    /// The command line asks for something that can't be.
    Usage(String),
    /// What was asked about isn't as it should be. The output says why.
    Failed,
    /// Nobody reads our output any more, which is no failure of ours.
    BrokenPipe,
}

impl CliError {
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// A failed write to stdout.
    pub(super) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::io("writing the result", source)
        }
    }

    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::BrokenPipe => 0,
            Self::Query(_) | Self::Data(_) | Self::Io { .. } | Self::Command(_) | Self::Failed => 1,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(e) => f.write_str(&describe(e)),
            Self::Data(e) => e.fmt(f),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Command(what) | Self::Usage(what) => f.write_str(what),
            Self::Failed => f.write_str("the output says what is wrong"),
            Self::BrokenPipe => f.write_str("nobody reads the output"),
        }
    }
}

impl From<DataFusionError> for CliError {
    fn from(error: DataFusionError) -> Self {
        Self::Query(error)
    }
}

impl From<ArrowError> for CliError {
    fn from(error: ArrowError) -> Self {
        Self::Query(error.into())
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        Self::Data(error)
    }
}
