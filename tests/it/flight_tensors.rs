//! Tensors over Flight: endpoints and what they hold, slab requests, tickets, what is refused, and what reading costs.

use super::flight::{Server, status};
use super::limits::{self, line};
use super::random::encode::Coding;
use super::support::{Tensor, field, labels, tensor, write_tgm};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, Ticket};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Schema};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use millibar::codec::{Compression, Spec, Values};
use millibar::engine;
use millibar::files::{self, FileWriter};
use millibar::flight::{SlabTicket, TensorTicket};
use millibar::tgm::{DType, Map, WriteOptions};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// The order of the grid, in SQL.
const ORDER: &str = "ORDER BY time, level DESC, latitude DESC, longitude";

/// A file that a session would open by its path, and a server must not.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mars.tgm");

/// What a stream of tensors was.
struct Got {
    schema: Schema,
    about: Value,
    /// The items of all rows, one after the other.
    values: Vec<ArrayRef>,
    /// What each message says that reading took.
    costs: Vec<Value>,
    /// Bytes of the largest message.
    largest: usize,
}

impl Got {
    fn shape(&self) -> Vec<u64> {
        serde_json::from_value(self.about["shape"].clone()).unwrap()
    }

    fn floats(&self) -> Vec<Option<f32>> {
        self.values.iter().flat_map(|array| array.as_primitive::<Float32Type>().iter()).collect()
    }

    fn numbers(&self) -> Vec<f32> {
        self.floats().into_iter().map(Option::unwrap).collect()
    }

    /// Shape of a row, as the type has it.
    fn row(&self) -> Value {
        let field = self.schema.field(0);
        assert_eq!(field.metadata()["ARROW:extension:name"], "arrow.fixed_shape_tensor");
        let tensor: Value = serde_json::from_str(&field.metadata()["ARROW:extension:metadata"]).unwrap();
        assert_eq!(tensor["shape"].as_array().unwrap().len(), tensor["dim_names"].as_array().unwrap().len());
        tensor["shape"].clone()
    }
}

impl Server {
    async fn finish(self) {
        self.stop.send(()).unwrap();
        drop(self.channel);
        self.done.await.unwrap().unwrap();
    }

    async fn info(&self, descriptor: FlightDescriptor) -> Result<FlightInfo, FlightError> {
        self.client().get_flight_info(descriptor).await
    }

    async fn slab(&self, request: &Value) -> Result<Got, (Code, String)> {
        self.tensors(request.to_string().into()).await
    }

    async fn tensors(&self, ticket: bytes::Bytes) -> Result<Got, (Code, String)> {
        let words = |status: tonic::Status| (status.code(), status.message().to_string());
        let mut raw = FlightServiceClient::new(self.channel.clone());
        let stream = raw.do_get(Ticket { ticket: ticket.clone() }).await.map_err(words)?.into_inner();
        let messages: Vec<FlightData> = stream.try_collect().await.map_err(words)?;
        let costs = messages.iter().filter(|m| !m.app_metadata.is_empty());
        let costs = costs.map(|m| serde_json::from_slice(&m.app_metadata).unwrap()).collect();
        let largest = messages.iter().map(prost::Message::encoded_len).max().unwrap();
        let mut stream = self.client().do_get(arrow_flight::Ticket { ticket }).await.map_err(status)?;
        let mut values = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(status)?;
            let rows: &FixedSizeListArray = batch.column(0).as_fixed_size_list();
            assert_eq!(rows.null_count(), 0);
            values.push(rows.values().clone());
        }
        let schema = Schema::clone(stream.schema().unwrap());
        let about = serde_json::from_str(&schema.metadata()["millibar"]).unwrap();
        Ok(Got { schema, about, values, costs, largest })
    }

    async fn column(&self, sql: &str) -> Vec<f32> {
        let batches = self.session.sql(sql).await.unwrap().collect().await.unwrap();
        batches
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Float32Type>().values().to_vec())
            .collect()
    }
}

fn request(select: Value) -> Value {
    json!({ "table": "forecast", "variable": "temperature", "select": select })
}

fn path(parts: &[&str]) -> FlightDescriptor {
    FlightDescriptor::new_path(parts.iter().map(|part| part.to_string()).collect())
}

fn about(info: &FlightInfo) -> Value {
    serde_json::from_str(&info.clone().try_decode_schema().unwrap().metadata()["millibar"]).unwrap()
}

async fn serving(files: &str, options: &[(&str, &str)]) -> Server {
    let session = engine::session_context(SessionConfig::new(), Default::default()).unwrap();
    register(&session, files, options).await;
    Server::of(session).await
}

async fn register(session: &SessionContext, files: &str, options: &[(&str, &str)]) {
    let options: HashMap<_, _> = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    engine::register(session, "t", files, &options).await.unwrap();
}

fn write(dir: &tempfile::TempDir, name: &str, messages: &[Vec<Tensor>]) -> String {
    let path = dir.path().join(name);
    write_tgm(&path, messages);
    path.to_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_has_an_endpoint_for_each_stored_chunk() {
    let server = Server::start().await;
    let info = server.info(path(&["forecast", "temperature"])).await.unwrap();
    let said = about(&info);
    assert_eq!(said["shape"], json!([4, 10, 36, 72]));
    assert_eq!(said["chunks"], json!([1, 1, 36, 72]));
    assert_eq!(said["dtype"], "float32");
    assert_eq!(
        (&said["dims"][0]["name"], &said["dims"][0]["type"]),
        (&json!("time"), &json!("timestamp[ns]"))
    );
    assert_eq!(info.endpoint.len(), 40);
    assert_eq!(info.total_bytes, 4 * 10 * 36 * 72 * 4);
    let mut all = Vec::new();
    for (number, endpoint) in info.endpoint.iter().enumerate() {
        let block: Value = serde_json::from_slice(&endpoint.app_metadata).unwrap();
        assert_eq!(block["start"], json!([number / 10, number % 10, 0, 0]));
        assert_eq!((&block["shape"], &block["dtype"]), (&json!([1, 1, 36, 72]), &json!("float32")));
        assert_eq!(block["dims"], json!(["time", "level", "latitude", "longitude"]));
        let got = server.tensors(endpoint.ticket.clone().unwrap().ticket).await.unwrap();
        assert_eq!((got.row(), got.shape()), (json!([1, 1, 36, 72]), vec![1, 1, 36, 72]));
        assert_eq!(info.clone().try_decode_schema().unwrap().field(0), got.schema.field(0));
        all.extend(got.numbers());
    }
    assert_eq!(all, server.column(&format!("SELECT temperature FROM forecast {ORDER}")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_described_and_serves_its_coords() {
    let server = Server::start().await;
    let info = server.info(path(&["forecast"])).await.unwrap();
    let said = about(&info);
    let names =
        |what: &str| said[what].as_array().unwrap().iter().map(|v| v["name"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (names("dims"), names("variables")),
        (
            vec![json!("time"), json!("level"), json!("latitude"), json!("longitude")],
            vec![json!("temperature")]
        )
    );
    assert_eq!(said["variables"][0]["holes"], 0);
    let mut stream = server.client().do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let batch = stream.next().await.unwrap().unwrap();
    let lists = |dim: usize| batch.column(dim).as_list::<i32>().values().clone();
    assert_eq!(batch.num_rows(), 1);
    let sizes: Vec<usize> = (0..4).map(|dim| lists(dim).len()).collect();
    assert_eq!(sizes, [4, 10, 36, 72]);
    let schema = server.client().get_schema(path(&["forecast"])).await.unwrap();
    assert_eq!(schema, *batch.schema());
    let unknown = server.info(path(&["forecast", "nope"])).await.unwrap_err();
    assert_eq!(status(unknown), (Code::NotFound, "table `forecast` has no variable `nope`".into()));
    let rows = server.info(path(&["words", "word"])).await.unwrap_err();
    assert_eq!(
        status(rows),
        (Code::InvalidArgument, "table `words` is not one of tensors: it has rows only".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_coords_come_in_several_rows() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f64> = (0..20_000).map(f64::from).collect();
    let messages = vec![vec![labels("x", &values), field(json!({ "name": "v" }), &[20_000], 0.0)]];
    let server = serving(&write(&dir, "long.tgm", &messages), &[]).await;
    let info = server.info(path(&["t"])).await.unwrap();
    let stream = server.client().do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    let lists = batches.iter().map(|batch| batch.column(0).as_list::<i32>());
    let got: Vec<f64> = lists
        .flat_map(|rows| rows.iter().flatten().collect::<Vec<_>>())
        .flat_map(|row| row.as_primitive::<Float64Type>().values().to_vec())
        .collect();
    assert_eq!(got, values);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slab_is_the_product_of_what_each_dim_selects() {
    let server = Server::start().await;
    for (select, sql, shape) in [
        (json!({}), "true", [4u64, 10, 36, 72]),
        (json!({ "time": { "start": 1, "stop": 4, "step": 2 } }), "day % 2 = 1", [2, 10, 36, 72]),
        (json!({ "level": { "index": [0, -1] } }), "level IN (1000, 50)", [4, 2, 36, 72]),
        (json!({ "latitude": { "from": 20, "to": -20.5 } }), "latitude BETWEEN -20.5 AND 20", [4, 10, 8, 72]),
        (
            json!({ "time": { "from": "2026-04-02", "to": "2026-04-03T00:00:00" }, "longitude": { "stop": 1 } }),
            "day IN (1, 2) AND longitude = 0",
            [2, 10, 36, 1],
        ),
        (json!({ "level": { "start": 3, "stop": 3 } }), "false", [4, 0, 36, 72]),
    ] {
        let got = server.slab(&request(select.clone())).await.unwrap();
        let days = "SELECT *, date_part('day', time) - 1 AS day FROM forecast";
        let expected = server.column(&format!("SELECT temperature FROM ({days}) WHERE {sql} {ORDER}")).await;
        assert_eq!(got.shape(), shape, "{select}");
        assert!(got.numbers() == expected, "{select}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_can_be_chosen() {
    let server = Server::start().await;
    let count = async |chunks: Value| {
        let mut request = request(json!({ "time": { "start": 1 } }));
        request["chunks"] = chunks;
        let info = server.info(FlightDescriptor::new_cmd(request.to_string())).await.map_err(status)?;
        let shape = |e: &arrow_flight::FlightEndpoint| {
            serde_json::from_slice::<Value>(&e.app_metadata).unwrap()["shape"].clone()
        };
        Ok::<_, (Code, String)>((info.endpoint.len(), shape(info.endpoint.last().unwrap())))
    };
    assert_eq!(count(json!("stored")).await.unwrap(), (30, json!([1, 1, 36, 72])));
    assert_eq!(count(json!("whole")).await.unwrap(), (1, json!([3, 10, 36, 72])));
    assert_eq!(count(json!({ "time": 2, "level": -1 })).await.unwrap(), (2, json!([1, 10, 36, 72])));
    let (code, words) = count(json!({ "latitude": 1, "longitude": 1 })).await.unwrap_err();
    assert_eq!(code, Code::InvalidArgument);
    assert!(words.contains("77760 endpoints"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said() {
    let server = Server::start().await;
    for (request, code, words) in [
        (json!({ "table": "nope", "variable": "x" }), Code::NotFound, "no table named `nope`"),
        (json!({ "table": FILE, "variable": "x" }), Code::NotFound, "no table named"),
        (json!({ "table": "forecast", "variable": "x" }), Code::NotFound, "no variable `x`"),
        (json!({ "table": "words", "variable": "x" }), Code::InvalidArgument, "rows only"),
        (json!({ "table": "forecast" }), Code::InvalidArgument, "missing field `variable`"),
        (
            request(json!({ "depth": {} })),
            Code::InvalidArgument,
            "has no dim `depth`; its dims are time, level",
        ),
        (
            request(json!({ "level": { "index": [10] } })),
            Code::InvalidArgument,
            "dim `level`: position 10 of 10",
        ),
        (request(json!({ "level": { "index": [1, 1] } })), Code::InvalidArgument, "ascends"),
        (
            request(json!({ "level": { "index": [1], "stop": 1 } })),
            Code::InvalidArgument,
            "start, stop and step, or",
        ),
        (request(json!({ "level": { "step": -1 } })), Code::InvalidArgument, "a step of -1"),
        (request(json!({ "time": { "from": 3 } })), Code::InvalidArgument, "3 is no label"),
    ] {
        let (got, said) = server.slab(&request).await.err().unwrap_or_else(|| panic!("{request}"));
        assert_eq!(got, code, "{request}: {said}");
        assert!(said.contains(words), "{request}: {said}");
        let info = server.info(FlightDescriptor::new_cmd(request.to_string())).await.unwrap_err();
        assert_eq!(status(info), (got, said));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_outlive_the_server_and_not_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let message = |first| vec![vec![field(json!({ "name": "v" }), &[4, 3], first)]];
    let file = write(&dir, "a.tgm", &message(0.0));
    let first = serving(&file, &[]).await;
    let info = first.info(path(&["t", "v"])).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket;
    let coords = first.info(path(&["t"])).await.unwrap().endpoint[0].ticket.clone().unwrap().ticket;
    let expected = first.tensors(ticket.clone()).await.unwrap().numbers();
    assert_eq!(first.tensors(ticket.clone()).await.unwrap().numbers(), expected);
    first.finish().await;
    let second = serving(&file, &[]).await;
    assert_eq!(second.tensors(ticket.clone()).await.unwrap().numbers(), expected);
    assert!(second.client().do_get(arrow_flight::Ticket { ticket: coords.clone() }).await.is_ok());
    // another file under the name of the old one
    std::fs::rename(write(&dir, "b.tgm", &message(5.0)), &file).unwrap();
    let (code, words) = second.tensors(ticket.clone()).await.err().unwrap();
    assert_eq!(code, Code::FailedPrecondition, "{words}");
    assert!(words.contains("a.tgm: the file was changed since it was opened"), "{words}");
    let third = serving(&file, &[]).await;
    let (code, words) = third.tensors(ticket).await.err().unwrap();
    assert_eq!(code, Code::FailedPrecondition, "{words}");
    assert!(words.contains("the data of `v` of table `t` changed"), "{words}");
    let coords = third.client().do_get(arrow_flight::Ticket { ticket: coords }).await.err().unwrap();
    assert_eq!(status(coords).0, Code::FailedPrecondition);
    let stale = json!({ "table": "t", "variable": "v", "identity": "0000000000000000" });
    assert_eq!(third.slab(&stale).await.err().unwrap().0, Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_tickets_and_those_of_other_versions_are_refused() {
    let server = Server::start().await;
    let info = server.info(path(&["forecast", "temperature"])).await.unwrap();
    let ticket = info.endpoint[7].ticket.clone().unwrap().ticket;
    for at in (0..ticket.len()).step_by(7) {
        let mut damaged = ticket.to_vec();
        damaged[at] ^= 4;
        let (code, words) = server.tensors(damaged.into()).await.err().unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!(code, Code::InvalidArgument, "byte {at}: {words}");
        assert!(words.starts_with("the ticket"), "{words}");
    }
    let mut newer = Vec::new();
    ciborium::into_writer(&json!({ "version": 2, "tensor": [], "check": 0 }), &mut newer).unwrap();
    let (code, words) = server.tensors(newer.into()).await.err().unwrap();
    assert_eq!(
        (code, words.as_str()),
        (Code::InvalidArgument, "the ticket is of version 2; this server reads version 1")
    );
    // sound, of this data, and beyond it
    let Ok(millibar::flight::Ticket::Tensor(TensorTicket::Slab(slab))) =
        millibar::flight::Ticket::decode(&ticket)
    else {
        panic!()
    };
    let dims = vec![millibar::flight::Positions::Every { start: 3, count: 2, step: 1 }; 4];
    let beyond = TensorTicket::Slab(SlabTicket { dims, ..slab }).encode();
    assert_eq!(server.tensors(beyond.into()).await.err().unwrap().0, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blocks_travel_as_rows_of_messages_that_clients_accept() {
    let dir = tempfile::tempdir().unwrap();
    let shape = [3, 700, 900]; // 2.4 MiB a field: two don't fit
    let message = vec![field(json!({ "name": "v" }), &shape, 0.0)];
    let server = serving(&write(&dir, "large.tgm", &[message]), &[]).await;
    let expected: Vec<f32> = (0..3 * 700 * 900).map(|i| i as f32).collect();
    for (missing, select, row, expected) in [
        ("nan", json!({}), json!([700, 900]), expected.clone()),
        ("null", json!({}), json!([700, 900]), expected.clone()),
        ("nan", json!({ "dim_0": { "start": 2 } }), json!([1, 700, 900]), expected[2 * 700 * 900..].to_vec()),
        (
            "nan",
            json!({ "dim_0": { "index": [0, 2] }, "dim_1": { "step": 350 }, "dim_2": { "stop": 3 } }),
            json!([2, 2, 3]),
            {
                let cells = [0, 2].into_iter().flat_map(|z| {
                    [0, 350].into_iter().flat_map(move |y| (0..3).map(move |x| z * 630_000 + y * 900 + x))
                });
                cells.map(|i| i as f32).collect()
            },
        ),
    ] {
        let got = server
            .slab(&json!({ "table": "t", "variable": "v", "select": select, "missing": missing }))
            .await
            .unwrap();
        assert_eq!(got.row(), row);
        assert!(got.largest < 4 << 20, "{}", got.largest);
        assert_eq!(got.numbers(), expected, "{missing} {select}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_of_a_large_chunk_costs_a_few_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let file = blosc2(&dir);
    let server = serving(&file, &[]).await;
    let tables = server.client().list_flights("").await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let said = about(&tables[0]);
    let variable = said["variables"][0]["name"].as_str().unwrap();
    let cells: u64 = said["dims"].as_array().unwrap().iter().map(|d| d["size"].as_u64().unwrap()).product();
    let select: serde_json::Map<String, Value> = said["dims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dim| (dim["name"].as_str().unwrap().to_string(), json!({ "start": 1, "stop": 2 })))
        .collect();
    let got = server
        .slab(&json!({ "table": said["table"], "variable": variable, "select": select }))
        .await
        .unwrap();
    let [cost] = got.costs.as_slice() else { panic!("{:?}", got.costs) };
    assert_eq!((&cost["ranges_decoded"], &cost["full_decodes"]), (&json!(1), &json!(0)), "{cost}");
    assert!(cost["bytes_decoded"].as_u64().unwrap() * 4 < cells * 4, "{cost} of {cells} cells");
}

/// A blosc2 file of one chunk of a million cells.
fn blosc2(dir: &tempfile::TempDir) -> String {
    let spec =
        Spec { compression: Compression::Blosc2 { codec: None, level: None }, ..Spec::new(DType::Float32) };
    let base = Map::from([("name".to_string(), "v".into())]);
    let values = Values::Float32((0..1 << 20).map(|i| (i as f32).sin()).collect());
    let mut writer = FileWriter::new("v.tgm", Vec::new(), WriteOptions::default());
    writer
        .message(&Map::new(), vec![files::Tensor { base, spec, shape: vec![1 << 10, 1 << 10], values }])
        .unwrap();
    let path = dir.path().join("v.tgm");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    path.to_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_cells_are_nan_or_null() {
    let dir = tempfile::tempdir().unwrap();
    let at = |y: usize, x: usize, name: &str| json!({ "name": name, "y": y, "x": x });
    let ints =
        |y, x| tensor(at(y, x, "n"), "int32", &[2], [7i32, 8].iter().flat_map(|v| v.to_le_bytes()).collect());
    let floats = |y, x| {
        tensor(
            at(y, x, "f"),
            "float32",
            &[2],
            [1.5f32, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    };
    let messages: Vec<_> = [(0, 0), (0, 1), (1, 1)].map(|(y, x)| vec![ints(y, x), floats(y, x)]).into();
    let server =
        serving(&write(&dir, "holes.tgm", &messages), &[("missing", "null"), ("stack", "y,x")]).await;
    let slab =
        |variable: &str, missing: &str| json!({ "table": "t", "variable": variable, "missing": missing });
    let nan = server.slab(&slab("f", "nan")).await.unwrap();
    let bits = |values: Vec<f32>| {
        values.into_iter().map(|v| if v.is_nan() { None } else { Some(v) }).collect::<Vec<_>>()
    };
    let expected = [Some(1.5), None, Some(1.5), None, None, None, Some(1.5), None];
    assert_eq!(bits(nan.numbers()), expected);
    assert_eq!(server.slab(&slab("f", "null")).await.unwrap().floats(), expected);
    let (code, words) = server.slab(&slab("n", "nan")).await.err().unwrap();
    assert_eq!((code, words.contains("int32 has no NaN")), (Code::InvalidArgument, true), "{words}");
    let null = server.slab(&slab("n", "null")).await.unwrap();
    let got: Vec<_> = null.values.iter().flat_map(|array| array.as_primitive::<Int32Type>().iter()).collect();
    assert_eq!(got, [Some(7), Some(8), Some(7), Some(8), None, None, Some(7), Some(8)]);
    let DataType::FixedSizeList(item, 8) = null.schema.field(0).data_type() else { panic!() };
    assert!(item.is_nullable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slab_larger_than_the_memory_limit_streams_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir, "large.tgm", &[vec![field(json!({ "name": "v" }), &[40, 512, 512], 0.0)]]);
    for (limit, fits) in [(9 << 20, true), (256 << 10, false)] {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(engine::memory_pool(limit)).build().unwrap();
        let session = engine::session_context(SessionConfig::new(), Arc::new(runtime)).unwrap();
        register(&session, &file, &[]).await;
        let server = Server::of(session).await;
        match server.slab(&json!({ "table": "t", "variable": "v" })).await {
            Ok(got) => assert_eq!((fits, got.numbers().len()), (true, 40 << 18)),
            Err((code, words)) => {
                assert!(
                    !fits && code == Code::ResourceExhausted && words.contains("slab"),
                    "{code}: {words}"
                );
            }
        }
        assert_eq!(server.session.runtime_env().memory_pool.reserved(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_its_slab() {
    let (grid, asked) = line(128, 64 << 10, Coding::Plain, 128);
    let server = Server::of(limits::session(2, RuntimeEnvBuilder::new().build().unwrap(), grid)).await;
    let whole = json!({ "table": "t", "variable": "v" }).to_string();
    let mut raw = FlightServiceClient::new(server.channel.clone());
    let mut stream = raw.do_get(Ticket { ticket: whole.into() }).await.unwrap().into_inner();
    for _ in 0..2 {
        stream.message().await.unwrap().unwrap(); // the schema, and 8 of the 128 chunks
    }
    drop(stream);
    let pool = Arc::clone(&server.session.runtime_env().memory_pool);
    for _ in 0..1000 {
        if pool.reserved() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(pool.reserved(), 0, "it holds buffers");
    let seen = asked.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(asked.lock().unwrap().len(), seen, "it went on reading");
    assert!((8..80).contains(&seen), "{seen} of 128 chunks were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_a_message_that_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    for (name, time) in [("a.tgm", 0), ("b.tgm", 1)] {
        write(&dir, name, &[vec![field(json!({ "name": "v", "time": time }), &[400, 256], 0.0)]]);
    }
    let server = serving(&dir.path().join("*.tgm").to_string_lossy(), &[]).await;
    let slab = json!({ "table": "t", "variable": "v" });
    let got = server.slab(&slab).await.unwrap();
    assert_eq!((got.numbers().len(), got.costs.len()), (2 * 400 * 256, 1), "one message of two files");
    assert_eq!(got.costs[0]["objects_opened"], json!(2));
    std::fs::remove_file(dir.path().join("b.tgm")).unwrap();
    let (code, words) = server.slab(&slab).await.err().unwrap();
    assert_eq!(code, Code::FailedPrecondition, "{words}");
    assert!(words.contains("b.tgm: the file was removed since it was opened"), "{words}");
    assert_eq!(server.session.runtime_env().memory_pool.reserved(), 0);
}
