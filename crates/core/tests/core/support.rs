//! What the tests of the core share: tables, rows as Arrow, and reading everything that a moment shows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use futures::TryStreamExt;
use strandline_core::cold::Merging;
use strandline_core::cold::{Cold, encode_keys};
use strandline_core::db::{Database, Options, SYS};
use strandline_core::env::Env;
use strandline_core::error::Result;
use strandline_core::ids::{ColumnId, DatabaseId, TableId, Time, Version};
use strandline_core::scan::TableScan;
use strandline_core::schema::{Column, Index, Table, Type};
use strandline_core::txn::{Author, OnDuplicate};

use crate::model::{Row, Rows, Val};

pub fn author() -> Author {
    Author { account: SYS, name: "test@localhost".to_owned() }
}

/// Returns options with a clock that stands still, large loads that begin at four rows, and parts that are merged soon.
pub fn options() -> Options {
    let env = Env::fixed(Time(1_767_225_600_000_000), 1);
    let merging = Merging { depth: 2, worn_bytes: 1, ..Merging::default() };
    Options { env, merging, load_rows: 4, cache_bytes: 64 << 20, ..Options::default() }
}

pub fn column(id: u32, name: &str, ty: Type, nullable: bool) -> Column {
    Column {
        id: ColumnId(id),
        name: name.to_owned(),
        ty,
        nullable,
        declared: String::new(),
        default: None,
        initial: None,
        auto_increment: false,
        on_update: None,
        comment: String::new(),
    }
}

/// The shapes of tables that the tests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `id` is the key.
    Keyed,
    /// `id` and a text are the key.
    Composite,
    /// No key.
    Keyless,
    /// `id` is the key, `v` is unique.
    Unique,
}

/// Returns the definition of a table with the columns `id`, `v` (and `name` in a composite key).
pub fn table(database: DatabaseId, name: &str, shape: Shape) -> Table {
    let mut columns = vec![column(1, "id", Type::Int32, false), column(2, "v", Type::Int32, true)];
    let mut primary_key = vec![ColumnId(1)];
    let mut indexes = Vec::new();
    match shape {
        Shape::Keyed => {}
        Shape::Composite => {
            columns.insert(0, column(3, "name", Type::Text, false));
            primary_key.push(ColumnId(3));
        }
        Shape::Keyless => primary_key.clear(),
        Shape::Unique => indexes.push(Index { name: "u".to_owned(), columns: vec![ColumnId(2)], unique: true }),
    }
    Table {
        id: TableId(0),
        database,
        name: name.to_owned(),
        columns,
        primary_key,
        indexes,
        foreign_keys: Vec::new(),
        view: None,
        comment: String::new(),
        options: Default::default(),
        next_column: ColumnId(4),
    }
}

/// Makes a database `d`.
pub async fn create_database(db: &Database, name: &str) -> DatabaseId {
    let mut txn = db.begin(author());
    let database = txn.create_database(SYS, name, "").unwrap();
    txn.commit().await.unwrap();
    database.id
}

/// Makes a table in a commit of its own.
pub async fn create_table(db: &Database, table: Table) -> Arc<Table> {
    let mut txn = db.begin(author());
    let table = txn.create_table(table).unwrap();
    txn.commit().await.unwrap();
    table
}

/// Returns the table of this name as it stands now.
pub fn named(db: &Database, database: &str, name: &str) -> Arc<Table> {
    let now = db.now();
    let database = now.catalog().database(SYS, database).unwrap().clone();
    now.catalog().table(&database, name).unwrap().clone()
}

/// Returns rows as Arrow in `table.physical_schema()`, with the given row ids or without.
pub fn batch(table: &Table, rows: &[Row], ids: Option<&[Vec<u8>]>) -> RecordBatch {
    let mut fields: Vec<Field> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for column in &table.columns {
        fields.push(Field::new(column.id.physical_name(), column.ty.arrow(), column.nullable));
        let values = rows.iter().map(|row| &row[&column.id]);
        columns.push(match column.ty {
            Type::Text => Arc::new(StringArray::from_iter(values.map(|value| match value {
                Val::Text(text) => Some(text.clone()),
                _ => None,
            }))),
            Type::Int64 => Arc::new(Int64Array::from_iter(values.map(|value| match value {
                Val::Int(value) => Some(i64::from(*value)),
                _ => None,
            }))),
            _ => Arc::new(Int32Array::from_iter(values.map(|value| match value {
                Val::Int(value) => Some(*value),
                _ => None,
            }))),
        });
    }
    if let Some(keys) = ids.filter(|_| table.has_row_id()) {
        fields.push(Field::new("_row_id", arrow::datatypes::DataType::UInt64, false));
        columns.push(row_ids(keys));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Returns keys as Arrow in `table.key_schema()`.
pub fn key_batch(table: &Table, keys: &[Vec<u8>]) -> RecordBatch {
    let types: Vec<Type> =
        table.key_columns().iter().map(|id| table.column_by_id(*id).map_or(Type::UInt64, |c| c.ty)).collect();
    let keys = keys.iter().map(Vec::as_slice);
    let columns = strandline_core::cold::decode_keys(&types, keys).unwrap();
    RecordBatch::try_new(table.key_schema(), columns).unwrap()
}

fn row_ids(keys: &[Vec<u8>]) -> ArrayRef {
    strandline_core::cold::decode_keys(&[Type::UInt64], keys.iter().map(Vec::as_slice)).unwrap().remove(0)
}

/// Returns the encoded key of a row of a table with a primary key.
pub fn key_of(table: &Table, row: &Row) -> Vec<u8> {
    let batch = batch(table, std::slice::from_ref(row), None);
    let columns = strandline_core::rows::columns_of(&batch, &table.primary_key).unwrap();
    encode_keys(&columns).unwrap().get(0).to_vec()
}

/// Reads a batch back into rows by key.
pub fn rows_of(table: &Table, batch: &RecordBatch) -> Vec<(Vec<u8>, Row)> {
    let keys = encode_keys(&strandline_core::rows::columns_of(batch, &table.key_columns()).unwrap()).unwrap();
    (0..batch.num_rows())
        .map(|at| {
            let value = |column: &Column| {
                let array = batch.column_by_name(&column.id.physical_name()).unwrap();
                if array.is_null(at) {
                    return Val::Null;
                }
                let any = array.as_any();
                match (any.downcast_ref::<Int32Array>(), any.downcast_ref::<Int64Array>()) {
                    (Some(numbers), _) => Val::Int(numbers.value(at)),
                    (None, Some(numbers)) => Val::Int(numbers.value(at) as i32),
                    (None, None) => Val::Text(any.downcast_ref::<StringArray>().unwrap().value(at).to_owned()),
                }
            };
            let row = table.columns.iter().map(|column| (column.id, value(column))).collect();
            (keys.get(at).to_vec(), row)
        })
        .collect()
}

/// Reads everything that a scan shows; a key that is shown twice fails.
pub async fn read(cold: &Cold, scan: &TableScan) -> Rows {
    let table = &scan.table;
    let mut batches = scan.rows.clone();
    for part in &scan.parts {
        let rows = cold.scan(table, &part.part, part.version, None, &part.excluded, false).await.unwrap();
        batches.extend(rows.try_collect::<Vec<_>>().await.unwrap());
    }
    let mut rows = Rows::new();
    let mut count = 0;
    for batch in &batches {
        for (key, row) in rows_of(table, batch) {
            count += 1;
            let twice = rows.insert(key, row.clone());
            assert_eq!(twice, None, "two rows of '{}' have one key: {row:?}", table.name);
        }
    }
    assert_eq!(scan.row_count(), count, "the count of '{}' is exact", table.name);
    rows
}

/// Returns a row of the columns `id` and `v`.
pub fn row(table: &Table, id: i32, v: i32) -> Row {
    let value = |column: &Column| match column.ty {
        Type::Text => Val::Text("n".to_owned()),
        _ if column.id == ColumnId(1) => Val::Int(id),
        _ => Val::Int(v),
    };
    table.columns.iter().map(|column| (column.id, value(column))).collect()
}

/// Returns `id` and `v` of a row.
pub fn pair(row: &Row) -> (i32, i32) {
    match (&row[&ColumnId(1)], &row[&ColumnId(2)]) {
        (Val::Int(id), Val::Int(v)) => (*id, *v),
        other => panic!("{other:?}"),
    }
}

/// Returns what a table holds now, in key order.
pub async fn pairs(db: &Database, table: &Arc<Table>) -> Vec<(i32, i32)> {
    let scan = db.now().scan(table).await.unwrap();
    read(db.cold(), &scan).await.values().map(pair).collect()
}

/// Inserts rows in a commit of its own.
pub async fn try_insert(db: &Database, table: &Arc<Table>, rows: &[(i32, i32)]) -> Result<Version> {
    let rows: Vec<Row> = rows.iter().map(|(id, v)| row(table, *id, *v)).collect();
    let mut txn = db.begin(author());
    txn.insert(table, &batch(table, &rows, None), OnDuplicate::Error).await?;
    Ok(txn.commit().await?.version)
}

pub async fn insert(db: &Database, table: &Arc<Table>, rows: &[(i32, i32)]) -> Version {
    try_insert(db, table, rows).await.unwrap()
}

/// Loads rows in a commit of its own: more than `load_rows` go into parts at once.
pub async fn load(db: &Database, table: &Arc<Table>, rows: &[(i32, i32)]) -> Version {
    let rows: Vec<Row> = rows.iter().map(|(id, v)| row(table, *id, *v)).collect();
    let mut txn = db.begin(author());
    let mut load = txn.bulk(table, OnDuplicate::Error);
    load.write(&mut txn, &batch(table, &rows, None)).await.unwrap();
    load.finish(&mut txn).await.unwrap();
    txn.commit().await.unwrap().version
}
