//! `strandline retention`: which snapshots stay.

use strandline_client::sql;

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::scope::Scope;

/// Set, list and apply rules for which snapshots stay.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline retention set --database shop --daily 7 --weekly 4 --monthly 12 --time-zone Europe/Berlin
  strandline retention apply --database shop --dry-run
  strandline retention apply --database shop --last 10";

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Set the rules for the snapshots of something
    #[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
    Set {
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        rules: Rules,
    },
    /// List rules
    #[command(visible_alias = "ls")]
    List,
    /// Drop what the rules do not keep; with rules here, by these for once
    #[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
    Apply {
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        rules: Rules,
        /// Only say what would be dropped, and why the rest stays
        #[arg(long)]
        dry_run: bool,
    },
    /// Drop the rules for something; no snapshot is dropped
    #[command(visible_alias = "rm")]
    #[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
    Drop {
        #[command(flatten)]
        scope: Scope,
        /// Do nothing if there are none
        #[arg(long)]
        if_exists: bool,
    },
}

/// How many snapshots of each kind stay.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Rules {
    /// So many, whenever they were taken
    #[arg(long, value_name = "N")]
    pub last: Option<u32>,
    /// The newest of so many hours that have one
    #[arg(long, value_name = "N")]
    pub hourly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub daily: Option<u32>,
    #[arg(long, value_name = "N")]
    pub weekly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub monthly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub yearly: Option<u32>,
    /// Whose days and weeks are meant, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
}

impl Rules {
    /// Returns `KEEP …`, or `None` if there are no rules.
    pub fn keep(&self) -> Option<String> {
        let counts = [
            ("LAST", self.last),
            ("HOURLY", self.hourly),
            ("DAILY", self.daily),
            ("WEEKLY", self.weekly),
            ("MONTHLY", self.monthly),
            ("YEARLY", self.yearly),
        ];
        let words: Vec<String> =
            counts.iter().filter_map(|(word, count)| Some(format!("{word} {}", (*count)?))).collect();
        (!words.is_empty()).then(|| format!("KEEP {}", words.join(" ")))
    }

    /// Returns `KEEP … [TIME ZONE 'z']` with a space before it, or nothing if there are no rules.
    fn clause(&self) -> Result<String> {
        match (self.keep(), &self.time_zone) {
            (Some(keep), Some(zone)) => Ok(format!(" {keep} TIME ZONE {}", sql::text(zone))),
            (Some(keep), None) => Ok(format!(" {keep}")),
            (None, Some(_)) => Err("--time-zone needs rules, such as --daily 7.".into()),
            (None, None) => Ok(String::new()),
        }
    }
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let named = |scope: &Scope| -> Result<String> {
            Ok(scope.clause()?.ok_or("Say whose snapshots are meant, such as --database shop.")?)
        };
        Ok(match &self.verb {
            Verb::Set { scope, rules } => {
                let clause = rules.clause()?;
                if clause.is_empty() {
                    return Err("Say what to keep, such as --daily 7.".into());
                }
                format!("SET RETENTION FOR {}{clause}", named(scope)?)
            }
            Verb::List => "SHOW RETENTION".to_owned(),
            Verb::Apply { scope, rules, dry_run } => {
                let verb = if *dry_run { "EXPLAIN" } else { "APPLY" };
                format!("{verb} RETENTION FOR {}{}", named(scope)?, rules.clause()?)
            }
            Verb::Drop { scope, if_exists } => {
                format!("DROP RETENTION {}FOR {}", if *if_exists { "IF EXISTS " } else { "" }, named(scope)?)
            }
        })
    }
}
