//! Schedules: snapshots that the store takes by itself, and what goes with time: terms that end, rules that drop.
//!
//! A background task looks every second at what is due by the clock of `env`. Runs that were missed, while the server was
//! down or busy, are caught up once. A run that fails is told in the schedule and in the log, and the next one is tried.

use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use croner::Cron;
use futures::FutureExt;
use serde::{Deserialize, Serialize};

use crate::catalog::unknown;
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::retention::Keep;
use crate::history::snapshot::{SnapshotSpec, Term, check_name, check_scope};
use crate::ids::{AccountId, Time};
use crate::log::policy::{self, PolicyKind};
use crate::log::{Pin, Run, Scope};
use crate::schema::same_name;
use crate::txn::Author;
use crate::when;

/// What to take a snapshot of, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleSpec {
    pub name: String,
    pub scope: Scope,
    pub rhythm: Rhythm,
    /// The time zone in which the rhythm, the snapshots' names and the rules are meant.
    pub zone: String,
    /// `{time}` stands for the time of the run; without one it is added. `None` is the schedule's own name.
    pub snapshot_name: Option<String>,
    pub comment: String,
    /// How long each snapshot is kept; `None` is for ever, or as the rules say.
    pub term: Option<Term>,
    /// Rules for the snapshots of this schedule alone.
    pub keep: Option<Keep>,
    /// Each snapshot gets a compressed copy of its own.
    pub compress: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rhythm {
    Cron(String),
    Every(Term),
}

/// A schedule and how it fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique within its account.
    pub name: String,
    pub account: AccountId,
    pub scope: Scope,
    pub rhythm: Rhythm,
    pub zone: String,
    pub snapshot_name: String,
    pub comment: String,
    pub term: Option<Term>,
    pub keep: Option<Keep>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
    pub created: Time,
    pub author: String,
    pub paused: bool,
    /// `None` where the rhythm has no further time.
    pub next_run: Option<Time>,
    pub last_run: Option<Time>,
    /// The snapshot that the last good run took.
    pub last_snapshot: Option<String>,
    /// Why the last run failed; `None` if it did not.
    pub last_error: Option<String>,
}

/// What a snapshot's name has in the place of the time of the run.
const TIME: &str = "{time}";

/// After an error of the store itself the background task waits this long, in seconds.
const PAUSE_SECONDS: u64 = 60;

impl Database {
    /// Creates a schedule. Its first run is the next time that its rhythm names.
    pub fn create_schedule(&self, spec: &ScheduleSpec, author: &Author) -> Result<Schedule> {
        check_name("schedule", &spec.name)?;
        let now = self.now();
        check_scope(&now, now.catalog(), author.account, &spec.scope, &[])?;
        let now = self.env().now();
        let zone = when::zone(&spec.zone)?;
        if let Rhythm::Every(Term { count: 0, .. }) = spec.rhythm {
            return Err(Error::invalid("A schedule runs EVERY 1 of its unit at the most often, not EVERY 0.")
                .with_hint("Say EVERY 6 HOURS, for one."));
        }
        if let Some(term) = spec.term {
            term.after(now, &zone)?;
        }
        if let Some(keep) = &spec.keep {
            keep.check()?;
        }
        let mut snapshot_name = spec.snapshot_name.clone().unwrap_or_else(|| spec.name.clone());
        if !snapshot_name.contains(TIME) {
            snapshot_name = format!("{snapshot_name}_{TIME}");
        }
        let mut schedule = Schedule {
            name: spec.name.clone(),
            account: author.account,
            scope: spec.scope.clone(),
            rhythm: spec.rhythm.clone(),
            zone: spec.zone.clone(),
            snapshot_name,
            comment: spec.comment.clone(),
            term: spec.term,
            keep: spec.keep,
            compress: spec.compress,
            created: now,
            author: author.name.clone(),
            paused: false,
            next_run: None,
            last_run: None,
            last_snapshot: None,
            last_error: None,
        };
        // A name that is taken gets a number of up to three digits behind it.
        check_name("snapshot", &format!("{}_999", schedule.name_at(now)?))?;
        schedule.next_run = schedule.next_after(now)?;
        if schedule.next_run.is_none() {
            return Err(Error::invalid("The schedule would never run.")
                .with_hint("Choose a rhythm with a time to come, such as CRON '0 2 * * *' or EVERY 6 HOURS."));
        }
        let _lock = self.0.policies.lock();
        if self.schedules(author.account)?.iter().any(|other| same_name(&other.name, &spec.name)) {
            return Err(Error::already_exists(What::Schedule, &spec.name));
        }
        self.put_schedule(&schedule)?;
        Ok(schedule)
    }

    /// Pauses a schedule, or lets it go on: then what it missed is not caught up.
    pub fn pause_schedule(&self, name: &str, paused: bool, author: &Author) -> Result<Schedule> {
        let _lock = self.0.policies.lock();
        let mut schedule = self.schedule(name, author.account)?;
        if schedule.paused && !paused {
            schedule.next_run = schedule.next_after(self.env().now())?;
        }
        schedule.paused = paused;
        self.put_schedule(&schedule)?;
        Ok(schedule)
    }

    /// Drops a schedule. The snapshots that it took stay.
    pub fn drop_schedule(&self, name: &str, author: &Author) -> Result<()> {
        let _lock = self.0.policies.lock();
        let schedule = self.schedule(name, author.account)?;
        policy::remove(&**self.metastore(), PolicyKind::Schedule, schedule.account, &schedule.name)?;
        Ok(())
    }

    /// Returns the schedules of an account, by name.
    pub fn schedules(&self, account: AccountId) -> Result<Vec<Schedule>> {
        let mut schedules: Vec<Schedule> = policy::read(&**self.metastore(), PolicyKind::Schedule)?;
        schedules.retain(|schedule| schedule.account == account);
        Ok(schedules)
    }

    /// Runs every schedule that is due, of all accounts, and returns how each fares. Called by the background task; an
    /// error is one of the store, not of a run.
    pub async fn run_schedules(&self) -> Result<Vec<Schedule>> {
        let mut ran = self.run_schedules_that(false).await?;
        ran.extend(self.run_schedules_that(true).await?);
        Ok(ran)
    }

    async fn run_schedules_that(&self, compress: bool) -> Result<Vec<Schedule>> {
        let mut ran = Vec::new();
        let all = policy::read::<Schedule>(&**self.metastore(), PolicyKind::Schedule)?;
        for known in all.into_iter().filter(|schedule| schedule.compress == compress) {
            if self.0.closing.load(Ordering::SeqCst) {
                break;
            }
            let now = self.env().now();
            if !known.is_due(now) {
                self.come_back(&known, now)?;
                continue;
            }
            // The runs before took their time: it may have been paused, dropped or made anew meanwhile.
            let Ok(schedule) = self.schedule(&known.name, known.account) else { continue };
            let now = self.env().now();
            let Some(due) = schedule.next_run.filter(|_| schedule.is_due(now)) else { continue };
            // What cannot be reckoned does not run, or it would run again at once.
            let (next_run, outcome) = match schedule.next_after(now) {
                Ok(next) => (next, self.run_schedule(&schedule, due, now).await),
                Err(error) => (Some(now.plus_micros(PAUSE_SECONDS as i64 * 1_000_000)), Err(error)),
            };
            let (snapshot, error) = match outcome {
                Ok((snapshot, error)) => (Some(snapshot), error),
                Err(error) => (None, Some(error)),
            };
            if let Some(error) = &error {
                tracing::warn!(schedule = schedule.name, %error, "a schedule's run failed; the next one is tried at its time");
            }
            let _lock = self.0.policies.lock();
            let Ok(mut stands) = self.schedule(&schedule.name, schedule.account) else { continue };
            if stands.created != schedule.created {
                continue;
            }
            fail::fail_point!("schedule::run");
            stands.last_run = Some(now);
            stands.next_run = next_run;
            stands.last_snapshot = snapshot.or(stands.last_snapshot);
            stands.last_error = error.map(|error| error.to_string());
            self.put_schedule(&stands)?;
            ran.push(stands);
        }
        Ok(ran)
    }

    /// Brings a schedule's next run back from a time that was reckoned while the clock ran ahead.
    fn come_back(&self, known: &Schedule, now: Time) -> Result<()> {
        let dated = known.last_run.map_or(known.created, |last| last.max(known.created));
        if known.paused || dated <= now {
            return Ok(());
        }
        let _lock = self.0.policies.lock();
        let Ok(mut stands) = self.schedule(&known.name, known.account) else { return Ok(()) };
        // What cannot be reckoned is told by its run.
        let Ok(Some(next)) = stands.next_after(now) else { return Ok(()) };
        if stands.next_run.is_none_or(|planned| planned > next) {
            stands.next_run = Some(next);
            self.put_schedule(&stands)?;
        }
        Ok(())
    }

    /// Takes a schedule's snapshot and then drops what the rules do not keep; returns the snapshot's name, and why the
    /// rules were not followed, if they were not.
    async fn run_schedule(&self, schedule: &Schedule, due: Time, now: Time) -> Result<(String, Option<Error>)> {
        fail::fail_point!("schedule::due");
        let author = Author { account: schedule.account, name: schedule.author.clone() };
        let zone = when::zone(&schedule.zone)?;
        let run = Run { name: schedule.name.clone(), created: schedule.created, due };
        // One that is dated in the future was for a time that the clock ran ahead to.
        let is_run = |pin: &Pin| pin.terms.schedule.as_ref() == Some(&run) && pin.created <= now;
        let name = match self.snapshots(schedule.account)?.into_iter().find(is_run) {
            // The process ended before the run was noted.
            Some(taken) => taken.name,
            None => {
                let retain_until = schedule.term.map(|term| term.after(now, &zone)).transpose()?;
                let spec = SnapshotSpec {
                    comment: schedule.comment.clone(),
                    retain_until,
                    schedule: Some(run),
                    compress: schedule.compress,
                    ..SnapshotSpec::of(&schedule.name_at(now)?, schedule.scope.clone())
                };
                self.create_numbered(spec, &author).await?.name
            }
        };
        fail::fail_point!("schedule::taken");
        let kept = match &schedule.keep {
            Some(keep) => self.apply_plan(|| self.plan_own_retention(schedule, keep)),
            None => self.apply_retention(schedule.account, &schedule.scope, None),
        };
        let told = |error: Error| {
            Error::new(error.kind(), format!("Snapshot '{name}' was taken, but retention failed: {error}"))
        };
        let error = kept.err().filter(|error| error.kind() != Kind::NotFound(What::Retention)).map(told);
        Ok((name, error))
    }

    /// Creates a snapshot under its name, or, where that is taken, with the next free number behind it.
    async fn create_numbered(&self, mut spec: SnapshotSpec, author: &Author) -> Result<Pin> {
        let name = spec.name.clone();
        let mut number = 1;
        loop {
            match self.create_snapshot(&spec, author).await {
                Err(error) if error.kind() == Kind::AlreadyExists(What::Snapshot) && number < 999 => {
                    number += 1;
                    spec.name = format!("{name}_{number}");
                }
                outcome => return outcome,
            }
        }
    }

    /// Runs schedules and drops snapshots whose term has ended, until the database is closed or dropped. Copies take their
    /// time: nothing else waits for them.
    pub fn start_policies(&self) {
        self.every_second(|database| async move {
            let ran = database.run_schedules_that(false).await;
            database.drop_what_expired()?;
            ran.map(drop)
        });
        self.every_second(|database| async move { database.run_schedules_that(true).await.map(drop) });
    }

    fn every_second<F>(&self, work: impl Fn(Database) -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send,
    {
        let inner = std::sync::Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut pause = 0;
            loop {
                tokio::time::sleep(Duration::from_secs(1 + pause)).await;
                let Some(inner) = inner.upgrade() else { return };
                let database = Database(inner);
                let open = database.clone();
                let _looking = open.0.looking_after.read().await;
                if open.0.closing.load(Ordering::SeqCst) {
                    return;
                }
                let done = AssertUnwindSafe(work(database)).catch_unwind().await;
                pause = if matches!(done, Ok(Ok(()))) { 0 } else { PAUSE_SECONDS };
                match done {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "policies could not be looked at; they will be tried again");
                    }
                    Err(_) => tracing::error!("BUG: a look at the policies panicked; they will be tried again"),
                }
            }
        });
    }

    /// Does what is due now: schedules, and terms that have ended.
    pub async fn tick_policies(&self) -> Result<()> {
        let ran = self.run_schedules().await;
        self.drop_what_expired()?;
        ran.map(drop)
    }

    fn drop_what_expired(&self) -> Result<()> {
        for pin in self.drop_expired()? {
            tracing::info!(snapshot = pin.name, "dropped: its term has ended");
        }
        Ok(())
    }

    fn schedule(&self, name: &str, account: AccountId) -> Result<Schedule> {
        let own = self.schedules(account)?;
        own.iter().find(|schedule| same_name(&schedule.name, name)).cloned().ok_or_else(|| no_schedule(name, &own))
    }

    fn put_schedule(&self, schedule: &Schedule) -> Result<()> {
        policy::put(&**self.metastore(), PolicyKind::Schedule, schedule.account, &schedule.name, schedule)
    }
}

/// The error for a name that no schedule bears.
pub fn no_schedule<'a>(name: &str, known: impl IntoIterator<Item = &'a Schedule>) -> Error {
    let names = known.into_iter().map(|schedule| schedule.name.as_str());
    unknown(What::Schedule, name, names, "List them with SHOW SCHEDULES.")
}

impl Schedule {
    fn is_due(&self, now: Time) -> bool {
        !self.paused && self.next_run.is_some_and(|next| next <= now)
    }

    /// Returns the name of a snapshot that is taken then.
    fn name_at(&self, time: Time) -> Result<String> {
        let local = time.to_jiff().to_zoned(when::zone(&self.zone)?);
        Ok(self.snapshot_name.replace(TIME, &local.strftime("%Y%m%d_%H%M%S").to_string()))
    }

    /// Returns the first time of the rhythm after `now`; `None` if there is none.
    fn next_after(&self, now: Time) -> Result<Option<Time>> {
        let zone = when::zone(&self.zone)?;
        match &self.rhythm {
            Rhythm::Cron(expression) => {
                let cron = Cron::from_str(expression).map_err(|error| {
                    let why = error.to_string();
                    let why = why.strip_prefix("Component error: ").unwrap_or(&why).trim_end_matches('.');
                    Error::invalid(format!("'{expression}' is no CRON expression: {why}.")).with_hint(
                        "It has five fields, minute hour day month weekday: '0 2 * * *' is two o'clock each night.",
                    )
                })?;
                let local = now.to_jiff().to_zoned(zone);
                Ok(cron.find_next_occurrence(&local, false).ok().map(|next| Time(next.timestamp().as_microsecond())))
            }
            // Beyond the calendar there is none.
            Rhythm::Every(term) => Ok(term.first_after(self.created, now, &zone).ok()),
        }
    }
}
