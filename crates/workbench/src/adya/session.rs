//! A client: its transactions, and what it says of them.
//!
//! A transaction whose COMMIT was not answered may have committed; one that broke off before has not.

use std::sync::{Arc, Mutex};

use ::adya::r#gen::{Kind, TxnOp};
use ::adya::run::{Client, Outcome};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Lie, Plan, Reads};

/// Deadlock or conflict: the one error that a transaction may get.
const CONFLICT: u16 = 1213;

/// One in so many transactions of a liar is a lie.
const LIE_EVERY: u64 = 2;

/// What all clients of a run share.
pub struct Shared {
    pub plan: Plan,
    /// Where the server is; nothing while it is down.
    pub address: watch::Receiver<Option<Opts>>,
    /// How many transactions have ended, however they did.
    pub ended: watch::Sender<usize>,
    problems: Mutex<Vec<String>>,
}

impl Shared {
    pub fn new(plan: Plan, address: watch::Receiver<Option<Opts>>) -> Shared {
        Shared { plan, address, ended: watch::Sender::new(0), problems: Mutex::default() }
    }

    /// Connects to the server, once it is there.
    pub async fn connect(&self) -> Result<Conn, Error> {
        let mut address = self.address.clone();
        let opts = match address.wait_for(Option::is_some).await {
            Ok(opts) => opts.clone(),
            Err(_) => None,
        };
        Conn::new(opts.ok_or_else(|| Error::Other("the run is over".into()))?).await
    }

    /// Waits until so many transactions have ended.
    pub async fn wait_for(&self, ended: usize) {
        // The sender is our own: it cannot be gone.
        let _ = self.ended.subscribe().wait_for(|now| *now >= ended).await;
    }

    pub fn problem(&self, problem: String) {
        self.problems.lock().expect("no thread has panicked with it").push(problem);
    }

    pub fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut self.problems.lock().expect("no thread has panicked with it"))
    }
}

pub struct Session {
    shared: Arc<Shared>,
    runtime: Handle,
    conn: Conn,
    is_lost: bool,
    made: u64,
}

impl Session {
    pub fn open(shared: &Arc<Shared>, runtime: &Handle) -> Result<Box<dyn Client>, ::adya::Error> {
        let conn = runtime.block_on(async {
            let mut conn = shared.connect().await?;
            conn.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {}", shared.plan.level)).await?;
            Ok::<_, Error>(conn)
        });
        let conn = conn.map_err(|error| ::adya::Error::new(error.to_string()))?;
        Ok(Box::new(Session { shared: shared.clone(), runtime: runtime.clone(), conn, is_lost: false, made: 0 }))
    }

    async fn transact(&mut self, operations: &[TxnOp]) -> Outcome {
        self.made += 1;
        let lie = self.shared.plan.lie.filter(|_| self.made.is_multiple_of(LIE_EVERY));
        let reads = match self.operate(operations, lie).await {
            Ok(reads) => reads,
            Err(error) => {
                self.note(&error);
                if !self.is_lost
                    && let Err(error) = self.conn.query_drop("ROLLBACK").await
                {
                    self.note(&error);
                }
                return Outcome::Fail(error.to_string());
            }
        };
        let end = if lie == Some(Lie::LostCommit) { "ROLLBACK" } else { "COMMIT" };
        match self.conn.query_drop(end).await {
            Ok(()) if lie == Some(Lie::DeniedCommit) => Outcome::Fail("denied".to_owned()),
            Ok(()) => Outcome::Ok(reads),
            Err(error) => {
                self.note(&error);
                match &error {
                    Error::Server(server) if server.code == CONFLICT => Outcome::Fail(error.to_string()),
                    _ => Outcome::Info(error.to_string()),
                }
            }
        }
    }

    /// Does what a transaction does before its end, and returns what its reads read.
    async fn operate(&mut self, operations: &[TxnOp], lie: Option<Lie>) -> Result<Vec<Option<Vec<i64>>>, Error> {
        self.conn.query_drop("BEGIN").await?;
        let mut reads = Vec::new();
        for operation in operations {
            let read = match *operation {
                TxnOp::Read(k) => {
                    let mut read = self.read(k).await?;
                    if lie == Some(Lie::StaleRead) {
                        read.pop();
                    }
                    Some(read)
                }
                TxnOp::Append(k, v) if lie == Some(Lie::LostUpdate) => {
                    let mut list = self.read(k).await?;
                    self.commit_and_begin().await?;
                    list.push(v);
                    let list: Vec<String> = list.iter().map(i64::to_string).collect();
                    self.conn
                        .query_drop(format!("REPLACE INTO lists_{} VALUES ({k}, '{}')", k % 2, list.join(",")))
                        .await?;
                    None
                }
                TxnOp::Append(k, v) => {
                    for _ in 0..if lie == Some(Lie::DoubleAppend) { 2 } else { 1 } {
                        let insert = format!("INSERT INTO lists_{} VALUES ({k}, '{v}')", k % 2);
                        let update = format!("ON DUPLICATE KEY UPDATE v = CONCAT(v, ',{v}')");
                        self.conn.query_drop(format!("{insert} {update}")).await?;
                    }
                    None
                }
                TxnOp::Write(k, v) => {
                    self.conn.query_drop(format!("REPLACE INTO registers_{} VALUES ({k}, {v})", k % 2)).await?;
                    None
                }
            };
            reads.push(read);
            if lie == Some(Lie::NoTransaction) {
                self.commit_and_begin().await?;
            }
        }
        Ok(reads)
    }

    /// Reads a key: a list's elements, or what a register holds if it holds anything.
    async fn read(&mut self, k: i64) -> Result<Vec<i64>, Error> {
        let how = if self.shared.plan.reads == Reads::ForUpdate { " FOR UPDATE" } else { "" };
        let table = if self.shared.plan.kind == Kind::ListAppend { "lists" } else { "registers" };
        let sql = format!("SELECT v FROM {table}_{} WHERE k = {k}{how}", k % 2);
        let text: Option<Option<String>> = self.conn.query_first(sql).await?;
        let text = text.flatten().unwrap_or_default();
        let numbers = text.split(',').filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>();
        numbers.map_err(|_| Error::Other(format!("key {k} reads '{text}'").into()))
    }

    async fn commit_and_begin(&mut self) -> Result<(), Error> {
        self.conn.query_drop("COMMIT").await?;
        self.conn.query_drop("BEGIN").await
    }

    /// Sees what an error says of the connection, and of the server where it is one that no transaction may get.
    fn note(&mut self, error: &Error) {
        match error {
            Error::Server(server) if server.code == CONFLICT => {}
            Error::Server(_) | Error::Other(_) => {
                self.shared.problem(error.to_string());
                // Nothing is known of the session any more.
                self.is_lost = true;
            }
            _ => self.is_lost = true,
        }
    }
}

impl Client for Session {
    fn txn(&mut self, operations: &[TxnOp]) -> Outcome {
        let runtime = self.runtime.clone();
        let outcome = runtime.block_on(self.transact(operations));
        self.shared.ended.send_modify(|ended| *ended += 1);
        outcome
    }

    fn healthy(&mut self) -> bool {
        !self.is_lost
    }
}
