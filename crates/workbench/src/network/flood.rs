//! Many connections: silent ones, slow ones, ones that come and go, and as many as are allowed.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as ClientError, OptsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::raw::{Raw, answer, error_code, frame};
use super::{Guest, Held, Visits, until};
use crate::process::{Result, Server};

/// What one connection that has not logged in may cost the server.
const STRANGER_BYTES_MAX: u64 = 64 << 10;
/// How long a server waits for a login, and what a loaded machine may add.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
const LATE_MAX: Duration = Duration::from_secs(5);

/// What is logged of a login that failed, whatever its name is.
const LOGGED_BYTES_MAX: usize = 1000;
/// What wrong logins may leave in the memory of the server, all together: it remembers some thousands of guessers.
const GUESSERS_BYTES_MAX: u64 = 16 << 20;
/// As many characters has the longest name that is looked at, and this is the longest that the packet has room for.
const NAME_CHARS: usize = 255;
const LONG_NAME_BYTES: usize = (16 << 10) - 100;

/// How much of each flood.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub silent: usize,
    pub slow: usize,
    pub sessions: usize,
    pub storm: Duration,
    /// Wrong logins with names as long as a packet, and as many with the longest name that is looked at.
    pub guesses: usize,
}

/// What the test run takes.
pub const SHORT: Size = Size { silent: 1500, slow: 200, sessions: 60, storm: Duration::from_secs(2), guesses: 4000 };
/// What `cargo xtask flood` takes.
pub const LONG: Size =
    Size { silent: 10_000, slow: 5000, sessions: 2000, storm: Duration::from_secs(600), guesses: 50_000 };

/// Makes all floods, one after the other, on a server of its own, and prints what was seen.
pub async fn run(size: Size) -> Result<()> {
    // Not more than this process may open itself.
    let files = own_files()?;
    let size = Size { silent: size.silent.min(files / 4), slow: size.slow.min(files / 8), ..size };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("store");
    let server = start(&data, size.sessions).await?;
    // What is made at the first use is no leak.
    warm_up(&server, 20).await?;
    let before = Held::by(&server)?;
    let patience = Guest::patience(&server).await?;
    println!("flood: before {before:?}; others must be served within {patience:?}");

    let guest = Guest::of(&server);
    let (silent, slow) = tokio::join!(strangers(&server, size.silent), slow_ones(&server, size.slow));
    let (open, held) = silent?;
    slow?;
    report("silent and slow", guest.leave().await?, patience)?;
    let each = held.resident_bytes.saturating_sub(before.resident_bytes) / open.max(1) as u64;
    println!("flood: {} silent and {} slow sockets, {open} open at once, {each} bytes each", size.silent, size.slow);
    if each > STRANGER_BYTES_MAX {
        return Err(format!("a connection that has not logged in costs {each} bytes").into());
    }

    let guest = Guest::of(&server);
    let count = storm(&server, size.storm).await?;
    report("storm", guest.leave().await?, patience)?;
    println!("flood: {count} connections came and went in {:?}", size.storm);

    let guest = Guest::of(&server);
    wrong_logins(&server, size.guesses).await?;
    report("wrong logins", guest.leave().await?, patience)?;

    full_house(&server, size.sessions, patience).await?;

    let left = |held: Held| held.files > before.files + 8 || held.threads > before.threads + 4;
    until("everything is closed again", LOGIN_WITHIN + LATE_MAX, || Ok(!left(Held::by(&server)?))).await?;
    println!("flood: after {:?}", Held::by(&server)?);
    let log = server.log()?;
    if log.contains("panicked") || log.contains("ERROR") {
        return Err(format!("the server's log speaks of an error:\n{log}").into());
    }
    server.stop()
}

/// Opens more silent sockets than the server may have files: others are let in all the same, and the store goes on writing.
pub async fn few_files() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::strandline_with_files(&folder.path().join("store"), 400).await?;
    let patience = Guest::patience(&server).await?;
    let mut silent = Vec::new();
    for _ in 0..900_usize.min(own_files()? / 2) {
        silent.push(Raw::connect(server.port).await?);
    }
    let mut slowest = Duration::ZERO;
    for at in 0..5 {
        let begun = Instant::now();
        let mut conn = server.connect(None).await?;
        conn.query_drop("CREATE DATABASE IF NOT EXISTS d").await?;
        conn.query_drop(format!("CREATE TABLE d.t{at} (a INT PRIMARY KEY)")).await?;
        conn.query_drop(format!("INSERT INTO d.t{at} VALUES (1)")).await?;
        conn.query_drop(format!("OPTIMIZE TABLE d.t{at}")).await?;
        conn.disconnect().await?;
        slowest = slowest.max(begun.elapsed());
    }
    println!("flood: {} silent sockets for 400 files, the slowest of five writers took {slowest:?}", silent.len());
    if slowest > patience * 3 || server.log()?.contains("cannot accept") {
        return Err(format!("the files do not suffice: {slowest:?}\n{}", server.log()?).into());
    }
    drop(silent);
    server.stop()
}

/// Starts a server for so many sessions, with a user for them.
pub async fn start(data: &Path, sessions: usize) -> Result<Server> {
    let server = Server::strandline_with(data, &["--max-connections", &sessions.to_string()]).await?;
    let mut conn = server.connect(None).await?;
    conn.query_drop("CREATE USER many IDENTIFIED BY 'one-of-many'").await?;
    conn.disconnect().await?;
    Ok(server)
}

/// Returns how many files this process may open.
fn own_files() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of files in /proc")?;
    Ok(line.split_whitespace().next().ok_or("no limit of files in /proc")?.parse()?)
}

fn report(name: &str, visits: Visits, patience: Duration) -> Result<()> {
    println!("flood {name}: {} visits of others, the slowest took {:?}", visits.count, visits.slowest);
    if visits.count < 3 || visits.slowest > patience {
        return Err(format!("{name}: others are not served: {visits:?}").into());
    }
    Ok(())
}

async fn warm_up(server: &Server, count: usize) -> Result<()> {
    let all = (0..count).map(|_| server.connect(None));
    for conn in futures::future::try_join_all(all).await? {
        conn.disconnect().await?;
    }
    Ok(())
}

/// Opens connections that never say a word, and waits until the server has closed each. Returns how many were open at once, and
/// what the server held then.
async fn strangers(server: &Server, count: usize) -> Result<(usize, Held)> {
    let begun = Instant::now();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(Raw::connect(server.port).await?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = Held::by(server)?;
    let open = held.files;
    let mut last = Duration::ZERO;
    let rest = LOGIN_WITHIN + LATE_MAX + begun.elapsed();
    for mut raw in all {
        let mut sink = Vec::new();
        let closed = timeout(rest.saturating_sub(begun.elapsed()), raw.stream.read_to_end(&mut sink)).await;
        // An end is an end, whether in order or not.
        let _ = closed.map_err(|_| "a silent connection is not closed")?;
        last = last.max(begun.elapsed());
    }
    println!("flood: the last silent connection was closed {last:?} after the first came");
    Ok((open, held))
}

/// Opens connections that send a login byte by byte, slower than the server waits.
async fn slow_ones(server: &Server, count: usize) -> Result<()> {
    let login = frame(1, &answer("root", "caching_sha2_password", &[7; 32]));
    let pause = LOGIN_WITHIN * 3 / login.len() as u32;
    let one = async || -> Result<Duration> {
        let begun = Instant::now();
        let raw = Raw::connect(server.port).await?;
        let (mut reader, mut writer) = raw.stream.into_split();
        let write = async {
            for byte in &login {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(pause).await;
            }
            std::future::pending::<()>().await;
        };
        let mut sink = Vec::new();
        tokio::select! {
            () = write => {}
            _ = timeout(LOGIN_WITHIN * 2 + LATE_MAX, reader.read_to_end(&mut sink)) => {}
        }
        Ok(begun.elapsed())
    };
    let took = futures::future::try_join_all((0..count).map(|_| one())).await?;
    match took.into_iter().max() {
        Some(longest) if longest > LOGIN_WITHIN + LATE_MAX => {
            Err(format!("a slow login went on for {longest:?}").into())
        }
        _ => Ok(()),
    }
}

/// Connects and disconnects, as fast as the machine can. Returns how often.
async fn storm(server: &Server, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let one = async || -> Result<u64> {
        let mut count = 0;
        while Instant::now() < end {
            let mut raw = Raw::connect(server.port).await?;
            // Some leave before the greeting, some after, some in the middle of their answer.
            if count % 3 > 0 {
                let _ = raw.read().await?;
            }
            if count % 3 > 1 {
                let _ = raw.stream.write_all(&[5, 0, 0]).await;
            }
            count += 1;
        }
        Ok(count)
    };
    let all = futures::future::try_join_all((0..16).map(|_| one())).await?;
    Ok(all.into_iter().sum())
}

/// Logs in wrongly, under a new name each time. Neither the memory of the server nor its log may grow with the names.
async fn wrong_logins(server: &Server, count: usize) -> Result<()> {
    // What the first ones make is no leak.
    guess(server, "warm", NAME_CHARS, 200).await?;
    let (held, logged) = (Held::by(server)?, server.log()?.len());
    let begun = Instant::now();
    guess(server, "long", LONG_NAME_BYTES, count).await?;
    guess(server, "short", NAME_CHARS, count).await?;
    let took = begun.elapsed();
    let kept = Held::by(server)?.resident_bytes.saturating_sub(held.resident_bytes);
    let each = server.log()?.len().saturating_sub(logged) / (2 * count);
    println!(
        "flood: {} wrong logins in {took:?}, half of them with names of {LONG_NAME_BYTES} bytes: {} KiB are kept, {each} bytes \
         logged of each",
        2 * count,
        kept >> 10
    );
    if kept > GUESSERS_BYTES_MAX {
        return Err(format!("{kept} bytes are kept of {} wrong logins", 2 * count).into());
    }
    if each > LOGGED_BYTES_MAX {
        return Err(format!("{each} bytes are logged of each wrong login").into());
    }
    Ok(())
}

/// Each name begins with its number, and is filled with what a log would write in more letters.
async fn guess(server: &Server, kind: &str, length: usize, count: usize) -> Result<()> {
    let one = async |at: usize| -> Result<()> {
        let mut raw = Raw::connect(server.port).await?;
        raw.greeting().await?;
        let name = format!("{kind}{at:08}");
        let name = format!("{name}{}", "\u{1}".repeat(length - name.len()));
        raw.write(&answer(&name, "mysql_native_password", &[7; 20])).await;
        match raw.read().await?.as_deref().and_then(error_code) {
            Some(1045 | 1470) => Ok(()),
            other => Err(format!("a wrong login ends with {other:?}").into()),
        }
    };
    let mut all = futures::stream::iter((0..count).map(one)).buffer_unordered(16);
    while let Some(ended) = all.next().await {
        ended?;
    }
    Ok(())
}

/// Fills the server: whoever comes then hears error 1040, but root finds a place.
async fn full_house(server: &Server, sessions: usize, patience: Duration) -> Result<()> {
    let many: mysql_async::Opts =
        OptsBuilder::from_opts(server.opts(None)).user(Some("many")).pass(Some("one-of-many")).into();
    let mut inside = Vec::with_capacity(sessions);
    while inside.len() < sessions {
        let more = (sessions - inside.len()).min(50);
        inside.extend(futures::future::try_join_all((0..more).map(|_| Conn::new(many.clone()))).await?);
    }
    match Conn::new(many.clone()).await {
        Err(ClientError::Server(error)) if error.code == 1040 => {}
        other => return Err(format!("one too many: {:?}", other.map(|_| "is let in")).into()),
    }
    let begun = Instant::now();
    let mut root = server.connect(None).await?;
    let listed: Vec<mysql_async::Row> = root.query("SHOW PROCESSLIST").await?;
    if listed.len() <= sessions || begun.elapsed() > patience {
        return Err(format!("root sees {} connections after {:?}", listed.len(), begun.elapsed()).into());
    }
    // And the place is root's alone, as long as root is there.
    match Conn::new(many.clone()).await {
        Err(ClientError::Server(error)) if error.code == 1040 => {}
        other => return Err(format!("beside root: {:?}", other.map(|_| "is let in")).into()),
    }
    let begun = Instant::now();
    for conn in &mut inside {
        let one: Option<i64> = conn.query_first("SELECT 1").await?;
        if one != Some(1) {
            return Err("a session of many does not answer".into());
        }
    }
    println!("flood: {sessions} sessions and root at once, all answered in {:?}", begun.elapsed());
    for conn in inside {
        conn.disconnect().await?;
    }
    root.disconnect().await?;
    let begun = Instant::now();
    loop {
        match Conn::new(many.clone()).await {
            Ok(conn) => return Ok(conn.disconnect().await?),
            Err(ClientError::Server(error)) if error.code == 1040 && begun.elapsed() < Duration::from_secs(5) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(format!("after all have left: {error}").into()),
        }
    }
}
