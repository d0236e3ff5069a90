//! Batches of one partition of a scan: unit after unit is read and cut, or, where little is kept of each, gathered.

use super::ahead::BUDGET;
use super::layout::Unit;
use super::metrics::ScanMetrics;
use super::rows::{Found, Rows};
use super::sieve::Sieve;
use super::stream::{Producer, Stop};
use crate::tensor::DimSelection;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::common::Result;
use std::collections::VecDeque;

/// Units that files are told of before they are read, at most.
const UNITS_AHEAD: usize = 16;

/// The batches of a run of units, in the grid's C order.
pub(crate) struct Batches {
    rows: Rows,
    /// Predicates on top of the selection that the units were made of.
    sieve: Option<Sieve>,
    /// Units still to read.
    units: VecDeque<u64>,
    /// What was told to files of the first of these, and counts for; see [`ahead`](super::ahead).
    told: VecDeque<u64>,
    /// Rows still to yield.
    remaining: u64,
    batch_size: usize,
    metrics: ScanMetrics,
    /// The unit at hand, and how many of its rows have been yielded.
    open: Option<(Found, usize)>,
    /// Rows of units that have too few for a batch.
    gathered: BatchCoalescer,
}

impl Batches {
    /// At most `limit` rows of `units`, `batch_size` of them at a time.
    pub(crate) fn new(
        rows: Rows,
        sieve: Option<Sieve>,
        units: Vec<u64>,
        limit: u64,
        batch_size: usize,
        metrics: ScanMetrics,
    ) -> Self {
        let gathered = BatchCoalescer::new(rows.schema().clone(), batch_size);
        let (units, told) = (units.into(), VecDeque::new());
        Self { rows, sieve, units, told, remaining: limit, batch_size, metrics, open: None, gathered }
    }

    /// Tells files of units to come, as many as will surely be read.
    fn tell(&mut self) -> Result<()> {
        let mut bytes: u64 = self.told.iter().sum();
        while bytes < BUDGET && self.told.len() < UNITS_AHEAD {
            // A limit may be reached with each unit.
            let wanted = self.told.is_empty() || self.remaining == u64::MAX;
            let Some(&unit) = self.units.get(self.told.len()).filter(|_| wanted) else { break };
            let selection = self.rows.layout().selection(&self.rows.layout().unit(unit));
            let told = match &mut self.sieve {
                None => self.rows.tell(&selection, &[]),
                Some(sieve) => {
                    let narrowed = sieve.look()?;
                    let left = selection.intersect(&narrowed.selection);
                    let open = self.rows.open_conditions(&left, &narrowed.conditions);
                    open.map_or(0, |open| self.rows.tell(&left, &open))
                }
            };
            bytes += told;
            self.told.push_back(told);
        }
        Ok(())
    }

    /// What is kept of `unit`, or as much of it as is still wanted; `None` if there is nothing, or `stop` is set.
    fn find(&mut self, unit: &Unit, stop: &Stop) -> Result<Option<Found>> {
        let selection = self.rows.layout().selection(unit);
        let Some(sieve) = &mut self.sieve else {
            let cells = selection.dims.iter().map(DimSelection::len).product::<u64>();
            let first = if self.remaining < cells { selection.take_first(self.remaining) } else { selection };
            return Ok(self.rows.find(first, &[], self.remaining, stop)?.filter(|found| found.rows > 0));
        };
        let cells = selection.len() as usize;
        let narrowed = sieve.look()?;
        let left = selection.intersect(&narrowed.selection);
        let found = match self.rows.open_conditions(&left, &narrowed.conditions) {
            None => None,
            Some(open) => self.rows.find(left, &open, self.remaining, stop)?,
        };
        self.metrics.cells_pruned.add(cells - found.as_ref().map_or(0, |found| found.passed));
        Ok(found.filter(|found| found.rows > 0))
    }
}

impl Producer for Batches {
    fn next(&mut self, stop: &Stop) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.gathered.next_completed_batch() {
                return Ok(Some(batch));
            }
            if let Some((found, done)) = &mut self.open {
                let left = found.rows - *done;
                if left > 0 {
                    let count =
                        if self.rows.schema().fields().is_empty() { left } else { left.min(self.batch_size) };
                    let range = *done..*done + count;
                    *done += count;
                    return self.rows.batch(found, range).map(Some);
                }
                self.open = None;
            }
            if stop.is_set() {
                return Ok(None);
            }
            if self.remaining > 0 {
                self.tell()?;
            }
            let unit = if self.remaining > 0 { self.units.pop_front() } else { None };
            self.told.pop_front();
            let Some(unit) = unit else {
                self.gathered.finish_buffered_batch()?;
                return Ok(self.gathered.next_completed_batch());
            };
            let Some(found) = self.find(&self.rows.layout().unit(unit), stop)? else { continue };
            self.remaining -= found.rows as u64;
            let whole = found.keep.is_none() && 2 * found.rows >= self.batch_size;
            if whole || self.rows.schema().fields().is_empty() {
                self.gathered.finish_buffered_batch()?;
                self.open = Some((found, 0));
            } else {
                let batch = self.rows.batch(&found, 0..found.rows)?;
                self.gathered.push_batch(batch)?;
            }
        }
    }
}
