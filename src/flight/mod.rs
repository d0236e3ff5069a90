//! The Arrow Flight and Flight SQL server.
//!
//! ```text
//! descriptor (SQL text, path, Flight SQL command) -> QueryTicket -> plan -> execute -> wire batches -> FlightData
//! ```
//! A ticket holds the statement itself, so any server over the same tables redeems it, any number of times.
//! Each request gets a session of its own over the shared catalog, and statements only read. Queries run on
//! threads of their own, so that decoding never holds up the network; a client that goes away stops its query.

mod parameters;
mod query;
mod serve;
mod service;
mod sql;
mod status;
mod ticket;
mod wire;

pub use serve::{GRACE, serve};
pub use service::FlightServer;
pub(crate) use status::chain;
pub use status::{describe, status_of};
pub use ticket::{QueryTicket, TicketError, VERSION};
