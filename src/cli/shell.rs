//! The interactive shell: statements over several lines, history, completion, `\` commands.

use super::error::CliError;
use super::runtime;
use super::script::{Flow, Runner};
use completion::ShellHelper;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

mod completion;

/// Reads statements, and runs them on `queries`, until the user quits. Errors are shown and don't end it.
pub(super) fn run(runner: Runner, mut queries: Runtime) -> Result<(), CliError> {
    // Busy queries may take every thread of theirs: Ctrl-C is listened for elsewhere.
    let terminal = Builder::new_current_thread().enable_all().build();
    let terminal = terminal.map_err(|e| CliError::io("starting the shell", e))?;
    let done = terminal.block_on(converse(runner, &mut queries));
    queries.shutdown_background();
    done
}

async fn converse(mut runner: Runner, queries: &mut Runtime) -> Result<(), CliError> {
    let failed = |e: ReadlineError| CliError::io("the terminal", std::io::Error::other(e));
    let mut editor = Editor::<ShellHelper, DefaultHistory>::new().map_err(failed)?;
    let mut history = history_file();
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
        if let Some(path) = &history
            && let Err(e) = editor.append_history(path)
        {
            eprintln!("error: the history can't be kept in {}: {e}", path.display());
            history = None;
        }
        if obey(&mut runner, line, queries).await == Flow::Quit {
            break;
        }
    }
    Ok(())
}

/// Runs one line until it ends or Ctrl-C is pressed; what fails is said.
async fn obey(runner: &mut Runner, line: String, queries: &mut Runtime) -> Flow {
    let mut copy = runner.clone();
    let mut task = queries.spawn(async move {
        let done = copy.run(&line).await;
        (copy, done)
    });
    let done = tokio::select! {
        ended = &mut task => match ended {
            Ok((changed, done)) => {
                *runner = changed;
                done
            }
            Err(_) => Err(CliError::Command("the statement failed in an unexpected way".into())),
        },
        pressed = tokio::signal::ctrl_c() => {
            task.abort();
            let pressed = pressed.map_err(|e| CliError::io("listening for Ctrl-C", e));
            pressed.and_then(|()| renew(queries)).and(Err(CliError::Command("interrupted".into())))
        }
    };
    done.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        Flow::Continue
    })
}

/// Gives what comes next threads of its own: a stopped query may take long to notice it.
fn renew(queries: &mut Runtime) -> Result<(), CliError> {
    std::mem::replace(queries, runtime()?).shutdown_background();
    Ok(())
}

/// Where the history is kept: `MILLIBAR_HISTORY`, or `.millibar_history` in the home directory.
fn history_file() -> Option<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".millibar_history"));
    std::env::var_os("MILLIBAR_HISTORY").map(PathBuf::from).or_else(home)
}
