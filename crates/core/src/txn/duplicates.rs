//! Collisions: which new rows run into rows that stand, or into one another, by primary key and unique indexes.
//!
//! Sits beside inserts, updates and loads, which decide by it what becomes of each row. It never writes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::Txn;
use crate::cold::{encode_keys, encode_nullable_keys};
use crate::error::{Error, Kind, Result};
use crate::rows::{columns_of, entry_text};
use crate::scan::Place;
use crate::schema::Table;

/// Which rows of a batch could be inserted, and which run into rows that stand.
pub struct Standing {
    /// For the batch's rows, from the first on: whether a row stands in its way. It ends before a row that depends on what
    /// becomes of those before it: one with a key of theirs, or that runs into the same row.
    pub stands: Vec<bool>,
    /// The rows that stand in the way, in order (`table.physical_schema()`).
    pub rows: RecordBatch,
}

/// How many collisions of ignored rows are told of.
pub(super) const COLLISIONS_TOLD_MAX: usize = 64;

impl Txn {
    /// Returns what rows that would be inserted run into: for ON DUPLICATE KEY UPDATE. Of several rows that stand in the
    /// way of one, the first counts, by the order of keys.
    pub async fn duplicates(&mut self, table: &Arc<Table>, rows: &RecordBatch) -> Result<Standing> {
        let none = || RecordBatch::new_empty(table.physical_schema());
        if table.has_row_id() && table.indexes.iter().all(|index| !index.unique) {
            return Ok(Standing { stands: vec![false; rows.num_rows()], rows: none() });
        }
        let taken = self.find_duplicates(table, rows, None).await?;
        let (mut stands, mut places, mut met) = (Vec::with_capacity(rows.num_rows()), Vec::new(), HashSet::new());
        for row in 0..rows.num_rows() {
            let place = taken.by_row.get(&row).and_then(|places| places.first()).map(|(place, _)| *place);
            if taken.earlier.contains_key(&row) || place.is_some_and(|place| !met.insert(place)) {
                break;
            }
            stands.push(place.is_some());
            places.extend(place);
        }
        let rows = if places.is_empty() { none() } else { self.layers(table).await?.fetch(&places).await? };
        Ok(Standing { stands, rows })
    }

    /// Finds which new rows collide, by primary key and unique indexes, with rows that stand (but for those that leave
    /// in the same statement) or with an earlier row of the batch.
    pub(super) async fn find_duplicates(
        &self,
        table: &Arc<Table>,
        rows: &RecordBatch,
        leaving: Option<&HashSet<&[u8]>>,
    ) -> Result<Duplicates> {
        let mut duplicates = Duplicates::default();
        let layers = self.layers(table).await?;
        if !table.has_row_id() {
            let keys = encode_keys(&columns_of(rows, &table.primary_key)?)?;
            duplicates.within(None, keys.iter().map(Some));
            let staying = |at: usize| leaving.is_none_or(|leaving| !leaving.contains(keys.get(at)));
            for (at, place) in layers.find(&keys).await?.into_iter().enumerate() {
                if let Some(place) = place
                    && staying(at)
                {
                    duplicates.by_row.entry(at).or_default().push((place, None));
                }
            }
        }
        for (number, index) in table.indexes.iter().enumerate().filter(|(_, index)| index.unique) {
            let values = encode_nullable_keys(&columns_of(rows, &index.columns)?)?;
            duplicates.within(Some(number), values.iter());
            let wanted: HashSet<Vec<u8>> = values.iter().flatten().map(<[u8]>::to_vec).collect();
            if wanted.is_empty() {
                continue;
            }
            let mut places = layers.find_secondary(&index.columns, &wanted).await?;
            if let Some(leaving) = leaving.filter(|_| !places.is_empty()) {
                let all: Vec<Place> = places.iter().map(|(_, place)| *place).collect();
                let keys = encode_keys(layers.fetch_keys(&all).await?.columns())?;
                let mut key = keys.iter();
                places.retain(|_| key.next().is_some_and(|key| !leaving.contains(key)));
            }
            let found: HashMap<Vec<u8>, Place> = places.into_iter().collect();
            for (at, value) in values.iter().enumerate() {
                if let Some(place) = value.and_then(|value| found.get(value)) {
                    duplicates.by_row.entry(at).or_default().push((*place, Some(number)));
                }
            }
        }
        Ok(duplicates)
    }

    /// Counts rows that are equal to the one that they replace. MySQL sees it only where the row cannot run into another,
    /// by a further key, and where no foreign key refers to it.
    pub(super) async fn unchanged(&self, table: &Arc<Table>, rows: &RecordBatch, taken: &Duplicates) -> Result<u64> {
        let keys = usize::from(!table.has_row_id()) + table.indexes.iter().filter(|index| index.unique).count();
        if keys != 1 || self.is_parent(table) {
            return Ok(0);
        }
        // A row replaces one of its own batch, or one that stands.
        let (mut later, mut before, mut new, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            match (taken.earlier.get(&row), taken.by_row.get(&row)) {
                (Some((earlier, _)), _) => {
                    later.push(row as u32);
                    before.push(*earlier as u32);
                }
                (None, Some(standing)) => {
                    new.push(row as u32);
                    places.push(standing[0].0);
                }
                (None, None) => {}
            }
        }
        let chosen = |at: Vec<u32>| take_record_batch(rows, &UInt32Array::from(at));
        let mut same = equal_rows(table, &chosen(later)?, &chosen(before)?)?;
        if !places.is_empty() {
            let old = self.layers(table).await?.fetch(&places).await?;
            same += equal_rows(table, &chosen(new)?, &old)?;
        }
        Ok(same)
    }
}

/// Collisions of rows that are about to be inserted.
#[derive(Default)]
pub(super) struct Duplicates {
    /// Row of the batch to the rows that stand in its way, each with the number of the unique index (`None` is the
    /// primary key).
    by_row: HashMap<usize, Vec<(Place, Option<usize>)>>,
    /// Row of the batch to an earlier row of the batch with the same key.
    earlier: HashMap<usize, (usize, Option<usize>)>,
    /// Rows of the batch that a later one of the batch would replace.
    replaced: HashSet<usize>,
    /// For the primary key and each unique index: rows that share their value with another, to the first that has it.
    groups: Vec<HashMap<usize, usize>>,
}

impl Duplicates {
    pub(super) fn is_empty(&self) -> bool {
        self.by_row.is_empty() && self.earlier.is_empty()
    }

    fn within<'a>(&mut self, index: Option<usize>, values: impl Iterator<Item = Option<&'a [u8]>>) {
        let mut seen: HashMap<&[u8], usize> = HashMap::new();
        let mut groups: HashMap<usize, usize> = HashMap::new();
        for (at, value) in values.enumerate() {
            if let Some(value) = value
                && let Some(before) = seen.insert(value, at)
            {
                self.earlier.entry(at).or_insert((before, index));
                self.replaced.insert(before);
                let first = *groups.entry(before).or_insert(before);
                groups.insert(at, first);
            }
        }
        self.groups.push(groups);
    }

    /// Tells for each of the batch's rows whether it stands after all were inserted in turn, each left out if one that
    /// stands has its key or a unique value of it.
    pub(super) fn stand(&self, rows: usize) -> Vec<bool> {
        let mut taken: HashSet<(usize, usize)> = HashSet::new();
        (0..rows)
            .map(|row| {
                let groups = self.groups.iter().enumerate();
                let own: Vec<(usize, usize)> =
                    groups.filter_map(|(index, groups)| Some((index, *groups.get(&row)?))).collect();
                let stands = !self.by_row.contains_key(&row) && own.iter().all(|group| !taken.contains(group));
                if stands {
                    taken.extend(own);
                }
                stands
            })
            .collect()
    }

    pub(super) fn is_replaced_within(&self, row: usize) -> bool {
        self.replaced.contains(&row)
    }

    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.by_row.values().flatten().map(|(place, _)| *place).collect();
        places.sort_by_key(|place| match place {
            Place::Own(row) => (0, 0, *row),
            Place::Hot(row) => (1, 0, *row),
            Place::Part(part, row) => (2, *part, *row),
            Place::Pending(part, row) => (3, *part, *row),
        });
        places.dedup();
        places
    }

    /// Returns the key by which a row collides first: the number of a unique index, or `None` for the primary key.
    fn key_of(&self, row: usize) -> Option<Option<usize>> {
        let stands = self.by_row.get(&row).map(|places| places[0].1);
        let within = self.earlier.get(&row).map(|(_, index)| *index);
        stands.into_iter().chain(within).min()
    }

    /// Returns MySQL's error for the first collision.
    pub(super) fn error(&self, table: &Table, rows: &RecordBatch) -> Error {
        let row = self.by_row.keys().chain(self.earlier.keys()).copied().min().unwrap_or_default();
        Error::new(Kind::Duplicate, self.message(table, rows, row))
    }

    /// Says what the first rows run into that are not kept.
    pub(super) fn told(&self, table: &Table, rows: &RecordBatch, keep: &[bool], max: usize) -> Vec<String> {
        let ignored = keep.iter().enumerate().filter(|(_, keep)| !**keep);
        ignored.take(max).map(|(row, _)| self.message(table, rows, row)).collect()
    }

    fn message(&self, table: &Table, rows: &RecordBatch, row: usize) -> String {
        let (name, columns) = match self.key_of(row).flatten() {
            None => ("PRIMARY", table.primary_key.clone()),
            Some(number) => (table.indexes[number].name.as_str(), table.indexes[number].columns.clone()),
        };
        let columns: Vec<ArrayRef> = columns_of(rows, &columns).unwrap_or_default();
        let entry = entry_text(&columns, row);
        format!("Duplicate entry '{entry}' for key '{}.{name}'", table.name)
    }
}

/// Counts the rows that are equal in every column, NULLs included.
fn equal_rows(table: &Table, left: &RecordBatch, right: &RecordBatch) -> Result<u64> {
    let mut differs = BooleanArray::from(vec![false; left.num_rows()]);
    for column in &table.columns {
        let name = column.id.physical_name();
        let (Some(left), Some(right)) = (left.column_by_name(&name), right.column_by_name(&name)) else { continue };
        differs = arrow::compute::or(&differs, &arrow::compute::kernels::cmp::distinct(left, right)?)?;
    }
    Ok(differs.false_count() as u64)
}
