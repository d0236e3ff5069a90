//! Flight SQL, as far as a read-only server has it: statements, prepared statements and the catalog.

use super::parameters;
use super::query::Queries;
use super::service::{Answer, FlightServer, info, redeem, refuse, schema_message};
use super::status::status_of;
use super::ticket::QueryTicket;
use super::wire::{flight_data, wire_schema};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult,
    ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage,
    PutResult, Ticket,
};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::TableType;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use prost::Message;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use tonic::{Request, Response, Status, Streaming};

type DoGet = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

const READ_ONLY: &str = "this server is read-only: statements over Flight can only read";

/// The Flight SQL side of a server. Handles of prepared statements are tickets: they hold the statement.
#[derive(Clone)]
pub(super) struct SqlService {
    queries: Arc<Queries>,
}

impl SqlService {
    pub(super) fn new(queries: Arc<Queries>) -> Self {
        Self { queries }
    }

    async fn info(
        &self,
        statement: &QueryTicket,
        descriptor: FlightDescriptor,
        ticket: Any,
    ) -> Answer<FlightInfo> {
        let schema = self.queries.plan(statement).await?.schema();
        info(&schema, descriptor, ticket.encode_to_vec()).map(Response::new)
    }

    /// The schemas of a statement's result and of its parameters. Without their values the result can't be planned to
    /// the end, and its schema is what is known before.
    async fn schemas(&self, statement: &QueryTicket) -> Result<(SchemaRef, Schema), Status> {
        let logical = self.queries.logical_plan(statement).await?;
        let wanted = parameters::schema(&logical).map_err(|e| status_of(&e))?;
        if wanted.fields().is_empty() {
            Ok((self.queries.plan(statement).await?.schema(), wanted))
        } else {
            Ok((wire_schema(logical.schema().as_arrow()), wanted))
        }
    }
}

/// The one row that a client binds to a statement.
async fn bound_row(stream: PeekableFlightDataStream) -> Result<RecordBatch, Status> {
    let stream = stream.map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(stream);
    let mut row = None;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|e| Status::invalid_argument(e.to_string()))?;
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || row.replace(batch).is_some() {
            return Err(Status::unimplemented(
                "parameters are one row of values: run the statement once for each",
            ));
        }
    }
    row.ok_or_else(|| Status::invalid_argument("there is no row of parameters"))
}

/// What `GetFlightInfo` says of a metadata command: the command is its own ticket.
fn info_of_command(
    schema: &SchemaRef,
    command: &impl ProstMessageExt,
    request: Request<FlightDescriptor>,
) -> Answer<FlightInfo> {
    info(schema, request.into_inner(), command.as_any().encode_to_vec()).map(Response::new)
}

/// One batch as a result.
fn one_batch(batch: Result<RecordBatch, impl std::fmt::Display>) -> Answer<DoGet> {
    let batch = batch.map_err(|e| Status::internal(e.to_string()))?;
    Ok(Response::new(flight_data(batch.schema(), stream::iter([Ok(batch)]))))
}

/// What clients may ask about the server.
static SQL_INFO: LazyLock<Result<SqlInfoData, FlightError>> = LazyLock::new(|| {
    let mut about = SqlInfoDataBuilder::new();
    about.append(SqlInfo::FlightSqlServerName, "Millibar");
    about.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    about.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    about.append(SqlInfo::FlightSqlServerReadOnly, true);
    about.append(SqlInfo::FlightSqlServerSql, true);
    about.append(SqlInfo::FlightSqlServerSubstrait, false);
    about.append(SqlInfo::FlightSqlServerTransaction, 0i32);
    about.append(SqlInfo::FlightSqlServerCancel, false);
    about.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    about.append(SqlInfo::SqlDdlCatalog, false);
    about.append(SqlInfo::SqlDdlSchema, false);
    about.append(SqlInfo::SqlDdlTable, false);
    about.build()
});

fn sql_info() -> Result<&'static SqlInfoData, Status> {
    SQL_INFO.as_ref().map_err(|e| Status::internal(e.to_string()))
}

fn type_name(table_type: TableType) -> &'static str {
    match table_type {
        TableType::Base => "TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    }
}

#[tonic::async_trait]
impl FlightSqlService for SqlService {
    type FlightService = FlightServer;

    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>> {
        Ok(Response::new(stream::iter([Ok(HandshakeResponse::default())]).boxed()))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let statement = QueryTicket::new(query.query);
        let ticket = TicketStatementQuery { statement_handle: statement.encode().into() };
        self.info(&statement, request.into_inner(), ticket.as_any()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Answer<DoGet> {
        let ticket = QueryTicket::decode(&ticket.statement_handle).map_err(refuse)?;
        redeem(&self.queries, &ticket).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let statement = QueryTicket::new(query.query);
        let (results, parameters) = self.schemas(&statement).await?;
        let IpcMessage(dataset_schema) = schema_message(&results)?;
        let IpcMessage(parameter_schema) = schema_message(&parameters)?;
        let prepared_statement_handle = statement.encode().into();
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle,
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let statement = QueryTicket::decode(&query.prepared_statement_handle).map_err(refuse)?;
        self.info(&statement, request.into_inner(), query.as_any()).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _request: Request<Ticket>,
    ) -> Answer<DoGet> {
        let ticket = QueryTicket::decode(&query.prepared_statement_handle).map_err(refuse)?;
        redeem(&self.queries, &ticket).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info_of_command(&query.into_builder().schema(), &query, request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _request: Request<Ticket>) -> Answer<DoGet> {
        let mut found = query.into_builder();
        let mut names: Vec<_> = self.queries.schemas().into_iter().map(|(catalog, _)| catalog).collect();
        names.dedup();
        names.into_iter().for_each(|catalog| found.append(catalog));
        one_batch(found.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info_of_command(&query.clone().into_builder().schema(), &query, request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, _request: Request<Ticket>) -> Answer<DoGet> {
        let mut found = query.into_builder();
        for (catalog, schema) in self.queries.schemas() {
            found.append(catalog, schema);
        }
        one_batch(found.build())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info_of_command(&query.clone().into_builder().schema(), &query, request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, _request: Request<Ticket>) -> Answer<DoGet> {
        let mut found = query.into_builder();
        for table in self.queries.tables().await? {
            let (catalog, schema) = (table.name.catalog().unwrap_or(""), table.name.schema().unwrap_or(""));
            let kind = type_name(table.provider.table_type());
            let columns = wire_schema(&table.provider.schema());
            found
                .append(catalog, schema, table.name.table(), kind, &columns)
                .map_err(|e| Status::internal(e.to_string()))?;
        }
        one_batch(found.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info_of_command(&query.into_builder().schema(), &query, request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Answer<DoGet> {
        let mut found = query.into_builder();
        for kind in [TableType::Base, TableType::View, TableType::Temporary] {
            found.append(type_name(kind));
        }
        one_batch(found.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info_of_command(&sql_info()?.schema(), &query, request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> Answer<DoGet> {
        one_batch(query.into_builder(sql_info()?).build())
    }

    async fn do_put_statement_update(
        &self,
        _query: CommandStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(READ_ONLY))
    }

    async fn do_put_statement_ingest(
        &self,
        _query: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(READ_ONLY))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(READ_ONLY))
    }

    /// Binds parameters: the handle that comes back holds them.
    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let statement = QueryTicket::decode(&query.prepared_statement_handle).map_err(refuse)?;
        let row = bound_row(request.into_inner()).await?;
        let row = parameters::encode(&row).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let handle = statement.with_parameters(row).encode().into();
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_fallback(
        &self,
        _request: Request<PeekableFlightDataStream>,
        _message: Any,
    ) -> Answer<Pin<Box<dyn Stream<Item = Result<PutResult, Status>> + Send>>> {
        Err(Status::unimplemented(READ_ONLY))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
