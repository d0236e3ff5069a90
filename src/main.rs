//! The `millibar` command; `millibar --help` says what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    millibar::cli::run(std::env::args_os())
}
