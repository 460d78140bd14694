//! What a fresh start is, when nobody has changed anything: one test for each point of the table in SECURITY.md.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as ClientError, Opts, OptsBuilder, Row, SslOpts, Value};
use strandline_workbench::network::Held;
use strandline_workbench::network::raw::{Raw, SSL, answer, error_code, frame};
use strandline_workbench::process::{Server, free_port, strandline_binary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SHA2: &str = "caching_sha2_password";
const NATIVE: &str = "mysql_native_password";

struct Fresh {
    server: Server,
    http: u16,
    _folder: tempfile::TempDir,
}

async fn fresh() -> Fresh {
    fresh_with(&[]).await
}

async fn fresh_with(arguments: &[&str]) -> Fresh {
    let folder = tempfile::tempdir().expect("a folder");
    let http = free_port().expect("a free port");
    let place = format!("127.0.0.1:{http}");
    let arguments = [&["--http", place.as_str()], arguments].concat();
    let server = Server::strandline_by_default(&folder.path().join("store"), &arguments).await.expect("started");
    Fresh { server, http, _folder: folder }
}

impl Fresh {
    async fn root(&self) -> Conn {
        self.server.connect(None).await.expect("root is let in")
    }

    fn opts(&self, user: &str, password: &str) -> OptsBuilder {
        OptsBuilder::from_opts(self.server.opts(None)).user(Some(user)).pass(Some(password))
    }

    async fn log_in(&self, user: &str, password: &str) -> Result<Conn, u16> {
        log_in(self.opts(user, password)).await
    }

    async fn raw(&self) -> Raw {
        Raw::connect(self.server.port).await.expect("connected")
    }
}

async fn log_in(opts: OptsBuilder) -> Result<Conn, u16> {
    match Conn::new(Opts::from(opts)).await {
        Ok(conn) => Ok(conn),
        Err(ClientError::Server(error)) => Err(error.code),
        Err(other) => panic!("no answer: {other}"),
    }
}

async fn code(conn: &mut Conn, sql: &str) -> u16 {
    match conn.query_drop(sql).await {
        Ok(()) => 0,
        Err(ClientError::Server(error)) => error.code,
        Err(other) => panic!("{sql}: {other}"),
    }
}

async fn value(conn: &mut Conn, sql: &str) -> String {
    conn.query_first::<Option<String>, _>(sql).await.expect("a row").flatten().unwrap_or_else(|| "NULL".to_owned())
}

/// Returns all that stands in the rows: their own way to be shown cuts long texts.
fn text_of(rows: Vec<Row>) -> String {
    let texts = rows.into_iter().flat_map(Row::unwrap).map(|value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(false),
    });
    texts.collect::<Vec<_>>().join("|")
}

/// Returns this machine's address as others see it, if it has one. Nothing is sent.
fn outside() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.200:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Returns the addresses that a process listens on, as /proc writes them.
fn listening(process: u32) -> Vec<String> {
    let inodes: HashSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .expect("its files")
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == "0A" && inodes.contains(fields[9]) {
                found.push(fields[1].to_owned());
            }
        }
    }
    found
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn default_01_only_this_machine_can_connect() {
    let fresh = fresh().await;
    let listening = listening(fresh.server.process_id());
    assert_eq!(listening.len(), 2, "MySQL and HTTP: {listening:?}");
    // 127.0.0.1, in the byte order of the machine.
    assert!(listening.iter().all(|address| address.starts_with("0100007F:")), "{listening:?}");
    if let Some(address) = outside() {
        let tried = timeout(Duration::from_secs(3), TcpStream::connect((address, fresh.server.port))).await;
        assert!(!matches!(tried, Ok(Ok(_))), "{address} is let in");
    }
    let help = Command::new(strandline_binary().expect("built")).args(["serve", "--help"]).output().expect("runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("[default: 127.0.0.1:6001]") && help.contains("[default: 127.0.0.1:6002]"), "{help}");
}

#[tokio::test]
async fn default_02_beyond_this_machine_only_with_tls_and_passwords() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("store");
    let everywhere = format!("0.0.0.0:{}", free_port().expect("a free port"));
    let said = Server::strandline_refuses(&data, &["--listen", &everywhere, "--no-tls"]).expect("refused");
    assert!(said.contains("needs TLS"), "{said}");
    let said = Server::strandline_refuses(&data, &["--http", &everywhere]).expect("refused");
    assert!(said.contains("neither TLS nor a login"), "{said}");

    // With a user who has no password it does not start; without, it starts, and lets nobody in but over TLS.
    let server = Server::strandline_by_default(&data, &[]).await.expect("started");
    let mut root = server.connect(None).await.expect("root is let in");
    assert_eq!(code(&mut root, "CREATE USER open").await, 0);
    drop(root);
    server.stop().expect("stopped");
    let said = Server::strandline_refuses(&data, &["--listen", &everywhere]).expect("refused");
    assert!(said.contains("have no password: open."), "{said}");
    let server = Server::strandline_by_default(&data, &[]).await.expect("started");
    let mut root = server.connect(None).await.expect("root is let in");
    assert_eq!(code(&mut root, "ALTER USER open ACCOUNT LOCK").await, 0);
    drop(root);
    server.stop().expect("stopped");
    let server = Server::strandline_by_default(&data, &["--listen", &everywhere]).await.expect("started");
    let ssl = || Some(SslOpts::default().with_danger_accept_invalid_certs(true));
    let opts = |user: &str, password: &str| {
        OptsBuilder::from_opts(server.opts(None)).user(Some(user)).pass(Some(password.to_owned()))
    };
    assert_eq!(log_in(opts("root", &server.password)).await.err(), Some(3159));
    let mut root = log_in(opts("root", &server.password).ssl_opts(ssl())).await.expect("root is let in");
    // A user who is made without a password while it runs may come from this machine only.
    assert_eq!(code(&mut root, "CREATE USER later").await, 0);
    assert!(log_in(opts("later", "").ssl_opts(ssl())).await.is_ok(), "from this machine");
    match outside() {
        None => println!("this machine has no other address: not tried from there"),
        Some(address) => {
            let from_there = |user: &str, password: &str| opts(user, password).ip_or_hostname(address.to_string());
            assert_eq!(log_in(from_there("later", "").ssl_opts(ssl())).await.err(), Some(1045));
            assert!(log_in(from_there("root", &server.password).ssl_opts(ssl())).await.is_ok());
        }
    }
}

#[tokio::test]
async fn default_03_the_first_password_is_made_by_chance_for_its_owner_alone() {
    let (one, two) = tokio::join!(fresh(), fresh());
    assert_ne!(one.server.password, two.server.password);
    assert_eq!(one.server.password.len(), 20);
    let file = fs::metadata(one.server.data.join("root-password")).expect("written");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    // What a server prints where nobody looks on is a log.
    let log = one.server.log().expect("a log");
    assert!(!log.contains(&one.server.password) && log.contains("root-password"), "{log}");
    for guess in ["", "root", "password", "111"] {
        assert_eq!(one.log_in("root", guess).await.err(), Some(1045), "{guess}");
    }
    assert!(one.log_in("root", &one.server.password).await.is_ok());
}

#[tokio::test]
async fn default_04_no_anonymous_user_and_no_test_database() {
    let fresh = fresh().await;
    let mut root = fresh.root().await;
    let users: Vec<String> = root.query("SELECT user FROM mysql.user").await.expect("users");
    assert_eq!(users, ["root"]);
    let databases: Vec<String> = root.query("SHOW DATABASES").await.expect("databases");
    assert!(databases.iter().all(|name| !name.starts_with("test")), "{databases:?}");
    for user in ["", "%", "anonymous", "admin", "dump", "sys", "mysql.sys", "sys:", "#", ":"] {
        assert_eq!(fresh.log_in(user, "").await.err(), Some(1045), "'{user}'");
    }
}

#[tokio::test]
async fn default_05_passwords_are_proved_by_sha2_over_a_salt_that_never_comes_again() {
    let fresh = fresh().await;
    let mut salts = HashSet::new();
    for _ in 0..500 {
        let greeting = fresh.raw().await.greeting().await.expect("a greeting");
        assert_eq!((greeting.plugin.as_str(), greeting.salt.len()), (SHA2, 20));
        assert!(salts.insert(greeting.salt), "a salt came twice");
    }
    // A plugin that we do not have leads to ours, never to a password in clear.
    for plugin in ["mysql_clear_password", "sha256_password", "mysql_old_password", ""] {
        let mut raw = fresh.raw().await;
        raw.greeting().await.expect("a greeting");
        raw.write(&answer("root", plugin, b"secret\0")).await;
        let reply = raw.read().await.expect("an answer").expect("an answer");
        let named = String::from_utf8_lossy(&reply[1..]).into_owned();
        assert!(named.starts_with(SHA2) || named.starts_with(NATIVE), "{plugin}: {named}");
    }
    // Without TLS a wrong proof is the end: the password itself is never asked for.
    let mut raw = fresh.raw().await;
    raw.greeting().await.expect("a greeting");
    raw.write(&answer("root", SHA2, &[7; 32])).await;
    assert_eq!(error_code(&raw.read().await.expect("an answer").expect("an answer")), Some(1045));
    // What checks a password is shown to nobody.
    let mut root = fresh.root().await;
    assert_eq!(code(&mut root, "CREATE USER u IDENTIFIED BY 'a-long-enough-one'").await, 0);
    let rows: Vec<Row> = root.query("SELECT * FROM mysql.user WHERE user = 'u'").await.expect("a row");
    let shown = text_of(rows);
    assert!(!shown.contains("a-long-enough-one") && !shown.contains("$2SHA256$"), "{shown}");
}

#[tokio::test]
async fn default_06_who_guesses_waits_and_strangers_look_like_everybody() {
    let fresh = fresh().await;
    let mut root = fresh.root().await;
    for at in 0..10 {
        assert_eq!(code(&mut root, &format!("CREATE USER known{at} IDENTIFIED BY 'a-long-enough-one'")).await, 0);
    }
    // The same packets for an unknown user as for a wrong password, by each plugin.
    for (plugin, response) in [(SHA2, vec![7; 32]), (NATIVE, vec![7; 20]), ("other", Vec::new()), (SHA2, Vec::new())] {
        let mut seen = Vec::new();
        for user in ["known0", "nobody"] {
            let mut raw = fresh.raw().await;
            let salt = raw.greeting().await.expect("a greeting").salt;
            raw.write(&answer(user, plugin, &response)).await;
            let mut replies = Vec::new();
            while let Some(reply) = raw.read().await.expect("an answer") {
                let text = String::from_utf8_lossy(&reply).into_owned();
                replies.push(text.replace(user, "?").replace(&*String::from_utf8_lossy(&salt), "salt"));
                if reply[0] == 0xFE {
                    raw.write(&[7; 32]).await;
                }
            }
            seen.push(replies);
        }
        assert_eq!(seen[0], seen[1], "{plugin}");
    }
    // And in the same time: four guesses for each of ten names of either kind, in turns.
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..40 {
        for kind in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let name = ["known", "nobody"][kind];
            let user = format!("{name}{}", round % 9 + 1);
            let mut raw = fresh.raw().await;
            raw.greeting().await.expect("a greeting");
            let begun = Instant::now();
            raw.write(&answer(&user, NATIVE, &[7; 20])).await;
            raw.read().await.expect("an answer");
            took[kind].push(begun.elapsed());
        }
    }
    // What else the machine does only adds to it: the quick ones are compared.
    let quick = took.map(|mut times| {
        times.sort();
        times[times.len() / 8].as_secs_f64()
    });
    println!("a wrong password takes {quick:?} s for known and unknown users");
    let apart = (quick[0] - quick[1]).abs();
    assert!(apart < 0.0005 || apart < quick[0].min(quick[1]), "{quick:?}");

    // After a few guesses every further one waits; nobody else does.
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(fresh.log_in("root", "guess").await.err(), Some(1045));
    }
    assert!(begun.elapsed() > Duration::from_millis(1400), "ten guesses in {:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(fresh.log_in("known0", "a-long-enough-one").await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // Many at once get into no line at all.
    let many = (0..40).map(|_| fresh.log_in("root", "guess"));
    let codes: Vec<u16> = futures::future::join_all(many).await.into_iter().filter_map(Result::err).collect();
    assert!(codes.contains(&3955), "{codes:?}");

    // Whoever else guesses, and does not even wait for an answer, the right password is let in: after a moment, as long as
    // a wrong one waits at least, or silence would tell which is wrong.
    let guess = async || {
        let mut raw = fresh.raw().await;
        raw.greeting().await.expect("a greeting");
        raw.write(&answer("root", NATIVE, &[7; 20])).await;
    };
    let guessing = async {
        loop {
            futures::future::join_all((0..5).map(|_| guess())).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let knowing = async {
        let mut waits = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            assert!(fresh.log_in("root", &fresh.server.password).await.is_ok());
            waits.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        waits
    };
    let waits = tokio::select! {
        () = guessing => unreachable!("it goes on"),
        waits = knowing => waits,
    };
    println!("the right password among guesses took {waits:?}");
    assert!(waits[0] >= Duration::from_secs(1), "a right password is told from a wrong one: {waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(4)), "{waits:?}");

    // A name that nobody can have is refused as such, and no name fills the log.
    for (length, expected) in [(255, 1045), (256, 1470), (16_000, 1470)] {
        let mut raw = fresh.raw().await;
        raw.greeting().await.expect("a greeting");
        raw.write(&answer(&"\u{1}".repeat(length), NATIVE, &[7; 20])).await;
        let reply = raw.read().await.expect("an answer").expect("an answer");
        assert_eq!(error_code(&reply), Some(expected), "{length}");
        assert!(reply.len() < 500, "{} bytes", reply.len());
    }
    let log = fresh.server.log().expect("a log");
    let denied: Vec<&str> = log.lines().filter(|line| line.contains("u{1}")).collect();
    assert!(denied.len() == 1 && denied[0].len() < 1000, "{denied:?}");
}

/// A hello that offers one version of TLS at the most.
fn hello(version: u8) -> Vec<u8> {
    let suites: &[u8] = match version {
        3 => &[0xC0, 0x2B, 0xC0, 0x2F],
        _ => &[0xC0, 0x09, 0xC0, 0x13, 0x00, 0x2F],
    };
    let extensions: &[u8] = &[
        0, 10, 0, 6, 0, 4, 0, 0x1D, 0, 0x17, // groups
        0, 11, 0, 2, 1, 0, // points
        0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1, // signatures
        0, 23, 0, 0, // extended master secret
    ];
    let mut body = vec![3, version];
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&(suites.len() as u16).to_be_bytes());
    body.extend_from_slice(suites);
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(extensions);
    let handshake = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    [&[0x16, 3, 1][..], &(handshake.len() as u16).to_be_bytes(), &handshake].concat()
}

fn wish_for_tls() -> Vec<u8> {
    let mut wish = (SSL | 0x8200).to_le_bytes().to_vec();
    wish.resize(32, 0);
    wish
}

#[tokio::test]
async fn default_07_tls_is_offered_in_its_new_versions_and_starts_afresh() {
    let fresh = fresh().await;
    let key = fs::metadata(fresh.server.data.join("tls/key.pem")).expect("made at the first start");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    // 1.0, 1.1 and 1.2 in turn: an alert, an alert, and the server's hello.
    for (version, expected) in [(1, 0x15), (2, 0x15), (3, 0x16)] {
        let mut raw = fresh.raw().await;
        let greeting = raw.greeting().await.expect("a greeting");
        assert_ne!(greeting.capabilities & SSL, 0, "TLS is offered");
        raw.write(&wish_for_tls()).await;
        raw.stream.write_all(&hello(version)).await.expect("sent");
        let mut first = [0; 7];
        raw.stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(first[0], expected, "TLS 1.{}: {first:?}", version - 1);
        if expected == 0x15 {
            assert_eq!(first[6], 70, "the alert is about the version");
        }
    }
    // A login in clear right behind the wish, as somebody on the way might slip it in.
    let mut root = fresh.root().await;
    assert_eq!(code(&mut root, "CREATE USER open").await, 0);
    let mut raw = fresh.raw().await;
    raw.greeting().await.expect("a greeting");
    let slipped =
        [frame(1, &wish_for_tls()), frame(2, &answer("open", NATIVE, b"")), frame(0, b"\x03CREATE DATABASE x")];
    raw.stream.write_all(&slipped.concat()).await.expect("sent");
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(12), raw.stream.read_to_end(&mut rest)).await.expect("closed");
    assert!(rest.first().is_none_or(|first| *first == 0x15), "{rest:?}");
    assert_eq!(value(&mut root, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'x'").await, "0");
    // With TLS all is as without.
    let ssl = SslOpts::default().with_danger_accept_invalid_certs(true);
    let opts = fresh.opts("root", &fresh.server.password).ssl_opts(Some(ssl));
    assert_eq!(value(&mut log_in(opts).await.expect("let in"), "SELECT 'over TLS'").await, "over TLS");
}

#[tokio::test]
async fn default_08_who_was_granted_nothing_gets_nothing() {
    let fresh = fresh().await;
    let mut root = fresh.root().await;
    for sql in ["CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "CREATE SNAPSHOT s FOR DATABASE d"] {
        assert_eq!(code(&mut root, sql).await, 0, "{sql}");
    }
    assert_eq!(code(&mut root, "CREATE USER u IDENTIFIED BY 'a-long-enough-one'").await, 0);
    let mut u = fresh.log_in("u", "a-long-enough-one").await.expect("let in");
    let databases: Vec<String> = u.query("SHOW DATABASES").await.expect("databases");
    assert!(!databases.iter().any(|name| name == "d"), "{databases:?}");
    assert_eq!(u.query::<Row, _>("SHOW SNAPSHOTS").await.expect("a list").len(), 0);
    for (sql, expected) in [
        ("USE d", 1044),
        ("SELECT * FROM d.t", 1142),
        ("SELECT * FROM d.t {SNAPSHOT = 's'}", 1142),
        ("INSERT INTO d.t VALUES (1)", 1142),
        ("DELETE FROM d.t", 1142),
        ("CREATE TABLE d.u (a INT)", 1142),
        ("DROP TABLE d.t", 1142),
        ("CREATE DATABASE e", 1044),
        ("DROP DATABASE d", 1044),
        ("CREATE USER v", 1227),
        ("GRANT SELECT ON d.* TO u", 1044),
        ("SET PASSWORD FOR root = 'mine-all-mine'", 1227),
        ("SET GLOBAL max_allowed_packet = 1", 1227),
        ("SELECT * FROM mysql.user", 1142),
        ("SHOW GRANTS FOR root", 1142),
    ] {
        let refused = code(&mut u, sql).await;
        assert!([expected, 1044, 1142, 1227].contains(&refused) && refused != 0, "{sql}: {refused}");
    }
    for sql in
        ["CREATE SNAPSHOT x FOR CLUSTER", "RESTORE DATABASE d FROM SNAPSHOT s", "DROP SNAPSHOT s", "COLLECT GARBAGE"]
    {
        assert_ne!(code(&mut u, sql).await, 0, "{sql}");
    }
    assert_eq!(value(&mut root, "SELECT COUNT(*) FROM d.t").await, "0");
}

#[tokio::test]
async fn default_09_everything_has_a_limit() {
    let fresh = fresh().await;
    let mut root = fresh.root().await;
    for (name, expected) in [("max_allowed_packet", "67108864"), ("max_connections", "500"), ("wait_timeout", "28800")]
    {
        assert_eq!(value(&mut root, &format!("SELECT CAST(@@{name} AS CHAR)")).await, expected, "{name}");
    }
    // A stranger's packet.
    for (length, expected) in [(16 << 10, 1043), ((16 << 10) + 1, 1153)] {
        let mut raw = fresh.raw().await;
        raw.greeting().await.expect("a greeting");
        raw.write(&vec![0; length]).await;
        assert_eq!(error_code(&raw.read().await.expect("an answer").expect("an error")), Some(expected), "{length}");
    }
    // No claim of a length costs memory.
    let before = Held::by(&fresh.server).expect("/proc");
    let mut claims = Vec::new();
    for _ in 0..200 {
        let mut raw = fresh.raw().await;
        raw.greeting().await.expect("a greeting");
        raw.stream.write_all(b"\xFF\x3F\0\x01aaaa").await.expect("sent");
        claims.push(raw);
    }
    let each = Held::by(&fresh.server).expect("/proc").resident_bytes.saturating_sub(before.resident_bytes) / 200;
    assert!(each < 64 << 10, "{each} bytes for each of 200 claims");
    drop(claims);
    // Depth and length of a statement.
    for sql in ["(".repeat(20_000) + "1" + &")".repeat(20_000), format!("1{}", " + 1".repeat(50_000))] {
        assert_eq!(code(&mut root, &format!("SELECT {sql}")).await, 1436);
    }
    // A silent stranger is sent away.
    let mut raw = fresh.raw().await;
    raw.greeting().await.expect("a greeting");
    let begun = Instant::now();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(15), raw.stream.read_to_end(&mut rest)).await.expect("closed").expect("read");
    assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
    // And one who holds the HTTP side open.
    let mut http = TcpStream::connect(("127.0.0.1", fresh.http)).await.expect("connected");
    timeout(Duration::from_secs(9), http.read_to_end(&mut rest)).await.expect("closed").ok();
}

#[tokio::test]
async fn default_10_a_query_has_its_share_of_memory_and_no_more() {
    let fresh = fresh_with(&["--memory-limit", "128MiB"]).await;
    let mut root = fresh.root().await;
    for sql in [
        "CREATE DATABASE d",
        "CREATE TABLE d.n (n BIGINT PRIMARY KEY)",
        "INSERT INTO d.n VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
    ] {
        assert_eq!(code(&mut root, sql).await, 0, "{sql}");
    }
    let rows = "d.n a, d.n b, d.n c, d.n d, d.n e, d.n f";
    let greedy =
        format!("SELECT GROUP_CONCAT(DISTINCT CONCAT(a.n, b.n, c.n, d.n, e.n, f.n, REPEAT('x', 400))) FROM {rows}");
    let refused = code(&mut root, &greedy).await;
    // A plan that doubles thirty times has a billion nodes, for a text of two kilobytes.
    let doubled = (1..30).map(|n| format!("c{n} AS (SELECT a.n FROM c{} a JOIN c{} b ON a.n = b.n)", n - 1, n - 1));
    let doubled = doubled.collect::<Vec<_>>().join(", ");
    let huge = format!("WITH c0 AS (SELECT n FROM d.n), {doubled} SELECT COUNT(*) FROM c29");
    assert_eq!(code(&mut root, &huge).await, 1038);
    let peak = fresh.server.peak_memory_bytes().expect("/proc");
    println!("answered with {refused}; the process held {} MiB at most", peak >> 20);
    assert!(peak < 1 << 30, "{peak}");
    assert_eq!(value(&mut root, "SELECT 'still there'").await, "still there");
}

#[tokio::test]
async fn default_11_no_file_is_read_or_written_for_a_client() {
    let fresh = fresh().await;
    let mut root = fresh.root().await;
    assert_eq!(code(&mut root, "CREATE DATABASE d").await, 0);
    assert_eq!(code(&mut root, "CREATE TABLE d.t (a TEXT)").await, 0);
    let secret = fresh.server.data.join("root-password").display().to_string();
    let target = fresh.server.data.join("written").display().to_string();
    for (sql, expected) in [
        (format!("LOAD DATA LOCAL INFILE '{secret}' INTO TABLE d.t"), 3948),
        (format!("LOAD DATA INFILE '{secret}' INTO TABLE d.t"), 1290),
        ("LOAD DATA INFILE '/etc/passwd' INTO TABLE d.t".to_owned(), 1290),
        ("LOAD DATA INFILE '../../etc/passwd' INTO TABLE d.t".to_owned(), 1290),
        (format!("SELECT 1 INTO OUTFILE '{target}'"), 1235),
        (format!("SELECT 1 INTO DUMPFILE '{target}'"), 1235),
    ] {
        assert_eq!(code(&mut root, &sql).await, expected, "{sql}");
    }
    assert_ne!(code(&mut root, &format!("SELECT LOAD_FILE('{secret}')")).await, 0, "there is no such function");
    assert_eq!(value(&mut root, "SELECT COUNT(*) FROM d.t").await, "0");
    assert_eq!(value(&mut root, "SELECT CAST(@@local_infile AS CHAR)").await, "0");
    let folder = value(&mut root, "SELECT @@secure_file_priv").await;
    assert!(folder == "NULL", "{folder}");
    assert!(!Path::new(&target).exists());
    let greeting = fresh.raw().await.greeting().await.expect("a greeting");
    assert_eq!(greeting.capabilities & 0x80, 0, "LOCAL is not offered");
    assert_eq!(greeting.capabilities & 0x20, 0, "nor compression: there is no parser for it");
}

#[tokio::test]
async fn default_12_the_store_is_its_owners_and_one_process_holds_it() {
    let fresh = fresh().await;
    let mut root = fresh.root().await;
    for sql in [
        "CREATE DATABASE d",
        "CREATE TABLE d.t (a INT PRIMARY KEY)",
        "INSERT INTO d.t VALUES (1)",
        "OPTIMIZE TABLE d.t",
    ] {
        assert_eq!(code(&mut root, sql).await, 0, "{sql}");
    }
    let files = files_below(&fresh.server.data);
    assert!(files.len() > 6, "{files:?}");
    for path in files {
        let file = fs::metadata(&path).expect("there");
        assert_eq!(file.permissions().mode() & 0o077, 0, "{} is for others too", path.display());
        assert_eq!(file.uid(), fs::metadata("/proc/self").expect("there").uid());
    }
    let process = fresh.server.process_id();
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("/proc");
    assert!(status.lines().any(|line| line.starts_with("Umask:") && line.ends_with("0077")), "{status}");
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("/proc");
    let fields = |name: &str| -> Vec<String> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(fields("Max core file size")[..2], ["0", "0"], "no image of the memory");
    let files = fields("Max open files");
    assert_eq!(files[0], files[1], "as many as the system allows");
    let said = Server::strandline_refuses(&fresh.server.data, &[]).expect("refused");
    assert!(said.contains("process"), "who holds it: {said}");
}

#[tokio::test]
async fn default_13_no_password_is_written_or_shown_anywhere() {
    let fresh = fresh_with(&["-v"]).await;
    let mut root = fresh.root().await;
    let canaries: Vec<String> = (0..12).map(|at| format!("canary-{at}-{}", "kanarienvogel")).collect();
    let c = |at: usize| canaries[at].as_str();
    for sql in [
        format!("CREATE USER a IDENTIFIED BY '{}'", c(0)),
        format!("create user b identified with {NATIVE} by '{}'", c(1)),
        format!("ALTER USER a IDENTIFIED BY '{}'", c(2)),
        format!("SET PASSWORD FOR b = '{}'", c(3)),
        format!("SET PASSWORD = '{}'", fresh.server.password),
        // With errors: of syntax, of a name, of a plugin.
        format!("CREATE USER c IDENTIFIED BY '{}' NONSENSE", c(4)),
        format!("ALTER USER nobody IDENTIFIED BY '{}'", c(5)),
        format!("CREATE USER c IDENTIFIED WITH other BY '{}'", c(6)),
        format!("CREATE USER c IDENTIFIED BY '{}", c(7)),
        format!("PREPARE s FROM 'CREATE USER d IDENTIFIED BY ''{}'''", c(8)),
        "EXECUTE s".to_owned(),
        format!("SELECT nothing FROM nowhere WHERE x = '{}'", c(9)),
    ] {
        let _ = root.query_drop(sql).await;
    }
    assert!(fresh.log_in("a", c(2)).await.is_ok(), "the canaries are real");
    assert!(fresh.log_in("d", c(8)).await.is_ok(), "the canaries are real");
    assert_eq!(fresh.log_in("a", c(10)).await.err(), Some(1045));
    // One who is being asked, while another looks on.
    let mut busy = fresh.root().await;
    let running = tokio::spawn(async move {
        let _ = busy.query_drop("SELECT SLEEP(3) /* IDENTIFIED BY 'canary-running' */").await;
    });
    let mut shown = String::new();
    let begun = Instant::now();
    while !shown.contains("SLEEP(3)") {
        assert!(begun.elapsed() < Duration::from_secs(3), "{shown}");
        let rows: Vec<Row> = root.query("SHOW FULL PROCESSLIST").await.expect("a list");
        shown = text_of(rows);
    }
    for sql in ["SELECT * FROM information_schema.processlist", "SHOW COMMITS", "SHOW JOBS", "SHOW CREATE USER a"] {
        let rows: Vec<Row> = root.query(sql).await.expect("rows");
        shown += &text_of(rows);
    }
    running.await.expect("ends");
    let mut http = TcpStream::connect(("127.0.0.1", fresh.http)).await.expect("connected");
    http.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("sent");
    let mut metrics = String::new();
    http.read_to_string(&mut metrics).await.expect("numbers");
    assert!(metrics.contains("strandline_logins_failed_total"), "{metrics}");
    let log = fresh.server.log().expect("a log");
    assert!(log.contains("access denied") && log.contains("DEBUG"), "{log}");
    let mut places =
        vec![("the lists", shown.into_bytes()), ("the metrics", metrics.into_bytes()), ("the log", log.into_bytes())];
    let files = files_below(&fresh.server.data);
    for path in files.iter().filter(|path| path.is_file() && !path.ends_with("root-password")) {
        places.push(("a file of the store", fs::read(path).expect("readable")));
    }
    assert!(places.len() > 5);
    for (place, bytes) in &places {
        for canary in ["canary-", "kanarienvogel", &fresh.server.password] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} stands in {place}");
        }
    }
    // The search can find: what is no password is in the same files.
    let found = places.iter().any(|(_, bytes)| bytes.windows(15).any(|window| window == b"SET PASSWORD FO"));
    let named = places.iter().any(|(_, bytes)| bytes.windows(11).any(|window| window == b"CREATE USER"));
    assert!(found || named, "the commits are not in the store's files");
}
