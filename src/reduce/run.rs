//! Cells that all go to one group.
//!
//! A few cells are reduced in one pass, which is inlined where it is needed. Many are reduced tile by tile, in a pass
//! for each thing that is wanted, over cells that stay in the first-level cache ([`super::passes`]). Cells that don't
//! count, for a mask or being NaN, are replaced by one that changes nothing, so that no pass has to look for them.

use super::Wants;
use super::cell::Cell;
use super::passes::{self, Pass, TILE};
use super::state::{Partial, State, two_product, two_sum};

/// Columns for a few cells.
const FEW: usize = 8;

/// Fewer cells are a few.
const SHORT: usize = 128;

/// The same, where there are squares.
const SHORT_SQUARES: usize = 48;

/// Squared deviations from a value near the mean are moved to the mean if that takes no more than this share of
/// them, which costs three bits at most; else they are computed again, from the mean as it was rounded.
const NEAR: f64 = 0.875;

/// Adds `cells` to `group`; where `keep` is given, only those whose entry is true.
#[inline(always)]
pub(super) fn add<T: Cell>(state: &mut State<T>, group: usize, cells: &[T], keep: Option<&[bool]>) {
    match if keep.is_none() { few(state, cells) } else { None } {
        Some(partial) => state.fold(group, &partial),
        None => state.fold(group, &many(state, cells, keep)),
    }
}

/// The state of a few cells; `None` if they are more than a few, or need a closer look.
#[inline(always)]
fn few<T: Cell>(state: &State<T>, cells: &[T]) -> Option<Partial<T>> {
    let Wants { min, max, moments, .. } = state.wants;
    match (moments, min || max) {
        (true, _) if cells.len() < SHORT_SQUARES => of_few::<T, true, true>(cells),
        (false, true) if cells.len() < SHORT => of_few::<T, false, true>(cells),
        (false, false) if cells.len() < SHORT => of_few::<T, false, false>(cells),
        _ => None,
    }
}

/// `None` if there are NaN or infinities, or if squared deviations aren't to be had from the first cell.
#[inline(always)]
fn of_few<T: Cell, const SQUARES: bool, const EXTREMES: bool>(cells: &[T]) -> Option<Partial<T>> {
    let near = if SQUARES { cells.first()?.to_f64() } else { 0.0 };
    let pass = Pass::of::<T, FEW, SQUARES, EXTREMES>(cells, near);
    let mut partial = Partial { count: cells.len() as u64, ..Partial::empty() };
    if EXTREMES {
        (partial.min, partial.max) = pass.extremes;
    }
    if SQUARES {
        partial.of_deviations(near, pass.sum, pass.squares)?;
    } else {
        partial.sum = pass.sum;
    }
    if !T::FLOAT {
        partial.exact = T::sum_exact(cells);
        (partial.sum, partial.rest) = (partial.exact as f64, 0.0);
    }
    partial.sum.is_finite().then_some(partial)
}

/// The state of any number of cells.
pub(super) fn many<T: Cell>(state: &State<T>, cells: &[T], keep: Option<&[bool]>) -> Partial<T> {
    let (wants, skip) = (state.wants, T::FLOAT && !state.total);
    let mut sum = Partial::<T>::empty();
    // Where cells are replaced; where one tile has NaN, the next one is expected to.
    let mut room = None;
    for (nth, tile) in cells.chunks(TILE).enumerate() {
        let plain = match tile.first() {
            Some(&first) if keep.is_none() && room.is_none() => {
                let near = if sum.count == 0 { first } else { T::of_f64(sum.sum / sum.count as f64) };
                of_tile(&mut Plain(tile), wants, near, near, skip)
            }
            _ => None,
        };
        let partial = plain.or_else(|| {
            let keep = keep.map(|keep| &keep[nth * TILE..][..tile.len()]);
            let room = room.get_or_insert_with(|| [T::default(); TILE]);
            let (mut sieve, first) = Sieve::new(tile, keep, skip, wants, room)?;
            of_tile(&mut sieve, wants, first, first, false)
        });
        if let Some(partial) = partial {
            sum.append(&partial, wants);
        }
    }
    sum
}

/// Cells of a tile.
trait Tile<T> {
    /// How many count.
    fn count(&self) -> u64;
    /// The cells, with those that don't count replaced by `filler`.
    fn with(&mut self, filler: T) -> &[T];
}

/// All of them count.
struct Plain<'a, T>(&'a [T]);

impl<T> Tile<T> for Plain<'_, T> {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn with(&mut self, _: T) -> &[T] {
        self.0
    }
}

/// Those count that are kept and, where NaN is skipped, no NaN.
struct Sieve<'a, T> {
    tile: &'a [T],
    keep: Option<&'a [bool]>,
    skip: bool,
    count: u64,
    filler: T,
    filled: &'a mut [T; TILE],
}

impl<'a, T: Cell> Sieve<'a, T> {
    /// With the first cell that counts; `None` if there is none.
    fn new(
        tile: &'a [T],
        keep: Option<&'a [bool]>,
        skip: bool,
        wants: Wants,
        filled: &'a mut [T; TILE],
    ) -> Option<(Self, T)> {
        let counts = |(at, cell): &(usize, &T)| keep.is_none_or(|keep| keep[*at]) && !(skip && cell.is_nan());
        let (_, &first) = tile.iter().enumerate().find(counts)?;
        // What the first pass asks for.
        let filler = if wants.moments || !wants.sum { first } else { T::default() };
        let count = passes::fill(tile, keep, skip, filler, filled);
        Some((Self { tile, keep, skip, count, filler, filled }, first))
    }
}

impl<T: Cell> Tile<T> for Sieve<'_, T> {
    fn count(&self) -> u64 {
        self.count
    }

    fn with(&mut self, filler: T) -> &[T] {
        if filler.key() != self.filler.key() {
            passes::fill(self.tile, self.keep, self.skip, filler, self.filled);
            self.filler = filler;
        }
        &self.filled[..self.tile.len()]
    }
}

/// The state of a tile whose mean may be somewhere `near`; `real` is one of the cells that count. With `skip`, `None`
/// if there may be a NaN among them.
fn of_tile<T: Cell>(
    tile: &mut impl Tile<T>,
    wants: Wants,
    near: T,
    real: T,
    skip: bool,
) -> Option<Partial<T>> {
    let (zero, mut extremes) = (T::default(), wants.min || wants.max);
    let mut partial = Partial { count: tile.count(), ..Partial::empty() };
    if wants.moments {
        let mut from = if near.to_f64().is_finite() { near } else { zero };
        // All in one pass, where what deviations are taken from is a real cell.
        let joint = extremes && from.key() == real.key();
        let mut pass = match joint {
            true => T::squares::<true>(tile.with(from), from.to_f64()),
            false => T::squares::<false>(tile.with(from), from.to_f64()),
        };
        if skip && pass.sum.is_nan() {
            return None;
        }
        if joint {
            (partial.min, partial.max) = pass.extremes;
            extremes = false;
        }
        if !pass.sum.is_finite() && from != zero {
            // There are infinities, or deviations that leave the range of floats: sums are of the values then.
            from = zero;
            pass = T::squares::<false>(tile.with(from), 0.0);
        }
        if partial.of_deviations(from.to_f64(), pass.sum, pass.squares).is_none() {
            let mean = T::of_f64((partial.sum + partial.rest) / partial.count as f64);
            let Pass { sum, squares, .. } = T::squares::<false>(tile.with(mean), mean.to_f64());
            partial.m2 = squares - sum * (sum / partial.count as f64);
        }
    } else if wants.sum || !extremes {
        partial.sum = T::sum(tile.with(zero));
        if skip && partial.sum.is_nan() {
            return None;
        }
    }
    if extremes {
        (partial.min, partial.max) = passes::extremes(tile.with(real));
        if skip && [partial.min, partial.max].into_iter().any(|key| T::of_key(key).is_nan()) {
            return None;
        }
    }
    if !T::FLOAT && (wants.sum || wants.moments) {
        partial.exact = passes::exact(tile.with(zero));
        (partial.sum, partial.rest) = (partial.exact as f64, 0.0);
    }
    Some(partial)
}

impl<T: Cell> Partial<T> {
    /// Takes sum and squared deviations from those from `near`, of all its cells. `None` if squared deviations from
    /// the mean can't be had from them; the sum is sound all the same.
    #[inline(always)]
    fn of_deviations(&mut self, near: f64, sum: f64, squares: f64) -> Option<()> {
        let n = self.count as f64;
        (self.sum, self.rest) = (sum, 0.0);
        if near != 0.0 {
            let (base, rest) = two_product(n, near);
            let (total, lost) = two_sum(base, sum);
            (self.sum, self.rest) = (total, rest + lost);
        }
        let moved = sum * (sum / n);
        self.m2 = squares - moved;
        (moved <= NEAR * squares || !moved.is_finite()).then_some(())
    }
}
