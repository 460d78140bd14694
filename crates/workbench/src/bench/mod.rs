//! Benches from outside: a running server, beside MariaDB on the same machine in the same run where it makes sense.
//!
//! Each prints medians, so that one slow disk flush does not speak for all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, try_join_all};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, WhiteListFsHandler};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use strandline_workbench::process::{Result, Server};

mod many;
mod steady;

struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn() -> BoxFuture<'static, Result<()>>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "history",
        about: "CREATE SNAPSHOT, RESTORE TABLE, CLONE DATABASE at 10 thousand and 10 million rows; now against then",
        run: || history().boxed(),
    },
    Bench {
        name: "load",
        about: "LOAD DATA of 5 million rows and peak memory, beside MariaDB",
        run: || load().boxed(),
    },
    Bench {
        name: "point",
        about: "INSERT of one row and SELECT by key over 1 and 8 connections, beside MariaDB",
        run: || point().boxed(),
    },
    Bench { name: "open", about: "time to open after kill -9 with 100 MB of rows in the log", run: || open().boxed() },
    Bench {
        name: "snapshots",
        about: "10 thousand snapshots: what they cost, and how quickly they and what they held are gone",
        run: || many::run().boxed(),
    },
    Bench {
        name: "steady",
        about: "an hour of steady updates: reads beside a freshly loaded table's, and bytes on the disk",
        run: || steady::run().boxed(),
    },
];

/// How often each thing is measured for its median.
const TIMES: usize = 21;

pub async fn run(arguments: &[&str]) -> Result<()> {
    let Some(name) = arguments.first() else {
        for bench in BENCHES {
            println!("  {:<10} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    let bench = BENCHES.iter().find(|bench| bench.name == *name);
    let bench = bench.ok_or_else(|| format!("no bench '{name}'; `cargo xtask bench` lists them"))?;
    println!("{}: {}\n", bench.name, bench.about);
    (bench.run)().await
}

async fn history() -> Result<()> {
    println!("{:<34} {:>14} {:>14}", "median", "10 thousand", "10 million");
    let mut columns: Vec<Vec<(&str, Duration)>> = Vec::new();
    for rows in [10_000, 10_000_000] {
        columns.push(history_at(rows).await?);
    }
    for ((name, small), (_, large)) in columns[0].iter().zip(&columns[1]) {
        println!("{name:<34} {:>14} {:>14}", millis(*small), millis(*large));
    }
    Ok(())
}

async fn history_at(rows: u64) -> Result<Vec<(&'static str, Duration)>> {
    let folder = tempfile::tempdir()?;
    let server = Server::strandline(&folder.path().join("store")).await?;
    let mut conn = loading(&server, folder.path()).await?;
    let conn = &mut conn;
    make_table(conn, folder.path(), rows).await?;
    conn.query_drop("CREATE SNAPSHOT base FOR TABLE bench.t").await?;

    let mut snapshot = Vec::new();
    let mut restore = Vec::new();
    let mut clone = Vec::new();
    for n in 0..TIMES {
        snapshot.push(timed(conn, &format!("CREATE SNAPSHOT s{n} FOR DATABASE bench")).await?);
        conn.query_drop(format!("UPDATE bench.t SET a = a + 1 WHERE id = {}", n + 1)).await?;
        restore.push(timed(conn, "RESTORE TABLE bench.t FROM SNAPSHOT base").await?);
        clone.push(timed(conn, &format!("CREATE DATABASE clone{n} CLONE bench")).await?);
    }
    let query = |table: &str| format!("SELECT COUNT(*), SUM(a), MAX(s) FROM {table}");
    let (mut now, mut then) = (Vec::new(), Vec::new());
    conn.query_drop(query("bench.t")).await?;
    for _ in 0..TIMES {
        now.push(timed(conn, &query("bench.t")).await?);
        then.push(timed(conn, &query("bench.t {SNAPSHOT = 'base'}")).await?);
    }
    server.stop()?;
    Ok(vec![
        ("CREATE SNAPSHOT", median(snapshot)),
        ("RESTORE TABLE in place", median(restore)),
        ("CLONE DATABASE", median(clone)),
        ("SELECT now", median(now)),
        ("the same at a snapshot", median(then)),
    ])
}

async fn load() -> Result<()> {
    const ROWS: u64 = 5_000_000;
    println!("{:<12} {:>12} {:>14} {:>14}", "", "seconds", "rows/s", "peak memory");
    for name in ["strandline", "mariadb"] {
        let folder = tempfile::tempdir()?;
        let server = start(name, &folder).await?;
        let mut conn = loading(&server, folder.path()).await?;
        let took = make_table(&mut conn, folder.path(), ROWS).await?;
        let memory = server.peak_memory_bytes()? >> 20;
        println!("{name:<12} {:>12.2} {:>14.0} {memory:>10} MiB", took.as_secs_f64(), ROWS as f64 / took.as_secs_f64());
        server.stop()?;
    }
    Ok(())
}

async fn point() -> Result<()> {
    const ROWS: u64 = 100_000;
    const SECONDS: u64 = 5;
    println!("{:<12} {:>11} {:>16} {:>16} {:>14}", "", "connections", "INSERTs/s", "SELECTs/s", "median SELECT");
    for name in ["strandline", "mariadb"] {
        let folder = tempfile::tempdir()?;
        let server = start(name, &folder).await?;
        let mut conn = loading(&server, folder.path()).await?;
        make_table(&mut conn, folder.path(), ROWS).await?;
        for connections in [1, 8] {
            let span = Duration::from_secs(SECONDS);
            let inserts = try_join_all((0..connections).map(|n| {
                // Far from each other and from the loaded rows.
                let first = (connections * 100 + n + 1) * 1_000_000_000;
                inserting(&server, first, span)
            }))
            .await?;
            let selects = try_join_all((0..connections).map(|n| selecting(&server, n, ROWS, span))).await?;
            let inserted: u64 = inserts.iter().sum();
            let selected: usize = selects.iter().map(Vec::len).sum();
            println!(
                "{name:<12} {connections:>11} {:>16.0} {:>16.0} {:>14}",
                inserted as f64 / SECONDS as f64,
                selected as f64 / SECONDS as f64,
                millis(median(selects.concat())),
            );
        }
        server.stop()?;
    }
    Ok(())
}

/// Inserts single rows, each a commit of its own, and returns how many.
async fn inserting(server: &Server, first: u64, span: Duration) -> Result<u64> {
    let mut conn = server.connect(Some("bench")).await?;
    let statement = conn.prep("INSERT INTO t VALUES (?, ?, ?, ?)").await?;
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < span {
        conn.exec_drop(&statement, (first + done, done, 0.5, "a row of its own")).await?;
        done += 1;
    }
    conn.disconnect().await?;
    Ok(done)
}

/// Selects single rows by key and returns how long each took.
async fn selecting(server: &Server, seed: u64, rows: u64, span: Duration) -> Result<Vec<Duration>> {
    let mut conn = server.connect(Some("bench")).await?;
    let statement = conn.prep("SELECT a, d, s FROM t WHERE id = ?").await?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut took = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        let id = random.random_range(1..=rows);
        let one = Instant::now();
        let row: Option<(i64, f64, String)> = conn.exec_first(&statement, (id,)).await?;
        took.push(one.elapsed());
        if row.is_none() {
            return Err(format!("row {id} is missing").into());
        }
    }
    conn.disconnect().await?;
    Ok(took)
}

async fn open() -> Result<()> {
    const BYTES: u64 = 100 << 20;
    const BATCH: u64 = 500;
    const WIDTH: usize = 1000;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("store");
    let server = Server::strandline(&data).await?;
    let mut conn = server.connect(None).await?;
    conn.query_drop("CREATE DATABASE bench").await?;
    conn.query_drop("CREATE TABLE bench.t (id BIGINT PRIMARY KEY, s VARCHAR(2000))").await?;
    let mut random = StdRng::seed_from_u64(1);
    let (mut rows, mut bytes) = (0, 0);
    while bytes < BYTES {
        let values: Vec<String> = (0..BATCH)
            .map(|n| {
                let text: String = (0..WIDTH / 8).map(|_| format!("{:08x}", random.random::<u32>())).collect();
                format!("({}, '{text}')", rows + n)
            })
            .collect();
        conn.query_drop(format!("INSERT INTO bench.t VALUES {}", values.join(","))).await?;
        rows += BATCH;
        bytes += BATCH * WIDTH as u64;
    }
    server.kill()?;
    let mut took = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let server = Server::strandline(&data).await?;
        let mut conn = server.connect(Some("bench")).await?;
        let count: Option<u64> = conn.query_first("SELECT COUNT(*) FROM t").await?;
        took.push(start.elapsed());
        if count != Some(rows) {
            return Err(format!("{rows} rows were acknowledged, {count:?} are there").into());
        }
        server.kill()?;
    }
    let size: u64 = folder_bytes(&data)?;
    println!("{rows} rows, {} MB; the store takes {} MB", bytes >> 20, size >> 20);
    println!("process start to the first answer (median of 5): {}", millis(median(took)));
    Ok(())
}

async fn start(name: &str, folder: &TempDir) -> Result<Server> {
    let data = folder.path().join("data");
    if name == "mariadb" { Server::mariadb(&data).await } else { Server::strandline(&data).await }
}

/// Returns a connection that may load the bench's file.
async fn loading(server: &Server, folder: &Path) -> Result<Conn> {
    let handler = WhiteListFsHandler::new([folder.join("rows.csv")]);
    let opts = OptsBuilder::from_opts(server.opts(None)).local_infile_handler(Some(handler));
    Ok(Conn::new(opts).await?)
}

/// Makes `bench.t` with `rows` rows by LOAD DATA, and returns how long the load took.
async fn make_table(conn: &mut Conn, folder: &Path, rows: u64) -> Result<Duration> {
    let path = folder.join("rows.csv");
    let mut random = StdRng::seed_from_u64(rows);
    let mut file = BufWriter::new(File::create(&path)?);
    for id in 1..=rows {
        let a: i32 = random.random();
        let word: u64 = random.random();
        writeln!(file, "{id},{a},{}.25,word-{word:016x}", a / 1000)?;
    }
    file.into_inner()?.sync_all()?;
    conn.query_drop("CREATE DATABASE bench").await?;
    conn.query_drop("CREATE TABLE bench.t (id BIGINT PRIMARY KEY, a BIGINT, d DOUBLE, s VARCHAR(40))").await?;
    let sql = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE bench.t FIELDS TERMINATED BY ','", path.display());
    let took = timed(conn, &sql).await?;
    std::fs::remove_file(&path)?;
    let count: Option<u64> = conn.query_first("SELECT COUNT(*) FROM bench.t").await?;
    if count != Some(rows) {
        return Err(format!("{rows} rows were loaded, {count:?} are there").into());
    }
    Ok(took)
}

async fn timed(conn: &mut Conn, sql: &str) -> Result<Duration> {
    let start = Instant::now();
    conn.query_drop(sql).await?;
    Ok(start.elapsed())
}

/// # Panics
/// If there is nothing to take the median of.
fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn millis(took: Duration) -> String {
    format!("{:.3} ms", took.as_secs_f64() * 1e3)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
