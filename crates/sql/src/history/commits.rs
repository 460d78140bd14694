//! SHOW COMMITS and SHOW RECOVERY POINTS.

use strandline_core::grants::Privileges;
use strandline_core::ids::Time;
use strandline_core::log::Scope;
use strandline_core::when;

use crate::access;
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::{Target, When};
use crate::session::{Session, State};
use crate::show::answer::{CellKind, answer, row};
use crate::statements::rows_of;

/// How many entries are listed where the statement does not say.
const LIMIT: u64 = 1000;

pub fn commits(session: &mut Session, target: Option<&Target>, limit: Option<u64>) -> Result<Outcome> {
    let state = &session.state;
    let scope = match target {
        Some(target) => state.scope(target)?,
        None if state.account == strandline_core::db::SYS => Scope::Cluster,
        None => Scope::Account(state.account_name.clone()),
    };
    let database = state.engine.database();
    let entries = database.commits(state.account, &scope, limit.unwrap_or(LIMIT) as usize)?;
    let now = database.now();
    let mut rows = Vec::new();
    for entry in entries {
        // Of a commit that touched more than the reader may read, only what was asked for is told.
        let what = match access::history::readable_commit(&state.rights, now.catalog(), &entry) {
            true => entry.head.what.as_str(),
            false => "(touches tables that you may not read)",
        };
        let seen: Vec<_> = entry
            .tables
            .iter()
            .filter(|(id, ..)| access::history::reads_table(&state.rights, now.catalog(), *id))
            .collect();
        let (puts, deletes) = seen.iter().fold((0, 0), |sum, (_, puts, deletes)| (sum.0 + puts, sum.1 + deletes));
        let tables: Vec<String> = seen
            .iter()
            .map(|(id, ..)| match now.catalog().table_by_id(*id) {
                Some(table) => {
                    let home = now.catalog().database_by_id(table.database);
                    format!("{}.{}", home.map_or("?", |home| home.name.as_str()), table.name)
                }
                None => format!("(dropped table {id})"),
            })
            .collect();
        rows.push(row![
            entry.head.version.0,
            entry.head.time.to_string(),
            &entry.head.author,
            what,
            tables.join(", "),
            puts,
            deletes,
        ]);
    }
    let columns = [
        ("version", CellKind::UInt),
        ("time", CellKind::Text),
        ("author", CellKind::Text),
        ("what", CellKind::Text),
        ("tables", CellKind::Text),
        ("rows_put", CellKind::UInt),
        ("rows_deleted", CellKind::UInt),
    ];
    Ok(Outcome::Rows(rows_of(answer(&columns, rows)?)))
}

pub async fn recovery_points(
    session: &mut Session,
    target: &Target,
    from: Option<&When>,
    to: Option<&When>,
) -> Result<Outcome> {
    let state = &session.state;
    let scope = state.scope(target)?;
    let from = match from {
        Some(from) => Some(time_of(state, from).await?),
        None => None,
    };
    let to = match to {
        Some(to) => Some(time_of(state, to).await?),
        None => None,
    };
    // What a commit is called may name tables beside those of the scope.
    let whole = match &scope {
        Scope::Tables(database, _) => state.rights.on_database(database).has(Privileges::SELECT),
        _ => true,
    };
    let points = state.engine.database().recovery_points(state.account, &scope, from, to, LIMIT as usize)?;
    let rows = points
        .into_iter()
        .map(|mut point| {
            if point.kind == "commit" && !whole {
                point.name.clear();
            }
            point
        })
        .map(|point| row![point.time.to_string(), point.version.0, point.kind, point.name, point.author])
        .collect();
    let columns = [
        ("time", CellKind::Text),
        ("version", CellKind::UInt),
        ("type", CellKind::Text),
        ("name", CellKind::Text),
        ("author", CellKind::Text),
    ];
    Ok(Outcome::Rows(rows_of(answer(&columns, rows)?)))
}

/// Returns the time that a bound of a list means; it may lie outside what can be recovered.
pub(super) async fn time_of(state: &State, when: &When) -> Result<Time> {
    Ok(match state.address(when).await? {
        when::When::Now => state.now,
        when::When::Time(time) => time,
        address @ (when::When::Version(_) | when::When::Snapshot(_) | when::When::Pitr(..)) => {
            state.engine.database().resolve(&address, state.account).map_err(Error::from)?.time
        }
    })
}
