//! Ten thousand snapshots: what they cost while they stand, and what it takes to be rid of them.

use std::time::Instant;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use strandline_workbench::process::{Result, Server};

use super::{loading, make_table, median, millis, timed};

const SNAPSHOTS: u64 = 10_000;
/// A flush lies between so many snapshots, so that they hold files of their own.
const PER_FLUSH: u64 = 100;
const ROWS: u64 = 100_000;
const TIMES: usize = 21;

const SCAN: &str = "SELECT COUNT(*), SUM(a), MAX(s) FROM bench.t";
const WRITE: &str = "UPDATE bench.t SET a = a + 1 WHERE id = 5";

pub async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::strandline(&folder.path().join("store")).await?;
    let mut conn = loading(&server, folder.path()).await?;
    let conn = &mut conn;
    make_table(conn, folder.path(), ROWS).await?;
    // Before and after, what is scanned is one part.
    conn.query_drop("OPTIMIZE TABLE bench.t").await?;
    let before = costs(conn).await?;
    let mut took = Vec::new();
    for n in 0..SNAPSHOTS {
        if n % PER_FLUSH == 0 {
            let from = n / PER_FLUSH * 900 + 1;
            conn.query_drop(format!("UPDATE bench.t SET a = a + 1 WHERE id BETWEEN {from} AND {}", from + 899)).await?;
            conn.query_drop("OPTIMIZE TABLE bench.t").await?;
        }
        took.push(timed(conn, &format!("CREATE SNAPSHOT s{n} FOR DATABASE bench")).await?);
    }
    conn.query_drop("OPTIMIZE TABLE bench.t").await?;
    let last: Vec<_> = took.split_off(took.len() - TIMES);
    took.truncate(TIMES);
    println!("CREATE SNAPSHOT, the first {TIMES} and the last: {} and {}", millis(median(took)), millis(median(last)));
    let after = costs(conn).await?;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        println!("{name}, without any and with {SNAPSHOTS}: {} and {}", millis(*before), millis(*after));
    }
    println!("SHOW SNAPSHOTS: {}", millis(timed(conn, "SHOW SNAPSHOTS").await?));
    println!("SHOW SNAPSHOTS LIKE 's77': {}", millis(timed(conn, "SHOW SNAPSHOTS LIKE 's77'").await?));
    let end = Instant::now();
    conn.query_drop("CREATE SNAPSHOT last FOR DATABASE bench").await?;
    conn.query_drop("DROP SNAPSHOTS OLDER THAN SNAPSHOT last FOR DATABASE bench").await?;
    println!("DROP SNAPSHOTS of all of them: {}", millis(end.elapsed()));
    println!("COLLECT GARBAGE after it: {}", millis(timed(conn, "COLLECT GARBAGE").await?));
    server.stop()
}

async fn costs(conn: &mut Conn) -> Result<Vec<(&'static str, std::time::Duration)>> {
    let mut all = Vec::new();
    for (name, sql) in [("a scan", SCAN), ("a write", WRITE)] {
        let mut took = Vec::new();
        for _ in 0..TIMES {
            took.push(timed(conn, sql).await?);
        }
        all.push((name, median(took)));
    }
    Ok(all)
}
