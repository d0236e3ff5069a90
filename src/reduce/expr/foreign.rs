//! Steps that somebody else computes.

use super::lane::Kept;
use crate::codec::Block;
use arrow::array::ArrayRef;
use std::error::Error;
use std::fmt::Debug;

/// A function of cells that programs don't know, such as an expression of a query engine.
pub trait Foreign: Debug + Send + Sync {
    /// Its values for the kept cells of `tile`, one for each, of the type that the step was declared with (as
    /// Arrow has it).
    ///
    /// # Errors
    /// Whatever keeps it from having them; the program ends with it.
    fn evaluate(&self, tile: &Tile<'_>) -> Result<ArrayRef, Box<dyn Error + Send + Sync>>;
}

/// What a foreign step is called with.
#[derive(Debug)]
pub struct Tile<'a> {
    /// Cells of the tile.
    pub len: usize,
    /// Cells of all inputs of the program.
    pub inputs: &'a [Input<'a>],
    /// Values of the steps that it depends on, one for each cell.
    pub args: &'a [&'a [i32]],
    /// The cells that it is wanted for.
    pub kept: Kept<'a>,
}

/// The cells of an input of a program in one tile.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// One element for each cell; `None` if all are missing.
    pub block: Option<Block<'a>>,
    /// Which cells aren't missing, NaN aside; `None` if none is.
    pub valid: Option<&'a [bool]>,
}
