//! Events of the engine become records of Python's `logging`, under the logger `millibar`.
//!
//! ```text
//! engine's threads: event -> queue          Python's threads, whenever they wait for the engine: queue -> records
//! ```
//! No thread of the engine ever takes the interpreter: whoever holds it may be waiting for just that thread. While
//! the logger has no use for events, the engine doesn't make them.

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Records that wait at most; those after them are counted.
const MOST: usize = 1 << 16;

/// Ours; other crates' events are their own business.
const TARGET: &str = "millibar";

/// The level of the logger as Python numbers it; 0 where it has no use for events.
static LEVEL: AtomicUsize = AtomicUsize::new(0);
static WAITING: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicUsize = AtomicUsize::new(0);
static SENDER: OnceLock<Sender<Entry>> = OnceLock::new();
/// Only taken by threads that hold the interpreter.
static RECEIVER: Mutex<Option<Receiver<Entry>>> = Mutex::new(None);

struct Entry {
    level: usize,
    target: &'static str,
    text: String,
}

/// Python's number of a level; traces are below DEBUG.
fn number(level: &Level) -> usize {
    match *level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

/// To be called once, when the package is imported.
pub(crate) fn install() {
    let (sender, receiver) = channel();
    if SENDER.set(sender).is_ok() {
        *RECEIVER.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
        // Another subscriber is there only if someone else's code in this library set it: then theirs are the events.
        let _ = tracing::subscriber::set_global_default(Bridge);
    }
}

/// Hands over what the engine said so far, and asks the logger what it wants to hear from now on. What handlers raise
/// is reported as Python reports what can't be raised.
///
/// # Errors
/// `KeyboardInterrupt` and what else isn't an `Exception`, where a signal came meanwhile.
pub(crate) fn relay(py: Python<'_>) -> PyResult<()> {
    match try_relay(py) {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        done => done,
    }
}

fn try_relay(py: Python<'_>) -> PyResult<()> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get = || py.import(intern!(py, "logging"))?.getattr(intern!(py, "getLogger"));
    let logger = LOGGER.get_or_try_init(py, || get()?.call1((TARGET,)).map(Bound::unbind))?.bind(py);
    let wanted: usize = logger.call_method0(intern!(py, "getEffectiveLevel"))?.extract()?;
    let wanted = wanted.max(1);
    if LEVEL.swap(wanted, Relaxed) != wanted {
        tracing::callsite::rebuild_interest_cache();
    }
    while WAITING.load(Relaxed) > 0 {
        // Not held while handlers run: they may come back here.
        let next =
            RECEIVER.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|r| r.try_recv().ok());
        let Some(Entry { level, target, text }) = next else { break };
        WAITING.fetch_sub(1, Relaxed);
        get()?.call1((target.replace("::", "."),))?.call_method1(intern!(py, "log"), (level, text))?;
    }
    match LOST.swap(0, Relaxed) {
        0 => Ok(()),
        lost => {
            let said = format!("{lost} records more were lost: they came faster than they were handled");
            logger.call_method1(intern!(py, "warning"), (said,)).map(drop)
        }
    }
}

/// Queues the events that the logger wants.
struct Bridge;

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_event() && metadata.target().starts_with(TARGET) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let wanted = LEVEL.load(Relaxed);
        wanted > 0 && number(metadata.level()) >= wanted
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Relaxed) {
            0 | 41.. => LevelFilter::OFF,
            31.. => LevelFilter::ERROR,
            21.. => LevelFilter::WARN,
            11.. => LevelFilter::INFO,
            6.. => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        if WAITING.fetch_add(1, Relaxed) >= MOST {
            WAITING.fetch_sub(1, Relaxed);
            LOST.fetch_add(1, Relaxed);
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let metadata = event.metadata();
        let entry = Entry { level: number(metadata.level()), target: metadata.target(), text: text.0 };
        if SENDER.get().is_none_or(|sender| sender.send(entry).is_err()) {
            WAITING.fetch_sub(1, Relaxed);
        }
    }

    // No spans are enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message of an event, then its other fields as `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a String can't fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
