//! What a file holds, once its frames and metadata are parsed.

use super::ahead::{self, Ahead};
use super::scan::Scan;
use super::{ByteOrder, DType, Limits, message};
use crate::source::Source;
use crate::{Error, Place, Result};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// A CBOR value of the metadata. Keys of inner maps may be of any type; of duplicate keys the last counts.
pub type Value = ciborium::Value;
/// A text-keyed map.
pub type Map = BTreeMap<String, Value>;

/// The messages of one file, in file order.
#[derive(Debug, Clone)]
pub struct File {
    /// Where the bytes are.
    pub source: Arc<dyn Source>,
    /// One entry for each message found; a message that can't be parsed is its error.
    pub messages: Vec<Result<Arc<Message>>>,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// File and message index.
    pub place: Place,
    /// Bytes of the message in the file.
    pub span: Range<u64>,
    /// Preamble flags.
    pub flags: u16,
    /// Message-wide and per-object metadata, preceders merged.
    pub metadata: Metadata,
    /// The tensors, in order.
    pub objects: Vec<Arc<Object>>,
}

/// Metadata of a message. `base` has one map for each object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Per object, without `_reserved_`.
    pub base: Vec<Map>,
    /// Message-wide annotations (`_extra_` and free top-level keys).
    pub extra: Map,
    /// What the writing library says of itself.
    pub reserved: Map,
}

/// One encoded tensor: where its bytes are and how to read them.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// File, message and object.
    pub place: Place,
    /// Bytes of the whole frame in the file.
    pub frame: Range<u64>,
    /// Bytes of the payload region in the file: the encoded tensor, then the masks.
    pub region: Range<u64>,
    /// Stored xxh3-64 of the frame's body, if it has one.
    pub hash: Option<u64>,
    /// What the bytes mean.
    pub descriptor: Arc<Descriptor>,
}

impl Object {
    /// Bytes of the encoded tensor in the file, without masks.
    pub fn payload(&self) -> Range<u64> {
        let masks = self.descriptor.masks.iter().map(|mask| mask.offset).min();
        let len = masks.unwrap_or(self.region.end - self.region.start);
        self.region.start..self.region.start + len
    }
}

/// Descriptor of one object (section 2.3 of the format).
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// Element type.
    pub dtype: DType,
    /// Elements per axis, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Byte order of the encoded elements.
    pub byte_order: ByteOrder,
    /// `none` or `simple_packing`; unknown names fail when the object is read.
    pub encoding: String,
    /// `none` or `shuffle`.
    pub filter: String,
    /// `none`, `zstd`, `lz4`, `blosc2`, `szip`, ...
    pub compression: String,
    /// NaN and Inf masks.
    pub masks: Vec<MaskEntry>,
    /// All other keys: codec parameters and free keys.
    pub params: Map,
}

impl Descriptor {
    /// Number of elements: the product of `shape`, 1 for a scalar. Checked when the descriptor is parsed.
    pub fn len(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pipeline in words, such as `simple_packing(16) + szip`.
    pub fn pipeline(&self) -> String {
        let packing = match self.params.get("sp_bits_per_value").and_then(Value::as_integer) {
            Some(bits) if self.encoding == "simple_packing" => {
                format!("simple_packing({})", i128::from(bits))
            }
            _ => self.encoding.clone(),
        };
        let stages: Vec<_> = [packing, self.filter.clone(), self.compression.clone()]
            .into_iter()
            .filter(|s| s != "none")
            .collect();
        if stages.is_empty() { "none".into() } else { stages.join(" + ") }
    }
}

/// What a mask restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum MaskKind {
    NaN,
    PosInf,
    NegInf,
}

/// Where a mask lies and how it is compressed.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskEntry {
    /// What it restores.
    pub kind: MaskKind,
    /// `none`, `rle`, `roaring`, `lz4`, `zstd` or `blosc2`.
    pub method: String,
    /// First byte, from the start of the payload region.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Parameters of the method.
    pub params: Map,
}

impl File {
    /// Finds and parses every message of `source`. Payloads aren't touched.
    ///
    /// A message that is recognisably there but broken keeps its place in [`File::messages`] as its error.
    ///
    /// # Errors
    /// [`Error::Framing`] if the file holds no message at all, [`Error::Io`] if it can't be read,
    /// [`Error::Limit`] if more messages are broken than the limits allow.
    pub fn open(source: Arc<dyn Source>, limits: &Limits) -> Result<Self> {
        let mut messages = Vec::new();
        Self::each(&*source, limits, |_, message| {
            messages.push(message.map(Arc::new));
            Ok(())
        })?;
        Ok(Self { source, messages })
    }

    /// Hands every message of `source`, with its index, to `take`: for those who don't need them all at once. Returns
    /// how many there are.
    ///
    /// # Errors
    /// As [`File::open`], and what `take` returns.
    pub fn each(
        source: &dyn Source,
        limits: &Limits,
        mut take: impl FnMut(u64, Result<Message>) -> Result<()>,
    ) -> Result<u64> {
        Self::until(source, limits, |index, message| take(index, message).map(ControlFlow::Continue))
    }

    /// As [`File::each`], until `take` breaks off: what comes after is left alone. Returns how many it took.
    ///
    /// # Errors
    /// As [`File::each`].
    pub fn until(
        source: &dyn Source,
        limits: &Limits,
        mut take: impl FnMut(u64, Result<Message>) -> Result<ControlFlow<()>>,
    ) -> Result<u64> {
        let at = Place::file(Arc::clone(source.name()));
        let mut scan = Scan::new(source, limits.broken_messages);
        let mut ahead = Ahead::new(source);
        let mut count = 0;
        while let Some(found) = scan.next()? {
            let parse = |envelope| message::parse(source, &at.message(count), envelope, limits);
            let message = found.and_then(parse);
            match &message {
                Err(error @ Error::Io { .. }) => return Err(error.clone()),
                Err(_) => {}
                Ok(message) => ahead.passed(message),
            }
            let flow = take(count, message)?;
            count += 1;
            if flow.is_break() {
                return Ok(count);
            }
        }
        if count == 0 {
            let what = format!("no Tensogram message in its {} bytes", source.len());
            return Err(Error::framing(&at, what));
        }
        Ok(count)
    }

    /// Says to `source` that it will be opened, so that what this reads first is on its way when its turn comes.
    pub fn will_open(source: &dyn Source) {
        ahead::tell_ends(source);
    }

    /// The message at `index`.
    ///
    /// # Errors
    /// [`Error::NoSuch`] beyond the last one; the message's own error if it can't be parsed.
    pub fn message(&self, index: u64) -> Result<&Arc<Message>> {
        let entry = usize::try_from(index).ok().and_then(|i| self.messages.get(i));
        match entry {
            Some(message) => message.as_ref().map_err(Clone::clone),
            None => Err(Error::NoSuch {
                at: Place::file(Arc::clone(self.source.name())).message(index),
                what: "message",
                count: self.messages.len() as u64,
            }),
        }
    }
}

impl Message {
    /// The object at `index`.
    ///
    /// # Errors
    /// [`Error::NoSuch`] beyond the last one.
    pub fn object(&self, index: u64) -> Result<&Arc<Object>> {
        usize::try_from(index).ok().and_then(|i| self.objects.get(i)).ok_or_else(|| Error::NoSuch {
            at: self.place.object(index),
            what: "object",
            count: self.objects.len() as u64,
        })
    }
}
