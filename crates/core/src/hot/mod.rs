//! The hot tier: recent rows in memory, as the log has them.
//!
//! One overlay per table lives and grows with every commit. It is built from the log when the table is first touched,
//! by the same function that publishes a commit, so opening a store costs the same however much is unflushed. Overlays
//! of old contents are built the same way and kept for a while. It never knows more than the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::catalog::{Catalog, Change, Content, Inherited};
use crate::error::Result;
use crate::ids::{ColumnId, TableId, Version};
use crate::log::Metastore;
use crate::log::delta::Delta;
use crate::schema::Table;

pub mod overlay;

use overlay::{Counters, Overlay};

/// All overlays.
pub struct Hot {
    metastore: Arc<dyn Metastore>,
    live: RwLock<HashMap<TableId, Live>>,
    /// The newest commit that live overlays are made up to: those not built yet, when they are built.
    published: AtomicU64,
    /// Overlays of contents that have been replaced, most recently used last.
    past: Mutex<Vec<(Ranges, Arc<Slot>)>>,
    past_bytes_max: usize,
    /// About how many bytes the live overlays take: as they were last measured, and what was published since.
    bytes: AtomicUsize,
}

/// Which deltas an overlay is made of, and by what they name rows. Contents that differ only in their manifest share one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ranges {
    table: TableId,
    key: Vec<ColumnId>,
    inherited: Vec<Inherited>,
    flushed: Version,
}

impl Ranges {
    fn of(table: &Table, content: &Content) -> Ranges {
        Ranges {
            table: table.id,
            key: table.key_columns(),
            inherited: content.inherited.clone(),
            flushed: content.flushed,
        }
    }
}

struct Live {
    ranges: Ranges,
    slot: Arc<Slot>,
}

/// An overlay that may still have to be built.
struct Slot {
    overlay: Mutex<Option<Arc<Overlay>>>,
    /// Held while the overlay is built, and never by a commit.
    building: Mutex<()>,
    /// Also those of the content before: numbers that were handed out under it are not handed out again.
    counters: Arc<Counters>,
}

impl Slot {
    fn of(content: &Content) -> Slot {
        Slot::with(None, Arc::new(Counters::new(content.next_row_id, content.next_auto)))
    }

    fn with(overlay: Option<Overlay>, counters: Arc<Counters>) -> Slot {
        Slot { overlay: Mutex::new(overlay.map(Arc::new)), building: Mutex::new(()), counters }
    }
}

/// How many past overlays are kept at most, however small.
const PAST_MAX: usize = 256;

impl Hot {
    pub fn new(metastore: Arc<dyn Metastore>, past_bytes_max: usize) -> Hot {
        Hot {
            metastore,
            live: RwLock::default(),
            published: AtomicU64::default(),
            past: Mutex::default(),
            past_bytes_max,
            bytes: AtomicUsize::new(0),
        }
    }

    /// Returns the overlay of what `table` holds through `content`, complete up to `version`.
    pub fn overlay(&self, table: &Table, content: &Content, version: Version) -> Result<Arc<Overlay>> {
        let ranges = Ranges::of(table, content);
        let slot = self.slot(&ranges, content);
        if let Some(overlay) = self.built(&slot, &ranges, version)? {
            return Ok(overlay);
        }
        // Much may have to be read: commits go on meanwhile, and pass by what does not stand yet.
        let _only_here = slot.building.lock();
        if let Some(overlay) = self.built(&slot, &ranges, version)? {
            return Ok(overlay);
        }
        slot.counters.reach(content);
        let overlay = Arc::new(self.build(&ranges, slot.counters.clone(), version)?);
        let mut built = slot.overlay.lock();
        // Those that passed it by. Read before asking what is live: where a commit gave the table another content, that content
        // is live by the time the commit counts as published.
        let published = Version(self.published.load(Ordering::SeqCst));
        let upto = if self.is_live(table.id, &slot) { version.max(published) } else { version };
        self.extend(&overlay, &ranges, upto)?;
        overlay.covers(version);
        *built = Some(overlay.clone());
        Ok(overlay)
    }

    /// Returns the overlay of a slot if it stands, complete up to `version`.
    fn built(&self, slot: &Arc<Slot>, ranges: &Ranges, version: Version) -> Result<Option<Arc<Overlay>>> {
        let built = slot.overlay.lock();
        let Some(overlay) = &*built else { return Ok(None) };
        // A commit is laid over the live overlay before anybody reads its version: the log has nothing to add.
        if overlay.upto() < version && !self.is_live(ranges.table, slot) {
            self.extend(overlay, ranges, version)?;
            overlay.covers(version);
        }
        Ok(Some(overlay.clone()))
    }

    /// Lays a commit over the live overlays: the last step before it becomes visible. `catalog` is as the commit left it.
    pub fn publish(
        &self,
        version: Version,
        catalog: &Catalog,
        changes: &[Change],
        deltas: &[(TableId, Delta)],
    ) -> Result<()> {
        for change in changes {
            match change {
                Change::PutContent(table, content) => {
                    if let Some(table) = catalog.table_by_id(*table) {
                        self.switch(table, content);
                    }
                }
                Change::DropTable(table) => {
                    let old = self.live.write().remove(table);
                    self.retire(old);
                }
                _ => {}
            }
        }
        self.published.store(version.0, Ordering::SeqCst);
        for (table, delta) in deltas {
            let slot = self.live.read().get(table).map(|live| live.slot.clone());
            if let Some(slot) = slot
                && let Some(overlay) = &*slot.overlay.lock()
            {
                let before = overlay.size().1;
                overlay.apply(version, delta)?;
                self.bytes.fetch_add(overlay.size().1.saturating_sub(before), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Returns about how many bytes recent rows take. Cheap: it may lag behind [`Hot::sizes`], which sets it right.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Declares the newest version and the contents of its catalog, at open. Nothing is read yet.
    pub fn start(&self, newest: Version, contents: impl Iterator<Item = (Arc<Table>, Arc<Content>)>) {
        self.published.store(newest.0, Ordering::SeqCst);
        let mut live = self.live.write();
        for (table, content) in contents {
            let slot = Arc::new(Slot::of(&content));
            live.insert(table.id, Live { ranges: Ranges::of(&table, &content), slot });
        }
    }

    /// Returns the sizes of the live overlays that are built: rows and bytes.
    pub fn sizes(&self) -> Vec<(TableId, usize, usize)> {
        let slots: Vec<(TableId, Arc<Slot>)> =
            self.live.read().iter().map(|(table, live)| (*table, live.slot.clone())).collect();
        let sizes: Vec<_> = slots
            .into_iter()
            .filter_map(|(table, slot)| {
                // Nobody waits here for what is read from the log.
                let overlay = slot.overlay.try_lock()?.clone()?;
                let (rows, bytes) = overlay.size();
                Some((table, rows, bytes))
            })
            .collect();
        self.bytes.store(sizes.iter().map(|(.., bytes)| bytes).sum(), Ordering::Relaxed);
        sizes
    }

    /// Makes `content` the live one of its table. Only the sequencer does, one commit at a time.
    fn switch(&self, table: &Table, content: &Content) {
        let ranges = Ranges::of(table, content);
        let old = self.live.read().get(&table.id).map(|live| (live.ranges.clone(), live.slot.clone()));
        let slot = match old {
            // A load handed numbers out without writing a row into the log.
            Some((old, slot)) if old == ranges => return slot.counters.reach(content),
            Some((old, slot)) => {
                let overlay = slot.overlay.lock().clone();
                slot.counters.go_on_from(content);
                // A flush, or a content without a log behind it: what came after is all there is.
                let same_key = old.key == ranges.key;
                let after = overlay.filter(|_| same_key && content.inherited.is_empty());
                Slot::with(after.map(|old| old.after(content.flushed)), slot.counters.clone())
            }
            None => Slot::of(content),
        };
        let old = self.live.write().insert(table.id, Live { ranges, slot: Arc::new(slot) });
        self.retire(old);
    }

    /// Remembers what was live. Not while `live` is locked: whoever has locked an overlay asks what is live.
    fn retire(&self, old: Option<Live>) {
        let Some(old) = old else { return };
        if old.slot.overlay.lock().is_some() {
            self.past.lock().push((old.ranges, old.slot));
            self.trim();
        }
    }

    fn is_live(&self, table: TableId, slot: &Arc<Slot>) -> bool {
        self.live.read().get(&table).is_some_and(|live| Arc::ptr_eq(&live.slot, slot))
    }

    /// Returns the slot of these ranges, which are those of `content`.
    fn slot(&self, ranges: &Ranges, content: &Content) -> Arc<Slot> {
        if let Some(live) = self.live.read().get(&ranges.table)
            && live.ranges == *ranges
        {
            return live.slot.clone();
        }
        let mut past = self.past.lock();
        let entry = match past.iter().position(|(known, _)| known == ranges) {
            Some(at) => past.remove(at),
            None => (ranges.clone(), Arc::new(Slot::of(content))),
        };
        let slot = entry.1.clone();
        past.push(entry);
        drop(past);
        self.trim();
        slot
    }

    /// Forgets past overlays beyond the budget, the least recently used first. Readers keep theirs.
    fn trim(&self) {
        let mut past = self.past.lock();
        let mut bytes = 0;
        let mut kept = 0;
        for (_, slot) in past.iter().rev() {
            bytes += slot.overlay.try_lock().and_then(|overlay| overlay.as_ref().map(|o| o.size().1)).unwrap_or(0);
            if kept > 0 && (bytes > self.past_bytes_max || kept >= PAST_MAX) {
                break;
            }
            kept += 1;
        }
        let surplus = past.len() - kept;
        past.drain(..surplus);
    }

    fn build(&self, ranges: &Ranges, counters: Arc<Counters>, upto: Version) -> Result<Overlay> {
        let key = ranges.key.iter().map(|id| id.physical_name()).collect();
        let overlay = Overlay::new(key, Version::default(), counters);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::cold::testing;
    use crate::log::memory::MemoryMetastore;
    use crate::schema::Type;

    /// Whoever reads asks what is live while an overlay is locked, and a commit locks overlays to put them aside.
    #[test]
    fn readers_and_commits_do_not_wait_for_each_other() {
        let table = testing::table(vec![testing::column(1, Type::Int32, false)], &[1]);
        let mut catalog = Catalog::default();
        catalog.apply(&Change::PutTable(Arc::new(table.clone())));
        let contents = [2, 3].map(|flushed| Arc::new(Content { flushed: Version(flushed), ..Content::empty() }));
        let hot = Arc::new(Hot::new(Arc::new(MemoryMetastore::new()), 1 << 20));
        hot.start(Version(3), [(Arc::new(table.clone()), contents[0].clone())].into_iter());
        let (done, ended) = mpsc::channel();
        for is_reader in [true, true, false] {
            let (hot, table, catalog, contents) = (hot.clone(), table.clone(), catalog.clone(), contents.clone());
            let done = done.clone();
            std::thread::spawn(move || {
                for round in 0..20_000 {
                    let content = &contents[round % 2];
                    match is_reader {
                        true => drop(hot.overlay(&table, content, Version(9)).unwrap()),
                        false if round % 5 == 0 => {
                            hot.publish(Version(9), &catalog, &[Change::DropTable(table.id)], &[]).unwrap();
                        }
                        false => {
                            let change = Change::PutContent(table.id, content.clone());
                            hot.publish(Version(9), &catalog, &[change], &[]).unwrap();
                        }
                    }
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..3 {
            ended.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever");
        }
    }
}
