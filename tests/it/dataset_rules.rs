//! How objects become tables, rule by rule, on small files made for each.

use super::build::{HEADER_METADATA, cbor, frame, message, padded};
use super::support::{Tensor, field, labels, tensor, tgm_message, write_tgm};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};
use millibar::codec::{DecodeStats, Scratch, Values};
use millibar::dataset::{Dataset, GridTable, Location, OPTIONS, OpenOptions, OptionDoc, open};
use millibar::tgm::Value as Cbor;
use millibar::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A folder of files for one test.
struct Files(TempDir);

impl Files {
    /// One file `t.tgm` of these messages.
    fn one(messages: &[Vec<Tensor>]) -> Self {
        Self::named(&[("t.tgm", messages.to_vec())])
    }

    fn named(files: &[(&str, Vec<Vec<Tensor>>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, messages) in files {
            write_tgm(&dir.path().join(name), messages);
        }
        Self(dir)
    }

    fn open(&self, options: &[(&str, &str)]) -> Result<Dataset> {
        self.open_at("*.tgm", options)
    }

    fn open_at(&self, location: &str, options: &[(&str, &str)]) -> Result<Dataset> {
        let location = Location::parse(self.0.path().join(location).to_str().unwrap())?;
        open(&location, &OpenOptions::from_pairs(options.iter().copied())?)
    }

    fn table(&self, options: &[(&str, &str)]) -> Arc<GridTable> {
        Arc::clone(self.open(options).unwrap().single_table().unwrap())
    }

    /// The message of the error, without the folder.
    fn error(&self, options: &[(&str, &str)]) -> String {
        let folder = format!("{}/", self.0.path().to_str().unwrap());
        self.open(options).unwrap_err().to_string().replace(&folder, "")
    }
}

fn ints(table: &GridTable, dim: usize) -> Vec<i64> {
    table.dims[dim].coord.as_primitive::<Int64Type>().values().to_vec()
}

fn names(table: &GridTable) -> Vec<&str> {
    table.variables.iter().map(|v| v.name.as_str()).collect()
}

/// First element of each chunk of a variable, in C order; `None` for holes.
fn firsts(table: &GridTable, variable: &str) -> Vec<Option<f32>> {
    let first = |chunk: Option<Arc<millibar::dataset::Chunk>>| {
        let chunk = chunk?;
        let region = chunk.source.read(chunk.object.region.clone()).unwrap();
        let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
        match chunk.pipeline().unwrap().decode(&region, &mut scratch, &mut stats).unwrap() {
            Values::Float32(values) => Some(values[0]),
            other => panic!("{other:?}"),
        }
    };
    table.variable(variable).unwrap().chunks.iter().map(first).collect()
}

/// A 2 x 3 float32 tensor.
fn small(base: Value, first: f32) -> Tensor {
    field(base, &[2, 3], first)
}

fn steps(steps: &[i64]) -> Vec<Vec<Tensor>> {
    steps.iter().map(|step| vec![small(json!({"name": "t", "step": step}), *step as f32)]).collect()
}

#[test]
fn coordinates_shared_by_messages_and_files_are_one() {
    let with_coords = |step: i64| {
        vec![
            labels("lat", &[10.0, -10.0]),
            labels("Longitude", &[0.0, 1.0, 2.0]),
            small(json!({"name": "t", "step": step}), step as f32),
        ]
    };
    let files =
        Files::named(&[("a.tgm", vec![with_coords(0), with_coords(6)]), ("b.tgm", vec![with_coords(12)])]);
    let table = files.table(&[]);
    assert_eq!(table.grid_name(), "step,latitude,longitude");
    assert_eq!(ints(&table, 0), [0, 6, 12]);
    assert_eq!(table.dims[1].coord.as_primitive::<Float64Type>().values(), &[10.0, -10.0]);
    assert_eq!(table.dims[1].attributes.get("name"), Some(&Cbor::from("lat")));
    assert_eq!(table.variables[0].attributes.get("step"), None, "what varies is no attribute");
    assert_eq!(table.variables[0].attributes.get("name"), Some(&Cbor::from("t")));
}

#[test]
fn conflicting_coordinates_name_both_places() {
    let file = |name: &'static str, values: &[f64]| (name, vec![vec![labels("latitude", values)]]);
    let files = Files::named(&[file("a.tgm", &[1.0, 2.0]), file("b.tgm", &[1.0, 3.0])]);
    let want = "latitude: the coordinate differs between a.tgm, message 0, object 0 (shape [2]) and b.tgm";
    assert!(files.error(&[]).starts_with(want), "{}", files.error(&[]));
}

#[test]
fn the_same_labels_in_another_byte_order_are_no_conflict() {
    let mut swapped = labels("latitude", &[1.0, 2.0]);
    swapped.payload = [1.0f64, 2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    swapped.descriptor["byte_order"] = "big".into();
    let files =
        Files::one(&[vec![labels("latitude", &[1.0, 2.0]), swapped, small(json!({"name": "t"}), 0.0)]]);
    assert_eq!(files.table(&[]).dims[0].name, "latitude");
}

#[test]
fn a_coordinate_of_two_axes_is_an_error_unless_named_as_variable() {
    let files = Files::one(&[vec![small(json!({"name": "height"}), 0.0), small(json!({"name": "t"}), 0.0)]]);
    assert!(files.error(&[]).starts_with("height: a coordinate has one axis"), "{}", files.error(&[]));
    assert_eq!(names(&files.table(&[("variables", "t")])), ["t"]);
    assert_eq!(names(&files.table(&[("variables", "height,t")])), ["height", "t"]);
}

#[test]
fn a_coordinate_is_a_variable_only_by_its_very_name() {
    let files = Files::one(&[vec![labels("time", &[1.0, 2.0]), small(json!({"name": "t"}), 0.0)]]);
    let table = files.table(&[("variables", "t*")]);
    assert_eq!((names(&table), table.grid_name()), (vec!["t"], "time,dim_1".into()));
    let dataset = files.open(&[("variables", "t,time")]).unwrap();
    assert_eq!(dataset.grid_names(), ["dim_0", "dim_0,dim_1"]);
}

#[test]
fn time_coordinates_with_cf_units_are_timestamps() {
    let mut time = labels("time", &[0.0, 6.0]);
    time.base = json!({"name": "time", "units": "hours since 2026-04-01"});
    let table = Files::one(&[vec![time, small(json!({"name": "t"}), 0.0)]]).table(&[]);
    let times = table.dims[0].coord.as_primitive::<TimestampNanosecondType>();
    assert_eq!(times.value(1) - times.value(0), 6 * 3_600_000_000_000);
}

#[test]
fn names_of_axes() {
    let dims =
        |tensors: Vec<Tensor>, options: &[(&str, &str)]| Files::one(&[tensors]).table(options).grid_name();
    let square = |base: Value| field(base, &[3, 3], 0.0);
    let lat = || labels("lat", &[3.0, 2.0, 1.0]);
    let lon = || labels("lon", &[1.0, 2.0, 3.0]);
    // One coordinate of that size: it labels the axis, before a hint of another name.
    assert_eq!(
        dims(vec![lat(), small(json!({"name": "t", "dim_names": ["a", "b"]}), 0.0)], &[]),
        "a,latitude"
    );
    // A hint that names a coordinate decides where sizes can't.
    let hinted = square(json!({"name": "t", "dim_names": ["longitude", "lat"]}));
    assert_eq!(dims(vec![lat(), lon(), hinted], &[]), "longitude,latitude");
    let half = square(json!({"name": "t", "dim_names": ["member", "latitude"]}));
    assert_eq!(dims(vec![lat(), half], &[]), "member,latitude");
    // Without hints, coordinates of one size are taken in the order of the objects.
    assert_eq!(dims(vec![lon(), lat(), square(json!({"name": "t"}))], &[]), "longitude,latitude");
    // A hint that names a coordinate of another size names nothing.
    let wrong = small(json!({"name": "t", "dim_names": ["latitude", "b"]}), 0.0);
    assert_eq!(dims(vec![labels("lat", &[0.0; 7]), wrong], &[]), "dim_0,b");
    // The option goes before everything.
    assert_eq!(dims(vec![lat(), small(json!({"name": "t"}), 0.0)], &[("dim_names", "y,x")]), "y,x");
    let named = dims(vec![lat(), small(json!({"name": "t"}), 0.0)], &[("dim_names", "y,latitude")]);
    assert_eq!(named, "y,latitude");
}

#[test]
fn dim_names_that_dont_fit_are_refused() {
    let files = Files::one(&[vec![labels("lat", &[0.0; 5]), small(json!({"name": "t"}), 0.0)]]);
    assert!(files.error(&[("dim_names", "y")]).contains("`t` has 2 axes"));
    let error = files.error(&[("dim_names", "latitude,x")]);
    assert_eq!(error, "t: the coordinate `latitude` has 5 labels for an axis of 2");
}

#[test]
fn labels_keep_a_falling_order_and_are_sorted_otherwise() {
    assert_eq!(ints(&Files::one(&steps(&[12, 6, 0])).table(&[]), 0), [12, 6, 0]);
    let table = Files::one(&steps(&[6, 0, 12])).table(&[]);
    assert_eq!(ints(&table, 0), [0, 6, 12]);
    assert_eq!(firsts(&table, "t"), [Some(0.0), Some(6.0), Some(12.0)], "each at its own label");
}

#[test]
fn nested_keys_vary_one_by_one() {
    let mut messages = Vec::new();
    for (i, date) in ["20260401", "20260402"].iter().enumerate() {
        for (j, time) in [0, 1200].iter().enumerate() {
            for (k, level) in ["500", "850"].iter().enumerate() {
                let mars = json!({"date": date, "time": time, "levelist": level, "param": "t", "number": 1});
                let uuid = format!("id-{i}{j}{k}");
                let base = json!({"mars": mars, "uuid": uuid, "dim_names": ["y", "x"]});
                messages.push(vec![small(base, (i * 4 + j * 2 + k) as f32)]);
            }
        }
    }
    let files = Files::one(&messages);
    let table = files.table(&[]);
    assert_eq!(table.grid_name(), "time,level,y,x");
    let times = table.dims[0].coord.as_primitive::<TimestampNanosecondType>().values().to_vec();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 12 * 3_600_000_000_000));
    assert_eq!(ints(&table, 1), [500, 850]);
    assert_eq!(firsts(&table, "t"), (0..8).map(|i| Some(i as f32)).collect::<Vec<_>>());
    let raw = files.table(&[("raw_keys", "true")]);
    assert_eq!(raw.grid_name(), "date,time,levelist,y,x");
    assert_eq!(ints(&raw, 1), [0, 1200]);
}

#[test]
fn parameters_of_codecs_never_make_a_dim() {
    let mut messages = steps(&[0, 6]);
    for (i, message) in messages.iter_mut().enumerate() {
        message[0].descriptor["sp_reference_value"] = json!(250.5 + i as f64);
        message[0].descriptor["szip_block_offsets"] = json!([0, i]);
        message[0].base["sp_bits_per_value"] = json!(i);
    }
    let table = Files::one(&messages).table(&[]);
    assert_eq!(table.grid_name(), "step,dim_0,dim_1");
    assert!(table.variables[0].attributes.keys().all(|key| !key.starts_with("szip_")));
}

#[test]
fn labels_are_typed_by_what_all_values_are() {
    let keyed = |values: &[Value]| {
        let one = |(i, value): (usize, &Value)| vec![small(json!({"name": "t", "k": value}), i as f32)];
        let table = Files::one(&values.iter().enumerate().map(one).collect::<Vec<_>>()).table(&[]);
        table.dims[0].coord.data_type().clone()
    };
    assert_eq!(keyed(&[json!("500"), json!(850)]), DataType::Int64);
    assert_eq!(keyed(&[json!("0.5"), json!(1)]), DataType::Float64);
    assert_eq!(keyed(&[json!("od"), json!(1)]), DataType::Utf8);
    assert_eq!(keyed(&[json!(true), json!(false)]), DataType::Utf8);
}

#[test]
fn the_same_label_in_two_spellings_is_a_duplicate() {
    let message = |step: Value| vec![small(json!({"name": "t", "step": step}), 0.0)];
    let files = Files::one(&[message(json!(6)), message(json!("6")), message(json!(12))]);
    let want = "t: two objects for the same cells at step=6: t.tgm, message 0, object 0 and t.tgm, message 1, object 0";
    assert!(files.error(&[]).starts_with(want), "{}", files.error(&[]));
}

#[test]
fn duplicates_name_both_places_and_the_way_out() {
    let twice = vec![vec![small(json!({"name": "t"}), 0.0)], vec![small(json!({"name": "t"}), 5.0)]];
    let files = Files::one(&twice);
    let way_out = "the option `stack` = 'object', 'message' or 'file'";
    assert!(files.error(&[]).contains(way_out), "{}", files.error(&[]));
    let table = files.table(&[("stack", "message")]);
    assert_eq!(table.grid_name(), "message,dim_0,dim_1");
    assert_eq!(firsts(&table, "t"), [Some(0.0), Some(5.0)]);
    let files = Files::named(&[("a.tgm", vec![twice[0].clone()]), ("b.tgm", vec![twice[1].clone()])]);
    let table = files.table(&[("stack", "file")]);
    assert!(table.dims[0].coord.as_string::<i32>().value(1).ends_with("b.tgm"));
    let partial = [vec![small(json!({"name": "t"}), 0.0)], vec![small(json!({"name": "t", "step": 1}), 0.0)]];
    assert!(Files::one(&partial).error(&[]).contains("`step` can't tell them apart"));
}

/// Three of the four combinations of step and level.
fn with_hole() -> Files {
    let message = |step: i64, level: i64| {
        vec![small(json!({"name": "t", "mars": {"step": step, "levelist": level}}), (step + level) as f32)]
    };
    Files::one(&[message(0, 500), message(0, 850), message(6, 850)])
}

#[test]
fn holes_are_errors_that_name_what_is_missing() {
    let want = "t: 1 of 4 objects are missing: step=6, level=500 (the option `missing` = 'null' makes their cells NULL)";
    assert_eq!(with_hole().error(&[]), want);
}

#[test]
fn holes_are_missing_chunks_on_option() {
    let table = with_hole().table(&[("missing", "null")]);
    assert_eq!(table.grid_name(), "step,level,dim_0,dim_1");
    assert_eq!(firsts(&table, "t"), [Some(500.0), Some(850.0), None, Some(856.0)]);
}

#[test]
fn too_few_objects_for_a_grid_are_refused_before_anything_is_allocated() {
    let mut messages = Vec::new();
    for i in 0..2000 {
        // Every third object shares a value, so that no single key tells all apart.
        let (a, b, c) = (i / 2, (i + 1) / 2 + 5000 * (i % 2), i % 1500);
        messages.push(vec![small(json!({"name": "t", "a": a, "b": b, "c": c}), 0.0)]);
    }
    let files = Files::one(&messages);
    let (error, peak) = super::memory::peak(|| files.error(&[("missing", "null"), ("stack", "a,b,c")]));
    assert!(error.contains("2000 objects are too few for a grid of 1000 of a x"), "{error}");
    assert!(peak < 64 << 20, "{peak}");
}

#[test]
fn variables_with_the_same_labels_share_a_table() {
    let mut messages = steps(&[0, 6]);
    for step in [6, 0] {
        messages.push(vec![small(json!({"name": "u", "step": step}), 100.0 + step as f32)]);
    }
    let table = Files::one(&messages).table(&[]);
    assert_eq!(names(&table), ["t", "u"]);
    assert_eq!(firsts(&table, "u"), [Some(100.0), Some(106.0)]);
}

#[test]
fn variables_with_other_labels_are_another_table_or_have_missing_cells() {
    let mut messages = steps(&[0, 6, 12]);
    for step in [6, 12] {
        messages.push(vec![small(json!({"name": "rain", "step": step}), step as f32)]);
    }
    let files = Files::one(&messages);
    let dataset = files.open(&[]).unwrap();
    assert_eq!(dataset.grid_names(), ["step=3,dim_0=2,dim_1=3", "step=2,dim_0=2,dim_1=3"]);
    let error = dataset.single_table().unwrap_err().to_string();
    assert!(error.contains("2 grids") && error.contains("step=2,dim_0=2,dim_1=3"), "{error}");
    assert_eq!(names(&files.table(&[("grid", "step=2,dim_0,dim_1")])), ["rain"]);
    let table = files.table(&[("missing", "null")]);
    assert_eq!(firsts(&table, "rain"), [None, Some(6.0), Some(12.0)]);
}

#[test]
fn grids_of_the_same_size_are_numbered() {
    let mut messages = steps(&[0, 6]);
    for step in [6, 12] {
        messages.push(vec![small(json!({"name": "rain", "step": step}), step as f32)]);
    }
    let files = Files::one(&messages);
    let names_of_grids = files.open(&[]).unwrap().grid_names();
    assert_eq!(names_of_grids, ["step=2,dim_0=2,dim_1=3", "step=2,dim_0=2,dim_1=3#2"]);
    assert_eq!(names(&files.table(&[("grid", "step=2,dim_0=2,dim_1=3#2")])), ["rain"]);
    assert_eq!(names(&files.table(&[("grid", "step,dim_0,dim_1#1")])), ["t"]);
    assert!(files.error(&[("grid", "step,dim_0,dim_1#3")]).contains("no such grid"));
}

#[test]
fn grids_are_tables() {
    let files = Files::one(&[vec![
        small(json!({"name": "t"}), 0.0),
        field(json!({"name": "profile"}), &[7], 0.0),
        small(json!({"name": "u"}), 0.0),
        field(json!({"name": "mean"}), &[], 0.0),
    ]]);
    let dataset = files.open(&[]).unwrap();
    assert_eq!(dataset.grid_names(), ["dim_0,dim_1", "dim_0", ""]);
    assert_eq!(names(&dataset.tables[0]), ["t", "u"]);
    assert_eq!(dataset.tables[2].shape(), [0u64; 0]);
    assert_eq!(dataset.tables[2].variables[0].chunks.len(), 1);
    assert_eq!(names(&files.table(&[("grid", "dim_0")])), ["profile"]);
    assert_eq!(names(&files.table(&[("grid", "")])), ["mean"]);
    assert!(files.error(&[("grid", "x")]).contains("no such grid; there are dim_0,dim_1; dim_0; "));
}

#[test]
fn scalars_stack_too() {
    let message = |step: i64| vec![field(json!({"name": "mean", "step": step}), &[], step as f32)];
    let table = Files::one(&[message(0), message(6)]).table(&[]);
    assert_eq!((table.grid_name(), table.shape()), ("step".into(), vec![2]));
    assert_eq!(firsts(&table, "mean"), [Some(0.0), Some(6.0)]);
}

#[test]
fn names_and_patterns_choose_variables() {
    let named = |name: &str, first: f32| small(json!({ "name": name }), first);
    let files = Files::one(&[vec![
        named("t_500hPa", 1.0),
        named("t_850hPa", 2.0),
        named("u_500hPa", 3.0),
        named("u_850hPa", 4.0),
        named("orography", 5.0),
    ]]);
    assert_eq!(names(&files.table(&[("variables", "oro*,u_850hPa")])), ["u_850hPa", "orography"]);
    let table = files.table(&[("variables", "{variable}_{level}hPa")]);
    assert_eq!((names(&table), table.grid_name()), (vec!["t", "u"], "level,dim_0,dim_1".into()));
    assert_eq!(firsts(&table, "u"), [Some(3.0), Some(4.0)]);
    let error = files.error(&[("variables", "v,w_*")]);
    assert!(error.contains("no variable matches; there are orography, t_500hPa"), "{error}");
}

#[test]
fn dims_of_file_names() {
    let file = |step: i64| vec![vec![small(json!({"name": "t"}), step as f32)]];
    let files = Files::named(&[
        ("gfs_20260402.tgm", file(2)),
        ("gfs_20260401.tgm", file(1)),
        ("ifs_20260401.tgm", file(3)),
        ("ifs_20260402.tgm", file(4)),
    ]);
    let dataset = files.open_at("{model}_{time:%Y%m%d}.tgm", &[]).unwrap();
    let table = dataset.single_table().unwrap();
    assert_eq!(table.grid_name(), "model,time,dim_0,dim_1");
    assert_eq!(firsts(table, "t"), [1.0, 2.0, 3.0, 4.0].map(Some));
    assert_eq!(table.dims[0].coord.as_string::<i32>().value(1), "ifs");
    assert!(matches!(table.dims[1].coord.data_type(), DataType::Timestamp(..)));
    let single = files.open_at("gfs_{time:%Y%m%d}.tgm", &[("stack", "time")]).unwrap();
    assert_eq!(single.tables[0].shape()[0], 2);
    let one = files.open_at("gfs_{day}1.tgm", &[]).unwrap();
    assert_eq!(ints(&one.tables[0], 0), [2_026_040], "also where only one file matches");
}

#[test]
fn a_file_name_that_is_no_time_is_refused() {
    let files = Files::named(&[("t_20261399.tgm", vec![])]);
    write_tgm(&files.0.path().join("t_20261399.tgm"), &steps(&[0]));
    let error = files.open_at("t_{time:%Y%m%d}.tgm", &[]).unwrap_err().to_string();
    assert!(error.contains("`20261399` is no time"), "{error}");
}

#[test]
fn stacking_by_named_keys() {
    let message = |step: i64, run: &str| {
        vec![small(json!({"name": "t", "mars": {"step": step}, "run": run}), step as f32)]
    };
    let files = Files::one(&[message(0, "a"), message(6, "b")]);
    assert_eq!(files.table(&[]).grid_name(), "step,dim_0,dim_1");
    assert_eq!(files.table(&[("stack", "run")]).grid_name(), "run,dim_0,dim_1");
    assert_eq!(files.table(&[("stack", "mars.step")]).grid_name(), "step,dim_0,dim_1");
    let both = files.table(&[("stack", "run,step"), ("missing", "null")]);
    assert_eq!(both.grid_name(), "run,step,dim_0,dim_1");
    assert_eq!(firsts(&both, "t"), [Some(0.0), None, None, Some(6.0)]);
    assert!(files.error(&[("stack", "level")]).contains("no object has `level`"));
    let files = Files::one(&[message(0, "a"), message(6, "a"), message(0, "b"), message(6, "b")]);
    let error = files.error(&[("stack", "run")]);
    assert!(error.ends_with("they differ in `mars.step`, which isn't stacked"), "{error}");
}

#[test]
fn a_variable_key_names_variables() {
    let files = Files::one(&[vec![small(json!({"name": "x1", "mars": {"shortName": "2t"}}), 0.0)]]);
    assert_eq!(names(&files.table(&[])), ["x1"]);
    assert_eq!(names(&files.table(&[("variable_key", "mars.shortName")])), ["2t"]);
    assert!(files.error(&[("variable_key", "mars.nothing")]).contains("no object has this key"));
}

#[test]
fn a_stacked_key_that_is_an_axis_already_keeps_its_own_name() {
    let message = |level: i64| {
        vec![field(json!({"name": "t", "dim_names": ["level"], "mars": {"levelist": level}}), &[3], 0.0)]
    };
    assert_eq!(Files::one(&[message(1), message(2)]).table(&[]).grid_name(), "levelist,level");
}

#[test]
fn columns_of_one_name_are_refused() {
    let mut other = small(json!({"name": "t"}), 0.0);
    other.descriptor["dtype"] = "int32".into();
    let files = Files::one(&[vec![small(json!({"name": "t"}), 0.0), other]]);
    let error = files.error(&[]);
    assert_eq!(
        error,
        "t: two columns of this name: a variable of dtype float32 and a variable of dtype int32"
    );
    let clash = small(json!({"name": "y", "dim_names": ["y", "x1"]}), 0.0);
    let error = Files::one(&[vec![clash]]).error(&[("variables", "y")]);
    assert!(error.contains("a dim and a variable"), "{error}");
}

#[test]
fn messages_can_be_chosen_and_broken_ones_left_out() {
    let files = Files::one(&steps(&[0, 6, 12]));
    let table = files.table(&[("message_index", "1")]);
    assert_eq!((table.grid_name(), firsts(&table, "t")), ("dim_0,dim_1".into(), vec![Some(6.0)]));
    assert!(files.error(&[("message_index", "3")]).contains("no such message: there are 3"));
    let good = |step: i64| tgm_message(&json!({}), &steps(&[step])[0]);
    let bad = message(&padded(&[frame(HEADER_METADATA, &cbor(&json!([1])))]), true);
    std::fs::write(files.0.path().join("t.tgm"), [good(0), bad, good(12)].concat()).unwrap();
    assert!(matches!(files.open(&[]), Err(Error::Metadata { .. })));
    assert_eq!(ints(&files.table(&[("skip_broken", "true")]), 0), [0, 12]);
}

#[test]
fn an_object_that_cant_be_decoded_fails_when_it_is_read() {
    let mut zfp = small(json!({"name": "z"}), 0.0);
    zfp.descriptor["compression"] = "zfp".into();
    zfp.descriptor["zfp_mode"] = "fixed_rate".into();
    zfp.descriptor["zfp_rate"] = 16.into();
    let table = Files::one(&[vec![small(json!({"name": "t"}), 0.0), zfp]]).table(&[]);
    assert!(table.variable("t").unwrap().chunks.get(0).unwrap().pipeline().is_ok());
    let error = table.variable("z").unwrap().chunks.get(0).unwrap().pipeline().cloned().unwrap_err();
    assert!(error.to_string().contains("message 0, object 1: "), "{error}");
    let mut packed = tensor(json!({"name": "p"}), "float64", &[2], vec![0; 4]);
    packed.descriptor["encoding"] = "simple_packing".into();
    let files = Files::one(&[vec![packed]]);
    assert!(matches!(files.open(&[]), Err(Error::Metadata { .. })), "a missing parameter shows at once");
}

#[test]
fn coordinates_alone_are_tables() {
    let files = Files::one(&[vec![labels("lat", &[1.0, 2.0]), labels("level", &[500.0])]]);
    assert_eq!(files.open(&[]).unwrap().grid_names(), ["latitude", "level"]);
    assert!(files.open(&[]).unwrap().tables[0].variables.is_empty());
}

#[test]
fn files_without_tensors_are_refused() {
    assert_eq!(Files::one(&[vec![], vec![]]).error(&[]), "*.tgm: no message holds a tensor");
}

#[test]
fn hashes_of_coordinates_are_checked_on_option() {
    let files = Files::one(&[vec![labels("lat", &[1.0, 2.0]), small(json!({"name": "t"}), 0.0)]]);
    files.open(&[("verify_hash", "full")]).unwrap();
    let path = files.0.path().join("t.tgm");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|w| w == 2.0f64.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    files.open(&[]).unwrap();
    assert!(matches!(files.open(&[("verify_hash", "full")]), Err(Error::HashMismatch { .. })));
}

#[test]
fn long_axes_without_labels_are_bounded_by_the_bytes_that_are_there() {
    let mut bomb = field(json!({"name": "z"}), &[4], 0.0);
    bomb.descriptor["shape"] = json!([1u64 << 33]);
    bomb.descriptor["compression"] = "zfp".into();
    bomb.descriptor["zfp_mode"] = "fixed_rate".into();
    bomb.descriptor["zfp_rate"] = 16.into();
    let files = Files::one(&[vec![bomb]]);
    let (error, peak) = super::memory::peak(|| files.error(&[]));
    assert!(!error.is_empty() && peak < 1 << 20, "{error} {peak}");
}

#[test]
fn a_thousand_messages_open_in_linear_memory() {
    let dir = tempfile::tempdir().unwrap();
    let open = |count: i64| {
        let mut bytes = Vec::new();
        for step in 0..count {
            let mars = json!({"date": "20260401", "time": "0000", "class": "od", "step": step});
            let extra = json!({"uuid": format!("{step:032x}")});
            bytes.extend(tgm_message(&extra, &[small(json!({"name": "t", "mars": mars}), step as f32)]));
        }
        let path: &Path = &dir.path().join("t.tgm");
        std::fs::write(path, bytes).unwrap();
        let (dataset, peak) = super::memory::peak(|| Dataset::open_file(path.to_str().unwrap()).unwrap());
        assert_eq!(dataset.tables[0].shape(), [count as u64, 2, 3]);
        peak as i64 / count
    };
    let (few, many) = (open(200), open(2000));
    assert!(many < 2 * few && many < 8000, "bytes a message: {few} of 200, {many} of 2000");
}

#[test]
fn the_docs_list_every_option_as_it_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tables.md")).unwrap();
    let listed = page.split("## Options").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = listed.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |o: &OptionDoc| format!("| `{}` | {} | {} | {} |", o.name, o.values, o.default, o.help);
    assert_eq!(rows, OPTIONS.iter().map(row).collect::<Vec<_>>());
}
