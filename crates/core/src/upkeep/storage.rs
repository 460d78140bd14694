//! What all that is kept takes on disk, and what keeps it. It is told by what the collector decides by
//! ([`keep`](super::keep)): what is told of a snapshot is what comes back when it is dropped.
//!
//! ```text
//!   snapshots, windows, the present ─► contents ─► manifests ─► files       each file counts whole to all that reach it;
//!                                                                          unique is what nothing else reaches
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::cold::blocking;
use crate::db::Database;
use crate::error::{Kind, Result};
use crate::ids::{AccountId, Digest, FileId, PinId, TableId, Time, Version};
use crate::log::{FileHead, FileKind, Pin, Scope};
use crate::upkeep::collect::{Collected, Fate};
use crate::upkeep::keep::{KeeperKind, Keepers};

/// What a snapshot takes on disk.
#[derive(Clone, Debug)]
pub struct SnapshotSize {
    pub pin: Pin,
    /// The files of rows that it refers to; of an incremental one those that its base does not.
    pub bytes: u64,
    /// Those that nothing else reaches: neither the present nor a window, another snapshot or an open query.
    pub unique_bytes: u64,
    /// What comes back of files if it alone is dropped: those, and the lists of them that nothing else needs.
    pub freed_bytes: u64,
    /// Why the files are not known: a manifest cannot be read.
    pub damage: Option<String>,
}

/// What is kept, by table and by what keeps it.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    pub tables: Vec<TableStorage>,
    pub keepers: Vec<KeeperStorage>,
}

/// What a table takes on disk.
#[derive(Clone, Debug)]
pub struct TableStorage {
    pub account: AccountId,
    pub database: String,
    pub table: String,
    /// Only its past is kept.
    pub is_dropped: bool,
    /// The files of its present.
    pub live_bytes: u64,
    /// Of those, the files that other tables reach too, such as the origin of a clone.
    pub shared_bytes: u64,
    /// The files of its past that are not of its present.
    pub past_bytes: u64,
    /// Of the past, what nothing but recovery windows keeps.
    pub window_bytes: u64,
    /// Of the past, what nothing but snapshots keeps.
    pub snapshot_bytes: u64,
    /// Of present and past, what was written in the last 24 hours.
    pub day_bytes: u64,
    /// Its rows in the log.
    pub log_bytes: u64,
    /// Tables that reach files of its present, as database and table.
    pub shared_with: Vec<(String, String)>,
}

/// What something keeps beside the present.
#[derive(Clone, Debug)]
pub struct KeeperStorage {
    pub keeper: StorageKeeper,
    /// The files that it reaches and that no table's present does.
    pub bytes: u64,
    /// Of those, what nothing else reaches.
    pub unique_bytes: u64,
    /// Of those, what was written in the last 24 hours.
    pub day_bytes: u64,
}

#[derive(Clone, Debug)]
pub enum StorageKeeper {
    /// The default recovery window.
    Window,
    Pitr {
        name: String,
        account: AccountId,
        scope: Scope,
    },
    Snapshot(Pin),
}

/// What was written on one day, and is kept still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Midnight, UTC.
    pub begins: Time,
    pub commits: u64,
    pub files: u64,
    pub file_bytes: u64,
    pub log_bytes: u64,
}

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// What keeps the contents that have a manifest.
const PRESENT: u8 = 1;
const WINDOW: u8 = 2;
const SNAPSHOT: u8 = 4;
const OPEN: u8 = 8;

/// Who reaches a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    One(KeeperKind),
    Many,
}

/// All files, and what reaches them.
struct Reached {
    keepers: Keepers,
    files: Vec<FileHead>,
    contents: Vec<Reaching>,
    /// The files of each manifest, its own too, by their places in `files`; or why they are not known.
    manifests: HashMap<Digest, Result<Arc<[u32]>, String>>,
}

/// A content that something keeps.
struct Reaching {
    table: TableId,
    digest: Digest,
    by: Vec<KeeperKind>,
}

/// Adds up files, each once.
struct Sum {
    /// By the number of the sum that last had the file.
    seen: Vec<u32>,
    number: u32,
}

impl Database {
    /// Returns the snapshots of an account that are `wanted`, newest first, with what each takes on disk. Rows that are still
    /// only in the log take nothing yet.
    pub async fn snapshot_sizes(&self, account: AccountId, wanted: impl Fn(&Pin) -> bool) -> Result<Vec<SnapshotSize>> {
        let reached = self.reached().await?;
        let all: HashMap<PinId, &Pin> =
            reached.keepers.pins.iter().map(|pinned| (pinned.pin.id, &pinned.pin)).collect();
        let mut pins: Vec<&Pin> = all.values().filter(|pin| pin.account == account && wanted(pin)).copied().collect();
        pins.sort_by_key(|pin| std::cmp::Reverse((pin.created, pin.id)));
        let base_of = |pin: &Pin| pin.terms.base.and_then(|base| all.get(&base).copied());
        let needed: HashSet<PinId> =
            pins.iter().flat_map(|pin| [Some(pin.id), base_of(pin).map(|base| base.id)]).flatten().collect();
        let by_pin = reached.digests_by(|kind| match kind {
            KeeperKind::Pinned(pin) if needed.contains(&pin) => Some(pin),
            _ => None,
        });
        let owners = reached.owners();
        let (mut sum, mut of_base) = (Sum::over(&reached.files), Sum::over(&reached.files));
        let mut sizes = Vec::with_capacity(pins.len());
        for pin in pins {
            of_base.next();
            if let Some(base) = base_of(pin) {
                let of_copied;
                let digests = match &base.terms.copy {
                    // What it is a copy of: some of that may be gone, and counts as added then.
                    Some(_) => {
                        of_copied = self.digests_at(base)?;
                        &of_copied
                    }
                    None => by_pin.get(&base.id).unwrap_or(const { &Vec::new() }),
                };
                for files in digests.iter().filter_map(|digest| reached.manifests.get(digest)?.as_ref().ok()) {
                    for file in files.iter() {
                        of_base.take(*file);
                    }
                }
            }
            sum.next();
            let mut size = SnapshotSize { pin: pin.clone(), bytes: 0, unique_bytes: 0, freed_bytes: 0, damage: None };
            for digest in by_pin.get(&pin.id).into_iter().flatten() {
                match &reached.manifests[digest] {
                    Ok(files) => {
                        for file in files.iter().filter(|file| sum.take(**file)) {
                            let at = *file as usize;
                            let FileHead { kind, length, .. } = reached.files[at];
                            let of_rows = if kind == FileKind::Manifest { 0 } else { length };
                            let is_unique = owners[at] != Owner::Many;
                            size.bytes += if of_base.has(*file) { 0 } else { of_rows };
                            size.unique_bytes += if is_unique { of_rows } else { 0 };
                            size.freed_bytes += if is_unique { length } else { 0 };
                        }
                    }
                    Err(error) => size.damage = Some(error.clone()),
                }
            }
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// Says what would come back if these snapshots were dropped together: files and rows of the log that nothing else
    /// reaches. They come back when the collector has come by, and the grace is over.
    ///
    /// # Errors
    /// `Corrupt` where something that is kept cannot be read: nothing would be collected then.
    pub async fn plan_freed(&self, pins: &[PinId]) -> Result<Collected> {
        let now = self.plan_collection().await?;
        let mut then = self.plan_collection_without(pins).await?;
        if !then.damages.is_empty() {
            return Err(then.damages.swap_remove(0));
        }
        let kept = |fate: &Fate| matches!(fate, Fate::Kept(_));
        let before: HashSet<FileId> = now.files.iter().filter(|file| kept(&file.fate)).map(|file| file.id).collect();
        let mut freed = Collected::default();
        for file in then.files.iter().filter(|file| before.contains(&file.id) && !kept(&file.fate)) {
            freed.files += 1;
            freed.bytes += file.length;
        }
        let gone: HashSet<Version> = now.trims.into_iter().collect();
        let trims: HashSet<Version> = then.trims.into_iter().filter(|version| !gone.contains(version)).collect();
        if !trims.is_empty() {
            let this = self.clone();
            let mut entries = HashSet::new();
            for (version, _, bytes) in blocking(move || this.metastore().delta_sizes()).await? {
                if bytes > 0 && trims.contains(&version) {
                    entries.insert(version);
                    freed.entry_bytes += bytes;
                }
            }
            freed.entries = entries.len() as u64;
        }
        Ok(freed)
    }

    /// Returns what every table and everything that keeps its past take on disk.
    pub async fn storage(&self) -> Result<Storage> {
        let reached = self.reached().await?;
        let this = self.clone();
        let (deltas, day) = blocking(move || {
            let day = this.metastore().newest_at(this.env().now().plus_micros(-DAY_MICROS))?;
            Ok((this.metastore().delta_sizes()?, day.map_or(Version(0), |entry| entry.version)))
        })
        .await?;
        let mut logged: HashMap<TableId, u64> = HashMap::new();
        for (_, table, bytes) in deltas {
            *logged.entry(table).or_default() += bytes;
        }
        let bits = reached.bits();
        let tables = self.tables_stored(&reached, &bits, &logged, day)?;
        let owners = reached.owners();
        let by_kind = reached.digests_by(Some);
        let mut sum = Sum::over(&reached.files);
        let mut stored = |kind: KeeperKind, keeper: StorageKeeper| {
            sum.next();
            let mut storage = KeeperStorage { keeper, bytes: 0, unique_bytes: 0, day_bytes: 0 };
            let digests = by_kind.get(&kind).into_iter().flatten();
            for files in digests.filter_map(|digest| reached.manifests.get(digest)?.as_ref().ok()) {
                for file in files.iter().filter(|file| sum.take(**file)) {
                    let at = *file as usize;
                    let FileHead { length, version, .. } = reached.files[at];
                    if bits[at] & PRESENT == 0 {
                        storage.bytes += length;
                        storage.unique_bytes += if owners[at] == Owner::Many { 0 } else { length };
                        storage.day_bytes += if version > day { length } else { 0 };
                    }
                }
            }
            storage
        };
        let mut keepers = vec![stored(KeeperKind::Window, StorageKeeper::Window)];
        for (at, policy) in reached.keepers.policies.iter().enumerate() {
            let (name, account, scope) = (policy.name.clone(), policy.account, policy.scope.clone());
            keepers.push(stored(KeeperKind::Policy(at), StorageKeeper::Pitr { name, account, scope }));
        }
        for pinned in &reached.keepers.pins {
            keepers.push(stored(KeeperKind::Pinned(pinned.pin.id), StorageKeeper::Snapshot(pinned.pin.clone())));
        }
        Ok(Storage { tables, keepers })
    }

    fn tables_stored(
        &self,
        reached: &Reached,
        bits: &[u8],
        logged: &HashMap<TableId, u64>,
        day: Version,
    ) -> Result<Vec<TableStorage>> {
        // Which tables reach a file: two at least, or it is not here.
        let mut sharing: HashMap<u32, BTreeSet<TableId>> = HashMap::new();
        let mut first: HashMap<u32, TableId> = HashMap::new();
        let mut by_table: BTreeMap<TableId, HashMap<u32, u8>> = BTreeMap::new();
        for content in &reached.contents {
            let of_table = by_table.entry(content.table).or_default();
            let Some(Ok(files)) = reached.manifests.get(&content.digest) else { continue };
            let by = content.by.iter().map(|kind| bit(*kind)).fold(0, |a, b| a | b);
            for file in files.iter() {
                *of_table.entry(*file).or_default() |= by;
                let known = *first.entry(*file).or_insert(content.table);
                if known != content.table {
                    sharing.entry(*file).or_insert_with(|| BTreeSet::from([known])).insert(content.table);
                }
            }
        }
        let now = self.now();
        let live = now.catalog().all_tables().filter(|table| !table.is_view()).map(|table| table.id);
        for table in live.chain(logged.keys().copied()) {
            by_table.entry(table).or_default();
        }
        let mut tables = Vec::with_capacity(by_table.len());
        for (id, files) in by_table {
            let is_dropped = now.catalog().table_by_id(id).is_none();
            let log_bytes = logged.get(&id).copied().unwrap_or(0);
            if is_dropped && files.is_empty() && log_bytes == 0 {
                continue;
            }
            let Some((account, database, table)) = self.newest_home(id)? else { continue };
            let mut storage = TableStorage {
                account,
                database,
                table,
                is_dropped,
                live_bytes: 0,
                shared_bytes: 0,
                past_bytes: 0,
                window_bytes: 0,
                snapshot_bytes: 0,
                day_bytes: 0,
                log_bytes,
                shared_with: Vec::new(),
            };
            let mut others: BTreeSet<TableId> = BTreeSet::new();
            for (file, own) in files {
                let FileHead { length, version, .. } = reached.files[file as usize];
                storage.day_bytes += if version > day { length } else { 0 };
                if own & PRESENT != 0 {
                    storage.live_bytes += length;
                    if let Some(sharing) = sharing.get(&file) {
                        storage.shared_bytes += length;
                        others.extend(sharing.iter().filter(|other| **other != id));
                    }
                    continue;
                }
                storage.past_bytes += length;
                match bits[file as usize] {
                    WINDOW => storage.window_bytes += length,
                    SNAPSHOT => storage.snapshot_bytes += length,
                    _ => {}
                }
            }
            for other in others {
                storage.shared_with.extend(self.newest_home(other)?.map(|(_, database, table)| (database, table)));
            }
            tables.push(storage);
        }
        tables.sort_by(|a, b| (a.account, &a.database, &a.table).cmp(&(b.account, &b.database, &b.table)));
        Ok(tables)
    }

    /// Returns what was written on each day, UTC, and is kept still; days without a commit are left out. Newest last.
    pub async fn growth(&self) -> Result<Vec<Day>> {
        let this = self.clone();
        blocking(move || {
            let metastore = this.metastore();
            let (Some(first), Some(newest)) = (this.0.store.entry_head(Version(1))?, metastore.newest()?) else {
                return Ok(Vec::new());
            };
            let mut days: Vec<(Version, Day)> = Vec::new();
            let mut begins = Time(first.time.0.div_euclid(DAY_MICROS) * DAY_MICROS);
            let mut before = Version(0);
            while begins <= newest.time {
                let ends = begins.plus_micros(DAY_MICROS);
                let upto = metastore.newest_at(ends.plus_micros(-1))?.map_or(before, |entry| entry.version);
                if upto > before {
                    let day = Day { begins, commits: upto.0 - before.0, files: 0, file_bytes: 0, log_bytes: 0 };
                    days.push((upto, day));
                }
                (before, begins) = (upto, ends);
            }
            let place = |days: &[(Version, Day)], version: Version| days.partition_point(|(upto, _)| *upto < version);
            for file in metastore.files()? {
                let at = place(&days, file.version);
                if let Some((_, day)) = days.get_mut(at) {
                    day.files += 1;
                    day.file_bytes += file.length;
                }
            }
            for (version, _, bytes) in metastore.delta_sizes()? {
                let at = place(&days, version);
                if let Some((_, day)) = days.get_mut(at) {
                    day.log_bytes += bytes;
                }
            }
            Ok(days.into_iter().map(|(_, day)| day).collect())
        })
        .await
    }

    /// Finds out what reaches every file.
    async fn reached(&self) -> Result<Reached> {
        // Files that are committed later belong to contents that are read later.
        let (this, thinnable) = (self.clone(), self.thinnable(&[]).await?);
        let (files, keepers, contents) = blocking(move || {
            let (files, keepers) = (this.metastore().files()?, Keepers::of(&this)?.without(thinnable, &[]));
            let mut contents = Vec::new();
            keepers.each(&this, |held| {
                if let Some(digest) = held.content.manifest.filter(|_| !held.keepers.is_empty()) {
                    let by = held.keepers.iter().map(|keeper| keeper.kind).collect();
                    contents.push(Reaching { table: held.table, digest, by });
                }
            })?;
            Ok((files, keepers, contents))
        })
        .await?;
        let mut own: HashMap<Digest, Vec<u32>> = HashMap::new();
        let mut places: HashMap<FileId, u32> = HashMap::with_capacity(files.len());
        for (place, file) in (0..).zip(&files) {
            places.insert(file.id, place);
            if file.kind == FileKind::Manifest {
                own.entry(file.digest).or_default().push(place);
            }
        }
        let digests: HashSet<Digest> = contents.iter().map(|content| content.digest).collect();
        let mut manifests = HashMap::with_capacity(digests.len());
        for digest in digests {
            let listed = match self.listed(digest).await {
                Ok(listed) => {
                    let named = listed.iter().filter_map(|file| places.get(file).copied());
                    let mut of_manifest: Vec<u32> =
                        named.chain(own.get(&digest).into_iter().flatten().copied()).collect();
                    of_manifest.sort_unstable();
                    of_manifest.dedup();
                    Ok(Arc::from(of_manifest))
                }
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Unavailable) => Err(error.to_string()),
                Err(error) => return Err(error),
            };
            manifests.insert(digest, listed);
        }
        self.0.holdings.0.lock().retain(|digest, _| manifests.contains_key(digest));
        Ok(Reached { keepers, files, contents, manifests })
    }

    /// Returns the files that a manifest names.
    async fn listed(&self, digest: Digest) -> Result<Arc<[FileId]>> {
        if let Some(known) = self.0.holdings.0.lock().get(&digest) {
            return Ok(known.clone());
        }
        let listed: Arc<[FileId]> = self.cold().manifest(digest).await?.files().collect();
        self.0.holdings.0.lock().insert(digest, listed.clone());
        Ok(listed)
    }

    /// Returns the manifests that the tables of a snapshot had at its version, whether it has a copy of them or not.
    fn digests_at(&self, pin: &Pin) -> Result<Vec<Digest>> {
        let catalog = self.catalog_at(pin.version)?;
        let tables = pin.scope.tables(&catalog, pin.account);
        let contents = tables.iter().filter_map(|table| Some((table.id, catalog.content(table.id)?)));
        let through = contents.map(|(table, content)| self.0.store.content_at(table, content, pin.version));
        through.filter_map(|content| content.map(|content| content.manifest).transpose()).collect()
    }
}

impl Reached {
    /// Gathers the manifests that each of some keepers reaches.
    fn digests_by<K: std::hash::Hash + Eq>(&self, of: impl Fn(KeeperKind) -> Option<K>) -> HashMap<K, Vec<Digest>> {
        let mut gathered: HashMap<K, Vec<Digest>> = HashMap::new();
        for content in &self.contents {
            for key in content.by.iter().filter_map(|kind| of(*kind)) {
                gathered.entry(key).or_default().push(content.digest);
            }
        }
        gathered
    }

    /// Returns who reaches each file.
    fn owners(&self) -> Vec<Owner> {
        let mut of_manifest: HashMap<Digest, Owner> = HashMap::with_capacity(self.manifests.len());
        for content in &self.contents {
            let owner = of_manifest.entry(content.digest).or_insert(Owner::Nobody);
            content.by.iter().for_each(|kind| owner.add(Owner::One(*kind)));
        }
        let mut owners = vec![Owner::Nobody; self.files.len()];
        for (digest, owner) in of_manifest {
            if let Some(Ok(files)) = self.manifests.get(&digest) {
                files.iter().for_each(|file| owners[*file as usize].add(owner));
            }
        }
        owners
    }

    /// Returns by what kinds of keepers each file is reached.
    fn bits(&self) -> Vec<u8> {
        let mut bits = vec![0; self.files.len()];
        for content in &self.contents {
            let by = content.by.iter().map(|kind| bit(*kind)).fold(0, |a, b| a | b);
            if let Some(Ok(files)) = self.manifests.get(&content.digest) {
                files.iter().for_each(|file| bits[*file as usize] |= by);
            }
        }
        bits
    }
}

impl Owner {
    fn add(&mut self, other: Owner) {
        *self = match (*self, other) {
            (Owner::Nobody, owner) | (owner, Owner::Nobody) => owner,
            (own, other) if own == other => own,
            _ => Owner::Many,
        };
    }
}

impl Sum {
    fn over(files: &[FileHead]) -> Sum {
        Sum { seen: vec![0; files.len()], number: 0 }
    }

    /// Begins the next sum.
    fn next(&mut self) {
        self.number += 1;
    }

    /// Adds a file; tells whether it is new.
    fn take(&mut self, file: u32) -> bool {
        std::mem::replace(&mut self.seen[file as usize], self.number) != self.number
    }

    fn has(&self, file: u32) -> bool {
        self.seen[file as usize] == self.number
    }
}

fn bit(kind: KeeperKind) -> u8 {
    match kind {
        KeeperKind::Present => PRESENT,
        KeeperKind::Window | KeeperKind::Policy(_) => WINDOW,
        KeeperKind::Pinned(_) => SNAPSHOT,
        KeeperKind::Open => OPEN,
    }
}
