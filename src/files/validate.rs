//! Whether a file is as it should be.

use super::ordered::ordered;
use super::{Progress, UNDER_WAY, cores, decoded_bytes};
use crate::codec::{Block, DecodeStats, ElementRange, Pipeline, Scratch};
use crate::source::{Bytes, Source};
use crate::tgm::{Checked, Checks, Issue, Limits, Object, Problem, check};
use crate::{Place, Result};
use std::num::NonZero;
use std::sync::Arc;

/// How deep a validation goes; each level has those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Framing, metadata, descriptors, and what index frames, flags and paddings say.
    Structure,
    /// The hash of every frame.
    #[default]
    Checksum,
    /// Every object is decoded and looked through for NaN and infinities that no mask announces; CBOR has to be in
    /// its canonical form.
    Full,
}

/// How a file is validated.
#[derive(Clone, Copy)]
pub struct ValidateOptions<'a> {
    /// How deep.
    pub level: Level,
    /// What is accepted of the file.
    pub limits: &'a Limits,
    /// Threads that decode; all cores where there is no number.
    pub threads: Option<NonZero<usize>>,
    /// Told how many bytes of the file are through.
    pub progress: Progress<'a>,
}

/// Issues of one file that are kept; the others are counted.
const KEPT: usize = 10_000;

/// What a validation found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Messages, broken ones included.
    pub messages: u64,
    /// Objects of those that can be read.
    pub objects: u64,
    /// Frames whose hash was checked and is right.
    pub verified: u64,
    /// Objects that were decoded.
    pub decoded: u64,
    /// What is wrong or odd: of each message in order, then of the file.
    pub issues: Vec<Issue>,
    /// Issues beyond the 10,000 that are listed.
    pub more: u64,
}

impl Report {
    fn add(&mut self, issues: Vec<Issue>) {
        for issue in issues {
            if self.issues.len() < KEPT { self.issues.push(issue) } else { self.more += 1 }
        }
    }
}

/// Validates `source`. That it is broken is no error, but what the report says.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if it can't be read; [`Error::Limit`](crate::Error::Limit) for too many broken
/// messages.
pub fn validate(source: &dyn Source, options: &ValidateOptions<'_>) -> Result<Report> {
    let ValidateOptions { level, limits, threads, progress } = *options;
    let full = level == Level::Full;
    let checks = Checks { hashes: level >= Level::Checksum, canonical: full };
    let mut report = Report::default();
    let mut between = Vec::new();
    ordered(
        threads.unwrap_or_else(cores),
        UNDER_WAY,
        |put| {
            let mut end = 0;
            between = check(source, limits, checks, |checked| {
                let message = checked.message.clone();
                progress(checked.end.saturating_sub(end));
                end = end.max(checked.end);
                put(Job::Message(checked), 0)?;
                let objects = message.iter().filter(|_| full).flat_map(|message| &message.objects);
                for object in objects {
                    put(Job::Object(Arc::clone(object)), decoded_bytes(&object.descriptor))?;
                }
                Ok(())
            })?;
            Ok(())
        },
        Scratch::default,
        |scratch, job| {
            Ok(match job {
                Job::Message(checked) => Done::Message(checked),
                Job::Object(object) => Done::Object(decode(source, &object, limits, scratch)?),
            })
        },
        |results| {
            while let Some(done) = results.next()? {
                match done {
                    Done::Message(checked) => {
                        report.messages += 1;
                        report.objects += checked.message.map_or(0, |message| message.objects.len() as u64);
                        report.verified += checked.verified;
                        report.add(checked.issues);
                    }
                    Done::Object(issues) => {
                        report.decoded += 1;
                        report.add(issues);
                    }
                }
            }
            Ok(())
        },
    )?;
    report.add(between);
    Ok(report)
}

enum Job {
    Message(Checked),
    Object(Arc<Object>),
}

enum Done {
    Message(Checked),
    Object(Vec<Issue>),
}

/// Decodes `object` and says what is wrong with it.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
fn decode(
    source: &dyn Source,
    object: &Arc<Object>,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Vec<Issue>> {
    let region = source.read(object.region.clone())?;
    let found = match non_finite(object, &region, limits, scratch) {
        Ok(None) => Ok(None),
        Ok(found) if object.descriptor.masks.is_empty() => Ok(found),
        // Some, and some are announced: masked elements are zeros, so those that are left without masks aren't.
        Ok(_) => non_finite(&unmasked(object), &region.slice(..bare(object)), limits, scratch),
        Err(error) => Err(error),
    };
    source.done_with(object.region.clone());
    Ok(match found {
        Ok(None) => Vec::new(),
        Ok(Some(NonFinite { first, count })) => {
            let what = format!("{count} elements are NaN or infinite without a mask, the first is {first}");
            vec![Issue::error(Problem::NonFinite, &object.place, what)]
        }
        Err(error) => vec![Issue::of(&error, &Place::file(Arc::clone(source.name())))],
    })
}

/// Bytes of the payload region before the masks.
fn bare(object: &Object) -> usize {
    let payload = object.payload();
    (payload.end - payload.start) as usize
}

/// The object as if it had no masks.
fn unmasked(object: &Object) -> Object {
    let mut descriptor = (*object.descriptor).clone();
    descriptor.masks.clear();
    Object { region: object.payload(), descriptor: Arc::new(descriptor), ..object.clone() }
}

/// Elements that are NaN or infinite.
struct NonFinite {
    first: u64,
    count: u64,
}

/// Decodes all of an object and looks for NaN and infinities.
fn non_finite(
    object: &Object,
    region: &Bytes,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<NonFinite>> {
    let pipeline = Pipeline::try_new(object, limits)?;
    let all = [ElementRange { start: 0, count: pipeline.len() }];
    let mut found: Option<NonFinite> = None;
    pipeline.visit(region, &all, 0.0, scratch, &mut DecodeStats::default(), &mut |start, block| {
        if let Some((first, count)) = in_block(block) {
            let found = found.get_or_insert(NonFinite { first: start + first, count: 0 });
            found.count += count;
        }
        Ok(())
    })?;
    Ok(found)
}

/// The first element of a block that is NaN or infinite, and how many are.
fn in_block(block: Block<'_>) -> Option<(u64, u64)> {
    fn of<T: Copy>(values: &[T], finite: impl Fn(T) -> bool) -> Option<(u64, u64)> {
        let count = values.iter().filter(|value| !finite(**value)).count();
        let first = values.iter().position(|value| !finite(*value))?;
        Some((first as u64, count as u64))
    }
    match block {
        Block::Float16(values) => of(values, half::f16::is_finite),
        Block::BFloat16(values) => of(values, half::bf16::is_finite),
        Block::Float32(values) => of(values, f32::is_finite),
        Block::Float64(values) => of(values, f64::is_finite),
        Block::Complex64(values) => of(values, |value| value.re.is_finite() && value.im.is_finite()),
        Block::Complex128(values) => of(values, |value| value.re.is_finite() && value.im.is_finite()),
        Block::Int8(_) | Block::Int16(_) | Block::Int32(_) | Block::Int64(_) | Block::Bitmask(_) => None,
        Block::UInt8(_) | Block::UInt16(_) | Block::UInt32(_) | Block::UInt64(_) => None,
    }
}
