//! What becomes of policies when what they name is dropped or renamed: they go by names, and a note says what that means.

use strandline_core::catalog::Catalog;
use strandline_core::ids::AccountId;
use strandline_core::log::Scope;

use crate::error::Result;
use crate::parse::{AlterOperation, Statement};
use crate::session::State;
use crate::warning::Warning;

/// A policy, and what bore the names of its scope before a statement.
pub struct Named {
    policy: Policy,
    account: AccountId,
    scope: Scope,
    objects: Vec<Option<u64>>,
}

enum Policy {
    Pitr(String),
    Schedule(String),
    Retention,
}

/// Returns the policies, of those that the user may see, whose names a statement may take away.
pub fn named(state: &State, statement: &Statement, before: &Catalog) -> Result<Vec<Named>> {
    let renames = |alter: &crate::parse::AlterTable| {
        alter.operations.iter().any(|operation| matches!(operation, AlterOperation::RenameTo(_)))
    };
    match statement {
        Statement::DropTable { .. } | Statement::DropDatabase { .. } | Statement::RenameTable(_) => {}
        Statement::AlterTable(alter) if renames(alter) => {}
        _ => return Ok(Vec::new()),
    }
    let (database, account) = (state.engine.database(), state.account);
    let pitrs = database.pitrs(account)?.into_iter().map(|pitr| (Policy::Pitr(pitr.name), pitr.scope));
    let schedules = database.schedules(account)?.into_iter();
    let schedules = schedules.map(|schedule| (Policy::Schedule(schedule.name), schedule.scope));
    let rules = database.retentions(account)?.into_iter().map(|rules| (Policy::Retention, rules.scope));
    let all = pitrs.chain(schedules).chain(rules).filter(|(_, scope)| state.rights.sees_scope(scope));
    let named = all.map(|(policy, scope)| {
        let objects = objects(before, account, &scope);
        Named { policy, account, scope, objects }
    });
    Ok(named.collect())
}

/// Notes which policies lost what they name.
pub fn note(named: &[Named], after: &Catalog, warnings: &mut Vec<Warning>) {
    for one in named {
        let now = objects(after, one.account, &one.scope);
        let lost = |at: &usize| one.objects[*at].is_some() && one.objects[*at] != now[*at];
        for at in (0..now.len()).filter(lost) {
            warnings.push(Warning::note(1105, one.said(at, now[at].is_some())));
        }
    }
}

impl Named {
    /// Says what it means that a name of the scope was taken away, and whether something else bears it now.
    fn said(&self, at: usize, borne: bool) -> String {
        let what = match &self.scope {
            Scope::Tables(database, tables) => format!("table '{database}.{}'", tables[at]),
            scope => scope.to_string(),
        };
        let (who, end) = match (&self.policy, borne) {
            (Policy::Pitr(name), false) => (
                format!("PITR '{name}' goes"),
                "what bore the name stays recoverable, and nothing new is kept until something bears it again.",
            ),
            (Policy::Pitr(name), true) => {
                (format!("PITR '{name}' goes"), "what bore the name stays recoverable, and what bears it now is kept.")
            }
            (Policy::Schedule(name), false) => (
                format!("Schedule '{name}' goes"),
                "its runs fail until something bears the name again. DROP SCHEDULE ends it.",
            ),
            (Policy::Schedule(name), true) => {
                (format!("Schedule '{name}' goes"), "it takes snapshots of what bears the name now.")
            }
            (Policy::Retention, _) => (
                "Retention rules go".to_owned(),
                "they stay, for the snapshots of this name. DROP RETENTION ends them.",
            ),
        };
        format!("{who} by the name of {what}: {end}")
    }
}

/// Returns what bears each name of a scope.
fn objects(catalog: &Catalog, account: AccountId, scope: &Scope) -> Vec<Option<u64>> {
    match scope {
        Scope::Cluster | Scope::Account(_) => Vec::new(),
        Scope::Database(name) => vec![catalog.database(account, name).ok().map(|database| database.id.0)],
        Scope::Tables(home, tables) => {
            let home = catalog.database(account, home).ok();
            tables.iter().map(|name| Some(catalog.table(home?, name).ok()?.id.0)).collect()
        }
    }
}
