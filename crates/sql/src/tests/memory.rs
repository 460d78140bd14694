//! What statements take is counted before it is too much.

use super::*;

/// A table of 20,000 rows of some 200 bytes, in an engine that could not hold them five times over.
async fn session_with_rows() -> Session {
    let mut session = session_with(16 << 20).await;
    let s = &mut session;
    done(s, "CREATE DATABASE d").await;
    done(s, "USE d").await;
    done(s, "CREATE TABLE digits (n INT PRIMARY KEY)").await;
    done(s, "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)").await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, v INT, s TEXT)").await;
    for from in [0, 10_000] {
        let id = format!("{from} + a.n + b.n * 10 + c.n * 100 + e.n * 1000");
        let rows = format!("SELECT {id}, 1, REPEAT('x', 200) FROM digits a, digits b, digits c, digits e");
        done(s, &format!("INSERT INTO t {rows}")).await;
    }
    // What both moments have in their files is not compared.
    run(s, "OPTIMIZE TABLE t").await.unwrap();
    session
}

async fn version(s: &Session) -> u64 {
    s.state.engine.database().now().version().0
}

#[tokio::test]
async fn what_is_compared_is_counted_and_what_is_restored_takes_nothing() {
    let s = &mut session_with_rows().await;
    let full = version(s).await;
    done(s, "UPDATE t SET v = 2 WHERE id < 100").await;
    let updated = version(s).await;
    check(s, &format!("DIFF TABLE t FROM VERSION {full} TO NOW OUTPUT COUNT"), "100").await;
    let rows = format!("DIFF TABLE t FROM VERSION {full} TO NOW OUTPUT LIMIT 3");
    let Ok(Outcome::Rows(rows)) = run(s, &rows).await else { panic!("no rows") };
    let shown = text_of(rows).await.unwrap().replace(&"x".repeat(200), "…");
    assert_eq!(shown, "update_before|0|1|…\nupdate_after|0|2|…\nupdate_before|1|1|…");
    done(s, "DELETE FROM t").await;
    let deleted = version(s).await;
    // Nothing came since: the table would get back the content that it had.
    check(s, &format!("EXPLAIN UNDO VERSION {deleted}"), "restore|d|t|0|20000").await;
    done(s, "INSERT INTO t VALUES (40000, 1, 'y')").await;
    let diff = format!("DIFF TABLE t FROM VERSION {updated} TO NOW OUTPUT COUNT");
    for sql in [diff, format!("EXPLAIN UNDO VERSION {deleted}"), format!("UNDO VERSION {deleted}")] {
        let error = fails(s, &sql).await;
        assert_eq!(error.code, 1038, "{sql}: {error:?}");
        assert!(error.message.contains("RESTORE TABLE"), "{error:?}");
    }
    check(s, "SELECT COUNT(*) FROM t", "1").await;
    run(s, &format!("RESTORE TABLE d.t FROM VERSION {updated}")).await.unwrap();
    check(s, "SELECT COUNT(*), SUM(v) FROM t", "20000|20100").await;
    // Nothing is still counted of what was refused.
    done(s, "INSERT INTO t SELECT id + 20000, v, s FROM t WHERE id < 10000").await;
    done(s, "DELETE FROM t WHERE id < 20000").await;
    let deleted = version(s).await;
    run(s, &format!("UNDO VERSION {deleted}")).await.unwrap();
    check(s, "SELECT COUNT(*), SUM(v) FROM t", "30000|30200").await;
}

#[tokio::test]
async fn a_long_difference_comes_whole() {
    let s = &mut session().await;
    done(s, "CREATE TABLE digits (n INT PRIMARY KEY)").await;
    done(s, "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)").await;
    done(s, "CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    let id = "a.n + b.n * 10 + c.n * 100 + e.n * 1000";
    done(s, &format!("INSERT INTO t SELECT {id}, 1 FROM digits a, digits b, digits c, digits e")).await;
    let before = version(s).await;
    done(s, "UPDATE t SET v = v + 1 WHERE id >= 20").await;
    done(s, "DELETE FROM t WHERE id < 10").await;
    done(s, "INSERT INTO t VALUES (10000, 7)").await;
    let Ok(Outcome::Rows(rows)) = run(s, &format!("DIFF TABLE t FROM VERSION {before} TO NOW")).await else {
        panic!("no rows")
    };
    let text = text_of(rows).await.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 10 + 2 * 9980);
    assert_eq!(lines[..2], ["insert|10000|7", "delete|0|1"]);
    // The last of an update stands behind the border of two batches.
    for (at, id) in (20..10_000).enumerate() {
        assert_eq!(lines[11 + 2 * at], format!("update_before|{id}|1"));
        assert_eq!(lines[12 + 2 * at], format!("update_after|{id}|2"));
    }
}

/// A filter over columns that were doubled so many times, each time by the name of the last.
fn doubled(times: usize) -> String {
    let all = (1..=times).map(|n| format!("c{n} AS (SELECT a + a AS a FROM c{})", n - 1));
    let all = all.collect::<Vec<_>>().join(", ");
    format!("WITH c0 AS (SELECT n AS a FROM d.t), {all} SELECT COUNT(*) FROM c{times} WHERE a > 5")
}

#[tokio::test]
async fn expressions_that_double_are_refused_before_they_are_written_out() {
    let s = &mut session_with(64 << 20).await;
    done(s, "CREATE DATABASE d").await;
    done(s, "CREATE TABLE d.t (n INT PRIMARY KEY)").await;
    done(s, "INSERT INTO d.t VALUES (0), (1)").await;
    check(s, &doubled(8), "1").await;
    // Room for half a million terms is more than there is, and a million is too much for any memory.
    assert_eq!(fails(s, &doubled(18)).await.code, 1038);
    for sql in [doubled(20), doubled(60), format!("EXPLAIN {}", doubled(60)), format!("SET @a = ({})", doubled(60))] {
        assert_eq!(fails(s, &sql).await.code, 1436, "{sql}");
    }
    // In a view, in a subquery, through a join and a union.
    done(s, &format!("CREATE VIEW d.v AS {}", doubled(60).replace("COUNT(*)", "a"))).await;
    for sql in [
        "SELECT COUNT(*) FROM d.v".to_owned(),
        format!("SELECT 1 FROM d.t WHERE n IN ({})", doubled(60)),
        format!("SELECT 1 FROM d.t x JOIN ({}) y ON x.n = y.a", doubled(60).replace("COUNT(*)", "a")),
        format!("{} UNION ALL SELECT 1", doubled(60)),
    ] {
        assert_eq!(fails(s, &sql).await.code, 1436, "{sql}");
    }
    check(s, "SELECT COUNT(*) FROM d.t", "2").await;
}

#[tokio::test]
async fn the_same_columns_twice_are_refused_before_they_are_written_out() {
    let s = &mut session_with(16 << 20).await;
    done(s, "CREATE DATABASE d").await;
    let columns = (0..500).map(|n| format!("c{n} INT")).collect::<Vec<_>>().join(", ");
    done(s, &format!("CREATE TABLE d.t ({columns})")).await;
    for (stars, from) in [("*", "d.t a JOIN d.t b USING (c0)"), ("a.*", "d.t a"), ("A.*", "d.t a")] {
        let sql = format!("SELECT {} FROM {from}", [stars].repeat(4000).join(", "));
        assert_eq!(fails(s, &sql).await.code, 1235, "{stars}");
    }
    let Ok(Outcome::Rows(rows)) = run(s, "SELECT a.*, b.* FROM d.t a JOIN d.t b ON a.c0 = b.c0").await else {
        panic!("no rows")
    };
    assert_eq!(rows.columns.len(), 1000);
}
