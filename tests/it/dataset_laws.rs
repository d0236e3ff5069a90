//! Laws of hypercubes: every object ends up at its own labels, whatever the order of the messages and whatever else
//! the metadata says; and nothing that metadata can say brings opening down.

use super::build::{HEADER_METADATA, cbor, frame, message, object, padded};
use super::hostile::{apply, damage};
use super::support::{field, labels, tgm_message};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use millibar::Error;
use millibar::dataset::{Chunk, Dataset, Dim, Location, OpenOptions, open};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;

/// Keys that objects may vary in; `run` as text, `tile` and those of MARS as numbers or numbers in text.
const KEYS: [&str; 6] = ["run", "tile", "date", "step", "number", "levelist"];
/// Dims that they make, in the same order.
const DIMS: [&str; 6] = ["run", "tile", "time", "step", "number", "level"];

/// A cube: how many values each key has, and the cells in the order of the messages.
#[derive(Debug, Clone)]
struct Cube {
    cards: [usize; 6],
    /// The messages' cells, in file order.
    order: Vec<usize>,
    files: usize,
    noise: bool,
}

impl Cube {
    fn cells(&self) -> usize {
        self.cards.iter().product()
    }

    /// Position along each key of a cell.
    fn position(&self, cell: usize) -> [usize; 6] {
        let mut rest = cell;
        let mut position = [0; 6];
        for (at, card) in self.cards.iter().enumerate().rev() {
            position[at] = rest % card;
            rest /= card;
        }
        position
    }

    fn metadata(&self, cell: usize) -> Value {
        let [run, tile, date, step, number, level] = self.position(cell);
        let mut base = json!({
            "run": format!("r{run}"), "tile": tile * 7,
            "mars": {
                "param": "t", "date": 20_260_401 + date, "time": "1200", "step": step * 6, "number": number,
                "levelist": (1000 - 50 * level).to_string(),
            },
        });
        if self.noise {
            base["uuid"] = format!("{:08x}", (cell as u32).wrapping_mul(2_654_435_761)).into();
            base["mars"]["valid"] = (4 * date + step).into();
            base["mars"]["short"] = format!("level {level}").into();
        }
        base
    }

    /// Writes the cells as float32 fields that start with the number of the cell.
    fn write(&self, dir: &Path, without: Option<usize>) {
        let per_file = self.order.len().div_ceil(self.files);
        for (i, cells) in self.order.chunks(per_file).enumerate() {
            let mut bytes = Vec::new();
            for cell in cells.iter().filter(|cell| Some(**cell) != without) {
                let mut tensor = field(self.metadata(*cell), &[2], *cell as f32);
                tensor.descriptor["sp_reference_value"] = json!(*cell as f64 / 3.0);
                bytes.extend(tgm_message(&json!({"message": "all alike"}), &[tensor]));
            }
            if !bytes.is_empty() {
                std::fs::write(dir.join(format!("{i}.tgm")), bytes).unwrap();
            }
        }
    }
}

fn cube() -> impl Strategy<Value = Cube> {
    let cards = prop::array::uniform6(prop_oneof![3 => Just(1usize), 2 => Just(2), 1 => Just(3)]);
    cards.prop_filter("small", |cards| cards.iter().product::<usize>() <= 72).prop_flat_map(|cards| {
        let order = Just((0..cards.iter().product()).collect::<Vec<_>>()).prop_shuffle();
        (order, 1..4usize, any::<bool>()).prop_map(move |(order, files, noise)| Cube {
            cards,
            order,
            files,
            noise,
        })
    })
}

fn open_dir(dir: &Path, options: &[(&str, &str)]) -> millibar::Result<Dataset> {
    let location = Location::parse(dir.join("*.tgm").to_str().unwrap())?;
    open(&location, &OpenOptions::from_pairs(options.iter().copied())?)
}

/// Which value of its key a label is.
fn value_of(dim: &Dim, at: usize) -> usize {
    let text = || dim.coord.as_string::<i32>().value(at)[1..].parse().unwrap();
    let int = || dim.coord.as_primitive::<Int64Type>().value(at) as usize;
    match dim.name.as_str() {
        "run" => text(),
        "tile" => int() / 7,
        "step" => int() / 6,
        "number" => int(),
        "level" => (1000 - int()) / 50,
        "time" => {
            assert!(matches!(dim.coord.data_type(), DataType::Timestamp(..)));
            let ns = dim.coord.as_primitive::<arrow::datatypes::TimestampNanosecondType>().value(at);
            let days = ns / 86_400_000_000_000;
            assert_eq!(ns % 86_400_000_000_000, 43_200_000_000_000);
            (days - 20_544) as usize // 2026-04-01
        }
        other => panic!("{other} is no dim"),
    }
}

fn first_value(chunk: &Chunk) -> f32 {
    let bytes = chunk.source.read(chunk.object.payload()).unwrap();
    f32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// Checks that every chunk is the object of its labels; returns the cells that are holes.
fn check(cube: &Cube, dataset: &Dataset) -> HashSet<usize> {
    let table = dataset.single_table().unwrap();
    let want: Vec<&str> = (0..6).filter(|key| cube.cards[*key] > 1).map(|key| DIMS[key]).collect();
    let got: Vec<&str> = table.dims.iter().map(|dim| dim.name.as_str()).collect();
    assert_eq!(got[..got.len() - 1], want);
    let shape = table.shape();
    let mut holes = HashSet::new();
    for (i, chunk) in table.variable("t").unwrap().chunks.iter().enumerate() {
        let (mut rest, mut position) = (i, [0; 6]);
        for (dim, len) in table.dims.iter().zip(&shape).rev().skip(1) {
            let key = DIMS.iter().position(|name| *name == dim.name).unwrap();
            position[key] = value_of(dim, rest % *len as usize);
            rest /= *len as usize;
        }
        let cell = position.iter().zip(&cube.cards).fold(0, |cell, (at, card)| cell * card + at);
        match chunk {
            Some(chunk) => assert_eq!(first_value(&chunk), cell as f32),
            None => assert!(holes.insert(cell)),
        }
    }
    holes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_object_is_at_its_labels(cube in cube()) {
        let dir = tempfile::tempdir().unwrap();
        cube.write(dir.path(), None);
        let dataset = open_dir(dir.path(), &[]).unwrap();
        prop_assert_eq!(check(&cube, &dataset), HashSet::new());
        let named = KEYS.iter().zip(&cube.cards).filter(|(_, card)| **card > 1).map(|(key, _)| *key);
        let stack = named.collect::<Vec<_>>().join(",");
        if !stack.is_empty() {
            let dataset = open_dir(dir.path(), &[("stack", &stack.replace("date", "time"))]).unwrap();
            prop_assert_eq!(check(&cube, &dataset), HashSet::new());
        }
    }

    #[test]
    fn a_missing_object_is_an_error_or_a_hole(cube in cube(), at in any::<Index>()) {
        prop_assume!(cube.cards.iter().filter(|card| **card > 1).count() > 1);
        let dir = tempfile::tempdir().unwrap();
        let gone = at.index(cube.cells());
        cube.write(dir.path(), Some(gone));
        let error = open_dir(dir.path(), &[]).unwrap_err();
        let want = format!("1 of {} objects are missing", cube.cells());
        prop_assert!(matches!(&error, Error::Grid { what, .. } if what.starts_with(&want)), "{}", error);
        let dataset = open_dir(dir.path(), &[("missing", "null")]).unwrap();
        prop_assert_eq!(check(&cube, &dataset), HashSet::from([gone]));
    }

    #[test]
    fn damaged_metadata_is_survived(damages in prop::collection::vec(damage(), 1..5), of_descriptor in any::<bool>()) {
        let tensors = [labels("lat", &[1.0, 2.0]), field(json!({"name": "t_500hPa", "dim_names": ["lat", "x"]}), &[2, 3], 0.0)];
        let base: Vec<&Value> = tensors.iter().map(|t| &t.base).collect();
        let extra = json!({"dim_names": {"3": "x"}, "mars": {"date": "20260401", "time": 1200}});
        let mut metadata = cbor(&json!({"base": base, "_extra_": extra}));
        let mut descriptor = cbor(&tensors[1].descriptor);
        let damaged = if of_descriptor { &mut descriptor } else { &mut metadata };
        damages.iter().for_each(|damage| apply(damaged, damage));
        let coord = object(&tensors[0].payload, &cbor(&tensors[0].descriptor));
        let inside = [frame(HEADER_METADATA, &metadata), coord, object(&tensors[1].payload, &descriptor)];
        let sound = tgm_message(&extra, &tensors);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.tgm"), [sound, message(&padded(&inside), true)].concat()).unwrap();
        let all = [("variables", "t_{level}hPa,*"), ("stack", "message,time"), ("missing", "null"), ("skip_broken", "true")];
        for options in [&[][..], &all[..1], &all[1..], &all] {
            let (result, peak) = super::memory::peak(|| open_dir(dir.path(), options));
            prop_assert!(peak < 32 << 20, "{} bytes held", peak);
            for table in result.iter().flat_map(|dataset| &dataset.tables) {
                for variable in &table.variables {
                    prop_assert_eq!(variable.grid.shape(), table.shape());
                }
            }
        }
    }
}
