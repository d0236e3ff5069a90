//! Flight SQL, as far as a read-only server has it: statements, prepared statements and the catalog.

use super::query::Queries;
use super::service::{Answer, FlightServer, info, redeem, refuse, schema_message};
use super::ticket::QueryTicket;
use super::wire::{flight_data, wire_schema};
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
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::TableType;
use futures::stream::{self, Stream, StreamExt};
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

    /// The schema of a statement's result. Parameters would have to be bound first, and can't be.
    async fn schema(&self, sql: &str) -> Result<SchemaRef, Status> {
        let parameters = self.queries.logical_plan(sql).await?.get_parameter_names();
        let parameters = parameters.map_err(|e| super::status_of(&e))?;
        if parameters.is_empty() {
            Ok(self.queries.plan(sql).await?.schema())
        } else {
            Err(Status::unimplemented(
                "statements with parameters are not supported: write the values into the SQL",
            ))
        }
    }

    async fn info(&self, sql: &str, descriptor: FlightDescriptor, ticket: Any) -> Answer<FlightInfo> {
        let schema = self.schema(sql).await?;
        info(&schema, descriptor, ticket.encode_to_vec()).map(Response::new)
    }
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
        let statement_handle = QueryTicket::new(query.query.as_str()).encode().into();
        let ticket = TicketStatementQuery { statement_handle };
        self.info(&query.query, request.into_inner(), ticket.as_any()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Answer<DoGet> {
        redeem(&self.queries, &ticket.statement_handle).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let IpcMessage(dataset_schema) = schema_message(self.schema(&query.query).await?.as_ref())?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: QueryTicket::new(query.query).encode().into(),
            dataset_schema,
            parameter_schema: Default::default(),
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
        self.info(statement.sql(), request.into_inner(), query.as_any()).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _request: Request<Ticket>,
    ) -> Answer<DoGet> {
        redeem(&self.queries, &query.prepared_statement_handle).await
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

    async fn do_put_prepared_statement_query(
        &self,
        _query: CommandPreparedStatementQuery,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        Err(Status::unimplemented(
            "statements with parameters are not supported: write the values into the SQL",
        ))
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
