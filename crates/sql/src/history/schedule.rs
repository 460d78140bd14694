//! CREATE, ALTER, DROP and SHOW SCHEDULE.

use strandline_core::error::{Kind, What};
use strandline_core::history::schedule::{Rhythm, Schedule, ScheduleSpec};
use strandline_core::history::snapshot::{Term, TermUnit};
use strandline_core::ids::Time;

use super::retention::{keep_of, zone_of};
use super::{done, forgiving, names, term_of};
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::{self, CreateSchedule, Filter};
use crate::session::Session;
use crate::show::answer::{CellKind, answer, row};

pub fn create(session: &mut Session, create: &CreateSchedule) -> Result<Outcome> {
    session.check_writable()?;
    if create.incremental {
        return Err(Error::unsupported("CREATE SCHEDULE … INCREMENTAL"));
    }
    let state = &session.state;
    let spec = ScheduleSpec {
        name: create.name.clone(),
        scope: state.scope(&create.target)?,
        rhythm: match &create.rhythm {
            parse::Rhythm::Cron(expression) => Rhythm::Cron(expression.clone()),
            parse::Rhythm::Every(period) => Rhythm::Every(term_of(*period)),
        },
        zone: zone_of(state, create.time_zone.as_deref()).to_owned(),
        snapshot_name: create.snapshot_name.clone(),
        comment: create.comment.clone().unwrap_or_default(),
        term: create.retain.map(term_of),
        keep: create.keep.as_ref().map(keep_of),
        compress: create.compression,
    };
    let created = state.engine.database().create_schedule(&spec, &state.author());
    let created = created.map(|_| ()).map_err(Error::from);
    forgiving(session, created, create.if_not_exists.then_some(Kind::AlreadyExists(What::Schedule)))
}

pub fn pause(session: &mut Session, name: &str, paused: bool) -> Result<Outcome> {
    session.check_writable()?;
    let state = &session.state;
    state.engine.database().pause_schedule(name, paused, &state.author())?;
    Ok(done())
}

pub fn drop(session: &mut Session, name: &str, if_exists: bool) -> Result<Outcome> {
    session.check_writable()?;
    let state = &session.state;
    let dropped = state.engine.database().drop_schedule(name, &state.author()).map_err(Error::from);
    forgiving(session, dropped, if_exists.then_some(Kind::NotFound(What::Schedule)))
}

/// Times are UTC; the rhythm is meant in the schedule's own time zone.
pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let state = &session.state;
    let mut rows = Vec::new();
    for schedule in state.engine.database().schedules(state.account)? {
        if !state.rights.sees_scope(&schedule.scope) {
            continue;
        }
        let (account, database, table) = names(&state.account_name, &schedule.scope, "");
        rows.push(row![
            &schedule.name,
            schedule.scope.level(),
            account,
            database,
            table,
            rhythm(&schedule.rhythm),
            &schedule.zone,
            &schedule.snapshot_name,
            keeps(&schedule),
            condition(&schedule, state.now),
            schedule.last_run.map(|time| time.to_string()),
            schedule.last_snapshot.clone(),
            schedule.last_error.clone(),
            schedule.next_run.filter(|_| !schedule.paused).map(|time| time.to_string()),
            &schedule.comment,
            &schedule.author,
            if schedule.compress { "yes" } else { "no" },
        ]);
    }
    let columns = [
        ("NAME", CellKind::Text),
        ("LEVEL", CellKind::Text),
        ("ACCOUNT_NAME", CellKind::Text),
        ("DATABASE_NAME", CellKind::Text),
        ("TABLE_NAME", CellKind::Text),
        ("RHYTHM", CellKind::Text),
        ("TIME_ZONE", CellKind::Text),
        ("SNAPSHOT_NAME", CellKind::Text),
        ("KEEPS", CellKind::Text),
        ("STATE", CellKind::Text),
        ("LAST_RUN", CellKind::Text),
        ("LAST_SNAPSHOT", CellKind::Text),
        ("LAST_ERROR", CellKind::Text),
        ("NEXT_RUN", CellKind::Text),
        ("COMMENT", CellKind::Text),
        ("CREATED_BY", CellKind::Text),
        ("COMPRESSED", CellKind::Text),
    ];
    crate::statements::filtered(session, answer(&columns, rows)?, filter).await
}

/// How long after its time a run may begin without being called late, in microseconds: runs follow one another.
const LATE_MICROS: i64 = 60 * 1_000_000;

fn condition(schedule: &Schedule, now: Time) -> &'static str {
    match schedule {
        Schedule { paused: true, .. } => "paused",
        Schedule { next_run: Some(next), .. } if next.plus_micros(LATE_MICROS) < now => "late",
        Schedule { last_error: Some(_), .. } => "failed",
        Schedule { next_run: None, .. } => "finished",
        _ => "active",
    }
}

fn rhythm(rhythm: &Rhythm) -> String {
    match rhythm {
        Rhythm::Cron(expression) => format!("CRON '{expression}'"),
        Rhythm::Every(term) => format!("EVERY {}", words(*term)),
    }
}

/// Says what becomes of the snapshots, in the words of CREATE SCHEDULE.
fn keeps(schedule: &Schedule) -> String {
    let term = schedule.term.map(|term| format!("RETAIN {}", words(term)));
    let keep = schedule.keep.map(|keep| format!("KEEP {keep}"));
    term.into_iter().chain(keep).collect::<Vec<_>>().join(" ")
}

fn words(term: Term) -> String {
    let unit = match term.unit {
        TermUnit::Minute => "MINUTE",
        TermUnit::Hour => "HOUR",
        TermUnit::Day => "DAY",
        TermUnit::Week => "WEEK",
        TermUnit::Month => "MONTH",
        TermUnit::Year => "YEAR",
    };
    format!("{} {unit}", term.count)
}
