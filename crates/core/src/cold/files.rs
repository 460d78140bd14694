//! The store's files: written once under minted names, read only with verification.
//!
//! An intent stands in the metastore before the first byte of a file is written, so that whatever happens the collector
//! knows of it. Files of a running transaction are readable through the same [`Files`] before they are committed.
//! Nothing here overwrites a file, and nothing is answered from bytes that do not verify.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::cold::patient::PATIENCE;
use crate::cold::verified::VerifiedStore;
use crate::env::Env;
use crate::error::{Error, Kind, Result, kind_of_storage};
use crate::ids::{Digest, FileId};
use crate::log::{BLOCK_BYTES, FileKind, FileRecord, Metastore};

/// The files of one store. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    metastore: Arc<dyn Metastore>,
    env: Env,
    /// Written and not yet committed.
    pending: Mutex<HashMap<FileId, Arc<FileRecord>>>,
    records: Cache<FileId, Arc<FileRecord>, RecordWeight>,
    /// Nobody writes them any more, and nobody will commit them: the collector has their intents. With the time, as
    /// `Env::passed` counts it, from which on no write of them can still be on its way.
    abandoned: Mutex<HashMap<(FileId, FileKind), i64>>,
    /// For how long, in microseconds, a write that failed or that nobody waited for may still take effect: a request that
    /// timed out, a write on a thread of its own.
    late_micros: i64,
}

/// How late a write may be, unless told.
const LATE_MICROS: i64 = 10 * 60 * 1_000_000;

/// What the records of committed files may take in memory: one of a 1 GiB file takes 64 KiB.
const RECORDS_BYTES_MAX: u64 = 16 << 20;

impl Files {
    /// Takes the files of a store that no other process writes to: what is intended there now was left by one that is
    /// gone.
    pub fn new(store: Arc<dyn ObjectStore>, metastore: Arc<dyn Metastore>, env: Env) -> Result<Files> {
        Files::with_late(store, metastore, env, LATE_MICROS)
    }

    /// As `new`, where a write may be so many microseconds late.
    pub fn with_late(
        store: Arc<dyn ObjectStore>,
        metastore: Arc<dyn Metastore>,
        env: Env,
        late_micros: i64,
    ) -> Result<Files> {
        let records = Cache::with_weighter(4096, RECORDS_BYTES_MAX, RecordWeight);
        let quiet = env.passed().saturating_add(late_micros);
        let abandoned = Mutex::new(metastore.intents()?.into_iter().map(|file| (file, quiet)).collect());
        Ok(Files {
            inner: Arc::new(Inner {
                store,
                metastore,
                env,
                pending: Mutex::default(),
                records,
                abandoned,
                late_micros,
            }),
        })
    }

    /// Returns the files that were begun and will never be committed.
    pub fn abandoned(&self) -> Vec<(FileId, FileKind)> {
        let mut files: Vec<_> = self.inner.abandoned.lock().keys().copied().collect();
        files.sort_by_key(|(id, _)| *id);
        files
    }

    /// Deletes files that nothing can reach and that only their intents speak of, and forgets them. Calls `deleted` for
    /// each that is gone; the others are abandoned, and left to the next time. So are those that a late write may bring
    /// back.
    pub async fn clear(&self, files: &[(FileId, FileKind)], mut deleted: impl FnMut(FileId)) -> Result<()> {
        let now = self.inner.env.passed();
        let late: HashSet<FileId> = {
            let mut abandoned = self.inner.abandoned.lock();
            let quiet = files.iter().map(|file| (file.0, *abandoned.entry(*file).or_insert(now)));
            quiet.filter(|(_, quiet)| *quiet > now).map(|(id, _)| id).collect()
        };
        let mut gone = Vec::new();
        let mut failed = Ok(());
        for (id, kind) in files {
            match self.delete(*kind, *id).await {
                Ok(()) if late.contains(id) => {}
                Ok(()) => {
                    fail::fail_point!("collect::deleted", crate::error::failing);
                    gone.push(*id);
                    deleted(*id);
                }
                Err(error) => failed = Err(error),
            }
        }
        fail::fail_point!("collect::before_forget", crate::error::failing);
        let (metastore, ids) = (self.inner.metastore.clone(), gone.clone());
        blocking(move || metastore.drop_files(&ids)).await?;
        fail::fail_point!("collect::forgotten", crate::error::failing);
        self.inner.abandoned.lock().retain(|(id, _), _| !gone.contains(id));
        failed
    }

    /// Writes a small file whole and durably. It is pending until [`Files::committed`] or [`Files::discard`].
    pub async fn put(&self, kind: FileKind, bytes: Bytes) -> Result<FileRecord> {
        let mut writer = self.create(kind).await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// Mints a name, records the intent and begins to write the file.
    pub async fn create(&self, kind: FileKind) -> Result<FileWriter> {
        fail::fail_point!("file::minted", crate::error::failing);
        let id = self.inner.env.file_id();
        let metastore = self.inner.metastore.clone();
        blocking(move || metastore.put_intents(&[(id, kind)])).await?;
        fail::fail_point!("file::intended", crate::error::failing);
        Ok(FileWriter {
            files: self.clone(),
            id,
            kind,
            upload: None,
            buffer: Vec::new(),
            buffered: 0,
            sums: Sums::default(),
            finished: false,
        })
    }

    /// Forgets that these files were pending: the commit that made them reachable is durable.
    pub fn committed(&self, ids: &[FileId]) {
        let mut pending = self.inner.pending.lock();
        for id in ids {
            if let Some(record) = pending.remove(id) {
                self.inner.records.insert(*id, record);
            }
        }
    }

    /// Gives those of the files that are pending to the collector, with their intents, and returns them.
    pub fn abandon(&self, ids: &[FileId]) -> Vec<(FileId, FileKind)> {
        let mut pending = self.inner.pending.lock();
        let files: Vec<_> = ids.iter().filter_map(|id| pending.remove(id)).map(|file| (file.id, file.kind)).collect();
        let now = self.inner.env.passed();
        self.inner.abandoned.lock().extend(files.iter().map(|file| (*file, now)));
        files
    }

    /// Deletes abandoned files before the collector does. Their intents are left to it, and what cannot be deleted now.
    pub async fn delete_abandoned(&self, files: &[(FileId, FileKind)]) {
        fail::fail_point!("file::abandoned");
        for (id, kind) in files {
            if let Err(error) = self.delete(*kind, *id).await {
                tracing::warn!(file = %path(*kind, *id), %error, "left an uncommitted file to the collector");
            }
        }
    }

    /// Gives up those of the files that are pending.
    pub async fn discard(&self, ids: &[FileId]) {
        let files = self.abandon(ids);
        self.delete_abandoned(&files).await;
    }

    /// Deletes a file that nothing can reach any more; one that is gone already is no error. Only the collector calls
    /// this for files that were committed.
    pub async fn delete(&self, kind: FileKind, id: FileId) -> Result<()> {
        self.inner.records.remove(&id);
        match self.inner.store.delete(&path(kind, id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(kind, id, "deleted", error)),
        }
    }

    /// Returns the record of a file, pending or committed. A file that nobody knows is `Corrupt`: something that is
    /// kept refers to it.
    pub async fn record(&self, id: FileId) -> Result<Arc<FileRecord>> {
        if let Some(record) = self.known(id) {
            return Ok(record);
        }
        let metastore = self.inner.metastore.clone();
        let record = blocking(move || metastore.file(id)).await?;
        let record = record.ok_or_else(|| Error::corrupt(format!("The store has no record of its file {id}.")))?;
        Ok(self.remember(record))
    }

    /// Returns the record of the file of this kind with this digest, pending or committed.
    pub async fn record_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<Arc<FileRecord>>> {
        let pending =
            self.inner.pending.lock().values().find(|record| record.kind == kind && record.digest == digest).cloned();
        if pending.is_some() {
            return Ok(pending);
        }
        let metastore = self.inner.metastore.clone();
        let record = blocking(move || metastore.file_by_digest(kind, digest)).await?;
        Ok(record.map(|record| self.remember(record)))
    }

    /// Reads a file whole; `Corrupt` if its length or digest is not the record's.
    pub async fn read(&self, record: &FileRecord) -> Result<Bytes> {
        let location = path(record.kind, record.id);
        let read = async { self.inner.store.get(&location).await?.bytes().await };
        let bytes = read.await.map_err(|error| failed(record.kind, record.id, "read", error))?;
        if bytes.len() as u64 != record.length {
            return Err(damaged(record, &format!("it has {} bytes instead of {}", bytes.len(), record.length)));
        }
        if Digest::of(&bytes) != record.digest {
            return Err(damaged(record, "its digest is wrong"));
        }
        Ok(bytes)
    }

    /// Begins to read a file from its beginning to its end, a piece at a time.
    pub fn read_through(&self, record: Arc<FileRecord>) -> ReadThrough {
        ReadThrough { files: self.clone(), record, at: None, digest: blake3::Hasher::new() }
    }

    /// Checks that a file is there, as long as it should be. Reads nothing of it.
    pub async fn check_length(&self, record: &FileRecord) -> Result<()> {
        match self.inner.store.head(&path(record.kind, record.id)).await {
            Ok(meta) if meta.size == record.length => Ok(()),
            Ok(meta) => Err(damaged(record, &format!("it has {} bytes instead of {}", meta.size, record.length))),
            Err(error) => Err(failed(record.kind, record.id, "read", error)),
        }
    }

    /// Reads parts of a file; `Corrupt` if any block touched does not have the record's checksum.
    pub async fn read_ranges(&self, record: &FileRecord, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(range) = ranges.iter().find(|range| range.end > record.length || range.start > range.end) {
            let what = format!("it refers to its bytes {range:?}, of {}", record.length);
            return Err(damaged(record, &what));
        }
        let blocks = covering_blocks(ranges, record.length);
        let location = path(record.kind, record.id);
        let begun = self.inner.env.passed();
        let fetched = match self.inner.store.get_ranges(&location, &blocks).await {
            Ok(fetched) => fetched,
            // A storage that was asked for so long would be asked for as long again.
            Err(error) if self.inner.env.passed() - begun >= PATIENCE.as_micros() as i64 / 2 => {
                return Err(failed(record.kind, record.id, "read", error));
            }
            Err(error) => return Err(self.read_failed(record, error).await),
        };
        for (range, bytes) in blocks.iter().zip(&fetched) {
            verify_blocks(record, range, bytes)?;
        }
        Ok(ranges
            .iter()
            .map(|range| {
                if range.is_empty() {
                    return Bytes::new();
                }
                let at = blocks.partition_point(|block| block.start <= range.start) - 1;
                let start = blocks[at].start;
                fetched[at].slice((range.start - start) as usize..(range.end - start) as usize)
            })
            .collect())
    }

    /// Lists what lies where files lie, whoever put it there. A list may be behind: nothing is decided by it.
    pub async fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for kind in [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest] {
            let folder = Path::from(kind.folder());
            let listed = self.inner.store.list(Some(&folder)).map_ok(|meta| meta.location.to_string());
            let listed: Vec<String> = listed.try_collect().await.map_err(|error| {
                Error::unavailable(format!("The files of the store could not be listed: {error}.")).with_source(error)
            })?;
            names.extend(listed);
        }
        Ok(names)
    }

    /// Tells whether the place where the files lie answers at all.
    pub async fn are_reachable(&self) -> bool {
        self.inner.store.list(None).try_next().await.is_ok()
    }

    /// Returns a read-only object store over these files in which every read is verified. Names are those of
    /// [`FileKind::path`]; a read of damaged bytes is an error that names the file. Its readers hold about `room_bytes` of
    /// what they read at a time: who wants more waits for a while, and then gets `Unavailable`.
    pub fn verified_store(&self, room_bytes: u64) -> Arc<dyn ObjectStore> {
        Arc::new(VerifiedStore::new(self.clone(), self.inner.store.clone(), room_bytes))
    }

    fn known(&self, id: FileId) -> Option<Arc<FileRecord>> {
        let pending = self.inner.pending.lock().get(&id).cloned();
        pending.or_else(|| self.inner.records.get(&id))
    }

    fn remember(&self, record: FileRecord) -> Arc<FileRecord> {
        let record = Arc::new(record);
        self.inner.records.insert(record.id, record.clone());
        record
    }

    /// Tells a file that was cut short, which is damage, from a store that cannot be reached.
    async fn read_failed(&self, record: &FileRecord, error: object_store::Error) -> Error {
        match self.inner.store.head(&path(record.kind, record.id)).await {
            Ok(meta) if meta.size != record.length => {
                damaged(record, &format!("it has {} bytes instead of {}", meta.size, record.length))
            }
            _ => failed(record.kind, record.id, "read", error),
        }
    }
}

/// Reads a file once and verifies all of it: its length, every block, and the whole. Memory: a piece.
pub struct ReadThrough {
    files: Files,
    record: Arc<FileRecord>,
    /// `None` before its length was looked at.
    at: Option<u64>,
    digest: blake3::Hasher,
}

/// How much of a file is read at a time that is read from end to end.
const PIECE_BYTES: u64 = 4 << 20;

impl ReadThrough {
    /// Reads the next piece, of about `bytes` or less; returns how long it was. 0 says that the file is whole to its end.
    pub async fn next(&mut self, bytes: u64) -> Result<u64> {
        let record = &self.record;
        let at = match self.at {
            Some(at) => at,
            None => {
                self.files.check_length(record).await?;
                0
            }
        };
        let bytes = bytes.clamp(1, PIECE_BYTES).next_multiple_of(BLOCK_BYTES);
        let end = (at + bytes).min(record.length);
        self.at = Some(end);
        if at == end {
            let is_whole = self.digest.finalize().as_bytes() == &record.digest.0;
            return if is_whole { Ok(0) } else { Err(damaged(record, "its digest is wrong")) };
        }
        for piece in self.files.read_ranges(record, std::slice::from_ref(&(at..end))).await? {
            self.digest.update(&piece);
        }
        Ok(end - at)
    }
}

/// Writes one file as a stream. Memory: at most one upload part and what one call hands over.
#[must_use = "a file exists only once it is finished"]
pub struct FileWriter {
    files: Files,
    id: FileId,
    kind: FileKind,
    upload: Option<Box<dyn MultipartUpload>>,
    buffer: Vec<Bytes>,
    buffered: usize,
    sums: Sums,
    finished: bool,
}

/// The size of the parts of an upload; all but the last are equally long, as some stores ask.
const UPLOAD_BYTES: usize = 8 << 20;

impl FileWriter {
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Returns how many bytes were written so far.
    pub fn length(&self) -> u64 {
        self.sums.length
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.sums.add(&bytes);
        self.buffered += bytes.len();
        self.buffer.push(bytes);
        while self.buffered >= UPLOAD_BYTES {
            let part = self.take_part(UPLOAD_BYTES);
            self.upload_part(part).await?;
        }
        Ok(())
    }

    /// Makes the file durable and pending.
    pub async fn finish(mut self) -> Result<FileRecord> {
        let rest = self.take_part(self.buffered);
        if self.upload.is_some() {
            if rest.content_length() > 0 {
                self.upload_part(rest).await?;
            }
            let upload = self.upload.as_mut().expect("an upload runs");
            upload.complete().await.map_err(|error| failed(self.kind, self.id, "written", error))?;
        } else {
            self.put_whole(rest).await?;
        }
        fail::fail_point!("file::durable", crate::error::failing);
        let record = self.sums.record(self.id, self.kind);
        self.files.inner.pending.lock().insert(self.id, Arc::new(record.clone()));
        self.finished = true;
        Ok(record)
    }

    /// Gives up; nothing is left of the file but its intent.
    pub async fn abort(mut self) -> Result<()> {
        match self.upload.take() {
            Some(mut upload) => upload.abort().await.map_err(|error| failed(self.kind, self.id, "given up", error)),
            None => Ok(()),
        }
    }

    async fn put_whole(&mut self, payload: PutPayload) -> Result<()> {
        let (store, location) = (&self.files.inner.store, path(self.kind, self.id));
        match store.put_opts(&location, payload, PutMode::Create.into()).await {
            Ok(_) => Ok(()),
            // A remote store's retry may meet our own first attempt, which may have been cut short.
            Err(object_store::Error::AlreadyExists { .. }) => {
                let whole = self.files.read(&self.sums.record(self.id, self.kind)).await;
                whole.map(drop).map_err(|error| match error.kind() {
                    Kind::Corrupt => Error::unavailable(format!("Another file stands under the name {location}."))
                        .with_hint("It was kept. Try again: the file gets another name.")
                        .with_source(error),
                    _ => error,
                })
            }
            Err(error) => Err(failed(self.kind, self.id, "written", error)),
        }
    }

    async fn upload_part(&mut self, part: PutPayload) -> Result<()> {
        let failed = |error| failed(self.kind, self.id, "written", error);
        if self.upload.is_none() {
            let store = &self.files.inner.store;
            self.upload = Some(store.put_multipart(&path(self.kind, self.id)).await.map_err(failed)?);
        }
        let upload = self.upload.as_mut().expect("just begun");
        upload.put_part(part).await.map_err(failed)
    }

    /// Takes the first `length` bytes out of the buffer.
    fn take_part(&mut self, length: usize) -> PutPayload {
        let mut part = Vec::new();
        let mut missing = length;
        let mut kept = Vec::new();
        for mut bytes in std::mem::take(&mut self.buffer) {
            let taken = bytes.split_to(missing.min(bytes.len()));
            missing -= taken.len();
            if !taken.is_empty() {
                part.push(taken);
            }
            if !bytes.is_empty() {
                kept.push(bytes);
            }
        }
        self.buffer = kept;
        self.buffered -= length;
        PutPayload::from_iter(part)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let quiet = self.files.inner.env.passed().saturating_add(self.files.inner.late_micros);
        self.files.inner.abandoned.lock().insert((self.id, self.kind), quiet);
        // No name leads to the parts of an upload that stays open, and they take room.
        let (upload, location) = (self.upload.take(), path(self.kind, self.id));
        if let (Some(mut upload), Ok(runtime)) = (upload, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(file = %location, %error, "an upload that was given up may stay open");
                }
            });
        }
    }
}

/// Parses a path that the store minted; `None` for any other.
pub fn parse_path(text: &str) -> Option<(FileKind, FileId)> {
    let name = text.rsplit('/').next()?.split('.').next()?;
    let id: FileId = name.parse().ok()?;
    [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest]
        .into_iter()
        .find(|kind| kind.path(id) == text)
        .map(|kind| (kind, id))
}

/// Tells whether a path is one under which a local store writes a file that the store minted, until it is whole.
pub fn is_staged(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('#').is_some_and(|(path, number)| is_number(number) && parse_path(path).is_some())
}

/// Finds our own error among the causes of another library's, such as a read through [`Files::verified_store`] that
/// failed below DataFusion.
pub fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours);
        }
        next = error.source();
    }
    None
}

/// Returns the error for stored bytes that are not what was written.
pub(super) fn damaged(record: &FileRecord, how: &str) -> Error {
    Error::corrupt(format!("The file {} is damaged: {how}.", record.kind.path(record.id)))
        .with_hint("Nothing was answered from it. Restore the file from a backup.")
}

pub(super) fn failed(kind: FileKind, id: FileId, verb: &str, error: object_store::Error) -> Error {
    let path = kind.path(id);
    match &error {
        object_store::Error::NotFound { .. } => {
            Error::corrupt(format!("The file {path} is missing.")).with_hint("Restore the file from a backup.")
        }
        _ => Error::new(kind_of_storage(&error), format!("The file {path} could not be {verb}: {error}.")),
    }
    .with_source(error)
}

pub(super) fn path(kind: FileKind, id: FileId) -> Path {
    Path::from(kind.path(id))
}

/// Returns the ascending, disjoint ranges of whole blocks that cover `ranges`.
pub(super) fn covering_blocks(ranges: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
    let mut blocks: Vec<Range<u64>> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .map(|range| {
            let end = range.end.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
            range.start / BLOCK_BYTES * BLOCK_BYTES..end.min(length)
        })
        .collect();
    blocks.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(blocks.len());
    for range in blocks {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Verifies bytes that were read from a range of whole blocks.
pub(super) fn verify_blocks(record: &FileRecord, range: &Range<u64>, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 != range.end - range.start {
        return Err(damaged(record, "it is too short"));
    }
    let first = (range.start / BLOCK_BYTES) as usize;
    for (at, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
        if record.block_crcs.get(first + at) != Some(&crc32fast::hash(block)) {
            let from = range.start + at as u64 * BLOCK_BYTES;
            return Err(damaged(record, &format!("the checksum of its bytes from {from} is wrong")));
        }
    }
    Ok(())
}

/// Runs a blocking call of the metastore off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("Work on a thread of its own broke off.").with_source(error)),
    }
}

/// Length, digest and block checksums of a file, while it is written.
#[derive(Default)]
struct Sums {
    length: u64,
    digest: blake3::Hasher,
    block: crc32fast::Hasher,
    crcs: Vec<u32>,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (BLOCK_BYTES - self.length % BLOCK_BYTES) as usize;
            let (piece, after) = rest.split_at(room.min(rest.len()));
            self.block.update(piece);
            self.length += piece.len() as u64;
            if self.length.is_multiple_of(BLOCK_BYTES) {
                self.crcs.push(std::mem::take(&mut self.block).finalize());
            }
            rest = after;
        }
    }

    fn record(&self, id: FileId, kind: FileKind) -> FileRecord {
        let mut block_crcs = self.crcs.clone();
        if !self.length.is_multiple_of(BLOCK_BYTES) {
            block_crcs.push(self.block.clone().finalize());
        }
        let digest = Digest(*self.digest.finalize().as_bytes());
        FileRecord { id, kind, length: self.length, digest, block_crcs }
    }
}

#[derive(Clone)]
struct RecordWeight;

impl Weighter<FileId, Arc<FileRecord>> for RecordWeight {
    fn weight(&self, _: &FileId, record: &Arc<FileRecord>) -> u64 {
        128 + 4 * record.block_crcs.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::cold::testing::{commit, damage, test_files};
    use crate::log::memory::MemoryMetastore;

    #[tokio::test]
    async fn intent_first_then_pending_then_committed() {
        let (files, metastore, store) = test_files();
        let record = files.put(FileKind::Manifest, Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(metastore.intents().unwrap(), [(record.id, FileKind::Manifest)]);
        assert_eq!(record.digest, Digest::of(b"hello"));
        assert_eq!(record.block_crcs, [crc32fast::hash(b"hello")]);
        assert_eq!(*files.record(record.id).await.unwrap(), record, "readable before the commit");
        assert!(files.record_by_digest(FileKind::Manifest, record.digest).await.unwrap().is_some());
        assert!(files.record_by_digest(FileKind::Part, record.digest).await.unwrap().is_none());

        commit(&files, &metastore, std::slice::from_ref(&record));
        let reopened = Files::new(store.clone(), metastore.clone(), Env::real()).unwrap();
        assert_eq!(*reopened.record(record.id).await.unwrap(), record);
        files.discard(&[record.id]).await;
        assert_eq!(reopened.read(&record).await.unwrap(), "hello", "a committed file is never discarded");
    }

    #[tokio::test]
    async fn a_discarded_file_is_gone() {
        let (files, _, store) = test_files();
        let record = files.put(FileKind::Part, Bytes::from_static(b"x")).await.unwrap();
        files.discard(&[record.id]).await;
        assert!(store.head(&path(record.kind, record.id)).await.is_err());
        assert_eq!(files.record(record.id).await.unwrap_err().kind(), Kind::Corrupt);
        files.delete(record.kind, record.id).await.unwrap();
    }

    #[tokio::test]
    async fn large_files_are_streamed_and_ranges_verified() {
        let (files, _, store) = test_files();
        let body: Bytes = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut writer = files.create(FileKind::Part).await.unwrap();
        let mut rest = body.clone();
        while !rest.is_empty() {
            writer.write(rest.split_to(rest.len().min(3_000_001))).await.unwrap();
            assert!(writer.buffered < UPLOAD_BYTES, "memory is bounded");
        }
        let record = writer.finish().await.unwrap();
        assert_eq!((record.length, record.digest), (20_000_000, Digest::of(&body)));
        assert_eq!(record.block_crcs.len(), 306);
        assert_eq!(files.read(&record).await.unwrap(), body);

        let ranges = [0..1, 65_535..65_537, 19_999_990..20_000_000, 5..5, 130_000..900_000, 10..20];
        let read = files.read_ranges(&record, &ranges).await.unwrap();
        for (range, bytes) in ranges.iter().zip(read) {
            assert_eq!(bytes, body.slice(range.start as usize..range.end as usize), "{range:?}");
        }
        assert_eq!(files.read_ranges(&record, &[0..20_000_001]).await.unwrap_err().kind(), Kind::Corrupt);

        damage(&store, &record, 70_000).await;
        files.read_ranges(&record, &[0..65_536, 131_072..131_073]).await.unwrap();
        let error = files.read_ranges(&record, &[0..10, 131_071..131_072]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(&record.kind.path(record.id)), "{error}");
        assert_eq!(files.read(&record).await.unwrap_err().kind(), Kind::Corrupt);
    }

    #[tokio::test]
    async fn a_name_is_never_written_twice() {
        let store = Arc::new(InMemory::new());
        let metastore = Arc::new(MemoryMetastore::new());
        let env = |seed| Env::fixed(crate::ids::Time(0), seed);
        let files = |seed| Files::new(store.clone(), metastore.clone(), env(seed)).unwrap();
        let record = files(7).put(FileKind::Part, Bytes::from_static(b"first")).await.unwrap();
        let error = files(7).put(FileKind::Part, Bytes::from_static(b"second")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(files(0).read(&record).await.unwrap(), "first");
    }

    #[test]
    fn only_minted_paths_parse() {
        let id = Env::fixed(crate::ids::Time(0), 9).file_id();
        for kind in [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest] {
            assert_eq!(parse_path(&kind.path(id)), Some((kind, id)));
        }
        for path in
            ["", "parts/x.parquet", "parts/", &format!("manifests/{id}.parquet"), &format!("a/parts/{id}.parquet")]
        {
            assert_eq!(parse_path(path), None, "{path}");
            assert!(!is_staged(&format!("{path}#1")), "{path}");
        }
        let path = FileKind::Part.path(id);
        assert!(is_staged(&format!("{path}#1")) && is_staged(&format!("{path}#27")));
        for ending in ["", "#", "#x", "#1#2", "#1x"] {
            assert!(!is_staged(&format!("{path}{ending}")), "{ending}");
        }
    }
}
