//! `millibar validate`.

use super::args::files::{LevelArg, ValidateArgs};
use super::error::CliError;
use super::progress::Bar;
use super::words::count;
use crate::files::{self, Level, Report, ValidateOptions};
use crate::source::Source;
use crate::tgm::{Issue, Severity};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Validates each file and says what is wrong with it.
///
/// # Errors
/// [`CliError::Failed`] if a file isn't sound: it has been told already.
pub(super) fn run(args: &ValidateArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let (mut failed, mut reports) = (false, Vec::new());
    let limits = args.limits.limits();
    for path in &args.paths {
        let source = path.open()?;
        let bar = Bar::bytes(source.len(), source.name());
        let options = ValidateOptions {
            level: level(args.level),
            limits: &limits,
            threads: None,
            progress: &|bytes| bar.add(bytes),
        };
        let report = files::validate(&*source, &options)?;
        drop(bar);
        let tally = Tally::of(&report);
        failed |= tally.errors > 0 || (args.strict && tally.warnings > 0);
        if args.json {
            reports.push(to_json(&*source, &report, &tally));
        } else {
            print(&mut out, &*source, &report, &tally).map_err(CliError::output)?;
        }
    }
    if args.json {
        let all = json!({ "level": level_name(args.level), "sound": !failed, "files": reports });
        let text = serde_json::to_string_pretty(&all).map_err(io::Error::from);
        text.and_then(|text| writeln!(out, "{text}")).map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)?;
    if failed { Err(CliError::Failed) } else { Ok(()) }
}

fn level(level: LevelArg) -> Level {
    match level {
        LevelArg::Structure => Level::Structure,
        LevelArg::Checksum => Level::Checksum,
        LevelArg::Full => Level::Full,
    }
}

fn level_name(level: LevelArg) -> &'static str {
    match level {
        LevelArg::Structure => "structure",
        LevelArg::Checksum => "checksum",
        LevelArg::Full => "full",
    }
}

/// Issues by severity; those that a report doesn't list count as errors.
struct Tally {
    errors: u64,
    warnings: u64,
}

impl Tally {
    fn of(report: &Report) -> Self {
        let of = |severity| report.issues.iter().filter(|issue| issue.severity == severity).count() as u64;
        Self { errors: of(Severity::Error) + report.more, warnings: of(Severity::Warning) }
    }
}

fn print(out: &mut impl Write, source: &dyn Source, report: &Report, tally: &Tally) -> io::Result<()> {
    for issue in &report.issues {
        writeln!(out, "{issue}")?;
    }
    if report.more > 0 {
        writeln!(out, "... and {} more", report.more)?;
    }
    let verdict = match (tally.errors, tally.warnings) {
        (0, 0) => "sound".into(),
        (0, warnings) => format!("sound, {}", count(warnings, "warning")),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    writeln!(
        out,
        "{}: {verdict} ({}, {}, {} verified, {} decoded)",
        source.name(),
        count(report.messages, "message"),
        count(report.objects, "object"),
        count(report.verified, "frame"),
        report.decoded,
    )
}

fn to_json(source: &dyn Source, report: &Report, tally: &Tally) -> Value {
    json!({
        "path": &**source.name(), "bytes": source.len(), "messages": report.messages, "objects": report.objects,
        "frames_verified": report.verified, "objects_decoded": report.decoded,
        "errors": tally.errors, "warnings": tally.warnings, "issues_left_out": report.more,
        "issues": report.issues.iter().map(issue_json).collect::<Vec<_>>(),
    })
}

fn issue_json(issue: &Issue) -> Value {
    json!({
        "severity": if issue.severity == Severity::Error { "error" } else { "warning" },
        "problem": issue.problem.name(), "message": issue.at.message, "object": issue.at.object, "what": issue.what,
    })
}
