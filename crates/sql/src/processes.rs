//! Who is connected and what they run: for SHOW PROCESSLIST, KILL and shutdown.
//!
//! A front end registers each connection and says what it is doing; anything may look and may end one. This never
//! decides who may kill whom: the statement that kills checks that first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::passwords::hide_passwords;

/// How much of a running statement SHOW FULL PROCESSLIST can tell, in bytes.
const INFO_BYTES_MAX: usize = 4096;

// In the order of urgency: a kill is never softened to a shutdown.
const OPEN: u8 = 0;
const SHUT_DOWN: u8 = 1;
const KILLED: u8 = 2;

/// All connections of one server.
#[derive(Default)]
pub struct Processes {
    last_id: AtomicU32,
    open: Mutex<BTreeMap<u32, Arc<Process>>>,
}

/// One connection, as its own task sees it.
pub struct Process {
    id: u32,
    host: String,
    doing: Mutex<Doing>,
    closing: AtomicU8,
    close: Notify,
}

struct Doing {
    user: String,
    database: Option<String>,
    command: &'static str,
    since: Instant,
    info: String,
    interrupt: Option<Interrupt>,
}

/// One row of SHOW PROCESSLIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    pub id: u32,
    pub user: String,
    pub host: String,
    pub database: Option<String>,
    /// `Query`, `Sleep`, `Execute`, `Connect` and so on.
    pub command: &'static str,
    /// How long it has been at it.
    pub seconds: u64,
    /// The statement that runs, cut at a few kilobytes, without passwords. Its other literals are not hidden.
    pub info: Option<String>,
}

/// Why a connection was asked to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    Killed,
    ShutDown,
}

impl Processes {
    pub fn new() -> Arc<Processes> {
        Arc::new(Processes::default())
    }

    /// Enters a connection that has not logged in yet. It leaves when the registration is dropped.
    pub fn register(self: &Arc<Self>, host: String) -> Registration {
        let mut open = self.open.lock();
        let id = loop {
            // Ids wrap after 4 billion connections: skip those still in use, and 0, which means none.
            let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && !open.contains_key(&id) {
                break id;
            }
        };
        let doing = Doing {
            user: "unauthenticated user".to_owned(),
            database: None,
            command: "Connect",
            since: Instant::now(),
            info: String::new(),
            interrupt: None,
        };
        let process = Arc::new(Process {
            id,
            host,
            doing: Mutex::new(doing),
            closing: AtomicU8::new(OPEN),
            close: Notify::new(),
        });
        open.insert(id, process.clone());
        Registration { processes: self.clone(), process }
    }

    /// Returns what every connection is doing, in the order in which they came.
    pub fn list(&self) -> Vec<ProcessInfo> {
        self.open.lock().values().map(|process| process.info()).collect()
    }

    /// Returns the user of a connection: who may kill it depends on that.
    pub fn user(&self, id: u32) -> Option<String> {
        Some(self.open.lock().get(&id)?.doing.lock().user.clone())
    }

    /// Ends the running statement of a connection, and the connection too unless `query_only`. Error 1094 if there
    /// is no such connection.
    pub fn kill(&self, id: u32, query_only: bool) -> Result<()> {
        let process = self.open.lock().get(&id).cloned();
        let process = process.ok_or_else(|| Error::new(1094, "HY000", format!("Unknown thread id: {id}")))?;
        if !query_only {
            process.ask_to_close(KILLED);
        }
        process.interrupt();
        Ok(())
    }

    /// Asks every connection to close as soon as its running statement has ended.
    pub fn shut_down(&self) {
        self.open.lock().values().for_each(|process| process.ask_to_close(SHUT_DOWN));
    }

    /// Ends every running statement and every connection.
    pub fn kill_all(&self) {
        self.open.lock().values().for_each(|process| process.kill());
    }

    /// Returns the number of connections, logged in or not.
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }
}

impl Process {
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The address that the client came from.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Says who logged in, and how to interrupt them.
    pub fn logged_in(&self, user: &str, database: Option<&str>, interrupt: Interrupt) {
        let mut doing = self.doing.lock();
        doing.user = user.to_owned();
        doing.database = database.map(str::to_owned);
        doing.interrupt = Some(interrupt);
    }

    /// Says what the connection does from now on, and for which statement.
    pub fn begin(&self, command: &'static str, info: &str) {
        let mut doing = self.doing.lock();
        // Whoever sees the statement in the list may kill it, even before the session has begun it.
        if let Some(interrupt) = &doing.interrupt {
            interrupt.announce();
        }
        doing.command = command;
        doing.since = Instant::now();
        doing.info.clear();
        doing.info.push_str(&info[..info.floor_char_boundary(INFO_BYTES_MAX)]);
    }

    /// Says that the connection waits for its client, with this default database.
    pub fn rest(&self, database: Option<&str>) {
        let mut doing = self.doing.lock();
        if doing.database.as_deref() != database {
            doing.database = database.map(str::to_owned);
        }
        doing.command = "Sleep";
        doing.since = Instant::now();
        doing.info.clear();
    }

    /// Returns whether and why the connection should close.
    pub fn closing(&self) -> Option<Closing> {
        match self.closing.load(Ordering::Acquire) {
            OPEN => None,
            SHUT_DOWN => Some(Closing::ShutDown),
            _ => Some(Closing::Killed),
        }
    }

    /// Waits until somebody asks the connection to close.
    pub async fn asked_to_close(&self) -> Closing {
        loop {
            if let Some(closing) = self.closing() {
                return closing;
            }
            self.close.notified().await;
        }
    }

    /// Waits until somebody kills the connection. A shutdown lets it finish what it does.
    pub async fn killed(&self) {
        while self.closing() != Some(Closing::Killed) {
            self.close.notified().await;
        }
    }

    /// Asks the connection to close at once.
    pub fn kill(&self) {
        self.ask_to_close(KILLED);
        self.interrupt();
    }

    fn ask_to_close(&self, why: u8) {
        self.closing.fetch_max(why, Ordering::AcqRel);
        // `notify_one` keeps a permit, so that the one task that listens misses nothing between its check and its
        // wait.
        self.close.notify_one();
    }

    fn interrupt(&self) {
        if let Some(interrupt) = &self.doing.lock().interrupt {
            interrupt.kill_query();
        }
    }

    fn info(&self) -> ProcessInfo {
        let doing = self.doing.lock();
        ProcessInfo {
            id: self.id,
            user: doing.user.clone(),
            host: self.host.clone(),
            database: doing.database.clone(),
            command: doing.command,
            seconds: doing.since.elapsed().as_secs(),
            info: (!doing.info.is_empty()).then(|| hide_passwords(&doing.info).into_owned()),
        }
    }
}

/// Keeps a connection in the list until it is dropped.
#[must_use]
pub struct Registration {
    processes: Arc<Processes>,
    pub process: Arc<Process>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.processes.open.lock().remove(&self.process.id);
    }
}
