//! Names of the axes of an object.

use super::coords::Coords;
use super::options::bad;
use crate::tgm::{Map, Value};
use crate::{Error, Result};

/// A named axis of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) size: u64,
    /// Which coordinate labels it.
    pub(super) coord: Option<usize>,
}

/// What metadata suggests as names of axes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Hint {
    /// `dim_names` of the object.
    object: Option<Vec<String>>,
    /// `dim_names` of the message, as a list.
    message: Option<Vec<String>>,
    /// `dim_names` of the message, as a map from size to name.
    sizes: Vec<(u64, String)>,
}

impl Hint {
    /// Reads the hints of an object and of its message; what has another form is ignored.
    pub(super) fn new(base: &Map, extra: &Map) -> Self {
        let (object, message) = (base.get("dim_names"), extra.get("dim_names"));
        Self {
            object: object.and_then(names),
            message: message.and_then(names),
            sizes: message.and_then(Value::as_map).map(|map| sizes(map)).unwrap_or_default(),
        }
    }

    /// A name or nothing for each axis of an object of `shape`.
    fn for_shape(&self, shape: &[u64]) -> Vec<Option<&str>> {
        let fits = |names: &&Vec<String>| {
            names.len() == shape.len()
                && names.iter().enumerate().all(|(i, name)| !name.is_empty() && !names[..i].contains(name))
        };
        let list = self.object.as_ref().filter(fits).or(self.message.as_ref().filter(fits));
        if let Some(list) = list {
            return list.iter().map(|name| Some(name.as_str())).collect();
        }
        let by_size = |size: &u64| self.sizes.iter().find(|(s, _)| s == size).map(|(_, name)| name.as_str());
        shape.iter().map(by_size).collect()
    }
}

fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_text().map(Into::into)).collect()
}

fn sizes(map: &[(Value, Value)]) -> Vec<(u64, String)> {
    let entry = |(size, name): &(Value, Value)| {
        let size = match size {
            Value::Integer(size) => u64::try_from(*size).ok()?,
            Value::Text(size) => size.parse().ok()?,
            _ => return None,
        };
        Some((size, name.as_text().filter(|name| !name.is_empty())?.to_string()))
    };
    map.iter().filter_map(entry).collect()
}

/// Names the axes of an object of `shape`. In this order:
///
/// 1. `dim_names` of the options;
/// 2. a hint that names a coordinate of the axis' size;
/// 3. the only coordinate of that size, where no other axis is as long;
/// 4. a hint that names no coordinate;
/// 5. the first coordinate of that size that isn't used yet;
/// 6. `dim_<axis>`.
///
/// # Errors
/// [`Error::Option`] if `dim_names` has another number of axes, [`Error::Grid`] if it names a coordinate of
/// another size.
pub(super) fn name_axes(
    variable: &str,
    shape: &[u64],
    hint: &Hint,
    coords: &Coords,
    dim_names: Option<&[String]>,
) -> Result<Vec<Axis>> {
    if let Some(names) = dim_names {
        return by_option(variable, shape, names, coords);
    }
    let mut naming = Naming { shape, coords, axes: vec![None; shape.len()] };
    let hints = hint.for_shape(shape);
    for (axis, hint) in hints.iter().enumerate() {
        if let Some(coord) = hint.and_then(|name| coords.find(name)) {
            naming.label(axis, coord);
        }
    }
    for axis in 0..shape.len() {
        let alone =
            (0..shape.len()).filter(|a| naming.axes[*a].is_none() && shape[*a] == shape[axis]).count() == 1;
        if let (true, [coord]) = (alone, naming.candidates(axis).as_slice()) {
            naming.label(axis, *coord);
        }
    }
    for (axis, hint) in hints.iter().enumerate() {
        if let Some(name) = hint.filter(|name| coords.find(name).is_none()) {
            naming.name(axis, name);
        }
    }
    for axis in 0..shape.len() {
        if let Some(coord) = naming.candidates(axis).first() {
            naming.label(axis, *coord);
        }
    }
    Ok(naming.finish())
}

/// Axes that are named one by one.
struct Naming<'a> {
    shape: &'a [u64],
    coords: &'a Coords,
    axes: Vec<Option<Axis>>,
}

impl Naming<'_> {
    fn is_used(&self, name: &str) -> bool {
        self.axes.iter().flatten().any(|axis| axis.name == name)
    }

    /// Coordinates of the size of an axis, not used yet.
    fn candidates(&self, axis: usize) -> Vec<usize> {
        let list = self.coords.list();
        let fits =
            |i: &usize| list[*i].array.len() as u64 == self.shape[axis] && !self.is_used(list[*i].name);
        (0..list.len()).filter(fits).collect()
    }

    /// Labels an axis that has no name yet with a coordinate, if that fits.
    fn label(&mut self, axis: usize, coord: usize) {
        if self.axes[axis].is_none() && self.candidates(axis).contains(&coord) {
            let (name, size) = (self.coords.list()[coord].name.into(), self.shape[axis]);
            self.axes[axis] = Some(Axis { name, size, coord: Some(coord) });
        }
    }

    /// Names an axis that has no name yet, if the name is free.
    fn name(&mut self, axis: usize, name: &str) {
        if self.axes[axis].is_none() && !self.is_used(name) {
            self.axes[axis] = Some(Axis { name: name.into(), size: self.shape[axis], coord: None });
        }
    }

    fn finish(mut self) -> Vec<Axis> {
        for axis in 0..self.shape.len() {
            let mut name = format!("dim_{axis}");
            while self.axes[axis].is_none() && self.is_used(&name) {
                name.push('_');
            }
            self.name(axis, &name);
        }
        self.axes.into_iter().flatten().collect()
    }
}

fn by_option(variable: &str, shape: &[u64], names: &[String], coords: &Coords) -> Result<Vec<Axis>> {
    if names.len() != shape.len() {
        let what = format!("`{variable}` has {} axes; the option `variables` can leave it out", shape.len());
        return Err(bad("dim_names", &names.join(","), what));
    }
    let axis = |(name, size): (&String, &u64)| {
        let coord = coords.list().iter().position(|coord| coord.name == name);
        match coord.map(|coord| coords.list()[coord].array.len() as u64) {
            Some(labels) if labels != *size => Err(Error::Grid {
                name: variable.into(),
                what: format!("the coordinate `{name}` has {labels} labels for an axis of {size}"),
            }),
            _ => Ok(Axis { name: name.clone(), size: *size, coord }),
        }
    };
    names.iter().zip(shape).map(axis).collect()
}
