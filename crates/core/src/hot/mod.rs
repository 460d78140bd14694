//! The hot tier: recent rows in memory, as the log has them.
//!
//! One overlay per table lives and grows with every commit. It is built from the log when the table is first touched,
//! by the same function that publishes a commit, so opening a store costs the same however much is unflushed. Overlays
//! of old contents are built the same way and kept for a while. It never knows more than the log.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::catalog::{Change, Content, Inherited};
use crate::error::Result;
use crate::ids::{TableId, Version};
use crate::log::Metastore;
use crate::log::delta::Delta;
use crate::schema::Table;

pub mod overlay;

use overlay::Overlay;

/// All overlays.
pub struct Hot {
    metastore: Arc<dyn Metastore>,
    live: RwLock<HashMap<TableId, Live>>,
    /// Overlays of contents that have been replaced, most recently used last.
    past: Mutex<Vec<(Ranges, Arc<Slot>)>>,
    past_bytes_max: usize,
}

/// Which deltas an overlay is made of. Contents that differ only in their manifest share one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ranges {
    table: TableId,
    inherited: Vec<Inherited>,
    flushed: Version,
}

impl Ranges {
    fn of(table: TableId, content: &Content) -> Ranges {
        Ranges { table, inherited: content.inherited.clone(), flushed: content.flushed }
    }
}

struct Live {
    ranges: Ranges,
    slot: Arc<Slot>,
}

/// An overlay that may still have to be built. The lock is held while it is.
#[derive(Default)]
struct Slot(Mutex<Option<Arc<Overlay>>>);

/// How many past overlays are kept at most, however small.
const PAST_MAX: usize = 256;

impl Hot {
    pub fn new(metastore: Arc<dyn Metastore>, past_bytes_max: usize) -> Hot {
        Hot { metastore, live: RwLock::default(), past: Mutex::default(), past_bytes_max }
    }

    /// Returns the overlay of what `table` holds through `content`, complete up to `version`.
    pub fn overlay(&self, table: &Table, content: &Content, version: Version) -> Result<Arc<Overlay>> {
        let ranges = Ranges::of(table.id, content);
        if let Some(live) = self.live.read().get(&table.id)
            && live.ranges == ranges
            && let Some(overlay) = &*live.slot.0.lock()
        {
            return Ok(overlay.clone());
        }
        let (slot, is_live) = self.slot(&ranges);
        let mut built = slot.0.lock();
        match &*built {
            Some(overlay) if overlay.upto() >= version => Ok(overlay.clone()),
            Some(overlay) => {
                self.extend(overlay, &ranges, version)?;
                overlay.covers(version);
                Ok(overlay.clone())
            }
            None => {
                // A live overlay takes all that is durable: commits that were published before it stood passed it by.
                let upto = if is_live { Version::MAX } else { version };
                let overlay = Arc::new(self.build(table, content, &ranges, upto)?);
                overlay.covers(version);
                *built = Some(overlay.clone());
                Ok(overlay)
            }
        }
    }

    /// Lays a commit over the live overlays: the last step before it becomes visible.
    pub fn publish(&self, version: Version, changes: &[Change], deltas: &[(TableId, Delta)]) -> Result<()> {
        for change in changes {
            match change {
                Change::PutContent(table, content) => self.switch(*table, content),
                Change::DropTable(table) => {
                    if let Some(old) = self.live.write().remove(table) {
                        self.retire(old);
                    }
                }
                _ => {}
            }
        }
        for (table, delta) in deltas {
            let slot = self.live.read().get(table).map(|live| live.slot.clone());
            if let Some(slot) = slot
                && let Some(overlay) = &*slot.0.lock()
            {
                overlay.apply(version, delta)?;
            }
        }
        Ok(())
    }

    /// Declares the contents of the newest catalog, at open. Nothing is read yet.
    pub fn start(&self, contents: impl Iterator<Item = (TableId, Arc<Content>)>) {
        let mut live = self.live.write();
        for (table, content) in contents {
            live.insert(table, Live { ranges: Ranges::of(table, &content), slot: Arc::default() });
        }
    }

    /// Returns the sizes of the live overlays that are built: rows and bytes.
    pub fn sizes(&self) -> Vec<(TableId, usize, usize)> {
        let slots: Vec<(TableId, Arc<Slot>)> =
            self.live.read().iter().map(|(table, live)| (*table, live.slot.clone())).collect();
        slots
            .into_iter()
            .filter_map(|(table, slot)| {
                let overlay = slot.0.lock().clone()?;
                let (rows, bytes) = overlay.size();
                Some((table, rows, bytes))
            })
            .collect()
    }

    /// Makes `content` the live one of its table.
    fn switch(&self, table: TableId, content: &Content) {
        let ranges = Ranges::of(table, content);
        let mut live = self.live.write();
        let slot = match live.get(&table) {
            Some(old) if old.ranges == ranges => return,
            Some(old) if content.inherited.is_empty() => {
                // A flush, or a content without a log behind it: what came after is all there is.
                let overlay = old.slot.0.lock().as_ref().map(|overlay| {
                    let after = overlay.after(content.flushed);
                    after.next_row_id().fetch_max(content.next_row_id, std::sync::atomic::Ordering::Relaxed);
                    match content.next_auto {
                        // A table that is emptied counts from the start.
                        1 => after.next_auto().store(1, std::sync::atomic::Ordering::Relaxed),
                        next => _ = after.next_auto().fetch_max(next, std::sync::atomic::Ordering::Relaxed),
                    }
                    Arc::new(after)
                });
                Arc::new(Slot(Mutex::new(overlay)))
            }
            _ => Arc::default(),
        };
        if let Some(old) = live.insert(table, Live { ranges, slot }) {
            self.retire(old);
        }
    }

    fn retire(&self, old: Live) {
        if old.slot.0.lock().is_some() {
            self.past.lock().push((old.ranges, old.slot));
            self.trim();
        }
    }

    /// Returns the slot of these ranges, and whether it is the live one.
    fn slot(&self, ranges: &Ranges) -> (Arc<Slot>, bool) {
        if let Some(live) = self.live.read().get(&ranges.table)
            && live.ranges == *ranges
        {
            return (live.slot.clone(), true);
        }
        let mut past = self.past.lock();
        let entry = match past.iter().position(|(known, _)| known == ranges) {
            Some(at) => past.remove(at),
            None => (ranges.clone(), Arc::default()),
        };
        let slot = entry.1.clone();
        past.push(entry);
        drop(past);
        self.trim();
        (slot, false)
    }

    /// Forgets past overlays beyond the budget, the least recently used first. Readers keep theirs.
    fn trim(&self) {
        let mut past = self.past.lock();
        let mut bytes = 0;
        let mut kept = 0;
        for (_, slot) in past.iter().rev() {
            // A slot that is being built is in use.
            bytes += slot.0.try_lock().and_then(|overlay| overlay.as_ref().map(|o| o.size().1)).unwrap_or(0);
            if kept > 0 && (bytes > self.past_bytes_max || kept >= PAST_MAX) {
                break;
            }
            kept += 1;
        }
        let surplus = past.len() - kept;
        past.drain(..surplus);
    }

    fn build(&self, table: &Table, content: &Content, ranges: &Ranges, upto: Version) -> Result<Overlay> {
        let key = table.key_columns().iter().map(|id| id.physical_name()).collect();
        let overlay = Overlay::new(key, Version::default(), content.next_row_id, content.next_auto);
        for range in &ranges.inherited {
            for (at, body) in self.metastore.deltas(range.origin, range.after, range.upto)? {
                overlay.apply(at, &Delta::decode(&body)?)?;
            }
        }
        self.extend(&overlay, ranges, upto)?;
        Ok(overlay)
    }

    fn extend(&self, overlay: &Overlay, ranges: &Ranges, upto: Version) -> Result<()> {
        if ranges.flushed != Version::MAX {
            let after = overlay.upto().max(ranges.flushed);
            for (at, body) in self.metastore.deltas(ranges.table, after, upto)? {
                overlay.apply(at, &Delta::decode(&body)?)?;
            }
        }
        Ok(())
    }
}
