//! PITR policies: longer recovery windows for parts of the store. A policy never shortens the default window, and is not
//! versioned: a restore never undoes it.

use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::snapshot::{check_name, check_scope};
use crate::ids::{AccountId, Time};
use crate::log::policy::{self, PolicyKind};
use crate::log::{Pin, Scope};
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
        check_scope(self.now().catalog(), author.account, &spec.scope, &[])?;
        let _lock = self.0.policies.lock();
        for other in self.pitrs(author.account)? {
            if other.name.eq_ignore_ascii_case(&spec.name) {
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
        // What was dropped is listed as long as something that names it keeps it.
        policies
            .iter()
            .map(|policy| &policy.scope)
            .chain(pins.iter().map(|pin| &pin.scope))
            .cloned()
            .for_each(&mut add);
        let mut keepers = policies.iter().map(|policy| &policy.scope).chain(pins.iter().map(|pin| &pin.scope));
        if scopes.len() == 1 && !keepers.any(|kept| kept == scope) {
            check_scope(now.catalog(), account, scope, &[])?;
        }
        let time = self.env().now();
        let windows = |scope: &Scope| {
            let over = policies.iter().filter(|policy| policy.scope.holds(scope));
            let over = over.map(|policy| (policy.name.clone(), policy.start(time).min(self.window_start())));
            std::iter::once((String::new(), self.window_start())).chain(over).collect()
        };
        Ok(scopes
            .into_iter()
            .map(|scope| RecoveryWindow {
                windows: windows(&scope),
                snapshots: pins.iter().filter(|pin| pin.scope.holds(&scope)).cloned().collect(),
                scope,
            })
            .collect())
    }

    fn put_pitr(&self, pitr: &Pitr) -> Result<()> {
        policy::put(&**self.metastore(), PolicyKind::Pitr, pitr.account, &pitr.name, pitr)
    }
}

fn check_length(length: u64) -> Result<u32> {
    match u32::try_from(length) {
        Ok(number) if (1..=LENGTH_MAX).contains(&length) => Ok(number),
        _ => Err(Error::invalid(format!("A window has a length of 1 to {LENGTH_MAX}, not {length}."))
            .with_hint("Use a larger unit: 'h', 'd', 'mo' or 'y'.")),
    }
}
