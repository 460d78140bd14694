//! INSERT and REPLACE: VALUES, SET and SELECT; IGNORE and ON DUPLICATE KEY UPDATE.

use std::collections::HashSet;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::distinct;
use arrow::datatypes::Schema;
use futures::StreamExt;
use sqlparser::ast::{
    self, Assignment, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, OnInsert, SetExpr, TableObject,
};
use strandline_core::grants::Privileges;
use strandline_core::schema::same_name;
use strandline_core::txn::{Inserted, OnDuplicate, Standing, Txn};

use super::assign::{self, Assigned};
use super::values::{self, Auto, Built};
use super::{Effect, Target, arrow, mode_of, split_name, to_utc, update};
use crate::access::columns::Reads;
use crate::api::Value;
use crate::error::{Error, Result};
use crate::parse::name_parts;
use crate::plan::{self, Reading, Source};
use crate::session::State;
use crate::types::{self, Mode};
use crate::warning::Warning;
use crate::{eval, run, walk};

/// What a row does that another stands in the way of.
enum How<'a> {
    Plain(OnDuplicate),
    Update { assignments: &'a [Assignment], row_alias: Option<String>, column_aliases: Vec<(String, String)> },
}

/// The rows of a statement, counted.
#[derive(Clone, Copy, Default)]
struct Counts {
    inserted: u64,
    /// Rows that went away for others.
    replaced: u64,
    ignored: u64,
    /// Rows that ON DUPLICATE KEY UPDATE found, and those of them that it changed.
    found: u64,
    changed: u64,
    /// What ON DUPLICATE KEY UPDATE gave LAST_INSERT_ID(…).
    remembered: Option<u64>,
}

pub async fn execute(
    state: &mut State,
    txn: &mut Txn,
    insert: &ast::Insert,
    text: &str,
    parameters: &[Value],
) -> Result<Effect> {
    refuse(insert)?;
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("INSERT into something that is not a table"));
    };
    let (database, name) = split_name(name)?;
    let target = Target::find(state, txn, database.as_deref(), &name, "INSERT")?;
    let verb = if insert.replace_into { "REPLACE" } else { "INSERT" };
    txn.set_what(format!("{verb} {}", target.name()));
    let mode = mode_of(state, insert.ignore);
    let how = how_of(insert)?;

    let (columns, rows): (Vec<usize>, Option<Vec<&[Expr]>>) = if !insert.assignments.is_empty() {
        // INSERT … SET
        let columns = insert.assignments.iter().map(|a| assign::position(a, &target)).collect::<Result<_>>()?;
        (columns, None)
    } else {
        let columns = column_list(insert, &target)?;
        match insert.source.as_ref().map(|query| query.body.as_ref()) {
            Some(SetExpr::Values(values)) if insert.source.as_ref().is_some_and(|query| query.with.is_none()) => {
                (columns, Some(values.rows.iter().map(|row| row.content.as_slice()).collect()))
            }
            None => (columns, Some(vec![&[]])),
            Some(_) => (columns, None),
        }
    };
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|at| !seen.insert(**at)) {
        let message = format!("Column '{}' specified twice", target.table.columns[*twice].name);
        return Err(Error::new(1110, "42000", message));
    }

    target.require(state, &columns, Privileges::INSERT)?;
    if insert.replace_into {
        target.require_whole(state, Privileges::DELETE)?;
    }
    if let How::Update { assignments, row_alias, .. } = &how {
        let changed = assignments.iter().map(|one| assign::position(one, &target)).collect::<Result<Vec<_>>>()?;
        target.require(state, &changed, Privileges::UPDATE)?;
        let mut reads = Reads::new(row_alias.as_deref());
        assignments.iter().for_each(|one| reads.add(&one.value));
        reads.check(state, &target)?;
    }

    let (counts, auto) = if !insert.assignments.is_empty() {
        let row: Vec<Expr> = insert.assignments.iter().map(|assignment| assignment.value.clone()).collect();
        let built = values::build(state, txn, &target, &columns, &[&row], parameters, mode).await?;
        write(state, txn, &target, built, &how, parameters, mode).await?
    } else if let Some(rows) = rows {
        let built = values::build(state, txn, &target, &columns, &rows, parameters, mode).await?;
        write(state, txn, &target, built, &how, parameters, mode).await?
    } else {
        let query = insert.source.as_ref().expect("what has neither values nor assignments has a query");
        crate::locks::check(query)?;
        crate::locks::take(state, txn, query, parameters).await?;
        let reading = Reading { state, source: Source::Txn(txn) };
        let planned = Box::pin(plan::query(reading, query, text, parameters, &plan::Options::default())).await?;
        Box::pin(select(state, txn, &target, &columns, planned, &how, parameters, mode)).await?
    };
    Ok(effect(counts, auto, matches!(how, How::Update { .. }), state))
}

/// Runs `INSERT INTO target (columns) query` in strict mode: for CREATE TABLE … AS SELECT. Returns the number of rows.
pub async fn insert_rows(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    columns: &[usize],
    planned: plan::Planned,
) -> Result<u64> {
    let how = How::Plain(OnDuplicate::Error);
    let (counts, _) = Box::pin(select(state, txn, target, columns, planned, &how, &[], Mode::Strict)).await?;
    Ok(counts.inserted)
}

/// Refuses what would change the statement's meaning if it were not heeded.
fn refuse(insert: &ast::Insert) -> Result<()> {
    if insert.returning.is_some() {
        return Err(Error::unsupported("INSERT … RETURNING"));
    }
    if insert.partitioned.is_some() {
        return Err(Error::unsupported("INSERT … PARTITION"));
    }
    if insert.overwrite || insert.or.is_some() || insert.output.is_some() || insert.table_alias.is_some() {
        return Err(Error::unsupported("this form of INSERT"));
    }
    Ok(())
}

fn how_of(insert: &ast::Insert) -> Result<How<'_>> {
    let on_duplicate = match (insert.replace_into, insert.ignore) {
        (true, _) => OnDuplicate::Replace,
        (false, true) => OnDuplicate::Ignore,
        (false, false) => OnDuplicate::Error,
    };
    match &insert.on {
        None => Ok(How::Plain(on_duplicate)),
        Some(OnInsert::DuplicateKeyUpdate(assignments)) => {
            let mut row_alias = None;
            let mut column_aliases = Vec::new();
            if let Some(alias) = &insert.insert_alias {
                row_alias = name_parts(&alias.row_alias).pop();
                let names = alias.col_aliases.iter().flatten().map(|ident| ident.value.clone());
                let columns = insert.columns.iter().filter_map(|column| name_parts(column).pop());
                column_aliases = names.zip(columns).collect();
            }
            Ok(How::Update { assignments, row_alias, column_aliases })
        }
        Some(_) => Err(Error::unsupported("INSERT … ON CONFLICT; use ON DUPLICATE KEY UPDATE")),
    }
}

fn column_list(insert: &ast::Insert, target: &Target) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..target.table.columns.len()).collect());
    }
    insert.columns.iter().map(|column| target.position(name_parts(column).last().map_or("", String::as_str))).collect()
}

/// Writes rows that are ready.
async fn write(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    built: Built,
    how: &How<'_>,
    parameters: &[Value],
    mode: Mode,
) -> Result<(Counts, Auto)> {
    let rows = target.check(state, txn, built.rows, mode).await?;
    let counts = match how {
        How::Plain(on_duplicate) => {
            let inserted = txn.insert(&target.table, &rows, *on_duplicate).await?;
            counted(state, inserted)
        }
        How::Update { .. } => Box::pin(upsert(state, txn, target, &rows, how, parameters, mode)).await?,
    };
    Ok((counts, built.auto))
}

fn counted(state: &mut State, done: Inserted) -> Counts {
    state.warnings.extend(done.collisions.into_iter().map(|message| Warning::warning(1062, message)));
    let replaced = done.replaced - done.unchanged;
    Counts { inserted: done.inserted, replaced, ignored: done.ignored, ..Counts::default() }
}

/// Writes the rows of a SELECT as they come.
async fn select(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    columns: &[usize],
    planned: plan::Planned,
    how: &How<'_>,
    parameters: &[Value],
    mode: Mode,
) -> Result<(Counts, Auto)> {
    let fields = planned.logical.schema().fields().clone();
    if fields.len() != columns.len() {
        return Err(Error::new(1136, "21S01", "Column count doesn't match value count at row 1"));
    }
    let (_, mut batches) = run::start(planned).await?;
    let mut bulk = match how {
        How::Plain(on_duplicate) => Some(txn.bulk(&target.table, *on_duplicate)),
        How::Update { .. } => None,
    };
    let (mut counts, mut auto) = (Counts::default(), Auto::default());
    let mut row = 1;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; target.table.columns.len()];
        for ((at, array), field) in columns.iter().zip(batch.columns()).zip(&fields) {
            let mut coercion = target.coercion(*at, mode);
            coercion.nullable |= target.table.columns[*at].auto_increment;
            let done = types::coerce_array(array, field, coercion, row)?;
            state.warnings.extend(done.warnings);
            arrays[*at] = Some(done.array);
        }
        row += batch.num_rows() as u64;
        let built = values::finish(state, txn, target, arrays, batch.num_rows(), mode).await?;
        auto = auto.and(built.auto);
        let rows = target.check(state, txn, built.rows, mode).await?;
        match &mut bulk {
            Some(bulk) => bulk.write(txn, &rows).await?,
            None => counts = counts.plus(Box::pin(upsert(state, txn, target, &rows, how, parameters, mode)).await?),
        }
    }
    if let Some(bulk) = bulk {
        let inserted = bulk.finish(txn).await?;
        counts = counts.plus(counted(state, inserted));
    }
    Ok((counts, auto))
}

/// Inserts rows, and updates those that stand in their way: as if one row came after the other.
async fn upsert(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    rows: &RecordBatch,
    how: &How<'_>,
    parameters: &[Value],
    mode: Mode,
) -> Result<Counts> {
    let How::Update { assignments, row_alias, column_aliases } = how else {
        return Err(Error::internal("BUG: these rows are not to update others"));
    };
    let assignments: Vec<Assignment> = assignments
        .iter()
        .map(|assignment| with_proposed(assignment.clone(), target, row_alias.as_deref(), column_aliases))
        .collect();
    let assignments = assign::read(&assignments, target, &target.table.name)?;
    let mut counts = Counts::default();
    let (mut at, mut window) = (0, rows.num_rows());
    while at < rows.num_rows() {
        let ahead = rows.slice(at, window.min(rows.num_rows() - at));
        // Together, as long as none depends on what becomes of another.
        let standing = txn.duplicates(&target.table, &ahead).await?;
        let run = ahead.slice(0, standing.stands.len());
        let (done, run_counts) = upsert_run(state, txn, target, &run, standing, &assignments, parameters, mode).await?;
        counts = counts.plus(run_counts);
        at += done;
        window = if done == ahead.num_rows() { window.saturating_mul(2) } else { done * 2 };
    }
    Ok(counts)
}

/// As `upsert`, for rows that run into different rows and not into one another. Returns how many of the first are done:
/// not all of them, where one gives another row a new key that a later one may run into.
async fn upsert_run(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    rows: &RecordBatch,
    standing: Standing,
    assignments: &[Assigned],
    parameters: &[Value],
    mode: Mode,
) -> Result<(usize, Counts)> {
    let (mut rows, mut stands, mut old) = (rows.clone(), standing.stands, standing.rows);
    let warned = state.warnings.len();
    let mut changing = change(state, txn, target, &rows, &stands, &old, assignments, parameters, mode).await?;
    let first = stands.iter().position(|stands| *stands).map_or(stands.len(), |first| first + 1);
    let more = first < stands.len();
    if more && writes_key(target, assignments) && changes_key(target, &old, &changing, state)? {
        state.warnings.truncate(warned);
        stands.truncate(first);
        (rows, old) = (rows.slice(0, first), old.slice(0, 1));
        changing = change(state, txn, target, &rows, &stands, &old, assignments, parameters, mode).await?;
    }
    let mut counts = Counts::default();
    let is_new: BooleanArray = stands.iter().map(|stands| Some(!stands)).collect();
    let fresh = filter_record_batch(&rows, &is_new).map_err(arrow)?;
    if fresh.num_rows() > 0 {
        counts.inserted = txn.insert(&target.table, &fresh, OnDuplicate::Error).await?.inserted;
    }
    if old.num_rows() > 0 {
        counts.found = old.num_rows() as u64;
        counts.changed = update::write(state, txn, &old, &changing, assignments).await?;
        counts.remembered = changing.remembered;
    }
    Ok((rows.num_rows(), counts))
}

/// Gives rows that stand in the way of others their new values.
#[expect(clippy::too_many_arguments, reason = "a statement has that many parts")]
async fn change<'t>(
    state: &mut State,
    txn: &Txn,
    target: &'t Target,
    rows: &RecordBatch,
    stands: &[bool],
    old: &RecordBatch,
    assignments: &[Assigned],
    parameters: &[Value],
    mode: Mode,
) -> Result<assign::Rows<'t>> {
    let proposed = filter_record_batch(rows, &stands.to_vec().into()).map_err(arrow)?;
    // The old row's columns under their own names, those of the new row beside them.
    let (old, new) = (target.logical(old, state)?, target.logical(&proposed, state)?);
    let mut fields: Vec<_> = old.schema().fields().iter().cloned().collect();
    for field in new.schema().fields() {
        fields.push(eval::renamed(field, &proposed_name(field.name())).into());
    }
    let columns = old.columns().iter().chain(new.columns()).cloned().collect();
    let visible = RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), columns).map_err(arrow)?;
    let mut changing = assign::Rows { target, alias: &target.table.name, mode, visible, remembered: None };
    if old.num_rows() > 0 {
        changing.assign(state, txn, &assign::steps(assignments, target), parameters).await?;
    }
    Ok(changing)
}

/// Returns the positions of the columns of primary and unique keys.
fn key_positions(target: &Target) -> impl Iterator<Item = usize> {
    let table = &target.table;
    let unique = table.indexes.iter().filter(|index| index.unique).flat_map(|index| &index.columns);
    let ids = table.primary_key.iter().chain(unique);
    ids.filter_map(|id| table.columns.iter().position(|column| column.id == *id))
}

/// Tells whether an update may write to a key.
fn writes_key(target: &Target, assignments: &[Assigned]) -> bool {
    key_positions(target).any(|at| {
        target.table.columns[at].on_update.is_some() || assignments.iter().any(|assigned| assigned.position == at)
    })
}

/// Tells whether some row gets another key. `old` is physical.
fn changes_key(target: &Target, old: &RecordBatch, new: &assign::Rows<'_>, state: &State) -> Result<bool> {
    for at in key_positions(target) {
        let differs = distinct(&to_utc(new.visible.column(at), &target.types[at], state)?, old.column(at));
        if target.table.columns[at].on_update.is_some() || differs.map_err(arrow)?.true_count() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replaces `VALUES(c)`, `new.c` and the aliases of columns by the proposed row's column.
fn with_proposed(
    mut assignment: Assignment,
    target: &Target,
    row_alias: Option<&str>,
    column_aliases: &[(String, String)],
) -> Assignment {
    let proposed = |name: &str| Expr::Identifier(Ident::with_quote('`', proposed_name(&name.to_lowercase())));
    let _ = walk::expressions_mut(&mut assignment.value, |expr| {
        let replacement = match &*expr {
            Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("VALUES") => {
                match &function.args {
                    FunctionArguments::List(list) => match list.args.as_slice() {
                        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))] => {
                            Some(proposed(&name.value))
                        }
                        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(parts)))] => {
                            parts.last().map(|name| proposed(&name.value))
                        }
                        _ => None,
                    },
                    _ => None,
                }
            }
            Expr::CompoundIdentifier(parts) => match (parts.as_slice(), row_alias) {
                ([table, column], Some(alias)) if same_name(&table.value, alias) => {
                    let own = column_aliases.iter().find(|(name, _)| same_name(name, &column.value));
                    Some(proposed(own.map_or(column.value.as_str(), |(_, column)| column)))
                }
                _ => None,
            },
            Expr::Identifier(ident) => column_aliases
                .iter()
                .find(|(name, _)| same_name(name, &ident.value) && target.position(name).is_err())
                .map(|(_, column)| proposed(column)),
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    assignment
}

fn proposed_name(column: &str) -> String {
    format!("\u{1}new:{column}")
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts {
            inserted: self.inserted + other.inserted,
            replaced: self.replaced + other.replaced,
            ignored: self.ignored + other.ignored,
            found: self.found + other.found,
            changed: self.changed + other.changed,
            remembered: other.remembered.or(self.remembered),
        }
    }
}

fn effect(counts: Counts, auto: Auto, upserted: bool, state: &State) -> Effect {
    let records = counts.inserted + counts.ignored + counts.found;
    let updated = if state.login.found_rows { counts.found } else { counts.changed };
    let duplicates = counts.replaced + counts.ignored + updated;
    let affected = counts.inserted + counts.replaced + 2 * counts.changed;
    let info = if records > 1 {
        format!("Records: {records}  Duplicates: {duplicates}  Warnings: {}", state.warnings.len())
    } else {
        String::new()
    };
    let landed = counts.inserted > 0;
    Effect {
        affected,
        // With CLIENT_FOUND_ROWS a row that was found and stays as it is counts as one.
        matched: upserted.then_some(affected + counts.found - counts.changed),
        last_insert_id: counts.remembered.or(auto.made.filter(|_| landed)),
        shown_insert_id: auto.given.filter(|_| landed),
        info,
    }
}
