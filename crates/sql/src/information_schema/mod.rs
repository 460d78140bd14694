//! Databases that the server makes up: information_schema, mo_catalog, mysql and performance_schema.
//!
//! Each table is a row of a list: its name, its columns, and the function that makes its rows of a catalog. They hold
//! what the session's account may see, and nothing can be written to them.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use strandline_core::schema::same_name;

use crate::error::Result;
use crate::show::ShowContext;
use crate::show::answer::{Cell, CellKind, batch, schema_of};

mod catalog;
mod constraints;
mod empty;
mod matrixone;
mod server;
mod store;

pub(crate) use store::{Asks, asks};

/// A made-up table.
pub(crate) struct VirtualTable {
    pub database: &'static str,
    pub name: &'static str,
    pub columns: &'static [(&'static str, CellKind)],
    pub rows: fn(&ShowContext<'_>) -> Vec<Vec<Cell>>,
}

/// Returns a made-up table's schema and rows, or `None` where there is no such table. Names compare without case.
pub fn virtual_table(database: &str, name: &str, cx: &ShowContext<'_>) -> Option<Result<(SchemaRef, RecordBatch)>> {
    let table = find(database, name)?;
    let schema = schema_of(table.columns);
    Some(batch(&schema, table.columns, (table.rows)(cx)).map(|batch| (schema, batch)))
}

/// Tells whether a made-up table says how large tables are.
pub fn tells_sizes(database: &str, name: &str) -> bool {
    same_name(database, "information_schema") && ["TABLES", "STATISTICS"].iter().any(|other| same_name(name, other))
}

/// Returns the tables of a made-up database, by name.
pub fn table_names(database: &str) -> impl Iterator<Item = &'static str> {
    let tables = all().filter(|table| same_name(table.database, database));
    let mut names: Vec<&'static str> = tables.map(|table| table.name).collect();
    names.sort_unstable();
    names.into_iter()
}

/// Returns the columns of a made-up table.
pub(crate) fn columns_of(database: &str, name: &str) -> Option<&'static [(&'static str, CellKind)]> {
    find(database, name).map(|table| table.columns)
}

/// Returns `SYSTEM VIEW` or `BASE TABLE`, as MySQL calls the tables of such a database.
pub(crate) fn table_type(database: &str) -> &'static str {
    if database.eq_ignore_ascii_case("information_schema") { "SYSTEM VIEW" } else { "BASE TABLE" }
}

/// Returns how a made-up column would be declared.
pub(crate) fn declared(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Text => "varchar(1024)",
        CellKind::Long => "longtext",
        CellKind::Int => "bigint",
        CellKind::UInt => "bigint unsigned",
        CellKind::Float => "double",
        CellKind::Time => "datetime",
    }
}

pub(crate) fn all() -> impl Iterator<Item = &'static VirtualTable> {
    [catalog::TABLES, constraints::TABLES, server::TABLES, store::TABLES, matrixone::TABLES, empty::TABLES]
        .into_iter()
        .flatten()
}

fn find(database: &str, name: &str) -> Option<&'static VirtualTable> {
    all().find(|table| same_name(table.database, database) && same_name(table.name, name))
}

#[cfg(test)]
mod tests;
