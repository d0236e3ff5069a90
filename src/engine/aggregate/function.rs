//! Which aggregates the grid can compute, and from what.

use super::Refusal;
use super::coords::{Coords, dims_of};
use super::edge::{Edge, edge};
use crate::dataset::{GridTable, arrow_type};
use crate::engine::filter::MASK_CELLS;
use crate::engine::functions::{ArgExtreme, Std, Sum as ExactSum, TotalMax, TotalMin};
use crate::engine::scan::ColumnSource;
use crate::reduce::Factor;
use crate::tensor::Selection;
use crate::tgm::DType;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::approx_distinct::ApproxDistinct;
use datafusion::functions_aggregate::approx_percentile_cont::ApproxPercentileCont;
use datafusion::functions_aggregate::approx_percentile_cont_with_weight::ApproxPercentileContWithWeight;
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::bool_and_or::{BoolAnd, BoolOr};
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::percentile_cont::PercentileCont;
use datafusion::functions_aggregate::stddev::{Stddev, StddevPop};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::functions_aggregate::variance::{VariancePopulation, VarianceSample};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use std::sync::Arc;

/// What an aggregate accumulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Function {
    /// Cells that aren't NULL; state: Int64.
    Count,
    /// State: the sum, NULL if no cell was seen.
    Sum,
    /// State: UInt64 count, Float64 sum.
    Avg,
    /// State: the smallest value; of truths, `bool_and`, since false is below true.
    Min,
    /// State: the largest value; of truths, `bool_or`.
    Max,
    /// Variance and standard deviation; state: UInt64 count, Float64 mean, Float64 M2.
    Moments,
    /// `first_value` or `last_value` where one cell is known for each group; state: its value, the labels that the
    /// order is by, and whether there is one.
    Edge,
    /// Any other; its states are those of DataFusion's accumulator for it.
    Other,
}

impl Function {
    /// Whether the states of cells may be merged in any order, beyond the rounding of floats.
    pub(super) fn commutes(self) -> bool {
        matches!(self, Self::Count | Self::Sum | Self::Avg | Self::Min | Self::Max | Self::Moments)
    }

    /// The function of `aggregate`, told by its type: another function of the same name isn't taken for it.
    pub(super) fn of(aggregate: &AggregateFunctionExpr) -> Self {
        let inner = aggregate.fun().inner();
        let ordered = !aggregate.order_sensitivity().is_insensitive();
        if inner.is::<Min>() || inner.is::<TotalMin>() || inner.is::<BoolAnd>() {
            Self::Min
        } else if inner.is::<Max>() || inner.is::<TotalMax>() || inner.is::<BoolOr>() {
            Self::Max
        } else if aggregate.is_distinct() || ordered {
            Self::Other
        } else if inner.is::<Count>() {
            Self::Count
        } else if inner.is::<Sum>() || inner.is::<ExactSum>() {
            Self::Sum
        } else if inner.is::<Avg>() {
            Self::Avg
        } else if inner.is::<VarianceSample>()
            || inner.is::<VariancePopulation>()
            || inner.is::<Stddev>()
            || inner.is::<StddevPop>()
            || inner.is::<Std>()
        {
            Self::Moments
        } else {
            Self::Other
        }
    }
}

/// How an aggregate is computed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Path {
    /// A count of cells that are never NULL: from the geometry of these cells alone.
    Arithmetic(Selection),
    /// From the decoded blocks of one variable, of these cells, in its own chunk grid.
    Direct { variable: usize, selection: Selection },
    /// From the cells of several variables, by a program.
    Cells(Side),
}

/// Which cells go through a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// All kept cells.
    Cells,
    /// One cell for each combination of labels that matters: enough for the extremes of functions of dims.
    Coords,
}

impl Side {
    /// Both.
    pub(super) const ALL: [Side; 2] = [Side::Cells, Side::Coords];
}

/// One aggregate of the query.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    /// As DataFusion has it.
    pub expr: Arc<AggregateFunctionExpr>,
    /// What it accumulates.
    pub function: Function,
    /// Its arguments, over the scan's columns.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    /// What its `ORDER BY` compares, over the scan's columns.
    pub order: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether it has to see the cells in C order, one after the other.
    pub in_order: bool,
    /// Its `FILTER (WHERE ...)`, over the scan's columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// How it is computed.
    pub path: Path,
    /// Types of the columns that an accumulator of DataFusion's takes for it.
    pub inputs: Vec<DataType>,
    /// Types of its state columns.
    pub states: Vec<DataType>,
    /// Of [`Function::Edge`], the labels that the order is by.
    pub labels: Vec<ScalarValue>,
}

/// What an aggregate is judged by.
pub(super) struct Context<'a> {
    pub grid: &'a GridTable,
    pub coords: &'a Coords,
    /// Cells that the scan keeps.
    pub selection: &'a Selection,
    /// Whether NaN of float data is NULL.
    pub nan_as_missing: bool,
    pub grouped: bool,
    /// What groups depend on; `None` if there are grouping sets.
    pub factors: Option<&'a [Factor]>,
    /// The order of the cells of a group.
    pub order: EquivalenceProperties,
}

impl Aggregate {
    /// Decides how `expr` over `args`, with `ORDER BY order`, is computed, if nothing but its own filter restricts
    /// the cells.
    ///
    /// # Errors
    /// Refuses an order that is required and isn't the grid's, and what can't be evaluated.
    pub(super) fn try_new(
        expr: &Arc<AggregateFunctionExpr>,
        args: Vec<Arc<dyn PhysicalExpr>>,
        order: Vec<PhysicalSortExpr>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        context: &Context<'_>,
    ) -> Result<Self, Refusal> {
        let name = expr.name();
        let mut function = Function::of(expr);
        let edge = context.edge(expr, &args, &order, filter.as_ref())?;
        let in_order = needs_order(expr);
        if in_order && !context.is_order(&order)? {
            return Err(Refusal::new(format!("`{name}` wants another order than the grid's")));
        }
        let order: Vec<_> = order.into_iter().map(|sort| sort.expr).collect();
        let fields = expr.state_fields().map_err(|e| Refusal::new(e.to_string()))?;
        let states: Vec<_> = fields.iter().map(|field| field.data_type().clone()).collect();
        let inputs = args.iter().chain(&order).map(|arg| arg.data_type(context.coords.schema()));
        let inputs = inputs.collect::<Result<_, _>>().map_err(|e| Refusal::new(e.to_string()))?;
        let mut path = context.path(function, &args, filter.as_ref(), &states)?;
        let mut labels = Vec::new();
        if let Some(edge) = edge
            && let Some(variable) = direct(Function::Edge, &args, &states, context.grid, context.coords)
        {
            function = Function::Edge;
            path = Path::Direct { variable, selection: edge.selection };
            labels = edge.labels;
        }
        let reads_nan = matches!(&path, Path::Direct { variable, .. } if context.nan_is_value(*variable));
        if reads_nan && !follows_total_order(expr, context.grouped) {
            return Err(Refusal::new(format!("`{name}` depends on the order of rows where NaN is a value")));
        }
        let expr = Arc::clone(expr);
        Ok(Self { expr, function, args, order, in_order, filter, path, inputs, states, labels })
    }

    /// Leaves it to a program over the cells of `side`.
    pub(super) fn through_cells(&mut self, side: Side) {
        self.path = Path::Cells(side);
        if self.function == Function::Edge {
            self.function = Function::Other;
        }
    }

    /// What an accumulator of DataFusion's takes for it.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.args.iter().chain(&self.order)
    }

    /// Whether seeing a value again makes no difference to it.
    pub(super) fn ignores_repeats(&self) -> bool {
        let inner = self.expr.fun().inner();
        self.expr.is_distinct()
            || matches!(self.function, Function::Min | Function::Max)
            || inner.is::<ApproxDistinct>()
            || inner.is::<ArgExtreme>()
    }

    /// Columns of the scan that its arguments, order and filter mention, with repetitions.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        self.values().chain(&self.filter).flat_map(collect_columns).map(|column| column.index())
    }

    /// As plans show it, such as `avg(temperature)`, with its filter.
    pub(super) fn describe(&self) -> String {
        self.expr.human_display().unwrap_or(self.expr.name()).to_string()
    }
}

impl Context<'_> {
    fn path(
        &self,
        function: Function,
        args: &[Arc<dyn PhysicalExpr>],
        filter: Option<&Arc<dyn PhysicalExpr>>,
        states: &[DataType],
    ) -> Result<Path, Refusal> {
        let Some(selection) = self.selected_by(filter)? else { return Ok(Path::Cells(Side::Cells)) };
        if function == Function::Count && args.iter().all(|arg| self.never_null(arg)) {
            return Ok(Path::Arithmetic(selection));
        }
        let direct = direct(function, args, states, self.grid, self.coords);
        Ok(direct.map_or(Path::Cells(Side::Cells), |variable| Path::Direct { variable, selection }))
    }

    /// The known cells of `expr`, see [`edge()`]; `None` if it isn't of this kind.
    fn edge(
        &self,
        expr: &AggregateFunctionExpr,
        args: &[Arc<dyn PhysicalExpr>],
        order: &[PhysicalSortExpr],
        filter: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Option<Edge>, Refusal> {
        let Some(factors) = self.factors else { return Ok(None) };
        if !args.iter().all(|arg| arg.is::<Column>()) {
            return Ok(None);
        }
        let Some(selection) = self.selected_by(filter)? else { return Ok(None) };
        let labels = |dim: usize| Some(Arc::clone(&self.grid.dims.get(dim)?.coord));
        Ok(edge(expr, order, &selection, factors, self.coords, labels))
    }

    /// Whether the cells of a group come in this order.
    fn is_order(&self, order: &[PhysicalSortExpr]) -> Result<bool, Refusal> {
        let Some(order) = LexOrdering::new(order.iter().cloned()) else { return Ok(true) };
        self.order.ordering_satisfy(order).map_err(|e| Refusal::new(e.to_string()))
    }

    /// The cells that an aggregate's own filter keeps; `None` if that depends on cells.
    fn selected_by(&self, filter: Option<&Arc<dyn PhysicalExpr>>) -> Result<Option<Selection>, Refusal> {
        let Some(filter) = filter else { return Ok(Some(self.selection.clone())) };
        let Some(dims) = dims_of(filter, self.coords) else { return Ok(None) };
        let cells = dims.iter().try_fold(1_u64, |n, &dim| n.checked_mul(self.coords.shape()[dim]));
        if dims.len() > 1 && cells.is_none_or(|cells| cells > MASK_CELLS) {
            return Ok(None);
        }
        let selection = self.coords.select(self.selection, filter, &dims);
        selection
            .map(Some)
            .map_err(|e| Refusal::new(format!("`{filter}` can't be evaluated on the coords: {e}")))
    }

    /// Whether cells of `variable` may be NaN.
    fn nan_is_value(&self, variable: usize) -> bool {
        self.grid.variables[variable].dtype.is_float() && !self.nan_as_missing
    }

    /// Whether `arg` is never NULL: a constant, a bare dim, or a variable without holes and NaN.
    fn never_null(&self, arg: &Arc<dyn PhysicalExpr>) -> bool {
        if let Some(literal) = arg.downcast_ref::<Literal>() {
            return !literal.value().is_null();
        }
        let Some(column) = arg.downcast_ref::<Column>() else { return false };
        match self.coords.source(column.index()) {
            ColumnSource::Dim(_) => true,
            ColumnSource::Variable(variable) => {
                let variable = &self.grid.variables[variable];
                let nan = variable.dtype.is_float() && self.nan_as_missing;
                !nan && variable.chunks.holes() == 0
            }
        }
    }
}

/// The variable whose decoded elements `function` can be reduced from, with arguments `args`.
pub(super) fn direct(
    function: Function,
    args: &[Arc<dyn PhysicalExpr>],
    states: &[DataType],
    grid: &GridTable,
    coords: &Coords,
) -> Option<usize> {
    let [arg] = args else { return None };
    let (variable, cast) = variable_of(arg, coords)?;
    reads_as(function, grid.variables[variable].dtype, cast, states).then_some(variable)
}

/// The variable that `expr` is, and the type that it is cast to, if it is.
fn variable_of<'e>(
    expr: &'e Arc<dyn PhysicalExpr>,
    coords: &Coords,
) -> Option<(usize, Option<&'e DataType>)> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return match coords.source(column.index()) {
            ColumnSource::Variable(variable) => Some((variable, None)),
            ColumnSource::Dim(_) => None,
        };
    }
    let cast = expr.downcast_ref::<CastExpr>()?;
    match variable_of(cast.expr(), coords)? {
        (variable, None) => Some((variable, Some(cast.cast_type()))),
        (_, Some(_)) => None,
    }
}

/// Whether the answer of `expr` is wrong for rows in another order than it asks for. Percentiles name what they are
/// of by an `ORDER BY`, and sort by themselves.
fn needs_order(expr: &AggregateFunctionExpr) -> bool {
    let inner = expr.fun().inner();
    let percentile = inner.is::<PercentileCont>()
        || inner.is::<ApproxPercentileCont>()
        || inner.is::<ApproxPercentileContWithWeight>();
    expr.order_sensitivity() == AggregateOrderSensitivity::HardRequirement && !percentile
}

/// Whether `expr` treats NaN as the kernels do. DataFusion's `min` and `max` by group don't: which value they
/// end up with depends on the order of rows.
pub(super) fn follows_total_order(expr: &AggregateFunctionExpr, grouped: bool) -> bool {
    let inner = expr.fun().inner();
    !grouped || !(inner.is::<Min>() || inner.is::<Max>())
}

/// Whether reducing decoded elements of `dtype` gives what `function` gives for the column cast to `cast`.
fn reads_as(function: Function, dtype: DType, cast: Option<&DataType>, states: &[DataType]) -> bool {
    use DataType::{Decimal128, Float64, Int64, UInt64};
    let ordered = matches!(function, Function::Count | Function::Min | Function::Max);
    if dtype.is_complex() || (dtype == DType::Bitmask && !ordered) {
        return false;
    }
    let to = cast.cloned().unwrap_or_else(|| arrow_type(dtype));
    let exact = cast.is_none() || widens(dtype, &to);
    match function {
        Function::Count => exact,
        Function::Min | Function::Max => exact && *states == [to],
        Function::Edge => exact && states.first() == Some(&to),
        Function::Sum if dtype.is_float() => exact && *states == [Float64],
        Function::Sum => exact && matches!(states, [Int64 | UInt64 | Decimal128(_, 0)]) && to != Float64,
        // Each element becomes a double, by the column's cast or in the kernel.
        Function::Avg => to == Float64 && *states == [UInt64, Float64],
        Function::Moments => to == Float64 && *states == [UInt64, Float64, Float64],
        Function::Other => false,
    }
}

/// Whether every value of `dtype` has its own value in `to`, in the same order.
fn widens(dtype: DType, to: &DataType) -> bool {
    use DataType::*;
    match dtype {
        DType::Float16 => matches!(to, Float16 | Float32 | Float64),
        DType::BFloat16 | DType::Float32 => matches!(to, Float32 | Float64),
        DType::Float64 => *to == Float64,
        DType::Int8 => matches!(to, Int8 | Int16 | Int32 | Int64 | Float32 | Float64),
        DType::Int16 => matches!(to, Int16 | Int32 | Int64 | Float32 | Float64),
        DType::Int32 => matches!(to, Int32 | Int64 | Float64),
        DType::Int64 => *to == Int64,
        DType::UInt8 => {
            matches!(to, UInt8 | UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64 | Float32 | Float64)
        }
        DType::UInt16 => matches!(to, UInt16 | UInt32 | UInt64 | Int32 | Int64 | Float32 | Float64),
        DType::UInt32 => matches!(to, UInt32 | UInt64 | Int64 | Float64),
        DType::UInt64 => *to == UInt64,
        DType::Bitmask => *to == Boolean,
        DType::Complex64 | DType::Complex128 => false,
    }
}
