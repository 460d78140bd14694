//! `strandline snapshot`: names for versions.

use std::process::ExitCode;
use std::time::Instant;

use strandline_client::sql;

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::moment::Moment;
use crate::commands::output::{Format, emit, render, render_vertical};
use crate::commands::scope::Scope;

/// Create, list and drop snapshots.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline snapshot create before_release --database shop
  strandline snapshot create nightly --cluster --retain '30 days'
  strandline snapshot create an_hour_ago --table shop.orders --at '-1 hour'
  strandline snapshot list --like 'before%'";

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Give a name to the present, or to a moment of the past
    Create(Box<Create>),
    /// List snapshots
    #[command(visible_alias = "ls")]
    List {
        /// Only names that match, with % for any text and _ for any character
        #[arg(long, value_name = "PATTERN")]
        like: Option<String>,
    },
    /// Show all that is known of one snapshot
    Show { name: String },
    /// Drop snapshots; what only they kept is forgotten
    #[command(visible_alias = "rm")]
    Drop {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Do nothing if there is none of this name
        #[arg(long)]
        if_exists: bool,
        /// Drop the incremental snapshots based on them too
        #[arg(long)]
        cascade: bool,
        /// Only say what would be dropped, and what that would free
        #[arg(long, conflicts_with = "if_exists")]
        dry_run: bool,
    },
    /// Drop all snapshots of something that are older than a time
    #[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
    Prune {
        #[command(flatten)]
        scope: Scope,
        /// '2026-01-31 10:00:00', '-30 days'
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        older_than: String,
        /// Drop the incremental snapshots based on them too
        #[arg(long)]
        cascade: bool,
        /// Only say what would be dropped, and what that would free
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
pub struct Create {
    pub name: String,
    #[command(flatten)]
    pub scope: Scope,
    /// Only these columns, separated by commas; needs one --table
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
    #[command(flatten)]
    pub moment: Moment,
    /// Do nothing if there is one of this name
    #[arg(long)]
    pub if_not_exists: bool,
    /// Count only what was added since this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    pub incremental_from: Option<String>,
    /// Keep a compressed copy of its own, for long-term storage
    #[arg(long)]
    pub compression: bool,
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Drop it after this long: '12 hours', '30 days', '6 months', '1 year'
    #[arg(long, value_name = "PERIOD")]
    pub retain: Option<String>,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let statement = arguments.verb.statement()?;
    let start = Instant::now();
    let result = arguments.remote.connection.query(&statement)?;
    match &arguments.verb {
        Verb::Show { name } if result.rows.is_empty() => {
            return Err(format!("No snapshot '{name}'. List them with 'strandline snapshot list'.").into());
        }
        Verb::Show { .. } if arguments.remote.format() == Format::Table => emit(&render_vertical(&result, None))?,
        _ => emit(&render(&result, arguments.remote.format(), start.elapsed()))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Verb {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        Ok(match self {
            Verb::Create(create) => create.statement()?,
            Verb::List { like: None } => "SHOW SNAPSHOTS".to_owned(),
            Verb::List { like: Some(pattern) } => format!("SHOW SNAPSHOTS LIKE {}", sql::text(pattern)),
            Verb::Show { name } => format!("SHOW SNAPSHOTS LIKE {}", sql::like(name)),
            Verb::Drop { names, if_exists, cascade, dry_run } => {
                let explain = if *dry_run { "EXPLAIN " } else { "" };
                let if_exists = if *if_exists { "IF EXISTS " } else { "" };
                let cascade = if *cascade { " CASCADE" } else { "" };
                let names = sql::names(names.iter().map(String::as_str));
                format!("{explain}DROP SNAPSHOT {if_exists}{names}{cascade}")
            }
            Verb::Prune { scope, older_than, cascade, dry_run } => {
                let explain = if *dry_run { "EXPLAIN " } else { "" };
                let scope = scope.clause()?.ok_or("Say whose snapshots are meant, such as --database shop.")?;
                let cascade = if *cascade { " CASCADE" } else { "" };
                format!("{explain}DROP SNAPSHOTS OLDER THAN {} FOR {scope}{cascade}", sql::text(older_than))
            }
        })
    }
}

impl Create {
    fn statement(&self) -> Result<String> {
        let scope = self.scope.clause()?.ok_or("Say what the snapshot is of, such as --database shop.")?;
        let if_not_exists = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        let mut statement = format!("CREATE SNAPSHOT {if_not_exists}{} FOR {scope}", sql::name(&self.name));
        if !self.columns.is_empty() {
            if self.scope.table.len() != 1 {
                return Err("--columns needs exactly one --table.".into());
            }
            statement += &format!(" COLUMNS ({})", sql::names(self.columns.iter().map(|name| name.trim())));
        }
        if let Some(when) = self.moment.when() {
            statement += &format!(" AT {}", when.clause());
        }
        if let Some(base) = &self.incremental_from {
            statement += &format!(" INCREMENTAL FROM {}", sql::name(base));
        }
        statement += &terms(self.compression, self.comment.as_deref(), self.retain.as_deref())?;
        Ok(statement)
    }
}

/// Writes what a snapshot gets, taken now or by a schedule.
pub fn terms(compression: bool, comment: Option<&str>, retain: Option<&str>) -> Result<String> {
    let mut terms = String::new();
    if compression {
        terms += " COMPRESSION";
    }
    if let Some(comment) = comment {
        terms += &format!(" COMMENT {}", sql::text(comment));
    }
    if let Some(period) = retain {
        terms += &format!(" RETAIN {}", parse_period(period)?);
    }
    Ok(terms)
}

/// Reads `30 days`, `30d` and the like as SQL has it: `30 DAY`.
pub fn parse_period(text: &str) -> Result<String> {
    let bad = || {
        format!("'{text}' is no period. Write '90 minutes', '12 hours', '30 days', '2 weeks', '6 months' or '1 year'.")
    };
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count: u32 = text[..digits].parse().map_err(|_| bad())?;
    let unit = match text[digits..].trim().to_lowercase().as_str() {
        "min" | "minute" | "minutes" => "MINUTE",
        "h" | "hour" | "hours" => "HOUR",
        "d" | "day" | "days" => "DAY",
        "w" | "week" | "weeks" => "WEEK",
        "mo" | "month" | "months" => "MONTH",
        "y" | "year" | "years" => "YEAR",
        _ => return Err(bad().into()),
    };
    Ok(format!("{count} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        for (text, sql) in
            [("30 days", "30 DAY"), ("1h", "1 HOUR"), ("6mo", "6 MONTH"), (" 2 YEARS ", "2 YEAR"), ("2w", "2 WEEK")]
        {
            assert_eq!(parse_period(text).expect("a period"), sql, "{text}");
        }
        for text in ["", "days", "3", "-3 days", "3 days; DROP", "99999999999 days"] {
            assert!(parse_period(text).is_err(), "{text}");
        }
    }
}
