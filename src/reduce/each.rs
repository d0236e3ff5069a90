//! Cells that go to consecutive groups, or to groups by a code for each.

use super::cell::Cell;
use super::state::{State, two_sum};

/// Rows of cells with the same codes from which on they are added column by column.
const ROWS: usize = if cfg!(test) { 3 } else { 8 };

/// Cells that are added at once: few enough to stay in the first-level cache between passes.
const TILE: usize = 1024;

/// Adds cell `i` to group `first + i`; where `keep` is given, only those whose entry is true.
#[inline(always)]
pub(super) fn add<T: Cell>(state: &mut State<T>, mut first: usize, cells: &[T], mut keep: Option<&[bool]>) {
    for tile in cells.chunks(TILE) {
        let keep_tile = keep.map(|keep| &keep[..tile.len()]);
        keep = keep.map(|keep| &keep[tile.len()..]);
        let any_nan = T::FLOAT && !state.total && tile.iter().fold(false, |any, cell| any | cell.is_nan());
        if any_nan || keep_tile.is_some() {
            let mut valid = [true; TILE];
            let valid = &mut valid[..tile.len()];
            valid.copy_from_slice(keep_tile.unwrap_or(&[true; TILE][..tile.len()]));
            if any_nan {
                valid.iter_mut().zip(tile).for_each(|(valid, cell)| *valid &= !cell.is_nan());
            }
            tile_of(state, first, tile, |i| valid[i]);
            for (count, &valid) in state.counts[first..].iter_mut().zip(valid.iter()) {
                *count += u64::from(valid);
            }
        } else {
            tile_of(state, first, tile, |_| true);
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
fn tile_of<T: Cell>(state: &mut State<T>, first: usize, tile: &[T], valid: impl Fn(usize) -> bool) {
    let groups = first..first + tile.len();
    if let Some(float) = &mut state.float {
        let sums = &mut float.near[groups.clone()];
        for (i, (sum, cell)) in sums.iter_mut().zip(tile).enumerate() {
            *sum += if valid(i) { cell.to_f64() } else { 0.0 };
        }
        if let Some(m2) = &mut state.m2 {
            let (m2, counts) = (&mut m2[groups.clone()], &state.counts[groups.clone()]);
            let count = counts.first().copied().unwrap_or(0);
            if counts.iter().fold(true, |same, &other| same & (other == count)) {
                let spread = Spread::after(count);
                for (i, (m2, (&sum, cell))) in m2.iter_mut().zip(sums.iter().zip(tile)).enumerate() {
                    *m2 += if valid(i) { spread.of(sum, cell.to_f64()) } else { 0.0 };
                }
            } else {
                let cells = m2.iter_mut().zip(counts).zip(sums.iter().zip(tile));
                for (i, ((m2, &count), (&sum, cell))) in cells.enumerate() {
                    *m2 += if valid(i) { Spread::after(count).of(sum, cell.to_f64()) } else { 0.0 };
                }
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
            *min = if valid(i) { cell.key().min(*min) } else { *min };
        }
    }
    if let Some(maxs) = &mut state.maxs {
        for (i, (max, &cell)) in maxs[groups].iter_mut().zip(tile).enumerate() {
            *max = if valid(i) { cell.key().max(*max) } else { *max };
        }
    }
}

/// What one more value adds to the sum of squared deviations (Youngs and Cramer), after so many others.
#[derive(Clone, Copy)]
struct Spread {
    /// Values, with the new one.
    count: f64,
    /// The reciprocal of `count * (count - 1)`; 0 for a first value, whose deviation is 0, or NaN if it is
    /// infinite.
    scale: f64,
}

impl Spread {
    #[inline(always)]
    fn after(count: u64) -> Self {
        let (before, count) = (count as f64, (count + 1) as f64);
        Self { count, scale: if before > 0.0 { 1.0 / (count * before) } else { 0.0 } }
    }

    /// For the new `value`, which `sum` includes.
    #[inline(always)]
    fn of(self, sum: f64, value: f64) -> f64 {
        let deviation = self.count * value - sum;
        deviation * deviation * self.scale
    }
}

/// Adds cell `i` to group `base + codes[(at + i) % codes.len()]`; where `keep` is given, only those whose entry is
/// true. Many rows of the codes are first added cell by cell to `columns`, one for each code, for that takes no
/// lookups; the columns then go to their groups.
#[inline(always)]
pub(super) fn table<T: Cell>(
    state: &mut State<T>,
    columns: &mut Option<State<T>>,
    base: usize,
    (codes, at): (&[u32], usize),
    cells: &[T],
    keep: Option<&[bool]>,
) {
    let by_columns = cells.len() >= ROWS * codes.len();
    if by_columns && columns.as_ref().is_none_or(|columns| columns.counts.len() != codes.len()) {
        *columns = Some(State::new(codes.len(), state.wants, state.total));
    }
    let mut columns = columns.as_mut().filter(|_| by_columns);
    let (mut at, mut from) = (at, 0);
    while from < cells.len() {
        let to = cells.len().min(from + codes.len() - at);
        let (row, keep) = (&cells[from..to], keep.map(|keep| &keep[from..to]));
        match &mut columns {
            Some(columns) => add(columns, at, row, keep),
            None => scatter(state, base, &codes[at..at + row.len()], row, keep),
        }
        (at, from) = (0, to);
    }
    if let Some(columns) = columns {
        state.merge(columns, &|column| base + codes[column] as usize);
        columns.clear();
    }
}

/// Adds cell `i` to group `base + codes[i]`; where `keep` is given, only those whose entry is true. Lookups keep
/// vector units idle, so there is one version of this.
pub(super) fn scatter<T: Cell>(
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
        let any_nan = T::FLOAT && !state.total && tile.iter().fold(false, |any, cell| any | cell.is_nan());
        if any_nan || keep_tile.is_some() {
            let mut valid = [true; TILE];
            let valid = &mut valid[..tile.len()];
            valid.copy_from_slice(keep_tile.unwrap_or(&[true; TILE][..tile.len()]));
            if any_nan {
                valid.iter_mut().zip(tile).for_each(|(valid, cell)| *valid &= !cell.is_nan());
            }
            let len = compact(tile, valid, &mut kept_cells);
            compact(codes, valid, &mut kept_codes);
            scatter_tile(state, base, &kept_codes[..len], &kept_cells[..len]);
        } else {
            scatter_tile(state, base, codes, tile);
        }
    }
}

fn scatter_tile<T: Cell>(state: &mut State<T>, base: usize, codes: &[u32], tile: &[T]) {
    if let Some(float) = &mut state.float {
        let (near, rest) = float.both();
        let (near, rest) = (&mut near[base..], &mut rest[base..]);
        let mut m2 = state.m2.as_mut().map(|m2| (&mut m2[base..], &mut state.counts[base..]));
        for (&code, cell) in codes.iter().zip(tile) {
            let (group, value) = (code as usize, cell.to_f64());
            let (sum, lost) = two_sum(near[group], value);
            near[group] = sum;
            rest[group] += lost;
            if let Some((m2, counts)) = &mut m2 {
                m2[group] += Spread::after(counts[group]).of(sum, value);
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
            *min = cell.key().min(*min);
        }
    }
    if let Some(maxs) = &mut state.maxs {
        let maxs = &mut maxs[base..];
        for (&code, &cell) in codes.iter().zip(tile) {
            let max = &mut maxs[code as usize];
            *max = cell.key().max(*max);
        }
    }
}

/// Moves the kept cells to the front of `kept`; their number.
fn compact<T: Copy, const N: usize>(cells: &[T], keep: &[bool], kept: &mut [T; N]) -> usize {
    let mut len = 0;
    for (&cell, &keep) in cells.iter().zip(keep) {
        if let Some(slot) = kept.get_mut(len) {
            *slot = cell;
        }
        len += usize::from(keep);
    }
    len.min(N)
}
