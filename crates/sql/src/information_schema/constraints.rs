//! KEY_COLUMN_USAGE, TABLE_CONSTRAINTS, REFERENTIAL_CONSTRAINTS and CHECK_CONSTRAINTS.

use super::VirtualTable;
use super::catalog::every_table;
use strandline_core::schema::same_name;

use crate::ddl::attributes;
use crate::show::ShowContext;
use crate::show::answer::CellKind::{Long, Text, UInt};
use crate::show::answer::{Cell, row};

const DB: &str = "information_schema";

pub(super) const TABLES: &[VirtualTable] = &[
    VirtualTable {
        database: DB,
        name: "KEY_COLUMN_USAGE",
        columns: &[
            ("CONSTRAINT_CATALOG", Text),
            ("CONSTRAINT_SCHEMA", Text),
            ("CONSTRAINT_NAME", Text),
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("COLUMN_NAME", Text),
            ("ORDINAL_POSITION", UInt),
            ("POSITION_IN_UNIQUE_CONSTRAINT", UInt),
            ("REFERENCED_TABLE_SCHEMA", Text),
            ("REFERENCED_TABLE_NAME", Text),
            ("REFERENCED_COLUMN_NAME", Text),
        ],
        rows: key_column_usage,
    },
    VirtualTable {
        database: DB,
        name: "TABLE_CONSTRAINTS",
        columns: &[
            ("CONSTRAINT_CATALOG", Text),
            ("CONSTRAINT_SCHEMA", Text),
            ("CONSTRAINT_NAME", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("CONSTRAINT_TYPE", Text),
            ("ENFORCED", Text),
        ],
        rows: table_constraints,
    },
    VirtualTable {
        database: DB,
        name: "REFERENTIAL_CONSTRAINTS",
        columns: &[
            ("CONSTRAINT_CATALOG", Text),
            ("CONSTRAINT_SCHEMA", Text),
            ("CONSTRAINT_NAME", Text),
            ("UNIQUE_CONSTRAINT_CATALOG", Text),
            ("UNIQUE_CONSTRAINT_SCHEMA", Text),
            ("UNIQUE_CONSTRAINT_NAME", Text),
            ("MATCH_OPTION", Text),
            ("UPDATE_RULE", Text),
            ("DELETE_RULE", Text),
            ("TABLE_NAME", Text),
            ("REFERENCED_TABLE_NAME", Text),
        ],
        rows: referential_constraints,
    },
    VirtualTable {
        database: DB,
        name: "CHECK_CONSTRAINTS",
        columns: &[
            ("CONSTRAINT_CATALOG", Text),
            ("CONSTRAINT_SCHEMA", Text),
            ("CONSTRAINT_NAME", Text),
            ("CHECK_CLAUSE", Long),
        ],
        rows: check_constraints,
    },
];

fn key_column_usage(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        for part in cx.key_parts_of(&database, &table).into_iter().filter(|part| part.unique) {
            rows.push(row![
                "def",
                &database.name,
                part.key,
                "def",
                &database.name,
                &table.name,
                &part.column.name,
                part.sequence,
                Cell::Null,
                Cell::Null,
                Cell::Null,
                Cell::Null
            ]);
        }
        let shown = cx.columns_of(&database, &table);
        for key in &table.foreign_keys {
            let parent_database = key.parent_database.as_ref().unwrap_or(&database.name);
            for (at, (id, parent)) in key.columns.iter().zip(&key.parent_columns).enumerate() {
                let Some((_, column, _)) = shown.iter().find(|(_, column, _)| column.id == *id) else { continue };
                rows.push(row![
                    "def",
                    &database.name,
                    &key.name,
                    "def",
                    &database.name,
                    &table.name,
                    &column.name,
                    at + 1,
                    at + 1,
                    parent_database,
                    &key.parent_table,
                    parent
                ]);
            }
        }
    }
    rows
}

fn table_constraints(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        let mut push = |name: &str, kind: &str| {
            rows.push(row!["def", &database.name, name, &database.name, &table.name, kind, "YES"]);
        };
        if !table.primary_key.is_empty() {
            push("PRIMARY", "PRIMARY KEY");
        }
        table.indexes.iter().filter(|index| index.unique).for_each(|index| push(&index.name, "UNIQUE"));
        table.foreign_keys.iter().for_each(|key| push(&key.name, "FOREIGN KEY"));
        attributes::checks(&table).iter().for_each(|check| push(&check.name, "CHECK"));
    }
    rows
}

fn referential_constraints(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        for key in &table.foreign_keys {
            let parent_database = key.parent_database.as_ref().unwrap_or(&database.name);
            let parent =
                cx.catalog.database(cx.account, parent_database).and_then(|d| cx.catalog.table(d, &key.parent_table));
            let unique = parent.ok().and_then(|parent| {
                let names = |ids: &[strandline_core::ids::ColumnId]| {
                    ids.len() == key.parent_columns.len()
                        && ids
                            .iter()
                            .filter_map(|id| parent.column_by_id(*id))
                            .all(|column| key.parent_columns.iter().any(|name| same_name(name, &column.name)))
                };
                if names(&parent.primary_key) {
                    return Some("PRIMARY".to_owned());
                }
                parent
                    .indexes
                    .iter()
                    .find(|index| index.unique && names(&index.columns))
                    .map(|index| index.name.clone())
            });
            let rule = |event: &str| {
                let restrict = key.actions.contains(&format!("ON {event} RESTRICT"));
                if restrict { "RESTRICT" } else { "NO ACTION" }
            };
            rows.push(row![
                "def",
                &database.name,
                &key.name,
                "def",
                parent_database,
                unique,
                "NONE",
                rule("UPDATE"),
                rule("DELETE"),
                &table.name,
                &key.parent_table
            ]);
        }
    }
    rows
}

fn check_constraints(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        for check in attributes::checks(&table) {
            rows.push(row!["def", &database.name, check.name, format!("({})", check.expression)]);
        }
    }
    rows
}
