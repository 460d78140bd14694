//! The whole database as readable at one version: immutable, cheap to hold.
//!
//! Holding a moment keeps what it reads from being collected. The newest moment and an old one are the same thing:
//! there is one way to read.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::catalog::Catalog;
use crate::cold::Keys;
use crate::error::{Error, Result};
use crate::ids::{Time, Version};
use crate::scan::{Layers, OwnRows, TableScan};
use crate::schema::Table;
use crate::store::{Hold, Store};

/// See the module.
#[derive(Clone)]
pub struct Moment(Arc<Inner>);

struct Inner {
    version: Version,
    time: Time,
    catalog: Arc<Catalog>,
    store: Arc<Store>,
    _hold: Hold,
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
            _hold: hold,
        }))
    }

    /// Returns the moment of an older version, whose catalog and time the caller has read.
    pub(crate) fn past(store: &Arc<Store>, version: Version, time: Time, catalog: Arc<Catalog>) -> Moment {
        Moment(Arc::new(Inner { version, time, catalog, store: store.clone(), _hold: store.opens.hold(version) }))
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

    /// Returns the visible rows of a table of this moment.
    pub async fn scan(&self, table: &Arc<Table>) -> Result<TableScan> {
        self.layers(table, &self.0.catalog, None).await?.scan().await
    }

    /// As `scan`; rows in memory show the commit that wrote them, in a last column `_version`.
    pub async fn scan_with_versions(&self, table: &Arc<Table>) -> Result<TableScan> {
        self.layers(table, &self.0.catalog, None).await?.scan_with_versions().await
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

    /// As `get`, but only if no I/O is needed and nothing has to be found first: `None` means "call `get`".
    pub fn try_get(&self, table: &Arc<Table>, key: &[u8]) -> Option<Result<Option<RecordBatch>>> {
        let store = &self.0.store;
        let content = self.0.catalog.content(table.id)?;
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
        Layers::open(&self.0.store.cold, &self.0.store.hot, table, content, self.0.version, own).await
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.0.store
    }
}
