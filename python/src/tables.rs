//! Tables that aren't tensors, for joins: files of DataFusion's formats, and what Python holds.

use super::capsule;
use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Result, project_schema};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{CreateExternalTable, Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::SessionContext;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Files of a format of DataFusion.
///
/// # Errors
/// Those of DataFusion; formats that it doesn't know.
pub(crate) async fn files(
    context: &SessionContext,
    name: &str,
    format: &str,
    locations: Vec<String>,
    options: HashMap<String, String>,
) -> Result<Arc<dyn TableProvider>> {
    let factory = context.table_factory(format);
    let factory = factory.ok_or_else(|| DataFusionError::Plan(format!("there is no format `{format}`")))?;
    let prefixed = |key: String| if key.contains('.') { key } else { format!("format.{key}") };
    let options = options.into_iter().map(|(key, value)| (prefixed(key), value)).collect();
    let command = CreateExternalTable::builder(name, String::new(), format, Arc::new(DFSchema::empty()))
        .with_locations(locations)
        .with_options(options)
        .build();
    factory.create(&context.state(), &command).await
}

/// The batches of an object with `__arrow_c_stream__`, shared with whoever made them.
pub(crate) fn memory(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<Arc<dyn TableProvider>> {
    let reader = capsule::import_stream(object)?;
    let schema = reader.schema();
    let batches: Vec<RecordBatch> =
        py.detach(|| reader.collect::<Result<_, _>>()).map_err(capsule::broken)?;
    let table = MemTable::try_new(schema, vec![batches]);
    Ok(Arc::new(table.map_err(|e| super::error::raise(py, &e))?))
}

/// A table whose rows `scan(columns)` gives, anew for each scan.
pub(crate) fn scanned(schema: &Bound<'_, PyAny>, scan: Py<PyAny>) -> PyResult<Arc<dyn TableProvider>> {
    Ok(Arc::new(Scanned { schema: capsule::import_schema(schema)?, scan: Arc::new(scan) }))
}

/// See [`scanned`].
struct Scanned {
    schema: SchemaRef,
    scan: Arc<Py<PyAny>>,
}

impl fmt::Debug for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scanned")
    }
}

#[async_trait]
impl TableProvider for Scanned {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.schema, projection)?;
        let part = Part { schema: Arc::clone(&schema), scan: Arc::clone(&self.scan) };
        let parts: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(part)];
        Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, None, false, limit)?))
    }
}

/// The columns of one scan.
struct Part {
    schema: SchemaRef,
    scan: Arc<Py<PyAny>>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.schema.fields().iter().map(|field| field.name()).collect();
        write!(f, "Python scan of {names:?}")
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Batches are taken on a thread that may block, two ahead.
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let (send, scan, schema) = (builder.tx(), Arc::clone(&self.scan), Arc::clone(&self.schema));
        builder.spawn_blocking(move || {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
            let opened = Python::attach(|py| capsule::import_stream(scan.bind(py).call1((names,))?.as_any()));
            for batch in opened.map_err(|e| DataFusionError::External(Box::new(e)))? {
                // Columns are those asked for; what is said of them is the table's.
                let batch = batch.and_then(|batch| {
                    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    RecordBatch::try_new_with_options(Arc::clone(&schema), batch.columns().to_vec(), &rows)
                });
                if send.blocking_send(batch.map_err(Into::into)).is_err() {
                    break; // nobody reads on
                }
            }
            Ok(())
        });
        builder.build()
    }
}
