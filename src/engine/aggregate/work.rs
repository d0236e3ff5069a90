//! What is to be done for a reduction, cut into tasks and dealt out to partitions.

use super::Refusal;
use super::function::{Function, Path};
use super::reduction::Reduction;
use crate::codec::Pipeline;
use crate::dataset::Variable;
use crate::engine::layout::{Layout, TARGET_CELLS};
use crate::reduce::Wants;
use crate::tensor::{ChunkGrid, Part, Selection};
use std::sync::Arc;

/// Bytes of decoding below which another partition isn't worth its start.
const PARTITION_BYTES: u64 = 1 << 20;

/// Bytes of accumulators up to which a partition keeps all groups; beyond, states are emitted part by part.
const DENSE_BYTES: u64 = 64 << 20;

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
}

/// A piece of work of one partition.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Counts the cells of a part of the whole grid, which `geometry` says, for count(*) and to know which
    /// groups exist.
    Count(Part),
    /// Decodes and reduces a part of a variable, for a pass.
    Direct { pass: usize, part: Part },
    /// Reads and reduces a unit of the row layout.
    Rows { unit: u64 },
}

/// All work of a reduction.
#[derive(Debug)]
pub(super) struct Work {
    /// Variables to decode.
    pub passes: Vec<DirectPass>,
    /// How rows are cut, if any are needed.
    pub layout: Option<Arc<Layout>>,
    /// Tasks of each partition, in C order of chunks; at least one partition.
    pub partitions: Vec<Vec<Task>>,
    /// Whether a partition keeps all groups and emits them once; otherwise each task emits its own.
    pub dense: bool,
    /// Of the variables that are read: chunks that hold a kept cell, and all of them.
    pub chunks: (u64, u64),
    /// Bytes of decoded cells that a partition holds at a time.
    pub buffers: usize,
}

/// A task with the bytes that it decodes.
struct Costed {
    task: Task,
    cost: u64,
}

impl Work {
    /// Plans `reduction`.
    ///
    /// # Errors
    /// Refuses to sort rows into more groups than fit in memory.
    pub(super) fn plan(reduction: &Reduction) -> Result<Self, Refusal> {
        let passes = passes(reduction);
        let dense = dense_bytes(reduction, &passes) <= DENSE_BYTES;
        if reduction.has_rows() && !dense {
            return Err(Refusal::new("there are too many groups for what goes through rows"));
        }
        let mut tasks = Vec::new();
        if reduction.predicates.is_empty() {
            tasks.extend(count_tasks(reduction, dense)?);
        }
        let (mut chunks, mut buffers) = ((0, 0), 0);
        for (index, pass) in passes.iter().enumerate() {
            let variable = &reduction.grid.variables[pass.variable];
            let parts = variable.grid.parts(&pass.selection);
            chunks = (chunks.0 + parts.len() as u64, chunks.1 + variable.grid.chunks());
            buffers = buffers.max(chunk_buffer(reduction, variable, &parts));
            tasks.extend(direct_tasks(index, variable, parts));
        }
        let layout = reduction.has_rows().then(|| row_layout(reduction));
        if let Some(layout) = &layout {
            let (touched, total) = row_chunks(reduction);
            chunks = (chunks.0 + touched, chunks.1 + total);
            let unit = layout.largest() * row_bytes(reduction);
            buffers = buffers.max(unit + row_buffer(reduction));
            let costed = |index| Costed { task: Task::Rows { unit: index }, cost: unit };
            tasks.extend((0..layout.units()).map(costed));
        }
        let partitions = deal(tasks, reduction.scan.target_partitions());
        Ok(Self {
            passes,
            layout: layout.map(Arc::new),
            partitions,
            dense,
            chunks,
            buffers: buffers as usize,
        })
    }
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
                let wants = Wants::default();
                passes.push(DirectPass { variable, selection, aggregates: Vec::new(), wants });
                let last = passes.len() - 1;
                &mut passes[last]
            }
        };
        pass.aggregates.push(index);
        add_wants(&mut pass.wants, aggregate.function);
    }
    passes
}

/// Adds what `function` needs.
pub(super) fn add_wants(wants: &mut Wants, function: Function) {
    match function {
        Function::Count => {}
        Function::Sum | Function::Avg => wants.sum = true,
        Function::Min => wants.min = true,
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
    let rows = reduction.aggregates.iter().filter(|aggregate| aggregate.path == Path::Rows).count() as u64;
    let counts =
        1 + reduction.aggregates.iter().filter(|a| matches!(a.path, Path::Arithmetic(_))).count() as u64;
    (reduction.groups.map.groups() as u64).saturating_mul(8 * (direct + 6 * rows + counts))
}

/// Counting costs next to nothing: one task, or as many as keep each one's groups few.
fn count_tasks(reduction: &Reduction, dense: bool) -> Result<Vec<Costed>, Refusal> {
    let shape = reduction.grid.shape();
    let grid = ChunkGrid::whole(shape).map_err(|e| Refusal::new(e.to_string()))?;
    // Cells that only filtered counts drop must still be there to make their group exist.
    let parts = grid.parts(reduction.scan.selection());
    let pieces = if dense { 1 } else { reduction.groups.map.groups().div_ceil(1 << 16) };
    let parts = parts.into_iter().flat_map(|part| if pieces > 1 { part.split(pieces) } else { vec![part] });
    Ok(parts.map(|part| Costed { task: Task::Count(part), cost: 0 }).collect())
}

/// Parts of a variable; those that can be decoded in pieces are split if they are few.
fn direct_tasks(pass: usize, variable: &Variable, parts: Vec<Part>) -> Vec<Costed> {
    let width = variable.dtype.width().unwrap_or(1) as u64;
    let mut tasks = Vec::new();
    let total: u64 = parts.iter().map(|part| part.len() * width).sum();
    for part in parts {
        let kept = part.len() * width;
        let pieces = match pipeline(variable, &part) {
            None => 1,
            Some(pipeline) if pipeline.seeks() => kept / PARTITION_BYTES.max(total / 64) + 1,
            Some(pipeline) => {
                let cost = (pipeline.len() * width).max(kept);
                tasks.push(Costed { task: Task::Direct { pass, part }, cost });
                continue;
            }
        };
        let split = if pieces > 1 { part.split(pieces as usize) } else { vec![part] };
        tasks.extend(split.into_iter().map(|part| {
            let cost = part.len() * width;
            Costed { task: Task::Direct { pass, part }, cost }
        }));
    }
    tasks
}

fn pipeline<'a>(variable: &'a Variable, part: &Part) -> Option<&'a Pipeline> {
    let chunk = variable.chunks.get(part.chunk as usize)?.as_ref()?;
    chunk.pipeline().ok()
}

/// How rows are cut: never through a chunk that has to be decoded whole.
fn row_layout(reduction: &Reduction) -> Layout {
    let threshold = reduction.scan.options().range_threshold;
    let variables = reduction.row_variables().map(|variable| &reduction.grid.variables[variable]);
    let whole = variables.filter(|variable| !variable.seeks(TARGET_CELLS, threshold));
    let grains: Vec<Vec<u64>> = whole.map(|variable| variable.grid.chunk_shape().to_vec()).collect();
    Layout::new(reduction.scan.selection().clone(), &grains, TARGET_CELLS)
}

/// Bytes of the largest chunk that has to be decoded whole for one of `parts`.
fn chunk_buffer(reduction: &Reduction, variable: &Variable, parts: &[Part]) -> u64 {
    let largest = parts.iter().map(Part::len).max().unwrap_or(0);
    if variable.seeks(largest, reduction.scan.options().range_threshold) {
        return 0;
    }
    variable.grid.chunk_shape().iter().product::<u64>() * variable.dtype.width().unwrap_or(1) as u64
}

/// As [`chunk_buffer`], of the variables that rows read.
fn row_buffer(reduction: &Reduction) -> u64 {
    let variables = reduction.row_variables().map(|variable| &reduction.grid.variables[variable]);
    variables
        .map(|v| chunk_buffer(reduction, v, &v.grid.parts(reduction.scan.selection())))
        .max()
        .unwrap_or(0)
}

/// Chunks of the variables that rows read: with a kept cell, and in all.
fn row_chunks(reduction: &Reduction) -> (u64, u64) {
    let variables = reduction.row_variables().map(|variable| &reduction.grid.variables[variable].grid);
    variables.fold((0, 0), |(touched, total), grid| {
        (touched + grid.parts(reduction.scan.selection()).len() as u64, total + grid.chunks())
    })
}

/// Bytes of a row's cells.
fn row_bytes(reduction: &Reduction) -> u64 {
    let width = |variable: usize| reduction.grid.variables[variable].dtype.width().unwrap_or(1) as u64;
    reduction.row_variables().map(width).sum::<u64>().max(1)
}

/// Deals tasks, in order, to as many partitions as they are worth, so that each decodes about the same.
fn deal(tasks: Vec<Costed>, target: usize) -> Vec<Vec<Task>> {
    let total: u64 = tasks.iter().map(|task| task.cost).sum();
    let worth = (total / PARTITION_BYTES + 1).min(target.max(1) as u64).min(tasks.len().max(1) as u64);
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
