//! `millibar sql`.

use super::args::{Script, SqlArgs};
use super::error::CliError;
use super::output::Printer;
use super::script::{Flow, Runner, read};
use super::{runtime, session, shell};
use std::io::{self, IsTerminal};
use std::path::Path;

/// Runs the commands and files; without any, standard input: a shell if that is a terminal.
pub(super) fn run(args: SqlArgs) -> Result<(), CliError> {
    let queries = runtime()?;
    let session = queries.block_on(session::open(&args.tables))?;
    let printer = Printer { format: args.format, quiet: args.quiet, max_rows: args.maxrows };
    let mut runner = Runner::new(session, printer);
    if !args.scripts.is_empty() {
        queries.block_on(run_scripts(&mut runner, &args.scripts))
    } else if io::stdin().is_terminal() {
        shell::run(runner, queries)
    } else {
        let script = read(Path::new("-"))?;
        queries.block_on(runner.run(&script)).map(|_| ())
    }
}

async fn run_scripts(runner: &mut Runner, scripts: &[Script]) -> Result<(), CliError> {
    for script in scripts {
        let flow = match script {
            Script::Text(script) => runner.run(script).await?,
            Script::File(path) => runner.run(&read(path)?).await?,
        };
        if flow == Flow::Quit {
            break;
        }
    }
    Ok(())
}
