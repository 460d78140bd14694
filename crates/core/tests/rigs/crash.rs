//! Crashes: a process that works on a store is killed, at any time or at a named point of the source ([`points`]), and now
//! and then the next one while it recovers. Then the store is opened and held against what was acknowledged ([`model`]),
//! and the work goes on in the same store.
//!
//! ```text
//!   child ([`child`])   intent ─► operation ─► acknowledgement        written down outside of the store, one call each
//!   kill -9             anywhere in between
//!   here                open ─► log, rows, snapshots, names ─► check ─► collection ─► the same once more ─► next child
//! ```

use std::collections::{BTreeSet, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use strandline_core::db::{Database, SYS};
use strandline_core::error::Kind;
use strandline_core::ids::{FileId, Version};
use strandline_core::log::{EntryQuery, FileKind};
use strandline_core::moment::Moment;
use strandline_core::upkeep::collect::{Fate, FileVerdict};
use strandline_core::when::{Limit, When};

use self::child::{Act, GRACE, Orders, SUM, Work, lines, options, read, tables};
use self::model::{Effect, Line, Model, State};
use self::points::{POINTS, Takes, is_of_making, is_of_opening, is_of_uploads};
use crate::faults::{first, in_parallel};
use crate::script::{START, block_on, files_on_disk, scratch};
use crate::{all, budget, seed};

mod child;
mod model;
mod points;

/// How a child is told what to do.
const ORDERS: &str = "STRANDLINE_CRASH_CHILD";
/// A child that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many rounds a store lives.
const ROUNDS: usize = 30;

#[test]
#[ignore = "is started by the other tests of this rig, to be killed"]
fn child_process() {
    if let Ok(orders) = std::env::var(ORDERS) {
        child::run(serde_json::from_str(&orders).expect("orders can be read"));
    }
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Killed,
    InOrder,
}

/// How many processes were killed.
#[derive(Default)]
struct Kills {
    all: AtomicUsize,
    at_points: AtomicUsize,
    in_recovery: AtomicUsize,
}

impl Kills {
    fn count(&self, at_point: bool, in_recovery: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.at_points.fetch_add(usize::from(at_point), Ordering::Relaxed);
        self.in_recovery.fetch_add(usize::from(in_recovery), Ordering::Relaxed);
    }

    fn so_far(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    fn told(&self) -> String {
        let (points, recovery) = (self.at_points.load(Ordering::Relaxed), self.in_recovery.load(Ordering::Relaxed));
        format!("{} kills ({points} at failpoints, {recovery} during recovery)", self.so_far())
    }
}

/// A store that is crashed again and again.
struct Chain<'a> {
    folder: PathBuf,
    scratch: tempfile::TempDir,
    model: Model,
    opening: u64,
    random: StdRng,
    kills: &'a Kills,
    /// What was done last, for messages.
    last: String,
}

impl Chain<'_> {
    fn new(seed: u64, kills: &Kills) -> Chain<'_> {
        let scratch = scratch();
        Chain {
            folder: scratch.path().join("store"),
            scratch,
            model: Model::new(START.0),
            opening: 0,
            random: StdRng::seed_from_u64(seed),
            kills,
            last: String::new(),
        }
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join(format!("log-{}", self.opening))
    }

    /// Runs a child to its end, or until it has lived for so long.
    fn child(&mut self, work: Work, act: Act, life: Option<Duration>) -> Result<Ended, String> {
        self.opening += 1;
        self.last = format!("opening {}, {work:?}, {act:?}, {life:?}", self.opening);
        let orders = Orders {
            folder: self.folder.clone(),
            log: self.log(),
            seed: self.random.random(),
            time: self.model.time + 1,
            opening: self.opening,
            work,
            act: act.clone(),
        };
        let said = self.scratch.path().join("said");
        let said_file = std::fs::File::create(&said).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_process", "--ignored", "--nocapture"])
            .env(ORDERS, serde_json::to_string(&orders).unwrap())
            .stdout(Stdio::null())
            .stderr(said_file)
            .spawn()
            .map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > life.unwrap_or(PATIENCE) {
                let threads = threads_of(child.id());
                child.kill().unwrap();
                let status = child.wait().unwrap();
                if life.is_none() {
                    return Err(format!("the child hangs: {threads}"));
                }
                break status;
            }
            std::thread::sleep(Duration::from_micros(500));
        };
        match (status.signal(), status.code()) {
            (Some(libc::SIGKILL), _) => {
                let at_point = matches!(act, Act::Kill(..)) && life.is_none();
                self.kills.count(at_point, work == Work::Open);
                Ok(Ended::Killed)
            }
            (_, Some(0)) => Ok(Ended::InOrder),
            _ => Err(format!("the child ended with {status}: {}", std::fs::read_to_string(&said).unwrap_or_default())),
        }
    }

    /// Kills the next process while it opens the store.
    fn kill_recovery(&mut self) -> Result<(), String> {
        let noted = lines(&self.log());
        let points: Vec<&str> = POINTS.iter().map(|(name, _)| *name).filter(|name| is_of_opening(name)).collect();
        let point = (*points.choose(&mut self.random).expect("there are some")).to_owned();
        let (act, life) = match self.random.random_range(0..4) {
            0 => (Act::Nothing, Some(Duration::from_micros(self.random.random_range(3_000..40_000)))),
            _ => (Act::Kill(point, 1), None),
        };
        self.child(Work::Open, act, life)?;
        // What the one before has written down stands beside.
        let mut together: String = noted.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        together += &std::fs::read_to_string(self.log()).unwrap_or_default();
        std::fs::write(self.log(), together).unwrap();
        Ok(())
    }

    /// Opens the store and looks at everything.
    fn look(&mut self) -> Result<(), String> {
        let noted = lines(&self.log());
        self.look_with(&noted)
    }

    fn look_with(&mut self, noted: &[Line]) -> Result<(), String> {
        self.opening += 1;
        let later = noted.iter().filter_map(|line| match line {
            Line::Opened { time, .. } | Line::Intent { time, .. } | Line::Done { time, .. } => Some(*time),
            Line::Failed { time, .. } => Some(*time),
            Line::Told(_) | Line::Ended { .. } => None,
        });
        let time = later.fold(self.model.time, i64::max) + 1;
        let options = options(time, self.opening);
        let closes = self.random.random::<bool>();
        let picks: Vec<u64> = (0..12).map(|_| self.random.random()).collect();
        let (folder, model) = (&self.folder, &mut self.model);
        block_on(async {
            let db = Database::open(folder, options).await.map_err(|error| format!("cannot be opened: {error:?}"))?;
            let told = |error: strandline_core::error::Error| format!("{error:?}");
            let query =
                EntryQuery { from: Version(1), upto: Version::MAX, tables: None, upkeep: true, limit: 1_000_000 };
            let mut log: Vec<_> = db.metastore().entries(&query).map_err(told)?;
            log.reverse();
            model.take(noted, log.into_iter().map(|entry| entry.head).collect())?;
            let mut reached = HashSet::new();
            compare(&db, model, &picks, &mut reached).await?;
            model.compare_names(&names(&db).map_err(told)?)?;
            sound(&db, folder, &reached).await?;
            collect(&db, folder).await?;
            compare(&db, model, &picks, &mut HashSet::new()).await?;
            sound(&db, folder, &HashSet::new()).await?;
            model.time = db.env().now().0;
            if closes {
                db.close().await.map_err(told)?;
            }
            Ok(())
        })
    }
}

/// Says of each thread of a process what the system knows: its name, its state, and the ticks that it has computed for.
fn threads_of(process: u32) -> String {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let said = tasks.map(|task| {
        let stat = read(task.path().join("stat"));
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let name = read(task.path().join("comm"));
        let waits = read(task.path().join("wchan"));
        format!("{} {} {:?} {waits}", name.trim(), fields.first().unwrap_or(&"?"), fields.get(11))
    });
    said.collect::<Vec<_>>().join("; ")
}

/// Returns the names that must stand until somebody takes them away.
fn names(db: &Database) -> strandline_core::error::Result<HashSet<String>> {
    let pins = db.snapshots(SYS)?.into_iter().map(|pin| pin.name);
    let mut names: HashSet<String> =
        pins.filter(|name| name.starts_with(['k', 'm'])).map(|name| format!("snapshot {name}")).collect();
    names.extend(db.pitrs(SYS)?.into_iter().map(|pitr| format!("pitr {}", pitr.name)));
    Ok(names)
}

/// Compares what is shown with what was committed: now, at every snapshot, and at some versions of the past. Notes the
/// files that are needed for that.
async fn compare(db: &Database, model: &Model, picks: &[u64], reached: &mut HashSet<FileId>) -> Result<(), String> {
    let now = db.now();
    compare_moment(db, "now", &now, None, model.state(now.version().0.min(model.head())), reached).await?;
    for pin in db.snapshots(SYS).map_err(|error| format!("{error:?}"))? {
        let what = format!("snapshot '{}' of version {}", pin.name, pin.version);
        let then = db.resolve(&When::Snapshot(pin.name.clone()), SYS).map_err(|error| format!("{what}: {error:?}"))?;
        let moment = db.moment(&then).map_err(|error| format!("{what}: {error:?}"))?;
        compare_moment(db, &what, &moment, then.limit.as_ref(), model.state(pin.version.0), reached).await?;
    }
    let mut compared = 0;
    for pick in picks {
        let version = 1 + pick % model.head().max(1);
        let then = match db.resolve(&When::Version(Version(version)), SYS) {
            Ok(then) => then,
            Err(error) if error.kind() == Kind::OutOfWindow => continue,
            Err(error) => return Err(format!("version {version}: {error:?}")),
        };
        let moment = db.moment(&then).map_err(|error| format!("version {version}: {error:?}"))?;
        let what = format!("version {version}");
        // What only its window keeps may be thinned out: it is read again after that.
        let mut thinnable = HashSet::new();
        compare_moment(db, &what, &moment, then.limit.as_ref(), model.state(version), &mut thinnable).await?;
        compared += 1;
        if compared == 3 {
            break;
        }
    }
    Ok(())
}

async fn compare_moment(
    db: &Database,
    what: &str,
    moment: &Moment,
    limit: Option<&Limit>,
    state: &State,
    reached: &mut HashSet<FileId>,
) -> Result<(), String> {
    let admitted = |name: &str| {
        let (database, table) = name.split_once('.').expect("a table lies in a database");
        limit.is_none_or(|limit| limit.admits_table("sys", database, table).is_ok())
    };
    let mut found = BTreeSet::new();
    let mut sum = 0;
    for (name, table) in tables(moment) {
        if !admitted(&name) {
            continue;
        }
        let rows = read(db, moment, &table).await.map_err(|error| format!("{what}: {name}: {error:?}"))?;
        match state.get(&name) {
            Some(wanted) if **wanted == rows => {}
            Some(wanted) => return Err(format!("{what}: {name} shows {rows:?} instead of {wanted:?}")),
            None => return Err(format!("{what}: {name} is there, and should not be")),
        }
        if ["d.a", "d.b"].contains(&name.as_str()) {
            sum += rows.values().sum::<i64>();
        }
        found.insert(name);
        let content = moment.content(table.id).map_err(|error| format!("{what}: {error:?}"))?;
        if let Some(digest) = content.and_then(|content| content.manifest) {
            let manifest = db.cold().manifest(digest).await.map_err(|error| format!("{what}: {error:?}"))?;
            reached.extend(manifest.files());
            let own =
                db.metastore().file_by_digest(FileKind::Manifest, digest).map_err(|error| format!("{error:?}"))?;
            reached.extend(own.map(|file| file.id));
        }
    }
    if let Some(name) = state.keys().find(|name| admitted(name) && !found.contains(*name)) {
        return Err(format!("{what}: lost: the table {name}"));
    }
    if found.contains("d.a") && found.contains("d.b") && sum != SUM {
        return Err(format!("{what}: the accounts have {sum} together instead of {SUM}"));
    }
    Ok(())
}

/// Has the store check itself, and sees that nothing goes which is needed.
async fn sound(db: &Database, folder: &Path, reached: &HashSet<FileId>) -> Result<(), String> {
    let report = db.check(Some(folder)).await.map_err(|error| format!("the check ends with {error:?}"))?;
    let unknown = report.notes.iter().find(|note| note.contains("unknown to the log") || note.contains("not a name"));
    if let Some(wrong) = report.lines().first().or(unknown) {
        return Err(format!("the check finds: {wrong}"));
    }
    let plan = db.plan_collection().await.map_err(|error| format!("no collection can be planned: {error:?}"))?;
    let needed = plan.files.iter().filter(|file| reached.contains(&file.id));
    if let Some(file) = needed.clone().find(|file| !matches!(file.fate, Fate::Kept(_))) {
        return Err(format!("the collector would take what is needed: {file:?}"));
    }
    if needed.count() != reached.len() {
        return Err("the collector does not know all files that are needed".to_owned());
    }
    Ok(())
}

/// How often a collection is followed by another one, at most.
const ROUNDS_MAX: u32 = 12;

/// Collects everything, and looks for garbage.
async fn collect(db: &Database, folder: &Path) -> Result<(), String> {
    let told = |error| format!("{error:?}");
    for round in 0.. {
        db.env().advance(2 * GRACE);
        db.collect().await.map_err(|error| format!("the collection ends with {error:?}"))?;
        // Time passes, and more can be thinned out each time, until there is no more of it.
        let waits = |file: &FileVerdict| matches!(file.fate, Fate::Waits(_));
        if round >= 2 && (round == ROUNDS_MAX || !db.plan_collection().await.map_err(told)?.files.iter().any(waits)) {
            break;
        }
    }
    let intents = db.metastore().intents().map_err(|error| format!("{error:?}"))?;
    let known = db.metastore().files().map_err(|error| format!("{error:?}"))?;
    let known: BTreeSet<String> = known.iter().map(|file| file.kind.path(file.id)).collect();
    let there = files_on_disk(folder);
    if there != known || !intents.is_empty() {
        let garbage: Vec<_> = there.symmetric_difference(&known).collect();
        return Err(format!("after a collection there is garbage, or a file too few: {garbage:?}, {intents:?}"));
    }
    let plan = db.plan_collection().await.map_err(|error| format!("{error:?}"))?;
    match plan.files.iter().find(|file| !matches!(file.fate, Fate::Kept(_))) {
        Some(file) => Err(format!("after a collection something is left: {file:?}")),
        None => Ok(()),
    }
}

/// Kills a process at a point, whatever it takes to get there, and looks at the store.
fn kill_at(chain: &mut Chain<'_>, point: &str) -> Result<(), String> {
    let work = if is_of_uploads(point) { Work::Large } else { Work::Everything };
    // What a task needs is not always there, as with the other points.
    for _ in 0..8 {
        let ended = chain.child(work, Act::Kill(point.to_owned(), 1), None)?;
        chain.look()?;
        if ended == Ended::Killed {
            return Ok(());
        }
    }
    Err(format!("the work never comes to '{point}'"))
}

/// Cuts the points into groups of which each has a store of its own.
fn groups(points: Vec<&'static str>, seed: u64) -> Vec<(u64, Vec<&'static str>)> {
    let (making, mut others): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| is_of_making(point));
    others.shuffle(&mut StdRng::seed_from_u64(seed));
    let alone = making.into_iter().map(|point| vec![point]);
    let groups = alone.chain(others.chunks(12).map(<[_]>::to_vec));
    groups.enumerate().map(|(at, group)| (seed.wrapping_add(at as u64), group)).collect()
}

fn report(what: &str, wrong: Vec<String>) {
    let lines: Vec<&String> = wrong.iter().collect();
    assert!(wrong.is_empty(), "{what}: {} went wrong, among them:\n{}", wrong.len(), first(&lines, 8));
}

#[test]
fn a_kill_at_every_point_loses_nothing() {
    let (seed, kills) = (seed(), Kills::default());
    let items = groups(POINTS.iter().map(|(name, _)| *name).collect(), seed);
    let outcomes = in_parallel(&items, |(seed, points)| {
        let mut chain = Chain::new(*seed, &kills);
        for (round, point) in points.iter().enumerate() {
            let outcome = kill_at(&mut chain, point).and_then(|()| match round % 5 {
                4 => {
                    let life = Duration::from_millis(chain.random.random_range(20..300));
                    chain.child(Work::Everything, Act::Nothing, Some(life))?;
                    chain.kill_recovery()?;
                    chain.look()
                }
                _ => Ok(()),
            });
            outcome.map_err(|wrong| format!("{point}: {}: {wrong}", chain.last))?;
        }
        Ok(())
    });
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    println!("crashes, seed {seed}: {} points, {}, {} lost", POINTS.len(), kills.told(), wrong.len());
    report(&format!("crashes at points, seed {seed}"), wrong);
}

/// One round: a process works and is killed, sometimes the next one as well, and the store is looked at.
fn round(chain: &mut Chain<'_>, number: usize) -> Result<(), String> {
    let points: Vec<&str> = POINTS.iter().map(|(name, _)| *name).filter(|name| !is_of_uploads(name)).collect();
    let point = (*points.choose(&mut chain.random).expect("there are some")).to_owned();
    let (act, life) = match chain.random.random_range(0..2) {
        0 => (Act::Nothing, Some(Duration::from_millis(chain.random.random_range(4..900)))),
        _ => (Act::Kill(point, chain.random.random_range(1..6)), None),
    };
    chain.child(Work::Everything, act, life)?;
    if number % 5 == 4 {
        chain.kill_recovery()?;
    }
    chain.look()
}

#[test]
fn kills_at_any_time_lose_nothing() {
    let (seed, kills) = (seed(), Kills::default());
    let asked = std::env::var("STRANDLINE_KILLS").ok().and_then(|text| text.parse().ok());
    let wanted: usize = asked.unwrap_or(if all() { 2000 } else { 16 });
    let rounds = if wanted < 2 * ROUNDS { 8 } else { ROUNDS };
    let chains: Vec<u64> = (0..wanted.div_ceil(rounds) as u64 * 4).map(|at| seed.wrapping_add(at)).collect();
    let lost = Mutex::new(Vec::new());
    in_parallel(&chains, |seed| {
        let mut chain = Chain::new(*seed, &kills);
        for number in 0..rounds {
            if kills.so_far() >= wanted || lost.lock().unwrap().len() > 3 {
                return;
            }
            if let Err(wrong) = round(&mut chain, number) {
                let wrong = format!("store {seed}, {}: {wrong}", chain.last);
                // At once, too: a long run may be cut short.
                println!("{wrong}");
                lost.lock().unwrap().push(wrong);
                return;
            }
            if number + 1 == rounds && wanted >= 2 * ROUNDS {
                println!("{}", kills.told());
            }
        }
    });
    let wrong = lost.into_inner().unwrap();
    println!("{}, seed {seed}, {} lost", kills.told(), wrong.len());
    report(&format!("crashes, seed {seed}"), wrong);
    assert!(kills.so_far() >= wanted, "there were too few kills");
}

/// Lets something fail, or panic, at a point; tells whether anybody heard of it.
fn fail_at(point: &str, act: Act, seed: u64, kills: &Kills) -> Result<bool, String> {
    let mut chain = Chain::new(seed, kills);
    let work = if is_of_uploads(point) { Work::Large } else { Work::Everything };
    let ended = chain.child(work, act.clone(), None);
    let run = |chain: &mut Chain<'_>| {
        if ended.clone()? != Ended::InOrder {
            return Err("it was killed".to_owned());
        }
        let noted = lines(&chain.log());
        let word = if matches!(act, Act::Panic(..)) { "panic" } else { "a test lets it fail" };
        let heard = noted.iter().any(|line| match line {
            Line::Told(error) | Line::Failed { error, .. } => error.contains(word),
            _ => false,
        });
        let in_work = noted.iter().any(|line| matches!(line, Line::Failed { error, .. } if error.contains(word)));
        let refused = noted.iter().find_map(|line| match line {
            Line::Ended { refused } => Some(refused.clone()),
            _ => None,
        });
        let refused = refused.ok_or("it did not come to its end")?;
        // A full disk is said before anything is written; after any other failure nobody knows what the disk holds.
        match (&act, &refused) {
            (Act::Fail(point, _, how), refused) if point == "metastore::entry" && in_work => {
                let is_right = refused.is_some() == (how != "full");
                is_right
                    .then_some(())
                    .ok_or_else(|| format!("after a commit failed ({how}), writes are refused: {refused:?}"))?;
            }
            (_, Some(refused)) if !refused.ends_with("Closed") => {
                return Err(format!("writes are refused with an unclear error: {refused}"));
            }
            _ => {}
        }
        chain.look()?;
        // The next process goes on as if nothing had been.
        chain.child(Work::Open, Act::Nothing, None)?;
        chain.look()?;
        Ok(heard)
    };
    run(&mut chain).map_err(|wrong| format!("{point}: {act:?}, store {seed}: {wrong}"))
}

#[test]
fn an_error_at_any_point_is_told_and_nothing_is_lost() {
    let (seed, kills) = (seed(), Kills::default());
    let mut items: Vec<(&str, &str)> = Vec::new();
    for (point, _) in POINTS.iter().filter(|(_, takes)| *takes == Takes::Error) {
        items.extend([(*point, "broken"), (*point, "full")]);
    }
    let count = items.len();
    items.shuffle(&mut StdRng::seed_from_u64(seed));
    items.truncate(budget(12));
    items.extend([("metastore::entry", "broken"), ("metastore::entry", "full")]);
    let silent = Mutex::new(Vec::new());
    let outcomes = in_parallel(&items, |(point, how)| {
        // Some are passed while the store is opened: an error in the middle of the work says more.
        let is_of_all = ["metastore", "commit", "file", "durable"].iter().any(|area| point.starts_with(area));
        let first = if is_of_all { [20, 3, 1] } else { [1, 2, 5] };
        // What a task needs is not always there, as where another one has dropped the table: then a point is not passed.
        for (number, nth) in first.into_iter().chain([1; 9]).enumerate() {
            let act = Act::Fail((*point).to_owned(), nth, (*how).to_owned());
            if fail_at(point, act, seed.wrapping_add(number as u64), &kills)? {
                return Ok(());
            }
        }
        silent.lock().unwrap().push(*point);
        Ok(())
    });
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    let silent = silent.into_inner().unwrap();
    println!("errors at points, seed {seed}: {} of {count} tried, {} went wrong", items.len(), wrong.len());
    report(&format!("errors at points, seed {seed}"), wrong);
    assert!(silent.is_empty(), "nobody was told of an error at {silent:?}, seed {seed}");
}

#[test]
fn a_panic_at_any_point_loses_nothing() {
    let (seed, kills) = (seed(), Kills::default());
    let mut items: Vec<&str> = POINTS.iter().map(|(name, _)| *name).collect();
    items.shuffle(&mut StdRng::seed_from_u64(seed));
    items.truncate(budget(8));
    items.extend(["metastore::drafted", "sequencer::durable"]);
    let outcomes =
        in_parallel(&items, |point| fail_at(point, Act::Panic((*point).to_owned(), 1), seed, &kills).map(drop));
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    println!("panics at points, seed {seed}: {} of {} tried, {} went wrong", items.len(), POINTS.len(), wrong.len());
    report(&format!("panics at points, seed {seed}"), wrong);
}

/// Does harm to a store, or to what was written down about it, as a defect would.
type Harm = fn(&Path, &mut Vec<Line>) -> bool;

const HARMS: &[(&str, Harm)] = &[
    ("the write-ahead log is lost", |folder, _| std::fs::write(folder.join("metastore.db-wal"), []).is_ok()),
    ("a file is lost", |folder, _| {
        let Ok(mut parts) = std::fs::read_dir(folder.join("parts")) else { return false };
        parts.all(|entry| std::fs::remove_file(entry.unwrap().path()).is_ok())
    }),
    ("a file that nobody knows", |folder, _| {
        let id = strandline_core::env::Env::fixed(START, 7 << 50).file_id();
        std::fs::write(folder.join(FileKind::Part.path(id)), "x").is_ok()
    }),
    ("a commit of nobody", |folder, _| {
        block_on(async {
            let db = Database::open(folder, options(START.0, 1 << 20)).await.unwrap();
            let name = "o999999999".to_owned();
            let mut txn = db.begin(strandline_core::txn::Author { account: SYS, name });
            txn.create_database(SYS, "z", "").unwrap();
            txn.commit().await.is_ok()
        })
    }),
    ("a snapshot is lost", |folder, _| {
        block_on(async {
            let db = Database::open(folder, options(START.0, 1 << 20)).await.unwrap();
            let pins = db.metastore().pins().unwrap();
            let ids: Vec<_> = pins.iter().filter(|pin| pin.name.starts_with('k')).map(|pin| pin.id).collect();
            db.metastore().drop_pins(&ids).unwrap() > 0
        })
    }),
    ("an acknowledgement without a commit", |_, noted| {
        let done = noted.iter_mut().rev().find_map(|line| match line {
            Line::Done { version: Some(version), .. } => Some(version),
            _ => None,
        });
        done.map(|version| *version += 1000).is_some()
    }),
    ("a failure that was done", |_, noted| {
        let done = noted.iter_mut().find_map(|line| match line {
            Line::Done { op, version: Some(_), time } => Some((*op, *time, line)),
            _ => None,
        });
        let Some((op, time, line)) = done else { return false };
        *line = Line::Failed { op, error: String::new(), sure: true, time };
        true
    }),
    ("half a transaction", |_, noted| {
        let done: HashSet<u64> = noted.iter().filter_map(acknowledged).collect();
        let transfers = noted.iter_mut().filter_map(|line| match line {
            Line::Intent { op, effect: Effect::Rows(writes), .. } if done.contains(op) && writes.len() == 2 => {
                Some(writes)
            }
            _ => None,
        });
        transfers.last().map(|writes| writes.pop()).is_some()
    }),
    ("seen before it was durable", |_, noted| {
        let seen = noted.iter_mut().rev().find_map(|line| match line {
            Line::Intent { head, .. } => Some(head),
            _ => None,
        });
        seen.map(|head| *head += 1000).is_some()
    }),
    ("a dropped snapshot comes back", |_, noted| {
        let gone = noted.iter().find_map(|line| match line {
            Line::Intent { op, effect: Effect::Name(name), .. } => Some((*op, name.clone())),
            _ => None,
        });
        let Some((op, name)) = gone else { return false };
        noted.push(Line::Intent { op: op + 500, effect: Effect::Unname(name), head: 1, time: 0 });
        noted.push(Line::Done { op: op + 500, version: None, time: 0 });
        true
    }),
];

fn acknowledged(line: &Line) -> Option<u64> {
    match line {
        Line::Done { op, .. } => Some(*op),
        _ => None,
    }
}

/// What a crash could do to a store with a defect is seen.
#[test]
fn seeded_defects_are_caught() {
    let (seed, kills) = (seed(), Kills::default());
    let outcomes = in_parallel(HARMS, |(name, harm)| {
        for at in 0..4 {
            let mut chain = Chain::new(seed.wrapping_add(at), &kills);
            chain.child(Work::Everything, Act::Kill("close::before".to_owned(), 1), None).unwrap();
            let mut noted = lines(&chain.log());
            if harm(&chain.folder, &mut noted)
                && let Err(caught) = chain.look_with(&noted)
            {
                return Ok(format!("{name}: {}", caught.chars().take(100).collect::<String>()));
            }
        }
        Err(*name)
    });
    let missed: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().copied()).collect();
    println!("crashes, seed {seed}: caught {} of {} seeded defects", outcomes.len() - missed.len(), outcomes.len());
    for caught in outcomes.iter().flatten() {
        println!("  {caught}");
    }
    assert!(missed.is_empty(), "not caught: {}", missed.join(", "));
}
