//! `millibar index`.

use super::args::IndexArgs;
use super::error::CliError;
use super::progress::Bar;
use crate::dataset::read::{ReadOptions, Reader};
use crate::dataset::{self, Dataset, IndexUse, Location, OpenOptions};
use crate::reduce::Survey;
use crate::source::Address;
use crate::{Error, Result};
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Writes an index of each location, with statistics unless they aren't wanted.
pub(super) fn run(args: &IndexArgs) -> Result<(), CliError> {
    let options = OpenOptions::from_pairs(args.options.pairs())?;
    let options = OpenOptions { index: IndexUse::Off, grid: None, ..options };
    if args.output.is_some() && args.paths.len() > 1 {
        return Err(CliError::Usage("--output is for a single PATH".into()));
    }
    let mut out = io::stdout().lock();
    for path in &args.paths {
        let dataset = dataset::open(&Location::parse(path)?, &options)?;
        if !args.no_statistics {
            survey(&dataset)?;
        }
        let bytes = dataset.write_index(args.output.as_deref())?;
        let index = args.output.as_deref().map_or_else(|| dataset.index_path().clone(), Address::from);
        let (known, all) = known(&dataset);
        writeln!(out, "{index}: {bytes} bytes, statistics of {known} of {all} chunks")
            .map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)
}

/// Chunks whose statistics are known, and all.
fn known(dataset: &Dataset) -> (u64, u64) {
    let variables = dataset.tables.iter().flat_map(|table| &table.variables);
    variables
        .fold((0, 0), |(known, all), variable| (known + variable.stats.known(), all + variable.grid.chunks()))
}

/// Decodes every chunk, on all cores, to learn its statistics; those whose codec isn't read stay unknown.
///
/// # Errors
/// The first payload that is broken.
fn survey(dataset: &Dataset) -> Result<()> {
    let all = |count: usize| (0..count).collect();
    let surveys =
        dataset.tables.iter().map(|table| Survey::new(Arc::clone(table), all(table.variables.len())));
    let surveys: Vec<Survey> = surveys.collect();
    let over = AtomicBool::new(false);
    let work = || {
        let mut reader = Reader::new(ReadOptions::default());
        for survey in &surveys {
            loop {
                match survey.work(&mut reader, &|| over.load(Ordering::Relaxed)) {
                    Ok(_) => break,
                    Err(Error::Unsupported { .. }) => {} // on with the next chunk
                    Err(error) => {
                        over.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let working: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        if io::stderr().is_terminal() {
            scope.spawn(|| show(dataset, &over)); // else nobody would see it
        }
        let ends = working.into_iter().map(|worker| worker.join());
        let ends = ends.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let ends: Vec<Result<()>> = ends.collect();
        over.store(true, Ordering::Relaxed);
        ends.into_iter().collect()
    })
}

/// Shows how far it is.
fn show(dataset: &Dataset, over: &AtomicBool) {
    let bar = Bar::new(known(dataset).1, "chunks");
    while !over.load(Ordering::Relaxed) {
        bar.at(known(dataset).0);
        thread::sleep(Duration::from_millis(100));
    }
}
