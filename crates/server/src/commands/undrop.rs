//! `strandline undrop`: brings back what was dropped, as it was just before.

use strandline_client::sql::{self, TableName};

use crate::Result;
use crate::commands::connection::Remote;

/// Bring back a dropped table or database.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  strandline undrop table shop.orders")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(clap::Subcommand, Debug)]
pub enum What {
    /// Bring back a table
    Table {
        /// As database.table
        table: TableName,
        /// Bring it back under this name
        #[arg(long, value_name = "TABLE")]
        to: Option<TableName>,
        /// Print what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring back a database with its tables
    Database {
        database: String,
        /// Bring it back under this name
        #[arg(long, value_name = "DATABASE")]
        to: Option<String>,
        /// Print what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let (what, to, dry_run) = match &self.what {
            What::Table { table, to, dry_run } => {
                (format!("TABLE {table}"), to.as_ref().map(TableName::to_string), dry_run)
            }
            What::Database { database, to, dry_run } => {
                (format!("DATABASE {}", sql::name(database)), to.as_deref().map(sql::name), dry_run)
            }
        };
        let explain = if *dry_run { "EXPLAIN " } else { "" };
        let to = to.map(|name| format!(" TO {name}")).unwrap_or_default();
        Ok(format!("{explain}UNDROP {what}{to}"))
    }
}
