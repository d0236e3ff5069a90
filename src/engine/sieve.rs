//! Predicates that a scan takes from the plan above it, and what they leave of the grid while the query runs.
//!
//! ```text
//! predicate (a filter's, or one that a join or a TopK fills in later) -> its conjuncts, as they are now
//!   of one dim                    evaluated on the labels    -> positions
//!   of several dims, not too many evaluated on combinations  -> positions and a mask
//!   of variables, or too many     -> conditions, evaluated on the cells of a unit
//! ```
//! Predicates whose meaning is settled while the query runs (DataFusion's dynamic filters) are looked at again
//! before each unit: they only ever get stricter, and what they are at any time is no stricter than what the
//! operator that made them needs. Where the statistics of chunks settle a condition for a unit, it isn't evaluated,
//! and where they rule the unit out, it isn't read.

use super::bounds::Bounds;
use super::filter::{self, MASK_CELLS, Predicate, always, truth};
use super::provider::TensorTable;
use super::scan::ColumnSource;
use super::verdict::Verdict;
use crate::tensor::{DimSelection, Selection};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::physical_expr::expressions::{Column, InListExpr, LambdaVariable, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{DynamicFilterTracking, PhysicalExpr, ScalarFunctionExpr, split_conjunction};
use datafusion::physical_expr_common::physical_expr::{
    is_volatile, snapshot_generation, snapshot_physical_expr,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Predicates that a scan has taken, over the columns of its table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    predicates: Vec<Arc<dyn PhysicalExpr>>,
}

impl Taken {
    /// Whether a scan can evaluate `predicate`: its value must be settled by the row.
    pub(crate) fn accepts(predicate: &Arc<dyn PhysicalExpr>) -> bool {
        let mut lambda = false;
        let visit = predicate.apply(|node| {
            lambda |= node.is::<LambdaVariable>();
            Ok(if lambda { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        visit.is_ok() && !lambda && !is_volatile(predicate)
    }

    /// These and one more; `projection` has the table's column for each column that it mentions.
    pub(crate) fn with(&self, predicate: Arc<dyn PhysicalExpr>, projection: &[usize]) -> Result<Self> {
        let mut predicates = self.predicates.clone();
        predicates.push(renumbered(predicate, |index| projection.get(index).copied())?);
        Ok(Self { predicates })
    }

    /// Without those whose meaning another operator settles while a query runs.
    pub(crate) fn fixed(&self) -> Self {
        let fixed = |predicate: &&Arc<dyn PhysicalExpr>| {
            !DynamicFilterTracking::classify(predicate).contains_dynamic_filter()
        };
        Self { predicates: self.predicates.iter().filter(fixed).cloned().collect() }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.predicates.is_empty()
    }

    /// The predicates, over the columns of the table.
    pub(crate) fn predicates(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.predicates
    }

    /// The table's columns that they may look at.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.predicates.iter().flat_map(collect_columns).map(|column| column.index())
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.predicates.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(" AND "))
    }
}

/// `expr` with each column's number replaced by what `number` says.
fn renumbered(
    expr: Arc<dyn PhysicalExpr>,
    number: impl Fn(usize) -> Option<usize>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let renumber = |node: Arc<dyn PhysicalExpr>| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        match number(column.index()) {
            Some(index) => {
                let column = Column::new(column.name(), index);
                Ok(Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>))
            }
            None => internal_err!("there is no column {column}"),
        }
    };
    Ok(expr.transform_up(renumber)?.data)
}

/// A condition on cells.
#[derive(Debug)]
pub(crate) struct Condition {
    columns: Vec<ColumnSource>,
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
    /// Whether anything may be known of it before its cells are read.
    judged: bool,
}

impl Condition {
    /// `expr`, over the columns of `table`.
    fn try_new(table: &TensorTable, expr: &Arc<dyn PhysicalExpr>) -> Result<Self> {
        let columns = columns_of(expr);
        let schema = Arc::new(table.arrow_schema().project(&columns)?);
        let expr = renumbered(Arc::clone(expr), |index| columns.binary_search(&index).ok())?;
        let columns: Vec<_> = columns.iter().map(|&column| table.column(column)).collect();
        let judged = columns.iter().any(|column| match *column {
            ColumnSource::Variable(index) => Bounds::knows(&table.grid().variables[index]),
            ColumnSource::Dim(_) => false,
        });
        Ok(Self { columns, schema, expr, judged })
    }

    /// Of how many of these cells it is known to be true.
    pub(crate) fn verdict(&self, cells: &Bounds<'_>) -> Verdict {
        match self.judged {
            true => Verdict::of(cells, &self.expr, &|column| self.columns[column]),
            false => Verdict::Unknown,
        }
    }

    /// What it looks at.
    pub(crate) fn columns(&self) -> &[ColumnSource] {
        &self.columns
    }

    /// For which of `rows` cells it is true, given its columns.
    pub(crate) fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<BooleanBuffer> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        truth(&self.expr, &batch)
    }

    fn reads(&self) -> bool {
        self.columns.iter().any(|column| matches!(column, ColumnSource::Variable(_)))
    }
}

/// The columns that `expr` mentions, ascending.
fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut columns: Vec<_> = collect_columns(expr).into_iter().map(|column| column.index()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// What predicates leave of a selection.
#[derive(Debug, Clone)]
pub(crate) struct Narrowed {
    /// The cells that they may keep.
    pub selection: Selection,
    /// What these must meet, too; those that read nothing come first.
    pub conditions: Vec<Arc<Condition>>,
}

/// What each predicate leaves, as of some generation; shared by the partitions of a scan.
pub(crate) type Shares = Mutex<Vec<Option<(u64, Arc<Narrowed>)>>>;

/// The predicates of a scan at work in one partition.
pub(crate) struct Sieve {
    table: TensorTable,
    selection: Selection,
    taken: Taken,
    shares: Arc<Shares>,
    seen: Vec<u64>,
    now: Narrowed,
}

impl Sieve {
    /// `taken` on what `selection` keeps.
    pub(crate) fn new(table: TensorTable, selection: Selection, taken: Taken, shares: Arc<Shares>) -> Self {
        let now = Narrowed { selection: selection.clone(), conditions: Vec::new() };
        Self { table, selection, taken, shares, seen: Vec::new(), now }
    }

    /// What the predicates leave as they are now.
    ///
    /// # Errors
    /// Those of evaluating them on labels.
    pub(crate) fn look(&mut self) -> Result<&Narrowed> {
        let generations: Vec<u64> = self.taken.predicates.iter().map(snapshot_generation).collect();
        if self.seen != generations {
            let mut now = Narrowed { selection: self.selection.clone(), conditions: Vec::new() };
            for (index, &generation) in generations.iter().enumerate() {
                let share = self.share(index, generation)?;
                now.selection = now.selection.intersect(&share.selection);
                now.conditions.extend(share.conditions.iter().cloned());
            }
            now.conditions.sort_by_key(|condition| condition.reads());
            (self.now, self.seen) = (now, generations);
        }
        Ok(&self.now)
    }

    /// What one predicate leaves, in the state of `generation` or a later one.
    fn share(&self, index: usize, generation: u64) -> Result<Arc<Narrowed>> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.is_empty() {
            shares.resize(self.taken.predicates.len(), None);
        }
        if let Some((known, share)) = &shares[index]
            && *known >= generation
        {
            return Ok(Arc::clone(share));
        }
        let share = Arc::new(self.narrow(&self.taken.predicates[index])?);
        shares[index] = Some((generation, Arc::clone(&share)));
        Ok(share)
    }

    /// What `predicate` leaves of the dims' kept positions.
    fn narrow(&self, predicate: &Arc<dyn PhysicalExpr>) -> Result<Narrowed> {
        let grid = self.table.grid();
        let mut selection = Selection::product(self.selection.dims.clone());
        let (mut several, mut conditions) = (Vec::new(), Vec::new());
        let predicate = snapshot_physical_expr(Arc::clone(predicate))?;
        let conjuncts = split_conjunction(&predicate).into_iter().cloned();
        for conjunct in
            conjuncts.flat_map(|conjunct| [implied(&conjunct, &self.table), vec![conjunct]].concat())
        {
            let columns = columns_of(&conjunct);
            if columns.iter().any(|&column| matches!(self.table.column(column), ColumnSource::Variable(_))) {
                conditions.push(conjunct);
                continue;
            }
            // dims come first in a table, so that a column's number is its dim's
            match columns.as_slice() {
                [] if always(&conjunct)? => {}
                [] => selection.dims.iter_mut().for_each(|dim| *dim = DimSelection::none()),
                &[dim] => {
                    let predicate = Predicate::new(grid, &[dim], renumbered(conjunct, |_| Some(0))?);
                    selection.dims[dim] = filter::keep_positions(&predicate, &selection.dims[dim])?;
                }
                _ => several.push((columns, conjunct)),
            }
        }
        let shape = grid.shape();
        for (dims, conjunct) in several {
            let cells = dims.iter().try_fold(1u64, |cells, &dim| cells.checked_mul(shape[dim]));
            if cells.is_some_and(|cells| cells <= MASK_CELLS) {
                let over_dims = renumbered(conjunct, |dim| dims.binary_search(&dim).ok())?;
                filter::keep_combinations(&Predicate::new(grid, &dims, over_dims), &shape, &mut selection)?;
            } else {
                conditions.push(conjunct);
            }
        }
        filter::drop_idle_masks(&mut selection);
        let conditions = conditions.iter().map(|expr| Condition::try_new(&self.table, expr).map(Arc::new));
        Ok(Narrowed { selection, conditions: conditions.collect::<Result<_>>()? })
    }
}

/// What follows for each dim from `struct(a, b) IN (...)`, the form in which a join on several keys names them all:
/// far fewer combinations are left to look at.
fn implied(conjunct: &Arc<dyn PhysicalExpr>, table: &TensorTable) -> Vec<Arc<dyn PhysicalExpr>> {
    let Some(list) = conjunct.downcast_ref::<InListExpr>().filter(|list| !list.negated()) else {
        return Vec::new();
    };
    let Some(tuple) = list.expr().downcast_ref::<ScalarFunctionExpr>().filter(|f| f.name() == "struct")
    else {
        return Vec::new();
    };
    let member = |(index, arg): (usize, &Arc<dyn PhysicalExpr>)| {
        let item = |item: &Arc<dyn PhysicalExpr>| match item.downcast_ref::<Literal>()?.value() {
            ScalarValue::Struct(tuple) => ScalarValue::try_from_array(tuple.column(index), 0).ok(),
            _ => None,
        };
        let items: Vec<_> = list.list().iter().map(item).collect::<Option<_>>()?;
        let items = ScalarValue::iter_to_array(items).ok()?;
        let list =
            InListExpr::try_new_from_array(Arc::clone(arg), items, false, table.arrow_schema()).ok()?;
        Some(Arc::new(list) as Arc<dyn PhysicalExpr>)
    };
    tuple.args().iter().enumerate().filter_map(member).collect()
}
