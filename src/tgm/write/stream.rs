//! Messages whose objects come one after the other.

use super::frames::{self, Outgoing, hash_body, index_body};
use super::{EncodedObject, WriteOptions, Writer, metadata};
use crate::tgm::frame::{AMBLE, Kind, flags};
use crate::tgm::{DType, Map, Metadata};
use crate::{Error, Place, Result};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;

/// A message of a [`Writer`] that isn't complete before [`StreamMessage::finish`] or
/// [`StreamMessage::finish_sized`].
#[derive(Debug)]
pub struct StreamMessage<'w, W> {
    writer: &'w mut Writer<W>,
    at: Place,
    metadata: Metadata,
    /// What the footer says of the objects so far.
    shapes: Vec<(DType, Vec<u64>)>,
    places: Vec<(u64, u64)>,
    hashes: Vec<u64>,
    /// Bytes so far.
    len: u64,
    index: bool,
    hash_frame: bool,
}

impl<'w, W: Write> StreamMessage<'w, W> {
    pub(super) fn begin(writer: &'w mut Writer<W>, metadata: Metadata, at: Place) -> Result<Self> {
        let WriteOptions { hashes, index, hash_frame, .. } = writer.options;
        let (index, hash_frame) = (index.in_stream("index")?, hash_frame.in_stream("hash_frame")? && hashes);
        let mut bits = flags::HEADER_METADATA | flags::FOOTER_METADATA | flags::PRECEDERS;
        for (there, bit) in
            [(index, flags::FOOTER_INDEX), (hash_frame, flags::FOOTER_HASH), (hashes, flags::HASHES)]
        {
            bits |= if there { bit } else { 0 };
        }
        let body = metadata::partial(&metadata.base, &metadata.extra, &at)?;
        writer.out.preamble(bits, 0)?;
        let (shapes, places, hashes) = Default::default();
        let mut message =
            Self { writer, at, metadata, shapes, places, hashes, len: AMBLE, index, hash_frame };
        message.cbor(Kind::HeaderMetadata, &body)?;
        Ok(message)
    }

    /// Writes the next object. Its metadata is what `base` had for it when the message was begun and, before these,
    /// the keys of `preceder`, which stand right before it in the file.
    ///
    /// # Errors
    /// [`Error::Metadata`] for keys that are the library's and values that CBOR can't hold; [`Error::Framing`] for
    /// masks outside of the region; [`Error::Io`].
    pub fn object(&mut self, object: EncodedObject<'_>, preceder: Option<&Map>) -> Result<()> {
        let index = self.shapes.len();
        let cbor = frames::descriptor(&object, &self.at.object(index as u64))?;
        if let Some(keys) = preceder {
            let body = metadata::partial(std::slice::from_ref(keys), &Map::new(), &self.at)?;
            self.cbor(Kind::Preceder, &body)?;
            let base = &mut self.metadata.base;
            base.resize(base.len().max(index + 1), Map::new());
            base[index].extend(keys.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        let frame = Outgoing::object(object.region, &cbor, self.writer.options.hashes);
        self.places.push((self.len, frame.len()));
        self.hashes.extend(frame.hash);
        self.shapes.push((object.descriptor.dtype, object.descriptor.shape.clone()));
        self.frame(&frame)
    }

    /// Completes the message; both its ends say that its length is unknown. Returns its bytes, as
    /// [`Writer::message`] does.
    ///
    /// # Errors
    /// [`Error::Metadata`] if the message was begun with metadata of more objects than came; [`Error::Io`].
    pub fn finish(mut self) -> Result<Range<u64>> {
        let first_footer = self.footers()?;
        let total = self.len + AMBLE;
        self.writer.out.postamble(first_footer, 0)?;
        Ok(self.writer.end(total))
    }

    /// As [`StreamMessage::finish`]; the length of the message is filled in, also at its start.
    ///
    /// # Errors
    /// As [`StreamMessage::finish`].
    pub fn finish_sized(mut self) -> Result<Range<u64>>
    where
        W: Seek,
    {
        /// Where a preamble has the length of its message.
        const LENGTH_AT: u64 = 16;
        let first_footer = self.footers()?;
        let total = self.len + AMBLE;
        let out = &mut self.writer.out;
        out.postamble(first_footer, total)?;
        let back = (total - LENGTH_AT) as i64;
        let mut patch = || {
            out.sink.seek(SeekFrom::Current(-back))?;
            out.sink.write_all(&total.to_be_bytes())?;
            out.sink.seek(SeekFrom::Current(back - size_of_val(&total) as i64))
        };
        patch().map_err(|e| Error::io(self.at.file.clone(), e))?;
        Ok(self.writer.end(total))
    }

    /// Writes metadata, hashes and index; returns where the first of these starts.
    fn footers(&mut self) -> Result<u64> {
        let first = self.len;
        let reserved = self.writer.options.provenance.reserved(&self.metadata);
        let Metadata { base, extra, .. } = &self.metadata;
        let shapes: Vec<_> = self.shapes.iter().map(|(dtype, shape)| (*dtype, shape.as_slice())).collect();
        let body = metadata::whole(base, extra, &reserved, &shapes, &self.at)?;
        self.cbor(Kind::FooterMetadata, &body)?;
        if self.hash_frame && !self.hashes.is_empty() {
            let body = hash_body(self.hashes.iter().copied());
            self.cbor(Kind::FooterHash, &body)?;
        }
        if self.index {
            let body = index_body(&self.places);
            self.cbor(Kind::FooterIndex, &body)?;
        }
        Ok(first)
    }

    fn cbor(&mut self, kind: Kind, body: &[u8]) -> Result<()> {
        let frame = Outgoing::new(kind, body, self.writer.options.hashes);
        self.frame(&frame)
    }

    fn frame(&mut self, frame: &Outgoing<'_>) -> Result<()> {
        self.len += frame.padded();
        self.writer.out.frame(frame)
    }
}
