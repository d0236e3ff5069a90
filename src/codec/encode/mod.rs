//! Encoding: from typed values to the payload region of an object and its descriptor.
//!
//! ```text
//! Block -> find NaN/Inf, put zeros -> pack -> shuffle -> compress -> append masks -> Encoded
//! ```
//! [`Encoder`] is built once from a [`Spec`] and a shape, with every parameter checked: what the reference refuses, and
//! what it takes but garbles, is an error here. It is immutable and can be shared; each worker owns a [`Scratch`].
//! What comes out depends on nothing but the spec, the shape and the values.
//!
//! ```
//! # fn main() -> millibar::Result<()> {
//! use millibar::codec::encode::{Encoder, Scratch};
//! use millibar::codec::{Block, Compression, Spec};
//! use millibar::{Place, tgm::DType};
//!
//! let spec = Spec { compression: Compression::Zstd { level: None }, ..Spec::new(DType::Float32) };
//! let encoder = Encoder::try_new(Place::file("new.tgm"), &spec, &[2, 2])?;
//! let encoded = encoder.encode(Block::Float32(&[1.0, 2.0, 3.0, 4.0]), &mut Scratch::default())?;
//! assert_eq!(encoded.descriptor.pipeline(), "zstd");
//! # Ok(())
//! # }
//! ```

pub(super) mod checks;
mod compress;
mod masks;
mod scan;
mod scratch;

pub use scratch::Scratch;

use super::packing::{self, SimplePacking};
use super::plan::value_width;
use super::scratch::AlignedBuf;
use super::shuffle::Shuffle;
use super::spec::{Compression, Encoding, Filter, Spec};
use super::swap::swap_in_place;
use super::szip::Aec;
use super::windows::Fault;
use super::{Block, bits, block};
use crate::tgm::{ByteOrder, DType, Descriptor, Map, Value};
use crate::{Error, Place, Result};
use std::num::NonZeroUsize;

/// One encoded object.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// What the bytes mean: all codec parameters, and no other keys.
    pub descriptor: Descriptor,
    /// The payload region: the encoded tensor, then the masks.
    pub region: Vec<u8>,
}

/// Encodes objects of one pipeline and shape.
#[derive(Debug, Clone)]
pub struct Encoder {
    at: Place,
    spec: Spec,
    shape: Vec<u64>,
    len: u64,
    /// What szip takes for samples, where that is the compression.
    samples: Option<Aec>,
    threads: NonZeroUsize,
}

impl Encoder {
    /// Checks `spec` for objects of `shape`. `at` is where they go, for errors.
    ///
    /// # Errors
    /// [`Error::Codec`] for parameters and combinations that can't be written soundly, [`Error::Metadata`] for a shape
    /// whose size leaves 64 bits.
    pub fn try_new(at: Place, spec: &Spec, shape: &[u64]) -> Result<Self> {
        let len = shape.iter().try_fold(1_u64, |product, axis| product.checked_mul(*axis));
        let len = len.filter(|len| len.checked_mul(value_width(spec.dtype)).is_some_and(|n| n < 1 << 60));
        let len = len.ok_or_else(|| Error::metadata(&at, format!("shape {shape:?} leaves 60 bits")))?;
        let samples = checks::check(spec, len).map_err(|f| Error::codec(&at, f.codec, f.what))?;
        let threads = NonZeroUsize::MIN;
        Ok(Self { at, spec: spec.clone(), shape: shape.to_vec(), len, samples, threads })
    }

    /// The same, with large objects packed and shuffled on so many threads; one if this isn't called. The bytes are
    /// the same.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// The pipeline.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Encodes `values`, the elements in C order.
    ///
    /// # Errors
    /// [`Error::Codec`] for values of another dtype or number, for NaN and infinities that aren't allowed (with the
    /// index of the first one), and for values that the codec can't represent.
    pub fn encode(&self, values: Block<'_>, scratch: &mut Scratch) -> Result<Encoded> {
        self.run(values, scratch).map_err(|f| Error::codec(&self.at, f.codec, f.what))
    }

    fn run(&self, values: Block<'_>, scratch: &mut Scratch) -> Result<Encoded, Fault> {
        if values.dtype() != self.spec.dtype || values.len() as u64 != self.len {
            let (got, len) = (values.dtype(), values.len());
            let what = format!("{len} values of {got}, wanted {} of {}", self.len, self.spec.dtype);
            return Err(Fault::new("encode", what));
        }
        let Scratch { values: zeroed, encoded, shuffled, zstd } = scratch;
        let original = values.bytes();
        let found = scan::scan(&self.spec, original)?;
        let masked = found.is_some();
        let native =
            if masked { scan::without(&found, self.spec.dtype, original, zeroed)? } else { original };

        let mut params = self.spec.params();
        let flat = self.flat(native, masked, &mut params, encoded)?;
        let flat = match self.spec.filter {
            Filter::Shuffle(size) if size > 1 && !flat.is_empty() => {
                let out = shuffled.take(flat.len())?;
                let shuffle =
                    Shuffle::try_new(size, flat.len() as u64).map_err(|e| Fault::new("shuffle", e))?;
                shuffle.shuffle(flat, self.threads, out).map_err(|e| Fault::new("shuffle", e))?;
                &*out
            }
            _ => flat,
        };
        let mut region = Vec::new();
        match self.spec.compression {
            Compression::None => region.extend_from_slice(flat),
            Compression::Szip { .. } => {
                let aec =
                    self.samples.as_ref().ok_or_else(|| Fault::new("szip", "parameters weren't checked"))?;
                let offsets = aec.encode(flat, &mut region).map_err(|e| Fault::new("szip", e))?;
                let offsets = offsets.into_iter().map(Value::from).collect();
                params.insert("szip_block_offsets".into(), Value::Array(offsets));
            }
            ref compression => compress::compress(compression, self.type_size(), flat, zstd, &mut region)?,
        }
        let masks = masks::append(&self.spec.masks, &found, self.len, zstd, &mut region)?;
        let descriptor = Descriptor {
            dtype: self.spec.dtype,
            shape: self.shape.clone(),
            byte_order: self.spec.byte_order,
            encoding: self.spec.encoding.name().into(),
            filter: self.spec.filter.name().into(),
            compression: self.spec.compression.name().into(),
            masks,
            params,
        };
        Ok(Encoded { descriptor, region })
    }

    /// The encoded elements of native values; adds to `params` what was computed for them.
    fn flat<'v>(
        &self,
        native: &'v [u8],
        masked: bool,
        params: &mut Map,
        out: &'v mut AlignedBuf,
    ) -> Result<&'v [u8], Fault> {
        match self.spec.encoding {
            Encoding::SimplePacking(given) => {
                let values = block::cast::<f64>(native);
                let values = values.ok_or_else(|| Fault::new("simple_packing", "values came unaligned"))?;
                if masked && given.scales.is_none() {
                    let what = "NaN and Inf can be masked only where reference value and scale are given";
                    return Err(Fault::new("simple_packing", what));
                }
                let fault = |e: packing::PackingError| Fault::new("simple_packing", e);
                let bits = given.bits as u32; // 64 at most, as checked
                let scales = match given.scales {
                    Some(scales) => scales,
                    None => packing::scales(values, bits, given.decimal).map_err(fault)?,
                };
                let chosen = super::spec::Packing { scales: Some(scales), ..given };
                let stamped = Spec { encoding: Encoding::SimplePacking(chosen), ..self.spec.clone() };
                params.extend(stamped.params());
                let packing =
                    SimplePacking::try_new(bits, scales.0, scales.1, given.decimal).map_err(fault)?;
                let len = packing.packed_bytes(self.len).unwrap_or(u64::MAX);
                let out = out.take(usize::try_from(len).unwrap_or(usize::MAX))?;
                packing.pack(values, scales.1, given.decimal, self.threads, out);
                Ok(out)
            }
            Encoding::None if self.spec.dtype == DType::Bitmask => {
                let out = out.take(native.len().div_ceil(8))?;
                bits::pack(native, out);
                Ok(out)
            }
            Encoding::None if self.swaps() => {
                let out = out.take(native.len())?;
                out.copy_from_slice(native);
                swap_in_place(out, self.spec.dtype.swap_unit());
                Ok(out)
            }
            Encoding::None => Ok(native),
        }
    }

    fn swaps(&self) -> bool {
        self.spec.byte_order != ByteOrder::NATIVE && self.spec.dtype.swap_unit() > 1
    }

    /// Bytes that Blosc2 takes for one item (section 4.7 of the format).
    fn type_size(&self) -> usize {
        match (self.spec.encoding, self.spec.filter) {
            (Encoding::SimplePacking(packing), _) => packing.bits.div_ceil(8) as usize,
            (_, Filter::Shuffle(_)) => 1,
            _ => self.spec.dtype.width().unwrap_or(0),
        }
    }
}
