//! Kills a server with SIGKILL in the middle of a concurrent load, opens the store again, and compares.
//!
//! Each writer inserts transactions of several rows into two tables under numbers of its own, and remembers what was
//! acknowledged. After the kill: every acknowledged transaction is there whole, every other one whole or not at all,
//! and every snapshot that was acknowledged reads what it read when it was taken.
//!
//! A round that showed nothing is no round that passed: some transaction and some snapshot must have been acknowledged,
//! and a writer ends with its connection, never with an error of the server. Before the rounds a store is made worse in
//! every way that [`Lie`] lists, and each must be noticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as ClientError, Opts};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::process::{Result, Server};

const WRITERS: u64 = 8;

/// Rows per transaction in each of the two tables.
const ROWS: u64 = 3;

/// How long a round may take until something was acknowledged.
const SOMETHING_WITHIN: Duration = Duration::from_secs(60);

/// What is done to a store after the first round, so that the comparison or the second must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The server lets nobody write.
    ReadOnly,
    /// An acknowledged transaction is not there.
    LostTransaction,
    /// One table has a transaction, and the other has not.
    HalfTransaction,
    /// A row says something else.
    OtherText,
    /// A snapshot is not there.
    LostSnapshot,
    /// A snapshot shows another time.
    OtherSnapshot,
}

impl Lie {
    pub const ALL: &[Lie] = &[
        Lie::ReadOnly,
        Lie::LostTransaction,
        Lie::HalfTransaction,
        Lie::OtherText,
        Lie::LostSnapshot,
        Lie::OtherSnapshot,
    ];

    /// Returns the statements that make the store worse.
    fn statements(self, ledger: &Ledger) -> Result<Vec<String>> {
        let (writer, _) = ledger.acknowledged.iter().find(|(_, last)| **last > 0).ok_or("nothing was acknowledged")?;
        let (snapshot, _) = ledger.snapshots.first_key_value().ok_or("no snapshot was acknowledged")?;
        let one = format!("WHERE writer = {writer} AND txn = 1");
        Ok(match self {
            Lie::ReadOnly => vec!["SET GLOBAL transaction_read_only = 1".into()],
            Lie::LostTransaction => vec![format!("DELETE FROM a {one}"), format!("DELETE FROM b {one}")],
            Lie::HalfTransaction => vec![format!("DELETE FROM b {one}")],
            Lie::OtherText => vec![format!("UPDATE b SET text = 'something else' {one} AND line = 1")],
            Lie::LostSnapshot => vec![format!("DROP SNAPSHOT {snapshot}")],
            Lie::OtherSnapshot => vec![
                format!("DROP SNAPSHOT {snapshot}"),
                format!("DELETE FROM a {one}"),
                format!("CREATE SNAPSHOT {snapshot} FOR DATABASE d"),
            ],
        })
    }

    /// Returns the words by which its finding is known: another one would be found for another reason.
    fn finding(self) -> &'static str {
        match self {
            Lie::ReadOnly => "ended with an error of the server",
            Lie::LostTransaction => "was acknowledged and is lost",
            Lie::HalfTransaction => "is half there",
            Lie::OtherText => "says something else",
            Lie::LostSnapshot | Lie::OtherSnapshot => "snapshot ",
        }
    }
}

/// What must still be true after the crash.
#[derive(Default)]
struct Ledger {
    /// Per writer, how many of its transactions were acknowledged. They are numbered from 1.
    acknowledged: BTreeMap<u64, u64>,
    /// Per snapshot, what it showed when it was taken; nothing where the crash came before that was read.
    snapshots: BTreeMap<String, Option<Shown>>,
}

/// What the two tables show, one after the other: how many rows, and a sum over all that stands in them.
type Shown = [(u64, u64); 2];

/// Catches every lie, then makes so many rounds.
pub async fn run(rounds: u32, seed: u64) -> Result<()> {
    println!("kill: {rounds} rounds, seed {seed}; again with `cargo xtask kill {rounds} {seed}`");
    let caught = lies(seed).await?;
    println!("lies: caught {caught} of {}", Lie::ALL.len());
    let (passed, problems) = play(rounds, seed, None).await?;
    let failed = u32::from(!problems.is_empty()) + u32::from(caught < Lie::ALL.len());
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; seed {seed}");
    if failed == 0 {
        Ok(())
    } else {
        Err("something that was acknowledged did not survive, or the rig is blind".into())
    }
}

/// Tells every lie in a run of its own, and returns how many were caught.
pub async fn lies(seed: u64) -> Result<usize> {
    let mut caught = 0;
    for lie in Lie::ALL {
        let (_, problems) = play(2, seed, Some(*lie)).await?;
        let found = problems.iter().find(|problem| problem.contains(lie.finding()));
        println!("{lie:?}: {}", found.map_or("NOT CAUGHT", String::as_str));
        caught += usize::from(found.is_some());
    }
    Ok(caught)
}

/// Makes rounds until one fails: what is lost stays lost, later ones would only repeat it. Returns how many passed, and
/// what was not as it must be.
pub async fn play(rounds: u32, seed: u64, lie: Option<Lie>) -> Result<(u32, Vec<String>)> {
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("store");
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let mut server = Server::strandline(&data).await?;
    prepare(&server).await?;
    for round in 1..=rounds {
        let began = start.elapsed();
        let alive = Duration::from_millis(random.random_range(50..1500));
        let mut problems = load(server, &mut ledger, round, alive).await?;
        // What the crash left is compared, and written to in the next round.
        server = Server::strandline(&data).await?;
        if let Some(lie) = lie.filter(|_| round == 1) {
            tell(&server, lie, &ledger).await?;
        }
        problems.extend(check(&server, &ledger).await?);
        if lie.is_none() {
            let total: u64 = ledger.acknowledged.values().sum();
            let report = format!("{total} transactions acknowledged, {} snapshots", ledger.snapshots.len());
            println!("round {round:>3} at {:>6.1} s: {report}", began.as_secs_f64());
            problems.iter().for_each(|problem| println!("round {round}: {problem}"));
        }
        if !problems.is_empty() {
            return Ok((round - 1, problems));
        }
    }
    server.stop()?;
    Ok((rounds, Vec::new()))
}

async fn tell(server: &Server, lie: Lie, ledger: &Ledger) -> Result<()> {
    let mut conn = server.connect(Some("d")).await?;
    for statement in lie.statements(ledger)? {
        conn.query_drop(statement).await?;
    }
    Ok(conn.disconnect().await?)
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

/// Lets writers and a snapshot taker work for `alive`, and until something was acknowledged to both, then kills the server
/// under them. Returns what should not have been.
async fn load(server: Server, ledger: &mut Ledger, round: u32, alive: Duration) -> Result<Vec<String>> {
    let begun = Instant::now();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        // Each round has writers of its own: what a crash left in doubt is never written again.
        let key = u64::from(round) * WRITERS + writer;
        let done = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write(server.opts(Some("d")), key, done.clone()));
        writers.push((key, done, task));
    }
    let taken = Arc::new(AtomicU64::new(0));
    let taker = tokio::spawn(take_snapshots(server.opts(Some("d")), round, taken.clone()));
    tokio::time::sleep(alive).await;
    let written = |done: &AtomicU64| done.load(Ordering::SeqCst) > 0;
    let is_shown = || written(&taken) && writers.iter().any(|(_, done, _)| written(done));
    let is_over = || taker.is_finished() || writers.iter().all(|(.., task)| task.is_finished());
    while !is_shown() && !is_over() && begun.elapsed() < SOMETHING_WITHIN {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill()?;
    let mut problems = Vec::new();
    let mut acknowledged = 0;
    for (key, done, task) in writers {
        problems.extend(unless_lost(&format!("writer {key}"), task.await?));
        acknowledged += done.load(Ordering::SeqCst);
        ledger.acknowledged.insert(key, done.load(Ordering::SeqCst));
    }
    let (snapshots, end) = taker.await?;
    problems.extend(unless_lost("the taker of snapshots", end));
    if acknowledged == 0 || snapshots.is_empty() {
        let (count, took) = (snapshots.len(), begun.elapsed());
        problems.push(format!("{acknowledged} transactions and {count} snapshots were acknowledged in {took:?}"));
    }
    ledger.snapshots.extend(snapshots);
    Ok(problems)
}

/// Returns a problem unless somebody's work ended because the connection did.
fn unless_lost(who: &str, end: ClientError) -> Option<String> {
    match end {
        ClientError::Io(_) | ClientError::Driver(mysql_async::DriverError::ConnectionClosed) => None,
        ClientError::Server(error) => Some(format!("{who} ended with an error of the server: {error}")),
        other => Some(format!("{who} ended otherwise than by a lost connection: {other}")),
    }
}

/// Inserts transactions until something breaks, and returns what; `done` counts those that were acknowledged.
async fn write(opts: Opts, writer: u64, done: Arc<AtomicU64>) -> ClientError {
    let work = async {
        let mut conn = Conn::new(opts).await?;
        for txn in 1.. {
            conn.query_drop("BEGIN").await?;
            for table in ["a", "b"] {
                let rows: Vec<String> =
                    (0..ROWS).map(|line| format!("({writer}, {txn}, {line}, '{}')", text(writer, txn))).collect();
                conn.query_drop(format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await?;
            }
            conn.query_drop("COMMIT").await?;
            done.store(txn, Ordering::SeqCst);
        }
        Ok(())
    };
    work.await.map_or_else(|error| error, |()| ClientError::Other("it has no end of its own".into()))
}

/// What stands in the rows of a transaction.
fn text(writer: u64, txn: u64) -> String {
    format!("written by {writer} in {txn}")
}

/// Takes snapshots until something breaks, and returns what. `count` counts those that were acknowledged and read.
async fn take_snapshots(
    opts: Opts,
    round: u32,
    count: Arc<AtomicU64>,
) -> (BTreeMap<String, Option<Shown>>, ClientError) {
    let mut taken = BTreeMap::new();
    let work = async {
        let mut conn = Conn::new(opts).await?;
        for number in 1.. {
            let name = format!("s_{round}_{number}");
            conn.query_drop(format!("CREATE SNAPSHOT {name} FOR DATABASE d")).await?;
            taken.insert(name.clone(), None);
            taken.insert(name.clone(), Some(shown(&mut conn, &name).await?));
            count.store(number, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    let end = work.await.map_or_else(|error| error, |()| ClientError::Other("it has no end of its own".into()));
    (taken, end)
}

/// Returns what a snapshot shows of both tables.
async fn shown(conn: &mut Conn, snapshot: &str) -> Result<Shown, ClientError> {
    let mut shown = [(0, 0); 2];
    for (at, table) in ["a", "b"].into_iter().enumerate() {
        let sum = "CAST(COALESCE(SUM(CRC32(CONCAT_WS('/', writer, txn, line, text))), 0) AS UNSIGNED)";
        let sql = format!("SELECT COUNT(*), {sum} FROM {table} {{SNAPSHOT = '{snapshot}'}}");
        shown[at] = conn.query_first(sql).await?.unwrap_or_default();
    }
    Ok(shown)
}

/// Returns what is not as it must be.
async fn check(server: &Server, ledger: &Ledger) -> Result<Vec<String>> {
    let mut conn = server.connect(Some("d")).await?;
    let mut problems = Vec::new();
    let mut found: BTreeMap<(u64, u64), [u64; 2]> = BTreeMap::new();
    for (at, table) in ["a", "b"].into_iter().enumerate() {
        let sql = format!("SELECT writer, txn, COUNT(*), MIN(text), MAX(text) FROM {table} GROUP BY writer, txn");
        let rows: Vec<(u64, u64, u64, String, String)> = conn.query(sql).await?;
        for (writer, txn, count, least, greatest) in rows {
            found.entry((writer, txn)).or_default()[at] = count;
            if [&least, &greatest].into_iter().any(|said| *said != text(writer, txn)) {
                problems
                    .push(format!("transaction {txn} of writer {writer} says something else: '{least}', '{greatest}'"));
            }
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
    for (name, then) in &ledger.snapshots {
        match (shown(&mut conn, name).await, then) {
            (Ok(now), Some(then)) if now != *then => {
                problems.push(format!("snapshot {name} showed {then:?} and now {now:?}"));
            }
            // Every transaction writes the same rows to both tables.
            (Ok([a, b]), _) if a != b => {
                problems.push(format!("snapshot {name} shows half a transaction: {a:?}, {b:?}"))
            }
            (Ok(_), _) => {}
            (Err(ClientError::Server(error)), _) => problems.push(format!("snapshot {name}: {error}")),
            (Err(error), _) => return Err(error.into()),
        }
    }
    conn.disconnect().await?;
    Ok(problems)
}
