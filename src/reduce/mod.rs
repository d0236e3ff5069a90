//! Grid kernels and the states of aggregates.
//!
//! ```text
//! Part x GroupMap -> ChunkReducer --ranges()--> codec --feed(block)--> kernels -> Accumulators -> Reading
//! ```
//! A [`GroupMap`] gives each cell of a grid the number of its group, a sum over independent sets of dims; no
//! cell is ever hashed. A [`ChunkReducer`] cuts decoded blocks of one chunk into stretches whose cells fall
//! into one group, into consecutive groups, or into groups by a code for each cell, and hands each stretch to
//! the kernel for that. What a codec knows to be constant isn't spelt out, and packed integers are reduced before
//! they are scaled, where all cells of a stretch are in one group ([`crate::codec::Piece`]). [`Accumulators`] hold the states, one for each group, of one variable or expression.

mod accumulators;
mod cell;
mod chunk;
#[cfg(test)]
mod chunk_tests;
mod constant;
mod each;
pub mod expr;
#[cfg(test)]
mod forms_tests;
mod groups;
mod kernels;
mod packed;
mod passes;
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
pub use packed::keep_within;
pub use stats::{Answer, Survey, brings_nothing, chunk_stats, joined};
