//! The server over a real socket: with `mysql_async` where a client's view matters, and byte by byte where its
//! misbehaviour does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as ClientError, OptsBuilder, Row, SslOpts, Value};
use mysql_common::constants::{CapabilityFlags, ColumnType, StatusFlags};
use strandline_core::db::{self, Database};
use strandline_sql::api::Login;
use strandline_sql::engine::{self, Engine};
use strandline_sql::processes::Processes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::auth::{scramble_native, scramble_sha2};
use super::handshake::{LoginRequest, NATIVE_PLUGIN, SHA2_PLUGIN, put_answer, server_capabilities};
use super::server::{Listener, Options, Server};
use crate::metrics::Metrics;
use crate::tls;
use strandline_fuzz::Random;

struct Running {
    address: SocketAddr,
    processes: Arc<Processes>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What every store of these tests holds.
const SETUP: &str = "CREATE USER app IDENTIFIED BY 'other';
    CREATE USER open IDENTIFIED BY '';
    GRANT ALL ON *.* TO app, open;
    CREATE DATABASE d; CREATE DATABASE other;
    USE d;
    CREATE TABLE t (a INT, b INT);
    CREATE TABLE counted (id INT PRIMARY KEY AUTO_INCREMENT, v TINYINT);
    CREATE TABLE digits (n BIGINT PRIMARY KEY);
    INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
    CREATE TABLE thousand (n BIGINT PRIMARY KEY);
    INSERT INTO thousand SELECT a.n + b.n * 10 + c.n * 100 FROM digits a, digits b, digits c;";

async fn open_engine() -> Arc<Engine> {
    let database = Database::in_memory(db::Options::default()).await.expect("made");
    let options = engine::Options { threads: 2, ..engine::Options::default() };
    let engine = Engine::open(database, options).await.expect("opened");
    engine.set_password("root", "secret").await.expect("set");
    let login = Login { user: "root".to_owned(), host: "localhost".to_owned(), ..Login::default() };
    let mut session = engine.session(login).expect("root is there");
    for sql in session.split(SETUP).expect("whole statements") {
        if let Err(error) = session.execute(&sql).await {
            panic!("{sql}: {error:?}");
        }
    }
    engine
}

async fn start_with(options: Options) -> Running {
    let engine = open_engine().await;
    let (processes, metrics) = (engine.processes().clone(), Arc::new(Metrics::default()));
    let listener = Listener::tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address().expect("TCP");
    let server = Server::new(engine, processes.clone(), metrics.clone(), options);
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        server
            .serve(vec![listener], async {
                let _ = stopped.await;
            })
            .await;
    });
    Running { address, processes, metrics, stop, task }
}

async fn start() -> Running {
    start_with(Options::default()).await
}

async fn start_tls(options: Options) -> Running {
    let data = tempfile::tempdir().expect("a folder");
    let files = tls::own_files(data.path()).expect("made");
    start_with(Options { tls: Some(tls::acceptor(&files).expect("usable")), ..options }).await
}

impl Running {
    fn options(&self, user: &str, password: &str) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.address.port())
            .user(Some(user))
            .pass(Some(password))
            .prefer_socket(false)
            .max_allowed_packet(Some(64 << 20))
            .wait_timeout(Some(1000))
    }

    async fn connect(&self) -> Conn {
        Conn::new(self.options("root", "secret").db_name(Some("d"))).await.expect("logged in")
    }

    /// Waits until some connection runs this statement.
    async fn runs(&self, sql: &str) {
        let started = Instant::now();
        while !self.processes.list().iter().any(|process| process.info.as_deref() == Some(sql)) {
            assert!(started.elapsed() < Duration::from_secs(20), "{sql} does not start");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn raw(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.address).await.expect("connected"), sequence: 0 }
    }
}

/// A client that can do wrong.
struct Raw {
    stream: TcpStream,
    sequence: u8,
}

impl Raw {
    async fn read(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await.ok()?;
        self.sequence = header[3].wrapping_add(1);
        let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(payload)
    }

    async fn write(&mut self, payload: &[u8]) {
        let header = (payload.len() as u32) | (u32::from(self.sequence) << 24);
        self.sequence = self.sequence.wrapping_add(1);
        let _ = self.stream.write_all(&[&header.to_le_bytes(), payload].concat()).await;
    }

    async fn command(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.sequence = 0;
        self.write(payload).await;
        self.read().await
    }

    /// Reads the greeting and returns its salt.
    async fn greeting(&mut self) -> Vec<u8> {
        let greeting = self.read().await.expect("a greeting");
        assert_eq!(greeting[0], 10);
        let version_end = 1 + greeting[1..].iter().position(|byte| *byte == 0).expect("a version");
        let at = version_end + 5;
        let second = at + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10;
        [&greeting[at..at + 8], &greeting[second..second + 12]].concat()
    }

    async fn answer(&mut self, user: &str, plugin: &str, response: Vec<u8>) -> Option<Vec<u8>> {
        let request = LoginRequest {
            user: user.to_owned(),
            database: Some("d".to_owned()),
            response,
            plugin: Some(plugin.to_owned()),
            attributes: vec![("program_name".to_owned(), "test".to_owned())],
        };
        let mut out = Vec::new();
        put_answer(&mut out, server_capabilities(false, false), &request);
        self.write(&out).await;
        self.read().await
    }

    async fn log_in(&mut self) {
        let salt = self.greeting().await;
        let response = self.answer("root", NATIVE_PLUGIN, scramble_native("secret", &salt)).await;
        assert_eq!(response.expect("an answer")[0], 0);
    }
}

fn error_code(packet: &[u8]) -> u16 {
    assert_eq!(packet[0], 0xFF, "{packet:?}");
    u16::from_le_bytes([packet[1], packet[2]])
}

fn server_code(error: ClientError) -> u16 {
    match error {
        ClientError::Server(error) => error.code,
        other => panic!("not an error of the server: {other}"),
    }
}

#[tokio::test]
async fn logins() {
    let server = start_tls(Options::default()).await;
    let ssl = || Some(SslOpts::default().with_danger_accept_invalid_certs(true));
    for ssl in [None, ssl()] {
        let mut conn = Conn::new(server.options("root", "secret").ssl_opts(ssl.clone())).await.expect("logged in");
        assert_eq!(conn.query_first::<i64, _>("SELECT 1").await.expect("a row"), Some(1));
        conn.disconnect().await.expect("closed");
        Conn::new(server.options("open", "").ssl_opts(ssl.clone())).await.expect("no password needed");
        for (user, password) in [("root", "wrong"), ("root", ""), ("nobody", "secret"), ("nobody", ""), ("open", "x")] {
            let error = Conn::new(server.options(user, password).ssl_opts(ssl.clone())).await.expect_err("refused");
            let using = if password.is_empty() { "NO" } else { "YES" };
            match error {
                ClientError::Server(error) => {
                    assert_eq!((error.code, error.state.as_str()), (1045, "28000"));
                    let expected = format!("Access denied for user '{user}'@'127.0.0.1' (using password: {using})");
                    assert_eq!(error.message, expected);
                }
                other => panic!("{user}: {other}"),
            }
        }
        let options = server.options("root", "secret").ssl_opts(ssl).db_name(Some("missing"));
        assert_eq!(server_code(Conn::new(options).await.expect_err("no such database")), 1049);
    }
    assert_eq!(server.metrics.logins_failed.get(), 10);
}

#[tokio::test]
async fn plugins_by_hand() {
    let server = start().await;
    // Native, announced at once.
    let mut raw = server.raw().await;
    raw.log_in().await;
    assert_eq!(raw.command(b"\x0E").await.expect("a pong")[0], 0);

    // SHA-2: fast success, then OK.
    let mut raw = server.raw().await;
    let salt = raw.greeting().await;
    let fast = raw.answer("root", SHA2_PLUGIN, scramble_sha2("secret", &salt)).await.expect("an answer");
    assert_eq!(fast, [1, 3]);
    assert_eq!(raw.read().await.expect("OK")[0], 0);

    // Without TLS a wrong scramble never leads to a request for the password itself.
    let mut raw = server.raw().await;
    raw.greeting().await;
    let refused = raw.answer("root", SHA2_PLUGIN, vec![7; 32]).await.expect("an answer");
    assert_eq!(error_code(&refused), 1045);

    // A plugin that we do not have: a switch.
    let mut raw = server.raw().await;
    let salt = raw.greeting().await;
    let switch = raw.answer("root", "sha256_password", Vec::new()).await.expect("an answer");
    assert!(switch.starts_with(b"\xFEcaching_sha2_password\0"));
    assert_eq!(&switch[23..43], salt);
    raw.write(&scramble_sha2("secret", &salt)).await;
    assert_eq!(raw.read().await, Some(vec![1, 3]));

    // A response overheard on one connection is worth nothing on another.
    let mut raw = server.raw().await;
    raw.greeting().await;
    let replayed = raw.answer("root", NATIVE_PLUGIN, scramble_native("secret", &salt)).await.expect("an answer");
    assert_eq!(error_code(&replayed), 1045);
}

#[tokio::test]
async fn secure_transport_can_be_required() {
    let server = start_tls(Options { require_secure_transport: true, ..Options::default() }).await;
    let error = Conn::new(server.options("root", "secret")).await.expect_err("refused");
    assert_eq!(server_code(error), 3159);
    let ssl = SslOpts::default().with_danger_accept_invalid_certs(true);
    Conn::new(server.options("root", "secret").ssl_opts(Some(ssl))).await.expect("secure enough");
}

#[tokio::test]
async fn bytes_sent_before_tls_are_not_taken_for_commands() {
    let server = start_tls(Options::default()).await;
    let mut raw = server.raw().await;
    raw.greeting().await;
    let mut request = (server_capabilities(true, false)).bits().to_le_bytes().to_vec();
    request.resize(32, 0);
    raw.write(&request).await;
    // A login in clear right behind the request: TLS takes it for a broken handshake.
    raw.write(b"injected login packet, which is no TLS record").await;
    let reply = raw.read().await;
    assert!(reply.is_none_or(|reply| reply[0] != 0), "nobody is logged in");
    assert_eq!(server.metrics.queries.get(), 0);
}

/// A table of every type, with one row of values and one of NULLs.
const KINDS: &str =
    "CREATE TABLE kinds (tiny TINYINT, small SMALLINT, middle MEDIUMINT, plain INT, big BIGINT UNSIGNED,
        single FLOAT, twofold DOUBLE, exact DECIMAL(10, 3), short VARCHAR(20), fixed CHAR(40), long_text TEXT,
        raw VARBINARY(20), long_raw BLOB, day DATE, span TIME, moment DATETIME(6), stamp TIMESTAMP, year_of YEAR,
        tree JSON, colour ENUM('red', 'green'), letters SET('a', 'b'), bits BIT(16));
    INSERT INTO kinds VALUES (-8, -16, -24, -2147483648, 18446744073709551615, 1.5, 1e20, -12.345, 'é€𝄞',
        'a char beyond twelve bytes', '', x'00ff', x'fb', '2024-02-29', '-838:59:59', '2024-02-29 12:34:56.123456',
        '1970-01-01 00:00:01', 2026, '{\"a\": 1}', 'red', 'a,b', b'0000000100000010');
    INSERT INTO kinds (tiny) VALUES (NULL);";

const ALL_KINDS: &str = "SELECT *, NULL FROM kinds ORDER BY tiny DESC";

#[tokio::test]
async fn every_kind_in_text_and_binary() {
    let server = start().await;
    let mut conn = server.connect().await;
    conn.query_drop("SET time_zone = '+00:00'").await.expect("set");
    conn.query_drop(KINDS).await.expect("made");
    let text: Vec<Row> = conn.query(ALL_KINDS).await.expect("rows");
    let expected: [&[u8]; 22] = [
        b"-8",
        b"-16",
        b"-24",
        b"-2147483648",
        b"18446744073709551615",
        b"1.5",
        b"1e20",
        b"-12.345",
        "é€𝄞".as_bytes(),
        b"a char beyond twelve bytes",
        b"",
        b"\0\xff",
        b"\xfb",
        b"2024-02-29",
        b"-838:59:59",
        b"2024-02-29 12:34:56.123456",
        b"1970-01-01 00:00:01",
        b"2026",
        b"{\"a\": 1}",
        b"red",
        b"a,b",
        b"\x01\x02",
    ];
    for (at, expected) in expected.iter().enumerate() {
        assert_eq!(text[0].as_ref(at), Some(&Value::Bytes(expected.to_vec())), "column {at}");
    }
    assert!((0..23).all(|at| text[1].as_ref(at) == Some(&Value::NULL)), "a row of NULLs");

    let binary: Vec<Row> = conn.exec(ALL_KINDS, ()).await.expect("rows");
    let values: Vec<Value> = (0..23).map(|at| binary[0].as_ref(at).expect("a column").clone()).collect();
    assert_eq!(
        values[..5],
        [Value::Int(-8), Value::Int(-16), Value::Int(-24), Value::Int(i64::from(i32::MIN)), Value::UInt(u64::MAX),]
    );
    assert_eq!(values[5..8], [Value::Float(1.5), Value::Double(1e20), Value::Bytes(b"-12.345".to_vec())]);
    assert_eq!(
        values[13..18],
        [
            Value::Date(2024, 2, 29, 0, 0, 0, 0),
            Value::Time(true, 34, 22, 59, 59, 0),
            Value::Date(2024, 2, 29, 12, 34, 56, 123_456),
            Value::Date(1970, 1, 1, 0, 0, 1, 0),
            Value::Int(2026),
        ]
    );
    // What has no binary form of its own is the same in both.
    for at in [7, 8, 9, 10, 11, 12, 18, 19, 20, 21] {
        assert_eq!(values[at], Value::Bytes(expected[at].to_vec()), "column {at}");
    }
    assert!((0..23).all(|at| binary[1].as_ref(at) == Some(&Value::NULL)), "a row of NULLs");

    let columns = binary[0].columns();
    let kinds: Vec<ColumnType> = columns.iter().map(|column| column.column_type()).collect();
    use ColumnType::*;
    assert_eq!(
        kinds,
        [
            MYSQL_TYPE_TINY,
            MYSQL_TYPE_SHORT,
            MYSQL_TYPE_INT24,
            MYSQL_TYPE_LONG,
            MYSQL_TYPE_LONGLONG,
            MYSQL_TYPE_FLOAT,
            MYSQL_TYPE_DOUBLE,
            MYSQL_TYPE_NEWDECIMAL,
            MYSQL_TYPE_VAR_STRING,
            MYSQL_TYPE_STRING,
            MYSQL_TYPE_BLOB,
            MYSQL_TYPE_VAR_STRING,
            MYSQL_TYPE_BLOB,
            MYSQL_TYPE_DATE,
            MYSQL_TYPE_TIME,
            MYSQL_TYPE_DATETIME,
            MYSQL_TYPE_TIMESTAMP,
            MYSQL_TYPE_YEAR,
            MYSQL_TYPE_JSON,
            MYSQL_TYPE_STRING,
            MYSQL_TYPE_STRING,
            MYSQL_TYPE_BIT,
            MYSQL_TYPE_NULL,
        ]
    );
    let charset = |at: usize| columns[at].character_set();
    assert_eq!([charset(0), charset(8), charset(12), charset(13)], [63, 255, 63, 63]);

    // Values of every kind as parameters, in the form in which they came: the copy is the same in both forms.
    let marks = vec!["?"; 22].join(", ");
    conn.query_drop("CREATE TABLE copies LIKE kinds").await.expect("made");
    let insert = conn.prep(format!("INSERT INTO copies VALUES ({marks})")).await.expect("prepared");
    for row in &binary {
        let values: Vec<Value> = (0..22).map(|at| row.as_ref(at).expect("a column").clone()).collect();
        conn.exec_drop(&insert, values).await.expect("inserted");
    }
    let copies = ALL_KINDS.replace("kinds", "copies");
    let unwrap = |rows: Vec<Row>| rows.into_iter().map(Row::unwrap).collect::<Vec<_>>();
    let copied: Vec<Row> = conn.exec(&copies, ()).await.expect("rows");
    assert_eq!(unwrap(copied), unwrap(binary));
    let copied: Vec<Row> = conn.query(&copies).await.expect("rows");
    assert_eq!(unwrap(copied), unwrap(text));
}

#[tokio::test]
async fn parameters_there_and_back() {
    let server = start().await;
    let mut conn = server.connect().await;
    let values = vec![
        Value::NULL,
        Value::Int(-5),
        Value::UInt(u64::MAX),
        Value::Double(0.5),
        Value::Bytes("é".as_bytes().to_vec()),
        Value::Date(2024, 2, 29, 12, 0, 0, 250_000),
        Value::Time(true, 1, 2, 3, 4, 5),
    ];
    let marks = "?, ?, ?, ?, ?, CAST(? AS DATETIME(6)), CAST(? AS TIME(6))";
    for _ in 0..2 {
        let row: Row = conn.exec_first(format!("SELECT {marks}"), values.clone()).await.expect("a row").expect("one");
        assert_eq!(row.unwrap(), values);
    }
    // More parameters than one byte of the NULL bitmap holds.
    let many: Vec<Value> = (0..1000).map(|n| if n % 3 == 0 { Value::NULL } else { Value::Int(n) }).collect();
    let marks = vec!["?"; many.len()].join(", ");
    let row: Row = conn.exec_first(format!("SELECT {marks}"), many.clone()).await.expect("a row").expect("one");
    assert_eq!(row.unwrap(), many);
}

#[tokio::test]
async fn statements_and_their_errors() {
    let server = start().await;
    let mut conn = server.connect().await;
    conn.query_drop("ALTER TABLE counted AUTO_INCREMENT = 7").await.expect("altered");
    conn.query_drop("INSERT IGNORE INTO counted (v) VALUES (1), (2), ('x')").await.expect("done");
    assert_eq!((conn.affected_rows(), conn.last_insert_id(), conn.get_warnings()), (3, Some(7), 1));
    conn.query_drop("UPDATE counted SET v = 5 WHERE id < 9").await.expect("done");
    assert_eq!((conn.affected_rows(), conn.info().as_ref()), (2, "Rows matched: 2  Changed: 2  Warnings: 0"));
    let missing = "SELECT * FROM missing";
    assert_eq!(server_code(conn.query_drop(missing).await.expect_err("an error")), 1146);
    assert_eq!(server_code(conn.query_drop("").await.expect_err("an error")), 1065);
    assert_eq!(server_code(conn.prep(missing).await.expect_err("an error")), 1146);
    // In the middle of the rows: some before it are there, and the connection goes on.
    let numbers = "a.n * 1000 + b.n FROM thousand a, thousand b WHERE a.n < 250";
    let mut result = conn.query_iter(format!("SELECT 9223372036854775807 - 249998 + {numbers}")).await.expect("rows");
    let mut rows = 0;
    let error = loop {
        match result.next().await {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("the error is missing after {rows} rows"),
            Err(error) => break error,
        }
    };
    assert_eq!(server_code(error), 1690);
    assert!(0 < rows && rows < 250_000, "{rows}");
    drop(result);
    let rows: Vec<(String, i64)> = conn.query(format!("SELECT CONCAT('row ', b.n), {numbers}")).await.expect("rows");
    assert_eq!(rows.len(), 250_000);
    assert_eq!(rows.iter().map(|row| row.1).sum::<i64>(), 249_999 * 250_000 / 2);
    assert!(rows.iter().all(|(text, n)| *text == format!("row {}", n % 1000)));
    conn.ping().await.expect("alive");
    assert_eq!(server.metrics.errors.get(), 4);
}

#[tokio::test]
async fn several_statements_in_one_text() {
    let server = start().await;
    let mut conn = server.connect().await;
    let text = "SELECT 1; INSERT INTO t VALUES (1, 2), (3, 4), (5, 6); SELECT n, 'x' FROM digits LIMIT 2;";
    let mut result = conn.query_iter(text).await.expect("results");
    assert_eq!(result.collect::<i64>().await.expect("rows"), [1]);
    assert_eq!(result.affected_rows(), 3);
    result.collect::<i64>().await.expect("no rows");
    assert_eq!(result.collect::<(i64, String)>().await.expect("rows").len(), 2);
    assert!(result.is_empty());
    drop(result);
    // A semicolon in a string or a comment ends nothing.
    let mut result = conn.query_iter("SELECT 'a;b' /* ; */; SELECT \"c;\"").await.expect("results");
    assert_eq!(result.collect::<String>().await.expect("rows"), ["a;b"]);
    assert_eq!(result.collect::<String>().await.expect("rows"), ["c;"]);
    drop(result);
    // The first error ends the text.
    let mut result = conn.query_iter("SELECT 1; SELECT * FROM missing; DELETE FROM t").await.expect("results");
    assert_eq!(result.collect::<i64>().await.expect("rows"), [1]);
    let error = result.collect::<i64>().await.expect_err("an error");
    assert_eq!(server_code(error), 1146);
    drop(result);
    assert_eq!(conn.query_first::<i64, _>("SELECT COUNT(*) FROM t").await.expect("alive"), Some(3));
}

#[tokio::test]
async fn packets_beyond_sixteen_mebibytes() {
    let server = start().await;
    let mut conn = server.connect().await;
    for length in [0xFF_FFFF - 5, 0xFF_FFFF - 4, 0xFF_FFFF - 3, 20 << 20] {
        let blob: Vec<u8> =
            conn.query_first(format!("SELECT REPEAT('x', {length})")).await.expect("a row").expect("one");
        assert!(blob.len() == length && blob.iter().all(|byte| *byte == b'x'), "{length}");
        let sql = format!("SELECT LENGTH('{}')", "y".repeat(length));
        let got: Option<usize> = conn.query_first(sql).await.expect("a row");
        assert_eq!(got, Some(length));
    }
    conn.query_drop("CREATE TABLE long_values (id INT PRIMARY KEY, raw LONGBLOB, chars LONGTEXT)").await.expect("made");
    let (raw, chars) = (vec![0xFE; 17 << 20], "é".repeat(9 << 20));
    conn.exec_drop("INSERT INTO long_values VALUES (1, ?, ?)", (&raw, &chars)).await.expect("inserted");
    let back: Option<(Vec<u8>, String)> = conn.query_first("SELECT raw, chars FROM long_values").await.expect("a row");
    assert!(back.is_some_and(|back| back == (raw, chars)));
    let long = vec![b'z'; 40 << 20];
    let row: Row = conn.exec_first("SELECT ?", (long.clone(),)).await.expect("a row").expect("one");
    assert!(row.unwrap() == [Value::Bytes(long)]);
}

#[tokio::test]
async fn too_large_a_packet_is_refused() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    raw.sequence = 0;
    for _ in 0..4 {
        let mut frame = vec![0x20; 0xFF_FFFF];
        frame[0] = 3;
        raw.write(&frame).await;
    }
    raw.write(&vec![0x20; 5 << 20]).await;
    assert_eq!(error_code(&raw.read().await.expect("an error")), 1153);
    assert_eq!(raw.read().await, None);

    // Strangers have far less room.
    let mut raw = server.raw().await;
    raw.greeting().await;
    raw.write(&[1; 20_000]).await;
    assert_eq!(error_code(&raw.read().await.expect("an error")), 1153);
}

#[tokio::test]
async fn sessions_change_and_are_reset() {
    let server = start().await;
    let mut conn = server.connect().await;
    let database = "SELECT DATABASE()";
    assert_eq!(conn.query_first::<String, _>(database).await.expect("a row").as_deref(), Some("d"));
    conn.query_drop("SET @mine = 5, autocommit = 0; BEGIN; INSERT INTO t VALUES (1, 1)").await.expect("begun");
    let prepared = conn.prep("SELECT 1").await.expect("prepared");
    assert!(conn.reset().await.expect("reset"), "the server knows how to");
    // The database stays; what else the session had is gone.
    assert_eq!(conn.query_first::<String, _>(database).await.expect("a row").as_deref(), Some("d"));
    let left: Option<(i64, Option<i64>, i64)> =
        conn.query_first("SELECT COUNT(*), @mine, @@autocommit FROM t").await.expect("a row");
    assert_eq!(left, Some((0, None, 1)));
    assert_eq!(server_code(conn.exec_drop(&prepared, ()).await.expect_err("forgotten")), 1243);
    conn.change_user(
        mysql_async::ChangeUserOpts::new()
            .with_user(Some("app".into()))
            .with_pass(Some("other".into()))
            .with_db_name(Some("other".into())),
    )
    .await
    .expect("changed");
    assert_eq!(conn.query_first::<String, _>(database).await.expect("a row").as_deref(), Some("other"));
    assert_eq!(server.processes.list()[0].user, "app");
    let wrong = mysql_async::ChangeUserOpts::new().with_user(Some("app".into())).with_pass(Some("no".into()));
    assert_eq!(server_code(conn.change_user(wrong).await.expect_err("refused")), 1045);
}

#[tokio::test]
async fn small_commands() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    for name in [b"\x02other".as_slice(), b"\x02d"] {
        assert_eq!(raw.command(name).await.expect("OK")[0], 0);
    }
    assert_eq!(error_code(&raw.command(b"\x02missing").await.expect("an error")), 1049);
    assert_eq!(error_code(&raw.command(b"\x02\xFF").await.expect("an error")), 1300);
    assert!(raw.command(b"\x09").await.expect("a line").starts_with(b"Uptime: "));
    for unknown in [b"\x00".as_slice(), b"\x05x", b"\x1D", b"\x7F", b"\xFF"] {
        assert_eq!(error_code(&raw.command(unknown).await.expect("an error")), 1047, "{unknown:?}");
    }
    assert_eq!(error_code(&raw.command(b"\x17\x09\0\0\0\0\x01\0\0\0").await.expect("an error")), 1243);
    assert_eq!(error_code(&raw.command(b"\x1A\x09\0\0\0").await.expect("an error")), 1243);
    assert_eq!(error_code(&raw.command(b"\x1C\x09\0\0\0\x01\0\0\0").await.expect("an error")), 1421);
    // COM_FIELD_LIST with a pattern: one column, then the end.
    let column = raw.command(b"\x04t\0B%").await.expect("a column");
    assert!(column.starts_with(b"\x03def") && column.ends_with(b"\xFB"));
    assert_eq!(raw.read().await.expect("the end")[0], 0xFE);
    assert_eq!(error_code(&raw.command(b"\x04missing\0").await.expect("an error")), 1146);
    // COM_PROCESS_INFO answers with the rows of SHOW PROCESSLIST: here there is one.
    assert_eq!(raw.command(b"\x0A").await.expect("columns"), [8]);
    for _ in 0..9 {
        raw.read().await.expect("a column, or the row");
    }
    assert_eq!(raw.read().await.expect("the end")[0], 0xFE);
    assert_eq!(error_code(&raw.command(b"\x0C\xFF\xFF\0\0").await.expect("an error")), 1094);
    // Several statements only while the client says so.
    assert_eq!(raw.command(b"\x1B\x01\0").await.expect("the end")[0], 0xFE);
    assert_eq!(error_code(&raw.command(b"\x03SELECT 1; SELECT 2").await.expect("an error")), 1064);
    assert_eq!(error_code(&raw.command(b"\x1B\x05\0").await.expect("an error")), 1047);
    assert_eq!(raw.command(b"\x1F").await.expect("OK")[0], 0);
    raw.sequence = 0;
    raw.write(b"\x01").await;
    assert_eq!(raw.read().await, None, "goodbye");
}

#[tokio::test]
async fn long_data_and_kept_types() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    let prepared = raw.command(b"\x16SELECT ?").await.expect("prepared");
    assert_eq!(prepared[0], 0);
    let id = &prepared[1..5];
    // One parameter and one column, each followed by nothing as EOF is out of use.
    raw.read().await.expect("the parameter");
    raw.read().await.expect("the column");
    for piece in [b"ab".as_slice(), b"cd"] {
        raw.sequence = 0;
        raw.write(&[b"\x18", id, b"\0\0", piece].concat()).await;
    }
    let execute = |tail: &[u8]| [b"\x17", id, b"\0\x01\0\0\0", tail].concat();
    assert_eq!(raw.command(&execute(b"\0\x01\xFC\0")).await.expect("columns"), [1]);
    raw.read().await.expect("the column");
    assert_eq!(raw.read().await.expect("a row"), b"\0\0\x04abcd");
    assert_eq!(raw.read().await.expect("the end")[0], 0xFE);
    // The next execution keeps the type and has its own value.
    assert_eq!(raw.command(&execute(b"\0\0\x02hi")).await.expect("columns"), [1]);
    raw.read().await.expect("the column");
    assert_eq!(raw.read().await.expect("a row"), b"\0\0\x02hi");
    raw.read().await.expect("the end");
    assert_eq!(error_code(&raw.command(&execute(b"\0\0\x09hi")).await.expect("an error")), 1835);
}

#[tokio::test]
async fn kills() {
    let server = start().await;
    let (one, mut two) = (server.connect().await, server.connect().await);
    let id = one.id();
    let mut one = kill_query(&server, one, &mut two, "SELECT SLEEP(100)").await;
    two.query_drop(format!("KILL {id}")).await.expect("killed");
    one.query_drop("SELECT 1").await.expect_err("the connection is gone");
    assert_eq!(server_code(two.query_drop("KILL QUERY 4000000").await.expect_err("no such connection")), 1094);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_computes_is_killed() {
    let server = start().await;
    let (one, mut two) = (server.connect().await, server.connect().await);
    let sums = "SELECT SUM(a.n + b.n + c.n + d.n) FROM thousand a, thousand b, thousand c, thousand d";
    let one = kill_query(&server, one, &mut two, sums).await;
    kill_query(&server, one, &mut two, NOTHING).await;
}

/// It finds nothing, and so has nothing to hand on while it compares.
const NOTHING: &str = "WITH million AS (SELECT a.n * 1000 + b.n AS n FROM thousand a, thousand b) \
                       SELECT COUNT(*) FROM million x, million y WHERE x.n + y.n = -1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_compute_keep_nobody_from_the_server() {
    is_served_beside(NOTHING.to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_analyze_keeps_nobody_from_the_server() {
    is_served_beside(format!("EXPLAIN ANALYZE {NOTHING}")).await;
}

/// Runs a statement on all threads that queries have, looks whether others are served meanwhile, and kills it.
async fn is_served_beside(sql: String) {
    let server = start().await;
    let mut running = Vec::new();
    for _ in 0..2 {
        let (mut one, sql) = (server.connect().await, sql.clone());
        running.push((one.id(), tokio::spawn(async move { one.query_drop(sql).await })));
    }
    server.runs(&sql).await;
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    while started.elapsed() < Duration::from_secs(5) {
        let round = Instant::now();
        let mut two = server.connect().await;
        assert_eq!(two.query_first::<i64, _>("SELECT 1").await.expect("planned"), Some(1));
        let counted = two.query_first::<i64, _>("SELECT COUNT(*) FROM thousand WHERE n + 1 > 500").await;
        assert_eq!(counted.expect("computed"), Some(500));
        longest = longest.max(round.elapsed());
    }
    println!("a login, a SELECT 1 and a small scan took {longest:?} at most");
    // A second where there is a processor; more where other tests have it.
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    let mut killer = server.connect().await;
    for (id, task) in running {
        assert!(!task.is_finished(), "it ran all the time");
        killer.query_drop(format!("KILL QUERY {id}")).await.expect("killed");
        assert_eq!(server_code(task.await.expect("no panic").expect_err("killed")), 1317);
    }
}

/// Runs a statement that would last for ever, ends it from another connection, and gives its connection back.
async fn kill_query(server: &Running, mut one: Conn, two: &mut Conn, sql: &'static str) -> Conn {
    let id = one.id();
    let running = tokio::spawn(async move {
        let started = Instant::now();
        let error = one.query_drop(sql).await.expect_err("killed");
        assert!(started.elapsed() < Duration::from_secs(50));
        let alive = one.query_first::<i64, _>("SELECT 1").await;
        (server_code(error), alive.expect("alive"), one)
    });
    server.runs(sql).await;
    two.query_drop(format!("KILL QUERY {id}")).await.expect("killed");
    let (code, alive, back) = running.await.expect("no panic");
    assert_eq!((code, alive), (1317, Some(1)));
    back
}

#[tokio::test]
async fn who_leaves_is_not_worked_for() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    raw.sequence = 0;
    raw.write(b"\x03SELECT SLEEP(60)").await;
    server.runs("SELECT SLEEP(60)").await;
    drop(raw);
    let started = Instant::now();
    while server.processes.count() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(started.elapsed() < Duration::from_secs(20), "the statement ends with its client");
    }
}

#[tokio::test]
async fn commands_sent_ahead_are_answered_in_order() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    for n in 100..200 {
        raw.sequence = 0;
        raw.write(format!("\x03SELECT {n}").as_bytes()).await;
    }
    for n in 100..200 {
        assert_eq!(raw.read().await.expect("columns"), [1]);
        raw.read().await.expect("the column");
        assert_eq!(raw.read().await.expect("a row"), format!("\x03{n}").as_bytes());
        assert_eq!(raw.read().await.expect("the end")[0], 0xFE);
    }
}

#[tokio::test]
async fn the_status_tells_of_the_transaction() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    let (idle, within) = (StatusFlags::SERVER_STATUS_AUTOCOMMIT, StatusFlags::SERVER_STATUS_IN_TRANS);
    for (sql, expected) in [
        ("BEGIN", idle | within),
        ("INSERT INTO t VALUES (1, 1)", idle | within),
        ("COMMIT", idle),
        ("SET autocommit = 0", StatusFlags::empty()),
        ("INSERT INTO t VALUES (2, 2)", within),
        ("ROLLBACK", StatusFlags::empty()),
        ("SET autocommit = 1", idle),
    ] {
        // OK, the affected rows and the last id of a byte each, the status.
        let ok = raw.command(format!("\x03{sql}").as_bytes()).await.expect("OK");
        assert_eq!(ok[0], 0, "{sql}");
        assert_eq!(u16::from_le_bytes([ok[3], ok[4]]), expected.bits(), "{sql}");
    }
}

#[tokio::test]
async fn a_full_server_keeps_a_place_for_root() {
    let server = start_with(Options { max_connections: 2, ..Options::default() }).await;
    let app = || Conn::new(server.options("app", "other"));
    let (first, _second) = (app().await.expect("in"), app().await.expect("in"));
    assert_eq!(server_code(app().await.expect_err("full")), 1040);
    let _root = server.connect().await;
    assert_eq!(server_code(Conn::new(server.options("root", "secret")).await.expect_err("fuller")), 1040);
    first.disconnect().await.expect("closed");
    drop(_root);
    let started = Instant::now();
    while app().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "places are given back");
    }
}

/// Logs in as a client that sends files.
async fn with_files(server: &Running) -> Raw {
    let mut raw = server.raw().await;
    let salt = raw.greeting().await;
    let mut out = Vec::new();
    let request = LoginRequest {
        user: "root".to_owned(),
        response: scramble_native("secret", &salt),
        plugin: Some(NATIVE_PLUGIN.to_owned()),
        ..LoginRequest::default()
    };
    let capabilities = server_capabilities(false, true) - CapabilityFlags::CLIENT_CONNECT_WITH_DB;
    put_answer(&mut out, capabilities, &request);
    raw.write(&out).await;
    assert_eq!(raw.read().await.expect("OK")[0], 0);
    raw
}

#[tokio::test]
async fn who_says_nothing_in_the_middle_of_a_file_is_not_waited_for() {
    let options = Options { local_infile: true, ..Options::default() };
    let server = start_with(options).await;
    let mut two = server.connect().await;
    let load = "LOAD DATA LOCAL INFILE 'data.csv' INTO TABLE d.t (a)";
    let command = format!("\x03{load}");

    let mut raw = with_files(&server).await;
    assert_eq!(raw.command(b"\x03SET wait_timeout = 1").await.expect("OK")[0], 0);
    raw.command(command.as_bytes()).await.expect("a request");
    raw.write(b"1\n2\n").await;
    let end = tokio::time::timeout(Duration::from_secs(30), raw.read()).await.expect("it ends");
    assert_eq!(error_code(&end.expect("an error")), 1159);
    assert_eq!(raw.read().await, None);

    // One that was killed, and whose client is gone without a word.
    let loads = || server.processes.list().into_iter().find(|process| process.info.as_deref() == Some(load));
    let none_loads = async || {
        while loads().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    none_loads().await;
    let mut raw = with_files(&server).await;
    raw.command(command.as_bytes()).await.expect("a request");
    raw.write(b"1\n2\n").await;
    server.runs(load).await;
    two.query_drop(format!("KILL QUERY {}", loads().expect("running").id)).await.expect("killed");
    let end = tokio::time::timeout(Duration::from_secs(50), raw.read()).await.expect("it ends");
    assert_eq!(error_code(&end.expect("an error")), 1317);

    // One that was killed, and whose client sends the rest: the connection is as good as before.
    none_loads().await;
    let mut raw = with_files(&server).await;
    raw.command(command.as_bytes()).await.expect("a request");
    raw.write(b"1\n2\n").await;
    server.runs(load).await;
    two.query_drop(format!("KILL QUERY {}", loads().expect("running").id)).await.expect("killed");
    raw.write(b"3\n").await;
    raw.write(b"").await;
    assert_eq!(error_code(&raw.read().await.expect("an error")), 1317);
    assert_eq!(raw.command(b"\x0E").await.expect("a pong")[0], 0);
    assert_eq!(two.query_first::<i64, _>("SELECT COUNT(*) FROM t").await.expect("a row"), Some(0));
}

#[tokio::test]
async fn local_files() {
    let options = Options { local_infile: true, ..Options::default() };
    let server = start_with(options).await;
    let mut raw = with_files(&server).await;
    let load = b"\x03LOAD DATA LOCAL INFILE 'data.csv' INTO TABLE d.t (a)";
    assert_eq!(raw.command(load).await.expect("a request"), b"\xFBdata.csv");
    for piece in [b"1\n2\n".as_slice(), b"3\n", b""] {
        raw.write(piece).await;
    }
    let ok = raw.read().await.expect("OK");
    assert_eq!(ok[..2], [0, 3]);
    // What does not fit is bent, with warnings: nobody can ask for another try.
    raw.command(load).await.expect("a request");
    raw.write(b"bad\n4\n").await;
    raw.write(b"").await;
    let ok = raw.read().await.expect("OK");
    assert_eq!((ok[..2].to_vec(), ok[5..7].to_vec()), (vec![0, 2], vec![1, 0]));
    assert_eq!(raw.command(b"\x03SELECT SUM(a), COUNT(*) FROM d.t").await.expect("columns"), [2]);
    for _ in 0..2 {
        raw.read().await.expect("a column");
    }
    assert_eq!(raw.read().await.expect("a row"), b"\x0210\x015");
    raw.read().await.expect("the end");
    // A loader that fails: the rest of the file is swallowed, then the error comes.
    let load = b"\x03LOAD DATA LOCAL INFILE 'data.csv' INTO TABLE d.missing";
    raw.command(load).await.expect("a request");
    for _ in 0..100 {
        raw.write(b"1\n").await;
    }
    raw.write(b"").await;
    assert_eq!(error_code(&raw.read().await.expect("an error")), 1146);
    assert_eq!(raw.command(b"\x0E").await.expect("a pong")[0], 0);
    // Where the server does not offer it, the session is told so.
    let server = start().await;
    let mut conn = server.connect().await;
    assert_eq!(
        server_code(conn.query_drop("LOAD DATA LOCAL INFILE 'data.csv' INTO TABLE t").await.expect_err("refused")),
        3948
    );
}

#[tokio::test]
async fn shutdown_waits_for_statements() {
    let server = start().await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    let work = tokio::spawn(async move { busy.query_drop("SELECT SLEEP(0.3)").await });
    server.runs("SELECT SLEEP(0.3)").await;
    server.stop.send(()).expect("running");
    work.await.expect("no panic").expect("the statement ends as if nothing had happened");
    server.task.await.expect("no panic");
    idle.query_drop("SELECT 1").await.expect_err("closed");
    TcpStream::connect(server.address).await.expect_err("nobody listens");
}

#[tokio::test]
async fn hostile_bytes_harm_nobody_else() {
    let server = start().await;
    let mut random = Random::new(4);
    for round in 0..300 {
        let mut raw = server.raw().await;
        match round % 3 {
            // Before the login.
            0 => {
                let bytes = random.bytes(300);
                let _ = raw.stream.write_all(&bytes).await;
            }
            // In place of the login.
            1 => {
                raw.greeting().await;
                let payload = random.bytes(200);
                raw.write(&payload).await;
            }
            // After the login, in place of a command.
            _ => {
                raw.log_in().await;
                for _ in 0..5 {
                    let mut payload = random.bytes(60);
                    if let Some(command) = payload.first_mut() {
                        *command = random.below(0x21) as u8;
                    }
                    raw.sequence = if random.below(10) == 0 { 3 } else { 0 };
                    raw.write(&payload).await;
                }
            }
        }
        let _ = raw.stream.shutdown().await;
        let mut sink = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), raw.stream.read_to_end(&mut sink)).await;
        assert!(read.is_ok(), "round {round} hangs");
    }
    let mut conn = server.connect().await;
    assert_eq!(conn.query_first::<i64, _>("SELECT 1").await.expect("a row"), Some(1));
}

#[tokio::test]
async fn wrong_sequence_numbers_end_the_connection() {
    let server = start().await;
    let mut raw = server.raw().await;
    raw.log_in().await;
    raw.sequence = 5;
    raw.write(b"\x0E").await;
    assert_eq!(error_code(&raw.read().await.expect("an error")), 1156);
    assert_eq!(raw.read().await, None);
}
