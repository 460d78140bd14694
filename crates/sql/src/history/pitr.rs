//! CREATE, ALTER, DROP and SHOW PITR, and SHOW RECOVERY_WINDOW.

use serde_json::{Value as Json, json};
use strandline_core::error::{Kind, What};
use strandline_core::history::pitr::{PitrSpec, RecoveryWindow};
use strandline_core::history::snapshot::check_scope;
use strandline_core::ids::Time;
use strandline_core::log::Scope;
use strandline_core::when::{self, Pitr};

use super::{forgiving, names};
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::{Filter, Range, RangeUnit, Target};
use crate::session::Session;
use crate::show::answer::{CellKind, answer, row};
use crate::statements::rows_of;
use crate::warning::Warning;

pub fn create(
    session: &mut Session,
    name: &str,
    if_not_exists: bool,
    target: Option<&Target>,
    range: Range,
) -> Result<Outcome> {
    session.check_writable()?;
    let state = &session.state;
    let scope = match target {
        Some(target) => state.scope(target)?,
        None => Scope::Account(state.account_name.clone()),
    };
    let spec = PitrSpec { name: name.to_owned(), scope, length: range.length, unit: unit_of(range.unit) };
    let author = state.author();
    let created = state.engine.database().create_pitr(&spec, &author).map_err(Error::from);
    let created = created.map(|pitr| note_default(session, &pitr));
    forgiving(session, created, if_not_exists.then_some(Kind::AlreadyExists(What::Pitr)))
}

pub fn alter(session: &mut Session, name: &str, if_exists: bool, range: Range) -> Result<Outcome> {
    session.check_writable()?;
    let author = session.state.author();
    let altered = session.state.engine.database().alter_pitr(name, range.length, unit_of(range.unit), &author);
    let altered = altered.map_err(Error::from).map(|pitr| note_default(session, &pitr));
    forgiving(session, altered, if_exists.then_some(Kind::NotFound(What::Pitr)))
}

pub fn drop(session: &mut Session, name: &str, if_exists: bool) -> Result<Outcome> {
    session.check_writable()?;
    let author = session.state.author();
    let dropped = session.state.engine.database().drop_pitr(name, &author).map(|_| ()).map_err(Error::from);
    forgiving(session, dropped, if_exists.then_some(Kind::NotFound(What::Pitr)))
}

/// Says so where a policy changes nothing because the default window is longer.
fn note_default(session: &mut Session, pitr: &Pitr) {
    let database = session.state.engine.database();
    let now = database.env().now();
    let own = Pitr { kept_from: Time(i64::MIN), ..pitr.clone() }.start(now);
    if own > database.window_start() {
        let window = database.window();
        let message =
            format!("PITR '{}' is shorter than the default recovery window of {window}, which stays.", pitr.name);
        session.state.warnings.push(Warning::note(1105, message));
    }
}

/// MatrixOne's nine columns, and ours behind them. Times are UTC.
pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let state = &session.state;
    let database = state.engine.database();
    let now = database.now();
    let mut rows = Vec::new();
    for pitr in database.pitrs(state.account)? {
        if !state.rights.sees_scope(&pitr.scope) {
            continue;
        }
        let (account, of_database, table) = names(&state.account_name, &pitr.scope, "*");
        rows.push(row![
            &pitr.name,
            seconds(pitr.created),
            seconds(pitr.modified),
            pitr.scope.level(),
            account,
            of_database,
            table,
            u64::from(pitr.length),
            pitr.unit.letter(),
            database.recoverable_from(Some(&pitr))?.to_string(),
            &pitr.author,
            // What a policy names by a name that nothing bears now is kept as it was.
            if check_scope(&now, now.catalog(), state.account, &pitr.scope, &[]).is_ok() {
                "active"
            } else {
                "missing"
            },
        ]);
    }
    let columns = [
        ("PITR_NAME", CellKind::Text),
        ("CREATED_TIME", CellKind::Text),
        ("MODIFIED_TIME", CellKind::Text),
        ("PITR_LEVEL", CellKind::Text),
        ("ACCOUNT_NAME", CellKind::Text),
        ("DATABASE_NAME", CellKind::Text),
        ("TABLE_NAME", CellKind::Text),
        ("PITR_LENGTH", CellKind::UInt),
        ("PITR_UNIT", CellKind::Text),
        ("RECOVERABLE_FROM", CellKind::Text),
        ("CREATED_BY", CellKind::Text),
        ("STATUS", CellKind::Text),
    ];
    crate::statements::filtered(session, answer(&columns, rows)?, filter).await
}

/// MatrixOne's columns. The last is a JSON array: what keeps the object, from when to when. Times are UTC.
pub fn recovery_window(session: &mut Session, target: &Target) -> Result<Outcome> {
    let state = &session.state;
    let scope = state.scope(target)?;
    let windows = state.engine.database().recovery_windows(state.account, &scope)?;
    let rows = windows.iter().map(|window| {
        let (account, database, table) = names(&state.account_name, &window.scope, "");
        row![window.scope.level(), account, database, table, json_of(window, state.now).to_string()]
    });
    let columns = [
        ("RecoveryWindowLevel", CellKind::Text),
        ("AccountName", CellKind::Text),
        ("DatabaseName", CellKind::Text),
        ("TableName", CellKind::Text),
        ("RecoveryWindows", CellKind::Long),
    ];
    Ok(Outcome::Rows(rows_of(answer(&columns, rows.collect())?)))
}

fn json_of(window: &RecoveryWindow, now: Time) -> Json {
    let windows = window.windows.iter().map(|(name, start)| {
        let source = if name.is_empty() { "default" } else { "pitr" };
        json!({"start_time": start.to_string(), "end_time": now.to_string(), "source": source, "source_name": name})
    });
    let snapshots = window
        .snapshots
        .iter()
        .map(|pin| json!({"timestamp": pin.created.to_string(), "source": "snapshot", "source_name": pin.name}));
    Json::Array(windows.chain(snapshots).collect())
}

/// Writes a time as MatrixOne does here: without a fraction.
fn seconds(time: Time) -> String {
    Time(time.0 - time.0.rem_euclid(1_000_000)).to_string().trim_end_matches(".000000").to_owned()
}

fn unit_of(unit: RangeUnit) -> when::RangeUnit {
    match unit {
        RangeUnit::Hour => when::RangeUnit::Hour,
        RangeUnit::Day => when::RangeUnit::Day,
        RangeUnit::Month => when::RangeUnit::Month,
        RangeUnit::Year => when::RangeUnit::Year,
    }
}
