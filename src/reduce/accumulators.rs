//! The states of aggregates: one for each group, of one variable or expression.

use super::cell::Cell;
use super::kernels::{self, Stretch, Target};
use super::plan::cut_codes;
use super::state::State;
use super::stats::{self, Stated};
use super::widen::Widen;
use super::{constant, packed};
use crate::codec::packing::SimplePacking;
use crate::codec::{Block, Piece, Values};
use crate::dataset::stats::{ChunkStats, Number};
use crate::tgm::DType;
use crate::{Error, Result};
use std::borrow::Cow;

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
pub struct Accumulators {
    dtype: DType,
    wants: Wants,
    groups: usize,
    state: AnyState,
}

/// What [`Accumulators`] hold, one entry for each group.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Valid cells: selected, kept by every mask and, where NaN is missing, not NaN.
    pub counts: &'a [u64],
    /// Sums, 0 where no cell is valid; `None` if they weren't wanted.
    pub sums: Option<Sums<'a>>,
    /// Smallest values, in the dtype of the blocks, arbitrary where no cell is valid; `None` if not wanted.
    pub mins: Option<Values>,
    /// Largest values, likewise.
    pub maxs: Option<Values>,
    /// Moments; `None` if not wanted.
    pub moments: Option<Moments>,
}

/// Sums, one for each group.
#[derive(Debug, Clone, PartialEq)]
pub enum Sums<'a> {
    /// Of floats.
    Float(Cow<'a, [f64]>),
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

/// States, and room that kernels use.
#[derive(Debug, Clone)]
struct Typed<T: Cell> {
    state: State<T>,
    /// Where blocks are widened, and values spelt out.
    wide: Vec<T>,
    /// States of the columns of a table of codes.
    columns: Option<State<T>>,
}

#[derive(Debug, Clone)]
enum AnyState {
    F32(Typed<f32>),
    F64(Typed<f64>),
    I32(Typed<i32>),
    I64(Typed<i64>),
    U64(Typed<u64>),
}

/// Runs the same expression for whichever type the states are of.
macro_rules! each_state {
    ($any:expr, $typed:ident => $body:expr) => {
        match $any {
            AnyState::F32($typed) => $body,
            AnyState::F64($typed) => $body,
            AnyState::I32($typed) => $body,
            AnyState::I64($typed) => $body,
            AnyState::U64($typed) => $body,
        }
    };
}

/// Runs the same expression for two states of the same type.
macro_rules! each_pair {
    ($one:expr, $other:expr, ($a:ident, $b:ident) => $body:expr) => {
        match ($one, $other) {
            (AnyState::F32($a), AnyState::F32($b)) => $body,
            (AnyState::F64($a), AnyState::F64($b)) => $body,
            (AnyState::I32($a), AnyState::I32($b)) => $body,
            (AnyState::I64($a), AnyState::I64($b)) => $body,
            (AnyState::U64($a), AnyState::U64($b)) => $body,
            _ => return Err(misfit("states of different kinds can't be merged".into())),
        }
    };
}

impl<T: Widen + Stated> Typed<T> {
    fn new(groups: usize, wants: Wants, total: bool) -> Self {
        Self { state: State::new(groups, wants, total), wide: Vec::new(), columns: None }
    }

    fn add(&mut self, block: Block<'_>, cut: &Cut<'_>) {
        let Some(cells) = T::widen(block, &mut self.wide) else { return };
        add_cells(&mut self.state, &mut self.columns, cells, cut);
    }

    /// Adds `len` cells that all are `value`.
    fn add_constant(&mut self, value: Block<'_>, len: usize, cut: &Cut<'_>) {
        let value = T::widen(value, &mut self.wide).and_then(|value| value.first().copied());
        let Some(value) = value else { return };
        let runs = cut.stretches.iter().all(|stretch| matches!(stretch.to, Target::Run(_)));
        match runs && cut.keep.is_none() {
            true => constant::add(&mut self.state, value, cut.stretches),
            false => {
                self.wide.clear();
                self.wide.resize(len, value);
                add_cells(&mut self.state, &mut self.columns, &self.wide, cut);
            }
        }
    }

    /// `None` if `stats` aren't of such cells.
    fn fold_stats(&mut self, group: usize, stats: &ChunkStats) -> Option<()> {
        self.state.fold(group, &stats::partial(stats)?);
        Some(())
    }

    fn read(&mut self, dtype: DType) -> Reading<'_> {
        self.state.settle();
        let narrow = |keys: &Option<Vec<T::Key>>| {
            let values = keys.as_ref()?.iter().map(|&key| T::of_key(key)).collect();
            T::narrow(values, dtype)
        };
        Reading {
            sums: self.state.sums(),
            mins: narrow(&self.state.mins),
            maxs: narrow(&self.state.maxs),
            moments: self.state.moments(),
            counts: &self.state.counts,
        }
    }
}

impl Typed<f64> {
    fn add_packed(&mut self, samples: &[u32], packing: SimplePacking, cut: &Cut<'_>) {
        let runs = cut.stretches.iter().all(|stretch| matches!(stretch.to, Target::Run(_)));
        match runs && packing.bits() <= packed::BITS {
            true => packed::add(&mut self.state, samples, packing, cut.stretches, cut.keep),
            false => {
                self.wide.resize(samples.len(), 0.0);
                packing.scale(samples, &mut self.wide);
                add_cells(&mut self.state, &mut self.columns, &self.wide, cut);
            }
        }
    }
}

/// Where the cells of a block go.
struct Cut<'a> {
    stretches: &'a [Stretch],
    codes: &'a [u32],
    keep: Option<&'a [bool]>,
}

fn add_cells<T: Cell>(state: &mut State<T>, columns: &mut Option<State<T>>, cells: &[T], cut: &Cut<'_>) {
    kernels::add(state, columns, cells, cut.stretches, cut.codes, cut.keep);
}

impl Accumulators {
    /// Empty states of `groups` groups for blocks of `dtype`.
    ///
    /// # Errors
    /// [`Error::Grid`] for complex dtypes, which can't be reduced, and for more groups than 32 bits can number.
    pub fn try_new(dtype: DType, groups: usize, wants: Wants, nan: NanPolicy) -> Result<Self> {
        if u32::try_from(groups).is_err() {
            return Err(misfit(format!("{groups} groups are more than can be reduced at once")));
        }
        let total = nan == NanPolicy::Value && dtype.is_float();
        let state = match dtype {
            DType::Float16 | DType::BFloat16 | DType::Float32 => {
                AnyState::F32(Typed::new(groups, wants, total))
            }
            DType::Float64 => AnyState::F64(Typed::new(groups, wants, total)),
            DType::Int8 | DType::Int16 | DType::Int32 | DType::UInt8 | DType::UInt16 | DType::Bitmask => {
                AnyState::I32(Typed::new(groups, wants, total))
            }
            DType::Int64 | DType::UInt32 => AnyState::I64(Typed::new(groups, wants, total)),
            DType::UInt64 => AnyState::U64(Typed::new(groups, wants, total)),
            DType::Complex64 | DType::Complex128 => {
                return Err(misfit(format!("{dtype} can't be reduced")));
            }
        };
        Ok(Self { dtype, wants, groups, state })
    }

    /// Empty states of `groups` groups, of the same kind.
    ///
    /// # Errors
    /// [`Error::Grid`] for more groups than 32 bits can number.
    pub fn like(&self, groups: usize) -> Result<Self> {
        let nan = if self.total() { NanPolicy::Value } else { NanPolicy::Null };
        Self::try_new(self.dtype, groups, self.wants, nan)
    }

    /// Dtype of the blocks.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether NaN is a value, in the total order of floats.
    fn total(&self) -> bool {
        each_state!(&self.state, typed => typed.state.total)
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        each_state!(&self.state, typed => {
            let columns = typed.columns.as_ref().map_or(0, State::memory);
            typed.state.memory() + columns + size_of_val(&typed.wide[..])
        })
    }

    /// Back to empty states, keeping the memory.
    pub fn clear(&mut self) {
        each_state!(&mut self.state, typed => typed.state.clear());
    }

    /// Adds all of `cells` to `group`; where `keep` is given, only the cells whose entry is true.
    ///
    /// # Errors
    /// [`Error::Grid`] if the block is of another dtype, `keep` of another length or the group beyond the last;
    /// the same holds for the other `add_` functions.
    pub fn add_run<'b>(
        &mut self,
        group: usize,
        cells: impl Into<Piece<'b>>,
        keep: Option<&[bool]>,
    ) -> Result<()> {
        self.check_groups(group, 1)?;
        self.add_all(cells.into(), Target::Run(group), keep)
    }

    /// Adds cell `i` of `block` to group `first_group + i`.
    ///
    /// # Errors
    /// As [`Accumulators::add_run`].
    pub fn add_each(&mut self, first_group: usize, block: Block<'_>, keep: Option<&[bool]>) -> Result<()> {
        self.check_groups(first_group, block.len())?;
        self.add_all(block.into(), Target::Each(first_group), keep)
    }

    /// Adds cell `i` of `block` to group `base + codes[i]`. Fast where codes repeat or ascend by one for a while.
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
        if codes.len() != block.len() {
            return Err(misfit(format!("{} codes for {} cells", codes.len(), block.len())));
        }
        let top = codes.iter().copied().max().map_or(0, |code| code as usize + 1);
        self.check_groups(base, top)?;
        self.add(block.into(), &cut_codes(base, codes), codes, keep)
    }

    fn add_all(&mut self, cells: Piece<'_>, to: Target, keep: Option<&[bool]>) -> Result<()> {
        self.add(cells, &[Stretch { start: 0, len: cells.len(), to }], &[], keep)
    }

    fn check_groups(&self, first: usize, count: usize) -> Result<()> {
        match first.checked_add(count) {
            Some(end) if end <= self.groups => Ok(()),
            _ => Err(misfit(format!("{count} groups from {first} of {}", self.groups))),
        }
    }

    /// Adds `piece` stretch by stretch. The stretches must lie inside it and lead to groups that exist.
    pub(super) fn add(
        &mut self,
        piece: Piece<'_>,
        stretches: &[Stretch],
        codes: &[u32],
        keep: Option<&[bool]>,
    ) -> Result<()> {
        let dtype = piece.dtype();
        if dtype != self.dtype {
            return Err(misfit(format!("a block of {dtype} for states of {}", self.dtype)));
        }
        if keep.is_some_and(|keep| keep.len() != piece.len()) {
            return Err(misfit(format!("a mask of another length than its {} cells", piece.len())));
        }
        let cut = Cut { stretches, codes, keep };
        match (&mut self.state, piece) {
            (state, Piece::Values(block)) => each_state!(state, typed => typed.add(block, &cut)),
            (state, Piece::Constant(value, len)) => {
                each_state!(state, typed => typed.add_constant(value, len, &cut));
            }
            (AnyState::F64(typed), Piece::Packed(samples, packing)) => {
                typed.add_packed(samples, packing, &cut);
            }
            (_, Piece::Packed(..)) => {
                return Err(misfit("packed cells of another dtype than float64".into()));
            }
        }
        Ok(())
    }

    /// Merges group `i` of `other` (same dtype, wants and policy) into group `group_of(i)`.
    ///
    /// # Errors
    /// [`Error::Grid`] if the two don't match or a group is beyond the last; then nothing is merged.
    pub fn merge(&mut self, other: &mut Accumulators, group_of: impl Fn(usize) -> usize) -> Result<()> {
        if (self.dtype, self.wants, self.total()) != (other.dtype, other.wants, other.total()) {
            return Err(misfit("states of different kinds can't be merged".into()));
        }
        (0..other.groups).try_for_each(|group| self.check_groups(group_of(group), 1))?;
        each_pair!(&mut self.state, &mut other.state, (a, b) => a.state.merge(&mut b.state, &group_of));
        Ok(())
    }

    /// Adds to `group` the cells that `stats` describe.
    ///
    /// # Errors
    /// [`Error::Grid`] if they are of another dtype, have NaN where NaN is a value, or the group is beyond the
    /// last.
    pub fn fold_stats(&mut self, group: usize, stats: &ChunkStats) -> Result<()> {
        self.check_groups(group, 1)?;
        if self.total() && stats.nan > 0 {
            return Err(misfit("statistics don't say which NaN there are".into()));
        }
        let folded = each_state!(&mut self.state, typed => typed.fold_stats(group, stats));
        folded.ok_or_else(|| misfit(format!("statistics of other cells than {}", self.dtype)))
    }

    /// Whether cells between `min` and `max`, and `nan` NaN, can't move the extremes of `group`, which has some.
    pub(super) fn encloses(&mut self, group: usize, nan: u64, min: Number, max: Number) -> bool {
        if (self.total() && nan > 0) || group >= self.groups {
            return false;
        }
        each_state!(&mut self.state, typed => {
            typed.state.settle();
            stats::encloses(&typed.state, group, min, max)
        })
    }

    /// What the states say of the `cells` cells that were added, NaN ones included; `None` unless there is one
    /// group, everything is kept ([`Wants::ALL`]) and NaN is missing, so that it wasn't counted.
    pub fn summary(&mut self, cells: u64) -> Option<ChunkStats> {
        if self.total() {
            return None;
        }
        each_state!(&mut self.state, typed => stats::summary(&mut typed.state, cells))
    }

    /// The states of `times` times the cells: each of those that were added, so many times over.
    ///
    /// # Errors
    /// [`Error::Grid`] if an integer sum leaves 128 bits.
    pub fn multiply(&mut self, times: u64) -> Result<()> {
        match each_state!(&mut self.state, typed => typed.state.multiply(times)) {
            true => Ok(()),
            false => Err(misfit(format!("{times} times a sum leaves 128 bits"))),
        }
    }

    /// Merges each group of `other` (same dtype, wants, policy and groups) into the same group here.
    ///
    /// # Errors
    /// [`Error::Grid`] if the two don't match; then nothing is merged.
    pub fn merge_same(&mut self, other: &mut Accumulators) -> Result<()> {
        self.check_same(other)?;
        each_pair!(&mut self.state, &mut other.state, (a, b) => a.state.merge_same(&mut b.state));
        Ok(())
    }

    /// Takes over the extremes of each group of `other` (same dtype, wants, policy and groups). From then on nothing
    /// but the extremes, and whether a group has cells, means anything.
    ///
    /// # Errors
    /// [`Error::Grid`] if the two don't match; then nothing is taken over.
    pub fn adopt_extremes(&mut self, other: &mut Accumulators) -> Result<()> {
        self.check_same(other)?;
        each_pair!(&mut self.state, &mut other.state, (a, b) => a.state.adopt(&mut b.state));
        Ok(())
    }

    fn check_same(&self, other: &Accumulators) -> Result<()> {
        let kind = |states: &Self| (states.dtype, states.wants, states.total(), states.groups);
        if kind(self) == kind(other) {
            return Ok(());
        }
        Err(misfit("states of different kinds can't be merged".into()))
    }

    /// The states as they are now.
    pub fn read(&mut self) -> Reading<'_> {
        let dtype = self.dtype;
        each_state!(&mut self.state, typed => typed.read(dtype))
    }
}

/// Something that doesn't fit the states or the chunk.
pub(super) fn misfit(what: String) -> Error {
    Error::Grid { name: "reduction".into(), what }
}
