//! What a verb is about: a table, some tables, a database, an account or everything.

use strandline_client::sql::{self, TableName};

use crate::Result;

/// A scope, as options that exclude one another.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "scope", multiple = false)]
pub struct Scope {
    /// A table, as database.table; several of one database by repeating it
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<TableName>,
    /// A database
    #[arg(long, short = 'D', value_name = "DATABASE")]
    pub database: Option<String>,
    /// An account; your own if none is named
    #[arg(long, value_name = "ACCOUNT", num_args = 0..=1)]
    pub account: Option<Option<String>>,
    /// Everything
    #[arg(long)]
    pub cluster: bool,
}

impl Scope {
    /// Returns the scope as SQL, or `None` if there is none.
    pub fn clause(&self) -> Result<Option<String>> {
        if !self.table.is_empty() {
            return tables(&self.table).map(Some);
        }
        if let Some(database) = &self.database {
            return Ok(Some(format!("DATABASE {}", sql::name(database))));
        }
        if let Some(account) = &self.account {
            return Ok(Some(self::account(account.as_deref())));
        }
        Ok(self.cluster.then(|| "CLUSTER".to_owned()))
    }
}

/// Returns `TABLE d.t` or `TABLES d (t, u)`.
pub fn tables(tables: &[TableName]) -> Result<String> {
    let [first, others @ ..] = tables else {
        return Err("Name a table.".into());
    };
    if others.is_empty() {
        return Ok(format!("TABLE {first}"));
    }
    let Some(database) = &first.database else {
        return Err("Of several tables, write each as database.table.".into());
    };
    if others.iter().any(|table| table.database.as_ref() != Some(database)) {
        return Err("Several tables must be of one database.".into());
    }
    let names = sql::names(tables.iter().map(|table| table.table.as_str()));
    Ok(format!("TABLES {} ({names})", sql::name(database)))
}

/// Returns `ACCOUNT a`, or `ACCOUNT` for one's own.
pub fn account(account: Option<&str>) -> String {
    account.map_or_else(|| "ACCOUNT".to_owned(), |account| format!("ACCOUNT {}", sql::name(account)))
}
