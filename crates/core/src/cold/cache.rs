//! What the cold tier keeps in memory, bounded in bytes. Files never change, so nothing here is ever stale.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use parquet::bloom_filter::Sbbf;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use roaring::RoaringBitmap;

use crate::cold::footer::Footer;
use crate::cold::key::Keys;
use crate::cold::manifest::Manifest;
use crate::cold::rows::Layout;
use crate::ids::{Digest, FileId};

pub(super) struct Caches {
    pub(super) footers: Bounded<FileId, Arc<Footer>>,
    /// The keys of a block of a part.
    pub(super) keys: Bounded<(FileId, u32), Arc<Keys>>,
    pub(super) blocks: Bounded<(FileId, u32), Arc<Block>>,
    /// By file, row group and column of the file.
    pub(super) blooms: Bounded<(FileId, u32, u32), Arc<Sbbf>>,
    pub(super) vectors: Bounded<FileId, Arc<RoaringBitmap>>,
    pub(super) manifests: Bounded<Digest, Arc<Manifest>>,
}

pub(super) type Bounded<K, V> = Cache<K, V, Weight>;

/// The rows of a block, as one table saw them.
pub(super) struct Block {
    pub(super) layout: Layout,
    pub(super) batch: RecordBatch,
}

impl Caches {
    /// Shares `bytes` out among the caches.
    pub(super) fn new(bytes: u64) -> Caches {
        // Few expected items make few shards: an item as large as a shard would not be kept.
        let items = 128;
        let share = |sixteenths: u64| (bytes / 16 * sixteenths, Weight);
        fn cache<K: Eq + std::hash::Hash, V: Clone>(items: usize, (bytes, weight): (u64, Weight)) -> Bounded<K, V>
        where
            Weight: Weighter<K, V>,
        {
            Cache::with_weighter(items, bytes, weight)
        }
        Caches {
            footers: cache(items, share(3)),
            keys: cache(items, share(2)),
            blocks: cache(items, share(7)),
            blooms: cache(items, share(2)),
            vectors: cache(items, share(1)),
            manifests: cache(items, share(1)),
        }
    }
}

/// The bytes that a cached item takes, about.
#[derive(Clone)]
pub(super) struct Weight;

/// An entry's own part of a cache.
const OVERHEAD: usize = 96;

impl<K> Weighter<K, Arc<Footer>> for Weight {
    fn weight(&self, _: &K, footer: &Arc<Footer>) -> u64 {
        (OVERHEAD + footer.memory_size) as u64
    }
}

impl<K> Weighter<K, Arc<Keys>> for Weight {
    fn weight(&self, _: &K, keys: &Arc<Keys>) -> u64 {
        (OVERHEAD + keys.memory_size()) as u64
    }
}

impl<K> Weighter<K, Arc<Block>> for Weight {
    fn weight(&self, _: &K, block: &Arc<Block>) -> u64 {
        (OVERHEAD + block.batch.get_array_memory_size()) as u64
    }
}

impl<K> Weighter<K, Arc<Sbbf>> for Weight {
    fn weight(&self, _: &K, bloom: &Arc<Sbbf>) -> u64 {
        (OVERHEAD + 32 * bloom.num_blocks()) as u64
    }
}

impl<K> Weighter<K, Arc<RoaringBitmap>> for Weight {
    fn weight(&self, _: &K, vector: &Arc<RoaringBitmap>) -> u64 {
        (OVERHEAD + vector.serialized_size()) as u64
    }
}

impl<K> Weighter<K, Arc<Manifest>> for Weight {
    fn weight(&self, _: &K, manifest: &Arc<Manifest>) -> u64 {
        let parts = manifest.parts.iter().map(|part| {
            size_of_val(part) + part.min_key.len() + part.max_key.len() + size_of_val(part.columns.as_slice())
        });
        (OVERHEAD + parts.sum::<usize>()) as u64
    }
}
