//! Transactions of the machine: their statements, on both sides.

use std::sync::Arc;

use futures::StreamExt;
use proptest::prelude::*;
use strandline_core::error::Kind;
use strandline_core::ids::ColumnId;
use strandline_core::log::{Scope, Terms};
use strandline_core::schema::{Initial, Table, Type};
use strandline_core::txn::{OnDuplicate, Savepoint, Txn};

use super::{DB, Machine, full};
use crate::model::{Row, Rows, State, Tab, Val, View};
use crate::support::{Shape, batch, column, key_batch, key_of, read, rows_of, table};

#[derive(Clone, Debug)]
pub enum Statement {
    Insert(u8, Vec<(u8, u8)>, u8),
    Bulk(u8, Vec<(u8, u8)>, u8),
    /// Sets `v`.
    Update(u8, Vec<u8>, u8),
    /// Moves the key.
    Move(u8, Vec<u8>, u8),
    Delete(u8, Vec<u8>),
    /// Deletes rows whose keys lie side by side.
    DeleteRange(u8, u8, u8),
    Truncate(u8),
    Savepoint,
    RollbackTo(u8),
    Snapshot(u8),
    Create(Shape, u8),
    Clone(u8, u8),
    AddColumn(u8),
}

pub fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![Just(Shape::Keyed), Just(Shape::Composite), Just(Shape::Keyless), Just(Shape::Unique)]
}

pub fn statement() -> impl Strategy<Value = Statement> {
    let values = |upto| prop::collection::vec((0_u8..12, 0_u8..12), 1..upto);
    let picks = || prop::collection::vec(any::<u8>(), 1..4);
    prop_oneof![
        6 => (any::<u8>(), values(5), 0_u8..3).prop_map(|(t, rows, mode)| Statement::Insert(t, rows, mode)),
        2 => (any::<u8>(), values(12), 0_u8..3).prop_map(|(t, rows, mode)| Statement::Bulk(t, rows, mode)),
        4 => (any::<u8>(), picks(), 0_u8..12).prop_map(|(t, picks, v)| Statement::Update(t, picks, v)),
        2 => (any::<u8>(), picks(), 1_u8..4).prop_map(|(t, picks, by)| Statement::Move(t, picks, by)),
        3 => (any::<u8>(), picks()).prop_map(|(t, picks)| Statement::Delete(t, picks)),
        2 => (any::<u8>(), any::<u8>(), 2_u8..9).prop_map(|(t, from, count)| Statement::DeleteRange(t, from, count)),
        1 => any::<u8>().prop_map(Statement::Truncate),
        2 => Just(Statement::Savepoint),
        1 => any::<u8>().prop_map(Statement::RollbackTo),
        1 => (0_u8..4).prop_map(Statement::Snapshot),
        1 => (shape(), 0_u8..7).prop_map(|(shape, name)| Statement::Create(shape, name)),
        1 => (any::<u8>(), 0_u8..5).prop_map(|(t, name)| Statement::Clone(t, name)),
        1 => any::<u8>().prop_map(Statement::AddColumn),
    ]
}

fn modes(mode: u8) -> OnDuplicate {
    [OnDuplicate::Error, OnDuplicate::Ignore, OnDuplicate::Replace][usize::from(mode % 3)]
}

/// Statements that change nothing but rows.
pub fn changes_rows_only(statement: &&Statement) -> bool {
    !matches!(
        statement,
        Statement::Truncate(_)
            | Statement::Snapshot(_)
            | Statement::Create(..)
            | Statement::Clone(..)
            | Statement::AddColumn(_)
    )
}

pub fn with_column(def: &Table, initial: bool) -> Table {
    let mut def = def.clone();
    let id = def.next_column;
    def.next_column = ColumnId(id.0 + 1);
    let mut added = column(id.0, &format!("x{id}"), Type::Int32, !initial);
    added.initial = initial.then_some(Initial::Int(77));
    def.columns.push(added);
    def
}

/// A transaction that runs, beside its model.
pub struct Run {
    pub view: View,
    savepoints: Vec<(Savepoint, View, usize)>,
    pub snapshots: Vec<u8>,
    /// Definitions were changed too.
    pub defined: bool,
}

impl Run {
    pub fn new(state: &State) -> Run {
        Run { view: View::new(state), savepoints: Vec::new(), snapshots: Vec::new(), defined: false }
    }

    fn pick(&self, number: u8) -> Option<(String, String)> {
        let state = &self.view.state;
        (!state.is_empty()).then(|| state.keys().nth(usize::from(number) % state.len()).cloned().unwrap())
    }

    fn keys(&self, name: &(String, String), picks: &[u8]) -> Vec<Vec<u8>> {
        let rows = &self.view.state[name].rows;
        let mut keys: Vec<Vec<u8>> = picks
            .iter()
            .filter(|_| !rows.is_empty())
            .map(|pick| rows.keys().nth(usize::from(*pick) % rows.len()).unwrap().clone())
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Runs one statement on both sides and compares what the transaction then sees.
    pub async fn statement(&mut self, machine: &Machine, txn: &mut Txn, statement: &Statement) {
        let savepoint = txn.savepoint();
        let written = self.run(machine, txn, statement, &savepoint).await;
        if let Some(name) = written {
            let tab = &self.view.state[&name];
            let rows = read(machine.db().cold(), &txn.scan(&tab.def).await.unwrap()).await;
            assert_eq!(rows, tab.rows, "what the transaction sees of {name:?} after {statement:?}");
            for (key, row) in tab.rows.iter().take(3) {
                let found = txn.get(&tab.def, key).await.unwrap().expect("the transaction finds the row");
                assert_eq!(rows_of(&tab.def, &found), [(key.clone(), row.clone())]);
            }
        }
    }

    async fn run(
        &mut self,
        machine: &Machine,
        txn: &mut Txn,
        statement: &Statement,
        savepoint: &Savepoint,
    ) -> Option<(String, String)> {
        match statement {
            Statement::Insert(number, values, mode) | Statement::Bulk(number, values, mode) => {
                let name = self.pick(*number)?;
                let def = self.view.state[&name].def.clone();
                let rows: Vec<Row> = values.iter().map(|(k, v)| row_of(&def, *k, *v)).collect();
                let before = self.view.clone();
                let bulk = matches!(statement, Statement::Bulk(..));
                let result = if bulk {
                    let mut load = txn.bulk(&def, modes(*mode));
                    let mut failed = None;
                    for rows in rows.chunks(3) {
                        if let Err(error) = load.write(txn, &batch(&def, rows, None)).await {
                            failed = Some(error);
                            break;
                        }
                    }
                    match failed {
                        Some(error) => Err(error),
                        None => load.finish(txn).await,
                    }
                } else {
                    txn.insert(&def, &batch(&def, &rows, None), modes(*mode)).await
                };
                if bulk && rows.len() > 3 {
                    self.view.loaded.insert(def.id.0);
                }
                let expected = if let (true, Ok(done)) = (def.has_row_id(), &result) {
                    // Row ids are the database's to choose: take the new ones, in their order.
                    let seen = read(machine.db().cold(), &txn.scan(&def).await.unwrap()).await;
                    let tab = self.view.tab(&name);
                    let new: Vec<Vec<u8>> = seen.keys().filter(|key| !tab.rows.contains_key(*key)).cloned().collect();
                    let keyed = new.iter().cloned().zip(rows.iter().cloned()).collect::<Vec<_>>();
                    assert_eq!(new.len(), rows.len() - done.ignored as usize);
                    self.view.insert(&name, &keyed, OnDuplicate::Error)
                } else {
                    let keyed: Vec<_> = rows.iter().map(|row| (key_of(&def, row), row.clone())).collect();
                    self.view.insert(&name, &keyed, modes(*mode))
                };
                match (result, expected) {
                    (Ok(outcome), Ok(expected)) => {
                        assert_eq!(outcome.ignored, expected.ignored, "ignored rows of {statement:?}");
                        assert_eq!(outcome.replaced, expected.replaced, "replaced rows of {statement:?}");
                        assert_eq!(outcome.inserted + outcome.ignored, rows.len() as u64);
                    }
                    (Err(error), Err(_)) => {
                        assert_eq!(error.kind(), Kind::Duplicate, "{error:?}");
                        txn.rollback_to(savepoint);
                        self.view = before;
                    }
                    (result, expected) => panic!("{statement:?}: {result:?}, the model has {expected:?}"),
                }
                Some(name)
            }
            Statement::Update(number, picks, value) => {
                let name = self.pick(*number)?;
                let tab = self.view.state[&name].clone();
                let keys = self.keys(&name, picks);
                let new: Vec<(Vec<u8>, Row)> = keys
                    .iter()
                    .map(|key| {
                        let mut row = tab.rows[key].clone();
                        set_last(&tab.def, &mut row, *value);
                        (key.clone(), row)
                    })
                    .collect();
                self.replace(txn, name, keys, new, savepoint).await
            }
            Statement::Move(number, picks, by) => {
                let name = self.pick(*number)?;
                let tab = self.view.state[&name].clone();
                if tab.def.has_row_id() {
                    return None;
                }
                let keys = self.keys(&name, picks);
                let new: Vec<(Vec<u8>, Row)> = keys
                    .iter()
                    .map(|key| {
                        let mut row = tab.rows[key].clone();
                        if let Some(Val::Int(id)) = row.get_mut(&ColumnId(1)) {
                            *id += i32::from(*by);
                        }
                        (key_of(&tab.def, &row), row)
                    })
                    .collect();
                self.replace(txn, name, keys, new, savepoint).await
            }
            Statement::Delete(number, picks) => {
                let name = self.pick(*number)?;
                let keys = self.keys(&name, picks);
                let def = self.view.state[&name].def.clone();
                let deleted = txn.delete(&def, &key_batch(&def, &keys)).await.unwrap();
                assert_eq!(deleted, keys.len() as u64);
                self.view.delete(&name, &keys);
                Some(name)
            }
            Statement::DeleteRange(number, from, count) => {
                let name = self.pick(*number)?;
                let rows = &self.view.state[&name].rows;
                let from = usize::from(*from) % rows.len().max(1);
                let keys: Vec<_> = rows.keys().skip(from).take(usize::from(*count)).cloned().collect();
                let def = self.view.state[&name].def.clone();
                let deleted = txn.delete(&def, &key_batch(&def, &keys)).await.unwrap();
                assert_eq!(deleted, keys.len() as u64);
                self.view.delete(&name, &keys);
                Some(name)
            }
            Statement::Truncate(number) => {
                let name = self.pick(*number)?;
                let def = self.view.state[&name].def.clone();
                txn.truncate(&def).await.unwrap();
                self.view.tab(&name).rows.clear();
                self.defined = true;
                Some(name)
            }
            Statement::Savepoint => {
                self.savepoints.push((savepoint.clone(), self.view.clone(), self.snapshots.len()));
                None
            }
            Statement::RollbackTo(number) => {
                let at = usize::from(*number).checked_rem(self.savepoints.len())?;
                self.savepoints.truncate(at + 1);
                let (savepoint, view, snapshots) = &self.savepoints[at];
                txn.rollback_to(savepoint);
                self.view = view.clone();
                self.snapshots.truncate(*snapshots);
                for (name, tab) in &self.view.state {
                    let rows = read(machine.db().cold(), &txn.scan(&tab.def).await.unwrap()).await;
                    assert_eq!(rows, tab.rows, "{name:?} after going back to a savepoint");
                }
                None
            }
            Statement::Snapshot(name) => {
                let created = txn.create_snapshot(
                    &format!("s{name}"),
                    Scope::Database(DB.to_owned()),
                    "",
                    Vec::new(),
                    Terms::default(),
                );
                let known = machine.snapshots.iter().any(|known| known.name == *name) || self.snapshots.contains(name);
                assert_eq!(created.is_err(), known);
                if !known {
                    self.snapshots.push(*name);
                }
                None
            }
            Statement::Create(shape, name) => {
                let (database, table_name) = full(*name);
                let database = txn.catalog().database(machine.account(&database), &database).unwrap().id;
                let created = txn.create_table(table(database, &table_name, *shape));
                assert_eq!(created.is_err(), self.view.state.contains_key(&full(*name)));
                if let Ok(def) = created {
                    self.view.state.insert(full(*name), Tab { def, rows: Rows::new() });
                    self.defined = true;
                }
                None
            }
            Statement::Clone(number, name) => {
                // The source is what others see of it.
                let source = machine.pick(*number)?;
                let tab = machine.history.newest()[&source].clone();
                let target = full(*name);
                let moment = txn.moment().clone();
                let cloned = txn.clone_table(&moment, &tab.def, machine.account(&target.0), &target.0, &target.1).await;
                assert_eq!(cloned.is_err(), self.view.state.contains_key(&target));
                if let Ok(def) = cloned {
                    self.view.state.insert(target.clone(), Tab { def, rows: tab.rows });
                    self.defined = true;
                }
                Some(target)
            }
            Statement::AddColumn(number) => {
                let name = self.pick(*number)?;
                let tab = self.view.state[&name].clone();
                let def = txn.alter_table(with_column(&tab.def, true)).unwrap();
                let rows = tab.rows_as(&def);
                self.view.state.insert(name.clone(), Tab { def, rows });
                self.defined = true;
                Some(name)
            }
        }
    }

    async fn replace(
        &mut self,
        txn: &mut Txn,
        name: (String, String),
        old: Vec<Vec<u8>>,
        new: Vec<(Vec<u8>, Row)>,
        savepoint: &Savepoint,
    ) -> Option<(String, String)> {
        if old.is_empty() {
            return None;
        }
        let def = self.view.state[&name].def.clone();
        let (keys, rows): (Vec<_>, Vec<_>) = new.iter().cloned().unzip();
        let result = txn.update(&def, &key_batch(&def, &old), &batch(&def, &rows, Some(&keys))).await;
        let expected = self.view.update(&name, &old, &new);
        match (result, expected) {
            (Ok(count), Ok(())) => assert_eq!(count, old.len() as u64),
            (Err(error), Err(_)) => {
                assert_eq!(error.kind(), Kind::Duplicate, "{error:?}");
                txn.rollback_to(savepoint);
            }
            (result, expected) => panic!("update of {old:?}: {result:?}, the model has {expected:?}"),
        }
        Some(name)
    }
}

pub fn row_of(def: &Table, key: u8, value: u8) -> Row {
    let mut row: Row = def
        .columns
        .iter()
        .map(|column| match column.ty {
            Type::Text => (column.id, Val::Text(format!("n{}", key % 3))),
            _ => (column.id, Val::Int(i32::from(key))),
        })
        .collect();
    set_last(def, &mut row, value);
    row
}

/// Sets the nullable columns; zero is NULL.
fn set_last(def: &Table, row: &mut Row, value: u8) {
    for column in def.columns.iter().filter(|column| column.nullable) {
        let value = if value == 0 { Val::Null } else { Val::Int(i32::from(value)) };
        row.insert(column.id, value);
    }
}

/// Returns the definition with the column `v` as another type.
pub fn retyped(def: &Table) -> Option<Table> {
    let mut def = def.clone();
    let column = def.columns.iter_mut().find(|column| column.id == ColumnId(2))?;
    column.ty = if column.ty == Type::Int32 { Type::Int64 } else { Type::Int32 };
    Some(def)
}

/// Gives a table another definition, with its rows written anew.
pub async fn rebuild(txn: &mut Txn, tab: &Tab, def: Table) -> Arc<Table> {
    let rows: Vec<Row> = tab.rows.values().cloned().collect();
    let chunks: Vec<_> = rows.chunks(3).map(|rows| Ok(batch(&def, rows, None))).collect();
    txn.rebuild_table(def, futures::stream::iter(chunks).boxed()).await.unwrap()
}
