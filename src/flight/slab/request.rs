//! Slab requests: JSON from a client, resolved against a table.

use super::labels;
use super::positions::Positions;
use crate::dataset::{GridTable, Variable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use tonic::Status;

/// A slab of a variable, and how it is to be cut and sent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::flight) struct SlabRequest {
    /// As `for_path` takes it.
    pub(in crate::flight) table: String,
    pub(in crate::flight) variable: String,
    /// By name of the dim; all of those that it doesn't name.
    #[serde(default)]
    select: BTreeMap<String, DimRequest>,
    #[serde(default)]
    pub(in crate::flight) chunks: ChunksRequest,
    #[serde(default)]
    pub(in crate::flight) missing: SlabMissing,
    /// Of the variable, as its description says it.
    #[serde(default)]
    pub(in crate::flight) identity: Option<String>,
}

/// How cells are marked that are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlabMissing {
    /// By NaN; an error where the dtype has none.
    #[default]
    Nan,
    /// By NULL.
    Null,
}

/// What is wanted along one dim: a slice, a list, or the positions between two labels.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DimRequest {
    start: Option<i64>,
    stop: Option<i64>,
    step: Option<i64>,
    index: Option<Vec<i64>>,
    from: Option<serde_json::Value>,
    to: Option<serde_json::Value>,
}

/// How a slab is cut into endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(untagged, expecting = "`chunks` is \"stored\", \"whole\", or a map from dims to positions")]
pub(in crate::flight) enum ChunksRequest {
    #[default]
    #[serde(skip)]
    Default,
    Named(NamedChunks),
    /// Positions of the slab along each dim; -1 for all of them.
    Sizes(BTreeMap<String, i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::flight) enum NamedChunks {
    /// As they are stored.
    Stored,
    /// Not at all.
    Whole,
}

impl SlabRequest {
    /// All of a variable.
    pub(in crate::flight) fn all(table: &str, variable: &str) -> Self {
        Self {
            table: table.into(),
            variable: variable.into(),
            select: BTreeMap::new(),
            chunks: ChunksRequest::Default,
            missing: SlabMissing::Nan,
            identity: None,
        }
    }

    /// Whether a command is one: SQL doesn't begin with a brace.
    pub(in crate::flight) fn is_one(command: &[u8]) -> bool {
        command.trim_ascii_start().first() == Some(&b'{')
    }

    /// Reads a command.
    ///
    /// # Errors
    /// `InvalidArgument` for anything that isn't a request.
    pub(in crate::flight) fn parse(command: &[u8]) -> Result<Self, Status> {
        serde_json::from_slice(command)
            .map_err(|e| Status::invalid_argument(format!("the command is no slab request: {e}")))
    }

    /// Which of the variables of `grid` is asked for.
    ///
    /// # Errors
    /// `NotFound` if `grid` hasn't got it; `FailedPrecondition` if it is in another state.
    pub(in crate::flight) fn variable_of(&self, grid: &GridTable) -> Result<usize, Status> {
        let variable = super::variable_of(grid, &self.table, &self.variable)?;
        match &self.identity {
            Some(identity)
                if *identity != super::identity_text(grid.variables[variable].chunks.identity()) =>
            {
                Err(super::changed(&self.table, &self.variable))
            }
            _ => Ok(variable),
        }
    }

    /// The positions that are asked for along each dim of `grid`.
    ///
    /// # Errors
    /// `InvalidArgument` for dims that `grid` hasn't got, positions beyond their ends, and labels of another type.
    pub(in crate::flight) fn positions(&self, grid: &GridTable) -> Result<Vec<Positions>, Status> {
        self.known(grid, self.select.keys())?;
        let positions = |dim: &crate::dataset::Dim| {
            let request = self.select.get(&dim.name).cloned().unwrap_or_default();
            let len = dim.len() as u64;
            match request {
                DimRequest { start, stop, step, index: None, from: None, to: None } => {
                    slice(len, start, stop, step)
                }
                DimRequest {
                    start: None,
                    stop: None,
                    step: None,
                    index: Some(index),
                    from: None,
                    to: None,
                } => list(len, &index),
                DimRequest { start: None, stop: None, step: None, index: None, from, to } => {
                    labels::between(&dim.coord, from.as_ref(), to.as_ref())
                }
                _ => Err("a dim takes start, stop and step, or index, or from and to".into()),
            }
            .map_err(|what| Status::invalid_argument(format!("dim `{}`: {what}", dim.name)))
        };
        grid.dims.iter().map(positions).collect()
    }

    /// Checks that `grid` has these dims.
    fn known<'n>(&self, grid: &GridTable, mut names: impl Iterator<Item = &'n String>) -> Result<(), Status> {
        let unknown = names.find(|name| !grid.dims.iter().any(|dim| dim.name == **name));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let dims: Vec<_> = grid.dims.iter().map(|dim| dim.name.as_str()).collect();
                let dims = dims.join(", ");
                let what = format!("`{}` has no dim `{name}`; its dims are {dims}", self.table);
                Err(Status::invalid_argument(what))
            }
        }
    }

    /// Where the slab of `positions` is cut: for each dim ranges of the slab's positions.
    ///
    /// # Errors
    /// `InvalidArgument` for unknown dims, and where the sizes asked for make more than `most` blocks.
    pub(in crate::flight) fn cuts(
        &self,
        grid: &GridTable,
        variable: &Variable,
        positions: &[Positions],
        most: usize,
    ) -> Result<Vec<Vec<Range<u64>>>, Status> {
        let whole = |positions: &Positions| std::iter::once(0..positions.len()).collect::<Vec<_>>();
        let stored = || {
            let chunks = positions.iter().zip(variable.grid.chunk_shape());
            chunks.map(|(positions, &chunk)| positions.cuts(chunk.max(1))).collect::<Vec<_>>()
        };
        match &self.chunks {
            ChunksRequest::Named(NamedChunks::Whole) => Ok(positions.iter().map(whole).collect()),
            ChunksRequest::Named(NamedChunks::Stored) | ChunksRequest::Default => Ok(joined(stored(), most)),
            ChunksRequest::Sizes(sizes) => {
                self.known(grid, sizes.keys())?;
                let mut cuts = stored();
                for ((dim, positions), cuts) in grid.dims.iter().zip(positions).zip(&mut cuts) {
                    *cuts = match sizes.get(&dim.name) {
                        None => continue,
                        Some(-1) => whole(positions),
                        Some(&size) if size > 0 => even(positions.len(), size as u64),
                        Some(size) => {
                            let what = format!(
                                "chunks of {size} positions along `{}`: at least 1, or -1 for all",
                                dim.name
                            );
                            return Err(Status::invalid_argument(what));
                        }
                    };
                }
                let blocks = cuts.iter().fold(1usize, |blocks, cuts| blocks.saturating_mul(cuts.len()));
                if blocks > most {
                    let what = format!(
                        "these chunks make {blocks} endpoints, more than {most}: ask for larger ones"
                    );
                    return Err(Status::invalid_argument(what));
                }
                Ok(cuts)
            }
        }
    }
}

/// Ranges of `size` of `len` positions; one empty range if there are none.
fn even(len: u64, size: u64) -> Vec<Range<u64>> {
    if len == 0 {
        return std::iter::once(0..0).collect();
    }
    (0..len.div_ceil(size)).map(|nth| nth * size..((nth + 1) * size).min(len)).collect()
}

/// Joins neighbours, along the innermost dims first, until there are no more than `most` blocks.
fn joined(mut cuts: Vec<Vec<Range<u64>>>, most: usize) -> Vec<Vec<Range<u64>>> {
    for dim in (0..cuts.len()).rev() {
        let blocks = cuts.iter().fold(1usize, |blocks, cuts| blocks.saturating_mul(cuts.len()));
        let together = blocks.div_ceil(most).min(cuts[dim].len());
        if together > 1 {
            let join = |ranges: &[Range<u64>]| ranges[0].start..ranges[ranges.len() - 1].end;
            cuts[dim] = cuts[dim].chunks(together).map(join).collect();
        }
    }
    cuts
}

/// A slice as Python has it, but for negative steps.
fn slice(len: u64, start: Option<i64>, stop: Option<i64>, step: Option<i64>) -> Result<Positions, String> {
    let step = match step.unwrap_or(1) {
        step if step > 0 => step as u64,
        step => return Err(format!("a step of {step}: it is 1 at least")),
    };
    let clip = |at: i64| match at {
        at if at < 0 => len.saturating_sub(at.unsigned_abs()),
        at => (at as u64).min(len),
    };
    let (start, stop) = (clip(start.unwrap_or(0)), stop.map_or(len, clip));
    let count = stop.saturating_sub(start).div_ceil(step);
    Ok(Positions::Every { start, count, step })
}

/// Positions that ascend; negative ones count from the end.
fn list(len: u64, index: &[i64]) -> Result<Positions, String> {
    let position = |&at: &i64| {
        let position = if at < 0 { len.checked_sub(at.unsigned_abs()) } else { Some(at as u64) };
        position.filter(|&position| position < len).ok_or_else(|| format!("position {at} of {len}"))
    };
    let positions = index.iter().map(position).collect::<Result<Vec<u64>, _>>()?;
    if positions.is_sorted_by(|a, b| a < b) {
        Ok(Positions::of(&crate::tensor::DimSelection::from_indices(positions)))
    } else {
        Err("a list of positions ascends, without repetitions".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(positions: &Positions) -> Vec<u64> {
        positions.selection().iter().collect()
    }

    #[test]
    fn slices_are_those_of_python() {
        for (start, stop, step, expected) in [
            (None, None, None, vec![0, 1, 2, 3, 4]),
            (Some(1), Some(4), None, vec![1, 2, 3]),
            (Some(-2), None, None, vec![3, 4]),
            (None, Some(-1), Some(2), vec![0, 2]),
            (Some(3), Some(100), Some(7), vec![3]),
            (Some(4), Some(2), None, vec![]),
            (Some(-100), Some(1), None, vec![0]),
            (Some(9), None, None, vec![]),
        ] {
            assert_eq!(all(&slice(5, start, stop, step).unwrap()), expected, "{start:?} {stop:?} {step:?}");
        }
        assert!(slice(5, None, None, Some(0)).is_err() && slice(5, None, None, Some(-1)).is_err());
        assert!(slice(5, Some(i64::MIN), Some(i64::MAX), Some(i64::MAX)).is_ok());
    }

    #[test]
    fn lists_ascend_within_the_dim() {
        assert_eq!(all(&list(5, &[0, 2, -1]).unwrap()), [0, 2, 4]);
        for wrong in [&[5][..], &[-6], &[2, 1], &[1, 1]] {
            assert!(list(5, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_named() {
        let error = |text: &str| SlabRequest::parse(text.as_bytes()).unwrap_err().message().to_string();
        assert!(error("{").contains("EOF"));
        assert!(error(r#"{"table": "t"}"#).contains("missing field `variable`"));
        assert!(error(r#"{"table": "t", "variable": "v", "selec": {}}"#).contains("unknown field `selec`"));
        assert!(error(r#"{"table": "t", "variable": "v", "chunks": 3}"#).contains("`chunks` is \"stored\""));
        assert!(error(r#"{"table": "t", "variable": "v", "missing": "zero"}"#).contains("zero"));
        assert!(
            SlabRequest::is_one(b" \n{") && !SlabRequest::is_one(b"SELECT 1") && !SlabRequest::is_one(b"")
        );
    }

    #[test]
    fn blocks_are_joined_until_they_are_few() {
        let cuts = |counts: &[u64]| counts.iter().map(|&count| even(count, 1)).collect::<Vec<_>>();
        let counts = |cuts: Vec<Vec<Range<u64>>>| cuts.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(counts(joined(cuts(&[10, 10, 10]), 1000)), [10, 10, 10]);
        assert_eq!(counts(joined(cuts(&[10, 10, 10]), 999)), [10, 10, 5]);
        assert_eq!(counts(joined(cuts(&[10, 10, 10]), 99)), [10, 5, 1]);
        assert_eq!(counts(joined(cuts(&[1000, 10, 1]), 100)), [100, 1, 1]);
        assert_eq!(counts(joined(cuts(&[10, 10]), 1)), [1, 1]);
        assert_eq!(counts(joined(cuts(&[0, 10]), 4)), [1, 4]);
    }
}
