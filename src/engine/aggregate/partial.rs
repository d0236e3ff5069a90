//! The states that one partition (or one task) keeps, and the batches that they become.

use super::cells::{CellsPlan, Course, Tile};
use super::function::{Aggregate, Path};
use super::reduction::Reduction;
use super::sink::{Sink, count};
use super::states;
use super::work::Work;
use crate::codec::Piece;
use crate::engine::external;
use crate::reduce::expr::{Kept, Segment};
use crate::reduce::{Accumulators, ChunkReducer, GroupMap, Localised, Reading};
use crate::tensor::{Part, Selection};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::Result;
use std::sync::Arc;

/// Dense states of some groups.
pub(super) struct Partial {
    reduction: Arc<Reduction>,
    work: Arc<Work>,
    /// The grouping set that these are the groups of; `None` if of all keys.
    set: Option<usize>,
    /// Groups of the cells that are added.
    map: Arc<GroupMap>,
    /// Cells of each group that were seen: of the selection, or the rows that the predicates keep. Empty while there
    /// are none.
    cells: Vec<u64>,
    /// Whether its states are handed on by themselves: groups of which it has any must be among those that exist here, though
    /// another worker counts the cells of the selection.
    apart: bool,
    /// For each aggregate that geometry decides: its counts, once there are any.
    counts: Vec<Option<Vec<u64>>>,
    /// For each pass: the states of its variable, once there are any.
    states: Vec<Option<Accumulators>>,
    /// For each side: where its cells go, once there are any.
    sinks: [Vec<Sink>; 2],
}

/// How a sink ends: in states or in values.
type FinishSink = fn(&mut Sink, &[Aggregate], bool) -> Result<Vec<(usize, Outcome)>>;

/// How a pass ends, for an aggregate: in states or in values.
type ReadPass = fn(&Aggregate, &Reading<'_>, bool) -> Result<Outcome>;

/// What an aggregate has come to, one row for each group.
pub(super) enum Outcome {
    /// Its state columns.
    States(Vec<ArrayRef>),
    /// Its final values.
    Value(ArrayRef),
}

impl Partial {
    /// Empty states for the groups of `map`, of `reduction`, planned as `work`; `apart` says that they are handed on by
    /// themselves.
    pub(super) fn new(
        reduction: &Arc<Reduction>,
        work: &Arc<Work>,
        map: &Arc<GroupMap>,
        apart: bool,
    ) -> Self {
        Self {
            reduction: Arc::clone(reduction),
            work: Arc::clone(work),
            set: None,
            map: Arc::clone(map),
            cells: Vec::new(),
            apart,
            counts: vec![None; reduction.aggregates.len()],
            states: work.passes.iter().map(|pass| pass.start.clone()).collect(),
            sinks: Default::default(),
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let counts = self.counts.iter().flatten().chain([&self.cells]).map(|counts| counts.capacity() * 8);
        let passes = self.states.iter().flatten().map(Accumulators::memory);
        counts.chain(passes).chain(self.sinks.iter().flatten().map(Sink::memory)).sum()
    }

    /// Bytes that a batch of all groups takes, in columns of `schema`, with the states of a grouping set.
    pub(super) fn outcome_memory(&self, schema: &SchemaRef) -> usize {
        let width = |field: &FieldRef| field.data_type().primitive_width().unwrap_or(16) + 1;
        let batch = self.map.groups() * schema.fields().iter().map(width).sum::<usize>();
        if self.reduction.sets.is_empty() { batch } else { batch + self.memory() }
    }

    /// Counts the kept cells of `part`, for groups to exist and for the counts that geometry decides.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn count(&mut self, part: &Part) -> Result<()> {
        ChunkReducer::new(part, &Arc::clone(&self.map)).count_rows(self.counted()).map_err(external)?;
        for (aggregate, counts) in self.reduction.aggregates.iter().zip(&mut self.counts) {
            let Path::Arithmetic(selection) = &aggregate.path else { continue };
            let counts = counts.get_or_insert_with(|| vec![0; self.map.groups()]);
            let part = restricted(part, selection);
            if !part.is_empty() {
                ChunkReducer::new(&part, &self.map).count_rows(counts).map_err(external)?;
            }
        }
        Ok(())
    }

    /// The cells of each group.
    fn counted(&mut self) -> &mut [u64] {
        self.cells.resize(self.map.groups(), 0);
        &mut self.cells
    }

    /// The states of pass number `index`, made when first asked for.
    ///
    /// # Errors
    /// Those of making accumulators.
    pub(super) fn states(&mut self, index: usize) -> Result<&mut Accumulators> {
        let slot = &mut self.states[index];
        if slot.is_none() {
            let pass = &self.work.passes[index];
            let dtype = self.reduction.grid.variables[pass.variable].dtype;
            let nan = self.reduction.nan_policy();
            let states = Accumulators::try_new(dtype, self.map.groups(), pass.wants, nan);
            *slot = Some(states.map_err(external)?);
        }
        slot.as_mut().map_or_else(|| datafusion::common::internal_err!("a pass has no states"), Ok)
    }

    /// Makes ready for the cells of `plan`.
    ///
    /// # Errors
    /// Those of making accumulators.
    pub(super) fn expect(&mut self, plan: &CellsPlan) -> Result<()> {
        let groups = self.map.groups();
        let sinks = plan.gated.sinks.iter();
        let sinks = sinks.map(|sink| Sink::try_new(sink, &self.reduction, groups, plan.times));
        self.sinks[plan.side as usize] = sinks.collect::<Result<_>>()?;
        Ok(())
    }

    /// Adds the cells of `tile`, which `course`'s program has run for; `reducer` knows their groups.
    ///
    /// # Errors
    /// Those of the kernels and accumulators.
    pub(super) fn add_tile(
        &mut self,
        course: &Course<'_>,
        tile: &Tile<'_>,
        reducer: &mut ChunkReducer<'_>,
    ) -> Result<()> {
        let Course { plan, flow, .. } = course;
        if plan.decides || self.apart {
            let kept = flow.gate.map_or(Kept::All, |gate| tile.machine.kept(gate));
            count(tile.segments, kept, reducer, self.counted())?;
        }
        let mut sinks = self.sinks[plan.side as usize].iter_mut().zip(&flow.sinks);
        sinks.try_for_each(|(sink, plan)| sink.add(plan, tile, reducer, self.map.groups()))
    }

    /// Adds the `kept` ones of the cells of `piece`, from element `first` of the chunk on, whose sinks take them as
    /// they are.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn add_piece(
        &mut self,
        course: &Course<'_>,
        first: u64,
        piece: Piece<'_>,
        kept: Kept<'_>,
        reducer: &mut ChunkReducer<'_>,
    ) -> Result<()> {
        if course.plan.decides || self.apart {
            count(&[Segment { first, len: piece.len() }], kept, reducer, self.counted())?;
        }
        let mut sinks = self.sinks[course.plan.side as usize].iter_mut();
        sinks.try_for_each(|sink| sink.add_piece(first, piece, kept, reducer))
    }

    /// Adds the kept cells of `part`, all of which meet the predicates of `plan`, from statistics; `false`, with
    /// nothing added, if these don't answer for all sinks.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn answer(&mut self, plan: &CellsPlan, part: &Part) -> Result<bool> {
        let Some(answers) = plan.answers(&self.reduction, part, &self.map) else { return Ok(false) };
        if plan.decides || self.apart {
            ChunkReducer::new(part, &Arc::clone(&self.map)).count_rows(self.counted()).map_err(external)?;
        }
        for (sink, answer) in self.sinks[plan.side as usize].iter_mut().zip(&answers) {
            sink.add_answer(answer, part, &self.map)?;
        }
        Ok(true)
    }

    /// Adds the states of `other`, of the same reduction and groups, whose cells come after those seen so far.
    ///
    /// # Errors
    /// Those of accumulators.
    pub(super) fn merge(&mut self, other: Self) -> Result<()> {
        match self.cells.is_empty() {
            true => self.cells = other.cells,
            false => self.cells.iter_mut().zip(other.cells).for_each(|(cells, more)| *cells += more),
        }
        for (counts, more) in self.counts.iter_mut().zip(other.counts) {
            match (counts, more) {
                (Some(counts), Some(more)) => counts.iter_mut().zip(more).for_each(|(n, more)| *n += more),
                (none, more @ Some(_)) => *none = more,
                (_, None) => {}
            }
        }
        for (states, more) in self.states.iter_mut().zip(other.states) {
            match (states, more) {
                (Some(states), Some(mut more)) => states.merge_same(&mut more).map_err(external)?,
                (none, more @ Some(_)) => *none = more,
                (_, None) => {}
            }
        }
        for (sinks, more) in self.sinks.iter_mut().zip(other.sinks) {
            if sinks.is_empty() {
                *sinks = more;
            } else {
                let mut pairs = sinks.iter_mut().zip(more);
                pairs.try_for_each(|(sink, more)| sink.merge(more, self.map.groups()))?;
            }
        }
        Ok(())
    }

    /// The states of grouping set `set`, added up from these, which are of all keys.
    fn rolled_up(&mut self, set: usize) -> Result<Self> {
        let groups = &self.reduction.sets[set].groups;
        let targets = self.reduction.sets[set].targets(&self.map);
        let total = groups.map.groups();
        let mut rolled = Self::new(&self.reduction, &self.work, &groups.map, self.apart);
        rolled.set = Some(set);
        let add = |into: &mut [u64], from: &[u64]| {
            from.iter().zip(&targets).for_each(|(&count, &target)| into[target] += count);
        };
        add(rolled.counted(), &self.cells);
        for (into, from) in rolled.counts.iter_mut().zip(&self.counts) {
            *into = from.as_ref().map(|from| {
                let mut counts = vec![0; total];
                add(&mut counts, from);
                counts
            });
        }
        for (into, from) in rolled.states.iter_mut().zip(&mut self.states) {
            let Some(from) = from else { continue };
            let mut states = from.like(total).map_err(external)?;
            states.merge(from, |group| targets[group]).map_err(external)?;
            *into = Some(states);
        }
        for (into, from) in rolled.sinks.iter_mut().zip(&mut self.sinks) {
            let sinks =
                from.iter_mut().map(|sink| sink.rolled_up(&self.reduction.aggregates, &targets, total));
            *into = sinks.collect::<Result<_>>()?;
        }
        Ok(rolled)
    }

    /// The groups that exist, with their keys and states: batches of the partial aggregate's schema, one for each
    /// grouping set. `local` says which groups those of a localised map are.
    ///
    /// # Errors
    /// If an integer sum overflows, and those of accumulators and arrow.
    pub(super) fn finish(
        mut self,
        local: Option<&Localised>,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        if self.reduction.sets.is_empty() {
            return emit(self.states_batch(local)?);
        }
        (0..self.reduction.sets.len()).try_for_each(|set| emit(self.rolled_up(set)?.states_batch(None)?))
    }

    /// The groups that exist, with their keys and final values: batches, one for each grouping set, of `columns` of the
    /// final aggregate, which make up `schema`.
    ///
    /// # Errors
    /// As [`Partial::finish`].
    pub(super) fn complete(
        mut self,
        schema: &SchemaRef,
        columns: &[usize],
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        if self.reduction.sets.is_empty() {
            return emit(self.values_batch(schema, columns)?);
        }
        let mut sets = 0..self.reduction.sets.len();
        sets.try_for_each(|set| emit(self.rolled_up(set)?.values_batch(schema, columns)?))
    }

    fn states_batch(&mut self, local: Option<&Localised>) -> Result<RecordBatch> {
        let read: ReadPass =
            |aggregate, reading, grouped| states::columns(aggregate, reading, grouped).map(Outcome::States);
        let states = self.outcomes(Sink::states, read)?.into_iter().flat_map(|outcome| match outcome {
            Outcome::States(states) => states,
            Outcome::Value(value) => vec![value],
        });
        let states = states.collect();
        let schema = &self.reduction.schema;
        self.assemble(states, local, schema, 0..schema.fields().len())
    }

    fn values_batch(&mut self, schema: &SchemaRef, columns: &[usize]) -> Result<RecordBatch> {
        let outcomes = self.outcomes(Sink::values, states::read)?;
        let grouped = self.reduction.grouped();
        let values =
            outcomes.into_iter().zip(&self.reduction.aggregates).map(|(outcome, aggregate)| match outcome {
                Outcome::States(states) => states::value(aggregate, states, grouped),
                Outcome::Value(value) => Ok(value),
            });
        let values = values.collect::<Result<_>>()?;
        self.assemble(values, None, schema, columns.iter().copied())
    }

    /// What each aggregate has come to, for all groups; `finish` says how a sink ends, `read` how a pass does.
    fn outcomes(&mut self, finish: FinishSink, read: ReadPass) -> Result<Vec<Outcome>> {
        let mut outcomes = self.arithmetic_columns();
        self.direct_columns(&mut outcomes, read)?;
        let grouped = self.reduction.grouped();
        for sink in self.sinks.iter_mut().flatten() {
            for (index, outcome) in finish(sink, &self.reduction.aggregates, grouped)? {
                outcomes[index] = Some(outcome);
            }
        }
        let groups = self.map.groups();
        let outcomes = outcomes.into_iter().zip(&self.reduction.aggregates).map(|(outcome, aggregate)| {
            outcome.map_or_else(|| states::empty(aggregate, groups, grouped).map(Outcome::States), Ok)
        });
        outcomes.collect()
    }

    fn arithmetic_columns(&self) -> Vec<Option<Outcome>> {
        let column = |counts: &Vec<u64>| Outcome::States(vec![states::count_column(counts)]);
        self.counts.iter().map(|counts| counts.as_ref().map(column)).collect()
    }

    /// Fills in what passes have accumulated, and notes which groups they have seen.
    fn direct_columns(&mut self, columns: &mut [Option<Outcome>], read: ReadPass) -> Result<()> {
        for (states, pass) in self.states.iter_mut().zip(&self.work.passes) {
            let Some(states) = states else { continue };
            let reading = states.read();
            match self.cells.is_empty() {
                true => self.cells = reading.counts.to_vec(),
                false => {
                    self.cells.iter_mut().zip(reading.counts).for_each(|(cells, count)| *cells |= count);
                }
            }
            for &index in &pass.aggregates {
                let aggregate = &self.reduction.aggregates[index];
                columns[index] = Some(read(aggregate, &reading, self.reduction.grouped())?);
            }
        }
        self.counted();
        Ok(())
    }

    /// Some `columns` of the keys and, after them, of `aggregates`, of the groups that exist; a group of all cells
    /// always does.
    fn assemble(
        &self,
        aggregates: Vec<ArrayRef>,
        local: Option<&Localised>,
        schema: &SchemaRef,
        columns: impl Iterator<Item = usize>,
    ) -> Result<RecordBatch> {
        let set = self.set.map(|set| &self.reduction.sets[set]);
        let space = set.map_or(&self.reduction.groups, |set| &set.groups);
        let total = set.map_or(!self.reduction.grouped(), |set| set.total);
        let exists = |cells: u64| cells > 0 || total;
        let all = self.cells.iter().all(|&cells| exists(cells));
        let groups: Vec<usize> = match all && local.is_none() {
            true => Vec::new(),
            false => (0..self.cells.len()).filter(|&group| exists(self.cells[group])).collect(),
        };
        let rows = if all { self.cells.len() } else { groups.len() };
        let indices = || UInt64Array::from_iter_values(groups.iter().map(|&group| group as u64));
        let indices = (!all).then(indices);
        let keys = space.keys.len();
        let column = |at: usize| match (at.checked_sub(keys), set, &indices) {
            (None, ..) => match (local, all) {
                (Some(local), _) => {
                    space.key_column(at, &groups, |group, component| local.global_code(group, component))
                }
                (None, true) => space.whole_key_column(at),
                (None, false) => {
                    space.key_column(at, &groups, |group, component| self.map.code(group, component))
                }
            },
            (Some(0), Some(set), _) => {
                let id = schema.field(at).data_type();
                Ok(cast(&UInt64Array::from_value(set.id, rows), id)?)
            }
            (Some(nth), _, None) => Ok(Arc::clone(&aggregates[nth - usize::from(set.is_some())])),
            (Some(nth), _, Some(indices)) => {
                Ok(take(&aggregates[nth - usize::from(set.is_some())], indices, None)?)
            }
        };
        let columns = columns.map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

/// What `selection`, which keeps no cell that the part's own doesn't, keeps of `part`.
fn restricted(part: &Part, selection: &Selection) -> Part {
    let within = (0..part.shape.len()).map(|dim| {
        let extent = part.origin[dim]..part.origin[dim] + part.shape[dim];
        part.within[dim].intersect(&selection.dims[dim].within(extent))
    });
    Part { within: within.collect(), masks: selection.masks.clone(), ..part.clone() }
}
