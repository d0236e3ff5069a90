//! Positions between two labels.

use super::positions::Positions;
use crate::tensor::DimSelection;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use serde_json::Value;
use std::sync::Arc;

/// The positions of the labels between `from` and `to`, which both count; without one, to that end. Labels need no
/// order, and neither do the two.
///
/// A number stands for the label of a float dim that is nearest to it, as it is printed; times are texts (ISO 8601).
///
/// # Errors
/// In words, for a label of another type.
pub(super) fn between(
    coord: &ArrayRef,
    from: Option<&Value>,
    to: Option<&Value>,
) -> Result<Positions, String> {
    let keep = match coord.data_type() {
        DataType::Utf8 => {
            let text =
                |value: &Value| value.as_str().map(str::to_string).ok_or_else(|| wrong(value, "a text"));
            let (low, high) = ordered(from.map(text).transpose()?, to.map(text).transpose()?);
            let labels = coord.as_string::<i32>().iter();
            kept(labels.map(Option::unwrap_or_default), low.as_deref(), high.as_deref())
        }
        DataType::Timestamp(..) => {
            let time = |value: &Value| -> Result<i64, String> {
                let text = value.as_str().ok_or_else(|| wrong(value, "a time, as a text"))?;
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                let parsed = cast_with_options(&StringArray::from(vec![text]), coord.data_type(), &strict)
                    .map_err(|_| wrong(value, "a time such as 2024-01-31T12:00:00"))?;
                Ok(parsed.as_primitive::<TimestampNanosecondType>().value(0))
            };
            let (low, high) = ordered(from.map(time).transpose()?, to.map(time).transpose()?);
            let labels = coord.as_primitive::<TimestampNanosecondType>().values().iter().copied();
            kept(labels, low, high)
        }
        DataType::UInt64 if whole(from) && whole(to) => {
            let (low, high) = ordered(from.map(integer), to.map(integer));
            kept(
                coord.as_primitive::<UInt64Type>().values().iter().map(|&label| i128::from(label)),
                low,
                high,
            )
        }
        integers if integers.is_integer() && whole(from) && whole(to) => {
            let (low, high) = ordered(from.map(integer), to.map(integer));
            let labels = cast(coord, &DataType::Int64).map_err(|e| e.to_string())?;
            kept(
                labels.as_primitive::<Int64Type>().values().iter().map(|&label| i128::from(label)),
                low,
                high,
            )
        }
        numbers if numbers.is_numeric() => {
            let narrow = if numbers.is_floating() { numbers } else { &DataType::Float64 };
            let number = |value: &Value| -> Result<f64, String> {
                let number = value.as_f64().ok_or_else(|| wrong(value, "a number"))?;
                let nearest: ArrayRef = Arc::new(Float64Array::from(vec![number]));
                widened(&cast(&nearest, narrow).map_err(|e| e.to_string())?).map(|values| values.value(0))
            };
            let (low, high) = ordered(from.map(number).transpose()?, to.map(number).transpose()?);
            kept(widened(coord)?.values().iter().copied(), low, high)
        }
        other => return Err(format!("labels of {other} can't be compared")),
    };
    Ok(Positions::of(&DimSelection::from_keep(&keep)))
}

fn widened(labels: &ArrayRef) -> Result<Float64Array, String> {
    let wide = cast(labels, &DataType::Float64).map_err(|e| e.to_string())?;
    Ok(wide.as_primitive::<Float64Type>().clone())
}

/// Whether a bound is an integer, if it is there.
fn whole(bound: Option<&Value>) -> bool {
    bound.is_none_or(|value| value.is_i64() || value.is_u64())
}

/// A bound that is an integer.
fn integer(value: &Value) -> i128 {
    value.as_u64().map(i128::from).or(value.as_i64().map(i128::from)).unwrap_or_default()
}

/// The two in order, if both are there.
fn ordered<T: PartialOrd>(from: Option<T>, to: Option<T>) -> (Option<T>, Option<T>) {
    match (from, to) {
        (Some(from), Some(to)) if from > to => (Some(to), Some(from)),
        bounds => bounds,
    }
}

fn kept<T: PartialOrd>(labels: impl Iterator<Item = T>, low: Option<T>, high: Option<T>) -> Vec<bool> {
    let above = |label: &T| low.as_ref().is_none_or(|low| label >= low);
    let below = |label: &T| high.as_ref().is_none_or(|high| label <= high);
    labels.map(|label| above(&label) && below(&label)).collect()
}

fn wrong(value: &Value, expected: &str) -> String {
    format!("{value} is no label of it: {expected} is")
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float32Array, Int32Array, TimestampNanosecondArray, UInt64Array};
    use serde_json::json;

    fn at(coord: impl Array + 'static, from: Value, to: Value) -> Result<Vec<u64>, String> {
        let bound = |value: Value| (!value.is_null()).then_some(value);
        let (from, to) = (bound(from), bound(to));
        let coord: ArrayRef = Arc::new(coord);
        between(&coord, from.as_ref(), to.as_ref()).map(|positions| positions.selection().iter().collect())
    }

    #[test]
    fn labels_between_two_in_any_order() {
        let latitude = || Float32Array::from(vec![90.0, 45.1, 0.0, -45.1, -90.0]);
        assert_eq!(at(latitude(), json!(-45.1), json!(45.1)).unwrap(), [1, 2, 3]);
        assert_eq!(at(latitude(), json!(45.1), json!(-45.1)).unwrap(), [1, 2, 3]);
        assert_eq!(at(latitude(), json!(45.0), Value::Null).unwrap(), [0, 1]);
        assert_eq!(at(latitude(), json!(200), json!(100)).unwrap(), [0u64; 0]);
        assert!(at(latitude(), json!("north"), Value::Null).unwrap_err().contains("a number"));
    }

    #[test]
    fn integers_texts_and_times() {
        let level = || Int32Array::from(vec![-5, 2, 3]);
        assert_eq!(at(level(), json!(-5), json!(2)).unwrap(), [0, 1]);
        assert_eq!(at(level(), json!(2.5), json!(1e9)).unwrap(), [2]);
        let large = UInt64Array::from(vec![u64::MAX - 1, u64::MAX]);
        assert_eq!(at(large, json!(u64::MAX), Value::Null).unwrap(), [1]);
        let names = StringArray::from(vec!["b", "a", "c"]);
        assert_eq!(at(names, json!("b"), Value::Null).unwrap(), [0, 2]);
        let day = 86_400_000_000_000;
        let times = || TimestampNanosecondArray::from(vec![0, day, 2 * day]);
        assert_eq!(at(times(), json!("1970-01-02"), json!("1970-01-02T12:00:00")).unwrap(), [1]);
        assert!(at(times(), json!("yesterday"), Value::Null).unwrap_err().contains("a time such as"));
    }
}
