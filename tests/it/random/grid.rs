//! Random tables, as a `GridTable` over encoded bytes in memory and as plain vectors.

use super::rng::Rng;
use super::value::Value;
use datafusion::arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, TimestampNanosecondArray,
};
use half::{bf16, f16};
use millibar::codec::Pipeline;
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{Chunk, Dim, GridTable, Variable};
use millibar::source::{Bytes, Source, Stamp};
use millibar::tensor::ChunkGrid;
use millibar::tgm::{ByteOrder, DType, Descriptor, Limits, Map, Object, Value as Cbor};
use millibar::{Place, Result};
use std::ops::Range;
use std::sync::Arc;

/// What the labels of a dim are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Float,
    Time,
}

#[derive(Debug)]
pub(crate) struct ModelDim {
    pub name: String,
    pub kind: Kind,
    pub labels: Vec<Value>,
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

/// Bytes in memory.
#[derive(Debug)]
struct Memory {
    name: Arc<str>,
    stamp: Stamp,
    bytes: Bytes,
}

impl Source for Memory {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn len(&self) -> u64 {
        self.stamp.len
    }

    fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}

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
    let table_dims = dims.iter().map(|(dim, coord)| Dim {
        name: dim.name.clone(),
        coord: Arc::clone(coord),
        attributes: Map::new(),
    });
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

/// Labels that ascend, descend or do neither, all different.
fn dim(rng: &mut Rng, name: &str, most: usize) -> (ModelDim, ArrayRef) {
    let len = rng.below(most) + 1;
    let mut places: Vec<i64> = (0..len as i64).map(|i| i * 2 - rng.between(0, 1)).collect();
    match rng.below(4) {
        0 => places.reverse(),
        1 => (1..len).rev().for_each(|i| places.swap(i, rng.below(i + 1))),
        _ => {}
    }
    let ints = || places.iter().map(|&place| Value::Int(i128::from(place)));
    let (kind, labels, coord): (_, Vec<Value>, ArrayRef) = match (name, rng.below(4)) {
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
        (_, 2) => {
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
    let mut values: Vec<f64> = (0..cells).map(|i| element(rng, dtype, pattern, wild, i)).collect();
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
    let coding = rng.below(PACKED + 1);
    let chunks = ChunkGrid::try_new(shape.to_vec(), chunk_shape.clone()).unwrap().chunks();
    let holes: Vec<bool> = (0..chunks).map(|_| holes && rng.one_in(3)).collect();
    let variable = chunked(name, dtype, shape, &chunk_shape, coding, &values, &holes);
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
    coding: usize,
    values: &[f64],
    holes: &[bool],
) -> Variable {
    let grid = ChunkGrid::try_new(shape.to_vec(), chunk_shape.to_vec()).unwrap();
    let chunk = |index: u64| {
        let (origin, extent) = grid.chunk_extent(index).unwrap();
        let values: Vec<f64> = flat_cells(shape, &origin, &extent).iter().map(|&cell| values[cell]).collect();
        let hole = holes.get(index as usize).copied().unwrap_or(false);
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

/// Simple packing, of the values that it keeps exactly.
pub(crate) const PACKED: usize = 6;

/// `values` packed by a step of an eighth, with as many bits as they need up to 16; `None` if that isn't exact.
fn pack(values: &[f64]) -> Option<(Vec<u8>, Map)> {
    let reference = values.iter().copied().fold(f64::INFINITY, f64::min);
    let steps: Vec<u64> = values.iter().map(|value| ((value - reference) * 8.0) as u64).collect();
    let exact = steps.iter().zip(values).all(|(&step, &value)| reference + 0.125 * step as f64 == value);
    let bits = 64 - steps.iter().max()?.leading_zeros();
    if !exact || !reference.is_finite() || bits > 16 {
        return None;
    }
    let mut bytes = vec![0; (values.len() * bits as usize).div_ceil(8)];
    for at in 0..values.len() * bits as usize {
        let bit = steps[at / bits as usize] >> (bits as usize - 1 - at % bits as usize) & 1;
        bytes[at / 8] |= (bit as u8) << (7 - at % 8);
    }
    let params = [
        ("sp_bits_per_value", i64::from(bits)),
        ("sp_binary_scale_factor", -3),
        ("sp_decimal_scale_factor", 0),
    ];
    let mut params: Map =
        params.map(|(key, value)| (key.into(), Cbor::Integer(value.into()))).into_iter().collect();
    params.insert("sp_reference_value".into(), Cbor::Float(reference));
    Some((bytes, params))
}

/// One object: plain, byte-swapped, compressed by one of the stream codecs, shuffled or not, or packed.
fn encode(dtype: DType, shape: &[u64], values: &[f64], coding: usize) -> Chunk {
    let packed = (coding == PACKED && dtype == DType::Float64).then(|| pack(values)).flatten();
    if let Some((bytes, params)) = packed {
        return chunk(dtype, shape, ("simple_packing", "none", "none"), ByteOrder::Little, bytes, params);
    }
    let byte_order = if coding == 1 { ByteOrder::Big } else { ByteOrder::Little };
    let mut bytes = to_bytes(dtype, values, byte_order);
    let mut params = Map::new();
    let width = dtype.width().unwrap_or(1);
    let shuffled = matches!(coding, 4 | 5) && dtype != DType::Bitmask;
    if shuffled {
        params.insert("shuffle_element_size".into(), Cbor::Integer((width as u64).into()));
        let elements = bytes.len() / width;
        bytes = (0..bytes.len()).map(|i| bytes[i % elements * width + i / elements]).collect();
    }
    let compression = match coding {
        2 | 4 => {
            bytes = zstd::bulk::compress(&bytes, 3).unwrap();
            "zstd"
        }
        3 => {
            bytes = lz4_flex::compress_prepend_size(&bytes);
            "lz4"
        }
        _ => "none",
    };
    let filter = if shuffled { "shuffle" } else { "none" };
    chunk(dtype, shape, ("none", filter, compression), byte_order, bytes, params)
}

/// One object in memory, of encoded `bytes` and the stages that decode them.
fn chunk(
    dtype: DType,
    shape: &[u64],
    (encoding, filter, compression): (&str, &str, &str),
    byte_order: ByteOrder,
    bytes: Vec<u8>,
    params: Map,
) -> Chunk {
    let descriptor = Descriptor {
        dtype,
        shape: shape.to_vec(),
        byte_order,
        encoding: encoding.into(),
        filter: filter.into(),
        compression: compression.into(),
        masks: Vec::new(),
        params,
    };
    let len = bytes.len() as u64;
    let place = Place::file("memory").message(0).object(0);
    let object = Object { place, frame: 0..len, region: 0..len, hash: None, descriptor: descriptor.into() };
    let stamp = Stamp { len, modified_ns: 0 };
    let source = Memory { name: "memory".into(), stamp, bytes: bytes.into() };
    let pipeline = Pipeline::try_new(&object, &Limits::default());
    Chunk { source: Arc::new(source), object: Arc::new(object), pipeline }
}

fn to_bytes(dtype: DType, values: &[f64], order: ByteOrder) -> Vec<u8> {
    if dtype == DType::Bitmask {
        return values
            .chunks(8)
            .map(|bits| bits.iter().enumerate().map(|(i, bit)| (*bit as u8) << (7 - i)).sum())
            .collect();
    }
    let element = |&value: &f64| -> Vec<u8> {
        let mut bytes = match dtype {
            DType::Float16 => f16::from_f64(value).to_le_bytes().to_vec(),
            DType::BFloat16 => bf16::from_f64(value).to_le_bytes().to_vec(),
            DType::Float32 => (value as f32).to_le_bytes().to_vec(),
            DType::Float64 => value.to_le_bytes().to_vec(),
            DType::Int8 => (value as i8).to_le_bytes().to_vec(),
            DType::Int16 => (value as i16).to_le_bytes().to_vec(),
            DType::Int32 => (value as i32).to_le_bytes().to_vec(),
            DType::Int64 => (value as i64).to_le_bytes().to_vec(),
            DType::UInt8 => (value as u8).to_le_bytes().to_vec(),
            DType::UInt16 => (value as u16).to_le_bytes().to_vec(),
            DType::UInt32 => (value as u32).to_le_bytes().to_vec(),
            _ => (value as u64).to_le_bytes().to_vec(),
        };
        if order == ByteOrder::Big {
            bytes.reverse();
        }
        bytes
    };
    values.iter().flat_map(element).collect()
}
