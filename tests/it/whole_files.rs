//! The commands that look at files as such: validate, ls, get.

use crate::support::{Tensor, field, labels, tensor, write_tgm};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data");

fn millibar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millibar"));
    command.current_dir(DATA).args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    millibar(args).output().unwrap()
}

/// What a command prints that succeeds and has nothing to complain about.
fn stdout(args: &[&str]) -> String {
    let done = run(args);
    let complaints = String::from_utf8(done.stderr).unwrap();
    assert_eq!((done.status.code(), complaints.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The complaint of a command that fails.
fn failure(args: &[&str], status: i32) -> String {
    let done = run(args);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(status), "{args:?}: {said}");
    said
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// A folder, and paths in it as text.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A float64 tensor that swings, with a decimal or two.
fn waves(name: &str, shape: &[u64]) -> Tensor {
    let values = (0..shape.iter().product::<u64>()).map(|i| (i as f64 / 9.0).sin() * 30.0 + 270.0);
    tensor(
        json!({ "name": name, "mars": { "step": 6 } }),
        "float64",
        shape,
        values.flat_map(f64::to_le_bytes).collect(),
    )
}

fn sample(path: &str) {
    let messages = [
        vec![labels("latitude", &[10.0, 20.0, 30.0, 40.0]), waves("t", &[4, 32])],
        vec![],
        vec![field(json!({ "name": "u", "units": "m" }), &[3, 5], 7.0)],
    ];
    write_tgm(Path::new(path), &messages);
}

#[test]
fn files_are_listed() {
    let folder = Folder::new();
    let path = folder.path("a.tgm");
    sample(&path);
    let printed = stdout(&["ls", &path]);
    assert!(printed.starts_with(&format!("{path}: 3 messages, ")), "{printed}");
    let rows: Vec<Vec<&str>> =
        printed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..5], ["0", "0", "latitude", "float64", "4"]);
    assert_eq!(rows[2][..8], ["0", "1", "t", "float64", "4", "x", "32", "none"]);
    assert_eq!(rows[3], ["1", "-"]);
    assert_eq!(rows[4][..4], ["2", "0", "u", "float32"]);

    let listed = json(&["ls", "--json", &path, "temperature_20260401.tgm"]);
    assert_eq!(listed["files"].as_array().unwrap().len(), 2);
    let object = &listed["files"][0]["messages"][0]["objects"][1];
    assert_eq!(object["shape"], json!([4, 32]));
    assert_eq!((&object["encoded_bytes"], &object["coordinate"]), (&json!(1024), &json!(false)));
    assert!(failure(&["ls", "nope.tgm"], 1).starts_with("error: nope.tgm: "));
}

#[test]
fn values_of_the_metadata_are_printed() {
    let folder = Folder::new();
    let path = folder.path("a.tgm");
    let message = |step: u64| {
        let mut t = field(json!({ "name": "t", "mars": { "step": step, "class": "od" } }), &[2], 0.0);
        t.base["levels"] = json!([1, 2.5]);
        vec![labels("x", &[1.0, 2.0]), t]
    };
    write_tgm(Path::new(&path), &[message(0), message(6)]);
    assert_eq!(stdout(&["get", "mars.step", &path]), "0\n6\n");
    assert_eq!(stdout(&["get", "name", &path]), "x\nx\n");
    assert_eq!(stdout(&["get", "name", "--object", "1", "--message", "1", &path]), "t\n");
    assert_eq!(stdout(&["get", "--json", "mars.class", &path]), "\"od\"\n\"od\"\n");
    assert_eq!(stdout(&["get", "levels", "--message", "0", &path]), "[1,2.5]\n");
    assert!(failure(&["get", "mars.nope", &path], 1).contains("message 0: bad metadata: no key `mars.nope`"));
    assert!(failure(&["get", "mars.step", "--object", "0", &path], 1).contains("no key"));
    assert!(failure(&["get", "name", "--object", "2", &path], 1).contains("no such object: there are 2"));
    assert!(failure(&["get", "name", "--message", "2", &path], 1).contains("no such message: there are 2"));
}

#[test]
fn validation_has_a_verdict() {
    let folder = Folder::new();
    let path = folder.path("a.tgm");
    let printed = stdout(&["validate", "--level", "full", "temperature_20260401.tgm", "mars.tgm"]);
    assert!(printed.contains("temperature_20260401.tgm: sound (1 message, "), "{printed}");

    let mut bytes = std::fs::read(Path::new(DATA).join("temperature_20260401.tgm")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let done = run(&["validate", &path, "mars.tgm"]);
    assert_eq!((done.status.code(), done.stderr.len()), (Some(1), 0));
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.starts_with(&format!("error[hash_mismatch]: {path}, message 0, object ")), "{printed}");
    assert!(printed.contains(": stored ") && printed.contains(", computed "), "{printed}");
    assert!(printed.contains("mars.tgm: sound"), "{printed}");

    let done = run(&["validate", "--json", &path]);
    assert_eq!(done.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["sound"], &report["level"]), (&json!(false), &json!("checksum")));
    assert_eq!(report["files"][0]["errors"], 1);
    assert_eq!(report["files"][0]["issues"][0]["problem"], "hash_mismatch");

    stdout(&["validate", "--level", "structure", &path]);
    sample(&path); // frames without hashes
    stdout(&["validate", &path]);
    assert_eq!(run(&["validate", "--strict", &path]).status.code(), Some(1));
    std::fs::write(&path, b"nothing of the kind").unwrap();
    assert_eq!(run(&["validate", &path]).status.code(), Some(1));
    assert_eq!(
        run(&["validate", "--limits", "objects=1", "temperature_20260401.tgm"]).status.code(),
        Some(1)
    );
    assert!(failure(&["validate", "--limits", "object=1", &path], 2).contains("no such limit"));
    assert!(failure(&["validate", "nope.tgm"], 1).starts_with("error: nope.tgm: "));
}
