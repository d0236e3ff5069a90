//! Positions along a dim, as tickets hold them.

use crate::tensor::DimSelection;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Ascending positions along one dim, short where they follow a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// `count` of them, `step` apart.
    Every {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
        /// 1 at least.
        step: u64,
    },
    /// These.
    Listed(Vec<u64>),
}

impl Positions {
    /// Those of `selection`.
    pub(super) fn of(selection: &DimSelection) -> Self {
        let indices = match selection {
            DimSelection::Range(range) => {
                return Self::Every { start: range.start, count: selection.len(), step: 1 };
            }
            DimSelection::Indices(indices) => indices,
        };
        let mut steps = indices.windows(2).map(|pair| pair[1] - pair[0]);
        match (indices.first(), steps.next()) {
            (Some(&start), Some(step)) if steps.all(|other| other == step) => {
                Self::Every { start, count: indices.len() as u64, step }
            }
            _ => Self::Listed(indices.to_vec()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Every { count, .. } => *count,
            Self::Listed(positions) => positions.len() as u64,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they ascend and lie within a dim of `len`.
    pub(super) fn fits(&self, len: u64) -> bool {
        match self {
            Self::Every { count: 0, .. } => true,
            Self::Every { start, count, step } => {
                let last = (count - 1).checked_mul(*step).and_then(|to_last| to_last.checked_add(*start));
                *step > 0 && last.is_some_and(|last| last < len)
            }
            Self::Listed(positions) => {
                positions.is_sorted_by(|a, b| a < b) && positions.last().is_none_or(|&last| last < len)
            }
        }
    }

    /// Position number `nth`, which there must be.
    fn get(&self, nth: u64) -> u64 {
        match self {
            Self::Every { start, step, .. } => start + nth * step,
            Self::Listed(positions) => positions[nth as usize],
        }
    }

    /// The positions number `nth`.
    pub(super) fn slice(&self, nth: Range<u64>) -> Self {
        match self {
            Self::Every { start, step, .. } => {
                Self::Every { start: start + nth.start * step, count: nth.end - nth.start, step: *step }
            }
            Self::Listed(positions) => Self::Listed(positions[nth.start as usize..nth.end as usize].to_vec()),
        }
    }

    /// As a selection.
    pub(super) fn selection(&self) -> DimSelection {
        match self {
            Self::Every { start, count, step: 1 } => DimSelection::Range(*start..start + count),
            Self::Every { start, count, step } => {
                DimSelection::from_indices((0..*count).map(|nth| start + nth * step).collect())
            }
            Self::Listed(positions) => DimSelection::from_indices(positions.clone()),
        }
    }

    /// Which of them lie in each chunk of `chunk` positions: ranges of numbers, one for each chunk that has any; one
    /// empty range if there are none.
    pub(super) fn cuts(&self, chunk: u64) -> Vec<Range<u64>> {
        let mut cuts = Vec::new();
        let mut first = 0;
        while first < self.len() {
            let end = (self.get(first) / chunk + 1).saturating_mul(chunk);
            let next = match self {
                Self::Every { start, count, step } => (end - start).div_ceil(*step).min(*count),
                Self::Listed(positions) => positions.partition_point(|&at| at < end) as u64,
            };
            cuts.push(first..next);
            first = next;
        }
        if cuts.is_empty() {
            cuts.push(0..0);
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_leaves_the_dim_does_not_fit() {
        let every = |start, count, step| Positions::Every { start, count, step };
        assert!(every(0, 10, 1).fits(10) && !every(1, 10, 1).fits(10) && every(0, 4, 3).fits(10));
        assert!(
            !every(0, 2, 0).fits(10) && !every(9, u64::MAX, u64::MAX).fits(10) && every(99, 0, 0).fits(10)
        );
        assert!(!Positions::Listed(vec![2, 1]).fits(10) && !Positions::Listed(vec![10]).fits(10));
    }

    proptest! {
        #[test]
        fn they_are_those_of_the_selection(keep in prop::collection::vec(any::<bool>(), 0..40), chunk in 1u64..9) {
            let selection = DimSelection::from_keep(&keep);
            let positions = Positions::of(&selection);
            prop_assert!(positions.fits(keep.len() as u64));
            prop_assert_eq!(positions.selection(), selection.clone());
            let cuts = positions.cuts(chunk);
            let pieces: Vec<Vec<u64>> =
                cuts.iter().map(|cut| positions.slice(cut.clone()).selection().iter().collect()).collect();
            prop_assert_eq!(pieces.concat(), selection.iter().collect::<Vec<_>>());
            if !positions.is_empty() {
                let chunks: Vec<_> = pieces.iter().map(|piece| piece[0] / chunk).collect();
                prop_assert!(chunks.is_sorted_by(|a, b| a < b));
                prop_assert!(pieces.iter().zip(&chunks).all(|(piece, at)| piece.iter().all(|p| p / chunk == *at)));
            }
        }
    }
}
