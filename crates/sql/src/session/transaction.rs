//! The transaction of a session: from BEGIN, or the first statement without autocommit, to COMMIT or ROLLBACK.
//!
//! ```text
//! none ─ BEGIN ─► not begun ─ its first statement ─► here ─ COMMIT, ROLLBACK ─► none
//!                                                    ▲  │ lend
//!                                          take_back │  ▼
//!                                                    away, in a load
//! ```
//! It takes its moment when it begins. Nothing here reads or writes a row.

use strandline_core::log::Pin;
use strandline_core::schema::same_name;
use strandline_core::txn::{Savepoint, Txn};
use tokio::sync::oneshot;

use super::{AsOf, Session, State};
use crate::error::{Error, Result};
use crate::parse::When;
use crate::warning::Warning;

/// An open transaction.
pub(super) struct Open {
    /// Begun by its first statement, which is when it takes its moment.
    txn: Holding,
    read_only: bool,
    /// Nobody said BEGIN: autocommit is off.
    implicit: bool,
    savepoints: Vec<(String, Savepoint)>,
    /// `START TRANSACTION READ ONLY AS OF`.
    as_of: Option<AsOf>,
}

/// Where the transaction is.
enum Holding {
    NotBegun,
    Here(Box<Txn>),
    /// A load works in it, and sends it back.
    Away(oneshot::Receiver<Box<Txn>>),
}

impl Session {
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Tells whether there is a transaction that a snapshot belongs to: one that was begun by a statement, or that has
    /// written something. What autocommit=0 opened for a SELECT is nothing that a client thinks of.
    pub(crate) fn has_work(&self) -> bool {
        self.open.as_ref().is_some_and(|open| match &open.txn {
            Holding::Here(txn) => !open.implicit || !txn.is_empty(),
            Holding::NotBegun | Holding::Away(_) => true,
        })
    }

    /// Tells whether the open transaction has written something.
    pub(crate) fn has_writes(&self) -> bool {
        self.begun().is_some_and(|txn| !txn.is_empty())
    }

    /// Returns the snapshots that the open transaction takes with its commit.
    pub(crate) fn pending_snapshots(&self) -> &[Pin] {
        self.begun().map_or(&[], |txn| txn.snapshots())
    }

    /// Returns the open transaction if a statement of it has run and nobody else works in it.
    pub(super) fn begun(&self) -> Option<&Txn> {
        match self.open.as_ref().map(|open| &open.txn) {
            Some(Holding::Here(txn)) => Some(txn),
            _ => None,
        }
    }

    /// Tells whether a statement is a transaction of its own.
    pub(super) fn autocommits(&self) -> bool {
        self.open.is_none() && self.autocommit()
    }

    /// Returns the past that the transaction or the session was set to.
    pub(super) fn past(&self) -> Option<&AsOf> {
        self.open.as_ref().and_then(|open| open.as_of.as_ref()).or(self.state.as_of.as_ref())
    }

    /// Fails if this session may not write now.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if let Some(as_of) = &self.state.as_of {
            let message = format!(
                "The session reads a moment of the past ('{}') and cannot write. Go back to the present with SET as_of = ''.",
                as_of.text
            );
            return Err(Error::new(1792, "25006", message));
        }
        let read_only = match &self.open {
            Some(open) => open.read_only,
            None => self.next_read_only.unwrap_or_else(|| self.state.variables.transaction_read_only()),
        };
        if read_only {
            return Err(Error::new(1792, "25006", "Cannot execute statement in a READ ONLY transaction."));
        }
        Ok(())
    }

    /// SET TRANSACTION READ ONLY | READ WRITE: for the next transaction only.
    pub(crate) fn set_next_read_only(&mut self, read_only: bool) {
        self.next_read_only = Some(read_only);
    }

    /// Notes that a statement was a transaction of its own: SET TRANSACTION was for that one.
    pub(crate) fn autocommitted(&mut self) {
        if self.open.is_none() {
            self.next_read_only = None;
        }
    }

    /// START TRANSACTION: commits the open one. `at` is the past that the new one reads.
    pub(super) async fn begin(&mut self, read_only: bool, at: Option<&When>) -> Result<()> {
        self.commit().await?;
        let as_of = match at {
            Some(when) => Some(self.state.as_of(when, "START TRANSACTION").await?),
            None => None,
        };
        let next_read_only = self.next_read_only.take();
        let read_only = read_only
            || as_of.is_some()
            || next_read_only.unwrap_or_else(|| self.state.variables.transaction_read_only());
        self.open = Some(Open { txn: Holding::NotBegun, read_only, implicit: false, savepoints: Vec::new(), as_of });
        Ok(())
    }

    /// Returns the transaction that is open, or that autocommit=0 opens now.
    pub(crate) fn txn(&mut self) -> Result<&mut Txn> {
        self.state_and_txn().map(|(_, txn)| txn)
    }

    /// As `txn`, with the session's state beside it.
    pub(crate) fn state_and_txn(&mut self) -> Result<(&mut State, &mut Txn)> {
        self.open_transaction();
        match self.open.as_mut().map(|open| &mut open.txn) {
            Some(Holding::Here(txn)) => Ok((&mut self.state, txn)),
            _ => Err(lost_transaction()),
        }
    }

    /// Returns the open transaction; opens one if there is none (autocommit is off).
    pub(super) fn open_transaction(&mut self) -> &mut Txn {
        let read_only = match self.open {
            Some(_) => false,
            None => self.next_read_only.take().unwrap_or_else(|| self.state.variables.transaction_read_only()),
        };
        let open = self.open.get_or_insert_with(|| Open {
            txn: Holding::NotBegun,
            read_only,
            implicit: true,
            savepoints: Vec::new(),
            as_of: None,
        });
        if !matches!(open.txn, Holding::Here(_)) {
            open.txn = Holding::Here(Box::new(self.state.begin()));
        }
        match &mut open.txn {
            Holding::Here(txn) => txn,
            _ => unreachable!("the transaction was put there just now"),
        }
    }

    /// Commits the open transaction, if there is one.
    ///
    /// # Errors
    /// 1213 when another transaction changed the same rows first; everything is rolled back then.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        match self.open.take().map(|open| open.txn) {
            Some(Holding::Here(txn)) => {
                txn.commit().await?;
                Ok(())
            }
            Some(Holding::Away(_)) => Err(lost_transaction()),
            Some(Holding::NotBegun) | None => Ok(()),
        }
    }

    /// COMMIT. With AND CHAIN the next transaction opens at once.
    pub(super) async fn commit_and_chain(&mut self, chain: bool) -> Result<()> {
        let read_only = self.open.as_ref().is_some_and(|open| open.read_only);
        self.commit().await?;
        self.chain(chain, read_only);
        Ok(())
    }

    /// ROLLBACK. With AND CHAIN the next transaction opens at once.
    pub(super) fn roll_back(&mut self, chain: bool) {
        let read_only = self.open.take().is_some_and(|open| open.read_only);
        self.chain(chain, read_only);
    }

    fn chain(&mut self, chain: bool, read_only: bool) {
        if chain {
            let (savepoints, as_of) = (Vec::new(), None);
            self.open = Some(Open { txn: Holding::NotBegun, read_only, implicit: false, savepoints, as_of });
        }
    }

    /// SAVEPOINT: an older one of this name goes. Outside a transaction it means nothing.
    pub(super) fn set_savepoint(&mut self, name: &str) {
        if !self.autocommits() {
            let savepoint = self.open_transaction().savepoint();
            let open = self.open.as_mut().expect("a transaction was opened above");
            open.savepoints.retain(|(other, _)| !same_name(other, name));
            open.savepoints.push((name.to_owned(), savepoint));
        }
    }

    /// ROLLBACK TO SAVEPOINT: the savepoint stays, younger ones go.
    ///
    /// # Errors
    /// 1305 where there is none of this name.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| no_savepoint(name))?;
        let at = open.savepoints.iter().position(|(other, _)| same_name(other, name));
        let at = at.ok_or_else(|| no_savepoint(name))?;
        let Holding::Here(txn) = &mut open.txn else { return Err(lost_transaction()) };
        txn.rollback_to(&open.savepoints[at].1);
        open.savepoints.truncate(at + 1);
        Ok(())
    }

    /// RELEASE SAVEPOINT: it goes, and younger ones with it.
    ///
    /// # Errors
    /// 1305 where there is none of this name.
    pub(super) fn release_savepoint(&mut self, name: &str) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| no_savepoint(name))?;
        let at = open.savepoints.iter().position(|(other, _)| same_name(other, name));
        open.savepoints.truncate(at.ok_or_else(|| no_savepoint(name))?);
        Ok(())
    }

    /// Hands the open transaction to a load, with the way to bring it back; none where the load is to have its own.
    pub(crate) fn lend(&mut self) -> Option<(Box<Txn>, oneshot::Sender<Box<Txn>>)> {
        if self.autocommits() {
            return None;
        }
        self.open_transaction();
        let open = self.open.as_mut()?;
        let (sender, receiver) = oneshot::channel();
        match std::mem::replace(&mut open.txn, Holding::Away(receiver)) {
            Holding::Here(txn) => Some((txn, sender)),
            other => {
                open.txn = other;
                None
            }
        }
    }

    /// Returns where a load reports its warnings to.
    pub(crate) fn loading(&mut self) -> oneshot::Sender<Vec<Warning>> {
        let (sender, receiver) = oneshot::channel();
        self.loading = Some(receiver);
        sender
    }

    /// Waits for a load that is under way, and takes back what it was lent.
    pub(crate) async fn take_back(&mut self) -> Result<()> {
        if let Some(loading) = self.loading.take()
            && let Ok(warnings) = loading.await
        {
            self.state.warnings = warnings;
        }
        if let Some(open) = &mut self.open
            && let Holding::Away(back) = &mut open.txn
        {
            match back.await {
                Ok(txn) => open.txn = Holding::Here(txn),
                Err(_) => {
                    self.open = None;
                    return Err(Error::internal(
                        "The transaction was lost with a load that was given up; it is rolled back.",
                    ));
                }
            }
        }
        Ok(())
    }
}

fn no_savepoint(name: &str) -> Error {
    Error::new(1305, "42000", format!("SAVEPOINT {name} does not exist"))
}

fn lost_transaction() -> Error {
    Error::internal("A load still works in the transaction")
}
