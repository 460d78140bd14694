//! What the tests of the cold tier share: tables, files in memory, damage, and random columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

use crate::cold::files::{Files, path};
use crate::env::Env;
use crate::ids::{AccountId, ColumnId, DatabaseId, Digest, TableId, Time, Version};
use crate::log::memory::MemoryMetastore;
use crate::log::{Entry, EntryHead, FileRecord, Metastore};
use crate::schema::{Column, Table, Type};

/// Returns a column that nobody says anything else of.
pub(crate) fn column(id: u32, ty: Type, nullable: bool) -> Column {
    Column {
        id: ColumnId(id),
        name: format!("n{id}"),
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

/// Returns the table `t` of these columns.
pub(crate) fn table(columns: Vec<Column>, primary_key: &[u32]) -> Table {
    Table {
        id: TableId(1),
        database: DatabaseId(1),
        name: "t".into(),
        next_column: ColumnId(columns.len() as u32 + 1),
        columns,
        primary_key: primary_key.iter().map(|id| ColumnId(*id)).collect(),
        indexes: vec![],
        foreign_keys: vec![],
        view: None,
        comment: String::new(),
        options: Default::default(),
    }
}

pub(super) fn test_files() -> (Files, Arc<MemoryMetastore>, Arc<dyn ObjectStore>) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let metastore = Arc::new(MemoryMetastore::new());
    (Files::new(store.clone(), metastore.clone(), Env::real()).unwrap(), metastore, store)
}

/// Does what a commit does with its files.
pub(super) fn commit(files: &Files, metastore: &MemoryMetastore, records: &[FileRecord]) {
    let before = metastore.newest().unwrap().map_or(0, |head| head.version.0);
    let head = EntryHead {
        version: Version(before + 1),
        time: Time(before as i64 + 1),
        account: AccountId(1),
        author: "system".into(),
        what: "FLUSH".into(),
        upkeep: true,
        hash: Digest::default(),
    };
    let entry = Entry { head, changes: vec![], deltas: vec![], pins: vec![], files: records.to_vec() };
    metastore.append(&[entry]).unwrap();
    files.committed(&records.iter().map(|record| record.id).collect::<Vec<_>>());
}

/// Flips a bit of a stored file.
pub(super) async fn damage(store: &Arc<dyn ObjectStore>, record: &FileRecord, at: usize) {
    let location = path(record.kind, record.id);
    let mut bytes = store.get(&location).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[at] ^= 0x20;
    store.put(&location, Bytes::from(bytes).into()).await.unwrap();
}

/// Random columns of a type, with NULLs if `nullable`. Values are often near one another and near the ends of the type.
pub(super) fn column_strategy(ty: Type, rows: usize, nullable: bool) -> BoxedStrategy<ArrayRef> {
    fn values<T, S>(
        strategy: S,
        rows: usize,
        nullable: bool,
        array: impl Fn(Vec<Option<T>>) -> ArrayRef + 'static,
    ) -> BoxedStrategy<ArrayRef>
    where
        T: std::fmt::Debug + Clone + 'static,
        S: Strategy<Value = T> + 'static,
    {
        let nulls = if nullable { 0.3 } else { 0.0 };
        proptest::collection::vec(
            (strategy, proptest::bool::weighted(nulls)).prop_map(|(value, is_null)| (!is_null).then_some(value)),
            rows,
        )
        .prop_map(array)
        .boxed()
    }
    fn primitive<T: ArrowPrimitiveType>(
        strategy: impl Strategy<Value = T::Native> + 'static,
        ty: Type,
        rows: usize,
        nullable: bool,
    ) -> BoxedStrategy<ArrayRef> {
        values(strategy, rows, nullable, move |values| {
            Arc::new(PrimitiveArray::<T>::from_iter(values).with_data_type(ty.arrow()))
        })
    }
    macro_rules! integers {
        ($arrow:ty, $native:ty) => {
            primitive::<$arrow>(
                prop_oneof![any::<$native>(), 0..8 as $native, Just(<$native>::MIN), Just(<$native>::MAX)],
                ty,
                rows,
                nullable,
            )
        };
    }
    match ty {
        Type::Bool => values(any::<bool>(), rows, nullable, |values| Arc::new(BooleanArray::from(values))),
        Type::Int8 => integers!(Int8Type, i8),
        Type::Int16 => integers!(Int16Type, i16),
        Type::Int32 => integers!(Int32Type, i32),
        Type::Int64 => integers!(Int64Type, i64),
        Type::UInt8 => integers!(UInt8Type, u8),
        Type::UInt16 => integers!(UInt16Type, u16),
        Type::UInt32 => integers!(UInt32Type, u32),
        Type::UInt64 => integers!(UInt64Type, u64),
        Type::Date => integers!(Date32Type, i32),
        Type::Duration => integers!(DurationMicrosecondType, i64),
        Type::DateTime => integers!(TimestampMicrosecondType, i64),
        Type::Decimal(precision, _) => {
            let limit = 10i128.pow(u32::from(precision)) - 1;
            primitive::<Decimal128Type>(prop_oneof![-limit..=limit, -3..3i128], ty, rows, nullable)
        }
        // −0 is +0 to us, and two values to Arrow.
        Type::Float32 => primitive::<Float32Type>(
            prop_oneof![any::<f32>().prop_map(|v| v + 0.0), (-3..3i8).prop_map(f32::from)],
            ty,
            rows,
            nullable,
        ),
        Type::Float64 => primitive::<Float64Type>(
            prop_oneof![any::<f64>().prop_map(|v| v + 0.0), (-3..3i8).prop_map(f64::from)],
            ty,
            rows,
            nullable,
        ),
        Type::Text => {
            values("[\\x00\\x01a-c\u{e4}\u{10ffff}]{0,6}", rows, nullable, |values| Arc::new(StringArray::from(values)))
        }
        Type::Bytes => {
            let bytes = proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..6);
            values(bytes, rows, nullable, |values| Arc::new(BinaryArray::from_iter(values)))
        }
    }
}
