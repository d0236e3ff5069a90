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
//!
//! What is known of cells before they are read spares some of this: boxes of which the predicates keep nothing aren't
//! read, and where they keep everything, statistics answer, or the flow without predicates is taken. Predicates that
//! leave a range of the only input's values are compared with packed integers ([`super::within`]).

use super::compile::Compiler;
use super::function::Side;
use super::partial::Partial;
use super::reduction::Reduction;
use super::route::Route;
use super::sink::{SinkPlan, plan_sinks};
use super::within::Within;
use super::work::CellsOf;
use crate::codec::{self, Block, Values};
use crate::dataset::Variable;
use crate::dataset::read::Reader;
use crate::dataset::slab::Cells;
use crate::engine::bounds::Bounds;
use crate::engine::external;
use crate::engine::layout::Layout;
use crate::engine::verdict::Verdict;
use crate::reduce::expr::{Data, Fault, Input, Kept, Machine, Node, Program, Segment, TILE, Table};
use crate::reduce::{ChunkReducer, GroupMap, keep_within};
use crate::tensor::{ChunkGrid, DimSelection, Part, Parts, Selection};
use crate::{Error, Place, each_dtype};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use std::ops::Range;
use std::sync::Arc;

/// Cells that are worth a run of the program: fewer are put together with those that follow.
const FEW: usize = TILE / 4;

/// What is computed for the cells of one side.
#[derive(Debug)]
pub(super) struct CellsPlan {
    pub side: Side,
    /// What cells go through.
    pub gated: Flow,
    /// The same without the predicates, for cells of which it is known that these keep all; `None` where nothing is
    /// known of cells before they are read.
    pub open: Option<Flow>,
    /// Whether the gate says which groups exist.
    pub decides: bool,
    /// Cells of the selection that each cell stands for.
    pub times: u64,
    /// How cells are read.
    pub cut: Cut,
    /// What the predicates keep, if that is a range of the values of the only input, and all sinks take what is kept.
    within: Option<Within>,
}

/// A program, what goes into it, and what becomes of what comes out.
#[derive(Debug)]
pub(super) struct Flow {
    pub program: Arc<Program>,
    /// The variables that are the program's inputs.
    pub inputs: Vec<usize>,
    /// The cells that are kept; `None` if all are.
    pub gate: Option<Node>,
    pub sinks: Vec<SinkPlan>,
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
        let cut = match shared_chunks(reduction, side) {
            Some(grid) => Cut::Chunks(grid.parts(reduction.scan.selection())),
            None => Cut::Units(layout()),
        };
        let predicates = reduction.predicates(side);
        let gated = Flow::try_new(reduction, side, &cut, predicates)?;
        let judged = predicates.iter().flat_map(collect_columns).any(|column| {
            let variable = reduction.variable(column.index());
            variable.is_some_and(|variable| Bounds::knows(&reduction.grid.variables[variable]))
        });
        let open = if judged { Some(Flow::try_new(reduction, side, &cut, &[])?) } else { None };
        // States are those of the gated sinks.
        let open = open.filter(|open| open.members().eq(gated.members()));
        let within = Within::of(reduction).filter(|within| {
            let one = gated.inputs == [within.variable] && matches!(cut, Cut::Chunks(_));
            one && !predicates.is_empty() && gated.sinks.iter().all(|sink| sink.takes_pieces(gated.gate))
        });
        let (decides, times) = (!predicates.is_empty(), reduction.multiplicity(side));
        Ok(Self { side, gated, open, decides, times, cut, within })
    }

    /// Whether the predicates are compared with packed integers, where no mask says otherwise.
    pub(super) fn compares_packed(&self, reduction: &Reduction) -> bool {
        let packed = |within: &Within| Bounds::is_packed(&reduction.grid.variables[within.variable]);
        self.within.as_ref().is_some_and(packed)
    }

    /// Of how many cells of `piece` it is known that the predicates are true.
    pub(super) fn verdict(&self, reduction: &Reduction, piece: &Piece) -> Verdict {
        let predicates = reduction.predicates(self.side);
        if self.open.is_none() {
            return if predicates.is_empty() { Verdict::Always } else { Verdict::Unknown };
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
        Verdict::of_all(&bounds, predicates, &|column| reduction.coords.source(column))
    }

    /// The variables that are read.
    pub(super) fn variables<'a>(&'a self, reduction: &'a Reduction) -> impl Iterator<Item = &'a Variable> {
        self.gated.variables(reduction)
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

impl Flow {
    /// What `reduction` computes for cells of `side`, cut as `cut`, that meet `predicates`.
    fn try_new(
        reduction: &Reduction,
        side: Side,
        cut: &Cut,
        predicates: &[Arc<dyn PhysicalExpr>],
    ) -> Result<Self> {
        let nan_as_missing = reduction.scan.options().nan_as_missing;
        let mut compiler = Compiler::new(&reduction.grid, &reduction.coords, nan_as_missing);
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
        for predicate in predicates {
            let mask = compiler.mask(predicate)?;
            compiler.also(mask)?;
        }
        let gate = compiler.guard;
        if let Some(gate) = gate {
            compiler.builder.gate(gate).map_err(external)?;
        }
        let sinks = plan_sinks(reduction, side, &mut compiler)?;
        let (program, inputs) = (Arc::new(compiler.builder.build(nan_as_missing)), compiler.inputs);
        Ok(Self { program, inputs, gate, sinks })
    }

    /// The variables that are the program's inputs.
    fn variables<'a>(&'a self, reduction: &'a Reduction) -> impl Iterator<Item = &'a Variable> {
        self.inputs.iter().map(|&variable| &reduction.grid.variables[variable])
    }

    /// The aggregates of each sink.
    fn members(&self) -> impl Iterator<Item = &[usize]> {
        self.sinks.iter().map(SinkPlan::members)
    }
}

/// The chunks by which cells of `side` can be taken, if they can.
fn shared_chunks(reduction: &Reduction, side: Side) -> Option<&ChunkGrid> {
    let mut grids = reduction.variables(side).map(|variable| &reduction.grid.variables[variable].grid);
    let mut aggregates = reduction.of_side(side);
    let in_order = aggregates.any(|(_, aggregate)| Route::of(aggregate, reduction) == Route::Native);
    let first = grids.next()?;
    (side == Side::Cells && !in_order && grids.all(|grid| grid == first)).then_some(first)
}

/// One worker's machine for a flow, and buffers for cells.
pub(super) struct CellsSource {
    machine: Machine,
    /// Decoded parts, one for each input but the last.
    buffers: Vec<Values>,
    /// Cells of the last input that wait for more.
    waiting: Option<Values>,
    /// Which packed integers are kept.
    keep: Vec<bool>,
}

/// Where cells go: a plan's flow, the groups of the grid, the states.
pub(super) struct Course<'a> {
    pub plan: &'a CellsPlan,
    pub flow: &'a Flow,
    pub reduction: &'a Reduction,
    pub map: &'a GroupMap,
}

impl CellsSource {
    /// Empty buffers for `flow`.
    pub(super) fn new(flow: &Flow, reduction: &Reduction, reader: &Reader) -> Self {
        let mut buffers: Vec<_> = flow.variables(reduction).map(|variable| reader.buffer(variable)).collect();
        let waiting = buffers.pop();
        Self { machine: Machine::new(Arc::clone(&flow.program)), buffers, waiting, keep: Vec::new() }
    }

    /// Reduces a part of the chunks that all inputs share.
    ///
    /// # Errors
    /// Those of reading, of expressions and of accumulators; likewise below.
    pub(super) fn part(
        &mut self,
        course: &Course<'_>,
        part: &Part,
        (reader, cancelled): (&mut Reader, &dyn Fn() -> bool),
        partial: &mut Partial,
    ) -> Result<()> {
        let variables: Vec<&Variable> = course.flow.variables(course.reduction).collect();
        let Some((last, others)) = variables.split_last() else {
            // Nothing but the number of cells is asked for.
            let mut feed = Feed::new(course, &mut self.machine, part, partial, &[]);
            part.runs().try_for_each(|run| feed.cells(run.start, run.count as usize))?;
            return feed.flush();
        };
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
        let mut feed = Feed::new(course, &mut self.machine, part, partial, &dense);
        feed.waiting = self.waiting.as_mut();
        let (mut failed, past) = (None, course.past());
        let mut sink = |first: u64, piece: codec::Piece<'_>| {
            let ended = || Error::unsupported(&Place::file("ended query"), "reading on");
            if cancelled() {
                return Err(ended());
            }
            let done = match (piece, past) {
                (codec::Piece::Values(block), Past::Through) => feed.block(first, block),
                (piece, past) => feed.piece(first, piece, past, &mut self.keep),
            };
            done.map_err(|error| {
                failed = Some(error);
                ended()
            })
        };
        let visited = match past {
            Past::Through => reader.visit_part(last, part, &mut |first, block| sink(first, block.into())),
            Past::Within(_) | Past::All => reader.visit_pieces(last, part, &mut sink),
        };
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
        course: &Course<'_>,
        selection: &Selection,
        reader: &mut Reader,
        partial: &mut Partial,
    ) -> Result<u64> {
        let slabs = course
            .flow
            .variables(course.reduction)
            .map(|variable| reader.read_slab(variable, selection, None));
        let slabs: Vec<Cells> = slabs.collect::<crate::Result<_>>().map_err(external)?;
        let dense = slabs
            .iter()
            .map(|slab| Input { block: Some(slab.values.as_block()), valid: slab.valid.as_deref() });
        let dense: Vec<Input<'_>> = dense.collect();
        let part = bounding_box(selection);
        let mut feed = Feed::new(course, &mut self.machine, &part, partial, &dense);
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
    course: &'f Course<'f>,
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
        course: &'f Course<'f>,
        machine: &'f mut Machine,
        part: &'f Part,
        partial: &'f mut Partial,
        dense: &'f [Input<'f>],
    ) -> Self {
        machine.enter(&part.origin, &part.shape);
        let reducer = ChunkReducer::new(part, course.map);
        let segments = Vec::new();
        Self { course, machine, reducer, partial, dense, at: 0, segments, len: 0, waiting: None }
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

    /// Cells of the only input from element `first` of the box on, as a codec has them. Those that are kept go past
    /// the program; where that can't be told of them as they are, all go through it.
    fn piece(
        &mut self,
        first: u64,
        piece: codec::Piece<'_>,
        past: Past<'_>,
        keep: &mut Vec<bool>,
    ) -> Result<()> {
        let numbers = match (piece, past) {
            (_, Past::Through) => return internal_err!("cells came in a form that wasn't asked for"),
            (codec::Piece::Values(block), Past::Within(_)) => return self.block(first, block),
            (codec::Piece::Constant(value, _), Past::Within(within)) => {
                let missing = |value: f64| value.is_nan() && self.course.nan_as_missing();
                let held = |&value: &f64| within.holds(value) && !missing(value);
                if !matches!(value, Block::Float64(values) if values.first().is_some_and(held)) {
                    return Ok(());
                }
                None
            }
            (codec::Piece::Packed(samples, packing), Past::Within(within)) => {
                Some((samples, packing.numbers_within(within.low, within.high)))
            }
            (_, Past::All) => None,
        };
        for at in (0..piece.len()).step_by(TILE) {
            let range = at..piece.len().min(at + TILE);
            let kept = match numbers {
                None => Kept::All,
                Some((samples, numbers)) => match keep_within(&samples[range.clone()], numbers, keep) {
                    0 => continue,
                    all if all == range.len() as u64 => Kept::All,
                    _ => Kept::Some(keep),
                },
            };
            let tile = piece.slice(range.start, range.end);
            self.partial.add_piece(self.course, first + at as u64, tile, kept, &mut self.reducer)?;
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
        let mut inputs = Vec::with_capacity(self.course.flow.inputs.len());
        inputs.extend(self.dense.iter().map(|input| Input {
            block: input.block.map(|block| block.slice(range.start, range.end)),
            valid: input.valid.map(|valid| &valid[range.clone()]),
        }));
        if inputs.len() < self.course.flow.inputs.len() {
            inputs.push(Input { block: last, valid: None });
        }
        let kept = self.machine.run(&self.segments, &inputs).map_err(lift)?;
        if kept {
            let tile =
                Tile { machine: self.machine, inputs: &inputs, segments: &self.segments, len: self.len };
            self.partial.add_tile(self.course, &tile, &mut self.reducer)?;
        }
        self.at = range.end;
        self.segments.clear();
        self.len = 0;
        Ok(())
    }
}

/// Which cells go past the program, as a codec has them.
#[derive(Debug, Clone, Copy)]
enum Past<'a> {
    /// None: it has to see them all.
    Through,
    /// Those that are known to be within this range.
    Within(&'a Within),
    /// All of them.
    All,
}

impl<'a> Course<'a> {
    fn past(&self) -> Past<'a> {
        match &self.plan.within {
            None => Past::Through,
            Some(within) if std::ptr::eq(self.flow, &self.plan.gated) => Past::Within(within),
            Some(_) => Past::All,
        }
    }

    fn nan_as_missing(&self) -> bool {
        self.reduction.scan.options().nan_as_missing
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
