//! What the buffers of one stream take in the memory pool.

use datafusion::execution::memory_pool::MemoryReservation;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// Buffers that weren't let go yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    buffers: AtomicUsize,
    freed: Notify,
}

impl Held {
    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.buffers.load(Relaxed) > 0
    }

    /// Waits until one is let go.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

/// Memory of one buffer, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    reservation: MemoryReservation,
    held: Arc<Held>,
}

impl Lease {
    pub(super) fn new(reservation: MemoryReservation, held: &Arc<Held>) -> Self {
        held.buffers.fetch_add(1, Relaxed);
        Self { reservation, held: Arc::clone(held) }
    }

    /// The buffer has so many bytes.
    pub(super) fn resize(&self, bytes: usize) {
        self.reservation.resize(bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.reservation.free();
        self.held.buffers.fetch_sub(1, Relaxed);
        self.held.freed.notify_one();
    }
}
