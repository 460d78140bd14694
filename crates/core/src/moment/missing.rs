//! Why a name is not there: it was dropped or renamed, it was not there yet, or it never was. For errors that people
//! read, at the moment when it matters to them: just after something was dropped.

use std::sync::Arc;

use crate::catalog::{Catalog, ObjectKind};
use crate::error::{Error, Result, What};
use crate::ids::{AccountId, Version};
use crate::log::ObjectRow;
use crate::moment::Moment;
use crate::schema::{Database, Table, same_name};

impl Moment {
    /// Returns the database of this name, compared without case. Where there is none, the error says what became of it.
    pub fn database(&self, account: AccountId, name: &str) -> Result<&Arc<Database>> {
        self.database_in(self.catalog(), account, name)
    }

    /// As `database`, in the catalog of a transaction over this moment.
    pub fn database_in<'c>(&self, catalog: &'c Catalog, account: AccountId, name: &str) -> Result<&'c Arc<Database>> {
        let kind = (ObjectKind::Database, What::Database);
        catalog.database(account, name).map_err(|error| self.explain(kind, account.0, (name, name), error))
    }

    /// Returns the table or view of this name, as `database` does.
    pub fn table(&self, home: &Database, name: &str) -> Result<&Arc<Table>> {
        self.table_in(self.catalog(), home, name)
    }

    /// As `table`, in the catalog of a transaction over this moment.
    pub fn table_in<'c>(&self, catalog: &'c Catalog, home: &Database, name: &str) -> Result<&'c Arc<Table>> {
        catalog.table(home, name).map_err(|error| {
            let full = format!("{}.{name}", home.name);
            self.explain((ObjectKind::Table, What::Table), home.id.0, (name, &full), error)
        })
    }

    fn explain(
        &self,
        (kind, what): (ObjectKind, What),
        parent: u64,
        (name, full): (&str, &str),
        error: Error,
    ) -> Error {
        let Ok(rows) = self.store().metastore.named(kind, parent, name) else { return error };
        let bears = |row: &&ObjectRow| row.object.name().is_some_and(|(own, at)| at == parent && same_name(own, name));
        let here = self.version();
        let later = rows.iter().filter(bears).filter(|row| row.begin > here).min_by_key(|row| row.begin);
        let before = rows.iter().filter(bears).filter(|row| row.end <= here).max_by_key(|row| row.end);
        let is_past = here < self.store().head.load().version;
        let time = |version: Version| match self.store().entry_head(version) {
            Ok(Some(head)) => format!(" ({} UTC)", head.time),
            _ => String::new(),
        };
        match (before, later) {
            (Some(row), _) => {
                let by = format!("by version {}{}", row.end, time(row.end));
                let goes_on = |next: &ObjectRow| next.object.object() == row.object.object() && next.begin == row.end;
                let hint = match (rows.iter().any(goes_on), is_past) {
                    // Not to what: who asks need not have a right to know.
                    (true, _) => format!("It was renamed {by}; SHOW COMMITS tells to what."),
                    (false, true) => format!("It was dropped {by}: name a moment before."),
                    (false, false) => {
                        let verb = what.to_string().to_uppercase();
                        format!("It was dropped {by}; UNDROP {verb} {full} brings it back while that is kept.")
                    }
                };
                error.with_hint(hint)
            }
            (None, Some(row)) => error.with_hint(format!(
                "At version {here}{} it was not there yet: it has that name since version {}{}.",
                time(here),
                row.begin,
                time(row.begin)
            )),
            (None, None) => error,
        }
    }
}
