//! `millibar ls`.

use super::args::files::LsArgs;
use super::error::CliError;
use super::words::{print_columns, ratio, size, times};
use crate::Result;
use crate::dataset::ObjectName;
use crate::source::Source;
use crate::tgm::{File, Message, map_to_json};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Lists messages and objects as they lie in the files. No payload is decoded.
pub(super) fn run(args: &LsArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut files = Vec::new();
    for path in &args.paths {
        let source = path.open()?;
        let listed = if args.json {
            files.push(to_json(&*source, args)?);
            Ok(())
        } else {
            print(&mut out, &*source, args)?
        };
        listed.map_err(CliError::output)?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&json!({ "files": files })).map_err(io::Error::from);
        text.and_then(|text| writeln!(out, "{text}")).map_err(CliError::output)?;
    }
    out.flush().map_err(CliError::output)
}

/// One object in words.
struct Row {
    name: ObjectName,
    dtype: &'static str,
    shape: Vec<u64>,
    pipeline: String,
    masks: usize,
    encoded: u64,
    decoded: u64,
}

impl Row {
    fn all(message: &Message) -> impl Iterator<Item = Self> + '_ {
        message.objects.iter().enumerate().map(|(index, object)| {
            let descriptor = &object.descriptor;
            Self {
                name: ObjectName::of(message, index),
                dtype: descriptor.dtype.name(),
                shape: descriptor.shape.clone(),
                pipeline: descriptor.pipeline(),
                masks: descriptor.masks.len(),
                encoded: object.region.end - object.region.start,
                decoded: descriptor.dtype.byte_len(descriptor.len()).unwrap_or(u64::MAX),
            }
        })
    }

    fn cells(&self) -> [String; 7] {
        let masks = if self.masks > 0 { " + masks" } else { "" };
        [
            self.name.name.clone(),
            self.dtype.to_string(),
            times(&self.shape),
            format!("{}{masks}", self.pipeline),
            size(self.encoded),
            size(self.decoded),
            ratio(self.encoded, self.decoded).map_or("-".into(), |ratio| format!("{ratio:.2}")),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name.name, "coordinate": self.name.coordinate, "dtype": self.dtype, "shape": self.shape,
            "pipeline": self.pipeline, "masks": self.masks, "encoded_bytes": self.encoded,
            "decoded_bytes": self.decoded, "ratio": ratio(self.encoded, self.decoded),
        })
    }
}

fn print(out: &mut impl Write, source: &dyn Source, args: &LsArgs) -> Result<io::Result<()>> {
    let titles = ["message", "object", "name", "dtype", "shape", "pipeline", "encoded", "decoded", "ratio"];
    let mut rows = vec![titles.map(String::from).to_vec()];
    let mut broken = Vec::new();
    let messages = File::each(source, &args.limits.limits(), |index, message| {
        match message {
            Ok(message) if message.objects.is_empty() => {
                let mut row = vec![index.to_string(), "-".into()];
                row.resize(titles.len(), String::new());
                rows.push(row);
            }
            Ok(message) => rows.extend(
                Row::all(&message)
                    .enumerate()
                    .map(|(i, row)| [&[index.to_string(), i.to_string()][..], &row.cells()].concat()),
            ),
            Err(error) => broken.push(error),
        }
        Ok(())
    })?;
    let print = |out: &mut dyn Write| {
        let messages = super::words::count(messages, "message");
        writeln!(out, "{}: {messages}, {}", source.name(), size(source.len()))?;
        broken.iter().try_for_each(|error| writeln!(out, "unreadable: {error}"))?;
        print_columns(out, &rows)
    };
    Ok(print(out))
}

fn to_json(source: &dyn Source, args: &LsArgs) -> Result<Value> {
    let mut messages = Vec::new();
    File::each(source, &args.limits.limits(), |_, message| {
        messages.push(match message {
            Ok(message) => json!({
                "offset": message.span.start, "bytes": message.span.end - message.span.start,
                "extra": map_to_json(&message.metadata.extra),
                "objects": Row::all(&message).map(|row| row.to_json()).collect::<Vec<_>>(),
            }),
            Err(error) => json!({ "unreadable": error.to_string() }),
        });
        Ok(())
    })?;
    Ok(json!({ "path": &**source.name(), "bytes": source.len(), "messages": messages }))
}
