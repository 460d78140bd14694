//! The only place that appends to the log.
//!
//! One thread commits for all that wait: it checks each against what was committed since it read, numbers it, makes
//! the group durable with one append, lays it over the hot tier, and only then moves the head that readers see.
//! Durable before visible, visible before acknowledged.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::catalog::{Catalog, Change, Content};
use crate::cold::Drafts;
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, Digest, TableId, Time, Version};
use crate::log::delta::Delta;
use crate::log::{Entry, EntryHead, FileKind, FileRecord, Pin, TableDelta, gives_back};
use crate::moment::Moment;
use crate::store::{Head, Hold, Store};
use crate::txn::footprint::{Footprint, Recent};

/// Orders all commits of a store, on a thread of its own.
pub struct Sequencer {
    /// `None` only while dropping.
    requests: Option<mpsc::Sender<Request>>,
    /// Why no further commit is accepted.
    poisoned: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

struct Writer {
    store: Arc<Store>,
    recent: Recent,
    poisoned: Arc<Mutex<Option<String>>>,
}

/// A transaction that is ready to commit: everything encoded, everything written but the log.
pub struct Prepared {
    /// The version that it read, held until the commit is decided.
    pub read: Arc<Hold>,
    pub account: AccountId,
    pub author: String,
    pub what: String,
    pub upkeep: bool,
    pub changes: Vec<Change>,
    pub deltas: Vec<(TableId, Delta)>,
    pub table_deltas: Vec<TableDelta>,
    pub pins: Vec<Pin>,
    pub files: Drafts,
    pub footprint: Footprint,
    /// Large loads: a hash that every small transaction on the table leans on, and the version up to which the loaded
    /// rows were checked against them.
    pub loads: Vec<(u64, Version)>,
    /// Contents that must still be the newest ones: the new content was made from them.
    pub expects: Vec<(TableId, Arc<Content>)>,
    /// The past that its contents show, held until the commit is decided.
    pub sources: Vec<Moment>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    pub time: Time,
}

/// Why a transaction was not committed.
pub struct Refused {
    pub error: Error,
    /// The files that were written for it, if it is certain that nothing was applied. Otherwise nobody may give them up
    /// before the store is opened again: then they have a record, or an intent.
    pub files: Option<Drafts>,
}

struct Request {
    prepared: Prepared,
    /// Whoever waits for the answer has the files back with a refusal; if nobody does, they are given up with it.
    reply: oneshot::Sender<Result<Committed, Refused>>,
}

const RESTART: &str = "Restart the server; nothing that was acknowledged is lost.";
/// How many commits share one append at most.
const GROUP_MAX: usize = 128;

impl Sequencer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<Store>) -> Result<Sequencer> {
        let (requests, waiting) = mpsc::channel();
        let poisoned = Arc::new(Mutex::new(None));
        let mut writer = Writer { store, recent: Recent::default(), poisoned: poisoned.clone() };
        let thread = std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || writer.serve(&waiting))?;
        Ok(Sequencer { requests: Some(requests), poisoned, thread: Some(thread) })
    }

    /// Commits. `Conflict` means that nothing was applied and the transaction may be run again. A commit that was asked for
    /// is decided also if nobody waits for the answer.
    pub async fn commit(&self, prepared: Prepared) -> Result<Committed, Refused> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().expect("there until dropped");
        let gone = || Refused {
            error: Error::new(Kind::Closed, "No more commits are accepted: the sequencer ended.").with_hint(RESTART),
            files: None,
        };
        if requests.send(Request { prepared, reply }).is_err() {
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Returns why no further commit is accepted, if none is.
    pub fn refusal(&self) -> Option<String> {
        self.poisoned.lock().clone()
    }

    /// Refuses every further commit.
    pub fn close(&self) {
        self.poisoned.lock().get_or_insert_with(|| "The store is closed.".to_owned());
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.requests = None;
        // The store is free for the next process once the thread let go of it.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Writer {
    /// Commits group after group until nobody can ask any more.
    fn serve(&mut self, waiting: &mpsc::Receiver<Request>) {
        // A commit that stores a pin may fail by itself (the name is taken): it goes alone. So does one that gives back room:
        // on a full disk it is let through, and others are not.
        let is_alone = |Request { prepared, .. }: &Request| {
            !prepared.pins.is_empty() || gives_back(prepared.upkeep, &prepared.changes, &prepared.table_deltas)
        };
        let mut next = waiting.recv().ok();
        while let Some(first) = next.take() {
            let alone = is_alone(&first);
            let mut group = vec![first];
            while !alone && group.len() < GROUP_MAX {
                match waiting.try_recv() {
                    Ok(request) if is_alone(&request) => {
                        next = Some(request);
                        break;
                    }
                    Ok(request) => group.push(request),
                    Err(_) => break,
                }
            }
            self.commit_group(group);
            next = next.or_else(|| waiting.recv().ok());
        }
    }

    fn commit_group(&mut self, group: Vec<Request>) {
        let poisoned = self.poisoned.lock().clone();
        if let Some(reason) = poisoned {
            for request in group {
                let error =
                    Error::new(Kind::Closed, format!("No more commits are accepted: {reason}")).with_hint(RESTART);
                drop(request.reply.send(Err(Refused { error, files: Some(request.prepared.files) })));
            }
            return;
        }
        fail::fail_point!("sequencer::group");
        self.commit_open(group);
        fail::fail_point!("sequencer::replied");
        self.store.stamps.end();
        let oldest = self.store.transactions.oldest(self.store.head.load().version);
        self.recent.prune(oldest);
    }

    fn poison(&self, reason: String) {
        *self.poisoned.lock() = Some(reason);
    }

    fn commit_open(&mut self, group: Vec<Request>) {
        let head = self.store.head.load_full();
        let (mut version, mut catalog) = (head.version, head.catalog.clone());
        let mut earliest = self.store.stamps.begin(self.store.env.now().max(head.time.plus_micros(1)));
        let mut entries = Vec::with_capacity(group.len());
        let mut accepted = Vec::with_capacity(group.len());
        // Held until the commits are visible: then their contents are roots themselves.
        let mut sources = Vec::new();
        for request in group {
            let Request { mut prepared, reply } = request;
            if !self.recent.allows(&prepared.footprint, prepared.read.version())
                || !self.recent.allows_loads(&prepared.loads, prepared.read.version())
                || !expected(&prepared, &catalog)
            {
                let error = Error::conflict("Another transaction changed the same rows or objects first.")
                    .with_hint("Nothing was applied; run the transaction again.");
                fail::fail_point!("sequencer::refused");
                drop(reply.send(Err(Refused { error, files: Some(prepared.files) })));
                continue;
            }
            if let Err(error) = self.resolves(&prepared) {
                tracing::error!(%error, what = prepared.what, "a commit was refused");
                drop(reply.send(Err(Refused { error, files: Some(prepared.files) })));
                continue;
            }
            version = version.next();
            let time = earliest.max(self.store.env.now());
            earliest = time.plus_micros(1);
            prepared.footprint.writes.extend(prepared.loads.iter().map(|(hash, _)| *hash));
            self.recent.record(&prepared.footprint, version);
            for change in &mut prepared.changes {
                change.stamp(version);
            }
            if !prepared.changes.is_empty() {
                let mut changed = Catalog::clone(&catalog);
                prepared.changes.iter().for_each(|change| changed.apply(change));
                catalog = Arc::new(changed);
            }
            for pin in prepared.pins.iter_mut().filter(|pin| pin.version == Version(0)) {
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
                files: prepared.files.release(),
            });
            sources.append(&mut prepared.sources);
            accepted.push((Head { version, time, catalog: catalog.clone() }, prepared.deltas, reply));
        }
        if entries.is_empty() {
            return;
        }
        fail::fail_point!("sequencer::before_append");
        if let Err(error) = self.store.metastore.append(&entries) {
            self.recent.take_back(head.version);
            let is_surely_refused =
                matches!(error.kind(), Kind::AlreadyExists(_) | Kind::Conflict | Kind::Full | Kind::Unavailable);
            if !is_surely_refused {
                tracing::error!(%error, "a durable write failed: no further commit is accepted");
                self.poison(format!("a durable write failed ({error})"));
            }
            for (entry, (_, _, reply)) in entries.into_iter().zip(accepted) {
                let copy = Error::new(error.kind(), error.message());
                let error = match error.hint() {
                    Some(hint) => copy.with_hint(hint),
                    None => copy,
                };
                let files = is_surely_refused.then(|| self.store.cold.files().own(entry.files));
                drop(reply.send(Err(Refused { error, files })));
            }
            return;
        }
        fail::fail_point!("sequencer::durable");
        let mut shown = Ok(());
        for (entry, (head, deltas, reply)) in entries.iter().zip(accepted) {
            let committed = Committed { version: head.version, time: head.time };
            let files: Vec<_> = entry.files.iter().map(|file| file.id).collect();
            self.store.cold.files().committed(&files);
            fail::fail_point!("sequencer::before_publish");
            if shown.is_ok() {
                shown = self.store.hot.publish(head.version, &head.catalog, &entry.changes, &deltas);
            }
            drop(reply.send(match &shown {
                Ok(()) => {
                    fail::fail_point!("sequencer::before_head");
                    self.store.head.store(Arc::new(head));
                    fail::fail_point!("sequencer::before_reply");
                    Ok(committed)
                }
                // Readers stay before it: nobody sees a commit without its rows.
                Err(error) => {
                    let reason = format!("commit {} is durable and cannot be shown ({error})", committed.version);
                    tracing::error!("{reason}: no further commit is accepted");
                    self.poison(reason.clone());
                    Err(Refused { error: Error::new(Kind::Closed, reason).with_hint(RESTART), files: None })
                }
            }));
        }
    }
}

impl Writer {
    /// Checks that every manifest that a commit gives to tables or snapshots stands: nobody would find out later before
    /// somebody reads it.
    fn resolves(&self, prepared: &Prepared) -> Result<()> {
        let of_tables = prepared.changes.iter().filter_map(|change| match change {
            Change::PutContent(_, content) => content.manifest,
            _ => None,
        });
        let copies = prepared.pins.iter().flat_map(|pin| pin.terms.copy.iter().flatten());
        for manifest in of_tables.chain(copies.filter_map(|(_, content)| content.manifest)) {
            let is_manifest = |file: &FileRecord| file.kind == FileKind::Manifest && file.digest == manifest;
            let is_own = prepared.files.records().iter().any(is_manifest);
            if !is_own && self.store.metastore.file_by_digest(FileKind::Manifest, manifest)?.is_none() {
                let message = format!("The commit needs manifest {manifest}, and the store has none such.");
                return Err(
                    Error::corrupt(message).with_hint("Nothing was applied. 'strandline check' looks for damage.")
                );
            }
        }
        Ok(())
    }
}

/// Tells whether the contents that a commit replaces are still those that it was made from.
fn expected(prepared: &Prepared, catalog: &Catalog) -> bool {
    prepared.expects.iter().all(|(table, content)| catalog.content(*table).is_some_and(|now| now == content))
}
