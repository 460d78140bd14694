//! CREATE, SHOW and DROP SNAPSHOT.

use std::collections::{HashMap, HashSet};

use strandline_core::error::{Kind, What};
use strandline_core::history::snapshot::{Decision, SnapshotSpec, check_name, check_scope};
use strandline_core::ids::{PinId, Time, Version};
use strandline_core::log::{Pin, Scope, Terms};
use strandline_core::schema::same_name;
use strandline_core::txn::Author;
use strandline_core::when;

use super::{forgiving, names, term_of};
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::interrupt::worded;
use crate::parse::{CreateSnapshot, Filter, Target, When};
use crate::session::{Session, State};
use crate::show::answer::{Cell, CellKind, answer, row};
use crate::show::like::like;
use crate::statements::rows_of;
use crate::warning::Warning;

pub async fn create(session: &mut Session, create: &CreateSnapshot) -> Result<Outcome> {
    if create.compression && create.at.is_none() && session.has_work() {
        return Err(Error::wrong_arguments(
            "A compressed snapshot is a copy of what is committed: COMMIT first, or say AT NOW for what others see",
        ));
    }
    let scope = session.state.scope(&create.target)?;
    let comment = create.comment.clone().unwrap_or_default();
    let retain_until = match create.retain {
        Some(period) => Some(term_of(period).after(session.state.now, session.state.variables.time_zone())?),
        None => None,
    };
    let result = match (&create.at, session.has_work()) {
        (None, true) => inside(session, create, scope, &comment, retain_until),
        (at, _) => {
            let when = match at {
                Some(when) => session.state.address(when).await?,
                None => when::When::Now,
            };
            let spec = SnapshotSpec {
                columns: create.columns.clone(),
                when,
                comment,
                base: create.incremental_from.clone(),
                retain_until,
                compress: create.compression,
                ..SnapshotSpec::of(&create.name, scope)
            };
            let author = session.state.author();
            let (ends, mut why) = (session.ends_without_hint(), None);
            let database = session.state.engine.database().clone();
            let created = database.create_snapshot_unless(&spec, &author, ends.stop(&mut why)).await;
            worded(created.map(|_| ()), why)
        }
    };
    forgiving(session, result, create.if_not_exists.then_some(Kind::AlreadyExists(What::Snapshot)))
}

/// Takes a snapshot that means the open transaction's commit.
fn inside(
    session: &mut Session,
    create: &CreateSnapshot,
    scope: Scope,
    comment: &str,
    retain_until: Option<Time>,
) -> Result<()> {
    let account = session.state.account;
    let database = session.state.engine.database().clone();
    let txn = session.txn()?;
    check_name("snapshot", &create.name)?;
    txn.check_snapshot_name(&create.name)?;
    let columns = check_scope(txn.moment(), txn.catalog(), account, &scope, &create.columns)?;
    if let Some(base) = create.incremental_from.as_ref().filter(|base| txn.takes_snapshot(base)) {
        return Err(Error::wrong_arguments(format!(
            "Snapshot '{base}' is not committed yet: COMMIT before it can be a base."
        )));
    }
    let base = match &create.incremental_from {
        Some(base) => Some(database.base_of(account, base, (&scope, &columns), Version::MAX)?),
        None => None,
    };
    let terms = Terms { base, retain_until, ..Terms::default() };
    txn.create_snapshot(&create.name, scope, comment, columns, terms)?;
    let message =
        format!("Snapshot '{}' is taken by the COMMIT of the open transaction; a ROLLBACK takes it back", create.name);
    session.state.warnings.push(Warning::note(1105, message));
    Ok(())
}

pub fn drop(session: &mut Session, names: &[String], if_exists: bool, cascade: bool) -> Result<Outcome> {
    let author = session.state.author();
    let database = session.state.engine.database().clone();
    let mut names = names.to_vec();
    if if_exists && names.len() > 1 {
        let pins = database.snapshots(author.account)?;
        let missing: Vec<String> =
            names.extract_if(.., |name| !pins.iter().any(|pin| same_name(&pin.name, name))).collect();
        for name in missing {
            let error = Error::from(when::no_snapshot(&name, pins.iter()));
            session.state.warnings.push(Warning::note(error.code, error.message));
        }
    }
    let dropped = database.drop_snapshots(&names, cascade, &author);
    let dropped = dropped.map(|_| ()).map_err(Error::from);
    forgiving(session, dropped, if_exists.then_some(Kind::NotFound(What::Snapshot)))
}

/// Lists what would be dropped with these snapshots, and says what that would free together.
pub async fn explain_drop(session: &mut Session, names: &[String], cascade: bool) -> Result<Outcome> {
    let state = &session.state;
    let decisions = state.engine.database().plan_drop(state.account, names, cascade)?;
    freed(state, &decisions).await
}

/// As `decided`, with what the drop of each would free by itself, and behind them that of all together: what several share
/// comes back with the last of them.
async fn freed(state: &State, decisions: &[Decision]) -> Result<Outcome> {
    let database = state.engine.database();
    let going: Vec<PinId> =
        decisions.iter().filter(|decision| !decision.keep).map(|decision| decision.pin.id).collect();
    let named: HashSet<PinId> = going.iter().copied().collect();
    let sizes = database.snapshot_sizes(state.account, |pin| named.contains(&pin.id)).await?;
    let alone: HashMap<PinId, u64> = sizes.iter().map(|size| (size.pin.id, size.freed_bytes)).collect();
    let together = database.plan_freed(&going).await?;
    let mut rows: Vec<Vec<Cell>> = decisions
        .iter()
        .map(|decision| {
            let mut row = decided_row(&state.account_name, decision, true);
            row.extend(row![alone.get(&decision.pin.id).copied(), Cell::Null]);
            row
        })
        .collect();
    let (files, commits) = (together.files, together.entries);
    let reason = format!("{files} files, and the rows of {commits} commits in the log");
    let mut last = row!["together", Cell::Null, Cell::Null, Cell::Null, Cell::Null, Cell::Null, Cell::Null, reason];
    last.extend(row![together.bytes, together.entry_bytes]);
    rows.push(last);
    let columns =
        [DECIDED.as_slice(), &[("frees_bytes", CellKind::UInt), ("frees_log_bytes", CellKind::UInt)]].concat();
    Ok(Outcome::Rows(rows_of(answer(&columns, rows)?)))
}

/// Drops what is older than a time, and lists it. What something younger is based on stays, with a note.
pub async fn drop_older(
    session: &mut Session,
    target: &Target,
    older_than: &When,
    cascade: bool,
    explain: bool,
) -> Result<Outcome> {
    let state = &session.state;
    let scope = state.scope(target)?;
    let database = state.engine.database().clone();
    let account = state.account;
    let before = match state.address(older_than).await? {
        // As the others: by when it was created, not by the time of its version.
        when::When::Snapshot(name) => when::find_snapshot(&database.snapshots(account)?, account, &name)?.created,
        _ => super::commits::time_of(state, older_than).await?,
    };
    if before > state.now {
        let message = format!(
            "'{before}' UTC is in the future: every snapshot is older. Give a time in the past, or drop them by name with DROP \
             SNAPSHOT."
        );
        return Err(Error::wrong_arguments(message));
    }
    let plan = || database.plan_drop_older(account, &scope, before, cascade);
    if explain {
        return freed(state, &plan()?).await;
    }
    let mut decisions = database.apply_plan(plan)?;
    for decision in decisions.iter().filter(|decision| decision.keep && decision.pin.created < before) {
        let message = format!("Snapshot '{}' stays: {}.", decision.pin.name, decision.reason);
        session.state.warnings.push(Warning::note(1105, message));
    }
    decisions.retain(|decision| !decision.keep);
    decided(&session.state.account_name, &decisions, false)
}

/// Lists what was or would be done with snapshots: all of it with what stays, or just what was dropped.
pub(super) fn decided(account: &str, decisions: &[Decision], planned: bool) -> Result<Outcome> {
    let rows = decisions.iter().map(|decision| decided_row(account, decision, planned));
    Ok(Outcome::Rows(rows_of(answer(&DECIDED, rows.collect())?)))
}

const DECIDED: [(&str, CellKind); 8] = [
    ("action", CellKind::Text),
    ("snapshot_name", CellKind::Text),
    ("timestamp", CellKind::Text),
    ("snapshot_level", CellKind::Text),
    ("account_name", CellKind::Text),
    ("database_name", CellKind::Text),
    ("table_name", CellKind::Text),
    ("reason", CellKind::Text),
];

fn decided_row(account: &str, decision: &Decision, planned: bool) -> Vec<Cell> {
    let pin = &decision.pin;
    let (of_account, of_database, of_table) = names(account, &pin.scope, "");
    let action = match (decision.keep, planned) {
        (true, _) => "keep",
        (false, true) => "drop",
        (false, false) => "dropped",
    };
    row![
        action,
        &pin.name,
        pin.created.to_string(),
        pin.scope.level(),
        of_account,
        of_database,
        of_table,
        &decision.reason,
    ]
}

/// MatrixOne's six columns, and ours behind them. Times are UTC.
pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let database = session.state.engine.database().clone();
    let mut rows = Vec::new();
    let account = session.state.account;
    let bases = database.snapshots(account)?.into_iter().map(|pin| (pin.id, pin.name));
    let bases: HashMap<_, _> = bases.collect();
    let rights = &session.state.rights;
    let is_shown = |pin: &Pin| {
        let by_name = match filter {
            Some(Filter::Like(pattern)) => like(pattern, &pin.name),
            Some(Filter::Where(_)) | None => true,
        };
        by_name && rights.sees_scope(&pin.scope)
    };
    for size in database.snapshot_sizes(account, is_shown).await? {
        let pin = &size.pin;
        let (of_account, of_database, of_table) = names_of(pin);
        let columns = columns_of(&session.state, pin).await?;
        let until = pin.terms.retain_until;
        let status = match &size.damage {
            Some(_) => "damaged",
            None if until.is_some_and(|until| until <= session.state.now) => "expired",
            None => "available",
        };
        let known = |bytes: u64| if size.damage.is_some() { Cell::Null } else { megabytes(bytes) };
        rows.push(row![
            &pin.name,
            pin.created.to_string(),
            pin.scope.level(),
            of_account,
            of_database,
            of_table,
            pin.version.0,
            columns,
            &pin.comment,
            known(size.bytes),
            &pin.author,
            known(size.unique_bytes),
            status,
            pin.terms.base.map(|base| bases.get(&base).cloned().unwrap_or_default()),
            until.map(|until| until.to_string()),
            pin.terms.schedule.as_ref().map(|run| run.name.clone()),
            if pin.terms.copy.is_some() { "yes" } else { "no" },
        ]);
    }
    for pin in session.pending_snapshots() {
        let (of_account, of_database, of_table) = names_of(pin);
        let mut pending = row![&pin.name, Cell::Null, pin.scope.level(), of_account, of_database, of_table];
        pending.extend(row![Cell::Null, Cell::Null, &pin.comment, Cell::Null, &pin.author, Cell::Null, "pending"]);
        let until = pin.terms.retain_until;
        let base = pin.terms.base.map(|base| bases.get(&base).cloned().unwrap_or_default());
        pending.extend(row![base, until.map(|until| until.to_string()), Cell::Null, "no"]);
        rows.push(pending);
    }
    let columns = [
        ("SNAPSHOT_NAME", CellKind::Text),
        ("TIMESTAMP", CellKind::Text),
        ("SNAPSHOT_LEVEL", CellKind::Text),
        ("ACCOUNT_NAME", CellKind::Text),
        ("DATABASE_NAME", CellKind::Text),
        ("TABLE_NAME", CellKind::Text),
        ("VERSION", CellKind::UInt),
        ("COLUMNS", CellKind::Text),
        ("COMMENT", CellKind::Text),
        ("SIZE_MB", CellKind::Float),
        ("CREATED_BY", CellKind::Text),
        ("UNIQUE_MB", CellKind::Float),
        ("STATUS", CellKind::Text),
        ("BASE", CellKind::Text),
        ("EXPIRES", CellKind::Text),
        ("SCHEDULE", CellKind::Text),
        ("COMPRESSED", CellKind::Text),
    ];
    crate::statements::filtered(session, answer(&columns, rows)?, filter).await
}

/// Returns millions of bytes, to the thousand above: what takes room never shows as nothing.
fn megabytes(bytes: u64) -> Cell {
    Cell::Float(bytes.div_ceil(1000) as f64 / 1e3)
}

/// Returns the names of account, database and tables that a snapshot is about. MatrixOne names the account only at its level.
fn names_of(pin: &Pin) -> (String, String, String) {
    names("", &pin.scope, "")
}

async fn columns_of(state: &State, pin: &Pin) -> Result<String> {
    if pin.columns.is_empty() {
        return Ok(String::new());
    }
    let (moment, _) = state.moment_at(&When::Snapshot(pin.name.clone())).await?;
    let tables = pin.scope.tables(moment.catalog(), pin.account);
    let name = |id| tables.first().and_then(|table| table.column_by_id(id)).map_or("?", |column| column.name.as_str());
    Ok(pin.columns.iter().map(|id| name(*id)).collect::<Vec<_>>().join(","))
}

impl State {
    /// Returns in whose name this session commits.
    pub(crate) fn author(&self) -> Author {
        Author { account: self.account, name: self.author.clone() }
    }
}
