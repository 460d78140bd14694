//! Segments: the files in which the older entries of the log lie with their deltas (see `block`), and what the metastore knows
//! of each.
//!
//! A file is written under another name, synced, and renamed; its row in the metastore, minted before, then says that it is
//! whole, with its length and digest. It never changes: trimming writes another one in its place.
//!
//! An answer needs the index and one block, which are checked by their CRC, and each entry by its own.

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
use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::ids::{Digest, TableId, Time, Version};
use crate::log::integrity::{Canon, Fields};

use super::block::{Block, Contents, END_BYTES, Index, Items, decode_runs, encode_runs};
use super::{beside, private, sync_directory};

/// Blocks and indexes that were read, in bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// What the metastore knows of a segment.
#[derive(Clone, Debug, PartialEq)]
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
    /// The entries whose deltas were trimmed, before it was written or since: how far each is from the first.
    pub forgotten: RoaringBitmap,
    /// The tables that its entries touched, and which of them first and last.
    pub tables: BTreeMap<TableId, (Version, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// About to be written, or left by a crash.
    Minted = 0,
    /// As format 2 wrote it: its entries stand in SQLite, and only their deltas are read from here.
    Old = 1,
    /// About to be deleted.
    Gone = 2,
    Whole = 3,
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
            forgotten: RoaringBitmap::new(),
            tables: BTreeMap::new(),
        }
    }

    /// Returns the row's body.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut canon = Canon::with_capacity(160 + 24 * self.tables.len());
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
        if self.state == State::Whole {
            let first = self.first.0;
            canon.bytes(&encode_runs(self.forgotten.iter().map(|offset| Version(first + u64::from(offset)))));
        }
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
            1 => State::Old,
            2 => State::Gone,
            3 => State::Whole,
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
        if segment.state == State::Whole {
            for (first, last) in decode_runs(fields.bytes()?)? {
                // A segment has half as many entries as that, at most.
                let offset = |version: Version| u16::try_from(version.0.checked_sub(segment.first.0)?).ok();
                let run = offset(first).zip(offset(last)).filter(|_| last <= segment.last);
                let (first, last) =
                    run.ok_or_else(|| Error::corrupt("A segment has trimmed what it does not hold."))?;
                segment.forgotten.insert_range(u32::from(first)..=u32::from(last));
            }
            segment.forgotten.optimize();
        }
        while !fields.is_empty() {
            let table = TableId(fields.u64()?);
            segment.tables.insert(table, (Version(fields.u64()?), Version(fields.u64()?)));
        }
        Ok(segment)
    }

    /// Tells whether an entry in it came with deltas that were trimmed.
    pub(super) fn has_trimmed(&self, version: Version) -> bool {
        u32::try_from(version.0 - self.first.0).is_ok_and(|offset| self.forgotten.contains(offset))
    }

    /// Marks an entry in it as one whose deltas were trimmed.
    pub(super) fn forget(&mut self, version: Version) {
        let offset = u32::try_from(version.0 - self.first.0).expect("a segment has few entries");
        self.forgotten.insert(offset);
    }

    /// Makes the marks small, for they stay in memory.
    pub(super) fn optimize(&mut self) {
        self.forgotten.optimize();
    }

    /// Returns how many entries it has.
    pub(super) fn entries(&self) -> u64 {
        self.last.0 + 1 - self.first.0
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

/// The segments that are read, by their first version. They hold no version twice.
#[derive(Default)]
pub(super) struct Shown {
    whole: BTreeMap<Version, Arc<Segment>>,
    /// Those of format 2, which lie over the others until these hold all of them.
    old: BTreeMap<Version, Arc<Segment>>,
}

impl Shown {
    /// Returns the segment that holds an entry.
    pub(super) fn whole_of(&self, version: Version) -> Option<&Arc<Segment>> {
        holding(&self.whole, version)
    }

    /// Returns the segment that holds the deltas of an entry.
    pub(super) fn holding(&self, version: Version) -> Option<&Arc<Segment>> {
        self.whole_of(version).or_else(|| holding(&self.old, version))
    }

    pub(super) fn whole(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.whole.values()
    }

    pub(super) fn old(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.old.values()
    }

    /// Returns the segments with entries after `after` that touched a table, in order.
    pub(super) fn touching(&self, table: TableId, after: Version) -> impl Iterator<Item = &Arc<Segment>> {
        let from = self.whole_of(after).map_or(after, |segment| segment.first);
        let later = self.whole.range(from..).map(|(_, segment)| segment);
        later.filter(move |segment| segment.tables.get(&table).is_some_and(|(_, last)| *last > after))
    }

    /// Returns between which versions, both included, the newest entry at or before a time is, if there is one.
    pub(super) fn around(&self, time: Time, newest: Version) -> (Version, Version) {
        // Times increase as versions do; no file is read for them.
        let segments: Vec<&Arc<Segment>> = self.whole.values().collect();
        let later = segments.partition_point(|segment| segment.since <= time);
        let high = segments.get(later).map_or(newest, |segment| Version(segment.first.0 - 1));
        let low = later.checked_sub(1).map_or(Version(1), |at| match segments[at].until <= time {
            true => segments[at].last,
            false => segments[at].first,
        });
        let inside = later.checked_sub(1).filter(|at| time < segments[*at].until);
        (low, inside.map_or(high, |at| segments[at].last).min(newest))
    }
}

fn holding(segments: &BTreeMap<Version, Arc<Segment>>, version: Version) -> Option<&Arc<Segment>> {
    let (_, segment) = segments.range(..=version).next_back()?;
    (version <= segment.last).then_some(segment)
}

/// The folder of segments: which there are, and what was read of them lately.
pub(super) struct Segments {
    folder: PathBuf,
    shown: RwLock<Arc<Shown>>,
    /// Up to here SQLite has no row of an entry that a segment holds.
    emptied: AtomicU64,
    /// Counts how often what is shown changed.
    changes: AtomicU64,
    cache: Cache<(u64, u64), Cached, Weight>,
}

/// Something that was read and checked: by the segment's number and its place, the index behind all places.
#[derive(Clone)]
enum Cached {
    Index(Arc<Index>),
    Block(Arc<Contents>),
}

const INDEX: u64 = u64::MAX;

#[derive(Clone)]
struct Weight;

impl Weighter<(u64, u64), Cached> for Weight {
    fn weight(&self, _: &(u64, u64), read: &Cached) -> u64 {
        64 + match read {
            Cached::Index(index) => index.weight(),
            Cached::Block(contents) => contents.weight(),
        }
    }
}

impl Segments {
    /// Takes the folder beside a metastore. It need not be there yet.
    pub(super) fn beside(metastore: &Path) -> Segments {
        let folder = metastore.parent().unwrap_or(metastore).join("segments");
        // Few expected items make few shards: an item as large as a shard would not be kept.
        let cache = Cache::with_weighter(128, CACHE_BYTES, Weight);
        let (emptied, changes) = (AtomicU64::new(0), AtomicU64::new(0));
        Segments { folder, shown: RwLock::default(), emptied, changes, cache }
    }

    /// Makes these the ones that are read.
    pub(super) fn show(&self, segments: &BTreeMap<u64, Arc<Segment>>) {
        let of = |state: State| {
            let segments = segments.values().filter(move |segment| segment.state == state);
            segments.map(|segment| (segment.first, segment.clone())).collect()
        };
        *self.shown.write() = Arc::new(Shown { whole: of(State::Whole), old: of(State::Old) });
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Says up to where SQLite has no row of an entry that a segment holds.
    pub(super) fn empty(&self, upto: Version) {
        self.emptied.store(upto.0, Ordering::SeqCst);
    }

    pub(super) fn emptied(&self) -> Version {
        Version(self.emptied.load(Ordering::SeqCst))
    }

    pub(super) fn shown(&self) -> Arc<Shown> {
        self.shown.read().clone()
    }

    /// Counts the changes of what is shown: where it changed during a read, a file may have gone under it.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Tells whether a segment is still there, and was not written anew.
    pub(super) fn shows(&self, segment: &Segment) -> bool {
        let shown = self.shown();
        let mut same = shown.whole.get(&segment.first).into_iter().chain(shown.old.get(&segment.first));
        same.any(|shown| shown.number == segment.number)
    }

    /// Returns the block that holds an item, if there is one.
    pub(super) fn contents(&self, segment: &Segment, items: Items, key: u64) -> Result<Option<(Block, Arc<Contents>)>> {
        let index = self.index(segment)?;
        let Some(block) = index.block(items, key) else { return Ok(None) };
        let at = (segment.number, block.place);
        if let Some(Cached::Block(contents)) = self.cache.get(&at) {
            return Ok(Some((*block, contents)));
        }
        let contents = Arc::new(read_block(segment, &mut self.open(segment)?, block)?);
        self.cache.insert(at, Cached::Block(contents.clone()));
        Ok(Some((*block, contents)))
    }

    fn index(&self, segment: &Segment) -> Result<Arc<Index>> {
        let at = (segment.number, INDEX);
        if let Some(Cached::Index(index)) = self.cache.get(&at) {
            return Ok(index);
        }
        let index = Arc::new(read_index(segment, &mut self.open(segment)?)?);
        self.cache.insert(at, Cached::Index(index.clone()));
        Ok(index)
    }

    fn open(&self, segment: &Segment) -> Result<File> {
        match File::open(self.file(segment.number)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(segment.damaged("is missing")),
            file => Ok(file?),
        }
    }

    /// Opens a segment that is read from one end to the other, past what is in memory.
    pub(super) fn open_whole(&self, segment: &Arc<Segment>) -> Result<Opened> {
        let file = self.open(segment)?;
        Ok(Opened { segment: segment.clone(), file, index: Index::default(), held: Default::default() })
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

/// A segment that is read from one end to the other. It stays readable when it is deleted meanwhile.
pub(super) struct Opened {
    pub segment: Arc<Segment>,
    file: File,
    index: Index,
    /// The blocks that were read last, one of each kind; `Err` says what is wrong.
    held: [Option<(Block, Result<Contents>)>; 3],
}

impl Opened {
    /// Verifies every byte.
    pub(super) fn verify(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        let segment = &self.segment;
        match bytes.len() as u64 {
            length if length != segment.length => Err(wrong_length(segment, length)),
            _ if Digest::of(&bytes) != segment.digest => Err(segment.damaged("does not match its digest")),
            _ => Ok(()),
        }
    }

    /// Reads the index: before anything is asked for.
    pub(super) fn read_index(&mut self) -> Result<()> {
        self.index = read_index(&self.segment, &mut self.file)?;
        Ok(())
    }

    pub(super) fn item(&mut self, items: Items, key: u64) -> Result<Option<Bytes>> {
        let Some(block) = self.index.block(items, key).copied() else { return Ok(None) };
        let held = &mut self.held[items as usize];
        if held.as_ref().is_none_or(|(held, _)| held.place != block.place) {
            *held = Some((block, read_block(&self.segment, &mut self.file, &block)));
        }
        match held {
            Some((_, Ok(contents))) => Ok(contents.item(key)),
            _ => Err(self.segment.damaged("has a block that cannot be read")),
        }
    }

    /// Reads all items of a kind, in order.
    pub(super) fn items(&mut self, items: Items) -> Result<Vec<(u64, Bytes)>> {
        let mut found = Vec::new();
        for block in self.index.blocks(items) {
            found.extend(read_block(&self.segment, &mut self.file, block)?.items());
        }
        Ok(found)
    }
}

fn read_index(segment: &Segment, file: &mut File) -> Result<Index> {
    let length = file.metadata()?.len();
    if length != segment.length {
        return Err(wrong_length(segment, length));
    }
    let end = read_at(segment, file, length.saturating_sub(END_BYTES as u64), END_BYTES as u64)?;
    let (bytes, crc) = Index::decode_end(&end).ok_or_else(|| segment.damaged("is damaged: it has no end"))?;
    let start = length.checked_sub(END_BYTES as u64).and_then(|end| end.checked_sub(bytes));
    let start = start.ok_or_else(|| segment.damaged("is damaged: it is shorter than its index"))?;
    Index::decode(&read_at(segment, file, start, bytes)?, crc).map_err(|why| segment.damaged(why))
}

fn read_block(segment: &Segment, file: &mut File, block: &Block) -> Result<Contents> {
    let packed = read_at(segment, file, block.place, block.length)?;
    block.unpack(&packed).map_err(|why| segment.damaged(why))
}

fn wrong_length(segment: &Segment, length: u64) -> Error {
    segment.damaged(&format!("is {length} bytes long, and should be {}", segment.length))
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
