//! What every open database is made of, below moments and transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::cold::Cold;
use crate::env::Env;
use crate::hot::Hot;
use crate::ids::{Time, Version};
use crate::log::Metastore;

/// The parts of an open database that moments and transactions share.
pub struct Store {
    pub env: Env,
    pub metastore: Arc<dyn Metastore>,
    pub hot: Hot,
    pub cold: Cold,
    /// The newest visible commit.
    pub head: ArcSwap<Head>,
    pub opens: Opens,
    /// How many rows of a large load make a run.
    pub load_rows: usize,
}

/// The newest version and what exists there.
#[derive(Clone)]
pub struct Head {
    pub version: Version,
    pub time: Time,
    pub catalog: Arc<Catalog>,
}

/// The versions that open moments read: they are not collected, and the memory of who wrote what reaches back to them.
#[derive(Default)]
pub struct Opens(Mutex<BTreeMap<Version, usize>>);

/// Keeps a version open until it is dropped.
pub struct Hold {
    store: Arc<Store>,
    version: Version,
}

impl Store {
    /// Returns the newest commit, held open.
    pub fn hold_head(self: &Arc<Self>) -> (Arc<Head>, Hold) {
        // The lock keeps the sequencer from forgetting this version between the two steps.
        let mut opens = self.opens.0.lock();
        let head = self.head.load_full();
        *opens.entry(head.version).or_default() += 1;
        drop(opens);
        let version = head.version;
        (head, Hold { store: self.clone(), version })
    }

    /// Holds a version open.
    pub fn hold(self: &Arc<Self>, version: Version) -> Hold {
        *self.opens.0.lock().entry(version).or_default() += 1;
        Hold { store: self.clone(), version }
    }
}

impl Opens {
    /// Returns the oldest version that is open, or `newest` if none is.
    pub fn oldest(&self, newest: Version) -> Version {
        self.0.lock().first_key_value().map_or(newest, |(version, _)| *version)
    }

    /// Returns all open versions.
    pub fn all(&self) -> Vec<Version> {
        self.0.lock().keys().copied().collect()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut opens = self.store.opens.0.lock();
        if let Some(count) = opens.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                opens.remove(&self.version);
            }
        }
    }
}
