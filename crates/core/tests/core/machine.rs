//! Random operations on a database and on the reference model side by side. After each, what stands now, at some older
//! version, in a snapshot and in open moments is compared whole, and nothing was deleted that can still be asked for; at
//! the end, every version is compared, and when all is let go of, no garbage is left.
//!
//! A sequence is made of its seed alone: `STRANDLINE_SEED=<seed> STRANDLINE_SEQUENCES=1` runs it again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use strandline_core::catalog::Catalog;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::Kind;
use strandline_core::history::diff::TableAt;
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::{Action, RestoreRequest, Target};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{AccountId, ColumnId, Time, Version};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{Metastore, Scope};
use strandline_core::moment::Moment;
use strandline_core::schema::Table;
use strandline_core::txn::{Author, Txn};
use strandline_core::upkeep::collect::Fate;
use strandline_core::when::{RangeUnit, When};

use crate::model::{History, Rows, State, Tab, Touched};
use crate::support::{Shape, author, create_database, options, rows_of, table};

mod checks;
mod statements;

use checks::{Kept, holds};
use statements::{Run, Statement, changes_rows_only, rebuild, retyped, shape, statement, with_column};

/// One step of a sequence. Numbers are taken modulo what there is to choose from.
#[derive(Clone, Debug)]
enum Op {
    Create(Shape, u8),
    Drop(u8),
    Rename(u8, u8),
    Swap(u8, u8),
    Transaction(Vec<Statement>, bool),
    /// Two transactions that begin together; the second commits last.
    Race(Vec<Statement>, Vec<Statement>, bool),
    AddColumn(u8, bool),
    DropColumn(u8),
    RenameColumn(u8),
    FlushAll,
    FlushOne(u8),
    /// Merges what is worth it of a table, or all of it.
    Compact(u8, bool),
    Retype(u8),
    Reopen,
    /// The process dies in the middle of a transaction; what was on disk is what there is.
    Crash(Vec<Statement>),
    CreateSnapshot(Snapshot),
    /// With what is based on it, or not.
    DropSnapshot(u8, bool),
    DropExpired,
    CreatePolicy(u8, Level, u8),
    AlterPolicy(u8, u8),
    DropPolicy(u8),
    /// A moment is opened and read much later.
    Hold(u8),
    Release,
    /// A transaction begins that others overtake.
    Begin(Vec<Statement>),
    End(Vec<Statement>),
    RestoreTable(u8, u8, bool),
    RestoreSnapshot(u8),
    RestoreDatabase(u8, bool),
    RestoreTables(u8, u8, u8),
    /// An account, or everything.
    RestoreAccount(u8, bool),
    RestoreDatabaseTo(u8, u8, bool),
    /// What a clock that was ahead may have let go.
    RestoreLost(u8),
    /// A restore of the database, and a transaction that commits between its plan and its commit.
    RestoreRace(u8, Vec<Statement>),
    RestoreTo(u8, u8, u8),
    CloneTable(u8, u8, u8),
    CloneDatabase,
    DropDatabase(u8),
    UndropDatabase(u8),
    Undrop(u8),
    Undo(u8),
    Diff(u8, u8, u8),
    Clock(i32),
    /// Hours go by.
    Pass(u8),
    /// Somebody sets the clock, by hours.
    Jump(i8),
    /// What nothing reaches is collected, also when its grace is over.
    Collect,
}

/// How much of the store something speaks of.
#[derive(Clone, Copy, Debug)]
enum Level {
    Cluster,
    Account,
    Database,
    Tables(u8, u8),
}

/// How a snapshot is taken.
#[derive(Clone, Debug)]
struct Snapshot {
    name: u8,
    level: Level,
    /// Of then, if not of now.
    then: Option<u8>,
    base: Option<u8>,
    hours: Option<u8>,
    compress: bool,
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![
        1 => Just(Level::Cluster),
        1 => Just(Level::Account),
        3 => Just(Level::Database),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Level::Tables(a, b)),
    ]
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let then = prop::option::weighted(0.4, any::<u8>());
    let (base, hours) = (prop::option::weighted(0.3, 0_u8..5), prop::option::weighted(0.2, 1_u8..60));
    let taken = (0_u8..5, level(), then, base, hours, prop::bool::weighted(0.3));
    taken.prop_map(|(name, level, then, base, hours, compress)| Snapshot { name, level, then, base, hours, compress })
}

fn op() -> impl Strategy<Value = Op> {
    let statements = || prop::collection::vec(statement(), 1..6);
    prop_oneof![
        3 => (shape(), 0_u8..7).prop_map(|(shape, name)| Op::Create(shape, name)),
        1 => any::<u8>().prop_map(Op::Drop),
        1 => (any::<u8>(), 0_u8..5).prop_map(|(t, name)| Op::Rename(t, name)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Op::Swap(a, b)),
        14 => (statements(), prop::bool::weighted(0.85)).prop_map(|(s, commit)| Op::Transaction(s, commit)),
        3 => (statements(), statements(), any::<bool>()).prop_map(|(a, b, flush)| Op::Race(a, b, flush)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(t, initial)| Op::AddColumn(t, initial)),
        1 => any::<u8>().prop_map(Op::DropColumn),
        1 => any::<u8>().prop_map(Op::RenameColumn),
        2 => Just(Op::FlushAll),
        2 => any::<u8>().prop_map(Op::FlushOne),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(table, all)| Op::Compact(table, all)),
        1 => any::<u8>().prop_map(Op::Retype),
        1 => Just(Op::Reopen),
        1 => statements().prop_map(Op::Crash),
        3 => snapshot().prop_map(Op::CreateSnapshot),
        2 => (0_u8..5, any::<bool>()).prop_map(|(name, cascade)| Op::DropSnapshot(name, cascade)),
        1 => Just(Op::DropExpired),
        1 => (0_u8..2, level(), 1_u8..100).prop_map(|(name, level, hours)| Op::CreatePolicy(name, level, hours)),
        1 => (0_u8..2, 1_u8..100).prop_map(|(name, hours)| Op::AlterPolicy(name, hours)),
        1 => (0_u8..2).prop_map(Op::DropPolicy),
        1 => any::<u8>().prop_map(Op::Hold),
        1 => Just(Op::Release),
        2 => statements().prop_map(Op::Begin),
        2 => statements().prop_map(Op::End),
        2 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(t, v, keep)| Op::RestoreTable(t, v, keep)),
        1 => (0_u8..4).prop_map(Op::RestoreSnapshot),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(v, keep)| Op::RestoreDatabase(v, keep)),
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(v, a, b)| Op::RestoreTables(v, a, b)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(v, all)| Op::RestoreAccount(v, all)),
        1 => (any::<u8>(), 0_u8..2, any::<bool>()).prop_map(|(v, to, over)| Op::RestoreDatabaseTo(v, to, over)),
        1 => any::<u8>().prop_map(Op::RestoreLost),
        2 => (any::<u8>(), statements()).prop_map(|(v, s)| Op::RestoreRace(v, s)),
        1 => (any::<u8>(), any::<u8>(), 0_u8..5).prop_map(|(t, v, name)| Op::RestoreTo(t, v, name)),
        1 => (any::<u8>(), any::<u8>(), 0_u8..5).prop_map(|(t, v, name)| Op::CloneTable(t, v, name)),
        1 => Just(Op::CloneDatabase),
        1 => any::<u8>().prop_map(Op::DropDatabase),
        1 => any::<u8>().prop_map(Op::UndropDatabase),
        1 => any::<u8>().prop_map(Op::Undrop),
        2 => any::<u8>().prop_map(Op::Undo),
        2 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(t, a, b)| Op::Diff(t, a, b)),
        1 => (-5_000_000..5_000_000).prop_map(Op::Clock),
        2 => (1_u8..30).prop_map(Op::Pass),
        1 => (-8_i8..20).prop_map(Op::Jump),
        2 => Just(Op::Collect),
    ]
}

/// What is done after every operation.
#[derive(Clone, Copy, PartialEq, Debug)]
enum After {
    Nothing,
    Flush,
    Reopen,
    /// Every other time all deltas but the newest leave the metastore for segments.
    Age,
}

/// Where the store lies.
enum Home {
    Memory(Arc<dyn Metastore>, Arc<dyn ObjectStore>),
    /// The folder of folders, and which it is: after a crash the store goes on in the next.
    Folder(PathBuf, u32),
}

impl Home {
    async fn open(&self, options: &Options) -> Database {
        match self {
            Home::Memory(metastore, objects) => {
                Database::start(metastore.clone(), objects.clone(), options.clone(), None).await.unwrap()
            }
            Home::Folder(..) => Database::open(&self.path().unwrap(), options.clone()).await.unwrap(),
        }
    }

    fn path(&self) -> Option<PathBuf> {
        match self {
            Home::Memory(..) => None,
            Home::Folder(folder, number) => Some(folder.join(number.to_string())),
        }
    }

    /// Takes what is on disk at this instant.
    fn crash(&mut self) {
        let Some(path) = self.path() else { return };
        if let Home::Folder(_, number) = self {
            *number += 1;
        }
        copy(&path, &self.path().unwrap());
    }

    /// Lists the store's files.
    async fn files(&self) -> Vec<String> {
        let root = self.path().unwrap_or_default();
        let mut files: Vec<String> = match self {
            Home::Memory(_, objects) => {
                objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
            }
            Home::Folder(..) => ["parts", "deletes", "manifests"]
                .iter()
                .filter_map(|folder| Some((folder, std::fs::read_dir(root.join(folder)).ok()?)))
                .flat_map(|(folder, names)| {
                    names.map(move |name| format!("{folder}/{}", name.unwrap().file_name().to_string_lossy()))
                })
                .collect(),
        };
        files.sort();
        files
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// A snapshot as the model knows it.
struct Snap {
    name: u8,
    scope: Scope,
    version: Version,
    /// It has a copy of its own, and must be named.
    copied: bool,
    base: Option<u8>,
    until: Option<Time>,
}

/// A policy as the model knows it.
struct Policy {
    name: String,
    scope: Scope,
    hours: i64,
    /// It reaches no further back than this.
    kept_from: Time,
}

impl Policy {
    fn start(&self, now: Time) -> Time {
        now.plus_micros(-self.hours * HOUR).max(self.kept_from)
    }
}

/// A transaction that was begun and goes on while others come and go.
struct Open {
    txn: Txn,
    run: Run,
    begun: State,
    /// How many versions the model knew.
    versions: usize,
}

pub struct Machine {
    home: Home,
    options: Options,
    db: Option<Database>,
    /// An account beside `sys`, with a database of its own.
    elsewhere: AccountId,
    /// The first version that is looked at.
    first: Version,
    history: History,
    snapshots: Vec<Snap>,
    policies: Vec<Policy>,
    held: Vec<Moment>,
    open: Option<Open>,
    clones: u32,
    /// The latest that the clock has shown.
    latest: Cell<Time>,
    /// What was asked before about versions and never changes: when each was made, and what existed.
    times: RefCell<HashMap<Version, Time>>,
    catalogs: RefCell<HashMap<Version, Arc<Catalog>>>,
    /// The store's files when they were last looked at.
    listed: BTreeSet<String>,
    collected_now: bool,
}

const DB: &str = "d";
const ELSEWHERE: &str = "e";
const ELSEWHERE_ACCOUNT: &str = "acme";
const HOUR: i64 = 3_600_000_000;

fn full(name: u8) -> (String, String) {
    (if name < 5 { DB } else { ELSEWHERE }.to_owned(), format!("t{name}"))
}

fn in_place(scope: Scope, when: When) -> RestoreRequest {
    RestoreRequest::of(scope, when)
}

impl Machine {
    /// `flush_bytes` is the most that a reader lays over what was not thinned out.
    async fn new(home: Home, flush_bytes: usize) -> Machine {
        let options = Options { flush_bytes, ..options() };
        let db = home.open(&options).await;
        let mut txn = db.begin(author());
        let elsewhere = txn.create_account(ELSEWHERE_ACCOUNT).unwrap().id;
        txn.create_database(elsewhere, ELSEWHERE, "").unwrap();
        txn.commit().await.unwrap();
        create_database(&db, DB).await;
        let first = db.now().version();
        let mut history = History::default();
        history.push(first, State::new(), false);
        let latest = Cell::new(options.env.now());
        Machine {
            home,
            options,
            db: Some(db),
            elsewhere,
            first,
            history,
            snapshots: Vec::new(),
            policies: Vec::new(),
            held: Vec::new(),
            open: None,
            clones: 0,
            latest,
            times: RefCell::default(),
            catalogs: RefCell::default(),
            listed: BTreeSet::new(),
            collected_now: false,
        }
    }

    /// Returns the account of a database.
    fn account(&self, database: &str) -> AccountId {
        if database == ELSEWHERE { self.elsewhere } else { SYS }
    }

    fn author_of(&self, database: &str) -> Author {
        Author { account: self.account(database), ..author() }
    }

    /// Returns the latest that the clock has ever shown.
    fn latest(&self) -> Time {
        self.latest.set(self.latest.get().max(self.options.env.now()));
        self.latest.get()
    }

    fn db(&self) -> Database {
        self.db.clone().expect("the database is open between operations")
    }

    async fn reopen(&mut self) {
        (self.open, self.held) = (None, Vec::new());
        drop(self.db.take());
        self.db = Some(self.home.open(&self.options).await);
    }

    fn pick(&self, number: u8) -> Option<(String, String)> {
        let state = self.history.newest();
        (!state.is_empty()).then(|| state.keys().nth(usize::from(number) % state.len()).cloned().unwrap())
    }

    /// Picks a version that is kept whole.
    fn pick_version(&self, number: u8) -> Version {
        let mut versions = self.history.versions();
        versions.retain(|version| matches!(self.kept(*version), Kept::Whole));
        // A flush makes a version too.
        versions.push(self.db().now().version());
        versions[usize::from(number) % versions.len()]
    }

    /// Returns what a level means at a version, if there is anything.
    fn scope(&self, level: Level, then: Version) -> Option<Scope> {
        Some(match level {
            Level::Cluster => Scope::Cluster,
            Level::Account => Scope::Account("sys".to_owned()),
            Level::Database => Scope::Database(DB.to_owned()),
            Level::Tables(a, b) => {
                let state = self.history.at(then);
                let names: Vec<&String> = state.keys().filter(|name| name.0 == DB).map(|name| &name.1).collect();
                let chosen: BTreeSet<&String> =
                    [a, b].iter().filter_map(|at| Some(names[usize::from(*at).checked_rem(names.len())?])).collect();
                if chosen.is_empty() {
                    return None;
                }
                Scope::Tables(DB.to_owned(), chosen.into_iter().cloned().collect())
            }
        })
    }

    /// Records what a commit made. New tables take their definition (with its id) from the database.
    fn commit(&mut self, mut state: State, rows_only: bool) {
        let now = self.db().now();
        for ((database, name), tab) in &mut state {
            let database = now.catalog().database(self.account(database), database).unwrap().clone();
            tab.def = now.catalog().table(&database, name).unwrap().clone();
        }
        self.history.push(now.version(), state, rows_only);
    }

    async fn run(&mut self, op: &Op) {
        let db = self.db();
        let state = self.history.newest().clone();
        match op {
            Op::Create(shape, name) => {
                let mut txn = db.begin(author());
                let (database, table_name) = full(*name);
                let database = txn.catalog().database(self.account(&database), &database).unwrap().id;
                let created = txn.create_table(table(database, &table_name, *shape));
                assert_eq!(created.is_err(), state.contains_key(&full(*name)));
                if let Ok(def) = created {
                    txn.commit().await.unwrap();
                    let mut state = state;
                    state.insert(full(*name), Tab { def, rows: Rows::new() });
                    self.commit(state, false);
                }
            }
            Op::Drop(number) => {
                let Some(name) = self.pick(*number) else { return };
                let mut txn = db.begin(author());
                txn.drop_table(&state[&name].def).unwrap();
                txn.commit().await.unwrap();
                let mut state = state;
                state.remove(&name);
                self.commit(state, false);
            }
            Op::Rename(number, to) => {
                let Some(name) = self.pick(*number) else { return };
                let target = (name.0.clone(), full(*to).1);
                let mut txn = db.begin(author());
                let renamed = txn.alter_table(Table { name: target.1.clone(), ..state[&name].def.as_ref().clone() });
                assert_eq!(renamed.is_err(), target != name && state.contains_key(&target));
                if renamed.is_ok() {
                    txn.commit().await.unwrap();
                    let mut state = state;
                    let tab = state.remove(&name).unwrap();
                    state.insert(target, tab);
                    self.commit(state, false);
                }
            }
            Op::Swap(a, b) => {
                let (Some(a), Some(b)) = (self.pick(*a), self.pick(*b)) else { return };
                if a.0 != b.0 || a == b {
                    return;
                }
                let mut txn = db.begin(author());
                for (tab, to) in [(&a, "swap"), (&b, &a.1), (&a, &b.1)] {
                    let def = state[tab].def.as_ref().clone();
                    txn.alter_table(Table { name: to.to_owned(), ..def }).unwrap();
                }
                txn.commit().await.unwrap();
                let mut state = state;
                let (tab_a, tab_b) = (state.remove(&a).unwrap(), state.remove(&b).unwrap());
                state.insert(a, tab_b);
                state.insert(b, tab_a);
                self.commit(state, false);
            }
            Op::Transaction(statements, commit) => {
                let mut txn = db.begin(author());
                let mut run = Run::new(&state);
                for statement in statements {
                    run.statement(self, &mut txn, statement).await;
                }
                let wrote = !txn.is_empty();
                if *commit {
                    txn.commit().await.unwrap();
                    self.end(run, wrote);
                } else {
                    drop(txn);
                }
            }
            Op::Race(first, second, flush) => self.race(first, second, *flush).await,
            Op::AddColumn(number, initial) => {
                let Some(name) = self.pick(*number) else { return };
                let mut txn = db.begin(author());
                let def = txn.alter_table(with_column(&state[&name].def, *initial)).unwrap();
                txn.commit().await.unwrap();
                self.reshape(state, name, def);
            }
            Op::DropColumn(number) => {
                let Some(name) = self.pick(*number) else { return };
                let mut def = state[&name].def.as_ref().clone();
                let Some(at) = def.columns.iter().rposition(|column| !def.primary_key.contains(&column.id)) else {
                    return;
                };
                if def.columns.len() == 1 {
                    return;
                }
                let id = def.columns.remove(at).id;
                def.indexes.retain(|index| !index.columns.contains(&id));
                let mut txn = db.begin(author());
                let def = txn.alter_table(def).unwrap();
                txn.commit().await.unwrap();
                self.reshape(state, name, def);
            }
            Op::RenameColumn(number) => {
                let Some(name) = self.pick(*number) else { return };
                let mut def = state[&name].def.as_ref().clone();
                let last = def.columns.last_mut().unwrap();
                last.name.push('x');
                let mut txn = db.begin(author());
                let def = txn.alter_table(def).unwrap();
                txn.commit().await.unwrap();
                self.reshape(state, name, def);
            }
            Op::FlushAll => db.flush().await.unwrap(),
            Op::FlushOne(number) => {
                let Some(name) = self.pick(*number) else { return };
                db.flush_table(state[&name].def.id).await.unwrap();
            }
            Op::Compact(number, all) => {
                let Some(name) = self.pick(*number) else { return };
                let table = state[&name].def.id;
                if *all {
                    db.optimize_table(table).await.unwrap();
                    assert!(!db.optimize_table(table).await.unwrap(), "nothing is left to do");
                }
                // Every merge leaves less to be merged.
                while db.compact_table(table).await.unwrap() {}
            }
            Op::Reopen => {
                drop(db);
                self.reopen().await;
            }
            Op::Retype(number) => {
                let Some(name) = self.pick(*number) else { return };
                let tab = &state[&name];
                let Some(def) = retyped(&tab.def).filter(|def| !def.has_row_id()) else { return };
                let mut txn = db.begin(author());
                let def = rebuild(&mut txn, tab, def).await;
                txn.commit().await.unwrap();
                self.reshape(state, name, def);
            }
            Op::Crash(statements) => {
                let mut txn = db.begin(author());
                let mut run = Run::new(&state);
                for statement in statements {
                    run.statement(self, &mut txn, statement).await;
                }
                self.home.crash();
                drop((txn, db));
                self.reopen().await;
            }
            Op::CreateSnapshot(how) => self.create_snapshot(how).await,
            Op::DropSnapshot(name, cascade) => {
                let dropped = db.drop_snapshot(&format!("s{name}"), *cascade, &author());
                let known = self.snapshots.iter().any(|known| known.name == *name);
                let is_base = self.snapshots.iter().any(|other| other.base == Some(*name));
                assert_eq!(dropped.is_ok(), known && (*cascade || !is_base), "{dropped:?}");
                let Ok(dropped) = dropped else { return };
                let mut gone = BTreeSet::from([*name]);
                while let Some(more) = self
                    .snapshots
                    .iter()
                    .find(|snap| snap.base.is_some_and(|base| gone.contains(&base)) && !gone.contains(&snap.name))
                {
                    gone.insert(more.name);
                }
                assert_eq!(dropped.len(), gone.len(), "{dropped:?}");
                self.snapshots.retain(|snap| !gone.contains(&snap.name));
            }
            Op::DropExpired => {
                let now = db.sure_time();
                let dropped = db.drop_expired().unwrap();
                let is_over = |snap: &Snap| snap.until.is_some_and(|until| until <= now);
                // A base stays as long as anything that stays is based on it.
                let mut stay: BTreeSet<u8> = self.snapshots.iter().filter(|s| !is_over(s)).map(|s| s.name).collect();
                while let Some(base) = self.snapshots.iter().find(|base| {
                    let needs = |snap: &Snap| snap.base == Some(base.name) && stay.contains(&snap.name);
                    !stay.contains(&base.name) && self.snapshots.iter().any(needs)
                }) {
                    stay.insert(base.name);
                }
                assert_eq!(dropped.len(), self.snapshots.len() - stay.len(), "{dropped:?}");
                self.snapshots.retain(|snap| stay.contains(&snap.name));
            }
            Op::CreatePolicy(name, level, hours) => {
                let Some(scope) = self.scope(*level, db.now().version()) else { return };
                let spec = PitrSpec {
                    name: format!("p{name}"),
                    scope: scope.clone(),
                    length: u64::from(*hours),
                    unit: RangeUnit::Hour,
                };
                let stands = self.policies.iter().any(|policy| policy.name == spec.name)
                    || self.policies.iter().any(|policy| policy.scope.holds(&scope) && scope.holds(&policy.scope));
                let kept_from = self.window_start(&scope);
                let created = db.create_pitr(&spec, &author());
                assert_eq!(created.is_err(), stands, "{created:?}");
                if created.is_ok() {
                    self.policies.push(Policy { name: spec.name, scope, hours: i64::from(*hours), kept_from });
                }
            }
            Op::AlterPolicy(name, hours) => {
                let name = format!("p{name}");
                let known = self.policies.iter().position(|policy| policy.name == name);
                let start = known.map(|at| self.window_start(&self.policies[at].scope));
                let altered = db.alter_pitr(&name, u64::from(*hours), RangeUnit::Hour, &author());
                assert_eq!(altered.is_ok(), known.is_some(), "{altered:?}");
                if let (Some(at), Some(kept_from)) = (known, start) {
                    let policy = &mut self.policies[at];
                    (policy.hours, policy.kept_from) = (i64::from(*hours), kept_from);
                }
            }
            Op::DropPolicy(name) => {
                let name = format!("p{name}");
                let known = self.policies.iter().any(|policy| policy.name == name);
                assert_eq!(db.drop_pitr(&name, &author()).is_ok(), known);
                self.policies.retain(|policy| policy.name != name);
            }
            Op::Hold(version) => {
                if self.held.len() < 3 {
                    let moment = db.at(self.pick_version(*version)).await.unwrap();
                    self.held.push(moment);
                }
            }
            Op::Release => drop(self.held.pop()),
            Op::Begin(statements) => {
                if self.open.is_none() {
                    let mut txn = db.begin(author());
                    let mut run = Run::new(&state);
                    for statement in statements.iter().filter(changes_rows_only) {
                        run.statement(self, &mut txn, statement).await;
                    }
                    let versions = self.history.versions().len();
                    self.open = Some(Open { txn, run, begun: state, versions });
                }
            }
            Op::End(statements) => self.end_open(statements).await,
            Op::RestoreTable(number, version, keep_copy) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                let names: Vec<_> = then.keys().filter(|name| name.0 == DB).collect();
                if names.is_empty() {
                    return;
                }
                let name = names[usize::from(*number) % names.len()].clone();
                let scope = Scope::Tables(DB.to_owned(), vec![name.1.clone()]);
                self.restore_in_place(scope, When::Version(version), &then, vec![name], *keep_copy).await;
            }
            Op::RestoreSnapshot(number) => {
                let Some(snap) = self.snapshots.get(usize::from(*number)) else { return };
                let (scope, then) = (snap.scope.clone(), self.history.at(snap.version).clone());
                let when = When::Snapshot(format!("s{}", snap.name));
                let names = then.keys().filter(|name| holds(&scope, name)).cloned().collect();
                self.restore_in_place(scope, when, &then, names, false).await;
            }
            Op::RestoreDatabase(version, keep_copy) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                let names = then.keys().filter(|name| name.0 == DB).cloned().collect();
                let scope = Scope::Database(DB.to_owned());
                self.restore_in_place(scope, When::Version(version), &then, names, *keep_copy).await;
            }
            Op::RestoreTables(version, a, b) => {
                let version = self.pick_version(*version);
                let Some(scope) = self.scope(Level::Tables(*a, *b), version) else { return };
                let then = self.history.at(version).clone();
                let names = then.keys().filter(|name| holds(&scope, name)).cloned().collect();
                self.restore_in_place(scope, When::Version(version), &then, names, false).await;
            }
            Op::RestoreAccount(version, all) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                let scope = if *all { Scope::Cluster } else { Scope::Account("sys".to_owned()) };
                let names = then.keys().filter(|name| holds(&scope, name)).cloned().collect();
                self.restore_in_place(scope, When::Version(version), &then, names, false).await;
            }
            Op::RestoreDatabaseTo(version, to, overwrite) => {
                let version = self.pick_version(*version);
                let to = format!("r{to}");
                let exists = db.now().catalog().database(SYS, &to).is_ok();
                let request = RestoreRequest {
                    target: Target::Name(to.clone()),
                    overwrite: *overwrite,
                    ..in_place(Scope::Database(DB.to_owned()), When::Version(version))
                };
                let restored = db.restore(request, &author()).await;
                if exists && !overwrite {
                    assert!(matches!(restored.unwrap_err().kind(), Kind::AlreadyExists(_)));
                    return;
                }
                restored.unwrap();
                let mut state = state;
                state.retain(|name, _| name.0 != to);
                for ((_, name), tab) in self.history.at(version).iter().filter(|(name, _)| name.0 == DB) {
                    state.insert((to.clone(), name.clone()), tab.clone());
                }
                self.commit(state, false);
            }
            Op::RestoreLost(number) => {
                let mut versions = self.history.versions();
                versions.retain(|version| matches!(self.kept(*version), Kept::Gone));
                let Some(at) = usize::from(*number).checked_rem(versions.len()) else { return };
                let (version, before) = (versions[at], db.now().version());
                let request = in_place(Scope::Database(DB.to_owned()), When::Version(version));
                let error = db.restore(request, &author()).await.unwrap_err();
                assert_eq!(error.kind(), Kind::OutOfWindow, "{error:?}");
                assert_eq!(db.now().version(), before, "nothing was applied");
            }
            Op::RestoreRace(version, statements) => self.restore_race(self.pick_version(*version), statements).await,
            Op::RestoreTo(number, version, to) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                if then.is_empty() {
                    return;
                }
                let name = then.keys().nth(usize::from(*number) % then.len()).unwrap().clone();
                // Within the account.
                let to = if name.0 == ELSEWHERE { 5 + to % 2 } else { *to };
                let target = full(to);
                let exists = state.contains_key(&target);
                let scope = Scope::Tables(name.0.clone(), vec![name.1.clone()]);
                let request = RestoreRequest {
                    target: Target::Table(target.0.clone(), target.1.clone()),
                    overwrite: version.0.is_multiple_of(2),
                    ..in_place(scope, When::Version(version))
                };
                let restored = db.restore(request, &self.author_of(&name.0)).await;
                if exists && !version.0.is_multiple_of(2) {
                    assert!(matches!(restored.unwrap_err().kind(), Kind::AlreadyExists(_)));
                    return;
                }
                restored.unwrap();
                let mut state = state;
                state.insert(target, then[&name].clone());
                self.commit(state, false);
            }
            Op::DropDatabase(number) => {
                let mut names: Vec<String> = db.catalog().databases_of(SYS).iter().map(|d| d.name.clone()).collect();
                names.retain(|name| name != DB);
                let Some(at) = usize::from(*number).checked_rem(names.len()) else { return };
                let mut txn = db.begin(author());
                let database = txn.catalog().database(SYS, &names[at]).unwrap().clone();
                txn.drop_database(&database).unwrap();
                txn.commit().await.unwrap();
                let mut state = state;
                state.retain(|name, _| name.0 != names[at]);
                self.commit(state, false);
            }
            Op::UndropDatabase(number) => {
                let name = ["clone1", "clone2", "r0", "r1"][usize::from(*number) % 4];
                match db.plan_undrop_database(name, None, &author()).await {
                    Err(error) => assert!(
                        matches!(error.kind(), Kind::NotFound(_) | Kind::OutOfWindow | Kind::AlreadyExists(_)),
                        "{error:?}"
                    ),
                    Ok(plan) => {
                        let then = self.history.at(plan.then.version()).clone();
                        db.apply_restore(&plan, &author()).await.unwrap();
                        let mut state = state;
                        state.extend(then.into_iter().filter(|(of, _)| of.0 == name));
                        self.commit(state, false);
                    }
                }
            }
            Op::CloneTable(number, version, to) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                if then.is_empty() {
                    return;
                }
                let name = then.keys().nth(usize::from(*number) % then.len()).unwrap().clone();
                let moment = db.at(version).await.unwrap();
                let target = full(*to);
                let mut txn = db.begin(author());
                let cloned =
                    txn.clone_table(&moment, &then[&name].def, self.account(&target.0), &target.0, &target.1).await;
                assert_eq!(cloned.is_err(), state.contains_key(&target));
                if cloned.is_ok() {
                    txn.commit().await.unwrap();
                    let mut state = state;
                    state.insert(target, then[&name].clone());
                    self.commit(state, false);
                }
            }
            Op::CloneDatabase => {
                if self.clones == 2 {
                    return;
                }
                self.clones += 1;
                let to = format!("clone{}", self.clones);
                let mut txn = db.begin(author());
                txn.clone_database(&db.now(), DB, SYS, SYS, &to).await.unwrap();
                txn.commit().await.unwrap();
                let mut cloned = state.clone();
                for ((_, name), tab) in state.iter().filter(|((database, _), _)| database == DB) {
                    cloned.insert((to.clone(), name.clone()), tab.clone());
                }
                self.commit(cloned, false);
            }
            Op::Undrop(number) => {
                let dropped: Vec<_> = self.history.dropped().into_iter().filter(|name| name.0 == DB).collect();
                if dropped.is_empty() {
                    return;
                }
                let name = dropped[usize::from(*number) % dropped.len()].clone();
                // A name that went by a rename was not dropped: only the table's end counts.
                match db.plan_undrop_table(&name.0, &name.1, None, &author()).await {
                    Err(error) => {
                        assert!(matches!(error.kind(), Kind::NotFound(_) | Kind::OutOfWindow), "{error:?}");
                    }
                    Ok(plan) => {
                        let then = self.history.at(plan.then.version()).clone();
                        db.apply_restore(&plan, &author()).await.unwrap();
                        let mut state = state;
                        if let Some(tab) = then.get(&name) {
                            state.retain(|_, other| other.def.id != tab.def.id);
                            state.insert(name, tab.clone());
                        }
                        self.commit(state, false);
                    }
                }
            }
            Op::Undo(number) => self.undo(*number).await,
            Op::Diff(number, a, b) => self.diff(*number, *a, *b).await,
            Op::Clock(by) => {
                self.latest();
                self.options.env.advance(i64::from(*by));
            }
            Op::Pass(hours) => self.options.env.advance(i64::from(*hours) * HOUR),
            Op::Jump(hours) => {
                self.latest();
                self.options.env.jump(i64::from(*hours) * HOUR);
            }
            Op::Collect => self.collect().await,
        }
    }

    /// Ends a transaction that committed.
    fn end(&mut self, run: Run, wrote: bool) {
        if wrote {
            let version = self.db().now().version();
            for name in &run.snapshots {
                let scope = Scope::Database(DB.to_owned());
                self.snapshots.push(Snap { name: *name, scope, version, copied: false, base: None, until: None });
            }
            self.commit(run.view.state, !run.defined);
        }
    }

    async fn create_snapshot(&mut self, how: &Snapshot) {
        let db = self.db();
        let version = how.then.map(|then| self.pick_version(then));
        let Some(scope) = self.scope(how.level, version.unwrap_or(db.now().version())) else { return };
        let until = how.hours.map(|hours| self.options.env.now().plus_micros(i64::from(hours) * HOUR));
        let spec = SnapshotSpec {
            when: version.map_or(When::Now, When::Version),
            base: how.base.map(|base| format!("s{base}")),
            retain_until: until,
            compress: how.compress,
            ..SnapshotSpec::of(&format!("s{}", how.name), scope.clone())
        };
        let at = version.unwrap_or(db.now().version());
        let taken = self.snapshots.iter().any(|known| known.name == how.name);
        let base = how.base.map(|base| self.snapshots.iter().find(|known| known.name == base));
        let fits = base.is_none_or(|base| base.is_some_and(|base| base.scope == scope && base.version <= at));
        // A copy has no base.
        let fits = fits && !(how.compress && how.base.is_some());
        let created = db.create_snapshot(&spec, &author()).await;
        assert_eq!(created.is_ok(), !taken && fits, "{spec:?}: {created:?}");
        if let Ok(pin) = created {
            let copied = pin.terms.copy.is_some();
            assert_eq!(copied, how.compress);
            self.snapshots.push(Snap { name: how.name, scope, version: pin.version, copied, base: how.base, until });
        }
    }

    /// Returns when the window of a scope begins.
    fn window_start(&self, scope: &Scope) -> Time {
        let now = self.window_time();
        let over = self.policies.iter().filter(|policy| policy.scope.holds(scope));
        over.map(|policy| policy.start(now)).fold(now.plus_micros(-self.options.window.0), Time::min)
    }

    /// Returns the time from which windows reach back: the clock's, or where that was set back, one that it showed when
    /// something went.
    fn window_time(&self) -> Time {
        let time = self.db().window_start().plus_micros(self.options.window.0);
        assert!((self.options.env.now()..=self.latest()).contains(&time), "the window begins at {time}");
        time
    }

    /// Goes on with the transaction that was begun before others, and commits it.
    async fn end_open(&mut self, statements: &[Statement]) {
        let Some(Open { mut txn, mut run, begun, versions }) = self.open.take() else { return };
        let db = self.db();
        for statement in statements.iter().filter(changes_rows_only) {
            run.statement(self, &mut txn, statement).await;
        }
        let (wrote, before) = (!txn.is_empty(), db.now().version());
        let newest = self.history.newest().clone();
        match txn.commit().await {
            Ok(_) if !wrote => {}
            Ok(_) => {
                for (name, tab) in begun.iter().filter(|(_, tab)| run.view.written.contains(&tab.def.id.0)) {
                    let id = tab.def.id.0;
                    let now = newest.values().find(|now| now.def.id == tab.def.id);
                    let now = now.unwrap_or_else(|| panic!("rows were written into {name:?}, which was dropped"));
                    assert_eq!(now.def, tab.def, "the definition was changed under a writer");
                    for touched in &run.view.touched {
                        if let Touched::Key(table, key) = touched
                            && *table == id
                            && run.view.changed(&begun, id, key)
                        {
                            assert_eq!(now.rows.get(key), tab.rows.get(key), "a change of {name:?} was lost");
                        }
                    }
                }
                self.commit(run.view.merge_into(&begun, &newest), true);
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Conflict, "{error:?}");
                assert!(self.history.versions().len() > versions, "a conflict without a reason");
                assert_eq!(db.now().version(), before, "nothing was applied");
            }
        }
    }

    async fn race(&mut self, first: &[Statement], second: &[Statement], flush: bool) {
        let db = self.db();
        let state = self.history.newest().clone();
        let (mut a, mut b) = (db.begin(author()), db.begin(author()));
        let (mut run_a, mut run_b) = (Run::new(&state), Run::new(&state));
        for at in 0..first.len().max(second.len()) {
            if let Some(statement) = first.get(at).filter(changes_rows_only) {
                run_a.statement(self, &mut a, statement).await;
            }
            if flush && at == 0 {
                db.flush().await.unwrap();
            }
            if let Some(statement) = second.get(at).filter(changes_rows_only) {
                run_b.statement(self, &mut b, statement).await;
            }
        }
        let wrote_a = !a.is_empty();
        a.commit().await.unwrap();
        let view_a = run_a.view.clone();
        self.end(run_a, wrote_a);
        let wrote_b = !b.is_empty();
        let version_before = db.now().version();
        let outcome = b.commit().await;
        let keys: Vec<&Touched> = view_a.touched.intersection(&run_b.view.touched).collect();
        let loads = view_a.loaded.intersection(&run_b.view.written).next().is_some()
            || run_b.view.loaded.intersection(&view_a.written).next().is_some();
        // What came and went within one transaction may be in the way of another, or not.
        let must = keys.iter().any(|touched| match touched {
            Touched::Key(table, key) => view_a.changed(&state, *table, key) && run_b.view.changed(&state, *table, key),
            Touched::Unique(..) => false,
        });
        match outcome {
            Ok(_) => {
                assert!(!must, "both committed although both wrote {keys:?}");
                if wrote_b {
                    let merged = run_b.view.merge_into(&state, self.history.newest());
                    self.commit(merged, true);
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Conflict, "{error:?}");
                assert!(!keys.is_empty() || loads, "a conflict without a reason");
                assert_eq!(db.now().version(), version_before, "nothing was applied");
            }
        }
    }

    fn reshape(&mut self, mut state: State, name: (String, String), def: Arc<Table>) {
        let rows = state[&name].rows_as(&def);
        state.insert(name, Tab { def, rows });
        self.commit(state, false);
    }

    async fn restore_in_place(
        &mut self,
        scope: Scope,
        when: When,
        then: &State,
        names: Vec<(String, String)>,
        keep_copy: bool,
    ) {
        let db = self.db();
        let whole = !matches!(scope, Scope::Tables(..));
        let before = db.now().version();
        let request = RestoreRequest { keep_copy, ..in_place(scope.clone(), when) };
        let report = db.restore(request, &author()).await.unwrap();
        for line in &report.steps {
            // A count that is told is exact.
            let name = (line.database.clone(), line.table.clone());
            let after = line.rows_after.filter(|_| line.action != Action::KeepCopy && line.action != Action::Drop);
            if let Some(rows) = after {
                assert_eq!(rows, then[&name].rows.len() as u64, "{line:?}");
            }
            if line.action == Action::Drop || line.action == Action::Restore {
                let id = then.get(&name).map(|tab| tab.def.id);
                let newest = self.history.newest();
                let present = newest.get(&name).filter(|tab| line.action == Action::Drop || Some(tab.def.id) == id);
                if let (Some(rows), Some(tab)) = (line.rows_before, present) {
                    assert_eq!(rows, tab.rows.len() as u64, "{line:?}");
                }
            }
        }
        if report.version_after == before {
            // Nothing had changed since.
            for name in &names {
                // Which number the next column gets does not go back.
                let shown = |state: &State| {
                    let tab = state.get(name)?.clone();
                    let def = Table { next_column: ColumnId(0), ..tab.def.as_ref().clone() };
                    Some(Tab { def: Arc::new(def), ..tab })
                };
                assert_eq!(shown(self.history.newest()), shown(then));
            }
            return;
        }
        let old = self.history.newest().clone();
        let mut state = old.clone();
        if whole {
            state.retain(|name, _| !holds(&scope, name));
        }
        for name in names.clone() {
            // A table that is called otherwise now, by a name that was not asked for, stays.
            let id = then[&name].def.id;
            state.retain(|other, tab| tab.def.id != id || !(whole || names.contains(other)));
            let tab = then[&name].clone();
            state.insert(name, tab);
        }
        if keep_copy {
            let now = db.now();
            let suffix = format!("_before_{}", report.version_after);
            if whole {
                for ((_, name), tab) in old.iter().filter(|((database, _), _)| database == DB) {
                    state.insert((format!("{DB}{suffix}"), name.clone()), tab.clone());
                }
            } else {
                let database = now.catalog().database(SYS, DB).unwrap();
                for ((_, name), tab) in old.iter().filter(|((database, _), _)| database == DB) {
                    let copy = format!("{name}{suffix}");
                    if now.catalog().table(database, &copy).is_ok() {
                        state.insert((DB.to_owned(), copy), tab.clone());
                    }
                }
            }
        }
        self.commit(state, false);
    }

    async fn restore_race(&mut self, version: Version, statements: &[Statement]) {
        let db = self.db();
        let request = in_place(Scope::Database(DB.to_owned()), When::Version(version));
        let plan = db.plan_restore(request, &author()).await.unwrap();
        let mut txn = db.begin(author());
        let mut run = Run::new(self.history.newest());
        for statement in statements {
            run.statement(self, &mut txn, statement).await;
        }
        let wrote = !txn.is_empty();
        txn.commit().await.unwrap();
        self.end(run, wrote);
        let before = db.now().version();
        match db.apply_restore(&plan, &author()).await {
            // It had nothing to do when it was planned.
            Ok(report) if report.version_after <= before => {}
            Ok(_) => {
                let mut state = self.history.newest().clone();
                state.retain(|name, _| name.0 != DB);
                let then = self.history.at(version).clone();
                state.extend(then.into_iter().filter(|(name, _)| name.0 == DB));
                self.commit(state, false);
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Conflict, "{error:?}");
                assert_eq!(db.now().version(), before, "nothing was applied");
            }
        }
    }

    async fn undo(&mut self, number: u8) {
        let db = self.db();
        let commits = self.history.row_commits();
        if commits.is_empty() {
            return;
        }
        let version = commits[usize::from(number) % commits.len()];
        let (before, after) = (self.history.at(Version(version.0 - 1)).clone(), self.history.at(version).clone());
        let mut state = self.history.newest().clone();
        let same_definitions = after.iter().all(|(name, tab)| {
            before.get(name).is_some_and(|old| old.def == tab.def)
                && (before[name].rows == tab.rows || state.get(name).is_some_and(|now| now.def == tab.def))
        });
        let kept = |version| matches!(self.kept(version), Kept::Whole);
        if !same_definitions || !kept(version) || !kept(Version(version.0 - 1)) {
            return;
        }
        let mut clean = true;
        for (name, tab) in &after {
            let old = &before[name];
            let keys: BTreeSet<_> = old.rows.keys().chain(tab.rows.keys()).collect();
            for key in keys.into_iter().filter(|key| old.rows.get(*key) != tab.rows.get(*key)) {
                let now = state.get_mut(name).expect("the definition is the same");
                clean &= now.rows.get(key) == tab.rows.get(key);
                match old.rows.get(key) {
                    Some(row) => now.rows.insert(key.clone(), row.clone()),
                    None => now.rows.remove(key),
                };
            }
        }
        let version_before = db.now().version();
        match db.undo(version, &author()).await {
            Ok(report) => {
                assert!(clean, "version {version} was undone over later changes");
                if report.version_after != version_before {
                    self.commit(state, true);
                }
            }
            Err(error) => {
                let taken = error.kind() == Kind::Duplicate && after.values().any(|tab| tab.unique().is_some());
                assert!(!clean || taken, "version {version} could not be undone: {error:?}");
            }
        }
    }

    async fn diff(&self, number: u8, a: u8, b: u8) {
        let (a, b) = (self.pick_version(a), self.pick_version(b));
        let (then, now) = (self.history.at(a), self.history.at(b));
        let ids: Vec<_> = then.values().filter(|tab| now.values().any(|other| other.def.id == tab.def.id)).collect();
        if ids.is_empty() {
            return;
        }
        let base = ids[usize::from(number) % ids.len()];
        let head = now.values().find(|tab| tab.def.id == base.def.id).unwrap();
        let db = self.db();
        let base_at = TableAt { moment: db.at(a).await.unwrap(), table: base.def.clone() };
        let head_at = TableAt { moment: db.at(b).await.unwrap(), table: head.def.clone() };
        let diff = db.diff(&base_at, &head_at).await.unwrap();
        let mut rows = base.rows_as(&head.def);
        for (key, row) in rows_of(&head.def, &diff.deleted) {
            assert_eq!(rows.remove(&key), Some(row), "a deleted row stood in the base");
        }
        for (key, row) in rows_of(&head.def, &diff.updated_from) {
            assert_eq!(rows.get(&key), Some(&row), "an updated row stood in the base");
        }
        for (key, row) in rows_of(&head.def, &diff.updated_to) {
            assert!(rows.insert(key, row.clone()).is_some_and(|old| old != row), "an update changes a row");
        }
        for (key, row) in rows_of(&head.def, &diff.inserted) {
            assert_eq!(rows.insert(key, row), None, "an inserted row is new");
        }
        assert_eq!(rows, head.rows, "the diff of {a} and {b} leads from one to the other");
    }

    async fn collect(&mut self) {
        let db = self.db();
        // A collection flushes what is older than the window: a flush that gives way leaves what it wrote to the next one.
        for round in 0..3 {
            if round > 0 {
                self.options.env.advance(self.options.grace_micros + 1);
            }
            self.latest();
            db.collect().await.unwrap();
        }
        self.collected_now = true;
        let left = db.plan_collection().await.unwrap();
        let late = left.files.iter().find(|file| matches!(file.fate, Fate::Goes(_)));
        assert!(late.is_none(), "{late:?}");
    }
}

fn run(ops: &[Op], after: After, folder: bool, flush_bytes: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let kept = folder.then(|| tempfile::tempdir().unwrap());
        let home = match &kept {
            Some(folder) => Home::Folder(folder.path().to_owned(), 0),
            None => Home::Memory(Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new())),
        };
        let mut machine = Machine::new(home, flush_bytes).await;
        for (step, op) in ops.iter().enumerate() {
            Box::pin(machine.run(op)).await;
            match after {
                After::Nothing => {}
                After::Flush => machine.db().flush().await.unwrap(),
                After::Reopen => machine.reopen().await,
                After::Age if step % 2 == 0 => machine.db().metastore().age(0).unwrap(),
                After::Age => {}
            }
            machine.check(step).await;
        }
        machine.check_all().await;
        machine.check_that_no_garbage_is_left().await;
    });
}

thread_local! {
    /// What went wrong last in this thread, while that is not printed: it goes wrong again and again as it is made smaller.
    static LAST_PANIC: Mutex<Option<String>> = const { Mutex::new(None) };
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs the sequence of a seed. What fails is made as small as it gets.
fn sequence(seed: u64, operations: usize) -> Result<(), String> {
    let after = match seed % 12 {
        0 | 1 => After::Flush,
        2 | 3 => After::Reopen,
        // In a folder, as every odd one: what lies in memory has no segments.
        5 | 9 => After::Age,
        _ => After::Nothing,
    };
    let flush_bytes = [1, 4000, 32 << 20][(seed / 12 % 3) as usize];
    let folder = seed % 2 == 1;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 1,
        max_shrink_iters: setting("SHRINK", 1000) as u32,
        max_shrink_time: 1000 * setting("SHRINK_SECONDS", 60) as u32,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    IS_QUIET.set(true);
    let ran = runner.run(&prop::collection::vec(op(), operations..=operations), |ops| {
        run(&ops, after, folder, flush_bytes);
        Ok(())
    });
    IS_QUIET.set(false);
    let last = LAST_PANIC.with(|last| last.lock().take()).unwrap_or_default();
    match ran {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, ops)) => {
            let steps: Vec<String> = ops.iter().map(|op| format!("  {op:?}")).collect();
            let place = if folder { "in a folder" } else { "in memory" };
            Err(format!(
                "seed {seed}, {operations} operations, {place}, after each {after:?}:\n{}\n{last}",
                steps.join("\n")
            ))
        }
        Err(TestError::Abort(why)) => Err(format!("seed {seed}: {why}")),
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(format!("STRANDLINE_{name}")).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Sequence `n` has the seed `STRANDLINE_SEED + n`. Half of them run on SQLite in a folder, half in memory.
#[test]
fn agrees_with_the_model() {
    let said = std::env::var("STRANDLINE_SEQUENCES").is_ok();
    let (sequences, operations) = (setting("SEQUENCES", 300), setting("OPERATIONS", 25));
    let seed = setting("SEED", u64::from(rand::random::<u32>()));
    println!("{sequences} sequences of {operations} operations, seed {seed}");
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match IS_QUIET.get() {
        true => LAST_PANIC.with(|last| *last.lock() = Some(panic.to_string())),
        false => before(panic),
    }));
    let (next, done, failures) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= sequences || failures.lock().len() >= 5 {
                        break;
                    }
                    if let Err(failure) = sequence(seed + at, operations as usize) {
                        eprintln!("\n{failure}\n");
                        failures.lock().push(failure);
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if said && done.is_multiple_of(100) {
                        println!("{done} of {sequences}");
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    let again = "STRANDLINE_SEED=<seed> STRANDLINE_SEQUENCES=1 runs one again";
    assert!(failures.is_empty(), "{} failed ({again}):\n{}", failures.len(), failures.join("\n\n"));
    println!("{sequences} sequences of {operations} operations, seed {seed}: passed");
}
