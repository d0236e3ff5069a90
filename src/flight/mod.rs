//! The Arrow Flight and Flight SQL server.
//!
//! ```text
//! descriptor (SQL text, Flight SQL command) -> QueryTicket  -> plan -> execute -> wire batches -> FlightData
//! descriptor (path, slab request)           -> TensorTicket -> slabs of variables, as tensors  -> FlightData
//! ```
//! A ticket holds what is asked for itself, so any server over the same tables redeems it, any number of times.
//! Each request gets a session of its own over the shared catalog, and statements only read. Queries run on
//! threads of their own, so that decoding never holds up the network; a client that goes away stops its query.

mod grpc;
mod parameters;
mod query;
mod serve;
mod service;
mod slab;
mod sql;
mod status;
mod ticket;
mod wire;

pub use serve::{GRACE, serve};
pub use service::FlightServer;
pub use slab::{Positions, SlabMissing};
pub(crate) use status::chain;
pub use status::{describe, status_of};
pub use ticket::{QueryTicket, SlabTicket, TensorTicket, Ticket, TicketError, VERSION};
