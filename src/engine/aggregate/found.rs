//! Extremes that workers tell each other while they run.
//!
//! A chunk whose statistics say that it can't improve what is known isn't read. The more a worker knows, the more it
//! can leave out, so workers exchange what they have found before each chunk.

use super::work::Work;
use crate::reduce::Accumulators;
use std::sync::{Mutex, PoisonError};

/// Groups up to which an exchange costs nothing beside a chunk.
const FEW: usize = 1 << 10;

/// For each pass: the extremes of all workers.
#[derive(Debug)]
pub(super) struct Found(Vec<Mutex<Option<Accumulators>>>);

impl Found {
    /// Nothing yet of the passes of `work`.
    pub(super) fn new(work: &Work) -> Self {
        Self(work.passes.iter().map(|_| Mutex::default()).collect())
    }

    /// Tells the others of the extremes in `states`, of a pass that wants nothing else, and takes over theirs.
    ///
    /// # Errors
    /// If states of the pass differ in kind.
    pub(super) fn exchange(&self, pass: usize, states: &mut Accumulators) -> crate::Result<()> {
        let Some(found) = self.0.get(pass).filter(|_| states.groups() <= FEW) else { return Ok(()) };
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *found {
            Some(found) => {
                found.adopt_extremes(states)?;
                states.adopt_extremes(found)
            }
            none => {
                *none = Some(states.clone());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Block, Values};
    use crate::reduce::{NanPolicy, Wants};
    use crate::tgm::DType;

    #[test]
    fn what_one_worker_finds_the_others_know() {
        let wants = Wants { min: true, max: true, ..Wants::default() };
        let states = || Accumulators::try_new(DType::Int16, 3, wants, NanPolicy::Null).unwrap();
        let (mut one, mut other, found) = (states(), states(), Found(vec![Mutex::default()]));
        one.add_run(0, Block::Int16(&[4, 9]), None).unwrap();
        found.exchange(0, &mut one).unwrap();
        other.add_run(0, Block::Int16(&[2, 5]), None).unwrap();
        other.add_run(2, Block::Int16(&[7]), None).unwrap();
        found.exchange(0, &mut other).unwrap();
        found.exchange(0, &mut one).unwrap();
        for mut states in [one, other] {
            let reading = states.read();
            assert_eq!(
                reading.counts.iter().map(|&count| count > 0).collect::<Vec<_>>(),
                [true, false, true]
            );
            let (Some(Values::Int16(mins)), Some(Values::Int16(maxs))) = (reading.mins, reading.maxs) else {
                panic!("no extremes");
            };
            assert_eq!((mins[0], maxs[0], mins[2], maxs[2]), (2, 9, 7, 7));
        }
    }
}
