//! CLONE, and DATA BRANCH CREATE: another name for what a table or database holds. Nothing is copied.

use strandline_core::error::{Kind, What};
use strandline_core::log::Pin;
use strandline_core::moment::Moment;
use strandline_core::txn::Txn;

use super::done;
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::parse::{CloneDatabase, CloneTable, When};
use crate::session::{Session, State};
use crate::warning::Warning;

pub async fn table(session: &mut Session, clone: &CloneTable) -> Result<Outcome> {
    if clone.copy_grants {
        return Err(Error::unsupported("CLONE … COPY GRANTS"));
    }
    own_account(&session.state, clone.to_account.as_deref())?;
    let (home, name) = session.state.full_name(&clone.table)?;
    let (from, source) = session.state.full_name(&clone.source)?;
    let past = at(&session.state, clone.at.as_ref()).await?;
    if let Some((_, Some(pin))) = &past {
        pin.admits_table(&session.state.account_name, &from, &source)?;
    }
    let work = |state: &State, txn: &mut Txn| -> Result<()> {
        let now = txn.moment().clone();
        let moment = past.as_ref().map_or(&now, |(moment, _)| moment);
        let database = moment.catalog().database(state.account, &from)?;
        let source = moment.catalog().table(database, &source)?.clone();
        if let Some((_, Some(pin))) = &past {
            let all: Vec<_> = source.columns.iter().map(|column| column.id).collect();
            pin.admits_columns(&source, &all)?;
        }
        txn.clone_table(moment, &source, state.account, &home, &name)?;
        txn.set_what(format!("CREATE TABLE {home}.{name} CLONE {from}.{}", source.name));
        Ok(())
    };
    existing_is_fine(clone.if_not_exists, in_transaction(session, work).await, session)
}

pub async fn database(session: &mut Session, clone: &CloneDatabase) -> Result<Outcome> {
    own_account(&session.state, clone.to_account.as_deref())?;
    let past = at(&session.state, clone.at.as_ref()).await?;
    if let Some((_, Some(pin))) = &past {
        pin.admits_scope(&strandline_core::log::Scope::Database(clone.source.clone()))?;
    }
    let work = |state: &State, txn: &mut Txn| -> Result<()> {
        let now = txn.moment().clone();
        let moment = past.as_ref().map_or(&now, |(moment, _)| moment);
        txn.clone_database(moment, &clone.source, state.account, state.account, &clone.database)?;
        txn.set_what(format!("CREATE DATABASE {} CLONE {}", clone.database, clone.source));
        Ok(())
    };
    existing_is_fine(clone.if_not_exists, in_transaction(session, work).await, session)
}

/// Carries out `work` in the open transaction, with which it is rolled back, or in one of its own.
async fn in_transaction(session: &mut Session, work: impl Fn(&State, &mut Txn) -> Result<()>) -> Result<()> {
    if !session.in_transaction() {
        return session.alone(async |state, txn| work(state, txn)).await;
    }
    session.check_writable()?;
    let (state, txn) = session.state_and_txn()?;
    let savepoint = txn.savepoint();
    let result = work(state, txn);
    if result.is_err() {
        txn.rollback_to(&savepoint);
    }
    result
}

async fn at(state: &State, when: Option<&When>) -> Result<Option<(Moment, Option<Pin>)>> {
    match when {
        Some(when) => state.moment_at(when).await.map(Some),
        None => Ok(None),
    }
}

fn own_account(state: &State, to: Option<&str>) -> Result<()> {
    match to {
        Some(account) if !account.eq_ignore_ascii_case(&state.account_name) => {
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
