//! Foreign keys: a child row leans on its parent's key, a parent row that goes must have no children.
//!
//! Checks run after a statement's writes, against what the transaction then sees: rows that refer to each other may
//! come and go together. Two transactions that could break a key between them meet in the [`footprint`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;

use super::{Txn, footprint};
use crate::cold::encode_nullable_keys;
use crate::error::{Error, Kind, Result};
use crate::ids::ColumnId;
use crate::moment::Moment;
use crate::rows::{columns_of, entry_text};
use crate::schema::{ForeignKey, Table};

impl Txn {
    /// Checks that every row's parents exist, and leans on them until commit.
    pub(super) async fn lean_on_parents(&mut self, table: &Arc<Table>, rows: &RecordBatch) -> Result<()> {
        if !self.foreign_key_checks || rows.num_rows() == 0 {
            return Ok(());
        }
        for key in &table.foreign_keys {
            let values = encode_nullable_keys(&columns_of(rows, &key.columns)?)?;
            let wanted: HashSet<Vec<u8>> = values.iter().flatten().map(<[u8]>::to_vec).collect();
            if wanted.is_empty() {
                continue;
            }
            let missing = || {
                Error::new(
                    Kind::MissingParent,
                    format!(
                        "Cannot add or update a child row: a foreign key constraint fails (table '{}', constraint '{}' \
                         refers to '{}').",
                        table.name, key.name, key.parent_table
                    ),
                )
                .with_hint("Insert the parent row first.")
            };
            let Some(parent) = self.parent_of(table, key) else { return Err(missing()) };
            let columns = parent_columns(&parent, key)?;
            let found = self.existing(&parent, &columns, &wanted).await?;
            if wanted.iter().any(|value| !found.contains(value)) {
                return Err(missing());
            }
            // A restore or truncate of the parent takes rows away without naming them.
            self.footprint.leans.push(footprint::table(parent.id));
            for value in &wanted {
                self.footprint.leans.push(footprint::row(parent.id, &columns, value));
            }
        }
        Ok(())
    }

    /// Checks that no child row refers to these rows, as they were before the statement deleted or changed them.
    pub(super) async fn check_children(&mut self, table: &Arc<Table>, old_rows: &RecordBatch) -> Result<()> {
        if !self.foreign_key_checks || old_rows.num_rows() == 0 {
            return Ok(());
        }
        for (child, name) in self.children_of(table) {
            let Some(key) = child.foreign_keys.iter().find(|key| key.name == name) else { continue };
            let columns = parent_columns(table, key)?;
            let values = encode_nullable_keys(&columns_of(old_rows, &columns)?)?;
            let gone: HashSet<Vec<u8>> = values.iter().flatten().map(<[u8]>::to_vec).collect();
            if gone.is_empty() {
                continue;
            }
            // A value that another row, or the row's new form, still has is not gone.
            let standing = self.existing(table, &columns, &gone).await?;
            let gone: HashSet<Vec<u8>> = gone.into_iter().filter(|value| !standing.contains(value)).collect();
            if !self.existing(&child, &key.columns, &gone).await?.is_empty() {
                return Err(Error::new(
                    Kind::HasChildren,
                    format!(
                        "Cannot delete or update a parent row: a foreign key constraint fails (rows of table '{}' refer \
                         to '{}' by constraint '{}').",
                        child.name, table.name, key.name
                    ),
                )
                .with_hint("Delete the child rows first."));
            }
            for value in &gone {
                self.footprint.writes.push(footprint::row(table.id, &columns, value));
            }
        }
        Ok(())
    }

    /// Leans on the tables that the foreign keys of a new table refer to.
    pub(super) fn lean_on_parent_tables(&mut self, table: &Table) {
        let parents: Vec<_> = table.foreign_keys.iter().filter_map(|key| self.parent_of(table, key)).collect();
        self.footprint.leans.extend(parents.iter().map(|parent| footprint::table(parent.id)));
    }

    /// As `lean_on_parent_tables`, for a table that may have rows: those who delete rows of a parent that was none
    /// before have not looked for its children.
    pub(super) fn guard_parents(&mut self, table: &Table, old: &Table) {
        self.lean_on_parent_tables(table);
        for key in &table.foreign_keys {
            let Some(parent) = self.parent_of(table, key) else { continue };
            let stood = old.foreign_keys.iter().any(|stood| {
                let to = (&stood.columns, &stood.parent_columns) == (&key.columns, &key.parent_columns);
                to && self.catalog.parent_of(old, stood).is_some_and(|table| table.id == parent.id)
            });
            if !stood {
                self.write_rows(&parent);
            }
        }
    }

    /// Tells whether some foreign key refers to this table.
    pub(super) fn is_parent(&self, table: &Table) -> bool {
        self.foreign_key_checks && !self.children_of(table).is_empty()
    }

    /// Returns the tables whose foreign keys refer to this one, each with the key's name.
    pub fn children_of(&self, table: &Table) -> Vec<(Arc<Table>, String)> {
        let children = self.catalog.children_of(table);
        children.into_iter().map(|(child, key)| (child.clone(), key.name.clone())).collect()
    }

    /// Returns the table that a foreign key of `table` refers to, if it exists.
    pub fn parent_of(&self, table: &Table, key: &ForeignKey) -> Option<Arc<Table>> {
        self.catalog.parent_of(table, key).cloned()
    }

    /// Tells whether the rows that `child` held at `then` certainly have their parents here: the key stood then, and its
    /// parent's rows are the same.
    pub(crate) fn still_refers(&self, then: &Moment, child: &Table, key: &ForeignKey) -> Result<bool> {
        let Some(was) = then.catalog().table_by_id(child.id) else { return Ok(false) };
        let Some(old_key) = was.foreign_keys.iter().find(|old| old.name == key.name && old.columns == key.columns)
        else {
            return Ok(false);
        };
        let parents = (then.catalog().parent_of(was, old_key), self.catalog.parent_of(child, key));
        let (Some(old_parent), Some(parent)) = parents else { return Ok(false) };
        Ok(old_parent == parent
            && old_key.parent_columns == key.parent_columns
            && !self.rows.contains_key(&parent.id)
            && then.same_rows(parent, self.catalog.content(parent.id), self.moment.version())?)
    }

    /// Checks that every row of a table made of what `source` held at `then` has its parents, and that these stay.
    pub(crate) async fn check_clone(&mut self, then: &Moment, source: &Table, clone: &Arc<Table>) -> Result<()> {
        if !self.foreign_key_checks {
            return Ok(());
        }
        for key in &clone.foreign_keys {
            if clone.database != source.database && key.parent_database.is_none() {
                // The whole database is cloned: the key held between the two tables, and goes on to.
                continue;
            }
            let parent = self.parent_of(clone, key);
            if let Some(parent) = &parent {
                self.write_rows(parent);
            }
            let of_source = source.foreign_keys.iter().find(|old| old.name == key.name);
            let same_parent = of_source.and_then(|old| self.catalog.parent_of(source, old)).map(|table| table.id)
                == parent.map(|parent| parent.id);
            if let Some(old) = of_source.filter(|_| same_parent)
                && self.still_refers(then, source, old)?
            {
                continue;
            }
            if let Some(entry) = self.orphan(clone, key).await? {
                return Err(Error::new(
                    Kind::MissingParent,
                    format!(
                        "The clone would hold rows without their parent in '{}': constraint '{}', value '{entry}'.",
                        key.parent_table, key.name
                    ),
                )
                .with_hint("Clone the whole database, or SET foreign_key_checks = 0 first."));
            }
        }
        Ok(())
    }

    /// Returns the value of the first row of `child` whose parent does not exist. Reads the whole table.
    pub(crate) async fn orphan(&self, child: &Arc<Table>, key: &ForeignKey) -> Result<Option<String>> {
        let Some(parent) = self.parent_of(child, key) else { return Ok(Some("any".to_owned())) };
        let columns = parent_columns(&parent, key)?;
        let layers = self.layers(child).await?;
        let scan = layers.scan().await?;
        let check = async |batch: &RecordBatch| -> Result<Option<String>> {
            let arrays = columns_of(batch, &key.columns)?;
            let values = encode_nullable_keys(&arrays)?;
            let wanted: HashSet<Vec<u8>> = values.iter().flatten().map(<[u8]>::to_vec).collect();
            let found = self.existing(&parent, &columns, &wanted).await?;
            let orphan = values.iter().position(|value| value.is_some_and(|value| !found.contains(value)));
            Ok(orphan.map(|row| entry_text(&arrays, row)))
        };
        for batch in &scan.rows {
            if let Some(value) = check(batch).await? {
                return Ok(Some(value));
            }
        }
        for part in &scan.parts {
            let projection = Some(key.columns.as_slice());
            let mut rows = layers.cold.scan(child, &part.part, part.version, projection, &part.excluded, false).await?;
            while let Some(batch) = rows.try_next().await? {
                if let Some(value) = check(&batch).await? {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// Returns which of these values of `columns` some visible row has.
    async fn existing(
        &self,
        table: &Arc<Table>,
        columns: &[ColumnId],
        values: &HashSet<Vec<u8>>,
    ) -> Result<HashSet<Vec<u8>>> {
        if values.is_empty() {
            return Ok(HashSet::new());
        }
        let layers = self.layers(table).await?;
        if columns == table.primary_key {
            let mut keys = crate::cold::Keys::new();
            let ordered: Vec<&Vec<u8>> = values.iter().collect();
            ordered.iter().try_for_each(|value| keys.push(value))?;
            let places = layers.find(&keys).await?;
            return Ok(ordered
                .into_iter()
                .zip(places)
                .filter_map(|(value, place)| place.map(|_| value.clone()))
                .collect());
        }
        Ok(layers.find_secondary(columns, values).await?.into_iter().map(|(value, _)| value).collect())
    }
}

/// Returns the columns of the parent that a foreign key names.
fn parent_columns(parent: &Table, key: &ForeignKey) -> Result<Vec<ColumnId>> {
    key.parent_columns
        .iter()
        .map(|name| {
            parent.column(name).map(|column| column.id).ok_or_else(|| {
                Error::invalid(format!(
                    "Foreign key '{}' refers to column '{name}', which table '{}' does not have.",
                    key.name, parent.name
                ))
            })
        })
        .collect()
}
