//! Arrow's C data interface in Python capsules.
//!
//! Format and names: <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>.

use arrow::array::{Array, RecordBatch, StructArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowSchema, to_ffi};
use arrow::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use arrow::record_batch::RecordBatchReader;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;

/// An Arrow error of what Python handed over.
pub(crate) fn broken(error: ArrowError) -> PyErr {
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

/// What the capsule that `method` of `object` gives points at.
fn pointed<T>(object: &Bound<'_, PyAny>, method: &str, name: &CStr) -> PyResult<(Py<PyAny>, NonNull<T>)> {
    let capsule = object.call_method0(method)?;
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(name))?;
    Ok((capsule.unbind(), pointer.cast()))
}

/// The schema of an object with `__arrow_c_schema__`.
pub(crate) fn import_schema(object: &Bound<'_, PyAny>) -> PyResult<SchemaRef> {
    let (_capsule, pointer) = pointed::<FFI_ArrowSchema>(object, "__arrow_c_schema__", c"arrow_schema")?;
    // SAFETY: by its name the capsule, which is alive, holds a schema of the C data interface.
    let schema = Schema::try_from(unsafe { pointer.as_ref() }).map_err(broken)?;
    Ok(Arc::new(schema))
}

/// The batches of an object with `__arrow_c_stream__`.
pub(crate) fn import_stream(object: &Bound<'_, PyAny>) -> PyResult<ArrowArrayStreamReader> {
    let (_capsule, pointer) =
        pointed::<FFI_ArrowArrayStream>(object, "__arrow_c_stream__", c"arrow_array_stream")?;
    // SAFETY: by its name the capsule, which is alive, holds a C stream. It is moved out and marked as released, so the
    // capsule leaves it alone.
    unsafe { ArrowArrayStreamReader::from_raw(pointer.as_ptr()) }.map_err(broken)
}
