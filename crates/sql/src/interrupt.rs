//! The way to end a running statement from another task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Ends the statement that runs in a session. Clones are the same.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Default)]
struct Inner {
    killed: AtomicBool,
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

    /// Forgets a kill that came for an earlier statement.
    pub(crate) fn clear(&self) {
        self.0.killed.store(false, Ordering::SeqCst);
    }

    /// Waits for a kill.
    pub(crate) async fn killed(&self) {
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
