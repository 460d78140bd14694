//! `RESTORE … WITH GRANTS`: what was granted on the restored objects, as it was at the moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use strandline_core::grants::Grants;
use strandline_core::history::restore::{RestorePlan, Target};
use strandline_core::ids::AccountId;
use strandline_core::log::Scope;
use strandline_core::schema::User;
use strandline_core::schema::fold;

use crate::users::host_of;

/// What becomes of grants.
#[derive(Default)]
pub struct GrantsThen {
    /// Users with what they are granted from the restore on.
    pub changed: Vec<User>,
    pub lines: Vec<GrantLine>,
}

/// One line of the report.
pub struct GrantLine {
    pub action: &'static str,
    pub database: String,
    /// `'user'@'host'`
    pub grantee: String,
}

const LEFT_OUT: &str = "leave out grants";

/// An object as it was called then, and as the restore calls it.
struct Restored {
    account: AccountId,
    then: (String, Option<String>),
    now: (String, Option<String>),
}

/// Works out whose grants change. Users who were made since lose what they have on those objects; users who are gone
/// are left out, and named. Grants on `*.*`, on patterns of names and of roles stay as they are.
pub fn grants(plan: &RestorePlan, account: AccountId) -> GrantsThen {
    let restored = restored(plan, account);
    let (then, now) = (plan.then.catalog(), plan.now.catalog());
    let mut result = GrantsThen::default();
    for user in now.users() {
        let before = then.user_by_id(user.id).map(|user| user.grants.clone()).unwrap_or_default();
        let mut changed = (*user).clone();
        for one in restored.iter().filter(|one| one.account == user.account) {
            let mut grants = changed.grants.clone();
            put(&mut grants, one, &before);
            if grants != changed.grants {
                result.line("restore grants", &one.now.0, &user);
                changed.grants = grants;
            }
        }
        if changed.grants != user.grants {
            result.changed.push(changed);
        }
    }
    for user in then.users().iter().filter(|user| now.user_by_id(user.id).is_none()) {
        for one in restored.iter().filter(|one| one.account == user.account && has(&user.grants, one)) {
            result.line(LEFT_OUT, &one.now.0, user);
        }
    }
    result
}

impl GrantLine {
    /// Says why, for a plan.
    pub fn reason(&self) -> &'static str {
        match self.action {
            LEFT_OUT => "the grantee is gone",
            _ => "had other grants then (WITH GRANTS)",
        }
    }
}

impl GrantsThen {
    fn line(&mut self, action: &'static str, database: &str, user: &User) {
        let grantee = format!("'{}'@'{}'", user.name, host_of(user));
        self.lines.push(GrantLine { action, database: database.to_owned(), grantee });
    }
}

fn restored(plan: &RestorePlan, account: AccountId) -> Vec<Restored> {
    let then = plan.then.catalog();
    let whole = |account: AccountId, from: &str, to: &str| Restored {
        account,
        then: (fold(from), None),
        now: (fold(to), None),
    };
    let every_database = |account: AccountId| {
        let databases = then.databases_of(account).into_iter();
        databases.map(move |database| whole(account, &database.name, &database.name)).collect::<Vec<_>>()
    };
    match (&plan.request.scope, &plan.request.target) {
        (Scope::Cluster, _) => then.accounts().iter().flat_map(|account| every_database(account.id)).collect(),
        (Scope::Account(name), _) => {
            let id = then.account(name).map_or(account, |found: &Arc<_>| found.id);
            every_database(id)
        }
        (Scope::Database(name), Target::Name(to) | Target::Database(to)) => vec![whole(account, name, to)],
        (Scope::Database(name), _) => vec![whole(account, name, name)],
        (Scope::Tables(database, tables), target) => tables
            .iter()
            .map(|table| {
                let (to_database, to_table) = match target {
                    Target::InPlace => (database, table),
                    Target::Name(name) => (database, name),
                    Target::Database(other) => (other, table),
                    Target::Table(other, name) => (other, name),
                };
                Restored {
                    account,
                    then: (fold(database), Some(fold(table))),
                    now: (fold(to_database), Some(fold(to_table))),
                }
            })
            .collect(),
    }
}

/// Gives `grants` what `before` had on one object.
fn put(grants: &mut Grants, one: &Restored, before: &Grants) {
    match (&one.then, &one.now) {
        ((then, Some(then_table)), (now, Some(now_table))) => {
            let old = before.on_table(then, then_table).cloned().unwrap_or_default();
            grants.change_table(now, now_table, |on| *on = old);
        }
        ((then, _), (now, _)) => {
            set(&mut grants.databases, now, before.databases.get(then));
            set(&mut grants.tables, now, before.tables.get(then));
        }
    }
}

fn has(grants: &Grants, one: &Restored) -> bool {
    match &one.then {
        (database, Some(table)) => grants.on_table(database, table).is_some(),
        (database, None) => grants.databases.contains_key(database) || grants.tables.contains_key(database),
    }
}

fn set<T: Clone>(map: &mut BTreeMap<String, T>, key: &str, value: Option<&T>) {
    match value {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}
