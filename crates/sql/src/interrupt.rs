//! What ends a running statement before it is done: another task that kills it, or its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strandline_core::error::Kind;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::parse::Parsed;
use crate::session::Session;

/// Ends the statement that runs in a session. Clones are the same.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Default)]
struct Inner {
    killed: AtomicBool,
    /// A front end announced the next statement: a kill since then is meant for it.
    announced: AtomicBool,
    notify: Notify,
}

impl Interrupt {
    /// Ends the running statement with error 1317. Without one, nothing happens.
    pub fn kill_query(&self) {
        self.0.killed.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    pub fn is_killed(&self) -> bool {
        self.0.killed.load(Ordering::SeqCst)
    }

    /// Forgets a kill that came for an earlier statement, before others hear of the next one.
    pub(crate) fn announce(&self) {
        self.clear();
        self.0.announced.store(true, Ordering::SeqCst);
    }

    /// Announces one more statement of a text: a kill since the text was announced ends what is left of it.
    pub fn announce_next(&self) {
        self.0.announced.store(true, Ordering::SeqCst);
    }

    /// Begins a statement: forgets a kill that came for an earlier one, but keeps one that came since the announcement.
    pub(crate) fn begin(&self) {
        if !self.0.announced.swap(false, Ordering::SeqCst) {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.announced.store(false, Ordering::SeqCst);
        self.0.killed.store(false, Ordering::SeqCst);
    }

    /// Waits for a kill.
    pub async fn killed(&self) {
        loop {
            let notified = self.0.notify.notified();
            tokio::pin!(notified);
            // Registered before the look at the flag: a kill between the two is not missed.
            notified.as_mut().enable();
            if self.is_killed() {
                return;
            }
            notified.await;
        }
    }
}

/// What ends a statement before it is done: a kill, or its time is up.
#[derive(Clone)]
pub(crate) struct Ends {
    pub interrupt: Interrupt,
    pub deadline: Option<Instant>,
}

impl Ends {
    /// As `reached`, for verbs of the core that can be stopped: notes why.
    pub async fn stop(&self, why: &mut Option<Error>) {
        *why = Some(self.reached().await);
    }

    /// Waits until the statement must end, and says why.
    pub async fn reached(&self) -> Error {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.interrupt.killed() => interrupted(),
            () = late => {
                let message = "Query execution was interrupted, maximum statement execution time exceeded";
                Error::new(3024, "HY000", message)
            }
        }
    }
}

impl Session {
    /// Returns what ends a SELECT: a kill, or the time that its hint or `max_execution_time` gives it.
    pub(crate) fn ends(&self, parsed: &Parsed) -> Ends {
        self.ends_after(parsed.max_execution_ms)
    }

    /// As `ends`, for what can have no hint.
    pub(crate) fn ends_without_hint(&self) -> Ends {
        self.ends_after(None)
    }

    fn ends_after(&self, hint: Option<u64>) -> Ends {
        let millis = hint.unwrap_or_else(|| self.state.variables.max_execution_ms());
        let deadline = (millis > 0).then(|| Instant::now() + Duration::from_millis(millis));
        Ends { interrupt: self.interrupt(), deadline }
    }
}

/// Runs `work` until it is done or the statement must end.
pub(crate) async fn until<T>(ends: &Ends, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        error = ends.reached() => Err(error),
        result = work => result,
    }
}

/// Runs `work` until it is done or somebody kills the query.
pub(crate) async fn interruptible<T>(interrupt: &Interrupt, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = interrupt.killed() => Err(interrupted()),
        result = work => result,
    }
}

/// Tells whether a statement failed because it had to end.
pub(crate) fn is_end(error: &Error) -> bool {
    matches!(error.code, 1317 | 3024)
}

/// Says why a statement had to end where the core only knows that it was stopped.
pub(crate) fn worded<T>(result: strandline_core::error::Result<T>, why: Option<Error>) -> Result<T> {
    match (result, why) {
        (Err(error), Some(why)) if error.kind() == Kind::Cancelled => Err(why),
        (result, _) => result.map_err(Error::from),
    }
}

/// 1317: somebody killed the query.
pub(crate) fn interrupted() -> Error {
    Error::new(1317, "70100", "Query execution was interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_between_announcement_and_begin_is_kept() {
        let interrupt = Interrupt::default();
        interrupt.kill_query();
        interrupt.announce();
        assert!(!interrupt.is_killed(), "meant for the statement before");
        interrupt.kill_query();
        interrupt.begin();
        assert!(interrupt.is_killed());
        // The next statement of the same text.
        interrupt.announce_next();
        interrupt.begin();
        assert!(interrupt.is_killed());
        // One without a front end.
        interrupt.begin();
        assert!(!interrupt.is_killed());
    }
}
