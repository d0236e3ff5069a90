//! What `info` says of a dataset: collected once, printed in two ways.

use crate::Result;
use crate::cli::words::{count, print_columns, ratio, size, times};
use crate::dataset::{Dataset, Dim, GridTable, Variable};
use crate::source::Source;
use crate::tgm::{File, Limits, map_to_json};
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::{SortOptions, sort_to_indices};
use datafusion::arrow::util::display::array_value_to_string;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// A dataset in numbers and words.
pub(super) struct Summary {
    path: String,
    files: Vec<FileSummary>,
    tables: Vec<TableSummary>,
    attributes: Value,
}

/// Bytes of a file, and what they are cut into.
struct FileSummary {
    path: String,
    bytes: u64,
    messages: u64,
    objects: u64,
    /// Messages that can't be parsed, and why.
    broken: Vec<String>,
}

/// One grid.
struct TableSummary {
    name: String,
    dims: Vec<DimSummary>,
    variables: Vec<VariableSummary>,
}

/// An axis and the span of its labels.
struct DimSummary {
    name: String,
    dtype: String,
    len: usize,
    /// First, last, smallest and largest label; `None` for a dim without positions.
    labels: Option<[Value; 4]>,
}

/// A variable and how it is stored.
struct VariableSummary {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    chunk_counts: Vec<u64>,
    holes: usize,
    /// Codec pipelines and how many chunks have each.
    pipelines: BTreeMap<String, usize>,
    /// Why chunks can't be decoded, and how many.
    unreadable: BTreeMap<String, usize>,
    encoded_bytes: u64,
    decoded_bytes: u64,
}

impl Summary {
    /// Collects what there is to say. Files are scanned once more for their messages.
    pub(super) fn of(path: &str, dataset: &Dataset, limits: &Limits) -> Result<Self> {
        let tables = dataset.tables.iter().zip(dataset.grid_names());
        Ok(Self {
            path: path.to_string(),
            files: sources(dataset)
                .iter()
                .map(|source| FileSummary::of(source, limits))
                .collect::<Result<_>>()?,
            tables: tables.map(|(table, name)| TableSummary::of(table, name)).collect(),
            attributes: map_to_json(&dataset.attributes),
        })
    }
}

/// The files of a dataset, by name.
fn sources(dataset: &Dataset) -> Vec<Arc<dyn Source>> {
    let variables = dataset.tables.iter().flat_map(|table| &table.variables);
    let chunks = variables.flat_map(|variable| variable.chunks.iter().flatten());
    let by_name: BTreeMap<_, _> =
        chunks.map(|chunk| (Arc::clone(chunk.source.name()), Arc::clone(&chunk.source))).collect();
    by_name.into_values().collect()
}

impl FileSummary {
    fn of(source: &Arc<dyn Source>, limits: &Limits) -> Result<Self> {
        let file = File::open(Arc::clone(source), limits)?;
        let sound = file.messages.iter().flatten();
        Ok(Self {
            path: source.name().to_string(),
            bytes: source.len(),
            messages: file.messages.len() as u64,
            objects: sound.map(|message| message.objects.len() as u64).sum(),
            broken: file.messages.iter().filter_map(|m| m.as_ref().err()).map(|e| e.to_string()).collect(),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "path": self.path, "bytes": self.bytes, "messages": self.messages, "objects": self.objects,
            "broken_messages": self.broken,
        })
    }
}

impl TableSummary {
    fn of(table: &GridTable, name: String) -> Self {
        Self {
            name,
            dims: table.dims.iter().map(DimSummary::of).collect(),
            variables: table.variables.iter().map(VariableSummary::of).collect(),
        }
    }

    fn to_json(&self) -> Value {
        let dims: Vec<_> = self.dims.iter().map(DimSummary::to_json).collect();
        let variables: Vec<_> = self.variables.iter().map(VariableSummary::to_json).collect();
        json!({ "grid": self.name, "cells": self.cells(), "dims": dims, "variables": variables })
    }

    fn cells(&self) -> u64 {
        self.dims.iter().map(|dim| dim.len as u64).product()
    }
}

impl DimSummary {
    fn of(dim: &Dim) -> Self {
        let coord = &dim.coord;
        let labels = (!coord.is_empty()).then(|| {
            let extreme = |descending| extreme(coord, descending).map_or(Value::Null, |at| label(coord, at));
            [label(coord, 0), label(coord, coord.len() - 1), extreme(false), extreme(true)]
        });
        Self { name: dim.name.clone(), dtype: coord.data_type().to_string(), len: coord.len(), labels }
    }

    fn to_json(&self) -> Value {
        let mut json = json!({ "name": self.name, "dtype": self.dtype, "length": self.len });
        if let (Value::Object(map), Some(labels)) = (&mut json, &self.labels) {
            map.extend(["first", "last", "min", "max"].map(String::from).into_iter().zip(labels.clone()));
        }
        json
    }

    /// `first .. last`, and the span where that isn't it.
    fn range(&self) -> String {
        match &self.labels {
            None => "(empty)".into(),
            Some([first, last, min, max]) => {
                let ends =
                    if self.len == 1 { plain(first) } else { format!("{} .. {}", plain(first), plain(last)) };
                let monotonic = (first == min && last == max) || (first == max && last == min);
                if monotonic { ends } else { format!("{ends} (within {} .. {})", plain(min), plain(max)) }
            }
        }
    }
}

/// Position of the smallest or largest label.
fn extreme(coord: &ArrayRef, descending: bool) -> Option<usize> {
    let options = SortOptions { descending, nulls_first: false };
    let first = sort_to_indices(coord, Some(options), Some(1)).ok()?;
    first.values().first().map(|at| *at as usize)
}

/// A label as a JSON number where it is one, else as text.
fn label(coord: &ArrayRef, at: usize) -> Value {
    let text = array_value_to_string(coord, at).unwrap_or_else(|e| e.to_string());
    if coord.data_type().is_numeric()
        && let Ok(number) = serde_json::from_str(&text)
    {
        return number;
    }
    Value::String(text)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl VariableSummary {
    fn of(variable: &Variable) -> Self {
        let mut summary = Self {
            name: variable.name.clone(),
            dtype: variable.dtype.name(),
            shape: variable.grid.shape().to_vec(),
            chunk_shape: variable.grid.chunk_shape().to_vec(),
            chunk_counts: variable.grid.chunk_counts().to_vec(),
            holes: variable.chunks.holes(),
            pipelines: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            encoded_bytes: 0,
            decoded_bytes: 0,
        };
        for chunk in variable.chunks.iter().flatten() {
            let object = &chunk.object;
            *summary.pipelines.entry(object.descriptor.pipeline()).or_default() += 1;
            if let Err(e) = &chunk.pipeline {
                *summary.unreadable.entry(e.to_string()).or_default() += 1;
            }
            summary.encoded_bytes += object.region.end - object.region.start;
            let decoded = variable.dtype.byte_len(object.descriptor.len()).unwrap_or(u64::MAX);
            summary.decoded_bytes = summary.decoded_bytes.saturating_add(decoded);
        }
        summary
    }

    fn ratio(&self) -> Option<f64> {
        ratio(self.encoded_bytes, self.decoded_bytes)
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name, "dtype": self.dtype, "shape": self.shape,
            "chunk_shape": self.chunk_shape, "chunk_grid": self.chunk_counts, "chunks_missing": self.holes,
            "codecs": self.pipelines, "unreadable": self.unreadable,
            "encoded_bytes": self.encoded_bytes, "decoded_bytes": self.decoded_bytes, "ratio": self.ratio(),
        })
    }
}

impl Summary {
    /// The whole of it, as the documentation lists it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "path": self.path,
            "messages": self.files.iter().map(|file| file.messages).sum::<u64>(),
            "objects": self.files.iter().map(|file| file.objects).sum::<u64>(),
            "bytes": self.files.iter().map(|file| file.bytes).sum::<u64>(),
            "files": self.files.iter().map(FileSummary::to_json).collect::<Vec<_>>(),
            "tables": self.tables.iter().map(TableSummary::to_json).collect::<Vec<_>>(),
            "attributes": self.attributes,
        })
    }

    /// The same for people, with sizes in words and long lists cut.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let sum = |of: fn(&FileSummary) -> u64| self.files.iter().map(of).sum::<u64>();
        writeln!(
            out,
            "{}: {}, {}, {}, {}",
            self.path,
            count(self.files.len() as u64, "file"),
            count(sum(|f| f.messages), "message"),
            count(sum(|f| f.objects), "object"),
            size(sum(|f| f.bytes)),
        )?;
        for broken in self.files.iter().flat_map(|file| &file.broken) {
            writeln!(out, "unreadable: {broken}")?;
        }
        self.tables.iter().try_for_each(|table| table.print(out))
    }
}

impl TableSummary {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let shape: Vec<_> = self.dims.iter().map(|dim| dim.len as u64).collect();
        writeln!(out, "\ngrid ({}): {} = {}", self.name, times(&shape), count(self.cells(), "cell"))?;
        let mut rows = vec![["dim", "dtype", "length", "labels"].map(String::from).to_vec()];
        rows.extend(
            self.dims.iter().map(|d| vec![d.name.clone(), d.dtype.clone(), d.len.to_string(), d.range()]),
        );
        print_columns(out, &rows)?;
        let titles = ["variable", "dtype", "chunks", "chunk shape", "codec", "encoded", "decoded", "ratio"];
        let mut rows = vec![titles.map(String::from).to_vec()];
        rows.extend(self.variables.iter().map(VariableSummary::row));
        print_columns(out, &rows)?;
        for variable in &self.variables {
            for (why, chunks) in variable.unreadable.iter().take(3) {
                writeln!(
                    out,
                    "  unreadable: {} of {}: {why}",
                    count(*chunks as u64, "chunk"),
                    variable.name
                )?;
            }
        }
        Ok(())
    }
}

impl VariableSummary {
    fn row(&self) -> Vec<String> {
        let chunks = self.chunk_counts.iter().product::<u64>();
        let holes = if self.holes > 0 { format!(" ({} missing)", self.holes) } else { String::new() };
        vec![
            self.name.clone(),
            self.dtype.to_string(),
            format!("{} = {chunks}{holes}", times(&self.chunk_counts)),
            times(&self.chunk_shape),
            self.pipelines.keys().cloned().collect::<Vec<_>>().join(" | "),
            size(self.encoded_bytes),
            size(self.decoded_bytes),
            self.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float32Array;

    #[test]
    fn labels_keep_their_dtype_and_ranges_their_direction() {
        let dim = |labels: Vec<f32>| {
            let coord = Arc::new(Float32Array::from(labels)) as ArrayRef;
            DimSummary::of(&Dim::new("y", coord))
        };
        assert_eq!(dim(vec![90.0, 0.1, -90.0]).range(), "90.0 .. -90.0");
        assert_eq!(dim(vec![0.1, 3.5, 1.5]).range(), "0.1 .. 1.5 (within 0.1 .. 3.5)");
        assert_eq!(dim(vec![]).range(), "(empty)");
        assert_eq!(dim(vec![f32::NAN]).to_json()["first"], json!("NaN"));
        assert_eq!(dim(vec![0.1]).to_json()["min"], json!(0.1));
    }
}
