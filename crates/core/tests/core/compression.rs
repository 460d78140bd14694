//! Compressed snapshots: a copy that needs nothing of the present, made by a job.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use strandline_core::catalog::Content;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::error::{Error, Kind, Result, What};
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::ColumnId;
use strandline_core::jobs::{JobInfo, JobState};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{FileKind, Metastore, Pin, Scope};
use strandline_core::scan::TableScan;
use strandline_core::schema::Table;
use strandline_core::when::{When, Window};

use crate::failing::FailingMetastore;
use crate::support::*;

fn compressed(name: &str) -> SnapshotSpec {
    SnapshotSpec { compress: true, ..SnapshotSpec::of(name, Scope::Database("d".to_owned())) }
}

fn restore_of(name: &str) -> RestoreRequest {
    RestoreRequest::of(Scope::Database("d".to_owned()), When::Snapshot(name.to_owned()))
}

async fn objects_of(objects: &InMemory) -> BTreeSet<String> {
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

fn copy_of(pin: &Pin) -> &[(strandline_core::ids::TableId, Content)] {
    pin.terms.copy.as_deref().expect("a copy")
}

/// Returns the files of a snapshot's copy, and the length of its parts.
async fn files_of(db: &Database, pin: &Pin) -> (BTreeSet<String>, u64) {
    let (mut files, mut bytes) = (BTreeSet::new(), 0);
    for digest in copy_of(pin).iter().filter_map(|(_, content)| content.manifest) {
        let record = db.metastore().file_by_digest(FileKind::Manifest, digest).unwrap().expect("committed");
        files.insert(FileKind::Manifest.path(record.id));
        for part in &db.cold().manifest(digest).await.unwrap().parts {
            assert!(part.deletions.is_none(), "a copy holds what is visible");
            assert!(db.metastore().file(part.file).unwrap().is_some(), "its digest is recorded");
            files.insert(FileKind::Part.path(part.file));
            bytes += part.bytes;
        }
    }
    (files, bytes)
}

/// Returns every file in the store's folders, by its path below `root`.
fn on_disk(root: &Path) -> Vec<PathBuf> {
    let folders = ["parts", "deletes", "manifests"].map(|folder| root.join(folder));
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    entries.map(|entry| entry.unwrap().path().strip_prefix(root).unwrap().to_owned()).collect()
}

/// Reads everything that a scan shows.
async fn read_all(db: &Database, scan: &TableScan) -> Result<usize> {
    let mut rows = scan.rows.iter().map(|batch| batch.num_rows()).sum();
    for part in &scan.parts {
        let batches = db.cold().scan(&scan.table, &part.part, part.version, None, &part.excluded, false).await?;
        rows += batches.try_collect::<Vec<_>>().await?.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    Ok(rows)
}

#[tokio::test]
async fn it_survives_the_loss_of_every_live_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { env: Env::real(), ..options() };
    let open = async || Database::open(folder.path(), options.clone()).await.unwrap();
    let db = open().await;
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let u = create_table(&db, table(database, "u", Shape::Keyless)).await;
    create_table(&db, table(database, "empty", Shape::Keyed)).await;
    let rows: Vec<(i32, i32)> = (0..500).map(|id| (id, id * 2)).collect();
    insert(&db, &t, &rows).await;
    insert(&db, &u, &[(1, 1), (2, 2)]).await;
    db.flush().await.unwrap();
    // Some in a second part, some gone by a deletion vector, some rows and deletes only in the log.
    let delete = async |id: i32| {
        let mut txn = db.begin(author());
        let key = key_batch(&t, &[key_of(&t, &row(&t, id, 0))]);
        assert_eq!(txn.delete(&t, &key).await.unwrap(), 1);
        txn.commit().await.unwrap();
    };
    insert(&db, &t, &[(1000, 1)]).await;
    delete(3).await;
    db.flush().await.unwrap();
    insert(&db, &t, &[(2000, 2)]).await;
    delete(4).await;
    let (in_t, in_u) = (pairs(&db, &t).await, pairs(&db, &u).await);
    assert_eq!(in_t.len(), 500);

    let pin = db.create_snapshot(&compressed("keep"), &author()).await.unwrap();
    assert_eq!(copy_of(&pin).len(), 3);
    let (own, bytes) = files_of(&db, &pin).await;
    let sizes = db.snapshot_sizes(SYS, |_| true).await.unwrap();
    assert_eq!((sizes[0].bytes, sizes[0].unique_bytes), (bytes, bytes), "what is on disk, and nobody else's");
    let lengths = own.iter().filter(|name| name.starts_with("parts/"));
    let lengths = lengths.map(|name| std::fs::metadata(folder.path().join(name)).unwrap().len());
    assert_eq!(lengths.sum::<u64>(), bytes);
    assert!(db.metastore().intents().unwrap().is_empty(), "the commit of the pin made them reachable");

    insert(&db, &t, &[(3000, 3)]).await;
    db.flush().await.unwrap();
    db.close().await.unwrap();
    drop(db);
    let lost: Vec<PathBuf> =
        on_disk(folder.path()).into_iter().filter(|path| !own.contains(path.to_str().unwrap())).collect();
    let parts = lost.iter().filter(|path| path.starts_with("parts")).count();
    assert!(parts >= 3 && lost.len() >= parts + 3, "parts, manifests and a deletion vector: {lost:?}");
    for (number, path) in lost.iter().enumerate() {
        let path = folder.path().join(path);
        match number % 3 {
            0 => std::fs::write(path, b"no longer Parquet").unwrap(),
            _ => std::fs::remove_file(path).unwrap(),
        }
    }

    let db = open().await;
    assert!(db.now().scan(&t).await.is_err(), "the present is lost");
    let resolved = db.resolve(&When::Snapshot("keep".to_owned()), SYS).unwrap();
    let then = db.moment(&resolved).unwrap();
    let scan = then.scan(&t).await.unwrap();
    assert_eq!(scan.row_count(), in_t.len() as u64);
    assert_eq!(read_all(&db, &scan).await.unwrap(), in_t.len());
    let one = key_of(&t, &row(&t, 7, 14));
    assert!(then.get(&t, &one).await.unwrap().is_some());
    let mut plan = db.plan_restore(restore_of("keep"), &author()).await.unwrap();
    plan.count_rows().await.unwrap();
    let of_t = plan.steps.iter().find(|step| step.table == "t").unwrap();
    assert_eq!((of_t.rows_now, of_t.rows_then), (None, Some(500)));
    assert_eq!(of_t.reason, "gets the rows of the snapshot's copy");

    db.restore(restore_of("keep"), &author()).await.unwrap();
    assert_eq!(pairs(&db, &t).await, in_t);
    assert_eq!(pairs(&db, &u).await, in_u);
    // The restored tables live on the copy's files, and go on.
    let taken = try_insert(&db, &t, &[(1000, 9)]).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::Duplicate);
    insert(&db, &t, &[(4000, 4)]).await;
    insert(&db, &u, &[(3, 3)]).await;
    db.flush().await.unwrap();
    assert_eq!(pairs(&db, &t).await.len(), in_t.len() + 1);
    assert_eq!(pairs(&db, &u).await.len(), in_u.len() + 1);
    assert!(db.metastore().check().unwrap().is_empty());
    // And the snapshot is what it was.
    assert_eq!(db.moment(&resolved).unwrap().scan(&t).await.unwrap().row_count(), in_t.len() as u64);
}

#[tokio::test]
async fn it_is_refused_before_it_begins_where_there_is_no_room() {
    let options = options();
    let objects = Arc::new(InMemory::new());
    let db = Database::start(Arc::new(MemoryMetastore::new()), objects.clone(), options.clone(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    db.flush().await.unwrap();
    let before = objects_of(&objects).await;
    options.env.set_free_bytes(32 << 20);
    let refused = db.create_snapshot(&compressed("s"), &author()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Full);
    let message = "The copy takes up to 1 MiB, and 64 MiB must stay free: the disk has 32 MiB. Make room, or take the \
                   snapshot without COMPRESSION: then it copies nothing.";
    assert_eq!(refused.to_string(), message);
    let job = only_job(&db);
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some(message)));
    assert_eq!(objects_of(&objects).await, before);
    assert!(db.snapshots(SYS).unwrap().is_empty());
    assert!(db.metastore().intents().unwrap().is_empty());
    options.env.set_free_bytes(1 << 30);
    db.create_snapshot(&compressed("s"), &author()).await.unwrap();
    let taken = db.create_snapshot(&compressed("S"), &author()).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists(What::Snapshot));
    let based = SnapshotSpec { base: Some("s".to_owned()), ..compressed("x") };
    assert_eq!(db.create_snapshot(&based, &author()).await.unwrap_err().kind(), Kind::Invalid);
    assert!(Env::real().free_bytes(Some(Path::new("."))).unwrap() > 0);
}

#[tokio::test]
async fn one_that_fails_leaves_no_file_and_no_name() {
    let (db, metastore, objects, _) = slow_store().await;
    let before = objects_of(&objects).await;
    metastore.fail_next(Kind::Unavailable);
    assert_eq!(db.create_snapshot(&compressed("s"), &author()).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(metastore.pins().unwrap().is_empty());
    assert_eq!(only_job(&db).state, JobState::Failed);
    // The files go in the background.
    while objects_of(&objects).await != before {
        tokio::task::yield_now().await;
    }
    db.create_snapshot(&compressed("s"), &author()).await.unwrap();
}

/// Returns a store whose files wait when told, with a table `d.t` of two parts.
async fn slow_store() -> (Database, Arc<FailingMetastore>, Arc<InMemory>, Arc<Table>) {
    let (metastore, objects) = (Arc::new(FailingMetastore::new()), Arc::new(InMemory::new()));
    // What a compressed base was a copy of is counted as long as it is there.
    let options = Options { thinning: false, ..options() };
    let db = Database::start(metastore.clone(), objects.clone(), options, None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    for id in [1, 2] {
        insert(&db, &t, &[(id, id)]).await;
        db.flush().await.unwrap();
    }
    (db, metastore, objects, t)
}

fn only_job(db: &Database) -> JobInfo {
    let [job] = db.jobs().list(SYS).try_into().expect("one job");
    job
}

/// Waits until the one job is in a state.
async fn job_is(db: &Database, state: JobState) -> JobInfo {
    loop {
        match db.jobs().list(SYS).pop() {
            Some(job) if job.state == state => return job,
            _ => tokio::task::yield_now().await,
        }
    }
}

fn take(db: &Database) -> tokio::task::JoinHandle<Result<Pin, Error>> {
    let db = db.clone();
    tokio::spawn(async move { db.create_snapshot(&compressed("s"), &author()).await })
}

#[tokio::test]
async fn it_holds_up_nobody_and_stops_when_cancelled() {
    let (db, metastore, objects, t) = slow_store().await;
    let before = objects_of(&objects).await;
    let gate = metastore.hold_next_file();
    let taking = take(&db);
    let job = job_is(&db, JobState::Running).await;
    assert_eq!((job.kind, job.object.as_str(), job.author.as_str()), ("compressed snapshot", "s", "test@localhost"));
    insert(&db, &t, &[(3, 3)]).await;
    assert_eq!(pairs(&db, &t).await.len(), 3);
    assert!(db.snapshots(SYS).unwrap().is_empty(), "it is not there before it is whole");
    db.jobs().cancel(job.id, SYS).unwrap();
    job_is(&db, JobState::Cancelling).await;
    drop(gate);
    let cancelled = taking.await.unwrap().unwrap_err();
    assert_eq!(cancelled.kind(), Kind::Cancelled);
    assert_eq!(cancelled.to_string(), format!("Job {} was cancelled. It left nothing behind.", job.id));
    assert_eq!(only_job(&db).state, JobState::Cancelled);
    assert!(db.snapshots(SYS).unwrap().is_empty());
    assert_eq!(objects_of(&objects).await, before);
    assert!(db.jobs().cancel(job.id, SYS).is_err());
    let taken = db.create_snapshot(&compressed("s"), &author()).await.unwrap();
    assert_eq!(
        taken.version.next(),
        db.now().version(),
        "the name is free, and the commit of the copy follows what it copies"
    );
    let done = db.jobs().list(SYS).remove(0);
    assert_eq!((done.state, done.progress, done.error), (JobState::Done, 1.0, None));
}

#[tokio::test]
async fn whoever_stops_it_knows_whether_it_is_there() {
    let (db, metastore, objects, _) = slow_store().await;
    let before = objects_of(&objects).await;
    let spec = compressed("s");
    let at_once = db.create_snapshot_unless(&spec, &author(), std::future::ready(())).await;
    assert_eq!(at_once.unwrap_err().kind(), Kind::Cancelled);
    assert_eq!(objects_of(&objects).await, before);
    // Where nobody waits any more, it stops too.
    let gate = metastore.hold_next_file();
    let taking = take(&db);
    while db.jobs().list(SYS)[0].state != JobState::Running {
        tokio::task::yield_now().await;
    }
    taking.abort();
    assert!(taking.await.unwrap_err().is_cancelled());
    drop(gate);
    while db.jobs().list(SYS)[0].state != JobState::Cancelled {
        tokio::task::yield_now().await;
    }
    assert!(db.snapshots(SYS).unwrap().is_empty());
    assert_eq!(objects_of(&objects).await, before);
    // A store that closes does not wait for it.
    let gate = metastore.hold_next_file();
    let taking = take(&db);
    while db.jobs().list(SYS)[0].state != JobState::Running {
        tokio::task::yield_now().await;
    }
    db.close().await.unwrap();
    drop(gate);
    assert_eq!(taking.await.unwrap().unwrap_err().kind(), Kind::Cancelled);
}

#[tokio::test]
async fn one_of_the_past_holds_the_past() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Unique)).await;
    let then = insert(&db, &t, &[(1, 10), (2, 20)]).await;
    insert(&db, &t, &[(3, 30)]).await;
    db.flush().await.unwrap();
    let spec = SnapshotSpec { when: When::Version(then), ..compressed("past") };
    let pin = db.create_snapshot(&spec, &author()).await.unwrap();
    assert_eq!(pin.version, then);
    // One of one.
    let again = SnapshotSpec { when: When::Snapshot("past".to_owned()), ..compressed("again") };
    assert_eq!(db.create_snapshot(&again, &author()).await.unwrap().version, then);
    for name in ["past", "again"] {
        let resolved = db.resolve(&When::Snapshot(name.to_owned()), SYS).unwrap();
        let moment = db.moment(&resolved).unwrap();
        assert_eq!(moment.scan(&t).await.unwrap().row_count(), 2);
        let row = row(&t, 2, 20);
        assert!(moment.get(&t, &key_of(&t, &row)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn only_the_columns_that_are_named_are_copied() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let mut wide = table(database, "t", Shape::Keyed);
    wide.columns[1].nullable = false;
    let t = create_table(&db, wide).await;
    insert(&db, &t, &[(1, 10), (2, 20)]).await;
    let scope = Scope::Tables("d".to_owned(), vec!["t".to_owned()]);
    let spec = SnapshotSpec { scope, columns: vec!["id".to_owned()], ..compressed("ids") };
    let pin = db.create_snapshot(&spec, &author()).await.unwrap();
    let digest = copy_of(&pin)[0].1.manifest.expect("it has rows");
    let manifest = db.cold().manifest(digest).await.unwrap();
    assert_eq!((manifest.parts.len(), manifest.live_rows()), (1, 2));
    assert_eq!(manifest.parts[0].columns, [ColumnId(1)]);
}

#[tokio::test]
async fn it_keeps_its_copy_and_must_be_named() {
    const HOUR: i64 = 3600 * 1_000_000;
    let options = Options { window: Window(HOUR), ..options() };
    let db = Database::in_memory(options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 10)]).await;
    let pin = db.create_snapshot(&compressed("s"), &author()).await.unwrap();
    insert(&db, &t, &[(2, 20)]).await;
    options.env.advance(2 * HOUR);
    insert(&db, &t, &[(3, 30)]).await;
    let outside = db.resolve(&When::Version(pin.version), SYS).unwrap_err();
    assert_eq!(outside.kind(), Kind::OutOfWindow);
    let named = db.resolve(&When::Snapshot("s".to_owned()), SYS).unwrap();
    assert_eq!(db.moment(&named).unwrap().scan(&t).await.unwrap().row_count(), 1);
}

#[tokio::test]
async fn one_that_is_incremental_counts_from_what_a_compressed_base_was_a_copy_of() {
    let (db, _, _, t) = slow_store().await;
    db.create_snapshot(&compressed("base"), &author()).await.unwrap();
    insert(&db, &t, &[(3, 3)]).await;
    db.flush().await.unwrap();
    let spec = SnapshotSpec { compress: false, base: Some("base".to_owned()), ..compressed("more") };
    db.create_snapshot(&spec, &author()).await.unwrap();
    let sizes = db.snapshot_sizes(SYS, |_| true).await.unwrap();
    let more = sizes.iter().find(|size| size.pin.name == "more").unwrap();
    let now = db.now();
    let manifest = db.cold().manifest(now.catalog().content(t.id).unwrap().manifest.unwrap()).await.unwrap();
    let newest = manifest.parts.iter().find(|part| part.rows == 1 && part.version_min == part.version_max);
    assert!(more.bytes > 0 && more.bytes < manifest.bytes(), "{} of {}: {newest:?}", more.bytes, manifest.bytes());
}
