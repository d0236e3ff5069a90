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
    runtime()?.block_on(async {
        let printer = Printer { format: args.format, quiet: args.quiet, max_rows: args.maxrows };
        let mut runner = Runner::new(session::open(&args.tables).await?, printer);
        if !args.scripts.is_empty() {
            return run_scripts(&mut runner, &args.scripts).await;
        }
        if io::stdin().is_terminal() {
            return shell::run(runner).await;
        }
        runner.run(&read(Path::new("-"))?).await.map(|_| ())
    })
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
