//! What is told of the space that things take, beside what the collector gives back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use strandline_core::db::{Database, Options, SYS};
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::{RestoreRequest, Target};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{PinId, Time};
use strandline_core::log::{Pin, Scope};
use strandline_core::schema::Table;
use strandline_core::upkeep::collect::Collected;
use strandline_core::upkeep::storage::{KeeperStorage, StorageKeeper, TableStorage};
use strandline_core::when::{RangeUnit, When};

use crate::support::*;

const HOUR: i64 = 3600 * 1_000_000;

struct Store {
    options: Options,
    db: Database,
    tables: Vec<Arc<Table>>,
}

fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

impl Store {
    async fn new() -> Store {
        // What goes while its window lasts is told by `thin`.
        Store::of(Options { thinning: false, ..options() }, None).await
    }

    async fn of(options: Options, folder: Option<&std::path::Path>) -> Store {
        let db = match folder {
            Some(folder) => Database::open(folder, options.clone()).await.unwrap(),
            None => Database::in_memory(options.clone()).await.unwrap(),
        };
        let database = create_database(&db, "d").await;
        let mut tables = Vec::new();
        for name in ["t", "u"] {
            tables.push(create_table(&db, table(database, name, Shape::Keyed)).await);
        }
        Store { options, db, tables }
    }

    async fn take(&self, name: &str, scope: Scope) -> PinId {
        self.db.create_snapshot(&SnapshotSpec::of(name, scope), &author()).await.unwrap().id
    }

    async fn truncate(&self, table: &Arc<Table>) {
        let mut txn = self.db.begin(author());
        txn.truncate(table).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// Lets hours go by, with a commit at their end.
    async fn pass(&self, hours: i64) {
        self.options.env.advance(hours * HOUR);
        create_database(&self.db, &format!("at{}", self.db.now().version())).await;
    }

    /// Collects, waits until the grace is over, and collects again.
    async fn collect(&self) -> Collected {
        let first = self.db.collect().await.unwrap();
        self.options.env.advance(self.options.grace_micros);
        let second = self.db.collect().await.unwrap();
        Collected {
            files: first.files + second.files,
            bytes: first.bytes + second.bytes,
            entries: first.entries + second.entries,
            entry_bytes: first.entry_bytes + second.entry_bytes,
            waiting: 0,
        }
    }

    async fn stored(&self, name: &str) -> TableStorage {
        let tables = self.db.storage().await.unwrap().tables;
        tables.into_iter().find(|table| table.table == name).expect("listed")
    }

    async fn keeper(&self, wanted: &str) -> KeeperStorage {
        let keepers = self.db.storage().await.unwrap().keepers;
        let is = |keeper: &KeeperStorage| match &keeper.keeper {
            StorageKeeper::Window => wanted == "window",
            StorageKeeper::Pitr { name, .. } => wanted == name,
            StorageKeeper::Snapshot(pin) => wanted == pin.name,
        };
        keepers.into_iter().find(is).expect("listed")
    }
}

/// Makes a history: rows in files and in the log, tables emptied and flushed, and snapshots of different scopes.
async fn live_through(store: &Store, random: &mut StdRng) -> Vec<PinId> {
    let (mut pins, mut next) = (Vec::new(), 0);
    for step in 0..40 {
        let table = store.tables.choose(random).unwrap();
        match random.random_range(0..10) {
            0..4 => {
                let rows: Vec<(i32, i32)> = (0..random.random_range(1..7)).map(|at| (next + at, step)).collect();
                next += 10;
                insert(&store.db, table, &rows).await;
            }
            4..6 => drop(store.db.flush_table(table.id).await.unwrap()),
            6 => store.truncate(table).await,
            7 => store.options.env.advance(HOUR),
            _ => {
                let scopes = [Scope::Cluster, Scope::Database("d".to_owned()), only("t"), only("u")];
                let name = format!("s{step}");
                let compress = random.random_ratio(1, 6);
                let spec = SnapshotSpec { compress, ..SnapshotSpec::of(&name, scopes.choose(random).unwrap().clone()) };
                pins.push(store.db.create_snapshot(&spec, &author()).await.unwrap().id);
            }
        }
    }
    pins
}

#[tokio::test]
async fn what_a_drop_is_told_to_free_comes_back_to_the_byte() {
    let seed = std::env::var("STRANDLINE_SEED").map_or(1, |seed| seed.parse().unwrap());
    let (mut files, mut entries) = (0, 0);
    for seed in seed..seed + 12 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let store = Store::new().await;
        let mut pins = live_through(&store, &mut random).await;
        // Everything lies far behind the window, and what nothing needs is gone.
        for _ in 0..2 {
            store.pass(100).await;
            store.collect().await;
        }
        while !pins.is_empty() {
            let count = random.random_range(1..=pins.len().min(4));
            let dropped: BTreeSet<PinId> = (0..count).map(|_| *pins.choose(&mut random).unwrap()).collect();
            let dropped: Vec<PinId> = dropped.into_iter().collect();
            let named: Vec<_> =
                store.db.snapshots(SYS).unwrap().into_iter().filter(|p| dropped.contains(&p.id)).collect();
            let foretold = store.db.plan_freed(&dropped).await.unwrap();
            if let [pin] = dropped.as_slice() {
                let size = &store.db.snapshot_sizes(SYS, |other| other.id == *pin).await.unwrap()[0];
                assert_eq!(size.freed_bytes, foretold.bytes, "seed {seed}: {size:?}");
            }
            let before = store.db.metastore().files().unwrap();
            let names: Vec<String> = named.into_iter().map(|pin| pin.name).collect();
            store.db.drop_snapshots(&names, false, &author()).unwrap();
            let freed = store.collect().await;
            assert_eq!(freed, foretold, "seed {seed}: {names:?} of {} files", before.len());
            (files, entries) = (files + freed.files, entries + freed.entries);
            pins.retain(|pin| !dropped.contains(pin));
        }
        let storage = store.db.storage().await.unwrap();
        assert!(storage.tables.iter().all(|table| (table.past_bytes, table.window_bytes) == (0, 0)), "{storage:?}");
    }
    assert!(files > 50 && entries > 20, "{files} files and {entries} entries came back");
}

#[tokio::test]
async fn what_two_share_comes_back_with_both() {
    let store = Store::new().await;
    let t = &store.tables[0];
    insert(&store.db, t, &[(1, 1), (2, 2)]).await;
    store.db.flush().await.unwrap();
    let (a, b) = (store.take("a", only("t")).await, store.take("b", Scope::Cluster).await);
    store.truncate(t).await;
    store.pass(100).await;
    store.collect().await;
    for pin in [a, b] {
        assert_eq!(store.db.plan_freed(&[pin]).await.unwrap(), Collected::default());
    }
    let both = store.db.plan_freed(&[a, b]).await.unwrap();
    assert_eq!(both.files, 2, "a part and the list: {both:?}");
    assert_eq!(both.bytes, store.stored("t").await.past_bytes);
    assert_eq!(store.stored("t").await.snapshot_bytes, both.bytes);
    // A query that reads it keeps it, too.
    let moment = store.db.moment(&store.db.resolve(&When::Snapshot("a".to_owned()), SYS).unwrap()).unwrap();
    assert_eq!(store.db.plan_freed(&[a, b]).await.unwrap().files, 0);
    drop(moment);
    assert_eq!(store.db.plan_freed(&[a, b]).await.unwrap(), both);
}

#[tokio::test]
async fn a_clone_shares_until_it_is_written() {
    let store = Store::new().await;
    let t = &store.tables[0];
    insert(&store.db, t, &[(1, 1), (2, 2)]).await;
    store.db.flush().await.unwrap();
    let whole = store.stored("t").await;
    assert!(whole.live_bytes > 0 && whole.shared_bytes == 0 && whole.shared_with.is_empty(), "{whole:?}");
    assert_eq!(whole.day_bytes, whole.live_bytes, "written today");
    let request =
        RestoreRequest { target: Target::Name("copy".to_owned()), ..RestoreRequest::of(only("t"), When::Now) };
    store.db.restore(request, &author()).await.unwrap();
    let of = |name: &str| vec![("d".to_owned(), name.to_owned())];
    let copy = store.stored("copy").await;
    assert_eq!((copy.live_bytes, copy.shared_bytes, copy.shared_with), (whole.live_bytes, whole.live_bytes, of("t")));
    assert_eq!(store.stored("t").await.shared_with, of("copy"));
    // On both sides of what is there, so that it is laid out anew.
    insert(&store.db, &named(&store.db, "d", "copy"), &[(0, 0), (3, 3)]).await;
    let in_log = store.stored("copy").await.log_bytes;
    assert!(in_log > 0);
    store.db.optimize_table(named(&store.db, "d", "copy").id).await.unwrap();
    let own = store.stored("copy").await;
    assert_eq!((own.shared_bytes, own.shared_with.len()), (0, 0), "laid out anew: {own:?}");
    // What was flushed first, and then merged, is its window's.
    assert!(own.live_bytes > 0 && own.past_bytes == whole.live_bytes + own.window_bytes, "{own:?}");
    // Of what a table that was dropped leaves, windows keep all.
    let mut txn = store.db.begin(author());
    txn.drop_table(&named(&store.db, "d", "copy")).unwrap();
    txn.commit().await.unwrap();
    let gone = store.stored("copy").await;
    assert!(gone.is_dropped && gone.live_bytes == 0 && gone.past_bytes == own.live_bytes + own.past_bytes, "{gone:?}");
    let its_own = own.live_bytes + own.window_bytes;
    assert_eq!(gone.window_bytes, its_own, "the rest is of the origin's present");
}

#[tokio::test]
async fn windows_and_days_have_their_bytes() {
    let store = Store::new().await;
    let t = &store.tables[0];
    let spec = PitrSpec { name: "week".to_owned(), scope: only("t"), length: 7, unit: RangeUnit::Day };
    store.db.create_pitr(&spec, &author()).unwrap();
    insert(&store.db, t, &[(1, 1), (2, 2)]).await;
    store.db.flush().await.unwrap();
    let first = store.stored("t").await.live_bytes;
    store.truncate(t).await;
    let window = store.keeper("window").await;
    assert_eq!((window.bytes, window.unique_bytes, window.day_bytes), (first, 0, first), "the policy has it too");
    store.pass(48).await;
    let (window, week) = (store.keeper("window").await, store.keeper("week").await);
    assert_eq!((window.bytes, week.bytes, week.unique_bytes, week.day_bytes), (0, first, first, 0));
    assert_eq!(store.stored("t").await.window_bytes, first);
    store.take("s", only("t")).await;
    assert_eq!(store.keeper("s").await.bytes, 0, "of the present");

    let days = store.db.growth().await.unwrap();
    let day = |time: Time| time.0.div_euclid(24 * HOUR);
    assert_eq!(days.len(), 2, "{days:?}");
    assert_eq!((days[0].files, days[0].file_bytes), (2, first), "{days:?}");
    assert_eq!(day(days[1].begins) - day(days[0].begins), 2);
    assert_eq!(days.iter().map(|day| day.commits).sum::<u64>(), store.db.now().version().0);
    assert!(days[0].log_bytes > 0, "the policy's window reads it");
    assert_eq!((days[1].files, days[1].commits), (0, 1));
}

/// Prints how long it takes; the time itself is not judged.
#[tokio::test]
#[ignore = "it measures, and takes its time: run it by name"]
async fn ten_thousand_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = std::env::var_os("STRANDLINE_ON_DISK").map(|_| folder.path());
    let store = Store::of(options(), on_disk).await;
    let clock = |what: &str, begun: Instant| println!("{what}: {:?}", begun.elapsed());
    let t = &store.tables[0];
    let begun = Instant::now();
    for round in 0..200 {
        insert(&store.db, t, &[(round, round)]).await;
        store.db.flush().await.unwrap();
        store.take(&format!("s{round}_0"), only("t")).await;
        let pin = store.db.snapshots(SYS).unwrap().into_iter().find(|pin| pin.name == format!("s{round}_0")).unwrap();
        for number in 1..50 {
            store.db.metastore().put_pin(&Pin { name: format!("s{round}_{number}"), ..pin.clone() }).unwrap();
        }
    }
    clock("10,000 snapshots over 200 flushes", begun);
    println!("{} files", store.db.metastore().files().unwrap().len());
    for what in ["sizes, first", "sizes, again"] {
        let begun = Instant::now();
        assert_eq!(store.db.snapshot_sizes(SYS, |_| true).await.unwrap().len(), 10_000);
        clock(what, begun);
    }
    let begun = Instant::now();
    store.db.snapshot_sizes(SYS, |pin| pin.name == "s7_7").await.unwrap();
    clock("the size of one", begun);
    let begun = Instant::now();
    store.db.storage().await.unwrap();
    clock("storage", begun);
    store.pass(100).await;
    store.collect().await;
    let pins: Vec<PinId> = store.db.snapshots(SYS).unwrap().iter().map(|pin| pin.id).collect();
    let begun = Instant::now();
    let foretold = store.db.plan_freed(&pins).await.unwrap();
    clock("what dropping all would free", begun);
    let begun = Instant::now();
    let now = store.options.env.now();
    let dropped = store.db.apply_plan(|| store.db.plan_drop_older(SYS, &Scope::Cluster, now, false)).unwrap();
    clock("dropping all", begun);
    assert_eq!(dropped.len(), 10_000);
    let begun = Instant::now();
    let freed = store.collect().await;
    clock("collecting twice", begun);
    assert_eq!(freed, foretold);
    println!("{freed:?}");
}

/// A store with garbage, whose grace is over.
async fn with_garbage() -> Store {
    let store = Store::new().await;
    let table = store.tables[0].clone();
    insert(&store.db, &table, &[(1, 1), (2, 2)]).await;
    store.db.flush().await.unwrap();
    store.truncate(&table).await;
    store.pass(48).await;
    store.db.collect().await.unwrap();
    store.options.env.advance(store.options.grace_micros);
    store
}

#[tokio::test]
async fn a_collection_can_be_stopped_between_its_steps_and_goes_on_another_time() {
    let files = |store: &Store| store.db.metastore().files().unwrap().len();
    let twin = with_garbage().await;
    let before = files(&twin);
    twin.collect().await;
    assert!(files(&twin) < before);

    let store = with_garbage().await;
    let mut stops = 0;
    loop {
        let mut polls = stops;
        // It comes a little later each time.
        let stop = std::future::poll_fn(move |_| match polls {
            0 => std::task::Poll::Ready(()),
            _ => {
                polls -= 1;
                std::task::Poll::Pending
            }
        });
        match store.db.collect_unless(stop).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), strandline_core::error::Kind::Cancelled, "{error}"),
        }
        assert!(store.db.check(None).await.unwrap().damages.is_empty());
        stops += 1;
        assert!(stops < 10_000, "it ends");
    }
    assert!(stops > 3, "{stops} stops");
    store.collect().await;
    assert_eq!(files(&store), files(&twin), "what those that were stopped left, another has collected");
    assert!(store.db.check(None).await.unwrap().damages.is_empty());
}
