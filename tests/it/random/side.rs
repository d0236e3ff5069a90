//! A small table beside the grid: some of its labels with names, as stations are.

use super::grammar::Beside;
use super::grid::{Model, TEXTS};
use super::plain;
use super::rng::Rng;
use super::value::Value;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use millibar::dataset::GridTable;
use std::sync::Arc;

/// `d(j0, [j1,] name, weight)`: labels of one or two dims, most of which are on the grid.
#[derive(Debug)]
pub(crate) struct Side {
    dims: Vec<usize>,
    unique: bool,
    batch: RecordBatch,
}

impl Side {
    pub(crate) fn random(rng: &mut Rng, model: &Model, grid: &GridTable) -> Self {
        let mut dims = vec![rng.below(model.dims.len())];
        let other = rng.below(model.dims.len());
        if other != dims[0] {
            dims.push(other);
        }
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let unique = !rng.one_in(4);
        for _ in 0..rng.below(7) {
            let row: Vec<Value> = dims.iter().map(|&dim| label(rng, &model.dims[dim].labels)).collect();
            if !unique || !rows.contains(&row) {
                rows.push(row);
            }
        }
        let column = |i: usize| -> ArrayRef {
            let values: Vec<Value> = rows.iter().map(|row| row[i]).collect();
            plain::array(&values, grid.dims[dims[i]].coord.data_type())
        };
        let names: StringArray = (0..rows.len()).map(|i| Some(TEXTS[i % 4])).collect();
        let weights: Int64Array = (0..rows.len()).map(|i| (i != 2).then_some(i as i64 * 3 - 4)).collect();
        let labels = ["j0", "j1"].into_iter().zip((0..dims.len()).map(column));
        let rest: [(&str, ArrayRef); 2] = [("name", Arc::new(names)), ("weight", Arc::new(weights))];
        let batch = RecordBatch::try_from_iter(labels.chain(rest)).unwrap();
        Self { dims, unique, batch }
    }

    /// What a grammar may say of the table.
    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside { side: &self.dims, side_unique: self.unique }
    }

    /// Adds the table as `d`.
    pub(crate) fn register(&self, ctx: &SessionContext) {
        let table = MemTable::try_new(self.batch.schema(), vec![vec![self.batch.clone()]]).unwrap();
        ctx.register_table("d", Arc::new(table)).unwrap();
    }
}

/// A label of a dim, mostly.
fn label(rng: &mut Rng, labels: &[Value]) -> Value {
    match *rng.pick(labels) {
        Value::Int(i) if rng.one_in(5) => Value::Int(i + 1),
        Value::Text(_) if rng.one_in(5) => Value::Text(TEXTS[25]),
        other => other,
    }
}
