//! Cells that go to consecutive groups, or to groups by a code for each.

use super::cell::Cell;
use super::run::compact;
use super::state::{State, two_sum};

/// Cells that are added at once: few enough to stay in the first-level cache between passes.
const TILE: usize = 1024;

/// Adds cell `i` to group `first + i`; where `keep` is given, only those whose entry is true.
#[inline(always)]
pub(super) fn add<T: Cell, const TOTAL: bool>(
    state: &mut State<T>,
    mut first: usize,
    cells: &[T],
    mut keep: Option<&[bool]>,
) {
    for tile in cells.chunks(TILE) {
        let keep_tile = keep.map(|keep| &keep[..tile.len()]);
        keep = keep.map(|keep| &keep[tile.len()..]);
        let any_nan = T::FLOAT && !TOTAL && tile.iter().fold(false, |any, cell| any | cell.is_nan());
        if any_nan || keep_tile.is_some() {
            let mut valid = [true; TILE];
            let valid = &mut valid[..tile.len()];
            valid.copy_from_slice(keep_tile.unwrap_or(&[true; TILE][..tile.len()]));
            if any_nan {
                valid.iter_mut().zip(tile).for_each(|(valid, cell)| *valid &= !cell.is_nan());
            }
            tile_of::<T, TOTAL>(state, first, tile, |i| valid[i]);
            for (count, &valid) in state.counts[first..].iter_mut().zip(valid.iter()) {
                *count += u64::from(valid);
            }
        } else {
            tile_of::<T, TOTAL>(state, first, tile, |_| true);
            if state.m2.is_some() {
                state.counts[first..first + tile.len()].iter_mut().for_each(|count| *count += 1);
            } else {
                state.count_each(first, tile.len());
            }
        }
        first += tile.len();
    }
}

/// Adds a tile to everything but the counts.
#[inline(always)]
fn tile_of<T: Cell, const TOTAL: bool>(
    state: &mut State<T>,
    first: usize,
    tile: &[T],
    valid: impl Fn(usize) -> bool,
) {
    let groups = first..first + tile.len();
    if let Some(float) = &mut state.float {
        let sums = &mut float.near[groups.clone()];
        for (i, (sum, cell)) in sums.iter_mut().zip(tile).enumerate() {
            *sum += if valid(i) { cell.to_f64() } else { 0.0 };
        }
        if let Some(m2) = &mut state.m2 {
            let cells =
                m2[groups.clone()].iter_mut().zip(&state.counts[groups.clone()]).zip(sums.iter().zip(tile));
            for (i, ((m2, &count), (&sum, cell))) in cells.enumerate() {
                let more = spread(count, sum, cell.to_f64());
                *m2 += if valid(i) { more } else { 0.0 };
            }
        }
    }
    if let Some(int) = &mut state.int {
        int.make_room(tile.len());
        if T::NARROW {
            for (i, (sum, cell)) in int.near[groups.clone()].iter_mut().zip(tile).enumerate() {
                *sum += if valid(i) { cell.to_i64() } else { 0 };
            }
        } else {
            for (i, (sum, cell)) in int.far[groups.clone()].iter_mut().zip(tile).enumerate() {
                *sum += if valid(i) { cell.to_i128() } else { 0 };
            }
        }
    }
    if let Some(mins) = &mut state.mins {
        for (i, (min, &cell)) in mins[groups.clone()].iter_mut().zip(tile).enumerate() {
            *min = if valid(i) & cell.below::<TOTAL>(*min) { cell } else { *min };
        }
    }
    if let Some(maxs) = &mut state.maxs {
        for (i, (max, &cell)) in maxs[groups].iter_mut().zip(tile).enumerate() {
            *max = if valid(i) & cell.above::<TOTAL>(*max) { cell } else { *max };
        }
    }
}

/// What one more value adds to the sum of squared deviations (Youngs and Cramer): `count` values were there
/// before it, and `sum` includes it.
#[inline(always)]
fn spread(count: u64, sum: f64, value: f64) -> f64 {
    let (before, after) = (count as f64, (count + 1) as f64);
    let deviation = after * value - sum;
    let more = deviation * deviation / (after * before);
    if count == 0 { 0.0 * deviation } else { more }
}

/// Adds cell `i` to group `base + codes[i]`; where `keep` is given, only those whose entry is true.
#[inline(always)]
pub(super) fn scatter<T: Cell, const TOTAL: bool>(
    state: &mut State<T>,
    base: usize,
    codes: &[u32],
    cells: &[T],
    mut keep: Option<&[bool]>,
) {
    let mut kept_cells = [T::default(); TILE];
    let mut kept_codes = [0u32; TILE];
    for (tile, codes) in cells.chunks(TILE).zip(codes.chunks(TILE)) {
        let keep_tile = keep.map(|keep| &keep[..tile.len()]);
        keep = keep.map(|keep| &keep[tile.len()..]);
        let any_nan = T::FLOAT && !TOTAL && tile.iter().fold(false, |any, cell| any | cell.is_nan());
        if any_nan || keep_tile.is_some() {
            let mut valid = [true; TILE];
            let valid = &mut valid[..tile.len()];
            valid.copy_from_slice(keep_tile.unwrap_or(&[true; TILE][..tile.len()]));
            if any_nan {
                valid.iter_mut().zip(tile).for_each(|(valid, cell)| *valid &= !cell.is_nan());
            }
            let len = compact(tile, valid, &mut kept_cells);
            let mut at = 0;
            for (&code, &valid) in codes.iter().zip(valid.iter()) {
                if let Some(slot) = kept_codes.get_mut(at) {
                    *slot = code;
                }
                at += usize::from(valid);
            }
            scatter_tile::<T, TOTAL>(state, base, &kept_codes[..len], &kept_cells[..len]);
        } else {
            scatter_tile::<T, TOTAL>(state, base, codes, tile);
        }
    }
}

#[inline(always)]
fn scatter_tile<T: Cell, const TOTAL: bool>(state: &mut State<T>, base: usize, codes: &[u32], tile: &[T]) {
    if let Some(float) = &mut state.float {
        let (near, rest) = (&mut float.near[base..], &mut float.rest[base..]);
        let mut m2 = state.m2.as_mut().map(|m2| (&mut m2[base..], &mut state.counts[base..]));
        for (&code, cell) in codes.iter().zip(tile) {
            let (group, value) = (code as usize, cell.to_f64());
            let (sum, lost) = two_sum(near[group], value);
            near[group] = sum;
            rest[group] += lost;
            if let Some((m2, counts)) = &mut m2 {
                m2[group] += spread(counts[group], sum, value);
                counts[group] += 1;
            }
        }
    }
    if state.m2.is_none() {
        let counts = &mut state.counts[base..];
        codes.iter().for_each(|&code| counts[code as usize] += 1);
    }
    if let Some(int) = &mut state.int {
        int.make_room(tile.len());
        if T::NARROW {
            let sums = &mut int.near[base..];
            codes.iter().zip(tile).for_each(|(&code, cell)| sums[code as usize] += cell.to_i64());
        } else {
            let sums = &mut int.far[base..];
            codes.iter().zip(tile).for_each(|(&code, cell)| sums[code as usize] += cell.to_i128());
        }
    }
    if let Some(mins) = &mut state.mins {
        let mins = &mut mins[base..];
        for (&code, &cell) in codes.iter().zip(tile) {
            let min = &mut mins[code as usize];
            *min = if cell.below::<TOTAL>(*min) { cell } else { *min };
        }
    }
    if let Some(maxs) = &mut state.maxs {
        let maxs = &mut maxs[base..];
        for (&code, &cell) in codes.iter().zip(tile) {
            let max = &mut maxs[code as usize];
            *max = if cell.above::<TOTAL>(*max) { cell } else { *max };
        }
    }
}
