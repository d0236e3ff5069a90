//! Decoded values as memory that numpy takes without a copy.

use millibar::codec::Values;
use millibar::each_dtype;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::any::Any;

/// Owns the elements of an array, C order. `numpy.asarray` makes an array of it that keeps it alive; whoever asks for
/// one has it alone, so the array may be written to.
#[pyclass(module = "millibar._millibar", frozen)]
pub(crate) struct Buffer {
    /// Address of the first element of `_owner`, which never moves.
    address: usize,
    shape: Vec<u64>,
    /// As numpy spells it.
    dtype: String,
    _owner: Box<dyn Any + Send + Sync>,
}

impl Buffer {
    /// Elements of one type, `kind` and all, as numpy calls it.
    fn of<T: Send + Sync + 'static>(mut elements: Vec<T>, kind: char, shape: &[u64]) -> Self {
        let order = match size_of::<T>() {
            1 => '|',
            _ if cfg!(target_endian = "little") => '<',
            _ => '>',
        };
        let address = elements.as_mut_ptr() as usize;
        let dtype = format!("{order}{kind}{}", size_of::<T>());
        Self { address, shape: shape.to_vec(), dtype, _owner: Box::new(elements) }
    }

    /// Values of the type of their dtype: `bfloat16` as the bits in `uint16`, a bitmask as `bool`.
    pub(crate) fn of_values(values: Values, shape: &[u64]) -> Self {
        let kind = match &values {
            Values::Float16(_) | Values::Float32(_) | Values::Float64(_) => 'f',
            Values::Int8(_) | Values::Int16(_) | Values::Int32(_) | Values::Int64(_) => 'i',
            Values::Complex64(_) | Values::Complex128(_) => 'c',
            Values::Bitmask(_) => 'b',
            _ => 'u',
        };
        each_dtype!(Values, values, values => Self::of(values, kind, shape))
    }

    /// Truth values.
    pub(crate) fn of_bits(bits: Vec<bool>, shape: &[u64]) -> Self {
        Self::of(bits, 'b', shape)
    }
}

#[pymethods]
impl Buffer {
    /// What `numpy.asarray` looks for.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item(intern!(py, "version"), 3)?;
        interface.set_item(intern!(py, "shape"), PyTuple::new(py, &self.shape)?)?;
        interface.set_item(intern!(py, "typestr"), &self.dtype)?;
        interface.set_item(intern!(py, "data"), (self.address, false))?;
        Ok(interface)
    }
}
