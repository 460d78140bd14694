//! The debug verbs over a small store on disk.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::{Value as Json, json};
use strandline_core::db::SYS;
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::{RestoreRequest, Target};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{ColumnId, DatabaseId};
use strandline_core::log::Scope;
use strandline_core::schema::{Column, Table, Type};
use strandline_core::txn::{Author, OnDuplicate};
use strandline_core::upkeep::check::{Checked, Depth};
use strandline_core::when::RangeUnit;
use tempfile::TempDir;

use super::*;

/// Makes a store: `shop.items (id, name)` with rows 1 to 3 flushed, then row 2 changed, then row 3 deleted, then a
/// snapshot, a flush, and row 1 changed in the log.
async fn make_store() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(folder.path(), Options::default()).await.expect("opened");
    let author = Author { account: SYS, name: "ada@localhost".to_owned() };
    let mut txn = database.begin(author.clone());
    let shop = txn.create_database(SYS, "shop", "").expect("made").id;
    let items = txn.create_table(items(shop)).expect("made");
    txn.insert(&items, &rows(&items, &[(1, "one"), (2, "two"), (3, "three")]), OnDuplicate::Error).await.expect("put");
    txn.commit().await.expect("committed");
    database.flush().await.expect("flushed");

    let mut txn = database.begin(author.clone());
    txn.update(&items, &keys(&items, &[2]), &rows(&items, &[(2, "zwei")])).await.expect("updated");
    txn.commit().await.expect("committed");
    let mut txn = database.begin(author.clone());
    txn.delete(&items, &keys(&items, &[3])).await.expect("deleted");
    txn.commit().await.expect("committed");
    let spec = SnapshotSpec::of("before", Scope::Database("shop".to_owned()));
    database.create_snapshot(&spec, &author).await.expect("taken");
    database.flush().await.expect("flushed");
    let mut txn = database.begin(author);
    txn.update(&items, &keys(&items, &[1]), &rows(&items, &[(1, "eins")])).await.expect("updated");
    txn.commit().await.expect("committed");
    database.close().await.expect("closed");
    folder
}

fn items(database: DatabaseId) -> Table {
    let column = |id, name: &str, ty, declared: &str| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        ty,
        nullable: false,
        declared: declared.to_owned(),
        default: None,
        initial: None,
        auto_increment: false,
        on_update: None,
        comment: String::new(),
    };
    Table {
        id: strandline_core::ids::TableId(0),
        database,
        name: "items".to_owned(),
        columns: vec![column(1, "id", Type::Int64, "bigint"), column(2, "name", Type::Text, "varchar(20)")],
        primary_key: vec![ColumnId(1)],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        view: None,
        comment: String::new(),
        options: Default::default(),
        next_column: ColumnId(3),
    }
}

fn rows(table: &Table, rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, name)| *name)));
    RecordBatch::try_new(table.physical_schema(), vec![ids, names]).expect("rows")
}

fn keys(table: &Table, ids: &[i64]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().copied()));
    RecordBatch::try_new(table.key_schema(), vec![ids]).expect("keys")
}

async fn run_verb(folder: &TempDir, line: &str) -> Result<Report> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Verb,
    }
    let words = std::iter::once("debug").chain(line.split('|'));
    let line = <Line as clap::Parser>::try_parse_from(words)?;
    super::report(&line.verb, folder.path()).await
}

async fn json(folder: &TempDir, line: &str) -> Json {
    let report = run_verb(folder, line).await.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(!report.text().is_empty(), "{line}");
    report.json
}

fn texts(list: &Json, key: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn log_lists_what_commits_changed() {
    let store = make_store().await;
    let all = json(&store, "log").await;
    let all = all.as_array().expect("a list");
    assert!(all.is_sorted_by(|a, b| a["version"].as_u64() > b["version"].as_u64()), "newest first");
    assert_eq!(all.last().expect("commits")["changes"]["put account"], 1);
    let made = &all[all.len() - 2];
    assert_eq!(made["changes"]["put table"], 1);
    assert_eq!((&made["tables"][0]["table"], &made["tables"][0]["puts"]), (&"shop.items".into(), &3.into()));
    assert!(made["tables"][0]["bytes"].as_u64() > Some(0));
    assert_eq!(all.iter().filter(|entry| entry["upkeep"] == true && entry["files"] != 0).count(), 2);
    let some = json(&store, "log|--from|2|--to|3").await;
    assert_eq!(some.as_array().map(Vec::len), Some(2));
    assert_eq!(json(&store, "log|-n|1").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn resolve_says_why() {
    let store = make_store().await;
    let newest = json(&store, "log|-n|1").await[0]["version"].clone();
    let now = json(&store, "resolve|now").await;
    assert_eq!((&now["version"], &now["author"]), (&newest, &"ada@localhost".into()));
    let before = json(&store, "resolve|before").await;
    assert_eq!((&before["why"], &before["snapshot"]), (&"snapshot 'before'".into(), &"before".into()));
    let error = run_verb(&store, "resolve|2 hours ago").await.err().expect("the store is younger").to_string();
    assert!(error.contains("before the store was created"), "{error}");
    let error = run_verb(&store, "resolve|befor").await.err().expect("no such snapshot").to_string();
    assert!(error.contains("Did you mean 'before'?"), "{error}");
}

#[tokio::test]
async fn moment_shows_parts_and_what_is_in_the_log() {
    let store = make_store().await;
    let now = json(&store, "moment").await;
    let table = &now["tables"][0];
    assert_eq!((&table["table"], &table["rows"]), (&"shop.items".into(), &2.into()));
    assert_eq!((&table["log_puts"], &table["log_deletes"]), (&1.into(), &1.into()));
    assert_eq!(now["parts"].as_array().map(Vec::len), table["parts"].as_u64().map(|parts| parts as usize));
    let first = json(&store, "moment|2").await;
    assert_eq!((&first["tables"][0]["rows"], &first["tables"][0]["parts"]), (&3.into(), &0.into()));
}

#[tokio::test]
async fn part_and_why_kept_name_who_refers() {
    let store = make_store().await;
    let parts = texts(&json(&store, "moment|before").await["parts"], "part");
    let part = json(&store, &format!("part|{}", parts[0])).await;
    assert_eq!((&part["rows"], &part["references"][0]["table"]), (&3.into(), &"shop.items".into()));
    let id = part["columns"].as_array().expect("columns").iter().find(|c| c["name"] == "id").expect("the key").clone();
    assert_eq!((&id["min"], &id["max"], &id["nulls"]), (&"1".into(), &"3".into(), &0.into()));

    let kept = json(&store, &format!("why-kept|parts/{}.parquet", parts[0])).await;
    assert_eq!(kept["kept"], true);
    let reasons = kept["references"].to_string();
    assert!(
        reasons.contains("snapshot 'before'") && reasons.contains("the recovery window of shop.items"),
        "{reasons}"
    );
    assert!(texts(&json!([kept]), "why")[0].ends_with("of shop.items"), "{kept}");

    let error = run_verb(&store, "why-kept|0199c0ffee0070008000000000000001").await.err().expect("unknown").to_string();
    assert!(error.contains("has no file"), "{error}");
    assert!(run_verb(&store, "part|nonsense").await.is_err());
}

#[tokio::test]
async fn a_policy_keeps_what_bore_its_name_for_a_while() {
    let store = make_store().await;
    let parts = texts(&json(&store, "moment|before").await["parts"], "part");
    let database = Database::open(store.path(), Options::default()).await.expect("opened");
    let author = Author { account: SYS, name: "ada@localhost".to_owned() };
    let rename = async |name: &str| {
        let mut txn = database.begin(author.clone());
        let home = txn.catalog().database(SYS, "shop").expect("there").clone();
        let table = txn.catalog().tables_of(home.id).remove(0);
        txn.alter_table(Table { name: name.to_owned(), ..(*table).clone() }).expect("renamed");
        txn.commit().await.expect("committed");
    };
    rename("between").await;
    let scope = Scope::Tables("shop".to_owned(), vec!["between".to_owned()]);
    let spec = PitrSpec { name: "p".to_owned(), scope, length: 7, unit: RangeUnit::Day };
    database.create_pitr(&spec, &author).expect("made");
    rename("goods").await;
    // Ends the content under its third name.
    database.flush().await.expect("flushed");
    database.close().await.expect("closed");
    drop(database);
    let kept = json(&store, &format!("why-kept|parts/{}.parquet", parts[0])).await;
    assert!(kept["references"].to_string().contains("PITR 'p'"), "{kept}");
}

#[tokio::test]
async fn row_finds_every_version() {
    let store = make_store().await;
    let did = |row: &Json| texts(&row["versions"], "did");
    let changed = json(&store, "row|shop.items|2").await;
    assert_eq!(changed["exists"], true);
    assert_eq!(did(&changed), ["replaced", "put"]);
    let names: Vec<&Json> = changed["versions"].as_array().expect("a list").iter().map(|v| &v["row"]["name"]).collect();
    assert_eq!(names, ["zwei", "two"]);
    let lies_in = changed["versions"][0]["lies_in"].to_string();
    assert!(lies_in.contains("log") && lies_in.contains("part"), "{lies_in}");
    assert!(changed["versions"][1]["lies_in"].to_string().contains("gone from version"), "{changed}");

    let deleted = json(&store, "row|shop.items|3").await;
    assert_eq!((&deleted["exists"], did(&deleted)), (&false.into(), vec!["deleted".to_owned(), "put".to_owned()]));
    assert_eq!(did(&json(&store, "row|shop.items|9").await).len(), 0);
    for (line, expected) in [
        ("row|shop.items|x", "no value of column 'id'"),
        ("row|shop.items|1|2", "The key of 'items' is (id)"),
        ("row|items|1", "Which database"),
        ("row|shop.item|1", "Did you mean 'items'?"),
    ] {
        let error = run_verb(&store, line).await.err().expect(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[tokio::test]
async fn row_tells_of_what_changed_it_without_writing_it() {
    let store = make_store().await;
    let database = Database::open(store.path(), Options::default()).await.expect("opened");
    let author = Author { account: SYS, name: "ada@localhost".to_owned() };
    let table = {
        let now = database.now();
        let home = now.catalog().database(SYS, "shop").expect("there").clone();
        now.catalog().tables_of(home.id).remove(0)
    };
    let restore = async |version: u64| {
        let request = RestoreRequest {
            scope: Scope::Tables("shop".to_owned(), vec!["items".to_owned()]),
            when: strandline_core::when::When::Version(Version(version)),
            target: Target::InPlace,
            overwrite: false,
            keep_copy: false,
            create_database: false,
            foreign_key_checks: true,
        };
        database.restore(request, &author).await.expect("restored").version_after
    };
    let updated = database.resolve(&Address::Snapshot("before".to_owned()), SYS).expect("there").version;
    let first = restore(2).await;
    let mut txn = database.begin(author.clone());
    txn.delete(&table, &keys(&table, &[2])).await.expect("deleted");
    txn.commit().await.expect("committed");
    let second = restore(updated.0).await;
    let mut txn = database.begin(author.clone());
    txn.drop_table(&table).expect("dropped");
    let dropped = txn.commit().await.expect("committed").version;
    let plan = database.plan_undrop_table("shop", "items", None, &author).await.expect("planned");
    let back = database.apply_restore(&plan, &author).await.expect("back").version_after;
    database.flush().await.expect("flushed");
    database.close().await.expect("closed");
    drop(database);

    let row = json(&store, "row|shop.items|2").await;
    assert_eq!(
        texts(&row["versions"], "did"),
        ["put", "deleted", "put", "deleted", "replaced", "replaced", "put"],
        "{row}"
    );
    let versions = row["versions"].as_array().expect("a list");
    let names: Vec<Option<&str>> = versions.iter().map(|version| version["row"]["name"].as_str()).collect();
    let (two, zwei) = (Some("two"), Some("zwei"));
    assert_eq!(names, [zwei, None, zwei, None, two, zwei, two], "{row}");
    let at: Vec<u64> = versions.iter().filter_map(|version| version["version"].as_u64()).collect();
    assert_eq!((at[0], at[1], at[2], at[4]), (back.0, dropped.0, second.0, first.0), "{row}");
    assert!(texts(&row["versions"], "what")[4].starts_with("RESTORE table 'shop.items' FROM VERSION 2"), "{row}");
    // What came back was written long ago.
    assert_eq!(
        (&versions[4]["written_by"], &versions[4]["lies_in"]),
        (&versions[6]["version"], &versions[6]["lies_in"])
    );
    assert_eq!(row["exists"], true);
}

async fn checked(folder: &TempDir) -> Checked {
    crate::commands::check::check(folder.path(), Depth::Rows, &|_| {}).await.expect("checked")
}

fn lines<T: ToString>(lines: &[T]) -> String {
    lines.iter().map(|line| line.to_string() + "\n").collect()
}

/// What a manifest names that cannot be read is not known: nothing of it is called garbage.
#[tokio::test]
async fn check_calls_nothing_garbage_that_a_damaged_manifest_may_name() {
    let store = make_store().await;
    for entry in std::fs::read_dir(store.path().join("manifests")).expect("a folder") {
        let path = entry.expect("a file").path();
        let whole = std::fs::read(&path).expect("read");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        std::fs::write(&path, &flipped).expect("written");
        let report = checked(&store).await;
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(lines(&report.damages).contains(&name), "{report:?}");
        let notes = lines(&report.notes);
        assert!(!notes.contains("the collector will take it"), "{notes}");
        std::fs::remove_file(&path).expect("removed");
        let lost = checked(&store).await;
        assert!(!lines(&lost.notes).contains("the collector will take it"), "{lost:?}");
        std::fs::write(&path, &whole).expect("written");
    }
    // All of them: nothing is known of any part.
    let manifests: Vec<_> = std::fs::read_dir(store.path().join("manifests")).expect("a folder").collect();
    for entry in manifests {
        std::fs::write(entry.expect("a file").path(), b"{}").expect("written");
    }
    let report = checked(&store).await;
    let parts = std::fs::read_dir(store.path().join("parts")).expect("a folder").count();
    let may = report.notes.iter().filter(|note| note.contains("it may belong to")).count();
    assert!(may >= parts && parts > 0, "{report:?}");
}

#[tokio::test]
async fn check_finds_a_flipped_byte_and_a_lost_file() {
    let store = make_store().await;
    let report = checked(&store).await;
    assert!(report.damages.is_empty(), "{report:?}");
    assert!(report.files >= 4, "{report:?}");
    assert_eq!(report.notes.len(), 0, "{report:?}");

    let stray = store.path().join("parts/0199c0ffee0070008000000000000001.parquet");
    std::fs::write(&stray, b"x").expect("written");
    let report = checked(&store).await;
    assert!(report.damages.is_empty() && lines(&report.notes).contains("unknown to the log"), "{report:?}");
    std::fs::remove_file(&stray).expect("removed");

    for folder in ["parts", "deletes", "manifests"] {
        let entry = std::fs::read_dir(store.path().join(folder)).expect("a folder").next().expect("a file");
        let path = entry.expect("a file").path();
        let whole = std::fs::read(&path).expect("read");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        std::fs::write(&path, &flipped).expect("written");
        let report = checked(&store).await;
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(!report.damages.is_empty() && lines(&report.damages).contains(&name), "{name}: {report:?}");
        std::fs::remove_file(&path).expect("removed");
        assert!(!checked(&store).await.damages.is_empty(), "{name} is lost");
        std::fs::write(&path, &whole).expect("written");
    }
    assert!(checked(&store).await.damages.is_empty(), "all is back");

    // The last copy of the text: SQLite leaves older ones in the free space of pages.
    let path = store.path().join("metastore.db");
    let mut bytes = std::fs::read(&path).expect("read");
    let at = bytes.windows(13).rposition(|text| text == b"ada@localhost").expect("the author stands in the log");
    bytes[at] ^= 2;
    std::fs::write(&path, &bytes).expect("written");
    let report = checked(&store).await;
    assert!(!report.damages.is_empty() && lines(&report.damages).contains("Entry"), "{report:?}");
    let error = run_verb(&store, "log").await.err().expect("nothing is answered from damage");
    assert_eq!(crate::commands::tell(&*error), ExitCode::from(DAMAGE));
}

#[tokio::test]
async fn a_store_that_is_not_there_or_in_use_is_left_alone() {
    let empty = tempfile::tempdir().expect("a folder");
    let check = async |folder: &TempDir| crate::commands::check::check(folder.path(), Depth::Presence, &|_| {}).await;
    let error = run_verb(&empty, "log").await.err().expect("there is no store").to_string();
    assert!(error.contains("holds no store"), "{error}");
    assert_eq!(check(&empty).await.expect_err("there is no store").to_string(), error);
    assert_eq!(std::fs::read_dir(empty.path()).expect("listed").count(), 0, "nothing was made");

    let store = make_store().await;
    let database = Database::open(store.path(), Options::default()).await.expect("opened");
    let before = database.now().version();
    let error = run_verb(&store, "log").await.err().expect("it is in use").to_string();
    assert!(error.contains("in use by process"), "{error}");
    let error = check(&store).await.expect_err("it is in use").to_string();
    assert!(error.contains("in use by process") && error.contains("CHECK TABLE"), "{error}");
    drop(database);
    json(&store, "moment").await;
    let database = Database::open(store.path(), Options::default()).await.expect("opened");
    assert_eq!(database.now().version(), before, "looking makes no commit");
}
