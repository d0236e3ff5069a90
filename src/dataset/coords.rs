//! Coordinates: one-dimensional objects that label an axis, recognised by their names.

use super::times::CfUnits;
use super::types::values_array;
use super::{Dim, OpenOptions};
use crate::codec::{DecodeStats, Pipeline, Scratch, Verify};
use crate::source::Source;
use crate::tgm::{self, Limits, Map, Object, Value};
use crate::{Error, Result};
use arrow::array::{
    Array, ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, TimestampNanosecondArray,
};
use std::sync::Arc;

/// Most bytes of one decoded coordinate.
const COORD_BYTES: u64 = 1 << 30;
/// Most decoded bytes of a coordinate for each encoded byte.
const COORD_EXPANSION: u64 = 1 << 10;

/// A coordinate, decoded.
#[derive(Debug, Clone)]
pub(super) struct Coord {
    /// Canonical name.
    pub(super) name: &'static str,
    /// Labels, without nulls.
    pub(super) array: ArrayRef,
    pub(super) attributes: Map,
    source: Arc<dyn Source>,
    object: Arc<Object>,
}

/// The coordinates of a location, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Coords {
    list: Vec<Coord>,
    scratch: Scratch,
}

/// The canonical name of a coordinate, if an object called `name` is one.
pub(super) fn canonical(name: &str) -> Option<&'static str> {
    const PLAIN: [&str; 9] = ["x", "y", "time", "level", "pressure", "height", "depth", "frequency", "step"];
    match name.to_lowercase().as_str() {
        "lat" | "latitude" => Some("latitude"),
        "lon" | "longitude" => Some("longitude"),
        lower => PLAIN.into_iter().find(|plain| *plain == lower),
    }
}

impl Coord {
    /// The dim that it labels.
    pub(super) fn dim(&self) -> Dim {
        let (attributes, params) = (self.attributes.clone(), self.object.descriptor.params.clone());
        Dim { attributes, params, ..Dim::new(self.name, Arc::clone(&self.array)) }
    }
}

impl Coords {
    /// All of them.
    pub(super) fn list(&self) -> &[Coord] {
        &self.list
    }

    /// The coordinate that `name` means, also in another spelling.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let position = |name: &str| self.list.iter().position(|coord| coord.name == name);
        position(name).or_else(|| position(canonical(name)?))
    }

    /// Takes up a coordinate object; one that is there already must hold the same labels.
    ///
    /// # Errors
    /// [`Error::Grid`] for an object that isn't one-dimensional or differs from an earlier one; errors of reading
    /// and decoding it.
    pub(super) fn add(
        &mut self,
        name: &'static str,
        source: &Arc<dyn Source>,
        object: &Arc<Object>,
        attributes: impl FnOnce() -> Map,
        options: &OpenOptions,
    ) -> Result<()> {
        let shape = &object.descriptor.shape;
        if shape.len() != 1 {
            let what = format!(
                "a coordinate has one axis, but the object of that name at {} has shape {shape:?}; naming it in \
                 the option `variables` makes it a variable",
                object.place
            );
            return Err(Error::Grid { name: name.into(), what });
        }
        let known = self.list.iter().position(|coord| coord.name == name);
        if let Some(known) = known
            && same_bytes(&self.list[known], source, object)?
        {
            return Ok(());
        }
        let mut attributes = attributes();
        let array = self.decode(source, object, options.verify_hash, &options.limits)?;
        let times = name == "time" && options.decode_times;
        let array = if times { as_timestamps(array, &mut attributes) } else { array };
        match known {
            None => {
                let (source, object) = (Arc::clone(source), Arc::clone(object));
                self.list.push(Coord { name, array, attributes, source, object });
                Ok(())
            }
            Some(known) if self.list[known].array.to_data() == array.to_data() => Ok(()),
            Some(known) => {
                let first = &self.list[known].object;
                let what = format!(
                    "the coordinate differs between {} (shape {:?}) and {} (shape {shape:?}); parts of one axis in several \
                     messages or files aren't joined",
                    first.place, first.descriptor.shape, object.place
                );
                Err(Error::Grid { name: name.into(), what })
            }
        }
    }

    fn decode(
        &mut self,
        source: &Arc<dyn Source>,
        object: &Object,
        verify: Verify,
        limits: &Limits,
    ) -> Result<ArrayRef> {
        let limits = Limits {
            decoded_bytes: limits.decoded_bytes.min(COORD_BYTES),
            expansion: limits.expansion.min(COORD_EXPANSION),
            ..limits.clone()
        };
        let pipeline = Pipeline::try_new(object, &limits)?;
        if verify != Verify::Off {
            tgm::verify(object, &**source)?;
        }
        let region = source.read(object.region.clone())?;
        let values = pipeline.decode(&region, &mut self.scratch, &mut DecodeStats::default())?;
        Ok(values_array(values))
    }
}

/// Whether an object is encoded in the same way, to the same bytes, as a coordinate known already.
fn same_bytes(coord: &Coord, source: &Arc<dyn Source>, object: &Object) -> Result<bool> {
    let known = &coord.object;
    let len = |object: &Object| object.region.end - object.region.start;
    if known.descriptor != object.descriptor || len(known) != len(object) {
        return Ok(false);
    }
    Ok(coord.source.read(known.region.clone())? == source.read(object.region.clone())?)
}

/// Numbers that count a CF unit since a date, as timestamps; the attribute that says so is dropped then.
fn as_timestamps(array: ArrayRef, attributes: &mut Map) -> ArrayRef {
    let calendar = attributes.get("calendar").and_then(Value::as_text);
    if !matches!(calendar, None | Some("standard" | "gregorian" | "proleptic_gregorian")) {
        return array;
    }
    let units = attributes.get("units").and_then(Value::as_text).and_then(CfUnits::parse);
    let Some(times) = units.and_then(|units| count_times(&array, units)) else { return array };
    attributes.remove("units");
    attributes.remove("calendar");
    Arc::new(TimestampNanosecondArray::from(times))
}

fn count_times(array: &ArrayRef, units: CfUnits) -> Option<Vec<i64>> {
    let any = array.as_any();
    if let Some(counts) = any.downcast_ref::<Int64Array>() {
        return counts.values().iter().map(|count| units.int(*count)).collect();
    }
    if let Some(counts) = any.downcast_ref::<Int32Array>() {
        return counts.values().iter().map(|count| units.int(i64::from(*count))).collect();
    }
    if let Some(counts) = any.downcast_ref::<Float64Array>() {
        return counts.values().iter().map(|count| units.float(*count)).collect();
    }
    let counts = any.downcast_ref::<Float32Array>()?;
    counts.values().iter().map(|count| units.float(f64::from(*count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
        assert_eq!(canonical("Lat"), Some("latitude"));
        assert_eq!(canonical("LONGITUDE"), Some("longitude"));
        assert_eq!(canonical("Step"), Some("step"));
        assert_eq!(canonical("number"), None);
    }

    #[test]
    fn cf_times_become_timestamps() {
        let map = |calendar: &str| {
            Map::from([
                ("units".to_string(), Value::from("hours since 1970-01-01")),
                ("calendar".to_string(), Value::from(calendar)),
            ])
        };
        let hours: ArrayRef = Arc::new(Int64Array::from(vec![0, 6]));
        let mut attributes = map("standard");
        let got = as_timestamps(Arc::clone(&hours), &mut attributes);
        let want = TimestampNanosecondArray::from(vec![0, 21_600_000_000_000]);
        assert_eq!(got.as_ref(), &want as &dyn Array);
        assert!(attributes.is_empty());
        let mut attributes = map("360_day");
        assert_eq!(&as_timestamps(Arc::clone(&hours), &mut attributes), &hours);
        assert_eq!(attributes.len(), 2);
        assert_eq!(&as_timestamps(Arc::clone(&hours), &mut Map::new()), &hours);
    }
}
