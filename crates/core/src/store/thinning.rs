//! What a version is read through whose own manifest was thinned out.
//!
//! ```text
//!   loaded      flushed     compacted    flushed            contents of a table, oldest first
//!   manifest A  manifest B  manifest C   manifest D
//!       │           ✗           ✗            │              B and C are withdrawn
//!       └─ the log ─┴─ … up to the version ──┘
//! ```
//! Upkeep lays rows out anew and changes none: at each of its versions a content that it made holds what the content before
//! it held, and what the log has brought since. So where its manifest is gone, the content before it does, with a longer range
//! of the log over it. Where the log does not reach that far back either, it says so (`OutOfWindow`). A content that anything
//! else made (a load, a restore, a clone) is read through its own manifest or not at all: its rows stand in no log.
//!
//! Which manifests go is for the collector to say (`upkeep::keep`). It says so here, before it deletes one, and never takes it
//! back: whoever reads a version that is held comes to the same content, or to one that was held for that version too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::catalog::{Change, Content, ObjectKind};
use crate::error::{Error, Result};
use crate::ids::{Digest, TableId, Version};
use crate::log::ObjectRow;
use crate::store::Store;

/// What is known of manifests that were thinned out.
#[derive(Default)]
pub struct Thinned {
    /// Withdrawn, or about to be: nobody begins to read through one.
    manifests: RwLock<HashSet<Digest>>,
    /// Whether upkeep made the commit. It never changes.
    upkeep: RwLock<HashMap<Version, bool>>,
}

/// How many commits are remembered at most.
const UPKEEP_MAX: usize = 1 << 20;

impl Thinned {
    /// From here on, whoever opens a version that one of these served reads it through the content before.
    pub fn add(&self, manifests: impl IntoIterator<Item = Digest>) {
        self.manifests.write().extend(manifests);
    }

    /// Forgets those that serve no version that anybody may read.
    pub fn keep_only(&self, wanted: &HashSet<Digest>) {
        self.manifests.write().retain(|manifest| wanted.contains(manifest));
        let mut upkeep = self.upkeep.write();
        if upkeep.len() > UPKEEP_MAX {
            upkeep.clear();
        }
    }

    pub fn contains(&self, manifest: &Digest) -> bool {
        self.manifests.read().contains(manifest)
    }
}

impl Store {
    /// Returns what a table is read through at `version`, where `content` is what the catalog says that it held: that, or
    /// where its manifest was thinned out, the content before it, with the longer range of the log.
    pub fn content_at(&self, table: TableId, content: &Arc<Content>, version: Version) -> Result<Arc<Content>> {
        // The newest content is never thinned out: most reads end here.
        if self.head.load().catalog.content(table) == Some(content) || !self.is_gone(content)? {
            return Ok(content.clone());
        }
        let at = |version| self.metastore.object_at(ObjectKind::Content, table.0, version);
        let Some(mut row) = at(version)?.filter(|row| of_row(row) == Some(content)) else { return Ok(content.clone()) };
        loop {
            let found = of_row(&row).ok_or_else(|| Error::corrupt(format!("A content of table {table} is none.")))?;
            if !self.is_gone(found)? || !self.is_upkeep(row.begin)? {
                return Ok(standing_in(found, content));
            }
            match at(Version(row.begin.0 - 1))?.filter(|before| before.end == row.begin) {
                Some(before) => row = before,
                None => return Ok(content.clone()),
            }
        }
    }

    /// Tells whether the manifest of a content was withdrawn, or is about to be.
    pub fn is_gone(&self, content: &Content) -> Result<bool> {
        let Some(manifest) = content.manifest else { return Ok(false) };
        Ok(self.thinned.contains(&manifest) || self.metastore.was_withdrawn(manifest)?)
    }

    /// Tells whether upkeep made a commit.
    pub fn is_upkeep(&self, version: Version) -> Result<bool> {
        if let Some(known) = self.thinned.upkeep.read().get(&version) {
            return Ok(*known);
        }
        let is_upkeep = self.entry_head(version)?.is_some_and(|head| head.upkeep);
        self.thinned.upkeep.write().insert(version, is_upkeep);
        Ok(is_upkeep)
    }
}

/// Returns a content that stands in for another: numbers that the other had handed out are not handed out again.
fn standing_in(found: &Content, other: &Content) -> Arc<Content> {
    let next_row_id = found.next_row_id.max(other.next_row_id);
    let next_auto = found.next_auto.max(other.next_auto);
    Arc::new(Content { next_row_id, next_auto, ..found.clone() })
}

fn of_row(row: &ObjectRow) -> Option<&Arc<Content>> {
    match &row.object {
        Change::PutContent(_, content) => Some(content),
        _ => None,
    }
}
