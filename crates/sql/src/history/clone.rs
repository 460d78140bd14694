//! CLONE, and DATA BRANCH CREATE: another name for what a table or database holds. Nothing is copied.

use futures::future::BoxFuture;
use strandline_core::error::{Kind, What};
use strandline_core::moment::Moment;
use strandline_core::schema::same_name;
use strandline_core::txn::Txn;
use strandline_core::when::Limit;

use super::done;
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::interrupt::until;
use crate::parse::{CloneDatabase, CloneTable, When};
use crate::plan::{Source, find_table};
use crate::session::{Session, State, Work};
use crate::warning::Warning;

pub async fn table(session: &mut Session, clone: &CloneTable) -> Result<Outcome> {
    if clone.copy_grants {
        return Err(Error::unsupported("CLONE … COPY GRANTS"));
    }
    own_account(&session.state, clone.to_account.as_deref())?;
    let (home, name) = session.state.full_name(&clone.table)?;
    let (from, source) = session.state.full_name(&clone.source)?;
    let past = at(&session.state, clone.at.as_ref()).await?;
    if let Some((_, Some(limit))) = &past {
        limit.admits_table(&session.state.account_name, &from, &source)?;
    }
    let work = CloneOne { past, from: &from, source: &source, home: &home, name: &name };
    existing_is_fine(clone.if_not_exists, in_transaction(session, &work).await, session)
}

pub async fn database(session: &mut Session, clone: &CloneDatabase) -> Result<Outcome> {
    own_account(&session.state, clone.to_account.as_deref())?;
    let past = at(&session.state, clone.at.as_ref()).await?;
    if let Some((_, Some(limit))) = &past {
        limit.admits_scope(&strandline_core::log::Scope::Database(clone.source.clone()))?;
    }
    let work = CloneAll { past, clone };
    existing_is_fine(clone.if_not_exists, in_transaction(session, &work).await, session)
}

type Past = Option<(Moment, Option<Limit>)>;

struct CloneOne<'a> {
    past: Past,
    from: &'a str,
    source: &'a str,
    home: &'a str,
    name: &'a str,
}

impl CloneOne<'_> {
    async fn write(&self, state: &State, txn: &mut Txn) -> Result<()> {
        let now = txn.moment().clone();
        let reading = match &self.past {
            Some((moment, limit)) => Source::Moment(moment, limit.as_ref()),
            None => Source::Txn(txn),
        };
        let (_, source) = find_table(reading, state.account, self.from, self.source)?;
        if source.is_view() {
            return Err(Error::new(1347, "HY000", format!("'{}.{}' is not BASE TABLE", self.from, source.name)));
        }
        if let Some((_, Some(limit))) = &self.past {
            let all: Vec<_> = source.columns.iter().map(|column| column.id).collect();
            limit.admits_columns(&source, &all)?;
        }
        let moment = self.past.as_ref().map_or(&now, |(moment, _)| moment);
        txn.clone_table(moment, &source, state.account, self.home, self.name).await?;
        txn.set_what(format!("CREATE TABLE {}.{} CLONE {}.{}", self.home, self.name, self.from, source.name));
        Ok(())
    }
}

impl Work<()> for CloneOne<'_> {
    fn run<'a>(&'a self, state: &'a mut State, txn: &'a mut Txn) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.write(state, txn))
    }
}

struct CloneAll<'a> {
    past: Past,
    clone: &'a CloneDatabase,
}

impl Work<()> for CloneAll<'_> {
    fn run<'a>(&'a self, state: &'a mut State, txn: &'a mut Txn) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let now = txn.moment().clone();
            let moment = self.past.as_ref().map_or(&now, |(moment, _)| moment);
            let (source, name) = (&self.clone.source, &self.clone.database);
            txn.clone_database(moment, source, state.account, state.account, name).await?;
            txn.set_what(format!("CREATE DATABASE {name} CLONE {source}"));
            Ok(())
        })
    }
}

/// Carries out `work` in the open transaction, with which it is rolled back, or in one of its own.
async fn in_transaction(session: &mut Session, work: &dyn Work<()>) -> Result<()> {
    if !session.in_transaction() {
        return session.alone(work).await;
    }
    let ends = session.ends_without_hint();
    let (state, txn) = session.state_and_txn()?;
    let savepoint = txn.savepoint();
    let result = until(&ends, work.run(state, txn)).await;
    if result.is_err() {
        txn.rollback_to(&savepoint);
    }
    result
}

async fn at(state: &State, when: Option<&When>) -> Result<Past> {
    match when {
        Some(when) => state.moment_at(when).await.map(Some),
        None => Ok(None),
    }
}

fn own_account(state: &State, to: Option<&str>) -> Result<()> {
    match to {
        Some(account) if !same_name(account, &state.account_name) => {
            Err(Error::unsupported("CLONE … TO ACCOUNT of another account"))
        }
        _ => Ok(()),
    }
}

fn existing_is_fine(if_not_exists: bool, result: Result<()>, session: &mut Session) -> Result<Outcome> {
    match result {
        Err(error)
            if if_not_exists
                && matches!(error.kind, Some(Kind::AlreadyExists(What::Table | What::View | What::Database))) =>
        {
            session.state.warnings.push(Warning::note(error.code, error.message));
            Ok(done())
        }
        result => result.map(|()| done()),
    }
}
