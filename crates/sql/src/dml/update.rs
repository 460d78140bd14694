//! UPDATE of one table or several: a SELECT of the rows and their new values, then the rows that changed are replaced.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{concat_batches, filter_record_batch, or};
use datafusion::execution::memory_pool::MemoryReservation;
use sqlparser::ast::{self, Assignment, AssignmentTarget, TableFactor, TableWithJoins};
use strandline_core::grants::Privileges;
use strandline_core::ids::{ColumnId, TableId};
use strandline_core::schema::same_name;
use strandline_core::txn::Txn;

use super::assign::{self, Assigned};
use super::{Effect, Target, arrow, mode_of, repeated, split_name, to_utc, values};
use crate::access::columns::Reads;
use crate::api::Value;
use crate::error::{Error, Result};
use crate::parse::{self, name_parts};
use crate::plan::{self, Options, Reading, Source};
use crate::session::State;
use crate::types::Mode;
use crate::{eval, failure, run};

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
    let from = tables_of(state, txn, std::slice::from_ref(&update.table), "UPDATE")?;
    let tables = &from.tables;
    let is_single = update.table.joins.is_empty() && matches!(update.table.relation, TableFactor::Table { .. });
    // Per table that is written to: its assignments, in order.
    let mut by_table: Vec<(usize, Vec<&Assignment>)> = Vec::new();
    for assignment in &update.assignments {
        let at = table_of(assignment, &from)?;
        match by_table.iter_mut().find(|(table, _)| *table == at) {
            Some((_, list)) => list.push(assignment),
            None => by_table.push((at, vec![assignment])),
        }
    }
    if !is_single && (!update.order_by.is_empty() || update.limit.is_some()) {
        return Err(Error::new(1221, "HY000", "Incorrect usage of UPDATE and ORDER BY"));
    }
    let by_table = by_table
        .into_iter()
        .map(|(at, assignments)| Ok((at, assign::read(assignments, &tables[at].target, &tables[at].alias)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut reads = Reads::new(None);
    reads.add_from(std::slice::from_ref(&update.table));
    update.selection.iter().for_each(|condition| reads.add(condition));
    update.order_by.iter().for_each(|order| reads.add(order));
    update.assignments.iter().for_each(|assignment| reads.add(&assignment.value));
    let mut written = Vec::new();
    for (at, assignments) in &by_table {
        let target = &tables[*at].target;
        txn.set_what(format!("UPDATE {}", target.name()));
        let changed: Vec<usize> = assignments.iter().map(|assigned| assigned.position).collect();
        target.require(state, &changed, Privileges::UPDATE)?;
        reads.check(state, target)?;
        written.push(target.table.id);
    }

    // One SELECT for all of them: whole rows of each table, and the new values of the first step. Of several tables each
    // row may be found more than once, and MySQL promises no order of assignments: all of them see the old rows.
    let mut exprs = Vec::new();
    let mut places = Vec::new();
    for (at, assignments) in &by_table {
        let Named { target, alias } = &tables[*at];
        let first = exprs.len();
        exprs.extend(row_columns(target).iter().map(|name| eval::column(Some(alias), name)));
        let values = exprs.len();
        let steps = if is_single { assign::steps(assignments, target) } else { vec![assignments.as_slice()] };
        exprs.extend(assign::exprs(steps[0]));
        places.push((*at, first, values..exprs.len(), steps));
    }
    let mut query = eval::select(exprs, vec![update.table.clone()]);
    eval::narrow(&mut query, update.selection.clone(), update.order_by.clone(), update.limit.clone());
    let found = found_rows(state, txn, &query, parameters, written).await?;

    let (mut matched, mut changed, mut last_insert_id) = (0, 0, None);
    for ((_, assignments), (at, first, values, steps)) in by_table.iter().zip(places) {
        let Named { target, alias } = &tables[at];
        let part = distinct_rows(target, &found.batch, first)?;
        matched += part.num_rows() as u64;
        if part.num_rows() == 0 {
            continue;
        }
        let mut columns: Vec<ArrayRef> = part.columns()[first..values.start].to_vec();
        for (at, ty) in target.types.iter().enumerate() {
            columns[at] = to_utc(&columns[at], ty, state)?;
        }
        let old = RecordBatch::try_new(target.table.physical_schema(), columns).map_err(arrow)?;
        let visible = target.logical(&old, state)?;
        let mut rows = assign::Rows { target, alias, mode, visible, remembered: None };
        rows.take(state, steps[0], values.map(|at| (part.column(at).clone(), found.fields[at].clone())))?;
        rows.assign(state, txn, &steps[1..], parameters).await?;
        last_insert_id = rows.remembered.or(last_insert_id);
        changed += write(state, txn, &old, &rows, assignments).await?;
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

/// Writes rows that were given new values, those of them that differ from the `old` ones: physical, with `_row_id`.
/// Returns how many.
pub async fn write(
    state: &mut State,
    txn: &mut Txn,
    old: &RecordBatch,
    rows: &assign::Rows<'_>,
    assignments: &[Assigned],
) -> Result<u64> {
    let target = rows.target;
    let mut columns = old.columns().to_vec();
    let mut differs = BooleanArray::from(vec![false; old.num_rows()]);
    for Assigned { position, .. } in assignments {
        let array = to_utc(rows.visible.column(*position), &target.types[*position], state)?;
        differs = or(&differs, &distinct(&array, &old.column(*position)).map_err(arrow)?).map_err(arrow)?;
        columns[*position] = array;
    }
    if differs.true_count() == 0 {
        return Ok(0);
    }
    let is_assigned = |position: usize| assignments.iter().any(|assigned| assigned.position == position);
    for (position, column) in target.table.columns.iter().enumerate() {
        if let Some(text) = &column.on_update
            && !is_assigned(position)
            && let Some(now) = values::current_timestamp(state, target, position, text)?
        {
            columns[position] = to_utc(&repeated(&now, old.num_rows())?, &target.types[position], state)?;
        }
    }
    let new = RecordBatch::try_new(old.schema(), columns).map_err(arrow)?;
    let old = filter_record_batch(old, &differs).map_err(arrow)?;
    let new = filter_record_batch(&new, &differs).map_err(arrow)?;
    let checked = target.check(state, txn, new.clone(), Mode::Strict).await?;
    let changed = txn.update(&target.table, &keys_of(target, &old)?, &checked).await?;
    if let Some(position) = target.table.columns.iter().position(|column| column.auto_increment)
        && is_assigned(position)
    {
        values::saw_auto(txn, target, new.column(position)).await?;
    }
    Ok(changed)
}

/// Rows that a SELECT found, in one batch, and their fields as planned.
pub struct Found {
    pub batch: RecordBatch,
    pub fields: arrow::datatypes::Fields,
    _memory: MemoryReservation,
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
    let found = Box::pin(run::collect(planned)).await?;
    // They stand there twice while they are put together. As they become, the transaction counts them.
    let bytes = found.memory.size();
    found.memory.try_grow(bytes).map_err(failure::of_query)?;
    let batch = concat_batches(&found.schema, &found.batches).map_err(arrow)?;
    drop(found.batches);
    found.memory.shrink(bytes);
    Ok(Found { batch, fields, _memory: found.memory })
}

/// What a FROM clause names.
#[derive(Default)]
pub struct Sources {
    /// Tables that can be written to.
    pub tables: Vec<Named>,
    /// What tables of the past are called here: they can only be read.
    past: Vec<String>,
    /// Why a view or a table that the server makes up cannot be written to.
    refused: Option<Error>,
}

/// Returns the tables that a FROM clause names; views and derived tables are left out unless there is nothing else.
pub fn tables_of(state: &State, txn: &Txn, from: &[TableWithJoins], statement: &str) -> Result<Sources> {
    let mut found = Sources::default();
    for table in from {
        collect(state, txn, table, statement, &mut found)?;
    }
    match (found.refused.take(), found.past.first()) {
        (Some(error), None) if found.tables.is_empty() => Err(error),
        (_, Some(past)) if found.tables.is_empty() => Err(written_past(past)),
        _ => Ok(found),
    }
}

impl Sources {
    /// Fails if `name` is a table of the past.
    pub fn check_present(&self, name: &str) -> Result<()> {
        match self.past.iter().find(|past| same_name(past, name)) {
            Some(past) => Err(written_past(past)),
            None => Ok(()),
        }
    }
}

/// 1792: history only grows.
fn written_past(table: &str) -> Error {
    let message = format!(
        "Table '{table}' is read at a moment of the past, which cannot be written to. Bring rows back with INSERT … SELECT \
         from that moment, or the whole table with RESTORE TABLE."
    );
    Error::new(1792, "25006", message)
}

fn collect(state: &State, txn: &Txn, from: &TableWithJoins, statement: &str, found: &mut Sources) -> Result<()> {
    for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        match factor {
            TableFactor::Table { name, alias, version, .. } => {
                let (database, name) = split_name(name)?;
                let shown = alias.as_ref().map_or(name.clone(), |alias| alias.name.value.clone());
                if version.is_some() {
                    found.past.push(shown);
                    continue;
                }
                match Target::find(state, txn, database.as_deref(), &name, statement) {
                    Ok(target) => found.tables.push(Named { target, alias: shown }),
                    // A view can stand beside the table that is written to.
                    Err(error) if matches!(error.code, 1288 | 1044) => found.refused = Some(error),
                    Err(error) => return Err(error),
                }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                collect(state, txn, table_with_joins, statement, found)?;
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
fn distinct_rows(target: &Target, batch: &RecordBatch, first: usize) -> Result<RecordBatch> {
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

/// Returns which of the tables an assignment writes to.
fn table_of(assignment: &Assignment, from: &Sources) -> Result<usize> {
    let AssignmentTarget::ColumnName(name) = &assignment.target else {
        return Err(Error::unsupported("an assignment to several columns at once"));
    };
    let parts = name_parts(name);
    let (qualifier, column) = match parts.as_slice() {
        [column] => (None, column),
        [table, column] | [_, table, column] => (Some(table), column),
        _ => return Err(Error::unknown_column(&parts.join("."), "field list")),
    };
    if let Some(qualifier) = qualifier {
        from.check_present(qualifier)?;
    }
    let has = |named: &Named| named.target.position(column).is_ok();
    let mut found = from.tables.iter().enumerate().filter(|(_, named)| match qualifier {
        Some(qualifier) => same_name(&named.alias, qualifier),
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
