//! Rust errors become exceptions of `millibar._errors`.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use millibar::{Error, Place, flight};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::error::Error as StdError;
use std::io;

/// An error of the engine as an exception: the class says what kind it is, the text is that of every other client, and
/// `file`, `message` and `object` say where in the data.
pub(crate) fn raise(py: Python<'_>, error: &DataFusionError) -> PyErr {
    let root = root_of(error);
    let made = exception(py, class_of(&root), &flight::describe(error), root.ours());
    made.unwrap_or_else(|failed| failed)
}

/// A fault of Millibar's own.
pub(crate) fn internal(py: Python<'_>, words: &str) -> PyErr {
    exception(py, "InternalError", words, None).unwrap_or_else(|failed| failed)
}

/// As [`raise`], of an error of the layers left of the engine.
pub(crate) fn raise_ours(py: Python<'_>, error: Error) -> PyErr {
    raise(py, &DataFusionError::External(Box::new(error)))
}

/// What an error is, below its wrappers.
enum Root<'a> {
    Ours(&'a Error),
    Io(&'a io::Error),
    Arrow(&'a ArrowError),
    Engine(&'a DataFusionError),
    Other,
}

impl<'a> Root<'a> {
    fn ours(&self) -> Option<&'a Error> {
        match self {
            Self::Ours(error) => Some(error),
            _ => None,
        }
    }
}

fn root_of(error: &DataFusionError) -> Root<'_> {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root_of(inner),
        DataFusionError::Shared(inner) => root_of(inner),
        DataFusionError::Collection(all) => all.first().map_or(Root::Other, root_of),
        DataFusionError::External(inner) => root_of_external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => root_of_arrow(inner),
        DataFusionError::IoError(inner) => Root::Io(inner),
        other => Root::Engine(other),
    }
}

fn root_of_external<'a>(error: &'a (dyn StdError + Send + Sync + 'static)) -> Root<'a> {
    if let Some(ours) = error.downcast_ref::<Error>() {
        Root::Ours(ours)
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        root_of(inner)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        root_of_arrow(inner)
    } else if let Some(inner) = error.downcast_ref::<io::Error>() {
        Root::Io(inner)
    } else {
        Root::Other
    }
}

fn root_of_arrow(error: &ArrowError) -> Root<'_> {
    match error {
        ArrowError::ExternalError(inner) => root_of_external(inner.as_ref()),
        other => Root::Arrow(other),
    }
}

/// Name of a class of `millibar._errors`.
fn class_of(root: &Root<'_>) -> &'static str {
    match root {
        Root::Ours(error) => class_of_ours(error),
        Root::Io(error) => class_of_io(error.kind()),
        Root::Arrow(ArrowError::NotYetImplemented(_)) => "UnsupportedError",
        Root::Arrow(ArrowError::MemoryError(_)) => "MemoryLimitError",
        Root::Arrow(ArrowError::ArithmeticOverflow(_)) => "ValueOverflowError",
        Root::Arrow(_) => "QueryError",
        Root::Engine(error) => match error {
            DataFusionError::NotImplemented(_) => "UnsupportedError",
            DataFusionError::ResourcesExhausted(_) => "MemoryLimitError",
            DataFusionError::Configuration(_) => "OptionError",
            DataFusionError::ObjectStore(_) => "FileError",
            DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => "InternalError",
            _ => "QueryError",
        },
        Root::Other => "InternalError",
    }
}

fn class_of_io(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "MissingFileError",
        _ => "FileError",
    }
}

/// No catch-all here: a new variant has to say what it means in Python.
fn class_of_ours(error: &Error) -> &'static str {
    match error {
        Error::Io { source, .. } => class_of_io(source.kind()),
        Error::Framing { .. } | Error::Metadata { .. } => "FormatError",
        Error::Codec { .. } => "DecodeError",
        Error::Unsupported { .. } => "UnsupportedError",
        Error::OutOfBounds { .. } | Error::NoSuch { .. } => "OutOfRangeError",
        Error::HashMismatch { .. } => "HashMismatchError",
        Error::MissingHash { .. } => "MissingHashError",
        Error::Limit { .. } => "LimitError",
        Error::Grid { .. } => "GridError",
        Error::Index { .. } => "IndexFileError",
        Error::Option { .. } => "OptionError",
        Error::Overflow { .. } => "ValueOverflowError",
        _ => "InternalError",
    }
}

/// Where in the data; a file alone has neither message nor object.
fn place_of(error: &Error) -> Option<Place> {
    match error {
        Error::Io { file, .. } | Error::Index { file, .. } => Some(Place::file(file.clone())),
        Error::Framing { at, .. }
        | Error::Metadata { at, .. }
        | Error::Codec { at, .. }
        | Error::Unsupported { at, .. }
        | Error::OutOfBounds { at, .. }
        | Error::NoSuch { at, .. }
        | Error::HashMismatch { at, .. }
        | Error::MissingHash { at }
        | Error::Limit { at, .. } => Some(at.clone()),
        _ => None,
    }
}

fn exception(py: Python<'_>, class: &str, words: &str, ours: Option<&Error>) -> PyResult<PyErr> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("millibar._errors").map(Bound::unbind))?;
    let made = module.bind(py).getattr(class)?.call1((words,))?;
    if let Some(place) = ours.and_then(place_of) {
        made.setattr(intern!(py, "file"), &*place.file)?;
        made.setattr(intern!(py, "message"), place.message)?;
        made.setattr(intern!(py, "object"), place.object)?;
    }
    Ok(PyErr::from_value(made))
}
