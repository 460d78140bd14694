//! What the tests of the cold tier share: a metastore that knows only files, and random columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::catalog::{Change, ObjectKind};
use crate::cold::files::{Files, path};
use crate::env::Env;
use crate::error::Result;
use crate::ids::{Digest, FileId, PinId, TableId, Time, Version};
use crate::log::{Entry, EntryHead, EntryQuery, EntrySummary, FileKind, FileRecord, Metastore, ObjectRow, Pin};
use crate::schema::Type;

pub(super) fn test_files() -> (Files, Arc<TestMetastore>, Arc<dyn ObjectStore>) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let metastore = Arc::new(TestMetastore::default());
    (Files::new(store.clone(), metastore.clone(), Env::real()), metastore, store)
}

/// Does what a commit does with its files.
pub(super) fn commit(files: &Files, metastore: &TestMetastore, records: &[FileRecord]) {
    for record in records {
        metastore.files.lock().insert(record.id, record.clone());
    }
    files.committed(&records.iter().map(|record| record.id).collect::<Vec<_>>());
}

/// Flips a bit of a stored file.
pub(super) async fn damage(store: &Arc<dyn ObjectStore>, record: &FileRecord, at: usize) {
    let location = path(record.kind, record.id);
    let mut bytes = store.get(&location).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[at] ^= 0x20;
    store.put(&location, Bytes::from(bytes).into()).await.unwrap();
}

pub(super) fn every_type() -> Vec<Type> {
    vec![
        Type::Bool,
        Type::Int8,
        Type::Int16,
        Type::Int32,
        Type::Int64,
        Type::UInt8,
        Type::UInt16,
        Type::UInt32,
        Type::UInt64,
        Type::Float32,
        Type::Float64,
        Type::Decimal(9, 2),
        Type::Decimal(18, 0),
        Type::Decimal(38, 10),
        Type::Text,
        Type::Bytes,
        Type::Date,
        Type::Duration,
        Type::DateTime,
    ]
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

/// A metastore that knows of files and nothing else.
#[derive(Default)]
pub(super) struct TestMetastore {
    intents: Mutex<Vec<(FileId, FileKind)>>,
    files: Mutex<HashMap<FileId, FileRecord>>,
}

impl Metastore for TestMetastore {
    fn put_intents(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        self.intents.lock().extend_from_slice(files);
        Ok(())
    }

    fn file(&self, id: FileId) -> Result<Option<FileRecord>> {
        Ok(self.files.lock().get(&id).cloned())
    }

    fn file_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<FileRecord>> {
        Ok(self.files.lock().values().find(|file| file.kind == kind && file.digest == digest).cloned())
    }

    fn intents(&self) -> Result<Vec<(FileId, FileKind)>> {
        let files = self.files.lock();
        Ok(self.intents.lock().iter().filter(|(id, _)| !files.contains_key(id)).copied().collect())
    }

    fn newest(&self) -> Result<Option<EntryHead>> {
        unreachable!("the cold tier does not know the log")
    }

    fn append(&self, _: &[Entry]) -> Result<()> {
        unreachable!("the cold tier does not know the log")
    }

    fn entry(&self, _: Version) -> Result<Option<Entry>> {
        unreachable!("the cold tier does not know the log")
    }

    fn entries(&self, _: &EntryQuery) -> Result<Vec<EntrySummary>> {
        unreachable!("the cold tier does not know the log")
    }

    fn deltas(&self, _: TableId, _: Version, _: Version) -> Result<Vec<(Version, Bytes)>> {
        unreachable!("the cold tier does not know the log")
    }

    fn newest_at(&self, _: Time) -> Result<Option<EntryHead>> {
        unreachable!("the cold tier does not know the log")
    }

    fn catalog_at(&self, _: Version) -> Result<Vec<Change>> {
        unreachable!("the cold tier does not know the catalog")
    }

    fn catalog_version(&self, _: Version) -> Result<Version> {
        unreachable!("the cold tier does not know the catalog")
    }

    fn named(&self, _: ObjectKind, _: u64, _: &str) -> Result<Vec<ObjectRow>> {
        unreachable!("the cold tier does not know the catalog")
    }

    fn object(&self, _: ObjectKind, _: u64) -> Result<Vec<ObjectRow>> {
        unreachable!("the cold tier does not know the catalog")
    }

    fn greatest_id(&self, _: ObjectKind) -> Result<u64> {
        unreachable!("the cold tier does not know the catalog")
    }

    fn pins(&self) -> Result<Vec<Pin>> {
        unreachable!("the cold tier does not know pins")
    }

    fn put_pin(&self, _: &Pin) -> Result<PinId> {
        unreachable!("the cold tier does not know pins")
    }

    fn drop_pins(&self, _: &[PinId]) -> Result<u64> {
        unreachable!("the cold tier does not know pins")
    }

    fn setting(&self, _: &str) -> Result<Option<String>> {
        unreachable!("the cold tier does not know settings")
    }

    fn put_setting(&self, _: &str, _: &str) -> Result<()> {
        unreachable!("the cold tier does not know settings")
    }

    fn check(&self) -> Result<Vec<String>> {
        unreachable!("the cold tier does not check the log")
    }

    fn size_bytes(&self) -> Result<u64> {
        unreachable!("the cold tier does not weigh the log")
    }

    fn tidy(&self) -> Result<()> {
        unreachable!("the cold tier does not tidy the log")
    }
}
