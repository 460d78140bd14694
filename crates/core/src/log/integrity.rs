//! How damage is noticed: SQLite reports broken pages, but not a flipped bit inside a row, nor a row that a broken page
//! hides. Three things together do.
//!
//! ```text
//!   a row that came back wrong      its CRC-32, or its BLAKE3 digest
//!   a row that did not come back    a chain (each names the one before it) whose end is known, or a tally
//!   an entry that was rewritten     each entry's hash covers the one before
//! ```
//!
//! A [`tally`](toggle) is the XOR of the digests of all rows of a set: it is kept up to date without reading the set, and
//! a set that is one row short does not match it. This guards against failing disks, not against an adversary, who could
//! rewrite both.
//!
//! Everything here is a pure function of bytes and never touches a store.

use std::collections::HashSet;

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Result};
use crate::ids::{Digest, FileId, PinId, TableId, Time, Version};

use super::{Entry, EntryHead, FileKind, FileRecord, Pin};

/// What an entry records of one table that it touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touch {
    pub table: TableId,
    /// The entry before this one that touched the table; 0 for the first.
    pub previous: Version,
    pub puts: u64,
    pub deletes: u64,
    /// Bytes of the delta's body.
    pub length: u64,
    /// The digest of the delta's body.
    pub digest: Digest,
}

/// What an entry records of one file: all but the block checksums themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileLine {
    pub id: FileId,
    pub kind: FileKind,
    pub length: u64,
    pub digest: Digest,
    /// The digest of the block checksums.
    pub blocks: Digest,
}

/// An entry in the form in which it is stored and hashed.
pub(super) struct Sealed {
    /// Their `previous` is for the store to fill in; the hash does not cover it.
    pub touches: Vec<Touch>,
    /// JSON, or empty for none.
    pub changes: String,
    /// JSON, or empty for none.
    pub pins: String,
    pub files: Vec<u8>,
    pub hash: Digest,
}

/// Encodes an entry and chains it to the one before. `pins` are the entry's, with the ids that the store gave them.
pub(super) fn seal(previous: Digest, entry: &Entry, pins: &[Pin]) -> Result<Sealed> {
    let touches: Vec<Touch> = entry
        .deltas
        .iter()
        .map(|delta| Touch {
            table: delta.table,
            previous: Version(0),
            puts: delta.puts,
            deletes: delta.deletes,
            length: delta.body.len() as u64,
            digest: Digest::of(&delta.body),
        })
        .collect();
    let changes = if entry.changes.is_empty() { String::new() } else { serde_json::to_string(&entry.changes)? };
    let pins = if pins.is_empty() { String::new() } else { serde_json::to_string(pins)? };
    let files = encode_files(&entry.files);
    let hash = entry_hash(previous, &entry.head, &touches, &changes, &pins, &files);
    Ok(Sealed { touches, changes, pins, files, hash })
}

/// Returns the hash of an entry: of every field, and of the hash before it.
pub(super) fn entry_hash(
    previous: Digest,
    head: &EntryHead,
    touches: &[Touch],
    changes: &str,
    pins: &str,
    files: &[u8],
) -> Digest {
    let mut canon = Canon::with_capacity(256 + 72 * touches.len() + changes.len() + pins.len() + files.len());
    canon.raw(&previous.0);
    put_head(&mut canon, head);
    canon.u64(touches.len() as u64);
    for touch in touches {
        canon.u64(touch.table.0);
        canon.u64(touch.puts);
        canon.u64(touch.deletes);
        canon.u64(touch.length);
        canon.raw(&touch.digest.0);
    }
    canon.bytes(changes.as_bytes());
    canon.bytes(pins.as_bytes());
    canon.bytes(files);
    canon.digest()
}

/// Returns the CRC of a stored entry: of every field but the bodies, which have their digests.
pub(super) fn log_crc(
    head: &EntryHead,
    touches: &[u8],
    (changes, pins, files): (&str, &str, &[u8]),
    catalog_version: Version,
    catalog_digest: Option<Digest>,
) -> u32 {
    let mut canon = Canon::with_capacity(256 + touches.len() + changes.len() + pins.len() + files.len());
    put_head(&mut canon, head);
    canon.raw(&head.hash.0);
    canon.bytes(touches);
    canon.bytes(changes.as_bytes());
    canon.bytes(pins.as_bytes());
    canon.bytes(files);
    canon.u64(catalog_version.0);
    canon.bytes(catalog_digest.as_ref().map_or(&[], |digest| &digest.0));
    canon.crc()
}

pub(super) fn put_head(canon: &mut Canon, head: &EntryHead) {
    canon.u64(head.version.0);
    canon.i64(head.time.0);
    canon.u64(head.account.0);
    canon.bytes(head.author.as_bytes());
    canon.bytes(head.what.as_bytes());
    canon.u64(u64::from(head.upkeep));
}

/// Refuses to take away the base of a pin that stays.
pub(super) fn validate_drop<'a>(dropped: &[PinId], mut pins: impl Iterator<Item = &'a Pin>) -> Result<()> {
    let dropped: HashSet<PinId> = dropped.iter().copied().collect();
    let goes = |base: PinId| dropped.contains(&base);
    match pins.find(|pin| pin.terms.base.is_some_and(goes) && !goes(pin.id)) {
        Some(pin) => Err(Error::conflict(format!("Snapshot '{}' is based on one that would be dropped.", pin.name))
            .with_hint("Drop what is based on a snapshot first, or add CASCADE.")),
        None => Ok(()),
    }
}

/// Returns the error for a pin whose base is not there any more.
pub(super) fn base_gone() -> Error {
    Error::conflict("The snapshot's base was dropped meanwhile.").with_hint("List snapshots with SHOW SNAPSHOTS.")
}

/// Refuses a group that does not continue the log. Such a group is a defect of the caller.
pub(super) fn validate_group(newest: Option<&EntryHead>, group: &[Entry]) -> Result<()> {
    let mut version = newest.map_or(Version(0), |head| head.version);
    let mut time = newest.map(|head| head.time);
    for entry in group {
        if entry.head.version != version.next() || entry.head.version.0 > i64::MAX as u64 - 1 {
            return Err(Error::internal(format!("BUG: entry {} does not follow {version}.", entry.head.version)));
        }
        if time.is_some_and(|time| entry.head.time <= time) {
            return Err(Error::internal(format!("BUG: the time of entry {} does not increase.", entry.head.version)));
        }
        version = entry.head.version;
        time = Some(entry.head.time);
        if repeats(entry.deltas.iter().map(|delta| delta.table)) {
            return Err(Error::internal(format!("BUG: entry {version} names a table twice.")));
        }
    }
    if repeats(group.iter().flat_map(|entry| entry.files.iter().map(|file| file.id))) {
        return Err(Error::internal("BUG: a file is committed twice."));
    }
    Ok(())
}

fn repeats<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut items: Vec<T> = items.collect();
    let all = items.len();
    items.sort_unstable();
    items.dedup();
    items.len() != all
}

pub(super) fn encode_touches(touches: &[Touch]) -> Vec<u8> {
    let mut canon = Canon::with_capacity(72 * touches.len());
    for touch in touches {
        canon.u64(touch.table.0);
        canon.u64(touch.previous.0);
        canon.u64(touch.puts);
        canon.u64(touch.deletes);
        canon.u64(touch.length);
        canon.raw(&touch.digest.0);
    }
    canon.0
}

pub(super) fn decode_touches(bytes: &[u8]) -> Result<Vec<Touch>> {
    let mut fields = Fields(bytes);
    let mut touches = Vec::with_capacity(bytes.len() / 72);
    while !fields.0.is_empty() {
        touches.push(Touch {
            table: TableId(fields.u64()?),
            previous: Version(fields.u64()?),
            puts: fields.u64()?,
            deletes: fields.u64()?,
            length: fields.u64()?,
            digest: Digest(fields.array()?),
        });
    }
    Ok(touches)
}

fn encode_files(files: &[FileRecord]) -> Vec<u8> {
    let mut canon = Canon::with_capacity(89 * files.len());
    for file in files {
        canon.raw(file.id.0.as_bytes());
        canon.raw(&[file_kind_code(file.kind)]);
        canon.u64(file.length);
        canon.raw(&file.digest.0);
        canon.raw(&Digest::of(&encode_blocks(&file.block_crcs)).0);
    }
    canon.0
}

pub(super) fn decode_files(bytes: &[u8]) -> Result<Vec<FileLine>> {
    let mut fields = Fields(bytes);
    let mut files = Vec::with_capacity(bytes.len() / 89);
    while !fields.0.is_empty() {
        files.push(FileLine {
            id: FileId(uuid::Uuid::from_bytes(fields.array()?)),
            kind: match fields.array::<1>()? {
                [1] => FileKind::Part,
                [2] => FileKind::DeletionVector,
                [3] => FileKind::Manifest,
                _ => return Err(short()),
            },
            length: fields.u64()?,
            digest: Digest(fields.array()?),
            blocks: Digest(fields.array()?),
        });
    }
    Ok(files)
}

fn file_kind_code(kind: FileKind) -> u8 {
    match kind {
        FileKind::Part => 1,
        FileKind::DeletionVector => 2,
        FileKind::Manifest => 3,
    }
}

pub(super) fn file_kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Part => "part",
        FileKind::DeletionVector => "deletion_vector",
        FileKind::Manifest => "manifest",
    }
}

pub(super) fn file_kind_of(word: &str) -> Result<FileKind> {
    [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest]
        .into_iter()
        .find(|kind| file_kind_word(*kind) == word)
        .ok_or_else(|| Error::corrupt(format!("The metastore names an unknown kind of file, '{word}'.")))
}

/// Every kind, in the order of their codes.
pub(super) const OBJECT_KINDS: [ObjectKind; 5] =
    [ObjectKind::Account, ObjectKind::Database, ObjectKind::Table, ObjectKind::Content, ObjectKind::User];

pub(super) fn object_kind_of(word: &str) -> Result<ObjectKind> {
    OBJECT_KINDS
        .into_iter()
        .find(|kind| kind.as_str() == word)
        .ok_or_else(|| Error::corrupt(format!("The metastore names an unknown kind of object, '{word}'.")))
}

pub(super) fn encode_blocks(crcs: &[u32]) -> Vec<u8> {
    crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect()
}

pub(super) fn decode_blocks(bytes: &[u8]) -> Result<Vec<u32>> {
    let (blocks, []) = bytes.as_chunks::<4>() else { return Err(short()) };
    Ok(blocks.iter().map(|block| u32::from_le_bytes(*block)).collect())
}

/// Adds a row to a tally, or takes it out again.
pub(super) fn toggle(tally: &mut Digest, row: Digest) {
    for (sum, byte) in tally.0.iter_mut().zip(row.0) {
        *sum ^= byte;
    }
}

/// Returns the digest of a catalog row, without its end: what the catalog's tally is made of.
pub(super) fn object_digest(
    kind: ObjectKind,
    id: u64,
    begin: Version,
    (parent, name): (u64, &str),
    body: &[u8],
) -> Digest {
    let mut canon = Canon::with_capacity(64 + name.len() + body.len());
    canon.bytes(kind.as_str().as_bytes());
    canon.u64(id);
    canon.u64(begin.0);
    canon.u64(parent);
    canon.bytes(name.as_bytes());
    canon.bytes(body);
    canon.digest()
}

/// Returns the CRC of a catalog row. Made of the digest, so that a row can be ended without reading its body.
pub(super) fn object_crc(end: Version, previous: Version, digest: Digest) -> u32 {
    let mut canon = Canon::with_capacity(64);
    canon.u64(end.0);
    canon.u64(previous.0);
    canon.raw(&digest.0);
    canon.crc()
}

/// Returns what the tally of the newest row of each object is made of.
pub(super) fn object_tail(kind: ObjectKind, id: u64, begin: Version) -> Digest {
    let mut canon = Canon::with_capacity(40);
    canon.bytes(kind.as_str().as_bytes());
    canon.u64(id);
    canon.u64(begin.0);
    canon.digest()
}

/// Returns what the tally of the newest entry of each table is made of.
pub(super) fn touch_tail(table: TableId, version: Version) -> Digest {
    let mut canon = Canon::with_capacity(16);
    canon.u64(table.0);
    canon.u64(version.0);
    canon.digest()
}

/// Returns what the tally of files is made of.
pub(super) fn file_tally(id: FileId, kind: FileKind, length: u64, digest: Digest) -> Digest {
    let mut canon = Canon::with_capacity(57);
    canon.raw(id.0.as_bytes());
    canon.raw(&[file_kind_code(kind)]);
    canon.u64(length);
    canon.raw(&digest.0);
    canon.digest()
}

pub(super) fn file_crc(file: &FileRecord, version: Version, gone: bool, blocks: &[u8]) -> u32 {
    let mut canon = Canon::with_capacity(80 + blocks.len());
    canon.raw(&file_tally(file.id, file.kind, file.length, file.digest).0);
    canon.u64(version.0);
    canon.u64(u64::from(gone));
    canon.bytes(blocks);
    canon.crc()
}

pub(super) fn intent_digest(id: FileId, kind: FileKind) -> Digest {
    let mut canon = Canon::with_capacity(17);
    canon.raw(id.0.as_bytes());
    canon.raw(&[file_kind_code(kind)]);
    canon.digest()
}

pub(super) fn pin_digest(id: u64, body: &str) -> Digest {
    let mut canon = Canon::with_capacity(16 + body.len());
    canon.u64(id);
    canon.bytes(body.as_bytes());
    canon.digest()
}

pub(super) fn setting_digest(name: &str, value: &str) -> Digest {
    let mut canon = Canon::with_capacity(16 + name.len() + value.len());
    canon.bytes(name.as_bytes());
    canon.bytes(value.as_bytes());
    canon.digest()
}

/// Returns the CRC of a small row from its digest.
pub(super) fn crc_of(digest: Digest) -> u32 {
    crc32fast::hash(&digest.0)
}

/// Returns the object's row of the catalog that a put writes: the id above, the folded name and the JSON.
pub(super) fn object_columns(put: &Change) -> Result<(u64, String, String)> {
    let (name, parent) = put.name().unwrap_or(("", 0));
    Ok((parent, crate::schema::fold(name), serde_json::to_string(put)?))
}

/// What the store as a whole amounts to: one row, written with every transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Counts transactions, to notice another writer.
    pub serial: u64,
    /// The newest entry, its time and its hash.
    pub version: Version,
    pub time: Time,
    pub hash: Digest,
    /// The newest entry that changed the catalog.
    pub catalog_version: Version,
    /// The last pin's id.
    pub last_pin: u64,
    /// The greatest id that each of [`OBJECT_KINDS`] ever had.
    pub greatest_ids: [u64; 5],
    /// Tallies: of the objects that stand, of each object's newest row, of each table's newest entry, and so on.
    pub catalog: Digest,
    pub objects: Digest,
    pub touches: Digest,
    pub files: Digest,
    pub pins: Digest,
    pub intents: Digest,
    pub settings: Digest,
    /// The greatest number that a segment ever had.
    pub last_segment: u64,
    /// Up to here entries have left SQLite for segments, but for those that could not be read.
    pub emptied: Version,
    /// The tally of segments.
    pub segments: Digest,
}

impl Head {
    /// Returns the head of an empty store.
    pub(super) fn empty() -> Head {
        Head {
            serial: 0,
            version: Version(0),
            time: Time(i64::MIN),
            hash: Digest::default(),
            catalog_version: Version(0),
            last_pin: 0,
            greatest_ids: [0; 5],
            catalog: Digest::default(),
            objects: Digest::default(),
            touches: Digest::default(),
            files: Digest::default(),
            pins: Digest::default(),
            intents: Digest::default(),
            settings: Digest::default(),
            last_segment: 0,
            emptied: Version(0),
            segments: Digest::default(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut canon = Canon::with_capacity(400);
        canon.u64(self.serial);
        canon.u64(self.version.0);
        canon.i64(self.time.0);
        canon.u64(self.catalog_version.0);
        canon.u64(self.last_pin);
        self.greatest_ids.iter().for_each(|id| canon.u64(*id));
        for digest in [
            &self.hash,
            &self.catalog,
            &self.objects,
            &self.touches,
            &self.files,
            &self.pins,
            &self.intents,
            &self.settings,
        ] {
            canon.raw(&digest.0);
        }
        canon.u64(self.last_segment);
        canon.u64(self.emptied.0);
        canon.raw(&self.segments.0);
        canon.0
    }

    /// Reads what `encode` wrote. Format 1 had no segments, and ends before them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Head> {
        let mut fields = Fields(bytes);
        let mut head = Head {
            serial: fields.u64()?,
            version: Version(fields.u64()?),
            time: Time(fields.u64()?.cast_signed()),
            catalog_version: Version(fields.u64()?),
            last_pin: fields.u64()?,
            ..Head::empty()
        };
        for id in &mut head.greatest_ids {
            *id = fields.u64()?;
        }
        for digest in [
            &mut head.hash,
            &mut head.catalog,
            &mut head.objects,
            &mut head.touches,
            &mut head.files,
            &mut head.pins,
            &mut head.intents,
            &mut head.settings,
        ] {
            *digest = Digest(fields.array()?);
        }
        if !fields.is_empty() {
            head.last_segment = fields.u64()?;
            head.emptied = Version(fields.u64()?);
            head.segments = Digest(fields.array()?);
        }
        fields.end()?;
        Ok(head)
    }
}

/// Bytes in the one form that digests and checksums are made of: little-endian numbers, byte strings after their length.
#[derive(Default)]
pub(super) struct Canon(pub(super) Vec<u8>);

impl Canon {
    pub(super) fn with_capacity(bytes: usize) -> Canon {
        Canon(Vec::with_capacity(bytes))
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.raw(&number.to_le_bytes());
    }

    pub(super) fn i64(&mut self, number: i64) {
        self.raw(&number.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.raw(bytes);
    }

    /// Writes a number of seven bits a byte, the lowest first; all bytes but the last have the highest bit.
    pub(super) fn short(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    pub(super) fn crc(&self) -> u32 {
        crc32fast::hash(&self.0)
    }
}

/// Reads back what [`Canon`] wrote.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a byte string after its length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.u64()?).map_err(|_| short())?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Reads a number that [`Canon::short`] wrote.
    pub(super) fn short(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(short());
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(short())
    }

    /// Reads text after its length.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::corrupt("A record of the metastore is no text."))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes sure that nothing follows.
    pub(super) fn end(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(short()) }
    }
}

fn short() -> Error {
    Error::corrupt("A record of the metastore has the wrong length.")
}
