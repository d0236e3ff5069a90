//! Which group a cell belongs to.

use crate::tensor::{Part, extents_of, step};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// What one independent set of dims contributes to the group of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// The dims it depends on, strictly ascending.
    pub dims: Vec<usize>,
    /// A code below `cardinality` for each combination of positions of the whole dims, C order.
    pub codes: Arc<[u32]>,
    /// Number of distinct codes.
    pub cardinality: u32,
}

/// Group of a cell = sum over factors of `codes[position] * stride`.
///
/// Strides are chosen so that the factor over the innermost dims varies fastest, in whichever order the factors
/// are given; so groups of neighbouring cells are neighbours where they can be. Read a group's codes back with
/// [`GroupMap::code`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMap {
    /// Grid position of the first cell that the map knows.
    pub(crate) origin: Vec<u64>,
    /// Cells per dim that the map knows.
    pub(crate) shape: Vec<u64>,
    pub(crate) factors: Vec<Factor>,
    pub(crate) strides: Vec<usize>,
    groups: usize,
}

/// A [`GroupMap`] for one part, whose groups are only those that the part's kept cells touch (by their dims;
/// masks may leave some of them without a cell).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Localised {
    /// The map; good for this part (and parts of it) only.
    pub map: Arc<GroupMap>,
    /// For each factor, the global code of each local code, ascending.
    pub tables: Vec<Arc<[u32]>>,
}

impl GroupMap {
    /// Groups of a grid of `shape`. Without factors, all cells are in group 0.
    ///
    /// # Errors
    /// [`Error::Grid`] if factors share dims, a factor's dims don't ascend, leave the grid or don't multiply to
    /// its number of codes, a code is not below the cardinality, or the groups are beyond counting.
    pub fn try_new(shape: &[u64], factors: Vec<Factor>) -> Result<Self> {
        check(shape, &factors).map_err(|what| Error::Grid { name: "groups".into(), what })?;
        Self::over(vec![0; shape.len()], shape.to_vec(), factors)
    }

    /// Everything in one group.
    pub fn single(shape: &[u64]) -> Self {
        let origin = vec![0; shape.len()];
        Self { origin, shape: shape.to_vec(), factors: Vec::new(), strides: Vec::new(), groups: 1 }
    }

    fn over(origin: Vec<u64>, shape: Vec<u64>, factors: Vec<Factor>) -> Result<Self> {
        let mut order: Vec<usize> = (0..factors.len()).collect();
        order.sort_by_key(|&factor| std::cmp::Reverse(factors[factor].dims.last().copied()));
        let mut strides = vec![0; factors.len()];
        let mut groups = 1usize;
        for factor in order {
            strides[factor] = groups;
            groups = groups.checked_mul(factors[factor].cardinality as usize).ok_or_else(|| Error::Grid {
                name: "groups".into(),
                what: "the groups are beyond counting".into(),
            })?;
        }
        Ok(Self { origin, shape, factors, strides, groups })
    }

    /// Number of groups, whether or not cells fall into them.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Cells per dim that the map knows.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The factors, as given.
    pub fn factors(&self) -> &[Factor] {
        &self.factors
    }

    /// What `factor` contributes to `group`: its code. Both must exist.
    pub fn code(&self, group: usize, factor: usize) -> u32 {
        (group / self.strides[factor] % self.factors[factor].cardinality.max(1) as usize) as u32
    }

    /// The group of the given code for each factor.
    pub fn group(&self, codes: &[u32]) -> usize {
        codes.iter().zip(&self.strides).map(|(&code, stride)| code as usize * stride).sum()
    }

    /// The group of the cell at `position` (of the grid).
    pub fn group_at(&self, position: &[u64]) -> usize {
        let factors = self.factors.iter().zip(&self.strides);
        factors.map(|(factor, stride)| self.code_at(factor, position) * stride).sum()
    }

    /// The group that all cells of the chunk of `part` are in, if it is one.
    pub fn group_of_all(&self, part: &Part) -> Option<usize> {
        let first = self.group_at(&part.origin);
        let uniform = self.factors.iter().all(|factor| {
            let codes = self.chunk_codes(factor, &part.origin, &part.shape);
            codes.windows(2).all(|pair| pair[0] == pair[1])
        });
        uniform.then_some(first)
    }

    /// The code of `factor` (one of this map's) for the cell at `position` (of the grid).
    pub(crate) fn code_at(&self, factor: &Factor, position: &[u64]) -> usize {
        let dims = factor.dims.iter();
        let flat = dims.fold(0, |flat, &dim| flat * self.shape[dim] + (position[dim] - self.origin[dim]));
        factor.codes[flat as usize] as usize
    }

    /// The same groups for `part` alone, numbered densely, so that states can be sized by what a part touches.
    pub fn localise(&self, part: &Part) -> Localised {
        let mut tables = Vec::with_capacity(self.factors.len());
        let mut factors = Vec::with_capacity(self.factors.len());
        for factor in &self.factors {
            let codes = self.chunk_codes(factor, &part.origin, &part.shape);
            let touched = touched(&codes, factor, part);
            // Codes at positions that aren't kept may be absent from the table: any code does for them.
            let local = codes.iter().map(|code| touched.binary_search(code).unwrap_or(0) as u32).collect();
            let cardinality = touched.len() as u32;
            factors.push(Factor { dims: factor.dims.clone(), codes: local, cardinality });
            tables.push(touched.into());
        }
        // Fewer groups than the global map, which could count them.
        let map = Self::over(part.origin.clone(), part.shape.clone(), factors);
        Localised { map: Arc::new(map.unwrap_or_else(|_| Self::single(&part.shape))), tables }
    }

    /// The codes of `factor` (one of this map's) inside a chunk, C order of the chunk.
    pub(crate) fn chunk_codes(&self, factor: &Factor, origin: &[u64], shape: &[u64]) -> Vec<u32> {
        let extents: Vec<Range<usize>> = factor
            .dims
            .iter()
            .map(|&dim| {
                let start = (origin[dim] - self.origin[dim]) as usize;
                start..start + shape[dim] as usize
            })
            .collect();
        let Some((last, outer)) = extents.split_last() else { return factor.codes.to_vec() };
        let rows: usize = outer.iter().map(Range::len).product();
        let mut codes = Vec::with_capacity(rows * last.len());
        let mut at = vec![0; outer.len()];
        for _ in 0..rows {
            let row = factor
                .dims
                .iter()
                .zip(outer.iter().zip(&at))
                .fold(0, |row, (&dim, (extent, at))| row * self.shape[dim] as usize + extent.start + at);
            let row = row * self.shape[factor.dims[outer.len()]] as usize;
            codes.extend_from_slice(&factor.codes[row + last.start..row + last.end]);
            step(&mut at, |dim| outer[dim].len());
        }
        codes
    }
}

impl Localised {
    /// The global code of `factor` in local group `group`.
    pub fn global_code(&self, group: usize, factor: usize) -> u32 {
        self.tables[factor][self.map.code(group, factor) as usize]
    }
}

/// The codes at kept positions, ascending, each once.
fn touched(codes: &[u32], factor: &Factor, part: &Part) -> Vec<u32> {
    let kept: Vec<Vec<u64>> = factor.dims.iter().map(|&dim| part.within[dim].iter().collect()).collect();
    let mut seen = Vec::new();
    let mut at = vec![0; kept.len()];
    for _ in 0..kept.iter().map(Vec::len).product() {
        let flat =
            (0..kept.len()).fold(0, |flat, dim| flat * part.shape[factor.dims[dim]] + kept[dim][at[dim]]);
        let code = codes[flat as usize];
        if seen.last() != Some(&code) {
            seen.push(code);
        }
        step(&mut at, |dim| kept[dim].len());
    }
    seen.sort_unstable();
    seen.dedup();
    seen
}

fn check(shape: &[u64], factors: &[Factor]) -> Result<(), String> {
    let mut taken = vec![false; shape.len()];
    for factor in factors {
        extents_of(shape, &factor.dims, factor.codes.len())?;
        for &dim in &factor.dims {
            if std::mem::replace(&mut taken[dim], true) {
                return Err(format!("two factors depend on dim {dim}"));
            }
        }
        if let Some(code) = factor.codes.iter().find(|&&code| code >= factor.cardinality) {
            return Err(format!("code {code} in a factor of cardinality {}", factor.cardinality));
        }
    }
    Ok(())
}
