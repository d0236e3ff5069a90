//! The border between errors of the engine and gRPC statuses.

use crate::Error;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use std::error::Error as StdError;
use std::io;
use tonic::{Code, Status};

/// The status for an error of the engine: its code says whose fault it is, its message is [`describe`]'s.
///
/// | code | errors |
/// | --- | --- |
/// | `InvalidArgument` | SQL that doesn't parse or plan, bad options and ranges, values that don't compute |
/// | `NotFound` | unknown tables, files, messages and objects |
/// | `DataLoss` | broken framing, metadata, payloads and hashes |
/// | `FailedPrecondition` | files that were changed since they were opened; an index that is required, and damaged or stale |
/// | `Unimplemented` | codecs, dtypes and SQL that this version doesn't do |
/// | `ResourceExhausted` | the memory pool, and limits on sizes |
/// | `Internal` | everything else |
pub fn status_of(error: &DataFusionError) -> Status {
    Status::new(code_of(error), describe(error))
}

/// An error of the engine in words, on one line: the root cause, and its own sources, joined by `: `.
pub fn describe(error: &DataFusionError) -> String {
    words(error).lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => words(inner),
        DataFusionError::Shared(inner) => words(inner),
        DataFusionError::Collection(all) => all.iter().map(words).collect::<Vec<_>>().join("; "),
        DataFusionError::External(inner) => describe_external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(inner) => describe_external(inner.as_ref()),
            other => chain(other),
        },
        DataFusionError::Plan(what)
        | DataFusionError::Execution(what)
        | DataFusionError::Configuration(what)
        | DataFusionError::NotImplemented(what)
        | DataFusionError::ResourcesExhausted(what) => without_backtrace(what).to_string(),
        DataFusionError::SQL(inner, _) => match inner.as_ref() {
            ParserError::ParserError(what) | ParserError::TokenizerError(what) => what.clone(),
            ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_string(),
        },
        DataFusionError::SchemaError(inner, _) => inner.to_string(),
        other => without_backtrace(&chain(other)).to_string(),
    }
}

fn describe_external(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    match error.downcast_ref::<DataFusionError>() {
        Some(inner) => words(inner),
        None => chain(error),
    }
}

/// `error` and its sources, joined by `: `, without those that the text before them quotes already.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}

/// DataFusion appends a backtrace to messages where the environment asks for one.
fn without_backtrace(text: &str) -> &str {
    text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text)
}

fn code_of(error: &DataFusionError) -> Code {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => code_of(inner),
        DataFusionError::Shared(inner) => code_of(inner),
        DataFusionError::Collection(all) => all.first().map_or(Code::Internal, code_of),
        DataFusionError::External(inner) => code_of_external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => code_of_arrow(inner),
        DataFusionError::IoError(inner) => code_of_io(inner.kind()),
        DataFusionError::Plan(what) if is_unknown_table(what) => Code::NotFound,
        DataFusionError::Plan(_)
        | DataFusionError::SQL(..)
        | DataFusionError::Configuration(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Execution(_) => Code::InvalidArgument,
        DataFusionError::NotImplemented(_) => Code::Unimplemented,
        DataFusionError::ResourcesExhausted(_) => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

/// Whether a planning error says that a table isn't there; DataFusion has no variant for it.
fn is_unknown_table(what: &str) -> bool {
    let what = without_backtrace(what).trim_end();
    what.starts_with("table '") && what.ends_with("' not found")
}

fn code_of_external(error: &(dyn StdError + Send + Sync + 'static)) -> Code {
    if let Some(ours) = error.downcast_ref::<Error>() {
        code_of_ours(ours)
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        code_of(inner)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        code_of_arrow(inner)
    } else if let Some(inner) = error.downcast_ref::<io::Error>() {
        code_of_io(inner.kind())
    } else {
        Code::Internal
    }
}

/// Arrow's kernels report what a query's values do to them: division by zero, casts, overflow.
fn code_of_arrow(error: &ArrowError) -> Code {
    match error {
        ArrowError::ExternalError(inner) => code_of_external(inner.as_ref()),
        ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::InvalidArgumentError(_) => Code::InvalidArgument,
        ArrowError::NotYetImplemented(_) => Code::Unimplemented,
        ArrowError::MemoryError(_) => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

fn code_of_io(kind: io::ErrorKind) -> Code {
    match kind {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => Code::ResourceExhausted,
        io::ErrorKind::UnexpectedEof => Code::DataLoss,
        io::ErrorKind::StaleNetworkFileHandle => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

/// No catch-all here: a new variant has to say what it means on the wire.
fn code_of_ours(error: &Error) -> Code {
    match error {
        Error::Io { source, .. } => code_of_io(source.kind()),
        Error::NoSuch { .. } => Code::NotFound,
        Error::Framing { .. }
        | Error::Metadata { .. }
        | Error::Codec { .. }
        | Error::HashMismatch { .. }
        | Error::MissingHash { .. } => Code::DataLoss,
        Error::Index { .. } => Code::FailedPrecondition,
        Error::Unsupported { .. } => Code::Unimplemented,
        Error::Limit { .. } => Code::ResourceExhausted,
        Error::OutOfBounds { .. } | Error::Grid { .. } | Error::Option { .. } | Error::Overflow { .. } => {
            Code::InvalidArgument
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use std::sync::Arc;

    fn status(error: impl Into<Box<dyn StdError + Send + Sync>>) -> (Code, String) {
        let status = status_of(&DataFusionError::External(error.into()));
        (status.code(), status.message().to_string())
    }

    #[test]
    fn our_errors_keep_their_words_through_every_wrapper() {
        let place = Place::file("t2m.tgm").message(3).object(0);
        let error = Error::codec(&place, "szip", "the stream ends early");
        let words = "t2m.tgm, message 3, object 0: szip: the stream ends early";
        assert_eq!(status(error.clone()), (Code::DataLoss, words.into()));
        let arrow = ArrowError::ExternalError(Box::new(error));
        let shared = Arc::new(DataFusionError::ArrowError(Box::new(arrow), None));
        let wrapped = DataFusionError::Shared(shared).context("while reading");
        let wrapped = status_of(&wrapped);
        assert_eq!((wrapped.code(), wrapped.message()), (Code::DataLoss, words));
    }

    #[test]
    fn io_errors_say_their_source_once() {
        let gone = io::Error::new(io::ErrorKind::NotFound, "no such file");
        assert_eq!(status(Error::io("a.tgm", gone)), (Code::NotFound, "a.tgm: no such file".into()));
    }

    #[tokio::test]
    async fn planning_errors_tell_bad_sql_from_unknown_tables() {
        let ctx = datafusion::prelude::SessionContext::new();
        for (sql, code) in [
            ("SELEC 1", Code::InvalidArgument),
            ("SELECT nope(1)", Code::InvalidArgument),
            ("SELECT x FROM (SELECT 1 AS y)", Code::InvalidArgument),
            ("SELECT * FROM nope", Code::NotFound),
        ] {
            let error = ctx.sql(sql).await.unwrap_err();
            let status = status_of(&error);
            assert_eq!(status.code(), code, "{sql}: {error}");
            assert!(!status.message().contains('\n'), "{sql}: {}", status.message());
        }
    }
}
