//! The verbs about snapshots.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::record::Record;
use crate::scope::{Level, Scope, When};
use crate::sql;

/// A snapshot as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub name: String,
    pub level: Level,
    pub account: Option<String>,
    pub database: Option<String>,
    /// The tables of a snapshot of one or several tables; else empty.
    pub tables: Vec<String>,
    /// The only columns that are part of it; empty for all.
    pub columns: Vec<String>,
    /// `None` for one that was taken inside a transaction which is still open.
    pub created_at: Option<Timestamp>,
    pub version: Option<u64>,
    pub description: Option<String>,
    /// What it refers to, in megabytes of 1,000,000 bytes; of a compressed one, its size on disk.
    pub size_mb: f64,
    /// What it alone keeps, in megabytes, where the server tells.
    pub unique_mb: Option<f64>,
    /// `available`; `pending` until its transaction commits.
    pub status: String,
    /// The snapshot that an incremental one is relative to.
    pub base: Option<String>,
    pub compressed: bool,
    pub created_by: Option<String>,
    /// When it may be dropped by itself.
    pub retain_until: Option<Timestamp>,
}

/// What to take a snapshot of, and how.
///
/// ```
/// use strandline_client::{CreateSnapshot, Scope};
///
/// let nightly = CreateSnapshot::new("nightly", Scope::database("shop")).description("Before the night's jobs");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSnapshot {
    pub name: String,
    pub scope: Scope,
    /// Only these columns of a single table; empty for all.
    pub columns: Vec<String>,
    pub at: When,
    pub description: Option<String>,
    /// A copy of its own, packed for long-term storage.
    pub compression: bool,
    pub incremental: Incremental,
    pub retain: Option<Period>,
    pub if_not_exists: bool,
}

/// Whether a snapshot is relative to another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Incremental {
    #[default]
    No,
    /// To the newest snapshot of the same scope.
    FromNewest,
    From(String),
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub count: u32,
    pub unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Which snapshots to list. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Those of this database: the ones of the whole database, or those at `level` in it.
    pub database: Option<String>,
    pub level: Option<Level>,
}

/// The verbs about snapshots.
pub struct Snapshots<'a> {
    pub(crate) client: &'a mut Client,
}

impl Snapshots<'_> {
    /// Takes a snapshot. Inside a transaction it means that transaction's commit.
    pub async fn create(&mut self, create: CreateSnapshot) -> Result<Snapshot> {
        let base = match &create.incremental {
            Incremental::No => None,
            Incremental::From(base) => Some(base.clone()),
            Incremental::FromNewest => Some(self.newest_of(&create).await?),
        };
        self.client.query(&create.statement(base.as_deref())).await?;
        Ok(self.get(&create.name).await?.unwrap_or_else(|| create.pending(base)))
    }

    /// Lists snapshots, newest first.
    pub async fn list(&mut self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
        let result = self.client.query("SHOW SNAPSHOTS").await?;
        let all: Result<Vec<Snapshot>> = result.records().map(|record| Snapshot::read(&record)).collect();
        Ok(all?.into_iter().filter(|snapshot| filter.admits(snapshot)).collect())
    }

    /// Returns a snapshot, or `None` where there is none of this name.
    pub async fn get(&mut self, name: &str) -> Result<Option<Snapshot>> {
        let result = self.client.query(&format!("SHOW SNAPSHOTS LIKE {}", sql::like(name))).await?;
        result.records().next().map(|record| Snapshot::read(&record)).transpose()
    }

    /// Returns a snapshot that must be there.
    pub async fn find(&mut self, name: &str) -> Result<Snapshot> {
        match self.get(name).await? {
            Some(snapshot) => Ok(snapshot),
            None => Err(self.client.no_snapshot(name).await),
        }
    }

    /// Drops a snapshot. One that others are relative to stays, and that is an error.
    pub async fn delete(&mut self, name: &str) -> Result<()> {
        self.drop_by(name, "").await
    }

    /// Drops a snapshot and all that are relative to it.
    pub async fn delete_cascade(&mut self, name: &str) -> Result<()> {
        self.drop_by(name, " CASCADE").await
    }

    async fn drop_by(&mut self, name: &str, cascade: &str) -> Result<()> {
        match self.client.query(&format!("DROP SNAPSHOT {}{cascade}", sql::name(name))).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == Kind::Refused && self.get(name).await?.is_none() => {
                Err(error.of_kind(Kind::NotFound))
            }
            Err(error) => Err(error),
        }
    }

    /// Drops a snapshot, and says whether there was one.
    pub async fn delete_if_exists(&mut self, name: &str) -> Result<bool> {
        match self.delete(name).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Drops the snapshots that were taken before a time, and returns their names, oldest last.
    ///
    /// One that a younger snapshot is relative to stays until that one goes.
    pub async fn delete_older_than(&mut self, time: Timestamp, filter: &SnapshotFilter) -> Result<Vec<String>> {
        let mut needed: Vec<String> = Vec::new();
        let mut old = Vec::new();
        for snapshot in self.list(&SnapshotFilter::default()).await? {
            let is_old = snapshot.created_at.is_some_and(|created| created < time) && filter.admits(&snapshot);
            let is_base = needed.iter().any(|base| base.eq_ignore_ascii_case(&snapshot.name));
            if is_old && !is_base {
                old.push(snapshot.name);
            } else {
                needed.extend(snapshot.base);
            }
        }
        let mut dropped = Vec::new();
        for name in old {
            // Somebody else may clean up at the same time.
            if self.delete_if_exists(&name).await? {
                dropped.push(name);
            }
        }
        Ok(dropped)
    }

    async fn newest_of(&mut self, create: &CreateSnapshot) -> Result<String> {
        let scope = &create.scope;
        let columns = |columns: &[String]| columns.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
        let wanted = columns(&create.columns);
        let all = self.list(&SnapshotFilter::default()).await?;
        let base = all.into_iter().find(|snapshot| snapshot.is_of(scope) && columns(&snapshot.columns) == wanted);
        base.map(|snapshot| snapshot.name).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("There is no snapshot of {scope} to be incremental to."))
                .with_hint("Take a full one first, or name the base.")
        })
    }
}

impl CreateSnapshot {
    pub fn new(name: impl Into<String>, scope: Scope) -> CreateSnapshot {
        CreateSnapshot {
            name: name.into(),
            scope,
            columns: Vec::new(),
            at: When::Now,
            description: None,
            compression: false,
            incremental: Incremental::No,
            retain: None,
            if_not_exists: false,
        }
    }

    pub fn columns<T: Into<String>>(self, columns: impl IntoIterator<Item = T>) -> CreateSnapshot {
        CreateSnapshot { columns: columns.into_iter().map(Into::into).collect(), ..self }
    }

    pub fn at(self, at: When) -> CreateSnapshot {
        CreateSnapshot { at, ..self }
    }

    pub fn description(self, text: impl Into<String>) -> CreateSnapshot {
        CreateSnapshot { description: Some(text.into()), ..self }
    }

    pub fn compressed(self) -> CreateSnapshot {
        CreateSnapshot { compression: true, ..self }
    }

    pub fn incremental_from(self, base: impl Into<String>) -> CreateSnapshot {
        CreateSnapshot { incremental: Incremental::From(base.into()), ..self }
    }

    pub fn retain(self, period: Period) -> CreateSnapshot {
        CreateSnapshot { retain: Some(period), ..self }
    }

    pub fn if_not_exists(self) -> CreateSnapshot {
        CreateSnapshot { if_not_exists: true, ..self }
    }

    fn statement(&self, base: Option<&str>) -> String {
        let mut statement = "CREATE SNAPSHOT ".to_owned();
        if self.if_not_exists {
            statement.push_str("IF NOT EXISTS ");
        }
        let _ = write!(statement, "{} FOR {}", sql::name(&self.name), self.scope);
        if !self.columns.is_empty() {
            let _ = write!(statement, " COLUMNS ({})", sql::names(self.columns.iter().map(String::as_str)));
        }
        if self.at != When::Now {
            let _ = write!(statement, " AT {}", self.at);
        }
        if let Some(base) = base {
            let _ = write!(statement, " INCREMENTAL FROM {}", sql::name(base));
        }
        if self.compression {
            statement.push_str(" COMPRESSION");
        }
        if let Some(description) = &self.description {
            let _ = write!(statement, " COMMENT {}", sql::text(description));
        }
        if let Some(period) = self.retain {
            let _ = write!(statement, " RETAIN {period}");
        }
        statement
    }

    /// The snapshot as it will be once its transaction has committed.
    fn pending(self, base: Option<String>) -> Snapshot {
        let (account, database, tables) = match &self.scope {
            Scope::Cluster => (None, None, Vec::new()),
            Scope::Account(account) => (account.clone(), None, Vec::new()),
            Scope::Database(database) => (None, Some(database.clone()), Vec::new()),
            Scope::Tables { database, tables } => (None, Some(database.clone()), tables.clone()),
        };
        Snapshot {
            level: self.scope.level(),
            name: self.name,
            account,
            database,
            tables,
            columns: self.columns,
            created_at: None,
            version: None,
            description: self.description,
            size_mb: 0.0,
            unique_mb: None,
            status: PENDING.to_owned(),
            base,
            compressed: self.compression,
            created_by: None,
            retain_until: None,
        }
    }
}

const PENDING: &str = "pending";
/// What a server that lists no status means: every snapshot that it lists can be used.
const AVAILABLE: &str = "available";

impl Snapshot {
    fn read(record: &Record<'_>) -> Result<Snapshot> {
        Ok(Snapshot {
            name: record.required("SNAPSHOT_NAME")?,
            level: record.required("SNAPSHOT_LEVEL")?.parse()?,
            account: record.text("ACCOUNT_NAME"),
            database: record.text("DATABASE_NAME"),
            tables: record.list("TABLE_NAME"),
            columns: record.list("COLUMNS"),
            created_at: record.time("TIMESTAMP")?,
            version: record.number("VERSION"),
            description: record.text("COMMENT"),
            size_mb: record.number("SIZE_MB").unwrap_or(0.0),
            unique_mb: record.number("UNIQUE_MB"),
            status: record.text("STATUS").map_or_else(|| AVAILABLE.to_owned(), |status| status.to_lowercase()),
            base: record.text("BASE"),
            compressed: record.number::<u8>("COMPRESSED").is_some_and(|flag| flag != 0)
                || record.text("COMPRESSED").is_some_and(|flag| flag.eq_ignore_ascii_case("yes")),
            created_by: record.text("CREATED_BY"),
            retain_until: record.time("EXPIRES")?,
        })
    }

    fn is_of(&self, scope: &Scope) -> bool {
        let same = |own: &Option<String>, name: &str| own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        self.level == scope.level()
            && match scope {
                Scope::Cluster | Scope::Account(None) => true,
                Scope::Account(Some(name)) => same(&self.account, name),
                Scope::Database(name) => same(&self.database, name),
                Scope::Tables { database, tables } => {
                    same(&self.database, database)
                        && self.tables.len() == tables.len()
                        && tables.iter().all(|name| self.tables.iter().any(|own| own.eq_ignore_ascii_case(name)))
                }
            }
    }
}

impl SnapshotFilter {
    fn admits(&self, snapshot: &Snapshot) -> bool {
        let level = self.level.or(self.database.as_ref().map(|_| Level::Database));
        let in_database = |name: &String| snapshot.database.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        level.is_none_or(|level| level == snapshot.level) && self.database.as_ref().is_none_or(in_database)
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.unit {
            Unit::Minute => "MINUTE",
            Unit::Hour => "HOUR",
            Unit::Day => "DAY",
            Unit::Week => "WEEK",
            Unit::Month => "MONTH",
            Unit::Year => "YEAR",
        };
        write!(f, "{} {unit}", self.count)
    }
}

impl std::str::FromStr for Period {
    type Err = Error;

    /// Reads `30 minutes`, `7 days`, `12h`, `2 weeks`, `6 mo`, `1 year`.
    fn from_str(text: &str) -> Result<Period> {
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let unit = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
            "min" | "minute" | "minutes" => Some(Unit::Minute),
            "h" | "hour" | "hours" => Some(Unit::Hour),
            "d" | "day" | "days" => Some(Unit::Day),
            "w" | "week" | "weeks" => Some(Unit::Week),
            "mo" | "month" | "months" => Some(Unit::Month),
            "y" | "year" | "years" => Some(Unit::Year),
            _ => None,
        };
        match (trimmed[..digits].parse(), unit) {
            (Ok(count), Some(unit)) => Ok(Period { count, unit }),
            _ => Err(Error::config(format!("'{text}' is not a length of time.")).with_hint("Write it as '7 days'.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements() {
        let period = "7 days".parse().unwrap();
        let create = CreateSnapshot::new("s`1", Scope::table("d", "t"))
            .columns(["a", "b"])
            .at(When::Version(7))
            .description("it's")
            .compressed()
            .retain(period)
            .if_not_exists();
        assert_eq!(
            create.statement(Some("base")),
            "CREATE SNAPSHOT IF NOT EXISTS `s``1` FOR TABLE `d`.`t` COLUMNS (`a`, `b`) AT VERSION 7 \
             INCREMENTAL FROM `base` COMPRESSION COMMENT 'it''s' RETAIN 7 DAY"
        );
        assert_eq!(CreateSnapshot::new("s", Scope::Cluster).statement(None), "CREATE SNAPSHOT `s` FOR CLUSTER");
    }

    #[test]
    fn a_database_in_a_filter_means_snapshots_of_the_whole_database() {
        let of = |scope: Scope| CreateSnapshot::new("s", scope).pending(None);
        let (whole, table) = (of(Scope::database("Shop")), of(Scope::table("shop", "t")));
        let filter = |level| SnapshotFilter { database: Some("shop".into()), level };
        assert!(filter(None).admits(&whole) && !filter(None).admits(&table));
        assert!(filter(Some(Level::Table)).admits(&table) && !filter(Some(Level::Table)).admits(&whole));
        assert!(SnapshotFilter::default().admits(&table));
    }

    #[test]
    fn lengths_of_time() {
        for (text, sql) in [
            ("30 minutes", "30 MINUTE"),
            ("12h", "12 HOUR"),
            ("2 weeks", "2 WEEK"),
            ("6mo", "6 MONTH"),
            ("1 Year", "1 YEAR"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), sql);
        }
        for text in ["", "7", "days", "7 parsecs", "-1 day"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
