//! The only place that decides which row is visible.
//!
//! Three layers, each over the next: a transaction's own writes, the overlay of recent commits, and the parts of the
//! manifest under their deletion vectors. Every reader (SELECT, key look-up, flush, diff, restore) comes through here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use roaring::RoaringBitmap;

use crate::catalog::Content;
use crate::cold::Cold;
use crate::cold::{Keys, encode_keys};
use crate::cold::{Manifest, Part};
use crate::error::Result;
use crate::hot::Hot;
use crate::hot::overlay::{Known, Overlay};
use crate::ids::{ColumnId, FileId, Version};
use crate::rows::{self, columns_of, conform, key_batch};
use crate::schema::Table;

/// The rows of one table at one version: parts with what to leave out, and rows in memory.
pub struct TableScan {
    pub table: Arc<Table>,
    pub version: Version,
    pub parts: Vec<PartScan>,
    /// Visible rows in memory, in `table.physical_schema()`; then `_version` if it was asked for.
    pub rows: Vec<RecordBatch>,
}

/// Rows that are looked up by key are read into memory if their long values take no more than this.
const FETCHED_BYTES_MAX: u64 = 1 << 20;

/// A part and the positions of its rows that are not visible.
#[derive(Clone)]
pub struct PartScan {
    pub part: Arc<Part>,
    /// Who wrote the rows that carry no version of their own; `Version::MAX` for a transaction's own rows.
    pub version: Version,
    pub excluded: RoaringBitmap,
}

impl PartScan {
    /// Returns who wrote the rows, where the file has no `_version` column that says it of each.
    pub fn common_version(&self) -> Option<Version> {
        self.part.common_version(self.version)
    }
}

impl TableScan {
    /// Counts the visible rows. Exact.
    pub fn row_count(&self) -> u64 {
        let in_parts: u64 = self.parts.iter().map(|scan| scan.part.rows - scan.excluded.len()).sum();
        in_parts + self.rows.iter().map(|batch| batch.num_rows() as u64).sum::<u64>()
    }
}

/// A part that a transaction wrote and has not committed.
#[derive(Clone)]
pub struct PendingPart {
    pub part: Arc<Part>,
    /// The statement that wrote it: only later statements of the transaction can delete its rows.
    pub statement: Version,
}

/// A transaction's own rows of one table.
pub struct OwnRows {
    pub overlay: Overlay,
    pub parts: Vec<PendingPart>,
}

/// The layers through which one table is read at one version.
pub struct Layers<'a> {
    pub table: Arc<Table>,
    pub version: Version,
    pub manifest: Arc<Manifest>,
    pub parts_version: Version,
    pub overlay: Arc<Overlay>,
    pub own: Option<&'a OwnRows>,
    pub cold: &'a Cold,
}

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the transaction's own writes.
    Own(u32),
    /// In the overlay.
    Hot(u32),
    /// In a part: which, and its position there.
    Part(usize, u32),
    /// In a part of the transaction's own.
    Pending(usize, u32),
}

/// The version that stands for "everything" in a transaction's own numbering.
const NEWEST: Version = Version::MAX;
/// The version just before, since a row that never died has died at `Version::MAX`.
const OWN: Version = Version(u64::MAX - 1);

impl<'a> Layers<'a> {
    /// Opens the layers. Reads the manifest and finds the positions of killed keys where that was not done yet.
    pub async fn open(
        cold: &'a Cold,
        hot: &Hot,
        table: &Arc<Table>,
        content: &Content,
        version: Version,
        own: Option<&'a OwnRows>,
    ) -> Result<Layers<'a>> {
        let manifest = match content.manifest {
            Some(digest) => cold.manifest(digest).await?,
            None => Arc::default(),
        };
        let overlay = hot.overlay(table, content, version)?;
        let layers = Layers {
            table: table.clone(),
            version,
            manifest,
            parts_version: content.parts_version,
            overlay,
            own,
            cold,
        };
        layers.resolve().await?;
        Ok(layers)
    }

    /// Returns all visible rows.
    pub async fn scan(&self) -> Result<TableScan> {
        self.scan_rows(false).await
    }

    /// As `scan`, with a last column `_version` on the rows in memory: the commit that wrote each, NULL for what the
    /// transaction itself wrote.
    pub async fn scan_with_versions(&self) -> Result<TableScan> {
        self.scan_rows(true).await
    }

    async fn scan_rows(&self, with_version: bool) -> Result<TableScan> {
        let mut parts = Vec::with_capacity(self.manifest.parts.len());
        for part in &self.manifest.parts {
            let excluded = self.excluded(part).await?;
            if excluded.len() < part.rows {
                let version = part.version.unwrap_or(self.parts_version);
                parts.push(PartScan { part: Arc::new(part.clone()), version, excluded });
            }
        }
        let mut rows = self.hot_rows(with_version)?;
        if with_version {
            let nullable = |batch: RecordBatch| {
                let (versions, columns) = batch.columns().split_last().expect("the rows have their version");
                with_versions(&self.table, columns, versions.clone())
            };
            rows = rows.into_iter().map(nullable).collect::<Result<_>>()?;
        }
        if let Some(own) = self.own {
            for pending in &own.parts {
                let excluded = pending_excluded(own, pending);
                if excluded.len() < pending.part.rows {
                    parts.push(PartScan { part: pending.part.clone(), version: NEWEST, excluded });
                }
            }
            for batch in own.overlay.visible(OWN, &HashSet::new(), false)? {
                let batch = conform(&batch, &self.table)?;
                rows.push(match with_version {
                    true => {
                        let none = arrow::array::new_null_array(&DataType::UInt64, batch.num_rows());
                        with_versions(&self.table, batch.columns(), none)?
                    }
                    false => batch,
                });
            }
        }
        Ok(TableScan { table: self.table.clone(), version: self.version, parts, rows })
    }

    /// Returns the visible rows that have one of these keys, as a scan that finds nothing else. They are in memory, unless that
    /// would take more than [`FETCHED_BYTES_MAX`]: then those of parts are read as in any scan.
    pub async fn scan_keys(&self, keys: &Keys) -> Result<TableScan> {
        let mut seen = HashSet::new();
        let places = self.find(keys).await?.into_iter().flatten();
        let places: Vec<Place> = places.filter(|place| seen.insert(*place)).collect();
        let mut scan =
            TableScan { table: self.table.clone(), version: self.version, parts: Vec::new(), rows: Vec::new() };
        if places.is_empty() {
            return Ok(scan);
        }
        let bytes: u64 = places.iter().map(|place| self.long_bytes(*place)).sum();
        if bytes <= FETCHED_BYTES_MAX {
            scan.rows.push(self.fetch(&places).await?);
            return Ok(scan);
        }
        let mut wanted: BTreeMap<(bool, usize), RoaringBitmap> = BTreeMap::new();
        for place in places {
            let row = match place {
                Place::Own(row) => self.own.expect("a place in own rows comes from own rows").overlay.row(row).0,
                Place::Hot(row) => self.overlay.row(row).0,
                Place::Part(number, position) => {
                    wanted.entry((false, number)).or_default().insert(position);
                    continue;
                }
                Place::Pending(number, position) => {
                    wanted.entry((true, number)).or_default().insert(position);
                    continue;
                }
            };
            // As it stands in memory: not copied.
            scan.rows.push(conform(&row, &self.table)?);
        }
        for ((is_pending, number), positions) in wanted {
            let (part, version) = self.part_at(is_pending, number);
            let mut excluded = RoaringBitmap::new();
            excluded.insert_range(0..u32::try_from(part.rows).unwrap_or(u32::MAX));
            excluded -= positions;
            scan.parts.push(PartScan { part, version, excluded });
        }
        Ok(scan)
    }

    /// Returns a part by its number, and who wrote its rows where they do not say it.
    fn part_at(&self, is_pending: bool, number: usize) -> (Arc<Part>, Version) {
        match (is_pending, self.own) {
            (true, Some(own)) => (own.parts[number].part.clone(), NEWEST),
            _ => {
                let part = &self.manifest.parts[number];
                (Arc::new(part.clone()), part.version.unwrap_or(self.parts_version))
            }
        }
    }

    /// Returns about how many bytes the long values of a row take.
    fn long_bytes(&self, place: Place) -> u64 {
        let in_memory = |rows: &RecordBatch| rows::bytes(rows, 0, rows.num_rows()) as u64;
        let of_part = |part: &Part| part.long.values().map(|bytes| u64::from(*bytes)).sum();
        match place {
            Place::Own(row) => self.own.map_or(0, |own| in_memory(&own.overlay.row(row).0)),
            Place::Hot(row) => in_memory(&self.overlay.row(row).0),
            Place::Part(number, _) => of_part(&self.manifest.parts[number]),
            Place::Pending(number, _) => self.own.map_or(0, |own| of_part(&own.parts[number].part)),
        }
    }

    /// Returns the visible rows of the overlay, without a transaction's own.
    pub fn hot_rows(&self, with_version: bool) -> Result<Vec<RecordBatch>> {
        let replaced = match self.own {
            Some(own) if !own.overlay.is_empty() => {
                let killed = own.overlay.killed_keys();
                self.overlay.rows_of(killed.iter().map(|key| &**key), self.version)
            }
            _ => HashSet::new(),
        };
        let batches = self.overlay.visible(self.version, &replaced, with_version)?;
        batches.iter().map(|batch| conform(batch, &self.table)).collect()
    }

    /// Returns the positions of a part of the manifest that are not visible.
    pub async fn excluded(&self, part: &Part) -> Result<RoaringBitmap> {
        let mut excluded = self.overlay.hidden(part.file, self.version);
        if part.deletions.is_some() {
            excluded |= &*self.cold.deletions(part).await?;
        }
        if let Some(own) = self.own {
            excluded |= own.overlay.hidden(part.file, OWN);
        }
        Ok(excluded)
    }

    /// Finds the place of each key's visible row.
    pub async fn find(&self, keys: &Keys) -> Result<Vec<Option<Place>>> {
        let mut places = vec![None; keys.len()];
        // Keys that only the parts can tell of.
        let mut open: Vec<usize> = Vec::new();
        for (at, place) in places.iter_mut().enumerate() {
            let key = keys.get(at);
            match self.own.map_or(Known::Nothing, |own| own.overlay.known(key, OWN)) {
                Known::Row(row) => *place = Some(Place::Own(row)),
                // Gone from the layers below; a part of the transaction's own may still have it anew.
                Known::Deleted(_) => open.push(at),
                Known::Nothing => match self.overlay.known(key, self.version) {
                    Known::Row(row) => *place = Some(Place::Hot(row)),
                    Known::Deleted(_) | Known::Nothing => open.push(at),
                },
            }
        }
        if open.is_empty() {
            return Ok(places);
        }
        open.sort_by(|a, b| keys.get(*a).cmp(keys.get(*b)));
        let wanted: Vec<&[u8]> = open.iter().map(|at| keys.get(*at)).collect();
        for (number, part) in self.manifest.parts.iter().enumerate() {
            let found = self.cold.find(&self.table, part, &wanted).await?;
            if found.is_empty() {
                continue;
            }
            let excluded = if found.len() > 64 { Some(self.excluded(part).await?) } else { None };
            for (index, position) in found {
                let gone = match &excluded {
                    Some(excluded) => excluded.contains(position),
                    None => self.is_excluded(part, position).await?,
                };
                if !gone {
                    places[open[index]] = Some(Place::Part(number, position));
                }
            }
        }
        if let Some(own) = self.own {
            for (number, pending) in own.parts.iter().enumerate() {
                let found = self.cold.find(&self.table, &pending.part, &wanted).await?;
                for (index, position) in found {
                    if !own.overlay.is_hidden(pending.part.file, position, OWN) {
                        places[open[index]] = Some(Place::Pending(number, position));
                    }
                }
            }
        }
        Ok(places)
    }

    /// Finds the places of visible rows whose `columns` have one of `values`, with the value.
    pub async fn find_secondary(
        &self,
        columns: &[ColumnId],
        values: &HashSet<Vec<u8>>,
    ) -> Result<Vec<(Vec<u8>, Place)>> {
        let mut found = Vec::new();
        if let Some(own) = self.own {
            for (value, row) in own.overlay.find_secondary(&self.table, columns, values, OWN)? {
                found.push((value, Place::Own(row)));
            }
        }
        for (value, row) in self.overlay.find_secondary(&self.table, columns, values, self.version)? {
            // A row whose key the transaction wrote is not the one to see: asked per row that was found, as the transaction
            // may have written any number of others.
            let replaced = match self.own {
                Some(own) => {
                    let key = encode_keys(&columns_of(&self.overlay.row(row).0, &self.table.key_columns())?)?;
                    own.overlay.known(key.get(0), OWN) != Known::Nothing
                }
                None => false,
            };
            if !replaced {
                found.push((value, Place::Hot(row)));
            }
        }
        for (number, part) in self.manifest.parts.iter().enumerate() {
            for (value, position) in self.cold.find_secondary(&self.table, part, columns, values).await? {
                if !self.is_excluded(part, position).await? {
                    found.push((value, Place::Part(number, position)));
                }
            }
        }
        if let Some(own) = self.own {
            for (number, pending) in own.parts.iter().enumerate() {
                let part = &pending.part;
                for (value, position) in self.cold.find_secondary(&self.table, part, columns, values).await? {
                    if !own.overlay.is_hidden(part.file, position, OWN) {
                        found.push((value, Place::Pending(number, position)));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Reads the rows at these places, in their order, in `table.physical_schema()`.
    pub async fn fetch(&self, places: &[Place]) -> Result<RecordBatch> {
        let schema = self.table.physical_schema();
        let mut batches: Vec<RecordBatch> = Vec::new();
        // Where each wanted row stands: (batch, row).
        let mut rows: Vec<(usize, usize)> = vec![(0, 0); places.len()];
        let mut by_part: HashMap<(bool, usize), Vec<(u32, usize)>> = HashMap::new();
        for (at, place) in places.iter().enumerate() {
            let batch = match place {
                Place::Own(row) => {
                    let own = self.own.expect("a place in own rows comes from own rows");
                    own.overlay.row(*row).0
                }
                Place::Hot(row) => self.overlay.row(*row).0,
                Place::Part(number, position) => {
                    by_part.entry((false, *number)).or_default().push((*position, at));
                    continue;
                }
                Place::Pending(number, position) => {
                    by_part.entry((true, *number)).or_default().push((*position, at));
                    continue;
                }
            };
            rows[at] = (batches.len(), 0);
            batches.push(conform(&batch, &self.table)?);
        }
        for ((pending, number), mut wanted) in by_part {
            let (part, _) = self.part_at(pending, number);
            wanted.sort_unstable();
            let mut positions: Vec<u32> = wanted.iter().map(|(position, _)| *position).collect();
            positions.dedup();
            let batch = self.cold.take(&self.table, &part, self.parts_version, &positions).await?;
            for (position, at) in wanted {
                let row = positions.binary_search(&position).expect("the position is among those taken");
                rows[at] = (batches.len(), row);
            }
            batches.push(batch.project(&(0..schema.fields().len()).collect::<Vec<_>>())?);
        }
        if let [batch] = batches.as_slice()
            && rows.iter().enumerate().all(|(at, (_, row))| at == *row)
        {
            return Ok(batch.clone());
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        Ok(arrow::compute::interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows)?)
    }

    /// Returns one visible row, if it can be had without I/O: `None` means "ask `find` and `fetch`".
    pub fn try_get(&self, key: &[u8]) -> Option<Result<Option<RecordBatch>>> {
        if self.own.is_some() {
            return None;
        }
        match self.overlay.known(key, self.version) {
            Known::Row(row) => Some(conform(&self.overlay.row(row).0, &self.table).map(Some)),
            Known::Deleted(_) | Known::Nothing => {
                for part in &self.manifest.parts {
                    match self.cold.try_get(&self.table, part, self.parts_version, key)? {
                        Some(found) => {
                            let is_deleted = self.cold.try_deletions(part)?.contains(found.position);
                            if !is_deleted && !self.overlay.is_hidden(part.file, found.position, self.version) {
                                let columns: Vec<usize> = (0..found.block.num_columns() - 1).collect();
                                let row = found.block.slice(found.row, 1).project(&columns);
                                return Some(row.map(Some).map_err(Into::into));
                            }
                        }
                        None => continue,
                    }
                }
                Some(Ok(None))
            }
        }
    }

    /// Returns the keys of the rows at these places, in `table.key_schema()`.
    pub async fn fetch_keys(&self, places: &[Place]) -> Result<RecordBatch> {
        key_batch(&self.fetch(places).await?, &self.table)
    }

    async fn is_excluded(&self, part: &Part, position: u32) -> Result<bool> {
        if self.overlay.is_hidden(part.file, position, self.version) {
            return Ok(true);
        }
        if let Some(own) = self.own
            && own.overlay.is_hidden(part.file, position, OWN)
        {
            return Ok(true);
        }
        Ok(part.deletions.is_some() && self.cold.deletions(part).await?.contains(position))
    }

    /// Finds the positions of the keys that deltas deleted, where that was not done yet.
    async fn resolve(&self) -> Result<()> {
        self.resolve_overlay(&self.overlay, self.version, &[]).await?;
        if let Some(own) = self.own {
            self.resolve_overlay(&own.overlay, OWN, &own.parts).await?;
        }
        Ok(())
    }

    async fn resolve_overlay(&self, overlay: &Overlay, version: Version, pending: &[PendingPart]) -> Result<()> {
        let kills = overlay.unresolved(version);
        if kills.is_empty() {
            return Ok(());
        }
        let keys: Vec<&[u8]> = kills.iter().map(|kill| &*kill.key).collect();
        let mut found: Vec<(FileId, u32, Version)> = Vec::new();
        let committed = std::ptr::eq(overlay, &*self.overlay);
        for part in &self.manifest.parts {
            let positions = self.cold.find(&self.table, part, &keys).await?;
            if positions.is_empty() {
                continue;
            }
            // A delete hides only rows that were written before it. (A transaction's deletes are newer than any part.)
            let versions = if committed {
                let mut rows: Vec<u32> = positions.iter().map(|(_, position)| *position).collect();
                rows.sort_unstable();
                rows.dedup();
                let versions = self.cold.row_versions(part, self.parts_version, &rows).await?;
                Some(rows.into_iter().zip(versions).collect::<HashMap<u32, Version>>())
            } else {
                None
            };
            for (kill, position) in &positions {
                let killed = kills[*kill].version;
                if versions.as_ref().is_none_or(|versions| versions[position] < killed) {
                    found.push((part.file, *position, killed));
                }
            }
        }
        for pending in pending {
            for (kill, position) in self.cold.find(&self.table, &pending.part, &keys).await? {
                if pending.statement < kills[kill].version {
                    found.push((pending.part.file, position, kills[kill].version));
                }
            }
        }
        overlay.resolved(&kills, &found);
        Ok(())
    }
}

/// Returns the schema of rows that show who wrote them: `table.physical_schema()`, then `_version`.
pub fn versioned_schema(table: &Table) -> SchemaRef {
    let mut fields: Vec<FieldRef> = table.physical_schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ColumnId::VERSION.physical_name(), DataType::UInt64, true)));
    Arc::new(Schema::new(fields))
}

fn with_versions(table: &Table, columns: &[ArrayRef], versions: ArrayRef) -> Result<RecordBatch> {
    let columns = columns.iter().cloned().chain([versions]).collect();
    Ok(RecordBatch::try_new(versioned_schema(table), columns)?)
}

/// Returns the positions of a transaction's own part that are not visible to it.
pub fn pending_excluded(own: &OwnRows, pending: &PendingPart) -> RoaringBitmap {
    own.overlay.hidden(pending.part.file, OWN)
}

/// Puts batches of one schema together; an empty batch of `table` if there are none.
pub fn concat(table: &Table, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let schema = batches.first().map_or_else(|| table.physical_schema(), |batch| batch.schema());
    Ok(concat_batches(&schema, batches)?)
}
