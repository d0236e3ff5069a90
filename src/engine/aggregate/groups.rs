//! `GROUP BY` on a grid: one code per coord value, so that cells need no hashing.
//!
//! Each key is a function of dims. Keys that share a dim, directly or through others, belong together: they are
//! evaluated on the cross product of their dims, and each distinct tuple of their values gets a code. What is
//! left are components over disjoint dims; a group is one code of each, numbered like a position in C order:
//!
//! ```text
//! GROUP BY month(time), level, year(time)      components {time}: (month, year) pairs, {level}: levels
//! group of a cell = code_time[position] * levels + code_level[position]
//! ```
//! Grouping sets are groups of these groups: cells are reduced once, by all keys, and the states of a set are
//! added up from there.

use super::Refusal;
use super::coords::{Coords, dims_of};
use crate::engine::external;
use crate::engine::order::monotonic;
use crate::reduce::{Factor, GroupMap};
use crate::tensor::DimSelection;
use datafusion::arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use datafusion::arrow::compute::{SortOptions, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::utils::normalize_float_zero;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Most positions of the dims of one component: 16 Mi codes are 64 MiB.
const COMPONENT_POSITIONS: u64 = 16 << 20;

/// All groups that a query's cells can belong to.
#[derive(Debug, Clone)]
pub(super) struct GroupSpace {
    /// The group of a cell; one factor for each component. Positions that aren't selected have code 0.
    pub map: Arc<GroupMap>,
    /// For each key, in output order: its component and its values by code.
    pub keys: Vec<(usize, ArrayRef)>,
}

/// One of several grouping sets.
#[derive(Debug, Clone)]
pub(super) struct GroupSet {
    /// Its groups: the keys that it leaves out are NULL.
    pub groups: GroupSpace,
    /// For each component: the code here of each code of all keys.
    codes: Vec<Vec<u32>>,
    /// What DataFusion numbers it by.
    pub id: u64,
    /// Whether it leaves out all keys: it has one group then, even of no cells.
    pub total: bool,
}

impl GroupSet {
    /// The group here that each group of `all` belongs to.
    pub(super) fn targets(&self, all: &GroupMap) -> Vec<usize> {
        let mut codes = vec![0; self.codes.len()];
        let target = |group| {
            for (component, (code, to)) in codes.iter_mut().zip(&self.codes).enumerate() {
                // There are no codes where nothing is selected.
                *code = to.get(all.code(group, component) as usize).copied().unwrap_or(0);
            }
            self.groups.map.group(&codes)
        };
        (0..all.groups()).map(target).collect()
    }
}

impl GroupSpace {
    /// Groups cells by `exprs`, over the columns of the scan that `coords` belongs to.
    ///
    /// # Errors
    /// Refuses keys that mention variables, that can't be evaluated, or that have too many positions.
    pub(super) fn try_new(exprs: &[Arc<dyn PhysicalExpr>], coords: &Coords) -> Result<Self, Refusal> {
        let dims: Vec<Vec<usize>> = exprs
            .iter()
            .map(|expr| {
                dims_of(expr, coords)
                    .ok_or_else(|| Refusal::new(format!("group key `{expr}` depends on cells")))
            })
            .collect::<Result<_, _>>()?;
        let mut factors = Vec::new();
        let mut keys: Vec<Option<(usize, ArrayRef)>> = vec![None; exprs.len()];
        for members in connected(&dims) {
            let exprs: Vec<_> = members.iter().map(|&k| Arc::clone(&exprs[k])).collect();
            let mut all: Vec<usize> = members.iter().flat_map(|&k| dims[k].iter().copied()).collect();
            all.sort_unstable();
            all.dedup();
            let (factor, values) = component(&exprs, all, coords)?;
            for (&member, values) in members.iter().zip(values) {
                keys[member] = Some((factors.len(), values));
            }
            factors.push(factor);
        }
        let map = GroupMap::try_new(coords.shape(), factors).map_err(|e| Refusal::new(e.to_string()))?;
        Ok(Self { map: Arc::new(map), keys: keys.into_iter().flatten().collect() })
    }

    /// What is known of rows of `schema`, which begin with the keys, in the order of their groups' numbers.
    ///
    /// # Errors
    /// Those of comparing keys.
    pub(super) fn order(&self, schema: &SchemaRef) -> Result<EquivalenceProperties> {
        let mut outer: Vec<usize> = (0..self.map.factors().len()).collect();
        outer.sort_by_key(|&component| std::cmp::Reverse(self.map.strides[component]));
        let column = |key: usize| Arc::new(Column::new(schema.field(key).name(), key)) as _;
        let (mut ordering, mut constants, mut unbroken) = (Vec::new(), Vec::new(), true);
        for component in outer {
            let members = self.keys.iter().enumerate().filter(|(_, key)| key.0 == component);
            if self.map.factors()[component].cardinality == 1 {
                // No value at all where nothing is selected.
                let members = members.filter(|(_, (_, values))| !values.is_empty());
                constants.extend(members.map(|(key, (_, values))| {
                    let value = ScalarValue::try_from_array(values, 0).ok();
                    ConstExpr::new(column(key), AcrossPartitions::Uniform(value))
                }));
                continue;
            }
            let mut strict = false;
            for (key, (_, values)) in members.filter(|(_, (_, values))| unbroken && values.null_count() == 0)
            {
                let codes = DimSelection::all(values.len() as u64);
                if let Some(order) = monotonic(values, &codes)? {
                    let options = SortOptions { descending: order.descending, nulls_first: order.descending };
                    ordering.push(PhysicalSortExpr::new(column(key), options));
                    strict = order.strict;
                    break;
                }
            }
            unbroken &= strict;
        }
        let mut order = EquivalenceProperties::new_with_orderings(
            Arc::clone(schema),
            (!ordering.is_empty()).then_some(ordering),
        );
        order.add_constants(constants)?;
        Ok(order)
    }

    /// The grouping sets that leave out the keys marked in each of `sets`.
    ///
    /// # Errors
    /// Refuses more sets than DataFusion can number, and keys that can't be compared.
    pub(super) fn sets(&self, sets: &[Vec<bool>]) -> Result<Vec<GroupSet>, Refusal> {
        let mut made = Vec::with_capacity(sets.len());
        for (index, absent) in sets.iter().enumerate() {
            // The mask, the last key lowest; above it, which repetition of the same set it is.
            let mask = absent.iter().fold(0_u64, |mask, &absent| mask << 1 | u64::from(absent));
            let repetition = sets[..index].iter().filter(|&other| other == absent).count() as u64;
            let id =
                repetition.checked_shl(absent.len() as u32).filter(|id| id >> absent.len() == repetition);
            let Some(id) = id.filter(|_| absent.len() < 64) else {
                return Err(Refusal::new("it has too many keys in grouping sets"));
            };
            let refuse = |e: DataFusionError| Refusal::new(e.to_string());
            made.push(self.set(absent, mask | id).map_err(refuse)?);
        }
        Ok(made)
    }

    fn set(&self, absent: &[bool], id: u64) -> Result<GroupSet> {
        let mut keys: Vec<(usize, ArrayRef)> = Vec::with_capacity(self.keys.len());
        for (component, values) in &self.keys {
            keys.push((*component, new_null_array(values.data_type(), 1)));
        }
        let (mut factors, mut codes) = (Vec::new(), Vec::new());
        for (component, factor) in self.map.factors().iter().enumerate() {
            let kept: Vec<usize> =
                (0..keys.len()).filter(|&key| self.keys[key].0 == component && !absent[key]).collect();
            let values: Vec<ArrayRef> = kept.iter().map(|&key| Arc::clone(&self.keys[key].1)).collect();
            let (to, first) = match values.is_empty() {
                true => (vec![0; factor.cardinality as usize], UInt32Array::from(vec![0])),
                false => distinct(&values)?,
            };
            for (&key, values) in kept.iter().zip(&values) {
                keys[key].1 = take(values, &first, None)?;
            }
            for key in (0..keys.len()).filter(|&key| self.keys[key].0 == component && absent[key]) {
                keys[key].1 = new_null_array(keys[key].1.data_type(), first.len());
            }
            let recoded = factor.codes.iter().map(|&code| to.get(code as usize).copied().unwrap_or(0));
            factors.push(Factor {
                dims: factor.dims.clone(),
                codes: recoded.collect(),
                cardinality: first.len().max(1) as u32,
            });
            codes.push(to);
        }
        let map = GroupMap::try_new(&self.map.shape, factors).map_err(external)?;
        let groups = GroupSpace { map: Arc::new(map), keys };
        Ok(GroupSet { groups, codes, id, total: absent.iter().all(|&absent| absent) })
    }

    /// The column of key number `key`, of groups; `code(group, component)` tells them apart.
    ///
    /// # Errors
    /// Those of arrow's `take`.
    pub(super) fn key_column(
        &self,
        key: usize,
        groups: &[usize],
        code: impl Fn(usize, usize) -> u32,
    ) -> Result<ArrayRef> {
        let (component, values) = &self.keys[key];
        let codes = UInt32Array::from_iter_values(groups.iter().map(|&group| code(group, *component)));
        Ok(take(values, &codes, None)?)
    }

    /// The same of all groups.
    ///
    /// # Errors
    /// As [`GroupSpace::key_column`].
    pub(super) fn whole_key_column(&self, key: usize) -> Result<ArrayRef> {
        let (component, values) = &self.keys[key];
        let (codes, stride) = (self.map.factors()[*component].cardinality, self.map.strides[*component]);
        // Each code for `stride` groups, over and over.
        let period = codes as usize * stride;
        let mut column = Vec::with_capacity(self.map.groups());
        for code in 0..codes {
            column.resize(column.len() + stride, code);
        }
        for _ in 1..self.map.groups() / period.max(1) {
            column.extend_from_within(..period);
        }
        Ok(take(values, &UInt32Array::from(column), None)?)
    }
}

/// The codes of keys over `dims`, and the values of each key by code.
fn component(
    exprs: &[Arc<dyn PhysicalExpr>],
    dims: Vec<usize>,
    coords: &Coords,
) -> Result<(Factor, Vec<ArrayRef>), Refusal> {
    let positions = dims.iter().try_fold(1_u64, |n, &dim| n.checked_mul(coords.shape()[dim]));
    if dims.len() > 1 && positions.is_none_or(|n| n > COMPONENT_POSITIONS) {
        return Err(Refusal::new("a group key over several dims has too many positions"));
    }
    let fail =
        |e: DataFusionError| Refusal::new(format!("a group key can't be evaluated on the coords: {e}"));
    let values = coords.evaluate(exprs, &dims).map_err(fail)?;
    // As DataFusion's own GROUP BY does, which has one group of both zeros.
    let values: Vec<ArrayRef> = values.iter().map(normalize_float_zero).collect();
    let (codes, first) = distinct(&values).map_err(fail)?;
    let values = values.iter().map(|array| Ok(take(array, &first, None)?));
    let values = values.collect::<Result<_>>().map_err(fail)?;
    let codes = coords.scatter(&dims, &codes, 0).into();
    Ok((Factor { dims, codes, cardinality: first.len().max(1) as u32 }, values))
}

/// Sets of keys whose dims overlap, each in ascending order; constant keys are one more set.
fn connected(dims: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut sets: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (key, dims) in dims.iter().enumerate() {
        let mut joined = (vec![key], dims.clone());
        let touches = |set: &(Vec<usize>, Vec<usize>)| {
            set.1.iter().any(|dim| dims.contains(dim)) || (set.1.is_empty() && dims.is_empty())
        };
        for set in sets.extract_if(.., |set| touches(set)) {
            joined.0.extend(set.0);
            joined.1.extend(set.1);
        }
        joined.0.sort_unstable();
        sets.push(joined);
    }
    sets.sort();
    sets.into_iter().map(|set| set.0).collect()
}

/// A code for each row, numbered by first appearance, and the first row of each code. A NULL is a value like any
/// other.
fn distinct(columns: &[ArrayRef]) -> Result<(Vec<u32>, UInt32Array)> {
    let fields = columns.iter().map(|array| SortField::new(array.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    let mut seen = HashMap::new();
    let mut first = Vec::new();
    let codes = rows.iter().enumerate().map(|(i, row)| {
        *seen.entry(row).or_insert_with(|| {
            first.push(i as u32);
            first.len() as u32 - 1
        })
    });
    let codes = codes.collect();
    Ok((codes, UInt32Array::from(first)))
}
