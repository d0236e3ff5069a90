//! Grid kernels and the states of aggregates.
//!
//! ```text
//! Part x GroupMap -> ChunkReducer --ranges()--> codec --feed(block)--> kernels -> Accumulators -> Reading
//! ```
//! A [`GroupMap`] gives each cell of a grid the number of its group, a sum over independent sets of dims; no
//! cell is ever hashed. A [`ChunkReducer`] cuts decoded blocks of one chunk into stretches whose cells fall
//! into one group, into consecutive groups, or into groups by a code for each cell, and hands each stretch to
//! the kernel for that. [`Accumulators`] hold the states, one for each group, of one variable or expression.

mod accumulators;
mod cell;
mod chunk;
#[cfg(test)]
mod chunk_tests;
mod each;
pub mod expr;
mod groups;
mod kernels;
mod plan;
mod rows;
mod run;
mod state;
mod stats;
#[cfg(test)]
mod stats_tests;
#[cfg(test)]
mod tests;
mod widen;

pub use accumulators::{Accumulators, Moments, NanPolicy, Reading, Sums, Wants};
pub use chunk::ChunkReducer;
pub use groups::{Factor, GroupMap, Localised};
pub use stats::{Answer, Survey, brings_nothing, chunk_stats, joined};
