//! What is wrong with a file, or odd, beyond what a reader trips over.
//!
//! A reader wants the data and believes as little as it can; a check looks at everything that is there: padding,
//! flags, offsets, the content of index and hash frames, the hash of every frame, the form of the CBOR.

use super::ahead::Ahead;
use super::descriptor::strides;
use super::frame::{
    ALIGN, AMBLE, CBOR_AFTER_PAYLOAD, Frame, HASH_PRESENT, Kind, Next, Phase, flags, next_frame,
};
use super::metadata::{BASE, RESERVED};
use super::params::{as_u64, describe};
use super::scan::{Envelope, Scan};
use super::window::{Window, be_u64};
use super::{Limits, Map, Message, Value, canonical, cbor, hash, message, metadata};
use crate::source::Source;
use crate::{Error, Place, Result};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How bad an [`Issue`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Odd, but every reader gets the same out of it.
    Warning,
    /// Broken, or read differently by different readers.
    Error,
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// The file can't be read.
    Io,
    /// Preamble, frames or postamble.
    Framing,
    /// CBOR, metadata or descriptor.
    Metadata,
    /// A payload or a mask can't be decoded.
    Codec,
    /// Sound as far as can be said, but not read by this version.
    Unsupported,
    /// Larger than the limits.
    Limit,
    /// The bytes of a frame don't have the hash that it stores.
    HashMismatch,
    /// A frame has no hash, though it should have one.
    MissingHash,
    /// An index frame that says other places than those where objects are.
    Index,
    /// A hash frame that says other hashes than those of the objects.
    HashFrame,
    /// Bytes between frames that aren't the zeros that align them.
    Padding,
    /// Flags that announce something else than what is there, or reserved bits.
    Flags,
    /// What the postamble says of the footer.
    Postamble,
    /// Bytes of a file that belong to no message.
    Garbage,
    /// Metadata in header and footer that contradict each other.
    Conflict,
    /// CBOR that isn't in its canonical form.
    NotCanonical,
    /// NaN or infinities that no mask announces.
    NonFinite,
}

impl Problem {
    /// A stable name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Framing => "framing",
            Self::Metadata => "metadata",
            Self::Codec => "codec",
            Self::Unsupported => "unsupported",
            Self::Limit => "limit",
            Self::HashMismatch => "hash_mismatch",
            Self::MissingHash => "missing_hash",
            Self::Index => "index",
            Self::HashFrame => "hash_frame",
            Self::Padding => "padding",
            Self::Flags => "flags",
            Self::Postamble => "postamble",
            Self::Garbage => "garbage",
            Self::Conflict => "conflict",
            Self::NotCanonical => "not_canonical",
            Self::NonFinite => "non_finite",
        }
    }
}

/// Something that is wrong with a file, or odd.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing.
    pub problem: Problem,
    /// File, message and object.
    pub at: Place,
    /// What came and what was expected.
    pub what: String,
}

impl Issue {
    /// The issue that an error of reading is.
    pub fn of(error: &Error, file: &Place) -> Self {
        let (problem, at) = match error {
            Error::Framing { at, .. } => (Problem::Framing, at),
            Error::Metadata { at, .. } => (Problem::Metadata, at),
            Error::Codec { at, .. } | Error::OutOfBounds { at, .. } => (Problem::Codec, at),
            Error::Unsupported { at, .. } => (Problem::Unsupported, at),
            Error::Limit { at, .. } => (Problem::Limit, at),
            Error::HashMismatch { at, .. } => (Problem::HashMismatch, at),
            Error::MissingHash { at } => (Problem::MissingHash, at),
            _ => (Problem::Io, file),
        };
        let said = error.to_string();
        let what = said.strip_prefix(&format!("{at}: ")).unwrap_or(&said).to_owned();
        Self { severity: Severity::Error, problem, at: at.clone(), what }
    }

    /// One of severity [`Severity::Error`].
    pub fn error(problem: Problem, at: &Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, problem, at: at.clone(), what: what.into() }
    }

    fn warning(problem: Problem, at: &Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, problem, at: at.clone(), what: what.into() }
    }
}

/// As `warning[padding]: x.tgm, message 3: 5 bytes between frames ...`.
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{severity}[{}]: {}: {}", self.problem.name(), self.at, self.what)
    }
}

/// What is looked at besides structure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    /// The hash of every frame, and what hash frames say.
    pub hashes: bool,
    /// Whether CBOR is in its canonical form.
    pub canonical: bool,
}

/// What a check found of one message.
#[derive(Debug)]
pub struct Checked {
    /// The message, if it can be read.
    pub message: Option<Arc<Message>>,
    /// What is wrong with it.
    pub issues: Vec<Issue>,
    /// Frames whose hash was checked and is right.
    pub verified: u64,
    /// Bytes of the file up to its end.
    pub end: u64,
}

/// Looks at every message of `source` and hands each, in order, to `take`; returns what is wrong between them. No
/// payload is decoded.
///
/// # Errors
/// [`Error::Io`], [`Error::Limit`] for too many broken messages, and what `take` returns.
pub fn check(
    source: &dyn Source,
    limits: &Limits,
    checks: Checks,
    mut take: impl FnMut(Checked) -> Result<()>,
) -> Result<Vec<Issue>> {
    let file = Place::file(Arc::clone(source.name()));
    let mut scan = Scan::new(source, limits.broken_messages);
    let mut ahead = if checks.hashes { Ahead::of_all(source) } else { Ahead::new(source) };
    let mut index = 0;
    let mut issues = Vec::new();
    // Where the last sound message ends; unknown behind a broken one.
    let mut end = Some(0);
    let garbage = |range: Range<u64>, issues: &mut Vec<Issue>| {
        if range.start < range.end {
            let what = format!("bytes {}..{} belong to no message", range.start, range.end);
            issues.push(Issue::warning(Problem::Garbage, &file, what));
        }
    };
    while let Some(found) = scan.next()? {
        let at = file.message(index);
        index += 1;
        let checked = match found {
            Ok(envelope) => {
                if let Some(end) = end {
                    garbage(end..envelope.span.start, &mut issues);
                }
                end = Some(envelope.span.end);
                one(source, &at, envelope, limits, checks)?
            }
            Err(error) => {
                end = None;
                Checked { message: None, issues: vec![Issue::of(&error, &at)], verified: 0, end: 0 }
            }
        };
        if let Some(message) = &checked.message {
            ahead.passed(message);
        }
        take(checked)?;
    }
    if index == 0 {
        let what = format!("no Tensogram message in its {} bytes", source.len());
        return Ok(vec![Issue::error(Problem::Framing, &file, what)]);
    }
    if let Some(end) = end {
        garbage(end..source.len(), &mut issues);
    }
    Ok(issues)
}

/// One message whose ends are known.
fn one(
    source: &dyn Source,
    at: &Place,
    envelope: Envelope,
    limits: &Limits,
    checks: Checks,
) -> Result<Checked> {
    let end = envelope.span.end;
    let window = Window { source, at, end: end - AMBLE };
    let mut check =
        Check { window, limits, checks, start: envelope.span.start, issues: Vec::new(), verified: 0 };
    let parsed = message::parse(source, at, envelope.clone(), limits);
    let walked = check.message(&envelope, parsed.as_ref().ok());
    match (&parsed, &walked) {
        (Err(error @ Error::Io { .. }), _) | (_, Err(error @ Error::Io { .. })) => return Err(error.clone()),
        // What stops the check stops the reader, too; the reader says it best.
        (Err(error), _) => check.issues.push(Issue::of(error, at)),
        (Ok(_), Err(error)) => check.issues.push(Issue::of(error, at)),
        (Ok(_), Ok(())) => {}
    }
    Ok(Checked { message: parsed.ok().map(Arc::new), issues: check.issues, verified: check.verified, end })
}

/// The check of one message.
struct Check<'a> {
    window: Window<'a>,
    limits: &'a Limits,
    checks: Checks,
    /// Where the message starts.
    start: u64,
    issues: Vec<Issue>,
    verified: u64,
}

impl Check<'_> {
    fn message(&mut self, envelope: &Envelope, message: Option<&Message>) -> Result<()> {
        let end = self.window.end;
        let (mut frames, mut objects) = (Vec::new(), 0);
        let mut pos = self.start + AMBLE;
        while let Next::Frame(frame) = next_frame(self.window, pos)? {
            self.gap(pos..frame.span.start)?;
            pos = frame.span.end;
            let at = match frame.kind {
                Kind::Object => self.window.at.object(objects),
                _ => self.window.at.clone(),
            };
            objects += u64::from(frame.kind == Kind::Object);
            self.frame(&frame, &at, envelope.flags)?;
            self.window.source.done_with(frame.span.clone());
            frames.push(frame);
        }
        self.gap(pos..end)?;
        self.flags(envelope.flags, &frames)?;
        self.postamble(&frames)?;
        let Some(message) = message else { return Ok(()) };
        for frame in &frames {
            match frame.kind {
                Kind::HeaderIndex | Kind::FooterIndex => self.index(frame, message)?,
                Kind::HeaderHash | Kind::FooterHash if self.checks.hashes => self.hashes(frame, message)?,
                _ => {}
            }
        }
        self.conflict(&frames)
    }

    fn push(&mut self, issue: Issue) {
        self.issues.push(issue);
    }

    fn warn(&mut self, problem: Problem, what: impl Into<String>) {
        self.push(Issue::warning(problem, self.window.at, what));
    }

    /// The bytes between a frame and what follows it: as many zeros as align it.
    fn gap(&mut self, gap: Range<u64>) -> Result<()> {
        let wanted = (gap.start - self.start).next_multiple_of(ALIGN) - (gap.start - self.start);
        let length = gap.end - gap.start;
        if length != wanted {
            let what = format!("{length} bytes of padding at byte {}, expected {wanted}", gap.start);
            self.warn(Problem::Padding, what);
        }
        if self
            .window
            .find(gap.start, 1, |ahead| (ahead != [0]).then_some(()))?
            .is_some_and(|(pos, ())| pos < gap.end)
        {
            self.warn(
                Problem::Padding,
                format!("the padding at bytes {}..{} isn't zero", gap.start, gap.end),
            );
        }
        Ok(())
    }

    /// The header of a frame, its hash, and the form of its CBOR.
    fn frame(&mut self, frame: &Frame, at: &Place, message_flags: u16) -> Result<()> {
        let header: [u8; 8] = self.window.array(frame.span.start, "frame header")?;
        let flags = u16::from_be_bytes([header[6], header[7]]);
        let known = HASH_PRESENT | if frame.kind == Kind::Object { CBOR_AFTER_PAYLOAD } else { 0 };
        if flags & !known != 0 {
            let what = format!("{} has the flags {flags:#06x}", frame.kind.name());
            self.push(Issue::warning(Problem::Flags, at, what));
        }
        if self.checks.hashes {
            match frame.hash {
                Some(expected) => match hash::verify_body(self.window.source, frame.body(), expected, at) {
                    Ok(()) => self.verified += 1,
                    Err(Error::HashMismatch { expected, actual, .. }) => {
                        let what = format!("{}: stored {expected}, computed {actual}", frame.kind.name());
                        self.push(Issue::error(Problem::HashMismatch, at, what));
                    }
                    Err(other) => return Err(other),
                },
                None if message_flags & flags::HASHES != 0 => {
                    let what = format!("{} has no hash, the message says that all have", frame.kind.name());
                    self.push(Issue::error(Problem::MissingHash, at, what));
                }
                None => {
                    let what = format!("{} has no hash", frame.kind.name());
                    self.push(Issue::warning(Problem::MissingHash, at, what));
                }
            }
        }
        let (bytes, what) = match frame.kind {
            Kind::Object => {
                let last = frame.body().end;
                let start = frame.span.start.saturating_add(frame.cbor_offset);
                let cbor = start.min(last)..last.min(start.saturating_add(self.limits.cbor_bytes));
                (self.window.read(cbor, "descriptor")?, "descriptor")
            }
            _ => {
                cbor::check_size(frame.body().end - frame.body().start, at, self.limits)?;
                (self.window.read(frame.body(), frame.kind.name())?, frame.kind.name())
            }
        };
        let (value, consumed) = cbor::item(&bytes, at, what, self.limits)?;
        let after = bytes.len() as u64 - consumed;
        if after > 0 && (frame.kind != Kind::Object || frame.cbor_after_payload) {
            let what = format!("{what}: {after} bytes after the CBOR");
            self.push(Issue::warning(Problem::Metadata, at, what));
        }
        let canonical =
            || canonical::encode(&value).is_ok_and(|canonical| canonical == bytes[..consumed as usize]);
        if self.checks.canonical && !canonical() {
            let what = format!("{what}: the CBOR isn't in canonical form");
            self.push(Issue::warning(Problem::NotCanonical, at, what));
        }
        if frame.kind == Kind::Object {
            self.layout(&value, at);
        }
        Ok(())
    }

    /// What a descriptor says of its axes besides `shape`, which alone counts.
    fn layout(&mut self, descriptor: &Value, at: &Place) {
        let Value::Map(pairs) = descriptor else { return };
        let get = |key: &str| pairs.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value);
        let numbers = |key| get(key)?.as_array()?.iter().map(as_u64).collect::<Option<Vec<u64>>>();
        let Some(shape) = numbers("shape") else { return };
        let mut wrong = |what: String| self.push(Issue::error(Problem::Metadata, at, what));
        if let Some(ndim) = get("ndim").and_then(as_u64)
            && ndim != shape.len() as u64
        {
            wrong(format!("`ndim` is {ndim}, and `shape` has {} axes", shape.len()));
        }
        if let Some(stored) = numbers("strides") {
            let expected = strides(&shape);
            if stored.len() != shape.len() {
                wrong(format!("`strides` has {} entries, and `shape` {}", stored.len(), shape.len()));
            } else if stored != expected {
                wrong(format!(
                    "`strides` is {stored:?}, and row-major order, in which all is read, has {expected:?}"
                ));
            }
        }
        if let Some(kind) = get("type").filter(|kind| kind.as_text() != Some("ntensor")) {
            self.push(Issue::warning(Problem::Metadata, at, format!("`type` is {}", describe(kind))));
        }
    }

    /// What the preamble announces.
    fn flags(&mut self, message_flags: u16, frames: &[Frame]) -> Result<()> {
        const KINDS: [(Kind, u16); 7] = [
            (Kind::HeaderMetadata, flags::HEADER_METADATA),
            (Kind::FooterMetadata, flags::FOOTER_METADATA),
            (Kind::HeaderIndex, flags::HEADER_INDEX),
            (Kind::FooterIndex, flags::FOOTER_INDEX),
            (Kind::HeaderHash, flags::HEADER_HASH),
            (Kind::FooterHash, flags::FOOTER_HASH),
            (Kind::Preceder, flags::PRECEDERS),
        ];
        let there = |kind| frames.iter().any(|frame| frame.kind == kind);
        let mut known = flags::HASHES;
        for (kind, flag) in KINDS {
            known |= flag;
            // Preceders only may be there, and a stream promises a hash frame before it knows that it has no object.
            let promise = flag != flags::PRECEDERS && (kind != Kind::FooterHash || there(Kind::Object));
            match (there(kind), message_flags & flag != 0) {
                (true, false) => {
                    self.warn(Problem::Flags, format!("there is a {} that no flag announces", kind.name()));
                }
                (false, true) if promise => {
                    self.warn(Problem::Flags, format!("a flag announces a {} that isn't there", kind.name()));
                }
                _ => {}
            }
        }
        if message_flags & !known != 0 {
            self.warn(Problem::Flags, format!("the preamble has the flags {message_flags:#06x}"));
        }
        let reserved: [u8; 4] = self.window.array(self.start + 12, "preamble")?;
        if reserved != [0; 4] {
            self.warn(Problem::Flags, "reserved bytes of the preamble aren't zero");
        }
        Ok(())
    }

    /// Where the postamble says that the footer starts.
    fn postamble(&mut self, frames: &[Frame]) -> Result<()> {
        let whole = Window { end: self.window.end + AMBLE, ..self.window };
        let bytes: [u8; AMBLE as usize] = whole.array(self.window.end, "postamble")?;
        let footer = frames.iter().find(|frame| frame.kind.phase() == Phase::Footer);
        let expected = footer.map_or(self.window.end, |frame| frame.span.start) - self.start;
        let said = be_u64(&bytes, 0);
        if said != expected {
            let what =
                format!("the postamble says that the footer starts at byte {said}, it does at {expected}");
            self.warn(Problem::Postamble, what);
        }
        Ok(())
    }

    fn body(&self, frame: &Frame) -> Result<Map> {
        let bytes = self.window.read(frame.body(), frame.kind.name())?;
        let (value, _) = cbor::item(&bytes, self.window.at, frame.kind.name(), self.limits)?;
        cbor::map(value, self.window.at, frame.kind.name())
    }

    /// The places in an index frame against those of the objects.
    fn index(&mut self, frame: &Frame, message: &Message) -> Result<()> {
        let map = self.body(frame)?;
        let said = |key: &str| super::params::uints(&map, self.window.at, key);
        let (offsets, lengths) = (said("offsets")?.unwrap_or_default(), said("lengths")?.unwrap_or_default());
        let places: Vec<(u64, u64)> = offsets.into_iter().zip(lengths).collect();
        let place = |span: &Range<u64>| (span.start - self.start, span.end - span.start);
        let expected: Vec<_> = message.objects.iter().map(|object| place(&object.frame)).collect();
        if places.len() != expected.len() {
            let what = format!("{} lists {} objects of {}", frame.kind.name(), places.len(), expected.len());
            self.push(Issue::error(Problem::Index, self.window.at, what));
        }
        for (i, (said, is)) in (0..).zip(places.iter().zip(&expected)) {
            if said != is {
                let what = format!(
                    "{} has it at byte {} with {} bytes; it is at {} with {}",
                    frame.kind.name(),
                    said.0,
                    said.1,
                    is.0,
                    is.1
                );
                self.push(Issue::error(Problem::Index, &self.window.at.object(i), what));
            }
        }
        Ok(())
    }

    /// The hashes in a hash frame against those that the objects carry.
    fn hashes(&mut self, frame: &Frame, message: &Message) -> Result<()> {
        let map = self.body(frame)?;
        let name = frame.kind.name();
        if let Some(algorithm) = super::params::text(&map, self.window.at, "algorithm")?
            && algorithm != hash::ALGORITHM
        {
            self.warn(Problem::HashFrame, format!("{name}: unknown algorithm `{algorithm}`"));
            return Ok(());
        }
        let said = map.get("hashes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if said.len() != message.objects.len() {
            let what = format!("{name} has {} hashes for {} objects", said.len(), message.objects.len());
            self.push(Issue::error(Problem::HashFrame, self.window.at, what));
        }
        for (said, object) in said.iter().zip(&message.objects) {
            let Some(is) = object.hash.map(|hash| format!("{hash:016x}")) else { continue };
            if said.as_text() != Some(&is) {
                let what = format!("{name} has {}, and the object's own frame {is}", describe(said));
                self.push(Issue::error(Problem::HashFrame, &object.place, what));
            }
        }
        Ok(())
    }

    /// Keys that header and footer have with different values: readers take one or the other.
    fn conflict(&mut self, frames: &[Frame]) -> Result<()> {
        let of = |kind| frames.iter().rfind(|frame| frame.kind == kind);
        let (Some(header), Some(footer)) = (of(Kind::HeaderMetadata), of(Kind::FooterMetadata)) else {
            return Ok(());
        };
        let parse = |frame: &Frame| {
            let bytes = self.window.read(frame.body(), frame.kind.name())?;
            metadata::parse(&bytes, self.window.at, self.limits)
        };
        let (header, footer) = (parse(header)?, parse(footer)?);
        let differs = |one: &Map, other: &Map| {
            let both = one.iter().filter_map(|(key, value)| Some((key, value, other.get(key)?)));
            both.filter(|(key, one, other)| *key != RESERVED && one != other)
                .map(|(key, ..)| key.clone())
                .next()
        };
        let mut keys: Vec<String> = differs(&header.extra, &footer.extra).into_iter().collect();
        for (i, (one, other)) in header.base.iter().zip(&footer.base).enumerate() {
            keys.extend(differs(one, other).map(|key| format!("{BASE}[{i}].{key}")));
        }
        if let Some(key) = keys.first() {
            self.warn(
                Problem::Conflict,
                format!("`{key}` differs between header and footer; the footer counts"),
            );
        }
        Ok(())
    }
}
