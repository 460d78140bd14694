//! What the machine holds the database to after each step, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strandline_core::catalog::{Catalog, Change, Content, ObjectKind};
use strandline_core::db::{Database, SYS};
use strandline_core::error::Kind;
use strandline_core::ids::{Digest, TableId, Time, Version};
use strandline_core::log::{FileKind, Scope};
use strandline_core::moment::Moment;
use strandline_core::upkeep::collect::Fate;
use strandline_core::when::{Limit, When};

use super::{DB, HOUR, Machine, author};
use crate::model::State;
use crate::support::{create_database, read, rows_of};

/// What may be read of a version.
pub enum Kept {
    /// Everything.
    Whole,
    Part(Box<Limit>),
    Gone,
}

/// What is named at a version.
type Name = (String, String);

/// Tells whether a scope of the account `sys` speaks of a table.
pub fn holds(scope: &Scope, (database, table): &Name) -> bool {
    let is_sys = database != super::ELSEWHERE;
    match scope {
        Scope::Cluster => true,
        Scope::Account(name) => is_sys == (name == "sys"),
        Scope::Database(name) => is_sys && name == database,
        Scope::Tables(name, tables) => is_sys && name == database && tables.contains(table),
    }
}

impl Machine {
    /// Returns when a version was made.
    fn made(&self, version: Version) -> Time {
        let asked = || self.db().metastore().entry(version).unwrap().unwrap().head.time;
        *self.times.borrow_mut().entry(version).or_insert_with(asked)
    }

    /// Returns when a version stopped being the newest.
    fn ended(&self, version: Version) -> Option<Time> {
        (version < self.db().now().version()).then(|| self.made(version.next()))
    }

    /// Returns what existed at a version that can be asked for.
    async fn catalog(&self, version: Version) -> Arc<Catalog> {
        if let Some(known) = self.catalogs.borrow().get(&version) {
            return known.clone();
        }
        let catalog = self.db().at(version).await.unwrap().catalog().clone();
        self.catalogs.borrow_mut().insert(version, catalog.clone());
        catalog
    }

    /// Tells what may be read of a version, and holds the database to it.
    pub fn kept(&self, version: Version) -> Kept {
        let (db, window) = (self.db(), self.options.window.0);
        let ended = self.ended(version);
        let since = |start: Time| ended.is_none_or(|time| time > start);
        let in_window = since(self.window_time().plus_micros(-window));
        match db.resolve(&When::Version(version), SYS) {
            Ok(resolved) => match resolved.limit {
                None => {
                    assert!(in_window, "version {version} is before the window");
                    Kept::Whole
                }
                Some(limit) => {
                    assert!(!in_window, "version {version} is in the window");
                    Kept::Part(Box::new(limit))
                }
            },
            Err(error) => {
                assert_eq!(error.kind(), Kind::OutOfWindow, "{error:?}");
                assert!(!in_window, "version {version} is in the window");
                Kept::Gone
            }
        }
    }

    /// Tells whether something keeps a table at a version that is before the window.
    fn keeps(&self, version: Version, name: &Name) -> bool {
        let ended = self.ended(version).expect("the newest version is in the window");
        let now = self.window_time();
        let by_snapshot =
            self.snapshots.iter().any(|snap| snap.version == version && !snap.copied && holds(&snap.scope, name));
        let mut over = self.policies.iter().filter(|policy| holds(&policy.scope, name));
        by_snapshot || over.any(|policy| ended > policy.start(now))
    }

    /// Compares a version with the model, as far as it is kept.
    pub async fn compare_kept(&self, version: Version) {
        let (db, state) = (self.db(), self.history.at(version));
        let tables_of_sys = || state.iter().filter(|(name, _)| name.0 != super::ELSEWHERE);
        match self.kept(version) {
            Kept::Whole => self.compare(&db.at(version).await.unwrap(), state).await,
            Kept::Part(limit) => {
                let moment = db.at(version).await.unwrap();
                for (name, _) in tables_of_sys() {
                    let may = self.keeps(version, name);
                    let admitted = limit.admits_table("sys", &name.0, &name.1);
                    assert_eq!(admitted.is_ok(), may, "{name:?} at {version}: {admitted:?}");
                    if may {
                        self.compare_table(&moment, name).await;
                    }
                }
            }
            Kept::Gone => {
                for (name, _) in tables_of_sys() {
                    assert!(!self.keeps(version, name), "{name:?} at {version} is refused, and something keeps it");
                }
            }
        }
    }

    /// Compares a moment with the model, whole.
    pub async fn compare(&self, moment: &Moment, state: &State) {
        let catalog = moment.catalog();
        let mut names: Vec<Name> = Vec::new();
        for database in catalog.databases_of(SYS).iter().chain(&catalog.databases_of(self.elsewhere)) {
            names.extend(catalog.tables_of(database.id).iter().map(|t| (database.name.clone(), t.name.clone())));
        }
        names.sort();
        assert_eq!(names, state.keys().cloned().collect::<Vec<_>>(), "the tables at {}", moment.version());
        for name in state.keys() {
            self.compare_table(moment, name).await;
        }
    }

    /// Compares a table at a moment.
    async fn compare_table(&self, moment: &Moment, name: &Name) {
        let (db, at) = (self.db(), moment.version());
        let tab = &self.history.at(at)[name];
        let catalog = moment.catalog();
        let database = catalog.database(self.account(&name.0), &name.0).unwrap();
        let def = catalog.table(database, &name.1).unwrap();
        assert_eq!(def, &tab.def, "the definition of {name:?} at {at}");
        let scan = moment.scan(def).await.unwrap();
        let rows = read(db.cold(), &scan).await;
        assert_eq!(rows, tab.rows, "the rows of {name:?} at {at}");
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

    /// Compares a snapshot, by its name: it shows its scope and nothing else.
    async fn compare_snapshot(&self, at: usize) {
        let (db, snap) = (self.db(), &self.snapshots[at]);
        let resolved = db.resolve(&When::Snapshot(format!("s{}", snap.name)), SYS).unwrap();
        assert_eq!(resolved.version, snap.version);
        let (moment, limit) = (db.moment(&resolved).unwrap(), resolved.limit.as_ref().unwrap());
        for name in self.history.at(snap.version).keys() {
            let account = if name.0 == super::ELSEWHERE { super::ELSEWHERE_ACCOUNT } else { "sys" };
            let admitted = limit.admits_table(account, &name.0, &name.1).is_ok();
            assert_eq!(admitted, holds(&snap.scope, name), "{name:?} in {:?}", snap.scope);
            if admitted {
                self.compare_table(&moment, name).await;
            }
        }
    }

    /// Asks by time for what stood at a version.
    fn check_times(&self, version: Version) {
        let db = self.db();
        let Kept::Whole = self.kept(version) else { return };
        let times = [Some(self.made(version)), self.ended(version).map(|time| time.plus_micros(-1))];
        for time in times.into_iter().flatten() {
            match db.resolve(&When::Time(time), SYS) {
                Ok(resolved) => assert_eq!(resolved.version, version, "at {time}"),
                Err(error) => assert_eq!(error.kind(), Kind::OutOfWindow, "{error:?}"),
            }
        }
    }

    /// Looks at the present, at a moment that is open, at a snapshot, and at some version.
    pub async fn check(&mut self, step: usize) {
        self.compare(&self.db().now(), self.history.newest()).await;
        let versions = self.history.versions();
        let version = versions[step * 37 % versions.len()];
        self.compare_kept(version).await;
        self.check_times(version);
        if !self.snapshots.is_empty() {
            self.compare_snapshot(step % self.snapshots.len()).await;
        }
        if !self.held.is_empty() {
            let moment = self.held[step % self.held.len()].clone();
            self.compare(&moment, self.history.at(moment.version())).await;
        }
        self.check_deleted().await;
    }

    /// Sees that nothing which can still be asked for was deleted: files that have gone since the last time, and rows of
    /// the log.
    async fn check_deleted(&mut self) {
        let listed: BTreeSet<String> = self.home.files().await.into_iter().collect();
        let before = std::mem::replace(&mut self.listed, listed);
        let went = before.difference(&self.listed).next().is_some();
        if std::mem::take(&mut self.collected_now) || went {
            for (content, upto, table) in self.reachable().await.into_values() {
                self.check_reachable(table, &content, upto).await;
            }
        }
    }

    /// Returns all contents that can still be asked for, with the last version at which each can be.
    async fn reachable(&self) -> BTreeMap<(TableId, Option<Digest>, Version, Version), (Content, Version, TableId)> {
        let db = self.db();
        let mut contents = BTreeMap::new();
        let mut add = |catalog: &Catalog, version: Version, asked: &dyn Fn(&Name) -> bool| {
            for (name, tab) in self.history.at(version).iter().filter(|(name, _)| asked(name)) {
                let id = tab.def.id;
                let content = catalog.content(id).unwrap_or_else(|| panic!("{name:?} has no content at {version}"));
                let key = (id, content.manifest, content.flushed, content.parts_version);
                let known = contents.entry(key).or_insert_with(|| (content.as_ref().clone(), version, id));
                known.1 = known.1.max(version);
            }
        };
        for version in self.first.0..=db.now().version().0 {
            let version = Version(version);
            match self.kept(version) {
                Kept::Whole => add(&*self.catalog(version).await, version, &|_| true),
                Kept::Part(_) => {
                    let is_kept = |name: &Name| name.0 != super::ELSEWHERE && self.keeps(version, name);
                    add(&*self.catalog(version).await, version, &is_kept);
                }
                Kept::Gone => {}
            }
        }
        for snap in &self.snapshots {
            let resolved = db.resolve(&When::Snapshot(format!("s{}", snap.name)), SYS).unwrap();
            let moment = db.moment(&resolved).unwrap();
            add(moment.catalog(), snap.version, &|name| holds(&snap.scope, name));
        }
        for moment in self.held.iter().chain(self.open.iter().map(|open| open.txn.moment())) {
            add(moment.catalog(), moment.version(), &|_| true);
        }
        contents
    }

    /// Returns what a table is read through at a version: where a manifest that upkeep made was thinned out, the content before.
    fn read_through(&self, table: TableId, content: &Content, version: Version) -> Content {
        let db = self.db();
        let metastore = db.metastore();
        let is_gone = |content: &Content| {
            content
                .manifest
                .is_some_and(|digest| metastore.file_by_digest(FileKind::Manifest, digest).unwrap().is_none())
        };
        let rows = metastore.object(ObjectKind::Content, table.0).unwrap();
        let mut rows = rows.iter().rev().skip_while(|row| row.begin > version);
        let mut found = content.clone();
        while is_gone(&found)
            && let Some(row) = rows.next()
            && let Change::PutContent(_, of_row) = &row.object
        {
            found = of_row.as_ref().clone();
            if !metastore.entry(row.begin).unwrap().unwrap().head.upkeep {
                break;
            }
        }
        found
    }

    async fn check_reachable(&self, table: TableId, content: &Content, upto: Version) {
        let db = self.db();
        let metastore = db.metastore();
        let why = || format!("table {table} can be read at {upto}");
        let content = self.read_through(table, content, upto);
        if let Some(digest) = content.manifest {
            let record = metastore.file_by_digest(FileKind::Manifest, digest).unwrap();
            let record = record.unwrap_or_else(|| panic!("the manifest is gone: {}", why()));
            assert!(self.listed.contains(&record.kind.path(record.id)), "the manifest was deleted: {}", why());
            for file in db.cold().manifest(digest).await.unwrap().files() {
                let record = metastore.file(file).unwrap().unwrap_or_else(|| panic!("{file} was withdrawn: {}", why()));
                assert!(self.listed.contains(&record.kind.path(file)), "{file} was deleted: {}", why());
            }
        }
        if content.flushed < upto {
            metastore.deltas(table, content.flushed, upto).unwrap_or_else(|error| panic!("{}: {error}", why()));
        }
        for range in &content.inherited {
            let read = metastore.deltas(range.origin, range.after, range.upto);
            read.unwrap_or_else(|error| panic!("{}, through {range:?}: {error}", why()));
        }
    }

    pub async fn check_all(&self) {
        for version in self.first.0..=self.db().now().version().0 {
            self.compare_kept(Version(version)).await;
        }
        for at in 0..self.snapshots.len() {
            self.compare_snapshot(at).await;
        }
    }

    /// Lets go of all that is past: nothing but the present is left of the files and of the log, and it is whole.
    pub async fn check_that_no_garbage_is_left(&mut self) {
        let db = self.db();
        (self.open, self.held) = (None, Vec::new());
        while let Some(snap) = self.snapshots.last() {
            let dropped = db.drop_snapshot(&format!("s{}", snap.name), true, &author()).unwrap();
            self.snapshots.retain(|snap| dropped.iter().all(|pin| pin.name != format!("s{}", snap.name)));
        }
        for policy in std::mem::take(&mut self.policies) {
            db.drop_pitr(&policy.name, &author()).unwrap();
        }
        let behind = self.latest().max(db.now().time()).0 - self.options.env.now().0;
        self.options.env.advance(behind.max(0));
        // A clock that went ahead is believed when it has run on.
        db.sure_time();
        self.options.env.advance(HOUR);
        assert_eq!(db.sure_time(), self.options.env.now());
        // What stands in the log when its window ends is flushed, and leaves the log one window later.
        for name in ["last", "very last"] {
            self.options.env.advance(48 * HOUR);
            self.collect().await;
            create_database(&db, name).await;
        }
        self.options.env.advance(48 * HOUR);
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
        if let Some(path) = self.home.path() {
            let left = std::fs::read_dir(path.join("segments")).map_or(0, Iterator::count);
            assert!(left < 4, "{left} segments have nothing but entries, and were not joined");
        }
        check_store(&db).await;
        drop(db);
        self.reopen().await;
        self.compare(&self.db().now(), self.history.newest()).await;
    }
}

async fn check_store(db: &Database) {
    assert_eq!(db.metastore().check().unwrap(), Vec::<String>::new());
    assert!(db.now().catalog().database(SYS, DB).is_ok());
}
