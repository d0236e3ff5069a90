//! Expressions over cells, evaluated a tile at a time.
//!
//! ```text
//! Builder -> Program: steps, each a typed register of a tile's cells
//! Block of each input, Segments -> Machine::run -> masks and values -> ChunkReducer -> Accumulators
//! ```
//! A [`Program`] is built once and shared; each worker runs it in a [`Machine`] of its own, whose registers are
//! reused from tile to tile. What is known once for many cells stays so: constants are uniform registers, and
//! a [`Table`] over dims is spread over the cells of a tile by fills and copies, or is uniform itself where a
//! tile lies in one position of its dims. Steps over uniform registers cost one cell.
//!
//! Values and validity are kept apart. A step that can't fail is computed for all cells, valid or not; a step
//! that can fail names the mask of the cells for which it may. Steps that this instruction set lacks are
//! [`Foreign`]: somebody else's functions, called with the cells of a tile.

mod foreign;
mod kernels;
mod lane;
mod load;
mod machine;
mod math;
mod program;
mod table;
#[cfg(test)]
mod tests;

pub use foreign::{Foreign, Input, Tile};
pub use lane::{Data, Kept, Type};
pub use machine::{Fault, Machine, Segment, TILE};
pub use math::{Arith, Compare, Math};
pub use program::{Builder, Check, Node, Program};
pub use table::Table;
