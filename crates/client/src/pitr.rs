//! The verbs about recovery windows: how far back every commit stays recoverable.

use std::fmt;

use jiff::Timestamp;

use crate::client::Client;
use crate::error::Result;
use crate::record::{Record, unexpected};
use crate::restore::{Restore, RestoreResult};
use crate::scope::{Level, Scope, When};
use crate::sql;

/// How far back a window reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// 1 to 100.
    pub length: u32,
    pub unit: RangeUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeUnit {
    Hour,
    Day,
    Month,
    Year,
}

/// A policy as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct PitrPolicy {
    pub name: String,
    pub level: Level,
    pub account: Option<String>,
    pub database: Option<String>,
    pub table: Option<String>,
    pub range: Range,
    pub created_at: Option<Timestamp>,
    pub modified_at: Option<Timestamp>,
    /// The first moment that can be gone back to.
    pub recoverable_from: Option<Timestamp>,
    /// `active`; `missing` while nothing bears the name that the policy is for.
    pub status: Option<String>,
}

/// The verbs about recovery windows.
pub struct Pitr<'a> {
    pub(crate) client: &'a mut Client,
}

impl Pitr<'_> {
    /// Makes every commit of a scope recoverable for as long as the range says.
    pub async fn create(&mut self, name: &str, scope: &Scope, range: Range) -> Result<PitrPolicy> {
        self.client.query(&format!("CREATE PITR {} FOR {scope} RANGE {range}", sql::name(name))).await?;
        self.created(name).await
    }

    /// Changes how far back a policy reaches.
    pub async fn alter(&mut self, name: &str, range: Range) -> Result<PitrPolicy> {
        self.client.query(&format!("ALTER PITR {} RANGE {range}", sql::name(name))).await?;
        self.created(name).await
    }

    /// Drops a policy: the store's own window is what is left.
    pub async fn delete(&mut self, name: &str) -> Result<()> {
        self.client.query(&format!("DROP PITR {}", sql::name(name))).await?;
        Ok(())
    }

    pub async fn list(&mut self) -> Result<Vec<PitrPolicy>> {
        let result = self.client.query("SHOW PITR").await?;
        result.records().map(|record| PitrPolicy::read(&record)).collect()
    }

    /// Returns a policy, or `None` where there is none of this name.
    pub async fn get(&mut self, name: &str) -> Result<Option<PitrPolicy>> {
        let name = name.to_lowercase();
        Ok(self.list().await?.into_iter().find(|policy| policy.name.to_lowercase() == name))
    }

    /// Restores to a time inside a policy's window. The moment that `restore` names is not looked at.
    pub async fn restore(&mut self, name: &str, time: &When, restore: &Restore) -> Result<RestoreResult> {
        let statement =
            format!("RESTORE {} FROM PITR {} {}{}", restore.scope, sql::name(name), time.time(), restore.tail());
        self.client.restore().send(&statement).await
    }

    async fn created(&mut self, name: &str) -> Result<PitrPolicy> {
        self.get(name).await?.ok_or_else(|| unexpected(&format!("the policy '{name}' is not listed")))
    }
}

impl PitrPolicy {
    fn read(record: &Record<'_>) -> Result<PitrPolicy> {
        let unit = record.required("PITR_UNIT")?;
        let length = record.number("PITR_LENGTH").ok_or_else(|| unexpected("a policy has no length"))?;
        Ok(PitrPolicy {
            name: record.required("PITR_NAME")?,
            level: record.required("PITR_LEVEL")?.parse()?,
            account: record.text("ACCOUNT_NAME"),
            // MatrixOne writes `*` for "not about one".
            database: record.text("DATABASE_NAME").filter(|name| name != "*"),
            table: record.text("TABLE_NAME").filter(|name| name != "*"),
            range: Range::new(length, &unit)?,
            created_at: record.time("CREATED_TIME")?,
            modified_at: record.time("MODIFIED_TIME")?,
            recoverable_from: record.time("RECOVERABLE_FROM")?,
            status: record.text("STATUS"),
        })
    }
}

impl Range {
    /// Reads a unit: `h`, `d`, `mo`, `y`, or the word.
    pub fn new(length: u32, unit: &str) -> Result<Range> {
        let unit = match unit.to_ascii_lowercase().as_str() {
            "h" | "hour" | "hours" => RangeUnit::Hour,
            "d" | "day" | "days" => RangeUnit::Day,
            "mo" | "month" | "months" => RangeUnit::Month,
            "y" | "year" | "years" => RangeUnit::Year,
            _ => {
                let error = crate::error::Error::config(format!("'{unit}' is not a unit of a range."));
                return Err(error.with_hint("Say h, d, mo or y."));
            }
        };
        Ok(Range { length, unit })
    }
}

impl RangeUnit {
    pub fn as_str(self) -> &'static str {
        match self {
            RangeUnit::Hour => "h",
            RangeUnit::Day => "d",
            RangeUnit::Month => "mo",
            RangeUnit::Year => "y",
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.length, self.unit.as_str())
    }
}
