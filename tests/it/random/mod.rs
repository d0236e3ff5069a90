//! Random grids and queries, with a model that answers the queries from plain vectors.
//!
//! ```text
//! rng    a seeded generator
//! grid   random tables: dims, dtypes, chunks, codecs, holes, NaN; as a GridTable and as vectors
//! value  SQL values and what comparisons and arithmetic make of them
//! query  random queries from a small grammar, as SQL text and as a tree
//! model  the answers
//! ```

pub(crate) mod grid;
pub(crate) mod model;
pub(crate) mod query;
pub(crate) mod rng;
pub(crate) mod value;
