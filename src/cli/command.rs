//! What a line may ask for besides SQL: `\d`, `\q` and the like, in the shell and in scripts.

use super::args::Format;
use clap::ValueEnum;
use std::path::PathBuf;

/// What `\?` prints.
pub(super) const HELP: &str = r"\d               tables
\d NAME          columns of a table
\i FILE          run the statements of a file
\pset format F   print results as table, csv, tsv, json or ndjson
\quiet on|off    print results and nothing else
\h [STATEMENT]   syntax of SQL statements
\?               this help
\q               quit

A statement ends with `;` and may span lines. Ctrl-C stops a running one.";

/// What `\d` runs.
pub(super) const TABLES: &str = "SELECT table_catalog, table_schema, table_name, table_type \
    FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2, 3";

/// What a line asks for besides SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Help,
    Tables,
    Columns(String),
    Include(PathBuf),
    Format(Format),
    Quiet(bool),
    Syntax(Option<String>),
}

impl Command {
    /// Parses a line that starts with `\`.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim().trim_end_matches(';');
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (name, argument.trim()) {
            (r"\q", "") => Ok(Self::Quit),
            (r"\?", "") => Ok(Self::Help),
            (r"\d", "") => Ok(Self::Tables),
            (r"\d", table) => Ok(Self::Columns(table.into())),
            (r"\i", file) if !file.is_empty() => Ok(Self::Include(file.into())),
            (r"\h", "") => Ok(Self::Syntax(None)),
            (r"\h", statement) => Ok(Self::Syntax(Some(statement.into()))),
            (r"\quiet", "on" | "true" | "") => Ok(Self::Quiet(true)),
            (r"\quiet", "off" | "false") => Ok(Self::Quiet(false)),
            (r"\pset", setting) => match setting.split_once(char::is_whitespace) {
                Some(("format", format)) => Format::from_str(format.trim(), true).map(Self::Format),
                _ => Err(r"wanted \pset format table, csv, tsv, json or ndjson".into()),
            },
            _ => Err(format!(r"no command `{line}`; \? lists those there are")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed() {
        for (line, command) in [
            (r"\q", Command::Quit),
            (r"\d", Command::Tables),
            (r"\d  forecast ;", Command::Columns("forecast".into())),
            (r"\pset format ndjson", Command::Format(Format::Ndjson)),
            (r"\quiet off", Command::Quiet(false)),
            (r"\h select", Command::Syntax(Some("select".into()))),
            (r"\i a b.sql", Command::Include("a b.sql".into())),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
        for line in [r"\i", r"\pset format xml", r"\pset", r"\x", r"\q now"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }
}
