//! Ageing: entries leave SQLite for segments, and segments are written anew as their entries are trimmed. Each step holds the
//! writer for a short time; to pack and to write a file holds it not at all.
//!
//! ```text
//!   to age a run of entries       mint a number ─► write the file ─► record it as whole ─► delete the rows, some at a time
//!   to write a segment anew       mint a number ─► write the file ─► record it, and that the old one goes ─► delete that
//! ```
//! After a crash a file that was not recorded goes when the store is opened, and the rows that were not deleted are deleted
//! by the next ageing: until then they stand twice. A row is deleted only when its segment is durable and recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params};

use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, Version};
use crate::log::integrity;

use super::block::Packer;
use super::rows::{self, AGED, LogRow, Place, Rows};
use super::segments::{Segment, State};
use super::write::{Draft, Space};
use super::{SqliteMetastore, clamp, sql_error, to_sql};

/// What an entry counts for beside its deltas, in bytes: somewhat more than its rows take. So small commits age too, and those
/// without deltas.
pub(super) const ROW_BYTES: u64 = 512;
/// So many bytes of entries go into one segment.
const SEGMENT_BYTES: u64 = 16 << 20;
/// No more entries go into one: that bounds the memory it takes to write it.
const SEGMENT_ENTRIES: u64 = 32 << 10;
/// No more segments are written by one call.
const SEGMENTS_MAX: usize = 8;
/// So many neighbours that have no deltas any more become one. Fewer would be written again and again for the next one.
const JOINED_MIN: usize = 4;
/// So many entries stay in SQLite: the newest, which is read when a store is opened, and the one that its hash follows from.
const KEPT_ENTRIES: u64 = 2;
/// So many bytes of deltas are deleted by one transaction, and no more rows: commits wait for it.
const DELETED_BYTES: u64 = 512 << 10;
const DELETED_ENTRIES: usize = 256;
const DELETED_TOUCHES: usize = 1024;

impl SqliteMetastore {
    /// Ages entries where there are more than `kept` bytes of them in SQLite, until half of that is left.
    pub(super) fn age_beyond(&self, kept: u64) -> Result<()> {
        let _turn = self.ageing.lock();
        self.clear_away()?;
        let aged = self.age_oldest(kept).and_then(|()| self.let_old_go());
        // Damage in one segment keeps none of the others.
        let segments: Vec<Arc<Segment>> = self.known.read().segments.values().cloned().collect();
        let renewed = segments.iter().map(|segment| self.renew(segment)).fold(Ok(()), Result::and);
        aged.and(renewed).and(self.join()).and(self.clear_away())
    }

    fn age_oldest(&self, kept: u64) -> Result<()> {
        self.delete_recorded()?;
        // Those of format 2 are written anew, and their rows go, however little there is.
        let head = self.known.read().head;
        let newest = Version(head.version.0.saturating_sub(KEPT_ENTRIES));
        let old = self.old_segments().iter().map(|segment| segment.last.min(newest)).max();
        let old = old.filter(|last| *last > head.emptied);
        if self.unaged.bytes() <= kept && old.is_none() {
            return Ok(());
        }
        let mut bytes = self.count_unaged(kept.saturating_add(SEGMENTS_MAX as u64 * SEGMENT_BYTES))?;
        let left = if bytes > kept { kept / 2 } else { kept };
        let mut damaged = Ok(());
        for _ in 0..SEGMENTS_MAX {
            let head = self.known.read().head;
            let newest = Version(head.version.0.saturating_sub(KEPT_ENTRIES));
            let over = bytes.saturating_sub(left);
            let (upto, goal) = match old {
                Some(old) if over == 0 => (old, SEGMENT_BYTES),
                _ => (newest, SEGMENT_BYTES.min(over)),
            };
            if goal == 0 || head.emptied >= upto {
                break;
            }
            let run = self.read_log(|rows| pack(rows, (head.emptied, upto), goal))?;
            if let Some((segment, file)) = run.packed {
                self.publish(segment, &file, &[])?;
                self.delete_recorded()?;
            }
            if let Some((last, error)) = run.damage {
                // Their rows keep what they have, and are not tried again.
                self.write(Space::Trims, |draft| draft.skip_to(last))?;
                damaged = damaged.and(Err(error));
            }
            bytes = bytes.saturating_sub(run.bytes);
            self.unaged.took(run.bytes);
        }
        damaged
    }

    /// Counts the bytes of entries in SQLite, but no further than `enough`.
    pub(super) fn count_unaged(&self, enough: u64) -> Result<u64> {
        self.unaged.measure(|| {
            let emptied = self.known.read().head.emptied;
            self.read(|connection| unaged_bytes(connection, emptied, enough))
        })
    }

    /// Writes a segment's file, then records it, and that the old ones go whose entries it holds.
    pub(super) fn publish(&self, mut segment: Segment, file: &[u8], old: &[Arc<Segment>]) -> Result<()> {
        let mut number = self.known.read().head.last_segment + 1;
        while !self.segments.is_free(number)? {
            number += 1;
        }
        self.write(Space::Takes(file.len() as u64), |draft| draft.put_segment(Segment::minted(number)))?;
        self.segments.write(number, file)?;
        segment.number = number;
        self.write(Space::Trims, |draft| {
            draft.put_segment(segment)?;
            old.iter().try_for_each(|old| draft.let_go(old))
        })
    }

    /// Packs these versions, and goes no further.
    #[cfg(test)]
    pub(super) fn pack_for_test(&self, after: Version, upto: Version) -> (Segment, Vec<u8>) {
        self.read_log(|rows| pack(rows, (after, upto), u64::MAX)).unwrap().packed.unwrap()
    }

    /// Deletes the rows that are in segments.
    fn delete_recorded(&self) -> Result<()> {
        while self.delete_some()? {}
        Ok(())
    }

    /// Deletes some of the rows that are in segments. Tells whether there were any.
    fn delete_some(&self) -> Result<bool> {
        let emptied = self.known.read().head.emptied;
        let shown = self.segments.shown();
        let Some(segment) = shown.whole().find(|segment| segment.last > emptied) else { return Ok(false) };
        let range = (segment.first.max(emptied.next()), segment.last);
        self.write(Space::Trims, |draft| draft.delete_rows(range))?;
        Ok(true)
    }

    #[cfg(test)]
    pub(super) fn delete_some_for_test(&self) {
        assert!(self.delete_some().unwrap());
    }

    fn old_segments(&self) -> Vec<Arc<Segment>> {
        self.segments.shown().old().cloned().collect()
    }

    /// Lets go of the segments of format 2 whose entries are in others now.
    fn let_old_go(&self) -> Result<()> {
        const LEFT: &str = "SELECT version FROM log WHERE version BETWEEN ?1 AND ?2 AND length(body) = length(?3)
            AND body = ?3 LIMIT 1";
        for segment in self.old_segments() {
            let range = params![clamp(segment.first), clamp(segment.last), AGED];
            let is_over = segment.last <= self.known.read().head.emptied;
            // What could not be read may be read again when the file is put back.
            if is_over && self.read(|connection| rows::one(connection, LEFT, range, |_| Ok(())))?.is_none() {
                self.write(Space::Trims, |draft| draft.let_go(&segment))?;
            }
        }
        Ok(())
    }

    /// Writes a segment anew of which half is trimmed. Its entries stay, if nothing of their deltas does.
    fn renew(&self, segment: &Arc<Segment>) -> Result<()> {
        let is_due = segment.bodies > 0 && segment.trimmed >= segment.bodies.div_ceil(2);
        if segment.state != State::Whole || !is_due || self.is_damaged(segment) {
            return Ok(());
        }
        self.write_anew(std::slice::from_ref(segment))
    }

    /// Joins neighbours without deltas: what was trimmed leaves few files.
    fn join(&self) -> Result<()> {
        let shown = self.segments.shown();
        let mut joined = Ok(());
        let mut run: Vec<Arc<Segment>> = Vec::new();
        for segment in shown.whole().map(Some).chain([None]) {
            let candidate = segment.filter(|segment| segment.bodies == 0 && !self.is_damaged(segment));
            let fits = |segment: &Arc<Segment>| {
                let sum = |of: fn(&Arc<Segment>) -> u64| run.iter().map(of).sum::<u64>() + of(segment);
                let is_small = sum(|s| s.entries()) <= SEGMENT_ENTRIES && sum(|s| s.length) <= SEGMENT_BYTES;
                is_small && run.last().is_none_or(|last| last.last.next() == segment.first)
            };
            if !candidate.is_some_and(fits) {
                let run = std::mem::take(&mut run);
                if run.len() >= JOINED_MIN {
                    joined = joined.and(self.write_anew(&run));
                }
            }
            run.extend(candidate.cloned());
        }
        joined
    }

    /// Writes neighbours anew, as one.
    fn write_anew(&self, old: &[Arc<Segment>]) -> Result<()> {
        let (Some(first), Some(last)) = (old.first(), old.last()) else { return Ok(()) };
        let range = (Version(first.first.0 - 1), last.last);
        let run = self.read_log(|rows| pack(rows, range, u64::MAX))?;
        if let Some((_, error)) = run.damage {
            // It is tried again when more of it was trimmed: that may be what cannot be read.
            let damaged = old.iter().find(|segment| run.last < segment.last).unwrap_or(last);
            self.damaged.lock().insert(damaged.number, damaged.trimmed);
            return Err(error);
        }
        let (segment, file) = run.packed.ok_or_else(|| Error::internal("BUG: a segment has no entries."))?;
        self.publish(segment, &file, old)
    }

    /// Tells whether a segment could not be read when no more of it was trimmed than is now.
    fn is_damaged(&self, segment: &Segment) -> bool {
        self.damaged.lock().get(&segment.number) == Some(&segment.trimmed)
    }

    /// Deletes the files of segments that go, and those that were not written to their end.
    pub(super) fn clear_away(&self) -> Result<()> {
        let goes = |segment: &&Arc<Segment>| matches!(segment.state, State::Minted | State::Gone);
        let going: Vec<u64> = self.known.read().segments.values().filter(goes).map(|segment| segment.number).collect();
        if going.is_empty() {
            return Ok(());
        }
        going.iter().try_for_each(|number| self.segments.delete(*number))?;
        self.write(Space::GivesBack, |draft| going.iter().try_for_each(|number| draft.drop_segment(*number)))
    }
}

/// A run of entries, and the file that it makes.
struct Run {
    last: Version,
    /// What they counted for in SQLite.
    bytes: u64,
    packed: Option<(Segment, Vec<u8>)>,
    /// Where the run ends for that: up to where the entries behind the last cannot be read, and why.
    damage: Option<(Version, Error)>,
}

/// Packs entries in `(after, upto]`: until there are so many bytes of them, or as many as go into a segment, or until one
/// cannot be read.
fn pack(rows: &Rows, (after, upto): (Version, Version), goal: u64) -> Result<Run> {
    let mut packer = Packer::new();
    let (mut bytes, mut packed) = (0, 0);
    let mut last = after;
    let mut damage = None;
    while last < upto && packed < goal && last.0 - after.0 < SEGMENT_ENTRIES {
        let (row, body) = match whole(rows, last.next()) {
            Ok(whole) => whole,
            Err(error) if error.kind() == Kind::Corrupt => {
                damage = Some((unreadable(rows, last.next(), upto)?, error));
                break;
            }
            Err(error) => return Err(error),
        };
        last = last.next();
        let length = body.as_ref().map_or(0, |body| body.len() as u64);
        packed += ROW_BYTES + length;
        bytes += ROW_BYTES + if matches!(row.place, Place::Here) { length } else { 0 };
        packer.add(&row, body.as_deref())?;
    }
    Ok(Run { last, bytes, packed: packer.finish()?, damage })
}

/// Reads an entry with its deltas; of one that was trimmed there are none.
fn whole(rows: &Rows, version: Version) -> Result<(LogRow, Option<Vec<u8>>)> {
    let row = rows.row(version)?;
    match rows.bodies(&row) {
        Ok(bodies) => Ok((row, Some(bodies.concat()))),
        Err(error) if error.kind() == Kind::OutOfWindow => Ok((row, None)),
        Err(error) => Err(error),
    }
}

/// Returns up to where entries cannot be read, from one that cannot, but goes no further than a segment would.
fn unreadable(rows: &Rows, first: Version, upto: Version) -> Result<Version> {
    let mut last = first;
    while last < upto && last.0 - first.0 < SEGMENT_ENTRIES {
        match whole(rows, last.next()) {
            Ok(_) => break,
            Err(error) if error.kind() == Kind::Corrupt => last = last.next(),
            Err(error) => return Err(error),
        }
    }
    Ok(last)
}

/// Bytes that were counted.
struct Count {
    bytes: u64,
    /// There may be more.
    is_cut_short: bool,
}

/// Returns for how many bytes the entries in SQLite count, without reading them, and counts no further than `enough`.
fn unaged_bytes(connection: &Connection, emptied: Version, enough: u64) -> Result<Count> {
    const LENGTHS: &str = "SELECT length(body) FROM log WHERE version > ?1 ORDER BY version";
    let mut statement = connection.prepare_cached(LENGTHS).map_err(sql_error)?;
    let mut found = statement.query([clamp(emptied)]).map_err(sql_error)?;
    let mut bytes = 0;
    while let Some(row) = found.next().map_err(sql_error)? {
        bytes += ROW_BYTES + rows::number(row, 0)?;
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
        self.news.segments.insert(segment.number, Some(Arc::new(segment)));
        Ok(())
    }

    /// Says that a segment is about to be deleted.
    pub(super) fn let_go(&mut self, segment: &Segment) -> Result<()> {
        self.put_segment(Segment { state: State::Gone, ..segment.clone() })
    }

    fn drop_segment(&mut self, number: u64) -> Result<()> {
        const DELETE: &str = "DELETE FROM segment WHERE number = ?1";
        self.take_out_segment(number);
        self.execute(DELETE, params![to_sql(number)?])?;
        self.news.segments.insert(number, None);
        Ok(())
    }

    fn take_out_segment(&mut self, number: u64) {
        let old = match self.news.segments.get(&number) {
            Some(news) => news.as_ref(),
            None => self.known.segments.get(&number),
        };
        if let Some(old) = old {
            integrity::toggle(&mut self.news.head.segments, Digest::of(&old.encode()));
        }
    }

    /// Deletes the next rows of these versions, which are all in one segment, and their lines in `touch`.
    fn delete_rows(&mut self, (first, last): (Version, Version)) -> Result<()> {
        const NEXT: &str = "SELECT version, touches, length(body) FROM log WHERE version BETWEEN ?1 AND ?2
            ORDER BY version LIMIT ?3";
        const DELETE: &str = "DELETE FROM log WHERE version BETWEEN ?1 AND ?2";
        const DELETE_TOUCH: &str = "DELETE FROM touch WHERE table_id = ?1 AND version = ?2";
        let next = params![clamp(first), clamp(last), DELETED_ENTRIES as i64];
        let found = rows::each(self.connection, NEXT, next, |row| {
            // What is not whole any more was when it was packed.
            let touches = integrity::decode_touches(rows::blob(row, 1)?).unwrap_or_default();
            Ok((Version(rows::number(row, 0)?), touches, rows::number(row, 2)?))
        })?;
        let (mut upto, mut bytes, mut lines) = (last, 0, 0);
        for (at, (version, touches, length)) in found.into_iter().enumerate() {
            for touch in &touches {
                self.execute(DELETE_TOUCH, params![to_sql(touch.table.0)?, to_sql(version.0)?])?;
            }
            bytes += length;
            lines += touches.len();
            if at + 1 == DELETED_ENTRIES || bytes >= DELETED_BYTES || lines >= DELETED_TOUCHES {
                upto = version;
                break;
            }
        }
        self.execute(DELETE, params![clamp(first), clamp(upto)])?;
        self.skip_to(upto)
    }

    /// Says that ageing has come to a version.
    fn skip_to(&mut self, last: Version) -> Result<()> {
        self.news.head.emptied = last;
        Ok(())
    }
}

/// About how many bytes of entries are in SQLite: never less than there are, so that nobody counts in vain.
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
