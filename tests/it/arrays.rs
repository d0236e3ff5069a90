//! Variables of several grids side by side, as array libraries have them.

use super::support::{Tensor, field, labels, write_tgm};
use arrow::array::Array as _;
use millibar::dataset::{ArraySet, Dataset, IndexState, Location, OpenOptions, open, open_or_empty};
use millibar::{Error, Result};
use serde_json::json;
use tempfile::TempDir;

fn file(messages: &[Vec<Tensor>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tgm(&folder.path().join("t.tgm"), messages);
    folder
}

fn open_in(folder: &TempDir, options: &[(&str, &str)]) -> Result<Dataset> {
    let location = Location::parse(folder.path().join("t.tgm").to_str().unwrap())?;
    open_or_empty(&location, &OpenOptions::from_pairs(options.iter().copied())?)
}

/// `name(dims)` of each variable, and the names of the coords.
fn said(set: &ArraySet) -> (Vec<String>, Vec<&str>) {
    let arrays =
        set.arrays.iter().map(|array| format!("{}({})", array.variable().name, array.dims.join(",")));
    (arrays.collect(), set.coords.iter().map(|coord| coord.name.as_str()).collect())
}

#[test]
fn axes_without_labels_that_claim_a_name_at_two_sizes_are_renamed() {
    let folder = file(&[vec![
        field(json!({"name": "a"}), &[3, 4], 0.0),
        field(json!({"name": "b"}), &[5, 4], 0.0),
        labels("lat", &[1.0, 2.0]),
        field(json!({"name": "c"}), &[2], 0.0),
    ]]);
    let dataset = open_in(&folder, &[]).unwrap();
    let set = dataset.array_set().unwrap();
    let (arrays, coords) = said(&set);
    assert_eq!(arrays, ["a(obj_0_dim_0,dim_1)", "b(obj_1_dim_0,dim_1)", "c(latitude)"]);
    assert_eq!(coords, ["latitude"]);
    let sets = dataset.array_sets().unwrap();
    let sets: Vec<_> = sets.iter().map(said).collect();
    assert_eq!(sets[0].0, ["a(dim_0,dim_1)", "c(latitude)"]);
    assert_eq!(sets[1].0, ["b(dim_0,dim_1)"]);
}

#[test]
fn names_and_labels_that_differ_between_grids_need_sets_of_their_own() {
    let level =
        |name: &str, level: i64, shape: &[u64]| field(json!({"name": name, "level": level}), shape, 0.0);
    let twice = file(&[vec![level("t", 1, &[2]), field(json!({"name": "t"}), &[3, 2], 0.0)]]);
    let dataset = open_in(&twice, &[]).unwrap();
    let error = dataset.array_set().unwrap_err();
    assert!(matches!(&error, Error::Grid { name, .. } if name == "t"), "{error}");
    assert_eq!(dataset.array_sets().unwrap().len(), 2);
    let levels =
        file(&[vec![level("t", 1, &[2]), level("t", 2, &[2]), level("u", 1, &[2]), level("u", 3, &[2])]]);
    let dataset = open_in(&levels, &[]).unwrap();
    let error = dataset.array_set().unwrap_err();
    assert!(matches!(&error, Error::Grid { name, .. } if name == "level"), "{error}");
    assert_eq!(dataset.array_sets().unwrap().len(), 2);
    let dataset = open_in(&levels, &[("missing", "null")]).unwrap();
    assert_eq!(
        said(&dataset.array_set().unwrap()).0,
        ["t(level,dim_0)", "u(level,dim_0)"],
        "one axis with holes"
    );
}

#[test]
fn coordinates_that_no_variable_has_are_there_also_from_an_index() {
    let folder = file(&[vec![
        labels("lat", &[1.0, 2.0]),
        labels("step", &[0.0, 6.0]),
        field(json!({"name": "t"}), &[5], 0.0),
    ]]);
    let plain = open_in(&folder, &[]).unwrap();
    let want = (vec!["t(dim_0)".to_string()], vec!["latitude", "step"]);
    assert_eq!(said(&plain.array_set().unwrap()), want);
    plain.write_index(None).unwrap();
    let indexed = open_in(&folder, &[]).unwrap();
    assert!(matches!(indexed.index, IndexState::Used(_)));
    assert_eq!(said(&indexed.array_set().unwrap()), want);
    assert!(indexed.tables[0].dims.iter().all(|dim| !dim.labelled));
}

#[test]
fn files_without_tensors_are_an_empty_set() {
    let folder = file(&[vec![]]);
    let dataset = open_in(&folder, &[]).unwrap();
    let set = dataset.array_set().unwrap();
    assert!(set.arrays.is_empty() && set.coords.is_empty());
    assert_eq!(dataset.array_sets().unwrap().len(), 1);
    let location = Location::parse(folder.path().join("t.tgm").to_str().unwrap()).unwrap();
    assert!(matches!(open(&location, &OpenOptions::default()), Err(Error::Grid { .. })));
}

#[test]
fn attributes_are_those_of_the_objects_with_the_parameters_that_all_share() {
    let packed = |step: i64, reference: f64| {
        let mut packed = field(json!({"name": "p", "step": step, "units": "K"}), &[2, 3], 0.0);
        let more = json!({
            "dtype": "float64", "encoding": "simple_packing", "sp_bits_per_value": 32, "sp_reference_value": reference,
            "sp_binary_scale_factor": -1, "sp_decimal_scale_factor": 0,
        });
        packed.descriptor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        packed
    };
    let keys = |messages: &[Vec<Tensor>]| {
        let set = open_in(&file(messages), &[]).unwrap().array_set().unwrap();
        set.arrays[0].attributes().into_keys().collect::<Vec<_>>().join(" ")
    };
    let one = keys(&[vec![packed(0, 1.5)]]);
    assert_eq!(
        one,
        "name sp_binary_scale_factor sp_bits_per_value sp_decimal_scale_factor sp_reference_value step units"
    );
    let two = keys(&[vec![packed(0, 1.5)], vec![packed(6, 2.5)]]);
    assert_eq!(two, "name sp_bits_per_value sp_decimal_scale_factor units");
}

#[test]
fn times_stay_numbers_and_objects_are_stacked_on_request() {
    let mut time = labels("time", &[0.0, 6.0]);
    time.base["units"] = "hours since 2026-04-01".into();
    let folder =
        file(&[vec![time, field(json!({"name": "t"}), &[2], 0.0), field(json!({"name": "t"}), &[2], 1.0)]]);
    let options = [("stack", "object"), ("decode_times", "false")];
    let set = open_in(&folder, &options).unwrap().array_set().unwrap();
    assert_eq!(said(&set), (vec!["t(object,time)".to_string()], vec!["object", "time"]));
    let time = &set.coords[1];
    assert_eq!(time.coord.data_type(), &arrow::datatypes::DataType::Float64);
    assert!(time.attributes.contains_key("units"));
    let decoded = open_in(&folder, &[("stack", "object")]).unwrap().array_set().unwrap();
    assert!(!decoded.coords[1].attributes.contains_key("units"));
}
