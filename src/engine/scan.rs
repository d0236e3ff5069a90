//! Rows of a grid.

use super::filter::{CellMask, Kept};
use super::provider::TensorTable;
use crate::dataset::GridTable;
use crate::dataset::read::ReadOptions;
use crate::tensor::Selection;
use datafusion::arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// What a column of a tensor table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnSource {
    /// The labels of a dim.
    Dim(usize),
    /// The cells of a variable.
    Variable(usize),
}

/// Yields the kept cells of a grid as rows, in C order.
#[derive(Debug)]
pub struct TensorScanExec {
    table: TensorTable,
    kept: Kept,
    projection: Vec<usize>,
    schema: SchemaRef,
    limit: Option<usize>,
    options: ReadOptions,
    target_partitions: usize,
}

impl TensorScanExec {
    /// The provider that made it.
    pub fn table(&self) -> &TensorTable {
        &self.table
    }

    /// Dims and variables.
    pub fn grid(&self) -> &Arc<GridTable> {
        self.table.grid()
    }

    /// Positions kept along each dim.
    pub fn selection(&self) -> &Selection {
        &self.kept.product
    }

    /// Conditions over several dims that the kept cells meet besides.
    pub fn masks(&self) -> &Arc<[CellMask]> {
        &self.kept.masks
    }

    /// Columns of the table (dims, then variables) that are asked for, in output order.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// What output column `index` is.
    pub fn column(&self, index: usize) -> ColumnSource {
        self.table.column(self.projection[index])
    }

    /// Schema of the output: the projected columns.
    pub fn output_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows after which it stops.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// How cells are read.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// Partitions that the session asks for.
    pub fn target_partitions(&self) -> usize {
        self.target_partitions
    }
}
