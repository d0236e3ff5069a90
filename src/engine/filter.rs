//! Predicates on dims: evaluated on the coords, they become a selection.

use crate::tensor::Selection;
use datafusion::arrow::buffer::BooleanBuffer;
use std::sync::Arc;

/// Cells that a predicate over several dims keeps, where it isn't a product of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellMask {
    /// The dims that it looks at, ascending.
    pub dims: Vec<usize>,
    /// Their lengths.
    pub shape: Vec<u64>,
    /// One bit for each combination of their positions, C order.
    pub keep: BooleanBuffer,
}

/// What the filters of a query keep of a grid: the cells of `product` that every mask keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Positions for each dim.
    pub product: Selection,
    /// Further conditions over several dims.
    pub masks: Arc<[CellMask]>,
}
