//! How large the expressions of a plan become where the optimizer writes them in the place of their names.
//!
//! A filter over `SELECT a + a AS a` goes below it as one over `a + a`; over twenty of these it has a million terms, and one
//! rule of the optimizer makes them all. So it is foretold before. Nothing is changed here.

use std::collections::HashMap;

use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};

use crate::error::{Error, Result};

/// More terms take the optimizer seconds, in which nobody can stop it.
const TERMS_MAX: u64 = 1 << 20;
/// About what a term takes, with the copies that are made of it.
const TERM_BYTES: u64 = 512;

/// Returns how many bytes more the largest expression of a plan may take when it is optimised.
///
/// # Errors
/// 1436 where it would have too many terms.
pub fn bytes(plan: &LogicalPlan) -> Result<usize> {
    let mut growth = Growth { terms: 0 };
    growth.columns(plan);
    if growth.terms > TERMS_MAX {
        let message =
            "Expressions that stand in one another come to more than a million terms; write the statement flatter";
        return Err(Error::new(1436, "HY000", message));
    }
    Ok(usize::try_from(growth.terms * TERM_BYTES).unwrap_or(usize::MAX))
}

struct Growth {
    /// By how many terms an expression grows, at most.
    terms: u64,
}

type Column<'a> = (Option<&'a TableReference>, &'a str);

impl Growth {
    /// Returns of how many terms each column of a plan is, all written out.
    fn columns(&mut self, plan: &LogicalPlan) -> Vec<u64> {
        let inputs: Vec<Vec<u64>> = plan.inputs().into_iter().map(|input| self.columns(input)).collect();
        let mut known: HashMap<Column<'_>, u64> = HashMap::new();
        for (input, terms) in plan.inputs().into_iter().zip(&inputs) {
            let named = input.schema().iter().zip(terms).filter(|(_, terms)| **terms > 1);
            known.extend(named.map(|((table, field), terms)| ((table, field.name().as_str()), *terms)));
        }
        let mut written = Vec::new();
        // Nothing here fails.
        let _ = plan.apply_expressions(|expr| {
            written.push(self.terms(expr, &known));
            Ok(TreeNodeRecursion::Continue)
        });
        let width = plan.schema().fields().len();
        let mut columns = match plan {
            LogicalPlan::Projection(_) => written,
            LogicalPlan::Aggregate(aggregate) => {
                written.truncate(aggregate.group_expr.len());
                written
            }
            LogicalPlan::Union(_) => {
                let largest = |at: usize| inputs.iter().filter_map(|input| input.get(at)).max().copied().unwrap_or(1);
                (0..width).map(largest).collect()
            }
            LogicalPlan::Join(join) => match (join.join_type, inputs.as_slice()) {
                (JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark, [_, right]) => right.clone(),
                _ => inputs.concat(),
            },
            LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Distinct(Distinct::All(_)) => inputs.concat(),
            _ => Vec::new(),
        };
        columns.resize(width, 1);
        columns
    }

    /// Returns of how many terms an expression is, all written out.
    fn terms(&mut self, expr: &Expr, known: &HashMap<Column<'_>, u64>) -> u64 {
        let (mut own, mut all) = (0_u64, 0_u64);
        let _ = expr.apply(|expr| {
            let subquery = match expr {
                Expr::ScalarSubquery(subquery) => Some(subquery),
                Expr::InSubquery(of) => Some(&of.subquery),
                Expr::Exists(of) => Some(&of.subquery),
                Expr::SetComparison(of) => Some(&of.subquery),
                _ => None,
            };
            if let Some(subquery) = subquery {
                self.columns(&subquery.subquery);
            }
            let terms = match expr {
                Expr::Alias(_) => 0,
                Expr::Column(column) => {
                    known.get(&(column.relation.as_ref(), column.name.as_str())).copied().unwrap_or(1)
                }
                _ => 1,
            };
            own += 1;
            all = all.saturating_add(terms);
            Ok(TreeNodeRecursion::Continue)
        });
        self.terms = self.terms.max(all.saturating_sub(own));
        all
    }
}
