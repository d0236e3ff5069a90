//! What may be written on the command line.

pub(super) mod convert;
pub(super) mod files;

use crate::codec::ElementRange;
use crate::source::Address;
use crate::tgm::parse_size;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};
use convert::ConvertArgs;
use files::{GetArgs, LimitArgs, LsArgs, ValidateArgs, address};
use std::net::SocketAddr;
use std::path::PathBuf;

/// SQL over stored tensors: reductions pushed down into range decoding of Tensogram files.
#[derive(Debug, Parser)]
#[command(name = "millibar", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  millibar sql forecast.tgm                        an interactive shell with one table, `forecast`
  millibar sql -c 'SELECT mean(t) FROM f' f=x.tgm  one answer
  millibar serve 'data/*.tgm'                      the same over Arrow Flight
  millibar info forecast.tgm                       what is in a file
  millibar export x.tgm --message 0 --object 2 -o x.npy";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run SQL statements, or an interactive shell
    Sql(SqlArgs),
    /// Serve tables over Arrow Flight and Flight SQL
    Serve(ServeArgs),
    /// Show dims, variables, chunks, codecs and sizes
    Info(InfoArgs),
    /// Write an index beside files, so that opening them is quick and statistics are known
    Index(IndexArgs),
    /// Write one decoded object, or element ranges of it, as .npy
    Export(ExportArgs),
    /// List messages and objects
    Ls(LsArgs),
    /// Print a value of the metadata
    Get(GetArgs),
    /// Say whether files are sound
    Validate(ValidateArgs),
    /// Write a file with other encodings
    Convert(Box<ConvertArgs>),
}

const SQL_EXAMPLES: &str = "\
Examples:
  millibar sql forecast.tgm
  millibar sql -c 'SELECT level, mean(temperature) FROM t GROUP BY level ORDER BY level' \\
      --option variables='temperature_{level}hPa' 't=data/temperature_{time:%Y%m%d}.tgm'
  millibar sql --format csv -q -f queries.sql 'data/*.tgm' > answers.csv
  echo 'SELECT 1' | millibar sql

Exit status: 0; 1 if a statement or a file failed (what follows is not run); 2 on misuse.";

#[derive(Debug, Args)]
#[command(after_help = SQL_EXAMPLES)]
pub(super) struct SqlArgs {
    /// Run these statements (separated by `;`) and exit; may be repeated, also with -f, in the order given
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,
    /// Run the statements of a file (`-` is standard input) and exit; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
    /// Print results and nothing else
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Most rows of one result in table format; `inf` for all
    #[arg(long, value_name = "N", default_value = "40", value_parser = parse_max_rows)]
    pub(super) maxrows: MaxRows,
    #[command(flatten)]
    pub(super) tables: TableArgs,
    /// The commands and files, in the order given.
    #[arg(skip)]
    pub(super) scripts: Vec<Script>,
}

/// Statements to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Script {
    Text(String),
    File(PathBuf),
}

impl SqlArgs {
    /// Fills `scripts`: the parser itself keeps commands and files apart.
    pub(super) fn order(&mut self, matches: &ArgMatches) {
        let places = |id| matches.indices_of(id).into_iter().flatten();
        let commands = std::mem::take(&mut self.commands).into_iter().map(Script::Text);
        let files = std::mem::take(&mut self.files).into_iter().map(Script::File);
        let mut all: Vec<_> = places("commands").zip(commands).chain(places("files").zip(files)).collect();
        all.sort_by_key(|(place, _)| *place);
        self.scripts = all.into_iter().map(|(_, script)| script).collect();
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns
    Table,
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
}

/// Rows of a table that are printed; `None` is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MaxRows(pub(super) Option<usize>);

fn parse_max_rows(text: &str) -> Result<MaxRows, String> {
    match text {
        "inf" | "infinite" | "none" => Ok(MaxRows(None)),
        n => n.parse().map(|n| MaxRows(Some(n))).map_err(|_| "a number of rows, or inf".to_string()),
    }
}

const SERVE_EXAMPLES: &str = "\
Examples:
  millibar serve forecast.tgm
  millibar serve --listen 0.0.0.0:0 --log info 't=data/temperature_{time:%Y%m%d}.tgm'

One line on standard output says when and where the server listens. SIGINT and SIGTERM stop it: requests in
flight get a few seconds to finish. There is no authentication and no encryption: listen where only those can
connect who may read the tables.";

#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(super) struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:50051")]
    pub(super) listen: SocketAddr,
    /// What to log, on standard error: a level, or targets with levels as in RUST_LOG, which is the default
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
    #[command(flatten)]
    pub(super) tables: TableArgs,
}

/// How files become tables.
#[derive(Debug, Args)]
pub(super) struct OptionArgs {
    /// An option of the tables, as in OPTIONS (...): variables, dim_names, variable_key, ...
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = parse_pair)]
    options: Vec<(String, String)>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl OptionArgs {
    /// All options; of a key that comes twice the last one counts.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.options.iter().cloned().chain(self.limits.option())
    }
}

/// Tables and the session around them.
#[derive(Debug, Args)]
pub(super) struct TableArgs {
    /// Files, globs (`data/*.tgm`) or patterns with dims (`t_{time:%Y%m%d}.tgm`), each one table, named by its
    /// stem or by NAME
    #[arg(value_name = "[NAME=]PATH", value_parser = parse_table)]
    pub(super) tables: Vec<TableArg>,
    #[command(flatten)]
    pub(super) options: OptionArgs,
    /// A setting of the session, as in SET KEY = VALUE: millibar.grid_aggregate=false, ...
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(super) settings: Vec<(String, String)>,
    /// Most memory for queries, such as 512M or 4G
    #[arg(short = 'm', long, value_name = "SIZE", value_parser = parse_memory)]
    pub(super) memory_limit: Option<usize>,
}

/// A table to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableArg {
    /// An identifier in lower case.
    pub(super) name: String,
    /// File, glob or pattern.
    pub(super) location: String,
}

fn parse_table(text: &str) -> Result<TableArg, String> {
    if let Some((name, location)) = text.split_once('=')
        && is_identifier(name)
    {
        if location.is_empty() {
            return Err("there is no path after the `=`".into());
        }
        return Ok(TableArg { name: name.to_ascii_lowercase(), location: location.into() });
    }
    match table_name(text) {
        Some(name) => Ok(TableArg { name, location: text.into() }),
        None => Err("no name for the table in it: write NAME=PATH".into()),
    }
}

fn is_identifier(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(word)
}

/// The stem of a path without its `{dims}` and wildcards, as an identifier that needs no quotes:
/// `data/temperature_{time:%Y%m%d}.tgm` is `temperature`.
fn table_name(path: &str) -> Option<String> {
    let file = path.trim_end_matches('/').rsplit('/').next()?;
    let (mut plain, mut depth) = (String::new(), 0usize);
    for c in file.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            '*' | '?' => {}
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let stem = plain.rsplit_once('.').map_or(plain.as_str(), |(stem, _)| stem);
    let words: Vec<_> = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let name = words.join("_").to_ascii_lowercase();
    match name.chars().next()? {
        '0'..='9' => Some(format!("_{name}")),
        _ => Some(name),
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.into())),
        _ => Err("wanted KEY=VALUE".into()),
    }
}

/// Bytes of memory; see [`parse_size`].
fn parse_memory(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        0 => Err("no query runs without memory".into()),
        bytes => usize::try_from(bytes).map_err(|_| "more than this machine can address".into()),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  millibar info forecast.tgm\n  millibar info --json 'data/*.tgm'")]
pub(super) struct InfoArgs {
    /// A file, a glob or a pattern with dims
    pub(super) path: String,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) options: OptionArgs,
}

const INDEX_EXAMPLES: &str = "\
Examples:
  millibar index forecast.tgm                      writes forecast.tgm.mbx
  millibar index --no-statistics 'data/*.tgm'      one index of all of them, in data/
  millibar index --option variables='temperature_{level}hPa' 'data/temperature_{time:%Y%m%d}.tgm'

A table uses the index of its location and options as long as no file was changed, added or removed.";

#[derive(Debug, Args)]
#[command(after_help = INDEX_EXAMPLES)]
pub(super) struct IndexArgs {
    /// Files, folders, globs or patterns with dims; each gets an index of its own
    #[arg(value_name = "PATH", required = true)]
    pub(super) paths: Vec<String>,
    /// Where to write the index of a single PATH, instead of beside the files; the option `index` of a table names it
    #[arg(short, long, value_name = "FILE.mbx", value_parser = parse_index)]
    pub(super) output: Option<PathBuf>,
    /// Leave out the statistics of chunks: nothing is decoded then
    #[arg(long)]
    pub(super) no_statistics: bool,
    #[command(flatten)]
    pub(super) options: OptionArgs,
}

fn parse_index(text: &str) -> Result<PathBuf, String> {
    if text.ends_with(".mbx") { Ok(text.into()) } else { Err("the name of an index ends in `.mbx`".into()) }
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  millibar export x.tgm --message 0 --object 2 -o x.npy
  millibar export x.tgm --message 0 --object 2 --range 0:10 --range 500:1 -o - | python -c ...";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(super) struct ExportArgs {
    /// A .tgm file, or its URL
    #[arg(value_parser = address())]
    pub(super) path: Address,
    /// Position of the message in the file, from 0
    #[arg(long, value_name = "I")]
    pub(super) message: u64,
    /// Position of the object in the message, from 0
    #[arg(long, value_name = "J")]
    pub(super) object: u64,
    /// Elements of the flattened object (C order) instead of all; may be repeated, in any order
    #[arg(long = "range", value_name = "OFFSET:COUNT", value_parser = parse_range)]
    pub(super) ranges: Vec<ElementRange>,
    /// Where to write; `-` is standard output. The dtype is the object's own, little-endian; bfloat16 becomes
    /// float32, bitmask bool
    #[arg(short, long, value_name = "OUT.npy")]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

fn parse_range(text: &str) -> Result<ElementRange, String> {
    let parsed = text.split_once(':').and_then(|(start, count)| {
        let range = ElementRange { start: start.parse().ok()?, count: count.parse().ok()? };
        range.start.checked_add(range.count)?;
        Some(range)
    });
    parsed.ok_or_else(|| "wanted OFFSET:COUNT, two numbers of elements".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tables_are_named_by_their_stem() {
        for (path, name) in [
            ("temperature_{time:%Y%m%d}.tgm", Some("temperature")),
            ("data/ERA5-land.tgm", Some("era5_land")),
            ("data/temperature_2026*.tgm", Some("temperature_2026")),
            ("data/[ab]_x.tgm", Some("x")),
            ("20260401.tgm", Some("_20260401")),
            ("dir/", Some("dir")),
            ("{time}.tgm", None),
            ("*.tgm", None),
        ] {
            assert_eq!(table_name(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn only_an_identifier_before_the_first_equals_sign_is_a_name() {
        let table = |text| parse_table(text).map(|t| (t.name, t.location)).ok();
        let is = |name: &str, location: &str| Some((name.to_string(), location.to_string()));
        assert_eq!(table("T2m=x.tgm"), is("t2m", "x.tgm"));
        assert_eq!(table("./a=b.tgm"), is("a_b", "./a=b.tgm"));
        assert_eq!(table("x="), None);
    }

    #[test]
    fn sizes_and_ranges() {
        assert_eq!(parse_memory("512M"), Ok(512 << 20));
        assert_eq!(parse_memory("4GiB"), Ok(4 << 30));
        assert_eq!(parse_memory("1000"), Ok(1000));
        assert!(["", "M", "-1", "0", "4X", "99999999999T"].iter().all(|text| parse_memory(text).is_err()));
        assert_eq!(parse_range("3:4"), Ok(ElementRange { start: 3, count: 4 }));
        assert!(
            ["", "3", "3:", ":4", "-1:2", "18446744073709551615:1"].iter().all(|t| parse_range(t).is_err())
        );
    }

    #[test]
    fn commands_and_files_keep_their_order() {
        let matches = Cli::command()
            .try_get_matches_from(["millibar", "sql", "-c", "1", "-f", "a", "-c", "2", "x.tgm"])
            .unwrap();
        let Command::Sql(mut args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!() };
        args.order(matches.subcommand().unwrap().1);
        let text = |sql: &str| Script::Text(sql.into());
        assert_eq!(args.scripts, [text("1"), Script::File("a".into()), text("2")]);
    }
}
