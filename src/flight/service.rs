//! The Flight service: SQL text and table names as descriptors; Flight SQL commands go to [`SqlService`].

use super::query::{CatalogTable, Queries};
use super::sql::SqlService;
use super::ticket::{QueryTicket, TicketError};
use super::wire::{flight_data, wire_schema};
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Any;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::common::TableReference;
use datafusion::common::stats::Precision;
use datafusion::prelude::SessionContext;
use futures::stream::{self, BoxStream, StreamExt};
use prost::Message;
use std::io;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

pub(super) type Answer<T> = Result<Response<T>, Status>;

/// A Flight and Flight SQL server over the tables of one session.
///
/// | descriptor | result |
/// | --- | --- |
/// | `for_command("SELECT ...")` | of the statement |
/// | `for_path("table")` | every row of the table |
/// | a Flight SQL command | of the command |
pub struct FlightServer {
    queries: Arc<Queries>,
    sql: SqlService,
}

impl FlightServer {
    /// A server over the tables of `session`; what is registered there later is served, too.
    ///
    /// # Errors
    /// Those of starting the threads that run queries.
    pub fn new(session: SessionContext) -> io::Result<Self> {
        let queries = Arc::new(Queries::new(session)?);
        let sql = SqlService::new(Arc::clone(&queries));
        Ok(Self { queries, sql })
    }

    /// A ticket for what a descriptor asks for, or `None` if it is a Flight SQL command.
    async fn statement(&self, descriptor: &FlightDescriptor) -> Result<Option<QueryTicket>, Status> {
        match descriptor.r#type() {
            DescriptorType::Cmd if is_flight_sql(&descriptor.cmd) => Ok(None),
            DescriptorType::Cmd => match std::str::from_utf8(&descriptor.cmd) {
                Ok(sql) => Ok(Some(QueryTicket::new(sql))),
                Err(_) => Err(Status::invalid_argument(
                    "the command is neither SQL text in UTF-8 nor a Flight SQL message",
                )),
            },
            DescriptorType::Path => {
                let sql = self.statement_of_path(&descriptor.path).await?;
                Ok(Some(QueryTicket::new(sql)))
            }
            DescriptorType::Unknown => {
                Err(Status::invalid_argument("the descriptor has neither a command nor a path"))
            }
        }
    }

    async fn statement_of_path(&self, path: &[String]) -> Result<String, Status> {
        let [name] = path else {
            return Err(Status::invalid_argument(format!(
                "a path names one table; this one has {} parts",
                path.len()
            )));
        };
        let tables = self.queries.tables().await?;
        let defaults = self.queries.defaults();
        match tables.iter().find(|table| path_of(table, &defaults) == *name) {
            Some(table) => Ok(select_all(&table.name)),
            None => Err(Status::not_found(format!("no table named `{name}`"))),
        }
    }
}

/// What `for_path` and `list_flights` call a table: its name, after its schema where that isn't the default.
fn path_of(table: &CatalogTable, (catalog, schema): &(String, String)) -> String {
    match &table.name {
        TableReference::Full { catalog: c, schema: s, table } if **c == **catalog && **s == **schema => {
            table.to_string()
        }
        other => other.to_string(),
    }
}

fn select_all(table: &TableReference) -> String {
    format!("SELECT * FROM {}", table.to_quoted_string())
}

/// Flight SQL commands are protobuf `Any` messages of its own types; SQL text never parses as one.
fn is_flight_sql(command: &[u8]) -> bool {
    Any::decode(command).is_ok_and(|any| any.type_url.contains("arrow.flight.protocol.sql."))
}

/// A schema as Flight SQL and `GetSchema` carry it: an encapsulated IPC message.
pub(super) fn schema_message(schema: &Schema) -> Result<IpcMessage, Status> {
    IpcMessage::try_from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()))
        .map_err(|e| Status::internal(e.to_string()))
}

/// What `GetFlightInfo` says of a result that one `ticket` fetches.
pub(super) fn info(
    schema: &Schema,
    descriptor: FlightDescriptor,
    ticket: impl Into<bytes::Bytes>,
) -> Result<FlightInfo, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new().try_with_schema(schema).map_err(|e| Status::internal(e.to_string()))?;
    Ok(info.with_endpoint(endpoint).with_descriptor(descriptor).with_ordered(true))
}

/// Runs the statement of a ticket.
pub(super) async fn redeem(
    queries: &Queries,
    ticket: &[u8],
) -> Answer<BoxStream<'static, Result<FlightData, Status>>> {
    let ticket = QueryTicket::decode(ticket).map_err(refuse)?;
    tracing::debug!(sql = ticket.sql(), "do_get");
    let results = queries.execute(&ticket).await?;
    Ok(Response::new(flight_data(results.schema, results.batches)))
}

pub(super) fn refuse(error: TicketError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl FlightService for FlightServer {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    /// There is nothing to prove here: every greeting is answered by an empty token.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        FlightService::handshake(&self.sql, request).await
    }

    /// Every table of the catalog, under the name that `for_path` takes. Criteria are not interpreted.
    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        if !request.get_ref().expression.is_empty() {
            return Err(Status::unimplemented("list_flights takes no criteria"));
        }
        let defaults = self.queries.defaults();
        let mut infos = Vec::new();
        for table in self.queries.tables().await? {
            let descriptor = FlightDescriptor::new_path(vec![path_of(&table, &defaults)]);
            let ticket = QueryTicket::new(select_all(&table.name)).encode();
            let info = info(&wire_schema(&table.provider.schema()), descriptor, ticket)?;
            let rows = table.provider.statistics().map(|statistics| statistics.num_rows);
            infos.push(Ok(match rows {
                Some(Precision::Exact(rows)) => info.with_total_records(i64::try_from(rows).unwrap_or(-1)),
                _ => info,
            }));
        }
        Ok(Response::new(stream::iter(infos).boxed()))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        match self.statement(request.get_ref()).await? {
            None => FlightService::get_flight_info(&self.sql, request).await,
            Some(ticket) => {
                let schema = self.queries.plan(&ticket).await?.schema();
                info(&schema, request.into_inner(), ticket.encode()).map(Response::new)
            }
        }
    }

    async fn poll_flight_info(&self, _request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(Status::unimplemented("queries start with DoGet and there is nothing to poll: use GetFlightInfo"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let schema = match self.statement(request.get_ref()).await? {
            Some(ticket) => self.queries.plan(&ticket).await?.schema(),
            None => {
                let info = FlightService::get_flight_info(&self.sql, request).await?.into_inner();
                return Ok(Response::new(SchemaResult { schema: info.schema }));
            }
        };
        let IpcMessage(schema) = schema_message(&schema)?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        if is_flight_sql(&request.get_ref().ticket) {
            FlightService::do_get(&self.sql, request).await
        } else {
            redeem(&self.queries, &request.get_ref().ticket).await
        }
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        FlightService::do_put(&self.sql, request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        FlightService::do_action(&self.sql, request).await
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        let actions = [
            ("CreatePreparedStatement", "Plans a statement and returns a handle that holds it."),
            ("ClosePreparedStatement", "Does nothing: a handle holds no resources here."),
        ];
        let actions = actions
            .map(|(name, what)| Ok(ActionType { r#type: name.to_string(), description: what.to_string() }));
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn do_exchange(&self, _request: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        Err(Status::unimplemented("DoExchange is not supported"))
    }
}
