//! Expressions outside of queries: values of INSERT and SET, assignments of UPDATE, checks. Each is planned as a SELECT.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use sqlparser::ast::{
    Expr, Ident, LimitClause, ObjectName, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    TableAlias, TableFactor, TableWithJoins,
};

use crate::api::Value;
use crate::error::{Error, Result};
use crate::parse;
use crate::plan::{self, Options, Reading};
use crate::{failure, run};

/// How many expressions go into one plan.
const EXPRESSIONS_MAX: usize = 200;

/// Evaluates expressions that name no column. Returns each with its field: the declared type travels on it.
pub async fn constants(
    reading: Reading<'_>,
    exprs: &[Expr],
    parameters: &[Value],
) -> Result<Vec<(ScalarValue, FieldRef)>> {
    let mut values = Vec::with_capacity(exprs.len());
    for chunk in exprs.chunks(EXPRESSIONS_MAX) {
        let query = select(chunk.to_vec(), Vec::new());
        let planned = Box::pin(plan::query(reading, &query, "", parameters, &Options::default())).await?;
        let fields = planned.logical.schema().fields().clone();
        let found = run::collect(planned).await?;
        let [batch] = found.batches.as_slice() else {
            return Err(Error::internal("a SELECT without a table gave more or less than one row"));
        };
        for (column, field) in batch.columns().iter().zip(&fields) {
            let value = ScalarValue::try_from_array(column, 0).map_err(failure::of_query)?;
            values.push((value, field.clone()));
        }
    }
    Ok(values)
}

/// Evaluates expressions over the rows of `batch`, whose columns have lower-case names, as a table called `alias`. Queries
/// in them see the tables of the database, also one of that name. The answers are in the rows' order.
pub async fn over(
    reading: Reading<'_>,
    alias: &str,
    batch: &RecordBatch,
    exprs: &[Expr],
    parameters: &[Value],
) -> Result<Vec<(ArrayRef, FieldRef)>> {
    // No table has a name with this in it.
    const ROWS: &str = "\u{1}rows";
    if exprs.is_empty() {
        return Ok(Vec::new());
    }
    let provider = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).map_err(failure::of_query)?;
    let given = Some((ROWS.to_owned(), Arc::new(provider) as _));
    let options = Options { given, in_order: true, ..Options::default() };
    let rows = table_factor(ObjectName::from(vec![Ident::with_quote('`', ROWS)]), Some(alias));
    let query = select(exprs.to_vec(), vec![rows]);
    let planned = Box::pin(plan::query(reading, &query, "", parameters, &options)).await?;
    let fields = planned.logical.schema().fields().clone();
    let found = run::collect(planned).await?;
    let rows =
        concat_batches(&found.schema, &found.batches).map_err(|error| Error::internal(format!("Arrow: {error}")))?;
    if rows.num_rows() != batch.num_rows() {
        return Err(Error::internal("an expression over rows gave another number of rows"));
    }
    Ok(rows.columns().iter().cloned().zip(fields.iter().cloned()).collect())
}

/// Returns `SELECT e AS e0, … FROM from`.
pub fn select(exprs: Vec<Expr>, from: Vec<TableWithJoins>) -> Query {
    let mut query = template();
    let inner = select_of(&mut query);
    inner.projection = exprs
        .into_iter()
        .enumerate()
        .map(|(at, expr)| SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('`', format!("e{at}")) })
        .collect();
    inner.from = from;
    query
}

/// Adds WHERE, ORDER BY and LIMIT to a query that [`select`] made.
pub fn narrow(query: &mut Query, selection: Option<Expr>, order_by: Vec<OrderByExpr>, limit: Option<Expr>) {
    select_of(query).selection = selection;
    if !order_by.is_empty() {
        query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(order_by), interpolate: None });
    }
    if limit.is_some() {
        query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() });
    }
}

/// Returns a FROM item that is just a name.
pub fn table_named(name: &str) -> TableWithJoins {
    table_factor(ObjectName::from(vec![Ident::with_quote('`', name)]), None)
}

/// Returns a FROM item that is a table under another name.
pub fn table_factor(name: ObjectName, alias: Option<&str>) -> TableWithJoins {
    let relation = TableFactor::Table {
        name,
        alias: alias.map(|alias| TableAlias {
            explicit: true,
            name: Ident::with_quote('`', alias),
            columns: Vec::new(),
            at: None,
        }),
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    TableWithJoins { relation, joins: Vec::new() }
}

/// Returns a column as an expression.
pub fn column(table: Option<&str>, name: &str) -> Expr {
    match table {
        Some(table) => Expr::CompoundIdentifier(vec![Ident::with_quote('`', table), Ident::with_quote('`', name)]),
        None => Expr::Identifier(Ident::with_quote('`', name)),
    }
}

/// Returns `field` as a column of another name, with what it tells of its type.
pub fn renamed(field: &Field, name: &str) -> Field {
    field.clone().with_name(name)
}

fn select_of(query: &mut Query) -> &mut Select {
    match query.body.as_mut() {
        SetExpr::Select(select) => select,
        _ => unreachable!("the template is a SELECT"),
    }
}

fn template() -> Query {
    static TEMPLATE: OnceLock<Query> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let parsed = parse::parse_one("SELECT 1", parse::Options::default()).expect("SELECT 1 is SQL");
        match parsed.statement {
            parse::Statement::Query(query) => *query,
            other => unreachable!("SELECT 1 is a query, not {other:?}"),
        }
    });
    template.clone()
}
