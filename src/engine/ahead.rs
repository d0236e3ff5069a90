//! What will be read, told to files beforehand, so that reading overlaps decoding.
//!
//! Of files at hand only objects that are decoded whole are told: uncompressed ones are read as fast as they come, and of
//! ranges it isn't known beforehand where in the object they are. Files that have to be fetched are told whatever will be.

use crate::dataset::Variable;
use crate::tensor::{Parts, Place};

/// Encoded bytes that are told beyond those that were read.
pub(crate) const BUDGET: u64 = 8 << 20;
/// What telling of a chunk counts for at least, so that there is a bound on the number, too.
const LEAST: u64 = 16 << 10;

/// What so many bytes of one chunk count for.
pub(crate) fn weight(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { bytes.max(LEAST) }
}

/// The place that is number `at`.
pub(crate) fn nth(parts: &Parts, at: u64) -> Option<Place> {
    parts.numbers(at..at + 1).next()
}

/// Tells the file of the chunk of the part of `variable` with number `at` what will be read of it, if that is known;
/// objects are decoded whole where more than `range_threshold` of them is wanted. Returns what it counts for.
pub(crate) fn tell(variable: &Variable, parts: &Parts, at: u64, range_threshold: f64) -> u64 {
    let Some(place) = nth(parts, at).filter(|place| place.kept > 0) else { return 0 };
    let Some(facts) = variable.chunks.facts(place.chunk) else { return 0 };
    if !variable.chunks.is_at_hand(place.chunk) {
        return weight(parts.get(at).map_or(0, |part| variable.announce(&part, range_threshold)));
    }
    let few = place.kept as f64 <= range_threshold * facts.elements as f64;
    let decoded = facts.elements.saturating_mul(variable.dtype.width().unwrap_or(1) as u64);
    if (facts.seeks && few) || facts.bytes >= decoded {
        return 0;
    }
    variable.chunks.will_need(place.chunk);
    weight(facts.bytes)
}
