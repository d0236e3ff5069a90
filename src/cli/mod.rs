//! The `millibar` command.
//!
//! ```text
//! args     what may be written on the command line
//! session  PATHs -> a session with one table each
//! script   statements and `\` commands one after the other, each printed by output
//! shell    the same, interactively
//! serve, info, index, export, ls, get, validate, convert
//! ```
//! Exit status: 0, 1 for a failed query or file, 2 for misuse.

mod args;
mod command;
mod convert;
mod error;
mod export;
mod get;
mod index;
mod info;
mod ls;
mod npy;
mod output;
mod progress;
mod script;
mod serve;
mod session;
mod shell;
mod sql;
mod validate;
mod words;

use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use error::CliError;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line `args` (the program's name first) and returns its exit status. Results go to stdout;
/// errors go to stderr as one `error: ...` sentence.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::engine::heap::keep_freed_memory();
    let matches = match Cli::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) => return usage(&e),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let done = match cli.command {
        Command::Sql(mut args) => {
            if let Some((_, matches)) = matches.subcommand() {
                args.order(matches);
            }
            sql::run(args)
        }
        Command::Serve(args) => serve::run(args),
        Command::Info(args) => info::run(&args),
        Command::Index(args) => index::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Convert(args) => convert::run(&args),
    };
    match done {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(error @ CliError::Failed) => ExitCode::from(error.exit_status()),
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.exit_status())
        }
    }
}

/// Help and version are "errors" of the parser, too; it knows their exit status.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do if not even this can be said.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Threads for decoding and reducing, and for waiting.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|e| CliError::io("starting threads", e))
}
