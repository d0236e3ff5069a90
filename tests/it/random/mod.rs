//! Random grids and queries, with a model that answers the queries from plain vectors.
//!
//! ```text
//! rng         a seeded generator
//! grid        random tables: dims, dtypes, chunks, codecs, holes, NaN; as a GridTable and as vectors
//! encode      objects of every pipeline
//! exact       sums, means and deviations as exact as the model's, for plain DataFusion
//! value       SQL values and what comparisons and arithmetic make of them
//! query       random queries from a small grammar, as SQL text and as a tree
//! model       their answers, cell by cell and exact
//! grammar     random statements from a large grammar, as text
//! aggregates  its aggregate calls, and how exact their answers are
//! side        a small table beside the grid, to join with
//! statement   one statement, as Millibar and as plain DataFusion are asked
//! plain       the answers of plain DataFusion, from the same data in memory
//! ```

pub(crate) mod aggregates;
pub(crate) mod encode;
pub(crate) mod exact;
pub(crate) mod grammar;
pub(crate) mod grid;
pub(crate) mod model;
pub(crate) mod plain;
pub(crate) mod query;
pub(crate) mod rng;
pub(crate) mod side;
pub(crate) mod statement;
pub(crate) mod value;
