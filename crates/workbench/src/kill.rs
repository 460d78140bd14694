//! Kills a server with SIGKILL in the middle of a concurrent load, opens the store again, and compares.
//!
//! Each writer inserts transactions of several rows into two tables under numbers of its own, and remembers what was
//! acknowledged. After the kill: every acknowledged transaction is there whole, every other one whole or not at all,
//! and every snapshot that was acknowledged reads what it read when it was taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use strandline_workbench::process::{Result, Server};

const WRITERS: u64 = 8;

/// Rows per transaction in each of the two tables.
const ROWS: u64 = 3;

/// What must still be true after the crash.
#[derive(Default)]
struct Ledger {
    /// Per writer, how many of its transactions were acknowledged. They are numbered from 1.
    acknowledged: BTreeMap<u64, u64>,
    /// Per snapshot, the number of rows that it held when it was taken.
    snapshots: BTreeMap<String, u64>,
}

pub async fn run(rounds: u32, seed: u64) -> Result<()> {
    println!("kill: {rounds} rounds, seed {seed}; again with `cargo xtask kill {rounds} {seed}`");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("store");
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for round in 1..=rounds {
        let server = Server::strandline(&data).await?;
        let problems = if round == 1 {
            prepare(&server).await?;
            Vec::new()
        } else {
            check(&server, &ledger).await?
        };
        let opened = start.elapsed();
        let alive = Duration::from_millis(random.random_range(50..1500));
        load(server, &mut ledger, round, alive).await?;
        let total: u64 = ledger.acknowledged.values().sum();
        let report = format!("{total} transactions acknowledged, {} snapshots", ledger.snapshots.len());
        println!("round {round:>3} at {:>6.1} s: {report}", opened.as_secs_f64());
        if round > 1 {
            verdict(round - 1, &problems, &mut passed, &mut failed);
        }
        if failed > 0 {
            // What is lost stays lost: later rounds would only repeat it.
            break;
        }
    }
    if failed == 0 {
        let server = Server::strandline(&data).await?;
        let problems = check(&server, &ledger).await?;
        verdict(rounds, &problems, &mut passed, &mut failed);
        server.stop()?;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; seed {seed}");
    if failed == 0 { Ok(()) } else { Err("an acknowledged commit or a snapshot did not survive".into()) }
}

fn verdict(round: u32, problems: &[String], passed: &mut u32, failed: &mut u32) {
    if problems.is_empty() {
        *passed += 1;
    } else {
        *failed += 1;
        problems.iter().for_each(|problem| println!("round {round}: {problem}"));
    }
}

async fn prepare(server: &Server) -> Result<()> {
    let mut conn = server.connect(None).await?;
    conn.query_drop("CREATE DATABASE d").await?;
    for table in ["a", "b"] {
        conn.query_drop(format!(
            "CREATE TABLE d.{table} (writer BIGINT, txn BIGINT, line BIGINT, text VARCHAR(100), PRIMARY KEY (writer, txn, line))"
        ))
        .await?;
    }
    Ok(conn.disconnect().await?)
}

/// Lets writers and a snapshot taker work for `alive`, then kills the server under them.
async fn load(server: Server, ledger: &mut Ledger, round: u32, alive: Duration) -> Result<()> {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        // Each round has writers of its own: what a crash left in doubt is never written again.
        let key = u64::from(round) * WRITERS + writer;
        let done = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write(server.opts(Some("d")), key, done.clone()));
        writers.push((key, done, task));
    }
    let taker = tokio::spawn(take_snapshots(server.opts(Some("d")), round));
    tokio::time::sleep(alive).await;
    server.kill()?;
    for (key, done, task) in writers {
        // It ends with an error when the server is gone.
        let _ = task.await?;
        ledger.acknowledged.insert(key, done.load(Ordering::SeqCst));
    }
    ledger.snapshots.extend(taker.await?);
    Ok(())
}

/// Inserts transactions until the connection breaks; `done` counts those that were acknowledged.
async fn write(opts: Opts, writer: u64, done: Arc<AtomicU64>) -> Result<()> {
    let mut conn = Conn::new(opts).await?;
    loop {
        let txn = done.load(Ordering::SeqCst) + 1;
        conn.query_drop("BEGIN").await?;
        for table in ["a", "b"] {
            let rows: Vec<String> =
                (0..ROWS).map(|line| format!("({writer}, {txn}, {line}, 'written by {writer} in {txn}')")).collect();
            conn.query_drop(format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await?;
        }
        conn.query_drop("COMMIT").await?;
        done.store(txn, Ordering::SeqCst);
    }
}

/// Takes snapshots until the connection breaks. Returns those that were acknowledged and read.
async fn take_snapshots(opts: Opts, round: u32) -> BTreeMap<String, u64> {
    let mut taken = BTreeMap::new();
    let work = async {
        let mut conn = Conn::new(opts).await?;
        for number in 1.. {
            let name = format!("s_{round}_{number}");
            conn.query_drop(format!("CREATE SNAPSHOT {name} FOR DATABASE d")).await?;
            let rows = conn.query_first(format!("SELECT COUNT(*) FROM a {{SNAPSHOT = '{name}'}}")).await?;
            taken.insert(name, rows.unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<(), mysql_async::Error>(())
    };
    // It always ends with an error: the server is gone.
    let _ = work.await;
    taken
}

/// Returns what is not as it must be.
async fn check(server: &Server, ledger: &Ledger) -> Result<Vec<String>> {
    let mut conn = server.connect(Some("d")).await?;
    let mut problems = Vec::new();
    let mut found: BTreeMap<(u64, u64), [u64; 2]> = BTreeMap::new();
    for (at, table) in ["a", "b"].into_iter().enumerate() {
        let rows: Vec<(u64, u64, u64)> =
            conn.query(format!("SELECT writer, txn, COUNT(*) FROM {table} GROUP BY writer, txn")).await?;
        for (writer, txn, count) in rows {
            found.entry((writer, txn)).or_default()[at] = count;
        }
    }
    for ((writer, txn), counts) in &found {
        if counts != &[ROWS, ROWS] {
            problems.push(format!("transaction {txn} of writer {writer} is half there: {counts:?} rows"));
        }
        // One more than acknowledged may be there: the answer was lost, not the commit.
        if *txn > ledger.acknowledged.get(writer).copied().unwrap_or(0) + 1 {
            problems.push(format!("transaction {txn} of writer {writer} was never sent"));
        }
    }
    for (writer, last) in &ledger.acknowledged {
        problems.extend(
            (1..=*last)
                .filter(|txn| !found.contains_key(&(*writer, *txn)))
                .map(|txn| format!("transaction {txn} of writer {writer} was acknowledged and is lost")),
        );
    }
    for (name, rows) in &ledger.snapshots {
        let now: Option<u64> = conn.query_first(format!("SELECT COUNT(*) FROM a {{SNAPSHOT = '{name}'}}")).await?;
        if now != Some(*rows) {
            problems.push(format!("snapshot {name} held {rows} rows and now {now:?}"));
        }
    }
    conn.disconnect().await?;
    Ok(problems)
}
