//! How a statement that changes something runs: in the open transaction, or in one of its own.
//!
//! One of its own is tried again when it loses its commit to another. In the open one a statement that fails is taken
//! back to where it began; a lost row is for the client to hear of.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use strandline_core::error::Kind;
use strandline_core::ids::TableId;
use strandline_core::txn::Txn;

use super::{Session, State};
use crate::api::{Done, Value};
use crate::dml;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::interrupt::{interruptible, until};
use crate::parse::Parsed;

/// Something to do in a transaction, more than once if the commit is lost. (A trait and not a closure: a closure's
/// future cannot promise to be `Send` for every lifetime of what it borrows.)
pub(crate) trait Work<T>: Sync {
    fn run<'a>(&'a self, state: &'a mut State, txn: &'a mut Txn) -> BoxFuture<'a, Result<T>>;
}

impl Session {
    /// Carries out a statement that changes rows, in the open transaction or in one of its own.
    pub(super) async fn write(&mut self, parsed: &Parsed, parameters: &[Value]) -> Result<Done> {
        self.check_writable()?;
        let interrupt = self.interrupt();
        if !self.autocommits() {
            let (state, txn) = self.state_and_txn()?;
            txn.set_foreign_key_checks(state.variables.foreign_key_checks());
            let savepoint = txn.savepoint();
            let work = dml::execute(state, txn, &parsed.statement, &parsed.text, parameters);
            return match interruptible(&interrupt, work).await {
                Ok(effect) => Ok(state.done_of(effect)),
                Err(error) => {
                    txn.rollback_to(&savepoint);
                    if error.kind == Some(Kind::Conflict) {
                        self.open = None;
                    }
                    Err(error)
                }
            };
        }
        let mut retry = Retry::new(&self.state);
        loop {
            let mut txn = self.state.begin();
            let work = dml::execute(&mut self.state, &mut txn, &parsed.statement, &parsed.text, parameters);
            let done = interruptible(&interrupt, work).await;
            let table = txn.written_tables().next();
            let result = match done {
                // A commit is not interrupted: nobody could say whether it happened.
                Ok(effect) => txn.commit().await.map(|_| effect).map_err(Error::from),
                Err(error) => Err(error),
            };
            match result {
                Ok(effect) => {
                    self.autocommitted();
                    return Ok(self.state.done_of(effect));
                }
                Err(error) => interruptible(&interrupt, retry.again(error, table)).await?,
            }
            self.state.warnings.clear();
        }
    }

    /// Carries out `work` in a transaction of its own, after committing the open one, as MySQL's definitions do. A lost
    /// commit is tried again. Up to its commit it ends with a kill, or when its time is up.
    pub(crate) async fn alone<T>(&mut self, work: &dyn Work<T>) -> Result<T> {
        self.check_writable()?;
        self.commit().await?;
        let ends = self.ends_without_hint();
        let mut retry = Retry::new(&self.state);
        loop {
            let mut txn = self.state.begin();
            let running = async {
                let value = work.run(&mut self.state, &mut txn).await?;
                // Who was killed while it computed without a pause does not commit.
                tokio::task::yield_now().await;
                Ok(value)
            };
            let result = match until(&ends, running).await {
                Ok(value) => txn.commit().await.map(|_| value).map_err(Error::from),
                Err(error) => Err(error),
            };
            match result {
                Ok(value) => {
                    self.autocommitted();
                    return Ok(value);
                }
                Err(error) => until(&ends, retry.again(error, None)).await?,
            }
            self.state.warnings.clear();
        }
    }
}

/// Runs a statement again that lost its commit to another, as long as `innodb_lock_wait_timeout` allows.
struct Retry {
    engine: Arc<Engine>,
    tries: u32,
    seconds: u64,
    until: tokio::time::Instant,
    /// Held once a commit was lost, to the end of the statement: of those that lost, one at a time tries again.
    turn: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Retry {
    fn new(state: &State) -> Retry {
        let seconds = state.variables.lock_wait_timeout();
        let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
        Retry { engine: state.engine.clone(), tries: 0, seconds, until, turn: None }
    }

    /// Waits until it is this statement's turn to run again. `table` is what it wrote to.
    ///
    /// # Errors
    /// The error itself unless it is a conflict; 1205 when the time is up.
    async fn again(&mut self, error: Error, table: Option<TableId>) -> Result<()> {
        if error.kind != Some(Kind::Conflict) {
            return Err(error);
        }
        self.tries += 1;
        let wait = async {
            match table {
                Some(table) if self.turn.is_none() => self.turn = Some(self.engine.turn_of(table).lock_owned().await),
                // A little longer each time, so that two that keep losing to each other part.
                _ => tokio::time::sleep(Duration::from_micros(50 << self.tries.min(8))).await,
            }
        };
        if tokio::time::timeout_at(self.until, wait).await.is_ok() && tokio::time::Instant::now() < self.until {
            return Ok(());
        }
        let message = format!(
            "Lock wait timeout exceeded; try restarting transaction. Others committed changes of the same rows first for {} \
             seconds (innodb_lock_wait_timeout).",
            self.seconds
        );
        Err(Error::new(1205, "HY000", message))
    }
}
