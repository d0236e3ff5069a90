//! The objects of a dataset as a table, and chunks that are made of its rows when they are read.
//!
//! ```text
//! Objects   sources, kinds (a descriptor that many objects share), records (where each object lies)
//! Chunks    of one variable: for each chunk the number of its record, or a hole
//! ```
//! A record takes 80 bytes and a chunk 4 more, so a million objects fit in 84 MB; a [`Chunk`] with its place,
//! descriptor and pipeline would take ten times that. Descriptors are shared between objects that differ in nothing
//! or only in the parameters of simple packing, which differ from field to field and are part of the record.

use super::Chunk;
use crate::codec::Pipeline;
use crate::source::{Source, Stamp};
use crate::tgm::{self, Descriptor, Limits, Map, Object, Value};
use crate::{Error, Place, Result};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::Xxh3;

/// Parameters of simple packing that differ from field to field.
const REFERENCE: &str = "sp_reference_value";
const BINARY: &str = "sp_binary_scale_factor";

/// Objects up to this number stay made once they were asked for.
const KEPT: usize = 1 << 14;

/// A record that stands for a hole.
const HOLE: u32 = u32::MAX;

/// The objects of a dataset that variables are made of.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) kinds: Vec<Kind>,
    pub(super) records: Vec<Record>,
    limits: Limits,
    /// Chunks made already; empty if there are too many records.
    made: Box<[OnceLock<Arc<Chunk>>]>,
    verified: Verified,
}

/// Which records' frames were hashed and found right: a bit each, kept from the first one on.
#[derive(Debug, Default)]
struct Verified(OnceLock<Box<[AtomicU64]>>);

impl Verified {
    /// The word and bit of `row`, one of `rows`.
    fn bit(&self, row: u32, rows: usize) -> (&AtomicU64, u64) {
        let words = self.0.get_or_init(|| (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        (&words[row as usize / 64], 1 << (row % 64))
    }
}

/// What objects have in common.
#[derive(Debug)]
pub(super) struct Kind {
    /// Without the parameters of [`Record::packing`] if `packed`.
    pub(super) descriptor: Arc<Descriptor>,
    /// Whether records have the parameters of simple packing.
    pub(super) packed: bool,
    /// What the pipeline of the first of them says, or why there is none.
    first: Result<Access>,
}

/// How the elements of objects are come by.
#[derive(Debug, Clone, Copy, Default)]
struct Access {
    seeks: bool,
    grain: u64,
}

impl Access {
    fn of(pipeline: &Pipeline) -> Self {
        Self { seeks: pipeline.seeks(), grain: pipeline.grain() }
    }
}

/// Where an object lies, and what it doesn't share with others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Record {
    pub(super) source: u32,
    pub(super) kind: u32,
    pub(super) message: u64,
    pub(super) object: u32,
    /// First byte and length of the frame.
    pub(super) frame: (u64, u64),
    /// First byte and length of the payload region.
    pub(super) region: (u64, u64),
    pub(super) hash: u64,
    pub(super) hashed: bool,
    /// Reference value and binary scale factor of a packed kind.
    pub(super) packing: (f64, i32),
}

/// What reading a chunk costs, without making it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkFacts {
    /// Number of elements.
    pub elements: u64,
    /// Bytes of its payload region.
    pub bytes: u64,
    /// Whether it can be decoded and a range of it be read without all before; see [`Pipeline::seeks`].
    pub seeks: bool,
    /// Elements that are decoded at least, about, whichever one is asked for; see [`Pipeline::grain`].
    pub grain: u64,
}

/// The chunks of one variable, C order: made when they are asked for, and cheap to clone. Some may be holes, whose
/// cells are missing.
#[derive(Debug, Clone)]
pub struct Chunks {
    objects: Arc<Objects>,
    rows: Arc<[u32]>,
    holes: usize,
    /// Kinds that occur.
    kinds: Arc<[u32]>,
    /// The only record, if there is one only.
    only: Option<u32>,
    identity: Arc<OnceLock<u64>>,
}

impl Kind {
    fn new(descriptor: Arc<Descriptor>, packed: bool, object: &Object, limits: &Limits) -> Self {
        let first = Pipeline::try_new(object, limits).map(|pipeline| Access::of(&pipeline));
        Self { descriptor, packed, first }
    }
}

impl Record {
    fn place(&self, sources: &[Arc<dyn Source>]) -> Place {
        let file = Arc::clone(sources[self.source as usize].name());
        Place { file, message: Some(self.message), object: Some(u64::from(self.object)) }
    }
}

impl Objects {
    /// Objects in these files, of these kinds (whether records have their packing parameters).
    pub(super) fn new(
        sources: Vec<Arc<dyn Source>>,
        kinds: Vec<(Arc<Descriptor>, bool)>,
        records: Vec<Record>,
        limits: &Limits,
    ) -> Self {
        let kind = |(descriptor, packed)| Kind { descriptor, packed, first: Ok(Access::default()) };
        let kinds: Vec<Kind> = kinds.into_iter().map(kind).collect();
        let mut objects = Self {
            sources,
            kinds,
            made: room(records.len()),
            records,
            limits: limits.clone(),
            verified: Verified::default(),
        };
        let mut seen = vec![false; objects.kinds.len()];
        for row in 0..objects.records.len() {
            let record = objects.records[row];
            if !std::mem::replace(&mut seen[record.kind as usize], true) {
                let first = Pipeline::try_new(&objects.object(&record), limits);
                objects.kinds[record.kind as usize].first = first.map(|pipeline| Access::of(&pipeline));
            }
        }
        objects
    }

    /// The object of `record`.
    fn object(&self, record: &Record) -> Object {
        let kind = &self.kinds[record.kind as usize];
        let mut descriptor = Arc::clone(&kind.descriptor);
        if kind.packed {
            let own = Arc::make_mut(&mut descriptor);
            own.params.insert(REFERENCE.into(), Value::Float(record.packing.0));
            own.params.insert(BINARY.into(), record.packing.1.into());
        }
        let span = |(start, len): (u64, u64)| start..start + len;
        Object {
            place: record.place(&self.sources),
            frame: span(record.frame),
            region: span(record.region),
            hash: record.hashed.then_some(record.hash),
            descriptor,
        }
    }

    fn make(&self, row: u32) -> Arc<Chunk> {
        let make = || {
            let record = &self.records[row as usize];
            let object = self.object(record);
            let pipeline = Pipeline::try_new(&object, &self.limits);
            let source = Arc::clone(&self.sources[record.source as usize]);
            Arc::new(Chunk { source, object: Arc::new(object), pipeline })
        };
        match self.made.get(row as usize) {
            Some(kept) => Arc::clone(kept.get_or_init(make)),
            None => make(),
        }
    }

    /// See [`Chunks::verify_once`].
    fn verify_once(&self, row: u32, chunk: &Chunk) -> Result<()> {
        let (word, bit) = self.verified.bit(row, self.records.len());
        if word.load(Ordering::Relaxed) & bit == 0 {
            tgm::verify(&chunk.object, chunk.source.as_ref())?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Collects objects; rows are numbered in the order in which they come.
#[derive(Debug)]
pub(super) struct ObjectsBuilder {
    sources: Vec<Arc<dyn Source>>,
    kinds: Vec<Kind>,
    records: Vec<Record>,
    limits: Limits,
    by_print: HashMap<u64, Vec<u32>>,
    /// Kind of the object before, which is the likeliest.
    last: u32,
}

impl ObjectsBuilder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sources: Vec::new(),
            kinds: Vec::new(),
            records: Vec::new(),
            limits: limits.clone(),
            by_print: HashMap::new(),
            last: 0,
        }
    }

    /// Adds a file; returns its number.
    pub(super) fn source(&mut self, source: &Arc<dyn Source>) -> u32 {
        self.sources.push(Arc::clone(source));
        self.sources.len() as u32 - 1
    }

    /// File, message and object of row `row`.
    pub(super) fn place(&self, row: u32) -> Place {
        self.records[row as usize].place(&self.sources)
    }

    /// Number of the file of row `row`.
    pub(super) fn file_of(&self, row: u32) -> usize {
        self.records[row as usize].source as usize
    }

    /// Adds an object of file `source`; returns its row.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond 2^32 - 2 objects.
    pub(super) fn push(&mut self, source: u32, object: &Object) -> Result<u32> {
        let row = self.records.len() as u32;
        if self.records.len() >= HOLE as usize {
            let (what, limit) = ("number of objects of one dataset", u64::from(HOLE - 1));
            return Err(Error::Limit { at: object.place.clone(), what, got: limit + 1, limit });
        }
        let span = |span: &Range<u64>| (span.start, span.end.saturating_sub(span.start));
        let (kind, packing) = self.kind(object);
        self.records.push(Record {
            source,
            kind,
            message: object.place.message.unwrap_or(0),
            object: object.place.object.unwrap_or(0) as u32,
            frame: span(&object.frame),
            region: span(&object.region),
            hash: object.hash.unwrap_or(0),
            hashed: object.hash.is_some(),
            packing,
        });
        Ok(row)
    }

    /// The kind of `object`, and the parameters of its own.
    fn kind(&mut self, object: &Object) -> (u32, (f64, i32)) {
        let packing = packing(&object.descriptor);
        let same = |kind: &Kind| {
            kind.packed == packing.is_some() && alike(&kind.descriptor, &object.descriptor, kind.packed)
        };
        let own = packing.unwrap_or((0.0, 0));
        if self.kinds.get(self.last as usize).is_some_and(same) {
            return (self.last, own);
        }
        let print = fingerprint(&object.descriptor);
        let candidates = self.by_print.entry(print).or_default();
        if let Some(&kind) = candidates.iter().find(|&&kind| same(&self.kinds[kind as usize])) {
            self.last = kind;
            return (kind, own);
        }
        let mut descriptor = Arc::clone(&object.descriptor);
        if packing.is_some() {
            Arc::make_mut(&mut descriptor).params.retain(|key, _| !is_packing(key));
        }
        self.last = self.kinds.len() as u32;
        candidates.push(self.last);
        self.kinds.push(Kind::new(descriptor, packing.is_some(), object, &self.limits));
        (self.last, own)
    }

    pub(super) fn finish(self) -> Objects {
        let Self { sources, kinds, records, limits, .. } = self;
        let (made, verified) = (room(records.len()), Verified::default());
        Objects { sources, kinds, made, records, limits, verified }
    }
}

/// Room for the chunks of so many records to stay made, unless they are too many.
fn room(records: usize) -> Box<[OnceLock<Arc<Chunk>>]> {
    let kept = if records <= KEPT { records } else { 0 };
    (0..kept).map(|_| OnceLock::new()).collect()
}

/// A number for the state of a file.
fn print_of(stamp: &Stamp) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&stamp.len.to_le_bytes());
    hasher.update(&stamp.modified_ns.to_le_bytes());
    hasher.update(stamp.tag.as_deref().unwrap_or_default().as_bytes());
    hasher.digest()
}

fn is_packing(key: &str) -> bool {
    key == REFERENCE || key == BINARY
}

/// Reference value and binary scale factor, if they are there in the types that a record holds.
fn packing(descriptor: &Descriptor) -> Option<(f64, i32)> {
    let Some(Value::Float(reference)) = descriptor.params.get(REFERENCE) else { return None };
    let binary = descriptor.params.get(BINARY)?.as_integer()?;
    Some((*reference, i32::try_from(binary).ok()?))
}

/// Whether `kind`, which lacks packing parameters if `packed`, and `other` say the same but for those.
fn alike(kind: &Descriptor, other: &Descriptor, packed: bool) -> bool {
    let own = other.params.iter().filter(|(key, _)| !packed || !is_packing(key));
    kind.shape == other.shape
        && kind.dtype == other.dtype
        && kind.byte_order == other.byte_order
        && kind.encoding == other.encoding
        && kind.filter == other.filter
        && kind.compression == other.compression
        && kind.masks == other.masks
        && kind.params.iter().eq(own)
}

/// A number that descriptors of the same kind share.
fn fingerprint(descriptor: &Descriptor) -> u64 {
    fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
        match value {
            Value::Integer(number) => i128::from(*number).hash(hasher),
            Value::Float(number) => number.to_bits().hash(hasher),
            Value::Text(text) => text.hash(hasher),
            Value::Bytes(bytes) => bytes.hash(hasher),
            Value::Bool(truth) => truth.hash(hasher),
            Value::Array(items) => items.iter().for_each(|item| hash_value(item, hasher)),
            other => std::mem::discriminant(other).hash(hasher),
        }
    }
    let mut hasher = DefaultHasher::new();
    let Descriptor { dtype, shape, byte_order, encoding, filter, compression, masks, params } = descriptor;
    (dtype, shape, byte_order, encoding, filter, compression).hash(&mut hasher);
    for mask in masks {
        (mask.kind, &mask.method, mask.offset, mask.length).hash(&mut hasher);
    }
    for (key, value) in params.iter().filter(|(key, _)| !is_packing(key)) {
        key.hash(&mut hasher);
        hash_value(value, &mut hasher);
    }
    hasher.finish()
}

impl Chunks {
    /// The chunks that are backed by these rows of `objects`.
    pub(super) fn new(objects: Arc<Objects>, rows: Vec<Option<u32>>) -> Self {
        let mut seen = vec![false; objects.kinds.len()];
        for row in rows.iter().flatten() {
            seen[objects.records[*row as usize].kind as usize] = true;
        }
        let kinds = (0..).zip(seen).filter_map(|(kind, seen)| seen.then_some(kind)).collect();
        let holes = rows.iter().filter(|row| row.is_none()).count();
        let only = rows.first().copied().flatten().filter(|_| rows.len() == 1);
        let rows = rows.into_iter().map(|row| row.unwrap_or(HOLE)).collect();
        Self { objects, rows, holes, kinds, only, identity: Arc::default() }
    }

    /// No chunks, of the same objects: those of a grid without cells.
    pub(super) fn emptied(self) -> Self {
        Self { rows: Arc::default(), holes: 0, ..self }
    }

    /// Number of chunks, holes included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of holes.
    pub fn holes(&self) -> usize {
        self.holes
    }

    /// The chunk at `chunk` (its position in the grid, C order); `None` for a hole, and beyond the last.
    pub fn get(&self, chunk: u64) -> Option<Arc<Chunk>> {
        self.row(chunk).map(|row| self.objects.make(row))
    }

    /// Checks the stored hash of `chunk`, which is at `index`, unless that was done before: by any clone, or any
    /// variable of the same dataset.
    ///
    /// # Errors
    /// As [`tgm::verify`]; what is wrong is looked at again the next time.
    pub fn verify_once(&self, index: u64, chunk: &Chunk) -> Result<()> {
        match self.row(index) {
            Some(row) => self.objects.verify_once(row, chunk),
            None => Ok(()),
        }
    }

    /// A number for the state that the data is in: of the size, time of modification and tag of the file of each chunk,
    /// and where in it the chunk lies. Paths don't count. The same in every process; computed when first asked for.
    pub fn identity(&self) -> u64 {
        *self.identity.get_or_init(|| {
            let stamps: Vec<u64> =
                self.objects.sources.iter().map(|source| print_of(source.stamp())).collect();
            let mut hasher = Xxh3::new();
            for &row in self.rows.iter() {
                let (stamp, region) = match self.objects.records.get(row as usize) {
                    Some(record) => (stamps[record.source as usize], record.region),
                    None => (0, (u64::MAX, u64::MAX)),
                };
                [stamp, region.0, region.1].iter().for_each(|number| hasher.update(&number.to_le_bytes()));
            }
            hasher.digest()
        })
    }

    /// Whether the files of these chunks still are in the state that is read.
    ///
    /// # Errors
    /// As [`Source::unchanged`], of the first file of which it isn't so.
    pub fn unchanged(&self, chunks: impl Iterator<Item = u64>) -> Result<()> {
        let source = |row: u32| self.objects.records[row as usize].source;
        let mut sources: Vec<u32> = chunks.filter_map(|chunk| self.row(chunk)).map(source).collect();
        sources.sort_unstable();
        sources.dedup();
        sources.into_iter().try_for_each(|source| self.objects.sources[source as usize].unchanged())
    }

    /// What reading that chunk costs; `None` as for [`Chunks::get`].
    pub fn facts(&self, chunk: u64) -> Option<ChunkFacts> {
        let record = &self.objects.records[self.row(chunk)? as usize];
        let kind = &self.objects.kinds[record.kind as usize];
        let elements = kind.descriptor.len();
        // what can't be read fails at once
        let Access { seeks, grain } = kind.first.as_ref().copied().unwrap_or_default();
        Some(ChunkFacts { elements, bytes: record.region.1, seeks, grain })
    }

    /// Whether the bytes of that chunk needn't be fetched; see [`Source::lends`].
    pub fn is_at_hand(&self, chunk: u64) -> bool {
        let source = |row: u32| &self.objects.sources[self.objects.records[row as usize].source as usize];
        self.row(chunk).is_none_or(|row| source(row).lends())
    }

    /// Whether no byte of any of them has to be fetched.
    pub(super) fn all_at_hand(&self) -> bool {
        self.objects.sources.iter().all(|source| source.lends())
    }

    /// Says to the file of that chunk that all of its object will be read soon; see [`Source::will_need`].
    pub fn will_need(&self, chunk: u64) {
        if let Some(row) = self.row(chunk) {
            let record = &self.objects.records[row as usize];
            let (start, len) = record.region;
            self.objects.sources[record.source as usize].will_need(start..start + len);
        }
    }

    /// Each chunk, in C order; holes are `None`.
    pub fn iter(&self) -> impl Iterator<Item = Option<Arc<Chunk>>> + '_ {
        (0..self.rows.len() as u64).map(|chunk| self.get(chunk))
    }

    /// Number of the record of each chunk, in C order; holes are `None`.
    pub(super) fn rows(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        self.rows.iter().map(|&row| (row != HOLE).then_some(row))
    }

    /// Of each kind of object that occurs: the number of elements, and whether all can be read by ranges.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        self.kinds.iter().map(|&kind| {
            let kind = &self.objects.kinds[kind as usize];
            (kind.descriptor.len(), matches!(kind.first, Ok(Access { seeks: true, .. })))
        })
    }

    /// The parameters that the descriptors of all its objects share.
    pub(super) fn params(&self) -> Map {
        if let Some(only) = self.only {
            let object = self.objects.object(&self.objects.records[only as usize]);
            return object.descriptor.params.clone();
        }
        let mut kinds = self.kinds.iter().map(|&kind| &self.objects.kinds[kind as usize].descriptor.params);
        let mut params = kinds.next().cloned().unwrap_or_default();
        kinds.for_each(|other| params.retain(|key, value| other.get(key) == Some(value)));
        params
    }

    /// The first kind's error, of those that occur; what matters is whether metadata can be read at all.
    pub(super) fn errors(&self) -> impl Iterator<Item = &Error> + '_ {
        self.kinds.iter().filter_map(|&kind| self.objects.kinds[kind as usize].first.as_ref().err())
    }

    /// Bytes of the largest payload region of an object that can be decoded.
    pub(super) fn largest_region(&self) -> Option<u64> {
        let records = self.rows.iter().filter_map(|&row| self.objects.records.get(row as usize));
        let readable = records.filter(|record| self.objects.kinds[record.kind as usize].first.is_ok());
        readable.map(|record| record.region.1).max()
    }

    fn row(&self, chunk: u64) -> Option<u32> {
        let row = self.rows.get(usize::try_from(chunk).ok()?)?;
        (*row != HOLE).then_some(*row)
    }
}

/// Chunks put together one by one, as they are.
impl FromIterator<Option<Arc<Chunk>>> for Chunks {
    fn from_iter<T: IntoIterator<Item = Option<Arc<Chunk>>>>(chunks: T) -> Self {
        let mut builder = ObjectsBuilder::new(&Limits::default());
        let mut sources: HashMap<*const (), u32> = HashMap::new();
        let (mut rows, mut made) = (Vec::new(), Vec::new());
        for chunk in chunks {
            rows.push(chunk.and_then(|chunk| {
                let at = Arc::as_ptr(&chunk.source).cast::<()>();
                let source = *sources.entry(at).or_insert_with(|| builder.source(&chunk.source));
                let row = builder.push(source, &chunk.object).ok()?;
                made.push(OnceLock::from(chunk));
                Some(row)
            }));
        }
        let objects = Objects { made: made.into(), ..builder.finish() };
        Self::new(Arc::new(objects), rows)
    }
}
