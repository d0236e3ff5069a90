//! `millibar convert`.

use super::args::convert::{
    ByteOrderArg, CompressionArg, ConvertArgs, EncodingArg, FilterArg, LayoutArg, ProvenanceArg,
};
use super::error::CliError;
use super::progress::Bar;
use super::words::{count, size};
use crate::codec::{Blosc2Codec, Compression, Encoding, Filter, MaskMethod, Packing, Spec, Sz3Mode, ZfpMode};
use crate::dataset::ObjectName;
use crate::files::{self, Choice, ConvertOptions, Layout};
use crate::source::NewFile;
use crate::tgm::{ByteOrder, Map, Message, Provenance, WriteOptions};
use crate::{Place, Result};
use std::io::{self, Write};

/// Writes the objects of one file to another, in the pipeline that was asked for.
pub(super) fn run(args: &ConvertArgs) -> Result<(), CliError> {
    let wish = Wish::of(args)?;
    let source = args.input.open()?;
    let limits = args.limits.limits();
    let write = WriteOptions {
        hashes: !args.no_hashes,
        index: args.index.into(),
        hash_frame: args.hash_frame.into(),
        provenance: match args.provenance {
            ProvenanceArg::New => Provenance::Fresh,
            ProvenanceArg::Keep => Provenance::Given,
        },
    };
    let bar = Bar::bytes(source.len(), source.name());
    let options = ConvertOptions {
        limits: &limits,
        write: &write,
        layout: match args.layout {
            LayoutArg::Auto => Layout::Auto,
            LayoutArg::Buffered => Layout::Buffered,
            LayoutArg::Streaming => Layout::Streaming,
        },
        choose: &|message, index| wish.choice(message, index),
        threads: None,
        progress: &|bytes| bar.add(bytes),
    };
    let name = args.output.display().to_string();
    let new = NewFile::create(&args.output)?;
    let (new, done) = files::convert(&*source, name.as_str(), new, &options)?;
    new.commit()?;
    drop(bar);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{name}: {}, {} ({} encoded anew), {} of {}",
        count(done.messages, "message"),
        count(done.objects, "object"),
        done.encoded,
        size(done.bytes),
        size(source.len()),
    )
    .and_then(|()| out.flush())
    .map_err(CliError::output)
}

/// What is to become of objects.
struct Wish<'a> {
    args: &'a ConvertArgs,
    compression: Option<Compression>,
    mask_method: Option<MaskMethod>,
    /// Whether something is lost by it.
    lossy: bool,
}

impl<'a> Wish<'a> {
    fn of(args: &'a ConvertArgs) -> Result<Self, CliError> {
        if args.encoding == Some(EncodingArg::SimplePacking) && args.bits.is_none() {
            return Err(CliError::Usage("--encoding simple_packing takes --bits N".into()));
        }
        if args.encoding != Some(EncodingArg::SimplePacking)
            && (args.bits.is_some() || args.decimal.is_some())
        {
            return Err(CliError::Usage("--bits and --decimal go with --encoding simple_packing".into()));
        }
        let compression = compression(args)?;
        let mask_method = args.mask_method.as_deref().map(|name| {
            let none = Place::file("--mask-method");
            MaskMethod::parse(name, &Map::new(), &none).map_err(|e| CliError::Usage(e.to_string()))
        });
        let lossy = args.encoding == Some(EncodingArg::SimplePacking)
            || matches!(compression, Some(Compression::Zfp(_) | Compression::Sz3 { .. }));
        Ok(Self { args, compression, mask_method: mask_method.transpose()?, lossy })
    }

    fn choice(&self, message: &Message, index: usize) -> Result<Choice> {
        let name = ObjectName::of(message, index);
        let only = &self.args.only;
        if (only.is_empty() && self.lossy && name.coordinate)
            || (!only.is_empty() && !only.contains(&name.name))
        {
            return Ok(Choice::Keep);
        }
        let object = &message.objects[index];
        let now = Spec::from_descriptor(&object.descriptor, &object.place)?;
        let wanted = self.applied(now.clone());
        Ok(if wanted == now { Choice::Keep } else { Choice::Encode(wanted) })
    }

    /// The pipeline that `spec` becomes.
    fn applied(&self, mut spec: Spec) -> Spec {
        let args = self.args;
        spec.encoding = match (args.encoding, spec.encoding) {
            (None, now) => now,
            (Some(EncodingArg::None), _) => Encoding::None,
            (Some(EncodingArg::SimplePacking), now) => {
                let (bits, decimal) = (args.bits.unwrap_or(0), args.decimal.unwrap_or(0));
                match now {
                    // The same numbers: with the scales that they have, nothing is rounded twice.
                    Encoding::SimplePacking(now) if (now.bits, now.decimal) == (bits, decimal) => {
                        Encoding::SimplePacking(now)
                    }
                    _ => Encoding::SimplePacking(Packing { bits, decimal, scales: None }),
                }
            }
        };
        let width = match spec.encoding {
            Encoding::SimplePacking(packing) => packing.bits.div_ceil(8),
            Encoding::None => spec.dtype.width().unwrap_or(1) as u64,
        };
        match args.filter {
            None => {}
            Some(FilterArg::None) => spec.filter = Filter::None,
            Some(FilterArg::Shuffle) => spec.filter = Filter::Shuffle(width.max(1)),
        }
        spec.compression = self.compression.unwrap_or(spec.compression);
        match args.byte_order {
            None => {}
            Some(ByteOrderArg::Little) => spec.byte_order = ByteOrder::Little,
            Some(ByteOrderArg::Big) => spec.byte_order = ByteOrder::Big,
        }
        spec.masks.allow_nan |= args.allow_nan;
        spec.masks.allow_inf |= args.allow_inf;
        spec.masks.methods = self.mask_method.map_or(spec.masks.methods, |method| [method; 3]);
        spec.masks.small_mask_bytes = args.small_masks.unwrap_or(spec.masks.small_mask_bytes);
        spec
    }
}

/// The compression that was asked for, if any.
fn compression(args: &ConvertArgs) -> Result<Option<Compression>, CliError> {
    let usage = |what: &str| CliError::Usage(what.into());
    let bound = &args.bound;
    let zfp = (bound.zfp_rate.map(ZfpMode::FixedRate))
        .or(bound.zfp_precision.map(ZfpMode::FixedPrecision))
        .or(bound.zfp_tolerance.map(ZfpMode::FixedAccuracy));
    let sz3 = (bound.sz3_abs.map(|bound| (Sz3Mode::Abs, bound)))
        .or(bound.sz3_rel.map(|bound| (Sz3Mode::Rel, bound)))
        .or(bound.sz3_psnr.map(|bound| (Sz3Mode::Psnr, bound)));
    let wanted = args.compression;
    if zfp.is_some() && wanted != Some(CompressionArg::Zfp) {
        return Err(usage("--zfp-... goes with --compression zfp"));
    }
    if sz3.is_some() && wanted != Some(CompressionArg::Sz3) {
        return Err(usage("--sz3-... goes with --compression sz3"));
    }
    if args.level.is_some() && !matches!(wanted, Some(CompressionArg::Zstd | CompressionArg::Blosc2)) {
        return Err(usage("--level goes with --compression zstd or blosc2"));
    }
    if args.blosc2_codec.is_some() && wanted != Some(CompressionArg::Blosc2) {
        return Err(usage("--blosc2-codec goes with --compression blosc2"));
    }
    let Some(wanted) = wanted else { return Ok(None) };
    Ok(Some(match wanted {
        CompressionArg::None => Compression::None,
        CompressionArg::Lz4 => Compression::Lz4,
        CompressionArg::Rle => Compression::Rle,
        CompressionArg::Roaring => Compression::Roaring,
        CompressionArg::Zstd => Compression::Zstd { level: args.level },
        CompressionArg::Blosc2 => {
            let codec = args.blosc2_codec.as_deref().map(|name| {
                Blosc2Codec::parse(name)
                    .ok_or_else(|| usage("--blosc2-codec is blosclz, lz4, lz4hc, zlib or zstd"))
            });
            Compression::Blosc2 { codec: codec.transpose()?, level: args.level }
        }
        CompressionArg::Szip => {
            Compression::Szip { rsi: args.szip_rsi, block_size: args.szip_block, flags: AEC_PREPROCESS }
        }
        CompressionArg::Zfp => Compression::Zfp(zfp.ok_or_else(|| {
            usage("--compression zfp takes --zfp-rate, --zfp-precision or --zfp-tolerance")
        })?),
        CompressionArg::Sz3 => {
            let (mode, bound) =
                sz3.ok_or_else(|| usage("--compression sz3 takes --sz3-abs, --sz3-rel or --sz3-psnr"))?;
            Compression::Sz3 { mode, bound }
        }
    }))
}

/// The AEC flag that has samples predicted from those before them.
const AEC_PREPROCESS: u64 = 8;
