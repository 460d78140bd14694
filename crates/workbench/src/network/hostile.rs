//! A recorded session with every byte of it changed, and what no client would send.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Guest;
use super::raw::{Raw, SSL, answer, error_code, frame};
use crate::process::{Result, Server};

/// How long a session may take whose client has said all and hung up.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 8;

/// Plays the sessions on a server of its own: each byte changed in a few ways, then changes at random for as long as `time`.
pub async fn run(time: Duration, seed: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("store")).await?;
    // Without optimisation a long statement takes some twenty times as long to read, and both cores may be at it.
    let patience = Guest::patience(&server).await? * if cfg!(debug_assertions) { 6 } else { 1 };
    let guest = Guest::of(&server);
    let good = session().concat();
    let mut inputs = vec![good.clone()];
    for at in 0..good.len() {
        inputs.push(good[..at].to_vec());
        for change in [|byte: u8| byte ^ 0xFF, |byte: u8| byte ^ 1, |byte: u8| byte.wrapping_add(1), |_| 0xFE, |_| 0] {
            let mut input = good.clone();
            input[at] = change(input[at]);
            inputs.push(input);
        }
    }
    let oddities = oddities();
    let each = inputs.len() + oddities.len();
    play(&server, inputs).await?;
    for oddity in oddities {
        play_one(&server, oddity).await?;
    }

    let (begun, mut random, mut count) = (Instant::now(), StdRng::seed_from_u64(seed), each);
    while begun.elapsed() < time {
        let inputs: Vec<Vec<u8>> = (0..256).map(|_| mutated(&mut random)).collect();
        count += inputs.len();
        play(&server, inputs).await?;
    }
    let visits = guest.leave().await?;
    println!(
        "hostile: {count} sessions ({each} of them by rule, seed {seed}), {} visits of others, the slowest {:?}",
        visits.count, visits.slowest
    );
    let log = server.log()?;
    if log.contains("panicked") || log.contains("BUG") {
        return Err(format!("the server's log speaks of a fault:\n{log}").into());
    }
    if visits.slowest > patience {
        return Err(format!("others are not served: {visits:?}").into());
    }
    server.stop()
}

async fn start(data: &Path) -> Result<Server> {
    let server = Server::strandline(data).await?;
    let mut conn = server.connect(None).await?;
    for sql in [
        "CREATE DATABASE d",
        "CREATE TABLE d.t (a INT PRIMARY KEY, bb VARCHAR(20))",
        "INSERT INTO d.t VALUES (1, 'one'), (2, NULL)",
        "CREATE USER open",
        "GRANT SELECT, INSERT, DELETE ON d.* TO open",
    ] {
        conn.query_drop(sql).await?;
    }
    conn.disconnect().await?;
    Ok(server)
}

/// A session with one of each command, as the client's bytes.
fn session() -> Vec<Vec<u8>> {
    let command = |bytes: &[u8]| frame(0, bytes);
    vec![
        frame(1, &answer("open", "mysql_native_password", b"")),
        command(b"\x02d"),
        command(b"\x03SELECT a, bb FROM t WHERE a = 1; SELECT 2"),
        command(b"\x03INSERT INTO t VALUES (3, 'x'), (4, NULL)"),
        command(b"\x03DELETE FROM t WHERE a > 2"),
        command(b"\x16SELECT a, ?, ? FROM t WHERE a = ?"),
        command(b"\x18\x01\0\0\0\0\0piece"),
        command(b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xFD\0\x0C\0\x08\0\x04\xB2\x07\x01\x02\x01\0\0\0\0\0\0\0"),
        command(b"\x1A\x01\0\0\0"),
        command(b"\x1C\x01\0\0\0\x01\0\0\0"),
        command(b"\x19\x01\0\0\0"),
        command(b"\x04t\0%b_"),
        command(b"\x09"),
        command(b"\x0A"),
        command(b"\x0C\xFF\xFF\xFF\x7F"),
        command(b"\x1B\0\0"),
        command(b"\x0E"),
        command(b"\x1F"),
        command(b"\x11open\0\0d\0\x2D\0mysql_native_password\0"),
        // What it is asked for then: proof for a new salt.
        frame(2, b""),
        command(b"\x0E"),
        command(b"\x01"),
    ]
}

/// What no change of a byte leads to.
fn oddities() -> Vec<Vec<u8>> {
    let login = frame(1, &answer("open", "mysql_native_password", b""));
    let in_and = |bytes: Vec<u8>| [login.clone(), bytes].concat();
    let mut ssl = SSL.to_le_bytes().to_vec();
    ssl[1] |= 0x82;
    ssl.resize(32, 0);
    let full = vec![0; 0xFF_FFFF];
    vec![
        // Commands before the login, and a login twice.
        frame(1, b"\x03SELECT 1"),
        frame(0, b"\x03SELECT 1"),
        frame(1, b"\x0E"),
        in_and(login.clone()),
        // Whatever follows the wish for TLS is no packet.
        [frame(1, &ssl), frame(2, &answer("open", "mysql_native_password", b"")), frame(0, b"\x03SELECT 1")].concat(),
        // Lengths: of a packet before the login and after it, of a text in it.
        frame(1, &vec![b'a'; (16 << 10) + 1]),
        b"\xFF\xFF\xFF\x01aaaa".to_vec(),
        in_and(b"\xFF\xFF\xFF\0\x03SELECT".to_vec()),
        in_and(frame(0, b"")),
        in_and(frame(0, b"\x16SELECT ?"))
            .into_iter()
            .chain(frame(0, b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xFD\0\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"))
            .collect(),
        // A statement over 16 MiB, in two frames, of blanks; and one that is cut within.
        in_and([frame(0, &[b"\x03", &[b' '; 0xFF_FFFE][..]].concat()), frame(1, b"SELECT 1")].concat()),
        in_and([frame(0, &full), frame(1, b"")].concat()),
        in_and([frame(0, &full), frame(7, b"")].concat()),
        // Deep, long and wide.
        in_and(frame(0, format!("\x03SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000)).as_bytes())),
        in_and(frame(0, format!("\x03SELECT 1{}", " + 1".repeat(100_000)).as_bytes())),
        in_and(frame(0, format!("\x03SELECT '{}'", "[".repeat(100_000)).as_bytes())),
        in_and(frame(0, format!("\x03SELECT JSON_VALID('{}')", "[".repeat(100_000)).as_bytes())),
        in_and(frame(0, format!("\x03SELECT {}1", "NOT ".repeat(50_000)).as_bytes())),
        in_and(frame(0, format!("\x03SELECT {}", "1,".repeat(1000) + "1").as_bytes())),
        in_and(frame(0, format!("\x03SELECT * FROM d.t WHERE a IN ({}0)", "1,".repeat(50_000)).as_bytes())),
        // A pattern that would be tried in every way.
        in_and(frame(0, &[b"\x04t\0", "%b".repeat(2000).as_bytes(), b"c"].concat())),
        in_and(frame(0, format!("\x03SELECT REPEAT('a', 5000) LIKE '{}b'", "%a".repeat(1000)).as_bytes())),
        in_and(frame(0, b"\x03SELECT REPEAT('a', 30000) REGEXP '(a*)*b'")),
        in_and(frame(0, b"\x03SELECT LENGTH(REPEAT('a', 99999999999999))")),
        in_and(frame(0, b"\x03SELECT LENGTH(SPACE(18446744073709551615)), LPAD('a', 4000000000, 'b')")),
    ]
}

fn mutated(random: &mut StdRng) -> Vec<u8> {
    let mut packets = session();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..packets.len());
        match random.random_range(0..6) {
            0 => {
                let other = random.random_range(0..packets.len());
                packets.swap(at, other);
            }
            1 => packets.insert(at, packets[random.random_range(0..packets.len())].clone()),
            2 if packets.len() > 1 => {
                packets.remove(at);
            }
            // A payload is changed, and its length with it.
            3 | 4 => {
                let sequence = packets[at][3];
                let mut payload = packets[at][4..].to_vec();
                for _ in 0..random.random_range(1..4) {
                    let place = random.random_range(0..=payload.len());
                    match random.random_range(0..3) {
                        0 => payload.truncate(place),
                        1 => payload.insert(place, random.random()),
                        _ if place < payload.len() => payload[place] = random.random(),
                        _ => {}
                    }
                }
                packets[at] = frame(sequence, &payload);
            }
            _ => {
                let place = random.random_range(0..packets[at].len());
                packets[at][place] = random.random();
            }
        }
    }
    packets.concat()
}

async fn play(server: &Server, inputs: Vec<Vec<u8>>) -> Result<()> {
    let sessions = inputs.into_iter().map(|input| play_one(server, input));
    let mut ended = futures::stream::iter(sessions).buffer_unordered(AT_ONCE);
    while let Some(end) = ended.next().await {
        end?;
    }
    Ok(())
}

/// Says all, hangs up, and reads what there is to read. Nothing in it may speak of a bug.
async fn play_one(server: &Server, input: Vec<u8>) -> Result<()> {
    let shown = || input[..input.len().min(1500)].escape_ascii().to_string();
    let raw = Raw::connect(server.port).await?;
    let (mut reader, mut writer) = raw.stream.into_split();
    let mut replies = Vec::new();
    let talk = async {
        let write = async {
            let _ = writer.write_all(&input).await;
            let _ = writer.shutdown().await;
        };
        let ((), _) = tokio::join!(write, reader.read_to_end(&mut replies));
    };
    if timeout(ENDS_WITHIN, talk).await.is_err() {
        return Err(format!("a session does not end: b\"{}\"", shown()).into());
    }
    let mut rest = replies.as_slice();
    while let Some((header, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let Some((packet, after)) = after.split_at_checked(length) else { break };
        if error_code(packet).is_some() && packet.windows(3).any(|word| word == b"BUG") {
            let said = String::from_utf8_lossy(packet).into_owned();
            return Err(format!("{said}: b\"{}\"", shown()).into());
        }
        rest = after;
    }
    Ok(())
}
