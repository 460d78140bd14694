//! The statements about history: one verb per file, over the core's verbs.
//!
//! They define what the store is, as MySQL's DDL does: an open transaction is committed first. CREATE SNAPSHOT and CLONE
//! are the exceptions: inside a transaction they belong to it and go with its rollback.

use strandline_core::log;

use crate::access;
use crate::api::{Done, Outcome};
use crate::error::{Error, Result};
use crate::parse::{Branch, HistoryStatement, MatrixOne, Scope, TableName, Target};
use crate::session::{Session, State};

mod clone;
mod commits;
mod diff;
mod restore;
mod snapshot;

/// Carries out a statement about history.
pub async fn execute(session: &mut Session, statement: &HistoryStatement) -> Result<Outcome> {
    access::history::check(session, statement).await?;
    match statement {
        HistoryStatement::CreateSnapshot(create) => snapshot::create(session, create).await,
        HistoryStatement::DropSnapshot { name, if_exists, .. } => snapshot::drop(session, name, *if_exists).await,
        HistoryStatement::ShowSnapshots { filter } => snapshot::show(session, filter.as_ref()).await,
        HistoryStatement::Restore(restore) => restore::restore(session, restore).await,
        HistoryStatement::Undrop(undrop) => restore::undrop(session, undrop).await,
        HistoryStatement::Undo(undo) => restore::undo(session, *undo).await,
        HistoryStatement::ShowRecoveryPoints { target, from, to } => {
            commits::recovery_points(session, target, from.as_ref(), to.as_ref()).await
        }
        HistoryStatement::ShowCommits { target, limit } => commits::commits(session, target.as_ref(), *limit),
        HistoryStatement::Diff(diff) => diff::diff(session, diff).await,
        HistoryStatement::SetRetention { .. } => Err(Error::unsupported("SET RETENTION")),
        HistoryStatement::ExplainRetention { .. } => Err(Error::unsupported("EXPLAIN RETENTION")),
        HistoryStatement::ApplyRetention { .. } => Err(Error::unsupported("APPLY RETENTION")),
        HistoryStatement::CreateSchedule(_) => Err(Error::unsupported("CREATE SCHEDULE")),
        HistoryStatement::DropSchedule { .. } => Err(Error::unsupported("DROP SCHEDULE")),
        HistoryStatement::ShowSchedules { .. } => Err(Error::unsupported("SHOW SCHEDULES")),
        HistoryStatement::MatrixOne(statement) => matrixone(session, statement).await,
    }
}

async fn matrixone(session: &mut Session, statement: &MatrixOne) -> Result<Outcome> {
    match statement {
        MatrixOne::CreatePitr { .. } => Err(Error::unsupported("CREATE PITR")),
        MatrixOne::AlterPitr { .. } => Err(Error::unsupported("ALTER PITR")),
        MatrixOne::DropPitr { .. } => Err(Error::unsupported("DROP PITR")),
        MatrixOne::ShowPitr { .. } => Err(Error::unsupported("SHOW PITR")),
        MatrixOne::ShowRecoveryWindow { .. } => Err(Error::unsupported("SHOW RECOVERY_WINDOW")),
        MatrixOne::CloneTable(clone) | MatrixOne::Branch(Branch::CreateTable(clone)) => {
            clone::table(session, clone).await
        }
        MatrixOne::CloneDatabase(clone) | MatrixOne::Branch(Branch::CreateDatabase(clone)) => {
            clone::database(session, clone).await
        }
        MatrixOne::Branch(Branch::Diff { table, at, base, base_at, columns, output }) => {
            if !columns.is_empty() {
                return Err(Error::unsupported("DATA BRANCH DIFF … COLUMNS"));
            }
            diff::branch(session, (table, at.as_ref()), (base, base_at.as_ref()), output).await
        }
        MatrixOne::Branch(Branch::DeleteTable(_) | Branch::DeleteDatabase(_)) => {
            Err(Error::unsupported("DATA BRANCH DELETE"))
        }
        MatrixOne::Branch(Branch::Merge { .. }) => Err(Error::unsupported("DATA BRANCH MERGE")),
        MatrixOne::Branch(Branch::Pick { .. }) => Err(Error::unsupported("DATA BRANCH PICK")),
    }
}

fn done() -> Outcome {
    Outcome::Done(Done::default())
}

impl State {
    /// Returns the database that a statement names, or the session's.
    pub(crate) fn home(&self, database: Option<&str>) -> Result<String> {
        database
            .or(self.database.as_deref())
            .map(str::to_owned)
            .ok_or_else(|| Error::new(1046, "3D000", "No database selected"))
    }

    pub(crate) fn full_name(&self, table: &TableName) -> Result<(String, String)> {
        Ok((self.home(table.database.as_deref())?, table.name.clone()))
    }

    /// Turns a scope as a statement words it into the core's terms.
    pub(crate) fn scope(&self, target: &Target) -> Result<log::Scope> {
        if let Some(account) = &target.account
            && !account.eq_ignore_ascii_case(&self.account_name)
        {
            return Err(Error::unsupported(format!("history of another account ('{account}')")));
        }
        let scope = match &target.scope {
            Scope::Cluster => log::Scope::Cluster,
            Scope::Account(name) => log::Scope::Account(name.clone().unwrap_or_else(|| self.account_name.clone())),
            Scope::Database(name) => log::Scope::Database(name.clone()),
            Scope::Table(table) => {
                let (database, name) = self.full_name(table)?;
                log::Scope::Tables(database, vec![name])
            }
            Scope::Tables { database, tables } => log::Scope::Tables(self.home(database.as_deref())?, tables.clone()),
        };
        let own = match &scope {
            log::Scope::Cluster => self.account == strandline_core::db::SYS,
            log::Scope::Account(name) => {
                self.account == strandline_core::db::SYS || name.eq_ignore_ascii_case(&self.account_name)
            }
            _ => true,
        };
        if !own {
            return Err(Error::new(1227, "42000", "Access denied; only account 'sys' reaches beyond its own account"));
        }
        if let log::Scope::Database(name) | log::Scope::Tables(name, _) = &scope
            && crate::ddl::is_virtual(name)
        {
            return Err(Error::new(1105, "HY000", format!("'{name}' is made up by the server: it has no history")));
        }
        Ok(scope)
    }
}
