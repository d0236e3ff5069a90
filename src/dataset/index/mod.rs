//! Indexes: a dataset as it was laid out, beside its files, so that opening it again doesn't walk them.
//!
//! ```text
//! Dataset -> Header + columns -> file      written by [`Dataset::write_index`]
//! file -> checked against files and options -> Dataset      read by `open`
//! ```
//! An index holds where every object lies, the descriptors, the coords, the metadata that is common to the objects
//! of a variable, and the statistics of chunks that are known. It is of one list of files, with the labels that
//! their names give, and of the options that decide how they become tables. It is believed only if every file has
//! the size and the time of modification that it had; a file more or less makes it stale, too.

mod coord;
mod file;

use super::location::{Files, Located};
use super::objects::{Chunks, Objects, Record};
use super::stats::VariableStats;
use super::{Dataset, Dim, GridTable, Location, OpenOptions, Variable};
use crate::codec::Verify;
use crate::source::{Address, Bytes, NewFile, Source, Stamp, remote};
use crate::tensor::ChunkGrid;
use crate::tgm::{DType, Descriptor, Limits, Map, Value};
use crate::{Error, Place, Result};
use coord::Labels;
use file::{Column, Columns, Sound};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What indexes end in.
pub(super) const EXTENSION: &str = "mbx";

/// Clocks of file systems step by this much at most, but for those (and servers) that know whole seconds only: a file
/// that was changed less than that ago may change again without a new time.
const CLOCK_STEP: Duration = Duration::from_millis(20);
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// Most labels of a dim without a coordinate.
const POSITIONS: u64 = 1 << 28;

/// Columns of a record, see [`Record`].
const RECORD: usize = 12;

/// Whether an index is used when a location is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IndexUse {
    /// The index beside the files, if it is there and fresh.
    #[default]
    Auto,
    /// None.
    Off,
    /// The index beside the files; an error if it isn't there, or not fresh.
    Require,
    /// This index; an error as for `Require`.
    At(Address),
}

/// What became of the index of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// There is none, or it wasn't wanted.
    Absent,
    /// The dataset was read from this one.
    Used(Address),
    /// It wasn't believed, for this reason: the files were scanned.
    Ignored(Arc<str>),
}

/// What a dataset was made of.
#[derive(Debug)]
pub(super) struct Origin {
    files: Files,
    /// Of each file, as it was read.
    stamps: Vec<Stamp>,
    options: Vec<(String, String)>,
    /// Where the index belongs.
    path: Address,
    objects: Arc<Objects>,
    /// All tables, also those that the option `grid` leaves out.
    tables: Vec<Arc<GridTable>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    options: Vec<(String, String)>,
    /// Dims of file names, with their formats.
    placeholders: Vec<(String, Option<String>)>,
    files: Vec<FileEntry>,
    attributes: Map,
    /// Descriptors, and whether records have their packing parameters.
    kinds: Vec<(Value, bool)>,
    records: u64,
    record_columns: Vec<Column>,
    tables: Vec<TableEntry>,
    /// Coordinates that no table has.
    coords: Vec<DimEntry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileEntry {
    /// Relative to the index, if it lies below.
    name: String,
    labels: Vec<String>,
    len: u64,
    /// Nanoseconds since the Unix epoch.
    modified: i64,
    /// What a server calls its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableEntry {
    dims: Vec<DimEntry>,
    variables: Vec<VariableEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DimEntry {
    name: String,
    labels: Labels,
    labelled: bool,
    attributes: Map,
    params: Map,
}

#[derive(Debug, Serialize, Deserialize)]
struct VariableEntry {
    name: String,
    dtype: String,
    attributes: Map,
    chunk_shape: Vec<u64>,
    /// For each chunk the number of its record from 1; 0 for a hole.
    rows: Column,
    statistics: Option<StatsEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StatsEntry {
    /// The chunks that have them, ascending.
    chunks: Column,
    /// As [`VariableStats`] keeps them.
    words: Vec<Column>,
}

/// What became of looking for an index.
pub(super) enum Found {
    /// The dataset, all tables.
    Fresh(Dataset),
    /// The files have to be scanned.
    Not(IndexState),
}

/// The options that decide how files become tables, as far as they aren't the default.
fn key(options: &OpenOptions) -> Vec<(String, String)> {
    let list = |items: &Option<Vec<String>>| items.as_ref().map(|items| items.join(","));
    let patterns: Vec<_> = options.variables.iter().map(|pattern| pattern.text()).collect();
    let said = |yes: bool| yes.then(|| "true".to_string());
    let entries = [
        ("variables", (!patterns.is_empty()).then(|| patterns.join(","))),
        ("variable_key", options.variable_key.clone()),
        ("dim_names", list(&options.dim_names)),
        ("stack", list(&options.stack)),
        ("raw_keys", said(options.raw_keys)),
        ("decode_times", (!options.decode_times).then(|| "false".to_string())),
        ("message_index", options.message_index.map(|index| index.to_string())),
        ("missing", said(options.missing == super::Missing::Null)),
        ("skip_broken", said(options.skip_broken)),
        ("verify_hash", said(options.verify_hash != Verify::Off)),
        ("limits", (options.limits != Limits::default()).then(|| options.limits.to_string())),
    ];
    entries.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}

/// Looks for an index of `files`, which `location` stands for.
///
/// # Errors
/// Where an index is required: [`Error::Index`] and [`Error::Io`] of one that isn't there or can't be believed.
pub(super) fn find(
    location: &Location,
    files: &Files,
    options: &OpenOptions,
    limits: &Limits,
) -> Result<Found> {
    let beside = location.index_path(&key(options));
    let at = match &options.index {
        IndexUse::Off => return Ok(Found::Not(IndexState::Absent)),
        IndexUse::Auto | IndexUse::Require => beside.clone(),
        IndexUse::At(address) => address.clone().with_storage(&options.storage)?,
    };
    let required = options.index != IndexUse::Auto;
    let loaded = file::read(&at).and_then(|bytes| match bytes {
        Some(bytes) => load(&at, bytes, beside, files, options, limits).map(Some),
        None if required => Err(Error::io(at.to_string(), io::ErrorKind::NotFound.into())),
        None => Ok(None),
    });
    match loaded {
        Ok(Some(dataset)) => Ok(Found::Fresh(dataset)),
        Ok(None) => Ok(Found::Not(IndexState::Absent)),
        Err(error) if required => Err(error),
        Err(error) => {
            tracing::warn!("{error}; the files are scanned instead");
            Ok(Found::Not(IndexState::Ignored(error.to_string().into())))
        }
    }
}

impl Origin {
    /// What `dataset` was made of: `files`, in the state in which `objects` has them.
    pub(super) fn new(
        location: &Location,
        files: Files,
        options: &OpenOptions,
        objects: Arc<Objects>,
        tables: Vec<Arc<GridTable>>,
    ) -> Self {
        let stamps = objects.sources.iter().map(|source| source.stamp().clone()).collect();
        let options = key(options);
        let path = location.index_path(&options);
        Self { files, stamps, options, path, objects, tables }
    }
}

/// Name of a file as an index at `index` has it.
fn relative(file: &Address, index: &Address) -> Result<String> {
    let path = match (file, index) {
        (Address::Url(file), Address::Url(index)) => {
            return Ok(file.as_str().strip_prefix(index.folder()).unwrap_or(file.as_str()).into());
        }
        (Address::Url(file), Address::Path(_)) => return Ok(file.to_string()),
        (Address::Path(path), _) => path,
    };
    let folder = index.path().map(|index| index.parent().unwrap_or(Path::new("")));
    let name = match folder.map(|folder| path.strip_prefix(folder)) {
        Some(Ok(below)) if below.is_relative() => below.to_path_buf(),
        _ => std::path::absolute(path).map_err(|e| Error::io(path.to_string_lossy(), e))?,
    };
    name.into_os_string().into_string().map_err(|_| file::broken(index, "a file name isn't Unicode"))
}

fn entry(located: &Located, stamp: &Stamp, index: &Address) -> Result<FileEntry> {
    let modified = stamp.modified_ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    let (name, labels) = (relative(&located.address, index)?, located.labels.clone());
    Ok(FileEntry { name, labels, len: stamp.len, modified, tag: stamp.tag.as_deref().map(Into::into) })
}

fn placeholders(files: &Files) -> Vec<(String, Option<String>)> {
    files.placeholders.iter().map(|dim| (dim.name.clone(), dim.format.clone())).collect()
}

impl Dataset {
    /// Where [`Dataset::write_index`] writes: beside the only file as `<file>.mbx`; in a folder as `index.mbx`; for
    /// anything else, and for options that make other tables, with a number of eight hex digits in the name.
    pub fn index_path(&self) -> &Address {
        &self.origin.path
    }

    /// Writes an index of all of this dataset's tables (also of those that the option `grid` left out), with the
    /// statistics that are known by now, to `path` or where it belongs. The old index stays until the new one is
    /// complete. Returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Index`] if a file has changed since it was opened; [`Error::Io`].
    pub fn write_index(&self, path: Option<&Path>) -> Result<u64> {
        let origin = &*self.origin;
        let given = path.map(Address::from);
        let path = given.as_ref().unwrap_or(&origin.path);
        let io = |e| Error::io(path.to_string(), e);
        settle(&origin.stamps);
        for (now, stamp) in origin.files.open_anew()?.iter().zip(&origin.stamps) {
            if now.stamp() != stamp {
                let name = now.name();
                return Err(file::broken(path, format!("{name} has changed since it was opened")));
            }
        }
        let files = origin.files.files.iter().zip(&origin.stamps);
        let files = files.map(|(located, stamp)| entry(located, stamp, path)).collect::<Result<_>>()?;
        let mut columns = Columns::default();
        let objects = &origin.objects;
        let record_columns = record_columns(&objects.records, &mut columns).map_err(io)?;
        let tables = origin.tables.iter().map(|table| table_entry(table, &mut columns));
        let tables = tables.collect::<io::Result<_>>().map_err(io)?;
        let coords = self.coords.iter().map(|dim| dim_entry(dim, &mut columns));
        let coords = coords.collect::<io::Result<_>>().map_err(io)?;
        let header = Header {
            options: origin.options.clone(),
            placeholders: placeholders(&origin.files),
            files,
            attributes: self.attributes.clone(),
            kinds: objects.kinds.iter().map(|kind| (kind.descriptor.to_value(), kind.packed)).collect(),
            records: objects.records.len() as u64,
            record_columns,
            tables,
            coords,
        };
        let bytes = columns.finish(&header).map_err(io)?;
        let len = bytes.len() as u64;
        match path {
            Address::Path(path) => {
                let mut file = NewFile::create(path)?;
                file.write_all(&bytes).map_err(|e| Error::io(path.to_string_lossy(), e))?;
                file.commit()?;
            }
            Address::Url(url) => remote::write(url, bytes)?,
        }
        Ok(len)
    }
}

/// Waits until a change of any file would show in its time. (Tags change with the bytes.)
fn settle(stamps: &[Stamp]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
    let step = |stamp: &Stamp| {
        let whole = stamp.modified_ns % 1_000_000_000 == 0;
        let step = if whole { WHOLE_SECOND } else { CLOCK_STEP };
        let recent = (0..step.as_nanos() as i128).contains(&(now - stamp.modified_ns));
        if recent && stamp.tag.is_none() { step } else { Duration::ZERO }
    };
    let wait = stamps.iter().map(step).max().unwrap_or_default();
    if !wait.is_zero() {
        std::thread::sleep(wait);
    }
}

fn record_columns(records: &[Record], columns: &mut Columns) -> io::Result<Vec<Column>> {
    let of: [fn(&Record) -> u64; RECORD] = [
        |record| record.source.into(),
        |record| record.kind.into(),
        |record| record.message,
        |record| record.object.into(),
        |record| record.frame.0,
        |record| record.frame.1,
        |record| record.region.0,
        |record| record.region.1,
        |record| record.hash,
        |record| record.hashed.into(),
        |record| record.packing.0.to_bits(),
        |record| record.packing.1 as u64,
    ];
    of.iter().map(|of| columns.put(&records.iter().map(of).collect::<Vec<_>>())).collect()
}

fn dim_entry(dim: &Dim, columns: &mut Columns) -> io::Result<DimEntry> {
    let Dim { name, coord, labelled, attributes, params } = dim.clone();
    Ok(DimEntry { name, labels: Labels::of(&coord, columns)?, labelled, attributes, params })
}

fn table_entry(table: &GridTable, columns: &mut Columns) -> io::Result<TableEntry> {
    let dims = table.dims.iter().map(|dim| dim_entry(dim, columns)).collect::<io::Result<_>>()?;
    let mut variables = Vec::new();
    for variable in &table.variables {
        let rows: Vec<u64> =
            variable.chunks.rows().map(|row| row.map_or(0, |row| u64::from(row) + 1)).collect();
        variables.push(VariableEntry {
            name: variable.name.clone(),
            dtype: variable.dtype.name().into(),
            attributes: variable.attributes.clone(),
            chunk_shape: variable.grid.chunk_shape().to_vec(),
            rows: columns.put(&rows)?,
            statistics: stats_entry(&variable.stats, columns)?,
        });
    }
    Ok(TableEntry { dims, variables })
}

fn stats_entry(stats: &VariableStats, columns: &mut Columns) -> io::Result<Option<StatsEntry>> {
    let known = (0..stats.chunks()).filter_map(|chunk| Some((chunk, stats.stored(chunk)?)));
    let (chunks, words): (Vec<u64>, Vec<_>) = known.unzip();
    let Some(first) = words.first() else { return Ok(None) };
    let column = |at: usize| words.iter().map(|words| words[at]).collect::<Vec<_>>();
    let count = first.len();
    let chunks = columns.put(&chunks)?;
    let words = (0..count).map(|at| columns.put(&column(at))).collect::<io::Result<_>>()?;
    Ok(Some(StatsEntry { chunks, words }))
}

/// Reads the index at `at`, which has these bytes, if it is of these files, in their present state, and of these options.
fn load(
    at: &Address,
    bytes: Bytes,
    beside: Address,
    files: &Files,
    options: &OpenOptions,
    limits: &Limits,
) -> Result<Dataset> {
    let index: Sound<Header> = Sound::read(at, bytes)?;
    let header = &index.header;
    if header.options != key(options) {
        return Err(index.broken("it was made with other options"));
    }
    if header.placeholders != placeholders(files) || header.files.len() != files.files.len() {
        return Err(index.broken("it is stale: there are other files now"));
    }
    let sources = files.open()?;
    for ((located, source), known) in files.files.iter().zip(&sources).zip(&header.files) {
        if entry(located, source.stamp(), at)? != *known {
            return Err(index.broken(format!("it is stale: {} has changed", located.address)));
        }
    }
    let objects = Arc::new(objects(&index, sources, limits)?);
    let tables = header.tables.iter().map(|entry| table(&index, entry, &objects).map(Arc::new));
    let tables = tables.collect::<Result<Vec<_>>>()?;
    let coords = header.coords.iter().map(|entry| dim(&index, entry)).collect::<Result<_>>()?;
    Ok(Dataset {
        coords,
        attributes: header.attributes.clone(),
        index: IndexState::Used(at.clone()),
        origin: Arc::new(Origin {
            files: files.clone(),
            stamps: objects.sources.iter().map(|source| source.stamp().clone()).collect(),
            options: key(options),
            path: beside,
            objects,
            tables: tables.clone(),
        }),
        tables,
    })
}

fn objects(index: &Sound<Header>, sources: Vec<Arc<dyn Source>>, limits: &Limits) -> Result<Objects> {
    let header = &index.header;
    let at = Place::file(Arc::clone(sources.first().map_or(&Arc::from(""), |source| source.name())));
    let kinds = header.kinds.iter().map(|(value, packed)| {
        let descriptor = Descriptor::from_value(value.clone(), &at)?;
        Ok((Arc::new(descriptor), *packed))
    });
    let kinds: Vec<_> = kinds.collect::<Result<_>>()?;
    let len = usize::try_from(header.records).unwrap_or(usize::MAX);
    let columns = header.record_columns.iter().map(|&column| index.column(column, len));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let [
        source,
        kind,
        message,
        object,
        frame,
        frame_len,
        region,
        region_len,
        hash,
        hashed,
        reference,
        binary,
    ] = columns.as_slice()
    else {
        return Err(index.broken("records have other columns"));
    };
    let mut records = Vec::with_capacity(len);
    for row in 0..len {
        let record = Record {
            source: source[row] as u32,
            kind: kind[row] as u32,
            message: message[row],
            object: object[row] as u32,
            frame: (frame[row], frame_len[row]),
            region: (region[row], region_len[row]),
            hash: hash[row],
            hashed: hashed[row] != 0,
            packing: (f64::from_bits(reference[row]), binary[row] as i32),
        };
        let file = sources.get(record.source as usize).map_or(0, |source| source.len());
        let within = |(start, len): (u64, u64)| start.checked_add(len).is_some_and(|end| end <= file);
        if !within(record.frame) || !within(record.region) || kind[row] >= kinds.len() as u64 {
            return Err(index.broken("a record leaves its file"));
        }
        records.push(record);
    }
    Ok(Objects::new(sources, kinds, records, limits))
}

fn dim(index: &Sound<Header>, entry: &DimEntry) -> Result<Dim> {
    if matches!(entry.labels, Labels::Positions(len) if len > POSITIONS) {
        return Err(index.broken("a dim is too long"));
    }
    let (name, attributes) = (entry.name.clone(), entry.attributes.clone());
    let (coord, params) = (entry.labels.coord(index)?, entry.params.clone());
    Ok(Dim { name, coord, labelled: entry.labelled, attributes, params })
}

fn table(index: &Sound<Header>, entry: &TableEntry, objects: &Arc<Objects>) -> Result<GridTable> {
    let shape: Vec<u64> = entry.dims.iter().map(|dim| dim.labels.len()).collect();
    let dims = entry.dims.iter().map(|entry| dim(index, entry)).collect::<Result<_>>()?;
    let variables = entry.variables.iter().map(|entry| variable(index, entry, &shape, objects));
    Ok(GridTable { dims, variables: variables.collect::<Result<_>>()? })
}

fn variable(
    index: &Sound<Header>,
    entry: &VariableEntry,
    shape: &[u64],
    objects: &Arc<Objects>,
) -> Result<Variable> {
    let Some(dtype) = DType::parse(&entry.dtype) else {
        return Err(index.broken("a variable has an unknown dtype"));
    };
    let grid = ChunkGrid::try_new(shape.to_vec(), entry.chunk_shape.clone())?;
    let elements = entry.chunk_shape.iter().product::<u64>();
    let fits = |row: u64| {
        let record = objects.records.get(row as usize)?;
        let descriptor = &objects.kinds[record.kind as usize].descriptor;
        (descriptor.dtype == dtype && descriptor.len() == elements).then_some(row as u32)
    };
    let mut rows = Vec::new();
    for row in index.column(entry.rows, usize::try_from(grid.chunks()).unwrap_or(usize::MAX))? {
        match row.checked_sub(1).map(fits) {
            Some(None) => return Err(index.broken("an object doesn't fit its grid")),
            Some(found) => rows.push(found),
            None => rows.push(None),
        }
    }
    let stats = Arc::new(VariableStats::new(dtype, grid.chunks()));
    if let Some(known) = &entry.statistics {
        restore(index, known, &stats)?;
    }
    let (name, attributes) = (entry.name.clone(), entry.attributes.clone());
    Ok(Variable { name, dtype, attributes, grid, chunks: Chunks::new(Arc::clone(objects), rows), stats })
}

fn restore(index: &Sound<Header>, entry: &StatsEntry, stats: &VariableStats) -> Result<()> {
    let len = usize::try_from(entry.chunks.len).unwrap_or(usize::MAX);
    let chunks = index.column(entry.chunks, len)?;
    let words = entry.words.iter().map(|&column| index.column(column, len)).collect::<Result<Vec<_>>>()?;
    for (row, &chunk) in chunks.iter().enumerate() {
        let words: Vec<u64> = words.iter().map(|column| column[row]).collect();
        if !<[u64; 7]>::try_from(words).is_ok_and(|words| stats.restore(chunk, words)) {
            return Err(index.broken("statistics don't fit their variable"));
        }
    }
    Ok(())
}
