//! What a query keeps of a grid.

use std::ops::Range;
use std::sync::Arc;

/// The positions kept along one dim, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DimSelection {
    /// Consecutive positions.
    Range(Range<u64>),
    /// Strictly ascending positions that are not all consecutive.
    Indices(Arc<[u64]>),
}

/// What a query keeps of a grid: the product of one [`DimSelection`] for each dim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Outermost dim first.
    pub dims: Vec<DimSelection>,
}
