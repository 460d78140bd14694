//! What runs can be ended, and leaves nothing behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A session whose database has a table of ten thousand rows that were updated once.
async fn session_with_rows() -> Session {
    let mut s = session().await;
    done(&mut s, "CREATE TABLE digits (n INT PRIMARY KEY)").await;
    done(&mut s, "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)").await;
    done(&mut s, "CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    let rows = "SELECT a.n + b.n * 10 + c.n * 100 + d.n * 1000, 1 FROM digits a, digits b, digits c, digits d";
    done(&mut s, &format!("INSERT INTO t {rows}")).await;
    done(&mut s, "UPDATE t SET v = id").await;
    s
}

async fn rows_as_text(s: &mut Session, sql: &str) -> String {
    match run(s, sql).await {
        Ok(Outcome::Rows(rows)) => text_of(rows).await.unwrap(),
        Ok(_) => panic!("{sql}: gave no rows"),
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

#[tokio::test]
async fn explain_analyze_ends_when_its_time_is_up() {
    let s = &mut session().await;
    done(s, "SET max_execution_time = 200").await;
    assert_eq!(fails(s, "EXPLAIN ANALYZE SELECT SLEEP(60)").await.code, 3024);
}

#[tokio::test]
async fn a_table_made_of_a_select_is_not_there_when_it_was_killed() {
    let s = &mut session().await;
    let interrupt = s.interrupt();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        interrupt.kill_query();
    });
    assert_eq!(fails(s, "CREATE TABLE c AS SELECT SLEEP(60)").await.code, 1317);
    check(s, "SHOW TABLES", "").await;
    done(s, "SET max_execution_time = 200").await;
    assert_eq!(fails(s, "CREATE TABLE c AS SELECT SLEEP(60)").await.code, 3024);
    check(s, "SHOW TABLES", "").await;
}

#[tokio::test]
async fn what_takes_long_ends_when_its_time_is_up_and_changes_nothing() {
    let s = &mut session_with_rows().await;
    let update: u64 = rows_as_text(s, "SELECT MAX(_version) FROM t").await.parse().unwrap();
    // Without it the undo would take no time: the table would get back the content that it had.
    done(s, "INSERT INTO t VALUES (10000, 10000)").await;
    let commits = rows_as_text(s, "SHOW COMMITS").await;
    let definition = rows_as_text(s, "SHOW CREATE TABLE t").await;
    // Each of these works on ten thousand rows: they take longer than a millisecond.
    for sql in [
        "ALTER TABLE t MODIFY v BIGINT".to_owned(),
        "ALTER TABLE t ADD UNIQUE KEY (v)".to_owned(),
        "CREATE UNIQUE INDEX v ON t (v)".to_owned(),
        format!("DIFF TABLE t FROM VERSION {} TO VERSION {update}", update - 1),
        format!("UNDO VERSION {update}"),
    ] {
        done(s, "SET max_execution_time = 1").await;
        let error = fails(s, &sql).await;
        done(s, "SET max_execution_time = 0").await;
        assert_eq!(error.code, 3024, "{sql}: {error}");
        assert_eq!(rows_as_text(s, "SHOW COMMITS").await, commits, "{sql}");
        assert_eq!(rows_as_text(s, "SHOW CREATE TABLE t").await, definition, "{sql}");
        check(s, "SELECT COUNT(*), SUM(v = id) FROM t", "10001|10001").await;
        // And without a limit it does what it says.
        if sql.starts_with("DIFF") || sql.starts_with("UNDO") {
            run(s, &sql).await.unwrap();
        }
    }
    check(s, "SELECT COUNT(*), SUM(v) FROM t", "10001|20000").await;
}

/// Returns the files of a store that hold rows.
fn files_of(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true => folders.push(path),
                false if name.starts_with("metastore") || name.to_lowercase().contains("lock") => {}
                false => drop(found.insert(path)),
            }
        }
    }
    found
}

/// Opens a store, with a session in its database `d`.
async fn open(folder: &Path) -> (Database, Session) {
    let db = Database::open(folder, Options::default()).await.unwrap();
    let options = engine::Options { threads: 2, ..engine::Options::default() };
    let engine = Engine::open(db.clone(), options).await.unwrap();
    engine.set_password("root", "").await.unwrap();
    let mut session = connect(&engine);
    done(&mut session, "CREATE DATABASE IF NOT EXISTS d").await;
    session.use_database("d").await.unwrap();
    (db, session)
}

/// Makes a store with the tables `sound` and `lost`; the files of the second are gone.
async fn store_with_a_loss() -> (tempfile::TempDir, Database, Session) {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut s) = open(folder.path()).await;
    for table in ["sound", "lost"] {
        done(&mut s, &format!("CREATE TABLE {table} (id INT PRIMARY KEY, v INT)")).await;
        done(&mut s, &format!("INSERT INTO {table} VALUES (1, 1), (2, 2)")).await;
    }
    run(&mut s, "OPTIMIZE TABLE sound").await.unwrap();
    let before = files_of(folder.path());
    run(&mut s, "OPTIMIZE TABLE lost").await.unwrap();
    let lost: Vec<PathBuf> = files_of(folder.path()).difference(&before).cloned().collect();
    assert!(!lost.is_empty());
    drop(s);
    db.close().await.unwrap();
    drop(db);
    lost.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let (db, s) = open(folder.path()).await;
    (folder, db, s)
}

#[tokio::test]
async fn preparing_looks_for_no_rows_and_a_failed_look_up_is_told_by_show_warnings() {
    let (_folder, _db, mut s) = store_with_a_loss().await;
    let s = &mut s;
    let prepared = s.prepare("SELECT v, id FROM lost WHERE id = ?").await.unwrap();
    let names: Vec<&str> = prepared.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["v", "id"]);
    assert_eq!(s.table_columns("lost").await.unwrap().len(), 2);
    let Err(error) = s.execute_prepared(&prepared, vec![Value::Int(1)]).await else {
        panic!("there is nothing to read")
    };
    let warnings = rows_as_text(s, "SHOW WARNINGS").await;
    assert_eq!(warnings, format!("Error|{}|{}", error.code, error.message));
    assert_eq!(s.prepare("SELECT nothing FROM lost").await.unwrap_err().code, 1054);
    assert!(rows_as_text(s, "SHOW WARNINGS").await.starts_with("Error|1054|"));
}

#[tokio::test]
async fn optimize_tells_of_each_table_whatever_became_of_the_others() {
    let (_folder, _db, mut s) = store_with_a_loss().await;
    let s = &mut s;
    done(s, "INSERT INTO sound VALUES (3, 3)").await;
    let told = rows_as_text(s, "OPTIMIZE TABLE sound, lost, missing, sound").await;
    let told: Vec<Vec<&str>> = told.lines().map(|line| line.split('|').take(3).collect()).collect();
    let of = |table: &'static str, kind: &'static str| vec![table, "optimize", kind];
    let expected = [
        of("d.sound", "status"),
        of("d.lost", "Error"),
        of("d.lost", "status"),
        of("d.missing", "Error"),
        of("d.missing", "status"),
        of("d.sound", "status"),
    ];
    assert_eq!(told, expected);
}
