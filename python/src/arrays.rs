//! Arrays: what files hold as variables over dims, for xarray; and reading slabs of them.
//!
//! ```text
//! open     files + options -> every set of variables, described; the opened dataset is kept
//! read     files + options + which variable + positions -> values, as the buffer that was decoded into
//! ```
//! Python keeps descriptions only. A read finds its dataset among the opened ones of this process, or opens it, and
//! checks that the data still is what was described. The mutex is taken and given back by threads that hold the
//! interpreter, so a fork never finds it taken; nothing is read meanwhile.

use super::buffer::Buffer;
use super::error::{raise, raise_ours};
use super::objects::{labels, map};
use super::session::Session;
use arrow::array::Int64Array;
use millibar::dataset::read::ReadOptions;
use millibar::dataset::slab::{self, Slab};
use millibar::dataset::{ArraySet, Dataset, Dim, GridTable, Location, OpenOptions, Variable, open_or_empty};
use millibar::engine::TensorTable;
use millibar::engine::config::{Share, TableOverrides};
use millibar::tensor::DimSelection;
use millibar::{Error, Result};
use pyo3::exceptions::PyIndexError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

/// Datasets that stay open; those asked for last.
const KEPT: usize = 64;

/// Files, and how they become variables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// Paths, globs, patterns or URLs.
    items: Vec<String>,
    /// As in SQL's `OPTIONS`.
    options: Vec<(String, String)>,
}

/// A variable in files, as `millibar.xarray.FileArray` says it.
#[derive(Debug, FromPyObject)]
pub(crate) struct Stored {
    items: Vec<String>,
    options: Vec<(String, String)>,
    /// Table and column.
    at: (usize, usize),
    /// Of the state that it was in.
    identity: u64,
}

/// A dataset that was opened.
#[derive(Debug)]
struct Opened {
    dataset: Dataset,
    read: ReadOptions,
}

/// The opened datasets, the one asked for last at the end.
static OPENED: Mutex<Vec<(Key, Arc<Opened>)>> = Mutex::new(Vec::new());

impl Opened {
    fn open(key: &Key) -> Result<Self> {
        let options = OpenOptions::from_pairs(key.options.iter().map(|(name, value)| (name, value)))?;
        let defaults = ReadOptions::default();
        let read = ReadOptions {
            range_threshold: options.range_threshold.unwrap_or(defaults.range_threshold),
            verify: options.verify_hash,
            ..defaults
        };
        Ok(Self { dataset: open_or_empty(&Location::from_list(&key.items)?, &options)?, read })
    }

    /// The variable at `at` (table and column), if it is in the state that `identity` says.
    fn variable(&self, at: (usize, usize), identity: u64) -> Option<&Variable> {
        let variable = self.dataset.tables.get(at.0)?.variables.get(at.1)?;
        (variable.chunks.identity() == identity).then_some(variable)
    }
}

/// Remembers a dataset in place of what was opened as `key` before.
fn keep(_py: Python<'_>, key: &Key, opened: &Arc<Opened>) {
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(other, _)| other != key);
    if all.len() >= KEPT {
        all.remove(0);
    }
    all.push((key.clone(), Arc::clone(opened)));
}

/// The dataset that was opened as `key`.
fn kept(_py: Python<'_>, key: &Key) -> Option<Arc<Opened>> {
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let at = all.iter().position(|(other, _)| other == key)?;
    let found = all.remove(at);
    let opened = Arc::clone(&found.1);
    all.push(found);
    Some(opened)
}

/// Opens files and describes their variables: as one set, or, where `split`, as many as it takes.
#[pyfunction]
pub(crate) fn open_arrays<'py>(
    py: Python<'py>,
    items: Vec<String>,
    options: Vec<(String, String)>,
    split: bool,
) -> PyResult<Bound<'py, PyList>> {
    let key = Key { items, options };
    let opened = py.detach(|| {
        let opened = Opened::open(&key)?;
        let sets = if split { opened.dataset.array_sets()? } else { vec![opened.dataset.array_set()?] };
        Ok((opened, sets))
    });
    let (opened, sets) = opened.map_err(|e: Error| raise_ours(py, e))?;
    let described =
        sets.iter().map(|set| describe(py, &opened.dataset, set)).collect::<PyResult<Vec<_>>>()?;
    keep(py, &key, &Arc::new(opened));
    PyList::new(py, described)
}

/// The dataset of `stored`, in which it is in the state that its identity says.
///
/// # Errors
/// `OSError` if it is in another state; those of opening.
fn find(py: Python<'_>, stored: Stored) -> PyResult<Arc<Opened>> {
    let Stored { items, options, at, identity } = stored;
    let key = Key { items, options };
    if let Some(opened) = kept(py, &key).filter(|opened| opened.variable(at, identity).is_some()) {
        return Ok(opened);
    }
    let opened = Arc::new(py.detach(|| Opened::open(&key)).map_err(|e| raise_ours(py, e))?);
    keep(py, &key, &opened);
    if opened.variable(at, identity).is_none() {
        let what = std::io::Error::other("the data has changed since it was opened");
        return Err(raise_ours(py, Error::io(key.items.join(","), what)));
    }
    Ok(opened)
}

fn describe<'py>(py: Python<'py>, dataset: &Dataset, set: &ArraySet) -> PyResult<Bound<'py, PyDict>> {
    let coord = |dim: &Dim| Ok((dim.name.clone(), labels(py, &dim.coord)?, map(py, &dim.all_attributes())?));
    let coords: Vec<_> = set.coords.iter().map(coord).collect::<PyResult<_>>()?;
    let mut variables = Vec::new();
    for array in &set.arrays {
        let variable = array.variable();
        let said = PyDict::new(py);
        let table = dataset.tables.iter().position(|table| Arc::ptr_eq(table, &array.table));
        said.set_item(intern!(py, "name"), &variable.name)?;
        said.set_item(intern!(py, "dims"), &array.dims)?;
        said.set_item(intern!(py, "shape"), variable.grid.shape())?;
        said.set_item(intern!(py, "dtype"), variable.dtype.name())?;
        said.set_item(intern!(py, "chunks"), variable.grid.chunk_shape())?;
        said.set_item(intern!(py, "holes"), variable.chunks.holes())?;
        said.set_item(intern!(py, "attrs"), map(py, &array.attributes())?)?;
        said.set_item(intern!(py, "at"), (table.unwrap_or(0), array.column))?;
        said.set_item(intern!(py, "identity"), variable.chunks.identity())?;
        said.set_item(intern!(py, "columns"), names(&array.table.dims))?;
        variables.push(said);
    }
    let said = PyDict::new(py);
    said.set_item(intern!(py, "coords"), coords)?;
    said.set_item(intern!(py, "variables"), variables)?;
    said.set_item(intern!(py, "attrs"), map(py, &set.attributes)?)?;
    Ok(said)
}

fn names(dims: &[Dim]) -> Vec<&str> {
    dims.iter().map(|dim| dim.name.as_str()).collect()
}

/// Positions along a dim.
#[derive(Debug, FromPyObject)]
pub(crate) enum Positions {
    /// Start, stop and step from 1.
    Steps((u64, u64, u64)),
    /// Ascending positions.
    List(Vec<u64>),
}

impl Positions {
    fn selection(self, len: u64) -> Option<DimSelection> {
        let positions: Vec<u64> = match self {
            Self::Steps((start, stop, 1)) if start <= stop && stop <= len => {
                return Some(DimSelection::Range(start..stop));
            }
            Self::Steps((start, stop, step)) => {
                (start..stop).step_by(usize::try_from(step).ok().filter(|&s| s > 0)?).collect()
            }
            Self::List(positions) => positions,
        };
        let ascend = positions.windows(2).all(|pair| pair[0] < pair[1]);
        let within = positions.last().is_none_or(|&last| last < len);
        (ascend && within).then(|| DimSelection::from_indices(positions))
    }
}

/// The values of a variable at the product of `positions`, C order, with the shape of these; which cells are there, if
/// some aren't; and how many objects were read in part and as a whole.
#[pyfunction]
pub(crate) fn read_array(
    py: Python<'_>,
    stored: Stored,
    positions: Vec<Positions>,
) -> PyResult<(Buffer, Option<Buffer>, (u64, u64))> {
    let at = stored.at;
    let opened = find(py, stored)?;
    let variable = &opened.dataset.tables[at.0].variables[at.1];
    let shape = variable.grid.shape();
    let dims = positions.into_iter().zip(shape).map(|(positions, &len)| positions.selection(len));
    let dims = dims.collect::<Option<Vec<_>>>().filter(|dims| dims.len() == shape.len());
    let Some(dims) = dims else {
        return Err(PyIndexError::new_err(format!("positions leave an array of shape {shape:?}")));
    };
    let slab = py.detach(|| {
        let threads = available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        slab::read(variable, &dims, &opened.read, threads, &|| false)
    });
    let Slab { cells, stats } =
        slab.map_err(|e| raise_ours(py, e))?.ok_or_else(|| PyIndexError::new_err("stopped"))?;
    let extents: Vec<u64> = dims.iter().map(DimSelection::len).collect();
    let whole = stats.decode.full_decodes.min(stats.objects_opened);
    let counts = (stats.objects_opened - whole, whole);
    let valid = cells.valid.map(|valid| Buffer::of_bits(valid, &extents));
    Ok((Buffer::of_values(cells.values, &extents), valid, counts))
}

/// The labels of axis `axis` of a variable, and their type.
#[pyfunction]
pub(crate) fn dim_labels<'py>(
    py: Python<'py>,
    stored: Stored,
    axis: usize,
) -> PyResult<(Bound<'py, PyAny>, &'static str)> {
    let table = stored.at.0;
    let opened = find(py, stored)?;
    match opened.dataset.tables[table].dims.get(axis) {
        Some(dim) => labels(py, &dim.coord),
        None => Err(PyIndexError::new_err(format!("no axis {axis}"))),
    }
}

/// Makes the grid of a variable the table `name` of `session`: as the files call its columns, or, with `positions`, dims
/// as `d0`, `d1`, ..., labelled by their positions, and variables as `v0`, `v1`, ...
#[pyfunction]
pub(crate) fn register_grid(
    py: Python<'_>,
    session: PyRef<'_, Session>,
    name: &str,
    stored: Stored,
    positions: bool,
) -> PyResult<()> {
    let (table, column) = stored.at;
    let opened = find(py, stored)?;
    let grid = &opened.dataset.tables[table];
    let chunks = &grid.variables[column].chunks;
    py.detach(|| chunks.unchanged(0..chunks.len() as u64)).map_err(|e| raise_ours(py, e))?;
    let grid = if positions { Arc::new(by_positions(grid)) } else { Arc::clone(grid) };
    let threshold = Share::try_new(opened.read.range_threshold).map_err(|e| raise(py, &e))?;
    let overrides = TableOverrides {
        range_threshold: Some(threshold),
        nan_as_null: None,
        verify_hash: Some(opened.read.verify),
    };
    let table = Arc::new(TensorTable::new(name, grid, overrides));
    session.context().register_table(name, table).map_err(|e| raise(py, &e))?;
    Ok(())
}

/// Makes `session` forget the table `name`.
#[pyfunction]
pub(crate) fn deregister_grid(py: Python<'_>, session: PyRef<'_, Session>, name: &str) -> PyResult<()> {
    session.context().deregister_table(name).map_err(|e| raise(py, &e))?;
    Ok(())
}

/// A grid whose dims are numbered, and labelled by their positions; its variables are numbered, too.
fn by_positions(grid: &GridTable) -> GridTable {
    let dims = grid.dims.iter().enumerate().map(|(at, dim)| {
        let positions = Int64Array::from_iter_values(0..dim.len() as i64);
        Dim::new(format!("d{at}"), Arc::new(positions))
    });
    let variables = grid.variables.iter().enumerate();
    let variables = variables.map(|(at, variable)| Variable { name: format!("v{at}"), ..variable.clone() });
    GridTable { dims: dims.collect(), variables: variables.collect() }
}
