//! From files to tables.

use super::layout::Layout;
use super::options::bad;
use super::{Dataset, GridTable, Location, OpenOptions, collect, tables};
use crate::Result;
use crate::tgm::Limits;
use std::sync::Arc;

/// Opens every file of `location` and lays its objects out as tables. Only framing, metadata and coordinate
/// objects are read.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Framing`](crate::Error::Framing) and
/// [`Error::Metadata`](crate::Error::Metadata) of the files, [`Error::Grid`](crate::Error::Grid) where the objects
/// don't make up a grid (duplicates, holes, conflicting coordinates), [`Error::Option`](crate::Error::Option) for
/// options that fit nothing. An object that can't be decoded keeps its error in its [`Chunk`](super::Chunk).
pub fn open(location: &Location, options: &OpenOptions, limits: &Limits) -> Result<Dataset> {
    let files = location.resolve()?;
    let collected = collect::collect(&location.to_string(), &files, options, limits)?;
    let cubes = Layout::new(&collected, options, &files)?.cubes()?;
    let tables = tables::tables(&collected, cubes, options.missing, limits)?;
    let dataset =
        Dataset { tables: tables.into_iter().map(Arc::new).collect(), attributes: collected.attributes };
    match &options.grid {
        Some(grid) => only(dataset, grid),
        None => Ok(dataset),
    }
}

/// Keeps the tables of one grid.
fn only(mut dataset: Dataset, grid: &[(String, Option<u64>)]) -> Result<Dataset> {
    let names = dataset.grid_names();
    dataset.tables.retain(|table| is_on(table, grid));
    if dataset.tables.is_empty() {
        let dim = |(name, size): &(String, Option<u64>)| match size {
            Some(size) => format!("{name}={size}"),
            None => name.clone(),
        };
        let wanted: Vec<_> = grid.iter().map(dim).collect();
        return Err(bad("grid", &wanted.join(","), format!("no such grid; there are {}", names.join("; "))));
    }
    Ok(dataset)
}

fn is_on(table: &GridTable, grid: &[(String, Option<u64>)]) -> bool {
    table.dims.len() == grid.len()
        && table
            .dims
            .iter()
            .zip(grid)
            .all(|(dim, (name, size))| dim.name == *name && size.is_none_or(|size| dim.len() as u64 == size))
}
