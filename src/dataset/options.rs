//! What can be said when a location is opened: one list of options for SQL, the command line and the docs.

use super::index::{self, IndexUse};
use super::pattern::NamePattern;
use crate::codec::Verify;
use crate::source::{Address, STORAGE_OPTION, StorageOptions};
use crate::tgm::Limits;
use crate::{Error, Result};

/// One option of [`OpenOptions`], in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionDoc {
    /// Key in `OPTIONS (...)` and on the command line.
    pub name: &'static str,
    /// What it accepts.
    pub values: &'static str,
    /// What counts where it isn't given.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Every option, in the order in which help and docs list them.
pub const OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        name: "variables",
        values: "comma-separated names, globs (`t*`) and patterns (`temperature_{level}hPa`)",
        default: "all",
        help: "The variables to keep. A `{dim}` in a pattern becomes a dim whose labels come from the names, and \
               the variables that match become one, named after the rest; `{variable}` keeps a part as the name.",
    },
    OptionDoc {
        name: "variable_key",
        values: "dotted metadata key, such as mars.shortName",
        default: "name, mars.param, param, mars.shortName, shortName; the first that is there",
        help: "The metadata key that names variables.",
    },
    OptionDoc {
        name: "dim_names",
        values: "comma-separated names, outermost first",
        default: "from coordinates, then hints in the metadata, then dim_0, dim_1, ...",
        help: "Names of the axes of every object kept; stacked dims are not among them.",
    },
    OptionDoc {
        name: "stack",
        values: "comma-separated metadata keys, such as mars.step; also `object`, `message` and `file`",
        default: "the keys that tell the objects apart",
        help: "The metadata keys along which objects are stacked, outermost first, instead of those found.",
    },
    OptionDoc {
        name: "raw_keys",
        values: "true or false",
        default: "false",
        help: "Stacked dims are called and labelled as in the metadata (`levelist`, `date` and `time`) instead of \
               `level` and one `time` of timestamps.",
    },
    OptionDoc {
        name: "decode_times",
        values: "true or false",
        default: "true",
        help: "Whether the coordinate `time` becomes timestamps where its attribute `units` is a CF unit since a date.",
    },
    OptionDoc {
        name: "message_index",
        values: "integer from 0",
        default: "all messages",
        help: "Only this message of each file.",
    },
    OptionDoc {
        name: "grid",
        values: "comma-separated dims, with sizes and a number where names are not enough (`y=3,x=4#2`)",
        default: "all grids",
        help: "Only the table with these dims, where a location holds variables of several grids.",
    },
    OptionDoc {
        name: "missing",
        values: "error or null",
        default: "error",
        help: "What a hole is, where the objects don't fill the product of the stacked dims: an error, or NULL cells.",
    },
    OptionDoc {
        name: "skip_broken",
        values: "true or false",
        default: "false",
        help: "Leave out messages that can't be parsed instead of failing.",
    },
    OptionDoc {
        name: "nan_as_null",
        values: "true or false",
        default: "true",
        help: "Whether NaN in float data counts as missing (NULL).",
    },
    OptionDoc {
        name: "range_threshold",
        values: "number from 0 to 1",
        default: "that of the session",
        help: "The largest share of an object that is read by range decoding; above it the object is decoded whole.",
    },
    OptionDoc {
        name: "verify_hash",
        values: Verify::NAMES,
        default: "that of the session",
        help: "Whether the stored hash of an object is checked: never; each time it is decoded whole; or before anything \
               of it is used, parts of it, too (its frame is hashed once, and that is remembered). What is known of \
               chunks by statistics, and of labels by an index, isn't read again, and so not verified: it was made of the \
               values when they were read.",
    },
    OptionDoc {
        name: "limits",
        values: "a list such as `objects=1000,decoded_bytes=4G`",
        default: "see format.md",
        help: "The most that is accepted of a file: message_bytes, frames, objects, axes, cbor_bytes, cbor_depth, \
               broken_messages, decoded_bytes, expansion.",
    },
    OptionDoc {
        name: "index",
        values: "auto, off, require, or the path or URL of an index (`x.mbx`)",
        default: "auto",
        help: "Whether an index written by `millibar index` is used: if it is there and fresh, never, or with an error \
               if it isn't.",
    },
    OptionDoc {
        name: "storage_options",
        values: "a JSON object such as `{\"region\": \"eu-west-1\", \"anon\": true}`; also one by one, as `aws.region`",
        default: "the environment",
        help: "How the stores of remote files are reached: [all names](#how-stores-are-reached). Values are never shown.",
    },
];

/// What a hole in a cube is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Missing {
    /// An error when the location is opened.
    #[default]
    Error,
    /// Cells that are NULL.
    Null,
}

/// A grid, by its dims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridChoice {
    /// Names, and sizes where given, outermost first.
    pub dims: Vec<(String, Option<u64>)>,
    /// Which of several such grids, from 1.
    pub ordinal: Option<usize>,
}

/// How a location becomes tables; see [`OPTIONS`] for each in words.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOptions {
    /// Names and patterns of the variables to keep; empty for all.
    pub variables: Vec<NamePattern>,
    /// Dotted metadata key that names variables.
    pub variable_key: Option<String>,
    /// Names of the axes of every object, outermost first.
    pub dim_names: Option<Vec<String>>,
    /// Dotted metadata keys to stack along, outermost first.
    pub stack: Option<Vec<String>>,
    /// Names and labels of stacked dims as in the metadata.
    pub raw_keys: bool,
    /// Whether a coordinate `time` in CF units becomes timestamps.
    pub decode_times: bool,
    /// The one message of each file to read.
    pub message_index: Option<u64>,
    /// The one grid to keep.
    pub grid: Option<GridChoice>,
    /// What a hole is.
    pub missing: Missing,
    /// Leave out broken messages.
    pub skip_broken: bool,
    /// Whether NaN counts as missing; for the engine.
    pub nan_as_null: bool,
    /// Share of an object up to which ranges are decoded; for the engine.
    pub range_threshold: Option<f64>,
    /// When hashes are checked; for the engine and for coordinate objects.
    pub verify_hash: Verify,
    /// The most that is accepted of a file.
    pub limits: Limits,
    /// Whether an index is used.
    pub index: IndexUse,
    /// How stores are reached, where that isn't left to the environment.
    pub storage: StorageOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            variable_key: None,
            dim_names: None,
            stack: None,
            raw_keys: false,
            decode_times: true,
            message_index: None,
            grid: None,
            missing: Missing::Error,
            skip_broken: false,
            nan_as_null: true,
            range_threshold: None,
            verify_hash: Verify::Off,
            limits: Limits::default(),
            index: IndexUse::Auto,
            storage: StorageOptions::default(),
        }
    }
}

impl OpenOptions {
    /// Options from key and value texts; a later one of the same key counts.
    ///
    /// # Errors
    /// [`Error::Option`] for an unknown key (it lists those that exist) and for a malformed value.
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in pairs {
            options.set(key.as_ref(), value.as_ref())?;
        }
        Ok(options)
    }

    /// Sets one option from text.
    ///
    /// # Errors
    /// As [`OpenOptions::from_pairs`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "variables" => {
                self.variables =
                    list(key, value)?.iter().map(|v| NamePattern::parse(key, v)).collect::<Result<_>>()?
            }
            "variable_key" => self.variable_key = Some(non_empty(key, value)?),
            "dim_names" => self.dim_names = Some(distinct(key, value)?),
            "stack" => self.stack = Some(distinct(key, value)?),
            "raw_keys" => self.raw_keys = boolean(key, value)?,
            "decode_times" => self.decode_times = boolean(key, value)?,
            "message_index" => {
                let index = value.trim().parse();
                self.message_index = Some(index.map_err(|_| bad(key, value, "an integer from 0"))?);
            }
            "grid" => self.grid = Some(grid(key, value)?),
            "missing" => {
                self.missing = choice(key, value, &[("error", Missing::Error), ("null", Missing::Null)])?
            }
            "skip_broken" => self.skip_broken = boolean(key, value)?,
            "nan_as_null" => self.nan_as_null = boolean(key, value)?,
            "range_threshold" => self.range_threshold = Some(share(key, value)?),
            "verify_hash" => {
                let parsed = value.parse();
                self.verify_hash = parsed.map_err(|names| bad(key, value, format!("expected {names}")))?;
            }
            "limits" => self.limits = value.parse()?,
            "index" => self.index = index_use(key, value)?,
            STORAGE_OPTION => self.storage.add_json(value)?,
            _ if self.storage.set(key, value)? => {}
            _ => {
                let names: Vec<_> = OPTIONS.iter().map(|o| o.name).collect();
                return Err(bad(key, value, format!("no such option; there are {}", names.join(", "))));
            }
        }
        Ok(())
    }
}

/// The error of a malformed option.
pub(super) fn bad(option: &str, value: &str, expected: impl Into<String>) -> Error {
    Error::Option { option: option.into(), value: value.into(), expected: expected.into() }
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    choice(key, value, &[("true", true), ("false", false)])
}

fn choice<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T> {
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value.trim()));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        bad(key, value, format!("expected {}", names.join(" or ")))
    })
}

fn share(key: &str, value: &str) -> Result<f64> {
    let share = value.trim().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| bad(key, value, "expected a number from 0 to 1"))
}

fn non_empty(key: &str, value: &str) -> Result<String> {
    match value.trim() {
        "" => Err(bad(key, value, "expected a name")),
        name => Ok(name.into()),
    }
}

/// Comma-separated names, none of them empty.
fn list(key: &str, value: &str) -> Result<Vec<String>> {
    split_list(value).into_iter().map(|item| non_empty(key, item)).collect()
}

/// Comma-separated names that differ.
fn distinct(key: &str, value: &str) -> Result<Vec<String>> {
    let names = list(key, value)?;
    match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        Some((_, name)) => Err(bad(key, value, format!("`{name}` is there twice"))),
        None => Ok(names),
    }
}

fn index_use(key: &str, value: &str) -> Result<IndexUse> {
    let path = value.trim();
    let address = Address::parse(path)?;
    if address.has_extension(index::EXTENSION) {
        return Ok(IndexUse::At(address));
    }
    let choices = [("auto", IndexUse::Auto), ("off", IndexUse::Off), ("require", IndexUse::Require)];
    let found = choices.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(path));
    found.map(|(_, choice)| choice).ok_or_else(|| {
        bad(key, value, "expected auto, off, require, or the path or URL of an index, which ends in `.mbx`")
    })
}

fn grid(key: &str, value: &str) -> Result<GridChoice> {
    let (dims, ordinal) = match value.rsplit_once('#') {
        None => (value, None),
        Some((dims, ordinal)) => match ordinal.trim().parse() {
            Ok(ordinal) if ordinal > 0 => (dims, Some(ordinal)),
            _ => return Err(bad(key, value, "expected a number from 1 after `#`")),
        },
    };
    if dims.trim().is_empty() {
        return Ok(GridChoice { dims: Vec::new(), ordinal }); // the grid of scalars
    }
    let dim = |dim: String| match dim.split_once('=') {
        None => Ok((dim, None)),
        Some((name, size)) => match size.trim().parse() {
            Ok(size) => Ok((non_empty(key, name)?, Some(size))),
            Err(_) => Err(bad(key, value, "expected dims as `name` or `name=size`")),
        },
    };
    Ok(GridChoice { dims: list(key, dims)?.into_iter().map(dim).collect::<Result<_>>()?, ordinal })
}

/// Splits at commas outside of braces and brackets; the items are trimmed.
pub(super) fn split_list(text: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(text[start..].trim());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(key: &str, value: &str) -> String {
        OpenOptions::from_pairs([(key, value)]).unwrap_err().to_string()
    }

    #[test]
    fn every_documented_option_can_be_set() {
        let values = [
            ("variables", "t, temperature_{level}hPa"),
            ("variable_key", "mars.param"),
            ("dim_names", "y, x"),
            ("stack", "mars.step,message"),
            ("raw_keys", "true"),
            ("decode_times", "false"),
            ("message_index", "3"),
            ("grid", "y=3, x#2"),
            ("missing", "null"),
            ("skip_broken", "TRUE"),
            ("nan_as_null", "false"),
            ("range_threshold", "0.25"),
            ("verify_hash", "full"),
            ("limits", "objects=7"),
            ("index", "data/x.mbx"),
            ("storage_options", "{\"region\": \"x\"}"),
        ];
        assert_eq!(values.map(|(key, _)| key).to_vec(), OPTIONS.iter().map(|o| o.name).collect::<Vec<_>>());
        let got = OpenOptions::from_pairs(values).unwrap();
        assert_eq!(got.variables.len(), 2);
        let default = OpenOptions::default();
        assert_eq!(got.variable_key.as_deref(), Some("mars.param"));
        assert_eq!(got.dim_names, Some(vec!["y".into(), "x".into()]));
        assert_eq!(got.stack, Some(vec!["mars.step".into(), "message".into()]));
        assert_ne!(got.raw_keys, default.raw_keys);
        assert_ne!(got.decode_times, default.decode_times);
        assert_eq!(got.message_index, Some(3));
        let dims = vec![("y".into(), Some(3)), ("x".into(), None)];
        assert_eq!(got.grid, Some(GridChoice { dims, ordinal: Some(2) }));
        assert_ne!(got.missing, default.missing);
        assert_ne!(got.skip_broken, default.skip_broken);
        assert_ne!(got.nan_as_null, default.nan_as_null);
        assert_eq!(got.range_threshold, Some(0.25));
        assert_ne!(got.verify_hash, default.verify_hash);
        assert_eq!(got.index, IndexUse::At(Address::parse("data/x.mbx").unwrap()));
        assert!(!got.storage.is_empty() && default.storage.is_empty());
    }

    #[test]
    fn malformed_values_say_what_is_accepted() {
        assert!(error("missing", "maybe").ends_with("expected error or null"));
        assert!(error("range_threshold", "1.5").contains("from 0 to 1"));
        assert!(error("range_threshold", "NaN").contains("from 0 to 1"));
        assert!(error("message_index", "-1").contains("from 0"));
        assert!(error("dim_names", "y,y").contains("twice"));
        assert!(error("dim_names", "y,").contains("expected a name"));
        assert!(error("grid", "y=x").contains("name=size"));
        assert!(error("grid", "y#0").contains("from 1"));
        let unknown = error("dimnames", "y");
        assert!(OPTIONS.iter().all(|o| unknown.contains(o.name)), "{unknown}");
    }

    #[test]
    fn lists_split_outside_braces() {
        assert_eq!(split_list("a, b_{t:%Y,%m} ,[x,y]"), ["a", "b_{t:%Y,%m}", "[x,y]"]);
    }
}
