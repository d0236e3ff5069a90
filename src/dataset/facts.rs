//! What the metadata says of each object, key by key: the material of which hypercubes are made.
//!
//! Nested maps are flattened to dotted keys. Keys and values are kept once and numbered, so that a million objects
//! with a dozen keys each take about a hundred megabytes while a location is opened, and nothing afterwards.

use super::labels::{Float, Label};
use crate::tgm::params::is_codec_key;
use crate::tgm::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Number of a key.
pub(super) type KeyId = u32;

/// One key of the metadata and its values.
#[derive(Debug, Default)]
struct Column {
    /// Dotted path.
    path: Arc<str>,
    values: Vec<Label>,
    texts: HashMap<Arc<str>, u32>,
    others: HashMap<Label, u32>,
    /// Number of the row whose cell was written last, plus one, and where that cell is.
    last: (usize, usize),
}

/// The keys and values of every object: a table with a row for each object, stored sparsely.
#[derive(Debug, Default)]
pub(super) struct Facts {
    columns: Vec<Column>,
    by_path: HashMap<Arc<str>, KeyId>,
    cells: Vec<(KeyId, u32)>,
    starts: Vec<usize>,
}

/// A key whose value differs among some rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Varying {
    pub(super) key: KeyId,
    /// Distinct values among the rows, in order of first appearance.
    pub(super) values: Vec<Label>,
    /// For each row the position of its value; empty if some rows lack the key.
    pub(super) codes: Vec<u32>,
}

/// Whether a key of a descriptor is neither the format's nor a codec's, but says something of the data.
pub(super) fn is_free_key(key: &str) -> bool {
    const FIXED: [&str; 11] = [
        "type",
        "ndim",
        "shape",
        "strides",
        "dtype",
        "byte_order",
        "encoding",
        "filter",
        "compression",
        "masks",
        "hash",
    ];
    !FIXED.contains(&key) && !is_codec_key(key)
}

impl Facts {
    /// Adds the next row: what the metadata of the object, its descriptor and its message say. Of the same key the
    /// first of these counts; `null`, lists and bytes are no facts.
    pub(super) fn push(&mut self, base: &Map, params: &Map, extra: &Map) {
        let row = self.starts.len();
        self.starts.push(self.cells.len());
        let mut path = String::new();
        for (map, descriptor) in [(base, false), (params, true), (extra, false)] {
            let first = self.cells.len();
            for (key, value) in map {
                let wanted = if descriptor { is_free_key(key) } else { !is_codec_key(key) };
                if wanted && key != "dim_names" {
                    self.flatten(&mut path, key, value, row, first);
                }
            }
        }
    }

    fn flatten(&mut self, path: &mut String, key: &str, value: &Value, row: usize, first: usize) {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        match value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    if let Value::Text(key) = key {
                        self.flatten(path, key, value, row, first);
                    }
                }
            }
            Value::Tag(_, value) if !matches!(**value, Value::Map(_)) => {
                self.set(path, value, row, first);
            }
            value => self.set(path, value, row, first),
        }
        path.truncate(length);
    }

    /// Writes a cell; one written before `first` belongs to an earlier map and stays.
    fn set(&mut self, path: &str, value: &Value, row: usize, first: usize) {
        let key = self.key_id(path);
        let column = &mut self.columns[key as usize];
        let Some(value) = column.value_id(value) else { return };
        if column.last.0 == row + 1 {
            if column.last.1 >= first {
                self.cells[column.last.1].1 = value; // a duplicate key of the same map: the last counts
            }
            return;
        }
        column.last = (row + 1, self.cells.len());
        self.cells.push((key, value));
    }

    fn key_id(&mut self, path: &str) -> KeyId {
        if let Some(key) = self.by_path.get(path) {
            return *key;
        }
        let key = self.columns.len() as KeyId;
        let path: Arc<str> = path.into();
        self.by_path.insert(Arc::clone(&path), key);
        self.columns.push(Column { path, ..Column::default() });
        key
    }

    fn row(&self, row: usize) -> &[(KeyId, u32)] {
        let end = self.starts.get(row + 1).copied().unwrap_or(self.cells.len());
        &self.cells[self.starts[row]..end]
    }

    /// Dotted path of a key.
    pub(super) fn path(&self, key: KeyId) -> &str {
        &self.columns[key as usize].path
    }

    /// The key of a dotted path, if any row has it.
    pub(super) fn key(&self, path: &str) -> Option<KeyId> {
        self.by_path.get(path).copied()
    }

    /// The values of one key among `rows`, whether or not they differ; `None` if no row has it.
    pub(super) fn column(&self, rows: &[u32], key: KeyId) -> Option<Varying> {
        let cells = rows.iter().filter_map(|row| {
            self.row(*row as usize).iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
        });
        let raw: Vec<u32> = cells.collect();
        (!raw.is_empty()).then(|| self.number(key, &raw, rows.len()))
    }

    /// The keys that don't have one and the same value in all of `rows`, in order of their paths.
    pub(super) fn varying(&self, rows: &[u32]) -> Vec<Varying> {
        let mut seen: HashMap<KeyId, (u32, usize, bool)> = HashMap::new();
        for row in rows {
            for (key, value) in self.row(*row as usize) {
                let entry = seen.entry(*key).or_insert((*value, 0, false));
                entry.1 += 1;
                entry.2 |= entry.0 != *value;
            }
        }
        let varies = |&(_, count, varies): &(u32, usize, bool)| varies || count < rows.len();
        let wanted: HashMap<KeyId, usize> = {
            let keys = seen.iter().filter(|(_, entry)| varies(entry)).map(|(key, _)| *key);
            keys.enumerate().map(|(at, key)| (key, at)).collect()
        };
        let mut raw = vec![Vec::new(); wanted.len()];
        for row in rows {
            for (key, value) in self.row(*row as usize) {
                if let Some(at) = wanted.get(key) {
                    raw[*at].push(*value);
                }
            }
        }
        let mut found: Vec<Varying> =
            wanted.iter().map(|(key, at)| self.number(*key, &raw[*at], rows.len())).collect();
        found.sort_by(|a, b| self.path(a.key).cmp(self.path(b.key)));
        found
    }

    fn number(&self, key: KeyId, raw: &[u32], rows: usize) -> Varying {
        let mut positions = HashMap::new();
        let mut distinct = Vec::new();
        let codes: Vec<u32> = raw
            .iter()
            .map(|value| {
                *positions.entry(*value).or_insert_with(|| {
                    distinct.push(self.columns[key as usize].values[*value as usize].clone());
                    distinct.len() as u32 - 1
                })
            })
            .collect();
        let codes = if codes.len() == rows { codes } else { Vec::new() };
        Varying { key, values: distinct, codes }
    }
}

impl Column {
    /// The number of a value, if it is one that can label.
    fn value_id(&mut self, value: &Value) -> Option<u32> {
        let label = match value {
            Value::Text(text) => {
                if let Some(id) = self.texts.get(text.as_str()) {
                    return Some(*id);
                }
                let text: Arc<str> = text.as_str().into();
                self.texts.insert(Arc::clone(&text), self.values.len() as u32);
                self.values.push(Label::Text(text));
                return Some(self.values.len() as u32 - 1);
            }
            value => scalar(value)?,
        };
        let next = self.values.len() as u32;
        Some(*self.others.entry(label).or_insert_with_key(|label| {
            self.values.push(label.clone());
            next
        }))
    }
}

/// A scalar of the metadata as a label; `None` for `null`, NaN, lists, maps and bytes.
pub(super) fn scalar(value: &Value) -> Option<Label> {
    match value {
        Value::Integer(value) => {
            let value = i128::from(*value);
            Some(i64::try_from(value).map_or_else(|_| Label::Text(value.to_string().into()), Label::Int))
        }
        Value::Float(value) => Float::new(*value).map(Label::Float),
        Value::Bool(value) => Some(Label::Text(value.to_string().into())),
        Value::Text(text) => Some(Label::Text(text.as_str().into())),
        Value::Tag(_, value) => scalar(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ciborium::cbor;

    fn map(value: Value) -> Map {
        let Value::Map(entries) = value else { panic!("not a map") };
        entries.into_iter().map(|(k, v)| (k.into_text().unwrap(), v)).collect()
    }

    fn value(facts: &Facts, path: &str) -> Option<Label> {
        Some(facts.column(&[0], facts.key(path)?)?.values[0].clone())
    }

    #[test]
    fn nested_keys_are_flattened_and_earlier_maps_hide_later_ones() {
        let mut facts = Facts::default();
        let base =
            map(cbor!({"mars" => {"param" => "t"}, "units" => "K", "dim_names" => ["y"], "none" => null})
                .unwrap());
        let extra =
            map(cbor!({"mars" => {"class" => "od", "param" => "q"}, "units" => "C", "none" => 1}).unwrap());
        facts.push(&base, &Map::new(), &extra);
        assert_eq!(value(&facts, "mars.param"), Some(Label::Text("t".into())));
        assert_eq!(value(&facts, "mars.class"), Some(Label::Text("od".into())));
        assert_eq!(value(&facts, "units"), Some(Label::Text("K".into())));
        assert_eq!(value(&facts, "none"), Some(Label::Int(1)));
        assert_eq!(value(&facts, "dim_names"), None);
    }

    #[test]
    fn of_duplicate_keys_the_last_counts() {
        let twice = Value::Map(vec![("a".into(), 1.into()), ("a".into(), 2.into())]);
        let mut facts = Facts::default();
        facts.push(&Map::from([("m".to_string(), twice)]), &Map::new(), &Map::new());
        assert_eq!(value(&facts, "m.a"), Some(Label::Int(2)));
    }

    #[test]
    fn varying_keys_are_found_among_the_given_rows() {
        let mut facts = Facts::default();
        for (step, level) in [(0, 500), (6, 500), (6, 850)] {
            let params = map(cbor!({"level" => level, "sp_reference_value" => step}).unwrap());
            facts.push(&map(cbor!({"step" => step}).unwrap()), &params, &Map::new());
        }
        facts.push(&map(cbor!({"step" => 6}).unwrap()), &Map::new(), &Map::new());
        let paths = |rows: &[u32]| -> Vec<(String, bool)> {
            facts.varying(rows).iter().map(|v| (facts.path(v.key).to_string(), v.codes.is_empty())).collect()
        };
        assert_eq!(paths(&[0, 1]), [("step".to_string(), false)]);
        assert_eq!(paths(&[0, 1, 2]), [("level".to_string(), false), ("step".to_string(), false)]);
        assert_eq!(paths(&[2, 3]), [("level".to_string(), true)], "missing in one row");
        assert_eq!(facts.varying(&[0, 1, 2])[0].codes, [0, 0, 1]);
        assert_eq!(facts.column(&[1, 2], facts.key("step").unwrap()).unwrap().values, [Label::Int(6)]);
    }
}
