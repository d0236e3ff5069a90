//! A dataset as array libraries have it: variables of several grids side by side, under dims that mean the same
//! everywhere.
//!
//! ```text
//! tables  t(time, y=4, x=6)  mask(y=4, x=6)  profile(dim_0=30)  sounding(dim_0=20)
//! set     t(time, y, x)  mask(y, x)  profile(obj_2_dim_0)  sounding(obj_3_dim_0)      coords time, y, x
//! ```
//! In a set a dim has one size and one list of labels, and no two variables have the same name. Axes without labels
//! that claim one name at several sizes are renamed after their object; what can't be told apart so goes to another
//! set.

use super::{Dataset, Dim, GridTable, Variable};
use crate::tgm::Map;
use crate::{Error, Result};
use arrow::array::Array as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Coords and variables that can be held together.
#[derive(Debug, Clone, Default)]
pub struct ArraySet {
    /// Labelled dims, and coordinates that no variable uses.
    pub coords: Vec<Dim>,
    /// Variables, in order of first appearance.
    pub arrays: Vec<Array>,
    /// Message-wide attributes that are the same in all messages.
    pub attributes: Map,
}

/// One variable of an [`ArraySet`].
#[derive(Debug, Clone)]
pub struct Array {
    /// Names of its dims, outermost first.
    pub dims: Vec<String>,
    /// Its grid.
    pub table: Arc<GridTable>,
    /// Which of the table's variables it is.
    pub column: usize,
}

/// What an axis needs of the dim that it is called after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// These labels: those of the coord at this position.
    Labels(usize),
    /// This size, without labels.
    Size(usize),
}

impl Array {
    /// The variable.
    pub fn variable(&self) -> &Variable {
        &self.table.variables[self.column]
    }

    /// What is said of it: its attributes, and the codec parameters that all its objects share.
    pub fn attributes(&self) -> Map {
        let variable = self.variable();
        with_params(&variable.attributes, variable.chunks.params())
    }
}

impl Dim {
    /// What is said of the coord object: attributes and codec parameters.
    pub fn all_attributes(&self) -> Map {
        with_params(&self.attributes, self.params.clone())
    }
}

fn with_params(attributes: &Map, mut params: Map) -> Map {
    params.remove("dim_names");
    params.extend(attributes.iter().map(|(key, value)| (key.clone(), value.clone())));
    params
}

impl Dataset {
    /// All variables as one set.
    ///
    /// # Errors
    /// [`Error::Grid`] if two variables share a name, or a dim has several lists of labels.
    pub fn array_set(&self) -> Result<ArraySet> {
        let mut set = Builder::new(self);
        for table in &self.tables {
            set.add(table).map_err(|(name, what)| Error::Grid { name, what })?;
        }
        Ok(set.finish(self))
    }

    /// All variables in as few sets as it takes; each has the coordinates that are no dims. At least one, which may
    /// be empty.
    ///
    /// # Errors
    /// [`Error::Grid`] if a variable is called as a coordinate that it doesn't have.
    pub fn array_sets(&self) -> Result<Vec<ArraySet>> {
        let mut sets: Vec<Builder> = Vec::new();
        for table in &self.tables {
            if !sets.iter_mut().any(|set| set.fits(table) && set.add(table).is_ok()) {
                let mut set = Builder::new(self);
                set.add(table).map_err(|(name, what)| Error::Grid { name, what })?;
                sets.push(set);
            }
        }
        if sets.is_empty() {
            sets.push(Builder::new(self));
        }
        Ok(sets.into_iter().map(|set| set.finish(self)).collect())
    }
}

/// A set that grows by tables.
#[derive(Debug, Clone, Default)]
struct Builder {
    coords: Vec<Dim>,
    tables: Vec<Arc<GridTable>>,
    /// What each name of a dim is wanted for.
    claims: BTreeMap<String, BTreeSet<Claim>>,
    names: BTreeSet<String>,
}

impl Builder {
    fn new(dataset: &Dataset) -> Self {
        let mut set = Self::default();
        for coord in &dataset.coords {
            let claim = Claim::Labels(set.coords.len());
            set.claims.entry(coord.name.clone()).or_default().insert(claim);
            set.coords.push(coord.clone());
        }
        set
    }

    /// Whether `table` could be added without renaming an axis.
    fn fits(&self, table: &GridTable) -> bool {
        table.dims.iter().all(|dim| {
            let claims = self.claims.get(&dim.name);
            claims.is_none_or(|claims| claims.iter().all(|&claim| self.is(claim, dim)))
        })
    }

    fn is(&self, claim: Claim, dim: &Dim) -> bool {
        match claim {
            Claim::Labels(coord) => dim.labelled && same_labels(&self.coords[coord], dim),
            Claim::Size(size) => !dim.labelled && size == dim.len(),
        }
    }

    /// Adds a table, or says which name doesn't fit, and why; then nothing has changed.
    fn add(&mut self, table: &Arc<GridTable>) -> Result<(), (String, String)> {
        let mut new = self.clone();
        for dim in &table.dims {
            let claim = match new.coords.iter().position(|coord| coord.name == dim.name) {
                _ if !dim.labelled => Claim::Size(dim.len()),
                Some(known) if same_labels(&new.coords[known], dim) => Claim::Labels(known),
                Some(_) => {
                    let what = "the variables of several grids have different labels for this dim: open_datasets \
                                makes a dataset of each";
                    return Err((dim.name.clone(), what.into()));
                }
                None => {
                    new.coords.push(dim.clone());
                    Claim::Labels(new.coords.len() - 1)
                }
            };
            new.claims.entry(dim.name.clone()).or_default().insert(claim);
        }
        for variable in &table.variables {
            if !new.names.insert(variable.name.clone()) {
                let what =
                    "several grids have a variable of this name: open_datasets makes a dataset of each";
                return Err((variable.name.clone(), what.into()));
            }
        }
        new.tables.push(Arc::clone(table));
        let clash = new.names.iter().find(|name| new.claims.contains_key(*name));
        if let Some(name) = clash {
            let what =
                "a variable and a dim of another grid have this name: open_datasets makes a dataset of each";
            return Err((name.clone(), what.into()));
        }
        *self = new;
        Ok(())
    }

    fn finish(self, dataset: &Dataset) -> ArraySet {
        let mut arrays = Vec::new();
        for table in &self.tables {
            for (column, variable) in table.variables.iter().enumerate() {
                let dims = self.dims(table, variable);
                arrays.push(Array { dims, table: Arc::clone(table), column });
            }
        }
        ArraySet { coords: self.coords, arrays, attributes: dataset.attributes.clone() }
    }

    /// The dims of a variable: `obj_<object>_dim_<axis>` for axes without labels whose name others claim, too.
    fn dims(&self, table: &GridTable, variable: &Variable) -> Vec<String> {
        let free =
            |dim: &Dim| dim.labelled || self.claims.get(&dim.name).is_none_or(|claims| claims.len() == 1);
        if table.dims.iter().all(free) {
            return table.dims.iter().map(|dim| dim.name.clone()).collect();
        }
        let first = variable.chunks.iter().flatten().next();
        let (object, axes) = first.map_or((0, table.dims.len()), |chunk| {
            (chunk.object.place.object.unwrap_or(0), chunk.object.descriptor.shape.len())
        });
        let stacked = table.dims.len() - axes;
        let name = |(at, dim): (usize, &Dim)| match free(dim) {
            true => dim.name.clone(),
            false => format!("obj_{object}_dim_{}", at - stacked),
        };
        table.dims.iter().enumerate().map(name).collect()
    }
}

fn same_labels(a: &Dim, b: &Dim) -> bool {
    Arc::ptr_eq(&a.coord, &b.coord) || a.coord.to_data() == b.coord.to_data()
}
