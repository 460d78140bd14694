//! What the session tells functions about a statement: its start and its zone. It travels in DataFusion's options.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{Result as PlanResult, exec_err};
use datafusion::execution::memory_pool::MemoryPool;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::calendar;
use super::value::{Val, int_prefix, number_prefix};
use crate::error::{Error, Result};
use crate::warning::Warning;

/// How many warnings of one statement are kept: `max_error_count`.
const SAID_MAX: usize = 64;

/// The clock and zone of one statement. The session puts a fresh one into the options before each statement:
/// `options.extensions.insert(StatementSettings { .. })`.
#[derive(Clone, Debug)]
pub struct StatementSettings {
    /// The statement's start in microseconds since 1970-01-01 00:00:00 UTC: what NOW() answers.
    pub now_micros: i64,
    pub zone: Zone,
    pub division: Division,
    pub said: Arc<Said>,
    /// How many bytes of text a function may answer for the rows of a batch.
    pub answer_bytes_max: usize,
    /// Counts them while they are made.
    pub memory: Option<Arc<dyn MemoryPool>>,
}

/// What functions of a running statement say besides their answers: SHOW WARNINGS lists it.
#[derive(Debug, Default)]
pub struct Said(Mutex<Vec<Warning>>);

impl Said {
    pub fn warn(&self, code: u16, message: impl FnOnce() -> String) {
        let mut said = self.0.lock();
        if said.len() < SAID_MAX {
            said.push(Warning::warning(code, message()));
        }
    }

    pub fn take(&self) -> Vec<Warning> {
        std::mem::take(&mut self.0.lock())
    }
}

/// What a division by zero does besides answering NULL.
#[derive(Clone, Debug, Default)]
pub enum Division {
    #[default]
    Silent,
    /// There is a warning.
    Warned,
    /// The statement fails.
    Refused,
}

impl Division {
    /// 1365
    pub fn error() -> Error {
        Error::new(1365, "22012", "Division by 0")
    }
}

/// A time zone as `SET time_zone` names it.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Default for StatementSettings {
    fn default() -> StatementSettings {
        StatementSettings {
            now_micros: 0,
            zone: Zone::UTC,
            division: Division::Silent,
            said: Arc::default(),
            answer_bytes_max: usize::MAX,
            memory: None,
        }
    }
}

impl StatementSettings {
    /// Answers for a division by zero.
    pub fn divided_by_zero(&self) -> Result<()> {
        match self.division {
            Division::Silent => Ok(()),
            Division::Warned => {
                self.said.warn(1365, || Division::error().message);
                Ok(())
            }
            Division::Refused => Err(Division::error()),
        }
    }

    /// Warns where a text that is read as a number is none, or goes on behind it. `ty` is what it is read as.
    pub fn reads_number(&self, value: &Val<'_>, ty: &str) {
        let Val::Text(text) = value else { return };
        let whole = if ty == "INTEGER" { int_prefix(text).1 } else { number_prefix(text).1 };
        if !whole {
            self.said.warn(1292, || format!("Truncated incorrect {ty} value: '{text}'"));
        }
    }

    /// Warns of a text that is no date or time. `ty` is what it is read as.
    pub fn no_moment(&self, value: &Val<'_>, ty: &str) {
        if let Val::Text(text) = value {
            self.said.warn(1292, || format!("Incorrect {ty} value: '{text}'"));
        }
    }

    /// Returns the statement's start by the session's clock.
    pub fn now_local(&self) -> i64 {
        self.zone.to_local(self.now_micros)
    }
}

impl Zone {
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// Reads `SYSTEM` (UTC here), `+02:00` or a name such as `Europe/Paris`.
    pub fn parse(name: &str) -> Result<Zone> {
        Zone::find(name).ok_or_else(|| Error::new(1298, "HY000", format!("Unknown or incorrect time zone: '{name}'")))
    }

    pub(super) fn find(name: &str) -> Option<Zone> {
        if name.eq_ignore_ascii_case("SYSTEM") || name.eq_ignore_ascii_case("UTC") {
            return Some(Zone::UTC);
        }
        if let Some(micros) = calendar::parse_offset(name) {
            let offset = jiff::tz::Offset::from_seconds((micros / calendar::SECOND) as i32).ok()?;
            return Some(Zone(TimeZone::fixed(offset)));
        }
        TimeZone::get(name).ok().map(Zone)
    }

    /// Converts microseconds UTC to what a clock on the wall shows.
    pub fn to_local(&self, micros: i64) -> i64 {
        let Ok(timestamp) = Timestamp::from_microsecond(micros) else { return micros };
        micros + i64::from(self.0.to_offset(timestamp).seconds()) * calendar::SECOND
    }

    /// Converts what a clock on the wall shows to microseconds UTC. Of two instants the earlier one counts; a time that
    /// the clock skipped counts as if it had not been.
    pub fn to_utc(&self, local: i64) -> i64 {
        let p = calendar::parts(local);
        let civil = jiff::civil::DateTime::new(
            p.year as i16,
            p.month as i8,
            p.day as i8,
            p.hour as i8,
            p.minute as i8,
            p.second as i8,
            0,
        );
        let Ok(civil) = civil else { return local };
        match self.0.to_ambiguous_timestamp(civil).compatible() {
            Ok(timestamp) => timestamp.as_microsecond() + p.micro,
            Err(_) => local,
        }
    }
}

/// Returns the statement's settings, or those of 1970 in UTC where nobody set any.
pub(super) fn of(options: &ConfigOptions) -> &StatementSettings {
    // Nobody asks what was said there: it is kept up to its bound.
    static UNSET: LazyLock<StatementSettings> = LazyLock::new(StatementSettings::default);
    options.extensions.get::<StatementSettings>().unwrap_or(&UNSET)
}

impl ConfigExtension for StatementSettings {
    const PREFIX: &'static str = "strandline";
}

impl ExtensionOptions for StatementSettings {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> PlanResult<()> {
        exec_err!("{key} is set by the session, not by text")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
