//! Values for the placeholders `$1`, `$2`, ... of a prepared statement, as they travel within its handle.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;

/// A row of parameters as an Arrow IPC stream, the first column for `$1`.
pub(super) fn encode(row: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &row.schema())?;
    writer.write(row)?;
    writer.into_inner()
}

/// The values of what [`encode`] wrote; anything but one row is an error.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<ScalarValue>> {
    let batches = StreamReader::try_new(bytes, None)?.collect::<Result<Vec<_>, _>>()?;
    match batches.as_slice() {
        [row] if row.num_rows() == 1 => {
            row.columns().iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
        }
        _ => datafusion::common::plan_err!("parameters are one row of values"),
    }
}

/// What a plan still wants to know: its placeholders in order of their number, with the types that planning gave them.
pub(super) fn schema(plan: &LogicalPlan) -> Result<Schema> {
    let mut wanted: Vec<_> = plan.get_parameter_fields()?.into_iter().collect();
    wanted.sort_by_key(|(name, _)| (name.len(), name.clone())); // $2 before $10
    let data_type = |field: Option<FieldRef>| field.map_or(DataType::Null, |field| field.data_type().clone());
    let fields = wanted.into_iter().map(|(name, field)| Field::new(name, data_type(field), true));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;
    use std::sync::Arc;

    fn rows(values: Vec<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(values)) as _)]).unwrap()
    }

    #[test]
    fn one_row_survives_and_nothing_else_does() {
        assert_eq!(decode(&encode(&rows(vec![500])).unwrap()).unwrap(), [ScalarValue::Int64(Some(500))]);
        for wrong in [rows(vec![]), rows(vec![1, 2])] {
            assert!(decode(&encode(&wrong).unwrap()).is_err());
        }
        let mut cut = encode(&rows(vec![500])).unwrap();
        cut.truncate(cut.len() / 2);
        assert!(decode(&cut).is_err() && decode(b"").is_err());
    }
}
