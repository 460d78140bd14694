//! How other stores lost data, each once: what must never happen here. Each names what was lost, and where.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use proptest::prelude::*;
use strandline_core::cold::{is_staged, parse_path};
use strandline_core::db::{Database, SYS};
use strandline_core::env::Env;
use strandline_core::error::Kind;
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::Version;
use strandline_core::log::{FileKind, Scope};
use strandline_core::txn::OnDuplicate;
use strandline_core::when::{RangeUnit, When};

use crate::collect::{HOUR, Store, only, read_pairs};
use crate::failing::FailingMetastore;
use crate::support::*;

fn restore(scope: Scope, when: When) -> RestoreRequest {
    RestoreRequest::of(scope, when)
}

/// MatrixOne #21305: a read at one fixed time returned more rows than before, for deletions were collected before data.
#[tokio::test]
async fn g1_one_moment_has_one_answer_or_none() {
    let store = Store::new().await;
    insert(&store.db, &store.t, &[(1, 1), (2, 2), (3, 3), (4, 4)]).await;
    store.db.flush_table(store.t.id).await.unwrap();
    let mut txn = store.db.begin(author());
    let keys: Vec<_> = [2, 3].iter().map(|id| key_of(&store.t, &row(&store.t, *id, 0))).collect();
    txn.delete(&store.t, &key_batch(&store.t, &keys)).await.unwrap();
    let then = txn.commit().await.unwrap().version;
    store.db.flush_table(store.t.id).await.unwrap();
    insert(&store.db, &store.t, &[(5, 5)]).await;
    store.db.optimize_table(store.t.id).await.unwrap();
    let mut store = store;
    let mut answers = 0;
    for hours in [1, 5, 12, 5, 3, 10, 30, 30] {
        store = store.reopen().await;
        match store.db.at(then).await {
            Ok(moment) => {
                answers += 1;
                assert_eq!(read_pairs(&store.db, &moment, &store.t).await, [(1, 1), (4, 4)]);
            }
            Err(error) => assert_eq!(error.kind(), Kind::OutOfWindow),
        }
        store.pass(hours).await;
        store.collect().await;
    }
    assert!((4..8).contains(&answers), "{answers}");
    // A clock that goes back does not promise again what is gone.
    store.options.env.jump(-90 * HOUR);
    let store = store.reopen().await;
    assert_eq!(store.db.at(then).await.err().unwrap().kind(), Kind::OutOfWindow);
}

/// MatrixOne #16967, #18450: files of a dropped table were collected although a snapshot read them.
#[tokio::test]
async fn g2_every_root_holds_what_it_reaches() {
    let store = Store::new().await;
    let database = store.t.database;
    let names = ["snapshot", "clone", "policy", "reader", "transaction", "logged"];
    let mut tables = Vec::new();
    for name in names {
        let table = create_table(&store.db, table(database, name, Shape::Keyed)).await;
        insert(&store.db, &table, &[(1, 1), (2, 2)]).await;
        if name != "logged" {
            store.db.flush_table(table.id).await.unwrap();
        }
        tables.push(table);
    }
    for name in ["snapshot", "logged"] {
        store.db.create_snapshot(&SnapshotSpec::of(name, only(name)), &author()).await.unwrap();
    }
    let policy = PitrSpec { name: "p".to_owned(), scope: only("policy"), length: 30, unit: RangeUnit::Day };
    store.db.create_pitr(&policy, &author()).unwrap();
    let then = store.db.now().version();
    let mut txn = store.db.begin(author());
    txn.clone_table(&store.db.now(), &tables[1], SYS, "d", "cloned").await.unwrap();
    txn.commit().await.unwrap();
    let (reader, open) = (store.db.at(then).await.unwrap(), store.db.begin(author()));
    for table in &tables {
        store.drop_table(table).await;
    }
    store.pass(100).await;
    store.collect().await;
    for name in ["snapshot", "logged"] {
        let of = tables.iter().find(|table| table.name == name).unwrap();
        assert_eq!(read_pairs(&store.db, &store.at_snapshot(name), of).await, [(1, 1), (2, 2)]);
    }
    assert_eq!(pairs(&store.db, &named(&store.db, "d", "cloned")).await, [(1, 1), (2, 2)]);
    let kept = store.db.moment(&store.db.resolve(&When::Version(then), SYS).unwrap()).unwrap();
    assert_eq!(read_pairs(&store.db, &kept, &tables[2]).await, [(1, 1), (2, 2)]);
    assert_eq!(read_pairs(&store.db, &reader, &tables[3]).await, [(1, 1), (2, 2)]);
    assert_eq!(read_pairs(&store.db, open.moment(), &tables[4]).await, [(1, 1), (2, 2)]);
    drop((kept, reader, open));
    // Read again from the files, not from caches.
    let store = store.reopen().await;
    store.collect().await;
    for name in ["snapshot", "logged"] {
        let of = tables.iter().find(|table| table.name == name).unwrap();
        assert_eq!(read_pairs(&store.db, &store.at_snapshot(name), of).await, [(1, 1), (2, 2)]);
    }
    assert_eq!(pairs(&store.db, &named(&store.db, "d", "cloned")).await, [(1, 1), (2, 2)]);
    let kept = store.db.moment(&store.db.resolve(&When::Version(then), SYS).unwrap()).unwrap();
    assert_eq!(read_pairs(&store.db, &kept, &tables[2]).await, [(1, 1), (2, 2)]);
}

/// MatrixOne #18429: dropping an account took the table of snapshots along, and collection stopped.
#[tokio::test]
async fn g3_the_collector_outlives_an_account_and_keeps_what_snapshots_hold_of_it() {
    let store = Store::new().await;
    let mut txn = store.db.begin(author());
    let acme = txn.create_account("acme").unwrap();
    let home = txn.create_database(acme.id, "home", "").unwrap();
    let theirs = txn.create_table(table(home.id, "t", Shape::Keyed)).unwrap();
    txn.commit().await.unwrap();
    store.write_twice(&theirs).await;
    store.db.create_snapshot(&SnapshotSpec::of("all", Scope::Cluster), &author()).await.unwrap();
    let of_acme = SnapshotSpec::of("own", Scope::Database("home".to_owned()));
    let acme_author = strandline_core::txn::Author { account: acme.id, name: "them@localhost".to_owned() };
    store.db.create_snapshot(&of_acme, &acme_author).await.unwrap();
    store.write_twice(&store.t).await;
    let mut txn = store.db.begin(author());
    txn.drop_database(&home).unwrap();
    txn.drop_account(&acme).unwrap();
    txn.commit().await.unwrap();
    store.pass(100).await;
    assert!(store.collect().await.files > 0, "what nothing reaches still goes");
    let store = store.reopen().await;
    assert_eq!(read_pairs(&store.db, &store.at_snapshot("all"), &theirs).await, [(2, 2)]);
}

/// MatrixOne #19066, #19033, #19157: a restore inside the window failed at its ends.
#[tokio::test]
async fn g4_both_ends_of_the_window_can_be_restored() {
    let store = Store::new().await;
    insert(&store.db, &store.t, &[(1, 1)]).await;
    store.db.flush_table(store.t.id).await.unwrap();
    let first = store.db.now().version();
    store.options.env.advance(HOUR);
    let second = insert(&store.db, &store.t, &[(2, 2)]).await;
    let time = |version| store.metastore.entry(version).unwrap().unwrap().head.time;
    let (window, ended) = (store.options.window.0, time(second));
    // In a microsecond the second commit will be as old as the window is long: until then the first is in it. Collecting lets
    // the grace go by.
    let last = ended.plus_micros(window - 1);
    store.options.env.advance(last.0 - store.options.grace_micros - store.options.env.now().0);
    store.collect().await;
    assert_eq!(store.options.env.now(), last);
    for when in [When::Version(first), When::Time(ended.plus_micros(-1))] {
        store.db.restore(restore(only("t"), when), &author()).await.unwrap();
        assert_eq!(pairs(&store.db, &store.t).await, [(1, 1)]);
        store.db.restore(restore(only("t"), When::Version(second)), &author()).await.unwrap();
        assert_eq!(pairs(&store.db, &store.t).await, [(1, 1), (2, 2)]);
    }
    let newest = store.db.now().version();
    store.db.restore(restore(only("t"), When::Version(newest)), &author()).await.unwrap();
    store.db.restore(restore(only("t"), When::Time(time(newest))), &author()).await.unwrap();
    assert_eq!(pairs(&store.db, &store.t).await, [(1, 1), (2, 2)]);
    // One microsecond later it is outside, at both ends.
    store.options.env.advance(1);
    for when in [When::Version(first), When::Time(ended.plus_micros(-1))] {
        let refused = store.db.restore(restore(only("t"), when), &author()).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::OutOfWindow);
    }
    store.db.at(second).await.unwrap();
    let future = When::Time(store.options.env.now().plus_micros(HOUR));
    let refused = store.db.restore(restore(only("t"), future), &author()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfWindow);
}

/// MatrixOne #16055, #15954, #735: counts were wrong after a restore, and rows gone after a restart.
#[tokio::test]
async fn g5_after_every_restore_and_restart_the_rows_and_their_count_are_those_of_then() {
    let mut store = Store::new().await;
    let mut versions: Vec<(Version, Vec<(i32, i32)>)> = Vec::new();
    let mut rows = Vec::new();
    for id in 0..6 {
        rows.push((id, id));
        versions.push((insert(&store.db, &store.t, &[(id, id)]).await, rows.clone()));
        if id % 2 == 0 {
            store.db.flush_table(store.t.id).await.unwrap();
        }
    }
    for (version, then) in versions.iter().rev().chain(versions.iter()) {
        store.db.restore(restore(only("t"), When::Version(*version)), &author()).await.unwrap();
        assert_eq!(pairs(&store.db, &store.t).await, *then);
        insert(&store.db, &store.t, &[(100, 100)]).await;
        store = store.reopen().await;
        let with: Vec<_> = then.iter().copied().chain([(100, 100)]).collect();
        // Reading holds the count of the scan to the rows.
        assert_eq!(pairs(&store.db, &store.t).await, with);
        let mut txn = store.db.begin(author());
        txn.truncate(&store.t).await.unwrap();
        txn.commit().await.unwrap();
        store = store.reopen().await;
        assert_eq!(pairs(&store.db, &store.t).await, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// DuckLake #815: a slash too many made every live file an orphan. One spelling is a name, and no other.
    #[test]
    fn g6_a_file_has_one_name(
        number in any::<u128>(),
        kind in 0_usize..3,
        before in prop::sample::select(vec!["/", "./", "//", "x/", "../", "a/../", "file://", "s3://b/", " ", "%2e/"]),
        after in prop::sample::select(vec!["/", "//", "/.", " ", "?x=1", "#a", ".parquet", "%20", "~", ".bak"]),
    ) {
        let kind = [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest][kind];
        let id = strandline_core::ids::FileId(uuid::Uuid::from_u128(number));
        let path = kind.path(id);
        prop_assert_eq!(parse_path(&path), Some((kind, id)));
        let (folder, name) = path.split_once('/').unwrap();
        let spellings = [
            format!("{before}{path}"),
            format!("{path}{after}"),
            format!("{folder}//{name}"),
            format!("{folder}/./{name}"),
            format!("{folder}/x/../{name}"),
            format!("{folder}\\{name}"),
            name.to_owned(),
            path.replace('.', ".."),
        ];
        for spelling in &spellings {
            prop_assert_eq!(parse_path(spelling), None, "{}", spelling);
            prop_assert!(!is_staged(spelling) || spelling.starts_with(&path));
        }
    }
}

/// DuckLake #815, the other half: however the store's folder is spelled, what lives there lives.
#[tokio::test]
async fn g6_however_the_folder_is_spelled_no_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let options = options();
    let t = {
        let db = Database::open(&root, options.clone()).await.unwrap();
        let database = create_database(&db, "d").await;
        let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
        insert(&db, &t, &[(1, 1)]).await;
        db.flush().await.unwrap();
        t
    };
    let name = root.to_str().unwrap().to_owned();
    std::os::unix::fs::symlink(&root, folder.path().join("link")).unwrap();
    let link = folder.path().join("link").to_str().unwrap().to_owned();
    let spellings = [
        format!("{name}/"),
        format!("{name}//"),
        format!("{name}/."),
        format!("{name}/parts/.."),
        link.clone(),
        link + "/",
    ];
    for spelling in spellings {
        let db = Database::open(std::path::Path::new(&spelling), options.clone()).await.unwrap();
        for _ in 0..2 {
            options.env.advance(50 * HOUR);
            assert_eq!(db.collect().await.unwrap().files, 0, "{spelling}");
        }
        assert_eq!(pairs(&db, &t).await, [(1, 1)], "{spelling}");
    }
}

/// DuckLake #1472: the snapshots since an open transaction began were expired, and its conflicts with them.
#[tokio::test]
async fn g7_an_open_transaction_holds_the_history_that_it_may_conflict_with() {
    let store = Store::new().await;
    insert(&store.db, &store.t, &[(1, 1)]).await;
    let mut open = store.db.begin(author());
    let old = key_batch(&store.t, &[key_of(&store.t, &row(&store.t, 1, 0))]);
    open.update(&store.t, &old, &batch(&store.t, &[row(&store.t, 1, 7)], None)).await.unwrap();
    let mut other = store.db.begin(author());
    other.delete(&store.t, &old).await.unwrap();
    other.commit().await.unwrap();
    // So much is written since that what was remembered of others is thinned out.
    for begin in [0, 5000] {
        let many: Vec<_> = (begin..begin + 5000).map(|id| (id, id)).collect();
        insert(&store.db, &store.u, &many).await;
    }
    store.pass(100).await;
    store.collect().await;
    assert_eq!(open.commit().await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(pairs(&store.db, &store.t).await, []);
}

/// DuckLake #839, #813: a sweep of orphans deleted the catalog, which lay in the same folder.
#[tokio::test]
async fn g8_only_names_that_the_store_minted_are_ever_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let options = options();
    let db = Database::open(folder.path(), options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    db.flush().await.unwrap();
    // Even what looks like one of ours: the log does not know it.
    let lookalike = FileKind::Part.path(Env::real().file_id());
    let others = ["notes.txt", "parts/notes.parquet", "parts/notes.txt", "manifests/0.json", lookalike.as_str()];
    for other in others {
        std::fs::write(folder.path().join(other), b"somebody's").unwrap();
    }
    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    txn.commit().await.unwrap();
    for _ in 0..3 {
        options.env.advance(50 * HOUR);
        create_database(&db, &format!("at{}", db.now().version())).await;
        db.collect().await.unwrap();
    }
    drop(db);
    let db = Database::open(folder.path(), options.clone()).await.unwrap();
    db.collect().await.unwrap();
    for other in others {
        assert_eq!(std::fs::read(folder.path().join(other)).unwrap(), b"somebody's", "{other}");
    }
    let parts: Vec<_> = std::fs::read_dir(folder.path().join("parts")).unwrap().collect();
    assert_eq!(parts.len(), 3, "only theirs are left: {parts:?}");
    assert!(folder.path().join("metastore.db").exists());
    assert_eq!(db.metastore().check().unwrap(), Vec::<String>::new());
}

/// DuckLake #1354: a file that two tables shared was deleted when one of them expired.
#[tokio::test]
async fn g9_a_file_lives_as_long_as_the_last_table_that_has_it() {
    let store = Store::new().await;
    store.write_twice(&store.t).await;
    // These rows stand in the log of t alone, and the clones read them there.
    insert(&store.db, &store.t, &[(3, 3)]).await;
    let mut from = store.t.clone();
    for name in ["first", "second"] {
        let mut txn = store.db.begin(author());
        from = txn.clone_table(&store.db.now(), &from, SYS, "d", name).await.unwrap();
        txn.commit().await.unwrap();
    }
    // What stands is flushed before the log is trimmed; a snapshot goes on reading the log of t.
    store.db.create_snapshot(&SnapshotSpec::of("s", only("second")), &author()).await.unwrap();
    let mut store = store;
    for dropped in ["t", "first"] {
        store.drop_table(&named(&store.db, "d", dropped)).await;
        for _ in 0..2 {
            store.pass(50).await;
            store.collect().await;
        }
        store = store.reopen().await;
        assert_eq!(pairs(&store.db, &named(&store.db, "d", "second")).await, [(2, 2), (3, 3)]);
        assert_eq!(read_pairs(&store.db, &store.at_snapshot("s"), &from).await, [(2, 2), (3, 3)]);
    }
    store.db.drop_snapshot("s", false, &author()).unwrap();
    store.drop_table(&named(&store.db, "d", "second")).await;
    store.pass(50).await;
    store.collect().await;
    assert_eq!(store.count(FileKind::Part).await, 0);
}

/// Dolt #11070, #11747: a manifest was published that named chunks which were not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_whatever_a_commit_names_is_there_before_it_is() {
    let (metastore, objects) = (Arc::new(FailingMetastore::new()), Arc::new(InMemory::new()));
    let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1), (2, 2)]).await;
    db.flush_table(t.id).await.unwrap();
    let mut txn = db.begin(author());
    txn.delete(&t, &key_batch(&t, &[key_of(&t, &row(&t, 1, 0))])).await.unwrap();
    txn.commit().await.unwrap();
    let before = db.now().version();
    let (begins, gate) = metastore.hold_next_append();
    let (other, id) = (db.clone(), t.id);
    let flush = tokio::spawn(async move { other.flush_table(id).await });
    begins.recv().unwrap();
    // It is on its way, and nobody sees it; all its files are there, and none is taken for garbage.
    assert_eq!(db.now().version(), before);
    let listed = async || -> BTreeSet<String> {
        let all: Vec<_> = objects.list(None).try_collect().await.unwrap();
        all.into_iter().map(|meta| meta.location.to_string()).collect()
    };
    let there = listed().await;
    assert!(there.len() > 2, "{there:?}");
    db.options().env.advance(HOUR);
    drop(gate);
    flush.await.unwrap().unwrap();
    assert_eq!(listed().await, there, "nothing came after the commit");
    let manifest = db.now().catalog().content(t.id).unwrap().manifest.unwrap();
    for file in db.cold().manifest(manifest).await.unwrap().files() {
        let record = db.cold().files().record(file).await.unwrap();
        assert!(there.contains(&record.kind.path(file)));
    }
    assert_eq!(pairs(&db, &t).await, [(2, 2)]);
}

/// SlateDB RFC 0029: a file that was uploaded and not yet committed was older than the cutoff, and went.
#[tokio::test]
async fn g11_a_load_may_take_longer_than_every_grace() {
    let store = Store::new().await;
    let mut txn = store.db.begin(author());
    let mut load = txn.bulk(&store.t, OnDuplicate::Error);
    let rows: Vec<_> = (0..9).map(|id| row(&store.t, id, id)).collect();
    load.write(&mut txn, &batch(&store.t, &rows[..5], None)).await.unwrap();
    store.pass(100).await;
    store.collect().await;
    load.write(&mut txn, &batch(&store.t, &rows[5..], None)).await.unwrap();
    load.finish(&mut txn).await.unwrap();
    assert!(store.count(FileKind::Part).await > 0, "it has written files");
    store.pass(100).await;
    store.collect().await;
    txn.commit().await.unwrap();
    let store = store.reopen().await;
    store.collect().await;
    assert_eq!(pairs(&store.db, &store.t).await, (0..9).map(|id| (id, id)).collect::<Vec<_>>());
}

/// SlateDB RFC 0026: a writer stalled for longer than the grace, and went on as if nothing had happened meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_a_flush_that_stalled_gives_way_to_what_came_meanwhile() {
    let metastore = Arc::new(FailingMetastore::new());
    let store = Store::over(metastore.clone()).await;
    insert(&store.db, &store.t, &[(1, 1)]).await;
    let gate = metastore.hold_next_file();
    let (db, id) = (store.db.clone(), store.t.id);
    let flush = tokio::spawn(async move { db.flush_table(id).await });
    // Somebody gives the table another content, and all that the flush began with is collected.
    while !metastore.is_holding_file() {
        tokio::task::yield_now().await;
    }
    let mut txn = store.db.begin(author());
    txn.truncate(&store.t).await.unwrap();
    txn.commit().await.unwrap();
    insert(&store.db, &store.t, &[(2, 2)]).await;
    store.options.env.advance(100 * HOUR);
    drop(gate);
    assert!(!flush.await.unwrap().unwrap(), "it gave way");
    assert_eq!(pairs(&store.db, &store.t).await, [(2, 2)]);
    // What it had written goes without a grace: nobody ever saw it.
    assert!(store.db.collect().await.unwrap().files > 0);
    for _ in 0..2 {
        store.pass(100).await;
        store.collect().await;
    }
    let store = store.reopen().await;
    assert_eq!(pairs(&store.db, &store.t).await, [(2, 2)]);
    assert_eq!(store.metastore.intents().unwrap(), []);
}

/// Litestream #582: all looked healthy, and then a restore did not: that the writer was content proves nothing.
#[tokio::test]
async fn g13_a_check_finds_what_no_writer_noticed() {
    let store = Store::new().await;
    insert(&store.db, &store.t, &[(1, 1), (2, 2)]).await;
    store.db.flush_table(store.t.id).await.unwrap();
    store.db.create_snapshot(&SnapshotSpec::of("s", only("t")), &author()).await.unwrap();
    assert_eq!(store.db.check(None).await.unwrap().lines(), Vec::<String>::new());
    let listed: Vec<_> = store.objects.list(None).try_collect().await.unwrap();
    for meta in listed {
        let whole = store.objects.get(&meta.location).await.unwrap().bytes().await.unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 1;
            store.objects.put(&meta.location, flipped.into()).await.unwrap();
            // Nobody notices while it is written and read: caches hold what was verified.
            insert(&store.db, &store.u, &[(at as i32 + meta.location.as_ref().len() as i32 * 100_000, 1)]).await;
            let found = store.db.check(None).await.unwrap().lines();
            assert_eq!(found.len(), 1, "byte {at} of {}: {found:?}", meta.location);
            let named = found[0].contains("d.t") || found[0].contains(meta.location.as_ref());
            assert!(named, "byte {at} of {}: {found:?}", meta.location);
        }
        store.objects.delete(&meta.location).await.unwrap();
        assert!(!store.db.check(None).await.unwrap().damages.is_empty(), "{} is gone", meta.location);
        store.objects.put(&meta.location, whole.into()).await.unwrap();
        assert_eq!(store.db.check(None).await.unwrap().lines(), Vec::<String>::new());
    }
}
