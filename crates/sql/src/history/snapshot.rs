//! CREATE, SHOW and DROP SNAPSHOT.

use strandline_core::error::{Kind, What};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::log::{Pin, Scope};
use strandline_core::txn::Author;
use strandline_core::when;

use super::done;
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::{CreateSnapshot, Filter, When};
use crate::session::{Session, State};
use crate::show::answer::{CellKind, answer, row};
use crate::warning::Warning;

pub async fn create(session: &mut Session, create: &CreateSnapshot) -> Result<Outcome> {
    for (given, what) in [
        (create.incremental_from.is_some(), "CREATE SNAPSHOT … INCREMENTAL FROM"),
        (create.compression, "CREATE SNAPSHOT … COMPRESSION"),
        (create.retain.is_some(), "CREATE SNAPSHOT … RETAIN"),
    ] {
        if given {
            return Err(Error::unsupported(what));
        }
    }
    let scope = session.state.scope(&create.target)?;
    let comment = create.comment.clone().unwrap_or_default();
    let result = match (&create.at, session.in_transaction()) {
        (None, true) => inside(session, create, scope, &comment),
        (at, _) => {
            let when = match at {
                Some(when) => session.state.address(when).await?,
                None => when::When::Now,
            };
            let spec =
                SnapshotSpec { name: create.name.clone(), scope, columns: create.columns.clone(), when, comment };
            let author = session.state.author();
            session.state.engine.database().create_snapshot(&spec, &author).await.map(|_| ()).map_err(Error::from)
        }
    };
    match result {
        Err(error) if create.if_not_exists && error.kind == Some(Kind::AlreadyExists(What::Snapshot)) => {
            session.state.warnings.push(Warning::note(error.code, error.message));
            Ok(done())
        }
        result => result.map(|()| done()),
    }
}

/// Takes a snapshot that means the open transaction's commit.
fn inside(session: &mut Session, create: &CreateSnapshot, scope: Scope, comment: &str) -> Result<()> {
    let account = session.state.account;
    let txn = session.txn()?;
    let columns = match &scope {
        Scope::Database(name) => {
            txn.catalog().database(account, name)?;
            Vec::new()
        }
        Scope::Tables(name, tables) => {
            let database = txn.catalog().database(account, name)?.clone();
            let mut ids = Vec::new();
            for table in tables {
                let table = txn.catalog().table(&database, table)?;
                for name in &create.columns {
                    let column = table.column(name).ok_or_else(|| Error::unknown_column(name, &table.name))?;
                    ids.push(column.id);
                }
            }
            ids
        }
        _ => Vec::new(),
    };
    if !create.columns.is_empty() && !matches!(&scope, Scope::Tables(_, tables) if tables.len() == 1) {
        return Err(Error::wrong_arguments("COLUMNS needs a snapshot of exactly one table."));
    }
    txn.create_snapshot(&create.name, scope, comment, columns)?;
    Ok(())
}

pub async fn drop(session: &mut Session, name: &str, if_exists: bool) -> Result<Outcome> {
    let author = session.state.author();
    match session.state.engine.database().drop_snapshot(name, &author).await {
        Err(error) if if_exists && error.kind() == Kind::NotFound(What::Snapshot) => {
            let error = Error::from(error);
            session.state.warnings.push(Warning::note(error.code, error.message));
            Ok(done())
        }
        result => result.map(|_| done()).map_err(Error::from),
    }
}

/// MatrixOne's six columns, and ours behind them. TIMESTAMP is UTC.
pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let database = session.state.engine.database().clone();
    let mut rows = Vec::new();
    for pin in database.snapshots(session.state.account)? {
        if !session.state.rights.sees_scope(&pin.scope) {
            continue;
        }
        let (of_account, of_database, of_table) = names(&pin);
        let columns = columns_of(&session.state, &pin).await?;
        let bytes = database.snapshot_bytes(&pin).await?;
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
            crate::show::answer::Cell::Float((bytes as f64 / 1e4).round() / 1e2),
            &pin.author,
        ]);
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
    ];
    crate::statements::filtered(session, answer(&columns, rows)?, filter).await
}

/// Returns the names of account, database and tables that a snapshot is about, empty where it is not about one.
fn names(pin: &Pin) -> (String, String, String) {
    match &pin.scope {
        Scope::Cluster => (String::new(), String::new(), String::new()),
        Scope::Account(account) => (account.clone(), String::new(), String::new()),
        Scope::Database(database) => (String::new(), database.clone(), String::new()),
        Scope::Tables(database, tables) => (String::new(), database.clone(), tables.join(",")),
    }
}

async fn columns_of(state: &State, pin: &Pin) -> Result<String> {
    if pin.columns.is_empty() {
        return Ok(String::new());
    }
    let (moment, _) = state.moment_at(&When::Snapshot(pin.name.clone())).await?;
    let table = strandline_core::history::snapshot::tables_of(moment.catalog(), pin.account, &pin.scope);
    let name = |id| table.first().and_then(|table| table.column_by_id(id)).map_or("?", |column| column.name.as_str());
    Ok(pin.columns.iter().map(|id| name(*id)).collect::<Vec<_>>().join(","))
}

impl State {
    /// Returns in whose name this session commits.
    pub(crate) fn author(&self) -> Author {
        Author { account: self.account, name: self.author.clone() }
    }
}
