//! Printing results, as they are produced where the format allows.

use super::args::{Format, MaxRows};
use super::error::CliError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::json;
use datafusion::arrow::json::writer::{JsonArray, JsonFormat, LineDelimited};
use datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::config::FormatOptions;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

/// How results are printed.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    pub(super) format: Format,
    /// Results only.
    pub(super) quiet: bool,
    /// For [`Format::Table`], which has to know its widest cell before it prints the first.
    pub(super) max_rows: MaxRows,
}

impl Printer {
    /// Prints `results` to stdout. A table stops its query after the rows that it shows, unless it is `whole`.
    pub(super) async fn print(
        &self,
        results: SendableRecordBatchStream,
        formats: &FormatOptions,
        whole: bool,
        started: Instant,
    ) -> Result<(), CliError> {
        let mut out = Out::new();
        let printed = match self.format {
            Format::Table => self.table(results, formats, whole, started, &mut out).await,
            Format::Csv => separated(results, b',', &mut out).await,
            Format::Tsv => separated(results, b'\t', &mut out).await,
            Format::Json => documents::<JsonArray>(results, "\n", &mut out).await,
            Format::Ndjson => documents::<LineDelimited>(results, "", &mut out).await,
        };
        let printed = printed.and_then(|()| out.flush().map_err(CliError::output));
        if out.broken { Err(CliError::BrokenPipe) } else { printed }
    }

    async fn table(
        &self,
        mut results: SendableRecordBatchStream,
        formats: &FormatOptions,
        whole: bool,
        started: Instant,
        out: &mut Out,
    ) -> Result<(), CliError> {
        let schema = results.schema();
        let limit = if whole { usize::MAX } else { self.max_rows.0.unwrap_or(usize::MAX) };
        let (mut shown, mut rows, mut more) = (Vec::new(), 0, false);
        while let Some(batch) = results.next().await {
            let batch = batch?;
            let room = limit - rows;
            more = batch.num_rows() > room;
            let batch = if more { batch.slice(0, room) } else { batch };
            rows += batch.num_rows();
            shown.push(batch);
            if more {
                break;
            }
        }
        drop(results);
        if !schema.fields().is_empty() {
            shown.push(RecordBatch::new_empty(SchemaRef::clone(&schema))); // the header, if there are no rows
            let table = pretty_format_batches_with_options(&shown, &formats.try_into()?)?;
            writeln!(out, "{table}").map_err(CliError::output)?;
        }
        self.footer(rows, more, started, out).map_err(CliError::output)
    }

    fn footer(&self, rows: usize, more: bool, started: Instant, out: &mut Out) -> io::Result<()> {
        if more {
            out.flush()?;
            eprintln!("There are more than these {rows} rows; --maxrows says how many are shown.");
        }
        if self.quiet {
            return Ok(());
        }
        let more = if more { "first " } else { "" };
        writeln!(out, "{more}{rows} row(s) in {:.4} seconds\n", started.elapsed().as_secs_f64())
    }
}

/// A header line, then a line for each row. NULL is an empty field.
async fn separated(
    mut results: SendableRecordBatchStream,
    delimiter: u8,
    out: &mut Out,
) -> Result<(), CliError> {
    let schema = results.schema();
    if schema.fields().is_empty() {
        return drain(results).await;
    }
    let mut writer = csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter).build(out);
    writer.write(&RecordBatch::new_empty(schema))?;
    while let Some(batch) = results.next().await {
        writer.write(&batch?)?;
    }
    Ok(())
}

/// Objects with every column, NULL included, and what ends them.
async fn documents<F: JsonFormat>(
    mut results: SendableRecordBatchStream,
    end: &str,
    out: &mut Out,
) -> Result<(), CliError> {
    if results.schema().fields().is_empty() {
        return drain(results).await;
    }
    let mut writer = json::WriterBuilder::new().with_explicit_nulls(true).build::<_, F>(&mut *out);
    while let Some(batch) = results.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            writer.write(&batch)?;
        }
    }
    writer.finish()?;
    drop(writer);
    out.write_all(end.as_bytes()).map_err(CliError::output)
}

/// Runs a statement that has no result, such as `CREATE`.
async fn drain(mut results: SendableRecordBatchStream) -> Result<(), CliError> {
    while let Some(batch) = results.next().await {
        batch?;
    }
    Ok(())
}

/// Standard output that remembers whether its reader went away: the writers above turn that into other errors.
struct Out {
    inner: BufWriter<io::Stdout>,
    broken: bool,
}

impl Out {
    fn new() -> Self {
        Self { inner: BufWriter::with_capacity(1 << 16, io::stdout()), broken: false }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.broken |= matches!(&result, Err(e) if e.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.note(flushed)
    }
}
