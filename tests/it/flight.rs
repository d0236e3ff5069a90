//! The Flight server, in process: what clients get for SQL, paths, Flight SQL, mistakes and departures.

use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use arrow_flight::{FlightClient, FlightDescriptor, Ticket};
use datafusion::arrow::array::{
    AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use datafusion::logical_expr::{Volatility, create_udf};
use datafusion::physical_plan::ColumnarValue;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use millibar::engine;
use millibar::flight::{FlightServer, GRACE, QueryTicket, serve};
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// What a client accepts unless it is told otherwise.
const DEFAULT_MESSAGE_LIMIT: usize = 4 << 20;
/// 4 days, 10 levels, 36 latitudes, 72 longitudes.
const CELLS: usize = 4 * 10 * 36 * 72;

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) session: SessionContext,
    pub(crate) channel: Channel,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) done: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    /// Serves the example forecast as `forecast`, and three words as `words`.
    pub(crate) async fn start() -> Self {
        Self::of(session().await).await
    }

    pub(crate) async fn of(session: SessionContext) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = FlightServer::new(session.clone()).unwrap();
        let done = tokio::spawn(serve(server, listener, async {
            let _ = stopped.await;
        }));
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { session, channel, stop, done }
    }

    pub(crate) fn client(&self) -> FlightClient {
        FlightClient::new(self.channel.clone())
    }

    fn sql_client(&self) -> FlightSqlServiceClient<Channel> {
        FlightSqlServiceClient::new(self.channel.clone())
    }

    /// The result of a statement by way of its flight info, whose schema must be that of the stream.
    async fn query(&self, sql: &str) -> Result<(Arc<Schema>, Vec<RecordBatch>), FlightError> {
        self.get(FlightDescriptor::new_cmd(sql.to_string())).await
    }

    async fn get(&self, what: FlightDescriptor) -> Result<(Arc<Schema>, Vec<RecordBatch>), FlightError> {
        let mut client = self.client();
        let info = client.get_flight_info(what).await?;
        let [endpoint] = info.endpoint.as_slice() else { panic!("{:?}", info.endpoint) };
        let mut stream = client.do_get(endpoint.ticket.clone().unwrap()).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        let schema = Arc::clone(stream.schema().expect("a schema comes first, whatever follows"));
        assert_eq!(info.try_decode_schema().unwrap(), *schema);
        Ok((schema, batches))
    }

    /// The status that a statement fails with.
    async fn failure(&self, sql: &str) -> (Code, String) {
        status(self.query(sql).await.expect_err(sql))
    }
}

async fn session() -> SessionContext {
    let config = SessionConfig::new().with_information_schema(true);
    let session = engine::session_context(config, Default::default()).unwrap();
    let options = HashMap::from([("variables".into(), "temperature_{level}hPa".into())]);
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/temperature_{time:%Y%m%d}.tgm");
    engine::register(&session, "forecast", files, &options).await.unwrap();
    let words = StringArray::from(vec!["a word that is longer than a view", "b"]);
    let words = DictionaryArray::new(Int32Array::from(vec![Some(1), None, Some(0)]), Arc::new(words));
    let batch = RecordBatch::try_from_iter([("word", Arc::new(words) as _)]).unwrap();
    session.register_batch("words", batch).unwrap();
    session
}

pub(crate) fn status(error: FlightError) -> (Code, String) {
    match error {
        FlightError::Tonic(status) => (status.code(), status.message().to_string()),
        other => panic!("not a status: {other:?}"),
    }
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_gives_what_the_engine_gives() {
    let server = Server::start().await;
    let sql = "SELECT level, mean(temperature) AS mean FROM forecast GROUP BY level ORDER BY level";
    let (_, batches) = server.query(sql).await.unwrap();
    let expected = server.session.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(rows(&batches), 10);
    assert_eq!(batches, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_listed_under_the_path_that_fetches_them() {
    let server = Server::start().await;
    let flights: Vec<_> = server.client().list_flights("").await.unwrap().try_collect().await.unwrap();
    let paths: Vec<_> = flights.iter().map(|f| f.flight_descriptor.clone().unwrap().path).collect();
    assert_eq!(paths, [["forecast"], ["words"]]);
    for (flight, count) in flights.iter().zip([1, 3]) {
        let (schema, batches) = server.get(flight.flight_descriptor.clone().unwrap()).await.unwrap();
        assert_eq!(flight.clone().try_decode_schema().unwrap(), *schema);
        assert_eq!(rows(&batches), count);
    }
    let unknown = server.get(FlightDescriptor::new_path(vec!["nope".into()])).await.unwrap_err();
    assert_eq!(status(unknown), (Code::NotFound, "no table named `nope`".into()));
    let three = FlightDescriptor::new_path(vec!["forecast".into(), "temperature".into(), "x".into()]);
    assert_eq!(status(server.get(three).await.unwrap_err()).0, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_those_that_travel() {
    let server = Server::start().await;
    let words = FlightDescriptor::new_cmd("SELECT * FROM words");
    let schema = server.client().get_schema(words).await.unwrap();
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    let (_, batches) = server.query("SELECT * FROM words").await.unwrap();
    let sent: Vec<_> = batches.iter().flat_map(|b| b.column(0).as_string::<i32>().iter()).collect();
    assert_eq!(sent, [Some("b"), None, Some("a word that is longer than a view")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_still_have_a_schema() {
    let server = Server::start().await;
    let (schema, batches) =
        server.query("SELECT level, temperature FROM forecast WHERE level = 1").await.unwrap();
    assert_eq!((schema.fields().len(), rows(&batches)), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_codes_and_words() {
    let server = Server::start().await;
    for (sql, code, words) in [
        ("SELEC 1", Code::InvalidArgument, "SELEC"),
        ("SELECT nope FROM forecast", Code::InvalidArgument, "nope"),
        ("SELECT * FROM nope", Code::NotFound, "no table named `nope`"),
        ("SELECT 1/0", Code::InvalidArgument, "ivide by zero"),
        ("DROP TABLE forecast", Code::PermissionDenied, "can only read"),
        ("CREATE TABLE t AS SELECT 1", Code::PermissionDenied, "can only read"),
        ("CREATE VIEW v AS SELECT 1", Code::PermissionDenied, "can only read"),
        ("INSERT INTO words VALUES ('c')", Code::PermissionDenied, "can only read"),
        ("SET millibar.grid_aggregate = false", Code::PermissionDenied, "can only read"),
        ("COPY forecast TO 'stolen.csv'", Code::PermissionDenied, "can only read"),
        ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", Code::PermissionDenied, "can only read"),
        ("SELECT 1; SELECT 2", Code::Unimplemented, "single SQL statement"),
    ] {
        let (got, message) = server.failure(sql).await;
        assert_eq!(got, code, "{sql}: {message}");
        assert!(message.contains(words) && !message.contains('\n'), "{sql}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_tables_and_plans_are_queries() {
    let server = Server::start().await;
    for sql in
        ["SHOW TABLES", "DESCRIBE forecast", "EXPLAIN SELECT mean(temperature) FROM forecast", "SHOW ALL"]
    {
        let (_, batches) = server.query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert!(rows(&batches) > 1, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_the_catalog_can_be_analyzed() {
    let server = Server::start().await;
    let (_, batches) = server.query("ANALYZE TABLE forecast COMPUTE STATISTICS").await.unwrap();
    assert_eq!(rows(&batches), 1);
    let (_, batches) = server.query("SELECT * FROM analyze('forecast', 'temperature')").await.unwrap();
    assert_eq!(rows(&batches), 1);
    for (sql, code) in [
        ("ANALYZE TABLE nope", Code::NotFound),
        ("ANALYZE TABLE words", Code::InvalidArgument),
        ("EXPLAIN ANALYZE DROP TABLE forecast", Code::PermissionDenied),
    ] {
        assert_eq!(server.failure(sql).await.0, code, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_server_are_not_tables() {
    let server = Server::start().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mars.tgm");
    let direct = format!("SELECT count(*) FROM '{file}'");
    assert!(server.session.sql(&direct).await.is_ok(), "the session itself opens files");
    assert_eq!(server.failure(&direct).await.0, Code::NotFound);
    let hidden = format!("WITH x AS (SELECT 1 WHERE EXISTS (SELECT * FROM \"{file}\")) SELECT * FROM x");
    assert_eq!(server.failure(&hidden).await.0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_values_and_foreign_ones_are_refused() {
    let server = Server::start().await;
    let mut client = server.client();
    let ticket = QueryTicket::new("SELECT 42 AS x").encode();
    let batches: Vec<_> = client.do_get(Ticket::new(ticket)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 42);
    for (bytes, words) in [
        (b"garbage".to_vec(), "not one of this server's"),
        (Vec::new(), "not one of this server's"),
        (b"\xa1gversion\x09".to_vec(), "version 9"),
    ] {
        let (code, message) = status(client.do_get(Ticket::new(bytes)).await.err().unwrap());
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_come_in_messages_that_default_clients_accept() {
    let server = Server::start().await;
    let long = "SELECT repeat('x', CAST(value AS INT)) AS s FROM generate_series(1, 9000)";
    for (sql, total) in [("SELECT value FROM generate_series(1, 2000000)", 2_000_000), (long, 9000)] {
        let ticket = Ticket::new(QueryTicket::new(sql).encode());
        let mut raw = FlightServiceClient::new(server.channel.clone());
        let mut messages = raw.do_get(ticket.clone()).await.unwrap().into_inner();
        let mut count = 0;
        while let Some(message) = messages.message().await.unwrap() {
            assert!(message.encoded_len() < DEFAULT_MESSAGE_LIMIT, "{sql}: {}", message.encoded_len());
            count += 1;
        }
        assert!(count > 5, "{sql}: {count} messages");
        let batches: Vec<_> = server.client().do_get(ticket).await.unwrap().try_collect().await.unwrap();
        assert_eq!(rows(&batches), total, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_mid_stream_is_no_end() {
    let server = Server::start().await;
    let sql = "SELECT 1 / (value - 150000) FROM generate_series(1, 200000)";
    let (code, message) = server.failure(sql).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("ivide by zero"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_data_is_data_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.tgm");
    let mut bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/temperature_20260401.tgm"))
            .unwrap();
    let payload = {
        std::fs::write(&path, &bytes).unwrap();
        let source = Arc::new(millibar::source::LocalFile::open(&path).unwrap());
        let file = millibar::tgm::File::open(source, &Default::default()).unwrap();
        file.message(0).unwrap().object(6).unwrap().payload()
    };
    bytes[payload.start as usize] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let session = session().await;
    let options = HashMap::from([("verify_hash".into(), "full".into())]);
    engine::register(&session, "damaged", path.to_str().unwrap(), &options).await.unwrap();
    let server = Server::of(session).await;
    server.query("SELECT mean(\"temperature_1000hPa\") FROM damaged").await.unwrap();
    let (code, message) = server.failure("SELECT mean(\"temperature_500hPa\") FROM damaged").await;
    assert_eq!(code, Code::DataLoss, "{message}");
    assert!(message.contains("damaged.tgm, message 0, object 6"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_run_side_by_side() {
    let server = Arc::new(Server::start().await);
    let queries = (0..16).map(|i| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let level = [1000, 850, 500, 50][i % 4];
            let sql = format!(
                "SELECT level, count(temperature) FROM forecast WHERE level = {level} GROUP BY level"
            );
            let (_, batches) = server.query(&sql).await.unwrap();
            assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), level);
            assert_eq!(batches[0].column(1).as_primitive::<Int64Type>().value(0), CELLS as i64 / 10);
        })
    });
    for query in queries.collect::<Vec<_>>() {
        query.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_its_query() {
    static BATCHES: AtomicU64 = AtomicU64::new(0);
    let session = session().await;
    session.register_udf(create_udf(
        "counted",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Volatile,
        Arc::new(|args: &[ColumnarValue]| {
            BATCHES.fetch_add(1, Ordering::SeqCst);
            Ok(args[0].clone())
        }),
    ));
    let server = Server::of(session).await;
    // One answer after a long time, so that no full channel could stop the query.
    let endless = "SELECT sum(counted(value)) FROM generate_series(1, 100000000000)";
    let ticket = Ticket::new(QueryTicket::new(endless).encode());
    let stream = server.client().do_get(ticket).await.unwrap();
    let running = |before| BATCHES.load(Ordering::SeqCst) > before;
    wait_until(|| running(2)).await;
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let before = BATCHES.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !running(before) {
            return;
        }
        assert!(Instant::now() < deadline, "the query still runs");
    }
}

async fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_cuts_off_what_does_not_end() {
    let server = Server::start().await;
    let endless = "SELECT sum(value) FROM generate_series(1, 100000000000)";
    let ticket = Ticket::new(QueryTicket::new(endless).encode());
    let _stream = server.client().do_get(ticket).await.unwrap();
    let started = Instant::now();
    server.stop.send(()).unwrap();
    server.done.await.unwrap().unwrap();
    assert!(started.elapsed() < GRACE + Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_runs_statements_plain_and_prepared() {
    let server = Server::start().await;
    let mut client = server.sql_client();
    let sql = "SELECT mean(temperature) AS mean FROM forecast WHERE level = 500";
    let expected = server.session.sql(sql).await.unwrap().collect().await.unwrap();
    let expected = expected[0].column(0).as_primitive::<Float64Type>().value(0);
    let plain = client.execute(sql.into(), None).await.unwrap();
    let mut statement = client.prepare(sql.into(), None).await.unwrap();
    assert_eq!(statement.dataset_schema().unwrap().field(0).name(), "mean");
    let prepared = statement.execute().await.unwrap();
    for info in [plain, prepared] {
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let batches: Vec<_> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Float64Type>().value(0), expected);
    }
    statement.close().await.unwrap();
    let refused = client.execute_update("DROP TABLE forecast".into(), None).await.unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_travel_in_the_handle() {
    let server = Server::start().await;
    let mut client = server.sql_client();
    let sql =
        "SELECT level, count(temperature) FROM forecast WHERE level = $1 AND latitude > $2 GROUP BY level";
    let mut statement = client.prepare(sql.into(), None).await.unwrap();
    let wanted: Vec<_> =
        statement.parameter_schema().unwrap().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(wanted, ["$1", "$2"]);
    let unbound = statement.execute().await.unwrap_err().to_string();
    assert!(unbound.contains("$1"), "{unbound}");
    let rows = |levels: Vec<i64>| {
        let (levels, latitudes) =
            (Int64Array::from(levels.clone()), Float64Array::from(vec![0.0; levels.len()]));
        RecordBatch::try_from_iter([("0", Arc::new(levels) as _), ("1", Arc::new(latitudes) as _)]).unwrap()
    };
    for level in [500, 850] {
        statement.set_parameters(rows(vec![level])).unwrap();
        let ticket = statement.execute().await.unwrap().endpoint[0].ticket.clone().unwrap();
        let batches: Vec<_> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().values(), &[level]);
        assert_eq!(batches[0].column(1).as_primitive::<Int64Type>().value(0), CELLS as i64 / 20);
    }
    statement.set_parameters(rows(vec![1, 2])).unwrap();
    let two = statement.execute().await.unwrap_err().to_string();
    assert!(two.contains("one row"), "{two}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_describes_the_catalog() {
    let server = Server::start().await;
    let mut client = server.sql_client();
    let tables = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: None,
        table_name_filter_pattern: Some("fore%".into()),
        table_types: vec!["TABLE".into()],
        include_schema: true,
    };
    let info = client.get_tables(tables).await.unwrap();
    let tables = fetch(&mut client, info).await;
    assert_eq!(tables.column_by_name("table_name").unwrap().as_string::<i32>().value(0), "forecast");
    assert_eq!(tables.num_rows(), 1);
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(fetch(&mut client, info).await.column(0).as_string::<i32>().value(0), "datafusion");
    let all = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(all).await.unwrap();
    assert!(fetch(&mut client, info).await.num_rows() > 0);
    let info = client.get_table_types().await.unwrap();
    assert!(fetch(&mut client, info).await.num_rows() > 0);
    let info = client.get_sql_info(vec![arrow_flight::sql::SqlInfo::FlightSqlServerName]).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.num_rows(), 1);
}

async fn fetch(client: &mut FlightSqlServiceClient<Channel>, info: arrow_flight::FlightInfo) -> RecordBatch {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<_> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    assert_eq!(info.try_decode_schema().unwrap(), *batches[0].schema());
    batches.into_iter().next().unwrap()
}
