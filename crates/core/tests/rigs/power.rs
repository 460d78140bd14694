//! Rig 3: the power goes, at any moment. What was acknowledged by then is there, what was under way is there or is not, and
//! the rest of the store is as it was.
//!
//! ```text
//!   a seeded mix of work ─► what the disk was asked, in order ─► cut anywhere; what was not synced: none, some, all of it
//!        │ after each acknowledgement: how far that had come         │
//!        └─ what may be shown from here on ────────────────────────► open the image, look at everything, go on with it
//! ```
//! Here the disk is a [tape](crate::tape) of this process's calls: quick, for every test run. `cargo xtask power` does the
//! same below a file system, with the writes of a block device (`blocks`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use futures::future::join_all;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use strandline_core::cold::DurableLocal;
use strandline_core::db::{Database, SYS};
use strandline_core::error::{Kind, Result};
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{Time, Version};
use strandline_core::txn::OnDuplicate;
use strandline_core::txn::bulk::BulkLoad;
use strandline_core::when::When;

use crate::disk::{Disk, record, watch};
use crate::faults::{first, in_parallel};
use crate::script::{self, Answers, GRACE, Picture, START, Store, author, block_on, rows, scratch, table_named};
use crate::seed;
use crate::tape::{Event, Later, Model, Tape};

/// Where the store lies below what is recorded: its folders are made with it.
pub const PLACE: &str = "a/store";

/// Something was acknowledged.
#[derive(Clone)]
struct Ack {
    what: String,
    /// How far the disk had come.
    at: u64,
    time: Time,
    head: Version,
    /// Snapshots with their rows, users, policies.
    names: Picture,
}

/// What a run was told, and what may be shown therefore.
pub struct Told {
    acks: Vec<Ack>,
    /// What each version showed when it was new.
    history: BTreeMap<u64, Picture>,
}

impl Told {
    fn new() -> Told {
        let none = Ack { what: "nothing".to_owned(), at: 0, time: START, head: Version(0), names: Picture::new() };
        Told { acks: vec![none], history: BTreeMap::new() }
    }

    /// Takes down what is acknowledged, and what that shows.
    async fn acknowledged(&mut self, what: &str, at: u64, db: &Database) {
        let head = db.now().version();
        let before = self.acks.last().expect("the first is there").head;
        for version in before.0 + 1..=head.0 {
            self.history.insert(version, version_of(db, version).await.expect("a new version can be read"));
        }
        let names = names_of(db).await.expect("what was just done can be read");
        if self.acks.len() == 1 && self.history.len() as u64 == head.0 {
            // An image that was never opened is opened for the first time.
            self.acks[0].names = names.clone();
        }
        self.acks.push(Ack { what: what.to_owned(), at, time: db.env().now(), head, names });
    }

    /// Returns the last acknowledgement that came before the disk had come so far.
    pub fn known_at(&self, position: u64) -> usize {
        self.acks.partition_point(|ack| ack.at <= position) - 1
    }

    /// Returns what was acknowledged.
    pub fn what(&self, known: usize) -> &str {
        &self.acks[known].what
    }

    /// Returns how far the disk had come at each acknowledgement.
    pub fn positions(&self) -> impl Iterator<Item = u64> {
        self.acks.iter().map(|ack| ack.at)
    }

    fn next(&self, known: usize) -> &Ack {
        self.acks.get(known + 1).unwrap_or(&self.acks[known])
    }
}

async fn version_of(db: &Database, version: u64) -> Result<Picture, String> {
    let mut answers = Answers::new();
    script::read_versions(db, [version], &mut answers).await;
    bare(answers, &format!("version {version} "))
}

async fn names_of(db: &Database) -> Result<Picture, String> {
    let mut answers = Answers::new();
    script::read_names(db, &mut answers).await;
    bare(answers, "")
}

async fn now_of(db: &Database) -> Result<Picture, String> {
    let mut answers = Answers::new();
    script::read_moment(db, "now", &db.now(), &mut answers).await;
    bare(answers, "now ")
}

fn bare(answers: Answers, prefix: &str) -> Result<Picture, String> {
    let bare = |(name, answer): (String, Result<Vec<String>>)| match answer {
        Ok(rows) => Ok((name.strip_prefix(prefix).unwrap_or(&name).to_owned(), rows)),
        Err(error) => Err(format!("'{name}' cannot be read: {error:?}")),
    };
    answers.into_iter().map(bare).collect()
}

/// Opens a store once more. A process that another thread begins has, until it runs its program, all that is open here:
/// the lock too.
async fn open(store: &Store) -> Result<Database> {
    let begun = std::time::Instant::now();
    loop {
        match store.open().await {
            Err(error) if error.message().contains("is in use") && begun.elapsed().as_secs() < 20 => {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            opened => return opened,
        }
    }
}

/// Does a seeded mix of work in the folder, asking after each step how far the disk has come.
pub async fn work(folder: &Path, steps: usize, seed: u64, position: &dyn Fn() -> u64) -> Told {
    let store = Store::at(folder, START, 1);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut told = Told::new();
    let mut db = store.open().await.expect("a new store");
    told.acknowledged("open", position(), &db).await;
    begin(&db).await.expect("tables");
    told.acknowledged("create tables", position(), &db).await;
    for number in 0..steps {
        store.env.advance(rng.random_range(1_000..5_000_000));
        let deed = match FIRST.get(number) {
            Some(name) => DEEDS.iter().find(|(other, _, _)| other == name).expect("a deed"),
            None => DEEDS.choose_weighted(&mut rng, |(_, weight, _)| *weight).expect("there are deeds"),
        };
        if deed.0 == "close and open" {
            db.close().await.expect("it closes");
            drop(db);
            db = open(&store).await.expect("it opens again");
        } else {
            let outcome = (deed.2)(&db, &mut rng, number).await;
            outcome.unwrap_or_else(|error| panic!("step {number}, {}: {error:?} (seed {seed})", deed.0));
        }
        told.acknowledged(&format!("{number}: {}", deed.0), position(), &db).await;
    }
    db.close().await.expect("it closes");
    told
}

type Deed = for<'a> fn(&'a Database, &'a mut StdRng, usize) -> futures::future::BoxFuture<'a, Result<()>>;

/// What may be done, with how often of a hundred times or so.
const DEEDS: &[(&str, u32, Deed)] = &[
    ("set pairs", 24, |db, rng, _| Box::pin(set_pairs(db, picks(rng)))),
    ("commits at once", 8, |db, rng, _| Box::pin(at_once(db, rng))),
    ("delete pairs", 5, |db, rng, _| Box::pin(delete_pairs(db, picks(rng)))),
    ("rows without a key", 6, |db, rng, _| Box::pin(keyless(db, rng))),
    ("load", 7, |db, _, number| Box::pin(load(db, number))),
    ("flush", 9, |db, _, _| Box::pin(db.flush())),
    ("compact", 4, |db, _, _| Box::pin(compact(db))),
    ("optimize", 3, |db, _, _| Box::pin(optimize(db))),
    ("snapshot", 6, |db, _, number| Box::pin(snapshot(db, number, false))),
    ("compressed snapshot", 4, |db, _, number| Box::pin(snapshot(db, number, true))),
    ("drop snapshot", 4, |db, rng, _| Box::pin(drop_snapshot(db, rng))),
    ("restore", 4, |db, rng, _| Box::pin(restore(db, rng))),
    ("clone", 3, |db, _, number| Box::pin(clone(db, number))),
    ("drop a clone", 3, |db, _, _| Box::pin(drop_clone(db))),
    ("user", 1, |db, _, _| Box::pin(script::user(db))),
    ("policy", 2, |db, rng, _| Box::pin(policy(db, rng))),
    ("collect", 4, |db, _, _| Box::pin(collect(db, 0))),
    ("collect much later", 3, |db, _, _| Box::pin(collect(db, script::BEYOND_THE_WINDOW))),
    ("age", 7, |db, _, _| Box::pin(async { db.metastore().age(0) })),
    ("checkpoint", 3, |db, _, _| Box::pin(async { db.metastore().tidy() })),
    ("close and open", 4, |_, _, _| Box::pin(async { Ok(()) })),
];

/// What is done first: every kind of file is written, and some are deleted.
const FIRST: &[&str] = &[
    "set pairs",
    "load",
    "flush",
    "age",
    "delete pairs",
    "flush",
    "close and open",
    "set pairs",
    "age",
    "optimize",
    "collect much later",
    "collect much later",
    "age",
    "set pairs",
];

async fn begin(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let d = txn.create_database(SYS, "d", "")?.id;
    for (name, keyed) in [("t", true), ("u", true), ("k", false)] {
        txn.create_table(script::definition(d, name, script::SHAPE, keyed))?;
    }
    txn.commit().await.map(drop)
}

/// A key, and the value that it gets in `t`. In `u` it gets the opposite: at every version a pair adds up to nothing.
type Pair = (i64, i64);

fn picks(rng: &mut StdRng) -> Vec<Pair> {
    let mut pairs = BTreeMap::new();
    for _ in 0..rng.random_range(1..6) {
        pairs.insert(rng.random_range(1..40), rng.random_range(1..1_000_000));
    }
    pairs.into_iter().collect()
}

async fn set_pairs(db: &Database, pairs: Vec<Pair>) -> Result<()> {
    let mut txn = db.begin(author());
    for (name, sign) in [("t", 1), ("u", -1)] {
        let table = table_named(&txn, "d", name)?;
        let pairs: Vec<_> = pairs.iter().map(|(id, v)| (*id, Some(v * sign))).collect();
        txn.insert(&table, &rows(&table, &pairs), OnDuplicate::Replace).await?;
    }
    txn.commit().await.map(drop)
}

/// Several commits that come together become durable together.
async fn at_once(db: &Database, rng: &mut StdRng) -> Result<()> {
    let all: Vec<Vec<Pair>> = (0..rng.random_range(2..5)).map(|_| picks(rng)).collect();
    for outcome in join_all(all.into_iter().map(|pairs| set_pairs(db, pairs))).await {
        match outcome {
            // The same keys at the same time.
            Err(error) if error.kind() == Kind::Conflict => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

async fn delete_pairs(db: &Database, pairs: Vec<Pair>) -> Result<()> {
    let mut txn = db.begin(author());
    let ids: Vec<i64> = pairs.iter().map(|(id, _)| *id).collect();
    for name in ["t", "u"] {
        let table = table_named(&txn, "d", name)?;
        txn.delete(&table, &script::keys(&table, &ids)).await?;
    }
    txn.commit().await.map(drop)
}

async fn keyless(db: &Database, rng: &mut StdRng) -> Result<()> {
    let mut txn = db.begin(author());
    let k = table_named(&txn, "d", "k")?;
    txn.insert(&k, &rows(&k, &[(rng.random_range(1..9), None), (1, Some(1))]), OnDuplicate::Error).await?;
    txn.commit().await.map(drop)
}

async fn load(db: &Database, number: usize) -> Result<()> {
    let mut txn = db.begin(author());
    let k = table_named(&txn, "d", "k")?;
    let mut load = BulkLoad::new(&k, OnDuplicate::Error);
    for first in [1, 7, 13] {
        let many: Vec<_> = (first..first + 6).map(|id| (id, Some(number as i64))).collect();
        load.write(&mut txn, &rows(&k, &many)).await?;
    }
    load.finish(&mut txn).await?;
    txn.commit().await.map(drop)
}

async fn compact(db: &Database) -> Result<()> {
    for table in db.now().catalog().all_tables() {
        db.compact_table(table.id).await?;
    }
    Ok(())
}

async fn optimize(db: &Database) -> Result<()> {
    let table = db.now().catalog().all_tables().next().cloned();
    if let Some(table) = table {
        db.optimize_table(table.id).await?;
    }
    Ok(())
}

async fn snapshot(db: &Database, number: usize, compress: bool) -> Result<()> {
    let spec = SnapshotSpec { compress, ..SnapshotSpec::of(&format!("s{number}"), script::of_d()) };
    db.create_snapshot(&spec, &author()).await.map(drop)
}

fn some_snapshot(db: &Database, rng: &mut StdRng) -> Result<Option<String>> {
    let names: Vec<String> = db.snapshots(SYS)?.into_iter().map(|pin| pin.name).collect();
    Ok(names.choose(rng).cloned())
}

async fn drop_snapshot(db: &Database, rng: &mut StdRng) -> Result<()> {
    match some_snapshot(db, rng)? {
        Some(name) => db.drop_snapshot(&name, false, &author()).map(drop),
        None => Ok(()),
    }
}

async fn restore(db: &Database, rng: &mut StdRng) -> Result<()> {
    let Some(name) = some_snapshot(db, rng)? else { return Ok(()) };
    let request = RestoreRequest::of(script::of_d(), When::Snapshot(name));
    db.restore(request, &author()).await.map(drop)
}

async fn clone(db: &Database, number: usize) -> Result<()> {
    let moment = db.now();
    let mut txn = db.begin_at(moment.clone(), author());
    txn.clone_database(&moment, "d", SYS, SYS, &format!("e{number}")).await?;
    txn.commit().await.map(drop)
}

async fn drop_clone(db: &Database) -> Result<()> {
    let mut txn = db.begin(author());
    let databases = txn.catalog().databases_of(SYS);
    let Some(clone) = databases.iter().find(|database| database.name.starts_with('e')).cloned() else { return Ok(()) };
    txn.drop_database(&clone)?;
    txn.commit().await.map(drop)
}

async fn policy(db: &Database, rng: &mut StdRng) -> Result<()> {
    let outcome = match rng.random_range(0..3) {
        0 => script::pitr_of(db, script::of_d()),
        1 => script::retention(db).await,
        _ => script::schedule(db).await,
    };
    match outcome {
        Err(error) if matches!(error.kind(), Kind::AlreadyExists(_)) => Ok(()),
        outcome => outcome,
    }
}

async fn collect(db: &Database, later: i64) -> Result<()> {
    db.env().advance(later);
    db.collect().await?;
    db.env().advance(GRACE);
    db.collect().await.map(drop)
}

/// Looks at a store after a power loss, at which the run knew of so many acknowledgements, and goes on with it; opens it
/// once more if asked to.
pub async fn verify(store: &Store, told: &Told, known: usize, again: bool) -> Result<(), String> {
    let db = store.open().await.map_err(|error| format!("cannot be opened: {error:?}"))?;
    verify_open(&db, store, told, known).await?;
    go_on(&db, store).await?;
    if !again {
        return Ok(());
    }
    let head = db.now().version();
    let (now, names) = (now_of(&db).await?, names_of(&db).await?);
    drop(db);
    let db = open(store).await.map_err(|error| format!("cannot be opened again: {error:?}"))?;
    same("reopened, now", &now_of(&db).await?, &now)?;
    same("reopened, the names", &names_of(&db).await?, &names)?;
    if db.now().version() != head {
        return Err(format!("reopened, it is at {} instead of {head}", db.now().version()));
    }
    Ok(())
}

/// Returns the store of an image.
pub fn store_at(root: &Path, told: &Told, known: usize) -> Store {
    // No two runs may mint the same names.
    Store::at(&root.join(PLACE), told.next(known).time, 2 + known as u64)
}

async fn verify_open(db: &Database, store: &Store, told: &Told, known: usize) -> Result<(), String> {
    let ack = &told.acks[known];
    let next = told.next(known);
    let head = db.now().version();
    if head < ack.head {
        return Err(format!("lost: it is at version {head}, and {} was acknowledged", ack.head));
    }
    if head > next.head {
        return Err(format!("it is at version {head}, but nothing after {} had begun", next.head));
    }
    let now = now_of(db).await?;
    pairs_add_up(&now)?;
    same("now", &now, &told.history[&head.0])?;
    let names = names_of(db).await?;
    if names != next.names {
        same("the names", &names, &ack.names)?;
    }
    let step = if crate::all() { 5 } else { 1 + head.0 as usize / 2 };
    for version in (1..head.0).rev().step_by(step) {
        // Of what is out of the window there is nothing to see.
        let then = version_of(db, version).await?;
        let mut wanted = told.history[&version].clone();
        wanted.retain(|name, _| then.contains_key(name));
        same(&format!("version {version}"), &then, &wanted)?;
    }
    for _ in 0..2 {
        store.env.advance(GRACE);
        db.collect().await.map_err(|error| format!("the collection ends with {error:?}"))?;
    }
    let intents = db.metastore().intents().map_err(|error| format!("{error:?}"))?;
    let recorded = db.metastore().files().map_err(|error| format!("{error:?}"))?;
    let recorded = recorded.iter().map(|file| file.kind.path(file.id)).collect();
    let there = script::files_on_disk(&store.folder);
    if there != recorded || !intents.is_empty() {
        let garbage: Vec<_> = there.symmetric_difference(&recorded).collect();
        return Err(format!("after a collection there is garbage, or a file too few: {garbage:?}, {intents:?}"));
    }
    // The check reads all that is left, and so what the present and the snapshots are made of.
    check(db, &store.folder).await
}

async fn check(db: &Database, folder: &Path) -> Result<(), String> {
    let report = db.check(Some(folder)).await.map_err(|error| format!("the check ends with {error:?}"))?;
    match report.lines().as_slice() {
        [] => Ok(()),
        damages => Err(format!("the check finds: {}", damages.join(" "))),
    }
}

/// Writes into a store, as whoever comes after a power loss.
async fn go_on(db: &Database, store: &Store) -> Result<(), String> {
    let outcome = async {
        if db.catalog().database(SYS, "d").is_err() {
            begin(db).await?;
        }
        store.env.advance(1_000_000);
        set_pairs(db, vec![(1, 11), (50, 50)]).await?;
        let t = db.begin(author());
        db.flush_table(table_named(&t, "d", "t")?.id).await?;
        set_pairs(db, vec![(50, 51)]).await
    };
    outcome.await.map_err(|error: strandline_core::error::Error| format!("nothing can be written: {error:?}"))
}

/// Checks that each key of `t` and `u` has a value and its opposite.
fn pairs_add_up(now: &Picture) -> Result<(), String> {
    let values = |name: &str| -> BTreeMap<i64, i64> {
        let rows = now.get(name).into_iter().flatten();
        let number = |row: &str, at: usize| row.split(' ').nth(at)?.split_once('=')?.1.parse::<i64>().ok();
        rows.filter_map(|row| Some((number(row, 0)?, number(row, 1)?))).collect()
    };
    let (t, mut u) = (values("d.t"), values("d.u"));
    u.values_mut().for_each(|v| *v = -*v);
    if t == u { Ok(()) } else { Err(format!("half of a transaction: {t:?} and {u:?}")) }
}

fn same(what: &str, shown: &Picture, wanted: &Picture) -> Result<(), String> {
    let Some(name) = shown.keys().chain(wanted.keys()).find(|name| shown.get(*name) != wanted.get(*name)) else {
        return Ok(());
    };
    Err(format!("{what}: '{name}' is {:?} instead of {:?}", shown.get(name), wanted.get(name)))
}

/// Runs a check that may panic, as one that says so.
pub fn guarded(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// A run with its tape.
struct Run {
    seed: u64,
    tape: Tape,
    told: Told,
}

fn run(seed: u64, steps: usize) -> Run {
    let root = scratch();
    let watch = record(root.path());
    let told = block_on(work(&root.path().join(PLACE), steps, seed, &|| watch.0.position() as u64));
    let tape = watch.0.take_tape();
    Run { seed, tape, told }
}

/// Which syncs a defective store leaves out, of the events so far.
type LeftOut = fn(&[Event]) -> bool;

/// How many losses may be needed to show a defect. That of a new metastore's name shows for a few calls alone, and only where
/// the disk keeps a later name and not this one: in about one of seventy.
const DEFECT_IMAGES: usize = 3000;

/// Where to cut, and what of the rest is there.
#[derive(Clone, Copy)]
struct Loss {
    cut: usize,
    later: Later,
    seed: u64,
    /// The power goes a second time, soon after.
    twice: bool,
}

impl Run {
    /// Chooses losses, in their order: half of them where something has just been acknowledged.
    fn losses(&self, count: usize, rng: &mut StdRng) -> Vec<Loss> {
        let acks: Vec<usize> = self.told.acks.iter().map(|ack| ack.at as usize).collect();
        let mut losses: Vec<Loss> = (0..count)
            .map(|number| Loss {
                cut: match rng.random() {
                    true => *acks.choose(rng).expect("there are acknowledgements"),
                    false => rng.random_range(0..=self.tape.events.len()),
                },
                later: *Later::EACH.choose(rng).expect("there are some"),
                seed: rng.random(),
                twice: number % 5 == 0,
            })
            .collect();
        losses.sort_by_key(|loss| loss.cut);
        losses
    }

    /// Tries losses, in their order; returns what went wrong.
    fn lose(&self, losses: &[Loss], left_out: LeftOut, only_first: bool) -> Vec<String> {
        let mut model = self.tape.before.clone();
        let (mut done, mut wrong) = (0, Vec::new());
        for loss in losses {
            for at in done..loss.cut {
                if !left_out(&self.tape.events[..=at]) {
                    model.apply(&self.tape.events[at]);
                }
            }
            done = done.max(loss.cut);
            if let Err(error) = guarded(|| self.try_image(&model, loss)) {
                let known = &self.told.acks[self.told.known_at(loss.cut as u64)].what;
                let Loss { cut, later, seed, .. } = loss;
                let of = self.tape.events.len();
                wrong
                    .push(format!("run {}, call {cut} of {of}, after '{known}', {later:?} {seed}: {error}", self.seed));
                if only_first {
                    break;
                }
            }
        }
        wrong
    }

    /// Looks for a loss that shows a defect: soon after the sync that it leaves out, and where the next things have been
    /// acknowledged. With the sync, nothing may be wrong there.
    fn find(&self, left_out: LeftOut) -> Option<String> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let events = &self.tape.events;
        let sites: Vec<usize> = (0..events.len()).filter(|at| left_out(&events[..=*at])).collect();
        (0..DEFECT_IMAGES).find_map(|_| {
            let site = *sites.choose(&mut rng)?;
            let next = self.told.acks.partition_point(|ack| ack.at as usize <= site);
            let ack = self.told.acks.get(next + rng.random_range(0..3)).map(|ack| ack.at as usize);
            let soon = site + rng.random_range(1..24);
            let cut = ack.filter(|_| rng.random()).unwrap_or(soon).min(events.len());
            let later = *Later::EACH.choose(&mut rng).expect("there are some");
            let loss = Loss { cut, later, seed: rng.random(), twice: false };
            let wrong = self.lose(&[loss], left_out, true).pop()?;
            self.lose(&[loss], |_| false, true).is_empty().then_some(wrong)
        })
    }

    fn try_image(&self, model: &Model, loss: &Loss) -> Result<(), String> {
        let scratch = scratch();
        let root = scratch.path();
        let mut rng = StdRng::seed_from_u64(loss.seed);
        model.image(root, loss.later, &mut rng);
        let known = self.told.known_at(loss.cut as u64);
        let store = store_at(root, &self.told, known);
        if loss.twice {
            return self.lose_again(&store, known, &mut rng);
        }
        let _watch = watch(root);
        block_on(verify(&store, &self.told, known, loss.seed.is_multiple_of(4)))
    }

    /// Opens the store, commits a little, and loses power again.
    fn lose_again(&self, store: &Store, known: usize, rng: &mut StdRng) -> Result<(), String> {
        let root = store.folder.ancestors().nth(2).expect("it lies two below");
        let watch = record(root);
        let disk: &Disk = &watch.0;
        let (ack, next) = (&self.told.acks[known], self.told.next(known));
        let mut told = Told::new();
        let second = async {
            let db = store.open().await.map_err(|error| format!("cannot be opened: {error:?}"))?;
            let head = db.now().version();
            let before = self.told.history.range(..=head.0).map(|(version, shown)| (*version, shown.clone()));
            told.history = before.collect();
            same("now", &now_of(&db).await?, &told.history[&head.0])?;
            told.acks[0] = Ack { time: store.env.now(), head, names: names_of(&db).await?, ..told.acks[0].clone() };
            if (head < ack.head || head > next.head) && known > 0 {
                return Err(format!("it is at version {head}, and {} was acknowledged", ack.head));
            }
            if db.catalog().database(SYS, "d").is_err() {
                begin(&db).await.map_err(|error| format!("nothing can be written: {error:?}"))?;
                told.acknowledged("create tables", disk.position() as u64, &db).await;
            }
            for number in 0..3 {
                store.env.advance(1_000_000);
                let done = set_pairs(&db, picks(rng)).await;
                done.map_err(|error| format!("nothing can be written: {error:?}"))?;
                told.acknowledged(&format!("commit {number}"), disk.position() as u64, &db).await;
            }
            Ok(())
        };
        block_on(second)?;
        let tape = disk.take_tape();
        drop(watch);
        let again = Run { seed: self.seed, tape, told };
        let losses: Vec<Loss> =
            again.losses(3, rng).into_iter().map(|loss| Loss { twice: rng.random_range(0..4) == 0, ..loss }).collect();
        match again.lose(&losses, |_| false, true).pop() {
            None => Ok(()),
            Some(wrong) => Err(format!("and then again: {wrong}")),
        }
    }
}

#[test]
fn the_power_may_go_at_any_moment() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let (runs, steps, images) = if crate::all() { (40, 120, 500) } else { (2, 40, 40) };
    let seeds: Vec<u64> = (0..runs).map(|_| rng.random()).collect();
    let outcomes = in_parallel(&seeds, |seed| {
        let run = run(*seed, steps);
        let losses = run.losses(images, &mut StdRng::seed_from_u64(*seed));
        (run.tape.events.len(), losses.len(), run.lose(&losses, |_| false, false))
    });
    let calls: usize = outcomes.iter().map(|(calls, _, _)| calls).sum();
    let tried: usize = outcomes.iter().map(|(_, tried, _)| tried).sum();
    let wrong: Vec<&String> = outcomes.iter().flat_map(|(_, _, wrong)| wrong).collect();
    println!("power loss, seed {seed}: {tried} images of {runs} runs with {calls} calls; {} went wrong", wrong.len());
    assert!(wrong.is_empty(), "{} images are wrong (seed {seed}), among them:\n{}", wrong.len(), first(&wrong, 8));
}

/// The kinds of files, by their folders.
fn is_kind(path: &Path) -> bool {
    ["parts", "deletes", "manifests"].iter().any(|kind| path == Path::new(PLACE).join(kind))
}

fn is_store(path: &Path) -> bool {
    path == Path::new(PLACE)
}

fn is_wal(path: &Path) -> bool {
    path.ends_with("metastore.db-wal")
}

/// Tells whether the last of these events is the first sync of the store's folder since one that fits.
fn first_sync_of_store_since(events: &[Event], fits: impl Fn(&Event) -> bool) -> bool {
    let is_sync = |event: &Event| matches!(event, Event::SyncFolder { path } if is_store(path));
    let Some((last, before)) = events.split_last() else { return false };
    is_sync(last) && before.iter().rev().find(|event| is_sync(event) || fits(event)).is_some_and(fits)
}

/// Tells whether the last of these events syncs the store's folder while the write-ahead log is what is new there.
fn syncs_name_of_wal(events: &[Event]) -> bool {
    let Some((Event::SyncFolder { path }, before)) = events.split_last() else { return false };
    let named = before.iter().rev().find_map(|event| match event {
        Event::Create { path, .. }
        | Event::Folder { path }
        | Event::Unlink { path }
        | Event::Rename { to: path, .. } => Some(path).filter(|path| path.parent() == Some(Path::new(PLACE))),
        _ => None,
    });
    is_store(path) && named.is_some_and(|path| is_wal(path) || path.ends_with("metastore.db-shm"))
}

/// Tells whether the last of these events syncs a file of a kind before it gets its name.
fn syncs_staged(events: &[Event], kind: &str) -> bool {
    let folder = Path::new(PLACE).join(kind);
    matches!(events.last(), Some(Event::Sync { path, .. }) if path.parent() == Some(&*folder))
}

/// Tells whether the last of these events syncs a folder of a kind, after a file got its name there, or lost it.
fn syncs_kind_after(events: &[Event], kind: Option<&str>, fits: impl Fn(&Event) -> Option<&PathBuf>) -> bool {
    let Some((Event::SyncFolder { path: folder }, before)) = events.split_last() else { return false };
    let fitting = kind.map_or_else(|| is_kind(folder), |kind| *folder == Path::new(PLACE).join(kind));
    let named = |event: &Event| match event {
        Event::Rename { to: path, .. } | Event::Unlink { path } => path.parent() == Some(folder.as_path()),
        _ => false,
    };
    fitting && before.iter().rev().find(|event| named(event)).is_some_and(|event| fits(event).is_some())
}

fn renamed(event: &Event) -> Option<&PathBuf> {
    if let Event::Rename { to, .. } = event { Some(to) } else { None }
}

fn unlinked(event: &Event) -> Option<&PathBuf> {
    if let Event::Unlink { path } = event { Some(path) } else { None }
}

/// Stores that leave out one sync each. Those that SQLite makes are here too: it is asked for them.
const DEFECTS: &[(&str, LeftOut)] = &[
    (
        "the folders above a new store",
        |events| matches!(events.last(), Some(Event::SyncFolder { path }) if path == Path::new("") || path == Path::new("a")),
    ),
    (
        "a new metastore",
        |events| matches!(events.last(), Some(Event::Sync { path, .. }) if path.ends_with("metastore.db.new")),
    ),
    ("the name of a new metastore", |events| {
        first_sync_of_store_since(
            events,
            |event| matches!(event, Event::Rename { to, .. } if to.ends_with("metastore.db")),
        )
    }),
    // SQLite syncs this name too, with the first commit; ours tells whether that failed.
    ("the name of a new write-ahead log", syncs_name_of_wal),
    ("a part", |events| syncs_staged(events, "parts")),
    ("a deletion vector", |events| syncs_staged(events, "deletes")),
    ("a manifest", |events| syncs_staged(events, "manifests")),
    ("the name of a part", |events| syncs_kind_after(events, Some("parts"), renamed)),
    ("the name of a deletion vector", |events| syncs_kind_after(events, Some("deletes"), renamed)),
    ("the name of a manifest", |events| syncs_kind_after(events, Some("manifests"), renamed)),
    ("the name of a folder of files", |events| {
        first_sync_of_store_since(events, |event| matches!(event, Event::Folder { path } if is_kind(path)))
    }),
    ("a segment", |events| syncs_staged(events, "segments")),
    ("the name of a segment", |events| syncs_kind_after(events, Some("segments"), renamed)),
    ("the name of the folder of segments", |events| {
        let is_made = |event: &Event| matches!(event, Event::Folder { path } if path.ends_with("segments"));
        first_sync_of_store_since(events, is_made)
    }),
    ("a deletion", |events| syncs_kind_after(events, None, unlinked)),
    ("the write-ahead log", |events| matches!(events.last(), Some(Event::Sync { path, .. }) if is_wal(path))),
    (
        "a checkpoint",
        |events| matches!(events.last(), Some(Event::Sync { path, .. }) if path.ends_with("metastore.db")),
    ),
];

#[test]
fn a_sync_left_out_is_caught() {
    let seed = seed();
    let run = run(seed, 45);
    let caught = in_parallel(DEFECTS, |(name, left_out)| (*name, run.find(*left_out)));
    for (name, found) in &caught {
        println!("without the sync of {name}: {}", found.as_deref().unwrap_or("nothing is wrong"));
    }
    let missed: Vec<_> = caught.iter().filter(|(_, found)| found.is_none()).map(|(name, _)| *name).collect();
    println!("power loss, seed {seed}: caught {} of {} syncs left out", caught.len() - missed.len(), caught.len());
    assert!(missed.is_empty(), "not caught (seed {seed}): a store without the sync of {}", missed.join(", "));
}

/// The store of files by itself, with what the database asks of it only for large files, or never.
struct Objects {
    tape: Tape,
    /// How far the disk had come, which file, and what it holds: nothing if it is gone.
    acks: Vec<(usize, &'static str, Option<&'static str>)>,
}

fn objects() -> Objects {
    let root = scratch();
    let watch = record(root.path());
    let mut acks = Vec::new();
    let mut said = |name, text| acks.push((watch.0.position(), name, text));
    block_on(async {
        let store = DurableLocal::open(root.path())?;
        let path = |name: &str| object_store::path::Path::from(name);
        store.put_opts(&path("a/new"), "new".into(), PutMode::Create.into()).await?;
        said("a/new", Some("new"));
        store.put(&path("b/put"), "put".into()).await?;
        said("b/put", Some("put"));
        let mut upload = store.put_multipart(&path("c/d/upload")).await?;
        upload.put_part("up".into()).await?;
        upload.put_part("load".into()).await?;
        upload.complete().await?;
        said("c/d/upload", Some("upload"));
        store.copy(&path("a/new"), &path("e/copy")).await?;
        said("e/copy", Some("new"));
        store.put(&path("f/before"), "moved".into()).await?;
        said("f/before", Some("moved"));
        store.put(&path("h/between"), "between".into()).await?;
        said("h/between", Some("between"));
        store.rename(&path("f/before"), &path("g/after")).await?;
        said("g/after", Some("moved"));
        said("f/before", None);
        store.delete(&path("b/put")).await?;
        said("b/put", None);
        store.delete(&path("h/between")).await?;
        said("h/between", None);
        Ok::<_, Box<dyn std::error::Error>>(())
    })
    .expect("a disk that works");
    Objects { tape: watch.0.take_tape(), acks }
}

impl Objects {
    /// Tries every cut, a few times each, until something goes wrong.
    fn lose(&self, left_out: &dyn Fn(&[Event]) -> bool) -> Result<(), String> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut model = self.tape.before.clone();
        for cut in 0..=self.tape.events.len() {
            for later in Later::EACH {
                let image = scratch();
                model.image(image.path(), later, &mut rng);
                let known = self.acks.partition_point(|(at, _, _)| *at <= cut);
                let under_way = self.acks.get(known).map(|(at, _, _)| *at);
                let touched =
                    |name: &str| self.acks.iter().any(|(at, other, _)| Some(*at) == under_way && *other == name);
                let wanted: BTreeMap<_, _> = self.acks[..known].iter().map(|(_, name, text)| (*name, *text)).collect();
                for (name, text) in wanted.into_iter().filter(|(name, _)| !touched(name)) {
                    let shown = std::fs::read_to_string(image.path().join(name)).ok();
                    if shown.as_deref() != text {
                        return Err(format!("call {cut}, {later:?}: '{name}' is {shown:?} instead of {text:?}"));
                    }
                }
            }
            if let Some(event) = self.tape.events.get(cut)
                && !left_out(&self.tape.events[..=cut])
            {
                model.apply(event);
            }
        }
        Ok(())
    }
}

#[test]
fn every_sync_of_the_store_of_files_is_needed() {
    let objects = objects();
    assert_eq!(objects.lose(&|_| false), Ok(()));
    let events = &objects.tape.events;
    let syncs: Vec<usize> = (0..events.len()).filter(|at| is_sync(&events[*at])).collect();
    let is_needed = |at: &&usize| objects.lose(&|so_far| so_far.len() == **at + 1).is_err();
    let (needed, other): (Vec<usize>, Vec<usize>) = syncs.iter().partition(is_needed);
    println!("power loss, files: caught {} of {} syncs left out", needed.len(), syncs.len());
    // A file under a new name, and folders that are known: they are on the disk already, which nobody asks.
    for at in other {
        match &events[at] {
            Event::Sync { path, .. } => assert!(path.ends_with("e/copy") || path.ends_with("g/after"), "{path:?}"),
            Event::SyncFolder { path } => assert_eq!(path, Path::new("")),
            _ => {}
        }
    }
    assert!(needed.len() >= 22, "{needed:?}");
}

fn is_sync(event: &Event) -> bool {
    matches!(event, Event::Sync { .. } | Event::SyncFolder { .. })
}
