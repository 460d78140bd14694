//! Random operations on a database and on the reference model side by side. After each, what stands now and at some
//! older version is compared whole; at the end, every version.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::Kind;
use strandline_core::history::diff::TableAt;
use strandline_core::history::restore::{Action, RestoreRequest, Target};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{ColumnId, Version};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{Metastore, Scope, Terms};
use strandline_core::moment::Moment;
use strandline_core::schema::{Initial, Table, Type};
use strandline_core::txn::{OnDuplicate, Txn};
use strandline_core::upkeep::collect::Fate;
use strandline_core::when::When;

use crate::model::{History, Row, Rows, State, Tab, Touched, Val, View};
use crate::support::{Shape, author, batch, column, create_database, key_batch, key_of, options, read, rows_of, table};

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
    Reopen,
    CreateSnapshot(u8),
    DropSnapshot(u8),
    RestoreTable(u8, u8, bool),
    RestoreSnapshot(u8),
    RestoreDatabase(u8, bool),
    /// A restore of the database, and a transaction that commits between its plan and its commit.
    RestoreRace(u8, Vec<Statement>),
    RestoreTo(u8, u8, u8),
    CloneTable(u8, u8, u8),
    CloneDatabase,
    Undrop(u8),
    Undo(u8),
    Diff(u8, u8, u8),
    Clock(i32),
    /// Hours go by.
    Pass(u8),
    /// What nothing reaches is collected, also when its grace is over.
    Collect,
}

#[derive(Clone, Debug)]
enum Statement {
    Insert(u8, Vec<(u8, u8)>, u8),
    Bulk(u8, Vec<(u8, u8)>, u8),
    /// Sets `v`.
    Update(u8, Vec<u8>, u8),
    /// Moves the key.
    Move(u8, Vec<u8>, u8),
    Delete(u8, Vec<u8>),
    Truncate(u8),
    Savepoint,
    RollbackTo(u8),
    Snapshot(u8),
    Create(Shape, u8),
    Clone(u8, u8),
    AddColumn(u8),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![Just(Shape::Keyed), Just(Shape::Composite), Just(Shape::Keyless), Just(Shape::Unique)]
}

fn statement() -> impl Strategy<Value = Statement> {
    let values = |upto| prop::collection::vec((0_u8..12, 0_u8..12), 1..upto);
    let picks = || prop::collection::vec(any::<u8>(), 1..4);
    prop_oneof![
        6 => (any::<u8>(), values(5), 0_u8..3).prop_map(|(t, rows, mode)| Statement::Insert(t, rows, mode)),
        2 => (any::<u8>(), values(12), 0_u8..3).prop_map(|(t, rows, mode)| Statement::Bulk(t, rows, mode)),
        4 => (any::<u8>(), picks(), 0_u8..12).prop_map(|(t, picks, v)| Statement::Update(t, picks, v)),
        2 => (any::<u8>(), picks(), 1_u8..4).prop_map(|(t, picks, by)| Statement::Move(t, picks, by)),
        3 => (any::<u8>(), picks()).prop_map(|(t, picks)| Statement::Delete(t, picks)),
        1 => any::<u8>().prop_map(Statement::Truncate),
        2 => Just(Statement::Savepoint),
        1 => any::<u8>().prop_map(Statement::RollbackTo),
        1 => (0_u8..4).prop_map(Statement::Snapshot),
        1 => (shape(), 0_u8..5).prop_map(|(shape, name)| Statement::Create(shape, name)),
        1 => (any::<u8>(), 0_u8..5).prop_map(|(t, name)| Statement::Clone(t, name)),
        1 => any::<u8>().prop_map(Statement::AddColumn),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let statements = || prop::collection::vec(statement(), 1..6);
    prop_oneof![
        3 => (shape(), 0_u8..5).prop_map(|(shape, name)| Op::Create(shape, name)),
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
        1 => Just(Op::Reopen),
        1 => (0_u8..4).prop_map(Op::CreateSnapshot),
        1 => (0_u8..4).prop_map(Op::DropSnapshot),
        2 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(t, v, keep)| Op::RestoreTable(t, v, keep)),
        1 => (0_u8..4).prop_map(Op::RestoreSnapshot),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(v, keep)| Op::RestoreDatabase(v, keep)),
        2 => (any::<u8>(), statements()).prop_map(|(v, s)| Op::RestoreRace(v, s)),
        1 => (any::<u8>(), any::<u8>(), 0_u8..5).prop_map(|(t, v, name)| Op::RestoreTo(t, v, name)),
        1 => (any::<u8>(), any::<u8>(), 0_u8..5).prop_map(|(t, v, name)| Op::CloneTable(t, v, name)),
        1 => Just(Op::CloneDatabase),
        1 => any::<u8>().prop_map(Op::Undrop),
        2 => any::<u8>().prop_map(Op::Undo),
        2 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(t, a, b)| Op::Diff(t, a, b)),
        1 => (-5_000_000..5_000_000).prop_map(Op::Clock),
        1 => (1_u8..30).prop_map(Op::Pass),
        2 => Just(Op::Collect),
    ]
}

/// What the terms of the store keep of a version.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kept {
    Whole,
    /// The tables of the database `d`.
    BySnapshot,
    Gone,
}

/// What is done after every operation.
#[derive(Clone, Copy, PartialEq)]
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
    Folder(PathBuf),
}

impl Home {
    async fn open(&self, options: &Options) -> Database {
        match self {
            Home::Memory(metastore, objects) => {
                Database::start(metastore.clone(), objects.clone(), options.clone(), None).await.unwrap()
            }
            Home::Folder(path) => Database::open(path, options.clone()).await.unwrap(),
        }
    }

    /// Lists the store's files.
    async fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = match self {
            Home::Memory(_, objects) => {
                objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
            }
            Home::Folder(path) => ["parts", "deletes", "manifests"]
                .iter()
                .filter_map(|folder| Some((folder, std::fs::read_dir(path.join(folder)).ok()?)))
                .flat_map(|(folder, names)| {
                    names.map(move |name| format!("{folder}/{}", name.unwrap().file_name().to_string_lossy()))
                })
                .collect(),
        };
        files.sort();
        files
    }
}

struct Machine {
    home: Home,
    options: Options,
    db: Option<Database>,
    history: History,
    /// Snapshots: number to version.
    snapshots: Vec<(u8, Version)>,
    clones: u32,
}

const DB: &str = "d";

fn full(name: u8) -> (String, String) {
    (DB.to_owned(), format!("t{name}"))
}

fn modes(mode: u8) -> OnDuplicate {
    [OnDuplicate::Error, OnDuplicate::Ignore, OnDuplicate::Replace][usize::from(mode % 3)]
}

impl Machine {
    /// `flush_bytes` is the most that a reader lays over what was not thinned out.
    async fn new(home: Home, flush_bytes: usize) -> Machine {
        let options = Options { flush_bytes, ..options() };
        let db = home.open(&options).await;
        create_database(&db, DB).await;
        let mut history = History::default();
        history.push(Version(0), State::new(), false);
        Machine { home, options, db: Some(db), history, snapshots: Vec::new(), clones: 0 }
    }

    fn db(&self) -> Database {
        self.db.clone().expect("the database is open between operations")
    }

    async fn reopen(&mut self) {
        drop(self.db.take());
        self.db = Some(self.home.open(&self.options).await);
    }

    fn pick(&self, number: u8) -> Option<(String, String)> {
        let state = self.history.newest();
        (!state.is_empty()).then(|| state.keys().nth(usize::from(number) % state.len()).cloned().unwrap())
    }

    /// Picks a version that is kept whole.
    fn pick_version(&self, number: u8) -> Version {
        let mut versions: Vec<Version> =
            self.history.versions().iter().map(|version| (*version).max(Version(2))).collect();
        versions.retain(|version| self.kept(*version) == Kept::Whole);
        // A flush makes a version too.
        versions.push(self.db().now().version());
        versions[usize::from(number) % versions.len()]
    }

    /// Tells what may be read of a version, and holds the database to it.
    fn kept(&self, version: Version) -> Kept {
        let db = self.db();
        let start = db.window_start();
        let follows = version < db.now().version();
        let next = follows.then(|| db.metastore().entry(version.next()).unwrap().unwrap().head.time);
        let in_window = next.is_none_or(|time| time > start);
        match db.resolve(&When::Version(version), SYS) {
            Ok(resolved) if resolved.limit.is_none() => {
                assert!(in_window, "version {version} is before the window");
                Kept::Whole
            }
            Ok(_) => {
                assert!(!in_window, "version {version} is in the window");
                match self.snapshots.iter().any(|(_, of)| *of == version) {
                    true => Kept::BySnapshot,
                    false => Kept::Gone,
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::OutOfWindow, "{error:?}");
                assert!(!in_window, "version {version} is in the window");
                Kept::Gone
            }
        }
    }

    /// Records what a commit made. New tables take their definition (with its id) from the database.
    fn commit(&mut self, mut state: State, rows_only: bool) {
        let now = self.db().now();
        for ((database, name), tab) in &mut state {
            let database = now.catalog().database(SYS, database).unwrap().clone();
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
                let database = txn.catalog().database(SYS, DB).unwrap().id;
                let created = txn.create_table(table(database, &full(*name).1, *shape));
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
            Op::CreateSnapshot(name) => {
                let spec = SnapshotSpec::of(&format!("s{name}"), Scope::Database(DB.to_owned()));
                let created = db.create_snapshot(&spec, &author()).await;
                let taken = self.snapshots.iter().any(|(known, _)| known == name);
                assert_eq!(created.is_err(), taken);
                if let Ok(pin) = created {
                    self.snapshots.push((*name, pin.version));
                }
            }
            Op::DropSnapshot(name) => {
                let dropped = db.drop_snapshot(&format!("s{name}"), false, &author());
                let known = self.snapshots.iter().position(|(known, _)| known == name);
                assert_eq!(dropped.is_ok(), known.is_some());
                known.map(|at| self.snapshots.remove(at));
            }
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
                let Some((name, version)) = self.snapshots.get(usize::from(*number)).copied() else { return };
                let then = self.history.at(version).clone();
                let names = then.keys().filter(|name| name.0 == DB).cloned().collect();
                let scope = Scope::Database(DB.to_owned());
                self.restore_in_place(scope, When::Snapshot(format!("s{name}")), &then, names, false).await;
            }
            Op::RestoreDatabase(version, keep_copy) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                let names = then.keys().filter(|name| name.0 == DB).cloned().collect();
                let scope = Scope::Database(DB.to_owned());
                self.restore_in_place(scope, When::Version(version), &then, names, *keep_copy).await;
            }
            Op::RestoreRace(version, statements) => self.restore_race(self.pick_version(*version), statements).await,
            Op::RestoreTo(number, version, to) => {
                let version = self.pick_version(*version);
                let then = self.history.at(version).clone();
                if then.is_empty() {
                    return;
                }
                let name = then.keys().nth(usize::from(*number) % then.len()).unwrap().clone();
                let target = full(*to);
                let exists = state.contains_key(&target);
                let request = RestoreRequest {
                    scope: Scope::Tables(name.0.clone(), vec![name.1.clone()]),
                    when: When::Version(version),
                    target: Target::Table(target.0.clone(), target.1.clone()),
                    overwrite: version.0.is_multiple_of(2),
                    keep_copy: false,
                    create_database: false,
                    foreign_key_checks: true,
                };
                let restored = db.restore(request, &author()).await;
                if exists && !version.0.is_multiple_of(2) {
                    assert!(matches!(restored.unwrap_err().kind(), Kind::AlreadyExists(_)));
                    return;
                }
                restored.unwrap();
                let mut state = state;
                state.insert(target, then[&name].clone());
                self.commit(state, false);
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
                let cloned = txn.clone_table(&moment, &then[&name].def, SYS, &target.0, &target.1).await;
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
            Op::Clock(by) => self.options.env.advance(i64::from(*by)),
            Op::Pass(hours) => self.options.env.advance(i64::from(*hours) * 3_600_000_000),
            Op::Collect => self.collect().await,
        }
    }

    /// Ends a transaction that committed.
    fn end(&mut self, run: Run, wrote: bool) {
        if wrote {
            let version = self.db().now().version();
            for name in &run.snapshots {
                self.snapshots.push((*name, version));
            }
            self.commit(run.view.state, !run.defined);
        }
    }

    async fn race(&mut self, first: &[Statement], second: &[Statement], flush: bool) {
        let db = self.db();
        let state = self.history.newest().clone();
        let rows_only = |statement: &&Statement| {
            !matches!(
                statement,
                Statement::Truncate(_)
                    | Statement::Snapshot(_)
                    | Statement::Create(..)
                    | Statement::Clone(..)
                    | Statement::AddColumn(_)
            )
        };
        let (mut a, mut b) = (db.begin(author()), db.begin(author()));
        let (mut run_a, mut run_b) = (Run::new(&state), Run::new(&state));
        for at in 0..first.len().max(second.len()) {
            if let Some(statement) = first.get(at).filter(rows_only) {
                run_a.statement(self, &mut a, statement).await;
            }
            if flush && at == 0 {
                db.flush().await.unwrap();
            }
            if let Some(statement) = second.get(at).filter(rows_only) {
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
        let whole = matches!(scope, Scope::Database(_));
        let before = db.now().version();
        let request = RestoreRequest {
            scope,
            when,
            target: Target::InPlace,
            overwrite: false,
            keep_copy,
            create_database: false,
            foreign_key_checks: true,
        };
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
            state.retain(|name, _| name.0 != DB);
        }
        for name in names {
            // A table that is called otherwise now, by a name that was not asked for, stays.
            let id = then[&name].def.id;
            state.retain(|other, tab| tab.def.id != id || !(whole || *other == name));
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
        let request = RestoreRequest {
            scope: Scope::Database(DB.to_owned()),
            when: When::Version(version),
            target: Target::InPlace,
            overwrite: false,
            keep_copy: false,
            create_database: false,
            foreign_key_checks: true,
        };
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
        let kept = |version| self.kept(version) == Kept::Whole;
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

    async fn collect(&self) {
        let db = self.db();
        db.collect().await.unwrap();
        self.options.env.advance(self.options.grace_micros + 1);
        db.collect().await.unwrap();
        let left = db.plan_collection().await.unwrap();
        assert!(left.files.iter().all(|file| !matches!(file.fate, Fate::Goes(_))), "{left:?}");
    }

    /// Compares a moment with the model, as far as it is kept.
    async fn compare_kept(&self, version: Version) {
        let state = self.history.at(version);
        match self.kept(version) {
            Kept::Whole => self.compare(&self.db().at(version).await.unwrap(), state, None).await,
            Kept::BySnapshot => self.compare(&self.db().at(version).await.unwrap(), state, Some(DB)).await,
            Kept::Gone => {}
        }
    }

    /// Compares a moment with the model, whole or one database of it.
    async fn compare(&self, moment: &Moment, state: &State, only: Option<&str>) {
        let db = self.db();
        let catalog = moment.catalog();
        let mut names: Vec<(String, String)> = Vec::new();
        let state: State = state
            .iter()
            .filter(|((database, _), _)| only.is_none_or(|only| only == database))
            .map(|(name, tab)| (name.clone(), tab.clone()))
            .collect();
        for database in catalog.databases_of(SYS).iter().filter(|d| only.is_none_or(|only| only == d.name)) {
            names.extend(catalog.tables_of(database.id).iter().map(|t| (database.name.clone(), t.name.clone())));
        }
        names.sort();
        assert_eq!(names, state.keys().cloned().collect::<Vec<_>>(), "the tables at {}", moment.version());
        for ((database, name), tab) in &state {
            let database = catalog.database(SYS, database).unwrap();
            let def = catalog.table(database, name).unwrap();
            assert_eq!(def, &tab.def, "the definition of {name} at {}", moment.version());
            let scan = moment.scan(def).await.unwrap();
            let rows = read(db.cold(), &scan).await;
            assert_eq!(rows, tab.rows, "the rows of {name} at {}", moment.version());
            for (key, row) in tab.rows.iter().step_by(3) {
                let found = moment.get(def, key).await.unwrap().expect("the row is found by its key");
                assert_eq!(rows_of(def, &found), [(key.clone(), row.clone())]);
                if let Some(found) = moment.try_get(def, key) {
                    assert_eq!(rows_of(def, &found.unwrap().unwrap()), [(key.clone(), row.clone())]);
                }
            }
            for key in self.history.newest().values().filter(|t| t.def.id == def.id).flat_map(|t| t.rows.keys()) {
                if !tab.rows.contains_key(key) {
                    assert_eq!(moment.get(def, key).await.unwrap(), None);
                    assert!(moment.try_get(def, key).is_none_or(|found| found.unwrap().is_none()));
                }
            }
        }
    }

    async fn check(&self, step: usize) {
        self.compare(&self.db().now(), self.history.newest(), None).await;
        let versions = self.history.versions();
        self.compare_kept(versions[step * 37 % versions.len()].max(Version(2))).await;
    }

    async fn check_all(&self) {
        for version in 2..=self.db().now().version().0 {
            self.compare_kept(Version(version)).await;
        }
    }

    /// Lets go of all that is past: nothing but the present is left of the files and of the log, and it is whole.
    async fn check_that_no_garbage_is_left(&mut self) {
        let db = self.db();
        for (name, _) in std::mem::take(&mut self.snapshots) {
            db.drop_snapshot(&format!("s{name}"), false, &author()).unwrap();
        }
        // What stands in the log when its window ends is flushed, and leaves the log one window later.
        for name in ["last", "very last"] {
            self.options.env.advance(48 * 3_600_000_000);
            self.collect().await;
            create_database(&db, name).await;
        }
        self.options.env.advance(48 * 3_600_000_000);
        self.collect().await;
        for file in db.plan_collection().await.unwrap().files {
            assert!(matches!(&file.fate, Fate::Kept(why) if why.starts_with("the present of ")), "{file:?}");
        }
        let mut known: Vec<String> =
            db.metastore().files().unwrap().iter().map(|file| file.kind.path(file.id)).collect();
        known.sort();
        assert_eq!(self.home.files().await, known);
        assert_eq!(db.metastore().intents().unwrap(), []);
        for version in 1..db.now().version().0 {
            let entry = db.metastore().entry(Version(version)).unwrap().unwrap();
            assert!(entry.deltas.iter().all(|delta| delta.body.is_empty()), "the rows of version {version} are left");
        }
        db.metastore().age(0).unwrap();
        if let Home::Folder(path) = &self.home {
            let left = std::fs::read_dir(path.join("segments")).map_or(0, Iterator::count);
            assert_eq!(left, 0, "nothing of any segment is needed");
        }
        assert_eq!(db.metastore().check().unwrap(), Vec::<String>::new());
        drop(db);
        self.reopen().await;
        self.compare(&self.db().now(), self.history.newest(), None).await;
    }
}

fn with_column(def: &Table, initial: bool) -> Table {
    let mut def = def.clone();
    let id = def.next_column;
    def.next_column = ColumnId(id.0 + 1);
    let mut added = column(id.0, &format!("x{id}"), Type::Int32, !initial);
    added.initial = initial.then_some(Initial::Int(77));
    def.columns.push(added);
    def
}

/// A transaction that runs, beside its model.
struct Run {
    view: View,
    savepoints: Vec<(strandline_core::txn::Savepoint, View, usize)>,
    snapshots: Vec<u8>,
    /// Definitions were changed too.
    defined: bool,
}

impl Run {
    fn new(state: &State) -> Run {
        Run { view: View::new(state), savepoints: Vec::new(), snapshots: Vec::new(), defined: false }
    }

    fn pick(&self, number: u8) -> Option<(String, String)> {
        let state = &self.view.state;
        (!state.is_empty()).then(|| state.keys().nth(usize::from(number) % state.len()).cloned().unwrap())
    }

    fn keys(&self, name: &(String, String), picks: &[u8]) -> Vec<Vec<u8>> {
        let rows = &self.view.state[name].rows;
        let mut keys: Vec<Vec<u8>> = picks
            .iter()
            .filter(|_| !rows.is_empty())
            .map(|pick| rows.keys().nth(usize::from(*pick) % rows.len()).unwrap().clone())
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Runs one statement on both sides and compares what the transaction then sees.
    async fn statement(&mut self, machine: &Machine, txn: &mut Txn, statement: &Statement) {
        let savepoint = txn.savepoint();
        let written = self.run(machine, txn, statement, &savepoint).await;
        if let Some(name) = written {
            let tab = &self.view.state[&name];
            let rows = read(machine.db().cold(), &txn.scan(&tab.def).await.unwrap()).await;
            assert_eq!(rows, tab.rows, "what the transaction sees of {name:?} after {statement:?}");
            for (key, row) in tab.rows.iter().take(3) {
                let found = txn.get(&tab.def, key).await.unwrap().expect("the transaction finds the row");
                assert_eq!(rows_of(&tab.def, &found), [(key.clone(), row.clone())]);
            }
        }
    }

    async fn run(
        &mut self,
        machine: &Machine,
        txn: &mut Txn,
        statement: &Statement,
        savepoint: &strandline_core::txn::Savepoint,
    ) -> Option<(String, String)> {
        match statement {
            Statement::Insert(number, values, mode) | Statement::Bulk(number, values, mode) => {
                let name = self.pick(*number)?;
                let def = self.view.state[&name].def.clone();
                let rows: Vec<Row> = values.iter().map(|(k, v)| row_of(&def, *k, *v)).collect();
                let before = self.view.clone();
                let bulk = matches!(statement, Statement::Bulk(..));
                let result = if bulk {
                    let mut load = txn.bulk(&def, modes(*mode));
                    let mut failed = None;
                    for rows in rows.chunks(3) {
                        if let Err(error) = load.write(txn, &batch(&def, rows, None)).await {
                            failed = Some(error);
                            break;
                        }
                    }
                    match failed {
                        Some(error) => Err(error),
                        None => load.finish(txn).await,
                    }
                } else {
                    txn.insert(&def, &batch(&def, &rows, None), modes(*mode)).await
                };
                if bulk && rows.len() > 3 {
                    self.view.loaded.insert(def.id.0);
                }
                self.view.written.insert(def.id.0);
                let expected = if let (true, Ok(done)) = (def.has_row_id(), &result) {
                    // Row ids are the database's to choose: take the new ones, in their order.
                    let seen = read(machine.db().cold(), &txn.scan(&def).await.unwrap()).await;
                    let tab = self.view.tab(&name);
                    let new: Vec<Vec<u8>> = seen.keys().filter(|key| !tab.rows.contains_key(*key)).cloned().collect();
                    let keyed = new.iter().cloned().zip(rows.iter().cloned()).collect::<Vec<_>>();
                    assert_eq!(new.len(), rows.len() - done.ignored as usize);
                    self.view.insert(&name, &keyed, OnDuplicate::Error)
                } else {
                    let keyed: Vec<_> = rows.iter().map(|row| (key_of(&def, row), row.clone())).collect();
                    self.view.insert(&name, &keyed, modes(*mode))
                };
                match (result, expected) {
                    (Ok(outcome), Ok(expected)) => {
                        assert_eq!(outcome.ignored, expected.ignored, "ignored rows of {statement:?}");
                        assert_eq!(outcome.replaced, expected.replaced, "replaced rows of {statement:?}");
                        assert_eq!(outcome.inserted + outcome.ignored, rows.len() as u64);
                    }
                    (Err(error), Err(_)) => {
                        assert_eq!(error.kind(), Kind::Duplicate, "{error:?}");
                        txn.rollback_to(savepoint);
                        self.view = before;
                    }
                    (result, expected) => panic!("{statement:?}: {result:?}, the model has {expected:?}"),
                }
                Some(name)
            }
            Statement::Update(number, picks, value) => {
                let name = self.pick(*number)?;
                let tab = self.view.state[&name].clone();
                let keys = self.keys(&name, picks);
                let new: Vec<(Vec<u8>, Row)> = keys
                    .iter()
                    .map(|key| {
                        let mut row = tab.rows[key].clone();
                        set_last(&tab.def, &mut row, *value);
                        (key.clone(), row)
                    })
                    .collect();
                self.replace(txn, name, keys, new, savepoint).await
            }
            Statement::Move(number, picks, by) => {
                let name = self.pick(*number)?;
                let tab = self.view.state[&name].clone();
                if tab.def.has_row_id() {
                    return None;
                }
                let keys = self.keys(&name, picks);
                let new: Vec<(Vec<u8>, Row)> = keys
                    .iter()
                    .map(|key| {
                        let mut row = tab.rows[key].clone();
                        if let Some(Val::Int(id)) = row.get_mut(&ColumnId(1)) {
                            *id += i32::from(*by);
                        }
                        (key_of(&tab.def, &row), row)
                    })
                    .collect();
                self.replace(txn, name, keys, new, savepoint).await
            }
            Statement::Delete(number, picks) => {
                let name = self.pick(*number)?;
                let keys = self.keys(&name, picks);
                let def = self.view.state[&name].def.clone();
                let deleted = txn.delete(&def, &key_batch(&def, &keys)).await.unwrap();
                assert_eq!(deleted, keys.len() as u64);
                self.view.delete(&name, &keys);
                Some(name)
            }
            Statement::Truncate(number) => {
                let name = self.pick(*number)?;
                let def = self.view.state[&name].def.clone();
                txn.truncate(&def).await.unwrap();
                self.view.tab(&name).rows.clear();
                self.defined = true;
                Some(name)
            }
            Statement::Savepoint => {
                self.savepoints.push((savepoint.clone(), self.view.clone(), self.snapshots.len()));
                None
            }
            Statement::RollbackTo(number) => {
                let at = usize::from(*number).checked_rem(self.savepoints.len())?;
                self.savepoints.truncate(at + 1);
                let (savepoint, view, snapshots) = &self.savepoints[at];
                txn.rollback_to(savepoint);
                self.view = view.clone();
                self.snapshots.truncate(*snapshots);
                for (name, tab) in &self.view.state {
                    let rows = read(machine.db().cold(), &txn.scan(&tab.def).await.unwrap()).await;
                    assert_eq!(rows, tab.rows, "{name:?} after going back to a savepoint");
                }
                None
            }
            Statement::Snapshot(name) => {
                let created = txn.create_snapshot(
                    &format!("s{name}"),
                    Scope::Database(DB.to_owned()),
                    "",
                    Vec::new(),
                    Terms::default(),
                );
                let known = machine.snapshots.iter().any(|(known, _)| known == name) || self.snapshots.contains(name);
                assert_eq!(created.is_err(), known);
                if !known {
                    self.snapshots.push(*name);
                }
                None
            }
            Statement::Create(shape, name) => {
                let database = txn.catalog().database(SYS, DB).unwrap().id;
                let created = txn.create_table(table(database, &full(*name).1, *shape));
                assert_eq!(created.is_err(), self.view.state.contains_key(&full(*name)));
                if let Ok(def) = created {
                    self.view.state.insert(full(*name), Tab { def, rows: Rows::new() });
                    self.defined = true;
                }
                None
            }
            Statement::Clone(number, name) => {
                // The source is what others see of it.
                let source = machine.pick(*number)?;
                let tab = machine.history.newest()[&source].clone();
                let target = full(*name);
                let moment = txn.moment().clone();
                let cloned = txn.clone_table(&moment, &tab.def, SYS, &target.0, &target.1).await;
                assert_eq!(cloned.is_err(), self.view.state.contains_key(&target));
                if let Ok(def) = cloned {
                    self.view.state.insert(target.clone(), Tab { def, rows: tab.rows });
                    self.defined = true;
                }
                Some(target)
            }
            Statement::AddColumn(number) => {
                let name = self.pick(*number)?;
                let tab = self.view.state[&name].clone();
                let def = txn.alter_table(with_column(&tab.def, true)).unwrap();
                let rows = tab.rows_as(&def);
                self.view.state.insert(name.clone(), Tab { def, rows });
                self.defined = true;
                Some(name)
            }
        }
    }

    async fn replace(
        &mut self,
        txn: &mut Txn,
        name: (String, String),
        old: Vec<Vec<u8>>,
        new: Vec<(Vec<u8>, Row)>,
        savepoint: &strandline_core::txn::Savepoint,
    ) -> Option<(String, String)> {
        if old.is_empty() {
            return None;
        }
        let def = self.view.state[&name].def.clone();
        let (keys, rows): (Vec<_>, Vec<_>) = new.iter().cloned().unzip();
        let result = txn.update(&def, &key_batch(&def, &old), &batch(&def, &rows, Some(&keys))).await;
        let expected = self.view.update(&name, &old, &new);
        match (result, expected) {
            (Ok(count), Ok(())) => assert_eq!(count, old.len() as u64),
            (Err(error), Err(_)) => {
                assert_eq!(error.kind(), Kind::Duplicate, "{error:?}");
                txn.rollback_to(savepoint);
            }
            (result, expected) => panic!("update of {old:?}: {result:?}, the model has {expected:?}"),
        }
        Some(name)
    }
}

fn row_of(def: &Table, key: u8, value: u8) -> Row {
    let mut row: Row = def
        .columns
        .iter()
        .map(|column| match column.ty {
            Type::Text => (column.id, Val::Text(format!("n{}", key % 3))),
            _ => (column.id, Val::Int(i32::from(key))),
        })
        .collect();
    set_last(def, &mut row, value);
    row
}

/// Sets the nullable columns; zero is NULL.
fn set_last(def: &Table, row: &mut Row, value: u8) {
    for column in def.columns.iter().filter(|column| column.nullable) {
        let value = if value == 0 { Val::Null } else { Val::Int(i32::from(value)) };
        row.insert(column.id, value);
    }
}

fn run(ops: &[Op], after: After, folder: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let kept = folder.then(|| tempfile::tempdir().unwrap());
        let home = match &kept {
            Some(folder) => Home::Folder(folder.path().join("store")),
            None => Home::Memory(Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new())),
        };
        let mut machine = Machine::new(home, [1, 4000, 32 << 20][ops.len() % 3]).await;
        for (step, op) in ops.iter().enumerate() {
            machine.run(op).await;
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

/// Returns how many sequences to try: `STRANDLINE_MODEL_CASES` or a default that takes some seconds.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("STRANDLINE_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(cases), max_shrink_iters: 2000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]
    #[test]
    fn agrees_with_the_model(ops in prop::collection::vec(op(), 1..25)) {
        run(&ops, After::Nothing, false);
    }
}

proptest! {
    #![proptest_config(config(80))]
    #[test]
    fn agrees_with_the_model_when_everything_is_flushed(ops in prop::collection::vec(op(), 1..20)) {
        run(&ops, After::Flush, false);
    }
}

proptest! {
    #![proptest_config(config(80))]
    #[test]
    fn agrees_with_the_model_when_always_reopened(ops in prop::collection::vec(op(), 1..20)) {
        run(&ops, After::Reopen, false);
    }
}

proptest! {
    #![proptest_config(config(10))]
    #[test]
    fn agrees_with_the_model_in_a_folder(ops in prop::collection::vec(op(), 1..15)) {
        run(&ops, After::Nothing, true);
    }
}

proptest! {
    #![proptest_config(config(10))]
    #[test]
    fn agrees_with_the_model_when_the_log_ages(ops in prop::collection::vec(op(), 1..20)) {
        run(&ops, After::Age, true);
    }
}
