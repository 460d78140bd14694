//! The list of commits, and of everything that can be recovered. What was dropped or renamed has a history too: names are
//! looked up among all that ever were.

use crate::catalog::{Change, ObjectKind};
use crate::db::Database;
use crate::error::{Error, Result, What};
use crate::ids::{AccountId, DatabaseId, TableId, Time, Version};
use crate::log::{EntryQuery, EntrySummary, ObjectRow, Pin, Scope};
use crate::schema::same_name;

/// A version that can be restored now.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveryPoint {
    pub version: Version,
    pub time: Time,
    /// `snapshot` or `commit`.
    pub kind: &'static str,
    /// The snapshot's name, or what the commit did.
    pub name: String,
    pub author: String,
}

impl Database {
    /// Lists commits of a scope, newest first, without those of upkeep.
    pub fn commits(&self, account: AccountId, scope: &Scope, limit: usize) -> Result<Vec<EntrySummary>> {
        let ever = self.ever(account, scope)?;
        self.commits_of(&ever, Version(1), limit)
    }

    fn commits_of(&self, ever: &Ever, from: Version, limit: usize) -> Result<Vec<EntrySummary>> {
        let head = self.now().version();
        let query = EntryQuery { from, upto: head, tables: ever.tables.clone(), upkeep: false, limit };
        let mut commits = self.metastore().entries(&query)?;
        // One that made or dropped a database need not have touched a table.
        for version in ever.databases.iter().flat_map(|row| [row.begin, row.end]) {
            let known = commits.iter().any(|commit| commit.head.version == version);
            if version < from || version > head || known || ever.tables.is_none() {
                continue;
            }
            let query = EntryQuery { from: version, upto: version, tables: None, upkeep: false, limit: 1 };
            commits.extend(self.metastore().entries(&query)?);
        }
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.head.version));
        commits.truncate(limit);
        Ok(commits)
    }

    /// Lists what can be recovered of a scope between two times (inclusive), newest first.
    pub fn recovery_points(
        &self,
        account: AccountId,
        scope: &Scope,
        from: Option<Time>,
        upto: Option<Time>,
        limit: usize,
    ) -> Result<Vec<RecoveryPoint>> {
        let start = self.window_start_of(account, scope)?;
        let from = from.unwrap_or(Time(i64::MIN));
        let upto = upto.unwrap_or(Time(i64::MAX));
        let metastore = self.metastore();
        let lowest = metastore.newest_at(start.max(from))?.map_or(Version(1), |entry| entry.version);
        let ever = self.ever(account, scope)?;
        let mut points: Vec<RecoveryPoint> = self
            .commits_of(&ever, lowest, limit)?
            .into_iter()
            .filter(|entry| from <= entry.head.time && entry.head.time <= upto && ever.stood(entry.head.version))
            .map(|entry| RecoveryPoint {
                version: entry.head.version,
                time: entry.head.time,
                kind: "commit",
                name: entry.head.what,
                author: entry.head.author,
            })
            .collect();
        for pin in self.snapshots(account)? {
            let time = self.shown_time(&pin)?;
            if pin.admits_scope(scope).is_ok() && ever.stood(pin.version) && from <= time && time <= upto {
                points.push(RecoveryPoint {
                    version: pin.version,
                    time,
                    kind: "snapshot",
                    name: pin.name,
                    author: pin.author,
                });
            }
        }
        points.sort_by_key(|point| std::cmp::Reverse((point.time, point.version)));
        points.truncate(limit);
        Ok(points)
    }

    /// Returns a time at which what a snapshot shows was the newest: when it was taken, or, of one that was taken of a
    /// past moment, that moment's.
    fn shown_time(&self, pin: &Pin) -> Result<Time> {
        let newest = self.metastore().newest_at(pin.created)?;
        Ok(if newest.is_some_and(|newest| newest.version == pin.version) { pin.created } else { pin.version_time })
    }

    /// Returns the names that a table and its database had at a version, or last before it; `None` where it never was.
    pub fn names_at(&self, table: TableId, version: Version) -> Result<Option<(String, String)>> {
        let rows = self.metastore().object(ObjectKind::Table, table.0)?;
        let Some(Change::PutTable(table)) = last_at(&rows, version) else { return Ok(None) };
        let rows = self.metastore().object(ObjectKind::Database, table.database.0)?;
        Ok(match last_at(&rows, version) {
            Some(Change::PutDatabase(database)) => Some((database.name.clone(), table.name.clone())),
            _ => None,
        })
    }

    /// Returns what a scope has had at any time.
    fn ever(&self, account: AccountId, scope: &Scope) -> Result<Ever> {
        let metastore = self.metastore();
        let name = match scope {
            Scope::Cluster => return Ok(Ever::default()),
            Scope::Account(name) => {
                let account = self.now().catalog().account(name)?.id;
                let ever = self.ever_in(|database| database.account == account)?;
                return Ok(Ever { named: Vec::new(), ..ever });
            }
            Scope::Database(name) | Scope::Tables(name, _) => name,
        };
        let bears = |row: &ObjectRow| {
            row.object.name().is_some_and(|(own, parent)| parent == account.0 && same_name(own, name))
        };
        let mut databases = metastore.named(ObjectKind::Database, account.0, name)?;
        databases.retain(bears);
        if databases.is_empty() {
            self.now().catalog().database(account, name)?;
        }
        let Scope::Tables(_, names) = scope else {
            let ids: Vec<DatabaseId> = databases.iter().map(|row| DatabaseId(row.object.object().1)).collect();
            return self.ever_in(|database| ids.contains(&database.id));
        };
        let mut tables = Vec::new();
        let mut named = Vec::new();
        for table in names {
            let mut rows = Vec::new();
            for database in &databases {
                let parent = database.object.object().1;
                let borne = metastore.named(ObjectKind::Table, parent, table)?;
                tables.extend(borne.iter().map(|row| TableId(row.object.object().1)));
                rows.extend(
                    borne
                        .into_iter()
                        .filter(|row| row.object.name().is_some_and(|(own, at)| at == parent && same_name(own, table))),
                );
            }
            if rows.is_empty() {
                // It never was: say so as the reader of a missing name expects.
                let now = self.now();
                let error = match now.catalog().database(account, name) {
                    Ok(home) => now.catalog().table(home, table).err(),
                    Err(_) => None,
                };
                return Err(error.unwrap_or_else(|| Error::not_found(What::Table, &format!("{name}.{table}"))));
            }
            named.push(rows);
        }
        tables.sort();
        tables.dedup();
        Ok(Ever { tables: Some(tables), databases: Vec::new(), named })
    }

    /// As `ever`, of whole databases.
    fn ever_in(&self, wanted: impl Fn(&crate::schema::Database) -> bool) -> Result<Ever> {
        let metastore = self.metastore();
        let mut databases = Vec::new();
        for id in metastore.ids(ObjectKind::Database)? {
            databases.extend(
                metastore
                    .object(ObjectKind::Database, id)?
                    .into_iter()
                    .filter(|row| matches!(&row.object, Change::PutDatabase(database) if wanted(database))),
            );
        }
        let ids: Vec<u64> = databases.iter().map(|row| row.object.object().1).collect();
        let now = self.now();
        let mut tables = Vec::new();
        for id in metastore.ids(ObjectKind::Table)? {
            let inside = |table: &crate::schema::Table| ids.contains(&table.database.0);
            // One that lies there now need not be looked up; another may have lain there.
            let known = now.catalog().table_by_id(TableId(id)).is_some_and(|table| inside(table));
            let ever = |row: &ObjectRow| matches!(&row.object, Change::PutTable(table) if inside(table));
            if known || metastore.object(ObjectKind::Table, id)?.iter().any(ever) {
                tables.push(TableId(id));
            }
        }
        Ok(Ever { tables: Some(tables), named: vec![databases.clone()], databases })
    }
}

/// What a scope has had at any time.
#[derive(Default)]
struct Ever {
    /// `None` for all.
    tables: Option<Vec<TableId>>,
    /// The rows of its databases.
    databases: Vec<ObjectRow>,
    /// For each thing that it names, the rows under that name: it can be restored from where all of them stood.
    named: Vec<Vec<ObjectRow>>,
}

impl Ever {
    /// Tells whether the scope stood at a version.
    fn stood(&self, version: Version) -> bool {
        self.named.iter().all(|rows| rows.iter().any(|row| row.begin <= version && version < row.end))
    }
}

/// Returns an object as it was at a version, or last before it.
fn last_at(rows: &[ObjectRow], version: Version) -> Option<&Change> {
    rows.iter().rev().find(|row| row.begin <= version).map(|row| &row.object)
}
