//! `debug log`: commits with what they changed and how much they hold.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use strandline_core::catalog::{Change, ObjectKind};
use strandline_core::db::Database;
use strandline_core::error::Result;
use strandline_core::ids::{TableId, Version};
use strandline_core::log::{Entry, EntryQuery};

use super::report::Report;
use super::utc;

/// Lists the commits in `[from, upto]`, newest first, those of upkeep too.
pub fn log(database: &Database, from: Version, upto: Version, limit: usize) -> Result<Report> {
    let metastore = database.metastore();
    let upto = upto.min(database.now().version());
    let entries = metastore.entries(&EntryQuery { from, upto, tables: None, upkeep: true, limit })?;
    let mut rows = Vec::with_capacity(entries.len());
    for summary in entries {
        if let Some(entry) = metastore.entry(summary.head.version)? {
            rows.push(describe(database, &entry)?);
        }
    }
    Ok(Report::new(Json::Array(rows.clone())).with_table("", rows))
}

fn describe(database: &Database, entry: &Entry) -> Result<Json> {
    let mut changes: BTreeMap<&str, u64> = BTreeMap::new();
    for change in &entry.changes {
        *changes.entry(kind(change)).or_default() += 1;
    }
    let mut tables = Vec::new();
    for delta in &entry.deltas {
        tables.push(json!({
            "table": table_name(database, delta.table)?,
            "puts": delta.puts,
            "deletes": delta.deletes,
            "bytes": delta.body.len(),
        }));
    }
    let bytes: u64 = entry.files.iter().map(|file| file.length).sum();
    Ok(json!({
        "version": entry.head.version.0,
        "time": utc(entry.head.time),
        "account": entry.head.account.0,
        "author": entry.head.author,
        "what": entry.head.what,
        "upkeep": entry.head.upkeep,
        "changes": changes,
        "tables": tables,
        "files": entry.files.len(),
        "file_bytes": bytes,
        "pins": entry.pins.iter().map(|pin| pin.name.as_str()).collect::<Vec<_>>(),
    }))
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::PutAccount(_) => "put account",
        Change::DropAccount(_) => "drop account",
        Change::PutDatabase(_) => "put database",
        Change::DropDatabase(_) => "drop database",
        Change::PutTable(_) => "put table",
        Change::DropTable(_) => "drop table",
        Change::PutContent(..) => "put content",
        Change::PutUser(_) => "put user",
        Change::DropUser(_) => "drop user",
    }
}

/// Returns the name that a table has, or had last, with its database.
pub fn table_name(database: &Database, id: TableId) -> Result<String> {
    let metastore = database.metastore();
    let last = |kind, id| -> Result<Option<Change>> { Ok(metastore.object(kind, id)?.pop().map(|row| row.object)) };
    let Some(Change::PutTable(table)) = last(ObjectKind::Table, id.0)? else {
        return Ok(format!("(table {id})"));
    };
    Ok(match last(ObjectKind::Database, table.database.0)? {
        Some(Change::PutDatabase(database)) => format!("{}.{}", database.name, table.name),
        _ => table.name.clone(),
    })
}
