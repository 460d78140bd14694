//! Thinning: of what only a window keeps, manifests go whose rows the log tells too. No answer changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::Kind;
use strandline_core::history::restore::{RestoreRequest, Target};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{ColumnId, Version};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{FileKind, Metastore, Scope};
use strandline_core::moment::Moment;
use strandline_core::schema::{Table, Type};
use strandline_core::upkeep::collect::Fate;
use strandline_core::when::When;

use crate::support::*;

const MINUTE: i64 = 60 * 1_000_000;
const HOUR: i64 = 60 * MINUTE;

/// A store with the table `d.t`, and what every version of it that was noted held.
struct Store {
    metastore: Arc<dyn Metastore>,
    objects: Arc<dyn ObjectStore>,
    options: Options,
    db: Database,
    t: Arc<Table>,
    noted: Vec<(Version, Vec<(i32, i32)>)>,
}

impl Store {
    /// `flush_bytes` is the most that a reader lays over a key frame.
    async fn new(flush_bytes: usize) -> Store {
        Store::with(Options { flush_bytes, load_rows: 100, ..options() }).await
    }

    async fn with(options: Options) -> Store {
        let metastore: Arc<dyn Metastore> = Arc::new(MemoryMetastore::new());
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let db = Database::start(metastore.clone(), objects.clone(), options.clone(), None).await.unwrap();
        let database = create_database(&db, "d").await;
        let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
        Store { metastore, objects, options, db, t, noted: Vec::new() }
    }

    async fn reopen(mut self) -> Store {
        drop(self.db);
        let (metastore, objects) = (self.metastore.clone(), self.objects.clone());
        self.db = Database::start(metastore, objects, self.options.clone(), None).await.unwrap();
        self
    }

    async fn note(&mut self) -> Version {
        let version = self.db.now().version();
        self.noted.push((version, pairs(&self.db, &self.t).await));
        version
    }

    /// Inserts a row, replaces another, and flushes.
    async fn step(&mut self, number: i32) -> Version {
        insert(&self.db, &self.t, &[(number, number)]).await;
        self.note().await;
        self.update(number / 2, 1000 + number).await;
        self.note().await;
        self.db.flush_table(self.t.id).await.unwrap();
        self.options.env.advance(MINUTE);
        self.note().await
    }

    async fn update(&self, id: i32, v: i32) {
        let mut txn = self.db.begin(author());
        let new = row(&self.t, id, v);
        let key = key_batch(&self.t, &[key_of(&self.t, &new)]);
        txn.update(&self.t, &key, &batch(&self.t, &[new], None)).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// Collects, waits until the grace is over, and collects again.
    async fn collect(&self) {
        self.db.collect().await.unwrap();
        self.options.env.advance(self.options.grace_micros);
        self.db.collect().await.unwrap();
    }

    async fn read(&self, moment: &Moment) -> Vec<(i32, i32)> {
        let scan = moment.scan(moment.catalog().table_by_id(self.t.id).unwrap()).await.unwrap();
        read(self.db.cold(), &scan).await.values().map(pair).collect()
    }

    /// Reads every version that was noted. What it lays over manifests is returned: the most bytes of the log.
    async fn check(&self) -> u64 {
        let mut most = 0;
        for (version, expected) in &self.noted {
            let moment = self.db.at(*version).await.unwrap();
            assert_eq!(self.read(&moment).await, *expected, "version {version}");
            let content = moment.content(self.t.id).unwrap().unwrap();
            let bytes = self.metastore.delta_bytes(self.t.id, content.flushed, *version).unwrap().unwrap();
            most = most.max(bytes);
        }
        most
    }

    async fn files(&self, kind: FileKind) -> BTreeSet<String> {
        let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        let names = listed.into_iter().map(|meta| meta.location.to_string());
        names.filter(|name| name.starts_with(kind.folder())).collect()
    }

    async fn bytes(&self) -> u64 {
        let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        listed.iter().map(|meta| meta.size).sum()
    }

    /// Tells whether a version is read through another manifest than its own.
    async fn is_thinned(&self, version: Version) -> bool {
        let moment = self.db.at(version).await.unwrap();
        let own = moment.catalog().content(self.t.id).unwrap();
        moment.content(self.t.id).unwrap().unwrap().manifest != own.manifest
    }

    async fn snapshot(&self, name: &str, when: When) {
        let spec = SnapshotSpec { when, ..SnapshotSpec::of(name, only("t")) };
        self.db.create_snapshot(&spec, &author()).await.unwrap();
    }

    fn at_snapshot(&self, name: &str) -> Moment {
        self.db.moment(&self.db.resolve(&When::Snapshot(name.to_owned()), SYS).unwrap()).unwrap()
    }

    /// Lets so much time go by that nothing until now is in the window, and lets go of it.
    async fn let_the_window_pass(&self) {
        for name in ["a", "b", "c"] {
            self.options.env.advance(48 * HOUR);
            create_database(&self.db, &format!("{name}{}", self.db.now().version())).await;
            self.collect().await;
        }
    }
}

fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

const MUCH: usize = 1 << 20;

#[tokio::test]
async fn what_a_clone_can_do_without_stays_for_its_origin() {
    let mut store = Store::new(32 << 20).await;
    store.step(1).await;
    store.step(2).await;
    // Before the newest content there is nothing to fall back to any more.
    store.let_the_window_pass().await;
    store.noted.clear();
    store.note().await;
    let request = RestoreRequest { target: Target::Name("c".to_owned()), ..RestoreRequest::of(only("t"), When::Now) };
    store.db.restore(request, &author()).await.unwrap();
    let clone = named(&store.db, "d", "c");
    // Nothing new: the clone's own first manifest is that of its origin, and the next one takes its place.
    store.db.flush_table(clone.id).await.unwrap();
    insert(&store.db, &clone, &[(7, 7)]).await;
    store.db.flush_table(clone.id).await.unwrap();
    store.step(3).await;
    store.collect().await;
    store.check().await;
    let store = store.reopen().await;
    store.collect().await;
    store.check().await;
}

#[tokio::test]
async fn manifests_go_and_every_version_reads_as_before() {
    let mut store = Store::new(MUCH).await;
    for number in 0..12 {
        store.step(number).await;
    }
    assert_eq!(store.files(FileKind::Manifest).await.len(), 12);
    store.collect().await;
    assert_eq!(store.files(FileKind::Manifest).await.len(), 1, "the log tells the rest, from the empty table on");
    store.check().await;
    store = store.reopen().await;
    store.check().await;
    assert_eq!(store.db.check(None).await.unwrap().lines(), Vec::<String>::new());
    store.let_the_window_pass().await;
    assert_eq!(store.db.at(store.noted[3].0).await.err().map(|error| error.kind()), Some(Kind::OutOfWindow));
    assert_eq!(store.metastore.size_bytes().unwrap(), 0, "and the log goes with the window");
}

#[tokio::test]
async fn a_reader_lays_little_over_a_key_frame_and_key_frames_stay() {
    let mut store = Store::new(MUCH).await;
    store.step(0).await;
    let step = store.metastore.delta_bytes(store.t.id, Version(0), store.db.now().version()).unwrap().unwrap();
    let mut store = Store::new(3 * step as usize + 100).await;
    for number in 0..20 {
        store.step(number).await;
    }
    store.collect().await;
    let frames = store.files(FileKind::Manifest).await;
    assert!((4..10).contains(&frames.len()), "{frames:?}");
    let most = store.check().await;
    assert!(most > 2 * step && most <= store.options.flush_bytes as u64, "{most} of {}", store.options.flush_bytes);
    // Later runs find the same, also in another process, with more steps, and collections in between.
    for number in 20..30 {
        store = store.reopen().await;
        store.collect().await;
        let kept = store.files(FileKind::Manifest).await;
        // The newest of each run may go once there is a newer one.
        assert!(frames.difference(&kept).count() <= 1, "{frames:?} became {kept:?}");
        store.step(number).await;
    }
    let most = store.check().await;
    assert!(most <= store.options.flush_bytes as u64);
    let plan = store.db.plan_collection().await.unwrap();
    let reasons = plan.files.iter().filter_map(|file| match &file.fate {
        Fate::Kept(why) if file.kind == FileKind::Manifest => Some(why.to_string()),
        _ => None,
    });
    let is_frame = |why: &String| {
        why.starts_with("key frame for 2026-01-01 ") && why.ends_with(" UTC of d.t, for the recovery window of d.t")
    };
    assert!(reasons.filter(is_frame).count() > 3);
}

#[tokio::test]
async fn the_edge_of_the_window_moves_over_key_frames() {
    let mut store = Store::with(Options { flush_bytes: 12_000, load_rows: 100, ..options() }).await;
    for number in 0..60 {
        store.step(number).await;
        store.options.env.advance(HOUR);
        store.db.collect().await.unwrap();
        if number % 7 == 3 {
            store = store.reopen().await;
        }
        let start = store.db.window_start();
        let metastore = store.metastore.clone();
        store.noted.retain(|(version, _)| metastore.entry(*version).unwrap().unwrap().head.time >= start);
        store.check().await;
    }
    assert!(store.noted.len() > 20);
    let (kept, steps) = (store.files(FileKind::Manifest).await.len(), store.noted.len() / 3);
    assert!(kept < steps, "{kept} manifests for {steps} steps");
}

#[tokio::test]
async fn a_snapshot_keeps_its_own_manifest_and_one_of_a_thinned_version_what_it_is_read_through() {
    let mut store = Store::new(MUCH).await;
    let mut versions = Vec::new();
    for number in 0..10 {
        versions.push(store.step(number).await);
    }
    store.snapshot("own", When::Version(versions[4])).await;
    store.collect().await;
    assert!(!store.is_thinned(versions[4]).await, "a query at a snapshot costs what one of now does");
    assert!(store.is_thinned(versions[3]).await && store.is_thinned(versions[7]).await);
    store.snapshot("late", When::Version(versions[7])).await;
    store.collect().await;
    store.check().await;
    let expected: Vec<_> = ["own", "late"].map(|name| store.at_snapshot(name)).into_iter().collect();
    let mut rows = Vec::new();
    for moment in &expected {
        rows.push(store.read(moment).await);
    }
    drop(expected);
    store.let_the_window_pass().await;
    store = store.reopen().await;
    store.collect().await;
    for (name, rows) in ["own", "late"].into_iter().zip(&rows) {
        assert_eq!(store.read(&store.at_snapshot(name)).await, *rows);
    }
    // What one leans on stays when the other goes.
    store.db.drop_snapshot("own", false, &author()).unwrap();
    store.let_the_window_pass().await;
    assert_eq!(store.read(&store.at_snapshot("late")).await, rows[1]);
    store.db.drop_snapshot("late", false, &author()).unwrap();
    store.let_the_window_pass().await;
    assert_eq!(store.files(FileKind::Manifest).await.len(), 1);
    assert_eq!(store.metastore.size_bytes().unwrap(), 0);
}

#[tokio::test]
async fn a_thinned_version_is_restored_and_cloned() {
    let mut store = Store::new(MUCH).await;
    let mut versions = Vec::new();
    for number in 0..8 {
        versions.push(store.step(number).await);
    }
    store.collect().await;
    let then = versions[5];
    assert!(store.is_thinned(then).await);
    let expected = store.read(&store.db.at(then).await.unwrap()).await;
    let moment = store.db.at(then).await.unwrap();
    let mut txn = store.db.begin(author());
    let clone = txn.clone_table(&moment, &store.t, SYS, "d", "clone").await.unwrap();
    txn.commit().await.unwrap();
    drop(moment);
    let request = RestoreRequest {
        scope: only("t"),
        when: When::Version(then),
        target: Target::InPlace,
        overwrite: true,
        keep_copy: false,
        create_database: false,
        foreign_key_checks: true,
    };
    store.db.restore(request.clone(), &author()).await.unwrap();
    assert_eq!(store.note().await, store.db.now().version());
    assert_eq!(pairs(&store.db, &store.t).await, expected);
    let again = store.db.restore(request, &author()).await.unwrap();
    assert_eq!(store.db.now().version(), store.noted.last().unwrap().0, "it is so already: {again:?}");
    for number in 20..24 {
        insert(&store.db, &clone, &[(number, number)]).await;
        store.step(number).await;
    }
    store.collect().await;
    store = store.reopen().await;
    store.check().await;
    let mut expected = expected;
    expected.extend((20..24).map(|number| (number, number)));
    assert_eq!(pairs(&store.db, &clone).await, expected);
    store.let_the_window_pass().await;
    assert_eq!(pairs(&store.db, &clone).await, expected);
}

#[tokio::test]
async fn what_was_loaded_or_cloned_in_between_keeps_its_manifest() {
    let mut store = Store::new(MUCH).await;
    for number in 0..4 {
        store.step(number).await;
    }
    let child = store.db.now();
    let mut txn = store.db.begin(author());
    let clone = txn.clone_table(&child, &store.t, SYS, "d", "clone").await.unwrap();
    txn.commit().await.unwrap();
    let (cloned, expected) = (child.version(), store.read(&child).await);
    drop(child);
    store.step(5).await;
    let rows: Vec<(i32, i32)> = (1000..1200).map(|id| (id, id)).collect();
    load(&store.db, &store.t, &rows).await;
    let loaded = store.note().await;
    for number in 6..10 {
        store.step(number).await;
    }
    store.collect().await;
    assert!(!store.is_thinned(cloned).await && !store.is_thinned(loaded).await);
    assert_eq!(store.files(FileKind::Manifest).await.len(), 3, "the clone's, the load's and the newest");
    store.check().await;
    store = store.reopen().await;
    store.collect().await;
    store.check().await;
    assert_eq!(pairs(&store.db, &clone).await, expected);
}

#[tokio::test]
async fn a_table_that_was_altered_in_between_reads_as_it_was() {
    let mut store = Store::new(MUCH).await;
    for number in 0..3 {
        store.step(number).await;
    }
    let before = store.db.now().version();
    let mut more = store.t.as_ref().clone();
    more.columns.push(column(4, "w", Type::Int32, true));
    more.next_column = ColumnId(5);
    let mut txn = store.db.begin(author());
    store.t = txn.alter_table(more).unwrap();
    txn.commit().await.unwrap();
    for number in 3..6 {
        store.step(number).await;
    }
    let with = store.db.now().version();
    let mut less = store.t.as_ref().clone();
    less.columns.retain(|column| column.id != ColumnId(4));
    let mut txn = store.db.begin(author());
    store.t = txn.alter_table(less).unwrap();
    txn.commit().await.unwrap();
    for number in 6..9 {
        store.step(number).await;
    }
    store.collect().await;
    assert!(store.is_thinned(before).await && store.is_thinned(with).await);
    assert_eq!(store.db.at(with).await.unwrap().catalog().table_by_id(store.t.id).unwrap().columns.len(), 3);
    store.check().await;
    let store = store.reopen().await;
    store.check().await;
}

#[tokio::test]
async fn a_moment_that_was_open_before_reads_on() {
    let mut store = Store::new(MUCH).await;
    let mut versions = Vec::new();
    for number in 0..6 {
        versions.push(store.step(number).await);
    }
    let early = store.db.at(versions[3]).await.unwrap();
    let scan = early.scan(&store.t).await.unwrap();
    let expected = store.read(&early).await;
    store.db.collect().await.unwrap();
    // Chosen now, and about to be deleted.
    assert!(store.is_thinned(versions[2]).await);
    let late = store.db.at(versions[2]).await.unwrap();
    let through = late.content(store.t.id).unwrap();
    assert_eq!(store.read(&late).await, store.noted[8].1);
    for _ in 0..3 {
        store.collect().await;
    }
    assert_eq!(read(store.db.cold(), &scan).await.values().map(pair).collect::<Vec<_>>(), expected);
    assert_eq!(store.read(&early).await, expected);
    assert_eq!(store.read(&late).await, store.noted[8].1);
    assert_eq!(late.content(store.t.id).unwrap(), through);
    drop((early, late, scan));
    store.collect().await;
    assert_eq!(store.files(FileKind::Manifest).await.len(), 1);
    store.check().await;
}

#[tokio::test]
async fn what_is_lost_is_not_taken_for_thinned() {
    let mut store = Store::new(MUCH).await;
    let mut versions = Vec::new();
    for number in 0..4 {
        versions.push(store.step(number).await);
    }
    let moment = store.db.at(versions[1]).await.unwrap();
    let digest = moment.content(store.t.id).unwrap().unwrap().manifest.unwrap();
    drop(moment);
    let record = store.metastore.file_by_digest(FileKind::Manifest, digest).unwrap().unwrap();
    let path = record.kind.path(record.id);
    store.objects.delete(&path.as_str().into()).await.unwrap();
    let store = store.reopen().await;
    let moment = store.db.at(versions[1]).await.unwrap();
    assert!(moment.scan(&store.t).await.is_err(), "its record stands: it was not the collector");
}

/// Prints what a day of updates takes on disk: a flush every ten minutes, of a table of which each rewrites a tenth.
#[tokio::test]
async fn a_day_of_updates_takes_less_room() {
    let mut taken = Vec::new();
    for thinning in [false, true] {
        let store = Store::with(Options { flush_bytes: 200_000, thinning, load_rows: 1 << 20, ..options() }).await;
        let rows: Vec<(i32, i32)> = (0..2000).map(|id| (id, id)).collect();
        insert(&store.db, &store.t, &rows).await;
        store.db.flush_table(store.t.id).await.unwrap();
        for round in 0..100 {
            let mut txn = store.db.begin(author());
            let rows: Vec<_> = (0..200).map(|at| row(&store.t, (round * 37 + at * 10) % 2000, round)).collect();
            let keys: Vec<_> = rows.iter().map(|row| key_of(&store.t, row)).collect();
            txn.update(&store.t, &key_batch(&store.t, &keys), &batch(&store.t, &rows, None)).await.unwrap();
            txn.commit().await.unwrap();
            store.db.flush_table(store.t.id).await.unwrap();
            store.db.compact_table(store.t.id).await.unwrap();
            store.options.env.advance(10 * MINUTE);
        }
        store.collect().await;
        let log = store.metastore.size_bytes().unwrap();
        println!(
            "thinning {thinning}: {} bytes in {} files, {log} bytes of log",
            store.bytes().await,
            store.files(FileKind::Manifest).await.len() + store.files(FileKind::Part).await.len()
        );
        taken.push(store.bytes().await);
    }
    assert!(taken[1] * 2 < taken[0], "{taken:?}");
}
