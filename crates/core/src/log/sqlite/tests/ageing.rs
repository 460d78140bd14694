//! Ageing: what leaves SQLite for segments is answered as before, whatever happens meanwhile.

use super::*;

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
    assert!(aged * 20 < full && segments * 5 < full, "{full} bytes before, {aged} and {segments} after");
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
    assert!(aged < full / 20 + free, "{full} bytes before, {aged} after; {free} wait for new rows");
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
    store.age(8 << 20).unwrap();
    assert_eq!(segment_files(&path).len(), 0, "4.3 MB are less than 8 MiB");
    store.age(4 << 20).unwrap();
    assert_eq!(segment_files(&path).len(), 1);
    let emptied = store.known.read().head.emptied.0;
    assert!((1500..2000).contains(&emptied), "half of what may stay stays: {emptied}");
}

/// What one call counts may be less than there is: nobody takes that for all of it.
#[test]
fn a_count_that_was_cut_short_is_not_taken_for_all() {
    const EACH: u64 = 900 + ROW_BYTES;
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=100);
    let counted = store.count_unaged(50 * EACH).unwrap();
    assert_eq!(counted, 51 * EACH);
    store.unaged.took(counted);
    assert!(store.unaged.bytes() >= 100 * EACH, "{}", store.unaged.bytes());
    assert_eq!(store.count_unaged(1 << 30).unwrap(), 100 * EACH);
    assert_eq!(store.unaged.bytes(), 100 * EACH);
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
    assert_eq!(store.known.read().head.emptied, Version(2998));
    assert_eq!(segment_files(&path).len(), 2);
    store.age(0).unwrap();
    let segments: Vec<_> = store.known.read().segments.values().map(|s| (s.first.0, s.last.0)).collect();
    assert_eq!(segments, [(2, 999), (1002, 2998)]);
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
    let is_of_deltas = || (1..500).contains(&unreadable().len()) && store.entries(&all_entries()).is_ok();
    let flipped = (0..whole.len()).step_by(199).map(damage).find(|_| is_of_deltas());
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
    store.publish(run.0, &run.1, &[]).unwrap();
    drop(store);
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(all_deltas(&store, 2000), expected);
    assert_eq!(store.known.read().head.emptied, Version(0));
    assert_eq!(store.trim(&[Version(5)]).unwrap().entries, 1);
    store.age(0).unwrap();
    assert_eq!(store.known.read().head.emptied, Version(1998));
    assert_eq!(store.known.read().segments.values().map(|segment| segment.trimmed).sum::<u64>(), 900);
    assert_eq!(store.deltas(TableId(1), Version(5), Version(2000)).unwrap(), expected[0][1..]);
    assert_eq!(store.deltas(TableId(3), Version(4), Version(5)).unwrap_err().kind(), Kind::OutOfWindow);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
    assert_eq!(std::fs::read(folder.join("0000000000000003.segment")).unwrap(), b"theirs");
    let files = names(segment_files(&path));
    let wanted = ["0000000000000003.segment", "0000000000000004.segment", "0000000000000005.segment", "notes.txt"];
    assert_eq!(files, wanted);
    // Written anew, and the old one is about to go and not deleted.
    let old = store.known.read().segments[&5].clone();
    let bytes = std::fs::read(folder.join(wanted[2])).unwrap();
    store.publish(segments::Segment::clone(&old), &bytes, &[old]).unwrap();
    drop(store);
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(names(segment_files(&path)), [wanted[0], wanted[1], "0000000000000006.segment", wanted[3]]);
    assert_eq!(store.deltas(TableId(1), Version(5), Version(2000)).unwrap(), expected[0][1..]);
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
    assert!(noticed * 2 > harmed.len(), "{noticed} of {} are noticed by the answers, all by the check", harmed.len());
    store.segments.forget();
    assert_eq!(texts(&answers(&store)), expected);
    // With both gone the store opens, and answers what needs neither.
    drop(store);
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(store.entries(&EntryQuery { limit: 2, ..all_entries() }).unwrap().len(), 2);
    assert_eq!(store.catalog_at(Version(12)).unwrap().len(), 4);
    assert_eq!(store.entry(Version(12)).unwrap().unwrap().head.version, Version(12));
    let error = store.entry(Version(3)).unwrap_err();
    let message = "segments/0000000000000001.segment, which holds versions 1 to 8 of the log, is missing.";
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
    let (expected, entries) = (all_deltas(&store, 2000), store.entries(&all_entries()).unwrap());
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
    assert_eq!(sizes().len(), 2);
    assert!(sizes().iter().sum::<u64>() < after.iter().sum(), "the entries alone are left: {after:?}, {:?}", sizes());
    assert_eq!(store.entries(&all_entries()).unwrap(), entries);
    for version in [1, 500, 998, 999, 1998, 1999] {
        let version = Version(version);
        assert!(store.entry(version).unwrap().unwrap().deltas[0].body.is_empty());
        let tables = (1..=3).map(TableId);
        let errors = tables.filter_map(|table| store.deltas(table, Version(version.0 - 1), version).err());
        assert_eq!(errors.map(|error| error.kind()).collect::<Vec<_>>(), [Kind::OutOfWindow]);
    }
    assert_eq!(store.delta_sizes().unwrap().len(), 1, "those of the newest commit");
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// Returns how many entries stand in a closed store's database, and how many lines of the tables that they touched.
fn rows_of(path: &Path) -> (i64, i64) {
    const COUNT: &str = "SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM touch)";
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row(COUNT, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn entries_leave_sqlite_by_their_number_too() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    let count = 5000;
    let bare = |version: u64| Entry {
        changes: if version.is_multiple_of(1000) { vec![content(1, version)] } else { Vec::new() },
        deltas: if version.is_multiple_of(7) { vec![delta(1 + version % 2, b"")] } else { Vec::new() },
        ..entry(version)
    };
    store.append(&(1..=count).map(bare).collect::<Vec<_>>()).unwrap();
    let entries = store.entries(&all_entries()).unwrap();
    store.age(4 << 20).unwrap();
    assert_eq!(segment_files(&path).len(), 0, "as many as may stay");
    store.age(1 << 20).unwrap();
    assert_eq!(store.known.read().head.emptied, Version(count - 1024), "half of what may stay stays");
    for reopened in [false, true] {
        let own = reopened.then(|| SqliteMetastore::open(&path).unwrap());
        let store = own.as_ref().unwrap_or(&store);
        assert_eq!(store.entries(&all_entries()).unwrap(), entries);
        for table in [1, 2] {
            let query = EntryQuery { tables: Some(vec![TableId(table)]), ..all_entries() };
            let touched = (1..=count).rev().filter(|version| version.is_multiple_of(7) && version % 2 + 1 == table);
            let listed = store.entries(&query).unwrap();
            assert!(listed.iter().map(|entry| entry.head.version.0).eq(touched), "table {table}");
            let earlier = store.entries(&EntryQuery { upto: Version(3000), limit: 1, ..query }).unwrap();
            assert!((2986..=3000).contains(&earlier[0].head.version.0));
        }
        for version in 1..=count {
            let changed = Version(version / 1000 * 1000);
            assert_eq!(store.catalog_version(Version(version)).unwrap(), changed);
            let time = Time(version.cast_signed() * 10_000_000 + 5);
            assert_eq!(store.newest_at(time).unwrap().unwrap().version, Version(version));
        }
        assert_eq!(store.catalog_at(Version(2500)).unwrap(), [content(1, 2000)]);
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    }
    drop(store);
    let (entries, touches) = rows_of(&path);
    assert!(entries == 1024 && touches < 1024 / 7 + 2, "{entries} entries, {touches} lines");
}

/// What was trimmed leaves segments of entries alone, side by side: they become one.
#[test]
fn segments_without_deltas_are_joined() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    for at in 0..6 {
        small_commits(&store, at * 100 + 1..=at * 100 + 100);
        store.age(0).unwrap();
    }
    assert_eq!(segment_files(&path).len(), 6);
    let (expected, entries) = (all_deltas(&store, 600), store.entries(&all_entries()).unwrap());
    // All of the first five, and none of the last.
    store.trim(&(1..=498).map(Version).collect::<Vec<_>>()).unwrap();
    store.age(0).unwrap();
    for reopened in [false, true] {
        let own = reopened.then(|| SqliteMetastore::open(&path).unwrap());
        let store = own.as_ref().unwrap_or(&store);
        let segments: Vec<_> = store.segments.shown().whole().map(|s| (s.first.0, s.last.0, s.bodies)).collect();
        assert_eq!(segments, [(1, 498, 0), (499, 598, 90_000)]);
        assert_eq!(segment_files(&path).len(), 2);
        assert_eq!(store.entries(&all_entries()).unwrap(), entries);
        assert!((1..=498).all(|version| store.entry(Version(version)).unwrap().unwrap().deltas[0].body.is_empty()));
        for (table, expected) in (1..).zip(&expected) {
            let rest: Vec<_> = expected.iter().filter(|(version, _)| version.0 > 498).cloned().collect();
            assert_eq!(store.deltas(TableId(table), Version(498), Version(600)).unwrap(), rest);
            assert_eq!(store.delta_bytes(TableId(table), Version(490), Version(600)).unwrap(), None);
        }
        assert_eq!(store.trim(&[Version(7)]).unwrap(), Trimmed::default());
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    }
}

/// Rows that were not deleted yet, and rows that were, of a segment that is shown: each is answered once.
#[test]
fn entries_that_stand_twice_are_answered_once() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=900);
    let (expected, entries) = (all_deltas(&store, 900), store.entries(&all_entries()).unwrap());
    let (segment, file) = store.pack_for_test(Version(0), Version(700));
    store.publish(segment, &file, &[]).unwrap();
    for turn in 0..4 {
        assert_eq!(all_deltas(&store, 900), expected, "turn {turn}");
        assert_eq!(store.entries(&all_entries()).unwrap(), entries);
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
        if turn < 3 {
            store.delete_some_for_test();
            assert!(store.known.read().head.emptied < Version(900));
        }
    }
    assert_eq!(store.known.read().head.emptied, Version(700));
    drop(store);
    assert_eq!(rows_of(&path), (200, 200));
    let store = SqliteMetastore::open(&path).unwrap();
    assert_eq!(all_deltas(&store, 900), expected);
}

#[test]
fn entries_that_move_under_a_reader_are_read_again() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=3000);
    let entries = store.entries(&all_entries()).unwrap();
    let trims: Vec<Version> = (1..=2000).map(Version).collect();
    let leave = || store.age(0).unwrap();
    let are_written_anew = || {
        store.trim(&trims).unwrap();
        store.age(0).unwrap();
        store.segments.forget();
    };
    for moved in [&leave as &dyn Fn(), &are_written_anew] {
        let turns = std::cell::Cell::new(0);
        let read = store.read_log(|rows| {
            // It knows which segments there are, and has not looked into SQLite yet.
            if turns.replace(turns.get() + 1) == 0 {
                moved();
            }
            read::entries(rows, &all_entries(), Version(3000))
        });
        assert_eq!(read.unwrap(), entries);
        assert_eq!(turns.get(), 2);
    }
}

#[test]
fn readers_go_on_while_the_log_ages_and_segments_are_written_anew() {
    let (_directory, path) = scratch();
    let store = SqliteMetastore::open(&path).unwrap();
    small_commits(&store, 1..=3000);
    let expected = store.deltas(TableId(1), Version(2000), Version(3000)).unwrap();
    let entries = store.entries(&all_entries()).unwrap();
    let middle = EntryQuery { from: Version(1200), upto: Version(1400), ..all_entries() };
    let of_table = EntryQuery { tables: Some(vec![TableId(2)]), upto: Version(900), limit: 50, ..all_entries() };
    let listed = store.entries(&of_table).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reads = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) || reads == 0 {
                    assert_eq!(store.deltas(TableId(1), Version(2000), Version(3000)).unwrap(), expected);
                    assert_eq!(store.entries(&middle).unwrap(), entries[3000 - 1400..=3000 - 1200]);
                    assert_eq!(store.entries(&of_table).unwrap(), listed);
                    let time = Time(777 * 10_000_000);
                    assert_eq!(store.newest_at(time).unwrap().unwrap(), entries[3000 - 777].head);
                    assert_eq!(store.catalog_version(Version(1 + reads % 2000)).unwrap(), Version(0));
                    assert_eq!(store.check_chains().unwrap(), Vec::<String>::new());
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
