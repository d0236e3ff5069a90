//! What a query keeps of a grid.

use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result};

/// The positions kept along one dim, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DimSelection {
    /// Consecutive positions.
    Range(Range<u64>),
    /// Strictly ascending positions that are not all consecutive.
    Indices(Arc<[u64]>),
}

impl DimSelection {
    /// Every position of a dim of `len`.
    pub fn all(len: u64) -> Self {
        Self::Range(0..len)
    }

    /// No position.
    pub fn none() -> Self {
        Self::Range(0..0)
    }

    /// The positions where `keep` is true.
    pub fn from_keep(keep: &[bool]) -> Self {
        let kept = keep.iter().filter(|&&keep| keep).count() as u64;
        let Some(first) = keep.iter().position(|&keep| keep) else { return Self::none() };
        let first = first as u64;
        let consecutive = keep[first as usize..].iter().take(kept as usize).all(|&keep| keep);
        if consecutive {
            return Self::Range(first..first + kept);
        }
        Self::Indices(keep.iter().zip(0..).filter_map(|(&keep, at)| keep.then_some(at)).collect())
    }

    /// These positions, in any order and repeated as they like; consecutive ones become a range.
    pub fn from_indices(mut indices: Vec<u64>) -> Self {
        indices.sort_unstable();
        indices.dedup();
        Self::from_ascending(indices)
    }

    /// Strictly ascending positions; consecutive ones become a range.
    pub(super) fn from_ascending(indices: Vec<u64>) -> Self {
        match (indices.first(), indices.last()) {
            (Some(&first), Some(&last)) if last - first == indices.len() as u64 - 1 => {
                Self::Range(first..last + 1)
            }
            (Some(_), Some(_)) => Self::Indices(indices.into()),
            _ => Self::none(),
        }
    }

    /// Number of kept positions.
    pub fn len(&self) -> u64 {
        match self {
            Self::Range(range) => range.end.saturating_sub(range.start),
            Self::Indices(indices) => indices.len() as u64,
        }
    }

    /// Whether no position is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every position of a dim of `len` is kept.
    pub fn is_full(&self, len: u64) -> bool {
        self.len() == len && self.last().is_none_or(|last| last < len)
    }

    /// The `nth` kept position, from 0.
    pub fn get(&self, nth: u64) -> Option<u64> {
        match self {
            Self::Range(range) => (nth < self.len()).then(|| range.start + nth),
            Self::Indices(indices) => indices.get(usize::try_from(nth).ok()?).copied(),
        }
    }

    /// The last kept position.
    pub fn last(&self) -> Option<u64> {
        self.len().checked_sub(1).and_then(|nth| self.get(nth))
    }

    /// Whether `position` is kept.
    pub fn contains(&self, position: u64) -> bool {
        match self {
            Self::Range(range) => range.contains(&position),
            Self::Indices(indices) => indices.binary_search(&position).is_ok(),
        }
    }

    /// The kept positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        let (range, indices) = match self {
            Self::Range(range) => (range.clone(), &[][..]),
            Self::Indices(indices) => (0..0, &indices[..]),
        };
        range.chain(indices.iter().copied())
    }

    /// Maximal runs of consecutive kept positions, ascending.
    pub fn runs(&self) -> Vec<Range<u64>> {
        match self {
            Self::Range(range) if range.is_empty() => Vec::new(),
            Self::Range(range) => vec![range.clone()],
            Self::Indices(indices) => {
                indices.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[run.len() - 1] + 1).collect()
            }
        }
    }

    /// The kept positions inside `extent`, relative to its start.
    pub fn within(&self, extent: Range<u64>) -> Self {
        match self {
            Self::Range(range) => {
                let (start, end) = (range.start.max(extent.start), range.end.min(extent.end));
                if start < end { Self::Range(start - extent.start..end - extent.start) } else { Self::none() }
            }
            Self::Indices(indices) => {
                let from = indices.partition_point(|&at| at < extent.start);
                let to = indices.partition_point(|&at| at < extent.end).max(from);
                Self::from_ascending(indices[from..to].iter().map(|at| at - extent.start).collect())
            }
        }
    }

    /// The kept positions number `nth.start..nth.end` (counted among the kept ones).
    pub fn slice(&self, nth: Range<u64>) -> Self {
        let end = nth.end.min(self.len());
        let start = nth.start.min(end);
        match self {
            Self::Range(range) => Self::Range(range.start + start..range.start + end),
            Self::Indices(indices) => Self::from_ascending(indices[start as usize..end as usize].to_vec()),
        }
    }

    /// The positions that both keep.
    pub fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Range(a), Self::Range(b)) => {
                let (start, end) = (a.start.max(b.start), a.end.min(b.end));
                if start < end { Self::Range(start..end) } else { Self::none() }
            }
            (Self::Indices(_), Self::Range(_)) => other.intersect(self),
            (_, Self::Indices(indices)) => {
                Self::from_ascending(indices.iter().copied().filter(|&at| self.contains(at)).collect())
            }
        }
    }
}

/// A predicate over several dims that is no product of one for each dim, such as
/// `latitude > 0 OR level = 500`: which combinations of positions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimMask {
    dims: Vec<usize>,
    extents: Vec<u64>,
    keep: Arc<[bool]>,
}

impl DimMask {
    /// A mask over `dims` (strictly ascending) of a grid of `shape`; `keep` in C order of the cross product of
    /// the whole dims.
    ///
    /// # Errors
    /// [`Error::Grid`] if the dims aren't ascending, leave the shape, or don't multiply to `keep`'s length.
    pub fn try_new(shape: &[u64], dims: Vec<usize>, keep: impl Into<Arc<[bool]>>) -> Result<Self> {
        let keep = keep.into();
        let extents =
            extents_of(shape, &dims, keep.len()).map_err(|what| Error::Grid { name: "mask".into(), what })?;
        Ok(Self { dims, extents, keep })
    }

    /// The dims it is over, ascending.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Positions along each of its dims.
    pub fn extents(&self) -> &[u64] {
        &self.extents
    }

    /// Which combinations are kept, C order.
    pub fn keep(&self) -> &[bool] {
        &self.keep
    }

    /// Whether the cell at `position` (of the grid, one coordinate for each dim of the grid) is kept.
    pub fn keeps(&self, position: &[u64]) -> bool {
        let flat =
            self.dims.iter().zip(&self.extents).fold(0, |flat, (&dim, extent)| flat * extent + position[dim]);
        self.keep[flat as usize]
    }
}

/// Extents of `dims` in `shape`, checked to be strictly ascending and to multiply to `cells`.
pub(crate) fn extents_of(shape: &[u64], dims: &[usize], cells: usize) -> Result<Vec<u64>, String> {
    if !dims.is_sorted_by(|a, b| a < b) || dims.iter().any(|&dim| dim >= shape.len()) {
        return Err(format!("dims {dims:?} must ascend and be among the {} of the grid", shape.len()));
    }
    let extents: Vec<u64> = dims.iter().map(|&dim| shape[dim]).collect();
    match extents.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent)) {
        Some(product) if product == cells as u64 => Ok(extents),
        _ => Err(format!("{cells} entries for dims of {extents:?} positions")),
    }
}

/// What a query keeps of a grid: the product of one [`DimSelection`] for each dim, less the cells that a mask
/// drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Outermost dim first.
    pub dims: Vec<DimSelection>,
    /// A cell is kept if every mask keeps it.
    pub masks: Vec<DimMask>,
}

impl Selection {
    /// Every cell of a grid of `shape`.
    pub fn all(shape: &[u64]) -> Self {
        Self::product(shape.iter().map(|&len| DimSelection::all(len)).collect())
    }

    /// The product of `dims`, without masks.
    pub fn product(dims: Vec<DimSelection>) -> Self {
        Self { dims, masks: Vec::new() }
    }

    /// Number of kept cells.
    pub fn len(&self) -> u64 {
        super::count::kept(&vec![0; self.dims.len()], &self.dims, &self.masks)
    }

    /// Whether no cell is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cells that both keep. Both must be of grids of the same shape.
    pub fn intersect(&self, other: &Self) -> Self {
        let dims = self.dims.iter().zip(&other.dims).map(|(a, b)| a.intersect(b)).collect();
        let mut masks = self.masks.clone();
        masks.extend(other.masks.iter().filter(|mask| !self.masks.contains(mask)).cloned());
        Self { dims, masks }
    }

    /// A smaller selection for `LIMIT cells`: it keeps the first `cells` kept cells in C order of the grid, and
    /// few others (less than one more row of some dim). All of it if it has no more than `cells`.
    pub fn take_first(&self, cells: u64) -> Self {
        let mut taken = self.clone();
        for dim in 0..taken.dims.len() {
            let rows = taken.rows_for(dim, cells);
            taken = taken.row(dim, 0..rows);
            if rows > 1 {
                break;
            }
        }
        taken
    }

    /// How many of the first kept positions along `dim` hold `cells` cells (all of them if they hold fewer).
    fn rows_for(&self, dim: usize, cells: u64) -> u64 {
        let positions = self.dims[dim].len();
        if self.masks.is_empty() {
            let row = self.row(dim, 0..1).len();
            return cells.div_ceil(row.max(1)).min(positions);
        }
        let (mut kept, mut rows) = (0, 0);
        while kept < cells && rows < positions {
            kept += self.row(dim, rows..rows + 1).len();
            rows += 1;
        }
        rows
    }

    /// Only the kept positions number `nth` along `dim`.
    fn row(&self, dim: usize, nth: Range<u64>) -> Self {
        let mut row = self.clone();
        row.dims[dim] = row.dims[dim].slice(nth);
        row
    }
}
