//! PITR policies: longer recovery windows for parts of the store. A policy never shortens the default window, and is not
//! versioned: a restore never undoes it.

use std::collections::HashMap;

use crate::catalog::{Catalog, Change, ObjectKind};
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::snapshot::{check_name, check_scope};
use crate::ids::{AccountId, Time, Version};
use crate::log::policy::{self, PolicyKind};
use crate::log::{Pin, Scope};
use crate::schema::same_name;
use crate::txn::Author;
use crate::when::{self, Pitr, RangeUnit};

/// The greatest length of a window, in any unit.
const LENGTH_MAX: u64 = 100;

/// What to keep, and how far back.
#[derive(Clone, Debug)]
pub struct PitrSpec {
    pub name: String,
    pub scope: Scope,
    pub length: u64,
    pub unit: RangeUnit,
}

/// From when to when an object can be recovered, and by what.
#[derive(Clone, Debug)]
pub struct RecoveryWindow {
    pub scope: Scope,
    /// The default window and policies: name (empty for the default) and start. Each ends now.
    pub windows: Vec<(String, Time)>,
    pub snapshots: Vec<Pin>,
}

impl Database {
    /// Creates a policy. It counts from the oldest moment that is still kept now.
    pub fn create_pitr(&self, spec: &PitrSpec, author: &Author) -> Result<Pitr> {
        check_name("PITR", &spec.name)?;
        let length = check_length(spec.length)?;
        let now = self.now();
        check_scope(&now, now.catalog(), author.account, &spec.scope, &[])?;
        refuse_views(now.catalog(), author.account, &spec.scope)?;
        let _lock = self.0.policies.lock();
        for other in self.pitrs(author.account)? {
            if same_name(&other.name, &spec.name) {
                return Err(Error::already_exists(What::Pitr, &spec.name));
            }
            if other.scope.holds(&spec.scope) && spec.scope.holds(&other.scope) {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("There is a PITR for {} already: '{}'.", spec.scope, other.name),
                )
                .with_hint("Change it with ALTER PITR, or drop it first."));
            }
        }
        let now = self.env().now();
        let pitr = Pitr {
            name: spec.name.clone(),
            account: author.account,
            scope: spec.scope.clone(),
            length,
            unit: spec.unit,
            created: now,
            modified: now,
            author: author.name.clone(),
            kept_from: self.window_start_of(author.account, &spec.scope)?,
        };
        self.put_pitr(&pitr)?;
        Ok(pitr)
    }

    /// Changes how far back a policy reaches. Made longer, it counts from the oldest moment that is still kept now.
    pub fn alter_pitr(&self, name: &str, length: u64, unit: RangeUnit, author: &Author) -> Result<Pitr> {
        let length = check_length(length)?;
        let _lock = self.0.policies.lock();
        let mut pitr = when::find_pitr(&self.0.store, author.account, name)?;
        pitr.kept_from = self.window_start_of(author.account, &pitr.scope)?;
        pitr.modified = self.env().now();
        (pitr.length, pitr.unit) = (length, unit);
        self.put_pitr(&pitr)?;
        Ok(pitr)
    }

    /// Drops a policy: the default window is what is left, and what other policies keep.
    pub fn drop_pitr(&self, name: &str, author: &Author) -> Result<Pitr> {
        let _lock = self.0.policies.lock();
        let pitr = when::find_pitr(&self.0.store, author.account, name)?;
        policy::remove(&**self.metastore(), PolicyKind::Pitr, pitr.account, &pitr.name)?;
        Ok(pitr)
    }

    /// Returns the policies that an account made, oldest first.
    pub fn pitrs(&self, account: AccountId) -> Result<Vec<Pitr>> {
        let mut pitrs = when::pitrs(&self.0.store)?;
        pitrs.retain(|policy| policy.account == account);
        Ok(pitrs)
    }

    /// Returns the policies that lengthen the window of something in an account, whoever made them.
    pub fn pitrs_over(&self, account: AccountId) -> Result<Vec<Pitr>> {
        when::pitrs_over(&self.0.store, account)
    }

    /// Tells from when on a scope, and each database and table in it now or in a policy or snapshot, can be recovered.
    pub fn recovery_windows(&self, account: AccountId, scope: &Scope) -> Result<Vec<RecoveryWindow>> {
        let now = self.now();
        let policies = self.pitrs_over(account)?;
        let pins = self.snapshots(account)?;
        let over = |scope: &Scope| policies.iter().filter(|policy| policy.scope.holds(scope)).collect::<Vec<_>>();
        let kept = policies.iter().map(|policy| &policy.scope).chain(pins.iter().map(|pin| &pin.scope));
        let kept: Vec<Scope> = kept.flat_map(each_table).collect();
        let stands = check_scope(&now, now.catalog(), account, scope, &[]);
        // What was dropped or renamed is listed as long as a window reaches back to it, or something names it.
        let gone = match (scope, &stands) {
            (Scope::Tables(..), Ok(_)) => Vec::new(),
            _ => self.gone(account, |scope| {
                let windows = over(scope).into_iter().map(|policy| policy.start(self.0.store.window_time()));
                windows.fold(self.window_start(), Time::min)
            })?,
        };
        if !kept.iter().chain(&gone).any(|known| scope.holds(known)) {
            stands?;
        }
        let mut scopes = vec![scope.clone()];
        let mut add = |inner: Scope| {
            if scope.holds(&inner) && !scopes.iter().any(|known| known.holds(&inner) && inner.holds(known)) {
                scopes.push(inner);
            }
        };
        for database in now.catalog().databases_of(account) {
            add(Scope::Database(database.name.clone()));
            for table in now.catalog().tables_of(database.id).iter().filter(|table| !table.is_view()) {
                add(Scope::Tables(database.name.clone(), vec![table.name.clone()]));
            }
        }
        kept.into_iter().chain(gone).for_each(&mut add);
        let mut windows = Vec::new();
        for scope in scopes {
            let mut own = vec![(String::new(), self.recoverable_from(None)?)];
            for policy in over(&scope) {
                own.push((policy.name.clone(), self.recoverable_from(Some(policy))?));
            }
            let snapshots = pins.iter().filter(|pin| pin.scope.holds(&scope)).cloned().collect();
            windows.push(RecoveryWindow { scope, windows: own, snapshots });
        }
        Ok(windows)
    }

    /// Returns the first time to which a policy, or without one the default window, reaches back: not before the store began.
    pub fn recoverable_from(&self, policy: Option<&Pitr>) -> Result<Time> {
        let window = self.window_start();
        let start = policy.map_or(window, |policy| policy.start(self.0.store.window_time()).min(window));
        let first = self.0.store.entry_head(Version(1))?;
        Ok(first.map_or(start, |first| start.max(first.time)))
    }

    /// Returns the databases and tables of an account that were dropped or renamed since the start of their window, by
    /// the names that they had.
    fn gone(&self, account: AccountId, start: impl Fn(&Scope) -> Time) -> Result<Vec<Scope>> {
        let metastore = self.metastore();
        let mut gone = Vec::new();
        let mut add = |scope: Scope, end: Version| -> Result<()> {
            if end != Version::MAX && metastore.newest_at(start(&scope))?.is_none_or(|first| end > first.version) {
                gone.push(scope);
            }
            Ok(())
        };
        let mut homes = HashMap::new();
        for id in metastore.ids(ObjectKind::Database)? {
            for row in metastore.object(ObjectKind::Database, id)? {
                if let Change::PutDatabase(database) = &row.object
                    && database.account == account
                {
                    homes.insert(database.id, database.name.clone());
                    add(Scope::Database(database.name.clone()), row.end)?;
                }
            }
        }
        for id in metastore.ids(ObjectKind::Table)? {
            for row in metastore.object(ObjectKind::Table, id)? {
                if let Change::PutTable(table) = &row.object
                    && !table.is_view()
                    && let Some(home) = homes.get(&table.database)
                {
                    add(Scope::Tables(home.clone(), vec![table.name.clone()]), row.end)?;
                }
            }
        }
        Ok(gone)
    }

    fn put_pitr(&self, pitr: &Pitr) -> Result<()> {
        policy::put(&**self.metastore(), PolicyKind::Pitr, pitr.account, &pitr.name, pitr)
    }
}

/// Takes a scope of several tables apart: each has a window of its own.
fn each_table(scope: &Scope) -> Vec<Scope> {
    match scope {
        Scope::Tables(home, tables) => {
            tables.iter().map(|table| Scope::Tables(home.clone(), vec![table.clone()])).collect()
        }
        _ => vec![scope.clone()],
    }
}

/// A view has no rows of its own: a policy of it would keep nothing.
fn refuse_views(catalog: &Catalog, account: AccountId, scope: &Scope) -> Result<()> {
    let Scope::Tables(home, tables) = scope else { return Ok(()) };
    let home = catalog.database(account, home)?;
    for table in tables {
        if catalog.table(home, table)?.is_view() {
            return Err(Error::invalid(format!(
                "'{}.{table}' is a view: it has no rows of its own to keep.",
                home.name
            ))
            .with_hint("Name the tables that it reads, or their database."));
        }
    }
    Ok(())
}

fn check_length(length: u64) -> Result<u32> {
    match u32::try_from(length) {
        Ok(number) if (1..=LENGTH_MAX).contains(&length) => Ok(number),
        _ => Err(Error::invalid(format!("A window has a length of 1 to {LENGTH_MAX}, not {length}."))
            .with_hint("Use a larger unit: 'h', 'd', 'mo' or 'y'.")),
    }
}
