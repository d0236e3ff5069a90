//! From a slab to messages: decoded unit by unit, a few ahead of the client.
//!
//! A unit is a run of the slab's cells in C order that cuts through no chunk which has to be decoded whole. Its values
//! are decoded into one buffer, of which the messages are slices. What a buffer takes in the memory pool is given
//! back when its last slice was sent, or dropped with a client that went away.

use super::tensor::{Layout, padded, width};
use super::{Slab, SlabMissing, describe};
use crate::codec::Values;
use crate::dataset::read::{ReadOptions, ReadStats};
use crate::dataset::slab;
use crate::each_dtype;
use crate::engine::external;
use crate::engine::layout;
use crate::engine::stream::{Stop, StopOnDrop};
use crate::flight::query::{Readers, broken_off};
use crate::flight::status::status_of;
use crate::tensor::{DimSelection, Selection};
use arrow_flight::{FlightData, SchemaAsIpc};
use bytes::Bytes;
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::json;
use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::Status;

/// Units that are begun before their messages are asked for, at least.
const AHEAD: usize = 3;

/// The messages of `slab`, the schema first. Nothing is read before the first is taken; dropping the stream stops.
pub(in crate::flight) fn send(
    slab: Slab,
    options: ReadOptions,
    readers: Readers,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let layout = Layout::new(&slab, &slab.shape());
    let schema = layout.schema(&slab, describe::stream(&slab));
    let schema = FlightData::from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()));
    let sending = Sending::new(slab, layout, options, readers);
    let messages = stream::unfold(Some(sending), |sending| async move {
        let mut sending = sending?;
        let message = sending.next().await.transpose()?;
        let sending = message.is_ok().then_some(sending);
        Some((message, sending))
    });
    stream::iter([Ok(schema)]).chain(messages).boxed()
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
    running: VecDeque<JoinHandle<Result<Vec<FlightData>, Status>>>,
    ready: VecDeque<FlightData>,
    readers: Readers,
    ahead: usize,
    held: Arc<Held>,
    _stop: StopOnDrop,
}

/// Buffers that weren't let go yet.
#[derive(Default)]
struct Held {
    buffers: AtomicUsize,
    freed: Notify,
}

/// Memory of one buffer.
struct Lease {
    reservation: MemoryReservation,
    held: Arc<Held>,
}

impl Lease {
    fn new(reservation: MemoryReservation, held: &Arc<Held>) -> Self {
        held.buffers.fetch_add(1, Relaxed);
        Self { reservation, held: Arc::clone(held) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.reservation.free();
        self.held.buffers.fetch_sub(1, Relaxed);
        self.held.freed.notify_one();
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
        let target = layout.most_cells();
        let grain = variable.grid.chunk_shape().to_vec();
        let grains = if variable.seeks(target, options.range_threshold) { vec![] } else { vec![grain] };
        let units = layout::Layout::new(Selection::product(slab.dims.clone()), &grains, target);
        let ahead = readers.threads.get().max(AHEAD);
        let alone = if units.units() > 1 { NonZero::<usize>::MIN } else { readers.threads };
        let stop = Stop::default();
        let job = Job { slab, layout, options, threads: alone, stop: stop.clone() };
        Self {
            job: Arc::new(job),
            units,
            next: 0,
            running: VecDeque::new(),
            ready: VecDeque::new(),
            readers,
            ahead,
            held: Arc::default(),
            _stop: stop.on_drop(),
        }
    }

    async fn next(&mut self) -> Result<Option<FlightData>, Status> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            self.begin()?;
            match self.running.pop_front() {
                Some(task) => self.ready.extend(task.await.unwrap_or_else(|e| Err(broken_off(&e)))?),
                None if self.next == self.units.units() => return Ok(None),
                // what was sent takes the room that the next unit needs
                None => self.held.freed.notified().await,
            }
        }
    }

    /// Begins units as far as they may be ahead, and there is memory for them.
    fn begin(&mut self) -> Result<(), Status> {
        while self.running.len() < self.ahead && self.next < self.units.units() {
            let dims = self.units.selection(&self.units.unit(self.next)).dims;
            let reservation = MemoryConsumer::new("slab").register(&self.readers.memory);
            if let Err(e) = reservation.try_grow(self.job.memory(&dims)) {
                let waits = !self.running.is_empty() || self.held.buffers.load(Relaxed) > 0;
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

    /// Reads a unit and makes its messages.
    fn run(&self, dims: &[DimSelection], lease: Lease) -> Result<Vec<FlightData>, Status> {
        let variable = self.slab.variable();
        let stop = || self.stop.is_set();
        let read = slab::read(variable, dims, &self.options, self.threads, &stop);
        let Some(slab::Slab { cells, stats }) = read.map_err(|e| status_of(&external(e)))? else {
            return Ok(Vec::new());
        };
        tracing::debug!(variable = variable.name, cells = cells.values.len(), ?stats, "read");
        let (values, valid) = match self.slab.missing {
            SlabMissing::Null => {
                let valid = cells.validity(self.options.nan_as_missing);
                (cells.values, valid)
            }
            SlabMissing::Nan => (cells.with_nan().map_err(|_| self.no_nan())?, None),
        };
        lease.reservation.resize(values.len() * width(variable.dtype) as usize);
        let mut messages = self.messages(values, valid.as_ref(), lease);
        if let Some(first) = messages.first_mut() {
            first.app_metadata = about(&stats).into();
        }
        Ok(messages)
    }

    fn no_nan(&self) -> Status {
        let variable = self.slab.variable();
        let (name, dtype) = (&variable.name, variable.dtype);
        let what =
            format!("cells of `{name}` are missing, and {dtype} has no NaN: ask for \"missing\": \"null\"");
        Status::invalid_argument(what)
    }

    /// Messages around slices of `values`, whole rows each.
    fn messages(&self, mut values: Values, valid: Option<&BooleanBuffer>, lease: Lease) -> Vec<FlightData> {
        let width = width(self.slab.variable().dtype) as usize;
        let cells = values.len();
        if padded(cells * width) > cells * width {
            // what fills the last message up
            each_dtype!(Values, &mut values, v => {
                v.reserve_exact(8);
                v.resize(v.len() + 8, Default::default());
            });
        }
        let bytes = Bytes::from_owner(Sent { values, _lease: lease });
        let row = self.layout.row() as usize;
        let most = self.layout.rows_of_message() as usize * row;
        let message = |start: usize| {
            let len = most.min(cells - start);
            let slice = bytes.slice(start * width..start * width + padded(len * width));
            let valid = valid.map(|valid| valid.slice(start, len));
            self.layout.message((len / row) as u64, slice, valid.as_ref())
        };
        (0..cells).step_by(most).map(message).collect()
    }
}

/// What reading took, as the first message of a unit says it.
fn about(stats: &ReadStats) -> String {
    let decode = &stats.decode;
    json!({
        "objects_opened": stats.objects_opened, "bytes_read": decode.bytes_read, "bytes_decoded": decode.bytes_decoded,
        "ranges_decoded": decode.ranges_decoded, "full_decodes": decode.full_decodes,
    })
    .to_string()
}
