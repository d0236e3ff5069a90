//! Candidates for stacked dims: what file names, variable names and metadata tell objects apart by.

use super::facts::{Facts, KeyId, Varying};
use super::labels::{Codes, Label, typed};
use super::times;

/// Where a candidate comes from, in the order in which candidates are preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Position in the pattern of the location.
    FileName(usize),
    /// Position in the pattern of the variable.
    VariableName(usize),
    /// A key of known meaning; see [`rank`].
    Known(usize),
    /// Any other key.
    Other,
}

/// A key along which objects may be stacked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) origin: Origin,
    /// What the dim may be called; the first that is free counts.
    pub(super) names: Vec<String>,
    /// Labels, and for each object the position of its own.
    pub(super) codes: Codes,
}

/// The candidates that metadata has for a group of objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MetadataKeys {
    pub(super) candidates: Vec<Candidate>,
    /// Paths of keys that only some of the objects have.
    pub(super) partial: Vec<String>,
}

/// Dims of known meaning, outermost first.
const KNOWN: [&str; 4] = ["time", "step", "number", "level"];

/// Place of a dim of known meaning among these; `None` for other names.
pub(super) fn rank(name: &str) -> Option<usize> {
    KNOWN.iter().position(|known| *known == name)
}

/// The dim that a metadata key stands for: `mars.levelist` and `levelist` are `level`.
fn canonical(path: &str) -> Option<&'static str> {
    Some(match path.strip_prefix("mars.").unwrap_or(path) {
        "date" | "time" | "datetime" => "time",
        "step" => "step",
        "number" => "number",
        "level" | "levelist" => "level",
        _ => return None,
    })
}

/// Finds the metadata keys that vary among `rows`. Where `raw` is set, they keep their names, and dates and times
/// aren't joined.
pub(super) fn varying(facts: &Facts, rows: &[u32], raw: bool) -> MetadataKeys {
    let mut keys = MetadataKeys::default();
    let mut found = facts.varying(rows);
    found.retain(|key| {
        let whole = !key.codes.is_empty();
        if !whole {
            keys.partial.push(facts.path(key.key).into());
        }
        whole
    });
    if !raw {
        for prefix in ["mars.", ""] {
            if let Some((time, date_key, time_key)) = joined_time(facts, rows, &found, prefix) {
                found.retain(|key| Some(key.key) != date_key && Some(key.key) != time_key);
                keys.candidates.push(time);
            }
        }
    }
    keys.candidates.extend(found.iter().map(|key| candidate(facts.path(key.key), key, raw)));
    keys.candidates.retain(|key| key.codes.card() > 1);
    keys
}

/// The candidate of a key that the option `stack` names: a dotted path, its last part, or the dim that it stands for.
/// `None` if no row has it; `Err` with its path if only some have it.
pub(super) fn named(facts: &Facts, rows: &[u32], name: &str, raw: bool) -> Option<Result<Candidate, String>> {
    if !raw && name == "time" {
        let joined = |prefix| joined_time(facts, rows, &[], prefix);
        if let Some((time, ..)) = joined("mars.").or_else(|| joined("")) {
            return Some(Ok(time));
        }
    }
    let nested = format!("mars.{name}");
    let others: &[&str] = if name == "level" { &["mars.levelist", "levelist"] } else { &[] };
    let paths = [name, &nested].into_iter().chain(others.iter().copied());
    let key = paths.filter_map(|path| facts.key(path)).find_map(|key| facts.column(rows, key))?;
    let path = facts.path(key.key);
    Some(if key.codes.is_empty() { Err(path.into()) } else { Ok(candidate(path, &key, raw)) })
}

fn candidate(path: &str, key: &Varying, raw: bool) -> Candidate {
    let last = path.rsplit('.').next().unwrap_or(path);
    let known = canonical(path).filter(|_| !raw);
    let moments = (known == Some("time")).then(|| moments(&key.values)).flatten();
    let meaning = known.filter(|known| *known != "time" || moments.is_some());
    let mut names: Vec<String> = meaning.into_iter().map(Into::into).collect();
    for name in [last, path] {
        if !name.is_empty() && !names.iter().any(|n| n == name) {
            names.push(name.into());
        }
    }
    let labels = moments.unwrap_or_else(|| typed(key.values.clone()));
    let rank = canonical(path).and_then(rank);
    Candidate {
        origin: rank.map_or(Origin::Other, Origin::Known),
        names,
        codes: Codes::recode(labels, &key.codes),
    }
}

/// Dates with times of ISO 8601 as times, if all are.
fn moments(values: &[Label]) -> Option<Vec<Label>> {
    let moment = |value: &Label| match value {
        Label::Text(text) => times::iso(text).map(Label::Time),
        _ => None,
    };
    values.iter().map(moment).collect()
}

/// The keys `date` and `time` under `prefix` as one time, if there is a date and both can be read. With `found`,
/// only if one of them is among these. Returns the keys that went into it.
fn joined_time(
    facts: &Facts,
    rows: &[u32],
    found: &[Varying],
    prefix: &str,
) -> Option<(Candidate, Option<KeyId>, Option<KeyId>)> {
    let date_key = facts.key(&format!("{prefix}date"))?;
    let time_key = facts.key(&format!("{prefix}time"));
    let varies = |key: KeyId| found.iter().any(|f| f.key == key);
    if !found.is_empty() && !varies(date_key) && !time_key.is_some_and(varies) {
        return None;
    }
    let dates = facts.column(rows, date_key).filter(|column| !column.codes.is_empty())?;
    let days = dates.values.iter().map(|v| times::mars_date(&v.to_string())).collect::<Option<Vec<_>>>()?;
    let midnight = Varying { key: date_key, values: vec![Label::Int(0)], codes: vec![0; rows.len()] };
    let clock = match time_key.and_then(|key| facts.column(rows, key)) {
        Some(column) if column.codes.is_empty() => return None,
        Some(column) => column,
        None => midnight,
    };
    let hours = clock.values.iter().map(|v| times::mars_time(&v.to_string())).collect::<Option<Vec<_>>>()?;
    let moment = |(day, hour): (&u32, &u32)| {
        times::nanos(days[*day as usize].and_time(hours[*hour as usize])).map(Label::Time)
    };
    let moments = dates.codes.iter().zip(&clock.codes).map(moment).collect::<Option<Vec<_>>>()?;
    let candidate = Candidate {
        origin: Origin::Known(0),
        names: vec!["time".into(), format!("{prefix}time")],
        codes: Codes::new(moments),
    };
    Some((candidate, Some(date_key), time_key))
}
