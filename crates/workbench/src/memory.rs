//! Little memory: a server that may use half a gigabyte, or one, and statements that want more.
//!
//! The server runs in a memory cgroup of its own: what takes too much is killed by the kernel, as in a container. A statement
//! may fail, with an error of its own. The server may not die, and whoever logs in or asks for little meanwhile gets it.
//! One that goes on for long is killed, and must end then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, stream};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as ClientError, Opts, OptsBuilder, WhiteListFsHandler};
use tokio::time::timeout;

use strandline_workbench::process::{Result, Server};

use crate::tpch;

/// The limits that are tried, in MiB, unless others are given.
const LIMITS_MIB: [u64; 2] = [512, 1024];

/// A statement that goes on for longer is killed: it has shown what it does to the memory. So soon it must end then.
const STATEMENT: Duration = Duration::from_secs(8);

/// How long those may wait who ask for little. Without optimisation the server takes several times as long for all.
const ANSWER: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 1 });

/// After so long nobody waits any more.
const NO_ANSWER: Duration = Duration::from_secs(60);

/// How many of the same statements run at once.
const CROWD: usize = 8;

/// How many of TPC-H's queries must be answered where there is a gigabyte, and where there is less, at a scale of 0.1 or less.
const ANSWERED_MIN: [usize; 2] = [20, 20];

/// Tries each limit. An argument that is no number is a part of a case's name: then only such cases are tried.
pub async fn run(arguments: &[&str]) -> Result<()> {
    let (limits, names): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| word.parse::<u64>().is_ok());
    let limits: Vec<u64> = match limits.as_slice() {
        [] => LIMITS_MIB.to_vec(),
        limits => limits.iter().map(|limit| limit.parse()).collect::<Result<_, _>>()?,
    };
    if let Some(unknown) = names.iter().find(|name| !hostile(0).iter().any(|case| case.name.contains(*name))) {
        return Err(format!("no case is called so: '{unknown}'").into());
    }
    let scale = std::env::var("STRANDLINE_SCALE").map_or(Ok(1.0), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    println!("writing TPC-H's tables at scale {scale}");
    let files = tpch::write_files(folder.path(), scale)?;
    let mut failed = 0;
    for limit in limits {
        failed += under(limit, scale, folder.path(), &files, &names).await?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} faults").into()),
    }
}

/// Runs everything under one limit; returns how many faults there were.
async fn under(limit: u64, scale: f64, folder: &Path, files: &[PathBuf], names: &[&str]) -> Result<u64> {
    let group = Group::new(limit << 20)?;
    let server = Server::strandline_in(&folder.join(format!("store-{limit}")), &group.procs()).await?;
    let opts = OptsBuilder::from_opts(server.opts(None));
    let mut conn = Conn::new(opts.local_infile_handler(Some(WhiteListFsHandler::new(files)))).await?;
    let start = Instant::now();
    tpch::load(&mut conn, files).await?;
    println!("\n{limit} MiB: loaded in {:.1} s, {}", start.elapsed().as_secs_f64(), group.report()?);

    let asked = Asking::start(&server);
    let mut faults = Vec::new();
    if names.is_empty() {
        faults.extend(queries(&mut conn, limit, scale).await);
        println!("{}", group.report()?);
    }

    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut statements = 0;
    let is_wanted = |case: &Case| names.is_empty() || names.iter().any(|name| case.name.contains(name));
    for case in hostile(limit).into_iter().filter(is_wanted) {
        if faults.len() > 3 {
            break;
        }
        let before = Instant::now();
        if let Err(error) = prepare(&server, &case.setup).await {
            faults.push(format!("{}, before it began: {error}", case.name));
            continue;
        }
        let many = if case.crowd { CROWD } else { 1 };
        for outcome in join_all((0..many).map(|_| attempt(&server, &case))).await {
            let Ok(all) = outcome.map_err(|error| faults.push(format!("{}: {error}", case.name))) else { continue };
            statements += all.len();
            if let (Some(expected), Some(first)) = (case.first_ends, all.first())
                && !first.starts_with(expected)
            {
                faults.push(format!("{}: it ends with '{first}', and not with '{expected}'", case.name));
            }
            all.into_iter().for_each(|end| *ends.entry(end).or_default() += 1);
        }
        if std::env::var_os("STRANDLINE_VERBOSE").is_some() || !names.is_empty() {
            println!("{:<44} x{many} {:>5.1} s  {}", case.name, before.elapsed().as_secs_f64(), group.report()?);
        }
    }
    faults.extend(asked.stop().await);
    println!("{statements} hostile statements ended so:");
    for (end, count) in &ends {
        println!("{count:>6}  {end}");
    }
    println!("{}", group.report()?);
    if group.kills()? > 0 {
        faults.push("the kernel killed the server for its memory".into());
    }
    match timeout(NO_ANSWER, count(&server)).await {
        Ok(Ok(Some(25))) => {}
        other => faults.push(format!("afterwards nation has not its 25 rows: {other:?}")),
    }
    if let Err(error) = server.stop() {
        faults.push(error.to_string());
    }
    for fault in &faults {
        println!("FAULT {fault}");
    }
    Ok(faults.len() as u64)
}

async fn count(server: &Server) -> Result<Option<u64>, ClientError> {
    let mut conn = Conn::new(server.opts(Some("tpch"))).await?;
    conn.query_first("SELECT COUNT(*) FROM nation").await
}

/// Runs TPC-H's queries, and returns what is wrong. One may fail for want of memory, but not many, and none is answered wrongly.
async fn queries(conn: &mut Conn, limit: u64, scale: f64) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut answered, mut wrong) = (0, 0);
    for number in 1..=tpch::QUERIES {
        let start = Instant::now();
        let outcome = tpch::run(conn, number).await;
        let took = start.elapsed().as_secs_f64();
        answered += usize::from(outcome.is_ok());
        match outcome {
            Ok(rows) if scale == 1.0 => match tpch::difference(number, &rows) {
                None => println!("Q{number:<3} {took:>6.2} s  right"),
                Some(difference) => {
                    wrong += 1;
                    println!("Q{number:<3} {took:>6.2} s  WRONG: {difference}");
                }
            },
            Ok(rows) => println!("Q{number:<3} {took:>6.2} s  {} rows", rows.len()),
            Err(ClientError::Server(error)) => println!("Q{number:<3} {took:>6.2} s  {error}"),
            Err(error) => {
                faults.push(format!("Q{number}: {error}"));
                break;
            }
        }
    }
    println!("{answered} of {} queries were answered", tpch::QUERIES);
    let least = ANSWERED_MIN[usize::from(limit < 1024)];
    if scale <= 0.1 && answered < least {
        faults.push(format!("{answered} of TPC-H's queries were answered, and {least} must be"));
    }
    if wrong > 0 {
        faults.push(format!("{wrong} wrong answers"));
    }
    faults
}

/// Statements that want more than there is.
struct Case {
    name: String,
    /// What comes first, once: it must succeed.
    setup: Vec<String>,
    /// What comes first in each session, and must succeed.
    before: Vec<String>,
    /// One after the other, however each ends.
    sql: Vec<String>,
    /// What comes last in each session, and must succeed.
    after: Vec<String>,
    /// Several sessions run at once.
    crowd: bool,
    /// How the first statement must end: what fails at once wants nothing, and what asks for little must be done.
    first_ends: Option<&'static str>,
    /// How many lines of [`LINE_BYTES`] the client has for LOAD DATA LOCAL.
    lines: u64,
    /// When a statement is killed.
    within: Duration,
}

const LINE_BYTES: usize = 8_000_000;

impl Case {
    fn new(name: &str, sql: impl Into<String>) -> Case {
        Case {
            name: name.into(),
            setup: Vec::new(),
            before: Vec::new(),
            sql: vec![sql.into()],
            after: Vec::new(),
            crowd: false,
            first_ends: None,
            lines: 0,
            within: STATEMENT,
        }
    }
}

async fn connect(opts: Opts) -> Result<Conn> {
    Ok(timeout(NO_ANSWER, Conn::new(opts)).await.map_err(|_| "nobody is let in")??)
}

async fn prepare(server: &Server, setup: &[String]) -> Result<()> {
    if setup.is_empty() {
        return Ok(());
    }
    let mut conn = connect(server.opts(Some("tpch"))).await?;
    succeed(&mut conn, setup).await?;
    Ok(conn.disconnect().await?)
}

async fn succeed(conn: &mut Conn, statements: &[String]) -> Result<()> {
    for sql in statements {
        let shown: String = sql.chars().take(60).collect();
        let done = timeout(NO_ANSWER, conn.query_drop(sql)).await.map_err(|_| format!("{shown}: no end"))?;
        done.map_err(|error| format!("{shown}: {error}"))?;
    }
    Ok(())
}

/// Runs a case in a session of its own, and returns how its statements ended. An error is a fault: the server hung up, or does
/// not answer any more, or refuses what a case needs.
async fn attempt(server: &Server, case: &Case) -> Result<Vec<String>> {
    let mut conn = connect(server.opts(Some("tpch"))).await?;
    let mut killer = connect(server.opts(None)).await?;
    succeed(&mut conn, &case.before).await?;
    let mut ends = Vec::new();
    for sql in &case.sql {
        if case.lines > 0 {
            let lines = case.lines;
            conn.set_infile_handler(async move { Ok(stream::iter((0..lines).map(|at| Ok(line(at).into()))).boxed()) });
        }
        match end_of(&mut conn, &mut killer, sql, case.within).await? {
            Some(end) => ends.push(end),
            // The session was killed with it.
            None => {
                ends.push("done, and not read to its end".to_owned());
                return Ok(ends);
            }
        }
    }
    succeed(&mut conn, &case.after).await?;
    conn.disconnect().await?;
    killer.disconnect().await?;
    Ok(ends)
}

/// Returns how a statement ended; nothing if it had more rows than anybody reads, and the session was killed.
async fn end_of(conn: &mut Conn, killer: &mut Conn, sql: &str, within: Duration) -> Result<Option<String>> {
    let id = conn.id();
    let mut running = Box::pin(conn.query_iter(sql));
    let outcome = match timeout(within, &mut running).await {
        Ok(outcome) => outcome,
        Err(_) => {
            timeout(NO_ANSWER, killer.query_drop(format!("KILL QUERY {id}")))
                .await
                .map_err(|_| "KILL has no answer")??;
            let ended = timeout(STATEMENT, &mut running).await;
            ended.map_err(|_| format!("it went on for {} s after KILL QUERY", STATEMENT.as_secs()))?
        }
    };
    let end = match outcome {
        // What is large is read for a while, and not kept.
        Ok(mut rows) => {
            let reading = async {
                while rows.next().await?.is_some() {}
                Ok::<_, ClientError>(())
            };
            match timeout(within, reading).await {
                Ok(Ok(())) => "done".to_owned(),
                Ok(Err(ClientError::Server(error))) => kind_of(&error),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    drop(rows);
                    timeout(NO_ANSWER, killer.query_drop(format!("KILL {id}")))
                        .await
                        .map_err(|_| "KILL has no answer")??;
                    return Ok(None);
                }
            }
        }
        Err(ClientError::Server(error)) => kind_of(&error),
        // A packet of more than max_allowed_packet ends a connection in MySQL too.
        Err(ClientError::Driver(error)) => format!("refused by the client: {error}"),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(end))
}

fn line(number: u64) -> Vec<u8> {
    let mut line = format!("{number}\t").into_bytes();
    line.resize(LINE_BYTES, b'x');
    line.push(b'\n');
    line
}

fn kind_of(error: &mysql_async::ServerError) -> String {
    let message: String = error.message.chars().take(70).collect();
    format!("{} {}", error.code, message.split(['\n', '\'']).next().unwrap_or_default())
}

/// Returns what a server of so many MiB should survive.
fn hostile(limit: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut query = |name: &str, sql: &str| {
        for crowd in [false, true] {
            cases.push(Case { crowd, ..Case::new(name, sql) });
        }
    };
    query("cross join, counted", "SELECT COUNT(*) FROM lineitem a, lineitem b");
    query("cross join, sorted", "SELECT * FROM orders a, customer b ORDER BY a.o_comment, b.c_comment");
    query(
        "cross join of three",
        "SELECT a.l_comment, b.l_comment FROM lineitem a, lineitem b, orders c LIMIT 100000000",
    );
    query("groups of text", "SELECT l_comment, COUNT(*) FROM lineitem GROUP BY l_comment ORDER BY 2 DESC LIMIT 5");
    query(
        "groups of every row",
        "SELECT l_orderkey, l_linenumber, l_comment, MIN(l_tax) FROM lineitem GROUP BY 1, 2, 3",
    );
    query("distinct rows", "SELECT DISTINCT * FROM lineitem");
    query("count of distinct text", "SELECT COUNT(DISTINCT l_comment), COUNT(DISTINCT l_orderkey) FROM lineitem");
    query("distinct per group", "SELECT l_suppkey, COUNT(DISTINCT l_comment) FROM lineitem GROUP BY l_suppkey");
    query("GROUP_CONCAT of everything", "SELECT GROUP_CONCAT(l_comment) FROM lineitem");
    query(
        "GROUP_CONCAT per order",
        "SELECT l_orderkey, GROUP_CONCAT(l_comment ORDER BY l_comment) FROM lineitem GROUP BY 1",
    );
    query("JSON_ARRAYAGG of everything", "SELECT JSON_ARRAYAGG(l_comment) FROM lineitem");
    query("JSON_OBJECTAGG of everything", "SELECT JSON_OBJECTAGG(l_comment, l_tax) FROM lineitem");
    query("sort of wide rows", "SELECT * FROM lineitem ORDER BY l_comment, l_partkey");
    query("sort of two tables", "SELECT * FROM lineitem JOIN orders ON l_orderkey = o_orderkey ORDER BY o_comment");
    query("sort by chance", "SELECT * FROM lineitem ORDER BY RAND()");
    query("far offset", "SELECT * FROM lineitem ORDER BY l_comment LIMIT 5000000, 10");
    query("window over all", "SELECT l_orderkey, ROW_NUMBER() OVER (ORDER BY l_comment) FROM lineitem");
    query(
        "window per part",
        "SELECT SUM(l_tax) OVER (PARTITION BY l_partkey ORDER BY l_comment), l_comment FROM lineitem ORDER BY 2",
    );
    query("union", "SELECT * FROM lineitem UNION SELECT * FROM lineitem");
    query("except", "SELECT l_comment FROM lineitem EXCEPT SELECT o_comment FROM orders");
    query("intersect", "SELECT l_comment FROM lineitem INTERSECT SELECT l_comment FROM lineitem");
    query("self join by part", "SELECT COUNT(*) FROM lineitem a JOIN lineitem b ON a.l_partkey = b.l_partkey");
    query(
        "self join with text",
        "SELECT a.l_comment, b.l_comment FROM lineitem a JOIN lineitem b ON a.l_partkey = b.l_partkey ORDER BY 1, 2",
    );
    query(
        "self join, few keys",
        "SELECT COUNT(*), MAX(a.l_comment) FROM lineitem a JOIN lineitem b USING (l_shipmode)",
    );
    query("join by text", "SELECT COUNT(*) FROM lineitem a JOIN lineitem b ON a.l_comment = b.l_comment");
    query("join without equality", "SELECT COUNT(*) FROM lineitem a JOIN lineitem b ON a.l_partkey < b.l_suppkey");
    query(
        "outer join",
        "SELECT * FROM lineitem a LEFT JOIN partsupp b ON a.l_partkey = b.ps_partkey ORDER BY b.ps_comment",
    );
    query("anti join", "SELECT COUNT(*) FROM lineitem WHERE l_comment NOT IN (SELECT o_comment FROM orders)");
    query("semi join", "SELECT * FROM lineitem WHERE l_comment IN (SELECT l_comment FROM lineitem WHERE l_tax > 0.01)");
    query(
        "recursion without end",
        "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 1000000000) SELECT MAX(n) FROM r",
    );
    query(
        "recursion that doubles",
        "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n FROM r UNION ALL SELECT n FROM r) SELECT COUNT(*) FROM r",
    );
    query(
        "recursion of growing text",
        "WITH RECURSIVE r AS (SELECT 'x' AS t UNION ALL SELECT CONCAT(t, t) FROM r) SELECT MAX(LENGTH(t)) FROM r",
    );
    query("text of two gigabytes", "SELECT LENGTH(REPEAT('x', 2000000000))");
    query("text of two gigabytes, twice", "SELECT CONCAT(REPEAT('x', 1000000000), RPAD('y', 1000000000, 'z'))");
    query("long text per row", "SELECT MAX(REPEAT(l_comment, 100000)) FROM lineitem");
    query("longer text per row", "SELECT REPLACE(l_comment, 'e', REPEAT('e', 1000000)) FROM lineitem");
    query("hex of hex", "SELECT HEX(HEX(HEX(HEX(REPEAT('x', 60000000)))))");
    query("space", "SELECT SPACE(4000000000)");
    query("padded rows, sorted", "SELECT RPAD(l_comment, 10000, 'x') c FROM lineitem ORDER BY c");
    query("many unions", &vec!["SELECT COUNT(*) FROM nation"; 2000].join(" UNION ALL "));
    query("many parentheses", &format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)));
    query("many NOT", &format!("SELECT {} 1", "NOT ".repeat(10_000)));
    query("many minus", &format!("SELECT {}1", "- ".repeat(20_000)));
    query("many subqueries", &format!("{}SELECT 1{}", "SELECT * FROM (".repeat(3_000), ") t".repeat(3_000)));
    query("a long sum", &format!("SELECT 1{}", " + 1".repeat(200_000)));
    query(
        "a long OR",
        &format!("SELECT COUNT(*) FROM nation WHERE n_nationkey = 1{}", " OR n_name = 'x'".repeat(50_000)),
    );
    let list: Vec<String> = (0..1_000_000).map(|n| n.to_string()).collect();
    query("a long list", &format!("SELECT COUNT(*) FROM lineitem WHERE l_partkey IN ({})", list.join(",")));
    query("deep CASE", &format!("SELECT {}1{}", "CASE WHEN 1 THEN ".repeat(3_000), " END".repeat(3_000)));
    query("deep functions", &format!("SELECT {}'x'{}", "UPPER(".repeat(5_000), ")".repeat(5_000)));
    query("deep JSON", &format!("SELECT JSON_EXTRACT('{}1{}', '$[0]')", "[".repeat(100_000), "]".repeat(100_000)));
    query("many columns", &format!("SELECT {}", list[..20_000].join(",")));
    query("many CTEs", &many_ctes(300));
    query("doubled expressions", &doubled(19));
    query("many joins", &many_joins(40));
    query("a scalar of many rows", "SELECT (SELECT l_comment FROM lineitem)");
    query("bits", "SELECT BIT_XOR(l_orderkey), STD(l_tax), GROUP_CONCAT(DISTINCT l_shipmode) FROM lineitem");
    query("ROLLUP of text", "SELECT l_comment, l_shipmode, COUNT(*) FROM lineitem GROUP BY 1, 2 WITH ROLLUP");
    query("LIKE with many wildcards", "SELECT COUNT(*) FROM lineitem WHERE l_comment LIKE '%a%e%i%o%u%a%e%i%o%u%x'");
    query("regular expression", "SELECT COUNT(*) FROM lineitem WHERE l_comment REGEXP '(a|e|i|o|u|aa|ee)*(x+x+)+y'");

    let rollback = |name: &str, sql: &str| Case {
        before: vec!["BEGIN".into()],
        after: vec!["ROLLBACK".into()],
        ..Case::new(name, sql)
    };
    let gone = |name: &str, sql: &str| Case {
        setup: vec!["DROP TABLE IF EXISTS big".into()],
        after: vec!["DROP TABLE IF EXISTS big".into()],
        ..Case::new(name, sql)
    };
    cases.push(rollback("UPDATE of everything", "UPDATE lineitem SET l_comment = CONCAT(l_shipmode, l_comment)"));
    cases.push(rollback("UPDATE to long text", "UPDATE orders SET o_comment = REPEAT(o_comment, 1000)"));
    cases.push(rollback("DELETE of everything", "DELETE FROM lineitem"));
    cases
        .push(rollback("DELETE by a join", "DELETE FROM orders WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem)"));
    cases.push(rollback("INSERT … SELECT", "INSERT INTO orders SELECT o_orderkey + 100000000, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority, o_comment FROM orders"));
    cases.push(rollback("REPLACE … SELECT", "REPLACE INTO orders SELECT * FROM orders"));
    cases.push(rollback(
        "INSERT … ON DUPLICATE KEY",
        "INSERT INTO partsupp SELECT * FROM partsupp ON DUPLICATE KEY UPDATE ps_availqty = partsupp.ps_availqty + 1",
    ));
    cases.push(gone("CREATE TABLE … SELECT", "CREATE TABLE big AS SELECT * FROM lineitem"));
    cases.push(gone("CREATE TABLE … cross join", "CREATE TABLE big AS SELECT a.* FROM lineitem a, lineitem b"));
    cases.push(Case::new("an index", "CREATE INDEX by_comment ON lineitem (l_comment)"));
    cases.push(Case::new("a column more", "ALTER TABLE lineitem ADD COLUMN l_more VARCHAR(20) DEFAULT 'more'"));
    cases.push(Case::new("another type", "ALTER TABLE lineitem MODIFY COLUMN l_comment CHAR(60)"));
    cases.push(Case::new("OPTIMIZE", "OPTIMIZE TABLE lineitem"));
    cases.push(Case::new("CHECK", "CHECK TABLE lineitem"));
    cases.push(Case::new("a compressed snapshot", "CREATE SNAPSHOT squeezed FOR DATABASE tpch COMPRESSION"));
    cases.push(Case::new("DIFF of everything", "DIFF TABLE tpch.lineitem FROM VERSION 9 TO NOW"));
    let drop_gone = ["DROP SNAPSHOT IF EXISTS all_there", "DROP TABLE IF EXISTS gone"].map(str::to_owned);
    let make_gone = [
        "CREATE TABLE gone (PRIMARY KEY (o_orderkey)) AS SELECT * FROM orders",
        "OPTIMIZE TABLE gone",
        "CREATE SNAPSHOT all_there FOR DATABASE tpch",
        "DELETE FROM gone",
    ];
    cases.push(Case {
        setup: drop_gone.iter().cloned().chain(make_gone.map(str::to_owned)).collect(),
        crowd: true,
        ..Case::new("DIFF of what is gone", "DIFF TABLE tpch.gone FROM SNAPSHOT all_there TO NOW OUTPUT COUNT")
    });
    cases.push(Case::new("SHOW COMMITS", "SHOW COMMITS"));
    // A session may keep one of these, and no second; those of a crowd may not be made all at once.
    let bytes = limit * 15_625;
    for crowd in [false, true] {
        let variables = (0..50).map(|n| format!("SET @v{n} = REPEAT('x', {bytes})"));
        cases.push(Case {
            sql: variables.chain(["SELECT LENGTH(@v0), LENGTH(@v49)".to_owned()]).collect(),
            crowd,
            first_ends: (!crowd).then_some("done"),
            ..Case::new("variables of megabytes", "")
        });
    }
    let prepared = (0..5000).map(|n| format!("PREPARE s{n} FROM 'SELECT {n} + COUNT(*) FROM lineitem'"));
    cases.push(Case {
        sql: prepared.chain(["EXECUTE s0".to_owned()]).collect(),
        first_ends: Some("done"),
        ..Case::new("prepared statements", "")
    });
    let blobs = "CREATE TABLE IF NOT EXISTS blobs (id INT PRIMARY KEY, b LONGBLOB)".to_owned();
    cases.push(Case {
        setup: vec![blobs.clone()],
        before: vec!["BEGIN".into()],
        after: vec!["ROLLBACK".into()],
        crowd: true,
        ..Case::new("a row of 60 MB", "INSERT INTO blobs SELECT 1, REPEAT('x', 60000000)")
    });
    let rows = (0..40).map(|n| format!("INSERT INTO blobs VALUES ({n}, REPEAT('x', 15000000))"));
    cases.push(Case {
        setup: [blobs, "DELETE FROM blobs".to_owned()].into_iter().chain(rows).collect(),
        ..Case::new("rows of 15 MB, sorted", "SELECT * FROM blobs ORDER BY b DESC")
    });
    cases.extend(by_key(limit));
    // Each text is a new one, and none is short: what is kept of them must have a bound.
    let ones = vec!["1"; 8000].join(",");
    cases.push(Case {
        sql: (0..2 + limit * 2 / 3).map(|n| format!("SELECT {n} IN ({ones}) FROM no_such_table")).collect(),
        first_ends: Some("1146"),
        ..Case::new("many different texts", "")
    });
    cases.push(Case {
        setup: vec![
            "DROP TABLE IF EXISTS loaded".into(),
            "CREATE TABLE loaded (id INT PRIMARY KEY, b LONGTEXT)".into(),
        ],
        lines: 2 + (limit << 20) * 3 / 2 / LINE_BYTES as u64,
        within: Duration::from_secs(300),
        ..Case::new("a load of long lines", "LOAD DATA LOCAL INFILE 'lines' INTO TABLE loaded")
    });
    // It neither ends nor takes memory: others must be served meanwhile, and KILL must end it.
    let heavy = "SELECT COUNT(*) FROM lineitem a, lineitem b WHERE a.l_orderkey + b.l_orderkey * 2 < 7 AND a.l_comment > b.l_comment";
    cases
        .push(Case { crowd: true, ..Case::new("EXPLAIN ANALYZE of a heavy join", format!("EXPLAIN ANALYZE {heavy}")) });
    cases.push(gone(
        "CREATE TABLE … SELECT that streams",
        "CREATE TABLE big AS SELECT a.l_orderkey * 10 + b.l_linenumber AS n FROM lineitem a, lineitem b",
    ));
    cases
}

/// Rows of 10 MB, more than the memory holds when they are read, asked for by their keys, but for a column that is short.
fn by_key(limit: u64) -> Vec<Case> {
    let rows = 2 + limit / 16;
    let setup = [
        "DROP TABLE IF EXISTS longs".to_owned(),
        "CREATE TABLE longs (id INT PRIMARY KEY, b LONGTEXT, n INT)".to_owned(),
    ];
    let insert = |n| format!("INSERT INTO longs VALUES ({n}, REPEAT('x', 10000000), {n})");
    let setup: Vec<String> = setup.into_iter().chain((0..rows).map(insert)).collect();
    let keys: Vec<String> = (0..rows).map(|n| n.to_string()).collect();
    let keys = keys.join(",");
    let case = |name: &str, sql: String| Case { first_ends: Some("done"), ..Case::new(name, sql) };
    vec![
        Case { setup, ..case("long rows by key", format!("SELECT SUM(n) FROM longs WHERE id IN ({keys})")) },
        case("long rows by key, explained", format!("EXPLAIN SELECT n FROM longs WHERE id IN ({keys})")),
        // A transaction holds the rows that it writes.
        Case {
            first_ends: Some("1038"),
            ..case("long rows by key, updated", format!("UPDATE longs SET n = n + 1 WHERE id IN ({keys})"))
        },
    ]
}

fn many_ctes(count: usize) -> String {
    let all: Vec<String> = (1..count).map(|n| format!("c{n} AS (SELECT a.* FROM c{} a)", n - 1)).collect();
    format!("WITH c0 AS (SELECT * FROM lineitem), {} SELECT COUNT(*) FROM c{}", all.join(", "), count - 1)
}

/// A filter over a column that was doubled so many times, each time by the name of the last.
fn doubled(times: usize) -> String {
    let all: Vec<String> = (1..=times).map(|n| format!("c{n} AS (SELECT a + a AS a FROM c{})", n - 1)).collect();
    format!(
        "WITH c0 AS (SELECT l_tax AS a FROM lineitem), {} SELECT COUNT(*) FROM c{times} WHERE a > 5",
        all.join(", ")
    )
}

fn many_joins(count: usize) -> String {
    let all: Vec<String> = (1..count).map(|n| format!("JOIN nation n{n} USING (n_regionkey)")).collect();
    format!("SELECT COUNT(*) FROM nation n0 {}", all.join(" "))
}

/// What is asked again and again, and the answer: from what needs no plan to a new login.
const QUESTIONS: [(&str, Option<(&str, &str)>); 4] = [
    ("a look-up by key", Some(("SELECT n_name FROM nation WHERE n_nationkey = 7", "GERMANY"))),
    ("a look-up that is planned", Some(("SELECT n_nationkey + 1 FROM nation WHERE n_nationkey = 7", "8"))),
    ("SELECT 1", Some(("SELECT 1", "1"))),
    ("a login", None),
];

/// Those who ask for little, each on a connection of its own.
struct Asking {
    over: Arc<AtomicBool>,
    tasks: Vec<(&'static str, tokio::task::JoinHandle<Result<Waits>>)>,
}

#[derive(Default)]
struct Waits {
    count: u64,
    longest: Duration,
}

impl Asking {
    fn start(server: &Server) -> Asking {
        let over = Arc::new(AtomicBool::new(false));
        let task = |question| tokio::spawn(ask(server.opts(Some("tpch")), question, over.clone()));
        let tasks = QUESTIONS.map(|(name, question)| (name, task(question))).into();
        Asking { over, tasks }
    }

    /// Prints how long they waited, and returns what is wrong with it.
    async fn stop(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        let mut faults = Vec::new();
        for (name, task) in self.tasks {
            match task.await {
                Ok(Ok(waits)) => {
                    let longest = waits.longest.as_secs_f64();
                    println!("{:>6} times meanwhile {name}, the longest took {:.0} ms", waits.count, longest * 1e3);
                    if waits.count == 0 || waits.longest > ANSWER {
                        faults.push(format!("{name} was answered {} times, and took {longest:.2} s once", waits.count));
                    }
                }
                Ok(Err(error)) => faults.push(format!("{name}: {error}")),
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        faults
    }
}

async fn ask(opts: Opts, question: Option<(&str, &str)>, over: Arc<AtomicBool>) -> Result<Waits> {
    let mut waits = Waits::default();
    let mut conn = connect(opts.clone()).await?;
    while !over.load(Ordering::SeqCst) {
        let start = Instant::now();
        match question {
            Some((sql, expected)) => {
                let answer = timeout(NO_ANSWER, conn.query_first::<String, _>(sql)).await;
                let answer = answer.map_err(|_| format!("no answer in {} s", NO_ANSWER.as_secs()))??;
                if answer.as_deref() != Some(expected) {
                    return Err(format!("the answer is {answer:?}").into());
                }
            }
            None => connect(opts.clone()).await?.disconnect().await?,
        }
        waits.count += 1;
        waits.longest = waits.longest.max(start.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    conn.disconnect().await?;
    Ok(waits)
}

/// A memory cgroup, removed when it is dropped: of version 1 or 2, whichever the kernel was started with.
struct Group {
    folder: PathBuf,
    is_v2: bool,
}

impl Group {
    fn new(bytes: u64) -> Result<Group> {
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = root.join("cgroup.controllers").exists();
        let name = format!("strandline-{}-{bytes}", std::process::id());
        let folder = if is_v2 { root.join(name) } else { root.join("memory").join(name) };
        let made = fs::create_dir(&folder).and_then(|()| {
            if is_v2 {
                fs::write(folder.join("memory.swap.max"), "0")?;
                return fs::write(folder.join("memory.max"), bytes.to_string());
            }
            fs::write(folder.join("memory.limit_in_bytes"), bytes.to_string())
        });
        made.map_err(|error| format!("cannot make a memory cgroup at {}: {error}; this needs root", folder.display()))?;
        Ok(Group { folder, is_v2 })
    }

    fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    fn number(&self, v1: &str, v2: &str) -> Result<u64> {
        let path = self.folder.join(if self.is_v2 { v2 } else { v1 });
        Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?.trim().parse()?)
    }

    /// Says how much of its memory the server holds; files that the kernel has read for it do not count.
    fn report(&self) -> Result<String> {
        let stat = fs::read_to_string(self.folder.join("memory.stat"))?;
        let own = stat.lines().find_map(|line| line.strip_prefix("anon ").or_else(|| line.strip_prefix("rss ")));
        let own: u64 = own.ok_or("memory.stat tells nothing of the process")?.trim().parse()?;
        let peak = self.number("memory.max_usage_in_bytes", "memory.peak").unwrap_or(0);
        Ok(format!("{} MiB of its own, at most {} MiB with files", own >> 20, peak >> 20))
    }

    fn kills(&self) -> Result<u64> {
        let (file, word) =
            if self.is_v2 { ("memory.events", "oom_kill ") } else { ("memory.oom_control", "oom_kill ") };
        let text = fs::read_to_string(self.folder.join(file))?;
        Ok(text.lines().find_map(|line| line.strip_prefix(word)).map_or(Ok(0), |count| count.trim().parse())?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The server ends with its handle, and a group that somebody is still in cannot be removed: nothing else is lost.
        let _ = fs::remove_dir(&self.folder);
    }
}
