//! The cells of one chunk on their way to accumulators.

use super::accumulators::misfit;
use super::kernels::{self, Stretch, Target};
use super::plan::{Cuts, Plan};
use super::{Accumulators, GroupMap, rows};
use crate::Result;
use crate::codec::Piece;
use crate::tensor::Part;
use std::sync::OnceLock;

/// Cells that are cut into stretches at once: bounds the buffers, and keeps widened cells in cache.
const PIECE: usize = 16 * 1024;

/// Cuts decoded blocks of one chunk into stretches for the kernels of [`Accumulators`].
///
/// ```text
/// let mut reducer = ChunkReducer::new(&part, &groups);
/// reducer.count_rows(&mut rows);                                  // count(*), and which groups exist
/// reader.visit_part(variable, &part, |first, block| reducer.feed(first, block, None, &mut states))
/// ```
/// One reducer serves any number of variables of the same grid, one after the other.
#[derive(Debug)]
pub struct ChunkReducer<'a> {
    part: &'a Part,
    map: &'a GroupMap,
    /// Made when first asked for; `None` if the map has too many groups to reduce into.
    plan: OnceLock<Option<Plan>>,
    cuts: Cuts,
}

impl<'a> ChunkReducer<'a> {
    /// A reducer of the kept cells of `part` into the groups of `map` (of the whole grid, or localised to this
    /// part or one that contains it).
    pub fn new(part: &'a Part, map: &'a GroupMap) -> Self {
        Self { part, map, plan: OnceLock::new(), cuts: Cuts::default() }
    }

    /// Adds kept cells, decoded or not: they start at element `first` of the chunk and lie inside one of the part's
    /// runs. Where `valid` is given, cells whose entry is false are dropped.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if the block leaves the chunk or doesn't fit `states`.
    pub fn feed<'b>(
        &mut self,
        first: u64,
        cells: impl Into<Piece<'b>>,
        valid: Option<&[bool]>,
        states: &mut Accumulators,
    ) -> Result<()> {
        if states.groups() != self.map.groups() {
            return Err(misfit(format!("{} states for {} groups", states.groups(), self.map.groups())));
        }
        let piece = cells.into();
        let len = piece.len();
        if valid.is_some_and(|valid| valid.len() != len) {
            return Err(misfit(format!("a mask of another length than its {len} cells")));
        }
        self.cut(first, len, |from, to, stretches, codes| {
            states.add(piece.slice(from, to), stretches, codes, valid.map(|valid| &valid[from..to]))
        })
    }

    /// Adds the cells whose entry in `keep` is true to the counts of their groups. They start at element `first`
    /// of the chunk; none of their values is needed.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if the cells leave the chunk, or `counts` doesn't have an entry for each group.
    pub fn count_kept(&mut self, first: u64, keep: &[bool], counts: &mut [u64]) -> Result<()> {
        self.check_counts(counts)?;
        self.cut(first, keep.len(), |from, to, stretches, codes| {
            kernels::count(counts, &keep[from..to], stretches, codes);
            Ok(())
        })
    }

    /// Appends the group of each of `len` cells from element `first` of the chunk on.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if the cells leave the chunk.
    pub fn groups(&mut self, first: u64, len: usize, groups: &mut Vec<u32>) -> Result<()> {
        self.cut(first, len, |_, _, stretches, codes| {
            for &Stretch { len, to, .. } in stretches {
                match to {
                    Target::Run(group) => groups.resize(groups.len() + len, group as u32),
                    Target::Each(first) => groups.extend((first..first + len).map(|group| group as u32)),
                    Target::Codes { base, at } => {
                        groups.extend(codes[at..at + len].iter().map(|code| base as u32 + code));
                    }
                    Target::Table { base, at } => {
                        let codes = codes.iter().cycle().skip(at).take(len);
                        groups.extend(codes.map(|code| base as u32 + code));
                    }
                }
            }
            Ok(())
        })
    }

    /// Calls `each(from, to, stretches, codes)` for cells `from..to` of the `len` ones from element `first` of
    /// the chunk on, a piece at a time.
    fn cut(
        &mut self,
        first: u64,
        len: usize,
        mut each: impl FnMut(usize, usize, &[Stretch], &[u32]) -> Result<()>,
    ) -> Result<()> {
        let cells: u64 = self.part.shape.iter().product();
        if first.checked_add(len as u64).is_none_or(|end| end > cells) {
            return Err(misfit(format!("elements {first}..+{len} of a chunk of {cells}")));
        }
        let Self { part, map, plan, cuts } = self;
        let plan = plan.get_or_init(|| {
            let plan = u32::try_from(map.groups()).is_ok().then(|| Plan::new(part, map));
            plan.iter().for_each(|plan| *cuts = plan.cuts());
            plan
        });
        let Some(plan) = plan else {
            return Err(misfit(format!("{} groups are more than can be reduced at once", map.groups())));
        };
        for from in (0..len).step_by(PIECE) {
            let to = len.min(from + PIECE);
            plan.cut(first as usize + from, to - from, cuts);
            each(from, to, &cuts.stretches, &cuts.codes)?;
        }
        Ok(())
    }

    fn check_counts(&self, counts: &[u64]) -> Result<()> {
        if counts.len() != self.map.groups() {
            return Err(misfit(format!("{} counts for {} groups", counts.len(), self.map.groups())));
        }
        Ok(())
    }

    /// Adds the number of kept cells of each group to `rows` (one entry for each group of the map), without
    /// any data.
    ///
    /// # Errors
    /// [`crate::Error::Grid`] if `rows` has another length.
    pub fn count_rows(&self, rows: &mut [u64]) -> Result<()> {
        self.check_counts(rows)?;
        rows::add(self.part, self.map, rows);
        Ok(())
    }
}
