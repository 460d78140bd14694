//! Turns: who lays out a table anew, and what is being merged of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::ids::{FileId, TableId};

/// One job at a time per table: of two, one would find another content than it began with, and have worked for nothing.
#[derive(Default)]
pub(crate) struct Turns {
    tables: Mutex<HashMap<TableId, Arc<tokio::sync::Mutex<()>>>>,
    claimed: Arc<Mutex<HashSet<FileId>>>,
}

/// Keeps others from merging some parts, until it is dropped.
pub(crate) struct Claim {
    all: Arc<Mutex<HashSet<FileId>>>,
    own: Vec<FileId>,
}

impl Turns {
    /// Waits for the turn, which lasts until what is returned is dropped.
    pub async fn take(&self, table: TableId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.tables.lock();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(table).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Takes the turn if it is free.
    pub fn try_take(&self, table: TableId) -> Option<OwnedMutexGuard<()>> {
        let turn = self.tables.lock().entry(table).or_default().clone();
        turn.try_lock_owned().ok()
    }

    /// Says that these parts are being merged, outside the table's turn.
    pub fn claim(&self, parts: impl Iterator<Item = FileId>) -> Claim {
        let own: Vec<FileId> = parts.collect();
        self.claimed.lock().extend(&own);
        Claim { all: self.claimed.clone(), own }
    }

    pub fn is_claimed(&self, part: FileId) -> bool {
        self.claimed.lock().contains(&part)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        for part in &self.own {
            all.remove(part);
        }
    }
}
