//! What random transactions of many clients wrote and read, and whether any order at the claimed level explains it.
//!
//! The crate `adya` makes the transactions and judges the history, by cycles of dependencies as Elle does. Meanwhile
//! the server is killed and started again, and everything runs that may not be noticed: flushes, compaction,
//! collection, snapshots, clones, the restore of another table. Two claims are held against it: what `BEGIN` gives, and
//! that reads FOR UPDATE make it serializable. Write skew must be found where only the first holds, and a client that
//! lies must be found out, or the judge is blind.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::adya::r#gen::{GenOpts, Kind};
use ::adya::run::{RunOpts, Stats};
use ::adya::{History, Opts, Report, Valid, Workload};
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::process::{Result, Server};

mod session;
mod trouble;

use session::{Session, Shared};
use trouble::Upkeep;

/// How many transactions a run has, unless told.
pub const TRANSACTIONS: usize = 10_000;

/// How long cycles of one kind are looked for among transactions that depend on one another.
const SEARCH_SECONDS_MAX: u64 = 60;

/// A transaction has no more operations.
const OPERATIONS_MAX: usize = 4;

/// A key that was written so often makes room for a new one.
const WRITES_PER_KEY: u64 = 32;

/// What a client does that history does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Rolls back, and says that it has committed.
    LostCommit,
    /// Commits, and says that it has failed.
    DeniedCommit,
    /// Says that it read what was there before the last append.
    StaleRead,
    /// Appends twice.
    DoubleAppend,
    /// Writes back, in a second transaction, the list that it read in a first one.
    LostUpdate,
    /// Every statement is a commit of its own.
    NoTransaction,
}

impl Lie {
    pub const ALL: &[Lie] =
        &[Lie::LostCommit, Lie::DeniedCommit, Lie::StaleRead, Lie::DoubleAppend, Lie::LostUpdate, Lie::NoTransaction];
}

/// How transactions read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    Plain,
    ForUpdate,
}

impl Reads {
    /// Returns what is claimed, in the checker's words: "strong" is that a transaction sees all that was acknowledged
    /// before it began. So a commit that a crash has lost is an anomaly.
    fn claim(self) -> &'static str {
        match self {
            Reads::Plain => "strong-snapshot-isolation",
            Reads::ForUpdate => "strict-serializable",
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
    pub reads: Reads,
    /// All levels that are accepted mean the same.
    pub level: &'static str,
    pub keys: usize,
    pub clients: usize,
    pub transactions: usize,
    pub kills: usize,
    /// What every second transaction of each client does.
    pub lie: Option<Lie>,
}

impl Plan {
    pub fn random(seed: u64, transactions: usize) -> Plan {
        let mut random = StdRng::seed_from_u64(seed);
        Plan {
            seed,
            kind: if random.random_ratio(2, 3) { Kind::ListAppend } else { Kind::RwRegister },
            reads: if random.random_ratio(3, 4) { Reads::Plain } else { Reads::ForUpdate },
            level: ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ"][random.random_range(0..3)],
            keys: random.random_range(3..=20),
            clients: random.random_range(4..=32),
            transactions,
            kills: random.random_range(1..=3),
            lie: None,
        }
    }

    /// Returns how the tables of its kind are called, before their number.
    fn table(&self) -> &'static str {
        if self.kind == Kind::ListAppend { "lists" } else { "registers" }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.table();
        let reads = if self.reads == Reads::Plain { "" } else { " FOR UPDATE" };
        let Plan { seed, level, keys, clients, kills, .. } = self;
        write!(f, "{kind}{reads}, {level}, {keys} keys, {clients} clients, {kills} kills, seed {seed}")
    }
}

/// What came of a run.
pub struct Outcome {
    pub stats: Stats,
    /// The flushes, snapshots, restores and the like that were made meanwhile.
    pub upkeep: Upkeep,
    /// How often the server was killed and started again.
    pub kills: u64,
    /// Anomalies that the claim forbids, by kind.
    pub forbidden: BTreeMap<String, usize>,
    /// Those that serializable forbids. Only where less than that is claimed.
    pub one_level_up: BTreeMap<String, usize>,
    /// What else is wrong: errors that no transaction may get, a verdict that could not be reached.
    pub problems: Vec<String>,
    /// What each client did and saw, in the format of Jepsen.
    history: String,
    explanation: String,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.forbidden.is_empty() && self.problems.is_empty()
    }

    /// Tells whether the control saw what snapshot isolation allows.
    pub fn shows_write_skew(&self) -> bool {
        self.one_level_up.contains_key("G2-item")
    }
}

/// Makes `runs` runs with the seeds from `seed` on, after every lie was caught once, and prints what was seen.
///
/// A seed makes the same transactions, troubles and moments again, but not the same order of what runs side by side: so
/// the history of a run that fails is kept.
pub async fn run(runs: u64, seed: u64, transactions: usize) -> Result<()> {
    println!(
        "adya: {runs} runs of {transactions} transactions, seed {seed}; again with `cargo xtask adya {runs} {seed}`"
    );
    let start = Instant::now();
    let caught = lies(seed).await?;
    let (mut failed, mut plain, mut skewed) = (0, 0, 0);
    let mut sum = Stats::default();
    let mut forbidden: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..runs {
        let plan = Plan::random(seed.wrapping_add(number), transactions);
        let outcome = play(&plan).await?;
        let Stats { ok, fail, info } = outcome.stats;
        sum = Stats { ok: sum.ok + ok, fail: sum.fail + fail, info: sum.info + info };
        for (kind, count) in &outcome.forbidden {
            *forbidden.entry(kind.clone()).or_default() += count;
        }
        if plan.reads == Reads::Plain {
            plain += 1;
            skewed += u64::from(outcome.shows_write_skew());
        }
        let skew = if plan.reads == Reads::Plain { listed(&outcome.one_level_up) } else { "not asked".to_owned() };
        println!(
            "run {:>3} at {:>6.1} s: {plan}: {ok} committed, {fail} not, {info} unknown; \
             {} killed, {} upkeep, {} wrote files; forbidden: {}; serializable would forbid: {skew}",
            number + 1,
            start.elapsed().as_secs_f64(),
            outcome.kills,
            outcome.upkeep.steps,
            outcome.upkeep.flushes,
            listed(&outcome.forbidden),
        );
        if !outcome.is_good() {
            failed += 1;
            outcome.problems.iter().for_each(|problem| println!("  {problem}"));
            println!("{}  its history: {}", outcome.explanation, keep(&outcome.history)?);
        }
    }
    println!(
        "\n{} transactions: {} committed, {} not, {} unknown; anomalies: {}; write skew, as a control: in {skewed} of \
         {plain} runs that allow it; lies: caught {caught} of {}",
        sum.ok + sum.fail + sum.info,
        sum.ok,
        sum.fail,
        sum.info,
        listed(&forbidden),
        Lie::ALL.len(),
    );
    let is_blind = caught < Lie::ALL.len() || (plain > 0 && skewed == 0);
    let word = if failed == 0 && !is_blind { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {} failed; seed {seed}", runs - failed, failed + u64::from(is_blind));
    if word == "ok" { Ok(()) } else { Err("a transaction saw what it must not, or the rig is blind".into()) }
}

/// Lets clients tell each lie in a run of its own, and returns how many were caught. The honest ones are not.
pub async fn lies(seed: u64) -> Result<usize> {
    let mut caught = 0;
    for lie in [None].into_iter().chain(Lie::ALL.iter().copied().map(Some)) {
        let plan = Plan {
            seed,
            kind: Kind::ListAppend,
            reads: Reads::Plain,
            level: "REPEATABLE READ",
            keys: 5,
            clients: 8,
            transactions: 120,
            kills: 0,
            lie,
        };
        let outcome = play(&plan).await?;
        let Some(lie) = lie else {
            if !outcome.is_good() {
                return Err(format!("without a lie: {}\n{}", listed(&outcome.forbidden), outcome.explanation).into());
            }
            continue;
        };
        println!("{lie:?}: {}", listed(&outcome.forbidden));
        caught += usize::from(!outcome.forbidden.is_empty());
    }
    Ok(caught)
}

/// Plays a run over a store of its own, and judges it.
pub async fn play(plan: &Plan) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("store");
    let mut server = Some(Server::strandline(&data).await?);
    let running = server.as_ref().ok_or("just started")?;
    prepare(running, plan).await?;
    let (address, addresses) = watch::channel(Some(running.opts(Some("d"))));
    let shared = Arc::new(Shared::new(plan.clone(), addresses));
    let upkeep = watch::Sender::new(Upkeep::default());

    let mut clients = tokio::task::spawn_blocking({
        let (shared, runtime) = (shared.clone(), Handle::current());
        let options = RunOpts {
            processes: plan.clients,
            txns: plan.transactions,
            seed: plan.seed,
            r#gen: GenOpts {
                kind: plan.kind,
                key_count: plan.keys,
                min_txn_len: 1,
                max_txn_len: OPERATIONS_MAX,
                max_writes_per_key: WRITES_PER_KEY,
            },
            ..RunOpts::default()
        };
        move || ::adya::run::run(&|| Session::open(&shared, &runtime), &options)
    });
    let mut killing = Box::pin(trouble::kill(plan, &shared, &mut server, &data, &address));
    let (history, stats) = tokio::select! {
        done = &mut clients => done??,
        failed = &mut killing => return Err(failed),
        failed = trouble::upkeep(plan, &shared, &data, &upkeep) => return Err(failed),
    };
    // The clients may have ended while the server was down.
    let mut up = address.subscribe();
    tokio::select! {
        up = up.wait_for(Option::is_some) => drop(up?),
        failed = &mut killing => return Err(failed),
    }
    drop(killing);
    server.ok_or("every kill is followed by a start")?.stop()?;

    let mut problems = shared.take_problems();
    let made = stats.ok + stats.fail + stats.info;
    if made != plan.transactions {
        problems.push(format!("only {made} transactions were made: clients could not connect"));
    }
    let kills = shared.kills.load(Ordering::Relaxed);
    if kills == 0 && plan.kills > 0 {
        problems.push("the server was never killed".to_owned());
    }
    let plan = plan.clone();
    let upkeep = *upkeep.borrow();
    tokio::task::spawn_blocking(move || judge(&plan, stats, upkeep, kills, history, problems)).await?
}

fn judge(
    plan: &Plan,
    stats: Stats,
    upkeep: Upkeep,
    kills: u64,
    history: String,
    mut problems: Vec<String>,
) -> Result<Outcome> {
    let parsed = History::from_json(&history)?;
    let claimed = check(&parsed, plan, plan.reads.claim());
    if claimed.valid == Valid::Unknown {
        problems.push(format!("no verdict: {}", claimed.anomaly_types.join(", ")));
    }
    let explanation = claimed.anomalies.values().filter_map(|found| found.first());
    let explanation = explanation.map(|first| format!("{}: {}\n", first.kind, first.explanation)).collect();
    let one_level_up = match plan.reads {
        Reads::Plain => by_kind(&check(&parsed, plan, "serializable")),
        Reads::ForUpdate => BTreeMap::new(),
    };
    let forbidden = by_kind(&claimed);
    Ok(Outcome { stats, upkeep, kills, forbidden, one_level_up, problems, history, explanation })
}

fn check(history: &History, plan: &Plan, model: &str) -> Report {
    let options = Opts {
        models: vec![model.to_owned()],
        timeout: Duration::from_secs(SEARCH_SECONDS_MAX),
        // What a transaction writes comes after what it read.
        wfr_keys: true,
        ..Opts::default()
    };
    let workload = if plan.kind == Kind::ListAppend { Workload::ListAppend } else { Workload::RwRegister };
    ::adya::check(history, workload, &options)
}

fn by_kind(report: &Report) -> BTreeMap<String, usize> {
    report.anomalies.iter().map(|(kind, found)| (kind.clone(), found.len())).collect()
}

fn listed(anomalies: &BTreeMap<String, usize>) -> String {
    let all: Vec<String> = anomalies.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Keeps a history that must be looked at.
fn keep(history: &str) -> Result<String> {
    let mut file = tempfile::Builder::new().prefix("adya-").suffix(".jsonl").tempfile()?;
    file.write_all(history.as_bytes())?;
    Ok(file.keep()?.1.display().to_string())
}

/// Makes the tables: two of each kind, so that a transaction spans tables that are flushed one by one, and another that
/// is restored meanwhile.
async fn prepare(server: &Server, plan: &Plan) -> Result<()> {
    let mut conn = server.connect(None).await?;
    conn.query_drop("CREATE DATABASE d").await?;
    conn.query_drop("USE d").await?;
    for number in 0..2 {
        conn.query_drop(format!("CREATE TABLE lists_{number} (k BIGINT PRIMARY KEY, v TEXT NOT NULL)")).await?;
        conn.query_drop(format!("CREATE TABLE registers_{number} (k BIGINT PRIMARY KEY, v BIGINT)")).await?;
    }
    conn.query_drop("CREATE TABLE other (k BIGINT PRIMARY KEY, v BIGINT NOT NULL)").await?;
    conn.query_drop("INSERT INTO other VALUES (1, 0)").await?;
    if plan.reads == Reads::ForUpdate {
        // Rows that are not there cannot be held.
        let last = plan.keys + plan.transactions * OPERATIONS_MAX / WRITES_PER_KEY as usize;
        for number in 0..2 {
            let rows = |value: &str| {
                (0..=last).filter(|k| k % 2 == number).map(|k| format!("({k}, {value})")).collect::<Vec<_>>().join(", ")
            };
            conn.query_drop(format!("INSERT INTO lists_{number} VALUES {}", rows("''"))).await?;
            conn.query_drop(format!("INSERT INTO registers_{number} VALUES {}", rows("NULL"))).await?;
        }
    }
    Ok(conn.disconnect().await?)
}
