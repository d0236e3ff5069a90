//! Masks behind the payload (section 4.11 of the format).

use super::super::spec::{MaskMethod, MaskOptions};
use super::super::windows::Fault;
use super::super::{bits, blosc2, lz4};
use super::compress::ZstdEncoder;
use super::scan::Found;
use crate::tgm::MaskEntry;

/// Appends the masks of `len` elements to the payload in `region`, in the order of their kinds.
pub(super) fn append(
    options: &MaskOptions,
    found: &Option<Found>,
    len: u64,
    zstd: &mut ZstdEncoder,
    region: &mut Vec<u8>,
) -> Result<Vec<MaskEntry>, Fault> {
    let small = len.div_ceil(8) <= options.small_mask_bytes;
    let mut entries = Vec::new();
    for (kind, set) in found.iter().flat_map(Found::sets) {
        let method = if small { MaskMethod::None } else { options.methods[kind as usize] };
        let offset = region.len() as u64;
        blob(method, set, len, zstd, region)?;
        entries.push(MaskEntry {
            kind,
            method: method.name().into(),
            offset,
            length: region.len() as u64 - offset,
            params: method.params(),
        });
    }
    Ok(entries)
}

fn blob(
    method: MaskMethod,
    set: &[u8],
    len: u64,
    zstd: &mut ZstdEncoder,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let fault = |what: String| Fault::new("mask", what);
    match method {
        MaskMethod::None => {
            out.extend_from_slice(set);
            Ok(())
        }
        MaskMethod::Rle => {
            bits::encode_rle(set, len, out);
            Ok(())
        }
        MaskMethod::Roaring => bits::encode_roaring(set, len, out).map_err(fault),
        MaskMethod::Lz4 => lz4::encode(set, out).map_err(fault),
        MaskMethod::Zstd { level } => zstd.encode(set, level, out),
        MaskMethod::Blosc2 { codec, level } => {
            blosc2::encode(set, 1, blosc2::Shuffle::Bits, codec, level as u8, out).map_err(fault)
        }
    }
}
