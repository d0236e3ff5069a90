//! Rows on their way to states: one sink for each distinct input of the aggregates that go through rows.

use super::function::{Aggregate, Function, follows_total_order};
use super::native::Native;
use super::partial::Outcome;
use super::states;
use super::work::add_wants;
use crate::codec::Block;
use crate::engine::external;
use crate::reduce::{Accumulators, NanPolicy, Wants};
use crate::tgm::DType;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::*;
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Aggregates of the same arguments under the same filter.
pub(super) struct Sink {
    args: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Aggregates fed from the kernels' states, by their place in the reduction.
    kernel: Vec<usize>,
    states: Option<Accumulators>,
    /// Aggregates with DataFusion's accumulators.
    native: Vec<(usize, Native)>,
    /// `count` of any types: the rows of each group in which no argument is NULL.
    counted: Vec<usize>,
    counts: Vec<u64>,
}

/// Rows and the groups that they belong to.
pub(super) struct Rows<'a> {
    pub batch: &'a RecordBatch,
    /// One for each row; `None` if all are in group 0.
    pub groups: Option<&'a [u32]>,
}

impl Sink {
    /// A sink of `groups` groups for `members` (places in the reduction), whose arguments and filter, over
    /// batches of `schema`, are given.
    ///
    /// # Errors
    /// Those of making accumulators.
    pub(super) fn try_new(
        args: Vec<Arc<dyn PhysicalExpr>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        members: &[(usize, &Aggregate)],
        schema: &Schema,
        groups: usize,
        grouped: bool,
    ) -> Result<Self> {
        let types = args.iter().map(|arg| arg.data_type(schema)).collect::<Result<Vec<_>>>()?;
        let mut sink = Self {
            args,
            filter,
            kernel: vec![],
            states: None,
            native: vec![],
            counted: vec![],
            counts: vec![],
        };
        let mut wants = Wants::default();
        let dtype = match &types[..] {
            [one] => dtype_of(one),
            _ => None,
        };
        for &(index, aggregate) in members {
            let exact = dtype.is_some_and(|dtype| !dtype.is_float());
            let settled = exact || follows_total_order(&aggregate.expr, grouped);
            if aggregate.function == Function::Count {
                sink.counted.push(index);
            } else if dtype.is_some() && settled && kernel_fits(aggregate, &types[0]) {
                sink.kernel.push(index);
                add_wants(&mut wants, aggregate.function);
            } else {
                sink.native.push((index, Native::try_new(aggregate, groups, grouped)?));
            }
        }
        if let Some(dtype) = dtype.filter(|_| !sink.kernel.is_empty()) {
            let states = Accumulators::try_new(dtype, groups, wants, NanPolicy::Value);
            sink.states = Some(states.map_err(external)?);
        }
        sink.counts = vec![0; if sink.counted.is_empty() { 0 } else { groups }];
        Ok(sink)
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let native: usize = self.native.iter().map(|(_, native)| native.memory()).sum();
        self.states.as_ref().map_or(0, Accumulators::memory) + self.counts.capacity() * 8 + native
    }

    /// Adds rows; `total` is the number of groups.
    ///
    /// # Errors
    /// Those of the expressions and accumulators.
    pub(super) fn add(&mut self, rows: &Rows<'_>, total: usize) -> Result<()> {
        let Some(filter) = &self.filter else { return self.add_kept(rows, total) };
        let keep = truth(filter, rows.batch)?;
        let batch = filter_record_batch(rows.batch, &keep)?;
        let groups = rows.groups.map(|groups| keep_groups(groups, &keep));
        self.add_kept(&Rows { batch: &batch, groups: groups.as_deref() }, total)
    }

    fn add_kept(&mut self, rows: &Rows<'_>, total: usize) -> Result<()> {
        let n = rows.batch.num_rows();
        if n == 0 {
            return Ok(());
        }
        let values = self.args.iter().map(|arg| arg.evaluate(rows.batch)?.into_array(n));
        let values: Vec<ArrayRef> = values.collect::<Result<_>>()?;
        if !self.counts.is_empty() {
            let nulls = values.iter().fold(None, |nulls: Option<NullBuffer>, array| {
                NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref())
            });
            count(&mut self.counts, rows.groups, n, nulls.as_ref());
        }
        if let (Some(states), [values]) = (&mut self.states, &values[..]) {
            add_to_kernel(states, values, rows.groups)?;
        }
        if !self.native.is_empty() {
            let groups: Vec<usize> = match rows.groups {
                Some(groups) => groups.iter().map(|&group| group as usize).collect(),
                None => vec![0; n],
            };
            for (_, native) in &mut self.native {
                native.update(&values, &groups, total)?;
            }
        }
        Ok(())
    }

    /// Adds the states of `other`, of the same aggregates, whose rows come after those seen so far; `total` is the
    /// number of groups.
    ///
    /// # Errors
    /// Those of the accumulators.
    pub(super) fn merge(&mut self, mut other: Self, total: usize) -> Result<()> {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        if let (Some(states), Some(more)) = (&mut self.states, &mut other.states) {
            states.merge(more, |group| group).map_err(external)?;
        }
        let identity: Vec<usize> = (0..if self.native.is_empty() { 0 } else { total }).collect();
        for ((_, native), (_, more)) in self.native.iter_mut().zip(&mut other.native) {
            native.merge(&more.states()?, &identity, total)?;
        }
        Ok(())
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
        let mut outcomes = self.of_kernels(aggregates, grouped)?;
        for (index, native) in &mut self.native {
            outcomes.push((*index, Outcome::States(native.states()?)));
        }
        Ok(outcomes)
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
        let mut outcomes = self.of_kernels(aggregates, grouped)?;
        for (index, native) in &mut self.native {
            outcomes.push((*index, Outcome::Value(native.values()?)));
        }
        Ok(outcomes)
    }

    /// The states of the aggregates that it counts or reduces itself.
    fn of_kernels(&mut self, aggregates: &[Aggregate], grouped: bool) -> Result<Vec<(usize, Outcome)>> {
        let mut outcomes = Vec::new();
        for &index in &self.counted {
            outcomes.push((index, Outcome::States(vec![states::count_column(&self.counts)])));
        }
        if let Some(accumulators) = &mut self.states {
            let reading = accumulators.read();
            for &index in &self.kernel {
                let states = states::columns(&aggregates[index], &reading, grouped)?;
                outcomes.push((index, Outcome::States(states)));
            }
        }
        Ok(outcomes)
    }
}

/// Where `predicate` is true (and not NULL).
pub(super) fn truth(predicate: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let truth = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let truth = as_boolean_array(&truth)?;
    Ok(if truth.null_count() > 0 { prep_null_mask_filter(truth) } else { truth.clone() })
}

/// The groups of the rows that `keep` keeps.
pub(super) fn keep_groups(groups: &[u32], keep: &BooleanArray) -> Vec<u32> {
    keep.values().set_indices().map(|i| groups[i]).collect()
}

/// Adds the rows that aren't null to their groups.
pub(super) fn count(counts: &mut [u64], groups: Option<&[u32]>, rows: usize, nulls: Option<&NullBuffer>) {
    match (groups, nulls) {
        (None, nulls) => counts[0] += (rows - nulls.map_or(0, NullBuffer::null_count)) as u64,
        (Some(groups), None) => groups.iter().for_each(|&group| counts[group as usize] += 1),
        (Some(groups), Some(nulls)) => {
            nulls.inner().set_indices().for_each(|i| counts[groups[i] as usize] += 1);
        }
    }
}

/// Whether the kernels' states for `values` are those of `aggregate`.
fn kernel_fits(aggregate: &Aggregate, values: &DataType) -> bool {
    use DataType::{Decimal128, Float64, Int64, UInt64};
    match aggregate.function {
        Function::Count => true,
        Function::Sum if values.is_floating() => aggregate.states == [Float64],
        Function::Sum => matches!(&aggregate.states[..], [Int64 | UInt64 | Decimal128(_, 0)]),
        Function::Avg => *values == Float64 && aggregate.states == [UInt64, Float64],
        Function::Min | Function::Max => aggregate.states == std::slice::from_ref(values),
        Function::Moments => *values == Float64 && aggregate.states == [UInt64, Float64, Float64],
    }
}

/// The kernels' name for an Arrow type.
fn dtype_of(values: &DataType) -> Option<DType> {
    Some(match values {
        DataType::Float16 => DType::Float16,
        DataType::Float32 => DType::Float32,
        DataType::Float64 => DType::Float64,
        DataType::Int8 => DType::Int8,
        DataType::Int16 => DType::Int16,
        DataType::Int32 => DType::Int32,
        DataType::Int64 => DType::Int64,
        DataType::UInt8 => DType::UInt8,
        DataType::UInt16 => DType::UInt16,
        DataType::UInt32 => DType::UInt32,
        DataType::UInt64 => DType::UInt64,
        _ => return None,
    })
}

fn block_of(values: &ArrayRef) -> Option<Block<'_>> {
    Some(match values.data_type() {
        DataType::Float16 => Block::Float16(values.as_primitive::<Float16Type>().values()),
        DataType::Float32 => Block::Float32(values.as_primitive::<Float32Type>().values()),
        DataType::Float64 => Block::Float64(values.as_primitive::<Float64Type>().values()),
        DataType::Int8 => Block::Int8(values.as_primitive::<Int8Type>().values()),
        DataType::Int16 => Block::Int16(values.as_primitive::<Int16Type>().values()),
        DataType::Int32 => Block::Int32(values.as_primitive::<Int32Type>().values()),
        DataType::Int64 => Block::Int64(values.as_primitive::<Int64Type>().values()),
        DataType::UInt8 => Block::UInt8(values.as_primitive::<UInt8Type>().values()),
        DataType::UInt16 => Block::UInt16(values.as_primitive::<UInt16Type>().values()),
        DataType::UInt32 => Block::UInt32(values.as_primitive::<UInt32Type>().values()),
        DataType::UInt64 => Block::UInt64(values.as_primitive::<UInt64Type>().values()),
        _ => return None,
    })
}

fn add_to_kernel(states: &mut Accumulators, values: &ArrayRef, groups: Option<&[u32]>) -> Result<()> {
    let Some(block) = block_of(values) else { return Ok(()) };
    let valid = values.nulls().filter(|nulls| nulls.null_count() > 0);
    let valid: Option<Vec<bool>> = valid.map(|nulls| nulls.iter().collect());
    match groups {
        None => states.add_run(0, block, valid.as_deref()),
        Some(groups) => states.add_scattered(0, groups, block, valid.as_deref()),
    }
    .map_err(external)
}
