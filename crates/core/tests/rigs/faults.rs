//! Rig 4: every write, fsync, rename, open and so on of a fixed script fails once, with EIO and with a full disk, and from
//! then on for good.
//!
//! ```text
//!   state before a step ─► the nth call of the step fails ─► what does the process say and show? ─► again in the process
//!                                                          ─► reopened: nothing lost, nothing half, the check is clean,
//!                                                             the step can be done, no garbage stays
//! ```
//! `cargo xtask fault` runs all of it; the test run a part that its seed chooses.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use strandline_core::db::Database;
use strandline_core::error::{Error, Kind};
use strandline_core::upkeep::check::Checked;

use crate::disk::{Disk, Fault, Op, watch};
use crate::script::{
    Answers, GRACE, Picture, Recorded, SCRIPT, State, Store, block_on, copy_store, files_on_disk, present,
    read_versions, record, scratch, segments_on_disk, without_versions,
};
use crate::{budget, seed};

/// What is done while the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Opens the store as a kill left it after so many steps; without one, makes it.
    Open(usize),
    /// Does the step of this number.
    Step(usize),
    /// Closes the store after so many steps.
    Close(usize),
}

/// Where a run comes from, and what it may come to.
struct Frame<'a> {
    recorded: &'a Recorded,
    deed: Deed,
    before: &'a State,
    after: &'a State,
}

impl Frame<'_> {
    fn new(recorded: &Recorded, deed: Deed) -> Frame<'_> {
        let (before, after) = match deed {
            Deed::Open(steps) | Deed::Close(steps) => (steps, steps),
            Deed::Step(number) => (number, number + 1),
        };
        Frame { recorded, deed, before: &recorded.states[before], after: &recorded.states[after] }
    }

    fn name(&self) -> String {
        match self.deed {
            Deed::Step(number) => SCRIPT[number].name.to_owned(),
            deed => format!("{deed:?}"),
        }
    }

    /// Returns a store of its own to run in.
    fn store(&self, folder: &Path) -> Store {
        if self.deed == Deed::Open(0) {
            std::fs::create_dir_all(folder).unwrap();
        } else {
            copy_store(&self.before.folder, folder);
        }
        let folder = folder.canonicalize().unwrap();
        let number = match self.deed {
            Deed::Open(steps) | Deed::Close(steps) => steps,
            Deed::Step(number) => number,
        };
        Store::at(&folder, self.before.time, 2 + number as u64)
    }

    async fn act(&self, store: &Store, opened: &mut Option<Database>) -> Result<(), Error> {
        match self.deed {
            Deed::Open(_) => *opened = Some(store.open().await?),
            Deed::Step(number) => (SCRIPT[number].run)(opened.as_ref().expect("open")).await?,
            Deed::Close(_) => opened.as_ref().expect("open").close().await?,
        }
        Ok(())
    }
}

/// Counts the calls of a deed that goes well.
fn calls(recorded: &Recorded, deed: Deed) -> Vec<Op> {
    let frame = Frame::new(recorded, deed);
    let scratch = scratch();
    let mut trace = Vec::new();
    let outcome = run_in(&frame, scratch.path(), Fault::none(), &mut |disk: &Disk| trace = disk.trace());
    assert_eq!(outcome, Ok(None), "{} without a fault", frame.name());
    trace
}

/// Runs a deed with a fault. Returns the call that failed, if the deed came to it, or what went wrong.
fn run(recorded: &Recorded, deed: Deed, fault: Fault) -> Result<Option<String>, String> {
    let frame = Frame::new(recorded, deed);
    let scratch = scratch();
    let mut failed = None;
    let run = || run_in(&frame, scratch.path(), fault, &mut |disk: &Disk| failed = disk.reached());
    let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned()));
    let kind = if fault.lie { "unnoticed" } else { "noticed" };
    outcome.map_err(|wrong| {
        let (name, nth, errno) = (frame.name(), fault.nth, fault.errno);
        let what = failed.unwrap_or_default();
        format!("{name}: call {nth} fails with {errno}, {kind}, for good: {}: {what}: {wrong}", fault.sticky)
    })
}

fn run_in(
    frame: &Frame<'_>,
    scratch: &Path,
    fault: Fault,
    watched: &mut dyn FnMut(&Disk),
) -> Result<Option<String>, String> {
    let store = frame.store(&scratch.join("store"));
    let watch = watch(&store.folder);
    let disk = &watch.0;
    let mut acknowledged = false;
    block_on(async {
        let mut opened = None;
        if !matches!(frame.deed, Deed::Open(_)) {
            opened = Some(store.open().await.map_err(|error| format!("cannot be opened before: {error:?}"))?);
        }
        if let Deed::Step(number) = frame.deed {
            store.env.advance(SCRIPT[number].after);
        }
        disk.arm(fault);
        let outcome = frame.act(&store, &mut opened).await;
        watched(disk);
        if !fault.sticky || disk.reached().is_none() {
            disk.heal();
        }
        if let Err(error) = &outcome {
            is_clear(error)?;
            if disk.reached().is_none() {
                return Err(format!("fails by itself: {error:?}"));
            }
        }
        acknowledged = outcome.is_ok();
        // A disk that takes no more writes can still be read.
        if let Some(db) = &opened {
            let shown = present(db).await.map_err(|error| format!("the process cannot read any more: {error:?}"))?;
            match acknowledged {
                true => expect(&shown, &[&frame.after.picture], "in the process, after it was done")?,
                false => expect(&shown, &[&frame.before.picture], "in the process, after it failed")?,
            }
        }
        if !acknowledged && !fault.lie {
            disk.heal();
            match frame.act(&store, &mut opened).await {
                Ok(()) => acknowledged = true,
                Err(error) if error.kind() == Kind::Closed && opened.is_some() => {}
                Err(error) => return Err(format!("cannot be done again, and writes are not refused: {error:?}")),
            }
        }
        if acknowledged
            && !fault.lie
            && let Some(db) = opened.as_ref().filter(|_| !matches!(frame.deed, Deed::Close(_)))
        {
            disk.heal();
            collect(db, &store).await.map_err(|wrong| format!("without being reopened, {wrong}"))?;
        }
        // Half of the runs end with a kill, half with the last handle.
        if !fault.sticky {
            disk.heal();
            copy_store(&store.folder, &scratch.join("killed"));
        }
        Ok(())
    })?;
    let reached = disk.reached();
    disk.heal();
    drop(watch);
    let folder = if fault.sticky { store.folder.clone() } else { scratch.join("killed") };
    let number = SCRIPT.len() as u64 + 3;
    let reopened = Store::at(&folder, store.env.now(), number);
    block_on(verify(frame, &reopened, acknowledged))?;
    Ok(reached)
}

/// Reopens the store and looks at everything.
async fn verify(frame: &Frame<'_>, store: &Store, acknowledged: bool) -> Result<(), String> {
    let damaged = |report: Checked| match report.lines().as_slice() {
        [] => Ok(()),
        damages => Err(format!("the check finds: {}", damages.join(" "))),
    };
    let db = store.open().await.map_err(|error| format!("cannot be opened again: {error:?}"))?;
    let shown = present(&db).await.map_err(|error| format!("cannot be read again: {error:?}"))?;
    let (before, after) = (&frame.before.picture, &frame.after.picture);
    match acknowledged {
        true => expect(&shown, &[after], "after it was acknowledged, and the store reopened")?,
        false => expect(&shown, &[after, before], "after it failed, and the store was reopened")?,
    }
    let mut past = Answers::new();
    let versions = (1..=frame.before.head.0).rev();
    let versions: Vec<u64> = if crate::all() { versions.collect() } else { versions.step_by(4).take(4).collect() };
    read_versions(&db, versions, &mut past).await;
    for (name, answer) in past {
        let answer = answer.map_err(|error| format!("{name} cannot be read again: {error:?}"))?;
        if frame.recorded.history.get(&name).is_some_and(|rows| *rows != answer) {
            return Err(format!("{name} is not what it was: {answer:?}"));
        }
    }
    if without_versions(&shown) != without_versions(after)
        && let Deed::Step(number) = frame.deed
    {
        (SCRIPT[number].run)(&db).await.map_err(|error| format!("cannot be done after all: {error:?}"))?;
    }
    damaged(db.check(Some(&store.folder)).await.map_err(|error| format!("the check ends with {error:?}"))?)?;
    collect(&db, store).await?;
    let shown = present(&db).await.map_err(|error| format!("cannot be read after a collection: {error:?}"))?;
    expect(&shown, &[after], "in the end")?;
    damaged(db.check(Some(&store.folder)).await.map_err(|error| format!("the check ends with {error:?}"))?)
}

/// Collects until all is gone that nothing reaches, lets the log age, and looks for garbage.
async fn collect(db: &Database, store: &Store) -> Result<(), String> {
    for _ in 0..2 {
        store.env.advance(GRACE);
        db.collect().await.map_err(|error| format!("the collection ends with {error:?}"))?;
    }
    let intents = db.metastore().intents().map_err(|error| format!("{error:?}"))?;
    let known = db.metastore().files().map_err(|error| format!("{error:?}"))?;
    let known = known.iter().map(|file| file.kind.path(file.id)).collect();
    let there = files_on_disk(&store.folder);
    if there != known || !intents.is_empty() {
        let garbage: Vec<_> = there.symmetric_difference(&known).collect();
        return Err(format!("after a collection there is garbage, or a file too few: {garbage:?}, {intents:?}"));
    }
    db.metastore().age(0).map_err(|error| format!("the log does not age: {error:?}"))?;
    let (there, known) = (segments_on_disk(&store.folder), segments_recorded(&store.folder));
    match there == known {
        true => Ok(()),
        false => Err(format!("there are the segments {there:?}, and should be {known:?}")),
    }
}

/// Returns the paths of the segments that the metastore knows.
fn segments_recorded(folder: &Path) -> BTreeSet<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(folder.join("metastore.db"), flags).unwrap();
    let mut statement = connection.prepare("SELECT number FROM segment").unwrap();
    let numbers = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    numbers.map(|number| format!("segments/{:016x}.segment", number.unwrap())).collect()
}

/// Compares what is shown with what may be; numbers of commits may differ.
fn expect(shown: &Picture, allowed: &[&Picture], when: &str) -> Result<(), String> {
    let shown = without_versions(shown);
    let allowed: Vec<Picture> = allowed.iter().map(|picture| without_versions(picture)).collect();
    if allowed.contains(&shown) {
        return Ok(());
    }
    let wanted = &allowed[0];
    let names = shown.keys().chain(wanted.keys()).find(|name| shown.get(*name) != wanted.get(*name));
    let name = names.expect("they differ");
    Err(format!("{when}, '{name}' is {:?} instead of {:?}", shown.get(name), wanted.get(name)))
}

/// Checks that an error says something about the disk, and speaks of damage only where SQLite cannot tell: a disk that
/// answers a read with EIO may have lost what was there.
fn is_clear(error: &Error) -> Result<(), String> {
    let said = error.to_string();
    let is_either = said.contains("or the disk cannot be read");
    let fits = match error.kind() {
        Kind::Full | Kind::Unavailable | Kind::Closed | Kind::Internal => is_either || !said.contains("damaged"),
        kind => is_either && kind == Kind::Corrupt,
    };
    match fits && said.len() > 20 && !said.contains("BUG") {
        true => Ok(()),
        false => Err(format!("the error is not clear: {error:?}")),
    }
}

/// Does work items on as many threads as there are processors; returns what went wrong.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let take = || {
        let mut done = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(work(item));
        }
        done
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a run says what went wrong")).collect()
    })
}

/// Returns everything that can be done while the disk fails.
fn deeds() -> Vec<Deed> {
    let mut deeds = vec![Deed::Open(0), Deed::Open(12), Deed::Open(SCRIPT.len()), Deed::Close(16)];
    deeds.extend((0..SCRIPT.len()).map(Deed::Step));
    deeds
}

#[test]
fn every_call_to_the_disk_may_fail() {
    let recorded = record();
    let mut all: Vec<(Deed, Fault)> = Vec::new();
    let mut points = 0;
    for deed in deeds() {
        for (at, op) in calls(&recorded, deed).into_iter().enumerate() {
            points += 1;
            let fault = Fault { nth: at + 1, errno: libc::EIO, ..Fault::none() };
            all.push((deed, fault));
            if op.writes() {
                all.push((deed, Fault { sticky: true, ..fault }));
            }
            if op.needs_room() {
                all.push((deed, Fault { errno: libc::ENOSPC, ..fault }));
                all.push((deed, Fault { errno: libc::ENOSPC, sticky: true, ..fault }));
            }
        }
    }
    let seed = seed();
    all.shuffle(&mut StdRng::seed_from_u64(seed));
    let many = all.len();
    all.truncate(budget(100));
    let outcomes = in_parallel(&all, |(deed, fault)| run(&recorded, *deed, *fault));
    let reached = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
    let wrong: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    println!("I/O errors, seed {seed}: {points} calls; of {many} faults {} were tried, {reached} reached", all.len());
    assert!(wrong.is_empty(), "{} runs went wrong (seed {seed}), among them:\n{}", wrong.len(), first(&wrong, 8));
    assert!(reached * 10 > all.len() * 9, "most faults are reached");
}

/// Past the last call there is nothing to fail: the counting has not missed any.
#[test]
fn a_run_without_a_fault_goes_well() {
    let recorded = record();
    for deed in [Deed::Open(0), Deed::Step(10), Deed::Step(17), Deed::Close(16)] {
        let calls = calls(&recorded, deed).len();
        assert!(calls > 10, "{deed:?}: {calls} calls");
        let fault = Fault { nth: calls + 50, errno: libc::EIO, ..Fault::none() };
        assert_eq!(run(&recorded, deed, fault), Ok(None));
    }
}

/// A part stood whole when its manifest could not be written: both go at the next collection, without a restart.
#[test]
fn what_a_failed_flush_or_load_has_written_is_collected() {
    let recorded = record();
    let number = |name: &str| SCRIPT.iter().position(|step| step.name == name).expect("a step");
    for name in ["flush again", "load in bulk", "flush deletion vectors", "compressed snapshot"] {
        for (nth, errno) in [(1, libc::EIO), (1, libc::ENOSPC), (2, libc::EIO)] {
            let counts: crate::disk::Filter =
                |op, path| op == Op::Write && path.to_string_lossy().contains("/manifests/");
            let outcome = run(&recorded, Deed::Step(number(name)), Fault { nth, errno, counts, ..Fault::none() });
            assert!(nth == 2 || matches!(outcome, Ok(Some(_))), "{outcome:?}");
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}

/// Where SQLite cannot open the metastore to write it, it opens it to read it: a store that took that would fail later.
#[test]
fn a_metastore_that_could_only_be_read_is_refused_when_it_is_opened() {
    let recorded = record();
    let counts: crate::disk::Filter = |op, path| op == Op::Open && path.ends_with("metastore.db");
    let mut nth = 1;
    while let Some(_failed) = run(&recorded, Deed::Open(12), Fault { nth, errno: libc::EIO, counts, ..Fault::none() })
        .unwrap_or_else(|error| panic!("{error}"))
    {
        nth += 1;
    }
    assert!(nth > 2, "{} opens were counted", nth - 1);
}

/// A store that ignores one of these errors loses something, and the rig sees it.
#[test]
fn seeded_defects_are_caught() {
    fn is_file(path: &Path) -> bool {
        ["parts", "deletes", "manifests"].iter().any(|kind| path.parent().is_some_and(|folder| folder.ends_with(kind)))
    }
    fn is_folder(path: &Path) -> bool {
        ["parts", "deletes", "manifests"].iter().any(|kind| path.ends_with(kind))
    }
    fn is_wal(path: &Path) -> bool {
        path.to_string_lossy().ends_with("-wal")
    }
    fn is_metastore(path: &Path) -> bool {
        path.ends_with("metastore.db")
    }
    fn is_segment(path: &Path) -> bool {
        path.parent().is_some_and(|folder| folder.ends_with("segments"))
    }
    let defects: [(&str, crate::disk::Filter); 13] = [
        ("a file's write", |op, path| op == Op::Write && is_file(path)),
        ("a file's fsync", |op, path| op == Op::Sync && is_file(path)),
        ("a file's rename", |op, path| op == Op::Rename && is_file(path)),
        ("the fsync of a file's folder", |op, path| op == Op::SyncFolder && is_folder(path)),
        ("the deletion of a file", |op, path| op == Op::Unlink && is_file(path)),
        ("a segment's write", |op, path| op == Op::Write && is_segment(path)),
        ("a segment's fsync", |op, path| op == Op::Sync && is_segment(path)),
        ("a segment's rename", |op, path| op == Op::Rename && is_segment(path)),
        ("the fsync of the segments' folder", |op, path| op == Op::SyncFolder && path.ends_with("segments")),
        ("a write of the write-ahead log", |op, path| op == Op::Write && is_wal(path)),
        ("the fsync of the write-ahead log", |op, path| op == Op::Sync && is_wal(path)),
        ("the write of a checkpoint", |op, path| op == Op::Write && is_metastore(path)),
        ("the fsync of a checkpoint", |op, path| op == Op::Sync && is_metastore(path)),
    ];
    let recorded = record();
    // A defect is caught as soon as one deed shows it.
    let caught = in_parallel(&defects, |(name, counts)| {
        let fault = Fault { nth: 1, errno: libc::EIO, sticky: true, lie: true, counts: *counts };
        let found = deeds().into_iter().find_map(|deed| run(&recorded, deed, fault).err());
        (*name, found)
    });
    let missed: Vec<_> = caught.iter().filter(|(_, found)| found.is_none()).map(|(name, _)| *name).collect();
    println!("I/O errors: caught {} of {} seeded defects", caught.len() - missed.len(), caught.len());
    assert!(missed.is_empty(), "not caught: errors ignored of {}", missed.join(", "));
}

/// Returns the first lines of many.
pub fn first(lines: &[&String], count: usize) -> String {
    lines.iter().take(count).map(|line| line.as_str()).collect::<Vec<_>>().join("\n")
}
