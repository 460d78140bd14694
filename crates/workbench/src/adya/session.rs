//! A client: its transactions, and what it says of them.
//!
//! A transaction whose COMMIT was not answered may have committed; one that broke off before has not.
//!
//! Each statement is text or prepared, and each write takes one of the ways that there are, by chance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ::adya::r#gen::TxnOp;
use ::adya::run::{Client, Outcome};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, Params, Row, Value};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
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
    /// How often the server was killed and started again.
    pub kills: AtomicU64,
    /// How many sessions were opened: each has a chance of its own.
    opened: AtomicU64,
    problems: Mutex<Vec<String>>,
}

impl Shared {
    pub fn new(plan: Plan, address: watch::Receiver<Option<Opts>>) -> Shared {
        Shared {
            plan,
            address,
            ended: watch::Sender::new(0),
            kills: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            problems: Mutex::default(),
        }
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

/// How a value comes into its row.
#[derive(Clone, Copy)]
enum Way {
    /// `INSERT … ON DUPLICATE KEY UPDATE` for lists, `REPLACE` for registers.
    Upsert,
    /// `UPDATE`, and `INSERT` where there was no row.
    Update,
    /// `DELETE` and `INSERT`.
    Anew,
}

impl Way {
    const ALL: [Way; 3] = [Way::Upsert, Way::Update, Way::Anew];
}

pub struct Session {
    shared: Arc<Shared>,
    runtime: Handle,
    conn: Conn,
    random: StdRng,
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
        let number = shared.opened.fetch_add(1, Ordering::Relaxed);
        let random = StdRng::seed_from_u64(shared.plan.seed ^ (number << 32));
        let (shared, runtime) = (shared.clone(), runtime.clone());
        Ok(Box::new(Session { shared, runtime, conn, random, is_lost: false, made: 0 }))
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
                    self.replace(k, joined(&list)).await?;
                    None
                }
                TxnOp::Append(k, v) => {
                    for _ in 0..if lie == Some(Lie::DoubleAppend) { 2 } else { 1 } {
                        self.append(k, v).await?;
                    }
                    None
                }
                TxnOp::Write(k, v) => {
                    self.write(k, v).await?;
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
        let which = self.which(k);
        let rows = self.run(&format!("SELECT v FROM {} {which}{how}", self.table(k)), vec![k.into()]).await?;
        let value = rows.into_iter().next().and_then(|row| row.unwrap().pop()).unwrap_or(Value::NULL);
        let text = match &value {
            Value::NULL => String::new(),
            Value::Int(number) => number.to_string(),
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => return Err(Error::Other(format!("key {k} reads {other:?}").into())),
        };
        let numbers = text.split(',').filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>();
        numbers.map_err(|_| Error::Other(format!("key {k} reads '{text}'").into()))
    }

    async fn append(&mut self, k: i64, v: i64) -> Result<(), Error> {
        let table = self.table(k);
        match self.way() {
            Way::Upsert => {
                let sql = format!("INSERT INTO {table} VALUES (?, ?) ON DUPLICATE KEY UPDATE v = CONCAT(v, ?)");
                self.run(&sql, vec![k.into(), v.to_string().into(), format!(",{v}").into()]).await?;
            }
            Way::Update => {
                let sql = format!("UPDATE {table} SET v = CONCAT(v, ?) {}", self.which(k));
                self.run(&sql, vec![format!(",{v}").into(), k.into()]).await?;
                if self.conn.affected_rows() == 0 {
                    self.insert(k, v.to_string()).await?;
                }
            }
            Way::Anew => {
                let mut list = self.read(k).await?;
                list.push(v);
                self.delete_and_insert(k, joined(&list)).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, k: i64, v: i64) -> Result<(), Error> {
        match self.way() {
            Way::Upsert => self.replace(k, v).await,
            Way::Update => {
                let sql = format!("UPDATE {} SET v = ? {}", self.table(k), self.which(k));
                self.run(&sql, vec![v.into(), k.into()]).await?;
                if self.conn.affected_rows() == 0 {
                    self.insert(k, v).await?;
                }
                Ok(())
            }
            Way::Anew => self.delete_and_insert(k, v).await,
        }
    }

    async fn delete_and_insert(&mut self, k: i64, value: impl Into<Value>) -> Result<(), Error> {
        let sql = format!("DELETE FROM {} {}", self.table(k), self.which(k));
        self.run(&sql, vec![k.into()]).await?;
        self.insert(k, value).await
    }

    async fn insert(&mut self, k: i64, value: impl Into<Value>) -> Result<(), Error> {
        let sql = format!("INSERT INTO {} VALUES (?, ?)", self.table(k));
        self.run(&sql, vec![k.into(), value.into()]).await.map(drop)
    }

    async fn replace(&mut self, k: i64, value: impl Into<Value>) -> Result<(), Error> {
        let sql = format!("REPLACE INTO {} VALUES (?, ?)", self.table(k));
        self.run(&sql, vec![k.into(), value.into()]).await.map(drop)
    }

    /// Runs a statement as text or prepared, and returns its rows.
    async fn run(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        if self.random.random() {
            return self.conn.exec(sql, Params::Positional(values)).await;
        }
        let mut text = String::new();
        let mut values = values.iter();
        for letter in sql.chars() {
            match letter {
                '?' => text.push_str(&values.next().expect("a value for each mark").as_sql(false)),
                letter => text.push(letter),
            }
        }
        self.conn.query(text).await
    }

    fn way(&mut self) -> Way {
        Way::ALL[self.random.random_range(0..Way::ALL.len())]
    }

    fn table(&self, k: i64) -> String {
        format!("{}_{}", self.shared.plan.table(), k % 2)
    }

    /// Returns a condition that holds for one key: as an equality, or as one of several.
    fn which(&mut self, k: i64) -> String {
        // There are no keys below zero, nor any so far from each other.
        if self.random.random() { "WHERE k = ?".to_owned() } else { format!("WHERE k IN (-1, ?, {})", k + 1_000_000) }
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

fn joined(list: &[i64]) -> String {
    list.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
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
