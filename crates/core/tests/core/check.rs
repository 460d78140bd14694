//! The check at each depth, and the scrubber: what they find, what they name, and what stays readable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strandline_core::cold::Merging;
use strandline_core::db::{Database, Options};
use strandline_core::error::Kind;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::log::Scope;
use strandline_core::schema::Table;
use strandline_core::upkeep::check::{Checked, Depth};
use strandline_core::upkeep::scrub::Scrubber;

use crate::support::*;

const SECOND: i64 = 1_000_000;

struct Store {
    folder: tempfile::TempDir,
    options: Options,
    db: Database,
    t: Arc<Table>,
    u: Arc<Table>,
}

impl Store {
    /// Returns a store on disk: `d.t` whose past part only the snapshots `a` and `b` hold, and `d.u`.
    async fn new() -> Store {
        let (folder, options) = (tempfile::tempdir().unwrap(), options());
        let db = Database::open(folder.path(), options.clone()).await.unwrap();
        let database = create_database(&db, "d").await;
        let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
        let u = create_table(&db, table(database, "u", Shape::Keyed)).await;
        insert(&db, &u, &[(1, 1)]).await;
        insert(&db, &t, &[(1, 1), (2, 2), (3, 3)]).await;
        db.flush().await.unwrap();
        for name in ["a", "b"] {
            let scope = Scope::Tables("d".to_owned(), vec!["t".to_owned()]);
            db.create_snapshot(&SnapshotSpec::of(name, scope), &author()).await.unwrap();
        }
        let store = Store { folder, options, db, t, u };
        let mut txn = store.db.begin(author());
        txn.truncate(&store.t).await.unwrap();
        txn.commit().await.unwrap();
        insert(&store.db, &store.t, &[(9, 9)]).await;
        store.db.flush().await.unwrap();
        store
    }

    async fn check(&self, depth: Depth) -> Checked {
        self.db.check_to(depth, Some(self.folder.path()), &|_| {}).await.unwrap()
    }

    /// Returns the file of the part that a table has in its newest manifest of a version.
    async fn part(&self, table: &Arc<Table>, snapshot: Option<&str>) -> String {
        let digest = match snapshot {
            None => self.db.now().catalog().content(table.id).unwrap().manifest.unwrap(),
            Some(name) => {
                let when = strandline_core::when::When::Snapshot(name.to_owned());
                let resolved = self.db.resolve(&when, strandline_core::db::SYS).unwrap();
                self.db.moment(&resolved).unwrap().catalog().content(table.id).unwrap().manifest.unwrap()
            }
        };
        let manifest = self.db.cold().manifest(digest).await.unwrap();
        strandline_core::log::FileKind::Part.path(manifest.parts[0].file)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    async fn reopen(self) -> Store {
        let Store { folder, options, db, t, u } = self;
        db.close().await.unwrap();
        drop(db);
        let db = Database::open(folder.path(), options.clone()).await.unwrap();
        Store { folder, options, db, t, u }
    }

    /// Scrubs second by second until a reading has ended; returns how many seconds that took.
    async fn scrub(&self, scrubber: &mut Scrubber) -> u32 {
        let before = self.db.health().last;
        for seconds in 0..1000 {
            if self.db.health().last != before {
                return seconds;
            }
            self.options.env.advance(SECOND);
            scrubber.tick(&self.db).await.unwrap();
        }
        panic!("no reading has ended: {:?}", self.db.health());
    }
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn each_depth_finds_what_it_looks_for_and_names_what_it_touches() {
    let store = Store::new().await;
    for depth in [Depth::Presence, Depth::Bytes, Depth::Rows] {
        let found = store.check(depth).await;
        assert_eq!((found.damages.len(), found.files), (0, 6), "{found:?}");
        assert_eq!(found.rows, if depth == Depth::Rows { 5 } else { 0 });
    }
    let past = store.part(&store.t, Some("a")).await;
    let whole = std::fs::read(store.at(&past)).unwrap();
    flip(&store.at(&past));
    assert!(store.check(Depth::Presence).await.damages.is_empty(), "it is there");
    for depth in [Depth::Bytes, Depth::Rows] {
        let damages = store.check(depth).await.damages;
        let [damage] = damages.as_slice() else { panic!("{damages:?}") };
        assert_eq!((&damage.file, &damage.tables), (&past, &vec!["d.t".to_owned()]));
        assert_eq!(damage.snapshots, ["a", "b"]);
        assert!(damage.to_string().ends_with("It holds rows of d.t. Snapshots 'a', 'b' need it."), "{damage}");
        assert_eq!(store.db.check_table(store.t.id, depth).await.unwrap().damages, damages);
        assert!(store.db.check_table(store.u.id, depth).await.unwrap().damages.is_empty(), "others are whole");
    }
    assert_eq!(pairs(&store.db, &store.u).await, [(1, 1)]);
    assert_eq!(pairs(&store.db, &store.t).await, [(9, 9)]);
    std::fs::write(store.at(&past), &whole[1..]).unwrap();
    let found = store.check(Depth::Presence).await;
    assert_eq!((found.damages.len(), &found.damages[0].file), (1, &past), "{found:?}");
    assert_eq!(store.db.check_table(store.t.id, Depth::Presence).await.unwrap().damages, found.damages);
}

#[tokio::test]
async fn rows_are_decoded_and_compared_with_what_the_manifest_says() {
    let store = Store::new().await;
    let digest = store.db.now().catalog().content(store.t.id).unwrap().manifest.unwrap();
    let part = store.db.cold().manifest(digest).await.unwrap().parts[0].clone();
    assert_eq!(store.db.cold().decode(&part).await.unwrap(), 1);
    let mut other = part.clone();
    other.max_key.push(0);
    assert_eq!(store.db.cold().decode(&other).await.unwrap_err().kind(), Kind::Corrupt);
    other.min_key = vec![0];
    assert_eq!(store.db.cold().decode(&other).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn a_flip_in_a_file_that_no_query_reads_is_reported_within_one_reading() {
    let store = Store::new().await;
    let mut scrubber = Scrubber::default();
    let seconds = store.scrub(&mut scrubber).await;
    let health = store.db.health();
    let first = health.last.unwrap();
    assert_eq!((health.damages.len(), first.files), (0, 6), "{health:?}");
    assert!(first.bytes > 0 && health.read_bytes == first.bytes && seconds < 60, "{health:?} after {seconds} s");

    let past = store.part(&store.t, Some("a")).await;
    let whole = std::fs::read(store.at(&past)).unwrap();
    flip(&store.at(&past));
    // The next one begins a day after the last.
    store.options.env.advance(23 * 3600 * SECOND);
    scrubber.tick(&store.db).await.unwrap();
    assert!(store.db.health().running.is_none());
    store.options.env.advance(3600 * SECOND);
    assert!(store.scrub(&mut scrubber).await < 60);
    let health = store.db.health();
    let [found] = health.damages.as_slice() else { panic!("{health:?}") };
    assert_eq!((&found.damage.file, &found.damage.tables), (&past, &vec!["d.t".to_owned()]));
    assert_eq!(found.damage.snapshots, ["a", "b"]);
    // A restart does not forget it.
    let store = store.reopen().await;
    assert_eq!(store.db.health().damages, health.damages);

    std::fs::write(store.at(&past), whole).unwrap();
    store.options.env.advance(24 * 3600 * SECOND);
    store.scrub(&mut Scrubber::default()).await;
    assert_eq!(store.db.health().damages, [], "it is whole again");
}

#[tokio::test]
async fn a_reading_goes_on_where_it_stood_and_reads_slowly_while_others_read() {
    let store = Store::new().await;
    let mut scrubber = Scrubber::default();
    let begun = scrubber.read(&store.db, 1).await.unwrap();
    let running = store.db.health().running.unwrap();
    assert!(begun > 0 && running.version.0 > 0 && running.files == 0, "{running:?}");
    let moment = store.db.now();
    assert!(store.db.is_read());
    drop(moment);
    while store.db.health().running.unwrap().files < 3 {
        scrubber.read(&store.db, 1).await.unwrap();
    }
    store.db.close().await.unwrap();
    let place = store.db.health().running.unwrap();
    // Another one, as after a restart.
    Scrubber::default().read(&store.db, u64::MAX).await.unwrap_or(0);
    let last = store.db.health().last.unwrap();
    assert_eq!((last.began, last.files), (place.began, 6), "none is read twice, and none is left out");
}

#[tokio::test]
async fn the_scrubber_reads_the_log() {
    let store = Store::new().await.reopen().await;
    let path = store.at("metastore.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(14).rposition(|text| text == b"test@localhost").expect("the author stands in the log");
    bytes[at] ^= 2;
    std::fs::write(&path, &bytes).unwrap();
    store.scrub(&mut Scrubber::default()).await;
    let health = store.db.health();
    let [found] = health.damages.as_slice() else { panic!("{health:?}") };
    assert_eq!(found.damage.file, "metastore.db");
    assert!(found.damage.what.contains("Entry"), "{found:?}");
}

/// What an open moment alone holds of a table may be gone: whoever opened it reads another.
#[tokio::test]
async fn what_only_an_open_moment_holds_is_not_missed() {
    let store = Store::new().await;
    let when = strandline_core::when::When::Snapshot("a".to_owned());
    let resolved = store.db.resolve(&when, strandline_core::db::SYS).unwrap();
    insert(&store.db, &store.u, &[(2, 2)]).await;
    store.db.flush().await.unwrap();
    store.options.env.advance(48 * 3600 * SECOND);
    for _ in 0..2 {
        store.db.collect().await.unwrap();
        store.options.env.advance(3600 * SECOND);
    }
    // The snapshot is of `t`; what `u` held then is gone.
    let open = store.db.moment(&resolved).unwrap();
    for table in [&store.t, &store.u] {
        let found = store.db.check_table(table.id, Depth::Rows).await.unwrap();
        assert_eq!(found.damages, [], "{}", table.name);
    }
    drop(open);
}

/// Small parts are merged on the way, where they can be read.
#[tokio::test]
async fn a_damaged_part_keeps_no_recent_rows_in_memory() {
    let merging = Merging { small_parts: 3, ..Merging::default() };
    let (folder, options) = (tempfile::tempdir().unwrap(), Options { merging, ..options() });
    let db = Database::open(folder.path(), options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    for id in 0..2 {
        insert(&db, &t, &[(id, id)]).await;
        db.flush().await.unwrap();
    }
    let digest = db.now().catalog().content(t.id).unwrap().manifest.unwrap();
    let parts = db.cold().manifest(digest).await.unwrap().parts.clone();
    assert_eq!(parts.len(), 2);
    db.close().await.unwrap();
    drop(db);
    flip(&folder.path().join(strandline_core::log::FileKind::Part.path(parts[0].file)));
    let db = Database::open(folder.path(), options).await.unwrap();
    for id in 2..5 {
        insert(&db, &t, &[(id, id)]).await;
        assert!(db.flush_table(t.id).await.unwrap(), "whatever the others are like");
    }
    assert_eq!(db.unflushed().iter().map(|(_, rows, _)| rows).sum::<usize>(), 0);
    assert!(db.compact_table(t.id).await.is_err(), "that needs them");
}
