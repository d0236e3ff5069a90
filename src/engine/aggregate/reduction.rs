//! What a grid aggregate computes: decided once, while planning.

use super::Refusal;
use super::chain::Chain;
use super::coords::{Coords, dims_of};
use super::function::{Aggregate, Context, Function, Path, Side};
use super::groups::{GroupSet, GroupSpace};
use super::route::Route;
use crate::dataset::GridTable;
use crate::engine::scan::{ColumnSource, TensorScanExec};
use crate::reduce::NanPolicy;
use crate::tensor::Selection;
use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{ConstExpr, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A partial aggregate over a tensor scan, in terms of the grid.
#[derive(Debug)]
pub(super) struct Reduction {
    /// The scan that it stands in for.
    pub scan: TensorScanExec,
    /// Dims and variables.
    pub grid: Arc<GridTable>,
    /// Labels of the selected positions, and what the scan's columns are.
    pub coords: Coords,
    /// Which group a cell belongs to.
    pub groups: GroupSpace,
    /// The grouping sets, if the query has any: which groups those of `groups`, of all keys, are added up to.
    pub sets: Vec<GroupSet>,
    /// The keys of groups in words. None without `GROUP BY`: there is a single group then, even of no cells.
    pub keys: Vec<String>,
    /// In output order.
    pub aggregates: Vec<Aggregate>,
    /// Conditions on cells that the selection doesn't express, to be met one after the other.
    pub predicates: Vec<Arc<dyn PhysicalExpr>>,
    /// Group keys, then the states of the aggregates: that of the partial aggregate.
    pub schema: SchemaRef,
}

impl Reduction {
    /// What `aggregate`, a partial one whose output has `schema`, computes.
    ///
    /// # Errors
    /// Why it can't be computed on the grid.
    pub(super) fn try_new(aggregate: &AggregateExec, schema: SchemaRef) -> Result<Self, Refusal> {
        let group_by = aggregate.group_expr();
        let chain = Chain::try_new(aggregate.input().as_ref())?;
        let coords = Coords::try_new(chain.scan).map_err(|e| Refusal::new(e.to_string()))?;
        let keys: Vec<_> =
            group_by.expr().iter().map(|(expr, _)| chain.over_scan(expr)).collect::<Result<_, _>>()?;
        let groups = GroupSpace::try_new(&keys, &coords)?;
        check_keys(&groups, &schema)?;
        let sets = if group_by.has_grouping_set() { groups.sets(group_by.groups())? } else { Vec::new() };
        let aggregates = aggregates_of(aggregate, &chain, &coords, (&keys, &groups))?;
        let mut reduction = Self {
            scan: chain.scan.clone(),
            grid: Arc::clone(chain.scan.grid()),
            keys: group_by.expr().iter().map(|(_, name)| name.clone()).collect(),
            predicates: chain.predicates,
            coords,
            groups,
            sets,
            aggregates,
            schema,
        };
        reduction.settle_paths();
        Ok(reduction)
    }

    /// Settles what goes through a program: everything if cells are filtered by value; aggregates of variables
    /// that are decoded for one anyway. Functions of dims need few of the cells.
    fn settle_paths(&mut self) {
        if !self.predicates.is_empty() {
            self.aggregates.iter_mut().for_each(|aggregate| aggregate.through_cells(Side::Cells));
            return;
        }
        for index in 0..self.aggregates.len() {
            let aggregate = &self.aggregates[index];
            let repeats = aggregate.ignores_repeats() || Route::of(aggregate, self) != Route::Native;
            let of_dims = aggregate.columns().all(|column| self.variable(column).is_none());
            if aggregate.path == Path::Cells(Side::Cells) && repeats && of_dims {
                self.aggregates[index].path = Path::Cells(Side::Coords);
            }
        }
        let read: BTreeSet<usize> = self.variables(Side::Cells).collect();
        for aggregate in &mut self.aggregates {
            let again = matches!(aggregate.path, Path::Direct { variable, .. } if read.contains(&variable));
            if again && aggregate.function != Function::Edge {
                aggregate.through_cells(Side::Cells);
            }
        }
    }

    /// The variable that column `column` of the scan is.
    pub(super) fn variable(&self, column: usize) -> Option<usize> {
        match self.coords.source(column) {
            ColumnSource::Variable(variable) => Some(variable),
            ColumnSource::Dim(_) => None,
        }
    }

    /// How each aggregate is computed, and why not in a simpler way; in output order.
    ///
    /// ```text
    /// geometry      a count of cells, without reading any
    /// decode        from decoded blocks of its variable
    /// cells         from the values that a program makes of decoded cells
    /// labels        likewise, of one cell for each combination of labels that matters, without decoding
    /// accumulator   through DataFusion's own accumulator, for the groups that the grid knows
    /// ```
    /// `packed` says whether predicates are compared with packed integers.
    pub(super) fn paths(&self, packed: bool) -> Vec<String> {
        let path = |aggregate: &Aggregate| match &aggregate.path {
            Path::Arithmetic(_) => "geometry".into(),
            Path::Direct { .. } if aggregate.function == Function::Edge => {
                "decode of one cell a group".into()
            }
            Path::Direct { .. } => "decode".into(),
            Path::Cells(side) => {
                let route = Route::of(aggregate, self);
                let native = route == Route::Native;
                let place = if *side == Side::Coords { "labels" } else { "cells" };
                let place = if native { format!("accumulator of {place}") } else { place.into() };
                format!("{place} ({})", self.why_cells(aggregate, route, packed))
            }
        };
        self.aggregates.iter().map(path).collect()
    }

    /// Why an aggregate isn't reduced from decoded blocks alone.
    fn why_cells(&self, aggregate: &Aggregate, route: Route, packed: bool) -> String {
        if route == Route::Native && aggregate.function == Function::Other {
            let name = aggregate.expr.fun().name();
            return match (aggregate.expr.is_distinct(), aggregate.order.is_empty()) {
                (true, _) => "distinct".into(),
                (false, false) => format!("{name} is ordered"),
                (false, true) => format!("{name} has no kernel"),
            };
        }
        if route == Route::Native {
            return "no kernel for its argument's type".into();
        }
        if !self.predicates.is_empty() {
            return if packed { "predicates on packed values" } else { "predicates on values" }.into();
        }
        if aggregate.filter.as_ref().is_some_and(|filter| dims_of(filter, &self.coords).is_none()) {
            return "its filter is on values".into();
        }
        if matches!(route, Route::Variable(_)) {
            return "its variable is decoded for others".into();
        }
        "its argument is an expression".into()
    }

    /// What a NaN in float data is.
    pub(super) fn nan_policy(&self) -> NanPolicy {
        if self.scan.options().nan_as_missing { NanPolicy::Null } else { NanPolicy::Value }
    }

    /// Bytes that its tables hold: codes of groups, and values of keys.
    pub(super) fn memory(&self) -> usize {
        let codes = self.groups.map.factors().iter().map(|factor| size_of_val(&*factor.codes));
        let keys = self.groups.keys.iter().map(|(_, values)| values.get_array_memory_size());
        codes.chain(keys).sum()
    }

    /// Whether there is a `GROUP BY`.
    pub(super) fn grouped(&self) -> bool {
        !self.keys.is_empty() || !self.sets.is_empty()
    }

    /// Most partitions that the work may be dealt to.
    pub(super) fn partitions(&self) -> usize {
        let in_order = self.aggregates.iter().any(|aggregate| aggregate.in_order);
        if in_order { 1 } else { self.scan.target_partitions() }
    }

    /// Aggregates of the cells of `side`, with their places.
    pub(super) fn of_side(&self, side: Side) -> impl Iterator<Item = (usize, &Aggregate)> {
        self.aggregates.iter().enumerate().filter(move |(_, aggregate)| aggregate.path == Path::Cells(side))
    }

    /// Whether cells of `side` are needed.
    pub(super) fn has_side(&self, side: Side) -> bool {
        (side == Side::Cells && !self.predicates.is_empty()) || self.of_side(side).next().is_some()
    }

    /// Conditions on cells of `side`.
    pub(super) fn predicates(&self, side: Side) -> &[Arc<dyn PhysicalExpr>] {
        if side == Side::Cells { &self.predicates } else { &[] }
    }

    /// Columns of the scan that programs for `side` read, ascending.
    fn columns(&self, side: Side) -> Vec<usize> {
        let predicates = self.predicates(side).iter().flat_map(collect_columns).map(|column| column.index());
        let columns = self.of_side(side).flat_map(|(_, aggregate)| aggregate.columns()).chain(predicates);
        columns.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Variables that programs for `side` read, ascending.
    pub(super) fn variables(&self, side: Side) -> impl Iterator<Item = usize> {
        self.columns(side).into_iter().filter_map(|column| self.variable(column))
    }

    /// The cells of `side`: for coords, the first position stands for all where a dim makes no
    /// difference to keys, arguments, filters and masks.
    pub(super) fn selection(&self, side: Side) -> Selection {
        let mut selection = self.scan.selection().clone();
        if side == Side::Coords {
            let grouped = self.groups.map.factors().iter().flat_map(|factor| factor.dims.iter().copied());
            let masked = selection.masks.iter().flat_map(|mask| mask.dims().iter().copied());
            let columns = self.columns(side).into_iter();
            let read = columns.filter_map(|column| match self.coords.source(column) {
                ColumnSource::Dim(dim) => Some(dim),
                ColumnSource::Variable(_) => None,
            });
            let needed: BTreeSet<usize> = grouped.chain(masked).chain(read).collect();
            let dims = selection.dims.iter_mut().enumerate().filter(|(dim, _)| !needed.contains(dim));
            dims.for_each(|(_, kept)| *kept = kept.slice(0..1));
        }
        selection
    }

    /// Cells of the selection that each cell of `side` stands for.
    pub(super) fn multiplicity(&self, side: Side) -> u64 {
        let (all, some) = (&self.scan.selection().dims, self.selection(side).dims);
        all.iter().zip(&some).map(|(all, some)| all.len() / some.len().max(1)).product()
    }
}

/// Refuses keys whose values aren't of the type that the partial aggregate declares.
fn check_keys(groups: &GroupSpace, schema: &SchemaRef) -> Result<(), Refusal> {
    for ((_, values), field) in groups.keys.iter().zip(schema.fields()) {
        if values.data_type() != field.data_type() || (!field.is_nullable() && values.null_count() > 0) {
            return Err(Refusal::new(format!("group key `{}` isn't of its declared type", field.name())));
        }
    }
    Ok(())
}

fn aggregates_of(
    aggregate: &AggregateExec,
    chain: &Chain<'_>,
    coords: &Coords,
    (keys, groups): (&[Arc<dyn PhysicalExpr>], &GroupSpace),
) -> Result<Vec<Aggregate>, Refusal> {
    let refuse = |e: DataFusionError| Refusal::new(e.to_string());
    let mut order = chain.scan.properties().equivalence_properties().clone();
    let single = !aggregate.group_expr().has_grouping_set();
    if single {
        let constant = |key: &Arc<dyn PhysicalExpr>| ConstExpr::from(Arc::clone(key));
        order.add_constants(keys.iter().map(constant)).map_err(refuse)?;
    }
    let context = Context {
        grid: chain.scan.grid(),
        coords,
        selection: chain.scan.selection(),
        nan_as_missing: chain.scan.options().nan_as_missing,
        grouped: !aggregate.group_expr().is_true_no_grouping(),
        factors: single.then(|| groups.map.factors()),
        order,
    };
    let exprs = aggregate.aggr_expr().iter().zip(aggregate.filter_expr());
    let of = |(expr, filter): (&Arc<AggregateFunctionExpr>, &Option<Arc<dyn PhysicalExpr>>)| {
        let args = expr.expressions().iter().map(|arg| chain.over_scan(arg)).collect::<Result<_, _>>()?;
        let filter = filter.as_ref().map(|filter| chain.over_scan(filter)).transpose()?;
        let sort = |by: &PhysicalSortExpr| {
            chain.over_scan(&by.expr).map(|expr| PhysicalSortExpr::new(expr, by.options))
        };
        let order = expr.order_bys().iter().map(sort).collect::<Result<_, _>>()?;
        Aggregate::try_new(expr, args, order, filter, &context)
    };
    exprs.map(of).collect()
}
