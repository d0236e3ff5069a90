//! `ANALYZE TABLE t`: the statistics of all chunks of a table, computed at once.
//!
//! ```text
//! ANALYZE TABLE t [COMPUTE STATISTICS [FOR COLUMNS a, b]]  ->  SELECT * FROM analyze('t' [, 'a', 'b'])
//! ```
//! The statement is DataFusion's to parse but not to plan, so [`plan_statement`] turns it into the call of a table
//! function, which works wherever SQL does. Running it decodes what isn't known yet, on all cores, and notes it in
//! the table's variables ([`crate::dataset::Variable::stats`]), where every query of every session that shares
//! the table finds it. Its rows sum up each variable.

use super::config::MillibarConfig;
use super::external;
use super::leaf::leaf_plan;
use super::metrics::ScanMetrics;
use super::provider::TensorTable;
use crate::dataset::read::{ReadOptions, Reader};
use crate::dataset::stats::{ChunkStats, Number, Sum};
use crate::dataset::{GridTable, Variable};
use crate::reduce::{Survey, joined};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DataFusionError, Result, TableReference, internal_err, plan_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Name of the table function.
const FUNCTION: &str = "analyze";

/// Adds the table function.
pub(crate) fn register(ctx: &SessionContext) {
    ctx.register_udtf(FUNCTION, Arc::new(Analyze::default()));
}

/// The logical plan of `statement`: `ANALYZE TABLE` is planned here, all others by DataFusion.
///
/// # Errors
/// Those of DataFusion; clauses of `ANALYZE` that have no meaning for tensors.
pub async fn plan_statement(state: &SessionState, statement: Statement) -> Result<LogicalPlan> {
    match &statement {
        Statement::Statement(inner) => match &**inner {
            ast::Statement::Analyze(analyze) => state.create_logical_plan(&as_query(analyze)?).await,
            _ => state.statement_to_plan(statement).await,
        },
        _ => state.statement_to_plan(statement).await,
    }
}

/// `analyze` as a query.
fn as_query(analyze: &ast::Analyze) -> Result<String> {
    let Some(table) = &analyze.table_name else { return plan_err!("ANALYZE needs a table") };
    if analyze.partitions.is_some() || analyze.cache_metadata || analyze.noscan {
        return plan_err!("ANALYZE TABLE of a tensor table takes COMPUTE STATISTICS and FOR COLUMNS only");
    }
    let names = std::iter::once(table.to_string()).chain(analyze.columns.iter().map(ToString::to_string));
    let names: Vec<_> = names.map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    Ok(format!("SELECT * FROM {FUNCTION}({})", names.join(", ")))
}

/// `analyze('table', 'variable', ...)`.
#[derive(Debug, Default)]
struct Analyze {}

impl TableFunctionImpl for Analyze {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let names = args.exprs().iter().map(|expr| match expr {
            Expr::Literal(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name)), _) => {
                Ok(name.clone())
            }
            other => plan_err!("{FUNCTION}('table', 'variable', ...) takes names in quotes, not {other}"),
        });
        let mut names = names.collect::<Result<Vec<_>>>()?.into_iter();
        let Some(table) = names.next() else { return plan_err!("{FUNCTION} needs the name of a table") };
        let column = |name: String| Column::from_qualified_name(name).name;
        Ok(Arc::new(Analyzed { table: TableReference::from(table), variables: names.map(column).collect() }))
    }
}

/// The table that the function is, whose rows come from doing the work.
#[derive(Debug)]
struct Analyzed {
    table: TableReference,
    /// All if there are none.
    variables: Vec<String>,
}

#[async_trait]
impl TableProvider for Analyzed {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = find(session, &self.table).await?;
        let grid = table.grid();
        let mut variables = Vec::new();
        for name in &self.variables {
            match grid.variables.iter().position(|variable| variable.name == *name) {
                Some(index) => variables.push(index),
                None => return plan_err!("`{}` has no variable `{name}`", self.table),
            }
        }
        if variables.is_empty() {
            variables = (0..grid.variables.len()).collect();
        }
        let options = session.config_options();
        let reads = MillibarConfig::of(options).read_options(table.overrides());
        let threads = options.execution.target_partitions.max(1);
        Ok(Arc::new(AnalyzeChunksExec::try_new(table, variables, projection, reads, threads)?))
    }
}

/// The tensor table of this name in the catalog. A path isn't one: what is learnt would be lost with the query.
async fn find(session: &dyn Session, name: &TableReference) -> Result<TensorTable> {
    let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
        return internal_err!("{FUNCTION} needs the session of a query");
    };
    let options = &state.config_options().catalog;
    let full = name.clone().resolve(&options.default_catalog, &options.default_schema);
    let schema = state.catalog_list().catalog(&full.catalog).and_then(|catalog| catalog.schema(&full.schema));
    let schema = schema.filter(|schema| schema.table_names().iter().any(|known| **known == *full.table));
    let provider = match schema {
        Some(schema) => schema.table(&full.table).await?,
        None => None,
    };
    let Some(provider) = provider else { return plan_err!("no table named `{name}`") };
    match provider.downcast_ref::<TensorTable>() {
        Some(table) => Ok(table.clone()),
        None => plan_err!("`{name}` is not a tensor table"),
    }
}

/// One row for each variable.
fn schema() -> SchemaRef {
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("variable", DataType::Utf8, false),
        count("chunks"),
        count("cells"),
        count("missing"),
        number("min"),
        number("max"),
        number("mean"),
        number("std"),
    ]))
}

/// Computes the statistics of the chunks of some variables that aren't known yet, then yields a row for each
/// variable.
#[derive(Debug)]
struct AnalyzeChunksExec {
    table: TensorTable,
    variables: Vec<usize>,
    projection: Vec<usize>,
    reads: ReadOptions,
    threads: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AnalyzeChunksExec {
    fn try_new(
        table: TensorTable,
        variables: Vec<usize>,
        projection: Option<&Vec<usize>>,
        reads: ReadOptions,
        threads: usize,
    ) -> Result<Self> {
        let all = || (0..schema().fields().len()).collect();
        let projection: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema().project(&projection)?)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { table, variables, projection, reads, threads, properties: Arc::new(properties), metrics })
    }

    /// Bytes of the largest chunk, decoded.
    fn chunk_bytes(&self) -> usize {
        let bytes = |&index: &usize| {
            let variable = &self.table.grid().variables[index];
            let width = variable.dtype.width().unwrap_or(1) as u64;
            variable.grid.chunk_shape().iter().fold(width, |bytes, &len| bytes.saturating_mul(len))
        };
        usize::try_from(self.variables.iter().map(bytes).max().unwrap_or(0)).unwrap_or(usize::MAX)
    }
}

impl DisplayAs for AnalyzeChunksExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grid = self.table.grid();
        let names: Vec<_> = self.variables.iter().map(|&index| grid.variables[index].name.as_str()).collect();
        write!(f, "AnalyzeChunksExec: table={}, variables=[{}]", self.table.name(), names.join(", "))
    }
}

impl ExecutionPlan for AnalyzeChunksExec {
    leaf_plan!("AnalyzeChunksExec");

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return internal_err!("AnalyzeChunksExec has one partition, not {partition}");
        }
        let memory = MemoryConsumer::new("AnalyzeChunksExec").register(context.memory_pool());
        memory.try_grow(self.threads.saturating_mul(self.chunk_bytes()))?;
        let survey = Arc::new(Survey::new(Arc::clone(self.table.grid()), self.variables.clone()));
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema(), 1);
        let send = stream.tx();
        let mut workers = JoinSet::new();
        for thread in 0..self.threads {
            let (survey, send, reads) = (Arc::clone(&survey), send.clone(), self.reads);
            let metrics = ScanMetrics::new(&self.metrics, thread);
            workers.spawn_blocking(move || {
                let (start, mut reader) = (Instant::now(), Reader::new(reads));
                let decoded = survey.work(&mut reader, &|| send.is_closed());
                metrics.take(reader.stats_mut(), start.elapsed());
                decoded
            });
        }
        let (grid, variables) = (Arc::clone(self.table.grid()), self.variables.clone());
        let projection = self.projection.clone();
        stream.spawn(async move {
            let _held = memory;
            while let Some(done) = workers.join_next().await {
                done.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))?.map_err(external)?;
            }
            let batch = summary(&grid, &variables)?.project(&projection)?;
            // Nobody listening is as good an end as any.
            let _ = send.send(Ok(batch)).await;
            Ok(())
        });
        Ok(stream.build())
    }
}

/// What is known of each of `variables` now. One that can't be reduced has no numbers.
fn summary(grid: &GridTable, variables: &[usize]) -> Result<RecordBatch> {
    let variables: Vec<&Variable> = variables.iter().map(|&index| &grid.variables[index]).collect();
    let all: Vec<Option<ChunkStats>> = variables.iter().map(|variable| known(variable)).collect();
    let number = |value: &dyn Fn(&ChunkStats) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(all.iter().map(|stats| stats.as_ref().and_then(value))))
    };
    let count = |values: &mut dyn Iterator<Item = u64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values.map(|count| count as i64)))
    };
    let valid = |stats: &Option<ChunkStats>| stats.map_or(0, |stats| stats.valid);
    let missing = variables.iter().zip(&all).map(|(variable, stats)| variable.grid.cells() - valid(stats));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(variables.iter().map(|variable| &variable.name))),
        count(&mut variables.iter().map(|variable| variable.grid.chunks())),
        count(&mut variables.iter().map(|variable| variable.grid.cells())),
        count(&mut missing.into_iter()),
        number(&|stats| stats.bounds.map(|(min, _)| to_f64(min))),
        number(&|stats| stats.bounds.map(|(_, max)| to_f64(max))),
        number(&|stats| (stats.valid > 0).then(|| mean(stats))),
        number(&|stats| (stats.valid > 0).then(|| (stats.m2 / stats.valid as f64).sqrt())),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// The statistics of all cells of `variable` that aren't in holes, as far as chunks are known.
fn known(variable: &Variable) -> Option<ChunkStats> {
    joined(variable.dtype, (0..variable.stats.chunks()).filter_map(|chunk| variable.stats.get(chunk)))
}

fn mean(stats: &ChunkStats) -> f64 {
    let sum = match stats.sum {
        Sum::Float { near, rest } if near.is_finite() => near + rest,
        Sum::Float { near, .. } => near,
        Sum::Int(sum) => sum as f64,
    };
    sum / stats.valid as f64
}

fn to_f64(number: Number) -> f64 {
    match number {
        Number::Float(value) => value,
        Number::Int(value) => value as f64,
        Number::UInt(value) => value as f64,
    }
}
