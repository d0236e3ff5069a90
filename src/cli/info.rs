//! `millibar info`.

use super::args::InfoArgs;
use super::error::CliError;
use crate::dataset::{self, Location, OpenOptions};
use std::io::{self, Write};
use summary::Summary;

mod summary;

/// Prints what a location holds, as text or as JSON. No payload is decoded but those of coordinates.
pub(super) fn run(args: &InfoArgs) -> Result<(), CliError> {
    let options = OpenOptions::from_pairs(args.options.pairs())?;
    let limits = &options.limits;
    let dataset = dataset::open(&Location::parse(&args.path)?, &options)?;
    let summary = Summary::of(&args.path, &dataset, limits)?;
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_string_pretty(&summary.to_json())
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{text}"))
    } else {
        summary.print(&mut out)
    };
    written.and_then(|()| out.flush()).map_err(CliError::output)
}
