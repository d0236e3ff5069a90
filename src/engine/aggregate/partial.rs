//! The states that one partition (or one task) keeps, and the batches that they become.

use super::function::{Aggregate, Path, Side};
use super::reduction::Reduction;
use super::sink::{Rows, Sink, count, keep_groups, truth};
use super::states;
use super::work::Work;
use crate::engine::external;
use crate::reduce::{Accumulators, ChunkReducer, Factor, GroupMap, Localised, NanPolicy};
use crate::tensor::{Part, Selection};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::{filter_record_batch, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Rows evaluated at a time: a few columns of that many doubles stay in cache.
const ROWS: usize = 16 << 10;

/// Dense states of some groups.
pub(super) struct Partial {
    reduction: Arc<Reduction>,
    work: Arc<Work>,
    /// Groups of the cells that are added.
    map: Arc<GroupMap>,
    /// Cells of each group that were seen: of the selection, or the rows that the predicates keep.
    cells: Vec<u64>,
    /// For each aggregate that geometry decides: its counts, once there are any.
    counts: Vec<Option<Vec<u64>>>,
    /// For each pass: the states of its variable, once there are any.
    states: Vec<Option<Accumulators>>,
    /// Where rows of each side go.
    sides: [RowSide; 2],
}

/// Where rows of one side go.
#[derive(Default)]
pub(super) struct RowSide {
    /// Aggregates through rows.
    pub sinks: Vec<Sink>,
    /// What rows must satisfy before, one after the other.
    pub predicates: Vec<Arc<dyn PhysicalExpr>>,
}

/// How a sink ends: in states or in values.
type FinishSink = fn(&mut Sink, &[Aggregate], bool) -> Result<Vec<(usize, Outcome)>>;

/// What an aggregate has come to, one row for each group.
pub(super) enum Outcome {
    /// Its state columns.
    States(Vec<ArrayRef>),
    /// Its final values.
    Value(ArrayRef),
}

impl Partial {
    /// Empty states for the groups of `map`, of `reduction`, planned as `work`.
    pub(super) fn new(reduction: &Arc<Reduction>, work: &Arc<Work>, map: &Arc<GroupMap>) -> Self {
        Self {
            reduction: Arc::clone(reduction),
            work: Arc::clone(work),
            map: Arc::clone(map),
            cells: vec![0; map.groups()],
            counts: vec![None; reduction.aggregates.len()],
            states: work.passes.iter().map(|_| None).collect(),
            sides: Default::default(),
        }
    }

    /// Makes ready for rows of `side`.
    pub(super) fn expect_rows(&mut self, side: Side, rows: RowSide) {
        self.sides[side as usize] = rows;
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let counts = self.counts.iter().flatten().chain([&self.cells]).map(|counts| counts.capacity() * 8);
        let passes = self.states.iter().flatten().map(Accumulators::memory);
        counts.chain(passes).chain(self.sides.iter().flat_map(|side| &side.sinks).map(Sink::memory)).sum()
    }

    /// Counts the kept cells of `part`, for groups to exist and for the counts that geometry decides.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn count(&mut self, part: &Part) -> Result<()> {
        ChunkReducer::new(part, &self.map).count_rows(&mut self.cells).map_err(external)?;
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

    /// The states of pass number `index`, made when first asked for.
    ///
    /// # Errors
    /// Those of making accumulators.
    pub(super) fn states(&mut self, index: usize) -> Result<&mut Accumulators> {
        let slot = &mut self.states[index];
        if slot.is_none() {
            let pass = &self.work.passes[index];
            let dtype = self.reduction.grid.variables[pass.variable].dtype;
            let missing = self.reduction.scan.options().nan_as_missing;
            let nan = if missing { NanPolicy::Null } else { NanPolicy::Value };
            let states = Accumulators::try_new(dtype, self.map.groups(), pass.wants, nan);
            *slot = Some(states.map_err(external)?);
        }
        slot.as_mut().map_or_else(|| datafusion::common::internal_err!("a pass has no states"), Ok)
    }

    /// Adds rows of `side`; `groups` has one entry for each, or is empty if there is one group only.
    ///
    /// # Errors
    /// Those of the expressions and accumulators.
    pub(super) fn add_rows(&mut self, side: Side, batch: &RecordBatch, groups: &[u32]) -> Result<()> {
        for start in (0..batch.num_rows()).step_by(ROWS) {
            let len = ROWS.min(batch.num_rows() - start);
            let groups = (!groups.is_empty()).then(|| &groups[start..start + len]);
            self.add_slice(side, batch.slice(start, len), groups)?;
        }
        Ok(())
    }

    fn add_slice(&mut self, side: Side, mut batch: RecordBatch, groups: Option<&[u32]>) -> Result<()> {
        let side = &mut self.sides[side as usize];
        let mut kept: Option<Vec<u32>> = None;
        for predicate in &side.predicates {
            let keep = truth(predicate, &batch)?;
            if keep.true_count() == batch.num_rows() {
                continue;
            }
            batch = filter_record_batch(&batch, &keep)?;
            kept = kept.as_deref().or(groups).map(|groups| keep_groups(groups, &keep));
        }
        let groups = kept.as_deref().or(groups);
        count(&mut self.cells, groups, batch.num_rows(), None);
        let rows = Rows { batch: &batch, groups };
        side.sinks.iter_mut().try_for_each(|sink| sink.add(&rows, self.map.groups()))
    }

    /// Adds the states of `other`, of the same reduction and groups, whose cells come after those seen so far.
    ///
    /// # Errors
    /// Those of accumulators.
    pub(super) fn merge(&mut self, other: Self) -> Result<()> {
        self.cells.iter_mut().zip(other.cells).for_each(|(cells, more)| *cells += more);
        for (counts, more) in self.counts.iter_mut().zip(other.counts) {
            match (counts, more) {
                (Some(counts), Some(more)) => counts.iter_mut().zip(more).for_each(|(n, more)| *n += more),
                (none, more @ Some(_)) => *none = more,
                (_, None) => {}
            }
        }
        for (states, more) in self.states.iter_mut().zip(other.states) {
            match (states, more) {
                (Some(states), Some(mut more)) => states.merge(&mut more, |group| group).map_err(external)?,
                (none, more @ Some(_)) => *none = more,
                (_, None) => {}
            }
        }
        for (side, more) in self.sides.iter_mut().zip(other.sides) {
            if side.sinks.is_empty() {
                *side = more;
            } else {
                let pairs = side.sinks.iter_mut().zip(more.sinks);
                pairs.into_iter().try_for_each(|(sink, more)| sink.merge(more, self.map.groups()))?;
            }
        }
        Ok(())
    }

    /// The groups that exist, with their keys and states: a batch of the partial aggregate's schema. `local`
    /// says which groups those of a localised map are.
    ///
    /// # Errors
    /// If an integer sum overflows, and those of accumulators and arrow.
    pub(super) fn finish(mut self, local: Option<&Localised>) -> Result<RecordBatch> {
        let states = self.outcomes(Sink::states)?.into_iter().flat_map(|outcome| match outcome {
            Outcome::States(states) => states,
            Outcome::Value(value) => vec![value],
        });
        let states = states.collect();
        self.assemble(states, local, &self.reduction.schema)
    }

    /// The groups that exist, with their keys and final values: a batch of the final aggregate's schema, `schema`.
    ///
    /// # Errors
    /// As [`Partial::finish`].
    pub(super) fn complete(mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let outcomes = self.outcomes(Sink::values)?;
        let grouped = self.reduction.grouped();
        let values =
            outcomes.into_iter().zip(&self.reduction.aggregates).map(|(outcome, aggregate)| match outcome {
                Outcome::States(states) => states::value(aggregate, states, grouped),
                Outcome::Value(value) => Ok(value),
            });
        let values = values.collect::<Result<_>>()?;
        self.assemble(values, None, schema)
    }

    /// What each aggregate has come to, for all groups; `finish` says how a sink ends.
    fn outcomes(&mut self, finish: FinishSink) -> Result<Vec<Outcome>> {
        let mut outcomes = self.arithmetic_columns();
        self.direct_columns(&mut outcomes)?;
        let grouped = self.reduction.grouped();
        for sink in self.sides.iter_mut().flat_map(|side| &mut side.sinks) {
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
    fn direct_columns(&mut self, columns: &mut [Option<Outcome>]) -> Result<()> {
        for (states, pass) in self.states.iter_mut().zip(&self.work.passes) {
            let Some(states) = states else { continue };
            let reading = states.read();
            self.cells.iter_mut().zip(reading.counts).for_each(|(cells, count)| *cells |= count);
            for &index in &pass.aggregates {
                let aggregate = &self.reduction.aggregates[index];
                let states = states::columns(aggregate, &reading, self.reduction.grouped())?;
                columns[index] = Some(Outcome::States(states));
            }
        }
        Ok(())
    }

    /// Keys beside the columns of aggregates, of the groups that exist; without `GROUP BY`, the one group always
    /// does.
    fn assemble(
        &self,
        aggregates: Vec<ArrayRef>,
        local: Option<&Localised>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let grouped = self.reduction.grouped();
        let exists = self.cells.iter().enumerate().filter(|&(_, &cells)| cells > 0 || !grouped);
        let groups: Vec<usize> = exists.map(|(group, _)| group).collect();
        let mut columns = self.reduction.groups.key_columns(&groups, |group, component| match local {
            Some(local) => local.global_code(group, component),
            None => self.map.code(group, component),
        })?;
        if groups.len() == self.map.groups() {
            columns.extend(aggregates);
        } else {
            let indices = UInt64Array::from_iter_values(groups.iter().map(|&group| group as u64));
            for column in aggregates {
                columns.push(take(&column, &indices, None)?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
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

/// The group of each cell of the product of `selection`'s dims, C order; empty if there is one group only.
pub(super) fn group_ids(map: &GroupMap, selection: &Selection) -> Vec<u32> {
    if map.groups() == 1 {
        return Vec::new();
    }
    let kept: Vec<Vec<u64>> = selection.dims.iter().map(|dim| dim.iter().collect()).collect();
    let inner = kept.last().map_or(1, Vec::len);
    let rows = kept.split_last().map_or(1, |(_, outer)| outer.iter().map(Vec::len).product());
    let mut ids = Vec::with_capacity(rows * inner);
    let mut at = vec![0; kept.len()];
    let mut position: Vec<u64> = kept.iter().map(|kept| kept.first().copied().unwrap_or(0)).collect();
    let last = kept.len().checked_sub(1);
    for _ in 0..if inner == 0 { 0 } else { rows } {
        position
            .iter_mut()
            .zip(kept.iter().zip(&at))
            .for_each(|(position, (kept, &at))| *position = kept[at]);
        let start = ids.len();
        ids.resize(start + inner, 0);
        for (factor, &stride) in map.factors().iter().zip(&map.strides) {
            add_factor(&mut ids[start..], factor, stride as u32, map, &position, last, &kept);
        }
        crate::tensor::step(&mut at[..last.unwrap_or(0)], |dim| kept[dim].len());
    }
    ids
}

/// Adds what `factor` contributes to a row of cells along the `last` dim, at `position` of the others.
fn add_factor(
    ids: &mut [u32],
    factor: &Factor,
    stride: u32,
    map: &GroupMap,
    position: &[u64],
    last: Option<usize>,
    kept: &[Vec<u64>],
) {
    let along = last.filter(|last| factor.dims.last() == Some(last));
    let flat = factor.dims.iter().fold(0, |flat, &dim| {
        flat * map.shape[dim] + if Some(dim) == along { 0 } else { position[dim] - map.origin[dim] }
    });
    match along {
        None => {
            let code = factor.codes[flat as usize] * stride;
            ids.iter_mut().for_each(|id| *id += code);
        }
        Some(last) => {
            let row = &factor.codes[flat as usize..];
            let start = map.origin[last];
            ids.iter_mut().zip(&kept[last]).for_each(|(id, at)| *id += row[(at - start) as usize] * stride);
        }
    }
}
