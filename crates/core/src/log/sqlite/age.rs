//! Ageing: deltas leave SQLite for segments, and segments are written anew, or go, as their entries are trimmed. Each step
//! holds the writer for a short time; to pack and to write a file holds it not at all.
//!
//! ```text
//!   to age a run of entries       mint a number ─► write the file ─► record it as whole ─► empty the rows, some at a time
//!   to write a segment anew       mint a number ─► write the file ─► record it, and that the old one goes ─► delete that
//! ```
//! After a crash a file that was not recorded goes when the store is opened, and the rows that were not emptied are emptied
//! by the next ageing: until then they are read from SQLite. A row is emptied only when its segment is durable.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params};

use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, Version};
use crate::log::integrity;

use super::read::{self, AGED, LogRow};
use super::segments::{Packer, Segment, Segments, State};
use super::write::{Draft, Space};
use super::{SqliteMetastore, clamp, sql_error, to_sql};

/// So many bytes of deltas go into one segment.
const SEGMENT_BYTES: u64 = 16 << 20;
/// No more entries go into one: that bounds the memory it takes to write it.
const SEGMENT_ENTRIES: u64 = 32 << 10;
/// No more segments are written by one call.
const SEGMENTS_MAX: usize = 8;
/// So many bytes of deltas are emptied by one transaction, and no more rows: commits wait for it.
const EMPTIED_BYTES: u64 = 512 << 10;
const EMPTIED_ROWS: i64 = 256;

impl SqliteMetastore {
    /// Ages deltas where there are more than `kept` bytes of them in SQLite, until half of that is left.
    pub(super) fn age_beyond(&self, kept: u64) -> Result<()> {
        let _turn = self.ageing.lock();
        self.clear_away()?;
        let aged = self.age_oldest(kept);
        // Damage in one segment keeps none of the others.
        let segments: Vec<Segment> = self.known.read().segments.values().cloned().collect();
        let renewed = segments.iter().map(|segment| self.renew(segment)).fold(Ok(()), Result::and);
        aged.and(renewed).and(self.clear_away())
    }

    fn age_oldest(&self, kept: u64) -> Result<()> {
        self.empty_recorded()?;
        if self.unaged.bytes() <= kept {
            return Ok(());
        }
        let mut bytes = self.count_unaged(kept.saturating_add(SEGMENTS_MAX as u64 * SEGMENT_BYTES))?;
        if bytes <= kept {
            return Ok(());
        }
        let mut damaged = Ok(());
        for _ in 0..SEGMENTS_MAX {
            let head = self.known.read().head;
            // The newest entry is read when the store is opened: no segment may keep that from it.
            let upto = Version(head.version.0.saturating_sub(1));
            if bytes <= kept / 2 || head.emptied >= upto {
                break;
            }
            let goal = SEGMENT_BYTES.min(bytes - kept / 2);
            let range = (head.emptied, upto);
            let run = self.read(|connection| pack(connection, &self.segments, range, goal))?;
            match run.packed {
                Some((segment, file)) => {
                    self.publish(segment, &file, None)?;
                    self.empty_recorded()?;
                }
                // Nothing but entries without deltas.
                None if run.last > head.emptied => self.write(Space::Trims, |draft| draft.skip_to(run.last))?,
                None => {}
            }
            if let Some(error) = run.damage {
                // Its row keeps what it has, and is not tried again.
                self.write(Space::Trims, |draft| draft.skip_to(run.last.next()))?;
                damaged = damaged.and(Err(error));
            }
            bytes = bytes.saturating_sub(run.bytes);
            self.unaged.took(run.bytes);
        }
        damaged
    }

    /// Counts the bytes of deltas in SQLite, but no further than `enough`.
    pub(super) fn count_unaged(&self, enough: u64) -> Result<u64> {
        self.unaged.measure(|| {
            let emptied = self.known.read().head.emptied;
            self.read(|connection| unaged_bytes(connection, emptied, enough))
        })
    }

    /// Writes a segment's file, then records it, and that `old` goes.
    pub(super) fn publish(&self, mut segment: Segment, file: &[u8], old: Option<&Segment>) -> Result<()> {
        let mut number = self.known.read().head.last_segment + 1;
        while !self.segments.is_free(number)? {
            number += 1;
        }
        self.write(Space::Takes(file.len() as u64), |draft| draft.put_segment(Segment::minted(number)))?;
        self.segments.write(number, file)?;
        segment.number = number;
        self.write(Space::Trims, |draft| {
            draft.put_segment(segment)?;
            old.map_or(Ok(()), |old| draft.put_segment(Segment { state: State::Gone, ..old.clone() }))
        })
    }

    /// Packs these versions, and goes no further.
    #[cfg(test)]
    pub(super) fn pack_for_test(&self, after: Version, upto: Version) -> (Segment, Vec<u8>) {
        self.read(|connection| pack(connection, &self.segments, (after, upto), u64::MAX)).unwrap().packed.unwrap()
    }

    /// Empties the rows whose deltas are in segments.
    fn empty_recorded(&self) -> Result<()> {
        loop {
            let upto = {
                let known = self.known.read();
                let whole = known.segments.values().filter(|segment| segment.state == State::Whole);
                whole.map(|segment| segment.last).max().filter(|last| *last > known.head.emptied)
            };
            let Some(upto) = upto else { return Ok(()) };
            self.write(Space::Trims, |draft| draft.empty_bodies(upto))?;
        }
    }

    /// Lets go of a segment of which everything is trimmed, and writes one anew of which half is.
    fn renew(&self, segment: &Segment) -> Result<()> {
        if segment.state != State::Whole || segment.trimmed < segment.bodies.div_ceil(2) {
            return Ok(());
        }
        let gone =
            || self.write(Space::Trims, |draft| draft.put_segment(Segment { state: State::Gone, ..segment.clone() }));
        if segment.trimmed == segment.bodies {
            return gone();
        }
        let mut damaged = self.damaged.lock();
        if damaged.get(&segment.number) == Some(&segment.trimmed) {
            return Ok(());
        }
        let range = (Version(segment.first.0 - 1), segment.last);
        let run = self.read(|connection| pack(connection, &self.segments, range, u64::MAX))?;
        if let Some(error) = run.damage {
            // It is tried again when more of it was trimmed: that may be what cannot be read.
            damaged.insert(segment.number, segment.trimmed);
            return Err(error);
        }
        match run.packed {
            Some((renewed, file)) => self.publish(renewed, &file, Some(segment)),
            None => gone(),
        }
    }

    /// Deletes the files of segments that go, and those that were not written to their end.
    pub(super) fn clear_away(&self) -> Result<()> {
        let whole = |segment: &&Segment| segment.state == State::Whole;
        let known: Vec<Segment> = self.known.read().segments.values().filter(|s| !whole(s)).cloned().collect();
        if known.is_empty() {
            return Ok(());
        }
        known.iter().try_for_each(|segment| self.segments.delete(segment.number))?;
        self.write(Space::GivesBack, |draft| known.iter().try_for_each(|segment| draft.drop_segment(segment.number)))
    }
}

/// A run of entries, and the file that it makes.
struct Run {
    last: Version,
    /// Of deltas.
    bytes: u64,
    packed: Option<(Segment, Vec<u8>)>,
    /// Why the entry behind the last cannot be read, if the run ends for that.
    damage: Option<Error>,
}

/// Packs entries in `(after, upto]`: until there are so many bytes of deltas, or as many entries as go into a segment, or
/// until one cannot be read.
fn pack(connection: &Connection, segments: &Segments, (after, upto): (Version, Version), goal: u64) -> Result<Run> {
    let mut packer = Packer::new();
    let mut bytes = 0;
    let mut last = after;
    let mut damage = None;
    while last < upto && bytes < goal && last.0 - after.0 < SEGMENT_ENTRIES {
        let (row, body) = match whole(connection, segments, last.next()) {
            Ok(whole) => whole,
            Err(error) if error.kind() == Kind::Corrupt => {
                damage = Some(error);
                break;
            }
            Err(error) => return Err(error),
        };
        last = last.next();
        bytes += body.len() as u64;
        packer.add(&row, &body)?;
    }
    Ok(Run { last, bytes, packed: packer.finish()?, damage })
}

/// Reads an entry with its deltas; of one that was trimmed there are none.
fn whole(connection: &Connection, segments: &Segments, version: Version) -> Result<(LogRow, Vec<u8>)> {
    let row = read::log_row(connection, version)?;
    match read::bodies(connection, segments, &row) {
        Ok(bodies) => Ok((row, bodies.concat())),
        Err(error) if error.kind() == Kind::OutOfWindow => Ok((row, Vec::new())),
        Err(error) => Err(error),
    }
}

/// Bytes that were counted.
struct Count {
    bytes: u64,
    /// There may be more.
    is_cut_short: bool,
}

/// Returns how many bytes of deltas are in SQLite, without reading them, and counts no further than `enough`.
fn unaged_bytes(connection: &Connection, emptied: Version, enough: u64) -> Result<Count> {
    const LENGTHS: &str = "SELECT length(body) FROM log WHERE version > ?1 ORDER BY version";
    let mut statement = connection.prepare_cached(LENGTHS).map_err(sql_error)?;
    let mut rows = statement.query([clamp(emptied)]).map_err(sql_error)?;
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(sql_error)? {
        bytes += read::number(row, 0)?;
        if bytes > enough {
            return Ok(Count { bytes, is_cut_short: true });
        }
    }
    Ok(Count { bytes, is_cut_short: false })
}

impl Draft<'_> {
    /// Records what there is to know of a segment.
    pub(super) fn put_segment(&mut self, segment: Segment) -> Result<()> {
        const PUT: &str = "INSERT OR REPLACE INTO segment (number, body, crc) VALUES (?1, ?2, ?3)";
        self.take_out_segment(segment.number);
        let body = segment.encode();
        let digest = Digest::of(&body);
        self.execute(PUT, params![to_sql(segment.number)?, body, integrity::crc_of(digest)])?;
        let head = &mut self.news.head;
        integrity::toggle(&mut head.segments, digest);
        head.last_segment = head.last_segment.max(segment.number);
        self.news.segments.insert(segment.number, Some(segment));
        Ok(())
    }

    fn drop_segment(&mut self, number: u64) -> Result<()> {
        const DELETE: &str = "DELETE FROM segment WHERE number = ?1";
        self.take_out_segment(number);
        self.execute(DELETE, params![to_sql(number)?])?;
        self.news.segments.insert(number, None);
        Ok(())
    }

    fn segment(&self, number: u64) -> Option<&Segment> {
        match self.news.segments.get(&number) {
            Some(news) => news.as_ref(),
            None => self.known.segments.get(&number),
        }
    }

    fn take_out_segment(&mut self, number: u64) {
        let old = self.segment(number).map(|segment| Digest::of(&segment.encode()));
        if let Some(old) = old {
            integrity::toggle(&mut self.news.head.segments, old);
        }
    }

    /// Returns the number of the segment that an entry's deltas are in, if they are in one.
    pub(super) fn segment_of(&self, version: Version) -> Option<u64> {
        let holds =
            |segment: &&Segment| segment.state == State::Whole && segment.first <= version && version <= segment.last;
        self.known.segments.values().find(holds).map(|segment| segment.number)
    }

    /// Counts what was trimmed of a segment.
    pub(super) fn trim_segment(&mut self, number: u64, bytes: u64) -> Result<()> {
        let Some(mut segment) = self.segment(number).cloned() else { return Ok(()) };
        segment.trimmed += bytes;
        self.put_segment(segment)
    }

    /// Empties the next rows up to `upto`, which are all in segments.
    fn empty_bodies(&mut self, upto: Version) -> Result<()> {
        const NEXT: &str = "SELECT version, length(body) FROM log WHERE version > ?1 AND version <= ?2
            ORDER BY version LIMIT ?3";
        let emptied = self.news.head.emptied;
        let next = params![clamp(emptied), clamp(upto), EMPTIED_ROWS];
        let rows = read::each(self.connection, NEXT, next, |row| Ok((read::number(row, 0)?, read::number(row, 1)?)))?;
        let (mut last, mut bytes) = (emptied, 0);
        for (version, length) in rows {
            last = Version(version);
            bytes += length;
            if bytes >= EMPTIED_BYTES {
                break;
            }
        }
        // A row that is missing is damage, found by whoever reads it: it must not be waited for.
        let last = if last == emptied { upto } else { last };
        self.replace_bodies(emptied.next(), last, AGED)?;
        self.skip_to(last)
    }

    /// Says that no deltas up to a version are left in SQLite.
    fn skip_to(&mut self, last: Version) -> Result<()> {
        self.news.head.emptied = last;
        Ok(())
    }
}

/// About how many bytes of deltas are in SQLite: never less than there are, so that nobody counts in vain.
pub(super) struct Unaged(AtomicU64);

/// More than any store has.
const UNKNOWN: u64 = u64::MAX / 2;

impl Unaged {
    /// Nobody has counted yet.
    pub(super) fn unknown() -> Unaged {
        Unaged(AtomicU64::new(UNKNOWN))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn added(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn took(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Counts anew. What is added meanwhile may be counted twice. Where the count was cut short, nobody knows still.
    fn measure(&self, count: impl FnOnce() -> Result<Count>) -> Result<u64> {
        let before = self.bytes();
        let counted = count()?;
        let known = if counted.is_cut_short { UNKNOWN } else { counted.bytes };
        self.0.fetch_add(known, Ordering::SeqCst);
        self.took(before);
        Ok(counted.bytes)
    }
}
