//! `strandline clone`: a private copy of a table or database, at no cost until it is written to.

use strandline_client::sql::{self, TableName};

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::moment::{Moment, When};

/// Clone a table or database, as it is or as it was.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline clone database shop shop_test
  strandline clone table shop.orders shop.orders_monday --at '2026-01-26 00:00:00'";

#[derive(clap::Subcommand, Debug)]
pub enum What {
    Table {
        /// As database.table
        source: TableName,
        /// As database.table
        target: TableName,
        #[command(flatten)]
        moment: Moment,
    },
    Database {
        source: String,
        target: String,
        #[command(flatten)]
        moment: Moment,
    },
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let braces = |moment: &Moment| moment.when().unwrap_or(When::Now).braces();
        Ok(match &self.what {
            What::Table { source, target, moment } => format!("CREATE TABLE {target} CLONE {source}{}", braces(moment)),
            What::Database { source, target, moment } => {
                format!("CREATE DATABASE {} CLONE {}{}", sql::name(target), sql::name(source), braces(moment))
            }
        })
    }
}
