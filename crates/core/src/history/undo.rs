//! Undo: one commit is taken back, and all later ones stay, where no later commit touched the same rows or objects.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::catalog::Change;
use crate::cold::encode_keys;
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::diff::{Diff, TableAt, plain};
use crate::history::restore::{Action, ReportLine, RestoreReport, check_foreign_keys, with_counters};
use crate::ids::{TableId, Version};
use crate::jobs::unless;
use crate::log::delta::Delta;
use crate::log::{Entry, EntryHead, EntryQuery, Scope, TableDelta};
use crate::moment::Moment;
use crate::room::Held;
use crate::rows::{columns_of, entry_text, key_batch};
use crate::schema::{self, Table, same_name};
use crate::txn::{Author, OnDuplicate, Txn};
use crate::when::When;

/// How many conflicting keys an error names.
const NAMED_MAX: usize = 5;

/// A commit of this many rows of a table (or of as many as make a part) gives it back the content that it had, where
/// nothing came since: no row is read or written. Fewer are written back one by one, which leaves others that write the
/// table alone.
const WHOLE_ROWS: u64 = 10_000;

impl Database {
    /// Takes one commit back, as a new commit.
    pub async fn undo(&self, version: Version, author: &Author) -> Result<RestoreReport> {
        self.undo_unless(version, author, &Held::uncounted, std::future::pending()).await
    }

    /// As `undo`, but `stop` ends it with `Cancelled` as long as it is not at its commit. Then nothing was undone. The rows
    /// of the commit are counted in what `held` gives, which is asked anew where another commit came between.
    pub async fn undo_unless(
        &self,
        version: Version,
        author: &Author,
        held: &(dyn Fn() -> Held + Sync),
        stop: impl Future<Output = ()>,
    ) -> Result<RestoreReport> {
        let mut stop = std::pin::pin!(stop);
        let mut tries = 0;
        loop {
            let mut txn = self.begin(author.clone());
            let before = txn.moment().version();
            let mut held = held();
            let steps = unless(stop.as_mut(), self.write_undo(version, &mut txn, &mut held)).await?;
            fail::fail_point!("undo::written", crate::error::failing);
            txn.set_what(format!("UNDO VERSION {version}"));
            match txn.commit().await {
                Err(error) if error.kind() == Kind::Conflict && tries < 10 => tries += 1,
                outcome => {
                    let committed = outcome?;
                    fail::fail_point!("undo::committed");
                    return Ok(RestoreReport {
                        steps,
                        version_before: before.max(Version(committed.version.0 - 1)),
                        version_after: committed.version,
                        time: committed.time,
                    });
                }
            }
        }
    }

    /// Returns what `undo` would do now, and does nothing.
    pub async fn plan_undo(&self, version: Version, author: &Author, mut held: Held) -> Result<Vec<ReportLine>> {
        self.write_undo(version, &mut self.begin(author.clone()), &mut held).await
    }

    async fn write_undo(&self, version: Version, txn: &mut Txn, held: &mut Held) -> Result<Vec<ReportLine>> {
        let entry = self.metastore().entry(version)?.ok_or_else(|| {
            Error::not_found(What::Version, &version.to_string()).with_hint("List commits with SHOW COMMITS.")
        })?;
        if entry.head.upkeep {
            return Err(Error::invalid(format!(
                "Version {version} is upkeep: it changed nothing that could be undone."
            )));
        }
        let then = self.at(version).await?;
        let before = self.moment_before(version)?;
        self.check_kept(&entry, &[&before, &then])?;
        let mut steps = Vec::new();
        let mut altered: Vec<Arc<Table>> = Vec::new();
        for change in &entry.changes {
            if let Change::DropDatabase(id) = change
                && let Some(database) = before.catalog().database_by_id(*id)
            {
                // What lay in it comes back below.
                if txn.catalog().database(database.account, &database.name).is_ok() {
                    return Err(Error::already_exists(What::Database, &database.name)
                        .with_hint("Bring the dropped one back under another name: UNDROP DATABASE … TO name."));
                }
                txn.put_database(database.as_ref().clone());
                steps.push(about_database(Action::CreateDatabase, &database.name));
            }
        }
        for change in &entry.changes {
            let step = match change {
                Change::PutContent(..) | Change::PutDatabase(_) | Change::DropDatabase(_) => None,
                Change::DropTable(id) => {
                    let table = before.catalog().table_by_id(*id).cloned();
                    let table = table.ok_or_else(|| Error::corrupt("A dropped table never was."))?;
                    self.undo_drop(&table, &before, txn)?;
                    Some((Action::Create, table))
                }
                Change::PutTable(table) if before.catalog().table_by_id(table.id).is_none() => {
                    self.undo_create(table, version, txn)?;
                    Some((Action::Drop, table.clone()))
                }
                Change::PutTable(table) => match before.catalog().table_by_id(table.id) {
                    Some(old) if old != table => {
                        self.undo_alter(old, table, &entry, &before, txn)?;
                        altered.push(old.clone());
                        Some((Action::Restore, old.clone()))
                    }
                    _ => None,
                },
                Change::PutAccount(_) | Change::DropAccount(_) | Change::PutUser(_) | Change::DropUser(_) => {
                    return Err(Error::unsupported(format!(
                        "Version {version} ({}) changed users, grants or accounts; undoing that is not supported.",
                        entry.head.what
                    ))
                    .with_hint("Change them back by a statement of their own."));
                }
            };
            if let Some((action, table)) = step {
                steps.push(line(action, &table, &before, None, None));
            }
        }
        for change in &entry.changes {
            if let Change::PutDatabase(database) = change {
                match before.catalog().database_by_id(database.id) {
                    None => steps.push(undo_create_database(database, version, txn)?),
                    Some(old) if **old != *database => txn.put_database(old.as_ref().clone()),
                    Some(_) => {}
                }
            }
        }
        check_foreign_keys(txn, &before, &altered, Vec::new()).await?;
        let mut conflicts = Vec::new();
        for delta in entry.deltas.iter().filter(|delta| !altered.iter().any(|table| table.id == delta.table)) {
            let was = before.catalog().table_by_id(delta.table).cloned();
            let (Some(old), Some(new)) = (was, then.catalog().table_by_id(delta.table).cloned()) else { continue };
            if old.is_view() {
                continue;
            }
            if self.put_back_whole(delta, &old, &new, (version, &before), txn)? {
                steps.push(line(Action::Restore, &new, &before, Some(delta.puts), Some(delta.deletes)));
                continue;
            }
            let base = TableAt { moment: before.clone(), table: old };
            let head = TableAt { moment: then.clone(), table: new };
            let diff = self.diff_with(&base, &head, &plain, held).await?;
            if diff.is_empty() {
                continue;
            }
            let Some(present) = txn.catalog().table_by_id(delta.table).cloned() else {
                let by = self.last_commit(delta.table, version, txn)?;
                conflicts.push(format!("table '{}' was dropped since{by}", head.table.name));
                continue;
            };
            if let Some(column) = lost_column(&diff, &present)? {
                let by = self.last_commit(delta.table, version, txn)?;
                conflicts.push(format!("column '{column}' of '{}' was changed since{by}", present.name));
                continue;
            }
            let diff = conformed(diff, &present)?;
            let known = conflicts.len();
            for (rows, row, how) in touched_since(&diff, &present, txn).await? {
                let key = entry_text(&columns_of(rows, &present.key_columns())?, row);
                let by = match conflicts.len() - known < NAMED_MAX {
                    true => self.last_commit_of_row(&present, rows, row, version, txn)?,
                    false => String::new(),
                };
                conflicts.push(format!("row '{key}' of '{}' was {how} since{by}", present.name));
            }
            if conflicts.is_empty() {
                invert(&diff, &present, txn).await.map_err(|error| match error.kind() {
                    Kind::Duplicate | Kind::HasChildren | Kind::MissingParent => {
                        Error::new(error.kind(), format!("Version {version} cannot be undone: {error}"))
                            .with_hint("Nothing was changed. Change the row that is in the way, and undo again.")
                    }
                    _ => error,
                })?;
                let (puts, deletes) = (diff.deleted.num_rows(), diff.inserted.num_rows());
                let rows = diff.updated_to.num_rows();
                steps.push(line(
                    Action::Restore,
                    &present,
                    &before,
                    Some((deletes + rows) as u64),
                    Some((puts + rows) as u64),
                ));
            }
        }
        if !conflicts.is_empty() {
            let count = conflicts.len();
            conflicts.truncate(NAMED_MAX);
            let more = if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() };
            return Err(Error::new(
                Kind::Invalid,
                format!("Version {version} cannot be undone: {}{more}.", conflicts.join("; ")),
            )
            .with_hint("Nothing was changed. Undo the later commits first, or restore the rows by hand from AS OF."));
        }
        Ok(steps)
    }

    /// Gives a table back the content that it had before a commit, if the commit changed many of its rows, and neither
    /// its definition nor what refers to it, and nothing came since. Tells whether it did.
    fn put_back_whole(
        &self,
        delta: &TableDelta,
        old: &Arc<Table>,
        new: &Arc<Table>,
        (version, before): (Version, &Moment),
        txn: &mut Txn,
    ) -> Result<bool> {
        let many = WHOLE_ROWS.min(self.0.options.load_rows as u64);
        let same = old == new && txn.catalog().table_by_id(new.id) == Some(new);
        let alone = new.foreign_keys.is_empty() && txn.catalog().children_of(new).is_empty();
        if delta.puts + delta.deletes < many || !same || !alone {
            return Ok(false);
        }
        let Some(content) = before.content(new.id)?.filter(|_| txn.catalog().content(new.id).is_some()) else {
            return Ok(false);
        };
        if !self.last_commit(new.id, version, txn)?.is_empty() {
            return Ok(false);
        }
        txn.draw_on(before);
        txn.keep_table(new);
        txn.put_content_back(new, content.as_of(new.id, before.version()))?;
        txn.count(Some(new.id), delta.deletes, delta.puts);
        Ok(true)
    }

    /// Checks that what an undo reads is kept: what the commit found, and what it left.
    fn check_kept(&self, entry: &Entry, read: &[&Moment]) -> Result<()> {
        let dropped = entry.changes.iter().filter_map(|change| match change {
            Change::DropTable(id) => Some(*id),
            _ => None,
        });
        let touched: Vec<TableId> = entry.deltas.iter().map(|delta| delta.table).chain(dropped).collect();
        for moment in read.iter().filter(|moment| moment.version() > Version(0)) {
            let resolved = self.resolve(&When::Version(moment.version()), entry.head.account)?;
            let Some(limit) = resolved.limit else { continue };
            for table in touched.iter().filter_map(|id| moment.catalog().table_by_id(*id)) {
                let home = moment.catalog().database_by_id(table.database);
                let home = home.map_or_else(String::new, |database| database.name.clone());
                limit.admits_scope(&Scope::Tables(home, vec![table.name.clone()]))?;
            }
        }
        Ok(())
    }

    fn undo_drop(&self, table: &Arc<Table>, before: &Moment, txn: &mut Txn) -> Result<()> {
        let database = txn.catalog().database_by_id(table.database).cloned().ok_or_else(|| {
            Error::invalid(format!("The database of table '{}' was dropped since.", table.name))
                .with_hint("Bring it back with UNDROP DATABASE.")
        })?;
        if txn.catalog().table(&database, &table.name).is_ok() {
            return Err(Error::already_exists(What::Table, &format!("{}.{}", database.name, table.name))
                .with_hint("Bring the dropped one back under another name: UNDROP TABLE … TO name."));
        }
        txn.put_table(table.clone());
        if let Some(content) = before.content(table.id)? {
            let content = with_counters(before, table, content.as_of(table.id, before.version()))?;
            txn.draw_on(before);
            txn.put_content(table, content);
        }
        Ok(())
    }

    fn undo_create(&self, table: &Arc<Table>, version: Version, txn: &mut Txn) -> Result<()> {
        let present = self.unchanged_since(table, version, txn)?;
        txn.drop_table(&present)
    }

    /// Gives a table back the definition and the rows that it had before the commit, if nothing came since.
    fn undo_alter(
        &self,
        old: &Arc<Table>,
        new: &Arc<Table>,
        entry: &Entry,
        before: &Moment,
        txn: &mut Txn,
    ) -> Result<()> {
        let version = entry.head.version;
        let present = self.unchanged_since(new, version, txn)?;
        // What is written until the commit is not taken along.
        txn.keep_table(&present);
        txn.draw_on(before);
        if !same_name(&old.name, &present.name) || old.database != present.database {
            let home = txn.catalog().database_by_id(old.database).cloned().ok_or_else(|| {
                Error::invalid(format!("The database of table '{}' was dropped since.", old.name))
                    .with_hint("Bring it back with UNDROP DATABASE.")
            })?;
            // Names that the same commit gave to others go back with it.
            let taken = txn.catalog().table(&home, &old.name).ok();
            let gave =
                |id| entry.changes.iter().any(|change| matches!(change, Change::PutTable(table) if table.id == id));
            if let Some(taken) = taken.filter(|taken| taken.id != old.id && !gave(taken.id)) {
                return Err(Error::already_exists(What::Table, &format!("{}.{}", home.name, taken.name))
                    .with_hint("Rename the table that has the name now."));
            }
        }
        for (child, key) in txn.catalog().children_of(&present) {
            if let Some(column) = key.parent_columns.iter().find(|column| old.column(column).is_none()) {
                return Err(Error::invalid(format!(
                    "Version {version} cannot be undone: '{}' refers to column '{column}' of '{}'.",
                    child.name, present.name
                ))
                .with_hint("Drop that foreign key first."));
            }
        }
        // A column id that was used must not name another column.
        let table = Arc::new(Table { next_column: present.next_column, ..old.as_ref().clone() });
        txn.put_table(table.clone());
        if let Some(content) = before.content(old.id)? {
            txn.put_content_back(&table, content.as_of(old.id, before.version()))?;
        }
        Ok(())
    }

    /// Returns a table as it is now, if no commit has touched it since.
    fn unchanged_since(&self, table: &Table, version: Version, txn: &Txn) -> Result<Arc<Table>> {
        let by = self.last_commit(table.id, version, txn)?;
        let (error, hint) = match txn.catalog().table_by_id(table.id) {
            Some(present) if by.is_empty() => return Ok(present.clone()),
            Some(present) => (
                format!("table '{}' was changed since{by}", present.name),
                "Undo the later commits first. DROP TABLE drops a table with what was written since; UNDROP TABLE would bring \
                 it back.",
            ),
            None => {
                (format!("table '{}' was dropped since{by}", table.name), "There is nothing left of it to take back.")
            }
        };
        Err(Error::invalid(format!("Version {version} cannot be undone: {error}.")).with_hint(hint))
    }

    /// Names the last commit that touched a table since a version; empty if there is none.
    fn last_commit(&self, table: TableId, since: Version, txn: &Txn) -> Result<String> {
        let query = EntryQuery {
            from: since.next(),
            upto: txn.moment().version(),
            tables: Some(vec![table]),
            upkeep: false,
            limit: 1,
        };
        let last = self.metastore().entries(&query)?.pop();
        Ok(last.map_or_else(String::new, |entry| by(&entry.head)))
    }

    /// As `last_commit`, of one row: as the log tells; else one that gave the whole table other rows.
    fn last_commit_of_row(
        &self,
        table: &Table,
        rows: &RecordBatch,
        row: usize,
        since: Version,
        txn: &Txn,
    ) -> Result<String> {
        let columns = table.key_columns();
        let wanted = encode_keys(&columns_of(&rows.slice(row, 1), &columns)?)?;
        let deltas = match self.metastore().deltas(table.id, since, txn.moment().version()) {
            Ok(deltas) => deltas,
            // What was trimmed from the log names nobody.
            Err(error) if error.kind() == Kind::OutOfWindow => Vec::new(),
            Err(error) => return Err(error),
        };
        for (version, body) in deltas.iter().rev() {
            let delta = Delta::decode(body)?;
            for batch in [&delta.puts, &delta.deletes] {
                let Ok(columns) = columns_of(batch, &columns) else { continue };
                if encode_keys(&columns)?.iter().any(|key| key == wanted.get(0)) {
                    return Ok(self.metastore().entry(*version)?.map_or_else(String::new, |entry| by(&entry.head)));
                }
            }
        }
        self.last_commit(table.id, since, txn)
    }
}

fn by(head: &EntryHead) -> String {
    format!(" by version {} ({})", head.version, head.what)
}

fn about_database(action: Action, name: &str) -> ReportLine {
    ReportLine { action, database: name.to_owned(), table: String::new(), rows_before: None, rows_after: None }
}

/// Drops a database that the commit created; what the commit put into it has gone before.
fn undo_create_database(database: &schema::Database, version: Version, txn: &mut Txn) -> Result<ReportLine> {
    let present = txn.catalog().database_by_id(database.id).cloned().ok_or_else(|| {
        Error::invalid(format!("Version {version} cannot be undone: database '{}' was dropped since.", database.name))
            .with_hint("There is nothing left of it to take back.")
    })?;
    if let Some(table) = txn.catalog().tables_of(present.id).first() {
        return Err(Error::invalid(format!(
            "Version {version} cannot be undone: table '{}' was created in database '{}' since.",
            table.name, present.name
        ))
        .with_hint("DROP DATABASE drops it with its tables; UNDROP DATABASE would bring it back."));
    }
    txn.drop_database(&present)?;
    Ok(about_database(Action::DropDatabase, &present.name))
}

/// Returns a column that the table no longer has and without which the undo would not be one.
fn lost_column(diff: &Diff, present: &Table) -> Result<Option<String>> {
    for column in diff.table.columns.iter().filter(|column| present.column_by_id(column.id).is_none()) {
        // It has another type, or another column took its place.
        if present.column(&column.name).is_some() {
            return Ok(Some(column.name.clone()));
        }
        if columns_of(&diff.updated_from, &[column.id])? != columns_of(&diff.updated_to, &[column.id])? {
            return Ok(Some(column.name.clone()));
        }
    }
    Ok(None)
}

fn line(action: Action, table: &Table, moment: &Moment, before: Option<u64>, after: Option<u64>) -> ReportLine {
    let database = moment.catalog().database_by_id(table.database);
    ReportLine {
        action,
        database: database.map_or_else(String::new, |database| database.name.clone()),
        table: table.name.clone(),
        rows_before: before,
        rows_after: after,
    }
}

/// Brings a diff into the shape that the table has now.
fn conformed(diff: Diff, present: &Arc<Table>) -> Result<Diff> {
    let conform = |batch: &RecordBatch| crate::rows::conform(batch, present);
    Ok(Diff {
        table: present.clone(),
        inserted: conform(&diff.inserted)?,
        deleted: conform(&diff.deleted)?,
        updated_from: conform(&diff.updated_from)?,
        updated_to: conform(&diff.updated_to)?,
    })
}

/// Returns each row that does not stand as the commit left it, and what happened to it.
async fn touched_since<'a>(
    diff: &'a Diff,
    table: &Arc<Table>,
    txn: &Txn,
) -> Result<Vec<(&'a RecordBatch, usize, &'static str)>> {
    let layers = txn.layers(table).await?;
    let mut conflicts = Vec::new();
    for left in [&diff.inserted, &diff.updated_to] {
        let keys = encode_keys(&columns_of(left, &table.key_columns())?)?;
        for (row, place) in layers.find(&keys).await?.into_iter().enumerate() {
            let stands = match place {
                Some(place) => layers.fetch(&[place]).await? == left.slice(row, 1),
                None => false,
            };
            if !stands {
                conflicts.push((left, row, if place.is_some() { "changed" } else { "deleted" }));
            }
        }
    }
    let keys = encode_keys(&columns_of(&diff.deleted, &table.key_columns())?)?;
    for (row, place) in layers.find(&keys).await?.into_iter().enumerate() {
        if place.is_some() {
            conflicts.push((&diff.deleted, row, "inserted"));
        }
    }
    Ok(conflicts)
}

/// Writes the inverse of a diff.
async fn invert(diff: &Diff, table: &Arc<Table>, txn: &mut Txn) -> Result<()> {
    txn.delete(table, &key_batch(&diff.inserted, table)?).await?;
    txn.update(table, &key_batch(&diff.updated_to, table)?, &diff.updated_from).await?;
    txn.insert_with_row_ids(table, &diff.deleted, OnDuplicate::Error).await?;
    Ok(())
}
