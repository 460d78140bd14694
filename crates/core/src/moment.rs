//! The whole database as readable at one version: immutable, cheap to hold.
//!
//! Holding a moment keeps what it reads from being collected. The newest moment and an old one are the same thing:
//! there is one way to read.

mod missing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::catalog::{Catalog, Change, Content, Inherited, ObjectKind};
use crate::cold::Keys;
use crate::error::{Error, Result};
use crate::ids::{TableId, Time, Version};
use crate::log::{Entry, EntryQuery};
use crate::scan::{Layers, OwnRows, Place, TableScan};
use crate::schema::Table;
use crate::store::{Hold, Store};

/// How many recent rows of a table are counted on the way.
const COUNTED_MAX: usize = 50_000;

/// How many commits on a table are looked through on the way.
const COMMITS_MAX: usize = 64;

/// Asks for the newest commits that touched a table in `(after, upto]`.
fn entries_of(table: TableId, after: Version, upto: Version) -> EntryQuery {
    EntryQuery { from: after.next(), upto, tables: Some(vec![table]), upkeep: true, limit: COMMITS_MAX }
}

/// See the module.
#[derive(Clone)]
pub struct Moment(Arc<Inner>);

struct Inner {
    version: Version,
    time: Time,
    catalog: Arc<Catalog>,
    store: Arc<Store>,
    hold: Arc<Hold>,
    /// What tables are read through, where that was found out: `None` at the newest moment, where the catalog says it.
    contents: Option<Mutex<HashMap<TableId, Arc<Content>>>>,
}

impl Moment {
    /// Returns the newest moment.
    pub(crate) fn newest(store: &Arc<Store>) -> Moment {
        let (head, hold) = store.hold_head();
        Moment(Arc::new(Inner {
            version: head.version,
            time: head.time,
            catalog: head.catalog.clone(),
            store: store.clone(),
            hold: Arc::new(hold),
            contents: None,
        }))
    }

    /// Returns the moment of an older version, which is held, and whose catalog and time the caller has read.
    pub(crate) fn past(store: &Arc<Store>, hold: Arc<Hold>, time: Time, catalog: Arc<Catalog>) -> Moment {
        let (version, contents) = (hold.version(), Some(Mutex::default()));
        Moment(Arc::new(Inner { version, time, catalog, store: store.clone(), hold, contents }))
    }

    /// Returns what keeps it open.
    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.0.hold
    }

    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Returns the time of its commit.
    pub fn time(&self) -> Time {
        self.0.time
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.0.catalog
    }

    /// Returns what a table is read through at this moment: what the catalog says that it held, or what stands in for that
    /// (see `store::thinning`). `None` for a view.
    pub fn content(&self, table: TableId) -> Result<Option<Arc<Content>>> {
        let Some(content) = self.0.catalog.content(table) else { return Ok(None) };
        let Some(known) = &self.0.contents else { return Ok(Some(content.clone())) };
        if let Some(content) = known.lock().get(&table) {
            return Ok(Some(content.clone()));
        }
        let found = self.0.store.content_at(table, content, self.0.version)?;
        Ok(Some(known.lock().entry(table).or_insert(found).clone()))
    }

    /// Returns the visible rows of a table of this moment.
    pub async fn scan(&self, table: &Arc<Table>) -> Result<TableScan> {
        self.layers(table, &self.0.catalog, None).await?.scan().await
    }

    /// As `scan`; rows in memory show the commit that wrote them, in a last column `_version`.
    pub async fn scan_with_versions(&self, table: &Arc<Table>) -> Result<TableScan> {
        self.layers(table, &self.0.catalog, None).await?.scan_with_versions().await
    }

    /// Returns the visible rows that have one of these keys ([`crate::cold::encode_keys`]), and no others.
    pub async fn scan_keys(&self, table: &Arc<Table>, keys: &Keys) -> Result<TableScan> {
        self.layers(table, &self.0.catalog, None).await?.scan_keys(keys).await
    }

    /// Returns the row with this key ([`crate::cold::encode_keys`]), as a batch of one in `table.physical_schema()`.
    pub async fn get(&self, table: &Arc<Table>, key: &[u8]) -> Result<Option<RecordBatch>> {
        let layers = self.layers(table, &self.0.catalog, None).await?;
        let mut keys = Keys::new();
        keys.push(key)?;
        match layers.find(&keys).await?.as_slice() {
            [Some(place)] => layers.fetch(&[*place]).await.map(Some),
            _ => Ok(None),
        }
    }

    /// As `get`, with the commit that wrote the row.
    pub async fn get_with_version(&self, table: &Arc<Table>, key: &[u8]) -> Result<Option<(RecordBatch, Version)>> {
        let layers = self.layers(table, &self.0.catalog, None).await?;
        let mut keys = Keys::new();
        keys.push(key)?;
        let [Some(place)] = layers.find(&keys).await?[..] else { return Ok(None) };
        let version = match place {
            Place::Part(number, position) => {
                let part = &layers.manifest.parts[number];
                self.0.store.cold.row_versions(part, layers.parts_version, &[position]).await?[0]
            }
            Place::Hot(row) => layers.overlay.row(row).1,
            Place::Own(_) | Place::Pending(..) => {
                return Err(Error::internal("BUG: a moment has a transaction's rows."));
            }
        };
        Ok(Some((layers.fetch(&[place]).await?, version)))
    }

    /// As `get`, but only if no I/O is needed and nothing has to be found first: `None` means "call `get`".
    pub fn try_get(&self, table: &Arc<Table>, key: &[u8]) -> Option<Result<Option<RecordBatch>>> {
        let store = &self.0.store;
        let content = match &self.0.contents {
            None => self.0.catalog.content(table.id)?.clone(),
            Some(known) => known.lock().get(&table.id)?.clone(),
        };
        let content = &content;
        let manifest = match content.manifest {
            Some(digest) => store.cold.cached_manifest(digest)?,
            None => Arc::default(),
        };
        let overlay = match store.hot.overlay(table, content, self.0.version) {
            Ok(overlay) => overlay,
            Err(error) => return Some(Err(error)),
        };
        if !manifest.parts.is_empty() && overlay.has_unresolved() {
            return None;
        }
        let layers = Layers {
            table: table.clone(),
            version: self.0.version,
            manifest,
            parts_version: content.parts_version,
            overlay,
            own: None,
            cold: &store.cold,
        };
        layers.try_get(key)
    }

    /// Returns the next AUTO_INCREMENT value of a table: at the newest moment the one that an INSERT would get.
    pub fn next_auto(&self, table: &Arc<Table>) -> Result<u64> {
        match self.0.catalog.content(table.id) {
            Some(content) => {
                let overlay = self.0.store.hot.overlay(table, content, self.0.version)?;
                Ok(overlay.next_auto().load(std::sync::atomic::Ordering::Relaxed))
            }
            None => Ok(1),
        }
    }

    /// Opens the layers through which a table is read, with a transaction's own catalog and rows over this moment.
    pub(crate) async fn layers<'a>(
        &'a self,
        table: &Arc<Table>,
        catalog: &Catalog,
        own: Option<&'a OwnRows>,
    ) -> Result<Layers<'a>> {
        let content = catalog
            .content(table.id)
            .ok_or_else(|| Error::internal(format!("Table '{}' has no content at {}.", table.name, self.0.version)))?;
        // A transaction may have given the table another.
        let found = if self.0.catalog.content(table.id) == Some(content) { self.content(table.id)? } else { None };
        let content = found.as_ref().unwrap_or(content);
        Layers::open(&self.0.store.cold, &self.0.store.hot, table, content, self.0.version, own).await
    }

    /// Tells whether a table certainly holds, through `content` at a later version, the same rows as here: it reads
    /// through the same files and the same rows of the log. Reads metadata only.
    pub(crate) fn same_rows(&self, table: &Table, content: Option<&Arc<Content>>, upto: Version) -> Result<bool> {
        let (now, then) = match (content, self.0.catalog.content(table.id)) {
            (Some(now), Some(then)) if now.flushed != Version::MAX && self.0.version <= upto => (now, then),
            (None, None) => return Ok(table.is_view()),
            _ => return Ok(false),
        };
        let Some(wanted) = self.sources(table.id, then, self.0.version)? else { return Ok(false) };
        // What stands in for it may have been restored.
        let stand_in = match self.content(table.id)? {
            Some(found) if found != *then => self.sources(table.id, &found, self.0.version)?,
            _ => None,
        };
        let (mut now, mut upto) = (now.clone(), upto);
        loop {
            match self.sources(table.id, &now, upto)? {
                Some(sources) if sources == wanted || Some(&sources) == stand_in.as_ref() => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
            // Upkeep words the same rows anew: what stood before it may be what is looked for.
            match self.before_upkeep(table.id, &now, upto)? {
                Some(before) => (now, upto) = before,
                None => return Ok(false),
            }
        }
    }

    /// Returns what a table reads at a version: files, and the ranges of the log that hold rows, each up to the last of
    /// them. `None` where that would take long to find out.
    fn sources(&self, table: TableId, content: &Content, version: Version) -> Result<Option<Content>> {
        let mut sources = content.as_of(table, version);
        let mut ranges = Vec::with_capacity(sources.inherited.len());
        for range in sources.inherited {
            match self.last_rows(range.origin, range.after, range.upto)? {
                None => return Ok(None),
                Some(upto) if upto > range.after => ranges.push(Inherited { upto, ..range }),
                Some(_) => {}
            }
        }
        sources.inherited = ranges;
        (sources.next_row_id, sources.next_auto) = (0, 0);
        Ok(Some(sources))
    }

    /// Returns the last commit in `(after, upto]` that wrote rows of a table into the log, or `after`; `None` where there
    /// are too many to look through.
    fn last_rows(&self, table: TableId, after: Version, upto: Version) -> Result<Option<Version>> {
        let query = entries_of(table, after, upto);
        let entries = self.0.store.metastore.entries(&query)?;
        for entry in &entries {
            let counted = entry.tables.iter().any(|(id, puts, deletes)| *id == table && puts + deletes > 0);
            if !counted {
                continue;
            }
            // The commit that gave the table this content counts its rows too, and mostly logs none.
            let version = entry.head.version;
            let logged = |entry: Entry| entry.deltas.iter().any(|delta| delta.table == table && !delta.body.is_empty());
            if version > after.next() || self.0.store.metastore.entry(version)?.is_none_or(logged) {
                return Ok(Some(version));
            }
        }
        Ok((entries.len() < query.limit).then_some(after))
    }

    /// Returns the content that a table had before upkeep gave it this one, and the version until which it stood, if no
    /// row came since.
    fn before_upkeep(
        &self,
        table: TableId,
        content: &Arc<Content>,
        upto: Version,
    ) -> Result<Option<(Arc<Content>, Version)>> {
        let metastore = &self.0.store.metastore;
        let rows = metastore.object(ObjectKind::Content, table.0)?;
        let at =
            rows.iter().rposition(|row| row.begin <= upto && row.object == Change::PutContent(table, content.clone()));
        let Some(at) = at.filter(|at| *at > 0) else { return Ok(None) };
        let begin = rows[at].begin;
        let by_upkeep = self.0.store.entry_head(begin)?.is_some_and(|head| head.upkeep);
        if !by_upkeep || self.last_rows(table, begin, upto)? != Some(begin) {
            return Ok(None);
        }
        Ok(match &rows[at - 1].object {
            Change::PutContent(_, before) => Some((before.clone(), Version(begin.0 - 1))),
            _ => None,
        })
    }

    /// Returns how many recent rows of each table are in memory: for `known_row_count`.
    pub(crate) fn recent_rows(&self) -> HashMap<TableId, usize> {
        self.0.store.hot.sizes().into_iter().map(|(table, rows, _)| (table, rows)).collect()
    }

    /// Counts the rows of a table without looking into any file but its manifest: exactly, or `None` where that cannot
    /// be done in a moment.
    pub(crate) async fn known_row_count(&self, table: &Table, recent: &HashMap<TableId, usize>) -> Result<Option<u64>> {
        let store = &self.0.store;
        let Some(content) = self.content(table.id)? else { return Ok(None) };
        let content = &*content;
        let head = store.head.load();
        let live = head.catalog.content(table.id);
        let shared = live.is_some_and(|now| now.flushed == content.flushed && now.inherited == content.inherited);
        let in_memory = recent.get(&table.id).filter(|_| shared).is_some_and(|rows| *rows <= COUNTED_MAX);
        if !in_memory && !self.log_is_short(table, content)? {
            return Ok(None);
        }
        let manifest = match content.manifest {
            Some(digest) => store.cold.manifest(digest).await?,
            None => Arc::default(),
        };
        let version = self.0.version;
        let overlay = store.hot.overlay(table, content, version)?;
        // Deleted keys that were not looked for yet hide a row each, in whichever part.
        let not_found = overlay.unresolved(version).len() as u64;
        let recent_rows = overlay.visible(version, &HashSet::new(), false)?;
        let mut rows: u64 = recent_rows.iter().map(|batch| batch.num_rows() as u64).sum();
        for part in &manifest.parts {
            rows += match (overlay.hidden(part.file, version).len(), part.deletions) {
                (0, _) => part.live_rows(),
                (hidden, None) => part.rows - hidden,
                // Both may name the same rows.
                (_, Some(_)) => return Ok(None),
            };
        }
        // A reader may have found some of them meanwhile: they would be counted twice.
        let settled = overlay.unresolved(version).len() as u64 == not_found;
        Ok(rows.checked_sub(not_found).filter(|_| settled))
    }

    /// Tells whether what the log adds to a manifest is little enough to be read in a moment.
    fn log_is_short(&self, table: &Table, content: &Content) -> Result<bool> {
        let own = Inherited { origin: table.id, after: content.flushed, upto: self.0.version };
        let mut rows = 0;
        for range in content.inherited.iter().chain([&own]) {
            let query = entries_of(range.origin, range.after, range.upto);
            let entries = self.0.store.metastore.entries(&query)?;
            let of_range = entries.iter().flat_map(|entry| &entry.tables).filter(|(id, ..)| *id == range.origin);
            rows += of_range.map(|(_, puts, deletes)| puts + deletes).sum::<u64>();
            if entries.len() == query.limit || rows > COUNTED_MAX as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.0.store
    }
}
