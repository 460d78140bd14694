//! DIFF TABLE and DATA BRANCH DIFF: what changed between two moments of a table, or between two tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use futures::StreamExt;
use futures::stream;
use strandline_core::error::{Error as CoreError, Result as CoreResult};
use strandline_core::history::diff::{Diff as Changes, TableAt};
use strandline_core::room::Held;
use strandline_core::schema::{Column, Table};

use crate::api::{ColumnMeta, Outcome, Rows};
use crate::dml;
use crate::error::{Error, Result};
use crate::parse::{BranchOutput, Diff, DiffOutput, TableName, When};
use crate::plan::{Source, find_table};
use crate::session::{Session, State};
use crate::show::answer::{CellKind, answer, row};
use crate::statements::rows_of;
use crate::types::{self, MySqlType};

pub async fn diff(session: &mut Session, diff: &Diff) -> Result<Outcome> {
    let state = &session.state;
    let head = table_at(state, &diff.table, Some(&diff.to)).await?;
    let base = match table_at(state, &diff.table, Some(&diff.from)).await {
        Ok(base) => base,
        // It may have had another name then.
        Err(error) => match name_at(state, &head.table, &diff.from).await? {
            Some(name) => table_at(state, &name, Some(&diff.from)).await?,
            None => return Err(error),
        },
    };
    let found = compare(state, &base, &head).await?;
    let changes = &found.changes;
    match diff.output {
        DiffOutput::Summary => {
            let rows = vec![
                row!["inserted", changes.inserted.num_rows()],
                row!["deleted", changes.deleted.num_rows()],
                row!["updated", changes.updated_to.num_rows()],
            ];
            Ok(Outcome::Rows(rows_of(answer(&[("metric", CellKind::Text), ("count", CellKind::UInt)], rows)?)))
        }
        DiffOutput::Count => Ok(Outcome::Rows(rows_of(count(changes)?))),
        DiffOutput::Rows => rows(found, usize::MAX),
        DiffOutput::Limit(limit) => rows(found, limit as usize),
    }
}

/// `DATA BRANCH DIFF t AGAINST base`, with MatrixOne's columns.
pub async fn branch(
    session: &mut Session,
    table: (&TableName, Option<&When>),
    base: (&TableName, Option<&When>),
    output: &BranchOutput,
) -> Result<Outcome> {
    let head_at = table_at(&session.state, table.0, table.1).await?;
    let base_at = table_at(&session.state, base.0, base.1).await?;
    let found = compare(&session.state, &base_at, &head_at).await?;
    let changes = &found.changes;
    match output {
        BranchOutput::Summary => {
            let columns = [
                ("metric", CellKind::Text),
                (table.0.name.as_str(), CellKind::UInt),
                (base.0.name.as_str(), CellKind::UInt),
            ];
            let rows = vec![
                row!["INSERTED", changes.inserted.num_rows(), 0_u64],
                row!["DELETED", changes.deleted.num_rows(), 0_u64],
                row!["UPDATED", changes.updated_to.num_rows(), 0_u64],
            ];
            Ok(Outcome::Rows(rows_of(answer(&columns, rows)?)))
        }
        BranchOutput::Count => Ok(Outcome::Rows(rows_of(count(changes)?))),
        BranchOutput::Rows => branch_rows(found, &table.0.name, &base.0.name, usize::MAX),
        BranchOutput::Limit(limit) => branch_rows(found, &table.0.name, &base.0.name, *limit as usize),
        BranchOutput::Table(_) => Err(Error::unsupported("DATA BRANCH DIFF … OUTPUT AS")),
        BranchOutput::File(_) => Err(Error::unsupported("DATA BRANCH DIFF … OUTPUT FILE")),
    }
}

/// What a comparison has found, counted in the memory of queries.
struct Found {
    changes: Changes,
    _held: Held,
}

impl Found {
    fn sets(&self) -> [&RecordBatch; 4] {
        let Changes { inserted, deleted, updated_from, updated_to, .. } = &self.changes;
        [inserted, deleted, updated_from, updated_to]
    }

    fn lengths(&self) -> [usize; 4] {
        self.sets().map(RecordBatch::num_rows)
    }
}

async fn compare(state: &State, base: &TableAt, head: &TableAt) -> Result<Found> {
    let convert = |from: &Column, to: &Column, values: &ArrayRef| convert(state, from, to, values);
    let mut held = state.engine.compared();
    let changes = state.engine.database().diff_with(base, head, &convert, &mut held).await?;
    Ok(Found { changes, _held: held })
}

/// Converts what a column held to what its type is now, as ALTER TABLE converts it.
fn convert(state: &State, from: &Column, to: &Column, values: &ArrayRef) -> CoreResult<ArrayRef> {
    let converted = || -> Result<ArrayRef> {
        let (old, new) = (MySqlType::parse(&from.declared)?, MySqlType::parse(&to.declared)?);
        let local = dml::to_local(values, &old, state)?;
        let target = types::Target { ty: &new, column: &to.name, nullable: true, mode: types::Mode::Strict };
        let field = crate::scan::column_field(from);
        dml::to_utc(&types::coerce_array(&local, &field, target, 1)?.array, &new, state)
    };
    match converted() {
        Ok(converted) => Ok(converted),
        // It is of no use to the type of today, and can be shown all the same.
        Err(_) if from.ty == to.ty => Ok(values.clone()),
        Err(error) => Err(CoreError::invalid(format!(
            "Column '{}' was {} and is {}; a value that it had does not convert: {}.",
            to.name, from.declared, to.declared, error.message
        ))
        .with_hint(
            "Compare up to the commit before its type was changed, and from that one on: SHOW COMMITS FOR TABLE.",
        )),
    }
}

async fn table_at(state: &State, name: &TableName, when: Option<&When>) -> Result<TableAt> {
    let (home, name) = state.full_name(name)?;
    let (moment, limit) = match when {
        Some(when) => state.moment_at(when).await?,
        None => (state.engine.database().now(), None),
    };
    if let Some(limit) = &limit {
        limit.admits_table(&state.account_name, &home, &name)?;
    }
    let (_, table) = find_table(Source::Moment(&moment, limit.as_ref()), state.account, &home, &name)?;
    if table.is_view() {
        return Err(Error::new(1347, "HY000", format!("'{home}.{name}' is not BASE TABLE")));
    }
    if let Some(limit) = &limit {
        let all: Vec<_> = table.columns.iter().map(|column| column.id).collect();
        limit.admits_columns(&table, &all)?;
    }
    Ok(TableAt { moment, table })
}

/// Returns the name that a table had at a moment, if that was another one.
async fn name_at(state: &State, table: &Table, when: &When) -> Result<Option<TableName>> {
    let (moment, _) = state.moment_at(when).await?;
    let catalog = moment.catalog();
    let then = catalog.table_by_id(table.id).filter(|then| then.name != table.name || then.database != table.database);
    Ok(then.and_then(|then| {
        let home = catalog.database_by_id(then.database)?;
        Some(TableName { database: Some(home.name.clone()), name: then.name.clone() })
    }))
}

fn count(changes: &Changes) -> Result<crate::show::answer::ShowAnswer> {
    answer(&[("COUNT(*)", CellKind::UInt)], vec![row![changes.len()]])
}

/// Where a row of the answer stands: in which of the four sets of rows, and what it is called.
struct Placed {
    set: usize,
    row: usize,
    label: &'static str,
}

/// One row per insert and delete, two per update, under a first column that says which.
fn rows(found: Found, limit: usize) -> Result<Outcome> {
    let [inserted, deleted, updated, _] = found.lengths();
    let place = move |at: usize| match at {
        _ if at < inserted => Placed { set: 0, row: at, label: "insert" },
        _ if at < inserted + deleted => Placed { set: 1, row: at - inserted, label: "delete" },
        _ => {
            let (row, after) = ((at - inserted - deleted) / 2, (at - inserted - deleted) % 2);
            Placed { set: 2 + after, row, label: ["update_before", "update_after"][after] }
        }
    };
    labelled(found, (inserted + deleted + 2 * updated).min(limit), &[], "diff_type", place)
}

fn branch_rows(found: Found, table: &str, base: &str, limit: usize) -> Result<Outcome> {
    let [inserted, deleted, updated, _] = found.lengths();
    let place = move |at: usize| match at {
        _ if at < inserted => Placed { set: 0, row: at, label: "INSERT" },
        _ if at < inserted + deleted => Placed { set: 1, row: at - inserted, label: "DELETE" },
        _ => Placed { set: 3, row: at - inserted - deleted, label: "UPDATE" },
    };
    let first = format!("diff {table} against {base}");
    labelled(found, (inserted + deleted + updated).min(limit), &[(first, table.to_owned())], "flag", place)
}

/// How many rows of an answer are put together at a time.
const ROWS_AT_ONCE: usize = 8192;

/// Returns the table's own columns behind some that say the same in each row, and one of labels.
fn labelled(
    found: Found,
    count: usize,
    same: &[(String, String)],
    label: &str,
    place: impl Fn(usize) -> Placed + Send + 'static,
) -> Result<Outcome> {
    let table = found.changes.table.clone();
    let mut fields = Vec::new();
    let mut metas: Vec<ColumnMeta> = Vec::new();
    for name in same.iter().map(|(name, _)| name.as_str()).chain([label]) {
        fields.push(Field::new(name, DataType::Utf8, false));
        metas.extend(answer(&[(name, CellKind::Text)], Vec::new())?.columns);
    }
    let own = crate::scan::logical_schema(&table, "", false);
    let named = DFSchema::try_from(own.as_ref().clone()).map_err(crate::failure::of_query)?;
    metas.extend(crate::run::column_metas(&named, &crate::names::Shown::default()));
    fields.extend(own.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)));
    let schema = Arc::new(Schema::new(fields));
    let target = schema.clone();
    let same: Vec<String> = same.iter().map(|(_, value)| value.clone()).collect();
    let batches = (0..count).step_by(ROWS_AT_ONCE).map(move |from| {
        let places: Vec<Placed> = (from..count.min(from + ROWS_AT_ONCE)).map(&place).collect();
        let picked: Vec<(usize, usize)> = places.iter().map(|placed| (placed.set, placed.row)).collect();
        let rows = interleave_record_batch(&found.sets(), &picked).map_err(dml::arrow)?;
        let mut columns: Vec<ArrayRef> = Vec::new();
        for value in &same {
            columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, places.len()))));
        }
        columns.push(Arc::new(StringArray::from_iter_values(places.iter().map(|placed| placed.label))));
        columns.extend(rows.columns()[..own.fields().len()].iter().cloned());
        RecordBatch::try_new(target.clone(), columns).map_err(dml::arrow)
    });
    Ok(Outcome::Rows(Rows { columns: metas, schema, batches: stream::iter(batches).boxed() }))
}
