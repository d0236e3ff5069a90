//! What the line editor asks: is the statement complete, and how could a word go on?

use datafusion::catalog::SchemaProvider;
use datafusion::prelude::SessionContext;
use datafusion_cli::helper::CliHelper;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Words that begin clauses and statements; the rest is typed faster than completed.
const KEYWORDS: &[&str] = &[
    "ANALYZE",
    "BETWEEN",
    "CREATE",
    "DESCRIBE",
    "DISTINCT",
    "EXPLAIN",
    "EXTERNAL",
    "FILTER",
    "GROUP",
    "HAVING",
    "LIMIT",
    "LOCATION",
    "OPTIONS",
    "ORDER",
    "SELECT",
    "SHOW",
    "STORED",
    "TABLE",
    "TENSOGRAM",
    "UNION",
    "WHERE",
];

/// The helper of DataFusion's shell (validation, highlighting, file names in `LOCATION '...'`), which also
/// completes tables, columns, functions and keywords.
pub(super) struct ShellHelper {
    inner: CliHelper,
    names: BTreeSet<String>,
}

impl ShellHelper {
    /// A helper that knows the names of `session` as they are now.
    pub(super) async fn new(session: &SessionContext) -> Self {
        let state = session.state();
        let mut names: BTreeSet<_> = KEYWORDS.iter().map(|word| word.to_string()).collect();
        names.extend(state.scalar_functions().keys().cloned());
        names.extend(state.aggregate_functions().keys().cloned());
        for catalog in session.catalog_names() {
            let Some(catalog) = session.catalog(&catalog) else { continue };
            for schema in catalog.schema_names() {
                if let Some(schema) = catalog.schema(&schema) {
                    names.extend(names_of(schema.as_ref()).await);
                }
            }
        }
        let color = std::env::var_os("NO_COLOR").is_none();
        Self { inner: CliHelper::new(&state.config_options().sql_parser.dialect, color), names }
    }
}

/// Tables of a schema and their columns.
async fn names_of(schema: &dyn SchemaProvider) -> Vec<String> {
    let mut names = schema.table_names();
    for table in schema.table_names() {
        // A table that can't be opened is still a name.
        if let Ok(Some(table)) = schema.table(&table).await {
            names.extend(table.schema().fields().iter().map(|field| field.name().clone()));
        }
    }
    names
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, ctx: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, files) = self.inner.complete(line, pos, ctx)?;
        if files.is_empty() { Ok(complete_word(&self.names, line, pos)) } else { Ok((start, files)) }
    }
}

/// Names that go on from the word before `pos`, whatever its case.
fn complete_word(names: &BTreeSet<String>, line: &str, pos: usize) -> (usize, Vec<Pair>) {
    let before = &line[..pos];
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let start = before.trim_end_matches(word).len();
    let typed = before[start..].to_lowercase();
    if typed.is_empty() {
        return (pos, Vec::new());
    }
    let lower = typed == before[start..];
    let candidates = names.iter().filter(|name| name.to_lowercase().starts_with(&typed)).map(|name| {
        let keyword = KEYWORDS.contains(&name.as_str());
        let text = if keyword && lower { name.to_lowercase() } else { name.clone() };
        Pair { display: text.clone(), replacement: text }
    });
    (start, candidates.collect())
}

impl Hinter for ShellHelper {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Option<String> {
        self.inner.hint(line, pos, ctx)
    }
}

impl Highlighter for ShellHelper {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        self.inner.highlight(line, pos)
    }

    fn highlight_char(&self, line: &str, pos: usize, kind: CmdKind) -> bool {
        self.inner.highlight_char(line, pos, kind)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.inner.highlight_hint(hint)
    }
}

impl Validator for ShellHelper {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if ctx.input().trim().is_empty() {
            return Ok(ValidationResult::Valid(None));
        }
        self.inner.validate(ctx)
    }
}

impl Helper for ShellHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_on_as_names_keywords_in_the_case_typed() {
        let names = ["temperature", "time", "SELECT"].map(String::from).into();
        let complete = |line: &str| {
            let (start, found) = complete_word(&names, line, line.len());
            (start, found.into_iter().map(|pair| pair.replacement).collect::<Vec<_>>())
        };
        assert_eq!(complete("sel"), (0, vec!["select".into()]));
        assert_eq!(complete("SEL"), (0, vec!["SELECT".into()]));
        assert_eq!(complete("SELECT mean(T"), (12, vec!["temperature".into(), "time".into()]));
        assert_eq!(complete("SELECT "), (7, vec![]));
    }
}
