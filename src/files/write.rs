//! Files from values.

use super::ordered::ordered;
use super::{UNDER_WAY, cores};
use crate::codec::encode::{Encoded, Encoder, Scratch};
use crate::codec::{Spec, Values};
use crate::tgm::{EncodedObject, Map, Metadata, WriteOptions, Writer};
use crate::{Place, Result};
use std::io::{Seek, Write};
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// What its metadata says: `name`, `units`, ...
    pub base: Map,
    /// How it is encoded.
    pub spec: Spec,
    /// Elements per axis, outermost first.
    pub shape: Vec<u64>,
    /// Its elements in C order, of the dtype that `spec` names.
    pub values: Values,
}

/// Encodes tensors on all cores and writes them, in order, as messages. The same tensors give the same bytes, but for
/// [`Provenance::Fresh`](crate::tgm::Provenance::Fresh).
///
/// ```
/// use millibar::codec::{Compression, Spec, Values};
/// use millibar::files::{FileWriter, Tensor};
/// use millibar::tgm::{DType, Map, WriteOptions};
///
/// # fn main() -> millibar::Result<()> {
/// let spec = Spec { compression: Compression::Zstd { level: None }, ..Spec::new(DType::Float32) };
/// let base = Map::from([("name".to_string(), "t".into())]);
/// let values = Values::Float32(vec![1.0, 2.0, 3.0, 4.0]);
/// let mut writer = FileWriter::new("t.tgm", Vec::new(), WriteOptions::default());
/// writer.message(&Map::new(), vec![Tensor { base, spec, shape: vec![2, 2], values }])?;
/// let bytes: Vec<u8> = writer.finish()?;
/// # assert!(bytes.starts_with(b"TENSOGRM"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileWriter<W> {
    writer: Writer<W>,
    place: Place,
    messages: u64,
    threads: NonZero<usize>,
}

impl<W: Write> FileWriter<W> {
    /// Writes to `sink`; `name` is what errors call it.
    pub fn new(name: impl Into<Arc<str>>, sink: W, options: WriteOptions) -> Self {
        let place = Place::file(name);
        let writer = Writer::new(Arc::clone(&place.file), sink, options);
        Self { writer, place, messages: 0, threads: cores() }
    }

    /// The same, with so many threads.
    #[must_use]
    pub fn with_threads(self, threads: NonZero<usize>) -> Self {
        Self { threads, ..self }
    }

    /// Writes a message of `tensors`, whose encoded bytes are all held until the last is encoded; `extra` is what is
    /// said of all of them. Returns its bytes, counted from where the sink stood at first.
    ///
    /// # Errors
    /// [`Error::Codec`](crate::Error::Codec) for tensors that can't be encoded as their specs say, and those of
    /// [`Writer::message`].
    pub fn message(
        &mut self,
        extra: &Map,
        tensors: impl IntoIterator<Item = Tensor, IntoIter: Send>,
    ) -> Result<Range<u64>> {
        let at = self.begin();
        let (mut base, mut objects) = (Vec::new(), Vec::new());
        encode(self.threads, &at, tensors.into_iter().map(Ok), |keys, encoded| {
            base.push(keys);
            objects.push(encoded);
            Ok(())
        })?;
        let metadata = Metadata { base, extra: extra.clone(), reserved: Map::new() };
        let objects: Vec<_> = objects
            .iter()
            .map(|Encoded { descriptor, region }| EncodedObject { descriptor, region })
            .collect();
        self.writer.message(&metadata, &objects)
    }

    /// Writes a message of as many tensors as `tensors` yields, each as soon as it is encoded: no more than a few
    /// hundred megabytes are held, whatever the length of the message. What is said of each stands before it, in a
    /// preceder, and once more in the footer.
    ///
    /// # Errors
    /// As [`FileWriter::message`], and those that `tensors` yields. The message is incomplete then, and nothing more
    /// can be written.
    pub fn stream(
        &mut self,
        extra: &Map,
        tensors: impl IntoIterator<Item = Result<Tensor>, IntoIter: Send>,
    ) -> Result<Range<u64>>
    where
        W: Seek,
    {
        let at = self.begin();
        let metadata = Metadata { extra: extra.clone(), ..Metadata::default() };
        let mut message = self.writer.stream(metadata)?;
        encode(self.threads, &at, tensors.into_iter(), |keys, encoded| {
            let object = EncodedObject { descriptor: &encoded.descriptor, region: &encoded.region };
            message.object(object, Some(&keys).filter(|keys| !keys.is_empty()))
        })?;
        message.finish_sized()
    }

    /// Flushes the sink and gives it back.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn finish(self) -> Result<W> {
        self.writer.finish()
    }

    fn begin(&mut self) -> Place {
        self.messages += 1;
        self.place.message(self.messages - 1)
    }
}

/// Encodes each tensor and hands it, with its metadata, to `take`, in order.
fn encode(
    threads: NonZero<usize>,
    at: &Place,
    tensors: impl Iterator<Item = Result<Tensor>> + Send,
    mut take: impl FnMut(Map, Encoded) -> Result<()>,
) -> Result<()> {
    ordered(
        threads,
        UNDER_WAY,
        |put| {
            for (index, tensor) in (0..).zip(tensors) {
                let tensor = tensor?;
                let width = tensor.spec.dtype.width().unwrap_or(1);
                let cost = 2 * (tensor.values.len() * width) as u64; // values, and what they become
                put((index, tensor), cost)?;
            }
            Ok(())
        },
        Scratch::default,
        |scratch, (index, tensor)| {
            let Tensor { base, spec, shape, values } = tensor;
            let encoder = Encoder::try_new(at.object(index), &spec, &shape)?;
            Ok((base, encoder.encode(values.as_block(), scratch)?))
        },
        |results| {
            while let Some((base, encoded)) = results.next()? {
                take(base, encoded)?;
            }
            Ok(())
        },
    )
}
