//! Restore: tables get back what they held at a version, in one commit that copies nothing.
//!
//! ```text
//!   then ── tables, definitions, contents ──┐
//!                                           ├─► plan: one entry per object, with its reason ─► one commit
//!   now  ── tables, definitions, contents ──┘
//! ```
//! In place, a table that still exists keeps its identity and gets its old definition and content; one that was dropped
//! comes back as itself; one that did not exist then is dropped (and stays recoverable). A table that is called
//! otherwise now, by a name outside of what is restored, is left alone: what it held is made as a new table. Under
//! another name, the result is a clone. The version before the restore is in the report: restoring to it takes the restore back.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::catalog::{Catalog, Change, Content, ObjectKind};
use crate::db::Database;
use crate::error::{Error, Kind, Result, What};
use crate::ids::{AccountId, TableId, Time, Version};
use crate::jobs::unless;
use crate::log::Scope;
use crate::moment::Moment;
use crate::schema::{self, Table, User, same_name};
use crate::txn::{Author, Txn, footprint};
use crate::when::{Limit, Resolved, When};

/// What to restore, from when, to where.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    pub scope: Scope,
    pub when: When,
    pub target: Target,
    /// A target of another name may exist: it is replaced.
    pub overwrite: bool,
    /// What is replaced stays as a clone under `<name>_before_<version>`.
    pub keep_copy: bool,
    /// The target's database is made if it is missing.
    pub create_database: bool,
    pub foreign_key_checks: bool,
}

impl RestoreRequest {
    /// A restore in place, with all that is on unless somebody turns it off.
    pub fn of(scope: Scope, when: When) -> RestoreRequest {
        RestoreRequest {
            scope,
            when,
            target: Target::InPlace,
            overwrite: false,
            keep_copy: false,
            create_database: false,
            foreign_key_checks: true,
        }
    }
}

/// Where a restore puts what it restores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Over what is there now.
    InPlace,
    /// Under this name: a table in its database, or a database in its account.
    Name(String),
    /// Tables: into this database, under their own names.
    Database(String),
    /// One table: into this database, under this name.
    Table(String, String),
}

/// What a restore would do. Printable; applying it is one commit.
pub struct RestorePlan {
    pub request: RestoreRequest,
    pub(crate) verb: Verb,
    pub from: Resolved,
    pub then: Moment,
    /// What the plan was made against.
    pub now: Moment,
    pub steps: Vec<Step>,
    /// Databases and accounts, by their hash: what they have must still be what was planned for.
    keeps: Vec<u64>,
}

/// By which statement a restore was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Restore,
    Undrop,
}

/// One thing that a restore does.
pub struct Step {
    pub action: Action,
    pub database: String,
    /// Empty for a step about the database itself.
    pub table: String,
    /// `None` where there are none, or where counting them would take more than metadata: see
    /// [`RestorePlan::count_rows`].
    pub rows_now: Option<u64>,
    pub rows_then: Option<u64>,
    pub reason: String,
    /// Whose rows `rows_now` and `rows_then` count.
    now: Option<Arc<Table>>,
    then: Option<(Moment, Arc<Table>)>,
    work: Work,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    CreateDatabase,
    DropDatabase,
    /// A table that exists gets its old rows and definition.
    Restore,
    /// A table or view that is gone comes back, or one is made under a new name.
    Create,
    Drop,
    /// A table gets its old name, and is gone under the name that it has now.
    Rename,
    /// The target as it was is kept under another name.
    KeepCopy,
    /// Nothing to do.
    Keep,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::CreateDatabase => "create database",
            Action::DropDatabase => "drop database",
            Action::Restore => "restore",
            Action::Create => "create",
            Action::Drop => "drop",
            Action::Rename => "rename",
            Action::KeepCopy => "keep copy",
            Action::Keep => "unchanged",
        })
    }
}

/// What applying a step needs.
enum Work {
    /// See that the table is still as it was found.
    Keep(Arc<Table>),
    /// Bring a database back as itself.
    ReviveDatabase(schema::Database),
    NewDatabase(AccountId, String),
    DropDatabase(Arc<schema::Database>),
    DropTable(Arc<Table>),
    /// Nothing more: the table goes with its database.
    GoWith(Arc<Table>),
    /// Nothing more: the step that restores the table gives it its name.
    Renamed,
    /// Give a table (back) its identity, definition and content.
    PutTable(Arc<Table>, Option<Content>),
    /// Make a new table in the database of this name.
    NewTable(AccountId, String, Arc<Table>, Option<Content>),
}

/// What a restore did.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    pub steps: Vec<ReportLine>,
    /// Restoring to this version takes the restore back.
    pub version_before: Version,
    pub version_after: Version,
    pub time: Time,
}

/// A step that was done.
#[derive(Clone, Debug)]
pub struct ReportLine {
    pub action: Action,
    pub database: String,
    pub table: String,
    /// `None` where counting would have taken more than metadata.
    pub rows_before: Option<u64>,
    pub rows_after: Option<u64>,
}

impl Database {
    /// Makes the plan of a restore. Changes nothing.
    pub async fn plan_restore(&self, request: RestoreRequest, author: &Author) -> Result<RestorePlan> {
        let from = self.resolve(&request.when, author.account)?;
        let then = self.moment(&from)?;
        if let Some(limit) = &from.limit {
            // A name that never was is said to be unknown, not to be outside.
            if let Scope::Database(name) | Scope::Tables(name, _) = &request.scope
                && self.now().catalog().database(author.account, name).is_err()
            {
                then.database(author.account, name)?;
            }
            limit.admits_scope(&request.scope)?;
        }
        self.plan_restore_from(request, from, then, self.now(), author.account).await
    }

    /// Makes the plan of a restore from a moment that the caller found, over what stands `now`.
    pub(crate) async fn plan_restore_from(
        &self,
        request: RestoreRequest,
        from: Resolved,
        then: Moment,
        now: Moment,
        account: AccountId,
    ) -> Result<RestorePlan> {
        let mut plan = Planner {
            database: self,
            then: &then,
            now: &now,
            limit: from.limit.as_ref(),
            request: &request,
            account,
            restored: HashSet::new(),
            steps: Vec::new(),
            keeps: Vec::new(),
        };
        plan.plan().await?;
        // A name is free for a new table when the one that has it now has its own again.
        plan.steps.sort_by_key(|step| step.action == Action::Create && matches!(step.work, Work::NewTable(..)));
        let (mut steps, keeps) = (plan.steps, plan.keeps);
        let recent = now.recent_rows();
        for step in &mut steps {
            if let Some(table) = &step.now {
                step.rows_now = unless_damaged(now.known_row_count(table, &recent).await)?;
            }
            if let Some((moment, table)) = &step.then {
                step.rows_then = moment.known_row_count(table, &recent).await?;
            }
        }
        Ok(RestorePlan { request, verb: Verb::Restore, from, then, now, steps, keeps })
    }

    /// Does what the plan says, in one commit: all of it or nothing.
    pub async fn apply_restore(&self, plan: &RestorePlan, author: &Author) -> Result<RestoreReport> {
        self.apply_restore_with(plan, Vec::new(), author).await
    }

    /// As `apply_restore`; the same commit gives these users what they are granted from then on.
    pub async fn apply_restore_with(
        &self,
        plan: &RestorePlan,
        users: Vec<User>,
        author: &Author,
    ) -> Result<RestoreReport> {
        self.apply_restore_unless(plan, users, author, std::future::pending()).await
    }

    /// As `apply_restore_with`, but `stop` ends it with `Cancelled` as long as it is not at its commit. Then nothing
    /// was restored.
    pub async fn apply_restore_unless(
        &self,
        plan: &RestorePlan,
        users: Vec<User>,
        author: &Author,
        stop: impl Future<Output = ()>,
    ) -> Result<RestoreReport> {
        let mut txn = self.begin_at(plan.now.clone(), author.clone());
        unless(std::pin::pin!(stop), apply(plan, &mut txn)).await?;
        for user in users {
            txn.put_user(user)?;
        }
        txn.set_what(plan.what());
        fail::fail_point!("restore::applied", crate::error::failing);
        let committed = txn.commit().await?;
        fail::fail_point!("restore::committed");
        Ok(plan.report(committed.version, committed.time))
    }

    /// Plans and applies, again if another commit came between.
    pub async fn restore(&self, request: RestoreRequest, author: &Author) -> Result<RestoreReport> {
        let mut tries = 0;
        loop {
            let plan = self.plan_restore(request.clone(), author).await?;
            fail::fail_point!("restore::planned", crate::error::failing);
            match self.apply_restore(&plan, author).await {
                Err(error) if error.kind() == Kind::Conflict && tries < 10 => tries += 1,
                outcome => return outcome,
            }
        }
    }
}

impl RestorePlan {
    /// Counts the rows of every step, exactly. It opens each table as a query does: for EXPLAIN, not on the way to a
    /// restore.
    pub async fn count_rows(&mut self) -> Result<()> {
        for step in &mut self.steps {
            if let Some(table) = &step.now {
                let counted = self.now.scan(table).await.map(|scan| Some(scan.row_count()));
                step.rows_now = unless_damaged(counted)?;
            }
            if let Some((moment, table)) = &step.then {
                step.rows_then = Some(moment.scan(table).await?.row_count());
            }
        }
        Ok(())
    }

    /// Returns the statement that it stands for, for the list of commits.
    pub fn what(&self) -> String {
        let from = match &self.from.limit {
            Some(Limit::Snapshot(pin)) => format!("SNAPSHOT '{}'", pin.name),
            _ => format!("VERSION {}", self.from.version),
        };
        let to = match &self.request.target {
            Target::InPlace => String::new(),
            Target::Name(name) => format!(" TO '{name}'"),
            Target::Database(name) => format!(" TO DATABASE '{name}'"),
            Target::Table(database, table) => format!(" TO DATABASE '{database}' TABLE '{table}'"),
        };
        match self.verb {
            Verb::Restore => format!("RESTORE {} FROM {from}{to}", self.request.scope),
            Verb::Undrop => format!("UNDROP {}{to}", self.request.scope),
        }
    }

    fn report(&self, version_after: Version, time: Time) -> RestoreReport {
        // Rows that others committed while the restore was planned were restored over too: they stand just before it.
        let version_before = self.now.version().max(Version(version_after.0 - 1));
        let lines = self.steps.iter().map(|step| ReportLine {
            action: step.action,
            database: step.database.clone(),
            table: step.table.clone(),
            rows_before: step.rows_now,
            rows_after: step.rows_then,
        });
        RestoreReport { steps: lines.collect(), version_before, version_after, time }
    }
}

/// Writes the plan into a transaction, and checks the foreign keys that it may break.
pub(crate) async fn apply(plan: &RestorePlan, txn: &mut Txn) -> Result<()> {
    txn.draw_on(&plan.then);
    let mut touched: Vec<Arc<Table>> = Vec::new();
    let mut kept: Vec<TableId> = Vec::new();
    plan.keeps.iter().for_each(|hash| txn.keep(*hash));
    txn.set_foreign_key_checks(false);
    for step in &plan.steps {
        fail::fail_point!("restore::step", crate::error::failing);
        let mut counted = step.table_id();
        match &step.work {
            Work::Keep(table) => {
                txn.keep_table(table);
                kept.push(table.id);
            }
            Work::ReviveDatabase(database) => txn.put_database(database.clone()),
            Work::NewDatabase(account, name) => {
                txn.create_database(*account, name, "")?;
            }
            Work::DropDatabase(database) => {
                txn.drop_database(database)?;
            }
            Work::DropTable(table) => {
                txn.forget(table);
                touched.push(table.clone());
            }
            Work::GoWith(table) => touched.push(table.clone()),
            Work::Renamed => {}
            Work::PutTable(table, content) => {
                // Writers of a table that keeps its definition need not be waited for: what they commit before the
                // restore is restored over, and afterwards they conflict.
                if txn.catalog().table_by_id(table.id) != Some(table) {
                    txn.put_table(table.clone());
                } else {
                    // One that is renamed meanwhile is another's to name: the restore is planned again.
                    txn.lean_on_name(table);
                }
                if let Some(content) = content {
                    txn.put_content_back(table, content.clone())?;
                }
                if plan.request.keep_copy {
                    // The copy was taken of what the plan saw: it must be all there was.
                    txn.keep_table(table);
                }
                touched.push(table.clone());
            }
            Work::NewTable(account, database, table, content) => {
                let database = txn.catalog().database(*account, database)?.clone();
                let new = Table { database: database.id, ..table.as_ref().clone() };
                let table = match content {
                    Some(content) => txn.create_table_with(new, content.clone())?,
                    None => txn.create_table(new)?,
                };
                counted = Some(table.id);
                touched.push(table);
            }
        }
        txn.count(counted, step.rows_then.unwrap_or(0), step.rows_now.unwrap_or(0));
    }
    if plan.request.foreign_key_checks {
        check_foreign_keys(txn, &plan.then, &touched, kept).await?;
    }
    Ok(())
}

impl Step {
    /// Returns a step about a database itself.
    fn new(action: Action, database: &str, reason: &str, work: Work) -> Step {
        Step {
            action,
            database: database.to_owned(),
            table: String::new(),
            rows_now: None,
            rows_then: None,
            reason: reason.to_owned(),
            now: None,
            then: None,
            work,
        }
    }

    /// Makes it a step about a table, or a view, which has no rows.
    fn of(self, name: &str, now: Option<&Arc<Table>>, then: Option<(&Moment, &Arc<Table>)>) -> Step {
        Step {
            table: name.to_owned(),
            now: now.filter(|table| !table.is_view()).cloned(),
            then: then.filter(|(_, table)| !table.is_view()).map(|(moment, table)| (moment.clone(), table.clone())),
            ..self
        }
    }

    fn table_id(&self) -> Option<TableId> {
        match &self.work {
            Work::DropTable(table) | Work::GoWith(table) | Work::PutTable(table, _) => Some(table.id),
            _ => None,
        }
    }
}

/// Checks every foreign key between a restored table and one that was not restored with it, nor found as it was.
pub(crate) async fn check_foreign_keys(
    txn: &mut Txn,
    then: &Moment,
    touched: &[Arc<Table>],
    kept: Vec<TableId>,
) -> Result<()> {
    let restored: HashSet<_> = touched.iter().map(|table| table.id).collect();
    // A key whose two tables are both as at one moment held there.
    let together: HashSet<_> = restored.iter().copied().chain(kept).collect();
    for table in touched {
        let present = txn.catalog().table_by_id(table.id).cloned();
        for (child, key) in txn.children_of(table) {
            if !together.contains(&child.id) || present.is_none() {
                // A child that comes meanwhile has not been looked at.
                txn.write_whole(table);
                verify(txn, then, &child, &key, Kind::HasChildren).await?;
            }
        }
        if let Some(present) = present {
            for key in &present.foreign_keys {
                let parent = txn.parent_of(&present, key);
                if let Some(parent) = parent.as_ref().filter(|parent| !restored.contains(&parent.id)) {
                    // Whoever deletes its rows meanwhile has not seen the children that come back.
                    txn.write_rows(parent);
                }
                if parent.is_none_or(|parent| !together.contains(&parent.id)) {
                    verify(txn, then, &present, &key.name, Kind::MissingParent).await?;
                }
            }
        }
    }
    Ok(())
}

async fn verify(txn: &Txn, then: &Moment, child: &Arc<Table>, key: &str, kind: Kind) -> Result<()> {
    if let Some(key) = child.foreign_keys.iter().find(|candidate| candidate.name == key)
        && !(kind == Kind::MissingParent && txn.still_refers(then, child, key)?)
        && let Some(entry) = txn.orphan(child, key).await?
    {
        let home = txn.catalog().database_by_id(child.database).map_or("", |home| home.name.as_str());
        let parent_home = key.parent_database.as_deref().unwrap_or(home);
        let both = match same_name(home, parent_home) {
            true => "Restore both tables together (RESTORE TABLES or RESTORE DATABASE)".to_owned(),
            false => format!("Restore the account (RESTORE ACCOUNT), or database '{home}' too, with the checks off"),
        };
        return Err(Error::new(
            kind,
            format!(
                "The restore would leave rows of '{home}.{}' without their parent in '{parent_home}.{}': constraint '{}', \
                 value '{entry}'.",
                child.name, key.parent_table, key.name
            ),
        )
        .with_hint(format!("{both}, or SET foreign_key_checks = 0 first.")));
    }
    Ok(())
}

struct Planner<'a> {
    database: &'a Database,
    then: &'a Moment,
    now: &'a Moment,
    limit: Option<&'a Limit>,
    request: &'a RestoreRequest,
    account: AccountId,
    /// The tables that get back their name and place: they are in nobody's way, whatever they are called now. Not one
    /// that has left what is restored.
    restored: HashSet<TableId>,
    steps: Vec<Step>,
    keeps: Vec<u64>,
}

impl Planner<'_> {
    async fn plan(&mut self) -> Result<()> {
        let in_place = self.request.target == Target::InPlace;
        if in_place {
            let (then, now) = (self.then.catalog(), self.now.catalog());
            let inside = tables_and_views(now, self.account, &self.request.scope);
            self.restored = tables_and_views(then, self.account, &self.request.scope);
            self.restored.retain(|id| now.table_by_id(*id).is_none() || inside.contains(id));
        }
        match &self.request.scope {
            Scope::Cluster if in_place => {
                let now = self.now.catalog();
                for account in self.then.catalog().accounts() {
                    if now.account_by_id(account.id).is_none() {
                        return Err(Error::unsupported(format!(
                            "Account '{}' was dropped; bringing an account back is not supported yet.",
                            account.name
                        )));
                    }
                    self.account(account.id).await?;
                }
                Ok(())
            }
            Scope::Account(name) if in_place => {
                let account = self.then.catalog().account(name)?.id;
                self.account(account).await
            }
            Scope::Cluster | Scope::Account(_) => {
                Err(Error::invalid("A cluster or account is restored in place.").with_hint("Leave out TO …."))
            }
            Scope::Database(name) => {
                let then = self.then.database(self.account, name)?.clone();
                match &self.request.target {
                    Target::InPlace => self.database(&then).await,
                    Target::Name(to) | Target::Database(to) => self.database_to(&then, to).await,
                    Target::Table(..) => Err(Error::invalid("A database cannot be restored to a table.")),
                }
            }
            Scope::Tables(database, tables) => {
                let then = self.then.database(self.account, database)?.clone();
                let mut sources = Vec::new();
                for name in tables {
                    sources.push(self.then.table(&then, name)?.clone());
                }
                if let Some(pin) = self.limit.and_then(Limit::pin).filter(|pin| !pin.columns.is_empty()) {
                    for table in &sources {
                        let all: Vec<_> = table.columns.iter().map(|column| column.id).collect();
                        pin.admits_columns(table, &all)?;
                    }
                }
                match self.request.target.clone() {
                    Target::InPlace => self.tables_in_place(&then, &sources).await,
                    Target::Name(name) if sources.len() == 1 => self.table_to(&sources[0], database, &name).await,
                    Target::Table(into, name) if sources.len() == 1 => self.table_to(&sources[0], &into, &name).await,
                    Target::Database(into) => {
                        for table in &sources {
                            self.table_to(table, &into, &table.name).await?;
                        }
                        Ok(())
                    }
                    Target::Name(_) | Target::Table(..) => {
                        Err(Error::invalid("Several tables cannot be restored to one name.")
                            .with_hint("Use TO DATABASE d: they keep their names there."))
                    }
                }
            }
        }
    }

    /// Plans an account in place: every database that it has now or had then.
    async fn account(&mut self, account: AccountId) -> Result<()> {
        self.keeps.push(footprint::account(account));
        let then = self.then.catalog().databases_of(account);
        for database in self.now.catalog().databases_of(account) {
            // One that has the name of a database of then is dropped where that one is planned.
            if then.iter().all(|old| old.id != database.id && !same_name(&old.name, &database.name)) {
                self.drop_database(&database, "did not exist then");
            }
        }
        for database in then {
            self.database(&database).await?;
        }
        Ok(())
    }

    /// Plans a database in place.
    async fn database(&mut self, then: &Arc<schema::Database>) -> Result<()> {
        let now_catalog = self.now.catalog().clone();
        let then_tables = self.then.catalog().tables_of(then.id);
        // The same database if it still lives (under whatever name); else one that took its name makes room.
        let living = now_catalog.database_by_id(then.id).cloned();
        if let Some(taken) = now_catalog.database(then.account, &then.name).ok().filter(|d| d.id != then.id) {
            self.keep_copy_of_database(taken).await?;
            self.drop_database(taken, "another database of this name was created since");
        }
        let first = self.steps.len();
        if let Some(living) = &living {
            self.keeps.push(footprint::database(living.id));
            if living != then {
                self.push_database(then, "renamed or changed since");
            }
            for table in now_catalog.tables_of(living.id) {
                if !self.restored.contains(&table.id) {
                    self.drop_step(&table, &living.name, "did not exist then");
                }
            }
        } else {
            self.push_database(then, "was dropped since");
        }
        for table in then_tables {
            self.table_in_place(&table, then).await?;
        }
        let changes = self.steps[first..].iter().any(|step| step.action != Action::Keep);
        if let Some(living) = living.filter(|_| changes) {
            let planned = self.steps.split_off(first);
            self.keep_copy_of_database(&living).await?;
            self.steps.extend(planned);
        }
        Ok(())
    }

    fn push_database(&mut self, then: &Arc<schema::Database>, reason: &str) {
        self.push(Action::CreateDatabase, &then.name, reason, Work::ReviveDatabase(then.as_ref().clone()));
    }

    async fn tables_in_place(&mut self, then: &Arc<schema::Database>, sources: &[Arc<Table>]) -> Result<()> {
        let now = self.now.catalog().clone();
        match now.database_by_id(then.id) {
            Some(_) => {}
            None if now.database(then.account, &then.name).is_ok() => {
                return Err(Error::invalid(format!(
                    "Database '{}' was dropped and another of that name exists.",
                    then.name
                ))
                .with_hint(format!("Restore into it by name: RESTORE TABLE … TO DATABASE {} TABLE ….", then.name)));
            }
            None if self.request.create_database => self.push_database(then, "was dropped since"),
            None => {
                return Err(Error::not_found(What::Database, &then.name)
                    .with_hint("It was dropped: RESTORE DATABASE brings it back, or add CREATE DATABASE."));
            }
        }
        let first = self.steps.len();
        for table in sources {
            self.table_in_place(table, then).await?;
        }
        // Of whatever is restored over, also of another table that took a name.
        let planned = self.steps.split_off(first);
        for step in &planned {
            if let Work::DropTable(table) | Work::PutTable(table, _) = &step.work
                && let Some(replaced) = now.table_by_id(table.id)
            {
                self.keep_copy_of_table(replaced, &then.name).await?;
            }
        }
        self.steps.extend(planned);
        Ok(())
    }

    /// Plans one table or view in place.
    async fn table_in_place(&mut self, then: &Arc<Table>, database: &Arc<schema::Database>) -> Result<()> {
        let now = self.now.catalog().clone();
        let living = now.table_by_id(then.id).cloned();
        // Another table may have taken the name.
        let present = now.database_by_id(then.database).and_then(|database| now.table(database, &then.name).ok());
        if let Some(taken) = present.filter(|table| !self.restored.contains(&table.id)).cloned() {
            self.drop_step(&taken, &database.name, "another table of this name was created since");
        }
        if let Some(living) = &living {
            let home = now.database_by_id(living.database).map_or("", |home| home.name.as_str());
            let renamed = living.database != then.database || !same_name(&living.name, &then.name);
            if !self.restored.contains(&living.id) {
                return self.beside(then, living, home, database);
            }
            if renamed {
                let reason = format!("is '{}.{}' again", database.name, then.name);
                let step = Step::new(Action::Rename, home, &reason, Work::Renamed);
                self.steps.push(step.of(&living.name, Some(living), None));
            }
        }
        // The next free column id is no part of what a table looks like, and never goes back.
        let same_definition = living
            .as_ref()
            .filter(|living| ***living == Table { next_column: living.next_column, ..then.as_ref().clone() });
        let same_rows = self.then.same_rows(then, now.content(then.id), self.now.version());
        if let Some(living) = same_definition
            && same_rows?
        {
            let step = Step::new(Action::Keep, &database.name, "has not changed since", Work::Keep(living.clone()));
            self.steps.push(step.of(&then.name, Some(then), Some((self.then, then))));
            return Ok(());
        }
        let content = match self.then.content(then.id)? {
            Some(content) => Some(self.content_in_place(&content, then, living.is_some())?),
            None => None,
        };
        let (action, reason) = match &living {
            None => (Action::Create, "was dropped since"),
            Some(_) if same_definition.is_none() => (Action::Restore, "rows or definition changed since"),
            Some(_) if self.limit.and_then(Limit::pin).is_some_and(|pin| pin.terms.copy.is_some()) => {
                (Action::Restore, "gets the rows of the snapshot's copy")
            }
            Some(_) => (Action::Restore, "rows changed since"),
        };
        let table = match same_definition {
            Some(living) => living.clone(),
            None => self.with_fresh_columns(then)?,
        };
        let step = Step::new(action, &database.name, reason, Work::PutTable(table, content));
        self.steps.push(step.of(&then.name, living.as_ref(), Some((self.then, then))));
        Ok(())
    }

    /// Plans a table whose own has left what is restored: it comes back as a new one, and its own stays as it is.
    fn beside(
        &mut self,
        then: &Arc<Table>,
        living: &Arc<Table>,
        home: &str,
        database: &Arc<schema::Database>,
    ) -> Result<()> {
        let content = self.then.content(then.id)?.map(|content| content.as_of(then.id, self.then.version()));
        // No number is given out again that the other has given out.
        let content = content.map(|content| with_counters(self.now, living, content)).transpose()?;
        let reason = format!("was renamed since: '{home}.{}' stays as it is", living.name);
        let work = Work::NewTable(database.account, database.name.clone(), then.clone(), content);
        let step = Step::new(Action::Create, &database.name, &reason, work);
        self.steps.push(step.of(&then.name, None, Some((self.then, then))));
        Ok(())
    }

    /// Returns the definition with column ids going on from the greatest that the table ever had: an id that was used
    /// since then must not name another column.
    fn with_fresh_columns(&self, then: &Arc<Table>) -> Result<Arc<Table>> {
        let rows = self.database.metastore().object(ObjectKind::Table, then.id.0)?;
        let ever = rows.iter().filter_map(|row| match &row.object {
            Change::PutTable(table) => Some(table.next_column),
            _ => None,
        });
        let next_column = ever.max().unwrap_or_default().max(then.next_column);
        Ok(Arc::new(Table { next_column, ..then.as_ref().clone() }))
    }

    /// Plans a database under another name.
    async fn database_to(&mut self, then: &Arc<schema::Database>, to: &str) -> Result<()> {
        let now = self.now.catalog().clone();
        if let Ok(present) = now.database(self.account, to) {
            if !self.request.overwrite {
                return Err(Error::already_exists(What::Database, to)
                    .with_hint("Add OVERWRITE to replace it, or choose another name."));
            }
            self.keep_copy_of_database(present).await?;
            self.drop_database(present, "replaced (OVERWRITE)");
        }
        self.new_database(to, "the target");
        for table in self.then.catalog().tables_of(then.id) {
            self.new_table(self.then, &table, to, &table.name, "restored").await?;
        }
        Ok(())
    }

    /// Plans one table under another name.
    async fn table_to(&mut self, then: &Arc<Table>, database: &str, name: &str) -> Result<()> {
        let now = self.now.catalog().clone();
        match now.database(self.account, database) {
            Ok(target) => {
                if let Ok(present) = now.table(target, name).cloned() {
                    if !self.request.overwrite {
                        return Err(Error::already_exists(What::Table, &format!("{database}.{name}"))
                            .with_hint("Add OVERWRITE to replace it, or choose another name."));
                    }
                    self.keep_copy_of_table(&present, database).await?;
                    self.drop_step(&present, database, "replaced (OVERWRITE)");
                }
            }
            Err(_) if self.request.create_database => {
                if !self.steps.iter().any(|step| step.action == Action::CreateDatabase) {
                    self.new_database(database, "missing (CREATE DATABASE)");
                }
            }
            Err(error) => {
                return Err(match error.hint() {
                    Some(_) => error,
                    None => error.with_hint("Create it first, or add CREATE DATABASE."),
                });
            }
        }
        self.new_table(self.then, then, database, name, "restored").await
    }

    fn new_database(&mut self, name: &str, reason: &str) {
        self.push(Action::CreateDatabase, name, reason, Work::NewDatabase(self.account, name.to_owned()));
    }

    async fn new_table(
        &mut self,
        moment: &Moment,
        source: &Arc<Table>,
        database: &str,
        name: &str,
        reason: &str,
    ) -> Result<()> {
        let content = moment.content(source.id)?.map(|content| content.as_of(source.id, moment.version()));
        let content = content.map(|content| with_counters(moment, source, content)).transpose()?;
        let table = Arc::new(Table { name: name.to_owned(), ..source.as_ref().clone() });
        let action = if reason == COPY { Action::KeepCopy } else { Action::Create };
        let work = Work::NewTable(self.account, database.to_owned(), table, content);
        let step = Step::new(action, database, reason, work);
        self.steps.push(step.of(name, None, Some((moment, source))));
        Ok(())
    }

    fn drop_database(&mut self, database: &Arc<schema::Database>, reason: &str) {
        self.push(Action::DropDatabase, &database.name, reason, Work::DropDatabase(database.clone()));
        for table in self.now.catalog().tables_of(database.id) {
            if !self.restored.contains(&table.id) {
                let step =
                    Step::new(Action::Drop, &database.name, "goes with its database", Work::GoWith(table.clone()));
                self.steps.push(step.of(&table.name, Some(&table), None));
            }
        }
    }

    fn drop_step(&mut self, table: &Arc<Table>, database: &str, reason: &str) {
        let step = Step::new(Action::Drop, database, reason, Work::DropTable(table.clone()));
        self.steps.push(step.of(&table.name, Some(table), None));
    }

    /// Adds a step about a database itself.
    fn push(&mut self, action: Action, database: &str, reason: &str, work: Work) {
        self.steps.push(Step::new(action, database, reason, work));
    }

    async fn keep_copy_of_database(&mut self, database: &Arc<schema::Database>) -> Result<()> {
        if !self.request.keep_copy {
            return Ok(());
        }
        let name = self.copy_name(&database.name, |name| self.now.catalog().database(self.account, name).is_ok());
        self.new_database(&name, COPY);
        for table in self.now.catalog().tables_of(database.id) {
            self.new_table(self.now, &table, &name, &table.name, COPY).await?;
        }
        Ok(())
    }

    async fn keep_copy_of_table(&mut self, table: &Arc<Table>, into: &str) -> Result<()> {
        if !self.request.keep_copy {
            return Ok(());
        }
        let name = self.copy_name(&table.name, |name| {
            let home = self.now.catalog().database_by_id(table.database);
            home.is_some_and(|home| self.now.catalog().table(home, name).is_ok())
        });
        self.new_table(self.now, table, into, &name, COPY).await
    }

    /// Returns a free name for a copy: as long as names may be, and told apart from that of another long name.
    fn copy_name(&self, name: &str, taken: impl Fn(&str) -> bool) -> String {
        let mut ending = format!("_before_{}", self.now.version().next());
        for number in 2.. {
            let room = NAME_MAX.saturating_sub(ending.len());
            let copy = format!("{}{ending}", name.chars().take(room).collect::<String>());
            let planned = self.steps.iter().filter(|step| step.reason == COPY);
            if !taken(&copy) && !planned.into_iter().any(|step| [&step.table, &step.database].contains(&&copy)) {
                return copy;
            }
            ending = format!("_before_{}_{number}", self.now.version().next());
        }
        unreachable!("BUG: every name is taken")
    }

    /// Returns the content for a table in place. Its counters never go back: a row id or AUTO_INCREMENT value that was
    /// used since must not name another row. Those of a table that lives are read when the plan is applied.
    fn content_in_place(&self, content: &Content, then: &Table, lives: bool) -> Result<Content> {
        let content = content.as_of(then.id, self.then.version());
        if lives {
            return Ok(content);
        }
        let rows = self.database.metastore().object(ObjectKind::Table, then.id.0)?;
        let dropped = rows.last().map(|row| row.end).filter(|end| *end != Version::MAX);
        let Some(dropped) = dropped else { return Ok(content) };
        match with_counters(&self.database.moment_before(dropped)?, then, content.clone()) {
            // What used higher numbers can no longer be read by anybody.
            Err(error) if error.kind() == Kind::OutOfWindow => with_counters(self.then, then, content),
            counted => counted,
        }
    }
}

/// The most characters that the name of a table or database may have.
const NAME_MAX: usize = 64;

const COPY: &str = "kept as it was (KEEP COPY)";

/// Leaves out a count that damage forbids: the rows that a restore replaces need not be readable for it.
fn unless_damaged(counted: Result<Option<u64>>) -> Result<Option<u64>> {
    match counted {
        Err(error) if error.kind() == Kind::Corrupt => Ok(None),
        counted => counted,
    }
}

/// Returns the content with the counters that its overlay has reached.
pub(crate) fn with_counters(moment: &Moment, table: &Table, mut content: Content) -> Result<Content> {
    if let Some(own) = moment.catalog().content(table.id) {
        let overlay = moment.store().hot.overlay(table, own, moment.version())?;
        content.next_row_id = content.next_row_id.max(overlay.next_row_id().load(Ordering::Relaxed));
        content.next_auto = content.next_auto.max(overlay.next_auto().load(Ordering::Relaxed));
    }
    Ok(content)
}

/// Returns the ids of all tables and views of a scope.
fn tables_and_views(catalog: &Catalog, account: AccountId, scope: &Scope) -> HashSet<TableId> {
    let inside = |table: &&Arc<Table>| {
        let Some(database) = catalog.database_by_id(table.database) else { return false };
        match scope {
            Scope::Cluster => true,
            Scope::Account(name) => catalog.account(name).is_ok_and(|account| account.id == database.account),
            Scope::Database(name) => database.account == account && same_name(&database.name, name),
            Scope::Tables(name, tables) => {
                database.account == account
                    && same_name(&database.name, name)
                    && tables.iter().any(|wanted| same_name(wanted, &table.name))
            }
        }
    };
    catalog.all_tables().filter(inside).map(|table| table.id).collect()
}
