//! Rig 6: the store on an object store that misbehaves as stores over a network do.
//!
//! ```text
//!   tellers · loader · keeper of snapshots · upkeep · collector · auditor · uploader      one goes on at a time, by the seed
//!        └────────── one Database ──────────┘
//!                Patient ─► Faulty ─► memory, or a folder
//!   killed or closed, opened again, three times; then the faults end ─► everything works, all is as it was, no garbage stays
//! ```
//! While it fails, an error may be answered, and never anything wrong. Each seed makes a script of its own; the test run
//! takes some, `cargo xtask fault objects` many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strandline_core::cold::{DurableLocal, Merging, Patient, parse_path};
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::error::{Kind, Result};
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{Digest, FileId, TableId, Version};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::sqlite::SqliteMetastore;
use strandline_core::log::{EntryQuery, FileKind, Metastore};
use strandline_core::moment::Moment;
use strandline_core::txn::bulk::BulkLoad;
use strandline_core::txn::{Author, OnDuplicate, Txn};
use strandline_core::upkeep::check::Depth;
use strandline_core::upkeep::scrub::Scrubber;
use strandline_core::when::When;

use crate::faults::in_parallel;
use crate::faulty::{Faulty, Turns, hash};
use crate::script::{
    Answers, GRACE, SHAPE, START, author, block_on, definition, in_d, of_d, read_moment, read_tables, rows, scratch,
    table_named,
};
use crate::{all, seed};

/// What the accounts hold together.
const TOTAL: i64 = 600;
const ACCOUNTS: i64 = 6;
const SECOND: i64 = 1_000_000;
/// Longer than the recovery window.
const BEYOND_THE_WINDOW: i64 = 30 * 3600 * SECOND;

/// A way to be wrong about an object store, for the rig to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// A put that failed is taken for done: what refers to it is published.
    BelievesPuts,
    /// An upload whose end was not acknowledged is taken for done.
    BelievesUploads,
    /// A put is tried again under its name, and whatever stands there is taken for it.
    RetriesBlindly,
    /// A delete that failed is taken for done.
    BelievesDeletes,
    /// What a list shows and the log does not know is deleted.
    SweepsByList,
    /// What a list does not show was never written: its name is forgotten.
    ForgetsByList,
    /// A read is tried once.
    Impatient,
    /// An upload that failed is left open.
    LeavesUploads,
}

const DEFECTS: [Defect; 8] = [
    Defect::BelievesPuts,
    Defect::BelievesUploads,
    Defect::RetriesBlindly,
    Defect::BelievesDeletes,
    Defect::SweepsByList,
    Defect::ForgetsByList,
    Defect::Impatient,
    Defect::LeavesUploads,
];

type Rows = BTreeMap<i64, i64>;
type Tables = BTreeMap<String, Rows>;

/// What a commit does to the tables of the model.
#[derive(Clone, Debug)]
enum Effect {
    Put(String, Vec<(i64, i64)>),
    /// A table holds from now on what another held at a version.
    Same(String, String, u64),
    Drop(String),
}

/// What must be there, said by those who had an answer.
#[derive(Default)]
struct Model {
    commits: BTreeMap<u64, Vec<Effect>>,
    /// What the tables held at each version, as far as that was asked.
    states: BTreeMap<u64, Tables>,
    /// What somebody has asked for and has no answer to, by his name.
    asked: BTreeMap<String, Vec<Effect>>,
    snapshots: BTreeMap<String, u64>,
    /// Those that nobody knows of whether they are there.
    doubtful: BTreeSet<String>,
}

impl Model {
    fn put(&mut self, version: u64, effects: Vec<Effect>) {
        self.states.split_off(&version);
        self.commits.insert(version, effects);
    }

    /// Returns what the tables held at a version.
    fn state(&mut self, version: u64) -> Tables {
        let (known, mut tables) = self.states.last_key_value().map_or((0, Tables::new()), |(v, t)| (*v, t.clone()));
        for version in known + 1..=version {
            for effect in self.commits.get(&version).into_iter().flatten() {
                match effect {
                    Effect::Put(table, rows) => tables.entry(table.clone()).or_default().extend(rows.iter().copied()),
                    Effect::Same(table, source, then) => {
                        let rows = self.states.get(then).and_then(|tables| tables.get(source)).cloned();
                        tables.insert(table.clone(), rows.unwrap_or_default());
                    }
                    Effect::Drop(table) => drop(tables.remove(table)),
                }
            }
            self.states.insert(version, tables.clone());
        }
        self.states.get(&version).cloned().unwrap_or_default()
    }
}

/// Where a run takes place.
struct World {
    seed: u64,
    env: Env,
    metastore: Arc<dyn Metastore>,
    /// What is really there.
    objects: Arc<dyn ObjectStore>,
    faulty: Faulty,
    defect: Option<Defect>,
    db: Mutex<Option<Database>>,
    model: Mutex<Model>,
    /// What everybody was answered, in order.
    answers: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    next: Mutex<i64>,
    /// Who checks and who collects wait for one another, and whoever waits takes no turns.
    looking: tokio::sync::Mutex<()>,
}

impl World {
    fn new(seed: u64, defect: Option<Defect>, folder: Option<&std::path::Path>) -> Arc<World> {
        let env = Env::fixed(START, seed << 32 >> 1);
        let (metastore, objects): (Arc<dyn Metastore>, Arc<dyn ObjectStore>) = match folder {
            Some(folder) => (
                Arc::new(SqliteMetastore::open(&folder.join("metastore.db")).unwrap()),
                Arc::new(DurableLocal::open(folder).unwrap()),
            ),
            None => (Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new())),
        };
        let faulty = Faulty::new(objects.clone(), metastore.clone(), env.clone(), seed, defect.is_some());
        Arc::new(World {
            seed,
            env,
            metastore,
            objects,
            faulty,
            defect,
            db: Mutex::default(),
            model: Mutex::default(),
            answers: Mutex::default(),
            wrong: Mutex::default(),
            next: Mutex::new(0),
            looking: tokio::sync::Mutex::default(),
        })
    }

    async fn open(&self) -> Result<Database> {
        let merging = Merging { depth: 2, worn_bytes: 1, ..Merging::default() };
        let options =
            Options { env: self.env.clone(), load_rows: 4, cache_bytes: 1 << 20, merging, ..Options::default() };
        let faulty: Arc<dyn ObjectStore> = Arc::new(self.faulty.clone());
        let patient: Arc<dyn ObjectStore> = match self.defect {
            Some(Defect::Impatient) => faulty,
            _ => Arc::new(Patient::new(faulty, self.env.clone())),
        };
        let objects = match self.defect {
            Some(defect) => Arc::new(Naive { inner: patient, defect }),
            None => patient,
        };
        let db = Database::start(self.metastore.clone(), objects, options, None).await?;
        *self.db.lock() = Some(db.clone());
        Ok(db)
    }

    fn db(&self) -> Database {
        self.db.lock().clone().expect("open")
    }

    fn wrong(&self, what: impl Into<String>) {
        self.wrong.lock().push(what.into());
    }

    /// Takes note of what somebody was answered. An error must be one that says what is the matter.
    fn answered<T>(&self, who: &str, what: &str, answer: &Result<T>) {
        let said = match answer {
            Ok(_) => "done".to_owned(),
            Err(error) => {
                let is_busy = error.kind() == Kind::Unavailable && self.faulty.has_failed();
                if !is_busy && !matches!(error.kind(), Kind::Conflict | Kind::NotFound(_) | Kind::AlreadyExists(_)) {
                    self.wrong(format!("{who}: {what}: {error:?}"));
                }
                format!("{:?}", error.kind())
            }
        };
        self.answers.lock().push(format!("{who}: {what}: {said}"));
    }

    /// Commits, and takes note of what it does.
    async fn commit(&self, who: &str, txn: Txn, effects: Vec<Effect>) -> Result<()> {
        self.model.lock().asked.insert(who.to_owned(), effects);
        let committed = txn.commit().await;
        let effects = self.model.lock().asked.remove(who).unwrap_or_default();
        self.model.lock().put(committed?.version.0, effects);
        Ok(())
    }

    /// Takes note of commits that were made and are not answered yet.
    fn learn(&self) {
        let mut model = self.model.lock();
        for entry in self.metastore.entries(&every_entry()).unwrap() {
            let version = entry.head.version.0;
            if !entry.head.upkeep && !model.commits.contains_key(&version) {
                let effects = model.asked.get(&entry.head.author).cloned().unwrap_or_default();
                model.put(version, effects);
            }
        }
    }

    /// Compares what is shown with the model.
    fn expect(&self, shown: Answers, prefix: &str, expected: &Tables, who: &str) -> Result<()> {
        let mut read = BTreeMap::new();
        let mut failed = Ok(());
        for (name, answer) in shown {
            match answer {
                Ok(rows) => {
                    let bare = rows.iter().map(|row| row.split('@').next().unwrap_or_default().trim().to_owned());
                    read.insert(name, bare.collect::<Vec<_>>());
                }
                Err(error) => failed = Err(error),
            }
        }
        for (table, rows) in expected {
            let mut lines: Vec<String> =
                rows.iter().map(|(id, v)| format!("id={id} v={v} name={}", id * 1001)).collect();
            lines.sort();
            match read.remove(&format!("{prefix} d.{table}")) {
                Some(shown) if shown != lines => {
                    self.wrong(format!("{who}: {prefix} d.{table} shows {shown:?} instead of {lines:?}"));
                }
                None if failed.is_ok() => self.wrong(format!("{who}: {prefix} d.{table} is not shown")),
                _ => {}
            }
        }
        if let Some(name) = read.keys().next() {
            self.wrong(format!("{who}: {name} is shown, and nobody made it"));
        }
        failed
    }

    fn state(&self, version: Version) -> Tables {
        self.learn();
        self.model.lock().state(version.0)
    }
}

/// Returns the rows of a table of `d`, by their ids.
async fn read(db: &Database, moment: &Moment, name: &str) -> Result<Rows> {
    let mut shown = Answers::new();
    read_moment(db, "now", moment, &mut shown).await;
    let rows = shown.remove(&format!("now d.{name}")).expect("the table is there")?;
    let number = |row: &str, column: &str| {
        let value = row.split(' ').find_map(|value| value.strip_prefix(column));
        value.and_then(|value| value.parse::<i64>().ok()).expect("a number")
    };
    Ok(rows.iter().map(|row| (number(row, "id="), number(row, "v="))).collect())
}

fn every_entry() -> EntryQuery {
    EntryQuery { from: Version(1), upto: Version(u64::MAX >> 1), tables: None, upkeep: true, limit: 10_000 }
}

fn named(who: &str) -> Author {
    Author { account: SYS, name: who.to_owned() }
}

async fn set_up(world: &World) -> Result<()> {
    let db = world.db();
    let mut txn = db.begin(author());
    let d = txn.create_database(SYS, "d", "")?.id;
    let bank = txn.create_table(definition(d, "bank", SHAPE, true))?;
    txn.create_table(definition(d, "load", SHAPE, true))?;
    let accounts: Vec<_> = (1..=ACCOUNTS).map(|id| (id, TOTAL / ACCOUNTS)).collect();
    let some: Vec<_> = accounts.iter().map(|(id, v)| (*id, Some(*v))).collect();
    txn.insert(&bank, &rows(&bank, &some), OnDuplicate::Error).await?;
    let effects = vec![Effect::Put("bank".to_owned(), accounts), Effect::Put("load".to_owned(), Vec::new())];
    world.commit("test@localhost", txn, effects).await
}

/// Moves something from one account to another.
async fn transfer(world: &World, who: &str, rng: &mut StdRng) -> Result<()> {
    let db = world.db();
    let moment = db.now();
    let accounts = read(&db, &moment, "bank").await?;
    if accounts.values().sum::<i64>() != TOTAL {
        world.wrong(format!("{who}: the accounts of version {} hold {accounts:?}", moment.version()));
    }
    let (from, by) = (rng.random_range(1..=ACCOUNTS), rng.random_range(1..=ACCOUNTS - 1));
    let to = (from + by - 1) % ACCOUNTS + 1;
    let moved = rng.random_range(1..50);
    let (Some(one), Some(other)) = (accounts.get(&from), accounts.get(&to)) else {
        world.wrong(format!("{who}: an account is missing: {accounts:?}"));
        return Ok(());
    };
    let new = vec![(from, one - moved), (to, other + moved)];
    let mut txn = db.begin_at(moment, named(who));
    let bank = table_named(&txn, "d", "bank")?;
    let batch = rows(&bank, &[(new[0].0, Some(new[0].1)), (new[1].0, Some(new[1].1))]);
    txn.insert(&bank, &batch, OnDuplicate::Replace).await?;
    world.commit(who, txn, vec![Effect::Put("bank".to_owned(), new)]).await
}

/// Loads rows straight into parts.
async fn load(world: &World, who: &str, rng: &mut StdRng) -> Result<()> {
    let db = world.db();
    let mut txn = db.begin(named(who));
    let table = table_named(&txn, "d", "load")?;
    let mut load = BulkLoad::new(&table, OnDuplicate::Error);
    let mut loaded = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let first = {
            let mut next = world.next.lock();
            *next += 4;
            *next
        };
        let some: Vec<_> = (first..first + 4).map(|id| (id, id * 3)).collect();
        let batch: Vec<_> = some.iter().map(|(id, v)| (*id, Some(*v))).collect();
        load.write(&mut txn, &rows(&table, &batch)).await?;
        loaded.extend(some);
    }
    load.finish(&mut txn).await?;
    world.commit(who, txn, vec![Effect::Put("load".to_owned(), loaded)]).await
}

async fn snapshot(world: &World, who: &str, name: &str, compress: bool) -> Result<()> {
    let spec = SnapshotSpec { compress, ..SnapshotSpec::of(name, of_d()) };
    world.model.lock().doubtful.insert(name.to_owned());
    let pin = world.db().create_snapshot(&spec, &named(who)).await;
    // A copy is a commit of its own, which changes no row.
    world.learn();
    let mut model = world.model.lock();
    model.doubtful.remove(name);
    if let Ok(pin) = &pin {
        model.snapshots.insert(name.to_owned(), pin.version.0);
    }
    pin.map(drop)
}

async fn restore(world: &World, who: &str, table: &str, version: u64) -> Result<()> {
    let request = RestoreRequest::of(in_d(table), When::Version(Version(version)));
    let effects = vec![Effect::Same(table.to_owned(), table.to_owned(), version)];
    world.model.lock().asked.insert(who.to_owned(), effects);
    let report = world.db().restore(request, &named(who)).await;
    let effects = world.model.lock().asked.remove(who).unwrap_or_default();
    let report = report?;
    // A restore of what is there already needs no commit.
    if report.version_after > report.version_before {
        world.model.lock().put(report.version_after.0, effects);
    }
    Ok(())
}

async fn clone(world: &World, who: &str, name: &str, version: Option<u64>) -> Result<()> {
    let db = world.db();
    let moment = match version {
        Some(version) => db.at(Version(version)).await?,
        None => db.now(),
    };
    let database = moment.catalog().database(SYS, "d")?.clone();
    let bank = moment.catalog().table(&database, "bank")?.clone();
    let mut txn = db.begin(named(who));
    txn.clone_table(&moment, &bank, SYS, "d", name).await?;
    let effects = vec![Effect::Same(name.to_owned(), "bank".to_owned(), moment.version().0)];
    world.commit(who, txn, effects).await
}

async fn drop_table(world: &World, who: &str, name: &str) -> Result<()> {
    let mut txn = world.db().begin(named(who));
    let table = table_named(&txn, "d", name)?;
    txn.drop_table(&table)?;
    world.commit(who, txn, vec![Effect::Drop(name.to_owned())]).await
}

/// Takes, drops and uses snapshots, restores and clones.
async fn keep(world: &World, who: &str, rng: &mut StdRng) -> (String, Result<()>) {
    let head = world.db().now().version().0;
    let name = format!("k{}", rng.random_range(0..6));
    let version = rng.random_range(2..=head);
    match rng.random_range(0..10) {
        0..3 => (format!("snapshot {name}"), snapshot(world, who, &name, false).await),
        3..5 => (format!("compressed snapshot {name}"), snapshot(world, who, &name, true).await),
        5 => {
            let dropped = world.db().drop_snapshot(&name, false, &named(who)).map(drop);
            if dropped.is_ok() {
                world.model.lock().snapshots.remove(&name);
            }
            (format!("drop snapshot {name}"), dropped)
        }
        6 => (format!("restore bank to {version}"), restore(world, who, "bank", version).await),
        7 => (format!("restore load to {version}"), restore(world, who, "load", version).await),
        8 => (format!("clone {name}"), clone(world, who, &name, rng.random_bool(0.5).then_some(version)).await),
        _ => (format!("drop {name}"), drop_table(world, who, &name).await),
    }
}

async fn lay_out(world: &World, rng: &mut StdRng) -> (String, Result<()>) {
    let db = world.db();
    let tables: Vec<TableId> = db.now().catalog().all_tables().map(|table| table.id).collect();
    let mut tables = tables;
    tables.sort_unstable();
    let table = tables[rng.random_range(0..tables.len())];
    match rng.random_range(0..3) {
        0 => ("flush".to_owned(), db.flush().await),
        1 => (format!("compact {table}"), db.compact_table(table).await.map(drop)),
        _ => (format!("optimize {table}"), db.optimize_table(table).await.map(drop)),
    }
}

async fn collect(world: &World, rng: &mut StdRng) -> (String, Result<()>) {
    world.env.advance(rng.random_range(1..12 * 60) * SECOND);
    let Ok(_alone) = world.looking.try_lock() else { return ("no collect".to_owned(), Ok(())) };
    match world.defect {
        Some(Defect::SweepsByList) => {
            let listed: Vec<ObjectMeta> = world.faulty.list(None).try_collect().await.unwrap_or_default();
            let known: BTreeSet<String> =
                world.metastore.files().unwrap().iter().map(|file| file.kind.path(file.id)).collect();
            for meta in listed.iter().filter(|meta| !known.contains(meta.location.as_ref())) {
                let _ = world.faulty.delete(&meta.location).await;
            }
        }
        Some(Defect::ForgetsByList) => {
            let Ok(listed) = world.faulty.list(None).try_collect::<Vec<ObjectMeta>>().await else {
                return ("collect".to_owned(), Ok(()));
            };
            let listed: BTreeSet<_> =
                listed.iter().filter_map(|meta| parse_path(meta.location.as_ref())).map(|(_, id)| id).collect();
            let abandoned = world.db().cold().files().abandoned();
            let missing: Vec<FileId> = abandoned.iter().map(|(id, _)| *id).filter(|id| !listed.contains(id)).collect();
            world.metastore.drop_files(&missing).unwrap();
        }
        _ => {}
    }
    ("collect".to_owned(), world.db().collect().await.map(drop))
}

/// Compares what some moment shows with the model.
async fn audit(world: &World, who: &str, rng: &mut StdRng) -> (String, Result<()>) {
    let db = world.db();
    if rng.random_bool(0.3) {
        let Ok(_alone) = world.looking.try_lock() else { return ("no check".to_owned(), Ok(())) };
        let checked = db.check(None).await;
        if let Ok(checked) = &checked {
            // A file that cannot be read for the moment is told from one that is damaged.
            let damaged = checked.lines().into_iter().find(|line| !line.contains("could not be read"));
            if let Some(line) = damaged {
                world.wrong(format!("{who}: the check finds {line}"));
            }
        }
        return ("check".to_owned(), checked.map(drop));
    }
    let name = format!("k{}", rng.random_range(0..6));
    let when = match rng.random_bool(0.4) {
        true => When::Snapshot(name),
        false => When::Version(Version(rng.random_range(2..=db.now().version().0))),
    };
    let what = format!("read {when:?}");
    (what, read_as(world, who, &when).await)
}

async fn read_as(world: &World, who: &str, when: &When) -> Result<()> {
    let db = world.db();
    let then = db.resolve(when, SYS)?;
    let moment = db.moment(&then)?;
    let expected = world.state(then.version);
    let prefix = format!("{when:?}");
    let mut shown = Answers::new();
    read_tables(&db, &prefix, &moment, then.limit.as_ref(), &mut shown).await;
    world.expect(shown, &prefix, &expected, who)
}

/// Writes a file of several parts, reads it and gives it up.
async fn upload(world: &World) -> Result<()> {
    const BYTES: usize = 9 << 20;
    static BODY: std::sync::LazyLock<Bytes> = std::sync::LazyLock::new(|| {
        Bytes::from((0..BYTES / 4096).map(|n| [n as u8; 4096]).collect::<Vec<_>>().concat())
    });
    let files = world.db().cold().files().clone();
    let mut writer = files.create(FileKind::Part).await?;
    for from in (0..BYTES).step_by(6 << 20) {
        writer.write(BODY.slice(from..BYTES.min(from + (6 << 20)))).await?;
    }
    let record = writer.finish().await?;
    let mut drafts = files.drafts();
    drafts.push(record.clone());
    if record.digest != Digest::of(&BODY) {
        world.wrong("an upload has the digest of something else");
    }
    let middle = 7 << 20..BYTES as u64;
    let read = files.read_ranges(&record, std::slice::from_ref(&middle)).await?;
    if read[0] != BODY.slice(middle.start as usize..middle.end as usize) {
        world.wrong("an upload does not hold what was written");
    }
    drafts.discard().await;
    Ok(())
}

/// Does what an actor does, step by step.
async fn act(world: Arc<World>, who: String, steps: usize, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..steps {
        world.env.advance(rng.random_range(1..20) * SECOND);
        let (what, answer) = match who.as_str() {
            "loader" => ("load".to_owned(), load(&world, &who, &mut rng).await),
            "keeper" => keep(&world, &who, &mut rng).await,
            "upkeep" => lay_out(&world, &mut rng).await,
            "collector" => collect(&world, &mut rng).await,
            "auditor" => audit(&world, &who, &mut rng).await,
            "uploader" => ("upload".to_owned(), upload(&world).await),
            _ => ("transfer".to_owned(), transfer(&world, &who, &mut rng).await),
        };
        world.answered(&who, &what, &answer);
        world.faulty.turns().wait().await;
    }
}

const ACTORS: [&str; 8] = ["teller", "loader", "keeper", "upkeep", "collector", "auditor", "other teller", "uploader"];

/// Tells whether a run writes large files: they take most of its time.
fn has_uploads(world: &World) -> bool {
    let is_asked = matches!(world.defect, Some(Defect::BelievesUploads | Defect::LeavesUploads));
    is_asked || hash(&(world.seed, "uploads")).is_multiple_of(16)
}

/// Lets all actors do some steps, and ends in order or with a kill.
async fn phase(world: &Arc<World>, rng: &mut StdRng) {
    let turns = world.faulty.turns();
    turns.clear();
    let actors = ACTORS.len() - usize::from(!has_uploads(world));
    let handles: Vec<_> = (0..actors)
        .map(|actor| {
            let steps = if ACTORS[actor] == "uploader" { 1 } else { rng.random_range(1..5) };
            let (faulty, who) = (world.faulty.clone(), ACTORS[actor].to_owned());
            Turns::begin(move || faulty.clone(), actor, act(world.clone(), who, steps, rng.random()))
        })
        .collect();
    let mut until_kill = rng.random_bool(0.6).then(|| rng.random_range(5..60));
    loop {
        let waiting = turns.settle(actors).await;
        if waiting.is_empty() {
            break;
        }
        if let Some(left) = &mut until_kill {
            *left -= 1;
            if *left == 0 {
                world.answers.lock().push("killed".to_owned());
                break;
            }
        }
        turns.give(waiting[rng.random_range(0..waiting.len())]);
    }
    for handle in &handles {
        handle.abort();
    }
    for handle in handles {
        if let Err(error) = handle.await
            && error.is_panic()
        {
            world.wrong(format!("an actor panicked: {error:?}"));
        }
    }
    let db = world.db.lock().take().expect("open");
    if until_kill.is_none() {
        let closed = db.close().await;
        world.answered("everybody", "close", &closed);
    }
    drop(db);
    // What is asked for by nobody ends by itself; then the sequencer does, and with it what it was asked for.
    while Arc::strong_count(&world.metastore) > 2 {
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(20))).await.expect("it only waits");
    }
    if until_kill == Some(0) {
        world.faulty.forget_uploads();
    }
    world.learn();
    world.model.lock().asked.clear();
}

/// Makes sure that everything works and nothing is lost, when nothing fails any more.
async fn calm(world: &Arc<World>, rng: &mut StdRng) -> Result<()> {
    world.faulty.calm();
    let db = world.db();
    let head = db.now().version().0;
    // Reading it all takes most of a run's time.
    let step = if all() { 1 } else { 3 };
    for version in (2..=head).rev().step_by(step) {
        read_as(world, "in the end", &When::Version(Version(version))).await?;
    }
    let (mut expected, mut doubtful) = {
        let model = world.model.lock();
        (model.snapshots.clone(), model.doubtful.clone())
    };
    for pin in db.snapshots(SYS)? {
        let version = expected.remove(&pin.name);
        let is_doubtful = doubtful.remove(&pin.name);
        if version != Some(pin.version.0) && !is_doubtful {
            world.wrong(format!("the snapshot {} is of {}, not of {version:?}", pin.name, pin.version));
        }
        read_as(world, "in the end", &When::Snapshot(pin.name)).await?;
    }
    if !expected.is_empty() {
        world.wrong(format!("snapshots are lost: {expected:?}"));
    }
    let calm = "everybody, in the end";
    transfer(world, calm, rng).await?;
    load(world, calm, rng).await?;
    snapshot(world, calm, "last", false).await?;
    db.flush().await?;
    snapshot(world, calm, "last_compressed", true).await?;
    transfer(world, calm, rng).await?;
    restore(world, calm, "bank", head).await?;
    clone(world, calm, "copied", None).await?;
    if has_uploads(world) {
        upload(world).await?;
    }
    for table in db.now().catalog().all_tables() {
        db.compact_table(table.id).await?;
    }
    for version in head..=db.now().version().0 {
        read_as(world, calm, &When::Version(Version(version))).await?;
    }
    let checked = db.check(None).await?;
    if !checked.damages.is_empty() {
        world.wrong(format!("the check finds {:?}", checked.damages));
    }
    for pin in db.snapshots(SYS)? {
        db.drop_snapshot(&pin.name, true, &author())?;
    }
    world.env.advance(BEYOND_THE_WINDOW);
    // The collector minds a clock that jumps; this one does not, but what it keeps until the next time goes then.
    for _ in 0..3 {
        db.collect().await?;
        world.env.advance(GRACE);
        world.faulty.land().await;
    }
    read_as(world, "after the last collection", &When::Now).await
}

/// Returns what is there and nobody knows, and what is known and not there.
async fn garbage(world: &World) -> Vec<String> {
    let there: Vec<ObjectMeta> = world.objects.list(None).try_collect().await.unwrap();
    let is_ours = |name: &String| !name.starts_with("metastore.db");
    let there: BTreeSet<String> = there.iter().map(|meta| meta.location.to_string()).filter(is_ours).collect();
    let known: BTreeSet<String> = world.metastore.files().unwrap().iter().map(|file| file.kind.path(file.id)).collect();
    let mut found: Vec<String> = there.difference(&known).map(|name| format!("{name} is garbage")).collect();
    found.extend(known.difference(&there).map(|name| format!("{name} is missing")));
    found.extend(world.metastore.intents().unwrap().iter().map(|(id, _)| format!("{id} is intended for ever")));
    if world.faulty.open_uploads() > 0 {
        found.push(format!("{} uploads stand open", world.faulty.open_uploads()));
    }
    found
}

/// What a run leaves, to be compared with another of the same seed.
#[derive(PartialEq, Eq, Debug)]
struct Left {
    answers: Vec<String>,
    objects: Vec<(String, Digest)>,
    log: Vec<(u64, i64, String)>,
}

/// What a run came to.
struct Outcome {
    wrong: Vec<String>,
    left: Left,
    faults: BTreeMap<String, u64>,
}

async fn simulate(seed: u64, defect: Option<Defect>, folder: Option<&std::path::Path>) -> Outcome {
    let world = World::new(seed, defect, folder);
    let mut rng = StdRng::seed_from_u64(seed);
    let opened = world.open().await.map(drop);
    world.answered("everybody", "open", &opened);
    let set_up = match opened {
        Ok(()) => set_up(&world).await,
        Err(error) => Err(error),
    };
    match set_up {
        Ok(()) => {
            for _ in 0..3 {
                phase(&world, &mut rng).await;
                if !world.wrong.lock().is_empty() {
                    break;
                }
                let opened = world.open().await.map(drop);
                world.answered("everybody", "open again", &opened);
            }
            if world.wrong.lock().is_empty()
                && let Err(error) = calm(&world, &mut rng).await
            {
                world.wrong(format!("when nothing fails any more: {error:?}"));
            }
            if world.wrong.lock().is_empty() {
                let garbage = garbage(&world).await;
                world.wrong.lock().extend(garbage);
            }
        }
        Err(error) => world.wrong(format!("the first commit, which needs no file: {error:?}")),
    }
    let mut objects = Vec::new();
    for meta in world.objects.list(None).try_collect::<Vec<_>>().await.unwrap() {
        if !meta.location.as_ref().starts_with("metastore.db") {
            let bytes = world.objects.get(&meta.location).await.unwrap().bytes().await.unwrap();
            objects.push((meta.location.to_string(), Digest::of(&bytes)));
        }
    }
    objects.sort();
    let log = world.metastore.entries(&every_entry()).unwrap();
    let log = log.iter().map(|entry| (entry.head.version.0, entry.head.time.0, entry.head.what.clone())).collect();
    let mut wrong = world.faulty.wrong();
    wrong.extend(world.wrong.lock().clone());
    let answers = world.answers.lock().clone();
    Outcome { wrong, left: Left { answers, objects, log }, faults: world.faulty.faults() }
}

/// Does a run on a runtime of its own, in a folder if there is to be one.
fn run(seed: u64, defect: Option<Defect>, in_folder: bool) -> Outcome {
    let run = || {
        let folder = in_folder.then(scratch);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(simulate(seed, defect, folder.as_ref().map(|folder| folder.path())))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Outcome {
        wrong: vec!["it panicked".to_owned()],
        left: Left { answers: Vec::new(), objects: Vec::new(), log: Vec::new() },
        faults: BTreeMap::new(),
    })
}

/// Every so many runs is one in a folder, or one that is done twice.
const SOME: u64 = 10;
const RUNS: u64 = 40;
const RUNS_OF_ALL: u64 = 20_000;
/// How many runs a defect may go unnoticed.
const PATIENCE: u64 = 200;

#[test]
fn an_object_store_may_misbehave() {
    let first = seed() % (1 << 30);
    println!("object store: STRANDLINE_SEED={first}");
    let begun = Instant::now();
    let limit = std::env::var("STRANDLINE_RUNS").ok().and_then(|text| text.parse().ok());
    let count = limit.unwrap_or(if all() { RUNS_OF_ALL } else { RUNS });
    let seeds: Vec<u64> = (first..first + count).collect();
    let outcomes = in_parallel(&seeds, |seed| {
        let in_folder = seed % SOME == 1;
        let outcome = run(*seed, None, in_folder);
        let mut wrong = outcome.wrong;
        if seed % SOME == 2 {
            let again = run(*seed, None, in_folder);
            if again.left != outcome.left {
                let (one, other) = (&outcome.left, &again.left);
                let answers = one.answers.iter().zip(&other.answers).position(|(one, other)| one != other);
                let log = one.log.iter().zip(&other.log).find(|(one, other)| one != other);
                wrong.push(format!("the same seed came to something else: answer {answers:?}, {log:?}"));
            }
        }
        (wrong.into_iter().map(|wrong| format!("seed {seed}: {wrong}")).collect::<Vec<_>>(), outcome.faults)
    });
    let mut faults = BTreeMap::<String, u64>::new();
    let mut wrong = Vec::new();
    for (lines, met) in outcomes {
        wrong.extend(lines);
        met.into_iter().for_each(|(name, count)| *faults.entry(name).or_default() += count);
    }
    let seconds = begun.elapsed().as_secs_f32();
    let met: u64 = faults.values().sum();
    println!("object store: {count} runs in {seconds:.1} s, {met} faults of {} sorts: {faults:?}", faults.len());
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

#[test]
fn storage_that_is_away_is_no_damage() {
    let world = World::new(1, None, None);
    world.faulty.calm();
    block_on(async {
        let db = world.open().await.unwrap();
        set_up(&world).await.unwrap();
        db.flush().await.unwrap();
        let bank = db.now().catalog().all_tables().find(|table| table.name == "bank").unwrap().id;
        world.faulty.set_away(true);
        let mut scrubber = Scrubber::default();
        for _ in 0..100 {
            assert_eq!(scrubber.read(&db, u64::MAX).await.unwrap_err().kind(), Kind::Unavailable);
        }
        assert_eq!(db.check(None).await.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(db.check_table(bank, Depth::Rows).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(db.health().damages.is_empty(), "{:?}", db.health());
        world.faulty.set_away(false);
        scrubber.read(&db, u64::MAX).await.unwrap();
        let health = db.health();
        assert!(health.damages.is_empty() && health.last.is_some_and(|reading| reading.files > 0), "{health:?}");
        let checked = db.check(None).await.unwrap();
        assert!(checked.damages.is_empty() && checked.files > 0, "{checked:?}");
    });
}

#[test]
fn defects_are_noticed() {
    let begun = Instant::now();
    let mut missed = Vec::new();
    for defect in DEFECTS {
        let noticed = (0..PATIENCE).find_map(|seed| {
            let outcome = run(seed, Some(defect), false);
            outcome.wrong.first().map(|wrong| (seed, wrong.clone()))
        });
        match noticed {
            Some((seed, wrong)) => {
                println!("object store: {defect:?} is noticed after {} runs: {wrong}", seed + 1);
            }
            None => missed.push(defect),
        }
    }
    let caught = DEFECTS.len() - missed.len();
    println!("object store: caught {caught} of {} defects in {:.1} s", DEFECTS.len(), begun.elapsed().as_secs_f32());
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// A store that is wrong about the one below it.
#[derive(Debug)]
struct Naive {
    inner: Arc<dyn ObjectStore>,
    defect: Defect,
}

impl fmt::Display for Naive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.defect)
    }
}

const DONE: PutResult = PutResult { e_tag: None, version: None };

#[async_trait]
impl ObjectStore for Naive {
    async fn put_opts(&self, path: &Path, body: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let first = self.inner.put_opts(path, body.clone(), options.clone()).await;
        match (first, self.defect) {
            (Err(_), Defect::BelievesPuts) => Ok(DONE),
            (Err(_), Defect::RetriesBlindly) => match self.inner.put_opts(path, body, options).await {
                Err(object_store::Error::AlreadyExists { .. }) => Ok(DONE),
                second => second,
            },
            (first, _) => first,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(NaiveUpload { upload, defect: self.defect }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        if self.defect != Defect::BelievesDeletes {
            return self.inner.delete_stream(paths);
        }
        let inner = self.inner.clone();
        paths
            .and_then(move |path| {
                let inner = inner.clone();
                async move {
                    let _ = inner.delete(&path).await;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct NaiveUpload {
    upload: Box<dyn MultipartUpload>,
    defect: Defect,
}

#[async_trait]
impl MultipartUpload for NaiveUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.upload.put_part(part)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        match self.upload.complete().await {
            Err(_) if self.defect == Defect::BelievesUploads => Ok(DONE),
            outcome => outcome,
        }
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        match self.defect {
            Defect::LeavesUploads => Ok(()),
            _ => self.upload.abort().await,
        }
    }
}
