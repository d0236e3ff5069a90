//! The commands that look at files as such: validate, ls, get.

use crate::command::{DATA, millibar, run, stdout};
use crate::support::{Tensor, field, labels, tensor, write_tgm};
use crate::web_server::WebServer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

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

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
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

/// The bytes of each object, decoded.
fn decoded(path: &str, objects: &[(u64, u64)]) -> Vec<Vec<u8>> {
    let export = |&(message, object): &(u64, u64)| {
        let (message, object) = (message.to_string(), object.to_string());
        run(&["export", path, "--message", &message, "--object", &object, "-o", "-"]).stdout
    };
    objects.iter().map(export).collect()
}

const SAMPLE: [(u64, u64); 3] = [(0, 0), (0, 1), (2, 0)];

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

/// What is said of a file is what is said of the same on a web server, but for its name.
#[test]
fn urls_are_read_as_files_are() {
    let (folder, server) = (Folder::new(), WebServer::start());
    let path = folder.path("a.tgm");
    sample(&path);
    server.put("a.tgm", std::fs::read(&path).unwrap());
    let url = server.url("a.tgm");
    for command in [
        &["ls"][..],
        &["ls", "--json"],
        &["get", "name", "--message", "0"],
        &["validate", "--json", "--level", "full"],
    ] {
        let of = |file: &str| stdout(&[command, &[file]].concat());
        assert_eq!(of(&url), of(&path).replace(&path, &url), "{command:?}");
        assert!(server.take_log().len() <= 2, "the file is small");
    }
    let (near, far) = (folder.path("near.tgm"), folder.path("far.tgm"));
    for (from, to) in [(&path, &near), (&url, &far)] {
        stdout(&["convert", from, to, "--compression", "zstd", "--provenance", "keep"]);
    }
    assert_eq!(std::fs::read(near).unwrap(), std::fs::read(far).unwrap());
    assert!(failure(&["ls", &server.url("none.tgm")], 1).contains("there is no such file"));
    assert!(failure(&["ls", "ftp://x/a.tgm"], 2).contains("ftp"));
}

#[test]
fn limits_hold_for_every_command() {
    let folder = Folder::new();
    let path = folder.path("a.tgm");
    sample(&path);
    let export = ["export", &path, "--message", "0", "--object", "1", "-o", "/dev/null"];
    let commands: [&[&str]; 6] = [
        &["ls", "--json", &path],
        &["get", "name", "--message", "0", &path],
        &["info", &path],
        &["index", &path],
        &["sql", "-q", "-c", "SELECT 1", &path],
        &export,
    ];
    for command in commands {
        let said = run(&[command, &["--limits", "objects=1"]].concat());
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("number of objects"), "{command:?}: {said}");
    }
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

#[test]
fn a_converted_file_holds_the_same() {
    let folder = Folder::new();
    let (before, after) = (folder.path("a.tgm"), folder.path("b.tgm"));
    sample(&before);
    let values = decoded(&before, &SAMPLE);
    for flags in [
        &["--compression", "zstd", "--level", "9"][..],
        &["--compression", "lz4", "--filter", "shuffle"],
        &["--compression", "blosc2", "--blosc2-codec", "zstd", "--layout", "streaming"],
        &["--compression", "none", "--byte-order", "big"],
        &["--index", "both", "--hash-frame", "footer"],
    ] {
        let said = stdout(&[&["convert", &before, &after][..], flags].concat());
        assert!(said.starts_with(&format!("{after}: 3 messages, 3 objects (")), "{said}");
        assert_eq!(decoded(&after, &SAMPLE), values, "{flags:?}");
        assert_eq!(stdout(&["get", "mars.step", "--message", "0", &after]), "6\n");
        assert_eq!(stdout(&["get", "units", "--message", "2", &after]), "m\n");
        stdout(&["validate", "--strict", "--level", "full", &after]);
    }
    assert_eq!(folder.names(), ["a.tgm", "b.tgm"]);
    // Onto itself.
    stdout(&["convert", &before, &before, "--compression", "zstd"]);
    assert_eq!(decoded(&before, &SAMPLE), values);
}

#[test]
fn only_what_is_asked_for_is_encoded_again() {
    let folder = Folder::new();
    let (before, after) = (folder.path("a.tgm"), folder.path("b.tgm"));
    sample(&before);
    let said = stdout(&["convert", &before, &after, "--compression", "zstd", "--only", "t"]);
    assert!(said.contains("3 objects (1 encoded anew)"), "{said}");
    let pipelines = |path: &str| {
        let listed = json(&["ls", "--json", path]);
        let messages = listed["files"][0]["messages"].as_array().unwrap().clone();
        let objects = messages.iter().flat_map(|message| message["objects"].as_array().unwrap().clone());
        objects.map(|object| object["pipeline"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(pipelines(&after), ["none", "zstd", "none"]);
    // What loses something leaves coordinates alone, and refuses what it can't hold.
    let packed = ["--encoding", "simple_packing", "--bits", "16"];
    let said = failure(&[&["convert", &before, &after][..], &packed].concat(), 1);
    assert!(said.contains("message 2, object 0: simple_packing"), "{said}");
    assert_eq!(pipelines(&after), ["none", "zstd", "none"], "the old file stays");
    let only = ["--only", "t", "--compression", "szip"];
    stdout(&[&["convert", &before, &after][..], &packed, &only].concat());
    assert_eq!(pipelines(&after), ["none", "simple_packing(16) + szip", "none"]);
    // Packed numbers go from codec to codec as they are.
    let again = folder.path("c.tgm");
    stdout(&["convert", &after, &again, "--compression", "zstd", "--only", "t"]);
    assert_eq!(decoded(&after, &SAMPLE), decoded(&again, &SAMPLE));
    for misuse in [
        &["--encoding", "simple_packing"][..],
        &["--bits", "3"],
        &["--compression", "zfp"],
        &["--compression", "zstd", "--zfp-rate", "8"],
        &["--level", "3"],
    ] {
        failure(&[&["convert", &before, &after][..], misuse].concat(), 2);
    }
}

#[test]
fn the_same_file_converts_to_the_same_bytes() {
    let folder = Folder::new();
    let (one, two) = (folder.path("1.tgm"), folder.path("2.tgm"));
    for path in [&one, &two] {
        stdout(&["convert", "mars.tgm", path, "--compression", "zstd", "--provenance", "keep"]);
    }
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
}

#[test]
fn damage_is_not_written_under_a_new_hash() {
    let folder = Folder::new();
    let (before, after) = (folder.path("a.tgm"), folder.path("b.tgm"));
    let mut bytes = std::fs::read(Path::new(DATA).join("temperature_20260401.tgm")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&before, &bytes).unwrap();
    for flags in [&[][..], &["--compression", "zstd"]] {
        let said = failure(&[&["convert", &before, &after][..], flags].concat(), 1);
        assert!(said.contains("hash mismatch: stored "), "{said}");
    }
    assert_eq!(folder.names(), ["a.tgm"]);
}

/// Noise, so that compression takes its time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn a_kill_leaves_no_half_file() {
    let folder = Folder::new();
    let (before, after) = (folder.path("a.tgm"), folder.path("b.tgm"));
    let object = tensor(json!({ "name": "n" }), "uint8", &[4 << 20], noise(4 << 20));
    write_tgm(Path::new(&before), &vec![vec![object]; 12]);
    for old in [None, Some(b"what was there")] {
        if let Some(old) = old {
            std::fs::write(&after, old).unwrap();
        }
        let mut child = millibar()
            .args(["convert", &before, &after, "--compression", "zstd", "--level", "19"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let partial = || {
            let names = folder.names().into_iter().filter(|name| name.ends_with(".partial"));
            names.map(|name| folder.path(&name)).map(PathBuf::from).next()
        };
        let patience = Instant::now() + Duration::from_secs(60);
        let begun = loop {
            assert!(child.try_wait().unwrap().is_none(), "it was done before it could be killed");
            assert!(Instant::now() < patience, "nothing is written");
            match partial() {
                Some(path) if path.metadata().is_ok_and(|file| file.len() > 0) => break path,
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        match old {
            None => assert!(!Path::new(&after).exists()),
            Some(old) => assert_eq!(std::fs::read(&after).unwrap(), old),
        }
        std::fs::remove_file(begun).unwrap();
    }
}
