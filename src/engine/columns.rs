//! Columns of labels for the cells of a unit, by fills and copies.
//!
//! ```text
//! latitude   a a a b b b a a a b b b     each label fills as many rows as there are cells inside
//! longitude  x y z x y z x y z x y z     the labels are copied over and over
//! ```

use crate::tensor::DimSelection;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, UInt64Array, downcast_primitive_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows of shared columns that are remembered for a dim.
const REMEMBERED: usize = 1 << 18;

/// Bytes of shared columns that are remembered at most where memory is limited.
const REMEMBERED_BYTES: usize = 256 << 10;

/// Makes columns of labels, and remembers those that come again: the inner dims of most units are the same.
pub(crate) struct Labels {
    dims: Vec<Columns>,
    /// Holds the bytes of what is remembered.
    memory: MemoryReservation,
    /// Most bytes that may be remembered.
    most: usize,
}

/// Columns of one dim for units in which it keeps the same positions and as many cells are inside.
#[derive(Default)]
struct Columns {
    kept: Option<(DimSelection, usize)>,
    /// By the cell that they begin with, and the number of rows.
    columns: HashMap<(usize, usize), ArrayRef>,
    rows: usize,
    bytes: usize,
}

impl Labels {
    /// Labels that are remembered as far as `pool` has room, and little of them if it has a limit.
    pub(crate) fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let unlimited = matches!(pool.memory_limit(), MemoryLimit::Infinite);
        let most = if unlimited { usize::MAX } else { REMEMBERED_BYTES };
        Self { dims: Vec::new(), memory: MemoryConsumer::new("labels").register(pool), most }
    }

    /// The labels of dim number `dim` for cells `range` of the product of `dims`; where `keep` keeps some of these
    /// cells only, for all that it keeps (as many as `range` is long).
    pub(crate) fn column(
        &mut self,
        coord: &ArrayRef,
        dim: usize,
        dims: &[DimSelection],
        keep: Option<&BooleanBuffer>,
        range: Range<usize>,
    ) -> Result<ArrayRef> {
        let kept = &dims[dim];
        let inner: usize = dims[dim + 1..].iter().map(|dim| dim.len() as usize).product();
        let len = kept.len() as usize;
        if let (Some(keep), true) = (keep, len > 1) {
            let positions: Vec<u64> = kept.iter().collect();
            let mut at = Vec::with_capacity(range.len());
            for (start, end) in keep.set_slices() {
                repeat(&positions, inner, start..end, &mut at);
            }
            return Ok(take(coord, &UInt64Array::from(at), None)?);
        }
        let first = if len > 1 { range.start % (len * inner).max(1) } else { 0 };
        if self.dims.len() <= dim {
            self.dims.resize_with(dim + 1, Columns::default);
        }
        let columns = &mut self.dims[dim];
        let same = |(before, cells): &(DimSelection, usize)| before == kept && (*cells == inner || len == 1);
        if !columns.kept.as_ref().is_some_and(same) || columns.rows > REMEMBERED {
            self.memory.shrink(columns.bytes);
            *columns = Columns { kept: Some((kept.clone(), inner)), ..Columns::default() };
        }
        if let Some(column) = columns.columns.get(&(first, range.len())) {
            return Ok(Arc::clone(column));
        }
        let column = made(coord, kept, inner, first..first + range.len())?;
        let bytes = column.get_array_memory_size();
        if self.memory.size() + bytes <= self.most && self.memory.try_grow(bytes).is_ok() {
            columns.columns.insert((first, range.len()), Arc::clone(&column));
            columns.rows += range.len();
            columns.bytes += bytes;
        }
        Ok(column)
    }
}

/// The labels of cells `range`, where each of the `kept` stands for `inner` cells and they repeat over and over.
fn made(coord: &ArrayRef, kept: &DimSelection, inner: usize, range: Range<usize>) -> Result<ArrayRef> {
    let labels = match kept {
        DimSelection::Range(kept) => coord.slice(kept.start as usize, (kept.end - kept.start) as usize),
        DimSelection::Indices(kept) => take(coord, &UInt64Array::from(kept.to_vec()), None)?,
    };
    let labels = labels.as_ref();
    downcast_primitive_array! {
        labels => Ok(repeated(labels, inner, range)),
        DataType::Null => Ok(labels.slice(0, range.len())),
        _ => {
            let mut at = Vec::with_capacity(range.len());
            repeat(&(0..labels.len() as u64).collect::<Vec<_>>(), inner, range, &mut at);
            Ok(take(labels, &UInt64Array::from(at), None)?)
        }
    }
}

/// As [`made`], of numbers and times.
fn repeated<T: ArrowPrimitiveType>(
    labels: &PrimitiveArray<T>,
    inner: usize,
    range: Range<usize>,
) -> ArrayRef {
    let mut values = Vec::with_capacity(range.len());
    repeat(labels.values(), inner, range, &mut values);
    Arc::new(PrimitiveArray::<T>::new(values.into(), None).with_data_type(labels.data_type().clone()))
}

/// Appends what belongs to cells `range`, where each of `items` belongs to `inner` cells and they repeat over and
/// over.
fn repeat<T: Copy>(items: &[T], inner: usize, range: Range<usize>, out: &mut Vec<T>) {
    if items.is_empty() || inner == 0 {
        return;
    }
    let mut cell = range.start;
    while cell < range.end {
        let at = cell / inner % items.len();
        let count = if inner == 1 {
            let count = (items.len() - at).min(range.end - cell);
            out.extend_from_slice(&items[at..at + count]);
            count
        } else {
            let count = (inner - cell % inner).min(range.end - cell);
            out.resize(out.len() + count, items[at]);
            count
        };
        cell += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{AsArray, Int64Array, StringArray};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    fn unlimited() -> Labels {
        Labels::new(&(Arc::new(UnboundedMemoryPool::default()) as _))
    }

    #[test]
    fn what_is_remembered_is_reserved() -> Result<()> {
        let coord: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let dims = [DimSelection::all(1000)];
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(20_000));
        let mut labels = Labels::new(&pool);
        let first = labels.column(&coord, 0, &dims, None, 0..1000)?;
        assert_eq!(pool.reserved(), first.get_array_memory_size());
        assert!(Arc::ptr_eq(&first, &labels.column(&coord, 0, &dims, None, 0..1000)?));
        for end in 900..1000 {
            let column = labels.column(&coord, 0, &dims, None, 0..end)?;
            assert_eq!(column.as_primitive::<Int64Type>().values()[end - 1], end as i64 - 1);
            assert!(pool.reserved() <= 20_000);
        }
        drop(labels);
        assert_eq!(pool.reserved(), 0);
        Ok(())
    }

    fn repeated_items(items: &[u64], inner: usize, range: Range<usize>) -> Vec<u64> {
        let mut out = Vec::new();
        repeat(items, inner, range, &mut out);
        out
    }

    #[test]
    fn labels_repeat_in_c_order() {
        assert_eq!(repeated_items(&[4, 7], 2, 0..8), [4, 4, 7, 7, 4, 4, 7, 7]);
        assert_eq!(repeated_items(&[4, 7], 2, 3..6), [7, 4, 4]);
        assert_eq!(repeated_items(&[1, 2, 5], 1, 2..7), [5, 1, 2, 5, 1]);
        assert_eq!(repeated_items(&[1, 2], 3, 1..2), [1]);
        assert!(repeated_items(&[], 3, 0..0).is_empty());
    }

    #[test]
    fn columns_are_shared_by_units_that_look_alike() -> Result<()> {
        let coord: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30]));
        let mut labels = unlimited();
        let dims =
            |first: u64| vec![DimSelection::Range(first..first + 1), DimSelection::from_indices(vec![0, 2])];
        let mut column = |dim, first, keep: Option<&BooleanBuffer>, range| {
            labels.column(&coord, dim, &dims(first), keep, range)
        };
        let inner = column(1, 0, None, 1..2)?;
        assert_eq!(inner.as_primitive::<Int64Type>().values(), &[30]);
        assert!(Arc::ptr_eq(&inner, &column(1, 1, None, 1..2)?));
        let outer = column(0, 1, None, 0..2)?;
        assert_eq!(outer.as_primitive::<Int64Type>().values(), &[20, 20]);
        assert_eq!(column(0, 2, None, 0..2)?.as_primitive::<Int64Type>().values(), &[30, 30]);
        let keep = BooleanBuffer::from(vec![false, true]);
        assert_eq!(column(1, 2, Some(&keep), 0..1)?.as_primitive::<Int64Type>().values(), &[30]);
        assert_eq!(column(0, 2, Some(&keep), 0..1)?.as_primitive::<Int64Type>().values(), &[30]);
        Ok(())
    }

    #[test]
    fn labels_that_are_text() -> Result<()> {
        let coord: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let column =
            unlimited().column(&coord, 0, &[DimSelection::all(2), DimSelection::all(2)], None, 1..4)?;
        assert_eq!(column.as_ref(), &StringArray::from(vec!["a", "b", "b"]) as &dyn Array);
        Ok(())
    }
}
