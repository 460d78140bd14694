//! `strandline restore`: tables, databases, an account or everything as of a moment.

use strandline_client::sql::{self, TableName};

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::moment::Moment;
use crate::commands::scope;

/// Restore from a snapshot, a time or a version.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline restore table shop.orders --at '-10 minutes' --dry-run
  strandline restore table shop.orders --at '-10 minutes' --overwrite --keep-copy
  strandline restore database shop --from-snapshot before_release --to shop_before
A restore is a commit: 'strandline undo' takes it back.";

#[derive(clap::Subcommand, Debug)]
pub enum What {
    /// A table, or several of one database
    Table {
        /// As database.table
        #[arg(required = true, value_name = "TABLE")]
        tables: Vec<TableName>,
        #[command(flatten)]
        terms: Terms,
        /// Restore one table to this name (database.table) and leave the table itself alone
        #[arg(long, value_name = "TABLE")]
        to: Option<TableName>,
    },
    /// A database with all its tables
    Database {
        database: String,
        #[command(flatten)]
        terms: Terms,
        /// Restore to a database of this name and leave the database itself alone
        #[arg(long, value_name = "DATABASE")]
        to: Option<String>,
    },
    /// An account with all its databases; your own if none is named
    Account {
        account: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Everything
    Cluster {
        #[command(flatten)]
        terms: Terms,
    },
}

#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("when").args(["snapshot", "at", "version"]).required(true))]
pub struct Terms {
    #[command(flatten)]
    pub moment: Moment,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
    /// Keep what is replaced under another name
    #[arg(long)]
    pub keep_copy: bool,
    /// Create the target's database if there is none
    #[arg(long)]
    pub create_database: bool,
    /// Restore users and their rights too
    #[arg(long)]
    pub with_grants: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let (scope, terms, to) = match &self.what {
            What::Table { tables, terms, to } => {
                if to.is_some() && tables.len() > 1 {
                    return Err("--to names one table. Restore several one by one, or their database.".into());
                }
                (scope::tables(tables)?, terms, to.as_ref().map(|to| format!(" TO {to}")))
            }
            What::Database { database, terms, to } => {
                let to = to.as_ref().map(|to| format!(" TO DATABASE {}", sql::name(to)));
                (format!("DATABASE {}", sql::name(database)), terms, to)
            }
            What::Account { account, terms } => (scope::account(account.as_deref()), terms, None),
            What::Cluster { terms } => ("CLUSTER".to_owned(), terms, None),
        };
        let when = terms.moment.when().ok_or("Say when: --from-snapshot NAME, --at TIME or --version N.")?;
        let explain = if terms.dry_run { "EXPLAIN " } else { "" };
        let mut statement = format!("{explain}RESTORE {scope} FROM {}{}", when.clause(), to.unwrap_or_default());
        let options = [
            (terms.overwrite, " OVERWRITE"),
            (terms.keep_copy, " KEEP COPY"),
            (terms.create_database, " CREATE DATABASE"),
            (terms.with_grants, " WITH GRANTS"),
        ];
        options.iter().filter(|(on, _)| *on).for_each(|(_, words)| statement += words);
        Ok(statement)
    }
}
