//! What only the typed plan can tell: comparisons, IN, BETWEEN, CASE, LIKE and NOT over values of other types, set
//! operations whose sides differ, and subqueries that stand for a value.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, Exists, InList, InSubquery, Like, ScalarFunction, SetComparison, Sort as SortExpr,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::{FetchType, Join, SkipType, Union};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::operators::{comparison, harmonise, numeric, truth};
use crate::functions::{aggregate, call, unify};
use crate::types::{self, DECLARED, MySqlType};

/// Runs before DataFusion's own type coercion, which would otherwise turn numbers into texts.
#[derive(Debug)]
pub struct MySqlTypes;

impl AnalyzerRule for MySqlTypes {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> PlanResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| convert_node(plan).map(Transformed::yes)).map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "mysql_types"
    }
}

fn convert_node(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    let plan = match plan {
        LogicalPlan::Join(join) => LogicalPlan::Join(join_keys(join)?),
        LogicalPlan::Union(union) => return union_types(union),
        other => other,
    };
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&scan.projected_schema);
    }
    let names = NamePreserver::new(&plan);
    let is_projection = matches!(plan, LogicalPlan::Projection(_));
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| {
            let expr = convert(expr, &schema)?;
            if is_projection { as_value(expr.data, &schema) } else { Ok(expr) }
        })?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?;
    let plan = match plan.data {
        LogicalPlan::Sort(mut sort) => {
            for key in &mut sort.expr {
                sort_key(key, &schema);
            }
            LogicalPlan::Sort(sort)
        }
        other => other,
    };
    // The types of what was changed, here or below, are those of the columns above.
    plan.recompute_schema()
}

fn convert(expr: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(function) => scalar_function(function, schema),
        Expr::AggregateFunction(mut function) => {
            for key in &mut function.params.order_by {
                sort_key(key, schema);
            }
            Ok(Transformed::yes(Expr::AggregateFunction(function)))
        }
        Expr::WindowFunction(mut function) => {
            for key in &mut function.params.order_by {
                sort_key(key, schema);
            }
            Ok(Transformed::yes(Expr::WindowFunction(function)))
        }
        Expr::InList(list) => in_list(list, schema),
        Expr::Between(range) => between(range, schema),
        Expr::InSubquery(list) => in_subquery(list, schema),
        Expr::SetComparison(set) => set_comparison(set, schema),
        Expr::ScalarSubquery(subquery) => scalar_subquery(subquery).map(Transformed::yes),
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

/// Functions that stand for operators until their sides have types, and functions that read numbers.
fn scalar_function(mut function: ScalarFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let name = function.func.name();
    if let Some(operator) = comparison(name) {
        let [left, right] = function.args.as_mut_slice() else {
            return Ok(Transformed::no(Expr::ScalarFunction(function)));
        };
        let (left, right) = (std::mem::take(left), std::mem::take(right));
        let (left, right) = harmonise((left, schema), (right, schema))?;
        let compared = BinaryExpr::new(Box::new(left), operator, Box::new(right));
        return Ok(Transformed::yes(Expr::BinaryExpr(compared)));
    }
    if name == "mysql_truth"
        && let [argument] = function.args.as_mut_slice()
    {
        return Ok(Transformed::yes(truth(std::mem::take(argument), schema)));
    }
    if reads_numbers(name) {
        function.args = function.args.into_iter().map(|argument| numeric(argument, schema)).collect();
        return Ok(Transformed::yes(Expr::ScalarFunction(function)));
    }
    Ok(Transformed::no(Expr::ScalarFunction(function)))
}

/// Tells whether a function reads its arguments as numbers, whatever they are.
fn reads_numbers(name: &str) -> bool {
    matches!(
        name,
        "mysql_add"
            | "mysql_subtract"
            | "mysql_multiply"
            | "mysql_divide"
            | "mysql_div"
            | "mod"
            | "mysql_negate"
            | "mysql_summand"
            | "mysql_bit_and"
            | "mysql_bit_or"
            | "mysql_bit_xor"
            | "mysql_bit_not"
            | "mysql_bits"
            | "mysql_shift_left"
            | "mysql_shift_right"
            | "bit_count"
            | "mysql_xor"
            | "abs"
            | "ceil"
            | "floor"
            | "round"
            | "truncate"
            | "cast_signed"
            | "cast_unsigned"
            | "cast_double"
    )
}

/// ENUM and SET order by the place of their members.
fn sort_key(key: &mut SortExpr, schema: &DFSchema) {
    if let Ok((_, field)) = key.expr.to_field(schema)
        && let Some(MySqlType::Enum(_) | MySqlType::Set(_)) = types::declared(&field)
    {
        key.expr = numeric(std::mem::take(&mut key.expr), schema);
    }
}

/// Keys of USING and NATURAL, and of INTERSECT and EXCEPT.
fn join_keys(mut join: Join) -> PlanResult<Join> {
    let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
    let keys = std::mem::take(&mut join.on).into_iter();
    join.on = keys.map(|(l, r)| harmonise((l, &left), (r, &right))).collect::<PlanResult<_>>()?;
    Ok(join)
}

/// Returns NULL as a value of this field: what `mysql_as` reads a type from.
fn typed_null(field: &Field) -> PlanResult<Expr> {
    let metadata = (!field.metadata().is_empty()).then(|| FieldMetadata::from(field));
    Ok(Expr::Literal(ScalarValue::try_from(field.data_type())?, metadata))
}

/// Gives a value another type, and lets it be NULL.
fn as_type(expr: Expr, field: &Field) -> PlanResult<Expr> {
    Ok(call("mysql_as", vec![expr, typed_null(field)?]))
}

/// Returns the field that can hold the values of all of them, or `None` where they agree already.
fn common_field(fields: &[FieldRef]) -> Option<Field> {
    let known: Vec<FieldRef> = fields.iter().filter(|field| *field.data_type() != DataType::Null).cloned().collect();
    let first = known.first()?;
    let declared = |field: &Field| field.metadata().get(DECLARED).cloned();
    let agree = |field: &FieldRef| field.data_type() == first.data_type() && declared(field) == declared(first);
    if !known.iter().all(agree) {
        return Some(unify(&known, &[]));
    }
    (known.len() < fields.len()).then(|| first.as_ref().clone())
}

/// Gives each column of a set operation the type that its inputs have together.
fn union_types(union: Union) -> PlanResult<LogicalPlan> {
    let Union { inputs, schema } = union;
    let width = schema.fields().len();
    if inputs.iter().any(|input| input.schema().fields().len() != width) {
        return LogicalPlan::Union(Union { inputs, schema }).recompute_schema();
    }
    let mut targets = Vec::with_capacity(width);
    for at in 0..width {
        let fields: Vec<FieldRef> = inputs.iter().map(|input| input.schema().field(at).clone()).collect();
        let nullable = fields.iter().any(|field| field.is_nullable());
        let common = common_field(&fields).unwrap_or_else(|| fields[0].as_ref().clone());
        targets.push(common.with_name(schema.field(at).name()).with_nullable(nullable));
    }
    let mut converted = Vec::with_capacity(inputs.len());
    for input in inputs {
        let mut exprs = Vec::with_capacity(width);
        let mut changed = false;
        for (at, target) in targets.iter().enumerate() {
            let (qualifier, field) = input.schema().qualified_field(at);
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let same = field.data_type() == target.data_type()
                && field.metadata().get(DECLARED) == target.metadata().get(DECLARED);
            if same && field.is_nullable() == target.is_nullable() {
                exprs.push(column);
            } else {
                exprs.push(as_type(column, target)?.alias_qualified(qualifier.cloned(), field.name()));
                changed = true;
            }
        }
        converted.push(match changed {
            true => Arc::new(LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(exprs)?.build()?),
            false => input,
        });
    }
    // What was converted may be NULL as far as its type tells.
    let fields = targets.into_iter().enumerate().map(|(at, target)| {
        let nullable = converted.iter().any(|input| input.schema().field(at).is_nullable());
        (schema.qualified_field(at).0.cloned(), Arc::new(target.with_nullable(nullable)))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
    Ok(LogicalPlan::Union(Union { inputs: converted, schema: Arc::new(schema) }))
}

/// Tells whether an expression costs nothing, so that DataFusion may write it twice.
fn is_plain(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_) | Expr::Literal(..) | Expr::OuterReferenceColumn(..))
}

fn in_list(list: InList, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let mut pairs = Vec::with_capacity(list.list.len());
    for item in &list.list {
        pairs.push(harmonise(((*list.expr).clone(), schema), (item.clone(), schema))?);
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
    let mut arguments = vec![*list.expr];
    arguments.extend(list.list);
    let any = call("mysql_in", arguments);
    Ok(Transformed::yes(if list.negated { Expr::Not(Box::new(any)) } else { any }))
}

/// A column keeps the native form, which scans can prune with; anything else is worked out once.
fn between(range: Between, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Between { expr, negated, low, high } = range;
    let (from, low_side) = harmonise(((*expr).clone(), schema), ((*low).clone(), schema))?;
    let (to, high_side) = harmonise(((*expr).clone(), schema), ((*high).clone(), schema))?;
    let inside = if from != to {
        call("mysql_between", vec![*expr, *low, *high])
    } else if is_plain(&from) {
        let native = Between::new(Box::new(from), negated, Box::new(low_side), Box::new(high_side));
        return Ok(Transformed::yes(Expr::Between(native)));
    } else {
        call("mysql_between", vec![from, low_side, high_side])
    };
    Ok(Transformed::yes(if negated { Expr::Not(Box::new(inside)) } else { inside }))
}

/// Converts a value and the column of a subquery that it is compared with.
fn with_subquery(expr: Expr, schema: &DFSchema, subquery: Subquery) -> PlanResult<(Expr, Subquery)> {
    let plan = &subquery.subquery;
    if let Some((left, right)) = row_keys(&expr, plan) {
        return rows_with_subquery(left.to_vec(), right.to_vec(), schema, subquery.clone());
    }
    let (qualifier, field) = plan.schema().qualified_field(0);
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let (expr, converted) = harmonise((expr, schema), (column.clone(), plan.schema()))?;
    if converted == column {
        return Ok((expr, subquery));
    }
    let name = field.name().clone();
    let plan = LogicalPlanBuilder::from(plan.as_ref().clone()).project([converted.alias(name)])?.build()?;
    Ok((expr, Subquery { subquery: Arc::new(plan), ..subquery }))
}

/// Returns what two rows of values are made of, where a row is compared with those of a subquery.
fn row_keys<'e>(expr: &'e Expr, plan: &'e LogicalPlan) -> Option<(&'e [Expr], &'e [Expr])> {
    let parts = |expr: &'e Expr| match expr {
        Expr::ScalarFunction(function) if function.func.name() == "mysql_row_key" => Some(function.args.as_slice()),
        _ => None,
    };
    let LogicalPlan::Projection(projection) = plan else { return None };
    let [Expr::Alias(item)] = projection.expr.as_slice() else { return None };
    let (left, right) = (parts(expr)?, parts(&item.expr)?);
    (left.len() == right.len()).then_some((left, right))
}

fn rows_with_subquery(
    left: Vec<Expr>,
    right: Vec<Expr>,
    schema: &DFSchema,
    subquery: Subquery,
) -> PlanResult<(Expr, Subquery)> {
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else { unreachable!("row_keys found one") };
    let inner = projection.input.schema();
    let pairs = left.into_iter().zip(right).map(|(l, r)| harmonise((l, schema), (r, inner)));
    let (left, right): (Vec<Expr>, Vec<Expr>) = pairs.collect::<PlanResult<Vec<_>>>()?.into_iter().unzip();
    let name = projection.schema.field(0).name().clone();
    let plan = LogicalPlanBuilder::from(projection.input.as_ref().clone())
        .project([call("mysql_row_key", right).alias(name)])?
        .build()?;
    Ok((call("mysql_row_key", left), Subquery { subquery: Arc::new(plan), ..subquery }))
}

fn in_subquery(list: InSubquery, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let (expr, subquery) = with_subquery(*list.expr, schema, list.subquery)?;
    Ok(Transformed::yes(Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, list.negated))))
}

fn set_comparison(set: SetComparison, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let (expr, subquery) = with_subquery(*set.expr, schema, set.subquery)?;
    let set = SetComparison::new(Box::new(expr), subquery, set.op, set.quantifier);
    Ok(Transformed::yes(Expr::SetComparison(set)))
}

/// A subquery without a row is NULL, whatever its column is; one that refers to the query around it becomes an
/// aggregate, which DataFusion turns into a join.
fn scalar_subquery(subquery: Subquery) -> PlanResult<Expr> {
    let field = subquery.subquery.schema().field(0).clone();
    let correlated = !subquery.outer_ref_columns.is_empty();
    if correlated && !gives_one_row(&subquery.subquery) {
        return one_row(subquery);
    }
    let nullable = field.is_nullable();
    let expr = Expr::ScalarSubquery(subquery);
    if nullable { Ok(expr) } else { as_type(expr, &field) }
}

/// DataFusion makes joins of EXISTS and IN where they filter; where they are values, they are counted.
fn as_value(expr: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    match expr {
        Expr::Exists(Exists { subquery, negated }) => {
            let plan = subquery.subquery.as_ref().clone();
            let found = rows_of(plan, subquery, Vec::new())?;
            let found = if negated { found.eq(lit(0_i64)) } else { found.gt(lit(0_i64)) };
            Ok(Transformed::yes(found))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let plan = subquery.subquery.as_ref().clone();
            let (qualifier, field) = plan.schema().qualified_field(0);
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let mut referred = Vec::new();
            let outer = expr.as_ref().clone().transform_up(|expr| match expr {
                Expr::Column(column) => {
                    let field = datafusion::common::ExprSchema::field_from_column(schema, &column)?.clone();
                    let outer = Expr::OuterReferenceColumn(field, column);
                    referred.push(outer.clone());
                    Ok(Transformed::yes(outer))
                }
                other => Ok(Transformed::no(other)),
            })?;
            let narrowed = |condition: Expr| LogicalPlanBuilder::from(plan.clone()).filter(condition)?.build();
            let equal = narrowed(column.clone().eq(outer.data))?;
            let unknown = narrowed(column.is_null())?;
            let found = rows_of(equal, subquery.clone(), referred)?.gt(lit(0_i64));
            let unknown = rows_of(unknown, subquery.clone(), Vec::new())?.gt(lit(0_i64));
            let any = rows_of(plan.clone(), subquery, Vec::new())?.gt(lit(0_i64));
            let unknown = unknown.or(expr.is_null().and(any));
            let pairs = vec![
                (Box::new(found), Box::new(lit(!negated))),
                (Box::new(unknown), Box::new(lit(ScalarValue::Boolean(None)))),
            ];
            Ok(Transformed::yes(Expr::Case(Case::new(None, pairs, Some(Box::new(lit(negated)))))))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Returns how many rows a plan has, as a subquery that refers to the same columns as `subquery` and to `referred`.
fn rows_of(plan: LogicalPlan, subquery: Subquery, referred: Vec<Expr>) -> PlanResult<Expr> {
    let count = datafusion::functions_aggregate::count::count_udaf();
    let count = AggregateFunction::new_udf(count, vec![lit(1_i64)], false, None, Vec::new(), None);
    let count = Expr::AggregateFunction(count);
    let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), vec![count])?.build()?;
    let mut outer_ref_columns = subquery.outer_ref_columns;
    outer_ref_columns.extend(referred);
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans }))
}

fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => gives_one_row(&node.input),
        LogicalPlan::SubqueryAlias(node) => gives_one_row(&node.input),
        LogicalPlan::Sort(node) if node.fetch.is_none() => gives_one_row(&node.input),
        LogicalPlan::Filter(node) => matches!(node.input.as_ref(), LogicalPlan::Aggregate(_)),
        LogicalPlan::Aggregate(_) | LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    }
}

/// Makes an aggregate of a correlated subquery: the first row in its order under LIMIT 1, else the only row.
fn one_row(subquery: Subquery) -> PlanResult<Expr> {
    let plan = subquery.subquery.as_ref();
    let name = plan.schema().field(0).name().clone();
    let (limited, plan) = match plan {
        LogicalPlan::Limit(limit) => {
            let first = matches!(limit.get_skip_type()?, SkipType::Literal(0))
                && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)));
            if !first {
                return Ok(Expr::ScalarSubquery(subquery));
            }
            (true, limit.input.as_ref())
        }
        other => (false, other),
    };
    let column = |plan: &LogicalPlan| {
        let (qualifier, field) = plan.schema().qualified_field(0);
        Expr::Column(Column::new(qualifier.cloned(), field.name()))
    };
    let (value, order, input) = match plan {
        LogicalPlan::Sort(sort) => (column(&sort.input), sort.expr.clone(), sort.input.clone()),
        LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
            let LogicalPlan::Sort(sort) = projection.input.as_ref() else { unreachable!("matched above") };
            (projection.expr[0].clone().unalias(), sort.expr.clone(), sort.input.clone())
        }
        other => (column(other), Vec::new(), Arc::new(other.clone())),
    };
    let order = if limited { order } else { Vec::new() };
    let function = match limited {
        true => datafusion::functions_aggregate::first_last::first_value_udaf(),
        false => aggregate("mysql_only_row"),
    };
    let picked = AggregateFunction::new_udf(function, vec![value], false, None, order, None);
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
        .aggregate(Vec::<Expr>::new(), vec![Expr::AggregateFunction(picked)])?
        .build()?;
    let picked = column(&plan);
    let plan = LogicalPlanBuilder::from(plan).project([picked.alias(name)])?.build()?;
    let expr = Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery });
    // Rows are counted for every key there is, and judged only where the query around asks for one.
    Ok(if limited { expr } else { call("mysql_value_of_row", vec![expr]) })
}

fn case_types(case: Case, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for answer in case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref()) {
        match answer.to_field(schema) {
            Ok((_, field)) => fields.push(field),
            Err(_) => return Ok(Transformed::no(Expr::Case(case))),
        }
    }
    let common = common_field(&fields).unwrap_or_else(|| fields[0].as_ref().clone());
    // A CASE has a type, and no field that says how many digits of a second it shows.
    let shown = |case: Case| match types::temporal(&common) {
        Some(declared) => as_type(Expr::Case(case), &common.clone().with_metadata(declared)).map(Transformed::yes),
        None => Ok(Transformed::yes(Expr::Case(case))),
    };
    let settled = |field: &FieldRef| field.data_type() == common.data_type() || *field.data_type() == DataType::Null;
    let same = fields.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type());
    if same || fields.iter().all(settled) {
        return shown(case);
    }
    let mut fields = fields.iter();
    let mut convert = |expr: Expr| match fields.next() {
        Some(field) if !settled(field) => as_type(expr, &common),
        _ => Ok(expr),
    };
    let mut pairs = Vec::with_capacity(case.when_then_expr.len());
    for (when, then) in case.when_then_expr {
        pairs.push((when, Box::new(convert(*then)?)));
    }
    let otherwise = case.else_expr.map(|expr| convert(*expr).map(Box::new)).transpose()?;
    shown(Case::new(case.expr, pairs, otherwise))
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
