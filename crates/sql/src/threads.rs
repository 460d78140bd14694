//! The threads that queries are planned and computed on.
//!
//! They are not the ones that serve connections: a join that computes for an hour keeps nobody from logging in, and KILL
//! reaches it. Nor are they the same for both: what is planned does not wait in line behind what computes, and each
//! planning has a thread for itself, so that a long one holds nobody up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use futures::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::planning::{self, GivenUp, PlanMemory, Taken};

/// Batches that wait for a slow client; the query waits beyond them.
const BATCHES_AHEAD: usize = 2;
/// Deeply nested expressions are planned and evaluated by recursion.
const STACK_BYTES: usize = 16 << 20;
/// How many plannings there are at once; the system shares the processors among them. More wait.
const PLANNINGS_MAX: usize = 64;

/// The threads for planning and for running queries. They end, without waiting for queries, when dropped.
#[derive(Debug)]
pub struct QueryThreads {
    /// `None` only while dropping.
    pools: Option<Pools>,
    taken: Option<Taken>,
}

#[derive(Debug)]
struct Pools {
    planning: Runtime,
    computing: Runtime,
}

impl QueryThreads {
    /// Starts `threads` threads to compute on; those to plan on come and go, and count with `taken` what a plan takes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, taken: Option<Taken>) -> std::io::Result<QueryThreads> {
        let planning = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(PLANNINGS_MAX)
            .thread_name("plan")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let computing = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        Ok(QueryThreads { pools: Some(Pools { planning, computing }), taken })
    }

    fn pools(&self) -> &Pools {
        self.pools.as_ref().expect("there until dropped")
    }

    /// Plans, and adds what the plan takes to `memory`. Dropping the future gives it up where it waits or is looked at
    /// (see [`planning`]); a panic is an error of the statement.
    ///
    /// # Errors
    /// Those of `work`, 1038 where the plan does not fit into memory, 1317 where nobody waits for it, and 1105 for a panic.
    pub async fn work<T: Send + 'static>(
        &self,
        memory: &Arc<PlanMemory>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let threads = self.pools().planning.handle().clone();
        let (mut reply, answer) = oneshot::channel();
        let here = threads.clone();
        let (memory, taken, asker) = (memory.clone(), self.taken, Arc::new(()));
        let waits = Arc::downgrade(&asker);
        threads.spawn_blocking(move || {
            here.block_on(async {
                let begun = planning::begin(taken, memory, waits);
                let done = tokio::select! {
                    biased;
                    // Nobody waits for it any more.
                    () = reply.closed() => return,
                    done = caught(work) => done,
                };
                let counted = begun.finish().map_err(|error| DataFusionError::External(Box::new(error)));
                drop(reply.send(done.and_then(|done| counted.map(|()| done))));
            });
        });
        let answer = answer.await;
        drop(asker);
        answer.map_err(|_| DataFusionError::Execution("The threads for queries have ended.".to_owned()))?
    }

    /// Runs a plan; dropping the stream ends it, at the next batch of whichever operator is at work.
    pub fn run(&self, plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let runtime = &self.pools().computing;
        let mut running = RecordBatchReceiverStreamBuilder::new(plan.schema(), BATCHES_AHEAD);
        let batches_out = running.tx();
        let work = async move {
            let mut batches = execute_stream(plan, context)?;
            while let Some(batch) = batches.next().await {
                if batches_out.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        running.spawn_on(caught(work), runtime.handle());
        running.build()
    }
}

/// Makes an error of a panic, or of a planning that was given up: it ends the statement, and nothing else.
async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let panic = match panic.downcast::<GivenUp>() {
            Ok(given_up) => return Err(DataFusionError::External(Box::new(given_up.0))),
            Err(panic) => panic,
        };
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let message = format!("BUG: {said}. The statement ended here and changed nothing; please report it.");
        Err(DataFusionError::External(Box::new(Error::internal(message))))
    })
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(Pools { planning, computing }) = self.pools.take() {
            planning.shutdown_background();
            computing.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};

    use super::*;

    fn memory() -> Arc<PlanMemory> {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        PlanMemory::new(&pool)
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_statement() {
        let threads = QueryThreads::start(1, None).unwrap();
        let error =
            threads.work(&memory(), async { panic!("nobody expected this") }).await.map(|(): ()| ()).unwrap_err();
        let error = crate::failure::of_query(error);
        assert_eq!(error.code, 1105);
        assert!(error.message.contains("nobody expected this"), "{error}");
        assert_eq!(threads.work(&memory(), async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn planning_ends_where_it_is_looked_at_when_nobody_waits() {
        let threads = QueryThreads::start(1, None).unwrap();
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let memory = memory();
        let endless = threads.work(&memory, async move {
            let _ended = ended;
            loop {
                planning::look();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            #[expect(unreachable_code)]
            Ok(())
        });
        let cut_off = tokio::time::timeout(std::time::Duration::from_millis(50), endless).await;
        assert!(cut_off.is_err());
        let end = end.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[tokio::test]
    async fn planning_does_not_wait_for_what_computes_nor_for_other_planning() {
        let threads = Arc::new(QueryThreads::start(1, None).unwrap());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, computes) = oneshot::channel();
        threads.pools().computing.spawn(async move {
            started.send(()).unwrap();
            held.recv().unwrap();
        });
        computes.await.unwrap();
        let (release_too, held_too) = std::sync::mpsc::channel::<()>();
        let other = threads.clone();
        let planning =
            tokio::spawn(async move { other.work(&memory(), async move { Ok(held_too.recv().is_ok()) }).await });
        let planned =
            tokio::time::timeout(std::time::Duration::from_secs(20), threads.work(&memory(), async { Ok(1) })).await;
        release.send(()).unwrap();
        release_too.send(()).unwrap();
        assert_eq!(planned.expect("planned meanwhile").unwrap(), 1);
        assert!(planning.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn long_planning_keeps_nobody_waiting() {
        let threads = Arc::new(QueryThreads::start(1, None).unwrap());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let memory = memory();
        let planning = threads.work(&memory, async move { Ok(held.recv().is_ok()) });
        // This test has one thread: were the work done on it, nothing below would ever run.
        let other = async {
            tokio::task::yield_now().await;
            release.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(planning, other);
        assert!(done.unwrap());
    }
}
