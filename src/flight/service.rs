//! The Flight service: SQL text and table names as descriptors; Flight SQL commands go to [`SqlService`].

use super::grpc::{Frames, lent, whole};
use super::query::{CatalogTable, Queries};
use super::slab::{self, Positions, Slab, SlabRequest};
use super::sql::SqlService;
use super::ticket::{QueryTicket, TensorTicket, Ticket, TicketError};
use super::wire::{flight_data, wire_schema};
use crate::dataset::read::ReadOptions;
use crate::engine::TensorTable;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Any;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc, SchemaResult,
    Ticket as FlightTicket,
};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
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

/// Positions up to which a ticket is looked at without going to another thread for it.
const FEW: u64 = 1 << 16;

/// A Flight and Flight SQL server over the tables of one session.
///
/// | descriptor | result |
/// | --- | --- |
/// | `for_command("SELECT ...")` | of the statement |
/// | `for_path("table")` | the labels of a table of tensors, and what its variables are; every row of other tables |
/// | `for_path("table", "variable")`, `for_command` of a slab request | cells as tensors, an endpoint for each block |
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

    /// What a descriptor asks for.
    async fn wanted(&self, descriptor: &FlightDescriptor) -> Result<Wanted, Status> {
        let command = &descriptor.cmd;
        match descriptor.r#type() {
            DescriptorType::Cmd if is_flight_sql(command) => Ok(Wanted::FlightSql),
            DescriptorType::Cmd if SlabRequest::is_one(command) => {
                let request = SlabRequest::parse(command)?;
                let table = self.tensor_table(&request.table).await?;
                Ok(Wanted::Slab(table, request))
            }
            DescriptorType::Cmd => match std::str::from_utf8(command) {
                Ok(sql) => Ok(Wanted::Rows(QueryTicket::new(sql))),
                Err(_) => Err(Status::invalid_argument(
                    "the command is neither SQL text in UTF-8, nor a slab request, nor a Flight SQL message",
                )),
            },
            DescriptorType::Path => match descriptor.path.as_slice() {
                [name] => match self.table(name).await? {
                    (_, Some(tensors)) => Ok(Wanted::Coords(tensors, name.clone())),
                    (table, None) => Ok(Wanted::Rows(QueryTicket::new(select_all(&table)))),
                },
                [name, variable] => {
                    Ok(Wanted::Slab(self.tensor_table(name).await?, SlabRequest::all(name, variable)))
                }
                path => {
                    let parts = path.len();
                    let what =
                        format!("a path is a table, or a table and a variable; this one has {parts} parts");
                    Err(Status::invalid_argument(what))
                }
            },
            DescriptorType::Unknown => {
                Err(Status::invalid_argument("the descriptor has neither a command nor a path"))
            }
        }
    }

    /// The table that `for_path` calls `name`, and its tensors if it has any.
    async fn table(&self, name: &str) -> Result<(TableReference, Option<TensorTable>), Status> {
        let found = match self.queries.table(name).await? {
            Some(table) => Some(table),
            None => {
                let (tables, defaults) = (self.queries.tables().await?, self.queries.defaults());
                tables.into_iter().find(|table| path_of(table, &defaults) == name)
            }
        };
        let table = found.ok_or_else(|| Status::not_found(format!("no table named `{name}`")))?;
        let tensors = table.provider.downcast_ref::<TensorTable>().cloned();
        Ok((table.name, tensors))
    }

    async fn tensor_table(&self, name: &str) -> Result<TensorTable, Status> {
        let what =
            || Status::invalid_argument(format!("table `{name}` is not one of tensors: it has rows only"));
        self.table(name).await?.1.ok_or_else(what)
    }

    /// How cells of a table are read.
    fn read_options(&self, table: &TensorTable) -> ReadOptions {
        self.queries.readers().config.read_options(table.overrides())
    }

    fn coords_schema(&self, table: &TensorTable, name: &str) -> SchemaRef {
        let nan_as_null = self.read_options(table).nan_as_missing;
        slab::coords_schema(table.grid(), name, table.attributes(), nan_as_null)
    }

    /// What `GetFlightInfo` says of a descriptor; `None` for Flight SQL.
    async fn describe(&self, descriptor: FlightDescriptor) -> Result<Option<FlightInfo>, Status> {
        match self.wanted(&descriptor).await? {
            Wanted::FlightSql => Ok(None),
            Wanted::Rows(ticket) => {
                let schema = self.queries.plan(&ticket).await?.schema();
                info(&schema, descriptor, ticket.encode()).map(Some)
            }
            Wanted::Coords(table, name) => {
                let ticket = slab::coords_ticket(table.grid(), &name).encode();
                info(&self.coords_schema(&table, &name), descriptor, ticket).map(Some)
            }
            Wanted::Slab(table, request) => {
                let work = async move { slab::info(table.grid(), &request, descriptor) };
                self.queries.run(work).await.map(Some)
            }
        }
    }

    /// What the ticket of a `DoGet` stands for, as it goes to the connection.
    ///
    /// # Errors
    /// Those of tickets and of planning.
    pub(super) async fn frames(&self, ticket: FlightTicket) -> Result<Frames, Status> {
        if is_flight_sql(&ticket.ticket) {
            return Ok(lent(FlightService::do_get(&self.sql, Request::new(ticket)).await?.into_inner()));
        }
        let ticket = if SlabRequest::is_one(&ticket.ticket) {
            let request = SlabRequest::parse(&ticket.ticket)?;
            let table = self.tensor_table(&request.table).await?;
            let ticket = self.queries.run(async move { slab::ticket_of(table.grid(), &request) }).await?;
            Ticket::Tensor(TensorTicket::Slab(ticket))
        } else {
            Ticket::decode(&ticket.ticket).map_err(refuse)?
        };
        match ticket {
            Ticket::Query(ticket) => Ok(lent(redeem(&self.queries, &ticket).await?.into_inner())),
            Ticket::Tensor(ticket) => self.tensors(ticket).await,
        }
    }

    /// The same of tensors.
    async fn tensors(&self, ticket: TensorTicket) -> Result<Frames, Status> {
        match ticket {
            TensorTicket::Coords { table: name, identity } => {
                let table = self.tensor_table(&name).await?;
                slab::check_coords(table.grid(), &name, identity)?;
                let schema = self.coords_schema(&table, &name);
                let batch =
                    slab::coords(table.grid(), &schema).map_err(|e| Status::internal(e.to_string()))?;
                Ok(lent(flight_data(schema, stream::iter([Ok(batch)]))))
            }
            TensorTicket::Slab(ticket) => {
                let table = self.tensor_table(&ticket.table).await?;
                let options = self.read_options(&table);
                let positions = ticket.dims.iter().map(Positions::len).fold(0, u64::saturating_add);
                let slab = match positions <= FEW {
                    true => Slab::of_ticket(table.grid(), &ticket)?,
                    false => self.queries.run(async move { Slab::of_ticket(table.grid(), &ticket) }).await?,
                };
                Ok(slab::send(slab, options, self.queries.readers()))
            }
        }
    }
}

/// What a descriptor asks for.
enum Wanted {
    /// The result of a statement.
    Rows(QueryTicket),
    /// The labels of a table that goes by this name, and what it is.
    Coords(TensorTable, String),
    /// Cells of a variable of this table.
    Slab(TensorTable, SlabRequest),
    /// Whatever Flight SQL makes of it.
    FlightSql,
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
    let endpoint = FlightEndpoint::new().with_ticket(FlightTicket::new(ticket));
    let info = FlightInfo::new().try_with_schema(schema).map_err(|e| Status::internal(e.to_string()))?;
    Ok(info.with_endpoint(endpoint).with_descriptor(descriptor).with_ordered(true))
}

/// Runs the statement of a ticket.
pub(super) async fn redeem(
    queries: &Queries,
    ticket: &QueryTicket,
) -> Answer<BoxStream<'static, Result<FlightData, Status>>> {
    tracing::debug!(sql = ticket.sql(), "do_get");
    let results = queries.execute(ticket).await?;
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
            let name = path_of(&table, &defaults);
            let descriptor = FlightDescriptor::new_path(vec![name.clone()]);
            if let Some(tensors) = table.provider.downcast_ref::<TensorTable>() {
                let ticket = slab::coords_ticket(tensors.grid(), &name).encode();
                infos.push(info(&self.coords_schema(tensors, &name), descriptor, ticket));
                continue;
            }
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
        match self.describe(request.get_ref().clone()).await? {
            Some(info) => Ok(Response::new(info)),
            None => FlightService::get_flight_info(&self.sql, request).await,
        }
    }

    async fn poll_flight_info(&self, _request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(Status::unimplemented("queries start with DoGet and there is nothing to poll: use GetFlightInfo"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<FlightTicket>) -> Answer<Self::DoGetStream> {
        Ok(Response::new(whole(self.frames(request.into_inner()).await?)))
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
