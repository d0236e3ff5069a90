//! DataFusion's own evaluation of an expression, as one step of a program.

use crate::codec::Values;
use crate::dataset::arrow_type;
use crate::engine::types;
use crate::reduce::expr::{Foreign, Input, Kept, Tile};
use crate::tgm::DType;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, RecordBatch, RecordBatchOptions, new_null_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{cast, filter_record_batch, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use std::error::Error;
use std::sync::Arc;

/// An expression over the columns of a batch that is made of a tile.
#[derive(Debug)]
pub(super) struct Opaque {
    pub expr: Arc<dyn PhysicalExpr>,
    pub schema: SchemaRef,
    pub columns: Vec<Column>,
    /// What the values are cast to; `None` if they stay what they are.
    pub result: Option<DataType>,
    /// Whether NaN of float cells is NULL.
    pub nan_as_missing: bool,
}

/// Where a column comes from.
#[derive(Debug)]
pub(super) enum Column {
    /// The cells of an input.
    Variable { input: usize, dtype: DType },
    /// Labels, by the places that an argument gives.
    Dim { arg: usize, labels: ArrayRef },
}

impl Opaque {
    fn values(&self, tile: &Tile<'_>) -> Result<ArrayRef> {
        let column = |column: &Column| match column {
            Column::Variable { input, dtype } => {
                cells(&tile.inputs[*input], *dtype, tile.len, self.nan_as_missing)
            }
            Column::Dim { arg, labels } => {
                Ok(take(labels, &Int32Array::from(tile.args[*arg].to_vec()), None)?)
            }
        };
        let columns = self.columns.iter().map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(tile.len));
        let mut batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        match tile.kept {
            Kept::All => {}
            Kept::None => batch = batch.slice(0, 0),
            Kept::Some(mask) => batch = filter_record_batch(&batch, &BooleanArray::from(mask.to_vec()))?,
        }
        let values = self.expr.evaluate(&batch)?.into_array(batch.num_rows())?;
        match &self.result {
            Some(result) if values.data_type() != result => Ok(cast(&values, result)?),
            _ => Ok(values),
        }
    }
}

impl Foreign for Opaque {
    fn evaluate(&self, tile: &Tile<'_>) -> Result<ArrayRef, Box<dyn Error + Send + Sync>> {
        self.values(tile).map_err(Into::into)
    }
}

/// The cells of an input as a column.
///
/// # Errors
/// Those of arrow.
pub(super) fn cells(input: &Input<'_>, dtype: DType, len: usize, nan_as_missing: bool) -> Result<ArrayRef> {
    let missing = || Ok(new_null_array(&arrow_type(dtype), len));
    let Some(block) = input.block else { return missing() };
    let mut values = Values::with_capacity(dtype, len);
    if !values.extend(block) {
        return internal_err!("cells of another dtype than {dtype}");
    }
    types::column(values, input.valid.map(BooleanBuffer::from), nan_as_missing)
}
