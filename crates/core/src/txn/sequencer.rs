//! The only place that appends to the log.
//!
//! Committers queue up; one of them, whoever finds the writer free, commits for all that wait: checks each against
//! what was committed since it read, numbers it, makes the group durable with one append, lays it over the hot tier,
//! and only then moves the head that readers see. Durable before visible, visible before acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::catalog::{Catalog, Change, Content};
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, Digest, TableId, Time, Version};
use crate::log::delta::Delta;
use crate::log::{Entry, EntryHead, FileRecord, Pin, TableDelta};
use crate::store::{Head, Store};
use crate::txn::footprint::{Footprint, Recent};

/// Orders all commits of a store.
pub struct Sequencer {
    store: Arc<Store>,
    queue: Mutex<VecDeque<Request>>,
    writer: Mutex<Writer>,
}

struct Writer {
    recent: Recent,
    /// Why no further commit is accepted.
    poisoned: Option<String>,
}

/// A transaction that is ready to commit: everything encoded, everything written but the log.
pub struct Prepared {
    /// The version that it read.
    pub read: Version,
    pub account: AccountId,
    pub author: String,
    pub what: String,
    pub upkeep: bool,
    pub changes: Vec<Change>,
    pub deltas: Vec<(TableId, Delta)>,
    pub table_deltas: Vec<TableDelta>,
    pub pins: Vec<Pin>,
    pub files: Vec<FileRecord>,
    pub footprint: Footprint,
    /// Large loads: a hash that every small transaction on the table leans on, and the version up to which the loaded
    /// rows were checked against them.
    pub loads: Vec<(u64, Version)>,
    /// Contents that must still be the newest ones: the new content was made from them.
    pub expects: Vec<(TableId, Arc<Content>)>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    pub time: Time,
}

struct Request {
    prepared: Prepared,
    reply: oneshot::Sender<Result<Committed>>,
}

/// How many commits share one append at most.
const GROUP_MAX: usize = 128;

impl Sequencer {
    pub fn new(store: Arc<Store>) -> Sequencer {
        let writer = Writer { recent: Recent::default(), poisoned: None };
        Sequencer { store, queue: Mutex::default(), writer: Mutex::new(writer) }
    }

    /// Commits. `Conflict` means that nothing was applied and the transaction may be run again.
    pub async fn commit(&self, prepared: Prepared) -> Result<Committed> {
        let (reply, answer) = oneshot::channel();
        self.queue.lock().push_back(Request { prepared, reply });
        self.drive();
        answer.await.map_err(|_| Error::internal("BUG: a commit was dropped without an answer."))?
    }

    /// Refuses every further commit.
    pub fn close(&self) {
        self.writer.lock().poisoned.get_or_insert_with(|| "The store is closed.".to_owned());
    }

    /// Commits groups until nobody waits, unless somebody else is at it.
    fn drive(&self) {
        while !self.queue.lock().is_empty() {
            let Some(mut writer) = self.writer.try_lock() else { return };
            loop {
                let group: Vec<Request> = {
                    let mut queue = self.queue.lock();
                    // A commit that stores a pin may fail by itself (the name is taken): it goes alone.
                    let count = match queue.iter().position(|request| !request.prepared.pins.is_empty()) {
                        Some(0) => 1,
                        Some(at) => at.min(GROUP_MAX),
                        None => queue.len().min(GROUP_MAX),
                    };
                    queue.drain(..count).collect()
                };
                if group.is_empty() {
                    break;
                }
                self.commit_group(&mut writer, group);
            }
        }
    }

    fn commit_group(&self, writer: &mut Writer, group: Vec<Request>) {
        if let Some(reason) = &writer.poisoned {
            for request in group {
                let error = Error::new(Kind::Closed, format!("No more commits are accepted: {reason}"))
                    .with_hint("Restart the server; nothing that was acknowledged is lost.");
                drop(request.reply.send(Err(error)));
            }
            return;
        }
        let head = self.store.head.load_full();
        let (mut version, mut time, mut catalog) = (head.version, head.time, head.catalog.clone());
        let mut entries = Vec::with_capacity(group.len());
        let mut accepted = Vec::with_capacity(group.len());
        for request in group {
            let Request { mut prepared, reply } = request;
            if !writer.recent.allows(&prepared.footprint, prepared.read)
                || !writer.recent.allows_loads(&prepared.loads, prepared.read)
                || !expected(&prepared, &catalog)
            {
                let error = Error::conflict("Another transaction changed the same rows or objects first.")
                    .with_hint("Nothing was applied; run the transaction again.");
                drop(reply.send(Err(error)));
                continue;
            }
            version = version.next();
            time = self.store.env.now().max(time.plus_micros(1));
            prepared.footprint.writes.extend(prepared.loads.iter().map(|(hash, _)| *hash));
            writer.recent.record(&prepared.footprint, version);
            for change in &mut prepared.changes {
                change.stamp(version);
            }
            if !prepared.changes.is_empty() {
                let mut changed = Catalog::clone(&catalog);
                prepared.changes.iter().for_each(|change| changed.apply(change));
                catalog = Arc::new(changed);
            }
            for pin in &mut prepared.pins {
                (pin.version, pin.version_time, pin.created) = (version, time, time);
            }
            entries.push(Entry {
                head: EntryHead {
                    version,
                    time,
                    account: prepared.account,
                    author: prepared.author,
                    what: prepared.what,
                    upkeep: prepared.upkeep,
                    hash: Digest::default(),
                },
                changes: prepared.changes,
                deltas: prepared.table_deltas,
                pins: prepared.pins,
                files: prepared.files,
            });
            accepted.push((Head { version, time, catalog: catalog.clone() }, prepared.deltas, reply));
        }
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.store.metastore.append(&entries) {
            writer.recent.take_back(head.version);
            if !matches!(error.kind(), Kind::AlreadyExists(_) | Kind::Unavailable) {
                tracing::error!(%error, "a durable write failed: no further commit is accepted");
                writer.poisoned = Some(format!("a durable write failed ({error})"));
            }
            for (_, _, reply) in accepted {
                let copy = Error::new(error.kind(), error.message());
                drop(reply.send(Err(match error.hint() {
                    Some(hint) => copy.with_hint(hint),
                    None => copy,
                })));
            }
            return;
        }
        for (entry, (head, deltas, reply)) in entries.iter().zip(accepted) {
            let committed = Committed { version: head.version, time: head.time };
            let published = self.store.hot.publish(head.version, &entry.changes, &deltas);
            self.store.head.store(Arc::new(head));
            let files: Vec<_> = entry.files.iter().map(|file| file.id).collect();
            self.store.cold.files().committed(&files);
            drop(reply.send(match published {
                Ok(()) => Ok(committed),
                Err(error) => {
                    tracing::error!(%error, "a durable commit cannot be shown: no further commit is accepted");
                    writer.poisoned = Some(format!("a durable commit cannot be shown ({error})"));
                    Err(error)
                }
            }));
        }
        let oldest = self.store.opens.oldest(version);
        writer.recent.prune(oldest);
    }
}

/// Tells whether the contents that a commit replaces are still those that it was made from.
fn expected(prepared: &Prepared, catalog: &Catalog) -> bool {
    prepared.expects.iter().all(|(table, content)| catalog.content(*table).is_some_and(|now| now == content))
}
