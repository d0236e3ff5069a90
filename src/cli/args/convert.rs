//! What may be written for `convert`.

use super::files::{LimitArgs, address};
use crate::source::Address;
use crate::tgm::Placement;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

const CONVERT_EXAMPLES: &str = "\
Examples:
  millibar convert in.tgm out.tgm --compression zstd --level 9
  millibar convert in.tgm out.tgm --filter shuffle --compression blosc2 --blosc2-codec zstd
  millibar convert in.tgm out.tgm --encoding simple_packing --bits 16 --compression szip
  millibar convert in.tgm out.tgm --compression zfp --zfp-tolerance 0.01 --only temperature

What isn't asked for stays as it is in each object; an object whose pipeline stays is copied. Encodings that lose
something (simple_packing, zfp, sz3) leave coordinates alone unless --only names them. OUT is a path; it appears
under its name when it is complete, or not at all, and may be IN.";

#[derive(Debug, Args)]
#[command(after_help = CONVERT_EXAMPLES)]
pub(in crate::cli) struct ConvertArgs {
    /// A .tgm file, or its URL
    #[arg(value_name = "IN", value_parser = address())]
    pub(in crate::cli) input: Address,
    /// The file to write
    #[arg(value_name = "OUT")]
    pub(in crate::cli) output: PathBuf,
    /// Objects to encode again, by name; may be repeated. The others are copied
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) only: Vec<String>,

    /// How values become bytes; simple_packing takes float64 alone
    #[arg(long, value_enum)]
    pub(in crate::cli) encoding: Option<EncodingArg>,
    /// Bits of a packed value, 0 to 64
    #[arg(long, value_name = "N", requires = "encoding", value_parser = clap::value_parser!(u64).range(0..=64))]
    pub(in crate::cli) bits: Option<u64>,
    /// Decimal scale factor of packed values
    #[arg(long, value_name = "N", requires = "encoding", allow_negative_numbers = true)]
    pub(in crate::cli) decimal: Option<i32>,
    /// How bytes are reordered before compression
    #[arg(long, value_enum)]
    pub(in crate::cli) filter: Option<FilterArg>,
    /// How bytes are compressed
    #[arg(long, value_enum)]
    pub(in crate::cli) compression: Option<CompressionArg>,
    /// Level of zstd (default 3) and blosc2 (default 5)
    #[arg(long, value_name = "N", requires = "compression", allow_negative_numbers = true)]
    pub(in crate::cli) level: Option<i64>,
    /// Codec inside blosc2: blosclz, lz4 (default), lz4hc, zlib, zstd
    #[arg(long, value_name = "CODEC", requires = "compression")]
    pub(in crate::cli) blosc2_codec: Option<String>,
    /// Blocks in a reference sample interval of szip
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(in crate::cli) szip_rsi: u64,
    /// Samples in a block of szip
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(in crate::cli) szip_block: u64,
    #[command(flatten)]
    pub(in crate::cli) bound: BoundArgs,
    /// Byte order of the encoded elements
    #[arg(long, value_enum)]
    pub(in crate::cli) byte_order: Option<ByteOrderArg>,

    /// Put NaN in masks; where there are none yet, NaN is an error otherwise
    #[arg(long)]
    pub(in crate::cli) allow_nan: bool,
    /// Put infinities in masks
    #[arg(long)]
    pub(in crate::cli) allow_inf: bool,
    /// How masks are compressed: none, rle, roaring (default), lz4, zstd, blosc2
    #[arg(long, value_name = "METHOD")]
    pub(in crate::cli) mask_method: Option<String>,
    /// Masks of up to so many bytes aren't compressed
    #[arg(long, value_name = "BYTES")]
    pub(in crate::cli) small_masks: Option<u64>,

    /// How messages are laid out
    #[arg(long, value_enum, default_value_t = LayoutArg::Auto)]
    pub(in crate::cli) layout: LayoutArg,
    /// Where a frame with the places of all objects stands
    #[arg(long, value_enum, default_value_t = PlacementArg::Auto)]
    pub(in crate::cli) index: PlacementArg,
    /// Where a frame with the hashes of all objects stands
    #[arg(long, value_enum, default_value_t = PlacementArg::Auto)]
    pub(in crate::cli) hash_frame: PlacementArg,
    /// Write no hashes
    #[arg(long)]
    pub(in crate::cli) no_hashes: bool,
    /// What messages say of the library, time and uuid
    #[arg(long, value_enum, default_value_t = ProvenanceArg::New)]
    pub(in crate::cli) provenance: ProvenanceArg,
    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

/// What zfp and sz3 hold fixed; one of these goes with one of them.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub(in crate::cli) struct BoundArgs {
    /// Bits a value in zfp
    #[arg(long, value_name = "BITS")]
    pub(in crate::cli) zfp_rate: Option<f64>,
    /// Bit planes of a block in zfp
    #[arg(long, value_name = "N")]
    pub(in crate::cli) zfp_precision: Option<u64>,
    /// Largest error of a value in zfp
    #[arg(long, value_name = "X")]
    pub(in crate::cli) zfp_tolerance: Option<f64>,
    /// Largest error of a value in sz3
    #[arg(long, value_name = "X")]
    pub(in crate::cli) sz3_abs: Option<f64>,
    /// Largest error in sz3, as a share of the range of values
    #[arg(long, value_name = "X")]
    pub(in crate::cli) sz3_rel: Option<f64>,
    /// Peak signal-to-noise ratio of sz3, in dB
    #[arg(long, value_name = "DB")]
    pub(in crate::cli) sz3_psnr: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(in crate::cli) enum EncodingArg {
    None,
    SimplePacking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum FilterArg {
    None,
    /// Bytes of the same significance together
    Shuffle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CompressionArg {
    None,
    Szip,
    Zstd,
    Lz4,
    Blosc2,
    Zfp,
    Sz3,
    Rle,
    Roaring,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ByteOrderArg {
    Little,
    Big,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LayoutArg {
    /// Buffered where the values of a message take 64 MiB at most
    Auto,
    /// Index and hashes before the objects
    Buffered,
    /// Index and hashes after the objects
    Streaming,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum PlacementArg {
    Auto,
    Header,
    Footer,
    Both,
    None,
}

impl From<PlacementArg> for Placement {
    fn from(placement: PlacementArg) -> Self {
        match placement {
            PlacementArg::Auto => Self::Auto,
            PlacementArg::Header => Self::Header,
            PlacementArg::Footer => Self::Footer,
            PlacementArg::Both => Self::Both,
            PlacementArg::None => Self::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProvenanceArg {
    /// This library, now, and a new uuid
    New,
    /// What the input says: the same input gives the same bytes
    Keep,
}
