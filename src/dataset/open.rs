//! From files to tables.

use super::collect::Collected;
use super::coords::Coord;
use super::index::{self, Found, Origin};
use super::layout::Layout;
use super::location::Files;
use super::options::bad;
use super::{Dataset, GridChoice, GridTable, IndexState, Location, OpenOptions, collect, tables};
use crate::{Error, Result};
use std::sync::Arc;

/// Opens every file of `location` and lays its objects out as tables. Only framing, metadata and coordinate
/// objects are read, or, where it is there and fresh, an index of them (see [`IndexUse`](super::IndexUse)).
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Framing`](crate::Error::Framing) and
/// [`Error::Metadata`](crate::Error::Metadata) of the files, [`Error::Grid`](crate::Error::Grid) where the objects
/// don't make up a grid (duplicates, holes, conflicting coordinates), [`Error::Option`](crate::Error::Option) for
/// options that fit nothing, [`Error::Index`](crate::Error::Index) for an index that is required. An object that
/// can't be decoded keeps its error in its [`Chunk`](super::Chunk).
pub fn open(location: &Location, options: &OpenOptions) -> Result<Dataset> {
    let dataset = open_or_empty(location, options)?;
    if dataset.tables.is_empty() {
        return Err(Error::Grid { name: location.to_string(), what: "no message holds a tensor".into() });
    }
    Ok(dataset)
}

/// As [`open`], but files without any tensor are a dataset without tables.
///
/// # Errors
/// As [`open`].
pub fn open_or_empty(location: &Location, options: &OpenOptions) -> Result<Dataset> {
    let location = &location.clone().with_storage(&options.storage)?;
    let files = location.resolve()?;
    let dataset = match index::find(location, &files, options, &options.limits)? {
        Found::Fresh(dataset) => dataset,
        Found::Not(state) => scan(location, files, options, state)?,
    };
    match &options.grid {
        Some(grid) => only(dataset, grid),
        None => Ok(dataset),
    }
}

/// Makes a dataset of what the files say.
fn scan(location: &Location, files: Files, options: &OpenOptions, index: IndexState) -> Result<Dataset> {
    let collected = collect::collect(&files, options)?;
    let cubes = Layout::new(&collected, options, &files)?.cubes()?;
    let Collected { objects, coords, attributes, .. } = collected;
    let objects = Arc::new(objects.finish());
    let tables = tables::tables(&objects, &coords, cubes, options.missing)?;
    let tables: Vec<_> = tables.into_iter().map(Arc::new).collect();
    let used =
        |name: &str| tables.iter().flat_map(|table| &table.dims).any(|dim| dim.labelled && dim.name == name);
    let coords = coords.list().iter().filter(|coord| !used(coord.name)).map(Coord::dim).collect();
    let origin = Arc::new(Origin::new(location, files, options, objects, tables.clone()));
    Ok(Dataset { tables, coords, attributes, index, origin })
}

/// Keeps the tables of one grid.
fn only(mut dataset: Dataset, grid: &GridChoice) -> Result<Dataset> {
    let there = dataset.list_grids();
    dataset.tables.retain(|table| is_on(table, grid));
    if let Some(ordinal) = grid.ordinal {
        dataset.tables = dataset.tables.get(ordinal.saturating_sub(1)).into_iter().cloned().collect();
    }
    if dataset.tables.is_empty() {
        let dim = |(name, size): &(String, Option<u64>)| match size {
            Some(size) => format!("{name}={size}"),
            None => name.clone(),
        };
        let wanted: Vec<_> = grid.dims.iter().map(dim).collect();
        let ordinal = grid.ordinal.map(|ordinal| format!("#{ordinal}")).unwrap_or_default();
        let wanted = format!("{}{ordinal}", wanted.join(","));
        return Err(bad("grid", &wanted, format!("no such grid; there are {there}")));
    }
    Ok(dataset)
}

fn is_on(table: &GridTable, grid: &GridChoice) -> bool {
    table.dims.len() == grid.dims.len()
        && table
            .dims
            .iter()
            .zip(&grid.dims)
            .all(|(dim, (name, size))| dim.name == *name && size.is_none_or(|size| dim.len() as u64 == size))
}
