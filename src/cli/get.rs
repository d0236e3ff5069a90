//! `millibar get`.

use super::args::files::GetArgs;
use super::error::CliError;
use crate::tgm::{self, File, Message, Value};
use crate::{Error, Place, Result};
use std::io::{self, Write};
use std::sync::Arc;

/// Prints the value of a key, one line a message.
pub(super) fn run(args: &GetArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    for path in &args.paths {
        let source = path.open()?;
        let mut lines = Vec::new();
        let count = File::each(&*source, &args.limits.limits(), |index, message| {
            if args.message.is_none_or(|wanted| wanted == index) {
                lines.push(text(value(&message?, args)?, args.json));
            }
            Ok(())
        })?;
        if let Some(message) = args.message.filter(|message| *message >= count) {
            let at = Place::file(Arc::clone(source.name())).message(message);
            return Err(Error::NoSuch { at, what: "message", count }.into());
        }
        lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)
}

/// What the metadata of a message says: that of its first object that has the key, or that of all.
fn value(message: &Message, args: &GetArgs) -> Result<Value> {
    let metadata = &message.metadata;
    let objects = match args.object {
        Some(object) => {
            message.object(object)?;
            let at = object as usize; // there, so it fits
            metadata.base.get(at..=at).unwrap_or_default()
        }
        None => &metadata.base[..],
    };
    let found = objects.iter().chain([&metadata.extra]).find_map(|map| tgm::lookup(map, &args.key));
    found.cloned().ok_or_else(|| Error::metadata(&message.place, format!("no key `{}`", args.key)))
}

fn text(value: Value, json: bool) -> String {
    match value {
        Value::Text(text) if !json => text,
        other => tgm::to_json(&other).to_string(),
    }
}
