//! `cte_max_recursion_depth`: how often a recursive common table expression may go round.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

use crate::error::Error;

/// How many rounds the session allows: an extension of a state's configuration.
#[derive(Debug)]
pub struct RoundsMax(pub u64);

/// Counts the rounds of every recursive expression in a plan. A plan is counted once, so it is made anew for each run.
pub fn counted(plan: Arc<dyn ExecutionPlan>, max: u64) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        if node.downcast_ref::<RecursiveQueryExec>().is_none() {
            return Ok(Transformed::no(node));
        }
        let mut terms: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
        let recursive = terms.remove(1);
        terms.push(Arc::new(Rounds { input: recursive, done: Arc::default(), max }));
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        node.replace_children(terms, anew).map(Transformed::yes)
    })?;
    Ok(plan.data)
}

/// What a recursive expression runs again in each round.
#[derive(Debug)]
struct Rounds {
    input: Arc<dyn ExecutionPlan>,
    done: Arc<AtomicU64>,
    max: u64,
}

impl DisplayAs for Rounds {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rounds: at most {}", self.max)
    }
}

impl ExecutionPlan for Rounds {
    fn name(&self) -> &str {
        "Rounds"
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
        // Each round works on a copy: they count together.
        Ok(Arc::new(Rounds { input: children.remove(0), done: self.done.clone(), max: self.max }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rounds = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if rounds > self.max {
            let message = format!(
                "Recursive query aborted after {rounds} iterations. Try increasing @@cte_max_recursion_depth to a \
                 larger value."
            );
            return Err(DataFusionError::External(Box::new(Error::new(3636, "HY000", message))));
        }
        self.input.execute(partition, context)
    }
}
