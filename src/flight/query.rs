//! Running statements for remote clients: read-only, each in a session of its own, on threads of their own.

use super::parameters;
use super::status::status_of;
use super::ticket::QueryTicket;
use super::wire::wire_schema;
use crate::engine::MillibarConfig;
use crate::engine::analyze::plan_statement;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProviderList, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use futures::stream::{self, BoxStream, StreamExt};
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

/// Batches that wait for a slow client; a query pauses when there are this many.
const BATCHES_AHEAD: usize = 2;
const INFORMATION_SCHEMA: &str = "information_schema";
const ONLY_READ: &str =
    "statements over Flight can only read: this one would change the catalog, data or settings";

/// The shared catalog, and where its queries run.
pub(super) struct Queries {
    shared: SessionContext,
    threads: QueryThreads,
}

/// A statement that is ready to run, in the session that planned it.
pub(super) struct Planned {
    session: SessionContext,
    plan: Arc<dyn ExecutionPlan>,
}

/// Where slabs are read, and how.
pub(super) struct Readers {
    pub(super) config: MillibarConfig,
    pub(super) memory: Arc<dyn MemoryPool>,
    /// That one request may keep busy.
    pub(super) threads: NonZero<usize>,
    /// Runs blocking work.
    pub(super) handle: Handle,
}

/// A table of the catalog.
pub(super) struct CatalogTable {
    /// Catalog, schema and table.
    pub(super) name: TableReference,
    pub(super) provider: Arc<dyn TableProvider>,
}

/// The result of a statement: its wire schema, and batches as they are produced.
pub(super) struct Results {
    pub(super) schema: SchemaRef,
    pub(super) batches: BoxStream<'static, Result<RecordBatch, Status>>,
}

impl Planned {
    /// The schema in which the result travels.
    pub(super) fn schema(&self) -> SchemaRef {
        wire_schema(&self.plan.schema())
    }
}

impl Queries {
    /// Queries over the tables of `shared`, on as many threads as it has target partitions.
    pub(super) fn new(shared: SessionContext) -> io::Result<Self> {
        let threads = QueryThreads::new(shared.state().config().target_partitions())?;
        Ok(Self { shared, threads })
    }

    /// A session over the shared catalog whose settings are its own.
    fn session(&self) -> SessionContext {
        let state = SessionStateBuilder::new_from_existing(self.shared.state()).build();
        SessionContext::new_with_state(state)
    }

    /// The logical plan of one read-only statement over the tables of the catalog.
    pub(super) async fn logical_plan(&self, ticket: &QueryTicket) -> Result<LogicalPlan, Status> {
        let (session, ticket) = (self.session(), ticket.clone());
        self.threads.run(async move { logical_plan(&session.state(), &ticket).await }).await
    }

    /// Plans one statement.
    pub(super) async fn plan(&self, ticket: &QueryTicket) -> Result<Planned, Status> {
        let (session, ticket) = (self.session(), ticket.clone());
        self.threads
            .run(async move {
                let state = session.state();
                let logical = logical_plan(&state, &ticket).await?;
                let plan = state.create_physical_plan(&logical).await.map_err(|e| status_of(&e))?;
                Ok(Planned { session, plan })
            })
            .await
    }

    /// Plans one statement and starts it. Dropping the stream stops the query.
    pub(super) async fn execute(&self, ticket: &QueryTicket) -> Result<Results, Status> {
        let planned = self.plan(ticket).await?;
        let schema = planned.schema();
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = StopOnDrop(self.threads.handle.spawn(drive(planned, sender)));
        let batches = stream::unfold(Some((task, receiver)), next_batch).boxed();
        Ok(Results { schema, batches })
    }

    /// Runs `work` on the threads of queries; dropping the future stops it where it waits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        self.threads.run(work).await
    }

    /// Where slabs are read: settings and memory of the shared session, on threads beside those of queries.
    pub(super) fn readers(&self) -> Readers {
        let state = self.shared.state_ref();
        let state = state.read();
        Readers {
            config: MillibarConfig::of(state.config_options()),
            memory: Arc::clone(&self.shared.runtime_env().memory_pool),
            threads: NonZero::new(state.config().target_partitions()).unwrap_or(NonZero::<usize>::MIN),
            handle: self.threads.handle.clone(),
        }
    }

    /// The catalogs. (`state()` would copy all of a session, which takes longer than to read a small slab.)
    fn catalogs(&self) -> Arc<dyn CatalogProviderList> {
        Arc::clone(self.shared.state_ref().read().catalog_list())
    }

    /// Every table of the catalog, in order of its name.
    pub(super) async fn tables(&self) -> Result<Vec<CatalogTable>, Status> {
        let mut tables = Vec::new();
        let catalogs = self.catalogs();
        for catalog_name in catalogs.catalog_names() {
            let Some(catalog) = catalogs.catalog(&catalog_name) else { continue };
            for schema_name in catalog.schema_names() {
                let Some(schema) = catalog.schema(&schema_name) else { continue };
                if schema_name == INFORMATION_SCHEMA {
                    continue;
                }
                for table in schema.table_names() {
                    let found = schema.table(&table).await.map_err(|e| status_of(&e))?;
                    let name = TableReference::full(catalog_name.as_str(), schema_name.as_str(), table);
                    tables.extend(found.map(|provider| CatalogTable { name, provider }));
                }
            }
        }
        tables.sort_by_key(|table| table.name.to_string());
        Ok(tables)
    }

    /// The table of the default schema that is called `name`.
    pub(super) async fn table(&self, name: &str) -> Result<Option<CatalogTable>, Status> {
        let (catalog, schema) = self.defaults();
        let catalogs = self.catalogs();
        let tables = catalogs.catalog(&catalog).and_then(|catalog| catalog.schema(&schema));
        // The catalog would also open files by their path; see `check_table`.
        let Some(tables) = tables.filter(|tables| tables.table_names().iter().any(|known| known == name))
        else {
            return Ok(None);
        };
        let found = tables.table(name).await.map_err(|e| status_of(&e))?;
        let name = TableReference::full(catalog, schema, name);
        Ok(found.map(|provider| CatalogTable { name, provider }))
    }

    /// Names of catalogs and their schemas, in order.
    pub(super) fn schemas(&self) -> Vec<(String, String)> {
        let catalogs = self.catalogs();
        let mut names: Vec<_> = catalogs
            .catalog_names()
            .into_iter()
            .filter_map(|name| catalogs.catalog(&name).map(|catalog| (name, catalog.schema_names())))
            .flat_map(|(catalog, schemas)| schemas.into_iter().map(move |schema| (catalog.clone(), schema)))
            .collect();
        names.sort();
        names
    }

    /// Catalog and schema of a bare table name.
    pub(super) fn defaults(&self) -> (String, String) {
        let state = self.shared.state_ref();
        let state = state.read();
        let catalog = &state.config_options().catalog;
        (catalog.default_catalog.clone(), catalog.default_schema.clone())
    }
}

/// Parses and plans one statement, and refuses what isn't a plain read of the catalog's tables.
async fn logical_plan(state: &SessionState, ticket: &QueryTicket) -> Result<LogicalPlan, Status> {
    let engine = |e: DataFusionError| status_of(&e);
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(ticket.sql(), &dialect).map_err(engine)?;
    if !is_query(&statement) {
        return Err(Status::permission_denied(ONLY_READ));
    }
    for table in state.resolve_table_references(&statement).map_err(engine)? {
        check_table(state, table)?;
    }
    let plan = plan_statement(state, statement).await.map_err(engine)?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    // Some queries write, too: SELECT ... INTO.
    read_only.verify_plan(&plan).map_err(|_| Status::permission_denied(ONLY_READ))?;
    match ticket.parameters() {
        Some(row) => {
            parameters::decode(row).and_then(|values| plan.with_param_values(values)).map_err(engine)
        }
        None => Ok(plan),
    }
}

/// Whether a statement asks and doesn't tell. `ANALYZE` tells nothing but what is in the data.
fn is_query(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => is_sql_query(statement),
        Statement::Explain(explain) => is_query(&explain.statement),
        _ => false,
    }
}

fn is_sql_query(statement: &ast::Statement) -> bool {
    match statement {
        ast::Statement::Explain { statement, .. } => is_sql_query(statement),
        ast::Statement::Query(_)
        | ast::Statement::Analyze(_)
        | ast::Statement::ExplainTable { .. }
        | ast::Statement::ShowColumns { .. }
        | ast::Statement::ShowCreate { .. }
        | ast::Statement::ShowFunctions { .. }
        | ast::Statement::ShowTables { .. }
        | ast::Statement::ShowVariable { .. }
        | ast::Statement::ShowVariables { .. } => true,
        _ => false,
    }
}

/// A table must be in the catalog, or be a call of a table function. The session itself would also open files by
/// their path: a remote client must not read whatever file the server can.
fn check_table(state: &SessionState, table: TableReference) -> Result<(), Status> {
    if matches!(table, TableReference::Bare { .. }) && state.table_functions().contains_key(table.table()) {
        return Ok(());
    }
    let options = &state.config_options().catalog;
    let name = table.resolve(&options.default_catalog, &options.default_schema);
    let known = *name.schema == *INFORMATION_SCHEMA
        || state
            .catalog_list()
            .catalog(&name.catalog)
            .and_then(|catalog| catalog.schema(&name.schema))
            .is_some_and(|schema| schema.table_names().iter().any(|known| **known == *name.table));
    if known { Ok(()) } else { Err(Status::not_found(format!("no table named `{}`", name.table))) }
}

/// Runs a planned statement to its end, its first error, or until nobody listens.
async fn drive(planned: Planned, sender: mpsc::Sender<Result<RecordBatch, Status>>) {
    let mut batches = match execute_stream(planned.plan, planned.session.task_ctx()) {
        Ok(batches) => batches,
        Err(e) => {
            // Nobody listening is as good an end as any.
            let _ = sender.send(Err(status_of(&e))).await;
            return;
        }
    };
    while let Some(batch) = batches.next().await {
        let failed = batch.is_err();
        if sender.send(batch.map_err(|e| status_of(&e))).await.is_err() || failed {
            return;
        }
    }
}

type Running = (StopOnDrop<()>, mpsc::Receiver<Result<RecordBatch, Status>>);

/// The next batch of a running query. A query that died without a word must not look like one that ended.
async fn next_batch(running: Option<Running>) -> Option<(Result<RecordBatch, Status>, Option<Running>)> {
    let (mut task, mut receiver) = running?;
    match receiver.recv().await {
        Some(Ok(batch)) => Some((Ok(batch), Some((task, receiver)))),
        Some(Err(status)) => Some((Err(status), None)),
        None => match (&mut task.0).await {
            Ok(()) => None,
            Err(e) => Some((Err(broken_off(&e)), None)),
        },
    }
}

pub(super) fn broken_off(error: &tokio::task::JoinError) -> Status {
    if error.is_panic() {
        Status::internal("the query failed in an unexpected way; the server's log says more")
    } else {
        Status::unavailable("the server is stopping")
    }
}

/// A task that ends with whoever waits for it.
struct StopOnDrop<T>(JoinHandle<T>);

impl<T> Drop for StopOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Threads for planning, decoding and reducing, apart from those that serve the network.
struct QueryThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl QueryThreads {
    fn new(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("millibar-query")
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs `work` there; dropping the returned future stops it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let mut task = StopOnDrop(self.handle.spawn(work));
        (&mut task.0).await.unwrap_or_else(|e| Err(broken_off(&e)))
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        // A runtime can't be waited for from within another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
