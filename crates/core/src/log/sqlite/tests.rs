//! What only a store on disk can show: reopening, damage, a full disk, another format.

use super::*;
use crate::log::tests::{all_entries, content, database, delta, entry, file, file_id, pin, table};

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

/// Returns the files of segments, by name.
fn segment_files(path: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(path.with_file_name("segments")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = listing.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Small commits as they are: most of each is alike.
fn small_commits(store: &SqliteMetastore, versions: std::ops::RangeInclusive<u64>) {
    let entries: Vec<Entry> = versions
        .map(|version| {
            let mut body = vec![7; 900];
            body[100..108].copy_from_slice(&version.to_le_bytes());
            Entry { deltas: vec![delta(1 + version % 3, &body)], ..entry(version) }
        })
        .collect();
    entries.chunks(100).for_each(|group| store.append(group).unwrap());
}

fn all_deltas(store: &SqliteMetastore, upto: u64) -> Vec<Vec<(Version, Bytes)>> {
    (1..=3).map(|table| store.deltas(TableId(table), Version(0), Version(upto)).unwrap()).collect()
}

/// Returns what a closed store's database uses, without the free pages that wait for new rows.
fn used_bytes(path: &Path) -> u64 {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
    (number("PRAGMA page_count") - number("PRAGMA freelist_count")) * number("PRAGMA page_size")
}

#[test]
fn an_aged_log_answers_as_before_and_leaves_sqlite_small() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    let before = 5000;
    small_commits(&store, 10..=before);
    let deltas = all_deltas(&store, before);
    let entries = store.entries(&all_entries()).unwrap();
    drop(store);
    let full = used_bytes(&path);
    let mut store = SqliteMetastore::open(&path).unwrap();
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = SqliteMetastore::open(&path).unwrap();
        } else {
            store.age(0).unwrap();
            store.tidy().unwrap();
            assert_eq!(segment_files(&path).len(), 1);
        }
        assert_eq!(all_deltas(&store, before), deltas);
        assert_eq!(store.entries(&all_entries()).unwrap(), entries);
        assert_eq!(store.entry(Version(77)).unwrap().unwrap().deltas[0].body, deltas[2][store_index(77)].1);
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    }
    drop(store);
    let (aged, segments) = (used_bytes(&path), file_bytes(&segment_files(&path)[0]).unwrap());
    assert!(aged * 3 < full && segments * 5 < full, "{full} bytes before, {aged} and {segments} after");
}

#[test]
fn what_ageing_frees_goes_back_to_the_disk() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=20_000);
    store.tidy().unwrap();
    let full = file_bytes(&path).unwrap();
    store.age(0).unwrap();
    store.tidy().unwrap();
    let free = 4096 * 1024;
    let aged = file_bytes(&path).unwrap();
    assert!(aged < full / 3 + free, "{full} bytes before, {aged} after; {free} wait for new rows");
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// Tells which of table 3's deltas a version of `small_commits` is.
fn store_index(version: u64) -> usize {
    usize::try_from((version - 10) / 3).unwrap()
}

#[test]
fn every_answer_of_a_filled_store_survives_its_ageing() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    let before = texts(&answers(&store));
    store.age(0).unwrap();
    assert_eq!(texts(&answers(&store)), before);
    store.age(0).unwrap();
    assert_eq!(segment_files(&path).len(), 1, "there was nothing to age the second time");
    drop(store);
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(texts(&answers(&store)), before);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn little_does_not_age() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=3000);
    store.age(4 << 20).unwrap();
    assert_eq!(segment_files(&path).len(), 0, "2.7 MB are less than 4 MiB");
    store.age(2 << 20).unwrap();
    assert_eq!(segment_files(&path).len(), 1);
    let emptied = store.known.read().head.emptied.0;
    assert!((1500..2000).contains(&emptied), "half of what may stay stays: {emptied}");
}

/// What one call counts may be less than there is: nobody takes that for all of it.
#[test]
fn a_count_that_was_cut_short_is_not_taken_for_all() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=100);
    let counted = store.count_unaged(50 * 900).unwrap();
    assert_eq!(counted, 51 * 900);
    store.unaged.took(counted);
    assert!(store.unaged.bytes() >= 100 * 900, "{}", store.unaged.bytes());
    assert_eq!(store.count_unaged(1 << 30).unwrap(), 100 * 900);
    assert_eq!(store.unaged.bytes(), 100 * 900);
}

/// Zeroes the deltas of an entry of a closed store.
fn damage_deltas(path: &Path, version: u64) {
    let connection = Connection::open(path).unwrap();
    let zeroed = "UPDATE log SET body = zeroblob(length(body)) WHERE version = ?1";
    assert_eq!(connection.execute(zeroed, [version.cast_signed()]).unwrap(), 1);
}

/// They stay where they are, and the log ages before and behind them.
#[test]
fn deltas_that_cannot_be_read_do_not_end_ageing() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=3000);
    let expected = all_deltas(&store, 3000);
    drop(store);
    [1, 1000, 1001].into_iter().for_each(|version| damage_deltas(&path, version));
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(store.age(0).unwrap_err().to_string(), "The delta of table 2 in entry 1 is damaged.");
    assert_eq!(store.known.read().head.emptied, Version(2999));
    assert_eq!(segment_files(&path).len(), 2);
    store.age(0).unwrap();
    let segments: Vec<_> = store.known.read().segments.values().map(|s| (s.first.0, s.last.0)).collect();
    assert_eq!(segments, [(2, 999), (1002, 2999)]);
    // Versions of table 1 are those that are divided by three.
    assert_eq!(store.deltas(TableId(1), Version(0), Version(3000)).unwrap(), expected[0]);
    for (version, table) in [(1, 2), (1000, 2), (1001, 3)] {
        let error = store.deltas(TableId(table), Version(version - 1), Version(version)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
    }
    // Nothing reads them any more.
    assert_eq!(store.trim(&[Version(1000)]).unwrap().entries, 1);
    assert_eq!(store.check().unwrap().len(), 2);
}

#[test]
fn a_damaged_segment_is_written_anew_when_what_is_damaged_was_trimmed() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=2000);
    store.age(0).unwrap();
    let file = segment_files(&path).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let unreadable = || -> Vec<u64> {
        store.segments.forget();
        (1..2000).filter(|version| store.entry(Version(*version)).is_err()).collect()
    };
    // In one of the blocks of deltas.
    let damage = |place: usize| {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        std::fs::write(&file, &flipped).unwrap();
        flipped
    };
    let flipped = (0..whole.len()).step_by(199).map(damage).find(|_| (1..500).contains(&unreadable().len()));
    let (flipped, unreadable) = (flipped.expect("a block is damaged"), unreadable());
    let others: Vec<Version> = (1..2000).filter(|v| !unreadable.contains(v)).map(Version).collect();
    store.trim(&others[..1200]).unwrap();
    assert_eq!(store.age(0).unwrap_err().kind(), Kind::Corrupt);
    for _ in 0..2 {
        store.segments.forget();
        std::fs::remove_file(&file).unwrap();
        store.age(0).unwrap();
        std::fs::write(&file, &flipped).unwrap();
    }
    assert_eq!(segment_files(&path), std::slice::from_ref(&file), "it is not read again for nothing");
    store.trim(&unreadable.iter().copied().map(Version).collect::<Vec<_>>()).unwrap();
    store.age(0).unwrap();
    assert!(!file.exists());
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_crash_while_the_log_ages_loses_nothing() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=2000);
    let expected = all_deltas(&store, 2000);
    let segment = |number| segments::Segment::minted(number);
    // Written in part, and written to the end but not recorded.
    let folder = path.with_file_name("segments");
    store.write(Space::Takes(0), |draft| [1, 2].into_iter().try_for_each(|n| draft.put_segment(segment(n)))).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("0000000000000001.segment#1"), b"half").unwrap();
    std::fs::write(folder.join("0000000000000002.segment"), b"whole").unwrap();
    // Somebody else's, and one of a metastore that is not here any more.
    std::fs::write(folder.join("notes.txt"), b"mine").unwrap();
    std::fs::write(folder.join("0000000000000003.segment"), b"theirs").unwrap();
    drop(store);
    let store = SqliteMetastore::open(&path).unwrap();
    let names = |files: Vec<PathBuf>| -> Vec<String> {
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(segment_files(&path)), ["0000000000000003.segment", "notes.txt"]);
    assert_eq!(all_deltas(&store, 2000), expected);
    // Recorded, and none of its rows emptied.
    let run = store.pack_for_test(Version(0), Version(1500));
    store.publish(run.0, &run.1, None).unwrap();
    drop(store);
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(all_deltas(&store, 2000), expected);
    assert_eq!(store.known.read().head.emptied, Version(0));
    assert_eq!(store.trim(&[Version(5)]).unwrap().entries, 1);
    store.age(0).unwrap();
    assert_eq!(store.known.read().head.emptied, Version(1999));
    assert_eq!(store.known.read().segments.values().map(|segment| segment.trimmed).sum::<u64>(), 900);
    assert_eq!(store.deltas(TableId(1), Version(5), Version(2000)).unwrap(), expected[0][1..]);
    assert_eq!(store.deltas(TableId(3), Version(4), Version(5)).unwrap_err().kind(), Kind::OutOfWindow);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    assert_eq!(std::fs::read(folder.join("0000000000000003.segment")).unwrap(), b"theirs");
    let files = names(segment_files(&path));
    let wanted = ["0000000000000003.segment", "0000000000000004.segment", "0000000000000005.segment", "notes.txt"];
    assert_eq!(files, wanted);
    // About to go, and not deleted.
    let gone = store.known.read().segments[&5].clone();
    store.trim(&(1501..=1999).map(Version).collect::<Vec<_>>()).unwrap();
    store
        .write(Space::Trims, |draft| draft.put_segment(segments::Segment { state: segments::State::Gone, ..gone }))
        .unwrap();
    drop(store);
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(names(segment_files(&path)), [wanted[0], wanted[1], wanted[3]]);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn invariant_9_damage_of_a_segment_is_never_answered_from() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    store.append(&[Entry { deltas: vec![delta(2, &[6; 90])], ..entry(10) }]).unwrap();
    store.age(0).unwrap();
    store.append(&[Entry { deltas: vec![delta(1, &[8; 70])], ..entry(11) }, entry(12)]).unwrap();
    store.age(0).unwrap();
    let expected = texts(&answers(&store));
    drop(store);
    let files = segment_files(&path);
    assert_eq!(files.len(), 2);
    let whole: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let mut harmed: Vec<(usize, String, Option<Vec<u8>>)> = Vec::new();
    for (at, bytes) in whole.iter().enumerate() {
        for place in (0..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[place] ^= [0x01, 0x80, 0x10, 0xff, 0x04][place % 5];
            harmed.push((at, format!("flip {place}"), Some(flipped)));
        }
        harmed.extend((0..bytes.len()).step_by(61).map(|end| (at, format!("cut {end}"), Some(bytes[..end].to_vec()))));
        harmed.push((at, "longer".to_owned(), Some([&bytes[..], b"\0"].concat())));
        harmed.push((at, "gone".to_owned(), None));
        harmed.push((at, "another's".to_owned(), Some(whole[1 - at].clone())));
    }
    let store = SqliteMetastore::open(&path).unwrap();
    let mut noticed = 0;
    for (at, harm, bytes) in &harmed {
        match bytes {
            Some(bytes) => std::fs::write(&files[*at], bytes).unwrap(),
            None => std::fs::remove_file(&files[*at]).unwrap(),
        }
        store.segments.forget();
        let answers = answers(&store);
        let name = files[*at].file_name().unwrap().to_string_lossy();
        for (got, want) in answers.iter().zip(&expected) {
            match got {
                Ok(got) => assert_eq!(got, want, "{name}: {harm}"),
                Err(error) => {
                    assert!(error.kind() == Kind::Corrupt && error.message().contains(&*name), "{harm}: {error:?}");
                }
            }
        }
        noticed += usize::from(answers.iter().any(Result::is_err));
        let lines = store.check().unwrap();
        assert!(
            matches!(&lines[..], [line] if line.contains(&*name) && line.contains(" It holds rows of shop.")),
            "{harm}: {lines:?}"
        );
        std::fs::write(&files[*at], &whole[*at]).unwrap();
    }
    // Most of so small a segment is entries, which are read from SQLite: the check alone notices what happens to these.
    assert!(noticed > 20, "{noticed} of {} are noticed by the answers, all by the check", harmed.len());
    store.segments.forget();
    assert_eq!(texts(&answers(&store)), expected);
    // With both gone the store opens, and answers what needs neither.
    drop(store);
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(store.entries(&all_entries()).unwrap().len(), 12);
    assert_eq!(store.entry(Version(12)).unwrap().unwrap().head.version, Version(12));
    let error = store.entry(Version(3)).unwrap_err();
    let message = "segments/0000000000000001.segment, which holds versions 1 to 9 of the log, is missing.";
    assert_eq!(error.message(), message);
}

#[test]
fn a_segment_that_is_not_recorded_is_missed() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    fill(&store);
    store.age(0).unwrap();
    drop(store);
    let connection = Connection::open(&path).unwrap();
    assert_eq!(connection.execute("DELETE FROM segment", []).unwrap(), 1);
    drop(connection);
    let error = SqliteMetastore::open(&path).err().unwrap();
    assert_eq!(error.to_string(), "A row of the metastore's table 'segment' is missing or was changed.");
}

#[test]
fn what_is_trimmed_of_segments_gives_its_space_back() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=1000);
    store.age(0).unwrap();
    small_commits(&store, 1001..=2000);
    store.age(0).unwrap();
    let expected = all_deltas(&store, 2000);
    let sizes = || -> Vec<u64> { segment_files(&path).iter().map(|file| file_bytes(file).unwrap()).collect() };
    let before = sizes();
    assert_eq!(before.len(), 2);
    // A third of the first: it stays as it is.
    store.trim(&(1..=333).map(Version).collect::<Vec<_>>()).unwrap();
    store.age(0).unwrap();
    assert_eq!(sizes(), before);
    // More than half: it is written anew, and is as good as before.
    store.trim(&(300..=700).map(Version).collect::<Vec<_>>()).unwrap();
    store.age(0).unwrap();
    let after = sizes();
    assert_eq!(after.len(), 2);
    assert!(after.iter().sum::<u64>() < before.iter().sum::<u64>(), "{before:?} {after:?}");
    for reopened in [false, true] {
        let own = reopened.then(|| SqliteMetastore::open(&path).unwrap());
        let store = own.as_ref().unwrap_or(&store);
        for table in 1..=3 {
            let rest = &expected[usize::try_from(table - 1).unwrap()];
            let rest: Vec<_> = rest.iter().filter(|(version, _)| version.0 > 700).cloned().collect();
            assert_eq!(store.deltas(TableId(table), Version(700), Version(2000)).unwrap(), rest);
        }
        assert_eq!(store.deltas(TableId(1), Version(0), Version(2000)).unwrap_err().kind(), Kind::OutOfWindow);
        assert!(store.entry(Version(10)).unwrap().unwrap().deltas[0].body.is_empty());
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    }
    let store = SqliteMetastore::open(&path).unwrap();
    store.trim(&(1..=1999).map(Version).collect::<Vec<_>>()).unwrap();
    store.age(0).unwrap();
    assert_eq!(sizes(), [0; 0], "all of it is trimmed");
    assert_eq!(store.known.read().segments.len(), 0);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn readers_go_on_while_the_log_ages_and_segments_are_written_anew() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=3000);
    let expected = store.deltas(TableId(1), Version(2000), Version(3000)).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reads = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) || reads == 0 {
                    assert_eq!(store.deltas(TableId(1), Version(2000), Version(3000)).unwrap(), expected);
                    store.segments.forget();
                    reads += 1;
                }
            });
        }
        store.age(1 << 20).unwrap();
        for upto in (400..=2000).step_by(400) {
            let versions: Vec<Version> = (upto - 399..=upto).map(Version).collect();
            store.trim(&versions).unwrap();
            store.age(0).unwrap();
            small_commits(&store, 3001 + (upto - 400) / 4..=3000 + upto / 4);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// Prints what ageing costs. Run by hand: `cargo test -p strandline-core --release ageing_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn ageing_costs() {
    use std::time::{Duration, Instant};
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    // A row of three columns, as it is encoded.
    let column = |at: usize, number: i64| -> (String, arrow::array::ArrayRef) {
        (format!("c{at}"), std::sync::Arc::new(arrow::array::Int64Array::from(vec![number])))
    };
    let commit = |version: u64| {
        let number = version.cast_signed();
        let puts = (1..=3).map(|at| column(at, number * 31 + at.cast_signed() as i64));
        let puts = arrow::array::RecordBatch::try_from_iter(puts).unwrap();
        let deletes = puts.project(&[0]).unwrap().slice(0, 0);
        let body = crate::log::delta::Delta { puts, deletes, next_row_id: version, next_auto: 0 }.encode().unwrap();
        Entry { deltas: vec![crate::log::TableDelta { body, ..delta(1 + version % 8, b"") }], ..entry(version) }
    };
    let count = 100_000;
    for from in (1..=count).step_by(500) {
        let group: Vec<Entry> = (from..from + 500).map(commit).collect();
        store.append(&group).unwrap();
    }
    store.tidy().unwrap();
    let body = commit(7).deltas[0].body.len();
    let full = file_bytes(&path).unwrap();
    println!("{count} commits of one row, {body} bytes each as encoded: {} bytes each in SQLite", full / count);
    let quiet = |version: &mut u64, rounds: u32, done: &dyn Fn() -> bool| {
        let mut took: Vec<Duration> = Vec::new();
        while took.len() < rounds as usize && !done() {
            *version += 1;
            let entry = commit(*version);
            let start = Instant::now();
            store.append(&[entry]).unwrap();
            took.push(start.elapsed());
        }
        took.sort();
        let at = |per_mille: usize| took[(took.len() * per_mille / 1000).min(took.len() - 1)];
        println!(
            "{} commits: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
            took.len(),
            at(500),
            at(990),
            at(999),
            at(1000)
        );
    };
    let mut version = count;
    println!("before ageing");
    quiet(&mut version, 2000, &|| false);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            store.age(0).unwrap();
            println!("ageing took {:?}", start.elapsed());
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        println!("while it ages");
        quiet(&mut version, u32::MAX, &|| done.load(std::sync::atomic::Ordering::SeqCst));
    });
    let start = Instant::now();
    (0..10).for_each(|_| store.tidy().unwrap());
    println!("ten times tidying took {:?}", start.elapsed());
    let segments: u64 = segment_files(&path).iter().map(|file| file_bytes(file).unwrap()).sum();
    let emptied = store.known.read().head.emptied.0;
    println!(
        "SQLite {full} bytes, then {}; segments {segments}, {} bytes each",
        file_bytes(&path).unwrap(),
        segments / emptied
    );
    store.segments.forget();
    let start = Instant::now();
    (0..1000).for_each(|at| drop(store.entry(Version(1 + at * 97)).unwrap()));
    println!("1000 entries read here and there: {:?} each", start.elapsed() / 1000);
    let start = Instant::now();
    let read = store.deltas(TableId(1), Version(0), Version(count)).unwrap().len();
    println!("{read} deltas of one table read in {:?}", start.elapsed());
}

#[test]
fn a_newer_format_is_refused_without_a_write() {
    let (_directory, path) = scratch();
    fill(&SqliteMetastore::open(&path).unwrap());
    let crc = integrity::crc_of(integrity::setting_digest("format", "3"));
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE setting SET value = '3', crc = ?1 WHERE name = 'format'", [crc]).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let error = SqliteMetastore::open(&path).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let message =
        " was written by a newer Strandline (format 3, this build reads 2). Open it with that version or newer.";
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
    assert_eq!(error.kind(), Kind::Unavailable);
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
        assert_eq!(killed.append(&[large(6)]).unwrap_err().kind(), Kind::Unavailable);
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
