//! Encoding, by the library.

use super::{Algorithm, Stream, decode};
use crate::codec::scratch::AlignedBuf;
use crate::codec::spec::Sz3Mode;
use crate::codec::stream::ZstdContext;
use tensogram_sz3::{Config, DimensionedData, ErrorBound, compress_into_with_config};

/// Values that are further apart, in error bounds, are looked at once more: the library counts steps in 64 bits and
/// doesn't notice when there are more.
const WIDE: f64 = (1_u64 << 60) as f64;

/// Appends the stream of `values`, all of them numbers, at least one, to `out`.
///
/// # Errors
/// Values that the library doesn't keep within the bound.
pub(in crate::codec) fn encode(
    values: &[f64],
    mode: Sz3Mode,
    bound: f64,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let bound = match mode {
        Sz3Mode::Abs => ErrorBound::Absolute(bound),
        Sz3Mode::Rel => ErrorBound::Relative(bound),
        Sz3Mode::Psnr => ErrorBound::PSNR(bound),
    };
    let data = DimensionedData::<f64, _>::build(&values);
    let data = data.dim(values.len()).and_then(|data| data.finish()).map_err(|e| e.to_string())?;
    let start = out.len();
    compress_into_with_config(&data, &Config::new(bound), out).map_err(|e| e.to_string())?;
    let stream = Stream::parse(&out[start..])?;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if stream.algorithm == Algorithm::Lossless || most - least < WIDE * stream.bound {
        return Ok(());
    }
    let bound = stream.bound;
    let mut decoded = vec![0; size_of_val(values)];
    decode(&out[start..], false, &mut ZstdContext::default(), &mut AlignedBuf::default(), &mut decoded)?;
    let decoded = decoded.as_chunks().0.iter().map(|value| f64::from_ne_bytes(*value));
    let outside = |error: f64| error.is_nan() || error > bound;
    match decoded.zip(values).find(|(decoded, value)| outside((decoded - *value).abs())) {
        None => Ok(()),
        Some((decoded, value)) => Err(format!("{value} came back as {decoded}, with a bound of {bound}")),
    }
}
