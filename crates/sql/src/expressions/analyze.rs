//! What only the typed plan can tell: IN lists, CASE branches, LIKE and NOT over values of other types.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::logical_expr::expr::{Case, InList, Like};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, lit};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::operators::{harmonise, truth};
use crate::functions::{call, unify};

/// Runs before DataFusion's own type coercion, which would otherwise turn numbers into texts.
#[derive(Debug)]
pub struct MySqlTypes;

impl AnalyzerRule for MySqlTypes {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let mut schema = merge_schema(&plan.inputs());
            if let LogicalPlan::TableScan(scan) = &plan {
                schema.merge(&scan.projected_schema);
            }
            let names = NamePreserver::new(&plan);
            let result = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| convert(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?;
            // The types of what was changed are those of the columns above.
            if result.transformed {
                let plan = result.data.recompute_schema()?;
                return Ok(Transformed::yes(plan));
            }
            Ok(result)
        })
        .map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "mysql_types"
    }
}

fn convert(expr: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expr {
        Expr::InList(list) => in_list(list, schema),
        Expr::Case(case) => case_types(case, schema),
        Expr::Like(like) => like_types(like, schema),
        Expr::Not(inner) => {
            let was = inner.clone();
            let now = truth(*inner, schema);
            let changed = now != *was;
            Ok(Transformed::new_transformed(Expr::Not(Box::new(now)), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn in_list(list: InList, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let mut pairs = Vec::with_capacity(list.list.len());
    for item in &list.list {
        pairs.push(harmonise((*list.expr).clone(), item.clone(), schema)?);
    }
    let changed = pairs.iter().zip(&list.list).any(|((left, right), item)| left != list.expr.as_ref() || right != item);
    if !changed {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    let head = pairs[0].0.clone();
    if pairs.iter().all(|(left, _)| *left == head) {
        let items = pairs.into_iter().map(|(_, right)| right).collect();
        return Ok(Transformed::yes(Expr::InList(InList::new(Box::new(head), items, list.negated))));
    }
    // The left side must be read in more than one way.
    let any = pairs.into_iter().map(|(left, right)| left.eq(right)).reduce(Expr::or).unwrap_or_else(|| lit(false));
    Ok(Transformed::yes(if list.negated { Expr::Not(Box::new(any)) } else { any }))
}

fn case_types(case: Case, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let answers: Vec<&Expr> = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).collect();
    let answers: Vec<Expr> = answers.into_iter().chain(case.else_expr.as_deref()).cloned().collect();
    let mut fields: Vec<FieldRef> = Vec::with_capacity(answers.len());
    for answer in &answers {
        match answer.to_field(schema) {
            Ok((_, field)) => fields.push(field),
            Err(_) => return Ok(Transformed::no(Expr::Case(case))),
        }
    }
    let common = unify(&fields, &[]);
    let settled = |field: &FieldRef| field.data_type() == common.data_type() || *field.data_type() == DataType::Null;
    let same = fields.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type());
    if same || fields.iter().all(settled) {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let convert = |index: usize, expr: Expr| -> Expr {
        if settled(&fields[index]) {
            return expr;
        }
        let mut arguments = vec![expr];
        arguments.extend(answers.iter().cloned());
        call("mysql_as_common", arguments)
    };
    let count = case.when_then_expr.len();
    let pairs = case
        .when_then_expr
        .into_iter()
        .enumerate()
        .map(|(index, (when, then))| (when, Box::new(convert(index, *then))))
        .collect();
    let otherwise = case.else_expr.map(|expr| Box::new(convert(count, *expr)));
    Ok(Transformed::yes(Expr::Case(Case::new(case.expr, pairs, otherwise))))
}

fn like_types(like: Like, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let text = |expr: &Expr| match expr.get_type(schema) {
        Ok(ty) => matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null),
        Err(_) => true,
    };
    if text(&like.expr) && text(&like.pattern) {
        return Ok(Transformed::no(Expr::Like(like)));
    }
    let as_text = |expr: Box<Expr>| if text(&expr) { expr } else { Box::new(call("cast_char", vec![*expr])) };
    Ok(Transformed::yes(Expr::Like(Like { expr: as_text(like.expr), pattern: as_text(like.pattern), ..like })))
}
