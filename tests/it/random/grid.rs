//! Random tables, as a `GridTable` over encoded bytes in memory and as plain vectors.

use super::encode::{Coding, encode};
use super::rng::Rng;
use super::value::Value;
use datafusion::arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use half::{bf16, f16};
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{Dim, GridTable, Variable};
use millibar::tensor::ChunkGrid;
use millibar::tgm::{DType, Map};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the labels of a dim are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Float,
    Time,
    Text,
}

#[derive(Debug)]
pub(crate) struct ModelDim {
    pub name: String,
    pub kind: Kind,
    pub labels: Vec<Value>,
}

impl ModelDim {
    /// Whether SQL can do sums with the labels.
    pub(crate) fn is_numeric(&self) -> bool {
        matches!(self.kind, Kind::Int | Kind::Float)
    }

    /// Whether no label comes twice.
    pub(crate) fn is_unique(&self) -> bool {
        let labels: BTreeSet<String> = self.labels.iter().map(|label| label.key()).collect();
        labels.len() == self.labels.len()
    }
}

#[derive(Debug)]
pub(crate) struct ModelVar {
    pub name: String,
    pub dtype: DType,
    /// C order; NULL where missing.
    pub cells: Vec<Value>,
}

impl ModelVar {
    pub(crate) fn is_bool(&self) -> bool {
        self.dtype == DType::Bitmask
    }
}

/// The table as vectors.
#[derive(Debug)]
pub(crate) struct Model {
    pub dims: Vec<ModelDim>,
    pub vars: Vec<ModelVar>,
    /// Whether NaN is a value; else it is NULL.
    pub nan_is_value: bool,
    /// Whether cells may be infinite or NaN: arithmetic on those is not what is tested.
    pub special: bool,
}

impl Model {
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|dim| dim.labels.len()).collect()
    }

    pub(crate) fn cells(&self) -> usize {
        self.shape().iter().product()
    }

    /// Position of a cell along each dim.
    pub(crate) fn position(&self, mut cell: usize) -> Vec<usize> {
        let shape = self.shape();
        let mut position = vec![0; shape.len()];
        for dim in (0..shape.len()).rev() {
            position[dim] = cell % shape[dim];
            cell /= shape[dim];
        }
        position
    }
}

/// Labels of dims that are texts.
pub(crate) const TEXTS: [&str; 26] = [
    "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor",
    "whiskey", "x-ray", "yankee", "zulu",
];

const NAMES: [&str; 4] = ["time", "level", "lat", "lon"];

const DTYPES: [DType; 13] = [
    DType::Float16,
    DType::BFloat16,
    DType::Float32,
    DType::Float64,
    DType::Int8,
    DType::Int16,
    DType::Int32,
    DType::Int64,
    DType::UInt8,
    DType::UInt16,
    DType::UInt32,
    DType::UInt64,
    DType::Bitmask,
];

/// A table of 1 to 4 dims and 1 to 3 variables. In some, floats may be infinite; in some, NaN is a value.
pub(crate) fn random(rng: &mut Rng) -> (Arc<GridTable>, Model) {
    let infinite = rng.one_in(6);
    let nan_is_value = rng.one_in(6);
    let floats = Floats { infinite, nan_is_value };
    let rank = rng.below(4) + 1;
    let most = [90, 24, 12, 7][rank - 1];
    let dims: Vec<(ModelDim, ArrayRef)> = (0..rank).map(|i| dim(rng, NAMES[i], most)).collect();
    let shape: Vec<u64> = dims.iter().map(|(dim, _)| dim.labels.len() as u64).collect();
    let mut variables = Vec::new();
    let mut vars = Vec::new();
    for name in ["t", "u", "v"].into_iter().take(rng.below(3) + 1) {
        // floats are what tensors mostly hold
        let dtype = if rng.one_in(2) { *rng.pick(&DTYPES) } else { *rng.pick(&DTYPES[2..4]) };
        let (variable, var) = variable(rng, name, dtype, &shape, floats);
        variables.push(variable);
        vars.push(var);
    }
    let table_dims = dims.iter().map(|(dim, coord)| Dim::new(&dim.name, Arc::clone(coord)));
    let table = GridTable { dims: table_dims.collect(), variables };
    let dims = dims.into_iter().map(|(dim, _)| dim).collect();
    (Arc::new(table), Model { dims, vars, nan_is_value, special: infinite || nan_is_value })
}

/// What floats of a table are like.
#[derive(Debug, Clone, Copy)]
struct Floats {
    infinite: bool,
    nan_is_value: bool,
}

/// Labels that ascend, descend or do neither; mostly all different.
fn dim(rng: &mut Rng, name: &str, most: usize) -> (ModelDim, ArrayRef) {
    let len = rng.below(most) + 1;
    let mut places: Vec<i64> = (0..len as i64).map(|i| i * 2 - rng.between(0, 1)).collect();
    match rng.below(4) {
        0 => places.reverse(),
        1 => (1..len).rev().for_each(|i| places.swap(i, rng.below(i + 1))),
        _ => {}
    }
    if rng.one_in(10) {
        (0..len).rev().for_each(|i| places[i] = places[i / 2]);
    }
    let ints = || places.iter().map(|&place| Value::Int(i128::from(place)));
    let (kind, labels, coord): (_, Vec<Value>, ArrayRef) = match (name, rng.below(5)) {
        ("time", _) => {
            let hours = 1_775_001_600_000_000_000_i64; // 2026-04-01
            let times: Vec<i64> = places.iter().map(|place| hours + place * 6 * 3_600_000_000_000).collect();
            let labels = times.iter().map(|&time| Value::Int(i128::from(time))).collect();
            (Kind::Time, labels, Arc::new(TimestampNanosecondArray::from(times)))
        }
        (_, 0) => (Kind::Int, ints().collect(), Arc::new(Int64Array::from(places))),
        (_, 1) => {
            let narrow: Int32Array = places.iter().map(|&place| place as i32).collect();
            (Kind::Int, ints().collect(), Arc::new(narrow))
        }
        (_, 2) if len * 2 <= TEXTS.len() => {
            let texts: Vec<&'static str> = places.iter().map(|&place| TEXTS[place as usize + 1]).collect();
            let labels = texts.iter().map(|&text| Value::Text(text)).collect();
            (Kind::Text, labels, Arc::new(StringArray::from(texts)))
        }
        (_, 3) => {
            let labels: Vec<f32> = places.iter().map(|&place| place as f32 * 0.7 - 8.0).collect();
            let values = labels.iter().map(|&label| Value::Float(f64::from(label))).collect();
            (Kind::Float, values, Arc::new(Float32Array::from(labels)))
        }
        _ => {
            let labels: Vec<f64> = places.iter().map(|&place| place as f64 * 2.5 - 20.25).collect();
            let values = labels.iter().map(|&label| Value::Float(label)).collect();
            (Kind::Float, values, Arc::new(Float64Array::from(labels)))
        }
    };
    (ModelDim { name: name.into(), kind, labels }, coord)
}

fn variable(rng: &mut Rng, name: &str, dtype: DType, shape: &[u64], floats: Floats) -> (Variable, ModelVar) {
    let cells: u64 = shape.iter().product();
    let pattern = rng.below(5);
    let wild = rng.one_in(3);
    // The same value along a whole plane now and then, and with it in whole chunks.
    let run = if rng.one_in(5) { shape[rng.below(shape.len() + 1)..].iter().product() } else { 1_u64 };
    let mut values: Vec<f64> = (0..cells).map(|i| element(rng, dtype, pattern, wild, i)).collect();
    (0..values.len()).for_each(|i| values[i] = values[i / run as usize * run as usize]);
    if floats.infinite && dtype.is_float() {
        let some = rng.below(3) + 1;
        let infinity = |value: &mut f64| *value = value.signum() * f64::INFINITY;
        values.iter_mut().filter(|_| rng.one_in(some)).for_each(infinity);
    }
    let chunk_shape: Vec<u64> = shape
        .iter()
        .map(|&len| match rng.below(4) {
            0 => 1,
            1 => len,
            _ => rng.below(len as usize) as u64 + 1,
        })
        .collect();
    let holes = rng.one_in(4);
    let codings: Vec<Coding> = (0..rng.below(2) + 1).map(|_| *rng.pick(&Coding::ALL)).collect();
    let chunks = ChunkGrid::try_new(shape.to_vec(), chunk_shape.clone()).unwrap().chunks();
    let holes: Vec<bool> = (0..chunks).map(|_| holes && rng.one_in(3)).collect();
    let variable = coded(name, dtype, shape, &chunk_shape, &codings, &values, &holes);
    let mut missing = vec![false; values.len()];
    for chunk in (0..chunks).filter(|&chunk| holes[chunk as usize]) {
        let (origin, extent) = variable.grid.chunk_extent(chunk).unwrap();
        flat_cells(shape, &origin, &extent).into_iter().for_each(|cell| missing[cell] = true);
    }
    let cells =
        values.into_iter().zip(missing).map(|(value, missing)| model_value(dtype, value, missing, floats));
    let cells = cells.collect();
    (variable, ModelVar { name: name.into(), dtype, cells })
}

/// A variable of `values` (C order) cut into chunks; those that are `holes` have no object.
pub(crate) fn chunked(
    name: &str,
    dtype: DType,
    shape: &[u64],
    chunk_shape: &[u64],
    coding: Coding,
    values: &[f64],
    holes: &[bool],
) -> Variable {
    coded(name, dtype, shape, chunk_shape, &[coding], values, holes)
}

/// As [`chunked`]; chunks take turns with `codings`.
fn coded(
    name: &str,
    dtype: DType,
    shape: &[u64],
    chunk_shape: &[u64],
    codings: &[Coding],
    values: &[f64],
    holes: &[bool],
) -> Variable {
    let grid = ChunkGrid::try_new(shape.to_vec(), chunk_shape.to_vec()).unwrap();
    let chunk = |index: u64| {
        let (origin, extent) = grid.chunk_extent(index).unwrap();
        let values: Vec<f64> = flat_cells(shape, &origin, &extent).iter().map(|&cell| values[cell]).collect();
        let hole = holes.get(index as usize).copied().unwrap_or(false);
        let coding = codings[index as usize % codings.len()];
        (!hole).then(|| Arc::new(encode(dtype, &extent, &values, coding)))
    };
    let chunks = (0..grid.chunks()).map(chunk).collect();
    let stats = Arc::new(VariableStats::new(dtype, grid.chunks()));
    Variable { name: name.into(), dtype, attributes: Map::new(), grid, chunks, stats }
}

fn model_value(dtype: DType, value: f64, hole: bool, floats: Floats) -> Value {
    match dtype {
        _ if hole || (value.is_nan() && !floats.nan_is_value) => Value::Null,
        DType::Bitmask => Value::Bool(value != 0.0),
        dtype if dtype.is_float() => Value::Float(value),
        _ => Value::Int(value as i128),
    }
}

/// A value that `dtype` holds exactly; NaN by pattern in floats.
fn element(rng: &mut Rng, dtype: DType, pattern: usize, wild: bool, index: u64) -> f64 {
    let nan = match pattern {
        1 => rng.one_in(5),
        2 => index % 16 < 12,
        3 => true,
        _ => false,
    };
    let small = rng.between(-100, 100);
    match dtype {
        dtype if dtype.is_float() && nan => f64::NAN,
        DType::Float16 => f16::from_f64(small as f64 / 4.0).to_f64(),
        DType::BFloat16 => bf16::from_f64(small as f64).to_f64(),
        DType::Float32 if wild => f64::from((rng.next() as f64 / 1e14) as f32),
        DType::Float64 if wild => rng.next() as f64 / 1e14,
        DType::Float32 | DType::Float64 => 250.0 + small as f64 / 8.0,
        DType::Bitmask => f64::from(u8::from(small > 0)),
        DType::Int64 if wild => small as f64 * 1e12,
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => small as f64,
        _ => small.unsigned_abs() as f64,
    }
}

/// Flat cells of a box, C order.
fn flat_cells(shape: &[u64], origin: &[u64], extent: &[u64]) -> Vec<usize> {
    let mut cells = vec![0_usize];
    for dim in 0..shape.len() {
        let along = origin[dim]..origin[dim] + extent[dim];
        cells = cells
            .iter()
            .flat_map(|cell| along.clone().map(move |at| cell * shape[dim] as usize + at as usize))
            .collect();
    }
    cells
}
