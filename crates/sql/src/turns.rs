//! Joins give way: whoever runs beside them gets a turn, and KILL reaches them.
//!
//! DataFusion lets only what reads rows give way, and a few rows can join to billions. A join that hands batches on gives
//! way by the number of batches. A nested loop may find nothing for a long time: what it compares with all rows of its
//! other side comes to it in slices, and it gives way between them. The more rows the other side has, the fewer a slice.
//!
//! A nested loop whose kept side does not fit into memory fails. DataFusion 55 would read that side again and write it to
//! the disk, and then each of its partitions tells by itself which rows found nothing: an outer join, or one that only asks
//! whether there is a row, answers some of them twice (as the comments of its `nested_loop_join.rs` say).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt, TryStreamExt};

/// How many pairs of rows a nested loop compares before it gives way: some milliseconds of work. Where one row has more
/// to be compared with, it is one row.
const PAIRS_PER_TURN: usize = 1 << 18;

/// Makes the joins of a plan give way.
pub fn giving_way(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let node = match node.name() {
            "NestedLoopJoinExec" => {
                let others = Arc::new(AtomicUsize::new(0));
                let sides = node.children().into_iter().zip([Side::Kept, Side::Probing]);
                let turns = |(input, side): (&Arc<dyn ExecutionPlan>, Side)| {
                    Arc::new(Turns::new(input.clone(), side, others.clone())) as Arc<dyn ExecutionPlan>
                };
                let children = sides.map(turns).collect();
                node.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?
            }
            "CrossJoinExec" | "HashJoinExec" | "SortMergeJoinExec" => node,
            _ => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
    })?;
    Ok(plan.data)
}

/// Which side of a nested loop rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Each row of the other side is compared with all of these. They are counted.
    Kept,
    /// These come in slices, and others have a turn between them.
    Probing,
}

/// Hands the rows of one side on to a nested loop.
#[derive(Debug)]
struct Turns {
    input: Arc<dyn ExecutionPlan>,
    side: Side,
    /// How many rows are kept.
    others: Arc<AtomicUsize>,
    /// The side that is kept was asked for.
    is_read: AtomicBool,
}

impl Turns {
    fn new(input: Arc<dyn ExecutionPlan>, side: Side, others: Arc<AtomicUsize>) -> Turns {
        Turns { input, side, others, is_read: AtomicBool::new(false) }
    }
}

impl DisplayAs for Turns {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.side {
            Side::Kept => f.write_str("Turns: kept"),
            Side::Probing => f.write_str("Turns"),
        }
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
        Ok(Arc::new(Turns::new(children.remove(0), self.side, self.others.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.side == Side::Kept && self.is_read.swap(true, Ordering::Relaxed) {
            let message = "one side of a join by anything but equality must be held, and does not fit";
            return Err(DataFusionError::ResourcesExhausted(message.to_owned()));
        }
        let rows = self.input.execute(partition, context)?;
        let others = self.others.clone();
        match self.side {
            Side::Kept => {
                // A join in a recursive query is made anew for each of its rounds, over the same count.
                others.store(0, Ordering::Relaxed);
                let counted = rows.inspect_ok(move |batch| {
                    others.fetch_add(batch.num_rows(), Ordering::Relaxed);
                });
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
            }
            Side::Probing => Ok(Box::pin(Slices { rows, others, rest: None, is_turn_of_others: false })),
        }
    }
}

/// The stream of the probing side.
struct Slices {
    rows: SendableRecordBatchStream,
    others: Arc<AtomicUsize>,
    rest: Option<RecordBatch>,
    is_turn_of_others: bool,
}

impl Slices {
    fn slice(&mut self, batch: RecordBatch) -> RecordBatch {
        let rows_max = (PAIRS_PER_TURN / self.others.load(Ordering::Relaxed).max(1)).max(1);
        let more = batch.num_rows().saturating_sub(rows_max);
        if more > 0 {
            self.rest = Some(batch.slice(rows_max, more));
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

#[cfg(test)]
mod tests {
    use arrow::array::UInt32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    #[tokio::test]
    async fn the_kept_side_is_read_once() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::UInt32, false)]));
        let empty = Arc::new(EmptyExec::new(schema));
        let kept = Arc::new(Turns::new(empty.clone(), Side::Kept, Arc::default()));
        let context = Arc::new(TaskContext::default());
        kept.execute(0, context.clone()).map(drop).unwrap();
        let refused = kept.execute(0, context.clone()).map(drop).unwrap_err();
        assert!(matches!(refused, DataFusionError::ResourcesExhausted(_)), "{refused:?}");
        // A recursive query makes it anew for each round.
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let anew = kept.replace_children(vec![empty.clone()], options).unwrap();
        anew.execute(0, context.clone()).map(drop).unwrap();
        let probing = Turns::new(empty, Side::Probing, Arc::default());
        for _ in 0..2 {
            probing.execute(0, context.clone()).map(drop).unwrap();
        }
    }

    #[tokio::test]
    async fn the_more_there_is_to_compare_with_the_shorter_is_a_slice() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::UInt32, false)]));
        let column = Arc::new(UInt32Array::from_iter_values(0..8192));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        for (others, longest) in [(0, 8192), (100, 2621), (1 << 16, 4), (10_000_000, 1)] {
            let rows = futures::stream::iter([Ok(batch.clone())]);
            let rows = Box::pin(RecordBatchStreamAdapter::new(schema.clone(), rows));
            let others = Arc::new(AtomicUsize::new(others));
            let slices = Slices { rows, others, rest: None, is_turn_of_others: false };
            let slices: Vec<RecordBatch> = slices.try_collect().await.unwrap();
            assert_eq!(slices.iter().map(RecordBatch::num_rows).max(), Some(longest));
            assert_eq!(arrow::compute::concat_batches(&schema, &slices).unwrap(), batch);
        }
    }
}
