//! mo_catalog: what MatrixOne's clients read.

use strandline_core::grants::Privileges;
use strandline_core::log::Scope;

use super::VirtualTable;
use super::catalog::every_table;
use crate::create_text::{create_table_text, create_view_text};
use crate::ddl::attributes;
use crate::show::answer::CellKind::{Int, Long, Text, Time, UInt};
use crate::show::answer::{Cell, row};
use crate::show::{ShowContext, describe, nanos};

const DB: &str = "mo_catalog";

pub(super) const TABLES: &[VirtualTable] = &[
    VirtualTable {
        database: DB,
        name: "mo_snapshots",
        columns: &[
            ("snapshot_id", Text),
            ("sname", Text),
            ("ts", Int),
            ("level", Text),
            ("account_name", Text),
            ("database_name", Text),
            ("table_name", Text),
            ("obj_id", UInt),
        ],
        rows: snapshots,
    },
    VirtualTable {
        database: DB,
        name: "mo_pitr",
        columns: &[
            ("pitr_id", Text),
            ("pitr_name", Text),
            ("create_account", UInt),
            ("create_time", Int),
            ("modified_time", Int),
            ("level", Text),
            ("account_id", UInt),
            ("account_name", Text),
            ("database_name", Text),
            ("table_name", Text),
            ("obj_id", UInt),
            ("pitr_length", UInt),
            ("pitr_unit", Text),
            ("pitr_status", UInt),
            ("pitr_status_changed_time", Int),
            ("kind", Text),
        ],
        rows: pitrs,
    },
    VirtualTable {
        database: DB,
        name: "mo_database",
        columns: &[
            ("dat_id", UInt),
            ("datname", Text),
            ("dat_catalog_name", Text),
            ("dat_createsql", Long),
            ("owner", UInt),
            ("creator", UInt),
            ("created_time", Time),
            ("account_id", UInt),
            ("dat_type", Text),
        ],
        rows: databases,
    },
    VirtualTable {
        database: DB,
        name: "mo_tables",
        columns: &[
            ("rel_id", UInt),
            ("relname", Text),
            ("reldatabase", Text),
            ("reldatabase_id", UInt),
            ("relpersistence", Text),
            ("relkind", Text),
            ("rel_comment", Long),
            ("rel_createsql", Long),
            ("created_time", Time),
            ("creator", UInt),
            ("owner", UInt),
            ("account_id", UInt),
        ],
        rows: tables,
    },
    VirtualTable {
        database: DB,
        name: "mo_columns",
        columns: &[
            ("att_uniq_name", Text),
            ("account_id", UInt),
            ("att_database_id", UInt),
            ("att_database", Text),
            ("att_relname_id", UInt),
            ("att_relname", Text),
            ("attname", Text),
            ("atttyp", Text),
            ("attnum", UInt),
            ("attnotnull", UInt),
            ("atthasdef", UInt),
            ("att_default", Long),
            ("att_constraint_type", Text),
            ("att_is_auto_increment", UInt),
            ("att_comment", Long),
        ],
        rows: columns,
    },
    VirtualTable {
        database: DB,
        name: "mo_account",
        columns: &[("account_id", UInt), ("account_name", Text), ("status", Text)],
        rows: |cx| {
            let accounts = cx.catalog.accounts();
            let whole = cx.account == strandline_core::db::SYS && cx.reader.rights.has_one_of(Privileges::SUPER);
            let seen = accounts.iter().filter(|a| whole || a.id == cx.account);
            seen.map(|account| row![account.id.0, &account.name, "open"]).collect()
        },
    },
    VirtualTable {
        database: DB,
        name: "mo_user",
        columns: &[("user_id", UInt), ("user_host", Text), ("user_name", Text), ("status", Text)],
        rows: |cx| {
            let users = cx.reader.users();
            users
                .iter()
                .map(|user| {
                    let status = if user.verifiers.contains_key("locked") { "lock" } else { "unlock" };
                    row![user.id.0, crate::users::host_of(user), &user.name, status]
                })
                .collect()
        },
    },
];

/// Returns the names of account, database and tables that a scope is about, and the id of the object now, or 0.
fn names_of(cx: &ShowContext<'_>, scope: &Scope) -> (String, String, String, u64) {
    let own = || cx.catalog.account_by_id(cx.account).map(|account| account.name.clone()).unwrap_or_default();
    match scope {
        Scope::Cluster => (String::new(), String::new(), String::new(), 0),
        Scope::Account(name) => {
            (name.clone(), String::new(), String::new(), cx.catalog.account(name).map_or(0, |a| a.id.0))
        }
        Scope::Database(name) => {
            let id = cx.catalog.database(cx.account, name).map_or(0, |database| database.id.0);
            (own(), name.clone(), String::new(), id)
        }
        Scope::Tables(name, tables) => {
            let table = tables.first().and_then(|table| {
                let database = cx.catalog.database(cx.account, name).ok()?;
                cx.catalog.table(database, table).ok()
            });
            (own(), name.clone(), tables.join(","), table.map_or(0, |table| table.id.0))
        }
    }
}

/// `pitr_status` is 1 while the object exists, as in MatrixOne. It is the same policy when an object of the name is made
/// again, and what was kept stays.
fn pitrs(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let row = |pitr: &strandline_core::when::Pitr| {
        let (account, database, table, object) = names_of(cx, &pitr.scope);
        let account_id = cx.catalog.account(&account).map_or(0, |account| account.id.0);
        let stands = object != 0 || pitr.scope == Scope::Cluster;
        row![
            format!("{}/{}", pitr.account, pitr.name.to_lowercase()),
            &pitr.name,
            pitr.account.0,
            nanos(pitr.created),
            nanos(pitr.modified),
            pitr.scope.level(),
            account_id,
            account,
            database,
            table,
            object,
            u64::from(pitr.length),
            pitr.unit.letter(),
            u64::from(stands),
            nanos(pitr.modified),
            "user"
        ]
    };
    cx.pitrs.iter().map(row).collect()
}

fn snapshots(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for pin in cx.snapshots {
        let (account, database, table, object) = names_of(cx, &pin.scope);
        rows.push(row![
            pin.id.to_string(),
            &pin.name,
            nanos(pin.version_time),
            pin.scope.level(),
            account,
            database,
            table,
            object
        ]);
    }
    rows
}

fn databases(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut databases = cx.databases();
    databases.retain(|database| cx.reader.lists(&database.name));
    databases
        .iter()
        .map(|d| {
            let text = crate::create_text::create_database_text(d, false);
            row![d.id.0, &d.name, "def", text, 0u64, 0u64, Cell::Null, d.account.0, "user"]
        })
        .collect()
}

fn tables(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let tables = every_table(cx).into_iter();
    tables
        .map(|(database, table)| {
            let text = match table.is_view() {
                true if cx.reader.has(&database, &table, Privileges::SHOW_VIEW) => {
                    create_view_text(&database.name, &table)
                }
                true => String::new(),
                false => create_table_text(&table, None),
            };
            row![
                table.id.0,
                &table.name,
                &database.name,
                database.id.0,
                "permanent",
                if table.is_view() { "v" } else { "r" },
                &table.comment,
                text,
                attributes::created(&table),
                0u64,
                0u64,
                cx.account.0
            ]
        })
        .collect()
}

fn columns(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        for (at, column, _) in cx.columns_of(&database, &table) {
            let constraint = if table.primary_key.contains(&column.id) { "p" } else { "n" };
            rows.push(row![
                format!("{}-{}", table.id, column.name),
                cx.account.0,
                database.id.0,
                &database.name,
                table.id.0,
                &table.name,
                &column.name,
                &column.declared,
                at,
                u64::from(!column.nullable),
                u64::from(column.default.is_some()),
                describe::default_text(column),
                constraint,
                u64::from(column.auto_increment),
                &column.comment
            ]);
        }
    }
    rows
}
