//! How a variable is cut into rectangular chunks.

use super::{DimMask, DimSelection, Part, Selection};
use crate::{Error, Result};

/// A regular chunk grid; chunks at the far edges are cut to the shape. Outermost dim first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkGrid {
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    counts: Vec<u64>,
}

/// What a selection takes of the chunks in one position along a dim.
#[derive(Debug, Clone)]
struct Slot {
    chunk: u64,
    origin: u64,
    extent: u64,
    within: DimSelection,
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
    /// touched chunks (and the sizes of masks), not to the grid. Positions outside the grid are ignored.
    pub fn parts(&self, selection: &Selection) -> Vec<Part> {
        let slots: Vec<Vec<Slot>> = (0..self.shape.len())
            .map(|dim| self.slots(dim, selection.dims.get(dim).unwrap_or(&DimSelection::none())))
            .collect();
        let touched = slots.iter().map(Vec::len).product();
        let mut parts = Vec::with_capacity(if selection.masks.is_empty() { touched } else { 0 });
        let mut at = vec![0; slots.len()];
        for _ in 0..touched {
            let chosen: Vec<&Slot> = slots.iter().zip(&at).map(|(slots, &at)| &slots[at]).collect();
            parts.extend(self.part(&chosen, &selection.masks));
            step(&mut at, |dim| slots[dim].len());
        }
        parts
    }

    /// The touched chunk positions along `dim`.
    fn slots(&self, dim: usize, selection: &DimSelection) -> Vec<Slot> {
        let (len, chunk_len) = (self.shape[dim], self.chunk_shape[dim]);
        let mut slots = Vec::new();
        let mut nth = 0;
        while let Some(position) = selection.get(nth).filter(|&position| position < len) {
            let chunk = position / chunk_len;
            let origin = chunk * chunk_len;
            let extent = chunk_len.min(len - origin);
            let within = selection.within(origin..origin + extent);
            nth += within.len();
            slots.push(Slot { chunk, origin, extent, within });
        }
        slots
    }

    /// The part of one touched chunk; `None` if masks leave nothing of it.
    fn part(&self, slots: &[&Slot], masks: &[DimMask]) -> Option<Part> {
        let chunk = slots.iter().zip(&self.counts).fold(0, |chunk, (slot, count)| chunk * count + slot.chunk);
        let part = Part {
            chunk,
            origin: slots.iter().map(|slot| slot.origin).collect(),
            shape: slots.iter().map(|slot| slot.extent).collect(),
            within: slots.iter().map(|slot| slot.within.clone()).collect(),
            masks: Vec::new(),
        };
        if masks.is_empty() { Some(part) } else { part.masked(masks) }
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
