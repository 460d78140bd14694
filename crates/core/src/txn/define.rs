//! Definitions within a transaction: accounts, databases, tables, users and what tables hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use futures::{Stream, StreamExt};

use super::{OnDuplicate, Txn, bulk, footprint, pin_of_commit};
use crate::catalog::{Catalog, Change, Content, ObjectKind};
use crate::error::{Error, Kind, Result, What};
use crate::hot::overlay::Counters;
use crate::ids::{AccountId, ColumnId, DatabaseId, TableId, UserId};
use crate::log::{Metastore, Pin, Scope, Terms};
use crate::schema::{Account, Database, Table, User, same_name};

/// Where new ids come from. An id that was handed out and not committed is lost.
pub struct Ids {
    account: AtomicU64,
    database: AtomicU64,
    table: AtomicU64,
    user: AtomicU64,
}

impl Ids {
    /// Continues after the greatest ids that ever were.
    pub(crate) fn load(metastore: &dyn Metastore) -> Result<Ids> {
        let after =
            |kind, least: u64| -> Result<AtomicU64> { Ok(AtomicU64::new(metastore.greatest_id(kind)?.max(least) + 1)) };
        Ok(Ids {
            // The first is `sys`, which a store that is made now gets only after this.
            account: after(ObjectKind::Account, 1)?,
            database: after(ObjectKind::Database, 0)?,
            table: after(ObjectKind::Table, 0)?,
            user: after(ObjectKind::User, 0)?,
        })
    }
}

impl Txn {
    /// Creates an account.
    pub fn create_account(&mut self, name: &str) -> Result<Account> {
        if self.catalog.account(name).is_ok() {
            return Err(Error::already_exists(What::Account, name));
        }
        let account =
            Account { id: AccountId(self.ids.account.fetch_add(1, Ordering::Relaxed)), name: name.to_owned() };
        self.footprint.writes.push(footprint::login_name(AccountId(0), name));
        self.change(Change::PutAccount(account.clone()));
        Ok(account)
    }

    /// Drops an account with everything in it.
    pub fn drop_account(&mut self, account: &Account) -> Result<()> {
        self.footprint.writes.push(footprint::account(account.id));
        self.footprint.writes.push(footprint::login_name(AccountId(0), &account.name));
        for database in self.catalog.databases_of(account.id) {
            self.drop_database(&database)?;
        }
        for user in self.catalog.users().iter().filter(|user| user.account == account.id) {
            self.drop_user(user);
        }
        self.change(Change::DropAccount(account.id));
        Ok(())
    }

    /// Creates a database.
    pub fn create_database(&mut self, account: AccountId, name: &str, comment: &str) -> Result<Arc<Database>> {
        if self.catalog.database(account, name).is_ok() {
            return Err(Error::already_exists(What::Database, name));
        }
        self.footprint.leans.push(footprint::account(account));
        self.footprint.writes.push(footprint::database_name(account, name));
        let id = DatabaseId(self.ids.database.fetch_add(1, Ordering::Relaxed));
        let database = Database { id, account, name: name.to_owned(), comment: comment.to_owned() };
        self.change(Change::PutDatabase(database));
        Ok(self.catalog.database(account, name)?.clone())
    }

    /// Brings back a database with its old id, under a name that is free.
    pub(crate) fn put_database(&mut self, database: Database) {
        self.footprint.leans.push(footprint::account(database.account));
        self.footprint.writes.push(footprint::database_name(database.account, &database.name));
        self.footprint.writes.push(footprint::database(database.id));
        self.change(Change::PutDatabase(database));
    }

    /// Drops a database with its tables; returns how many there were.
    pub fn drop_database(&mut self, database: &Database) -> Result<u64> {
        let tables = self.catalog.tables_of(database.id);
        if self.foreign_key_checks {
            for table in &tables {
                for (child, key) in self.children_of(table) {
                    if child.database != database.id {
                        return Err(referenced(table, &child, &key));
                    }
                }
            }
        }
        self.footprint.writes.push(footprint::database(database.id));
        self.footprint.writes.push(footprint::database_name(database.account, &database.name));
        for table in &tables {
            self.forget(table);
        }
        fail::fail_point!("drop::database", crate::error::failing);
        self.change(Change::DropDatabase(database.id));
        Ok(tables.len() as u64)
    }

    /// Creates a table or view from a definition without an id.
    pub fn create_table(&mut self, table: Table) -> Result<Arc<Table>> {
        self.create_table_with(table, Content::empty())
    }

    /// Creates a table that holds `content` from its first moment on.
    pub(crate) fn create_table_with(&mut self, mut table: Table, content: Content) -> Result<Arc<Table>> {
        let database = self.catalog.database_by_id(table.database).cloned();
        let database = database.ok_or_else(|| Error::internal("A table needs a database."))?;
        if self.catalog.table(&database, &table.name).is_ok() {
            return Err(Error::already_exists(What::Table, &table.name));
        }
        table.id = TableId(self.ids.table.fetch_add(1, Ordering::Relaxed));
        self.footprint.leans.push(footprint::database(database.id));
        self.footprint.writes.push(footprint::table_name(database.id, &table.name));
        self.lean_on_parent_tables(&table);
        fail::fail_point!("create::table", crate::error::failing);
        let table = Arc::new(table);
        self.change(Change::PutTable(table.clone()));
        if !table.is_view() {
            self.set_content(table.id, content);
        }
        Ok(table)
    }

    /// Gives a table another definition: names, columns added or dropped, indexes, comments. The rows stay as they are.
    pub fn alter_table(&mut self, table: Table) -> Result<Arc<Table>> {
        let old = self.catalog.table_by_id(table.id).cloned();
        let old = old.ok_or_else(|| Error::not_found(What::Table, &table.name))?;
        if old.database != table.database || !same_name(&old.name, &table.name) {
            let database = self.catalog.database_by_id(table.database).cloned();
            let database = database.ok_or_else(|| Error::internal("A table needs a database."))?;
            if self.catalog.table(&database, &table.name).is_ok() {
                return Err(Error::already_exists(What::Table, &table.name));
            }
            self.footprint.leans.push(footprint::database(table.database));
            self.footprint.writes.push(footprint::table_name(old.database, &old.name));
            self.footprint.writes.push(footprint::table_name(table.database, &table.name));
        }
        if old.primary_key != table.primary_key {
            return Err(Error::internal("BUG: a change of the primary key must rebuild the table."));
        }
        self.footprint.writes.push(footprint::table(table.id));
        self.guard_parents(&table, &old);
        let table = Arc::new(table);
        self.change(Change::PutTable(table.clone()));
        Ok(table)
    }

    /// Gives a table another definition and other rows: for changes of type or key. `rows` come in the new physical
    /// schema (without `_row_id`). The old rows stay readable at every older version.
    pub async fn rebuild_table(
        &mut self,
        table: Table,
        rows: impl Stream<Item = Result<RecordBatch>> + Send,
    ) -> Result<Arc<Table>> {
        let old = self.catalog.table_by_id(table.id).cloned();
        let old = old.ok_or_else(|| Error::not_found(What::Table, &table.name))?;
        let counters = self.counters(&old)?;
        let next_auto = counters.next_auto.load(Ordering::Relaxed);
        // Row ids go on: one that was used must not name another row.
        let next_row_id = counters.next_row_id.load(Ordering::Relaxed);
        self.footprint.writes.push(footprint::table(table.id));
        self.guard_parents(&table, &old);
        self.shelve(table.id);
        let table = Arc::new(table);
        self.change(Change::PutTable(table.clone()));
        self.set_content(table.id, Content { next_auto, next_row_id, ..Content::empty() });
        let mut load = bulk::BulkLoad::new(&table, OnDuplicate::Error);
        let mut rows = std::pin::pin!(rows);
        while let Some(batch) = rows.next().await {
            load.write(self, &batch?).await?;
        }
        load.finish(self).await?;
        Ok(table)
    }

    /// Empties a table: the rows stay readable at every older version.
    pub async fn truncate(&mut self, table: &Arc<Table>) -> Result<()> {
        if self.foreign_key_checks
            && let Some((child, key)) = self.children_of(table).into_iter().find(|(child, _)| child.id != table.id)
        {
            return Err(referenced(table, &child, &key));
        }
        // Rows of the transaction's own never were, for the list of commits.
        if self.catalog.content(table.id) == self.moment.catalog().content(table.id) {
            let rows = self.moment.known_row_count(table, &self.moment.recent_rows()).await?;
            self.counted.entry(table.id).or_default().1 += rows.unwrap_or(0);
        }
        self.shelve(table.id);
        let next_row_id = self.counters(table)?.next_row_id.load(Ordering::Relaxed);
        self.put_content(table, Content { next_row_id, ..Content::empty() });
        Ok(())
    }

    /// Drops a table or view.
    pub fn drop_table(&mut self, table: &Arc<Table>) -> Result<()> {
        if self.foreign_key_checks
            && let Some((child, key)) = self.children_of(table).into_iter().find(|(child, _)| child.id != table.id)
        {
            return Err(referenced(table, &child, &key));
        }
        fail::fail_point!("drop::table", crate::error::failing);
        self.forget(table);
        Ok(())
    }

    /// Drops a table without asking who refers to it.
    pub(crate) fn forget(&mut self, table: &Table) {
        self.footprint.writes.push(footprint::table(table.id));
        self.footprint.writes.push(footprint::table_name(table.database, &table.name));
        self.shelve(table.id);
        self.change(Change::DropTable(table.id));
    }

    /// Sets what a table holds, whatever it held: nobody who read it before may still write into it.
    pub(crate) fn put_content(&mut self, table: &Table, content: Content) {
        self.footprint.overrules.push(footprint::table(table.id));
        self.set_content(table.id, content);
    }

    /// As `put_content`, for a content that the table had: counters that went on since do not go back, so that no row id
    /// or AUTO_INCREMENT value names two rows.
    pub(crate) fn put_content_back(&mut self, table: &Arc<Table>, mut content: Content) -> Result<()> {
        if self.catalog.content(table.id).is_some() {
            let counters = self.counters(table)?;
            content.next_row_id = content.next_row_id.max(counters.next_row_id.load(Ordering::Relaxed));
            content.next_auto = content.next_auto.max(counters.next_auto.load(Ordering::Relaxed));
        }
        self.put_content(table, content);
        Ok(())
    }

    /// Gives a table a content of the transaction's own, with counters that go on from it.
    fn set_content(&mut self, table: TableId, content: Content) {
        self.counters.insert(table, Arc::new(Counters::new(content.next_row_id, content.next_auto)));
        self.change(Change::PutContent(table, Arc::new(content)));
    }

    /// Words the transaction's own content of a table anew; its counters are those that it goes on from.
    pub(super) fn put_raised(&mut self, table: TableId, content: Content) {
        self.change(Change::PutContent(table, Arc::new(content)));
    }

    /// Makes the transaction conflict with everyone who wrote into the table, or leaned on its rows, meanwhile.
    pub(crate) fn write_whole(&mut self, table: &Table) {
        self.footprint.writes.push(footprint::table(table.id));
    }

    /// Makes the transaction conflict with everyone who writes rows of the table meanwhile, also with those who commit
    /// after it.
    pub(crate) fn write_rows(&mut self, table: &Table) {
        self.footprint.leans.push(footprint::table(table.id));
        self.footprint.writes.push(footprint::rows(table.id));
    }

    /// Makes the transaction fail if the table does not stand as it was read: its rows and its definition.
    pub(crate) fn keep_table(&mut self, table: &Table) {
        self.footprint.leans.push(footprint::table(table.id));
        self.footprint.keeps.push(footprint::rows(table.id));
    }

    /// Makes the transaction fail if the table does not keep its name until the commit.
    pub(crate) fn lean_on_name(&mut self, table: &Table) {
        self.footprint.leans.push(footprint::table_name(table.database, &table.name));
    }

    /// Makes the transaction fail if what a database or account has, by the hash of it, is not what was read.
    pub(crate) fn keep(&mut self, hash: u64) {
        self.footprint.keeps.push(hash);
    }

    /// Gives a table a new manifest for the same rows. The commit fails if the content has moved meanwhile.
    pub(crate) fn replace_content(&mut self, table: TableId, old: &Arc<Content>, new: Content) {
        self.expects.push((table, old.clone()));
        self.change(Change::PutContent(table, Arc::new(new)));
    }

    /// Brings back a table with its old id, or gives it back an old definition.
    pub(crate) fn put_table(&mut self, table: Arc<Table>) {
        self.footprint.leans.push(footprint::database(table.database));
        self.footprint.overrules.push(footprint::table(table.id));
        self.footprint.writes.push(footprint::table_name(table.database, &table.name));
        self.change(Change::PutTable(table));
    }

    /// Creates or replaces a user. A user without an id is new.
    pub fn put_user(&mut self, mut user: User) -> Result<()> {
        self.footprint.leans.push(footprint::account(user.account));
        self.footprint.writes.push(footprint::login_name(user.account, &user.name));
        if user.id == UserId(0) {
            if self.catalog.user(user.account, &user.name).is_some() {
                return Err(Error::already_exists(What::User, &user.name));
            }
            user.id = UserId(self.ids.user.fetch_add(1, Ordering::Relaxed));
        }
        self.change(Change::PutUser(user));
        Ok(())
    }

    pub fn drop_user(&mut self, user: &User) {
        self.footprint.writes.push(footprint::login_name(user.account, &user.name));
        self.change(Change::DropUser(user.id));
    }

    /// Checks that no snapshot has this name.
    pub fn check_snapshot_name(&self, name: &str) -> Result<()> {
        let pins = self.moment.store().metastore.pins()?;
        let stands = pins.iter().any(|pin| pin.account == self.author.account && same_name(&pin.name, name));
        match stands || self.takes_snapshot(name) {
            true => Err(Error::already_exists(What::Snapshot, name)),
            false => Ok(()),
        }
    }

    /// Tells whether this transaction takes a snapshot of this name.
    pub fn takes_snapshot(&self, name: &str) -> bool {
        self.pins.iter().any(|pin| same_name(&pin.name, name))
    }

    /// Takes a snapshot that means this transaction's commit, and goes with its rollback.
    pub fn create_snapshot(
        &mut self,
        name: &str,
        scope: Scope,
        comment: &str,
        columns: Vec<ColumnId>,
        terms: Terms,
    ) -> Result<()> {
        let pin = pin_of_commit(name, self.author.account, scope, &self.author.name);
        self.put_pin(Pin { comment: comment.to_owned(), columns, terms, ..pin })
    }

    /// Stores a pin with the commit. Without a version it is of the commit itself.
    pub(crate) fn put_pin(&mut self, pin: Pin) -> Result<()> {
        self.check_snapshot_name(&pin.name)?;
        self.pins.push(pin);
        Ok(())
    }

    fn change(&mut self, change: Change) {
        Catalog::apply(Arc::make_mut(&mut self.catalog), &change);
        self.changes.push(change);
    }
}

fn referenced(table: &Table, child: &Table, key: &str) -> Error {
    Error::new(
        Kind::HasChildren,
        format!(
            "Cannot drop table '{}' referenced by a foreign key constraint '{key}' on table '{}'.",
            table.name, child.name
        ),
    )
    .with_hint("Drop the foreign key or the child table first, or SET foreign_key_checks = 0.")
}
