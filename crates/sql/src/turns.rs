//! Joins give way: whoever runs beside them gets a turn, and KILL reaches them.
//!
//! DataFusion lets only what reads rows give way, and a few rows can join to billions. A join that hands batches on gives
//! way by the number of batches. A nested loop may find nothing for a long time: what it compares with all rows of its
//! other side comes to it in slices, and it gives way between them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// How many rows a nested loop compares with its other side before it gives way. A join of so few with many rows at a time
/// still fills a batch.
const ROWS_PER_TURN: usize = 64;

/// Makes the joins of a plan give way.
pub fn giving_way(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let node = match node.name() {
            "NestedLoopJoinExec" => {
                let mut children: Vec<_> = node.children().into_iter().cloned().collect();
                let probed = children.pop().expect("a join has two sides");
                children.push(Arc::new(Turns { input: probed }));
                node.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?
            }
            "CrossJoinExec" | "HashJoinExec" | "SortMergeJoinExec" => node,
            _ => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
    })?;
    Ok(plan.data)
}

/// Hands rows on in slices, and lets others have a turn between them.
#[derive(Debug)]
struct Turns {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Turns {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

impl ExecutionPlan for Turns {
    fn name(&self) -> &str {
        "Turns"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Turns { input: children.remove(0) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        Ok(Box::pin(Slices { rows, rest: None, is_turn_of_others: false }))
    }
}

/// The stream of [`Turns`].
struct Slices {
    rows: SendableRecordBatchStream,
    rest: Option<RecordBatch>,
    is_turn_of_others: bool,
}

impl Slices {
    fn slice(&mut self, batch: RecordBatch) -> RecordBatch {
        let more = batch.num_rows().saturating_sub(ROWS_PER_TURN);
        if more > 0 {
            self.rest = Some(batch.slice(ROWS_PER_TURN, more));
        }
        self.is_turn_of_others = true;
        batch.slice(0, batch.num_rows() - more)
    }
}

impl Stream for Slices {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if std::mem::take(&mut self.is_turn_of_others) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(self.slice(rest))));
        }
        let next = std::task::ready!(self.rows.poll_next_unpin(context));
        Poll::Ready(next.map(|batch| Ok(self.slice(batch?))))
    }
}

impl RecordBatchStream for Slices {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
