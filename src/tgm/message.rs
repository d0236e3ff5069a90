//! One message: its frames in order, its metadata and objects.

use super::ahead::tell_objects;
use super::frame::{AMBLE, Frame, HEADER, Kind, Next, Phase, next_frame};
use super::scan::Envelope;
use super::window::Window;
use super::{Descriptor, Limits, Map, Message, Metadata, Object, cbor, descriptor, metadata};
use crate::source::{Bytes, Source};
use crate::{Error, Place, Result};
use std::sync::Arc;

/// Parses the message in `envelope`. Of an object only header, descriptor and footer are read.
///
/// # Errors
/// [`Error::Framing`] and [`Error::Metadata`] as the module's table of rules has them; [`Error::Limit`].
pub(super) fn parse(source: &dyn Source, at: &Place, envelope: Envelope, limits: &Limits) -> Result<Message> {
    let length = envelope.span.end - envelope.span.start;
    within("message size", length, limits.message_bytes, at)?;
    let frames_end = envelope.span.end - AMBLE;
    let window = Window { source, at, end: frames_end };
    let start = envelope.span.start;
    let mut walk = Walk {
        window,
        start,
        limits,
        phase: Phase::Header,
        pending: None,
        indexed: false,
        known: None,
        parts: Parts::default(),
    };
    let mut frames = 0;
    let mut pos = envelope.span.start + AMBLE;
    while let Next::Frame(frame) = next_frame(window, pos)? {
        pos = frame.span.end;
        frames += 1;
        within("number of frames", frames, limits.frames, at)?;
        walk.take(&frame)?;
        source.done_with(frame.span);
    }
    let (metadata, objects) = walk.finish()?;
    Ok(Message { place: at.clone(), span: envelope.span, flags: envelope.flags, metadata, objects })
}

fn within(what: &'static str, got: u64, limit: u64, at: &Place) -> Result<()> {
    if got > limit { Err(Error::Limit { at: at.clone(), what, got, limit }) } else { Ok(()) }
}

/// Bytes behind the first object of a message that are read without knowing where its objects are.
const NEAR: u64 = 64 << 10;

/// What the frames walked so far have given.
#[derive(Default)]
struct Parts {
    /// That of the last metadata frame: a footer's replaces a header's.
    metadata: Option<Metadata>,
    objects: Vec<Arc<Object>>,
    /// Keys of preceders, with the index of their object.
    preceders: Vec<(usize, Map)>,
}

struct Walk<'a> {
    window: Window<'a>,
    /// First byte of the message.
    start: u64,
    limits: &'a Limits,
    phase: Phase,
    /// Keys of a preceder whose object has to come next.
    pending: Option<Map>,
    /// Whether the source was told where objects are, as far as an index says it.
    indexed: bool,
    /// Objects of a message are often described alike.
    known: Option<Known>,
    parts: Parts,
}

/// The descriptor that was parsed last, and the CBOR item that it is.
struct Known {
    item: Bytes,
    descriptor: Arc<Descriptor>,
}

/// The descriptor that `bytes` begin with, and how many of them it takes; parsed, if it isn't the one of before.
///
/// # Errors
/// As [`descriptor::parse`].
fn described(
    bytes: &Bytes,
    known: &mut Option<Known>,
    at: &Place,
    limits: &Limits,
) -> Result<(Arc<Descriptor>, u64)> {
    if let Some(Known { item, descriptor }) = known.as_ref().filter(|known| bytes.starts_with(&known.item)) {
        return Ok((Arc::clone(descriptor), item.len() as u64));
    }
    let (descriptor, consumed) = descriptor::parse(bytes, at, limits)?;
    let descriptor = Arc::new(descriptor);
    *known = Some(Known { item: bytes.slice(..consumed as usize), descriptor: Arc::clone(&descriptor) });
    Ok((descriptor, consumed))
}

impl Walk<'_> {
    fn take(&mut self, frame: &Frame) -> Result<()> {
        let (at, limits) = (self.window.at, self.limits);
        self.check_order(frame)?;
        match frame.kind {
            Kind::HeaderMetadata | Kind::FooterMetadata => {
                self.parts.metadata = Some(metadata::parse(&self.body(frame)?, at, limits)?);
            }
            Kind::HeaderIndex | Kind::FooterIndex => {
                let (offsets, lengths) = metadata::index(&self.body(frame)?, at, limits)?;
                if !std::mem::replace(&mut self.indexed, true) {
                    tell_objects(self.window.source, self.start, &offsets, &lengths);
                }
            }
            Kind::HeaderHash | Kind::FooterHash => metadata::check_hashes(&self.body(frame)?, at, limits)?,
            Kind::Preceder => self.pending = Some(metadata::preceder(&self.body(frame)?, at, limits)?),
            Kind::Object => {
                if !std::mem::replace(&mut self.indexed, true) {
                    self.look_for_index(frame);
                }
                let index = self.parts.objects.len();
                within("number of objects", index as u64 + 1, limits.objects, at)?;
                let object = object(self.window, frame, at.object(index as u64), limits, &mut self.known)?;
                self.parts.preceders.extend(self.pending.take().map(|keys| (index, keys)));
                self.parts.objects.push(Arc::new(object));
            }
        }
        Ok(())
    }

    /// Before the first object of a message without a header index, whose end isn't near: what the footer says of all
    /// of them. Whatever is wrong with it is found when the walk gets there.
    fn look_for_index(&self, first: &Frame) {
        let Window { source, end, .. } = self.window;
        if source.lends() || end - first.span.end.min(end) <= NEAR {
            return;
        }
        let found = || -> Result<()> {
            let said: [u8; 8] = Window { end: end + AMBLE, ..self.window }.array(end, "postamble")?;
            let mut pos = self.start.saturating_add(u64::from_be_bytes(said)).max(first.span.end);
            while let Next::Frame(frame) = next_frame(self.window, pos)? {
                pos = frame.span.end;
                if frame.kind == Kind::FooterIndex {
                    let (offsets, lengths) =
                        metadata::index(&self.body(&frame)?, self.window.at, self.limits)?;
                    tell_objects(source, self.start, &offsets, &lengths);
                    break;
                }
                if frame.kind.phase() != Phase::Footer {
                    break;
                }
            }
            Ok(())
        };
        let _ = found(); // a hint
    }

    /// Phases may not go back, and a preceder stands right before its object.
    fn check_order(&mut self, frame: &Frame) -> Result<()> {
        let bad = |what: String| {
            let what = format!("{} at byte {}: {what}", frame.kind.name(), frame.span.start);
            Err(Error::framing(self.window.at, what))
        };
        if self.pending.is_some() && frame.kind != Kind::Object {
            return bad("a preceder stands before it, an object frame has to follow that".into());
        }
        let phase = frame.kind.phase();
        if phase < self.phase {
            return bad(format!("{phase:?} frame after {:?} frames", self.phase));
        }
        self.phase = phase;
        Ok(())
    }

    fn body(&self, frame: &Frame) -> Result<Bytes> {
        let body = frame.body();
        cbor::check_size(body.end - body.start, self.window.at, self.limits)?;
        self.window.read(body, frame.kind.name())
    }

    /// Metadata with one `base` entry for each object and the preceders' keys, and the objects.
    fn finish(self) -> Result<(Metadata, Vec<Arc<Object>>)> {
        let at = self.window.at;
        if self.pending.is_some() {
            return Err(Error::framing(at, "a preceder has no object frame after it"));
        }
        let Parts { metadata, objects, preceders } = self.parts;
        let mut metadata = metadata.ok_or_else(|| Error::metadata(at, "there is no metadata frame"))?;
        if metadata.base.len() > objects.len() {
            let (entries, objects) = (metadata.base.len(), objects.len());
            let what = format!("`base` has {entries} entries for {objects} objects");
            return Err(Error::metadata(at, what));
        }
        metadata.base.resize(objects.len(), Map::new());
        for (index, keys) in preceders {
            metadata.base[index].extend(keys);
        }
        Ok((metadata, objects))
    }
}

/// The object in `frame`.
fn object(
    window: Window<'_>,
    frame: &Frame,
    at: Place,
    limits: &Limits,
    known: &mut Option<Known>,
) -> Result<Object> {
    let body = frame.body();
    let length = frame.span.end - frame.span.start;
    let (first, last) = (HEADER, body.end - frame.span.start);
    if !(first..=last).contains(&frame.cbor_offset) {
        let what = format!(
            "descriptor offset {} in an object frame of {length} bytes, expected {first} to {last}",
            frame.cbor_offset
        );
        return Err(Error::framing(&at, what));
    }
    let cbor_start = frame.span.start + frame.cbor_offset;
    let (descriptor, region) = if frame.cbor_after_payload {
        cbor::check_size(body.end - cbor_start, &at, limits)?;
        let bytes = window.read(cbor_start..body.end, "descriptor")?;
        (described(&bytes, known, &at, limits)?.0, body.start..cbor_start)
    } else {
        // The descriptor ends where its CBOR item ends; a longer one than the limit allows is cut, and so refused.
        let most = body.end.min(cbor_start.saturating_add(limits.cbor_bytes));
        let bytes = window.read(cbor_start..most, "descriptor")?;
        let (descriptor, consumed) = described(&bytes, known, &at, limits)?;
        (descriptor, cbor_start + consumed..body.end)
    };
    for mask in &descriptor.masks {
        let region_len = region.end - region.start;
        if mask.offset.checked_add(mask.length).is_none_or(|end| end > region_len) {
            let (kind, offset, length) = (mask.kind, mask.offset, mask.length);
            let what = format!(
                "{kind:?} mask of {length} bytes at offset {offset} leaves a payload region of {region_len}"
            );
            return Err(Error::framing(&at, what));
        }
    }
    Ok(Object { place: at, frame: frame.span.clone(), region, hash: frame.hash, descriptor })
}
