//! `strandline schedule`: snapshots that the server takes by itself.

use strandline_client::sql;

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::retention::Rules;
use crate::commands::scope::Scope;
use crate::commands::snapshot::{parse_period, terms};

/// Create, list, pause and drop schedules of snapshots.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline schedule create nightly --database shop --cron '0 2 * * *' --time-zone Europe/Berlin --daily 7 --weekly 4
  strandline schedule create often --table shop.orders --every '6 hours' --retain '2 days'
  strandline schedule list";

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Take a snapshot again and again
    Create(Box<Create>),
    /// List schedules: how the last run went, and when the next one is
    #[command(visible_alias = "ls")]
    List {
        /// Only names that match, with % for any text and _ for any character
        #[arg(long, value_name = "PATTERN")]
        like: Option<String>,
    },
    /// Let a schedule rest
    Pause { name: String },
    /// Let it go on; what it missed is not caught up
    Resume { name: String },
    /// Drop a schedule; the snapshots that it took stay
    #[command(visible_alias = "rm")]
    Drop {
        name: String,
        /// Do nothing if there is none of this name
        #[arg(long)]
        if_exists: bool,
    },
}

#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
#[command(group = clap::ArgGroup::new("rhythm").args(["cron", "every"]).required(true))]
pub struct Create {
    pub name: String,
    #[command(flatten)]
    pub scope: Scope,
    /// Minute, hour, day, month and weekday: '0 2 * * *'
    #[arg(long, value_name = "EXPRESSION")]
    pub cron: Option<String>,
    /// '30 minutes', '6 hours', '1 day'
    #[arg(long, value_name = "PERIOD")]
    pub every: Option<String>,
    /// The snapshots' names; {time} stands for the time of the run
    #[arg(long, value_name = "NAME")]
    pub snapshot_name: Option<String>,
    /// Make each snapshot a compressed copy of its own, for long-term storage
    #[arg(long)]
    pub compression: bool,
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Keep each snapshot this long: '12 hours', '30 days', '6 months', '1 year'
    #[arg(long, value_name = "PERIOD")]
    pub retain: Option<String>,
    #[command(flatten)]
    pub rules: Rules,
    /// Do nothing if there is one of this name
    #[arg(long)]
    pub if_not_exists: bool,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        Ok(match &self.verb {
            Verb::Create(create) => create.statement()?,
            Verb::List { like: None } => "SHOW SCHEDULES".to_owned(),
            Verb::List { like: Some(pattern) } => format!("SHOW SCHEDULES LIKE {}", sql::text(pattern)),
            Verb::Pause { name } => format!("ALTER SCHEDULE {} PAUSE", sql::name(name)),
            Verb::Resume { name } => format!("ALTER SCHEDULE {} RESUME", sql::name(name)),
            Verb::Drop { name, if_exists } => {
                format!("DROP SCHEDULE {}{}", if *if_exists { "IF EXISTS " } else { "" }, sql::name(name))
            }
        })
    }
}

impl Create {
    fn statement(&self) -> Result<String> {
        let scope = self.scope.clause()?.ok_or("Say what the snapshots are of, such as --database shop.")?;
        let if_not_exists = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        let rhythm = match (&self.cron, &self.every) {
            (Some(expression), _) => format!("CRON {}", sql::text(expression)),
            (None, Some(period)) => format!("EVERY {}", parse_period(period)?),
            (None, None) => return Err("Say how often: --cron or --every.".into()),
        };
        let mut statement = format!("CREATE SCHEDULE {if_not_exists}{} FOR {scope} {rhythm}", sql::name(&self.name));
        if let Some(zone) = &self.rules.time_zone {
            statement += &format!(" TIME ZONE {}", sql::text(zone));
        }
        if let Some(name) = &self.snapshot_name {
            statement += &format!(" SNAPSHOT NAME {}", sql::text(name));
        }
        statement += &terms(self.compression, self.comment.as_deref(), self.retain.as_deref())?;
        if let Some(keep) = self.rules.keep() {
            statement += &format!(" {keep}");
        }
        Ok(statement)
    }
}
