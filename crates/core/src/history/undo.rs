//! Undo: one commit is taken back, and all later ones stay, where no later commit touched the same rows or objects.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::catalog::Change;
use crate::cold::encode_keys;
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::diff::{Diff, TableAt};
use crate::history::restore::{Action, ReportLine, RestoreReport, with_counters};
use crate::ids::{TableId, Version};
use crate::log::{Entry, EntryQuery, Scope};
use crate::moment::Moment;
use crate::rows::{columns_of, entry_text, key_batch};
use crate::schema::Table;
use crate::txn::{Author, OnDuplicate, Txn};
use crate::when::When;

/// How many conflicting keys an error names.
const NAMED_MAX: usize = 5;

impl Database {
    /// Takes one commit back, as a new commit.
    pub async fn undo(&self, version: Version, author: &Author) -> Result<RestoreReport> {
        let mut tries = 0;
        loop {
            let mut txn = self.begin(author.clone());
            let before = txn.moment().version();
            let steps = self.write_undo(version, &mut txn).await?;
            txn.set_what(format!("UNDO VERSION {version}"));
            match txn.commit().await {
                Err(error) if error.kind() == Kind::Conflict && tries < 10 => tries += 1,
                outcome => {
                    let committed = outcome?;
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
    pub async fn plan_undo(&self, version: Version, author: &Author) -> Result<Vec<ReportLine>> {
        self.write_undo(version, &mut self.begin(author.clone())).await
    }

    async fn write_undo(&self, version: Version, txn: &mut Txn) -> Result<Vec<ReportLine>> {
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
        for change in &entry.changes {
            let step = match change {
                Change::PutContent(..) => None,
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
                Change::PutTable(table) if before.catalog().table_by_id(table.id) == Some(table) => None,
                _ => {
                    return Err(Error::unsupported(format!(
                        "Version {version} ({}) changed definitions; undoing that is not supported yet.",
                        entry.head.what
                    ))
                    .with_hint(format!("RESTORE … FROM VERSION {} brings back the state before it.", version.0 - 1)));
                }
            };
            if let Some((action, table)) = step {
                steps.push(line(action, &table, &before, None, None));
            }
        }
        let mut conflicts = Vec::new();
        for delta in &entry.deltas {
            let was = before.catalog().table_by_id(delta.table).cloned();
            let (Some(old), Some(new)) = (was, then.catalog().table_by_id(delta.table).cloned()) else { continue };
            if old.is_view() {
                continue;
            }
            let base = TableAt { moment: before.clone(), table: old };
            let head = TableAt { moment: then.clone(), table: new };
            let diff = self.diff(&base, &head).await?;
            if diff.is_empty() {
                continue;
            }
            let Some(present) = txn.catalog().table_by_id(delta.table).cloned() else {
                conflicts.push(format!("table '{}' was dropped since", head.table.name));
                continue;
            };
            let diff = conformed(diff, &present)?;
            conflicts.extend(touched_since(&diff, &present, txn).await?);
            if conflicts.is_empty() {
                invert(&diff, &present, txn).await?;
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
        if let Some(content) = before.catalog().content(table.id) {
            let content = with_counters(before, table, content.as_of(table.id, before.version()))?;
            txn.put_content(table, content);
        }
        Ok(())
    }

    fn undo_create(&self, table: &Arc<Table>, version: Version, txn: &mut Txn) -> Result<()> {
        let Some(present) = txn.catalog().table_by_id(table.id).cloned() else { return Ok(()) };
        let query = EntryQuery {
            from: version.next(),
            upto: txn.moment().version(),
            tables: Some(vec![table.id]),
            upkeep: false,
            limit: 1,
        };
        if let Some(later) = self.metastore().entries(&query)?.first() {
            return Err(Error::invalid(format!(
                "Version {version} cannot be undone: table '{}' was changed since by version {} ({}).",
                present.name, later.head.version, later.head.what
            ))
            .with_hint("DROP TABLE drops it with what was written since; UNDROP TABLE would bring it back."));
        }
        txn.drop_table(&present)
    }
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

/// Returns a line for each row that does not stand as the commit left it.
async fn touched_since(diff: &Diff, table: &Arc<Table>, txn: &Txn) -> Result<Vec<String>> {
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
                conflicts.push(conflict(table, left, row, if place.is_some() { "changed" } else { "deleted" })?);
            }
        }
    }
    let keys = encode_keys(&columns_of(&diff.deleted, &table.key_columns())?)?;
    for (row, place) in layers.find(&keys).await?.into_iter().enumerate() {
        if place.is_some() {
            conflicts.push(conflict(table, &diff.deleted, row, "inserted")?);
        }
    }
    Ok(conflicts)
}

fn conflict(table: &Table, rows: &RecordBatch, row: usize, how: &str) -> Result<String> {
    let key = entry_text(&columns_of(rows, &table.key_columns())?, row);
    Ok(format!("row '{key}' of '{}' was {how} since", table.name))
}

/// Writes the inverse of a diff.
async fn invert(diff: &Diff, table: &Arc<Table>, txn: &mut Txn) -> Result<()> {
    txn.delete(table, &key_batch(&diff.inserted, table)?).await?;
    txn.update(table, &key_batch(&diff.updated_to, table)?, &diff.updated_from).await?;
    txn.insert_with_row_ids(table, &diff.deleted, OnDuplicate::Error).await?;
    Ok(())
}
