//! An hour of steady updates: what reading costs meanwhile, and what the store takes on the disk.
//!
//! ```text
//!   worn       four writers, a paced mix of updates, inserts and deletes  ─┐
//!   unthinned  the same, but every manifest of the window is kept         ─┼─► every few minutes, writers paused:
//!   fresh      the same rows, loaded once, untouched                      ─┘   the same reads on all, in turns
//! ```
//! The servers run side by side, so that a slow minute of the machine is one for all of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use strandline_workbench::process::{Result, Server};

use super::{folder_bytes, loading, make_table, median, timed};

const ROWS: u64 = 1_000_000;
const WRITERS: u64 = 4;
/// Over all writers of one server.
const COMMITS_PER_SECOND: u64 = 200;
/// How many times each reading is taken.
const TIMES: usize = 11;
/// How many rows are read by key for one reading.
const POINTS: u64 = 200;

const SCAN: &str = "SELECT COUNT(*), SUM(a), MAX(s) FROM bench.t";

/// A server that is written to, or not.
struct Subject {
    name: &'static str,
    server: Server,
    conn: Conn,
    commits: Arc<AtomicU64>,
}

/// What the same read takes on each server.
struct Readings {
    scan: Vec<Duration>,
    before: Vec<Duration>,
    point: Vec<Duration>,
}

pub async fn run() -> Result<()> {
    let minutes: u64 = std::env::var("STRANDLINE_MINUTES").map_or(Ok(60), |text| text.parse())?;
    let every = Duration::from_secs(if minutes < 30 { 60 } else { 300 });
    println!("{ROWS} rows, {COMMITS_PER_SECOND} commits/s for {minutes} minutes; STRANDLINE_MINUTES says for how long");
    let before = every * 4 / 5;
    println!("scan, point read and scan of {before:?} ago: as a multiple of the freshly loaded table's\n");
    let folder = tempfile::tempdir()?;
    let mut subjects = Vec::new();
    for (name, arguments) in [("fresh", &[][..]), ("worn", &[]), ("unthinned", &["--keep-all-manifests"])] {
        let data = folder.path().join(name).join("store");
        std::fs::create_dir_all(folder.path().join(name))?;
        let server = Server::strandline_with(&data, arguments).await?;
        let mut conn = loading(&server, folder.path()).await?;
        make_table(&mut conn, folder.path(), ROWS).await?;
        subjects.push(Subject { name, server, conn, commits: Arc::default() });
    }
    let (paused, over) = (Arc::new(RwLock::new(())), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for (n, subject) in subjects.iter().enumerate().skip(1) {
        for writer in 0..WRITERS {
            let conn = subject.server.connect(Some("bench")).await?;
            let (paused, over, commits) = (paused.clone(), over.clone(), subject.commits.clone());
            writers.spawn(writing(conn, n as u64 * 100 + writer, writer, paused, over, commits));
        }
    }
    println!(
        "{:>6} {:<10} {:>9} {:>6} {:>6} {:>6} {:>10} {:>10} {:>10} {:>6} {:>9}",
        "minute", "", "commits", "scan", "point", "then", "metastore", "segments", "files", "count", "memory"
    );
    let start = Instant::now();
    let mut next = every;
    while next <= Duration::from_secs(minutes * 60) {
        tokio::time::sleep_until((start + next).into()).await;
        if let Some(ended) = writers.try_join_next() {
            return ended?.and(Err("a writer ended".into()));
        }
        let _no_writes = paused.write().await;
        report(start.elapsed(), before, &mut subjects).await?;
        next += every;
    }
    over.store(true, Ordering::SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    for subject in subjects {
        subject.conn.disconnect().await?;
        subject.server.stop()?;
    }
    Ok(())
}

async fn report(at: Duration, before: Duration, subjects: &mut [Subject]) -> Result<()> {
    let scan_before = format!("{SCAN} {{AS OF TIMESTAMP '-{} seconds'}}", before.as_secs());
    let mut readings: Vec<Readings> = Vec::new();
    readings.resize_with(subjects.len(), || Readings { scan: Vec::new(), before: Vec::new(), point: Vec::new() });
    for turn in 0..TIMES {
        for (subject, readings) in subjects.iter_mut().zip(&mut readings) {
            readings.scan.push(timed(&mut subject.conn, SCAN).await?);
            readings.point.push(points(&mut subject.conn, turn as u64).await?);
            // The first one builds what the others find in memory; the median is of a moment that is looked at more than once.
            readings.before.push(timed(&mut subject.conn, &scan_before).await?);
        }
    }
    let medians = |readings: Readings| [readings.scan, readings.point, readings.before].map(median);
    let medians: Vec<[Duration; 3]> = readings.into_iter().map(medians).collect();
    let fresh = medians[0];
    for (subject, own) in subjects.iter().zip(&medians) {
        let times = |n: usize| own[n].as_secs_f64() / fresh[n].as_secs_f64();
        let size = Size::of(&subject.server.data)?;
        println!(
            "{:>6} {:<10} {:>9} {:>6.2} {:>6.2} {:>6.2} {:>7} MB {:>7} MB {:>7} MB {:>6} {:>6} MB",
            at.as_secs() / 60,
            subject.name,
            subject.commits.load(Ordering::Relaxed),
            times(0),
            times(1),
            own[2].as_secs_f64() / fresh[0].as_secs_f64(),
            size.metastore / 1_000_000,
            size.segments / 1_000_000,
            size.files / 1_000_000,
            size.count,
            subject.server.peak_memory_bytes()? / 1_000_000,
        );
    }
    Ok(())
}

/// Reads rows by key; returns how long all of them took.
async fn points(conn: &mut Conn, seed: u64) -> Result<Duration> {
    let statement = conn.prep("SELECT a, d, s FROM bench.t WHERE id = ?").await?;
    let mut random = StdRng::seed_from_u64(seed);
    let start = Instant::now();
    for _ in 0..POINTS {
        // Some rows are gone meanwhile.
        let _row: Option<(i64, f64, String)> = conn.exec_first(&statement, (random.random_range(1..=ROWS),)).await?;
    }
    Ok(start.elapsed())
}

/// Commits at a steady pace until it is over.
async fn writing(
    mut conn: Conn,
    seed: u64,
    writer: u64,
    paused: Arc<RwLock<()>>,
    over: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 * WRITERS / COMMITS_PER_SECOND));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut inserted = 0;
    while !over.load(Ordering::SeqCst) {
        pace.tick().await;
        let _may_write = paused.read().await;
        let id = random.random_range(1..=ROWS);
        let sql = match random.random_range(0..100) {
            0..70 => format!("UPDATE t SET a = a + 1 WHERE id = {id}"),
            70..82 => {
                inserted += 1;
                let id = ROWS + inserted * WRITERS + writer;
                format!("INSERT INTO t VALUES ({id}, {id}, 0.5, 'word-of-its-own')")
            }
            82..94 => format!("DELETE FROM t WHERE id = {id}"),
            _ => format!("UPDATE t SET d = d + 1 WHERE id BETWEEN {id} AND {}", id + 99),
        };
        match conn.query_drop(sql).await {
            Ok(()) => commits.fetch_add(1, Ordering::Relaxed),
            // Another writer was first: the row is written another time.
            Err(mysql_async::Error::Server(error)) if error.code == 1213 => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(conn.disconnect().await?)
}

/// What a store takes on the disk, in bytes.
struct Size {
    metastore: u64,
    segments: u64,
    files: u64,
    /// How many files.
    count: usize,
}

impl Size {
    fn of(store: &Path) -> Result<Size> {
        let mut metastore = 0;
        for name in ["metastore.db", "metastore.db-wal"] {
            metastore += std::fs::metadata(store.join(name)).map_or(0, |meta| meta.len());
        }
        let folder = |name: &str| if store.join(name).is_dir() { folder_bytes(&store.join(name)) } else { Ok(0) };
        let (mut files, mut count) = (0, 0);
        for name in ["parts", "deletes", "manifests"] {
            files += folder(name)?;
            count += std::fs::read_dir(store.join(name)).map_or(0, Iterator::count);
        }
        Ok(Size { metastore, segments: folder("segments")?, files, count })
    }
}
