//! What every open database is made of, below moments and transactions.

mod clock;
mod thinning;
pub(crate) mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::catalog::{Catalog, Content};
use crate::cold::Cold;
use crate::env::Env;
use crate::error::Result;
use crate::hot::Hot;
use crate::ids::{TableId, Time, Version};
use crate::log::{EntryHead, EntryQuery, Metastore};

pub use clock::{Clock, Doubt};
pub use thinning::Thinned;
use turns::Turns;

/// The parts of an open database that moments and transactions share.
pub struct Store {
    pub env: Env,
    /// How far the time of day is to be believed: nothing goes by any other.
    pub clock: Clock,
    pub metastore: Arc<dyn Metastore>,
    pub hot: Hot,
    pub cold: Cold,
    /// The newest visible commit.
    pub head: ArcSwap<Head>,
    /// What open moments read: it is not collected.
    pub opens: Arc<Opens>,
    /// Shared by whoever turns an address into a version and holds that, until both are done. The collector has it alone
    /// while it asks what is held and by what an address could still be honoured: it finds each address before or after.
    pub addressing: RwLock<()>,
    /// Who lays out a table anew.
    pub(crate) turns: Turns,
    /// Who merges parts of a table.
    pub(crate) merges: Turns,
    /// Manifests that past versions are not read through any more.
    pub thinned: Thinned,
    /// What open transactions read: the memory of who wrote what reaches back to there.
    pub transactions: Arc<Opens>,
    pub stamps: Stamps,
    /// How many rows of a large load make a run.
    pub load_rows: usize,
    /// Or how many bytes of them.
    pub load_bytes: usize,
    /// Writers wait a while where recent rows take more bytes than this.
    pub room_bytes: usize,
    /// The last flush in the background failed: nobody need wait for the next.
    pub flush_fails: AtomicBool,
}

/// The newest version and what exists there.
#[derive(Clone)]
pub struct Head {
    pub version: Version,
    pub time: Time,
    pub catalog: Arc<Catalog>,
}

/// Versions that somebody reads.
#[derive(Default, Debug)]
pub struct Opens(Mutex<Opened>);

#[derive(Default, Debug)]
struct Opened {
    /// Each with how many read it.
    versions: BTreeMap<Version, usize>,
    /// The copies of compressed snapshots that are read in the place of what stood at their version; once for each reader.
    copies: Vec<(Version, Arc<Copied>)>,
}

/// A snapshot's own copy of tables: what each holds.
pub type Copied = [(TableId, Content)];

/// Keeps a version open until it is dropped, and the copy through which it is read.
#[derive(Debug)]
pub struct Hold {
    opens: Arc<Opens>,
    version: Version,
    copy: Option<Arc<Copied>>,
}

/// Keeps commit times and questions about times in one order: once somebody was told what the newest commit at or before
/// a time is, no commit gets that time or an earlier one.
#[derive(Default)]
pub struct Stamps {
    state: Mutex<Asked>,
    ended: Condvar,
}

#[derive(Default)]
struct Asked {
    /// The latest time that somebody asked about.
    latest: Time,
    /// The first time that commits under way have.
    under_way: Option<Time>,
}

impl Store {
    /// Returns the time of day as far as it is to be believed: it is never later than the clock's.
    pub fn sure_time(&self) -> Time {
        self.clock.look(&self.env, &*self.metastore).0
    }

    /// Returns the time from which windows reach back, for whoever asks what can be read: the clock's, or where that was set
    /// back, the time by which something has gone.
    pub fn window_time(&self) -> Time {
        self.env.now().max(self.clock.gone_by())
    }

    /// As `window_time`, for what goes: as far as the clock is to be believed.
    pub fn sure_window_time(&self) -> Time {
        self.sure_time().max(self.clock.gone_by())
    }

    /// Returns the head of one entry, without the rest of it.
    pub fn entry_head(&self, version: Version) -> Result<Option<EntryHead>> {
        let query = EntryQuery { from: version, upto: version, tables: None, upkeep: true, limit: 1 };
        Ok(self.metastore.entries(&query)?.pop().map(|entry| entry.head))
    }

    /// Returns the newest commit, held open.
    pub fn hold_head(self: &Arc<Self>) -> (Arc<Head>, Hold) {
        // The lock keeps whoever asks for the oldest from passing over this version between the two steps.
        let mut opens = self.opens.0.lock();
        let head = self.head.load_full();
        *opens.versions.entry(head.version).or_default() += 1;
        let version = head.version;
        (head, Hold { opens: self.opens.clone(), version, copy: None })
    }
}

impl Opens {
    /// Returns the oldest version that is open, or `newest` if none is.
    pub fn oldest(&self, newest: Version) -> Version {
        self.0.lock().versions.first_key_value().map_or(newest, |(version, _)| *version)
    }

    /// Returns the versions that are open.
    pub fn versions(&self) -> Vec<Version> {
        self.0.lock().versions.keys().copied().collect()
    }

    /// Returns the copies that are open, each with the version that is read through it.
    pub fn copies(&self) -> Vec<(Version, Arc<Copied>)> {
        self.0.lock().copies.clone()
    }

    /// Holds a version open.
    pub fn hold(self: &Arc<Self>, version: Version) -> Hold {
        self.hold_with(version, None)
    }

    /// Holds a version open, and the copy through which it is read, if there is one.
    pub fn hold_with(self: &Arc<Self>, version: Version, copy: Option<Arc<Copied>>) -> Hold {
        let mut opened = self.0.lock();
        *opened.versions.entry(version).or_default() += 1;
        opened.copies.extend(copy.iter().map(|copy| (version, copy.clone())));
        Hold { opens: self.clone(), version, copy }
    }
}

impl Hold {
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the copy through which it is read.
    pub fn copy(&self) -> Option<&Copied> {
        self.copy.as_deref()
    }
}

impl Stamps {
    /// Returns the first time that commits may have which begin now, not before `earliest`.
    pub fn begin(&self, earliest: Time) -> Time {
        let mut state = self.state.lock();
        let first = earliest.max(state.latest.plus_micros(1));
        state.under_way = Some(first);
        first
    }

    /// The commits under way are visible, or failed.
    pub fn end(&self) {
        self.state.lock().under_way = None;
        self.ended.notify_all();
    }

    /// Returns when every commit that has this time or an earlier one is visible, and no other will have.
    pub fn settle(&self, time: Time) {
        let mut state = self.state.lock();
        while state.under_way.is_some_and(|first| first <= time) {
            self.ended.wait(&mut state);
        }
        state.latest = state.latest.max(time);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut opened = self.opens.0.lock();
        if let Some(count) = opened.versions.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                opened.versions.remove(&self.version);
            }
        }
        if let Some(copy) = &self.copy
            && let Some(at) = opened.copies.iter().position(|(_, other)| Arc::ptr_eq(copy, other))
        {
            opened.copies.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_commit_gets_a_time_that_was_asked_about() {
        let stamps = Stamps::default();
        stamps.settle(Time(100));
        assert_eq!(stamps.begin(Time(50)), Time(101));
        stamps.end();
        assert_eq!(stamps.begin(Time(200)), Time(200));
    }

    #[test]
    fn who_asks_about_a_time_waits_for_its_commits() {
        let stamps = Stamps::default();
        let first = stamps.begin(Time(100));
        // Before the commits under way: nothing to wait for.
        stamps.settle(Time(99));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| stamps.settle(first));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!asking.is_finished());
            stamps.end();
        });
        assert_eq!(stamps.begin(Time(0)), Time(101));
    }
}
