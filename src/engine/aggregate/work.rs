//! What is to be done for a reduction, cut into tasks and dealt out to partitions.

use super::Refusal;
use super::answers::{Spared, answered, sift};
use super::cells::{CellsPlan, Cut};
use super::function::{Function, Path, Side};
use super::reduction::Reduction;
use crate::codec::{Pipeline, Verify};
use crate::dataset::Variable;
use crate::dataset::slab::THREAD_BYTES;
use crate::engine::ahead::BUDGET;
use crate::engine::layout::{Layout, TARGET_CELLS};
use crate::reduce::{Accumulators, GroupMap, Wants};
use crate::tensor::{ChunkGrid, Part, Parts, Place, Selection};
use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of accumulators up to which a partition keeps all groups; beyond, states are emitted part by part,
/// unless the parts share their groups.
const DENSE_BYTES: u64 = 64 << 20;

/// Bytes of accumulators beyond which rows, which can be spilled, are the better way.
const MOST_BYTES: u64 = 1 << 30;

/// Groups that are counted at a time where there are too many.
const PIECE_GROUPS: u64 = 1 << 16;

/// Tasks a partition has at least, where chunks can be split, so that partitions end together.
const TASKS_PER_PARTITION: u64 = 4;

/// Tasks a partition has at most, about; small chunks and units share one. Many, so that no worker has several long
/// ones left when the others have none.
const MOST_TASKS: u64 = 512;

/// Places of a task whose costs are looked at. Those of a longer task are taken to be like some of them: planning
/// must not take long where there are a million.
const LOOKED_AT: u64 = 32;

/// Bytes of decoding that take as long as finding out about a chunk, whether it is decoded then or not.
const CHUNK_BYTES: u64 = 1 << 11;

/// The aggregates that one variable is decoded for, over the same cells.
#[derive(Debug, Clone)]
pub(super) struct DirectPass {
    /// The variable.
    pub variable: usize,
    /// The cells.
    pub selection: Selection,
    /// The aggregates, by their place in the reduction.
    pub aggregates: Vec<usize>,
    /// What they need.
    pub wants: Wants,
    /// The cells of each chunk.
    pub parts: Parts,
    /// Whether the aggregates are nothing but extremes.
    pub extremes: bool,
    /// States that every partition starts from, empty ones if there are none; only of extremes.
    pub start: Option<Accumulators>,
}

/// A piece of work of one partition. Chunks and units are named by ranges: there may be a million of them.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Counts cells, for count(*) and to know which groups exist; places of [`Work::counted`].
    Count { places: Range<u64> },
    /// Decodes and reduces parts of the variable of a pass; places of its [`DirectPass::parts`].
    Direct { pass: usize, places: Range<u64> },
    /// Decodes and reduces a piece of one part.
    Piece { pass: usize, part: Part },
    /// Reads and reduces some cells of a side, by its program.
    Cells { side: Side, cells: CellsOf },
}

/// Some of the cells that go through a program.
#[derive(Debug, Clone)]
pub(super) enum CellsOf {
    /// Parts of the chunks that its variables share.
    Parts(Range<u64>),
    /// A piece of one part.
    Piece(Part),
    /// Units of its layout.
    Units(Range<u64>),
}

/// All work of a reduction.
#[derive(Debug)]
pub(super) struct Work {
    /// Variables to decode.
    pub passes: Vec<DirectPass>,
    /// Cells whose groups exist, counted by geometry alone; `None` where something else counts them.
    pub counted: Option<Parts>,
    /// For each side: what its cells go through, if any are needed.
    pub cells: [Option<CellsPlan>; 2],
    /// Tasks of each partition, in C order of chunks; at least one partition.
    pub partitions: Vec<Vec<Task>>,
    /// Whether a partition keeps all groups and emits them once; otherwise each task emits its own.
    pub dense: bool,
    /// The pass whose tasks count cells, too, where groups aren't kept and the pass sees all of them.
    pub counting: Option<usize>,
    /// Of the variables that are read: chunks that hold a kept cell, and all of them.
    pub chunks: (u64, u64),
    /// What planning has spared by statistics.
    pub spared: Spared,
    /// Objects that more workers could share if they could be decoded in pieces.
    pub unsplit: u64,
    /// Bytes of decoded cells that a partition holds at a time.
    pub buffers: usize,
    /// Bytes of the states of all groups, about.
    pub states: usize,
}

/// A task with the bytes that it decodes.
struct Costed {
    task: Task,
    cost: u64,
}

/// How groups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All at once, if that doesn't take too much.
    Fitting,
    /// Those of a part at a time.
    Parts,
}

impl Work {
    /// Plans `reduction`, whose groups are kept as `keep` says.
    ///
    /// # Errors
    /// Refuses more groups than fit in memory, where they can't be dealt with a few at a time.
    pub(super) fn plan(reduction: &Reduction, keep: Keep) -> Result<Self, Refusal> {
        let mut passes = passes(reduction);
        let bytes = dense_bytes(reduction, &passes);
        let fitting = keep == Keep::Fitting && bytes <= DENSE_BYTES;
        let (mut chunks, mut buffers) = ((0, 0), 0);
        let (mut spared, mut unsplit) = (Spared::default(), 0);
        let mut tasks = Vec::new();
        for (index, pass) in passes.iter_mut().enumerate() {
            let variable = &reduction.grid.variables[pass.variable];
            chunks = (chunks.0 + pass.parts.len(), chunks.1 + variable.grid.chunks());
            buffers = buffers.max(chunk_buffer(reduction, variable, &pass.parts));
            let sifted = if fitting { sift(reduction, pass) } else { Ok(None) };
            let sifted = sifted.map_err(|e| Refusal::new(e.to_string()))?;
            let pieces = match sifted {
                Some((left, some)) => {
                    spared.answered += some.answered;
                    spared.pruned += some.pruned;
                    let dealt = in_turns(left, reduction.partitions());
                    dealt.into_iter().map(|part| piece(&[variable], part)).collect()
                }
                None => {
                    let answered = |place| answered(reduction, pass, place);
                    pieces(reduction, &[variable], &pass.parts, &answered, &mut unsplit)
                }
            };
            tasks.extend(pieces.into_iter().map(|(piece, cost)| {
                let task = match piece {
                    Piece::Places(places) => Task::Direct { pass: index, places },
                    Piece::Part(part) => Task::Piece { pass: index, part },
                };
                Costed { task, cost }
            }));
        }
        let mut cells = [None, None];
        for side in Side::ALL.into_iter().filter(|&side| reduction.has_side(side)) {
            let plan = CellsPlan::try_new(reduction, side, || unit_layout(reduction, side));
            let plan = plan.map_err(|e| Refusal::new(e.to_string()))?;
            for variable in plan.variables(reduction) {
                let parts = variable.grid.parts(reduction.scan.selection());
                chunks = (chunks.0 + parts.len(), chunks.1 + variable.grid.chunks());
                buffers = buffers.max(chunk_buffer(reduction, variable, &parts));
            }
            buffers += held_cells(reduction, &plan) + plan.gated.program.memory() as u64;
            tasks.extend(cells_tasks(reduction, &plan, &mut unsplit));
            cells[side as usize] = Some(plan);
        }
        let repeated = || passes.iter().any(|pass| groups_repeat(&reduction.groups.map, &pass.parts));
        let bound = !reduction.sets.is_empty() || cells.iter().any(Option::is_some);
        let dense = fitting || bound || (keep == Keep::Fitting && repeated());
        if dense && (bytes > MOST_BYTES || keep == Keep::Parts) {
            return Err(Refusal::new("it has more groups than fit in memory at once"));
        }
        let same = |pass: &DirectPass| pass.selection == *reduction.scan.selection();
        let counting = if dense { None } else { passes.iter().position(same) };
        let mut counted = None;
        if reduction.predicates.is_empty() && counting.is_none() {
            let grid = if dense { whole(reduction)? } else { pieces_by_group(reduction)? };
            let parts = grid.parts(reduction.scan.selection());
            let count = |places| Costed { task: Task::Count { places }, cost: 0 };
            tasks.splice(0..0, batches(parts.places(), reduction).map(count));
            counted = Some(parts);
        }
        let partitions = deal(tasks, reduction.partitions());
        let [buffers, states] = [buffers, bytes].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(Self {
            passes,
            counted,
            cells,
            partitions,
            dense,
            counting,
            chunks,
            spared,
            unsplit,
            buffers,
            states,
        })
    }
}

impl Work {
    /// Chunks of the variables that are read of which statistics are known.
    pub(super) fn known_chunks(&self, reduction: &Reduction) -> u64 {
        let direct = self.passes.iter().map(|pass| &reduction.grid.variables[pass.variable]);
        let others = self.cells.iter().flatten().flat_map(|plan| plan.variables(reduction));
        direct.chain(others).map(|variable| variable.stats.known()).sum()
    }

    /// The parts of a task, each with the pass that decodes it, if it isn't only counted. Programs have none.
    pub(super) fn parts<'a>(
        &'a self,
        task: &'a Task,
    ) -> Box<dyn Iterator<Item = (Option<usize>, Part)> + 'a> {
        match task {
            Task::Count { places } => {
                let parts = self.counted.iter().flat_map(|parts| parts.range(places.clone()));
                Box::new(parts.map(|part| (None, part)))
            }
            Task::Direct { pass, places } => {
                Box::new(self.passes[*pass].parts.range(places.clone()).map(|part| (Some(*pass), part)))
            }
            Task::Piece { pass, part } => Box::new(std::iter::once((Some(*pass), part.clone()))),
            Task::Cells { .. } => Box::new(std::iter::empty()),
        }
    }
}

/// `0..count` in as many ranges as are worth dealing out.
fn batches(count: u64, reduction: &Reduction) -> impl Iterator<Item = Range<u64>> + use<> {
    let batch = count.div_ceil(MOST_TASKS * reduction.partitions() as u64).max(1);
    (0..count.div_ceil(batch)).map(move |nth| nth * batch..((nth + 1) * batch).min(count))
}

/// `all` in another order, in which as many runs of it as there are workers each begin with what was first.
fn in_turns<T>(all: Vec<T>, workers: usize) -> Vec<T> {
    let mut numbered: Vec<_> = all.into_iter().enumerate().collect();
    numbered.sort_by_key(|(number, _)| number % workers.max(1));
    numbered.into_iter().map(|(_, one)| one).collect()
}

/// Whether parts share most of their groups, so that emitting states part by part would emit them repeatedly.
/// Masks thin out parts and their groups alike.
fn groups_repeat(map: &GroupMap, parts: &Parts) -> bool {
    let mut grouped = BTreeSet::new();
    let mut touched = 1u64;
    for factor in map.factors() {
        grouped.extend(factor.dims.iter().copied());
        touched = touched.saturating_mul(parts.sum_capped(&factor.dims, u64::from(factor.cardinality)));
    }
    let others = (0..map.shape().len()).filter(|dim| !grouped.contains(dim));
    let repeated = others.fold(touched, |touched, dim| touched.saturating_mul(parts.touched(dim)));
    repeated > 2 * map.groups() as u64
}

/// The grid as one chunk.
fn whole(reduction: &Reduction) -> Result<ChunkGrid, Refusal> {
    ChunkGrid::whole(reduction.grid.shape()).map_err(|e| Refusal::new(e.to_string()))
}

/// The grid cut along the dims that groups depend on, so that a piece has few groups and shares none (but for
/// keys that are equal at distant positions).
fn pieces_by_group(reduction: &Reduction) -> Result<ChunkGrid, Refusal> {
    let mut shape = reduction.grid.shape();
    let full = shape.clone();
    let grouped: BTreeSet<usize> =
        reduction.groups.map.factors().iter().flat_map(|factor| factor.dims.iter().copied()).collect();
    let mut inner: u64 = grouped.iter().map(|&dim| full[dim]).fold(1, u64::saturating_mul);
    for &dim in &grouped {
        inner /= full[dim].max(1);
        shape[dim] = (PIECE_GROUPS / inner.max(1)).clamp(1, full[dim].max(1));
    }
    ChunkGrid::try_new(full, shape).map_err(|e| Refusal::new(e.to_string()))
}

/// Direct aggregates of the same variable and cells share a pass.
fn passes(reduction: &Reduction) -> Vec<DirectPass> {
    let mut passes: Vec<DirectPass> = Vec::new();
    for (index, aggregate) in reduction.aggregates.iter().enumerate() {
        let Path::Direct { variable, selection } = &aggregate.path else { continue };
        let same = |pass: &&mut DirectPass| pass.variable == *variable && pass.selection == *selection;
        let pass = match passes.iter_mut().find(same) {
            Some(pass) => pass,
            None => {
                let (variable, selection) = (*variable, selection.clone());
                let parts = reduction.grid.variables[variable].grid.parts(&selection);
                let (aggregates, wants) = (Vec::new(), Wants::default());
                passes.push(DirectPass {
                    variable,
                    selection,
                    aggregates,
                    wants,
                    parts,
                    extremes: true,
                    start: None,
                });
                let last = passes.len() - 1;
                &mut passes[last]
            }
        };
        pass.aggregates.push(index);
        pass.extremes &= matches!(aggregate.function, Function::Min | Function::Max);
        add_wants(&mut pass.wants, aggregate.function);
    }
    passes
}

/// Adds what `function` needs.
pub(super) fn add_wants(wants: &mut Wants, function: Function) {
    match function {
        Function::Count | Function::Other => {}
        Function::Sum | Function::Avg => wants.sum = true,
        Function::Min | Function::Edge => wants.min = true,
        Function::Max => wants.max = true,
        Function::Moments => wants.moments = true,
    }
}

/// Bytes that dense accumulators of all groups take, roughly.
fn dense_bytes(reduction: &Reduction, passes: &[DirectPass]) -> u64 {
    let states = |wants: &Wants| {
        let moments = if wants.moments { 4 } else { 0 };
        1 + 2 * u64::from(wants.sum) + u64::from(wants.min) + u64::from(wants.max) + moments
    };
    let direct: u64 = passes.iter().map(|pass| states(&pass.wants)).sum();
    let rows =
        reduction.aggregates.iter().filter(|aggregate| matches!(aggregate.path, Path::Cells(_))).count()
            as u64;
    let counts =
        1 + reduction.aggregates.iter().filter(|a| matches!(a.path, Path::Arithmetic(_))).count() as u64;
    (reduction.groups.map.groups() as u64).saturating_mul(8 * (direct + 6 * rows + counts))
}

/// What is decoded at a time.
enum Piece {
    /// The parts at these places.
    Places(Range<u64>),
    /// A piece of one part.
    Part(Part),
}

/// Cuts `parts`, of chunks that `variables` share, into pieces, with the bytes that each decodes; parts that can be
/// decoded in pieces are split if they are few, and those that can't be are added to `unsplit`. Places that are
/// `spared` aren't decoded.
fn pieces(
    reduction: &Reduction,
    variables: &[&Variable],
    parts: &Parts,
    spared: &dyn Fn(u64) -> bool,
    unsplit: &mut u64,
) -> Vec<(Piece, u64)> {
    let all = cell_bytes(variables);
    let enough = TASKS_PER_PARTITION * reduction.partitions() as u64;
    let decoded = |place: Place| {
        let costs = variables.iter().map(|variable| variable.decoding(place.chunk, place.kept));
        costs.fold(0, u64::saturating_add)
    };
    let cost = |place: u64| {
        let numbers = parts.numbers(place..place + 1).next().filter(|_| !spared(place));
        numbers.map_or(0, decoded).saturating_add(CHUNK_BYTES)
    };
    let whole = |places: Range<u64>| {
        let (looked_at, count) = (some_of(&places), places.end - places.start);
        let sum = looked_at.clone().map(cost).fold(0, u64::saturating_add);
        let cost = u128::from(sum) * u128::from(count) / (looked_at.count() as u128).max(1);
        (Piece::Places(places), u64::try_from(cost).unwrap_or(u64::MAX))
    };
    let few = parts.len();
    if few == 0 || few * 2 > enough {
        return batches(parts.places(), reduction).map(whole).collect();
    }
    let mut pieces = Vec::new();
    for (place, Place { chunk, kept }) in (0..).zip(parts.numbers(0..u64::MAX)) {
        let count = (enough / few).min(kept * all / THREAD_BYTES + 1);
        let Some(part) = parts.get(place) else { continue };
        let split = |variable: &&Variable| {
            let chunk = variable.chunks.get(chunk);
            let pipeline = chunk.as_ref().map(|chunk| chunk.pipeline());
            matches!(pipeline, Some(Ok(pipeline)) if splits(reduction, pipeline, kept.div_ceil(count)))
        };
        let shared = count > 1 && !spared(place);
        if shared && variables.iter().all(split) {
            let split = part.split(count as usize).into_iter();
            pieces.extend(split.map(|part| piece(variables, part)));
        } else {
            *unsplit += u64::from(shared);
            pieces.push(whole(place..place + 1));
        }
    }
    pieces
}

/// At most [`LOOKED_AT`] of `places`, spread evenly, and in step with no period that there may be among them: what
/// the golden ratio yields.
fn some_of(places: &Range<u64>) -> impl Iterator<Item = u64> + Clone + use<> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let (start, count) = (places.start, places.end - places.start);
    let spread = move |nth: u64| ((u128::from(nth.wrapping_mul(GOLDEN)) * u128::from(count)) >> 64) as u64;
    (0..count.min(LOOKED_AT)).map(move |nth| start + if count > LOOKED_AT { spread(nth) } else { nth })
}

/// Tasks for the cells of `plan`.
fn cells_tasks(reduction: &Reduction, plan: &CellsPlan, unsplit: &mut u64) -> Vec<Costed> {
    let (side, variables) = (plan.side, plan.variables(reduction).collect::<Vec<_>>());
    let task = |cells: CellsOf, cost: u64| Costed { task: Task::Cells { side, cells }, cost };
    match &plan.cut {
        Cut::Chunks(parts) => {
            let spared = |place| plan.spares(reduction, parts, place);
            let pieces = pieces(reduction, &variables, parts, &spared, unsplit).into_iter();
            let cells = pieces.map(|(piece, cost)| match piece {
                Piece::Places(places) => task(CellsOf::Parts(places), cost),
                Piece::Part(part) => task(CellsOf::Piece(part), cost),
            });
            cells.collect()
        }
        Cut::Units(layout) => {
            let unit = layout.largest() * cell_bytes(&variables).max(1);
            let cost = |units: &Range<u64>| unit.saturating_mul(units.end - units.start);
            let units = batches(layout.units(), reduction);
            units
                .map(|units| (cost(&units), units))
                .map(|(cost, units)| task(CellsOf::Units(units), cost))
                .collect()
        }
    }
}

/// Bytes of decoded cells that wait for others of the same places.
fn held_cells(reduction: &Reduction, plan: &CellsPlan) -> u64 {
    let variables: Vec<_> = plan.variables(reduction).collect();
    match (&plan.cut, variables.split_last()) {
        (Cut::Chunks(parts), Some((_, others))) => parts.largest().saturating_mul(cell_bytes(others)),
        (Cut::Chunks(_), None) => 0,
        (Cut::Units(layout), _) => layout.largest().saturating_mul(cell_bytes(&variables)),
    }
}

/// Bytes of the cells of `variables` at one place.
fn cell_bytes(variables: &[&Variable]) -> u64 {
    variables.iter().map(|variable| variable.dtype.width().unwrap_or(1) as u64).sum()
}

/// A piece of one part on its own, with the bytes that it decodes.
fn piece(variables: &[&Variable], part: Part) -> (Piece, u64) {
    let cost = part.len() * cell_bytes(variables);
    (Piece::Part(part), cost)
}

/// Whether an object may be decoded in pieces of so many elements: each on its own must be cheap, and none
/// may get around a hash that is to be verified when the object is decoded whole.
fn splits(reduction: &Reduction, pipeline: &Pipeline, elements: u64) -> bool {
    let options = reduction.scan.options();
    options.verify != Verify::FullDecodes && !pipeline.decodes_whole(elements, options.range_threshold)
}

/// How cells are read in units: never through a chunk that has to be decoded whole.
fn unit_layout(reduction: &Reduction, side: Side) -> Layout {
    let threshold = reduction.scan.options().range_threshold;
    let variables = reduction.variables(side).map(|variable| &reduction.grid.variables[variable]);
    let whole = variables.filter(|variable| !variable.seeks(TARGET_CELLS, threshold));
    let grains: Vec<Vec<u64>> = whole.map(|variable| variable.grid.chunk_shape().to_vec()).collect();
    Layout::new(reduction.selection(side), &grains, TARGET_CELLS)
}

/// Bytes of the largest chunk that has to be decoded whole for one of `parts`, and of what is fetched for a worker.
fn chunk_buffer(reduction: &Reduction, variable: &Variable, parts: &Parts) -> u64 {
    let fetched = variable.fetched(BUDGET);
    if variable.seeks(parts.largest(), reduction.scan.options().range_threshold) {
        return fetched;
    }
    let cells = variable.grid.chunk_shape().iter().fold(1, |cells: u64, &len| cells.saturating_mul(len));
    cells.saturating_mul(variable.dtype.width().unwrap_or(1) as u64).saturating_add(fetched)
}

/// Deals tasks, in order, to as many partitions as they are worth, so that each decodes about the same.
fn deal(tasks: Vec<Costed>, target: usize) -> Vec<Vec<Task>> {
    let total: u64 = tasks.iter().map(|task| task.cost).sum();
    let worth = (total / THREAD_BYTES + 1).min(target.max(1) as u64).min(tasks.len().max(1) as u64);
    let mut partitions = vec![Vec::new(); worth as usize];
    let mut done = 0;
    for Costed { task, cost } in tasks {
        // By the middle of a task, so that a last long one doesn't always end up with the others.
        let middle = u128::from(done + cost / 2) * u128::from(worth);
        let partition = middle.checked_div(u128::from(total)).unwrap_or(0).min(u128::from(worth - 1));
        partitions[partition as usize].push(task);
        done += cost;
    }
    partitions.retain(|tasks| !tasks.is_empty());
    if partitions.is_empty() { vec![Vec::new()] } else { partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_begins_with_the_most_promising() {
        assert_eq!(in_turns((0..7).collect(), 2), [0, 2, 4, 6, 1, 3, 5]);
        assert_eq!(in_turns(vec![3, 1], 1), [3, 1]);
    }
}
