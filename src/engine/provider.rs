//! The table provider of one grid.

use super::config::{Share, TableOverrides};
use super::scan::{ColumnSource, TensorScanExec};
use super::{external, filter, types};
use crate::dataset::{self, Dataset, GridTable, IndexState, Location, OpenOptions};
use crate::tgm::Map;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::HashMap;
use std::sync::Arc;

/// The variables of one grid, as columns beside their dims.
#[derive(Debug, Clone)]
pub struct TensorTable {
    name: Arc<str>,
    grid: Arc<GridTable>,
    schema: SchemaRef,
    overrides: TableOverrides,
    /// Message-wide attributes of the dataset.
    attributes: Arc<Map>,
    /// Why an index that is there wasn't used.
    note: Option<Arc<str>>,
}

impl TensorTable {
    /// A table over `grid`; `name` is what plans call it.
    pub fn new(name: impl Into<Arc<str>>, grid: Arc<GridTable>, overrides: TableOverrides) -> Self {
        let schema = types::schema_of(&grid);
        Self { name: name.into(), grid, schema, overrides, attributes: Arc::default(), note: None }
    }

    /// The same table with the attributes of its dataset; plans say what became of the index if it wasn't used.
    fn of_dataset(self, dataset: &Dataset) -> Self {
        let note = match &dataset.index {
            IndexState::Ignored(why) => Some(Arc::clone(why)),
            IndexState::Absent | IndexState::Used(_) => None,
        };
        Self { attributes: Arc::new(dataset.attributes.clone()), note, ..self }
    }

    /// Message-wide attributes that are the same in all messages of its dataset.
    pub fn attributes(&self) -> &Map {
        &self.attributes
    }

    /// Why an index that is there wasn't used.
    pub(crate) fn index_note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What plans call it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Dims and variables.
    pub fn grid(&self) -> &Arc<GridTable> {
        &self.grid
    }

    /// Dims, outermost first, then variables. Each field says in its metadata ([`types::ROLE`]) which it is,
    /// and carries the scalar attributes (`units`, ...) as texts.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the table chooses for itself.
    pub fn overrides(&self) -> &TableOverrides {
        &self.overrides
    }

    /// What column `index` of the schema is.
    pub fn column(&self, index: usize) -> ColumnSource {
        match index.checked_sub(self.grid.dims.len()) {
            None => ColumnSource::Dim(index),
            Some(variable) => ColumnSource::Variable(variable),
        }
    }
}

#[async_trait]
impl TableProvider for TensorTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let decided = |filter: &&Expr| match filter::decided_by(&self.grid, filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(decided).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let selection = filter::select(&self.grid, filters, state)?;
        let scan =
            TensorScanExec::try_new(self.clone(), selection, projection, limit, state.config_options())?;
        Ok(Arc::new(scan))
    }
}

/// Opened tables of one location.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Coords and variables.
    pub dataset: Dataset,
    /// What its tables choose for themselves.
    pub overrides: TableOverrides,
}

impl Opened {
    fn table(&self, name: impl Into<Arc<str>>, grid: &Arc<GridTable>) -> TensorTable {
        TensorTable::new(name, Arc::clone(grid), self.overrides).of_dataset(&self.dataset)
    }

    /// The only table, as `name`.
    ///
    /// # Errors
    /// A plan error if there are several grids (it lists them), or none.
    pub fn single(&self, name: &str) -> Result<TensorTable> {
        let grid = self.dataset.single_table().map_err(external)?;
        Ok(self.table(name, grid))
    }

    /// Every table: a single one as `name`, several as `name_<dims joined by _>`, with sizes where several have
    /// the same dims.
    pub fn named(&self, name: &str) -> Vec<TensorTable> {
        if let [grid] = self.dataset.tables.as_slice() {
            return vec![self.table(name, grid)];
        }
        let suffix = |grid: String| {
            let plain = grid.replace([',', '='], "_");
            if plain.is_empty() { "scalar".to_string() } else { plain }
        };
        let names = self.dataset.grid_names().into_iter().map(|grid| format!("{name}_{}", suffix(grid)));
        let tables = names.zip(&self.dataset.tables);
        tables.map(|(name, grid)| self.table(name, grid)).collect()
    }
}

/// Opens `locations` (files, globs, patterns) as one dataset. Reads framing, metadata and coordinate objects,
/// on a thread where that may block.
///
/// # Errors
/// [`crate::Error`]s of options, files and metadata, with file, message and object.
pub async fn open(locations: Vec<String>, options: HashMap<String, String>) -> Result<Opened> {
    let work = move || open_blocking(&locations, &options);
    match SpawnedTask::spawn_blocking(work).join().await {
        Ok(opened) => opened,
        Err(e) => Err(DataFusionError::External(Box::new(e))),
    }
}

/// As [`open`], on this thread.
///
/// # Errors
/// As [`open`].
pub fn open_blocking(locations: &[String], options: &HashMap<String, String>) -> Result<Opened> {
    let mut pairs: Vec<_> = options.iter().collect();
    pairs.sort();
    let parsed = OpenOptions::from_pairs(pairs).map_err(external)?;
    let given = |key: &str| options.contains_key(key);
    let overrides = TableOverrides {
        range_threshold: parsed.range_threshold.map(Share::try_new).transpose()?,
        nan_as_null: given("nan_as_null").then_some(parsed.nan_as_null),
        verify_hash: given("verify_hash").then_some(parsed.verify_hash),
    };
    let location = match locations {
        [location] => Location::parse(bare(location)),
        several => Location::from_list(several.iter().map(|location| bare(location))),
    };
    let dataset = dataset::open(&location.map_err(external)?, &parsed).map_err(external)?;
    Ok(Opened { dataset, overrides })
}

/// A `file://` URL as a path; anything else as it is.
fn bare(location: &str) -> &str {
    location.strip_prefix("file://").unwrap_or(location)
}
