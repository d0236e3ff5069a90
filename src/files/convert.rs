//! The same tensors in another pipeline.

use super::ordered::{Results, ordered};
use super::{Progress, UNDER_WAY, cores, decoded_bytes};
use crate::codec::encode::{Encoder, Scratch as EncodeScratch};
use crate::codec::{DecodeStats, Pipeline, Scratch, Spec};
use crate::source::{Bytes, Source};
use crate::tgm::params::is_codec_key;
use crate::tgm::{self, Descriptor, EncodedObject, File, Limits, Message, WriteOptions, Writer};
use crate::{Error, Result};
use std::io::{Seek, Write};
use std::num::NonZero;
use std::sync::Arc;

/// How messages are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// Buffered where the decoded values of a message take 64 MiB at most, else streaming.
    #[default]
    Auto,
    /// Index and hashes in the header; all of a message is held until it is written.
    Buffered,
    /// Index and hashes in the footer; objects are written as they come.
    Streaming,
}

/// Decoded bytes of a message that is held as a whole.
const HELD: u64 = 64 << 20;

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Its encoded bytes stay as they are.
    Keep,
    /// It is decoded and encoded again. The dtype is the object's own.
    Encode(Spec),
}

/// How a file is converted.
#[derive(Clone, Copy)]
pub struct ConvertOptions<'a> {
    /// What is accepted of the file.
    pub limits: &'a Limits,
    /// How the new one is written.
    pub write: &'a WriteOptions,
    /// How its messages are laid out.
    pub layout: Layout,
    /// What becomes of the object at an index of a message.
    pub choose: &'a (dyn Fn(&Message, usize) -> Result<Choice> + Sync),
    /// Threads that decode and encode; all cores where there is no number.
    pub threads: Option<NonZero<usize>>,
    /// Told how many bytes of the file are through.
    pub progress: Progress<'a>,
}

/// What a conversion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Converted {
    /// Messages written.
    pub messages: u64,
    /// Objects written.
    pub objects: u64,
    /// Those of them that were encoded again.
    pub encoded: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Writes the messages of `source` to `sink`, each object as [`ConvertOptions::choose`] says; gives the sink back.
///
/// Metadata stays, unknown keys of it and of descriptors, too: what preceders say becomes part of `base`, and free
/// keys at the top level part of `_extra_`. Of bytes between messages nothing stays. The stored hash of each object
/// is checked before it is used.
///
/// # Errors
/// Those of reading ([`Error::HashMismatch`] among them: damage isn't written under a new hash), also of a single
/// broken message; of decoding and encoding; and of `sink`.
pub fn convert<W: Write + Seek>(
    source: &dyn Source,
    name: impl Into<Arc<str>>,
    sink: W,
    options: &ConvertOptions<'_>,
) -> Result<(W, Converted)> {
    let mut writer = Writer::new(name, sink, options.write.clone());
    let mut converted = Converted::default();
    ordered(
        options.threads.unwrap_or_else(cores),
        UNDER_WAY,
        |put| produce(source, options, put),
        Workspace::default,
        |workspace, job| workspace.run(source, options.limits, job),
        |results| consume(results, &mut writer, options, &mut converted),
    )?;
    converted.bytes = writer.written();
    Ok((writer.finish()?, converted))
}

/// The beginning of a message, or one of its objects.
struct Job {
    message: Arc<Message>,
    object: Option<(usize, Choice)>,
}

/// What becomes of a job.
enum Done {
    Begin(Arc<Message>),
    Object { descriptor: Descriptor, region: Bytes, encoded: bool },
}

fn produce(
    source: &dyn Source,
    options: &ConvertOptions<'_>,
    put: &mut dyn FnMut(Job, u64) -> Result<()>,
) -> Result<()> {
    File::each(source, options.limits, |_, message| {
        let message = Arc::new(message?);
        put(Job { message: Arc::clone(&message), object: None }, 0)?;
        for (index, object) in message.objects.iter().enumerate() {
            let choice = (options.choose)(&message, index)?;
            let cost = match choice {
                Choice::Keep => object.region.end - object.region.start,
                Choice::Encode(_) => decoded_bytes(&object.descriptor).saturating_mul(2),
            };
            put(Job { message: Arc::clone(&message), object: Some((index, choice)) }, cost)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// What one worker works with.
#[derive(Default)]
struct Workspace {
    decode: Scratch,
    encode: EncodeScratch,
}

impl Workspace {
    fn run(&mut self, source: &dyn Source, limits: &Limits, job: Job) -> Result<Done> {
        let Job { message, object } = job;
        let Some((index, choice)) = object else { return Ok(Done::Begin(message)) };
        let object = &message.objects[index];
        if object.hash.is_some() {
            tgm::verify(object, source)?;
        }
        let region = source.read(object.region.clone())?;
        let Choice::Encode(spec) = choice else {
            let descriptor = Descriptor::clone(&object.descriptor);
            return Ok(Done::Object { descriptor, region, encoded: false });
        };
        let pipeline = Pipeline::try_new(object, limits)?;
        let encoder = Encoder::try_new(object.place.clone(), &spec, &object.descriptor.shape)?;
        let values = pipeline.decode(&region, &mut self.decode, &mut DecodeStats::default())?;
        source.done_with(object.region.clone());
        let mut encoded = encoder.encode(values.as_block(), &mut self.encode)?;
        let free = object.descriptor.params.iter().filter(|(key, _)| !is_codec_key(key));
        encoded.descriptor.params.extend(free.map(|(key, value)| (key.clone(), value.clone())));
        Ok(Done::Object { descriptor: encoded.descriptor, region: encoded.region.into(), encoded: true })
    }
}

/// Writes what comes, message by message.
fn consume<W: Write + Seek>(
    results: &mut Results<'_, Job, Done>,
    writer: &mut Writer<W>,
    options: &ConvertOptions<'_>,
    converted: &mut Converted,
) -> Result<()> {
    while let Some(done) = results.next()? {
        let Done::Begin(message) = done else { continue };
        let mut objects = message.objects.iter();
        // The next object of the message, as it will be; `None` after the last.
        let mut next = || -> Result<Option<(Descriptor, Bytes)>> {
            let Some(original) = objects.next() else { return Ok(None) };
            match results.next()? {
                Some(Done::Object { descriptor, region, encoded }) => {
                    converted.objects += 1;
                    converted.encoded += u64::from(encoded);
                    (options.progress)(original.frame.end - original.frame.start);
                    Ok(Some((descriptor, region)))
                }
                Some(Done::Begin(_)) | None => Err(Error::NoSuch {
                    at: original.place.clone(),
                    what: "object",
                    count: message.objects.len() as u64,
                }),
            }
        };
        let decoded = message.objects.iter().map(|object| decoded_bytes(&object.descriptor));
        let held = decoded.fold(0u64, u64::saturating_add) <= HELD;
        if options.layout == Layout::Buffered || (options.layout == Layout::Auto && held) {
            let mut all = Vec::new();
            while let Some(object) = next()? {
                all.push(object);
            }
            let all: Vec<_> =
                all.iter().map(|(descriptor, region)| EncodedObject { descriptor, region }).collect();
            writer.message(&message.metadata, &all)?;
        } else {
            let mut stream = writer.stream(message.metadata.clone())?;
            while let Some((descriptor, region)) = next()? {
                stream.object(EncodedObject { descriptor: &descriptor, region: &region }, None)?;
            }
            stream.finish_sized()?;
        }
        converted.messages += 1;
    }
    Ok(())
}
