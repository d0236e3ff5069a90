//! Kept cells of a part as flat element runs of its chunk.

use super::{DimSelection, Part, step};
use crate::codec::ElementRange;
use std::ops::Range;

/// Iterator over the kept cells of a [`Part`] as flat runs: ascending, touching runs merged.
///
/// The inner dims that are kept whole and unmasked make one unit; the dim before them (`row_dim`) is cut into
/// pieces; the dims further out are walked like an odometer.
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    part: &'a Part,
    /// The innermost dim that is cut or masked; `None` if the chunk is kept whole.
    row_dim: Option<usize>,
    /// Elements of one position along `row_dim`.
    unit: u64,
    /// Which kept position along each dim before `row_dim` comes next.
    at: Vec<usize>,
    rows_left: u64,
    /// Pieces of the current row, in positions along `row_dim`.
    pieces: Vec<Range<u64>>,
    next_piece: usize,
    /// Flat element of the current row's start.
    row_start: u64,
    held: Option<ElementRange>,
}

impl<'a> Runs<'a> {
    pub(crate) fn new(part: &'a Part) -> Self {
        let masked = part.masks.iter().filter_map(|mask| mask.dims().last().copied()).max();
        let cut = (0..part.shape.len()).rev().find(|&dim| !part.within[dim].is_full(part.shape[dim]));
        let row_dim = masked.max(cut);
        let inner = row_dim.map_or(0, |dim| dim + 1);
        let outer = row_dim.unwrap_or(0);
        let pieces = match row_dim {
            Some(dim) => part.within[dim].runs(),
            None => std::iter::once(0..1).collect(),
        };
        let mut runs = Self {
            part,
            row_dim,
            unit: part.shape[inner..].iter().product(),
            at: vec![0; outer],
            rows_left: part.within[..outer].iter().map(DimSelection::len).product(),
            pieces,
            next_piece: 0,
            row_start: 0,
            held: None,
        };
        if runs.unit == 0 || runs.pieces.is_empty() {
            runs.rows_left = 0;
        }
        runs.enter_row();
        runs
    }

    /// Places the current row and, under masks, finds its pieces.
    fn enter_row(&mut self) {
        self.next_piece = 0;
        let Some(row_dim) = self.row_dim.filter(|_| self.rows_left > 0) else { return };
        let part = self.part;
        let outer = |dim: usize| part.within[dim].get(self.at[dim] as u64).unwrap_or(0);
        let flat = (0..row_dim).fold(0, |flat, dim| flat * part.shape[dim] + outer(dim));
        self.row_start = flat * part.shape[row_dim] * self.unit;
        if part.masks.is_empty() {
            return;
        }
        let mut position = part.origin.clone();
        (0..row_dim).for_each(|dim| position[dim] += outer(dim));
        self.pieces.clear();
        for at in part.within[row_dim].iter() {
            position[row_dim] = part.origin[row_dim] + at;
            if part.masks.iter().all(|mask| mask.keeps(&position)) {
                match self.pieces.last_mut() {
                    Some(piece) if piece.end == at => piece.end += 1,
                    _ => self.pieces.push(at..at + 1),
                }
            }
        }
    }

    /// The next piece as a flat run, not merged with its neighbours.
    fn piece(&mut self) -> Option<ElementRange> {
        while self.rows_left > 0 {
            if let Some(piece) = self.pieces.get(self.next_piece) {
                self.next_piece += 1;
                let start = self.row_start + piece.start * self.unit;
                return Some(ElementRange { start, count: (piece.end - piece.start) * self.unit });
            }
            self.rows_left -= 1;
            let part = self.part;
            step(&mut self.at, |dim| part.within[dim].len() as usize);
            self.enter_row();
        }
        None
    }
}

impl Iterator for Runs<'_> {
    type Item = ElementRange;

    fn next(&mut self) -> Option<ElementRange> {
        let mut run = match self.held.take() {
            Some(run) => run,
            None => self.piece()?,
        };
        while let Some(next) = self.piece() {
            if run.start + run.count != next.start {
                self.held = Some(next);
                break;
            }
            run.count += next.count;
        }
        Some(run)
    }
}
