//! What is remembered of each group.

use super::cell::Cell;
use super::{Moments, Sums, Wants};
use std::borrow::Cow;

/// A sum of two floats, and what rounding took from it.
#[inline(always)]
pub(super) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// A product of two floats, and what rounding took from it.
#[inline(always)]
pub(super) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

/// A compensated sum: its running value and the collected rounding errors.
#[inline(always)]
pub(super) fn total(near: f64, rest: f64) -> f64 {
    // Once the sum is infinite or NaN the errors are NaN and mean nothing.
    if near.is_finite() { near + rest } else { near }
}

/// The state of some cells that all belong to one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial<T: Cell> {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) rest: f64,
    pub(super) exact: i128,
    /// Key of the smallest cell; [`Cell::TOP`] if there is none.
    pub(super) min: T::Key,
    /// Key of the largest cell; [`Cell::BOTTOM`] if there is none.
    pub(super) max: T::Key,
    pub(super) m2: f64,
}

impl<T: Cell> Partial<T> {
    #[inline(always)]
    pub(super) fn empty() -> Self {
        Self { count: 0, sum: 0.0, rest: 0.0, exact: 0, min: T::TOP, max: T::BOTTOM, m2: 0.0 }
    }

    /// Adds `other`, in what is wanted of it.
    #[inline(always)]
    pub(super) fn append(&mut self, other: &Self, wants: Wants) {
        if self.count == 0 {
            *self = *other;
            return;
        }
        if other.count == 0 {
            return;
        }
        if wants.moments {
            self.m2 = merge_m2(
                (self.count, total(self.sum, self.rest), self.m2),
                (other.count, total(other.sum, other.rest), other.m2),
            );
        }
        let (sum, lost) = two_sum(self.sum, other.sum);
        self.sum = sum;
        self.rest += lost + other.rest;
        self.count += other.count;
        self.exact += other.exact;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// The sum of squared deviations of two sets of values from their common mean (Chan, Golub and LeVeque), each
/// set given as (count, sum, sum of squared deviations from its own mean); the second isn't empty.
#[inline(always)]
pub(super) fn merge_m2(a: (u64, f64, f64), b: (u64, f64, f64)) -> f64 {
    if a.0 == 0 {
        return b.2;
    }
    let (n, m) = (a.0 as f64, b.0 as f64);
    let delta = b.1 / m - a.1 / n;
    a.2 + b.2 + delta * delta * (n * (m / (n + m)))
}

/// Float sums, compensated where much is added to each.
#[derive(Debug, Clone)]
pub(super) struct FloatSums {
    pub(super) near: Vec<f64>,
    /// Empty while all sums were added up plainly.
    rest: Vec<f64>,
}

impl FloatSums {
    fn new(groups: usize) -> Self {
        Self { near: vec![0.0; groups], rest: Vec::new() }
    }

    /// Running values and collected errors.
    #[inline(always)]
    pub(super) fn both(&mut self) -> (&mut [f64], &mut [f64]) {
        if self.rest.len() < self.near.len() {
            self.rest.resize(self.near.len(), 0.0);
        }
        (&mut self.near, &mut self.rest)
    }

    /// The collected error of `group`.
    #[inline(always)]
    pub(super) fn rest(&self, group: usize) -> f64 {
        self.rest.get(group).copied().unwrap_or(0.0)
    }

    fn total(&self, group: usize) -> f64 {
        total(self.near[group], self.rest(group))
    }

    fn totals(&self) -> Cow<'_, [f64]> {
        if self.rest.is_empty() {
            return Cow::Borrowed(&self.near);
        }
        self.near.iter().zip(&self.rest).map(|(&near, &rest)| total(near, rest)).collect()
    }

    /// Adds each sum of `more`, which has as many, to the same one here.
    fn merge(&mut self, more: &Self) {
        if self.rest.is_empty() && more.rest.is_empty() {
            self.near.iter_mut().zip(&more.near).for_each(|(sum, more)| *sum += more);
            return;
        }
        let (near, rest) = self.both();
        for (group, (near, rest)) in near.iter_mut().zip(rest).enumerate() {
            let (sum, lost) = two_sum(*near, more.near[group]);
            *near = sum;
            *rest += lost + more.rest(group);
        }
    }
}

/// How many cells may be added to an `i64` before a sum of 32-bit values could leave it.
const ROOM: usize = 1 << 31;

/// Exact integer sums. Narrow cells are added to 64-bit sums that are carried over to 128 bits before they
/// could overflow.
#[derive(Debug, Clone)]
pub(super) struct IntSums {
    /// Empty for cells that aren't narrow.
    pub(super) near: Vec<i64>,
    /// Empty for narrow cells until the first carry.
    pub(super) far: Vec<i128>,
    added: usize,
}

impl IntSums {
    fn new(groups: usize, narrow: bool) -> Self {
        let (near, far) = if narrow { (groups, 0) } else { (0, groups) };
        Self { near: vec![0; near], far: vec![0; far], added: 0 }
    }

    /// Makes room for `cells` more narrow cells in any group; at most 2^31 at once.
    #[inline(always)]
    pub(super) fn make_room(&mut self, cells: usize) {
        self.added += cells;
        if self.added > ROOM {
            self.carry();
            self.added = cells;
        }
    }

    #[cold]
    fn carry(&mut self) {
        self.far.resize(self.near.len().max(self.far.len()), 0);
        for (far, near) in self.far.iter_mut().zip(&mut self.near) {
            *far += i128::from(std::mem::take(near));
        }
    }

    pub(super) fn sum(&self, group: usize) -> i128 {
        self.far.get(group).copied().unwrap_or(0) + self.near.get(group).copied().map_or(0, i128::from)
    }
}

/// States of all groups, for cells of type `T`.
#[derive(Debug, Clone)]
pub(super) struct State<T: Cell> {
    pub(super) wants: Wants,
    /// Whether NaN is a value; else it is skipped.
    pub(super) total: bool,
    pub(super) counts: Vec<u64>,
    /// Counts yet to be added: entry `i` is what group `i` has more of than group `i - 1`. Empty if there are
    /// none. A block whose cells are all valid and go to consecutive groups costs two entries here.
    pub(super) steps: Vec<i64>,
    /// Sums of floats; also of integers where moments are wanted.
    pub(super) float: Option<FloatSums>,
    pub(super) int: Option<IntSums>,
    /// Keys of the smallest cells; [`Cell::TOP`] where there is none.
    pub(super) mins: Option<Vec<T::Key>>,
    /// Keys of the largest cells; [`Cell::BOTTOM`] where there is none.
    pub(super) maxs: Option<Vec<T::Key>>,
    pub(super) m2: Option<Vec<f64>>,
}

impl<T: Cell> State<T> {
    pub(super) fn new(groups: usize, wants: Wants, total: bool) -> Self {
        let float = if T::FLOAT { wants.sum || wants.moments } else { wants.moments };
        Self {
            wants,
            total,
            counts: vec![0; groups],
            steps: Vec::new(),
            float: float.then(|| FloatSums::new(groups)),
            int: (!T::FLOAT && wants.sum).then(|| IntSums::new(groups, T::NARROW)),
            mins: wants.min.then(|| vec![T::TOP; groups]),
            maxs: wants.max.then(|| vec![T::BOTTOM; groups]),
            m2: wants.moments.then(|| vec![0.0; groups]),
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        self.steps.clear();
        if let Some(float) = &mut self.float {
            float.near.fill(0.0);
            float.rest.fill(0.0);
        }
        if let Some(int) = &mut self.int {
            int.near.fill(0);
            int.far.fill(0);
            int.added = 0;
        }
        self.mins.iter_mut().for_each(|mins| mins.fill(T::TOP));
        self.maxs.iter_mut().for_each(|maxs| maxs.fill(T::BOTTOM));
        self.m2.iter_mut().for_each(|m2| m2.fill(0.0));
    }

    pub(super) fn memory(&self) -> usize {
        let mut bytes = 8 * (self.counts.capacity() + self.steps.capacity());
        bytes += self.float.as_ref().map_or(0, |float| 8 * (float.near.capacity() + float.rest.capacity()));
        bytes += self.int.as_ref().map_or(0, |int| 8 * int.near.capacity() + 16 * int.far.capacity());
        for values in [&self.mins, &self.maxs] {
            bytes += values.as_ref().map_or(0, |values| size_of::<T::Key>() * values.capacity());
        }
        bytes + self.m2.as_ref().map_or(0, |m2| 8 * m2.capacity())
    }

    /// Adds the state of some cells to `group`.
    #[inline(always)]
    pub(super) fn fold(&mut self, group: usize, partial: &Partial<T>) {
        if partial.count == 0 {
            return;
        }
        if let Some(float) = &mut self.float {
            if let Some(m2) = &mut self.m2 {
                let held = (self.counts[group], float.total(group), m2[group]);
                m2[group] = merge_m2(held, (partial.count, total(partial.sum, partial.rest), partial.m2));
            }
            let (near, rest) = float.both();
            let (sum, lost) = two_sum(near[group], partial.sum);
            near[group] = sum;
            rest[group] += lost + partial.rest;
        }
        if let Some(int) = &mut self.int {
            match int.near.get_mut(group).filter(|_| partial.count <= ROOM as u64) {
                Some(_) => {
                    int.make_room(partial.count as usize);
                    int.near[group] += partial.exact as i64;
                }
                None => {
                    int.far.resize(self.counts.len(), 0);
                    int.far[group] += partial.exact;
                }
            }
        }
        if let Some(mins) = &mut self.mins {
            mins[group] = mins[group].min(partial.min);
        }
        if let Some(maxs) = &mut self.maxs {
            maxs[group] = maxs[group].max(partial.max);
        }
        self.counts[group] += partial.count;
    }

    /// The state of `group`; counts must be settled.
    fn partial(&self, group: usize) -> Partial<T> {
        Partial {
            count: self.counts[group],
            sum: self.float.as_ref().map_or(0.0, |float| float.near[group]),
            rest: self.float.as_ref().map_or(0.0, |float| float.rest(group)),
            exact: self.int.as_ref().map_or(0, |int| int.sum(group)),
            min: self.mins.as_ref().map_or(T::TOP, |mins| mins[group]),
            max: self.maxs.as_ref().map_or(T::BOTTOM, |maxs| maxs[group]),
            m2: self.m2.as_ref().map_or(0.0, |m2| m2[group]),
        }
    }

    /// Merges group `i` of `other` into group `group_of(i)`; both must exist.
    pub(super) fn merge(&mut self, other: &mut Self, group_of: &dyn Fn(usize) -> usize) {
        // Where moments are kept, as they must be to need a count here, there are no steps.
        other.settle();
        for group in 0..other.counts.len() {
            if other.counts[group] > 0 {
                self.fold(group_of(group), &other.partial(group));
            }
        }
    }

    /// Makes it the state of `times` times the cells; `false` if a sum leaves 128 bits.
    pub(super) fn multiply(&mut self, times: u64) -> bool {
        if times == 1 {
            return true;
        }
        self.settle();
        self.counts.iter_mut().for_each(|count| *count *= times);
        let factor = times as f64;
        if let Some(float) = &mut self.float {
            float.near.iter_mut().chain(&mut float.rest).for_each(|sum| *sum *= factor);
        }
        self.m2.iter_mut().flatten().for_each(|m2| *m2 *= factor);
        self.int.as_mut().is_none_or(|int| {
            int.far.resize(int.near.len().max(int.far.len()), 0);
            int.carry();
            int.far.iter_mut().all(|sum| {
                let product = sum.checked_mul(i128::from(times));
                *sum = product.unwrap_or(*sum);
                product.is_some()
            })
        })
    }

    /// Merges each group of `other`, which has as many, into the same group here: as [`State::merge`], column by
    /// column.
    pub(super) fn merge_same(&mut self, other: &mut Self) {
        if let (Some(float), Some(more)) = (&mut self.float, &other.float) {
            // Where moments are kept there are no steps.
            if let (Some(m2), Some(more_m2)) = (&mut self.m2, &other.m2) {
                for (group, m2) in m2.iter_mut().enumerate().filter(|(group, _)| other.counts[*group] > 0) {
                    let held = (self.counts[group], float.total(group), *m2);
                    *m2 = merge_m2(held, (other.counts[group], more.total(group), more_m2[group]));
                }
            }
            float.merge(more);
        }
        if let (Some(int), Some(more)) = (&mut self.int, &mut other.int) {
            int.carry();
            more.carry();
            int.far.iter_mut().zip(&more.far).for_each(|(sum, more)| *sum += more);
        }
        self.take_extremes(other);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        match self.steps.is_empty() {
            true => std::mem::swap(&mut self.steps, &mut other.steps),
            false => self.steps.iter_mut().zip(&other.steps).for_each(|(step, more)| *step += more),
        }
    }

    /// Takes over the extremes of each group of `other`, which has as many. From then on nothing but the extremes, and
    /// whether a group has cells, means anything.
    pub(super) fn adopt(&mut self, other: &mut Self) {
        self.settle();
        other.settle();
        self.take_extremes(other);
        for (count, &more) in self.counts.iter_mut().zip(&other.counts) {
            *count = (*count).max(u64::from(more > 0));
        }
    }

    fn take_extremes(&mut self, other: &Self) {
        let take =
            |mine: &mut Option<Vec<T::Key>>, more: &Option<Vec<T::Key>>, of: fn(T::Key, T::Key) -> _| {
                let pairs = mine.iter_mut().flatten().zip(more.iter().flatten());
                pairs.for_each(|(mine, &more)| *mine = of(*mine, more));
            };
        take(&mut self.mins, &other.mins, T::Key::min);
        take(&mut self.maxs, &other.maxs, T::Key::max);
    }

    /// Notes one more valid cell for each of `len` groups from `first`.
    #[inline(always)]
    pub(super) fn count_each(&mut self, first: usize, len: usize) {
        if self.steps.is_empty() {
            self.steps.resize(self.counts.len() + 1, 0);
        }
        self.steps[first] += 1;
        self.steps[first + len] -= 1;
    }

    /// Brings the counts up to date.
    pub(super) fn settle(&mut self) {
        let mut more = 0;
        for (count, step) in self.counts.iter_mut().zip(&self.steps) {
            more += step;
            *count = count.wrapping_add_signed(more);
        }
        self.steps.clear();
    }

    pub(super) fn sums(&self) -> Option<Sums<'_>> {
        if !self.wants.sum {
            return None;
        }
        match (&self.int, &self.float) {
            (Some(int), _) => Some(Sums::Int((0..self.counts.len()).map(|group| int.sum(group)).collect())),
            (None, Some(float)) => Some(Sums::Float(float.totals())),
            (None, None) => None,
        }
    }

    /// The moments; counts must be settled.
    pub(super) fn moments(&self) -> Option<Moments> {
        let (float, m2) = (self.float.as_ref()?, self.m2.clone()?);
        let mean = |(sum, &count): (f64, &u64)| if count > 0 { sum / count as f64 } else { 0.0 };
        Some(Moments { means: float.totals().iter().copied().zip(&self.counts).map(mean).collect(), m2 })
    }
}
