//! The threads that queries are planned and computed on.
//!
//! They are not the ones that serve connections: a join that computes for an hour keeps nobody from logging in, and KILL reaches it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use futures::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Runtime};

use crate::error::Error;

/// Batches that wait for a slow client; the query waits beyond them.
const BATCHES_AHEAD: usize = 2;
/// Deeply nested expressions are evaluated by recursion.
const STACK_BYTES: usize = 16 << 20;

/// A pool of threads for running queries. It ends, without waiting for queries, when dropped.
#[derive(Debug)]
pub struct QueryThreads {
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl QueryThreads {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize) -> std::io::Result<QueryThreads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        Ok(QueryThreads { runtime: Some(runtime) })
    }

    /// Plans, or works out something else that does not wait. Dropping the future gives it up where it waits; a panic is
    /// an error of the statement.
    ///
    /// # Errors
    /// Those of `work`, and 1105 for a panic.
    pub async fn work<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let runtime = self.runtime.as_ref().expect("there until dropped");
        let task = {
            let _here = runtime.enter();
            SpawnedTask::spawn(caught(work))
        };
        task.await.map_err(|gone| DataFusionError::Execution(gone.to_string()))?
    }

    /// Runs a plan; dropping the stream ends it, at the next batch of whichever operator is at work.
    pub fn run(&self, plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let runtime = self.runtime.as_ref().expect("there until dropped");
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

/// Makes an error of a panic: it ends the statement, and nothing else.
async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let message = format!("BUG: {said}. The statement ended here and changed nothing; please report it.");
        Err(DataFusionError::External(Box::new(Error::internal(message))))
    })
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_statement() {
        let threads = QueryThreads::start(1).unwrap();
        let error = threads.work(async { panic!("nobody expected this") }).await.map(|(): ()| ()).unwrap_err();
        let error = crate::failure::of_query(error);
        assert_eq!(error.code, 1105);
        assert!(error.message.contains("nobody expected this"), "{error}");
        assert_eq!(threads.work(async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn long_planning_keeps_nobody_waiting() {
        let threads = Arc::new(QueryThreads::start(1).unwrap());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let planning = threads.work(async move { Ok(held.recv().is_ok()) });
        // This test has one thread: were the work done on it, nothing below would ever run.
        let other = async {
            tokio::task::yield_now().await;
            release.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(planning, other);
        assert!(done.unwrap());
    }
}
