//! The states of aggregates: one for each group, of one variable or expression.

use crate::Result;
use crate::codec::{Block, Values};
use crate::tgm::DType;

/// Which states are kept. Valid cells are always counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Wants {
    /// Sums.
    pub sum: bool,
    /// Smallest values.
    pub min: bool,
    /// Largest values.
    pub max: bool,
    /// Means and sums of squared deviations from them.
    pub moments: bool,
}

/// What a NaN in float data is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NanPolicy {
    /// A missing cell: not counted, and skipped by every aggregate.
    #[default]
    Null,
    /// A value: sums and moments become NaN; `min` and `max` follow the total order of IEEE 754, in which a
    /// positive NaN is above infinity and a negative one below minus infinity.
    Value,
}

/// Dense states of one variable or expression, one for each group.
///
/// Sums of floats are accumulated in `f64`, by blocks and lanes, with compensation between blocks; integer sums
/// are exact in 128 bits. Results don't depend on the machine's vector width.
#[derive(Debug, Clone)]
pub struct Accumulators {}

/// What [`Accumulators`] hold, one entry for each group.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Valid cells: selected, kept by every mask and, where NaN is missing, not NaN.
    pub counts: &'a [u64],
    /// Sums, 0 where no cell is valid; `None` if they weren't wanted.
    pub sums: Option<Sums>,
    /// Smallest values, in the dtype of the blocks, arbitrary where no cell is valid; `None` if not wanted.
    pub mins: Option<Values>,
    /// Largest values, likewise.
    pub maxs: Option<Values>,
    /// Moments; `None` if not wanted.
    pub moments: Option<Moments>,
}

/// Sums, one for each group.
#[derive(Debug, Clone, PartialEq)]
pub enum Sums {
    /// Of floats.
    Float(Vec<f64>),
    /// Of integers and bitmasks, exact.
    Int(Vec<i128>),
}

/// Means and sums of squared deviations, one for each group; 0 where no cell is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Mean of the valid cells.
    pub means: Vec<f64>,
    /// Sum of the squared deviations from the mean.
    pub m2: Vec<f64>,
}

impl Accumulators {
    /// Empty states of `groups` groups for blocks of `dtype`.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] for complex dtypes, which can't be reduced.
    pub fn try_new(dtype: DType, groups: usize, wants: Wants, nan: NanPolicy) -> Result<Self> {
        let _ = (dtype, groups, wants, nan);
        unimplemented!()
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        unimplemented!()
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        unimplemented!()
    }

    /// Back to empty states, keeping the memory.
    pub fn clear(&mut self) {
        unimplemented!()
    }

    /// Adds all of `block` to `group`; where `keep` is given, only the cells whose entry is true.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if the block is of another dtype, `keep` of another length or the group beyond
    /// the last; the same holds for the other `add_` functions.
    pub fn add_run(&mut self, group: usize, block: Block<'_>, keep: Option<&[bool]>) -> Result<()> {
        let _ = (group, block, keep);
        unimplemented!()
    }

    /// Adds cell `i` of `block` to group `first_group + i`.
    ///
    /// # Errors
    /// As [`Accumulators::add_run`].
    pub fn add_each(&mut self, first_group: usize, block: Block<'_>, keep: Option<&[bool]>) -> Result<()> {
        let _ = (first_group, block, keep);
        unimplemented!()
    }

    /// Adds cell `i` of `block` to group `base + codes[i]`.
    ///
    /// # Errors
    /// As [`Accumulators::add_run`]; also if a code leads beyond the last group, or `codes` is of another length.
    pub fn add_scattered(
        &mut self,
        base: usize,
        codes: &[u32],
        block: Block<'_>,
        keep: Option<&[bool]>,
    ) -> Result<()> {
        let _ = (base, codes, block, keep);
        unimplemented!()
    }

    /// Merges group `i` of `other` (same dtype, wants and policy) into group `group_of(i)`.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if the two don't match or a group is beyond the last.
    pub fn merge(&mut self, other: &mut Accumulators, group_of: impl Fn(usize) -> usize) -> Result<()> {
        let _ = (other, group_of(0));
        unimplemented!()
    }

    /// The states as they are now.
    pub fn read(&mut self) -> Reading<'_> {
        unimplemented!()
    }
}
