//! How a variable is cut into rectangular chunks.

use super::parts::Slots;
use super::{DimSelection, Parts, Selection};
use crate::{Error, Result};

/// A regular chunk grid; chunks at the far edges are cut to the shape. Outermost dim first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkGrid {
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    counts: Vec<u64>,
}

impl ChunkGrid {
    /// A grid of `shape` cut into chunks of `chunk_shape`.
    ///
    /// # Errors
    /// [`Error::Grid`] if the two differ in length, a dim with positions has chunks of none, or the number of
    /// cells doesn't fit in 64 bits.
    pub fn try_new(shape: Vec<u64>, chunk_shape: Vec<u64>) -> Result<Self> {
        let fail = |what: String| Err(Error::Grid { name: "chunk grid".into(), what });
        if shape.len() != chunk_shape.len() {
            return fail(format!("{} dims in chunks of {} dims", shape.len(), chunk_shape.len()));
        }
        if shape.iter().zip(&chunk_shape).any(|(&len, &chunk)| len > 0 && chunk == 0) {
            return fail(format!("a shape of {shape:?} can't be cut into chunks of {chunk_shape:?}"));
        }
        if shape.iter().try_fold(1u64, |cells, &len| cells.checked_mul(len.max(1))).is_none() {
            return fail(format!("the cells of a shape of {shape:?} are beyond counting"));
        }
        let counts = shape.iter().zip(&chunk_shape).map(|(len, &chunk)| len.div_ceil(chunk.max(1))).collect();
        Ok(Self { shape, chunk_shape, counts })
    }

    /// A grid of one chunk.
    ///
    /// # Errors
    /// As [`ChunkGrid::try_new`].
    pub fn whole(shape: Vec<u64>) -> Result<Self> {
        Self::try_new(shape.clone(), shape)
    }

    /// Elements per dim.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Elements per dim of an inner chunk.
    pub fn chunk_shape(&self) -> &[u64] {
        &self.chunk_shape
    }

    /// Chunks per dim.
    pub fn chunk_counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.counts.iter().product()
    }

    /// Number of cells.
    pub fn cells(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Grid position of the first cell, and elements per dim, of `chunk` (its position in the grid, C order).
    ///
    /// `None` if there is no such chunk.
    pub fn chunk_extent(&self, chunk: u64) -> Option<(Vec<u64>, Vec<u64>)> {
        if chunk >= self.chunks() {
            return None;
        }
        let mut rest = chunk;
        let mut origin = vec![0; self.shape.len()];
        let mut extent = vec![0; self.shape.len()];
        for dim in (0..self.shape.len()).rev() {
            origin[dim] = rest % self.counts[dim] * self.chunk_shape[dim];
            extent[dim] = self.chunk_shape[dim].min(self.shape[dim] - origin[dim]);
            rest /= self.counts[dim];
        }
        Some((origin, extent))
    }

    /// Splits `selection` into what each touched chunk contributes, in C order of chunks. One dim of 10 cells,
    /// chunks of 4, selection `3..9`:
    /// ```text
    /// chunk      0         1         2
    /// element    0 1 2 3 | 4 5 6 7 | 8 9
    /// selected         ^   ^ ^ ^ ^   ^
    /// within     3..4      0..4      0..1
    /// ```
    /// Parts are disjoint, none is empty, and together they are the selection. Costs time in proportion to the
    /// positions that are touched along each dim and to the sizes of masks, not to the number of chunks.
    /// Positions outside the grid are ignored.
    pub fn parts(&self, selection: &Selection) -> Parts {
        let slots = (0..self.shape.len()).map(|dim| {
            let kept = selection.dims.get(dim).unwrap_or(&DimSelection::Range(0..0)).clone();
            Slots::new(self.shape[dim], self.chunk_shape[dim].max(1), &kept)
        });
        Parts::new(self.counts.clone(), slots.collect(), &selection.masks)
    }
}

/// Steps `at` to the next combination in C order; wraps around after the last.
pub(crate) fn step(at: &mut [usize], len: impl Fn(usize) -> usize) {
    for dim in (0..at.len()).rev() {
        at[dim] += 1;
        if at[dim] < len(dim) {
            return;
        }
        at[dim] = 0;
    }
}
