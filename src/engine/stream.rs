//! Streams of batches that take long to make.
//!
//! Decoding takes too long for a poll, so it happens on blocking threads of the runtime, whose own threads stay
//! free for I/O. A [`Producer`] works in steps of a few batches, and is one step ahead of the consumer:
//! ```text
//! blocking threads   step 1   step 2   (waits)  step 3
//! stream                      1 1 1 1           2 2 2 2 ...     batches in order
//! ```
//! No thread is held between steps: streams that wait for each other, as the sides of a join do, can't use the
//! threads up, however many there are. Nothing starts before the first poll, so that what the consumer learns
//! before (a dynamic filter) counts for the first step. The first step is a single batch and each further one twice as
//! many, so that a consumer that makes a filter of the first rows can tell before much is read. A stream that is dropped stops its producer at the next
//! look at [`Stop`].

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Bytes of batches from which on a step ends: handing over costs nothing beside making so many.
const STEP_BYTES: usize = 1 << 20;

/// Batches of a step at most, however small they are, once the stream has got going.
const STEP_BATCHES: usize = 64;

/// Makes batches, one after the other.
pub(crate) trait Producer: Send + 'static {
    /// The next batch; `None` at the end, or where nobody waits any more. May block. After the end or an error it
    /// isn't called again.
    fn next(&mut self, stop: &Stop) -> Result<Option<RecordBatch>>;
}

/// Whether anybody still waits for the result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Nobody does: what is done from now on is thrown away.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Sets it when the guard is dropped.
    pub(crate) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Held by whoever waits.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

/// The batches of `producer`. Those that are ahead of the consumer are reserved in `memory`, which has room for two of
/// them already. Where the pool has no more, it gives way: steps are of a single batch then, the one that was taken
/// last and the one that is being made, and who wants more memory than the pool has is an operator that can spill.
pub(crate) fn stream(
    schema: SchemaRef,
    producer: impl Producer,
    memory: MemoryReservation,
    baseline: BaselineMetrics,
) -> SendableRecordBatchStream {
    let stop = Stop::default();
    let steps = Steps {
        state: State::Idle(producer),
        ready: VecDeque::new(),
        memory: Arc::new(memory),
        most: 1,
        baseline,
        _stop: stop.on_drop(),
        stop,
    };
    let batches = futures::stream::unfold(steps, |mut steps| async move {
        let batch = steps.next().await.transpose()?;
        Some((batch, steps))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

struct Steps<P> {
    state: State<P>,
    /// Batches of the last step that weren't taken yet, with the bytes that are reserved for them.
    ready: VecDeque<(RecordBatch, usize)>,
    memory: Arc<MemoryReservation>,
    /// Batches of the next step at most.
    most: usize,
    baseline: BaselineMetrics,
    stop: Stop,
    _stop: StopOnDrop,
}

enum State<P> {
    Idle(P),
    Running(SpawnedTask<Step<P>>),
    Ended(Result<()>),
}

/// What a step came to.
struct Step<P> {
    batches: VecDeque<(RecordBatch, usize)>,
    /// The producer, if there may be more; else how it ended.
    rest: Result<Option<P>>,
}

impl<P: Producer> Steps<P> {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((batch, bytes)) = self.ready.pop_front() {
                self.memory.shrink(bytes);
                self.baseline.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            self.state = match std::mem::replace(&mut self.state, State::Ended(Ok(()))) {
                State::Idle(producer) => State::Running(self.start(producer)),
                State::Running(step) => {
                    let joined = step.join_unwind().await;
                    let Step { batches, rest } =
                        joined.map_err(|e| DataFusionError::External(Box::new(e)))?;
                    self.ready = batches;
                    match rest {
                        Ok(Some(producer)) => State::Running(self.start(producer)),
                        Ok(None) => State::Ended(Ok(())),
                        Err(error) => State::Ended(Err(error)),
                    }
                }
                State::Ended(how) => {
                    self.baseline.done();
                    return how.map(|()| None);
                }
            };
        }
    }

    fn start(&mut self, mut producer: P) -> SpawnedTask<Step<P>> {
        let (stop, memory) = (self.stop.clone(), Arc::clone(&self.memory));
        let time = self.baseline.elapsed_compute().clone();
        let most = self.most;
        self.most = (2 * most).min(STEP_BATCHES);
        SpawnedTask::spawn_blocking(move || {
            let _timer = time.timer();
            let mut batches = VecDeque::new();
            let rest = match fill(&mut producer, &mut batches, most, &memory, &stop) {
                Ok(true) => Ok(Some(producer)),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            };
            Step { batches, rest }
        })
    }
}

/// Makes the batches of a step; `false` if they are the last ones.
fn fill(
    producer: &mut impl Producer,
    batches: &mut VecDeque<(RecordBatch, usize)>,
    most: usize,
    memory: &MemoryReservation,
    stop: &Stop,
) -> Result<bool> {
    let mut total = 0;
    while total < STEP_BYTES && batches.len() < most {
        let batch = if stop.is_set() { None } else { producer.next(stop)? };
        let Some(batch) = batch else { return Ok(false) };
        let bytes = sliced_bytes(&batch)?;
        if memory.try_grow(bytes).is_err() {
            batches.push_back((batch, 0));
            break;
        }
        total += bytes;
        batches.push_back((batch, bytes));
    }
    Ok(true)
}

/// Bytes of the rows of `batch`, without those of the buffers that lie outside of it.
fn sliced_bytes(batch: &RecordBatch) -> Result<usize> {
    let bytes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
    Ok(bytes.sum::<Result<usize, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::common::exec_err;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
    use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
    use futures::StreamExt;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    /// Counts, in batches of which at most three make a step.
    struct Counter {
        schema: SchemaRef,
        at: i64,
        end: i64,
        fails_at: Option<i64>,
        made: Arc<AtomicUsize>,
    }

    impl Producer for Counter {
        fn next(&mut self, _: &Stop) -> Result<Option<RecordBatch>> {
            if self.fails_at == Some(self.at) {
                return exec_err!("at {}", self.at);
            }
            if self.at == self.end {
                return Ok(None);
            }
            self.made.fetch_add(1, Relaxed);
            let column = Arc::new(Int64Array::from(vec![self.at; STEP_BYTES / 3 / 8 + 1]));
            self.at += 1;
            Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), vec![column])?))
        }
    }

    fn counter(
        end: i64,
        fails_at: Option<i64>,
        limit: usize,
    ) -> (SendableRecordBatchStream, Arc<AtomicUsize>, Arc<dyn MemoryPool>) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let made = Arc::new(AtomicUsize::new(0));
        let producer = Counter { schema: Arc::clone(&schema), at: 0, end, fails_at, made: Arc::clone(&made) };
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
        let memory = MemoryConsumer::new("counter").register(&pool);
        let baseline = BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        (stream(schema, producer, memory, baseline), made, pool)
    }

    fn number(batch: &RecordBatch) -> i64 {
        batch.column(0).as_primitive::<Int64Type>().value(0)
    }

    #[tokio::test]
    async fn batches_come_in_order_and_memory_is_given_back() {
        let (mut stream, made, pool) = counter(10, None, 1 << 30);
        assert_eq!(made.load(Relaxed), 0, "nothing starts before the first poll");
        for want in 0..10 {
            let batch = stream.next().await.unwrap().unwrap();
            assert_eq!(number(&batch), want);
            assert!(pool.reserved() <= 5 * sliced_bytes(&batch).unwrap());
        }
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none());
        assert_eq!(pool.reserved(), 0);
    }

    #[tokio::test]
    async fn an_error_comes_after_the_batches_before_it_and_ends_the_stream() {
        let (mut stream, _, _) = counter(10, Some(4), 1 << 30);
        for want in 0..4 {
            assert_eq!(number(&stream.next().await.unwrap().unwrap()), want);
        }
        assert!(stream.next().await.unwrap().unwrap_err().to_string().contains("at 4"));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn batches_come_one_at_a_time_where_memory_is_short() {
        let (mut stream, made, pool) = counter(10, None, STEP_BYTES / 4);
        for want in 0..10 {
            assert_eq!(number(&stream.next().await.unwrap().unwrap()), want);
            assert!(made.load(Relaxed) <= want as usize + 2, "one at the consumer's, one in the making");
            assert_eq!(pool.reserved(), 0);
        }
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_consumer_holds_the_producer_back_and_a_dropped_one_stops_it() {
        let (mut stream, made, pool) = counter(1 << 20, None, 1 << 30);
        stream.next().await.unwrap().unwrap();
        let start = Instant::now();
        let wait = |what: &str| assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        while made.load(Relaxed) < 3 {
            wait("no step is ahead");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(made.load(Relaxed), 3, "one step is ahead");
        drop(stream);
        while pool.reserved() > 0 {
            wait("the reservation stays");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(made.load(Relaxed), 3);
    }
}
