//! The verbs about snapshots that the server takes by the clock.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use crate::client::Client;
use crate::error::Result;
use crate::record::Record;
use crate::retention::Keep;
use crate::scope::{Level, Scope};
use crate::snapshot::Period;
use crate::sql;

/// What to take snapshots of, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSchedule {
    pub name: String,
    pub scope: Scope,
    pub rhythm: Rhythm,
    /// Such as `Europe/Berlin`; `None` is the session's.
    pub time_zone: Option<String>,
    /// How the snapshots are called: `nightly_{time}`.
    pub snapshot_name: Option<String>,
    pub incremental: bool,
    pub compression: bool,
    pub description: Option<String>,
    pub retain: Option<Period>,
    pub keep: Keep,
    pub if_not_exists: bool,
}

/// When a schedule runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// Five fields, such as `0 2 * * *` for two o'clock at night, a sixth in front for seconds, or `@daily`.
    Cron(String),
    /// So often, counted from the schedule's creation.
    Every(Period),
}

/// A schedule as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub name: String,
    pub level: Option<Level>,
    pub database: Option<String>,
    pub table: Option<String>,
    /// The cron expression, or how often.
    pub rhythm: Option<String>,
    pub time_zone: Option<String>,
    pub snapshot_name: Option<String>,
    /// `active`, `late`, `paused`, `failed` or `finished`.
    pub state: Option<String>,
    pub next_run: Option<Timestamp>,
    pub last_run: Option<Timestamp>,
    pub last_snapshot: Option<String>,
    pub last_error: Option<String>,
}

/// The verbs about snapshots taken by the clock.
pub struct Schedules<'a> {
    pub(crate) client: &'a mut Client,
}

impl Schedules<'_> {
    pub async fn create(&mut self, create: &CreateSchedule) -> Result<()> {
        self.client.query(&create.statement()).await?;
        Ok(())
    }

    pub async fn list(&mut self) -> Result<Vec<Schedule>> {
        let result = self.client.query("SHOW SCHEDULES").await?;
        result.records().map(|record| Schedule::read(&record)).collect()
    }

    /// Lets a schedule rest until it is resumed.
    pub async fn pause(&mut self, name: &str) -> Result<()> {
        self.client.query(&format!("ALTER SCHEDULE {} PAUSE", sql::name(name))).await?;
        Ok(())
    }

    pub async fn resume(&mut self, name: &str) -> Result<()> {
        self.client.query(&format!("ALTER SCHEDULE {} RESUME", sql::name(name))).await?;
        Ok(())
    }

    /// Drops a schedule. The snapshots that it took stay.
    pub async fn delete(&mut self, name: &str) -> Result<()> {
        self.client.query(&format!("DROP SCHEDULE {}", sql::name(name))).await?;
        Ok(())
    }
}

impl CreateSchedule {
    /// A schedule whose runs are at the times that a cron expression says.
    pub fn cron(name: impl Into<String>, scope: Scope, expression: impl Into<String>) -> CreateSchedule {
        CreateSchedule::new(name, scope, Rhythm::Cron(expression.into()))
    }

    /// A schedule that runs every so often.
    ///
    /// ```
    /// use strandline_client::{CreateSchedule, Scope};
    ///
    /// let often = CreateSchedule::every("often", Scope::database("shop"), "6 hours".parse()?);
    /// # Ok::<(), strandline_client::Error>(())
    /// ```
    pub fn every(name: impl Into<String>, scope: Scope, period: Period) -> CreateSchedule {
        CreateSchedule::new(name, scope, Rhythm::Every(period))
    }

    pub fn new(name: impl Into<String>, scope: Scope, rhythm: Rhythm) -> CreateSchedule {
        CreateSchedule {
            name: name.into(),
            scope,
            rhythm,
            time_zone: None,
            snapshot_name: None,
            incremental: false,
            compression: false,
            description: None,
            retain: None,
            keep: Keep::default(),
            if_not_exists: false,
        }
    }

    fn statement(&self) -> String {
        let exists = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        let mut statement =
            format!("CREATE SCHEDULE {exists}{} FOR {} {}", sql::name(&self.name), self.scope, self.rhythm);
        for (word, text) in [("TIME ZONE", &self.time_zone), ("SNAPSHOT NAME", &self.snapshot_name)] {
            if let Some(text) = text {
                let _ = write!(statement, " {word} {}", sql::text(text));
            }
        }
        for (word, said) in [("INCREMENTAL", self.incremental), ("COMPRESSION", self.compression)] {
            if said {
                let _ = write!(statement, " {word}");
            }
        }
        if let Some(description) = &self.description {
            let _ = write!(statement, " COMMENT {}", sql::text(description));
        }
        if let Some(period) = self.retain {
            let _ = write!(statement, " RETAIN {period}");
        }
        if self.keep != Keep::default() {
            let _ = write!(statement, " KEEP{}", self.keep);
        }
        statement
    }
}

impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rhythm::Cron(expression) => write!(f, "CRON {}", sql::text(expression)),
            Rhythm::Every(period) => write!(f, "EVERY {period}"),
        }
    }
}

impl Schedule {
    fn read(record: &Record<'_>) -> Result<Schedule> {
        Ok(Schedule {
            name: record.required("NAME")?,
            level: record.text("LEVEL").and_then(|level| level.parse().ok()),
            database: record.text("DATABASE_NAME"),
            table: record.text("TABLE_NAME"),
            rhythm: record.text("RHYTHM"),
            time_zone: record.text("TIME_ZONE"),
            snapshot_name: record.text("SNAPSHOT_NAME"),
            state: record.text("STATE"),
            next_run: record.time("NEXT_RUN")?,
            last_run: record.time("LAST_RUN")?,
            last_snapshot: record.text("LAST_SNAPSHOT"),
            last_error: record.text("LAST_ERROR"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements() {
        let mut create = CreateSchedule::cron("n", Scope::database("d"), "0 2 * * *");
        create.snapshot_name = Some("n_{time}".into());
        create.keep.daily = Some(7);
        assert_eq!(
            create.statement(),
            "CREATE SCHEDULE `n` FOR DATABASE `d` CRON '0 2 * * *' SNAPSHOT NAME 'n_{time}' KEEP DAILY 7"
        );
        let often = CreateSchedule::every("o", Scope::Cluster, "30 minutes".parse().unwrap());
        assert_eq!(often.statement(), "CREATE SCHEDULE `o` FOR CLUSTER EVERY 30 MINUTE");
    }
}
