//! The codec keys of a descriptor, typed: which pipeline an object has, or is to have.
//!
//! [`Spec::from_descriptor`] and [`Spec::params`] are the one place where keys have names (section 2.3 of the format).
//! Decoding makes its plan of a spec, [`super::encode::Encoder`] its stages.

use crate::tgm::{ByteOrder, DType, Descriptor, Map, MaskKind, Value};
use crate::{Error, Place, Result};

/// The pipeline of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Element type.
    pub dtype: DType,
    /// Byte order of the encoded elements.
    pub byte_order: ByteOrder,
    /// First stage of encoding.
    pub encoding: Encoding,
    /// Second stage.
    pub filter: Filter,
    /// Third stage.
    pub compression: Compression,
    /// What becomes of NaN and infinities; decoding reads the masks themselves instead.
    pub masks: MaskOptions,
}

/// How values become bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoding {
    /// As they are.
    None,
    /// As scaled integers; float64 only.
    SimplePacking(Packing),
}

/// Parameters of simple packing (section 4.2 of the format): `v = reference + 2^binary * 10^-decimal * q`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packing {
    /// Bits of one packed value, 0 to 64.
    pub bits: u64,
    /// Decimal exponent.
    pub decimal: i32,
    /// Reference value and binary exponent; `None` to compute them from the values.
    pub scales: Option<(f64, i32)>,
}

/// How bytes are reordered before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Not at all.
    None,
    /// Byte shuffle of elements of this many bytes.
    Shuffle(u64),
}

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Compression {
    /// Not at all.
    None,
    /// A zstd frame.
    Zstd {
        /// Level; 3 where there is none.
        level: Option<i64>,
    },
    /// An LZ4 block.
    Lz4,
    /// A Blosc2 frame.
    Blosc2 {
        /// Codec of its blocks; lz4 where there is none.
        codec: Option<Blosc2Codec>,
        /// Level; 5 where there is none.
        level: Option<i64>,
    },
    /// AEC, as of CCSDS 121.0.
    Szip {
        /// Blocks in a reference sample interval.
        rsi: u64,
        /// Samples in a block.
        block_size: u64,
        /// AEC flags.
        flags: u64,
    },
    /// A zfp stream; float64 only.
    Zfp(ZfpMode),
    /// An SZ3 stream; float64 only.
    Sz3 {
        /// What the bound means.
        mode: Sz3Mode,
        /// The bound.
        bound: f64,
    },
    /// Run lengths; bitmasks only.
    Rle,
    /// A Roaring set; bitmasks only.
    Roaring,
}

/// What zfp holds fixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ZfpMode {
    /// Bits a value.
    FixedRate(f64),
    /// Bit planes of a block.
    FixedPrecision(u64),
    /// The largest error of a value.
    FixedAccuracy(f64),
}

/// What the error bound of SZ3 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sz3Mode {
    /// The largest error of a value.
    Abs,
    /// The largest error, as a share of the range of values.
    Rel,
    /// The peak signal-to-noise ratio, in dB.
    Psnr,
}

/// Codecs inside Blosc2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Blosc2Codec {
    BloscLz,
    Lz4,
    Lz4Hc,
    Zlib,
    Zstd,
}

/// How the bits of a mask are compressed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaskMethod {
    /// Packed bits.
    None,
    /// Run lengths.
    Rle,
    /// A Roaring set.
    Roaring,
    /// An LZ4 block.
    Lz4,
    /// A zstd frame.
    Zstd {
        /// Level; 3 where there is none.
        level: Option<i64>,
    },
    /// A Blosc2 frame.
    Blosc2 {
        /// Codec of its blocks.
        codec: Blosc2Codec,
        /// Level.
        level: i64,
    },
}

/// What encoding does with NaN and infinities: refused, unless allowed; then zeros with a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskOptions {
    /// Whether NaN is masked.
    pub allow_nan: bool,
    /// Whether infinities of both signs are masked.
    pub allow_inf: bool,
    /// Method of each mask: NaN, +Inf, -Inf.
    pub methods: [MaskMethod; 3],
    /// Masks of up to this many packed bytes aren't compressed; 0 compresses all.
    pub small_mask_bytes: u64,
}

impl Default for MaskOptions {
    fn default() -> Self {
        Self { allow_nan: false, allow_inf: false, methods: [MaskMethod::Roaring; 3], small_mask_bytes: 128 }
    }
}

impl MaskOptions {
    /// Both allowed, otherwise the defaults.
    pub fn allow_all() -> Self {
        Self { allow_nan: true, allow_inf: true, ..Self::default() }
    }
}

impl Spec {
    /// Values of `dtype` as they are, in native order.
    pub fn new(dtype: DType) -> Self {
        Self {
            dtype,
            byte_order: ByteOrder::NATIVE,
            encoding: Encoding::None,
            filter: Filter::None,
            compression: Compression::None,
            masks: MaskOptions::default(),
        }
    }

    /// The pipeline that `descriptor` names. Kinds of masks that it has are allowed, with their methods.
    ///
    /// # Errors
    /// [`Error::Codec`] for unknown stages, [`Error::Metadata`] for missing or mistyped parameters. Whether the stages
    /// and their parameters go together is for the next to say.
    pub fn from_descriptor(descriptor: &Descriptor, at: &Place) -> Result<Self> {
        let keys = Keys { descriptor, at };
        let mut masks = MaskOptions::default();
        for mask in &descriptor.masks {
            match mask.kind {
                MaskKind::NaN => masks.allow_nan = true,
                MaskKind::PosInf | MaskKind::NegInf => masks.allow_inf = true,
            }
            masks.methods[mask.kind as usize] = MaskMethod::parse(&mask.method, &mask.params, at)?;
        }
        Ok(Self {
            dtype: descriptor.dtype,
            byte_order: descriptor.byte_order,
            encoding: keys.encoding()?,
            filter: keys.filter()?,
            compression: keys.compression()?,
            masks,
        })
    }

    /// The parameters of all stages, by their keys.
    pub fn params(&self) -> Map {
        let mut params = Map::new();
        let mut put = |key: &str, value: Value| params.insert(key.into(), value);
        if let Encoding::SimplePacking(packing) = self.encoding {
            put("sp_bits_per_value", packing.bits.into());
            put("sp_decimal_scale_factor", packing.decimal.into());
            if let Some((reference, binary)) = packing.scales {
                put("sp_reference_value", reference.into());
                put("sp_binary_scale_factor", binary.into());
            }
        }
        if let Filter::Shuffle(size) = self.filter {
            put("shuffle_element_size", size.into());
        }
        match self.compression {
            Compression::None | Compression::Lz4 | Compression::Rle | Compression::Roaring => {}
            Compression::Zstd { level } => {
                level.map(|level| put("zstd_level", level.into()));
            }
            Compression::Blosc2 { codec, level } => {
                codec.map(|codec| put("blosc2_codec", codec.name().into()));
                level.map(|level| put("blosc2_clevel", level.into()));
            }
            Compression::Szip { rsi, block_size, flags } => {
                put("szip_rsi", rsi.into());
                put("szip_block_size", block_size.into());
                put("szip_flags", flags.into());
            }
            Compression::Zfp(mode) => {
                put("zfp_mode", mode.name().into());
                match mode {
                    ZfpMode::FixedRate(rate) => put("zfp_rate", rate.into()),
                    ZfpMode::FixedPrecision(precision) => put("zfp_precision", precision.into()),
                    ZfpMode::FixedAccuracy(tolerance) => put("zfp_tolerance", tolerance.into()),
                };
            }
            Compression::Sz3 { mode, bound } => {
                put("sz3_error_bound_mode", mode.name().into());
                put("sz3_error_bound", bound.into());
            }
        }
        params
    }
}

impl Encoding {
    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SimplePacking(_) => "simple_packing",
        }
    }
}

impl Filter {
    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shuffle(_) => "shuffle",
        }
    }
}

impl Compression {
    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd { .. } => "zstd",
            Self::Lz4 => "lz4",
            Self::Blosc2 { .. } => "blosc2",
            Self::Szip { .. } => "szip",
            Self::Zfp(_) => "zfp",
            Self::Sz3 { .. } => "sz3",
            Self::Rle => "rle",
            Self::Roaring => "roaring",
        }
    }
}

impl ZfpMode {
    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FixedRate(_) => "fixed_rate",
            Self::FixedPrecision(_) => "fixed_precision",
            Self::FixedAccuracy(_) => "fixed_accuracy",
        }
    }
}

impl Sz3Mode {
    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Rel => "rel",
            Self::Psnr => "psnr",
        }
    }

    /// The mode of a wire name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Abs, Self::Rel, Self::Psnr].into_iter().find(|mode| mode.name() == name)
    }
}

impl Blosc2Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::BloscLz, Self::Lz4, Self::Lz4Hc, Self::Zlib, Self::Zstd];

    /// The wire name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BloscLz => "blosclz",
            Self::Lz4 => "lz4",
            Self::Lz4Hc => "lz4hc",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a wire name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl MaskMethod {
    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rle => "rle",
            Self::Roaring => "roaring",
            Self::Lz4 => "lz4",
            Self::Zstd { .. } => "zstd",
            Self::Blosc2 { .. } => "blosc2",
        }
    }

    /// The parameters, by their keys.
    pub fn params(&self) -> Map {
        match *self {
            Self::Zstd { level: Some(level) } => Map::from([("level".into(), level.into())]),
            Self::Blosc2 { codec, level } => {
                Map::from([("codec".into(), codec.name().into()), ("level".into(), level.into())])
            }
            _ => Map::new(),
        }
    }

    /// The method of a wire name, with its parameters. These don't matter to who reads: what can't be made of them is
    /// what it is where there are none.
    ///
    /// # Errors
    /// [`Error::Codec`] for an unknown method.
    pub fn parse(name: &str, params: &Map, at: &Place) -> Result<Self> {
        let level =
            params.get("level").and_then(Value::as_integer).and_then(|level| i64::try_from(level).ok());
        let codec = params.get("codec").and_then(Value::as_text).and_then(Blosc2Codec::parse);
        Ok(match name {
            "none" => Self::None,
            "rle" => Self::Rle,
            "roaring" => Self::Roaring,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd { level },
            "blosc2" => Self::Blosc2 { codec: codec.unwrap_or(Blosc2Codec::Lz4), level: level.unwrap_or(5) },
            other => return Err(Error::codec(at, "mask", format!("unknown method `{other}`"))),
        })
    }
}

/// The keys of one descriptor.
struct Keys<'a> {
    descriptor: &'a Descriptor,
    at: &'a Place,
}

impl Keys<'_> {
    fn uint(&self, key: &str) -> Result<u64> {
        self.descriptor.require(self.at, key, self.descriptor.uint(self.at, key))
    }

    /// An unsigned integer of 32 bits.
    fn small(&self, key: &str) -> Result<u64> {
        let value = self.uint(key)?;
        let fits = u32::try_from(value).map(u64::from);
        fits.map_err(|_| Error::metadata(self.at, format!("`{key}` is {value}, beyond 32 bits")))
    }

    fn float(&self, key: &str) -> Result<f64> {
        self.descriptor.require(self.at, key, self.descriptor.float(self.at, key))
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.descriptor.require(self.at, key, self.descriptor.text(self.at, key))
    }

    fn int(&self, key: &str) -> Result<Option<i64>> {
        self.descriptor.int(self.at, key)
    }

    fn unknown(&self, stage: &'static str, what: &str, name: &str) -> Error {
        Error::codec(self.at, stage, format!("unknown {what} `{name}`"))
    }

    fn encoding(&self) -> Result<Encoding> {
        match self.descriptor.encoding.as_str() {
            "none" => Ok(Encoding::None),
            "simple_packing" => self.packing().map(Encoding::SimplePacking),
            other => Err(self.unknown("encoding", "encoding", other)),
        }
    }

    fn packing(&self) -> Result<Packing> {
        let exponent = |key: &str| {
            let exponent = self.int(key)?.map(i32::try_from).transpose();
            exponent.map_err(|_| Error::metadata(self.at, format!("`{key}` is beyond 32 bits")))
        };
        let bits = self.uint("sp_bits_per_value")?;
        let reference = self.descriptor.float(self.at, "sp_reference_value")?;
        let binary = exponent("sp_binary_scale_factor")?;
        let decimal = exponent("sp_decimal_scale_factor")?.unwrap_or(0);
        let scales = match (reference, binary) {
            (Some(reference), Some(binary)) => Some((reference, binary)),
            (None, None) => None,
            (None, Some(_)) => return Err(self.missing("sp_reference_value")),
            (Some(_), None) => return Err(self.missing("sp_binary_scale_factor")),
        };
        Ok(Packing { bits, decimal, scales })
    }

    fn missing(&self, key: &str) -> Error {
        let pipeline = self.descriptor.pipeline();
        Error::metadata(self.at, format!("`{key}` is missing; pipeline {pipeline} needs it"))
    }

    fn filter(&self) -> Result<Filter> {
        match self.descriptor.filter.as_str() {
            "none" => Ok(Filter::None),
            "shuffle" => self.uint("shuffle_element_size").map(Filter::Shuffle),
            other => Err(self.unknown("filter", "filter", other)),
        }
    }

    fn compression(&self) -> Result<Compression> {
        Ok(match self.descriptor.compression.as_str() {
            "none" => Compression::None,
            "zstd" => Compression::Zstd { level: self.int("zstd_level")? },
            "lz4" => Compression::Lz4,
            "blosc2" => {
                let level = self.int("blosc2_clevel")?;
                let codec = match self.descriptor.text(self.at, "blosc2_codec")? {
                    None => None,
                    Some(name) => {
                        let codec = Blosc2Codec::parse(name);
                        Some(codec.ok_or_else(|| self.unknown("blosc2", "codec", name))?)
                    }
                };
                Compression::Blosc2 { codec, level }
            }
            "szip" => Compression::Szip {
                rsi: self.small("szip_rsi")?,
                block_size: self.small("szip_block_size")?,
                flags: self.small("szip_flags")?,
            },
            "zfp" => Compression::Zfp(match self.text("zfp_mode")? {
                "fixed_rate" => ZfpMode::FixedRate(self.float("zfp_rate")?),
                "fixed_precision" => ZfpMode::FixedPrecision(self.uint("zfp_precision")?),
                "fixed_accuracy" => ZfpMode::FixedAccuracy(self.float("zfp_tolerance")?),
                other => return Err(self.unknown("zfp", "mode", other)),
            }),
            "sz3" => {
                let name = self.text("sz3_error_bound_mode")?;
                let mode =
                    Sz3Mode::parse(name).ok_or_else(|| self.unknown("sz3", "error bound mode", name))?;
                Compression::Sz3 { mode, bound: self.float("sz3_error_bound")? }
            }
            "rle" => Compression::Rle,
            "roaring" => Compression::Roaring,
            other => return Err(self.unknown("compression", "compression", other)),
        })
    }
}
