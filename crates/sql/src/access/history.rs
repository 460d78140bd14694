//! What the statements about history need. The past is no back door: reading, cloning, diffing or restoring a moment
//! needs what the present grants on those objects.
//!
//! ```text
//! a table that still exists, under whatever name   the rights on it as it is now
//! a table that is gone                             the rights on its database
//! a database                                       the rights on the database, and on each table that left it since
//! an account, the cluster                          the rights on *.*
//! ```

use strandline_core::catalog::{Catalog, Change};
use strandline_core::grants::Privileges;
use strandline_core::history::restore::{Action, RestorePlan};
use strandline_core::history::schedule::no_schedule;
use strandline_core::ids::{TableId, Version};
use strandline_core::log::{EntrySummary, Scope};
use strandline_core::schema::same_name;
use strandline_core::when;

use super::{Place, Rights};
use crate::error::{Error, Result};
use crate::parse::{
    Branch, CloneDatabase, CloneTable, HistoryStatement, MatrixOne, Restore, RestoreTo, TableName, Target, Undropped,
    When,
};
use crate::session::{Session, State};

/// Asks for everything that a statement needs, before it does anything. A snapshot, policy or schedule of something that
/// the user may not see is not there: neither the answer nor what it suggests tells of it.
///
/// # Errors
/// 1044, 1142, 1227; and what turning names and moments into objects says.
pub async fn check(session: &Session, statement: &HistoryStatement) -> Result<()> {
    let state = &session.state;
    match statement {
        HistoryStatement::CreateSnapshot(create) => on_target(state, &create.target, Privileges::SNAPSHOT),
        HistoryStatement::DropSnapshot { names, if_exists, .. } => {
            let mut pins = state.engine.database().snapshots(state.account)?;
            pins.retain(|pin| state.rights.sees_scope(&pin.scope));
            for name in names {
                let found = pins.iter().find(|pin| same_name(&pin.name, name));
                match found {
                    Some(pin) => on_scope(&state.rights, &pin.scope, Privileges::SNAPSHOT)?,
                    // One that the open transaction takes is the session's own.
                    None if session.pending_snapshots().iter().any(|pin| same_name(&pin.name, name)) => {}
                    // Of several, the others are dropped.
                    None if *if_exists && names.len() > 1 => {}
                    None => return Err(when::no_snapshot(name, pins.iter()).into()),
                }
            }
            Ok(())
        }
        // All that lies in the scope is what goes.
        HistoryStatement::DropSnapshots { target, .. } => on_target(state, target, Privileges::SNAPSHOT),
        HistoryStatement::Restore(restore) => restores(state, restore).await,
        HistoryStatement::Undrop(undrop) => {
            let needed = Privileges::RESTORE | Privileges::SELECT;
            match &undrop.what {
                Undropped::Table(table) => {
                    on_database(&state.rights, &state.home(table.database.as_deref())?, needed)?;
                    match undrop.to.as_ref().and_then(|to| to.database.as_deref()) {
                        Some(other) => on_database(&state.rights, other, Privileges::RESTORE),
                        None => Ok(()),
                    }
                }
                Undropped::Database(name) => {
                    on_database(&state.rights, name, needed)?;
                    match &undrop.to {
                        Some(to) => on_database(&state.rights, &to.name, Privileges::RESTORE),
                        None => Ok(()),
                    }
                }
            }
        }
        HistoryStatement::Undo(undo) => undoes(state, Version(undo.version)),
        HistoryStatement::Diff(diff) => {
            on_table_at(state, &diff.table, Some(&diff.to), Privileges::SELECT).await?;
            // Where nothing has the name, it is that very table under the name that it had.
            match bears_name(state, &diff.table, &diff.from).await? {
                true => on_table_at(state, &diff.table, Some(&diff.from), Privileges::SELECT).await,
                false => Ok(()),
            }
        }
        HistoryStatement::ShowCommits { target: None, .. } => on_everything(&state.rights, Privileges::SELECT),
        HistoryStatement::ShowCommits { target: Some(target), .. }
        | HistoryStatement::ShowRecoveryPoints { target, .. } => {
            on_scope_at(state, &state.scope(target)?, None, Privileges::SELECT).await
        }
        HistoryStatement::SetRetention { target, .. }
        | HistoryStatement::ApplyRetention { target, .. }
        | HistoryStatement::DropRetention { target, .. } => on_target(state, target, Privileges::RETENTION),
        HistoryStatement::CreateSchedule(create) => on_target(state, &create.target, of_schedules()),
        HistoryStatement::DropSchedule { name, .. } | HistoryStatement::AlterSchedule { name, .. } => {
            let mut schedules = state.engine.database().schedules(state.account)?;
            schedules.retain(|schedule| state.rights.sees_scope(&schedule.scope));
            let schedule = schedules.iter().find(|schedule| same_name(&schedule.name, name));
            let schedule = schedule.ok_or_else(|| no_schedule(name, &schedules))?;
            on_scope(&state.rights, &schedule.scope, of_schedules())
        }
        HistoryStatement::Collect { .. } => state.rights.require_one_of(Privileges::SUPER),
        // These show what the user may see, row by row; a job that the user may not see is not there.
        HistoryStatement::ShowJobs { .. }
        | HistoryStatement::CancelJob { .. }
        | HistoryStatement::ShowSnapshots { .. }
        | HistoryStatement::ShowRetention { .. }
        | HistoryStatement::ShowSchedules { .. } => Ok(()),
        HistoryStatement::MatrixOne(statement) => matrixone(state, statement).await,
    }
}

async fn bears_name(state: &State, name: &TableName, when: &When) -> Result<bool> {
    let (moment, _) = state.moment_at(when).await?;
    let catalog = moment.catalog();
    let home = catalog.database(state.account, &state.home(name.database.as_deref())?);
    Ok(home.is_ok_and(|home| catalog.table(home, &name.name).is_ok()))
}

async fn matrixone(state: &State, statement: &MatrixOne) -> Result<()> {
    match statement {
        MatrixOne::CreatePitr { target: Some(target), .. } => on_target(state, target, Privileges::RETENTION),
        MatrixOne::CreatePitr { target: None, .. } => on_everything(&state.rights, Privileges::RETENTION),
        MatrixOne::AlterPitr { name, .. } | MatrixOne::DropPitr { name, .. } => {
            let mut pitrs = state.engine.database().pitrs(state.account)?;
            pitrs.retain(|pitr| state.rights.sees_scope(&pitr.scope));
            let pitr = pitrs.iter().find(|pitr| same_name(&pitr.name, name));
            let pitr = pitr.ok_or_else(|| when::no_pitr(name, &pitrs))?;
            on_scope(&state.rights, &pitr.scope, Privileges::RETENTION)
        }
        // Shows what the user may see, row by row.
        MatrixOne::ShowPitr { .. } => Ok(()),
        // Whoever sets the window may see it too.
        MatrixOne::ShowRecoveryWindow { target } => match on_target(state, target, Privileges::RETENTION) {
            Ok(()) => Ok(()),
            Err(_) => on_scope_at(state, &state.scope(target)?, None, Privileges::SELECT).await,
        },
        MatrixOne::CloneTable(clone) | MatrixOne::Branch(Branch::CreateTable(clone)) => clones(state, clone).await,
        MatrixOne::CloneDatabase(clone) | MatrixOne::Branch(Branch::CreateDatabase(clone)) => {
            clones_database(state, clone).await
        }
        MatrixOne::Branch(Branch::Diff { table, at, base, base_at, .. }) => {
            on_table_at(state, table, at.as_ref(), Privileges::SELECT).await?;
            on_table_at(state, base, base_at.as_ref(), Privileges::SELECT).await
        }
        MatrixOne::Branch(Branch::DeleteTable(table)) => on_table(state, table, Privileges::DROP),
        MatrixOne::Branch(Branch::DeleteDatabase(name)) => on_database(&state.rights, name, Privileges::DROP),
        MatrixOne::Branch(Branch::Merge { source, into, .. }) => {
            on_table(state, source, Privileges::SELECT)?;
            on_table(state, into, merged())
        }
        MatrixOne::Branch(Branch::Pick { source, at, into, .. }) => {
            on_table_at(state, source, at.as_ref(), Privileges::SELECT).await?;
            on_table(state, into, merged())
        }
    }
}

/// Whoever schedules takes snapshots, and says how long they stay. A schedule runs in the store's own name: it asks for
/// nothing when it runs, and goes on when its author is gone, since what it takes lets nobody read anything.
fn of_schedules() -> Privileges {
    Privileges::RETENTION | Privileges::SNAPSHOT
}

/// A merge reads its target, and changes any row of it.
fn merged() -> Privileges {
    Privileges::SELECT | Privileges::INSERT | Privileges::UPDATE | Privileges::DELETE
}

/// RESTORE on the target, SELECT on what is read; where something else stands in the way, DROP on that.
async fn restores(state: &State, restore: &Restore) -> Result<()> {
    if restore.with_grants {
        state.rights.require_one_of(Privileges::SUPER)?;
    }
    let scope = state.scope(&restore.target)?;
    let from = state.restored_from(&restore.from).await?;
    let when = Some(&from);
    let both = Privileges::RESTORE | Privileges::SELECT;
    let Some(to) = &restore.to else {
        // What is called otherwise now comes back under its name of then.
        if matches!(scope, Scope::Tables(..)) {
            on_scope(&state.rights, &scope, Privileges::RESTORE)?;
        }
        return on_scope_at(state, &scope, when, both).await;
    };
    on_scope_at(state, &scope, when, Privileges::SELECT).await?;
    let drop = if restore.overwrite { Privileges::DROP } else { Privileges::NONE };
    let needed = Privileges::RESTORE | drop;
    let (database, tables): (&str, Vec<&str>) = match (to, &scope) {
        (RestoreTo::Name(name), Scope::Tables(home, _)) => {
            (name.database.as_deref().unwrap_or(home), vec![name.name.as_str()])
        }
        (RestoreTo::Name(name), _) => (&name.name, Vec::new()),
        (RestoreTo::Database { database, table: Some(table) }, _) => (database, vec![table.as_str()]),
        (RestoreTo::Database { database, table: None }, Scope::Tables(_, tables)) => {
            (database, tables.iter().map(String::as_str).collect())
        }
        (RestoreTo::Database { database, table: None }, _) => (database, Vec::new()),
    };
    if tables.is_empty() {
        return on_database(&state.rights, database, needed);
    }
    if restore.create_database {
        on_database(&state.rights, database, Privileges::CREATE)?;
    }
    tables.iter().try_for_each(|table| state.rights.require_on_table(database, table, needed))
}

/// Asks for what the steps of a plan need that its statement did not say: DROP on what has to go.
///
/// # Errors
/// 1142, 1044
pub fn check_plan(rights: &Rights, plan: &RestorePlan) -> Result<()> {
    for step in &plan.steps {
        match step.action {
            Action::Drop => rights.require_on_table(&step.database, &step.table, Privileges::DROP)?,
            Action::DropDatabase => on_database(rights, &step.database, Privileges::DROP)?,
            Action::CreateDatabase
            | Action::Restore
            | Action::Create
            | Action::Rename
            | Action::KeepCopy
            | Action::Keep => {}
        }
    }
    Ok(())
}

/// What a commit did to tables is taken back with RESTORE and SELECT on each; what it created, with DROP too. Anything
/// else that it did needs RESTORE on `*.*`.
fn undoes(state: &State, version: Version) -> Result<()> {
    // It says itself that there is no such commit.
    let Some(entry) = state.engine.database().metastore().entry(version)? else { return Ok(()) };
    let present = state.engine.database().catalog();
    let mut tables: Vec<(TableId, Privileges)> = Vec::new();
    let needed = Privileges::RESTORE | Privileges::SELECT;
    for change in &entry.changes {
        match change {
            Change::PutTable(table) => tables.push((table.id, needed | Privileges::DROP)),
            Change::DropTable(id) | Change::PutContent(id, _) => tables.push((*id, needed)),
            _ => on_everything(&state.rights, Privileges::RESTORE)?,
        }
    }
    tables.extend(entry.deltas.iter().map(|delta| (delta.table, needed)));
    for (id, needed) in tables {
        let place = present.table_by_id(id).and_then(|table| {
            let database = present.database_by_id(table.database)?;
            Some((database.clone(), table.clone()))
        });
        match place {
            Some((database, table)) if database.account == state.account => {
                state.rights.require_on_table(&database.name, &table.name, needed)?;
            }
            // It is gone, or another account's.
            _ => match home_of_gone(state, id)? {
                Some(database) => on_database(&state.rights, &database, needed)?,
                None => on_everything(&state.rights, needed)?,
            },
        }
    }
    Ok(())
}

/// Returns the database in which a table of this account lay that is gone.
fn home_of_gone(state: &State, table: TableId) -> Result<Option<String>> {
    let rows = state.engine.database().metastore().object(strandline_core::catalog::ObjectKind::Table, table.0)?;
    let last = rows.iter().rev().find_map(|row| match &row.object {
        Change::PutTable(table) => Some(table.database),
        _ => None,
    });
    let present = state.engine.database().catalog();
    let home = last.and_then(|id| present.database_by_id(id).cloned());
    Ok(home.filter(|home| home.account == state.account).map(|home| home.name.clone()))
}

async fn clones(state: &State, clone: &CloneTable) -> Result<()> {
    on_table_at(state, &clone.source, clone.at.as_ref(), Privileges::SELECT).await?;
    on_table(state, &clone.table, Privileges::CREATE | Privileges::INSERT)
}

async fn clones_database(state: &State, clone: &CloneDatabase) -> Result<()> {
    let scope = Scope::Database(clone.source.clone());
    let at = address(state, clone.at.as_ref()).await?;
    on_scope_at(state, &scope, at.as_ref(), Privileges::SELECT).await?;
    on_database(&state.rights, &clone.database, Privileges::CREATE | Privileges::INSERT)
}

fn on_target(state: &State, target: &Target, all: Privileges) -> Result<()> {
    on_scope(&state.rights, &state.scope(target)?, all)
}

fn on_everything(rights: &Rights, all: Privileges) -> Result<()> {
    rights.require_all(all)
}

/// Asks for rights on a database, and names what is missing: MySQL's text does not.
fn on_database(rights: &Rights, database: &str, all: Privileges) -> Result<()> {
    let missing = all - rights.on_database(database);
    if missing.is_empty() {
        return Ok(());
    }
    let Error { message, .. } = rights.denied_database(database);
    Err(Error::new(1044, "42000", format!("{message}; you need {missing} on it")))
}

fn on_table(state: &State, table: &TableName, all: Privileges) -> Result<()> {
    let (database, table) = state.full_name(table)?;
    state.rights.require_on_table(&database, &table, all)
}

fn on_scope(rights: &Rights, scope: &Scope, all: Privileges) -> Result<()> {
    match scope {
        Scope::Cluster | Scope::Account(_) => on_everything(rights, all),
        Scope::Database(database) => on_database(rights, database, all),
        Scope::Tables(database, tables) => {
            tables.iter().try_for_each(|table| rights.require_on_table(database, table, all))
        }
    }
}

async fn on_table_at(state: &State, table: &TableName, when: Option<&When>, all: Privileges) -> Result<()> {
    let (database, name) = state.full_name(table)?;
    let when = address(state, when).await?;
    on_scope_at(state, &Scope::Tables(database, vec![name]), when.as_ref(), all).await
}

async fn address(state: &State, when: Option<&When>) -> Result<Option<when::When>> {
    match when {
        Some(when) => state.address(when).await.map(Some),
        None => Ok(None),
    }
}

/// Asks for rights on what a scope held at a moment, wherever that is now.
async fn on_scope_at(state: &State, scope: &Scope, when: Option<&when::When>, all: Privileges) -> Result<()> {
    let (database, tables) = match scope {
        Scope::Cluster | Scope::Account(_) => return on_everything(&state.rights, all),
        Scope::Database(database) => (database, None),
        Scope::Tables(database, tables) => (database, Some(tables)),
    };
    if tables.is_none() {
        on_database(&state.rights, database, all)?;
    }
    let store = state.engine.database();
    let then = match when {
        Some(when) => store.moment(&store.resolve(when, state.account)?)?,
        None => store.now(),
    };
    let now = store.catalog();
    let then = then.catalog();
    let Ok(home) = then.database(state.account, database) else {
        // There was none: the statement says so, to whoever may know.
        return tables.into_iter().flatten().try_for_each(|name| on_gone(&state.rights, database, name, all));
    };
    let Some(tables) = tables else {
        return then.tables_of(home.id).iter().try_for_each(|table| {
            let place = Place::of(&now, home, table);
            on_place(&state.rights, &place, &table.name, all)
        });
    };
    for name in tables {
        match then.table(home, name) {
            Ok(table) => on_place(&state.rights, &Place::of(&now, home, table), name, all)?,
            Err(_) => on_gone(&state.rights, database, name, all)?,
        }
    }
    Ok(())
}

fn on_place(rights: &Rights, place: &Place, name: &str, all: Privileges) -> Result<()> {
    if place.table.is_none() {
        return on_gone(rights, &place.database, name, all);
    }
    let missing = all - place.granted(rights);
    if missing.is_empty() { Ok(()) } else { Err(rights.denied_table(missing, name)) }
}

/// Asks for rights on a table that is not there now: its database's.
fn on_gone(rights: &Rights, database: &str, name: &str, all: Privileges) -> Result<()> {
    let missing = all - rights.on_database(database);
    if missing.is_empty() {
        return Ok(());
    }
    let error = rights.denied_table(missing, name);
    let message = format!("{}; it does not exist now: you need {missing} on database '{database}'", error.message);
    Err(Error { message, ..error })
}

/// Returns what a commit may be called to somebody: all of it if they may read all that it touched.
pub fn readable_commit(rights: &Rights, present: &Catalog, entry: &EntrySummary) -> bool {
    rights.has_one_of(Privileges::SELECT) || entry.tables.iter().all(|(id, ..)| reads_table(rights, present, *id))
}

/// Tells whether somebody may read a table that a commit touched.
pub fn reads_table(rights: &Rights, present: &Catalog, id: TableId) -> bool {
    if rights.has_one_of(Privileges::SELECT) {
        return true;
    }
    let Some(table) = present.table_by_id(id) else { return false };
    let Some(database) = present.database_by_id(table.database) else { return false };
    database.account == rights.account() && rights.on_table(&database.name, &table.name).has(Privileges::SELECT)
}
