//! The third pass: cubes with the same dims become the columns of one table.

use super::axes::Axis;
use super::coords::{Coord, Coords};
use super::labels::{Codes, Label, array, in_order};
use super::layout::Cube;
use super::objects::Objects;
use super::stats::VariableStats;
use super::{Chunks, Dim, GridTable, Missing, Variable};
use crate::tensor::ChunkGrid;
use crate::{Error, Place, Result};
use arrow::array::{ArrayRef, Int64Array};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

/// Most positions of an axis without labels, and how many of them for each encoded byte of an object.
const POSITIONS: u64 = 1 << 28;
const POSITIONS_FREE: u64 = 1 << 20;
const POSITIONS_PER_BYTE: u64 = 1 << 10;
/// Holes that are always allowed, and how many for each object.
const HOLES_FREE: u128 = 1 << 20;
const HOLES_PER_OBJECT: u128 = 16;
/// How many of a kind an error names.
const NAMED: usize = 3;

/// What cubes of one table have in common: names and kinds of the stacked dims, names and sizes of the axes, and,
/// where holes are errors, the labels.
type GridKey = (Vec<(String, Option<Discriminant<Label>>)>, Vec<Axis>, Vec<Vec<Label>>);

/// Makes the tables.
///
/// # Errors
/// [`Error::Grid`] for holes, unless they are wanted as missing cells, and for columns of the same name;
/// [`Error::Metadata`] of codec parameters; [`Error::Limit`] for axes and cubes too large to hold.
pub(super) fn tables(
    objects: &Arc<Objects>,
    coords: &Coords,
    cubes: Vec<Cube>,
    missing: Missing,
) -> Result<Vec<GridTable>> {
    let mut grids: Vec<Vec<Cube>> = Vec::new();
    let mut known: HashMap<GridKey, usize> = HashMap::new();
    for cube in cubes {
        let at = *known.entry(grid_key(&cube, missing)).or_insert(grids.len());
        if at == grids.len() {
            grids.push(Vec::new());
        }
        grids[at].push(cube);
    }
    let positions = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let mut builder = Builder { objects, coords, missing, positions };
    if grids.is_empty() {
        return Ok(builder.coords_alone());
    }
    grids.into_iter().map(|cubes| builder.table(cubes)).collect()
}

fn grid_key(cube: &Cube, missing: Missing) -> GridKey {
    let kind = |codes: &Codes| codes.labels.first().map(discriminant);
    let stacked = cube.stacked.iter().map(|(name, codes)| (name.clone(), kind(codes))).collect();
    let sorted = |codes: &Codes| {
        let mut labels = codes.labels.clone();
        labels.sort();
        labels
    };
    let labels = match missing {
        Missing::Error => cube.stacked.iter().map(|(_, codes)| sorted(codes)).collect(),
        Missing::Null => Vec::new(),
    };
    (stacked, cube.axes.clone(), labels)
}

struct Builder<'a> {
    objects: &'a Arc<Objects>,
    coords: &'a Coords,
    missing: Missing,
    /// `0, 1, 2, ...`: axes without labels are slices of it.
    positions: Arc<Int64Array>,
}

impl Builder<'_> {
    /// The tables of a location that holds coordinates only: one for each.
    fn coords_alone(&self) -> Vec<GridTable> {
        let dim = |coord: &Coord| GridTable { dims: vec![coord.dim()], variables: Vec::new() };
        self.coords.list().iter().map(dim).collect()
    }

    fn table(&mut self, cubes: Vec<Cube>) -> Result<GridTable> {
        let labels = self.labels(&cubes);
        let axes = cubes[0].axes.clone();
        check_columns(&cubes, &labels)?;
        let variables: Vec<Variable> =
            cubes.into_iter().map(|cube| self.variable(cube, &labels)).collect::<Result<_>>()?;
        let stacked = labels.iter().map(|(name, labels)| Dim::new(name, array(labels)));
        let mut dims: Vec<Dim> = stacked.collect();
        for axis in &axes {
            dims.push(match axis.coord {
                Some(coord) => self.coords.list()[coord].dim(),
                None => {
                    self.check_positions(axis, &variables)?;
                    let coord = self.positions(axis.size as usize);
                    Dim { labelled: false, ..Dim::new(&axis.name, coord) }
                }
            });
        }
        Ok(GridTable { dims, variables })
    }

    /// The labels of the stacked dims, in the order of the dim. First appearance counts across the cubes.
    fn labels(&self, cubes: &[Cube]) -> Vec<(String, Vec<Label>)> {
        let dim = |at: usize| {
            let mut first: HashMap<&Label, u32> = HashMap::new();
            for cube in cubes {
                let codes = &cube.stacked[at].1;
                let mut seen = 0;
                for (row, code) in cube.rows.iter().zip(&codes.codes) {
                    if *code == seen {
                        seen += 1;
                        let known = first.entry(&codes.labels[*code as usize]).or_insert(*row);
                        *known = (*known).min(*row);
                    }
                }
            }
            let mut labels: Vec<(&Label, u32)> = first.into_iter().collect();
            labels.sort_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(b.0)));
            let labels = in_order(labels.into_iter().map(|(label, _)| label.clone()).collect());
            (cubes[0].stacked[at].0.clone(), labels)
        };
        (0..cubes[0].stacked.len()).map(dim).collect()
    }

    fn variable(&self, cube: Cube, labels: &[(String, Vec<Label>)]) -> Result<Variable> {
        let counts: Vec<usize> = labels.iter().map(|(_, labels)| labels.len()).collect();
        let cells = self.check_cells(&cube, &counts, labels)?;
        let positions = cell_positions(&cube, &counts, labels);
        if positions.len() < cells && self.missing == Missing::Error {
            return Err(holes(&cube.name, &positions, cells, labels));
        }
        let mut rows = vec![None; cells];
        for (row, position) in cube.rows.iter().zip(positions) {
            rows[position] = Some(*row);
        }
        let outer = counts.iter().map(|count| *count as u64);
        let inner = cube.axes.iter().map(|axis| axis.size);
        let shape: Vec<u64> = outer.clone().chain(inner.clone()).collect();
        let grid = ChunkGrid::try_new(shape, outer.map(|_| 1).chain(inner.clone()).collect())?;
        let mut chunks = Chunks::new(Arc::clone(self.objects), rows);
        if inner.clone().any(|size| size == 0) {
            chunks = chunks.emptied();
        }
        if let Some(error) = chunks.errors().find(|error| matches!(error, Error::Metadata { .. })) {
            return Err(error.clone());
        }
        let Cube { name, dtype, attributes, .. } = cube;
        let stats = Arc::new(VariableStats::new(dtype, grid.chunks()));
        Ok(Variable { name, dtype, attributes, grid, chunks, stats })
    }

    /// The number of chunks, if it is in proportion to the number of objects.
    fn check_cells(&self, cube: &Cube, counts: &[usize], labels: &[(String, Vec<Label>)]) -> Result<usize> {
        let cells = counts.iter().try_fold(1u128, |cells, count| cells.checked_mul(*count as u128));
        let limit = HOLES_FREE + HOLES_PER_OBJECT * cube.rows.len() as u128;
        match cells.filter(|cells| *cells <= limit) {
            Some(cells) => Ok(cells as usize),
            None => {
                let dim = |(name, labels): &(String, Vec<Label>)| format!("{} of {name}", labels.len());
                let what = format!(
                    "{} objects are too few for a grid of {}",
                    cube.rows.len(),
                    labels.iter().map(dim).collect::<Vec<_>>().join(" x ")
                );
                Err(Error::Grid { name: cube.name.clone(), what })
            }
        }
    }

    /// Refuses an axis without labels that is out of proportion to the bytes that are there.
    fn check_positions(&self, axis: &Axis, variables: &[Variable]) -> Result<()> {
        let mut chunks = variables.iter().map(|variable| &variable.chunks);
        if axis.size <= POSITIONS_FREE || chunks.clone().all(|chunks| chunks.holes() == chunks.len()) {
            return Ok(());
        }
        let Some(most) = chunks.clone().filter_map(Chunks::largest_region).max() else {
            // None of it can be read, so nothing vouches for this size.
            let first = chunks.flat_map(Chunks::errors).next();
            return first.map_or(Ok(()), |error| Err(error.clone()));
        };
        let limit = (POSITIONS_FREE + most.saturating_mul(POSITIONS_PER_BYTE)).min(POSITIONS);
        if axis.size <= limit {
            return Ok(());
        }
        let first = chunks.find_map(|chunks| chunks.iter().flatten().next());
        let at = first.map_or_else(|| Place::file(""), |chunk| chunk.object.place.clone());
        Err(Error::Limit { at, what: "size of an axis without a coordinate", got: axis.size, limit })
    }

    /// `0, 1, ..., len - 1`, shared by all axes.
    fn positions(&mut self, len: usize) -> ArrayRef {
        if self.positions.len() < len {
            let longer = len.max(2 * self.positions.len());
            self.positions = Arc::new(Int64Array::from_iter_values(0..longer as i64));
        }
        Arc::new(self.positions.slice(0, len))
    }
}

/// The chunk that each object of a cube is.
fn cell_positions(cube: &Cube, counts: &[usize], labels: &[(String, Vec<Label>)]) -> Vec<usize> {
    let mut positions = vec![0; cube.rows.len()];
    for (((_, codes), count), (_, labels)) in cube.stacked.iter().zip(counts).zip(labels) {
        let place: HashMap<&Label, usize> = labels.iter().enumerate().map(|(i, label)| (label, i)).collect();
        let of_code: Vec<usize> = codes.labels.iter().map(|label| place[label]).collect();
        for (position, code) in positions.iter_mut().zip(&codes.codes) {
            *position = *position * count + of_code[*code as usize];
        }
    }
    positions
}

/// The error of cells without an object.
fn holes(name: &str, positions: &[usize], cells: usize, labels: &[(String, Vec<Label>)]) -> Error {
    let present: HashSet<usize> = positions.iter().copied().collect();
    let missing = (0..cells).filter(|cell| !present.contains(cell)).take(NAMED);
    let describe = |cell: usize| {
        let mut rest = cell;
        let mut parts: Vec<String> = Vec::new();
        for (dim, labels) in labels.iter().rev() {
            parts.push(format!("{dim}={}", labels[rest % labels.len()]));
            rest /= labels.len();
        }
        parts.reverse();
        parts.join(", ")
    };
    let named: Vec<String> = missing.map(describe).collect();
    let holes = cells - present.len();
    let more = if holes > named.len() { "; ..." } else { "" };
    let what = format!(
        "{holes} of {cells} objects are missing: {}{more} (the option `missing` = 'null' makes their cells NULL)",
        named.join("; ")
    );
    Error::Grid { name: name.into(), what }
}

/// Refuses a table with two columns of the same name.
fn check_columns(cubes: &[Cube], labels: &[(String, Vec<Label>)]) -> Result<()> {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    let dims = labels.iter().map(|(name, _)| name).chain(cubes[0].axes.iter().map(|axis| &axis.name));
    for dim in dims {
        seen.insert(dim, "a dim".into());
    }
    for cube in cubes {
        let this = format!("a variable of dtype {}", cube.dtype);
        if let Some(other) = seen.insert(&cube.name, this.clone()) {
            let what = format!("two columns of this name: {other} and {this}");
            return Err(Error::Grid { name: cube.name.clone(), what });
        }
    }
    Ok(())
}
