//! From a slab to messages: decoded unit by unit, a few ahead of the client. Cells that lie in mapped files as they
//! are asked for are sent from there.
//!
//! ```text
//! unit      a run of the slab's cells in C order, decoded into one buffer; it cuts through no chunk which has to be
//!           decoded whole, and is short where the slab is, if its cells lie in the file as they are
//! message   rows of the block, about 4 MiB; its values are slices of the buffers of one unit or several
//! ```
//! A message is begun as soon as its first unit is there. What its values cost is said before them if all are there, and
//! else after them. One with validity,
//! which goes before the values and into the header, is made of a unit that is there as a whole. What a buffer takes in
//! the memory pool is given back when its last slice was sent, or dropped with a client that went away.

use super::lease::{Held, Lease};
use super::tensor::{Layout, padded, width};
use super::{Slab, SlabMissing, describe};
use crate::codec::{Values, Verify};
use crate::dataset::read::{ReadOptions, ReadStats};
use crate::dataset::slab;
use crate::engine::external;
use crate::engine::layout;
use crate::engine::stream::{Stop, StopOnDrop};
use crate::flight::grpc::{self, Frames};
use crate::flight::query::{Readers, broken_off};
use crate::flight::status::status_of;
use crate::tensor::{DimSelection, Selection};
use arrow_flight::{FlightData, SchemaAsIpc};
use bytes::Bytes;
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::execution::memory_pool::MemoryConsumer;
use futures::stream::{self, StreamExt};
use serde_json::json;
use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tonic::Status;

/// Units that are begun before their values are asked for, at least.
const AHEAD: usize = 3;

/// Bytes of a unit of a short slab whose cells lie in the file as they are: little enough for the first of a message to be
/// on their way while the others are read.
const PIECE_BYTES: u64 = 512 << 10;

/// Messages of a short slab. In a longer one units are read while messages before them are sent.
const SHORT: u64 = 4;

/// Room for what a message says it cost.
const SAID: usize = 200;

/// The messages of `slab`, the schema first. Nothing is read before the first is taken; dropping the stream stops.
pub(in crate::flight) fn send(slab: Slab, options: ReadOptions, readers: Readers) -> Frames {
    let layout = Layout::new(&slab, &slab.shape());
    let schema = layout.schema(&slab, describe::stream(&slab));
    let schema = FlightData::from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()));
    let sending = Sending::new(slab, layout, options, readers);
    let frames = stream::unfold(Some(sending), |sending| async move {
        let mut sending = sending?;
        let frame = sending.next().await.transpose()?;
        let sending = frame.is_ok().then_some(sending);
        Some((frame, sending))
    });
    stream::iter(grpc::frames(schema).map(Ok)).chain(frames).boxed()
}

/// What all units share.
struct Job {
    slab: Slab,
    layout: Layout,
    options: ReadOptions,
    /// For each unit.
    threads: NonZero<usize>,
    stop: Stop,
}

struct Sending {
    job: Arc<Job>,
    units: layout::Layout,
    /// The next unit to begin.
    next: u64,
    running: VecDeque<JoinHandle<Result<Option<Unit>, Status>>>,
    ready: VecDeque<Bytes>,
    message: Begun,
    readers: Readers,
    ahead: usize,
    held: Arc<Held>,
    _stop: StopOnDrop,
}

/// A unit that was read.
struct Unit {
    /// One after the other; in one piece unless they are lent.
    values: Vec<Bytes>,
    /// Which cells aren't missing; `None` if none is.
    valid: Option<BooleanBuffer>,
    stats: ReadStats,
}

/// The message whose values are on their way.
struct Begun {
    /// Rows that no message has had yet.
    rows: u64,
    /// Bytes of values that the message still lacks; 0 between two messages.
    lacks: usize,
    /// Bytes that fill it up after them.
    fill: usize,
    /// Whether it was begun before all of its values were there, so that what they cost follows them.
    open: bool,
    /// What its values cost.
    stats: ReadStats,
}

impl Begun {
    /// Begins a message, of the next `left` bytes of values and those of the units after them.
    fn begin(&mut self, job: &Job, left: usize) -> Bytes {
        // of the next unit cells may be missing
        let alone = job.slab.missing == SlabMissing::Null;
        let rows = if alone { (left / job.layout.bytes(1)) as u64 } else { self.rows };
        let rows = job.layout.rows_of_message().min(rows);
        let bytes = job.layout.bytes(rows);
        let header = job.layout.header(rows);
        self.rows = self.rows.saturating_sub(rows);
        (self.lacks, self.fill) = (bytes, padded(bytes) - bytes);
        self.open = left < bytes;
        match self.open {
            true => grpc::begun(&header, padded(bytes), grpc::said_len(SAID)),
            false => grpc::complete(&header, about(&std::mem::take(&mut self.stats)), padded(bytes)),
        }
    }

    /// What follows the values of a message.
    fn end(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        let fill = (self.fill > 0).then(|| Bytes::from_static(&[0; 8]).slice(..self.fill));
        let said = self.open.then(|| grpc::said(&about(&std::mem::take(&mut self.stats)), SAID));
        fill.into_iter().chain(said)
    }
}

/// The values of a unit, as the owner of the slices that are sent.
struct Sent {
    values: Values,
    _lease: Lease,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        self.values.as_block().bytes()
    }
}

impl Sending {
    fn new(slab: Slab, layout: Layout, options: ReadOptions, readers: Readers) -> Self {
        let variable = slab.variable();
        let most = layout.most_cells();
        let cells: u64 = slab.shape().iter().product();
        // a hash that is checked is that of a chunk that was read as a whole
        let piecewise = slab.missing == SlabMissing::Nan
            && cells <= SHORT * most
            && options.verify != Verify::FullDecodes
            && variable.is_flat()
            && !slab::lends(variable, &slab.dims);
        let (target, grains) = match piecewise {
            true => ((PIECE_BYTES / width(variable.dtype)).min(most), vec![]),
            false if variable.seeks(most, options.range_threshold) => (most, vec![]),
            false => (most, vec![variable.grid.chunk_shape().to_vec()]),
        };
        let units = layout::Layout::new(Selection::product(slab.dims.clone()), &grains, target);
        let ahead = readers.threads.get().max(AHEAD);
        let alone = if units.units() > 1 { NonZero::<usize>::MIN } else { readers.threads };
        let stop = Stop::default();
        let rows = cells.checked_div(layout.row()).unwrap_or(0);
        let job = Job { slab, layout, options, threads: alone, stop: stop.clone() };
        Self {
            job: Arc::new(job),
            units,
            next: 0,
            running: VecDeque::new(),
            ready: VecDeque::new(),
            message: Begun { rows, lacks: 0, fill: 0, open: false, stats: ReadStats::default() },
            readers,
            ahead,
            held: Arc::default(),
            _stop: stop.on_drop(),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            self.begin()?;
            match self.running.pop_front() {
                Some(task) => {
                    if let Some(unit) = task.await.unwrap_or_else(|e| Err(broken_off(&e)))? {
                        self.take(unit);
                    }
                }
                None if self.next == self.units.units() => return Ok(None),
                // what was sent takes the room that the next unit needs
                None => self.held.freed().await,
            }
        }
    }

    /// Makes frames of a unit.
    fn take(&mut self, unit: Unit) {
        let Self { job, ready, message, .. } = self;
        if let Some(valid) = &unit.valid {
            return ready.extend(job.messages(&unit, valid).into_iter().flat_map(grpc::frames));
        }
        message.stats.add(&unit.stats);
        let mut left: usize = unit.values.iter().map(Bytes::len).sum();
        for mut values in unit.values {
            while !values.is_empty() {
                if message.lacks == 0 {
                    ready.push_back(message.begin(job, left));
                }
                let piece = values.split_to(values.len().min(message.lacks));
                left -= piece.len();
                message.lacks -= piece.len();
                ready.push_back(piece);
                if message.lacks == 0 {
                    ready.extend(message.end());
                }
            }
        }
    }

    /// Begins units as far as they may be ahead, and there is memory for them.
    fn begin(&mut self) -> Result<(), Status> {
        while self.running.len() < self.ahead && self.next < self.units.units() {
            let dims = self.units.selection(&self.units.unit(self.next)).dims;
            let reservation = MemoryConsumer::new("slab").register(&self.readers.memory);
            if let Err(e) = reservation.try_grow(self.job.memory(&dims)) {
                let waits = !self.running.is_empty() || self.held.any();
                return if waits { Ok(()) } else { Err(status_of(&e)) };
            }
            let (job, lease) = (Arc::clone(&self.job), Lease::new(reservation, &self.held));
            self.running.push_back(self.readers.handle.spawn_blocking(move || job.run(&dims, lease)));
            self.next += 1;
        }
        Ok(())
    }
}

impl Job {
    /// Bytes that reading a unit takes: its buffer, and what is decoded apart from it.
    fn memory(&self, dims: &[DimSelection]) -> usize {
        let variable = self.slab.variable();
        let product = |lens: &mut dyn Iterator<Item = u64>| lens.fold(1, u64::saturating_mul);
        let cells = product(&mut dims.iter().map(DimSelection::len));
        let chunk = product(&mut variable.grid.chunk_shape().iter().copied());
        let mut apart = 0;
        if !variable.seeks(cells, self.options.range_threshold) {
            apart += chunk; // decoded whole
        }
        if self.threads.get() > 1 {
            apart += chunk.min(cells); // before it is moved
        }
        let all = cells.saturating_add(apart.saturating_mul(self.threads.get() as u64));
        usize::try_from(all.saturating_mul(width(variable.dtype))).unwrap_or(usize::MAX)
    }

    /// Reads a unit; `None` if nobody wants it any more.
    fn run(&self, dims: &[DimSelection], lease: Lease) -> Result<Option<Unit>, Status> {
        let variable = self.slab.variable();
        if let Some(lent) = self.lent(dims)? {
            return Ok(Some(lent));
        }
        let stop = || self.stop.is_set();
        let read = slab::read(variable, dims, &self.options, self.threads, &stop);
        let Some(slab::Slab { cells, stats }) = read.map_err(|e| status_of(&external(e)))? else {
            return Ok(None);
        };
        tracing::debug!(variable = variable.name, cells = cells.values.len(), ?stats, "read");
        let (values, valid) = match self.slab.missing {
            SlabMissing::Null => {
                let valid = cells.validity(self.options.nan_as_missing);
                (cells.values, valid)
            }
            SlabMissing::Nan => (cells.with_nan().map_err(|_| self.no_nan())?, None),
        };
        lease.resize(values.len() * width(variable.dtype) as usize);
        let values = vec![Bytes::from_owner(Sent { values, _lease: lease })];
        Ok(Some(Unit { values, valid, stats }))
    }

    /// A unit that needn't be read: what is sent are the pages of the files.
    fn lent(&self, dims: &[DimSelection]) -> Result<Option<Unit>, Status> {
        let variable = self.slab.variable();
        let nan = self.options.nan_as_missing && variable.dtype.is_float();
        if nan && self.slab.missing == SlabMissing::Null {
            return Ok(None); // which of them are NaN is said
        }
        let lent = slab::lend(variable, dims, &self.options).map_err(|e| status_of(&external(e)))?;
        let Some(slab::Lent { values, stats }) = lent else { return Ok(None) };
        tracing::debug!(variable = variable.name, pieces = values.len(), ?stats, "lent");
        Ok(Some(Unit { values, valid: None, stats }))
    }

    fn no_nan(&self) -> Status {
        let variable = self.slab.variable();
        let (name, dtype) = (&variable.name, variable.dtype);
        let what =
            format!("cells of `{name}` are missing, and {dtype} has no NaN: ask for \"missing\": \"null\"");
        Status::invalid_argument(what)
    }

    /// The messages of a unit with validity, whole rows each; the first one says what it cost.
    fn messages(&self, unit: &Unit, valid: &BooleanBuffer) -> Vec<FlightData> {
        let width = width(self.slab.variable().dtype) as usize;
        let values: &[u8] = unit.values.first().map_or(&[], |values| values);
        let cells = values.len() / width;
        let row = self.layout.row() as usize;
        let most = self.layout.rows_of_message() as usize * row;
        let message = |start: usize| {
            let len = most.min(cells - start);
            let values = &values[start * width..(start + len) * width];
            self.layout.message((len / row) as u64, values, &valid.slice(start, len))
        };
        let mut messages: Vec<_> = (0..cells).step_by(most).map(message).collect();
        if let Some(first) = messages.first_mut() {
            first.app_metadata = about(&unit.stats).into();
        }
        messages
    }
}

/// What reading took, as messages say it.
fn about(stats: &ReadStats) -> String {
    let decode = &stats.decode;
    json!({
        "objects_opened": stats.objects_opened, "bytes_read": decode.bytes_read, "bytes_decoded": decode.bytes_decoded,
        "ranges_decoded": decode.ranges_decoded, "full_decodes": decode.full_decodes,
    })
    .to_string()
}
