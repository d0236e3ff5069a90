//! Statements, one after the other.

use super::command::{Command, HELP, TABLES};
use super::error::CliError;
use super::output::Printer;
use crate::engine::analyze::plan_statement;
use crate::engine::statements::parse;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion_cli::functions::{Function, display_all_functions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Scripts that include scripts end here.
const MAX_DEPTH: usize = 16;

/// Runs scripts: SQL statements that `;` separates, and lines that start with `\`.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) session: SessionContext,
    pub(super) printer: Printer,
    depth: usize,
}

/// Whether a script wants what comes after it to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Quit,
}

impl Runner {
    pub(super) fn new(session: SessionContext, printer: Printer) -> Self {
        Self { session, printer, depth: 0 }
    }

    /// Runs a script and prints the result of each statement. The first that fails ends it; those before it
    /// have run.
    ///
    /// # Errors
    /// Those of the statement or command that failed.
    pub(super) async fn run(&mut self, script: &str) -> Result<Flow, CliError> {
        for piece in pieces(script) {
            match piece {
                Piece::Sql(sql) => self.statements(sql).await?,
                Piece::Command(line) => {
                    let command = Command::parse(line).map_err(CliError::Command)?;
                    if Box::pin(self.command(command)).await? == Flow::Quit {
                        return Ok(Flow::Quit);
                    }
                }
            }
        }
        Ok(Flow::Continue)
    }

    async fn command(&mut self, command: Command) -> Result<Flow, CliError> {
        match command {
            Command::Quit => return Ok(Flow::Quit),
            Command::Help => say(HELP)?,
            Command::Tables => self.statements(TABLES).await?,
            Command::Columns(table) => self.statements(&format!("DESCRIBE {table}")).await?,
            Command::Include(path) => return self.include(&path).await,
            Command::Format(format) => self.printer.format = format,
            Command::Quiet(quiet) => self.printer.quiet = quiet,
            Command::Syntax(None) => display_all_functions()?,
            Command::Syntax(Some(statement)) => {
                let known: Function =
                    statement.parse().map_err(|()| CliError::Command(format!("no help on `{statement}`")))?;
                say(known.function_details()?.trim())?;
            }
        }
        Ok(Flow::Continue)
    }

    async fn include(&mut self, path: &Path) -> Result<Flow, CliError> {
        if self.depth == MAX_DEPTH {
            let what = format!("{}: scripts include each other more than {MAX_DEPTH} deep", path.display());
            return Err(CliError::Command(what));
        }
        let script = read(path)?;
        self.depth += 1;
        let done = self.run(&script).await;
        self.depth -= 1;
        done
    }

    async fn statements(&self, sql: &str) -> Result<(), CliError> {
        let (statements, unparsed) = parse(&self.session.state(), sql)?;
        for statement in statements {
            execute(&self.session, statement, &self.printer).await?;
        }
        unparsed.map_or(Ok(()), |e| Err(e.into()))
    }
}

/// The text of a script; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<String, CliError> {
    let text =
        if path == Path::new("-") { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(path) };
    text.map_err(|e| CliError::io(path.display().to_string(), e))
}

fn say(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "{text}").map_err(CliError::output)
}

/// A part of a script.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Sql(&'a str),
    /// One line that starts with `\`.
    Command(&'a str),
}

/// A script cut at the lines that start with `\`, in order. SQL that is blank is left out.
fn pieces(script: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    for line in script.split_inclusive('\n') {
        if line.starts_with('\\') {
            pieces.extend([Piece::Sql(&script[start..at]), Piece::Command(line.trim_end())]);
            start = at + line.len();
        }
        at += line.len();
    }
    pieces.push(Piece::Sql(&script[start..]));
    pieces.retain(|piece| !matches!(piece, Piece::Sql(sql) if sql.trim().is_empty()));
    pieces
}

async fn execute(session: &SessionContext, statement: Statement, printer: &Printer) -> Result<(), CliError> {
    let started = Instant::now();
    // Copied once: that takes a good part of what a small statement takes.
    let state = session.state();
    let plan = plan_statement(&state, statement).await?;
    let whole =
        matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_));
    let (plan, task) = match plan {
        // What changes the session counts for its own result, too.
        LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => {
            let frame = session.execute_logical_plan(plan).await?;
            (frame.create_physical_plan().await?, session.task_ctx())
        }
        plan => (state.create_physical_plan(&plan).await?, Arc::new(TaskContext::from(&state))),
    };
    let formats = task.session_config().options().format.clone();
    let results = execute_stream(plan, task)?;
    printer.print(results, &formats, whole, started).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_cut_at_command_lines() {
        let script = "SELECT 1;\n\\d\nSELECT\n 2;\n\\q";
        let cut = [
            Piece::Sql("SELECT 1;\n"),
            Piece::Command("\\d"),
            Piece::Sql("SELECT\n 2;\n"),
            Piece::Command("\\q"),
        ];
        assert_eq!(pieces(script), cut);
        assert_eq!(pieces(" \n"), []);
    }
}
