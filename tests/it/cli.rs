//! The built command: what it prints, where, and its exit status.

use crate::command::{DATA, millibar, run, stdout};
use crate::corpus;
use crate::npy::Npy;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const FORECAST: &str = "temperature_{time:%Y%m%d}.tgm";
const LEVELS: &str = "variables=temperature_{level}hPa";

/// The sentence of a command that fails with `status`.
fn failure(args: &[&str], status: i32) -> String {
    let done = run(args);
    let sentence = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(status), "{args:?}: {sentence}");
    assert!(sentence.starts_with("error: "), "{sentence}");
    if status == 1 {
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
    sentence
}

/// Writes `text` to the standard input of a command.
fn piped(args: &[&str], text: &str) -> Output {
    let mut child = millibar()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn every_format_prints_results_and_nothing_else() {
    let sql = "SELECT 1 AS a, CAST(NULL AS DOUBLE) AS b, 'x,y' AS c UNION ALL SELECT 2, 0.5, 'z' ORDER BY a";
    let print = |format| stdout(&["sql", "-q", "--format", format, "-c", sql]);
    assert_eq!(print("csv"), "a,b,c\n1,,\"x,y\"\n2,0.5,z\n");
    assert_eq!(print("tsv"), "a\tb\tc\n1\t\tx,y\n2\t0.5\tz\n");
    assert_eq!(print("json"), "[{\"a\":1,\"b\":null,\"c\":\"x,y\"},{\"a\":2,\"b\":0.5,\"c\":\"z\"}]\n");
    assert_eq!(print("ndjson"), "{\"a\":1,\"b\":null,\"c\":\"x,y\"}\n{\"a\":2,\"b\":0.5,\"c\":\"z\"}\n");
    let table = "\
+---+------+-----+
| a | b    | c   |
+---+------+-----+
| 1 | NULL | x,y |
| 2 | 0.5  | z   |
+---+------+-----+
";
    assert_eq!(print("table"), table);
    let noisy = stdout(&["sql", "-c", sql]);
    assert!(noisy.starts_with(table) && noisy.contains("2 row(s) in "), "{noisy}");
}

#[test]
fn results_without_rows_keep_their_header() {
    let print = |format| stdout(&["sql", "-q", "--format", format, "-c", "SELECT 1 AS a WHERE false"]);
    assert_eq!(print("csv"), "a\n");
    assert_eq!(print("json"), "[]\n");
    assert_eq!(print("ndjson"), "");
    assert!(print("table").contains("| a |"));
    let nothing =
        stdout(&["sql", "-q", "-c", "CREATE VIEW v AS SELECT 1 AS a; SELECT * FROM v", "--format", "csv"]);
    assert_eq!(nothing, "a\n1\n");
}

#[test]
fn tables_are_cut_at_the_rows_asked_for() {
    let sql = "SELECT value FROM generate_series(1, 100)";
    let cut = run(&["sql", "-q", "--maxrows", "3", "-c", sql]);
    assert_eq!(String::from_utf8(cut.stdout).unwrap().lines().count(), 3 + 4);
    assert!(String::from_utf8(cut.stderr).unwrap().contains("--maxrows"));
    assert_eq!(stdout(&["sql", "-q", "--maxrows", "inf", "-c", sql]).lines().count(), 100 + 4);
    let described = stdout(&["sql", "-q", "--maxrows", "1", "-c", "DESCRIBE mars", "mars.tgm"]);
    assert!(described.lines().count() > 5);
}

#[test]
fn paths_become_tables() {
    let count = |args: &[&str]| stdout(&[&["sql", "-q", "--format", "csv", "-c"], args].concat());
    let cells = "n\n103680\n";
    assert_eq!(count(&["SELECT count(*) AS n FROM temperature", "--option", LEVELS, FORECAST]), cells);
    let named = format!("F={FORECAST}");
    assert_eq!(count(&["SELECT count(temperature) AS n FROM f", "--option", LEVELS, &named]), cells);
    let files = "SELECT count(*) AS n FROM mars; SELECT count(*) AS n FROM temperature_20260401";
    let printed = count(&[files, "mars.tgm", "temperature_20260401.tgm"]);
    assert_eq!(printed.lines().count(), 4, "{printed}");
    let ddl = format!(
        "CREATE EXTERNAL TABLE forecast STORED AS TENSOGRAM LOCATION '{FORECAST}' \
         OPTIONS (variables 'temperature_{{level}}hPa'); SELECT count(*) AS n FROM forecast WHERE level = 500"
    );
    assert_eq!(count(&[&ddl]), "n\n10368\n");
    assert_eq!(count(&["SELECT count(*) AS n FROM 'temperature_20260402.tgm'"]), "n\n2592\n");
}

#[test]
fn settings_reach_the_session() {
    let setting = "SELECT value FROM information_schema.df_settings WHERE name LIKE '%grid_aggregate'";
    let show = |set| stdout(&["sql", "-q", "--format", "csv", "--set", set, "-c", setting]);
    assert_eq!(show("millibar.grid_aggregate=true"), "value\ntrue\n");
    assert_eq!(show("millibar.grid_aggregate=false"), "value\nfalse\n");
    let sort = "SELECT * FROM generate_series(1, 100000) ORDER BY value DESC";
    let starved = failure(&["sql", "-m", "1K", "-c", sort], 1);
    assert!(starved.to_lowercase().contains("memory"), "{starved}");
}

#[test]
fn tables_are_analyzed() {
    let Some(dir) = crate::corpus::dir() else { return };
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS TENSOGRAM LOCATION '{}/forecast/temperature_20260402.tgm' \
         OPTIONS (variables 'temperature_{{level}}hPa')",
        dir.display()
    );
    let analyze = "ANALYZE TABLE t COMPUTE STATISTICS";
    let printed = stdout(&["sql", "-q", "--format", "csv", "-c", &create, "-c", analyze]);
    assert!(
        printed.starts_with("variable,chunks,cells,missing,min,max,mean,std\ntemperature,10,25920,0,"),
        "{printed}"
    );
}

#[test]
fn scripts_run_in_order_up_to_the_first_failure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("two.sql");
    std::fs::write(
        &file,
        "-- a comment; with a semicolon\nSELECT 2\n  AS x;\n\\pset format ndjson\nSELECT ';' AS x",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let printed =
        stdout(&["sql", "-q", "--format", "csv", "-c", "SELECT 1 AS x", "-f", file, "-c", "SELECT 4 AS x"]);
    assert_eq!(printed, "x\n1\nx\n2\n{\"x\":\";\"}\n{\"x\":4}\n");
    let failed = run(&[
        "sql",
        "-q",
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS x; SELECT nope; SELECT 3 AS x",
        "-c",
        "SELECT 4",
    ]);
    assert_eq!(String::from_utf8(failed.stdout).unwrap(), "x\n1\n");
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn standard_input_is_a_script_when_it_is_no_terminal() {
    let done =
        piped(&["sql", "-q", "--format", "csv", "mars.tgm"], "\\d\nSELECT 1 AS x;\n\\q\nSELECT 2 AS x;");
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.contains(",mars,") && printed.ends_with("\nx\n1\n"), "{printed}");
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(piped(&["sql", "-q", "-f", "-"], "SELECT nope").status.code(), Some(1));
}

#[test]
fn failures_are_one_sentence_and_a_status() {
    assert_eq!(failure(&["sql", "-c", "SELEC 1"], 1).lines().count(), 1);
    assert!(failure(&["sql", "-c", "SELECT * FROM nope"], 1).contains("nope"));
    assert!(failure(&["sql", "-c", "SELECT 1", "missing.tgm"], 1).contains("missing.tgm"));
    assert!(failure(&["sql", "-f", "missing.sql"], 1).contains("missing.sql"));
    assert!(failure(&["sql", "-c", "\\nope"], 1).contains("nope"));
    assert!(failure(&["info", "missing.tgm"], 1).contains("missing.tgm"));
    assert!(
        failure(&["export", "mars.tgm", "--message", "9999", "--object", "0", "-o", "-"], 1).contains("9999")
    );
    for misuse in [
        &["sql", "--format", "xml"][..],
        &["sql", "--set", "millibar.nope=1", "-c", "SELECT 1"],
        &["sql", "-c", "SELECT 1", "mars.tgm", "x/mars.tgm"],
        &["sql", "-m", "lots"],
        &["serve", "--listen", "nowhere"],
        &["export", "mars.tgm", "-o", "x.npy"],
        &["export", "mars.tgm", "--message", "0", "--object", "0", "--range", "1-2", "-o", "-"],
        &["conquer"],
    ] {
        failure(misuse, 2);
    }
}

#[test]
fn help_and_version_are_answers() {
    assert_eq!(stdout(&["--version"]), format!("millibar {}\n", env!("CARGO_PKG_VERSION")));
    for command in [
        &["--help"][..],
        &["sql", "--help"],
        &["serve", "--help"],
        &["info", "--help"],
        &["export", "--help"],
    ] {
        assert!(stdout(command).contains("Example"), "{command:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let sql = "SELECT value FROM generate_series(1, 10000000)";
    for format in ["csv", "ndjson", "json"] {
        let mut child = millibar()
            .args(["sql", "-q", "--format", format, "-c", sql])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 16]).unwrap();
        drop(out);
        let done = child.wait_with_output().unwrap();
        assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]), "{format}");
    }
}

#[test]
fn info_says_what_is_stored() {
    let json: Value =
        serde_json::from_str(&stdout(&["info", "--json", "--option", LEVELS, FORECAST])).unwrap();
    assert_eq!((json["messages"].as_u64(), json["objects"].as_u64()), (Some(4), Some(48)));
    let table = &json["tables"][0];
    assert_eq!(table["cells"], 103680);
    let dims: Vec<_> = table["dims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["name"].as_str().unwrap(), d["length"].as_u64().unwrap()))
        .collect();
    assert_eq!(dims, [("time", 4), ("level", 10), ("latitude", 36), ("longitude", 72)]);
    assert_eq!((&table["dims"][1]["first"], &table["dims"][1]["min"]), (&1000.into(), &50.into()));
    assert_eq!(table["dims"][0]["first"], "2026-04-01T00:00:00");
    let temperature = &table["variables"][0];
    assert_eq!(temperature["dtype"], "float32");
    assert_eq!(temperature["chunk_shape"], serde_json::json!([1, 1, 36, 72]));
    assert_eq!(temperature["codecs"], serde_json::json!({ "none": 40 }));
    assert_eq!((&temperature["encoded_bytes"], &temperature["ratio"]), (&(103680 * 4).into(), &1.0.into()));
    let text = stdout(&["info", "--option", LEVELS, FORECAST]);
    assert!(text.contains("4 x 10 x 36 x 72 = 103680 cells") && text.contains("1000 .. 50"), "{text}");
}

/// Exports an object with `more` arguments; the bytes of the file, or the complaint.
fn export(path: &Path, message: usize, object: usize, more: &[&str]) -> Result<Vec<u8>, String> {
    let (message, object) = (message.to_string(), object.to_string());
    let mut command = millibar();
    command.arg("export").arg(path).args(["--message", &message, "--object", &object, "-o", "-"]).args(more);
    let done = command.output().unwrap();
    if done.status.success() { Ok(done.stdout) } else { Err(String::from_utf8(done.stderr).unwrap()) }
}

fn npy(bytes: &[u8]) -> Npy {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Npy::read(file.path())
}

#[test]
fn exports_are_the_values_of_the_corpus() {
    let Some(corpus) = corpus::dir() else { return };
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(corpus.join("manifest.json")).unwrap()).unwrap();
    let (mut exported, mut unsupported) = (0, 0);
    for file in manifest["files"].as_array().unwrap() {
        if !["dtype", "shape", "codec", "mask"].iter().any(|c| file["category"].as_str() == Some(c)) {
            continue;
        }
        let path = corpus.join(file["path"].as_str().unwrap());
        for (m, message) in file["messages"].as_array().unwrap().iter().enumerate() {
            for (o, object) in message["objects"].as_array().unwrap().iter().enumerate() {
                let Some(expected) = object["expected"]["npy"].as_str() else { continue };
                match export(&path, m, o, &[]) {
                    Ok(bytes) => {
                        same_values(&npy(&bytes), &Npy::read(&corpus.join(expected)), &object["shape"], &path)
                    }
                    Err(why) => {
                        assert!(why.contains("is not supported yet"), "{}: {why}", path.display());
                        unsupported += 1;
                        continue;
                    }
                }
                exported += 1;
            }
        }
    }
    assert!(exported > 20 && exported > unsupported, "{exported} exported, {unsupported} not supported");
}

/// Same dtype, shape and bytes, but for what the corpus spells otherwise: bfloat16 as its 16 bits, bitmasks as
/// packed bits, most significant first.
fn same_values(got: &Npy, expected: &Npy, shape: &Value, path: &Path) {
    assert_eq!(serde_json::json!(got.shape), *shape, "{}", path.display());
    let bytes = match got.descr.as_str() {
        "|b1" => {
            let bits = expected.bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1));
            bits.take(got.bytes.len()).collect()
        }
        "<f4" if expected.descr == "<u2" => {
            expected.bytes.chunks(2).flat_map(|b| [0, 0, b[0], b[1]]).collect()
        }
        _ => {
            assert_eq!(got.descr, expected.descr, "{}", path.display());
            expected.bytes.clone()
        }
    };
    assert!(got.bytes == bytes, "{}: other values", path.display());
}

#[test]
fn exported_ranges_are_parts_of_the_whole_in_the_order_asked_for() {
    for file in ["temperature_20260401.tgm", "mars.tgm"] {
        let path = PathBuf::from(DATA).join(file);
        let object = (0..12).find(|o| npy(&export(&path, 0, *o, &[]).unwrap()).shape.len() > 1).unwrap();
        let whole = npy(&export(&path, 0, object, &[]).unwrap());
        let width = whole.width();
        let part =
            npy(&export(&path, 0, object, &["--range", "100:3", "--range", "0:2", "--range", "101:1"])
                .unwrap());
        let slice = |start: usize, n: usize| &whole.bytes[start * width..(start + n) * width];
        assert_eq!(part.bytes, [slice(100, 3), slice(0, 2), slice(101, 1)].concat(), "{file}");
        assert_eq!((part.shape, part.descr), (vec![6], whole.descr), "{file}");
        let beyond = export(&path, 0, object, &["--range", "100000000:1"]).unwrap_err();
        assert!(beyond.contains(file) && beyond.contains("100000000"), "{beyond}");
    }
}

#[test]
fn an_export_is_a_whole_file_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x.npy");
    let args = ["export", "mars.tgm", "--message", "0", "--object", "0", "-o", out.to_str().unwrap()];
    assert_eq!(stdout(&args), "");
    assert_eq!(std::fs::read(&out).unwrap(), export(&PathBuf::from("mars.tgm"), 0, 0, &[]).unwrap());
    std::fs::remove_file(&out).unwrap();
    failure(&[&args[..], &["--range", "0:99999999999"]].concat(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn the_server_says_where_it_listens_and_stops_when_told() {
    for signal in ["-TERM", "-INT"] {
        let mut child = millibar()
            .args(["serve", "--listen", "127.0.0.1:0", "mars.tgm"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let port = line.strip_prefix("listening on grpc://127.0.0.1:").map(|port| port.trim().parse::<u16>());
        let port = port.unwrap_or_else(|| panic!("{line}")).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let told = Instant::now();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(told.elapsed() < Duration::from_secs(10), "{signal}: {:?}", told.elapsed());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line only");
    }
}

#[test]
fn a_port_that_is_taken_is_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(failure(&["serve", "--listen", &address], 1).contains(&address));
}

#[test]
fn an_index_is_written_and_used() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(DATA).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("temperature_") {
            std::fs::copy(&entry, folder.path().join(entry.file_name().unwrap())).unwrap();
        }
    }
    let pattern = folder.path().join(FORECAST);
    let pattern = pattern.to_str().unwrap();
    let said = stdout(&["index", "--option", LEVELS, pattern]);
    assert!(said.contains("statistics of 40 of 40 chunks"), "{said}");
    let sql = "SELECT count(*), round(avg(temperature), 6), min(temperature) FROM temperature";
    let query = |index: &str| {
        let index = format!("index={index}");
        stdout(&["sql", "-q", "--format", "csv", "-c", sql, "--option", LEVELS, "--option", &index, pattern])
    };
    assert_eq!(query("require"), query("off"));
    let plain = folder.path().join("temperature_20260401.tgm");
    let sentence =
        failure(&["sql", "-c", "SELECT 1", "--option", "index=require", plain.to_str().unwrap()], 1);
    assert!(sentence.contains("temperature_20260401.tgm.mbx"), "{sentence}");
    assert!(failure(&["index", "-o", "x.mbx", "a.tgm", "b.tgm"], 2).contains("single PATH"));
    assert!(failure(&["index", "-o", "x.tgm", "a.tgm"], 2).contains(".mbx"));
}
