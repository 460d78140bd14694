//! Differences across changes of a table's definition.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use strandline_core::db::Database;
use strandline_core::error::Kind;
use strandline_core::history::diff::{Diff, TableAt};
use strandline_core::ids::ColumnId;
use strandline_core::schema::{Initial, Table, Type};

use crate::support::*;

fn at(db: &Database) -> TableAt {
    TableAt { moment: db.now(), table: named(db, "d", "t") }
}

async fn store(shape: Shape) -> Database {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", shape)).await;
    insert(&db, &t, &[(1, 10), (2, 20)]).await;
    db
}

/// Gives one column another type and writes all rows anew, as ALTER TABLE … MODIFY does.
async fn modify(db: &Database, id: ColumnId, ty: Type, rows: Vec<ArrayRef>) {
    let mut new: Table = named(db, "d", "t").as_ref().clone();
    let fresh = new.next_column;
    new.next_column = ColumnId(fresh.0 + 1);
    let column = new.columns.iter_mut().find(|column| column.id == id).unwrap();
    (column.id, column.ty) = (fresh, ty);
    new.primary_key.iter_mut().filter(|key| **key == id).for_each(|key| *key = fresh);
    let fields: Vec<_> = new.physical_schema().fields().iter().take(rows.len()).cloned().collect();
    let rows = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), rows).unwrap();
    let mut txn = db.begin(author());
    txn.rebuild_table(new, futures::stream::iter([Ok(rows)])).await.unwrap();
    txn.commit().await.unwrap();
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn counts(diff: &Diff) -> (usize, usize, usize) {
    (diff.inserted.num_rows(), diff.deleted.num_rows(), diff.updated_to.num_rows())
}

#[tokio::test]
async fn a_change_of_type_changes_no_row() {
    for shape in [Shape::Keyed, Shape::Keyless] {
        for flush in [false, true] {
            let db = store(shape).await;
            let base = at(&db);
            modify(&db, ColumnId(2), Type::Int64, vec![ints(&[1, 2]), longs(&[10, 21])]).await;
            if flush {
                db.flush().await.unwrap();
            }
            let diff = db.diff(&base, &at(&db)).await.unwrap();
            if shape == Shape::Keyed {
                assert_eq!(counts(&diff), (0, 0, 1));
                let of = |rows: &RecordBatch| rows.column(1).as_primitive::<Int64Type>().value(0);
                assert_eq!((of(&diff.updated_from), of(&diff.updated_to)), (20, 21));
            } else {
                assert_eq!(counts(&diff), (1, 1, 0), "rows without a key are matched by what they hold");
            }
            // And back.
            let diff = db.diff(&at(&db), &base).await.unwrap();
            assert_eq!(diff.len(), if shape == Shape::Keyed { 1 } else { 2 });
        }
    }
}

#[tokio::test]
async fn a_key_of_another_type_still_tells_rows_apart() {
    let db = store(Shape::Keyed).await;
    let base = at(&db);
    modify(&db, ColumnId(1), Type::Int64, vec![longs(&[1, 3]), ints(&[10, 20])]).await;
    let diff = db.diff(&base, &at(&db)).await.unwrap();
    assert_eq!(counts(&diff), (1, 1, 0));
    assert_eq!(*diff.deleted.column(0).data_type(), DataType::Int64);
    assert_eq!(diff.deleted.column(0).as_primitive::<Int64Type>().value(0), 2);
}

#[tokio::test]
async fn a_value_that_does_not_convert_is_an_error() {
    let db = store(Shape::Keyed).await;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["10", "x"]));
    modify(&db, ColumnId(2), Type::Text, vec![ints(&[1, 2]), text]).await;
    let texts = at(&db);
    modify(&db, ColumnId(4), Type::Int32, vec![ints(&[1, 2]), ints(&[10, 0])]).await;
    let error = db.diff(&texts, &at(&db)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains("'v'"), "{error:?}");
}

#[tokio::test]
async fn a_column_that_took_the_place_of_a_dropped_one_differs() {
    for flush in [false, true] {
        let db = store(Shape::Keyed).await;
        if flush {
            db.flush().await.unwrap();
        }
        let base = at(&db);
        let mut new: Table = base.table.as_ref().clone();
        new.columns[1] = column(4, "v", Type::Int32, false);
        new.columns[1].initial = Some(Initial::Int(20));
        new.next_column = ColumnId(5);
        let mut txn = db.begin(author());
        txn.alter_table(new).unwrap();
        txn.commit().await.unwrap();
        let diff = db.diff(&base, &at(&db)).await.unwrap();
        assert_eq!(counts(&diff), (0, 0, 1), "flushed: {flush}");
        assert_eq!(counts(&db.diff(&at(&db), &base).await.unwrap()), (0, 0, 1), "flushed: {flush}");
    }
}

#[tokio::test]
async fn tables_with_other_keys_are_refused() {
    let db = store(Shape::Keyed).await;
    let base = at(&db);
    let mut txn = db.begin(author());
    let mut keyless = base.table.as_ref().clone();
    keyless.primary_key.clear();
    let schema = keyless.physical_schema();
    let fields: Vec<_> = schema.fields().iter().take(2).cloned().collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let rows = RecordBatch::try_new(schema, vec![ints(&[1, 2]), ints(&[10, 20])]).unwrap();
    txn.rebuild_table(keyless, futures::stream::iter([Ok(rows)])).await.unwrap();
    txn.commit().await.unwrap();
    let error = db.diff(&base, &at(&db)).await.unwrap_err();
    assert!(error.hint().unwrap().contains("SHOW COMMITS"), "{error:?}");
}
