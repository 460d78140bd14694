//! Large loads: rows go straight to parts in sorted runs, in bounded memory, instead of through the log.
//!
//! A load that stays small is an ordinary insert. Each run is checked for duplicates against everything that the
//! transaction sees, the earlier runs included. The parts carry no version: the commit gives them its own.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::duplicates::COLLISIONS_TOLD_MAX;
use super::{Inserted, OnDuplicate, Txn, footprint};
use crate::cold::encode_keys;
use crate::cold::{PartVersions, write_part};
use crate::error::{Error, Result};
use crate::ids::{ColumnId, Version};
use crate::log::delta::Delta;
use crate::rows::columns_of;
use crate::scan::{PendingPart, concat};
use crate::schema::Table;

/// A load into one table. Feed it, then finish it.
#[must_use = "a load that is not finished loads nothing"]
pub struct BulkLoad {
    table: Arc<Table>,
    on_duplicate: OnDuplicate,
    buffered: Vec<RecordBatch>,
    bytes: usize,
    rows: usize,
    spilled: bool,
    outcome: Inserted,
}

impl BulkLoad {
    pub fn new(table: &Arc<Table>, on_duplicate: OnDuplicate) -> BulkLoad {
        BulkLoad {
            table: table.clone(),
            on_duplicate,
            buffered: Vec::new(),
            bytes: 0,
            rows: 0,
            spilled: false,
            outcome: Inserted::default(),
        }
    }

    /// Takes rows as `Txn::insert` does.
    pub async fn write(&mut self, txn: &mut Txn, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.bytes += rows.get_array_memory_size();
        self.rows += rows.num_rows();
        self.buffered.push(rows.clone());
        let store = txn.moment.store();
        if self.bytes >= store.load_bytes || self.rows >= store.load_rows {
            self.spill(txn).await?;
        }
        Ok(())
    }

    /// Writes what is left and returns what became of the rows.
    pub async fn finish(mut self, txn: &mut Txn) -> Result<Inserted> {
        if self.buffered.is_empty() {
            return Ok(self.outcome);
        }
        fail::fail_point!("load::finish", crate::error::failing);
        if self.spilled {
            self.spill(txn).await?;
            return Ok(self.outcome);
        }
        let rows = arrow::compute::concat_batches(&self.buffered[0].schema(), &self.buffered)?;
        txn.insert(&self.table, &rows, self.on_duplicate).await
    }

    async fn spill(&mut self, txn: &mut Txn) -> Result<()> {
        let buffered = std::mem::take(&mut self.buffered);
        (self.bytes, self.rows, self.spilled) = (0, 0, true);
        let table = self.table.clone();
        let mut rows = arrow::compute::concat_batches(&buffered[0].schema(), &buffered)?;
        drop(buffered);
        if table.has_row_id() {
            rows = txn.with_row_ids(&table, &rows).await?;
        }
        // Later runs can replace rows of earlier ones: each is a statement of its own.
        txn.statement = txn.statement.next();
        let total = rows.num_rows() as u64;
        let taken = txn.find_duplicates(&table, &rows, None).await?;
        if !taken.is_empty() {
            let keep: Vec<bool> = match self.on_duplicate {
                OnDuplicate::Error => return Err(taken.error(&table, &rows)),
                OnDuplicate::Ignore => taken.stand(rows.num_rows()),
                OnDuplicate::Replace => (0..rows.num_rows()).map(|row| !taken.is_replaced_within(row)).collect(),
            };
            let kept = keep.iter().filter(|keep| **keep).count() as u64;
            if self.on_duplicate == OnDuplicate::Replace {
                self.outcome.unchanged += txn.unchanged(&table, &rows, &taken).await?;
                self.outcome.replaced += txn.remove_replaced(&table, &taken).await? + total - kept;
                self.outcome.inserted += total;
            } else {
                let more = COLLISIONS_TOLD_MAX.saturating_sub(self.outcome.collisions.len());
                self.outcome.collisions.extend(taken.told(&table, &rows, &keep, more));
                self.outcome.inserted += kept;
                self.outcome.ignored += total - kept;
            }
            rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        } else {
            self.outcome.inserted += total;
        }
        fail::fail_point!("load::run", crate::error::failing);
        let rows = sorted(&table, rows)?;
        if rows.num_rows() > 0 {
            let cold = &txn.moment.store().cold;
            let run = futures::stream::iter([Ok(rows.clone())]);
            if let Some((part, record)) = write_part(cold.files(), &table, run, PartVersions::Inherit).await? {
                fail::fail_point!("load::part");
                txn.files.push(record);
                let (part, statement) = (Arc::new(part), txn.statement);
                txn.own(&table).parts.push(PendingPart { part, statement });
                // What follows can delete these rows.
                txn.statement = statement.next();
            }
            txn.lean_on_parents(&table, &rows).await?;
        }
        Ok(())
    }
}

impl Txn {
    /// Begins a large load.
    pub fn bulk(&self, table: &Arc<Table>, on_duplicate: OnDuplicate) -> BulkLoad {
        BulkLoad::new(table, on_duplicate)
    }

    /// Checks the rows of the transaction's own parts against what was committed since it read, and returns the version
    /// up to which that was done. Small transactions are checked key by key in the footprint; a load of millions of
    /// rows is checked the other way round, by the few keys that others wrote.
    pub(super) async fn check_parts_against_log(&self, table: &Arc<Table>) -> Result<Version> {
        let store = self.moment.store();
        let upto = store.head.load().version;
        let own = &self.rows[&table.id].rows;
        let uniques = || table.indexes.iter().filter(|index| index.unique);
        let compared: Vec<ColumnId> =
            table.key_columns().into_iter().chain(uniques().flat_map(|index| index.columns.clone())).collect();
        let types = |schema: SchemaRef| {
            compared
                .iter()
                .map(|id| Some(schema.field_with_name(&id.physical_name()).ok()?.data_type().clone()))
                .collect::<Vec<_>>()
        };
        let own_types = types(table.physical_schema());
        for (_, body) in store.metastore.deltas(table.id, self.moment.version(), upto)? {
            let puts = Delta::decode(&body)?.puts;
            if puts.num_rows() == 0 {
                continue;
            }
            if types(puts.schema()) != own_types {
                return Err(Error::conflict("Another transaction changed the definition of the table first.")
                    .with_hint("Nothing was applied; run the load again."));
            }
            let keys = encode_keys(&columns_of(&puts, &table.key_columns())?)?;
            let mut wanted: Vec<&[u8]> = keys.iter().collect();
            wanted.sort_unstable();
            for pending in &own.parts {
                if !store.cold.find(table, &pending.part, &wanted).await?.is_empty() {
                    return Err(Error::conflict("Another transaction inserted rows with the same keys first.")
                        .with_hint("Nothing was applied; run the load again."));
                }
            }
            for index in uniques() {
                let values = crate::cold::encode_nullable_keys(&columns_of(&puts, &index.columns)?)?;
                let values = values.iter().flatten().map(<[u8]>::to_vec).collect();
                for pending in &own.parts {
                    let found = store.cold.find_secondary(table, &pending.part, &index.columns, &values).await?;
                    if !found.is_empty() {
                        return Err(Error::conflict("Another transaction inserted rows with the same unique values."));
                    }
                }
            }
        }
        Ok(upto)
    }
}

/// Tells whether loads and small transactions on this table have to be checked against each other.
pub(super) fn can_collide(table: &Table) -> bool {
    !table.has_row_id() || table.indexes.iter().any(|index| index.unique)
}

/// Returns the hash on which every small transaction leans that writes into the table, and which a load writes.
pub(super) fn loads_of(table: &Table) -> u64 {
    footprint::row(table.id, &[], b"bulk load")
}

/// Returns the rows in key order.
fn sorted(table: &Table, rows: RecordBatch) -> Result<RecordBatch> {
    let keys = encode_keys(&columns_of(&rows, &table.key_columns())?)?;
    if keys.first_unsorted().is_none() {
        return Ok(rows);
    }
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_unstable_by(|a, b| keys.get(*a as usize).cmp(keys.get(*b as usize)));
    Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
}

/// Puts rows together in key order: what a flush writes.
pub(crate) fn sorted_rows(table: &Table, batches: &[RecordBatch]) -> Result<RecordBatch> {
    sorted(table, concat(table, batches)?)
}
