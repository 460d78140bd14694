//! What only a store on disk can show: reopening, damage, a full disk, another format.

use super::*;
use crate::log::tests::{all_entries, content, database, delta, entry, file, file_id, pin, table};

mod ageing;
mod fuzz;

/// A store in a directory of its own.
fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metastore.db");
    (directory, path)
}

/// Fills a store with a little of everything.
fn fill(store: &SqliteMetastore) {
    store.put_setting("store", "6f0e").unwrap();
    store.put_intents(&[(file_id(1), FileKind::Part), (file_id(9), FileKind::Manifest)]).unwrap();
    let entries: Vec<Entry> = (1..=9)
        .map(|version| {
            let mut entry = entry(version);
            entry.head.upkeep = version == 6;
            match version {
                1 => entry.changes = vec![database(1, "shop"), table(1, 1, "orders"), content(1, 0)],
                2 => entry.changes = vec![table(2, 1, "items"), content(2, 1)],
                4 => entry.changes = vec![table(1, 1, "orders_old"), table(3, 1, "orders")],
                6 => entry.changes = vec![content(1, 5)],
                8 => entry.changes = vec![Change::DropTable(TableId(2))],
                _ => {}
            }
            match version {
                3 => entry.deltas = vec![delta(1, &[3; 40]), delta(2, &[4; 30])],
                7 => entry.deltas = vec![delta(2, b"")],
                8 => {}
                9 => entry.deltas = vec![delta(1, &[9; 5000])],
                _ => entry.deltas = vec![delta(1, &[5; 60])],
            }
            if version == 6 {
                entry.files = vec![file(1, FileKind::Part), file(2, FileKind::Manifest), file(3, FileKind::Manifest)];
            }
            if version == 5 {
                entry.pins = vec![pin("release", 5)];
            }
            entry
        })
        .collect();
    store.append(&entries[..4]).unwrap();
    store.append(&entries[4..]).unwrap();
    store.put_pin(&pin("nightly", 8)).unwrap();
    store.drop_files(&[file_id(3)]).unwrap();
}

#[test]
fn a_catalog_is_read_from_the_objects_of_its_time() {
    let (_directory, path) = scratch();
    for reopened in [false, true] {
        let store = SqliteMetastore::open(&path).unwrap();
        if !reopened {
            fill(&store);
        }
        // Table 2 and what it holds go with version 8, table 3 comes with 4.
        for (version, objects) in [(1, 3), (3, 5), (4, 6), (7, 6), (8, 4), (9, 4)] {
            let found = store.known.read().objects_at(Version(version)).len();
            assert_eq!(found, objects, "version {version}, reopened: {reopened}");
        }
    }
}

/// Asks everything there is to ask of a filled store; each answer or error as text.
fn answers(store: &SqliteMetastore) -> Vec<Result<String>> {
    fn show<T: std::fmt::Debug>(answer: Result<T>) -> Result<String> {
        answer.map(|answer| format!("{answer:?}"))
    }
    let mut answers = vec![
        show(store.newest()),
        show(store.entries(&all_entries())),
        show(store.entries(&EntryQuery { tables: Some(vec![TableId(1)]), ..all_entries() })),
        show(store.entries(&EntryQuery { tables: Some(vec![TableId(2)]), upto: Version(6), ..all_entries() })),
        show(store.pins()),
        show(store.intents()),
        show(store.setting("store")),
        show(store.setting("missing")),
        show(store.file(file_id(1))),
        show(store.file(file_id(3))),
        show(store.file(file_id(55))),
        show(store.file_by_digest(FileKind::Manifest, file(2, FileKind::Manifest).digest)),
        show(store.file_by_digest(FileKind::Manifest, file(3, FileKind::Manifest).digest)),
        show(store.named(ObjectKind::Table, 1, "Orders")),
        show(store.named(ObjectKind::Database, 1, "shop")),
    ];
    for version in 1..=9 {
        answers.push(show(store.entry(Version(version))));
        answers.push(show(store.catalog_version(Version(version))));
        answers.push(show(store.catalog_at(Version(version))));
        answers.push(show(store.newest_at(Time(version.cast_signed() * 10_000_000 + 5))));
    }
    for (table, after, upto) in [(1, 0, 9), (1, 2, 5), (1, 0, 8), (2, 0, 9), (2, 3, 9), (3, 0, 9)] {
        answers.push(show(store.deltas(TableId(table), Version(after), Version(upto))));
    }
    for kind in integrity::OBJECT_KINDS {
        answers.push(show(store.greatest_id(kind)));
        for id in 1..=3 {
            answers.push(show(store.object(kind, id)));
        }
    }
    answers
}

fn texts(answers: &[Result<String>]) -> Vec<String> {
    answers.iter().map(|answer| answer.as_ref().unwrap().clone()).collect()
}

#[test]
fn a_store_reopens_as_it_was() {
    let (_directory, path) = scratch();
    let before = {
        let store = SqliteMetastore::open(&path).unwrap();
        fill(&store);
        texts(&answers(&store))
    };
    assert!(!beside(&path, "-wal").exists(), "closing moves the log into place");
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(texts(&answers(&store)), before);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    store.append(&[entry(10)]).unwrap();
    assert_eq!(store.put_pin(&pin("later", 10)).unwrap(), PinId(3));
    store.tidy().unwrap();
    assert!(store.size_bytes().unwrap() > 30_000);
}

#[test]
fn what_was_committed_is_there_without_a_close() {
    let (directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    // A kill leaves the file and its WAL as they are: so does a copy of both.
    let copy = directory.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(beside(&path, "-wal"), beside(&copy, "-wal")).unwrap();
    let copy = SqliteMetastore::open(&copy).unwrap();
    assert_eq!(texts(&answers(&copy)), texts(&answers(&store)));
}

/// Flips the bytes of a closed store, one after the other: it answers as before, or it tells.
#[test]
fn invariant_9_damage_is_never_answered_from() {
    let (directory, path) = scratch();
    let expected = {
        let store = SqliteMetastore::open(&path).unwrap();
        fill(&store);
        texts(&answers(&store))
    };
    let whole = std::fs::read(&path).unwrap();
    let copy = directory.path().join("copy.db");
    let (mut tried, mut noticed, mut refused) = (0, 0, 0);
    for at in (0..whole.len()).filter(|at| is_worth_a_try(&whole, *at)) {
        let flip = [0x01, 0x80, 0x10, 0xff, 0x04][at % 5];
        let mut bytes = whole.clone();
        bytes[at] ^= flip;
        std::fs::write(&copy, bytes).unwrap();
        tried += 1;
        match SqliteMetastore::open(&copy) {
            Ok(store) => {
                let answers = answers(&store);
                let wrong =
                    answers.iter().zip(&expected).find(|(got, want)| got.as_ref().is_ok_and(|got| got != *want));
                assert_eq!(wrong.map(|(got, _)| got.as_ref().unwrap()), None, "byte {at} xor {flip:#x}");
                if answers.iter().any(Result::is_err) {
                    noticed += 1;
                    let lines = store.check();
                    assert!(lines.is_err() || !lines.unwrap().is_empty(), "check misses byte {at} xor {flip:#x}");
                }
            }
            Err(_) => refused += 1,
        }
        for leftover in [beside(&copy, "-wal"), beside(&copy, "-shm")] {
            let _ = std::fs::remove_file(leftover);
        }
    }
    assert!(refused > 100 && noticed > 100, "{tried} flips: {refused} refused, {noticed} noticed");
}

/// Tells whether a byte is tried: every seventh of those that are used, and few of the empty ones.
fn is_worth_a_try(bytes: &[u8], at: usize) -> bool {
    let around = &bytes[at.saturating_sub(8)..(at + 8).min(bytes.len())];
    if around.iter().all(|byte| *byte == around[0]) { at.is_multiple_of(397) } else { at.is_multiple_of(7) }
}

#[test]
fn damage_is_named() {
    let (_directory, path) = scratch();
    fill(&SqliteMetastore::open(&path).unwrap());
    let whole = std::fs::read(&path).unwrap();
    let damage = |needle: &[u8]| {
        // Wherever they stand: SQLite leaves copies in pages where rows have moved.
        let mut bytes = whole.clone();
        let found = whole.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
        found.for_each(|(at, _)| bytes[at] ^= 1);
        std::fs::write(&path, bytes).unwrap();
        SqliteMetastore::open(&path)
    };
    let store = damage(&[4; 30]).unwrap();
    let message = "The delta of table 2 in entry 3 is damaged.";
    assert_eq!(store.entry(Version(3)).unwrap_err().to_string(), message);
    assert_eq!(store.deltas(TableId(2), Version(0), Version(9)).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.check().unwrap(), [message]);
    drop(store);
    let store = damage(b"INSERT shop.orders 4").unwrap();
    let message = "Entry 4 of the log does not match its checksum.";
    assert_eq!(store.entry(Version(4)).unwrap_err().to_string(), message);
    assert_eq!(store.check().unwrap()[0], message);
    drop(store);
    let error = damage(b"nightly").err().unwrap();
    assert_eq!(error.to_string(), "Pin 2 does not match its checksum.");
}

/// A page with what SQLite writes in front of it.
const WAL_FRAME: usize = 24 + 4096;

/// Flips bytes of the log that a crash left behind. Its last commits cannot be told from a torn end.
#[test]
fn invariant_9_damage_of_the_write_ahead_log_loses_no_commit() {
    let (directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    let wal = beside(&path, "-wal");
    // Without the zeros that wait for the next commits.
    let frames = || {
        let mut bytes = std::fs::read(&wal).unwrap();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    };
    let sure = frames().len();
    store.append(&[entry(10)]).unwrap();
    let last_but_one = 32 + (frames().len() - 33) / WAL_FRAME * WAL_FRAME;
    store.append(&[entry(11)]).unwrap();
    let expected = texts(&answers(&store));
    let (whole, bytes) = (std::fs::read(&path).unwrap(), frames());
    let copy = directory.path().join("copy.db");
    let mut refused = 0;
    // Where a commit ends, its salt and its checksums too.
    let end_of_a_commit = last_but_one..last_but_one + 24;
    for at in (0..sure).step_by(61).chain(0..32).chain(end_of_a_commit) {
        std::fs::write(&copy, &whole).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(beside(&copy, "-wal"), damaged).unwrap();
        match SqliteMetastore::open(&copy) {
            Ok(store) => assert_eq!(texts(&answers(&store)), expected, "byte {at}"),
            Err(_) => refused += 1,
        }
        let _ = std::fs::remove_file(beside(&copy, "-shm"));
    }
    assert!(refused > 100, "{refused}");
    // A torn end is no damage: the commits before it are there.
    std::fs::write(&copy, &whole).unwrap();
    std::fs::write(beside(&copy, "-wal"), &bytes[..bytes.len() - 100]).unwrap();
    assert_eq!(SqliteMetastore::open(&copy).unwrap().newest().unwrap().unwrap().version, Version(10));
}

/// A long commit is torn; after the crash a short one is written over its begin, and the next one is torn too.
#[test]
fn two_torn_commits_are_no_damage() {
    let (directory, path) = scratch();
    let of = |name: &str| directory.path().join(name);
    // Returns the number of the first frame that differs.
    let differs = |before: &[u8], after: &[u8]| {
        let at = before.iter().zip(after).position(|(before, after)| before != after).unwrap();
        32 + (at - 32) / WAL_FRAME * WAL_FRAME
    };
    let wal = |path: &Path| std::fs::read(beside(path, "-wal")).unwrap();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    let before = wal(&path);
    store.put_setting("long", &"x".repeat(100_000)).unwrap();
    let mut torn = wal(&path);
    let first = differs(&before, &torn);
    torn[first..first + WAL_FRAME].fill(0);
    let once = of("once.db");
    std::fs::copy(&path, &once).unwrap();
    std::fs::write(beside(&once, "-wal"), torn).unwrap();

    let store = SqliteMetastore::open(&once).unwrap();
    assert_eq!(store.setting("long").unwrap(), None);
    store.put_setting("short", "is there").unwrap();
    let before = wal(&once);
    store.put_setting("other", "is not").unwrap();
    let mut torn = wal(&once);
    let first = differs(&before, &torn);
    torn[first..first + WAL_FRAME].copy_from_slice(&before[first..first + WAL_FRAME]);
    let twice = of("twice.db");
    std::fs::copy(&once, &twice).unwrap();
    std::fs::write(beside(&twice, "-wal"), torn).unwrap();

    let store = SqliteMetastore::open(&twice).unwrap();
    assert_eq!(store.setting("short").unwrap().as_deref(), Some("is there"));
    assert_eq!(store.setting("other").unwrap(), None);
}

#[test]
fn a_newer_format_is_refused_without_a_write() {
    let (_directory, path) = scratch();
    fill(&SqliteMetastore::open(&path).unwrap());
    let crc = integrity::crc_of(integrity::setting_digest("format", "4"));
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE setting SET value = '4', crc = ?1 WHERE name = 'format'", [crc]).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let error = SqliteMetastore::open(&path).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let message =
        " was written by a newer Strandline (format 4, this build reads 3). Open it with that version or newer.";
    assert!(error.to_string().ends_with(message), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    let (_directory, path) = scratch();
    for bytes in [&b""[..], b"hello", &[7; 9000]] {
        std::fs::write(&path, bytes).unwrap();
        let error = SqliteMetastore::open(&path).err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::write(beside(&path, "-wal"), b"orphan").unwrap();
    assert_eq!(SqliteMetastore::open(&path).err().unwrap().kind(), Kind::Corrupt);
    assert!(!path.exists());
}

#[test]
fn a_creation_that_was_cut_short_begins_again() {
    let (_directory, path) = scratch();
    std::fs::write(beside(&path, ".new"), b"half").unwrap();
    std::fs::write(beside(&path, ".new-wal"), b"half").unwrap();
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(store.newest().unwrap(), None);
    assert!(!beside(&path, ".new").exists());
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    let before = texts(&answers(&store));
    store.writer.lock().connection().execute_batch("PRAGMA max_page_count = 30").unwrap();
    let mut first = entry(10);
    first.changes = vec![Change::DropTable(TableId(1))];
    first.pins = vec![pin("new", 10)];
    let mut second = entry(11);
    second.deltas = vec![delta(1, &[1; 500_000])];
    let error = store.append(&[first.clone(), second]).unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    assert_eq!(error.message(), "The disk is full; make room and try again.");
    assert_eq!(texts(&answers(&store)), before);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    store.append(&[first]).unwrap();
    assert_eq!(store.newest().unwrap().unwrap().version, Version(10));
}

#[test]
fn a_full_disk_does_not_cut_what_a_crash_left_in_the_write_ahead_log() {
    let (directory, path) = scratch();
    let large = |version| Entry { deltas: vec![delta(1, &vec![1; 600_000])], ..entry(version) };
    let store = SqliteMetastore::open(&path).unwrap();
    (1..=5).for_each(|version| store.append(&[large(version)]).unwrap());
    let copy = directory.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(beside(&path, "-wal"), beside(&copy, "-wal")).unwrap();
    let killed = SqliteMetastore::open(&copy).unwrap();
    killed.writer.lock().connection().execute_batch("PRAGMA max_page_count = 30").unwrap();
    for _ in 0..2 {
        assert_eq!(killed.append(&[large(6)]).unwrap_err().kind(), Kind::Full);
    }
    // Nothing of it is in memory only.
    let again = directory.path().join("again.db");
    std::fs::copy(&copy, &again).unwrap();
    std::fs::copy(beside(&copy, "-wal"), beside(&again, "-wal")).unwrap();
    let again = SqliteMetastore::open(&again).unwrap();
    assert_eq!(again.deltas(TableId(1), Version(0), Version(9)).unwrap().len(), 5);
    assert_eq!(again.check().unwrap(), Vec::<String>::new());
}

#[test]
fn another_writer_is_noticed() {
    let (_directory, path) = scratch();
    let one = SqliteMetastore::open(&path).unwrap();
    let other = SqliteMetastore::open(&path).unwrap();
    other.append(&[entry(1)]).unwrap();
    assert_eq!(one.append(&[entry(1)]).unwrap_err().kind(), Kind::Closed);
    other.append(&[entry(2)]).unwrap();
    assert_eq!(other.check().unwrap(), Vec::<String>::new());
}

#[test]
fn commits_are_written_into_room_that_is_there() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    store.append(&[entry(1)]).unwrap();
    let wal = beside(&path, "-wal");
    let before = file_bytes(&wal).unwrap();
    for version in 2..=30 {
        store.append(&[entry(version)]).unwrap();
    }
    assert_eq!(file_bytes(&wal).unwrap(), before, "the file did not grow");
    assert_eq!(SqliteMetastore::open(&path).unwrap().newest().unwrap().unwrap().version, Version(30));
}

#[test]
fn the_write_ahead_log_stays_short() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    for version in 1..=100 {
        let mut entry = entry(version);
        entry.deltas = vec![delta(1, &vec![1; 600_000])];
        store.append(&[entry]).unwrap();
    }
    let wal = file_bytes(&beside(&path, "-wal")).unwrap();
    assert!(wal < 24 << 20, "{wal} bytes");
    assert_eq!(store.deltas(TableId(1), Version(0), Version(100)).unwrap().len(), 100);
}

#[test]
fn readers_see_whole_commits_while_one_writes() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1..=200 {
                let mut entry = entry(version);
                entry.changes = vec![content(1, version - 1), content(2, version - 1)];
                entry.deltas = vec![delta(1, b"one"), delta(2, b"two")];
                store.append(&[entry]).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = Version(0);
                while seen < Version(200) {
                    seen = store.newest().unwrap().map_or(Version(0), |head| head.version);
                    let expected = usize::try_from(seen.0).unwrap();
                    assert_eq!(store.deltas(TableId(1), Version(0), seen).unwrap().len(), expected);
                    assert_eq!(store.entries(&EntryQuery { upto: seen, ..all_entries() }).unwrap().len(), expected);
                    assert_eq!(store.catalog_at(seen).unwrap().len(), 2.min(expected * 2));
                    assert!(store.object(ObjectKind::Content, 2).unwrap().len() >= expected);
                }
            });
        }
    });
}

/// Prints what small commits cost. Run by hand: `cargo test -p strandline-core --release append_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn append_costs() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    let mut version = 0;
    for group_length in [1, 16, 1, 16] {
        let rounds = 8000 / group_length;
        let mut took = Vec::new();
        for _ in 0..rounds {
            let group: Vec<Entry> = (0..group_length)
                .map(|_| {
                    version += 1;
                    Entry { deltas: vec![delta(1 + version % 8, &[7; 300])], ..entry(version) }
                })
                .collect();
            let start = std::time::Instant::now();
            store.append(&group).unwrap();
            took.push(start.elapsed());
        }
        took.sort();
        let total: std::time::Duration = took.iter().sum();
        let (mean, p50, p99) = (total / rounds, took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("groups of {group_length}: mean {mean:?}, p50 {p50:?}, p99 {p99:?} per append");
    }
}
