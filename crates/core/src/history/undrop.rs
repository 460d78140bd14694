//! Undrop: what was dropped comes back as it was just before. A restore whose moment is looked up.

use std::collections::HashMap;

use crate::catalog::ObjectKind;
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::history::restore::{RestorePlan, RestoreRequest, Target, Verb};
use crate::ids::Version;
use crate::log::{ObjectRow, Scope};
use crate::moment::Moment;
use crate::schema::same_name;
use crate::txn::Author;
use crate::when::{Resolved, When};

impl Database {
    /// Plans to bring back a dropped table, under its own name or another.
    pub async fn plan_undrop_table(
        &self,
        database: &str,
        table: &str,
        rename: Option<&str>,
        author: &Author,
    ) -> Result<RestorePlan> {
        let now = self.now();
        let home = now.catalog().database(author.account, database)?.clone();
        if rename.is_none() && now.catalog().table(&home, table).is_ok() {
            return Err(Error::already_exists(What::Table, &format!("{database}.{table}"))
                .with_hint("Bring the dropped one back under another name: UNDROP TABLE … TO name."));
        }
        let rows = self.named(ObjectKind::Table, home.id.0, table)?;
        let dropped = last_drop(&rows, (table, home.id.0))
            .ok_or_else(|| never_dropped(What::Table, &format!("{database}.{table}")))?;
        let scope = Scope::Tables(home.name.clone(), vec![table.to_owned()]);
        let target = rename.map_or(Target::InPlace, |name| Target::Name(name.to_owned()));
        self.plan_undrop(now, dropped, scope, target, author).await
    }

    /// Plans to bring back a dropped database with all that it held.
    pub async fn plan_undrop_database(
        &self,
        database: &str,
        rename: Option<&str>,
        author: &Author,
    ) -> Result<RestorePlan> {
        let now = self.now();
        if rename.is_none() && now.catalog().database(author.account, database).is_ok() {
            return Err(Error::already_exists(What::Database, database)
                .with_hint("Bring the dropped one back under another name: UNDROP DATABASE … TO name."));
        }
        let rows = self.named(ObjectKind::Database, author.account.0, database)?;
        let dropped =
            last_drop(&rows, (database, author.account.0)).ok_or_else(|| never_dropped(What::Database, database))?;
        let target = rename.map_or(Target::InPlace, |name| Target::Name(name.to_owned()));
        self.plan_undrop(now, dropped, Scope::Database(database.to_owned()), target, author).await
    }

    /// `now` is where the caller saw that the name is free: if it is taken since, the commit finds out.
    async fn plan_undrop(
        &self,
        now: Moment,
        dropped: Version,
        scope: Scope,
        target: Target,
        author: &Author,
    ) -> Result<RestorePlan> {
        fail::fail_point!("undrop::found", crate::error::failing);
        let then = self.moment_before(dropped)?;
        // The same rule as for every address: outside the window only what something keeps.
        if let Some(limit) = self.resolve(&When::Version(then.version()), author.account)?.limit {
            limit.admits_scope(&scope)?;
        }
        let from = Resolved {
            version: then.version(),
            time: then.time(),
            limit: None,
            why: format!("just before it was dropped by version {dropped}"),
            hold: then.hold().clone(),
        };
        let request = RestoreRequest {
            scope,
            when: When::Version(then.version()),
            target,
            overwrite: false,
            keep_copy: false,
            create_database: false,
            foreign_key_checks: true,
        };
        let mut plan = self.plan_restore_from(request, from, then, now, author.account).await?;
        fail::fail_point!("undrop::planned", crate::error::failing);
        plan.verb = Verb::Undrop;
        Ok(plan)
    }
}

/// Returns the commit that last dropped an object which bore this name, in this place, when it was dropped. `rows` are
/// all rows of the objects that ever bore it: one may have been renamed before it was dropped, or have come back since.
fn last_drop(rows: &[ObjectRow], (name, parent): (&str, u64)) -> Option<Version> {
    let mut last: HashMap<u64, &ObjectRow> = HashMap::new();
    for row in rows {
        let of_object = last.entry(row.object.object().1).or_insert(row);
        if of_object.begin < row.begin {
            *of_object = row;
        }
    }
    let named = |row: &&ObjectRow| row.object.name().is_some_and(|(own, at)| at == parent && same_name(own, name));
    last.into_values().filter(named).map(|row| row.end).filter(|end| *end != Version::MAX).max()
}

fn never_dropped(what: What, name: &str) -> Error {
    Error::new(Kind::NotFound(what), format!("No dropped {what} '{name}'."))
        .with_hint("SHOW COMMITS lists what was dropped, and when.")
}
