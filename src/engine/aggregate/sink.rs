//! From tiles of cells to states: one sink for each distinct argument, under each distinct filter.

use super::cells::Tile;
use super::compile::Compiler;
use super::function::{Aggregate, Function, Side, direct};
use super::native::Native;
use super::partial::Outcome;
use super::reduction::Reduction;
use super::route::Route;
use super::states;
use super::within::excludes_null;
use super::work::add_wants;
use crate::codec::{Block, Piece};
use crate::dataset::stats::ChunkStats;
use crate::engine::external;
use crate::reduce::expr::{Data, Kept, Node, Segment, TILE, Type};
use crate::reduce::{Accumulators, Answer, ChunkReducer, GroupMap, NanPolicy, Wants};
use crate::tensor::Part;
use crate::tgm::DType;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, UInt64Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::filter;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr, Literal};
use std::sync::Arc;

/// What goes into one sink.
#[derive(Debug)]
pub(super) struct SinkPlan {
    /// The cells that go into it; `None` if all do.
    keep: Option<Node>,
    input: SinkInput,
    /// The aggregates that it serves, by their place in the reduction.
    members: Vec<usize>,
}

impl SinkPlan {
    /// The aggregates that it serves, by their place in the reduction.
    pub(super) fn members(&self) -> &[usize] {
        &self.members
    }

    /// Whether it takes the cells that `gate` keeps, as a codec has them, or only their number.
    pub(super) fn takes_pieces(&self, gate: Option<Node>) -> bool {
        self.keep == gate && matches!(self.input, SinkInput::Cells | SinkInput::Variable { .. })
    }

    /// How the statistics of its chunk answer for all kept cells of `part`, in the groups of `map`; `inputs` are
    /// the variables of its flow.
    pub(super) fn answer(
        &self,
        reduction: &Reduction,
        inputs: &[usize],
        part: &Part,
        map: &GroupMap,
    ) -> Option<SinkAnswer> {
        match self.input {
            _ if self.keep.is_some() => None,
            SinkInput::Cells => Some(SinkAnswer::Cells),
            SinkInput::Variable { input, nan, .. } => {
                let stats = reduction.grid.variables[*inputs.get(input)?].stats.get(part.chunk)?;
                let answer = Answer::find(part, map, &stats, self.wants(reduction), nan)?;
                Some(SinkAnswer::States(stats, answer))
            }
            SinkInput::Values(..) | SinkInput::Arrays(_) => None,
        }
    }

    /// What its aggregates need of the kernels.
    fn wants(&self, reduction: &Reduction) -> Wants {
        let mut wants = Wants::default();
        self.members.iter().for_each(|&member| add_wants(&mut wants, reduction.aggregates[member].function));
        wants
    }
}

/// What statistics say to a sink.
pub(super) enum SinkAnswer {
    /// There are as many cells as geometry says.
    Cells,
    /// What is known of the chunk, and how that answers.
    States(ChunkStats, Answer),
}

#[derive(Debug, PartialEq)]
enum SinkInput {
    /// Nothing but that there is a cell.
    Cells,
    /// The cells of an input of the program, for the kernels.
    Variable { input: usize, dtype: DType, nan: NanPolicy },
    /// Values, for the kernels.
    Values(Node, DType),
    /// Values, for DataFusion.
    Arrays(Vec<Node>),
}

/// Makes steps of the filters and arguments of the aggregates of `side`, whose cells `compiler`'s guard keeps.
///
/// # Errors
/// If an expression has no type.
pub(super) fn plan_sinks(
    reduction: &Reduction,
    side: Side,
    compiler: &mut Compiler<'_>,
) -> Result<Vec<SinkPlan>> {
    let gate = compiler.guard;
    let mut sinks: Vec<SinkPlan> = Vec::new();
    // Counts come last: they are by-products of the kernels.
    let (counts, others): (Vec<_>, Vec<_>) =
        reduction.of_side(side).partition(|(_, aggregate)| aggregate.function == Function::Count);
    for (index, aggregate) in others.into_iter().chain(counts) {
        compiler.guard = gate;
        if let Some(filter) = &aggregate.filter {
            let mask = compiler.mask(filter)?;
            compiler.also(mask)?;
        }
        let input = sink_input(reduction, aggregate, compiler)?;
        let input = match input {
            SinkInput::Variable { .. } if aggregate.function == Function::Count => {
                let same = |sink: &&mut SinkPlan| sink.keep == compiler.guard && sink.input == input;
                if let Some(sink) = sinks.iter_mut().find(same) {
                    sink.members.push(index);
                    continue;
                }
                not_null(reduction, aggregate, compiler)?;
                SinkInput::Cells
            }
            input => input,
        };
        let keep = compiler.guard;
        if let Some(keep) = keep {
            compiler.builder.output_mask(keep);
        }
        match sinks.iter_mut().find(|sink| sink.keep == keep && sink.input == input) {
            Some(sink) => sink.members.push(index),
            None => sinks.push(SinkPlan { keep, input, members: vec![index] }),
        }
    }
    compiler.guard = gate;
    Ok(sinks)
}

fn sink_input(
    reduction: &Reduction,
    aggregate: &Aggregate,
    compiler: &mut Compiler<'_>,
) -> Result<SinkInput> {
    let variable = |compiler: &mut Compiler<'_>, variable: usize| {
        let missing = reduction.scan.options().nan_as_missing;
        let nan = if missing { NanPolicy::Null } else { NanPolicy::Value };
        let dtype = reduction.grid.variables[variable].dtype;
        SinkInput::Variable { input: compiler.input(variable), dtype, nan }
    };
    match Route::of(aggregate, reduction) {
        Route::Count => {
            let (grid, coords) = (&reduction.grid, &reduction.coords);
            if let Some(of) = direct(Function::Count, &aggregate.args, &aggregate.states, grid, coords) {
                return Ok(variable(compiler, of));
            }
            not_null(reduction, aggregate, compiler)?;
            Ok(SinkInput::Cells)
        }
        Route::Variable(of) => Ok(variable(compiler, of)),
        Route::Kernel => {
            let mut node = compiler.value(&aggregate.args[0])?;
            // Singles needn't be widened for kernels that do so themselves.
            let builder = &mut compiler.builder;
            let widened = builder.cast_of(node).filter(|&of| builder.kind(of) == Type::F32);
            if !matches!(aggregate.function, Function::Min | Function::Max)
                && builder.kind(node) == Type::F64
                && let Some(single) = widened
            {
                node = single;
            }
            builder.output(node);
            match dtype_of(builder.kind(node)) {
                Some(dtype) => Ok(SinkInput::Values(node, dtype)),
                None => internal_err!("`{}` has no values for the kernels", aggregate.describe()),
            }
        }
        Route::Native => {
            let nodes = aggregate.values().map(|value| compiler.value(value)).collect::<Result<Vec<_>>>()?;
            nodes.iter().for_each(|&node| compiler.builder.output(node));
            Ok(SinkInput::Arrays(nodes))
        }
    }
}

/// Narrows the guard to the cells in which no argument is NULL, unless there are no others, or the predicates keep none.
fn not_null(reduction: &Reduction, aggregate: &Aggregate, compiler: &mut Compiler<'_>) -> Result<()> {
    let never =
        |arg: &Arc<dyn PhysicalExpr>| match (arg.downcast_ref::<Literal>(), arg.downcast_ref::<Column>()) {
            (Some(literal), _) => !literal.value().is_null(),
            (_, Some(column)) => reduction.variable(column.index()).is_none(),
            _ => false,
        };
    let null = |arg: &&Arc<dyn PhysicalExpr>| !never(arg) && !excludes_null(&reduction.predicates, arg);
    for arg in aggregate.args.iter().filter(null) {
        let not_null: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(Arc::clone(arg)));
        let mask = compiler.mask(&not_null)?;
        compiler.also(mask)?;
    }
    Ok(())
}

/// The states of a [`SinkPlan`]'s aggregates.
pub(super) struct Sink {
    /// By their place in the reduction.
    members: Vec<usize>,
    held: Held,
    /// Cells that each cell stands for.
    times: u64,
    both: Vec<bool>,
    /// Truths as the kernels take them.
    truths: Vec<u8>,
}

enum Held {
    Counts(Vec<u64>),
    States(Box<Accumulators>),
    Native(Vec<Native>),
    /// State columns that were taken out of these.
    Drained(Vec<Vec<ArrayRef>>),
}

impl Sink {
    /// A sink of `groups` groups for `plan`, whose cells stand for `times` cells each.
    ///
    /// # Errors
    /// Those of making accumulators.
    pub(super) fn try_new(plan: &SinkPlan, reduction: &Reduction, groups: usize, times: u64) -> Result<Self> {
        let aggregates = plan.members.iter().map(|&member| &reduction.aggregates[member]);
        let states = |dtype: DType, nan: NanPolicy| {
            let states = Accumulators::try_new(dtype, groups, plan.wants(reduction), nan);
            states.map(|states| Held::States(Box::new(states)))
        };
        let held = match plan.input {
            SinkInput::Cells => Held::Counts(vec![0; groups]),
            SinkInput::Variable { dtype, nan, .. } => states(dtype, nan).map_err(external)?,
            SinkInput::Values(_, dtype) => states(dtype, NanPolicy::Value).map_err(external)?,
            SinkInput::Arrays(_) => {
                let grouped = reduction.grouped();
                let native = aggregates.map(|aggregate| Native::try_new(aggregate, groups, grouped));
                Held::Native(native.collect::<Result<_>>()?)
            }
        };
        Ok(Self { members: plan.members.clone(), held, times, both: Vec::new(), truths: Vec::new() })
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        match &self.held {
            Held::Counts(counts) => counts.capacity() * 8,
            Held::States(states) => states.memory(),
            Held::Native(native) => native.iter().map(Native::memory).sum(),
            Held::Drained(states) => states.iter().flatten().map(|state| state.get_array_memory_size()).sum(),
        }
    }

    /// Adds the cells of `tile` that `plan` (this sink's) keeps; `total` is the number of groups.
    ///
    /// # Errors
    /// Those of the accumulators.
    pub(super) fn add(
        &mut self,
        plan: &SinkPlan,
        tile: &Tile<'_>,
        reducer: &mut ChunkReducer<'_>,
        total: usize,
    ) -> Result<()> {
        let kept = plan.keep.map_or(Kept::All, |keep| tile.machine.kept(keep));
        if kept == Kept::None {
            return Ok(());
        }
        let (block, valid) = match (&plan.input, &mut self.held) {
            (SinkInput::Cells, Held::Counts(counts)) => return count(tile.segments, kept, reducer, counts),
            (SinkInput::Arrays(nodes), Held::Native(native)) => {
                return add_arrays(nodes, native, tile, kept, reducer, total);
            }
            (SinkInput::Variable { input, .. }, _) => {
                let input = &tile.inputs[*input];
                (input.block, input.valid.map_or(Kept::All, Kept::Some))
            }
            (SinkInput::Values(node, _), _) => {
                let block = match tile.machine.values(*node) {
                    Data::Bool(values) => {
                        self.truths.clear();
                        self.truths.extend(values.iter().map(|&value| u8::from(value)));
                        Some(Block::Bitmask(&self.truths))
                    }
                    data => data.as_block(),
                };
                (block, tile.machine.valid(*node))
            }
            _ => return internal_err!("a sink doesn't hold what it was planned for"),
        };
        let (Some(block), Held::States(states)) = (block, &mut self.held) else { return Ok(()) };
        let kept = kept.and(valid, &mut self.both);
        if kept == Kept::None {
            return Ok(());
        }
        let mut at = 0;
        for segment in tile.segments {
            let range = at..at + segment.len;
            at = range.end;
            let valid = match kept {
                Kept::Some(mask) => Some(&mask[range.clone()]),
                _ => None,
            };
            let cells = block.slice(range.start, range.end);
            reducer.feed(segment.first, cells, valid, states).map_err(external)?;
        }
        Ok(())
    }

    /// Adds the `kept` ones of the cells of `piece`, from element `first` of the chunk on; the sink takes them as they
    /// are.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn add_piece(
        &mut self,
        first: u64,
        piece: Piece<'_>,
        kept: Kept<'_>,
        reducer: &mut ChunkReducer<'_>,
    ) -> Result<()> {
        let mask = match kept {
            Kept::All => None,
            Kept::None => return Ok(()),
            Kept::Some(mask) => Some(mask),
        };
        match &mut self.held {
            Held::Counts(counts) => count(&[Segment { first, len: piece.len() }], kept, reducer, counts),
            Held::States(states) => reducer.feed(first, piece, mask, states).map_err(external),
            Held::Native(_) | Held::Drained(_) => internal_err!("a sink that takes no cells as they are"),
        }
    }

    /// Adds what statistics answer for the kept cells of `part`.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(super) fn add_answer(&mut self, answer: &SinkAnswer, part: &Part, map: &GroupMap) -> Result<()> {
        match (answer, &mut self.held) {
            (SinkAnswer::Cells, Held::Counts(counts)) => {
                ChunkReducer::new(part, map).count_rows(counts).map_err(external)
            }
            (SinkAnswer::States(stats, answer), Held::States(states)) => {
                answer.add(part, map, stats, states).map_err(external)
            }
            _ => internal_err!("a sink that doesn't hold what statistics say"),
        }
    }

    /// Adds the states of `other`, of the same plan, whose cells come after those seen so far; `total` is the
    /// number of groups.
    ///
    /// # Errors
    /// Those of the accumulators.
    pub(super) fn merge(&mut self, other: Self, total: usize) -> Result<()> {
        match (&mut self.held, other.held) {
            (Held::Counts(counts), Held::Counts(more)) => {
                counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
                Ok(())
            }
            (Held::States(states), Held::States(mut more)) => states.merge_same(&mut more).map_err(external),
            (Held::Native(native), Held::Native(more)) => {
                let identity: Vec<usize> = (0..total).collect();
                let mut pairs = native.iter_mut().zip(more);
                pairs.try_for_each(|(native, mut more)| native.merge(&more.states()?, &identity, total))
            }
            _ => internal_err!("sinks of different plans"),
        }
    }

    /// A sink of `total` groups with these states, of group `i` in group `targets[i]`. These can be rolled up again,
    /// and nothing else after.
    ///
    /// # Errors
    /// Those of the accumulators.
    pub(super) fn rolled_up(
        &mut self,
        aggregates: &[Aggregate],
        targets: &[usize],
        total: usize,
    ) -> Result<Self> {
        if let Held::Native(native) = &mut self.held {
            self.held = Held::Drained(native.iter_mut().map(Native::states).collect::<Result<_>>()?);
        }
        let held = match &mut self.held {
            Held::Counts(counts) => {
                let mut sums = vec![0; total];
                counts.iter().zip(targets).for_each(|(count, &target)| sums[target] += count);
                Held::Counts(sums)
            }
            Held::States(states) => {
                let mut sums = states.like(total).map_err(external)?;
                sums.merge(states, |group| targets[group]).map_err(external)?;
                Held::States(Box::new(sums))
            }
            Held::Drained(columns) => {
                let rolled = self.members.iter().zip(columns).map(|(&member, states)| {
                    let mut native = Native::try_new(&aggregates[member], total, true)?;
                    native.merge(states, targets, total)?;
                    Ok(native)
                });
                Held::Native(rolled.collect::<Result<_>>()?)
            }
            Held::Native(_) => return internal_err!("states weren't taken out"),
        };
        Ok(Self {
            members: self.members.clone(),
            held,
            times: self.times,
            both: Vec::new(),
            truths: Vec::new(),
        })
    }

    /// The states of its aggregates, by their place in the reduction.
    ///
    /// # Errors
    /// As [`states::columns`], and those of DataFusion's accumulators.
    pub(super) fn states(
        &mut self,
        aggregates: &[Aggregate],
        grouped: bool,
    ) -> Result<Vec<(usize, Outcome)>> {
        self.outcomes(aggregates, grouped, |native| native.states().map(Outcome::States))
    }

    /// As [`Sink::states`], with values where DataFusion's accumulators have them at hand.
    ///
    /// # Errors
    /// As [`Sink::states`].
    pub(super) fn values(
        &mut self,
        aggregates: &[Aggregate],
        grouped: bool,
    ) -> Result<Vec<(usize, Outcome)>> {
        self.outcomes(aggregates, grouped, |native| native.values().map(Outcome::Value))
    }

    fn outcomes(
        &mut self,
        aggregates: &[Aggregate],
        grouped: bool,
        of_native: impl Fn(&mut Native) -> Result<Outcome>,
    ) -> Result<Vec<(usize, Outcome)>> {
        let members = self.members.iter();
        match &mut self.held {
            Held::Counts(counts) => {
                counts.iter_mut().for_each(|count| *count *= self.times);
                let counts = states::count_column(counts);
                Ok(members.map(|&index| (index, Outcome::States(vec![Arc::clone(&counts)]))).collect())
            }
            Held::States(states) => {
                states.multiply(self.times).map_err(external)?;
                let reading = states.read();
                let columns = |&index: &usize| {
                    let columns = states::columns(&aggregates[index], &reading, grouped)?;
                    Ok((index, Outcome::States(columns)))
                };
                members.map(columns).collect()
            }
            Held::Native(native) => {
                members.zip(native).map(|(&index, native)| Ok((index, of_native(native)?))).collect()
            }
            Held::Drained(_) => internal_err!("states were taken out"),
        }
    }
}

/// Adds the kept cells of `segments`, a tile at most, to the counts of their groups.
///
/// # Errors
/// Those of the kernels.
pub(super) fn count(
    segments: &[Segment],
    kept: Kept<'_>,
    reducer: &mut ChunkReducer<'_>,
    counts: &mut [u64],
) -> Result<()> {
    static ALL: [bool; TILE] = [true; TILE];
    let mask = match kept {
        Kept::All => &ALL,
        Kept::None => return Ok(()),
        Kept::Some(mask) => mask,
    };
    let mut at = 0;
    for segment in segments {
        reducer.count_kept(segment.first, &mask[at..at + segment.len], counts).map_err(external)?;
        at += segment.len;
    }
    Ok(())
}

fn add_arrays(
    nodes: &[Node],
    native: &mut [Native],
    tile: &Tile<'_>,
    kept: Kept<'_>,
    reducer: &mut ChunkReducer<'_>,
    total: usize,
) -> Result<()> {
    let keep = match kept {
        Kept::Some(mask) => Some(BooleanArray::from(mask.to_vec())),
        _ => None,
    };
    let values = nodes.iter().map(|&node| match (tile.machine.values(node), &keep) {
        // Made of the kept cells alone.
        (Data::Array(Some(array)), _) => Ok(Arc::clone(array)),
        (data, Some(keep)) => Ok(filter(&array_of(data, tile.machine.valid(node))?, keep)?),
        (data, None) => array_of(data, tile.machine.valid(node)),
    });
    let values: Vec<ArrayRef> = values.collect::<Result<_>>()?;
    let mut groups = Vec::with_capacity(tile.len);
    for segment in tile.segments {
        reducer.groups(segment.first, segment.len, &mut groups).map_err(external)?;
    }
    let groups: Vec<usize> = match kept {
        Kept::Some(mask) => {
            groups.iter().zip(mask).filter(|(_, kept)| **kept).map(|(&group, _)| group as usize).collect()
        }
        _ => groups.iter().map(|&group| group as usize).collect(),
    };
    native.iter_mut().try_for_each(|native| native.update(&values, &groups, total))
}

/// Values and validity as an array.
fn array_of(data: &Data, valid: Kept<'_>) -> Result<ArrayRef> {
    let nulls = match valid {
        Kept::All => None,
        Kept::None => Some(NullBuffer::new_null(data.len())),
        Kept::Some(mask) => Some(NullBuffer::from(mask)),
    };
    Ok(match data {
        Data::F32(values) => Arc::new(Float32Array::new(values.clone().into(), nulls)),
        Data::F64(values) => Arc::new(Float64Array::new(values.clone().into(), nulls)),
        Data::I32(values) => Arc::new(Int32Array::new(values.clone().into(), nulls)),
        Data::I64(values) => Arc::new(Int64Array::new(values.clone().into(), nulls)),
        Data::U64(values) => Arc::new(UInt64Array::new(values.clone().into(), nulls)),
        Data::Bool(values) => Arc::new(BooleanArray::new(values.as_slice().into(), nulls)),
        Data::Array(_) => return internal_err!("an array is missing"),
    })
}

/// The kernels' name for a type of values.
fn dtype_of(kind: Type) -> Option<DType> {
    Some(match kind {
        Type::F32 => DType::Float32,
        Type::F64 => DType::Float64,
        Type::I32 => DType::Int32,
        Type::I64 => DType::Int64,
        Type::U64 => DType::UInt64,
        Type::Bool => DType::Bitmask,
        Type::Array => return None,
    })
}
