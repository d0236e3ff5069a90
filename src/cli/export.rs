//! `millibar export`.

use super::args::ExportArgs;
use super::error::CliError;
use super::npy;
use crate::codec::{DecodeStats, ElementRange, Pipeline, Region, Scratch};
use crate::source::{Bytes, NewFile, Source};
use crate::tgm::{File, Object};
use crate::{Error, Result};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// Share of an object up to which ranges are range-decoded, as in queries.
const RANGE_THRESHOLD: f64 = 0.5;

/// Writes one object, or ranges of it.
pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let limits = args.limits.limits();
    let source = args.path.open()?;
    let file = File::open(source, &limits)?;
    let object = Arc::clone(file.message(args.message)?.object(args.object)?);
    let pipeline = Pipeline::try_new(&object, &limits)?;
    let export = Export { source: file.source.as_ref(), object: &object, pipeline, ranges: &args.ranges };
    if args.output == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        export.write(&mut out).and_then(|()| out.flush().map_err(CliError::output))
    } else {
        let mut out = NewFile::create(&args.output)?;
        export.write(&mut out).map_err(|e| match e {
            CliError::Io { source, .. } => CliError::io(args.output.display().to_string(), source),
            other => other,
        })?;
        Ok(out.commit()?)
    }
}

struct Export<'a> {
    source: &'a dyn Source,
    object: &'a Object,
    pipeline: Pipeline,
    ranges: &'a [ElementRange],
}

impl Export<'_> {
    fn write(&self, out: &mut impl Write) -> Result<(), CliError> {
        let dtype = self.pipeline.dtype();
        let descr = npy::descr(dtype);
        let mut lent = Bytes::new();
        let region = Region::of(self.source, self.object.region.clone(), &mut lent)?;
        let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
        if self.ranges.is_empty() {
            let header = npy::header(descr, &self.object.descriptor.shape).map_err(CliError::output)?;
            out.write_all(&header).map_err(CliError::output)?;
            let mut failed = None;
            let all = [ElementRange { start: 0, count: self.pipeline.len() }];
            let visited =
                self.pipeline.visit(region, &all, 0.0, &mut scratch, &mut stats, &mut |_, block| {
                    npy::write_block(out, block).map_err(|e| {
                        let stop = Error::io("the output", io::Error::from(e.kind()));
                        failed = Some(e);
                        stop
                    })
                });
            match failed {
                Some(e) => Err(CliError::output(e)),
                None => Ok(visited?),
            }
        } else {
            // All together, so that a codec that can't seek decodes the object once.
            let values = self.pipeline.decode_ranges(
                region,
                self.ranges,
                RANGE_THRESHOLD,
                &mut scratch,
                &mut stats,
            )?;
            let header = npy::header(descr, &[values.len() as u64]).map_err(CliError::output)?;
            out.write_all(&header).map_err(CliError::output)?;
            npy::write_block(out, values.as_block()).map_err(CliError::output)
        }
    }
}
