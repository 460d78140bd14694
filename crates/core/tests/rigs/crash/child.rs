//! The process that is killed: it opens a store and works on it with several tasks at once, and writes down outside of it
//! what it is about to do and what was acknowledged.

#![expect(unsafe_code, reason = "a process kills itself through the C library")]
#![expect(clippy::large_futures, reason = "its threads have room for them")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use strandline_core::cold::Merging;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::error::{Kind, Result};
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::retention::Keep;
use strandline_core::history::schedule::{Rhythm, ScheduleSpec};
use strandline_core::history::snapshot::{SnapshotSpec, Term, TermUnit};
use strandline_core::ids::{ColumnId, Time};
use strandline_core::log::{Scope, Terms};
use strandline_core::moment::Moment;
use strandline_core::schema::Table;
use strandline_core::txn::bulk::BulkLoad;
use strandline_core::txn::{Author, OnDuplicate, Txn};
use strandline_core::when::{RangeUnit, When, Window};

use super::model::{BROKE_OFF, Effect, Line, Rows, Writes};
use crate::script::{SHAPE, definition, keys, rows, table_named};

const SECOND: i64 = 1_000_000;
/// Longer than the recovery window that these stores have.
const FAR: i64 = 2 * 3600 * SECOND;
pub const GRACE: i64 = 60 * SECOND;
/// How many accounts each of the two tables has, and what all of them have together.
const ACCOUNTS: i64 = 8;
pub const SUM: i64 = 2 * ACCOUNTS * 100;

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub folder: PathBuf,
    pub log: PathBuf,
    pub seed: u64,
    /// When it begins.
    pub time: i64,
    /// How often the store was opened before: no two openings mint the same names.
    pub opening: u64,
    pub work: Work,
    pub act: Act,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Opens the store, and nothing more.
    Open,
    /// One operation of each kind, and some more.
    Everything,
    /// A file that is too long for one write.
    Large,
}

/// What becomes of the child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Act {
    /// It ends in order, or is killed from outside.
    Nothing,
    /// It kills itself when it comes to a point for the n-th time.
    Kill(String, u64),
    /// What it does there fails, for once.
    Fail(String, u64, String),
    Panic(String, u64),
}

impl Act {
    /// Arms the points.
    fn arm(&self) {
        let configured = |name: &str, nth: u64, task: &str| {
            let before = if nth > 1 { format!("{}*off->", nth - 1) } else { String::new() };
            fail::cfg(name, &format!("{before}1*{task}")).expect("a point can be told what to do");
        };
        match self {
            Act::Nothing => {}
            Act::Kill(name, nth) => {
                let (count, nth) = (AtomicU64::new(0), *nth);
                fail::cfg_callback(name.clone(), move || {
                    if count.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                        die();
                    }
                })
                .expect("known");
            }
            Act::Fail(name, nth, how) => configured(name, *nth, &format!("return({how})")),
            Act::Panic(name, nth) => configured(name, *nth, "panic"),
        }
        // Two points are passed only where something fails before them.
        let comes_after = |point: &str| match self {
            Act::Kill(name, _) | Act::Panic(name, _) => name == point,
            _ => false,
        };
        for (point, fails) in
            [("durable::failed", "durable::written"), ("metastore::rolled_back", "metastore::drafted")]
        {
            if comes_after(point) {
                configured(fails, 5, "return(full)");
            }
        }
    }

    fn point(&self) -> &str {
        match self {
            Act::Kill(name, _) | Act::Fail(name, ..) | Act::Panic(name, _) => name,
            Act::Nothing => "",
        }
    }
}

/// Ends the process as kill -9 does: nothing runs any more.
fn die() {
    // SAFETY: the process sends a signal to itself; no memory is touched.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

/// How the stores of this rig are opened, by children and by whoever looks after them.
pub fn options(time: i64, opening: u64) -> Options {
    Options {
        env: Env::fixed(Time(time), opening << 32),
        load_rows: 8,
        cache_bytes: 8 << 20,
        window: Window(3600 * SECOND),
        grace_micros: GRACE,
        merging: Merging { depth: 2, worn_bytes: 1, ..Merging::default() },
        ..Options::default()
    }
}

/// Returns the rows of a table at a moment.
pub async fn read(db: &Database, moment: &Moment, table: &Arc<Table>) -> Result<Rows> {
    let scan = moment.scan(table).await?;
    let mut batches = scan.rows.clone();
    for part in &scan.parts {
        let stored = db.cold().scan(table, &part.part, part.version, None, &part.excluded, false).await?;
        batches.extend(stored.try_collect::<Vec<_>>().await?);
    }
    let mut rows = Rows::new();
    for batch in &batches {
        let numbers = |number: u32| {
            let column = batch.column_by_name(&ColumnId(number).physical_name()).expect("a scan shows every column");
            cast(column, &DataType::Int64).expect("they are numbers")
        };
        let (ids, values) = (numbers(1), numbers(2));
        let of = |array: &ArrayRef| array.as_any().downcast_ref::<Int64Array>().expect("just cast").clone();
        for (id, v) in of(&ids).iter().zip(of(&values).iter()) {
            let twice = rows.insert(id.expect("never NULL"), v.expect("never NULL"));
            assert!(twice.is_none(), "row {id:?} of {} is there twice", table.name);
        }
    }
    Ok(rows)
}

/// Returns the tables of a moment by `database.table`.
pub fn tables(moment: &Moment) -> Vec<(String, Arc<Table>)> {
    let databases = moment.catalog().databases_of(SYS);
    let of = |database: &Arc<strandline_core::schema::Database>| {
        let tables = moment.catalog().tables_of(database.id);
        tables.into_iter().map(|table| (format!("{}.{}", database.name, table.name), table)).collect::<Vec<_>>()
    };
    databases.iter().flat_map(of).collect()
}

/// What the tasks of a child share.
struct Child {
    db: Database,
    orders: Orders,
    log: Arc<Mutex<File>>,
    next_op: AtomicU64,
    random: Mutex<StdRng>,
    /// Read by operations, written where more time passes than the collector's grace: no operation takes that long.
    clock: tokio::sync::RwLock<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    Insert,
    Update,
    Delete,
    Transfer,
    Load,
    Unfinished,
    Keyless,
    WithSnapshot,
    Conflict,
    Create,
    Drop,
    Undrop,
    Empty,
    RestoreTable,
    RestoreDatabase,
    Undo,
    CloneTable,
    CloneDatabase,
    DropDatabase,
    Snapshot,
    PastSnapshot,
    Compressed,
    Expiring,
    DropSnapshot,
    Policy,
    DropPolicy,
    Schedule,
    Retention,
    Flush,
    GiveWay,
    Wear,
    Compact,
    Optimize,
    Collect,
    CollectFar,
    Tidy,
}

/// The tables beside the accounts.
const WORKED_ON: [&str; 7] = ["d.t", "d.v", "d.w", "d.u", "d.s", "d.g", "d.p"];

const TASKS: &[Task] = &[
    Task::Insert,
    Task::Update,
    Task::Delete,
    Task::Transfer,
    Task::Load,
    Task::Unfinished,
    Task::Keyless,
    Task::WithSnapshot,
    Task::Conflict,
    Task::Create,
    Task::Drop,
    Task::Undrop,
    Task::Empty,
    Task::RestoreTable,
    Task::RestoreDatabase,
    Task::Undo,
    Task::CloneTable,
    Task::CloneDatabase,
    Task::DropDatabase,
    Task::Snapshot,
    Task::PastSnapshot,
    Task::Compressed,
    Task::Expiring,
    Task::DropSnapshot,
    Task::Policy,
    Task::DropPolicy,
    Task::Schedule,
    Task::Retention,
    Task::Flush,
    Task::GiveWay,
    Task::Wear,
    Task::Compact,
    Task::Optimize,
    Task::Collect,
    Task::CollectFar,
    Task::Tidy,
];

/// Runs as a child, by the orders that it is given.
pub fn run(orders: Orders) {
    let log = File::options().append(true).create(true).open(&orders.log).expect("the log can be written");
    let log = Arc::new(Mutex::new(log));
    orders.act.arm();
    // One task has room for all kinds of work, and unoptimised futures are moved about.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(16 << 20).enable_all().build().expect("a runtime");
    runtime.block_on(work(&orders, &log));
}

/// Writes a line down: one call of the system, so that a kill leaves it whole or not at all.
fn note(log: &Mutex<File>, line: &Line) {
    let line = serde_json::to_string(line).expect("a line can be written") + "\n";
    log.lock().write_all(line.as_bytes()).expect("the log can be written");
}

async fn open(orders: &Orders, log: &Mutex<File>) -> Option<Database> {
    for _ in 0..2 {
        let (folder, options) = (orders.folder.clone(), options(orders.time, orders.opening));
        let said = match tokio::spawn(async move { Database::open(&folder, options).await }).await {
            Ok(Ok(db)) => return Some(db),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        note(log, &Line::Told(said));
    }
    None
}

async fn work(orders: &Orders, log: &Arc<Mutex<File>>) {
    let Some(db) = open(orders, log).await else { return };
    note(log, &Line::Opened { time: db.env().now().0, head: db.now().version().0 });
    let child = Arc::new(Child {
        db,
        orders: orders.clone(),
        log: log.clone(),
        next_op: AtomicU64::new(orders.opening * 1000),
        random: Mutex::new(StdRng::seed_from_u64(orders.seed)),
        clock: tokio::sync::RwLock::default(),
    });
    for _ in 0..2 {
        if child.db.catalog().database(SYS, "d").is_err() && orders.work != Work::Open {
            child.set_up().await;
        }
    }
    if orders.work == Work::Everything {
        child.replace_lost().await;
    }
    match orders.work {
        Work::Open => {}
        Work::Large => child.large().await,
        Work::Everything => {
            let mut tasks: Vec<Task> = TASKS.iter().chain(&TASKS[..8]).copied().collect();
            tasks.shuffle(&mut *child.random.lock());
            let tasks = Arc::new(Mutex::new(VecDeque::from(tasks)));
            let running: Vec<_> = (0..3)
                .map(|_| {
                    let (child, tasks) = (child.clone(), tasks.clone());
                    tokio::spawn(async move {
                        loop {
                            let next = tasks.lock().pop_front();
                            let Some(task) = next else { return };
                            child.db.env().advance(SECOND / 10);
                            // What cannot be begun says so to nobody: the store was not asked for anything yet.
                            let _ = Box::pin(child.clone().begin(task)).await;
                        }
                    })
                })
                .collect();
            for task in running {
                if let Err(panic) = task.await {
                    note(log, &Line::Told(format!("a task ended: {panic}")));
                }
            }
        }
    }
    if orders.work != Work::Open {
        let refused = child.clone().probe().await;
        note(log, &Line::Ended { refused });
    }
    let db = child.db.clone();
    let said = match tokio::spawn(async move { db.close().await }).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    note(log, &Line::Told(format!("it did not close: {said}")));
}

/// Tells the database and the name of a table that is called `database.table`.
fn split(name: &str) -> (&str, &str) {
    name.split_once('.').expect("a table lies in a database")
}

fn of_table(name: &str) -> Scope {
    let (database, table) = split(name);
    Scope::Tables(database.to_owned(), vec![table.to_owned()])
}

fn named(txn: &Txn, name: &str) -> Result<Arc<Table>> {
    let (database, table) = split(name);
    table_named(txn, database, table)
}

/// Does what `Effect::Rows` says.
async fn write(txn: &mut Txn, writes: &Writes) -> Result<()> {
    for (name, changed) in writes {
        let table = named(txn, name)?;
        let puts: Vec<(i64, Option<i64>)> = changed.iter().filter(|(_, v)| v.is_some()).copied().collect();
        let gone: Vec<i64> = changed.iter().filter(|(_, v)| v.is_none()).map(|(id, _)| *id).collect();
        if !puts.is_empty() {
            txn.insert(&table, &rows(&table, &puts), OnDuplicate::Replace).await?;
        }
        if !gone.is_empty() {
            txn.delete(&table, &keys(&table, &gone)).await?;
        }
    }
    Ok(())
}

impl Child {
    fn random(&self, upto: i64) -> i64 {
        self.random.lock().random_range(0..upto.max(1))
    }

    fn pick<T: Clone>(&self, of: &[T]) -> Option<T> {
        of.choose(&mut *self.random.lock()).cloned()
    }

    /// Returns a number for an operation, and who does it.
    fn number(&self) -> (u64, Author) {
        let op = self.next_op.fetch_add(1, Ordering::SeqCst);
        (op, Author { account: SYS, name: format!("o{op}") })
    }

    fn now(&self) -> i64 {
        self.db.env().now().0
    }

    /// Lets time pass.
    async fn pass(&self, micros: i64) {
        let _alone = self.clock.write().await;
        self.db.env().advance(micros);
    }

    /// Does an operation, and writes down that it begins and how it ends.
    async fn run(
        &self,
        op: u64,
        effect: Effect,
        work: impl Future<Output = Result<Option<u64>>> + Send + 'static,
    ) -> bool {
        note(&self.log, &Line::Intent { op, effect, head: self.db.now().version().0, time: self.now() });
        let together = self.clock.read().await;
        let outcome = tokio::spawn(work).await;
        drop(together);
        let time = self.now();
        let line = match outcome {
            Ok(Ok(version)) => Line::Done { op, version, time },
            Ok(Err(error)) => {
                let sure = !matches!(error.kind(), Kind::Closed | Kind::Internal);
                Line::Failed { op, error: format!("{error} {:?}", error.kind()), sure, time }
            }
            Err(panic) => Line::Failed { op, error: format!("{BROKE_OFF}{panic}"), sure: false, time },
        };
        note(&self.log, &line);
        matches!(line, Line::Done { .. })
    }

    async fn commit(&self, op: u64, mut txn: Txn, effect: Effect) -> bool {
        let work = {
            let effect = effect.clone();
            async move {
                match &effect {
                    Effect::Rows(writes) => write(&mut txn, writes).await?,
                    Effect::RowsAndSnapshot(writes, name) => {
                        write(&mut txn, writes).await?;
                        let name = name.trim_start_matches("snapshot ");
                        txn.create_snapshot(name, Scope::Database("d".into()), "", Vec::new(), Terms::default())?;
                    }
                    Effect::Empty(name) => {
                        let table = named(&txn, name)?;
                        txn.truncate(&table).await?;
                    }
                    Effect::Drop(name) => {
                        let table = named(&txn, name)?;
                        txn.drop_table(&table)?;
                    }
                    Effect::DropDatabase(prefix) => {
                        let database = txn.catalog().database(SYS, prefix.trim_end_matches('.'))?.clone();
                        txn.drop_database(&database)?;
                    }
                    Effect::Create(writes) => {
                        for (name, _) in writes {
                            let (database, table) = split(name);
                            let database = match txn.catalog().database(SYS, database) {
                                Ok(database) => database.id,
                                Err(_) => txn.create_database(SYS, database, "")?.id,
                            };
                            let keyed = table != "u";
                            let columns = if database_is_big(name) { SHAPE } else { &SHAPE[..2] };
                            txn.create_table(definition(database, table, columns, keyed))?;
                        }
                        write(&mut txn, writes).await?;
                    }
                    other => unreachable!("{other:?} is no transaction"),
                }
                Ok(Some(txn.commit().await?.version.0))
            }
        };
        self.run(op, effect, work).await
    }

    async fn set_up(&self) {
        let (op, author) = self.number();
        let accounts: Vec<(i64, Option<i64>)> = (0..ACCOUNTS).map(|id| (id, Some(100))).collect();
        let empty = WORKED_ON.map(|name| (name.to_owned(), Vec::new()));
        let mut writes: Writes = vec![("d.a".to_owned(), accounts.clone()), ("d.b".to_owned(), accounts)];
        writes.extend(empty);
        self.commit(op, self.db.begin(author), Effect::Create(writes)).await;
    }

    /// Makes tables anew that were dropped for good: a child was killed before it brought them back, and their time is over.
    async fn replace_lost(&self) {
        let (op, author) = self.number();
        let txn = self.db.begin(author);
        let lost = WORKED_ON.into_iter().filter(|name| named(&txn, name).is_err());
        let writes: Writes = lost.map(|name| (name.to_owned(), Vec::new())).collect();
        if !writes.is_empty() {
            self.commit(op, txn, Effect::Create(writes)).await;
        }
    }

    /// Tells whether the store refuses writes, and why.
    async fn probe(self: Arc<Self>) -> Option<String> {
        let (op, author) = self.number();
        let effect = match self.db.catalog().database(SYS, "d") {
            Ok(_) => Effect::Rows(vec![("d.p".to_owned(), vec![(0, Some(op as i64))])]),
            Err(_) => Effect::Nothing,
        };
        note(
            &self.log,
            &Line::Intent { op, effect: effect.clone(), head: self.db.now().version().0, time: self.now() },
        );
        let mut txn = self.db.begin(author);
        let work = async {
            match &effect {
                Effect::Rows(writes) => write(&mut txn, writes).await?,
                // Not even tables could be made.
                _ => drop(txn.create_database(SYS, &format!("q{op}"), "")?),
            }
            txn.commit().await
        };
        match work.await {
            Ok(committed) => {
                note(&self.log, &Line::Done { op, version: Some(committed.version.0), time: self.now() });
                None
            }
            Err(error) => {
                let said = format!("{error} {:?}", error.kind());
                note(&self.log, &Line::Failed { op, error: said.clone(), sure: false, time: self.now() });
                Some(said)
            }
        }
    }

    /// Returns some rows of a table that stand in a transaction's moment.
    async fn some(&self, txn: &Txn, name: &str, most: i64) -> Result<Vec<(i64, i64)>> {
        let table = named(txn, name)?;
        let mut found: Vec<(i64, i64)> = read(&self.db, txn.moment(), &table).await?.into_iter().collect();
        found.shuffle(&mut *self.random.lock());
        found.truncate(1 + self.random(most) as usize);
        Ok(found)
    }

    /// Returns a version that was the newest not long ago.
    fn lately(&self) -> u64 {
        let head = self.db.now().version().0;
        (head - self.random(12).min(head as i64 - 1) as u64).max(1)
    }

    fn new_rows(&self, op: u64, count: i64) -> Vec<(i64, Option<i64>)> {
        (0..count).map(|at| (op as i64 * 100 + at, Some(self.random(1000)))).collect()
    }

    /// Returns one of the small tables.
    fn table(&self) -> String {
        self.pick(&["d.t", "d.v", "d.w"]).expect("there are three").to_owned()
    }

    fn table_id(&self, name: &str) -> Result<strandline_core::ids::TableId> {
        let now = self.db.now();
        let (database, table) = split(name);
        let database = now.catalog().database(SYS, database)?.clone();
        Ok(now.catalog().table(&database, table)?.id)
    }

    /// Does upkeep, of which nothing is seen.
    async fn look_after(&self, work: impl Future<Output = Result<()>> + Send + 'static) {
        let (op, _) = self.number();
        self.run(op, Effect::Nothing, async move { work.await.map(|()| None) }).await;
    }

    async fn insert(&self, name: &str, count: i64) {
        let (op, author) = self.number();
        let effect = Effect::Rows(vec![(name.to_owned(), self.new_rows(op, count))]);
        self.commit(op, self.db.begin(author), effect).await;
    }

    /// Begins a task; fails where what it needs is not there.
    async fn begin(self: Arc<Self>, task: Task) -> Result<()> {
        let db = self.db.clone();
        match task {
            Task::Insert => self.insert(&self.table(), 1 + self.random(6)).await,
            Task::Update | Task::Delete => {
                let (op, author) = self.number();
                let txn = db.begin(author);
                let name = self.table();
                let found = self.some(&txn, &name, 6).await?;
                let value = (task == Task::Update).then_some(op as i64);
                let writes = found.iter().map(|(id, _)| (*id, value)).collect::<Vec<_>>();
                if !writes.is_empty() {
                    self.commit(op, txn, Effect::Rows(vec![(name, writes)])).await;
                }
            }
            Task::Transfer | Task::WithSnapshot => {
                let (op, author) = self.number();
                let txn = db.begin(author);
                let (a, b) = (self.some(&txn, "d.a", 1).await?, self.some(&txn, "d.b", 1).await?);
                let amount = 1 + self.random(40);
                let writes = vec![
                    ("d.a".to_owned(), vec![(a[0].0, Some(a[0].1 - amount))]),
                    ("d.b".to_owned(), vec![(b[0].0, Some(b[0].1 + amount))]),
                ];
                let effect = match task {
                    Task::Transfer => Effect::Rows(writes),
                    _ => Effect::RowsAndSnapshot(writes, format!("snapshot m{op}")),
                };
                self.commit(op, txn, effect).await;
            }
            Task::Load | Task::Unfinished => {
                let (op, author) = self.number();
                let mut txn = db.begin(author);
                let name = self.table();
                let table = named(&txn, &name)?;
                let new = self.new_rows(op, 20);
                let effect = match task {
                    Task::Load => Effect::Rows(vec![(name, new.clone())]),
                    _ => Effect::Nothing,
                };
                let work = async move {
                    let mut load = BulkLoad::new(&table, OnDuplicate::Error);
                    for some in new.chunks(9) {
                        load.write(&mut txn, &rows(&table, some)).await?;
                    }
                    load.finish(&mut txn).await?;
                    match task {
                        Task::Load => Ok(Some(txn.commit().await?.version.0)),
                        _ => Ok(None),
                    }
                };
                self.run(op, effect, work).await;
            }
            Task::Keyless => self.insert("d.u", 3).await,
            Task::Conflict => {
                let ((op, author), (other, loser)) = (self.number(), self.number());
                let (txn, late) = (db.begin(author), db.begin(loser));
                let effect = |v: u64| Effect::Rows(vec![("d.p".to_owned(), vec![(1, Some(v as i64))])]);
                self.commit(op, txn, effect(op)).await;
                self.commit(other, late, effect(other)).await;
            }
            Task::Create => {
                let (op, author) = self.number();
                let writes = vec![(format!("d.n{op}"), self.new_rows(op, 3))];
                self.commit(op, db.begin(author), Effect::Create(writes)).await;
            }
            Task::Drop => {
                let (op, author) = self.number();
                let txn = db.begin(author);
                let all = tables(txn.moment()).into_iter().map(|(name, _)| name);
                let own: Vec<String> = all.filter(|name| name.starts_with("d.n") || name.starts_with("d.c")).collect();
                let name = self.pick(&own).unwrap_or("d.w".to_owned());
                self.commit(op, txn, Effect::Drop(name)).await;
            }
            Task::Undrop => {
                let (op, author) = self.number();
                let txn = db.begin(author);
                let name = self.pick(&["d.w", "d.v"]).expect("there are two").to_owned();
                if named(&txn, &name).is_ok() {
                    self.commit(op, txn, Effect::Drop(name.clone())).await;
                }
                let (op, author) = self.number();
                let effect = Effect::Undrop(name.clone());
                let work = async move {
                    let (database, table) = split(&name);
                    let plan = db.plan_undrop_table(database, table, None, &author).await?;
                    Ok(Some(db.apply_restore(&plan, &author).await?.version_after.0))
                };
                self.run(op, effect, work).await;
            }
            Task::Empty => {
                let (op, author) = self.number();
                let name = self.pick(&["d.u", "d.g", "d.t"]).expect("there are three").to_owned();
                self.commit(op, db.begin(author), Effect::Empty(name)).await;
            }
            Task::RestoreTable | Task::RestoreDatabase => {
                let (op, author) = self.number();
                let version = self.lately();
                let (scope, prefix) = match task {
                    Task::RestoreTable => {
                        let name = self.table();
                        (of_table(&name), name)
                    }
                    _ => (Scope::Database("d".to_owned()), "d.".to_owned()),
                };
                let request = RestoreRequest::of(scope, When::Version(strandline_core::ids::Version(version)));
                let work = async move { Ok(Some(db.restore(request, &author).await?.version_after.0)) };
                self.run(op, Effect::Restore(prefix, version), work).await;
            }
            Task::Undo => {
                let (op, author) = self.number();
                let txn = db.begin(author);
                let effect = Effect::Rows(vec![("d.v".to_owned(), self.new_rows(op, 2))]);
                if self.commit(op, txn, effect).await {
                    let version = db.now().version();
                    let own = db.metastore().entry(version)?.is_some_and(|entry| entry.head.author == format!("o{op}"));
                    let (op, author) = self.number();
                    if own {
                        let work = async move { Ok(Some(db.undo(version, &author).await?.version_after.0)) };
                        self.run(op, Effect::Undo(version.0), work).await;
                    }
                }
            }
            Task::CloneTable | Task::CloneDatabase => {
                let (op, author) = self.number();
                let moment = db.now();
                let version = moment.version().0;
                let name = self.table();
                let effect = match task {
                    Task::CloneTable => Effect::Clone(name.clone(), version, format!("d.c{op}")),
                    _ => Effect::Clone("d.".to_owned(), version, format!("e{op}.")),
                };
                let work = async move {
                    let mut txn = db.begin_at(moment.clone(), author);
                    match task {
                        Task::CloneTable => {
                            let table = named(&txn, &name)?;
                            txn.clone_table(&moment, &table, SYS, "d", &format!("c{op}")).await?;
                        }
                        _ => drop(txn.clone_database(&moment, "d", SYS, SYS, &format!("e{op}")).await?),
                    }
                    Ok(Some(txn.commit().await?.version.0))
                };
                self.run(op, effect, work).await;
            }
            Task::DropDatabase => {
                let (op, author) = self.number();
                let txn = db.begin(author);
                let all = txn.catalog().databases_of(SYS);
                let clones: Vec<String> = all
                    .iter()
                    .filter(|other| other.name.starts_with('e'))
                    .map(|other| format!("{}.", other.name))
                    .collect();
                match self.pick(&clones) {
                    Some(name) => drop(self.commit(op, txn, Effect::DropDatabase(name)).await),
                    None => {
                        let name = format!("e{op}.");
                        self.commit(op, txn, Effect::Create(vec![(format!("{name}t"), Vec::new())])).await;
                        let (op, author) = self.number();
                        self.commit(op, db.begin(author), Effect::DropDatabase(name)).await;
                    }
                }
            }
            Task::Snapshot | Task::PastSnapshot | Task::Compressed | Task::Expiring => {
                let (op, author) = self.number();
                let (name, effect) = match task {
                    Task::Expiring => (format!("x{op}"), Effect::Nothing),
                    _ => (format!("k{op}"), Effect::Name(format!("snapshot k{op}"))),
                };
                let scope = match self.random(2) {
                    0 => Scope::Database("d".to_owned()),
                    _ => of_table(&self.table()),
                };
                let mut spec = SnapshotSpec::of(&name, scope);
                spec.compress = task == Task::Compressed;
                if task == Task::PastSnapshot {
                    spec.when = When::Version(strandline_core::ids::Version(self.lately()));
                }
                if task == Task::Expiring {
                    spec.retain_until = Some(Time(self.now() + 10 * SECOND));
                }
                let work = async move { db.create_snapshot(&spec, &author).await.map(|_| None) };
                self.run(op, effect, work).await;
                if task == Task::Expiring {
                    self.pass(20 * SECOND).await;
                    let db = self.db.clone();
                    self.look_after(async move { db.tick_policies().await }).await;
                }
            }
            Task::DropSnapshot => {
                let pins = db.snapshots(SYS)?;
                let own: Vec<String> =
                    pins.into_iter().map(|pin| pin.name).filter(|name| name.starts_with(['k', 'm'])).collect();
                // There are never many: each is read after every crash.
                for name in own.iter().skip(6).chain(own.first()) {
                    let (op, author) = self.number();
                    let effect = Effect::Unname(format!("snapshot {name}"));
                    let (db, name) = (db.clone(), name.clone());
                    self.run(op, effect, async move { db.drop_snapshot(&name, true, &author).map(|_| None) }).await;
                }
            }
            Task::Policy => {
                let (op, author) = self.number();
                let scope = of_table(&self.table());
                let spec = PitrSpec { name: format!("p{op}"), scope, length: 2, unit: RangeUnit::Hour };
                let effect = Effect::Name(format!("pitr p{op}"));
                self.run(op, effect, async move { db.create_pitr(&spec, &author).map(|_| None) }).await;
            }
            Task::DropPolicy => {
                let own: Vec<String> = db.pitrs(SYS)?.into_iter().map(|pitr| pitr.name).collect();
                if let Some(name) = self.pick(&own) {
                    let (op, author) = self.number();
                    let effect = Effect::Unname(format!("pitr {name}"));
                    self.run(op, effect, async move { db.drop_pitr(&name, &author).map(|_| None) }).await;
                }
            }
            Task::Schedule => {
                let (op, author) = self.number();
                let spec = ScheduleSpec {
                    name: "often".to_owned(),
                    scope: of_table("d.s"),
                    rhythm: Rhythm::Every(Term { count: 1, unit: TermUnit::Minute }),
                    zone: "UTC".to_owned(),
                    snapshot_name: Some("s_{time}".to_owned()),
                    comment: String::new(),
                    term: None,
                    keep: Some(Keep { last: 2, ..Keep::default() }),
                    compress: self.random(2) == 0,
                };
                let (compress, made) = (spec.compress, db.clone());
                let work = async move {
                    match made.schedules(SYS)?.is_empty() {
                        true => made.create_schedule(&spec, &author).map(|_| None),
                        false => Ok(None),
                    }
                };
                self.run(op, Effect::Nothing, work).await;
                for _ in 0..3 {
                    self.pass(61 * SECOND).await;
                    let db = db.clone();
                    self.look_after(async move { db.tick_policies().await }).await;
                }
                if compress {
                    let (_, author) = self.number();
                    self.look_after(async move { db.drop_schedule("often", &author) }).await;
                }
            }
            Task::Retention => {
                let (op, author) = self.number();
                let name = format!("s_{op}");
                let work = async move {
                    let scope = of_table("d.s");
                    db.create_snapshot(&SnapshotSpec::of(&name, scope.clone()), &author).await?;
                    db.set_retention(scope.clone(), Keep { last: 1, ..Keep::default() }, "UTC", &author)?;
                    db.apply_retention(SYS, &scope, None)?;
                    db.drop_retention(&scope, &author).map(|()| None)
                };
                self.run(op, Effect::Nothing, work).await;
            }
            Task::Flush => self.look_after(async move { db.flush().await }).await,
            Task::GiveWay => {
                self.insert("d.g", 3).await;
                let id = self.table_id("d.g")?;
                // Between what the flush read and its commit, the table is emptied.
                if self.orders.act.point() != "flush::before_commit" {
                    fail::cfg("flush::before_commit", "3*sleep(60)").expect("known");
                }
                let flush = self.look_after(async move { db.flush_table(id).await.map(drop) });
                let empty = async {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    let (op, author) = self.number();
                    self.commit(op, self.db.begin(author), Effect::Empty("d.g".to_owned())).await;
                };
                tokio::join!(flush, empty);
            }
            Task::Wear => {
                let name = self.table();
                self.insert(&name, 7).await;
                let id = self.table_id(&name)?;
                let flush = db.clone();
                self.look_after(async move { flush.flush_table(id).await.map(drop) }).await;
                let (op, author) = self.number();
                let txn = db.begin(author);
                let gone: Vec<_> = self.some(&txn, &name, 1).await?.iter().map(|(id, _)| (*id, None)).collect();
                if !gone.is_empty() {
                    self.commit(op, txn, Effect::Rows(vec![(name, gone)])).await;
                }
                self.look_after(async move { db.flush_table(id).await.map(drop) }).await;
            }
            Task::Compact | Task::Optimize => {
                let id = self.table_id(&self.table())?;
                let work = async move {
                    match task {
                        Task::Compact => db.compact_table(id).await.map(drop),
                        _ => db.optimize_table(id).await.map(drop),
                    }
                };
                self.look_after(work).await;
            }
            Task::Collect | Task::CollectFar => {
                for micros in [if task == Task::CollectFar { FAR } else { 0 }, 2 * GRACE] {
                    self.pass(micros).await;
                    let db = db.clone();
                    self.look_after(async move { db.collect().await.map(drop) }).await;
                }
            }
            Task::Tidy => self.look_after(async move { db.metastore().tidy() }).await,
        }
        Ok(())
    }

    /// Loads rows that make a file which is written in several pieces.
    async fn large(&self) {
        let (op, author) = self.number();
        if self.db.catalog().database(SYS, "big").is_err() {
            self.commit(op, self.db.begin(author), Effect::Create(vec![("big.b".to_owned(), Vec::new())])).await;
        }
        let (op, author) = self.number();
        let mut txn = self.db.begin(author);
        let Ok(table) = named(&txn, "big.b") else { return };
        let ids: Vec<i64> = (0..9).map(|at| op as i64 * 100 + at).collect();
        let effect = Effect::Rows(vec![("big.b".to_owned(), ids.iter().map(|id| (*id, Some(*id))).collect())]);
        let mut random = StdRng::seed_from_u64(self.orders.seed);
        let work = async move {
            let texts = ids.iter().map(|_| (0..200_000).map(|_| format!("{:016x}", random.random::<u64>())).collect());
            let texts: Vec<String> = texts.collect();
            let narrow = ids.iter().map(|id| *id as i32).collect::<Vec<i32>>();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from(narrow)),
                Arc::new(Int64Array::from(ids)),
                Arc::new(StringArray::from(texts)),
            ];
            let batch = RecordBatch::try_new(table.physical_schema(), columns)?;
            let mut load = BulkLoad::new(&table, OnDuplicate::Error);
            load.write(&mut txn, &batch).await?;
            load.finish(&mut txn).await?;
            Ok(Some(txn.commit().await?.version.0))
        };
        self.run(op, effect, work).await;
    }
}

fn database_is_big(name: &str) -> bool {
    name.starts_with("big.")
}

/// Reads what a child has written down; a last line that is not whole was never written.
pub fn lines(log: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).expect("a whole line can be read")).collect()
}
