//! Random scans against plain vectors: every kept cell once, in C order, whatever the chunks, holes, partitions and
//! batch sizes are.

use super::memory_source::MemorySource;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::{Float32Type, Int16Type, Int64Type};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, collect_partitioned};
use datafusion::prelude::{SessionConfig, SessionContext};
use millibar::Place;
use millibar::codec::Pipeline;
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{Chunk, Dim, GridTable, Variable};
use millibar::engine::config::TableOverrides;
use millibar::engine::{TensorTable, session_context};
use millibar::tensor::{ChunkGrid, Selection};
use millibar::tgm::{ByteOrder, DType, Descriptor, Limits, Map, Object};
use proptest::prelude::*;
use std::sync::Arc;

/// One variable: its dtype, its chunk shape, a value for each cell (`None` is missing), and which chunks are holes.
#[derive(Debug, Clone)]
struct Field {
    dtype: DType,
    chunk_shape: Vec<u64>,
    cells: Vec<Option<i16>>,
    holes: Vec<bool>,
}

/// A table, a predicate over its dims, and how it is scanned.
#[derive(Debug, Clone)]
struct Case {
    labels: Vec<Vec<i64>>,
    fields: Vec<Field>,
    predicates: Vec<Predicate>,
    columns: Vec<usize>,
    limit: Option<usize>,
    partitions: usize,
    batch_size: usize,
    range_threshold: f64,
}

#[derive(Debug, Clone)]
enum Predicate {
    /// `dim % modulus = 0`
    Multiple { dim: usize, modulus: i64 },
    /// `dim >= bound`
    AtLeast { dim: usize, bound: i64 },
    /// `a + b > bound`
    Sum { a: usize, b: usize, bound: i64 },
    /// `value > bound`, of a variable
    Above { field: usize, bound: i64 },
    /// `value IS NULL`
    Missing { field: usize },
    /// `value + dim < other value`
    Beside { dim: usize },
}

impl Predicate {
    fn sql(&self) -> String {
        match self {
            Self::Multiple { dim, modulus } => format!("d{dim} % {modulus} = 0"),
            Self::AtLeast { dim, bound } => format!("d{dim} >= {bound}"),
            Self::Sum { a, b, bound } => format!("d{a} + d{b} > {bound}"),
            Self::Above { field, bound } => format!("v{field} > {bound}"),
            Self::Missing { field } => format!("v{field} IS NULL"),
            Self::Beside { dim } => format!("CAST(v0 AS BIGINT) + d{dim} < CAST(v1 AS BIGINT)"),
        }
    }

    fn keeps(&self, labels: &[i64], values: &[Option<i64>]) -> bool {
        match *self {
            Self::Multiple { dim, modulus } => labels[dim] % modulus == 0,
            Self::AtLeast { dim, bound } => labels[dim] >= bound,
            Self::Sum { a, b, bound } => labels[a] + labels[b] > bound,
            Self::Above { field, bound } => values[field].is_some_and(|value| value > bound),
            Self::Missing { field } => values[field].is_none(),
            Self::Beside { dim } => {
                values[0].zip(values[1]).is_some_and(|(value, other)| value + labels[dim] < other)
            }
        }
    }

    fn looks_at_values(&self) -> bool {
        matches!(self, Self::Above { .. } | Self::Missing { .. } | Self::Beside { .. })
    }
}

fn predicate(dims: usize) -> impl Strategy<Value = Predicate> {
    prop_oneof![
        (0..dims, 1i64..4).prop_map(|(dim, modulus)| Predicate::Multiple { dim, modulus }),
        (0..dims, -3i64..6).prop_map(|(dim, bound)| Predicate::AtLeast { dim, bound }),
        (0..dims, 0..dims, -5i64..9).prop_map(|(a, b, bound)| Predicate::Sum { a, b, bound }),
        (0..2usize, -9000i64..9000).prop_map(|(field, bound)| Predicate::Above { field, bound }),
        (0..2usize).prop_map(|field| Predicate::Missing { field }),
        (0..dims).prop_map(|dim| Predicate::Beside { dim }),
    ]
}

fn field(shape: Vec<u64>) -> impl Strategy<Value = Field> {
    let cells = shape.iter().product::<u64>() as usize;
    let chunk_shape: Vec<_> = shape.iter().map(|&len| 1..=len).collect();
    (chunk_shape, any::<bool>()).prop_flat_map(move |(chunk_shape, float)| {
        let chunks = ChunkGrid::try_new(shape.clone(), chunk_shape.clone()).unwrap().chunks() as usize;
        let value = if float {
            proptest::option::weighted(0.8, any::<i16>()).boxed()
        } else {
            any::<i16>().prop_map(Some).boxed()
        };
        let dtype = if float { DType::Float32 } else { DType::Int16 };
        (
            prop::collection::vec(value, cells),
            prop::collection::vec(prop::bool::weighted(0.1), chunks),
            Just(chunk_shape),
        )
            .prop_map(move |(cells, holes, chunk_shape)| Field { dtype, chunk_shape, cells, holes })
    })
}

fn case() -> impl Strategy<Value = Case> {
    prop::collection::vec(prop::collection::vec(-4i64..8, 1..6), 1..4).prop_flat_map(|labels| {
        let shape: Vec<u64> = labels.iter().map(|labels| labels.len() as u64).collect();
        let dims = labels.len();
        let columns =
            prop::sample::subsequence((0..dims + 2).collect::<Vec<_>>(), 0..=dims + 2).prop_shuffle();
        (
            Just(labels),
            prop::collection::vec(field(shape), 2),
            prop::collection::vec(predicate(dims), 0..4),
            columns,
            prop::option::of(0usize..40),
            1usize..5,
            1usize..9,
            prop_oneof![Just(0.0), Just(0.5), Just(1.0)],
        )
            .prop_map(
                |(labels, fields, predicates, columns, limit, partitions, batch_size, range_threshold)| {
                    // which partition is the first to have enough rows of certain values is up to chance
                    let chance = limit.is_some() && predicates.iter().any(Predicate::looks_at_values);
                    let partitions = if chance { 1 } else { partitions };
                    Case {
                        labels,
                        fields,
                        predicates,
                        columns,
                        limit,
                        partitions,
                        batch_size,
                        range_threshold,
                    }
                },
            )
    })
}

impl Case {
    fn shape(&self) -> Vec<u64> {
        self.labels.iter().map(|labels| labels.len() as u64).collect()
    }

    fn column_names(&self) -> Vec<String> {
        let dims = (0..self.labels.len()).map(|dim| format!("d{dim}"));
        dims.chain((0..self.fields.len()).map(|field| format!("v{field}"))).collect()
    }

    fn table(&self) -> TensorTable {
        let dim = |(index, labels): (usize, &Vec<i64>)| {
            Dim::new(format!("d{index}"), Arc::new(Int64Array::from(labels.clone())))
        };
        let variable = |(index, field): (usize, &Field)| field.variable(index, self.shape());
        let grid = GridTable {
            dims: self.labels.iter().enumerate().map(dim).collect(),
            variables: self.fields.iter().enumerate().map(variable).collect(),
        };
        TensorTable::new("t", Arc::new(grid), TableOverrides::default())
    }

    fn sql(&self) -> String {
        let names = self.column_names();
        let columns: Vec<_> = self.columns.iter().map(|&column| names[column].as_str()).collect();
        let columns = if columns.is_empty() { "1".to_string() } else { columns.join(", ") };
        let conjuncts: Vec<_> = self.predicates.iter().map(Predicate::sql).collect();
        let filter =
            if conjuncts.is_empty() { String::new() } else { format!(" WHERE {}", conjuncts.join(" AND ")) };
        let limit = self.limit.map_or(String::new(), |limit| format!(" LIMIT {limit}"));
        format!("SELECT {columns} FROM t{filter}{limit}")
    }

    /// The rows that the scan owes, in order.
    fn expected(&self) -> Vec<Vec<Option<i64>>> {
        let shape = self.shape();
        let grids: Vec<_> = self.fields.iter().map(|field| field.grid(&shape)).collect();
        let mut rows = Vec::new();
        for cell in 0..shape.iter().product::<u64>() {
            let mut rest = cell;
            let mut position = vec![0u64; shape.len()];
            for dim in (0..shape.len()).rev() {
                position[dim] = rest % shape[dim];
                rest /= shape[dim];
            }
            let labels: Vec<i64> = self.labels.iter().zip(&position).map(|(l, &at)| l[at as usize]).collect();
            let values = self.fields.iter().zip(&grids).map(|(field, grid)| {
                let counts = grid.chunk_counts();
                let at = position.iter().zip(&field.chunk_shape).map(|(at, len)| at / len);
                let chunk = at.zip(counts).fold(0, |flat, (at, count)| flat * count + at);
                let hole = field.holes[chunk as usize];
                if hole { None } else { field.cells[cell as usize].map(i64::from) }
            });
            let values: Vec<_> = values.collect();
            if !self.predicates.iter().all(|predicate| predicate.keeps(&labels, &values)) {
                continue;
            }
            let row: Vec<_> = labels.iter().copied().map(Some).chain(values).collect();
            rows.push(match self.columns.as_slice() {
                [] => vec![Some(1)],
                columns => columns.iter().map(|&column| row[column]).collect(),
            });
        }
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        rows
    }

    async fn scanned(&self) -> datafusion::common::Result<Vec<Vec<Option<i64>>>> {
        let config = SessionConfig::new()
            .with_target_partitions(self.partitions)
            .with_batch_size(self.batch_size)
            .with_round_robin_repartition(false);
        let ctx: SessionContext = session_context(config, Arc::new(RuntimeEnv::default()))?;
        ctx.sql(&format!("SET millibar.range_threshold = {}", self.range_threshold)).await?;
        ctx.register_table("t", Arc::new(self.table()))?;
        let plan = ctx.sql(&self.sql()).await?.create_physical_plan().await?;
        let rows = Self::collect(&plan, &ctx).await?;
        if self.limit.is_none() {
            let counted = ctx.sql(&format!("SELECT count(*) FROM ({})", self.sql())).await?.collect().await?;
            assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), rows.len() as i64);
        }
        Ok(rows)
    }

    async fn collect(
        plan: &Arc<dyn ExecutionPlan>,
        ctx: &SessionContext,
    ) -> datafusion::common::Result<Vec<Vec<Option<i64>>>> {
        let partitions = collect_partitioned(Arc::clone(plan), ctx.task_ctx()).await?;
        let mut rows = Vec::new();
        for batch in partitions.iter().flatten() {
            for row in 0..batch.num_rows() {
                rows.push(batch.columns().iter().map(|column| value(column, row)).collect());
            }
        }
        Ok(rows)
    }
}

fn value(column: &ArrayRef, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| {
        if let Some(values) = column.as_primitive_opt::<Float32Type>() {
            values.value(row) as i64
        } else if let Some(values) = column.as_primitive_opt::<Int16Type>() {
            i64::from(values.value(row))
        } else {
            column.as_primitive::<Int64Type>().value(row)
        }
    })
}

impl Field {
    fn grid(&self, shape: &[u64]) -> ChunkGrid {
        ChunkGrid::try_new(shape.to_vec(), self.chunk_shape.clone()).unwrap()
    }

    fn variable(&self, index: usize, shape: Vec<u64>) -> Variable {
        let grid = self.grid(&shape);
        let parts = grid.parts(&Selection::all(&shape));
        let chunks = parts.iter().zip(&self.holes).map(|(part, &hole)| {
            let mut bytes = Vec::new();
            each_position(&part.shape, |within| {
                let at = within.iter().zip(&part.origin).zip(&shape);
                let cell = at.fold(0, |flat, ((at, origin), len)| flat * len + at + origin);
                bytes.extend(self.bytes(self.cells[cell as usize]));
            });
            (!hole).then(|| Arc::new(chunk(self.dtype, &part.shape, bytes)))
        });
        Variable {
            name: format!("v{index}"),
            dtype: self.dtype,
            attributes: Map::new(),
            chunks: chunks.collect(),
            stats: Arc::new(VariableStats::new(self.dtype, grid.chunks())),
            grid,
        }
    }

    fn bytes(&self, cell: Option<i16>) -> Vec<u8> {
        match self.dtype {
            DType::Int16 => cell.unwrap_or(0).to_le_bytes().to_vec(),
            _ => cell.map_or(f32::NAN, f32::from).to_le_bytes().to_vec(),
        }
    }
}

fn each_position(shape: &[u64], mut visit: impl FnMut(&[u64])) {
    for flat in 0..shape.iter().product::<u64>() {
        let mut rest = flat;
        let mut position = vec![0; shape.len()];
        for dim in (0..shape.len()).rev() {
            position[dim] = rest % shape[dim];
            rest /= shape[dim];
        }
        visit(&position);
    }
}

/// A chunk of plain little-endian bytes.
fn chunk(dtype: DType, shape: &[u64], bytes: Vec<u8>) -> Chunk {
    let len = bytes.len() as u64;
    let descriptor = Descriptor {
        dtype,
        shape: shape.to_vec(),
        byte_order: ByteOrder::Little,
        encoding: "none".into(),
        filter: "none".into(),
        compression: "none".into(),
        masks: Vec::new(),
        params: Map::new(),
    };
    let object = Object {
        place: Place::file("memory.tgm").message(0).object(0),
        frame: 0..len,
        region: 0..len,
        hash: None,
        descriptor: descriptor.into(),
    };
    let pipeline = Pipeline::try_new(&object, &Limits::default());
    Chunk { source: MemorySource::new(bytes), object: Arc::new(object), pipeline }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn rows_are_the_kept_cells_in_order(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let rows = runtime.block_on(case.scanned()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(rows, case.expected(), "{}", case.sql());
    }
}
