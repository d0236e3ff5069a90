//! Small sound files for tests: named tensors with metadata, stored as they are.

use super::build::{HEADER_METADATA, cbor, frame, message, object, padded};
use serde_json::{Value, json};
use std::path::Path;

/// One tensor and what its metadata says.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) base: Value,
    pub(crate) descriptor: Value,
    pub(crate) payload: Vec<u8>,
}

/// A tensor of `dtype` from its little-endian bytes.
pub(crate) fn tensor(base: Value, dtype: &str, shape: &[u64], payload: Vec<u8>) -> Tensor {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let descriptor = json!({
        "type": "ntensor", "ndim": shape.len(), "shape": shape, "strides": strides, "dtype": dtype,
        "byte_order": "little", "encoding": "none", "filter": "none", "compression": "none",
    });
    Tensor { base, descriptor, payload }
}

/// A float32 tensor that counts up from `first`.
pub(crate) fn field(base: Value, shape: &[u64], first: f32) -> Tensor {
    let values = (0..shape.iter().product()).map(|i: u64| first + i as f32);
    tensor(base, "float32", shape, values.flat_map(f32::to_le_bytes).collect())
}

/// A one-dimensional float64 tensor.
pub(crate) fn labels(name: &str, values: &[f64]) -> Tensor {
    let payload = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(json!({ "name": name }), "float64", &[values.len() as u64], payload)
}

/// The bytes of one message.
pub(crate) fn tgm_message(extra: &Value, tensors: &[Tensor]) -> Vec<u8> {
    let base: Vec<&Value> = tensors.iter().map(|t| &t.base).collect();
    let mut frames = vec![frame(HEADER_METADATA, &cbor(&json!({ "base": base, "_extra_": extra })))];
    frames.extend(tensors.iter().map(|t| object(&t.payload, &cbor(&t.descriptor))));
    message(&padded(&frames), true)
}

/// Writes a file with one message for each list of tensors.
pub(crate) fn write_tgm(path: &Path, messages: &[Vec<Tensor>]) {
    let bytes: Vec<u8> = messages.iter().flat_map(|tensors| tgm_message(&json!({}), tensors)).collect();
    std::fs::write(path, bytes).unwrap();
}
