//! Stores with a defect: they believe what they read. The metastore is SQLite's own, but it says of some files, or of the
//! log, that whatever stands there is what was written.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use rusqlite::{Connection, OpenFlags};
use strandline_core::catalog::{Change, ObjectKind};
use strandline_core::cold::DurableLocal;
use strandline_core::db::Database;
use strandline_core::error::{Error, Kind, Result};
use strandline_core::ids::{Digest, FileId, PinId, TableId, Time, Version};
use strandline_core::log::sqlite::SqliteMetastore;
use strandline_core::log::{
    BLOCK_BYTES, Entry, EntryHead, EntryQuery, EntrySummary, FileHead, FileKind, FileRecord, Metastore, ObjectRow, Pin,
    Trimmed,
};

use crate::script::Store;

/// What is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    Parts,
    Manifests,
    Deltas,
}

/// Returns a way to open stores with the defect.
pub fn open_believing(believed: Believed) -> for<'a> fn(&'a Store) -> BoxFuture<'a, Result<Database>> {
    match believed {
        Believed::Parts => |store| Box::pin(open(store, Believed::Parts)),
        Believed::Manifests => |store| Box::pin(open(store, Believed::Manifests)),
        Believed::Deltas => |store| Box::pin(open(store, Believed::Deltas)),
    }
}

async fn open(store: &Store, believed: Believed) -> Result<Database> {
    let inner = SqliteMetastore::open(&store.folder.join("metastore.db"))?;
    let metastore = Arc::new(Believing { inner, folder: store.folder.clone(), believed });
    Database::start(metastore, Arc::new(DurableLocal::open(&store.folder)?), store.options(), None).await
}

struct Believing {
    inner: SqliteMetastore,
    folder: PathBuf,
    believed: Believed,
}

impl Believing {
    /// Says of a file what it is now.
    fn believe(&self, record: FileRecord) -> FileRecord {
        let believed = match record.kind {
            FileKind::Part => Believed::Parts,
            FileKind::Manifest => Believed::Manifests,
            FileKind::DeletionVector => return record,
        };
        match std::fs::read(self.folder.join(record.kind.path(record.id))) {
            Ok(bytes) if believed == self.believed => FileRecord {
                length: bytes.len() as u64,
                digest: Digest::of(&bytes),
                block_crcs: bytes.chunks(BLOCK_BYTES as usize).map(crc32fast::hash).collect(),
                ..record
            },
            _ => record,
        }
    }

    /// Reads deltas as they stand: each touch of an entry takes 72 bytes, the table first, the body's length fifth.
    fn raw_deltas(&self, table: TableId, after: Version, upto: Version) -> rusqlite::Result<Vec<(Version, Bytes)>> {
        const OF_TABLE: &str = "SELECT log.version, touches, body FROM log JOIN touch ON touch.version = log.version
            WHERE table_id = ?1 AND log.version > ?2 AND log.version <= ?3 ORDER BY log.version";
        let path = self.folder.join("metastore.db");
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut statement = connection.prepare(OF_TABLE)?;
        let upto = i64::try_from(upto.0).unwrap_or(i64::MAX);
        let rows = statement.query_map((table.0 as i64, after.0 as i64, upto), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        let mut deltas = Vec::new();
        for row in rows {
            let (version, touches, body) = row?;
            let mut at = 0;
            for touch in touches.chunks(72) {
                let number = |from: usize| u64::from_le_bytes(touch[from..from + 8].try_into().expect("eight bytes"));
                let length = number(32) as usize;
                if number(0) == table.0 && length > 0 {
                    deltas.push((Version(version as u64), Bytes::copy_from_slice(&body[at..at + length])));
                }
                at += length;
            }
        }
        Ok(deltas)
    }
}

macro_rules! as_it_is {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> $result {
            self.inner.$name($($argument),*)
        })*
    };
}

impl Metastore for Believing {
    fn file(&self, id: FileId) -> Result<Option<FileRecord>> {
        Ok(self.inner.file(id)?.map(|record| self.believe(record)))
    }

    fn file_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<FileRecord>> {
        Ok(self.inner.file_by_digest(kind, digest)?.map(|record| self.believe(record)))
    }

    fn deltas(&self, table: TableId, after: Version, upto: Version) -> Result<Vec<(Version, Bytes)>> {
        match self.inner.deltas(table, after, upto) {
            Err(error) if self.believed == Believed::Deltas && error.kind() == Kind::Corrupt => {
                self.raw_deltas(table, after, upto).map_err(|error| Error::internal(error.to_string()))
            }
            deltas => deltas,
        }
    }

    as_it_is! {
        fn newest(&self) -> Result<Option<EntryHead>>;
        fn append(&self, group: &[Entry]) -> Result<()>;
        fn entry(&self, version: Version) -> Result<Option<Entry>>;
        fn entries(&self, query: &EntryQuery) -> Result<Vec<EntrySummary>>;
        fn delta_bytes(&self, table: TableId, after: Version, upto: Version) -> Result<Option<u64>>;
        fn newest_at(&self, time: Time) -> Result<Option<EntryHead>>;
        fn catalog_at(&self, version: Version) -> Result<Vec<Change>>;
        fn catalog_version(&self, version: Version) -> Result<Version>;
        fn named(&self, kind: ObjectKind, parent: u64, name: &str) -> Result<Vec<ObjectRow>>;
        fn object(&self, kind: ObjectKind, id: u64) -> Result<Vec<ObjectRow>>;
        fn object_at(&self, kind: ObjectKind, id: u64, version: Version) -> Result<Option<ObjectRow>>;
        fn ids(&self, kind: ObjectKind) -> Result<Vec<u64>>;
        fn greatest_id(&self, kind: ObjectKind) -> Result<u64>;
        fn pins(&self) -> Result<Vec<Pin>>;
        fn put_pin(&self, pin: &Pin) -> Result<PinId>;
        fn drop_pins(&self, ids: &[PinId]) -> Result<u64>;
        fn put_intents(&self, files: &[(FileId, FileKind)]) -> Result<()>;
        fn was_withdrawn(&self, manifest: Digest) -> Result<bool>;
        fn files(&self) -> Result<Vec<FileHead>>;
        fn withdraw_files(&self, files: &[(FileId, FileKind)]) -> Result<()>;
        fn trim(&self, versions: &[Version]) -> Result<Trimmed>;
        fn intents(&self) -> Result<Vec<(FileId, FileKind)>>;
        fn drop_files(&self, ids: &[FileId]) -> Result<()>;
        fn setting(&self, name: &str) -> Result<Option<String>>;
        fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>>;
        fn put_setting(&self, name: &str, value: &str) -> Result<()>;
        fn drop_setting(&self, name: &str) -> Result<bool>;
        fn check(&self) -> Result<Vec<String>>;
        fn size_bytes(&self) -> Result<u64>;
        fn tidy(&self) -> Result<()>;
        fn age(&self, kept_bytes: u64) -> Result<()>;
    }
}
