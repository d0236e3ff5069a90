//! Where files are, what is accepted of them, and what may be written for the commands that look at files as such:
//! validate, ls, get.

use crate::Result;
use crate::source::Address;
use crate::tgm::Limits;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// A path or a URL; what isn't Unicode is a path.
pub(in crate::cli) fn address() -> impl TypedValueParser<Value = Address> {
    OsStringValueParser::new().try_map(|text: OsString| -> Result<Address> {
        text.to_str().map_or_else(|| Ok(PathBuf::from(&text).into()), Address::parse)
    })
}

/// Bounds on what is accepted of files.
#[derive(Debug, Args)]
pub(in crate::cli) struct LimitArgs {
    /// The most that is accepted of a file, such as objects=1000,decoded_bytes=4G: message_bytes, frames, objects,
    /// axes, cbor_bytes, cbor_depth, broken_messages, decoded_bytes, expansion
    #[arg(long, value_name = "NAME=N,...")]
    limits: Option<Limits>,
}

impl LimitArgs {
    /// What was asked for, or else the usual.
    pub(in crate::cli) fn limits(&self) -> Limits {
        self.limits.clone().unwrap_or_default()
    }

    /// As an option of a table, if anything was asked for.
    pub(in crate::cli) fn option(&self) -> Option<(String, String)> {
        self.limits.as_ref().map(|limits| ("limits".into(), limits.to_string()))
    }
}

const VALIDATE_EXAMPLES: &str = "\
Examples:
  millibar validate forecast.tgm
  millibar validate --level full --json data/*.tgm > report.json

Exit status: 0 if all files are sound; 1 if one isn't, or can't be read; 2 on misuse.";

#[derive(Debug, Args)]
#[command(after_help = VALIDATE_EXAMPLES)]
pub(in crate::cli) struct ValidateArgs {
    /// Files, or their URLs
    #[arg(value_name = "PATH", required = true, value_parser = address())]
    pub(in crate::cli) paths: Vec<Address>,
    /// How deep; each level has those before it
    #[arg(long, value_enum, default_value_t = LevelArg::Checksum)]
    pub(in crate::cli) level: LevelArg,
    /// Fail on warnings, too
    #[arg(long)]
    pub(in crate::cli) strict: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

/// How deep a validation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LevelArg {
    /// Framing, metadata, descriptors; what indexes, flags and paddings say
    Structure,
    /// The hash of every frame, those of metadata too
    Checksum,
    /// Every object decoded; NaN and infinities that no mask announces; canonical CBOR
    Full,
}

const LS_EXAMPLES: &str = "Examples:\n  millibar ls forecast.tgm\n  millibar ls --json data/*.tgm";

#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
pub(in crate::cli) struct LsArgs {
    /// Files, or their URLs
    #[arg(value_name = "PATH", required = true, value_parser = address())]
    pub(in crate::cli) paths: Vec<Address>,
    /// Print one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

const GET_EXAMPLES: &str = "\
Examples:
  millibar get mars.param forecast.tgm
  millibar get --message 0 --object 2 units forecast.tgm

A key is looked for in the metadata of each object in turn, then in that of the message; dots lead into maps. Each
message gives a line: a text as it is, anything else as JSON.

Exit status: 0; 1 if a message lacks the key, or a file can't be read; 2 on misuse.";

#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub(in crate::cli) struct GetArgs {
    /// A key, such as name or mars.param
    pub(in crate::cli) key: String,
    /// Files, or their URLs
    #[arg(value_name = "PATH", required = true, value_parser = address())]
    pub(in crate::cli) paths: Vec<Address>,
    /// Only this message of each file, from 0
    #[arg(long, value_name = "I")]
    pub(in crate::cli) message: Option<u64>,
    /// Only this object of each message, from 0, and what is said of the message
    #[arg(long, value_name = "J")]
    pub(in crate::cli) object: Option<u64>,
    /// Print texts as JSON, too
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}
