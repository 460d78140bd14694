//! SCHEMATA, TABLES, COLUMNS, STATISTICS and VIEWS.

use std::borrow::Cow;
use std::sync::Arc;

use strandline_core::grants::Privileges;
use strandline_core::schema::{Database, Table};

use super::{VirtualTable, all, declared, table_type};
use crate::create_text::{base_type, view_text};
use crate::ddl::attributes;
use crate::show::answer::CellKind::{Long, Text, Time, UInt};
use crate::show::answer::{Cell, row};
use crate::show::describe::{default_text, extra, key_of, mysql_type};
use crate::show::{ShowContext, database_names, status_row};

const DB: &str = "information_schema";

pub(super) const TABLES: &[VirtualTable] = &[
    VirtualTable {
        database: DB,
        name: "SCHEMATA",
        columns: &[
            ("CATALOG_NAME", Text),
            ("SCHEMA_NAME", Text),
            ("DEFAULT_CHARACTER_SET_NAME", Text),
            ("DEFAULT_COLLATION_NAME", Text),
            ("SQL_PATH", Text),
            ("DEFAULT_ENCRYPTION", Text),
        ],
        rows: schemata,
    },
    VirtualTable {
        database: DB,
        name: "TABLES",
        columns: &[
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("TABLE_TYPE", Text),
            ("ENGINE", Text),
            ("VERSION", UInt),
            ("ROW_FORMAT", Text),
            ("TABLE_ROWS", UInt),
            ("AVG_ROW_LENGTH", UInt),
            ("DATA_LENGTH", UInt),
            ("MAX_DATA_LENGTH", UInt),
            ("INDEX_LENGTH", UInt),
            ("DATA_FREE", UInt),
            ("AUTO_INCREMENT", UInt),
            ("CREATE_TIME", Time),
            ("UPDATE_TIME", Time),
            ("CHECK_TIME", Time),
            ("TABLE_COLLATION", Text),
            ("CHECKSUM", UInt),
            ("CREATE_OPTIONS", Text),
            ("TABLE_COMMENT", Long),
        ],
        rows: tables,
    },
    VirtualTable {
        database: DB,
        name: "COLUMNS",
        columns: &[
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("COLUMN_NAME", Text),
            ("ORDINAL_POSITION", UInt),
            ("COLUMN_DEFAULT", Long),
            ("IS_NULLABLE", Text),
            ("DATA_TYPE", Long),
            ("CHARACTER_MAXIMUM_LENGTH", UInt),
            ("CHARACTER_OCTET_LENGTH", UInt),
            ("NUMERIC_PRECISION", UInt),
            ("NUMERIC_SCALE", UInt),
            ("DATETIME_PRECISION", UInt),
            ("CHARACTER_SET_NAME", Text),
            ("COLLATION_NAME", Text),
            ("COLUMN_TYPE", Long),
            ("COLUMN_KEY", Text),
            ("EXTRA", Text),
            ("PRIVILEGES", Text),
            ("COLUMN_COMMENT", Long),
            ("GENERATION_EXPRESSION", Long),
            ("SRS_ID", UInt),
        ],
        rows: columns,
    },
    VirtualTable {
        database: DB,
        name: "STATISTICS",
        columns: &[
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("NON_UNIQUE", UInt),
            ("INDEX_SCHEMA", Text),
            ("INDEX_NAME", Text),
            ("SEQ_IN_INDEX", UInt),
            ("COLUMN_NAME", Text),
            ("COLLATION", Text),
            ("CARDINALITY", UInt),
            ("SUB_PART", UInt),
            ("PACKED", Text),
            ("NULLABLE", Text),
            ("INDEX_TYPE", Text),
            ("COMMENT", Text),
            ("INDEX_COMMENT", Text),
            ("IS_VISIBLE", Text),
            ("EXPRESSION", Long),
        ],
        rows: statistics,
    },
    VirtualTable {
        database: DB,
        name: "VIEWS",
        columns: &[
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("VIEW_DEFINITION", Long),
            ("CHECK_OPTION", Text),
            ("IS_UPDATABLE", Text),
            ("DEFINER", Text),
            ("SECURITY_TYPE", Text),
            ("CHARACTER_SET_CLIENT", Text),
            ("COLLATION_CONNECTION", Text),
        ],
        rows: views,
    },
];

/// Returns every table and view of the account that the reader may know of, with its database, by name.
pub(super) fn every_table(cx: &ShowContext<'_>) -> Vec<(Arc<Database>, Arc<Table>)> {
    let databases = cx.databases().into_iter();
    databases
        .flat_map(|database| cx.tables_of(&database).into_iter().map(move |table| (database.clone(), table)))
        .collect()
}

fn schemata(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let names = database_names(cx).into_iter();
    names.map(|name| row!["def", name, "utf8mb4", "utf8mb4_bin", Cell::Null, "NO"]).collect()
}

fn tables(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        let kind = if table.is_view() { "VIEW" } else { "BASE TABLE" };
        let mut row = row!["def", &database.name, &table.name, kind];
        row.extend(status_row(cx, &table).into_iter().skip(1));
        rows.push(row);
    }
    for table in all() {
        let mut row = row!["def", table.database, table.name, table_type(table.database)];
        row.extend(row![Cell::Null, 10u64]);
        row.resize(20, Cell::Null);
        row.push(Cell::from(""));
        rows.push(row);
    }
    rows
}

fn columns(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx) {
        for (at, column, privileges) in cx.columns_of(&database, &table) {
            let ty = mysql_type(column);
            let ty = ty.as_ref();
            let charset = ty.filter(|ty| ty.is_text()).map(|_| "utf8mb4");
            let collation = charset.map(|_| "utf8mb4_bin");
            let data_type = ty.map_or(base_type(&column.declared), |ty| ty.data_type());
            rows.push(row![
                "def",
                &database.name,
                &table.name,
                &column.name,
                at,
                default_text(column),
                if column.nullable { "YES" } else { "NO" },
                data_type,
                ty.and_then(|ty| ty.character_maximum_length()),
                ty.and_then(|ty| ty.character_octet_length()),
                ty.and_then(|ty| ty.numeric_precision()),
                ty.and_then(|ty| ty.numeric_scale()),
                ty.and_then(|ty| ty.datetime_precision()),
                charset,
                collation,
                &column.declared,
                key_of(&table, column),
                extra(column),
                privileges,
                &column.comment,
                "",
                Cell::Null
            ]);
        }
    }
    for table in all() {
        for (at, (name, kind)) in table.columns.iter().enumerate() {
            let declared = declared(*kind);
            let text = matches!(kind, Text | Long);
            let ty = crate::types::MySqlType::parse(declared).ok();
            let ty = ty.as_ref();
            rows.push(row![
                "def",
                table.database,
                table.name,
                *name,
                at + 1,
                Cell::Null,
                "YES",
                base_type(declared),
                ty.and_then(|ty| ty.character_maximum_length()),
                ty.and_then(|ty| ty.character_octet_length()),
                ty.and_then(|ty| ty.numeric_precision()),
                ty.and_then(|ty| ty.numeric_scale()),
                ty.and_then(|ty| ty.datetime_precision()),
                text.then_some("utf8mb4"),
                text.then_some("utf8mb4_bin"),
                declared,
                "",
                "",
                "select",
                "",
                "",
                Cell::Null
            ]);
        }
    }
    rows
}

fn statistics(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (database, table) in every_table(cx).into_iter().filter(|(_, table)| !table.is_view()) {
        let count = (cx.stats)(&table).rows;
        for part in cx.key_parts_of(&database, &table) {
            rows.push(row![
                "def",
                &database.name,
                &table.name,
                u64::from(!part.unique),
                &database.name,
                part.key,
                part.sequence,
                &part.column.name,
                "A",
                count,
                part.prefix,
                Cell::Null,
                if part.column.nullable { "YES" } else { "" },
                "BTREE",
                "",
                part.comment,
                "YES",
                Cell::Null
            ]);
        }
    }
    rows
}

fn views(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let views = every_table(cx).into_iter().filter(|(_, table)| table.is_view());
    views
        .map(|(database, view)| {
            let definer = attributes::view_definer(&view);
            let seen = cx.reader.has(&database, &view, Privileges::SHOW_VIEW);
            let definition = if seen { view_text(&database.name, &view) } else { Cow::Borrowed("") };
            row![
                "def",
                &database.name,
                &view.name,
                definition.as_ref(),
                "NONE",
                "NO",
                definer,
                attributes::view_security(&view),
                "utf8mb4",
                "utf8mb4_bin"
            ]
        })
        .collect()
}
