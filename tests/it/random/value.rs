//! SQL values.

use std::cmp::Ordering;

/// A value of a row, an expression or an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// A label; texts are never made, only told apart.
    Text(&'static str),
}

impl Value {
    pub(crate) fn is_null(self) -> bool {
        self == Value::Null
    }

    /// As a float, the way a cast to DOUBLE does it.
    pub(crate) fn float(self) -> Option<f64> {
        match self {
            Value::Null | Value::Text(_) => None,
            Value::Bool(b) => Some(f64::from(u8::from(b))),
            Value::Int(i) => Some(i as f64),
            Value::Float(f) => Some(f),
        }
    }

    /// SQL comparison: `None` if either is NULL. NaN is equal to itself and above all other numbers.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Value::Null, _) | (_, Value::Null) => None,
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (a, b) => {
                let (a, b) = (a.float()?, b.float()?);
                Some(a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())))
            }
        }
    }

    /// Tells group keys apart; zeros of both signs are different bits but never both occur in one dim.
    pub(crate) fn key(self) -> String {
        match self {
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e15 => format!("{}", f as i64),
            Value::Float(f) => format!("{f:?}"),
            Value::Int(i) => format!("{i}"),
            Value::Bool(b) => format!("{b}"),
            Value::Text(text) => text.into(),
            Value::Null => "NULL".into(),
        }
    }
}

/// Three-valued AND.
pub(crate) fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Three-valued OR.
pub(crate) fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}
