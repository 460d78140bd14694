//! Collection: what goes, what stays, and why.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use strandline_core::cold::DurableLocal;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::error::Kind;
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::retention::Keep;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::Version;
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{FileKind, Metastore, Scope};
use strandline_core::moment::Moment;
use strandline_core::schema::Table;
use strandline_core::txn::OnDuplicate;
use strandline_core::upkeep::collect::{Collected, Fate};
use strandline_core::when::{RangeUnit, When, Window};

use crate::failing::FailingMetastore;
use crate::support::*;

pub const HOUR: i64 = 3600 * 1_000_000;

/// A store in memory, and what it is made of.
pub struct Store {
    pub metastore: Arc<dyn Metastore>,
    pub objects: Arc<dyn ObjectStore>,
    pub options: Options,
    pub db: Database,
    pub t: Arc<Table>,
    pub u: Arc<Table>,
}

impl Store {
    /// Returns a store with the tables `d.t` and `d.u`.
    pub async fn new() -> Store {
        Store::over(Arc::new(MemoryMetastore::new())).await
    }

    pub async fn over(metastore: Arc<dyn Metastore>) -> Store {
        // What goes while its window lasts is told by `thin`.
        let options = Options { thinning: false, ..options() };
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let db = Database::start(metastore.clone(), objects.clone(), options.clone(), None).await.unwrap();
        let database = create_database(&db, "d").await;
        let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
        let u = create_table(&db, table(database, "u", Shape::Keyed)).await;
        Store { metastore, objects, options, db, t, u }
    }

    pub async fn reopen(self) -> Store {
        let Store { metastore, objects, options, db, t, u } = self;
        drop(db);
        let db = Database::start(metastore.clone(), objects.clone(), options.clone(), None).await.unwrap();
        Store { metastore, objects, options, db, t, u }
    }

    /// Lets hours go by, and commits something, so that no older commit is the newest of a window's beginning.
    pub async fn pass(&self, hours: i64) {
        self.options.env.advance(hours * HOUR);
        create_database(&self.db, &format!("at{}", self.db.now().version())).await;
    }

    /// Collects, waits until the grace is over, and collects again; returns what both did.
    pub async fn collect(&self) -> Collected {
        let first = self.db.collect().await.unwrap();
        assert_eq!(first.files, 0, "nothing goes before its grace is over");
        self.options.env.advance(self.options.grace_micros);
        let second = self.db.collect().await.unwrap();
        let (entries, entry_bytes) = (first.entries + second.entries, first.entry_bytes + second.entry_bytes);
        Collected { entries, entry_bytes, ..second }
    }

    /// Returns the moment of a snapshot.
    pub fn at_snapshot(&self, name: &str) -> Moment {
        self.db.moment(&self.db.resolve(&When::Snapshot(name.to_owned()), SYS).unwrap()).unwrap()
    }

    pub async fn drop_table(&self, table: &Arc<Table>) {
        let mut txn = self.db.begin(author());
        txn.drop_table(table).unwrap();
        txn.commit().await.unwrap();
    }

    /// Writes a row that stands in the log alone, and that nothing but a snapshot reaches.
    async fn write_for_log(&self, name: &str) {
        insert(&self.db, &self.u, &[(7, 7)]).await;
        self.db.create_snapshot(&SnapshotSpec::of(name, only("u")), &author()).await.unwrap();
        self.drop_table(&self.u).await;
        self.pass(100).await;
        self.collect().await;
    }

    pub async fn count(&self, kind: FileKind) -> usize {
        let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        listed.iter().filter(|meta| meta.location.as_ref().starts_with(kind.folder())).count()
    }

    /// Writes a row into a table and flushes it, then replaces it and flushes again: two parts, of which one is past.
    /// Returns the version at which the first was the present.
    pub async fn write_twice(&self, table: &Arc<Table>) -> Version {
        insert(&self.db, table, &[(1, 1)]).await;
        self.db.flush_table(table.id).await.unwrap();
        let then = self.db.now().version();
        let mut txn = self.db.begin(author());
        txn.truncate(table).await.unwrap();
        txn.commit().await.unwrap();
        insert(&self.db, table, &[(2, 2)]).await;
        self.db.flush_table(table.id).await.unwrap();
        then
    }
}

pub async fn read_pairs(db: &Database, moment: &Moment, table: &Arc<Table>) -> Vec<(i32, i32)> {
    let scan = moment.scan(table).await.unwrap();
    read(db.cold(), &scan).await.values().map(pair).collect()
}

pub fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

#[tokio::test]
async fn the_past_stays_inside_the_window_and_goes_after_it() {
    let store = Store::new().await;
    let then = store.write_twice(&store.t).await;
    store.pass(23).await;
    assert_eq!(store.collect().await.files, 0);
    let moment = store.db.at(then).await.unwrap();
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(1, 1)]);
    drop(moment);

    store.pass(2).await;
    let before = store.metastore.size_bytes().unwrap();
    let done = store.collect().await;
    assert!(done.files >= 2 && done.bytes > 0 && done.entries >= 1 && done.entry_bytes > 0, "{done:?}");
    assert_eq!(store.metastore.size_bytes().unwrap(), before - done.entry_bytes);
    assert_eq!((store.count(FileKind::Part).await, store.count(FileKind::Manifest).await), (1, 1));
    assert_eq!(pairs(&store.db, &store.t).await, [(2, 2)]);
    assert_eq!(store.db.at(then).await.err().unwrap().kind(), Kind::OutOfWindow);
    assert_eq!(store.db.collect().await.unwrap(), Collected::default(), "there is no more to do");
}

#[tokio::test]
async fn invariant_3_what_a_snapshot_reaches_is_never_deleted() {
    let store = Store::new().await;
    // Rows in a part, and rows that are still only in the log.
    let then = store.write_twice(&store.t).await;
    insert(&store.db, &store.u, &[(7, 7)]).await;
    let spec = SnapshotSpec { when: When::Version(then), ..SnapshotSpec::of("s", only("t")) };
    store.db.create_snapshot(&spec, &author()).await.unwrap();
    store.db.create_snapshot(&SnapshotSpec::of("log", only("u")), &author()).await.unwrap();
    let mut txn = store.db.begin(author());
    txn.drop_table(&store.u).unwrap();
    txn.commit().await.unwrap();
    store.pass(100).await;
    store.collect().await;
    let store = store.reopen().await;
    store.collect().await;
    for (name, table, rows) in [("s", &store.t, [(1, 1)]), ("log", &store.u, [(7, 7)])] {
        let resolved = store.db.resolve(&When::Snapshot(name.to_owned()), SYS).unwrap();
        let moment = store.db.moment(&resolved).unwrap();
        assert_eq!(read_pairs(&store.db, &moment, table).await, rows, "snapshot '{name}'");
    }
    let plan = store.db.plan_collection().await.unwrap();
    assert!(plan.files.iter().any(|file| file.fate == Fate::Kept("snapshot 's'".into())), "{plan:?}");
    for name in ["s", "log"] {
        store.db.drop_snapshot(name, false, &author()).unwrap();
    }
    let done = store.collect().await;
    assert!(done.files >= 2 && done.entries >= 1, "{done:?}");
    assert_eq!(store.count(FileKind::Part).await, 1);
}

#[tokio::test]
async fn a_compressed_snapshot_keeps_its_copy_and_not_what_it_was_copied_from() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    let spec = SnapshotSpec { compress: true, ..SnapshotSpec::of("packed", only("t")) };
    store.db.create_snapshot(&spec, &author()).await.unwrap();
    let mut txn = store.db.begin(author());
    txn.drop_table(&store.t).unwrap();
    txn.commit().await.unwrap();
    store.pass(100).await;
    store.collect().await;
    assert_eq!(store.count(FileKind::Part).await, 1, "the copy's");
    let store = store.reopen().await;
    let resolved = store.db.resolve(&When::Snapshot("packed".to_owned()), SYS).unwrap();
    let moment = store.db.moment(&resolved).unwrap();
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(2, 2)]);
    drop((moment, resolved));
    store.db.drop_snapshot("packed", false, &author()).unwrap();
    store.collect().await;
    assert_eq!(store.count(FileKind::Part).await, 0);
}

#[tokio::test]
async fn invariant_10_an_open_moment_keeps_the_copy_that_it_reads() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    let spec = SnapshotSpec { compress: true, ..SnapshotSpec::of("packed", only("t")) };
    store.db.create_snapshot(&spec, &author()).await.unwrap();
    store.drop_table(&store.t).await;
    store.pass(100).await;
    store.collect().await;
    // What was read before stands in caches.
    let store = store.reopen().await;
    let moment = store.at_snapshot("packed");
    store.db.drop_snapshot("packed", false, &author()).unwrap();
    store.collect().await;
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(2, 2)]);
    drop(moment);
    store.collect().await;
    assert_eq!(store.count(FileKind::Part).await, 0);
}

#[tokio::test]
async fn invariant_10_what_an_address_comes_to_is_kept_from_then_on() {
    let store = Store::new().await;
    store.write_for_log("s").await;
    let resolved = store.db.resolve(&When::Snapshot("s".to_owned()), SYS).unwrap();
    store.db.drop_snapshot("s", false, &author()).unwrap();
    store.collect().await;
    let moment = store.db.moment(&resolved).unwrap();
    drop(resolved);
    store.collect().await;
    // What was read before stands in memory.
    assert_eq!(store.metastore.deltas(store.u.id, Version(0), moment.version()).unwrap().len(), 1);
    assert_eq!(read_pairs(&store.db, &moment, &store.u).await, [(7, 7)]);
    drop(moment);
    assert!(store.collect().await.entries > 0);
}

#[tokio::test]
async fn invariant_10_the_collector_does_not_pass_between_an_address_and_its_hold() {
    let metastore = Arc::new(FailingMetastore::new());
    let store = Store::over(metastore.clone()).await;
    store.write_for_log("s").await;
    // Another drops the snapshot and collects while its name is being read.
    let (handle, db) = (Arc::new(parking_lot::Mutex::new(None)), store.db.clone());
    let collecting = handle.clone();
    metastore.after_next_pins(move |inner| {
        let ids: Vec<_> = inner.pins().unwrap().iter().map(|pin| pin.id).collect();
        inner.drop_pins(&ids).unwrap();
        let (done, waiting) = std::sync::mpsc::channel();
        *collecting.lock() = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(db.collect()).unwrap();
            let _ = done.send(());
        }));
        // It cannot end before this does; if it could, this gives it the time.
        let _ = waiting.recv_timeout(std::time::Duration::from_millis(300));
    });
    let resolved = store.db.resolve(&When::Snapshot("s".to_owned()), SYS).unwrap();
    let collecting = handle.lock().take().expect("the name was read");
    collecting.join().unwrap();
    let moment = store.db.moment(&resolved).unwrap();
    assert_eq!(store.metastore.deltas(store.u.id, Version(0), moment.version()).unwrap().len(), 1);
    assert_eq!(read_pairs(&store.db, &moment, &store.u).await, [(7, 7)]);
}

/// An open moment holds its whole version, of which one table may be all that is left.
#[tokio::test]
async fn an_open_moment_of_one_table_does_not_stop_the_collector() {
    let store = Store::new().await;
    insert(&store.db, &store.u, &[(9, 9)]).await;
    store.db.flush_table(store.u.id).await.unwrap();
    let then = store.write_twice(&store.t).await;
    let spec = SnapshotSpec { when: When::Version(then), ..SnapshotSpec::of("s", only("t")) };
    store.db.create_snapshot(&spec, &author()).await.unwrap();
    store.write_twice(&store.u).await;
    store.pass(100).await;
    assert!(store.collect().await.files > 0, "what u held then");
    let store = store.reopen().await;
    let moment = store.at_snapshot("s");
    store.collect().await;
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(1, 1)]);
}

/// A snapshot and a policy speak of what bore the name then. What comes to bear it may have been collected before.
#[tokio::test]
async fn a_table_that_gets_a_kept_name_does_not_stop_the_collector() {
    let store = Store::new().await;
    let spec = PitrSpec { name: "p".to_owned(), scope: only("t"), length: 30, unit: RangeUnit::Day };
    store.db.create_pitr(&spec, &author()).unwrap();
    insert(&store.db, &store.u, &[(9, 9)]).await;
    store.db.flush_table(store.u.id).await.unwrap();
    store.write_twice(&store.t).await;
    store.db.create_snapshot(&SnapshotSpec::of("s", only("t")), &author()).await.unwrap();
    store.write_twice(&store.u).await;
    store.pass(100).await;
    assert!(store.collect().await.files > 0, "what u held then");
    let mut txn = store.db.begin(author());
    txn.alter_table(Table { name: "old".to_owned(), ..store.t.as_ref().clone() }).unwrap();
    txn.alter_table(Table { name: "t".to_owned(), ..store.u.as_ref().clone() }).unwrap();
    txn.commit().await.unwrap();
    let store = store.reopen().await;
    store.collect().await;
    store.pass(24 * 31).await;
    assert!(store.collect().await.files > 0, "what the policy kept of the first t");
    assert_eq!(read_pairs(&store.db, &store.at_snapshot("s"), &store.t).await, [(2, 2)]);
}

#[tokio::test]
async fn a_snapshot_at_a_compressed_one_holds_its_copy() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    let packed = SnapshotSpec { compress: true, ..SnapshotSpec::of("packed", Scope::Database("d".to_owned())) };
    store.db.create_snapshot(&packed, &author()).await.unwrap();
    let mut txn = store.db.begin(author());
    txn.drop_table(&store.t).unwrap();
    txn.commit().await.unwrap();
    store.pass(100).await;
    store.collect().await;
    let at = SnapshotSpec { when: When::Snapshot("packed".to_owned()), ..SnapshotSpec::of("at", only("t")) };
    let held = store.db.create_snapshot(&at, &author()).await.unwrap().terms.copy.expect("the copy of the one table");
    assert_eq!(held.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [store.t.id]);
    store.db.drop_snapshot("packed", false, &author()).unwrap();
    store.collect().await;
    let resolved = store.db.resolve(&When::Snapshot("at".to_owned()), SYS).unwrap();
    let moment = store.db.moment(&resolved).unwrap();
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(2, 2)]);
}

#[tokio::test]
async fn a_policy_keeps_what_it_names_and_nothing_else() {
    let store = Store::new().await;
    let spec = PitrSpec { name: "p".to_owned(), scope: only("t"), length: 7, unit: RangeUnit::Day };
    store.db.create_pitr(&spec, &author()).unwrap();
    let then = store.write_twice(&store.t).await;
    store.write_twice(&store.u).await;
    store.pass(50).await;
    store.collect().await;
    assert_eq!(store.count(FileKind::Part).await, 3, "both of t, the last of u");
    let resolved = store.db.resolve(&When::Version(then), SYS).unwrap();
    resolved.limit.as_ref().unwrap().admits_scope(&only("t")).unwrap();
    let moment = store.db.moment(&resolved).unwrap();
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(1, 1)]);
    drop((moment, resolved));
    store.pass(24 * 7).await;
    store.collect().await;
    assert_eq!(store.count(FileKind::Part).await, 2);
}

#[tokio::test]
async fn invariant_10_an_open_moment_keeps_what_it_reads() {
    let store = Store::new().await;
    let then = store.write_twice(&store.t).await;
    let moment = store.db.at(then).await.unwrap();
    store.pass(100).await;
    store.collect().await;
    assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(1, 1)]);
    drop(moment);
    assert!(store.collect().await.files > 0);
}

#[tokio::test]
async fn invariant_10_a_root_that_cannot_be_read_stops_the_collector() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    store.write_twice(&store.u).await;
    let content = store.db.now().catalog().content(store.u.id).unwrap().clone();
    let record = store.metastore.file_by_digest(FileKind::Manifest, content.manifest.unwrap()).unwrap().unwrap();
    store.objects.delete(&record.kind.path(record.id).as_str().into()).await.unwrap();
    store.pass(100).await;
    let store = store.reopen().await;
    let listed = store.count(FileKind::Part).await;
    assert_eq!(store.db.collect().await.unwrap_err().kind(), Kind::Corrupt);
    store.options.env.advance(store.options.grace_micros);
    assert_eq!(store.db.collect().await.unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.count(FileKind::Part).await, listed);
}

#[tokio::test]
async fn invariant_10_nothing_goes_that_a_damaged_manifest_may_name() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    store.write_twice(&store.u).await;
    let content = store.db.now().catalog().content(store.u.id).unwrap().clone();
    let record = store.metastore.file_by_digest(FileKind::Manifest, content.manifest.unwrap()).unwrap().unwrap();
    let path = record.kind.path(record.id);
    let needed = store.db.cold().manifest(record.digest).await.unwrap().parts[0].file;
    let whole = store.objects.get(&path.as_str().into()).await.unwrap().bytes().await.unwrap();
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    store.objects.put(&path.as_str().into(), flipped.into()).await.unwrap();
    store.pass(100).await;
    let store = store.reopen().await;
    let (parts, manifests) = (store.count(FileKind::Part).await, store.count(FileKind::Manifest).await);
    for _ in 0..2 {
        assert_eq!(store.db.collect().await.unwrap_err().kind(), Kind::Corrupt);
        store.options.env.advance(store.options.grace_micros);
    }
    assert_eq!((store.count(FileKind::Part).await, store.count(FileKind::Manifest).await), (parts, manifests));
    let plan = store.db.plan_collection().await.unwrap();
    assert!(plan.damages.len() == 1 && plan.damages[0].message().contains(&path), "{plan:?}");
    assert!(plan.files.iter().all(|file| matches!(file.fate, Fate::Kept(_) | Fate::Unclear(_))), "{plan:?}");
    let verdict = plan.files.iter().find(|file| file.id == needed).unwrap();
    assert!(matches!(&verdict.fate, Fate::Unclear(why) if why.starts_with("it may belong to") && why.contains(&path)));
    assert_eq!(plan.trims, []);
    // Mended, it is known again what it names.
    store.objects.put(&path.as_str().into(), whole.into()).await.unwrap();
    let store = store.reopen().await;
    assert!(store.collect().await.files > 0);
    assert_eq!(pairs(&store.db, &store.u).await, [(2, 2)]);
}

#[tokio::test]
async fn what_a_crash_left_of_a_file_under_way_goes_at_open() {
    let folder = tempfile::tempdir().unwrap();
    drop(Database::open(folder.path(), options()).await.unwrap());
    let objects = DurableLocal::open(folder.path()).unwrap();
    let id = Env::real().file_id();
    let mut upload = objects.put_multipart(&FileKind::Part.path(id).as_str().into()).await.unwrap();
    upload.put_part("half a file".into()).await.unwrap();
    // Killed: nothing is tidied up.
    std::mem::forget(upload);
    let parts = folder.path().join("parts");
    let listed = || {
        let names = std::fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(listed().len(), 1, "{:?}", listed());
    // Nobody's, as far as the store knows.
    let others = ["notes#1".to_owned(), format!("{id}.parquet#mine"), format!("{id}.txt#1"), format!("{id}.parquet")];
    others.iter().for_each(|name| std::fs::write(parts.join(name), b"x").unwrap());
    drop(Database::open(folder.path(), options()).await.unwrap());
    assert_eq!(listed(), others.into());
}

#[tokio::test]
async fn what_a_crash_left_goes_at_the_next_collection() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    // A load that never committed, and a file that was withdrawn and not yet deleted.
    let files = store.db.cold().files().clone();
    let left = files.put(FileKind::Part, bytes::Bytes::from_static(b"half a load")).await.unwrap();
    let dead = store.metastore.files().unwrap().into_iter().find(|file| file.kind == FileKind::Manifest).unwrap();
    let listed = store.count(FileKind::Part).await;
    assert_eq!(store.db.collect().await.unwrap().files, 0, "its writer may still commit it");
    store.pass(100).await;
    store.metastore.withdraw_files(&[(dead.id, dead.kind)]).unwrap();
    let store = store.reopen().await;
    // A write of the dead process may still be on its way: what it would bring back is not forgotten at once.
    assert_eq!(store.db.collect().await.unwrap().files, 0);
    assert_eq!(store.count(FileKind::Part).await, listed - 1);
    let path = object_store::path::Path::from(left.kind.path(left.id));
    store.objects.put(&path, "half a load".into()).await.unwrap();
    // With the part that the second write has made past.
    let done = store.collect().await;
    assert_eq!(done.files, 3, "{done:?}");
    assert_eq!(store.count(FileKind::Part).await, listed - 2);
    assert_eq!(store.metastore.intents().unwrap(), []);
    assert_eq!(store.metastore.file(left.id).unwrap(), None);
}

#[tokio::test]
async fn rows_that_stay_leave_the_log_when_their_window_is_over() {
    let store = Store::new().await;
    let then = insert(&store.db, &store.t, &[(1, 1)]).await;
    for _ in 0..2 {
        store.pass(30).await;
        store.collect().await;
    }
    let entry = store.metastore.entry(then).unwrap().unwrap();
    assert!(entry.deltas.iter().all(|delta| delta.body.is_empty()), "the row stands in a part by now");
    assert_eq!(entry.deltas[0].puts, 1, "what the commit did is still told");
    assert_eq!(store.metastore.deltas(store.t.id, Version(0), then).unwrap_err().kind(), Kind::OutOfWindow);
    let store = store.reopen().await;
    assert_eq!(pairs(&store.db, &store.t).await, [(1, 1)]);
}

#[tokio::test]
async fn invariant_10_a_clone_holds_what_it_shows_until_it_is_committed() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    insert(&store.db, &store.t, &[(3, 3)]).await;
    store.db.create_snapshot(&SnapshotSpec::of("s", only("t")), &author()).await.unwrap();
    let mut drop = store.db.begin(author());
    drop.drop_table(&store.t).unwrap();
    drop.commit().await.unwrap();
    store.pass(100).await;
    let mut txn = store.db.begin(author());
    {
        let resolved = store.db.resolve(&When::Snapshot("s".to_owned()), SYS).unwrap();
        let moment = store.db.moment(&resolved).unwrap();
        txn.clone_table(&moment, &store.t, SYS, "d", "clone").await.unwrap();
    }
    store.db.drop_snapshot("s", false, &author()).unwrap();
    store.collect().await;
    txn.commit().await.unwrap();
    let store = store.reopen().await;
    store.collect().await;
    assert_eq!(pairs(&store.db, &named(&store.db, "d", "clone")).await, [(2, 2), (3, 3)]);
}

#[tokio::test]
async fn a_dropped_table_comes_back_from_its_snapshot_when_the_drop_is_long_ago() {
    let store = Store::new().await;
    insert(&store.db, &store.t, &[(1, 1)]).await;
    store.db.create_snapshot(&SnapshotSpec::of("s", only("t")), &author()).await.unwrap();
    insert(&store.db, &store.t, &[(2, 2)]).await;
    let mut drop = store.db.begin(author());
    drop.drop_table(&store.t).unwrap();
    drop.commit().await.unwrap();
    store.pass(100).await;
    assert!(store.collect().await.entries > 0, "the row after the snapshot is gone");
    let request = RestoreRequest::of(only("t"), When::Snapshot("s".to_owned()));
    store.db.restore(request, &author()).await.unwrap();
    assert_eq!(pairs(&store.db, &named(&store.db, "d", "t")).await, [(1, 1)]);
}

/// A clock that is wrong for a while makes no window end.
#[tokio::test]
async fn a_clock_that_was_set_ahead_is_not_believed_at_once() {
    let store = Store::new().await;
    let first = store.write_twice(&store.t).await;
    store.options.env.jump(48 * HOUR);
    assert_eq!(store.collect().await, Collected::default());
    let plan = store.db.plan_collection().await.unwrap();
    let [note] = plan.notes.as_slice() else { panic!("{plan:?}") };
    assert!(note.what == "clock" && note.why.contains("is 2880 minutes ahead"), "{note:?}");
    assert!(note.why.ends_with("it is believed at 2026-01-03 00:30:00.000000 UTC"), "{note:?}");
    store.options.env.jump(-48 * HOUR);
    store.collect().await;
    store.db.at(first).await.unwrap().scan(&store.t).await.unwrap();
    assert_eq!(store.db.plan_collection().await.unwrap().notes, []);
    // It was right all the same.
    store.options.env.jump(48 * HOUR);
    assert_eq!(store.collect().await, Collected::default());
    store.options.env.advance(HOUR / 2);
    assert!(store.collect().await.files >= 2);
}

/// A computer that begins with a wrong clock, and is told the time later.
#[tokio::test]
async fn a_clock_that_is_wrong_when_the_store_is_opened_ends_no_window() {
    let store = Store::new().await;
    let first = store.write_twice(&store.t).await;
    store.options.env.jump(366 * 24 * HOUR);
    let mut store = store;
    for id in 3..6 {
        store = store.reopen().await;
        assert_eq!(store.collect().await, Collected::default());
        // By now the newest commit has the wrong time too.
        insert(&store.db, &store.t, &[(id, id)]).await;
    }
    store.options.env.jump(-366 * 24 * HOUR);
    let store = store.reopen().await;
    assert_eq!(store.collect().await, Collected::default());
    assert_eq!(read_pairs(&store.db, &store.db.at(first).await.unwrap(), &store.t).await, [(1, 1)]);
}

/// What is promised while the clock is behind is what was promised before.
#[tokio::test]
async fn a_clock_that_is_set_back_promises_nothing_that_has_gone() {
    let store = Store::new().await;
    let lost = store.write_twice(&store.t).await;
    store.pass(48).await;
    let kept = store.write_twice(&store.t).await;
    assert!(store.collect().await.files >= 2);
    let start = store.db.window_start();
    store.options.env.jump(-40 * HOUR);
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(store.db.window_start(), start);
        assert_eq!(store.collect().await, Collected::default(), "and it is no damage that it has gone");
        assert_eq!(store.db.at(lost).await.err().unwrap().kind(), Kind::OutOfWindow);
        assert_eq!(read_pairs(&store.db, &store.db.at(kept).await.unwrap(), &store.t).await, [(1, 1), (2, 2)]);
        store = store.reopen().await;
    }
    // Nothing goes until the clock is there again.
    store.options.env.advance(60 * HOUR);
    store.collect().await;
    assert_eq!(read_pairs(&store.db, &store.db.at(kept).await.unwrap(), &store.t).await, [(1, 1), (2, 2)]);
    store.options.env.advance(20 * HOUR);
    assert!(store.collect().await.files >= 2);
    assert_eq!(store.db.at(kept).await.err().unwrap().kind(), Kind::OutOfWindow);
}

/// What was collected while nobody wrote is not looked for again when the store is opened.
#[tokio::test]
async fn what_was_collected_while_nothing_was_written_is_not_missed_after_a_restart() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    store.options.env.advance(100 * HOUR);
    assert!(store.collect().await.files >= 2);
    store.options.env.advance(HOUR);
    let store = store.reopen().await;
    assert_eq!(store.collect().await, Collected::default());
    assert_eq!(store.db.check(None).await.unwrap().damages, []);
}

#[tokio::test]
async fn no_snapshot_is_dropped_by_a_clock_that_is_not_believed() {
    let store = Store::new().await;
    for name in ["old", "new"] {
        store.options.env.advance(HOUR);
        let until = store.options.env.now().plus_micros(24 * HOUR);
        let spec = SnapshotSpec { retain_until: Some(until), ..SnapshotSpec::of(name, only("t")) };
        store.db.create_snapshot(&spec, &author()).await.unwrap();
    }
    let keep = Keep { last: 1, ..Keep::default() };
    store.options.env.jump(48 * HOUR);
    let store = store.reopen().await;
    assert_eq!(store.db.drop_expired().unwrap(), []);
    assert_eq!(store.db.apply_retention(SYS, &only("t"), Some((keep, "UTC"))).unwrap(), []);
    assert_eq!(store.db.snapshots(SYS).unwrap().len(), 2);
    store.options.env.advance(HOUR / 2);
    assert_eq!(store.db.drop_expired().unwrap().len(), 2, "it ran on");
}

/// Nobody who sets the clock a little, again and again, ends a grace.
#[tokio::test]
async fn a_grace_is_time_that_passes() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    store.pass(100).await;
    for _ in 0..5 {
        assert_eq!(store.db.collect().await.unwrap().files, 0);
        store.options.env.jump(4 * 60 * 1_000_000);
    }
    assert!(store.collect().await.entries > 0);
}

/// What went while the window was short is not promised when it is made longer.
#[tokio::test]
async fn a_longer_window_reaches_back_to_what_was_kept() {
    let mut store = Store::new().await;
    let lost = store.write_twice(&store.t).await;
    store.pass(48).await;
    assert!(store.collect().await.files > 0);
    let kept = store.write_twice(&store.u).await;
    store.options.window = Window(7 * 24 * HOUR);
    let store = store.reopen().await;
    assert_eq!(store.db.collect().await.unwrap().files, 0);
    assert_eq!(store.db.at(lost).await.err().unwrap().kind(), Kind::OutOfWindow);
    assert_eq!(store.db.check(None).await.unwrap().damages, []);
    store.pass(5 * 24).await;
    let store = store.reopen().await;
    store.collect().await;
    assert_eq!(store.db.at(lost).await.err().unwrap().kind(), Kind::OutOfWindow);
    assert_eq!(read_pairs(&store.db, &store.db.at(kept).await.unwrap(), &store.u).await, [(1, 1)]);
    store.pass(3 * 24).await;
    assert_eq!(store.db.at(kept).await.err().unwrap().kind(), Kind::OutOfWindow);
    assert!(store.collect().await.files > 0);
}

/// A snapshot more, or one of a few days less, is no reason to read all that was ever committed.
#[tokio::test]
async fn a_snapshot_that_comes_or_goes_has_little_of_the_log_read_again() {
    let metastore = Arc::new(FailingMetastore::new());
    let store = Store::over(metastore.clone()).await;
    for id in 0..300 {
        insert(&store.db, &store.t, &[(id, id)]).await;
    }
    store.db.flush_table(store.t.id).await.unwrap();
    insert(&store.db, &store.u, &[(0, 0)]).await;
    store.db.flush_table(store.u.id).await.unwrap();
    insert(&store.db, &store.u, &[(1, 1)]).await;
    store.db.create_snapshot(&SnapshotSpec::of("first", only("u")), &author()).await.unwrap();
    store.drop_table(&store.u).await;
    store.pass(48).await;
    assert!(store.collect().await.entries >= 300);
    let listed = async || {
        store.collect().await;
        metastore.listed_entries.swap(0, Ordering::Relaxed);
        let done = store.collect().await;
        (metastore.listed_entries.swap(0, Ordering::Relaxed), done.entries)
    };
    let (idle, _) = listed().await;
    store.db.create_snapshot(&SnapshotSpec::of("second", only("t")), &author()).await.unwrap();
    metastore.listed_entries.swap(0, Ordering::Relaxed);
    store.collect().await;
    let read = metastore.listed_entries.swap(0, Ordering::Relaxed);
    assert!(read < idle + 100, "{read} entries for a new snapshot, {idle} for nothing");
    store.db.drop_snapshot("first", false, &author()).unwrap();
    let done = store.collect().await;
    let read = metastore.listed_entries.swap(0, Ordering::Relaxed);
    assert!(read < idle + 100, "{read} entries for what a snapshot read, {idle} for nothing");
    assert_eq!(done.entries, 1, "what it alone read is trimmed");
    assert_eq!(listed().await.1, 0);
}

/// The rows of a commit go with the last of the snapshots that read any of them, whoever goes first.
#[tokio::test]
async fn what_two_snapshots_read_of_one_commit_goes_with_the_second() {
    for order in [["of_t", "of_u"], ["of_u", "of_t"]] {
        let mut store = Store::new().await;
        let mut txn = store.db.begin(author());
        for table in [&store.t, &store.u] {
            let rows = batch(table, &[row(table, 7, 7)], None);
            txn.insert(table, &rows, OnDuplicate::Error).await.unwrap();
        }
        let version = txn.commit().await.unwrap().version;
        for name in ["t", "u"] {
            let spec = SnapshotSpec::of(&format!("of_{name}"), only(name));
            store.db.create_snapshot(&spec, &author()).await.unwrap();
        }
        for table in [&store.t, &store.u] {
            store.drop_table(table).await;
        }
        let is_there = |store: &Store| {
            let deltas = store.metastore.deltas(store.t.id, Version(version.0 - 1), version);
            deltas.is_ok_and(|deltas| !deltas.is_empty())
        };
        store.pass(100).await;
        store.collect().await;
        for name in order {
            assert!(is_there(&store));
            store.db.drop_snapshot(name, false, &author()).unwrap();
            // Condemned, and forgotten by the process.
            store.db.collect().await.unwrap();
            store = store.reopen().await;
            store.collect().await;
        }
        assert!(!is_there(&store), "{order:?}");
    }
}

/// A delta that was trimmed does not come back: nobody asks again how much there is of it.
#[tokio::test]
async fn a_range_of_the_log_that_was_trimmed_is_measured_once() {
    let metastore = Arc::new(FailingMetastore::new());
    let mut store = Store::over(metastore.clone()).await;
    store.options.thinning = true;
    let store = store.reopen().await;
    insert(&store.db, &store.t, &[(1, 1)]).await;
    store.db.flush_table(store.t.id).await.unwrap();
    store.db.create_snapshot(&SnapshotSpec::of("s", only("t")), &author()).await.unwrap();
    insert(&store.db, &store.t, &[(2, 2)]).await;
    store.db.flush_table(store.t.id).await.unwrap();
    store.pass(48).await;
    assert!(store.collect().await.entries > 0);
    insert(&store.db, &store.t, &[(3, 3)]).await;
    store.db.flush_table(store.t.id).await.unwrap();
    metastore.ranges_measured.store(0, Ordering::Relaxed);
    store.db.collect().await.unwrap();
    let first = metastore.ranges_measured.swap(0, Ordering::Relaxed);
    store.db.collect().await.unwrap();
    assert_eq!((first, metastore.ranges_measured.load(Ordering::Relaxed)), (1, 0));
}

/// It is no root: the files go, and the log waits until it is whole.
#[tokio::test]
async fn a_damaged_entry_of_the_log_keeps_no_file() {
    let metastore = Arc::new(FailingMetastore::new());
    let store = Store::over(metastore.clone()).await;
    let then = store.write_twice(&store.t).await;
    store.pass(100).await;
    let bytes = store.metastore.size_bytes().unwrap();
    metastore.damage(Some(Version(then.0 - 1)));
    let done = store.collect().await;
    assert!(done.files >= 2 && done.entries == 0, "{done:?}");
    assert_eq!(store.metastore.size_bytes().unwrap(), bytes);
    assert_eq!(store.metastore.setting("collector").unwrap(), None, "nothing was looked through");
    let plan = store.db.plan_collection().await.unwrap();
    let [note] = plan.notes.as_slice() else { panic!("{plan:?}") };
    assert!(note.what == "log" && note.why.contains("does not match its checksum"), "{note:?}");
    metastore.damage(None);
    assert_eq!(store.collect().await.entries, 2);
}

/// The rest is trimmed, and the next collection has nothing to do.
#[tokio::test]
async fn an_entry_that_cannot_be_trimmed_holds_up_no_other() {
    let metastore = Arc::new(FailingMetastore::new());
    let store = Store::over(metastore.clone()).await;
    let first = insert(&store.db, &store.t, &[(0, 0)]).await;
    for id in 1..10 {
        insert(&store.db, &store.t, &[(id, id)]).await;
    }
    store.db.flush_table(store.t.id).await.unwrap();
    store.pass(100).await;
    store.db.collect().await.unwrap();
    store.options.env.advance(store.options.grace_micros);
    // It was listed when it was whole.
    metastore.damage_trim(Some(Version(first.0 + 3)));
    assert_eq!(store.db.collect().await.unwrap().entries, 9);
    assert_eq!(store.collect().await, Collected::default());
}

/// While a manifest stands, so does what it names.
#[tokio::test]
async fn what_a_manifest_names_stays_when_that_could_not_be_deleted() {
    let failing = Arc::new(FailingMetastore::new());
    let store = Store::over(failing.clone()).await;
    store.write_twice(&store.t).await;
    store.pass(100).await;
    store.pass(100).await;
    store.db.collect().await.unwrap();
    store.options.env.advance(store.options.grace_micros);
    let before = (store.count(FileKind::Manifest).await, store.count(FileKind::Part).await);
    failing.fail_next_withdrawal(Kind::Internal);
    assert_eq!(store.db.collect().await.unwrap_err().kind(), Kind::Internal);
    assert_eq!((store.count(FileKind::Manifest).await, store.count(FileKind::Part).await), before);
    assert!(store.collect().await.files >= 2);
}

/// An entry loses its rows in a later run than the one that finds that nothing reads them.
#[tokio::test]
async fn the_log_is_trimmed_when_the_grace_is_over_and_still_nothing_reads_it() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    store.pass(100).await;
    store.pass(100).await;
    let bytes = store.metastore.size_bytes().unwrap();
    for _ in 0..2 {
        assert_eq!(store.db.collect().await.unwrap().entries, 0);
        assert_eq!(store.metastore.size_bytes().unwrap(), bytes);
    }
    store.options.env.advance(store.options.grace_micros);
    assert_eq!(store.db.collect().await.unwrap().entries, 2);
    assert_eq!(store.metastore.size_bytes().unwrap(), 0);
}

/// A root that does not resolve is never published.
#[tokio::test]
async fn a_commit_whose_manifest_is_gone_is_refused() {
    let store = Store::new().await;
    load(&store.db, &store.t, &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]).await;
    let moment = store.db.now();
    let loaded = moment.catalog().content(store.t.id).unwrap().manifest.expect("so many rows are loaded");
    let file = store.metastore.file_by_digest(FileKind::Manifest, loaded).unwrap().unwrap();
    let mut txn = store.db.begin(author());
    txn.clone_table(&moment, &store.t, SYS, "d", "clone").await.unwrap();
    store.metastore.withdraw_files(&[(file.id, file.kind)]).unwrap();
    assert_eq!(txn.commit().await.unwrap_err().kind(), Kind::Corrupt);
    insert(&store.db, &store.u, &[(7, 7)]).await;
    assert_eq!(pairs(&store.db, &store.u).await, [(7, 7)], "nothing else is the worse for it");
}
