//! The cells of one chunk on their way to accumulators.

use super::{Accumulators, GroupMap};
use crate::Result;
use crate::codec::{Block, ElementRange};
use crate::tensor::Part;

/// Cuts decoded blocks of one chunk into stretches for the kernels of [`Accumulators`].
///
/// ```text
/// let mut reducer = ChunkReducer::new(&part, &groups);
/// reducer.count_rows(&mut rows);                                  // count(*), and which groups exist
/// pipeline.visit(region, reducer.ranges(), .., |first, block| reducer.feed(first, block, None, &mut states))
/// ```
/// One reducer serves any number of variables of the same grid, one after the other.
#[derive(Debug)]
pub struct ChunkReducer {}

impl ChunkReducer {
    /// A reducer of the kept cells of `part` into the groups of `map` (of the whole grid, or localised to this
    /// part or one that contains it).
    pub fn new(part: &Part, map: &GroupMap) -> Self {
        let _ = (part, map);
        unimplemented!()
    }

    /// The element ranges to decode: ascending, disjoint. Exactly the kept cells, but for parts with masks,
    /// where short gaps between kept cells are included; [`ChunkReducer::feed`] drops those again.
    pub fn ranges(&self) -> &[ElementRange] {
        unimplemented!()
    }

    /// Number of elements in [`ChunkReducer::ranges`].
    pub fn elements(&self) -> u64 {
        unimplemented!()
    }

    /// Adds a decoded block that starts at element `first` of the chunk and lies inside one of the ranges.
    /// Where `valid` is given, cells whose entry is false are dropped.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if the block leaves the chunk or doesn't fit `states`.
    pub fn feed(
        &mut self,
        first: u64,
        block: Block<'_>,
        valid: Option<&[bool]>,
        states: &mut Accumulators,
    ) -> Result<()> {
        let _ = (first, block, valid, states);
        unimplemented!()
    }

    /// As [`ChunkReducer::feed`] for values that lie end to end, such as an expression evaluated on decoded
    /// variables: cell `i` belongs to element number `first + i` of the concatenated ranges.
    ///
    /// # Errors
    /// As [`ChunkReducer::feed`]; also if the block goes beyond the last range.
    pub fn feed_compact(
        &mut self,
        first: u64,
        block: Block<'_>,
        valid: Option<&[bool]>,
        states: &mut Accumulators,
    ) -> Result<()> {
        let _ = (first, block, valid, states);
        unimplemented!()
    }

    /// Adds the number of kept cells of each group to `rows` (one entry for each group of the map), without
    /// any data.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if `rows` has another length.
    pub fn count_rows(&mut self, rows: &mut [u64]) -> Result<()> {
        let _ = rows;
        unimplemented!()
    }

    /// As [`ChunkReducer::count_rows`], of the cells whose entry in `keep` is true: entry `i` belongs to element
    /// number `first + i` of the concatenated ranges.
    ///
    /// # Errors
    /// As [`ChunkReducer::feed_compact`].
    pub fn count_kept(&mut self, first: u64, keep: &[bool], rows: &mut [u64]) -> Result<()> {
        let _ = (first, keep, rows);
        unimplemented!()
    }
}
