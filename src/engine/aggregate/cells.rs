//! Aggregates of expressions, and of cells that predicates choose: a program over the cells of a chunk.
//!
//! ```text
//! predicates ------> gate --.
//! FILTER (WHERE) --> masks -+-> sinks -> states
//! arguments -------> values-'
//! ```
//! All aggregates that need it share one [`CellsPlan`]: one program, whose inputs are the variables that any of
//! them mentions, each decoded once. Where the variables have the same chunks, the cells of one of them are
//! taken as they are decoded, block by block; the others are decoded before, into buffers that are reused.
//! Otherwise, and where DataFusion's accumulators should see rows in the table's order, cells are read a unit
//! at a time (see [`crate::engine::layout`]). A tile goes through the program and from there into the sinks; a
//! box of cells, with positions to leave out, is all that both know of the grid.

use super::compile::Compiler;
use super::function::Side;
use super::partial::Partial;
use super::reduction::Reduction;
use super::sink::{Route, SinkPlan, plan_sinks};
use super::work::CellsOf;
use crate::codec::{Block, Values};
use crate::dataset::Variable;
use crate::dataset::read::Reader;
use crate::dataset::slab::Cells;
use crate::engine::bounds::Bounds;
use crate::engine::external;
use crate::engine::layout::Layout;
use crate::reduce::expr::{Data, Fault, Input, Machine, Node, Program, Segment, TILE, Table};
use crate::reduce::{ChunkReducer, GroupMap};
use crate::tensor::{ChunkGrid, DimSelection, Part, Parts, Selection};
use crate::{Error, Place, each_dtype};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use std::ops::Range;
use std::sync::Arc;

/// Cells that are worth a run of the program: fewer are put together with those that follow.
const FEW: usize = TILE / 4;

/// What is computed for the cells of one side.
#[derive(Debug)]
pub(super) struct CellsPlan {
    pub side: Side,
    pub program: Arc<Program>,
    /// The variables that are the program's inputs.
    pub inputs: Vec<usize>,
    /// The cells that predicates keep; `None` if there are no predicates.
    pub gate: Option<Node>,
    pub sinks: Vec<SinkPlan>,
    /// Whether the gate says which groups exist.
    pub decides: bool,
    /// Cells of the selection that each cell stands for.
    pub times: u64,
    /// How cells are read.
    pub cut: Cut,
    /// What predicates say of bounds, where statistics know some.
    pruning: Vec<Arc<PruningPredicate>>,
}

/// How the cells that go through a program are cut.
#[derive(Debug)]
pub(super) enum Cut {
    /// As the chunks that all variables share.
    Chunks(Parts),
    /// In units.
    Units(Layout),
}

/// What is read at a time.
pub(super) enum Piece {
    /// The cells of a chunk.
    Part(Part),
    /// The cells that a unit keeps, but for masks.
    Unit(Selection),
}

impl CellsPlan {
    /// What `reduction` computes for `side`; `layout` makes its units where it needs some.
    ///
    /// # Errors
    /// If an expression has no type.
    pub(super) fn try_new(
        reduction: &Reduction,
        side: Side,
        layout: impl FnOnce() -> Layout,
    ) -> Result<Self> {
        let nan_as_missing = reduction.scan.options().nan_as_missing;
        let mut compiler = Compiler::new(&reduction.grid, &reduction.coords, nan_as_missing);
        let cut = match shared_chunks(reduction, side) {
            Some(grid) => Cut::Chunks(grid.parts(reduction.scan.selection())),
            None => Cut::Units(layout()),
        };
        // Units are read without regard to masks.
        let masks = match cut {
            Cut::Chunks(_) => &[][..],
            Cut::Units(_) => &reduction.scan.selection().masks,
        };
        for mask in masks {
            let (shape, keep) = (reduction.coords.shape(), mask.keep().to_vec());
            let table = Table::try_new(shape, mask.dims().to_vec(), Data::Bool(keep), None);
            let mask = compiler.builder.table(table.map_err(external)?);
            compiler.also(mask)?;
        }
        for predicate in reduction.predicates(side) {
            let mask = compiler.mask(predicate)?;
            compiler.also(mask)?;
        }
        let gate = compiler.guard;
        if let Some(gate) = gate {
            compiler.builder.gate(gate).map_err(external)?;
        }
        let sinks = plan_sinks(reduction, side, &mut compiler)?;
        let (program, inputs) = (Arc::new(compiler.builder.build(nan_as_missing)), compiler.inputs);
        let decides = !reduction.predicates(side).is_empty();
        let times = reduction.multiplicity(side);
        let pruning = pruning(reduction, side);
        Ok(Self { side, program, inputs, gate, sinks, decides, times, cut, pruning })
    }

    /// Whether it is known that the predicates keep nothing of `piece`.
    ///
    /// # Errors
    /// Those of evaluating them on bounds.
    pub(super) fn excludes(&self, reduction: &Reduction, piece: &Piece) -> Result<bool> {
        if self.pruning.is_empty() {
            return Ok(false);
        }
        let whole;
        let selection = match piece {
            Piece::Unit(selection) => selection,
            Piece::Part(part) => {
                let extents = part.origin.iter().zip(&part.shape).map(|(&origin, len)| origin..origin + len);
                whole = Selection::product(extents.map(DimSelection::Range).collect());
                &whole
            }
        };
        let nan_as_missing = reduction.scan.options().nan_as_missing;
        let bounds = Bounds { grid: &reduction.grid, selection, nan_as_missing };
        for predicate in &self.pruning {
            if bounds.exclude(predicate)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The variables that are the program's inputs.
    pub(super) fn variables<'a>(&'a self, reduction: &'a Reduction) -> impl Iterator<Item = &'a Variable> {
        self.inputs.iter().map(|&variable| &reduction.grid.variables[variable])
    }

    /// What is read for `cells`, one after the other.
    pub(super) fn pieces<'a>(&'a self, cells: &'a CellsOf) -> Box<dyn Iterator<Item = Piece> + 'a> {
        match (&self.cut, cells) {
            (Cut::Chunks(parts), CellsOf::Parts(places)) => {
                Box::new(parts.range(places.clone()).map(Piece::Part))
            }
            (Cut::Units(layout), CellsOf::Units(units)) => {
                Box::new(units.clone().map(|unit| Piece::Unit(layout.selection(&layout.unit(unit)))))
            }
            (_, CellsOf::Piece(part)) => Box::new(std::iter::once(Piece::Part(part.clone()))),
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// The predicates on cells of `side` as conditions on bounds; none where nothing is known of a variable.
fn pruning(reduction: &Reduction, side: Side) -> Vec<Arc<PruningPredicate>> {
    let known = |predicate: &&Arc<dyn PhysicalExpr>| {
        let columns = collect_columns(predicate).into_iter();
        let mut variables = columns.filter_map(|column| reduction.variable(column.index()));
        variables.any(|variable| reduction.grid.variables[variable].stats.known() > 0)
    };
    let on_bounds = |predicate: &Arc<dyn PhysicalExpr>| {
        let schema = Arc::clone(reduction.coords.schema());
        PruningPredicateBuilder::new().with_file_schema(schema).build(Arc::clone(predicate))
    };
    reduction.predicates(side).iter().filter(known).filter_map(on_bounds).collect()
}

/// The chunks by which cells of `side` can be taken, if they can.
fn shared_chunks(reduction: &Reduction, side: Side) -> Option<&ChunkGrid> {
    let mut grids = reduction.variables(side).map(|variable| &reduction.grid.variables[variable].grid);
    let mut aggregates = reduction.of_side(side);
    let in_order = aggregates.any(|(_, aggregate)| Route::of(aggregate, reduction) == Route::Native);
    let first = grids.next()?;
    (side == Side::Cells && !in_order && grids.all(|grid| grid == first)).then_some(first)
}

/// One worker's machine for a plan, and buffers for cells.
pub(super) struct CellsSource {
    machine: Machine,
    /// Decoded parts, one for each input but the last.
    buffers: Vec<Values>,
    /// Cells of the last input that wait for more.
    waiting: Option<Values>,
}

impl CellsSource {
    /// Empty buffers for `plan`.
    ///
    /// # Errors
    /// If cells of a variable can't be read.
    pub(super) fn try_new(plan: &CellsPlan, reduction: &Reduction, reader: &Reader) -> crate::Result<Self> {
        let buffers = plan.variables(reduction).map(|variable| reader.buffer(variable));
        let mut buffers = buffers.collect::<crate::Result<Vec<_>>>()?;
        let waiting = buffers.pop();
        Ok(Self { machine: Machine::new(Arc::clone(&plan.program)), buffers, waiting })
    }

    /// Reduces a part of the chunks that all inputs share.
    ///
    /// # Errors
    /// Those of reading, of expressions and of accumulators; likewise below.
    pub(super) fn part(
        &mut self,
        plan: &CellsPlan,
        reduction: &Reduction,
        part: &Part,
        (reader, cancelled): (&mut Reader, &dyn Fn() -> bool),
        map: &GroupMap,
        partial: &mut Partial,
    ) -> Result<()> {
        let variables: Vec<&Variable> = plan.variables(reduction).collect();
        let Some((last, others)) = variables.split_last() else { return Ok(()) };
        let threshold = reader.options().range_threshold;
        let _: u64 = variables.iter().map(|variable| variable.announce(part, threshold)).sum();
        let mut dense = Vec::with_capacity(others.len());
        for (variable, values) in others.iter().zip(&mut self.buffers) {
            dense.push(reader.read_part_into(variable, part, values).map_err(external)?);
        }
        let dense = self
            .buffers
            .iter()
            .zip(dense)
            .map(|(values, read)| Input { block: read.then(|| values.as_block()), valid: None });
        let dense: Vec<Input<'_>> = dense.collect();
        let mut feed = Feed::new(plan, &mut self.machine, part, map, partial, &dense);
        feed.waiting = self.waiting.as_mut();
        let mut failed = None;
        let visited = reader.visit_part(last, part, &mut |first, block| {
            let ended = || Error::unsupported(&Place::file("ended query"), "reading on");
            if cancelled() {
                return Err(ended());
            }
            feed.block(first, block).map_err(|error| {
                failed = Some(error);
                ended()
            })
        });
        match (failed, visited) {
            (Some(error), _) => return Err(error),
            (None, Err(_)) if cancelled() => return Ok(()),
            (None, Err(error)) => return Err(external(error)),
            // A hole, which has cells nevertheless.
            (None, Ok(false)) => feed.missing(part)?,
            (None, Ok(true)) => {}
        }
        feed.flush()
    }

    /// Reduces the cells of a unit; how many there are.
    ///
    /// # Errors
    /// As [`CellsSource::part`].
    pub(super) fn unit(
        &mut self,
        plan: &CellsPlan,
        reduction: &Reduction,
        selection: &Selection,
        reader: &mut Reader,
        map: &GroupMap,
        partial: &mut Partial,
    ) -> Result<u64> {
        let slabs = plan.variables(reduction).map(|variable| reader.read_slab(variable, selection, None));
        let slabs: Vec<Cells> = slabs.collect::<crate::Result<_>>().map_err(external)?;
        let dense = slabs
            .iter()
            .map(|slab| Input { block: Some(slab.values.as_block()), valid: slab.valid.as_deref() });
        let dense: Vec<Input<'_>> = dense.collect();
        let part = bounding_box(selection);
        let mut feed = Feed::new(plan, &mut self.machine, &part, map, partial, &dense);
        for run in part.runs() {
            feed.cells(run.start, run.count as usize)?;
        }
        feed.flush()?;
        Ok(part.len())
    }
}

/// The smallest box around `selection`, as a part that keeps what `selection`'s dims keep.
fn bounding_box(selection: &Selection) -> Part {
    let extent = |dim: &DimSelection| match (dim.get(0), dim.last()) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    };
    let extents: Vec<Range<u64>> = selection.dims.iter().map(extent).collect();
    let within = selection.dims.iter().zip(&extents).map(|(dim, extent)| dim.within(extent.clone()));
    Part {
        chunk: 0,
        within: within.collect(),
        origin: extents.iter().map(|extent| extent.start).collect(),
        shape: extents.iter().map(|extent| extent.end - extent.start).collect(),
        masks: Vec::new(),
    }
}

/// Cells of one box on their way through the program, a tile at a time.
struct Feed<'f> {
    plan: &'f CellsPlan,
    machine: &'f mut Machine,
    reducer: ChunkReducer<'f>,
    partial: &'f mut Partial,
    /// Inputs whose cells are all there, those of the box's kept cells in order.
    dense: &'f [Input<'f>],
    /// Where the tile at hand starts in them.
    at: usize,
    /// Where its cells are in the box, and how many there are.
    segments: Vec<Segment>,
    len: usize,
    /// The last input's cells in it, where that isn't dense.
    waiting: Option<&'f mut Values>,
}

impl<'f> Feed<'f> {
    fn new(
        plan: &'f CellsPlan,
        machine: &'f mut Machine,
        part: &'f Part,
        map: &'f GroupMap,
        partial: &'f mut Partial,
        dense: &'f [Input<'f>],
    ) -> Self {
        machine.enter(&part.origin, &part.shape);
        let reducer = ChunkReducer::new(part, map);
        let segments = Vec::new();
        Self { plan, machine, reducer, partial, dense, at: 0, segments, len: 0, waiting: None }
    }

    /// Cells from element `first` of the box on, whose last input has just been decoded.
    fn block(&mut self, first: u64, block: Block<'_>) -> Result<()> {
        let mut done = 0;
        while done < block.len() {
            let left = block.len() - done;
            let count = left.min(TILE - self.len);
            let cells = block.slice(done, done + count);
            self.segments.push(Segment { first: first + done as u64, len: count });
            self.len += count;
            done += count;
            if self.len == count && count >= FEW {
                self.run(Some(cells))?;
            } else {
                if self.waiting.as_mut().is_some_and(|waiting| !waiting.extend(cells)) {
                    return internal_err!("blocks of another dtype");
                }
                if self.len >= FEW {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    /// Cells from element `first` of the box on, all of whose inputs are dense.
    fn cells(&mut self, first: u64, len: usize) -> Result<()> {
        let mut done = 0;
        while done < len {
            let count = (len - done).min(TILE - self.len);
            self.segments.push(Segment { first: first + done as u64, len: count });
            self.len += count;
            done += count;
            if self.len == TILE {
                self.run(None)?;
            }
        }
        Ok(())
    }

    /// The cells of a part whose last input is a hole.
    fn missing(&mut self, part: &Part) -> Result<()> {
        self.waiting = None;
        part.runs().try_for_each(|run| self.cells(run.start, run.count as usize))
    }

    /// Runs what is left.
    fn flush(&mut self) -> Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        match self.waiting.take() {
            Some(waiting) => {
                let done = self.run(Some(waiting.as_block()));
                each_dtype!(Values, &mut *waiting, values => values.clear());
                self.waiting = Some(waiting);
                done
            }
            None => self.run(None),
        }
    }

    /// Runs the program for the tile at hand; `last` are the cells of the last input if it isn't dense.
    fn run(&mut self, last: Option<Block<'_>>) -> Result<()> {
        let range = self.at..self.at + self.len;
        let mut inputs = Vec::with_capacity(self.plan.inputs.len());
        inputs.extend(self.dense.iter().map(|input| Input {
            block: input.block.map(|block| block.slice(range.start, range.end)),
            valid: input.valid.map(|valid| &valid[range.clone()]),
        }));
        if inputs.len() < self.plan.inputs.len() {
            inputs.push(Input { block: last, valid: None });
        }
        let kept = self.machine.run(&self.segments, &inputs).map_err(lift)?;
        if kept {
            let tile =
                Tile { machine: self.machine, inputs: &inputs, segments: &self.segments, len: self.len };
            self.partial.add_tile(self.plan, &tile, &mut self.reducer)?;
        }
        self.at = range.end;
        self.segments.clear();
        self.len = 0;
        Ok(())
    }
}

/// A tile that the program has run for.
pub(super) struct Tile<'a> {
    pub machine: &'a Machine,
    pub inputs: &'a [Input<'a>],
    pub segments: &'a [Segment],
    pub len: usize,
}

/// A fault of a program as an error: one of DataFusion's as it was.
fn lift(fault: Fault) -> DataFusionError {
    match fault {
        Fault::Foreign(error) => match error.downcast::<DataFusionError>() {
            Ok(error) => *error,
            Err(error) => DataFusionError::External(error),
        },
        fault => DataFusionError::Execution(fault.to_string()),
    }
}
