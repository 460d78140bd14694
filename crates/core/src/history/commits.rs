//! The list of commits, and of everything that can be recovered.

use std::sync::Arc;

use crate::db::Database;
use crate::error::Result;
use crate::history::snapshot::tables_of;
use crate::ids::{AccountId, TableId, Time, Version};
use crate::log::{EntryQuery, EntrySummary, Scope};

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
        let tables = self.tables_ever(account, scope)?;
        let head = self.now().version();
        let query = EntryQuery { from: Version(1), upto: head, tables, upkeep: false, limit };
        self.metastore().entries(&query)
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
        let query = EntryQuery {
            from: lowest,
            upto: self.now().version(),
            tables: self.tables_ever(account, scope)?,
            upkeep: false,
            limit,
        };
        let mut points: Vec<RecoveryPoint> = metastore
            .entries(&query)?
            .into_iter()
            .filter(|entry| from <= entry.head.time && entry.head.time <= upto)
            .map(|entry| RecoveryPoint {
                version: entry.head.version,
                time: entry.head.time,
                kind: "commit",
                name: entry.head.what,
                author: entry.head.author,
            })
            .collect();
        for pin in self.snapshots(account)? {
            if pin.admits_scope(scope).is_ok() && from <= pin.created && pin.created <= upto {
                points.push(RecoveryPoint {
                    version: pin.version,
                    time: pin.created,
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

    /// Returns the tables that a scope has or had within the window, as far as their names tell; `None` for all.
    fn tables_ever(&self, account: AccountId, scope: &Scope) -> Result<Option<Vec<TableId>>> {
        if *scope == Scope::Cluster {
            return Ok(None);
        }
        let now = self.now();
        let mut ids: Vec<TableId> = tables_of(now.catalog(), account, scope).iter().map(|table| table.id).collect();
        // What was dropped since the window began is part of it too.
        let metastore = self.metastore();
        if let Some(entry) = metastore.newest_at(self.window_start_of(account, scope)?)? {
            let old = self.moment_of(entry.version)?;
            ids.extend(tables_of(old.catalog(), account, scope).iter().map(|table| table.id));
        }
        if let Scope::Tables(database, tables) = scope
            && let Ok(database) = now.catalog().database(account, database)
        {
            for table in tables {
                let rows = metastore.named(crate::catalog::ObjectKind::Table, database.id.0, table)?;
                ids.extend(rows.iter().map(|row| TableId(row.object.object().1)));
            }
        }
        if ids.is_empty() && !matches!(scope, Scope::Account(_)) {
            // Nothing of it now and then: say so as the reader of a missing name expects.
            match scope {
                Scope::Database(name) => drop(now.catalog().database(account, name)?.clone()),
                Scope::Tables(name, tables) => {
                    let database = now.catalog().database(account, name)?;
                    for table in tables {
                        drop(Arc::clone(now.catalog().table(database, table)?));
                    }
                }
                _ => {}
            }
        }
        ids.sort();
        ids.dedup();
        Ok(Some(ids))
    }
}
