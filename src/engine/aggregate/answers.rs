//! What statistics spare a reduction, and what a reduction leaves to the statistics.
//!
//! ```text
//! parts of a pass --sift()--> answered while planning: the states that every partition starts from
//!                             can't bring anything new: dropped
//!                             to be decoded, the most promising first
//! part to be decoded --Worker::answered()--> Answer of its chunk's statistics; else decoded, and maybe noted
//! ```
//! Only passes that want nothing but extremes are sifted while planning: merging the same extremes twice changes
//! nothing, so partitions can share what is known from the start.

use super::cells::{self, CellsPlan};
use super::reduction::Reduction;
use super::sink::SinkAnswer;
use super::work::DirectPass;
use super::worker::Worker;
use crate::codec::Piece;
use crate::dataset::Variable;
use crate::dataset::read::Collect;
use crate::dataset::stats::ChunkStats;
use crate::engine::external;
use crate::engine::verdict::Verdict;
use crate::reduce::{Accumulators, Answer, ChunkReducer, GroupMap, NanPolicy, Wants, brings_nothing};
use crate::tensor::{Part, Parts};
use datafusion::common::Result;

/// Parts that are looked at while planning, at most: of a million, workers find out one by one.
const PLANNED: u64 = 1 << 14;

/// What sifting has spared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spared {
    /// Parts that statistics answered.
    pub answered: u64,
    /// Parts whose statistics say that they bring nothing new.
    pub pruned: u64,
}

/// Whether the statistics of its chunk are seen to answer for the part at `place`.
pub(super) fn answered(reduction: &Reduction, pass: &DirectPass, place: u64) -> bool {
    let found = |part| {
        let variable = &reduction.grid.variables[pass.variable];
        find(reduction, pass, &part, &reduction.groups.map, variable)
    };
    known(reduction, pass) && pass.parts.get(place).and_then(found).is_some()
}

/// Whether statistics of any chunk are known.
fn known(reduction: &Reduction, pass: &DirectPass) -> bool {
    reduction.grid.variables[pass.variable].stats.known() > 0
}

fn find(
    reduction: &Reduction,
    pass: &DirectPass,
    part: &Part,
    map: &GroupMap,
    variable: &Variable,
) -> Option<(ChunkStats, Answer)> {
    let stats = variable.stats.get(part.chunk)?;
    let answer = Answer::find(part, map, &stats, pass.wants, reduction.nan_policy())?;
    Some((stats, answer))
}

/// Answers the parts of a pass that wants nothing but extremes from statistics, as far as they are known, into
/// the states that partitions start from. What is left has to be decoded, most promising parts first. `None` if
/// nothing can be spared so.
pub(super) fn sift(
    reduction: &Reduction,
    pass: &mut DirectPass,
) -> crate::Result<Option<(Vec<Part>, Spared)>> {
    let variable = &reduction.grid.variables[pass.variable];
    let map = &reduction.groups.map;
    let mut spared = Spared::default();
    if !pass.extremes || !known(reduction, pass) || pass.parts.places() > PLANNED {
        return Ok(None);
    }
    let mut states = Accumulators::try_new(variable.dtype, map.groups(), pass.wants, reduction.nan_policy())?;
    let mut left = Vec::new();
    for part in pass.parts.range(0..pass.parts.places()) {
        if let Some((stats, answer)) = find(reduction, pass, &part, map, variable) {
            answer.add(&part, map, &stats, &mut states)?;
            spared.answered += 1;
        } else {
            left.push((variable.stats.get(part.chunk), part));
        }
    }
    if spared.answered == 0 {
        return Ok(None);
    }
    let before = left.len();
    left.retain(|(stats, part)| {
        stats.as_ref().is_none_or(|stats| !brings_nothing(part, map, stats, &mut states))
    });
    spared.pruned = (before - left.len()) as u64;
    // What is unknown has to be decoded in any case, and may rule out others.
    left.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => promise(a, b, pass.wants),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    pass.start = Some(states);
    Ok(Some((left.into_iter().map(|(_, part)| part).collect(), spared)))
}

impl CellsPlan {
    /// What statistics answer for the kept cells of `part`, sink by sink, if all of these meet the predicates; `None`
    /// if that doesn't do for all sinks.
    pub(super) fn answers(
        &self,
        reduction: &Reduction,
        part: &Part,
        map: &GroupMap,
    ) -> Option<Vec<SinkAnswer>> {
        let flow = self.open.as_ref()?;
        flow.sinks.iter().map(|sink| sink.answer(reduction, &flow.inputs, part, map)).collect()
    }

    /// Whether the part at `place` of `parts` is seen not to be read: no cell meets the predicates, or all do and
    /// statistics answer.
    pub(super) fn spares(&self, reduction: &Reduction, parts: &Parts, place: u64) -> bool {
        let known = |variable: &Variable| variable.stats.known() > 0;
        if self.open.is_none() || parts.places() > PLANNED || !self.variables(reduction).any(known) {
            return false;
        }
        parts.get(place).is_some_and(|part| {
            let piece = cells::Piece::Part(part.clone());
            match self.verdict(reduction, &piece) {
                Verdict::Never => true,
                Verdict::Always => self.answers(reduction, &part, &reduction.groups.map).is_some(),
                Verdict::Unknown => false,
            }
        })
    }
}

/// Which of two chunks is likelier to hold the extreme that is wanted.
fn promise(a: &ChunkStats, b: &ChunkStats, wants: Wants) -> std::cmp::Ordering {
    match (a.bounds, b.bounds) {
        (Some(a), Some(b)) if wants.min => a.0.order(&b.0),
        (Some(a), Some(b)) => b.1.order(&a.1),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The statistics of a chunk that is being reduced.
pub(super) struct Gathering {
    /// States of the whole chunk.
    chunk: Accumulators,
    /// The group that all its cells are in, where they are reduced for the statistics only, which then go there.
    group: Option<usize>,
}

impl Gathering {
    /// Adds cells from element `first` of the chunk on, also to `states` unless they get the
    /// statistics.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn add(
        &mut self,
        first: u64,
        cells: Piece<'_>,
        reducer: &mut ChunkReducer<'_>,
        states: &mut Accumulators,
    ) -> crate::Result<()> {
        if self.group.is_none() {
            reducer.feed(first, cells, None, states)?;
        }
        self.chunk.add_run(0, cells, None)
    }

    /// Notes the statistics of the chunk of `part`, and hands them to its group.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn note(
        mut self,
        variable: &Variable,
        part: &Part,
        states: &mut Accumulators,
    ) -> crate::Result<()> {
        let Some(stats) = self.chunk.summary(part.len()) else { return Ok(()) };
        variable.stats.put(part.chunk, &stats);
        self.group.map_or(Ok(()), |group| states.fold_stats(group, &stats))
    }
}

impl Worker<'_> {
    /// Whether `part` needn't be decoded: its chunk's statistics answered for it, or say that it brings nothing
    /// new.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn answered(
        &self,
        index: usize,
        part: &Part,
        states: &mut Accumulators,
        map: &GroupMap,
    ) -> Result<bool> {
        let pass = &self.work.passes[index];
        let variable = &self.reduction.grid.variables[pass.variable];
        if let Some((stats, answer)) = find(&self.reduction, pass, part, map, variable) {
            answer.add(part, map, &stats, states).map_err(external)?;
            self.metrics.chunks_from_statistics.add(1);
            return Ok(true);
        }
        let stats = variable.stats.get(part.chunk).filter(|_| pass.extremes);
        let nothing = stats.is_some_and(|stats| brings_nothing(part, map, &stats, states));
        self.metrics.chunks_pruned_by_statistics.add(usize::from(nothing));
        Ok(nothing)
    }

    /// What gathers the statistics of the chunk of `part`, if all of it is about to be reduced and they are
    /// asked for, or come for nothing.
    ///
    /// # Errors
    /// Those of making accumulators.
    pub(super) fn gather(
        &self,
        index: usize,
        part: &Part,
        map: &GroupMap,
    ) -> crate::Result<Option<Gathering>> {
        let pass = &self.work.passes[index];
        let variable = &self.reduction.grid.variables[pass.variable];
        let always = match self.reduction.scan.options().collect {
            Collect::Off => return Ok(None),
            Collect::Auto if pass.wants != Wants::ALL => return Ok(None),
            Collect::Auto => false,
            Collect::On => true,
        };
        if !part.is_whole() || variable.stats.get(part.chunk).is_some() {
            return Ok(None);
        }
        // Statistics don't count NaN: they can't be the states where it is a value.
        let exact = !variable.dtype.is_float() || self.reduction.nan_policy() == NanPolicy::Null;
        let group = map.group_of_all(part).filter(|_| exact);
        if group.is_none() && !always {
            return Ok(None);
        }
        let chunk = Accumulators::try_new(variable.dtype, 1, Wants::ALL, NanPolicy::Null)?;
        Ok(Some(Gathering { chunk, group }))
    }
}
