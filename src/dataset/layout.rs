//! The second pass: groups become cubes, cubes that share a grid become tables.

use super::OpenOptions;
use super::axes::{Axis, name_axes};
use super::choose::{choose, twins};
use super::collect::{Collected, Group};
use super::keys::{self, Candidate, Origin};
use super::labels::{self, Codes, Label};
use super::location::Files;
use super::options::bad;
use super::pattern::Placeholder;
use crate::tgm::{DType, Map};
use crate::{Error, Result};
use std::collections::HashMap;

/// The objects of one variable, laid out along stacked dims.
#[derive(Debug)]
pub(super) struct Cube {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) attributes: Map,
    /// Outermost first: names and, for each object, the position of its label.
    pub(super) stacked: Vec<(String, Codes)>,
    /// The axes of each object.
    pub(super) axes: Vec<Axis>,
    /// Rows of [`Collected::objects`], ascending.
    pub(super) rows: Vec<u32>,
}

/// What is known while groups are laid out.
pub(super) struct Layout<'a> {
    pub(super) collected: &'a Collected,
    pub(super) options: &'a OpenOptions,
    /// Dims from file names; labels are those of each file.
    file_dims: Vec<(Placeholder, Vec<Label>)>,
}

impl<'a> Layout<'a> {
    /// Reads the labels in the file names.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that doesn't fit the format of its pattern.
    pub(super) fn new(collected: &'a Collected, options: &'a OpenOptions, files: &Files) -> Result<Self> {
        let dim = |(i, placeholder): (usize, &Placeholder)| {
            let texts: Vec<&str> = files.files.iter().map(|file| file.labels[i].as_str()).collect();
            Ok((placeholder.clone(), parse_labels(placeholder, &texts)?))
        };
        let file_dims = files.placeholders.iter().enumerate().map(dim).collect::<Result<_>>()?;
        Ok(Self { collected, options, file_dims })
    }

    /// Lays out every group; those that differ only in hints that lead to the same names become one.
    ///
    /// # Errors
    /// [`Error::Option`] and [`Error::Grid`] of names, duplicates and conflicting keys.
    pub(super) fn cubes(&self) -> Result<Vec<Cube>> {
        let mut merged: Vec<(Vec<Axis>, Group)> = Vec::new();
        let mut known: HashMap<_, usize> = HashMap::new();
        for group in &self.collected.groups {
            let key = &group.key;
            let names = self.options.dim_names.as_deref();
            let axes = name_axes(&key.name, &key.shape, &key.hint, &self.collected.coords, names)?;
            let same = (key.name.clone(), key.dtype, key.pattern, axes.clone());
            match known.get(&same) {
                Some(at) => merge(&mut merged[*at].1, group),
                None => {
                    known.insert(same, merged.len());
                    let Group { key, rows, attributes } = group;
                    let group =
                        Group { key: key.clone(), rows: rows.clone(), attributes: attributes.clone() };
                    merged.push((axes, group));
                }
            }
        }
        merged.into_iter().map(|(axes, group)| self.cube(axes, group)).collect()
    }

    fn cube(&self, axes: Vec<Axis>, group: Group) -> Result<Cube> {
        let rows = &group.rows;
        let mut candidates = self.pattern_dims(&group)?;
        let mut partial = Vec::new();
        let chosen = match &self.options.stack {
            Some(stack) => {
                self.stack_dims(&mut candidates, stack, rows)?;
                (0..candidates.len()).collect()
            }
            None if rows.len() > 1 => {
                let found = keys::varying(&self.collected.facts, rows, self.options.raw_keys);
                candidates.extend(found.candidates);
                partial = found.partial;
                choose(&candidates, rows.len())
            }
            None => (0..candidates.len()).collect(),
        };
        let mut dims: Vec<&Candidate> = chosen.into_iter().map(|at| &candidates[at]).collect();
        if let Some(twins) = twins(&dims, rows.len()) {
            return Err(self.duplicate(&group, twins, &dims, &partial));
        }
        dims.sort_by_key(|dim| self.position(dim));
        let stacked = name_dims(&group, &axes, &dims)?;
        let Group { key, rows, attributes } = group;
        Ok(Cube { name: key.name.to_string(), dtype: key.dtype, attributes, stacked, axes, rows })
    }

    /// The dims that the names of files and variables give.
    fn pattern_dims(&self, group: &Group) -> Result<Vec<Candidate>> {
        let Collected { objects, labels: of_names, name_labels, .. } = self.collected;
        let mut dims = Vec::new();
        for (i, (placeholder, labels)) in self.file_dims.iter().enumerate() {
            let label = |row: &u32| labels[objects.file_of(*row)].clone();
            dims.push(Candidate {
                origin: Origin::FileName(i),
                names: vec![placeholder.name.clone()],
                codes: Codes::new(group.rows.iter().map(label)),
            });
        }
        let Some(pattern) = group.key.pattern.map(|at| &self.options.variables[at]) else { return Ok(dims) };
        for (i, placeholder) in pattern.dims().enumerate() {
            let text = |row: &u32| {
                let labels = of_names[*row as usize];
                name_labels[labels as usize][i].as_str()
            };
            let texts: Vec<&str> = group.rows.iter().map(text).collect();
            dims.push(Candidate {
                origin: Origin::VariableName(i),
                names: vec![placeholder.name.clone()],
                codes: Codes::new(parse_labels(placeholder, &texts)?),
            });
        }
        Ok(dims)
    }

    /// The dims of the option `stack`.
    fn stack_dims(&self, dims: &mut Vec<Candidate>, stack: &[String], rows: &[u32]) -> Result<()> {
        for name in stack {
            if dims.iter().any(|dim| dim.names[0] == *name) {
                continue; // a dim of a pattern already
            }
            let place = |row: &u32| self.collected.objects.place(*row);
            let position = |at: Option<u64>| Label::Int(at.unwrap_or(0) as i64);
            let codes = match name.as_str() {
                "object" => Codes::new(rows.iter().map(|row| position(place(row).object))),
                "message" => Codes::new(rows.iter().map(|row| position(place(row).message))),
                "file" => Codes::new(rows.iter().map(|row| Label::Text(place(row).file))),
                key => match keys::named(&self.collected.facts, rows, key, self.options.raw_keys) {
                    Some(Ok(candidate)) => {
                        dims.push(Candidate { origin: Origin::Other, ..candidate });
                        continue;
                    }
                    Some(Err(path)) => {
                        return Err(bad(
                            "stack",
                            &stack.join(","),
                            format!("only some objects have `{path}`"),
                        ));
                    }
                    None if rows.len() == 1 => continue,
                    None => return Err(bad("stack", &stack.join(","), format!("no object has `{key}`"))),
                },
            };
            dims.push(Candidate { origin: Origin::Other, names: vec![name.clone()], codes });
        }
        Ok(())
    }

    /// Sort key of a stacked dim: those of file names that have no known meaning, other keys, dims of known meaning,
    /// those of variable names. With the option `stack`, its keys stay as listed, between the two kinds of names.
    fn position(&self, dim: &Candidate) -> (usize, usize, String) {
        let known = keys::rank(&dim.names[0]).filter(|_| self.options.stack.is_none());
        let name = || dim.names.last().cloned().unwrap_or_default();
        match (dim.origin, known) {
            (Origin::FileName(_) | Origin::VariableName(_), Some(rank)) => (2, rank, String::new()),
            (Origin::Known(rank), _) => (2, rank, name()),
            (Origin::FileName(i), None) => (0, i, String::new()),
            (Origin::Other, _) if self.options.stack.is_some() => (1, 0, String::new()),
            (Origin::Other, _) => (1, 0, name()),
            (Origin::VariableName(i), None) => (3, i, String::new()),
        }
    }

    fn duplicate(
        &self,
        group: &Group,
        twins: (usize, usize),
        dims: &[&Candidate],
        partial: &[String],
    ) -> Error {
        let place = |object: usize| self.collected.objects.place(group.rows[object]);
        let label = |dim: &&Candidate| {
            let code = dim.codes.codes[twins.0] as usize;
            format!("{}={}", dim.names[0], dim.codes.labels[code])
        };
        let cell: Vec<String> = dims.iter().map(label).collect();
        let cell = if cell.is_empty() { String::new() } else { format!(" at {}", cell.join(", ")) };
        let mut what =
            format!("two objects for the same cells{cell}: {} and {}", place(twins.0), place(twins.1));
        let pair = [group.rows[twins.0], group.rows[twins.1]];
        let facts = &self.collected.facts;
        let differing = facts.varying(&pair).into_iter().map(|key| facts.path(key.key).to_string()).next();
        match (&self.options.stack, partial.first(), differing) {
            (Some(_), _, Some(key)) => {
                what.push_str(&format!("; they differ in `{key}`, which isn't stacked"))
            }
            (None, Some(key), _) => {
                what.push_str(&format!("; `{key}` can't tell them apart, as some objects lack it"));
            }
            (None, None, _) => {
                what.push_str(
                    "; the option `stack` = 'object', 'message' or 'file' stacks them as they come",
                );
            }
            _ => {}
        }
        Error::Grid { name: group.key.name.to_string(), what }
    }
}

fn merge(into: &mut Group, group: &Group) {
    into.rows.extend(&group.rows);
    into.rows.sort_unstable();
    super::collect::keep_common(&mut into.attributes, |key| group.attributes.get(key));
}

fn parse_labels(placeholder: &Placeholder, texts: &[&str]) -> Result<Vec<Label>> {
    labels::of_placeholder(placeholder, texts).map_err(|text| {
        let format = placeholder.format.as_deref().unwrap_or_default();
        let what = format!("`{text}` is no time of this format between the years 1678 and 2261");
        bad(&placeholder.name, format, what)
    })
}

/// Gives each stacked dim the first of its names that is free.
fn name_dims(group: &Group, axes: &[Axis], dims: &[&Candidate]) -> Result<Vec<(String, Codes)>> {
    let mut named: Vec<(String, Codes)> = Vec::new();
    for dim in dims {
        let used = |name: &&String| {
            axes.iter().any(|axis| axis.name == **name) || named.iter().any(|(other, _)| other == *name)
        };
        let Some(name) = dim.names.iter().find(|name| !used(name)) else {
            let what = format!("the dim `{}` is there twice", dim.names[0]);
            return Err(Error::Grid { name: group.key.name.to_string(), what });
        };
        named.push((name.clone(), dim.codes.clone()));
    }
    Ok(named)
}
