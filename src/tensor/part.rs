//! What a selection takes of one chunk.

use super::{DimMask, DimSelection, Runs, count};

/// What a selection takes of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Position of the chunk in the grid, C order.
    pub chunk: u64,
    /// Grid position of the chunk's first cell.
    pub origin: Vec<u64>,
    /// Elements per dim of this chunk.
    pub shape: Vec<u64>,
    /// Kept positions per dim, relative to `origin`.
    pub within: Vec<DimSelection>,
    /// Masks (over grid positions) that drop some of these cells; those that drop none, or that restrict a
    /// single dim inside this chunk, are folded away.
    pub masks: Vec<DimMask>,
}

impl Part {
    /// Number of kept cells.
    pub fn len(&self) -> u64 {
        count::kept(&self.origin, &self.within, &self.masks)
    }

    /// Whether no cell is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all cells of the chunk are kept.
    pub fn is_whole(&self) -> bool {
        self.masks.is_empty() && self.within.iter().zip(&self.shape).all(|(kept, &len)| kept.is_full(len))
    }

    /// Kept cells as runs of the chunk's flat elements (C order): ascending, touching runs merged.
    pub fn runs(&self) -> Runs<'_> {
        Runs::new(self)
    }

    /// Splits it along the outer dims into at most about `n` parts of the same chunk, of similar size, for
    /// parallel work inside one chunk. Disjoint, in C order, none empty; together they are this part.
    pub fn split(&self, n: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        self.split_dim(0, n as u64, &mut parts);
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn split_dim(&self, dim: usize, n: u64, parts: &mut Vec<Part>) {
        if n <= 1 || dim == self.within.len() {
            parts.push(self.clone());
            return;
        }
        let len = self.within[dim].len();
        let pieces = len.min(n).max(1);
        for piece in 0..pieces {
            // 128 bits: a dim may be longer than 2^64 / pieces.
            let cut = |piece: u64| (u128::from(len) * u128::from(piece) / u128::from(pieces)) as u64;
            let mut part = self.clone();
            part.within[dim] = self.within[dim].slice(cut(piece)..cut(piece + 1));
            part.split_dim(dim + 1, if pieces < n { n / pieces } else { 1 }, parts);
        }
    }

    /// This part (which has no masks yet) under `masks`, which together keep a cell of it.
    pub(super) fn masked(mut self, masks: &[DimMask]) -> Part {
        for mask in masks {
            let alone = std::slice::from_ref(mask);
            let dims: Vec<usize> = mask.dims().to_vec();
            let box_cells: u64 = dims.iter().map(|&dim| self.within[dim].len()).product();
            let others: u64 = self.within.iter().map(DimSelection::len).product::<u64>() / box_cells.max(1);
            let kept = count::kept(&self.origin, &self.within, alone) / others.max(1);
            if kept == box_cells {
                continue;
            }
            let mut long = dims.iter().copied().filter(|&dim| self.within[dim].len() > 1);
            match (long.next(), long.next()) {
                (Some(dim), None) => self.fold(dim, mask),
                _ => self.masks.push(mask.clone()),
            }
        }
        self
    }

    /// Applies `mask`, which along no other dim than `dim` has more than one position here, to that dim.
    fn fold(&mut self, dim: usize, mask: &DimMask) {
        let mut position: Vec<u64> = self
            .within
            .iter()
            .zip(&self.origin)
            .map(|(kept, origin)| origin + kept.get(0).unwrap_or(0))
            .collect();
        let kept = self.within[dim].iter().filter(|at| {
            position[dim] = self.origin[dim] + at;
            mask.keeps(&position)
        });
        self.within[dim] = DimSelection::from_indices(kept.collect());
    }
}
