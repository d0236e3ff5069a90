//! Indexes: the same tables as from the files, and never believed when anything has changed.

use super::support::{Tensor, field, labels, tensor, write_tgm};
use millibar::codec::{DecodeStats, Scratch, Values};
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::{Dataset, IndexState, Location, OpenOptions, open};
use millibar::reduce::chunk_stats;
use millibar::{Error, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Messages of one field a step: plain ones called `t`, and packed ones with values of their own called `p`.
fn messages(steps: &[i64]) -> Vec<Vec<Tensor>> {
    let packed = |step: i64| {
        let mut packed = tensor(json!({"name": "p", "step": step}), "float64", &[2, 3], vec![0; 6]);
        let params = json!({
            "encoding": "simple_packing", "sp_bits_per_value": 8, "sp_reference_value": step as f64 + 0.25,
            "sp_binary_scale_factor": -1, "sp_decimal_scale_factor": 0,
        });
        packed.descriptor.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        packed
    };
    let message = |&step: &i64| {
        let plain = json!({"name": "t", "step": step, "units": "K"});
        vec![labels("lat", &[50.0, 40.5]), field(plain, &[2, 3], step as f32), packed(step)]
    };
    steps.iter().map(message).collect()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tgm(&folder.path().join("a.tgm"), &messages(&[0, 6]));
    write_tgm(&folder.path().join("b.tgm"), &messages(&[12]));
    folder
}

fn open_at(folder: &Path, name: &str, options: &[(&str, &str)]) -> Result<Dataset> {
    let location = Location::parse(folder.join(name).to_str().unwrap())?;
    open(&location, &OpenOptions::from_pairs(options.iter().copied())?)
}

/// Everything that can be seen of a dataset, decoded cells and statistics included.
fn seen(dataset: &Dataset) -> String {
    let mut text = format!("{:?}\n", dataset.attributes);
    for table in &dataset.tables {
        for dim in &table.dims {
            text += &format!("{} {:?} {:?}\n", dim.name, dim.coord, dim.attributes);
        }
        for variable in &table.variables {
            let head = (&variable.name, variable.dtype, &variable.attributes, &variable.grid);
            text += &format!("{head:?}\n");
            for (at, chunk) in (0..).zip(variable.chunks.iter()) {
                let decoded = chunk.map(|chunk| {
                    let region = chunk.source.read(chunk.object.region.clone()).unwrap();
                    let (mut scratch, mut stats) = (Scratch::default(), DecodeStats::default());
                    let values: Result<Values> =
                        chunk.pipeline().and_then(|p| p.decode(&region, &mut scratch, &mut stats));
                    (format!("{:?}", chunk.object), format!("{values:?}"))
                });
                text += &format!("{decoded:?} {:?}\n", variable.stats.get(at));
            }
        }
    }
    text
}

fn index(dataset: &Dataset) -> PathBuf {
    dataset.write_index(None).unwrap();
    dataset.index_path().path().unwrap().to_path_buf()
}

fn used(dataset: &Dataset) -> bool {
    matches!(dataset.index, IndexState::Used(_))
}

/// Why an index was ignored.
fn ignored(dataset: &Dataset) -> String {
    match &dataset.index {
        IndexState::Ignored(why) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_tables_come_back() {
    let folder = folder();
    for (name, options) in [
        ("a.tgm", vec![]),
        ("*.tgm", vec![]),
        ("", vec![("missing", "null"), ("variables", "t,p")]),
        ("{file}.tgm", vec![("stack", "file,step"), ("missing", "null")]),
    ] {
        let plain = open_at(folder.path(), name, &options).unwrap();
        assert_eq!(plain.index, IndexState::Absent, "{name}");
        for variable in plain.tables.iter().flat_map(|table| &table.variables) {
            let mut reader = Reader::new(ReadOptions::default());
            for chunk in (0..variable.grid.chunks()).filter(|chunk| chunk % 2 == 0) {
                let stats = chunk_stats(&mut reader, variable, chunk).unwrap();
                stats.inspect(|stats| assert!(variable.stats.put(chunk, stats)));
            }
        }
        let path = index(&plain);
        let indexed = open_at(folder.path(), name, &options).unwrap();
        assert_eq!(indexed.index, IndexState::Used(path.as_path().into()));
        assert_eq!(seen(&indexed), seen(&plain), "{name}");
        let again = indexed.write_index(None).unwrap();
        assert_eq!(again, fs::metadata(&path).unwrap().len());
        assert_eq!(seen(&open_at(folder.path(), name, &options).unwrap()), seen(&plain));
        let off = open_at(folder.path(), name, &[&options[..], &[("index", "off")]].concat()).unwrap();
        assert_eq!(off.index, IndexState::Absent);
    }
    assert!(!used(&open_at(folder.path(), "a.tgm", &[("raw_keys", "true")]).unwrap()), "other options");
}

#[test]
fn the_option_grid_chooses_from_an_index_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let two = vec![field(json!({"name": "t"}), &[2, 3], 0.0), field(json!({"name": "profile"}), &[7], 0.0)];
    write_tgm(&folder.path().join("a.tgm"), &[two]);
    index(&open_at(folder.path(), "a.tgm", &[("grid", "dim_0")]).unwrap());
    assert_eq!(open_at(folder.path(), "a.tgm", &[]).unwrap().tables.len(), 2);
    let one = open_at(folder.path(), "a.tgm", &[("grid", "dim_0")]).unwrap();
    assert!(used(&one) && one.tables.len() == 1);
}

#[test]
fn a_change_of_any_file_makes_it_stale() {
    let folder = folder();
    let glob = || open_at(folder.path(), "?.tgm", &[]).unwrap();
    let file = folder.path().join("b.tgm");
    index(&glob());
    assert!(used(&glob()));

    write_tgm(&file, &messages(&[18]));
    assert!(ignored(&glob()).contains("b.tgm has changed"));
    index(&glob());
    assert!(used(&glob()));
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    write_tgm(&file, &messages(&[12, 18])); // another size, the same time
    fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
    assert!(ignored(&glob()).contains("b.tgm has changed"));

    index(&glob());
    let later = SystemTime::now() + Duration::from_secs(60);
    fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    assert!(ignored(&glob()).contains("b.tgm has changed"), "another time, the same size");

    index(&glob());
    write_tgm(&folder.path().join("c.tgm"), &messages(&[24]));
    assert!(ignored(&glob()).contains("other files"));
    let error = open_at(folder.path(), "?.tgm", &[("index", "require")]).unwrap_err();
    assert!(matches!(error, Error::Index { .. }), "{error}");
    fs::remove_file(folder.path().join("c.tgm")).unwrap();
    assert!(used(&glob()));
    fs::remove_file(&file).unwrap();
    assert!(ignored(&glob()).contains("other files"));
}

#[test]
fn a_file_that_changes_while_it_is_indexed_is_noticed() {
    let folder = folder();
    let dataset = open_at(folder.path(), "a.tgm", &[]).unwrap();
    write_tgm(&folder.path().join("a.tgm.new"), &messages(&[1, 2, 3]));
    fs::rename(folder.path().join("a.tgm.new"), folder.path().join("a.tgm")).unwrap();
    let error = dataset.write_index(None).unwrap_err();
    assert!(error.to_string().contains("has changed since it was opened"), "{error}");
    assert!(!dataset.index_path().path().unwrap().exists());
}

#[test]
fn damage_is_noticed_and_the_files_are_scanned() {
    let folder = folder();
    let plain = open_at(folder.path(), "a.tgm", &[]).unwrap();
    let path = index(&plain);
    let sound = fs::read(&path).unwrap();
    let want = seen(&plain);
    let mut damaged: Vec<Vec<u8>> = (0..sound.len()).step_by(97).map(|cut| sound[..cut].to_vec()).collect();
    damaged.extend((0..sound.len()).step_by(53).map(|at| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    }));
    damaged.push(b"MBXINDEX and then something else altogether".to_vec());
    for bytes in damaged {
        fs::write(&path, bytes).unwrap();
        let dataset = open_at(folder.path(), "a.tgm", &[]).unwrap();
        ignored(&dataset);
        assert_eq!(seen(&dataset), want);
        let error = open_at(folder.path(), "a.tgm", &[("index", "require")]).unwrap_err();
        assert!(matches!(error, Error::Index { .. }), "{error}");
    }
    // A writer that was killed leaves its half behind, and the old index in place.
    fs::write(&path, &sound).unwrap();
    fs::write(folder.path().join(".a.tgm.mbx.1"), &sound[..sound.len() / 2]).unwrap();
    assert!(used(&open_at(folder.path(), "a.tgm", &[]).unwrap()));
}

#[test]
fn an_index_elsewhere_is_named() {
    let (folder, other) = (folder(), tempfile::tempdir().unwrap());
    let path = other.path().join("x.mbx");
    let plain = open_at(folder.path(), "a.tgm", &[]).unwrap();
    plain.write_index(Some(&path)).unwrap();
    assert_eq!(open_at(folder.path(), "a.tgm", &[]).unwrap().index, IndexState::Absent);
    let named = open_at(folder.path(), "a.tgm", &[("index", path.to_str().unwrap())]).unwrap();
    assert!(used(&named));
    assert_eq!(seen(&named), seen(&plain));
    let error = open_at(folder.path(), "b.tgm", &[("index", path.to_str().unwrap())]).unwrap_err();
    assert!(matches!(error, Error::Index { .. }), "{error}");
    let error = open_at(folder.path(), "b.tgm", &[("index", "require")]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn indexes_are_no_data() {
    let folder = folder();
    index(&open_at(folder.path(), "a.tgm", &[]).unwrap());
    let all = open_at(folder.path(), "*", &[]).unwrap();
    assert_eq!(all.tables[0].dims[0].len(), 3);
    let path = index(&all);
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("index-"));
    assert!(used(&open_at(folder.path(), "*", &[]).unwrap()));
}
