//! What a selection takes of the chunks of a grid, as a product: nothing is listed chunk by chunk.
//!
//! Along each dim the selection touches some chunk positions, the *slots*; every combination of slots is a
//! *place*, in C order of chunks. Masks that share dims are counted together, once, for each combination of the
//! slots of those dims (a *gate*). How many cells a place keeps is then a product of small tables, and a [`Part`]
//! is made only when somebody works on it.
//! ```text
//! dim 0   slots 0 1 2          gate over dims 0, 1:  kept cells of each of 3 x 2 combinations
//! dim 1   slots 4 5        ->
//! dim 2   slots 0              factor of dim 2:      kept positions of its slot
//! ```

use super::{DimMask, DimSelection, Part, step};
use std::ops::Range;
use std::sync::Arc;

/// What a selection takes of each touched chunk, in C order of chunks.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Chunks of the grid along each dim.
    counts: Vec<u64>,
    slots: Vec<Slots>,
    masks: Vec<DimMask>,
    gates: Vec<Gate>,
    /// For each dim whether a gate counts its positions.
    gated: Vec<bool>,
}

/// The touched chunk positions along one dim.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    len: u64,
    chunk_len: u64,
    kept: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    /// Consecutive positions, and so consecutive chunks.
    Range(Range<u64>),
    /// Positions, and where those of each slot start; one more entry ends the last.
    Indices(Arc<[u64]>, Vec<usize>),
}

/// One touched chunk position along a dim.
#[derive(Debug, Clone)]
struct Slot {
    chunk: u64,
    origin: u64,
    extent: u64,
    within: DimSelection,
}

/// Masks that share dims, counted.
#[derive(Debug, Clone)]
struct Gate {
    /// The dims of these masks, ascending.
    dims: Vec<usize>,
    /// Kept cells of the product of those dims, for each combination of their slots, C order.
    kept: Vec<u64>,
}

/// A place, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Position of the chunk in the grid, C order.
    pub chunk: u64,
    /// Kept cells; 0 where masks leave nothing.
    pub kept: u64,
}

impl Slots {
    /// What `selection` touches of a dim of `len`, cut into chunks of `chunk_len`; positions outside are ignored.
    pub(super) fn new(len: u64, chunk_len: u64, selection: &DimSelection) -> Self {
        let kept = match selection {
            DimSelection::Range(range) => Kept::Range(range.start.min(len)..range.end.min(len)),
            DimSelection::Indices(indices) => {
                let inside = &indices[..indices.partition_point(|&at| at < len)];
                let mut starts = Vec::new();
                let mut last = None;
                for (nth, at) in inside.iter().enumerate() {
                    if last.replace(at / chunk_len) != Some(at / chunk_len) {
                        starts.push(nth);
                    }
                }
                starts.push(inside.len());
                Kept::Indices(Arc::clone(indices), starts)
            }
        };
        Self { len, chunk_len, kept }
    }

    fn count(&self) -> u64 {
        match &self.kept {
            Kept::Range(range) if range.is_empty() => 0,
            Kept::Range(range) => (range.end - 1) / self.chunk_len - range.start / self.chunk_len + 1,
            Kept::Indices(_, starts) => starts.len() as u64 - 1,
        }
    }

    /// Position of the chunk of slot `nth` along the dim.
    fn chunk(&self, nth: u64) -> u64 {
        match &self.kept {
            Kept::Range(range) => range.start / self.chunk_len + nth,
            Kept::Indices(indices, starts) => indices[starts[nth as usize]] / self.chunk_len,
        }
    }

    /// Kept positions of slot `nth`.
    fn kept(&self, nth: u64) -> u64 {
        match &self.kept {
            Kept::Range(range) => {
                let origin = self.chunk(nth) * self.chunk_len;
                range.end.min(origin + self.chunk_len) - range.start.max(origin)
            }
            Kept::Indices(_, starts) => (starts[nth as usize + 1] - starts[nth as usize]) as u64,
        }
    }

    /// The most positions that a slot keeps.
    fn largest(&self) -> u64 {
        let count = self.count();
        match &self.kept {
            // All but the ends are whole.
            Kept::Range(_) => {
                (0..count.min(2)).chain(count.checked_sub(1)).map(|nth| self.kept(nth)).max().unwrap_or(0)
            }
            Kept::Indices(..) => (0..count).map(|nth| self.kept(nth)).max().unwrap_or(0),
        }
    }

    /// Kept positions of all slots.
    fn total(&self) -> u64 {
        match &self.kept {
            Kept::Range(range) => range.end.saturating_sub(range.start),
            Kept::Indices(_, starts) => starts.last().map_or(0, |&end| end as u64),
        }
    }

    fn slot(&self, nth: u64) -> Slot {
        let chunk = self.chunk(nth);
        let origin = chunk * self.chunk_len;
        let extent = self.chunk_len.min(self.len - origin);
        let within = match &self.kept {
            Kept::Range(range) => DimSelection::Range(range.clone()).within(origin..origin + extent),
            Kept::Indices(indices, starts) => {
                let own = &indices[starts[nth as usize]..starts[nth as usize + 1]];
                DimSelection::from_ascending(own.iter().map(|at| at - origin).collect())
            }
        };
        Slot { chunk, origin, extent, within }
    }
}

impl Parts {
    /// The parts over `slots` of a grid with `counts` chunks along each dim, under `masks`.
    pub(super) fn new(counts: Vec<u64>, slots: Vec<Slots>, masks: &[DimMask]) -> Self {
        let gated = vec![false; slots.len()];
        let mut parts = Self { counts, slots, masks: masks.to_vec(), gates: Vec::new(), gated };
        if parts.places() == 0 {
            return parts;
        }
        for (dims, together) in super::count::components(masks) {
            let combinations = dims.iter().map(|&dim| parts.slots[dim].count()).product::<u64>();
            let mut kept = vec![0; combinations as usize];
            parts.walk(&dims, &together, &mut vec![0; parts.slots.len()], 0, &mut kept);
            dims.iter().for_each(|&dim| parts.gated[dim] = true);
            parts.gates.push(Gate { dims, kept });
        }
        parts
    }

    /// Counts the cells of the product of `dims` that all of `masks` keep, by combination of slots.
    fn walk(
        &self,
        dims: &[usize],
        masks: &[&DimMask],
        position: &mut [u64],
        combination: u64,
        kept: &mut [u64],
    ) {
        let Some((&dim, inner)) = dims.split_first() else {
            kept[combination as usize] += u64::from(masks.iter().all(|mask| mask.keeps(position)));
            return;
        };
        let slots = &self.slots[dim];
        for nth in 0..slots.count() {
            let Slot { origin, within, .. } = slots.slot(nth);
            for at in within.iter() {
                position[dim] = origin + at;
                self.walk(inner, masks, position, combination * slots.count() + nth, kept);
            }
        }
    }

    /// Number of combinations of touched chunk positions, also those of which masks leave nothing. Parts are
    /// asked for by their place among these.
    pub fn places(&self) -> u64 {
        self.slots.iter().map(Slots::count).product()
    }

    /// Number of parts: of touched chunks that keep a cell.
    pub fn len(&self) -> u64 {
        self.multiply(|slots| slots.count(), |gate| gate.kept.iter().filter(|&&kept| kept > 0).count() as u64)
    }

    /// Whether no cell is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kept cells of all parts.
    pub fn cells(&self) -> u64 {
        self.multiply(Slots::total, |gate| gate.kept.iter().sum())
    }

    /// Kept cells of the largest part.
    pub fn largest(&self) -> u64 {
        self.multiply(Slots::largest, |gate| gate.kept.iter().copied().max().unwrap_or(0))
    }

    /// The product of something of each dim that no mask looks at, and of each gate.
    fn multiply(&self, dim: impl Fn(&Slots) -> u64, gate: impl Fn(&Gate) -> u64) -> u64 {
        let dims = self.slots.iter().zip(&self.gated).filter(|(_, gated)| !**gated);
        let product = dims.fold(1u64, |product, (slots, _)| product.saturating_mul(dim(slots)));
        self.gates.iter().fold(product, |product, of| product.saturating_mul(gate(of)))
    }

    /// Over the touched chunk positions of `dims` (ascending): the sum of the kept positions of each combination,
    /// but of at most `most` each. Masks aren't looked at.
    pub fn sum_capped(&self, dims: &[usize], most: u64) -> u64 {
        let Some((&dim, inner)) = dims.split_first() else { return most.min(1) };
        self.sum_from(dim, inner, 1, most)
    }

    fn sum_from(&self, dim: usize, inner: &[usize], outer: u64, most: u64) -> u64 {
        let slots = &self.slots[dim];
        let kept = (0..slots.count()).map(|nth| outer.saturating_mul(slots.kept(nth)));
        match inner.split_first() {
            None => kept.fold(0, |sum, kept| sum.saturating_add(kept.min(most))),
            Some((&next, inner)) => {
                kept.fold(0, |sum, kept| sum.saturating_add(self.sum_from(next, inner, kept, most)))
            }
        }
    }

    /// Touched chunk positions along `dim`.
    pub fn touched(&self, dim: usize) -> u64 {
        self.slots[dim].count()
    }

    /// The part at `place`; `None` if masks leave nothing there, or there is no such place.
    pub fn get(&self, place: u64) -> Option<Part> {
        if place >= self.places() {
            return None;
        }
        let at = self.at(place);
        if self.kept(&at) == 0 {
            return None;
        }
        let slots: Vec<Slot> =
            self.slots.iter().zip(&at).map(|(slots, &nth)| slots.slot(nth as u64)).collect();
        let part = Part {
            chunk: slots.iter().zip(&self.counts).fold(0, |chunk, (slot, count)| chunk * count + slot.chunk),
            origin: slots.iter().map(|slot| slot.origin).collect(),
            shape: slots.iter().map(|slot| slot.extent).collect(),
            within: slots.into_iter().map(|slot| slot.within).collect(),
            masks: Vec::new(),
        };
        Some(part.masked(&self.masks))
    }

    /// The parts, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Part> + '_ {
        self.range(0..self.places())
    }

    /// The parts at `places`.
    pub fn range(&self, places: Range<u64>) -> impl Iterator<Item = Part> + '_ {
        places.filter_map(|place| self.get(place))
    }

    /// The numbers of `places`, one after the other, without making parts of them.
    pub fn numbers(&self, places: Range<u64>) -> impl Iterator<Item = Place> + '_ {
        let places = places.start..places.end.min(self.places());
        let mut at = self.at(places.start);
        places.map(move |_| {
            let chunks = self.slots.iter().zip(&at).zip(&self.counts);
            let chunk =
                chunks.fold(0, |chunk, ((slots, &nth), count)| chunk * count + slots.chunk(nth as u64));
            let place = Place { chunk, kept: self.kept(&at) };
            step(&mut at, |dim| self.slots[dim].count() as usize);
            place
        })
    }

    /// Which slot of each dim `place` combines.
    fn at(&self, place: u64) -> Vec<usize> {
        let mut rest = place;
        let mut at = vec![0; self.slots.len()];
        for (at, slots) in at.iter_mut().zip(&self.slots).rev() {
            let count = slots.count().max(1);
            *at = (rest % count) as usize;
            rest /= count;
        }
        at
    }

    /// Kept cells of a combination of slots.
    fn kept(&self, at: &[usize]) -> u64 {
        let dims = self.slots.iter().zip(at).zip(&self.gated).filter(|(_, gated)| !**gated);
        let product = dims.fold(1u64, |kept, ((slots, &nth), _)| kept.saturating_mul(slots.kept(nth as u64)));
        self.gates.iter().fold(product, |kept, gate| {
            let combination =
                gate.dims.iter().fold(0, |all, &dim| all * self.slots[dim].count() + at[dim] as u64);
            kept.saturating_mul(gate.kept[combination as usize])
        })
    }
}
