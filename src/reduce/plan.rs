//! How the flat elements of a chunk are cut into stretches for the kernels.

use super::GroupMap;
use super::kernels::{Stretch, Target};
use crate::tensor::{Part, step};

/// Stretches shorter than this aren't worth a kernel call of their own.
const SHORT: usize = 16;

/// Runs of one code that are this long on average are worth a stretch each.
const PIECE: usize = 8;

/// Codes are spelt out for at least this many cells where the dims allow it. Little in tests.
const ROOM: usize = if cfg!(test) { 8 } else { 256 };

/// Codes are spelt out for at most this many cells, where the cells further out only shift them. Little in tests,
/// whose chunks are small.
const TABLE: usize = if cfg!(test) { 128 } else { 8192 };

/// As `TABLE`, where the alternative is rows of a few cells.
const LONG_TABLE: usize = if cfg!(test) { 1024 } else { 1 << 22 };

/// What a factor adds to the group of a cell, inside one chunk.
#[derive(Debug, Clone)]
struct ChunkFactor {
    dims: Vec<usize>,
    /// Already multiplied by the stride; C order of the chunk's extent of `dims`.
    codes: Vec<u32>,
    stride: u32,
}

/// How the cells of a leaf (all cells of a chunk that share their positions along the outer dims) are grouped.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    /// All in one group.
    Run,
    /// In consecutive groups.
    Each,
    /// By a code for each, the same in all leaves.
    Table,
    /// Runs of one code, the same in all leaves: (end of the run, code).
    Pieces(Vec<(usize, u32)>),
    /// By a code for each that differs from leaf to leaf; the leaf is one row of the last dim.
    Rows,
}

/// The cut of one chunk: leaves are the chunk's cells along dims `leaf_dim..`.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    shape: Vec<usize>,
    leaf_dim: usize,
    leaf_len: usize,
    leaf: Leaf,
    /// Factors of the outer dims only.
    outer: Vec<ChunkFactor>,
    /// Factors of the last dim, for `Rows`.
    rows: Vec<ChunkFactor>,
    /// What is the same for all cells.
    offset: usize,
    /// Codes of one leaf, for `Table`.
    table: Vec<u32>,
}

/// Stretches, and what they refer to; reused from cut to cut.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    pub(super) stretches: Vec<Stretch>,
    /// The codes of the plan's table, then those of leaves.
    pub(super) codes: Vec<u32>,
    /// Position of a leaf.
    at: Vec<usize>,
}

impl Plan {
    /// The cut for the chunk of `part`; `map` must have fewer groups than 32 bits can number.
    pub(super) fn new(part: &Part, map: &GroupMap) -> Self {
        let shape: Vec<usize> = part.shape.iter().map(|&len| len as usize).collect();
        let mut offset = 0;
        let mut factors = Vec::new();
        for (factor, &stride) in map.factors().iter().zip(&map.strides) {
            let stride = stride as u32;
            let mut codes = map.chunk_codes(factor, &part.origin, &part.shape);
            codes.iter_mut().for_each(|code| *code *= stride);
            match codes.first() {
                Some(&first) if codes.iter().all(|&code| code == first) => offset += first as usize,
                _ => {
                    // Dims of one position don't tell cells apart.
                    let dims = factor.dims.iter().copied().filter(|&dim| shape[dim] != 1).collect();
                    factors.push(ChunkFactor { dims, codes, stride });
                }
            }
        }
        let mut plan = Self {
            leaf_dim: 0,
            leaf_len: shape.iter().product(),
            leaf: Leaf::Run,
            outer: factors,
            rows: Vec::new(),
            offset,
            table: Vec::new(),
            shape,
        };
        plan.choose();
        plan
    }

    /// Picks the leaves that make the longest stretches.
    fn choose(&mut self) {
        let run = self.outer.iter().filter_map(|factor| factor.dims.last()).max().map_or(0, |dim| dim + 1);
        let (each, first) = self.ramp();
        if run == 0 || self.len_from(run) >= SHORT {
            self.set_leaf(run, Leaf::Run);
        } else if each < self.shape.len() && (each == 0 || self.len_from(each) >= SHORT) {
            self.set_leaf(each, Leaf::Each);
            self.offset += first;
        } else {
            self.choose_codes();
        }
    }

    /// Elements of the chunk along `dim` and all dims after it.
    fn len_from(&self, dim: usize) -> usize {
        self.shape[dim..].iter().product()
    }

    /// Makes the cells along `dim..` the leaf; factors inside it become `rows`.
    fn set_leaf(&mut self, dim: usize, leaf: Leaf) {
        self.leaf_dim = dim;
        self.leaf_len = self.len_from(dim);
        self.leaf = leaf;
        let outside = |factor: &ChunkFactor| factor.dims.last().is_none_or(|&last| last < dim);
        (self.outer, self.rows) = std::mem::take(&mut self.outer).into_iter().partition(outside);
    }

    /// The outermost dim from which on all cells are in consecutive groups, and the first of these; the number
    /// of dims if there is no such dim.
    fn ramp(&self) -> (usize, usize) {
        let (mut from, mut len, mut first) = (self.shape.len(), 1, 0);
        while let Some(dim) = from.checked_sub(1) {
            if self.shape[dim] == 1 {
                from = dim;
                continue;
            }
            let Some(factor) = self.outer.iter().find(|factor| factor.dims.last() == Some(&dim)) else {
                break;
            };
            let begin = factor.dims[0];
            let dense = factor.dims.iter().copied().eq(begin..=dim) && factor.stride as usize == len;
            let ramp =
                factor.codes.windows(2).all(|pair| pair[0].checked_add(factor.stride) == Some(pair[1]));
            if !dense || !ramp {
                break;
            }
            (from, len, first) = (begin, len * factor.codes.len(), first + factor.codes[0] as usize);
        }
        (from, first)
    }

    /// Whether a factor depends on dims on both sides of `dim`'s outer edge.
    fn straddled(&self, dim: usize) -> bool {
        self.outer.iter().any(|factor| {
            factor.dims.first().is_some_and(|&first| first < dim)
                && factor.dims.last().is_some_and(|&last| last >= dim)
        })
    }

    /// Leaves whose cells need a code each.
    fn choose_codes(&mut self) {
        let last = self.shape.len() - 1;
        // The innermost table that isn't tiny: the more of its leaves lie side by side, the better.
        let tables = (0..=last).rev().filter(|&dim| self.len_from(dim) <= TABLE && !self.straddled(dim));
        let small =
            tables.clone().find(|&dim| self.len_from(dim) >= ROOM).or_else(|| tables.clone().next_back());
        let long = (0..last).rev().find(|&dim| !self.straddled(dim));
        let long = long.filter(|&dim| self.shape[last] < SHORT && self.len_from(dim) <= LONG_TABLE);
        let dim = match small {
            Some(dim) => dim,
            None if self.straddled(last) => long.unwrap_or(last),
            None => last,
        };
        if self.straddled(dim) {
            self.set_leaf(last, Leaf::Rows);
            return;
        }
        self.set_leaf(dim, Leaf::Table);
        self.table = self.spell_out();
        let pieces = self.table.chunk_by(|a, b| a == b);
        if self.table.len() / pieces.clone().count().max(1) >= PIECE {
            let mut end = 0;
            let pieces = pieces.map(|piece| {
                end += piece.len();
                (end, piece[0])
            });
            self.leaf = Leaf::Pieces(pieces.collect());
        }
    }

    /// The codes of one leaf.
    fn spell_out(&self) -> Vec<u32> {
        let mut table = vec![0; self.leaf_len];
        let mut at = vec![0; self.shape.len()];
        let row_len = self.shape[self.shape.len() - 1].max(1);
        let last = self.shape.len() - 1;
        for row in table.chunks_mut(row_len) {
            self.add_row(&at, row);
            step(&mut at[self.leaf_dim..last], |dim| self.shape[self.leaf_dim + dim]);
        }
        table
    }

    /// Adds what `rows` say of one row of the last dim (at position `at` of the other dims) to `codes`.
    fn add_row(&self, at: &[usize], codes: &mut [u32]) {
        let last = self.shape.len() - 1;
        for factor in &self.rows {
            let flat = |dims: &[usize]| dims.iter().fold(0, |flat, &dim| flat * self.shape[dim] + at[dim]);
            match factor.dims.split_last() {
                Some((&dim, outer)) if dim == last => {
                    let start = flat(outer) * codes.len();
                    let row = &factor.codes[start..start + codes.len()];
                    codes.iter_mut().zip(row).for_each(|(code, more)| *code += more);
                }
                _ => {
                    let more = factor.codes[flat(&factor.dims)];
                    codes.iter_mut().for_each(|code| *code += more);
                }
            }
        }
    }

    /// Room for cuts by this plan.
    pub(super) fn cuts(&self) -> Cuts {
        Cuts { codes: self.table.clone(), ..Cuts::default() }
    }

    /// Cuts elements `first..first + len` of the chunk `into` stretches, which replace those that were there.
    pub(super) fn cut(&self, first: usize, len: usize, into: &mut Cuts) {
        let Cuts { stretches, codes, at } = into;
        stretches.clear();
        codes.truncate(self.table.len());
        at.clear();
        at.resize(self.shape.len(), 0);
        let mut leaf = first / self.leaf_len;
        self.place(leaf, at);
        let mut done = 0;
        while done < len {
            let inside = first + done - leaf * self.leaf_len;
            let count = (self.leaf_len - inside).min(len - done);
            self.stretch(at, (inside, done, count), stretches, codes);
            done += count;
            leaf += 1;
            step(&mut at[..self.leaf_dim], |dim| self.shape[dim]);
        }
    }

    /// The position of a leaf along the outer dims.
    fn place(&self, mut leaf: usize, at: &mut [usize]) {
        for dim in (0..self.leaf_dim).rev() {
            at[dim] = leaf % self.shape[dim];
            leaf /= self.shape[dim];
        }
    }

    /// Stretches of `count` cells from cell `inside` of the leaf at position `at`, which are the cells from
    /// `start` of the block.
    fn stretch(
        &self,
        at: &[usize],
        (inside, start, count): (usize, usize, usize),
        stretches: &mut Vec<Stretch>,
        codes: &mut Vec<u32>,
    ) {
        let base = self.offset + self.outer.iter().map(|factor| self.outer_code(factor, at)).sum::<usize>();
        match &self.leaf {
            Leaf::Run => push_run(stretches, start, count, base),
            Leaf::Each => stretches.push(Stretch { start, len: count, to: Target::Each(base + inside) }),
            Leaf::Table => self.push_table(stretches, start, count, (base, inside)),
            Leaf::Pieces(pieces) => {
                let mut from = inside;
                for &(end, code) in &pieces[pieces.partition_point(|&(end, _)| end <= inside)..] {
                    if from == inside + count {
                        break;
                    }
                    let end = end.min(inside + count);
                    push_run(stretches, start + from - inside, end - from, base + code as usize);
                    from = end;
                }
            }
            Leaf::Rows => {
                let row = codes.len();
                codes.resize(row + self.leaf_len, 0);
                self.add_row(at, &mut codes[row..]);
                let to = Target::Codes { base, at: row + inside };
                stretches.push(Stretch { start, len: count, to });
            }
        }
    }

    /// Appends cells from `inside` of a leaf, or lengthens the stretch before if that is of the same leaf's
    /// groups and ends just before.
    fn push_table(
        &self,
        stretches: &mut Vec<Stretch>,
        start: usize,
        count: usize,
        (base, inside): (usize, usize),
    ) {
        if let Some(Stretch { len, to: Target::Table { base: other, .. }, .. }) = stretches.last_mut()
            && (*other, 0) == (base, inside)
        {
            *len += count;
        } else {
            stretches.push(Stretch { start, len: count, to: Target::Table { base, at: inside } });
        }
    }

    #[inline]
    fn outer_code(&self, factor: &ChunkFactor, at: &[usize]) -> usize {
        let flat = factor.dims.iter().fold(0, |flat, &dim| flat * self.shape[dim] + at[dim]);
        factor.codes[flat] as usize
    }
}

/// Cuts cells that go to groups `base + codes[i]` into stretches: runs of one code, runs of consecutive codes, and
/// what lies between. Finds those that fill a window of `SHORT` cells.
pub(super) fn cut_codes(base: usize, codes: &[u32]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let scattered = |from: usize, to: usize| Stretch {
        start: from,
        len: to - from,
        to: Target::Codes { base, at: from },
    };
    let (mut start, mut at) = (0, 0);
    while let Some(window) = codes.get(at..at + SHORT) {
        let (code, last) = (window[0], window[SHORT - 1]);
        let (len, to) = if last == code {
            let same = codes[at..].iter().take_while(|&&other| other == code).count();
            (same, Target::Run(base + code as usize))
        } else if last.checked_sub(code) == Some(SHORT as u32 - 1) {
            let ramp = (code..).zip(&codes[at..]).take_while(|(want, other)| want == *other).count();
            (ramp, Target::Each(base + code as usize))
        } else {
            (0, Target::Run(0))
        };
        if len < SHORT {
            at += SHORT;
            continue;
        }
        if start < at {
            stretches.push(scattered(start, at));
        }
        stretches.push(Stretch { start: at, len, to });
        at += len;
        start = at;
    }
    if start < codes.len() {
        stretches.push(scattered(start, codes.len()));
    }
    stretches
}

/// Appends a run, or lengthens the one before if it goes to the same group.
fn push_run(stretches: &mut Vec<Stretch>, start: usize, len: usize, group: usize) {
    match stretches.last_mut() {
        Some(last) if last.to == Target::Run(group) && last.start + last.len == start => last.len += len,
        _ => stretches.push(Stretch { start, len, to: Target::Run(group) }),
    }
}
