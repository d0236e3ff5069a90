//! The interactive shell: statements over several lines, history, completion, `\` commands.

use super::error::CliError;
use super::script::{Flow, Runner};
use completion::ShellHelper;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use std::path::PathBuf;

mod completion;

/// Reads and runs statements until the user quits. Errors are shown and don't end it.
pub(super) async fn run(mut runner: Runner) -> Result<(), CliError> {
    let failed = |e: ReadlineError| CliError::io("the terminal", std::io::Error::other(e));
    let mut editor = Editor::<ShellHelper, DefaultHistory>::new().map_err(failed)?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    if !runner.printer.quiet {
        println!(r"Millibar {}; \? for help, \q to quit", env!("CARGO_PKG_VERSION"));
    }
    loop {
        editor.set_helper(Some(ShellHelper::new(&runner.session).await));
        let line = match editor.readline("millibar> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(failed(e)),
        };
        if line.trim().is_empty() {
            continue;
        }
        editor.add_history_entry(line.trim()).map_err(failed)?;
        if obey(&mut runner, &line).await == Flow::Quit {
            break;
        }
    }
    if let Some(path) = history
        && let Err(e) = editor.save_history(&path)
    {
        eprintln!("error: the history can't be kept in {}: {e}", path.display());
    }
    Ok(())
}

/// Runs one line until it ends or Ctrl-C is pressed; what fails is said.
async fn obey(runner: &mut Runner, line: &str) -> Flow {
    let done = tokio::select! {
        done = runner.run(line) => done,
        pressed = tokio::signal::ctrl_c() => match pressed {
            Ok(()) => Err(CliError::Command("interrupted".into())),
            Err(e) => Err(CliError::io("listening for Ctrl-C", e)),
        },
    };
    done.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        Flow::Continue
    })
}

/// Where the history is kept: `MILLIBAR_HISTORY`, or `.millibar_history` in the home directory.
fn history_file() -> Option<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".millibar_history"));
    std::env::var_os("MILLIBAR_HISTORY").map(PathBuf::from).or_else(home)
}
