//! Arrow's C data interface in Python capsules.
//!
//! Format and names: <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>.

use arrow::array::{Array, RecordBatch, StructArray};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowSchema, to_ffi};
use arrow::ffi_stream::FFI_ArrowArrayStream;
use arrow::record_batch::RecordBatchReader;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

fn broken(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// `schema` as an `arrow_schema`.
pub(crate) fn schema<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    let exported = FFI_ArrowSchema::try_from(schema).map_err(broken)?;
    PyCapsule::new_with_value(py, exported, c"arrow_schema")
}

/// `batch` as an `arrow_schema` and an `arrow_array`; its buffers are shared.
pub(crate) fn batch<'py>(
    py: Python<'py>,
    batch: RecordBatch,
) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
    let schema = schema(py, &batch.schema())?;
    let (array, _) = to_ffi(&StructArray::from(batch).to_data()).map_err(broken)?;
    Ok((schema, PyCapsule::new_with_value(py, array, c"arrow_array")?))
}

/// `reader` as an `arrow_array_stream`.
pub(crate) fn stream<'py>(
    py: Python<'py>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}
