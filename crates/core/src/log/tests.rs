//! What every metastore must do, run against each. The naive replay in here is the oracle of the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::memory::MemoryMetastore;
use super::sqlite::SqliteMetastore;
use super::*;
use crate::catalog::Content;
use crate::error::{Kind, What};
use crate::ids::{DatabaseId, UserId};
use crate::schema::{Account, Column, Database, Table, Type, User};

/// Runs a test against each metastore, empty.
fn each_store(test: impl Fn(&dyn Metastore)) {
    test(&MemoryMetastore::new());
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteMetastore::open(&directory.path().join("metastore.db")).unwrap();
    test(&store);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// Returns an entry that changes nothing, ten seconds after the one before it.
pub(super) fn entry(version: u64) -> Entry {
    let head = EntryHead {
        version: Version(version),
        time: Time(version.cast_signed() * 10_000_000),
        account: AccountId(1),
        author: "root@localhost".to_owned(),
        what: format!("INSERT shop.orders {version}"),
        upkeep: false,
        hash: Digest::default(),
    };
    Entry { head, changes: Vec::new(), deltas: Vec::new(), pins: Vec::new(), files: Vec::new() }
}

pub(super) fn delta(table: u64, body: &[u8]) -> TableDelta {
    TableDelta { table: TableId(table), puts: body.len() as u64, deletes: 1, body: Bytes::copy_from_slice(body) }
}

pub(super) fn table(id: u64, database: u64, name: &str) -> Change {
    let column = Column {
        id: ColumnId(1),
        name: "id".to_owned(),
        ty: Type::Int64,
        nullable: false,
        declared: "bigint".to_owned(),
        default: None,
        initial: None,
        auto_increment: false,
        on_update: None,
        comment: String::new(),
    };
    Change::PutTable(Arc::new(Table {
        id: TableId(id),
        database: DatabaseId(database),
        name: name.to_owned(),
        columns: vec![column],
        primary_key: vec![ColumnId(1)],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        view: None,
        comment: String::new(),
        options: BTreeMap::new(),
        next_column: ColumnId(2),
    }))
}

pub(super) fn content(id: u64, flushed: u64) -> Change {
    let content = Content { flushed: Version(flushed), parts_version: Version(flushed), ..Content::empty() };
    Change::PutContent(TableId(id), Arc::new(content))
}

pub(super) fn database(id: u64, name: &str) -> Change {
    Change::PutDatabase(Database {
        id: DatabaseId(id),
        account: AccountId(1),
        name: name.to_owned(),
        comment: String::new(),
    })
}

pub(super) fn pin(name: &str, version: u64) -> Pin {
    Pin {
        id: PinId(0),
        name: name.to_owned(),
        account: AccountId(1),
        scope: Scope::Tables("shop".to_owned(), vec!["orders".to_owned()]),
        version: Version(version),
        created: Time(7),
        version_time: Time(5),
        author: "root@localhost".to_owned(),
        comment: "before the release".to_owned(),
        columns: vec![ColumnId(1)],
        terms: Terms { retain_until: Some(Time(99)), ..Terms::default() },
    }
}

pub(super) fn file(id: u64, kind: FileKind) -> FileRecord {
    FileRecord {
        id: file_id(id),
        kind,
        length: 100_000 + id,
        digest: Digest::of(&id.to_le_bytes()),
        block_crcs: vec![1, 2, u32::try_from(id).unwrap()],
    }
}

pub(super) fn file_id(id: u64) -> FileId {
    FileId(uuid::Uuid::from_u128(u128::from(id)))
}

pub(super) fn all_entries() -> EntryQuery {
    EntryQuery { from: Version(0), upto: Version::MAX, tables: None, upkeep: true, limit: usize::MAX }
}

/// A small source of chance: the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Returns entries with changes of any kind to few objects, so that they meet.
fn random_entries(seed: u64, count: u64) -> Vec<Entry> {
    let mut chance = Chance(seed);
    (1..=count)
        .map(|version| {
            let mut entry = entry(version);
            entry.head.upkeep = chance.below(4) == 0;
            for _ in 0..chance.below(4) {
                let id = 1 + chance.below(5);
                entry.changes.push(match chance.below(9) {
                    0 => Change::PutAccount(Account { id: AccountId(id), name: format!("a{}", chance.below(3)) }),
                    1 => Change::DropAccount(AccountId(id)),
                    2 => database(id, &format!("d{}", chance.below(3))),
                    3 => Change::DropDatabase(DatabaseId(id)),
                    4 => table(id, 1 + chance.below(2), &format!("Tä{}", chance.below(3))),
                    5 => Change::DropTable(TableId(id)),
                    6 => content(id, version - 1),
                    7 => Change::PutUser(User {
                        id: UserId(id),
                        account: AccountId(1),
                        name: format!("u{version}"),
                        verifiers: BTreeMap::from([("p".to_owned(), "v".to_owned())]),
                        grants: crate::grants::Grants::default(),
                    }),
                    _ => Change::DropUser(UserId(id)),
                });
            }
            for table in 1..=3 {
                if chance.below(2) == 0 {
                    let length = usize::try_from(chance.below(3) * chance.below(5000)).unwrap();
                    let body = vec![u8::try_from(version % 251).unwrap(); length];
                    entry.deltas.push(delta(table, &body));
                }
            }
            entry
        })
        .collect()
}

/// Appends in groups of one to three. Between them the log ages now and then.
fn append_all(store: &dyn Metastore, entries: &[Entry]) {
    let mut rest = entries;
    while !rest.is_empty() {
        let (group, after) = rest.split_at((1 + rest.len() % 3).min(rest.len()));
        store.append(group).unwrap();
        if rest.len().is_multiple_of(4) {
            store.age(0).unwrap();
        }
        rest = after;
    }
}

/// Returns the object rows that the entries make, the slow way.
fn replay(entries: &[Entry]) -> Vec<((ObjectKind, u64), ObjectRow)> {
    let mut rows: Vec<((ObjectKind, u64), ObjectRow)> = Vec::new();
    for entry in entries {
        let version = entry.head.version;
        for change in &entry.changes {
            let object = change.object();
            let with_content = matches!(change, Change::DropTable(_));
            let ends = |other: (ObjectKind, u64)| {
                other == object || (with_content && other == (ObjectKind::Content, object.1))
            };
            for (_, row) in rows.iter_mut().filter(|(other, row)| ends(*other) && row.end == Version::MAX) {
                row.end = version;
            }
            if !change.is_drop() {
                rows.push((object, ObjectRow { begin: version, end: Version::MAX, object: change.clone() }));
            }
        }
    }
    rows.retain(|(_, row)| row.begin < row.end);
    rows
}

fn sorted(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(Change::object);
    changes
}

#[test]
fn entries_come_back_as_appended() {
    each_store(|store| {
        assert_eq!(store.newest().unwrap(), None);
        assert_eq!(store.entry(Version(1)).unwrap(), None);
        let mut written = random_entries(1, 40);
        written[7].pins = vec![pin("a", 8), pin("b", 8)];
        written[8].files = vec![file(1, FileKind::Part), file(2, FileKind::Manifest)];
        append_all(store, &written);
        for want in &written {
            let got = store.entry(want.head.version).unwrap().unwrap();
            assert_ne!(got.head.hash, Digest::default());
            assert_eq!((&got.changes, &got.deltas, &got.files), (&want.changes, &want.deltas, &want.files));
            assert_eq!(EntryHead { hash: Digest::default(), ..got.head }, want.head);
            assert_eq!(got.pins.len(), want.pins.len());
        }
        let ids: Vec<PinId> = store.entry(Version(8)).unwrap().unwrap().pins.iter().map(|pin| pin.id).collect();
        assert_eq!(ids, [PinId(1), PinId(2)]);
        assert_eq!(store.newest().unwrap(), Some(store.entry(Version(40)).unwrap().unwrap().head));
        assert_eq!(store.entry(Version(0)).unwrap(), None);
        assert_eq!(store.entry(Version(41)).unwrap(), None);
        assert_eq!(store.entry(Version::MAX).unwrap(), None);
    });
}

#[test]
fn hashes_are_the_same_in_every_store_and_depend_on_all_before() {
    let hashes = |entries: &[Entry]| {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = SqliteMetastore::open(&directory.path().join("metastore.db")).unwrap();
        let memory = MemoryMetastore::new();
        append_all(&sqlite, entries);
        append_all(&memory, entries);
        let hash = sqlite.newest().unwrap().unwrap().hash;
        assert_eq!(memory.newest().unwrap().unwrap().hash, hash);
        hash
    };
    let mut entries = random_entries(2, 10);
    let before = hashes(&entries);
    assert_eq!(hashes(&entries), before);
    entries[2].head.author.push('x');
    assert_ne!(hashes(&entries), before);
}

#[test]
fn entries_are_listed_by_every_condition() {
    let written = random_entries(3, 60);
    each_store(|store| {
        append_all(store, &written);
        let tables = [None, Some(vec![1]), Some(vec![3, 2]), Some(vec![2, 2]), Some(vec![9]), Some(vec![])];
        for tables in tables {
            for (from, upto) in [(0, u64::MAX), (5, 50), (30, 30), (51, 20), (60, 99), (61, 99)] {
                for (upkeep, limit) in [(true, usize::MAX), (false, usize::MAX), (true, 4), (false, 0)] {
                    let tables = tables.as_ref().map(|tables| tables.iter().map(|id| TableId(*id)).collect());
                    let query = EntryQuery { from: Version(from), upto: Version(upto), tables, upkeep, limit };
                    let touched = |entry: &&Entry| match &query.tables {
                        Some(tables) => entry.deltas.iter().any(|delta| tables.contains(&delta.table)),
                        None => true,
                    };
                    let want: Vec<Version> = (written.iter().rev())
                        .filter(|entry| (from..=upto).contains(&entry.head.version.0) && (upkeep || !entry.head.upkeep))
                        .filter(touched)
                        .map(|entry| entry.head.version)
                        .take(limit)
                        .collect();
                    let got = store.entries(&query).unwrap();
                    let versions: Vec<Version> = got.iter().map(|summary| summary.head.version).collect();
                    assert_eq!(versions, want, "{query:?}");
                    for summary in got {
                        let entry = store.entry(summary.head.version).unwrap().unwrap();
                        let tables: Vec<_> = entry.deltas.iter().map(|d| (d.table, d.puts, d.deletes)).collect();
                        assert_eq!((summary.head, summary.tables), (entry.head, tables));
                    }
                }
            }
        }
    });
}

#[test]
fn deltas_of_any_range() {
    let written = random_entries(4, 40);
    each_store(|store| {
        append_all(store, &written);
        for table in 1..=4 {
            for (after, upto) in [(0, 40), (0, u64::MAX), (7, 30), (8, 9), (9, 9), (20, 10), (39, 40), (40, 50)] {
                let want: Vec<(Version, Bytes)> = (written.iter())
                    .filter(|entry| after < entry.head.version.0 && entry.head.version.0 <= upto)
                    .flat_map(|entry| entry.deltas.iter().map(|delta| (entry.head.version, delta)))
                    .filter(|(_, delta)| delta.table == TableId(table) && !delta.body.is_empty())
                    .map(|(version, delta)| (version, delta.body.clone()))
                    .collect();
                let got = store.deltas(TableId(table), Version(after), Version(upto)).unwrap();
                assert_eq!(got, want, "table {table} in ({after}, {upto}]");
            }
        }
    });
}

#[test]
fn catalogs_of_all_versions_equal_the_replay() {
    for seed in 10..14 {
        let written = random_entries(seed, 50);
        each_store(|store| {
            assert!(store.catalog_at(Version(0)).unwrap().is_empty());
            append_all(store, &written);
            for version in (0..=51).chain([u64::MAX]) {
                let upto = usize::try_from(version.min(50)).unwrap();
                let rows = replay(&written[..upto]);
                let want: Vec<Change> =
                    rows.into_iter().filter(|(_, row)| row.end == Version::MAX).map(|(_, row)| row.object).collect();
                assert_eq!(sorted(store.catalog_at(Version(version)).unwrap()), sorted(want), "version {version}");
                let changed = written[..upto].iter().rev().find(|entry| !entry.changes.is_empty());
                let want = changed.map_or(Version(0), |entry| entry.head.version);
                assert_eq!(store.catalog_version(Version(version)).unwrap(), want);
            }
        });
    }
}

#[test]
fn histories_of_objects_and_names_equal_the_replay() {
    let written = random_entries(20, 80);
    let rows = replay(&written);
    each_store(|store| {
        append_all(store, &written);
        for kind in integrity::OBJECT_KINDS {
            for id in 0..=6 {
                let want: Vec<ObjectRow> =
                    rows.iter().filter(|(object, _)| *object == (kind, id)).map(|(_, row)| row.clone()).collect();
                assert_eq!(store.object(kind, id).unwrap(), want);
            }
            let puts = written.iter().flat_map(|entry| &entry.changes).filter(|change| !change.is_drop());
            let ids = puts.map(Change::object).filter(|object| object.0 == kind).map(|object| object.1);
            assert_eq!(store.greatest_id(kind).unwrap(), ids.max().unwrap_or(0));
        }
        for (kind, parent, name) in [
            (ObjectKind::Table, 1, "tÄ1"),
            (ObjectKind::Table, 2, "TÄ0"),
            (ObjectKind::Table, 3, "tÄ1"),
            (ObjectKind::Database, 1, "D2"),
            (ObjectKind::Account, 0, "a1"),
            (ObjectKind::User, 1, "nobody"),
        ] {
            let folded = crate::schema::fold(name);
            let bears = |row: &ObjectRow| {
                row.object.name().is_some_and(|(own, above)| above == parent && crate::schema::fold(own) == folded)
            };
            let bearers: Vec<_> = rows.iter().filter(|(object, row)| object.0 == kind && bears(row)).collect();
            let mut want: Vec<_> =
                rows.iter().filter(|(object, _)| bearers.iter().any(|(bearer, _)| bearer == object)).collect();
            want.sort_by_key(|(object, row)| (row.begin, object.1));
            let want: Vec<ObjectRow> = want.into_iter().map(|(_, row)| row.clone()).collect();
            assert_eq!(store.named(kind, parent, name).unwrap(), want, "{name}");
        }
    });
}

#[test]
fn what_comes_and_goes_in_one_commit_never_stood() {
    each_store(|store| {
        let mut first = entry(1);
        first.changes = vec![table(1, 1, "t"), content(1, 0)];
        let mut second = entry(2);
        second.changes = vec![table(1, 1, "u"), Change::DropTable(TableId(1)), table(7, 1, "v"), table(7, 1, "w")];
        second.changes.push(Change::DropTable(TableId(7)));
        let mut third = entry(3);
        third.changes = vec![table(1, 1, "t2"), content(1, 2)];
        store.append(&[first, second, third]).unwrap();
        let spans = |id| -> Vec<(u64, u64)> {
            store.object(ObjectKind::Table, id).unwrap().iter().map(|row| (row.begin.0, row.end.0)).collect()
        };
        assert_eq!(spans(1), [(1, 2), (3, u64::MAX)]);
        assert_eq!(spans(7), []);
        assert_eq!(store.greatest_id(ObjectKind::Table).unwrap(), 7);
        assert!(store.catalog_at(Version(2)).unwrap().is_empty());
        assert_eq!(store.catalog_at(Version(3)).unwrap().len(), 2);
    });
}

#[test]
fn times_find_the_newest_entry_at_or_before() {
    each_store(|store| {
        assert_eq!(store.newest_at(Time(i64::MAX)).unwrap(), None);
        append_all(store, &(1..=33).map(entry).collect::<Vec<_>>());
        for version in 1..=33_i64 {
            let found = |time| store.newest_at(Time(time)).unwrap().map(|head| i64::try_from(head.version.0).unwrap());
            let exact = version * 10_000_000;
            assert_eq!(found(exact), Some(version));
            assert_eq!(found(exact + 1), Some(version));
            assert_eq!(found(exact - 1), Some(version - 1).filter(|version| *version > 0));
        }
        assert_eq!(store.newest_at(Time(i64::MAX)).unwrap(), store.newest().unwrap());
        assert_eq!(store.newest_at(Time(i64::MIN)).unwrap(), None);
    });
}

#[test]
fn a_group_that_does_not_follow_changes_nothing() {
    each_store(|store| {
        store.append(&[]).unwrap();
        store.append(&[entry(1)]).unwrap();
        let mut late = entry(2);
        late.head.time = Time(10_000_000);
        let mut twice = entry(3);
        twice.deltas = vec![delta(1, b"a"), delta(1, b"b")];
        for group in [vec![entry(1)], vec![entry(3)], vec![late], vec![entry(2), entry(4)], vec![entry(2), twice]] {
            assert_eq!(store.append(&group).unwrap_err().kind(), Kind::Internal);
            assert_eq!(store.newest().unwrap().unwrap().version, Version(1));
            assert_eq!(store.entry(Version(2)).unwrap(), None);
        }
        store.append(&[entry(2)]).unwrap();
    });
}

#[test]
fn pins_are_unique_by_name_within_their_account() {
    each_store(|store| {
        store.append(&[entry(1)]).unwrap();
        let first = store.put_pin(&pin("nightly", 1)).unwrap();
        let taken = store.put_pin(&pin("NIGHTLY", 1)).unwrap_err();
        assert_eq!(taken.kind(), Kind::AlreadyExists(What::Snapshot));
        assert_eq!(
            taken.to_string(),
            "A snapshot 'NIGHTLY' exists already. Take another name, DROP SNAPSHOT it, or keep it with IF NOT EXISTS."
        );
        let other = store.put_pin(&Pin { account: AccountId(2), ..pin("nightly", 1) }).unwrap();
        let mut taken = entry(2);
        taken.pins = vec![pin("fresh", 2), pin("Nightly", 2)];
        taken.changes = vec![database(1, "shop")];
        assert_eq!(store.append(&[taken]).unwrap_err().kind(), Kind::AlreadyExists(What::Snapshot));
        assert_eq!(store.newest().unwrap().unwrap().version, Version(1));
        assert!(store.catalog_at(Version(2)).unwrap().is_empty());
        assert_eq!(store.drop_pins(&[first, first, PinId(99)]).unwrap(), 1);
        assert_eq!(store.drop_pins(&[]).unwrap(), 0);
        let mut with_pin = entry(2);
        with_pin.pins = vec![pin("nightly", 2)];
        store.append(&[with_pin]).unwrap();
        let pins = store.pins().unwrap();
        assert_eq!(pins[0], Pin { id: other, account: AccountId(2), ..pin("nightly", 1) });
        assert_eq!(pins[1], Pin { id: pins[1].id, ..pin("nightly", 2) });
        assert!(pins[0].id < pins[1].id && first < other && pins.len() == 2);
    });
}

#[test]
fn files_lose_their_intent_when_they_are_committed() {
    each_store(|store| {
        let intents = [1, 2, 3].map(|id| (file_id(id), FileKind::Part));
        store.put_intents(&intents).unwrap();
        store.put_intents(&intents[..1]).unwrap();
        assert_eq!(store.intents().unwrap(), intents);
        let (part, manifest) = (file(2, FileKind::Part), file(4, FileKind::Manifest));
        let mut first = entry(1);
        first.files = vec![part.clone(), manifest.clone()];
        store.append(std::slice::from_ref(&first)).unwrap();
        assert_eq!(store.intents().unwrap(), [intents[0], intents[2]]);
        assert_eq!(store.file(part.id).unwrap(), Some(part.clone()));
        assert_eq!(store.file(file_id(1)).unwrap(), None);
        assert_eq!(store.file_by_digest(FileKind::Manifest, manifest.digest).unwrap(), Some(manifest.clone()));
        assert_eq!(store.file_by_digest(FileKind::Part, manifest.digest).unwrap(), None);
        assert_eq!(store.file_by_digest(FileKind::Part, Digest::default()).unwrap(), None);
        let again = Entry { files: vec![part.clone()], ..entry(2) };
        assert_eq!(store.append(&[again]).unwrap_err().kind(), Kind::Internal);

        store.drop_files(&[manifest.id, file_id(3), file_id(77), manifest.id]).unwrap();
        assert_eq!(store.intents().unwrap(), intents[..1]);
        assert_eq!(store.file(manifest.id).unwrap(), None);
        assert_eq!(store.file_by_digest(FileKind::Manifest, manifest.digest).unwrap(), None);
        assert_eq!(store.entry(Version(1)).unwrap().unwrap().files, [part]);
    });
}

#[test]
fn withdrawn_files_are_known_by_their_intents_until_they_are_dropped() {
    each_store(|store| {
        let (part, manifest) = (file(2, FileKind::Part), file(4, FileKind::Manifest));
        store.append(&[Entry { files: vec![part.clone(), manifest.clone()], ..entry(1) }]).unwrap();
        let ids = |files: Vec<FileHead>| files.iter().map(|file| (file.id, file.length)).collect::<BTreeSet<_>>();
        let both = BTreeSet::from([(part.id, part.length), (manifest.id, manifest.length)]);
        assert_eq!(ids(store.files().unwrap()), both);
        store.withdraw_files(&[(manifest.id, FileKind::Manifest)]).unwrap();
        assert_eq!(ids(store.files().unwrap()), BTreeSet::from([(part.id, part.length)]));
        assert_eq!(store.intents().unwrap(), [(manifest.id, FileKind::Manifest)]);
        assert_eq!(store.file_by_digest(FileKind::Manifest, manifest.digest).unwrap(), None);
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
        store.drop_files(&[manifest.id]).unwrap();
        assert_eq!(store.intents().unwrap(), []);
        assert_eq!(store.entry(Version(1)).unwrap().unwrap().files, [part]);
    });
}

#[test]
fn trimmed_entries_tell_what_they_did_and_not_with_which_rows() {
    each_store(|store| {
        for version in 1..=4 {
            let deltas = vec![delta(1, &[7; 5000]), delta(version, b"rows")];
            let deltas = if version == 1 { deltas[..1].to_vec() } else { deltas };
            store.append(&[Entry { deltas, ..entry(version) }]).unwrap();
        }
        store.append(&[entry(5)]).unwrap();
        store.age(0).unwrap();
        let hash = store.entry(Version(2)).unwrap().unwrap().head.hash;
        let trimmed = store.trim(&[Version(2), Version(3), Version(5)]).unwrap();
        assert_eq!(trimmed, Trimmed { entries: 2, bytes: 2 * 5004 });
        assert_eq!(store.trim(&[Version(2)]).unwrap(), Trimmed::default());
        store.age(0).unwrap();
        let entry = store.entry(Version(2)).unwrap().unwrap();
        assert_eq!((entry.head.hash, entry.deltas.len()), (hash, 2));
        assert!(entry.deltas.iter().all(|delta| delta.body.is_empty() && delta.puts > 0));
        for table in [1, 2] {
            let error = store.deltas(TableId(table), Version(1), Version(4)).unwrap_err();
            assert_eq!(error.kind(), Kind::OutOfWindow, "{error:?}");
        }
        assert_eq!(store.deltas(TableId(1), Version(3), Version(5)).unwrap().len(), 1);
        assert_eq!(store.deltas(TableId(1), Version(0), Version(1)).unwrap().len(), 1);
        store.tidy().unwrap();
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn settings_are_kept() {
    each_store(|store| {
        assert_eq!(store.setting("window").unwrap(), None);
        store.put_setting("window", "24h").unwrap();
        store.put_setting("window", "48h").unwrap();
        assert_eq!(store.setting("window").unwrap().as_deref(), Some("48h"));
        assert_eq!(store.setting("format").unwrap().as_deref(), Some("3"));
        assert_eq!(store.put_setting("format", "2").unwrap_err().kind(), Kind::Invalid);
        store.put_setting("pitr/1/a", "1").unwrap();
        store.put_setting("pitr/1/b", "2").unwrap();
        store.put_setting("schedule/1/a", "3").unwrap();
        let names = |prefix: &str| -> Vec<String> {
            store.settings(prefix).unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("pitr/"), ["pitr/1/a", "pitr/1/b"]);
        assert!(store.drop_setting("pitr/1/a").unwrap());
        assert!(!store.drop_setting("pitr/1/a").unwrap());
        assert!(!store.drop_setting("format").unwrap());
        assert_eq!(names("pitr/"), ["pitr/1/b"]);
        assert_eq!(names("s"), ["schedule/1/a"]);
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
    });
}
