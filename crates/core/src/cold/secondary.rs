//! Looks rows up by other columns than the key, for unique indexes and foreign keys.
//!
//! Nothing here is an index of rows. What keeps such a look-up from reading the whole part is, in this order: the least
//! and greatest value of each row group, its bloom filters, and the least and greatest value of each page.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, DurationMicrosecondType, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::bloom_filter::Sbbf;

use crate::cold::files::damaged;
use crate::cold::footer::Footer;
use crate::cold::key::{NullableKeys, decode_keys, encode_nullable_keys, split_key};
use crate::cold::manifest::Part;
use crate::cold::reader::Cold;
use crate::cold::rows::{Rows, Target};
use crate::error::{Error, Result};
use crate::ids::{ColumnId, Version};
use crate::schema::{Table, Type};

/// With more candidates than this in a row group its bloom filter is not asked.
const BLOOM_KEYS_MAX: usize = 4096;

impl Cold {
    /// Finds the rows whose `columns`, encoded as a key, are among `keys`: each key found with the row's position,
    /// ascending by position. Rows with a NULL in one of the columns are never found.
    pub async fn find_secondary(
        &self,
        table: &Table,
        part: &Part,
        columns: &[ColumnId],
        keys: &HashSet<Vec<u8>>,
    ) -> Result<Vec<(Vec<u8>, u32)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let footer = self.footer(part).await?;
        // `_version` is never asked for: which commit fills it in does not matter.
        let target = Target::new(table, Some(columns), false, Some(Version(0)))?;
        let wanted = Wanted::new(table, columns, &footer, keys)?;
        let selected = self.candidates(&footer, &wanted).await?;

        let mut found = Vec::new();
        let mut positions = selected.clone().into_iter().flatten();
        let mut rows = Rows::new(&self.files, &footer, &target.names(), selected);
        while let Some(batch) = rows.next().await? {
            let batch = target.shape(&footer, &batch)?;
            let batch_keys = encode_nullable_keys(batch.columns())?;
            for (key, position) in batch_keys.iter().zip(positions.by_ref().take(batch.num_rows())) {
                if let Some(key) = key
                    && keys.contains(key)
                {
                    found.push((key.to_vec(), position));
                }
            }
        }
        Ok(found)
    }

    /// Returns the rows that may match.
    async fn candidates(&self, footer: &Arc<Footer>, wanted: &[Wanted<'_>]) -> Result<Vec<Range<u32>>> {
        let bounds = wanted.iter().map(|column| column.row_group_bounds(footer)).collect::<Result<Vec<_>>>()?;
        let mut selected: Vec<Range<u32>> = Vec::new();
        let mut start = 0;
        for (group, metadata) in footer.metadata.metadata().row_groups().iter().enumerate() {
            let end = start + metadata.num_rows() as u32;
            let mut rows = Some(vec![start..end]);
            for (column, bounds) in wanted.iter().zip(&bounds) {
                let within = column.within(bounds.as_ref(), group);
                if within.is_empty() || !self.bloom_allows(footer, column, group, within.clone()).await? {
                    rows = None;
                    break;
                }
            }
            if rows.is_some() {
                for column in wanted {
                    if let (Some(pages), Some(so_far)) = (column.pages(footer, group, start..end)?, rows.as_mut()) {
                        *so_far = intersect(so_far, &pages);
                    }
                }
            }
            for range in rows.into_iter().flatten() {
                match selected.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => selected.push(range),
                }
            }
            start = end;
        }
        Ok(selected)
    }

    /// Tells whether any of the values may be in the row group, as far as a bloom filter knows.
    async fn bloom_allows(
        &self,
        footer: &Arc<Footer>,
        column: &Wanted<'_>,
        group: usize,
        within: Range<usize>,
    ) -> Result<bool> {
        let Some(index) = column.index else {
            return Ok(true);
        };
        let metadata = footer.metadata.metadata().row_group(group).column(index);
        let (Some(offset), Some(length)) = (metadata.bloom_filter_offset(), metadata.bloom_filter_length()) else {
            return Ok(true);
        };
        if within.len() > BLOOM_KEYS_MAX || !can_bloom(column.ty) {
            return Ok(true);
        }
        let id = (footer.record.id, group as u32, index as u32);
        let bloom = match self.caches.blooms.get(&id) {
            Some(bloom) => bloom,
            None => {
                let range = offset as u64..offset as u64 + length as u64;
                let bytes = self.files.read_ranges(&footer.record, &[range]).await?;
                let bloom = Sbbf::from_bytes(&bytes[0])
                    .map_err(|error| damaged(&footer.record, "its bloom filter cannot be read").with_source(error))?;
                let bloom = Arc::new(bloom);
                self.caches.blooms.insert(id, bloom.clone());
                bloom
            }
        };
        let values = decode_keys(&[column.ty], column.pieces[within].iter().copied())?;
        Ok((0..values[0].len()).any(|at| may_contain(&bloom, column.ty, &values[0], at)))
    }
}

/// Tells whether bloom filters of columns of this type are written and asked. Floats have two zeros, and decimals
/// several layouts.
pub(super) fn can_bloom(ty: Type) -> bool {
    !matches!(ty, Type::Bool | Type::Float32 | Type::Float64 | Type::Decimal(..))
}

/// One column of the look-up.
struct Wanted<'a> {
    ty: Type,
    /// In the file, if it has the column.
    index: Option<usize>,
    /// The encoded values, ascending, each once.
    pieces: Vec<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    fn new(
        table: &Table,
        columns: &[ColumnId],
        footer: &Footer,
        keys: &'a HashSet<Vec<u8>>,
    ) -> Result<Vec<Wanted<'a>>> {
        let types = columns.iter().map(|id| column_type(table, *id)).collect::<Result<Vec<_>>>()?;
        let mut wanted: Vec<Wanted> = columns
            .iter()
            .zip(&types)
            .map(|(id, ty)| Wanted { ty: *ty, index: footer.column(&id.physical_name()), pieces: Vec::new() })
            .collect();
        for key in keys {
            for (column, piece) in wanted.iter_mut().zip(split_key(&types, key)?) {
                column.pieces.push(piece);
            }
        }
        for column in &mut wanted {
            column.pieces.sort_unstable();
            column.pieces.dedup();
        }
        Ok(wanted)
    }

    /// Returns the values, by index, that lie within the bounds of a row group or page; all if it has none.
    fn within(&self, bounds: Option<&Bounds>, at: usize) -> Range<usize> {
        match bounds.and_then(|bounds| bounds.get(at)) {
            Some((min, max)) => {
                let from = self.pieces.partition_point(|piece| *piece < min);
                let upto = self.pieces.partition_point(|piece| *piece <= max);
                from..upto.max(from)
            }
            None => 0..self.pieces.len(),
        }
    }

    fn row_group_bounds(&self, footer: &Footer) -> Result<Option<Bounds>> {
        let Some(converter) = self.statistics(footer)? else {
            return Ok(None);
        };
        let groups = footer.metadata.metadata().row_groups();
        Bounds::new(converter.row_group_mins(groups)?, converter.row_group_maxes(groups)?).map(Some)
    }

    /// Returns the rows of those pages of a row group that may hold a value; `None` if nothing is known.
    fn pages(&self, footer: &Footer, group: usize, rows: Range<u32>) -> Result<Option<Vec<Range<u32>>>> {
        let metadata = footer.metadata.metadata();
        let (Some(converter), Some(index), Some(columns), Some(offsets)) =
            (self.statistics(footer)?, self.index, metadata.column_index(), metadata.offset_index())
        else {
            return Ok(None);
        };
        let bounds = Bounds::new(
            converter.data_page_mins(columns, offsets, [&group])?,
            converter.data_page_maxes(columns, offsets, [&group])?,
        )?;
        let pages = offsets[group][index].page_locations();
        let mut selected = Vec::new();
        for (at, page) in pages.iter().enumerate() {
            let from = rows.start + page.first_row_index as u32;
            let upto = pages.get(at + 1).map_or(rows.end, |next| rows.start + next.first_row_index as u32);
            if !self.within(Some(&bounds), at).is_empty() {
                selected.push(from..upto);
            }
        }
        Ok(Some(selected))
    }

    /// Float statistics leave NaN out, and say nothing of which zero they mean: they are not used.
    fn statistics<'f>(&self, footer: &'f Footer) -> Result<Option<StatisticsConverter<'f>>> {
        let Some(index) = self.index else {
            return Ok(None);
        };
        if matches!(self.ty, Type::Float32 | Type::Float64) {
            return Ok(None);
        }
        let field = footer.metadata.schema().field(index);
        Ok(Some(StatisticsConverter::from_column_index(index, field, footer.metadata.parquet_schema())?))
    }
}

/// Least and greatest values, encoded; absent where unknown.
struct Bounds {
    mins: NullableKeys,
    maxes: NullableKeys,
}

impl Bounds {
    fn new(mins: ArrayRef, maxes: ArrayRef) -> Result<Bounds> {
        Ok(Bounds { mins: encode_nullable_keys(&[mins])?, maxes: encode_nullable_keys(&[maxes])? })
    }

    fn get(&self, at: usize) -> Option<(&[u8], &[u8])> {
        if at >= self.mins.len() || at >= self.maxes.len() {
            return None;
        }
        Some((self.mins.get(at)?, self.maxes.get(at)?))
    }
}

fn column_type(table: &Table, id: ColumnId) -> Result<Type> {
    if id == ColumnId::ROW_ID {
        return Ok(Type::UInt64);
    }
    let column = table.column_by_id(id);
    column.map(|column| column.ty).ok_or_else(|| Error::internal(format!("BUG: {} has no column {id}.", table.name)))
}

/// Asks a bloom filter, which knows values as Parquet's physical types.
fn may_contain(bloom: &Sbbf, ty: Type, values: &ArrayRef, at: usize) -> bool {
    match ty {
        Type::Int8 => bloom.check(&i32::from(values.as_primitive::<Int8Type>().value(at))),
        Type::Int16 => bloom.check(&i32::from(values.as_primitive::<Int16Type>().value(at))),
        Type::Int32 => bloom.check(&values.as_primitive::<Int32Type>().value(at)),
        Type::Int64 => bloom.check(&values.as_primitive::<Int64Type>().value(at)),
        Type::UInt8 => bloom.check(&i32::from(values.as_primitive::<UInt8Type>().value(at))),
        Type::UInt16 => bloom.check(&i32::from(values.as_primitive::<UInt16Type>().value(at))),
        Type::UInt32 => bloom.check(&values.as_primitive::<UInt32Type>().value(at).cast_signed()),
        Type::UInt64 => bloom.check(&values.as_primitive::<UInt64Type>().value(at).cast_signed()),
        Type::Date => bloom.check(&values.as_primitive::<Date32Type>().value(at)),
        Type::Duration => bloom.check(&values.as_primitive::<DurationMicrosecondType>().value(at)),
        Type::DateTime => bloom.check(&values.as_primitive::<TimestampMicrosecondType>().value(at)),
        Type::Text => bloom.check(values.as_string::<i32>().value(at)),
        Type::Bytes => bloom.check(values.as_binary::<i32>().value(at)),
        Type::Bool | Type::Float32 | Type::Float64 | Type::Decimal(..) => true,
    }
}

/// Returns the rows that are in both; each ascends.
fn intersect(a: &[Range<u32>], b: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut both = Vec::new();
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        let range = left.start.max(right.start)..left.end.min(right.end);
        if !range.is_empty() {
            both.push(range);
        }
        if left.end < right.end {
            a.next()
        } else {
            b.next()
        };
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersections() {
        assert_eq!(intersect(&[0..10, 20..30], &[5..25]), [5..10, 20..25]);
        assert_eq!(intersect(&[0..10], &[10..20]), []);
        assert_eq!(intersect(&[0..4, 6..8], &[0..2, 3..7, 7..9]), [0..2, 3..4, 6..7, 7..8]);
    }
}
