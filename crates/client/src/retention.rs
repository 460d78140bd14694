//! The verbs about which snapshots are kept: grandfather, father, son.

use std::fmt;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::scope::{Level, Scope};
use crate::sql;

/// How many snapshots to keep of each kind: the newest of each of the last `daily` days, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest ones, whenever they were taken.
    pub last: Option<u32>,
    pub hourly: Option<u32>,
    pub daily: Option<u32>,
    pub weekly: Option<u32>,
    pub monthly: Option<u32>,
    pub yearly: Option<u32>,
}

/// How many snapshots to keep, and by whose calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub keep: Keep,
    /// Whose days, weeks and months are meant, such as `Europe/Berlin`; `None` is the session's.
    pub time_zone: Option<String>,
}

/// The rules of a scope as they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    pub level: Level,
    pub database: Option<String>,
    /// The tables of rules for one or several tables; else empty.
    pub tables: Vec<String>,
    /// In the words of SQL: `DAILY 7 WEEKLY 4`.
    pub keep: String,
    pub time_zone: Option<String>,
}

/// What a rule says about one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionStep {
    pub snapshot: String,
    pub deleted: bool,
    pub reason: Option<String>,
}

/// What a clean-up did: the names of the snapshots that it dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanupResult {
    pub deleted: Vec<String>,
}

/// The verbs about which snapshots are kept.
pub struct Retention<'a> {
    pub(crate) client: &'a mut Client,
}

impl Retention<'_> {
    /// Sets a scope's rules. They replace those that were set before.
    pub async fn set(&mut self, scope: &Scope, rules: &Rules) -> Result<()> {
        self.client.query(&format!("SET RETENTION FOR {scope} {}", rules.checked()?)).await?;
        Ok(())
    }

    /// Lists the rules that were set.
    pub async fn list(&mut self) -> Result<Vec<Retained>> {
        let result = self.client.query("SHOW RETENTION").await?;
        result.records().map(|record| Retained::read(&record)).collect()
    }

    /// Drops a scope's rules; no snapshot is dropped for that.
    pub async fn delete(&mut self, scope: &Scope) -> Result<()> {
        self.client.query(&format!("DROP RETENTION FOR {scope}")).await?;
        Ok(())
    }

    /// Says what applying a scope's rules would do, and why. Changes nothing.
    pub async fn plan(&mut self, scope: &Scope) -> Result<Vec<RetentionStep>> {
        let result = self.client.query(&format!("EXPLAIN RETENTION FOR {scope}")).await?;
        result.records().map(|record| RetentionStep::read(&record)).collect()
    }

    /// Drops the snapshots that a scope's rules do not keep.
    pub async fn apply(&mut self, scope: &Scope) -> Result<CleanupResult> {
        self.send(&format!("APPLY RETENTION FOR {scope}")).await
    }

    /// Drops the snapshots that these rules do not keep, for once: none are set.
    pub async fn apply_once(&mut self, scope: &Scope, rules: &Rules) -> Result<CleanupResult> {
        self.send(&format!("APPLY RETENTION FOR {scope} {}", rules.checked()?)).await
    }

    async fn send(&mut self, statement: &str) -> Result<CleanupResult> {
        let result = self.client.query(statement).await?;
        let steps: Result<Vec<_>> = result.records().map(|record| RetentionStep::read(&record)).collect();
        let deleted = steps?.into_iter().filter(|step| step.deleted).map(|step| step.snapshot).collect();
        Ok(CleanupResult { deleted })
    }
}

impl RetentionStep {
    fn read(record: &Record<'_>) -> Result<RetentionStep> {
        let snapshot = record.required("snapshot_name")?;
        let deleted = record.required("action")?.to_ascii_lowercase().starts_with("drop");
        Ok(RetentionStep { snapshot, deleted, reason: record.text("reason") })
    }
}

impl Retained {
    fn read(record: &Record<'_>) -> Result<Retained> {
        Ok(Retained {
            level: record.required("LEVEL")?.parse()?,
            database: record.text("DATABASE_NAME"),
            tables: record.list("TABLE_NAME"),
            keep: record.required("KEEP")?,
            time_zone: record.text("TIME_ZONE"),
        })
    }
}

impl Keep {
    /// Returns the rules by the calendar of a time zone.
    pub fn in_zone(self, time_zone: impl Into<String>) -> Rules {
        Rules { keep: self, time_zone: Some(time_zone.into()) }
    }
}

impl From<Keep> for Rules {
    fn from(keep: Keep) -> Rules {
        Rules { keep, time_zone: None }
    }
}

impl Rules {
    fn checked(&self) -> Result<&Rules> {
        match self.keep == Keep::default() {
            true => Err(Error::config("The rules say of no kind how many to keep.").with_hint("Say daily 7, for one.")),
            false => Ok(self),
        }
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KEEP{}", self.keep)?;
        match &self.time_zone {
            Some(zone) => write!(f, " TIME ZONE {}", sql::text(zone)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Keep {
    /// Writes ` LAST 3 DAILY 7`: each with a space in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("LAST", self.last),
            ("HOURLY", self.hourly),
            ("DAILY", self.daily),
            ("WEEKLY", self.weekly),
            ("MONTHLY", self.monthly),
            ("YEARLY", self.yearly),
        ];
        for (kind, count) in kinds {
            if let Some(count) = count {
                write!(f, " {kind} {count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let keep = Keep { daily: Some(7), weekly: Some(4), monthly: Some(12), ..Keep::default() };
        assert_eq!(keep.to_string(), " DAILY 7 WEEKLY 4 MONTHLY 12");
        assert_eq!(
            keep.in_zone("Europe/Berlin").to_string(),
            "KEEP DAILY 7 WEEKLY 4 MONTHLY 12 TIME ZONE 'Europe/Berlin'"
        );
        assert!(Rules::from(Keep::default()).checked().is_err(), "rules that keep nothing are a mistake");
    }
}
