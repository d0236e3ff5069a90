//! The cells of one chunk on their way to accumulators.

use super::accumulators::misfit;
use super::kernels::Stretch;
use super::plan::Plan;
use super::{Accumulators, GroupMap, rows};
use crate::Result;
use crate::codec::{Block, ElementRange};
use crate::tensor::Part;
use std::sync::OnceLock;

/// Cells between two kept ones that are decoded and dropped rather than left out.
const GAP: u64 = 32;

/// Cells that are cut into stretches at once: bounds the buffers, and keeps widened cells in cache.
const PIECE: usize = 16 * 1024;

/// Cuts decoded blocks of one chunk into stretches for the kernels of [`Accumulators`].
///
/// ```text
/// let mut reducer = ChunkReducer::new(&part, &groups);
/// reducer.count_rows(&mut rows);                                  // count(*), and which groups exist
/// pipeline.visit(region, reducer.ranges(), .., |first, block| reducer.feed(first, block, None, &mut states))
/// ```
/// One reducer serves any number of variables of the same grid, one after the other.
#[derive(Debug)]
pub struct ChunkReducer {
    part: Part,
    map: GroupMap,
    /// Made when first asked for; `None` if the map has too many groups to reduce into.
    plan: OnceLock<Option<Plan>>,
    /// Made when first asked for.
    ranges: OnceLock<Ranges>,
    buffers: Buffers,
}

/// What is to be decoded.
#[derive(Debug)]
struct Ranges {
    ranges: Vec<ElementRange>,
    /// Elements in the ranges before each, and in all.
    starts: Vec<u64>,
}

#[derive(Debug, Default)]
struct Buffers {
    stretches: Vec<Stretch>,
    codes: Vec<u32>,
    keep: Vec<bool>,
}

impl ChunkReducer {
    /// A reducer of the kept cells of `part` into the groups of `map` (of the whole grid, or localised to this
    /// part or one that contains it).
    pub fn new(part: &Part, map: &GroupMap) -> Self {
        Self {
            part: part.clone(),
            map: map.clone(),
            plan: OnceLock::new(),
            ranges: OnceLock::new(),
            buffers: Buffers::default(),
        }
    }

    /// The element ranges to decode: ascending, disjoint. Exactly the kept cells, but for parts with masks,
    /// where short gaps between kept cells are included; [`ChunkReducer::feed`] drops those again.
    pub fn ranges(&self) -> &[ElementRange] {
        &self.decoded().ranges
    }

    fn decoded(&self) -> &Ranges {
        self.ranges.get_or_init(|| {
            let ranges = ranges(&self.part);
            let ends = ranges.iter().scan(0, |elements, range| {
                *elements += range.count;
                Some(*elements)
            });
            Ranges { starts: std::iter::once(0).chain(ends).collect(), ranges }
        })
    }

    /// Number of elements in [`ChunkReducer::ranges`].
    pub fn elements(&self) -> u64 {
        self.decoded().starts.last().copied().unwrap_or(0)
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
        if states.groups() != self.map.groups() {
            return Err(misfit(format!("{} states for {} groups", states.groups(), self.map.groups())));
        }
        self.cut(first, block.len(), valid, |piece, stretches, codes, keep| {
            states.add(block.slice(piece, piece + keep.1), stretches, codes, keep.0)
        })
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
        check_len(valid, block.len())?;
        self.unpack(first, block.len(), |reducer, element, from, to| {
            reducer.feed(element, block.slice(from, to), valid.map(|valid| &valid[from..to]), states)
        })
    }

    /// Adds the number of kept cells of each group to `rows` (one entry for each group of the map), without
    /// any data.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if `rows` has another length.
    pub fn count_rows(&mut self, rows: &mut [u64]) -> Result<()> {
        self.check_rows(rows)?;
        if self.part.window.is_none() {
            rows::product(&self.part, &self.map, rows);
            return Ok(());
        }
        (0..self.ranges().len()).try_for_each(|nth| {
            let ElementRange { start, count } = self.ranges()[nth];
            self.tally(start, count as usize, None, rows)
        })
    }

    /// As [`ChunkReducer::count_rows`], of the cells whose entry in `keep` is true: entry `i` belongs to element
    /// number `first + i` of the concatenated ranges.
    ///
    /// # Errors
    /// As [`ChunkReducer::feed_compact`].
    pub fn count_kept(&mut self, first: u64, keep: &[bool], rows: &mut [u64]) -> Result<()> {
        self.check_rows(rows)?;
        self.unpack(first, keep.len(), |reducer, element, from, to| {
            reducer.tally(element, to - from, Some(&keep[from..to]), rows)
        })
    }

    fn check_rows(&self, rows: &[u64]) -> Result<()> {
        if rows.len() != self.map.groups() {
            return Err(misfit(format!("{} counts for {} groups", rows.len(), self.map.groups())));
        }
        Ok(())
    }

    /// Counts elements `first..first + len` that the masks, and `keep` if given, keep.
    fn tally(&mut self, first: u64, len: usize, keep: Option<&[bool]>, rows: &mut [u64]) -> Result<()> {
        self.cut(first, len, keep, |_, stretches, codes, (keep, _)| {
            rows::tally(stretches, codes, keep, rows);
            Ok(())
        })
    }

    /// Finds the elements that `len` entries from number `first` of the concatenated ranges belong to:
    /// `visit(self, first element, from, to)` for entries `from..to`.
    fn unpack(
        &mut self,
        first: u64,
        len: usize,
        mut visit: impl FnMut(&mut Self, u64, usize, usize) -> Result<()>,
    ) -> Result<()> {
        let end = first.checked_add(len as u64).filter(|&end| end <= self.elements());
        let Some(end) = end else {
            return Err(misfit(format!("cells {first}..+{len} of {}", self.elements())));
        };
        let mut nth = self.decoded().starts.partition_point(|&start| start <= first).saturating_sub(1);
        let mut at = first;
        while at < end {
            let Ranges { ranges, starts } = self.decoded();
            let stop = end.min(starts[nth + 1]);
            let element = ranges[nth].start + (at - starts[nth]);
            visit(self, element, (at - first) as usize, (stop - first) as usize)?;
            at = stop;
            nth += 1;
        }
        Ok(())
    }

    /// Cuts elements `first..first + len` piece by piece and hands each piece to `visit`: where it starts among
    /// them, its stretches, their codes, and (which of its cells are kept, its length).
    fn cut(
        &mut self,
        first: u64,
        len: usize,
        valid: Option<&[bool]>,
        mut visit: impl FnMut(usize, &[Stretch], &[u32], (Option<&[bool]>, usize)) -> Result<()>,
    ) -> Result<()> {
        check_len(valid, len)?;
        let cells: u64 = self.part.shape.iter().product();
        if first.checked_add(len as u64).is_none_or(|end| end > cells) {
            return Err(misfit(format!("elements {first}..+{len} of a chunk of {cells}")));
        }
        let Buffers { stretches, codes, keep } = &mut self.buffers;
        let plan = self.plan.get_or_init(|| {
            let plan = u32::try_from(self.map.groups()).is_ok().then(|| Plan::new(&self.part, &self.map));
            plan.iter().for_each(|plan| codes.extend(plan.codes()));
            plan
        });
        let Some(plan) = plan else {
            return Err(misfit(format!("{} groups are more than can be reduced at once", self.map.groups())));
        };
        for piece in (0..len).step_by(PIECE) {
            let count = PIECE.min(len - piece);
            let at = first as usize + piece;
            plan.cut(at, count, stretches, codes);
            let valid = valid.map(|valid| &valid[piece..piece + count]);
            let kept = if self.part.masks.is_empty() {
                valid
            } else {
                keep.clear();
                keep.extend_from_slice(valid.unwrap_or(&[]));
                keep.resize(count, true);
                apply_masks(&self.part, at, keep);
                Some(&keep[..])
            };
            visit(piece, stretches, codes, (kept, count))?;
        }
        Ok(())
    }
}

fn check_len(valid: Option<&[bool]>, len: usize) -> Result<()> {
    match valid {
        Some(valid) if valid.len() != len => {
            Err(misfit(format!("a mask of {} for {len} cells", valid.len())))
        }
        _ => Ok(()),
    }
}

/// The ranges to decode for `part`.
fn ranges(part: &Part) -> Vec<ElementRange> {
    if part.masks.is_empty() || part.window.is_some() {
        return part.runs().collect();
    }
    let unmasked = Part { masks: Vec::new(), ..part.clone() };
    let mut allowed = unmasked.runs().peekable();
    let mut ranges: Vec<ElementRange> = Vec::new();
    for run in part.runs() {
        // A gap may be closed only inside one run of the unmasked part: other cells aren't selected at all.
        while allowed.next_if(|allowed| allowed.start + allowed.count <= run.start).is_some() {}
        let open = allowed.peek().map_or(run.start, |allowed| allowed.start);
        match ranges.last_mut() {
            Some(last) if last.start >= open && run.start - (last.start + last.count) <= GAP => {
                last.count = run.start + run.count - last.start;
            }
            _ => ranges.push(run),
        }
    }
    ranges
}

/// Clears the entries of `keep` (of the elements from `first` of the part's chunk) that a mask drops.
fn apply_masks(part: &Part, first: usize, keep: &mut [bool]) {
    let Some(last) = part.shape.len().checked_sub(1) else { return };
    let row_len = part.shape[last] as usize;
    let mut position = part.origin.clone();
    let mut done = 0;
    while done < keep.len() {
        let column = (first + done) % row_len;
        let count = (row_len - column).min(keep.len() - done);
        let mut row = ((first + done) / row_len) as u64;
        for dim in (0..last).rev() {
            position[dim] = part.origin[dim] + row % part.shape[dim];
            row /= part.shape[dim];
        }
        position[last] = part.origin[last] + column as u64;
        for mask in &part.masks {
            mask.apply(&position, last, &mut keep[done..done + count]);
        }
        done += count;
    }
}
