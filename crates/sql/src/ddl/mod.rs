//! Statements that define: databases, tables, indexes, views.
//!
//! Each function here changes the transaction's catalog and nothing else: the session commits. Definitions are built
//! first, whole, and handed to the transaction last, so that a statement that fails has changed nothing.
//!
//! A type or key change asks the session, through [`Queries`], for the rows; nothing in here plans a query.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::tz::TimeZone;
use strandline_core::error::Result as CoreResult;
use strandline_core::ids::{AccountId, ColumnId, Time};
use strandline_core::schema::{Database, Table};
use strandline_core::txn::Txn;

use crate::access::Rights;
use crate::api::Done;
use crate::error::{Error, Result};
use crate::plan;
pub use crate::warning::Warning;

mod alter;
mod alter_spec;
pub mod attributes;
mod column;
mod database;
pub mod defaults;
mod foreign_key;
mod keys;
pub mod spec;
mod table;
pub mod view;

pub use alter::{alter_table, create_index, drop_index};
pub use alter_spec::{AlterSpec, Alteration, alter_spec};
pub use database::{alter_database, create_database, drop_database};
pub use table::{create_table, drop_tables, rename_tables, truncate_table};
pub use view::{create_view, drop_views};

/// Databases that exist in every account and hold no tables of the store.
pub const VIRTUAL_DATABASES: [&str; 4] = ["information_schema", "mo_catalog", "mysql", "performance_schema"];

/// What a defining statement works in.
pub struct Ddl<'a> {
    pub txn: &'a mut Txn,
    pub account: AccountId,
    /// The session's current database.
    pub database: Option<&'a str>,
    /// `user@host`
    pub user: &'a str,
    pub rights: &'a Rights,
    pub foreign_key_checks: bool,
    /// The session's time zone: TIMESTAMP literals in defaults are in it.
    pub zone: &'a TimeZone,
    /// The statement's time.
    pub now: Time,
    pub warnings: &'a mut Vec<Warning>,
    pub queries: &'a dyn Queries,
}

/// What defining statements need of the session's planner. All of it reads the transaction as it stands.
#[async_trait]
pub trait Queries: Send + Sync {
    /// Plans a SELECT and returns its columns; runs nothing.
    async fn describe(&self, txn: &mut Txn, database: Option<&str>, select: &str) -> Result<Vec<SelectColumn>>;

    /// Runs a SELECT that returns few rows.
    async fn rows(&self, txn: &mut Txn, database: Option<&str>, select: &str) -> Result<Vec<RecordBatch>>;

    /// Returns the rows of `old` in the physical schema of `new` (without `_row_id`): for each column of `new` what
    /// `sources` says, coerced as strict INSERT would. An error of the stream names the value that does not fit.
    async fn convert(
        &self,
        txn: &mut Txn,
        old: &Arc<Table>,
        new: &Table,
        sources: Vec<Source>,
    ) -> Result<BoxStream<'static, CoreResult<RecordBatch>>>;

    /// Runs `INSERT INTO table (columns) select` and returns the number of rows.
    async fn insert_select(
        &self,
        txn: &mut Txn,
        table: &Arc<Table>,
        columns: &[String],
        database: Option<&str>,
        select: &str,
    ) -> Result<u64>;
}

/// Where a column of a rebuilt table gets its values from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A column of the old table.
    Column(ColumnId),
    /// An expression over the old table's columns, as SQL text: a new column's default.
    Expression(String),
    /// The next values of the AUTO_INCREMENT counter, from 1.
    Sequence,
}

/// A column of a SELECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectColumn {
    pub name: String,
    /// The type as it would be declared, such as `bigint` or `varchar(20)`.
    pub declared: String,
    pub nullable: bool,
}

impl Ddl<'_> {
    /// Returns the database that is meant: the one named, else the current one.
    ///
    /// # Errors
    /// 1046 where none is meant, 1049 where it does not exist, 1044 for a virtual one.
    pub(crate) fn database(&self, name: Option<&str>) -> Result<Arc<Database>> {
        let name = name.or(self.database).ok_or_else(no_database)?;
        self.refuse_virtual(name)?;
        plan::find_database(plan::Source::Txn(self.txn), self.account, name)
    }

    /// Refuses to change a database that the server makes up.
    pub(crate) fn refuse_virtual(&self, name: &str) -> Result<()> {
        if is_virtual(name) {
            let (user, host) = self.user.rsplit_once('@').unwrap_or((self.user, "%"));
            let message = format!("Access denied for user '{user}'@'{host}' to database '{name}'");
            return Err(Error::new(1044, "42000", message));
        }
        Ok(())
    }

    /// Returns a table or view with its database.
    ///
    /// # Errors
    /// 1146 where it does not exist.
    pub(crate) fn find(&self, database: Option<&str>, name: &str) -> Result<(Arc<Database>, Arc<Table>)> {
        let database = self.database(database)?;
        plan::find_table(plan::Source::Txn(self.txn), self.account, &database.name, name)
    }

    /// Returns a base table with its database.
    ///
    /// # Errors
    /// 1347 for a view.
    pub(crate) fn base_table(&self, database: Option<&str>, name: &str) -> Result<(Arc<Database>, Arc<Table>)> {
        let (database, table) = self.find(database, name)?;
        if table.is_view() {
            let message = format!("'{}.{}' is not BASE TABLE", database.name, table.name);
            return Err(Error::new(1347, "HY000", message));
        }
        Ok((database, table))
    }

    /// Tells whether a table or view of this name exists.
    pub(crate) fn exists(&self, database: &Database, name: &str) -> bool {
        self.txn.catalog().table(database, name).is_ok()
    }

    pub(crate) fn clock(&self) -> defaults::Clock<'_> {
        defaults::Clock { now: self.now, zone: self.zone }
    }

    /// Tells whether a SELECT returns any row.
    pub(crate) async fn any(&mut self, database: Option<&str>, select: &str) -> Result<bool> {
        let batches = self.queries.rows(self.txn, database, select).await?;
        Ok(batches.iter().any(|batch| batch.num_rows() > 0))
    }
}

/// Tells whether the server makes up this database.
pub fn is_virtual(name: &str) -> bool {
    VIRTUAL_DATABASES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

pub(crate) fn no_database() -> Error {
    Error::new(1046, "3D000", "No database selected")
}

pub(crate) fn unknown_database(name: &str) -> Error {
    Error::new(1049, "42000", format!("Unknown database '{name}'"))
}

pub(crate) fn no_table(database: &str, name: &str) -> Error {
    Error::new(1146, "42S02", format!("Table '{database}.{name}' doesn't exist"))
}

/// Checks a name of a table, column or index.
///
/// # Errors
/// 1059 where it is too long, `code` where it is empty or ends in a space.
pub(crate) fn check_name(name: &str, code: u16, what: &str) -> Result<()> {
    if name.chars().count() > 64 {
        return Err(Error::new(1059, "42000", format!("Identifier name '{name}' is too long")));
    }
    if name.is_empty() || name.ends_with(' ') || name.contains('\0') {
        return Err(Error::new(code, "42000", format!("Incorrect {what} name '{name}'")));
    }
    Ok(())
}

/// Returns a result that counts the warnings.
pub(crate) fn done(cx: &Ddl<'_>, affected_rows: u64) -> Done {
    let warnings = u16::try_from(cx.warnings.len()).unwrap_or(u16::MAX);
    Done { affected_rows, warnings, ..Done::default() }
}

#[cfg(test)]
mod tests;
