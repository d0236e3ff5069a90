//! Which aggregates the grid can compute, and from what.

use super::Refusal;
use super::coords::{Coords, dims_of};
use crate::dataset::{GridTable, arrow_type};
use crate::engine::filter::MASK_CELLS;
use crate::engine::functions::{Std, Sum as ExactSum, TotalMax, TotalMin};
use crate::engine::scan::ColumnSource;
use crate::tensor::Selection;
use crate::tgm::DType;
use datafusion::arrow::datatypes::DataType;
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::stddev::{Stddev, StddevPop};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::functions_aggregate::variance::{VariancePopulation, VarianceSample};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
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
    /// State: the smallest value.
    Min,
    /// State: the largest value.
    Max,
    /// Variance and standard deviation; state: UInt64 count, Float64 mean, Float64 M2.
    Moments,
}

impl Function {
    /// The function of `aggregate`, told by its type: another function of the same name isn't taken for it.
    pub(super) fn of(aggregate: &AggregateFunctionExpr) -> Option<Self> {
        let inner = aggregate.fun().inner();
        if inner.is::<Count>() {
            Some(Self::Count)
        } else if inner.is::<Sum>() || inner.is::<ExactSum>() {
            Some(Self::Sum)
        } else if inner.is::<Avg>() {
            Some(Self::Avg)
        } else if inner.is::<Min>() || inner.is::<TotalMin>() {
            Some(Self::Min)
        } else if inner.is::<Max>() || inner.is::<TotalMax>() {
            Some(Self::Max)
        } else {
            let moments = inner.is::<VarianceSample>()
                || inner.is::<VariancePopulation>()
                || inner.is::<Stddev>()
                || inner.is::<StddevPop>()
                || inner.is::<Std>();
            moments.then_some(Self::Moments)
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
    /// Its `FILTER (WHERE ...)`, over the scan's columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// How it is computed.
    pub path: Path,
    /// Types of the columns that an accumulator of DataFusion's takes for it.
    pub inputs: Vec<DataType>,
    /// Types of its state columns.
    pub states: Vec<DataType>,
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
}

impl Aggregate {
    /// Decides how `expr` over `args` is computed, if nothing but its own filter restricts the cells.
    pub(super) fn try_new(
        expr: &Arc<AggregateFunctionExpr>,
        args: Vec<Arc<dyn PhysicalExpr>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        context: &Context<'_>,
    ) -> Result<Self, Refusal> {
        let name = expr.name();
        let function = Function::of(expr).ok_or_else(|| {
            Refusal::new(format!("`{name}` is not one of the functions reduced on the grid"))
        })?;
        if expr.is_distinct() {
            return Err(Refusal::new(format!("`{name}` is distinct")));
        }
        if !expr.order_bys().is_empty() {
            return Err(Refusal::new(format!("`{name}` is ordered")));
        }
        let fields = expr.state_fields().map_err(|e| Refusal::new(e.to_string()))?;
        let states: Vec<_> = fields.iter().map(|field| field.data_type().clone()).collect();
        let inputs = args.iter().map(|arg| arg.data_type(context.coords.schema()));
        let inputs = inputs.collect::<Result<_, _>>().map_err(|e| Refusal::new(e.to_string()))?;
        let path = context.path(function, &args, filter.as_ref(), &states)?;
        let reads_nan = matches!(&path, Path::Direct { variable, .. } if context.nan_is_value(*variable));
        if reads_nan && !follows_total_order(expr, context.grouped) {
            return Err(Refusal::new(format!("`{name}` depends on the order of rows where NaN is a value")));
        }
        Ok(Self { expr: Arc::clone(expr), function, args, filter, path, inputs, states })
    }

    /// Columns of the scan that its arguments and filter mention, with repetitions.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        self.args.iter().chain(&self.filter).flat_map(collect_columns).map(|column| column.index())
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

/// Whether `expr` treats NaN as the kernels do. DataFusion's `min` and `max` by group don't: which value they
/// end up with depends on the order of rows.
pub(super) fn follows_total_order(expr: &AggregateFunctionExpr, grouped: bool) -> bool {
    let inner = expr.fun().inner();
    !grouped || !(inner.is::<Min>() || inner.is::<Max>())
}

/// Whether reducing decoded elements of `dtype` gives what `function` gives for the column cast to `cast`.
fn reads_as(function: Function, dtype: DType, cast: Option<&DataType>, states: &[DataType]) -> bool {
    use DataType::{Decimal128, Float64, Int64, UInt64};
    if dtype.is_complex() || (dtype == DType::Bitmask && function != Function::Count) {
        return false;
    }
    let to = cast.cloned().unwrap_or_else(|| arrow_type(dtype));
    let exact = cast.is_none() || widens(dtype, &to);
    match function {
        Function::Count => exact,
        Function::Min | Function::Max => exact && *states == [to],
        Function::Sum if dtype.is_float() => exact && *states == [Float64],
        Function::Sum => exact && matches!(states, [Int64 | UInt64 | Decimal128(_, 0)]) && to != Float64,
        // Each element becomes a double, by the column's cast or in the kernel.
        Function::Avg => to == Float64 && *states == [UInt64, Float64],
        Function::Moments => to == Float64 && *states == [UInt64, Float64, Float64],
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
