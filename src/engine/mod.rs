//! DataFusion: table providers, scans, pushdown rules, functions, DDL.
//!
//! ```text
//! session   a SessionContext with all of the below
//! config    SET millibar.x = ...
//! ddl       CREATE EXTERNAL TABLE ... STORED AS TENSOGRAM, FROM 'path.tgm'
//! provider  TensorTable: schema, and which filters the scan decides
//! filter    predicates on dims, evaluated on the coords, become a selection
//! labels    literals and joined columns beside Float32 dims
//! nearest   nearest(dim, value): the label nearest to a value
//! named     expressions replaced by others of the same names
//! scan      TensorScanExec: rows in the grid's C order (layout, batches, rows, columns, order)
//! ahead     what will be read, told to files beforehand
//! sieve     predicates that a scan takes from filters, joins and sorts above it
//! verdict   what statistics say of a predicate before cells are read (bounds)
//! sides     which side of a join a cube is on
//! mended    rules that put right what DataFusion's own get wrong
//! aggregate GridAggregateExec: the same cells reduced on the grid, without rows
//! stream    batches made on blocking threads, a step ahead of their consumer
//! statements  scripts, cut into statements and run
//! analyze   ANALYZE TABLE: statistics of chunks, computed at once
//! leaf      what plans without inputs have in common
//! functions std, and sum of integers without overflow
//! metrics   what EXPLAIN ANALYZE shows
//! ```
//! A predicate over dims alone never meets a cell: it is evaluated on the labels, with DataFusion's own
//! expressions, and is then exact. Everything else is evaluated on cells.

pub mod aggregate;
pub mod analyze;
pub mod config;
pub mod ddl;
pub mod heap;
pub mod metrics;
pub mod provider;
pub mod scan;
pub mod session;
pub mod statements;
pub mod types;

mod ahead;
mod batches;
mod bounds;
mod columns;
mod filter;
mod functions;
mod labels;
pub(crate) mod layout;
mod leaf;
mod mended;
mod named;
mod nearest;
mod order;
mod request;
mod rows;
mod sides;
mod sieve;
pub(crate) mod stream;
mod verdict;

pub use config::MillibarConfig;
pub use provider::TensorTable;
pub use scan::TensorScanExec;
pub use session::{configure, memory_pool, register, session_context};

use datafusion::common::DataFusionError;

/// Lifts an error of the layers below; [`crate::Error`] is found again by downcasting the root.
pub fn external(error: crate::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
