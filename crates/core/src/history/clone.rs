//! Clone: a table or database under another name, as of now or of any recoverable moment. It copies nothing: the clone
//! points at the same manifest, and what is written to either side afterwards stays there.

use std::sync::Arc;

use crate::error::{Error, Result, What};
use crate::history::restore::with_counters;
use crate::ids::AccountId;
use crate::moment::Moment;
use crate::schema::Table;
use crate::txn::Txn;

impl Txn {
    /// Makes a table that holds what `source` held at `moment`. In another database, foreign keys go on naming the
    /// tables that they named; each row must have its parents there.
    pub async fn clone_table(
        &mut self,
        moment: &Moment,
        source: &Arc<Table>,
        account: AccountId,
        database: &str,
        name: &str,
    ) -> Result<Arc<Table>> {
        if source.is_view() {
            return Err(Error::invalid(format!("'{}' is a view; only tables can be cloned.", source.name)));
        }
        let target = self.catalog().database(account, database)?.clone();
        let content = moment
            .content(source.id)?
            .ok_or_else(|| Error::internal(format!("Table '{}' has no content.", source.name)))?;
        let content = with_counters(moment, source, content.as_of(source.id, moment.version()))?;
        self.draw_on(moment);
        let mut table = Table { name: name.to_owned(), database: target.id, ..source.as_ref().clone() };
        if target.id != source.database {
            let home = moment.catalog().database_by_id(source.database);
            for key in &mut table.foreign_keys {
                if key.parent_database.is_none() {
                    key.parent_database = home.map(|home| home.name.clone());
                }
            }
        }
        fail::fail_point!("clone::table", crate::error::failing);
        let clone = self.create_table_with(table, content)?;
        self.check_clone(moment, source, &clone).await?;
        Ok(clone)
    }

    /// Makes a database with everything that another held at `moment`. Foreign keys inside it refer to the clone.
    pub async fn clone_database(
        &mut self,
        moment: &Moment,
        source: &str,
        source_account: AccountId,
        account: AccountId,
        name: &str,
    ) -> Result<u64> {
        let from = moment.database(source_account, source)?.clone();
        if self.catalog().database(account, name).is_ok() {
            return Err(Error::already_exists(What::Database, name));
        }
        let target = self.create_database(account, name, &from.comment)?;
        let tables = moment.catalog().tables_of(from.id);
        let mut clones = Vec::with_capacity(tables.len());
        for table in &tables {
            let new = Table { database: target.id, ..table.as_ref().clone() };
            match moment.content(table.id)? {
                Some(content) => {
                    let content = with_counters(moment, table, content.as_of(table.id, moment.version()))?;
                    self.draw_on(moment);
                    clones.push((table, self.create_table_with(new, content)?));
                }
                None => {
                    self.create_table(new)?;
                }
            }
        }
        fail::fail_point!("clone::database", crate::error::failing);
        for (table, clone) in clones {
            self.check_clone(moment, table, &clone).await?;
        }
        Ok(tables.len() as u64)
    }
}
