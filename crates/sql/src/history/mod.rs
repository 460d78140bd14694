//! The statements about history: one verb per file, over the core's verbs.
//!
//! RESTORE, UNDROP and UNDO are as MySQL's DDL: an open transaction is committed first. CREATE SNAPSHOT of now and CLONE
//! belong to an open transaction and go with its rollback. Everything else stands beside the log: it neither ends a
//! transaction nor belongs to one, and no rollback takes it back.

use strandline_core::error::{Kind, What};
use strandline_core::history::snapshot::{Term, TermUnit};
use strandline_core::log;
use strandline_core::schema::same_name;
use strandline_core::when::{When, parse_time};

use crate::access;
use crate::api::{Done, Outcome};
use crate::error::{Error, Result};
use crate::interrupt::until;
use crate::parse::{Branch, HistoryStatement, MatrixOne, Period, PeriodUnit, RestoreFrom, Scope, TableName, Target};
use crate::session::{Session, State};
use crate::warning::Warning;

mod clone;
mod collect;
mod commits;
mod diff;
mod jobs;
pub mod lost;
mod pitr;
mod restore;
mod retention;
mod schedule;
mod snapshot;

/// Carries out a statement about history. What takes long ends with a kill, or when its time is up.
pub async fn execute(session: &mut Session, statement: &HistoryStatement) -> Result<Outcome> {
    let ends = session.ends_without_hint();
    if let Err(error) = until(&ends, access::history::check(session, statement)).await {
        return forgiving(session, Err(error), forgiven(statement));
    }
    if only_reads(statement) {
        return Box::pin(until(&ends, carry_out(session, statement))).await;
    }
    session.check_writable()?;
    carry_out(session, statement).await
}

async fn carry_out(session: &mut Session, statement: &HistoryStatement) -> Result<Outcome> {
    match statement {
        HistoryStatement::CreateSnapshot(create) => snapshot::create(session, create).await,
        HistoryStatement::DropSnapshot { names, cascade, explain: true, .. } => {
            snapshot::explain_drop(session, names, *cascade).await
        }
        HistoryStatement::DropSnapshot { names, if_exists, cascade, explain: false } => {
            snapshot::drop(session, names, *if_exists, *cascade)
        }
        HistoryStatement::DropSnapshots { target, older_than, cascade, explain } => {
            snapshot::drop_older(session, target, older_than, *cascade, *explain).await
        }
        HistoryStatement::ShowSnapshots { filter } => snapshot::show(session, filter.as_ref()).await,
        HistoryStatement::Restore(restore) => restore::restore(session, restore).await,
        HistoryStatement::Undrop(undrop) => restore::undrop(session, undrop).await,
        HistoryStatement::Undo(undo) => restore::undo(session, *undo).await,
        HistoryStatement::ShowRecoveryPoints { target, from, to } => {
            commits::recovery_points(session, target, from.as_ref(), to.as_ref()).await
        }
        HistoryStatement::ShowCommits { target, limit } => commits::commits(session, target.as_ref(), *limit),
        HistoryStatement::Diff(diff) => diff::diff(session, diff).await,
        HistoryStatement::SetRetention { target, rules } => retention::set(session, target, rules),
        HistoryStatement::ApplyRetention { target, rules, explain } => {
            retention::apply(session, target, rules.as_ref(), *explain)
        }
        HistoryStatement::ShowRetention { filter } => retention::show(session, filter.as_ref()).await,
        HistoryStatement::DropRetention { target, if_exists } => retention::drop(session, target, *if_exists),
        HistoryStatement::CreateSchedule(create) => schedule::create(session, create),
        HistoryStatement::AlterSchedule { name, paused } => schedule::pause(session, name, *paused),
        HistoryStatement::DropSchedule { name, if_exists } => schedule::drop(session, name, *if_exists),
        HistoryStatement::ShowSchedules { filter } => schedule::show(session, filter.as_ref()).await,
        HistoryStatement::ShowJobs { filter } => jobs::show(session, filter.as_ref()).await,
        HistoryStatement::CancelJob { id } => jobs::cancel(session, *id),
        HistoryStatement::Collect { explain: true } => collect::explain(session).await,
        HistoryStatement::Collect { explain: false } => collect::collect(session).await,
        HistoryStatement::MatrixOne(statement) => matrixone(session, statement).await,
    }
}

/// Tells whether a statement changes nothing, so that a session that may not write may run it, and it may end anywhere.
fn only_reads(statement: &HistoryStatement) -> bool {
    use HistoryStatement as H;
    match statement {
        H::ShowSnapshots { .. }
        | H::ShowRecoveryPoints { .. }
        | H::ShowCommits { .. }
        | H::ShowSchedules { .. }
        | H::ShowJobs { .. }
        | H::Diff(_)
        | H::ShowRetention { .. } => true,
        H::ApplyRetention { explain, .. } | H::DropSnapshots { explain, .. } | H::DropSnapshot { explain, .. } => {
            *explain
        }
        H::Restore(restore) => restore.explain,
        H::Undrop(undrop) => undrop.explain,
        H::Undo(undo) => undo.explain,
        H::Collect { explain } => *explain,
        H::MatrixOne(statement) => matches!(
            statement,
            MatrixOne::ShowPitr { .. } | MatrixOne::ShowRecoveryWindow { .. } | MatrixOne::Branch(Branch::Diff { .. })
        ),
        H::CreateSnapshot(_)
        | H::SetRetention { .. }
        | H::DropRetention { .. }
        | H::CreateSchedule(_)
        | H::AlterSchedule { .. }
        | H::DropSchedule { .. }
        | H::CancelJob { .. } => false,
    }
}

async fn matrixone(session: &mut Session, statement: &MatrixOne) -> Result<Outcome> {
    match statement {
        MatrixOne::CreatePitr { name, if_not_exists, target, range, internal } => {
            not_internal(*internal)?;
            pitr::create(session, name, *if_not_exists, target.as_ref(), *range)
        }
        MatrixOne::AlterPitr { name, if_exists, range } => pitr::alter(session, name, *if_exists, *range),
        MatrixOne::DropPitr { name, if_exists, internal } => {
            not_internal(*internal)?;
            pitr::drop(session, name, *if_exists)
        }
        MatrixOne::ShowPitr { filter } => pitr::show(session, filter.as_ref()).await,
        MatrixOne::ShowRecoveryWindow { target } => pitr::recovery_window(session, target),
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

/// MatrixOne's own bookkeeping makes policies that nobody sees; there are none here.
fn not_internal(internal: bool) -> Result<()> {
    if internal { Err(Error::unsupported("PITR … INTERNAL")) } else { Ok(()) }
}

/// Returns the error that IF EXISTS of a statement speaks of.
fn forgiven(statement: &HistoryStatement) -> Option<Kind> {
    match statement {
        HistoryStatement::DropSnapshot { if_exists: true, .. } => Some(Kind::NotFound(What::Snapshot)),
        HistoryStatement::DropSchedule { if_exists: true, .. } => Some(Kind::NotFound(What::Schedule)),
        HistoryStatement::MatrixOne(
            MatrixOne::AlterPitr { if_exists: true, .. } | MatrixOne::DropPitr { if_exists: true, .. },
        ) => Some(Kind::NotFound(What::Pitr)),
        _ => None,
    }
}

/// Lets IF [NOT] EXISTS turn the error that it speaks of into a note.
fn forgiving(session: &mut Session, result: Result<()>, forgiven: Option<Kind>) -> Result<Outcome> {
    match result {
        Err(error) if forgiven.is_some() && error.kind == forgiven => {
            session.state.warnings.push(Warning::note(error.code, error.message));
            Ok(done())
        }
        result => result.map(|()| done()),
    }
}

/// Returns the names of account, database and tables that a scope is about; `none` where it is not about one.
fn names(own_account: &str, scope: &log::Scope, none: &str) -> (String, String, String) {
    let none = none.to_owned();
    let own = own_account.to_owned();
    match scope {
        log::Scope::Cluster => (none.clone(), none.clone(), none),
        log::Scope::Account(account) => (account.clone(), none.clone(), none),
        log::Scope::Database(database) => (own, database.clone(), none),
        log::Scope::Tables(database, tables) => (own, database.clone(), tables.join(",")),
    }
}

/// Turns a length of time as a statement words it into the core's terms.
fn term_of(period: Period) -> Term {
    let unit = match period.unit {
        PeriodUnit::Minute => TermUnit::Minute,
        PeriodUnit::Hour => TermUnit::Hour,
        PeriodUnit::Day => TermUnit::Day,
        PeriodUnit::Week => TermUnit::Week,
        PeriodUnit::Month => TermUnit::Month,
        PeriodUnit::Year => TermUnit::Year,
    };
    Term { count: period.count, unit }
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

    /// Returns the moment that a restore brings back.
    pub(crate) async fn restored_from(&self, from: &RestoreFrom) -> Result<When> {
        match from {
            RestoreFrom::When(when) => self.address(when).await,
            RestoreFrom::Pitr { name, time, source_account } => {
                if source_account.as_ref().is_some_and(|source| !source.eq_ignore_ascii_case(&self.account_name)) {
                    return Err(Error::unsupported("RESTORE … FROM PITR of another account"));
                }
                Ok(When::Pitr(name.clone(), parse_time(time, self.now, self.variables.time_zone())?))
            }
        }
    }

    /// Turns a scope as a statement words it into the core's terms.
    pub(crate) fn scope(&self, target: &Target) -> Result<log::Scope> {
        if let Some(account) = &target.account
            && !same_name(account, &self.account_name)
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
            Scope::Tables { database, tables } => {
                let twice =
                    tables.iter().enumerate().find(|(at, name)| tables[..*at].iter().any(|n| same_name(n, name)));
                if let Some((_, name)) = twice {
                    return Err(Error::new(1066, "42000", format!("Not unique table/alias: '{name}'")));
                }
                log::Scope::Tables(self.home(database.as_deref())?, tables.clone())
            }
        };
        let own = match &scope {
            log::Scope::Cluster => self.account == strandline_core::db::SYS,
            log::Scope::Account(name) => {
                self.account == strandline_core::db::SYS || same_name(name, &self.account_name)
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
