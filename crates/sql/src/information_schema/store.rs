//! What is so of the store: its health, for those who look after it, and what everything takes on disk.

use strandline_core::db::SYS;
use strandline_core::grants::Privileges;
use strandline_core::ids::AccountId;
use strandline_core::log::Scope;
use strandline_core::schema::same_name;
use strandline_core::upkeep::storage::StorageKeeper;

use super::VirtualTable;
use crate::show::ShowContext;
use crate::show::answer::CellKind::{Long, Text, Time, UInt};
use crate::show::answer::{Cell, row};

const DB: &str = "information_schema";

pub(super) const TABLES: &[VirtualTable] = &[
    VirtualTable {
        database: DB,
        name: "STRANDLINE_HEALTH",
        columns: &[
            ("READING_BEGAN", Time),
            ("READING_BYTES", UInt),
            ("LAST_BEGAN", Time),
            ("LAST_ENDED", Time),
            ("LAST_FILES", UInt),
            ("LAST_BYTES", UInt),
            ("LAST_VERSION", UInt),
            ("DAMAGES", UInt),
        ],
        rows: health,
    },
    VirtualTable {
        database: DB,
        name: "STRANDLINE_DAMAGES",
        columns: &[
            ("FILE", Text),
            ("MESSAGE", Long),
            ("TABLES", Long),
            ("SNAPSHOTS", Long),
            ("FIRST_FOUND", Time),
            ("LAST_FOUND", Time),
        ],
        rows: damages,
    },
    VirtualTable {
        database: DB,
        name: STORAGE,
        columns: &[
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("STATUS", Text),
            ("LIVE_BYTES", UInt),
            ("SHARED_BYTES", UInt),
            ("OWN_BYTES", UInt),
            ("SHARED_WITH", Long),
            ("PAST_BYTES", UInt),
            ("WINDOW_BYTES", UInt),
            ("SNAPSHOT_BYTES", UInt),
            ("LOG_BYTES", UInt),
            ("DAY_BYTES", UInt),
        ],
        rows: storage,
    },
    VirtualTable {
        database: DB,
        name: KEEPERS,
        columns: &[
            ("KIND", Text),
            ("NAME", Text),
            ("LEVEL", Text),
            ("BYTES", UInt),
            ("UNIQUE_BYTES", UInt),
            ("DAY_BYTES", UInt),
        ],
        rows: keepers,
    },
    VirtualTable {
        database: DB,
        name: GROWTH,
        columns: &[("DAY", Text), ("COMMITS", UInt), ("FILES", UInt), ("FILE_BYTES", UInt), ("LOG_BYTES", UInt)],
        rows: growth,
    },
];

/// What is kept, by table, and by what keeps it.
const STORAGE: &str = "STRANDLINE_STORAGE";
const KEEPERS: &str = "STRANDLINE_KEEPERS";

/// What was written on each day and is kept still.
const GROWTH: &str = "STRANDLINE_GROWTH";

/// What has to be found out for a made-up table before its rows are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Nothing,
    Storage,
    Growth,
}

/// Says what has to be found out for a made-up table.
pub(crate) fn asks(database: &str, name: &str) -> Asks {
    let is = |other: &str| same_name(database, DB) && same_name(name, other);
    match (is(STORAGE) || is(KEEPERS), is(GROWTH)) {
        (true, _) => Asks::Storage,
        (_, true) => Asks::Growth,
        _ => Asks::Nothing,
    }
}

/// Tells whether the reader may know of a table of the account.
fn sees(cx: &ShowContext<'_>, account: AccountId, database: &str, table: &str) -> bool {
    account == cx.account && cx.reader.rights.sees_scope(&Scope::Tables(database.to_owned(), vec![table.to_owned()]))
}

fn storage(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let tables = cx.storage.tables.iter().filter(|t| sees(cx, t.account, &t.database, &t.table));
    tables
        .map(|table| {
            let with = table.shared_with.iter().filter(|(home, name)| sees(cx, table.account, home, name));
            let with: Vec<String> = with.map(|(home, name)| format!("{home}.{name}")).collect();
            row![
                &table.database,
                &table.table,
                if table.is_dropped { "dropped" } else { "live" },
                table.live_bytes,
                table.shared_bytes,
                table.live_bytes - table.shared_bytes,
                with.join(", "),
                table.past_bytes,
                table.window_bytes,
                table.snapshot_bytes,
                table.log_bytes,
                table.day_bytes
            ]
        })
        .collect()
}

fn keepers(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let rights = cx.reader.rights;
    let mut rows = Vec::new();
    for storage in &cx.storage.keepers {
        let (kind, name, level) = match &storage.keeper {
            StorageKeeper::Window if keeps_store(cx) => ("window", "default", "cluster"),
            StorageKeeper::Pitr { name, account, scope } if *account == cx.account && rights.sees_scope(scope) => {
                ("pitr", name.as_str(), scope.level())
            }
            StorageKeeper::Snapshot(pin) if pin.account == cx.account && rights.sees_scope(&pin.scope) => {
                ("snapshot", pin.name.as_str(), pin.scope.level())
            }
            _ => continue,
        };
        rows.push(row![kind, name, level, storage.bytes, storage.unique_bytes, storage.day_bytes]);
    }
    rows
}

fn growth(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    if !keeps_store(cx) {
        return Vec::new();
    }
    let days = cx.growth.iter();
    days.map(|day| {
        let date = day.begins.to_string();
        row![&date[..10], day.commits, day.files, day.file_bytes, day.log_bytes]
    })
    .collect()
}

/// Tells whether the reader looks after the whole store.
fn keeps_store(cx: &ShowContext<'_>) -> bool {
    cx.account == SYS && cx.reader.rights.has_one_of(Privileges::SUPER)
}

fn health(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    if !keeps_store(cx) {
        return Vec::new();
    }
    let (running, last) = (cx.health.running, cx.health.last);
    vec![row![
        running.map(|running| running.began),
        running.map(|running| running.bytes),
        last.map(|last| last.began),
        last.map(|last| last.ended),
        last.map(|last| last.files),
        last.map(|last| last.bytes),
        last.map(|last| last.version.0),
        cx.health.damages.len()
    ]]
}

fn damages(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    if !keeps_store(cx) {
        return Vec::new();
    }
    let damages = cx.health.damages.iter();
    damages
        .map(|found| {
            let damage = &found.damage;
            row![
                &damage.file,
                &damage.what,
                damage.tables.join(", "),
                damage.snapshots.join(", "),
                found.first,
                found.last
            ]
        })
        .collect()
}
