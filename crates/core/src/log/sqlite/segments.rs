//! Segments: the files in which the older entries of the log lie with their deltas, and what the metastore knows of each.
//!
//! ```text
//!   segments/<number>.segment
//!     start      "strl-seg"
//!     blocks     each packed by itself; of entries, and of deltas, as they come
//!     index      per block: its kind, first and last version, place, length, length when unpacked, CRC-32
//!     end        length of the index, its CRC-32, "strl-end"
//!   block of entries     per version: its length, and the row of `log` but for the body
//!   block of deltas      per version that has any: the version, their length, and the deltas one after the other
//! ```
//! A file is written under another name, synced, and renamed; its row in the metastore, minted before, then says that it is
//! whole, with its length and digest. It never changes: trimming writes another one in its place.
//!
//! An answer needs the index and one block, which are checked by their CRC, and the deltas by the digests in their entry.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, TableId, Time, Version};
use crate::log::integrity::{self, Canon, Fields};

use super::read::LogRow;
use super::{beside, private, sync_directory};

/// A block is packed when it holds so many bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks and indexes that were read, in bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// zstd's own default: faster than what brings the commits.
const LEVEL: i32 = 3;

const START: &[u8; 8] = b"strl-seg";
const END: &[u8; 8] = b"strl-end";
/// What stands behind the index.
const END_BYTES: usize = 24;
/// What a line of the index takes.
const LINE_BYTES: usize = 56;

/// What the metastore knows of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub number: u64,
    pub state: State,
    /// Its entries, without a gap.
    pub first: Version,
    pub last: Version,
    /// The times of the first and the last.
    pub since: Time,
    pub until: Time,
    /// Bytes of the file.
    pub length: u64,
    pub digest: Digest,
    /// Bytes of the deltas in it, and of those that were trimmed since.
    pub bodies: u64,
    pub trimmed: u64,
    /// The tables that its entries touched, and which of them first and last.
    pub tables: BTreeMap<TableId, (Version, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// About to be written, or left by a crash.
    Minted = 0,
    Whole = 1,
    /// About to be deleted.
    Gone = 2,
}

impl Segment {
    /// Returns what is known of a segment before it is written.
    pub(super) fn minted(number: u64) -> Segment {
        Segment {
            number,
            state: State::Minted,
            first: Version(0),
            last: Version(0),
            since: Time(0),
            until: Time(0),
            length: 0,
            digest: Digest::default(),
            bodies: 0,
            trimmed: 0,
            tables: BTreeMap::new(),
        }
    }

    /// Returns the row's body.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut canon = Canon::with_capacity(112 + 24 * self.tables.len());
        canon.u64(self.number);
        canon.u64(self.state as u64);
        canon.u64(self.first.0);
        canon.u64(self.last.0);
        canon.i64(self.since.0);
        canon.i64(self.until.0);
        canon.u64(self.length);
        canon.raw(&self.digest.0);
        canon.u64(self.bodies);
        canon.u64(self.trimmed);
        for (table, (first, last)) in &self.tables {
            canon.u64(table.0);
            canon.u64(first.0);
            canon.u64(last.0);
        }
        canon.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Segment> {
        let mut fields = Fields(bytes);
        let mut segment = Segment::minted(fields.u64()?);
        segment.state = match fields.u64()? {
            0 => State::Minted,
            1 => State::Whole,
            2 => State::Gone,
            other => return Err(Error::corrupt(format!("A segment of the log is in the unknown state {other}."))),
        };
        segment.first = Version(fields.u64()?);
        segment.last = Version(fields.u64()?);
        segment.since = Time(fields.u64()?.cast_signed());
        segment.until = Time(fields.u64()?.cast_signed());
        segment.length = fields.u64()?;
        segment.digest = Digest(fields.array()?);
        segment.bodies = fields.u64()?;
        segment.trimmed = fields.u64()?;
        while !fields.is_empty() {
            let table = TableId(fields.u64()?);
            segment.tables.insert(table, (Version(fields.u64()?), Version(fields.u64()?)));
        }
        Ok(segment)
    }

    /// Returns the file's path in the store's folder.
    pub(super) fn path(&self) -> String {
        path_of(self.number)
    }

    /// Says what is wrong with the file.
    pub(super) fn damaged(&self, why: &str) -> Error {
        let (path, first, last) = (self.path(), self.first, self.last);
        Error::corrupt(format!("{path}, which holds versions {first} to {last} of the log, {why}."))
            .with_hint("Copy the store's directory away first, then restore the file from a backup.")
    }
}

fn path_of(number: u64) -> String {
    format!("segments/{number:016x}.segment")
}

/// A line of the index.
#[derive(Clone, Copy, Debug)]
struct Block {
    is_of_deltas: bool,
    first: Version,
    last: Version,
    place: u64,
    length: u64,
    unpacked: u64,
    crc: u64,
}

impl Block {
    fn encode(&self, canon: &mut Canon) {
        let kind = u64::from(self.is_of_deltas);
        for number in [kind, self.first.0, self.last.0, self.place, self.length, self.unpacked, self.crc] {
            canon.u64(number);
        }
    }

    fn decode(fields: &mut Fields) -> Result<Block> {
        Ok(Block {
            is_of_deltas: fields.u64()? == 1,
            first: Version(fields.u64()?),
            last: Version(fields.u64()?),
            place: fields.u64()?,
            length: fields.u64()?,
            unpacked: fields.u64()?,
            crc: fields.u64()?,
        })
    }

    /// Checks and unpacks what was read of it. `Err` says what is wrong.
    fn unpack(&self, packed: &[u8]) -> std::result::Result<Bytes, &'static str> {
        let length = usize::try_from(self.unpacked).map_err(|_| "is damaged")?;
        if u64::from(crc32fast::hash(packed)) != self.crc {
            return Err("is damaged: a block does not match its checksum");
        }
        match zstd::bulk::decompress(packed, length) {
            Ok(bytes) if bytes.len() == length => Ok(bytes.into()),
            _ => Err("is damaged: a block cannot be unpacked"),
        }
    }
}

/// A segment in the making.
pub(super) struct Packer {
    segment: Segment,
    file: Vec<u8>,
    index: Vec<Block>,
    entries: Pending,
    deltas: Pending,
}

/// What waits for its block to be full.
#[derive(Default)]
struct Pending {
    first: Version,
    last: Version,
    bytes: Canon,
}

impl Packer {
    pub(super) fn new() -> Packer {
        Packer {
            segment: Segment::minted(0),
            file: START.to_vec(),
            index: Vec::new(),
            entries: Pending::default(),
            deltas: Pending::default(),
        }
    }

    /// Adds the next entry, and its deltas if it still has any.
    pub(super) fn add(&mut self, row: &LogRow, body: &[u8]) -> Result<()> {
        let (version, time) = (row.head.version, row.head.time);
        let segment = &mut self.segment;
        if segment.first == Version(0) {
            (segment.first, segment.since) = (version, time);
        }
        (segment.last, segment.until) = (version, time);
        for touch in &row.touches {
            segment.tables.entry(touch.table).or_insert((version, version)).1 = version;
        }
        segment.bodies += body.len() as u64;
        self.entries.begin(version).bytes(&row.encode());
        if self.entries.bytes.0.len() >= BLOCK_BYTES {
            self.pack(false)?;
        }
        if !body.is_empty() {
            let bytes = self.deltas.begin(version);
            bytes.u64(version.0);
            bytes.bytes(body);
            if self.deltas.bytes.0.len() >= BLOCK_BYTES {
                self.pack(true)?;
            }
        }
        Ok(())
    }

    fn pack(&mut self, is_of_deltas: bool) -> Result<()> {
        let pending = std::mem::take(if is_of_deltas { &mut self.deltas } else { &mut self.entries });
        let bytes = pending.bytes.0;
        if bytes.is_empty() {
            return Ok(());
        }
        let packed = zstd::bulk::compress(&bytes, LEVEL)?;
        self.index.push(Block {
            is_of_deltas,
            first: pending.first,
            last: pending.last,
            place: self.file.len() as u64,
            length: packed.len() as u64,
            unpacked: bytes.len() as u64,
            crc: u64::from(crc32fast::hash(&packed)),
        });
        self.file.extend(packed);
        Ok(())
    }

    /// Returns the file, and what is known of it but for its number. `None` where there are no deltas to keep.
    pub(super) fn finish(mut self) -> Result<Option<(Segment, Vec<u8>)>> {
        if self.segment.bodies == 0 {
            return Ok(None);
        }
        self.pack(false)?;
        self.pack(true)?;
        let mut canon = Canon::with_capacity(LINE_BYTES * self.index.len() + END_BYTES);
        self.index.iter().for_each(|block| block.encode(&mut canon));
        let (length, crc) = (canon.0.len() as u64, u64::from(canon.crc()));
        canon.u64(length);
        canon.u64(crc);
        canon.raw(END);
        self.file.extend(canon.0);
        let segment = Segment {
            state: State::Whole,
            length: self.file.len() as u64,
            digest: Digest::of(&self.file),
            ..self.segment
        };
        Ok(Some((segment, self.file)))
    }
}

impl Pending {
    fn begin(&mut self, version: Version) -> &mut Canon {
        if self.bytes.0.is_empty() {
            self.first = version;
        }
        self.last = version;
        &mut self.bytes
    }
}

impl LogRow {
    /// Returns the row as it stands in a segment: every column but the body.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (head, touches) = (&self.head, integrity::encode_touches(&self.touches));
        let texts = (self.changes.as_str(), self.pins.as_str(), self.files.as_slice());
        let crc = integrity::log_crc(head, &touches, texts, self.catalog_version, self.catalog_digest);
        let mut canon = Canon::with_capacity(256 + touches.len() + self.changes.len());
        integrity::put_head(&mut canon, head);
        canon.bytes(&touches);
        canon.bytes(self.changes.as_bytes());
        canon.bytes(self.pins.as_bytes());
        canon.bytes(&self.files);
        canon.u64(self.catalog_version.0);
        canon.bytes(self.catalog_digest.as_ref().map_or(&[], |digest| &digest.0));
        canon.raw(&head.hash.0);
        canon.u64(u64::from(crc));
        canon.0
    }
}

/// The folder of segments: which there are, and what was read of them lately.
pub(super) struct Segments {
    folder: PathBuf,
    /// The whole ones, by their first version.
    shown: RwLock<BTreeMap<Version, Arc<Segment>>>,
    /// Counts how often that changed.
    changes: AtomicU64,
    cache: Cache<(u64, u64), Cached, Weight>,
}

/// Something that was read and checked: by the segment's number and its place, the index behind all places.
#[derive(Clone)]
enum Cached {
    /// The lines of deltas.
    Index(Arc<Vec<Block>>),
    Block(Bytes),
}

const INDEX: u64 = u64::MAX;

#[derive(Clone)]
struct Weight;

impl Weighter<(u64, u64), Cached> for Weight {
    fn weight(&self, _: &(u64, u64), read: &Cached) -> u64 {
        match read {
            Cached::Index(blocks) => 64 + (blocks.len() * LINE_BYTES) as u64,
            Cached::Block(bytes) => 64 + bytes.len() as u64,
        }
    }
}

impl Segments {
    /// Takes the folder beside a metastore. It need not be there yet.
    pub(super) fn beside(metastore: &Path) -> Segments {
        let folder = metastore.parent().unwrap_or(metastore).join("segments");
        // Few expected items make few shards: an item as large as a shard would not be kept.
        let cache = Cache::with_weighter(128, CACHE_BYTES, Weight);
        Segments { folder, shown: RwLock::default(), changes: AtomicU64::new(0), cache }
    }

    /// Makes the whole ones of these the ones that are read.
    pub(super) fn show(&self, segments: &BTreeMap<u64, Segment>) {
        let whole = segments.values().filter(|segment| segment.state == State::Whole);
        *self.shown.write() = whole.map(|segment| (segment.first, Arc::new(segment.clone()))).collect();
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts the changes of what is shown: where it changed during a read, a file may have gone under it.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Returns the deltas of an entry that are in a segment, one after the other.
    pub(super) fn body(&self, version: Version) -> Result<Bytes> {
        let segment = self.holding(version).ok_or_else(|| in_none(version))?;
        let index = self.index(&segment)?;
        let missing = || segment.damaged(&format!("lacks the deltas of version {version}"));
        let at = index.partition_point(|block| block.last < version);
        let block = index.get(at).filter(|block| block.first <= version).ok_or_else(missing)?;
        let bytes = self.block(&segment, block)?;
        let found = find(&bytes, version).map_err(|_| segment.damaged("is damaged"))?;
        Ok(bytes.slice(found.ok_or_else(missing)?))
    }

    /// Returns the error for deltas of a version that do not match its entry.
    pub(super) fn mismatch(&self, version: Version, error: Error) -> Error {
        match self.holding(version) {
            Some(segment) if error.kind() == Kind::Corrupt => {
                segment.damaged("is not what was written").with_source(error)
            }
            _ => error,
        }
    }

    fn holding(&self, version: Version) -> Option<Arc<Segment>> {
        let shown = self.shown.read();
        let (_, segment) = shown.range(..=version).next_back()?;
        (version <= segment.last).then(|| segment.clone())
    }

    /// Tells whether a segment is still there, and was not written anew.
    pub(super) fn shows(&self, segment: &Segment) -> bool {
        self.shown.read().get(&segment.first).is_some_and(|shown| shown.number == segment.number)
    }

    /// Returns the lines of deltas.
    fn index(&self, segment: &Segment) -> Result<Arc<Vec<Block>>> {
        let key = (segment.number, INDEX);
        if let Some(Cached::Index(index)) = self.cache.get(&key) {
            return Ok(index);
        }
        let mut file = self.open(segment)?;
        let length = file.metadata()?.len();
        if length != segment.length {
            return Err(segment.damaged(&format!("is {length} bytes long, and should be {}", segment.length)));
        }
        let end = read_at(segment, &mut file, length.saturating_sub(END_BYTES as u64), END_BYTES as u64)?;
        let (bytes, crc) = decode_end(&end).ok_or_else(|| segment.damaged("is damaged: it has no end"))?;
        let start = length.checked_sub(END_BYTES as u64).and_then(|end| end.checked_sub(bytes));
        let start = start.ok_or_else(|| segment.damaged("is damaged: it is shorter than its index"))?;
        let lines = read_at(segment, &mut file, start, bytes)?;
        let mut index = decode_index(&lines, crc).map_err(|why| segment.damaged(why))?;
        index.retain(|block| block.is_of_deltas);
        let index = Arc::new(index);
        self.cache.insert(key, Cached::Index(index.clone()));
        Ok(index)
    }

    fn block(&self, segment: &Segment, block: &Block) -> Result<Bytes> {
        let key = (segment.number, block.place);
        if let Some(Cached::Block(bytes)) = self.cache.get(&key) {
            return Ok(bytes);
        }
        let mut file = self.open(segment)?;
        let packed = read_at(segment, &mut file, block.place, block.length)?;
        let bytes = block.unpack(&packed).map_err(|why| segment.damaged(why))?;
        self.cache.insert(key, Cached::Block(bytes.clone()));
        Ok(bytes)
    }

    fn open(&self, segment: &Segment) -> Result<File> {
        match File::open(self.file(segment.number)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(segment.damaged("is missing")),
            file => Ok(file?),
        }
    }

    /// Checks that a segment is there, as long as it should be. Reads nothing of it.
    pub(super) fn find(&self, segment: &Segment) -> Result<()> {
        match self.open(segment)?.metadata()?.len() {
            length if length == segment.length => Ok(()),
            length => Err(segment.damaged(&format!("is {length} bytes long, and should be {}", segment.length))),
        }
    }

    /// Reads and verifies every byte. Gives each entry as it stands there, and each version's deltas.
    pub(super) fn verify(
        &self,
        segment: &Segment,
        mut entry: impl FnMut(&[u8]) -> Result<()>,
        mut deltas: impl FnMut(Version, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        self.open(segment)?.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != segment.length {
            return Err(segment.damaged(&format!("is {} bytes long, and should be {}", bytes.len(), segment.length)));
        }
        if Digest::of(&bytes) != segment.digest {
            return Err(segment.damaged("does not match its digest"));
        }
        let odd = |_| segment.damaged("is damaged");
        let none = || segment.damaged("is damaged");
        let (rest, end) = bytes.split_at_checked(bytes.len().saturating_sub(END_BYTES)).ok_or_else(none)?;
        let (length, crc) = decode_end(end).ok_or_else(none)?;
        let start = usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length)).ok_or_else(none)?;
        for block in decode_index(&rest[start..], crc).map_err(|why| segment.damaged(why))? {
            let (from, length) = (usize::try_from(block.place), usize::try_from(block.length));
            let (from, length) = (from.map_err(|_| none())?, length.map_err(|_| none())?);
            let packed = from.checked_add(length).and_then(|upto| rest.get(from..upto)).ok_or_else(none)?;
            let unpacked = block.unpack(packed).map_err(|why| segment.damaged(why))?;
            let mut fields = Fields(&unpacked);
            while !fields.is_empty() {
                if block.is_of_deltas {
                    let version = Version(fields.u64().map_err(odd)?);
                    deltas(version, fields.bytes().map_err(odd)?)?;
                } else {
                    entry(fields.bytes().map_err(odd)?)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets what was read: only a test lets files change.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.cache.clear();
    }

    /// Tells whether a number is free: whoever put an older metastore beside newer segments may want them back.
    pub(super) fn is_free(&self, number: u64) -> Result<bool> {
        Ok(!self.file(number).try_exists()?)
    }

    /// Writes a file durably, under its name only when it is whole.
    pub(super) fn write(&self, number: u64, bytes: &[u8]) -> Result<()> {
        match std::fs::create_dir(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => sync_directory(&self.folder)?,
        }
        let path = self.file(number);
        let staged = beside(&path, STAGED);
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&staged, &path)?;
        sync_directory(&path)
    }

    /// Deletes a file durably, as far as it was written. None may read it any more.
    pub(super) fn delete(&self, number: u64) -> Result<()> {
        let path = self.file(number);
        for path in [beside(&path, STAGED), path.clone()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        // A power failure must not bring it back when its row is gone.
        if self.folder.try_exists()? { sync_directory(&path) } else { Ok(()) }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.with_file_name(path_of(number))
    }
}

/// What stands behind the name of a file that is being written.
const STAGED: &str = "#1";

/// Returns the error for deltas that no segment holds.
pub(super) fn in_none(version: Version) -> Error {
    Error::corrupt(format!("The deltas of entry {version} have left the log, and no segment holds them."))
}

fn read_at(segment: &Segment, file: &mut File, place: u64, length: u64) -> Result<Vec<u8>> {
    // What the index says of a place and a length is checked by its CRC; yet nothing is longer than its file.
    let length = usize::try_from(length.min(segment.length)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(place))?;
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(segment.damaged("is too short")),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(bytes),
    }
}

/// Returns the length of the index and its checksum.
fn decode_end(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut fields = Fields(bytes);
    let (length, crc, end) = (fields.u64().ok()?, fields.u64().ok()?, fields.array::<8>().ok()?);
    (end == *END && fields.is_empty()).then_some((length, crc))
}

fn decode_index(bytes: &[u8], crc: u64) -> std::result::Result<Vec<Block>, &'static str> {
    if u64::from(crc32fast::hash(bytes)) != crc {
        return Err("is damaged: its index does not match its checksum");
    }
    let mut fields = Fields(bytes);
    let mut index = Vec::with_capacity(bytes.len() / LINE_BYTES);
    while !fields.is_empty() {
        index.push(Block::decode(&mut fields).map_err(|_| "is damaged: its index cannot be read")?);
    }
    Ok(index)
}

/// Finds the deltas of a version in a block.
fn find(bytes: &[u8], wanted: Version) -> Result<Option<std::ops::Range<usize>>> {
    let mut fields = Fields(bytes);
    while !fields.is_empty() {
        let version = Version(fields.u64()?);
        let body = fields.bytes()?;
        if version == wanted {
            let end = bytes.len() - fields.0.len();
            return Ok(Some(end - body.len()..end));
        }
    }
    Ok(None)
}
