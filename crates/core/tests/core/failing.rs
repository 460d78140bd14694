//! A metastore that fails, waits, or does something of its own, when told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;
use strandline_core::catalog::{Change, ObjectKind};
use strandline_core::error::{Error, Kind, Result};
use strandline_core::ids::{Digest, FileId, PinId, TableId, Time, Version};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{
    Entry, EntryHead, EntryQuery, EntrySummary, FileHead, FileKind, FileRecord, Metastore, ObjectRow, Pin, Trimmed,
};

type Work = Box<dyn FnOnce(&MemoryMetastore) + Send>;

pub struct FailingMetastore {
    inner: MemoryMetastore,
    next: Mutex<Option<Kind>>,
    next_drop: Mutex<Option<Kind>>,
    next_withdrawal: Mutex<Option<Kind>>,
    after_pin: Mutex<Option<Work>>,
    after_pins: Mutex<Option<Work>>,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
    holding: AtomicBool,
    next_intent: Mutex<Option<(FileKind, Kind)>>,
    append_gate: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    /// How many entries were read whole.
    pub whole_entries: AtomicUsize,
    /// How many entries were listed.
    pub listed_entries: AtomicUsize,
    /// How often somebody asked how much the deltas of a range are.
    pub ranges_measured: AtomicUsize,
    damaged: Mutex<Option<Version>>,
    untrimmable: Mutex<Option<Version>>,
}

impl FailingMetastore {
    pub fn new() -> FailingMetastore {
        FailingMetastore {
            inner: MemoryMetastore::new(),
            next: Mutex::new(None),
            next_drop: Mutex::new(None),
            next_withdrawal: Mutex::new(None),
            after_pin: Mutex::new(None),
            after_pins: Mutex::new(None),
            gate: Mutex::new(None),
            holding: AtomicBool::new(false),
            next_intent: Mutex::new(None),
            append_gate: Mutex::new(None),
            whole_entries: AtomicUsize::new(0),
            listed_entries: AtomicUsize::new(0),
            ranges_measured: AtomicUsize::new(0),
            damaged: Mutex::new(None),
            untrimmable: Mutex::new(None),
        }
    }

    /// Makes whoever next begins to write a file wait until what this returns is dropped.
    pub fn hold_next_file(&self) -> mpsc::Sender<()> {
        let (gate, held) = mpsc::channel();
        *self.gate.lock() = Some(held);
        gate
    }

    /// Tells whether somebody waits so.
    pub fn is_holding_file(&self) -> bool {
        self.holding.load(Ordering::SeqCst)
    }

    /// Makes the next append wait until the second is dropped; the first hears when it does.
    pub fn hold_next_append(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((begun, begins), (gate, held)) = (mpsc::channel(), mpsc::channel());
        *self.append_gate.lock() = Some((begun, held));
        (begins, gate)
    }

    /// Makes whoever next begins to write a file of this kind fail so.
    pub fn fail_next_file(&self, of: FileKind, kind: Kind) {
        *self.next_intent.lock() = Some((of, kind));
    }

    /// Makes the next append fail so, with nothing appended.
    pub fn fail_next(&self, kind: Kind) {
        *self.next.lock() = Some(kind);
    }

    /// Makes the next drop of pins fail so, with nothing dropped.
    pub fn fail_next_drop(&self, kind: Kind) {
        *self.next_drop.lock() = Some(kind);
    }

    /// Makes the next withdrawal of files fail so, with nothing withdrawn.
    pub fn fail_next_withdrawal(&self, kind: Kind) {
        *self.next_withdrawal.lock() = Some(kind);
    }

    /// Lets an entry be read no more where many are listed, or mends it again.
    pub fn damage(&self, version: Option<Version>) {
        *self.damaged.lock() = version;
    }

    /// As `damage`, where entries are trimmed.
    pub fn damage_trim(&self, version: Option<Version>) {
        *self.untrimmable.lock() = version;
    }

    /// Waits until somebody waits to begin a file.
    pub async fn file_is_held(&self) {
        while self.gate.lock().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Does something when pins have been read the next time, before whoever read them goes on.
    pub fn after_next_pins(&self, work: impl FnOnce(&MemoryMetastore) + Send + 'static) {
        *self.after_pins.lock() = Some(Box::new(work));
    }

    /// Does something when the next pin has been stored, before whoever stored it goes on.
    pub fn after_next_pin(&self, work: impl FnOnce(&MemoryMetastore) + Send + 'static) {
        *self.after_pin.lock() = Some(Box::new(work));
    }
}

impl Metastore for FailingMetastore {
    fn append(&self, group: &[Entry]) -> Result<()> {
        let held = self.append_gate.lock().take();
        if let Some((begun, held)) = held {
            let _ = begun.send(());
            let _ = held.recv();
        }
        let told = self.next.lock().take();
        match told {
            Some(kind) => Err(Error::new(kind, "The disk gave up.")),
            None => self.inner.append(group),
        }
    }

    fn newest(&self) -> Result<Option<EntryHead>> {
        self.inner.newest()
    }

    fn entry(&self, version: Version) -> Result<Option<Entry>> {
        self.whole_entries.fetch_add(1, Ordering::Relaxed);
        self.inner.entry(version)
    }

    fn entries(&self, query: &EntryQuery) -> Result<Vec<EntrySummary>> {
        let entries = self.inner.entries(query)?;
        if query.limit > 1 {
            check_whole(*self.damaged.lock(), entries.iter().map(|entry| entry.head.version))?;
        }
        self.listed_entries.fetch_add(entries.len(), Ordering::Relaxed);
        Ok(entries)
    }

    fn deltas(&self, table: TableId, after: Version, upto: Version) -> Result<Vec<(Version, Bytes)>> {
        self.inner.deltas(table, after, upto)
    }

    fn delta_bytes(&self, table: TableId, after: Version, upto: Version) -> Result<Option<u64>> {
        self.ranges_measured.fetch_add(1, Ordering::Relaxed);
        self.inner.delta_bytes(table, after, upto)
    }

    fn newest_at(&self, time: Time) -> Result<Option<EntryHead>> {
        self.inner.newest_at(time)
    }

    fn catalog_at(&self, version: Version) -> Result<Vec<Change>> {
        self.inner.catalog_at(version)
    }

    fn catalog_version(&self, version: Version) -> Result<Version> {
        self.inner.catalog_version(version)
    }

    fn named(&self, kind: ObjectKind, parent: u64, name: &str) -> Result<Vec<ObjectRow>> {
        self.inner.named(kind, parent, name)
    }

    fn object(&self, kind: ObjectKind, id: u64) -> Result<Vec<ObjectRow>> {
        self.inner.object(kind, id)
    }

    fn object_at(&self, kind: ObjectKind, id: u64, version: Version) -> Result<Option<ObjectRow>> {
        self.inner.object_at(kind, id, version)
    }

    fn ids(&self, kind: ObjectKind) -> Result<Vec<u64>> {
        self.inner.ids(kind)
    }

    fn greatest_id(&self, kind: ObjectKind) -> Result<u64> {
        self.inner.greatest_id(kind)
    }

    fn pins(&self) -> Result<Vec<Pin>> {
        let pins = self.inner.pins()?;
        let work = self.after_pins.lock().take();
        if let Some(work) = work {
            work(&self.inner);
        }
        Ok(pins)
    }

    fn put_pin(&self, pin: &Pin) -> Result<PinId> {
        let id = self.inner.put_pin(pin)?;
        let work = self.after_pin.lock().take();
        if let Some(work) = work {
            work(&self.inner);
        }
        Ok(id)
    }

    fn drop_pins(&self, ids: &[PinId]) -> Result<u64> {
        let told = self.next_drop.lock().take();
        match told {
            Some(kind) => Err(Error::new(kind, "The disk gave up.")),
            None => self.inner.drop_pins(ids),
        }
    }

    fn put_intents(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        let held = self.gate.lock().take();
        if let Some(held) = held {
            self.holding.store(true, Ordering::SeqCst);
            let _ = held.recv();
            self.holding.store(false, Ordering::SeqCst);
        }
        let mut next = self.next_intent.lock();
        if let Some((_, kind)) = next.take_if(|(of, _)| files.iter().any(|(_, kind)| kind == of)) {
            return Err(Error::new(kind, "The disk gave up."));
        }
        self.inner.put_intents(files)
    }

    fn file(&self, id: FileId) -> Result<Option<FileRecord>> {
        self.inner.file(id)
    }

    fn file_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<FileRecord>> {
        self.inner.file_by_digest(kind, digest)
    }

    fn was_withdrawn(&self, manifest: Digest) -> Result<bool> {
        self.inner.was_withdrawn(manifest)
    }

    fn files(&self) -> Result<Vec<FileHead>> {
        self.inner.files()
    }

    fn withdraw_files(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        let told = self.next_withdrawal.lock().take();
        match told {
            Some(kind) => Err(Error::new(kind, "The disk gave up.")),
            None => self.inner.withdraw_files(files),
        }
    }

    fn trim(&self, versions: &[Version]) -> Result<Trimmed> {
        check_whole(*self.untrimmable.lock(), versions.iter().copied())?;
        self.inner.trim(versions)
    }

    fn intents(&self) -> Result<Vec<(FileId, FileKind)>> {
        self.inner.intents()
    }

    fn drop_files(&self, ids: &[FileId]) -> Result<()> {
        self.inner.drop_files(ids)
    }

    fn setting(&self, name: &str) -> Result<Option<String>> {
        self.inner.setting(name)
    }

    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.inner.settings(prefix)
    }

    fn drop_setting(&self, name: &str) -> Result<bool> {
        self.inner.drop_setting(name)
    }

    fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        self.inner.put_setting(name, value)
    }

    fn check(&self) -> Result<Vec<String>> {
        self.inner.check()
    }

    fn size_bytes(&self) -> Result<u64> {
        self.inner.size_bytes()
    }

    fn tidy(&self) -> Result<()> {
        self.inner.tidy()
    }
}

fn check_whole(damaged: Option<Version>, mut asked: impl Iterator<Item = Version>) -> Result<()> {
    match damaged.filter(|damaged| asked.any(|version| version == *damaged)) {
        Some(version) => Err(Error::corrupt(format!("Entry {version} of the log does not match its checksum."))),
        None => Ok(()),
    }
}
