//! The verbs about which snapshots are kept: grandfather, father, son.

use std::fmt;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::scope::Scope;

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
    /// Sets a scope's rule. It replaces the one that was set before.
    pub async fn set(&mut self, scope: &Scope, keep: &Keep) -> Result<()> {
        self.client.query(&format!("SET RETENTION FOR {scope} KEEP{}", keep.checked()?)).await?;
        Ok(())
    }

    /// Says what applying a scope's rule would do, and why. Changes nothing.
    pub async fn plan(&mut self, scope: &Scope) -> Result<Vec<RetentionStep>> {
        let result = self.client.query(&format!("EXPLAIN RETENTION FOR {scope}")).await?;
        result.records().map(|record| RetentionStep::read(&record)).collect()
    }

    /// Drops the snapshots that a scope's rule does not keep.
    pub async fn apply(&mut self, scope: &Scope) -> Result<CleanupResult> {
        self.send(&format!("APPLY RETENTION FOR {scope}")).await
    }

    /// Drops the snapshots that this rule does not keep, for once: no rule is set.
    pub async fn apply_once(&mut self, scope: &Scope, keep: &Keep) -> Result<CleanupResult> {
        self.send(&format!("APPLY RETENTION FOR {scope} KEEP{}", keep.checked()?)).await
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

impl Keep {
    fn checked(&self) -> Result<&Keep> {
        match *self == Keep::default() {
            true => Err(Error::config("The rule says of no kind how many to keep.").with_hint("Say daily 7, for one.")),
            false => Ok(self),
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
        assert!(Keep::default().checked().is_err(), "a rule that keeps nothing is a mistake");
    }
}
