//! What the Python package `millibar` is made of in Rust.
//!
//! ```text
//! arrays   variables of files, described; slabs of them
//! buffer   decoded values as memory for numpy
//! engine   one runtime for each process; waiting that lets go of the interpreter and listens for Ctrl-C
//! session  Session: a SessionContext; statements become queries
//! query    Query: a plan that can be run any number of times, or rows that are there
//! tables   what isn't tensors: files of other formats, and what Python holds
//! batches  Batches: one run of a query, as Arrow's C stream or batch by batch
//! capsule  Arrow's C data interface in Python capsules
//! logging  events of the engine -> records of Python's logging
//! objects  metadata and labels as Python objects
//! error    Rust errors -> exceptions of millibar._errors
//! ```
//! Everything here is thin: what Rust could use, too, belongs in the crate `millibar`. Python sees these classes as
//! `millibar._millibar`; users meet them through `millibar.Session` and `millibar.Result`.

mod arrays;
mod batches;
mod buffer;
mod capsule;
mod engine;
mod error;
mod logging;
mod objects;
mod query;
mod session;
mod tables;

use pyo3::prelude::*;

/// The native half of the package.
#[pymodule]
mod _millibar {
    use millibar::dataset::OPTIONS;
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_export]
    use super::arrays::{deregister_grid, dim_labels, open_arrays, read_array, register_grid};
    #[pymodule_export]
    use super::batches::Batches;
    #[pymodule_export]
    use super::buffer::Buffer;
    #[pymodule_export]
    use super::query::Query;
    #[pymodule_export]
    use super::session::Session;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::logging::install();
        let options = PyDict::new(module.py());
        for option in OPTIONS {
            options.set_item(option.name, (option.values, option.default, option.help))?;
        }
        module.add("OPTIONS", options)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
