//! Files that are written and that no commit has yet: whoever owns them answers for them.
//!
//! A transaction owns what was written for it, then the sequencer does, and gives it back with a refusal. So it does not
//! matter which of them fails or is dropped, or when: what has no owner left is the collector's.

use crate::cold::files::Files;
use crate::ids::FileId;
use crate::log::FileRecord;

/// Files that are written and that no commit has yet. Dropping them gives them up: they are the collector's at once, and
/// deleted before it comes where there is a runtime to do it in.
#[must_use = "files that are dropped are given up"]
pub struct Drafts {
    files: Files,
    records: Vec<FileRecord>,
}

impl Files {
    /// Returns a place for files that are about to be written.
    pub fn drafts(&self) -> Drafts {
        self.own(Vec::new())
    }

    /// Makes somebody answer again for files that were released, when it is certain that no commit has them.
    pub fn own(&self, records: Vec<FileRecord>) -> Drafts {
        Drafts { files: self.clone(), records }
    }
}

impl Drafts {
    /// Takes a file, as soon as it is written.
    pub fn push(&mut self, record: FileRecord) {
        self.records.push(record);
    }

    pub fn append(&mut self, mut more: Drafts) {
        self.records.append(&mut more.records);
    }

    pub fn records(&self) -> &[FileRecord] {
        &self.records
    }

    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// Takes out all but the first files.
    pub fn split_off(&mut self, first: usize) -> Drafts {
        self.files.own(self.records.split_off(first))
    }

    /// Hands the files to a commit: from here on it may stand, whatever becomes of whoever asked for it, and nobody gives
    /// them up.
    pub fn release(mut self) -> Vec<FileRecord> {
        std::mem::take(&mut self.records)
    }

    /// Gives the files up and deletes them now.
    pub async fn discard(self) {
        let (files, ids) = (self.files.clone(), ids(&self.release()));
        files.discard(&ids).await;
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let unused = self.files.abandon(&ids(&self.records));
        let files = self.files.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { files.delete_abandoned(&unused).await });
        }
    }
}

fn ids(records: &[FileRecord]) -> Vec<FileId> {
    records.iter().map(|record| record.id).collect()
}
