//! UPDATE of one table or several: a SELECT of the rows and their new values, then the rows that changed are replaced.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{concat_batches, filter_record_batch, or};
use sqlparser::ast::{
    self, Assignment, AssignmentTarget, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor,
    TableWithJoins,
};
use strandline_core::grants::Privileges;
use strandline_core::ids::{ColumnId, TableId};
use strandline_core::txn::Txn;

use super::{Effect, Target, arrow, mode_of, repeated, split_name, to_utc, values, warn_bent};
use crate::access::columns::Reads;
use crate::api::Value;
use crate::error::{Error, Result};
use crate::parse::{self, name_parts};
use crate::plan::{self, Options, Reading, Source};
use crate::session::State;
use crate::types::{self, Mode};
use crate::{eval, run};

/// A table that a FROM clause names, and what it is called there.
pub struct Named {
    pub target: Target,
    pub alias: String,
}

pub async fn execute(
    state: &mut State,
    txn: &mut Txn,
    statement: &parse::Update,
    parameters: &[Value],
) -> Result<Effect> {
    let update = &statement.update;
    if update.returning.is_some() || update.output.is_some() || update.or.is_some() {
        return Err(Error::unsupported("this form of UPDATE"));
    }
    let mode = mode_of(state, statement.ignore);
    let tables = tables_of(state, txn, std::slice::from_ref(&update.table), "UPDATE")?;
    // Per table that is written to: its assignments, in order.
    let mut by_table: Vec<(usize, Vec<Assignment>)> = Vec::new();
    for assignment in &update.assignments {
        let at = table_of(assignment, &tables)?;
        match by_table.iter_mut().find(|(table, _)| *table == at) {
            Some((_, list)) => list.push(assignment.clone()),
            None => by_table.push((at, vec![assignment.clone()])),
        }
    }
    if by_table.len() > 1 || tables.len() > 1 || !update.table.joins.is_empty() {
        if !update.order_by.is_empty() || update.limit.is_some() {
            return Err(Error::new(1221, "HY000", "Incorrect usage of UPDATE and ORDER BY"));
        }
    }
    let mut reads = Reads::new(None);
    reads.add_from(std::slice::from_ref(&update.table));
    update.selection.iter().for_each(|condition| reads.add(condition));
    update.order_by.iter().for_each(|order| reads.add(order));
    update.assignments.iter().for_each(|assignment| reads.add(&assignment.value));
    let mut written = Vec::new();
    for (at, assignments) in &by_table {
        let Named { target, alias } = &tables[*at];
        txn.set_what(format!("UPDATE {}", target.name()));
        let changed: Vec<usize> = chain(assignments, target, alias, false)?.into_iter().map(|(at, _)| at).collect();
        target.require(state, &changed, Privileges::UPDATE)?;
        reads.check(state, target)?;
        written.push(target.table.id);
    }

    // One SELECT for all of them: whole rows of each table, and the new values.
    let mut exprs = Vec::new();
    let mut places = Vec::new();
    for (at, assignments) in &by_table {
        let Named { target, alias } = &tables[*at];
        let first = exprs.len();
        exprs.extend(row_columns(target).iter().map(|name| eval::column(Some(alias), name)));
        let values = exprs.len();
        let chained = chain(assignments, target, alias, tables.len() == 1)?;
        let positions: Vec<usize> = chained.iter().map(|(position, _)| *position).collect();
        exprs.extend(chained.into_iter().map(|(_, expr)| expr));
        places.push((*at, first, values, positions));
    }
    let mut query = eval::select(exprs, vec![update.table.clone()]);
    eval::narrow(&mut query, update.selection.clone(), update.order_by.clone(), update.limit.clone());
    let insert_id = takes_insert_id(&update.assignments);
    unwrap_insert_id(&mut query);
    let rows = found_rows(state, txn, &query, parameters, written).await?;

    let (mut matched, mut changed) = (0, 0);
    let mut last_insert_id = None;
    for (at, first, values_at, positions) in places {
        let target = &tables[at].target;
        let width = row_columns(target).len();
        let part = distinct_rows(target, &rows.batch, first, width)?;
        matched += part.num_rows() as u64;
        if part.num_rows() == 0 {
            continue;
        }
        let mut columns: Vec<ArrayRef> = (first..first + width).map(|at| part.column(at).clone()).collect();
        for (at, ty) in target.types.iter().enumerate() {
            columns[at] = to_utc(&columns[at], ty, state)?;
        }
        let old = RecordBatch::try_new(target.table.physical_schema(), columns).map_err(arrow)?;
        let mut new_values = Vec::with_capacity(positions.len());
        for (offset, position) in positions.iter().enumerate() {
            let array = part.column(values_at + offset).clone();
            if insert_id == Some(offset) && matched > 0 {
                last_insert_id = last_u64(&array);
            }
            new_values.push((*position, array, rows.fields[values_at + offset].clone()));
        }
        changed += replace(state, txn, target, &old, new_values, mode).await?;
    }
    let warnings = state.warnings.len();
    Ok(Effect {
        affected: changed,
        matched: Some(matched),
        last_insert_id,
        shown_insert_id: None,
        info: format!("Rows matched: {matched}  Changed: {changed}  Warnings: {warnings}"),
    })
}

/// Gives rows new values by assignments over `visible`, which has the old row's columns under their names, and writes
/// those that changed. `old` is physical, with `_row_id`. Returns how many changed. For ON DUPLICATE KEY UPDATE.
#[expect(clippy::too_many_arguments, reason = "a statement has that many parts")]
pub async fn assign(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    old: &RecordBatch,
    visible: &RecordBatch,
    assignments: &[Assignment],
    parameters: &[Value],
    mode: Mode,
) -> Result<u64> {
    let insert_id = takes_insert_id(assignments);
    let mut chained = chain(assignments, target, &target.table.name, true)?;
    for (_, expr) in &mut chained {
        unwrap_insert_id_in(expr);
    }
    let (positions, exprs): (Vec<usize>, Vec<Expr>) = chained.into_iter().unzip();
    let reading = Reading { state, source: Source::Txn(txn) };
    let evaluated = Box::pin(eval::over(reading, &target.table.name, visible, &exprs, parameters)).await?;
    if let Some(at) = insert_id {
        state.last_insert_id = last_u64(&evaluated[at].0).unwrap_or(state.last_insert_id);
    }
    let values =
        positions.into_iter().zip(evaluated).map(|(position, (array, field))| (position, array, field)).collect();
    replace(state, txn, target, old, values, mode).await
}

/// Puts new values into rows and writes those that differ. Returns how many.
async fn replace(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    old: &RecordBatch,
    values: Vec<(usize, ArrayRef, arrow::datatypes::FieldRef)>,
    mode: Mode,
) -> Result<u64> {
    let mut columns = old.columns().to_vec();
    let mut differs = BooleanArray::from(vec![false; old.num_rows()]);
    let mut assigned = Vec::new();
    for (position, array, field) in values {
        let done = types::coerce_array(&array, &field, target.coercion(position, mode), 1)?;
        warn_bent(state, &target.table.columns[position].name, done.warnings);
        let array = to_utc(&done.array, &target.types[position], state)?;
        differs = or(&differs, &distinct(&array, &old.column(position)).map_err(arrow)?).map_err(arrow)?;
        columns[position] = array;
        assigned.push(position);
    }
    if differs.true_count() == 0 {
        return Ok(0);
    }
    for (position, column) in target.table.columns.iter().enumerate() {
        if let Some(text) = &column.on_update
            && !assigned.contains(&position)
            && let Some(now) = values::current_timestamp(state, target, position, text)?
        {
            columns[position] = to_utc(&repeated(&now, old.num_rows())?, &target.types[position], state)?;
        }
    }
    let new = RecordBatch::try_new(old.schema(), columns).map_err(arrow)?;
    let old = filter_record_batch(old, &differs).map_err(arrow)?;
    let new = filter_record_batch(&new, &differs).map_err(arrow)?;
    let checked = target.check(state, txn, new.clone(), Mode::Strict).await?;
    Ok(txn.update(&target.table, &keys_of(target, &old)?, &checked).await?)
}

/// Rows that a SELECT found, in one batch, and their fields as planned.
pub struct Found {
    pub batch: RecordBatch,
    pub fields: arrow::datatypes::Fields,
}

/// Runs the SELECT of an UPDATE or DELETE that writes the tables `written`.
pub async fn found_rows(
    state: &State,
    txn: &Txn,
    query: &ast::Query,
    parameters: &[Value],
    written: Vec<TableId>,
) -> Result<Found> {
    let reading = Reading { state, source: Source::Txn(txn) };
    let options = Options { with_row_id: true, written, ..Options::default() };
    let planned = Box::pin(plan::query(reading, query, "", parameters, &options)).await?;
    let fields = planned.logical.schema().fields().clone();
    let (schema, batches) = Box::pin(run::collect(planned)).await?;
    Ok(Found { batch: concat_batches(&schema, &batches).map_err(arrow)?, fields })
}

/// Returns the tables that a FROM clause names; views and derived tables are left out unless there is nothing else.
pub fn tables_of(state: &State, txn: &Txn, from: &[TableWithJoins], statement: &str) -> Result<Vec<Named>> {
    let mut tables = Vec::new();
    let mut refused = None;
    for table in from {
        collect(state, txn, table, statement, &mut tables, &mut refused)?;
    }
    match refused {
        Some(error) if tables.is_empty() => Err(error),
        _ => Ok(tables),
    }
}

fn collect(
    state: &State,
    txn: &Txn,
    from: &TableWithJoins,
    statement: &str,
    tables: &mut Vec<Named>,
    refused: &mut Option<Error>,
) -> Result<()> {
    for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        match factor {
            // A table of the past can be read here, not written to.
            TableFactor::Table { name, alias, version: None, .. } => {
                let (database, name) = split_name(name)?;
                let shown = alias.as_ref().map_or(name.clone(), |alias| alias.name.value.clone());
                match Target::find(state, txn, database.as_deref(), &name, statement) {
                    Ok(target) => tables.push(Named { target, alias: shown }),
                    // A view can stand beside the table that is written to.
                    Err(error) if matches!(error.code, 1288 | 1044) => *refused = Some(error),
                    Err(error) => return Err(error),
                }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                collect(state, txn, table_with_joins, statement, tables, refused)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the names of a whole row's columns, `_row_id` included.
pub fn row_columns(target: &Target) -> Vec<String> {
    let mut names: Vec<String> = target.table.columns.iter().map(|column| column.name.to_lowercase()).collect();
    if target.table.has_row_id() {
        names.push(ColumnId::ROW_ID.physical_name());
    }
    names
}

/// Returns the keys of whole rows.
pub fn keys_of(target: &Target, rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = target.table.key_schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| rows.column_by_name(field.name()).cloned())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::internal("a row lacks its key"))?;
    RecordBatch::try_new(schema, columns).map_err(arrow)
}

/// Leaves out rows that a join repeats, and those that an outer join made up. The table's columns begin at `first`.
fn distinct_rows(target: &Target, batch: &RecordBatch, first: usize, width: usize) -> Result<RecordBatch> {
    let names = row_columns(target);
    let key: Vec<ArrayRef> = target
        .table
        .key_columns()
        .iter()
        .filter_map(|id| {
            let at = target.table.columns.iter().position(|column| column.id == *id);
            at.or((*id == ColumnId::ROW_ID).then_some(names.len() - 1))
        })
        .map(|at| batch.column(first + at).clone())
        .collect();
    debug_assert!(width == names.len(), "a whole row was selected");
    let keep = first_of_each(&key, batch.num_rows())?;
    filter_record_batch(batch, &keep).map_err(arrow)
}

/// Marks the first row of each key; rows whose key is NULL are left out.
pub fn first_of_each(key: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
    use arrow::row::{RowConverter, SortField};
    let fields = key.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(key)).map_err(arrow)?;
    let mut seen = std::collections::HashSet::with_capacity(rows);
    Ok((0..rows)
        .map(|at| Some(key.iter().all(|column| column.is_valid(at)) && seen.insert(converted.row(at))))
        .collect())
}

/// Returns which of `tables` an assignment writes to.
fn table_of(assignment: &Assignment, tables: &[Named]) -> Result<usize> {
    let AssignmentTarget::ColumnName(name) = &assignment.target else {
        return Err(Error::unsupported("an assignment to several columns at once"));
    };
    let parts = name_parts(name);
    let (qualifier, column) = match parts.as_slice() {
        [column] => (None, column),
        [table, column] | [_, table, column] => (Some(table), column),
        _ => return Err(Error::unknown_column(&parts.join("."), "field list")),
    };
    let has = |named: &Named| named.target.position(column).is_ok();
    let mut found = tables.iter().enumerate().filter(|(_, named)| match qualifier {
        Some(qualifier) => named.alias.eq_ignore_ascii_case(qualifier),
        None => has(named),
    });
    match (found.next(), found.next(), qualifier) {
        (Some((at, named)), None, _) | (Some((at, named)), _, Some(_)) if has(named) => Ok(at),
        (Some(_), Some(_), None) => {
            Err(Error::new(1052, "23000", format!("Column '{column}' in field list is ambiguous")))
        }
        _ => Err(Error::unknown_column(&parts.join("."), "field list")),
    }
}

/// Returns per assignment the column's position and the value. In an UPDATE of one table an assignment sees what those
/// before it assigned.
fn chain(assignments: &[Assignment], target: &Target, alias: &str, sees_earlier: bool) -> Result<Vec<(usize, Expr)>> {
    let mut chained: Vec<(usize, Expr)> = Vec::with_capacity(assignments.len());
    let mut earlier: HashMap<usize, Expr> = HashMap::new();
    for assignment in assignments {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(Error::unsupported("an assignment to several columns at once"));
        };
        let position = target.position(name_parts(name).last().map_or("", String::as_str))?;
        let mut value = match &assignment.value {
            Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("DEFAULT") => {
                values::default_expr(target, position)?
            }
            value => value.clone(),
        };
        if sees_earlier && !earlier.is_empty() {
            substitute(&mut value, target, alias, &earlier);
        }
        if sees_earlier {
            earlier.insert(position, value.clone());
        }
        chained.retain(|(other, _)| *other != position);
        chained.push((position, value));
    }
    Ok(chained)
}

fn substitute(value: &mut Expr, target: &Target, alias: &str, earlier: &HashMap<usize, Expr>) {
    // From the leaves up, so that what is put in is not looked at again.
    struct Substitute<'a>(&'a Target, &'a str, &'a HashMap<usize, Expr>);
    impl ast::VisitorMut for Substitute<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> std::ops::ControlFlow<()> {
            let name = match &*expr {
                Expr::Identifier(ident) => &ident.value,
                Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                    [table, column] if table.value.eq_ignore_ascii_case(self.1) => &column.value,
                    _ => return std::ops::ControlFlow::Continue(()),
                },
                _ => return std::ops::ControlFlow::Continue(()),
            };
            if let Ok(position) = self.0.position(name)
                && let Some(value) = self.2.get(&position)
            {
                *expr = Expr::Nested(Box::new(value.clone()));
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let _ = ast::VisitMut::visit(value, &mut Substitute(target, alias, earlier));
}

/// Returns which assignment is `LAST_INSERT_ID(expr)`: the session remembers its value.
fn takes_insert_id(assignments: &[Assignment]) -> Option<usize> {
    assignments.iter().position(|assignment| insert_id_argument(&assignment.value).is_some())
}

fn insert_id_argument(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("LAST_INSERT_ID") => {
            match &function.args {
                FunctionArguments::List(list) => match list.args.as_slice() {
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] => Some(inner),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

fn unwrap_insert_id_in(expr: &mut Expr) {
    let _ = ast::visit_expressions_mut(expr, |expr| {
        if let Some(inner) = insert_id_argument(expr) {
            *expr = Expr::Nested(Box::new(inner.clone()));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

fn unwrap_insert_id(query: &mut ast::Query) {
    let _ = ast::visit_expressions_mut(query, |expr| {
        if let Some(inner) = insert_id_argument(expr) {
            *expr = Expr::Nested(Box::new(inner.clone()));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

fn last_u64(array: &ArrayRef) -> Option<u64> {
    let numbers = arrow::compute::cast(array, &arrow::datatypes::DataType::UInt64).ok()?;
    let numbers = arrow::array::AsArray::as_primitive::<arrow::datatypes::UInt64Type>(&numbers).clone();
    let last = numbers.len().checked_sub(1)?;
    numbers.is_valid(last).then(|| numbers.value(last))
}
