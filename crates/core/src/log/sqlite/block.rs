//! What stands in a segment's file, and how one is made.
//!
//! ```text
//!   segments/<number>.segment
//!     start      "strl-seg"
//!     blocks     each packed by itself, about 64 KiB before; as they come, each kind in the order of its keys
//!     index      per block: its kind, first and last key, place, length, length when unpacked, CRC-32
//!     end        length of the index, its CRC-32, "strl-end"
//!   block of entries     per version: its length, and the row of `log` but for the body
//!   block of deltas      per version that has any: the version, their length, and the deltas one after the other
//!   block of touches     per table: its id, their length, and the versions that touched it, as runs
//! ```
//! Format 2 had no blocks of touches.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::ids::{Digest, TableId, Version};
use crate::log::integrity::{self, Canon, Fields};

use std::collections::BTreeMap;

use super::rows::LogRow;
use super::segments::{Segment, State};

/// A block is packed when it holds so many bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// zstd's own default: faster than what brings the commits.
const LEVEL: i32 = 3;

const START: &[u8; 8] = b"strl-seg";
const END: &[u8; 8] = b"strl-end";
/// What stands behind the index.
pub(super) const END_BYTES: usize = 24;
/// What a line of the index takes.
const LINE_BYTES: usize = 56;

/// What a block holds. The key of an item is the version, or the table's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Items {
    Entries = 0,
    Deltas = 1,
    Touches = 2,
}

/// A line of the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub items: Items,
    /// The keys of its first and its last item.
    pub first: u64,
    pub last: u64,
    pub place: u64,
    pub length: u64,
    unpacked: u64,
    crc: u64,
}

impl Block {
    fn encode(&self, canon: &mut Canon) {
        let kind = self.items as u64;
        for number in [kind, self.first, self.last, self.place, self.length, self.unpacked, self.crc] {
            canon.u64(number);
        }
    }

    fn decode(fields: &mut Fields) -> Result<Block> {
        Ok(Block {
            items: match fields.u64()? {
                0 => Items::Entries,
                1 => Items::Deltas,
                2 => Items::Touches,
                other => return Err(Error::corrupt(format!("A segment has a block of the unknown kind {other}."))),
            },
            first: fields.u64()?,
            last: fields.u64()?,
            place: fields.u64()?,
            length: fields.u64()?,
            unpacked: fields.u64()?,
            crc: fields.u64()?,
        })
    }

    /// Checks and unpacks what was read of it. `Err` says what is wrong.
    pub(super) fn unpack(&self, packed: &[u8]) -> std::result::Result<Contents, &'static str> {
        let length = usize::try_from(self.unpacked).map_err(|_| "is damaged")?;
        if u64::from(crc32fast::hash(packed)) != self.crc {
            return Err("is damaged: a block does not match its checksum");
        }
        match zstd::bulk::decompress(packed, length) {
            Ok(bytes) if bytes.len() == length => {
                Contents::of(self.items, bytes.into()).map_err(|_| "is damaged: a block cannot be read")
            }
            _ => Err("is damaged: a block cannot be unpacked"),
        }
    }
}

/// The index of a file: its blocks by what they hold, each kind by key.
#[derive(Default)]
pub(super) struct Index(Vec<Block>);

impl Index {
    /// Reads the end of a file, and returns how long the index before it is, and its checksum.
    pub(super) fn decode_end(bytes: &[u8]) -> Option<(u64, u64)> {
        let mut fields = Fields(bytes);
        let (length, crc, end) = (fields.u64().ok()?, fields.u64().ok()?, fields.array::<8>().ok()?);
        (end == *END && fields.is_empty()).then_some((length, crc))
    }

    pub(super) fn decode(bytes: &[u8], crc: u64) -> std::result::Result<Index, &'static str> {
        if u64::from(crc32fast::hash(bytes)) != crc {
            return Err("is damaged: its index does not match its checksum");
        }
        let mut fields = Fields(bytes);
        let mut index = Vec::with_capacity(bytes.len() / LINE_BYTES);
        while !fields.is_empty() {
            index.push(Block::decode(&mut fields).map_err(|_| "is damaged: its index cannot be read")?);
        }
        index.sort_by_key(|block| (block.items, block.first));
        Ok(Index(index))
    }

    /// Returns the block that holds an item, if there is one.
    pub(super) fn block(&self, items: Items, key: u64) -> Option<&Block> {
        let at = self.0.partition_point(|block| (block.items, block.last) < (items, key));
        self.0.get(at).filter(|block| block.items == items && block.first <= key)
    }

    pub(super) fn blocks(&self, items: Items) -> impl Iterator<Item = &Block> {
        self.0.iter().filter(move |block| block.items == items)
    }

    pub(super) fn weight(&self) -> u64 {
        (self.0.len() * size_of::<Block>()) as u64
    }
}

/// A block that was read and checked.
pub(super) struct Contents {
    bytes: Bytes,
    /// Where each item stands, by its key.
    items: Vec<(u64, std::ops::Range<u32>)>,
}

impl Contents {
    /// Takes a block apart.
    pub(super) fn of(kind: Items, bytes: Bytes) -> Result<Contents> {
        let mut fields = Fields(&bytes);
        let mut items: Vec<(u64, std::ops::Range<u32>)> = Vec::new();
        while !fields.is_empty() {
            let outer = if kind == Items::Entries { None } else { Some(fields.u64()?) };
            let item = fields.bytes()?;
            // An entry begins with its version.
            let key = outer.map_or_else(|| Fields(item).u64(), Ok)?;
            let end = bytes.len() - fields.0.len();
            let place = |at: usize| u32::try_from(at).map_err(|_| Error::corrupt("A block is too long."));
            let place = place(end - item.len())?..place(end)?;
            if items.last().is_some_and(|(last, _)| *last >= key) {
                return Err(Error::corrupt("A block is out of order."));
            }
            items.push((key, place));
        }
        Ok(Contents { bytes, items })
    }

    pub(super) fn item(&self, key: u64) -> Option<Bytes> {
        let at = self.items.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(self.at(&self.items[at].1))
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (u64, Bytes)> {
        self.items.iter().map(|(key, place)| (*key, self.at(place)))
    }

    fn at(&self, place: &std::ops::Range<u32>) -> Bytes {
        self.bytes.slice(place.start as usize..place.end as usize)
    }

    pub(super) fn weight(&self) -> u64 {
        (self.bytes.len() + self.items.len() * size_of::<(u64, std::ops::Range<u32>)>()) as u64
    }
}

/// Writes versions, which increase, as runs of neighbours: how far each begins behind the end of the one before, and how
/// many more it has.
pub(super) fn encode_runs(versions: impl Iterator<Item = Version>) -> Vec<u8> {
    let mut canon = Canon::default();
    let mut end = 0;
    let mut run: Option<(u64, u64)> = None;
    let mut put = |(first, last): (u64, u64)| {
        canon.short(first - end);
        canon.short(last - first);
        end = last;
    };
    for version in versions {
        run = match run {
            Some((first, last)) if last + 1 == version.0 => Some((first, version.0)),
            before => {
                before.into_iter().for_each(&mut put);
                Some((version.0, version.0))
            }
        };
    }
    run.into_iter().for_each(put);
    canon.0
}

/// Reads the runs that `encode_runs` wrote: first and last version of each.
pub(super) fn decode_runs(bytes: &[u8]) -> Result<Vec<(Version, Version)>> {
    let odd = || Error::corrupt("A set of versions is out of order.");
    let mut fields = Fields(bytes);
    let (mut runs, mut end) = (Vec::new(), 0_u64);
    while !fields.is_empty() {
        let first = end.checked_add(fields.short()?).filter(|first| *first > end).ok_or_else(odd)?;
        end = first.checked_add(fields.short()?).ok_or_else(odd)?;
        runs.push((Version(first), Version(end)));
    }
    Ok(runs)
}

/// A segment in the making.
pub(super) struct Packer {
    segment: Segment,
    file: Vec<u8>,
    index: Vec<Block>,
    entries: Pending,
    deltas: Pending,
    touches: BTreeMap<TableId, Vec<Version>>,
}

/// What waits for its block to be full.
#[derive(Default)]
struct Pending {
    first: u64,
    last: u64,
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
            touches: BTreeMap::new(),
        }
    }

    /// Adds the next entry with its deltas, `None` if they were trimmed.
    pub(super) fn add(&mut self, row: &LogRow, body: Option<&[u8]>) -> Result<()> {
        let (version, time) = (row.head.version, row.head.time);
        let segment = &mut self.segment;
        if segment.first == Version(0) {
            (segment.first, segment.since) = (version, time);
        }
        (segment.last, segment.until) = (version, time);
        for touch in &row.touches {
            segment.tables.entry(touch.table).or_insert((version, version)).1 = version;
            self.touches.entry(touch.table).or_default().push(version);
        }
        match body {
            Some(body) => segment.bodies += body.len() as u64,
            None => segment.forget(version),
        }
        self.entries.begin(version.0).bytes(&row.encode());
        if self.entries.bytes.0.len() >= BLOCK_BYTES {
            self.pack(Items::Entries)?;
        }
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            let bytes = self.deltas.begin(version.0);
            bytes.u64(version.0);
            bytes.bytes(body);
            if self.deltas.bytes.0.len() >= BLOCK_BYTES {
                self.pack(Items::Deltas)?;
            }
        }
        Ok(())
    }

    fn pack(&mut self, items: Items) -> Result<()> {
        let pending = std::mem::take(if items == Items::Deltas { &mut self.deltas } else { &mut self.entries });
        let bytes = pending.bytes.0;
        if bytes.is_empty() {
            return Ok(());
        }
        let packed = zstd::bulk::compress(&bytes, LEVEL)?;
        self.index.push(Block {
            items,
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

    /// Returns the file, and what is known of it but for its number. `None` where there are no entries.
    pub(super) fn finish(mut self) -> Result<Option<(Segment, Vec<u8>)>> {
        if self.segment.first == Version(0) {
            return Ok(None);
        }
        self.pack(Items::Entries)?;
        self.pack(Items::Deltas)?;
        for (table, versions) in std::mem::take(&mut self.touches) {
            // The entries are packed: what waits now are touches.
            let bytes = self.entries.begin(table.0);
            bytes.u64(table.0);
            bytes.bytes(&encode_runs(versions.into_iter()));
            if self.entries.bytes.0.len() >= BLOCK_BYTES {
                self.pack(Items::Touches)?;
            }
        }
        self.pack(Items::Touches)?;
        let mut canon = Canon::with_capacity(LINE_BYTES * self.index.len() + END_BYTES);
        self.index.iter().for_each(|block| block.encode(&mut canon));
        let (length, crc) = (canon.0.len() as u64, u64::from(canon.crc()));
        canon.u64(length);
        canon.u64(crc);
        canon.raw(END);
        self.file.extend(canon.0);
        self.segment.optimize();
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
    fn begin(&mut self, key: u64) -> &mut Canon {
        if self.bytes.0.is_empty() {
            self.first = key;
        }
        self.last = key;
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
