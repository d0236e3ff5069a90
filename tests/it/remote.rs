//! Files on a web server: how many requests opening and queries cost, and what happens when answers fail.

use crate::build::{HEADER_METADATA, cbor, frame, message, object, padded};
use crate::support::{Tensor, field, labels, tensor, tgm_message};
use crate::web_server::{Mischief, Request, Tags, WebServer};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::Error;
use millibar::codec::{Compression, Filter, Spec, Values, ZfpMode, zfp::Zfp};
use millibar::dataset::{Dataset, IndexState, Location, OpenOptions, open};
use millibar::engine::{register, session_context};
use millibar::files::{FileWriter, Tensor as Written};
use millibar::source::{Address, RemoteFile, RemoteOptions, Source, Url};
use millibar::tgm::{DType, File, Limits, Map, WriteOptions};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn quick() -> RemoteOptions {
    RemoteOptions { timeout: Duration::from_secs(5), retries: 2, backoff: Duration::from_millis(5) }
}

fn open_file(server: &WebServer, path: &str) -> millibar::Result<RemoteFile> {
    RemoteFile::open(&Url::parse(&server.url(path)).unwrap().unwrap(), &quick())
}

fn dataset(location: &str) -> millibar::Result<Dataset> {
    open(&Location::parse(location)?, &OpenOptions::default())
}

fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::Io { source, .. } => source.kind(),
        other => panic!("{other}"),
    }
}

fn sent(log: &[Request]) -> u64 {
    log.iter().map(|request| request.sent).sum()
}

fn numbers(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Fields of `shape` over step 1000, 1001 and so on, each a message of its own.
fn steps(count: u64, shape: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in 1000..1000 + count {
        let base = json!({"name": "t", "mars": {"step": step}});
        let extra = json!({});
        bytes.extend(tgm_message(&extra, &[field(base, shape, step as f32)]));
    }
    bytes
}

#[test]
fn ranges_are_fetched_once_and_in_few_requests() {
    let server = WebServer::start();
    let bytes = numbers(9 << 20);
    server.put("t", bytes.clone());
    let file = open_file(&server, "t").unwrap();
    assert_eq!((file.len(), file.lends()), (9 << 20, false));
    assert_eq!(server.take_log().len(), 1);
    assert_eq!(file.read(10..60_000).unwrap(), bytes[10..60_000]);
    assert!(file.read(7..7).unwrap().is_empty());
    assert!(server.take_log().is_empty(), "the first 64 KiB came with the size");
    let far = [8_000_000..8_000_100, 1_000_000..1_000_004, 1_010_000..1_010_004];
    let read = file.read_ranges(&far).unwrap();
    for (range, read) in far.iter().zip(read) {
        assert_eq!(read, bytes[range.start as usize..range.end as usize]);
    }
    let log = server.take_log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(sent(&log) < 40_000, "{log:?}");
    assert_eq!(file.read(1_010_000..1_010_004).unwrap(), bytes[1_010_000..1_010_004]);
    assert!(server.take_log().is_empty());
    // Within a few megabytes a request costs more than what lies between.
    file.read_ranges(&[3_000_000..3_000_004, 4_000_000..4_000_004, 5_000_000..5_000_004]).unwrap();
    let log = server.take_log();
    assert!(log.len() == 1 && sent(&log) < 2_010_000, "{log:?}");
    // What was announced comes along with what is read.
    file.will_need(6_500_000..6_600_000);
    file.will_need(6_600_100..6_700_000);
    assert!(server.take_log().is_empty());
    assert_eq!(file.read(6_650_000..6_650_010).unwrap(), bytes[6_650_000..6_650_010]);
    assert_eq!(file.read(6_500_000..6_700_000).unwrap(), bytes[6_500_000..6_700_000]);
    assert_eq!(server.take_log().len(), 1);
    assert_eq!(file.read(0..9 << 20).unwrap(), bytes);
    for outside in [0..(9 << 20) + 1, (9 << 20) + 1..(9 << 20) + 1, u64::MAX - 1..u64::MAX] {
        assert_eq!(kind(&file.read(outside).unwrap_err()), ErrorKind::UnexpectedEof);
    }
    file.will_need(u64::MAX - 5..u64::MAX);
}

#[test]
fn empty_files_have_no_bytes() {
    let server = WebServer::start();
    server.put("t", Vec::new());
    let file = open_file(&server, "t").unwrap();
    assert!(file.is_empty() && file.read(0..0).unwrap().is_empty());
}

#[test]
fn failures_are_retried_and_then_told() {
    let server = WebServer::start();
    let bytes = numbers(500_000);
    server.put("t", bytes.clone());
    server.misbehave([Mischief::Busy, Mischief::Busy]);
    let file = open_file(&server, "t").unwrap();
    server.misbehave([Mischief::CutOff, Mischief::Busy]);
    assert_eq!(file.read(100_000..300_000).unwrap(), bytes[100_000..300_000]);
    assert_eq!(server.take_log().len(), 6);
    // Without a tag the client doesn't resume a body; it is asked for anew.
    server.with_tags(Tags::None);
    let untagged = open_file(&server, "t").unwrap();
    server.misbehave([Mischief::CutOff]);
    assert_eq!(untagged.read(100_000..300_000).unwrap(), bytes[100_000..300_000]);
    server.misbehave([Mischief::Busy; 3]);
    let error = untagged.read(400_000..500_000).unwrap_err().to_string();
    assert!(error.contains("/t: ") && error.contains("503"), "{error}");
    // The failure isn't remembered.
    assert_eq!(untagged.read(400_000..500_000).unwrap(), bytes[400_000..500_000]);
}

#[test]
fn a_server_that_is_too_slow_is_given_up() {
    let server = WebServer::start();
    server.put("t", numbers(200_000));
    let options = RemoteOptions { timeout: Duration::from_millis(150), retries: 1, ..quick() };
    let url = Url::parse(&server.url("t")).unwrap().unwrap();
    let file = RemoteFile::open(&url, &options).unwrap();
    server.misbehave([Mischief::Slow(Duration::from_secs(3)); 2]);
    let start = Instant::now();
    let error = file.read(100_000..150_000).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(kind(&error), ErrorKind::TimedOut, "{error}");
}

#[test]
fn what_cant_be_read_says_why() {
    let server = WebServer::start();
    let error = open_file(&server, "missing.tgm").unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("/missing.tgm: there is no such file"), "{error}");
    server.put("t", numbers(1000));
    server.without_ranges();
    let error = open_file(&server, "t").unwrap_err();
    assert!(error.to_string().contains("doesn't send ranges of bytes"), "{error}");
    let error = dataset("http://127.0.0.1:1/t.tgm").unwrap_err();
    assert!(error.to_string().starts_with("http://127.0.0.1:1/t.tgm"), "{error}");
    for (location, said) in [
        (server.url("*.tgm"), "web servers don't list"),
        (server.url("data/"), "web servers don't list"),
        (server.url("t.tgm?token=x"), "queries"),
        ("s3://b-*/t.tgm".into(), "bucket can't be"),
        ("ftp://h/t.tgm".into(), "s3, gs, az, http or https"),
    ] {
        let error = Location::parse(&location).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn versions_are_never_mixed() {
    for tags in [Tags::Strong, Tags::Weak, Tags::None] {
        let server = WebServer::start();
        server.with_tags(tags);
        server.put("t", numbers(500_000));
        let file = open_file(&server, "t").unwrap();
        file.read(100_000..200_000).unwrap();
        // Without tags and times only another size shows.
        server.put("t", numbers(if tags == Tags::None { 500_001 } else { 500_000 }));
        let error = file.read(300_000..400_000).unwrap_err();
        assert_eq!(kind(&error), ErrorKind::StaleNetworkFileHandle, "{tags:?}: {error}");
        server.put("t", numbers(1000));
        assert_eq!(kind(&file.read(400_000..450_000).unwrap_err()), ErrorKind::StaleNetworkFileHandle);
        server.remove("t");
        assert_eq!(kind(&file.read(450_000..460_000).unwrap_err()), ErrorKind::StaleNetworkFileHandle);
        assert_eq!(file.read(100_000..200_000).unwrap().len(), 100_000, "what was fetched before");
    }
}

/// Messages that differ in length are found from several places side by side, by few more requests.
#[test]
fn messages_of_different_lengths_cost_a_request_each() {
    let server = WebServer::start();
    let count = 300;
    let mut bytes = Vec::new();
    for n in 0..count {
        let base = json!({"name": "t", "mars": {"step": n}});
        bytes.extend(tgm_message(&json!({}), &[field(base, &[17_000 + n * 7919 % 5003], n as f32)]));
    }
    let len = bytes.len() as u64;
    server.put("t.tgm", bytes);
    let file: Arc<dyn Source> = Arc::new(open_file(&server, "t.tgm").unwrap());
    let file = File::open(file, &Limits::default()).unwrap();
    assert_eq!(file.messages.len() as u64, count);
    for (n, message) in file.messages.iter().enumerate() {
        let shape = &message.as_ref().unwrap().objects[0].descriptor.shape;
        assert_eq!(shape[..], [17_000 + n as u64 * 7919 % 5003]);
    }
    let log = server.take_log();
    assert!(log.len() as u64 <= count + 20, "{} requests", log.len());
    assert!(sent(&log) < len / 2, "{} of {len} bytes", sent(&log));
}

/// The index at the end of a streamed message says where its objects are, which differ in length.
#[test]
fn a_footer_index_is_a_hint() {
    let server = WebServer::start();
    let count = 50;
    let values = |n: u64| Values::Float32((0..30_000 + n * 997).map(|i| (i * n) as f32).collect());
    let made = (0..count).map(|n| {
        let values = values(n);
        let shape = vec![values.len() as u64];
        Ok(Written { base: Map::new(), spec: Spec::new(DType::Float32), shape, values })
    });
    let mut writer = FileWriter::new("t.tgm", std::io::Cursor::new(Vec::new()), WriteOptions::default());
    writer.stream(&Map::new(), made).unwrap();
    server.put("t.tgm", writer.finish().unwrap().into_inner());
    let file: Arc<dyn Source> = Arc::new(open_file(&server, "t.tgm").unwrap());
    server.misbehave((0..count).map(|_| Mischief::Slow(Duration::from_millis(20))));
    let start = Instant::now();
    let file = File::open(file, &Limits::default()).unwrap();
    assert_eq!(file.message(0).unwrap().objects.len() as u64, count);
    let log = server.take_log();
    assert!(log.len() as u64 <= count + 5, "{} requests", log.len());
    // One after the other they would take a second.
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

/// Opening reads the borders of messages: one request for each where messages are large, and two more.
#[test]
fn opening_large_messages_costs_a_request_each() {
    let server = WebServer::start();
    let bytes = steps(1000, &[128, 160]);
    let len = bytes.len() as u64;
    server.put("t.tgm", bytes);
    let opened = dataset(&server.url("t.tgm")).unwrap();
    assert_eq!(opened.tables[0].dims[0].len(), 1000);
    let log = server.take_log();
    assert!(log.len() <= 1000 + 4, "{} requests", log.len());
    assert!(sent(&log) < len / 5, "{} of {len} bytes", sent(&log));
}

/// Messages that are smaller than the gap that is fetched along come in large pieces.
#[test]
fn opening_small_messages_costs_a_request_for_many() {
    let server = WebServer::start();
    server.put("t.tgm", steps(1000, &[16, 64]));
    let opened = dataset(&server.url("t.tgm")).unwrap();
    assert_eq!(opened.tables[0].dims[0].len(), 1000);
    let log = server.take_log();
    assert!(log.len() <= 12, "{} requests", log.len());
}

/// Objects of one message are found side by side by its index, whose content isn't believed.
#[test]
fn indexes_of_messages_are_hints() {
    let count = 60;
    let made: Vec<Tensor> =
        (0..count).map(|n| field(json!({"name": format!("t{n}")}), &[128, 160], n as f32)).collect();
    let message = |wrong: u64| {
        let base: Vec<Value> = made.iter().map(|t| t.base.clone()).collect();
        let objects: Vec<Vec<u8>> = made.iter().map(|t| object(&t.payload, &cbor(&t.descriptor))).collect();
        let lengths: Vec<u64> = objects.iter().map(|o| o.len() as u64).collect();
        let metadata = frame(HEADER_METADATA, &cbor(&json!({ "base": base })));
        let mut at = 24 + padded(std::slice::from_ref(&metadata)).len() as u64 + 2048;
        let offsets: Vec<u64> = lengths
            .iter()
            .map(|length| {
                let offset = at;
                at += length.next_multiple_of(8);
                offset + wrong
            })
            .collect();
        let index = frame(2, &cbor(&json!({"offsets": offsets, "lengths": lengths})));
        message(&padded(&[vec![metadata, index], objects].concat()), true)
    };
    let server = WebServer::start();
    for wrong in [0, 40_000] {
        server.put("t.tgm", message(wrong));
        let file: Arc<dyn Source> = Arc::new(open_file(&server, "t.tgm").unwrap());
        let file = File::open(file, &Limits::default()).unwrap();
        assert_eq!(file.message(0).unwrap().objects.len(), count);
        let requests = server.take_log().len();
        assert!(requests <= if wrong == 0 { count + 4 } else { 3 * count }, "{requests} requests");
    }
}

#[test]
fn with_an_index_opening_costs_two_requests() {
    let server = WebServer::start();
    server.put("t.tgm", steps(200, &[128, 160]));
    let url = server.url("t.tgm");
    let opened = dataset(&url).unwrap();
    assert_eq!(opened.index, IndexState::Absent);
    opened.write_index(None).unwrap();
    server.take_log();
    let indexed = dataset(&url).unwrap();
    assert!(
        matches!(&indexed.index, IndexState::Used(Address::Url(at)) if at.as_str().ends_with("t.tgm.mbx"))
    );
    assert_eq!(server.take_log().len(), 2);
    assert_eq!(indexed.tables[0].dims[0].len(), 200);
    server.put("t.tgm", steps(200, &[128, 160]));
    let stale = dataset(&url).unwrap();
    assert!(
        matches!(&stale.index, IndexState::Ignored(why) if why.contains("has changed")),
        "{:?}",
        stale.index
    );
}

async fn session(tables: &[(&str, String)]) -> SessionContext {
    let ctx =
        session_context(SessionConfig::new().with_target_partitions(2), Arc::new(RuntimeEnv::default()));
    let ctx = ctx.unwrap();
    for (name, location) in tables {
        register(&ctx, name, location, &HashMap::new()).await.unwrap();
    }
    ctx
}

async fn answer(ctx: &SessionContext, sql: &str) -> String {
    let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// A field of 400 x 500 as it is stored by each pipeline that can seek.
fn seekable() -> Vec<(&'static str, Tensor)> {
    let values: Vec<f32> = (0..200_000).map(|i| (i as f32 * 0.37).sin() * 100.0).collect();
    let plain: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut shuffled = vec![0; plain.len()];
    for (i, byte) in plain.iter().enumerate() {
        shuffled[i % 4 * values.len() + i / 4] = *byte;
    }
    let packed: Vec<u8> = (0..200_000u32).flat_map(|i| (i as u16).to_be_bytes()).collect();
    let base = || json!({"name": "v"});
    let mut shuffle = tensor(base(), "float32", &[400, 500], shuffled);
    shuffle.descriptor["filter"] = json!("shuffle");
    shuffle.descriptor["shuffle_element_size"] = json!(4);
    let mut packing = tensor(base(), "float64", &[400, 500], packed);
    for (key, value) in [
        ("encoding", json!("simple_packing")),
        ("sp_bits_per_value", json!(16)),
        ("sp_reference_value", json!(1.5)),
        ("sp_binary_scale_factor", json!(-2)),
        ("sp_decimal_scale_factor", json!(0)),
    ] {
        packing.descriptor[key] = value;
    }
    let doubles: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    let mut payload = Vec::new();
    Zfp::try_new(ZfpMode::FixedRate(12.5)).unwrap().encode(&doubles, &mut payload);
    let mut zfp = tensor(base(), "float64", &[400, 500], payload);
    for (key, value) in
        [("compression", json!("zfp")), ("zfp_mode", json!("fixed_rate")), ("zfp_rate", json!(12.5))]
    {
        zfp.descriptor[key] = value;
    }
    vec![
        ("zfp", zfp),
        ("plain", tensor(base(), "float32", &[400, 500], plain)),
        ("shuffle", shuffle),
        ("packing", packing),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_costs_one_request() {
    let server = WebServer::start();
    let folder = tempfile::tempdir().unwrap();
    for (name, field) in seekable() {
        let tensors = [labels("y", &coord(400)), labels("x", &coord(500)), field];
        let file = tgm_message(&json!({}), &tensors);
        let local = folder.path().join(format!("{name}.tgm"));
        std::fs::write(&local, &file).unwrap();
        server.put(&format!("{name}.tgm"), file);
        server.take_log();
        let ctx = session(&[
            ("near", local.to_str().unwrap().to_string()),
            ("far", server.url(&format!("{name}.tgm"))),
        ])
        .await;
        let opened = server.take_log();
        assert!(opened.len() <= 4 && sent(&opened) < 120_000, "{name}: {opened:?}");
        // Planes of bytes lie so near each other that what is between them comes along.
        let most = if name == "shuffle" { 700_000 } else { 10_000 };
        for sql in [
            "SELECT v FROM {} WHERE y = 300 AND x = 17",
            "SELECT sum(v) AS s, min(x) AS m FROM {} WHERE y = 200 AND x = 400",
            "SELECT v * 2 + y AS w FROM {} WHERE y = 250 AND x BETWEEN 400 AND 402",
        ] {
            let far = answer(&ctx, &sql.replace("{}", "far")).await;
            let log = server.take_log();
            assert!(log.len() <= 1 && sent(&log) < most, "{name}: {sql}: {log:?}");
            assert_eq!(far, answer(&ctx, &sql.replace("{}", "near")).await, "{name}: {sql}");
        }
        for sql in [
            "SELECT min(v) AS l, max(v) AS h, count(*) AS n FROM {}",
            "SELECT y, max(v) AS h FROM {} WHERE x > 490 GROUP BY y ORDER BY y LIMIT 5",
            "SELECT x, min(v) AS l FROM {} WHERE v > 0 GROUP BY x ORDER BY x LIMIT 5",
        ] {
            let far = answer(&ctx, &sql.replace("{}", "far")).await;
            assert_eq!(far, answer(&ctx, &sql.replace("{}", "near")).await, "{name}: {sql}");
        }
    }
}

fn coord(len: u32) -> Vec<f64> {
    (0..len).map(f64::from).collect()
}

/// A series through many messages is fetched side by side, a small range of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_series_costs_a_small_request_for_each_field() {
    let server = WebServer::start();
    server.put("t.tgm", steps(50, &[128, 160]));
    let ctx = session(&[("t", server.url("t.tgm"))]).await;
    server.take_log();
    let series = "SELECT step, sum(t) FROM t WHERE dim_0 = 64 AND dim_1 = 80 GROUP BY step ORDER BY step";
    answer(&ctx, series).await;
    let log = server.take_log();
    assert_eq!(log.len(), 49, "the first is in what opening brought: {log:?}");
    assert!(sent(&log) < 50 * 10_000);
    answer(&ctx, series).await;
    assert!(server.take_log().is_empty(), "held");
}

/// `CREATE EXTERNAL TABLE` over a list, and `FROM 'url'`.
#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_of_urls() {
    let server = WebServer::start();
    let message = |step: u64| {
        tgm_message(&json!({}), &[field(json!({"name": "t", "mars": {"step": step}}), &[2, 3], step as f32)])
    };
    server.put("a.tgm", message(1));
    server.put("with%20space.tgm", message(2));
    let (a, b) = (server.url("a.tgm"), server.url("with%20space.tgm"));
    let ctx = session(&[]).await;
    let create = format!("CREATE EXTERNAL TABLE t STORED AS TENSOGRAM LOCATION '{a}, {b}'");
    ctx.sql(&create).await.unwrap().collect().await.unwrap();
    let rows = answer(&ctx, "SELECT step, sum(t) AS s FROM t GROUP BY step ORDER BY step").await;
    assert!(rows.contains("| 1    | 21.0 |") && rows.contains("| 2    | 27.0 |"), "{rows}");
    let rows = answer(&ctx, &format!("SELECT count(*) AS n FROM '{a}'")).await;
    assert!(rows.contains("| 6 |"), "{rows}");
    let error = ctx.sql(&format!("SELECT * FROM '{}'", server.url("none.tgm"))).await.unwrap_err();
    assert!(error.to_string().contains("there is no such file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_ends_the_query() {
    let server = WebServer::start();
    server.put("t.tgm", steps(4, &[128, 160]));
    let ctx = session(&[("t", server.url("t.tgm"))]).await;
    server.put("t.tgm", steps(4, &[128, 160]));
    let error = ctx.sql("SELECT sum(t) FROM t").await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().contains("changed since it was opened"), "{error}");
}

/// A field of 2000 x 2000 in a blosc2 frame of one chunk, shuffled before or not.
fn blosc2(shuffled: bool) -> Vec<u8> {
    let mut spec =
        Spec { compression: Compression::Blosc2 { codec: None, level: None }, ..Spec::new(DType::Float32) };
    if shuffled {
        spec.filter = Filter::Shuffle(4);
    }
    let base = Map::from([("name".to_string(), "v".into())]);
    let values = Values::Float32((0..4_000_000).map(|i| (i as f32 * 0.37).sin() * 100.0).collect());
    let tensor = Written { base, spec, shape: vec![2000, 2000], values };
    let mut writer = FileWriter::new("v.tgm", Vec::new(), WriteOptions::default());
    writer.message(&Map::new(), vec![tensor]).unwrap();
    writer.finish().unwrap()
}

/// A blosc2 frame is fetched by its blocks: once what tells where they are, then the block.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_of_a_large_frame_costs_two_requests_and_then_one() {
    for (name, shuffled, planes) in [("blosc2", false, 1), ("shuffle", true, 4)] {
        let server = WebServer::start();
        let folder = tempfile::tempdir().unwrap();
        let file = blosc2(shuffled);
        assert!(file.len() > 8 << 20, "{} bytes", file.len());
        let local = folder.path().join("v.tgm");
        std::fs::write(&local, &file).unwrap();
        server.put("v.tgm", file);
        let tables = [("near", local.to_str().unwrap().to_string()), ("far", server.url("v.tgm"))];
        let ctx = session(&tables).await;
        server.take_log();
        for (sql, requests) in [
            ("SELECT v FROM {} WHERE dim_0 = 1000 AND dim_1 = 7", 1 + planes),
            ("SELECT sum(v) AS s FROM {} WHERE dim_0 = 500 AND dim_1 = 7", planes),
            ("SELECT max(v * 2) AS m FROM {} WHERE dim_0 = 1500 AND dim_1 BETWEEN 7 AND 9", planes),
        ] {
            let far = answer(&ctx, &sql.replace("{}", "far")).await;
            let log = server.take_log();
            assert!(log.len() <= requests && sent(&log) < 1 << 20, "{name}: {sql}: {log:?}");
            assert_eq!(far, answer(&ctx, &sql.replace("{}", "near")).await, "{name}: {sql}");
        }
        let all = "SELECT min(v) AS l, max(v) AS h, count(*) AS n FROM {} WHERE dim_1 < 1900";
        let far = answer(&ctx, &all.replace("{}", "far")).await;
        assert_eq!(far, answer(&ctx, &all.replace("{}", "near")).await, "{name}");
    }
}
