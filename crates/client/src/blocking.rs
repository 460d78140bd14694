//! The same client without async: each call waits for its end.
//!
//! ```no_run
//! use strandline_client::{CreateSnapshot, Scope, blocking};
//!
//! # fn main() -> strandline_client::Result<()> {
//! let mut client = blocking::Client::connect("strandline://root@127.0.0.1:6001")?;
//! client.snapshots().create(CreateSnapshot::new("nightly", Scope::database("shop")))?;
//! # Ok(())
//! # }
//! ```
//! Not for use inside an async runtime, whose thread it would hold.

use std::sync::OnceLock;

use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::clones;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::link::Canceller;
use crate::pitr::{self, PitrPolicy, Range};
use crate::restore::{self, RecoveryPoint, Restore, RestoreResult, RestoreSnapshot, RestoreStep};
use crate::retention::{self, CleanupResult, Retained, RetentionStep, Rules};
use crate::schedule::{self, CreateSchedule, Schedule};
use crate::scope::{Scope, When};
use crate::snapshot::{self, CreateSnapshot, Snapshot, SnapshotFilter};
use crate::sql::TableName;
use crate::value::{Column, Value};
use crate::{ResultSet, client, transaction};

/// Runs `work` to its end on the runtime that all blocking clients of the process share.
fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        // Statements are parsed and planned by recursion: the pages are only used where one goes deep.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().worker_threads(2).thread_stack_size(16 << 20).build().expect("threads can be started")
    });
    runtime.block_on(work)
}

/// A session at a server, or in the engine of this process: one statement at a time.
pub struct Client(client::Client);

impl Client {
    /// Connects and logs in: with a [`Config`], or with its URL.
    pub fn connect<C>(config: C) -> Result<Client>
    where
        C: TryInto<Config>,
        Error: From<C::Error>,
    {
        wait(client::Client::connect(config)).map(Client)
    }

    /// Opens the store in a folder, in this process, as root; makes it if it is not there.
    #[cfg(feature = "embedded")]
    pub fn open(folder: impl AsRef<std::path::Path>) -> Result<Client> {
        wait(client::Client::open(folder)).map(Client)
    }

    pub fn canceller(&self) -> Canceller {
        self.0.canceller()
    }

    /// Runs a statement and reads all that it returns into memory.
    pub fn query(&mut self, sql: &str) -> Result<ResultSet> {
        wait(self.0.query(sql))
    }

    /// Runs one statement in which each `?` stands for a parameter.
    pub fn query_with(&mut self, sql: &str, parameters: &[Value]) -> Result<ResultSet> {
        wait(self.0.query_with(sql, parameters))
    }

    /// Runs a statement and returns its rows as they come.
    pub fn stream(&mut self, sql: &str) -> Result<Rows<'_>> {
        wait(self.0.stream(sql)).map(Rows)
    }

    /// Runs a query against a snapshot. Names without a database mean the snapshot's own.
    pub fn query_snapshot(&mut self, snapshot: &str, sql: &str) -> Result<ResultSet> {
        wait(self.0.query_snapshot(snapshot, sql))
    }

    /// Begins a transaction. It is rolled back unless it is committed.
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        wait(self.0.begin()).map(Transaction)
    }

    pub fn close(self) -> Result<()> {
        wait(self.0.close())
    }
}

/// The rows of a statement, as they come.
pub struct Rows<'a>(client::Rows<'a>);

impl Rows<'_> {
    pub fn columns(&self) -> &[Column] {
        self.0.columns()
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Vec<Value>>;

    fn next(&mut self) -> Option<Result<Vec<Value>>> {
        wait(self.0.next()).transpose()
    }
}

/// An open transaction. Dropping it rolls it back.
#[must_use = "what is not committed is rolled back"]
pub struct Transaction<'a>(transaction::Transaction<'a>);

impl Transaction<'_> {
    pub fn query(&mut self, sql: &str) -> Result<ResultSet> {
        wait(self.0.query(sql))
    }

    pub fn snapshots(&mut self) -> Snapshots<'_> {
        Snapshots(self.0.snapshots())
    }

    pub fn commit(self) -> Result<()> {
        wait(self.0.commit())
    }

    pub fn rollback(self) -> Result<()> {
        wait(self.0.rollback())
    }
}

/// The verbs of the async client, each of which waits.
macro_rules! verbs {
    ($($getter:ident $name:ident over $inner:ty {
        $(fn $verb:ident($($argument:ident: $ty:ty),*) -> $result:ty;)*
    })*) => {
        $(
            #[doc = concat!("[`", stringify!($inner), "`], waiting for the end of each verb.")]
            pub struct $name<'a>($inner);

            impl Client {
                pub fn $getter(&mut self) -> $name<'_> {
                    $name(self.0.$getter())
                }
            }

            impl $name<'_> {
                $(pub fn $verb(&mut self, $($argument: $ty),*) -> Result<$result> {
                    wait(self.0.$verb($($argument),*))
                })*
            }
        )*
    };
}

verbs! {
    snapshots Snapshots over snapshot::Snapshots<'a> {
        fn create(create: CreateSnapshot) -> Snapshot;
        fn list(filter: &SnapshotFilter) -> Vec<Snapshot>;
        fn get(name: &str) -> Option<Snapshot>;
        fn find(name: &str) -> Snapshot;
        fn delete(name: &str) -> ();
        fn delete_if_exists(name: &str) -> bool;
        fn delete_cascade(name: &str) -> ();
        fn delete_older_than(time: Timestamp, filter: &SnapshotFilter) -> Vec<String>;
    }
    restore Restores over restore::Restores<'a> {
        fn run(restore: &Restore) -> RestoreResult;
        fn plan(restore: &Restore) -> Vec<RestoreStep>;
        fn snapshot(wanted: &RestoreSnapshot) -> RestoreResult;
        fn tables(wanted: &RestoreSnapshot) -> RestoreResult;
        fn plan_snapshot(wanted: &RestoreSnapshot) -> Vec<RestoreStep>;
        fn cluster(snapshot: &str) -> RestoreResult;
        fn account(snapshot: &str, account: &str) -> RestoreResult;
        fn database(snapshot: &str, account: &str, database: &str) -> RestoreResult;
        fn recovery_points(scope: &Scope, from: Option<When>, to: Option<When>) -> Vec<RecoveryPoint>;
    }
    pitr Pitr over pitr::Pitr<'a> {
        fn create(name: &str, scope: &Scope, range: Range) -> PitrPolicy;
        fn alter(name: &str, range: Range) -> PitrPolicy;
        fn delete(name: &str) -> ();
        fn list() -> Vec<PitrPolicy>;
        fn get(name: &str) -> Option<PitrPolicy>;
        fn restore(name: &str, time: &When, restore: &Restore) -> RestoreResult;
    }
    clones Clones over clones::Clones<'a> {
        fn database(source: &str, target: &str, at: &When) -> ();
        fn table(source: &TableName, target: &TableName, at: &When) -> ();
    }
    retention Retention over retention::Retention<'a> {
        fn set(scope: &Scope, rules: &Rules) -> ();
        fn list() -> Vec<Retained>;
        fn delete(scope: &Scope) -> ();
        fn plan(scope: &Scope) -> Vec<RetentionStep>;
        fn apply(scope: &Scope) -> CleanupResult;
        fn apply_once(scope: &Scope, rules: &Rules) -> CleanupResult;
    }
    schedules Schedules over schedule::Schedules<'a> {
        fn create(create: &CreateSchedule) -> ();
        fn list() -> Vec<Schedule>;
        fn pause(name: &str) -> ();
        fn resume(name: &str) -> ();
        fn delete(name: &str) -> ();
    }
}
