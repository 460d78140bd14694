//! The reference model: a naive database that keeps a full copy of every table at every version.
//!
//! It knows nothing of logs, parts or overlays, and decides everything by walking over all rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strandline_core::ids::{ColumnId, Version};
use strandline_core::schema::{Initial, Table};
use strandline_core::txn::OnDuplicate;

/// A value of one column.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Val {
    Null,
    Int(i32),
    Text(String),
}

/// A row by column.
pub type Row = BTreeMap<ColumnId, Val>;

/// The rows of a table by their encoded key.
pub type Rows = BTreeMap<Vec<u8>, Row>;

/// A table as it stands at one version.
#[derive(Clone, PartialEq, Debug)]
pub struct Tab {
    pub def: Arc<Table>,
    pub rows: Rows,
}

/// Everything that stands at one version: `(database, table)` to table.
pub type State = BTreeMap<(String, String), Tab>;

/// A key or unique value that a transaction wrote: two that share one may not both commit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Touched {
    Key(u64, Vec<u8>),
    Unique(u64, Val),
}

/// What one transaction sees and did.
#[derive(Clone)]
pub struct View {
    pub state: State,
    pub touched: BTreeSet<Touched>,
    /// Tables into which a large load may have gone.
    pub loaded: BTreeSet<u64>,
    /// Tables written at all.
    pub written: BTreeSet<u64>,
}

/// The row collides with one that stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Duplicate;

/// What an insert did.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub ignored: u64,
    pub replaced: u64,
}

impl Tab {
    /// Returns the column of the unique index, if there is one.
    pub fn unique(&self) -> Option<ColumnId> {
        self.def.indexes.iter().find(|index| index.unique).map(|index| index.columns[0])
    }

    /// Returns the keys of the rows that stand in the way of this one.
    pub fn in_the_way(&self, key: &[u8], row: &Row) -> Vec<Vec<u8>> {
        let unique = self.unique().map(|column| (column, &row[&column])).filter(|(_, value)| **value != Val::Null);
        let collides = |(other, old): &(&Vec<u8>, &Row)| {
            other.as_slice() == key || unique.is_some_and(|(column, value)| old[&column] == *value)
        };
        self.rows.iter().filter(collides).map(|(key, _)| key.clone()).collect()
    }

    /// Returns the rows in the shape of another definition.
    pub fn rows_as(&self, def: &Table) -> Rows {
        let shape = |row: &Row| -> Row {
            let value = |id: &ColumnId, initial: &Option<Initial>| match (row.get(id), initial) {
                (Some(value), _) => value.clone(),
                (None, Some(Initial::Int(value))) => Val::Int(*value as i32),
                (None, _) => Val::Null,
            };
            def.columns.iter().map(|column| (column.id, value(&column.id, &column.initial))).collect()
        };
        self.rows.iter().map(|(key, row)| (key.clone(), shape(row))).collect()
    }
}

impl View {
    pub fn new(state: &State) -> View {
        View { state: state.clone(), touched: BTreeSet::new(), loaded: BTreeSet::new(), written: BTreeSet::new() }
    }

    fn touch(&mut self, table: &(String, String), key: &[u8], row: &Row) {
        let tab = &self.state[table];
        self.touched.insert(Touched::Key(tab.def.id.0, key.to_vec()));
        if let Some(column) = tab.unique()
            && row[&column] != Val::Null
        {
            self.touched.insert(Touched::Unique(tab.def.id.0, row[&column].clone()));
        }
        self.written.insert(tab.def.id.0);
    }

    /// Inserts one row after the other.
    pub fn insert(
        &mut self,
        table: &(String, String),
        rows: &[(Vec<u8>, Row)],
        on_duplicate: OnDuplicate,
    ) -> Result<Outcome, Duplicate> {
        let before = self.clone();
        let mut outcome = Outcome::default();
        for (key, row) in rows {
            let in_the_way = self.state[table].in_the_way(key, row);
            if !in_the_way.is_empty() {
                match on_duplicate {
                    OnDuplicate::Error => {
                        *self = before;
                        return Err(Duplicate);
                    }
                    OnDuplicate::Ignore => {
                        outcome.ignored += 1;
                        continue;
                    }
                    OnDuplicate::Replace => {
                        outcome.replaced += in_the_way.len() as u64;
                        self.delete(table, &in_the_way);
                    }
                }
            }
            self.touch(table, key, row);
            self.tab(table).rows.insert(key.clone(), row.clone());
        }
        Ok(outcome)
    }

    /// Replaces rows, all at once.
    pub fn update(
        &mut self,
        table: &(String, String),
        old: &[Vec<u8>],
        new: &[(Vec<u8>, Row)],
    ) -> Result<(), Duplicate> {
        let before = self.clone();
        self.delete(table, old);
        let inserted = self.insert(table, new, OnDuplicate::Error);
        if inserted.is_err() {
            *self = before;
        }
        inserted.map(|_| ())
    }

    pub fn delete(&mut self, table: &(String, String), keys: &[Vec<u8>]) {
        for key in keys {
            if let Some(row) = self.tab(table).rows.remove(key) {
                self.touch(table, key, &row);
            }
        }
    }

    pub fn tab(&mut self, table: &(String, String)) -> &mut Tab {
        self.state.get_mut(table).expect("the machine names tables that exist")
    }

    /// Tells whether the row of a key is another than it was before the transaction.
    pub fn changed(&self, before: &State, table: u64, key: &[u8]) -> bool {
        let row =
            |state: &State| state.values().find(|tab| tab.def.id.0 == table).and_then(|tab| tab.rows.get(key).cloned());
        row(&self.state) != row(before)
    }

    /// Lays what this transaction did over a newer state.
    pub fn merge_into(&self, before: &State, newest: &State) -> State {
        let mut merged = newest.clone();
        for tab in self.state.values().filter(|tab| self.written.contains(&tab.def.id.0)) {
            let Some(target) = merged.values_mut().find(|target| target.def.id == tab.def.id) else { continue };
            for touched in &self.touched {
                if let Touched::Key(table, key) = touched
                    && *table == tab.def.id.0
                    && self.changed(before, *table, key)
                {
                    match tab.rows.get(key) {
                        Some(row) => target.rows.insert(key.clone(), row.clone()),
                        None => target.rows.remove(key),
                    };
                }
            }
        }
        merged
    }
}

/// All versions.
#[derive(Default)]
pub struct History(Vec<(Version, State, bool)>);

impl History {
    /// Records what stands from a version on, and whether only rows were changed.
    pub fn push(&mut self, version: Version, state: State, rows_only: bool) {
        assert!(self.0.last().is_none_or(|(last, ..)| *last < version), "versions increase");
        self.0.push((version, state, rows_only));
    }

    pub fn newest(&self) -> &State {
        &self.0.last().expect("the history begins with the first commit").1
    }

    /// Returns what stood at a version.
    pub fn at(&self, version: Version) -> &State {
        let upto = self.0.partition_point(|(known, ..)| *known <= version);
        &self.0[upto - 1].1
    }

    pub fn versions(&self) -> Vec<Version> {
        self.0.iter().map(|(version, ..)| *version).collect()
    }

    /// Returns the commits that changed nothing but rows.
    pub fn row_commits(&self) -> Vec<Version> {
        self.0.iter().filter(|(.., rows_only)| *rows_only).map(|(version, ..)| *version).collect()
    }

    /// Returns every table that ever stood under a name and does not now.
    pub fn dropped(&self) -> Vec<(String, String)> {
        let ever: BTreeSet<_> = self.0.iter().flat_map(|(_, state, _)| state.keys().cloned()).collect();
        ever.into_iter().filter(|name| !self.newest().contains_key(name)).collect()
    }
}
