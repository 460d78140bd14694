//! `strandline pitr`: longer recovery windows.

use strandline_client::sql::{self, TableName};

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::scope::Scope;

/// Create, change, list and drop policies for recovery windows.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline pitr create a_week --database shop --range 7d
  strandline pitr alter a_week --range '6 months'
  strandline pitr window --table shop.orders
  strandline restore database shop --at '2026-01-31 10:00:00'";

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Keep every commit to something for longer than the default window
    #[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
    Create {
        name: String,
        #[command(flatten)]
        scope: Scope,
        /// How far back: '48 hours', '7 days', '6 months', '1 year'
        #[arg(long, value_name = "PERIOD")]
        range: String,
        /// Do nothing if there is one of this name
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Change how far back a policy reaches
    Alter {
        name: String,
        /// How far back: '48 hours', '7 days', '6 months', '1 year'
        #[arg(long, value_name = "PERIOD")]
        range: String,
    },
    /// List policies
    #[command(visible_alias = "ls")]
    List {
        /// Only names that match, with % for any text and _ for any character
        #[arg(long, value_name = "PATTERN")]
        like: Option<String>,
    },
    /// Drop a policy: the default window is what is left
    #[command(visible_alias = "rm")]
    Drop {
        name: String,
        /// Do nothing if there is none of this name
        #[arg(long)]
        if_exists: bool,
    },
    /// Show from when on something can be recovered, and what keeps it
    #[command(group = clap::ArgGroup::new("what").args(["table", "database", "account"]).required(true))]
    Window {
        #[arg(long, value_name = "TABLE")]
        table: Option<TableName>,
        #[arg(long, short = 'D', value_name = "DATABASE")]
        database: Option<String>,
        /// An account; your own if none is named
        #[arg(long, value_name = "ACCOUNT", num_args = 0..=1)]
        account: Option<Option<String>>,
    },
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        Ok(match &self.verb {
            Verb::Create { name, scope, range, if_not_exists } => {
                let scope = scope.clause()?.ok_or("Say what to keep, such as --database shop.")?;
                let if_not_exists = if *if_not_exists { "IF NOT EXISTS " } else { "" };
                format!("CREATE PITR {if_not_exists}{} FOR {scope} RANGE {}", sql::name(name), parse_range(range)?)
            }
            Verb::Alter { name, range } => format!("ALTER PITR {} RANGE {}", sql::name(name), parse_range(range)?),
            Verb::List { like: None } => "SHOW PITR".to_owned(),
            Verb::List { like: Some(pattern) } => format!("SHOW PITR LIKE {}", sql::text(pattern)),
            Verb::Drop { name, if_exists } => {
                format!("DROP PITR {}{}", if *if_exists { "IF EXISTS " } else { "" }, sql::name(name))
            }
            Verb::Window { table, database, account } => {
                let scope = match (table, database) {
                    (Some(table), _) => format!("TABLE {table}"),
                    (None, Some(database)) => format!("DATABASE {}", sql::name(database)),
                    (None, None) => crate::commands::scope::account(account.as_ref().and_then(Option::as_deref)),
                };
                format!("SHOW RECOVERY_WINDOW FOR {scope}")
            }
        })
    }
}

/// Reads `7 days`, `7d` and the like as SQL has it: `7 'd'`.
fn parse_range(text: &str) -> Result<String> {
    let period = super::snapshot::parse_period(text)
        .map_err(|_| format!("--range '{text}' is no period. Write '48 hours', '7 days', '6 months' or '1 year'."))?;
    let (count, unit) = period.split_once(' ').expect("a period is a number and a unit");
    let unit = match unit {
        "HOUR" => "h",
        "DAY" => "d",
        "MONTH" => "mo",
        "YEAR" => "y",
        _ => return Err(format!("--range '{text}' is in neither hours, days, months nor years.").into()),
    };
    Ok(format!("{count} '{unit}'"))
}
