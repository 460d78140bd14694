//! `strandline debug`: looks into a store that no server holds. It never changes what a store says.
//!
//! Opening a store does what opening always does (a crash's write-ahead log is brought into place); no commit is made, and
//! no file is written or deleted.

mod log;
mod moment;
mod part;
mod reach;
mod report;
mod resolve;
mod row;
#[cfg(test)]
mod tests;
mod why_kept;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use strandline_client::sql::TableName;
use strandline_core::cold::{open_objects, parse_path};
use strandline_core::db::{self, Database, Options};
use strandline_core::error::{Error, Kind, Result as CoreResult};
use strandline_core::ids::{AccountId, FileId, Time, Version};
use strandline_core::log::Metastore;
use strandline_core::log::sqlite::SqliteMetastore;
use strandline_core::when::{self, Resolved, When as Address};

use crate::Result;
use crate::commands::moment::When;
use crate::commands::output::emit;
use crate::commands::{DAMAGE, block_on};
use report::Report;

/// Look into a store that no server holds.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    /// The folder that holds the store
    #[arg(long, env = "STRANDLINE_DATA", value_name = "FOLDER", default_value = "strandline-data", global = true)]
    pub data: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  strandline debug log --from 100 --to 120
  strandline debug resolve '1 hour ago'
  strandline debug row shop.orders 42
  strandline debug why-kept parts/0199c0ffee0070008000000000000001.parquet
Exit codes: 0 done, 1 an error, 2 damage found.";

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Commits with what they changed and how much they hold, newest first
    Log {
        /// Only from this version on
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// Only up to this version
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// At most so many
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Which version an address means, and why: '1 hour ago', '2026-01-31 10:00:00', a snapshot's name, a number
    Resolve {
        #[arg(value_name = "MOMENT", allow_hyphen_values = true)]
        moment: When,
        #[command(flatten)]
        account: Account,
    },
    /// Every table at a moment: manifest, parts, and the rows that are still in the log
    Moment {
        #[arg(value_name = "MOMENT", allow_hyphen_values = true, default_value = "now")]
        moment: When,
        #[command(flatten)]
        account: Account,
    },
    /// One Parquet file: its row groups and columns, and who refers to it
    Part {
        #[arg(value_name = "ID", value_parser = parse_file)]
        file: FileId,
    },
    /// All versions of one row that the store still has, and where each lies
    Row {
        /// As database.table
        table: TableName,
        /// The value of each column of the primary key, in its order; of a table without one, its _row_id
        #[arg(required = true, allow_hyphen_values = true)]
        key: Vec<String>,
        /// Look the table up as of this moment: for one that was dropped or altered
        #[arg(long, value_name = "MOMENT", allow_hyphen_values = true, default_value = "now")]
        at: When,
        #[command(flatten)]
        account: Account,
    },
    /// Whether the collector keeps a file, and why: which contents refer to it, and which snapshot or window needs them
    WhyKept {
        /// Its id, or its path such as parts/….parquet
        #[arg(value_parser = parse_file)]
        file: FileId,
    },
}

#[derive(clap::Args, Clone, Debug)]
pub struct Account {
    /// Whose names are meant
    #[arg(long, value_name = "ACCOUNT", default_value = "sys")]
    pub account: String,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = block_on(report(&arguments.verb, &arguments.data))?;
    emit(&if arguments.json { report.json.to_string() + "\n" } else { report.text() })?;
    Ok(if report.damaged { ExitCode::from(DAMAGE) } else { ExitCode::SUCCESS })
}

async fn report(verb: &Verb, data: &Path) -> Result<Report> {
    let database = open(data).await?;
    Ok(match verb {
        Verb::Log { from, to, limit } => {
            log::log(&database, from.map_or(Version(1), Version), to.map_or(Version::MAX, Version), *limit)?
        }
        Verb::Resolve { moment, account } => resolve::resolve(&database, moment, &account.account)?,
        Verb::Moment { moment, account } => moment::moment(&database, moment, &account.account).await?,
        Verb::Part { file } => part::part(&database, *file).await?,
        Verb::Row { table, key, at, account } => row::row(&database, table, key, at, &account.account).await?,
        Verb::WhyKept { file } => why_kept::why_kept(&database, *file).await?,
    })
}

/// Opens a store that is there, and is not held by a server.
async fn open(data: &Path) -> CoreResult<Database> {
    let (lock, metastore) = open_metastore(data)?;
    let options = Options { cache_bytes: 128 << 20, ..Options::default() };
    let objects = open_objects(&metastore, data, &options.env).await?;
    Database::start(metastore, objects, options, Some(lock)).await
}

/// Locks a store and opens its metastore. What is not there is not made.
pub(super) fn open_metastore(data: &Path) -> CoreResult<(db::Lock, Arc<dyn Metastore>)> {
    let path = data.join("metastore.db");
    let none = |what: &str| {
        Error::invalid(format!("'{}' {what}.", data.display())).with_hint("Name the store's folder with --data.")
    };
    // A lost metastore beside its write-ahead log is damage, which opening it says.
    if !path.exists() && !data.join("metastore.db-wal").exists() {
        return Err(none("holds no store"));
    }
    let lock = db::lock(data)?;
    let metastore: Arc<dyn Metastore> = Arc::new(SqliteMetastore::open(&path)?);
    match metastore.newest()? {
        Some(_) => Ok((lock, metastore)),
        None => Err(none("holds a store without a single commit")),
    }
}

/// Returns the id of the account of this name, now.
fn account_id(database: &Database, name: &str) -> CoreResult<AccountId> {
    Ok(database.now().catalog().account(name)?.id)
}

/// Resolves a moment as a statement would.
fn resolve_when(database: &Database, when: &When, account: AccountId) -> CoreResult<Resolved> {
    let address = match when {
        When::Now => Address::Now,
        When::Version(version) => Address::Version(Version(*version)),
        When::Snapshot(name) => Address::Snapshot(name.clone()),
        When::Time(text) => Address::Time(when::parse_time(text, database.env().now(), &jiff::tz::TimeZone::system())?),
    };
    database.resolve(&address, account)
}

/// As `resolve_when`, but a number need not be inside the window: here nothing is promised.
fn look_back(database: &Database, when: &When, account: AccountId) -> CoreResult<Resolved> {
    match resolve_when(database, when, account) {
        Err(error) if error.kind() == Kind::OutOfWindow => match when {
            When::Version(version) => database.look_back(Version(*version)),
            _ => Err(error),
        },
        result => result,
    }
}

fn utc(time: Time) -> String {
    format!("{time} UTC")
}

/// Reads a file's id, or the path that the store gave it.
fn parse_file(text: &str) -> Result<FileId, String> {
    let text = text.trim().trim_start_matches("./");
    let id = parse_path(text).map(|(_, id)| id).or_else(|| text.parse().ok());
    id.ok_or_else(|| format!("'{text}' is neither a file's id nor its path, such as parts/<id>.parquet"))
}
