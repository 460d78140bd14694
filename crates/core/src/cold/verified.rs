//! The object store that queries read through: read-only, and every byte is verified before it is handed out.
//!
//! A query asks for a row group at a time, megabytes, and holds them until it has decoded the last of their rows. All queries
//! together hold no more than the store has [`Room`] for: who asks for more waits until others have let go.

use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cold::files::{Files, covering_blocks, damaged, failed, parse_path, path};
use crate::error::Error;
use crate::log::{BLOCK_BYTES, FileRecord};

/// See [`Files::verified_store`].
pub(super) struct VerifiedStore {
    files: Files,
    store: Arc<dyn ObjectStore>,
    room: Room,
}

/// The memory that reads may take together.
struct Room {
    units: Arc<Semaphore>,
    all: u32,
    /// How long a read waits for its place while nobody reads.
    wait: Duration,
    /// How many reads that have a place were begun, and how many have ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A read that goes on, until it is dropped.
struct Reading<'a>(&'a Room);

/// What was read, and its place in the room until it is dropped.
struct Held {
    bytes: Bytes,
    _place: Arc<OwnedSemaphorePermit>,
}

/// What room is counted in.
const UNIT_BYTES: u64 = 4096;

/// What was read stands beside the pages that are unpacked from it.
const UNPACKED: u64 = 2;

/// Who waits for longer while nobody reads stands behind somebody who waits for it: two sides of a join, each with half of
/// the room.
const WAIT: Duration = Duration::from_secs(10);

/// How much of a file one read of a stream takes.
const STREAM_BYTES: u64 = 64 * BLOCK_BYTES;

impl Room {
    fn new(bytes: u64) -> Room {
        let all = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize) as u64) as u32;
        let (begun, ended) = Default::default();
        Room { units: Arc::new(Semaphore::new(all as usize)), all, wait: WAIT, begun, ended }
    }

    /// Waits for a place. What is larger than the room gets all of it.
    async fn take(&self, bytes: u64) -> Result<Arc<OwnedSemaphorePermit>> {
        let units = (bytes * UNPACKED).div_ceil(UNIT_BYTES).min(u64::from(self.all)) as u32;
        if let Ok(place) = self.units.clone().try_acquire_many_owned(units) {
            return Ok(Arc::new(place));
        }
        let mut place = pin!(self.units.clone().acquire_many_owned(units));
        loop {
            let ended = self.ended.load(Ordering::Relaxed);
            match tokio::time::timeout(self.wait, place.as_mut()).await {
                Ok(place) => return Ok(Arc::new(place.expect("it is never closed"))),
                // Storage over a network may have been asked again and again for what they hold their places for.
                Err(_) if self.begun.load(Ordering::Relaxed) > ended => {}
                Err(_) => break,
            }
        }
        Err(wrap(
            Error::unavailable("Out of memory: what is being read of parts takes all that there is for it.")
                .with_hint("Try again when other queries are done, or start the server with a greater --memory-limit."),
        ))
    }

    fn reading(&self) -> Reading<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Reading(self)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl VerifiedStore {
    /// Makes a store in which reads take at most about `room_bytes` together.
    pub(super) fn new(files: Files, store: Arc<dyn ObjectStore>, room_bytes: u64) -> VerifiedStore {
        VerifiedStore { files, store, room: Room::new(room_bytes) }
    }

    async fn record(&self, location: &Path) -> Result<Arc<FileRecord>> {
        let (kind, id) = parse_path(location.as_ref()).ok_or_else(|| object_store::Error::NotFound {
            path: location.to_string(),
            source: "it is not a name that the store minted".into(),
        })?;
        let record = self.files.record(id).await.map_err(wrap)?;
        if record.kind != kind {
            return Err(wrap(damaged(&record, &format!("it is referred to as {location}"))));
        }
        Ok(record)
    }

    async fn head(&self, record: &FileRecord) -> Result<ObjectMeta> {
        let meta = self.store.head(&path(record.kind, record.id)).await;
        let meta = meta.map_err(|error| wrap(failed(record.kind, record.id, "read", error)))?;
        if meta.size != record.length {
            let how = format!("it has {} bytes instead of {}", meta.size, record.length);
            return Err(wrap(damaged(record, &how)));
        }
        Ok(meta)
    }
}

impl fmt::Debug for VerifiedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for VerifiedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({})", self.store)
    }
}

#[async_trait]
impl ObjectStore for VerifiedStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let record = self.record(location).await?;
        let meta = match options.head {
            true => self.head(&record).await?,
            // Whether it is as long shows itself where it is read.
            false => ObjectMeta {
                location: location.clone(),
                last_modified: Default::default(),
                size: record.length,
                e_tag: None,
                version: None,
            },
        };
        options.check_preconditions(&meta)?;
        if options.version.is_some() {
            return Err(refused("a read of a version"));
        }
        let range = match (&options.range, options.head) {
            (_, true) => 0..0,
            (Some(range), _) => range
                .as_range(record.length)
                .map_err(|source| object_store::Error::Generic { store: "strandline", source: Box::new(source) })?,
            (None, _) => 0..record.length,
        };
        let chunks = stream_verified(self.files.clone(), record, range.clone());
        Ok(GetResult { payload: GetResultPayload::Stream(chunks), meta, range, attributes: Default::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let record = self.record(location).await?;
        // What is read is a piece of whole blocks, and holds all of them.
        let blocks = covering_blocks(ranges, record.length);
        let place = self.room.take(blocks.iter().map(|block| block.end - block.start).sum()).await?;
        let _reading = self.room.reading();
        let read = self.files.read_ranges(&record, ranges).await.map_err(wrap)?;
        Ok(read.into_iter().map(|bytes| Bytes::from_owner(Held { bytes, _place: place.clone() })).collect())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused("a write"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("a write"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::iter([Err(refused("a delete"))]).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("a copy"))
    }
}

/// Reads a range in chunks that end at block boundaries, so that no block is read twice.
fn stream_verified(files: Files, record: Arc<FileRecord>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold(range.start, move |at| {
        let (files, record) = (files.clone(), record.clone());
        async move {
            if at >= range.end {
                return Ok(None);
            }
            let end = ((at / STREAM_BYTES + 1) * STREAM_BYTES).min(range.end);
            let mut read = files.read_ranges(&record, &[at..end]).await.map_err(wrap)?;
            Ok(Some((read.swap_remove(0), end)))
        }
    })
    .boxed()
}

fn wrap(error: Error) -> object_store::Error {
    object_store::Error::Generic { store: "strandline", source: Box::new(error) }
}

fn refused(what: &str) -> object_store::Error {
    object_store::Error::NotSupported { source: format!("{what} through the store that queries read from").into() }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::{GetRange, ObjectStoreExt};

    use super::*;
    use crate::cold::files::cause;
    use crate::cold::testing::{damage, test_files};
    use crate::error::Kind;
    use crate::log::FileKind;

    #[tokio::test]
    async fn reads_are_verified_and_writes_refused() {
        let (files, _, raw) = test_files();
        let body: Bytes = (0..9_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let record = files.put(FileKind::Part, body.clone()).await.unwrap();
        let store = files.verified_store(64 << 20);
        let location = path(record.kind, record.id);

        assert_eq!(store.head(&location).await.unwrap().size, 9_000_000);
        assert_eq!(store.get(&location).await.unwrap().bytes().await.unwrap(), body);
        assert_eq!(store.get_range(&location, 70_000..5_000_000).await.unwrap(), body.slice(70_000..5_000_000));
        let suffix = GetOptions { range: Some(GetRange::Suffix(10)), ..Default::default() };
        let suffix = store.get_opts(&location, suffix).await.unwrap();
        assert_eq!(suffix.bytes().await.unwrap(), body.slice(8_999_990..));
        let ranges = store.get_ranges(&location, &[0..5, 100_000..100_001]).await.unwrap();
        assert_eq!(ranges, [body.slice(0..5), body.slice(100_000..100_001)]);

        assert!(store.put(&Path::from("parts/a"), "x".into()).await.is_err());
        assert!(store.put_multipart(&location).await.is_err());
        assert!(store.delete(&location).await.is_err());
        assert!(store.copy(&location, &Path::from("b")).await.is_err());
        assert!(store.rename(&location, &Path::from("b")).await.is_err());
        assert!(matches!(store.get(&Path::from("log.db")).await, Err(object_store::Error::NotFound { .. })));

        damage(&raw, &record, 4_500_000).await;
        let error = store.get_range(&location, 4_460_000..4_460_001).await.unwrap_err();
        assert_eq!(cause(&error).unwrap().kind(), Kind::Corrupt);
        assert!(error.to_string().contains(&record.kind.path(record.id)), "{error}");
        let stream = store.get(&location).await.unwrap().into_stream();
        assert!(stream.try_collect::<Vec<_>>().await.is_err());
        assert_eq!(store.get_range(&location, 0..10).await.unwrap(), body.slice(0..10));

        raw.put(&location, body.slice(0..8_000_000).into()).await.unwrap();
        let error = store.get_ranges(&location, &[8_500_000..8_500_001]).await.unwrap_err();
        assert_eq!(cause(&error).unwrap().kind(), Kind::Corrupt);
        raw.delete(&location).await.unwrap();
        let error = store.get_ranges(&location, &[0..1]).await.unwrap_err();
        assert_eq!(cause(&error).unwrap().kind(), Kind::Corrupt);
    }

    #[tokio::test]
    async fn reads_wait_for_room_and_not_for_ever() {
        let (files, _, raw) = test_files();
        let record = files.put(FileKind::Part, Bytes::from(vec![7; 100_000])).await.unwrap();
        let location = path(record.kind, record.id);
        let mut store = VerifiedStore::new(files, raw, 200_000);
        // More than there is room for: alone it gets in.
        let held = store.get_ranges(&location, &[0..60_000, 0..100_000]).await.unwrap();
        store.room.wait = Duration::from_millis(10);
        let error = store.get_ranges(&location, &[0..1]).await.unwrap_err();
        assert_eq!(cause(&error).unwrap().kind(), Kind::Unavailable);
        let reading = store.room.reading();
        let waiting = store.get_ranges(&location, &[0..1]);
        let waited = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        assert!(waited.is_err(), "who waits for one that reads is patient");
        drop(reading);
        store.room.wait = WAIT;
        let mut waiting = store.get_ranges(&location, &[50_000..99_000]);
        assert!(futures::poll!(&mut waiting).is_pending());
        let slice = held[1].slice(10..20);
        drop(held);
        assert_eq!(store.room.units.available_permits(), 0, "a slice holds the place of what it is of");
        drop(slice);
        assert_eq!(waiting.await.unwrap()[0].len(), 49_000);
    }
}
