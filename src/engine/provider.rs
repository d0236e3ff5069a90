//! The table provider of one grid.

use super::config::TableOverrides;
use crate::dataset::GridTable;
use datafusion::arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// The variables of one grid, as columns beside their dims.
#[derive(Debug, Clone)]
pub struct TensorTable {
    name: Arc<str>,
    grid: Arc<GridTable>,
    schema: SchemaRef,
    overrides: TableOverrides,
}

impl TensorTable {
    /// What plans and errors call it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Dims and variables.
    pub fn grid(&self) -> &Arc<GridTable> {
        &self.grid
    }

    /// Dims, outermost first, then variables.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the table chooses for itself.
    pub fn overrides(&self) -> &TableOverrides {
        &self.overrides
    }
}

impl TensorTable {
    /// What column `index` of the schema is.
    pub fn column(&self, index: usize) -> super::scan::ColumnSource {
        let dims = self.grid.dims.len();
        if index < dims {
            super::scan::ColumnSource::Dim(index)
        } else {
            super::scan::ColumnSource::Variable(index - dims)
        }
    }
}
