//! The CBOR descriptor of an object.

use super::params::{as_u64, describe, mistyped, text, uint, uint_array};
use super::{ByteOrder, DType, Descriptor, Limits, Map, MaskEntry, MaskKind, Value, cbor};
use crate::{Error, Place, Result};

/// Keys that every descriptor may have once; all others are parameters, of which the last of a name counts.
const FIXED: [&str; 10] =
    ["type", "ndim", "shape", "strides", "dtype", "byte_order", "encoding", "filter", "compression", "masks"];

/// Masks by their keys.
const KINDS: [(&str, MaskKind); 3] =
    [("nan", MaskKind::NaN), ("inf+", MaskKind::PosInf), ("inf-", MaskKind::NegInf)];

/// Parses the descriptor that `bytes` start with; also says how many bytes it takes.
///
/// `type`, `ndim` and `strides` have to be there and well typed, but aren't looked at: `shape` says how many
/// axes there are, and the payload is in row-major order.
///
/// # Errors
/// [`Error::Metadata`] for malformed CBOR, missing or mistyped keys, a fixed key written twice, unknown dtypes and
/// byte orders, and shapes of 2^64 elements or bytes and more; [`Error::Limit`] for too many axes.
pub(super) fn parse(bytes: &[u8], at: &Place, limits: &Limits) -> Result<(Descriptor, u64)> {
    let (value, consumed) = cbor::item(bytes, at, "descriptor", limits)?;
    let descriptor = Descriptor::from_value(value, at)?;
    let axes = descriptor.shape.len() as u64;
    if axes > limits.axes {
        return Err(Error::Limit { at: at.clone(), what: "number of axes", got: axes, limit: limits.axes });
    }
    Ok((descriptor, consumed))
}

impl Descriptor {
    /// The descriptor that a CBOR item is; `at` is its place, for errors.
    ///
    /// # Errors
    /// [`Error::Metadata`] for missing or mistyped keys, a fixed key written twice, unknown dtypes and byte orders,
    /// and shapes of 2^64 elements or bytes and more.
    pub fn from_value(value: Value, at: &Place) -> Result<Self> {
        let mut fixed = Map::new();
        let mut params = Map::new();
        for (key, value) in cbor::entries(value, at, "descriptor")? {
            if !FIXED.contains(&key.as_str()) {
                params.insert(key, value);
            } else if let Some((key, _)) = fixed.remove_entry(&key) {
                return Err(Error::metadata(at, format!("descriptor has `{key}` twice")));
            } else {
                fixed.insert(key, value);
            }
        }
        Fixed { map: fixed, at }.descriptor(params)
    }

    /// The CBOR item that stands for it in a file; [`Descriptor::from_value`] makes the same descriptor of it.
    pub fn to_value(&self) -> Value {
        let text = |text: &str| Value::Text(text.into());
        let numbers = |numbers: &[u64]| Value::Array(numbers.iter().map(|&number| number.into()).collect());
        let mut entries = vec![
            (text("type"), text("ntensor")),
            (text("ndim"), (self.shape.len() as u64).into()),
            (text("shape"), numbers(&self.shape)),
            (text("strides"), numbers(&self.strides())),
            (text("dtype"), text(self.dtype.name())),
            (text("byte_order"), text(self.byte_order.name())),
            (text("encoding"), text(&self.encoding)),
            (text("filter"), text(&self.filter)),
            (text("compression"), text(&self.compression)),
        ];
        if !self.masks.is_empty() {
            entries.push((text("masks"), Value::Map(self.masks.iter().map(mask_value).collect())));
        }
        entries.extend(self.params.iter().map(|(key, value)| (text(key), value.clone())));
        Value::Map(entries)
    }

    /// Elements from one position of each axis to the next, in row-major order, outermost axis first.
    pub fn strides(&self) -> Vec<u64> {
        strides(&self.shape)
    }

    /// A parameter that would hide one of the format's own keys.
    pub(super) fn misplaced(&self) -> Option<&str> {
        self.params.keys().map(String::as_str).find(|key| FIXED.contains(key))
    }
}

/// [`Descriptor::strides`] of a shape.
pub(super) fn strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

fn mask_value(mask: &MaskEntry) -> (Value, Value) {
    let text = |text: &str| Value::Text(text.into());
    let kind = KINDS.iter().find(|(_, kind)| *kind == mask.kind).map_or("", |(key, _)| key);
    let mut entry = vec![
        (text("method"), text(&mask.method)),
        (text("offset"), mask.offset.into()),
        (text("length"), mask.length.into()),
    ];
    if !mask.params.is_empty() {
        let params = mask.params.iter().map(|(key, value)| (text(key), value.clone()));
        entry.push((text("params"), Value::Map(params.collect())));
    }
    (text(kind), Value::Map(entry))
}

/// The fixed keys of a descriptor.
struct Fixed<'a> {
    map: Map,
    at: &'a Place,
}

impl Fixed<'_> {
    fn descriptor(&self, params: Map) -> Result<Descriptor> {
        self.text("type")?;
        let ndim = uint(&self.map, self.at, "ndim")?;
        ndim.ok_or_else(|| self.missing("ndim", "an unsigned integer"))?;
        self.uints("strides")?;
        let dtype = self.dtype()?;
        let shape = self.uints("shape")?;
        check_shape(&shape, dtype, self.at)?;
        Ok(Descriptor {
            dtype,
            shape,
            byte_order: self.byte_order()?,
            encoding: self.text("encoding")?.into(),
            filter: self.text("filter")?.into(),
            compression: self.text("compression")?.into(),
            masks: self.masks()?,
            params,
        })
    }

    fn missing(&self, key: &str, expected: &str) -> Error {
        Error::metadata(self.at, format!("descriptor has no `{key}`, expected {expected}"))
    }

    fn text(&self, key: &str) -> Result<&str> {
        text(&self.map, self.at, key)?.ok_or_else(|| self.missing(key, "a text"))
    }

    fn uints(&self, key: &str) -> Result<Vec<u64>> {
        const EXPECTED: &str = "an array of unsigned integers";
        uint_array(self.map.get(key).ok_or_else(|| self.missing(key, EXPECTED))?, self.at, key)
    }

    fn dtype(&self) -> Result<DType> {
        let name = self.text("dtype")?;
        DType::parse(name).ok_or_else(|| {
            let known: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
            let came = describe(&Value::Text(name.into()));
            Error::metadata(self.at, format!("`dtype` is {came}, expected one of {}", known.join(", ")))
        })
    }

    /// Absent stands for the order of the machine that reads.
    fn byte_order(&self) -> Result<ByteOrder> {
        match self.map.get("byte_order") {
            None => Ok(ByteOrder::NATIVE),
            Some(Value::Text(name)) if name == "little" => Ok(ByteOrder::Little),
            Some(Value::Text(name)) if name == "big" => Ok(ByteOrder::Big),
            Some(other) => Err(mistyped(self.at, "byte_order", other, "`little` or `big`")),
        }
    }

    /// The masks of known kinds, in the order of [`MaskKind`]; others are ignored.
    fn masks(&self) -> Result<Vec<MaskEntry>> {
        let masks = match self.map.get("masks") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(value) => cbor::map(value.clone(), self.at, "`masks`")?,
        };
        let entry = |(key, kind)| masks.get(key).map(|value| mask(key, kind, value, self.at));
        KINDS.into_iter().filter_map(entry).collect()
    }
}

/// One entry of `masks`. Its bounds are checked against the payload region by the caller, who knows it.
fn mask(key: &str, kind: MaskKind, value: &Value, at: &Place) -> Result<MaskEntry> {
    let map = cbor::map(value.clone(), at, &format!("`masks.{key}`"))?;
    let get = |field: &str| (format!("masks.{key}.{field}"), map.get(field));
    let missing = |path: &str| Error::metadata(at, format!("descriptor has no `{path}`"));
    let number = |field: &str| match get(field) {
        (path, None) => Err(missing(&path)),
        (path, Some(v)) => as_u64(v).ok_or_else(|| mistyped(at, &path, v, "an unsigned integer")),
    };
    let method = match get("method") {
        (path, None) => return Err(missing(&path)),
        (_, Some(Value::Text(method))) => method.clone(),
        (path, Some(v)) => return Err(mistyped(at, &path, v, "a text")),
    };
    let params = match get("params") {
        (_, None | Some(Value::Null)) => Map::new(),
        (path, Some(v)) => cbor::map(v.clone(), at, &format!("`{path}`"))?,
    };
    Ok(MaskEntry { kind, method, offset: number("offset")?, length: number("length")?, params })
}

/// Refuses shapes whose number of elements or bytes leaves u64, also where a later axis is 0.
fn check_shape(shape: &[u64], dtype: DType, at: &Place) -> Result<()> {
    let elements = shape.iter().try_fold(1u64, |product, axis| product.checked_mul(*axis));
    match elements.and_then(|n| dtype.byte_len(n)) {
        Some(_) => Ok(()),
        None => {
            let axes: Vec<_> = shape.iter().take(8).map(u64::to_string).collect();
            let more = if shape.len() > 8 { ", ..." } else { "" };
            let what = format!("`shape` [{}{more}] of {dtype} leaves 64 bits", axes.join(", "));
            Err(Error::metadata(at, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> serde_json::Value {
        json!({
            "type": "ntensor", "ndim": 2, "shape": [3, 4], "strides": [4, 1], "dtype": "int16",
            "encoding": "none", "filter": "shuffle", "compression": "zstd", "zstd_level": 3, "byte_order": "big",
        })
    }

    fn parse_json(value: &serde_json::Value) -> Result<Descriptor> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        let (descriptor, consumed) = parse(&bytes, &Place::file("x"), &Limits::default())?;
        assert_eq!(consumed, bytes.len() as u64);
        Ok(descriptor)
    }

    #[test]
    fn a_good_one() {
        let descriptor = parse_json(&good()).unwrap();
        assert_eq!(
            descriptor,
            Descriptor {
                dtype: DType::Int16,
                shape: vec![3, 4],
                byte_order: ByteOrder::Big,
                encoding: "none".into(),
                filter: "shuffle".into(),
                compression: "zstd".into(),
                masks: vec![],
                params: Map::from([("zstd_level".into(), 3.into())]),
            }
        );
        assert_eq!(descriptor.len(), 12);
        assert_eq!(descriptor.pipeline(), "shuffle + zstd");
    }

    #[test]
    fn byte_order_is_native_where_absent() {
        let mut value = good();
        value.as_object_mut().unwrap().remove("byte_order");
        assert_eq!(parse_json(&value).unwrap().byte_order, ByteOrder::NATIVE);
        value["byte_order"] = json!(null);
        let error = parse_json(&value).unwrap_err().to_string();
        assert!(error.ends_with("`byte_order` is null, expected `little` or `big`"), "{error}");
    }

    #[test]
    fn fixed_keys_are_required_and_typed() {
        for key in ["type", "ndim", "shape", "strides", "dtype", "encoding", "filter", "compression"] {
            let mut value = good();
            value.as_object_mut().unwrap().remove(key);
            let error = parse_json(&value).unwrap_err().to_string();
            assert!(error.contains(&format!("no `{key}`")), "{error}");
            value[key] = json!(1.5);
            let error = parse_json(&value).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}` is float 1.5, expected")), "{error}");
        }
    }

    #[test]
    fn fixed_keys_may_not_repeat_but_parameters_may() {
        let pair = |key: &str, value: Value| (Value::Text(key.into()), value);
        let Value::Map(mut pairs) = Value::serialized(&good()).unwrap() else { unreachable!() };
        pairs.push(pair("zstd_level", 9.into()));
        let parsed = |pairs: &[(Value, Value)]| {
            let mut bytes = Vec::new();
            ciborium::into_writer(&Value::Map(pairs.to_vec()), &mut bytes).unwrap();
            parse(&bytes, &Place::file("x"), &Limits::default())
        };
        assert_eq!(parsed(&pairs).unwrap().0.params["zstd_level"], 9.into());
        pairs.push(pair("dtype", "int8".into()));
        let error = parsed(&pairs).unwrap_err().to_string();
        assert!(error.ends_with("descriptor has `dtype` twice"), "{error}");
    }

    #[test]
    fn shapes_that_leave_64_bits_are_refused() {
        let with = |shape: serde_json::Value| {
            let mut value = good();
            value["shape"] = shape;
            parse_json(&value)
        };
        assert_eq!(with(json!([])).unwrap().len(), 1);
        assert!(with(json!([0, u64::MAX])).unwrap().is_empty());
        for shape in [json!([1u64 << 33, 1u64 << 33]), json!([1u64 << 63, 4, 0]), json!([1u64 << 63])] {
            let error = with(shape).unwrap_err().to_string();
            assert!(error.contains("of int16 leaves 64 bits"), "{error}");
        }
    }

    #[test]
    fn masks_are_parsed_in_kind_order() {
        let mut value = good();
        value["masks"] = json!({
            "inf-": {"offset": 9, "length": 1, "method": "none"},
            "nan": {"offset": 8, "length": 1, "method": "zstd", "params": {"level": 3}},
            "later": 1,
        });
        let descriptor = parse_json(&value).unwrap();
        let again = Descriptor::from_value(descriptor.to_value(), &Place::file("x")).unwrap();
        assert_eq!(again, descriptor);
        let masks = descriptor.masks;
        assert_eq!(masks.iter().map(|m| m.kind).collect::<Vec<_>>(), [MaskKind::NaN, MaskKind::NegInf]);
        assert_eq!(masks[0].params, Map::from([("level".into(), 3.into())]));
        value["masks"]["nan"]["offset"] = json!("8");
        let error = parse_json(&value).unwrap_err().to_string();
        assert!(error.contains("`masks.nan.offset` is text \"8\", expected an unsigned integer"), "{error}");
        value["masks"] = json!(null);
        assert!(parse_json(&value).unwrap().masks.is_empty());
    }
}
