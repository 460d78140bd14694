//! The way of statements through a session, over a database in memory.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::*;
use futures::StreamExt;
use strandline_core::db::{Database, Options};
use strandline_core::env::Env;
use strandline_core::ids::Time;

use crate::api::{ColumnKind, Done, Login, Outcome, Rows, Value};
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::session::Session;

mod ends;
mod memory;

async fn engine() -> Arc<Engine> {
    let db = Database::in_memory(Options::default()).await.unwrap();
    let options = engine::Options { threads: 2, ..engine::Options::default() };
    let engine = Engine::open(db, options).await.unwrap();
    engine.set_password("root", "").await.unwrap();
    engine
}

fn connect(engine: &Arc<Engine>) -> Session {
    let login = Login {
        user: "root".into(),
        host: "localhost".into(),
        local_infile: true,
        connection_id: 7,
        ..Login::default()
    };
    engine.session(login).unwrap()
}

/// A session in an empty database `d`.
async fn session() -> Session {
    let mut session = connect(&engine().await);
    done(&mut session, "CREATE DATABASE d").await;
    session.use_database("d").await.unwrap();
    session
}

async fn run(session: &mut Session, sql: &str) -> Result<Outcome> {
    session.execute(sql).await
}

async fn done(session: &mut Session, sql: &str) -> Done {
    match run(session, sql).await {
        Ok(Outcome::Done(done)) => done,
        Ok(_) => panic!("{sql}: gave rows"),
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

async fn fails(session: &mut Session, sql: &str) -> Error {
    match run(session, sql).await {
        Err(error) => error,
        Ok(Outcome::Rows(rows)) => match text_of(rows).await {
            Err(error) => error,
            Ok(text) => panic!("{sql}: gave {text}"),
        },
        Ok(_) => panic!("{sql}: succeeded"),
    }
}

async fn text_of(rows: Rows) -> Result<String> {
    let mut lines = Vec::new();
    let mut batches = rows.batches;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        assert_eq!(batch.num_columns(), rows.columns.len());
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = (0..batch.num_columns()).map(|at| cell(&batch, at, row)).collect();
            lines.push(cells.join("|"));
        }
    }
    Ok(lines.join("\n"))
}

fn cell(batch: &RecordBatch, column: usize, row: usize) -> String {
    let array = batch.column(column);
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Boolean => u8::from(array.as_boolean().value(row)).to_string(),
        DataType::Timestamp(..) => {
            strandline_core::ids::Time(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string()
        }
        DataType::Duration(_) => {
            crate::names::duration_text(array.as_primitive::<DurationMicrosecondType>().value(row))
        }
        _ => arrow::util::display::array_value_to_string(array, row).unwrap(),
    }
}

/// Runs a query and compares its rows: cells joined by `|`, rows by line ends.
async fn check(session: &mut Session, sql: &str, expected: &str) {
    let rows = match run(session, sql).await {
        Ok(Outcome::Rows(rows)) => rows,
        Ok(_) => panic!("{sql}: gave no rows"),
        Err(error) => panic!("{sql}: {error:?}"),
    };
    match text_of(rows).await {
        Ok(text) => assert_eq!(text, expected, "{sql}"),
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

async fn header(session: &mut Session, sql: &str) -> Vec<String> {
    match run(session, sql).await {
        Ok(Outcome::Rows(rows)) => rows.columns.iter().map(|column| column.name.clone()).collect(),
        Ok(_) => panic!("{sql}: gave no rows"),
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

#[tokio::test]
async fn selects_without_tables() {
    let s = &mut session().await;
    check(s, "SELECT 1", "1").await;
    check(s, "SELECT @@version_comment LIMIT 1", "Strandline").await;
    check(s, "SELECT DATABASE(), USER(), CONNECTION_ID()", "d|root@localhost|7").await;
    check(s, "SELECT @@autocommit, @@session.sql_mode LIKE '%STRICT%', @@lower_case_table_names", "1|1|2").await;
    check(s, "SELECT 1, 1, 'a', NULL", "1|1|a|NULL").await;
    assert_eq!(fails(s, "SELECT @@nothing").await.code, 1193);
    assert_eq!(fails(s, "SELECT nothing").await.code, 1054);
    assert_eq!(fails(s, "SELECT * FROM nothing").await.code, 1146);
    assert_eq!(fails(s, "SELECT * FROM nowhere.nothing").await.code, 1049);
    assert_eq!(fails(s, "SELEC 1").await.code, 1064);
    assert_eq!(
        header(s, "SELECT 1+1, 'x', @@autocommit, 2 AS Two, COUNT( * )").await,
        ["1+1", "x", "@@autocommit", "Two", "COUNT( * )"]
    );
}

#[tokio::test]
async fn insert_select_update_delete() {
    let s = &mut session().await;
    done(s, "CREATE TABLE T (Id INT PRIMARY KEY, Name VARCHAR(20) NOT NULL DEFAULT 'nobody', n BIGINT)").await;
    let inserted = done(s, "INSERT INTO t VALUES (1, 'a', 10), (2, 'b', NULL), (3, DEFAULT, 1+29)").await;
    assert_eq!((inserted.affected_rows, inserted.info.as_str()), (3, "Records: 3  Duplicates: 0  Warnings: 0"));
    check(s, "SELECT * FROM t ORDER BY id", "1|a|10\n2|b|NULL\n3|nobody|30").await;
    assert_eq!(header(s, "SELECT *, id, T.NAME, n+1 FROM t").await, ["Id", "Name", "n", "id", "NAME", "n+1"]);
    check(s, "SELECT name FROM t WHERE id = 2", "b").await;
    check(s, "SELECT name FROM t WHERE id = 9", "").await;
    check(s, "SELECT COUNT(*), SUM(n) FROM t", "3|40").await;
    check(s, "SELECT n FROM t ORDER BY n", "NULL\n10\n30").await;
    done(s, "INSERT INTO t SET id = 4, n = 7").await;
    assert_eq!(fails(s, "INSERT INTO t (id) VALUES (4)").await.code, 1062);
    assert_eq!(fails(s, "INSERT INTO t (id, name) VALUES (5, NULL)").await.code, 1048);
    assert_eq!(fails(s, "INSERT INTO t (id) VALUES (5, 6)").await.code, 1136);
    assert_eq!(fails(s, "INSERT INTO t (id, nope) VALUES (5, 6)").await.code, 1054);
    assert_eq!(fails(s, "INSERT INTO t (id) VALUES ('x')").await.code, 1366);

    let updated = done(s, "UPDATE t SET n = COALESCE(n, 0) + 1, name = UPPER(name) WHERE id <= 2").await;
    assert_eq!((updated.affected_rows, updated.info.as_str()), (2, "Rows matched: 2  Changed: 2  Warnings: 0"));
    let again = done(s, "UPDATE t SET name = 'A' WHERE id = 1").await;
    assert_eq!((again.affected_rows, again.info.as_str()), (0, "Rows matched: 1  Changed: 0  Warnings: 0"));
    check(s, "SELECT * FROM t WHERE id < 3 ORDER BY 1 DESC", "2|B|1\n1|A|11").await;
    // Assignments see those before them.
    done(s, "UPDATE t SET n = 5, name = CONCAT('n', n) WHERE id = 3").await;
    check(s, "SELECT name, n FROM t WHERE id = 3", "n5|5").await;
    done(s, "UPDATE t SET id = id + 10 ORDER BY id DESC LIMIT 1").await;
    check(s, "SELECT id FROM t ORDER BY id", "1\n2\n3\n14").await;
    assert_eq!(done(s, "DELETE FROM t WHERE id > 2 ORDER BY id LIMIT 1").await.affected_rows, 1);
    check(s, "SELECT id FROM t ORDER BY id", "1\n2\n14").await;
    assert_eq!(done(s, "DELETE FROM t WHERE FALSE").await.affected_rows, 0);
    assert_eq!(done(s, "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE id < 3)").await.affected_rows, 2);
    assert_eq!(done(s, "DELETE FROM t").await.affected_rows, 1);
    check(s, "SELECT COUNT(*) FROM t", "0").await;
}

#[tokio::test]
async fn tables_without_a_key() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (a INT, b TEXT)").await;
    done(s, "INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y')").await;
    assert_eq!(header(s, "SELECT * FROM t").await, ["a", "b"]);
    done(s, "UPDATE t SET b = 'z' WHERE a = 1 LIMIT 1").await;
    check(s, "SELECT * FROM t ORDER BY a, b", "1|x\n1|z\n2|y").await;
    assert_eq!(done(s, "DELETE FROM t WHERE a = 1").await.affected_rows, 2);
    check(s, "SELECT * FROM t", "2|y").await;
}

#[tokio::test]
async fn replace_ignore_and_on_duplicate_key() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, k INT UNIQUE, n INT)").await;
    assert_eq!(done(s, "INSERT INTO t (k, n) VALUES (1, 1), (2, 2)").await.last_insert_id, 1);
    check(s, "SELECT LAST_INSERT_ID(), ROW_COUNT()", "1|2").await;
    assert_eq!(done(s, "REPLACE INTO t VALUES (1, 1, 9)").await.affected_rows, 2);
    assert_eq!(done(s, "INSERT IGNORE INTO t (k, n) VALUES (1, 5), (3, 5)").await.affected_rows, 1);
    check(s, "SELECT k, n FROM t ORDER BY k", "1|9\n2|2\n3|5").await;
    let upserted =
        done(s, "INSERT INTO t (k, n) VALUES (2, 40), (4, 4) ON DUPLICATE KEY UPDATE n = n + VALUES(n)").await;
    assert_eq!(upserted.affected_rows, 3);
    check(s, "SELECT k, n FROM t ORDER BY k", "1|9\n2|42\n3|5\n4|4").await;
    done(s, "INSERT INTO t (k, n) VALUES (4, 1), (4, 1) AS new ON DUPLICATE KEY UPDATE n = t.n + new.n").await;
    check(s, "SELECT n FROM t WHERE k = 4", "6").await;
    assert_eq!(done(s, "INSERT INTO t (k, n) VALUES (4, 1) ON DUPLICATE KEY UPDATE n = 6").await.affected_rows, 0);
    done(s, "INSERT INTO t (id, k) VALUES (100, 100)").await;
    done(s, "INSERT INTO t (k) SELECT k + 1000 FROM t WHERE k = 1").await;
    check(s, "SELECT id FROM t WHERE k = 1001", "101").await;
}

#[tokio::test]
async fn several_tables_at_once() {
    let s = &mut session().await;
    done(s, "CREATE TABLE a (id INT PRIMARY KEY, n INT)").await;
    done(s, "CREATE TABLE b (id INT PRIMARY KEY, a_id INT, m INT)").await;
    done(s, "INSERT INTO a VALUES (1, 0), (2, 0), (3, 0)").await;
    done(s, "INSERT INTO b VALUES (10, 1, 5), (11, 1, 6), (12, 2, 7)").await;
    check(
        s,
        "SELECT a.id, SUM(m) total FROM a JOIN b ON b.a_id = a.id GROUP BY a.id HAVING total > 7 ORDER BY total",
        "1|11",
    )
    .await;
    let updated = done(s, "UPDATE a JOIN b ON b.a_id = a.id SET a.n = a.n + 1, b.m = 0 WHERE b.id <> 11").await;
    assert_eq!(updated.affected_rows, 4);
    check(s, "SELECT * FROM a ORDER BY id", "1|1\n2|1\n3|0").await;
    check(s, "SELECT id, m FROM b ORDER BY id", "10|0\n11|6\n12|0").await;
    assert_eq!(done(s, "DELETE a, b FROM a LEFT JOIN b ON b.a_id = a.id WHERE a.id <> 2").await.affected_rows, 4);
    check(s, "SELECT a.id, b.id FROM a, b", "2|12").await;
    assert_eq!(done(s, "DELETE FROM a USING a JOIN b ON a.id = b.a_id").await.affected_rows, 1);
}

#[tokio::test]
async fn transactions() {
    let engine = engine().await;
    let (s, other) = (&mut connect(&engine), &mut connect(&engine));
    done(s, "CREATE DATABASE d").await;
    for session in [&mut *s, &mut *other] {
        done(session, "USE d").await;
    }
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    done(s, "INSERT INTO t VALUES (1, 1)").await;

    done(s, "BEGIN").await;
    assert!(s.in_transaction());
    done(other, "INSERT INTO t VALUES (2, 2)").await;
    // The moment is taken by the first statement.
    check(s, "SELECT COUNT(*) FROM t", "2").await;
    done(other, "INSERT INTO t VALUES (3, 3)").await;
    check(s, "SELECT COUNT(*) FROM t", "2").await;
    done(s, "INSERT INTO t VALUES (4, 4)").await;
    check(s, "SELECT COUNT(*) FROM t", "3").await;
    check(s, "SELECT n FROM t WHERE id = 4", "4").await;
    check(other, "SELECT COUNT(*) FROM t", "3").await;
    done(s, "SAVEPOINT p").await;
    done(s, "DELETE FROM t").await;
    check(s, "SELECT COUNT(*) FROM t", "0").await;
    done(s, "ROLLBACK TO p").await;
    check(s, "SELECT COUNT(*) FROM t", "3").await;
    // A statement that fails leaves the rest of the transaction.
    assert_eq!(fails(s, "INSERT INTO t VALUES (9, 9), (1, 1)").await.code, 1062);
    check(s, "SELECT COUNT(*) FROM t", "3").await;
    done(s, "COMMIT").await;
    assert!(!s.in_transaction());
    check(other, "SELECT COUNT(*) FROM t", "4").await;
    assert_eq!(fails(s, "ROLLBACK TO p").await.code, 1305);

    // The first to commit wins.
    done(s, "BEGIN").await;
    done(s, "UPDATE t SET n = 100 WHERE id = 1").await;
    done(other, "UPDATE t SET n = 200 WHERE id = 1").await;
    assert_eq!(fails(s, "COMMIT").await.code, 1213);
    check(s, "SELECT n FROM t WHERE id = 1", "200").await;

    done(s, "START TRANSACTION READ ONLY").await;
    assert_eq!(fails(s, "DELETE FROM t").await.code, 1792);
    done(s, "ROLLBACK").await;

    done(s, "SET autocommit = 0").await;
    done(s, "DELETE FROM t WHERE id = 1").await;
    assert!(s.in_transaction());
    done(s, "ROLLBACK").await;
    check(s, "SELECT COUNT(*) FROM t", "4").await;
    done(s, "DELETE FROM t WHERE id = 1").await;
    done(s, "SET autocommit = 1").await;
    check(other, "SELECT COUNT(*) FROM t", "3").await;

    // A definition commits what is open.
    done(s, "BEGIN").await;
    done(s, "DELETE FROM t WHERE id = 2").await;
    done(s, "CREATE TABLE u (id INT PRIMARY KEY)").await;
    assert!(!s.in_transaction());
    check(other, "SELECT COUNT(*) FROM t", "2").await;
    assert_eq!(fails(s, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.code, 1235);
}

#[tokio::test]
async fn the_past() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    done(s, "INSERT INTO t VALUES (1, 1)").await;
    let version = s.state.engine.database().now().version().0;
    done(s, "UPDATE t SET n = 2").await;
    check(s, &format!("SELECT n FROM t {{VERSION = {version}}}"), "1").await;
    check(s, &format!("SELECT a.n, b.n FROM t AS a JOIN t {{VERSION = {version}}} AS b ON a.id = b.id"), "2|1").await;
    check(s, &format!("SELECT t.n FROM t {{VERSION = {version}}} WHERE t.id = 1"), "1").await;
    done(s, &format!("SET as_of = 'version:{version}'")).await;
    check(s, "SELECT n FROM t", "1").await;
    check(s, "SELECT n FROM t WHERE id = 1", "1").await;
    let refused = fails(s, "DELETE FROM t").await;
    assert_eq!(refused.code, 1792);
    assert!(refused.message.contains("SET as_of = ''"), "{refused}");
    done(s, "SET as_of = ''").await;
    check(s, "SELECT n FROM t", "2").await;
    assert!(run(s, "SELECT * FROM t {VERSION = 99999}").await.is_err());
    let explained = match run(s, "EXPLAIN SELECT * FROM t").await {
        Ok(Outcome::Rows(rows)) => text_of(rows).await.unwrap(),
        _ => panic!("EXPLAIN gave no rows"),
    };
    assert!(explained.starts_with("d.t at version "), "{explained}");
}

/// A session in an engine with little memory for queries.
async fn session_with(query_memory_bytes: usize) -> Session {
    let db = Database::in_memory(Options::default()).await.unwrap();
    let statement_memory_bytes = query_memory_bytes / 3 * 8;
    let options =
        engine::Options { threads: 2, query_memory_bytes, statement_memory_bytes, ..engine::Options::default() };
    let engine = Engine::open(db, options).await.unwrap();
    engine.set_password("root", "").await.unwrap();
    connect(&engine)
}

#[tokio::test]
async fn a_statement_that_is_too_long_for_the_memory_says_so() {
    let s = &mut session_with(12 << 20).await;
    let list = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    check(s, &format!("SELECT 7 IN ({})", list(20_000)), "1").await;
    let error = fails(s, &format!("SELECT 7 IN ({})", list(60_000))).await;
    assert_eq!(error.code, 1038, "{error:?}");
    assert!(error.message.contains("fewer rows per INSERT"), "{error:?}");
    // Signs inside of a text are none.
    check(s, &format!("SELECT LENGTH('{}')", "\\',".repeat(60_000)), "120000").await;
}

#[tokio::test]
async fn what_a_session_keeps_is_bounded() {
    let s = &mut session_with(16 << 20).await;
    done(s, "SET @a = REPEAT('x', 1500000)").await;
    let error = fails(s, "SET @b = REPEAT('x', 1500000)").await;
    assert_eq!(error.code, 1038, "{error:?}");
    check(s, "SELECT LENGTH(@a), @b", "1500000|NULL").await;
    done(s, "SET @a = NULL").await;
    done(s, "SET @b = REPEAT('x', 1500000)").await;
    let long = format!("SELECT 1 IN ({})", vec!["1"; 2000].join(","));
    assert_eq!(fails(s, &format!("PREPARE p FROM '{long}'")).await.code, 1038);
    s.reset();
    done(s, &format!("PREPARE p FROM '{long}'")).await;
    check(s, "EXECUTE p", "1").await;
    done(s, "DEALLOCATE PREPARE p").await;
    done(s, "SET @b = REPEAT('x', 1500000)").await;
}

#[tokio::test]
async fn what_a_transaction_writes_is_bounded() {
    let s = &mut session_with(16 << 20).await;
    done(s, "CREATE DATABASE d").await;
    done(s, "USE d").await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT, s LONGTEXT)").await;
    let insert = |id: usize| format!("INSERT INTO t VALUES ({id}, 0, REPEAT('x', 100000))");
    done(s, "BEGIN").await;
    let mut refused = None;
    let mut rows = 0;
    while refused.is_none() && rows < 100 {
        match run(s, &insert(rows)).await {
            Ok(_) => rows += 1,
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.expect("there is not room for a hundred rows, three times over");
    assert_eq!(error.code, 1038, "{error:?}");
    assert!(error.message.contains("COMMIT more often"), "{error:?}");
    // What was refused was taken back, and nothing else.
    check(s, "SELECT COUNT(*) FROM t", &rows.to_string()).await;
    done(s, "COMMIT").await;
    for id in rows..100 {
        done(s, &insert(id)).await;
    }
    check(s, "SELECT COUNT(*), SUM(LENGTH(s)) FROM t", "100|10000000").await;
    let error = fails(s, "UPDATE t SET n = 1").await;
    assert_eq!(error.code, 1038, "{error:?}");
    check(s, "SELECT SUM(n) FROM t", "0").await;
    done(s, "UPDATE t SET n = 1 WHERE id < 2").await;
    // Going back to a savepoint lets go of what was written since.
    done(s, "BEGIN").await;
    for _ in 0..5 {
        done(s, "SAVEPOINT here").await;
        done(s, "UPDATE t SET n = 2 WHERE id < 15").await;
        done(s, "ROLLBACK TO here").await;
    }
    done(s, "ROLLBACK").await;
    check(s, "SELECT SUM(n) FROM t", "2").await;
}

#[tokio::test]
async fn long_values_come_few_at_a_time() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT, s LONGTEXT)").await;
    for id in 0..24 {
        done(s, &format!("INSERT INTO t VALUES ({id}, 1, REPEAT('{}', 1000000))", id % 10)).await;
    }
    for flushed in [false, true] {
        if flushed {
            s.state.engine.database().flush().await.unwrap();
        }
        let largest = async |s: &mut Session, sql: &str| {
            let Ok(Outcome::Rows(mut rows)) = run(s, sql).await else { panic!("{sql}: gave no rows") };
            let (mut largest, mut all) = (0, 0);
            while let Some(batch) = rows.batches.next().await {
                largest = largest.max(batch.as_ref().unwrap().num_rows());
                all += batch.unwrap().num_rows();
            }
            (largest, all)
        };
        let (rows, all) = largest(s, "SELECT UPPER(s) FROM t WHERE n + id > 0").await;
        assert!(rows <= 9 && all == 24, "{rows} of {all} rows at once");
        // A look-up by many keys is a scan of their rows, not a copy.
        let keys: Vec<String> = (0..20).map(|id| id.to_string()).collect();
        let by_keys = format!("FROM t WHERE id IN ({})", keys.join(", "));
        check(s, &format!("SELECT SUM(n), COUNT(*) {by_keys}"), "20|20").await;
        check(s, &format!("SELECT SUM(LENGTH(s)) {by_keys}"), "20000000").await;
        let (rows, all) = largest(s, &format!("SELECT s {by_keys}")).await;
        assert!(rows <= 9 && all == 20, "{rows} of {all} rows at once");
    }
    check(s, "SELECT LENGTH(CONCAT(REPEAT('x', 60000000), REPEAT('y', 60000000)))", "NULL").await;
    let warning = "Warning|1301|Result of concat() was larger than max_allowed_packet (67108864) - truncated";
    check(s, "SHOW WARNINGS", warning).await;
}

#[tokio::test]
async fn rows_in_parts() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT, s VARCHAR(10))").await;
    let values: Vec<String> = (0..1000).map(|id| format!("({id}, {}, 's{id}')", id % 10)).collect();
    done(s, &format!("INSERT INTO t VALUES {}", values.join(", "))).await;
    s.state.engine.database().flush().await.unwrap();
    check(s, "SELECT COUNT(*), SUM(n), MIN(id), MAX(s) FROM t", "1000|4500|0|s999").await;
    done(s, "DELETE FROM t WHERE n = 3").await;
    done(s, "UPDATE t SET s = 'changed' WHERE id = 500").await;
    done(s, "INSERT INTO t VALUES (5000, 1, 'new')").await;
    check(s, "SELECT COUNT(*) FROM t", "901").await;
    check(s, "SELECT s FROM t WHERE id = 500", "changed").await;
    check(s, "SELECT s FROM t WHERE id = 501", "s501").await;
    check(s, "SELECT COUNT(*) FROM t WHERE id = 503", "0").await;
    check(s, "SELECT id FROM t WHERE s IN ('s17', 'new', 's13') ORDER BY id DESC", "5000\n17").await;
    // A column that older rows do not have.
    done(s, "ALTER TABLE t ADD COLUMN extra INT NOT NULL DEFAULT 42").await;
    done(s, "UPDATE t SET extra = 1 WHERE id = 1").await;
    check(s, "SELECT extra, COUNT(*) FROM t GROUP BY extra ORDER BY extra", "1|1\n42|900").await;
    check(s, "SELECT id, extra FROM t WHERE extra = 42 ORDER BY id LIMIT 2", "0|42\n2|42").await;
    s.state.engine.database().flush().await.unwrap();
    check(s, "SELECT extra, COUNT(*) FROM t GROUP BY extra ORDER BY extra", "1|1\n42|900").await;
    check(s, "SELECT * FROM t WHERE id = 2", "2|2|s2|42").await;
}

#[tokio::test]
async fn prepared_statements() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(20), d DATETIME)").await;
    let insert = s.prepare("INSERT INTO t VALUES (?, ?, ?)").await.unwrap();
    assert_eq!((insert.parameters, insert.columns.len()), (3, 0));
    for id in 1..=3 {
        let micros = 1_767_225_600_000_000 + id * 1_000_000;
        let values = vec![
            Value::Int(id),
            Value::Bytes(format!("it's {id}").into_bytes()),
            Value::DateTime { micros, date_only: false },
        ];
        s.execute_prepared(&insert, values).await.unwrap();
    }
    let select = s.prepare("SELECT s, d FROM t WHERE id = ?").await.unwrap();
    assert_eq!(select.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["s", "d"]);
    for _ in 0..2 {
        let Outcome::Rows(rows) = s.execute_prepared(&select, vec![Value::Int(2)]).await.unwrap() else { panic!() };
        assert_eq!(text_of(rows).await.unwrap(), "it's 2|2026-01-01 00:00:02.000000");
    }
    let range = s.prepare("SELECT COUNT(*), ? FROM t WHERE id > ? AND s LIKE ? LIMIT ?").await.unwrap();
    let values =
        vec![Value::Bytes(b"x".to_vec()), Value::Bytes(b"1".to_vec()), Value::Bytes(b"it%".to_vec()), Value::Int(1)];
    let Outcome::Rows(rows) = s.execute_prepared(&range, values).await.unwrap() else { panic!() };
    assert_eq!(text_of(rows).await.unwrap(), "2|x");
    assert_eq!(s.execute_prepared(&select, Vec::new()).await.err().unwrap().code, 1210);

    done(s, "PREPARE p FROM 'SELECT s FROM t WHERE id = ?'").await;
    done(s, "SET @id = 3").await;
    check(s, "EXECUTE p USING @id", "it's 3").await;
    done(s, "DEALLOCATE PREPARE p").await;
    assert_eq!(fails(s, "EXECUTE p USING @id").await.code, 1243);
    done(s, "SELECT s, id INTO @s, @i FROM t WHERE id = 1").await;
    check(s, "SELECT @s, @i + 1, @missing", "it's 1|2|NULL").await;
}

#[tokio::test]
async fn loads_from_the_client() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(20), n INT)").await;
    let sql = "LOAD DATA LOCAL INFILE 'x.csv' INTO TABLE t FIELDS TERMINATED BY ',' ENCLOSED BY '\"' LINES TERMINATED BY '\\n' \
               IGNORE 1 LINES (a, @n) SET n = @n * 2";
    let Outcome::LocalInfile(file) = run(s, sql).await.unwrap() else { panic!("no file was asked for") };
    assert_eq!(file.file_name, "x.csv");
    for piece in ["a,n\n\"one, two\",1\nth", "ree,2\nfour,\\N\n"] {
        file.bytes.send(bytes::Bytes::from(piece)).await.unwrap();
    }
    drop(file.bytes);
    let loaded = file.done.await.unwrap().unwrap();
    assert_eq!((loaded.affected_rows, loaded.info.as_str()), (3, "Records: 3  Deleted: 0  Skipped: 0  Warnings: 0"));
    check(s, "SELECT * FROM t ORDER BY id", "1|one, two|2\n2|three|4\n3|four|NULL").await;

    // In an open transaction, the load is part of it.
    done(s, "BEGIN").await;
    let Outcome::LocalInfile(file) = run(s, "LOAD DATA LOCAL INFILE 'y' INTO TABLE t (id, a)").await.unwrap() else {
        panic!()
    };
    file.bytes.send(bytes::Bytes::from("1\ttaken\n9\tnine\n")).await.unwrap();
    drop(file.bytes);
    assert_eq!(file.done.await.unwrap().unwrap().affected_rows, 1);
    check(s, "SELECT a FROM t WHERE id IN (1, 9) ORDER BY id", "one, two\nnine").await;
    done(s, "ROLLBACK").await;
    check(s, "SELECT COUNT(*) FROM t", "3").await;
    assert_eq!(fails(s, "LOAD DATA INFILE '/etc/passwd' INTO TABLE t").await.code, 1290);
}

#[tokio::test]
async fn views_and_common_table_expressions() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    done(s, "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)").await;
    done(s, "CREATE VIEW v AS SELECT id AS Key_Id, n * 2 AS twice FROM t WHERE n > 10").await;
    check(s, "SELECT * FROM v ORDER BY key_id", "2|40\n3|60").await;
    assert_eq!(header(s, "SELECT * FROM v").await, ["Key_Id", "twice"]);
    assert_eq!(fails(s, "DELETE FROM v").await.code, 1288);
    check(s, "WITH t AS (SELECT id FROM t WHERE id > 1) SELECT COUNT(*) FROM t", "2").await;
    check(
        s,
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 4) SELECT SUM(x) FROM r",
        "10",
    )
    .await;
    check(s, "SELECT (SELECT MAX(n) FROM t AS u WHERE u.id = t.id) FROM t ORDER BY 1", "10\n20\n30").await;
    check(s, "SELECT 1 UNION SELECT 2 ORDER BY 1 DESC", "2\n1").await;
}

#[tokio::test]
async fn kill_ends_a_statement() {
    let s = &mut session().await;
    let interrupt = s.interrupt();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        interrupt.kill_query();
    });
    assert_eq!(fails(s, "SELECT SLEEP(60)").await.code, 1317);
    check(s, "SELECT SLEEP(0)", "0").await;
}

#[tokio::test]
async fn show_and_set() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    check(s, "SHOW TABLES", "t").await;
    check(s, "SHOW VARIABLES LIKE 'autocommit'", "autocommit|ON").await;
    check(s, "SHOW VARIABLES WHERE Variable_name = 'autocommit'", "autocommit|ON").await;
    check(s, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'd'", "t").await;
    done(s, "SET NAMES utf8mb4, @a = 1, @b := @a + 1, SESSION sql_mode = ''").await;
    check(s, "SELECT @a, @b, @@sql_mode", "1|2|").await;
    assert_eq!(fails(s, "SET nothing = 1").await.code, 1193);
    assert_eq!(fails(s, "SET GLOBAL version = 1").await.code, 1238);
    // Without the strict mode values are bent, and a warning says so.
    assert_eq!(done(s, "INSERT INTO t VALUES ('7x')").await.warnings, 1);
    check(s, "SELECT * FROM t", "7").await;
    done(s, "SET time_zone = '+02:00'").await;
    done(s, "CREATE TABLE ts (id INT PRIMARY KEY, at TIMESTAMP NULL)").await;
    done(s, "INSERT INTO ts VALUES (1, '2026-01-01 12:00:00')").await;
    check(s, "SELECT at FROM ts", "2026-01-01 12:00:00.000000").await;
    check(s, "SELECT at FROM ts WHERE at = '2026-01-01 12:00:00'", "2026-01-01 12:00:00.000000").await;
    done(s, "SET time_zone = 'UTC'").await;
    check(s, "SELECT at FROM ts WHERE id = 1", "2026-01-01 10:00:00.000000").await;
}

#[tokio::test]
async fn temporal_parameters_keep_their_type() {
    let mut session = session().await;
    let prepared = session.prepare("SELECT ?, ?, ?").await.unwrap();
    let parameters = vec![
        Value::DateTime { micros: 86_400_000_000, date_only: true },
        Value::DateTime { micros: 1_000_001, date_only: false },
        Value::Time(-3_600_000_000),
    ];
    let Outcome::Rows(rows) = session.execute_prepared(&prepared, parameters).await.unwrap() else { panic!("rows") };
    let kinds: Vec<ColumnKind> = rows.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [ColumnKind::Date, ColumnKind::DateTime, ColumnKind::Time]);
    assert_eq!(text_of(rows).await.unwrap(), "1970-01-02|1970-01-01 00:00:01.000001|-01:00:00");
}

#[tokio::test]
async fn a_kill_between_two_statements_of_a_text_ends_it() {
    let mut session = session().await;
    done(&mut session, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    session.interrupt().kill_query();
    session.interrupt().announce_next();
    assert_eq!(fails(&mut session, "INSERT INTO t VALUES (1)").await.code, 1317);
    check(&mut session, "SELECT COUNT(*) FROM t", "0").await;
}

#[tokio::test]
async fn rows_of_a_large_load_know_their_commit() {
    let mut session = session().await;
    done(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)").await;
    done(&mut session, "BEGIN").await;
    // Enough that they go to files that say the version once for all of their rows.
    let numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900)";
    done(&mut session, &format!("INSERT INTO t {numbers} SELECT i, REPEAT('x', 65000) FROM n")).await;
    let Ok(Outcome::Rows(explained)) = run(&mut session, "EXPLAIN SELECT id FROM t").await else { panic!("rows") };
    let explained = text_of(explained).await.unwrap();
    assert!(!explained.contains(" 0 parts"), "{explained}");
    check(&mut session, "SELECT COUNT(*), COUNT(_version) FROM t", "900|0").await;
    done(&mut session, "COMMIT").await;
    done(&mut session, "UPDATE t SET v = '' WHERE id = 7").await;
    check(&mut session, "SELECT COUNT(_version), COUNT(DISTINCT _version) FROM t", "900|2").await;
    check(&mut session, "SELECT id FROM t WHERE _version = (SELECT MAX(_version) FROM t)", "7").await;
}

/// The code and text of each warning of the last statement.
async fn warnings(session: &mut Session) -> String {
    match run(session, "SHOW WARNINGS").await.unwrap() {
        Outcome::Rows(rows) => text_of(rows).await.unwrap(),
        _ => panic!("SHOW WARNINGS gave no rows"),
    }
}

#[tokio::test]
async fn an_assignment_sees_what_those_before_it_stored() {
    let s = &mut session().await;
    done(s, "CREATE TABLE y (id INT PRIMARY KEY, a INT, b DECIMAL(5,2), c VARCHAR(3))").await;
    done(s, "INSERT INTO y VALUES (1, 0, 0, ''), (2, 0, 0, '')").await;
    assert_eq!(done(s, "UPDATE y SET a = 3.7, b = a, a = d.y.b + 1").await.affected_rows, 2);
    check(s, "SELECT a, b FROM y", "5|4.00\n5|4.00").await;
    assert_eq!(done(s, "UPDATE IGNORE y SET c = 'abcdef', a = LENGTH(c) WHERE id = 1").await.warnings, 1);
    check(s, "SELECT a, c FROM y WHERE id = 1", "3|abc").await;
    done(s, "INSERT INTO y (id) VALUES (2) ON DUPLICATE KEY UPDATE a = 1.6, b = a").await;
    check(s, "SELECT a, b FROM y WHERE id = 2", "2|2.00").await;
    // Under an alias, and with a query over the table itself, which has the old rows.
    done(s, "UPDATE y AS z SET a = 7, b = z.a + (SELECT MAX(y.a) FROM y) ORDER BY id DESC LIMIT 1").await;
    check(s, "SELECT a, b FROM y ORDER BY id", "3|4.00\n7|10.00").await;
    // Each assignment is evaluated once, however many there are.
    let many = vec!["a = a + a - a + 1"; 100].join(", ");
    done(s, &format!("UPDATE y SET {many} WHERE id = 1")).await;
    check(s, "SELECT a FROM y WHERE id = 1", "103").await;
}

#[tokio::test]
async fn last_insert_id_of_an_expression() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    done(s, "CREATE TABLE u (id INT PRIMARY KEY, m INT)").await;
    done(s, "INSERT INTO t VALUES (1, 10), (2, 20)").await;
    done(s, "INSERT INTO u VALUES (1, 5)").await;
    assert_eq!(done(s, "UPDATE t SET n = LAST_INSERT_ID(n + 1) WHERE id = 1").await.last_insert_id, 11);
    check(s, "SELECT LAST_INSERT_ID(), n FROM t WHERE id = 1", "11|11").await;
    done(s, "UPDATE t SET n = LAST_INSERT_ID(n) * 2 WHERE id = 1").await;
    check(s, "SELECT LAST_INSERT_ID(), n FROM t WHERE id = 1", "11|22").await;
    done(s, "UPDATE t JOIN u ON t.id = u.id SET t.n = 1, u.m = LAST_INSERT_ID(u.m + 70)").await;
    check(s, "SELECT LAST_INSERT_ID(), m FROM u", "75|75").await;
    let upserted =
        done(s, "INSERT INTO t VALUES (2, 0) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), n = n + 1").await;
    assert_eq!(upserted.last_insert_id, 2);
    check(s, "SELECT LAST_INSERT_ID(), n FROM t WHERE id = 2", "2|21").await;
}

#[tokio::test]
async fn on_duplicate_key_update_goes_row_by_row() {
    let s = &mut session().await;
    done(s, "CREATE TABLE x (id INT PRIMARY KEY, a INT UNIQUE, n INT)").await;
    let reset = "REPLACE INTO x VALUES (1, 1, 0), (2, 2, 0)";
    done(s, reset).await;
    // Two rows run into one, by different keys.
    let sql = "INSERT INTO x VALUES (1, 99, 0), (50, 1, 0) ON DUPLICATE KEY UPDATE n = n + 1";
    assert_eq!(done(s, sql).await.affected_rows, 4);
    check(s, "SELECT * FROM x ORDER BY id", "1|1|2\n2|2|0").await;
    // The first row gives row 2 the key that the second runs into.
    done(s, reset).await;
    let sql = "INSERT INTO x VALUES (2, 5, 0), (60, 6, 0) ON DUPLICATE KEY UPDATE a = 6, n = n + 1";
    assert_eq!(done(s, sql).await.affected_rows, 4);
    check(s, "SELECT * FROM x ORDER BY id", "1|1|0\n2|6|2").await;
    // New rows between, and a row that meets one of its own statement.
    done(s, reset).await;
    let sql = "INSERT INTO x VALUES (3, 3, 0), (1, 7, 0), (4, 4, 0), (9, 3, 0), (4, 8, 0), (1, 1, 0) \
               ON DUPLICATE KEY UPDATE n = n + 1";
    assert_eq!(done(s, sql).await.affected_rows, 2 + 4 * 2);
    check(s, "SELECT * FROM x ORDER BY id", "1|1|2\n2|2|0\n3|3|1\n4|4|1").await;
    let sql = "INSERT INTO x VALUES (3, 30, 0), (4, 40, 0), (30, 30, 0) ON DUPLICATE KEY UPDATE a = VALUES(a)";
    done(s, sql).await;
    check(s, "SELECT id, a FROM x ORDER BY id", "1|1\n2|2\n3|30\n4|40").await;
}

#[tokio::test]
async fn division_by_zero() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n DECIMAL(9,4), d INT)").await;
    done(s, "INSERT INTO t VALUES (1, 6, 2), (2, 6, 0)").await;
    for sql in [
        "INSERT INTO t (id, n) VALUES (3, 1/0)",
        "INSERT INTO t (id, n) SELECT id + 10, n / d FROM t",
        "INSERT INTO t (id) VALUES (1) ON DUPLICATE KEY UPDATE n = 5 % 0",
        "UPDATE t SET n = n / d",
        "UPDATE t SET n = n DIV 0 WHERE id = 1",
        "UPDATE t SET d = 0, n = MOD(n, d) WHERE id = 1",
    ] {
        assert_eq!(fails(s, sql).await.code, 1365, "{sql}");
    }
    // What is not evaluated does not fail.
    done(s, "UPDATE t SET n = n / d WHERE d <> 0 AND n / d > 1").await;
    done(s, "UPDATE t SET n = IF(d = 0, 8, n / d)").await;
    check(s, "SELECT id, n FROM t ORDER BY id", "1|1.5000\n2|8.0000").await;
    assert_eq!(done(s, "INSERT IGNORE INTO t (id, n) VALUES (3, 1/0)").await.warnings, 1);
    assert_eq!(warnings(s).await, "Warning|1365|Division by 0");
    check(s, "SELECT n / d FROM t WHERE id = 2", "NULL").await;
    assert_eq!(warnings(s).await, "Warning|1365|Division by 0");
    done(s, "SET sql_mode = 'STRICT_TRANS_TABLES'").await;
    assert_eq!(done(s, "INSERT INTO t (id, n) VALUES (4, 1/0)").await.warnings, 0);
    check(s, "SELECT COUNT(*) FROM t WHERE n IS NULL", "2").await;
}

#[tokio::test]
async fn functions_over_columns_know_the_session() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (n INT)").await;
    done(s, "INSERT INTO t VALUES (0)").await;
    done(s, "SET time_zone = '+02:00'").await;
    check(s, "SELECT HOUR(FROM_UNIXTIME(n)) FROM t", "2").await;
}

#[tokio::test]
async fn auto_increment_goes_on_after_an_update() {
    let s = &mut session().await;
    done(s, "CREATE TABLE ai (id INT PRIMARY KEY AUTO_INCREMENT, n INT)").await;
    done(s, "INSERT INTO ai (n) VALUES (1), (2)").await;
    done(s, "UPDATE ai SET id = 50 WHERE id = 2").await;
    assert_eq!(done(s, "INSERT INTO ai (n) VALUES (3)").await.last_insert_id, 51);
    done(s, "INSERT INTO ai (id) VALUES (1) ON DUPLICATE KEY UPDATE id = 60").await;
    assert_eq!(done(s, "INSERT INTO ai (n) VALUES (4)").await.last_insert_id, 61);
}

#[tokio::test]
async fn a_value_refers_to_those_before_it() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n INT DEFAULT 7, m DECIMAL(4,1))").await;
    done(s, "INSERT INTO t SET id = 50, n = id + 1").await;
    done(s, "INSERT INTO t (id, n) VALUES (20, id * 2), (21, 5)").await;
    done(s, "INSERT INTO t (id, m, n) VALUES (1.6, t.id + n, m)").await;
    check(s, "SELECT * FROM t ORDER BY id", "2|9|9.0\n20|40|NULL\n21|5|NULL\n50|51|NULL").await;
    assert_eq!(fails(s, "INSERT INTO t (id) VALUES (nothing)").await.code, 1054);
    done(s, "INSERT INTO t (id, n) VALUES ((SELECT MAX(id) + 1 FROM (SELECT id FROM t) AS q), 1)").await;
    check(s, "SELECT MAX(id) FROM t", "51").await;
}

#[tokio::test]
async fn warnings_say_what_was_wrong_and_where() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, n TINYINT NOT NULL, c VARCHAR(3), u INT UNIQUE)").await;
    done(s, "INSERT INTO t VALUES (1, 1, 'a', 1)").await;
    let sql = "INSERT IGNORE INTO t VALUES (2, 300, 'abcd', 2), (3, NULL, 'b', 3), (4, 'x', 'c', 1), (1, 1, 'd', 5)";
    assert_eq!(done(s, sql).await.affected_rows, 2);
    assert_eq!(
        warnings(s).await,
        "Warning|1264|Out of range value for column 'n' at row 1\n\
         Warning|1048|Column 'n' cannot be null\n\
         Warning|1366|Incorrect integer value: 'x' for column 'n' at row 3\n\
         Warning|1265|Data truncated for column 'c' at row 1\n\
         Warning|1062|Duplicate entry '1' for key 't.u'\n\
         Warning|1062|Duplicate entry '1' for key 't.PRIMARY'"
    );
}

#[tokio::test]
async fn replace_counts_and_parents() {
    let s = &mut session().await;
    done(s, "CREATE TABLE p (id INT PRIMARY KEY, n INT)").await;
    done(s, "CREATE TABLE two (id INT PRIMARY KEY, u INT UNIQUE)").await;
    assert_eq!(done(s, "REPLACE INTO p VALUES (1, 1), (1, 1), (2, NULL)").await.affected_rows, 3);
    assert_eq!(done(s, "REPLACE INTO p VALUES (1, 1), (2, NULL)").await.affected_rows, 2);
    assert_eq!(done(s, "REPLACE INTO p VALUES (1, 2)").await.affected_rows, 2);
    done(s, "INSERT INTO two VALUES (1, 1)").await;
    assert_eq!(done(s, "REPLACE INTO two VALUES (1, 1)").await.affected_rows, 2);

    done(s, "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))").await;
    done(s, "INSERT INTO c VALUES (1, 1)").await;
    assert_eq!(fails(s, "REPLACE INTO p VALUES (1, 3)").await.code, 1451);
    assert_eq!(done(s, "REPLACE INTO p VALUES (2, 3)").await.affected_rows, 2);
    check(s, "SELECT * FROM p ORDER BY id", "1|2\n2|3").await;
}

#[tokio::test]
async fn the_past_is_not_written() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (a INT PRIMARY KEY)").await;
    done(s, "CREATE TABLE u (a INT PRIMARY KEY)").await;
    let version = s.state.engine.database().now().version().0;
    let past = format!("t {{VERSION = {version}}}");
    for sql in [
        format!("UPDATE {past} SET a = 1"),
        format!("UPDATE u JOIN {past} ON u.a = t.a SET t.a = 1"),
        format!("DELETE FROM {past}"),
        format!("DELETE t FROM {past} JOIN u ON u.a = t.a"),
    ] {
        let refused = fails(s, &sql).await;
        assert_eq!(refused.code, 1792, "{sql}: {refused}");
        assert!(refused.message.contains("RESTORE TABLE"), "{refused}");
    }
    done(s, &format!("UPDATE u JOIN {past} ON u.a = t.a SET u.a = t.a")).await;
}

#[tokio::test]
async fn a_line_without_end_is_refused() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)").await;
    done(s, "SET max_allowed_packet = 4096").await;
    for (length, fits) in [(4000, true), (5000, false)] {
        let Outcome::LocalInfile(file) = run(s, "LOAD DATA LOCAL INFILE 'x' INTO TABLE t").await.unwrap() else {
            panic!("no file was asked for")
        };
        let line = format!("{length}\t{}\n", "x".repeat(length));
        for piece in line.as_bytes().chunks(7) {
            // A loader that gave up takes no more.
            let _ = file.bytes.send(bytes::Bytes::copy_from_slice(piece)).await;
        }
        drop(file.bytes);
        match file.done.await.unwrap() {
            Ok(done) => assert!(fits && done.affected_rows == 1),
            Err(error) => assert!(!fits && error.code == 1153 && error.message.contains("Row 1"), "{error:?}"),
        }
    }
    check(s, "SELECT id, LENGTH(a) FROM t", "4000|4000").await;
}

/// Every variable that can be set is read somewhere, says that it changes nothing, or is refused.
#[tokio::test]
async fn every_variable_is_heeded_noted_or_refused() {
    use crate::variables::{Access, KNOWN, Kind};
    let variables = include_str!("variables.rs");
    let readers = &variables[variables.find("pub const DEFAULT_SQL_MODE").expect("it follows the list")..];
    let readers = [readers, include_str!("set.rs")].concat();
    let mut session = session().await;
    for known in KNOWN {
        let other = match known.kind {
            Kind::Switch => u8::from(known.default != "1").to_string(),
            Kind::Number => "7".to_owned(),
            Kind::Text => "'something'".to_owned(),
        };
        let set = format!("SET {} = {other}", known.name);
        match known.access {
            Access::ReadOnly => assert_eq!(fails(&mut session, &set).await.code, 1238, "{set}"),
            Access::Fixed => assert_eq!(fails(&mut session, &set).await.code, 1235, "{set}"),
            Access::Idle => assert_eq!(done(&mut session, &set).await.warnings, 1, "{set}"),
            Access::Free => {
                assert!(readers.contains(&format!("\"{}\"", known.name)), "nothing reads '{}'", known.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contended_statements_all_succeed() {
    const CLIENTS: usize = 12;
    const EACH: usize = 40;
    let mut session = session().await;
    done(&mut session, "CREATE TABLE counter (id INT PRIMARY KEY, n INT)").await;
    done(&mut session, "INSERT INTO counter VALUES (1, 0)").await;
    let clients = (0..CLIENTS).map(|_| {
        let mut client = connect(&session.state.engine);
        tokio::spawn(async move {
            client.use_database("d").await.unwrap();
            for _ in 0..EACH {
                done(&mut client, "UPDATE counter SET n = n + 1 WHERE id = 1").await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    check(&mut session, "SELECT n FROM counter", &(CLIENTS * EACH).to_string()).await;
}

/// A transaction that never comes to its turn is told so when its time is up, not after a number of tries.
#[tokio::test]
async fn a_statement_that_always_loses_ends_when_its_time_is_up() {
    let mut session = session().await;
    done(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    done(&mut session, "INSERT INTO t VALUES (1, 0)").await;
    let table = session.state.engine.db.now().catalog().all_tables().find(|table| table.name == "t").unwrap().id;
    let held = session.state.engine.turn_of(table).lock_owned().await;
    let mut other = connect(&session.state.engine);
    let line = tokio::spawn(async move {
        other.use_database("d").await.unwrap();
        done(&mut other, "SET innodb_lock_wait_timeout = 1").await;
        let sleeping = "UPDATE t SET n = n + 1 WHERE id = 1 AND SLEEP(0.3) = 0";
        run(&mut other, sleeping).await.map(|_| ()).unwrap_err()
    });
    while !line.is_finished() {
        done(&mut session, "UPDATE t SET n = n + 1 WHERE id = 1").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let error = line.await.unwrap();
    assert_eq!((error.code, error.message.contains("innodb_lock_wait_timeout")), (1205, true), "{error:?}");
    drop(held);
}

#[tokio::test]
async fn check_table_reads_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path(), Options::default()).await.unwrap();
    let engine = Engine::open(db, engine::Options::default()).await.unwrap();
    engine.set_password("root", "").await.unwrap();
    let mut s = connect(&engine);
    done(&mut s, "CREATE DATABASE d").await;
    s.use_database("d").await.unwrap();
    done(&mut s, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))").await;
    done(&mut s, "INSERT INTO t VALUES (1, REPEAT('a', 100)), (2, REPEAT('b', 100))").await;
    engine.database().flush().await.unwrap();
    done(&mut s, "CREATE SNAPSHOT s FOR TABLE d.t").await;
    done(&mut s, "CREATE TABLE u AS SELECT 1 AS a").await;
    for how in ["", " QUICK", " FAST", " MEDIUM", " CHANGED", " EXTENDED", " FOR UPGRADE"] {
        check(&mut s, &format!("CHECK TABLE t{how}"), "d.t|check|status|OK").await;
    }
    let health = "SELECT last_files, damages FROM information_schema.strandline_health";
    check(&mut s, health, "NULL|0").await;
    let mut scrubber = strandline_core::upkeep::scrub::Scrubber::default();
    scrubber.read(engine.database(), u64::MAX).await.unwrap();
    check(&mut s, health, "2|0").await;
    let part = std::fs::read_dir(folder.path().join("parts")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let Outcome::Rows(rows) = run(&mut s, "CHECK TABLE t").await.unwrap() else { panic!("rows") };
    let text = text_of(rows).await.unwrap();
    let name = part.file_name().unwrap().to_string_lossy().into_owned();
    assert!(text.starts_with("d.t|check|Error|") && text.contains(&name), "{text}");
    assert!(text.ends_with("\nd.t|check|error|Corrupt"), "{text}");
    assert!(text.contains("It holds rows of d.t. Snapshot 's' needs it."), "{text}");
    check(&mut s, "CHECK TABLE t QUICK", "d.t|check|status|OK").await;
    check(&mut s, "CHECK TABLE u EXTENDED", "d.u|check|status|OK").await;
    check(&mut s, "SELECT * FROM u", "1").await;
    scrubber.read(engine.database(), u64::MAX).await.unwrap();
    let found = format!("parts/{name}|d.t|s");
    check(&mut s, "SELECT file, tables, snapshots FROM information_schema.strandline_damages", &found).await;
    check(&mut s, health, "2|1").await;
}

#[tokio::test]
async fn collations_that_are_not_heeded_are_told() {
    let s = &mut session().await;
    done(s, "CREATE TABLE c (a VARCHAR(9) COLLATE utf8mb4_0900_ai_ci, b TEXT COLLATE utf8mb4_bin)").await;
    let told = "Warning|1235|Collation 'utf8mb4_0900_ai_ci' of column 'a' is taken as utf8mb4_bin: text compares by its \
                bytes, so that case, accents and spaces at the end matter";
    check(s, "SHOW WARNINGS", told).await;
    assert_eq!(done(s, "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci").await.warnings, 1);
    assert_eq!(done(s, "SET collation_connection = 'utf8mb4_general_ci'").await.warnings, 1);
    assert_eq!(done(s, "SET NAMES utf8mb4 COLLATE utf8mb4_bin").await.warnings, 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_to_load_lies_in_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("load");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("in.csv"), "1\n2\n").unwrap();
    std::fs::write(root.path().join("secret.csv"), "3\n").unwrap();
    std::os::unix::fs::symlink(root.path().join("secret.csv"), folder.join("link.csv")).unwrap();
    let db = Database::in_memory(Options::default()).await.unwrap();
    let options = engine::Options { load_folder: Some(folder.clone()), ..engine::Options::default() };
    let engine = Engine::open(db, options).await.unwrap();
    engine.set_password("root", "").await.unwrap();
    let s = &mut connect(&engine);
    done(s, "CREATE DATABASE d").await;
    s.use_database("d").await.unwrap();
    done(s, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    assert_eq!(done(s, "LOAD DATA INFILE 'in.csv' INTO TABLE t").await.affected_rows, 2);
    let outside = root.path().join("secret.csv");
    for name in ["link.csv", "../secret.csv", "../none.csv", outside.to_str().unwrap()] {
        assert_eq!(fails(s, &format!("LOAD DATA INFILE '{name}' INTO TABLE t")).await.code, 1290, "{name}");
    }
    assert_eq!(fails(s, "LOAD DATA INFILE 'none.csv' INTO TABLE t").await.code, 13);
}

const HOUR: i64 = 3600 * 1_000_000;

/// A session over a store whose clock only moves when told: `2026-01-01 00:00:00 UTC`.
async fn timed_session() -> (Session, Env) {
    let env = Env::fixed(Time(1_767_225_600_000_000), 1);
    let db = Database::in_memory(Options { env: env.clone(), ..Options::default() }).await.unwrap();
    let engine = Engine::open(db, engine::Options { threads: 2, ..engine::Options::default() }).await.unwrap();
    engine.set_password("root", "").await.unwrap();
    (connect(&engine), env)
}

/// Three days ago, which is outside the default window, a policy keeps the table `some.t` and the database `whole`.
async fn outside_the_window() -> Session {
    let (mut s, env) = timed_session().await;
    for statement in [
        "CREATE DATABASE some",
        "CREATE TABLE some.t (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE some.u (id INT PRIMARY KEY, v INT)",
        "CREATE DATABASE whole",
        "CREATE TABLE whole.a (id INT PRIMARY KEY, v INT)",
        "CREATE VIEW whole.inner_view AS SELECT v FROM whole.a",
        "CREATE VIEW whole.outer_view AS SELECT v FROM some.u",
        "CREATE PITR p FOR TABLE some.t RANGE 7 'd'",
        "CREATE PITR q FOR DATABASE whole RANGE 7 'd'",
    ] {
        done(&mut s, statement).await;
    }
    for v in 1..=3 {
        for table in ["some.t", "some.u", "whole.a"] {
            done(&mut s, &format!("REPLACE INTO {table} VALUES (1, {v})")).await;
        }
        env.advance([HOUR, 71 * HOUR, 0][v - 1]);
    }
    s
}

const THEN: &str = "{TIMESTAMP = '2026-01-01 00:30:00Z'}";
const OUTSIDE: &str = "is outside the recovery window of";

async fn is_outside(s: &mut Session, sql: &str, what: &str) {
    let error = fails(s, sql).await;
    assert!(error.message.contains(&format!("{OUTSIDE} {what}")), "{sql}: {}", error.message);
}

#[tokio::test]
async fn queries_outside_the_default_window_see_what_is_kept_and_nothing_else() {
    let s = &mut outside_the_window().await;
    check(s, &format!("SELECT v FROM some.t {THEN}"), "1").await;
    check(s, &format!("SELECT v FROM some.t {THEN} WHERE id = 1"), "1").await;
    check(s, "SELECT v FROM some.t AS OF TIMESTAMP '-70 hours'", "2").await;
    is_outside(s, &format!("SELECT v FROM some.u {THEN}"), "table 'some.u'").await;
    is_outside(s, &format!("SELECT v FROM some.u {THEN} WHERE id = 1"), "table 'some.u'").await;
    // Two moments in one statement, each with what is kept of it.
    let join = |right: &str| format!("SELECT a.v, b.v FROM some.t {THEN} a JOIN {right} b ON a.id = b.id");
    check(s, &join("some.t"), "1|3").await;
    check(s, &join("some.u"), "1|3").await;
    check(s, &join(&format!("whole.a {THEN}")), "1|1").await;
    is_outside(s, &join(&format!("some.u {THEN}")), "table 'some.u'").await;
    let nested = format!("SELECT v FROM some.t WHERE v > (SELECT v FROM some.u {THEN})");
    is_outside(s, &nested, "table 'some.u'").await;
    // A view is read with all that it reads.
    check(s, &format!("SELECT v FROM whole.inner_view {THEN}"), "1").await;
    is_outside(s, &format!("SELECT v FROM whole.outer_view {THEN}"), "table 'some.u'").await;
    // Before the policies' own windows there is nothing.
    let error = fails(s, "SELECT v FROM some.t {TIMESTAMP = '2025-12-31 23:59:00Z'}").await;
    assert!(error.message.contains("before the store was created"), "{}", error.message);
}

#[tokio::test]
async fn a_session_set_outside_the_default_window_sees_what_is_kept() {
    let s = &mut outside_the_window().await;
    done(s, "SET as_of = 'time:2026-01-01 00:30:00Z'").await;
    check(s, "SELECT v FROM some.t", "1").await;
    check(s, "SELECT v FROM whole.outer_view {TIMESTAMP = '-1 hour'}", "2").await;
    is_outside(s, "SELECT v FROM some.u", "table 'some.u'").await;
    is_outside(s, "SHOW COLUMNS FROM some.u", "table 'some.u'").await;
    is_outside(s, "SHOW TABLES FROM some", "database 'some'").await;
    check(s, "SHOW TABLES FROM whole", "a\ninner_view\nouter_view").await;
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema IN ('some', 'whole') ORDER BY 1";
    check(s, tables, "a\ninner_view\nouter_view\nt").await;
    done(s, "SET as_of = ''").await;
    check(s, "SHOW TABLES FROM some", "t\nu").await;
    is_outside(s, &format!("SHOW TABLES FROM some {THEN}"), "database 'some'").await;
}

#[tokio::test]
async fn what_is_made_of_a_moment_outside_the_default_window_is_what_is_kept() {
    let s = &mut outside_the_window().await;
    done(s, &format!("CREATE TABLE some.copy CLONE some.t {THEN}")).await;
    check(s, "SELECT v FROM some.copy", "1").await;
    is_outside(s, &format!("CREATE TABLE some.other CLONE some.u {THEN}"), "table 'some.u'").await;
    is_outside(s, &format!("CREATE DATABASE again CLONE some {THEN}"), "database 'some'").await;
    done(s, &format!("CREATE DATABASE again CLONE whole {THEN}")).await;
    check(s, "SELECT v FROM again.inner_view", "1").await;

    let diff = |table: &str| format!("DIFF TABLE {table} FROM TIMESTAMP '2026-01-01 00:30:00Z' TO NOW");
    check(s, &diff("some.t"), "update_before|1|1\nupdate_after|1|3").await;
    is_outside(s, &diff("some.u"), "table 'some.u'").await;

    let take =
        |name: &str, scope: &str| format!("CREATE SNAPSHOT {name} FOR {scope} AT TIMESTAMP '2026-01-01 00:30:00Z'");
    is_outside(s, &take("s", "DATABASE some"), "database 'some'").await;
    is_outside(s, &take("s", "CLUSTER"), "the cluster").await;
    done(s, &take("s", "TABLE some.t")).await;
    done(s, "DROP PITR p").await;
    check(s, "SELECT v FROM some.t {SNAPSHOT = 's'}", "1").await;
    // A snapshot of just that version keeps it for whoever names the time.
    check(s, &format!("SELECT v FROM some.t {THEN}"), "1").await;
    done(s, "DROP SNAPSHOT s").await;
    is_outside(s, &format!("SELECT v FROM some.t {THEN}"), "table 'some.t'").await;

    let restore = |scope: &str| format!("RESTORE {scope} FROM TIMESTAMP '2026-01-01 00:30:00Z'");
    is_outside(s, &restore("DATABASE some TABLE u"), "table 'some.u'").await;
    run(s, &restore("DATABASE whole")).await.unwrap();
    check(s, "SELECT v FROM whole.a", "1").await;
}

#[tokio::test]
async fn a_schedule_that_does_not_run_is_late() {
    let (mut s, env) = timed_session().await;
    let s = &mut s;
    done(s, "CREATE SCHEDULE h FOR CLUSTER CRON '0 * * * *'").await;
    let states = "SHOW SCHEDULES WHERE state = 'late'";
    env.advance(HOUR);
    check(s, states, "").await;
    env.advance(2 * 60 * 1_000_000);
    let Ok(Outcome::Rows(rows)) = run(s, states).await else { panic!("rows") };
    assert!(text_of(rows).await.unwrap().starts_with("h|cluster|"));
    done(s, "ALTER SCHEDULE h PAUSE").await;
    check(s, states, "").await;
}

#[tokio::test]
async fn a_compressed_snapshot_that_is_killed_is_not_there() {
    let s = &mut session().await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    done(s, "INSERT INTO t VALUES (1)").await;
    s.interrupt().announce();
    s.interrupt().kill_query();
    let error = fails(s, "CREATE SNAPSHOT s FOR DATABASE d COMPRESSION").await;
    assert_eq!((error.code, error.sqlstate), (1317, "70100"));
    assert_eq!(error.message, "Query execution was interrupted");
    check(s, "SELECT COUNT(*) FROM mo_catalog.mo_snapshots", "0").await;
    check(s, "SHOW JOBS WHERE state = 'running'", "").await;
    done(s, "CREATE SNAPSHOT s FOR DATABASE d COMPRESSION").await;
    check(s, "SELECT COUNT(*) FROM t {SNAPSHOT = 's'}", "1").await;
    let Outcome::Rows(jobs) = run(s, "SHOW JOBS").await.unwrap() else { panic!("SHOW JOBS gives rows") };
    let jobs = text_of(jobs).await.unwrap();
    assert!(jobs.contains("|compressed snapshot|s|done|100"), "{jobs}");
}
