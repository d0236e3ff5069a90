//! Labels of stacked dims: typed from what names and metadata say, put in order, and turned into arrays.

use super::pattern::Placeholder;
use super::times;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A finite or infinite float with a total order; no NaN, no negative zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Float(f64);

impl Float {
    /// `None` for NaN.
    pub(super) fn new(value: f64) -> Option<Self> {
        (!value.is_nan()).then_some(Self(value + 0.0))
    }
}

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Float {}
impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// One label. The labels of a dim are all of one variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Label {
    Int(i64),
    Float(Float),
    /// Nanoseconds since the epoch.
    Time(i64),
    Text(Arc<str>),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Int(value) => write!(f, "{value}"),
            Label::Float(value) => write!(f, "{:?}", value.0),
            Label::Time(ns) => {
                write!(f, "{}", chrono::DateTime::from_timestamp_nanos(*ns).format("%Y-%m-%dT%H:%M:%S%.f"))
            }
            Label::Text(text) => f.write_str(text),
        }
    }
}

impl Label {
    /// As text that [`typed`] hasn't made into something else.
    fn into_text(self) -> Label {
        match self {
            Label::Text(_) => self,
            other => Label::Text(other.to_string().into()),
        }
    }

    fn as_int(&self) -> Option<i64> {
        match self {
            Label::Int(value) => Some(*value),
            Label::Text(text) => text.trim().parse().ok().filter(|_| !text.trim().starts_with('+')),
            _ => None,
        }
    }

    fn as_float(&self) -> Option<Float> {
        match self {
            Label::Float(value) => Some(*value),
            Label::Text(text) => number(text.trim()),
            Label::Int(value) if value.unsigned_abs() <= 1 << 53 => Float::new(*value as f64),
            _ => None,
        }
    }
}

/// A decimal number; not the words for infinity and NaN that the parser of the language takes.
fn number(text: &str) -> Option<Float> {
    let starts = text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| starts).and_then(Float::new)
}

/// Brings labels to one variant: integers if all are (also those given as text), else floats if all are numbers,
/// times if all are, else text.
pub(super) fn typed(labels: Vec<Label>) -> Vec<Label> {
    if labels.iter().all(|label| matches!(label, Label::Time(_))) {
        return labels;
    }
    if let Some(ints) = labels.iter().map(Label::as_int).collect::<Option<Vec<_>>>() {
        return ints.into_iter().map(Label::Int).collect();
    }
    if let Some(floats) = labels.iter().map(Label::as_float).collect::<Option<Vec<_>>>() {
        return floats.into_iter().map(Label::Float).collect();
    }
    labels.into_iter().map(Label::into_text).collect()
}

/// Labels of a placeholder from the texts it stands for; the error is the text that doesn't fit its time format.
pub(super) fn of_placeholder<'t>(
    placeholder: &Placeholder,
    texts: &[&'t str],
) -> Result<Vec<Label>, &'t str> {
    match &placeholder.format {
        Some(format) => {
            let time = |text: &&'t str| times::parse_format(format, text).map(Label::Time).ok_or(*text);
            texts.iter().map(time).collect()
        }
        None => Ok(typed(texts.iter().map(|text| Label::Text((*text).into())).collect())),
    }
}

/// Distinct labels in order of first appearance, and for each element the position of its label.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Codes {
    pub(super) labels: Vec<Label>,
    pub(super) codes: Vec<u32>,
}

impl Codes {
    pub(super) fn new(values: impl IntoIterator<Item = Label>) -> Self {
        let mut positions: HashMap<Label, u32> = HashMap::new();
        let mut codes = Codes::default();
        for value in values {
            let next = codes.labels.len() as u32;
            let code = match positions.entry(value) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    codes.labels.push(new.key().clone());
                    *new.insert(next)
                }
            };
            codes.codes.push(code);
        }
        codes
    }

    /// Codes of `raw` positions into `labels`, where different positions may hold the same label.
    pub(super) fn recode(labels: Vec<Label>, raw: &[u32]) -> Self {
        let distinct = Codes::new(labels);
        Codes { labels: distinct.labels, codes: raw.iter().map(|r| distinct.codes[*r as usize]).collect() }
    }

    /// Number of labels.
    pub(super) fn card(&self) -> usize {
        self.labels.len()
    }
}

/// Puts distinct labels, given in order of first appearance, into the order of the dim: text stays as it
/// appears; numbers and times stay if they rise or fall throughout, else they are sorted to rise.
pub(super) fn in_order(mut labels: Vec<Label>) -> Vec<Label> {
    let text = matches!(labels.first(), Some(Label::Text(_)));
    let falls = labels.windows(2).all(|pair| pair[0] > pair[1]);
    if !text && !falls {
        labels.sort();
    }
    labels
}

/// An array of labels of one variant: `Int64`, `Float64`, `Timestamp(ns)` or `Utf8`.
pub(super) fn array(labels: &[Label]) -> ArrayRef {
    match labels.first() {
        None | Some(Label::Int(_)) => {
            Arc::new(Int64Array::from_iter_values(labels.iter().map(|l| match l {
                Label::Int(value) => *value,
                _ => 0,
            })))
        }
        Some(Label::Float(_)) => Arc::new(Float64Array::from_iter_values(labels.iter().map(|l| match l {
            Label::Float(value) => value.0,
            _ => f64::NAN,
        }))),
        Some(Label::Time(_)) => {
            Arc::new(TimestampNanosecondArray::from_iter_values(labels.iter().map(|l| match l {
                Label::Time(ns) => *ns,
                _ => 0,
            })))
        }
        Some(Label::Text(_)) => Arc::new(StringArray::from_iter_values(labels.iter().map(Label::to_string))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Label> {
        texts.iter().map(|t| Label::Text((*t).into())).collect()
    }

    fn float(value: f64) -> Label {
        Label::Float(Float::new(value).unwrap())
    }

    #[test]
    fn labels_take_the_narrowest_type_that_holds_all() {
        assert_eq!(typed(texts(&["1000", "925"])), [Label::Int(1000), Label::Int(925)]);
        assert_eq!(typed(vec![Label::Int(1), Label::Text("-02".into())]), [Label::Int(1), Label::Int(-2)]);
        assert_eq!(typed(texts(&["1", "2.5"])), [float(1.0), float(2.5)]);
        assert_eq!(typed(texts(&["1", "inf"])), texts(&["1", "inf"]));
        assert_eq!(typed(texts(&["1", "nan"])), texts(&["1", "nan"]));
        assert_eq!(typed(texts(&["1", "6h"])), texts(&["1", "6h"]));
        assert_eq!(typed(vec![Label::Int(1), Label::Text("x".into())]), texts(&["1", "x"]));
        let big = vec![Label::Int(i64::MAX), float(0.5)];
        assert_eq!(typed(big), texts(&["9223372036854775807", "0.5"]), "no float holds both");
    }

    #[test]
    fn order_keeps_what_rises_or_falls() {
        let ints = |values: &[i64]| values.iter().map(|v| Label::Int(*v)).collect::<Vec<_>>();
        assert_eq!(in_order(ints(&[850, 500, 250])), ints(&[850, 500, 250]));
        assert_eq!(in_order(ints(&[0, 6, 12])), ints(&[0, 6, 12]));
        assert_eq!(in_order(ints(&[6, 0, 12])), ints(&[0, 6, 12]));
        assert_eq!(in_order(texts(&["od", "ai", "rd"])), texts(&["od", "ai", "rd"]));
        assert_eq!(in_order(Vec::new()), Vec::new());
    }

    #[test]
    fn codes_count_by_first_appearance() {
        let codes = Codes::new(texts(&["b", "a", "b"]));
        assert_eq!(codes, Codes { labels: texts(&["b", "a"]), codes: vec![0, 1, 0] });
        let merged = Codes::recode(vec![Label::Int(5), Label::Int(7), Label::Int(5)], &[2, 1, 0, 1]);
        assert_eq!(merged.codes, [0, 1, 0, 1]);
    }

    #[test]
    fn placeholders_of_times_name_the_text_that_is_none() {
        let time = Placeholder { name: "time".into(), format: Some("%Y%m%d".into()) };
        assert_eq!(of_placeholder(&time, &["19700102", "19700199"]), Err("19700199"));
        assert_eq!(of_placeholder(&time, &["19700102"]).unwrap()[0].to_string(), "1970-01-02T00:00:00");
    }
}
