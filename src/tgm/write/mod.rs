//! Writing messages: what is encoded already becomes frames.
//!
//! ```text
//! Metadata + (Descriptor, region) per object -> frames -> Write
//!
//! buffered   preamble | metadata, index, hashes | objects            | postamble    all objects at hand
//! streaming  preamble | metadata | [preceder] object ... | metadata, hashes, index | postamble
//! ```
//! A [`Writer`] owns the sink and the position in it. [`Writer::message`] writes a message whose objects are all
//! there; [`Writer::stream`] hands out a [`StreamMessage`] that takes one object after the other and keeps of each
//! no more than its place and hash. Frames are canonical: the same input gives the same bytes, but for the time and
//! the uuid of [`Provenance::Fresh`].

mod frames;
mod metadata;
mod stream;

pub use metadata::{Provenance, provenance};
pub use stream::StreamMessage;

use super::frame::{AMBLE, END_MAGIC, Kind, MAGIC, flags};
use super::{Descriptor, Metadata};
use crate::{Error, Place, Result};
use frames::{Outgoing, hash_body, index_body};
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

/// Where frames stand that repeat what the objects' own frames say: their places, or their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// In the header of a buffered message, in the footer of a streaming one.
    #[default]
    Auto,
    /// Before the objects; not in streaming messages, which don't know them yet.
    Header,
    /// After the objects.
    Footer,
    /// Both; not in streaming messages.
    Both,
    /// Nowhere.
    None,
}

impl Placement {
    fn in_header(self) -> bool {
        matches!(self, Self::Auto | Self::Header | Self::Both)
    }

    fn in_footer(self) -> bool {
        matches!(self, Self::Footer | Self::Both)
    }

    /// Whether a streaming message has the frame in its footer.
    ///
    /// # Errors
    /// [`Error::Option`] where it was to be in the header.
    fn in_stream(self, option: &str) -> Result<bool> {
        match self {
            Self::Auto | Self::Footer => Ok(true),
            Self::None => Ok(false),
            Self::Header | Self::Both => Err(Error::Option {
                option: option.into(),
                value: if self == Self::Both { "both" } else { "header" }.into(),
                expected:
                    "a streaming message knows its objects when its header is written long since: expected \
                           auto, footer or none"
                        .into(),
            }),
        }
    }
}

/// How messages are written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// Whether each frame carries the xxh3-64 of its body.
    pub hashes: bool,
    /// Where the places of the objects stand.
    pub index: Placement,
    /// Where the hashes of all objects stand, if there are any.
    pub hash_frame: Placement,
    /// What a message says of the library that wrote it.
    pub provenance: Provenance,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            hashes: true,
            index: Placement::Auto,
            hash_frame: Placement::Auto,
            provenance: Provenance::Fresh,
        }
    }
}

/// An encoded tensor, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct EncodedObject<'a> {
    /// What the bytes mean.
    pub descriptor: &'a Descriptor,
    /// The payload region: the encoded tensor, then its masks.
    pub region: &'a [u8],
}

/// Writes messages one after the other, to a file or whatever else takes bytes.
///
/// Bytes go to the sink in pieces as small as a frame header: let it be buffered. After an error the sink holds half
/// a message, and nothing more is written to it.
///
/// ```
/// use millibar::tgm::{ByteOrder, DType, Descriptor, EncodedObject, Map, Metadata, WriteOptions, Writer};
///
/// # fn main() -> millibar::Result<()> {
/// let values: Vec<u8> = [1.0f32, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
/// let descriptor = Descriptor {
///     dtype: DType::Float32,
///     shape: vec![3],
///     byte_order: ByteOrder::Little,
///     encoding: "none".into(),
///     filter: "none".into(),
///     compression: "none".into(),
///     masks: vec![],
///     params: Map::new(),
/// };
/// let base = Map::from([("name".to_string(), "t".into())]);
/// let metadata = Metadata { base: vec![base], ..Metadata::default() };
///
/// let mut writer = Writer::new("t.tgm", Vec::new(), WriteOptions::default());
/// writer.message(&metadata, &[EncodedObject { descriptor: &descriptor, region: &values }])?;
/// let bytes = writer.finish()?;
/// assert_eq!(&bytes[..8], b"TENSOGRM");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    out: Out<W>,
    options: WriteOptions,
    /// Messages begun so far.
    messages: u64,
    /// Whether the last message is incomplete.
    torn: bool,
}

impl<W: Write> Writer<W> {
    /// Writes to `sink` from where it stands; `name` is what errors call it.
    pub fn new(name: impl Into<Arc<str>>, sink: W, options: WriteOptions) -> Self {
        let out = Out { sink, file: Place::file(name), written: 0 };
        Self { out, options, messages: 0, torn: false }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.out.written
    }

    /// Writes a message whose objects are all there; returns its bytes, counted from where the sink stood at first.
    ///
    /// `metadata.base` has one map for each object, or fewer: the others get an empty one. `metadata.reserved` is
    /// looked at only with [`Provenance::Given`].
    ///
    /// # Errors
    /// [`Error::Metadata`] for more maps in `base` than objects, for keys that are the library's, and for values
    /// that CBOR can't hold; [`Error::Framing`] for masks outside of their region; [`Error::Io`].
    pub fn message(&mut self, metadata: &Metadata, objects: &[EncodedObject<'_>]) -> Result<Range<u64>> {
        let at = self.begin()?;
        let WriteOptions { hashes, index, hash_frame, .. } = self.options;
        let shapes: Vec<_> =
            objects.iter().map(|o| (o.descriptor.dtype, o.descriptor.shape.as_slice())).collect();
        let reserved = self.options.provenance.reserved(metadata);
        let body = metadata::whole(&metadata.base, &metadata.extra, &reserved, &shapes, &at)?;
        let metadata = Outgoing::new(Kind::HeaderMetadata, &body, hashes);
        let encoded = (0..).zip(objects).map(|(i, object)| frames::descriptor(object, &at.object(i)));
        let encoded: Vec<Vec<u8>> = encoded.collect::<Result<_>>()?;
        let objects: Vec<Outgoing<'_>> =
            objects.iter().zip(&encoded).map(|(o, cbor)| Outgoing::object(o.region, cbor, hashes)).collect();

        let some = !objects.is_empty();
        let digests = (some && hashes).then(|| hash_body(objects.iter().filter_map(|frame| frame.hash)));
        let hash_in = |kind, there: bool| {
            digests.as_deref().filter(|_| there).map(|body| Outgoing::new(kind, body, hashes))
        };
        let header_hash = hash_in(Kind::HeaderHash, hash_frame.in_header());
        let footer_hash = hash_in(Kind::FooterHash, hash_frame.in_footer());

        // The index says where the objects are, and its own length decides that: try until it stays.
        let before = AMBLE + metadata.padded() + header_hash.as_ref().map_or(0, Outgoing::padded);
        let lengths: Vec<(u64, u64)> = objects.iter().map(|frame| (frame.len(), frame.padded())).collect();
        let indexed = |size: u64| index_body(&places(before + size, &lengths));
        let (mut first, mut index_bytes) = (before, None);
        if some && index.in_header() {
            let mut size = 0;
            index_bytes = Some(loop {
                let body = indexed(size);
                let needed = Outgoing::new(Kind::HeaderIndex, &body, false).padded();
                if needed == size {
                    break body;
                }
                size = needed; // never less than before: offsets only grow
            });
            first = before + size;
        }
        let footer_bytes = (some && index.in_footer()).then(|| index_body(&places(first, &lengths)));
        let header_index = index_bytes.as_deref().map(|body| Outgoing::new(Kind::HeaderIndex, body, hashes));
        let footer_index = footer_bytes.as_deref().map(|body| Outgoing::new(Kind::FooterIndex, body, hashes));

        let mut bits = flags::HEADER_METADATA | if hashes { flags::HASHES } else { 0 };
        for (frame, bit) in [
            (&header_index, flags::HEADER_INDEX),
            (&footer_index, flags::FOOTER_INDEX),
            (&header_hash, flags::HEADER_HASH),
            (&footer_hash, flags::FOOTER_HASH),
        ] {
            bits |= if frame.is_some() { bit } else { 0 };
        }
        let footer = first + lengths.iter().map(|(_, padded)| padded).sum::<u64>();
        let footers = [&footer_hash, &footer_index].into_iter().flatten();
        let total = footer + footers.clone().map(Outgoing::padded).sum::<u64>() + AMBLE;

        self.out.preamble(bits, total)?;
        let headers = [Some(&metadata), header_index.as_ref(), header_hash.as_ref()].into_iter().flatten();
        headers.chain(&objects).chain(footers).try_for_each(|frame| self.out.frame(frame))?;
        self.out.postamble(footer, total)?;
        Ok(self.end(total))
    }

    /// Begins a message that takes one object after the other; its length isn't known before its end.
    ///
    /// What `metadata` says already, but for `reserved`, stands in the header; its footer repeats it, with what
    /// preceders add. `metadata.base` may be shorter than the number of objects that come; it may not be longer.
    ///
    /// # Errors
    /// [`Error::Option`] if a frame that says where objects are, or their hashes, was to be in the header;
    /// [`Error::Metadata`] for keys that are the library's; [`Error::Io`].
    pub fn stream(&mut self, metadata: Metadata) -> Result<StreamMessage<'_, W>> {
        let at = self.begin()?;
        StreamMessage::begin(self, metadata, at)
    }

    /// Flushes the sink and gives it back.
    ///
    /// # Errors
    /// [`Error::Framing`] if the last message is incomplete, [`Error::Io`].
    pub fn finish(mut self) -> Result<W> {
        self.check_whole()?;
        self.out.sink.flush().map_err(|e| self.out.failed(e))?;
        Ok(self.out.sink)
    }

    /// The place of the next message, which is incomplete until [`Writer::end`].
    fn begin(&mut self) -> Result<Place> {
        self.check_whole()?;
        let at = self.out.file.message(self.messages);
        self.messages += 1;
        self.torn = true;
        Ok(at)
    }

    fn check_whole(&self) -> Result<()> {
        if self.torn {
            let at = self.out.file.message(self.messages.saturating_sub(1));
            return Err(Error::framing(&at, "it was left incomplete, so nothing is written after it"));
        }
        Ok(())
    }

    /// The message of `total` bytes is complete.
    fn end(&mut self, total: u64) -> Range<u64> {
        self.torn = false;
        self.out.written - total..self.out.written
    }
}

/// Place and length of each of the frames that follow each other from `first` on, from their lengths without and
/// with padding.
fn places(first: u64, lengths: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut at = first;
    let place = |&(length, padded): &(u64, u64)| {
        let place = (at, length);
        at += padded;
        place
    };
    lengths.iter().map(place).collect()
}

/// The sink, and how far it is.
#[derive(Debug)]
struct Out<W> {
    sink: W,
    file: Place,
    written: u64,
}

impl<W: Write> Out<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(|e| self.failed(e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(Arc::clone(&self.file.file), error)
    }

    fn preamble(&mut self, flags: u16, total: u64) -> Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(super::scan::VERSION.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(total.to_be_bytes());
        self.put(&bytes)
    }

    fn postamble(&mut self, first_footer: u64, total: u64) -> Result<()> {
        let mut bytes = first_footer.to_be_bytes().to_vec();
        bytes.extend(total.to_be_bytes());
        bytes.extend(END_MAGIC);
        self.put(&bytes)
    }

    /// A frame and its padding.
    fn frame(&mut self, frame: &Outgoing<'_>) -> Result<()> {
        frame.pieces(|piece| self.put(piece))
    }
}
