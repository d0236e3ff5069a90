//! Datasets of the conformance corpus.

use super::corpus;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use chrono::NaiveDate;
use millibar::Error;
use millibar::dataset::{Dataset, GridTable, Location, OpenOptions, open};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn open_with(location: &str, options: &[(&str, &str)]) -> millibar::Result<Dataset> {
    let options = OpenOptions::from_pairs(options.iter().copied())?;
    open(&Location::parse(location)?, &options)
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap()
}

fn dataset<'v>(manifest: &'v Value, name: &str) -> &'v Value {
    let datasets = manifest["datasets"].as_array().unwrap();
    datasets.iter().find(|d| d["name"] == name).unwrap()
}

/// The positions of labels along a dim, by what the manifest writes for them.
fn position(table: &GridTable, dim: &str, label: &Value) -> usize {
    let dim = table.dims.iter().find(|d| d.name == dim).unwrap();
    let text = label.as_str().map_or_else(|| label.to_string(), Into::into);
    if let Some(times) = dim.coord.as_primitive_opt::<TimestampNanosecondType>() {
        let day = NaiveDate::parse_from_str(&text, "%Y%m%d").unwrap().and_hms_opt(0, 0, 0).unwrap();
        let want = day.and_utc().timestamp_nanos_opt().unwrap();
        return times.values().iter().position(|time| *time == want).unwrap();
    }
    let want: i64 = text.parse().unwrap();
    dim.coord.as_primitive::<Int64Type>().values().iter().position(|value| *value == want).unwrap()
}

/// Checks that every cell of the manifest is backed by the object that it names, and that there are no others.
fn check_cells(
    dir: &Path,
    table: &GridTable,
    cells: &[Value],
    dims: &[(&str, &str)],
    variable: impl Fn(&Value) -> String,
) {
    let outer: Vec<usize> = table.dims.iter().take(dims.len()).map(|d| d.len()).collect();
    for cell in cells {
        let variable = table.variable(&variable(&cell["coords"])).unwrap();
        let at = dims
            .iter()
            .zip(&outer)
            .fold(0, |at, ((dim, key), len)| at * len + position(table, dim, &cell["coords"][key]));
        let chunk = variable.chunks.get(at as u64).unwrap();
        assert_eq!(Path::new(&**chunk.source.name()), dir.join(cell["file"].as_str().unwrap()));
        assert_eq!(chunk.object.place.message, cell["message"].as_u64());
        assert_eq!(chunk.object.place.object, cell["object"].as_u64());
        assert!(chunk.pipeline.is_ok(), "{:?}", chunk.pipeline);
    }
    let chunks: usize = table.variables.iter().map(|v| v.chunks.len()).sum();
    assert_eq!(chunks, cells.len());
}

#[test]
fn forecast_is_one_variable_over_time_and_level() {
    let Some(dir) = corpus::dir() else { return };
    let location = dir.join("forecast/temperature_{time:%Y%m%d}.tgm");
    let got = open_with(location.to_str().unwrap(), &[("variables", "temperature_{level}hPa")]).unwrap();
    let table = got.single_table().unwrap();
    assert_eq!(table.grid_name(), "time,level,latitude,longitude");
    assert_eq!(table.shape(), [4, 10, 36, 72]);
    assert_eq!(table.variables.len(), 1);
    assert_eq!(table.variables[0].grid.chunk_shape(), [1, 1, 36, 72]);
    let levels = table.dims[1].coord.as_primitive::<Int64Type>();
    assert_eq!(levels.values(), &[1000, 925, 850, 700, 500, 400, 300, 200, 100, 50]);
    let manifest = manifest(&dir);
    let cells = dataset(&manifest, "forecast")["cells"].as_array().unwrap();
    check_cells(&dir, table, cells, &[("time", "date"), ("level", "level")], |_| "temperature".into());
}

#[test]
fn forecast_without_patterns_stacks_days_by_metadata() {
    let Some(dir) = corpus::dir() else { return };
    let got = open_with(dir.join("forecast/*.tgm").to_str().unwrap(), &[]).unwrap();
    let table = got.single_table().unwrap();
    assert_eq!(table.grid_name(), "time,latitude,longitude");
    assert_eq!(table.shape(), [4, 36, 72]);
    assert_eq!(table.variables.len(), 10);
    assert_eq!(table.variables[3].name, "temperature_700hPa");
}

#[test]
fn mars_messages_are_a_cube_for_each_parameter() {
    let Some(dir) = corpus::dir() else { return };
    let manifest = manifest(&dir);
    for name in ["mars_sp16_szip", "mars_f32_blosc2"] {
        let want = dataset(&manifest, name);
        let file = dir.join(want["files"][0].as_str().unwrap());
        for options in [&[][..], &[("variable_key", "mars.param")]] {
            let got = open_with(file.to_str().unwrap(), options).unwrap();
            let table = got.single_table().unwrap();
            assert_eq!(table.grid_name(), "time,step,level,latitude,longitude");
            assert_eq!(table.shape(), [2, 3, 3, 13, 24]);
            let names: Vec<_> = table.variables.iter().map(|v| v.name.as_str()).collect();
            assert_eq!(names, ["t", "u"]);
            let dims = [("time", "date"), ("step", "step"), ("level", "levelist")];
            let variable = |coords: &Value| coords["param"].as_str().unwrap().to_string();
            check_cells(&dir, table, want["cells"].as_array().unwrap(), &dims, variable);
        }
        let raw = open_with(file.to_str().unwrap(), &[("raw_keys", "true")]).unwrap();
        let table = raw.single_table().unwrap();
        assert_eq!(table.grid_name(), "date,step,levelist,latitude,longitude");
        assert_eq!(table.dims[0].coord.as_primitive::<Int64Type>().values(), &[20260401, 20260402]);
    }
}

/// Grid name, shape and names of the variables of each table, or the error.
fn outline(file: &Path) -> String {
    match Dataset::open_file(file.to_str().unwrap()) {
        Ok(dataset) => {
            let table = |table: &std::sync::Arc<GridTable>| {
                let names: Vec<_> = table.variables.iter().map(|v| v.name.as_str()).collect();
                format!("{} {:?}: {}", table.grid_name(), table.shape(), names.join(" "))
            };
            dataset.tables.iter().map(table).collect::<Vec<_>>().join("; ")
        }
        Err(Error::Grid { name, what }) => format!("error: {name}: {}", what.split(" at ").next().unwrap()),
        Err(other) => panic!("{}: {other}", file.display()),
    }
}

#[test]
fn metadata_files_open_with_the_names_they_hint_at() {
    let Some(dir) = corpus::dir() else { return };
    let want = [
        ("base_shorter_than_objects", "dim_0,dim_1 [3, 4]: first object_1 object_2"),
        ("coordinates", "latitude,longitude [5, 8]: temperature"),
        ("dim_names_extra_list", "latitude,longitude [3, 4]: t2m"),
        ("dim_names_extra_map", "row,col [3, 4]: t2m"),
        ("dim_names_malformed", "dim_0,dim_1 [3, 4]: a b c d"),
        ("empty_map", "dim_0,dim_1 [4, 6]: object_0"),
        ("float_widths", "dim_0,dim_1 [4, 6]: object_0"),
        ("free_top_level_keys", "error: x: a coordinate has one axis, but the object of that name"),
        ("indefinite", "dim_0,dim_1 [4, 6]: object_0"),
        ("legacy_version", "dim_0,dim_1 [4, 6]: old"),
        ("long", "dim_0,dim_1 [3, 4]: object_0"),
        ("mars", "dim_0,dim_1 [3, 4]: t"),
        ("names_and_dims", "y,x [3, 4]: reflectance counts"),
        ("nested", "dim_0,dim_1 [3, 4]: object_0"),
        ("non_finite", "dim_0,dim_1 [4, 6]: object_0"),
        ("none", "dim_0,dim_1 [3, 4]: object_0"),
        ("reserved_deeper", "dim_0,dim_1 [3, 4]: object_0"),
        ("same_key_in_base_and_extra", "dim_0,dim_1 [3, 4]: t"),
        ("tags_and_bytes", "dim_0,dim_1 [4, 6]: tags"),
        ("trailing_bytes", "dim_0,dim_1 [4, 6]: object_0"),
        ("unicode", "dim_0,dim_1 [3, 4]: temp\u{e9}rature"),
        ("value_types", "dim_0,dim_1 [3, 4]: object_0"),
    ];
    let mut files = files_of(&dir.join("metadata"));
    files.retain(|file| file.extension().is_some_and(|e| e == "tgm"));
    assert_eq!(files.len(), want.len());
    for (name, want) in want {
        assert_eq!(outline(&dir.join(format!("metadata/{name}.tgm"))), want, "{name}");
    }
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_sound_file_opens_or_says_why_not() {
    let Some(dir) = corpus::dir() else { return };
    for file in manifest(&dir)["files"].as_array().unwrap() {
        let path = dir.join(file["path"].as_str().unwrap());
        let objects: usize = file["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|m| m["objects"].as_array())
            .map(Vec::len)
            .sum();
        match Dataset::open_file(path.to_str().unwrap()) {
            Ok(dataset) => {
                let variables = dataset.tables.iter().flat_map(|table| &table.variables);
                assert!(variables.count() > 0, "{}", path.display());
                for table in &dataset.tables {
                    for variable in &table.variables {
                        assert_eq!(variable.grid.shape(), table.shape(), "{}", path.display());
                    }
                }
            }
            Err(Error::Grid { what, .. }) => {
                let known = [
                    "a coordinate has one axis",
                    "two objects for the same cells",
                    "no message holds a tensor",
                ];
                assert!(known.iter().any(|known| what.starts_with(known)), "{}: {what}", path.display());
                assert!(objects != 1 || !what.starts_with("two"), "{}", path.display());
                if what.starts_with("two") {
                    let stacked = open_with(path.to_str().unwrap(), &[("stack", "message")]).unwrap();
                    assert!(stacked.tables.iter().any(|table| table.dims[0].name == "message"));
                }
            }
            Err(other) if file["strict"] == Value::Bool(false) => assert!(!other.to_string().is_empty()),
            Err(other) => panic!("{}: {other}", path.display()),
        }
    }
}

#[test]
fn broken_files_are_tables_or_typed_errors_within_bounds() {
    let Some(dir) = corpus::dir() else { return };
    for file in files_of(&dir.join("bad")) {
        if file.extension().is_none_or(|extension| extension != "tgm") {
            continue;
        }
        let bytes = std::fs::metadata(&file).unwrap().len() as usize;
        for skip in ["false", "true"] {
            let open = || open_with(file.to_str().unwrap(), &[("skip_broken", skip), ("missing", "null")]);
            let (result, peak) = super::memory::peak(open);
            assert!(peak < (16 << 20) + 64 * bytes, "{}: {peak} bytes held", file.display());
            if let Err(error) = result {
                assert!(!matches!(error, Error::Io { .. }), "{error}");
            }
        }
    }
}
